//! Outages, and a leader that decides them: incidents open and resolve through the commands of
//! production, with the check's version and the verdict's sequence that the leader saw.

use parallax_coordinator::core::state::State;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};

use crate::api::{self, Context};
use crate::node;
use crate::wire::Origin;
use crate::world::{Event, World};

/// How often the leader looks.
const LOOK_US: u64 = 250_000;

impl World {
    /// An outage begins or ends.
    pub(crate) fn flip_outage(&mut self) {
        if self.is_calm() {
            self.failing = false;
            return;
        }
        self.failing = !self.failing;
        let lasts_us = self.mischief.between(1_500_000, 7_000_000);
        self.after(lasts_us, Event::Outage);
    }

    /// The leader proposes what follows from the outage, as long as nothing of its own is under way.
    pub(crate) fn judge(&mut self) {
        self.after(LOOK_US, Event::Judge);
        let Some(id) = self.leader() else { return };
        let instant = node::instant(self.base, self.now_us);
        let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.paused) else { return };
        let utc_ns = node.utc_ns(self.now_us);
        let Some(process) = &mut node.process else { return };
        if process.busy_until_us > self.now_us {
            return;
        }
        if let Some(answer) = &mut process.deciding
            && matches!(answer.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty))
        {
            return;
        }
        let state = process.view.load();
        let uid = self.uids.word();
        let changes = decide(&state, self.failing, uid);
        process.deciding = None;
        if changes.is_empty() {
            return;
        }
        let mut context = Context {
            member: &mut process.member,
            view: &process.view,
            node: id,
            now_us: self.now_us,
            instant,
            utc_ns,
            chance: &mut self.uids,
            counters: &mut self.counters,
        };
        let command = Command::ChangeVerdicts(store::ChangeVerdicts { changes, node_id: id });
        process.deciding = Some(api::propose_here(command, Origin::default(), &mut context));
        self.turn(id);
    }
}

/// What is to change for every check, when all of them fail or none does.
fn decide(state: &State, failing: bool, uid: u64) -> Vec<store::VerdictChange> {
    let mut changes = Vec::new();
    for (number, entry) in state.checks.values().enumerate() {
        let check = &entry.check;
        let verdict = state.verdicts.get(&check.uid);
        let is_open = verdict.is_some_and(|verdict| !verdict.incident_uid.is_empty());
        let (action, verdict_now) = match (is_open, failing) {
            (false, true) => (store::VerdictAction::Open, v1::Verdict::Down),
            (true, false) => (store::VerdictAction::Resolve, v1::Verdict::Up),
            _ => continue,
        };
        let record = v1::DecisionRecord {
            verdict: verdict_now.into(),
            failing: u32::from(failing),
            ..v1::DecisionRecord::default()
        };
        changes.push(store::VerdictChange {
            check_uid: check.uid.to_string(),
            etag: check.etag,
            run_digest: check.run_digest.0,
            expected_sequence: verdict.map_or(0, |verdict| verdict.sequence),
            record: Some(record),
            action: action.into(),
            incident_uid: format!("incident-{uid:016x}-{number}"),
            ..store::VerdictChange::default()
        });
    }
    changes
}
