//! How this probe does itself: what travels with its heartbeat, so that a probe that is short of something
//! is not taken for a target that fails.
//!
//! Whether its threads come to their work is found out by one that sleeps and looks how late it wakes.
//! Anchors are places of its own configuration that should always answer: they are connected to as checks
//! do it, through the same guard. Everything goes into [`Metrics`], and the owner task tells it.

use std::io;
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
use rustix::io::Errno;
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
        spool_failing: metrics.spool_failing.load(Relaxed) != 0,
        windows_set_aside: metrics.windows_set_aside.load(Relaxed),
        spool_gaps: metrics.spool_gaps.load(Relaxed),
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

/// Looks at descriptors and ports.
fn look(metrics: &Metrics) {
    // One of them is that of the look itself.
    let open = || Ok(std::fs::read_dir(Path::new("/proc/self/fd"))?.count().saturating_sub(1));
    look_through(metrics, &|path| std::fs::read_to_string(path), &open);
}

/// What the system does not tell stays 0. What it tells and cannot be read just now stays what it was;
/// and who cannot open anything because everything is used up knows how many are open.
fn look_through(
    metrics: &Metrics,
    read: &dyn Fn(&str) -> io::Result<String>,
    open: &dyn Fn() -> io::Result<usize>,
) {
    let text = |path: &str| match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(String::new()),
        text => text.ok(),
    };
    // No limit at all is one that nobody comes near to.
    let most = getrlimit(Resource::Nofile).current.unwrap_or(0);
    metrics.descriptors_max.store(most, Relaxed);
    let open = match open() {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {
            Some(most)
        }
        open => open.ok().map(|open| open as u64),
    };
    if let Some(open) = open {
        metrics.descriptors.store(open, Relaxed);
    }
    let (four, six) = (text("/proc/net/sockstat"), text("/proc/net/sockstat6"));
    if let (Some(four), Some(six)) = (four, six) {
        metrics.ports.store(machine::tcp_sockets(&four, &six), Relaxed);
    }
    if let Some(range) = text("/proc/sys/net/ipv4/ip_local_port_range") {
        metrics.ports_max.store(machine::port_range(&range), Relaxed);
    }
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
        canary: None,
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
    use crate::execute::tests::nobody::Nobody;

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

    #[test]
    fn a_probe_without_descriptors_says_so_and_tells_the_rest_as_it_was() {
        let metrics = Metrics::default();
        look(&metrics);
        let open = value(&metrics, "descriptors");
        let all = ["descriptors", "ports", "ports_max"].map(|name| value(&metrics, name));
        let no = |errno: Errno| {
            let (read, open) = (|_: &str| Err(errno.into()), || Err(errno.into()));
            look_through(&metrics, &read, &open);
        };
        // Something else than that: nobody knows better.
        no(Errno::IO);
        assert_eq!(["descriptors", "ports", "ports_max"].map(|name| value(&metrics, name)), all);
        for errno in [Errno::MFILE, Errno::NFILE] {
            // Of the whole machine: others use ports meanwhile.
            let seen = ["ports", "ports_max"].map(|name| value(&metrics, name));
            no(errno);
            let most = value(&metrics, "descriptors_max");
            assert!(most > open);
            assert_eq!(value(&metrics, "descriptors"), most);
            assert_eq!(["ports", "ports_max"].map(|name| value(&metrics, name)), seen);
            look(&metrics);
        }
        // A system without the newer protocol has no such file.
        let read = |path: &str| match path {
            "/proc/net/sockstat" => Ok("TCP: inuse 5 orphan 0 tw 2 alloc 9 mem 3\n".to_owned()),
            _ => Err(Errno::NOENT.into()),
        };
        look_through(&metrics, &read, &|| Ok(7));
        assert_eq!(value(&metrics, "descriptors"), 7);
        assert_eq!(
            value(&metrics, "ports") as u64,
            machine::tcp_sockets(&read("/proc/net/sockstat").unwrap(), "")
        );
        assert!(value(&metrics, "ports") > 0 && value(&metrics, "ports_max") == 0);
    }

    #[test]
    fn windows_that_a_coordinator_does_not_get_are_told() {
        let metrics = Metrics::default();
        metrics.windows_set_aside.store(2, Relaxed);
        metrics.spool_gaps.store(3, Relaxed);
        let said = told(&metrics);
        assert_eq!((said.windows_set_aside, said.spool_gaps), (2, 3));
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
        let nobody_there = Nobody::new();
        let gone = nobody_there.at.port();
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
