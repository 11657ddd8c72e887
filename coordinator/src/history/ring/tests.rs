//! What the ring keeps, drops and acknowledges.

use bytes::Bytes;
use parallax_common::name::{Incarnation, RunDigest};

use super::*;

fn at(seconds: i64) -> MeshTime {
    MeshTime::from_ns(seconds * 1_000_000_000)
}

fn spool(region: &str, incarnation: u64) -> Spool {
    Spool { region: region.into(), probe: "a".into(), incarnation: Incarnation(incarnation) }
}

fn check(n: u8) -> Uid {
    Uid::from_bytes([n; 16])
}

fn window(n: u8, start: i64) -> Record {
    Record {
        check: check(n),
        digest: RunDigest(1),
        start: at(start),
        end: at(start + 10),
        unassigned: false,
        encoded: Bytes::from(vec![n; 744]),
    }
}

fn starts(ring: &Ring, n: u8, region: &str, from: i64, to: i64) -> Vec<i64> {
    let kept = ring.read(&check(n), region, at(from), at(to));
    kept.iter().map(|kept| kept.record.start.as_ns() / 1_000_000_000).collect()
}

#[test]
fn windows_are_read_by_check_region_and_time() {
    let ring = Ring::default();
    let windows = vec![window(1, 20), window(1, 10), window(2, 10), window(1, 30)];
    let appended = ring.append(&spool("eu", 1), 5, windows, at(40));
    assert_eq!(appended, Appended { kept: 4, duplicates: 0 });
    ring.append(&spool("us", 1), 1, vec![window(1, 10)], at(40));
    assert_eq!(starts(&ring, 1, "eu", 0, 100), [10, 20, 30]);
    assert_eq!(starts(&ring, 1, "eu", 20, 30), [20], "from is included, to is not");
    assert_eq!(starts(&ring, 1, "eu", 19, 31), [10, 20, 30], "overlap counts");
    assert_eq!(starts(&ring, 2, "eu", 0, 100), [10]);
    assert_eq!(starts(&ring, 1, "us", 0, 100), [10]);
    assert!(starts(&ring, 3, "eu", 0, 100).is_empty());
}

#[test]
fn what_is_sent_again_is_acknowledged_and_kept_once() {
    let ring = Ring::default();
    let spool = spool("eu", 1);
    assert_eq!(ring.acknowledged(&spool), None);
    ring.append(&spool, 1, vec![window(1, 10), window(1, 20)], at(30));
    assert_eq!(ring.acknowledged(&spool), Some(2));
    let again = ring.append(&spool, 2, vec![window(1, 20), window(1, 30)], at(40));
    assert_eq!(again, Appended { kept: 1, duplicates: 1 });
    assert_eq!(ring.acknowledged(&spool), Some(3));
    let old = ring.append(&spool, 1, vec![window(1, 10)], at(40));
    assert_eq!((old, ring.acknowledged(&spool)), (Appended { kept: 0, duplicates: 1 }, Some(3)));
    assert_eq!(starts(&ring, 1, "eu", 0, 100), [10, 20, 30]);
}

#[test]
fn another_life_of_the_spool_counts_from_its_own_beginning() {
    let ring = Ring::default();
    ring.append(&spool("eu", 1), 7, vec![window(1, 10)], at(30));
    let appended = ring.append(&spool("eu", 2), 1, vec![window(1, 20)], at(30));
    assert_eq!(appended, Appended { kept: 1, duplicates: 0 });
    assert_eq!(starts(&ring, 1, "eu", 0, 100), [10, 20]);
}

#[test]
fn windows_leave_when_they_are_too_old() {
    let ring = Ring::new(Duration::from_secs(60), usize::MAX);
    ring.append(&spool("eu", 1), 1, vec![window(1, 10), window(1, 20)], at(30));
    ring.append(&spool("eu", 1), 3, vec![window(1, 70)], at(80));
    assert_eq!(starts(&ring, 1, "eu", 0, 100), [20, 70]);
    let stats = ring.stats();
    assert_eq!((stats.windows, stats.expired, stats.dropped), (2, 1, 0));
    assert_eq!(ring.acknowledged(&spool("eu", 1)), Some(3));
}

#[test]
fn a_full_ring_drops_the_oldest_and_counts_them() {
    let ring = Ring::new(Duration::from_secs(3_600), 3_000);
    for n in 0..10 {
        ring.append(&spool("eu", 1), n as u64 + 1, vec![window(1, n * 10)], at(100));
    }
    assert_eq!(starts(&ring, 1, "eu", 0, 200), [70, 80, 90]);
    let stats = ring.stats();
    assert_eq!((stats.windows, stats.bytes, stats.dropped), (3, 3_000, 7));
    ring.append(&spool("eu", 1), 11, vec![window(1, 0)], at(100));
    assert_eq!(starts(&ring, 1, "eu", 0, 200), [70, 80, 90], "an old one makes way for nobody");
    assert_eq!(ring.inner.lock().by_pair.len(), 1);
}
