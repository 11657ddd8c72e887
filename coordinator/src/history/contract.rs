//! What every [`History`] does: one suite for the store and for its twin in memory.

use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::outcome::{Outcome, Phase};
use parallax_common::time::MeshTime;

use super::cell::tests::window as encoded;
use super::cell::{Cell, Cells};
use super::segment::cells::all_phases;
use super::tier::Tier;
use super::{Appended, Batch, History, Question, Record, Spool};

pub fn at(seconds: i64) -> MeshTime {
    MeshTime::from_ns(seconds * 1_000_000_000)
}

pub fn spool(region: &str, incarnation: u64) -> Spool {
    Spool { region: region.into(), probe: "a".into(), incarnation: Incarnation(incarnation) }
}

pub fn check(n: u8) -> Uid {
    Uid::from_bytes([n; 16])
}

/// Ten seconds of a check: nine runs passed, one failed.
pub fn window(n: u8, start: i64) -> Record {
    Record {
        check: check(n),
        digest: RunDigest(1),
        start: at(start),
        end: at(start + 10),
        unassigned: false,
        encoded: encoded(n, start, 10, 9, 1).into(),
    }
}

fn append(
    history: &impl History,
    spool: &Spool,
    first: u64,
    windows: Vec<Record>,
    now: i64,
) -> Appended {
    let windows = (first..).zip(windows).collect();
    let batch = Batch { spool: spool.clone(), windows, now: at(now), room: None };
    history.append(batch).wait().unwrap()
}

fn starts(history: &impl History, n: u8, region: &str, from: i64, to: i64) -> Vec<i64> {
    let kept = history.read(&check(n), region, at(from), at(to)).unwrap();
    kept.iter().map(|kept| kept.record.start.as_ns() / 1_000_000_000).collect()
}

/// The cells of a check in one region, added up.
pub fn cells(history: &impl History, n: u8, region: &str, tier: Tier, to: i64) -> Vec<Cell> {
    let question =
        Question { check: check(n), from: at(-86_400), to: at(to), tier, phases: all_phases() };
    let mut cells = Cells::default();
    let mut add = |of: &std::sync::Arc<str>, cell: &Cell| {
        if **of == *region {
            cells.add(tier, cell);
        }
    };
    history.cells(&question, &mut add).unwrap();
    cells.into_vec()
}

/// Runs the suite; `fresh` makes an empty one, and what it stands on.
pub fn suite<H: History, T>(fresh: impl Fn() -> (H, T)) {
    windows_are_read_by_check_region_and_time(&fresh().0);
    what_is_sent_again_is_acknowledged_and_kept_once(&fresh().0);
    another_life_of_the_spool_counts_from_its_own_beginning(&fresh().0);
    cells_say_what_the_windows_said(&fresh().0);
}

fn windows_are_read_by_check_region_and_time(history: &impl History) {
    let windows = vec![window(1, 20), window(1, 10), window(2, 10), window(1, 30)];
    let appended = append(history, &spool("eu", 1), 5, windows, 40);
    assert_eq!(appended, Appended { kept: 4, duplicates: 0 });
    append(history, &spool("us", 1), 1, vec![window(1, 10)], 40);
    assert_eq!(starts(history, 1, "eu", 0, 100), [10, 20, 30]);
    assert_eq!(starts(history, 1, "eu", 20, 30), [20], "from is included, to is not");
    assert_eq!(starts(history, 1, "eu", 19, 31), [10, 20, 30], "overlap counts");
    assert_eq!(starts(history, 2, "eu", 0, 100), [10]);
    assert_eq!(starts(history, 1, "us", 0, 100), [10]);
    assert!(starts(history, 3, "eu", 0, 100).is_empty());
    assert_eq!(history.stats().windows, 5);
}

fn what_is_sent_again_is_acknowledged_and_kept_once(history: &impl History) {
    let spool = spool("eu", 1);
    assert_eq!(history.acknowledged(&spool), None);
    append(history, &spool, 1, vec![window(1, 10), window(1, 20)], 30);
    assert_eq!(history.acknowledged(&spool), Some(2));
    let again = append(history, &spool, 2, vec![window(1, 20), window(1, 30)], 40);
    assert_eq!(again, Appended { kept: 1, duplicates: 1 });
    assert_eq!(history.acknowledged(&spool), Some(3));
    let old = append(history, &spool, 1, vec![window(1, 10)], 40);
    assert_eq!(old, Appended { kept: 0, duplicates: 1 });
    assert_eq!(history.acknowledged(&spool), Some(3));
    assert_eq!(starts(history, 1, "eu", 0, 100), [10, 20, 30]);
}

fn another_life_of_the_spool_counts_from_its_own_beginning(history: &impl History) {
    append(history, &spool("eu", 1), 7, vec![window(1, 10)], 30);
    let appended = append(history, &spool("eu", 2), 1, vec![window(1, 20)], 30);
    assert_eq!(appended, Appended { kept: 1, duplicates: 0 });
    assert_eq!(starts(history, 1, "eu", 0, 100), [10, 20]);
}

fn cells_say_what_the_windows_said(history: &impl History) {
    let windows = (0..12).map(|n| window(1, n * 10)).collect();
    append(history, &spool("eu", 1), 1, windows, 130);
    let pass = (Outcome::Pass, None, false);
    for (tier, count) in [(Tier::Windows, 12), (Tier::Minutes, 2), (Tier::Hours, 1)] {
        let cells = cells(history, 1, "eu", tier, 4_000);
        assert_eq!(cells.len(), count, "{tier:?}");
        let passed: u64 = cells.iter().map(|cell| cell.counts[&pass]).sum();
        assert_eq!(passed, 108);
        let samples = cells.iter().map(|cell| cell.series[&(0, Phase::Total)].totals().count);
        assert_eq!(samples.sum::<u64>(), 120);
    }
    assert!(cells(history, 1, "us", Tier::Minutes, 4_000).is_empty());
    assert_eq!(cells(history, 1, "eu", Tier::Minutes, 60).len(), 1, "the end is not included");
}
