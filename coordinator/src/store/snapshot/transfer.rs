//! Snapshot files on their way from one member to another: read as bytes here, and kept there only
//! once they are whole, verified and durable.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write as _};
use std::path::PathBuf;

use parallax_common::limits;
use tracing::{info, warn};

use super::file::FileSnapshots;
use super::memory::MemSnapshots;
use super::{SnapshotError, SnapshotId, SnapshotStore, format, rows_of};

/// A snapshot's bytes and how many there are. They stay readable when the file is deleted meanwhile.
pub type Outgoing = (Box<dyn Read + Send>, u64);

/// Snapshots that can be carried elsewhere.
pub trait SnapshotTransfer: SnapshotStore {
    /// Opens a snapshot to be sent. It is not verified: whoever takes it does that.
    fn open_bytes(&self, id: SnapshotId) -> Result<Outgoing, SnapshotError>;

    /// Begins to take a snapshot that another member sends.
    fn receive(&self, id: SnapshotId) -> Result<Box<dyn Arriving>, SnapshotError>;
}

/// A snapshot that is being received. Dropped before its end, it leaves nothing behind.
pub trait Arriving: Send {
    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError>;

    /// Verifies what came, makes it durable, and only then lets it be seen under its name. What was
    /// there before under that name is replaced.
    fn finish(self: Box<Self>) -> Result<(), SnapshotError>;
}

impl SnapshotTransfer for FileSnapshots {
    fn open_bytes(&self, id: SnapshotId) -> Result<Outgoing, SnapshotError> {
        let file = File::open(self.path(id)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => SnapshotError::Missing(id),
            _ => SnapshotError::io("open a file")(error),
        })?;
        let bytes = file.metadata().map_err(SnapshotError::io("measure a file"))?.len();
        Ok((Box::new(BufReader::with_capacity(limits::SNAPSHOT_PIECE_BYTES, file)), bytes))
    }

    fn receive(&self, id: SnapshotId) -> Result<Box<dyn Arriving>, SnapshotError> {
        let mut path = self.path(id).into_os_string();
        path.push(".received.unfinished");
        let path = PathBuf::from(path);
        let file = File::create(&path).map_err(SnapshotError::io("create a file"))?;
        let out = BufWriter::with_capacity(limits::SNAPSHOT_PIECE_BYTES, file);
        let store = FileSnapshots::at(self.dir());
        Ok(Box::new(ArrivingFile { store, id, path, out, finished: false }))
    }
}

struct ArrivingFile {
    store: FileSnapshots,
    id: SnapshotId,
    path: PathBuf,
    out: BufWriter<File>,
    finished: bool,
}

impl Arriving for ArrivingFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.out.write_all(bytes).map_err(SnapshotError::io("write"))
    }

    fn finish(mut self: Box<Self>) -> Result<(), SnapshotError> {
        self.out.flush().map_err(SnapshotError::io("write"))?;
        let written = File::open(&self.path).map_err(SnapshotError::io("open a file"))?;
        let (_, rows) = format::read(BufReader::with_capacity(256 * 1024, written), self.id)?;
        for row in rows {
            row?;
        }
        self.out.get_ref().sync_all().map_err(SnapshotError::io("sync a file"))?;
        fs::rename(&self.path, self.store.path(self.id))
            .map_err(SnapshotError::io("rename a file"))?;
        self.finished = true;
        self.store.sync_dir()?;
        info!(index = self.id.index, "received a snapshot");
        Ok(())
    }
}

impl Drop for ArrivingFile {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.path)
        {
            // The next start deletes it.
            warn!(%error, path = %self.path.display(), "an unfinished snapshot stays for now");
        }
    }
}

impl SnapshotTransfer for MemSnapshots {
    fn open_bytes(&self, id: SnapshotId) -> Result<Outgoing, SnapshotError> {
        let bytes = self.bytes(id).ok_or(SnapshotError::Missing(id))?;
        let length = bytes.len() as u64;
        Ok((Box::new(std::io::Cursor::new(bytes)), length))
    }

    fn receive(&self, id: SnapshotId) -> Result<Box<dyn Arriving>, SnapshotError> {
        Ok(Box::new(ArrivingBytes { store: self.clone(), id, bytes: Vec::new() }))
    }
}

struct ArrivingBytes {
    store: MemSnapshots,
    id: SnapshotId,
    bytes: Vec<u8>,
}

impl Arriving for ArrivingBytes {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), SnapshotError> {
        let (header, rows) = format::read(self.bytes.as_slice(), self.id)?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        self.store.write(&header, &mut rows_of(&rows))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{header, read, rows};
    use super::*;

    /// Carries a snapshot in small pieces; `spoil` may change what arrives.
    fn carry(
        from: &dyn SnapshotTransfer,
        to: &dyn SnapshotTransfer,
        id: SnapshotId,
        spoil: impl Fn(&mut Vec<u8>),
    ) -> Result<(), SnapshotError> {
        let (mut bytes, length) = from.open_bytes(id)?;
        let mut whole = Vec::new();
        bytes.read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len() as u64, length);
        spoil(&mut whole);
        let mut arriving = to.receive(id)?;
        for piece in whole.chunks(100) {
            arriving.write(piece)?;
            assert!(!to.list().unwrap().contains(&id), "seen before it is whole");
        }
        arriving.finish()
    }

    fn suite(from: &impl SnapshotTransfer, to: &impl SnapshotTransfer) {
        let id = header(7, 2).id;
        assert!(matches!(from.open_bytes(id), Err(SnapshotError::Missing(_))));
        from.write(&header(7, 2), &mut rows_of(&rows(5, 40))).unwrap();
        let spoils: [fn(&mut Vec<u8>); 3] = [
            |bytes| bytes.truncate(bytes.len() - 1),
            |bytes| bytes.push(0),
            |bytes| bytes[60] ^= 1,
        ];
        for spoil in spoils {
            let error = carry(from, to, id, spoil).unwrap_err();
            assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
            assert!(to.list().unwrap().is_empty());
        }
        drop(to.receive(id).unwrap());
        assert!(to.list().unwrap().is_empty());
        carry(from, to, id, |_| ()).unwrap();
        assert_eq!(to.list().unwrap(), [id]);
        assert_eq!(read(to, id), (header(7, 2), rows(5, 40)));
        // Read on while it is deleted under the reader.
        let (mut bytes, length) = from.open_bytes(id).unwrap();
        from.remove(id).unwrap();
        assert!(!from.list().unwrap().contains(&id));
        let mut whole = Vec::new();
        bytes.read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len() as u64, length);
    }

    #[test]
    fn a_snapshot_arrives_whole_or_not_at_all() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |dir: &tempfile::TempDir| FileSnapshots::open(dir.path()).unwrap();
        suite(&open(&from), &open(&to));
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1, "nothing unfinished is left");
        suite(&MemSnapshots::default(), &MemSnapshots::default());
    }

    #[test]
    fn what_a_crash_left_half_received_is_deleted_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(dir.path()).unwrap();
        let mut arriving = store.receive(header(7, 2).id).unwrap();
        arriving.write(b"half").unwrap();
        std::mem::forget(arriving);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let store = FileSnapshots::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(store.list().unwrap().is_empty());
    }
}
