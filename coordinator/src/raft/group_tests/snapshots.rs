//! Snapshot files that are damaged, too large, of nobody's use or never installed: none of them ends
//! a member, or costs it what it had.

use super::*;
use crate::raft::halt::Halt;
use crate::store::rows::{Row, RowStore as _};
use crate::store::snapshot::{Header, SnapshotError, SnapshotId, rows_of};

type Node = Member<TestMachine, MemLog>;

/// The disks of member 1 of three; the others are played.
#[derive(Default)]
struct Disks {
    log: MemDisk,
    rows: MemRows,
    snapshots: MemSnapshots,
}

const VOTERS: [u64; 3] = [1, 2, 3];

impl Disks {
    fn start(&self, voters: &[u64]) -> Node {
        let mut config = Config::new(1, Some(voters.to_vec()));
        config.snapshot_after_entries = 10;
        let stores = Stores {
            log: MemLog::open(&self.log).unwrap(),
            rows: Arc::new(self.rows.clone()),
            snapshots: Arc::new(self.snapshots.clone()),
            outbound: Box::new(Post::default()),
        };
        Member::start(config, TestMachine::default(), stores).unwrap().0
    }

    /// A file that another member sent.
    fn receive(&self, id: SnapshotId, rows: &[Row]) {
        let conf_state = raft::eraftpb::ConfState { voters: VOTERS.to_vec(), ..Default::default() };
        let header = Header { id, conf_state, mesh: "test".to_owned(), epoch: 1 };
        self.snapshots.write(&header, &mut rows_of(rows)).unwrap();
    }

    fn indexes(&self) -> Vec<u64> {
        self.snapshots.list().unwrap().iter().map(|id| id.index).collect()
    }

    /// Writes entries, and the snapshots that become due.
    fn work(&self, node: &mut Node, values: std::ops::RangeInclusive<u64>) {
        for value in values {
            let (reply, _answer) = oneshot::channel();
            node.propose(entry(value), clock::instant(), Duration::from_secs(60), reply);
            node.perform().unwrap();
            while node.behind().step(&self.rows).unwrap().is_some() {}
            if let Some(job) = node.snapshot_due() {
                node.snapshot_done(job.run()).unwrap();
            }
        }
    }
}

fn announcement(id: SnapshotId, voters: &[u64]) -> Message {
    let mut message = Message { from: 2, to: 1, term: 5, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    let metadata = message.mut_snapshot().mut_metadata();
    (metadata.index, metadata.term) = (id.index, id.term);
    metadata.mut_conf_state().voters = voters.to_vec();
    message
}

/// A hot row of the machine's, or of a table that it does not know.
fn row(table: u8, index: u64) -> Row {
    let key = [&[table][..], &index.to_be_bytes()].concat();
    Row { key: key.into(), value: entry(7) }
}

#[test]
fn a_snapshot_that_is_damaged_before_it_is_installed_leaves_the_member_its_log() {
    let disks = Disks::default();
    let id = SnapshotId { index: 100, term: 5 };
    let mut node = disks.start(&VOTERS);
    disks.receive(id, &[row(b'e', 90)]);
    node.step(announcement(id, &VOTERS));
    assert!(disks.snapshots.damage(id));
    let halt = node.perform().unwrap_err();
    assert!(matches!(halt, Halt::Snapshot(SnapshotError::Damaged { .. })), "{halt}");
    drop(node);
    let mut node = disks.start(&VOTERS);
    assert_eq!((node.applied(), node.status().last_index), (1, 1), "as it was before");
    // It is sent again, whole.
    disks.receive(id, &[row(b'e', 90)]);
    node.step(announcement(id, &VOTERS));
    node.perform().unwrap();
    assert_eq!((node.applied(), node.machine().entries.len()), (100, 1));
}

#[test]
fn a_snapshot_that_cannot_be_taken_is_refused_before_raft_hears_of_it() {
    let disks = Disks::default();
    let mut node = disks.start(&VOTERS);
    let unreadable = SnapshotId { index: 100, term: 5 };
    disks.receive(unreadable, &[row(b'?', 90)]);
    let damaged = SnapshotId { index: 200, term: 5 };
    disks.receive(damaged, &[row(b'e', 90)]);
    assert!(disks.snapshots.damage(damaged));
    let other_members = SnapshotId { index: 300, term: 5 };
    disks.receive(other_members, &[row(b'e', 90)]);
    let missing = SnapshotId { index: 400, term: 5 };
    for (id, voters) in [
        (unreadable, &VOTERS[..]),
        (damaged, &VOTERS),
        (other_members, &[1, 2]),
        (missing, &VOTERS),
    ] {
        node.step(announcement(id, voters));
        node.perform().unwrap();
        assert_eq!((node.applied(), node.status().last_index), (1, 1), "{id:?}");
    }
}

#[test]
fn snapshots_that_were_received_and_never_installed_push_out_none_of_the_own() {
    let disks = Disks::default();
    let mut node = disks.start(&[1]);
    node.perform().unwrap();
    disks.work(&mut node, 1..=25);
    let own = disks.indexes();
    assert_eq!(own.len(), 2, "{own:?}");
    for index in [1_000, 2_000, 3_000] {
        disks.receive(SnapshotId { index, term: 5 }, &[]);
    }
    disks.work(&mut node, 26..=36);
    let kept = disks.indexes();
    let [older, newer, received @ ..] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((*older, received), (own[1], &[2_000, 3_000][..]));
    assert!(newer > older && *newer <= node.applied(), "{kept:?}");
    assert_eq!(node.status().first_index, older + 1, "the log is cut behind the older own one");
    // Rows that are lost are found again, whatever else lies there.
    node.stop();
    drop(node);
    for index in [2_000, 3_000] {
        disks.snapshots.remove(SnapshotId { index, term: 5 }).unwrap();
    }
    disks.rows.crash(crate::store::rows::memory::Crash::Vanish);
    let mut node = disks.start(&[1]);
    node.perform().unwrap();
    assert_eq!(node.machine().entries.len(), 36);
}

#[test]
fn the_log_is_cut_behind_no_snapshot_that_is_damaged() {
    let disks = Disks::default();
    let mut node = disks.start(&[1]);
    node.perform().unwrap();
    disks.work(&mut node, 1..=25);
    let before = disks.snapshots.list().unwrap();
    let cut = node.status().first_index;
    assert_eq!(before.len(), 2);
    for id in &before {
        node.report_snapshot(2, crate::raft::outbound::Carried::Damaged(*id));
    }
    // The next entry has another one taken. It is the only one that is whole: the log stays.
    disks.work(&mut node, 26..=26);
    let [only] = disks.indexes()[..] else { panic!("{:?}", disks.indexes()) };
    assert!(only > before[1].index);
    assert_eq!(node.status().first_index, cut, "behind no damaged one");
    disks.work(&mut node, 27..=40);
    assert_eq!(node.status().first_index, only + 1, "behind the older whole one");
}

#[test]
fn a_snapshot_that_cannot_be_written_costs_room_and_not_the_member() {
    let disks = Disks::default();
    let mut node = disks.start(&[1]);
    node.perform().unwrap();
    disks.work(&mut node, 1..=25);
    let (before, cut) = (disks.indexes(), node.status().first_index);
    let large = bytes::Bytes::from(vec![0; parallax_common::limits::ROW_BYTES_MAX + 1]);
    let key = [&b"l"[..], &2_u64.to_be_bytes()].concat();
    let change = crate::store::rows::RowChange { key: key.into(), value: Some(large) };
    disks.rows.write(&[change], node.applied()).unwrap();
    disks.work(&mut node, 26..=40);
    assert_eq!((disks.indexes(), node.status().first_index), (before, cut));
    assert_eq!(node.machine().entries.len(), 40);
    // It is not tried again before its time, and then it is.
    assert!(node.snapshot_due().is_none());
    // A sync that failed is another matter.
    let sync = SnapshotError::io("sync a file")(std::io::ErrorKind::StorageFull.into());
    assert!(matches!(node.snapshot_done(Err(sync)), Err(Halt::Snapshot(_))));
}

#[test]
fn after_a_failure_a_snapshot_that_is_wanted_is_not_begun_at_once() {
    let disks = Disks::default();
    let mut node = disks.start(&[1]);
    node.perform().unwrap();
    let begun = clock::instant();
    let wait = parallax_common::limits::SNAPSHOT_WRITE_AGAIN_AFTER;
    disks.snapshots.refuse(true);
    node.tick(begun);
    disks.work(&mut node, 1..=9);
    assert_eq!(disks.indexes(), [1]);
    disks.snapshots.refuse(false);
    disks.work(&mut node, 10..=30);
    assert_eq!(disks.indexes(), [1], "too soon");
    node.tick(begun + wait);
    disks.work(&mut node, 31..=31);
    assert_eq!(disks.indexes(), [1, node.applied()]);
}
