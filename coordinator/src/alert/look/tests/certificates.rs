//! From windows that say when a certificate ends to incidents and pages.

use parallax_common::limits::CERT_FRESH_MIN;
use parallax_common::time::MeshTime;
use parallax_proto::convert::assignment::of_check;

use super::*;
use crate::alert::certificates::Certificates;
use crate::core::plan::Work;
use crate::history::intake;

const DAY_S: i64 = 86_400;

/// A cluster of one check over TLS, and one of its members.
struct Site {
    world: World,
    certificates: Certificates,
    streaks: BTreeMap<String, Streak>,
}

impl Site {
    fn new(when: &str) -> Self {
        let mut check = check(&[("cert", when)], None);
        let kind = &mut check.run.as_mut().unwrap().steps[0].kind;
        let Some(v1::step::Kind::Http(http)) = kind else { panic!("made above") };
        http.url = "https://shop.example".to_owned();
        let (certificates, streaks) = (Certificates::default(), BTreeMap::new());
        Self { world: World::new(check), certificates, streaks }
    }

    /// Windows of ten seconds that end with a minute: what each region is shown ends with the day.
    fn shown(&mut self, minute: i64, days: [Option<i64>; 3]) {
        let entry = self.world.entry();
        let run = Arc::new(entry.check.run.clone());
        let assignment = Arc::new(of_check(&entry.check, 0, run));
        let work: Work = [(entry.check.uid, assignment)].into_iter().collect();
        for (region, days) in REGIONS.into_iter().zip(days) {
            let start_s = minute * 60 - 10;
            let encoded = window(entry.check.uid.as_bytes()[0], start_s, 10, 10, 0);
            let mut sent = v1::Window::decode(encoded.as_ref()).unwrap();
            sent.not_after_s = days.map(|days| days * DAY_S);
            sent.run_digest = entry.check.run_digest.0;
            let frame = v1::Windows { first_sequence: 1, windows: vec![sent], replay: false };
            let spool = contract::spool(region, 1);
            let admitted = intake::admit(&work, &spool, frame, contract::at(minute * 60));
            assert_eq!(admitted.windows.len(), 1, "{:?}", admitted.refused);
            self.certificates.take(&spool.region, admitted.sights);
        }
    }

    /// What a look of this member finds.
    fn look(&mut self, minute: i64, leads: bool) -> Vec<store::AlertChange> {
        let now = contract::at(minute * 60 + 20);
        let since = UtcTime::from_ns(now.as_ns()) - LONGEST_BACK;
        let (entry, told) = (self.world.entry(), Told::new(&self.world.state, since));
        let mut look = Look::new(&self.world.history, &self.world.state, &entry, &told, now);
        let due = Due { alerts: leads, ..Due::default() };
        let sights = self.certificates.of(&entry.check.uid);
        let mut new_uid = || format!("incident-{minute}");
        self.streaks = look.certificates(&due, &sights, &self.streaks, &mut new_uid);
        look.all(&due, &mut new_uid).unwrap();
        look.found
    }

    /// Looks and applies what was found: what the alert did.
    fn turn(&mut self, minute: i64) -> Option<store::AlertAction> {
        let found = self.look(minute, true);
        let turned = found.first().map(store::AlertChange::action);
        self.world.change(minute, found);
        turned
    }

    fn explained(&self, now: MeshTime) -> Option<String> {
        let entry = self.world.entry();
        explain::certificate(&entry.check, &self.certificates.of(&entry.check.uid), now)
    }
}

#[test]
fn a_certificate_near_its_end_opens_an_incident_that_ends_after_the_renewal() {
    let mut site = Site::new("cert_days < 14");
    assert_eq!(site.turn(9), None, "nothing was shown yet");
    assert_eq!(site.explained(contract::at(9 * 60)), None);
    site.shown(10, [Some(30), Some(90), None]);
    assert_eq!(site.turn(10), None);
    // One place was forgotten: that of the second region is fresh, the third sees none.
    site.shown(11, [Some(13), Some(90), None]);
    assert_eq!(site.turn(11), Some(Open));
    let incident = site.world.incident("cert").clone();
    assert_eq!(incident.kind(), v1::IncidentKind::Certificate);
    assert_eq!(incident.severity(), v1::Severity::Warning);
    assert_eq!(incident.deliveries.len(), 1);
    assert_eq!(
        explain::alert_summary(&incident),
        "shop is shown a certificate near its end (cert): cert_days < 14 in any region, by \
         shop.example; ap 12 d 23 h left, until 1970-01-14 00:00:00 UTC"
    );
    let sentences = explain::incident(&incident);
    assert_eq!(
        sentences[..3],
        [
            "shop is shown a certificate near its end (cert) since 1970-01-01 00:11:21 UTC: cert_days < \
             14 in any region: it holds in 1 of 3 regions (1 is needed), by shop.example.",
            "At the opening: ap 12 d 23 h left, until 1970-01-14 00:00:00 UTC; eu 89 d 23 h left, until \
             1970-04-01 00:00:00 UTC; us was shown none lately.",
            "It resolves when the condition has not held for as long as it has to hold, and for 5 min at \
             least.",
        ]
    );
    assert_eq!(
        site.explained(contract::at(12 * 60)).unwrap(),
        "Of the certificates shown lately that of shop.example in ap expires first: 12 d 23 h left, until \
         1970-01-14 00:00:00 UTC."
    );
    // What was shown in this span and the one before counts, whatever comes after it.
    site.shown(12, [Some(90), Some(90), None]);
    site.shown(11, [Some(13), Some(13), None]);
    assert!((12..=20).all(|minute| site.turn(minute).is_none()));
    site.shown(21, [Some(90); 3]);
    assert!((21..26).all(|minute| site.turn(minute).is_none()));
    assert_eq!(site.turn(26), Some(Resolve));
    let incident = site.world.incident("cert");
    assert_eq!(incident.cause(), v1::ResolveCause::AlertCleared);
    let ended = "It resolved because its condition holds no more: ap 89 d 23 h left, until 1970-04-01 \
                 00:00:00 UTC; eu 89 d 23 h left, until 1970-04-01 00:00:00 UTC; us 89 d 23 h left, until \
                 1970-04-01 00:00:00 UTC.";
    let sentences = explain::incident(incident);
    assert!(sentences.contains(&ended.to_owned()), "{sentences:#?}");
    let kinds: Vec<v1::PageKind> = incident.deliveries.iter().map(|page| page.kind()).collect();
    assert_eq!(kinds, [v1::PageKind::Opened, v1::PageKind::Resolved]);
}

#[test]
fn a_region_that_sees_nothing_keeps_open_only_what_it_opened() {
    let mut site = Site::new("cert_days < 14");
    site.shown(10, [Some(1), Some(90), None]);
    assert_eq!(site.turn(10), Some(Open));
    // A member that begins only now has not heard what the first region was shown: the incident says it.
    (site.certificates, site.streaks) = (Certificates::default(), BTreeMap::new());
    for minute in 11..40 {
        site.shown(minute, [None, Some(90), None]);
        assert_eq!(site.turn(minute), None, "{minute}");
    }
    // The third one has never seen any: it is waited for as long as a window may take.
    for minute in 40..56 {
        site.shown(minute, [Some(90), Some(90), None]);
        assert_eq!(site.turn(minute), None, "{minute}");
    }
    site.shown(56, [Some(90), Some(90), None]);
    assert_eq!(site.turn(56), Some(Resolve));
    let ended = "It resolved because its condition holds no more: ap 89 d 23 h left, until 1970-04-01 \
                 00:00:00 UTC; eu 89 d 23 h left, until 1970-04-01 00:00:00 UTC; us was shown none lately.";
    let sentences = explain::incident(site.world.incident("cert"));
    assert!(sentences.contains(&ended.to_owned()), "{sentences:#?}");
}

#[test]
fn what_an_earlier_version_was_shown_opens_nothing() {
    let mut site = Site::new("cert_days < 14");
    site.shown(10, [Some(1); 3]);
    let mut edited = site.world.entry().wire.clone();
    edited.run.as_mut().unwrap().timeout = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    let before = site.world.entry().check.run_digest;
    site.world.configure(vec![Kind::Check(edited)]);
    assert_ne!(site.world.entry().check.run_digest, before);
    assert_eq!(site.turn(10), None);
    assert_eq!(site.explained(contract::at(10 * 60)), None);
    site.shown(11, [Some(1); 3]);
    assert_eq!(site.turn(11), Some(Open));
}

#[test]
fn what_expired_says_so_and_what_nobody_sees_any_more_is_not_told() {
    let mut site = Site::new("cert_days < 0 in majority of regions");
    site.shown(60 * 24 * 3, [Some(1), Some(1), Some(90)]);
    assert_eq!(site.turn(60 * 24 * 3), Some(Open));
    assert_eq!(
        explain::alert_summary(site.world.incident("cert")),
        "shop is shown a certificate near its end (cert): cert_days < 0 in majority of regions, by \
         shop.example; ap expired 2 d ago, on 1970-01-02 00:00:00 UTC and eu expired 2 d ago, on \
         1970-01-02 00:00:00 UTC"
    );
    let soon = contract::at(DAY_S * 3) + CERT_FRESH_MIN;
    assert!(site.explained(soon).is_some());
    assert_eq!(site.explained(soon + Duration::from_secs(60)), None);
}

#[test]
fn who_follows_counts_along_and_goes_on_as_the_leader() {
    let mut site = Site::new("cert_days < 14 for 3m");
    for minute in 10..13 {
        site.shown(minute, [Some(1); 3]);
        assert!(site.look(minute, false).is_empty(), "who follows proposes nothing");
    }
    let counted = site.streaks.clone();
    // A member that began only now begins to count.
    site.streaks.clear();
    assert_eq!(site.turn(13), None);
    site.streaks = counted;
    assert_eq!(site.turn(13), Some(Open));
}

#[test]
fn an_outage_that_lasts_tells_of_the_certificate_as_well_and_one_that_is_over_does_not() {
    for (resolved, opens) in [(None, None), (Some(5), Some(Open)), (Some(11), Some(Open))] {
        let mut site = Site::new("cert_days < 14");
        let outage = v1::Incident {
            resolved_at: resolved
                .map(|minute| prost_types::Timestamp { seconds: minute * 60, nanos: 0 }),
            ..outage(&site.world, &[("ops", v1::DeliveryState::Sent, false)])
        };
        site.world.state.incidents.insert("outage".to_owned(), Arc::new(outage));
        site.shown(12, [Some(1); 3]);
        let found = site.look(12, true);
        assert_eq!(found.first().map(store::AlertChange::action), opens, "{resolved:?}");
    }
}
