//! The signals that a process heeds: two that ask it to end, one that asks it to read its file again.

use std::future::Future;
use std::pin::pin;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Waits for SIGTERM or SIGINT. Never returns where neither can be listened for.
pub async fn terminated() {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Runs `process` to its end. SIGTERM or SIGINT cancels `stop`, upon which it is to end; each SIGHUP calls
/// `hangup`, and ends nothing.
pub async fn run<T>(
    process: impl Future<Output = T>,
    stop: CancellationToken,
    mut hangup: impl FnMut(),
) -> T {
    let mut hangups = signal(SignalKind::hangup()).ok();
    let (mut process, mut terminated) = (pin!(process), pin!(terminated()));
    let mut stopping = false;
    loop {
        let next = async {
            match &mut hangups {
                Some(hangups) => hangups.recv().await,
                None => None,
            }
        };
        tokio::select! {
            ended = &mut process => return ended,
            () = &mut terminated, if !stopping => {
                info!("stopping");
                stopping = true;
                stop.cancel();
            }
            Some(()) = next => hangup(),
        }
    }
}
