//! Several probes a region, advisory regions and missing data, as rows of events.

use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::Missing;
use parallax_common::outcome::{Outcome, Verdict};
use parallax_proto::v1;

use super::play;
use super::rig::Rig;
use crate::core::engine::Input;

#[test]
fn a_region_goes_by_the_majority_of_its_probes() {
    #[rustfmt::skip]
    let rows = [
        // regions, probes of each, events after all are up, what is applied (! opens, . resolves)
        // One of three in each region is in no majority, however often it fails.
        (3, 3, "0F 0F 3F 3F 6F 6F",                        ""),
        (3, 3, "0F 0F 1F 1F",                              "degraded"),
        (3, 3, "0F 0F 1F 1F 3F 3F 4F 4F",                  "degraded down!"),
        (1, 3, "0F 0F 1F 1F",                              "down!"),
        // Two of a region must agree. A split region is no failure and no pass.
        (3, 2, "0F 0F",                                    "degraded"),
        (3, 2, "0F 0F 2F 2F 4F 4F",                        "degraded"),
        (3, 2, "0F 0F 1F 1F 2F 2F",                        "degraded"),
        (3, 2, "0F 0F 1F 1F 2F 2F 3F 3F",                  "degraded down!"),
        (3, 2, "0F 0F 1F 1F 2F 2F 3F 3F 0P 0P",            "degraded down!"),
        (3, 2, "0F 0F 1F 1F 2F 2F 3F 3F 0P 0P 1P 1P",      "degraded down! degraded."),
        // Witnesses that die neither open nor resolve, and passing ones that die do not open.
        (3, 3, "0F 0F 1F 1F 3F 3F 4F 4F -0 -3 +10000",     "degraded down!"),
        (3, 3, "0F 0F 3F 3F -1 -2 -4 -5 +10000",           "unknown"),
        (3, 3, "0F 0F 3F 3F -1 -4 +10000",                 "degraded"),
        (3, 3, "0F 0F 1F 1F 3F 3F 4F 4F x0 x3",            "degraded down!"),
        // A whole region that dies is one region.
        (3, 2, "-0 -1 +10000",                             ""),
        (3, 2, "-0 -1 +10000 2F 2F 3F 3F 4F 4F 5F 5F",     "degraded down!"),
        // Half of one is silence, too: the other half alone is no majority.
        (1, 2, "-0 +10000",                                "unknown"),
        (1, 2, "-0 +10000 1F 1F",                          "unknown"),
        (1, 3, "-0 +10000 1F 1F 2F 2F",                    "degraded down!"),
    ];
    for (regions, probes, events, expected) in rows {
        let mut rig = Rig::wide(regions, probes, 0, 2);
        play(&mut rig, events);
        assert_eq!(rig.take_applied(), expected, "R = {regions}, probes {probes}: {events}");
    }
}

#[test]
fn every_probe_of_every_region_is_asked_at_the_first_failure() {
    #[rustfmt::skip]
    let rows = [
        // regions, probes, advisory, failures, events, orders as probe=runs
        (2, 2, 0, 2, "0F",          "0=1 1=2 2=2 3=2"),
        (1, 3, 0, 2, "2F",          "0=2 1=2 2=1"),
        (1, 2, 0, 1, "0F",          "1=1"),
        (2, 2, 0, 2, "-3 0F",       "0=1 1=2 2=2"),
        // Another probe of a region that fails already is a first failure of its own.
        (1, 3, 0, 2, "0F 0f 1p 1p 2p 2p 1F", "0=1 1=2 2=2 0=2 1=1 2=2"),
        // Advisory regions ask nobody and are not asked.
        (2, 1, 1, 2, "0F",          "0=1 1=2"),
        (2, 1, 1, 2, "2F 2F",       ""),
    ];
    for (regions, probes, advisory, failures, events, expected) in rows {
        let mut rig = Rig::wide(regions, probes, advisory, failures);
        play(&mut rig, events);
        assert_eq!(rig.take_orders(), expected, "R = {regions}, probes {probes}: {events}");
    }
}

#[test]
fn an_advisory_region_is_shown_and_in_no_number() {
    #[rustfmt::skip]
    let rows = [
        // regions, advisory, events (those of advisory regions come after those that count)
        (3, 1, "3F 3F 3F",                   ""),
        (3, 2, "3F 3F 4F 4F",                ""),
        (3, 2, "3F 3F 4F 4F 0F 0F",          "degraded"),
        (3, 1, "0F 0F 1F 1F 3P",             "degraded down!"),
        (1, 2, "1F 1F 2F 2F 0F 0F",          "down!"),
        // Nor does it keep the others from having too few.
        (3, 2, "-0 -1 +10000",               "unknown"),
        (3, 1, "-3 +10000",                  ""),
    ];
    for (regions, advisory, events, expected) in rows {
        let mut rig = Rig::wide(regions, 1, advisory, 2);
        play(&mut rig, events);
        assert_eq!(rig.take_applied(), expected, "R = {regions}, advisory {advisory}: {events}");
    }
    let mut rig = Rig::wide(3, 1, 1, 2);
    play(&mut rig, "3F 3F 0F 0F");
    let record = &rig.applied.last().unwrap().record;
    assert_eq!((record.failing, record.passing, record.fresh), (1, 2, 3));
    assert_eq!(record.rule.unwrap().regions, 3);
    let shown: Vec<_> = record.ballots.iter().map(|b| (b.advisory, b.state())).collect();
    let (fail, pass) = (v1::BallotState::Fail, v1::BallotState::Pass);
    assert_eq!(shown, [(false, fail), (false, pass), (false, pass), (true, fail)]);
}

#[test]
fn a_region_that_turns_advisory_keeps_what_was_heard_of_it() {
    let mut rig = Rig::wide(3, 1, 0, 2);
    play(&mut rig, "2F 2F");
    assert_eq!(rig.take_applied(), "degraded");
    rig.commit(|subject| {
        let check = Arc::make_mut(&mut subject.check);
        check.advisory_regions = vec![check.regions.pop().unwrap()];
        check.etag += 1;
    });
    assert_eq!(rig.take_applied(), "up", "two of two pass");
    let ballots = rig.engine.live_ballots(rig.subject.check.uid, rig.now);
    assert_eq!((ballots[2].state(), ballots[2].advisory), (v1::BallotState::Fail, true));
    // And back: its failures count again.
    rig.commit(|subject| {
        let check = Arc::make_mut(&mut subject.check);
        check.regions.append(&mut check.advisory_regions);
        check.etag += 1;
    });
    assert_eq!(rig.take_applied(), "degraded");
}

#[test]
fn the_record_names_each_probe_of_a_region_and_shows_one_that_says_what_the_region_says() {
    let mut rig = Rig::wide(2, 3, 0, 2);
    play(&mut rig, "1F 1F +100 2F 2F 4F 4F 5F 5F");
    let record = &rig.applied.last().unwrap().record;
    assert_eq!(record.verdict(), v1::Verdict::Down);
    assert_eq!(record.rule.unwrap().probes_per_region, 3);
    let [first, second] = &record.ballots[..] else { panic!("one ballot a region") };
    assert_eq!((first.state(), first.probe.as_str()), (v1::BallotState::Fail, "p1"));
    assert_eq!(first.evidence, "refused");
    let each = |ballot: &v1::Ballot| {
        let some = ballot.probes.iter().map(|probe| (probe.probe.clone(), probe.state()));
        some.collect::<Vec<_>>()
    };
    let (fail, pass) = (v1::BallotState::Fail, v1::BallotState::Pass);
    let named = |states: [v1::BallotState; 3]| {
        states.iter().enumerate().map(|(n, state)| (format!("p{n}"), *state)).collect::<Vec<_>>()
    };
    assert_eq!(each(first), named([pass, fail, fail]));
    assert_eq!(each(second), named([pass, fail, fail]));
    // With one probe a region there is nothing to name beside it.
    let mut rig = Rig::up(3, 2);
    play(&mut rig, "0F 0F");
    let record = &rig.applied.last().unwrap().record;
    assert!(record.ballots.iter().all(|ballot| ballot.probes.is_empty()));
    assert_eq!(record.rule.unwrap().probes_per_region, 0, "as it was before there was a choice");
}

#[test]
fn a_split_region_is_shown_with_what_fails() {
    let mut rig = Rig::wide(1, 2, 0, 2);
    play(&mut rig, "1F 1F");
    let record = &rig.applied.last().unwrap().record;
    assert_eq!((record.verdict(), record.split), (v1::Verdict::Degraded, 1));
    assert_eq!((record.failing, record.passing, record.fresh), (0, 0, 1));
    let ballot = &record.ballots[0];
    assert!(ballot.split && !ballot.stale);
    assert_eq!((ballot.state(), ballot.probe.as_str()), (v1::BallotState::None, "p1"));
    assert_eq!(ballot.reason(), v1::Reason::ConnectRefused);
}

#[test]
fn a_probe_that_joins_or_leaves_a_region_opens_and_ends_nothing() {
    // Only one probe in each region at first, although two are wanted.
    let mut rig = Rig::wide(3, 2, 0, 2);
    let all = rig.subject.assignees.clone();
    let one: Vec<_> =
        all.iter().enumerate().map(|(n, of)| of.clone().filter(|_| n % 2 == 0)).collect();
    rig.commit(|subject| subject.assignees = one.clone());
    play(&mut rig, "+2000 0F 0F 2F 2F");
    assert_eq!(rig.take_applied(), "degraded down!", "the one there is decides");
    rig.commit(|subject| subject.assignees = all.clone());
    play(&mut rig, "+2000");
    assert_eq!(rig.take_applied(), "", "whoever is new has not said enough");
    play(&mut rig, "1P 1P 3P 3P 5P 5P");
    assert_eq!(rig.take_applied(), "", "split, and no end");
    play(&mut rig, "0P 0P 2P 2P");
    assert_eq!(rig.take_applied(), "degraded. up");
    // While all is well a second probe comes: nobody is silenced until it has spoken.
    rig.commit(|subject| subject.assignees = one);
    rig.commit(|subject| subject.assignees = all);
    play(&mut rig, "+4000");
    assert_eq!(rig.take_applied(), "");
}

#[test]
fn missing_data_counts_as_the_check_says() {
    #[rustfmt::skip]
    let rows = [
        (Missing::Unknown, "-0 -1 +10000",                  "unknown"),
        (Missing::Ignore,  "-0 -1 +10000",                  ""),
        (Missing::Fail,    "-0 -1 +10000",                  "degraded down!"),
        (Missing::Pass,    "-0 -1 +10000",                  ""),
        (Missing::Fail,    "-0 +10000",                     "degraded"),
        (Missing::Fail,    "-0 -1 +10000 ^0 ^1",            "degraded down! degraded. up"),
        // What was down and falls silent is never over by it.
        (Missing::Unknown, "0F 0F 1F 1F -0 -1 -2 +10000",   "degraded down! unknown"),
        (Missing::Ignore,  "0F 0F 1F 1F -0 -1 -2 +10000",   "degraded down!"),
        (Missing::Fail,    "0F 0F 1F 1F -0 -1 -2 +10000",   "degraded down!"),
        (Missing::Pass,    "0F 0F 1F 1F -0 -1 -2 +10000",   "degraded down!"),
    ];
    for (missing, events, expected) in rows {
        let mut rig = Rig::up(3, 2);
        rig.commit(|subject| Arc::make_mut(&mut subject.check).policy.missing = missing);
        rig.take_applied();
        play(&mut rig, events);
        // Two regions cross the line one after the other, within an instant.
        let applied = rig.take_applied();
        let expected_too = expected.strip_prefix("degraded ").unwrap_or(expected);
        assert!(applied == expected || applied == expected_too, "{missing:?} {events}: {applied}");
    }
}

#[test]
fn a_new_leader_takes_no_silence_of_its_start_for_a_failure() {
    let mut rig = Rig::up(3, 2);
    rig.commit(|subject| Arc::make_mut(&mut subject.check).policy.missing = Missing::Fail);
    rig.take_applied();
    // As a follower it hears nobody for a while, and then leads.
    rig.feed(Input::Leadership(false));
    for rank in 0..3 {
        rig.kill(rank);
    }
    rig.advance(20_000);
    rig.feed(Input::Leadership(true));
    rig.advance(9_000);
    assert_eq!(rig.take_applied(), "", "its grace is not over");
    assert_eq!(rig.subject.verdict, Verdict::Up);
    rig.advance(2_000);
    assert_eq!(rig.take_applied(), "down!");
    let draft_of = |rig: &Rig| rig.engine.still_failing(rig.subject.check.uid, rig.now);
    assert!(draft_of(&rig), "so a resolve by hand needs to be forced");
    for rank in 0..3 {
        rig.connect(rank);
    }
    assert!(!draft_of(&rig));
    rig.now = rig.now + Duration::from_millis(1);
    rig.run(0, Outcome::Pass);
    assert!(rig.subject.open_incident.is_none());
}
