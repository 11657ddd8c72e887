//! The examples of `docs/checks/tcp.md`, `udp.md` and `ssh.md`, run against small servers that say what
//! those of the pages do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use parallax_common::check::{Check, StepKind};
use parallax_common::outcome::Outcome;
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{examples, judged};

/// Shakes hands in place of saying something.
const SECURE: &[u8] = b"(handshake)";

/// What a server waits for, and what it says then.
type Script = Vec<(&'static [u8], Vec<u8>)>;

fn script(check: &str) -> Script {
    let text = |lines: &[(&'static str, &str)]| -> Script {
        lines.iter().map(|(hear, say)| (hear.as_bytes(), say.as_bytes().to_vec())).collect()
    };
    let mut script = match check {
        "database"
        | "cluster"
        | "cluster-of-ours"
        | "cluster-written-out"
        | "cluster-unverified" => text(&[]),
        "mail" => text(&[
            ("", "220 mail.example ESMTP\r\n"),
            ("EHLO [127.0.0.1]\r\n", "250-mail.example\r\n250 STARTTLS\r\n"),
            ("STARTTLS\r\n", "220 go ahead\r\n"),
        ]),
        "directory" => text(&[(
            "1.3.6.1.4.1.1466.20037",
            "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00",
        )]),
        "pop" => text(&[
            ("", "+OK ready <17.4@mail.example>\r\n"),
            ("NOOP <17.4@mail.example>\r\n", "+OK noop 3\r\n"),
            ("QUIT\r\n", "+OK bye\r\n"),
        ]),
        "cache" => text(&[("PING\r\n", "+PONG\r\n"), ("QUIT\r\n", "+OK\r\n")]),
        "bastion" | "policy" => vec![(&b"SSH-2.0-parallax_"[..], offer())],
        other => panic!("which server is that of {other}?"),
    };
    if matches!(check, "mail" | "directory") || check.starts_with("cluster") {
        script.push((b"", SECURE.to_vec()));
    }
    script
}

/// What an SSH server says.
fn offer() -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    let lists =
        ["curve25519-sha256", "ssh-ed25519", "aes128-ctr", "aes128-ctr", "hmac-sha2-256", "none"];
    for list in lists.into_iter().chain(["none", "none", "", ""]) {
        payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
        payload.extend(list.bytes());
    }
    payload.extend([0; 5]);
    let padding = 4 + (8 - (9 + payload.len()) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes();
    let head = [&length[..], &[u8::try_from(padding).unwrap()]].concat();
    [&b"SSH-2.0-OpenSSH_9.9p1 Debian-3\r\n"[..], &head, &payload, &vec![0; padding]].concat()
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn play(stream: TcpStream, script: &Script, config: &Arc<ServerConfig>) -> std::io::Result<()> {
    let plain = stream.try_clone()?;
    let mut stream: Box<dyn ReadWrite> = Box::new(stream);
    for (hear, say) in script {
        let (mut heard, mut byte) = (Vec::new(), [0]);
        while !heard.ends_with(hear) {
            stream.read_exact(&mut byte)?;
            heard.push(byte[0]);
        }
        if say == SECURE {
            let session = ServerConnection::new(Arc::clone(config)).unwrap();
            stream = Box::new(StreamOwned::new(session, plain.try_clone()?));
        } else {
            stream.write_all(say)?;
        }
        stream.flush()?;
    }
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn serve(check: &str, config: &Arc<ServerConfig>) -> SocketAddr {
    let (script, config) = (script(check), Arc::clone(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = play(stream, &script, &config);
        }
    });
    address
}

/// Answers a question about a game, and one about the time.
fn serve_datagrams() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let answer = match &packet[..length] {
                b"status\n" => b"players 3/8".to_vec(),
                [0x23, rest @ ..] if rest.len() == 47 => [&[0x24][..], rest].concat(),
                _ => continue,
            };
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

/// A server's configuration with a certificate for the names of the page, and the authority that
/// has signed it.
pub(super) fn config() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let authority = Issuer::new(params, key);
    let names = [
        "mail.example",
        "ldap.example",
        "db.example",
        "internal.example",
        "dns.shop.example",
        "127.0.0.1",
    ];
    let names = names.map(str::to_owned).to_vec();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        );
    (Arc::new(config.unwrap()), pem)
}

pub(super) async fn pass(page: &str, least: usize, mut place: impl FnMut(&mut Check)) {
    let examples = examples(page);
    assert!(examples.len() >= least, "{} examples", examples.len());
    for (line, mut check) in examples {
        place(&mut check);
        let secrets = Secrets::new(vec![], vec![std::env::temp_dir()]);
        let executor = Executor::new(secrets, None, None);
        let run = &check.run;
        let finding = judged(&executor, run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", check.name);
        // Each of its expressions can fail: the contrary does.
        for expression in run.expect.iter().chain(&run.warn) {
            let mut contrary = run.clone();
            contrary.warn.clear();
            contrary.expect = vec![format!("!({expression})")];
            let finding = judged(&executor, &contrary).await;
            assert_eq!(finding.outcome, Outcome::Fail, "{expression}: {finding:?}");
        }
    }
}

#[tokio::test]
async fn every_example_of_tcp_does_what_the_page_says() {
    let (config, pem) = config();
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["probe".to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).unwrap();
        format!("${{file:{}}}", dir.path().join(name).display())
    };
    let (cert, key) = (file("cert", cert.pem()), file("key", key.serialize_pem()));
    pass("docs/checks/tcp.md", 6, |check| {
        let address = serve(&check.name, &config);
        let StepKind::Tcp(step) = &mut check.run.steps[0].kind else { panic!("a tcp step") };
        let host = std::mem::replace(&mut step.host, address.ip().to_string());
        step.port = address.port();
        if let Some(tls) = &mut step.tls {
            tls.server_name.get_or_insert(host);
            tls.ca_pem = (!tls.insecure).then(|| pem.clone().into());
            if let Some(client) = &mut tls.client {
                (client.cert, client.key) = (cert.clone(), key.clone());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_example_of_udp_does_what_the_page_says() {
    let address = serve_datagrams();
    pass("docs/checks/udp.md", 4, |check| {
        let StepKind::Udp(step) = &mut check.run.steps[0].kind else { panic!("a udp step") };
        (step.host, step.port) = (address.ip().to_string(), address.port());
    })
    .await;
}

#[tokio::test]
async fn every_example_of_ssh_does_what_the_page_says() {
    let (config, _) = config();
    pass("docs/checks/ssh.md", 2, |check| {
        let address = serve(&check.name, &config);
        let StepKind::Ssh(step) = &mut check.run.steps[0].kind else { panic!("an ssh step") };
        (step.host, step.port) = (address.ip().to_string(), address.port());
    })
    .await;
}
