//! Targets that take everything and answer nothing, until their clients give up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Result;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::harness::http;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Silent {
    supervisor: Supervisor,
    heard: Arc<AtomicU64>,
}

impl Silent {
    /// Listens at all of these addresses.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub fn start(at: impl Iterator<Item = SocketAddr>) -> Result<Self> {
        let (supervisor, heard) = (Supervisor::default(), Arc::<AtomicU64>::default());
        for address in at {
            let listener = http::listen(address)?;
            let (tasks, heard) = (supervisor.clone(), Arc::clone(&heard));
            supervisor.spawn(TaskKind::Session("silent target"), take(listener, tasks, heard));
        }
        Ok(Self { supervisor, heard })
    }

    /// Connections on which somebody has said something.
    pub fn heard(&self) -> u64 {
        self.heard.load(Relaxed)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

async fn take(listener: TcpListener, tasks: Supervisor, heard: Arc<AtomicU64>) {
    let stop = tasks.stop_token();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // A client that is gone already is its own business.
        let Ok((mut stream, _)) = accepted else { continue };
        let (stop, heard) = (stop.clone(), Arc::clone(&heard));
        tasks.spawn(TaskKind::Session("silent connection"), async move {
            let mut bytes = [0; 1_024];
            let mut first = true;
            let listen = async {
                while matches!(stream.read(&mut bytes).await, Ok(length) if length > 0) {
                    heard.fetch_add(u64::from(std::mem::take(&mut first)), Relaxed);
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = listen => {}
            }
        });
    }
}
