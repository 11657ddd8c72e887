//! The file system as the spool uses it: a seam, so that a twin can fail, tear and forget.
//!
//! [`System`] is the system's own. The twin in `files/twin.rs` is in memory, for tests: it ends the
//! process at any step, loses what was not synced, refuses a write or a sync, and is full. Both pass
//! the suite in `files/contract.rs`.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod contract;
#[cfg(test)]
pub mod twin;

/// One directory with files. What a method says is done is durable only where it says so.
pub trait Files: Debug + Send + Sync + 'static {
    /// The names that are there.
    ///
    /// # Errors
    /// What the system says; so for all of these.
    fn list(&self) -> io::Result<Vec<String>>;

    /// An empty file for writing, whatever was there.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, name: &str) -> io::Result<Box<dyn Writing>>;

    /// Fills `bytes` from a place of a file on, as far as the file goes; how many there were.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str, at: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Its length.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Cuts a file to a length that it has, durably.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&self, name: &str, length: u64) -> io::Result<()>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&self) -> io::Result<()>;
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

/// All of a file.
///
/// # Errors
/// What the system says.
pub fn read_all(files: &dyn Files, name: &str) -> io::Result<Vec<u8>> {
    let length = usize::try_from(files.length(name)?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let there = files.read(name, 0, &mut bytes)?;
    bytes.truncate(there);
    Ok(bytes)
}

/// Whether there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether this place of the disk cannot be read, and will not be later.
pub fn is_bad(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let bad = [Errno::IO, Errno::BADMSG, Errno::UCLEAN].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| bad.contains(&number))
}

/// Whether the process lacks something, and the disk nothing.
pub fn is_of_the_process(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| lacking.contains(&number))
}

/// A directory of the system.
#[derive(Debug)]
pub struct System {
    dir: PathBuf,
    /// Held for as long as this lives: two probes in one directory would write over each other.
    _lock: File,
}

impl System {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::WouldBlock`] when another process has it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        lock.try_lock()?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }
}

impl Files for System {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Writing>> {
        Ok(Box::new(File::create(self.dir.join(name))?))
    }

    fn read(&self, name: &str, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let file = File::open(self.dir.join(name))?;
        let mut there = 0;
        while there < bytes.len() {
            match file.read_at(&mut bytes[there..], at + there as u64)? {
                0 => break,
                more => there += more,
            }
        }
        Ok(there)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.dir.join(name))?.len())
    }

    fn cut(&self, name: &str, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.dir.join(name))?;
        file.set_len(length)?;
        file.sync_data()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
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
