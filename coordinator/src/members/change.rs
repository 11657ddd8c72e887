//! Carries out a change of the group: the steps of each, on the leader, wherever it was asked for.
//!
//! Every step may be repeated: whoever asks again, after an answer was lost or a leader was, finds
//! what is done already and goes on from there. What may be done when is in `core/membership.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parallax_common::limits::{
    FORWARD_PAUSE, MEMBER_CHANGE_WITHIN, MEMBER_FAREWELL_WITHIN, MEMBER_SETTLE_WITHIN,
    MEMBER_STEP_WITHIN,
};
use parallax_proto::peer::member_change::Change as Wanted;
use parallax_proto::peer::member_service_client::MemberServiceClient;
use parallax_proto::store::entry::Command;
use parallax_proto::{peer, store};
use parallax_runtime::clock;
use parking_lot::Mutex;
use tonic::{Code, Status};
use tracing::info;

use crate::api::{refusal_status, write_status};
use crate::core::membership::{Change, Removal, Unfit, Who};
use crate::core::state::{Answer, Asked, State};
use crate::members::hand_over::{low_level, successors};
use crate::peers::Peers;
use crate::peers::gate::Gate;
use crate::propose::{Origin, Proposer, WriteError};
use crate::raft::node::{ChangeError, NodeHandle, TransferError};
use crate::view::View;

/// Between two looks at a member that has to be heard, or has to hear.
const POLL: Duration = Duration::from_millis(50);

/// A change that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The member that it was about.
    pub node_id: u64,
    /// The revision at which it was.
    pub revision: u64,
}

/// Why a step ended the attempt on this member.
enum Halted {
    /// Another member leads, or will in a moment: the change goes on there.
    Moved,
    /// The answer.
    Refused(Status),
}

impl From<Status> for Halted {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

struct Inner {
    view: View,
    proposer: Proposer,
    peers: Peers,
    gate: Gate,
    /// What is under way on this member.
    busy: Mutex<Option<String>>,
}

/// Changes the group. Clones share the rule of one change at a time.
#[derive(Clone)]
pub struct Changer(Arc<Inner>);

/// A change is under way as long as this lives.
pub(super) struct Turn(Arc<Inner>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.lock().take();
    }
}

impl Changer {
    /// Changes the group that this member is in.
    pub fn new(view: View, proposer: Proposer, peers: Peers, gate: Gate) -> Self {
        Self(Arc::new(Inner { view, proposer, peers, gate, busy: Mutex::default() }))
    }

    fn node(&self) -> &NodeHandle<Answer> {
        self.0.proposer.node()
    }

    /// The newest state here.
    pub(super) fn view(&self) -> &View {
        &self.0.view
    }

    /// Has the leader carry out `wanted`, and goes on with the next one when leadership moves.
    ///
    /// # Errors
    /// Why it is not done, or that nobody knows whether it is.
    pub async fn change(&self, asked: Asked, wanted: Wanted) -> Result<Done, Status> {
        let until = clock::instant() + MEMBER_CHANGE_WITHIN;
        let mut leader = self.node().leader();
        loop {
            let known = *leader.borrow_and_update();
            let attempt = match known {
                None => Err(Status::unavailable("no leader is known; nothing was changed")),
                Some(id) if id == self.0.gate.node_id() => match self.here(&asked, &wanted).await {
                    Err(Halted::Moved) => Err(Status::unavailable("leadership has moved")),
                    Err(Halted::Refused(status)) => return Err(status),
                    Ok(done) => return Ok(done),
                },
                Some(id) => self.there(id, &asked, &wanted, until).await,
            };
            let error = match attempt {
                Err(status) if status.code() == Code::Unavailable => status,
                answer => return answer,
            };
            let left = until.saturating_duration_since(clock::instant());
            if left.is_zero() {
                return Err(error);
            }
            let pause = if known.is_none() { left } else { FORWARD_PAUSE.min(left) };
            // An error is the end of the pause; the end of the node ends the next attempt.
            let _ = tokio::time::timeout(pause, leader.changed()).await;
        }
    }

    /// Asks the leader.
    async fn there(
        &self,
        leader: u64,
        asked: &Asked,
        wanted: &Wanted,
        until: Instant,
    ) -> Result<Done, Status> {
        let Some(channel) = self.0.peers.channel(leader) else {
            return Err(Status::unavailable(format!(
                "the address of the leader, {}, is not known here",
                Who { node_id: leader, name: name_of(&self.0.view.load(), leader) }
            )));
        };
        let request = peer::ChangeMembersRequest {
            hello: Some(self.0.gate.hello(leader)),
            actor: Some(asked.actor.clone()),
            request_id: Some(asked.id.clone()),
            request_digest: asked.digest,
            change: Some(peer::MemberChange { change: Some(wanted.clone()) }),
        };
        let mut client = MemberServiceClient::new(channel);
        let left = until.saturating_duration_since(clock::instant());
        match tokio::time::timeout(left, client.change_members(request)).await {
            Ok(Ok(answer)) => {
                let peer::ChangeMembersResponse { node_id, revision } = answer.into_inner();
                Ok(Done { node_id, revision })
            }
            // A transport that breaks says many things, each with a cause.
            Ok(Err(status)) if std::error::Error::source(&status).is_some() => {
                Err(Status::unavailable(status.message()))
            }
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::unavailable(
                "the leader did not answer in time; the change may still be made",
            )),
        }
    }

    /// Carries out a change that another member was asked for.
    ///
    /// # Errors
    /// As [`Changer::change`]; `UNAVAILABLE` when this member does not lead.
    pub async fn change_here(&self, asked: &Asked, wanted: &Wanted) -> Result<Done, Status> {
        self.here(asked, wanted).await.map_err(|halted| match halted {
            Halted::Refused(status) => status,
            Halted::Moved => Status::unavailable("this member does not lead"),
        })
    }

    /// The right to change the group, for one at a time.
    pub(super) fn turn(&self, what: &str) -> Result<Turn, String> {
        let mut busy = self.0.busy.lock();
        match busy.as_ref() {
            Some(other) => Err(other.clone()),
            None => {
                *busy = Some(what.to_owned());
                Ok(Turn(Arc::clone(&self.0)))
            }
        }
    }

    async fn here(&self, asked: &Asked, wanted: &Wanted) -> Result<Done, Halted> {
        if !self.node().leadership().borrow().leader {
            return Err(Halted::Moved);
        }
        let what = describe(wanted);
        let _turn = self.turn(&what).map_err(|other| {
            Status::failed_precondition(format!(
                "another change of the members is under way ({other}); one at a time"
            ))
        })?;
        let done = match wanted {
            Wanted::Add(add) => self.add(asked, add).await,
            Wanted::Promote(promote) => self.promote(&promote.name).await,
            Wanted::Remove(remove) => self.remove(asked, &remove.name).await,
            Wanted::Transfer(transfer) => self.transfer(&transfer.name).await,
        }?;
        info!(what, node_id = done.node_id, revision = done.revision, "the group was changed");
        Ok(done)
    }

    async fn add(&self, asked: &Asked, add: &peer::AddChange) -> Result<Done, Halted> {
        // Looked at before the row is written, so that a refusal leaves nothing behind. The status is a
        // moment old, so a change that was just made is given the time to be seen.
        let until = clock::instant() + MEMBER_SETTLE_WITHIN;
        let status = loop {
            let status = self.node().status();
            if !status.change_pending {
                break status;
            }
            if clock::instant() >= until {
                return Err(self.unfit(Unfit::Pending).into());
            }
            tokio::time::sleep(POLL).await;
        };
        let (name, peer_address) = (add.name.clone(), add.peer_address.clone());
        let command = Command::AddMember(store::AddMember { name, peer_address });
        let written = self.0.proposer.write(origin(asked), command).await;
        let (revision, node_id) = match written {
            Ok((revision, subjects)) => {
                let id = subjects.first().and_then(|id| id.parse().ok());
                (revision, id.ok_or_else(|| Status::internal("the new member has no node id"))?)
            }
            Err(error) => {
                // An addition that was not carried to its end goes on.
                let state = self.0.view.load();
                let row = state.member_named(&add.name);
                let same = row.filter(|row| {
                    matches!(error, WriteError::Refused(_)) && row.peer_address == add.peer_address
                });
                match same {
                    Some(row) if !is_in(&status.voters, &status.learners, row.node_id) => {
                        (state.applied, row.node_id)
                    }
                    _ => return Err(write_status(error).into()),
                }
            }
        };
        self.step(Change::AddLearner(node_id)).await?;
        Ok(Done { node_id, revision })
    }

    async fn promote(&self, name: &str) -> Result<Done, Halted> {
        let node_id = self.staying(name)?;
        let revision = self.step(Change::Promote(node_id)).await?;
        Ok(Done { node_id, revision })
    }

    /// Notes that the member leaves, so that whoever leads next goes on with it; demotes it; writes down
    /// that it is removed, which it hears as its last; then cuts it off.
    async fn remove(&self, asked: &Asked, name: &str) -> Result<Done, Halted> {
        let node_id = match self.replayed(asked)? {
            // Removed before; whoever is still in the group is taken out below.
            Some(_) => {
                let state = self.0.view.load();
                let mut rows = state.members.values().rev();
                let gone = rows.find(|row| row.removed && row.name == name);
                gone.map(|row| row.node_id).ok_or_else(|| not_found(name))?
            }
            None => self.member(name)?,
        };
        let status = self.node().status();
        if node_id == status.node_id {
            let group = status.group();
            let Some(next) = self.successor().await else {
                let change = Change::Demote(node_id);
                let why = match group.voters.as_slice() {
                    [_] => Unfit::LastVoter(Who { node_id, name: String::new() }),
                    _ => group.allows(change).err().unwrap_or(Unfit::Pending),
                };
                let why = self.unfit(why);
                let message = format!("{}, and no other voter can lead now", why.message());
                return Err(Status::failed_precondition(message).into());
            };
            self.hand_over(next).await?;
            return Err(Halted::Moved);
        }
        self.begin_removal(asked, node_id).await?;
        self.step(Change::Demote(node_id)).await?;
        let command = Command::RemoveMember(store::RemoveMember { node_id, begin: false });
        let written = self.0.proposer.write(origin(asked), command).await;
        let (revision, _) = written.map_err(write_status)?;
        self.cut_off(node_id, revision).await?;
        Ok(Done { node_id, revision })
    }

    /// Has it written that the member leaves, unless it was, or the removal would be refused: what is
    /// refused leaves nothing behind.
    async fn begin_removal(&self, asked: &Asked, node_id: u64) -> Result<(), Halted> {
        let row = self.0.view.load().members.get(&node_id).cloned();
        if row.is_none_or(|row| row.leaving || row.removed) {
            return Ok(());
        }
        let (change, until) = (Change::Demote(node_id), clock::instant() + MEMBER_SETTLE_WITHIN);
        loop {
            match self.node().status().group().allows(change) {
                Ok(()) => break,
                Err(why) if why.is_done(change) => break,
                Err(Unfit::NoQuorum { .. } | Unfit::Pending) if clock::instant() < until => {
                    tokio::time::sleep(POLL).await;
                }
                Err(why) => return Err(self.unfit(why).into()),
            }
        }
        // The request's answer is that of the last step.
        let origin = Origin { request_id: None, request_digest: 0, ..origin(asked) };
        let command = Command::RemoveMember(store::RemoveMember { node_id, begin: true });
        match self.0.proposer.write(origin, command).await {
            Ok(_) => Ok(()),
            Err(WriteError::Refused(refusal)) => Err(refusal_status(&refusal).into()),
            Err(_) if !self.node().leadership().borrow().leader => Err(Halted::Moved),
            Err(error) => Err(write_status(error).into()),
        }
    }

    /// Goes on with a removal that was begun and whose caller or leader is gone, by one step.
    ///
    /// # Errors
    /// In words, why it is not made now.
    pub(super) async fn go_on_removing(&self, node_id: u64, step: Removal) -> Result<(), String> {
        match step {
            Removal::HandOver(next) => {
                let handed = self.node().transfer_leadership(next, MEMBER_STEP_WITHIN).await;
                handed.map_err(|error| self.told(error).to_string())
            }
            Removal::Demote => {
                let made = self.try_step(Change::Demote(node_id)).await;
                made.map(drop).map_err(|error| error.to_string())
            }
            Removal::Finish => {
                let command = Command::RemoveMember(store::RemoveMember { node_id, begin: false });
                let name = name_of(&self.0.view.load(), self.0.gate.node_id());
                let written = self.0.proposer.write(Origin::leader(&name), command).await;
                written.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    /// Who is best to lead next. A new leader has not heard anybody yet.
    async fn successor(&self) -> Option<u64> {
        let until = clock::instant() + MEMBER_SETTLE_WITHIN;
        loop {
            let status = self.node().status();
            let next = successors(&status, &self.0.peers, &self.0.view).first().copied();
            if next.is_some() || status.voters.len() == 1 || clock::instant() >= until {
                return next;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Takes a removed learner out of the group, after it had the time to hear of it.
    pub(super) async fn cut_off_removed(&self, node_id: u64) -> Result<(), Status> {
        let cut = self.cut_off(node_id, 0).await;
        cut.map_err(|halted| match halted {
            Halted::Refused(status) => status,
            Halted::Moved => Status::unavailable("leadership has moved"),
        })
    }

    async fn cut_off(&self, node_id: u64, revision: u64) -> Result<(), Halted> {
        let until = clock::instant() + MEMBER_FAREWELL_WITHIN;
        loop {
            let status = self.node().status();
            // With the heartbeat behind the entry it also knows that it is committed.
            let peer = status.peers.iter().find(|peer| peer.node_id == node_id);
            let has_it = peer.is_some_and(|peer| peer.matched > revision);
            let away = peer.is_none_or(|peer| peer.heard_ago.is_none());
            if has_it || away || clock::instant() >= until {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        self.step(Change::Remove(node_id)).await.map(|_| ())
    }

    async fn transfer(&self, name: &str) -> Result<Done, Halted> {
        let node_id = self.staying(name)?;
        if node_id != self.0.gate.node_id() {
            if let Some(has) = low_level(node_id, &self.0.peers, &self.0.view) {
                let needs = self.0.view.load().cluster.level;
                return Err(Status::failed_precondition(format!(
                    "\"{name}\" must not lead: its build understands level {has}, the cluster is at \
                     {needs}; install the newer build there"
                ))
                .into());
            }
            self.hand_over(node_id).await?;
        }
        Ok(Done { node_id, revision: self.0.view.load().applied })
    }

    /// One change in Raft's own configuration, unless it is done already: the index it is made at.
    pub(super) async fn try_step(&self, change: Change) -> Result<u64, ChangeError> {
        let until = clock::instant() + MEMBER_SETTLE_WITHIN;
        loop {
            match self.node().change_members(change, MEMBER_STEP_WITHIN).await {
                // A new leader has not heard anybody yet.
                Err(ChangeError::Unfit(Unfit::NoQuorum { .. })) if clock::instant() < until => {
                    tokio::time::sleep(POLL).await;
                }
                // The status is a moment old; the node itself knows.
                Err(ChangeError::Unfit(why)) if why.is_done(change) => {
                    return Ok(self.0.view.load().applied);
                }
                made => return made,
            }
        }
    }

    async fn step(&self, change: Change) -> Result<u64, Halted> {
        self.try_step(change).await.map_err(|error| match error {
            ChangeError::NotLeader { .. } | ChangeError::Overtaken => Halted::Moved,
            ChangeError::Unfit(why) => Halted::Refused(self.unfit(why)),
            ChangeError::Overloaded => Status::resource_exhausted(error.to_string()).into(),
            ChangeError::Deadline(_) | ChangeError::Stopped => Status::deadline_exceeded(format!(
                "{error}; `parallax cluster status` shows whether it is, and asking again goes on \
                 from there"
            ))
            .into(),
        })
    }

    async fn hand_over(&self, to: u64) -> Result<(), Halted> {
        let until = clock::instant() + MEMBER_SETTLE_WITHIN;
        let handed = loop {
            match self.node().transfer_leadership(to, MEMBER_STEP_WITHIN).await {
                Err(TransferError::Unfit(Unfit::Silent(_))) if clock::instant() < until => {
                    tokio::time::sleep(POLL).await;
                }
                handed => break handed,
            }
        };
        handed.map_err(|error| match error {
            TransferError::NotLeader { .. } => Halted::Moved,
            TransferError::Unfit(why) => Halted::Refused(self.unfit(why)),
            TransferError::Overloaded => Status::resource_exhausted(error.to_string()).into(),
            TransferError::Stopped => Status::unavailable(error.to_string()).into(),
            TransferError::Pending(_)
            | TransferError::NotTaken(_)
            | TransferError::OtherElected(_)
            | TransferError::Deadline(_) => {
                let error = self.told(error);
                Status::failed_precondition(format!("leadership was not handed over: {error}"))
                    .into()
            }
        })
    }

    /// The member with this name.
    fn member(&self, name: &str) -> Result<u64, Status> {
        let state = self.0.view.load();
        state.member_named(name).map(|row| row.node_id).ok_or_else(|| not_found(name))
    }

    /// The member with this name, if it is not on its way out.
    fn staying(&self, name: &str) -> Result<u64, Status> {
        let state = self.0.view.load();
        match state.member_named(name) {
            None => Err(not_found(name)),
            Some(row) if row.leaving => Err(Status::failed_precondition(format!(
                "the removal of \"{name}\" was begun and is carried to its end"
            ))),
            Some(row) => Ok(row.node_id),
        }
    }

    fn told(&self, error: TransferError) -> TransferError {
        let state = self.0.view.load();
        error.named(|id| name_of(&state, id))
    }

    /// What was answered to the same request before.
    fn replayed(&self, asked: &Asked) -> Result<Option<u64>, Status> {
        match self.0.view.load().replayed(asked) {
            Ok(Some(Answer::Accepted { revision, .. })) => Ok(Some(revision)),
            Ok(Some(Answer::Refused(refusal))) | Err(refusal) => Err(refusal_status(&refusal)),
            Ok(None) => Ok(None),
        }
    }

    /// A refusal with names instead of numbers.
    fn unfit(&self, why: Unfit) -> Status {
        let state = self.0.view.load();
        Status::failed_precondition(why.named(|id| name_of(&state, id)).to_string())
    }
}

/// A member's name, empty when there is none.
fn name_of(state: &State, node_id: u64) -> String {
    state.members.get(&node_id).map(|row| row.name.clone()).unwrap_or_default()
}

fn is_in(voters: &[u64], learners: &[u64], node_id: u64) -> bool {
    voters.contains(&node_id) || learners.contains(&node_id)
}

fn not_found(name: &str) -> Status {
    Status::not_found(format!("there is no member \"{name}\""))
}

fn describe(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Add(add) => format!("add \"{}\"", add.name),
        Wanted::Promote(promote) => format!("promote \"{}\"", promote.name),
        Wanted::Remove(remove) => format!("remove \"{}\"", remove.name),
        Wanted::Transfer(transfer) => format!("hand over to \"{}\"", transfer.name),
    }
}

fn origin(asked: &Asked) -> Origin {
    Origin {
        actor: asked.actor.clone(),
        request_id: Some(asked.id.clone()),
        request_digest: asked.digest,
        source: "api".to_owned(),
    }
}
