use super::*;
use crate::core::table::{columns, lines};

fn at(second: u64) -> UtcTime {
    UtcTime::from_ns(1_700_000_000_000_000_000) + Duration::from_secs(second)
}

fn length(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[test]
fn the_first_openings_go_out_and_the_rest_is_one_too_many() {
    let mut rows = 0;
    for line in lines(include_str!("openings.txt")) {
        let [rule, written, expected] = columns(line);
        let (over, within) = rule.split_once(" in ").unwrap();
        let over: u32 = over.parse().unwrap();
        let rule = StormRule { over, within: length(within.parse().unwrap()) };
        let mut kept = Vec::new();
        let mut said = String::new();
        for opening in written.split_whitespace() {
            let (check, second) = opening.split_at(1);
            let (many, next) = count(&rule, &kept, check, at(second.parse().unwrap()));
            assert!(next.len() <= over as usize, "what is kept is bounded");
            kept = next;
            said.push(if many { 'x' } else { '.' });
        }
        assert_eq!(said, expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 9, "all of them");
}

fn member(uid: &str, labels: &[(&str, &str)], failing: &[&str]) -> Incident {
    let ballot = |region: &&str| v1::Ballot {
        region: (*region).to_owned(),
        state: BallotState::Fail.into(),
        ..v1::Ballot::default()
    };
    let ballots = failing.iter().map(ballot).collect();
    Incident {
        uid: uid.to_owned(),
        kind: IncidentKind::Down.into(),
        check_name: format!("check-{uid}"),
        severity: Severity::Warning.into(),
        labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        opened_by: Some(v1::DecisionRecord { ballots, ..v1::DecisionRecord::default() }),
        ..Incident::default()
    }
}

fn gathering() -> Incident {
    let meta = v1::Meta { uid: "ops-uid".into(), name: "ops".into(), ..v1::Meta::default() };
    let contact = Contact { meta: Some(meta), ..Contact::default() };
    let rule = StormRule { over: 3, within: length(30) };
    open("storm".into(), &contact, &rule, (1, 7), at(0))
}

#[test]
fn a_storm_has_what_all_of_its_members_have_and_is_as_bad_as_the_worst() {
    let mut storm = gathering();
    let (eu, us) = ("eu", "us");
    join(&mut storm, &member("a", &[("team", "pay"), ("tier", "1")], &[eu, us]), at(1));
    assert_eq!(storm.labels.len(), 2);
    let worse = Incident {
        severity: Severity::Critical.into(),
        ..member("b", &[("team", "pay"), ("tier", "2")], &[us])
    };
    join(&mut storm, &worse, at(1));
    assert_eq!(storm.labels, [("team".to_owned(), "pay".to_owned())].into());
    assert_eq!(storm.severity(), Severity::Critical);
    let of = storm.storm.clone().unwrap();
    assert_eq!((of.kind(), of.regions, of.gathered), (IncidentKind::Down, vec!["us".into()], 2));
    let slow = Incident { kind: IncidentKind::Latency.into(), ..member("c", &[], &[us]) };
    join(&mut storm, &slow, at(2));
    assert_eq!(storm.storm.as_ref().map(Storm::kind), Some(IncidentKind::Unspecified));
}

#[test]
fn so_many_are_named_and_all_are_counted() {
    let mut storm = gathering();
    for n in 0..STORM_MEMBERS_MAX + 5 {
        join(&mut storm, &member(&n.to_string(), &[], &[]), at(1));
    }
    let of = storm.storm.unwrap();
    assert_eq!(
        (of.members.len(), of.gathered as usize),
        (STORM_MEMBERS_MAX, STORM_MEMBERS_MAX + 5)
    );
}

#[test]
fn a_page_says_the_same_whatever_comes_after_it() {
    let mut storm = gathering();
    for uid in ["a", "b"] {
        join(&mut storm, &member(uid, &[], &[]), at(1));
    }
    seal(&mut storm, 1, at(30));
    let opening = as_told(storm.storm.as_ref().unwrap(), 1);
    join(&mut storm, &member("c", &[], &[]), at(31));
    member_ended(storm.storm.as_mut().unwrap(), "a", ResolveCause::Recovered, at(32));
    assert_eq!(due(&storm), Some(at(61)), "who joins is told sooner than an end");
    let told = as_told(storm.storm.as_ref().unwrap(), 1);
    assert_eq!((told.gathered, told.ended, &told.members), (2, 0, &opening.members));
    // The opening still waits: nothing is written beside it.
    let contact = Contact::default();
    tell(&mut storm, Some(&contact), 1, at(61));
    assert_eq!((storm.deliveries.len(), due(&storm)), (1, Some(at(361))));
    storm.deliveries[0].state = DeliveryState::Sent.into();
    tell(&mut storm, Some(&contact), 1, at(361));
    assert_eq!((storm.deliveries.len(), due(&storm)), (2, None));
    assert!(storm.deliveries[1].idempotency_key.ends_with(":storm/2"));
    let told = as_told(storm.storm.as_ref().unwrap(), 2);
    let shown: Vec<(&str, bool)> =
        told.members.iter().map(|it| (it.incident_uid.as_str(), it.ended > 0)).collect();
    assert_eq!((told.gathered, told.ended), (3, 1));
    assert_eq!(shown, [("a", true), ("b", false), ("c", false)]);
}

#[test]
fn who_joins_after_the_first_page_changes_neither_what_names_the_storm_nor_what_was_said() {
    let mut storm = gathering();
    for uid in ["a", "b"] {
        join(&mut storm, &member(uid, &[("team", "pay")], &["eu", "us"]), at(1));
    }
    seal(&mut storm, 1, at(30));
    let (labels, severity) = (storm.labels.clone(), storm.severity);
    let worse = Incident {
        severity: Severity::Critical.into(),
        kind: IncidentKind::Latency.into(),
        ..member("c", &[("team", "search")], &["us"])
    };
    join(&mut storm, &worse, at(31));
    assert_eq!((&storm.labels, storm.severity), (&labels, severity));
    let first = as_told(storm.storm.as_ref().unwrap(), 1);
    assert_eq!((first.kind(), first.regions.len()), (IncidentKind::Down, 2));
    storm.deliveries[0].state = DeliveryState::Sent.into();
    tell(&mut storm, Some(&Contact::default()), 1, at(61));
    let second = as_told(storm.storm.as_ref().unwrap(), 2);
    let us = vec!["us".to_owned()];
    assert_eq!((second.kind(), second.regions), (IncidentKind::Unspecified, us));
}

#[test]
fn only_what_is_well_again_has_recovered() {
    use ResolveCause as By;
    #[rustfmt::skip]
    let table: [(&[By], (u32, u32), By); 5] = [
        (&[By::Recovered, By::AlertCleared], (0, 0), By::Recovered),
        (&[By::Recovered, By::CheckPaused, By::CheckDeleted], (2, 2), By::CheckDeleted),
        (&[By::ByHand, By::Recovered], (1, 0), By::ByHand),
        (&[By::BecameDown], (1, 0), By::BecameDown),
        (&[By::AlertRemoved, By::ByHand], (2, 1), By::ByHand),
    ];
    for (ends, counted, why) in table {
        let mut of = Storm { gathered: 9, ..Storm::default() };
        ends.iter().for_each(|by| member_ended(&mut of, "a", *by, at(1)));
        assert_eq!(((of.not_recovered, of.unwatched), cause(&of)), (counted, why), "{ends:?}");
    }
}

#[test]
fn a_contact_that_cannot_be_reached_costs_an_entry_in_five_minutes_at_most() {
    let mut storm = gathering();
    join(&mut storm, &member("a", &[], &[]), at(1));
    seal(&mut storm, 1, at(30));
    join(&mut storm, &member("b", &[], &[]), at(31));
    let mut looks = 0;
    while let Some(due) = due(&storm).filter(|due| *due < at(3_600)) {
        tell(&mut storm, Some(&Contact::default()), 1, due);
        looks += 1;
    }
    assert_eq!((looks, storm.deliveries.len()), (12, 1));
}
