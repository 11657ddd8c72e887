//! Every option of every kind has an example on the kind's page, and those that every kind takes on
//! `docs/checks/options.md`, whose examples are run here against a small shop. The tests beside this one run
//! the examples of the pages of kinds.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parallax_common::check::{IpFamily, Run, StepKind};
use parallax_common::outcome::{Outcome, Phase, Reason};
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;
use serde_json::Value;

use super::{blocks, examples, file};
use crate::config::schema;

const PAGE: &str = "docs/checks/options.md";
/// What a check of any kind says of its runs.
const COMMON: [&str; 6] = ["ip", "source_address", "resolver", "timeout", "samples", "invert"];

/// The paths of the options that stand in a value, as the schema writes them.
fn used(at: &str, value: &Value, paths: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            used(&path, value, paths);
            paths.insert(path);
        }),
        Value::Array(items) => items.iter().for_each(|item| used(&format!("{at}[]"), item, paths)),
        _ => {}
    }
}

/// Every option in the valid examples of a page.
fn shown(page: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (_, line, block) in blocks(&file(page)).into_iter().filter(|(word, ..)| *word == "yaml") {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&block)
            .unwrap_or_else(|error| panic!("{page}:{line}: {error}"));
        documents.iter().for_each(|document| used("", document, &mut paths));
    }
    paths
}

#[test]
fn every_option_of_every_kind_has_an_example_on_its_page() {
    let all: Vec<String> = schema::paths().into_iter().map(|(path, _)| path).collect();
    let (mut missing, mut count) = (Vec::new(), 0);
    for kind in StepKind::WORDS {
        let page = format!("docs/checks/{kind}.md");
        let shown = shown(&page);
        let own = format!("checks[].{kind}.");
        let options: Vec<&String> = all.iter().filter(|path| path.starts_with(&own)).collect();
        assert!(!options.is_empty(), "{kind} has no options");
        count += options.len();
        let not_there = options.into_iter().filter(|path| !shown.contains(*path));
        missing.extend(not_there.map(|path| format!("{page}: {path}")));
    }
    let shown = shown(PAGE);
    for option in COMMON.map(|option| format!("checks[].{option}")) {
        assert!(all.contains(&option), "{option}");
        if !shown.contains(&option) {
            missing.push(format!("{PAGE}: {option}"));
        }
    }
    assert!(count > 60, "{count}");
    assert!(missing.is_empty(), "no example of:\n  {}", missing.join("\n  "));
}

/// Says who asks; at `/slow` after a while.
fn answer(mut stream: TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    if head.starts_with(b"GET /slow ") {
        std::thread::sleep(Duration::from_millis(1_200));
    }
    let body = format!(r#"{{"peer": "{}"}}"#, stream.peer_addr().unwrap().ip());
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes());
}

fn shop() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

/// A name server that has 127.0.0.1 for every name and nothing else, and how often it was asked.
fn name_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            count.fetch_add(1, Ordering::SeqCst);
            // The name ends with a zero; type and class follow.
            let end = 12 + packet[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let has = u8::from(packet[end - 3] == 1);
            let counts = [0, 1, 0, has, 0, 0, 0, 0];
            let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1];
            let record = &record[..record.len() * usize::from(has)];
            let said = [&packet[..2], &[0x81, 0x80], &counts, &packet[12..end], record].concat();
            socket.send_to(&said, from).unwrap();
        }
    });
    (at, asked)
}

#[tokio::test]
async fn every_example_of_common_options_does_what_the_page_says_and_the_option_decides() {
    let (shop, (resolver, asked)) = (shop(), name_server());
    // Bound and not listening; kept, as another might listen on what was given back.
    let kept = tokio::net::TcpSocket::new_v4().unwrap();
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone = kept.local_addr().unwrap();
    let executor = Executor::new(Secrets::default(), None, None);
    let look = async |run: &Run| executor.slot(run, Duration::from_secs(60)).await.finding;
    let mut names = BTreeSet::new();
    for (line, check) in examples(PAGE) {
        let mut run = check.run;
        let named = run.resolver.is_some();
        // The page's name server, its own address and its hosts are of this machine.
        run.resolver = Some(resolver);
        run.source_address = run.source_address.map(|_| [127, 0, 0, 9].into());
        for text in &mut run.expect {
            *text = text.replace("192.0.2.10", "127.0.0.9");
        }
        match &mut run.steps[0].kind {
            StepKind::Http(step) => {
                let here = format!("shop.example.:{}", shop.port());
                step.url = step.url.replace("shop.example", &here);
            }
            StepKind::Tcp(step) => step.port = gone.port(),
            _ => panic!("line {line}: an http or a tcp step"),
        }
        let before = asked.load(Ordering::SeqCst);
        let finding = look(&run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", check.name);
        assert!(asked.load(Ordering::SeqCst) > before, "{}", check.name);
        let lengths = finding.phases.iter().filter(|(_, phase, _)| *phase == Phase::Total).count();
        assert_eq!(lengths, if run.samples > 1 { run.samples as usize } else { 0 });
        // The same without the option, or with another value.
        let mut other = run.clone();
        let reason = match check.name.as_str() {
            "by-four" => {
                other.ip = IpFamily::V6;
                Reason::DnsNoAddress
            }
            "from-the-office" => {
                other.source_address = None;
                Reason::ExpectationFailed
            }
            "as-visitors-see-it" => {
                assert!(named, "it has a resolver");
                other.resolver = Some(gone);
                Reason::DnsTimeout
            }
            "patient" => {
                other.timeout = Duration::from_millis(500);
                Reason::Timeout
            }
            "three-times" => {
                other.samples = 1;
                names.insert(check.name);
                continue;
            }
            "closed" => {
                other.invert = false;
                Reason::ConnectRefused
            }
            name => panic!("what does the option of {name} change?"),
        };
        if reason == Reason::DnsTimeout {
            other.timeout = Duration::from_millis(300);
        }
        let finding = look(&other).await;
        assert_eq!(finding.reason, Some(reason), "{} (line {line}): {finding:?}", check.name);
        names.insert(check.name);
    }
    assert_eq!(names.len(), COMMON.len(), "{names:?}");
}
