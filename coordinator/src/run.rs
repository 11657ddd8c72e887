//! One coordinator from start to stop. The order of both is written here and in ARCHITECTURE.md.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::{CLIENT_AGE_MAX, FORGET_CLIENTS_MAX, RING_AGE_MAX, RING_BYTES_MAX};
use parallax_common::time::MeshTime;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::check_service_server::CheckServiceServer;
use parallax_proto::v1::config_service_server::ConfigServiceServer;
use parallax_proto::v1::contact_service_server::ContactServiceServer;
use parallax_proto::v1::fleet_service_server::FleetServiceServer;
use parallax_proto::v1::incident_service_server::IncidentServiceServer;
use parallax_proto::v1::region_service_server::RegionServiceServer;
use parallax_proto::v1::session_service_server::SessionServiceServer;
use parallax_proto::v1::status_service_server::StatusServiceServer;
use parallax_proto::{DESCRIPTORS, store, v1};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{
    Accepts, BindError, Credentials, CredentialsError, Identity, Listener, serve,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{info, warn};

use crate::api::Api;
use crate::config::Config;
use crate::core::plan::PLAN_VERSION;
use crate::core::state::{Answer, LEVEL};
use crate::history::ring::Ring;
use crate::judge::{self, Judge};
use crate::ledger::{self, StateLedger};
use crate::machine::{Batch, StateMachine};
use crate::mesh_clock::MeshClock;
use crate::notify::pager;
use crate::notify::secrets::Secrets;
use crate::notify::webhook::{Roots, Webhook, WebhookError};
use crate::propose::{Origin, Proposer, WriteError};
use crate::public::{self, Public};
use crate::raft::config::{Config as NodeConfig, Stores};
use crate::raft::halt::StartError;
use crate::raft::log::LogError;
use crate::raft::log::engine::EngineLog;
use crate::raft::member::Leadership;
use crate::raft::node::NodeHandle;
use crate::raft::outbound::Alone;
use crate::raft::{fatal, node};
use crate::session::{self, SessionServer, Sessions};
use crate::store::rows::RowError;
use crate::store::rows::sled::SledRows;
use crate::store::snapshot::SnapshotError;
use crate::store::snapshot::file::FileSnapshots;
use crate::view::View;
use crate::watch::Changes;

/// How long tasks may take to end before the process goes on without them.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Incidents that may wait for the pager; the feed waits, the Raft thread does not.
const PAGER_QUEUE: usize = 1_024;
/// How often clients that have gone silent are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How long a start waits for a leader before it serves without one.
const LEADER_WITHIN: Duration = Duration::from_secs(10);

/// The addresses that are in use.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Bound {
    /// For people and tools.
    pub api: SocketAddr,
    /// For probes.
    pub probes: SocketAddr,
    /// For health and metrics, when on.
    pub public: Option<SocketAddr>,
}

/// Why a coordinator could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The certificate files.
    #[error("the certificate cannot be used")]
    Credentials(#[from] CredentialsError),
    /// The certificate is somebody else's.
    #[error("the certificate is {theirs}, not coordinator \"{name}\" of mesh \"{mesh}\"")]
    Identity {
        /// Whose it is.
        theirs: String,
        /// Who we are told to be.
        name: String,
        /// Of which mesh.
        mesh: String,
    },
    /// The data directory.
    #[error("the data directory {path} cannot be used")]
    DataDir {
        /// Which.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process uses the data directory.
    #[error("the data directory {0} is used by another process")]
    Locked(String),
    /// The data is of another mesh.
    #[error("the data directory holds mesh \"{held}\", not \"{wanted}\"")]
    OtherMesh {
        /// What is there.
        held: String,
        /// What was asked for.
        wanted: String,
    },
    /// The log.
    #[error("the raft log cannot be opened")]
    Log(#[from] LogError),
    /// The rows of the applied state.
    #[error("the stored state cannot be opened")]
    Rows(#[from] RowError),
    /// The snapshots.
    #[error("the snapshots cannot be opened")]
    Snapshots(#[from] SnapshotError),
    /// Log, snapshots and rows together.
    #[error("the state cannot be recovered")]
    Start(#[from] StartError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The public listener or the ports file.
    #[error("cannot serve on {what}")]
    Serve {
        /// Which.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The reflection service.
    #[error("the descriptor set cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The sender of pages.
    #[error("pages cannot be sent")]
    Webhook(#[from] WebhookError),
    /// The first entry.
    #[error("the cluster could not be set up")]
    Setup(#[source] WriteError),
    /// A task that the process is of no use without.
    #[error("a vital task ended; the log says which")]
    Task,
}

/// Runs a coordinator until `stop`. `ready` is told the addresses once it serves.
///
/// # Errors
/// What kept it from starting, or made it stop by itself.
pub async fn run(
    config: Config,
    stop: CancellationToken,
    ready: oneshot::Sender<Bound>,
) -> Result<(), RunError> {
    // Not a child of `stop`: goodbyes are said before the tasks are told to end.
    let supervisor = Supervisor::new(CancellationToken::new());
    let credentials = Credentials::load(&config.tls_dir)?;
    check_identity(&config, credentials.identity())?;
    credentials.watch(&supervisor);
    let _lock = lock(&config.data_dir)?;

    // The state first: nothing is served before it is known.
    let view = View::default();
    let (to_judge, for_judge) = mpsc::unbounded_channel();
    let (to_feed, for_pager) = mpsc::unbounded_channel();
    let (to_changes, for_changes) = mpsc::unbounded_channel();
    let machine =
        StateMachine::new(view.clone(), vec![to_judge, to_feed, to_changes], fatal::abort());
    let node = start_node(&config, machine).await?;
    let batches = Batches { for_judge, for_pager, for_changes };
    let sessions = Sessions::new(supervisor.clone());
    let member = Starting {
        config: &config,
        credentials: &credentials,
        supervisor: &supervisor,
        sessions: &sessions,
        node: &node,
        view,
    };
    let served = member.serve(batches).await;
    if let Ok(bound) = &served {
        info!(mesh = config.mesh, api = %bound.api, probes = %bound.probes, "serving");
        // Nobody may be interested.
        let _ = ready.send(bound.clone());
        let failed = supervisor.stop_token();
        tokio::select! {
            () = stop.cancelled() => {}
            () = failed.cancelled() => {}
        }
    }

    // The order of the end is in ARCHITECTURE.md.
    sessions.goodbye("the coordinator stops");
    supervisor.stop();
    if !supervisor.join(STOP_WITHIN).await {
        warn!("some tasks did not end in time");
    }
    node.stop().await;
    served?;
    if supervisor.failed() { Err(RunError::Task) } else { Ok(()) }
}

/// What was applied, for each of those that follow the state.
struct Batches {
    for_judge: mpsc::UnboundedReceiver<Batch>,
    for_pager: mpsc::UnboundedReceiver<Batch>,
    for_changes: mpsc::UnboundedReceiver<Batch>,
}

/// A member whose state is known and which does not serve yet.
struct Starting<'a> {
    config: &'a Config,
    credentials: &'a Credentials,
    supervisor: &'a Supervisor,
    sessions: &'a Sessions,
    node: &'a NodeHandle<Answer>,
    view: View,
}

impl Starting<'_> {
    /// Starts everything that follows the state, then the listeners.
    async fn serve(self, batches: Batches) -> Result<Bound, RunError> {
        let Self { config, credentials, supervisor, sessions, node, ref view } = self;
        let state = view.load();
        if !state.cluster.mesh.is_empty() && state.cluster.mesh != config.mesh {
            let (held, wanted) = (state.cluster.mesh.clone(), config.mesh.clone());
            return Err(RunError::OtherMesh { held, wanted });
        }
        let mesh_clock = Arc::new(MeshClock::open(&config.data_dir));
        mesh_clock.not_before(MeshTime::from_ns(state.cluster.last_mesh_ns));
        let start = state.applied;
        drop(state);
        let proposer = Proposer::new(node.clone(), view.clone(), Arc::clone(&mesh_clock));
        let (judge_handle, told) = judge::channel(Arc::clone(&mesh_clock));
        let parts = judge::Parts {
            view: view.clone(),
            clock: Arc::clone(&mesh_clock),
            proposer: proposer.clone(),
            sessions: sessions.clone(),
            supervisor: supervisor.clone(),
            batches: batches.for_judge,
            name: config.name.clone(),
            node_id: config.node_id,
        };
        let (judge, plan) = Judge::new(judge_handle.clone(), told, parts);
        let changes = Changes::default();
        let (to_pager, events) = mpsc::channel(PAGER_QUEUE);
        let ledger = StateLedger::new(view.clone(), proposer.clone(), config.name.clone());
        let secrets = Secrets::new(config.allow_env.clone(), config.allow_files.clone());
        let webhook = Webhook::new(Roots::Webpki, secrets, supervisor.clone())?;
        let pager = pager::run(
            config.node_id,
            Arc::new(ledger),
            Arc::new(webhook),
            events,
            supervisor.clone(),
            seed("jitter"),
        );
        let feed = ledger::feed(view.clone(), batches.for_pager, node.leadership(), to_pager);
        self.vital("changes", changes.clone().follow(start, batches.for_changes));
        self.vital("judge", judge.run(node.leadership()));
        self.vital("pager", pager);
        self.vital("pager feed", feed);
        set_up(config, view, &proposer, node.leadership()).await?;
        let (leads, name) = (node.leadership(), config.name.clone());
        self.vital("forget clients", forget_clients(view.clone(), proposer.clone(), leads, name));

        // Then the listeners: whoever connects finds everything behind them running.
        let api_listener =
            Listener::bind(config.listen_api, Accepts::Api, credentials, supervisor).await?;
        let probe_listener =
            Listener::bind(config.listen_probes, Accepts::Probes, credentials, supervisor).await?;
        let history = Arc::new(Ring::new(RING_AGE_MAX, RING_BYTES_MAX));
        let member = advertised(config.advertise_probes.as_deref(), probe_listener.local_addr())
            .map(|address| v1::Member {
                node_id: config.node_id,
                name: config.name.clone(),
                address,
            });
        let session_server = SessionServer::new(session::Parts {
            sessions: sessions.clone(),
            judge: judge_handle.clone(),
            plan,
            view: view.clone(),
            clock: mesh_clock,
            history: Arc::clone(&history),
            node_id: config.node_id,
            member,
        });
        let api = Api::new(
            view.clone(),
            proposer.clone(),
            judge_handle.clone(),
            sessions.clone(),
            changes,
            config.node_id,
        );
        let refusals =
            vec![("api", api_listener.refusals()), ("probes", probe_listener.refusals())];
        let mut bound = Bound {
            api: api_listener.local_addr(),
            probes: probe_listener.local_addr(),
            public: None,
        };
        if let Some(address) = config.listen_public {
            let failed = |source| RunError::Serve { what: address.to_string(), source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            bound.public = Some(listener.local_addr().map_err(failed)?);
            let public = Public {
                view: view.clone(),
                proposer,
                sessions: sessions.clone(),
                judge: judge_handle,
                history,
                refusals,
            };
            let stop = supervisor.stop_token();
            self.vital("public listener", async move {
                if let Err(error) = public::serve(listener, public, stop).await {
                    warn!(%error, "the public listener broke");
                }
            });
        }
        spawn_server(supervisor, "api listener", api_listener, api_routes(api).await?);
        let routes = probe_routes(session_server).await?;
        spawn_server(supervisor, "probe listener", probe_listener, routes);
        if let Some(path) = &config.ports_file {
            let what = path.display().to_string();
            write_whole(path, &bound).map_err(|source| RunError::Serve { what, source })?;
        }
        Ok(bound)
    }

    /// Runs a task that the process is of no use without, until it ends or is told to.
    fn vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.supervisor.stop_token();
        self.supervisor.spawn(TaskKind::Vital(name), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// Reads the state back and starts Raft. Takes as long as it takes: not on a worker.
async fn start_node(
    config: &Config,
    machine: StateMachine,
) -> Result<NodeHandle<Answer>, RunError> {
    let (node_id, data_dir) = (config.node_id, config.data_dir.clone());
    let start = tokio::task::spawn_blocking(move || {
        let config = NodeConfig::new(node_id, Some(vec![node_id]));
        Ok(node::start(config, machine, stores(&data_dir)?, fatal::abort())?)
    });
    start.await.map_err(|_| RunError::Task)?
}

/// The three places where state is kept, and no way to other members: the group has one.
fn stores(data_dir: &Path) -> Result<Stores<EngineLog>, RunError> {
    Ok(Stores {
        log: EngineLog::open(&data_dir.join("log"))?,
        rows: Arc::new(SledRows::open(&data_dir.join("rows"))?),
        snapshots: Arc::new(FileSnapshots::open(&data_dir.join("snapshots"))?),
        outbound: Box::new(Alone),
    })
}

/// Where probes are told to dial this member, if anywhere: not at an address that means "all of
/// mine", which on a probe's machine would mean the probe's own.
fn advertised(named: Option<&str>, listens: SocketAddr) -> Option<String> {
    if named.is_none() && listens.ip().is_unspecified() {
        info!(
            %listens,
            "probes are told no address of this member, because it listens on every one; \
             --advertise-probes names one"
        );
        return None;
    }
    Some(named.map_or_else(|| listens.to_string(), str::to_owned))
}

fn check_identity(config: &Config, identity: &Identity) -> Result<(), RunError> {
    match identity {
        Identity::Coordinator { mesh, name } if *mesh == config.mesh && *name == config.name => {
            Ok(())
        }
        other => Err(RunError::Identity {
            theirs: format!("{} of mesh \"{}\"", other.describe(), other.mesh()),
            name: config.name.clone(),
            mesh: config.mesh.clone(),
        }),
    }
}

/// Keeps other processes out of the data directory for as long as the file is open.
fn lock(data_dir: &Path) -> Result<std::fs::File, RunError> {
    let failed = |source| RunError::DataDir { path: data_dir.display().to_string(), source };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    let file = std::fs::File::create(data_dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(RunError::Locked(data_dir.display().to_string()))
        }
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Waits for a leader, and has the leader write the first entry of a new cluster.
async fn set_up(
    config: &Config,
    view: &View,
    proposer: &Proposer,
    mut leadership: watch::Receiver<Leadership>,
) -> Result<(), RunError> {
    let leads = async { leadership.wait_for(|now| now.leader).await.is_ok() };
    if !tokio::time::timeout(LEADER_WITHIN, leads).await.unwrap_or(false) {
        warn!("no leader yet, serving all the same");
        return Ok(());
    }
    // Everything committed before this start is applied first.
    if proposer.barrier().await.is_err() {
        return Ok(());
    }
    if !view.load().cluster.mesh.is_empty() {
        drop_orphans(config, view, proposer).await;
        return Ok(());
    }
    let command = Command::InitCluster(store::InitCluster {
        mesh: config.mesh.clone(),
        cluster_id: uuid::Uuid::now_v7().to_string(),
        // Above that of any cluster that was begun here before, as probes remember it.
        epoch: u64::try_from(clock::utc().as_ns() / 1_000_000_000).unwrap_or(1).max(1),
        level: LEVEL,
        plan_version: PLAN_VERSION,
    });
    let written = proposer.write(Origin::leader(&config.name), command).await;
    written.map(|_| ()).map_err(RunError::Setup)
}

/// Drops applies that were being staged when an earlier life of this member was killed: nobody will
/// commit them, and they would keep others out until they expire. The group has one member, which
/// takes no apply yet, so that all that are staged are such.
async fn drop_orphans(config: &Config, view: &View, proposer: &Proposer) {
    for txn in view.load().open_stages() {
        let command = Command::DropStage(store::DropStage { txn });
        if let Err(error) = proposer.write(Origin::leader(&config.name), command).await {
            warn!(%error, "an apply that nobody will commit could not be dropped; it will expire");
        }
    }
}

async fn api_routes(api: Api) -> Result<Routes, tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ConfigServiceServer<Api>>().await;
    health.set_serving::<CheckServiceServer<Api>>().await;
    health.set_serving::<IncidentServiceServer<Api>>().await;
    health.set_serving::<StatusServiceServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()?;
    Ok(Routes::new(health_service)
        .add_service(reflection)
        .add_service(ConfigServiceServer::new(api.clone()))
        .add_service(CheckServiceServer::new(api.clone()))
        .add_service(RegionServiceServer::new(api.clone()))
        .add_service(ContactServiceServer::new(api.clone()))
        .add_service(IncidentServiceServer::new(api.clone()))
        .add_service(FleetServiceServer::new(api.clone()))
        .add_service(StatusServiceServer::new(api)))
}

async fn probe_routes(server: SessionServer) -> Result<Routes, tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SessionServiceServer<SessionServer>>().await;
    Ok(Routes::new(health_service).add_service(server.into_service()))
}

fn spawn_server(supervisor: &Supervisor, name: &'static str, listener: Listener, routes: Routes) {
    let stop = supervisor.stop_token();
    supervisor.spawn(TaskKind::Vital(name), async move {
        if let Err(error) = serve(listener, routes, stop).await {
            warn!(%error, listener = name, "the listener broke");
        }
    });
}

/// Forgets clients that have been silent for 15 min of stamped time, while this member leads.
async fn forget_clients(
    view: View,
    proposer: Proposer,
    leadership: watch::Receiver<Leadership>,
    name: String,
) {
    let mut every = tokio::time::interval(FORGET_EVERY);
    loop {
        every.tick().await;
        if !leadership.borrow().leader {
            continue;
        }
        let clients = view.load().silent_clients(clock::utc() - CLIENT_AGE_MAX);
        for clients in clients.chunks(FORGET_CLIENTS_MAX) {
            let clients = clients.to_vec();
            let command = Command::ForgetClients(store::ForgetClients { clients });
            if let Err(error) = proposer.write(Origin::leader(&name), command).await {
                warn!(%error, "silent clients could not be forgotten, trying again in a minute");
                break;
            }
        }
    }
}

/// A seed for one purpose, so that one more draw in one place moves no other.
fn seed(purpose: &str) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write(purpose.as_bytes());
    hasher.finish()
}

/// Writes `value` so that readers see all of it or nothing.
fn write_whole(path: &Path, value: &impl serde::Serialize) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(&serde_json::to_vec(value).map_err(std::io::Error::other)?)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_not_sent_to_an_address_that_means_their_own_machine() {
        let all: SocketAddr = "0.0.0.0:7101".parse().unwrap();
        let all6: SocketAddr = "[::]:7101".parse().unwrap();
        let one: SocketAddr = "192.0.2.1:7101".parse().unwrap();
        assert_eq!(advertised(None, all), None);
        assert_eq!(advertised(None, all6), None);
        assert_eq!(advertised(None, one).as_deref(), Some("192.0.2.1:7101"));
        assert_eq!(
            advertised(Some("c1.example.net:7101"), all).as_deref(),
            Some("c1.example.net:7101")
        );
    }
}
