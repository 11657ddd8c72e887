//! Cells come back as they were, cost what they tell, and nonsense is refused.

use std::time::Duration;

use parallax_common::histogram::Recorder;
use parallax_common::outcome::Reason;
use proptest::prelude::*;

use super::*;
use crate::history::cell::Cells;
use crate::history::cell::tests::window;
use crate::history::tier::Tier;

prop_compose! {
    fn some_cells()(
        given in prop::collection::vec((-500i64..500, 0u32..40, 0u32..3, any::<bool>()), 0..12)
    ) -> Vec<Cell> {
        let mut cells = Cells::default();
        for (slot, passed, failed, unassigned) in given {
            let encoded = window(3, slot * 10, 10, passed, failed);
            let mut cell = Cell::of_window(&encoded, unassigned).unwrap();
            let late = (Outcome::Missed, Some(Reason::MissedLate), true);
            cell.counts.insert(late, u64::from(passed) << 40);
            cells.add(Tier::Minutes, &cell);
        }
        cells.into_vec()
    }
}

/// One histogram of these samples in microseconds.
fn series(samples: &[u64]) -> Sparse {
    let mut sum = Sparse::default();
    for part in samples.chunks(50) {
        let mut recorder = Recorder::new();
        for us in part {
            recorder.record(Duration::from_micros(*us));
        }
        sum.add(&Sparse::decode(recorder.encode().view(), recorder.totals()).unwrap());
    }
    sum
}

fn cell(hour: i64, of: impl IntoIterator<Item = ((u32, Phase), Sparse)>) -> Cell {
    Cell {
        start: MeshTime::from_ns(hour * 3_600_000_000_000),
        length_s: 3_600,
        covered: full(3_600),
        series: of.into_iter().collect(),
        ..Cell::default()
    }
}

fn taken(bytes: &[u8]) -> Read<Vec<Cell>> {
    take_cells(bytes, &all_phases())
}

proptest! {
    #[test]
    fn cells_come_back(cells in some_cells()) {
        prop_assert_eq!(taken(&put_cells(&cells)).unwrap(), cells);
    }

    #[test]
    fn histograms_come_back_exactly(
        hours in prop::collection::vec(prop::collection::vec(1u64..70_000_000, 1..120), 1..6),
        narrow in prop::collection::vec(prop::collection::vec(900u64..1_100, 1..120), 1..6),
    ) {
        let of = |samples: &Vec<Vec<u64>>, key: (u32, Phase), hour: usize| {
            samples.get(hour).map(|samples| (key, series(samples)))
        };
        let cells: Vec<Cell> = (0..6)
            .map(|hour| {
                let wide = of(&hours, (0, Phase::Total), hour);
                cell(hour as i64, wide.into_iter().chain(of(&narrow, (3, Phase::Dns), hour)))
            })
            .collect();
        let bytes = put_cells(&cells);
        prop_assert_eq!(&taken(&bytes).unwrap(), &cells);
        // Of what is not wanted nothing is read, and nothing else is touched.
        let only = take_cells(&bytes, &[Phase::Dns].into()).unwrap();
        for (only, cell) in only.iter().zip(&cells) {
            prop_assert!(only.series.keys().all(|(_, phase)| *phase == Phase::Dns));
            prop_assert_eq!(only.series.get(&(3, Phase::Dns)), cell.series.get(&(3, Phase::Dns)));
        }
    }

    #[test]
    fn nonsense_neither_panics_nor_takes_memory(
        bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0u8..9
    ) {
        let _ = taken(&bytes);
        // With a sound beginning it gets further.
        let mut out = Out::default();
        out.number(u64::from(count));
        out.bytes(&bytes[..bytes.len() / 2]);
        out.number(5);
        out.bytes(&bytes[bytes.len() / 2..]);
        let _ = taken(&out.into_bytes());
    }

    #[test]
    fn a_changed_byte_gives_an_error_or_other_cells_and_never_a_panic(
        cells in some_cells(), at in any::<prop::sample::Index>(), bit in 0u8..8
    ) {
        let mut bytes = put_cells(&cells);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = taken(&bytes);
    }
}

#[test]
fn totals_that_do_not_follow_from_the_entries_come_back_too() {
    // Sums that stand still at the top of a number.
    let totals = Totals { count: 5, sum_us: u64::MAX, min_us: 3, max_us: 70_000_000 };
    let odd = Sparse::from_parts(totals, vec![(3, 4), (17_000, 1)]).unwrap();
    let many = u64::MAX / 2;
    let totals = Totals { count: many, sum_us: 7, min_us: 40_000_000, max_us: 40_000_000 };
    let most = Sparse::from_parts(totals, vec![(16_000, many)]).unwrap();
    let cells = [cell(1, [((0, Phase::Total), odd)]), cell(2, [((0, Phase::Total), most)])];
    assert_eq!(taken(&put_cells(&cells)).unwrap(), cells);
}

#[test]
fn a_day_of_steady_samples_takes_little_more_than_they_tell() {
    // 360 samples an hour around 50 ms, 2 % to either side: entropy of a sample in steps of 32 us,
    // less that of their order, is about 0.8 bits.
    let mut random = 7u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random >> 33
    };
    let hours: Vec<Cell> = (0..24)
        .map(|hour| {
            let samples: Vec<u64> =
                (0..360).map(|_| 49_000 + (0..4).map(|_| next() % 500).sum::<u64>()).collect();
            cell(hour, [((0, Phase::Total), series(&samples))])
        })
        .collect();
    let bytes = put_cells(&hours).len();
    assert!(bytes < 24 * 60, "{} bytes an hour", bytes / 24);
}
