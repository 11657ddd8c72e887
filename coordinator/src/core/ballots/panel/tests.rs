//! `panel.txt` row by row, then exclusion, seats that change hands, and laws.

use std::time::Duration;

use parallax_common::name::{RunDigest, Uid};
use parallax_common::outcome::{BallotState, Outcome};
use parallax_common::time::MeshTime;
use proptest::prelude::*;

use super::super::{Heard, Hearing, Seat, Terms, Vote, VoterId};
use super::Panel;

/// One letter a probe: f, p, w; capital = silent; `-` nothing yet; `x` excluded (and failing).
fn votes(letters: &str) -> Vec<Vote> {
    let vote = |letter: char| Vote {
        state: match letter.to_ascii_lowercase() {
            'f' | 'x' => BallotState::Fail,
            'p' => BallotState::Pass,
            'w' => BallotState::Warn,
            '-' => BallotState::None,
            other => panic!("no vote is written {other}"),
        },
        stale: letter.is_ascii_uppercase(),
        excluded: letter == 'x',
        ..Vote::NONE
    };
    letters.chars().map(vote).collect()
}

fn say(vote: &Vote) -> &'static str {
    match vote {
        Vote { excluded: true, .. } => "excluded",
        Vote { stale: true, .. } => "silent",
        Vote { split: true, .. } => "split",
        Vote { state: BallotState::Fail, .. } => "fail",
        Vote { state: BallotState::Pass, .. } => "pass",
        Vote { state: BallotState::Warn, .. } => "warn",
        Vote { state: BallotState::None, .. } => "none",
    }
}

#[test]
fn every_row_of_the_table_says_what_the_region_says() {
    let mut rows = 0;
    for line in include_str!("../panel.txt").lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (mix, said) = line.split_once('|').unwrap();
        let counts: Vec<usize> = mix.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [m, fail, pass, warn, silent, new] = counts[..] else { panic!("m F P W S N: {line}") };
        assert_eq!(m, fail + pass + warn + silent + new, "{line}");
        for quiet in ["F", "P", "W"] {
            let letters = "f".repeat(fail)
                + &"p".repeat(pass)
                + &"w".repeat(warn)
                + &quiet.repeat(silent)
                + &"-".repeat(new);
            let vote = Panel::together(&votes(&letters));
            assert_eq!(say(&vote), said.trim(), "{letters}: {line}");
            assert_eq!(vote.is_fresh(), !matches!(said.trim(), "silent" | "none"), "{letters}");
            let back: String = letters.chars().rev().collect();
            assert_eq!(Panel::together(&votes(&back)), vote, "in whatever order they sit");
        }
        rows += 1;
    }
    assert_eq!(rows, 5 + 15 + 35 + 70, "every mix of one to four");
}

#[test]
fn whoever_is_excluded_weighs_nothing_and_half_of_them_silence_the_rest() {
    for (letters, said, state) in [
        ("x", "excluded", BallotState::Fail),
        ("xp", "excluded", BallotState::None),
        ("xpp", "pass", BallotState::Pass),
        ("xfp", "split", BallotState::None),
        ("xff", "fail", BallotState::Fail),
        ("xxp", "excluded", BallotState::Fail),
        ("xxppp", "pass", BallotState::Pass),
        ("xxfff", "fail", BallotState::Fail),
        ("xxffp", "split", BallotState::None),
        ("xxpp", "excluded", BallotState::None),
        // What a silent region last said is shown, and is what counts as missing.
        ("PPf", "silent", BallotState::Pass),
        ("FFp", "silent", BallotState::Fail),
        ("FP", "silent", BallotState::None),
    ] {
        let vote = Panel::together(&votes(letters));
        assert_eq!((say(&vote), vote.state), (said, state), "{letters}");
    }
}

#[test]
fn the_region_changes_by_itself_when_the_first_of_its_probes_does() {
    let mut votes = votes("ppf");
    for (vote, at) in votes.iter_mut().zip([30, 10, 20]) {
        vote.changes_at = Some(MeshTime::from_ns(at));
    }
    assert_eq!(Panel::together(&votes).changes_at, Some(MeshTime::from_ns(10)));
}

const TERMS: Terms = Terms {
    failures: 2,
    successes: 2,
    failures_of: 0,
    successes_of: 0,
    interval: Duration::from_secs(10),
    timeout: Duration::from_secs(3),
};

fn now() -> MeshTime {
    MeshTime::from_ns(1_000_000_000_000)
}

/// A panel in the hands of a test: voter 10 * n + k is life k of probe n.
struct Region {
    panel: Panel,
    number: u64,
}

impl Region {
    fn of(assignees: &[u64]) -> Self {
        let mut region = Self { panel: Panel::new(RunDigest(1)), number: 0 };
        region.assign(assignees);
        region
    }

    fn assign(&mut self, assignees: &[u64]) {
        let ids: Vec<VoterId> = assignees.iter().map(|id| VoterId(*id)).collect();
        let same = |one: VoterId, other: VoterId| one.0 / 10 == other.0 / 10;
        self.panel.assign(&ids, same, |_| true, &TERMS, now());
    }

    fn hear(&mut self, who: u64, outcomes: &str) {
        for letter in outcomes.chars() {
            self.number += 1;
            let outcome = if letter == 'F' { Outcome::Fail } else { Outcome::Pass };
            let heard = Heard {
                check: Uid::from_bytes([7; 16]),
                digest: RunDigest(1),
                number: self.number,
                slot: Some(1),
                order: 0,
                outcome,
                reason: None,
                step: 0,
                evidence: String::new(),
                started: now(),
                ended: now(),
                total: Duration::ZERO,
            };
            self.panel.hear(VoterId(who), [heard], None, |_| true, &TERMS);
        }
    }

    /// The seats, in order of their voters: who sits there and what it says.
    fn seats(&self) -> String {
        let hearing =
            |_: &Seat| Hearing { watermark: Some(now()), in_flight: None, excluded: false };
        let votes = self.panel.votes(hearing, &TERMS, now());
        let mut seats: Vec<String> = self
            .panel
            .seats()
            .iter()
            .zip(&votes)
            .map(|(seat, vote)| {
                let voter = seat.voter().map_or("-".to_owned(), |voter| voter.0.to_string());
                let next = seat.assignee().filter(|id| Some(*id) != seat.voter());
                let next = next.map(|id| format!(">{}", id.0)).unwrap_or_default();
                format!("{voter}{next}={}", say(vote))
            })
            .collect();
        seats.sort();
        seats.join(" ")
    }
}

#[test]
fn a_probe_keeps_its_seat_whatever_becomes_of_the_others() {
    let mut region = Region::of(&[10, 20, 30]);
    for (who, said) in [(10, "FF"), (20, "PP"), (30, "PP")] {
        region.hear(who, said);
    }
    assert_eq!(region.seats(), "10=fail 20=pass 30=pass");
    // In another order, as the plan draws them when somebody else comes.
    region.assign(&[30, 10, 20]);
    assert_eq!(region.seats(), "10=fail 20=pass 30=pass");
    // 20 leaves and 40 comes: it is the successor of 20, whoever stands where in the plan.
    region.assign(&[40, 30, 10]);
    assert_eq!(region.seats(), "10=fail 20>40=pass 30=pass");
    region.hear(40, "F");
    assert_eq!(
        region.seats(),
        "10=fail 30=pass 40=pass",
        "the state passes on, the streak does not"
    );
    region.hear(40, "F");
    assert_eq!(region.seats(), "10=fail 30=pass 40=fail");
    // A new life of a probe succeeds its old one and nobody else.
    region.assign(&[31, 40, 10]);
    region.hear(31, "F");
    assert_eq!(region.seats(), "10=fail 31=pass 40=fail");
}

#[test]
fn a_seat_that_nobody_takes_over_is_gone_and_the_last_ones_stay() {
    let mut region = Region::of(&[10, 20, 30]);
    for who in [10, 20, 30] {
        region.hear(who, "FF");
    }
    region.assign(&[10, 30]);
    assert_eq!(region.seats(), "10=fail 30=fail");
    region.assign(&[]);
    assert_eq!(region.seats(), "10=fail 30=fail", "until they are stale");
    region.assign(&[30]);
    assert_eq!(region.seats(), "30=fail");
    // More than before: seats of their own, which say nothing yet.
    region.assign(&[50, 30, 60]);
    assert_eq!(region.seats(), "30=fail 50=none 60=none");
}

#[test]
fn who_speaks_before_the_plan_is_known_here_is_heard_at_the_seat_it_gets() {
    let mut region = Region::of(&[10, 20]);
    region.hear(10, "PP");
    region.hear(20, "PP");
    region.hear(30, "FF");
    region.hear(40, "FF");
    assert_eq!(region.seats(), "10=pass 20=pass", "a stranger has no vote");
    region.assign(&[10, 40]);
    // Its predecessor passed, and its own two failures came after.
    assert_eq!(region.seats(), "10=pass 40=fail");
    region.assign(&[10, 40, 30]);
    let seats = region.seats();
    assert!(seats == "10=pass 30=fail 40=fail" || seats == "10=pass 30=none 40=fail", "{seats}");
}

fn a_vote() -> impl Strategy<Value = Vote> {
    (proptest::sample::select(BallotState::ALL), any::<bool>(), proptest::bool::weighted(0.15))
        .prop_map(|(state, stale, excluded)| Vote { state, stale, excluded, ..Vote::NONE })
}

#[test]
fn what_excluded_probes_said_passes_nothing_when_the_one_that_counts_fails() {
    let vote = |state, excluded| Vote { state, excluded, ..Vote::NONE };
    let votes = [
        vote(BallotState::Fail, false),
        vote(BallotState::Pass, true),
        vote(BallotState::Pass, true),
        Vote::NONE,
        Vote::NONE,
    ];
    let together = Panel::together(&votes);
    assert_eq!(together.state, BallotState::Pass, "it is shown");
    assert!(!together.is_fresh(), "and does not count");
}

proptest! {
    #[test]
    fn a_probe_that_falls_silent_or_is_excluded_makes_nothing_fail_and_nothing_pass(
        votes in prop::collection::vec(a_vote(), 1..10),
        place in any::<prop::sample::Index>(),
        exclude in any::<bool>(),
    ) {
        let mut less = votes.clone();
        let vote = &mut less[place.index(votes.len())];
        if exclude { vote.excluded = true } else { vote.stale = true }
        let (all, less) = (Panel::together(&votes), Panel::together(&less));
        let fails = |vote: &Vote| vote.is_fresh() && vote.state == BallotState::Fail;
        let passes = |vote: &Vote| {
            vote.is_fresh() && matches!(vote.state, BallotState::Pass | BallotState::Warn)
        };
        prop_assert!(!fails(&less) || fails(&all));
        prop_assert!(!passes(&less) || passes(&all));
    }

    #[test]
    fn a_probe_that_turns_to_fail_never_makes_a_region_pass_and_one_that_passes_never_fail(
        votes in prop::collection::vec(a_vote(), 1..10),
        place in any::<prop::sample::Index>(),
    ) {
        let turned = |state| {
            let mut votes = votes.clone();
            let place = place.index(votes.len());
            let vote = &mut votes[place];
            *vote = Vote { state, stale: false, ..*vote };
            Panel::together(&votes)
        };
        let (better, worse) = (turned(BallotState::Pass), turned(BallotState::Fail));
        let fails = |vote: &Vote| vote.is_fresh() && vote.state == BallotState::Fail;
        prop_assert!(!fails(&better) || fails(&worse));
        prop_assert!(!worse.is_fresh() || worse.state != BallotState::Pass
            || (better.is_fresh() && better.state != BallotState::Fail));
    }
}
