//! What apply does, entry by entry. A small driver stamps entries and keeps the rows that a store
//! would hold, so that every test also proves that rows and memory say the same. Every rule that
//! refuses is broken in `tests/refusals.rs`.

mod intervals;
mod members;
mod refusals;

use std::collections::BTreeMap;

use bytes::Bytes;
use parallax_common::limits::{
    STAGED_BYTES_PER_NAMESPACE_MAX, STAGES_MAX, STAGES_PER_NAMESPACE_MAX,
};
use parallax_common::name::Uid;
use parallax_proto::store::entry::Command;
use parallax_proto::{convert, store, v1};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// A state with the store behind it.
#[derive(Default)]
struct Member {
    state: State,
    stored: BTreeMap<Bytes, Bytes>,
    index: u64,
    txns: u64,
    /// What the last entry changed.
    changed: Vec<Changed>,
}

impl Member {
    fn new() -> Self {
        let mut member = Self::default();
        let init = store::InitCluster {
            mesh: "test".into(),
            cluster_id: "c".into(),
            epoch: 1,
            level: LEVEL,
            plan_version: 1,
            members: Vec::new(),
        };
        member.apply(Command::InitCluster(init));
        member
    }

    fn apply(&mut self, command: Command) -> Answer {
        self.apply_as(None, command)
    }

    fn apply_as(&mut self, request_id: Option<v1::RequestId>, command: Command) -> Answer {
        self.index += 1;
        let entry = store::Entry {
            min_level: LEVEL,
            request_id,
            utc_ns: i64::try_from(self.index).unwrap() * 1_000_000_000,
            command: Some(command),
            ..store::Entry::default()
        };
        let applied = self.state.apply(self.index, &entry.encode_to_vec());
        self.changed = applied.changes;
        for row in applied.rows {
            match row.value {
                Some(value) => self.stored.insert(row.key, value),
                None => self.stored.remove(&row.key),
            };
        }
        self.check_rows();
        applied.answer
    }

    /// What was written is what a fresh dump would be.
    fn check_rows(&self) {
        let dumped: BTreeMap<Bytes, Bytes> =
            self.state.to_rows().into_iter().map(|row| (row.key, row.value)).collect();
        let hot: BTreeMap<Bytes, Bytes> = self
            .stored
            .iter()
            .filter(|(key, _)| State::cold(key).is_none())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(dumped, hot);
    }

    fn reopen(&mut self) {
        let rows =
            self.stored.iter().map(|(key, value)| Row { key: key.clone(), value: value.clone() });
        self.state = State::from_rows(rows, self.index).unwrap();
        self.check_rows();
    }

    fn commit(&mut self, changes: Vec<store::ConfigChange>) -> Answer {
        self.commit_as(None, "default", changes)
    }

    fn commit_as(
        &mut self,
        request_id: Option<v1::RequestId>,
        set: &str,
        changes: Vec<store::ConfigChange>,
    ) -> Answer {
        self.txns += 1;
        let txn = format!("t{}", self.txns);
        let part = stage(&txn, 0, "default", changes);
        let digest = ring::digest::digest(&ring::digest::SHA256, &part.encode_to_vec());
        self.apply(Command::StageConfig(part));
        self.apply_as(
            request_id,
            Command::CommitConfig(store::CommitConfig {
                txn,
                parts: 1,
                sha256: Bytes::copy_from_slice(digest.as_ref()),
                namespace: "default".into(),
                set: set.into(),
                take: false,
                ..Default::default()
            }),
        )
    }

    fn verdict(&mut self, change: store::VerdictChange) -> Answer {
        let changes = store::ChangeVerdicts { changes: vec![change], node_id: 1 };
        self.apply(Command::ChangeVerdicts(changes))
    }

    /// A change that fits the state as it is.
    fn change(&self, action: store::VerdictAction) -> store::VerdictChange {
        let check = &self.state.check_named("default", "web").unwrap().check;
        let verdict = match action {
            store::VerdictAction::Resolve => v1::Verdict::Up,
            _ => v1::Verdict::Down,
        };
        store::VerdictChange {
            check_uid: check.uid.to_string(),
            etag: check.etag,
            run_digest: check.run_digest.0,
            expected_sequence: self.state.verdicts.get(&check.uid).map_or(0, |v| v.sequence),
            record: Some(v1::DecisionRecord {
                verdict: verdict.into(),
                failing: if verdict == v1::Verdict::Down { 1 } else { 0 },
                rule: Some(v1::Rule { regions: 1, down_at: 1, up_at: 1, ..v1::Rule::default() }),
                ..v1::DecisionRecord::default()
            }),
            action: action.into(),
            incident_uid: format!("incident-{}", self.index),
            ..store::VerdictChange::default()
        }
    }

    fn only_incident(&self) -> &v1::Incident {
        assert_eq!(self.state.incidents.len(), 1);
        self.state.incidents.values().next().unwrap()
    }

    fn etag(&self, kind: Kind, name: &str) -> u64 {
        let resource = self.state.resource(kind, "default", name);
        resource.as_ref().and_then(config::meta_of).map_or(0, |meta| meta.etag)
    }
}

impl State {
    fn apply_rows(&mut self, command: Command) -> Vec<RowChange> {
        let entry = store::Entry { command: Some(command), ..store::Entry::default() };
        self.apply(self.applied + 1, &entry.encode_to_vec()).rows
    }

    fn apply_command(&mut self, command: Command) -> Answer {
        let entry = store::Entry { command: Some(command), ..store::Entry::default() };
        self.apply(self.applied + 1, &entry.encode_to_vec()).answer
    }
}

fn stage(
    txn: &str,
    part: u32,
    namespace: &str,
    changes: Vec<store::ConfigChange>,
) -> store::StageConfig {
    store::StageConfig { txn: txn.into(), part, changes, namespace: namespace.into() }
}

fn meta(uid: u8, name: &str) -> Option<v1::Meta> {
    Some(v1::Meta {
        uid: Uid::from_bytes([uid; 16]).to_string(),
        namespace: "default".into(),
        name: name.into(),
        set: "default".into(),
        ..v1::Meta::default()
    })
}

fn put(base_etag: u64, kind: v1::resource::Kind) -> store::ConfigChange {
    let resource = v1::Resource { kind: Some(kind) };
    store::ConfigChange {
        base_etag,
        change: Some(store::config_change::Change::Put(resource)),
        force: false,
    }
}

fn delete(base_etag: u64, kind: &str, name: &str, force: bool) -> store::ConfigChange {
    let key =
        store::ResourceKey { kind: kind.into(), namespace: "default".into(), name: name.into() };
    let change = Some(store::config_change::Change::Delete(key));
    store::ConfigChange { base_etag, change, force }
}

fn region(name: &str) -> v1::resource::Kind {
    v1::resource::Kind::Region(v1::Region { meta: meta(1, name), title: String::new() })
}

fn contact(name: &str) -> v1::resource::Kind {
    v1::resource::Kind::Contact(v1::Contact {
        meta: meta(2, name),
        kind: Some(v1::contact::Kind::Webhook(v1::WebhookContact {
            url: Some(v1::Secret {
                value: Some(v1::secret::Value::Template("http://127.0.0.1:1/".into())),
            }),
            ..v1::WebhookContact::default()
        })),
    })
}

fn check(name: &str, timeout_s: i64) -> v1::Check {
    convert::check::normalise_check(v1::Check {
        meta: meta(3, name),
        run: Some(v1::Run {
            steps: vec![v1::Step {
                name: String::new(),
                kind: Some(v1::step::Kind::Tcp(v1::TcpStep {
                    address: "127.0.0.1:1".into(),
                    ..v1::TcpStep::default()
                })),
            }],
            timeout: Some(prost_types::Duration { seconds: timeout_s, nanos: 0 }),
            ..v1::Run::default()
        }),
        interval: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        regions: vec!["eu".into()],
        alert: vec!["ops".into()],
        ..v1::Check::default()
    })
}

fn wanted(check: v1::Check) -> v1::resource::Kind {
    v1::resource::Kind::Check(check)
}

/// A member with a region, a contact and a check that are there at once.
fn configured() -> Member {
    let mut member = Member::new();
    let answer = member.commit(vec![
        put(0, region("eu")),
        put(0, contact("ops")),
        put(0, wanted(check("web", 1))),
    ]);
    assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    member
}

fn rule(answer: &Answer) -> &str {
    match answer {
        Answer::Accepted { .. } => "accepted",
        Answer::Refused(refusal) => &refusal.rule,
    }
}

#[test]
fn an_apply_creates_regions_contacts_and_checks_in_one_entry() {
    let member = configured();
    assert_eq!(member.state.checks.len(), 1);
    assert_eq!(member.etag(Kind::Check, "web"), member.index);
    assert_eq!(member.state.generation().index, member.index);
}

#[test]
fn a_commit_that_was_planned_against_something_else_changes_nothing() {
    let mut member = configured();
    let before = member.etag(Kind::Check, "web");
    let answer =
        member.commit(vec![put(0, region("us")), put(before - 1, wanted(check("web", 2)))]);
    assert_eq!(rule(&answer), "conflict");
    let Answer::Refused(refusal) = answer else { unreachable!() };
    assert_eq!(refusal.subjects, ["check web"]);
    assert!(!member.state.regions.contains_key(&("default".into(), "us".into())));
    assert_eq!(member.etag(Kind::Check, "web"), before);
}

#[test]
fn a_check_may_not_name_what_is_not_there_nor_lose_what_it_names() {
    let mut member = configured();
    let mut lost = check("other", 1);
    lost.meta = meta(9, "other");
    lost.regions = vec!["mars".into()];
    assert_eq!(rule(&member.commit(vec![put(0, wanted(lost))])), "unknown_region");
    let etag = member.etag(Kind::Region, "eu");
    assert_eq!(rule(&member.commit(vec![delete(etag, "region", "eu", false)])), "in_use");
    let etag = member.etag(Kind::Contact, "ops");
    assert_eq!(rule(&member.commit(vec![delete(etag, "contact", "ops", false)])), "in_use");
}

#[test]
fn what_only_a_deleted_check_named_may_go_in_the_same_apply() {
    let mut member = configured();
    let (check, region) = (member.etag(Kind::Check, "web"), member.etag(Kind::Region, "eu"));
    let answer = member
        .commit(vec![delete(region, "region", "eu", false), delete(check, "check", "web", false)]);
    assert_eq!(rule(&answer), "accepted");
    assert!(member.state.checks.is_empty() && member.state.regions.is_empty());
}

#[test]
fn another_set_must_take_a_resource_over_before_it_changes_it() {
    let mut member = configured();
    let etag = member.etag(Kind::Check, "web");
    let answer = member.commit_as(None, "other", vec![put(etag, wanted(check("web", 2)))]);
    assert_eq!(rule(&answer), "other_set");
}

#[test]
fn an_incomplete_or_unknown_stage_is_refused() {
    let mut member = configured();
    let commit = |txn: &str, parts| {
        Command::CommitConfig(store::CommitConfig {
            txn: txn.into(),
            parts,
            namespace: "default".into(),
            set: "default".into(),
            ..store::CommitConfig::default()
        })
    };
    assert_eq!(rule(&member.apply(commit("gone", 1))), "stage_unknown");
    member.apply(Command::StageConfig(stage("half", 0, "default", vec![])));
    assert_eq!(rule(&member.apply(commit("half", 2))), "stage_incomplete");
}

#[test]
fn the_ninth_open_stage_is_refused_and_one_namespace_gets_half_of_them() {
    let mut member = Member::new();
    let open = |namespace: &str, n: usize| {
        Command::StageConfig(stage(&format!("{namespace}{n}"), 0, namespace, vec![]))
    };
    for n in 0..STAGES_PER_NAMESPACE_MAX {
        assert_eq!(rule(&member.apply(open("a", n))), "accepted");
    }
    assert_eq!(rule(&member.apply(open("a", 99))), "namespace_stages");
    // A further part of an open one is no new one.
    assert_eq!(rule(&member.apply(Command::StageConfig(stage("a0", 1, "a", vec![])))), "accepted");
    for n in 0..STAGES_MAX - STAGES_PER_NAMESPACE_MAX {
        assert_eq!(rule(&member.apply(open("b", n))), "accepted");
    }
    assert_eq!(rule(&member.apply(open("c", 0))), "stages_open");
    assert_eq!(member.state.open_stages().len(), member.state.stages.len());
    member.apply(Command::DropStage(store::DropStage { txn: "a0".into() }));
    assert!(!member.state.open_stages().contains(&"a0".to_owned()));
    assert_eq!(rule(&member.apply(open("c", 0))), "accepted");
}

#[test]
fn the_bytes_that_one_namespace_may_stage_are_bounded() {
    let mut member = Member::new();
    let filler = vec![put(0, region(&"x".repeat(8 << 20)))];
    let fits = STAGED_BYTES_PER_NAMESPACE_MAX / (8 << 20) - 1;
    for part in 0..u32::try_from(fits).unwrap() {
        let command = Command::StageConfig(stage("a", part, "a", filler.clone()));
        assert!(matches!(member.state.apply_command(command), Answer::Accepted { .. }));
    }
    let command = |namespace: &str| {
        let part = u32::try_from(fits).unwrap();
        Command::StageConfig(stage(namespace, part, namespace, filler.clone()))
    };
    assert_eq!(rule(&member.state.apply_command(command("a"))), "namespace_staged_bytes");
    // One that is there already, sent again after a lost answer, takes no more room.
    let again = Command::StageConfig(stage("a", 0, "a", filler.clone()));
    for _ in 0..2 {
        assert_eq!(rule(&member.state.apply_command(again.clone())), "accepted");
    }
    assert_eq!(rule(&member.state.apply_command(command("b"))), "accepted");
}

#[test]
fn each_part_of_a_staged_apply_is_a_row_of_its_own() {
    let mut member = Member::new();
    let mut written = Vec::new();
    for part in 0..20 {
        let changes = vec![put(0, region(&format!("{}{part}", "x".repeat(200_000))))];
        let command = Command::StageConfig(stage("large", part, "default", changes));
        written.push(member.state.apply_rows(command));
    }
    for rows in &written {
        let bytes: usize = rows.iter().filter_map(|row| Some(row.value.as_ref()?.len())).sum();
        assert!(bytes < parallax_common::limits::ENTRY_BYTES_MAX, "{bytes} bytes for one part");
    }
    let largest = member.state.to_rows().iter().map(|row| row.value.len()).max();
    assert!(largest.unwrap() < parallax_common::limits::ENTRY_BYTES_MAX);
    // What is loaded again is staged as before, and dropping it leaves nothing.
    let rows = member.state.to_rows();
    let mut again = State::from_rows(rows.clone(), member.state.applied).unwrap();
    assert_eq!(again.to_rows(), rows);
    let command = Command::DropStage(store::DropStage { txn: "large".into() });
    let removed = again.apply_rows(command).iter().filter(|row| row.value.is_none()).count();
    assert_eq!(removed, 21);
    assert_eq!(again.to_rows().len(), 1);
}

#[test]
fn a_repeated_request_gets_its_first_answer_and_is_not_carried_out_again() {
    let mut member = configured();
    let id =
        |number, lowest_open| Some(v1::RequestId { client: "cli".into(), number, lowest_open });
    let first = member.commit_as(id(1, 1), "default", vec![put(0, region("us"))]);
    let etag = member.etag(Kind::Region, "us");
    let again = member.commit_as(id(1, 1), "default", vec![delete(etag, "region", "us", false)]);
    assert_eq!(first, again);
    assert!(member.state.regions.contains_key(&("default".into(), "us".into())));
    member.reopen();
    let again = member.commit_as(id(1, 1), "default", vec![]);
    assert_eq!(first, again);
    member.commit_as(id(2, 2), "default", vec![]);
    assert_eq!(rule(&member.commit_as(id(1, 1), "default", vec![])), "request_late");
}

/// A command that changes nothing, asked for by `actor`.
fn ask(member: &mut Member, id: (&str, u64, u64), actor: &str, digest: u64) -> Answer {
    let (client, number, lowest_open) = id;
    let request = v1::RequestId { client: client.into(), number, lowest_open };
    let actor = v1::Actor { kind: "user".into(), name: actor.into(), role: "edit".into() };
    member.index += 1;
    let entry = store::Entry {
        request_id: Some(request),
        actor: Some(actor),
        request_digest: digest,
        utc_ns: i64::try_from(member.index).unwrap() * 1_000_000_000,
        command: Some(Command::DropStage(store::DropStage { txn: "none".into() })),
        ..store::Entry::default()
    };
    let applied = member.state.apply(member.index, &entry.encode_to_vec());
    for row in applied.rows {
        match row.value {
            Some(value) => member.stored.insert(row.key, value),
            None => member.stored.remove(&row.key),
        };
    }
    member.check_rows();
    applied.answer
}

#[test]
fn a_request_id_that_was_used_for_something_else_is_refused() {
    let mut member = Member::new();
    let first = ask(&mut member, ("c", 1, 1), "anna", 7);
    assert_eq!(ask(&mut member, ("c", 1, 1), "anna", 7), first);
    member.reopen();
    assert_eq!(ask(&mut member, ("c", 1, 1), "anna", 7), first);
    assert_eq!(rule(&ask(&mut member, ("c", 1, 1), "anna", 8)), "request_id_reused");
    assert_eq!(rule(&ask(&mut member, ("c", 1, 1), "boris", 7)), "request_id_reused");
}

#[test]
fn one_client_may_have_64_requests_open() {
    let mut member = Member::new();
    for number in 1..=64 {
        assert_eq!(rule(&ask(&mut member, ("c", number, 1), "anna", 0)), "accepted");
    }
    assert_eq!(rule(&ask(&mut member, ("c", 65, 1), "anna", 0)), "client_request_ids");
    assert_eq!(rule(&ask(&mut member, ("other", 1, 1), "anna", 0)), "accepted");
    // It no longer waits for the first.
    assert_eq!(rule(&ask(&mut member, ("c", 65, 2), "anna", 0)), "accepted");
}

#[test]
fn a_commit_that_is_answered_from_memory_leaves_no_stage_behind() {
    let mut member = configured();
    let id = Some(v1::RequestId { client: "cli".into(), number: 1, lowest_open: 1 });
    let first = member.commit_as(id.clone(), "default", vec![put(0, region("us"))]);
    // The same request while the first was in flight: staged under a name of its own.
    assert_eq!(member.commit_as(id, "default", vec![put(0, region("us"))]), first);
    assert!(member.state.stages.is_empty());
}

#[test]
fn the_clients_of_one_entry_fit_into_it() {
    use parallax_common::limits::{ENTRY_BYTES_MAX, FORGET_CLIENTS_MAX};
    let clients = vec!["c".repeat(64); FORGET_CLIENTS_MAX];
    let command = Command::ForgetClients(store::ForgetClients { clients });
    let entry = store::Entry { command: Some(command), ..store::Entry::default() };
    assert!(entry.encoded_len() < ENTRY_BYTES_MAX / 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_count_of_live_requests_is_what_is_stored(
        steps in proptest::collection::vec((0u8..5, 1u64..20, 0u64..20, 0u8..8), 1..60)
    ) {
        let mut member = Member::new();
        for (client, number, lowest, what) in steps {
            let name = format!("c{client}");
            match what {
                0 => {
                    // Far enough in time that everybody is silent.
                    member.index += 1_000;
                    let clients = vec![name];
                    member.apply(Command::ForgetClients(store::ForgetClients { clients }));
                }
                1 => member.reopen(),
                _ => {
                    ask(&mut member, (&name, number, lowest), "anna", 0);
                }
            }
            prop_assert_eq!(
                member.state.live_requests,
                member.state.clients.values().map(|client| client.to_row("").answers.len()).sum::<usize>()
            );
        }
    }
}

#[test]
fn a_client_that_was_heard_of_is_not_forgotten() {
    let mut member = Member::new();
    ask(&mut member, ("c", 1, 1), "anna", 0);
    let forget = || Command::ForgetClients(store::ForgetClients { clients: vec!["c".into()] });
    member.apply(forget());
    assert_eq!(member.state.live_requests, 1);
    member.index += 900;
    member.apply(forget());
    assert_eq!(member.state.live_requests, 0);
}

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
    let settings = v1::Settings { meta: meta(4, "settings"), mesh_alert: vec!["ops".into()] };
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
fn random_bytes_are_an_answer_and_no_panic() {
    let mut state = State::default();
    for length in 0..64_u8 {
        let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37) ^ length).collect();
        state.apply(u64::from(length) + 1, &bytes);
    }
}

/// What a random client of the log might do.
#[derive(Debug, Clone)]
enum Step {
    Edit(i64),
    Pause,
    Delete,
    Open,
    Resolve,
    ByHand(bool),
    Probe(bool),
    Sent,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_i64..5).prop_map(Step::Edit),
        Just(Step::Pause),
        Just(Step::Delete),
        Just(Step::Open),
        Just(Step::Resolve),
        any::<bool>().prop_map(Step::ByHand),
        any::<bool>().prop_map(Step::Probe),
        Just(Step::Sent),
    ]
}

fn take(member: &mut Member, step: Step) {
    let exists = member.state.check_named("default", "web").is_some();
    let etag = member.etag(Kind::Check, "web");
    match step {
        Step::Edit(timeout) => {
            let mut edited = check("web", timeout);
            if !exists {
                edited.meta = meta(u8::try_from(member.index % 200).unwrap() + 20, "web");
            } else {
                let uid = member.state.check_named("default", "web").unwrap().check.uid;
                edited.meta.as_mut().unwrap().uid = uid.to_string();
            }
            member.commit(vec![put(etag, wanted(edited))]);
        }
        Step::Pause if exists => {
            let uid = member.state.check_named("default", "web").unwrap().check.uid;
            let mut paused = v1::Check { enabled: Some(false), ..check("web", 1) };
            paused.meta.as_mut().unwrap().uid = uid.to_string();
            member.commit(vec![put(etag, wanted(paused))]);
        }
        Step::Delete if exists => {
            member.commit(vec![delete(etag, "check", "web", false)]);
        }
        Step::Open if exists => {
            let change = member.change(store::VerdictAction::Open);
            member.verdict(change);
        }
        Step::Resolve if exists => {
            let change = member.change(store::VerdictAction::Resolve);
            member.verdict(change);
        }
        Step::ByHand(latch) => {
            let Some(uid) = member.state.open.get_min().cloned() else { return };
            let command = store::ResolveIncident { uid, latch, ..Default::default() };
            member.apply(Command::ResolveIncident(command));
        }
        Step::Probe(live) => {
            let state = if live { v1::ProbeState::Live } else { v1::ProbeState::Lost };
            let change = store::FleetChange {
                region: "eu".into(),
                probe: "p1".into(),
                incarnation: 7,
                state: state.into(),
                ..store::FleetChange::default()
            };
            member.apply(Command::ChangeFleet(store::ChangeFleet { changes: vec![change] }));
        }
        Step::Sent => {
            let Some((key, _)) = member.state.pending.get_min().cloned() else { return };
            let update = store::PageUpdate {
                idempotency_key: key,
                state: v1::DeliveryState::Sent.into(),
                attempts: 1,
                ..store::PageUpdate::default()
            };
            member.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
        }
        Step::Pause | Step::Delete | Step::Open | Step::Resolve => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Two members that apply the same entries, one of them restarted now and then, hold the same
    /// rows; and a check never has more than one open incident.
    #[test]
    fn apply_is_deterministic_and_survives_restarts(
        steps in prop::collection::vec((step(), any::<bool>()), 1..40),
    ) {
        let (mut one, mut two) = (configured(), configured());
        for (step, restart) in steps {
            take(&mut one, step.clone());
            take(&mut two, step);
            if restart {
                two.reopen();
            }
            prop_assert_eq!(&one.stored, &two.stored);
            prop_assert!(one.state.open.len() <= 1);
        }
    }
}
