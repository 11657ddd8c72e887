//! Burn rates, by numbers that were worked out by hand.

use parallax_common::limits::SLO_TARGET_PPM_FAST;

use super::*;
use crate::core::table::{columns, lines, yes};

const SLO: Slo = Slo { target_ppm: 999_000, over: Duration::from_secs(30 * 86_400) };

fn tally(runs: u64, failed: u64, failing: usize) -> Tally {
    Tally { runs: Count { all: runs, bad: failed, max_us: 0 }, failing }
}

/// Each pair spends the share of a month's budget that the workbook's table says, before it is told.
#[test]
fn the_pairs_are_those_of_the_workbook() {
    let month_h = 720;
    for (pair, percent) in PAIRS.iter().zip([2, 5, 10]) {
        let hours = pair.long.as_secs() / HOUR;
        let spent = u64::from(pair.factor_tenths) * hours * 100 / 10;
        assert_eq!(spent, percent * month_h, "{}", pair.name);
        assert_eq!(pair.long.as_secs(), 12 * pair.short.as_secs(), "{}", pair.name);
    }
}

#[test]
fn burn_rates_are_compared_exactly() {
    let mut targets = Vec::new();
    for line in lines(include_str!("rates.txt")) {
        let [target, runs, failed, factor, fast] = columns(line);
        // As many places as are written behind the dot, which are four and one.
        let number = |text: &str| text.replace('.', "").parse().unwrap();
        let slo = Slo { target_ppm: number(target), ..SLO };
        let (all, bad) = (runs.parse().unwrap(), failed.parse().unwrap());
        let runs_of = Count { all, bad, max_us: 0 };
        assert_eq!(burns(&slo, runs_of, number(factor)), yes(fast), "{line}");
        targets.push(slo.target_ppm);
    }
    assert_eq!(targets.len(), 16, "all of them");
    for edge in [SLO_TARGET_PPM_FAST, SLO_TARGET_PPM_FAST - 1] {
        assert!(targets.contains(&edge), "a row of {edge}");
    }
}

#[test]
fn both_spans_and_the_floor_open_and_a_quiet_short_span_resolves() {
    let read = |text: &str| {
        let numbers: Vec<u64> = text.split('/').map(|number| number.parse().unwrap()).collect();
        let [runs, failed, failing] = numbers[..] else { panic!("{text}") };
        tally(runs, failed, usize::try_from(failing).unwrap())
    };
    let mut rows = 0;
    for line in lines(include_str!("turns.txt")) {
        let [stands, regions, long, shorts, expected] = columns(line);
        let standing = match stands {
            "quiet" => Standing::Quiet,
            "open" => Standing::Open,
            "latched" => Standing::Latched,
            other => panic!("nothing stands {other}"),
        };
        let burn = Burn {
            slo: &SLO,
            regions: regions.parse().unwrap(),
            pair: &PAIRS[0],
            short: PAIRS[0].short,
            long: read(long),
            shorts: shorts.split(' ').filter(|text| *text != "-").map(read).collect(),
            until: MeshTime::from_ns(0),
        };
        let said = match burn.turn(standing) {
            None => "rests",
            Some(Turn::Open(_)) => "open",
            Some(Turn::Resolve(_)) => "resolve",
            Some(Turn::Unlatch) => "unlatch",
        };
        assert_eq!(said, expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 16, "all of them");
}

#[test]
fn short_spans_are_looked_at_over_as_long_again() {
    let until = MeshTime::from_ns(0);
    for (pair, looks) in PAIRS.iter().zip([6, 7, 13]) {
        let ends: Vec<MeshTime> = Burn::ends(pair, pair.short, until).collect();
        assert_eq!((ends.len(), ends[0]), (looks, until), "{}", pair.name);
        assert_eq!(*ends.last().unwrap(), until - pair.short, "{}", pair.name);
    }
}

#[test]
fn a_short_span_holds_two_intervals_in_whole_steps() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * MINUTE);
    // Interval in seconds, step in minutes; the short spans in minutes.
    for (interval, step, expected) in [
        (1, 1, [5, 30, 360]),
        (150, 5, [5, 30, 360]),
        (180, 5, [10, 30, 360]),
        (600, 5, [20, 30, 360]),
        (620, 5, [25, 30, 360]),
        (3_600, 5, [120, 120, 360]),
        (86_400, 5, [2_880, 2_880, 2_880]),
    ] {
        let look = Look { until: MeshTime::from_ns(0), step: minutes(step) };
        for (pair, expected) in PAIRS.iter().zip(expected) {
            let short = pair.short_of(Duration::from_secs(interval), look);
            assert_eq!(short, minutes(expected), "{} every {interval} s", pair.name);
            let ends: Vec<MeshTime> = Burn::ends(pair, short, look.until).collect();
            let first = *ends.last().unwrap() - short;
            assert!(
                first >= look.until - HISTORY_MINUTES_AGE_MAX,
                "minutes are not kept for so long"
            );
            let again = short.min(HISTORY_MINUTES_AGE_MAX - short);
            let every = ends.get(1).map_or(Duration::ZERO, |end| look.until.since(*end));
            assert!(first - every <= look.until - short - again, "{} {interval}", pair.name);
            assert!(ends.len() <= 13);
        }
    }
}

#[test]
fn what_is_left_of_a_budget_is_counted_in_runs() {
    let left = |slo: &Slo, runs: u64, failed: u64| {
        let runs = Count { all: runs, bad: failed, max_us: 0 };
        budget(slo, runs, MeshTime::from_ns(0)).left_ppm
    };
    // A million runs at 99.9 % may fail a thousand times.
    assert_eq!(left(&SLO, 1_000_000, 0), Some(1_000_000));
    assert_eq!(left(&SLO, 1_000_000, 250), Some(750_000));
    assert_eq!(left(&SLO, 1_000_000, 1_000), Some(0));
    assert_eq!(left(&SLO, 1_000_000, 1_500), Some(-500_000));
    assert_eq!(left(&Slo { target_ppm: 990_000, ..SLO }, 1_000, 1), Some(900_000));
    assert_eq!(left(&SLO, 0, 0), None);
    assert_eq!(left(&SLO, 1, 1), Some(1_000_000 - 1_000_000_000));
}
