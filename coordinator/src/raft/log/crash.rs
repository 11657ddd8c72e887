//! Crashes of the log on disk: its files are recorded as they are written, and a disk is made of any
//! moment of the recording.
//!
//! [`Recorder`] is a file system for the log engine that carries everything out on real files and
//! writes down what was done. [`disk`] makes the files that a crash at one moment may leave: what
//! was not synced is lost, kept or torn. [`replay`] drives a log through random work and opens it
//! anew from every such disk. Tests and a bench binary use this; a member never does.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};

pub mod disk;
pub mod replay;

/// One thing that was done to the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A file was created.
    Create(PathBuf),
    /// Bytes were written at an offset.
    Write(PathBuf, usize, Vec<u8>),
    /// Room was taken: the file is at least this long now, with zeros at its end.
    Allocate(PathBuf, usize),
    /// The file was cut to a length.
    Truncate(PathBuf, usize),
    /// What was written to the file is durable.
    Sync(PathBuf),
    /// A file was deleted.
    Delete(PathBuf),
    /// The names of the files are durable.
    SyncDir,
    /// The caller was told that its work is done: so many pieces now.
    Done(usize),
}

/// What was done, in order. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<Op>>>);

impl Tape {
    /// Notes one thing.
    pub fn push(&self, op: Op) {
        self.0.lock().push(op);
    }

    /// Everything so far.
    pub fn ops(&self) -> Vec<Op> {
        self.0.lock().clone()
    }
}

type File = <DefaultFileSystem as FileSystem>::Handle;

/// The system's files, with every change noted.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    tape: Tape,
}

impl Recorder {
    /// Where the changes are noted.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    fn wrap(&self, path: &Path, file: File) -> RecordedFile {
        RecordedFile { file: Arc::new(file), path: path.to_owned(), tape: self.tape.clone() }
    }
}

/// An open file.
pub struct RecordedFile {
    file: Arc<File>,
    path: PathBuf,
    tape: Tape,
}

/// A file that is written to.
pub struct RecordedWriter {
    writer: <DefaultFileSystem as FileSystem>::Writer,
    offset: usize,
    path: PathBuf,
    tape: Tape,
}

impl FileSystem for Recorder {
    type Handle = RecordedFile;
    type Reader = <DefaultFileSystem as FileSystem>::Reader;
    type Writer = RecordedWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<RecordedFile> {
        let file = DefaultFileSystem.create(path.as_ref())?;
        self.tape.push(Op::Create(path.as_ref().to_owned()));
        Ok(self.wrap(path.as_ref(), file))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<RecordedFile> {
        let file = DefaultFileSystem.open(path.as_ref(), permission)?;
        Ok(self.wrap(path.as_ref(), file))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        DefaultFileSystem.delete(path.as_ref())?;
        self.tape.push(Op::Delete(path.as_ref().to_owned()));
        Ok(())
    }

    fn rename<P: AsRef<Path>>(&self, _from: P, _to: P) -> io::Result<()> {
        // Only files that are used again are renamed, and none is.
        Err(io::Error::new(io::ErrorKind::Unsupported, "the log renames no files"))
    }

    fn new_reader(&self, handle: Arc<RecordedFile>) -> io::Result<Self::Reader> {
        DefaultFileSystem.new_reader(Arc::clone(&handle.file))
    }

    fn new_writer(&self, handle: Arc<RecordedFile>) -> io::Result<RecordedWriter> {
        Ok(RecordedWriter {
            writer: DefaultFileSystem.new_writer(Arc::clone(&handle.file))?,
            offset: 0,
            path: handle.path.clone(),
            tape: handle.tape.clone(),
        })
    }
}

impl Handle for RecordedFile {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.file.truncate(offset)?;
        self.tape.push(Op::Truncate(self.path.clone(), offset));
        Ok(())
    }

    fn file_size(&self) -> io::Result<usize> {
        self.file.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        self.tape.push(Op::Sync(self.path.clone()));
        Ok(())
    }
}

impl Write for RecordedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.tape.push(Op::Write(self.path.clone(), self.offset, bytes[..written].to_vec()));
        self.offset += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Seek for RecordedWriter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = self.writer.seek(to)?;
        self.offset = usize::try_from(offset).map_err(io::Error::other)?;
        Ok(offset)
    }
}

impl WriteExt for RecordedWriter {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        self.writer.truncate(offset)?;
        self.offset = offset;
        self.tape.push(Op::Truncate(self.path.clone(), offset));
        Ok(())
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        self.writer.allocate(offset, size)?;
        self.tape.push(Op::Allocate(self.path.clone(), offset + size));
        Ok(())
    }
}
