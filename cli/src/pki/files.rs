//! Key and certificate files: who may read them, and that none is lost or left half written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::pki::PkiError;

/// A file to be.
pub(super) struct NewFile {
    path: PathBuf,
    text: String,
    mode: u32,
}

impl NewFile {
    /// Readable by its owner alone.
    pub(super) fn secret(path: PathBuf, text: String) -> Self {
        Self { path, text, mode: 0o600 }
    }

    /// Readable by everybody.
    pub(super) fn public(path: PathBuf, text: String) -> Self {
        Self { path, text, mode: 0o644 }
    }

    fn staged(&self) -> PathBuf {
        self.path.with_extension("pem.new")
    }

    fn write(&self, path: &Path) -> Result<(), PkiError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(self.mode);
        let mut file = options.open(path).map_err(failed(path))?;
        file.write_all(self.text.as_bytes()).map_err(failed(path))?;
        file.sync_all().map_err(failed(path))
    }
}

/// Makes a directory that its owner alone may enter, with those above it. An existing one is left
/// as it is.
pub(super) fn make_dir(dir: &Path) -> Result<(), PkiError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))
}

pub(super) fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(failed(path))
}

/// Writes files that must not be there yet: none of them, when one is.
pub(super) fn create(new: Vec<NewFile>) -> Result<Vec<PathBuf>, PkiError> {
    if let Some(there) = new.iter().find(|file| file.path.exists()) {
        let authority = there.path.ends_with(super::AUTHORITY_KEY)
            || there.path.with_file_name(super::AUTHORITY_KEY).exists();
        let hint = if authority {
            " (an authority lives here; without its key no certificate can be renewed)"
        } else {
            " (--renew replaces a certificate)"
        };
        return Err(PkiError::Exists { path: there.path.clone(), hint });
    }
    replace(new)
}

/// Puts files in place, each whole: a reader sees the old one or the new one.
pub(super) fn replace(new: Vec<NewFile>) -> Result<Vec<PathBuf>, PkiError> {
    for file in &new {
        let staged = file.staged();
        // Left by a process that was stopped here.
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&staged)(error));
            }
            _ => file.write(&staged)?,
        }
    }
    for file in &new {
        fs::rename(file.staged(), &file.path).map_err(failed(&file.path))?;
    }
    if let Some(dir) = new.first().and_then(|file| file.path.parent()) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))?;
    }
    Ok(new.into_iter().map(|file| file.path).collect())
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PkiError {
    move |source| PkiError::File { path: path.to_owned(), source }
}
