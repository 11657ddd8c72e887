//! Probes that are drained.

use super::*;
use crate::core::fleet::rows::is_given_work;

fn change(
    region: &str,
    probe: &str,
    incarnation: u64,
    state: v1::ProbeState,
) -> store::FleetChange {
    store::FleetChange {
        region: region.into(),
        probe: probe.into(),
        incarnation,
        state: state.into(),
        kinds: vec!["http".into()],
        ..store::FleetChange::default()
    }
}

/// A probe that is live in this life.
pub(super) fn live(region: &str, probe: &str, incarnation: u64) -> Command {
    let change = change(region, probe, incarnation, v1::ProbeState::Live);
    Command::ChangeFleet(store::ChangeFleet { changes: vec![change] })
}

pub(super) fn drain(region: &str, probe: &str, force: bool) -> Command {
    let (region, probe, note) = (region.into(), probe.into(), "new kernel".into());
    Command::DrainProbe(store::DrainProbe { region, probe, undo: false, force, note })
}

fn undo(region: &str, probe: &str) -> Command {
    let (region, probe) = (region.into(), probe.into());
    Command::DrainProbe(store::DrainProbe { region, probe, undo: true, ..Default::default() })
}

fn row<'a>(member: &'a Member, region: &str, probe: &str) -> &'a store::ProbeRow {
    &member.state.probes[&(region.to_owned(), probe.to_owned())]
}

fn is_accepted(answer: &Answer) -> bool {
    matches!(answer, Answer::Accepted { .. })
}

#[test]
fn a_drained_probe_leaves_the_plan_until_it_is_put_back_whatever_life_it_begins() {
    let mut member = configured();
    for probe in ["p1", "p2"] {
        member.apply(live("eu", probe, 1));
    }
    let before = member.state.generation();
    assert!(is_accepted(&member.apply(drain("eu", "p1", false))));
    assert!(member.state.generation() > before, "others take over");
    assert!(member.changed.contains(&Changed::Probe("eu".into(), "p1".into())));
    let said = row(&member, "eu", "p1").drain.clone().unwrap();
    assert_eq!(said.note, "new kernel");
    assert!(!is_given_work(row(&member, "eu", "p1")) && is_given_work(row(&member, "eu", "p2")));
    // Drained once more it is as it was, and a new life of it is drained as well.
    let generation = member.state.generation();
    assert!(is_accepted(&member.apply(drain("eu", "p1", false))));
    assert_eq!(row(&member, "eu", "p1").drain.as_ref(), Some(&said));
    assert!(is_accepted(&member.apply(live("eu", "p1", 2))));
    assert_eq!((row(&member, "eu", "p1").incarnation, member.state.generation()), (2, generation));
    assert!(!is_given_work(row(&member, "eu", "p1")));
    member.reopen();
    assert_eq!(row(&member, "eu", "p1").drain.as_ref(), Some(&said));
    // The other one is the last that looks now.
    let refused = member.apply(drain("eu", "p2", false));
    let Answer::Refused(refusal) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.rule, rule::LAST_PROBE.id);
    assert!(refusal.message.contains("1 check looks"), "{}", refusal.message);
    assert!(is_accepted(&member.apply(undo("eu", "p1"))));
    assert!(is_given_work(row(&member, "eu", "p1")) && row(&member, "eu", "p1").drain.is_none());
    assert!(member.state.generation() > generation);
    assert!(is_accepted(&member.apply(drain("eu", "p2", false))));
    assert!(is_accepted(&member.apply(undo("eu", "p2"))), "and again");
    assert!(is_accepted(&member.apply(undo("eu", "p2"))), "what is not drained stays so");
}

#[test]
fn the_last_probe_of_a_region_is_drained_with_force_or_when_nobody_looks_from_there() {
    let mut member = configured();
    member.apply(live("eu", "p1", 1));
    member.apply(live("us", "q1", 1));
    assert!(!is_accepted(&member.apply(drain("eu", "p1", false))));
    assert!(is_accepted(&member.apply(drain("us", "q1", false))), "no check looks from us");
    assert!(is_accepted(&member.apply(drain("eu", "p1", true))));
    assert!(!is_given_work(row(&member, "eu", "p1")));
}

#[test]
fn who_may_not_vote_takes_nobodys_place_and_who_is_given_no_work_leaves_none() {
    let mut member = configured();
    for probe in ["p1", "p2"] {
        member.apply(live("eu", probe, 1));
    }
    let exclusion = Some(v1::Exclusion::default());
    let excluded = store::FleetChange {
        franchise: Some(store::Franchise { exclusion }),
        ..change("eu", "p2", 1, v1::ProbeState::Live)
    };
    member.apply(Command::ChangeFleet(store::ChangeFleet { changes: vec![excluded] }));
    assert!(row(&member, "eu", "p2").exclusion.is_some());
    assert!(!is_accepted(&member.apply(drain("eu", "p1", false))), "p2 would be alone, unheard");
    assert!(is_accepted(&member.apply(drain("eu", "p2", false))));
    assert!(is_accepted(&member.apply(undo("eu", "p2"))));
    // A machine that is broken already is drained before it comes back.
    let lost = change("eu", "p1", 1, v1::ProbeState::Lost);
    member.apply(Command::ChangeFleet(store::ChangeFleet { changes: vec![lost] }));
    assert!(is_accepted(&member.apply(drain("eu", "p1", false))));
    assert!(is_accepted(&member.apply(live("eu", "p1", 2))));
    assert!(!is_given_work(row(&member, "eu", "p1")));
}
