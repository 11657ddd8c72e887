//! The examples of `docs/checks/websocket.md`, run against a small server that does what those of the
//! page do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parallax_common::check::StepKind;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConnection, StreamOwned};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use super::talk::{config, pass};

pub(super) fn serve<S: Read + Write>(mut stream: S) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let Some(key) = key else { return };
    let both = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, both.as_bytes());
    let chosen = match head.contains("chat.v2") {
        true => "sec-websocket-protocol: chat.v2\r\nx-served-by: edge\r\n",
        false => "",
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {}\r\n{chosen}\r\n",
        STANDARD.encode(hash)
    );
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.flush();
    let mut websocket = WebSocket::from_raw_socket(stream, Role::Server, None);
    loop {
        let said = match websocket.read() {
            Ok(Message::Text(text)) if text.contains("hello") => {
                Message::text(r#"{"op": "welcome", "session": "a1b2"}"#)
            }
            Ok(Message::Text(text)) if text.contains(r#""session": "a1b2""#) => {
                Message::text(r#"{"op": "joined"}"#)
            }
            Ok(Message::Binary(bytes)) => Message::Binary(bytes),
            Ok(_) => continue,
            Err(_) => return,
        };
        let _ = websocket.send(said);
    }
}

#[tokio::test]
async fn every_example_of_websocket_does_what_the_page_says() {
    let (config, pem) = config();
    let listen = |secure: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::clone(&config);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                std::thread::spawn(move || match secure {
                    false => serve(stream),
                    true => {
                        let session = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(session, stream));
                    }
                });
            }
        });
        address
    };
    let (plain, secure) = (listen(false), listen(true));
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["probe".to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).unwrap();
        format!("${{file:{}}}", dir.path().join(name).display())
    };
    let (cert, key) = (file("cert", cert.pem()), file("key", key.serialize_pem()));
    pass("docs/checks/websocket.md", 3, |check| {
        let StepKind::Websocket(step) = &mut check.run.steps[0].kind else {
            panic!("a websocket step")
        };
        let address = if step.is_secure() { secure } else { plain };
        if step.is_secure() {
            step.tls.server_name = Some("mail.example".to_owned());
            step.tls.ca_pem = (!step.tls.insecure).then(|| pem.clone().into());
            if let Some(client) = &mut step.tls.client {
                (client.cert, client.key) = (cert.clone(), key.clone());
            }
        }
        step.url = step.url.replace("shop.example", &address.to_string());
    })
    .await;
}
