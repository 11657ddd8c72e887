//! Verdicts, incidents, their pages, and regions that fall silent.

use super::*;

#[test]
fn an_incident_opens_once_pages_once_and_resolves_once() {
    let mut member = configured();
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open.clone());
    let incident = member.only_incident().clone();
    assert_eq!(incident.deliveries.len(), 1);
    assert_eq!(incident.deliveries[0].claimed_by, 1);
    // The same proposal, late: no second incident, but a note in the first.
    member.verdict(open);
    assert_eq!(member.only_incident().deliveries.len(), 1);
    let last = member.only_incident().timeline.last().unwrap().event.clone();
    assert!(matches!(last, Some(v1::timeline_event::Event::VerdictSuperseded(_))));
    let resolve = member.change(store::VerdictAction::Resolve);
    member.verdict(resolve.clone());
    assert!(member.only_incident().resolved_at.is_some());
    assert!(member.state.open.is_empty());
    member.verdict(resolve);
    assert_eq!(member.only_incident().deliveries.len(), 2);
    member.reopen();
    assert_eq!(member.state.pending.len(), 2);
}

#[test]
fn a_verdict_for_an_edited_check_changes_nothing() {
    let mut member = configured();
    let open = member.change(store::VerdictAction::Open);
    let etag = member.etag(Kind::Check, "web");
    member.commit(vec![put(etag, wanted(check("web", 2)))]);
    member.verdict(open);
    assert!(member.state.incidents.is_empty());
}

#[test]
fn pausing_or_deleting_a_check_ends_its_incident_in_the_same_entry_and_says_why() {
    for pause in [true, false] {
        let mut member = configured();
        let open = member.change(store::VerdictAction::Open);
        member.verdict(open);
        let etag = member.etag(Kind::Check, "web");
        let cause = if pause {
            let paused = v1::Check { enabled: Some(false), ..check("web", 1) };
            member.commit(vec![put(etag, wanted(paused))]);
            v1::ResolveCause::CheckPaused
        } else {
            member.commit(vec![delete(etag, "check", "web", false)]);
            v1::ResolveCause::CheckDeleted
        };
        let incident = member.only_incident();
        assert_eq!(incident.cause(), cause);
        assert_eq!(incident.resolved_revision, member.index);
        assert_eq!(incident.deliveries.len(), 2, "the end is told too");
        assert!(member.state.verdicts.is_empty());
    }
}

#[test]
fn a_check_that_becomes_a_canary_ends_its_incident_as_pausing_does() {
    let mut member = configured();
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open.clone());
    let etag = member.etag(Kind::Check, "web");
    let canary = v1::Canary { expect: v1::CanaryAnswer::Fail.into(), ..v1::Canary::default() };
    let canary = |version| {
        let mut canary = v1::Check { canary: Some(canary), ..check("web", version) };
        canary.alert.clear();
        canary
    };
    member.commit(vec![put(etag, wanted(canary(1)))]);
    let incident = member.only_incident();
    assert_eq!(incident.cause(), v1::ResolveCause::CheckPaused);
    assert!(incident.resolved_at.is_some());
    assert_eq!(incident.deliveries.len(), 2, "the end is told too");
    assert!(member.state.verdicts.is_empty() && member.state.open.is_empty());
    // What was decided before changes nothing, and an edit of a canary ends nothing.
    member.verdict(open);
    let seen = member.change(store::VerdictAction::Set);
    member.verdict(seen);
    assert_eq!(member.state.verdicts.len(), 1);
    let etag = member.etag(Kind::Check, "web");
    member.commit(vec![put(etag, wanted(canary(2)))]);
    assert_eq!((member.state.verdicts.len(), member.state.incidents.len()), (1, 1));
}

#[test]
fn doubt_in_a_canary_is_told_to_the_mesh_and_ends_with_the_canary() {
    for ending in ["another verdict", "recovered", "no canary", "paused", "deleted"] {
        let mut member = configured();
        let settings = v1::Settings {
            meta: meta(4, "settings"),
            mesh_alert: vec!["ops".into()],
            ..v1::Settings::default()
        };
        member.commit(vec![put(0, v1::resource::Kind::Settings(settings))]);
        let expect = v1::CanaryAnswer::Fail.into();
        let canary = v1::Canary { expect, ..v1::Canary::default() };
        let canary = v1::Check { canary: Some(canary), alert: vec![], ..check("web", 1) };
        let put_check = |member: &mut Member, check| {
            let etag = member.etag(Kind::Check, "web");
            member.commit(vec![put(etag, wanted(check))]);
        };
        let (open, end) = (store::VerdictAction::OpenDoubt, store::VerdictAction::EndDoubt);
        // Of what is no canary there is no doubt.
        let change = member.change(open);
        member.verdict(change);
        assert!(member.state.incidents.is_empty());
        put_check(&mut member, canary.clone());
        let change = member.change(open);
        member.verdict(change);
        let incident = member.only_incident();
        assert_eq!(incident.kind(), v1::IncidentKind::CanaryInDoubt);
        assert_eq!(incident.severity(), v1::Severity::Warning);
        assert_eq!(incident.deliveries.len(), 1, "whom the mesh names");
        // Nor is it told twice.
        let change = member.change(open);
        member.verdict(change);
        member.reopen();
        assert_eq!((member.state.incidents.len(), member.state.open.len()), (1, 1));
        let cause = match ending {
            "another verdict" => {
                let mut change = member.change(store::VerdictAction::Set);
                let record = change.record.as_mut().unwrap();
                record.verdict = v1::Verdict::Up.into();
                member.verdict(change);
                assert_eq!(member.state.open.len(), 1, "a verdict is no end of doubt");
                continue;
            }
            "recovered" => {
                let change = member.change(end);
                member.verdict(change);
                v1::ResolveCause::Recovered
            }
            "no canary" => {
                put_check(&mut member, check("web", 1));
                v1::ResolveCause::CheckPaused
            }
            "paused" => {
                put_check(&mut member, v1::Check { enabled: Some(false), ..canary });
                v1::ResolveCause::CheckPaused
            }
            _ => {
                let etag = member.etag(Kind::Check, "web");
                member.commit(vec![delete(etag, "check", "web", false)]);
                v1::ResolveCause::CheckDeleted
            }
        };
        let incident = member.only_incident();
        assert_eq!(incident.cause(), cause, "{ending}");
        assert_eq!(incident.deliveries.len(), 2, "{ending}: the end is told too");
        assert!(member.state.open.is_empty(), "{ending}");
    }
}

#[test]
fn an_edit_keeps_the_incident_open_and_is_noted() {
    let mut member = configured();
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open);
    let etag = member.etag(Kind::Check, "web");
    member.commit(vec![put(etag, wanted(check("web", 2)))]);
    let incident = member.only_incident();
    assert!(incident.resolved_at.is_none());
    let last = incident.timeline.last().unwrap().event.clone();
    let Some(v1::timeline_event::Event::CheckEdited(edited)) = last else { panic!("{last:?}") };
    assert!(edited.run_changed && !edited.regions_changed);
}

#[test]
fn a_resolve_by_hand_latches_until_the_check_was_better_once() {
    let mut member = configured();
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open);
    let uid = member.only_incident().uid.clone();
    member.apply(Command::ResolveIncident(store::ResolveIncident {
        uid,
        by: "anna".into(),
        latch: true,
        ..store::ResolveIncident::default()
    }));
    let again = member.change(store::VerdictAction::Open);
    member.verdict(again);
    assert_eq!(member.state.incidents.len(), 1, "latched");
    let mut better = member.change(store::VerdictAction::Set);
    if let Some(record) = &mut better.record {
        record.failing = 0;
        record.verdict = v1::Verdict::Up.into();
    }
    member.verdict(better);
    let again = member.change(store::VerdictAction::Open);
    member.verdict(again);
    assert_eq!(member.state.open.len(), 1, "open again");
}

#[test]
fn a_forced_contact_stays_as_a_tombstone_until_its_incidents_end() {
    let mut member = configured();
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open);
    let key = member.only_incident().deliveries[0].idempotency_key.clone();
    let sent = |key: &str| {
        Command::UpdatePages(store::UpdatePages {
            updates: vec![store::PageUpdate {
                idempotency_key: key.into(),
                state: v1::DeliveryState::Sent.into(),
                attempts: 1,
                ..store::PageUpdate::default()
            }],
        })
    };
    member.apply(sent(&key));
    let etag = member.etag(Kind::Contact, "ops");
    let answer = member.commit(vec![delete(etag, "contact", "ops", true)]);
    assert_eq!(rule(&answer), "accepted");
    assert!(member.state.contact_named("default", "ops").is_none());
    assert_eq!(member.state.contacts.len(), 1, "a tombstone");
    let resolve = member.change(store::VerdictAction::Resolve);
    member.verdict(resolve);
    let end = member.only_incident().deliveries[1].idempotency_key.clone();
    member.apply(sent(&end));
    assert!(member.state.contacts.is_empty(), "nobody needs it any more");
}

#[test]
fn a_page_that_moves_is_told_as_that_page_and_not_as_its_incident() {
    let mut member = configured();
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open);
    let incidents = |member: &Member| {
        member.changed.iter().filter(|change| matches!(change, Changed::Incident(_))).count()
    };
    assert_eq!(incidents(&member), 1, "it opened");
    let key = member.only_incident().deliveries[0].idempotency_key.clone();
    let update = store::PageUpdate {
        idempotency_key: key.clone(),
        state: v1::DeliveryState::Sent.into(),
        attempts: 1,
        ..store::PageUpdate::default()
    };
    member.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
    assert_eq!(incidents(&member), 0);
    let told = member.changed.iter().filter(|change| match change {
        Changed::Delivery(moved, _) => *moved == key,
        _ => false,
    });
    assert_eq!(told.count(), 1);
    assert_eq!(member.only_incident().deliveries[0].state(), v1::DeliveryState::Sent);
}

#[test]
fn every_page_that_another_one_takes_with_it_is_told_too() {
    let mut member = configured();
    for action in [store::VerdictAction::Open, store::VerdictAction::Resolve] {
        let change = member.change(action);
        member.verdict(change);
    }
    let pages = |member: &Member| -> Vec<String> {
        let pages = &member.only_incident().deliveries;
        pages.iter().map(|page| page.idempotency_key.clone()).collect()
    };
    let told = |member: &Member| -> Vec<String> {
        let told = member.changed.iter().filter_map(|change| match change {
            Changed::Delivery(key, _) => Some(key.clone()),
            _ => None,
        });
        told.collect()
    };
    let [opening, end] = pages(&member)[..].to_vec().try_into().unwrap();
    let update = |update: store::PageUpdate| {
        Command::UpdatePages(store::UpdatePages { updates: vec![update] })
    };
    let moved = store::PageUpdate {
        idempotency_key: opening.clone(),
        claimed_from: 1,
        claimed_by: 2,
        ..store::PageUpdate::default()
    };
    member.apply(update(moved));
    assert_eq!(told(&member), [opening.clone(), end.clone()], "one claim for both");
    let sent = |key: &String| store::PageUpdate {
        idempotency_key: key.clone(),
        state: v1::DeliveryState::Sent.into(),
        attempts: 1,
        sent_by: 2,
        ..store::PageUpdate::default()
    };
    member.apply(update(sent(&opening)));
    assert_eq!(told(&member), [opening, end.clone()], "the next one is awaited now");
    // The holder has changed, so that nobody knows for sure: the end is said again.
    member.apply(update(sent(&end)));
    let again = pages(&member).pop().unwrap();
    assert_ne!(again, end);
    assert_eq!(told(&member), [end, again]);
}

#[test]
fn the_end_is_told_to_a_contact_that_was_deleted_while_its_opening_was_in_flight() {
    for resolved_first in [false, true] {
        let mut member = configured();
        let open = member.change(store::VerdictAction::Open);
        member.verdict(open);
        let key = member.only_incident().deliveries[0].idempotency_key.clone();
        let etag = member.etag(Kind::Contact, "ops");
        member.commit(vec![delete(etag, "contact", "ops", true)]);
        assert_eq!(member.only_incident().deliveries[0].state(), v1::DeliveryState::Dropped);
        let resolve = member.change(store::VerdictAction::Resolve);
        if resolved_first {
            member.verdict(resolve.clone());
            assert_eq!(member.only_incident().deliveries.len(), 1);
        }
        // Its answer comes: the page had gone through.
        member.apply(Command::UpdatePages(store::UpdatePages {
            updates: vec![store::PageUpdate {
                idempotency_key: key,
                state: v1::DeliveryState::Sent.into(),
                attempts: 1,
                ..store::PageUpdate::default()
            }],
        }));
        if !resolved_first {
            member.verdict(resolve);
        }
        let incident = member.only_incident();
        let [opening, end] = &incident.deliveries[..] else { panic!("{incident:?}") };
        assert_eq!(opening.state(), v1::DeliveryState::Sent);
        assert_eq!((end.kind(), end.state()), (v1::PageKind::Resolved, v1::DeliveryState::Pending));
        assert!(member.state.pending.contains_key(&end.idempotency_key));
        assert!(!member.state.closed.iter().any(|(_, uid)| *uid == incident.uid), "still needed");
        assert_eq!(member.state.contacts.len(), 1, "a tombstone to send it to");
    }
}

#[test]
fn a_contact_deleted_after_the_end_with_its_opening_in_flight_is_kept_until_that_is_known() {
    let sent = |key: &str| {
        let update = store::PageUpdate {
            idempotency_key: key.to_owned(),
            state: v1::DeliveryState::Sent.into(),
            attempts: 1,
            ..store::PageUpdate::default()
        };
        Command::UpdatePages(store::UpdatePages { updates: vec![update] })
    };
    for known in [true, false] {
        let mut member = configured();
        let open = member.change(store::VerdictAction::Open);
        member.verdict(open);
        let key = member.only_incident().deliveries[0].idempotency_key.clone();
        let resolve = member.change(store::VerdictAction::Resolve);
        member.verdict(resolve);
        let etag = member.etag(Kind::Contact, "ops");
        member.commit(vec![delete(etag, "contact", "ops", true)]);
        let states = |member: &Member| {
            let pages = &member.only_incident().deliveries;
            pages.iter().map(|page| page.state()).collect::<Vec<_>>()
        };
        assert_eq!(states(&member), [v1::DeliveryState::Dropped; 2]);
        assert_eq!(member.state.contacts.len(), 1, "an attempt may be under way");
        member.reopen();
        if known {
            member.apply(sent(&key));
            let expected = [v1::DeliveryState::Sent, v1::DeliveryState::Pending];
            assert_eq!(states(&member), expected);
            let end = member.only_incident().deliveries[1].idempotency_key.clone();
            member.apply(sent(&end));
            assert_eq!(member.state.contacts.len(), 1, "its time is not over");
        }
        // Later some page moves, of whatever incident.
        member.index += 72 * 3_600;
        member.apply(sent("another:contact:opened"));
        assert!(member.state.contacts.is_empty(), "nobody needs it any more");
        member.check_rows();
    }
}

#[test]
fn silence_of_a_region_is_one_incident_that_goes_to_mesh_alert() {
    let mut member = configured();
    let mesh_alert = vec!["ops".into()];
    let settings =
        v1::Settings { meta: meta(4, "settings"), mesh_alert, ..v1::Settings::default() };
    member.commit(vec![put(0, v1::resource::Kind::Settings(settings))]);
    let open = store::VerdictChange {
        namespace: "default".into(),
        region: "eu".into(),
        action: store::VerdictAction::Open.into(),
        incident_uid: "silent-1".into(),
        record: Some(v1::DecisionRecord::default()),
        ..store::VerdictChange::default()
    };
    member.verdict(open.clone());
    member.verdict(store::VerdictChange { incident_uid: "silent-2".into(), ..open.clone() });
    assert_eq!(member.only_incident().deliveries.len(), 1);
    let resolve = store::VerdictChange { action: store::VerdictAction::Resolve.into(), ..open };
    member.verdict(resolve);
    assert_eq!(member.only_incident().cause(), v1::ResolveCause::RegionBack);
    assert!(member.state.silent.is_empty());
}

#[test]
fn a_silent_region_resolved_by_hand_stays_shut_until_it_was_well_once() {
    let mut member = configured();
    let change = |action: store::VerdictAction, uid: &str| store::VerdictChange {
        namespace: "default".into(),
        region: "eu".into(),
        action: action.into(),
        incident_uid: uid.into(),
        record: Some(v1::DecisionRecord::default()),
        ..store::VerdictChange::default()
    };
    let by_hand = |uid: &str, latch| {
        let uid = uid.to_owned();
        Command::ResolveIncident(store::ResolveIncident { uid, latch, ..Default::default() })
    };
    let (open, set) = (store::VerdictAction::Open, store::VerdictAction::Set);
    member.verdict(change(open, "one"));
    member.apply(by_hand("one", true));
    member.reopen();
    member.verdict(change(open, "two"));
    assert_eq!(member.state.incidents.len(), 1, "latched, also after a restart");
    // Nor is there anything to resolve.
    member.verdict(change(store::VerdictAction::Resolve, ""));
    assert!(member.state.silent.values().all(|row| row.latched));
    member.verdict(change(set, ""));
    assert!(member.state.silent.is_empty(), "it was well");
    member.verdict(change(open, "three"));
    assert_eq!(member.state.open.len(), 1);
    // Resolved by hand after it had become well: nothing stays behind.
    member.apply(by_hand("three", false));
    assert!(member.state.silent.is_empty());
    member.verdict(change(open, "four"));
    assert_eq!(member.state.open.len(), 1);
    // `Set` ends latches, not incidents.
    member.verdict(change(set, ""));
    assert_eq!(member.state.open.len(), 1);
}

#[test]
fn an_outdated_region_is_an_incident_beside_its_silence_and_both_end_with_the_region() {
    let mut member = configured();
    let change = |action: store::VerdictAction, uid: &str, outdated| store::VerdictChange {
        namespace: "default".into(),
        region: "eu".into(),
        action: action.into(),
        incident_uid: uid.into(),
        record: Some(v1::DecisionRecord::default()),
        outdated,
        ..store::VerdictChange::default()
    };
    let (open, resolve) = (store::VerdictAction::Open, store::VerdictAction::Resolve);
    member.verdict(change(open, "old", true));
    member.verdict(change(open, "old again", true));
    assert_eq!(member.only_incident().kind(), v1::IncidentKind::RegionOutdated);
    assert_eq!(member.only_incident().severity(), v1::Severity::Warning);
    member.verdict(change(open, "silent", false));
    assert_eq!(member.state.open.len(), 2);
    // Each ends by itself, also after a restart.
    member.reopen();
    member.verdict(change(resolve, "silent", true));
    assert_eq!(member.state.open.len(), 2, "that is the other one");
    member.verdict(change(resolve, "silent", false));
    assert_eq!(member.state.open.len(), 1);
    member.verdict(change(resolve, "old", true));
    assert!(member.state.open.is_empty() && member.state.silent.is_empty());
    // One that is resolved by hand while it lasts is shut, and no other one with it.
    member.verdict(change(open, "third", true));
    let by_hand = store::ResolveIncident { uid: "third".into(), latch: true, ..Default::default() };
    member.apply(Command::ResolveIncident(by_hand));
    member.verdict(change(open, "fourth", true));
    assert!(member.state.open.is_empty());
    member.verdict(change(open, "fifth", false));
    assert_eq!(member.state.open.len(), 1);
    member.verdict(change(store::VerdictAction::Set, "", true));
    member.verdict(change(open, "sixth", true));
    assert_eq!(member.state.open.len(), 2);
}

#[test]
fn an_incident_says_that_its_check_verified_nobody_when_it_opened() {
    let step = |insecure| {
        let mut check = check("web", 2);
        let kind = Some(v1::step::Kind::Tcp(v1::TcpStep {
            address: "127.0.0.1:1".into(),
            tls: true,
            insecure,
            ..v1::TcpStep::default()
        }));
        check.run.as_mut().unwrap().steps[0].kind = kind;
        check
    };
    for (insecure, level, said) in [
        (true, INSECURE_LEVEL, true),
        (false, INSECURE_LEVEL, false),
        // A member of an older build would not keep it.
        (true, INSECURE_LEVEL - 1, false),
    ] {
        let mut member = configured();
        member.state.cluster.level = level;
        let etag = member.etag(Kind::Check, "web");
        member.commit(vec![put(etag, wanted(step(insecure)))]);
        let open = member.change(store::VerdictAction::Open);
        member.verdict(open);
        assert_eq!(member.only_incident().insecure, said, "{insecure} {level}");
        // What the check says later changes nothing about it.
        let etag = member.etag(Kind::Check, "web");
        member.commit(vec![put(etag, wanted(step(!insecure)))]);
        assert_eq!(member.only_incident().insecure, said, "{insecure} {level}");
    }
}
