//! What the judge asks for: what is done at once, and proposals in few entries.

use parallax_common::limits::ENTRY_BYTES_MAX;
use parallax_common::name::{Incarnation, Uid};
use parallax_common::record::Order;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};

use crate::core::engine::{self, Voter};
use crate::core::fleet::{self, ProbeKey, RegionKey, Trouble};

/// Verdict changes of one entry leave room for the entry around them.
const CHANGES_BYTES_MAX: usize = ENTRY_BYTES_MAX - 8 * 1024;

/// What a proposal was about, and its number at the core that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A check's verdict.
    Check(Uid, u64),
    /// A probe's row or a region's incident.
    Fleet(fleet::Subject, u64),
}

/// Something to be done at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Send an order to a probe, by whatever session reaches it.
    Order {
        /// To whom.
        to: Voter,
        /// What to run.
        order: Order,
    },
    /// Records are missing: end the session with this number, so that the next one starts with a snapshot.
    Resync(Voter, u64),
    /// Ask this life of a probe for everything once more, by whatever session it is heard.
    Ask(Voter),
    /// Tell this life of a probe to go and not come back, wherever it is connected.
    Supersede {
        /// Whose.
        key: ProbeKey,
        /// The life that must go.
        old: Incarnation,
        /// The one that took over.
        new: Incarnation,
    },
}

/// One command to propose. However it ends, that is told by [`super::Input::Settled`].
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// What it is about.
    pub about: Vec<About>,
    /// What to propose.
    pub command: Command,
}

/// What follows from the facts that were told, until somebody does it.
#[derive(Debug, Default)]
pub struct Outputs {
    /// In their order.
    pub acts: Vec<Act>,
    /// [`super::Judge::plan`] is another one.
    pub plan_changed: bool,
    verdicts: Vec<(About, store::VerdictChange)>,
    rows: Vec<(About, store::FleetChange)>,
}

impl Outputs {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.acts.is_empty()
            && !self.plan_changed
            && self.verdicts.is_empty()
            && self.rows.is_empty()
    }

    /// Takes the proposals, as few as fit into an entry each: of this member, and with a uid from
    /// `new_uid` for every incident that opens.
    pub fn proposals(
        &mut self,
        node_id: u64,
        mut new_uid: impl FnMut() -> String,
    ) -> Vec<Proposal> {
        let mut verdicts = std::mem::take(&mut self.verdicts);
        for (_, change) in &mut verdicts {
            use store::VerdictAction::{Open, OpenDoubt, OpenLasting};
            if matches!(change.action(), Open | OpenLasting | OpenDoubt) {
                change.incident_uid = new_uid();
            }
        }
        let verdicts = parts(verdicts).into_iter().map(|(about, changes)| {
            let command = Command::ChangeVerdicts(store::ChangeVerdicts { changes, node_id });
            Proposal { about, command }
        });
        let rows = parts(std::mem::take(&mut self.rows)).into_iter().map(|(about, changes)| {
            Proposal { about, command: Command::ChangeFleet(store::ChangeFleet { changes }) }
        });
        verdicts.chain(rows).collect()
    }

    /// Sorts what the cores said.
    pub(super) fn take(&mut self, decided: Vec<engine::Output>, moved: Vec<fleet::Output>) {
        for output in decided {
            match output {
                engine::Output::Propose(draft) => {
                    let about = About::Check(draft.check, draft.proposal);
                    self.verdicts.push((about, verdict_change(draft)));
                }
                engine::Output::Order { to, order } => self.acts.push(Act::Order { to, order }),
                engine::Output::Resync(voter, session) => {
                    self.acts.push(Act::Resync(voter, session));
                }
                // Once for all checks that are learnt at once.
                engine::Output::Ask(voter) => {
                    let ask = Act::Ask(voter);
                    if !self.acts.contains(&ask) {
                        self.acts.push(ask);
                    }
                }
            }
        }
        for output in moved {
            match output {
                fleet::Output::Change(proposal, change) => {
                    let (region, probe) = (change.region.clone(), change.probe.clone());
                    let subject = fleet::Subject::Probe(ProbeKey { region, probe });
                    self.rows.push((About::Fleet(subject, proposal), change));
                }
                fleet::Output::OpenRegion(proposal, key, trouble, record) => {
                    let action = store::VerdictAction::Open;
                    self.region(proposal, (key, trouble), action, String::new(), record);
                }
                fleet::Output::ResolveRegion(proposal, key, trouble, incident, record) => {
                    let action = store::VerdictAction::Resolve;
                    self.region(proposal, (key, trouble), action, incident, record);
                }
                fleet::Output::UnlatchRegion(proposal, key, trouble, record) => {
                    let action = store::VerdictAction::Set;
                    self.region(proposal, (key, trouble), action, String::new(), record);
                }
                fleet::Output::Supersede { key, old, new } => {
                    self.acts.push(Act::Supersede { key, old, new });
                }
            }
        }
    }

    fn region(
        &mut self,
        proposal: u64,
        (key, trouble): (RegionKey, Trouble),
        action: store::VerdictAction,
        incident_uid: String,
        record: v1::DecisionRecord,
    ) {
        let change = store::VerdictChange {
            region: key.region.clone(),
            namespace: key.namespace.clone(),
            record: Some(record),
            action: action.into(),
            incident_uid,
            outdated: trouble == Trouble::Outdated,
            ..store::VerdictChange::default()
        };
        self.verdicts.push((About::Fleet(fleet::Subject::Region(key), proposal), change));
    }
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

/// The wire form; an incident that opens has no uid yet.
fn verdict_change(draft: engine::VerdictDraft) -> store::VerdictChange {
    let action = match draft.action {
        engine::Action::Set => store::VerdictAction::Set,
        engine::Action::Open => store::VerdictAction::Open,
        engine::Action::Resolve => store::VerdictAction::Resolve,
        engine::Action::OpenLasting => store::VerdictAction::OpenLasting,
        engine::Action::OpenDoubt => store::VerdictAction::OpenDoubt,
        engine::Action::EndDoubt => store::VerdictAction::EndDoubt,
    };
    store::VerdictChange {
        check_uid: draft.check.to_string(),
        etag: draft.etag,
        run_digest: draft.digest.0,
        expected_sequence: draft.expected_sequence,
        record: Some(draft.record),
        action: action.into(),
        ..store::VerdictChange::default()
    }
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
        let mut outputs = Outputs { rows, ..Outputs::default() };
        let proposals = outputs.proposals(1, String::new);
        assert!(proposals.len() > 1);
        let mut seen = 0;
        for Proposal { about, command } in proposals {
            let Command::ChangeFleet(fleet) = &command else { panic!("{command:?}") };
            assert_eq!(about.len(), fleet.changes.len());
            seen += fleet.changes.len();
            let entry = store::Entry { command: Some(command), ..store::Entry::default() };
            assert!(prost::Message::encoded_len(&entry) < ENTRY_BYTES_MAX);
        }
        assert_eq!(seen, 2_000);
        assert!(outputs.is_empty(), "they are taken once");
    }

    #[test]
    fn only_an_incident_that_opens_is_given_a_uid() {
        let draft = |action| store::VerdictChange { action, ..store::VerdictChange::default() };
        let about = || About::Check(Uid::from_bytes([1; 16]), 1);
        let actions = [
            store::VerdictAction::Set,
            store::VerdictAction::Open,
            store::VerdictAction::Resolve,
            store::VerdictAction::Open,
        ];
        let verdicts = actions.iter().map(|action| (about(), draft((*action).into()))).collect();
        let mut outputs = Outputs { verdicts, ..Outputs::default() };
        let mut drawn = 0;
        let proposals = outputs.proposals(7, || {
            drawn += 1;
            format!("u{drawn}")
        });
        let [Proposal { command: Command::ChangeVerdicts(changes), .. }] = &proposals[..] else {
            panic!("{proposals:?}")
        };
        assert_eq!(changes.node_id, 7);
        let uids: Vec<_> = changes.changes.iter().map(|c| c.incident_uid.as_str()).collect();
        assert_eq!(uids, ["", "u1", "", "u2"]);
    }
}
