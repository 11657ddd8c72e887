//! Whole coordinators whose group is changed from any of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use parallax_proto::peer::forward_service_client::ForwardServiceClient;
use parallax_proto::peer::propose_response::Outcome;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::cluster_service_client::ClusterServiceClient;
use parallax_proto::{peer, store, v1};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Credentials, connect};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::rig::{Ca, MESH};
use super::whole::{config, free_addresses};
use crate::{Bound, RunError};

const LONG: Duration = Duration::from_secs(60);

struct Running {
    api: ClusterServiceClient<Channel>,
    peers: SocketAddr,
    data: TempDir,
    ended: oneshot::Receiver<Result<(), RunError>>,
}

struct Cluster {
    ca: Ca,
    anna: Credentials,
    stop: CancellationToken,
    supervisor: Supervisor,
    listed: String,
    members: BTreeMap<String, Running>,
    tls: Vec<TempDir>,
    requests: u64,
}

impl Cluster {
    async fn start() -> Self {
        let (ca, addresses) = (Ca::new("ca"), free_addresses());
        let listed: Vec<String> =
            (1..).zip(addresses).map(|(n, at)| format!("c{n}={at}")).collect();
        let anna = ca.credentials(&format!("spiffe://{MESH}/user/anna/role/admin"));
        let mut cluster = Self {
            ca,
            anna,
            stop: CancellationToken::new(),
            supervisor: Supervisor::default(),
            listed: listed.join(","),
            members: BTreeMap::new(),
            tls: Vec::new(),
            requests: 0,
        };
        for (n, at) in (1..).zip(addresses) {
            let data = tempfile::tempdir().unwrap();
            let ready = cluster.spawn(&format!("c{n}"), at, data, None).await;
            assert!(ready.is_ok());
        }
        cluster
    }

    /// Starts a coordinator; joining when told where. Why it ended, when it did before it served.
    async fn spawn(
        &mut self,
        name: &str,
        at: SocketAddr,
        data: TempDir,
        join: Option<SocketAddr>,
    ) -> Result<(), RunError> {
        let tls = self.ca.issue(&format!("spiffe://{MESH}/coordinator/{name}"), 29, &[&self.ca]);
        let mut config = config(name, tls.path(), data.path(), at, &self.listed);
        if let Some(join) = join {
            (config.initial_members, config.join) = (Vec::new(), Some(join.to_string()));
        }
        self.tls.push(tls);
        let (ready, bound) = oneshot::channel::<Bound>();
        let (end, ended) = oneshot::channel();
        let stop = self.stop.clone();
        self.supervisor.spawn(TaskKind::Session("coordinator"), async move {
            drop(end.send(crate::run(config, stop, ready).await));
        });
        match tokio::time::timeout(LONG, bound).await.unwrap() {
            Ok(bound) => {
                let endpoint = [bound.api.to_string()];
                // One that finds out at once that it is removed has gone by now.
                let Ok(channel) = connect(&endpoint, &self.anna, None).await else {
                    return Err(ended.await.unwrap().unwrap_err());
                };
                let api = ClusterServiceClient::new(channel);
                self.members
                    .insert(name.to_owned(), Running { api, peers: bound.peers, data, ended });
                Ok(())
            }
            Err(_) => Err(ended.await.unwrap().unwrap_err()),
        }
    }

    fn id(&mut self) -> Option<v1::RequestId> {
        self.requests += 1;
        let number = self.requests;
        Some(v1::RequestId { client: "anna".into(), number, lowest_open: number })
    }

    fn api(&self, at: &str) -> ClusterServiceClient<Channel> {
        self.members[at].api.clone()
    }

    /// What the member `at` says of the cluster, once `holds` does.
    async fn until(
        &self,
        at: &str,
        holds: impl Fn(&v1::GetClusterResponse) -> bool,
    ) -> v1::GetClusterResponse {
        let deadline = clock::instant() + LONG;
        loop {
            let asked = v1::GetClusterRequest { stale: false };
            let said = self.api(at).get_cluster(asked).await.map(tonic::Response::into_inner);
            match said {
                Ok(cluster) if holds(&cluster) => return cluster,
                said => assert!(clock::instant() < deadline, "{said:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The leader, and the two others.
    async fn roles(&self) -> [String; 3] {
        let whole = |cluster: &v1::GetClusterResponse| {
            cluster.members.iter().filter(|it| it.reached && it.lag == Some(0)).count() == 3
        };
        let cluster = self.until("c1", whole).await;
        let leader = cluster.members.iter().find(|it| it.leader).unwrap().name.clone();
        let mut others = ["c1", "c2", "c3"].into_iter().filter(|name| *name != leader);
        let mut next = || others.next().unwrap().to_owned();
        [leader.clone(), next(), next()]
    }

    async fn remove(&mut self, at: &str, name: &str) -> Result<u64, Status> {
        let (name, request_id) = (name.to_owned(), self.id());
        let request = v1::RemoveMemberRequest { name, request_id };
        Ok(self.api(at).remove_member(request).await?.into_inner().revision)
    }

    /// Why a member that was removed ended.
    async fn end_of(&mut self, name: &str) -> (String, TempDir, SocketAddr) {
        let Running { ended, data, peers, .. } = self.members.remove(name).unwrap();
        let ended = tokio::time::timeout(LONG, ended).await.unwrap().unwrap();
        (ended.unwrap_err().to_string(), data, peers)
    }

    async fn stop(self) {
        self.stop.cancel();
        for (_, member) in self.members {
            member.ended.await.unwrap().unwrap();
        }
    }
}

fn member<'a>(cluster: &'a v1::GetClusterResponse, name: &str) -> &'a v1::ClusterMember {
    cluster.members.iter().rev().find(|member| member.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_lets_a_member_in_which_learns_and_leaves_again() {
    let mut cluster = Cluster::start().await;
    let [_, follower, _] = cluster.roles().await;
    let [at, ..] = free_addresses();
    let (name, peer_address) = ("c4".to_owned(), at.to_string());
    // Before it is added nobody knows it.
    let join = cluster.members[&follower].peers;
    let refused = cluster.spawn("c4", at, tempfile::tempdir().unwrap(), Some(join)).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("no member \"c4\" is expected"), "{refused}");

    let request = v1::AddMemberRequest { name, peer_address, request_id: cluster.id() };
    let added = cluster.api(&follower).add_member(request.clone()).await.unwrap().into_inner();
    assert_eq!(added.node_id, 4);
    let again = cluster.api(&follower).add_member(request).await.unwrap().into_inner();
    assert_eq!((again.node_id, again.revision), (4, added.revision), "never done twice");

    let data = tempfile::tempdir().unwrap();
    cluster.spawn("c4", at, data, Some(join)).await.unwrap();
    let said = cluster.until("c4", |cluster| member(cluster, "c4").lag == Some(0)).await;
    assert_eq!(member(&said, "c4").role(), v1::MemberRole::Learner);
    let request = v1::PromoteMemberRequest { name: "c4".into(), request_id: cluster.id() };
    let early = cluster.api("c4").promote_member(request).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    assert!(early.message().contains("\"c4\" has been heard steadily for"), "{early}");

    // Another disk under its name is refused.
    let other = tempfile::tempdir().unwrap();
    let [elsewhere, ..] = free_addresses();
    let refused = cluster.spawn("c4", elsewhere, other, Some(join)).await.unwrap_err().to_string();
    assert!(refused.contains("lives on another disk"), "{refused}");

    cluster.remove(&follower, "c4").await.unwrap();
    let (why, data, at) = cluster.end_of("c4").await;
    assert!(why.contains("has stopped for good") && why.contains("removed"), "{why}");
    // It does not come back under its old node id.
    let started = cluster.spawn("c4", at, data, Some(join)).await;
    let why = match started {
        Ok(()) => cluster.end_of("c4").await.0,
        Err(error) => error.to_string(),
    };
    assert!(why.contains("removed"), "{why}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_and_a_leader_is_removed_from_any_member() {
    let mut cluster = Cluster::start().await;
    let [first, second, third] = cluster.roles().await;
    let request = v1::TransferLeadershipRequest { name: second.clone(), request_id: cluster.id() };
    cluster.api(&third).transfer_leadership(request).await.unwrap();
    cluster.until(&third, |cluster| member(cluster, &second).leader).await;

    cluster.remove(&first, &second).await.unwrap();
    let (why, ..) = cluster.end_of(&second).await;
    assert!(why.contains("removed"), "{why}");
    let said = cluster.until(&first, |cluster| cluster.leader_id != 0).await;
    assert_eq!(member(&said, &second).role(), v1::MemberRole::Removed);
    for name in [&first, &third] {
        assert_eq!(member(&said, name).role(), v1::MemberRole::Voter);
    }
    let refused = cluster.remove(&first, &second).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    cluster.stop().await;
}

impl Cluster {
    /// Has the leader write, in the name of the member `by`, that `name` leaves, and no more: as one
    /// that dies after the first step of a removal.
    async fn begin_removal(&mut self, leader: &str, by: &str, name: &str) {
        let cluster = self.until(by, |cluster| cluster.leader_id != 0).await;
        let own = crate::identity::read(self.members[by].data.path()).unwrap().unwrap();
        let node_id = |name: &str| member(&cluster, name).node_id;
        let hello = peer::PeerHello {
            mesh: MESH.to_owned(),
            cluster_id: cluster.cluster_id.clone(),
            node_id: own.node_id,
            disk_id: own.disk_id,
            to_node_id: node_id(leader),
            level: crate::level::level(),
            ..peer::PeerHello::default()
        };
        let credentials = self.ca.credentials(&format!("spiffe://{MESH}/coordinator/{by}"));
        let target = [self.members[leader].peers.to_string()];
        let channel = connect(&target, &credentials, None).await.unwrap();
        let begin = store::RemoveMember { node_id: node_id(name), begin: true };
        let entry = store::Entry {
            request_id: self.id(),
            command: Some(Command::RemoveMember(begin)),
            ..store::Entry::default()
        };
        let request = peer::ProposeRequest { hello: Some(hello), entry: Some(entry), within: None };
        let answer = ForwardServiceClient::new(channel).propose(request).await.unwrap();
        let outcome = answer.into_inner().outcome;
        assert!(matches!(outcome, Some(Outcome::Accepted(_))), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_was_begun_is_carried_to_its_end_by_whoever_leads() {
    let mut cluster = Cluster::start().await;
    let [leader, follower, witness] = cluster.roles().await;
    cluster.begin_removal(&leader, &witness, &follower).await;
    let (why, ..) = cluster.end_of(&follower).await;
    assert!(why.contains("removed"), "{why}");
    let left = |cluster: &v1::GetClusterResponse| {
        member(cluster, &follower).role() == v1::MemberRole::Removed
    };
    let said = cluster.until(&witness, |cluster| left(cluster) && cluster.leader_id != 0).await;
    assert!(!member(&said, &follower).leaving);
    // One that leads hands over first.
    let led = member(&said, &leader).leader;
    let (leader, stays) = if led { (leader, witness) } else { (witness, leader) };
    cluster.begin_removal(&leader, &stays, &leader).await;
    let (why, ..) = cluster.end_of(&leader).await;
    assert!(why.contains("removed"), "{why}");
    let alone = |cluster: &v1::GetClusterResponse| member(cluster, &stays).leader;
    cluster.until(&stays, alone).await;
    cluster.stop().await;
}
