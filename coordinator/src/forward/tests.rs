//! Three members with real nodes, stores in memory, Raft's messages carried by hand and commands
//! forwarded over real sockets and certificates.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use parallax_proto::store::entry::Command;
use parallax_proto::v1;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{
    Accepts, Connector, Credentials, Identity, Listener, endpoint, serve,
};
use parking_lot::Mutex;
use prost::Message as _;
use raft::eraftpb::Message;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use tempfile::TempDir;
use tonic::service::Routes;

use super::server::{Admit, ForwardServer};
use super::*;
use crate::api::{RULE_KEY, refusal_status};
use crate::machine::StateMachine;
use crate::mesh_clock::MeshClock;
use crate::peers::Peer;
use crate::propose::tests::region;
use crate::propose::{Origin, Proposer, WriteError};
use crate::raft::config::{Config, Stores};
use crate::raft::log::memory::{MemDisk, MemLog};
use crate::raft::node::{self, NodeHandle};
use crate::raft::outbound::Outbound;
use crate::store::rows::memory::MemRows;
use crate::store::snapshot::memory::MemSnapshots;
use crate::view::View;

const LONG: Duration = Duration::from_secs(20);
const ALL: [u64; 3] = [1, 2, 3];

/// Carries Raft's messages between the nodes that are not cut off.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<Wiring>>);

#[derive(Default)]
struct Wiring {
    nodes: BTreeMap<u64, NodeHandle<Answer>>,
    cut: Option<u64>,
}

impl Outbound for Wires {
    fn send(&mut self, messages: Vec<Message>) {
        let wiring = self.0.lock();
        for message in messages {
            if [Some(message.from), Some(message.to)].contains(&wiring.cut) {
                continue;
            }
            if let Some(node) = wiring.nodes.get(&message.to) {
                let _ = node.step(message);
            }
        }
    }
}

/// The authority of a mesh called `demo`.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "demo");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn credentials(&self, uri: &str) -> Credentials {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        for (name, text) in
            [("ca.pem", self.0.pem()), ("cert.pem", cert.pem()), ("key.pem", key.serialize_pem())]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Credentials::load(dir.path()).unwrap()
    }
}

struct Member {
    proposer: Proposer,
    view: View,
    credentials: Credentials,
    address: SocketAddr,
    _dir: TempDir,
}

struct Group {
    members: BTreeMap<u64, Member>,
    wires: Wires,
    supervisor: Supervisor,
}

/// Only hellos to the right member are let in, by coordinators.
fn admit(node_id: u64) -> Admit {
    Arc::new(move |identity, hello| {
        if matches!(identity, Identity::Coordinator { .. }) && hello.to_node_id == node_id {
            return Ok(());
        }
        Err(Status::permission_denied("hello.to_node_id: another member was meant"))
    })
}

/// Serves at a port of its own.
async fn listen(
    server: ForwardServer,
    credentials: &Credentials,
    supervisor: &Supervisor,
) -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(any, Accepts::Peers, credentials, supervisor).await.unwrap();
    let (address, stop) = (listener.local_addr(), supervisor.stop_token());
    supervisor.spawn(TaskKind::Session("peer listener"), async move {
        serve(listener, Routes::new(server.into_service()), stop).await.unwrap();
    });
    address
}

impl Group {
    async fn start() -> Self {
        let (ca, wires, supervisor) = (Ca::new(), Wires::default(), Supervisor::default());
        let mut members = BTreeMap::new();
        let mut books = Vec::new();
        for id in ALL {
            let view = View::default();
            let never: crate::raft::fatal::Fatal = Arc::new(|reason| panic!("{reason}"));
            let machine = StateMachine::new(view.clone(), Vec::new(), Arc::clone(&never));
            let stores = Stores {
                log: MemLog::open(&MemDisk::default()).unwrap(),
                rows: Arc::new(MemRows::default()),
                snapshots: Arc::new(MemSnapshots::default()),
                outbound: Box::new(wires.clone()),
            };
            let config = Config::new(id, Some(ALL.to_vec()));
            let node = node::start(config, machine, stores, never).unwrap();
            wires.0.lock().nodes.insert(id, node.clone());
            let credentials = ca.credentials(&format!("spiffe://demo/coordinator/c{id}"));
            let peers = Peers::new(credentials.clone(), id);
            books.push(peers.clone());
            let introduce: Introduce = Arc::new(move |to| peer::PeerHello {
                node_id: id,
                to_node_id: to,
                ..peer::PeerHello::default()
            });
            let dir = tempfile::tempdir().unwrap();
            let clock = Arc::new(MeshClock::open(dir.path()));
            let proposer = Proposer::new(node, view.clone(), clock)
                .forwarding(Forwarder::new(peers, introduce));
            let server = ForwardServer::new(proposer.clone(), admit(id));
            let address = listen(server, &credentials, &supervisor).await;
            members.insert(id, Member { proposer, view, credentials, address, _dir: dir });
        }
        for book in books {
            book.learn(members.iter().map(|(id, member)| Peer {
                node_id: *id,
                name: format!("c{id}"),
                address: member.address.to_string(),
            }));
        }
        Self { members, wires, supervisor }
    }

    /// Who leads, as a majority sees it.
    async fn leader(&self) -> u64 {
        let cut = self.wires.0.lock().cut;
        let (id, member) = self.members.iter().find(|(id, _)| Some(**id) != cut).unwrap();
        let mut leader = member.proposer.node().leader();
        let known = leader.wait_for(|leader| leader.is_some() && *leader != cut);
        let known = tokio::time::timeout(LONG, known).await.unwrap().unwrap();
        known.unwrap_or(*id)
    }

    async fn follower(&self) -> u64 {
        self.leader().await % 3 + 1
    }

    fn cut(&self, id: Option<u64>) {
        self.wires.0.lock().cut = id;
    }

    async fn stop(self) {
        self.supervisor.stop();
        for member in self.members.into_values() {
            member.proposer.node().clone().stop().await;
        }
    }
}

fn origin(number: u64) -> Origin {
    Origin {
        request_id: Some(v1::RequestId { client: "c".into(), number, lowest_open: 1 }),
        request_digest: 7,
        source: "test".into(),
        ..Origin::default()
    }
}

/// An acknowledgement of nothing: refused by apply, and remembered under its id.
fn ack(uid: &str) -> Command {
    Command::AckIncident(store::AckIncident { uid: uid.into(), ..store::AckIncident::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_takes_writes_and_sees_them_when_it_has_answered() {
    let group = Group::start().await;
    group.leader().await;
    for (id, member) in &group.members {
        let name = format!("r{id}");
        member.proposer.apply(origin(*id), vec![region(&name)]).await.unwrap();
        let key = ("default".to_owned(), name);
        assert!(member.view.load().regions.contains_key(&key), "before the answer");
    }
    // What the first member was told is what the others are told under the same id.
    for member in group.members.values() {
        member.proposer.apply(origin(1), vec![region("r1")]).await.unwrap();
        member.proposer.barrier().await.unwrap();
        assert_eq!(member.view.load().regions.len(), 3);
    }
    // A refusal comes back with its rule, whoever was asked.
    for member in group.members.values() {
        let error = member.proposer.write(origin(9), ack("nobody")).await.unwrap_err();
        let WriteError::Refused(refusal) = error else { panic!("{error}") };
        assert_eq!(refusal.rule, "not_found");
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_apply_through_a_follower_is_answered_like_any_other() {
    let group = Group::start().await;
    group.leader().await;
    let member = &group.members[&group.follower().await];
    let name = |n: usize| format!("a-region-with-a-name-that-is-rather-long-{n}");
    let changes: Vec<_> = (0..8_000).map(|n| region(&name(n))).collect();
    // Every name in the answer would be more than a member takes from another.
    assert!((0..8_000).map(|n| name(n).len()).sum::<usize>() > FORWARD_BYTES_MAX);
    let (namespace, set) = ("default".to_owned(), "default".to_owned());
    let written = member.proposer.write_config(origin(1), namespace, set, false, changes).await;
    let (revision, _) = written.unwrap();
    let state = member.view.load();
    assert_eq!(state.regions.len(), 8_000);
    let last = state.resource(crate::core::state::Kind::Region, "default", &name(7_999)).unwrap();
    assert_eq!(convert::resource::meta_of(&last).unwrap().etag, revision);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_of_two_thousand_resources_arrives_with_its_code_and_rule() {
    let planned = |n| store::ConfigChange { base_etag: 7, ..region(&format!("region-{n}")) };
    let changes = (0..2_000).map(planned).collect();
    let commit = store::CommitConfig { changes, ..store::CommitConfig::default() };
    let command = Some(Command::CommitConfig(commit));
    let entry = store::Entry { command, ..store::Entry::default() };
    let applied = crate::core::state::State::default().apply(1, &entry.encode_to_vec());
    let Answer::Refused(refusal) = applied.answer else { panic!("nothing is there") };
    let refuse = refusal_status(&refusal);

    let group = Group::start().await;
    let member = &group.members[&1];
    let admit: Admit = Arc::new(move |_, _| Err(refuse.clone()));
    let server = ForwardServer::new(member.proposer.clone(), admit);
    let address = listen(server, &member.credentials, &group.supervisor).await;
    let hello = Some(peer::PeerHello::default());
    let status = ask_at(&group.members[&2], address, hello, None).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "{status}");
    assert_eq!(status.metadata().get(RULE_KEY).unwrap(), "conflict");
    assert!(status.message().contains(" and 1980 more"), "{}", status.message());
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_at_three_members_at_once_is_carried_out_once() {
    let group = Group::start().await;
    group.leader().await;
    for number in 1..=10 {
        let ask = |id: u64| {
            let proposer = group.members[&id].proposer.clone();
            async move { proposer.apply(origin(number), vec![region(&format!("r{number}"))]).await }
        };
        let answers = tokio::join!(ask(1), ask(2), ask(3));
        assert_eq!(answers, (Ok(()), Ok(()), Ok(())));
    }
    let member = &group.members[&1];
    member.proposer.barrier().await.unwrap();
    assert_eq!(member.view.load().regions.len(), 10);
    assert!(member.view.load().open_stages().is_empty());
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_outlives_the_leader_that_has_it_and_is_done_once() {
    let group = Group::start().await;
    let (first, follower) = (group.leader().await, group.follower().await);
    let member = &group.members[&follower];
    member.proposer.apply(origin(1), vec![region("before")]).await.unwrap();
    // The leader still takes the command, and nobody follows it any more.
    group.cut(Some(first));
    member.proposer.apply(origin(2), vec![region("during")]).await.unwrap();
    assert_ne!(group.leader().await, first);
    group.cut(None);
    // What the old leader had in its log does not come back.
    let old = &group.members[&first];
    old.proposer.apply(origin(3), vec![region("after")]).await.unwrap();
    assert_eq!(old.view.load().regions.len(), 3);
    group.stop().await;
}

/// A commit of one region.
fn commit(name: &str) -> Command {
    Command::CommitConfig(store::CommitConfig {
        namespace: "default".into(),
        set: "default".into(),
        changes: vec![region(name)],
        ..store::CommitConfig::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_under_one_leadership_is_never_written_under_another() {
    let group = Group::start().await;
    let (first, follower) = (group.leader().await, group.follower().await);
    let write = async |id: u64, number: u64, name: &str| {
        group.members[&id].proposer.write_here(origin(number), commit(name)).await
    };
    write(first, 1, "led").await.unwrap();
    assert!(group.members[&first].view.load().regions.len() == 1, "before the answer");
    let error = write(follower, 2, "followed").await.unwrap_err();
    assert!(error.is_for_lack_of_office() && !error.may_be_written(), "{error}");
    // It plans by what it holds, and somebody else is about to lead.
    group.cut(Some(first));
    let proposer = &group.members[&follower].proposer;
    let (lost, next) =
        tokio::join!(write(first, 3, "lost"), proposer.apply(origin(4), vec![region("kept")]));
    next.unwrap();
    group.cut(None);
    let error = lost.unwrap_err();
    assert!(error.is_for_lack_of_office() && error.may_be_written(), "{error}");
    let old = &group.members[&first];
    old.proposer.barrier().await.unwrap();
    let state = old.view.load();
    let names: Vec<&str> = state.regions.keys().map(|key| key.1.as_str()).collect();
    assert_eq!(names, ["kept", "led"]);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_leader_decides_is_not_forwarded() {
    let group = Group::start().await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    let command = Command::ChangeFleet(store::ChangeFleet::default());
    let proposer = &group.members[&follower].proposer;
    let error = proposer.write(Origin::leader("c1"), command.clone()).await.unwrap_err();
    assert!(
        matches!(error, WriteError::Propose(ProposeError::NotLeader { leader: Some(id) }) if id == leader),
        "{error}"
    );
    // And is not taken from a member that forwards it all the same.
    let hello = peer::PeerHello { to_node_id: leader, ..peer::PeerHello::default() };
    let entry = store::Entry { command: Some(command), ..store::Entry::default() };
    let status = ask(&group, leader, Some(hello), Some(entry)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("entry.command: "), "{status}");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_leader_says_so_in_time_and_one_that_follows_names_the_leader() {
    let group = Group::start().await;
    let (leader, follower) = (group.leader().await, group.follower().await);
    let hello = peer::PeerHello { to_node_id: follower, ..peer::PeerHello::default() };
    let id = v1::RequestId { client: "c".into(), number: 1, lowest_open: 1 };
    let entry =
        store::Entry { request_id: Some(id), command: Some(ack("x")), ..store::Entry::default() };
    let asked = ask(&group, follower, Some(hello), Some(entry)).await.unwrap();
    let Some(Outcome::NotLeader(other)) = asked.outcome else { panic!("{asked:?}") };
    assert_eq!(other.leader_id, leader);

    group.cut(Some(follower));
    let proposer = &group.members[&follower].proposer;
    let mut known = proposer.node().leader();
    tokio::time::timeout(LONG, known.wait_for(Option::is_none)).await.unwrap().unwrap();
    let error = proposer.write(origin(5), ack("x")).await.unwrap_err();
    assert!(!error.may_be_written(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("knows of no leader") && text.contains("member 1, member 2, member 3"),
        "{text}"
    );
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_let_in_writes_nothing() {
    let group = Group::start().await;
    let leader = group.leader().await;
    let wrong = peer::PeerHello { to_node_id: 99, ..peer::PeerHello::default() };
    for (hello, code) in [(None, Code::InvalidArgument), (Some(wrong), Code::PermissionDenied)] {
        let entry = store::Entry { command: Some(ack("x")), ..store::Entry::default() };
        let status = ask(&group, leader, hello, Some(entry)).await.unwrap_err();
        assert_eq!(status.code(), code);
        // The member that asks takes it for what it is: nothing was proposed.
        assert!(!failed(&status).may_be_written());
    }
    group.stop().await;
}

async fn ask(
    group: &Group,
    to: u64,
    hello: Option<peer::PeerHello>,
    entry: Option<store::Entry>,
) -> Result<peer::ProposeResponse, Status> {
    let from = &group.members[&(to % 3 + 1)];
    ask_at(from, group.members[&to].address, hello, entry).await
}

async fn ask_at(
    from: &Member,
    address: SocketAddr,
    hello: Option<peer::PeerHello>,
    entry: Option<store::Entry>,
) -> Result<peer::ProposeResponse, Status> {
    let connector = Connector::new(from.credentials.clone());
    let endpoint = endpoint(&address.to_string()).unwrap();
    let channel = endpoint.connect_with_connector_lazy(connector);
    let request = peer::ProposeRequest { hello, entry, within: None };
    Ok(ForwardServiceClient::new(channel).propose(request).await?.into_inner())
}

#[tokio::test]
async fn a_leader_that_cannot_be_dialled_or_found_has_nothing() {
    let ca = Ca::new();
    let peers = Peers::new(ca.credentials("spiffe://demo/coordinator/c1"), 1);
    // Bound and not listening; kept, as another might listen on what was given back.
    let kept = tokio::net::TcpSocket::new_v4().unwrap();
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = kept.local_addr().unwrap();
    peers.learn([Peer { node_id: 2, name: "c2".into(), address: address.to_string() }]);
    let forwarder = Forwarder::new(peers, Arc::new(|_| peer::PeerHello::default()));
    assert_eq!((forwarder.name(2), forwarder.name(3)), ("c2 (2)".into(), "3".into()));
    for (leader, named) in [(2, "cannot connect"), (3, "not known here")] {
        let error = forwarder.propose(leader, store::Entry::default(), LONG).await.unwrap_err();
        assert!(!error.may_be_written() && error.to_string().contains(named), "{error}");
    }
}

#[test]
fn an_outcome_means_the_same_at_both_ends() {
    let refusal =
        Refusal { rule: "conflict".into(), message: "m".into(), subjects: vec!["s".into()] };
    let same: Vec<Result<Answer, ProposeError>> = vec![
        Ok(Answer::Accepted {
            revision: 7,
            subjects: vec!["a".into()],
            counts: store::CommitCounts { created: 1, changed: 2, deleted: 3 },
        }),
        Ok(Answer::Refused(refusal)),
        Err(ProposeError::NotLeader { leader: Some(2) }),
        Err(ProposeError::NotLeader { leader: None }),
        Err(ProposeError::Overloaded),
        Err(ProposeError::TooLarge { bytes: 9, max: 8 }),
    ];
    for said in same {
        let heard = answer(Some(outcome(said.clone()).unwrap()));
        assert_eq!(heard, said.map_err(ForwardError::Propose));
    }
    for unknown in [ProposeError::Deadline(LONG), ProposeError::Dropped, ProposeError::Stopped] {
        let heard = answer(Some(outcome(Err(unknown)).unwrap())).unwrap_err();
        assert!(heard.may_be_written(), "{heard}");
    }
    assert!(answer(None).unwrap_err().may_be_written());
    assert!(failed(&Status::unavailable("broken")).may_be_written());
    assert!(!failed(&Status::failed_precondition("wrong disk")).may_be_written());
}
