//! Members that are added, promoted, demoted, removed and handed the leadership.

use super::super::changes::{ChangeError, TransferError};
use super::*;
use crate::core::membership::{Change, Unfit};

type Told<T, E> = oneshot::Receiver<Result<T, E>>;

const LONG: Duration = Duration::from_secs(60);

impl Group {
    /// Three voters, one of which leads.
    fn of_three() -> (Self, u64) {
        let mut group = Self::default();
        for id in 1..=3 {
            group.add(id, Some(vec![1, 2, 3]));
        }
        let leader = group.leader();
        group.ticks(4);
        (group, leader)
    }

    fn change(&mut self, at: u64, change: Change) -> Told<u64, ChangeError> {
        let (now, (reply, answer)) = (self.now(), oneshot::channel());
        self.peers.get_mut(&at).unwrap().member.change_members(change, now, LONG, reply);
        self.settle();
        answer
    }

    fn transfer(&mut self, at: u64, to: u64) -> Told<(), TransferError> {
        let (now, (reply, answer)) = (self.now(), oneshot::channel());
        self.peers.get_mut(&at).unwrap().member.transfer(to, now, LONG, reply);
        self.settle();
        answer
    }

    fn voters(&self, at: u64) -> Vec<u64> {
        self.peers[&at].member.status().voters
    }

    /// Whether what is proposed at `at` is committed.
    fn decides(&mut self, at: u64) -> bool {
        let mut answer = self.propose(at, 7);
        self.settle();
        self.ticks(3);
        matches!(answer.try_recv(), Ok(Ok(_)))
    }
}

fn unfit<T: std::fmt::Debug, E: std::fmt::Display>(mut told: Told<T, E>) -> String {
    told.try_recv().unwrap().unwrap_err().to_string()
}

#[test]
fn a_new_member_learns_before_it_votes() {
    let mut group = Group::default();
    group.add(1, Some(vec![1]));
    assert_eq!(group.leader(), 1);
    for value in 1..=30 {
        group.propose(1, value);
        group.settle();
    }
    group.add(2, None);
    let at = group.change(1, Change::AddLearner(2)).try_recv().unwrap().unwrap();
    assert!(group.peers[&1].member.applied() >= at);
    assert_eq!(group.peers[&1].member.status().learners, [2]);
    assert_eq!(group.voters(1), [1]);
    group.ticks(20);
    assert_eq!(group.entries(2), group.entries(1), "a learner has it all");
    let refused = unfit(group.change(1, Change::Promote(2)));
    assert!(refused.contains("member 2 has been heard steadily for"), "{refused}");
    // 10 s of ticks.
    group.ticks(201);
    let status = group.peers[&1].member.status();
    let [peer] = status.peers.as_slice() else { panic!("{:?}", status.peers) };
    assert_eq!((peer.node_id, peer.lag), (2, 0));
    assert_eq!(status.group().next_promotion(|_| true), Some(Change::Promote(2)));
    group.change(1, Change::Promote(2)).try_recv().unwrap().unwrap();
    group.ticks(4);
    for id in 1..=2 {
        assert_eq!(group.voters(id), [1, 2]);
    }
    assert!(group.decides(1));
    group.cut_off = Some(2);
    assert!(!group.decides(1), "it has a vote");
}

#[test]
fn a_learner_that_falls_silent_begins_anew() {
    let mut group = Group::default();
    group.add(1, Some(vec![1]));
    assert_eq!(group.leader(), 1);
    group.add(2, None);
    group.change(1, Change::AddLearner(2)).try_recv().unwrap().unwrap();
    group.ticks(180);
    group.cut_off = Some(2);
    group.ticks(40);
    let refused = unfit(group.change(1, Change::Promote(2)));
    assert!(refused.contains("member 2 is not heard"), "{refused}");
    group.cut_off = None;
    group.ticks(40);
    let refused = unfit(group.change(1, Change::Promote(2)));
    assert!(refused.contains("heard steadily"), "{refused}");
}

#[test]
fn a_second_change_is_refused_while_one_is_on_its_way() {
    let mut group = Group::default();
    for id in 1..=2 {
        group.add(id, Some(vec![1, 2]));
    }
    let leader = group.leader();
    group.cut_off = Some(3 - leader);
    let mut first = group.change(leader, Change::AddLearner(7));
    assert!(first.try_recv().is_err(), "not before a quorum has it");
    assert_eq!(
        group.change(leader, Change::AddLearner(8)).try_recv().unwrap(),
        Err(ChangeError::Unfit(Unfit::Pending))
    );
    group.cut_off = None;
    group.ticks(4);
    first.try_recv().unwrap().unwrap();
    group.change(leader, Change::AddLearner(8)).try_recv().unwrap().unwrap();
    group.ticks(4);
    for id in 1..=2 {
        assert_eq!(group.peers[&id].member.status().learners, [7, 8]);
    }
}

#[test]
fn a_change_whose_place_a_new_leader_took_is_known_not_to_be_made() {
    let (mut group, first) = Group::of_three();
    group.cut_off = Some(first);
    let mut lost = group.change(first, Change::AddLearner(9));
    let second = group.leader();
    assert_ne!(second, first);
    group.propose(second, 1);
    group.settle();
    assert!(lost.try_recv().is_err());
    group.cut_off = None;
    group.ticks(10);
    assert_eq!(lost.try_recv().unwrap(), Err(ChangeError::Overtaken));
    for id in 1..=3 {
        assert!(group.peers[&id].member.status().learners.is_empty());
    }
}

#[test]
fn a_voter_becomes_a_learner_before_it_leaves_and_the_others_go_on() {
    let (mut group, leader) = Group::of_three();
    let (gone, kept) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let refused = unfit(group.change(leader, Change::Remove(gone)));
    assert!(refused.contains("is a voter; it becomes a learner"), "{refused}");
    for change in [Change::Demote(gone), Change::Remove(gone)] {
        let mut told = group.change(leader, change);
        group.ticks(3);
        told.try_recv().unwrap().unwrap();
    }
    let mut left = [leader, kept];
    left.sort_unstable();
    assert_eq!(group.voters(leader), left);
    assert_eq!(group.voters(kept), left);
    group.cut_off = Some(gone);
    assert!(group.decides(leader));
    let refused = unfit(group.change(kept, Change::AddLearner(9)));
    assert!(refused.contains("does not lead"), "{refused}");
}

#[test]
fn nobody_leaves_when_too_few_would_be_heard() {
    let (mut group, leader) = Group::of_three();
    let (silent, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    group.cut_off = Some(silent);
    group.ticks(25);
    let refused = unfit(group.change(leader, Change::Demote(other)));
    assert!(refused.ends_with(&format!("not heard: member {silent}")), "{refused}");
    // The silent one itself may go.
    let mut told = group.change(leader, Change::Demote(silent));
    group.ticks(3);
    told.try_recv().unwrap().unwrap();
    let refused = unfit(group.change(leader, Change::Demote(leader)));
    assert!(refused.contains("leads; leadership goes to another member first"), "{refused}");
}

#[test]
fn leadership_is_handed_over_and_proposals_meanwhile_are_told_to_try_again() {
    let (mut group, first) = Group::of_three();
    let second = first % 3 + 1;
    let (now, (reply, mut told)) = (group.now(), oneshot::channel());
    let member = &mut group.peers.get_mut(&first).unwrap().member;
    member.transfer(second, now, LONG, reply);
    let meanwhile = group.propose(first, 1).try_recv().unwrap();
    assert_eq!(meanwhile, Err(ProposeError::NotLeader { leader: None }));
    assert_eq!(
        group.transfer(first, second).try_recv().unwrap(),
        Err(TransferError::Pending(second.into()))
    );
    group.settle();
    group.ticks(3);
    told.try_recv().unwrap().unwrap();
    assert_eq!(group.leader(), second);
    assert!(group.decides(second));
    let refused = group.transfer(first, second).try_recv().unwrap();
    assert_eq!(refused, Err(TransferError::NotLeader { leader: Some(second) }));
}

#[test]
fn a_hand_over_to_somebody_who_does_not_take_it_changes_nothing() {
    let (mut group, leader) = Group::of_three();
    let other = leader % 3 + 1;
    group.cut_off = Some(other);
    let mut told = group.transfer(leader, other);
    assert!(told.try_recv().is_err(), "it was heard a moment ago");
    group.ticks(20);
    assert_eq!(told.try_recv().unwrap(), Err(TransferError::NotTaken(other.into())));
    assert!(group.decides(leader));
    let refused = unfit(group.transfer(leader, other));
    assert!(refused.contains("is not heard"), "{refused}");
    assert!(unfit(group.transfer(leader, 9)).contains("member 9 is not in the group"));
}
