//! The spool as its holders see it.

use parallax_common::limits::{SPOOL_AGE_DEFAULT, SPOOL_DISK_BYTES_MIN};

use super::files::twin::{Fault, Twin};
use super::*;

const LIFE: Incarnation = Incarnation(1);
const BOUNDS: Bounds = Bounds { bytes_max: SPOOL_DISK_BYTES_MIN, age_max: SPOOL_AGE_DEFAULT };
const MANY: Portion = Portion { windows: 1_000, bytes: usize::MAX };

fn open(files: &Twin, life: u64) -> (Spooler, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let (files, now) = (Arc::new(files.clone()), BootTime::default());
    let of = Incarnation(life);
    (Spooler::open_in(files, BOUNDS, of, now, Arc::clone(&metrics)).unwrap(), metrics)
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
async fn windows_that_left_the_memory_are_read_from_the_disk() {
    let files = Twin::default();
    let metrics = Arc::new(Metrics::default());
    let bounds = Bounds { bytes_max: 1 << 30, ..BOUNDS };
    let now = BootTime::default();
    let twin = Arc::new(files.clone());
    let spooler = Spooler::open_in(twin, bounds, LIFE, now, Arc::clone(&metrics)).unwrap();
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
    let _attached = spooler.attach(1);
    spooler.write().await;
    assert_eq!(all(&spooler, LIFE, MANY).await.len(), 10, "and sends all the same");
    files.set(Fault::None);
    spooler.write().await;
    assert_eq!(metrics.spool_failing.load(Relaxed), 0);
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
    let found = all(&next, LIFE, MANY).await;
    let numbers: Vec<u64> = found.into_iter().map(|(sequence, _)| sequence).collect();
    assert!(!numbers.is_empty() && numbers[0] > 1 && numbers.last() == Some(&30), "{numbers:?}");
    next.look(BootTime::default(), None, Duration::MAX);
    assert_eq!(metrics.spool_dropped.load(Relaxed), 30 - numbers.len() as u64);
}

#[tokio::test]
async fn the_task_writes_by_itself_and_the_directory_of_another_probe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::default());
    let now = BootTime::default();
    let supervisor = Supervisor::default();
    let spooler = Spooler::open(dir.path(), BOUNDS, LIFE, now, Arc::clone(&metrics)).unwrap();
    spooler.spawn(&supervisor);
    let again = Spooler::open(dir.path(), BOUNDS, Incarnation(2), now, Arc::clone(&metrics));
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::WouldBlock);
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
    let next = Spooler::open(dir.path(), BOUNDS, Incarnation(2), now, metrics).unwrap();
    assert_eq!(next.place(LIFE, 1), (1, 5));
}
