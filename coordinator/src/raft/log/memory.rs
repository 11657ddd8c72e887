//! The twin of the log on disk: a disk in memory that can lose, tear and refuse.
//!
//! A [`MemDisk`] outlives the [`MemLog`]s opened on it, as a disk outlives processes. Records are
//! kept as bytes with a checksum, so that a tear is a real one, found by reading.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use raft::eraftpb::{Entry, HardState, SnapshotMetadata};

use super::terms::Terms;
use super::{LogError, LogStore, check_append, check_range, limit_bytes};
use crate::mutant::{self, Mutant};

/// Records above which opening a log purges what no longer counts.
const RECORDS_MAX: usize = 256;

/// What the disk does with the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written and the write fails.
    RefuseWrite,
    /// The write is in the system's cache, and its sync fails.
    RefuseSync,
    /// A half of the write is in the system's cache; for the rest there is no room.
    NoRoom,
}

/// What becomes, in a crash, of the records that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// It is gone.
    Lose,
    /// It reached the disk all the same.
    Keep,
    /// This many bytes of the last reached the disk, and what was before it.
    Tear(usize),
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Vec<u8>>,
    unsynced: Vec<Vec<u8>>,
    fault: Option<(u32, Fault)>,
    syncs: u64,
}

/// A disk that several [`MemLog`]s use, one after the other.
#[derive(Debug, Clone, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

impl MemDisk {
    /// Makes the write after `good` good ones go wrong.
    pub fn fail_after(&self, good: u32, fault: Fault) {
        self.state.lock().fault = Some((good, fault));
    }

    /// The machine stops: what was not synced meets its fate, faults that were planned are off.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state.lock();
        state.fault = None;
        let mut unsynced = std::mem::take(&mut state.unsynced);
        match (crash, unsynced.last_mut()) {
            (Crash::Lose, _) => unsynced.clear(),
            (Crash::Tear(bytes), Some(last)) => {
                last.truncate(bytes.min(last.len().saturating_sub(1)))
            }
            (Crash::Keep | Crash::Tear(_), _) => {}
        }
        state.records.append(&mut unsynced);
    }

    /// Flips a bit in record `number`.
    pub fn damage(&self, number: usize) {
        let mut state = self.state.lock();
        let record = &mut state.records[number];
        let middle = record.len() / 2;
        record[middle] ^= 1;
    }

    /// Records on the disk.
    pub fn records(&self) -> usize {
        self.state.lock().records.len()
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    fn write(&self, body: Vec<u8>) -> Result<(), LogError> {
        let mut state = self.state.lock();
        let fault = match &mut state.fault {
            Some((0, fault)) => Some(*fault),
            Some((good, _)) => {
                *good -= 1;
                None
            }
            None => None,
        };
        // After a failed write the disk stays broken until the crash: nobody may go on.
        if fault == Some(Fault::RefuseWrite) {
            return Err(refused("append"));
        }
        if fault == Some(Fault::NoRoom) {
            if state.unsynced.is_empty() {
                let half = body[..body.len() / 2].to_vec();
                state.unsynced.push(half);
            }
            let source = io::ErrorKind::StorageFull.into();
            return Err(LogError::Io { action: "append", source });
        }
        if fault == Some(Fault::RefuseSync) {
            if state.unsynced.is_empty() || mutant::on(Mutant::LogNotSynced) {
                state.unsynced.push(body);
            }
            return Err(refused("sync"));
        }
        if mutant::on(Mutant::LogNotSynced) {
            state.unsynced.push(body);
            return Ok(());
        }
        state.records.push(body);
        state.syncs += 1;
        Ok(())
    }
}

fn refused(action: &'static str) -> LogError {
    LogError::Io { action, source: io::Error::other("input/output error (injected)") }
}

/// What a record says.
enum Record {
    Append(Vec<Entry>, Option<HardState>),
    Install(SnapshotMetadata, HardState),
    Compact(SnapshotMetadata),
}

impl Record {
    fn encode(&self) -> Result<Vec<u8>, LogError> {
        let mut out = Vec::new();
        let mut put = |message: &dyn protobuf::Message| -> Result<(), LogError> {
            let bytes = message.write_to_bytes().map_err(|_| refused("encode"))?;
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(&bytes);
            Ok(())
        };
        let tag = match self {
            Self::Append(entries, hard_state) => {
                put(&hard_state.clone().unwrap_or_default())?;
                for entry in entries {
                    put(entry)?;
                }
                u8::from(hard_state.is_some())
            }
            Self::Install(metadata, hard_state) => {
                put(metadata)?;
                put(hard_state)?;
                2
            }
            Self::Compact(metadata) => {
                put(metadata)?;
                3
            }
        };
        out.push(tag);
        Ok(out)
    }

    /// The record as bytes with their checksum.
    fn seal(&self) -> Result<Vec<u8>, LogError> {
        let mut bytes = self.encode()?;
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// The record in `bytes`, when it is whole.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let (tag, mut rest) = body.split_last()?;
        let mut parts = VecDeque::new();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (part, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            parts.push_back(part);
            rest = tail;
        }
        let mut first = parts.pop_front()?;
        match tag {
            0 | 1 => {
                let hard_state = parse::<HardState>(first)?;
                let entries = parts.into_iter().map(parse).collect::<Option<Vec<Entry>>>()?;
                Some(Self::Append(entries, (*tag == 1).then_some(hard_state)))
            }
            2 => {
                let metadata = parse(first)?;
                first = parts.pop_front()?;
                Some(Self::Install(metadata, parse(first)?))
            }
            3 => Some(Self::Compact(parse(first)?)),
            _ => None,
        }
    }
}

fn parse<M: protobuf::Message>(bytes: &[u8]) -> Option<M> {
    let mut message = M::new();
    message.merge_from_bytes(bytes).ok()?;
    Some(message)
}

/// The log on a [`MemDisk`].
pub struct MemLog {
    disk: MemDisk,
    hard_state: HardState,
    start: SnapshotMetadata,
    entries: VecDeque<Entry>,
    terms: Terms,
    cut: bool,
}

impl MemLog {
    /// Reads what is on `disk`. A torn last record is cut; a broken one before it is damage.
    pub fn open(disk: &MemDisk) -> Result<Self, LogError> {
        let mut log = Self {
            disk: disk.clone(),
            hard_state: HardState::default(),
            start: SnapshotMetadata::default(),
            entries: VecDeque::new(),
            terms: Terms::after(0, 0),
            cut: false,
        };
        let mut state = disk.state.lock();
        let mut offset = 0;
        for number in 0..state.records.len() {
            let bytes = &state.records[number];
            match Record::decode(bytes) {
                Some(record) => log.replay(record),
                None if number + 1 == state.records.len() => {
                    if !mutant::on(Mutant::TornTailKept) {
                        state.records.pop();
                    }
                    log.cut = true;
                    break;
                }
                None => {
                    return Err(LogError::Damaged {
                        file: PathBuf::from("memory"),
                        offset,
                        evidence: format!("record {} of {}", number + 1, state.records.len()),
                    });
                }
            }
            offset += bytes.len() as u64;
        }
        if state.records.len() > RECORDS_MAX {
            // What a real log's purge does: only what still counts is kept.
            let entries = log.entries.iter().cloned().collect();
            let kept = [
                Record::Install(log.start.clone(), log.hard_state.clone()),
                Record::Append(entries, None),
            ];
            state.records = kept.iter().map(Record::seal).collect::<Result<_, _>>()?;
        }
        drop(state);
        Ok(log)
    }

    /// Whether a torn end was cut when this log was opened.
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    fn replay(&mut self, record: Record) {
        match record {
            Record::Append(entries, hard_state) => {
                let end = entries.last().map_or(u64::MAX, |last| last.index);
                let keeps = |entry: &&Entry| mutant::on(Mutant::SuffixKept) && entry.index > end;
                let suffix: Vec<Entry> = self.entries.iter().filter(keeps).cloned().collect();
                for entry in entries.into_iter().chain(suffix) {
                    while self.entries.back().is_some_and(|last| last.index >= entry.index) {
                        self.entries.pop_back();
                    }
                    self.terms.push(entry.index, entry.term);
                    self.entries.push_back(entry);
                }
                self.hard_state = hard_state.unwrap_or_else(|| self.hard_state.clone());
            }
            Record::Install(metadata, hard_state) => {
                self.entries.clear();
                self.terms = Terms::after(metadata.index, metadata.term);
                self.start = metadata;
                self.hard_state = hard_state;
            }
            Record::Compact(metadata) => {
                while self.entries.front().is_some_and(|first| first.index <= metadata.index) {
                    self.entries.pop_front();
                }
                self.terms.begin_at(metadata.index);
                self.start = metadata;
            }
        }
    }

    fn commit(&mut self, record: Record) -> Result<(), LogError> {
        self.disk.write(record.seal()?)?;
        self.replay(record);
        Ok(())
    }
}

impl LogStore for MemLog {
    fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    fn start(&self) -> &SnapshotMetadata {
        &self.start
    }

    fn last_index(&self) -> u64 {
        self.terms.last()
    }

    fn term(&self, index: u64) -> Result<u64, LogError> {
        if index < self.start.index {
            return Err(LogError::Compacted { index, first: self.first_index() });
        }
        self.terms.get(index).ok_or(LogError::Missing { index, last: self.last_index() })
    }

    fn entries(&self, low: u64, high: u64, bytes_max: Option<u64>) -> Result<Vec<Entry>, LogError> {
        check_range(low, high, self.first_index(), self.last_index())?;
        let wanted = self.entries.iter().filter(|entry| (low..high).contains(&entry.index));
        let mut entries: Vec<_> = wanted.cloned().collect();
        limit_bytes(&mut entries, bytes_max);
        Ok(entries)
    }

    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<(), LogError> {
        check_append(entries, self.first_index(), self.last_index())?;
        self.commit(Record::Append(entries.to_vec(), hard_state.cloned()))
    }

    fn install(
        &mut self,
        metadata: &SnapshotMetadata,
        hard_state: &HardState,
    ) -> Result<(), LogError> {
        self.commit(Record::Install(metadata.clone(), hard_state.clone()))
    }

    fn compact(&mut self, metadata: &SnapshotMetadata) -> Result<(), LogError> {
        if metadata.index <= self.start.index {
            return Ok(());
        }
        self.term(metadata.index)?;
        self.commit(Record::Compact(metadata.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, entry, hard_state};
    use super::*;

    #[test]
    fn the_twin_keeps_the_contract() {
        contract::suite(|| {
            let disk = MemDisk::default();
            move || MemLog::open(&disk).unwrap()
        });
    }

    fn three() -> MemDisk {
        let disk = MemDisk::default();
        let mut log = MemLog::open(&disk).unwrap();
        for index in 1..=3 {
            log.append(&[entry(index, 1)], Some(&hard_state(1, index))).unwrap();
        }
        disk
    }

    #[test]
    fn what_was_not_synced_can_be_lost_kept_or_torn_and_what_was_stays() {
        for (crash, last, cut) in
            [(Crash::Lose, 3, false), (Crash::Keep, 4, false), (Crash::Tear(9), 3, true)]
        {
            let disk = three();
            let mut log = MemLog::open(&disk).unwrap();
            disk.fail_after(0, Fault::RefuseSync);
            assert!(matches!(log.append(&[entry(4, 1)], None), Err(LogError::Io { .. })));
            drop(log);
            disk.crash(crash);
            let log = MemLog::open(&disk).unwrap();
            assert_eq!((log.last_index(), log.was_cut()), (last, cut), "{crash:?}");
        }
    }

    #[test]
    fn a_refused_write_leaves_nothing_and_the_disk_stays_broken() {
        let disk = three();
        let mut log = MemLog::open(&disk).unwrap();
        disk.fail_after(0, Fault::RefuseWrite);
        assert!(log.append(&[entry(4, 1)], None).is_err());
        assert!(log.append(&[entry(4, 1)], None).is_err());
        disk.crash(Crash::Keep);
        assert_eq!(MemLog::open(&disk).unwrap().last_index(), 3);
    }

    #[test]
    fn a_broken_record_before_the_last_is_damage() {
        let disk = three();
        disk.damage(1);
        assert!(matches!(MemLog::open(&disk), Err(LogError::Damaged { .. })));
        let disk = three();
        disk.damage(2);
        assert_eq!(MemLog::open(&disk).unwrap().last_index(), 2);
    }
}
