//! Against real sockets: what each way to fail is reported as.

use std::sync::{Arc, Mutex};

use parallax_proto::v1::{
    self, Contact, Header, Incident, PageKind, Secret, WebhookContact, secret,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::notify::body;

/// What the server does with each connection, in turn.
#[derive(Debug, Clone)]
enum Does {
    /// Reads the request and answers with these bytes.
    Answers(&'static str),
    /// Reads the request, and answers only after so long.
    Thinks(Duration, &'static str),
    /// Reads the request, answers 500 and sends this many bytes of body after it.
    Floods(usize),
    /// Reads the request and says nothing.
    Hangs,
    /// Accepts, reads nothing, says nothing.
    HangsAtOnce,
    /// Reads the request and resets the connection.
    Resets,
}

struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    supervisor: Supervisor,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

impl Server {
    async fn start(script: Vec<Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?room=ops", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let supervisor = Supervisor::default();
        let (seen, stop) = (Arc::clone(&requests), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("server"), async move {
            for does in script {
                tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.unwrap();
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = serve(stream, does, &seen) => {}
                        }
                    }
                }
            }
        });
        Self { url, requests, supervisor }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, does: Does, seen: &Mutex<Vec<String>>) {
    if let Does::HangsAtOnce = does {
        std::future::pending::<()>().await;
    }
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.unwrap();
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request);
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            Some(body.len()) == length
        });
        if whole || read == 0 {
            break;
        }
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
    match does {
        Does::Answers(answer) => {
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        Does::Thinks(length, answer) => {
            tokio::time::sleep(length).await;
            // Who has left meanwhile hears nothing.
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Does::Floods(bytes) => {
            let head = format!("HTTP/1.1 500 No\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // The client stops reading: writing fails, which is what is wanted.
            let _ = stream.write_all(&vec![b'x'; bytes]).await;
        }
        Does::Hangs | Does::HangsAtOnce => std::future::pending().await,
        Does::Resets => {
            #[allow(deprecated, reason = "a reset on close is what this is about")]
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Allows one variable, which is not set.
fn secrets() -> Secrets {
    Secrets::new(vec!["PARALLAX_NOT_SET_ANYWHERE".into()], vec![])
}

fn template(text: &str) -> Option<Secret> {
    Some(Secret { value: Some(secret::Value::Template(text.into())) })
}

fn attempt(webhook: WebhookContact) -> Attempt {
    page_to(Kind::Webhook(webhook), PageKind::Opened, "")
}

fn page_to(kind: Kind, said: PageKind, receipt: &str) -> Attempt {
    let incident =
        Incident { uid: "0190".into(), check_name: "checkout".into(), ..Default::default() };
    Attempt {
        key: "0190:c:opened".into(),
        contact: Contact { kind: Some(kind), ..Default::default() },
        page: body::page(&incident, said, "0190:c:opened", "prod"),
        receipt: receipt.into(),
    }
}

fn to(url: &str) -> WebhookContact {
    WebhookContact {
        url: template(url),
        timeout: Some(prost_types::Duration { seconds: 0, nanos: 400_000_000 }),
        ..Default::default()
    }
}

async fn send(webhook: WebhookContact) -> Report {
    carried(attempt(webhook), Guard::default()).await
}

async fn carried(attempt: Attempt, guard: Guard) -> Report {
    let supervisor = Supervisor::default();
    let sender = Carrier::new(Roots::Webpki, guard, secrets(), supervisor.clone()).unwrap();
    let report = sender.send(attempt).await;
    supervisor.stop();
    assert!(supervisor.join(Duration::from_secs(5)).await, "a connection outlives its stop");
    report
}

fn answered(status: u16, detail: &str) -> Report {
    Report::Answered { status, retry_after: None, detail: detail.into() }
}

#[tokio::test]
async fn a_page_is_posted_with_its_key_its_headers_and_its_body() {
    let server = Server::start(vec![Does::Answers("HTTP/1.1 200 OK\r\n\r\n")]).await;
    let mut webhook = to(&server.url);
    webhook.headers = vec![
        Header { name: "Authorization".into(), value: template("Bearer abc") },
        Header { name: "Idempotency-Key".into(), value: template("mine") },
    ];
    assert_eq!(send(webhook).await, answered(200, ""));
    let request = &server.requests()[0];
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /hook?room=ops HTTP/1.1"));
    let headers: Vec<String> = lines.map(str::to_ascii_lowercase).collect();
    let host = server.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    for expected in [
        format!("host: {host}"),
        "content-type: application/json".into(),
        "authorization: bearer abc".into(),
        "idempotency-key: 0190:c:opened".into(),
    ] {
        assert_eq!(
            headers.iter().filter(|line| **line == expected).count(),
            1,
            "{expected}\n{head}"
        );
    }
    assert!(!head.contains("mine"), "the key is ours: {head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["version"], 1);
    assert_eq!(body["incident"]["check"], "checkout");
}

#[tokio::test]
async fn a_status_is_an_answer() {
    let table = [
        ("HTTP/1.1 204 No Content\r\n\r\n", answered(204, "")),
        ("HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nno\n  luck", answered(500, "no luck")),
        // Cut off behind the status: still an answer.
        ("HTTP/1.1 500 No\r\ncontent-length: 90\r\n\r\nno", answered(500, "no")),
        (
            "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            Report::Answered {
                status: 429,
                retry_after: Some(Duration::from_secs(7)),
                detail: String::new(),
            },
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
            answered(302, "redirects are not followed (http://127.0.0.1:1/)"),
        ),
    ];
    for (answer, report) in table {
        let server = Server::start(vec![Does::Answers(answer)]).await;
        assert_eq!(send(to(&server.url)).await, report);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn what_a_contact_repeats_of_a_secret_is_not_remembered() {
    let answer = "HTTP/1.1 403 No\r\ncontent-length: 70\r\n\r\n\
                  no /T01/hunter2%2Dhook?room=ops for Bearer OPEN-Sesame and sesame%20seed";
    let server = Server::start(vec![Does::Answers(answer)]).await;
    let directory = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        template(&format!("${{file:{}}}", path.display()))
    };
    let url = server.url.replace("/hook?room=ops", "/T01/hunter2-hook?room=ops");
    let mut webhook = to(&url);
    webhook.url = written("url", &url);
    let header = |name: &str, value| Header { name: name.into(), value };
    webhook.headers = vec![
        header("x-a", written("a", "open-sesame")),
        header("x-b", written("b", "sesame seed")),
    ];
    let supervisor = Supervisor::default();
    let secrets = Secrets::new(vec![], vec![directory.path().to_owned()]);
    let guard = Guard::default();
    let sender = Carrier::new(Roots::Webpki, guard, secrets, supervisor.clone()).unwrap();
    let report = sender.send(attempt(webhook)).await;
    assert_eq!(report, answered(403, "no /*** for Bearer *** and ***"));
    // They were sent.
    assert!(server.requests()[0].contains("open-sesame"), "{:?}", server.requests());
    supervisor.stop();
}

#[tokio::test]
async fn what_a_contact_repeats_of_an_acknowledging_link_is_not_remembered() {
    let signature = "5e".repeat(32);
    let url = format!("https://x.example/ack/0190-incident/0190-contact.{signature}");
    let answer = format!(
        "HTTP/1.1 403 No\r\ncontent-length: {}\r\n\r\nno {url} for {signature}",
        url.len() + signature.len() + 8
    );
    let server = Server::start(vec![Does::Answers(Box::leak(answer.into_boxed_str()))]).await;
    let supervisor = Supervisor::default();
    let guard = Guard::default();
    let sender = Carrier::new(Roots::Webpki, guard, secrets(), supervisor.clone()).unwrap();
    let mut attempt = attempt(to(&server.url));
    attempt.page.acknowledge_url = Some(url);
    let report = sender.send(attempt).await;
    let shown = "no https://x.example/ack/0190-incident/0190-contact.*** for ***";
    assert_eq!(report, answered(403, shown));
    assert!(server.requests()[0].contains(&signature), "it was sent");
    supervisor.stop();
}

#[tokio::test]
async fn what_was_written_and_not_answered_is_ambiguous() {
    for does in [Does::Hangs, Does::HangsAtOnce, Does::Resets, Does::Answers("")] {
        let server = Server::start(vec![does.clone()]).await;
        let report = send(to(&server.url)).await;
        assert!(matches!(report, Report::Ambiguous(_)), "{does:?}: {report:?}");
    }
}

#[tokio::test]
async fn what_was_never_written_is_not_ambiguous() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let deaf = Server::start(vec![Does::HangsAtOnce]).await;
    let table = [
        (to(&format!("http://{closed}/")), "Connection refused"),
        // A TLS handshake that nobody answers.
        (to(&deaf.url.replace("http:", "https:")), "no connection within 400ms"),
        (to("http://name.invalid/"), "dns error"),
        (to("http://127.0.0.1:1/${env:HOME}"), "config_error: url: ${env:HOME} is not allowed"),
        (to("http://127.0.0.1:1/${file:/dev/zero}"), "config_error: url: ${file:/dev/zero} is not"),
        (to("${env:PARALLAX_NOT_SET_ANYWHERE}"), "config_error: url: ${env:PARALLAX_NOT_SET"),
        (to("ftp://x.example/"), "config_error: url: not an http or https URL with a host"),
        (to("no url at all"), "config_error: url: not a URL"),
        (
            WebhookContact {
                headers: vec![Header { name: "X-A".into(), value: template("a\nb") }],
                ..to(&deaf.url)
            },
            "config_error: header X-A: not a header",
        ),
    ];
    for (webhook, expected) in table {
        let report = send(webhook).await;
        assert!(
            matches!(&report, Report::NotSent(why) if why.contains(expected)),
            "{expected}: {report:?}"
        );
    }
}

#[tokio::test]
async fn a_huge_answer_is_read_only_in_part() {
    let server = Server::start(vec![Does::Floods(64 * 1024 * 1024)]).await;
    let Report::Answered { status: 500, detail, .. } = send(to(&server.url)).await else {
        panic!("not an answer");
    };
    assert_eq!(detail.len(), PAGE_ANSWER_BYTES_MAX);
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = UtcTime::from_ns(1_795_144_320 * 1_000_000_000);
    let table = [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("Fri, 20 Nov 2026 03:13:30 GMT", Some(90)),
        ("Fri, 20 Nov 2026 03:00:00 GMT", Some(0)),
        ("-1", None),
        ("soon", None),
    ];
    for (text, seconds) in table {
        assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
    }
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn soon() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos: 400_000_000 })
}

/// A contact of each kind at one server, as it is stored.
fn each_kind(server: &str) -> Vec<Kind> {
    let at = |path: &str| template(&format!("{server}{path}"));
    let some = |text: &str| template(text);
    let alertmanager = v1::AlertmanagerContact {
        urls: vec![at("").unwrap()],
        lasts: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        timeout: soon(),
        ..Default::default()
    };
    let slack = v1::SlackContact {
        token: some("xoxb-token"),
        channel: "#ops".into(),
        api_url: at("/api"),
        timeout: soon(),
        ..Default::default()
    };
    let telegram = v1::TelegramContact {
        token: some("12:secret-token"),
        chat_id: "-100".into(),
        url: at(""),
        timeout: soon(),
        ..Default::default()
    };
    let opsgenie = v1::OpsgenieContact {
        api_key: some("genie-key-1"),
        priority: "P2".into(),
        url: at(""),
        timeout: soon(),
    };
    vec![
        Kind::Webhook(to(&format!("{server}/hook"))),
        Kind::Pagerduty(v1::PagerDutyContact {
            routing_key: some("routing-key"),
            severity: "error".into(),
            url: at(""),
            timeout: soon(),
        }),
        Kind::Alertmanager(alertmanager),
        Kind::Slack(slack),
        Kind::Slack(v1::SlackContact { url: at("/T/B"), timeout: soon(), ..Default::default() }),
        Kind::Ntfy(v1::NtfyContact {
            url: at("/alerts"),
            priority: 5,
            timeout: soon(),
            ..Default::default()
        }),
        Kind::Discord(v1::DiscordContact {
            url: at("/api/webhooks/1/x"),
            timeout: soon(),
            ..Default::default()
        }),
        Kind::Telegram(telegram),
        Kind::Opsgenie(opsgenie),
        Kind::Teams(v1::TeamsContact {
            url: at("/workflows/x"),
            timeout: soon(),
            ..Default::default()
        }),
    ]
}

fn origin(server: &Server) -> String {
    server.url.split("/hook").next().unwrap().to_owned()
}

/// What a contact of each kind answers when all is well, its status otherwise, and what is asked where.
#[tokio::test]
async fn each_kind_is_told_where_it_listens_and_understood_in_what_it_answers() {
    let slack = "HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n\
                 {\"ok\":true,\"channel\":\"C024\",\"ts\":\"15.0002\"}";
    let telegram = "HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n\
                    {\"ok\":true,\"result\":{\"message_id\":7}}";
    let taken = |receipt: &str| Report::Taken { receipt: receipt.into(), note: String::new() };
    let accepted = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    let table = [
        (NO_CONTENT, answered(204, ""), "POST /hook HTTP/1.1"),
        (accepted, answered(202, ""), "POST /v2/enqueue HTTP/1.1"),
        (NO_CONTENT, answered(204, ""), "POST /api/v2/alerts HTTP/1.1"),
        (slack, taken("C024:15.0002"), "POST /api/chat.postMessage HTTP/1.1"),
        (NO_CONTENT, answered(204, ""), "POST /T/B HTTP/1.1"),
        (NO_CONTENT, answered(204, ""), "POST / HTTP/1.1"),
        (NO_CONTENT, answered(204, ""), "POST /api/webhooks/1/x HTTP/1.1"),
        (telegram, taken("7"), "POST /bot12:secret-token/sendMessage HTTP/1.1"),
        (accepted, answered(202, ""), "POST /v2/alerts HTTP/1.1"),
        (accepted, answered(202, ""), "POST /workflows/x HTTP/1.1"),
    ];
    for (at, (answer, report, line)) in table.into_iter().enumerate() {
        let server = Server::start(vec![Does::Answers(answer)]).await;
        let kind = each_kind(&origin(&server)).swap_remove(at);
        assert_eq!(carried(page_to(kind, PageKind::Opened, ""), Guard::default()).await, report);
        let request = server.requests().remove(0);
        assert_eq!(request.lines().next(), Some(line));
        assert!(request.contains("idempotency-key: 0190:c:opened"), "{request}");
        assert!(request.to_ascii_lowercase().contains("content-type: application/json"));
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(body.to_string().contains("checkout"), "{body}");
    }
}

#[tokio::test]
async fn each_kind_is_refused_limited_and_in_doubt_alike() {
    let refused = "HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\nno";
    let limited = "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let seven = Some(Duration::from_secs(7));
    for at in 0..each_kind(&closed).len() {
        let name = format!("{:?}", each_kind(&closed)[at]);
        for does in [Does::Answers(refused), Does::Answers(limited), Does::Hangs, Does::Resets] {
            let server = Server::start(vec![does.clone()]).await;
            let kind = each_kind(&origin(&server)).swap_remove(at);
            let attempt = page_to(kind, PageKind::Opened, "");
            match (&does, carried(attempt, Guard::default()).await) {
                (Does::Answers(text), Report::Answered { status: 400, detail, .. })
                    if *text == refused =>
                {
                    assert_eq!(detail, "no", "{name}");
                }
                (Does::Answers(text), Report::Answered { status: 429, retry_after, .. })
                    if *text == limited =>
                {
                    assert_eq!(retry_after, seven, "{name}");
                }
                (Does::Hangs | Does::Resets, Report::Ambiguous(_)) => {}
                (does, report) => panic!("{name}: {does:?}: {report:?}"),
            }
        }
        let kind = each_kind(&closed).swap_remove(at);
        let report = carried(page_to(kind, PageKind::Opened, ""), Guard::default()).await;
        let refused = "Connection refused";
        assert!(matches!(&report, Report::NotSent(why) if why.contains(refused)), "{report:?}");
    }
}

#[tokio::test]
async fn no_kind_of_contact_gets_past_the_guard() {
    let deny: Guard = Guard::owned_by(
        parallax_common::guard::Owner::Coordinator,
        &[],
        &["127.0.0.0/8".parse().unwrap()],
    )
    .unwrap();
    let server = Server::start(vec![Does::Answers(NO_CONTENT)]).await;
    let port = origin(&server).rsplit_once(':').unwrap().1.to_owned();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
        for kind in each_kind(&format!("http://{host}:{port}")) {
            let report = carried(page_to(kind, PageKind::Opened, ""), deny.clone()).await;
            let Report::NotSent(why) = report else { panic!("{host}: {report:?}") };
            let named = why.contains("denied by --contact-deny-network of this coordinator");
            assert!(why.starts_with("address_denied: ") && named, "{host}: {why}");
        }
    }
    assert_eq!(server.requests(), Vec::<String>::new());
    // Without any flag: what gives away credentials.
    for host in ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"] {
        let report = send(to(&format!("http://{host}/latest"))).await;
        let said = "cloud metadata";
        assert!(matches!(&report, Report::NotSent(why) if why.contains(said)), "{report:?}");
    }
}

#[tokio::test]
async fn an_alert_goes_to_all_alertmanagers_and_one_is_enough() {
    let up = Server::start(vec![Does::Answers(NO_CONTENT)]).await;
    let deaf = Server::start(vec![Does::Hangs]).await;
    let contact = v1::AlertmanagerContact {
        urls: [&deaf, &up].map(|it| template(&origin(it)).unwrap()).to_vec(),
        lasts: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        timeout: soon(),
        ..Default::default()
    };
    let kind = Kind::Alertmanager(contact);
    let report = carried(page_to(kind.clone(), PageKind::Opened, ""), Guard::default()).await;
    assert_eq!(report, answered(204, ""));
    assert_eq!((up.requests().len(), deaf.requests().len()), (1, 1));
    // Nobody takes it, and one may have.
    let deaf = Server::start(vec![Does::Hangs]).await;
    let Kind::Alertmanager(mut contact) = kind else { unreachable!() };
    contact.urls = vec![template("http://127.0.0.1:1").unwrap(), template(&origin(&deaf)).unwrap()];
    let kind = Kind::Alertmanager(contact);
    let report = carried(page_to(kind, PageKind::Opened, ""), Guard::default()).await;
    assert!(matches!(report, Report::Ambiguous(_)), "{report:?}");
}

#[tokio::test]
async fn what_is_over_already_is_told_in_two_requests_where_an_end_needs_a_beginning() {
    let accepted = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    for at in [1, 8] {
        let script = vec![Does::Answers(accepted), Does::Answers(accepted)];
        let server = Server::start(script).await;
        let kind = each_kind(&origin(&server)).swap_remove(at);
        let page = page_to(kind.clone(), PageKind::Combined, "");
        assert_eq!(carried(page, Guard::default()).await, answered(202, ""));
        assert_eq!(server.requests().len(), 2);
        // The first that is not taken ends it.
        let server = Server::start(vec![Does::Answers("HTTP/1.1 500 No\r\n\r\n")]).await;
        let kind = each_kind(&origin(&server)).swap_remove(at);
        let page = page_to(kind, PageKind::Combined, "");
        assert_eq!(carried(page, Guard::default()).await, answered(500, ""));
    }
}

#[tokio::test]
async fn what_a_contact_says_of_a_token_is_not_remembered() {
    let answer =
        "HTTP/1.1 404 No\r\ncontent-length: 34\r\n\r\n{\"description\":\"12:Secret-Token?\"}";
    let server = Server::start(vec![Does::Answers(answer)]).await;
    let kind = each_kind(&origin(&server)).swap_remove(7);
    let report = carried(page_to(kind, PageKind::Opened, ""), Guard::default()).await;
    assert_eq!(report, answered(404, "***?"));
}

/// The same contact with another timeout.
fn within_timeout(mut kind: Kind, length: Duration) -> Kind {
    let timeout = match &mut kind {
        Kind::Webhook(it) => &mut it.timeout,
        Kind::Pagerduty(it) => &mut it.timeout,
        Kind::Alertmanager(it) => &mut it.timeout,
        Kind::Slack(it) => &mut it.timeout,
        Kind::Email(it) => &mut it.timeout,
        Kind::Ntfy(it) => &mut it.timeout,
        Kind::Discord(it) => &mut it.timeout,
        Kind::Telegram(it) => &mut it.timeout,
        Kind::Opsgenie(it) => &mut it.timeout,
        Kind::Teams(it) => &mut it.timeout,
    };
    *timeout = Some(prost_types::Duration::try_from(length).unwrap());
    kind
}

/// A receiver that takes its time: who has little of it leaves, who has more waits and is told.
#[tokio::test]
async fn each_kind_is_waited_for_as_long_as_its_timeout_says_and_no_longer() {
    const THINKS: Duration = Duration::from_millis(1_200);
    // Of all kinds: each finds in it what it looks for.
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\n\
                {\"ok\":true,\"channel\":\"C\",\"ts\":\"1.2\",\"result\":{\"message_id\":7}}  ";
    let row = |at: usize, timeout: Duration| async move {
        let server = Server::start(vec![Does::Thinks(THINKS, text)]).await;
        let kind = within_timeout(each_kind(&origin(&server)).swap_remove(at), timeout);
        let name = format!("{kind:?}");
        let began = clock::instant();
        let report = carried(page_to(kind, PageKind::Opened, ""), Guard::default()).await;
        (name, report, clock::instant() - began)
    };
    let (short, long) = (Duration::from_millis(400), Duration::from_secs(20));
    let kinds = 0..each_kind("http://x.example").len();
    for (name, report, took) in all(kinds.clone().map(|at| row(at, short)).collect()).await {
        let left = Report::Ambiguous("no answer within 400ms".to_owned());
        assert_eq!(report, left, "{name}");
        assert!(took >= short, "{name}: {took:?}");
    }
    for (name, report, took) in all(kinds.map(|at| row(at, long)).collect()).await {
        assert!(is_taken(&report), "{name}: {report:?}");
        assert!(took >= THINKS, "{name}: {took:?}");
    }
}

#[tokio::test]
async fn an_alertmanager_gets_the_headers_that_its_contact_has_and_no_others() {
    let own = vec![
        Header { name: "X-Scope-OrgID".into(), value: template("team-a") },
        Header { name: "Authorization".into(), value: template("Bearer abc") },
    ];
    for (headers, expected) in [(Vec::new(), false), (own, true)] {
        let server = Server::start(vec![Does::Answers(NO_CONTENT)]).await;
        let contact = v1::AlertmanagerContact {
            urls: vec![template(&origin(&server)).unwrap()],
            headers,
            lasts: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            timeout: soon(),
            ..Default::default()
        };
        let page = page_to(Kind::Alertmanager(contact), PageKind::Opened, "");
        assert_eq!(carried(page, Guard::default()).await, answered(204, ""));
        let request = server.requests().remove(0).to_ascii_lowercase();
        for line in ["\r\nx-scope-orgid: team-a\r\n", "\r\nauthorization: bearer abc\r\n"] {
            assert_eq!(request.contains(line), expected, "{request}");
        }
    }
}
