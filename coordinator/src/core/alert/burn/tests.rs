//! Burn rates, by numbers that were worked out by hand.

use parallax_common::limits::SLO_TARGET_PPM_FAST;

use super::*;

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
    // Target, runs, failed, factor in tenths; whether it burns faster.
    for (target_ppm, runs, failed, tenths, fast) in [
        // 99.9 %: 14.4 times 0.1 % is 1.44 %.
        (999_000, 10_000, 144, 144, false),
        (999_000, 10_000, 145, 144, true),
        // 6 times 0.1 % is 0.6 %; 360 runs a minute are 129 600 in six hours.
        (999_000, 129_600, 777, 60, false),
        (999_000, 129_600, 778, 60, true),
        // 1 times: 0.1 %.
        (999_000, 1_000, 1, 10, false),
        (999_000, 1_000, 2, 10, true),
        // 99 %: 14.4 %.
        (990_000, 1_000, 144, 144, false),
        (990_000, 1_000, 145, 144, true),
        // 95 %: 72 %.
        (950_000, 100, 72, 144, false),
        (950_000, 100, 73, 144, true),
        // Where an outage just does, and where it does not any more.
        (SLO_TARGET_PPM_FAST, 1_000, 1_000, 144, true),
        (SLO_TARGET_PPM_FAST - 1, 1_000, 1_000, 144, false),
        // 99.999 %: one of 6 944 is 14.4 times; one of 6 945 is not.
        (999_990, 6_944, 1, 144, true),
        (999_990, 6_945, 1, 144, false),
        (999_000, 0, 0, 10, false),
        (999_000, u64::MAX, u64::MAX / 10, 144, true),
    ] {
        let slo = Slo { target_ppm, ..SLO };
        let runs_of = Count { all: runs, bad: failed, max_us: 0 };
        assert_eq!(burns(&slo, runs_of, tenths), fast, "{target_ppm} {failed}/{runs} {tenths}");
    }
}

#[test]
fn both_spans_and_the_floor_open_and_a_quiet_short_span_resolves() {
    let calm = tally(300, 0, 0);
    let hot = tally(300, 30, 2);
    let none = tally(0, 0, 0);
    // Long span, short spans from the newest, regions, how it stands; what becomes of it.
    let table: &[(Tally, &[Tally], usize, Standing, &str)] = &[
        (tally(3_600, 360, 2), &[hot, hot], 3, Standing::Quiet, "open"),
        (tally(3_600, 360, 2), &[calm, hot], 3, Standing::Quiet, "rests"),
        (tally(3_600, 36, 2), &[hot, hot], 3, Standing::Quiet, "rests"),
        // One region is the region's trouble, unless there is only one.
        (tally(3_600, 360, 1), &[hot], 3, Standing::Quiet, "rests"),
        (tally(3_600, 360, 1), &[hot], 1, Standing::Quiet, "open"),
        // Two failed runs of a check that seldom runs are a large share, and chance.
        (tally(12, 2, 2), &[tally(3, 2, 2)], 3, Standing::Quiet, "rests"),
        (tally(12, 3, 2), &[tally(3, 2, 2)], 3, Standing::Quiet, "open"),
        (tally(3_600, 360, 2), &[none], 3, Standing::Quiet, "rests"),
        (tally(3_600, 360, 2), &[calm, calm, calm], 3, Standing::Open, "resolve"),
        (tally(3_600, 360, 2), &[calm, calm, hot], 3, Standing::Open, "rests"),
        (tally(3_600, 360, 2), &[hot, calm, calm], 3, Standing::Open, "rests"),
        (tally(3_600, 360, 2), &[calm, none, calm], 3, Standing::Open, "rests"),
        (tally(3_600, 0, 0), &[], 3, Standing::Open, "rests"),
        (tally(3_600, 360, 2), &[calm], 3, Standing::Latched, "unlatch"),
        (tally(3_600, 360, 2), &[hot], 3, Standing::Latched, "rests"),
        (tally(3_600, 360, 2), &[none], 3, Standing::Latched, "rests"),
    ];
    for (row, (long, shorts, regions, standing, expected)) in table.iter().enumerate() {
        let burn = Burn {
            slo: &SLO,
            regions: *regions,
            pair: &PAIRS[0],
            short: PAIRS[0].short,
            long: *long,
            shorts: shorts.to_vec(),
            until: MeshTime::from_ns(0),
        };
        let said = match burn.turn(*standing) {
            None => "rests",
            Some(Turn::Open(_)) => "open",
            Some(Turn::Resolve(_)) => "resolve",
            Some(Turn::Unlatch) => "unlatch",
        };
        assert_eq!(said, *expected, "row {row}");
    }
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
