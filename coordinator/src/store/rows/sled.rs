//! The rows on disk: `sled`, kept on a short lead.
//!
//! The database lives in a generation directory, `rows-<n>`, named by the file `CURRENT`. On any
//! doubt about one, a new one is built from elsewhere and `CURRENT` is replaced, which is atomic.
//! What has to be known about this version of the database stands beside the line that respects it.

use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parallax_common::limits;
use parallax_runtime::clock;
use parking_lot::{Mutex, RwLock};
use tracing::{info, warn};

use super::{Row, RowChange, RowError, RowStore};
use record::{Pieces, Record};

mod record;

const CURRENT: &str = "CURRENT";
const PREFIX: &str = "rows-";
const ASIDE: &str = ".doubt";
const FORMAT: u64 = 1;
/// How long a start waits for whoever has the database open.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// What was found when the rows were opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: this is a new directory.
    New,
    /// Rows, as of this log index.
    Rows(u64),
    /// Something that cannot be trusted. It was moved aside, and the rows are empty now.
    Doubt(String),
}

/// The rows on disk.
pub struct SledRows {
    dir: PathBuf,
    generation: RwLock<Arc<Generation>>,
    /// Held by the one who writes.
    writing: Mutex<()>,
    found: Found,
}

/// One database.
struct Generation {
    number: u64,
    db: ::sled::Db,
    /// Our own descriptor of the database's file: its `flush` only starts the writing.
    file: File,
}

impl SledRows {
    /// Opens the rows in `dir`, or makes new ones. What cannot be trusted is moved aside.
    pub fn open(dir: &Path) -> Result<Self, RowError> {
        Self::open_within(dir, LOCK_WAIT)
    }

    fn open_within(dir: &Path, wait: Duration) -> Result<Self, RowError> {
        fs::create_dir_all(dir).map_err(RowError::io("create its directory"))?;
        let current = read_current(dir)?;
        clear_leftovers(dir, current)?;
        let (generation, found) = match current {
            None => (Generation::begin(dir, 1)?, Found::New),
            Some(number) => match Generation::reopen(dir, number, wait) {
                Ok((generation, applied)) => (generation, Found::Rows(applied)),
                Err(error) if !error.is_damage() => return Err(error),
                Err(error) => {
                    let why = describe(&error);
                    warn!(%why, generation = number, "the row store cannot be trusted, rebuilding");
                    set_aside(dir, number)?;
                    (Generation::begin(dir, number + 1)?, Found::Doubt(why))
                }
            },
        };
        if current != Some(generation.number) {
            generation.set_applied(0)?;
            write_current(dir, generation.number)?;
        }
        let generation = RwLock::new(Arc::new(generation));
        Ok(Self { dir: dir.to_owned(), generation, writing: Mutex::new(()), found })
    }

    /// What was there when these rows were opened.
    pub fn found(&self) -> &Found {
        &self.found
    }

    fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.generation.read())
    }
}

impl RowStore for SledRows {
    fn applied_index(&self) -> Result<u64, RowError> {
        self.generation().number_at(record::APPLIED)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        self.generation().get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, RowError> {
        let generation = self.generation();
        let mut from = record::row_key(after.filter(|after| *after >= prefix).unwrap_or(prefix));
        if after.is_some_and(|after| after >= prefix) {
            from.push(0); // the least key behind it
        }
        let prefix = record::row_key(prefix);
        let mut rows = Vec::new();
        for item in generation.db.range(from..) {
            let (key, value) = item.map_err(RowError::sled("scan"))?;
            if rows.len() == limit || !key.starts_with(&prefix) {
                break;
            }
            // None: removed since the scan passed it.
            rows.extend(generation.row(&key[1..], &value)?);
        }
        Ok(rows)
    }

    fn load(&self, each: &mut dyn FnMut(Row)) -> Result<(), RowError> {
        let generation = self.generation();
        for item in generation.db.scan_prefix([record::ROW]) {
            let (key, value) = item.map_err(RowError::sled("load"))?;
            if let Some(row) = generation.row(&key[1..], &value)? {
                each(row);
            }
        }
        Ok(())
    }

    fn write(&self, changes: &[RowChange], applied: u64) -> Result<(), RowError> {
        let _writing = self.writing.lock();
        let generation = self.generation();
        let present = generation.number_at(record::APPLIED)?;
        if applied < present {
            return Err(RowError::Backwards { present, asked: applied });
        }
        generation.write(changes, Some(applied))?;
        generation.sync()
    }

    fn replace(
        &self,
        rows: &mut dyn Iterator<Item = Result<Row, RowError>>,
        applied: u64,
    ) -> Result<(), RowError> {
        let _writing = self.writing.lock();
        let old = self.generation();
        let new = Generation::begin(&self.dir, old.number + 1)?;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for row in rows {
            let row = row?;
            let change = RowChange { key: row.key, value: Some(row.value) };
            bytes += change.bytes();
            changes.push(change);
            if bytes > limits::STORE_BATCH_BYTES_MAX {
                new.write(&changes, None)?;
                changes.clear();
                bytes = 0;
            }
        }
        new.write(&changes, None)?;
        new.set_applied(applied)?;
        write_current(&self.dir, new.number)?;
        info!(generation = new.number, applied, "the row store was rebuilt");
        let path = generation_path(&self.dir, old.number);
        *self.generation.write() = Arc::new(new);
        drop(old);
        fs::remove_dir_all(path).map_err(RowError::io("delete an old generation"))
    }

    fn live_bytes(&self) -> Result<u64, RowError> {
        self.generation().number_at(record::LIVE)
    }

    fn disk_bytes(&self) -> Result<u64, RowError> {
        self.generation().db.size_on_disk().map_err(RowError::sled("measure its files"))
    }
}

impl Generation {
    /// A new, empty database.
    fn begin(dir: &Path, number: u64) -> Result<Self, RowError> {
        let path = generation_path(dir, number);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(RowError::io("delete a half-made generation"))?;
        }
        let generation = Self::open(&path, number, Duration::ZERO)?;
        generation.put(record::FORMAT, FORMAT)?;
        generation.sync()?;
        // The names of new files are durable only with their directories.
        sync_dir(&path)?;
        sync_dir(dir)?;
        Ok(generation)
    }

    /// A database that was used before, and its applied index.
    fn reopen(dir: &Path, number: u64, wait: Duration) -> Result<(Self, u64), RowError> {
        let path = generation_path(dir, number);
        if !path.join("db").exists() {
            return Err(RowError::Damaged(format!("{} has no database", path.display())));
        }
        // A snapshot of the database's own that a kill left half-written makes it unreadable.
        for entry in fs::read_dir(&path).map_err(RowError::io("list a generation"))? {
            let path = entry.map_err(RowError::io("list a generation"))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                fs::remove_file(&path).map_err(RowError::io("delete a half-written file"))?;
            }
        }
        // It panics on some kinds of damage.
        let generation = catch_unwind(AssertUnwindSafe(|| Self::open(&path, number, wait)))
            .unwrap_or_else(|_| Err(RowError::Damaged("the database gave up".to_owned())))?;
        let format = generation.number_at(record::FORMAT)?;
        if format != FORMAT {
            return Err(RowError::Damaged(format!("its format is {format}, not {FORMAT}")));
        }
        if generation.db.get(record::APPLIED).map_err(RowError::sled("read"))?.is_none() {
            return Err(RowError::Damaged("it does not say what is applied".to_owned()));
        }
        let applied = generation.number_at(record::APPLIED)?;
        Ok((generation, applied))
    }

    fn open(path: &Path, number: u64, wait: Duration) -> Result<Self, RowError> {
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(limits::STORE_CACHE_BYTES)
            .flush_every_ms(None);
        let deadline = clock::instant() + wait;
        let db = loop {
            match config.open() {
                Ok(db) => break db,
                // Its own threads may hold the lock for a moment after it was dropped.
                Err(error) if is_locked(&error) => {
                    if clock::instant() >= deadline {
                        return Err(RowError::Busy);
                    }
                    std::thread::sleep(LOCK_POLL);
                }
                Err(error) => return Err(RowError::sled("open")(error)),
            }
        };
        let file = File::open(path.join("db")).map_err(RowError::io("open the database's file"))?;
        Ok(Self { number, db, file })
    }

    /// Durable after this: `flush` hands the bytes to the system, the rest is ours.
    fn sync(&self) -> Result<(), RowError> {
        self.db.flush().map_err(RowError::sled("flush"))?;
        self.file.sync_data().map_err(RowError::io("sync the database's file"))
    }

    fn put(&self, key: &[u8], number: u64) -> Result<(), RowError> {
        self.db.insert(key, &number.to_be_bytes()).map_err(RowError::sled("write"))?;
        Ok(())
    }

    fn set_applied(&self, applied: u64) -> Result<(), RowError> {
        self.put(record::APPLIED, applied)?;
        self.sync()
    }

    fn number_at(&self, key: &[u8]) -> Result<u64, RowError> {
        let Some(value) = self.db.get(key).map_err(RowError::sled("read"))? else { return Ok(0) };
        let bytes = value.as_ref().try_into();
        Ok(u64::from_be_bytes(bytes.map_err(|_| RowError::Damaged("a number".to_owned()))?))
    }

    fn record(&self, key: &[u8]) -> Result<Option<Record>, RowError> {
        let value = self.db.get(record::row_key(key)).map_err(RowError::sled("read"))?;
        value.map(|value| Record::decode(&value)).transpose()
    }

    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        let Some(value) = self.db.get(record::row_key(key)).map_err(RowError::sled("read"))? else {
            return Ok(None);
        };
        Ok(self.row(key, &value)?.map(|row| row.value))
    }

    /// The row whose record is `value`, with its pieces. They may be replaced while they are read;
    /// then the record is read again.
    fn row(&self, key: &[u8], value: &[u8]) -> Result<Option<Row>, RowError> {
        let mut record = Record::decode(value)?;
        for _ in 0..8 {
            let value = match &record {
                Record::Whole(value) => Some(value.clone()),
                Record::Pieces(pieces) => {
                    let mut bytes = Vec::with_capacity(pieces.length as usize);
                    for key in pieces.keys(key) {
                        let piece = self.db.get(key).map_err(RowError::sled("read"))?;
                        bytes.extend_from_slice(&piece.unwrap_or_default());
                    }
                    pieces.fit(&bytes).then(|| Bytes::from(bytes))
                }
            };
            if let Some(value) = value {
                return Ok(Some(Row { key: Bytes::copy_from_slice(key), value }));
            }
            match self.record(key)? {
                Some(again) => record = again,
                None => return Ok(None),
            }
        }
        Err(RowError::Damaged(format!("the pieces of row {key:?} do not fit")))
    }

    /// One atomic batch, not yet synced.
    fn write(&self, changes: &[RowChange], applied: Option<u64>) -> Result<(), RowError> {
        let mut last = std::collections::BTreeMap::new();
        for change in changes {
            last.insert(&change.key, &change.value);
        }
        let mut batch = ::sled::Batch::default();
        let mut live = self.number_at(record::LIVE)?;
        for (key, value) in last {
            let row_key = record::row_key(key);
            if let Some(old) = self.db.get(&row_key).map_err(RowError::sled("read"))? {
                let (length, pieces) = record::shape(&old)?;
                live = live.saturating_sub((key.len() + length) as u64);
                if let Some(pieces) = pieces {
                    pieces.keys(key).for_each(|key| batch.remove(key));
                }
            }
            match value {
                Some(value) => {
                    live += (key.len() + value.len()) as u64;
                    if let Some(pieces) = Pieces::of(value, applied.unwrap_or(0)) {
                        let parts = value.chunks(limits::STORE_PIECE_BYTES);
                        for (key, part) in pieces.keys(key).zip(parts) {
                            batch.insert(key, part);
                        }
                        batch.insert(row_key, pieces.encode());
                    } else {
                        batch.insert(row_key, record::whole(value));
                    }
                }
                None => batch.remove(row_key),
            }
        }
        batch.insert(record::LIVE, &live.to_be_bytes());
        if let Some(applied) = applied {
            batch.insert(record::APPLIED, &applied.to_be_bytes());
        }
        self.db.apply_batch(batch).map_err(RowError::sled("write"))
    }
}

/// Whether the database is open elsewhere. It says so in words only.
fn is_locked(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error) if error.to_string().contains("acquire lock"))
}

fn describe(error: &RowError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn generation_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number}"))
}

/// The generation that `CURRENT` names. A file that says nothing sensible counts as absent: it is
/// only ever replaced whole, and what it names can be rebuilt.
fn read_current(dir: &Path) -> Result<Option<u64>, RowError> {
    match fs::read_to_string(dir.join(CURRENT)) {
        Ok(text) => Ok(text.trim().strip_prefix(PREFIX).and_then(|number| number.parse().ok())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(RowError::io("read CURRENT")(error)),
    }
}

fn write_current(dir: &Path, number: u64) -> Result<(), RowError> {
    let new = dir.join("CURRENT.new");
    let mut file = File::create(&new).map_err(RowError::io("create CURRENT.new"))?;
    writeln!(file, "{PREFIX}{number}").map_err(RowError::io("write CURRENT.new"))?;
    file.sync_all().map_err(RowError::io("sync CURRENT.new"))?;
    fs::rename(&new, dir.join(CURRENT)).map_err(RowError::io("replace CURRENT"))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> Result<(), RowError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(RowError::io("sync a directory"))
}

/// Deletes generations that are not the current one: half-made, or already replaced.
fn clear_leftovers(dir: &Path, current: Option<u64>) -> Result<(), RowError> {
    for entry in fs::read_dir(dir).map_err(RowError::io("list its directory"))? {
        let entry = entry.map_err(RowError::io("list its directory"))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u64>().ok());
        if number.is_some() && number != current {
            fs::remove_dir_all(entry.path()).map_err(RowError::io("delete a leftover"))?;
        }
    }
    Ok(())
}

/// Keeps a generation that cannot be trusted for whoever wants to know why; only the last such.
fn set_aside(dir: &Path, number: u64) -> Result<(), RowError> {
    for entry in fs::read_dir(dir).map_err(RowError::io("list its directory"))? {
        let entry = entry.map_err(RowError::io("list its directory"))?;
        if entry.file_name().to_string_lossy().ends_with(ASIDE) {
            fs::remove_dir_all(entry.path()).map_err(RowError::io("delete an old doubt"))?;
        }
    }
    let path = generation_path(dir, number);
    if path.exists() {
        let aside = dir.join(format!("{PREFIX}{number}{ASIDE}"));
        fs::rename(path, aside).map_err(RowError::io("move a generation aside"))?;
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[test]
    fn the_rows_on_disk_keep_the_contract() {
        contract::suite(|| {
            let dir = tempfile::tempdir().unwrap();
            move || SledRows::open(dir.path()).unwrap()
        });
    }

    fn used(dir: &Path) {
        let rows = SledRows::open(dir).unwrap();
        assert_eq!(rows.found(), &Found::New);
        rows.write(&[RowChange::put("a", "1")], 7).unwrap();
    }

    #[test]
    fn a_half_written_snapshot_of_the_database_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        used(dir.path());
        let half = dir.path().join("rows-1/snap.0000000000000000.generating");
        fs::write(&half, b"half").unwrap();
        let rows = SledRows::open(dir.path()).unwrap();
        assert_eq!(rows.found(), &Found::Rows(7));
        assert_eq!(rows.get(b"a").unwrap().unwrap(), "1");
        assert!(!half.exists());
    }

    #[test]
    fn a_damaged_database_is_moved_aside_and_the_rows_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        used(dir.path());
        for entry in fs::read_dir(dir.path().join("rows-1")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::write(path, vec![0xA5; 4_096]).unwrap();
            }
        }
        let rows = SledRows::open(dir.path()).unwrap();
        assert!(matches!(rows.found(), Found::Doubt(_)), "{:?}", rows.found());
        assert_eq!(rows.applied_index().unwrap(), 0);
        assert!(dir.path().join("rows-1.doubt").exists());
        rows.replace(&mut std::iter::empty(), 3).unwrap();
        drop(rows);
        assert_eq!(SledRows::open(dir.path()).unwrap().found(), &Found::Rows(3));
    }

    #[test]
    fn rows_that_are_open_elsewhere_are_busy_and_not_a_doubt() {
        let dir = tempfile::tempdir().unwrap();
        used(dir.path());
        let rows = SledRows::open(dir.path()).unwrap();
        let second = SledRows::open_within(dir.path(), Duration::ZERO);
        assert!(matches!(second, Err(RowError::Busy)));
        assert!(!dir.path().join("rows-1.doubt").exists());
        rows.write(&[RowChange::put("a", "2")], 8).unwrap();
        drop(rows);
        assert_eq!(SledRows::open(dir.path()).unwrap().found(), &Found::Rows(8));
    }

    #[test]
    fn a_missing_database_is_a_doubt() {
        let dir = tempfile::tempdir().unwrap();
        used(dir.path());
        fs::remove_dir_all(dir.path().join("rows-1")).unwrap();
        let rows = SledRows::open(dir.path()).unwrap();
        assert!(matches!(rows.found(), Found::Doubt(_)));
        assert_eq!(rows.applied_index().unwrap(), 0);
    }

    #[test]
    fn a_rebuild_that_was_interrupted_leaves_the_old_rows_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        used(dir.path());
        fs::create_dir(dir.path().join("rows-2")).unwrap();
        fs::write(dir.path().join("rows-2/db"), b"half").unwrap();
        fs::write(dir.path().join("CURRENT.new"), b"rows-2").unwrap();
        let rows = SledRows::open(dir.path()).unwrap();
        assert_eq!(rows.found(), &Found::Rows(7));
        assert!(!dir.path().join("rows-2").exists());
        rows.replace(&mut std::iter::empty(), 9).unwrap();
        assert!(!dir.path().join("rows-1").exists());
    }
}
