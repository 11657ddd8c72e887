//! The coordinators and the probes of a dev mesh: the binaries' own `run()`, as tasks.

use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dev::DevError;
use crate::dev::coordinators::{Addresses, Coordinators};
use crate::dev::place::{Place, REGIONS, Sources};

/// A member of the mesh that has ended, and what it said.
pub(super) struct Ended {
    who: String,
    why: String,
}

/// The coordinators and the probes.
pub(super) struct Members {
    /// Where the first coordinator is bound.
    pub(super) bound: parallax_coordinator::Bound,
    /// Where people and tools reach the coordinators.
    pub(super) endpoints: Vec<String>,
    /// The way to them.
    pub(super) each: Coordinators,
    pub(super) coordinators: Supervisor,
    pub(super) probes: Supervisor,
    /// So that the end of the last member is not the end of the channel.
    _ended: mpsc::Sender<Ended>,
}

impl Members {
    pub(super) async fn start(
        place: &Place,
        plan: &[Addresses],
        sources: &Sources,
        ended: mpsc::Sender<Ended>,
        endings: &mut mpsc::Receiver<Ended>,
    ) -> Result<Self, DevError> {
        let coordinators = Supervisor::new(CancellationToken::new());
        let probes = Supervisor::new(CancellationToken::new());
        let (each, bound) =
            Coordinators::start(place, plan, &coordinators, &ended, endings).await?;
        for region in REGIONS {
            let config = parallax_probe::Config {
                tls_dir: place.tls(region),
                coordinators: plan.iter().map(|one| one.probes.to_string()).collect(),
                data_dir: Some(place.data(region)),
                spool_dir: None,
                spool_bytes_max: None,
                spool_age_max: None,
                source_address: sources.address(region),
                allow_env: Vec::new(),
                allow_files: Vec::new(),
                plugin_dirs: Vec::new(),
                plugin_env: Vec::new(),
                anchors: Vec::new(),
                allow_networks: Vec::new(),
                deny_networks: Vec::new(),
                health: None,
                extra_header: sources.header(region),
            };
            let (stop, end) = (probes.stop_token(), ended.clone());
            probes.spawn(TaskKind::Session("probe"), async move {
                let result = parallax_probe::run(config, stop).await;
                tell(&end, &format!("the probe of {region}"), result).await;
            });
        }
        let endpoints = plan.iter().map(|one| one.api.to_string()).collect();
        Ok(Self { bound, endpoints, each, coordinators, probes, _ended: ended })
    }
}

pub(super) async fn tell<E: std::error::Error>(
    end: &mpsc::Sender<Ended>,
    who: &str,
    result: Result<(), E>,
) {
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
