//! What is put is taken, and nothing else is.

use proptest::prelude::*;

use super::*;

fn spool(probe: u8, incarnation: u64) -> Spool {
    Spool {
        region: "eu-west".into(),
        probe: format!("p{probe}").into(),
        incarnation: Incarnation(incarnation),
    }
}

fn key() -> Key {
    Key { check: Uid::from_bytes([3; 16]), region: "eu-west".into() }
}

prop_compose! {
    fn a_record()(
        start in -50i64..50, period in prop::sample::select(vec![10u32, 20, 30, 60, 300]),
        digest in any::<u64>(), unassigned in any::<bool>(),
        encoded in prop::collection::vec(any::<u8>(), 0..80),
    ) -> Record {
        let start = MeshTime::from_ns(start * 300_000_000_000);
        Record {
            check: Uid::from_bytes([3; 16]),
            digest: RunDigest(digest),
            start,
            end: start + std::time::Duration::from_secs(period.into()),
            unassigned,
            encoded: encoded.into(),
        }
    }
}

prop_compose! {
    fn some_kept()(
        given in prop::collection::vec((0u8..4, 0u64..3, any::<u64>(), a_record()), 0..20)
    ) -> Vec<Kept> {
        given
            .into_iter()
            .map(|(probe, incarnation, sequence, record)| {
                Kept { spool: spool(probe, incarnation), sequence, record }
            })
            .collect()
    }
}

proptest! {
    #[test]
    fn windows_come_back(windows in some_kept()) {
        prop_assert_eq!(take_windows(&key(), &put_windows(&windows)).unwrap(), windows);
    }

    #[test]
    fn batches_come_back(sequence in any::<u32>(), records in prop::collection::vec(a_record(), 0..9)) {
        let windows: Vec<_> = (u64::from(sequence)..).zip(records).collect();
        let (from, back) = take_batch(&put_batch(&spool(1, 7), &windows)).unwrap();
        prop_assert_eq!((from, back), (spool(1, 7), windows));
    }

    #[test]
    fn numbers_come_back(value in any::<u64>(), signed in any::<i64>()) {
        let mut out = Out::default();
        out.number(value);
        out.signed(signed);
        out.fixed(value);
        let bytes = out.into_bytes();
        let mut input = In::new(&bytes);
        prop_assert_eq!(input.number().unwrap(), value);
        prop_assert_eq!(input.signed().unwrap(), signed);
        prop_assert_eq!(input.fixed().unwrap(), value);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn nonsense_neither_panics_nor_takes_memory(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = take_batch(&bytes);
        let _ = take_windows(&key(), &bytes);
        let _ = take_meta(&bytes);
    }
}

#[test]
fn every_shorter_meta_is_refused() {
    let mut held = Held::default();
    held.insert(&spool(1, 1), 5, 9);
    held.insert(&spool(1, 1), 20, 20);
    held.insert(&spool(2, 4), 1, u64::MAX);
    let meta = Meta {
        tier: Tier::Minutes,
        min_start: MeshTime::from_ns(-60),
        max_end: MeshTime::from_ns(600),
        held,
        items: 12,
        spools: vec![(spool(1, 1), 20)],
    };
    let regions: Vec<Arc<str>> = vec!["ap".into(), "eu-west".into()];
    let bytes = put_meta(&meta, &regions);
    assert_eq!(take_meta(&bytes).unwrap(), (meta, regions));
    for length in 0..bytes.len() {
        assert!(take_meta(&bytes[..length]).is_err(), "{length}");
    }
}
