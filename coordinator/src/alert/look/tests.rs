//! From windows to incidents and pages: history in memory, the state as it is applied.

use std::sync::Arc;

use parallax_common::name::Uid;
use parallax_common::time::UtcTime;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::resource::Kind;
use prost::Message as _;

use super::*;
use crate::core::configure::{self, Request};
use crate::core::explain;
use crate::core::state::{Answer, LEVEL, may_resolve};
use crate::history::cell::tests::window;
use crate::history::contract;
use crate::history::ring::Ring;
use crate::history::{Batch, Record};

mod certificates;
mod options;

const REGIONS: [&str; 3] = ["ap", "eu", "us"];

/// A cluster of one check with its history. A second of mesh time is one of UTC.
struct World {
    state: State,
    history: Ring,
    sequence: u64,
    incidents: u32,
}

fn meta(name: &str) -> Option<v1::Meta> {
    Some(v1::Meta { name: name.to_owned(), ..v1::Meta::default() })
}

fn check(alerts: &[(&str, &str)], slo: Option<&str>) -> v1::Check {
    let http = v1::HttpStep { url: "http://shop.example".to_owned(), ..v1::HttpStep::default() };
    let step = v1::Step { kind: Some(v1::step::Kind::Http(http)), ..v1::Step::default() };
    let length = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let alert = |(name, when): &(&str, &str)| v1::Alert {
        name: (*name).to_owned(),
        when: (*when).to_owned(),
        ..v1::Alert::default()
    };
    v1::Check {
        meta: meta("shop"),
        run: Some(v1::Run { steps: vec![step], timeout: length(1), ..v1::Run::default() }),
        interval: length(1),
        regions: REGIONS.map(str::to_owned).to_vec(),
        alert: vec!["ops".to_owned()],
        alerts: alerts.iter().map(alert).collect(),
        slo: slo.map(|target| v1::Slo {
            target_ppm: parallax_common::alert::percent::parse(target).unwrap(),
            ..v1::Slo::default()
        }),
        ..v1::Check::default()
    }
}

impl World {
    fn new(check: v1::Check) -> Self {
        let history = Ring::new(Duration::from_secs(40 * 86_400), usize::MAX);
        let mut world = Self { state: State::default(), history, sequence: 0, incidents: 0 };
        let init = store::InitCluster {
            mesh: "test".into(),
            level: LEVEL,
            ..store::InitCluster::default()
        };
        world.apply(0, Command::InitCluster(init));
        let url = v1::Secret {
            value: Some(v1::secret::Value::Template("https://hook.example".to_owned())),
        };
        let webhook = v1::WebhookContact { url: Some(url), ..v1::WebhookContact::default() };
        let contact = v1::Contact {
            meta: meta("ops"),
            kind: Some(v1::contact::Kind::Webhook(webhook)),
            ..v1::Contact::default()
        };
        let mut resources = vec![Kind::Contact(contact)];
        resources
            .extend(REGIONS.map(|name| {
                Kind::Region(v1::Region { meta: meta(name), ..v1::Region::default() })
            }));
        world.configure(resources);
        world.configure(vec![Kind::Check(check)]);
        world
    }

    fn apply(&mut self, second: i64, command: Command) -> Answer {
        let entry = store::Entry {
            utc_ns: second * 1_000_000_000,
            command: Some(command),
            ..store::Entry::default()
        };
        let applied = self.state.apply(self.state.applied + 1, &entry.encode_to_vec());
        // What a store holds reads back as the same.
        let again = State::from_rows(self.state.to_rows(), self.state.applied).unwrap();
        assert_eq!(again.to_rows(), self.state.to_rows());
        assert_eq!(again.alerts, self.state.alerts);
        applied.answer
    }

    fn configure(&mut self, resources: Vec<Kind>) {
        let request = Request {
            namespace: "default".to_owned(),
            set: "default".to_owned(),
            ..Request::default()
        };
        let resources = resources.into_iter().map(|kind| v1::Resource { kind: Some(kind) });
        let mut next = u8::try_from(self.state.applied).unwrap() * 10;
        let new_uid = || {
            next += 1;
            Uid::from_bytes([next; 16])
        };
        let draft = configure::draft(&self.state, &request, resources.collect(), new_uid).unwrap();
        let commit = store::CommitConfig {
            namespace: request.namespace,
            set: request.set,
            changes: draft.writes,
            ..store::CommitConfig::default()
        };
        let answer = self.apply(0, Command::CommitConfig(commit));
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    }

    fn entry(&self) -> std::sync::Arc<CheckEntry> {
        std::sync::Arc::clone(self.state.check_named("default", "shop").unwrap())
    }

    /// Windows of ten runs each over so many minutes, each with so many failures in each region.
    fn run(&mut self, minutes: std::ops::Range<i64>, failed: [u32; 3]) {
        let uid = self.entry().check.uid;
        for (region, failed) in REGIONS.into_iter().zip(failed) {
            let mut windows = Vec::new();
            for start in (minutes.start * 60..minutes.end * 60).step_by(10) {
                self.sequence += 1;
                let record = Record {
                    check: uid,
                    digest: self.entry().check.run_digest,
                    start: contract::at(start),
                    end: contract::at(start + 10),
                    unassigned: false,
                    encoded: window(uid.as_bytes()[0], start, 10, 10 - failed, failed).into(),
                };
                windows.push((self.sequence, record));
            }
            let spool = contract::spool(region, 1);
            let now = contract::at(minutes.end * 60);
            self.history.append(Batch { spool, windows, now, room: None });
        }
    }

    /// Windows of five minutes in `eu`; in every second of them is one run, which fails or does not.
    fn run_seldom(&mut self, slots: std::ops::Range<i64>, fails: bool) {
        let uid = self.entry().check.uid;
        let now = contract::at(slots.end * 600);
        let mut windows = Vec::new();
        for start in slots.map(|slot| slot * 600) {
            self.sequence += 1;
            let (passed, failed) = if fails { (0, 1) } else { (1, 0) };
            let record = Record {
                check: uid,
                digest: self.entry().check.run_digest,
                start: contract::at(start),
                end: contract::at(start + 300),
                unassigned: false,
                encoded: window(uid.as_bytes()[0], start, 300, passed, failed).into(),
            };
            windows.push((self.sequence, record));
        }
        let spool = contract::spool("eu", 1);
        self.history.append(Batch { spool, windows, now, room: None });
    }

    /// What a look at this minute finds; a few seconds later, as windows take their time.
    fn look(&mut self, minute: i64) -> Vec<store::AlertChange> {
        let now = contract::at(minute * 60 + 20);
        let (entry, told) =
            (self.entry(), Told::new(&self.state, UtcTime::from_ns(now.as_ns()) - LONGEST_BACK));
        let mut look = Look::new(&self.history, &self.state, &entry, &told, now);
        let incidents = &mut self.incidents;
        let mut new_uid = || {
            *incidents += 1;
            format!("incident-{incidents}")
        };
        look.alerts(&mut new_uid).unwrap();
        look.burns(&PAIRS.each_ref(), &mut new_uid).unwrap();
        look.found
    }

    fn change(&mut self, minute: i64, changes: Vec<store::AlertChange>) {
        let command = Command::ChangeAlerts(store::ChangeAlerts { changes, node_id: 1 });
        self.apply(minute * 60 + 21, command);
    }

    /// Looks and applies what was found: names of the alerts that turned, and what they did.
    fn turn(&mut self, minute: i64) -> Vec<(String, store::AlertAction)> {
        let found = self.look(minute);
        let turned = found.iter().map(|it| (it.alert.clone(), it.action())).collect();
        self.change(minute, found);
        turned
    }

    fn incident(&self, alert: &str) -> &v1::Incident {
        let mut of = self.state.incidents.values().filter(|incident| incident.alert == alert);
        let incident = of.next_back();
        incident.unwrap_or_else(|| panic!("no incident of {alert}"))
    }
}

use store::AlertAction::{Open, Resolve, Unlatch};

const ERRORS: (&str, &str) = ("errors", "error_rate > 20% over 2m in 2 regions");
const SLOW: (&str, &str) = ("slow", "p95 > 20ms for 2m");

fn turned(alert: &str, action: store::AlertAction) -> (String, store::AlertAction) {
    (alert.to_owned(), action)
}

#[test]
fn an_alert_opens_pages_and_resolves_with_the_numbers_it_saw() {
    let mut world = World::new(check(&[ERRORS, SLOW], None));
    world.run(0..10, [0, 0, 0]);
    assert!(world.turn(10).is_empty());
    world.run(10..12, [0, 5, 3]);
    // Of the share both minutes say so; of the percentile two minutes do not, of three that must.
    assert_eq!(world.turn(12), [turned("errors", Open)]);
    let errors = world.incident("errors").clone();
    assert_eq!(errors.kind(), v1::IncidentKind::ErrorRate);
    assert_eq!(errors.severity(), v1::Severity::Warning);
    let page = &errors.deliveries[0];
    assert_eq!((page.contact_name.as_str(), page.kind()), ("ops", v1::PageKind::Opened));
    assert_eq!((page.claimed_by, page.state()), (1, v1::DeliveryState::Pending));
    let sentences = explain::incident(&errors);
    assert_eq!(
        sentences[..3],
        [
            "shop fails too often (errors) since 1970-01-01 00:12:21 UTC: error_rate > 20% over 2m in 2 \
             regions: it holds in 2 of 3 regions (2 are needed).",
            "At the opening: ap 0 of 120 runs; eu 60 of 120 runs; us 36 of 120 runs.",
            "It resolves when the condition has not held for as long as it has to hold, and for 5 min at \
             least.",
        ]
    );
    world.run(12..13, [0, 5, 3]);
    assert_eq!(world.turn(13), [turned("slow", Open)]);
    let slow = world.incident("slow");
    assert_eq!(slow.kind(), v1::IncidentKind::Latency);
    assert_eq!(
        explain::incident(slow)[1],
        "At the opening: ap 7 ms in 60 samples; eu 50 ms in 60 samples; us 50 ms in 60 samples."
    );
    assert_eq!(
        explain::alert_summary(slow),
        "shop is slow (slow): p95 > 20ms over 1m for 2m in majority of regions; eu 50 ms in 60 samples \
         and us 50 ms in 60 samples"
    );
    world.run(13..20, [0, 0, 0]);
    assert!(world.turn(17).is_empty());
    // At 14 the share of two minutes is too great in one region only, and from 13 on nobody is slow.
    assert!(world.turn(18).is_empty());
    assert_eq!(world.turn(19), [turned("errors", Resolve), turned("slow", Resolve)]);
    let errors = world.incident("errors");
    assert_eq!(errors.cause(), v1::ResolveCause::AlertCleared);
    let sentences = explain::incident(errors);
    let ended = "It resolved because its condition holds no more: ap 0 of 120 runs; eu 0 of 120 runs; us 0 \
                 of 120 runs.";
    assert!(sentences.contains(&ended.to_owned()), "{sentences:#?}");
    let kinds: Vec<v1::PageKind> = errors.deliveries.iter().map(|page| page.kind()).collect();
    assert_eq!(kinds, [v1::PageKind::Opened, v1::PageKind::Resolved]);
    assert!(world.turn(20).is_empty() && world.state.open.is_empty());
}

#[test]
fn of_two_leaders_that_find_the_same_one_is_heard() {
    let mut world = World::new(check(&[ERRORS], None));
    world.run(0..12, [5, 5, 5]);
    let (one, other) = (world.look(12), world.look(12));
    assert_ne!(one[0].incident_uid, other[0].incident_uid);
    world.change(12, one.clone());
    world.change(12, other);
    world.change(12, one);
    assert_eq!(world.state.incidents.len(), 1);
    world.run(12..20, [0, 0, 0]);
    let (one, other) = (world.look(20), world.look(20));
    world.change(20, one);
    let closed = world.incident("errors").clone();
    // Meanwhile it opens anew: what is late does not close that one.
    world.run(20..24, [5, 5, 5]);
    assert_eq!(world.turn(24), [turned("errors", Open)]);
    world.change(24, other);
    assert_eq!(world.state.open.len(), 1);
    assert_eq!(world.state.incidents[&closed.uid].as_ref(), &closed);
}

#[test]
fn what_was_decided_on_another_version_of_the_check_changes_nothing() {
    let mut world = World::new(check(&[ERRORS], None));
    world.run(0..12, [5, 5, 5]);
    let found = world.look(12);
    let edited = v1::Check { title: "The shop".to_owned(), ..check(&[ERRORS], None) };
    world.configure(vec![Kind::Check(edited)]);
    world.change(12, found);
    assert!(world.state.incidents.is_empty());
    assert_eq!(world.turn(12), [turned("errors", Open)]);
}

#[test]
fn an_incident_ends_with_its_alert_and_with_its_check() {
    let paused = |of: v1::Check| v1::Check { enabled: Some(false), ..of };
    for (then, cause) in [
        (check(&[SLOW], None), v1::ResolveCause::AlertRemoved),
        (check(&[("errors.2", ERRORS.1)], None), v1::ResolveCause::AlertRemoved),
        (paused(check(&[ERRORS], None)), v1::ResolveCause::CheckPaused),
    ] {
        let mut world = World::new(check(&[ERRORS], None));
        world.run(0..12, [5, 5, 5]);
        world.turn(12);
        assert_eq!(world.state.open.len(), 1);
        world.configure(vec![Kind::Check(then)]);
        assert!(world.state.open.is_empty() && world.state.alerts.is_empty());
        assert_eq!(world.incident("errors").cause(), cause);
    }
    // An edit of the condition keeps it open; the new one decides from there on.
    let mut world = World::new(check(&[ERRORS], None));
    world.run(0..12, [5, 5, 5]);
    world.turn(12);
    let other = check(&[("errors", "error_rate > 80% over 2m")], None);
    world.configure(vec![Kind::Check(other)]);
    assert_eq!(world.state.open.len(), 1);
    assert_eq!(world.turn(12), [turned("errors", Resolve)]);
}

#[test]
fn what_was_resolved_by_hand_opens_again_only_after_it_was_clear() {
    let mut world = World::new(check(&[ERRORS], None));
    world.run(0..12, [5, 5, 5]);
    world.turn(12);
    let incident = world.incident("errors").clone();
    let refused = may_resolve(&incident, true, false).unwrap_err();
    assert!(refused.message.contains("alert errors of shop has not cleared"), "{refused:?}");
    let resolve = store::ResolveIncident {
        uid: incident.uid.clone(),
        by: "anna".to_owned(),
        latch: true,
        ..store::ResolveIncident::default()
    };
    world.apply(730, Command::ResolveIncident(resolve));
    world.run(12..14, [5, 5, 5]);
    assert!(world.turn(14).is_empty());
    world.run(14..16, [0, 0, 0]);
    assert_eq!(world.turn(16), [turned("errors", Unlatch)]);
    world.run(16..18, [5, 5, 5]);
    assert_eq!(world.turn(18), [turned("errors", Open)]);
}

#[test]
fn an_outage_that_told_the_same_contacts_is_not_told_again() {
    let down = |resolved: Option<i64>, contact: &str| v1::Incident {
        uid: "outage".to_owned(),
        namespace: "default".to_owned(),
        kind: v1::IncidentKind::Down.into(),
        resolved_at: resolved
            .map(|minute| prost_types::Timestamp { seconds: minute * 60, nanos: 0 }),
        deliveries: vec![v1::Delivery {
            contact_name: contact.to_owned(),
            state: v1::DeliveryState::Sent.into(),
            ..v1::Delivery::default()
        }],
        ..v1::Incident::default()
    };
    let in_a_storm = |uid: &str| {
        let mut incident = down(None, "ops");
        incident.deliveries[0].state = v1::DeliveryState::Dropped.into();
        uid.clone_into(&mut incident.deliveries[0].storm_uid);
        incident
    };
    // Its page waits, is on its way, was given up, and was given up when it may have arrived.
    let storm = |state: v1::DeliveryState, ambiguous: bool, pages: u32| v1::Incident {
        uid: "storm".to_owned(),
        kind: v1::IncidentKind::Storm.into(),
        deliveries: vec![v1::Delivery {
            state: state.into(),
            ambiguous,
            number: 1,
            ..v1::Delivery::default()
        }],
        storm: Some(v1::Storm {
            pages,
            members: vec![v1::StormMember {
                incident_uid: "outage".to_owned(),
                since: 1,
                ..v1::StormMember::default()
            }],
            ..v1::Storm::default()
        }),
        ..v1::Incident::default()
    };
    for (storm, opens) in [
        (storm(v1::DeliveryState::Held, false, 0), false),
        (storm(v1::DeliveryState::Pending, false, 1), false),
        (storm(v1::DeliveryState::Sent, false, 1), false),
        (storm(v1::DeliveryState::Dead, false, 1), true),
        (storm(v1::DeliveryState::Dropped, false, 1), true),
        (storm(v1::DeliveryState::Dead, true, 1), false),
    ] {
        let mut world = World::new(check(&[ERRORS], None));
        let check_uid = world.entry().check.uid.to_string();
        let told = v1::Incident { check_uid, ..in_a_storm("storm") };
        world.state.incidents.insert("outage".to_owned(), told.into());
        world.state.incidents.insert("storm".to_owned(), storm.clone().into());
        world.run(0..12, [5, 5, 5]);
        assert_eq!(!world.look(12).is_empty(), opens, "{storm:?}");
    }
    // The look at 12 counts from 10 on.
    for (incident, opens) in [
        (down(None, "ops"), false),
        (in_a_storm("storm"), false),
        (in_a_storm(""), true),
        (down(Some(11), "ops"), false),
        (down(Some(10), "ops"), true),
        (down(None, "somebody-else"), true),
        (v1::Incident { kind: v1::IncidentKind::Latency.into(), ..down(None, "ops") }, true),
    ] {
        let mut world = World::new(check(&[ERRORS], None));
        let check_uid = world.entry().check.uid.to_string();
        let incident = std::sync::Arc::new(v1::Incident { check_uid, ..incident });
        world.state.incidents.insert("outage".to_owned(), incident.clone());
        world.run(0..12, [5, 5, 5]);
        assert_eq!(!world.look(12).is_empty(), opens, "{incident:?}");
    }
}

/// An outage of the check `shop` that lasts, and how far its pages came.
fn outage(world: &World, pages: &[(&str, v1::DeliveryState, bool)]) -> v1::Incident {
    let page = |(contact, state, ambiguous): &(&str, v1::DeliveryState, bool)| v1::Delivery {
        contact_name: (*contact).to_owned(),
        state: (*state).into(),
        ambiguous: *ambiguous,
        ..v1::Delivery::default()
    };
    v1::Incident {
        uid: "outage".to_owned(),
        namespace: "default".to_owned(),
        kind: v1::IncidentKind::Down.into(),
        check_uid: world.entry().check.uid.to_string(),
        deliveries: pages.iter().map(page).collect(),
        ..v1::Incident::default()
    }
}

/// A route to `ops` at once, and to somebody else after a while.
fn route(matcher: &str) -> v1::Route {
    let matcher = parallax_common::matcher::Matcher::parse(matcher).unwrap();
    let step = |seconds, contact: &str| v1::RouteStep {
        after: Some(prost_types::Duration { seconds, nanos: 0 }),
        alert: vec![contact.to_owned()],
        hours: None,
    };
    v1::Route {
        name: "all".to_owned(),
        matchers: vec![parallax_proto::convert::route::matcher_to(&matcher)],
        steps: vec![step(0, "ops"), step(600, "boss")],
        ..v1::Route::default()
    }
}

#[test]
fn an_outage_that_routes_told_is_not_told_again() {
    use v1::DeliveryState::{Dead, Dropped, Held, Pending, Sent};
    // What the route takes, the pages of the outage, whether the alert opens.
    for (matcher, pages, opens) in [
        ("check=shop", &[("ops", Sent, false)][..], false),
        ("check=shop", &[("ops", Pending, false)], false),
        ("check=shop", &[("ops", Dead, true)], false),
        ("check=shop", &[("ops", Dead, false)], true),
        ("check=shop", &[("ops", Dropped, false)], true),
        ("check=shop", &[("ops", Held, false)], true),
        ("check=shop", &[("boss", Sent, false)], true),
        ("check=shop", &[], true),
        // It is the alert's incident that the route takes, or does not.
        ("kind=error_rate", &[("ops", Sent, false)], false),
        ("severity=warning", &[("ops", Sent, false)], false),
        ("kind=down", &[("ops", Sent, false)], true),
    ] {
        let quiet = v1::Check { alert: Vec::new(), ..check(&[ERRORS], None) };
        let mut world = World::new(quiet);
        let meta = meta("settings");
        let routes = vec![route(matcher)];
        let boss = Kind::Contact(v1::Contact {
            meta: self::meta("boss"),
            ..world.state.contact_named("default", "ops").unwrap().clone()
        });
        world.configure(vec![boss]);
        let settings = v1::Settings { meta, routes, ..v1::Settings::default() };
        world.configure(vec![Kind::Settings(settings)]);
        let incident = std::sync::Arc::new(outage(&world, pages));
        world.state.incidents.insert("outage".to_owned(), incident);
        world.run(0..12, [5, 5, 5]);
        assert_eq!(!world.look(12).is_empty(), opens, "{matcher} {pages:?}");
    }
}

#[test]
fn an_outage_that_began_after_the_look_keeps_the_alert_shut() {
    for (contact, opens) in [("ops", false), ("somebody-else", true)] {
        let mut world = World::new(check(&[ERRORS], None));
        world.run(0..12, [5, 5, 5]);
        let found = world.look(12);
        assert_eq!(found.len(), 1);
        let uid = world.entry().check.uid;
        let outage = outage(&world, &[(contact, v1::DeliveryState::Pending, false)]);
        let down = v1::CheckVerdict {
            check_uid: uid.to_string(),
            incident_uid: outage.uid.clone(),
            ..v1::CheckVerdict::default()
        };
        world.state.incidents.insert(outage.uid.clone(), std::sync::Arc::new(outage));
        world.state.verdicts.insert(uid, std::sync::Arc::new(down));
        world.change(12, found);
        let opened = world.state.incidents.values().any(|it| it.alert == "errors");
        assert_eq!(opened, opens, "{contact}");
    }
}

/// A history whose disk refuses from the second question on.
struct Ailing(Ring, std::sync::atomic::AtomicU32);

impl History for Ailing {
    fn gate(&self) -> &std::sync::Arc<tokio::sync::Semaphore> {
        self.0.gate()
    }

    fn append(&self, batch: Batch) -> crate::history::Receipt {
        self.0.append(batch)
    }

    fn acknowledged(&self, spool: &crate::history::Spool) -> Option<u64> {
        self.0.acknowledged(spool)
    }

    fn read(
        &self,
        check: &Uid,
        region: &str,
        from: MeshTime,
        to: MeshTime,
    ) -> Result<Vec<crate::history::Kept>, SegmentError> {
        self.0.read(check, region, from, to)
    }

    fn cells(
        &self,
        question: &Question,
        each: &mut dyn FnMut(&std::sync::Arc<str>, &crate::history::cell::Cell),
    ) -> Result<(), SegmentError> {
        match self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => self.0.cells(question, each),
            _ => Err(SegmentError::Damaged("the disk is ill")),
        }
    }

    fn stats(&self) -> crate::history::Stats {
        self.0.stats()
    }
}

#[test]
fn what_was_found_before_the_disk_refused_is_kept() {
    let mut world = World::new(check(&[ERRORS], Some("99%")));
    world.run(0..12, [5, 5, 5]);
    let (entry, told) = (world.entry(), Told::default());
    let history = Ailing(world.history, 0.into());
    let mut look = Look::new(&history, &world.state, &entry, &told, contract::at(12 * 60 + 20));
    let due = Due { alerts: true, pairs: PAIRS.iter().collect(), budget: true };
    let said = look.all(&due, &mut || "incident".to_owned());
    assert!(said.is_err());
    let found: Vec<&str> = look.found.iter().map(|change| change.alert.as_str()).collect();
    assert_eq!(found, ["errors"]);
}

#[test]
fn a_burn_of_a_check_that_runs_every_ten_minutes_in_one_region_ends() {
    let mut of = v1::Check { regions: vec!["eu".to_owned()], ..check(&[], Some("99%")) };
    of.interval = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    let mut world = World::new(of);
    world.run_seldom(0..12, false);
    assert!(world.turn(120).is_empty());
    world.run_seldom(12..15, true);
    assert_eq!(world.turn(150), [turned("slo:1h", Open)]);
    let burn = world.incident("slo:1h").alert_opened.clone().unwrap().burn.unwrap();
    assert_eq!(burn.short.unwrap().seconds, 1_200, "two intervals");
    assert_eq!((burn.long_runs, burn.long_failed, burn.short_runs), (6, 3, 2));
    let mut ended = None;
    for slot in 15..30 {
        world.run_seldom(slot..slot + 1, false);
        for minute in [slot * 10 + 5, slot * 10 + 10] {
            if !world.turn(minute).is_empty() {
                ended.get_or_insert(minute);
            }
        }
    }
    // The last failure began at 140. From 160 on spans of 20 min are without one, over as long again.
    assert_eq!(ended, Some(185));
    assert!(world.state.open.is_empty());
}

#[test]
fn a_budget_that_burns_fast_is_told_once_and_by_the_fastest_pair() {
    let mut world = World::new(check(&[], Some("99%")));
    world.run(0..600, [0, 0, 0]);
    assert!(world.turn(600).is_empty());
    // Then 30 % in two regions: 20 % of all, 14.4 % are too fast over an hour.
    world.run(600..630, [0, 3, 3]);
    assert!(world.look(630).is_empty(), "half an hour is 10 % of the hour");
    world.run(630..660, [0, 3, 3]);
    assert_eq!(world.turn(660), [turned("slo:1h", Open)]);
    let incident = world.incident("slo:1h").clone();
    assert_eq!(incident.kind(), v1::IncidentKind::BurnRate);
    assert_eq!(incident.severity(), v1::Severity::Critical);
    assert_eq!(incident.deliveries.len(), 1);
    let sentences = explain::incident(&incident);
    assert_eq!(
        sentences[0],
        "shop spends its error budget too fast since 1970-01-01 11:00:21 UTC: with a target of 99% the \
         last 60 min burn 20 times as fast as they may (2160 of 10800 runs failed, in 2 regions), and the \
         last 5 min 20 times (180 of 900); 14.4 is too fast."
    );
    world.run(660..672, [0, 0, 0]);
    assert!(world.turn(665).is_empty(), "five minutes are quiet, and not for as long again");
    assert_eq!(world.turn(670), [turned("slo:1h", Resolve)]);
    assert!(world.look(672).is_empty(), "the slower ones count what was told just now");
    // One region alone is the region's trouble.
    world.run(672..800, [0, 9, 0]);
    assert!(!world.look(800).iter().any(|it| it.alert == "slo:1h"));
}

#[test]
fn a_slower_pair_tells_those_whom_routes_have_left_out_of_the_faster_one() {
    for (slower, opens) in [("ops", false), ("boss", true)] {
        let mut world = World::new(v1::Check { alert: Vec::new(), ..check(&[], Some("99%")) });
        let boss = Kind::Contact(v1::Contact {
            meta: meta("boss"),
            ..world.state.contact_named("default", "ops").unwrap().clone()
        });
        world.configure(vec![boss]);
        let to = |name: &str, severity: &str, contact: &str| {
            let mut route = route(&format!("severity={severity}"));
            (route.name, route.steps[0].alert) = (name.to_owned(), vec![contact.to_owned()]);
            route.steps.truncate(1);
            route
        };
        let routes = vec![to("fast", "critical", "ops"), to("slow", "warning", slower)];
        let meta = meta("settings");
        world.configure(vec![Kind::Settings(v1::Settings {
            meta,
            routes,
            ..v1::Settings::default()
        })]);
        world.run(0..660, [0, 0, 0]);
        // All that fails burns at once as fast as any pair is about.
        world.run(660..1_080, [0, 9, 9]);
        let found: Vec<String> = world.look(1_080).into_iter().map(|it| it.alert).collect();
        let slow = PAIRS.iter().find(|pair| pair.severity == v1::Severity::Warning).unwrap();
        assert!(found.contains(&"slo:1h".to_owned()), "{found:?}");
        assert_eq!(found.contains(&slow.name.to_owned()), opens, "{found:?}");
        // Nor does it open behind one that is open already and told only others.
        let fast: Vec<_> =
            world.look(1_080).into_iter().filter(|it| it.alert == "slo:1h").collect();
        world.change(1_080, fast);
        let found: Vec<String> = world.look(1_081).into_iter().map(|it| it.alert).collect();
        assert_eq!(found.contains(&slow.name.to_owned()), opens, "{found:?}");
    }
}

#[test]
fn a_slow_burn_is_found_over_days_with_an_edge_at_the_hour() {
    let mut world = World::new(check(&[], Some("90%")));
    // 12 % fail in all regions: 1.2 times as fast as 10 % may. Windows have whole runs: 1 of 10, and
    // now and then 2.
    world.run(0..75 * 60, [1, 1, 1]);
    assert!(world.turn(75 * 60).is_empty(), "exactly as fast as it may");
    world.run(75 * 60..82 * 60, [2, 1, 1]);
    assert_eq!(world.turn(82 * 60), [turned("slo:3d", Open)]);
    assert_eq!(world.incident("slo:3d").severity(), v1::Severity::Warning);
    let entry = world.entry();
    let now = contract::at(82 * 3_600 + 20);
    let told = Told::default();
    let look = Look::new(&world.history, &world.state, &entry, &told, now);
    let budget = look.budget().unwrap().unwrap();
    // 82 h of 3 600 runs in each of three regions; a tenth of them, and 360 more an hour in one of them.
    assert_eq!((budget.runs, budget.failed), (885_600, 88_560 + 7 * 360));
    assert_eq!(budget.left_ppm, Some(-28_455));
}
