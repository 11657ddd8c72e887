//! A data directory in the hands of a tool: locked, and nothing in it is ever deleted.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use parallax_runtime::clock;
use parallax_runtime::transport::Credentials;
use tracing::info;

use super::OfflineError;
use crate::identity::{self, Identity};

/// A data directory, for as long as this lives.
pub struct Place {
    dir: PathBuf,
    _lock: Option<File>,
}

impl Place {
    /// Takes the directory, which must be there.
    pub fn take(dir: &Path) -> Result<Self, OfflineError> {
        if !dir.is_dir() {
            return Err(OfflineError::NoDirectory(dir.to_owned()));
        }
        let lock = File::create(dir.join("lock"))
            .map_err(OfflineError::io("create the lock file of the data directory"))?;
        Self::locked(dir, Some(lock))
    }

    /// Takes the directory without writing anything into it.
    pub fn look(dir: &Path) -> Result<Self, OfflineError> {
        if !dir.is_dir() {
            return Err(OfflineError::NoDirectory(dir.to_owned()));
        }
        match File::open(dir.join("lock")) {
            Ok(lock) => Self::locked(dir, Some(lock)),
            // No member ever ran on it.
            Err(error) if error.kind() == ErrorKind::NotFound => Self::locked(dir, None),
            Err(error) => Err(OfflineError::io("open the lock file of the data directory")(error)),
        }
    }

    fn locked(dir: &Path, lock: Option<File>) -> Result<Self, OfflineError> {
        match lock.as_ref().map_or(Ok(()), File::try_lock) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OfflineError::Locked(dir.to_owned())),
            Err(TryLockError::Error(error)) => {
                Err(OfflineError::io("lock the data directory")(error))
            }
        }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Who the member is; none when the directory was never used.
    pub fn identity(&self) -> Result<Option<Identity>, OfflineError> {
        Ok(identity::read(&self.dir)?)
    }

    /// Moves what is there under these names into a new directory beside them, and says which.
    pub fn set_aside(&self, names: &[PathBuf]) -> Result<Option<PathBuf>, OfflineError> {
        let there: Vec<_> = names.iter().filter(|name| self.dir.join(name).exists()).collect();
        if there.is_empty() {
            return Ok(None);
        }
        let seconds = clock::utc().as_ns() / 1_000_000_000;
        // A second within the same second waits for nobody.
        let aside = (0..).map(|n| self.dir.join(format!("set-aside-{seconds}-{n}")));
        let aside = aside.into_iter().find(|path| !path.exists()).unwrap_or_default();
        fs::create_dir(&aside).map_err(OfflineError::io("make a directory to move into"))?;
        for name in there {
            let to = aside.join(name.file_name().unwrap_or_default());
            fs::rename(self.dir.join(name), to).map_err(OfflineError::io("move files aside"))?;
        }
        self.sync()?;
        info!(to = %aside.display(), "moved files aside");
        Ok(Some(aside))
    }

    /// Makes the names in the directory durable.
    pub fn sync(&self) -> Result<(), OfflineError> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(OfflineError::io("sync the data directory"))
    }
}

/// Certificates of a directory.
pub fn credentials(dir: &Path) -> Result<Credentials, OfflineError> {
    Credentials::load(dir).map_err(|error| {
        OfflineError::Refused(format!(
            "the certificates in {} cannot be used: {}",
            dir.display(),
            parallax_runtime::error::causes(&error)
        ))
    })
}
