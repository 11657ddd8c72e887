//! What echoes can meet, in a network of its own for each test: by raw sockets, by datagram sockets,
//! and by a probe that may have neither. They need root and packages of Debian's, so that the gate runs
//! them, after those that need nothing.

use std::process::Command;

use parallax_common::check::IcmpStep;

use super::*;
use crate::core::guard::Network;

/// Set where a test runs in its network.
const INSIDE: &str = "PARALLAX_TEST_NETWORK";
const NOBODY: &str = "1 0";
const EVERYBODY: &str = "0 2147483647";
/// A command that has no raw sockets, whoever runs it.
const WITHOUT_RAW: [&str; 2] = ["setpriv", "--bounding-set=-net_raw"];

/// Whether this is the inside of the network. If not, the test is run once more, inside.
fn is_inside(test: &str, groups: &str, by: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let test = format!("execute::tests::echoes::{test}");
    let output = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", include_str!("network.sh"), "network.sh"])
        .args(by)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--include-ignored"])
        .env("groups", groups)
        .env(INSIDE, "yes")
        .output()
        .expect("unshare, of util-linux");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let passed = output.status.success() && said[0].contains("1 passed");
    assert!(passed, "as root, with util-linux and iproute2:\n{}", said.join("\n"));
    false
}

fn echo(host: &str) -> Run {
    let mut run = run_of(StepKind::Icmp(IcmpStep {
        host: host.into(),
        count: 3,
        spacing: ms(20),
        payload_bytes: 56,
        dont_fragment: false,
        ttl: None,
    }));
    // Whatever ends sooner has not waited for this.
    run.timeout = ms(20_000);
    run
}

fn options(run: &mut Run) -> &mut IcmpStep {
    match &mut run.steps[0].kind {
        StepKind::Icmp(step) => step,
        _ => panic!("an icmp step"),
    }
}

/// `host option=value...`
fn written(row: &str) -> Run {
    let mut words = row.split_whitespace();
    let mut run = echo(words.next().unwrap());
    for word in words {
        let (option, value) = word.split_once('=').unwrap_or((word, ""));
        let step = options(&mut run);
        match option {
            "bytes" => step.payload_bytes = value.parse().unwrap(),
            "ttl" => step.ttl = Some(value.parse().unwrap()),
            "count" => step.count = value.parse().unwrap(),
            "whole" => step.dont_fragment = true,
            "source" => run.source_address = Some(value.parse().unwrap()),
            "invert" => run.invert = true,
            "short" => run.timeout = ms(300),
            other => panic!("what is {other}?"),
        }
    }
    run
}

/// Target and options, what comes of it, and a part of the evidence.
type Row = (&'static str, Outcome, Option<Reason>, &'static str);

const PASS: (Outcome, Option<Reason>) = (Outcome::Pass, None);

async fn each_comes_true(rows: &[Row]) {
    let executor = executor();
    let mut wrong = Vec::new();
    for (row, outcome, reason, evidence) in rows {
        let mut run = written(row);
        let execution = executor.run(&run).await;
        let finding = execution.finding;
        let all_answer = match finding.reason {
            None => finding.outcome == Outcome::Pass && !run.invert,
            reason => reason == Some(Reason::InvertedPass),
        };
        let answered = if all_answer { options(&mut run).count as usize } else { 0 };
        let mut sampled = phases(&finding);
        sampled.retain(|phase| *phase != Phase::Dns);
        let as_expected = (finding.outcome, finding.reason) == (*outcome, *reason)
            && finding.evidence.contains(evidence)
            && sampled == vec![Phase::FirstByte; answered]
            && execution.ended.since(execution.started) < ms(10_000);
        if !as_expected {
            wrong.push(format!("{row}: {finding:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

const EITHER_WAY: &[Row] = &[
    ("127.0.0.1", PASS.0, None, ""),
    ("::1", PASS.0, None, ""),
    ("localhost", PASS.0, None, ""),
    ("10.99.0.2", PASS.0, None, ""),
    ("fd99::2", PASS.0, None, ""),
    ("10.99.0.2 count=1 bytes=8", PASS.0, None, ""),
    ("10.99.0.2 source=10.99.0.1", PASS.0, None, ""),
    ("fd99::2 source=fd99::1", PASS.0, None, ""),
    ("10.99.0.2 source=192.0.2.7", Outcome::Missed, Some(Reason::ConfigError), "192.0.2.7"),
    ("127.0.0.1 bytes=8972", PASS.0, None, ""),
    // In pieces, and whole.
    ("10.99.0.2 bytes=2000", PASS.0, None, ""),
    ("fd99::2 bytes=2000", PASS.0, None, ""),
    ("10.99.0.2 bytes=1472 whole", PASS.0, None, ""),
    ("10.99.0.2 bytes=1473 whole", Outcome::Fail, Some(Reason::IcmpTooLarge), "too large"),
    ("fd99::2 bytes=1453 whole", Outcome::Fail, Some(Reason::IcmpTooLarge), "too large"),
    ("10.98.4.9 bytes=1400 whole", Outcome::Fail, Some(Reason::IcmpTooLarge), "too large"),
    ("fd98:4::9 bytes=1400 whole", Outcome::Fail, Some(Reason::IcmpTooLarge), "too large"),
    ("10.98.4.9 bytes=1400 short", Outcome::Fail, Some(Reason::IcmpNoAnswer), "3 echoes of 1400"),
    ("10.98.3.9 short", Outcome::Fail, Some(Reason::IcmpNoAnswer), "no answer to 3 echoes of 56"),
    (
        "fd98:3::9 count=1 short",
        Outcome::Fail,
        Some(Reason::IcmpNoAnswer),
        "no answer to 1 echo of",
    ),
    ("10.98.3.9 short invert", PASS.0, None, ""),
    ("127.0.0.1 invert", Outcome::Fail, Some(Reason::InvertedPass), ""),
    ("10.99.0.2 ttl=1", PASS.0, None, ""),
    ("fd98:2::9", Outcome::Fail, Some(Reason::IcmpProhibited), "prohibited"),
    ("10.97.1.9", Outcome::Fail, Some(Reason::ConnectUnreachable), "10.97.1.9"),
    ("10.97.2.9", Outcome::Fail, Some(Reason::ConnectDenied), "10.97.2.9"),
    ("::ffff:10.99.0.2", PASS.0, None, ""),
];

/// What is said by somebody who is not the target: a raw socket hears it and whose word it is.
const RAW: &[Row] = &[
    (
        "10.98.1.9 count=1",
        Outcome::Fail,
        Some(Reason::IcmpUnreachable),
        "10.99.0.2 says: host unreachable",
    ),
    ("fd98:1::9", Outcome::Fail, Some(Reason::IcmpUnreachable), "fd99::2 says: no route"),
    (
        "10.98.2.9 count=1",
        Outcome::Fail,
        Some(Reason::IcmpProhibited),
        "10.99.0.2 says: administratively",
    ),
    (
        "10.98.4.9 ttl=1",
        Outcome::Fail,
        Some(Reason::IcmpTimeExceeded),
        "10.99.0.2 says: time to live",
    ),
    ("fd98:4::9 ttl=1", Outcome::Fail, Some(Reason::IcmpTimeExceeded), "fd99::2 says: hop limit"),
    (
        "10.98.4.9 bytes=1400 whole",
        Outcome::Fail,
        Some(Reason::IcmpTooLarge),
        "1300 bytes would fit",
    ),
    ("10.98.3.9 short", Outcome::Fail, Some(Reason::IcmpNoAnswer), "(raw socket)"),
];

/// The system tells a datagram socket of some complaints only, and not who has made them.
const DATAGRAM: &[Row] = &[
    ("10.98.1.9 short", Outcome::Fail, Some(Reason::IcmpNoAnswer), "(datagram socket)"),
    (
        "10.98.2.9 count=1",
        Outcome::Fail,
        Some(Reason::IcmpUnreachable),
        "host unreachable; no answer",
    ),
    ("10.98.4.9 ttl=1 short", Outcome::Fail, Some(Reason::IcmpNoAnswer), "(datagram socket)"),
];

#[tokio::test]
#[ignore = "needs root, iproute2 and util-linux: .ci/run runs it"]
async fn echoes_by_raw_sockets_have_their_reasons() {
    if is_inside("echoes_by_raw_sockets_have_their_reasons", NOBODY, &[]) {
        each_comes_true(&[EITHER_WAY, RAW].concat()).await;
    }
}

#[tokio::test]
#[ignore = "needs root, iproute2 and util-linux: .ci/run runs it"]
async fn echoes_by_datagram_sockets_have_their_reasons() {
    if is_inside("echoes_by_datagram_sockets_have_their_reasons", EVERYBODY, &WITHOUT_RAW) {
        each_comes_true(&[EITHER_WAY, DATAGRAM].concat()).await;
    }
}

#[tokio::test]
#[ignore = "needs root, iproute2 and util-linux: .ci/run runs it"]
async fn a_probe_that_may_not_send_echoes_says_so_and_looks_at_nothing_else() {
    let test = "a_probe_that_may_not_send_echoes_says_so_and_looks_at_nothing_else";
    if !is_inside(test, NOBODY, &WITHOUT_RAW) {
        return;
    }
    for host in ["127.0.0.1", "::1"] {
        let finding = found(&echo(host)).await;
        let said = (finding.outcome, finding.reason);
        assert_eq!(said, (Outcome::Missed, Some(Reason::ConfigError)), "{finding:?}");
        for part in ["net.ipv4.ping_group_range", "CAP_NET_RAW"] {
            assert!(finding.evidence.contains(part), "{finding:?}");
        }
    }
    // Not an outage either when the check wants one.
    let finding = found(&written("127.0.0.1 invert")).await;
    assert_eq!(finding.outcome, Outcome::Missed, "{finding:?}");
}

/// Echo requests that this machine has sent, by the system's own count.
fn sent() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut both = names.split(' ').zip(values.split(' '));
    both.find(|(name, _)| *name == "OutEchos").unwrap().1.parse().unwrap()
}

#[tokio::test]
#[ignore = "needs root, iproute2 and util-linux: .ci/run runs it"]
async fn no_echo_leaves_for_a_denied_address() {
    if !is_inside("no_echo_leaves_for_a_denied_address", NOBODY, &[]) {
        return;
    }
    let network = |text: &str| text.parse::<Network>().unwrap();
    let deny = [network("10.99.0.0/24"), network("127.0.0.0/8")];
    let guarded = executor().guarded(Guard::new(&[], &deny).unwrap());
    for host in ["10.99.0.2", "127.0.0.1", "::ffff:10.99.0.2", "localhost"] {
        let mut run = echo(host);
        run.ip = if host.contains(':') { IpFamily::Auto } else { IpFamily::V4 };
        let before = sent();
        let finding = guarded.run(&run).await.finding;
        let said = (finding.outcome, finding.reason, finding.remote);
        let denied = (Outcome::Missed, Some(Reason::AddressDenied), None);
        assert_eq!(said, denied, "{host}: {finding:?}");
        assert_eq!(sent(), before, "{host}");
        // Without the guard each of them leaves.
        assert_eq!(found(&run).await.outcome, Outcome::Pass, "{host}");
        assert_eq!(sent(), before + 3, "{host}");
    }
}

#[tokio::test]
#[ignore = "needs root, iproute2 and util-linux: .ci/run runs it"]
async fn loss_and_round_trips_are_there_for_expressions() {
    if !is_inside("loss_and_round_trips_are_there_for_expressions", NOBODY, &[]) {
        return;
    }
    let pass = (Outcome::Pass, None);
    let failed = (Outcome::Fail, Some(Reason::ExpectationFailed));
    for (target, expect, wanted) in [
        ("10.99.0.2", "sent == 3 && answered == 3 && loss == 0.0", pass),
        ("10.99.0.2", "rtt_min <= rtt_avg && rtt_avg <= rtt_max", pass),
        ("10.99.0.2", "rtt_max < duration('10s') && phases.first_byte == rtt_avg", pass),
        ("10.99.0.2", "latency >= duration('40ms') && ip == '10.99.0.2'", pass),
        ("10.99.0.2", "answered < 3", failed),
        ("10.99.0.2", "has(phases.connect) || has(phases.tls)", failed),
        // Who judges loss is not judged by the rule that nothing may be lost whole.
        ("10.98.3.9 short", "loss == 1.0 && answered == 0 && sent == 3", pass),
        ("10.98.3.9 short", "loss < 0.2", failed),
        ("10.98.3.9 short", "answered > 0 || rtt_min < duration('1s')", failed),
        (
            "10.98.3.9 short",
            "rtt_avg < duration('1s')",
            (Outcome::Fail, Some(Reason::IcmpNoAnswer)),
        ),
        ("10.98.1.9", "loss == 1.0", pass),
    ] {
        let mut run = written(target);
        run.expect = vec![expect.into()];
        let finding = found(&run).await;
        assert_eq!((finding.outcome, finding.reason), wanted, "{target} {expect}: {finding:?}");
    }
}

#[tokio::test]
#[ignore = "needs root, iproute2 and util-linux: .ci/run runs it"]
async fn runs_at_the_same_time_do_not_hear_one_another() {
    if !is_inside("runs_at_the_same_time_do_not_hear_one_another", NOBODY, &[]) {
        return;
    }
    let executor = Arc::new(executor());
    let mut runs = tokio::task::JoinSet::new();
    for n in 0..60 {
        let executor = Arc::clone(&executor);
        let target = ["127.0.0.1", "::1", "10.99.0.2", "10.98.3.9 short"][n % 4];
        runs.spawn(async move { (target, executor.run(&written(target)).await.finding) });
    }
    while let Some(run) = runs.join_next().await {
        let (target, finding) = run.unwrap();
        let answered = if target.ends_with("short") { 0 } else { 3 };
        assert_eq!(phases(&finding).len(), answered, "{target}: {finding:?}");
        let outcome = if answered == 0 { Outcome::Fail } else { Outcome::Pass };
        assert_eq!(finding.outcome, outcome, "{target}: {finding:?}");
    }
}
