//! The file system as history uses it: a seam, so that a twin can fail, tear and forget.
//!
//! [`System`] is the system's own. The twin in `files/twin.rs` is in memory, for tests: it ends the
//! process at any step, loses what was not synced, refuses a write or a sync, and is full.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

#[cfg(test)]
pub mod twin;

/// Directories and names. What a method says is done is durable only where it says so.
pub trait Files: Debug + Send + Sync + 'static {
    /// Makes a directory and those above it.
    ///
    /// # Errors
    /// What the system says; so for all of these.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// An empty file for writing, whatever was there.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Writing>>;

    /// A file that is there, for more at its end.
    ///
    /// # Errors
    /// What the system says.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Writing>>;

    /// A file that is there, for reading. It can be read to its end although its name goes.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Reading>>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is written.
pub trait Writing: Debug + Send {
    /// Adds bytes at its end. After an error some of them may be there.
    ///
    /// # Errors
    /// What the system says.
    fn add(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it to a length that it has.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Makes what is in it durable, not its name.
    ///
    /// # Errors
    /// What the system says. Nothing is known of the file then.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is read.
pub trait Reading: Debug + Send + Sync {
    /// Its length.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Fills all of `bytes` from a place on.
    ///
    /// # Errors
    /// What the system says; also when it ends before.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
}

/// All of a file.
///
/// # Errors
/// What the system says.
pub fn read(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    let file = files.open(path)?;
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Files for System {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Writing>> {
        Ok(Box::new(File::create(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Writing>> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Reading>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl Writing for File {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        // Its length is needed to read it, so this writes that, too.
        self.sync_data()
    }
}

impl Reading for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }
}
