//! Files of the log whose space is written before it is used.
//!
//! The engine takes space ahead of its writes. Space that is only reserved has to be marked as written
//! when data comes, so that each sync also writes the file system's journal, and waits for it. Space
//! that holds zeros already needs nothing but the data. What a crash leaves is the same: zeros where
//! nothing was written, which a start cuts off.

use std::io::{Result, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use raft_engine::env::{DefaultFileSystem, FileSystem, Permission, WriteExt};

/// Zeros that are written at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Files like those of `F`, but for the space that is taken ahead.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written<F>(F);

impl Written<DefaultFileSystem> {
    /// The system's files.
    pub fn system() -> Self {
        Self(DefaultFileSystem)
    }
}

impl<F: FileSystem> FileSystem for Written<F> {
    type Handle = F::Handle;
    type Reader = F::Reader;
    type Writer = Writer<F::Writer>;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<Self::Handle> {
        self.0.create(path)
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> Result<Self::Handle> {
        self.0.open(path, permission)
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.0.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.0.rename(from, to)
    }

    fn reuse<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.0.reuse(from, to)
    }

    fn reuse_and_open<P: AsRef<Path>>(&self, from: P, to: P) -> Result<Self::Handle> {
        self.0.reuse_and_open(from, to)
    }

    fn delete_metadata<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.0.delete_metadata(path)
    }

    fn exists_metadata<P: AsRef<Path>>(&self, path: P) -> bool {
        self.0.exists_metadata(path)
    }

    fn new_reader(&self, handle: Arc<Self::Handle>) -> Result<Self::Reader> {
        self.0.new_reader(handle)
    }

    fn new_writer(&self, handle: Arc<Self::Handle>) -> Result<Self::Writer> {
        Ok(Writer(self.0.new_writer(handle)?))
    }
}

/// Writes to one of these files.
pub struct Writer<W>(W);

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

impl<W: Seek> Seek for Writer<W> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.0.seek(to)
    }
}

impl<W: Write + Seek + WriteExt> WriteExt for Writer<W> {
    fn truncate(&mut self, offset: usize) -> Result<()> {
        self.0.truncate(offset)
    }

    /// The engine asks for this only behind the end of the file. After an error it writes without the
    /// space, as it does when none can be reserved.
    fn allocate(&mut self, offset: usize, size: usize) -> Result<()> {
        let place = self.0.stream_position()?;
        let written = self.fill(offset, size);
        self.0.seek(SeekFrom::Start(place))?;
        written
    }
}

impl<W: Write + Seek + WriteExt> Writer<W> {
    fn fill(&mut self, offset: usize, size: usize) -> Result<()> {
        // In one piece on the disk, and an error before anything is written when there is no room.
        self.0.allocate(offset, size)?;
        self.0.seek(SeekFrom::Start(offset as u64))?;
        let zeros = vec![0; size.min(PIECE_BYTES)];
        let mut left = size;
        while left > 0 {
            let piece = left.min(zeros.len());
            self.0.write_all(&zeros[..piece])?;
            left -= piece;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_that_is_taken_ahead_holds_zeros_and_what_was_written_stays_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let files = Written::system();
        let mut writer = files.new_writer(Arc::new(files.create(&path).unwrap())).unwrap();
        writer.write_all(b"head").unwrap();
        let size = 2 * PIECE_BYTES + 11;
        writer.allocate(4, size).unwrap();
        writer.write_all(b"next").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 4 + size);
        assert_eq!(&bytes[..8], b"headnext");
        assert!(bytes[8..].iter().all(|byte| *byte == 0));
        writer.truncate(8).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8);
    }
}
