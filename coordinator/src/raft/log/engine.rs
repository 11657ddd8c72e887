//! The log on disk: `raft-engine`, told to tolerate nothing, behind our own look at its files.
//!
//! One engine holds one group. The newest entries are also kept in memory, because every entry is
//! read back once, right after its sync, when it is applied.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parallax_common::limits;
use raft::eraftpb::{Entry, HardState, SnapshotMetadata};
use raft_engine::env::{DefaultFileSystem, FileSystem};
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};
use tracing::{debug, warn};

use super::scan::{self, Cut};
use super::terms::Terms;
use super::written::Written;
use super::{LogError, LogStore, check_append, check_range, entry_bytes, limit_bytes};

/// The one group in this engine.
const GROUP: u64 = 1;
const HARD_STATE: &[u8] = b"hard_state";
const START: &[u8] = b"start";
/// Held as long as the log is open, from before its files are looked at.
const LOCK: &str = "IN_USE";
/// Entries read at once at a start.
const READ_AHEAD: u64 = 1_024;

/// Tells the engine what an entry is.
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// How large the files of a log become.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// One file.
    pub file_bytes: u64,
    /// All files, before those that hold nothing any more are deleted.
    pub purge_bytes: u64,
}

impl Sizes {
    /// Those of a member.
    pub const USUAL: Self =
        Self { file_bytes: limits::LOG_FILE_BYTES, purge_bytes: limits::LOG_PURGE_BYTES };
}

/// The log on disk. Its files are the system's, but for those who record what is done to them.
pub struct EngineLog<F: FileSystem = Written<DefaultFileSystem>> {
    engine: Engine<F>,
    hard_state: HardState,
    start: SnapshotMetadata,
    terms: Terms,
    cache: Cache,
    cuts: Vec<Cut>,
    /// Released last.
    _lock: File,
}

impl EngineLog {
    /// Opens the log in `dir`, or makes a new one. A torn end is cut and told; damage is refused.
    pub fn open(dir: &Path) -> Result<Self, LogError> {
        Self::open_with(dir, Arc::new(Written::system()), Sizes::USUAL)
    }
}

impl<F: FileSystem + 'static> EngineLog<F> {
    /// The same, with files and sizes of one's own.
    pub fn open_with(dir: &Path, files: Arc<F>, sizes: Sizes) -> Result<Self, LogError> {
        std::fs::create_dir_all(dir).map_err(LogError::io("create its directory"))?;
        // The engine's own lock would come after the cut.
        let lock = File::create(dir.join(LOCK)).map_err(LogError::io("create its lock file"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => LogError::Busy,
            TryLockError::Error(error) => LogError::io("lock its directory")(error),
        })?;
        let cuts = scan::mend(dir)?;
        for cut in &cuts {
            let file = cut.file.display();
            if cut.zeros {
                debug!(%file, offset = cut.offset, bytes = cut.bytes, "cut unused space off the log");
            } else {
                warn!(%file, offset = cut.offset, bytes = cut.bytes, "cut a torn end off the log");
            }
        }
        let config = Config {
            dir: dir.to_string_lossy().into_owned(),
            recovery_mode: RecoveryMode::AbsoluteConsistency,
            target_file_size: ReadableSize(sizes.file_bytes),
            purge_threshold: ReadableSize(sizes.purge_bytes),
            // Old bytes of a recycled file would lie behind a torn end and look like damage.
            enable_log_recycle: false,
            batch_compression_threshold: ReadableSize(0),
            recovery_threads: 2,
            ..Config::default()
        };
        // The engine panics on histories that it cannot put together.
        let engine =
            catch_unwind(AssertUnwindSafe(|| Engine::open_with_file_system(config, files)))
                .map_err(|_| LogError::Inconsistent("the engine gave up reading it".to_owned()))?
                .map_err(engine_error("open"))?;
        // The engine syncs its directory when it makes another file, but not after its first ones.
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(LogError::io("sync its directory"))?;
        let hard_state = engine
            .get_message::<HardState>(GROUP, HARD_STATE)
            .map_err(engine_error("read the hard state"))?
            .unwrap_or_default();
        let start = engine
            .get_message::<SnapshotMetadata>(GROUP, START)
            .map_err(engine_error("read its start"))?
            .unwrap_or_default();
        let terms = Terms::after(start.index, start.term);
        let mut log =
            Self { engine, hard_state, start, terms, cache: Cache::default(), cuts, _lock: lock };
        log.read_all()?;
        Ok(log)
    }

    /// What was cut off the end when this log was opened.
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// Learns the terms, and with that reads every entry once.
    fn read_all(&mut self) -> Result<(), LogError> {
        let Some(last) = self.engine.last_index(GROUP) else { return Ok(()) };
        let first = self.engine.first_index(GROUP).unwrap_or(last);
        if first != self.first_index() {
            return Err(LogError::Inconsistent(format!(
                "it should begin with entry {} and begins with {first}",
                self.first_index()
            )));
        }
        let mut low = first;
        while low <= last {
            let high = last.min(low + READ_AHEAD - 1) + 1;
            for entry in self.fetch(low, high, None)? {
                if entry.index != low {
                    return Err(LogError::Inconsistent(format!(
                        "entry {low} calls itself {}",
                        entry.index
                    )));
                }
                low += 1;
                self.terms.push(entry.index, entry.term);
                self.cache.push(entry);
            }
        }
        Ok(())
    }

    fn fetch(&self, low: u64, high: u64, bytes: Option<u64>) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        let bytes = bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        self.engine
            .fetch_entries_to::<Entries>(GROUP, low, high, bytes, &mut entries)
            .map_err(engine_error("read entries"))?;
        if entries.is_empty() {
            return Err(LogError::Inconsistent(format!("entry {low} is gone")));
        }
        Ok(entries)
    }

    fn write(&self, batch: &mut LogBatch, action: &'static str) -> Result<(), LogError> {
        self.engine.write(batch, true).map(|_| ()).map_err(engine_error(action))
    }
}

impl<F: FileSystem + 'static> LogStore for EngineLog<F> {
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
        if low >= high {
            return Ok(Vec::new());
        }
        let mut entries = match self.cache.range(low, high) {
            Some(entries) => entries,
            None => self.fetch(low, high, bytes_max)?,
        };
        limit_bytes(&mut entries, bytes_max);
        Ok(entries)
    }

    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<(), LogError> {
        check_append(entries, self.first_index(), self.last_index())?;
        let mut batch = LogBatch::default();
        batch.add_entries::<Entries>(GROUP, entries).map_err(engine_error("encode entries"))?;
        if let Some(hard_state) = hard_state {
            batch
                .put_message(GROUP, HARD_STATE.to_vec(), hard_state)
                .map_err(engine_error("encode the hard state"))?;
        }
        self.write(&mut batch, "append")?;
        for entry in entries {
            self.terms.push(entry.index, entry.term);
            self.cache.push(entry.clone());
        }
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        Ok(())
    }

    fn install(
        &mut self,
        metadata: &SnapshotMetadata,
        hard_state: &HardState,
    ) -> Result<(), LogError> {
        let mut batch = LogBatch::default();
        batch.add_command(GROUP, Command::Clean);
        batch
            .put_message(GROUP, HARD_STATE.to_vec(), hard_state)
            .and_then(|()| batch.put_message(GROUP, START.to_vec(), metadata))
            .map_err(engine_error("encode the start"))?;
        self.write(&mut batch, "begin behind a snapshot")?;
        self.start = metadata.clone();
        self.hard_state = hard_state.clone();
        self.terms = Terms::after(metadata.index, metadata.term);
        self.cache = Cache::default();
        Ok(())
    }

    fn compact(&mut self, metadata: &SnapshotMetadata) -> Result<(), LogError> {
        if metadata.index <= self.start.index {
            return Ok(());
        }
        self.term(metadata.index)?;
        let mut batch = LogBatch::default();
        batch.add_command(GROUP, Command::Compact { index: metadata.index + 1 });
        batch
            .put_message(GROUP, START.to_vec(), metadata)
            .map_err(engine_error("encode the start"))?;
        self.write(&mut batch, "compact")?;
        self.start = metadata.clone();
        self.terms.begin_at(metadata.index);
        self.cache.drop_to(metadata.index);
        self.engine.purge_expired_files().map_err(engine_error("purge old files"))?;
        Ok(())
    }
}

fn engine_error(action: &'static str) -> impl Fn(raft_engine::Error) -> LogError {
    move |source| LogError::Engine { action, source }
}

/// The newest entries, up to a bound.
#[derive(Default)]
struct Cache {
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl Cache {
    fn push(&mut self, entry: Entry) {
        while self.entries.back().is_some_and(|last| last.index >= entry.index) {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, entry_bytes);
        }
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
        while self.bytes > limits::LOG_CACHE_BYTES as u64 && self.entries.len() > 1 {
            self.bytes -= self.entries.pop_front().as_ref().map_or(0, entry_bytes);
        }
    }

    fn drop_to(&mut self, index: u64) {
        while self.entries.front().is_some_and(|first| first.index <= index) {
            self.bytes -= self.entries.pop_front().as_ref().map_or(0, entry_bytes);
        }
    }

    /// `low..high`, when all of it is here.
    fn range(&self, low: u64, high: u64) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.index;
        let skip = usize::try_from(low.checked_sub(first)?).ok()?;
        let take = usize::try_from(high - low).ok()?;
        (skip + take <= self.entries.len())
            .then(|| self.entries.iter().skip(skip).take(take).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::PathBuf;

    use super::super::contract::{self, entry, hard_state};
    use super::*;

    #[test]
    fn the_log_on_disk_keeps_the_contract() {
        contract::suite(|| {
            let dir = tempfile::tempdir().unwrap();
            move || EngineLog::open(dir.path()).unwrap()
        });
    }

    /// A log of `batches` batches of one entry each, as a kill leaves it: never closed.
    fn killed(dir: &Path, batches: u64) {
        let mut log = EngineLog::open(dir).unwrap();
        for index in 1..=batches {
            log.append(&[entry(index, 1)], Some(&hard_state(1, index - 1))).unwrap();
        }
        // A kill runs no destructor: the preallocated space stays.
        std::mem::forget(log);
        fs::remove_file(dir.join("LOCK")).unwrap();
        fs::remove_file(dir.join(LOCK)).unwrap();
    }

    fn last_file(dir: &Path) -> PathBuf {
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "raftlog"))
            .collect();
        files.sort();
        files.pop().unwrap()
    }

    /// Where each record of the file begins, and where the last one ends.
    fn offsets(path: &Path) -> Vec<usize> {
        let bytes = fs::read(path).unwrap();
        let mut offsets = vec![69];
        loop {
            let at = *offsets.last().unwrap();
            let Some(head) = bytes.get(at..at + 8) else { break };
            let length = (u64::from_be_bytes(head.try_into().unwrap()) >> 8) as usize;
            if length == 0 {
                break;
            }
            offsets.push(at + length);
        }
        offsets
    }

    #[test]
    fn space_that_a_kill_leaves_behind_is_cut_without_losing_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        killed(dir.path(), 10);
        let log = EngineLog::open(dir.path()).unwrap();
        assert!(log.cuts().iter().any(|cut| cut.zeros && cut.bytes > 0), "{:?}", log.cuts());
        assert_eq!(log.last_index(), 10);
        assert_eq!(log.hard_state().commit, 9);
    }

    #[test]
    fn a_log_that_is_open_elsewhere_is_busy_and_is_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = EngineLog::open(dir.path()).unwrap();
        log.append(&[entry(1, 1)], None).unwrap();
        let length = || fs::metadata(last_file(dir.path())).unwrap().len();
        let before = length();
        assert!(matches!(EngineLog::open(dir.path()), Err(LogError::Busy)));
        assert_eq!(length(), before);
        log.append(&[entry(2, 1)], None).unwrap();
        drop(log);
        assert_eq!(EngineLog::open(dir.path()).unwrap().last_index(), 2);
    }

    #[test]
    fn a_torn_last_record_is_cut_at_every_length_and_told() {
        let dir = tempfile::tempdir().unwrap();
        killed(dir.path(), 5);
        let path = last_file(dir.path());
        let offsets = offsets(&path);
        let whole = fs::read(&path).unwrap();
        let (from, to) = (offsets[4], offsets[5]);
        for length in from + 1..to {
            fs::write(&path, &whole[..length]).unwrap();
            let log = EngineLog::open(dir.path()).unwrap();
            assert_eq!(log.last_index(), 4, "cut to {length}");
            assert_eq!(log.cuts().len(), 1);
            assert_eq!(log.cuts()[0].offset, from as u64);
            drop(log);
        }
    }

    #[test]
    fn a_torn_record_within_preallocated_space_is_cut_and_the_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        killed(dir.path(), 5);
        let path = last_file(dir.path());
        let offsets = offsets(&path);
        let mut bytes = fs::read(&path).unwrap();
        bytes[offsets[5] - 9..offsets[5]].fill(0);
        fs::write(&path, &bytes).unwrap();
        let mut log = EngineLog::open(dir.path()).unwrap();
        assert_eq!(log.last_index(), 4);
        assert!(!log.cuts()[0].zeros);
        log.append(&[entry(5, 2)], None).unwrap();
        drop(log);
        assert_eq!(EngineLog::open(dir.path()).unwrap().term(5).unwrap(), 2);
    }

    #[test]
    fn a_flipped_byte_in_any_record_but_the_last_is_damage_and_nothing_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        killed(dir.path(), 5);
        let path = last_file(dir.path());
        let offsets = offsets(&path);
        let whole = fs::read(&path).unwrap();
        for at in offsets[0]..offsets[4] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(&path, &bytes).unwrap();
            let error = EngineLog::open(dir.path()).err().expect("damage must be refused");
            assert!(matches!(error, LogError::Damaged { .. }), "byte {at}: {error}");
            assert!(error.to_string().contains("to recover"), "{error}");
            assert!(fs::read(&path).unwrap() == bytes, "byte {at}: the evidence was changed");
        }
    }

    #[test]
    fn a_broken_file_with_a_later_one_behind_it_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        {
            let mut log = EngineLog::open(dir.path()).unwrap();
            let big = |index| {
                let mut entry = entry(index, 1);
                entry.data = vec![7; 200 * 1024].into();
                entry
            };
            for index in 1..=50 {
                log.append(&[big(index)], None).unwrap();
            }
        }
        let first = dir.path().join("0000000000000001.raftlog");
        assert_ne!(last_file(dir.path()), first);
        let length = fs::metadata(&first).unwrap().len();
        fs::OpenOptions::new().write(true).open(&first).unwrap().set_len(length - 3).unwrap();
        assert!(matches!(EngineLog::open(dir.path()), Err(LogError::Damaged { .. })));
    }

    #[test]
    fn a_file_that_was_created_and_never_used_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        killed(dir.path(), 3);
        for content in [&b""[..], &b"RAFT-LOG-FI"[..], &[0; 4096][..]] {
            let path = dir.path().join("0000000000000002.raftlog");
            fs::File::create(&path).unwrap().write_all(content).unwrap();
            // The file before it was closed when this one was made.
            let before = dir.path().join("0000000000000001.raftlog");
            let end = *offsets(&before).last().unwrap() as u64;
            fs::OpenOptions::new().write(true).open(&before).unwrap().set_len(end).unwrap();
            let log = EngineLog::open(dir.path()).unwrap();
            assert_eq!(log.cuts().len(), 1);
            assert_eq!(log.last_index(), 3);
        }
    }

    #[test]
    fn compaction_gives_files_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = EngineLog::open(dir.path()).unwrap();
        for index in 1..=400 {
            let mut entry = entry(index, 1);
            entry.data = vec![index as u8; 250 * 1024].into();
            log.append(&[entry], None).unwrap();
        }
        let files = || fs::read_dir(dir.path()).unwrap().count();
        let before = files();
        let metadata = SnapshotMetadata { index: 395, term: 1, ..Default::default() };
        log.compact(&metadata).unwrap();
        assert!(files() < before / 2, "{} of {before} files are left", files());
        drop(log);
        let log = EngineLog::open(dir.path()).unwrap();
        assert_eq!((log.first_index(), log.last_index()), (396, 400));
        assert_eq!(log.entries(396, 401, None).unwrap()[2].data[0], 398u64 as u8);
    }
}
