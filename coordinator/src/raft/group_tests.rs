//! Several members in one process, without threads: messages are carried by hand.
//!
//! The product has one voter for now. These tests hold that nothing in a member has to be rewritten
//! for more: replication, changes of the members, snapshots to a member that is behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parallax_runtime::clock;
use parking_lot::Mutex;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Message, MessageType};
use tokio::sync::oneshot;

use super::config::{Config, Stores};
use super::log::memory::{MemDisk, MemLog};
use super::member::Member;
use super::node::{ProposeError, tests::Answer};
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
}

impl Group {
    fn add(&mut self, id: u64, bootstrap: Option<Vec<u64>>) {
        let (rows, snapshots) = (MemRows::default(), MemSnapshots::default());
        let mut config = Config::new(id, bootstrap);
        config.snapshot_after_entries = 10;
        let stores = Stores {
            log: MemLog::open(&MemDisk::default()).unwrap(),
            rows: Arc::new(rows.clone()),
            snapshots: Arc::new(snapshots.clone()),
            outbound: Box::new(self.post.clone()),
        };
        let (member, _) = Member::start(config, TestMachine::default(), stores).unwrap();
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
            let (header, rows) = from.read(id).unwrap();
            self.peers[&message.to].snapshots.write(&header, &rows).unwrap();
        }
        if let Some(peer) = self.peers.get_mut(&message.to) {
            peer.member.step(message);
        }
    }

    fn ticks(&mut self, count: u32) {
        for _ in 0..count {
            for peer in self.peers.values_mut() {
                peer.member.tick(clock::instant());
            }
            self.settle();
        }
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
        let member = &mut self.peers.get_mut(&to).unwrap().member;
        member.propose(entry(value), clock::instant(), Duration::from_secs(60), reply);
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

    let (reply, mut read) = oneshot::channel();
    let member = &mut group.peers.get_mut(&follower).unwrap().member;
    member.read_index(clock::instant(), Duration::from_secs(60), reply);
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
