//! Laws of the plan, and tables for what a change reaches.

use std::time::Duration;

use parallax_common::check::{
    HttpStep, IpFamily, Lasting, Missing, Policy, Quorum, Run, Step, StepKind, TcpStep,
};
use parallax_common::name::RunDigest;
use parallax_common::outcome::DegradedKind;
use parallax_proto::v1;
use proptest::prelude::*;

use super::handout::Handout;
use super::*;

fn uid(n: u32) -> Uid {
    // Spread like real uids, whose last bytes are random.
    let spread = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&u64::from(n).to_be_bytes());
    bytes[8..].copy_from_slice(&spread.to_be_bytes());
    Uid::from_bytes(bytes)
}

pub(in crate::core) fn http() -> StepKind {
    StepKind::Http(HttpStep {
        url: "https://shop.example/".into(),
        method: "GET".into(),
        body_max_bytes: 1,
        ..HttpStep::default()
    })
}

fn tcp() -> StepKind {
    StepKind::Tcp(TcpStep { host: "shop.example".into(), port: 443, ..TcpStep::default() })
}

pub(in crate::core) fn check(n: u32, regions: &[&str], kind: StepKind) -> Check {
    Check {
        uid: uid(n),
        namespace: "default".into(),
        name: format!("check-{n}"),
        labels: BTreeMap::new(),
        etag: 1,
        enabled: true,
        run: Run {
            steps: vec![Step { name: String::new(), kind, captures: vec![] }],
            timeout: Duration::from_secs(1),
            expect: vec![],
            warn: vec![],
            invert: false,
            canary: None,
            ip: IpFamily::Auto,
            source_address: None,
            resolver: None,
            samples: 1,
        },
        run_digest: RunDigest(u64::from(n)),
        interval: Duration::from_secs(10),
        regions: regions.iter().map(|&region| region.to_owned()).collect(),
        advisory_regions: vec![],
        probes_per_region: 1,
        policy: Policy {
            regions: Quorum::Majority,
            failures: 2,
            successes: 2,
            failures_of: 0,
            successes_of: 0,
            missing: Missing::Unknown,
        },
        alert: vec![],
        runbook: String::new(),
        confirm_spacing: Duration::from_millis(500),
        regional: Lasting::default_of(DegradedKind::Regional),
        warning: Lasting::default_of(DegradedKind::Warning),
        alerts: vec![],
        slo: None,
    }
}

fn probe(region: &str, name: &str) -> LiveProbe {
    LiveProbe {
        probe: ProbeRef { region: region.into(), probe: name.into(), incarnation: Incarnation(7) },
        kinds: vec!["http".into(), "tcp".into()],
    }
}

fn fleet(probes: &[(&str, &str)]) -> Fleet {
    Fleet::new(probes.iter().map(|(region, name)| probe(region, name)))
}

fn generation(index: u64) -> Generation {
    Generation { epoch: 1, index }
}

fn put(check: &Check) -> CheckChange {
    CheckChange::Put(Arc::new(check.clone()))
}

fn names(plan: &Plan, check: u32) -> Vec<Option<String>> {
    plan.assignees(&uid(check)).iter().map(|a| a.as_ref().map(|p| p.probe.to_string())).collect()
}

#[test]
fn the_plan_of_version_one_is_pinned() {
    // These choices are part of PLAN_VERSION: if this test must change, so must the version.
    let probes = fleet(&[("eu", "a"), ("eu", "b"), ("eu", "c"), ("eu", "d")]);
    let chosen: String = (0..24)
        .map(|n| {
            let check = check(n, &["eu"], http());
            assignments(&check, &probes)[0].as_ref().unwrap().probe.to_string()
        })
        .collect();
    assert_eq!(PLAN_VERSION, 2);
    assert_eq!(chosen, "dadbadcddbadabbbacbbcddd");
}

#[test]
fn a_region_without_probes_has_no_assignee_and_ranks_stay_in_place() {
    let mut plan = Plan::default();
    plan.update(
        generation(1),
        [put(&check(1, &["eu", "us", "ap"], http()))],
        Some(fleet(&[("eu", "a"), ("ap", "c")])),
    );
    assert_eq!(names(&plan, 1), [Some("a".into()), None, Some("c".into())]);
    let phases: Vec<i64> = ["a", "c"]
        .iter()
        .zip(["eu", "ap"])
        .map(|(probe, region)| plan.for_probe(region, probe).assignments[&uid(1)].phase_ns)
        .collect();
    // Ranks 0 and 2 of 3 lie two thirds of the interval apart.
    let apart = (phases[1] - phases[0]).rem_euclid(10_000_000_000);
    assert!((apart - 6_666_666_666).abs() <= 1, "{apart}");
}

#[test]
fn a_probe_is_not_given_a_kind_it_does_not_list() {
    let mut old = probe("eu", "a");
    old.kinds = vec!["http".into()];
    let probes = Fleet::new([old, probe("eu", "b")]);
    for n in 0..50 {
        let chosen = assignments(&check(n, &["eu"], tcp()), &probes);
        assert_eq!(chosen[0].as_ref().unwrap().probe.as_ref(), "b");
    }
    let chosen_a = (0..50)
        .filter(|&n| {
            let chosen = assignments(&check(n, &["eu"], http()), &probes);
            chosen[0].as_ref().unwrap().probe.as_ref() == "a"
        })
        .count();
    assert!(chosen_a > 10, "{chosen_a} of 50 http checks went to the http-only probe");
}

#[test]
fn a_disabled_check_has_no_assignee_and_leaves_its_probe() {
    let mut plan = Plan::default();
    let mut check = check(1, &["eu"], http());
    plan.update(generation(1), [put(&check)], Some(fleet(&[("eu", "a")])));
    let held = plan.for_probe("eu", "a");
    check.enabled = false;
    plan.update(generation(2), [put(&check)], None);
    assert_eq!(names(&plan, 1), [None]);
    let delta = plan.for_probe("eu", "a").since(&held);
    assert_eq!((delta.upserts.len(), delta.removed), (0, vec![uid(1)]));
    assert_eq!((delta.base, delta.generation), (generation(1), generation(2)));
}

#[test]
fn an_edit_of_labels_reaches_no_probe_and_an_edit_of_the_interval_does() {
    let mut plan = Plan::default();
    let mut edited = check(1, &["eu", "us"], http());
    plan.update(
        generation(1),
        [put(&edited), put(&check(2, &["eu"], http()))],
        Some(fleet(&[("eu", "a"), ("us", "b")])),
    );
    let held = plan.for_probe("eu", "a");
    edited.labels.insert("team".into(), "payments".into());
    assert_eq!(plan.update(generation(2), [put(&edited)], None), [uid(1)].into());
    assert!(plan.for_probe("eu", "a").since(&held).is_empty());
    edited.interval = Duration::from_secs(5);
    plan.update(generation(3), [put(&edited)], None);
    let delta = plan.for_probe("eu", "a").since(&held);
    assert_eq!(delta.upserts.len(), 1);
    assert_eq!(delta.upserts[0].interval, Duration::from_secs(5));
    assert!(delta.removed.is_empty());
}

#[test]
fn a_new_life_of_a_probe_keeps_its_checks_and_becomes_the_voter() {
    let mut plan = Plan::default();
    let checks: Vec<_> = (0..40).map(|n| put(&check(n, &["eu"], http()))).collect();
    plan.update(generation(1), checks, Some(fleet(&[("eu", "a"), ("eu", "b")])));
    let held = plan.for_probe("eu", "a");
    let mut reborn = probe("eu", "a");
    reborn.probe.incarnation = Incarnation(8);
    let moved = plan.update(generation(2), [], Some(Fleet::new([reborn, probe("eu", "b")])));
    assert_eq!(moved, held.assignments.keys().copied().collect());
    assert!(plan.for_probe("eu", "a").since(&held).is_empty());
    for uid in moved {
        assert_eq!(plan.assignees(&uid)[0].as_ref().unwrap().incarnation, Incarnation(8));
    }
}

#[test]
fn a_deleted_check_leaves_nothing_behind() {
    let mut plan = Plan::default();
    plan.update(generation(1), [put(&check(1, &["eu"], http()))], Some(fleet(&[("eu", "a")])));
    plan.update(generation(2), [CheckChange::Delete(uid(1))], None);
    assert!(plan.is_empty() && plan.by_region.is_empty() && plan.by_probe.is_empty());
    assert!(plan.assignees(&uid(1)).is_empty());
}

#[test]
fn probes_of_one_region_share_the_work_evenly() {
    let probes = fleet(&[("eu", "a"), ("eu", "b"), ("eu", "c"), ("eu", "d"), ("eu", "e")]);
    let mut plan = Plan::default();
    let checks: Vec<_> = (0..10_000).map(|n| put(&check(n, &["eu"], http()))).collect();
    plan.update(generation(1), checks, Some(probes));
    for name in ["a", "b", "c", "d", "e"] {
        // 2 000 each; 200 is five standard deviations of a fair draw.
        let count = plan.for_probe("eu", name).assignments.len();
        assert!((1_800..=2_200).contains(&count), "{name} has {count}");
    }
}

/// Names of the probes that look from a region, in order of their draws.
fn looking(check: &Check, fleet: &Fleet) -> Vec<String> {
    assignments(check, fleet).into_iter().flatten().map(|p| p.probe.to_string()).collect()
}

#[test]
fn several_probes_a_region_share_the_work_evenly_and_none_has_a_check_twice() {
    let probes = fleet(&[("eu", "a"), ("eu", "b"), ("eu", "c"), ("eu", "d"), ("eu", "e")]);
    let mut plan = Plan::default();
    let several = |n| Check { probes_per_region: 2, ..check(n, &["eu"], http()) };
    plan.update(generation(1), (0..10_000).map(|n| put(&several(n))), Some(probes.clone()));
    for name in ["a", "b", "c", "d", "e"] {
        // 4 000 each; 245 is five standard deviations of a fair draw.
        let count = plan.for_probe("eu", name).assignments.len();
        assert!((3_755..=4_245).contains(&count), "{name} has {count}");
    }
    for n in 0..200 {
        let two = looking(&several(n), &probes);
        assert_eq!(two.len(), 2);
        assert_ne!(two[0], two[1]);
        // The first is who alone would look: more probes move nobody.
        assert_eq!(two[..1], looking(&check(n, &["eu"], http()), &probes)[..]);
    }
}

#[test]
fn a_region_with_fewer_probes_has_empty_places_and_advisory_regions_come_last() {
    let wide = Check {
        probes_per_region: 2,
        advisory_regions: vec!["ap".into()],
        ..check(1, &["eu", "us"], http())
    };
    let mut plan = Plan::default();
    let all = fleet(&[("eu", "a"), ("us", "b"), ("us", "c"), ("ap", "d")]);
    plan.update(generation(1), [put(&wide)], Some(all));
    let mut seen = names(&plan, 1);
    seen[2..4].sort();
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(seen, [some("a"), None, some("b"), some("c"), some("d"), None]);
    // Each of them runs it, and a change in the advisory region reaches it.
    for (region, probe) in [("eu", "a"), ("us", "b"), ("us", "c"), ("ap", "d")] {
        assert!(plan.for_probe(region, probe).assignments.contains_key(&uid(1)), "{probe}");
    }
    let fewer = fleet(&[("eu", "a"), ("us", "b"), ("us", "c")]);
    assert_eq!(plan.update(generation(2), [], Some(fewer)), [uid(1)].into());
    assert!(plan.for_probe("ap", "d").assignments.is_empty());
    plan.update(generation(3), [CheckChange::Delete(uid(1))], None);
    assert!(plan.is_empty() && plan.by_region.is_empty() && plan.by_probe.is_empty());
}

#[test]
fn probes_of_a_region_look_within_its_turn_each_where_its_name_puts_it() {
    let interval = 10_000_000_000_i64;
    let phase = |check: &Check, fleet: &Fleet, region: &str, probe: &str| {
        let mut plan = Plan::default();
        plan.update(generation(1), [put(check)], Some(fleet.clone()));
        plan.for_probe(region, probe).assignments[&check.uid].phase_ns
    };
    let few = fleet(&[("eu", "a"), ("us", "b")]);
    let many = fleet(&[("eu", "a"), ("eu", "c"), ("eu", "d"), ("us", "b"), ("ap", "e")]);
    let mut offsets = BTreeSet::new();
    for n in 0..50 {
        let one = check(n, &["eu", "us"], http());
        let several =
            Check { probes_per_region: 3, advisory_regions: vec!["ap".into()], ..one.clone() };
        let start = phase(&one, &few, "eu", "a");
        for probe in ["a", "c", "d"] {
            let own = (phase(&several, &many, "eu", probe) - start).rem_euclid(interval);
            assert!(own < interval / 2, "{probe} looks in the turn of another region");
            offsets.insert(own / (interval / 20));
        }
        // Who else is there, and what is advisory, moves nobody.
        assert_eq!(phase(&several, &few, "eu", "a"), phase(&several, &many, "eu", "a"));
        let beside = Check { advisory_regions: vec!["ap".into()], ..one.clone() };
        assert_eq!(phase(&beside, &many, "us", "b"), phase(&one, &few, "us", "b"));
        // An advisory region looks half a turn after a region that counts.
        let late = (phase(&beside, &many, "ap", "e") - start).rem_euclid(interval);
        assert_eq!(late, interval / 4);
    }
    assert_eq!(offsets.len(), 10, "150 probes are spread over the turn");
}

const PROBES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn some_probes() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(&PROBES[..], 1..=PROBES.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_probe_that_leaves_moves_only_its_own_and_one_that_joins_only_gains(
        present in some_probes(), who in 0usize..6, checks in 1u32..200,
    ) {
        let who = PROBES[who];
        let without: Vec<_> = present.iter().filter(|&&p| p != who).map(|&p| ("eu", p)).collect();
        let mut with = without.clone();
        with.push(("eu", who));
        let (without, with) = (fleet(&without), fleet(&with));
        for n in 0..checks {
            let check = check(n, &["eu"], http());
            let before = assignments(&check, &with)[0].clone();
            let after = assignments(&check, &without)[0].clone();
            if before.as_ref().is_some_and(|p| p.probe.as_ref() != who) {
                prop_assert_eq!(before, after);
            } else {
                prop_assert!(after.is_none_or(|p| p.probe.as_ref() != who));
            }
        }
    }

    #[test]
    fn of_several_probes_a_region_one_that_leaves_makes_room_for_one_and_moves_nobody_else(
        present in some_probes(), who in 0usize..6, checks in 1u32..60, wanted in 1u32..4,
    ) {
        let who = PROBES[who];
        let without: Vec<_> = present.iter().filter(|&&p| p != who).map(|&p| ("eu", p)).collect();
        let mut with = without.clone();
        with.push(("eu", who));
        let (without, with) = (fleet(&without), fleet(&with));
        for n in 0..checks {
            let check = Check { probes_per_region: wanted, ..check(n, &["eu"], http()) };
            let (before, after) = (looking(&check, &with), looking(&check, &without));
            let others: Vec<_> = before.iter().filter(|name| *name != who).cloned().collect();
            prop_assert_eq!(&after[..others.len()], &others[..]);
            prop_assert!(after.len() <= others.len() + usize::from(before.len() > others.len()));
        }
    }

    #[test]
    fn updates_one_by_one_and_a_plan_built_anew_agree(
        steps in proptest::collection::vec(
            (0u32..12, 0u8..5, some_probes(), some_probes()), 1..24),
    ) {
        let mut plan = Plan::default();
        let mut checks: BTreeMap<Uid, Check> = BTreeMap::new();
        let mut last = Fleet::default();
        let mut sessions: BTreeMap<(&str, &str), ProbePlan> = BTreeMap::new();
        for (index, (n, what, eu, us)) in steps.into_iter().enumerate() {
            let generation = generation(index as u64 + 1);
            let (change, new_fleet) = match what {
                0 => (Some(CheckChange::Delete(uid(n))), None),
                1 => {
                    let several = Check {
                        probes_per_region: n % 3 + 1,
                        ..check(n, &["eu", "us"], http())
                    };
                    (Some(put(&several)), None)
                }
                2 => (Some(check(n, &["us"], tcp())).as_ref().map(put), None),
                _ => {
                    let all: Vec<_> = eu.iter().map(|&p| ("eu", p))
                        .chain(us.iter().map(|&p| ("us", p))).collect();
                    (None, Some(fleet(&all)))
                }
            };
            match &change {
                Some(CheckChange::Put(check)) => { checks.insert(check.uid, (**check).clone()); }
                Some(CheckChange::Delete(uid)) => { checks.remove(uid); }
                None => {}
            }
            last = new_fleet.clone().unwrap_or(last);
            plan.update(generation, change, new_fleet);

            let mut anew = Plan::default();
            anew.update(generation, checks.values().map(put), Some(last.clone()));
            for (uid, check) in &checks {
                prop_assert_eq!(&*plan.assignees(uid), &assignments(check, &last)[..]);
            }
            for region in ["eu", "us"] {
                for name in PROBES {
                    let now = plan.for_probe(region, name);
                    prop_assert_eq!(
                        &now.assignments, &anew.for_probe(region, name).assignments);
                    // A session that applies every delta holds the plan.
                    let held = sessions.entry((region, name)).or_default();
                    let delta = now.since(held);
                    for gone in &delta.removed { held.assignments.remove(gone); }
                    for new in delta.upserts {
                        held.assignments.insert(new.check, new);
                    }
                    held.generation = delta.generation;
                    prop_assert_eq!(&held.assignments, &now.assignments);
                }
            }
        }
    }
}

#[test]
fn a_session_is_handed_everything_once_and_then_differences() {
    let fleet = fleet(&[("eu", "a")]);
    let mut plan = Plan::default();
    plan.update(generation(5), [put(&check(1, &["eu"], http()))], Some(fleet));
    let said = |chunks: Vec<v1::AssignmentChunk>| -> Vec<(u64, Option<u64>, usize, usize, bool)> {
        let index = |g: Option<v1::Generation>| g.map(|g| g.index);
        let one = |c: v1::AssignmentChunk| {
            let at = index(c.generation).unwrap();
            (at, index(c.base), c.upserts.len(), c.removed.len(), c.last)
        };
        chunks.into_iter().map(one).collect()
    };
    let mut session = Handout::default();
    assert_eq!(said(session.next(&plan, "eu", "a", Some(generation(4)))), [(5, None, 1, 0, true)]);
    assert_eq!(said(session.next(&plan, "eu", "a", None)), [], "it has it");
    plan.update(generation(9), [CheckChange::Delete(uid(1))], None);
    let removed = [(9, Some(5), 0, 0, false), (9, Some(5), 0, 1, true)];
    assert_eq!(said(session.next(&plan, "eu", "a", None)), removed);
    // What does not concern this probe moves its generation all the same.
    plan.update(generation(12), [put(&check(2, &["us"], http()))], None);
    assert_eq!(said(session.next(&plan, "eu", "a", None)), [(12, Some(9), 0, 0, true)]);
    // A plan that is older than what was handed out is not handed out.
    plan.update(generation(11), [], None);
    assert_eq!(said(session.next(&plan, "eu", "a", None)), []);
    // Another session of a probe that runs just this plan sends nothing, and differences later.
    let mut again = Handout::default();
    plan.update(generation(12), [], None);
    assert_eq!(said(again.next(&plan, "eu", "a", Some(generation(12)))), []);
    plan.update(generation(13), [put(&check(3, &["eu"], http()))], None);
    assert_eq!(said(again.next(&plan, "eu", "a", None)), [(13, Some(12), 1, 0, true)]);
}
