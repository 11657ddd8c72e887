//! A failure that too few regions see, and a warning, that last.

use super::*;

fn of_kind(world: &World, kind: v1::IncidentKind) -> Vec<v1::Incident> {
    let all = world.state.incidents.values().filter(|incident| incident.kind() == kind);
    all.map(|incident| incident.as_ref().clone()).collect()
}

fn regional(world: &World) -> v1::Incident {
    let [incident] = &of_kind(world, v1::IncidentKind::Regional)[..] else {
        panic!("{:?}", world.state.incidents)
    };
    incident.clone()
}

fn after(seconds: i64) -> Option<v1::Lasting> {
    let after = Some(prost_types::Duration { seconds, nanos: 0 });
    Some(v1::Lasting { after, ..v1::Lasting::default() })
}

/// Says that one region fails, and has the others pass.
fn fails_in_one(members: usize, seconds: i64) -> World {
    let all: Vec<usize> = (0..members).collect();
    let mut world = World::up(members, [&all, &all, &all]);
    world.edit(|check| check.regional = after(seconds));
    twice(&mut world, &[2], Outcome::Fail);
    assert_eq!(world.take(), "degraded");
    world
}

#[test]
fn what_one_region_sees_for_a_while_is_an_incident_of_its_own_until_it_is_well() {
    let mut world = fails_in_one(1, 60);
    world.advance(59_000);
    assert!(world.state.incidents.is_empty(), "it has not lasted yet");
    world.advance(1_000);
    assert_eq!(world.take(), "degraded~");
    let incident = regional(&world);
    assert_eq!(incident.check_name, "checkout");
    let told = crate::core::explain::incident(&incident).join(" ");
    assert!(told.starts_with("checkout fails in some places only since "), "{told}");
    assert!(told.contains("1 of 3 regions fails (2 would make it down)"), "{told}");
    world.advance(300_000);
    assert_eq!(world.take(), "", "it opens once");
    twice(&mut world, &[2], Outcome::Pass);
    assert_eq!(world.take(), "up");
    let incident = regional(&world);
    assert_eq!(incident.cause(), v1::ResolveCause::Recovered);
    let told = crate::core::explain::incident(&incident).join(" ");
    assert!(told.contains("It ended because 3 of 3 regions pass."), "{told}");
}

#[test]
fn the_default_is_five_minutes() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    twice(&mut world, &[2], Outcome::Fail);
    world.advance(299_000);
    assert_eq!(world.take(), "degraded");
    world.advance(1_000);
    assert_eq!(world.take(), "degraded~");
}

#[test]
fn a_check_that_is_down_has_one_incident_and_what_lasted_before_ends_with_it() {
    let mut world = fails_in_one(1, 10);
    world.advance(11_000);
    assert_eq!(world.take(), "degraded~");
    twice(&mut world, &[1], Outcome::Fail);
    assert_eq!(world.take(), "down!");
    assert_eq!(regional(&world).cause(), v1::ResolveCause::BecameDown);
    world.advance(60_000);
    assert_eq!(of_kind(&world, v1::IncidentKind::Down).len(), 1);
    // While the outage is open the minority that is left is a part of it.
    twice(&mut world, &[1], Outcome::Pass);
    world.advance(60_000);
    assert_eq!(world.take(), "degraded. degraded~", "{:?}", world.state.incidents);
}

#[test]
fn a_new_leader_counts_from_when_it_was_said_and_opens_none_twice() {
    let mut world = fails_in_one(3, 60);
    world.advance(40_000);
    world.kill(0);
    world.lead(1);
    world.advance(19_000);
    assert_eq!(world.take(), "");
    world.advance(1_000);
    assert_eq!(world.take(), "degraded~");
    world.kill(1);
    world.lead(2);
    world.advance(120_000);
    assert_eq!(world.take(), "");
    regional(&world);
}

#[test]
fn silence_neither_opens_nor_ends_it() {
    let mut world = fails_in_one(1, 60);
    for rank in 0..REGIONS {
        world.disconnect(rank, 0);
    }
    world.advance(120_000);
    assert_eq!(world.take(), "unknown");
    assert!(of_kind(&world, v1::IncidentKind::Regional).is_empty());
    // The failing one first: with the two others alone it would be up for a moment.
    for rank in (0..REGIONS).rev() {
        world.connect(rank, 0);
    }
    world.advance(30_000);
    assert_eq!(world.take(), "degraded");
    world.advance(31_000);
    assert_eq!(world.take(), "degraded~");
    for rank in 0..REGIONS {
        world.disconnect(rank, 0);
    }
    world.advance(60_000);
    assert_eq!(world.take(), "unknown");
    assert!(regional(&world).resolved_at.is_none());
}

/// Nothing is heard of anybody for a minute, and then the same as before.
fn falls_silent_for_a_minute(world: &mut World) {
    for rank in 0..REGIONS {
        world.disconnect(rank, 0);
    }
    world.advance(60_000);
    for rank in (0..REGIONS).rev() {
        world.connect(rank, 0);
    }
    world.advance(5_000);
}

#[test]
fn silence_does_not_begin_it_anew_and_does_not_count() {
    let mut world = fails_in_one(1, 300);
    world.advance(240_000);
    falls_silent_for_a_minute(&mut world);
    assert_eq!(world.take(), "unknown degraded", "four minutes and silence are not five");
    world.advance(30_000);
    assert_eq!(world.take(), "");
    world.advance(31_000);
    assert_eq!(world.take(), "degraded~", "one minute more is enough");
    // What has become an incident, and was resolved by hand, does not open again at once.
    let uid = regional(&world).uid;
    world.commit(Command::ResolveIncident(store::ResolveIncident {
        uid,
        by: "ada".into(),
        ..store::ResolveIncident::default()
    }));
    falls_silent_for_a_minute(&mut world);
    world.advance(240_000);
    assert_eq!(world.take(), "unknown degraded");
    // Nor does what was well meanwhile.
    let mut world = fails_in_one(1, 300);
    world.advance(240_000);
    twice(&mut world, &[2], Outcome::Pass);
    twice(&mut world, &[2], Outcome::Fail);
    world.advance(240_000);
    assert_eq!(world.take(), "up degraded");
}

#[test]
fn resolved_by_hand_it_stays_so_until_the_verdict_is_another_one() {
    let mut world = fails_in_one(1, 10);
    world.advance(11_000);
    let uid = regional(&world).uid;
    world.commit(Command::ResolveIncident(store::ResolveIncident {
        uid,
        by: "ada".into(),
        ..store::ResolveIncident::default()
    }));
    world.advance(60_000);
    assert_eq!(world.take(), "degraded~");
    assert_eq!(regional(&world).cause(), v1::ResolveCause::ByHand);
    let verdict = &world.state.verdicts[&CHECK];
    let told = crate::core::explain::verdict(verdict).join(" ");
    assert!(told.contains("none opens until the verdict is another one"), "{told}");
    twice(&mut world, &[2], Outcome::Pass);
    twice(&mut world, &[2], Outcome::Fail);
    world.advance(11_000);
    assert_eq!(world.take(), "up degraded degraded~");
}

#[test]
fn a_check_that_is_paused_ends_it() {
    let mut world = fails_in_one(1, 10);
    world.advance(11_000);
    world.edit(|check| check.enabled = Some(false));
    assert_eq!(regional(&world).cause(), v1::ResolveCause::CheckPaused);
}

#[test]
fn warnings_that_last_are_an_incident_of_another_kind() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    world.edit(|check| check.warning = after(20));
    twice(&mut world, &[0, 1], Outcome::Warn);
    assert_eq!(world.take(), "degraded");
    world.advance(21_000);
    assert_eq!(world.take(), "degraded~");
    let [incident] = &of_kind(&world, v1::IncidentKind::Warning)[..] else { panic!() };
    let told = crate::core::explain::incident(incident).join(" ");
    assert!(told.starts_with("checkout passes with a warning since "), "{told}");
    // A failure of one region comes before the warnings of others: it is something else.
    twice(&mut world, &[2], Outcome::Fail);
    assert_eq!(world.take(), "degraded");
    let [incident] = &of_kind(&world, v1::IncidentKind::Warning)[..] else { panic!() };
    assert_eq!(incident.cause(), v1::ResolveCause::Recovered);
}

#[test]
fn no_incident_of_this_kind_opens_while_a_member_would_not_understand_it() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    world.state.cluster.level = crate::core::state::LASTING_LEVEL - 1;
    world.configure(vec![region(5)]);
    twice(&mut world, &[2], Outcome::Fail);
    world.advance(400_000);
    assert_eq!(world.take(), "degraded");
    assert!(world.state.incidents.is_empty());
    // From the level on it is one, though nothing of the check has changed.
    world.state.cluster.level = crate::core::state::LASTING_LEVEL;
    world.configure(vec![region(6)]);
    world.advance(1_000);
    assert_eq!(world.take(), "degraded~");
    regional(&world);
}

fn contact(number: u8, name: &str) -> store::ConfigChange {
    let meta = meta(Uid::from_bytes([number; 16]), name);
    put(v1::resource::Kind::Contact(v1::Contact {
        meta,
        kind: Some(v1::contact::Kind::Webhook(v1::WebhookContact {
            url: Some(convert::contact::written("https://hook.example")),
            ..v1::WebhookContact::default()
        })),
        ..v1::Contact::default()
    }))
}

/// Each kind tells whom its own `alert` names, and neither whom the check names nor whom the other does.
#[test]
fn whom_regional_alert_and_warning_alert_name_is_told_of_their_own_kind_alone() {
    let with = |seconds, names: &[&str]| {
        let alert = names.iter().map(|&name| name.to_owned()).collect();
        after(seconds).map(|lasting| v1::Lasting { alert, ..lasting })
    };
    let (regional, warning) = (v1::IncidentKind::Regional, v1::IncidentKind::Warning);
    let (fail, warn) = (Outcome::Fail, Outcome::Warn);
    type Row<'r> = (
        Option<v1::Lasting>,
        Option<v1::Lasting>,
        &'r [usize],
        Outcome,
        v1::IncidentKind,
        &'r [&'r str],
    );
    #[rustfmt::skip]
    let table: [Row<'_>; 6] = [
        (with(10, &["eyes"]),        with(10, &[]),       &[2],    fail, regional, &["eyes"]),
        (with(10, &["eyes", "ops"]), with(10, &[]),       &[2],    fail, regional, &["eyes", "ops"]),
        (with(10, &[]),              with(10, &["eyes"]), &[2],    fail, regional, &[]),
        (with(10, &[]),              with(10, &["eyes"]), &[0, 1], warn, warning,  &["eyes"]),
        (with(10, &["eyes"]),        with(10, &["ops"]),  &[0, 1], warn, warning,  &["ops"]),
        (with(10, &["eyes"]),        with(10, &[]),       &[0, 1], warn, warning,  &[]),
    ];
    for (row, (regional, warning, ranks, outcome, kind, told)) in table.into_iter().enumerate() {
        let mut world = World::up(1, [&[0], &[0], &[0]]);
        world.configure(vec![contact(50, "ops"), contact(51, "eyes"), contact(52, "all")]);
        world.edit(|check| {
            check.alert = vec!["all".to_owned()];
            (check.regional, check.warning) = (regional, warning);
        });
        twice(&mut world, ranks, outcome);
        world.advance(11_000);
        let [incident] = &of_kind(&world, kind)[..] else { panic!("{row}") };
        let pages: Vec<&str> =
            incident.deliveries.iter().map(|page| page.contact_name.as_str()).collect();
        assert_eq!(pages, told, "row {row}");
    }
}
