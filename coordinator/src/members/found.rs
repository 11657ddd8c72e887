//! The first entry of a new cluster, written by whoever leads first.

use std::time::Duration;

use parallax_proto::store;
use parallax_proto::store::entry::Command;
use parallax_runtime::clock;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::core::plan::PLAN_VERSION;
use crate::level::level;
use crate::propose::{Origin, Proposer, WriteError};
use crate::raft::member::Leadership;
use crate::view::View;

/// Between two attempts at the first entry.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What the first entry says.
#[derive(Debug, Clone)]
pub struct Founding {
    /// Name of the mesh.
    pub mesh: String,
    /// This member's name.
    pub name: String,
    /// The members that the cluster begins with.
    pub members: Vec<store::MemberRow>,
}

impl Founding {
    /// Writes the first entry unless there is one. This member leads.
    ///
    /// # Errors
    /// When it could not be written; it may have been all the same.
    pub async fn write(&self, view: &View, proposer: &Proposer) -> Result<(), WriteError> {
        if !view.load().cluster.mesh.is_empty() {
            return Ok(());
        }
        let command = Command::InitCluster(store::InitCluster {
            mesh: self.mesh.clone(),
            cluster_id: uuid::Uuid::now_v7().to_string(),
            // Above that of any cluster that was begun here before, as probes remember it.
            epoch: u64::try_from(clock::utc().as_ns() / 1_000_000_000).unwrap_or(1).max(1),
            level: level(),
            plan_version: PLAN_VERSION,
            members: self.members.clone(),
        });
        proposer.write(Origin::leader(&self.name), command).await.map(|_| ())
    }

    /// Waits until there is a first entry, and writes it whenever this member leads before. An
    /// earlier leader's may be on its way; the second of two is refused by apply.
    pub async fn until_written(
        self,
        view: View,
        proposer: Proposer,
        mut applied: watch::Receiver<u64>,
        leadership: watch::Receiver<Leadership>,
    ) {
        while view.load().cluster.mesh.is_empty() {
            let leads = leadership.borrow().leader;
            if leads {
                match self.write(&view, &proposer).await {
                    Ok(()) => info!(members = self.members.len(), "the cluster has begun"),
                    Err(error) => warn!(%error, "the first entry is not written yet"),
                }
            }
            // An error is a timeout, or that the node is gone, which ends this task from outside.
            let _ = tokio::time::timeout(AGAIN_AFTER, applied.changed()).await;
        }
    }
}
