//! A member whose state differs from that of the majority does not come back with it: a note in its
//! data directory keeps it from starting until the state was replaced.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::error;

use super::{RunError, Starting};
use crate::members::Farewell;

/// The note's name in the data directory.
pub const FILE: &str = "differs";

/// The note of one data directory.
#[derive(Debug, Clone)]
pub(super) struct Differs(PathBuf);

impl Differs {
    /// Of this directory.
    ///
    /// # Errors
    /// [`RunError::Differs`] when there is a note.
    pub(super) fn open(data_dir: &Path) -> Result<Self, RunError> {
        let path = data_dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(why) => Err(RunError::Differs(why.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self(path)),
            Err(source) => Err(RunError::DataDir { path: data_dir.display().to_string(), source }),
        }
    }

    fn write(&self, why: &str) -> std::io::Result<()> {
        let mut file = std::fs::File::create(&self.0)?;
        writeln!(file, "{why}")?;
        file.sync_all()?;
        // The name has to outlive a power cut too.
        self.0.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
    }
}

impl Starting<'_> {
    /// What this member does once it knows that its state differs as of an index.
    pub(super) fn on_difference(&self) -> Arc<dyn Fn(u64) + Send + Sync> {
        let (note, dismissal) = (self.differs.clone(), self.dismissal.clone());
        Arc::new(move |index| {
            let why = format!(
                "the state differs from that of the majority as of entry {index}. to recover, run \
                 `parallax-coordinator rebuild-from-peer`, which replaces it"
            );
            if let Err(error) = note.write(&why) {
                // It stops all the same, and finds out again if it is started.
                error!(%error, "could not note that the state differs");
            }
            dismissal.dismiss(Farewell::Differs(why));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_difference_is_what_the_next_start_says() {
        let dir = tempfile::tempdir().unwrap();
        let note = Differs::open(dir.path()).unwrap();
        note.write("it differs as of entry 7").unwrap();
        let refused = Differs::open(dir.path()).unwrap_err();
        assert!(refused.to_string().contains("as of entry 7"), "{refused}");
        assert_eq!(refused.exit_code(), 5);
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(Differs::open(dir.path()).is_ok());
    }
}
