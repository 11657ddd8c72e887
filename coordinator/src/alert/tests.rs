//! From windows as probes send them to incidents and pages, through the shell that looks: a member that
//! leads, on stores in memory.

use parallax_proto::convert::assignment::of_check;
use parallax_proto::v1::resource::Kind;
use prost::Message as _;

use super::*;
use crate::core::configure::{self, Request};
use crate::core::plan::Work;
use crate::core::state::{CheckEntry, LEVEL};
use crate::history::cell::tests::window;
use crate::history::ring::Ring;
use crate::history::{Batch, contract, intake};
use crate::propose::tests::proposer;

const REGIONS: [&str; 3] = ["ap", "eu", "us"];
const MINUTE: i64 = 60;

struct Site {
    proposer: Proposer,
    view: View,
    clock: Arc<MeshClock>,
    history: Arc<Ring>,
    /// Frames of each probe so far.
    frames: u64,
    /// A full minute from which on the test counts.
    zero_s: i64,
    _dirs: [tempfile::TempDir; 2],
}

fn meta(name: &str) -> Option<v1::Meta> {
    Some(v1::Meta { name: name.to_owned(), ..v1::Meta::default() })
}

/// It runs once a second in three regions, and one run in a hundred thousand may fail.
fn shop() -> v1::Check {
    let tcp = v1::TcpStep { address: "shop.example:80".to_owned(), ..v1::TcpStep::default() };
    let step = v1::Step { kind: Some(v1::step::Kind::Tcp(tcp)), ..v1::Step::default() };
    let second = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    v1::Check {
        meta: meta("shop"),
        run: Some(v1::Run { steps: vec![step], timeout: second, ..v1::Run::default() }),
        interval: second,
        regions: REGIONS.map(str::to_owned).to_vec(),
        alert: vec!["ops".to_owned()],
        slo: Some(v1::Slo { target_ppm: 999_990, ..v1::Slo::default() }),
        ..v1::Check::default()
    }
}

impl Site {
    async fn new() -> Self {
        let (proposer, view, dir) = proposer().await;
        let clock_dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(MeshClock::open(clock_dir.path()));
        let zero_s = floor(clock.now(), Duration::from_secs(60)).as_ns() / 1_000_000_000;
        let history = Arc::new(Ring::new(Duration::from_secs(40 * 86_400), usize::MAX));
        let _dirs = [dir, clock_dir];
        let site = Self { proposer, view, clock, history, frames: 0, zero_s, _dirs };
        let init = store::InitCluster {
            mesh: "test".into(),
            level: LEVEL,
            ..store::InitCluster::default()
        };
        site.proposer.write(Origin::default(), Command::InitCluster(init)).await.unwrap();
        let url = Some(parallax_proto::convert::contact::written("https://hook.example"));
        let webhook = v1::WebhookContact { url, ..v1::WebhookContact::default() };
        let ops = v1::Contact {
            meta: meta("ops"),
            kind: Some(v1::contact::Kind::Webhook(webhook)),
            ..v1::Contact::default()
        };
        let mut resources = vec![Kind::Contact(ops), Kind::Check(shop())];
        resources
            .extend(REGIONS.map(|name| {
                Kind::Region(v1::Region { meta: meta(name), ..v1::Region::default() })
            }));
        site.configure(resources).await;
        site
    }

    async fn configure(&self, resources: Vec<Kind>) {
        let namespace = "default".to_owned();
        let request =
            Request { namespace: namespace.clone(), set: namespace.clone(), ..Request::default() };
        let resources = resources.into_iter().map(|kind| v1::Resource { kind: Some(kind) });
        let mut next = 0;
        let new_uid = || {
            next += 1;
            Uid::from_bytes([next; 16])
        };
        let state = self.view.load();
        let draft = configure::draft(&state, &request, resources.collect(), new_uid).unwrap();
        let set = namespace.clone();
        let written =
            self.proposer.write_config(Origin::default(), namespace, set, false, draft.writes);
        written.await.unwrap();
    }

    fn entry(&self) -> Arc<CheckEntry> {
        Arc::clone(self.view.load().check_named("default", "shop").unwrap())
    }

    /// Windows of ten runs each, as each region's probe sends them over these minutes. So many runs fail in
    /// a window of the last of these minutes.
    fn send(&mut self, minutes: std::ops::Range<i64>, failed: [u32; 3]) {
        let entry = self.entry();
        let run = Arc::new(entry.check.run.clone());
        let assignment = Arc::new(of_check(&entry.check, 0, run));
        let work: Work = [(entry.check.uid, assignment)].into_iter().collect();
        let now = contract::at(self.zero_s + minutes.end * MINUTE);
        let fails_at = minutes.end * MINUTE - MINUTE;
        for (region, failed) in REGIONS.into_iter().zip(failed) {
            let starts = (minutes.start * MINUTE..minutes.end * MINUTE).step_by(10);
            let windows: Vec<v1::Window> = starts
                .map(|start| {
                    let failed = if start == fails_at { failed } else { 0 };
                    let uid = entry.check.uid.as_bytes()[0];
                    let encoded = window(uid, self.zero_s + start, 10, 10 - failed, failed);
                    let mut sent = v1::Window::decode(encoded.as_ref()).unwrap();
                    sent.run_digest = entry.check.run_digest.0;
                    sent
                })
                .collect();
            let many = windows.len();
            let first_sequence = self.frames * 10_000 + 1;
            let frame = v1::Windows { first_sequence, windows, replay: false };
            let spool = contract::spool(region, 1);
            let admitted = intake::admit(&work, &spool, frame, now);
            assert_eq!(admitted.windows.len(), many, "{:?}", admitted.refused);
            let batch = Batch { spool, windows: admitted.windows, now, room: None };
            // In memory it is kept at once.
            self.history.append(batch);
        }
        self.frames += 1;
        // The member's clock goes on to when all of it has settled.
        self.clock.not_before(now + Duration::from_secs(20));
    }

    /// One round of a member that has just come to lead, and does not wait between its checks.
    async fn round(&self) {
        let parts = Parts {
            view: self.view.clone(),
            proposer: self.proposer.clone(),
            history: Arc::clone(&self.history) as Arc<dyn History>,
            clock: Arc::clone(&self.clock),
            leadership: self.proposer.node().leadership(),
            budgets: Budgets::default(),
            certificates: Certificates::default(),
            name: "c1".to_owned(),
        };
        let mut rounds = Rounds {
            parts,
            done: BTreeMap::new(),
            counted: BTreeMap::new(),
            streaks: BTreeMap::new(),
            unread: 0,
            spread: Duration::ZERO,
        };
        rounds.round().await;
    }

    fn incidents(&self) -> Vec<v1::Incident> {
        self.view.load().incidents.values().map(|it| it.as_ref().clone()).collect()
    }

    fn budget(&self, failed: u64) {
        let (state, now) = (self.view.load(), self.clock.now());
        let (entry, told) = (self.entry(), Told::default());
        let look = Look::new(self.history.as_ref(), &state, &entry, &told, now);
        assert_eq!(look.budget().unwrap().unwrap().failed, failed);
    }
}

fn pages(incident: &v1::Incident) -> Vec<(&str, v1::PageKind, v1::DeliveryState)> {
    let deliveries = incident.deliveries.iter();
    deliveries.map(|page| (page.contact_name.as_str(), page.kind(), page.state())).collect()
}

/// Three failed runs of two regions within the hour are enough where so few may fail; fewer are chance, and
/// those of one region are its own trouble.
#[tokio::test]
async fn windows_that_burn_the_budget_become_an_incident_and_a_page_and_end_them() {
    for (failed, opens) in
        [([0, 1, 1], false), ([0, 3, 0], false), ([0, 2, 1], true), ([1, 1, 1], true)]
    {
        let mut site = Site::new().await;
        site.send(-60..0, [0, 0, 0]);
        site.round().await;
        assert_eq!(site.incidents(), [], "nothing has failed");
        site.send(0..1, failed);
        site.budget(failed.iter().map(|&failed| u64::from(failed)).sum());
        site.round().await;
        let incidents = site.incidents();
        assert_eq!(!incidents.is_empty(), opens, "{failed:?}: {incidents:?}");
        if opens {
            let [incident] = &incidents[..] else { panic!("one page for one burn: {incidents:?}") };
            assert_eq!((incident.kind(), incident.alert.as_str()), BURN);
            assert_eq!(pages(incident), [OPENED]);
            let burn = incident.alert_opened.as_ref().unwrap().burn.unwrap();
            assert_eq!((burn.long_failed, burn.long_runs), (3, 10_800));
            // Five minutes are quiet, and not for as long again.
            site.send(1..6, [0, 0, 0]);
            site.round().await;
            assert!(site.incidents()[0].resolved_at.is_none());
            site.send(6..12, [0, 0, 0]);
            site.round().await;
            let [incident] = &site.incidents()[..] else { panic!("{:?}", site.incidents()) };
            assert!(incident.resolved_at.is_some());
            assert_eq!(incident.cause(), v1::ResolveCause::AlertCleared);
            let kinds: Vec<v1::PageKind> =
                incident.deliveries.iter().map(|page| page.kind()).collect();
            assert_eq!(kinds, [v1::PageKind::Opened, v1::PageKind::Resolved]);
        }
        site.proposer.node().clone().stop().await;
    }
}

const BURN: (v1::IncidentKind, &str) = (v1::IncidentKind::BurnRate, "slo:1h");
const OPENED: (&str, v1::PageKind, v1::DeliveryState) =
    ("ops", v1::PageKind::Opened, v1::DeliveryState::Pending);
