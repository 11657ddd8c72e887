//! Against a mail server on a real socket: what each way to fail is reported as, and what is said before
//! there is TLS.

use std::sync::{Arc, Mutex};

use parallax_common::guard::Guard;
use parallax_proto::convert::contact::written;
use parallax_proto::v1::contact::Kind;
use parallax_proto::v1::{Contact, EmailContact, Incident, PageKind};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::notify::carrier::Carrier;
use crate::notify::reach::Roots;
use crate::notify::secrets::Secrets;
use crate::notify::{Attempt, Sender as _, body};

/// Says nothing any more.
const HANGS: &str = "(hangs)";
/// Resets the connection.
const RESETS: &str = "(resets)";

/// What a server does otherwise than one that takes everything.
#[derive(Debug, Clone, Default)]
struct Manner {
    /// TLS from the first byte on.
    whole: bool,
    /// What EHLO lists beside its name.
    offers: &'static [&'static str],
    /// By the beginning of a line: what is said to it. `(greeting)` and `.` are lines, too.
    answers: &'static [(&'static str, &'static str)],
    /// Said in one piece with what lets TLS begin.
    after_starttls: &'static str,
    /// How long it thinks before it greets.
    greets_after: Duration,
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

struct Server {
    port: u16,
    /// Of the authority of its certificate, which is for mail.test.
    pem: String,
    said: Arc<Mutex<Vec<String>>>,
    supervisor: Supervisor,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let signed = rcgen::generate_simple_self_signed(vec!["mail.test".to_owned()]).unwrap();
        let key =
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let said = Arc::new(Mutex::new(Vec::new()));
        let supervisor = Supervisor::default();
        let (heard, stop) = (Arc::clone(&said), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("mail server"), async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (stream, _) = accepted.unwrap();
                tokio::select! {
                    () = stop.cancelled() => return,
                    // Who leaves in the middle has heard enough.
                    _ = serve(stream, &manner, &acceptor, &heard) => {}
                }
            }
        });
        Self { port, pem: signed.cert.pem(), said, supervisor }
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Lines before the mail, without what it is about.
    fn commands(&self) -> String {
        let said = self.said();
        let words = said.iter().map(|line| line.split([' ', ':']).next().unwrap_or_default());
        words.collect::<Vec<_>>().join(" ")
    }

    fn contact(&self, tls: &str) -> EmailContact {
        let secured = tls != "none";
        EmailContact {
            server: format!("127.0.0.1:{}", self.port),
            tls: tls.to_owned(),
            from: "Parallax <pages@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned(), "Boss <boss@example.com>".to_owned()],
            helo: "probe.example".to_owned(),
            server_name: if secured { "mail.test".to_owned() } else { String::new() },
            ca_pem: if secured { self.pem.clone() } else { String::new() },
            timeout: Some(prost_types::Duration { seconds: 8, nanos: 0 }),
            ..Default::default()
        }
    }

    fn with_login(&self, tls: &str) -> EmailContact {
        EmailContact {
            username: Some(written("mailer-canary")),
            password: Some(written("password-canary")),
            ..self.contact(tls)
        }
    }
}

async fn serve(
    stream: TcpStream,
    manner: &Manner,
    acceptor: &TlsAcceptor,
    said: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    if manner.answers.iter().any(|(_, answer)| *answer == RESETS) {
        #[allow(deprecated, reason = "a reset on close is what this is about")]
        stream.set_linger(Some(Duration::ZERO))?;
    }
    tokio::time::sleep(manner.greets_after).await;
    let mut wire: Box<dyn Wire> = Box::new(stream);
    if manner.whole {
        wire = Box::new(acceptor.accept(wire).await?);
        said.lock().unwrap().push("(TLS)".to_owned());
    }
    let mut wire = BufReader::new(wire);
    let mut line = "(greeting)".to_owned();
    let mut content: Option<String> = None;
    loop {
        let told = content.as_ref().is_none_or(|_| line == ".");
        if told {
            let own = manner.answers.iter().find(|(prefix, _)| line.starts_with(prefix));
            let answer =
                match own.map_or_else(|| usual(&line, manner), |(_, own)| (*own).to_owned()) {
                    hangs if hangs == HANGS => std::future::pending().await,
                    resets if resets == RESETS => return Ok(()),
                    answer => answer,
                };
            if line == "." {
                said.lock().unwrap().push(content.take().unwrap_or_default());
            }
            wire.write_all(format!("{answer}\r\n").as_bytes()).await?;
            if line == "DATA" && answer.starts_with("354") {
                content = Some(String::new());
            }
            if line == "STARTTLS" && answer.starts_with("220") {
                wire.write_all(manner.after_starttls.as_bytes()).await?;
                wire = BufReader::new(Box::new(acceptor.accept(wire.into_inner()).await?));
                said.lock().unwrap().push("(TLS)".to_owned());
            }
        } else if let Some(content) = &mut content {
            content.push_str(&line);
            content.push('\n');
        }
        line.clear();
        if wire.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        line.truncate(line.trim_end().len());
        if content.is_none() {
            said.lock().unwrap().push(line.clone());
        }
    }
}

/// What a server says that takes everything.
fn usual(line: &str, manner: &Manner) -> String {
    let word = line.split([' ', ':']).next().unwrap_or_default();
    let answer = match word {
        "(greeting)" => "220 mail.test ready",
        "EHLO" => {
            let mut words = vec!["mail.test"];
            words.extend(manner.offers);
            let last = words.len() - 1;
            let lines = words.iter().enumerate();
            let lines =
                lines.map(|(at, word)| format!("250{}{word}", if at == last { ' ' } else { '-' }));
            return lines.collect::<Vec<_>>().join("\r\n");
        }
        "STARTTLS" => "220 go ahead",
        "DATA" => "354 go ahead",
        "." => "250 kept as 1",
        "QUIT" => "221 bye",
        "AUTH" if line == "AUTH LOGIN" => "334 VXNlcm5hbWU6",
        "AUTH" => "235 in",
        // What is no command is an answer to a question of the login.
        word if word == base64("mailer-canary") => "334 UGFzc3dvcmQ6",
        word if word == base64("password-canary") => "235 in",
        _ => "250 ok",
    };
    answer.to_owned()
}

fn base64(text: &str) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

async fn send(contact: EmailContact) -> Report {
    let incident =
        Incident { uid: "0190".into(), check_name: "checkout".into(), ..Default::default() };
    let attempt = Attempt {
        key: "0190:c:opened".into(),
        contact: Contact { kind: Some(Kind::Email(contact)), ..Default::default() },
        page: body::page(&incident, PageKind::Opened, "0190:c:opened", "prod"),
        receipt: String::new(),
    };
    let supervisor = Supervisor::default();
    let secrets = Secrets::new(vec![], vec![]);
    let carrier = Carrier::new(Roots::Webpki, Guard::default(), secrets, supervisor).unwrap();
    carrier.send(attempt).await
}

/// What an attempt at a server of this manner, without TLS, comes to; and the server.
async fn plainly(answers: &'static [(&'static str, &'static str)]) -> (Report, Server) {
    let server = Server::start(Manner { answers, ..Manner::default() }).await;
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 });
    let report = send(EmailContact { timeout, ..server.contact("none") }).await;
    (report, server)
}

fn taken(note: &str) -> Report {
    Report::Taken { receipt: "<0190.c.opened@example.com>".into(), note: note.into() }
}

#[tokio::test]
async fn a_mail_goes_over_each_kind_of_connection_with_a_login_and_without() {
    let plain = "EHLO MAIL RCPT RCPT DATA";
    let starttls = Manner { offers: &["STARTTLS", "AUTH PLAIN LOGIN"], ..Manner::default() };
    let login = Manner { offers: &["STARTTLS", "AUTH LOGIN"], ..Manner::default() };
    let whole = Manner { whole: true, offers: &["AUTH PLAIN"], ..Manner::default() };
    #[rustfmt::skip]
    let table = [
        ("none",     false, Manner::default(), plain.to_owned()),
        ("starttls", false, starttls.clone(),  format!("EHLO STARTTLS (TLS) {plain}")),
        ("starttls", true,  starttls,          "EHLO STARTTLS (TLS) EHLO AUTH MAIL RCPT RCPT DATA".to_owned()),
        ("starttls", true,  login,             format!("EHLO STARTTLS (TLS) EHLO AUTH {} {} MAIL RCPT RCPT DATA", base64("mailer-canary"), base64("password-canary"))),
        ("tls",      false, whole.clone(),     format!("(TLS) {plain}")),
        ("tls",      true,  whole,             "(TLS) EHLO AUTH MAIL RCPT RCPT DATA".to_owned()),
    ];
    for (tls, login, manner, commands) in table {
        let server = Server::start(manner).await;
        let contact = if login { server.with_login(tls) } else { server.contact(tls) };
        assert_eq!(send(contact).await, taken(""), "{tls} {login}");
        let said = server.commands();
        assert!(said.starts_with(&format!("{commands} Message-ID")), "{tls} {login}: {said}");
        let said = server.said();
        assert!(said.contains(&"EHLO probe.example".to_owned()), "{said:?}");
        for line in [
            "MAIL FROM:<pages@example.com>",
            "RCPT TO:<ops@example.com>",
            "RCPT TO:<boss@example.com>",
        ] {
            assert!(said.contains(&line.to_owned()), "{line}: {said:?}");
        }
        let mail = said.iter().find(|said| said.contains("Subject: ")).unwrap();
        assert!(mail.contains("From: Parallax <pages@example.com>\n"), "{mail}");
        assert!(mail.contains("Message-ID: <0190.c.opened@example.com>\n"), "{mail}");
        // What was said before there was TLS names nobody.
        let before = said.iter().take_while(|line| *line != "(TLS)");
        assert!(tls == "none" || before.clone().all(|line| line.len() < 30), "{said:?}");
    }
}

#[tokio::test]
async fn what_a_server_says_is_an_answer_and_what_it_does_not_is_none() {
    let (report, _) = plainly(&[("RCPT TO:<ops@", "550 5.1.1 no such user")]).await;
    assert_eq!(report, taken("not taken for ops@example.com: 550 5.1.1 no such user"));
    let refused = |report: &Report| match report {
        Report::Refused { why, lasting, .. } => (why.clone(), *lasting),
        other => panic!("{other:?}"),
    };
    let (report, server) = plainly(&[("RCPT", "452 full")]).await;
    assert!(!refused(&report).1 && refused(&report).0.contains("ops@example.com: 452 full"));
    assert!(!server.commands().contains("DATA"), "nobody is taken, so there is nothing to say");
    let (report, _) = plainly(&[(".", "554 5.7.1 spam")]).await;
    assert_eq!(refused(&report), ("the server says to the mail: 554 5.7.1 spam".to_owned(), true));
    let (report, _) = plainly(&[("(greeting)", "421 too busy")]).await;
    assert_eq!(
        refused(&report),
        ("the server says to its greeting: 421 too busy".to_owned(), false)
    );
}

#[tokio::test]
async fn an_attempt_is_in_doubt_only_once_the_mail_has_its_end() {
    for step in ["(greeting)", "EHLO", "MAIL", "RCPT", "DATA"] {
        for does in [HANGS, RESETS] {
            let answers: &'static [_] = Box::leak(Box::new([(step, does)]));
            let (report, _) = plainly(answers).await;
            assert!(matches!(report, Report::NotSent(_)), "{step} {does}: {report:?}");
        }
    }
    for does in [HANGS, RESETS, "what?"] {
        let answers: &'static [_] = Box::leak(Box::new([(".", does)]));
        let (report, server) = plainly(answers).await;
        assert!(matches!(report, Report::Ambiguous(_)), "{does}: {report:?}");
        assert!(server.commands().contains("DATA"));
    }
    // Bound and not listening; kept, as another might listen on what was given back.
    let kept = tokio::net::TcpSocket::new_v4().unwrap();
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = kept.local_addr().unwrap();
    let server = Server::start(Manner::default()).await;
    let report = send(EmailContact { server: nobody.to_string(), ..server.contact("none") }).await;
    assert!(matches!(report, Report::NotSent(_)), "{report:?}");
}

/// A contact without TLS at a server that takes everything.
async fn at_a_server(change: impl FnOnce(&mut EmailContact)) -> (Report, Vec<String>) {
    let server = Server::start(Manner::default()).await;
    let mut contact = server.contact("none");
    change(&mut contact);
    (send(contact).await, server.said())
}

#[tokio::test]
async fn a_slow_server_is_waited_for_as_long_as_the_timeout_says_and_no_longer() {
    let attempt = |millis: u64| async move {
        let greets_after = Duration::from_millis(1_200);
        let server = Server::start(Manner { greets_after, ..Manner::default() }).await;
        let timeout = Some(Duration::from_millis(millis).try_into().unwrap());
        send(EmailContact { timeout, ..server.contact("none") }).await
    };
    let (short, long) = tokio::join!(attempt(400), attempt(20_000));
    assert_eq!(short, Report::NotSent("not taken by the server within 400ms".to_owned()));
    assert_eq!(long, taken(""));
}

#[tokio::test]
async fn the_server_that_is_named_gets_the_mail_and_another_one_does_not() {
    let other = Server::start(Manner::default()).await;
    let (report, said) = at_a_server(|_| ()).await;
    assert_eq!(report, taken(""));
    assert!(said.contains(&"DATA".to_owned()) && other.said().is_empty(), "{said:?}");
    let address = format!("127.0.0.1:{}", other.port);
    let (report, said) = at_a_server(|contact| contact.server = address).await;
    assert_eq!(report, taken(""));
    assert!(said.is_empty() && other.said().contains(&"DATA".to_owned()), "{said:?}");
}

#[tokio::test]
async fn we_call_ourselves_by_our_helo_or_by_our_address() {
    for (helo, line) in [("pager.example.org", "EHLO pager.example.org"), ("", "EHLO [127.0.0.1]")]
    {
        let (report, said) = at_a_server(|contact| contact.helo = helo.to_owned()).await;
        assert_eq!(report, taken(""), "{helo:?}");
        assert_eq!(said.first().map(String::as_str), Some(line), "{said:?}");
    }
}

#[tokio::test]
async fn what_is_said_before_tls_is_never_heard_within_it() {
    let manner = Manner {
        offers: &["STARTTLS", "AUTH PLAIN"],
        after_starttls: "250-evil.test\r\n250 AUTH PLAIN\r\n",
        ..Manner::default()
    };
    let server = Server::start(manner).await;
    let report = send(server.with_login("starttls")).await;
    // In one piece with the reply it is seen, in another it spoils the handshake.
    assert!(matches!(report, Report::NotSent(_)), "{report:?}");
    assert_eq!(server.commands().split(' ').take(2).collect::<Vec<_>>(), ["EHLO", "STARTTLS"]);
    assert!(!server.commands().contains("AUTH"), "{:?}", server.said());
}

#[tokio::test]
async fn nobody_is_told_anything_without_the_tls_that_was_asked_for() {
    // No STARTTLS is offered: it may have been taken out of the list on the way.
    let server = Server::start(Manner { offers: &["AUTH PLAIN"], ..Manner::default() }).await;
    let report = send(server.with_login("starttls")).await;
    assert!(
        matches!(&report, Report::Refused { why, lasting: true, .. } if why.contains("STARTTLS"))
    );
    assert_eq!(server.commands(), "EHLO");
    // Another name than its certificate's, and an authority that nobody named.
    for (name, pem) in [("other.test", true), ("mail.test", false)] {
        let manner = Manner { offers: &["STARTTLS"], ..Manner::default() };
        let server = Server::start(manner).await;
        let mut contact = server.with_login("starttls");
        contact.server_name = name.to_owned();
        if !pem {
            contact.ca_pem.clear();
        }
        let report = send(contact).await;
        let Report::NotSent(why) = &report else { panic!("{name}: {report:?}") };
        assert!(why.contains("certificate"), "{name}: {why}");
        assert_eq!(server.commands(), "EHLO STARTTLS", "{name}");
    }
    let server = Server::start(Manner::default()).await;
    let report = send(EmailContact { ca_pem: "no".to_owned(), ..server.contact("tls") }).await;
    assert!(matches!(&report, Report::NotSent(why) if why.contains("ca_pem")), "{report:?}");
}

#[tokio::test]
async fn a_server_that_never_ends_a_line_or_a_reply_is_left() {
    let line: &'static str = Box::leak("2".repeat(100_000).into_boxed_str());
    let reply: &'static str = Box::leak("250-x\r\n".repeat(10_000).into_boxed_str());
    for (answer, words) in [(line, "a line of more"), (reply, "a reply of more")] {
        let answers: &'static [_] = Box::leak(Box::new([("(greeting)", answer)]));
        let (report, _) = plainly(answers).await;
        assert!(matches!(&report, Report::NotSent(why) if why.contains(words)), "{report:?}");
    }
}

#[tokio::test]
async fn a_login_that_a_server_repeats_is_in_no_record() {
    let both = base64("\0mailer-canary\0password-canary");
    let answer = format!("535 not you: AUTH PLAIN {both} password-canary mailer-canary");
    let answers: &'static [_] =
        Box::leak(Box::new([("AUTH", &*Box::leak(answer.into_boxed_str()))]));
    let manner = Manner { whole: true, offers: &["AUTH PLAIN"], answers, ..Manner::default() };
    let server = Server::start(manner).await;
    let report = send(server.with_login("tls")).await;
    let Report::Refused { why, lasting: true, .. } = &report else { panic!("{report:?}") };
    assert!(why.contains("535 not you"), "{why}");
    assert!(!why.contains("canary") && !why.contains(&both), "{why}");
}

#[test]
fn a_mail_has_one_end() {
    let table: [(&[u8], &[u8]); 7] = [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb", b"a\r\nb\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"a\r\n.b\r\n..\r\n", b"a\r\n..b\r\n...\r\n"),
        (b"a\n.\nMAIL", b"a\r\n..\r\nMAIL\r\n"),
        (b"a\r.\rb\r\n", b"a . b\r\n"),
        (b"", b"\r\n"),
    ];
    for (content, expected) in table {
        assert_eq!(dotted(content), expected, "{:?}", String::from_utf8_lossy(content));
    }
}
