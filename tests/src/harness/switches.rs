//! Many targets behind one port: each path is a switch of its own, well or broken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::{TcpListener, TcpStream};

use super::http;

#[derive(Debug, Default)]
struct Shared {
    broken: BTreeSet<String>,
    requests: BTreeMap<String, u64>,
}

/// An HTTP server whose paths answer 200, and 503 while they are broken. It ends with its owner.
#[derive(Debug)]
pub struct Switches {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    supervisor: Supervisor,
}

impl Switches {
    /// All are well, on a port of the system's choice.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start() -> Result<Self> {
        let listener = http::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (shared, supervisor) = (Arc::<Mutex<Shared>>::default(), Supervisor::default());
        let (tasks, known) = (supervisor.clone(), Arc::clone(&shared));
        supervisor.spawn(TaskKind::Session("switches"), accept(listener, tasks, known));
        Ok(Self { address, shared, supervisor })
    }

    /// Where a switch is looked at.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// From now on it fails.
    pub fn breaks(&self, name: &str) {
        self.lock().broken.insert(format!("/{name}"));
    }

    /// From now on it is well.
    pub fn heals(&self, name: &str) {
        self.lock().broken.remove(&format!("/{name}"));
    }

    /// Looks at it so far.
    pub fn requests(&self, name: &str) -> u64 {
        self.lock().requests.get(&format!("/{name}")).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Switches {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

async fn accept(listener: TcpListener, tasks: Supervisor, shared: Arc<Mutex<Shared>>) {
    let stop = tasks.stop_token();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // A probe that gave up while it connected is its own business.
        let Ok((stream, _)) = accepted else { continue };
        let (stop, shared) = (stop.clone(), Arc::clone(&shared));
        tasks.spawn(TaskKind::Session("look at a switch"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(stream, &shared) => {}
            }
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Mutex<Shared>) {
    let Ok(Some(request)) = http::read_request(&mut stream).await else { return };
    let broken = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        *shared.requests.entry(request.path.clone()).or_default() += 1;
        shared.broken.contains(&request.path)
    };
    let (status, body) = if broken { (503, "broken") } else { (200, "well") };
    // A probe that left before the answer is its own business.
    drop(http::answer(&mut stream, status, body).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_switch_breaks_and_heals_beside_the_others() -> Result<()> {
        let switches = Switches::start()?;
        let address = switches.address.to_string();
        switches.breaks("a");
        assert_eq!(http::get(&address, "/a").await?.status, 503);
        assert_eq!(http::get(&address, "/b").await?.status, 200);
        switches.heals("a");
        assert_eq!(http::get(&address, "/a").await?.status, 200);
        assert_eq!((switches.requests("a"), switches.requests("b")), (2, 1));
        assert_eq!(switches.url("a"), format!("http://{address}/a"));
        Ok(())
    }
}
