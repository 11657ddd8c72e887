//! The examples of `docs/checks/steps.md`, run against a small shop and its queue.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use parallax_common::check::StepKind;

use super::talk::pass;

/// Reads until what was asked for is there, or nothing more comes.
fn heard(stream: &mut TcpStream, end: &[u8]) -> String {
    let (mut heard, mut byte) = (Vec::new(), [0]);
    while !heard.ends_with(end) && stream.read(&mut byte).unwrap_or(0) == 1 {
        heard.push(byte[0]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

fn shop(mut stream: TcpStream) {
    let head = heard(&mut stream, b"\r\n\r\n");
    let body = if head.starts_with("POST") { heard(&mut stream, b"}") } else { String::new() };
    let has = |words: &[&str]| words.iter().all(|word| head.contains(word));
    let (status, said) = if has(&["POST /login "]) && body == r#"{"user": "probe"}"# {
        (200, r#"{"token": "t0ken", "user": {"id": 42}}"#.to_owned())
    } else if has(&["GET /users/42/orders ", "Bearer t0ken", "x-trace: a1"]) {
        (200, r#"{"user": 42, "orders": [7]}"#.to_owned())
    } else if has(&["POST /tickets "]) {
        (200, body)
    } else {
        (404, String::new())
    };
    let length = said.len();
    let answer =
        format!("HTTP/1.1 {status} x\r\nx-trace: a1\r\ncontent-length: {length}\r\n\r\n{said}");
    let _ = stream.write_all(answer.as_bytes());
}

fn queue(mut stream: TcpStream) {
    if heard(&mut stream, b"\n") == "ticket\n" {
        let _ = stream.write_all(b"ticket 17\n");
        let _ = stream.read(&mut [0]);
    }
}

fn serve(each: fn(TcpStream)) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

#[tokio::test]
async fn every_example_of_steps_does_what_the_page_says() {
    let (shop, queue) = (serve(shop), serve(queue));
    pass("docs/checks/steps.md", 2, |check| {
        for step in &mut check.run.steps {
            match &mut step.kind {
                StepKind::Http(http) => {
                    let here = format!("http://{shop}");
                    http.url = http.url.replace("https://shop.example", &here);
                }
                StepKind::Tcp(tcp) => {
                    (tcp.host, tcp.port) = (queue.ip().to_string(), queue.port());
                }
                _ => panic!("an http or a tcp step"),
            }
        }
    })
    .await;
}
