//! Tokens of OAuth 2.0 against a provider and a target that count what they are asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use parallax_common::check::{Capture, HttpAuth, OAuth2};

use super::*;
use crate::execute::tokens::are_shown;

/// A provider over TLS: answers the nth question as `answer` says, and keeps what it was sent.
pub(crate) struct Provider {
    address: SocketAddr,
    pem: Arc<str>,
    questions: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    pub(crate) fn start(answer: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        let ours = authority();
        let config = super::http::tls_server(&ours, rustls::ALL_VERSIONS, false);
        let questions: Arc<Mutex<Vec<String>>> = Arc::default();
        let (asked, count) = (Arc::clone(&questions), AtomicUsize::new(0));
        let address = server(move |mut stream| {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let question = super::http::message(&mut tls);
            if question.is_empty() {
                return;
            }
            asked.lock().unwrap().push(question);
            let answer = answer(count.fetch_add(1, Ordering::SeqCst));
            let _ = tls.write_all(answer.as_bytes());
            tls.conn.send_close_notify();
            let _ = tls.flush();
        });
        Self { address, pem: ours.pem, questions }
    }

    pub(crate) fn questions(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

pub(crate) fn says(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn grants(number: usize) -> String {
    says("200 OK", &format!(r#"{{"access_token": "tok-{number}-x", "expires_in": 3600}}"#))
}

/// A target that takes only this token, and tells which one it was shown.
pub(crate) fn target(
    takes: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let shown = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&shown);
    let address = server(move |mut stream| {
        let head = request(&mut stream);
        let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
        count.fetch_add(1, Ordering::SeqCst);
        let status = if token.is_some_and(&takes) { "200 OK" } else { "401 Who" };
        let _ = stream.write_all(says(status, token.unwrap_or_default()).as_bytes());
    });
    (address, shown)
}

/// A directory with the client's secret, and an executor that may read it.
fn place() -> (tempfile::TempDir, Executor, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "hunter2:2/x").unwrap();
    let reference = format!("${{file:{}/secret}}", dir.path().display());
    let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
    (dir, Executor::new(secrets, None, None), reference)
}

pub(crate) fn asking(target: SocketAddr, provider: &Provider, secret: &str) -> Run {
    let mut run = plain_http(target);
    step(&mut run).tls.ca_pem = Some(provider.pem.clone());
    step(&mut run).auth = Some(HttpAuth::OAuth2(Box::new(OAuth2 {
        token_url: format!("https://{}/token", provider.address),
        client_id: "probe 1".to_owned(),
        client_secret: secret.to_owned(),
        scopes: vec!["read".to_owned(), "shop/cart".to_owned()],
        audience: Some("https://shop.example".to_owned()),
    })));
    run
}

fn oauth2(run: &mut Run) -> &mut OAuth2 {
    match &mut step(run).auth {
        Some(HttpAuth::OAuth2(oauth2)) => oauth2,
        _ => panic!("client credentials"),
    }
}

#[tokio::test]
async fn a_token_is_got_once_and_is_no_part_of_what_is_measured() {
    let (_dir, executor, reference) = place();
    let provider = Provider::start(|number| {
        thread::sleep(ms(150));
        grants(number)
    });
    let (target, shown) = target(|token| token == "tok-0-x");
    let mut run = asking(target, &provider, &reference);
    run.expect = vec!["status == 200 && body == 'tok-0-x'".to_owned()];
    run.warn = vec!["latency < duration('140ms')".to_owned()];
    // Four at once: one of them asks, and all wait for it.
    let (a, b, c, d) = tokio::join!(
        executor.run(&run),
        executor.run(&run),
        executor.run(&run),
        executor.run(&run)
    );
    for execution in [a, b, c, d] {
        // Begun behind the wait, which is told apart.
        assert!(execution.waited.is_some_and(|waited| waited >= ms(100)), "{execution:?}");
        let finding = execution.finding;
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
        assert_eq!(phases(&finding), [Phase::Connect, Phase::FirstByte, Phase::Transfer]);
        assert!(execution.ended.since(execution.started) < ms(140));
    }
    // Another check with the same credentials.
    let mut other = asking(target, &provider, &reference);
    step(&mut other).method = "HEAD".to_owned();
    assert_eq!(executor.run(&other).await.finding.outcome, Outcome::Pass);
    assert_eq!((provider.questions().len(), shown.load(Ordering::SeqCst)), (1, 5));
    let question = &provider.questions()[0];
    for line in [
        "POST /token HTTP/1.1",
        "content-type: application/x-www-form-urlencoded",
        "accept: application/json",
        // `probe+1:hunter2%3A2%2Fx`
        "authorization: Basic cHJvYmUrMTpodW50ZXIyJTNBMiUyRng=",
        "grant_type=client_credentials&scope=read+shop%2Fcart&audience=https%3A%2F%2Fshop.example",
    ] {
        assert!(question.lines().any(|it| it == line), "{line} in {question}");
    }
    // Another scope is another token.
    oauth2(&mut run).scopes.pop();
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::ExpectationFailed));
    assert_eq!(provider.questions().len(), 2);
    assert!(!finding.evidence.contains("tok-1-x"), "{finding:?}");
}

#[tokio::test]
async fn a_token_that_is_over_or_refused_is_replaced() {
    let (_dir, executor, reference) = place();
    let short = Provider::start(|_| says("200 OK", r#"{"access_token": "t", "expires_in": 0}"#));
    let (open, _) = target(|_| true);
    let run = asking(open, &short, &reference);
    for asked in 1..=3 {
        assert_eq!(executor.run(&run).await.finding.outcome, Outcome::Pass);
        assert_eq!(short.questions().len(), asked);
    }
    let provider = Provider::start(grants);
    let (picky, shown) = target(|token| token != "tok-0-x");
    let run = asking(picky, &provider, &reference);
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.reason, Some(Reason::HttpStatus), "{finding:?}");
    // A moment later the next run asks anew, and not before.
    let deadline = clock::instant() + Duration::from_secs(20);
    let mut runs = 1;
    while executor.run(&run).await.finding.outcome != Outcome::Pass {
        runs += 1;
        assert!(clock::instant() < deadline);
    }
    assert_eq!(provider.questions().len(), 2, "after {runs} runs");
    assert_eq!(shown.load(Ordering::SeqCst), runs + 1);
    // Another origin is sent no token, and its 401 says nothing of it.
    let (stranger, _) = target(|_| false);
    let home = server(move |mut stream| {
        request(&mut stream);
        let location = format!("HTTP/1.1 302 X\r\nlocation: http://{stranger}/\r\n");
        let _ = stream.write_all(format!("{location}content-length: 0\r\n\r\n").as_bytes());
    });
    let mut run = asking(home, &provider, &reference);
    step(&mut run).redirects_max = 1;
    run.expect = vec!["status == 401 && body == ''".to_owned()];
    assert_eq!(executor.run(&run).await.finding.outcome, Outcome::Pass);
}

#[tokio::test]
async fn each_way_to_get_no_token_has_its_reason_and_the_target_is_left_alone() {
    let (_dir, executor, reference) = place();
    let nobody_there = Nobody::new();
    let nobody = nobody_there.at;
    let (target, shown) = target(|_| true);
    let (refused, failed) = (Reason::AuthTokenRefused, Reason::AuthTokenFailed);
    for (answer, reason, evidence) in [
        (says("401 No", r#"{"error": "invalid_client"}"#), refused, "401: invalid_client"),
        (says("400 No", r#"{"error": "invalid_scope"}"#), refused, "400: invalid_scope"),
        (says("503 No", ""), failed, "status 503"),
        (says("200 OK", "<html>"), failed, "not JSON"),
        (says("200 OK", "{}"), failed, "no access_token"),
        (says("302 X", ""), failed, "status 302"),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}", 1), failed, "70000 bytes"),
        ("SSH-2.0-x\r\n".to_owned(), failed, "answer"),
        (String::new(), failed, "closed"),
    ] {
        let provider = Provider::start(move |_| answer.clone());
        let mut run = asking(target, &provider, &reference);
        // Two at once, and one a moment later, are one question.
        let (one, two) = tokio::join!(executor.run(&run), executor.run(&run));
        for finding in [one.finding, two.finding, executor.run(&run).await.finding] {
            let said = (finding.outcome, finding.reason);
            assert_eq!(said, (Outcome::Fail, Some(reason)), "{evidence}: {finding:?}");
            assert!(finding.evidence.contains(evidence), "{evidence}: {finding:?}");
            assert!(finding.evidence.starts_with("https://127.0.0.1:"), "{finding:?}");
            assert!(!finding.evidence.contains("hunter2"), "{finding:?}");
            assert_eq!((finding.phases.len(), finding.step), (0, 0));
        }
        assert_eq!(provider.questions().len(), 1, "{evidence}");
        // That nobody could look is no sign that the target is down.
        run.invert = true;
        assert_eq!(executor.run(&run).await.finding.reason, Some(reason));
    }
    let provider = Provider::start(grants);
    let mut run = asking(target, &provider, &reference);
    oauth2(&mut run).token_url = format!("https://{nobody}/");
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.reason, Some(failed), "{finding:?}");
    // The certificate of the provider is verified, also when that of the target is not.
    let mut run = asking(target, &provider, &reference);
    (step(&mut run).tls.ca_pem, step(&mut run).tls.insecure) = (None, true);
    let finding = executor.run(&run).await.finding;
    assert!(finding.evidence.contains("no trusted authority"), "{finding:?}");
    assert_eq!(finding.reason, Some(failed));
    // A provider that says nothing takes no longer than a run may.
    let silent = server(hang);
    let mut run = asking(target, &provider, &reference);
    oauth2(&mut run).token_url = format!("https://{silent}/");
    run.timeout = ms(200);
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.reason, Some(failed));
    assert!(finding.evidence.contains("no answer in time"), "{finding:?}");
    // Mistakes of the check, and what the guard denies, are no outage.
    let run = asking(target, &provider, "${env:NOT_ALLOWED}");
    assert_eq!(executor.run(&run).await.finding.reason, Some(Reason::ConfigError));
    assert_eq!(shown.load(Ordering::SeqCst), 0);
    let deny: crate::core::guard::Network = "127.0.0.0/8".parse().unwrap();
    let guarded = executor.guarded(Guard::new(&[], &[deny]).unwrap());
    let finding = guarded.run(&asking(target, &provider, &reference)).await.finding;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Missed, Some(Reason::AddressDenied)));
    assert!(finding.evidence.contains("/token: 127.0.0.1 is in"), "{finding:?}");
    assert_eq!(provider.questions().len(), 0);
}

#[tokio::test]
async fn who_has_less_time_does_not_speak_for_who_has_more() {
    let (_dir, executor, reference) = place();
    // The first question has no answer within this test.
    let provider = Provider::start(|number| {
        if number == 0 {
            thread::sleep(Duration::from_secs(60));
        }
        grants(number)
    });
    let (target, _) = target(|token| token == "tok-1-x");
    let mut short = asking(target, &provider, &reference);
    let mut long = short.clone();
    (short.timeout, long.timeout) = (ms(300), Duration::from_secs(20));
    let waiting = async {
        while provider.questions().is_empty() {
            tokio::task::yield_now().await;
        }
        executor.run(&long).await.finding
    };
    let (short, long) = tokio::join!(executor.run(&short), waiting);
    assert_eq!(short.finding.reason, Some(Reason::AuthTokenFailed), "{:?}", short.finding);
    assert_eq!((long.outcome, long.reason), (Outcome::Pass, None), "{long:?}");
    assert_eq!(provider.questions().len(), 2);
}

/// A step that fills captures in gets its token while the run goes on.
#[tokio::test]
async fn a_token_that_does_not_come_between_two_steps_is_named_and_never_a_pass() {
    let (_dir, executor, reference) = place();
    let provider = Provider::start(|_| says("403 No", ""));
    let (target, shown) = target(|_| true);
    let answer = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    let mut run = asking(target, &provider, &reference);
    step(&mut run).headers = vec![("x-of".to_owned(), "${capture:of}".to_owned())];
    let mut login = plain_http(answer).steps.remove(0);
    login.name = "login".to_owned();
    login.captures = vec![Capture { name: "of".to_owned(), value: "body".to_owned() }];
    let silent = server(hang);
    for (url, timeout, reason) in [
        (format!("https://{silent}/"), ms(400), Reason::AuthTokenFailed),
        (
            format!("https://{}/", provider.address),
            Duration::from_secs(20),
            Reason::AuthTokenRefused,
        ),
    ] {
        let mut run = run.clone();
        oauth2(&mut run).token_url = url;
        run.timeout = timeout;
        run.steps.insert(0, login.clone());
        for invert in [false, true] {
            run.invert = invert;
            let finding = executor.run(&run).await.finding;
            let said = (finding.outcome, finding.reason, finding.step);
            assert_eq!(said, (Outcome::Fail, Some(reason), 1), "{finding:?}");
        }
    }
    assert_eq!(shown.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn runs_that_could_not_begin_took_no_time() {
    let (_dir, executor, reference) = place();
    let provider = Provider::start(|_| says("403 No", ""));
    let (target, _) = target(|_| true);
    let mut run = asking(target, &provider, &reference);
    run.samples = 3;
    let room = Duration::from_secs(3_600);
    let Execution { started, ended, finding, .. } = executor.slot(&run, room).await;
    let said = (finding.outcome, finding.reason);
    assert_eq!(said, (Outcome::Fail, Some(Reason::AuthTokenRefused)), "{finding:?}");
    assert!(finding.evidence.starts_with("3 of 3 samples failed"), "{finding:?}");
    assert_eq!((finding.phases.len(), ended), (0, started), "{finding:?}");
}

/// How long runs must be apart for a token of [`grants`] to be got anew once it is so old.
fn apart(age: Duration) -> Duration {
    // An hour less the margin.
    (Duration::from_secs(3_570) - age) * 2 / 3
}

/// Behind a run, as soon as it is due.
async fn renewed(executor: &Executor, run: &Run, interval: Duration, questions: impl Fn() -> bool) {
    let deadline = clock::instant() + Duration::from_secs(20);
    while !questions() {
        executor.renew(run, interval).await;
        assert!(clock::instant() < deadline, "nobody asked");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_token_that_will_not_last_is_renewed_behind_a_run_and_nobody_waits_for_it() {
    let (_dir, executor, reference) = place();
    let provider = Provider::start(|number| {
        thread::sleep(ms(150));
        grants(number)
    });
    let (target, _) = target(|_| true);
    let mut run = asking(target, &provider, &reference);
    run.expect = vec!["status == 200 && body == 'tok-0-x'".to_owned()];
    // Nobody knows it yet: that is for a run to ask for.
    executor.renew(&run, apart(ms(20))).await;
    assert_eq!(provider.questions().len(), 0);
    let first = executor.run(&run).await;
    assert_eq!(first.finding.outcome, Outcome::Pass, "{:?}", first.finding);
    assert!(first.waited.is_some_and(|waited| waited >= ms(150)), "{first:?}");
    // It lasts until the next run; or a new one would be over by then as well.
    for interval in [Duration::from_secs(10), Duration::from_secs(2_380)] {
        executor.renew(&run, interval).await;
        assert_eq!(provider.questions().len(), 1, "{interval:?}");
    }
    let soon = apart(ms(20));
    renewed(&executor, &run, soon, || provider.questions().len() == 2).await;
    executor.renew(&run, soon).await;
    assert_eq!(provider.questions().len(), 2, "one question a moment is enough");
    run.expect = vec!["status == 200 && body == 'tok-1-x'".to_owned()];
    let second = executor.run(&run).await;
    assert_eq!(second.finding.outcome, Outcome::Pass, "{:?}", second.finding);
    assert!(second.waited.is_some_and(|waited| waited < ms(150)), "{second:?}");
    assert_eq!(provider.questions().len(), 2);
    // A run without one waits for none, and asks nobody.
    let plain = plain_http(target);
    assert_eq!((executor.run(&plain).await.waited, are_shown(&plain)), (None, false));
    executor.renew(&plain, soon).await;
    assert!(are_shown(&run));
}

#[tokio::test]
async fn a_renewal_that_fails_takes_nothing_away_and_one_of_a_refused_token_helps() {
    let (_dir, executor, reference) = place();
    let provider = Provider::start(|number| match number {
        1 => says("503 No", ""),
        number => grants(number),
    });
    let (picky, _) = target(|token| token != "tok-0-x");
    let (open, _) = target(|_| true);
    let run = asking(open, &provider, &reference);
    assert_eq!(executor.run(&run).await.finding.outcome, Outcome::Pass);
    renewed(&executor, &run, apart(ms(20)), || provider.questions().len() == 2).await;
    let again = executor.run(&run).await;
    assert_eq!(again.finding.outcome, Outcome::Pass, "{:?}", again.finding);
    assert_eq!(provider.questions().len(), 2, "the token that was there is used");
    // Another target, with the same credentials, does not take it.
    let run = asking(picky, &provider, &reference);
    assert_eq!(executor.run(&run).await.finding.reason, Some(Reason::HttpStatus));
    renewed(&executor, &run, Duration::from_secs(10), || provider.questions().len() == 3).await;
    assert_eq!(executor.run(&run).await.finding.outcome, Outcome::Pass);
    assert_eq!(provider.questions().len(), 3);
}

#[tokio::test]
async fn what_a_failed_run_waited_for_its_token_is_in_its_evidence_and_in_no_length() {
    let (_dir, executor, reference) = place();
    let provider = Provider::start(|_| {
        thread::sleep(ms(150));
        says("200 OK", r#"{"access_token": "tok-short", "expires_in": 0}"#)
    });
    let (nobody, _) = target(|_| false);
    let mut run = asking(nobody, &provider, &reference);
    let begun = clock::instant();
    let Execution { started, ended, waited, finding } = executor.run(&run).await;
    let whole = clock::instant().saturating_duration_since(begun);
    assert_eq!(finding.reason, Some(Reason::HttpStatus), "{finding:?}");
    let told = finding.evidence.split_once("; it waited ").map(|(_, told)| told);
    let told = told.and_then(|told| told.strip_suffix(" ms for a token first"));
    let told: u64 = told.and_then(|told| told.parse().ok()).expect("how long it waited");
    assert_eq!(waited.map(|waited| waited.as_millis()), Some(told.into()), "{finding:?}");
    assert!(told >= 150 && ended.since(started) + ms(150) <= whole, "{finding:?}");
    // Each sample asks. The first one's wait lies before the slot's start, the others in none of it.
    run.samples = 3;
    let begun = clock::instant();
    let slot = executor.slot(&run, Duration::from_secs(3_600)).await;
    let whole = clock::instant().saturating_duration_since(begun);
    assert_eq!(provider.questions().len(), 4);
    assert!(slot.waited.is_some_and(|waited| waited >= ms(150)), "{slot:?}");
    assert!(slot.ended.since(slot.started) + ms(450) <= whole, "{slot:?} in {whole:?}");
    // One that got none waited as well.
    let refuses = Provider::start(|_| {
        thread::sleep(ms(150));
        says("403 No", "")
    });
    let execution = executor.run(&asking(nobody, &refuses, &reference)).await;
    assert_eq!(execution.finding.reason, Some(Reason::AuthTokenRefused));
    assert!(execution.waited.is_some_and(|waited| waited >= ms(150)), "{execution:?}");
}
