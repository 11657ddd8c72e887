//! Several members in one process, without threads: messages are carried by hand.
//!
//! Replication, snapshots to a member that is behind, and in `group_tests/members.rs` changes of who
//! is in the group.

mod members;
mod snapshots;
mod standstill;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parallax_runtime::clock;
use parking_lot::Mutex;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Message, MessageType};
use tokio::sync::oneshot;

use super::config::{Config, Stores};
use super::log::memory::{MemDisk, MemLog};
use super::member::Member;
use super::node::{ProposeError, ReadError, TICK, tests::Answer};
use super::outbound::Outbound;
use super::test_machine::{Entries, TestMachine, entry, stored};
use crate::store::rows::memory::MemRows;
use crate::store::snapshot::SnapshotStore as _;
use crate::store::snapshot::memory::MemSnapshots;

#[derive(Clone, Default)]
struct Post(Arc<Mutex<Vec<Message>>>);

impl Outbound for Post {
    fn send(&mut self, messages: Vec<Message>) {
        self.0.lock().extend(messages);
    }
}

/// When the members began. Their time passes with their ticks.
struct Began(Instant);

impl Default for Began {
    fn default() -> Self {
        Self(clock::instant())
    }
}

struct Peer {
    member: Member<TestMachine, MemLog>,
    rows: MemRows,
    snapshots: MemSnapshots,
}

#[derive(Default)]
struct Group {
    peers: BTreeMap<u64, Peer>,
    post: Post,
    cut_off: Option<u64>,
    snapshots_sent: usize,
    began: Began,
    ticked: u32,
}

impl Group {
    fn add(&mut self, id: u64, bootstrap: Option<Vec<u64>>) {
        self.add_build(id, bootstrap, None);
    }

    /// A member whose build does not understand values from `ceiling` on.
    fn add_build(&mut self, id: u64, bootstrap: Option<Vec<u64>>, ceiling: Option<u64>) {
        let (rows, snapshots) = (MemRows::default(), MemSnapshots::default());
        let mut config = Config::new(id, bootstrap);
        config.snapshot_after_entries = 10;
        let stores = Stores {
            log: MemLog::open(&MemDisk::default()).unwrap(),
            rows: Arc::new(rows.clone()),
            snapshots: Arc::new(snapshots.clone()),
            outbound: Box::new(self.post.clone()),
        };
        let (member, _) = Member::start(config, TestMachine::of_level(ceiling), stores).unwrap();
        self.peers.insert(id, Peer { member, rows, snapshots });
    }

    /// Lets every member work and carries messages until there are none.
    fn settle(&mut self) {
        loop {
            for peer in self.peers.values_mut() {
                peer.member.perform().unwrap();
                while peer.member.behind().step(&peer.rows).unwrap().is_some() {}
                if let Some(job) = peer.member.snapshot_due() {
                    peer.member.snapshot_done(job.run()).unwrap();
                }
            }
            let messages = std::mem::take(&mut *self.post.0.lock());
            if messages.is_empty() {
                return;
            }
            for message in messages {
                self.carry(message);
            }
        }
    }

    fn carry(&mut self, message: Message) {
        if [Some(message.to), Some(message.from)].contains(&self.cut_off) {
            return;
        }
        if message.get_msg_type() == MessageType::MsgSnapshot {
            // The file travels first, as the transport will do it.
            self.snapshots_sent += 1;
            let from = &self.peers[&message.from].snapshots;
            let id = *from.list().unwrap().last().unwrap();
            let (header, mut rows) = from.read(id).unwrap();
            let to = &self.peers[&message.to].snapshots;
            to.write(&header, &mut |sink| rows.by_ref().try_for_each(|row| sink(row?))).unwrap();
        }
        if let Some(peer) = self.peers.get_mut(&message.to) {
            peer.member.step(message);
        }
    }

    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.ticked += 1;
            let now = self.now();
            for peer in self.peers.values_mut() {
                peer.member.tick(now);
            }
            self.settle();
        }
    }

    fn now(&self) -> Instant {
        self.began.0 + TICK * self.ticked
    }

    fn leader(&mut self) -> u64 {
        for _ in 0..200 {
            let leads = |(id, peer): (&u64, &Peer)| {
                (peer.member.leadership().leader && self.cut_off != Some(*id)).then_some(*id)
            };
            if let Some(id) = self.peers.iter().find_map(leads) {
                return id;
            }
            self.ticks(1);
        }
        panic!("nobody was elected");
    }

    fn propose(&mut self, to: u64, value: u64) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        let now = self.now();
        let member = &mut self.peers.get_mut(&to).unwrap().member;
        member.propose(entry(value), now, Duration::from_secs(60), reply);
        answer
    }

    fn read(&mut self, at: u64) -> oneshot::Receiver<Result<u64, ReadError>> {
        let (reply, answer) = oneshot::channel();
        let now = self.now();
        let member = &mut self.peers.get_mut(&at).unwrap().member;
        member.read_index(now, Duration::from_secs(60), reply);
        answer
    }

    fn entries(&self, id: u64) -> Entries {
        self.peers[&id].member.machine().entries.clone()
    }
}

#[test]
fn three_members_elect_replicate_and_go_on_without_their_leader() {
    let mut group = Group::default();
    for id in 1..=3 {
        group.add(id, Some(vec![1, 2, 3]));
    }
    let first = group.leader();
    let mut answer = group.propose(first, 1);
    assert!(answer.try_recv().is_err(), "not before a quorum");
    group.settle();
    group.ticks(3);
    assert_eq!(answer.try_recv().unwrap().unwrap().output, 1);
    for id in 1..=3 {
        assert_eq!(group.entries(id).len(), 1);
    }

    let follower = first % 3 + 1;
    let refused = group.propose(follower, 2).try_recv().unwrap();
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(first) }));

    let mut read = group.read(follower);
    group.settle();
    assert!(read.try_recv().unwrap().unwrap() >= 3, "a follower reads through the leader");

    group.cut_off = Some(first);
    let mut lost = group.propose(first, 3);
    group.settle();
    let second = group.leader();
    assert_ne!(first, second);
    let mut answer = group.propose(second, 4);
    group.settle();
    assert_eq!(answer.try_recv().unwrap().unwrap().output, 2);
    group.ticks(40);
    assert_eq!(lost.try_recv().unwrap(), Err(ProposeError::Dropped));

    group.cut_off = None;
    group.ticks(10);
    let expected = group.entries(second);
    assert!(expected.values().copied().eq([1, 4]), "{expected:?}");
    for id in 1..=3 {
        assert_eq!(group.entries(id), expected);
    }
}

#[test]
fn a_member_that_joins_late_gets_a_snapshot_and_the_rest_of_the_log() {
    let mut group = Group::default();
    group.add(1, Some(vec![1]));
    assert_eq!(group.leader(), 1);
    for value in 1..=45 {
        group.propose(1, value);
        group.settle();
    }
    assert!(group.peers[&1].member.status().first_index > 20);

    group.add(2, None);
    let mut change = ConfChangeV2::default();
    let single = ConfChangeSingle {
        change_type: ConfChangeType::AddNode,
        node_id: 2,
        ..ConfChangeSingle::default()
    };
    change.set_changes(vec![single].into());
    group.peers.get_mut(&1).unwrap().member.propose_members(&change).unwrap();
    group.settle();
    group.ticks(30);
    assert!(group.snapshots_sent > 0);
    let expected = group.entries(1);
    assert_eq!(expected.len(), 45);
    assert_eq!(group.entries(2), expected);
    assert_eq!(stored(&group.peers[&2].rows), (expected.clone(), expected));
    for id in 1..=2 {
        assert_eq!(group.peers[&id].member.status().voters, [1, 2]);
    }
    // Two voters: nothing is committed any more without the second.
    group.cut_off = Some(2);
    let mut answer = group.propose(1, 46);
    group.settle();
    assert!(answer.try_recv().is_err());
}

fn three() -> (Group, u64) {
    let mut group = Group::default();
    for id in 1..=3 {
        group.add(id, Some(vec![1, 2, 3]));
    }
    let leader = group.leader();
    group.ticks(3);
    (group, leader)
}

#[test]
fn reads_at_every_member_see_what_was_acknowledged_before_them() {
    let (mut group, leader) = three();
    for value in 1..=20 {
        let mut answer = group.propose(leader, value);
        group.settle();
        let written = answer.try_recv().unwrap().unwrap().index;
        // Nothing but the reads themselves tells the others that it is committed: no tick passes.
        // The first rounds of three members are under way at once, and none is taken for another.
        let reads: Vec<_> = (1..=3).map(|id| (id, group.read(id))).collect();
        group.settle();
        for (id, mut read) in reads {
            let index = read.try_recv().unwrap().unwrap();
            assert!(index >= written, "member {id} read at {index} after {written}");
            assert!(group.peers[&id].member.applied() >= index);
        }
    }
}

#[test]
fn a_leader_without_a_majority_answers_no_read_and_later_sees_what_it_missed() {
    let (mut group, first) = three();
    group.cut_off = Some(first);
    let mut read = group.read(first);
    group.settle();
    assert!(read.try_recv().is_err(), "nobody confirms that it still leads");
    let second = group.leader();
    let mut answer = group.propose(second, 7);
    group.settle();
    let written = answer.try_recv().unwrap().unwrap().index;
    group.ticks(60);
    assert!(read.try_recv().is_err());
    group.cut_off = None;
    group.ticks(60);
    assert!(read.try_recv().unwrap().unwrap() >= written);
}

#[test]
fn a_read_whose_leader_goes_away_is_asked_of_the_next_one_at_once() {
    let (mut group, first) = three();
    group.cut_off = Some(first);
    let reader = first % 3 + 1;
    let mut read = group.read(reader);
    let second = group.leader();
    let mut answer = group.propose(second, 7);
    for _ in 0..3 {
        group.ticks(1);
    }
    assert!(answer.try_recv().unwrap().is_ok());
    assert!(read.try_recv().unwrap().is_ok(), "within three ticks of the election");
}
