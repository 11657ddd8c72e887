//! A canary behind every option that may hold a reference: it is used, whoever gets it says it again, and
//! it is in nothing that the run or the page leaves behind.
//!
//! The options are those of the schema, by the rows of `options.txt`: one more that takes a reference is
//! tried here by itself. What a mesh of processes writes is searched by the story of the canaries.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parallax_common::check::Check;
use parallax_common::guard::Guard;
use parallax_common::time::UtcTime;
use parallax_coordinator::notify::carrier::Carrier;
use parallax_coordinator::notify::reach::Roots;
use parallax_coordinator::notify::secrets::Secrets as ContactSecrets;
use parallax_coordinator::notify::{Attempt, Sender as _, body};
use parallax_probe::execute::Executor;
use parallax_probe::execute::plugin::Plugins;
use parallax_probe::execute::secrets::Secrets;
use parallax_proto::convert::check;
use parallax_proto::convert::contact::{Setting, settings};
use parallax_proto::v1;
use parallax_runtime::supervisor::Supervisor;
use tracing_subscriber::EnvFilter;

use super::*;

/// So long that its own base64 begins that of what follows it.
const CANARY: &str = "canary.secret-5c1f093";

/// What is not said as it is written, and why.
const UNHEARD: [(&str, &str); 16] = [
    ("checks[].http.client_cert", "it is no certificate: the run ends with that"),
    ("checks[].http.client_key", "it is no key: the run ends with that"),
    ("checks[].tcp.client_cert", "the same"),
    ("checks[].tcp.client_key", "the same"),
    ("checks[].grpc.client_cert", "the same"),
    ("checks[].grpc.client_key", "the same"),
    ("checks[].websocket.client_cert", "the same"),
    ("checks[].websocket.client_key", "the same"),
    ("checks[].http.oauth2.client_id", "only over TLS"),
    ("checks[].http.oauth2.client_secret", "only over TLS"),
    ("checks[].grpc.metadata", "compressed"),
    ("checks[].websocket.dialogue", "behind an upgrade"),
    ("checks[].websocket.dialogue[].send", "behind an upgrade"),
    ("contacts[].webhook.signing_secrets", "it signs"),
    ("contacts[].email.username", "only to a mail server"),
    ("contacts[].email.password", "only to a mail server"),
];

/// How what was heard is said again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Raw,
    Status,
    Header,
    Redirect,
}

impl Way {
    const ALL: [Self; 4] = [Self::Raw, Self::Status, Self::Header, Self::Redirect];

    fn answer(self, heard: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(heard);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = format!("content-length: {}\r\nconnection: close\r\n\r\n{line}", line.len());
        match self {
            Self::Raw => heard.to_vec(),
            Self::Status => format!("HTTP/1.1 500 {line}\r\n{end}").into_bytes(),
            Self::Header => format!("HTTP/1.1 401 No\r\nx-said: {line}\r\n{end}").into_bytes(),
            Self::Redirect => {
                let to = format!("http://127.0.0.1:1/{CANARY}?{CANARY}");
                format!("HTTP/1.1 302 No\r\nlocation: {to}\r\n{end}").into_bytes()
            }
        }
    }
}

type Heard = Arc<Mutex<Vec<u8>>>;

/// Hears what comes over TCP and UDP, and says it again in one way.
fn parrot(way: Way, heard: &Heard) -> SocketAddr {
    let (socket, listener) = (0..100)
        .find_map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let listener = TcpListener::bind(socket.local_addr().unwrap()).ok()?;
            Some((socket, listener))
        })
        .expect("a port that is free for both");
    let address = socket.local_addr().unwrap();
    let by_datagram = Arc::clone(heard);
    std::thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            by_datagram.lock().unwrap().extend(&packet[..length]);
            let _ = socket.send_to(&packet[..length], from);
        }
    });
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let heard = Arc::clone(&heard);
            std::thread::spawn(move || repeat(stream, way, &heard));
        }
    });
    address
}

/// Hears until nothing comes any more, answers once, and hears to the end.
fn repeat(mut stream: TcpStream, way: Way, heard: &Heard) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(30)))?;
    let (mut said, mut piece) = (Vec::new(), [0; 4_096]);
    for _ in 0..10 {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => said.extend(&piece[..length]),
            Err(_) if said.is_empty() => {}
            Err(_) => break,
        }
    }
    heard.lock().unwrap_or_else(PoisonError::into_inner).extend(&said);
    stream.write_all(&way.answer(&said))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    while stream.read(&mut piece)? > 0 {}
    Ok(())
}

/// Whether the canary stands in some bytes, in any of its forms and whatever the case of its letters.
fn stands_in(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let forms = [
        CANARY.to_owned(),
        STANDARD.encode(CANARY),
        URL_SAFE_NO_PAD.encode(CANARY),
        STANDARD.encode(format!("u:{CANARY}")),
        CANARY.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ];
    forms.iter().any(|form| text.contains(&form.to_ascii_lowercase()))
}

/// A value with the reference in the place of each of its texts, or behind an address.
fn candidates(value: &Value, reference: &str) -> Vec<Value> {
    match value {
        Value::String(text) => {
            let behind = text.contains("://").then(|| format!("{text}/{reference}").into());
            behind.into_iter().chain([reference.into()]).collect()
        }
        Value::Array(items) => {
            let first = items.first().into_iter();
            first.flat_map(|item| candidates(item, reference)).map(|it| json!([it])).collect()
        }
        Value::Object(fields) => {
            let first = fields.iter().next().into_iter();
            let of = |(name, value): (&String, &Value)| {
                let name = name.clone();
                candidates(value, reference)
                    .into_iter()
                    .map(move |it| Value::Object([(name.clone(), it)].into_iter().collect()))
                    .collect::<Vec<_>>()
            };
            first.flat_map(of).collect()
        }
        _ => Vec::new(),
    }
}

/// The document with every host of it, whatever it is called, at this address.
fn at_address(document: &Value, address: SocketAddr) -> Value {
    let text = document.to_string();
    let (mut out, mut rest) = (String::new(), text.as_str());
    while let Some(at) = rest.find(".example") {
        let host = |c: char| c.is_ascii_lowercase() || c == '.';
        let begin = rest[..at].trim_end_matches(host).len();
        let end = at + ".example".len();
        let port = rest[end..].strip_prefix(':').map_or(0, |port| {
            1 + port.len() - port.trim_start_matches(|c: char| c.is_ascii_digit()).len()
        });
        out.push_str(&rest[..begin]);
        out.push_str(&address.to_string());
        rest = &rest[end + port..];
    }
    out.push_str(rest);
    let mut document: Value = serde_json::from_str(&out).unwrap();
    // Those that have an address of their own are told this one.
    let contact = document.get_mut("contacts").and_then(|it| it[0].as_object_mut());
    for (name, address_of) in [("pagerduty", "url"), ("opsgenie", "url"), ("telegram", "url")] {
        if let Some(kind) = contact.as_ref().and_then(|it| it.get(name)).filter(|it| it.is_object())
            && kind.get(address_of).is_none()
        {
            document["contacts"][0][name][address_of] = format!("http://{address}").into();
            return document;
        }
    }
    let slack = document.pointer_mut("/contacts/0/slack").and_then(Value::as_object_mut);
    if let Some(slack) = slack.filter(|it| it.contains_key("token")) {
        slack.entry("api_url").or_insert_with(|| format!("http://{address}").into());
    }
    document
}

/// The document with what no row fills in, a variable or a file of nobody, as this reference.
fn beside(mut document: Value, other: &str) -> Value {
    match &mut document {
        Value::String(text)
            if ["${env:", "${file:/c}", "${file:/k}"].iter().any(|it| text.starts_with(it)) =>
        {
            *text = other.to_owned();
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| *item = beside(item.take(), other));
        }
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| *field = beside(field.take(), other));
        }
        _ => {}
    }
    document
}

/// What a valid document makes that holds the reference where it is resolved.
enum Holder {
    Check(Box<Check>),
    Contact(Box<v1::Contact>),
}

fn template(secret: Option<&v1::Secret>) -> &str {
    match secret.and_then(|secret| secret.value.as_ref()) {
        Some(v1::secret::Value::Template(text)) => text,
        _ => "",
    }
}

fn holder(document: &Value, reference: &str) -> Option<Holder> {
    let text = document.to_string();
    let loaded = load(Sources::from_texts([("mesh.yaml", text.as_str())])).ok()?;
    loaded.resources.into_iter().find_map(|located| match normalise(located.resource).kind? {
        v1::resource::Kind::Check(mut wire) => {
            wire.meta.get_or_insert_default().uid =
                "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".to_owned();
            let check = check::check(&wire).ok()?;
            let mut templates = check.run.steps.iter().flat_map(|step| step.kind.templates());
            let holds = templates.any(|text| text.contains(reference));
            holds.then(|| Holder::Check(Box::new(check)))
        }
        v1::resource::Kind::Contact(contact) => {
            let has = |secret: &v1::Secret| template(Some(secret)).contains(reference);
            let holds = |setting: Setting<'_>| match setting {
                Setting::Url(it) | Setting::Secret(it) => it.is_some_and(has),
                Setting::Urls(several) | Setting::Secrets(several) => several.iter().any(has),
                Setting::Headers(headers) => {
                    headers.iter().any(|it| template(it.value.as_ref()).contains(reference))
                }
                _ => false,
            };
            let mut all = settings(contact.kind.as_ref()?).into_iter();
            all.any(|(_, setting)| holds(setting)).then(|| Holder::Contact(Box::new(contact)))
        }
        _ => None,
    })
}

/// What is logged on this thread while it is held.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_canary_is_found_in_each_of_its_forms() {
    for said in [
        CANARY.to_owned(),
        CANARY.to_uppercase(),
        format!("Basic {}", STANDARD.encode(format!("{CANARY}:password"))),
        format!("Basic {}", STANDARD.encode(format!("u:{CANARY}"))),
    ] {
        assert!(stands_in(said.as_bytes()), "{said}");
    }
    assert!(!stands_in(b"the reference ${file:/canary} itself"));
}

#[tokio::test]
async fn no_option_that_holds_a_reference_shows_what_it_stands_for() {
    let log = Log::default();
    let level = "parallax_common=trace,parallax_proto=trace,parallax_runtime=trace,\
                 parallax_coordinator=trace,parallax_probe=trace";
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_owned();
    std::fs::write(here.join("value"), format!("{CANARY}\n")).unwrap();
    let reference = format!("${{file:{}}}", here.join("value").display());
    std::fs::write(here.join("other"), "other-value\n").unwrap();
    let other = format!("${{file:{}}}", here.join("other").display());
    let plugin = here.join("check_http");
    let heard_by_plugin = here.join("heard");
    let script =
        format!("#!/bin/sh\n(echo \"$@\"; env) | tee -a {}\nexit 2\n", heard_by_plugin.display());
    std::fs::write(&plugin, script).unwrap();
    std::fs::set_permissions(&plugin, PermissionsExt::from_mode(0o755)).unwrap();
    let executor = || {
        let plugins = Plugins::new(vec![here.clone()], vec!["A".to_owned()]);
        Executor::new(Secrets::new(vec![], vec![here.clone()]), None, None).with_plugins(plugins)
    };
    let supervisor = Supervisor::default();
    let secrets = ContactSecrets::new(vec![], vec![here.clone()]);
    let carrier =
        Carrier::new(Roots::Webpki, Guard::default(), secrets, supervisor.clone()).unwrap();
    let test = body::Test {
        incident: "0190",
        namespace: "default",
        member: "one",
        mesh: "prod",
        at: UtcTime::from_ns(1_795_144_320_000_000_000),
    };

    let (mut holding, mut heard_of, mut leaks) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for row in rows() {
        let (above, name) = row.path.rsplit_once('.').unwrap_or(("", &row.path));
        for value in candidates(&row.value, &reference) {
            for way in Way::ALL {
                let heard = Heard::default();
                let address = parrot(way, &heard);
                let (mut document, _) = row.documents();
                at(&mut document, above, row.item)[name] = value.clone();
                let document = at_address(&beside(document, &other), address);
                let left = match holder(&document, &reference) {
                    None => break,
                    Some(Holder::Check(check)) => {
                        let run = &check.run;
                        let (execution, looked) =
                            executor().look(run, Duration::from_secs(3)).await;
                        format!("{:?} {looked:?}", execution.finding)
                    }
                    Some(Holder::Contact(contact)) => {
                        let (key, receipt) = ("key".to_owned(), String::new());
                        let page = body::test(&test, "key");
                        let attempt = Attempt { key, contact: *contact, page, receipt };
                        format!("{:?}", carrier.send(attempt).await)
                    }
                };
                holding.insert(row.path.clone());
                if stands_in(left.as_bytes()) {
                    leaks.push(format!("{} {way:?}: {left}", row.path));
                }
                let logged = std::mem::take(&mut *log.0.lock().unwrap());
                if stands_in(&logged) {
                    let logged = String::from_utf8_lossy(&logged).into_owned();
                    leaks.push(format!("{} {way:?}, log: {logged}", row.path));
                }
                // Who sends and is done does not wait until it is heard.
                let waits = !heard_of.contains(&row.path)
                    && !UNHEARD.iter().any(|(path, _)| *path == row.path);
                for _ in 0..if waits { 100 } else { 1 } {
                    let by_plugin = std::fs::read(&heard_by_plugin).unwrap_or_default();
                    let by_parrot = heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if stands_in(&by_parrot) || stands_in(&by_plugin) {
                        heard_of.insert(row.path.clone());
                        break;
                    }
                    if waits {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                let _ = std::fs::remove_file(&heard_by_plugin);
            }
        }
    }
    supervisor.stop();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    // It was used: who should have got it has heard it.
    let unheard: BTreeSet<String> = holding.difference(&heard_of).cloned().collect();
    let expected = UNHEARD.map(|(path, _)| path.to_owned()).into_iter().collect();
    assert_eq!(unheard, expected);
    assert!(holding.len() > 30, "{holding:#?}");
}
