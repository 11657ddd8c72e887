//! The examples of `docs/checks/http.md`, run against a small server that says what it was sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use parallax_common::check::{HttpAuth, HttpVersion, StepKind};
use parallax_common::outcome::{Outcome, Reason};
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;
use parallax_proto::convert::{check, resource};
use parallax_proto::v1;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::talk::config;
use super::{blocks, file, sources};
use crate::config::load;

/// `{"packed":true}`, as `gzip -9` writes it.
const PACKED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0x02, 0x03, 0xab, 0x56, 0x2a, 0x48, 0x4c, 0xce, 0x4e, 0x4d,
    0x51, 0xb2, 0x2a, 0x29, 0x2a, 0x4d, 0xad, 0x05, 0x00, 0x89, 0xe0, 0xb5, 0xdc, 0x0f, 0, 0, 0,
];

/// Answers each request by its path: a redirect, something packed, or what was sent, as JSON.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: impl Read + Write) {
    let mut sent = Vec::new();
    let mut byte = [0];
    while !sent.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        sent.push(byte[0]);
    }
    let head = String::from_utf8(sent).unwrap();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let length: usize = header("content-length: ").map_or(0, |length| length.parse().unwrap());
    // Who does not trust the server does not ask it.
    if stream.read_exact(&mut vec![0; length]).is_err() || head.is_empty() {
        return;
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (extra, body) = match path {
        "/old" => ("HTTP/1.1 302 Found\r\nlocation: /new\r\n", b"moved".to_vec()),
        "/oauth2/token" => {
            let token = r#"{"access_token": "t0ken", "token_type": "bearer", "expires_in": 60}"#;
            ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n", token.into())
        }
        "/packed" => ("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n", PACKED.to_vec()),
        _ => {
            let authorization = header("authorization: ").unwrap_or_default();
            let told = serde_json::json!({
                "method": method, "path": path, "body": length, "authorization": authorization,
            });
            ("HTTP/1.1 200 OK\r\n", told.to_string().into_bytes())
        }
    };
    let head = format!("{extra}content-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}

/// The same over TLS.
fn serve_secure(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                answer(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
            });
        }
    });
    address
}

/// A proxy that leads to `target`, whatever it is asked for: CONNECT, and SOCKS 5 without a login.
fn proxy(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut first = [0; 3];
                stream.read_exact(&mut first).unwrap();
                if first[0] == 5 {
                    stream.write_all(&[5, 0]).unwrap();
                    // For an IPv4 address.
                    stream.read_exact(&mut [0; 10]).unwrap();
                    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
                } else {
                    let (mut head, mut byte) = (first.to_vec(), [0]);
                    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let knows = head.contains("proxy-authorization: Basic cHJvYmU6czNjcmV0\r\n");
                    let status = if knows { "200 OK" } else { "407 Who" };
                    stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).unwrap();
                }
                let mut far = TcpStream::connect(target).unwrap();
                let mut back = (far.try_clone().unwrap(), stream.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
                let _ = std::io::copy(&mut stream, &mut far);
            });
        }
    });
    address
}

#[tokio::test]
async fn every_example_of_http_does_what_the_page_says() {
    let address = serve();
    let proxy = proxy(address);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "s3cret\n").unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["probe".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(dir.path().join("probe.pem"), own.pem()).unwrap();
    std::fs::write(dir.path().join("probe.key"), key.serialize_pem()).unwrap();
    let (config, authority) = config();
    let secure = serve_secure(config);
    let secrets = || Secrets::new(vec![], vec![dir.path().to_owned()]);
    let (mut run, mut left) = (0, 0);
    for (word, line, block) in blocks(&file("docs/checks/http.md")) {
        if word != "yaml" {
            continue;
        }
        let text = block
            .replace("http://shop.example/", &format!("http://{address}/"))
            .replace("proxy.example:3128", &proxy.to_string())
            .replace("socks.example:1080", &proxy.to_string())
            .replace("/etc/parallax/", &format!("{}/", dir.path().display()));
        let loaded = load(sources("docs/checks/http.md", &text));
        let loaded = loaded.unwrap_or_else(|wrong| panic!("line {line}: {:#?}", wrong.diagnostics));
        for located in &loaded.resources {
            let normal = resource::normalise(located.resource.clone());
            let Some(v1::resource::Kind::Check(mut wire)) = normal.kind else { continue };
            wire.meta.get_or_insert_default().uid = "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".into();
            let mut built = check::check(&wire).unwrap();
            let StepKind::Http(step) = &mut built.run.steps[0].kind else { panic!("an http step") };
            // HTTP/2 is spoken by the probe's own tests, HTTP/3 by `http3`.
            if matches!(step.version, HttpVersion::V2 | HttpVersion::V3) {
                left += 1;
                continue;
            }
            let is_secure = step.url.starts_with("https:");
            if is_secure {
                // The page's server, and its authority, are these.
                let (_, path) = step.url["https://".len()..].split_once('/').unwrap();
                step.url = format!("https://{secure}/{path}");
                step.tls.server_name.get_or_insert("internal.example".to_owned());
                step.tls.ca_pem = (!step.tls.insecure).then(|| authority.as_str().into());
                if let Some(HttpAuth::OAuth2(oauth2)) = &mut step.auth {
                    oauth2.token_url = format!("https://{secure}/oauth2/token");
                }
            }
            let execution = Executor::new(secrets(), None, None).run(&built.run).await;
            let finding = execution.finding;
            assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", built.name);
            // Each expectation can fail: the run of a check that expects the contrary does.
            for expectation in &built.run.expect {
                let mut contrary = built.run.clone();
                contrary.expect = vec!["status > 0".into(), format!("!({expectation})")];
                let finding = Executor::new(secrets(), None, None).run(&contrary).await.finding;
                assert_eq!(finding.outcome, Outcome::Fail, "{expectation}: {finding:?}");
            }
            if is_secure {
                let mut distrusts = built.run.clone();
                let StepKind::Http(step) = &mut distrusts.steps[0].kind else { panic!("http") };
                let asks = step.auth.is_some();
                (step.tls.ca_pem, step.tls.insecure) = (None, false);
                let finding = Executor::new(secrets(), None, None).run(&distrusts).await.finding;
                let reason = if asks { Reason::AuthTokenFailed } else { Reason::TlsUntrusted };
                assert_eq!(finding.reason, Some(reason), "{} (line {line})", built.name);
            }
            run += 1;
        }
    }
    assert!(run >= 14 && left == 2, "{run} were run, {left} were not");
}
