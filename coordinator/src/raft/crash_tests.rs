//! Crash loops in process: random work, a crash that loses and tears, a start, and again.
//!
//! What must hold: an entry that was answered, or even only applied, is there after every later
//! start, at its index, once; rows and snapshots never say otherwise.

use std::sync::Arc;
use std::time::Duration;

use parallax_runtime::clock;
use tokio::sync::oneshot;

use super::config::{Config, Stores};
use super::halt::StartError;
use super::log::memory::{self as log_disk, MemDisk, MemLog};
use super::member::Member;
use super::outbound::Alone;
use super::recover::RecoverError;
use super::test_machine::{Chance, Entries, TestMachine, entry, stored};
use crate::store::rows::RowStore as _;
use crate::store::rows::memory::{self as row_disk, MemRows};
use crate::store::snapshot::SnapshotStore as _;
use crate::store::snapshot::memory::MemSnapshots;

/// Disks, which outlive members, and what was promised.
#[derive(Default)]
struct World {
    disk: MemDisk,
    rows: MemRows,
    snapshots: MemSnapshots,
    promised: Entries,
    lives: u64,
    values: u64,
    rebuilds: u64,
    crashes: u64,
}

type Node = Member<TestMachine, MemLog>;

impl World {
    fn start(&mut self) -> Result<Node, StartError> {
        self.lives += 1;
        let mut config = Config::new(1, Some(vec![1]));
        config.life = self.lives;
        config.snapshot_after_entries = 9;
        let stores = Stores {
            log: MemLog::open(&self.disk).map_err(RecoverError::Log)?,
            rows: Arc::new(self.rows.clone()),
            snapshots: Arc::new(self.snapshots.clone()),
            outbound: Box::new(Alone),
        };
        let (member, recovered) = Member::start(config, TestMachine::default(), stores)?;
        self.rebuilds += u64::from(recovered.rebuilt.is_some());
        Ok(member)
    }

    /// Everything that is applied is committed and synced, so it is promised from now on.
    fn check(&mut self, node: &Node, seed: u64) {
        let entries = &node.machine().entries;
        for (index, value) in &self.promised {
            assert_eq!(entries.get(index), Some(value), "seed {seed}: entry {index} is lost");
        }
        let mut values: Vec<_> = entries.values().collect();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), entries.len(), "seed {seed}: an entry is applied twice");
        assert!(entries.values().is_sorted(), "seed {seed}: out of order");
        self.promised = entries.clone();
    }

    /// One life under faults. It ends with the first error, or with its work.
    fn live(&mut self, chance: &mut Chance, seed: u64) {
        if chance.one_in(2) {
            let fault = match chance.below(3) {
                0 => log_disk::Fault::RefuseWrite,
                _ => log_disk::Fault::RefuseSync,
            };
            self.disk.fail_after(chance.below(15) as u32, fault);
        }
        if chance.one_in(2) {
            let fault = match chance.below(3) {
                0 => row_disk::Fault::RefuseWrite,
                _ => row_disk::Fault::RefuseSync,
            };
            self.rows.fail_after(chance.below(8) as u32, fault);
        }
        self.snapshots.refuse(chance.one_in(8));
        let mut node = match self.start() {
            Ok(node) => node,
            Err(StartError::Recover(RecoverError::Log(super::log::LogError::Io { .. }))) => return,
            Err(StartError::Recover(RecoverError::Rows(crate::store::rows::RowError::Io {
                ..
            }))) => return,
            // Only before the first cluster there is no older one to stand in.
            Err(StartError::Recover(RecoverError::Snapshot(_))) => {
                assert!(self.promised.is_empty(), "seed {seed}");
                return;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let mut answers = Vec::new();
        for _ in 0..chance.below(40) {
            match chance.below(6) {
                0 | 1 => {
                    for _ in 0..=chance.below(4) {
                        self.values += 1;
                        let (reply, answer) = oneshot::channel();
                        let allowed = Duration::from_secs(3_600);
                        node.propose(entry(self.values), clock::instant(), allowed, reply);
                        answers.push((self.values, answer));
                    }
                }
                2 | 3 if node.perform().is_err() => break,
                4 if node.behind().step(&self.rows).is_err() => break,
                5 => {
                    if let Some(job) = node.snapshot_due() {
                        let mut failed = false;
                        while node.behind().backlog().batches > 0 && !failed {
                            failed = node.behind().step(&self.rows).is_err();
                        }
                        if failed || node.snapshot_done(job.run()).is_err() {
                            break;
                        }
                    }
                }
                _ => {}
            }
            self.check_answers(&node, &mut answers, seed);
        }
        self.check_answers(&node, &mut answers, seed);
    }

    fn check_answers(
        &mut self,
        node: &Node,
        answers: &mut Vec<(u64, oneshot::Receiver<super::node::tests::Answer>)>,
        seed: u64,
    ) {
        answers.retain_mut(|(value, answer)| match answer.try_recv() {
            Ok(Ok(committed)) => {
                let applied = node.machine().entries.get(&committed.index);
                assert_eq!(applied, Some(&*value), "seed {seed}");
                self.promised.insert(committed.index, *value);
                false
            }
            Ok(Err(_)) => false,
            Err(_) => true,
        });
    }

    fn crash(&mut self, chance: &mut Chance) {
        self.crashes += 1;
        self.disk.crash(match chance.below(3) {
            0 => log_disk::Crash::Lose,
            1 => log_disk::Crash::Keep,
            _ => log_disk::Crash::Tear(chance.below(60) as usize),
        });
        self.rows.crash(match chance.below(12) {
            0..4 => row_disk::Crash::Lose,
            4..8 => row_disk::Crash::Keep,
            8..11 => row_disk::Crash::Tear,
            _ => row_disk::Crash::Vanish,
        });
        let kept = self.snapshots.list().unwrap();
        let whole = kept.iter().filter(|id| self.snapshots.verify(**id).is_ok()).count();
        if whole == 2 && chance.one_in(10) {
            self.snapshots.damage(kept[1]);
        }
    }

    /// A life without faults: everything promised is there, and the rows say the same.
    fn verify(&mut self, chance: &mut Chance, seed: u64) {
        self.snapshots.refuse(false);
        let mut node = self.start().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        node.perform().unwrap();
        assert!(node.leadership().leader, "seed {seed}: a lone voter leads at once");
        self.check(&node, seed);
        if chance.one_in(2) {
            while node.behind().step(&self.rows).unwrap().is_some() {}
            let (hot, cold) = stored(&self.rows);
            assert_eq!(hot, node.machine().entries, "seed {seed}: hot rows");
            assert_eq!(cold, node.machine().entries, "seed {seed}: cold rows");
            assert_eq!(self.rows.applied_index().unwrap(), node.applied());
        }
    }
}

#[test]
fn no_acknowledged_entry_is_lost_or_doubled_over_six_hundred_crashes() {
    let (mut rebuilds, mut entries, mut crashes) = (0, 0, 0);
    for seed in 0..20 {
        let mut chance = Chance(seed);
        let mut world = World::default();
        for _ in 0..30 {
            world.live(&mut chance, seed);
            world.crash(&mut chance);
            world.verify(&mut chance, seed);
            world.crash(&mut chance);
        }
        rebuilds += world.rebuilds;
        entries += world.promised.len();
        crashes += world.crashes;
    }
    // The loop has seen what it is for.
    assert!(crashes >= 600 && entries > 2_000, "{crashes} crashes, {entries} entries");
    assert!(rebuilds > 50, "{rebuilds} rebuilds");
}

/// A world with entries, two snapshots and a compacted log.
fn old_world() -> World {
    let mut world = World::default();
    let mut node = world.start().unwrap();
    node.perform().unwrap();
    for value in 1..=40 {
        world.values = value;
        let (reply, _answer) = oneshot::channel();
        node.propose(entry(value), clock::instant(), Duration::from_secs(60), reply);
        node.perform().unwrap();
        node.behind().step(&world.rows).unwrap();
        if let Some(job) = node.snapshot_due() {
            node.snapshot_done(job.run()).unwrap();
        }
    }
    world.check(&node, 0);
    assert_eq!(world.promised.len(), 40);
    assert!(node.status().first_index > 10, "{:?}", node.status());
    world
}

#[test]
fn lost_rows_are_rebuilt_from_a_snapshot_and_the_log() {
    let mut world = old_world();
    world.rows.crash(row_disk::Crash::Vanish);
    world.verify(&mut Chance(1), 0);
    assert_eq!(world.rebuilds, 2, "the first start of all, and this one");
    // The cold rows are there again too.
    let mut node = world.start().unwrap();
    node.perform().unwrap();
    while node.behind().step(&world.rows).unwrap().is_some() {}
    assert_eq!(stored(&world.rows).1, world.promised);
}

#[test]
fn rows_ahead_of_the_log_are_the_proof_of_a_lost_end_and_nothing_is_touched() {
    let mut world = old_world();
    world.rows.write(&[], 1_000_000).unwrap();
    let Err(error) = world.start() else { panic!("must be refused") };
    let lost = |error: &StartError| match error {
        StartError::Recover(RecoverError::TailLost { state, .. }) => Some(*state),
        _ => None,
    };
    assert_eq!(lost(&error), Some(1_000_000), "{error}");
    assert!(error.to_string().contains("restore from a backup"), "{error}");
    assert_eq!((world.rebuilds, world.rows.applied_index().unwrap()), (1, 1_000_000));
    // Rows that are gone prove nothing, a snapshot behind the log's end does.
    world.rows.crash(row_disk::Crash::Vanish);
    world.verify(&mut Chance(2), 0);
    let newest = *world.snapshots.list().unwrap().last().unwrap();
    let (mut header, _) = world.snapshots.read(newest).unwrap();
    header.id.index = 1_000;
    world.snapshots.write(&header, &mut |_| Ok(())).unwrap();
    world.rows.crash(row_disk::Crash::Vanish);
    let Err(error) = world.start() else { panic!("must be refused") };
    assert_eq!(lost(&error), Some(1_000), "{error}");
}

#[test]
fn a_member_of_several_whose_log_lost_its_end_must_join_anew() {
    let mut world = old_world();
    let newest = *world.snapshots.list().unwrap().last().unwrap();
    let (header, _) = world.snapshots.read(newest).unwrap();
    let mut conf_state = header.conf_state.clone();
    conf_state.voters = vec![1, 2, 3];
    world.rows.write(&[super::recover::conf_change_row(&conf_state)], 1_000).unwrap();
    let Err(error) = world.start() else { panic!("must be refused") };
    let text = error.to_string();
    let expected = RecoverError::PromisesLost { state: 1_000, last: 42 }.to_string();
    assert_eq!(text, expected);
    assert!(text.contains("new node id"), "{text}");
}

#[test]
fn rows_behind_the_start_of_the_log_are_rebuilt() {
    let mut world = old_world();
    world.rows.replace(&mut std::iter::empty(), 3).unwrap();
    world.verify(&mut Chance(3), 0);
    assert_eq!(world.rebuilds, 2);
}

#[test]
fn a_damaged_newest_snapshot_leaves_the_older_one() {
    let mut world = old_world();
    let kept = world.snapshots.list().unwrap();
    assert!(world.snapshots.damage(kept[1]));
    world.rows.crash(row_disk::Crash::Vanish);
    world.verify(&mut Chance(4), 0);
}

#[test]
fn a_member_without_any_way_back_says_what_it_tried() {
    let mut world = old_world();
    for id in world.snapshots.list().unwrap() {
        world.snapshots.damage(id);
    }
    world.rows.crash(row_disk::Crash::Vanish);
    let Err(error) = world.start() else { panic!("must be refused") };
    let text = error.to_string();
    assert!(text.contains("damaged") && text.contains("to recover"), "{text}");
}

#[test]
fn a_lost_log_is_never_begun_anew_over_old_state() {
    let mut world = old_world();
    world.disk = MemDisk::default();
    let Err(error) = world.start() else { panic!("must be refused") };
    assert!(matches!(error, StartError::Recover(RecoverError::LogLost(_))), "{error}");
}

#[test]
fn group_commit_writes_many_proposals_with_one_sync() {
    let mut world = World::default();
    let mut node = world.start().unwrap();
    node.perform().unwrap();
    let before = world.disk.syncs();
    for value in 1..=500 {
        let (reply, _answer) = oneshot::channel();
        node.propose(entry(value), clock::instant(), Duration::from_secs(60), reply);
    }
    node.perform().unwrap();
    assert_eq!(node.machine().entries.len(), 500);
    assert_eq!(world.disk.syncs() - before, 1);
}

#[test]
fn proposals_are_refused_when_the_row_store_is_three_quarters_behind() {
    let mut world = World::default();
    let mut node = world.start().unwrap();
    node.perform().unwrap();
    let now = clock::instant();
    let propose = |node: &mut Node, value| {
        let (reply, mut answer) = oneshot::channel();
        node.propose(entry(value), now, Duration::from_secs(60), reply);
        node.perform().unwrap();
        answer.try_recv().unwrap()
    };
    // Nobody writes rows here.
    let mut value = 1;
    while propose(&mut node, value).is_ok() {
        value += 1;
    }
    assert_eq!(propose(&mut node, value), Err(super::node::ProposeError::Overloaded));
    assert!(node.behind().backlog().is_pressing());
    while node.behind().step(&world.rows).unwrap().is_some() {}
    assert!(propose(&mut node, value).is_ok());
}

#[test]
fn a_proposal_that_is_late_is_answered_though_it_may_still_be_committed() {
    let mut world = World::default();
    let mut node = world.start().unwrap();
    node.perform().unwrap();
    let (reply, mut answer) = oneshot::channel();
    let (now, allowed) = (clock::instant(), Duration::from_secs(1));
    node.propose(entry(1), now, allowed, reply);
    node.tick(now + allowed / 2);
    assert!(answer.try_recv().is_err());
    node.tick(now + allowed);
    let late = Err(super::node::ProposeError::Deadline(allowed));
    assert_eq!(answer.try_recv().unwrap(), late);
    node.perform().unwrap();
    assert_eq!(node.machine().entries.len(), 1);
}
