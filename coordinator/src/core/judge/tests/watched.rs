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
fn a_canary_that_most_see_wrong_is_in_doubt_itself_and_is_one_incident_of_the_mesh() {
    for (wrong, unseen) in [
        (&[0, 1, 2][..], "r0, r1 and r2 of 3 regions do not see its known answer"),
        (&[0, 1], "r0 and r1 of 3 regions do not see its known answer"),
    ] {
        let mut world = World::up(1, [&[0], &[0], &[0]]);
        as_canary(&mut world);
        twice(&mut world, wrong, Outcome::Fail);
        world.advance(290_000);
        assert!(
            world.take().ends_with("down"),
            "{wrong:?}: its verdict is shown, and opens nothing"
        );
        assert!(world.state.incidents.is_empty(), "{wrong:?}: it may pass");
        // As long as any failure that lasts would take to be an incident, too.
        world.advance(1_200_000);
        assert_eq!(world.take(), "down?", "{wrong:?}");
        assert!((0..REGIONS).all(|rank| !world.excluded(0, rank)), "{wrong:?}");
        let incident = world.open_incident();
        assert_eq!(incident.kind(), v1::IncidentKind::CanaryInDoubt);
        let told = crate::core::explain::incident(&incident).join(" ");
        assert!(told.contains(unseen), "{told}");
        let ballots = world.judges[0].as_ref().unwrap().live_ballots(CHECK, world.now);
        let canary = world.state.checks[&CHECK].check.run.canary.unwrap();
        let told = crate::core::explain::canary(canary, &ballots).join(" ");
        assert!(told.contains("the canary is in doubt, not they"), "{told}");
    }
}

#[test]
fn regions_that_nobody_hears_say_nothing_of_a_canary() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    as_canary(&mut world);
    // The one that is left sees another thing: that is the fleet's trouble, and not the canary's.
    for rank in [0, 1] {
        world.disconnect(rank, 0);
    }
    world.advance(30_000);
    twice(&mut world, &[2], Outcome::Fail);
    world.advance(1_200_000);
    let kinds: Vec<_> = world.state.incidents.values().map(|it| it.kind()).collect();
    assert!(!kinds.contains(&v1::IncidentKind::CanaryInDoubt), "{kinds:?}");
}

#[test]
fn doubt_in_a_canary_ends_when_it_was_seen_for_a_minute_and_outlives_its_leader() {
    let mut world = World::up(2, [&[0, 1], &[0, 1], &[0, 1]]);
    as_canary(&mut world);
    twice(&mut world, &[0, 1], Outcome::Fail);
    world.advance(310_000);
    let uid = world.open_incident().uid;
    world.kill(0);
    world.lead(1);
    world.advance(400_000);
    assert_eq!(world.open_incident().uid, uid, "it is the same one");
    let failing = |world: &World| world.judges[1].as_ref().unwrap().still_failing(CHECK, world.now);
    assert!(failing(&world), "only force resolves it by hand");
    // Who alone went on to see another thing would be excluded.
    twice(&mut world, &[0, 1], Outcome::Pass);
    assert!(!failing(&world));
    world.advance(50_000);
    assert_eq!(world.state.open.len(), 1);
    world.advance(15_000);
    assert!(world.state.open.is_empty());
    let incident = world.open_incident();
    assert_eq!(incident.cause(), v1::ResolveCause::Recovered);
    assert!(crate::core::explain::incident(&incident).join(" ").contains("for 60 s"));
}

#[test]
fn doubt_that_is_resolved_by_hand_comes_back_only_after_the_canary_was_seen_for_a_minute() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    as_canary(&mut world);
    twice(&mut world, &[0, 1], Outcome::Fail);
    world.advance(310_000);
    let (uid, by) = (world.open_incident().uid, "me".to_owned());
    let by_hand = store::ResolveIncident { uid, by, latch: true, ..Default::default() };
    world.commit(Command::ResolveIncident(by_hand));
    world.advance(1_200_000);
    // Another verdict is no end of the doubt.
    twice(&mut world, &[2], Outcome::Fail);
    world.advance(1_200_000);
    assert!(world.state.open.is_empty() && world.state.incidents.len() == 1);
    twice(&mut world, &[0, 1, 2], Outcome::Pass);
    world.advance(65_000);
    twice(&mut world, &[0, 1], Outcome::Fail);
    world.advance(310_000);
    assert_eq!((world.state.open.len(), world.state.incidents.len()), (1, 2));
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
