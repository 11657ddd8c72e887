//! The public listener: health, readiness that says why not, and metrics in Prometheus text.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use parallax_proto::v1;
use parallax_runtime::transport::RefusalCounters;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::history::History as _;
use crate::history::ring::Ring;
use crate::judge::JudgeHandle;
use crate::propose::Proposer;
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
    pub history: Arc<Ring>,
    /// Peers turned away, by listener.
    pub refusals: Vec<(&'static str, Arc<RefusalCounters>)>,
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
        .with_state(Arc::new(public));
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(Extract(public): Extract<Arc<Public>>) -> impl IntoResponse {
    let node = public.proposer.node().status();
    let Some(leader) = node.leader_id else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no leader is known\n".to_owned());
    };
    if public.view.load().cluster.mesh.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the cluster is not set up yet\n".to_owned());
    }
    (StatusCode::OK, format!("ok, leader is {leader}\n"))
}

async fn metrics(Extract(public): Extract<Arc<Public>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], exposition(&public))
}

/// One sample with its family's help and type before it.
fn sample(out: &mut String, family: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {family} {help}\n# TYPE {family} {kind}\n{family} {value}");
}

fn exposition(public: &Public) -> String {
    let state = public.view.load();
    let node = public.proposer.node().status();
    let live = state.probes.values().filter(|row| row.state() == v1::ProbeState::Live).count();
    let mut out = String::new();
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
    let windows = public.history.stats();
    sample(
        &mut out,
        "parallax_windows_kept",
        "gauge",
        "Windows that can be read.",
        windows.windows,
    );
    sample(
        &mut out,
        "parallax_windows_dropped_total",
        "counter",
        "Windows dropped because the ring was full.",
        windows.dropped,
    );
    let family = "parallax_peers_refused_total";
    let _ = writeln!(out, "# HELP {family} Connections turned away.\n# TYPE {family} counter");
    for (listener, counters) in &public.refusals {
        for (reason, count) in counters.each() {
            let _ =
                writeln!(out, "{family}{{listener=\"{listener}\",reason=\"{reason}\"}} {count}");
        }
    }
    out
}
