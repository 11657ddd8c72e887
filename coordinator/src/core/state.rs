//! The replicated state: what every member holds after applying the same entries.
//!
//! [`State::apply`] cannot fail and cannot look around: time, ids and the normalised form of every
//! resource arrive inside the entry, and a refused command is an answer, not an error. Maps are
//! ordered and persistent, so that a published view or a snapshot is a cheap clone. Every change
//! leaves through [`Rows`], the one list that the store and the snapshot files are made of.
//!
//! Configuration is in `state/config.rs`, what it names in `state/references.rs`, verdicts and
//! incidents in `state/verdicts.rs`, the fleet in `state/fleet.rs`, deliveries in `state/pages.rs`,
//! alerts on what was measured in `state/alerts.rs`, silences and what they hold in `state/quiet.rs`,
//! maintenance windows in `state/maintenance.rs`, who is told and told again in `state/routing.rs`, their hours in `state/hours.rs`,
//! openings that are told together in `state/storms.rs`,
//! repeated requests in `state/requests.rs`, coordinators in `state/members.rs`, keys and encoding in
//! `state/rows.rs`.

mod alerts;
mod config;
mod fleet;
pub mod hash;
mod hours;
mod intervals;
mod maintenance;
mod members;
mod pacing;
mod pages;
mod quiet;
mod references;
mod regions;
mod requests;
mod restore;
mod routing;
mod rows;
mod storms;
mod verdicts;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use parallax_common::check::Check;
use parallax_common::limits::{REFUSAL_BYTES_MAX, SUBJECTS_MAX};
use parallax_common::name::{Generation, Uid};
use parallax_common::rule::{self, Rule};
use parallax_common::text::cut;
use parallax_common::time::UtcTime;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use prost::Message as _;

pub use self::alerts::is_of_alert;
pub use self::config::{Kind, SettingsName};
pub use self::intervals::LEADERLESS;
pub use self::requests::{Asked, Client, identified};
pub use self::rows::{Damaged, Row, RowChange, Rows, Table};
pub use self::verdicts::{may_resolve, trouble_of};
use crate::core::quiet::Silence;
use crate::core::routing::Routes;
use crate::mutant::{self, Mutant};

/// Entries above this level are not understood by this build. Level 2 has several probes a region,
/// advisory regions, a choice for missing data, probes that may not vote, silences, and kinds of contact
/// beside webhooks: a build below it would plan, count and page otherwise. Level 3 has mail, contacts with a
/// rate and somebody in their place, severities, routes and maintenance windows, checks that depend on others
/// or flap, alerts on what was measured, incidents of what lasts without being down, openings that are
/// told together, canaries, and incidents of outdated regions.
pub const LEVEL: u32 = 3;
/// From this level on probes are excluded from voting.
pub const EXCLUSION_LEVEL: u32 = 2;
/// From this level on contacts may be mail, have a rate and somebody in their place, and what became of
/// each attempt is kept.
pub const MAIL_LEVEL: u32 = 3;
/// From this level on members understand silences, and pages that are held.
pub const QUIET_LEVEL: u32 = 2;
/// The level from which on failures of a minority and warnings that last are incidents.
pub const LASTING_LEVEL: u32 = 3;
/// From this level on checks may be canaries, and doubt in one is an incident.
pub const CANARY_LEVEL: u32 = 3;
/// From this level on a region with outdated probes has an incident.
pub const OUTDATED_LEVEL: u32 = 3;
/// From this level on incidents have a severity, and routes say who is told.
pub const ROUTING_LEVEL: u32 = 3;
/// From this level on routes and their steps have hours.
pub const HOURS_LEVEL: u32 = 3;
/// From this level on many openings for one contact at once are told together.
pub const STORM_LEVEL: u32 = 3;
/// From this level on incidents say that their check verifies nobody.
pub const INSECURE_LEVEL: u32 = 3;
/// From this level on checks have alerts on what was measured, and error budgets.
pub const ALERTS_LEVEL: u32 = 3;
/// From this level on probes may be drained.
pub const DRAIN_LEVEL: u32 = 3;
/// From this level on a leader marks the time, and times without a leader are recorded.
pub const MARKS_LEVEL: u32 = 3;

/// (namespace, name): how people name a resource.
pub type Name = (String, String);

/// A name as a key of what changes often: a persistent map copies the nodes on the way to each change,
/// and keys that are shared cost a count there instead of two strings.
pub type Key = Arc<Name>;

/// A maintenance window as it is stored.
pub type Maintenance = Arc<store::MaintenanceRow>;

/// A check as it is stored and as it is used.
#[derive(Debug, Clone)]
pub struct CheckEntry {
    /// Normalised, as the proposer wrote it.
    pub wire: v1::Check,
    /// The same, checked: never validated again.
    pub check: Arc<Check>,
}

/// Everything that Raft replicates.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Index of the last applied entry.
    pub applied: u64,
    /// The cluster itself; `mesh` is empty before the first entry.
    pub cluster: store::ClusterRow,
    /// Coordinators by node id, removed ones included.
    pub members: OrdMap<u64, Arc<store::MemberRow>>,
    /// By uid.
    pub checks: OrdMap<Uid, Arc<CheckEntry>>,
    /// Uids by name.
    pub check_names: OrdMap<Name, Uid>,
    /// By name.
    pub regions: OrdMap<Key, Arc<v1::Region>>,
    /// By uid, tombstones included.
    pub contacts: OrdMap<String, Arc<store::ContactRow>>,
    /// Tombstones in the order in which they may go: (UTC, uid).
    tombstones: OrdSet<(i64, String)>,
    /// Uids of contacts that are not tombstones.
    pub contact_names: OrdMap<Name, String>,
    /// By namespace.
    pub settings: OrdMap<String, Arc<v1::Settings>>,
    /// By (region, probe).
    pub probes: OrdMap<(String, String), Arc<store::ProbeRow>>,
    /// The committed verdict of each check that has one.
    pub verdicts: OrdMap<Uid, Arc<v1::CheckVerdict>>,
    /// Silent regions, by (namespace, region): those with an open incident, or with a latch.
    pub silent: OrdMap<Name, Arc<store::RegionVerdictRow>>,
    /// Alerts of checks that have opened once, by check and name.
    pub alerts: OrdMap<(Uid, String), Arc<store::AlertRow>>,
    /// By uid: every open incident and the newest closed ones.
    pub incidents: OrdMap<String, Arc<v1::Incident>>,
    /// Incidents that are not resolved.
    pub open: OrdSet<String>,
    /// Closed incidents in the order of their closing: (revision, uid). The oldest leave memory.
    closed: OrdSet<(u64, String)>,
    /// By uid; those that have ended lately among them.
    pub silences: OrdMap<String, Arc<Silence>>,
    /// Maintenance windows by name.
    pub maintenance: OrdMap<Name, Maintenance>,
    /// When the hours of routes are, by what they are called.
    pub hours: OrdMap<String, Arc<store::HoursRow>>,
    /// Open incidents whose opening pages are held, by when they are looked at again: (UTC, uid).
    held: OrdSet<(i64, String)>,
    /// Open incidents with a step or a reminder of a route to come, by when: (UTC, uid).
    routed: OrdSet<(i64, String)>,
    /// Namespaces whose pages carry a link.
    linked: OrdSet<String>,
    /// What signs those links; empty until somebody needs it.
    link_key: Bytes,
    /// The routes of namespaces that have any, compiled.
    routes: OrdMap<String, Arc<Routes>>,
    /// The same by what holds them: (uid of a silence or a check, uid of the incident).
    held_by: OrdSet<(String, String)>,
    /// Pending deliveries: idempotency key to incident.
    pub pending: OrdMap<String, String>,
    /// Clients and their stored answers.
    clients: OrdMap<Arc<str>, Arc<Client>>,
    /// Stored answers of all clients.
    live_requests: usize,
    /// Applies that are staged and not committed.
    stages: OrdMap<String, Arc<config::Stage>>,
}

/// What an entry did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// To be written by the store in the order given.
    pub rows: Vec<RowChange>,
    /// What the proposer is told.
    pub answer: Answer,
    /// What others may want to look at again.
    pub changes: Vec<Changed>,
}

/// What the proposer of an entry is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was carried out at this revision.
    Accepted {
        /// The log index.
        revision: u64,
        /// Uids or names of what it touched, where the caller needs them; the first of them.
        subjects: Vec<String>,
        /// How many resources a commit wrote.
        counts: store::CommitCounts,
    },
    /// It broke a rule and changed nothing.
    Refused(Refusal),
}

/// The rule that a command broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Id from the rule table.
    pub rule: Cow<'static, str>,
    /// In words, with the names that matter.
    pub message: String,
    /// The resources it is about.
    pub subjects: Vec<String>,
}

impl Answer {
    /// Keeps of it what may be stored under a request id, sent and audited, whatever the command was
    /// about. Gives how many subjects are not named any more.
    fn bound(&mut self) -> u32 {
        let subjects = match self {
            Self::Accepted { subjects, .. } => subjects,
            Self::Refused(refusal) => {
                refusal.message.truncate(cut(&refusal.message, REFUSAL_BYTES_MAX).len());
                &mut refusal.subjects
            }
        };
        let more = subjects.len().saturating_sub(SUBJECTS_MAX);
        subjects.truncate(SUBJECTS_MAX);
        u32::try_from(more).unwrap_or(u32::MAX)
    }
}

/// One thing that changed, for the parts that follow the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// A check was created or edited.
    Check(Uid),
    /// A check is gone; its last form.
    CheckGone(Uid, Box<v1::Check>),
    /// A region, contact or settings resource changed.
    Resource(v1::ChangeKind, Box<v1::Resource>),
    /// A probe came, went or changed its incarnation.
    Probe(String, String),
    /// A proposal about this check was applied, whether it changed something or not.
    Verdict(Uid),
    /// A proposal about this region's silence was applied.
    Region(Name),
    /// An incident opened, moved or closed. Not for a delivery that moves.
    Incident(String),
    /// A delivery of an incident is new or moved: (idempotency key, incident).
    Delivery(String, String),
    /// A silence was made, or ended before its time.
    Silence(String),
    /// A coordinator was added, said something new of itself, or was removed.
    Member(u64),
}

/// What a command sees besides the state: the entry's own stamps.
#[derive(Debug, Clone)]
struct Stamp {
    index: u64,
    utc: UtcTime,
    actor: v1::Actor,
}

impl Stamp {
    fn timestamp(&self) -> prost_types::Timestamp {
        parallax_proto::convert::time::timestamp(self.utc)
    }
}

impl State {
    /// The plan's version: changes when a check or the fleet does.
    pub fn generation(&self) -> Generation {
        Generation { epoch: self.cluster.epoch, index: self.cluster.generation_index }
    }

    /// The check with this name.
    pub fn check_named(&self, namespace: &str, name: &str) -> Option<&Arc<CheckEntry>> {
        let uid = self.check_names.get(&(namespace.to_owned(), name.to_owned()))?;
        self.checks.get(uid)
    }

    /// The contact with this name, unless it is a tombstone.
    pub fn contact_named(&self, namespace: &str, name: &str) -> Option<&v1::Contact> {
        let uid = self.contact_names.get(&(namespace.to_owned(), name.to_owned()))?;
        self.contacts.get(uid)?.contact.as_ref()
    }

    /// UTC of the last applied entry.
    pub fn last_utc(&self) -> UtcTime {
        UtcTime::from_ns(self.cluster.last_utc_ns)
    }

    /// The level that an encoded entry needs, when it is above `own`, that of the build: such an entry
    /// must not be applied, nor any after it.
    pub fn above_level(encoded: &[u8], own: u32) -> Option<u32> {
        /// The head of an entry: a newer build may have written anything behind it.
        #[derive(Clone, PartialEq, prost::Message)]
        struct Head {
            #[prost(uint32, tag = "1")]
            min_level: u32,
        }
        let level = Head::decode(encoded).ok()?.min_level;
        (level > own).then_some(level)
    }

    /// The level that a row says the cluster is at, when it is the row that says so.
    pub fn level_of(key: &[u8], value: &[u8]) -> Option<u32> {
        /// All that is needed of the row here; a newer build may have written anything else.
        #[derive(Clone, PartialEq, prost::Message)]
        struct Said {
            #[prost(uint32, tag = "4")]
            level: u32,
        }
        (key == rows::cluster_key()).then(|| Said::decode(value).ok().map(|said| said.level))?
    }

    /// When the encoded entry says which hash the majority has: the index, and the hash as of it.
    pub fn agreed_hash(encoded: &[u8]) -> Option<(u64, u64)> {
        /// All that is needed of an entry here; the rest is passed over.
        #[derive(Clone, PartialEq, prost::Message)]
        struct Said {
            #[prost(message, optional, tag = "51")]
            hash: Option<store::StateHash>,
        }
        let said = Said::decode(encoded).ok()?.hash.filter(|hash| !hash.disputed)?;
        Some((said.index, said.hash))
    }

    /// Applies the encoded entry at `index`, which [`Self::above_level`] has let through.
    ///
    /// Deterministic: the same state and entry give the same state, rows and answer everywhere.
    pub fn apply(&mut self, index: u64, encoded: &[u8]) -> Applied {
        self.applied = index;
        let mut rows = Rows::default();
        let mut changes = Vec::new();
        let answer = match store::Entry::decode(encoded) {
            Ok(entry) => self.apply_entry(index, entry, &mut rows, &mut changes),
            Err(_) => refused(rule::ENTRY_MALFORMED, "the entry cannot be decoded", []),
        };
        // Whatever came of it: the time that it brought counts.
        rows.put(rows::cluster_key(), &self.cluster);
        Applied { rows: rows.into_changes(), answer, changes }
    }

    fn apply_entry(
        &mut self,
        index: u64,
        entry: store::Entry,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let floor = match mutant::on(Mutant::UtcGoesBack) {
            true => i64::MIN,
            false => self.cluster.last_utc_ns,
        };
        let utc = UtcTime::from_ns(entry.utc_ns.max(floor));
        self.cluster.last_utc_ns = utc.as_ns();
        self.cluster.last_mesh_ns = self.cluster.last_mesh_ns.max(entry.mesh_ns);
        self.attend(index, rows);
        let actor = entry.actor.unwrap_or_default();
        let request = entry.request_id.map(|id| Asked {
            id,
            actor: actor.clone(),
            digest: entry.request_digest,
        });
        if let Some(request) = &request {
            let before = match self.replayed(request) {
                Ok(before) => before,
                Err(refusal) => Some(Answer::Refused(refusal)),
            };
            if let Some(answer) = before {
                // What was staged for a commit that is not carried out is of no use to anybody.
                if let Some(Command::CommitConfig(commit)) = &entry.command {
                    self.remove_stage(&commit.txn, rows);
                }
                return answer;
            }
        }
        let disputed = self.cluster.disputed_index;
        if disputed != 0 && !is_taken_in_dispute(entry.command.as_ref()) {
            let message = format!(
                "the members have held different states since entry {disputed}, and no majority the \
                 same one: nothing is written until the cluster is restored from a backup"
            );
            return refused(rule::STATE_DISPUTED, message, []);
        }
        let stamp = Stamp { index, utc, actor };
        let audit = audit_word(entry.command.as_ref());
        let is_announcement = matches!(entry.command, Some(Command::AnnounceMember(_)));
        let mut answer = match entry.command {
            Some(Command::InitCluster(command)) => {
                self.init_cluster(&stamp, command, rows, changes)
            }
            Some(Command::StageConfig(command)) => self.stage(&stamp, command, rows),
            Some(Command::CommitConfig(command)) => self.commit(&stamp, command, rows, changes),
            Some(Command::DropStage(command)) => self.drop_stage(&stamp, &command.txn, rows),
            Some(Command::ChangeVerdicts(command)) => {
                self.change_verdicts(&stamp, command, rows, changes)
            }
            Some(Command::AckIncident(command)) => self.ack(&stamp, command, rows, changes),
            Some(Command::ResolveIncident(command)) => {
                self.resolve_by_hand(&stamp, command, rows, changes)
            }
            Some(Command::ChangeFleet(command)) => {
                self.change_fleet(&stamp, command, rows, changes)
            }
            Some(Command::UpdatePages(command)) => {
                self.update_pages(&stamp, command, rows, changes)
            }
            Some(Command::ForgetClients(command)) => {
                self.forget_clients(&stamp, &command.clients, rows)
            }
            Some(Command::AddSilence(command)) => self.add_silence(&stamp, command, rows, changes),
            Some(Command::ExpireSilence(command)) => {
                self.expire_silence(&stamp, command, rows, changes)
            }
            Some(Command::ReviewHeld(command)) => self.review_held(&stamp, &command, rows, changes),
            Some(Command::Escalate(command)) => self.escalate(&stamp, &command, rows, changes),
            Some(Command::SetLinkKey(command)) => self.set_link_key(&stamp, command, rows),
            Some(Command::ScheduleMaintenance(command)) => {
                self.schedule_maintenance(&stamp, command, rows, changes)
            }
            Some(Command::ScheduleHours(command)) => self.schedule_hours(&stamp, command, rows),
            Some(Command::ChangeAlerts(command)) => {
                self.change_alerts(&stamp, command, rows, changes)
            }
            Some(Command::TrimHistory(command)) => self.trim_history(&stamp, command, rows),
            Some(Command::AddMember(command)) => self.add_member(&stamp, command, rows, changes),
            Some(Command::AnnounceMember(command)) => {
                self.announce_member(&stamp, command, rows, changes)
            }
            Some(Command::RemoveMember(command)) => {
                self.remove_member(&stamp, &command, rows, changes)
            }
            Some(Command::StateHash(command)) => self.hash_agreed(&stamp, &command),
            Some(Command::SetLevel(command)) => self.set_level(&stamp, &command),
            Some(Command::DrainProbe(command)) => self.drain_probe(&stamp, command, rows, changes),
            // That it is there is all it says.
            Some(Command::MarkTime(_)) => accepted(&stamp, []),
            None => refused(rule::ENTRY_UNKNOWN, "this build does not know the command", []),
        };
        self.gather_pages(&stamp, changes, rows);
        self.pace_pages(&stamp, changes, rows);
        let more_subjects = answer.bound();
        // A member says it again and again, by itself, and nothing comes of it.
        let is_idle_talk = is_announcement && matches!(answer, Answer::Refused(_));
        if let Some(word) = audit.filter(|_| !is_idle_talk) {
            rows.put(
                rows::audit_key(index),
                &store::AuditRow {
                    index,
                    utc_ns: utc.as_ns(),
                    actor: Some(stamp.actor),
                    source: entry.source,
                    command: word.to_owned(),
                    subjects: match &answer {
                        Answer::Accepted { subjects, .. } => subjects.clone(),
                        Answer::Refused(refusal) => refusal.subjects.clone(),
                    },
                    more_subjects,
                },
            );
        }
        if let Some(request) = &request {
            self.remember(request, &answer, utc, rows);
        }
        answer
    }

    fn init_cluster(
        &mut self,
        stamp: &Stamp,
        command: store::InitCluster,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        if !self.cluster.mesh.is_empty() {
            return refused(rule::ALREADY_INITIALISED, "the cluster exists already", []);
        }
        self.cluster.mesh = command.mesh;
        self.cluster.cluster_id = command.cluster_id;
        self.cluster.epoch = command.epoch;
        self.cluster.level = command.level;
        self.cluster.plan_version = command.plan_version;
        self.cluster.generation_index = stamp.index;
        self.begin_members(stamp, command.members, rows, changes);
        accepted(stamp, [])
    }

    /// The others' hash is compared outside of apply, which must do the same everywhere.
    fn hash_agreed(&mut self, stamp: &Stamp, command: &store::StateHash) -> Answer {
        if command.disputed {
            self.cluster.disputed_index = command.index;
        }
        accepted(stamp, [])
    }

    fn set_level(&mut self, stamp: &Stamp, command: &store::SetLevel) -> Answer {
        let present = self.cluster.level;
        if command.level <= present {
            let message = format!("the cluster is at level {present}, not below {}", command.level);
            return refused(rule::LEVEL_BACK, message, []);
        }
        self.cluster.level = command.level;
        if command.plan_version > self.cluster.plan_version {
            self.cluster.plan_version = command.plan_version;
            self.move_generation(stamp);
        }
        accepted(stamp, [])
    }

    /// Marks the plan as changed by this entry.
    fn move_generation(&mut self, stamp: &Stamp) {
        if !mutant::on(Mutant::GenerationStays) {
            self.cluster.generation_index = stamp.index;
        }
    }
}

/// What is written although nobody knows which member is right: that pages were sent, so that they
/// are not sent again, and what members say of themselves.
fn is_taken_in_dispute(command: Option<&Command>) -> bool {
    matches!(
        command,
        Some(Command::UpdatePages(_) | Command::StateHash(_) | Command::AnnounceMember(_))
    )
}

/// What a command is called in logs.
pub fn command_word(command: Option<&Command>) -> &'static str {
    match command {
        Some(Command::StageConfig(_)) => "stage_config",
        Some(Command::DropStage(_)) => "drop_stage",
        command => audit_word(command).unwrap_or("other"),
    }
}

/// Commands worth an audit row: what people and the leader did, not how deliveries progress.
fn audit_word(command: Option<&Command>) -> Option<&'static str> {
    match command? {
        Command::InitCluster(_) => Some("init_cluster"),
        Command::CommitConfig(_) => Some("commit_config"),
        Command::ChangeVerdicts(_) => Some("change_verdicts"),
        Command::AckIncident(_) => Some("ack_incident"),
        Command::ResolveIncident(_) => Some("resolve_incident"),
        Command::ChangeFleet(_) => Some("change_fleet"),
        Command::StageConfig(_)
        | Command::DropStage(_)
        | Command::UpdatePages(_)
        | Command::ForgetClients(_)
        | Command::TrimHistory(_)
        | Command::ReviewHeld(_)
        | Command::Escalate(_)
        | Command::ScheduleHours(_)
        | Command::MarkTime(_)
        | Command::StateHash(_) => None,
        Command::SetLinkKey(_) => Some("set_link_key"),
        Command::ChangeAlerts(_) => Some("change_alerts"),
        Command::AddSilence(_) => Some("add_silence"),
        Command::ExpireSilence(_) => Some("expire_silence"),
        Command::ScheduleMaintenance(_) => Some("schedule_maintenance"),
        Command::AddMember(_) => Some("add_member"),
        Command::AnnounceMember(_) => Some("announce_member"),
        Command::RemoveMember(command) if command.begin => Some("begin_removal"),
        Command::RemoveMember(_) => Some("remove_member"),
        Command::SetLevel(_) => Some("set_level"),
        Command::DrainProbe(_) => Some("drain_probe"),
    }
}

fn accepted(stamp: &Stamp, subjects: impl Into<Vec<String>>) -> Answer {
    let (subjects, counts) = (subjects.into(), store::CommitCounts::default());
    Answer::Accepted { revision: stamp.index, subjects, counts }
}

fn refused(rule: Rule, message: impl Into<String>, subjects: impl Into<Vec<String>>) -> Answer {
    Answer::Refused(refusal(rule, message, subjects))
}

pub(super) fn refusal(
    rule: Rule,
    message: impl Into<String>,
    subjects: impl Into<Vec<String>>,
) -> Refusal {
    Refusal { rule: Cow::Borrowed(rule.id), message: message.into(), subjects: subjects.into() }
}

#[cfg(test)]
mod tests;
