//! What is written is found; what was changed is refused.

use std::fs;

use parallax_common::name::Incarnation;

use super::*;
use crate::history::files::System;
use crate::history::ranges::Held;
use crate::history::segment::writer::Writer;

fn system() -> Arc<dyn Files> {
    Arc::new(System)
}

fn key(check: u16, region: &str) -> Key {
    let mut uid = [0; 16];
    uid[..2].copy_from_slice(&check.to_be_bytes());
    Key { check: Uid::from_bytes(uid), region: region.into() }
}

/// Checks 0 to 199, each in three regions: more than one page, and pages that divide a check.
fn write(dir: &Path) -> Segment {
    let mut writer = Writer::create(&system(), dir, Tier::Minutes, 7).unwrap();
    for check in 0..200 {
        for region in ["ap", "eu", "us"] {
            let span = (MeshTime::from_ns(check.into()), MeshTime::from_ns(1_000));
            writer
                .block(&key(check, region), format!("{check}{region}").as_bytes(), 2, span)
                .unwrap();
        }
    }
    let mut held = Held::default();
    let spool = crate::history::Spool {
        region: "eu".into(),
        probe: "p".into(),
        incarnation: Incarnation(1),
    };
    held.insert(&spool, 1, 1_200);
    writer.finish(held, vec![(spool, 1_200)]).unwrap()
}

#[test]
fn every_block_is_found_by_its_check() {
    let dir = tempfile::tempdir().unwrap();
    let segment = write(dir.path());
    segment.verify().unwrap();
    assert_eq!((segment.id, segment.meta.items, segment.pages()), (7, 1_200, 5));
    assert_eq!(segment.meta.min_start, MeshTime::from_ns(0));
    let file = segment.file().unwrap();
    for check in 0..200 {
        let entries = segment.find(&*file, &key(check, "").check).unwrap();
        let regions: Vec<&str> = entries.iter().map(|entry| &*entry.key.region).collect();
        assert_eq!(regions, ["ap", "eu", "us"], "{check}");
        for entry in entries {
            let block = segment.block(&*file, &entry).unwrap();
            assert_eq!(block, format!("{check}{}", entry.key.region).as_bytes());
        }
    }
    assert!(segment.find(&*file, &key(999, "").check).unwrap().is_empty());
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_writer_that_does_not_finish_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(&system(), dir.path(), Tier::Hours, 1).unwrap();
    let span = (MeshTime::from_ns(0), MeshTime::from_ns(1));
    writer.block(&key(1, "eu"), b"x", 1, span).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn every_shorter_file_and_every_changed_byte_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let segment = write(dir.path());
    let whole = fs::read(&segment.path).unwrap();
    for length in (0..whole.len()).step_by(997) {
        fs::write(&segment.path, &whole[..length]).unwrap();
        assert!(Segment::open(&system(), &segment.path).is_err(), "{length}");
    }
    for at in (0..whole.len()).step_by(211) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&segment.path, &bytes).unwrap();
        let Ok(opened) = Segment::open(&system(), &segment.path) else { continue };
        assert!(opened.verify().is_err(), "{at}");
        // Whoever does not look at the whole is not deceived either.
        let file = opened.file().unwrap();
        for check in (0..200).step_by(7) {
            let Ok(entries) = opened.find(&*file, &key(check, "").check) else { continue };
            for entry in entries {
                if let Ok(block) = opened.block(&*file, &entry) {
                    assert_eq!(block, format!("{check}{}", entry.key.region).as_bytes());
                }
            }
        }
    }
}

#[test]
fn names_are_read_back() {
    let sha256 = [0xab; 32];
    let name = crate::history::segment::writer::name(Tier::Hours, 12, &sha256);
    assert_eq!(parse_name(&name), Some((Tier::Hours, 12, sha256)));
    for wrong in ["", "2-1.seg", "9-000000000012-00.seg", "x.seg", "journal-1.log"] {
        assert_eq!(parse_name(wrong), None, "{wrong}");
    }
}
