//! How a cluster begins, and what a start and a leader tidy up.

use std::net::SocketAddr;
use std::time::Duration;

use parallax_common::limits::{CLIENT_AGE_MAX, FORGET_CLIENTS_MAX};
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use parallax_runtime::clock;
use parallax_runtime::supervisor::TaskKind;
use tokio::sync::watch;
use tracing::warn;

use super::{RunError, Starting, dialled};
use crate::core::peering::Refusal;
use crate::members::Farewell;
use crate::members::follow::{self, follow};
use crate::members::found::Founding;
use crate::propose::{Origin, Proposer, stager};
use crate::raft::member::Leadership;
use crate::view::View;

/// How long a start waits for a leader before it serves without one.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
/// How often clients that have gone silent are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

impl Starting<'_> {
    /// Has the first entry of a new cluster written, and follows the rows of its members. A group
    /// of one waits for its first entry; a member of a larger one serves without.
    pub(super) async fn set_up(
        &self,
        proposer: &Proposer,
        peers_at: SocketAddr,
    ) -> Result<(), RunError> {
        let Self { config, node, standing, ref view, .. } = *self;
        let parts = follow::Parts {
            view: view.clone(),
            applied: node.applied_watch(),
            peers: standing.peers.clone(),
            dismissal: self.dismissal.clone(),
            identity: standing.identity.clone(),
            data_dir: config.data_dir.clone(),
        };
        self.vital("members", follow(parts));
        let mut members = standing.initial.clone();
        if let [alone] = members.as_mut_slice()
            && alone.peer_address.is_empty()
        {
            alone.peer_address = self.peer_address(peers_at);
        }
        let (mesh, name) = (config.mesh.clone(), config.name.clone());
        let founding = Founding { mesh, name, members };
        if !standing.is_alone(node) {
            let (applied, leads) = (node.applied_watch(), node.leadership());
            // What the log still holds and this state does not know of expires.
            let orphans = orphans(standing.identity.node_id, view);
            let (view, proposer) = (view.clone(), proposer.clone());
            let (stop, name) = (self.supervisor.stop_token(), config.name.clone());
            self.supervisor.spawn(TaskKind::Session("first entry"), async move {
                let begin = async {
                    founding.until_written(view, proposer.clone(), applied, leads).await;
                    drop_orphans(&name, orphans, &proposer).await;
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = begin => {}
                }
            });
            return Ok(());
        }
        let mut leadership = node.leadership();
        let leads = async { leadership.wait_for(|now| now.leader).await.is_ok() };
        if !tokio::time::timeout(LEADER_WITHIN, leads).await.unwrap_or(false) {
            warn!("no leader yet, serving all the same");
            return Ok(());
        }
        // Everything committed before this start is applied first.
        if proposer.barrier().await.is_err() {
            return Ok(());
        }
        if view.load().cluster.mesh.is_empty() {
            return founding.write(view, proposer).await.map_err(RunError::Setup);
        }
        let orphans = orphans(standing.identity.node_id, view);
        drop_orphans(&config.name, orphans, proposer).await;
        Ok(())
    }

    /// Where other members reach this one, when it knows better than its row: it was told, or it is
    /// the only one and nobody else could have said it.
    pub(super) fn peer_address(&self, listens: SocketAddr) -> String {
        match &self.config.advertise_peers {
            Some(told) => told.clone(),
            None if self.standing.is_alone(self.node) => dialled(None, listens).unwrap_or_default(),
            None => String::new(),
        }
    }

    /// A member that was away when it was removed never applies that it was, and one on another disk
    /// applies nothing; others tell it.
    pub(super) fn heed_removal(&self) {
        let mut told = self.standing.peers.shut_out();
        let (dismissal, stop) = (self.dismissal.clone(), self.supervisor.stop_token());
        let own = self.config.name.clone();
        self.supervisor.spawn(TaskKind::Session("removal"), async move {
            let by = tokio::select! {
                () = stop.cancelled() => return,
                by = told.wait_for(Option::is_some) => by.ok().and_then(|by| by.clone()),
            };
            let Some((peer, refusal)) = by else { return };
            let name = peer.name;
            dismissal.dismiss(match refusal {
                Refusal::OtherDisk => Farewell::OtherDisk(format!(
                    "\"{name}\" knows \"{own}\" on another disk; a machine whose disk is gone is \
                     replaced under a new node id: remove \"{own}\", add it again, then start it \
                     with an empty data directory and --join"
                )),
                _ => Farewell::Removed(format!(
                    "\"{name}\" says that it was removed from the cluster"
                )),
            });
        });
    }
}

/// Applies that an earlier life of this member was staging when it was killed: nobody will commit
/// them, and they would keep others out until they expire. Asked before this life stages any.
pub(super) fn orphans(node_id: u64, view: &View) -> Vec<String> {
    let ours = stager(node_id);
    let open = view.load().open_stages();
    open.into_iter().filter(|txn| txn.starts_with(&ours)).collect()
}

pub(super) async fn drop_orphans(name: &str, orphans: Vec<String>, proposer: &Proposer) {
    for txn in orphans {
        let command = Command::DropStage(store::DropStage { txn });
        if let Err(error) = proposer.write(Origin::member(name), command).await {
            warn!(%error, "an apply that nobody will commit could not be dropped; it will expire");
        }
    }
}

/// Forgets clients that have been silent for 15 min of stamped time, while this member leads.
pub(super) async fn forget_clients(
    view: View,
    proposer: Proposer,
    leadership: watch::Receiver<Leadership>,
    name: String,
) {
    let mut every = tokio::time::interval(FORGET_EVERY);
    loop {
        every.tick().await;
        if !leadership.borrow().leader {
            continue;
        }
        let clients = view.load().silent_clients(clock::utc() - CLIENT_AGE_MAX);
        for clients in clients.chunks(FORGET_CLIENTS_MAX) {
            let clients = clients.to_vec();
            let command = Command::ForgetClients(store::ForgetClients { clients });
            if let Err(error) = proposer.write(Origin::leader(&name), command).await {
                warn!(%error, "silent clients could not be forgotten, trying again in a minute");
                break;
            }
        }
    }
}
