//! The public listener: health, readiness that says why not, metrics in Prometheus text, and the links
//! in pages ([`ack`]).

pub mod ack;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use parallax_proto::v1;
use parallax_runtime::build::labels;
use parallax_runtime::transport::RefusalCounters;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::history::History;
use crate::judge::JudgeHandle;
use crate::level::level;
use crate::peers::gate::Gate;
use crate::peers::{Facts, Peers};
use crate::propose::Proposer;
use crate::quorum::Quorum;
use crate::quorum::heartbeat::Calls;
use crate::relay::Relays;
use crate::session::Sessions;
use crate::view::View;

/// What the endpoints look at.
pub struct Public {
    /// The published state.
    pub view: View,
    /// The Raft node.
    pub proposer: Proposer,
    /// Sessions with probes.
    pub sessions: Sessions,
    /// Who leads.
    pub judge: JudgeHandle,
    /// Windows.
    pub history: Arc<dyn History>,
    /// Whether this member sees a leader.
    pub quorum: Quorum,
    /// Calls of the heartbeat URL.
    pub calls: Arc<Calls>,
    /// Peers turned away, by listener.
    pub refusals: Vec<(&'static str, Arc<RefusalCounters>)>,
    /// Other members.
    pub peers: Peers,
    /// Streams of theirs that were turned away.
    pub gate: Gate,
    /// Probes that are heard through others.
    pub relays: Relays,
    /// The links in pages.
    pub acks: ack::Acks,
}

/// Serves until `stop`.
///
/// # Errors
/// When the socket breaks.
pub async fn serve(
    listener: TcpListener,
    public: Public,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/ack/{incident}/{token}", get(ack::look).post(ack::press))
        .with_state(Arc::new(public));
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(Extract(public): Extract<Arc<Public>>) -> impl IntoResponse {
    let node = public.proposer.node().status();
    if let Some(standstill) = node.standstill {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{standstill}\n"));
    }
    let Some(leader) = node.leader_id else {
        let why = public.quorum.sentence().unwrap_or_else(|| "no leader is known".to_owned());
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    };
    if public.view.load().cluster.mesh.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the cluster is not set up yet\n".to_owned());
    }
    let state = public.view.load();
    let named = state.members.get(&leader).map(|row| row.name.clone());
    let leader = named.unwrap_or_else(|| format!("member {leader}"));
    let disputed = state.cluster.disputed_index;
    if disputed != 0 {
        let why = format!(
            "nothing is written: since entry {disputed} the members hold different states and no \
             majority the same one; restore the cluster from a backup\n"
        );
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    // Not a reason to send people elsewhere: this member leads, decides and pages as before.
    let history = match public.history.stats().full {
        Some(_) => "; the disk of history is full, windows wait at their probes",
        None => "",
    };
    (StatusCode::OK, format!("ok, leader is {leader}{history}\n"))
}

async fn metrics(Extract(public): Extract<Arc<Public>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], exposition(&public))
}

/// One sample with its family's help and type before it.
fn sample(out: &mut String, family: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {family} {help}\n# TYPE {family} {kind}\n{family} {value}");
}

/// What this build is, as labels.
fn build_info() -> String {
    let (family, labels) =
        ("parallax_build_info", labels(env!("CARGO_PKG_VERSION"), Some(level())));
    let help = "1; the build of this member and its feature level are its labels.";
    format!("# HELP {family} {help}\n# TYPE {family} gauge\n{family}{labels} 1\n")
}

fn exposition(public: &Public) -> String {
    let state = public.view.load();
    let node = public.proposer.node().status();
    let live = state.probes.values().filter(|row| row.state() == v1::ProbeState::Live).count();
    let mut out = build_info();
    sample(
        &mut out,
        "parallax_raft_applied_index",
        "gauge",
        "Last applied log index.",
        state.applied,
    );
    sample(&mut out, "parallax_raft_term", "gauge", "Current Raft term.", node.term);
    sample(
        &mut out,
        "parallax_raft_is_leader",
        "gauge",
        "1 when this member leads.",
        u8::from(public.judge.is_leader()),
    );
    sample(
        &mut out,
        "parallax_raft_stands_still",
        "gauge",
        "1 while an entry needs a newer build: nothing is applied.",
        u8::from(node.standstill.is_some()),
    );
    sample(
        &mut out,
        "parallax_state_disputed",
        "gauge",
        "1 while the members hold different states and no majority the same one.",
        u8::from(state.cluster.disputed_index != 0),
    );
    sample(&mut out, "parallax_checks", "gauge", "Configured checks.", state.checks.len());
    sample(&mut out, "parallax_probes_live", "gauge", "Probes that count as live.", live);
    sample(
        &mut out,
        "parallax_sessions_open",
        "gauge",
        "Probes connected to this member.",
        public.sessions.connected(),
    );
    sample(
        &mut out,
        "parallax_sessions_refused_total",
        "counter",
        "Frames, windows and sessions that broke a rule.",
        public.sessions.refused(),
    );
    sample(&mut out, "parallax_incidents_open", "gauge", "Open incidents.", state.open.len());
    sample(
        &mut out,
        "parallax_pages_pending",
        "gauge",
        "Deliveries that are neither sent nor given up.",
        state.pending.len(),
    );
    sample(
        &mut out,
        "parallax_contacts_failing",
        "gauge",
        "Contacts that took nothing for several attempts in a row: one page at a time tries them.",
        state.contacts_failing(),
    );
    let windows = public.history.stats();
    let leaderless = public.quorum.standing().leaderless;
    sample(
        &mut out,
        "parallax_leaderless_seconds",
        "gauge",
        "For how long this member has seen no leader; 0 while it sees one.",
        leaderless.map_or(0, |(_, lasts)| lasts.as_secs()),
    );
    sample(
        &mut out,
        "parallax_heartbeat_calls_total",
        "counter",
        "Calls of the heartbeat URL by this member as the leader.",
        public.calls.made(),
    );
    sample(
        &mut out,
        "parallax_heartbeat_failures_total",
        "counter",
        "Calls of the heartbeat URL that were not answered with success.",
        public.calls.failed(),
    );
    let (relayed, beyond, refused) = public.relays.counts();
    sample(
        &mut out,
        "parallax_relayed_lanes",
        "gauge",
        "Probes heard through another member.",
        relayed,
    );
    sample(
        &mut out,
        "parallax_relayed_lanes_beyond_limit",
        "gauge",
        "Probes that only other members hear, above what is relayed.",
        beyond,
    );
    sample(
        &mut out,
        "parallax_relayed_frames_refused_total",
        "counter",
        "Relayed frames that broke a rule.",
        refused,
    );
    sample(
        &mut out,
        "parallax_lanes_relayed_to_others",
        "gauge",
        "Live lanes that this member passes on, once for each listener.",
        public.sessions.tapped(),
    );
    for (family, kind, help, value) in [
        (
            "parallax_windows_kept",
            "gauge",
            "Windows that can be read one by one; older ones are minutes and hours.",
            windows.windows,
        ),
        ("parallax_history_bytes", "gauge", "Bytes that history takes on the disk.", windows.bytes),
        ("parallax_history_segments", "gauge", "Files that history is in.", windows.segments),
        (
            "parallax_windows_dropped_total",
            "counter",
            "Windows and cells of history deleted before their time to keep --history-bytes-max.",
            windows.dropped,
        ),
        (
            "parallax_history_full",
            "gauge",
            "1 while the disk of history is full: windows wait at their probes.",
            u64::from(windows.full.is_some()),
        ),
        (
            "parallax_history_damaged_total",
            "counter",
            "Segments and blocks of history that could not be read.",
            windows.damaged,
        ),
        (
            "parallax_history_left_out_total",
            "counter",
            "Segments of history that other members offered and that could not be copied.",
            windows.left_out,
        ),
    ] {
        sample(&mut out, family, kind, help, value);
    }
    let family = "parallax_peers_refused_total";
    let _ = writeln!(out, "# HELP {family} Connections turned away.\n# TYPE {family} counter");
    for (listener, counters) in &public.refusals {
        for (reason, count) in counters.each() {
            let _ =
                writeln!(out, "{family}{{listener=\"{listener}\",reason=\"{reason}\"}} {count}");
        }
    }
    members(&mut out, &public.peers, &public.gate);
    out
}

/// What is known of the other members, a sample each.
fn members(out: &mut String, peers: &Peers, gate: &Gate) {
    let family = "parallax_peer_streams_refused_total";
    let help = "Streams of other members turned away or broken off.";
    let _ = writeln!(out, "# HELP {family} {help}\n# TYPE {family} counter");
    for (reason, count) in gate.refusals() {
        let _ = writeln!(out, "{family}{{reason=\"{reason}\"}} {count}");
    }
    let known: Vec<_> = peers.all().into_iter().map(|p| (peers.facts(p.node_id), p)).collect();
    let mut each =
        |family: &str, kind: &str, help: &str, of: &dyn Fn(&Facts, u64) -> Option<f64>| {
            let _ = writeln!(out, "# HELP {family} {help}\n# TYPE {family} {kind}");
            for (facts, peer) in &known {
                if let Some(value) = of(facts, peer.node_id) {
                    let _ = writeln!(out, "{family}{{member=\"{}\"}} {value}", peer.name);
                }
            }
        };
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    each("parallax_peer_connected", "gauge", "1 when messages reach the member.", &|facts, _| {
        Some(f64::from(u8::from(facts.connected)))
    });
    each(
        "parallax_peer_round_trip_seconds",
        "gauge",
        "Lowest round trip of the last pings.",
        &|facts, _| seconds(facts.round_trip()),
    );
    each(
        "parallax_peer_silent_seconds",
        "gauge",
        "How long ago the member was last heard.",
        &|_, node_id| seconds(peers.last_heard(node_id)),
    );
    each(
        "parallax_peer_messages_dropped_total",
        "counter",
        "Messages to the member that could not be queued or sent.",
        &|facts, _| Some(facts.dropped as f64),
    );
    each(
        "parallax_peer_messages_overrun_total",
        "counter",
        "Messages of the member dropped because this one was behind.",
        &|facts, _| Some(facts.overrun as f64),
    );
    each(
        "parallax_peer_snapshots_sent_total",
        "counter",
        "Snapshot files that the member took.",
        &|facts, _| Some(facts.snapshots_sent as f64),
    );
    each(
        "parallax_peer_snapshots_failed_total",
        "counter",
        "Snapshot files that did not arrive.",
        &|facts, _| Some(facts.snapshots_failed as f64),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_says_which_build_it_is() {
        let text = build_info();
        let begins = concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",commit=");
        let ends = format!("level=\"{}\"}} 1", level());
        assert!(text.lines().any(|it| it.contains(begins) && it.ends_with(&ends)), "{text}");
    }
}
