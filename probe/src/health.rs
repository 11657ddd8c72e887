//! `/healthz`, `/readyz` and `/metrics`, when switched on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::metrics::Metrics;

/// Serves the endpoints until the stop; the address it listens on.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    supervisor: &Supervisor,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let ready = Arc::clone(&metrics);
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                match ready.sessions.load(Relaxed) {
                    0 => (StatusCode::SERVICE_UNAVAILABLE, "no coordinator is connected\n"),
                    _ => (StatusCode::OK, "ok\n"),
                }
            }),
        )
        .route("/metrics", get(move || async move { metrics.text() }));
    let stop = supervisor.stop_token();
    supervisor.spawn(TaskKind::Session("health"), async move {
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = serving.await {
            warn!(%error, "the health endpoint ended");
        }
    });
    info!(address = %bound, "health endpoint listening");
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Status and body of an answer.
    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    #[tokio::test]
    async fn readiness_follows_the_sessions_and_metrics_are_text() {
        let metrics = Arc::new(Metrics::default());
        let supervisor = Supervisor::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = serve(any, Arc::clone(&metrics), &supervisor).await.unwrap();
        assert_eq!(get(address, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(get(address, "/readyz").await.0, 503);
        metrics.sessions.store(1, Relaxed);
        assert_eq!(get(address, "/readyz").await.0, 200);
        metrics.runs_panicked.store(3, Relaxed);
        let (status, text) = get(address, "/metrics").await;
        assert_eq!(status, 200);
        for line in ["parallax_probe_sessions 1", "parallax_probe_runs_panicked_total 3"] {
            assert!(text.lines().any(|of| of == line), "{line} in {text}");
        }
        assert_eq!(get(address, "/other").await.0, 404);
        // A second one cannot have the same address, and says so.
        assert!(serve(address, metrics, &supervisor).await.is_err());
        supervisor.stop();
        assert!(supervisor.join(std::time::Duration::from_secs(20)).await);
    }
}
