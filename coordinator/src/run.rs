//! One coordinator from start to stop. The order of both is written here and in ARCHITECTURE.md.
//!
//! Who this member is stands in `run/standing.rs`, how a cluster begins in `run/set_up.rs`, what speaks
//! without the group in `run/alone.rs`, and what is served in `run/routes.rs`.

mod alone;
mod differs;
mod error;
mod routes;
mod set_up;
mod standing;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parallax_common::limits::LEADER_STOPS_WITHIN;
use parallax_common::time::MeshTime;
use parallax_proto::peer::PeerHello;
use parallax_proto::peer::member_service_server::MemberServiceServer;
use parallax_proto::v1;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Accepts, Credentials, Identity, Listener};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::differs::Differs;
pub use self::differs::FILE as DIFFERS_FILE;
pub use self::error::RunError;
use self::routes::{api_routes, peer_routes, probe_routes, spawn_server};
use self::set_up::forget_clients;
pub(crate) use self::standing::check_identity;
use self::standing::{Standing, lock};
use crate::alert::certificates::Certificates;
use crate::alert::{self, Budgets};
use crate::api::cluster::ClusterApi;
use crate::api::{self, Api};
use crate::config::Config;
use crate::core::state::Answer;
use crate::escalation;
use crate::forward::Forwarder;
use crate::forward::server::ForwardServer;
use crate::history::copy::serve::{Admit, SegmentServer};
use crate::history::copy::{Copier, Taker};
use crate::history::store::Store as HistoryStore;
use crate::history::{self, History, trim};
use crate::hours;
use crate::identity::IdentityError;
use crate::judge::{self, Judge};
use crate::ledger::{self, StateLedger};
use crate::level::level;
use crate::link_key;
use crate::machine::{Batch, StateMachine};
use crate::members::Dismissal;
use crate::members::account::Accounts;
use crate::members::announce::{Account, announce};
use crate::members::change::Changer;
use crate::members::hand_over::hand_over;
use crate::members::join::Doorkeeper;
use crate::members::promote::promote;
use crate::members::service::MemberServer;
use crate::mesh_clock::{self, MeshClock};
use crate::notify::carrier::Carrier;
use crate::notify::pager;
use crate::notify::reach::Roots;
use crate::notify::secrets::Secrets;
use crate::office::Office;
use crate::peers::fetch::Fetches;
use crate::peers::gate::Gate;
use crate::peers::links::PeerOutbound;
use crate::peers::transport::Transport;
use crate::propose::Proposer;
use crate::public::{self, Public};
use crate::quiet;
use crate::quorum::Reach;
use crate::raft::config::{Config as NodeConfig, Stores};
use crate::raft::log::engine::EngineLog;
use crate::raft::node::NodeHandle;
use crate::raft::{fatal, node};
use crate::relay::{self, Relays};
use crate::session::members::follow as follow_members;
use crate::session::{self, SessionServer, Sessions};
use crate::state_hash::{self, HashServer, Hashes};
use crate::store::rows::sled::SledRows;
use crate::store::snapshot::file::FileSnapshots;
use crate::view::View;
use crate::watch::Changes;
use crate::{maintenance, mark_time};

/// How long tasks may take to end before the process goes on without them.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Incidents that may wait for the pager; the feed waits, the Raft thread does not.
const PAGER_QUEUE: usize = 1_024;

/// The addresses that are in use.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Bound {
    /// For people and tools.
    pub api: SocketAddr,
    /// For probes.
    pub probes: SocketAddr,
    /// For the other coordinators.
    pub peers: SocketAddr,
    /// For health and metrics, when on.
    pub public: Option<SocketAddr>,
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
    let differs = Differs::open(&config.data_dir)?;
    let standing = tokio::select! {
        standing = Standing::find(&config, &credentials) => standing?,
        () = stop.cancelled() => return Ok(()),
    };
    let dismissal = Dismissal::default();

    // The state first: nothing is served before it is known.
    let view = View::default();
    let (to_judge, for_judge) = mpsc::unbounded_channel();
    let (to_feed, for_pager) = mpsc::unbounded_channel();
    let (to_changes, for_changes) = mpsc::unbounded_channel();
    let hashes = Hashes::default();
    let machine =
        StateMachine::new(view.clone(), vec![to_judge, to_feed, to_changes], fatal::abort())
            .with_hashes(hashes.clone());
    let peers = standing.peers.clone();
    let gate = Gate::new(standing.own(&config), standing.group(&config, view.clone()));
    let snapshots = Arc::new(FileSnapshots::open(&config.data_dir.join("snapshots"))?);
    let (transport, outbound) = Transport::new(peers, gate.clone(), Arc::clone(&snapshots) as _);
    let node = start_node(&config, &standing, machine, Arc::clone(&snapshots), outbound).await?;
    if standing.identity.begun && node.status().applied == 0 {
        node.stop().await;
        return Err(IdentityError::LogLost.into());
    }
    let last_index = node.status().last_index;
    let needed = view.load().cluster.level;
    if needed > level() {
        node.stop().await;
        return Err(RunError::Level { needed, has: level() });
    }
    let batches = Batches { for_judge, for_pager, for_changes };
    let sessions = Sessions::new(supervisor.clone());
    let history = OnceLock::new();
    let member = Starting {
        config: &config,
        credentials: &credentials,
        supervisor: &supervisor,
        sessions: &sessions,
        node: &node,
        standing: &standing,
        dismissal: &dismissal,
        last_index,
        view: view.clone(),
        history: &history,
        gate: &gate,
        snapshots,
        hashes,
        differs,
    };
    let served = member.serve(batches, transport).await;
    if let Ok(bound) = &served {
        info!(mesh = config.mesh, api = %bound.api, probes = %bound.probes, "serving");
        // Nobody may be interested.
        let _ = ready.send(bound.clone());
        let failed = supervisor.stop_token();
        tokio::select! {
            () = stop.cancelled() => {}
            () = failed.cancelled() => {}
            () = dismissal.dismissed() => {}
        }
    }

    // The order of the end is in ARCHITECTURE.md.
    hand_over(&node, &standing.peers, &view, LEADER_STOPS_WITHIN).await;
    sessions.goodbye("the coordinator stops");
    supervisor.stop();
    if !supervisor.join(STOP_WITHIN).await {
        warn!("some tasks did not end in time");
    }
    node.stop().await;
    if let Some(history) = history.into_inner() {
        // Its threads write what has arrived; a panic of theirs has been told.
        let _ = tokio::task::spawn_blocking(move || history.close()).await;
    }
    served?;
    if let Some(farewell) = dismissal.reason() {
        return Err(farewell.into());
    }
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
    standing: &'a Standing,
    dismissal: &'a Dismissal,
    /// The end of the log when this life began.
    last_index: u64,
    view: View,
    /// Set once it is open.
    history: &'a OnceLock<HistoryStore>,
    gate: &'a Gate,
    snapshots: Arc<FileSnapshots>,
    hashes: Hashes,
    differs: Differs,
}

impl Starting<'_> {
    /// Starts everything that follows the state, then the listeners.
    async fn serve(self, batches: Batches, transport: Transport) -> Result<Bound, RunError> {
        let Self { config, credentials, supervisor, sessions, node, ref view, history, .. } = self;
        let node_id = self.standing.identity.node_id;
        let state = view.load();
        if !state.cluster.mesh.is_empty() && state.cluster.mesh != config.mesh {
            let (held, wanted) = (state.cluster.mesh.clone(), config.mesh.clone());
            return Err(RunError::OtherMesh { held, wanted });
        }
        let mesh_clock = Arc::new(MeshClock::begin(&config.data_dir));
        mesh_clock.not_before(MeshTime::from_ns(state.cluster.last_mesh_ns));
        let (start, has_probes) = (state.applied, !state.probes.is_empty());
        drop(state);
        let others = (self.standing.peers.clone(), self.gate.clone());
        mesh_clock::start::find(Arc::clone(&mesh_clock), others, has_probes, supervisor);
        self.vital("mesh clock", Arc::clone(&mesh_clock).keep());
        let introduce = self.gate.clone();
        let forwarder = Forwarder::new(
            self.standing.peers.clone(),
            Arc::new(move |node_id| introduce.hello(node_id)),
        );
        let proposer = Proposer::new(node.clone(), view.clone(), Arc::clone(&mesh_clock))
            .forwarding(forwarder);
        let (judge_handle, told) = judge::channel(Arc::clone(&mesh_clock));
        let relays = Relays::new(relay::Parts {
            peers: self.standing.peers.clone(),
            gate: self.gate.clone(),
            sessions: sessions.clone(),
            judge: judge_handle.clone(),
            clock: Arc::clone(&mesh_clock),
            supervisor: supervisor.clone(),
        });
        let parts = judge::Parts {
            view: view.clone(),
            clock: Arc::clone(&mesh_clock),
            proposer: proposer.clone(),
            sessions: sessions.clone(),
            relays: relays.clone(),
            supervisor: supervisor.clone(),
            batches: batches.for_judge,
            name: config.name.clone(),
            node_id,
        };
        let (judge, plan) = Judge::new(judge_handle.clone(), told, parts);
        let changes = Changes::default();
        let (to_pager, events) = mpsc::channel(PAGER_QUEUE);
        let reach: Arc<dyn Reach> = Arc::new(self.standing.peers.clone());
        let ledger = StateLedger::new(
            view.clone(),
            proposer.clone(),
            Arc::clone(&reach),
            config.name.clone(),
        );
        let secrets = Secrets::new(config.allow_env.clone(), config.allow_files.clone());
        let carrier = Carrier::new(Roots::Webpki, config.guard()?, secrets, supervisor.clone())?;
        let carrier = Arc::new(carrier);
        let pager = pager::run(
            node_id,
            Arc::new(ledger),
            Arc::clone(&carrier),
            events,
            supervisor.clone(),
            seed("jitter"),
        );
        let feed = ledger::feed(
            view.clone(),
            self.last_index,
            batches.for_pager,
            node.leadership(),
            to_pager,
        );
        self.vital("changes", changes.clone().follow(start, batches.for_changes));
        self.vital("judge", judge.run(node.leadership()));
        self.vital("pager", pager);
        self.vital("pager feed", feed);
        let office = || Office::new(node.applied_watch(), node.leadership());
        let held = quiet::run(view.clone(), proposer.clone(), office(), config.name.clone());
        self.vital("held pages", held);
        let told = escalation::run(view.clone(), proposer.clone(), office(), config.name.clone());
        self.vital("escalations", told);
        let key = link_key::run(view.clone(), proposer.clone(), office(), config.name.clone());
        self.vital("link key", key);
        let planned =
            maintenance::run(view.clone(), proposer.clone(), office(), config.name.clone());
        self.vital("maintenance", planned);
        let hours = hours::run(view.clone(), proposer.clone(), office(), config.name.clone());
        self.vital("hours", hours);
        let (quorum, calls) = self.watch_quorum(&proposer, reach)?;
        // Bound before the cluster begins, so that a group of one can say where it listens.
        let peer_listener =
            Listener::bind(config.listen_peers, Accepts::Peers, credentials, supervisor).await?;
        self.set_up(&proposer, peer_listener.local_addr()).await?;
        let (leads, name) = (node.leadership(), config.name.clone());
        self.vital("forget clients", forget_clients(view.clone(), proposer.clone(), leads, name));
        let (leads, clock) = (node.leadership(), Arc::clone(&mesh_clock));
        let marks =
            mark_time::run(view.clone(), proposer.clone(), leads, clock, config.name.clone());
        self.vital("mark time", marks);

        // Then the listeners: whoever connects finds everything behind them running.
        let api_listener =
            Listener::bind(config.listen_api, Accepts::Api, credentials, supervisor).await?;
        let probe_listener =
            Listener::bind(config.listen_probes, Accepts::Probes, credentials, supervisor).await?;
        let store = open_history(config, &mesh_clock).await?;
        let store = history.get_or_init(|| store).clone();
        let disk = Arc::clone(store.disk());
        let (introduce, clock) = (self.gate.clone(), Arc::clone(&mesh_clock));
        let taker = Taker {
            disk: Arc::clone(&disk),
            introduce: Arc::new(move |node_id| introduce.hello(node_id)),
            now: Arc::new(move || clock.now()),
            fatal: fatal::abort(),
        };
        let copier = Copier { peers: self.standing.peers.clone(), taker };
        self.vital("copy history", copier.run());
        let (leads, name) = (node.leadership(), config.name.clone());
        self.vital("trim history", trim::run(view.clone(), proposer.clone(), leads, name));
        let history: Arc<dyn History> = Arc::new(store);
        let (budgets, certificates) = (Budgets::default(), Certificates::default());
        let alerts = alert::run(alert::Parts {
            view: view.clone(),
            proposer: proposer.clone(),
            history: Arc::clone(&history),
            clock: Arc::clone(&mesh_clock),
            leadership: node.leadership(),
            budgets: budgets.clone(),
            certificates: certificates.clone(),
            name: config.name.clone(),
        });
        self.vital("alerts", alerts);
        let member = advertised(config.advertise_probes.as_deref(), probe_listener.local_addr())
            .map(|address| v1::Member { node_id, name: config.name.clone(), address });
        let account = Account {
            node_id,
            name: config.name.clone(),
            disk_id: self.standing.identity.disk_id.clone(),
            peer_address: self.peer_address(peer_listener.local_addr()),
            probe_address: member.as_ref().map(|member| member.address.clone()).unwrap_or_default(),
            api_address: dialled(config.advertise_api.as_deref(), api_listener.local_addr())
                .unwrap_or_default(),
        };
        let (applied, dismissal) = (node.applied_watch(), self.dismissal.clone());
        let announce = announce(account, view.clone(), proposer.clone(), applied, dismissal);
        self.vital("announce", announce);
        let (publish, members) = watch::channel(Arc::new(Vec::new()));
        let own = member.clone();
        self.vital("member list", follow_members(view.clone(), node.applied_watch(), own, publish));
        let session_server = SessionServer::new(session::Parts {
            sessions: sessions.clone(),
            judge: judge_handle.clone(),
            plan: plan.clone(),
            view: view.clone(),
            clock: mesh_clock,
            history: Arc::clone(&history),
            certificates: certificates.clone(),
            node_id,
            members,
        });
        let api = Api::new(api::Parts {
            sender: carrier,
            name: config.name.clone(),
            view: view.clone(),
            proposer: proposer.clone(),
            judge: judge_handle.clone(),
            sessions: sessions.clone(),
            changes,
            quorum: quorum.clone(),
            node_id,
            history: Arc::clone(&history),
            budgets,
            certificates,
            plan,
        });
        let refusals = vec![
            ("api", api_listener.refusals()),
            ("probes", probe_listener.refusals()),
            ("peers", peer_listener.refusals()),
        ];
        let mut bound = Bound {
            api: api_listener.local_addr(),
            probes: probe_listener.local_addr(),
            peers: peer_listener.local_addr(),
            public: None,
        };
        if let Some(address) = config.listen_public {
            let failed = |source| RunError::Serve { what: address.to_string(), source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            bound.public = Some(listener.local_addr().map_err(failed)?);
            let public = Public {
                view: view.clone(),
                proposer: proposer.clone(),
                sessions: sessions.clone(),
                judge: judge_handle,
                history: Arc::clone(&history),
                quorum,
                calls,
                refusals,
                peers: self.standing.peers.clone(),
                gate: self.gate.clone(),
                relays: relays.clone(),
                acks: public::ack::Acks::new(view.clone(), proposer.clone()),
            };
            let stop = supervisor.stop_token();
            self.vital("public listener", async move {
                if let Err(error) = public::serve(listener, public, stop).await {
                    warn!(%error, "the public listener broke");
                }
            });
        }
        let (book, gate) = (self.standing.peers.clone(), self.gate.clone());
        let changer = Changer::new(view.clone(), proposer.clone(), book.clone(), gate.clone());
        let accounts =
            Accounts::new(node.clone(), config.data_dir.clone(), book, gate, Arc::clone(&history));
        self.vital("membership", promote(changer.clone(), node.clone(), node.leadership()));
        let cluster = ClusterApi::new(api.clone(), accounts.clone(), changer.clone());
        let routes = api_routes(api, cluster).await?;
        spawn_server(supervisor, "api listener", api_listener, routes);
        let members = MemberServer::new(accounts, changer, self.gate.clone());
        let routes = probe_routes(session_server).await?;
        spawn_server(supervisor, "probe listener", probe_listener, routes);
        let raft = transport.service(Arc::new(node.clone()), supervisor, fatal::abort());
        let gate = self.gate.clone();
        let admit = move |identity: &Identity, hello: &PeerHello| {
            gate.admit_member(identity, hello).map(|_| ())
        };
        let hashing = state_hash::Parts {
            view: view.clone(),
            proposer: proposer.clone(),
            node: node.clone(),
            peers: self.standing.peers.clone(),
            gate: self.gate.clone(),
            hashes: self.hashes.clone(),
            name: config.name.clone(),
            on_difference: self.on_difference(),
        };
        self.vital("state hash", hashing.run());
        let admit: Admit = Arc::new(admit);
        let forward = ForwardServer::new(proposer.clone(), Arc::clone(&admit));
        let segments = SegmentServer::new(disk, admit, supervisor.clone());
        let doorkeeper = Doorkeeper::new(view.clone(), proposer);
        let routes = peer_routes(raft, forward, doorkeeper, relays.server())
            .add_service(segments.into_service())
            .add_service(Fetches::new(self.gate.clone(), self.snapshots.clone()).into_service())
            .add_service(MemberServiceServer::new(members))
            .add_service(HashServer::new(self.gate.clone(), self.hashes.clone()).into_service());
        spawn_server(supervisor, "peer listener", peer_listener, routes);
        self.heed_removal();
        self.vital("relays", relays.run(node.leader()));
        let (inbox, links) = (Arc::new(node.clone()), supervisor.clone());
        self.vital("peer links", transport.run(inbox, links, seed("peers")));
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
    standing: &Standing,
    machine: StateMachine,
    snapshots: Arc<FileSnapshots>,
    outbound: PeerOutbound,
) -> Result<NodeHandle<Answer>, RunError> {
    let (node_id, data_dir) = (standing.identity.node_id, config.data_dir.clone());
    let bootstrap = standing.bootstrap.clone();
    let start = tokio::task::spawn_blocking(move || {
        let config = NodeConfig::new(node_id, bootstrap);
        let stores = stores(&data_dir, snapshots, outbound)?;
        Ok(node::start(config, machine, stores, fatal::abort())?)
    });
    start.await.map_err(|_| RunError::Task)?
}

/// The three places where state is kept, and the way to other members.
fn stores(
    data_dir: &Path,
    snapshots: Arc<FileSnapshots>,
    outbound: PeerOutbound,
) -> Result<Stores<EngineLog>, RunError> {
    Ok(Stores {
        log: EngineLog::open(&data_dir.join("log"))?,
        rows: Arc::new(SledRows::open(&data_dir.join("rows"))?),
        snapshots,
        outbound: Box::new(outbound),
    })
}

/// Opens the history store. Reads its journal: not on a worker.
async fn open_history(config: &Config, clock: &Arc<MeshClock>) -> Result<HistoryStore, RunError> {
    let (dir, bytes_max) = (config.data_dir.join("history"), config.history_bytes_max);
    let clock = Arc::clone(clock);
    let now: history::store::Now = Arc::new(move || clock.now());
    let open = tokio::task::spawn_blocking(move || {
        HistoryStore::open(&dir, bytes_max, now, fatal::abort())
    });
    Ok(open.await.map_err(|_| RunError::Task)??)
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
    dialled(named, listens)
}

/// Where somebody else can dial this listener, if anywhere.
fn dialled(named: Option<&str>, listens: SocketAddr) -> Option<String> {
    match named {
        Some(named) => Some(named.to_owned()),
        None => (!listens.ip().is_unspecified()).then(|| listens.to_string()),
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
