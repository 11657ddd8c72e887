//! Status: checks x regions as this member sees them now, and the stream of changes.

use std::collections::BTreeSet;

use parallax_common::check::Check;
use parallax_proto::v1::status_service_server::StatusService;
use parallax_proto::{convert, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::page::{matches, page};
use super::{Api, Need, namespace_of};
use crate::core::state::State;
use crate::watch::cursor::Asked;
use crate::watch::feed;

/// Changes that may wait for a slow watcher before it has to catch up from the ring.
const WATCH_QUEUE: usize = 256;

#[tonic::async_trait]
impl StatusService for Api {
    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let options = request.get_ref().options.clone().unwrap_or_default();
        let namespace = namespace_of(&options.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(options.stale).await?;
        let checks = state
            .check_names
            .iter()
            .filter(|((ns, _), _)| ns == namespace)
            .filter_map(|((_, name), uid)| Some((name.clone(), state.checks.get(uid)?.clone())))
            .filter(|(_, entry)| matches(&options.labels, &entry.check.labels));
        let page = page(&options, checks)?;
        let uids = page.items.iter().map(|entry| entry.check.uid).collect();
        let ballots = self.inner.judge.ballots(uids).await;
        let rows: Vec<_> = page
            .items
            .iter()
            .zip(ballots)
            .map(|(entry, ballots)| {
                let budget = self.inner.budgets.get(&entry.check.uid);
                v1::StatusRow { budget, ..row(&state, &entry.check, ballots) }
            })
            .collect();
        let regions: BTreeSet<String> =
            rows.iter().flat_map(|row| row.ballots.iter().map(|b| b.region.clone())).collect();
        Ok(Response::new(v1::GetStatusResponse {
            rows,
            next_page_token: page.next,
            revision: state.applied,
            regions: regions.into_iter().collect(),
            mesh: Some(self.mesh_status(&state)),
        }))
    }

    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        self.caller(&request, &namespace, Need::View)?;
        let wanted = request.get_ref().from_revision;
        let from = self.watch_from(wanted).await?;
        let asked = Asked { namespace, from, tell_start: wanted == 0 };
        let (send, receive) = mpsc::channel(WATCH_QUEUE);
        let changes = self.inner.changes.clone();
        let leader = self.inner.proposer.node().leader();
        let stop = self.inner.sessions.stop_token();
        self.inner.sessions.spawn("watch", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = feed::feed(changes, asked, leader, send) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

impl Api {
    /// The revision after which a watch begins: 0 means now.
    async fn watch_from(&self, wanted: u64) -> Result<u64, Status> {
        match wanted {
            0 => Ok(self.read(false).await?.applied),
            seen if seen <= self.inner.view.load().applied => Ok(seen),
            // Another member has applied more than this one. It waits until it has too, rather than
            // tell again what was told, or what came after too late.
            seen => {
                let applied = self.read(false).await?.applied;
                if seen <= applied {
                    return Ok(seen);
                }
                // Of another life of the mesh, before it was restored.
                Err(Status::out_of_range(format!(
                    "compacted: the mesh is at revision {applied}, {seen} is not of this life of \
                     it; list again"
                )))
            }
        }
    }
}

impl Api {
    fn mesh_status(&self, state: &State) -> v1::MeshStatus {
        let node = self.inner.proposer.node().status();
        let live = state.probes.values().filter(|row| row.state() == v1::ProbeState::Live);
        let standing = self.inner.quorum.standing();
        v1::MeshStatus {
            mesh: state.cluster.mesh.clone(),
            node_id: self.inner.node_id,
            leader_id: node.leader_id.unwrap_or(0),
            term: node.term,
            applied: state.applied,
            epoch: state.cluster.epoch,
            probes_live: u32::try_from(live.count()).unwrap_or(u32::MAX),
            probes_known: u32::try_from(state.probes.len()).unwrap_or(u32::MAX),
            incidents_open: u32::try_from(state.open.len()).unwrap_or(u32::MAX),
            build: crate::BUILD.to_owned(),
            mesh_time: Some(convert::time::mesh_timestamp(self.inner.judge.mesh_now())),
            leaderless_since: standing.leaderless.map(|(since, _)| convert::time::timestamp(since)),
            reaches: standing.reaches,
            does_not_reach: standing.misses,
            stands_still: node.standstill.map(|it| it.to_string()).unwrap_or_default(),
            disputed_index: state.cluster.disputed_index,
        }
    }
}

fn row(state: &State, check: &Check, ballots: Vec<v1::Ballot>) -> v1::StatusRow {
    let verdict = state.verdicts.get(&check.uid).map(|v| v.as_ref().clone()).unwrap_or_default();
    let unheard = if check.enabled { v1::Verdict::Unknown } else { v1::Verdict::Unspecified };
    let known = if verdict.sequence == 0 { unheard.into() } else { verdict.verdict };
    let incident = state.incidents.get(&verdict.incident_uid);
    v1::StatusRow {
        check_uid: check.uid.to_string(),
        name: check.name.clone(),
        enabled: check.enabled,
        verdict: known,
        degraded: verdict.degraded,
        since: verdict.since,
        held: incident.and_then(|it| it.held.clone()),
        flapping: incident.is_some_and(|it| it.flapping.is_some()),
        incident_uid: verdict.incident_uid,
        ballots,
        interval: Some(convert::time::duration_to(check.interval)),
        insecure: check.run.steps.iter().any(|step| step.kind.insecure()),
        budget: None,
        target: check.run.steps.first().map(|step| step.kind.target()).unwrap_or_default(),
    }
}
