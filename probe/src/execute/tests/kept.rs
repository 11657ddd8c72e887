//! Connections that outlive a run, against targets that count them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use parallax_common::check::HttpVersion;

use super::*;

/// A target over plain HTTP: `answer` gets the numbers of the connection and of the request on it, and says
/// what is sent and whether the connection stays. Tells both numbers of each request, with its head.
fn target(
    answer: impl Fn(usize, usize) -> (Vec<u8>, bool) + Send + Sync + 'static,
) -> (SocketAddr, Receiver<(usize, usize, String)>) {
    let (seen, requests) = channel();
    let connections = AtomicUsize::new(0);
    let address = server(move |mut stream| {
        let connection = connections.fetch_add(1, Ordering::SeqCst);
        for number in 0.. {
            let head = request(&mut stream);
            if head.is_empty() {
                return;
            }
            let (bytes, stays) = answer(connection, number);
            let _ = seen.send((connection, number, head));
            let _ = stream.write_all(&bytes);
            if !stays {
                return;
            }
        }
    });
    (address, requests)
}

fn keeping(address: SocketAddr) -> Run {
    let mut run = plain_http(address);
    step(&mut run).keep_alive = true;
    run
}

fn numbers(requests: &Receiver<(usize, usize, String)>) -> Vec<(usize, usize)> {
    requests.try_iter().map(|(connection, number, _)| (connection, number)).collect()
}

const NEW: &[Phase] = &[Phase::Connect, Phase::FirstByte, Phase::Transfer];
const AGAIN: &[Phase] = &[Phase::FirstByte, Phase::Transfer];

#[tokio::test]
async fn a_kept_connection_serves_the_next_runs_and_the_option_decides() {
    let (address, requests) = target(|_, _| (OK.to_vec(), true));
    let executor = executor();
    let mut run = keeping(address);
    run.expect = vec!["json.a == 1 && ip == '127.0.0.1'".to_owned()];
    for turn in 0..3 {
        // Whether it was one is to be seen in expressions, too.
        run.warn = vec!["reused".to_owned()];
        let finding = executor.run(&run).await.finding;
        // Another `warn` is another version.
        let outcome = if turn == 0 { Outcome::Warn } else { Outcome::Pass };
        assert_eq!(finding.outcome, outcome, "{turn}: {finding:?}");
        assert_eq!(phases(&finding), if turn == 0 { NEW } else { AGAIN }, "{turn}");
        assert_eq!(finding.remote, Some(address));
    }
    let sent: Vec<_> = requests.try_iter().collect();
    let places: Vec<_> =
        sent.iter().map(|(connection, number, _)| (*connection, *number)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (0, 2)]);
    assert!(!sent[0].2.contains("connection:"), "{}", sent[0].2);
    // Another version of the check shares nothing, and neither does one without the option.
    run.warn.clear();
    assert_eq!(phases(&executor.run(&run).await.finding), NEW);
    step(&mut run).keep_alive = false;
    for _ in 0..2 {
        assert_eq!(phases(&executor.run(&run).await.finding), NEW);
    }
    let sent: Vec<_> = requests.try_iter().map(|(connection, ..)| connection).collect();
    assert_eq!(sent, [1, 2, 3]);
    // Two at once are two connections; one of them stays.
    let run = keeping(address);
    let (one, two) = tokio::join!(executor.run(&run), executor.run(&run));
    assert_eq!([phases(&one.finding), phases(&two.finding)], [NEW, NEW]);
    assert_eq!(phases(&executor.run(&run).await.finding), AGAIN);
}

#[tokio::test]
async fn a_connection_that_the_target_has_closed_is_replaced_and_tried_once_more_at_most() {
    let ends = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}".to_vec();
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}".to_vec();
    let good = || OK.to_vec();
    // What the target does, by connection and request; phases of the second run and what comes of it; what
    // the target was asked in all.
    type Does = Box<dyn Fn(usize, usize) -> (Vec<u8>, bool) + Send + Sync>;
    type Row<'a> = (&'a str, Does, &'a [Phase], Option<Reason>, &'a [(usize, usize)]);
    let rows: [Row<'_>; 6] = [
        ("says so", Box::new(move |_, _| (ends.clone(), false)), NEW, None, &[(0, 0), (1, 0)]),
        ("closes", Box::new(move |_, _| (good(), false)), NEW, None, &[(0, 0), (1, 0)]),
        (
            "closes when it is asked",
            Box::new(move |connection, number| match (connection, number) {
                (0, 1) => (vec![], false),
                _ => (OK.to_vec(), true),
            }),
            NEW,
            None,
            &[(0, 0), (0, 1), (1, 0)],
        ),
        (
            "leaves it open",
            Box::new(|connection, _| match connection {
                0 => (OK.to_vec(), true),
                _ => (vec![], false),
            }),
            AGAIN,
            None,
            &[(0, 0), (0, 1)],
        ),
        (
            "is gone for good",
            Box::new(|connection, number| match (connection, number) {
                (0, 0) => (OK.to_vec(), true),
                _ => (vec![], false),
            }),
            &[Phase::Connect],
            Some(Reason::HttpTruncated),
            &[(0, 0), (0, 1), (1, 0)],
        ),
        (
            "closes in the middle of an answer",
            Box::new(move |connection, number| match (connection, number) {
                (0, 1) => (half.clone(), false),
                _ => (OK.to_vec(), true),
            }),
            &[Phase::FirstByte],
            Some(Reason::HttpTruncated),
            &[(0, 0), (0, 1)],
        ),
    ];
    for (name, does, phases_of, reason, asked) in rows {
        let (address, requests) = target(does);
        let (executor, run) = (executor(), keeping(address));
        assert_eq!(executor.run(&run).await.finding.outcome, Outcome::Pass, "{name}");
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.reason, reason, "{name}: {finding:?}");
        assert_eq!(phases(&finding), phases_of, "{name}: {finding:?}");
        assert_eq!(numbers(&requests), asked, "{name}");
    }
}

#[tokio::test]
async fn a_redirect_that_is_followed_leaves_no_connection_with_an_unread_body() {
    let (address, requests) = target(|_, number| match number {
        0 => (b"HTTP/1.1 302 X\r\nlocation: /b\r\ncontent-length: 3\r\n\r\nsee".to_vec(), true),
        _ => (OK.to_vec(), true),
    });
    let (away, at_away) = target(|_, _| (OK.to_vec(), true));
    let (first, _) = target(move |_, _| {
        let to = format!("HTTP/1.1 302 X\r\nlocation: http://{away}/\r\ncontent-length: 0\r\n\r\n");
        (to.into_bytes(), true)
    });
    let executor = executor();
    let mut run = keeping(address);
    step(&mut run).redirects_max = 1;
    let finding = executor.run(&run).await.finding;
    // The second connection is answered by the same redirect.
    assert_eq!(finding.reason, Some(Reason::HttpRedirectLoop), "{finding:?}");
    assert_eq!(numbers(&requests), [(0, 0), (1, 0)]);
    // Each origin has a connection of its own.
    let mut run = keeping(first);
    step(&mut run).redirects_max = 1;
    for _ in 0..2 {
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        // The way to the redirect is made anew, that to where it leads is kept.
        assert_eq!(phases(&finding), NEW);
    }
    assert_eq!(numbers(&at_away), [(0, 0), (0, 1)]);
}

/// What an expression asks of a phase must not fail because the connection was there already.
#[tokio::test]
async fn expressions_see_the_same_phases_on_a_kept_connection_and_series_only_those_that_were() {
    let (address, _) = target(|_, _| (OK.to_vec(), true));
    let named = |host: &str, port: u16| {
        let mut run = keeping(address);
        step(&mut run).url = format!("http://{host}:{port}/");
        run.resolver = Some(dns(Some(0), Some([127, 0, 0, 1])));
        run.ip = IpFamily::V4;
        run
    };
    let (moved, _) = target(move |_, _| {
        let to = format!("http://shop.example.:{}/", address.port());
        let head = format!("HTTP/1.1 302 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        (head.into_bytes(), false)
    });
    let far: &[Phase] = &[&[Phase::Dns], NEW].concat();
    let any: &[Phase] = &[];
    // (host, port, phases of the first run, of the next one, what holds in both)
    for (host, port, new, again, holds) in [
        ("127.0.0.1", address.port(), NEW, AGAIN, "phases.connect < duration('2s')"),
        ("127.0.0.1", address.port(), NEW, AGAIN, "!('dns' in phases) && !('tls' in phases)"),
        (
            "shop.example.",
            address.port(),
            far,
            AGAIN,
            "phases.dns + phases.connect < duration('2s')",
        ),
        ("shop.example.", address.port(), far, AGAIN, "has(phases.dns) && !has(phases.tls)"),
        (
            "shop.example.",
            address.port(),
            far,
            AGAIN,
            "reused == (phases.dns + phases.connect == duration('0s'))",
        ),
        // The way to the redirect is made anew, and is all that there is to see.
        ("127.0.0.1", moved.port(), any, NEW, "phases.connect > duration('0s') && 'dns' in phases"),
    ] {
        let mut run = named(host, port);
        step(&mut run).redirects_max = 1;
        run.expect = vec![format!("status == 200 && {holds}")];
        let executor = executor();
        for phases_of in [new, again, again] {
            let finding = executor.run(&run).await.finding;
            assert_eq!(finding.outcome, Outcome::Pass, "{host}: {holds}: {finding:?}");
            let seen = phases(&finding);
            assert!(phases_of.is_empty() || seen == phases_of, "{host}: {holds}: {seen:?}");
        }
        // What it takes to come to a connection still fails the run that makes one.
        run.expect = vec!["status == 200 && phases.connect == duration('0s')".to_owned()];
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.reason, Some(Reason::ExpectationFailed), "{finding:?}");
    }
}

#[tokio::test]
async fn what_was_seen_of_tls_is_seen_again_over_both_versions_of_http() {
    let ours = authority();
    let address = super::http::http2_site(&ours, &[b"h2"]);
    let executor = executor();
    let mut run = http(format!("https://{address}/"));
    step(&mut run).tls.ca_pem = Some(ours.pem.clone());
    step(&mut run).version = HttpVersion::V2;
    step(&mut run).keep_alive = true;
    run.expect = vec![
        "status == 200 && cert.days_left > 0 && tls_version == '1.3'".to_owned(),
        "http_version == 'HTTP/2' && reused == (phases.connect == duration('0s'))".to_owned(),
        "reused == (phases.tls == duration('0s')) && !('dns' in phases)".to_owned(),
    ];
    let mut all = Vec::new();
    for _ in 0..3 {
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        assert!(finding.expiry.is_some());
        all.push(phases(&finding));
    }
    let new = [Phase::Connect, Phase::Tls, Phase::FirstByte, Phase::Transfer];
    assert_eq!(all, [&new[..], AGAIN, AGAIN]);
    // A session that the target ends politely serves nobody else.
    let mut run = run.clone();
    step(&mut run).url = format!("https://{address}/polite");
    for _ in 0..2 {
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        assert_eq!(phases(&finding), new);
    }
}
