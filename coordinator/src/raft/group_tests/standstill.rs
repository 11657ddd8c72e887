//! Builds of two levels in one group: the lower one stands still and goes on voting.

use super::*;

/// Values from here on need the newer build.
const NEW: u64 = 1_000;

/// Three voters of which those in `old` are of the older build.
fn mixed(old: &[u64]) -> Group {
    let mut group = Group::default();
    for id in 1..=3 {
        group.add_build(id, Some(vec![1, 2, 3]), old.contains(&id).then_some(NEW));
    }
    group
}

impl Group {
    fn write(&mut self, at: u64, value: u64) -> bool {
        let mut answer = self.propose(at, value);
        self.settle();
        self.ticks(3);
        matches!(answer.try_recv(), Ok(Ok(_)))
    }

    fn stands_still(&self, id: u64) -> bool {
        self.peers[&id].member.status().standstill.is_some()
    }

    /// Hands the leadership to `to`, if another member has it.
    fn led_by(&mut self, to: u64) {
        let leader = self.leader();
        self.ticks(4);
        if leader != to {
            let (now, (reply, _told)) = (self.now(), oneshot::channel());
            let member = &mut self.peers.get_mut(&leader).unwrap().member;
            member.transfer(to, now, Duration::from_secs(60), reply);
            self.settle();
        }
        assert_eq!(self.leader(), to);
        self.ticks(4);
    }
}

#[test]
fn a_member_below_an_entry_applies_nothing_from_it_on_and_still_makes_the_majority() {
    let mut group = mixed(&[3]);
    group.led_by(1);
    assert!(group.write(1, 1) && group.write(1, NEW) && group.write(1, 2));
    assert!(group.stands_still(3) && !group.stands_still(1) && !group.stands_still(2));
    assert_eq!(group.entries(3).into_values().collect::<Vec<_>>(), [1]);
    assert_eq!(group.entries(1).len(), 3);
    // Without its acknowledgement nothing would be committed now.
    group.cut_off = Some(2);
    assert!(group.write(1, 3));
    assert_eq!(group.entries(3).len(), 1);
    let refused = group.read(3).try_recv().unwrap().unwrap_err();
    assert!(matches!(refused, ReadError::StandsStill(it) if it.beyond.needs == 2), "{refused}");
    assert!(refused.to_string().contains("install the newer build"), "{refused}");
}

#[test]
fn a_member_that_stands_still_votes_and_never_leads() {
    let mut group = mixed(&[3]);
    group.led_by(1);
    assert!(group.write(1, NEW));
    // Only its vote makes a majority now, and only the other one may use it.
    group.cut_off = Some(1);
    assert_eq!(group.leader(), 2);
    assert!(group.write(2, 5));
    // Handed the leadership, it does not take it.
    let (now, (reply, mut told)) = (group.now(), oneshot::channel());
    let member = &mut group.peers.get_mut(&2).unwrap().member;
    member.transfer(3, now, Duration::from_secs(60), reply);
    group.ticks(60);
    assert_eq!(group.leader(), 2);
    assert!(told.try_recv().unwrap().is_err());
    // Alone it would not even try.
    group.cut_off = Some(2);
    let term = group.peers[&3].member.status().term;
    for _ in 0..200 {
        group.ticks(1);
        assert!(!group.peers[&3].member.leadership().leader);
    }
    assert_eq!(group.peers[&3].member.status().term, term);
}

#[test]
fn a_leader_below_an_entry_of_its_log_hands_over_to_one_that_understands_it() {
    let mut group = mixed(&[1]);
    group.led_by(1);
    assert!(group.write(1, 1));
    // No leader of this build would propose it; what it finds in its log it may not have written.
    let mut answer = group.propose(1, NEW);
    group.settle();
    assert!(group.peers[&1].member.status().standstill.is_some());
    assert!(!group.peers[&1].member.leadership().leader);
    let refused = group.propose(1, 9).try_recv().unwrap();
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    let next = group.leader();
    assert_ne!(next, 1);
    assert!(group.write(next, 2));
    assert_eq!(group.entries(next).into_values().collect::<Vec<_>>(), [1, NEW, 2]);
    assert_eq!(group.entries(1).into_values().collect::<Vec<_>>(), [1]);
    // Nobody was told that it is applied here.
    assert!(!matches!(answer.try_recv(), Ok(Ok(_))));
}

#[test]
fn a_leader_that_nobody_relieves_steps_down() {
    let mut group = mixed(&[1, 2, 3]);
    group.led_by(1);
    assert!(group.write(1, 1));
    drop(group.propose(1, NEW));
    group.settle();
    group.ticks(100);
    for id in 1..=3 {
        let status = group.peers[&id].member.status();
        assert_ne!(status.role, super::super::status::Role::Leader, "{status:?}");
    }
}

#[test]
fn a_snapshot_above_the_level_is_not_taken_and_the_state_stays_what_it_was() {
    let mut group = mixed(&[3]);
    group.led_by(1);
    assert!(group.write(1, 1));
    group.cut_off = Some(3);
    assert!(group.write(1, NEW));
    // Snapshots are taken and the log is cut, so that the third member needs a file.
    for value in 2..60 {
        assert!(group.write(1, value));
    }
    group.cut_off = None;
    group.ticks(30);
    assert!(group.snapshots_sent > 0);
    assert!(group.stands_still(3));
    assert_eq!(group.entries(3).into_values().collect::<Vec<_>>(), [1]);
}
