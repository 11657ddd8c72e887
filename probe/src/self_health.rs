//! How this probe does itself: what travels with its heartbeat, so that a probe that is short of something
//! is not taken for a target that fails.
//!
//! Whether its threads come to their work is found out by one that sleeps and looks how late it wakes.
//! Anchors are places of its own configuration that should always answer: they are connected to as checks
//! do it, through the same guard. Everything goes into [`Metrics`], and the owner task tells it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parallax_common::check::{IpFamily, Run, Step, StepKind, TcpStep};
use parallax_common::limits::{
    ANCHOR_TIMEOUT, ANCHORS_EVERY, IN_FLIGHT_MAX, LOOP_LOOK_EVERY, SELF_LOOK_EVERY,
};
use parallax_common::outcome::Outcome;
use parallax_common::target::shown_address;
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use rustix::process::{Resource, getrlimit};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Anchor;
use crate::core::machine;
use crate::execute::Executor;
use crate::metrics::Metrics;

/// Starts the tasks that look.
pub fn spawn(
    executor: &Arc<Executor>,
    anchors: Vec<Anchor>,
    metrics: &Arc<Metrics>,
    supervisor: &Supervisor,
) {
    metrics.in_flight_max.store(IN_FLIGHT_MAX as u64, Relaxed);
    metrics.anchors.store(anchors.len() as u64, Relaxed);
    let (its, stop) = (Arc::clone(metrics), supervisor.stop_token());
    supervisor.spawn(TaskKind::Session("loop watch"), watch_loop(its, stop));
    let (its, stop) = (Arc::clone(metrics), supervisor.stop_token());
    supervisor.spawn(TaskKind::Session("own health"), async move {
        while sleep(SELF_LOOK_EVERY, &stop).await {
            let metrics = Arc::clone(&its);
            // The system's files are quick, but nobody promises it.
            let _ = tokio::task::spawn_blocking(move || look(&metrics)).await;
        }
    });
    // Until they were asked nobody knows better.
    metrics.anchors_answering.store(anchors.len() as u64, Relaxed);
    for anchor in anchors {
        let (executor, its) = (Arc::clone(executor), Arc::clone(metrics));
        let stop = supervisor.stop_token();
        supervisor.spawn(TaskKind::Session("anchor"), async move {
            watch_anchor(&executor, &anchor, &its, &stop).await;
        });
    }
}

/// What a heartbeat says: what was seen last.
pub fn told(metrics: &Metrics) -> v1::ProbeHealth {
    let small = |number: &AtomicU64| u32::try_from(number.load(Relaxed)).unwrap_or(u32::MAX);
    v1::ProbeHealth {
        checks: small(&metrics.checks),
        in_flight: small(&metrics.in_flight),
        runs: metrics.runs.load(Relaxed),
        missed: metrics.missed_total(),
        spool_bytes: metrics.spool_bytes.load(Relaxed),
        spool_dropped: metrics.spool_dropped.load(Relaxed),
        loop_lag_ns: metrics.take_loop_lag(),
        descriptors: metrics.descriptors.load(Relaxed),
        descriptors_max: metrics.descriptors_max.load(Relaxed),
        ports: metrics.ports.load(Relaxed),
        ports_max: metrics.ports_max.load(Relaxed),
        in_flight_max: small(&metrics.in_flight_max),
        spool_bytes_max: metrics.spool_bytes_max.load(Relaxed),
        anchors_answering: small(&metrics.anchors_answering),
        anchors: small(&metrics.anchors),
        clock_offset_ns: metrics.clock_offset_ns.load(Relaxed),
        clock_round_trip_ns: metrics.clock_round_trip_ns.load(Relaxed),
        utc_drift_ns: metrics.utc_drift_ns.load(Relaxed),
    }
}

/// False when the probe stops.
async fn sleep(length: std::time::Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(length) => true,
        () = stop.cancelled() => false,
    }
}

async fn watch_loop(metrics: Arc<Metrics>, stop: CancellationToken) {
    loop {
        let wanted = clock::instant() + LOOP_LOOK_EVERY;
        tokio::select! {
            () = tokio::time::sleep_until(wanted.into()) => {}
            () = stop.cancelled() => return,
        }
        metrics.woke_late(clock::instant().saturating_duration_since(wanted));
    }
}

/// Looks at descriptors and ports. What the system does not tell stays 0.
fn look(metrics: &Metrics) {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let open = std::fs::read_dir(Path::new("/proc/self/fd"));
    // One of them is that of the look itself.
    let open = open.map_or(0, |entries| entries.count().saturating_sub(1));
    metrics.descriptors.store(open as u64, Relaxed);
    // No limit at all is one that nobody comes near to.
    metrics.descriptors_max.store(getrlimit(Resource::Nofile).current.unwrap_or(0), Relaxed);
    let sockets = machine::tcp_sockets(&text("/proc/net/sockstat"), &text("/proc/net/sockstat6"));
    metrics.ports.store(sockets, Relaxed);
    let range = machine::port_range(&text("/proc/sys/net/ipv4/ip_local_port_range"));
    metrics.ports_max.store(range, Relaxed);
}

/// Connects to an anchor again and again. Says when it ceases to answer, and when it answers again.
async fn watch_anchor(
    executor: &Executor,
    anchor: &Anchor,
    metrics: &Metrics,
    stop: &CancellationToken,
) {
    let (shown, run) = run_of(anchor);
    let mut answered = true;
    loop {
        let finding = executor.run(&run).await.finding;
        let answers = finding.outcome == Outcome::Pass;
        if answered && !answers {
            metrics.anchors_answering.fetch_sub(1, Relaxed);
            let reason = finding.reason.map_or("", |reason| reason.word());
            warn!(anchor = shown, reason, why = finding.evidence, "an anchor does not answer");
        } else if answers && !answered {
            metrics.anchors_answering.fetch_add(1, Relaxed);
            info!(anchor = shown, "an anchor answers again");
        }
        answered = answers;
        if !sleep(ANCHORS_EVERY, stop).await {
            return;
        }
    }
}

/// An anchor as what it is: a check that connects.
fn run_of(anchor: &Anchor) -> (String, Run) {
    let Anchor { host, port } = anchor.clone();
    let shown = shown_address(&host, port);
    let kind = StepKind::Tcp(TcpStep { host, port, ..TcpStep::default() });
    let run = Run {
        steps: vec![Step { name: String::new(), kind, captures: vec![] }],
        timeout: ANCHOR_TIMEOUT,
        expect: Vec::new(),
        warn: Vec::new(),
        invert: false,
        ip: IpFamily::Auto,
        source_address: None,
        resolver: None,
        samples: 1,
    };
    (shown, run)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::execute::secrets::Secrets;

    fn value(metrics: &Metrics, name: &str) -> i64 {
        let line = format!("parallax_probe_{name} ");
        let text = metrics.text();
        let found = text.lines().find_map(|it| it.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    }

    #[test]
    fn the_machine_is_read_and_what_is_opened_is_counted() {
        let metrics = Metrics::default();
        look(&metrics);
        let before = value(&metrics, "descriptors");
        assert!(before > 2 && value(&metrics, "descriptors_max") > before);
        assert!(value(&metrics, "ports_max") > 0);
        let held: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        look(&metrics);
        // Other tests open and close, too.
        assert!(value(&metrics, "descriptors") > before + 100, "{before}");
        drop(held);
    }

    #[tokio::test]
    async fn a_thread_that_does_not_come_to_its_work_is_seen() {
        let metrics = Arc::new(Metrics::default());
        let stop = CancellationToken::new();
        let watching = watch_loop(Arc::clone(&metrics), stop.clone());
        let busy = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            // The one thread of this runtime.
            std::thread::sleep(Duration::from_millis(300));
            tokio::time::sleep(Duration::from_millis(60)).await;
            stop.cancel();
        };
        tokio::join!(watching, busy);
        assert!(metrics.take_loop_lag() >= 250_000_000);
        assert!(value(&metrics, "loop_lag_ns") >= 250_000_000);
        // Told once: the next second begins with nothing.
        assert_eq!((metrics.take_loop_lag(), value(&metrics, "loop_lag_ns")), (0, 0));
    }

    #[tokio::test]
    async fn anchors_that_answer_are_told_from_those_that_do_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let anchor = |host: &str, port| Anchor { host: host.to_owned(), port };
        let executor = Arc::new(Executor::new(Secrets::default(), None, None));
        // The guard holds for anchors, too.
        let anchors =
            vec![anchor("127.0.0.1", port), anchor("127.0.0.1", gone), anchor("169.254.1.1", 80)];
        for (anchor, reason) in anchors.iter().zip(["", "connect_refused", "address_denied"]) {
            let (shown, run) = run_of(anchor);
            let found = executor.run(&run).await.finding.reason;
            assert_eq!(found.map_or("", |reason| reason.word()), reason, "{shown}");
        }
        let metrics = Arc::new(Metrics::default());
        let supervisor = Supervisor::default();
        spawn(&executor, anchors, &metrics, &supervisor);
        assert_eq!(value(&metrics, "anchors"), 3);
        assert_eq!(value(&metrics, "in_flight_max"), IN_FLIGHT_MAX as i64);
        let seen = async {
            while value(&metrics, "anchors_answering") != 1 || value(&metrics, "descriptors") == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap();
        supervisor.stop();
        assert!(supervisor.join(Duration::from_secs(20)).await);
    }
}
