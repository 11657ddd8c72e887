//! How an exchange of HTTP can end at each of its steps, in the clear and over TLS: reason, step and phases
//! of each. HTTP/2 and 3 have theirs in `http` and `http3`.

use parallax_common::check::{GrpcStep, WebSocketStep};

use super::guard::NameServer;
use super::http::{ok, tls_server, tls_site};
use super::talk::{Do, config, say, scripted};
use super::*;
use Phase::{Connect, Dns, FirstByte, Tls, Transfer};

/// What a server does when it has heard the request: reason, phases without that of TLS, evidence.
type Row = (&'static str, Vec<Do>, Option<Reason>, &'static [Phase], &'static str);

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// The phases of one step of a run.
fn phases_of(finding: &Finding, step: u32) -> Vec<Phase> {
    let own = finding.phases.iter().filter(|(of, ..)| *of == step);
    own.map(|(_, phase, _)| *phase).collect()
}

fn rows() -> Vec<Row> {
    use Reason as R;
    let none = &[Connect][..];
    let head = &[Connect, FirstByte][..];
    let whole = &[Connect, FirstByte, Transfer][..];
    let half = || say("HTTP/1.1 200 OK\r\nx-a: ");
    let some = || say(&format!("{HEAD}some"));
    let slow_body = [HEAD.as_bytes(), &[b'x'; 900]].concat();
    vec![
        ("silence", vec![Do::Hang], Some(R::Timeout), none, "no end within"),
        ("a head that comes slowly", vec![Do::Slowly(OK.to_vec())], Some(R::Timeout), none, ""),
        ("half a head, and silence", vec![half(), Do::Hang], Some(R::Timeout), none, ""),
        ("closed", vec![], Some(R::HttpTruncated), none, ""),
        ("closed within the head", vec![half()], Some(R::HttpTruncated), none, ""),
        ("reset", vec![Do::Reset], Some(R::HttpReset), none, ""),
        ("reset within the head", vec![half(), Do::Reset], Some(R::HttpReset), none, ""),
        (
            "a body that comes slowly",
            vec![Do::Say(slow_body[..HEAD.len()].to_vec()), Do::Slowly(slow_body)],
            Some(R::Timeout),
            head,
            "no end within",
        ),
        ("silence within the body", vec![some(), Do::Hang], Some(R::Timeout), head, ""),
        ("closed within the body", vec![some()], Some(R::HttpTruncated), head, ""),
        ("reset within the body", vec![some(), Do::Reset], Some(R::HttpReset), head, ""),
        (
            "closed within a chunk",
            vec![say(&format!("{CHUNKED}9\r\nabc"))],
            Some(R::HttpTruncated),
            head,
            "",
        ),
        (
            "closed between chunks",
            vec![say(&format!("{CHUNKED}3\r\nabc\r\n"))],
            Some(R::HttpTruncated),
            head,
            "",
        ),
        (
            "silence between chunks",
            vec![say(&format!("{CHUNKED}3\r\nabc\r\n")), Do::Hang],
            Some(R::Timeout),
            head,
            "",
        ),
        (
            "a length of a chunk that is none",
            vec![say(&format!("{CHUNKED}3\r\nabc\r\nzz\r\n"))],
            Some(R::HttpMalformed),
            head,
            "",
        ),
        (
            "a body longer than its length",
            vec![say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef")],
            None,
            whole,
            "",
        ),
        (
            "two lengths",
            vec![say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd")],
            Some(R::HttpMalformed),
            none,
            "",
        ),
        (
            "a length that is none",
            vec![say("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nabcd")],
            Some(R::HttpMalformed),
            none,
            "",
        ),
        ("another protocol", vec![say("220 mail.example\r\n")], Some(R::HttpMalformed), none, ""),
    ]
}

#[tokio::test]
async fn an_exchange_ends_at_each_of_its_steps_with_reason_step_and_phases() {
    let ours = authority();
    let config = config(&ours, (2020, 2090), rustls::DEFAULT_VERSIONS);
    for (what, script, reason, clear, evidence) in rows() {
        for scheme in ["http", "https"] {
            let what = format!("{scheme}: {what}");
            let secure = scheme == "https";
            let mut wanted = clear.to_vec();
            let mut whole = vec![Do::Hear("\r\n\r\n")];
            if secure {
                wanted.insert(1, Tls);
                whole.insert(0, Do::Secure);
            }
            whole.extend(script.clone());
            let address = scripted(&config, whole);
            let mut run = http(format!("{scheme}://{address}/"));
            step(&mut run).tls.ca_pem = secure.then(|| ours.pem.clone());
            run.timeout = ms(if reason == Some(Reason::Timeout) { 600 } else { 5_000 });
            if reason.is_none() {
                run.expect = vec!["body == 'abc'".to_owned()];
            }
            // The same as a second step.
            let mut later = tcp("127.0.0.1", server(drop).port());
            later.timeout = run.timeout;
            later.expect.clone_from(&run.expect);
            later.steps.push(run.steps[0].clone());
            for (run, at) in [(&run, 0), (&later, 1)] {
                let finding = found(run).await;
                let outcome = if reason.is_some() { Outcome::Fail } else { Outcome::Pass };
                assert_eq!((finding.outcome, finding.reason), (outcome, reason), "{what}");
                assert_eq!(phases_of(&finding, at), wanted, "{what}: {finding:?}");
                assert_eq!(finding.step, at, "{what}");
                assert!(finding.evidence.contains(evidence), "{what}: {finding:?}");
                assert_eq!(finding.remote, Some(address), "{what}");
                assert_eq!(finding.expiry.is_some(), secure, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_the_connection_and_over_tls_with_its_goodbye() {
    let ours = authority();
    let config = config(&ours, (2020, 2090), rustls::DEFAULT_VERSIONS);
    let answer = "HTTP/1.1 200 OK\r\n\r\nto the end";
    let hear = Do::Hear("\r\n\r\n");
    let plain = scripted(&config, vec![hear.clone(), say(answer)]);
    // Whoever is on the path can close a connection, and cannot say goodbye.
    let cut = scripted(&config, vec![Do::Secure, hear, say(answer)]);
    let polite = tls_site(tls_server(&ours, rustls::DEFAULT_VERSIONS, false), answer.into());
    for (url, reason, wanted) in [
        (format!("http://{plain}/"), None, &[Connect, FirstByte, Transfer][..]),
        (format!("https://{polite}/"), None, &[Connect, Tls, FirstByte, Transfer]),
        (format!("https://{cut}/"), Some(Reason::HttpTruncated), &[Connect, Tls, FirstByte]),
    ] {
        let mut run = http(url.clone());
        step(&mut run).tls.ca_pem = url.starts_with("https").then(|| ours.pem.clone());
        run.expect = vec!["body == 'to the end'".to_owned()];
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{url}: {finding:?}");
        assert_eq!(phases(&finding), wanted, "{url}");
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_not_the_answer_to_the_next_question() {
    let address = server(|mut stream| {
        while !request(&mut stream).is_empty() {
            let smuggled = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
            let _ = stream.write_all(&[&ok("good")[..], smuggled].concat());
        }
    });
    let executor = executor();
    let mut run = plain_http(address);
    step(&mut run).keep_alive = true;
    run.expect = vec!["body == 'good'".to_owned()];
    for _ in 0..5 {
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    }
}

/// Kinds that speak in the clear to a port of TLS, and over TLS to one in the clear.
#[tokio::test]
async fn who_speaks_in_the_clear_to_tls_and_the_other_way_round_is_told() {
    let ours = authority();
    let secure = tls_site(tls_server(&ours, rustls::DEFAULT_VERSIONS, false), ok(""));
    let plain = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let websocket = |scheme: &str, address: SocketAddr| {
        let url = format!("{scheme}://{address}/");
        run_of(StepKind::Websocket(WebSocketStep { url, ..WebSocketStep::default() }))
    };
    let grpc = |address: SocketAddr, tls: bool| {
        run_of(StepKind::Grpc(GrpcStep {
            host: address.ip().to_string(),
            port: address.port(),
            service: String::new(),
            tls: tls.then(TlsOptions::default),
            authority: None,
            metadata: vec![],
        }))
    };
    for (what, run, reason) in [
        ("http", http(format!("http://{secure}/")), Reason::HttpMalformed),
        ("websocket", websocket("ws", secure), Reason::HttpMalformed),
        ("grpc", grpc(secure, false), Reason::HttpMalformed),
        ("https", http(format!("https://{plain}/")), Reason::TlsHandshake),
        ("wss", websocket("wss", plain), Reason::TlsHandshake),
        ("grpc over tls", grpc(plain, true), Reason::TlsHandshake),
    ] {
        let finding = found(&run).await;
        let said = (finding.outcome, finding.reason, finding.step);
        assert_eq!(said, (Outcome::Fail, Some(reason), 0), "{what}: {finding:?}");
        assert_eq!(phases(&finding), [Connect], "{what}: {finding:?}");
    }
}

#[tokio::test]
async fn a_chain_of_aliases_ends_at_an_address_or_tells_why_not() {
    use Reason as R;
    let name_server = NameServer::start();
    let port = server(drop).port();
    let chain = |length: usize, end: &str| {
        let names: Vec<String> = (0..length).map(|n| format!("CNAME=a{n}.example")).collect();
        format!("{} {end}", names.join(" "))
    };
    let reached = &[Dns, Connect][..];
    let asked = &[Dns][..];
    for (what, says, family, reason, wanted) in [
        ("an alias", chain(1, "A=127.0.0.1"), IpFamily::V4, None, reached),
        ("eight aliases", chain(8, "A=127.0.0.1"), IpFamily::V4, None, reached),
        ("an alias that leads nowhere", chain(1, ""), IpFamily::V4, Some(R::DnsNoAddress), asked),
        ("cut, and whole over tcp", "TC A=127.0.0.1".to_owned(), IpFamily::V4, None, reached),
        ("IPv6 only, and 4", "AAAA=::1".to_owned(), IpFamily::V4, Some(R::DnsNoAddress), asked),
        ("IPv4 only, and 6", "A=127.0.0.1".to_owned(), IpFamily::V6, Some(R::DnsNoAddress), asked),
        ("IPv4 only, and any", "A=127.0.0.1".to_owned(), IpFamily::Auto, None, reached),
        (
            "an address of another name",
            "OTHER=127.0.0.1".to_owned(),
            IpFamily::V4,
            Some(R::DnsNoAddress),
            asked,
        ),
    ] {
        name_server.say(&says);
        let mut run = tcp("shop.example.", port);
        (run.resolver, run.ip) = (Some(name_server.address), family);
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.step), (reason, 0), "{what}: {finding:?}");
        assert_eq!(phases(&finding), wanted, "{what}: {finding:?}");
    }
    // An IPv6-only name, wherever this machine has IPv6.
    let six = TcpListener::bind("[::1]:0").unwrap();
    let address = six.local_addr().unwrap();
    for family in [IpFamily::Auto, IpFamily::V6] {
        name_server.say("AAAA=::1");
        let mut run = tcp("shop.example.", address.port());
        (run.resolver, run.ip) = (Some(name_server.address), family);
        let finding = found(&run).await;
        assert_eq!((finding.reason, finding.remote), (None, Some(address)), "{finding:?}");
        assert_eq!(phases(&finding), reached);
    }
}
