//! What is told of a segment is understood by the other end, and nothing else is.

use super::*;
use crate::history::Batch;
use crate::history::contract::{at, spool, window};

fn a_segment() -> (tempfile::TempDir, Disk) {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut journal) = Disk::open(dir.path(), u64::MAX).unwrap();
    let windows = vec![(4, window(1, 0)), (5, window(1, 10)), (9, window(1, 20))];
    let batch = Batch { spool: spool("eu", 1), windows, now: at(30), room: None };
    disk.commit(&mut journal, vec![batch]).unwrap();
    disk.flush(&mut journal).unwrap();
    disk.maintain(at(4_000)).unwrap();
    (dir, disk)
}

#[test]
fn what_is_told_of_a_segment_is_what_it_says_of_itself() {
    let (_dir, disk) = a_segment();
    let segment = disk.segments(Tier::Minutes).remove(0);
    let info = told(&segment);
    assert_eq!(info.spools[0].ranges, [4, 5, 9, 9]);
    let incoming = incoming(Tier::Minutes, &info).unwrap();
    assert_eq!(incoming.held, segment.meta.held);
    assert_eq!((incoming.sha256, incoming.max_end), (segment.sha256, segment.meta.max_end));
    assert_eq!(disk.judge(&incoming, at(4_000)), Verdict::Needless, "it is here");
}

#[test]
fn a_member_that_tells_nonsense_is_not_believed() {
    let (_dir, disk) = a_segment();
    let good = told(&disk.segments(Tier::Minutes)[0]);
    let with = |change: &dyn Fn(&mut peer::SegmentInfo)| {
        let mut info = good.clone();
        change(&mut info);
        incoming(Tier::Minutes, &info)
    };
    assert!(with(&|_| ()).is_ok());
    assert!(with(&|info| info.tier = 2).is_err());
    assert!(with(&|info| info.sha256 = vec![1; 31].into()).is_err());
    assert!(with(&|info| info.bytes = SEGMENT_BYTES_MAX + 1).is_err());
    assert!(with(&|info| info.spools[0].ranges = vec![1, 2, 3]).is_err());
    assert!(with(&|info| info.spools[0].ranges = vec![5, 4]).is_err());
    assert!(with(&|info| info.spools[0].ranges = vec![]).is_err());
    assert!(with(&|info| info.spools.push(info.spools[0].clone())).is_err());
}

#[tokio::test]
async fn a_fetched_file_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    assert_eq!(length_of(path.clone()).await.unwrap(), 0);
    write_at(path.clone(), 0, "hello world".into()).await.unwrap();
    assert_eq!(length_of(path.clone()).await.unwrap(), 11);
    write_at(path.clone(), 5, "!".into()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"hello!");
}
