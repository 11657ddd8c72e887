//! What time it is, when nothing of this boot is stored: other members are asked, then what probes
//! go on with counts, then UTC. Who is believed is decided in `core/mesh_clock.rs`.

use std::sync::Arc;

use parallax_common::clock::Estimate;
use parallax_common::limits::{CLOCK_MEMBERS_WITHIN, CLOCK_PROBES_WITHIN};
use parallax_common::time::BootTime;
use parallax_proto::peer;
use parallax_proto::peer::relay_service_client::RelayServiceClient;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::sync::mpsc;

use super::MeshClock;
use crate::peers::Peers;
use crate::peers::gate::Gate;

/// Begins the search, if there is need for one; whoever needs the time waits for it.
pub fn find(
    clock: Arc<MeshClock>,
    (peers, gate): (Peers, Gate),
    has_probes: bool,
    supervisor: &Supervisor,
) {
    if clock.is_known() {
        return;
    }
    if peers.all().is_empty() && !has_probes {
        // A mesh that begins: nobody else has a time to tell.
        return clock.settle(Vec::new());
    }
    let (stop, asks) = (supervisor.stop_token(), supervisor.clone());
    let search = async move {
        let members = read_clocks(&peers, &gate, &asks).await;
        if members.is_empty() && has_probes {
            tokio::time::sleep(CLOCK_PROBES_WITHIN).await;
        }
        clock.settle(members);
    };
    supervisor.spawn(TaskKind::Session("clock start"), async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = search => {}
        }
    });
}

/// Asks every other member for the time, as one that starts. Those that do not answer at once, or do
/// not know either, are left out.
pub async fn read_clocks(peers: &Peers, gate: &Gate, supervisor: &Supervisor) -> Vec<Estimate> {
    let (answers, mut heard) = mpsc::channel(16);
    for member in peers.all() {
        let Some(channel) = peers.channel(member.node_id) else { continue };
        let (answers, hello) = (answers.clone(), gate.hello(member.node_id));
        let stop = supervisor.stop_token();
        let ask = async move {
            let sent = clock::boot_time();
            let request = peer::ReadClockRequest { hello: Some(hello) };
            let answer = RelayServiceClient::new(channel).read_clock(request).await;
            if let Ok(answer) = answer.map(tonic::Response::into_inner)
                && answer.known
            {
                let _ = answers.send(estimate(sent, clock::boot_time(), answer.mesh_ns)).await;
            }
        };
        supervisor.spawn(TaskKind::Session("clock question"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tokio::time::timeout(CLOCK_MEMBERS_WITHIN, ask) => {}
            }
        });
    }
    drop(answers);
    let mut estimates = Vec::new();
    while let Some(estimate) = heard.recv().await {
        estimates.push(estimate);
    }
    estimates
}

/// What an answer says, taken as given in the middle between question and receipt.
fn estimate(sent: BootTime, received: BootTime, mesh_ns: i64) -> Estimate {
    let round_trip = received.since(sent);
    let middle = sent.as_ns() + parallax_common::time::ns(round_trip) / 2;
    Estimate { offset_ns: mesh_ns - middle, round_trip }
}
