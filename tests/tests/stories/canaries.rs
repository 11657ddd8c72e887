//! Secrets that are planted in checks and contacts, used, repeated by those who got them, and then
//! searched for in everything that the programs write and say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parallax_proto::v1;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::harness::http;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::sink::Manner;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};

const REGIONS: [&str; 2] = ["eu-west", "us-east"];

/// By the name of their variable. Some need encoding on their way, some come in another case back.
const CANARIES: [(&str, &str); 9] = [
    ("PX_HEADER", "CanaryHeader-5c1f"),
    ("PX_BEARER", "canary.bearer.9e02"),
    ("PX_PASSWORD", "canary/password+7 d4"),
    ("PX_QUERY", "canary query&61=b3/é"),
    ("PX_CONTACT", "canary-contact-header-08aa"),
    ("PX_HOOK_PATH", "canary-hook-path-f310"),
    ("PX_SLACK", "canary-slack-token-31cb"),
    ("PX_TELEGRAM", "canary-telegram-token-77e9"),
    ("PX_MAIL", "canary-mail-password-b20d"),
];

/// Everything that was received, and a server that says all of it again.
struct Parrot {
    address: SocketAddr,
    heard: Arc<Mutex<String>>,
    supervisor: Supervisor,
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

impl Parrot {
    fn start() -> Result<Self> {
        let listener = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Mutex::new(String::new()));
        let supervisor = Supervisor::default();
        let (stop, all) = (supervisor.stop_token(), Arc::clone(&heard));
        let sessions = supervisor.clone();
        supervisor.spawn(TaskKind::Session("parrot"), async move {
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted.map(|(stream, _)| stream),
                };
                let Ok(stream) = stream else { continue };
                let all = Arc::clone(&all);
                sessions.spawn(TaskKind::Session("parrot session"), async move {
                    // Who leaves in the middle has heard enough.
                    repeat(stream, &all).await.ok();
                });
            }
        });
        Ok(Self { address, heard, supervisor })
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A mail server that says each login again, as it came and in plain text. Its port, and the authority of
/// its certificate.
async fn mail_parrot(parrot: &Parrot) -> Result<(u16, String)> {
    let signed = rcgen::generate_simple_self_signed(vec!["mail.test".to_owned()])?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.into())?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    let (stop, heard) = (parrot.supervisor.stop_token(), Arc::clone(&parrot.heard));
    let sessions = parrot.supervisor.clone();
    parrot.supervisor.spawn(TaskKind::Session("mail parrot"), async move {
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            };
            let Ok(stream) = stream else { continue };
            let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
            sessions.spawn(TaskKind::Session("mail parrot session"), async move {
                // Who leaves in the middle has heard enough.
                repeat_login(acceptor, stream, &heard).await.ok();
            });
        }
    });
    Ok((port, signed.cert.pem()))
}

async fn repeat_login(
    acceptor: tokio_rustls::TlsAcceptor,
    stream: tokio::net::TcpStream,
    heard: &Mutex<String>,
) -> Result<()> {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    stream.write_all(b"220 mail.test\r\n").await?;
    stream.flush().await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let answer = match line.trim_end().strip_prefix("AUTH PLAIN ") {
            None => "250-mail.test\r\n250 AUTH PLAIN".to_owned(),
            Some(login) => {
                let plain = STANDARD.decode(login)?;
                let plain = String::from_utf8_lossy(&plain).replace('\0', " ");
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_str(&format!("{login} {plain}\n"));
                format!("535 not you: AUTH PLAIN {login}, which is {plain}")
            }
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        stream.flush().await?;
        line.clear();
    }
    Ok(())
}

async fn repeat(mut stream: tokio::net::TcpStream, heard: &Mutex<String>) -> Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let Some(request) = http::read_request(&mut stream).await? else { return Ok(()) };
    let said: Vec<String> = request.headers.values().cloned().collect();
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    let everything = format!("{} {}", request.path, said.join(" "));
    {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        // Enough for every check and contact, and no more than a busy machine can keep.
        if heard.len() < 1 << 20 {
            heard.push_str(&everything);
            heard.push('\n');
        }
    }
    let mark = said.iter().find(|value| value.contains("CanaryHeader")).cloned();
    let mark = mark.unwrap_or_default();
    let way = request.path.trim_start_matches('/').split(['?', '/']).next().unwrap_or_default();
    let answer = match way {
        // Where nobody is, under a name that says it.
        "host" => format!("HTTP/1.1 302 F\r\nlocation: http://{mark}.invalid/{mark}?{query}\r\n"),
        "scheme" => format!("HTTP/1.1 302 F\r\nlocation: ftp://{mark}/{query}\r\n"),
        "loop" => format!("HTTP/1.1 302 F\r\nlocation: {}\r\n", request.path),
        "status" => format!("HTTP/1.1 {everything}\r\n"),
        "header" => format!("HTTP/1.1 200 OK\r\n{everything}\r\n"),
        _ => format!("HTTP/1.1 500 {mark}\r\nx-said: {mark}\r\n"),
    };
    let answer = format!(
        "{answer}content-length: {}\r\nconnection: close\r\n\r\n{everything}",
        everything.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

fn configuration(parrot: SocketAddr, (mail, pem): &(u16, String), sink: &str) -> String {
    let mut yaml = format!(
        "regions: [{{name: eu-west}}, {{name: us-east}}]\n\
         defaults: {{interval: 1s, timeout: 900ms, regions: [eu-west, us-east], alert: [ops, parrot]}}\n\
         contacts:\n  \
         - {{name: ops, webhook: {{url: \"{sink}\"}}}}\n  \
         - name: parrot\n    webhook:\n      \
         url: \"http://{parrot}/hook/${{env:PX_HOOK_PATH}}?key=${{env:PX_HOOK_PATH}}\"\n      \
         headers: {{authorization: \"Bearer ${{env:PX_CONTACT}}\"}}\n  \
         - name: slack\n    slack:\n      \
         {{token: \"${{env:PX_SLACK}}\", channel: c, api_url: \"http://{parrot}/hook/slack\"}}\n  \
         - name: telegram\n    telegram:\n      \
         {{token: \"${{env:PX_TELEGRAM}}\", chat_id: c, url: \"http://{parrot}/hook\"}}\n  \
         - name: mail\n    email:\n      server: \"127.0.0.1:{mail}\"\n      tls: tls\n      \
         server_name: mail.test\n      ca_pem: {pem:?}\n      username: me\n      \
         password: \"${{env:PX_MAIL}}\"\n      from: a@example.com\n      to: [b@example.com]\n  \
         - name: lost\n    webhook: {{url: \"http://${{env:PX_HOOK_PATH}}.invalid/\"}}\n\
         checks:\n"
    );
    for way in ["host", "scheme", "loop", "status", "header", "body"] {
        yaml.push_str(&format!(
            "  - name: {way}\n    alert: [ops, parrot, slack, telegram, mail, lost]\n    http:\n      \
             url: http://{parrot}/{way}\n      \
             headers: {{x-canary: \"${{env:PX_HEADER}}\"}}\n      \
             query: {{q: \"${{env:PX_QUERY}}\"}}\n      \
             {}\n    \
             expect: ['status == 200', 'headers[\"x-canary\"] == \"x\"', 'body == \"x\"']\n",
            match way {
                "body" | "loop" => "bearer: \"${env:PX_BEARER}\"",
                _ => "basic: {username: me, password: \"${env:PX_PASSWORD}\"}",
            }
        ));
    }
    yaml
}

/// The forms in which a canary may stand somewhere.
fn forms(canary: &str) -> Vec<String> {
    let percent = |keep: fn(u8) -> bool| {
        let mut out = String::new();
        for byte in canary.bytes() {
            match keep(byte) {
                true => out.push(char::from(byte)),
                false => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    };
    let component = percent(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let path = percent(|b| b.is_ascii_alphanumeric() || b"-._~/&=+".contains(&b));
    vec![
        canary.to_owned(),
        component.replace("%20", "+"),
        component,
        path,
        STANDARD.encode(canary),
        URL_SAFE_NO_PAD.encode(canary),
        STANDARD.encode(format!("me:{canary}")),
        STANDARD.encode(format!("\0me\0{canary}")),
        canary.replace('/', "\\/"),
        canary.bytes().map(|byte| format!("{byte:02x}")).collect(),
    ]
}

/// Which canaries stand in some bytes, whatever the case of their letters.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    let lower = bytes.to_ascii_lowercase();
    let holds = |form: &String| {
        let form = form.to_ascii_lowercase().into_bytes();
        lower.windows(form.len()).any(|window| window == form)
    };
    let stands =
        |(name, canary): &(&'static str, &str)| forms(canary).iter().any(holds).then_some(*name);
    CANARIES.iter().filter_map(stands).collect()
}

#[test]
fn a_canary_is_found_in_each_of_its_forms() {
    for (name, canary) in CANARIES {
        for form in forms(canary) {
            assert_eq!(found(format!("<{form}>").as_bytes()), [name], "{form}");
        }
        assert_eq!(found(canary.to_ascii_uppercase().as_bytes()), [name]);
    }
    assert!(found(b"the reference ${env:PX_HEADER} itself").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_anything_that_is_written_or_said() -> Result<()> {
    let parrot = Parrot::start()?;
    let mut mesh =
        Mesh::coordinator_alone(parallax_tests::binaries!(), &REGIONS, Duration::ZERO).await?;
    for (name, canary) in CANARIES {
        mesh.allow_env(name, canary);
    }
    let names: Vec<&str> = CANARIES.iter().map(|(name, _)| *name).collect();
    let level = "info,parallax_common=trace,parallax_proto=trace,parallax_runtime=trace,\
                 parallax_coordinator=trace,parallax_probe=trace";
    mesh.set_env("PARALLAX_LOG", level);
    mesh.kill_coordinator();
    mesh.start_coordinator().await?;
    for region in REGIONS {
        mesh.issue_probe(region, region).await?;
        mesh.start_probe(region)?;
    }
    let mail = mail_parrot(&parrot).await?;
    mesh.apply(&configuration(parrot.address, &mail, &mesh.sink.url())).await?;
    let api = mesh.api().await?;
    let ways = ["host", "scheme", "loop", "status", "header", "body"];
    for way in ways {
        until::verdict(&api, way, v1::Verdict::Down).await?;
    }
    // Each contact was tried for each of them, and what came of it is in the record.
    // What nobody answers for waits in line: one of the pages to `lost` tries for all of them.
    let tried = "five contacts tried for each check, and the one that is lost for one";
    wait_until(STALE, tried, || async {
        let (mut untold, mut lost) = (Vec::new(), 0);
        for way in ways {
            let incidents = api.incidents_of(way).await?;
            let deliveries = incidents.iter().flat_map(|incident| &incident.deliveries);
            let told = deliveries.filter(|page| page.sent_at.is_some() || page.attempts > 0);
            let (of_lost, others): (Vec<_>, Vec<_>) =
                told.partition(|page| page.contact_name == "lost");
            lost += of_lost.len();
            if others.len() < 5 {
                untold.push(way);
            }
        }
        Ok(Look::when(untold.is_empty() && lost > 0, (untold, lost)))
    })
    .await?;

    // The secrets were used: each of them has reached the parrot.
    let heard = found(parrot.heard().as_bytes());
    assert_eq!(heard, names, "not all of them were sent");

    let mut seen = said(&mesh, &ways).await?;
    // A page holds evidence, too.
    let pages = mesh.sink.pages();
    ensure!(pages.len() >= ways.len(), "{pages:?}");
    for page in pages {
        ensure!(page.manner == Manner::Answer(200), "{page:?}");
        seen.insert(format!("page {}", page.key), page.body.to_string().into_bytes());
    }
    mesh.kill_coordinator();
    REGIONS.iter().for_each(|region| mesh.kill_probe(region));
    let files = files_below(mesh.dir())?;
    ensure!(files.len() > 10, "{files:?}");
    for path in files {
        let name = path.display().to_string();
        seen.insert(name, std::fs::read(path)?);
    }
    let mut leaks = Vec::new();
    for (place, bytes) in &seen {
        let names = found(bytes);
        if !names.is_empty() {
            leaks.push(format!("{place}: {}", names.join(", ")));
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    mesh.told();
    Ok(())
}

/// What the command line and the public endpoints say, by where it was asked.
async fn said(mesh: &Mesh, ways: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut seen = BTreeMap::new();
    let mut asked: Vec<Vec<String>> = [
        "status",
        "check list",
        "contact list",
        "contact get slack",
        "contact get telegram",
        "contact get mail",
        "contact test slack",
        "contact test telegram",
        "contact test mail",
        "region list",
        "probe list",
        "incident list",
        "probe get eu-west",
        "cluster status",
    ]
    .map(|words| words.split(' ').map(str::to_owned).collect())
    .to_vec();
    for way in ways {
        for verb in ["get", "explain"] {
            asked.push(["check", verb, way].map(str::to_owned).to_vec());
        }
    }
    let listed = mesh.px_json(&["incident", "list"]).await?;
    for uid in uids(&listed) {
        asked.push(["incident", "get", &uid].map(str::to_owned).to_vec());
    }
    let path = mesh.path("apply.yaml");
    asked.push(["diff", "-f", &path].map(str::to_owned).to_vec());
    let mut succeeded = 0;
    for words in asked {
        for form in ["table", "json", "yaml"] {
            let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
            args.extend(["--output", form]);
            let output = mesh.px(&args).await?;
            succeeded += usize::from(output.status.success());
            let mut bytes = output.stdout;
            bytes.extend(output.stderr);
            seen.insert(format!("parallax {}", args.join(" ")), bytes);
        }
    }
    ensure!(succeeded > 3 * ways.len(), "hardly any command works: {:?}", seen.keys());
    let backup = mesh.path("backup");
    mesh.px_ok(&["backup", &backup]).await?;
    for path in ["/metrics", "/healthz", "/readyz", "/"] {
        let answer = http::get(&mesh.ports()?.public, path).await?;
        seen.insert(path.to_owned(), answer.body.into_bytes());
    }
    Ok(seen)
}

fn uids(listed: &serde_json::Value) -> Vec<String> {
    let all = listed.as_array().or_else(|| listed["incidents"].as_array());
    let uid = |incident: &serde_json::Value| Some(incident["uid"].as_str()?.to_owned());
    all.into_iter().flatten().filter_map(uid).collect()
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())?),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(files)
}
