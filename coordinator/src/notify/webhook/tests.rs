//! Against real sockets: what each way to fail is reported as.

use std::sync::Mutex;

use parallax_proto::v1::{Contact, Header, Incident, PageKind, Secret, secret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::notify::body;

/// What the server does with each connection, in turn.
#[derive(Debug, Clone)]
enum Does {
    /// Reads the request and answers with these bytes.
    Answers(&'static str),
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
    let incident =
        Incident { uid: "0190".into(), check_name: "checkout".into(), ..Default::default() };
    Attempt {
        key: "0190:c:opened".into(),
        contact: Contact { kind: Some(contact::Kind::Webhook(webhook)), ..Default::default() },
        page: body::page(&incident, PageKind::Opened, "0190:c:opened", "prod"),
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
    let supervisor = Supervisor::default();
    let sender = Webhook::new(Roots::Webpki, secrets(), supervisor.clone()).unwrap();
    let report = sender.send(attempt(webhook)).await;
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
    let sender = Webhook::new(Roots::Webpki, secrets, supervisor.clone()).unwrap();
    let report = sender.send(attempt(webhook)).await;
    assert_eq!(report, answered(403, "no /*** for Bearer *** and ***"));
    // They were sent.
    assert!(server.requests()[0].contains("open-sesame"), "{:?}", server.requests());
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
