//! Streaks, digests and successors as rows of text; freshness as rows of times; then laws.

use std::time::Duration;

use parallax_common::fold::Mark;
use parallax_common::limits;
use parallax_common::name::{RunDigest, Uid};
use parallax_common::outcome::{BallotState, Outcome};
use parallax_common::time::MeshTime;
use proptest::prelude::*;

use super::{Heard, Hearing, Said, Seat, Terms, VoterId};
use crate::core::table::{columns, lines, yes};

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

/// Plays a row of events, as `streaks.txt` explains them, on a seat that counts digest 1.
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
    let mut rows = 0;
    for line in lines(include_str!("streaks.txt")) {
        let [needed, events, expected] = columns(line);
        let (failures, successes) = needed.split_once(' ').unwrap();
        let seat = play(failures.parse().unwrap(), successes.parse().unwrap(), events);
        let fold = seat.summary();
        let who = seat.voter().and_then(|who| char::from_u32(u32::try_from(who.0).ok()?)).unwrap();
        let got = format!("{} {who} {} {}", fold.state.word(), fold.fails, fold.oks);
        let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(got, expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 85, "all of them");
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
    let mut rows = 0;
    for line in lines(include_str!("asks.txt")) {
        let [before, next, expected] = columns(line);
        let before = before.trim_start_matches('-');
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
        assert_eq!(folded.asks, yes(expected), "{line}");
        rows += 1;
    }
    assert_eq!(rows, 27, "all of them");
}

#[test]
fn freshness_follows_the_watermark_the_runs_in_flight_and_the_assignment() {
    let seat = play(2, 2, "=a a1P a2P");
    let mut rows = 0;
    for line in lines(include_str!("freshness.txt")) {
        let [watermark, in_flight, word, changes] = columns(line);
        let second = |text: &str| (text != "-").then(|| at(text.parse().unwrap()));
        let (watermark, in_flight) = (second(watermark), second(in_flight));
        let hearing = Hearing { watermark, in_flight, excluded: false };
        let vote = seat.vote(&hearing, &terms(2, 2), at(100));
        let changes = second(changes).map(|second| second + Duration::from_nanos(1));
        let said = if vote.stale { "stale" } else { "fresh" };
        assert_eq!((said, vote.changes_at), (word, changes), "{line}");
        assert_eq!(vote.state, BallotState::Pass, "what it said is kept");
        rows += 1;
    }
    assert_eq!(rows, 9, "all of them");
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
