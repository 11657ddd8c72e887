//! What the cores said, carried out: proposals in few entries, orders at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parallax_common::limits::ENTRY_BYTES_MAX;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::live_response::Frame;
use parallax_proto::{store, v1};
use parallax_runtime::supervisor::TaskKind;
use tracing::{debug, warn};

use super::{About, Judge, Told};
use crate::core::confirm::Order;
use crate::core::engine::{self, Voter};
use crate::core::fleet::{self, ProbeKey, RegionKey};
use crate::propose::Origin;

/// Verdict changes of one entry leave room for the entry around them.
const CHANGES_BYTES_MAX: usize = ENTRY_BYTES_MAX - 8 * 1024;

impl Judge {
    /// Carries out what the cores said: proposals in few entries, orders at once.
    pub(super) fn perform(&mut self, decided: Vec<engine::Output>, moved: Vec<fleet::Output>) {
        let mut verdicts = Vec::new();
        let mut rows = Vec::new();
        for output in decided {
            match output {
                engine::Output::Propose(draft) => {
                    verdicts
                        .push((About::Check(draft.check, draft.proposal), verdict_change(draft)));
                }
                engine::Output::Order { to, order } => self.order(&to, &order),
                engine::Output::Resync(voter) => {
                    warn!(region = voter.region, probe = voter.probe, "live records are missing");
                    self.sessions.end(&voter.region, &voter.probe, voter.incarnation);
                }
            }
        }
        for output in moved {
            match output {
                fleet::Output::Change(proposal, change) => {
                    let (region, probe) = (change.region.clone(), change.probe.clone());
                    let subject = fleet::Subject::Probe(ProbeKey { region, probe });
                    rows.push((About::Fleet(subject, proposal), change));
                }
                fleet::Output::OpenRegion(proposal, key, record) => {
                    let action = store::VerdictAction::Open;
                    verdicts.push(silence(proposal, key, action, new_uid(), record));
                }
                fleet::Output::ResolveRegion(proposal, key, incident, record) => {
                    let action = store::VerdictAction::Resolve;
                    verdicts.push(silence(proposal, key, action, incident, record));
                }
                fleet::Output::UnlatchRegion(proposal, key, record) => {
                    let action = store::VerdictAction::Set;
                    verdicts.push(silence(proposal, key, action, String::new(), record));
                }
                fleet::Output::Supersede { key, old, new } => {
                    self.sessions.supersede(&key.region, &key.probe, old, new);
                }
            }
        }
        self.propose_verdicts(verdicts);
        self.propose_rows(rows);
    }

    fn order(&self, to: &Voter, order: &Order) {
        debug!(region = to.region, count = order.count, "confirmation ordered");
        let frame = Frame::Order(v1::ConfirmOrder {
            order: order.order,
            check_uid: order.check.as_bytes().to_vec().into(),
            run_digest: order.digest.0,
            generation: Some(v1::Generation {
                epoch: order.generation.epoch,
                index: order.generation.index,
            }),
            count: order.count,
            spacing_ns: parallax_common::time::ns(order.spacing),
            expires_ms: u32::try_from(order.expires.as_millis()).unwrap_or(u32::MAX),
        });
        self.sessions.send(&to.region, &to.probe, to.incarnation, frame);
    }

    fn propose_verdicts(&self, changes: Vec<(About, store::VerdictChange)>) {
        for (about, changes) in parts(changes) {
            self.propose(about, self.verdict_command(changes));
        }
    }

    fn propose_rows(&self, rows: Vec<(About, store::FleetChange)>) {
        for (about, changes) in parts(rows) {
            self.propose(about, Command::ChangeFleet(store::ChangeFleet { changes }));
        }
    }

    fn verdict_command(&self, changes: Vec<store::VerdictChange>) -> Command {
        Command::ChangeVerdicts(store::ChangeVerdicts { changes, node_id: self.node_id })
    }

    /// Proposes in a task of its own, and tells the judge how it ended. After a failure it waits
    /// first: deciding again at once would take the time that the store needs to catch up.
    fn propose(&self, about: Vec<About>, command: Command) {
        let proposer = self.proposer.clone();
        let handle = self.handle.clone();
        let origin = Origin::leader(&self.name);
        let failures = Arc::clone(&self.failures);
        let stop = self.supervisor.stop_token();
        self.supervisor.spawn(TaskKind::Session("proposal"), async move {
            match proposer.write(origin, command).await {
                Ok(_) => failures.store(0, Ordering::Relaxed),
                Err(error) => {
                    let in_a_row = failures.fetch_add(1, Ordering::Relaxed);
                    let wait = back_off(in_a_row);
                    warn!(%error, ?wait, "a decision was not committed, deciding again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
            handle.tell(Told::Settled(about)).await;
        });
    }
}

/// The wait after this many failures in a row: 100 ms, doubled up to 2 s.
fn back_off(in_a_row: u32) -> Duration {
    (Duration::from_millis(100) * 2_u32.pow(in_a_row.min(5))).min(Duration::from_secs(2))
}

/// Changes in as few parts as fit into an entry each, in their order.
fn parts<T: prost::Message>(changes: Vec<(About, T)>) -> Vec<(Vec<About>, Vec<T>)> {
    let mut parts: Vec<(Vec<About>, Vec<T>)> = Vec::new();
    let mut room = 0;
    for (about, change) in changes {
        let size = change.encoded_len() + 8;
        if parts.is_empty() || size > room {
            parts.push((Vec::new(), Vec::new()));
            room = CHANGES_BYTES_MAX;
        }
        room = room.saturating_sub(size);
        if let Some((abouts, changes)) = parts.last_mut() {
            abouts.push(about);
            changes.push(change);
        }
    }
    parts
}

fn new_uid() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn verdict_change(draft: engine::VerdictDraft) -> store::VerdictChange {
    let action = match draft.action {
        engine::Action::Set => store::VerdictAction::Set,
        engine::Action::Open => store::VerdictAction::Open,
        engine::Action::Resolve => store::VerdictAction::Resolve,
    };
    store::VerdictChange {
        check_uid: draft.check.to_string(),
        etag: draft.etag,
        run_digest: draft.digest.0,
        expected_sequence: draft.expected_sequence,
        record: Some(draft.record),
        action: action.into(),
        incident_uid: if action == store::VerdictAction::Open { new_uid() } else { String::new() },
        ..store::VerdictChange::default()
    }
}

fn silence(
    proposal: u64,
    key: RegionKey,
    action: store::VerdictAction,
    incident_uid: String,
    record: v1::DecisionRecord,
) -> (About, store::VerdictChange) {
    let change = store::VerdictChange {
        region: key.region.clone(),
        namespace: key.namespace.clone(),
        record: Some(record),
        action: action.into(),
        incident_uid,
        ..store::VerdictChange::default()
    };
    (About::Fleet(fleet::Subject::Region(key), proposal), change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, address: usize) -> (About, store::FleetChange) {
        let key = ProbeKey { region: "eu".to_owned(), probe: name.to_owned() };
        let change = store::FleetChange {
            region: "eu".to_owned(),
            probe: name.to_owned(),
            address: "x".repeat(address),
            ..store::FleetChange::default()
        };
        (About::Fleet(fleet::Subject::Probe(key), 1), change)
    }

    #[test]
    fn changes_are_cut_into_entries_that_fit_and_none_is_lost() {
        let rows: Vec<_> = (0..2_000).map(|n| row(&format!("p{n}"), 400)).collect();
        let parts = parts(rows);
        assert!(parts.len() > 1);
        let mut seen = 0;
        for (about, changes) in parts {
            assert_eq!(about.len(), changes.len());
            seen += changes.len();
            let command = Command::ChangeFleet(store::ChangeFleet { changes });
            let entry = store::Entry { command: Some(command), ..store::Entry::default() };
            assert!(prost::Message::encoded_len(&entry) < ENTRY_BYTES_MAX);
        }
        assert_eq!(seen, 2_000);
    }

    #[test]
    fn waits_after_failures_grow_and_stay_bounded() {
        let waits: Vec<u128> = (0..8).map(|n| back_off(n).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    }
}
