//! A day of a thousand checks, and the closed form beside what is counted.

use std::time::Duration;

use crate::closed_form;
use crate::faults::Plan;
use crate::mesh::{self, Found, Load, REGIONS};

const DAY: Duration = Duration::from_secs(86_400);
const CHECKS: u32 = 1_000;

fn simulate(load: &Load, checks: u32) -> Found {
    let mut found = Found::default();
    for number in 0..checks {
        found.merge(mesh::run(load, number));
    }
    found
}

fn lossy(seed: u64, regions: usize, loss: f64) -> Load {
    Load { seed, span: DAY, loss, outages_every: None, plan: Plan::none(regions) }
}

#[test]
fn a_day_of_a_thousand_checks_has_no_false_incident_and_finds_every_outage_in_time() {
    let load = Load {
        seed: 1,
        span: DAY,
        loss: 0.003,
        outages_every: Some(DAY * 10),
        plan: Plan::new(1, REGIONS, Load::START, DAY),
    };
    let found = simulate(&load, CHECKS);
    let ours = &found.ours;
    assert_eq!((ours.false_downs, found.without_quorum), (0, 0));
    assert_eq!(ours.missed_calm, 0);
    assert_eq!(ours.missed + ours.to_open.len() as u64, found.outages);
    assert!(found.outages > 50, "{}", found.outages);
    let bound = mesh::bound(REGIONS);
    let calm = &ours.to_open_calm;
    assert!(calm.len() > 30, "{}", calm.len());
    assert!(calm.iter().all(|after| *after <= bound), "{:?} > {bound:?}", calm.iter().max());
    // Loss alone is lost 0.003 of all slots; what is shared adds to it.
    assert!(found.failed as f64 > load.slots(CHECKS) * load.loss);
    // The same traces trip the rules that do not expect what happens in them.
    let [any, eighteen, half, alive] = &found.theirs;
    assert!(any.false_downs >= u64::from(CHECKS), "the liar alone trips every check");
    assert_eq!(eighteen.false_downs, 0, "it takes all regions");
    assert!(half.false_downs >= u64::from(CHECKS), "the islands' last words");
    assert!(alive.false_downs >= u64::from(CHECKS), "the one region that is left in a cut");
}

#[test]
fn what_is_counted_at_three_per_cent_is_what_the_closed_form_says() {
    let (regions, loss, checks) = (3, 0.03, 600);
    let load = lossy(2, regions, loss);
    let found = simulate(&load, checks);
    let expected = load.slots(checks) * closed_form::per_slot(3, 2, loss);
    let [least, most] = [
        closed_form::poisson_at_least(expected, 0.99),
        closed_form::poisson_at_most(expected, 0.99),
    ];
    let counted = found.ours.false_downs;
    assert!((least..=most).contains(&counted), "{counted} of {expected}: {least} to {most}");
    assert!(least > 3, "it says something: {expected}");
}

#[test]
fn the_same_seed_tells_the_same() {
    let tell = |seed| format!("{:?}", simulate(&lossy(seed, REGIONS, 0.05), 20));
    assert_eq!(tell(3), tell(3));
    assert_ne!(tell(3), tell(4));
}
