//! A table of groups and what is allowed in them, and the law that no allowed change leaves a group
//! that cannot decide.

use proptest::prelude::*;

use super::*;

/// A group from a line of text: `L` leads, `v` votes, `l` listens; behind it `lag/heard/steady`,
/// heard and steady in seconds, `-` for not heard. Ids from 1.
fn group(text: &str) -> Group {
    let mut group = Group::default();
    for (id, word) in (1..).zip(text.split_whitespace()) {
        if word == "pending" {
            group.pending = true;
            continue;
        }
        match &word[..1] {
            "l" => group.learners.push(id),
            _ => group.voters.push(id),
        }
        if word == "L" {
            group.leader = id;
            continue;
        }
        let mut numbers = word[1..].split('/');
        let lag = numbers.next().unwrap().parse().unwrap();
        let seconds = |text: &str| text.parse().ok().map(Duration::from_secs_f64);
        let heard_ago = seconds(numbers.next().unwrap());
        let steady_for = seconds(numbers.next().unwrap()).unwrap_or_default();
        group.seen.insert(id, Seen { lag, heard_ago, steady_for });
    }
    group
}

#[test]
fn what_is_allowed_is_a_table() {
    use Change::{AddLearner, Demote, Promote, Remove};
    let cases = [
        // A healthy group of three with a learner.
        ("L v0/0/60 v0/0/60 l0/0/60", Promote(4), ""),
        ("L v0/0/60 v0/0/60 l250/0/10", Promote(4), ""),
        (
            "L v0/0/60 v0/0/60 l251/0/10",
            Promote(4),
            "member 4 lags 251 entries behind, at most 250",
        ),
        ("L v0/0/60 v0/0/60 l0/0/9.9", Promote(4), "heard steadily for 9s only, at least 10s"),
        ("L v0/0/60 v0/0/60 l0/1.1/60", Promote(4), "member 4 is not heard"),
        ("L v0/0/60 v0/0/60 l0/-/0", Promote(4), "member 4 is not heard"),
        ("L v0/0/60 v0/0/60 l0/0/60", Promote(3), "member 3 is a voter already"),
        ("L v0/0/60 v0/0/60 l0/0/60", Promote(5), "member 5 is not in the group"),
        ("L v0/0/60 v0/0/60 l0/0/60", AddLearner(5), ""),
        ("L v0/0/60 v0/0/60 l0/0/60", AddLearner(4), "member 4 is in the group already"),
        ("L v0/0/60 v0/0/60 l0/0/60", AddLearner(2), "member 2 is in the group already"),
        ("L v0/0/60 v0/0/60 l0/0/60", Demote(2), ""),
        ("L v0/0/60 v0/0/60 l0/0/60", Demote(4), "member 4 is a learner, not a voter"),
        ("L v0/0/60 v0/0/60 l0/0/60", Demote(1), "member 1 leads"),
        ("L v0/0/60 v0/0/60 l0/0/60", Remove(4), ""),
        ("L v0/0/60 v0/0/60 l0/0/60", Remove(2), "member 2 is a voter; it becomes a learner"),
        ("L v0/0/60 v0/0/60 l0/0/60", Remove(5), "member 5 is not in the group"),
        // One at a time.
        ("L v0/0/60 l0/0/60 pending", AddLearner(5), "another change of the members is under way"),
        ("L v0/0/60 l0/0/60 pending", Promote(3), "another change of the members is under way"),
        // A group of one, and of two.
        ("L", Demote(1), "member 1 is the last voter"),
        ("L l0/0/60", Promote(2), ""),
        ("L v0/0/60", Demote(2), ""),
        ("L v0/-/0", Demote(2), ""),
        // One of three is silent: it may go, another may not.
        ("L v0/-/0 v0/0/60", Demote(2), ""),
        (
            "L v0/-/0 v0/0/60",
            Demote(3),
            "2 of 2 voters must be heard and only 1 are: not heard: member 2",
        ),
        // A fourth voter while one of three is silent is no worse; while two are, it does not help.
        ("L v0/-/0 v0/0/60 l0/0/60", Promote(4), ""),
        ("L v0/-/0 v0/2/60 l0/0/60", Promote(4), "only 2 are: not heard: member 2, member 3"),
    ];
    for (text, change, why) in cases {
        match group(text).allows(change) {
            Ok(()) => assert_eq!(why, "", "{text} {change:?}"),
            Err(unfit) => {
                let said = unfit.to_string();
                assert!(!why.is_empty() && said.contains(why), "{text} {change:?}: {said}");
            }
        }
    }
}

#[test]
fn who_may_lead_is_a_table() {
    let cases = [
        ("L v0/0/60 v0/0/60", 2, ""),
        ("L v0/0/60 v0/0/60", 1, "member 1 leads"),
        ("L v0/0/60 l0/0/60", 3, "member 3 is a learner"),
        ("L v0/0/60", 3, "member 3 is not in the group"),
        ("L v0/1.5/60", 2, "member 2 is not heard"),
        ("L v100000/0/60", 2, "member 2 lags 100000 entries behind"),
    ];
    for (text, to, why) in cases {
        let said =
            group(text).may_lead(to).map_or_else(|unfit| unfit.to_string(), |()| String::new());
        assert!(said.contains(why) && said.is_empty() == why.is_empty(), "{text} {to}: {said}");
    }
    assert_eq!(group("L v9/0/60 v3/0/60 v3/0/60 v0/-/0 l0/0/60").successor(), Some(3));
    assert_eq!(group("L v0/-/0 l0/0/60").successor(), None);
}

#[test]
fn learners_are_promoted_one_after_the_other_and_only_when_they_are_ready() {
    assert_eq!(
        group("L v0/0/60 l0/0/60 l0/0/60").next_promotion(|_| true),
        Some(Change::Promote(3))
    );
    assert_eq!(
        group("L v0/0/60 l0/0/3 l0/0/60").next_promotion(|_| true),
        Some(Change::Promote(4))
    );
    assert_eq!(group("L v0/0/60 l999/0/60").next_promotion(|_| true), None);
    assert_eq!(group("L v0/0/60 l0/0/60 pending").next_promotion(|_| true), None);
    assert_eq!(group("L v0/0/60").next_promotion(|_| true), None);
}

#[test]
fn a_learner_that_leaves_gets_no_vote() {
    let group = group("L v0/0/60 l0/0/60 l0/0/60");
    assert_eq!(group.next_promotion(|id| id != 3), Some(Change::Promote(4)));
    assert_eq!(group.next_promotion(|id| id < 3), None);
}

#[test]
fn a_removal_that_was_begun_has_a_next_step_or_a_reason_to_wait() {
    let cases = [
        ("L v0/0/60 v0/0/60", 3, Ok(Removal::Demote)),
        ("L v0/0/60 l0/0/60", 3, Ok(Removal::Finish)),
        ("L v0/0/60 v0/0/60", 4, Ok(Removal::Finish)),
        ("L v5/0/60 v0/0/60", 1, Ok(Removal::HandOver(3))),
        ("L v0/-/0 v0/-/0", 1, Err("member 1 leads")),
        ("L v0/-/0 v0/0/60", 3, Err("not heard: member 2")),
        ("L v0/0/60 v0/0/60 pending", 3, Err("another change")),
    ];
    for (text, id, expected) in cases {
        match (group(text).next_of_removal(id), expected) {
            (Ok(next), Ok(wanted)) => assert_eq!(next, wanted, "{text}"),
            (Err(unfit), Err(why)) => assert!(unfit.to_string().contains(why), "{text}: {unfit}"),
            (got, wanted) => panic!("{text}: {got:?}, not {wanted:?}"),
        }
    }
}

#[test]
fn a_change_that_is_asked_for_again_is_known_to_be_made() {
    use Change::{AddLearner, Demote, Promote, Remove};
    let group = group("L v0/0/60 v0/0/60 l0/0/60");
    for change in [AddLearner(4), AddLearner(2), Promote(2), Demote(4), Demote(5), Remove(5)] {
        assert!(group.allows(change).unwrap_err().is_done(change), "{change:?}");
    }
    for change in [Promote(5), Demote(1), Remove(2)] {
        assert!(!group.allows(change).unwrap_err().is_done(change), "{change:?}");
    }
}

#[test]
fn a_refusal_names_who_it_is_about() {
    let refused = group("L v0/-/0 v0/0/60").allows(Change::Demote(3)).unwrap_err();
    let named = refused.named(|id| format!("c{id}"));
    assert_eq!(
        named.to_string(),
        "then 2 of 2 voters must be heard and only 1 are: not heard: \"c2\""
    );
    assert!(named.may_pass());
}

fn seen() -> impl Strategy<Value = Seen> {
    (0..600_u64, prop::option::of(0..3_000_u64), 0..20_u64).prop_map(|(lag, heard, steady)| Seen {
        lag,
        heard_ago: heard.map(Duration::from_millis),
        steady_for: Duration::from_secs(steady),
    })
}

fn groups() -> impl Strategy<Value = Group> {
    prop::collection::vec((any::<bool>(), seen()), 0..7).prop_map(|others| {
        let mut group = Group { leader: 1, voters: vec![1], ..Group::default() };
        for (id, (votes, seen)) in (2..).zip(others) {
            if votes { &mut group.voters } else { &mut group.learners }.push(id);
            group.seen.insert(id, seen);
        }
        group
    })
}

proptest! {
    /// After any allowed change of the voters more than half of them are heard, the leader votes,
    /// and the change can be seen in the group.
    #[test]
    fn no_allowed_change_leaves_a_group_that_cannot_decide(group in groups()) {
        use Change::{AddLearner, Demote, Promote, Remove};
        for id in 1..9 {
            for change in [AddLearner(id), Promote(id), Demote(id), Remove(id)] {
                if group.allows(change).is_ok() {
                    still_decides(&group, change)?;
                }
            }
        }
    }
}

fn still_decides(group: &Group, change: Change) -> Result<(), TestCaseError> {
    prop_assert!(!change.holds(&group.voters, &group.learners));
    let (mut after, id) = (group.clone(), change.node_id());
    after.voters.retain(|other| *other != id);
    after.learners.retain(|other| *other != id);
    match change {
        Change::Promote(_) => after.voters.push(id),
        Change::AddLearner(_) | Change::Demote(_) => after.learners.push(id),
        Change::Remove(_) => {}
    }
    prop_assert!(change.holds(&after.voters, &after.learners));
    prop_assert!(after.voters.contains(&group.leader));
    if after.voters != group.voters {
        let heard = after.voters.iter().filter(|id| after.is_heard(**id)).count();
        prop_assert!(heard * 2 > after.voters.len());
    }
    Ok(())
}
