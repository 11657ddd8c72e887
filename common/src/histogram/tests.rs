use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use proptest::prelude::*;

use super::*;

fn recorder(us: &[u64]) -> Recorder {
    let mut recorder = Recorder::new();
    for &us in us {
        assert!(recorder.record(Duration::from_micros(us)));
    }
    recorder
}

fn stock(us: &[u64]) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
    for &us in us {
        histogram.record(us.clamp(1, 60_000_000)).unwrap();
    }
    histogram
}

fn decoded(recorder: &Recorder) -> Merged {
    decode(recorder.encode().view(), recorder.totals()).unwrap()
}

#[test]
fn indices_are_those_of_the_stock_histogram() {
    let stock = stock(&[]);
    assert_eq!(COUNTS_LEN as usize, stock.distinct_values());
    let mut next = 0;
    for index in 0..=index_of(HISTOGRAM_HIGH_US) {
        let low = value_at(index);
        assert_eq!(low, next, "entry {index}");
        assert_eq!(stock.lowest_equivalent(low), low);
        let high = stock.highest_equivalent(low);
        assert_eq!(index_of(low), index);
        if high <= HISTOGRAM_HIGH_US {
            assert_eq!(index_of(high), index);
        }
        next = high + 1;
    }
}

#[test]
fn the_ends_saturate() {
    let mut recorder = Recorder::new();
    assert!(recorder.record(Duration::ZERO));
    assert!(recorder.record(Duration::from_secs(3_600)));
    assert_eq!(
        recorder.totals(),
        Totals { count: 2, sum_us: 60_000_001, min_us: 1, max_us: 60_000_000 }
    );
    let merged = decoded(&recorder);
    assert_eq!(merged.quantile(1.0), Some(Duration::from_secs(60)));
    assert_eq!(merged.quantile(0.0), Some(Duration::from_micros(1)));
}

#[test]
fn sixty_four_samples_are_sparse_and_sixty_five_are_not() {
    let us: Vec<u64> = (0..65).map(|i| 1_000 + i * 997).collect();
    assert!(matches!(recorder(&us[..64]).encode(), Encoded::Sparse { .. }));
    assert!(matches!(recorder(&us).encode(), Encoded::HdrV2(_)));
    let empty = Recorder::new();
    assert!(empty.is_empty());
    assert_eq!(empty.encode(), Encoded::Sparse { index_delta: vec![], count: vec![] });
}

/// What the stock decoder would do with it: allocate gigabytes, then fail.
fn bomb() -> Vec<u8> {
    let mut bytes = hdr_v2::encode(&[(5, 70)]);
    bytes.truncate(hdr_v2::HEADER_LEN);
    bytes[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    bytes
}

#[test]
fn broken_v2_bytes_are_refused_before_the_stock_decoder_sees_them() {
    use hdr_v2::V2Error;
    let good = hdr_v2::encode(&[(5, 70)]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let payload = |payload: &[u8]| {
        let mut bytes = good[..hdr_v2::HEADER_LEN].to_vec();
        bytes.extend_from_slice(payload);
        bytes[4..8].copy_from_slice(&(payload.len() as u32).to_be_bytes());
        bytes
    };
    let v2 = HistogramError::V2;
    for (what, bytes, error) in [
        ("nothing", vec![], v2(V2Error::Short)),
        ("half a header", good[..39].to_vec(), v2(V2Error::Short)),
        ("a bomb", bomb(), v2(V2Error::Length { announced: u32::MAX, present: 0 })),
        ("compressed", with(3, 0x14), v2(V2Error::Cookie)),
        ("an offset", with(11, 1), v2(V2Error::Layout)),
        ("five figures", with(15, 5), v2(V2Error::Layout)),
        ("low 2", with(23, 2), v2(V2Error::Layout)),
        ("high 2^62", with(24, 0x40), v2(V2Error::Layout)),
        ("ratio 2", with(32, 0x40), v2(V2Error::Layout)),
        ("a cut number", payload(&[0x80]), v2(V2Error::Truncated)),
        ("a skip of 2^63", payload(&[0xff; 9]), v2(V2Error::Skip)),
        ("too many samples", payload(&[0xfe, 0xff, 0xff, 0xff, 0x7f]), HistogramError::TooMany),
        ("few samples", payload(&[2]), HistogramError::WrongEncoding(1)),
        ("an index outside", payload(&[0xff, 0x8f, 0x02, 3, 3]), HistogramError::Index(17_410)),
    ] {
        assert_eq!(walk(View::HdrV2(&bytes), |_, _| {}), Err(error), "{what}");
    }
}

#[test]
fn broken_sparse_pairs_are_refused() {
    for (index_delta, count, error) in [
        (vec![1], vec![], HistogramError::Uneven { deltas: 1, counts: 0 }),
        (vec![1, 0], vec![1, 1], HistogramError::Repeated),
        (vec![1], vec![0], HistogramError::EmptyEntry),
        (vec![COUNTS_LEN], vec![1], HistogramError::Index(u64::from(COUNTS_LEN))),
        (vec![u32::MAX, u32::MAX], vec![1, 1], HistogramError::Index(u64::from(u32::MAX))),
        (vec![1], vec![65], HistogramError::WrongEncoding(65)),
        (vec![1; 65], vec![1; 65], HistogramError::WrongEncoding(65)),
        (vec![1], vec![u32::MAX], HistogramError::TooMany),
    ] {
        let view = View::Sparse { index_delta: &index_delta, count: &count };
        assert_eq!(walk(view, |_, _| {}), Err(error), "{index_delta:?}");
    }
}

#[test]
fn totals_must_agree_with_the_entries() {
    let recorder = recorder(&[100, 2_000, 30_000]);
    let good = recorder.totals();
    let encoded = recorder.encode();
    assert_eq!(check(encoded.view(), good), Ok(()));
    for (totals, what) in [
        (Totals { count: 2, ..good }, "count"),
        (Totals { min_us: 99, ..good }, "min_us"),
        (Totals { min_us: 40_000, ..good }, "min_us"),
        (Totals { max_us: 31_000, ..good }, "max_us"),
        (Totals { max_us: u64::MAX, ..good }, "min_us"),
        (Totals { sum_us: 32_000, ..good }, "sum_us"),
        (Totals { sum_us: u64::MAX, ..good }, "sum_us"),
    ] {
        assert_eq!(check(encoded.view(), totals), Err(HistogramError::Disagrees(what)));
    }
}

fn samples() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(prop_oneof![1u64..5_000, 1u64..60_000_000], 0..150)
}

proptest! {
    #[test]
    fn our_v2_bytes_are_the_stock_ones(us in samples()) {
        prop_assume!(us.len() as u64 > SPARSE_SAMPLES_MAX);
        let Encoded::HdrV2(ours) = recorder(&us).encode() else { panic!("sparse") };
        let mut theirs = Vec::new();
        V2Serializer::new().serialize(&stock(&us), &mut theirs).unwrap();
        prop_assert_eq!(&ours, &theirs);
        let back: Histogram<u64> = Deserializer::new().deserialize(&mut ours.as_slice()).unwrap();
        prop_assert_eq!(back, stock(&us));
    }

    #[test]
    fn a_merge_of_encodings_is_the_encoding_of_all_samples(parts in proptest::collection::vec(samples(), 1..4)) {
        let all: Vec<u64> = parts.concat();
        let whole = recorder(&all);
        let mut merged = Merged::new();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let part = recorder(part);
            merged.add_encoded(part.encode().view(), part.totals()).unwrap();
        }
        prop_assert_eq!(merged.totals(), whole.totals());
        prop_assert_eq!(&merged.counts, &stock(&all));
    }

    #[test]
    fn merging_commutes_and_associates(a in samples(), b in samples(), c in samples()) {
        let merged = |us: &[u64]| {
            let mut merged = Merged::new();
            if !us.is_empty() {
                merged.add(&decoded(&recorder(us)));
            }
            merged
        };
        let sum = |x: &Merged, y: &Merged| {
            let mut sum = x.clone();
            sum.add(y);
            sum
        };
        let (a, b, c) = (merged(&a), merged(&b), merged(&c));
        prop_assert_eq!(sum(&a, &b), sum(&b, &a));
        prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
    }

    #[test]
    fn quantiles_keep_three_figures(us in proptest::collection::vec(1u64..60_000_000, 1..100), q in 0.0f64..=1.0) {
        let merged = decoded(&recorder(&us));
        let mut sorted = us.clone();
        sorted.sort_unstable();
        let rank = ((q * us.len() as f64).ceil() as usize).clamp(1, us.len());
        let exact = sorted[rank - 1] as f64;
        let got = merged.quantile(q).unwrap().as_micros() as f64;
        prop_assert!((got - exact).abs() <= exact / 1_000.0 + 1.0, "{got} for {exact}");
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), headed in any::<bool>()) {
        let mut all = if headed { hdr_v2::encode(&[]) } else { vec![] };
        all.extend_from_slice(&bytes);
        if headed {
            all[4..8].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        }
        let _ = walk(View::HdrV2(&all), |_, _| {});
    }
}
