//! The coordinator and the probes of a dev mesh: the binaries' own `run()`, as tasks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::dev::DevError;
use crate::dev::mesh::{MESH, starting};
use crate::dev::place::{Place, REGIONS, Sources};

/// The coordinator listens long before this.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A member of the mesh that has ended, and what it said.
pub(super) struct Ended {
    who: String,
    why: String,
}

/// The coordinator and the probes.
pub(super) struct Members {
    pub(super) bound: parallax_coordinator::Bound,
    pub(super) coordinator: Supervisor,
    pub(super) probes: Supervisor,
    /// So that the end of the last member is not the end of the channel.
    _ended: mpsc::Sender<Ended>,
}

impl Members {
    pub(super) async fn start(
        place: &Place,
        sources: &Sources,
        ended: mpsc::Sender<Ended>,
        endings: &mut mpsc::Receiver<Ended>,
    ) -> Result<Self, DevError> {
        let coordinator = Supervisor::new(CancellationToken::new());
        let probes = Supervisor::new(CancellationToken::new());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = parallax_coordinator::Config {
            mesh: MESH.to_owned(),
            node_id: 1,
            name: "c1".to_owned(),
            data_dir: place.data("c1"),
            tls_dir: place.tls("c1"),
            listen_api: any,
            listen_probes: any,
            listen_public: Some(any),
            advertise_probes: None,
            allow_env: Vec::new(),
            allow_files: Vec::new(),
            ports_file: None,
        };
        let (ready, bound) = oneshot::channel();
        let (stop, end) = (coordinator.stop_token(), ended.clone());
        coordinator.spawn(TaskKind::Session("coordinator"), async move {
            let result = parallax_coordinator::run(config, stop, ready).await;
            tell(&end, "the coordinator", result).await;
        });
        let bound = tokio::select! {
            bound = tokio::time::timeout(START_WITHIN, bound) => bound,
            Some(ended) = endings.recv() => return Err(ended.error(place)),
        };
        let bound = match bound {
            Ok(Ok(bound)) => bound,
            Ok(Err(_)) => {
                // It ended without listening; what it said comes right behind.
                let ended = endings.recv().await;
                return Err(ended.map_or(late(), |ended| ended.error(place)));
            }
            Err(_) => return Err(late()),
        };
        for region in REGIONS {
            let config = parallax_probe::Config {
                tls_dir: place.tls(region),
                coordinators: vec![bound.probes.to_string()],
                data_dir: Some(place.data(region)),
                source_address: sources.address(region),
                allow_env: Vec::new(),
                allow_files: Vec::new(),
                health: None,
                extra_header: sources.header(region),
            };
            let (stop, end) = (probes.stop_token(), ended.clone());
            probes.spawn(TaskKind::Session("probe"), async move {
                let result = parallax_probe::run(config, stop).await;
                tell(&end, &format!("the probe of {region}"), result).await;
            });
        }
        Ok(Self { bound, coordinator, probes, _ended: ended })
    }
}

fn late() -> DevError {
    starting("the coordinator")(io::ErrorKind::TimedOut.into())
}

async fn tell<E: std::error::Error>(end: &mpsc::Sender<Ended>, who: &str, result: Result<(), E>) {
    let why = match result {
        Ok(()) => "it was not asked to".to_owned(),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            text
        }
    };
    tracing::info!(who, why, "a member has ended");
    // While the mesh stops nobody listens any more.
    let _ = end.try_send(Ended { who: who.to_owned(), why });
}

impl Ended {
    pub(super) fn error(self, place: &Place) -> DevError {
        DevError::Ended { what: self.who, why: self.why, log: place.log() }
    }
}
