//! What every kind of check takes: `ip`, `source_address`, `resolver`, `timeout`, `samples`, `invert`. One
//! table of kinds and options, each with what it changes; a kind or an option without rows fails.

use std::collections::BTreeSet;

use parallax_common::check::{
    DnsStep, GrpcStep, IcmpStep, SshStep, TlsStep, UdpStep, WebSocketStep,
};

use super::guard::NameServer;
use super::talk::{Do, exchange, say, scripted};
use super::*;

/// The name that every check of the table looks at.
const NAME: &str = "shop.example.";
/// How long the slow target of each kind takes.
const SLOW: Duration = Duration::from_millis(1_000);

/// A check of one kind that passes at once, and one that needs [`SLOW`]: with less time it has this reason.
struct Subject {
    fast: StepKind,
    slow: StepKind,
    too_late: Option<Reason>,
    executor: Executor,
    /// A plugin connects by itself: no option about connections reaches it (`plugin_network`).
    connects: bool,
    /// Keeps the plugins of a check.
    _dirs: Vec<tempfile::TempDir>,
}

impl Subject {
    fn new(fast: StepKind, slow: StepKind, too_late: impl Into<Option<Reason>>) -> Self {
        let too_late = too_late.into();
        Self { fast, slow, too_late, executor: executor(), connects: true, _dirs: vec![] }
    }
}

/// A port at which [`SLOW`] goes by before anything does.
fn slow(behind: SocketAddr) -> u16 {
    let late = server(move |near| {
        thread::sleep(SLOW);
        super::proxies::relay(near, TcpStream::connect(behind).unwrap());
    });
    late.port()
}

fn subject(word: &str) -> Subject {
    let config = super::talk::config(&authority(), (2020, 2090), rustls::DEFAULT_VERSIONS);
    let host = || NAME.to_owned();
    // What one kind does at both ports.
    let both = |address: SocketAddr, kind: &dyn Fn(u16) -> StepKind, too_late: Reason| {
        Subject::new(kind(address.port()), kind(slow(address)), too_late)
    };
    match word {
        "http" => {
            let kind = |port| http(format!("http://{NAME}:{port}/")).steps.remove(0).kind;
            both(answering(OK), &kind, Reason::Timeout)
        }
        "tcp" => {
            let dialogue = vec![exchange("hello", "", "^hello")];
            let kind = |port| {
                let dialogue = dialogue.clone();
                StepKind::Tcp(TcpStep { host: host(), port, dialogue, ..TcpStep::default() })
            };
            both(scripted(&config, vec![say("hello"), Do::Hang]), &kind, Reason::Timeout)
        }
        "tls" => {
            let tls = TlsOptions { insecure: true, ..TlsOptions::default() };
            let kind = |port| StepKind::Tls(TlsStep { host: host(), port, tls: tls.clone() });
            both(scripted(&config, vec![Do::Secure, Do::Hang]), &kind, Reason::TlsTimeout)
        }
        "dns" => {
            let kind = |udp| {
                let server = super::questions::name_server(udp, None);
                let mut run = super::questions::ask(server, |_| {});
                let StepKind::Dns(step) = &mut run.steps[0].kind else { panic!("a dns step") };
                step.server = Some((host(), server.port()));
                StepKind::Dns(DnsStep::clone(step))
            };
            let late = |asked: &[u8]| {
                thread::sleep(SLOW);
                vec![super::questions::address(asked)]
            };
            let fast = kind(|asked| vec![super::questions::address(asked)]);
            Subject::new(fast, kind(late), Reason::DnsTimeout)
        }
        "icmp" => {
            let kind = |spacing| {
                let (count, payload_bytes, dont_fragment) = (2, 56, false);
                let host = host();
                let ttl = None;
                StepKind::Icmp(IcmpStep { host, count, spacing, payload_bytes, dont_fragment, ttl })
            };
            // No echo is sent that has no time: those that were are judged.
            Subject::new(kind(ms(1)), kind(SLOW), None)
        }
        "grpc" => {
            let (address, _) = super::health::serve(super::health::says(1), None);
            let kind = |port| {
                let (service, metadata) = ("shop.Cart".to_owned(), vec![]);
                let host = host();
                let (tls, authority) = (None, None);
                StepKind::Grpc(GrpcStep { host, port, service, tls, authority, metadata })
            };
            both(address, &kind, Reason::Timeout)
        }
        "udp" => {
            let kind = |length: Duration| {
                let address = super::talk::datagrams(move |_, _| {
                    thread::sleep(length);
                    Some(b"pong".to_vec())
                });
                let mut run = super::talk::datagram(address, "^pong", None);
                let StepKind::Udp(step) = &mut run.steps[0].kind else { panic!("a udp step") };
                StepKind::Udp(UdpStep { host: host(), ..step.clone() })
            };
            Subject::new(kind(Duration::ZERO), kind(SLOW), Reason::Timeout)
        }
        "ssh" => {
            let offer = vec![Do::Say(super::talk::ssh_offer()), Do::Hear("looked at by a probe")];
            let kind = |port| StepKind::Ssh(SshStep { host: host(), port });
            both(scripted(&config, offer), &kind, Reason::Timeout)
        }
        "websocket" => {
            let kind = |port| {
                let url = format!("ws://{NAME}:{port}/");
                StepKind::Websocket(WebSocketStep { url, ..WebSocketStep::default() })
            };
            both(super::websocket::saying(vec![], hang), &kind, Reason::Timeout)
        }
        "plugin" => {
            use super::plugins::{plugin, starting, step_of};
            let late = format!("[ \"$1\" ] && sleep {}; echo OK", SLOW.as_secs_f32());
            let dir = plugin(&late);
            let executor = starting(dir.path(), &[]);
            let fast = step_of("check_it");
            let mut slow = fast.clone();
            slow.args = vec!["slow".to_owned()];
            let (fast, slow) = (StepKind::Plugin(fast), StepKind::Plugin(slow));
            let too_late = Some(Reason::Timeout);
            Subject { fast, slow, too_late, executor, connects: false, _dirs: vec![dir] }
        }
        other => panic!("{other} has no rows"),
    }
}

/// Every option that a run has, and whether it is about connections.
fn options(run: &Run) -> Vec<(&'static str, bool)> {
    // Whoever adds a field decides here.
    let Run {
        steps: _,
        expect: _,
        warn: _,
        canary: _,
        ip: _,
        source_address: _,
        resolver: _,
        timeout: _,
        samples: _,
        invert: _,
    } = run;
    vec![
        ("ip", true),
        ("source_address", true),
        ("resolver", true),
        ("timeout", false),
        ("samples", false),
        ("invert", false),
    ]
}

/// What is changed, and what is found.
type Change = (&'static str, fn(&mut Run), Outcome, Option<Reason>);

/// The runs of an option: with it, and without.
fn rows(option: &str) -> Vec<Change> {
    use Outcome::{Fail, Missed, Pass};
    const NOBODY: [u8; 4] = [192, 0, 2, 77];
    match option {
        // The name has an address of IPv4 only.
        "ip" => vec![
            ("auto", |_| {}, Pass, None),
            ("4", |run| run.ip = IpFamily::V4, Pass, None),
            ("6", |run| run.ip = IpFamily::V6, Fail, Some(Reason::DnsNoAddress)),
        ],
        "source_address" => vec![
            ("none", |_| {}, Pass, None),
            ("ours", |run| run.source_address = Some([127, 0, 0, 9].into()), Pass, None),
            (
                "of nobody",
                |run| run.source_address = Some(NOBODY.into()),
                Missed,
                Some(Reason::ConfigError),
            ),
        ],
        "resolver" => vec![
            ("one that knows", |_| {}, Pass, None),
            (
                "one that does not",
                |run| run.resolver = Some(dns(Some(3), None)),
                Fail,
                Some(Reason::DnsNxdomain),
            ),
        ],
        "samples" => {
            vec![("one", |_| {}, Pass, None), ("three", |run| run.samples = 3, Pass, None)]
        }
        "invert" => vec![
            ("a pass", |run| run.invert = true, Fail, Some(Reason::InvertedPass)),
            (
                "a failure",
                |run| {
                    run.expect = vec!["latency < duration('0s')".to_owned()];
                    run.invert = true;
                },
                Pass,
                None,
            ),
            (
                "a failure as it is",
                |run| run.expect = vec!["latency < duration('0s')".to_owned()],
                Fail,
                Some(Reason::ExpectationFailed),
            ),
        ],
        // Has its own target.
        "timeout" => vec![],
        other => panic!("{other} has no rows"),
    }
}

#[tokio::test]
async fn each_option_of_every_kind_changes_what_it_says() {
    let name_server = NameServer::start();
    name_server.say("A=127.0.0.1");
    let (mut cells, mut wrong) = (BTreeSet::new(), Vec::new());
    for kind in StepKind::WORDS {
        let subject = subject(kind);
        assert_eq!(subject.fast.word(), kind);
        let mut plain = run_of(subject.fast.clone());
        plain.timeout = Duration::from_secs(10);
        plain.resolver = subject.connects.then_some(name_server.address);
        let options = options(&plain);
        for (option, _) in
            options.iter().filter(|(_, of_connections)| subject.connects || !of_connections)
        {
            for (what, change, outcome, reason) in rows(option) {
                let mut run = plain.clone();
                change(&mut run);
                let finding = subject.executor.slot(&run, Duration::from_secs(3_600)).await.finding;
                let samples = finding.phases.iter().filter(|(_, of, _)| *of == Phase::Total);
                let samples = samples.count();
                let wanted = if run.samples > 1 { run.samples as usize } else { 0 };
                if (finding.outcome, finding.reason, samples) != (outcome, reason, wanted) {
                    wrong.push(format!("{kind}, {option} {what}: {finding:?}"));
                }
                cells.insert((kind, *option));
            }
        }
        for (timeout, reason) in [(plain.timeout, None), (ms(500), subject.too_late)] {
            let mut run = Run { timeout, ..plain.clone() };
            run.steps[0].kind = subject.slow.clone();
            let execution = subject.executor.run(&run).await;
            let length = execution.ended.since(execution.started);
            let in_time = (length < SLOW) == (timeout < SLOW);
            let finding = execution.finding;
            if (finding.reason, in_time) != (reason, true) {
                wrong.push(format!("{kind}, timeout {timeout:?} after {length:?}: {finding:?}"));
            }
            cells.insert((kind, "timeout"));
        }
        for (option, of_connections) in options {
            let has = cells.contains(&(kind, option));
            assert_eq!(has, subject.connects || !of_connections, "{kind} {option}");
        }
    }
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}
