//! Where the demo pages go: a webhook that prints what it gets.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::dev::screen::Screen;

/// A page. Larger ones are answered 413.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Senders at once; more wait in the accept queue.
const CONNECTIONS_MAX: usize = 64;

/// Binds this loopback port (0: any), prints the pages that come to it until the stop, and gives back where.
pub async fn serve(port: u16, screen: Screen, supervisor: &Supervisor) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    let (stop, tasks) = (supervisor.stop_token(), supervisor.clone());
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    supervisor.spawn(TaskKind::Session("sink"), async move {
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the page sink cannot accept");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let (screen, stop) = (screen.clone(), stop.clone());
            tasks.spawn(TaskKind::Session("sink connection"), async move {
                let service = service_fn(|request| {
                    let screen = screen.clone();
                    async move { Ok::<_, Infallible>(take(request, &screen).await) }
                });
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new());
                let served = builder.serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    () = stop.cancelled() => {}
                    served = served => if let Err(error) = served {
                        tracing::debug!(%error, "a sender of pages went away");
                    },
                }
                drop(permit);
            });
        }
    });
    Ok(address)
}

async fn take(request: Request<Incoming>, screen: &Screen) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await
    {
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Ok(body) => match serde_json::from_slice(&body.to_bytes()) {
            Ok(page) => {
                screen.event("PAGE", &line(&page));
                StatusCode::NO_CONTENT
            }
            Err(_) => StatusCode::BAD_REQUEST,
        },
    };
    response
}

/// A page in one line.
fn line(page: &serde_json::Value) -> String {
    let text = |name: &str| page.get(name).and_then(serde_json::Value::as_str).unwrap_or("?");
    // What comes over the wire may hold anything; the terminal gets text.
    let clean = |text: &str| text.replace(|c: char| c.is_control(), " ");
    format!("{}: {}", clean(text("kind")), clean(text("summary")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Write::write(&mut *self.0.lock().unwrap(), bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn post(address: SocketAddr, body: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nhost: s\r\ncontent-length: {length}\r\n");
        let request = format!("{head}connection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer[9..12].to_owned()
    }

    #[tokio::test]
    async fn pages_are_printed_and_other_things_refused() {
        let (paper, supervisor) = (Paper::default(), Supervisor::default());
        let address = serve(0, Screen::to(paper.clone()), &supervisor).await.unwrap();
        let page = "{\"version\":1,\"kind\":\"opened\",\"summary\":\"shop is down\\u001b[2J\"}";
        assert_eq!(post(address, page).await, "204");
        assert_eq!(post(address, "hello").await, "400");
        supervisor.stop();
        assert!(supervisor.join(Duration::from_secs(5)).await);
        let printed = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert!(printed.ends_with("  PAGE      opened: shop is down [2J\n"), "{printed:?}");
        assert_eq!(printed.lines().count(), 1);
    }
}
