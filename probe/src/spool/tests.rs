//! The spool as its holders see it.

use parallax_common::limits::{SPOOL_AGE_DEFAULT, SPOOL_DISK_BYTES_MIN};

use super::files::twin::{Fault, Twin};
use super::*;
use crate::core::spool::record::encode;
use crate::self_health;

mod full;

const LIFE: Incarnation = Incarnation(1);
const BOUNDS: Bounds = Bounds { bytes_max: SPOOL_DISK_BYTES_MIN, age_max: SPOOL_AGE_DEFAULT };
/// Every window of these tests is over then, unless it says otherwise.
const NOW_NS: i64 = 1_000_000;
const MANY: Portion = Portion { windows: 1_000, bytes: usize::MAX };

/// A spool that has read its disk.
fn open(files: &Twin, life: u64) -> (Spooler, Arc<Metrics>) {
    let (spooler, metrics) = unread(files, life);
    spooler.turn();
    assert!(*spooler.0.opened.borrow());
    (spooler, metrics)
}

/// A spool that has not read its disk yet.
fn unread(files: &Twin, life: u64) -> (Spooler, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let (files, of) = (Arc::new(files.clone()), Incarnation(life));
    let spooler = Spooler::over(files, BOUNDS, of, Arc::clone(&metrics));
    it_is(&spooler, Some(MeshTime::from_ns(NOW_NS)));
    (spooler, metrics)
}

/// The owner tells the time.
fn it_is(spooler: &Spooler, now: Option<MeshTime>) {
    let gaps = spooler.look(BootTime::default(), now, Duration::MAX);
    assert_eq!(gaps, []);
}

fn push(spooler: &Spooler, count: u64, bytes: usize) {
    let one = |n: u64| (MeshTime::from_ns(n as i64), Bytes::from(vec![n as u8; bytes]));
    spooler.push((0..count).map(one));
}

/// Everything that one reader is owed of a life.
async fn all(spooler: &Spooler, life: Incarnation, portion: Portion) -> Vec<(u64, usize)> {
    let (mut cursor, _) = spooler.place(life, 1);
    let (mut found, mut place) = (vec![], None);
    loop {
        let (first, windows) = match spooler.claim(life, 1, (cursor, u64::MAX), portion) {
            Claim::Windows(first, windows) => (first, windows),
            Claim::Disk(segment, from) => {
                let batch = spooler.read((segment, from), place, portion).await.unwrap();
                place = Some(batch.next);
                (batch.first, batch.windows)
            }
            Claim::Nothing | Claim::Over => return found,
        };
        assert!(windows.len() <= portion.windows);
        found.extend((first..).zip(windows.iter().map(Bytes::len)));
        cursor = first + windows.len() as u64;
    }
}

#[tokio::test]
async fn what_one_life_has_left_the_next_one_brings_in_portions_of_any_size() {
    let files = Twin::default();
    let (spooler, _) = open(&files, 1);
    push(&spooler, 300, 2_000);
    // One record is longer than what is read at a time.
    push(&spooler, 1, 400_000);
    push(&spooler, 99, 50);
    spooler.write().await;
    for windows in [1, 7, 1_000] {
        let (next, _) = open(&files, 2);
        let _attached = next.attach(1);
        next.write().await;
        assert_eq!((next.owed(1), next.place(LIFE, 1)), (Some(LIFE), (1, 400)));
        let found = all(&next, LIFE, Portion { windows, ..MANY }).await;
        assert_eq!(found.len(), 400);
        assert!(found.iter().map(|(sequence, _)| *sequence).eq(1..=400));
        assert_eq!(found.iter().map(|(_, bytes)| bytes).sum::<usize>(), 600_000 + 400_000 + 4_950);
    }
}

#[tokio::test]
async fn what_was_sealed_early_at_the_end_is_sent_by_the_next_life_when_it_is_over() {
    let files = Twin::default();
    let (spooler, _) = open(&files, 1);
    let _attached = spooler.attach(1);
    spooler.write().await;
    push(&spooler, 3, 100);
    let early = |n: i64| (MeshTime::from_ns(NOW_NS + n), Bytes::from_static(b"early"));
    spooler.push_early((1..=4).map(early));
    let sent = all(&spooler, LIFE, MANY).await;
    assert_eq!(sent.len(), 3, "what is over is still sent, and none of the others");
    spooler.write().await;
    assert_eq!(all(&spooler, LIFE, MANY).await.len(), 3, "on the disk they are none the less");
    drop(spooler);

    let (next, _) = open(&files, 2);
    let _attached = next.attach(1);
    next.write().await;
    assert_eq!(next.place(LIFE, 1).1, 7);
    let Claim::Disk(segment, 1) = next.claim(LIFE, 1, (1, u64::MAX), MANY) else { panic!("disk") };
    let read = |from| next.read((segment, from), None, MANY);
    it_is(&next, None);
    assert_eq!(read(1).await, None, "nobody knows what is over");
    for (now, from, count) in [(0, 1, Some(3)), (0, 4, None), (2, 4, Some(2)), (2, 6, None)] {
        it_is(&next, Some(MeshTime::from_ns(NOW_NS + now)));
        let found = read(from).await.map(|batch| (batch.first, batch.windows.len()));
        assert_eq!(found, count.map(|count| (from, count)), "{now}, from {from}");
    }
    it_is(&next, Some(MeshTime::from_ns(NOW_NS + 4)));
    assert_eq!(read(6).await.map(|batch| batch.windows.len()), Some(2));
    assert!(lock(&next.0.spool).segment(segment).is_some(), "waiting is no damage");
}

#[tokio::test]
async fn windows_that_left_the_memory_are_read_from_the_disk() {
    let files = Twin::default();
    let metrics = Arc::new(Metrics::default());
    let bounds = Bounds { bytes_max: 1 << 30, ..BOUNDS };
    let now = BootTime::default();
    let twin = Arc::new(files.clone());
    let spooler = Spooler::over(twin, bounds, LIFE, Arc::clone(&metrics));
    it_is(&spooler, Some(MeshTime::from_ns(NOW_NS)));
    for _ in 0..20 {
        push(&spooler, 10, 100_000);
        spooler.write().await;
    }
    let _attached = spooler.attach(1);
    spooler.write().await;
    let claim = spooler.claim(LIFE, 1, (1, u64::MAX), MANY);
    assert!(matches!(claim, Claim::Disk(_, 1)), "{claim:?}");
    let claim = spooler.claim(LIFE, 1, (190, u64::MAX), MANY);
    assert!(matches!(claim, Claim::Windows(190, _)), "the newest are still in memory");
    assert_eq!(all(&spooler, LIFE, Portion { windows: 3, ..MANY }).await.len(), 200);
    spooler.look(now, None, Duration::MAX);
    assert!(metrics.spool_bytes.load(Relaxed) > 20_000_000);
    assert!(metrics.spool_disk_bytes.load(Relaxed) > 20_000_000);
    spooler.acknowledge(LIFE, 1, 200);
    spooler.write().await;
    spooler.look(now, None, Duration::MAX);
    assert_eq!(metrics.spool_bytes.load(Relaxed), 0);
    assert!(files.list().unwrap().iter().all(|name| !name.starts_with("segment")));
}

#[tokio::test]
async fn a_disk_that_refuses_is_shown_until_it_takes_windows_again() {
    let files = Twin::default();
    let (spooler, metrics) = open(&files, 1);
    push(&spooler, 5, 100);
    spooler.write().await;
    assert_eq!(metrics.spool_failing.load(Relaxed), 0);
    files.set(Fault::FullAt(0, u64::MAX));
    push(&spooler, 5, 100);
    spooler.write().await;
    assert_eq!(metrics.spool_failing.load(Relaxed), 1);
    assert!(self_health::told(&metrics).spool_failing, "and told");
    let _attached = spooler.attach(1);
    spooler.write().await;
    assert_eq!(all(&spooler, LIFE, MANY).await.len(), 10, "and sends all the same");
    files.set(Fault::None);
    spooler.write().await;
    assert_eq!(metrics.spool_failing.load(Relaxed), 0);
    assert!(!self_health::told(&metrics).spool_failing);
    let (next, _) = open(&files, 2);
    assert_eq!(next.place(LIFE, 1).1, 10);
}

#[tokio::test]
async fn a_segment_that_goes_bad_after_the_start_is_set_aside_and_the_rest_goes_on() {
    let files = Twin::default();
    let (spooler, _) = open(&files, 1);
    for _ in 0..3 {
        push(&spooler, 10, 4_000);
        spooler.write().await;
    }
    let (next, metrics) = open(&files, 2);
    let _attached = next.attach(1);
    next.write().await;
    let mut names = files.list().unwrap();
    names.retain(|name| name.starts_with("segment"));
    files.flip(&names[0], 200);
    let Claim::Disk(segment, 1) = next.claim(LIFE, 1, (1, u64::MAX), MANY) else { panic!("disk") };
    assert_eq!(next.read((segment, 1), None, MANY).await, None);
    assert_eq!(metrics.spool_damaged.load(Relaxed), 1);
    assert!(next.0.spool.lock().unwrap().segment(segment).is_none(), "another one stands for it");
    let found = all(&next, LIFE, MANY).await;
    let numbers: Vec<u64> = found.into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(numbers, (2..=30).collect::<Vec<_>>(), "the first one was hit");
    next.look(BootTime::default(), None, Duration::MAX);
    assert_eq!(metrics.spool_dropped.load(Relaxed), 1);
    // So it is for the life after.
    drop(next);
    let (last, _) = open(&files, 3);
    let _attached = last.attach(1);
    last.write().await;
    assert_eq!(all(&last, LIFE, MANY).await.len(), 29);
}

#[tokio::test]
async fn a_damaged_segment_waits_for_room_to_be_mended_and_is_not_asked_for_all_the_time() {
    let files = Twin::default();
    let (next, metrics, ids) = three(&files);
    let _attached = next.attach(1);
    next.write().await;
    files.flip(&keeper::name(ids[0]), 200);
    files.set(Fault::FullAt(0, u64::MAX));
    let began = clock::instant();
    assert_eq!(next.read_now((ids[0], 1), None, MANY, began), None);
    files.set(Fault::None);
    let steps = files.steps();
    let soon = began + SPOOL_OPEN_AGAIN_AFTER / 2;
    assert_eq!(next.read_now((ids[0], 1), None, MANY, soon), None);
    assert_eq!((files.steps(), metrics.spool_damaged.load(Relaxed)), (steps, 0));
    assert!(lock(&next.0.spool).segment(ids[0]).is_some(), "nothing has changed");
    assert_eq!(next.read_now((ids[0], 1), None, MANY, began + SPOOL_OPEN_AGAIN_AFTER), None);
    assert_eq!(metrics.spool_damaged.load(Relaxed), 1);
    let found = all(&next, LIFE, MANY).await;
    assert!(found.iter().map(|(sequence, _)| *sequence).eq(2..=30), "the first one was hit");
}

#[test]
fn what_is_no_record_is_told_and_not_read_for_ever_wherever_it_begins() {
    for rest in [READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 2 * SPOOL_RECORD_BYTES_MAX] {
        let files = Twin::default();
        let mut bytes = Vec::new();
        let end = MeshTime::default();
        encode(&Record::Window { sequence: 1, end, bytes: b"one" }, &mut bytes);
        bytes.resize(bytes.len() + rest, 0);
        files.create(&keeper::name(1)).unwrap().add(&bytes).unwrap();
        let (told, tells) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let of = (1, bytes.len() as u64);
            let first = read(&files, of, 0, (1, end), MANY);
            let second = read(&files, of, 0, (2, end), MANY).map_err(|error| error.kind());
            told.send((first.unwrap().unwrap().windows.len(), second.unwrap_err()))
        });
        let told = tells.recv_timeout(Duration::from_secs(30));
        assert_eq!(told, Ok((1, io::ErrorKind::InvalidData)), "{rest}");
    }
}

/// An earlier life with three segments, their numbers, and the spool that is to bring them.
fn three(files: &Twin) -> (Spooler, Arc<Metrics>, Vec<u64>) {
    let (spooler, _) = open(files, 1);
    for _ in 0..3 {
        push(&spooler, 10, 4_000);
        spooler.turn();
    }
    let (next, metrics) = open(files, 2);
    let ids = {
        let spool = lock(&next.0.spool);
        (1..20).filter(|id| spool.segment(*id).is_some_and(|of| of.windows > 0)).collect()
    };
    (next, metrics, ids)
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_is_tried_again_and_after_a_while_given_up_for_those_behind_it()
 {
    let second = Duration::from_secs(1);
    for (failing_s, lost) in [(5, false), (60, true)] {
        let files = Twin::default();
        let (next, metrics, ids) = three(&files);
        let _attached = next.attach(1);
        next.write().await;
        let name = keeper::name(ids[0]);
        files.refuse_reading(&name, 0..1 << 20, u64::MAX);
        let began = clock::instant();
        for s in 0..failing_s {
            let now = began + second * s;
            assert_eq!(next.read_now((ids[0], 1), None, MANY, now), None);
        }
        files.read_again();
        assert_eq!(metrics.spool_damaged.load(Relaxed), u64::from(lost));
        let found = all(&next, LIFE, MANY).await;
        let numbers: Vec<u64> = found.into_iter().map(|(sequence, _)| sequence).collect();
        assert_eq!(numbers.last(), Some(&30));
        assert_eq!(numbers[0] > 1, lost, "{numbers:?}");
    }
}

#[tokio::test]
async fn the_end_of_an_earlier_life_that_is_lost_is_told_and_waited_for_by_nobody() {
    let files = Twin::default();
    let (next, _, ids) = three(&files);
    let _attached = next.attach(1);
    next.write().await;
    let last = ids[ids.len() - 1];
    let first = lock(&next.0.spool).segment(last).unwrap().first;
    files.remove(&keeper::name(last)).unwrap();
    let began = clock::instant();
    for s in 0..30 {
        next.read_now((last, first), None, MANY, began + Duration::from_secs(s));
    }
    assert_eq!(next.place(LIFE, 1), (1, first - 1));
    assert_eq!(all(&next, LIFE, MANY).await.len() as u64, first - 1);
    next.acknowledge(LIFE, 1, first - 1);
    assert_eq!(next.owed(1), None);
    assert_eq!(next.claim(LIFE, 1, (first, u64::MAX), MANY), Claim::Over, "the lane may end");
    let gaps = next.look(BootTime::default(), None, Duration::MAX);
    assert_eq!(gaps, [Gap { reader: 1, life: LIFE, first, last: 30 }]);
    assert_eq!(next.look(BootTime::default(), None, Duration::MAX), [], "once");
}

#[tokio::test]
async fn while_the_disk_is_read_windows_are_taken_and_sent_and_then_it_goes_on_with_both() {
    let files = Twin::default();
    let (spooler, _) = open(&files, 1);
    push(&spooler, 20, 100);
    spooler.turn();
    drop(spooler);
    let (next, _) = unread(&files, 2);
    let ours = next.incarnation();
    let attached = next.attach(1);
    push(&next, 5, 100);
    assert_eq!((next.owed(1), next.place(ours, 1)), (None, (1, 5)));
    assert_eq!(all(&next, ours, MANY).await.len(), 5, "what is new is sent at once");
    next.acknowledge(ours, 1, 2);
    drop(attached);
    next.write().await;
    next.opened().await;
    assert_eq!(next.owed(1), Some(LIFE), "a reader that was here already is owed the rest");
    // What it was sent of this life is on the disk now, and known there.
    let (last, _) = open(&files, 3);
    let _attached = last.attach(1);
    last.write().await;
    assert_eq!((last.place(LIFE, 1), last.place(ours, 1)), ((1, 20), (3, 5)));
    assert!(!lock(&last.0.spool).may_merge(ours, 4, 5), "it may have them");
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_is_asked_again_later_and_windows_wait_in_memory() {
    let files = Twin::default();
    let (spooler, _) = open(&files, 1);
    push(&spooler, 20, 100);
    spooler.turn();
    files.set(Fault::FailAt(0, u64::MAX));
    let (next, metrics) = unread(&files, 2);
    push(&next, 3, 100);
    next.write().await;
    assert_eq!(metrics.spool_failing.load(Relaxed), 1);
    let _attached = next.attach(1);
    assert_eq!(all(&next, next.incarnation(), MANY).await.len(), 3);
    files.set(Fault::None);
    next.write().await;
    assert_eq!(next.owed(1), None, "not at once");
    let disk = next.0.disk.as_ref().unwrap();
    *lock(&disk.open_at) -= SPOOL_OPEN_AGAIN_AFTER;
    next.write().await;
    assert_eq!((next.owed(1), metrics.spool_failing.load(Relaxed)), (Some(LIFE), 0));
}

#[tokio::test]
async fn the_task_writes_by_itself_and_the_directory_of_another_probe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::default());
    let supervisor = Supervisor::default();
    let holder =
        |region: &str| Holder { mesh: "m1".into(), region: region.into(), probe: "p1".into() };
    let open = |region: &str, life| {
        Spooler::open(dir.path(), BOUNDS, &holder(region), Incarnation(life), Arc::clone(&metrics))
    };
    let spooler = open("eu-west", 1).unwrap();
    spooler.spawn(&supervisor);
    let again = open("eu-west", 2).unwrap_err();
    assert!(matches!(&again, OpenError::Files(of) if of.kind() == io::ErrorKind::WouldBlock));
    push(&spooler, 5, 100);
    let mut changes = spooler.changes();
    let written = async {
        while lock(&spooler.0.spool).disk_bytes() == 0 {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.unwrap();
    supervisor.stop();
    assert!(supervisor.join(Duration::from_secs(20)).await);
    drop(spooler);
    let another = open("us-east", 2).unwrap_err();
    assert!(matches!(another, OpenError::Another { .. }), "{another}");
    let next = open("eu-west", 2).unwrap();
    next.turn();
    assert_eq!(next.place(LIFE, 1), (1, 5));
}
