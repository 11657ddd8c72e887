//! What alerts become, by tables that can be read without Rust.

use std::sync::Arc;

use parallax_common::alert::Alert;
use parallax_common::outcome::Outcome;

use super::*;
use crate::core::engine::tests::rig;
use crate::core::table::{columns, lines};
use crate::history::cell::Cell;
use crate::history::tier::Tier;

fn alert(when: &str) -> Alert {
    Alert { name: "errors".into(), when: When::parse(when).unwrap() }
}

fn at(minute: i64) -> MeshTime {
    MeshTime::from_ns(minute * 60_000_000_000)
}

/// A minute of a region: ten runs that failed, ten that passed, or none.
fn cell(minute: i64, letter: char) -> Option<Cell> {
    let outcome = match letter {
        'x' => Outcome::Fail,
        '.' => Outcome::Pass,
        '-' => return None,
        other => panic!("{other}"),
    };
    let counts = [((outcome, None, false), 10)].into();
    Some(Cell { start: at(minute), length_s: 60, counts, ..Cell::default() })
}

/// A watch over regions whose minutes are written from the oldest to the newest.
fn watch<'c>(check: &'c Check, when: &str, minutes: &[&str]) -> Watch<'c> {
    let until = minutes.iter().map(|row| row.chars().count()).max().unwrap_or(0);
    let look = Look { until: at(i64::try_from(until).unwrap()), step: ALERT_LOOK_EVERY };
    let mut watch = Watch::new(check, &alert(when), look);
    for (rank, row) in minutes.iter().enumerate() {
        let region: Arc<str> = rig::region(rank).into();
        for (minute, letter) in (0..).zip(row.chars()) {
            if let Some(cell) = cell(minute, letter) {
                watch.series.add(&region, &cell, Tier::Minutes);
            }
        }
    }
    watch
}

#[test]
fn alerts_open_resolve_and_rest_as_the_table_says() {
    let check = rig::check(3, 2);
    let mut rows = 0;
    for line in lines(include_str!("table.txt")) {
        let [stands, when, regions, expected] = columns(line);
        let standing = match stands {
            "quiet" => Standing::Quiet,
            "open" => Standing::Open,
            _ => Standing::Latched,
        };
        let mut minutes: Vec<String> = regions.split(' ').map(str::to_owned).collect();
        // All end now.
        let longest = minutes.iter().map(String::len).max().unwrap();
        minutes.iter_mut().for_each(|row| *row = format!("{row:.>longest$}"));
        let minutes: Vec<&str> = minutes.iter().map(String::as_str).collect();
        let watch = watch(&check, &format!("error_rate {when}"), &minutes);
        let said = match watch.turn(standing, &BTreeSet::new()) {
            None => "rests",
            Some(Turn::Open(_)) => "open",
            Some(Turn::Resolve(_)) => "resolve",
            Some(Turn::Unlatch) => "unlatch",
        };
        assert_eq!(said, expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 29);
}

#[test]
fn a_region_whose_probe_is_not_believed_is_silent() {
    let check = rig::check(3, 2);
    let watch = watch(&check, "error_rate > 10% over 1m", &["....x", "....x", "....."]);
    let unheeded: BTreeSet<String> = [rig::region(1)].into();
    assert_eq!(watch.turn(Standing::Quiet, &unheeded), None);
    let Some(Turn::Open(record)) = watch.turn(Standing::Quiet, &BTreeSet::new()) else {
        panic!("it opens")
    };
    assert_eq!(record.when, "error_rate > 10% over 1m in majority of regions");
    let votes: Vec<_> =
        record.regions.iter().map(|of| (of.vote(), of.samples, of.failed)).collect();
    use v1::AlertVote::{Clear, Holds};
    assert_eq!(votes, [(Holds, 10, 10), (Holds, 10, 10), (Clear, 10, 0)]);
    assert_eq!((record.needed, record.until), (2, Some(mesh_timestamp(at(5)))));
}

#[test]
fn what_is_read_covers_every_moment_that_is_looked_at() {
    let check = rig::check(3, 2);
    let from = |when: &str| watch(&check, when, &["."]).from().since(at(-1_000));
    // Five minutes at least, since it may be about to resolve.
    let minutes = |n: u64| at(1).since(at(-1_000)) - Duration::from_secs(60 * n);
    assert_eq!(from("error_rate > 1% over 1m"), minutes(6));
    assert_eq!(from("error_rate > 1% over 10m for 7m"), minutes(17));
}

#[test]
fn a_minute_is_looked_at_once_its_windows_can_be_there() {
    let mut check = rig::check(3, 2);
    let now = at(10) + Duration::from_millis(15_900);
    let until = |check: &Check, now| Look::new(check, now).until;
    // Runs take 900 ms at most, and 15 s is how long windows may be on their way.
    assert_eq!(until(&check, now), at(10));
    assert_eq!(until(&check, now - Duration::from_millis(1)), at(9));
    // Windows of five minutes are not divided.
    check.interval = Duration::from_secs(120);
    let look = Look::new(&check, at(14));
    assert_eq!((look.until, look.step), (at(10), Duration::from_secs(300)));
    let over = |when: &str| Watch::new(&check, &alert(when), look).over;
    assert_eq!(over("error_rate > 1% over 6m"), Duration::from_secs(600));
}
