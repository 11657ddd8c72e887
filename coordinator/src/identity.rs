//! Who this member is, kept beside its data: `<data-dir>/member.json`.
//!
//! A node id belongs to one disk. The disk's id is drawn when the data directory is new and told to
//! the cluster, which refuses the node id from any other disk: a member that lost its log must not
//! vote again as if it had it. What is decided here is only which node id a start has; the cluster's
//! side is in `core/state/members.rs`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::InitialMember;

const FILE: &str = "member.json";

/// What `member.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// 0: not known yet, this member has not joined.
    pub node_id: u64,
    /// Drawn when the data directory was new.
    pub disk_id: String,
    /// The name that the node id was given to.
    pub name: String,
    /// The log has held something: an empty one is a lost one from now on.
    pub begun: bool,
}

/// Why the identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system or the parser said.
        #[source]
        source: std::io::Error,
    },
    /// There is a log and nothing that says whose.
    #[error(
        "{0} is missing although there is a raft log: who this member is was lost. to recover, move \
         the data directory aside, remove the member and add it anew"
    )]
    Lost(PathBuf),
    /// The data is of another member.
    #[error("the data directory is that of member \"{held}\", not of \"{wanted}\"")]
    OtherName {
        /// What is there.
        held: String,
        /// What was asked for.
        wanted: String,
    },
    /// The log was there once.
    #[error(
        "this member has had a raft log and there is none any more: it must not vote as if it had \
         it. to recover, move the data directory aside, remove the member and add it anew"
    )]
    LogLost,
}

/// How a start comes to its node id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// It has been in its cluster before; everything else is in the log.
    Again,
    /// The first start of a cluster that begins with these members, with node ids from 1.
    Begin(Vec<InitialMember>),
    /// The first start of a cluster of its own.
    Alone,
    /// It has to be let in.
    Join,
}

/// Reads the identity kept in `data_dir`; none when there never was one.
///
/// # Errors
/// When the file cannot be read.
pub fn read(data_dir: &Path) -> Result<Option<Identity>, IdentityError> {
    let path = data_dir.join(FILE);
    let failed = |source| IdentityError::File { path: path.clone(), source };
    match std::fs::read(&path) {
        Ok(text) => parse(&text).map(Some).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// What the bytes of the file say.
///
/// # Errors
/// They are none that were written.
pub fn parse(bytes: &[u8]) -> serde_json::Result<Identity> {
    serde_json::from_slice(bytes)
}

impl Identity {
    /// Reads the identity kept in `data_dir`, or makes and keeps a new one.
    ///
    /// # Errors
    /// When the file cannot be read or written, is of another member, or is missing beside a log.
    pub fn open(data_dir: &Path, name: &str) -> Result<Self, IdentityError> {
        let path = data_dir.join(FILE);
        let failed = |source| IdentityError::File { path: path.clone(), source };
        let has_log = has_files(&data_dir.join("log")).map_err(failed)?;
        let identity = match std::fs::read(&path) {
            Ok(text) => {
                let identity = parse(&text).map_err(|error| failed(error.into()))?;
                if identity.name != name {
                    let (held, wanted) = (identity.name, name.to_owned());
                    return Err(IdentityError::OtherName { held, wanted });
                }
                identity
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if has_log {
                    return Err(IdentityError::Lost(path));
                }
                let disk_id = uuid::Uuid::now_v7().to_string();
                let new = Self { node_id: 0, disk_id, name: name.to_owned(), begun: false };
                new.keep(data_dir)?;
                new
            }
            Err(error) => return Err(failed(error)),
        };
        if identity.begun && !has_log { Err(IdentityError::LogLost) } else { Ok(identity) }
    }

    /// How this start comes to its node id. `initial` has been checked.
    pub fn start(&self, initial: &[InitialMember], join: bool) -> Start {
        if self.begun {
            Start::Again
        } else if join {
            Start::Join
        } else if initial.is_empty() {
            Start::Alone
        } else {
            Start::Begin(initial.to_vec())
        }
    }

    /// Writes the file, so that a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// What the system said.
    pub fn keep(&self, data_dir: &Path) -> Result<(), IdentityError> {
        let path = data_dir.join(FILE);
        let write = || {
            let temporary = path.with_extension("tmp");
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            std::fs::File::open(data_dir)?.sync_all()
        };
        write().map_err(|source| IdentityError::File { path: path.clone(), source })
    }
}

/// Whether a directory is there and holds something.
fn has_files(path: &Path) -> std::io::Result<bool> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().transpose()?.is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_keeps_its_id_and_belongs_to_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::open(dir.path(), "c1").unwrap();
        assert_eq!(Identity::open(dir.path(), "c1").unwrap(), first);
        let refused = Identity::open(dir.path(), "c2");
        assert!(matches!(refused, Err(IdentityError::OtherName { .. })), "{refused:?}");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Identity::open(other.path(), "c1").unwrap().disk_id, first.disk_id);
    }

    #[test]
    fn a_log_without_an_identity_and_an_identity_without_its_log_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open(dir.path(), "c1").unwrap();
        Identity { begun: true, node_id: 1, ..identity }.keep(dir.path()).unwrap();
        assert!(matches!(Identity::open(dir.path(), "c1"), Err(IdentityError::LogLost)));
        std::fs::create_dir(dir.path().join("log")).unwrap();
        assert!(matches!(Identity::open(dir.path(), "c1"), Err(IdentityError::LogLost)));
        std::fs::write(dir.path().join("log/1"), "entries").unwrap();
        assert!(Identity::open(dir.path(), "c1").unwrap().begun);
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(matches!(Identity::open(dir.path(), "c1"), Err(IdentityError::Lost(_))));
    }

    #[test]
    fn what_was_begun_goes_on_whatever_the_flags_say() {
        let member = |name: &str| InitialMember { name: name.into(), peer_address: "a:1".into() };
        let list = [member("c1"), member("c2")];
        let new = Identity { node_id: 0, disk_id: "d".into(), name: "c1".into(), begun: false };
        let begun = Identity { node_id: 2, begun: true, ..new.clone() };
        let cases = [
            (&new, &list[..0], false, Start::Alone),
            (&new, &list[..], false, Start::Begin(list.to_vec())),
            (&new, &list[..0], true, Start::Join),
            (&begun, &list[..0], false, Start::Again),
            (&begun, &list[..], false, Start::Again),
            (&begun, &list[..0], true, Start::Again),
        ];
        for (identity, initial, join, expected) in cases {
            assert_eq!(identity.start(initial, join), expected);
        }
    }
}
