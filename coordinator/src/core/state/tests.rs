//! What apply does, entry by entry. A small driver stamps entries and keeps the rows that a store
//! would hold, so that every test also proves that rows and memory say the same. Every rule that
//! refuses is broken in `tests/refusals.rs`.

mod bounds;
mod configuration;
mod flap;
mod fleet;
mod incidents;
mod intervals;
mod maintenance;
mod members;
mod pacing;
mod quiet;
mod refusals;
mod requests;
mod routing;
mod storms;

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
use crate::core::quiet::windows;

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
        let second = i64::try_from(self.index + 1).unwrap();
        self.apply_at(request_id, (second, 0), command)
    }

    /// An entry with a stamp of its own: the seconds of UTC and of mesh time.
    fn apply_at(
        &mut self,
        request_id: Option<v1::RequestId>,
        (utc, mesh): (i64, i64),
        command: Command,
    ) -> Answer {
        self.index += 1;
        let entry = store::Entry {
            min_level: LEVEL,
            request_id,
            utc_ns: utc * 1_000_000_000,
            mesh_ns: mesh * 1_000_000_000,
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
        ..v1::Contact::default()
    })
}

fn check(name: &str, timeout_s: i64) -> v1::Check {
    convert::check::normalise_check(v1::Check {
        meta: meta(3, name),
        run: Some(v1::Run {
            steps: vec![v1::Step {
                name: String::new(),
                capture: vec![],
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
    Silence(i64),
    Expire,
    Review,
    Plan(bool),
    Schedule,
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
        (1_i64..8).prop_map(Step::Silence),
        Just(Step::Expire),
        Just(Step::Review),
        any::<bool>().prop_map(Step::Plan),
        Just(Step::Schedule),
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
        Step::Silence(seconds) => {
            let uid = format!("s{}", member.index);
            member.apply(Command::AddSilence(quiet::silence(&uid, seconds)));
        }
        Step::Expire => {
            let Some((uid, _)) = member.state.silences.get_max().cloned() else { return };
            member.apply(quiet::expire(&uid));
        }
        Step::Review => {
            member.apply(Command::ReviewHeld(store::ReviewHeld { node_id: 2 }));
        }
        Step::Plan(true) => {
            let etag = member.etag(Kind::Maintenance, "soon");
            member.commit(vec![put(etag, maintenance::planned(maintenance::window("soon")))]);
        }
        Step::Plan(false) => {
            let etag = member.etag(Kind::Maintenance, "soon");
            member.commit(vec![delete(etag, "maintenance", "soon", false)]);
        }
        Step::Schedule => {
            let due = windows::due(&member.state, member.state.last_utc());
            member.apply(Command::ScheduleMaintenance(store::ScheduleMaintenance { due }));
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
