//! Whose a spool is: a file in its directory names the probe that made it.
//!
//! What is spooled goes home under the identity of whoever brings it. A directory that came from another
//! probe (a copied disk, a path given twice) would be taken for what this one has seen.

use std::fmt;
use std::io;

use parallax_common::limits::SPOOL_OWNER_BYTES_MAX;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::files::{Files, is_full};

const NAME: &str = "holder.json";
const UNFINISHED: &str = "holder.json.new";

/// A probe, as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Name of the mesh.
    pub mesh: String,
    /// Name of the region.
    pub region: String,
    /// The probe's own name.
    pub probe: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "probe {:?} of region {:?} in mesh {:?}", self.probe, self.region, self.mesh)
    }
}

/// A spool cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used, or another process uses it.
    #[error("the directory cannot be used")]
    Files(#[from] io::Error),
    /// It is another probe's.
    #[error("it is the spool of {found}, this is {own}: give each probe a directory of its own")]
    Another {
        /// Whose it is.
        found: Box<Holder>,
        /// Who asks.
        own: Box<Holder>,
    },
    /// Its file says nothing.
    #[error(
        "{NAME} in it cannot be read as the name of a probe: if the spool is this probe's, delete that file"
    )]
    Nobody(#[source] serde_json::Error),
}

/// Makes sure that a directory is the spool of this probe. One that says nothing becomes it.
///
/// # Errors
/// When it is another's, or nothing can be read or written.
pub fn claim(files: &dyn Files, own: &Holder) -> Result<(), OpenError> {
    let mut bytes = vec![0; SPOOL_OWNER_BYTES_MAX];
    match files.read(NAME, 0, &mut bytes) {
        Ok(there) => {
            let found: Holder =
                serde_json::from_slice(&bytes[..there]).map_err(OpenError::Nobody)?;
            if found != *own {
                return Err(OpenError::Another { found: found.into(), own: own.clone().into() });
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match write(files, own) {
            Err(error) if is_full(&error) => {
                warn!("the disk of the spool is full: it does not say whose it is");
                Ok(())
            }
            written => Ok(written?),
        },
        Err(error) => Err(error.into()),
    }
}

fn write(files: &dyn Files, own: &Holder) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(own)?;
    let mut file = files.create(UNFINISHED)?;
    file.add(&bytes)?;
    file.sync()?;
    files.rename(UNFINISHED, NAME)?;
    files.sync_names()
}

#[cfg(test)]
mod tests {
    use super::super::files::twin::{Fault, Loss, Twin};
    use super::*;

    fn holder(region: &str) -> Holder {
        Holder { mesh: "m1".into(), region: region.into(), probe: "p1".into() }
    }

    #[test]
    fn a_directory_belongs_to_the_probe_that_used_it_first() {
        let files = Twin::default();
        claim(&files, &holder("eu-west")).unwrap();
        let files = files.after(Loss::All);
        claim(&files, &holder("eu-west")).unwrap();
        let error = claim(&files, &holder("us-east")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is the spool of probe \"p1\" of region \"eu-west\" in mesh \"m1\", this is probe \
             \"p1\" of region \"us-east\" in mesh \"m1\": give each probe a directory of its own"
        );
        files.flip(NAME, 0);
        let error = claim(&files, &holder("eu-west")).unwrap_err();
        assert!(matches!(error, OpenError::Nobody(_)), "{error}");
    }

    #[test]
    fn wherever_a_first_start_ends_the_next_one_may_begin() {
        let steps = {
            let files = Twin::default();
            claim(&files, &holder("eu-west")).unwrap();
            files.steps()
        };
        for step in 0..steps {
            for loss in [Loss::Nothing, Loss::All, Loss::Some(step)] {
                let files = Twin::with(Fault::EndAt(step));
                claim(&files, &holder("eu-west")).unwrap_err();
                claim(&files.after(loss), &holder("eu-west")).unwrap();
            }
        }
        claim(&Twin::with(Fault::FullAt(0, u64::MAX)), &holder("eu-west")).unwrap();
    }
}
