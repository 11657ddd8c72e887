//! Random work on a log, and a start from every disk that a crash may have left.
//!
//! What must hold: a log that opens holds exactly what it held after the last call that returned,
//! or what the call in flight would have made of it; and it opens.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, HardState, SnapshotMetadata};
use raft_engine::env::{DefaultFileSystem, FileSystem};

use super::disk::{self, Disk};
use super::{Op, Recorder};
use crate::raft::log::engine::{EngineLog, Sizes};
use crate::raft::log::{LogError, LogStore};

/// Small files, so that a short run fills, closes and deletes several.
const SIZES: Sizes = Sizes { file_bytes: 4 * 1024, purge_bytes: 12 * 1024 };

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq)]
struct Content {
    start: (u64, u64),
    hard_state: HardState,
    entries: Vec<Entry>,
}

impl Content {
    fn of(log: &impl LogStore) -> Result<Self, LogError> {
        let (first, last) = (log.first_index(), log.last_index());
        Ok(Self {
            start: (log.start().index, log.start().term),
            hard_state: log.hard_state().clone(),
            entries: log.entries(first, last + 1, None)?,
        })
    }

    fn last(&self) -> (u64, u64) {
        self.entries.last().map_or(self.start, |entry| (entry.index, entry.term))
    }
}

/// What a replay saw.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Report {
    /// Recorded things.
    pub ops: u64,
    /// Disks that a log was opened from.
    pub crashes: u64,
    /// Of these, with an end that was torn, and cut.
    pub torn: u64,
    /// Of these, with a file that was deleted, and came back.
    pub undeleted: u64,
    /// Of these, that held the work in flight.
    pub ahead: u64,
    /// Log files that were made in the run.
    pub files: u64,
    /// Log files that were deleted in the run.
    pub deleted: u64,
    /// Bytes that were damaged, each refused.
    pub damaged: u64,
}

impl Report {
    /// Adds another run to this one.
    pub fn add(&mut self, other: Self) {
        self.ops += other.ops;
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.undeleted += other.undeleted;
        self.ahead += other.ahead;
        self.files += other.files;
        self.deleted += other.deleted;
        self.damaged += other.damaged;
    }
}

/// Records a run of `steps` pieces of work under `seed`, and crashes it at every change of a file,
/// in every way, of which one in `sparse` is carried out. All files are under `dir`.
///
/// # Errors
/// The first promise that was broken, in words.
pub fn replay(dir: &Path, seed: u64, steps: usize, sparse: u64) -> Result<Report, String> {
    let run = dir.join("run");
    let (ops, contents) =
        record(&run, seed, steps).map_err(|error| format!("seed {seed}: {error}"))?;
    let mut report = Report { ops: ops.len() as u64, ..Report::default() };
    let mut chance = Chance(seed ^ 0xC0A5);
    let (mut disk, mut done) = (Disk::default(), 0);
    for (at, op) in ops.iter().enumerate() {
        disk.play(op);
        match op {
            Op::Done(pieces) => {
                done = *pieces;
                continue;
            }
            Op::Create(_) => report.files += 1,
            Op::Delete(_) => report.deleted += 1,
            _ => {}
        }
        for fate in disk::fates(disk.len()) {
            if chance.below(sparse) > 0 {
                continue;
            }
            let place = dir.join("crashed");
            let left = disk.crash(fate);
            if left.keys().any(|path| !disk.crash(disk::Fate::Kept).contains_key(path)) {
                report.undeleted += 1;
            }
            report.crashes += 1;
            let told =
                |what: String| format!("seed {seed}, crash after step {at} ({fate:?}): {what}");
            lay_out(&place, &run, &left).map_err(|error| told(error.to_string()))?;
            let next = contents.get(done + 1);
            let opened =
                check(&place, &contents[done], next, chance.below(4) == 0).map_err(told)?;
            report.torn += u64::from(opened.torn);
            report.ahead += u64::from(opened.ahead);
        }
    }
    report.damaged = damage(dir, &run, &disk, &mut chance)?;
    Ok(report)
}

/// Drives a log through random work. What was done to its files, and what it held after each piece.
fn record(dir: &Path, seed: u64, steps: usize) -> Result<(Vec<Op>, Vec<Content>), LogError> {
    let recorder = Arc::new(Recorder::default());
    let tape = recorder.tape().clone();
    let open = || -> Result<EngineLog<Recorder>, LogError> {
        let log = EngineLog::open_with(dir, Arc::clone(&recorder), SIZES)?;
        // It syncs its directory past the engine's files.
        tape.push(Op::SyncDir);
        Ok(log)
    };
    let mut chance = Chance(seed);
    let mut log = open()?;
    let mut contents = vec![Content::of(&log)?];
    for _ in 0..steps {
        let now = contents.last().cloned().unwrap_or_default();
        match chance.below(16) {
            // Written and closed well: the start after it finds nothing to mend.
            0 => {
                drop(log);
                log = open()?;
                continue;
            }
            1 => install(&mut log, &now, &mut chance)?,
            2..4 if now.entries.len() > 2 => {
                let keep = 1 + chance.below(now.entries.len() as u64 - 1) as usize;
                let entry = &now.entries[now.entries.len() - 1 - keep];
                let (index, term) = (entry.index, entry.term);
                log.compact(&SnapshotMetadata { index, term, ..Default::default() })?;
            }
            4 => {
                let term = now.hard_state.term + 1;
                log.append(&[], Some(&HardState { term, vote: 2, ..now.hard_state }))?;
            }
            kind => append(&mut log, &now, kind == 5, &mut chance)?,
        }
        contents.push(Content::of(&log)?);
        tape.push(Op::Done(contents.len() - 1));
    }
    drop(log);
    Ok((disk::with_directory_syncs(tape.ops()), contents))
}

/// Appends entries; with `conflict`, in the place of the newest ones.
fn append(
    log: &mut impl LogStore,
    now: &Content,
    conflict: bool,
    chance: &mut Chance,
) -> Result<(), LogError> {
    let (mut index, mut term) = now.last();
    if conflict && !now.entries.is_empty() {
        index -= chance.below(now.entries.len().min(3) as u64) + 1;
        term += 1;
    }
    let term = term.max(1);
    let mut entries = Vec::new();
    for _ in 0..=chance.below(3) {
        index += 1;
        let data = vec![chance.below(256) as u8; 20 + chance.below(700) as usize];
        entries.push(Entry { index, term, data: data.into(), ..Entry::default() });
    }
    let commit = now.last().0;
    log.append(&entries, Some(&HardState { term, vote: 1, commit, ..HardState::default() }))
}

fn install(log: &mut impl LogStore, now: &Content, chance: &mut Chance) -> Result<(), LogError> {
    let (last, term) = now.last();
    let (index, term) = (last + 5 + chance.below(20), term + 1);
    let mut metadata = SnapshotMetadata { index, term, ..Default::default() };
    metadata.set_conf_state(ConfState { voters: vec![1, 2, 3], ..ConfState::default() });
    log.install(&metadata, &HardState { term, commit: index, ..HardState::default() })
}

/// Puts files of a recording into a directory of their own.
fn lay_out(place: &Path, run: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> std::io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(place)?,
    }
    for (path, bytes) in files {
        let name = path.strip_prefix(run).map_err(std::io::Error::other)?;
        fs::write(place.join(name), bytes)?;
    }
    Ok(())
}

struct Opened {
    torn: bool,
    ahead: bool,
}

/// Opens the log that a crash left, and compares it with what it must hold.
fn check(
    place: &Path,
    done: &Content,
    next: Option<&Content>,
    go_on: bool,
) -> Result<Opened, String> {
    let said = |error: LogError| crate::raft::fatal::chain(&error);
    let mut log = open(place, Arc::new(DefaultFileSystem)).map_err(said)?;
    let held = Content::of(&log).map_err(said)?;
    let ahead = held != *done;
    if ahead && next != Some(&held) {
        let told = |content: &Content| {
            let (last, term) = content.last();
            let (start, state) = (content.start, &content.hard_state);
            format!("{start:?} to {last} of term {term}, {state:?}")
        };
        let next = next.map_or("nothing".to_owned(), told);
        return Err(format!("the log holds {}, and not {} nor {next}", told(&held), told(done)));
    }
    let torn = log.cuts().iter().any(|cut| !cut.zeros);
    if go_on {
        // What was mended can be written to, and read again.
        append(&mut log, &held, false, &mut Chance(1)).map_err(said)?;
        let longer = Content::of(&log).map_err(said)?;
        drop(log);
        let log = open(place, Arc::new(DefaultFileSystem)).map_err(said)?;
        if Content::of(&log).map_err(said)? != longer {
            return Err("what was appended after the start is not there after the next".to_owned());
        }
    }
    Ok(Opened { torn, ahead })
}

fn open<F: FileSystem + 'static>(dir: &Path, files: Arc<F>) -> Result<EngineLog<F>, LogError> {
    EngineLog::open_with(dir, files, SIZES)
}

/// Damages bytes of closed files: each must be refused with the way out, and nothing be touched.
fn damage(dir: &Path, run: &Path, disk: &Disk, chance: &mut Chance) -> Result<u64, String> {
    let whole = disk.crash(disk::Fate::Kept);
    let place = dir.join("damaged");
    let queue = |path: &PathBuf| path.extension().map(ToOwned::to_owned);
    let mut damaged = 0;
    for (path, bytes) in &whole {
        let last = whole.keys().filter(|other| queue(other) == queue(path)).max();
        if last == Some(path) || bytes.is_empty() {
            continue;
        }
        for _ in 0..8 {
            let at = chance.below(bytes.len() as u64) as usize;
            let mut files = whole.clone();
            files.entry(path.clone()).and_modify(|bytes| bytes[at] ^= 0x20);
            lay_out(&place, run, &files).map_err(|error| error.to_string())?;
            let told = format!("byte {at} of {} is damaged", path.display());
            match open(&place, Arc::new(DefaultFileSystem)) {
                Err(error) if error.to_string().contains("to recover") => damaged += 1,
                Err(error) => return Err(format!("{told}, and no way out is told: {error}")),
                Ok(_) => return Err(format!("{told}, and the log opens")),
            }
            let name = path.strip_prefix(run).map_err(|error| error.to_string())?;
            let after = fs::read(place.join(name)).map_err(|error| error.to_string())?;
            if files.get(path) != Some(&after) {
                return Err(format!("{told}, and the evidence was changed"));
            }
        }
    }
    Ok(damaged)
}

/// A small source of chance; the same seed gives the same run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_at_any_write_or_sync_loses_and_invents_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Report::default();
        for seed in 0..3 {
            let report = replay(&dir.path().join(seed.to_string()), seed, 60, 12);
            all.add(report.unwrap_or_else(|broken| panic!("{broken}")));
        }
        // It has seen what it is for.
        assert!(all.crashes > 500 && all.torn > 50 && all.ahead > 100, "{all:?}");
        assert!(all.files > 10 && all.deleted > 3 && all.undeleted > 0, "{all:?}");
        assert!(all.damaged > 0, "{all:?}");
    }
}
