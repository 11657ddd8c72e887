//! Streaks, digests and successors as rows of text; freshness as rows of times; then laws.

use std::time::Duration;

use parallax_common::fold::Mark;
use parallax_common::limits;
use parallax_common::name::{RunDigest, Uid};
use parallax_common::outcome::{BallotState, Outcome};
use parallax_common::time::MeshTime;
use proptest::prelude::*;

use super::{Heard, Hearing, Said, Seat, Terms, VoterId};

fn terms(failures: u32, successes: u32) -> Terms {
    Terms {
        failures,
        successes,
        failures_of: 0,
        successes_of: 0,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
    }
}

/// The same, counted among this many runs more than are needed; 0 leaves a number in a row.
fn among(terms: Terms, of: u32, up_of: u32) -> Terms {
    let more = |needed: u32, of: u32| if of == 0 { 0 } else { (needed + of - 1).min(32) };
    Terms {
        failures_of: more(terms.failures, of),
        successes_of: more(terms.successes, up_of),
        ..terms
    }
}

fn at(seconds: i64) -> MeshTime {
    MeshTime::from_ns(seconds * 1_000_000_000)
}

fn heard(number: u64, digest: u64, outcome: Outcome, ended: MeshTime) -> Heard {
    Heard {
        check: Uid::from_bytes([7; 16]),
        digest: RunDigest(digest),
        number,
        slot: Some(number as i64),
        order: 0,
        outcome,
        reason: None,
        step: 0,
        evidence: String::new(),
        started: ended,
        ended,
        total: Duration::ZERO,
    }
}

fn outcome(letter: char) -> Outcome {
    match letter {
        'P' => Outcome::Pass,
        'W' => Outcome::Warn,
        'F' => Outcome::Fail,
        'M' => Outcome::Missed,
        other => panic!("no outcome is written {other}"),
    }
}

fn voter(letter: char) -> VoterId {
    VoterId(u64::from(u32::from(letter)))
}

/// Plays a row of events on a seat that counts digest 1:
/// `=a` a is assigned (`=-` nobody), `!2` digest 2 is applied, `open` and `shut` are incidents,
/// `stale`: the vote counts no more; `a5F` is a's run 5 failing, `a5F@2` the same for digest 2.
fn play(failures: u32, successes: u32, events: &str) -> Seat {
    let terms = terms(failures, successes);
    let mut seat = Seat::new(RunDigest(1));
    let (mut incident, mut counts) = (true, true);
    for (index, event) in events.split_whitespace().enumerate() {
        let now = at(index as i64 + 100);
        let mut letters = event.chars();
        match letters.next().unwrap() {
            '=' => {
                let who = letters.next().filter(|letter| *letter != '-').map(voter);
                seat.assign(who, counts, &terms, now);
            }
            '!' => seat.set_digest(RunDigest(letters.as_str().parse().unwrap())),
            _ if event == "open" => incident = true,
            _ if event == "shut" => incident = false,
            _ if event == "stale" => counts = false,
            who => {
                let (run, digest) =
                    letters.as_str().split_once('@').unwrap_or((letters.as_str(), "1"));
                let (number, kind) = run.split_at(run.len() - 1);
                let kind = outcome(kind.chars().next().unwrap());
                let record = heard(number.parse().unwrap(), digest.parse().unwrap(), kind, now);
                seat.hear(voter(who), [record], None, counts, &terms);
            }
        }
        seat.settle(incident, &terms);
    }
    seat
}

#[test]
fn streaks_digests_and_successors_follow_their_rows() {
    #[rustfmt::skip]
    let rows = [
        // failures, successes, events, state, voter, fails in a row, oks in a row
        // In a row, downwards.
        (2, 2, "=a",                                   "none", 'a', 0, 0),
        (2, 2, "=a a1F",                               "none", 'a', 1, 0),
        (2, 2, "=a a1F a2F",                           "fail", 'a', 2, 0),
        (1, 1, "=a a1F",                               "fail", 'a', 1, 0),
        (3, 1, "=a a1P a2F a3F",                       "pass", 'a', 2, 0),
        (3, 1, "=a a1P a2F a3F a4F",                   "fail", 'a', 3, 0),
        (2, 1, "=a a1P a2F a3P a4F",                   "pass", 'a', 1, 0),
        (2, 1, "=a a1P a2F a3W a4F",                   "pass", 'a', 1, 0),
        // In a row, upwards: a warning is a pass for streaks.
        (2, 2, "=a a1F a2F a3P",                       "fail", 'a', 0, 1),
        (2, 2, "=a a1F a2F a3P a4P",                   "pass", 'a', 0, 2),
        (2, 2, "=a a1F a2F a3P a4F a5P",               "fail", 'a', 0, 1),
        (2, 2, "=a a1F a2F a3P a4W",                   "warn", 'a', 0, 2),
        (2, 3, "=a a1F a2F a3W a4W a5P",               "pass", 'a', 0, 3),
        // Sideways.
        (2, 2, "=a a1P a2P a3W",                       "pass", 'a', 0, 3),
        (2, 2, "=a a1P a2P a3W a4W",                   "warn", 'a', 0, 4),
        (2, 2, "=a a1W a2W a3P",                       "warn", 'a', 0, 3),
        (2, 2, "=a a1W a2W a3P a4P",                   "pass", 'a', 0, 4),
        (2, 2, "=a a1W a2W a3F a4F",                   "fail", 'a', 2, 0),
        // The first state: a streak, or one pass while nothing is open.
        (2, 2, "=a a1P",                               "none", 'a', 0, 1),
        (2, 2, "=a a1P a2P",                           "pass", 'a', 0, 2),
        (2, 2, "shut =a a1P",                          "pass", 'a', 0, 1),
        (2, 2, "shut =a a1W",                          "warn", 'a', 0, 1),
        (2, 2, "shut =a a1F",                          "none", 'a', 1, 0),
        (2, 2, "=a a1P shut",                          "pass", 'a', 0, 1),
        (2, 2, "shut =a a1P open",                     "pass", 'a', 0, 1),
        (2, 2, "shut =a a1P open a2F a3P",             "pass", 'a', 0, 1),
        // `missed` neither feeds nor breaks.
        (2, 2, "=a a1P a2P a3F a4M a5F",               "fail", 'a', 2, 0),
        (2, 2, "=a a1P a2P a3F a4M a5M",               "pass", 'a', 1, 0),
        (2, 2, "=a a1F a2F a3P a4M a5P",               "pass", 'a', 0, 2),
        (2, 2, "shut =a a1M a2M",                      "none", 'a', 0, 0),
        // Untold runs are passes: they end a streak of fails and are not heard passes.
        (2, 2, "=a a1P a2P a3F a9F",                   "pass", 'a', 1, 0),
        (2, 2, "=a a1P a2P a3F a9F a10F",              "fail", 'a', 2, 0),
        (2, 2, "=a a1F a2F a3P a9P",                   "fail", 'a', 0, 1),
        (2, 2, "=a a1F a2F a3P a9P a10P",              "pass", 'a', 0, 2),
        (2, 2, "=a a40F a41F",                         "fail", 'a', 2, 0),
        // By number, however it comes.
        (2, 2, "=a a2F a1F",                           "fail", 'a', 2, 0),
        (2, 2, "=a a3F a1P a2F",                       "fail", 'a', 2, 0),
        (2, 2, "=a a1F a3F a2P",                       "none", 'a', 1, 0),
        (2, 2, "=a a1F a1F a1F",                       "none", 'a', 1, 0),
        (2, 2, "=a a1F a2F a1F a2F",                   "fail", 'a', 2, 0),
        (2, 2, "=a a4P a3P a2F a1F",                   "pass", 'a', 0, 2),
        // A vote is for one version of the check.
        (2, 2, "=a a1F a2F@2",                         "none", 'a', 1, 0),
        (2, 2, "=a a1F a2F !2",                        "none", 'a', 0, 0),
        (2, 2, "=a a1F a2F !2 a3P@2",                  "none", 'a', 0, 1),
        (2, 2, "=a a1F a2F !2 a3P@2 a4P@2",            "pass", 'a', 0, 2),
        (2, 2, "=a a1F a2F a3P@2 a4P@2 !2",            "pass", 'a', 0, 2),
        (2, 2, "=a a1F a2F a3P@2 a4P@2",               "fail", 'a', 2, 0),
        (2, 2, "=a a1F a2F !2 a3F@2",                  "none", 'a', 1, 0),
        (2, 2, "=a a1F a2F a3P@2 a4P@3 a5P@3",         "none", 'a', 0, 0),
        // Replaced by another one before it was applied here.
        (2, 2, "=a a1F a2F a3P@2 a4P@2 a5P@3 !2",      "none", 'a', 0, 0),
        // An edit that is taken back starts with empty ballots, whatever is told again.
        (2, 2, "=a a1F a2F !2 a3P@2 a4P@2 !1",         "none", 'a', 0, 0),
        (2, 2, "=a a1P a2P !2 a3F@2 a4F@2 !1",         "none", 'a', 0, 0),
        (2, 2, "=a a1F a2F !2 a3M@2 !1",               "none", 'a', 0, 0),
        (2, 2, "=a a1F a2F !2 a3P@2 !1 a1F a2F",       "none", 'a', 0, 0),
        (2, 2, "=a a1F a2F !2 a3P@2 !1 a4F",           "none", 'a', 1, 0),
        (2, 2, "=a a1F a2F !2 a3P@2 !1 a4F a5F",       "fail", 'a', 2, 0),
        (2, 2, "=a a1F a2F !2 a3P@2 a4F !1",           "none", 'a', 1, 0),
        (2, 2, "=a a1F a2F !2 a3P@2 a4F a5F !1",       "fail", 'a', 2, 0),
        (2, 2, "=a a1F a2F !2 a3P@2 !3 a4P@3 !1 a1F a2F", "none", 'a', 0, 0),
        (2, 2, "=a a1F a2F !2 a3P@2 !3 a4P@3 !1 a1F a2F a5P@4 a6P@5 a2F a7F", "none", 'a', 1, 0),
        (2, 2, "=a a1F a2F !2 a3P@2 =b b1P@2 !1",      "none", 'b', 0, 0),
        (2, 2, "=a a1F a2F =b !2 a3P@2 !1 b1F",        "none", 'b', 1, 0),
        // A successor: the state passes on with its first run, the streak does not.
        (2, 2, "=a a1F a2F =b",                        "fail", 'a', 2, 0),
        (2, 2, "=a a1F a2F =b a3P a4P",                "pass", 'a', 0, 2),
        (2, 2, "=a a1F a2F =b b1P",                    "fail", 'b', 0, 1),
        (2, 2, "=a a1F a2F =b b1P b2P",                "pass", 'b', 0, 2),
        (2, 2, "=a a1P a2P a3F =b b1F",                "pass", 'b', 1, 0),
        (2, 2, "=a a1P a2P a3F =b b1F b2F",            "fail", 'b', 2, 0),
        (2, 2, "=a a1P a2P =b b1M",                    "pass", 'a', 0, 2),
        (2, 2, "=a a1P a2P =b b1M b2F",                "pass", 'b', 1, 0),
        (2, 2, "=a a1P a2P =b b1F a3F a4F",            "pass", 'b', 1, 0),
        (2, 2, "=a a1P a2P =b =a a3F",                 "pass", 'a', 1, 0),
        (2, 2, "=a a1F a2F =b =c b1P b2P",             "fail", 'a', 2, 0),
        (2, 2, "=a a1F a2F =b =c c1P",                 "fail", 'c', 0, 1),
        (2, 2, "=a a1F a2F =-",                        "fail", 'a', 2, 0),
        // A vote that is stale passes nothing on.
        (2, 2, "=a a1P a2P stale =b b1F",              "none", 'b', 1, 0),
        (2, 2, "=a a1P a2P =b stale b1F b2F",          "fail", 'b', 2, 0),
        (2, 2, "=a a1F a2F stale =b b1P",              "none", 'b', 0, 1),
        (2, 2, "shut =a a1F a2F stale =b b1P",         "pass", 'b', 0, 1),
        (2, 2, "=a a1F a2F =- =b b1P",                 "fail", 'b', 0, 1),
        (2, 2, "=a =b b1F",                            "none", 'b', 1, 0),
        (2, 2, "=a a1F a2F =b !2 b1P@2",               "none", 'b', 0, 1),
        // Runs of somebody whose assignment was not applied here yet count once it is.
        (2, 2, "=a a1P a2P b1F b2F",                   "pass", 'a', 0, 2),
        (2, 2, "=a a1P a2P b1F b2F =b",                "fail", 'b', 2, 0),
        (2, 2, "=a a1P a2P b1F c1F =b",                "pass", 'a', 0, 2),
    ];
    for (failures, successes, events, state, who, fails, oks) in rows {
        let seat = play(failures, successes, events);
        let fold = seat.summary();
        let got = (fold.state.word(), seat.voter(), fold.fails, fold.oks);
        assert_eq!(got, (state, Some(voter(who)), fails, oks), "{failures}/{successes} {events}");
    }
}

#[test]
fn one_pass_is_enough_also_when_it_came_with_or_after_what_followed_it() {
    let terms = terms(1, 2);
    let told = [
        heard(1, 1, Outcome::Pass, at(1)),
        heard(2, 1, Outcome::Missed, at(2)),
        heard(3, 1, Outcome::Warn, at(3)),
    ];
    let play = |batches: &[&[usize]]| {
        let mut seat = Seat::new(RunDigest(1));
        seat.assign(Some(voter('a')), true, &terms, at(0));
        for batch in batches {
            seat.hear(
                voter('a'),
                batch.iter().map(|index| told[*index].clone()),
                None,
                true,
                &terms,
            );
            seat.settle(false, &terms);
        }
        seat.summary()
    };
    let in_order = play(&[&[0], &[1], &[2]]);
    assert_eq!((in_order.state, in_order.since), (BallotState::Warn, at(3)));
    for batches in [&[&[0, 1, 2][..]][..], &[&[1, 2], &[0]], &[&[2], &[0, 1]], &[&[2], &[1], &[0]]]
    {
        assert_eq!(play(batches), in_order, "{batches:?}");
    }
}

#[test]
fn a_snapshot_that_reaches_back_beyond_an_edit_and_its_revert_revives_no_vote() {
    let terms = terms(2, 2);
    let told = [
        heard(1, 1, Outcome::Fail, at(1)),
        heard(2, 1, Outcome::Fail, at(2)),
        heard(3, 2, Outcome::Pass, at(3)),
        heard(4, 1, Outcome::Fail, at(4)),
    ];
    // A member that starts after the revert, before and after the first run of what came back.
    for (known, fails) in [(3, 0), (4, 1)] {
        let mut seat = Seat::new(RunDigest(1));
        seat.assign(Some(voter('a')), true, &terms, at(0));
        seat.hear(voter('a'), told[..known].to_vec(), None, true, &terms);
        let fold = seat.summary();
        assert_eq!((fold.state, fold.fails), (BallotState::None, fails), "{known} told");
    }
}

#[test]
fn a_run_that_hung_over_an_edit_voids_nothing() {
    let terms = terms(2, 2);
    let mut seat = Seat::new(RunDigest(1));
    seat.assign(Some(voter('a')), true, &terms, at(0));
    seat.hear(voter('a'), [heard(1, 1, Outcome::Pass, at(1))], None, true, &terms);
    seat.set_digest(RunDigest(2));
    let mut late = heard(4, 1, Outcome::Fail, at(40));
    late.started = at(2);
    let told = [
        heard(2, 2, Outcome::Fail, at(10)),
        heard(3, 2, Outcome::Fail, at(20)),
        late,
        heard(5, 2, Outcome::Fail, at(41)),
    ];
    for record in told {
        seat.hear(voter('a'), [record], None, true, &terms);
    }
    assert_eq!(seat.summary().state, BallotState::Fail);
}

#[test]
fn a_successors_first_failure_asks_whatever_the_one_before_saw() {
    // A failing predecessor: what counts passes on, what is stale does not; its streak never does.
    for counts in [true, false] {
        let terms = terms(2, 2);
        let mut seat = Seat::new(RunDigest(1));
        seat.assign(Some(voter('a')), true, &terms, at(0));
        for number in 1..3 {
            seat.hear(voter('a'), [heard(number, 1, Outcome::Fail, at(1))], None, true, &terms);
        }
        seat.assign(Some(voter('b')), counts, &terms, at(2));
        let first = [heard(1, 1, Outcome::Fail, at(3))];
        let folded = seat.hear(voter('b'), first, None, counts, &terms);
        assert!(folded.asks, "counts: {counts}");
    }
}

#[test]
fn the_first_two_scheduled_failures_of_a_streak_ask_and_ordered_ones_do_not() {
    #[rustfmt::skip]
    let rows = [
        // outcomes before, what is heard next and at once, whether it asks
        ("PP",   "F", true),
        ("PPF",  "F", true),
        ("PPFF", "F", false),
        ("PPFP", "F", true),
        ("PPFFF", "F", false),
        ("FFP",  "F", true), // the region fails already, and begins anew
        ("PPFM", "F", true),
        ("PPFFM", "F", false),
        ("PP",   "f", false), // ordered
        ("PPf",  "F", true), // an ordered run may have been lost
        ("PPff", "F", true),
        ("PPfF", "F", true),
        ("PPfFF", "F", false),
        ("PPFf", "F", true),
        ("PPFfF", "F", false),
        ("PPF",  "f", false),
        ("",     "F", true),
        ("PP",   "M", false),
        ("PP",   "W", false),
        ("PP",   "FF", true),
        ("PPFF", "FF", false),
        ("PPFF", "MF", false),
        // A streak ends and another begins.
        ("PPF",  "PF", true),
        ("PPFF", "PF", true),
        ("PPFFF", "pfF", true),
        ("PPFF", "PFP", false),
        ("PPFF", "Pf", false),
    ];
    for (before, next, expected) in rows {
        let terms = terms(2, 2);
        let mut seat = Seat::new(RunDigest(1));
        seat.assign(Some(voter('a')), true, &terms, at(0));
        let record = |(index, letter): (usize, char)| {
            let outcome = outcome(letter.to_ascii_uppercase());
            let order = u64::from(letter.is_ascii_lowercase());
            Heard { order, ..heard(index as u64 + 1, 1, outcome, at(1)) }
        };
        for record in before.chars().enumerate().map(record) {
            seat.hear(voter('a'), [record], None, true, &terms);
        }
        let next_ones = (before.len()..).zip(next.chars()).map(record);
        let folded = seat.hear(voter('a'), next_ones, None, true, &terms);
        assert_eq!(folded.asks, expected, "{before} then {next}");
    }
}

#[test]
fn freshness_follows_the_watermark_the_runs_in_flight_and_the_assignment() {
    // Timeout 3 s: stale when older than 8 s. Seen at 100 s.
    #[rustfmt::skip]
    let rows = [
        // watermark, oldest in flight, stale, changes by itself at (s, then 1 ns)
        (None,     None,     true,  None),
        (Some(99), None,     false, None),
        (Some(92), None,     false, None),
        (Some(91), None,     true,  None),
        (Some(99), Some(95), false, Some(103)),
        (Some(99), Some(92), false, Some(100)),
        (Some(99), Some(91), true,  None),
        (Some(99), Some(99), false, Some(107)),
        (Some(90), Some(99), true,  Some(107)),
    ];
    let seat = play(2, 2, "=a a1P a2P");
    for (watermark, in_flight, stale, changes) in rows {
        let hearing =
            Hearing { watermark: watermark.map(at), in_flight: in_flight.map(at), excluded: false };
        let vote = seat.vote(&hearing, &terms(2, 2), at(100));
        let changes = changes.map(|seconds| at(seconds) + Duration::from_nanos(1));
        assert_eq!((vote.stale, vote.changes_at), (stale, changes), "{watermark:?} {in_flight:?}");
        assert_eq!(vote.state, BallotState::Pass, "what it said is kept");
    }
}

#[test]
fn a_predecessor_speaks_until_its_successor_was_due() {
    // Interval 10 s, timeout 3 s: due within 10 s, then 8 s more.
    let terms = terms(2, 2);
    let mut seat = play(2, 2, "=a a1P a2P");
    seat.assign(Some(voter('b')), true, &terms, at(200));
    let stale = |seat: &Seat, now| {
        // The predecessor's session goes on: it runs other checks.
        let hearing = Hearing { watermark: Some(at(now)), ..Hearing::default() };
        seat.vote(&hearing, &terms, at(now)).stale
    };
    assert!(!stale(&seat, 218));
    assert!(stale(&seat, 219));
    seat.assign(Some(voter('a')), true, &terms, at(219));
    assert!(!stale(&seat, 219), "it is assigned again");
}

#[test]
fn slots_that_are_only_missed_make_a_ballot_stale() {
    // Interval 10 s, timeout 3 s: stale 28 s after the last sign of a run.
    let terms = terms(2, 2);
    let mut seat = Seat::new(RunDigest(1));
    seat.assign(Some(voter('a')), true, &terms, at(0));
    let mut number = 0;
    let mut run = |seat: &mut Seat, letter, seconds| {
        number += 1;
        seat.hear(voter('a'), [heard(number, 1, outcome(letter), at(seconds))], None, true, &terms);
    };
    let vote = |seat: &Seat, now| {
        let hearing = Hearing { watermark: Some(at(now)), ..Hearing::default() };
        seat.vote(&hearing, &terms, at(now))
    };
    run(&mut seat, 'P', 90);
    run(&mut seat, 'P', 100);
    run(&mut seat, 'M', 110);
    assert!(!vote(&seat, 120).stale, "one missed slot is no silence");
    assert!(!vote(&seat, 130).stale, "nor when nothing follows: later runs passed untold");
    run(&mut seat, 'M', 120);
    assert_eq!(vote(&seat, 121).changes_at, Some(at(128)));
    assert!(!vote(&seat, 127).stale);
    assert!(vote(&seat, 128).stale, "28 s after the run at 100 s");
    run(&mut seat, 'M', 130);
    assert!(vote(&seat, 131).stale);
    assert_eq!(vote(&seat, 131).changes_at, Some(at(148) + Duration::from_nanos(1)));
    assert!(!vote(&seat, 149).stale, "no slot was missed since: runs passed untold");
    run(&mut seat, 'M', 140);
    run(&mut seat, 'P', 150);
    assert!(!vote(&seat, 151).stale);
}

#[test]
fn only_the_newest_outcomes_are_kept_one_by_one_and_the_state_outlives_them() {
    let terms = terms(2, 2);
    let mut seat = play(2, 2, "=a a1F a2F");
    for number in 3..100 {
        // Never two passes in a row.
        let kind = if number % 2 == 0 { Outcome::Fail } else { Outcome::Pass };
        seat.hear(voter('a'), [heard(number, 1, kind, at(5))], None, true, &terms);
    }
    assert_eq!(seat.summary().state, BallotState::Fail);
    let before = seat.clone();
    seat.hear(voter('a'), [heard(4, 1, Outcome::Pass, at(5))], None, true, &terms);
    assert_eq!(seat, before, "what is older than what is kept changes nothing");
}

/// A row of outcomes without gaps, with gaps, or mostly passes.
fn a_history() -> impl Strategy<Value = Vec<Heard>> {
    a_history_of(32)
}

/// Without gaps, as a voter knows its own runs; what is missed takes numbers, too.
fn a_long_history() -> impl Strategy<Value = Vec<Heard>> {
    let outcome = prop_oneof![
        2 => Just(Outcome::Fail),
        4 => Just(Outcome::Pass),
        1 => Just(Outcome::Warn),
        4 => Just(Outcome::Missed),
    ];
    prop::collection::vec(outcome, 1..160).prop_map(|outcomes| {
        let numbered = (1u64..).zip(outcomes);
        numbered.map(|(number, outcome)| heard(number, 1, outcome, at(number as i64))).collect()
    })
}

#[test]
fn who_hears_a_snapshot_without_a_state_counts_on_over_missed_slots() {
    // Three fails of twenty, or four in a row that pass; neither has come.
    let terms = among(terms(3, 4), 17, 0);
    let told = [Outcome::Fail, Outcome::Pass, Outcome::Fail, Outcome::Pass];
    let missed = [Outcome::Missed; limits::SNAPSHOT_OUTCOMES_MAX];
    for kept in [0, 1, 2, 4] {
        let missed = missed.iter().skip(kept);
        let (mut own, mut newest) = (super::Fold::default(), Vec::new());
        for (number, outcome) in (1..).zip(told.iter().chain(missed)) {
            let run = heard(number, 1, *outcome, at(number as i64));
            own.step(&Mark::from(&run), &terms.streaks(), false);
            newest.push(run);
        }
        let newest = newest.split_off(newest.len() - limits::SNAPSHOT_OUTCOMES_MAX);
        let said = Said {
            digest: RunDigest(1),
            state: own.state,
            since: own.since,
            counted: own.recent,
            until: own.last,
        };
        assert_eq!(own.state, BallotState::None);
        let mut seat = Seat::new(RunDigest(1));
        seat.assign(Some(voter('a')), true, &terms, at(0));
        seat.hear(voter('a'), newest, Some(said), true, &terms);
        assert_eq!(seat.summary().state, BallotState::None, "{kept}");
        let next = own.last + 1;
        let fail = heard(next, 1, Outcome::Fail, at(next as i64));
        own.step(&Mark::from(&fail), &terms.streaks(), false);
        seat.hear(voter('a'), [fail], None, true, &terms);
        assert_eq!(
            (own.state, seat.summary().state),
            (BallotState::Fail, BallotState::Fail),
            "{kept}"
        );
    }
}

fn a_history_of(runs: usize) -> impl Strategy<Value = Vec<Heard>> {
    prop::collection::vec((1u64..3, prop::sample::select(Outcome::ALL)), 1..runs).prop_map(|rows| {
        let mut number = 0;
        rows.into_iter()
            .map(|(step, outcome)| {
                // Two numbers in three follow directly.
                number += if step == 1 || number % 3 != 0 { 1 } else { step };
                heard(number, 1, outcome, at(number as i64))
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn order_and_repetition_of_what_is_heard_do_not_matter(
        (history, shuffled) in a_history().prop_flat_map(|history| {
            let mut twice = history.clone();
            twice.extend(history.iter().step_by(2).cloned());
            (Just(history), Just(twice).prop_shuffle())
        }),
        failures in 1u32..4,
        successes in 1u32..4,
        (of, up_of) in (0u32..6, 0u32..6),
        incident in any::<bool>(),
        batch in 1usize..9,
    ) {
        let terms = among(terms(failures, successes), of, up_of);
        let mut ordered = Seat::new(RunDigest(1));
        ordered.assign(Some(voter('a')), true, &terms, at(0));
        let mut jumbled = ordered.clone();
        for record in history {
            ordered.hear(voter('a'), [record], None, true, &terms);
            ordered.settle(incident, &terms);
        }
        for records in shuffled.chunks(batch) {
            jumbled.hear(voter('a'), records.to_vec(), None, true, &terms);
            jumbled.settle(incident, &terms);
        }
        // While no incident is open a state may have been granted by what came first; whether it
        // was granted is the same, and so is everything that follows from numbers.
        prop_assert_eq!(ordered.summary(), jumbled.summary());
        prop_assert_eq!(
            ordered.voting().map(|track| track.last_run()),
            jumbled.voting().map(|track| track.last_run())
        );
    }

    #[test]
    fn a_state_changes_only_by_a_streak(
        history in a_history(), failures in 1u32..4, successes in 1u32..4,
    ) {
        let terms = terms(failures, successes);
        let mut seat = Seat::new(RunDigest(1));
        seat.assign(Some(voter('a')), true, &terms, at(0));
        let mut before = seat.summary();
        for record in history {
            seat.hear(voter('a'), [record], None, true, &terms);
            let after = seat.summary();
            if before.state != after.state {
                match after.state {
                    BallotState::Fail => prop_assert!(after.fails >= failures),
                    BallotState::Pass => prop_assert!(after.oks >= successes),
                    BallotState::Warn => {
                        prop_assert!(after.oks >= successes || after.warns >= failures);
                    }
                    BallotState::None => prop_assert!(false, "a state is never lost"),
                }
            }
            before = after;
        }
    }

    #[test]
    fn who_hears_a_snapshot_counts_on_from_where_the_voter_is(
        history in a_long_history(),
        (failures, successes) in (1u32..5, 1u32..5),
        (of, up_of) in (1u32..30, 0u32..30),
        at_run in any::<prop::sample::Index>(),
    ) {
        let terms = among(terms(failures, successes), of, up_of);
        let mut own = super::Fold::default();
        let (told, after) = history.split_at(at_run.index(history.len() + 1));
        for heard in told {
            own.step(&Mark::from(heard), &terms.streaks(), false);
        }
        let newest = &told[told.len().saturating_sub(limits::SNAPSHOT_OUTCOMES_MAX)..];
        let said = Said {
            digest: RunDigest(1),
            state: own.state,
            since: own.since,
            counted: own.recent,
            until: own.last,
        };
        let mut seat = Seat::new(RunDigest(1));
        seat.assign(Some(voter('a')), true, &terms, at(0));
        seat.hear(voter('a'), newest.to_vec(), Some(said), true, &terms);
        prop_assert_eq!(seat.summary().state, own.state);
        for heard in after {
            own.step(&Mark::from(heard), &terms.streaks(), false);
            seat.hear(voter('a'), [heard.clone()], None, true, &terms);
            prop_assert_eq!(seat.summary().state, own.state, "run {}", heard.number);
        }
    }
}
