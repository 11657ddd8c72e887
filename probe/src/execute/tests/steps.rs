//! Steps in order: what one captures the next one fills in, and what comes of it when it is not there.

use parallax_common::check::{Capture, Exchange, Expected, HttpAuth, Payload, UdpStep};
use parallax_common::limits::{CAPTURED_BYTES_MAX, EXPRESSION_WALL_MAX};

use super::*;
use crate::execute::decode::Decoder;

/// Answers the login with this, and everything else with what was asked, as text.
fn shop(login: &'static str) -> SocketAddr {
    server(move |mut stream| {
        let mut head = request(&mut stream);
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut body = vec![0; length.trim().parse().unwrap()];
        let _ = stream.read_exact(&mut body);
        head.push_str(&String::from_utf8_lossy(&body));
        let answer = match head.starts_with("GET /login") {
            true => login.to_owned(),
            false => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len()),
        };
        let _ = stream.write_all(answer.as_bytes());
    })
}

fn good_login(body: &str, headers: &str) -> &'static str {
    let answer =
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    answer.leak()
}

fn capture(name: &str, value: &str) -> Capture {
    Capture { name: name.to_owned(), value: value.to_owned() }
}

/// A login that captures, and a request that fills in.
fn login_then(
    address: SocketAddr,
    captures: &[(&str, &str)],
    change: impl FnOnce(&mut HttpStep),
) -> Run {
    let mut run = http(format!("http://{address}/login"));
    run.steps[0].name = "login".to_owned();
    run.steps[0].captures = captures.iter().map(|(name, value)| capture(name, value)).collect();
    let mut second = plain_http(address).steps.remove(0);
    second.name = "fetch".to_owned();
    if let StepKind::Http(step) = &mut second.kind {
        change(step);
    }
    run.steps.push(second);
    run
}

#[tokio::test]
async fn what_a_step_captures_a_later_one_sends() {
    let body = r#"{"token": "t0k/en +1", "user": {"id": 42}}"#;
    let address = shop(good_login(body, "x-trace: a&b\r\nset-cookie: s=1\r\n"));
    let captures = [
        ("token", "json.token"),
        ("id", "json.user.id"),
        ("trace", "headers['x-trace']"),
        ("seen", "string(status) + '-' + ip"),
    ];
    let mut run = login_then(address, &captures, |step| {
        step.url = format!("http://{address}/users/${{capture:id}}/${{capture:token}}?a=1");
        step.query = vec![("trace".to_owned(), "<${capture:trace}>".to_owned())];
        step.headers = vec![("x-seen".to_owned(), "${capture:seen}".to_owned())];
        step.auth = Some(HttpAuth::Bearer("${capture:token}".to_owned()));
        step.method = "POST".to_owned();
        step.body = r#"{"t": "${capture:token}", "plain": "${x} $${env:A}"}"#.to_owned();
    });
    run.expect = [
        "body.startsWith('POST /users/42/t0k%2Fen%20%2B1?a=1&trace=%3Ca%26b%3E HTTP/1.1')",
        "body.contains('authorization: Bearer t0k/en +1') && body.contains('x-seen: 200-127.0.0.1')",
        r#"body.endsWith('{"t": "t0k/en +1", "plain": "${x} $${env:A}"}')"#,
    ]
    .map(str::to_owned)
    .to_vec();
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Pass, None), "{finding:?}");
    // Each step has series of its own.
    let steps: Vec<(u32, Phase)> =
        finding.phases.iter().map(|(step, of, _)| (*step, *of)).collect();
    use Phase::{Connect, FirstByte, Transfer};
    let wanted =
        [(0, Connect), (0, FirstByte), (0, Transfer), (1, Connect), (1, FirstByte), (1, Transfer)];
    assert_eq!(steps, wanted);
    // What was captured is a secret, however it comes back.
    run.expect = vec!["body == ''".to_owned()];
    if let StepKind::Http(step) = &mut run.steps[1].kind {
        step.url = format!("http://{address}/login?x=${{capture:token}}");
    }
    let finding = found(&run).await;
    assert_eq!((finding.reason, finding.step), (Some(Reason::ExpectationFailed), 1));
    assert!(!finding.evidence.contains("t0k"), "{finding:?}");
}

#[tokio::test]
async fn what_cannot_be_captured_fails_by_its_name_and_step() {
    use Reason as R;
    let large = format!("\"{}\"", "x".repeat(CAPTURED_BYTES_MAX + 1));
    for (body, value, reason, step, evidence) in [
        (
            "{}",
            "json.token",
            R::CaptureFailed,
            0,
            "capture `x` of step `login`: there is no `token`",
        ),
        ("oops", "json.token", R::CaptureFailed, 0, "the body is not JSON"),
        ("[1]", "json", R::CaptureFailed, 0, "the expression says a list, not a text or a number"),
        ("null", "json", R::CaptureFailed, 0, "null"),
        ("{}", "headers['x-id']", R::CaptureFailed, 0, "there is no `x-id`"),
        (&large, "json", R::CaptureFailed, 0, "8193 bytes; at most 8192 are kept"),
        // Where it is filled in it has to fit.
        (r#""..""#, "json", R::CaptureFailed, 1, "`x` leads to another path"),
        (r#""""#, "json", R::CaptureFailed, 1, "`x` leads to another path"),
        (r#""a\nb: c""#, "json", R::CaptureFailed, 1, "`x` holds control characters"),
    ] {
        let address = shop(good_login(body, ""));
        let run = login_then(address, &[("x", value)], |step| {
            step.url = format!("http://{address}/${{capture:x}}");
            step.body_max_bytes = 100_000;
        });
        let mut run = run;
        if let StepKind::Http(login) = &mut run.steps[0].kind {
            login.body_max_bytes = 100_000;
        }
        let finding = found(&run).await;
        assert_eq!((finding.outcome, finding.reason), (Outcome::Fail, Some(reason)), "{body}");
        assert_eq!(finding.step, step, "{body}: {finding:?}");
        assert!(finding.evidence.contains(evidence), "{body}: {finding:?}");
        // Nobody has asked for more.
        let phases = finding.phases.iter().filter(|(of, ..)| *of == 1).count();
        assert_eq!(phases, 0, "{body}: {finding:?}");
    }
}

#[tokio::test]
async fn a_step_that_fails_names_itself_and_the_later_ones_are_not_taken() {
    let address = shop("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n");
    let mut run = login_then(address, &[("x", "json.x")], |step| {
        step.headers = vec![("x".to_owned(), "${capture:x}".to_owned())];
    });
    // Expectations are about the last step.
    run.expect = vec!["status == 403".to_owned()];
    let finding = found(&run).await;
    assert_eq!((finding.reason, finding.step), (Some(Reason::HttpStatus), 0), "{finding:?}");
    assert!(finding.phases.iter().all(|(step, ..)| *step == 0), "{finding:?}");
    // A check that was not checked: nothing is sent in the place of what is not there.
    let address = shop(good_login("{}", ""));
    let run = login_then(address, &[], |step| {
        step.headers = vec![("x".to_owned(), "${capture:x}".to_owned())];
    });
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Missed, Some(Reason::ConfigError)));
}

#[tokio::test]
async fn captured_headers_stay_at_their_origin() {
    let other = shop("");
    let location = format!("location: http://{other}/else\r\n");
    let first = server(move |mut stream| {
        let head = request(&mut stream);
        let answer = match head.starts_with("GET /login") {
            true => good_login(r#"{"token": "t0ken"}"#, "").to_owned(),
            false => format!("HTTP/1.1 302 Found\r\n{location}content-length: 0\r\n\r\n"),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let mut run = login_then(first, &[("token", "json.token")], |step| {
        step.redirects_max = 3;
        step.headers = vec![("x-token".to_owned(), "${capture:token}".to_owned())];
    });
    run.expect = vec!["redirects.count == 1 && !body.contains('x-token')".to_owned()];
    let finding = found(&run).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
}

#[tokio::test]
async fn what_a_pattern_captures_is_known_to_later_steps() {
    let mail = server(|mut stream| {
        let _ = stream.write_all(b"220 mail.example id=17 ESMTP\r\n");
        hang(stream);
    });
    let answers = UdpSocket::bind("127.0.0.1:0").unwrap();
    let game = answers.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = answers.recv_from(&mut packet) {
            let _ = answers.send_to(&packet[..length], from);
        }
    });
    let expect = Some(Expected::Pattern(r"id=(?<session>[0-9]+) [^\r]*\r\n".to_owned()));
    let mut run = tcp("127.0.0.1", mail.port());
    run.steps[0].name = "mail".to_owned();
    if let StepKind::Tcp(step) = &mut run.steps[0].kind {
        step.dialogue = vec![Exchange { name: "1".to_owned(), send: None, expect }];
    }
    run.steps[0].captures = vec![capture("banner", "banner")];
    let mut second = run.steps[0].clone();
    (second.name, second.captures) = ("game".to_owned(), vec![]);
    second.kind = StepKind::Udp(UdpStep {
        host: "127.0.0.1".to_owned(),
        port: game.port(),
        send: Payload::Text("${capture:session}/${capture:banner}".to_owned()),
        expect: None,
        resend: None,
    });
    run.steps.push(second);
    run.expect = vec!["received == '17/220 mail.example id=17 ESMTP'".to_owned()];
    let finding = found(&run).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Pass, None), "{finding:?}");
}

/// An evaluation that is cut at its limit: what was waited for it is no part of the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_captures_take_is_no_part_of_the_latency() {
    let body = format!("[{}0]", "1,".repeat(500));
    let address = shop(good_login(&body, ""));
    let slow = "json.all(x, json.all(y, x * y + x - y + 2 * x >= -9000)) ? 'a' : 'b'";
    let mut run = login_then(address, &[("x", slow)], |step| {
        step.headers = vec![("x".to_owned(), "${capture:x}".to_owned())];
    });
    if let StepKind::Http(login) = &mut run.steps[0].kind {
        login.body_max_bytes = 10_000;
    }
    let begun = clock::instant();
    let Execution { started, ended, finding, .. } = executor().run(&run).await;
    let took = clock::instant().saturating_duration_since(begun);
    assert_eq!(finding.reason, Some(Reason::ExpressionBudget), "{finding:?}");
    let aside = took.saturating_sub(ended.since(started));
    assert!(aside >= EXPRESSION_WALL_MAX, "{aside:?} of {took:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_the_targets_fault_and_a_mistake_is_that_of_the_check() {
    let failed = (Outcome::Fail, Some(Reason::CaptureFailed));
    let mistake = (Outcome::Missed, Some(Reason::ConfigError));
    for (body, password, said) in [
        (r#""me""#, "pw", (Outcome::Pass, None)),
        (r#""""#, "pw", (Outcome::Pass, None)),
        (r#""me:""#, "pw", failed),
        (r#""me""#, "${env:NOT_ALLOWED}", mistake),
        (r#""me:""#, "${env:NOT_ALLOWED}", mistake),
    ] {
        let address = shop(good_login(body, ""));
        let run = login_then(address, &[("user", "json")], |step| {
            // Nothing may stand in a query.
            step.url = format!("http://{address}/x?user=${{capture:user}}");
            let (username, password) = ("${capture:user}".to_owned(), password.to_owned());
            step.auth = Some(HttpAuth::Basic { username, password });
        });
        let finding = found(&run).await;
        assert_eq!((finding.outcome, finding.reason), said, "{body} {password}: {finding:?}");
        assert!(!finding.evidence.contains("me:"), "{finding:?}");
    }
}

#[tokio::test]
async fn a_body_with_captures_stays_at_its_origin() {
    let other = shop("");
    for (status, to, body, reason) in [
        (307, other, "${capture:token}", Some(Reason::HttpRedirectDenied)),
        (308, other, "t=${capture:token}", Some(Reason::HttpRedirectDenied)),
        // The body is left behind by itself, or nobody else is sent it, or nothing of it was captured.
        (303, other, "${capture:token}", None),
        (307, other, "as it is", None),
        (307, SocketAddr::from(([127, 0, 0, 1], 0)), "${capture:token}", None),
    ] {
        let first = server(move |mut stream| {
            let head = request(&mut stream);
            let to = if to.port() == 0 { stream.local_addr().unwrap() } else { to };
            let answer = match head.split(' ').nth(1) {
                Some("/login") => good_login(r#"{"token": "t0ken"}"#, "").to_owned(),
                Some("/else") => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
                _ => format!(
                    "HTTP/1.1 {status} X\r\nlocation: http://{to}/else\r\ncontent-length: 0\r\n\r\n"
                ),
            };
            let _ = stream.write_all(answer.as_bytes());
            // What is left unread would reset the connection.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let run = login_then(first, &[("token", "json.token")], |step| {
            step.redirects_max = 3;
            (step.method, step.body) = ("POST".to_owned(), body.to_owned());
        });
        let finding = found(&run).await;
        assert_eq!(finding.reason, reason, "{status} {body}: {finding:?}");
        let told = finding.evidence.contains("/else, and the body holds captures");
        assert_eq!(told, reason.is_some(), "{finding:?}");
    }
}

#[test]
fn time_that_the_probe_itself_takes_is_not_told_of_the_target() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let address = shop(good_login("not gzip", "content-encoding: gzip\r\n"));
    let mut run = login_then(address, &[("x", "body")], |step| {
        step.headers = vec![("x".to_owned(), "${capture:x}".to_owned())];
    });
    if let StepKind::Http(login) = &mut run.steps[0].kind {
        login.accept_encoding = vec![parallax_common::check::ContentEncoding::Gzip];
    }
    // Less than a body may wait for its decoder.
    run.timeout = ms(500);
    let (release, held) = std::sync::mpsc::channel::<()>();
    // Whoever decodes has something else to do.
    runtime.spawn_blocking(move || held.recv());
    let mut patient = executor();
    patient.decoder = Decoder::within(Duration::from_secs(60));
    for (executor, said) in [(executor(), "no time to decode"), (patient, "worked on captures")] {
        let Execution { started, ended, finding, .. } = runtime.block_on(executor.run(&run));
        assert_eq!(finding.reason, Some(Reason::MissedOverload), "{finding:?}");
        assert!(finding.evidence.contains(said), "{finding:?}");
        assert!(ended > started);
    }
    drop(release);
}

/// A digit that is taken out wherever it stands hides what the evidence is there for.
#[tokio::test]
async fn what_is_too_short_for_a_secret_stays_in_the_evidence() {
    let address = shop(good_login(r#"{"id": 42, "token": "t0k1"}"#, ""));
    let captures = [("id", "json.id"), ("token", "json.token")];
    let mut run = login_then(address, &captures, |step| {
        step.url = format!("http://{address}/${{capture:id}}/${{capture:token}}");
        step.headers = vec![("x-id".to_owned(), "${capture:id}".to_owned())];
        step.method = "POST".to_owned();
        step.body = "${capture:id}".to_owned();
    });
    run.expect = vec!["body == '42 of t0k1'".to_owned()];
    let finding = found(&run).await;
    assert_eq!(finding.reason, Some(Reason::ExpectationFailed), "{finding:?}");
    assert!(finding.evidence.contains("42 of ***"), "{finding:?}");
}
