//! The coordinators themselves: how each does, and changes of the group.

use std::collections::BTreeMap;

use parallax_common::name::is_name;
use parallax_common::rule;
use parallax_common::time::UtcTime;
use parallax_proto::convert::time::{duration_to, timestamp};
use parallax_proto::peer::member_change::Change;
use parallax_proto::v1::cluster_service_server::ClusterService;
use parallax_proto::{peer, store, v1};
use parallax_runtime::transport::{Identity, peer_of};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::{Api, Asked, Need, asked, with_rule};
use crate::core::state::State;
use crate::members::account::{Accounts, Heard};
use crate::members::change::{Changer, Done};

/// The service of one member.
#[derive(Clone)]
pub struct ClusterApi {
    api: Api,
    accounts: Accounts,
    changer: Changer,
}

impl ClusterApi {
    /// Beside the other services of `api`.
    pub fn new(api: Api, accounts: Accounts, changer: Changer) -> Self {
        Self { api, accounts, changer }
    }

    /// Who calls, when their certificate lets them change the cluster: it is of no namespace.
    fn admin<T>(&self, request: &Request<T>) -> Result<v1::Actor, Status> {
        let actor = self.api.caller(request, super::DEFAULT_NAMESPACE, Need::Admin)?;
        match &peer_of(request)?.identity {
            Identity::User { namespaces, name, .. } if !namespaces.is_empty() => {
                Err(Status::permission_denied(format!(
                    "user \"{name}\" is admin of some namespaces only; the cluster belongs to all"
                )))
            }
            _ => Ok(actor),
        }
    }

    /// Carries the change to its end, also when the caller goes away meanwhile.
    async fn change(&self, asked: Asked, change: Change) -> Result<Done, Status> {
        let changer = self.changer.clone();
        let (tell, told) = oneshot::channel();
        self.api.inner.sessions.spawn("change of members", async move {
            // Nobody may be waiting any more.
            let _ = tell.send(changer.change(asked, change).await);
        });
        told.await.map_err(|_| Status::unavailable("the coordinator stops"))?
    }
}

/// Refuses what is no name, by the field that it stands in.
fn named(name: &str) -> Result<(), Status> {
    if is_name(name) {
        return Ok(());
    }
    let status = Status::invalid_argument(format!("name: {}", rule::NAME_FORMAT.statement));
    Err(with_rule(status, rule::NAME_FORMAT.id))
}

#[tonic::async_trait]
impl ClusterService for ClusterApi {
    async fn get_cluster(
        &self,
        request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        self.api.caller(&request, super::DEFAULT_NAMESPACE, Need::View)?;
        let state = self.api.read(request.get_ref().stale).await?;
        let heard = self.hear(&state).await;
        let own = self.accounts.own().await;
        let known = heard.values().flatten();
        // The leader of the newest term that anybody knows.
        let (term, leader_id) = known
            .map(|heard| (heard.account.term, heard.account.leader_id))
            .filter(|(_, leader)| *leader != 0)
            .max()
            .unwrap_or((own.term, own.leader_id));
        let leader = heard.get(&leader_id).and_then(|heard| heard.as_ref().ok());
        let leader = leader.map(|heard| &heard.account).filter(|it| it.leader_id == leader_id);
        let members = state
            .members
            .values()
            .map(|row| member(row, heard.get(&row.node_id), leader, leader.unwrap_or(&own)))
            .collect();
        Ok(Response::new(v1::GetClusterResponse {
            mesh: state.cluster.mesh.clone(),
            cluster_id: state.cluster.cluster_id.clone(),
            epoch: state.cluster.epoch,
            level: state.cluster.level,
            leader_id,
            term,
            revision: state.applied,
            answered_by: self.api.inner.node_id,
            members,
        }))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        let actor = self.admin(&request)?;
        let v1::AddMemberRequest { name, peer_address, request_id } = request.into_inner();
        named(&name)?;
        if parallax_runtime::transport::endpoint(&peer_address).is_err() {
            let status = Status::invalid_argument("peer_address: must be host:port");
            return Err(with_rule(status, rule::MEMBER_TEXT.id));
        }
        let content = [name.clone().into_bytes(), peer_address.clone().into_bytes()];
        let asked = asked(actor, request_id, "add_member", content)?;
        let change = Change::Add(peer::AddChange { name, peer_address });
        let done = self.change(asked, change).await?;
        let state = self.api.inner.view.load();
        let joined_at = state.live_members().find(|row| {
            row.node_id != done.node_id && !row.disk_id.is_empty() && !row.peer_address.is_empty()
        });
        Ok(Response::new(v1::AddMemberResponse {
            node_id: done.node_id,
            revision: done.revision,
            join_address: joined_at.map(|row| row.peer_address.clone()).unwrap_or_default(),
            mesh: state.cluster.mesh.clone(),
        }))
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::PromoteMemberResponse>, Status> {
        let actor = self.admin(&request)?;
        let v1::PromoteMemberRequest { name, request_id } = request.into_inner();
        named(&name)?;
        let asked = asked(actor, request_id, "promote_member", [name.clone().into_bytes()])?;
        let done = self.change(asked, Change::Promote(peer::PromoteChange { name })).await?;
        Ok(Response::new(v1::PromoteMemberResponse { revision: done.revision }))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let actor = self.admin(&request)?;
        let v1::RemoveMemberRequest { name, request_id } = request.into_inner();
        named(&name)?;
        let asked = asked(actor, request_id, "remove_member", [name.clone().into_bytes()])?;
        let done = self.change(asked, Change::Remove(peer::RemoveChange { name })).await?;
        Ok(Response::new(v1::RemoveMemberResponse { revision: done.revision }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let actor = self.admin(&request)?;
        let v1::TransferLeadershipRequest { name, request_id } = request.into_inner();
        named(&name)?;
        let asked = asked(actor, request_id, "transfer_leadership", [name.clone().into_bytes()])?;
        let done = self.change(asked, Change::Transfer(peer::TransferChange { name })).await?;
        Ok(Response::new(v1::TransferLeadershipResponse { leader_id: done.node_id }))
    }
}

impl ClusterApi {
    /// Asks every member at once how it does.
    async fn hear(&self, state: &State) -> BTreeMap<u64, Result<Heard, String>> {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut awaited = 0;
        for row in state.live_members() {
            let (accounts, tell, node_id) = (self.accounts.clone(), tell.clone(), row.node_id);
            awaited += 1;
            self.api.inner.sessions.spawn("account", async move {
                // Whoever asked may have gone.
                let _ = tell.send((node_id, accounts.of(node_id).await));
            });
        }
        drop(tell);
        let mut heard = BTreeMap::new();
        while heard.len() < awaited
            && let Some((node_id, account)) = told.recv().await
        {
            heard.insert(node_id, account);
        }
        heard
    }
}

/// One member: its row, what it says of itself, and what the leader says of it. `group` is the
/// account that says who votes.
fn member(
    row: &store::MemberRow,
    heard: Option<&Result<Heard, String>>,
    leader: Option<&peer::GetMemberResponse>,
    group: &peer::GetMemberResponse,
) -> v1::ClusterMember {
    let node_id = row.node_id;
    let role = if row.removed {
        v1::MemberRole::Removed
    } else if group.voters.contains(&node_id) {
        v1::MemberRole::Voter
    } else if group.learners.contains(&node_id) {
        v1::MemberRole::Learner
    } else {
        v1::MemberRole::Outside
    };
    let mut member = v1::ClusterMember {
        node_id,
        name: row.name.clone(),
        role: role.into(),
        leader: leader.is_some_and(|leader| leader.node_id == node_id),
        peer_address: row.peer_address.clone(),
        probe_address: row.probe_address.clone(),
        api_address: row.api_address.clone(),
        build: row.build.clone(),
        level: row.level,
        leaving: row.leaving && !row.removed,
        added_at: Some(timestamp(UtcTime::from_ns(row.added_utc_ns))),
        ..v1::ClusterMember::default()
    };
    match heard {
        Some(Ok(Heard { account, round_trip })) => {
            member.reached = true;
            member.term = account.term;
            member.applied = account.applied;
            member.round_trip = round_trip.map(duration_to);
            member.log_sync_p50 = account.log_sync_p50;
            member.log_sync_p99 = account.log_sync_p99;
            member.log_bytes = account.log_bytes;
            member.rows_bytes = account.rows_bytes;
            member.snapshot_bytes = account.snapshot_bytes;
            member.history_bytes = account.history_bytes;
            member.history_full = account.history_full;
            member.build = account.build.clone();
            member.level = account.level;
            member.stands_still = account.stands_still.clone();
        }
        Some(Err(why)) => member.unreached_because = why.clone(),
        None => {}
    }
    let seen = leader.and_then(|leader| leader.peers.iter().find(|peer| peer.node_id == node_id));
    if let Some(seen) = seen {
        member.progress = match seen.state() {
            peer::PeerState::Unspecified => v1::MemberProgress::Unspecified,
            peer::PeerState::Probing => v1::MemberProgress::Probing,
            peer::PeerState::Replicating => v1::MemberProgress::Replicating,
            peer::PeerState::Snapshot => v1::MemberProgress::Snapshot,
        }
        .into();
        member.lag = Some(seen.lag);
        member.heard_ago = seen.heard_ago;
        member.steady_for = seen.steady_for;
    } else if member.leader {
        member.lag = Some(0);
    }
    member
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(node_id: u64, removed: bool) -> store::MemberRow {
        let name = format!("c{node_id}");
        store::MemberRow { node_id, name, removed, ..store::MemberRow::default() }
    }

    fn account(node_id: u64) -> peer::GetMemberResponse {
        let progress = |node_id, lag| peer::PeerProgress {
            node_id,
            lag,
            state: peer::PeerState::Replicating.into(),
            ..peer::PeerProgress::default()
        };
        peer::GetMemberResponse {
            node_id,
            leader_id: 1,
            term: 3,
            applied: 100 + node_id,
            voters: vec![1, 2],
            learners: vec![3],
            peers: vec![progress(2, 0), progress(3, 77)],
            ..peer::GetMemberResponse::default()
        }
    }

    fn heard(node_id: u64) -> Result<Heard, String> {
        Ok(Heard { account: account(node_id), round_trip: Some(Duration::from_millis(3)) })
    }

    #[test]
    fn a_member_is_what_it_says_and_what_its_leader_says() {
        let leader = account(1);
        let learner = member(&row(3, false), Some(&heard(3)), Some(&leader), &leader);
        assert_eq!(learner.role(), v1::MemberRole::Learner);
        assert_eq!((learner.lag, learner.applied, learner.reached), (Some(77), 103, true));
        assert_eq!(learner.progress(), v1::MemberProgress::Replicating);
        let first = member(&row(1, false), Some(&heard(1)), Some(&leader), &leader);
        assert!(first.leader && first.role() == v1::MemberRole::Voter);
        assert_eq!(first.lag, Some(0));
    }

    #[test]
    fn who_is_not_reached_or_not_in_the_group_is_shown_as_such() {
        let leader = account(1);
        let away = Err("no answer within 1 s".to_owned());
        let silent = member(&row(2, false), Some(&away), Some(&leader), &leader);
        assert!(!silent.reached && silent.unreached_because.contains("no answer"));
        assert_eq!((silent.role(), silent.lag), (v1::MemberRole::Voter, Some(0)));
        let outside = member(&row(4, false), Some(&away), Some(&leader), &leader);
        assert_eq!((outside.role(), outside.lag), (v1::MemberRole::Outside, None));
        assert_eq!(member(&row(2, true), None, None, &leader).role(), v1::MemberRole::Removed);
        // Without a leader nobody knows who lags.
        let alone = member(&row(2, false), Some(&heard(2)), None, &account(2));
        assert_eq!((alone.role(), alone.lag), (v1::MemberRole::Voter, None));
    }
}
