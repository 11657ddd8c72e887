//! A TCP relay that delivers every byte later: a long line between probes and coordinator.
//!
//! Each direction keeps its bytes with the moment at which they came and passes them on `one_way`
//! after it, so a delay costs time and not throughput, as distance does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::BytesMut;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::harness::http;

/// Pieces that may be under way in one direction: of 16 KiB each, more than any line holds.
const PIECES_MAX: usize = 4_096;
const PIECE_BYTES: usize = 16 * 1024;

/// A relay; it ends with its owner.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    onward: Arc<OnceLock<SocketAddr>>,
    carried: Arc<Carried>,
    supervisor: Supervisor,
}

/// Bytes that went through, by direction: from who dialled, and back to him.
#[derive(Debug, Default)]
struct Carried {
    up: AtomicU64,
    down: AtomicU64,
}

impl Relay {
    /// Listens on a port of the system's choice. Connections are closed until [`Relay::lead_to`].
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(one_way: Duration) -> Result<Self> {
        let listener = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let relay = Self {
            address: listener.local_addr()?,
            onward: Arc::default(),
            carried: Arc::default(),
            supervisor: Supervisor::default(),
        };
        let (supervisor, onward) = (relay.supervisor.clone(), Arc::clone(&relay.onward));
        let carried = Arc::clone(&relay.carried);
        relay.supervisor.spawn(TaskKind::Session("relay"), async move {
            let stop = supervisor.stop_token();
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept(listener, &onward, one_way, &carried, &supervisor) => {}
            }
        });
        Ok(relay)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that came from those who dialled, and bytes that came back, so far: what TCP carried for
    /// them, without its own headers.
    pub fn carried(&self) -> (u64, u64) {
        (self.carried.up.load(Ordering::Relaxed), self.carried.down.load(Ordering::Relaxed))
    }

    /// Says where connections lead to.
    ///
    /// # Errors
    /// When it was said before.
    pub fn lead_to(&self, address: SocketAddr) -> Result<()> {
        match self.onward.set(address) {
            Ok(()) => Ok(()),
            Err(_) => bail!("the relay leads somewhere already"),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

async fn accept(
    listener: TcpListener,
    onward: &OnceLock<SocketAddr>,
    one_way: Duration,
    carried: &Arc<Carried>,
    supervisor: &Supervisor,
) {
    loop {
        // A peer that is gone before we look is no matter.
        let Ok((near, _)) = listener.accept().await else { continue };
        let Some(onward) = onward.get().copied() else { continue };
        let Ok(far) = TcpStream::connect(onward).await else { continue };
        let nodelay = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
        if nodelay.is_err() {
            continue;
        }
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        for (from, to, is_up) in [(near_in, far_out, true), (far_in, near_out, false)] {
            let (stop, carried) = (supervisor.stop_token(), Arc::clone(carried));
            supervisor.spawn(TaskKind::Session("relayed direction"), async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = carry(from, to, one_way, if is_up { &carried.up } else { &carried.down }) => {}
                }
            });
        }
    }
}

/// Carries one direction until either end is gone. An end of stream is delivered late as well.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    one_way: Duration,
    carried: &AtomicU64,
) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, BytesMut)>(PIECES_MAX);
    let take = async move {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            let read = from.read_buf(&mut piece).await;
            carried.fetch_add(piece.len() as u64, Ordering::Relaxed);
            let due = clock::instant() + one_way;
            if sender.send((due, piece)).await.is_err() || !matches!(read, Ok(1..)) {
                return;
            }
        }
    };
    let give = async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due.into()).await;
            if piece.is_empty() || to.write_all(&piece).await.is_err() {
                // Dropping the half closes this direction.
                return;
            }
        }
    };
    tokio::join!(take, give);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_through_comes_back_two_delays_later() -> Result<()> {
        let far = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let one_way = Duration::from_millis(30);
        let relay = Relay::start(one_way)?;
        relay.lead_to(far.local_addr()?)?;
        let mut near = TcpStream::connect(relay.address()).await?;
        let (mut echo, _) = far.accept().await?;
        let began = clock::instant();
        near.write_all(b"ping").await?;
        let mut said = [0; 4];
        echo.read_exact(&mut said).await?;
        echo.write_all(&said).await?;
        drop(echo);
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).await?;
        assert_eq!(heard, b"ping");
        assert!(clock::instant() - began >= one_way * 2);
        assert_eq!(relay.carried(), (4, 4));
        Ok(())
    }
}
