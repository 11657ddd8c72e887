//! The example of routes by day and by night, applied: who is told of what opens when.

use parallax_common::name::Uid;
use parallax_coordinator::core::configure::{Request, draft};
use parallax_coordinator::core::hours;
use parallax_coordinator::core::state::{Answer, LEVEL, State};
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use prost::Message as _;

use super::{blocks, file};
use crate::config::{Sources, load};

/// Beside the example: a check that pages, and one that is less urgent.
const CHECKS: &str = "
regions: [{name: eu}]
defaults: {interval: 10s, timeout: 3s, regions: [eu]}
checks:
  - {name: shop, tcp: {address: 'shop.example:443'}, labels: {team: payments}}
  - {name: blog, tcp: {address: 'blog.example:443'}, labels: {team: payments}, severity: info}
";

/// A state, and the clock of what is applied.
struct Member {
    state: State,
    index: u64,
    utc_ns: i64,
}

impl Member {
    fn apply(&mut self, command: Command) {
        self.index += 1;
        let entry = store::Entry {
            min_level: LEVEL,
            utc_ns: self.utc_ns,
            command: Some(command),
            ..store::Entry::default()
        };
        let answer = self.state.apply(self.index, &entry.encode_to_vec()).answer;
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    }

    /// With everything that the example and the checks say, at this moment.
    fn new(example: &str, at: &str) -> Self {
        let at: jiff::Timestamp = at.parse().unwrap();
        let utc_ns = i64::try_from(at.as_nanosecond()).unwrap();
        let mut member = Self { state: State::default(), index: 0, utc_ns };
        let (mesh, cluster_id) = ("m".to_owned(), "c".to_owned());
        let init = store::InitCluster { mesh, cluster_id, level: LEVEL, ..Default::default() };
        member.apply(Command::InitCluster(init));
        let loaded = load(Sources::from_texts([("example", example), ("checks", CHECKS)]));
        let loaded = loaded.unwrap_or_else(|wrong| panic!("{:#?}", wrong.diagnostics));
        let resources = loaded.resources.into_iter().map(|it| it.resource).collect();
        let (namespace, set) = ("default".to_owned(), "default".to_owned());
        let request =
            Request { namespace: namespace.clone(), set: set.clone(), ..Default::default() };
        let mut uids = 0;
        let uid = || {
            uids += 1;
            Uid::from_bytes([uids; 16])
        };
        let draft = draft(&member.state, &request, resources, uid).unwrap();
        assert!(!draft.advice.iter().any(|it| it.rule.id.contains("hours")), "{:?}", draft.advice);
        let changes = draft.writes;
        let commit = store::CommitConfig { namespace, set, changes, ..Default::default() };
        member.apply(Command::CommitConfig(commit));
        let rows = hours::due(&member.state, member.state.last_utc());
        assert_eq!(rows.len(), 2);
        member.apply(Command::ScheduleHours(store::ScheduleHours { rows }));
        member
    }

    /// The incident of a check that goes down.
    fn open(&mut self, check: &str) {
        let check = &self.state.check_named("default", check).unwrap().check;
        let verdict = v1::Verdict::Down.into();
        let change = store::VerdictChange {
            check_uid: check.uid.to_string(),
            etag: check.etag,
            run_digest: check.run_digest.0,
            record: Some(v1::DecisionRecord { verdict, failing: 1, ..Default::default() }),
            action: store::VerdictAction::Open.into(),
            incident_uid: "i".to_owned(),
            ..Default::default()
        };
        let command = store::ChangeVerdicts { changes: vec![change], node_id: 1 };
        self.apply(Command::ChangeVerdicts(command));
    }

    /// What a leader does when something is due.
    fn look(&mut self, after_s: i64) {
        self.utc_ns += after_s * 1_000_000_000;
        self.apply(Command::Escalate(store::Escalate { node_id: 1 }));
    }

    /// Routes that took it, and who has a page.
    fn told(&self) -> String {
        let incident = self.state.incidents.get("i").unwrap();
        let routes: Vec<&str> = incident.routed.iter().map(|it| it.route.as_str()).collect();
        let names: Vec<&str> =
            incident.deliveries.iter().map(|page| page.contact_name.as_str()).collect();
        format!("{}: {}", routes.join(" "), names.join(" ")).trim().to_owned()
    }
}

#[test]
fn the_example_of_day_and_night_tells_whom_it_says() {
    let text = file("docs/alerting.md");
    let examples: Vec<String> = blocks(&text)
        .into_iter()
        .filter_map(|(_, _, block)| block.contains("during:").then_some(block))
        .collect();
    let [example] = &examples[..] else { panic!("{} examples", examples.len()) };
    // Berlin is an hour ahead of UTC in November. The check, when it opens, and who is told at once,
    // 20 minutes later and 12 hours later.
    for (check, at, at_once, soon, later) in [
        ("shop", "2026-11-24T10:00:00Z", "day: desk", "day: desk", "day: desk"),
        (
            "shop",
            "2026-11-24T17:00:00Z",
            "night: oncall",
            "night: oncall lead",
            "night: oncall lead",
        ),
        ("shop", "2026-11-24T22:00:00Z", "night: oncall", "night: oncall", "night: oncall"),
        (
            "shop",
            "2026-11-28T10:00:00Z",
            "night: oncall",
            "night: oncall lead",
            "night: oncall lead",
        ),
        ("blog", "2026-11-24T10:00:00Z", "low: desk", "low: desk", "low: desk"),
        ("blog", "2026-11-24T22:00:00Z", "low:", "low:", "low: desk"),
        ("blog", "2026-11-27T22:00:00Z", "low:", "low:", "low:"),
    ] {
        let mut member = Member::new(example, at);
        member.open(check);
        let mut found = vec![member.told()];
        for after_s in [20 * 60, 12 * 3_600 - 20 * 60] {
            member.look(after_s);
            found.push(member.told());
        }
        assert_eq!(found, [at_once, soon, later], "{check} {at}");
    }
}
