//! The probe of Parallax: runs checks on time and streams what it saw.
//!
//! [`core`] decides and is pure; everything else waits. Follow one check: a session ([`session`])
//! brings its assignment, the owner task ([`owner`]) starts its runs, [`execute`] carries one out,
//! and the owner hands what it found to every session. [`run`] puts them together.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::CommandFactory as _;
use http::{HeaderName, HeaderValue};
use parallax_common::limits::{ANCHORS_MAX, SPOOL_BYTES_MAX};
use parallax_common::name::Incarnation;
use parallax_runtime::logging::Log;
use parallax_runtime::settings::{self, Gathered, Settings};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Credentials, CredentialsError, Identity};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub mod bulk;
pub mod cache;
pub mod clock;
pub mod config;
pub mod core;
pub mod execute;
pub mod health;
pub mod metrics;
pub mod owner;
pub mod self_health;
pub mod session;
pub mod spool;
pub mod state;
pub mod wire;

pub use config::Config;

/// Events of sessions that wait for the owner; at it sessions wait.
const EVENTS: usize = 1_024;
/// Time for goodbyes at the end.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// How often the clock's offset is written down.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Why a probe cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The certificate, key or authority cannot be used.
    #[error("cannot use the TLS files in {dir}")]
    Credentials {
        /// Where they were looked for.
        dir: PathBuf,
        /// Why.
        #[source]
        source: CredentialsError,
    },
    /// The certificate is somebody else's.
    #[error("the certificate is that of {0}, not of a probe")]
    NotAProbe(String),
    /// Nobody to dial.
    #[error("no coordinator is given")]
    NoCoordinators,
    /// The remembered mesh is another one.
    #[error("the data directory belongs to mesh {remembered:?}, the certificate to {own:?}")]
    OtherMesh {
        /// From the data directory.
        remembered: String,
        /// From the certificate.
        own: String,
    },
    /// The guard has too many networks.
    #[error(transparent)]
    Networks(#[from] core::guard::TooManyNetworks),
    /// More anchors than there may be.
    #[error("--anchor is given {0} times; at most {ANCHORS_MAX} are watched")]
    Anchors(usize),
    /// The extra header cannot be sent.
    #[error("{0:?} cannot be sent as a header")]
    ExtraHeader(String),
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// The spool's directory cannot be used.
    #[error("cannot use {dir} for the spool; if another probe uses it, give each its own")]
    Spool {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: spool::holder::OpenError,
    },
    /// The health endpoint cannot listen.
    #[error("cannot listen on {address} for health and metrics")]
    Health {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A coordinator ended this probe for good.
    #[error("a coordinator ended this probe: {0}")]
    Dismissed(String),
    /// A part that nothing works without has ended.
    #[error("a vital task ended, see the log")]
    Vital,
}

/// Runs a probe until `stop` is cancelled, or a coordinator dismisses it.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let stop = stop.child_token();
    let supervisor = Supervisor::new(stop.clone());
    let credentials = Credentials::load(&config.tls_dir)
        .map_err(|source| RunError::Credentials { dir: config.tls_dir.clone(), source })?;
    let Identity::Probe { mesh, region, name } = credentials.identity().clone() else {
        return Err(RunError::NotAProbe(credentials.identity().describe()));
    };
    if config.coordinators.is_empty() {
        return Err(RunError::NoCoordinators);
    }
    let extra_header = match &config.extra_header {
        None => None,
        Some((header, value)) => Some(
            HeaderName::try_from(header.as_str())
                .ok()
                .zip(HeaderValue::try_from(value.as_str()).ok())
                .ok_or_else(|| RunError::ExtraHeader(header.clone()))?,
        ),
    };
    let guard = core::guard::Guard::new(&config.allow_networks, &config.deny_networks)?;
    if config.anchors.len() > ANCHORS_MAX {
        return Err(RunError::Anchors(config.anchors.len()));
    }
    let remembered = match &config.data_dir {
        Some(dir) => state::load(dir)?,
        None => state::State::default(),
    };
    if !remembered.mesh.is_empty() && remembered.mesh != mesh {
        return Err(RunError::OtherMesh { remembered: remembered.mesh, own: mesh });
    }
    credentials.watch(&supervisor);

    let boot_id = parallax_runtime::clock::boot_id();
    let offset = remembered.offset_ns.filter(|_| remembered.boot_id == boot_id);
    let now = parallax_runtime::clock::boot_time();
    let metrics = Arc::new(metrics::Metrics::default());
    if let Some(address) = config.health {
        health::serve(address, Arc::clone(&metrics), &supervisor)
            .await
            .map_err(|source| RunError::Health { address, source })?;
    }
    // One random number for each life of the spool: one run of this process.
    let (high, low) = uuid::Uuid::now_v7().as_u64_pair();
    let incarnation = Incarnation(high.rotate_left(32) ^ low);
    let holder = spool::holder::Holder {
        mesh: mesh.clone(),
        region: region.to_string(),
        probe: name.to_string(),
    };
    let spooler = open_spool(&config, holder, incarnation, &metrics).await?;
    spooler.spawn(&supervisor);
    let secrets = execute::secrets::Secrets::new(config.allow_env, config.allow_files);
    let plugins = execute::plugin::Plugins::new(config.plugin_dirs, config.plugin_env);
    let executor = execute::Executor::new(secrets, config.source_address, extra_header)
        .guarded(guard)
        .with_plugins(plugins);
    let executor = Arc::new(executor);
    self_health::spawn(&executor, config.anchors, &metrics, &supervisor);
    let (events, inbox) = mpsc::channel(EVENTS);
    let identity = session::Identity { region, probe: name, mesh, incarnation };
    let cached = config.data_dir.as_ref().and_then(|dir| cache::load(dir, &identity, &boot_id));
    let offset = offset.or(cached.as_ref().and_then(|cached| cached.offset_ns));
    let setup = owner::Setup {
        executor,
        metrics: Arc::clone(&metrics),
        spooler: spooler.clone(),
        clock: clock::MeshClock::resumed(offset, now),
        cached: cached.map(|cached| cached.plan),
        events: inbox,
        utc: parallax_runtime::clock::utc,
    };
    let owner::Told { held, kept } = owner::Owner::spawn(setup, &supervisor);
    let session::Identity { mesh, region, probe, .. } = &identity;
    info!(mesh, region, probe, incarnation = incarnation.0, "probe started");
    let (state, changes) = watch::channel(remembered);
    if let Some(dir) = config.data_dir {
        let held = held.clone();
        cache::keep(dir.clone(), identity.clone(), boot_id.clone(), kept, &supervisor);
        remember(dir, boot_id, changes, held, &supervisor);
    }
    let sessions = session::Sessions::spawn(
        session::Setup {
            identity,
            credentials,
            source: config.source_address,
            coordinators: config.coordinators,
            spooler: spooler.clone(),
            metrics,
            events,
            held,
            state,
            seed: incarnation.0,
        },
        &supervisor,
    );
    stop.cancelled().await;
    if !supervisor.join(STOP_WITHIN).await {
        warn!("some tasks did not end in time");
    }
    // What was sealed and acknowledged since the last time.
    if tokio::time::timeout(STOP_WITHIN, spooler.write()).await.is_err() {
        warn!("the spool's disk did not answer in time");
    }
    match sessions.dismissed() {
        Some(why) => Err(RunError::Dismissed(why)),
        None if supervisor.failed() => Err(RunError::Vital),
        None => Ok(()),
    }
}

/// The spool on the disk, or in memory when there is no place for it.
async fn open_spool(
    config: &Config,
    holder: spool::holder::Holder,
    incarnation: Incarnation,
    metrics: &Arc<metrics::Metrics>,
) -> Result<spool::Spooler, RunError> {
    metrics.spool_bytes_max.store(SPOOL_BYTES_MAX as u64, Relaxed);
    let Some(dir) = config.spool_dir() else {
        return Ok(spool::Spooler::in_memory(incarnation, Arc::clone(metrics)));
    };
    let (bounds, of, its) = (config.spool_bounds(), dir.clone(), Arc::clone(metrics));
    let bytes_max = bounds.bytes_max;
    let open = move || spool::Spooler::open(&of, bounds, &holder, incarnation, its);
    let opened = tokio::task::spawn_blocking(open)
        .await
        .unwrap_or_else(|panicked| Err(std::io::Error::other(panicked).into()));
    if opened.is_ok() {
        metrics.spool_bytes_max.store(bytes_max, Relaxed);
    }
    match opened {
        // A region that falls silent over a bad disk is worse than one without a spool.
        Err(spool::holder::OpenError::Files(error)) if spool::is_of_the_disk(&error) => {
            error!(%error, dir = %dir.display(), "the spool cannot be opened: windows wait in memory");
            metrics.spool_failing.store(1, Relaxed);
            Ok(spool::Spooler::in_memory(incarnation, Arc::clone(metrics)))
        }
        opened => opened.map_err(|source| RunError::Spool { dir, source }),
    }
}

/// Writes the state down when members change, and the clock's offset from time to time.
fn remember(
    dir: PathBuf,
    boot_id: String,
    mut changes: watch::Receiver<state::State>,
    held: watch::Receiver<owner::Held>,
    supervisor: &Supervisor,
) {
    let stop = supervisor.stop_token();
    supervisor.spawn(TaskKind::Session("state"), async move {
        loop {
            let last = tokio::select! {
                changed = changes.changed() => changed.is_err(),
                () = tokio::time::sleep(SAVE_EVERY) => false,
                () = stop.cancelled() => true,
            };
            let offset_ns = held.borrow().offset_ns;
            let state = state::State {
                boot_id: boot_id.clone(),
                offset_ns: (offset_ns != 0).then_some(offset_ns),
                ..changes.borrow_and_update().clone()
            };
            let dir = dir.clone();
            let saved = tokio::task::spawn_blocking(move || state::save(&dir, &state)).await;
            if let Ok(Err(error)) = saved {
                warn!(%error, cause = ?error.source, "the state was not saved");
            }
            if last {
                return;
            }
        }
    });
}

/// The command line, for who documents it.
pub fn command() -> clap::Command {
    config::Args::command()
}

/// The program: reads its arguments, logs to stderr, runs until a signal.
pub fn main() -> ExitCode {
    let gathered = settings::gather::<config::Args>(std::env::args_os());
    let Gathered { args, settings } = match gathered {
        Ok(gathered) => gathered,
        Err(error) => return error.report(),
    };
    if args.settings.print_config {
        return print_config(&args, &settings);
    }
    if args.settings.check_config {
        return settings::judged("parallax-probe", &config::refusals(&args));
    }
    let log = match Log::start(&args.log, args.log_format) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("--log: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let probe = run(args.into(), stop.clone());
        parallax_runtime::signal::run(probe, stop, || log.reread(&settings)).await
    });
    // What hangs in the system's kernel (a plugin, a disk) is waited for no longer.
    runtime.shutdown_timeout(STOP_WITHIN);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}

/// Prints what is in force; more networks than a start would take are refused here as well.
fn print_config(args: &config::Args, settings: &Settings) -> ExitCode {
    match args.guard() {
        Ok(guard) => settings::printed(&config::in_force(args, settings, &guard)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
