//! The tables beside `decide`, row by row; then laws.

use parallax_common::check::{Missing, Policy, Quorum};
use parallax_common::outcome::{BallotState, DegradedKind, Verdict};
use parallax_common::time::MeshTime;
use proptest::prelude::*;

use super::rule::Rule;
use super::{Decision, Open, decide};
use crate::core::ballots::Vote;
use crate::core::ballots::panel::Panel;
use crate::core::table::{columns, lines};

const MAJORITY: Policy = Policy {
    regions: Quorum::Majority,
    failures: 2,
    successes: 2,
    failures_of: 0,
    successes_of: 0,
    missing: Missing::Unknown,
};
const CLOSED: Open =
    Open { incident: false, latched: false, said: Verdict::Up, degraded: None, settled: true };
const OPEN: Open = Open { incident: true, said: Verdict::Down, ..CLOSED };

/// One letter a region: f, p, w; capital = stale; `-` never heard; `x` excluded (and failing); `s` its
/// probes are split.
fn votes(letters: &str) -> Vec<Vote> {
    letters
        .chars()
        .map(|letter| Vote {
            state: match letter.to_ascii_lowercase() {
                'f' | 'x' => BallotState::Fail,
                'p' => BallotState::Pass,
                'w' => BallotState::Warn,
                '-' | 's' => BallotState::None,
                other => panic!("no vote is written {other}"),
            },
            stale: letter.is_ascii_uppercase(),
            excluded: letter == 'x',
            split: letter == 's',
            changes_at: None,
        })
        .collect()
}

fn of(letters: &str, open: &Open) -> Decision {
    decide(&MAJORITY, open, &votes(letters), MeshTime::from_ns(1))
}

fn say(decision: &Decision) -> String {
    let mut said = match decision.degraded {
        Some(DegradedKind::Warning) => "warning".to_owned(),
        _ => decision.verdict.word().to_owned(),
    };
    for (what, word) in [
        (decision.opens, " opens"),
        (decision.resolves, " resolves"),
        (decision.unlatches, " unlatches"),
        (decision.held, " held"),
    ] {
        if what {
            said.push_str(word);
        }
    }
    said
}

fn counts<const N: usize>(mix: &str) -> [usize; N] {
    let counts: Vec<_> = mix.split_whitespace().map(|n| n.parse().unwrap()).collect();
    counts.try_into().unwrap_or_else(|_| panic!("{N} numbers: {mix}"))
}

#[test]
fn every_row_of_the_table_is_decided_as_it_says() {
    let mut rows = 0;
    for line in lines(include_str!("table.txt")) {
        let [mix, closed, open] = columns(line);
        let [regions, failing, passing, silent] = counts(mix);
        assert_eq!(regions, failing + passing + silent, "{line}");
        // What is stale or unheard counts the same whatever it said last.
        for quiet in ["F", "P", "W", "-"] {
            let letters = "f".repeat(failing) + &"p".repeat(passing) + &quiet.repeat(silent);
            assert_eq!(say(&of(&letters, &CLOSED)), closed, "closed, {letters}: {line}");
            assert_eq!(say(&of(&letters, &OPEN)), open, "open, {letters}: {line}");
            // And so does a region's rank.
            let back: String = letters.chars().rev().collect();
            assert_eq!(of(&back, &OPEN).tally, of(&letters, &OPEN).tally);
        }
        rows += 1;
    }
    // (R + 1)(R + 2) / 2 mixes for each R.
    assert_eq!(rows, 3 + 6 + 10 + 15 + 21 + 28 + 36, "the table is complete");
}

#[test]
fn every_row_of_the_table_of_exclusion_is_decided_as_it_says() {
    let mut rows = 0;
    for line in lines(include_str!("excluded.txt")) {
        let [mix, closed, open] = columns(line);
        let [regions, failing, passing, silent, excluded] = counts(mix);
        assert_eq!(regions, failing + passing + silent + excluded, "{line}");
        for quiet in ["F", "P", "-"] {
            let heard = "f".repeat(failing) + &"p".repeat(passing);
            let letters = heard + &quiet.repeat(silent) + &"x".repeat(excluded);
            assert_eq!(say(&of(&letters, &CLOSED)), closed, "closed, {letters}: {line}");
            assert_eq!(say(&of(&letters, &OPEN)), open, "open, {letters}: {line}");
        }
        rows += 1;
    }
    // (R + 1)(R + 2)(R + 3) / 6 mixes for each R, less those without exclusion.
    assert_eq!(rows, 1 + 4 + 10 + 20 + 35 + 56 + 84, "the table is complete");
}

#[test]
fn every_row_of_the_table_of_quorums_has_the_numbers_that_are_followed() {
    let mut rows = 0;
    for line in lines(include_str!("quorum.txt")) {
        let [asked, numbers] = columns(line);
        let (regions, quorum) = asked.split_once(' ').unwrap();
        let quorum = match quorum.trim() {
            "majority" => Quorum::Majority,
            "any" => Quorum::Any,
            "all" => Quorum::All,
            count => Quorum::Count(count.parse().unwrap()),
        };
        let [down_at, up_at, floor, excludable] = counts::<4>(numbers).map(|n| n as u32);
        let regions: u32 = regions.parse().unwrap();
        let wanted = Rule { regions, down_at, up_at, floor, excludable };
        let rule = Rule::of(&Policy { regions: quorum, ..MAJORITY }, regions as usize);
        assert_eq!(rule, wanted, "{line}");
        rows += 1;
    }
    // Three words and R numbers for each R.
    assert_eq!(rows, 4 + 5 + 6 + 7 + 8 + 9 + 10, "the table is complete");
}

#[test]
fn exclusion_warnings_latch_and_grace_follow_their_rows() {
    let latched = Open { latched: true, said: Verdict::Down, ..CLOSED };
    let early = Open { settled: false, ..CLOSED };
    let early_unknown = Open { said: Verdict::Unknown, ..early };
    let early_open = Open { settled: false, ..OPEN };
    let early_latched = Open { settled: false, ..latched };
    let early_degraded =
        Open { said: Verdict::Degraded, degraded: Some(DegradedKind::Regional), ..early };
    let mut rows = 0;
    for line in lines(include_str!("special.txt")) {
        let [letters, from, expected] = columns(line);
        let open = match from {
            "closed" => CLOSED,
            "open" => OPEN,
            "latched" => latched,
            "early" => early,
            "early unknown" => early_unknown,
            "early open" => early_open,
            "early latched" => early_latched,
            "early degraded" => early_degraded,
            other => panic!("nothing begins {other}"),
        };
        assert_eq!(say(&of(letters, &open)), expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 52, "all of them");
}

#[test]
fn every_row_of_the_table_of_missing_data_is_decided_as_it_says() {
    let early = Open { settled: false, ..CLOSED };
    let mut rows = 0;
    for line in lines(include_str!("missing.txt")) {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let [from, letters, ref answers @ ..] = columns[..] else { panic!("columns: {line}") };
        let open = match from {
            "closed" => CLOSED,
            "open" => OPEN,
            "early" => early,
            "early open" => Open { settled: false, ..OPEN },
            "new" => Open { said: Verdict::Unknown, ..CLOSED },
            other => panic!("nothing begins {other}"),
        };
        assert_eq!(answers.len(), Missing::ALL.len(), "{line}");
        for (missing, answer) in Missing::ALL.into_iter().zip(answers) {
            let policy = Policy { missing, ..MAJORITY };
            let decision = decide(&policy, &open, &votes(letters), MeshTime::from_ns(1));
            assert_eq!(say(&decision), *answer, "{}: {line}", missing.word());
        }
        rows += 1;
    }
    assert!(rows >= 30, "{rows} rows");
}

#[test]
fn down_and_up_are_never_true_at_once_for_any_number_of_regions() {
    for regions in 1..=32u32 {
        let counts = (1..=regions).map(Quorum::Count);
        for quorum in counts.chain([Quorum::Majority, Quorum::All, Quorum::Any]) {
            let rule = Rule::of(&Policy { regions: quorum, ..MAJORITY }, regions as usize);
            // F and P count different regions, so F + P <= R.
            assert!(rule.down_at + rule.up_at > regions, "{quorum:?} of {regions}: {rule:?}");
            assert!((1..=regions).contains(&rule.down_at), "{quorum:?} of {regions}: {rule:?}");
            assert!((1..=regions).contains(&rule.up_at), "{quorum:?} of {regions}: {rule:?}");
        }
    }
}

#[test]
fn the_numbers_of_the_rule_are_those_of_the_design() {
    #[rustfmt::skip]
    let rows = [
        // R, wanted, D, U, floor, excludable
        (1, None,    1, 1, 1, 0),
        (2, None,    2, 2, 2, 0),
        (3, None,    2, 2, 2, 1),
        (4, None,    3, 3, 2, 1),
        (5, None,    3, 3, 3, 2),
        (6, None,    4, 4, 3, 2),
        (7, None,    4, 4, 4, 3),
        (2, Some(1), 1, 2, 2, 0),
        (3, Some(1), 1, 3, 2, 1),
        (3, Some(3), 3, 2, 2, 1),
        (5, Some(1), 1, 5, 3, 2),
        (5, Some(2), 2, 4, 3, 2),
        (5, Some(5), 5, 3, 3, 2),
    ];
    for regions in 1..=7 {
        let of = |quorum| Rule::of(&Policy { regions: quorum, ..MAJORITY }, regions);
        assert_eq!(of(Quorum::Any), of(Quorum::Count(1)));
        assert_eq!(of(Quorum::All), of(Quorum::Count(regions as u32)));
    }
    for (regions, wanted, down_at, up_at, floor, excludable) in rows {
        let quorum = wanted.map_or(Quorum::Majority, Quorum::Count);
        let rule = Rule::of(&Policy { regions: quorum, ..MAJORITY }, regions);
        let expected = Rule { regions: regions as u32, down_at, up_at, floor, excludable };
        assert_eq!(rule, expected, "R = {regions}, wanted {wanted:?}");
    }
}

#[test]
fn the_next_change_is_the_earliest_that_lies_ahead() {
    let mut ballots = votes("ppp");
    for (vote, at) in ballots.iter_mut().zip([5, 20, 30]) {
        vote.changes_at = Some(MeshTime::from_ns(at));
    }
    let at = |now| decide(&MAJORITY, &CLOSED, &ballots, MeshTime::from_ns(now)).reconsider_at;
    assert_eq!(at(1), Some(MeshTime::from_ns(5)));
    assert_eq!(at(5), Some(MeshTime::from_ns(20)));
    assert_eq!(at(30), None);
}

fn a_vote() -> impl Strategy<Value = Vote> {
    (proptest::sample::select(BallotState::ALL), any::<bool>(), proptest::bool::weighted(0.15))
        .prop_map(|(state, stale, excluded)| Vote { state, stale, excluded, ..Vote::NONE })
}

/// A region of one probe, or of several that may be split.
fn a_region() -> impl Strategy<Value = Vote> {
    prop::collection::vec(a_vote(), 1..5).prop_map(|probes| Panel::together(&probes))
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let quorum = prop_oneof![
        Just(Quorum::Majority),
        Just(Quorum::All),
        Just(Quorum::Any),
        (1u32..9).prop_map(Quorum::Count),
    ];
    (quorum, proptest::sample::select(&Missing::ALL[..])).prop_map(|(regions, missing)| Policy {
        regions,
        missing,
        ..MAJORITY
    })
}

/// As a check may have it: no more than there are regions.
fn fit(policy: Policy, regions: usize) -> Policy {
    match policy.regions {
        Quorum::Count(count) => {
            Policy { regions: Quorum::Count(count.min(regions as u32)), ..policy }
        }
        _ => policy,
    }
}

fn an_open() -> impl Strategy<Value = Open> {
    (any::<bool>(), any::<bool>(), proptest::sample::select(Verdict::ALL), any::<bool>()).prop_map(
        |(incident, latched, said, settled)| Open {
            incident,
            latched: latched && !incident,
            said,
            degraded: (said == Verdict::Degraded).then_some(DegradedKind::Regional),
            settled,
        },
    )
}

fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Up => 0,
        Verdict::Degraded => 1,
        Verdict::Down => 2,
        Verdict::Unknown => panic!("unknown has no place in the order"),
    }
}

proptest! {
    #[test]
    fn turning_a_pass_to_a_fail_never_makes_it_better(
        ballots in prop::collection::vec(a_vote(), 1..8),
        rank in any::<prop::sample::Index>(),
        incident in any::<bool>(),
        count in 1u32..8,
        majority in any::<bool>(),
    ) {
        let quorum = Quorum::Count(count.min(ballots.len() as u32));
        let policy =
            Policy { regions: if majority { Quorum::Majority } else { quorum }, ..MAJORITY };
        let open = if incident { OPEN } else { CLOSED };
        let rank = rank.index(ballots.len());
        let mut better = ballots.clone();
        better[rank] = Vote { state: BallotState::Pass, stale: false, ..better[rank] };
        let mut worse = better.clone();
        worse[rank].state = BallotState::Fail;
        let now = MeshTime::from_ns(1);
        let (better, worse) =
            (decide(&policy, &open, &better, now), decide(&policy, &open, &worse, now));
        prop_assert!(!worse.resolves || better.resolves);
        // D fails are said whoever else is silent; else `unknown` depends on fresh and excluded.
        if worse.verdict != Verdict::Down || better.verdict != Verdict::Unknown {
            prop_assert_eq!(better.verdict == Verdict::Unknown, worse.verdict == Verdict::Unknown);
            if better.verdict != Verdict::Unknown {
                prop_assert!(badness(better.verdict) <= badness(worse.verdict));
            }
        }
    }

    #[test]
    fn a_vote_that_goes_stale_or_is_excluded_neither_opens_nor_resolves(
        ballots in prop::collection::vec(a_vote(), 1..8),
        rank in any::<prop::sample::Index>(),
        exclude in any::<bool>(),
        incident in any::<bool>(),
    ) {
        let open = if incident { OPEN } else { CLOSED };
        let mut less = ballots.clone();
        let vote = &mut less[rank.index(ballots.len())];
        if exclude { vote.excluded = true } else { vote.stale = true }
        let now = MeshTime::from_ns(1);
        let (all, less) =
            (decide(&MAJORITY, &open, &ballots, now), decide(&MAJORITY, &open, &less, now));
        prop_assert!(!less.opens || all.opens);
        prop_assert!(!less.resolves || all.resolves);
    }

    #[test]
    fn what_opens_is_down_and_what_resolves_is_not(
        ballots in prop::collection::vec(a_vote(), 1..8),
        open in an_open(),
    ) {
        let decision = decide(&MAJORITY, &open, &ballots, MeshTime::from_ns(1));
        prop_assert!(!decision.opens || decision.verdict == Verdict::Down);
        prop_assert!(!decision.opens || (!open.incident && !open.latched));
        prop_assert!(!decision.resolves || open.incident);
        prop_assert!(
            !decision.resolves || matches!(decision.verdict, Verdict::Up | Verdict::Degraded)
        );
        prop_assert!(!(decision.opens && decision.resolves));
        if open.incident && !decision.resolves && !decision.held {
            prop_assert!(matches!(decision.verdict, Verdict::Down | Verdict::Unknown));
        }
        if !open.settled {
            prop_assert!(!decision.resolves && !decision.unlatches);
            prop_assert!(decision.verdict != Verdict::Unknown || open.said == Verdict::Unknown);
        }
        prop_assert_eq!(decision.degraded.is_some(), decision.verdict == Verdict::Degraded);
    }

    #[test]
    fn whatever_the_policy_down_and_up_are_never_both_and_silence_ends_nothing(
        regions in prop::collection::vec(a_region(), 1..9),
        policy in a_policy(),
        open in an_open(),
        rank in any::<prop::sample::Index>(),
    ) {
        let policy = fit(policy, regions.len());
        let now = MeshTime::from_ns(1);
        let all = decide(&policy, &open, &regions, now);
        let (tally, rule) = (all.tally, all.rule);
        prop_assert!(tally.failing < rule.down_at || tally.passing < rule.up_at);
        prop_assert!(tally.failing + tally.passing + tally.split <= tally.fresh);
        prop_assert!(tally.fresh + tally.excluded <= rule.regions);
        prop_assert!(!(all.opens && all.resolves));
        prop_assert!(!all.opens || tally.failing >= rule.down_at);
        prop_assert!(!all.resolves || tally.passing >= rule.up_at);
        prop_assert_eq!(all.degraded.is_some(), all.verdict == Verdict::Degraded);
        // One region more that is silent: it never ends anything, and opens only where it was told to.
        let mut less = regions.clone();
        let vote = &mut less[rank.index(regions.len())];
        *vote = Vote { stale: true, split: false, ..*vote };
        let less = decide(&policy, &open, &less, now);
        prop_assert!(!less.resolves || all.resolves);
        prop_assert!(!less.opens || all.opens || policy.missing == Missing::Fail);
        prop_assert!(!less.opens || open.settled || all.opens, "early on silence is ours");
        if policy.missing == Missing::Ignore && open.said != Verdict::Unknown && open.settled {
            let excluded = less.tally.excluded > less.rule.excludable;
            prop_assert!(less.verdict != Verdict::Unknown || excluded);
        }
    }
}
