//! One member of the group, without a thread or a clock: what is made durable, sent, applied and
//! answered, and in which order.
//!
//! [`Member::perform`] is that order, written once (decision 17). [`super::node`] drives it.

mod low;
mod report;
mod snapshots;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parallax_common::limits;
use parallax_runtime::clock;
use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType};
use raft::{RawNode, ReadOnlyOption, SnapshotStatus, StateRole};
use tracing::{info, warn};

use super::changes::{
    ChangeError, ChangeReply, Changes, Heard, Proposed, Transfer, TransferError, TransferReply,
    encode,
};
use super::config::{Config, Stores};
use super::drain;
use super::group::{self, Group};
use super::halt::{Halt, StartError};
use super::latencies::Latencies;
use super::log::storage::RaftStorage;
use super::log::{LogStore, entry_bytes};
use super::machine::Machine;
use super::outbound::{Carried, Outbound};
use super::proposals::{Committed, Origin, Proposals, ProposeError, Reply};
use super::reads::{self, ReadError, Reads};
use super::recover::{self, RecoverError, Recovered};
use super::standstill::Ceiling;
use crate::core::membership::{Change, Unfit};
use crate::mutant::{self, Mutant};
use crate::store::rows::RowStore;
use crate::store::snapshot::{SnapshotId, SnapshotStore};
use crate::store::writer::WriteBehind;

/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: usize = 2;
/// Ticks without a leader after which one is missed; the timeout itself is drawn from the range.
const ELECTION_TICKS: usize = 16;
const ELECTION_TICKS_MIN: usize = 19;
const ELECTION_TICKS_MAX: usize = 29;

/// Whether this member leads, and has applied the first entry of its term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The present term.
    pub term: u64,
    /// It leads, and its state holds everything committed before its term.
    pub leader: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct SinceSnapshot {
    entries: u64,
    bytes: u64,
}

/// One member of the group.
pub struct Member<M: Machine, L: LogStore> {
    config: Config,
    raw: RawNode<RaftStorage<L>>,
    machine: M,
    rows: Arc<dyn RowStore>,
    snapshots: Arc<dyn SnapshotStore>,
    outbound: Box<dyn Outbound>,
    behind: WriteBehind,
    proposals: Proposals<M::Output>,
    group: Group,
    /// What is committed, as the others were told it at least.
    told_commit: u64,
    reads: Reads,
    changes: Changes,
    heard: Heard,
    /// As of the last tick: when a message comes, nobody looks at a clock.
    now: Instant,
    applied: SnapshotId,
    led: bool,
    since: SinceSnapshot,
    snapshotting: Option<SnapshotId>,
    /// When the last one could not be written.
    snapshot_failed: Option<Instant>,
    log_syncs: Latencies,
    ceiling: Ceiling,
}

impl<M: Machine, L: LogStore> Member<M, L> {
    /// Finds the state of this member and makes it ready. A lone voter stands for election at once.
    pub fn start(
        config: Config,
        mut machine: M,
        mut stores: Stores<L>,
    ) -> Result<(Self, Recovered), StartError> {
        let recovered = recover::recover(
            config.node_id,
            config.bootstrap.as_deref(),
            &mut machine,
            &mut stores.log,
            stores.rows.as_ref(),
            stores.snapshots.as_ref(),
        )?;
        let applied = recovered.applied;
        let term = stores.log.term(applied).map_err(RecoverError::Log)?;
        let raft_config = raft::Config {
            id: config.node_id,
            applied: applied - u64::from(mutant::on(Mutant::ApplyTwice) && applied > 1),
            heartbeat_tick: HEARTBEAT_TICKS,
            election_tick: ELECTION_TICKS,
            min_election_tick: ELECTION_TICKS_MIN,
            max_election_tick: ELECTION_TICKS_MAX,
            pre_vote: true,
            check_quorum: true,
            read_only_option: ReadOnlyOption::Safe,
            max_size_per_msg: config.message_bytes_max,
            max_inflight_msgs: config.inflight_max,
            max_uncommitted_size: limits::UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: limits::APPLY_BYTES_MAX,
            // It is told with the entries that follow, or by [`Self::tell_commit`].
            skip_bcast_commit: true,
            ..raft::Config::default()
        };
        let mut conf_state = recovered.conf_state.clone();
        if mutant::on(Mutant::QuorumOneShort) {
            let mut others = 0;
            conf_state.voters.retain(|id| {
                others += u32::from(*id != config.node_id);
                *id == config.node_id || others > 2
            });
        }
        let ceiling = Ceiling::scan(&machine, &stores.log, applied).map_err(RecoverError::Log)?;
        let storage = RaftStorage {
            log: stores.log,
            applied,
            conf_state,
            snapshots: Arc::clone(&stores.snapshots),
            snapshot_wanted: Cell::default(),
            damaged: RefCell::default(),
            newest: RefCell::default(),
        };
        // raft-rs draws a timeout of its own here and at each change of term or role; what counts
        // is ours, see [`Self::pin_election_timeout`].
        let mut raw = RawNode::new(&raft_config, storage, &drain::logger())?;
        if mutant::on(Mutant::QuorumOneShort) {
            raw.mut_store().conf_state.clone_from(&recovered.conf_state);
        }
        if recovered.conf_state.voters == [config.node_id]
            && recovered.conf_state.voters_outgoing.is_empty()
            && !ceiling.is_low()
        {
            // Nobody else can win: there is nothing to wait for.
            raw.campaign()?;
        }
        machine.publish(applied);
        let origin = Origin::new(config.node_id, config.life);
        let since = SinceSnapshot {
            entries: applied.saturating_sub(raw.store().log.start().index),
            bytes: 0,
        };
        let mut member = Self {
            config,
            raw,
            machine,
            rows: stores.rows,
            snapshots: stores.snapshots,
            outbound: stores.outbound,
            behind: WriteBehind::new(applied),
            proposals: Proposals::new(origin),
            group: Group::default(),
            told_commit: 0,
            reads: Reads::new(origin),
            changes: Changes::default(),
            heard: Heard::default(),
            now: clock::instant(),
            applied: SnapshotId { index: applied, term },
            led: false,
            since,
            snapshotting: None,
            snapshot_failed: None,
            log_syncs: Latencies::default(),
            ceiling,
        };
        member.pin_election_timeout();
        Ok((member, recovered))
    }

    /// Replaces the election timeout that raft-rs drew from the global source by one that follows
    /// from this life's number, the term and the role: chance between members, and the same run for
    /// the same numbers.
    fn pin_election_timeout(&mut self) {
        let raft = &mut self.raw.raft;
        let role = match raft.state {
            StateRole::Follower => 0,
            StateRole::PreCandidate => 1,
            StateRole::Candidate => 2,
            StateRole::Leader => 3,
        };
        let timeout = election_timeout(self.config.life, self.config.node_id, raft.term, role);
        raft.set_randomized_election_timeout(timeout);
    }

    /// The queue to the row store; somebody has to write from it.
    pub fn behind(&self) -> &WriteBehind {
        &self.behind
    }

    /// The machine, as of [`Member::applied`].
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Who votes and who learns, as of [`Member::applied`].
    pub fn conf_state(&self) -> &ConfState {
        &self.raw.store().conf_state
    }

    /// The last applied index.
    pub fn applied(&self) -> u64 {
        self.applied.index
    }

    /// Whether this member leads with a complete state.
    pub fn leadership(&self) -> Leadership {
        let term = self.raw.raft.term;
        let leader = self.is_leader() && self.applied.term == term && !self.ceiling.is_low();
        Leadership { term, leader }
    }

    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Who leads, as far as this member knows.
    pub fn leader(&self) -> Option<u64> {
        Some(self.raw.raft.leader_id).filter(|leader| *leader != raft::INVALID_ID)
    }

    /// Proposes an entry, with the others of this turn. The answer comes when it is applied, or known
    /// to be lost.
    pub fn propose(
        &mut self,
        entry: Bytes,
        now: Instant,
        allowed: Duration,
        reply: Reply<M::Output>,
    ) {
        let (number, mark) = self.proposals.next();
        // Whoever asked may be gone, and need not know.
        match self.may_propose(&entry) {
            Ok(()) => {
                self.proposals.wait(number, now, allowed, reply);
                self.group.add(number, mark, entry);
                if self.group.is_full() {
                    self.propose_group();
                }
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn may_propose(&self, entry: &[u8]) -> Result<(), ProposeError> {
        check_size(entry)?;
        // A follower would forward it silently, and its answer would be lost.
        if !self.is_leader() {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        // Raft takes nothing while it hands over, and somebody leads in a moment.
        if self.raw.raft.lead_transferee.is_some() || self.ceiling.is_low() {
            return Err(ProposeError::NotLeader { leader: None });
        }
        if self.proposals.len() >= limits::PROPOSALS_PENDING_MAX
            || self.behind.backlog().is_pressing()
        {
            return Err(ProposeError::Overloaded);
        }
        Ok(())
    }

    /// Proposes what was taken in this turn. What is refused now was never in the log.
    fn propose_group(&mut self) {
        let Some((numbers, message)) = self.group.take(self.config.node_id) else { return };
        // Lost since they were taken; a follower would forward them.
        if !self.is_leader() {
            let error = ProposeError::NotLeader { leader: self.leader() };
            return self.proposals.refuse(&numbers, &error);
        }
        let entries = message.entries.clone();
        if self.raw.raft.step(message).is_ok() {
            self.told_commit = self.raw.raft.raft_log.committed;
            return;
        }
        // The bound on uncommitted bytes, or a hand-over that began: some may fit.
        for (number, entry) in numbers.into_iter().zip(entries) {
            let message = group::proposal(self.config.node_id, vec![entry]);
            let error = match self.raw.raft.step(message) {
                Ok(()) => continue,
                Err(raft::Error::ProposalDropped) if self.raw.raft.lead_transferee.is_some() => {
                    ProposeError::NotLeader { leader: None }
                }
                Err(raft::Error::ProposalDropped) => ProposeError::Overloaded,
                Err(_) => ProposeError::NotLeader { leader: self.leader() },
            };
            self.proposals.refuse(&[number], &error);
        }
    }

    /// Proposes a change of the members. Whether it took place is seen in who votes
    /// ([`Member::conf_state`]): Raft turns one that it does not allow now into an empty entry.
    pub fn propose_members(&mut self, change: &ConfChangeV2) -> Result<(), ProposeError> {
        if !self.is_leader() {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        self.raw
            .propose_conf_change(Vec::new(), change.clone())
            .map_err(|_| ProposeError::Overloaded)
    }

    /// Changes who is in the group. The answer comes when the change is applied, or known not to be.
    pub fn change_members(
        &mut self,
        change: Change,
        now: Instant,
        allowed: Duration,
        reply: ChangeReply,
    ) {
        match self.try_change(change) {
            Ok((index, term)) => {
                let deadline = now + allowed;
                self.changes.wait(Proposed { change, index, term, deadline, allowed, reply });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn try_change(&mut self, change: Change) -> Result<(u64, u64), ChangeError> {
        // Before the first entry of the term is applied, an older change may still be on its way.
        if !self.leadership().leader || self.raw.raft.lead_transferee.is_some() {
            let leader = self.leader().filter(|leader| *leader != self.config.node_id);
            return Err(ChangeError::NotLeader { leader });
        }
        self.status().group().allows(change)?;
        self.propose_members(&encode(change)).map_err(|_| ChangeError::Overloaded)?;
        let raft = &self.raw.raft;
        let index = raft.raft_log.last_index();
        // Raft has turned it into an empty entry: it knows of another change that we do not.
        if raft.pending_conf_index != index {
            return Err(Unfit::Pending.into());
        }
        Ok((index, raft.term))
    }

    /// Hands the leadership to another member. The answer comes when somebody leads.
    pub fn transfer(&mut self, to: u64, now: Instant, allowed: Duration, reply: TransferReply) {
        let checked = match self.changes.transferee() {
            _ if !self.is_leader() => Err(TransferError::NotLeader { leader: self.leader() }),
            Some(other) => Err(TransferError::Pending(other.into())),
            None => self.status().group().may_lead(to).map_err(TransferError::from),
        };
        match checked {
            Ok(()) => {
                self.raw.transfer_leader(to);
                let deadline = now + allowed;
                self.changes.wait_for_leader(Transfer { to, deadline, allowed, reply });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Asks for an index that everything acknowledged before now is at or below.
    pub fn read_index(&mut self, now: Instant, allowed: Duration, reply: reads::Reply) {
        if let Some(standstill) = self.standstill() {
            let _ = reply.send(Err(ReadError::StandsStill(standstill)));
            return;
        }
        if self.reads.len() >= limits::READS_WAITING_MAX {
            let _ = reply.send(Err(ReadError::Overloaded));
            return;
        }
        self.reads.wait(now, allowed, reply);
    }

    /// Takes a message of another member.
    pub fn step(&mut self, message: Message) {
        if message.get_msg_type() == MessageType::MsgSnapshot
            && !self.arrived(message.get_snapshot())
        {
            return;
        }
        if self.would_lead(&message) {
            return;
        }
        // Only of those that are led: nobody else's answers are ever asked for.
        if matches!(
            message.get_msg_type(),
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse
        ) && self.raw.raft.prs().get(message.from).is_some()
        {
            self.heard.hear(message.from, self.now);
        }
        // raft-rs ends the process over a commit that its log does not reach. A leader that says so
        // remembers a log that this member no longer has; the gate refuses such a disk, this is the
        // second lock.
        if message.get_msg_type() == MessageType::MsgHeartbeat
            && message.commit > self.raw.raft.raft_log.last_index()
        {
            warn!(from = message.from, commit = message.commit, "a heartbeat is ahead of the log");
            return;
        }
        if let Err(error) = self.raw.step(message) {
            tracing::debug!(%error, "a message of another member was not taken");
        }
        self.pin_election_timeout();
    }

    /// Messages to this member were lost.
    pub fn report_unreachable(&mut self, node_id: u64) {
        self.raw.report_unreachable(node_id);
    }

    /// A snapshot reached this member, or did not.
    pub fn report_snapshot(&mut self, to: u64, carried: Carried) {
        if let Carried::Damaged(id) = carried {
            self.raw.store().give_up(id);
        }
        let status = match carried {
            Carried::Arrived => SnapshotStatus::Finish,
            Carried::Lost | Carried::Damaged(_) => SnapshotStatus::Failure,
        };
        self.raw.report_snapshot(to, status);
    }

    /// Lets a tick pass: timeouts, heartbeats, deadlines.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        self.tick_raft();
        self.pin_election_timeout();
        self.proposals.expire(now);
        self.changes.expire(now);
        if let Some(context) = self.reads.tick(now) {
            self.raw.read_index(context);
        }
    }

    /// Does everything there is to do, in the one order that is safe.
    pub fn perform(&mut self) -> Result<(), Halt> {
        self.propose_group();
        self.begin_reads();
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();

            // 1. A leader's messages: followers may write while it writes itself.
            self.send(ready.take_messages());

            // 2. A snapshot from the leader takes the place of log and state.
            if !ready.snapshot().is_empty() {
                let snapshot = ready.snapshot().clone();
                self.install(&snapshot)?;
            }

            // 3. New entries and the hard state: one batch, one sync. A commit index alone needs
            // none, it is found again, and rides along with the next batch.
            if mutant::on(Mutant::SendBeforeSync) {
                self.send(ready.take_persisted_messages());
            }
            if ready.must_sync() {
                let mut hard_state = self.raw.raft.hard_state();
                if mutant::on(Mutant::VoteNotKept) {
                    hard_state.vote = raft::INVALID_ID;
                }
                let began = clock::instant();
                self.raw.mut_store().log.append(ready.entries(), Some(&hard_state))?;
                self.log_syncs.record(clock::instant().duration_since(began));
                self.ceiling.appended(&self.machine, ready.entries())?;
            }

            // 4. Promises to others (votes, acknowledgements): only now are they true.
            self.send(ready.take_persisted_messages());

            // 5. Raft learns what is durable, which may commit more.
            let mut committed = ready.take_committed_entries();
            let confirmed = ready.take_read_states();
            let early = match mutant::on(Mutant::ApplyUncommitted) && self.is_leader() {
                true => ready.entries().clone(),
                false => Vec::new(),
            };
            let mut light = self.raw.advance_append(ready);
            self.send(light.take_messages());
            committed.append(&mut light.take_committed_entries());
            if mutant::on(Mutant::ApplyUncommitted) {
                committed.extend(early);
                let mut last = self.applied.index;
                committed.retain(|entry| {
                    let is_new = entry.index > last;
                    last = last.max(entry.index);
                    is_new
                });
            }

            // 6. Apply, publish, hand the rows with their index to the store, answer.
            self.lose_office();
            for state in confirmed {
                self.reads.confirm(&state.request_ctx, state.index);
            }
            self.apply(committed)?;

            // 7. Raft learns what is applied.
            self.raw.advance_apply_to(self.applied.index.min(self.raw.raft.raft_log.committed));
            self.reads.applied(self.applied.index);
            self.begin_reads();
            self.tell_commit();
        }
        let trying = self.raw.raft.lead_transferee.is_some();
        self.changes.led_by(self.leader(), self.config.node_id, trying);
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.outbound.send(group::condensed(messages));
        }
    }

    /// Tells the others what is committed, when no entries are under way that will be followed by more,
    /// or by this: under load two messages in three would say nothing else.
    fn tell_commit(&mut self) {
        let log = &self.raw.raft.raft_log;
        let committed = log.committed;
        if committed > self.told_commit && committed == log.last_index() && self.is_leader() {
            self.told_commit = committed;
            self.raw.raft.bcast_append();
        }
    }

    /// A round that is asked too early is dropped by its leader without a word, so it is not asked:
    /// not before an entry of the leader's term is known here to be committed. Its answer could not be
    /// used any earlier.
    fn begin_reads(&mut self) {
        let Some(leader) = self.leader() else { return };
        if self.raw.raft.commit_to_current_term()
            && let Some(context) = self.reads.begin((self.raw.raft.term, leader))
        {
            if mutant::on(Mutant::LeaseRead) && self.is_leader() {
                self.reads.confirm(&context, self.raw.raft.raft_log.committed);
                return self.reads.applied(self.applied.index);
            }
            self.raw.read_index(context);
        }
    }

    fn lose_office(&mut self) {
        let leads = self.is_leader();
        if self.led && !leads {
            self.proposals.fail(&ProposeError::Dropped);
        }
        if self.led != leads {
            self.heard.forget();
        }
        self.led = leads;
    }

    fn apply(&mut self, mut entries: Vec<Entry>) -> Result<(), Halt> {
        if let Some(standstill) = self.ceiling.cut(&mut entries) {
            self.stand_still(standstill);
        }
        let Some(last) = entries.last() else { return Ok(()) };
        let last = SnapshotId { index: last.index, term: last.term };
        let mut rows = Vec::new();
        let mut answers = Vec::new();
        for entry in entries {
            self.since.entries += 1;
            self.since.bytes += entry_bytes(&entry);
            let (index, term) = (entry.index, entry.term);
            let is_change = entry.get_entry_type() != EntryType::EntryNormal;
            self.changes.applied(index, term, is_change);
            let change = match entry.get_entry_type() {
                // What a new leader begins its term with.
                EntryType::EntryNormal if entry.data.is_empty() => continue,
                EntryType::EntryNormal => {
                    let mut applied = self.machine.apply(index, term, &entry.data);
                    rows.append(&mut applied.rows);
                    if let Some(reply) = self.proposals.take(&entry.context) {
                        answers.push((reply, Committed { index, term, output: applied.output }));
                    }
                    continue;
                }
                EntryType::EntryConfChange => {
                    let mut change = ConfChange::default();
                    change.merge_from_bytes(&entry.data).map_err(raft::Error::from)?;
                    self.raw.apply_conf_change(&change)?
                }
                EntryType::EntryConfChangeV2 => {
                    let mut change = ConfChangeV2::default();
                    change.merge_from_bytes(&entry.data).map_err(raft::Error::from)?;
                    self.raw.apply_conf_change(&change)?
                }
            };
            info!(index, voters = ?change.voters, learners = ?change.learners, "members changed");
            rows.push(recover::conf_change_row(&change));
            self.raw.mut_store().conf_state = change;
        }
        self.applied = last;
        self.machine.publish(last.index);
        self.behind.push(rows, last.index)?;
        for (reply, committed) in answers {
            let _ = reply.send(Ok(committed));
        }
        self.changes.answer();
        Ok(())
    }

    /// Answers everybody who waits: nothing more will come.
    pub fn stop(&mut self) {
        self.changes.stop();
        self.proposals.fail(&ProposeError::Stopped);
        self.reads.fail(&ReadError::Stopped);
    }
}

/// Refuses what the log must not hold.
pub(super) fn check_size(entry: &[u8]) -> Result<(), ProposeError> {
    match entry.len() {
        0 => Err(ProposeError::Empty),
        bytes if bytes > limits::ENTRY_BYTES_MAX => {
            Err(ProposeError::TooLarge { bytes, max: limits::ENTRY_BYTES_MAX })
        }
        _ => Ok(()),
    }
}

/// The ticks without a leader after which one is missed, for a member in one life, term and role.
fn election_timeout(life: u64, node_id: u64, term: u64, role: u64) -> usize {
    let seed = [life, node_id, term, role].map(u64::to_le_bytes).concat();
    let range = (ELECTION_TICKS_MAX - ELECTION_TICKS_MIN) as u64;
    ELECTION_TICKS_MIN + (xxhash_rust::xxh3::xxh3_64(&seed) % range) as usize
}
