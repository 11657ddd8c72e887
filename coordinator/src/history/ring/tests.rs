//! What the ring keeps, drops and acknowledges.

use bytes::Bytes;

use super::*;
use crate::history::Record;
use crate::history::contract::{self, at, check, spool};

/// A window that takes 1 000 bytes. What is in it is not looked at here.
fn window(n: u8, start: i64) -> Record {
    Record { encoded: Bytes::from(vec![n; 744]), ..contract::window(n, start) }
}

fn append(ring: &Ring, spool: &Spool, first: u64, windows: Vec<Record>, now: MeshTime) {
    let windows = (first..).zip(windows).collect();
    ring.append(Batch { spool: spool.clone(), windows, now, room: None }).wait().unwrap();
}

fn starts(ring: &Ring, n: u8, region: &str, from: i64, to: i64) -> Vec<i64> {
    let kept = ring.read(&check(n), region, at(from), at(to)).unwrap();
    kept.iter().map(|kept| kept.record.start.as_ns() / 1_000_000_000).collect()
}

#[test]
fn the_ring_keeps_the_contract() {
    contract::suite(|| (Ring::default(), ()));
}

#[test]
fn windows_leave_when_they_are_too_old() {
    let ring = Ring::new(Duration::from_secs(60), usize::MAX);
    append(&ring, &spool("eu", 1), 1, vec![window(1, 10), window(1, 20)], at(30));
    append(&ring, &spool("eu", 1), 3, vec![window(1, 70)], at(80));
    assert_eq!(starts(&ring, 1, "eu", 0, 100), [20, 70]);
    let stats = ring.stats();
    assert_eq!((stats.windows, stats.expired, stats.dropped), (2, 1, 0));
    assert_eq!(ring.acknowledged(&spool("eu", 1)), Some(3));
}

#[test]
fn a_full_ring_drops_the_oldest_and_counts_them() {
    let ring = Ring::new(Duration::from_secs(3_600), 3_000);
    for n in 0..10 {
        append(&ring, &spool("eu", 1), n as u64 + 1, vec![window(1, n * 10)], at(100));
    }
    assert_eq!(starts(&ring, 1, "eu", 0, 200), [70, 80, 90]);
    let stats = ring.stats();
    assert_eq!((stats.windows, stats.bytes, stats.dropped), (3, 3_000, 7));
    append(&ring, &spool("eu", 1), 11, vec![window(1, 0)], at(100));
    assert_eq!(starts(&ring, 1, "eu", 0, 200), [70, 80, 90], "an old one makes way for nobody");
    assert_eq!(ring.inner.lock().by_pair.len(), 1);
}
