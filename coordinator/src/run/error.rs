//! Why a coordinator could not start, or had to stop.

use parallax_common::guard::TooManyNetworks;
use parallax_runtime::transport::{BindError, CredentialsError};

use crate::config::InitialMembersError;
use crate::history::segment::SegmentError;
use crate::identity::IdentityError;
use crate::members::Farewell;
use crate::members::join::JoinError;
use crate::notify::reach::ReachError;
use crate::propose::WriteError;
use crate::raft::halt::StartError;
use crate::raft::log::LogError;
use crate::store::rows::RowError;
use crate::store::snapshot::SnapshotError;

/// Why a coordinator could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The certificate files.
    #[error("the certificate cannot be used")]
    Credentials(#[from] CredentialsError),
    /// The certificate is somebody else's.
    #[error("the certificate is {theirs}, not coordinator \"{name}\" of mesh \"{mesh}\"")]
    Identity {
        /// Whose it is.
        theirs: String,
        /// Who we are told to be.
        name: String,
        /// Of which mesh.
        mesh: String,
    },
    /// The data directory.
    #[error("the data directory {path} cannot be used")]
    DataDir {
        /// Which.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Who this member is.
    #[error("it is not clear who this member is")]
    MemberIdentity(#[from] IdentityError),
    /// The list of initial members.
    #[error(transparent)]
    InitialMembers(#[from] InitialMembersError),
    /// The data is of another node id than the list of initial members gives.
    #[error("the data directory is that of node {held}, --initial-members makes it node {wanted}")]
    OtherNode {
        /// What is there.
        held: u64,
        /// What the list says.
        wanted: u64,
    },
    /// The cluster does not take it.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// It is not part of its cluster any more.
    #[error("this member has stopped for good: {0}")]
    Dismissed(String),
    /// Its node id belongs to another disk.
    #[error("this member has stopped for good, its node id lives on another disk: {0}")]
    OtherDisk(String),
    /// Its state is not that of the majority.
    #[error("this member has stopped, it does not hold what the others hold: {0}")]
    Differs(String),
    /// Another process uses the data directory.
    #[error("the data directory {0} is used by another process")]
    Locked(String),
    /// The cluster has moved on.
    #[error(
        "the cluster is at feature level {needed}, and this build has {has}: install the newer build \
         on this member"
    )]
    Level {
        /// Of the cluster.
        needed: u32,
        /// Of this build.
        has: u32,
    },
    /// The data is of another mesh.
    #[error("the data directory holds mesh \"{held}\", not \"{wanted}\"")]
    OtherMesh {
        /// What is there.
        held: String,
        /// What was asked for.
        wanted: String,
    },
    /// The log.
    #[error("the raft log cannot be opened")]
    Log(#[from] LogError),
    /// The rows of the applied state.
    #[error("the stored state cannot be opened")]
    Rows(#[from] RowError),
    /// The snapshots.
    #[error("the snapshots cannot be opened")]
    Snapshots(#[from] SnapshotError),
    /// Log, snapshots and rows together.
    #[error("the state cannot be recovered")]
    Start(#[from] StartError),
    /// The history store.
    #[error("the history cannot be opened")]
    History(#[from] SegmentError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The public listener or the ports file.
    #[error("cannot serve on {what}")]
    Serve {
        /// Which.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The reflection service.
    #[error("the descriptor set cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The sender of pages.
    #[error("pages cannot be sent")]
    Contacts(#[from] ReachError),
    /// The flags say too much of where contacts may lead to.
    #[error(transparent)]
    Networks(#[from] TooManyNetworks),
    /// The first entry.
    #[error("the cluster could not be set up")]
    Setup(#[source] WriteError),
    /// A task that the process is of no use without.
    #[error("a vital task ended; the log says which")]
    Task,
}

/// Exit code of a member that does not belong to its cluster any more: starting it again is in vain.
pub const DISMISSED: u8 = 3;
/// Exit code of a member whose node id belongs to another disk: it needs a new one.
pub const OTHER_DISK: u8 = 4;
/// Exit code of a member whose state differs from that of the majority: it has to be rebuilt.
pub const DIFFERS: u8 = 5;

impl RunError {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        use parallax_common::rule::{MEMBER_OTHER_DISK, MEMBER_REMOVED};
        match self {
            Self::Dismissed(_) => DISMISSED,
            Self::OtherDisk(_) => OTHER_DISK,
            Self::Differs(_) => DIFFERS,
            Self::Join(error) => match error.rule.as_deref() {
                Some(rule) if rule == MEMBER_OTHER_DISK.id => OTHER_DISK,
                Some(rule) if rule == MEMBER_REMOVED.id => DISMISSED,
                _ => 1,
            },
            _ => 1,
        }
    }
}

impl From<Farewell> for RunError {
    fn from(farewell: Farewell) -> Self {
        match farewell {
            Farewell::Removed(why) => Self::Dismissed(why),
            Farewell::OtherDisk(why) => Self::OtherDisk(why),
            Farewell::Differs(why) => Self::Differs(why),
        }
    }
}
