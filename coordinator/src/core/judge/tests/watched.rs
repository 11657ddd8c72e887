//! Probes that are measured by what is known: canaries, and what is asked of their builds.

use super::*;

/// The check becomes a canary that is known to fail. What the probes tell from here on is whether they see
/// that: they compare by themselves.
fn as_canary(world: &mut World) {
    world.edit(|check| {
        let expect = v1::CanaryAnswer::Fail.into();
        check.canary = Some(v1::Canary { expect, reason: v1::Reason::ConnectRefused.into() });
        *check = convert::check::normalise_check(check.clone());
    });
    for _ in 0..2 {
        (0..REGIONS).for_each(|rank| world.run(rank, Outcome::Pass));
        world.advance(200);
    }
    world.take();
}

#[test]
fn a_probe_that_alone_sees_another_answer_than_the_known_one_votes_no_more() {
    let mut world = World::up(2, [&[0, 1], &[0, 1], &[0, 1]]);
    as_canary(&mut world);
    twice(&mut world, &[2], Outcome::Fail);
    assert_eq!(world.take(), "degraded");
    assert!(!world.excluded(0, 2), "the others may yet follow");
    world.advance(30_000);
    assert!(world.excluded(0, 2));
    assert!(!world.excluded(0, 0) && !world.excluded(0, 1));
    let incident = world.open_incident();
    assert_eq!(incident.kind(), v1::IncidentKind::RegionExcluded);
    let told = crate::core::explain::incident(&incident).join(" ");
    assert!(told.contains("sees another thing than the known answer of 1 of 1 canary"), "{told}");
    // The next leader knows it by the record, and lets it vote once it has seen the truth for a minute.
    world.kill(0);
    world.lead(1);
    world.advance(90_000);
    assert!(world.excluded(1, 2), "it still sees the other answer");
    twice(&mut world, &[2], Outcome::Pass);
    world.advance(50_000);
    assert!(world.excluded(1, 2));
    world.advance(30_000);
    assert!(!world.excluded(1, 2));
    assert!(world.state.open.is_empty());
}

#[test]
fn a_canary_that_most_see_wrong_is_in_doubt_itself_and_is_no_incident() {
    for wrong in [&[0, 1, 2][..], &[0, 1]] {
        let mut world = World::up(1, [&[0], &[0], &[0]]);
        as_canary(&mut world);
        twice(&mut world, wrong, Outcome::Fail);
        // As long as any failure that lasts would take to be an incident.
        world.advance(1_200_000);
        assert!((0..REGIONS).all(|rank| !world.excluded(0, rank)), "{wrong:?}");
        assert!(world.state.incidents.is_empty(), "{wrong:?}: {:?}", world.state.incidents);
        assert!(world.take().ends_with("down"), "{wrong:?}: it is shown, and opens nothing");
        let ballots = world.judges[0].as_ref().unwrap().live_ballots(CHECK, world.now);
        let canary = world.state.checks[&CHECK].check.run.canary.unwrap();
        let told = crate::core::explain::canary(canary, &ballots).join(" ");
        assert!(told.contains("the canary is in doubt, not they"), "{told}");
    }
}

#[test]
fn a_check_that_probes_cannot_run_is_one_incident_a_region_until_they_can() {
    let mut world = World::up(2, [&[0, 1], &[0, 1], &[0, 1]]);
    world.edit(|check| {
        let grpc = v1::GrpcStep { address: "127.0.0.1:1".into(), ..v1::GrpcStep::default() };
        check.run.as_mut().unwrap().steps[0].kind = Some(v1::step::Kind::Grpc(grpc));
        *check = convert::check::normalise_check(check.clone());
    });
    world.advance(290_000);
    assert!(world.state.open.is_empty(), "there is time to upgrade");
    world.advance(15_000);
    assert_eq!(world.state.open.len(), REGIONS);
    for incident in world.state.incidents.values() {
        assert_eq!(incident.kind(), v1::IncidentKind::RegionOutdated);
        let told = crate::core::explain::incident(incident).join(" ");
        assert!(told.contains("cannot run grpc, which 1 check needs"), "{told}");
    }
    // The next leader goes on with them.
    world.kill(0);
    world.lead(1);
    world.advance(400_000);
    assert_eq!(world.state.incidents.len(), REGIONS);
    world.edit(|_| {});
    assert!(world.state.open.is_empty());
}

#[test]
fn a_cluster_with_a_member_that_would_not_understand_it_has_no_outdated_region() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    world.state.cluster.level = crate::core::state::OUTDATED_LEVEL - 1;
    world.edit(|check| {
        let grpc = v1::GrpcStep { address: "127.0.0.1:1".into(), ..v1::GrpcStep::default() };
        check.run.as_mut().unwrap().steps[0].kind = Some(v1::step::Kind::Grpc(grpc));
        *check = convert::check::normalise_check(check.clone());
    });
    world.advance(400_000);
    assert!(world.state.incidents.is_empty());
}
