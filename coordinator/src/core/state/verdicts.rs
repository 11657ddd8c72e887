//! Verdicts and incidents, as the leader decided them.
//!
//! A change is valid only for the state it was decided on: the check's etag and run digest and the
//! verdict's sequence must be what they were. Else it changes nothing and leaves a typed event, so
//! that racing or late proposals cannot open twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use parallax_common::name::Uid;
use parallax_common::rule;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::{store, v1};

use super::alerts::is_of_alert;
use super::pages::note_deliveries;
use super::rows::{self, Rows};
use super::{Answer, Changed, INSECURE_LEVEL, Refusal, Stamp, State, accepted, refusal, refused};
use crate::core::fleet::{Alarm, Trouble};
use crate::core::outbox::timeline;
use crate::core::quiet::flap;
use crate::mutant::{self, Mutant};

/// Whether an incident may be resolved by hand. `failing` says that its cause lasts: the leader still
/// counts enough failing regions for `down`, or hears nobody from the region. Then only `force`
/// resolves it.
///
/// # Errors
/// [`rule::STILL_FAILING`].
pub fn may_resolve(incident: &v1::Incident, failing: bool, force: bool) -> Result<(), Refusal> {
    if failing && !force {
        let lasts = match incident.kind() {
            v1::IncidentKind::RegionSilent => {
                format!("region {} is still silent", incident.region)
            }
            v1::IncidentKind::RegionExcluded => {
                format!("a probe of region {} still may not vote", incident.region)
            }
            v1::IncidentKind::RegionOutdated => {
                format!("a probe of region {} is still outdated", incident.region)
            }
            v1::IncidentKind::Latency
            | v1::IncidentKind::ErrorRate
            | v1::IncidentKind::Certificate
            | v1::IncidentKind::BurnRate => {
                format!("alert {} of {} has not cleared", incident.alert, incident.check_name)
            }
            v1::IncidentKind::CanaryInDoubt => {
                format!("canary {} is still in doubt", incident.check_name)
            }
            v1::IncidentKind::Storm => "what it tells of has not ended".to_owned(),
            v1::IncidentKind::Down
            | v1::IncidentKind::Regional
            | v1::IncidentKind::Warning
            | v1::IncidentKind::Leaderless
            | v1::IncidentKind::Unspecified => {
                format!("{} still fails in enough regions to be down", incident.check_name)
            }
        };
        let message = format!(
            "{lasts}; --force resolves it all the same, and it will not open again before it has \
             been better once"
        );
        return Err(refusal(rule::STILL_FAILING, message, [incident.uid.clone()]));
    }
    Ok(())
}

/// Which of a region's incidents it is.
pub fn trouble_of(incident: &v1::Incident) -> Option<Trouble> {
    match incident.kind() {
        v1::IncidentKind::RegionSilent | v1::IncidentKind::RegionExcluded => Some(Trouble::Silent),
        v1::IncidentKind::RegionOutdated => Some(Trouble::Outdated),
        _ => None,
    }
}

/// Whether it is about a failure or a warning that does not make its check down, or about a canary in doubt.
pub fn is_lasting(incident: &v1::Incident) -> bool {
    use v1::IncidentKind::{CanaryInDoubt, Regional, Warning};
    matches!(incident.kind(), Regional | Warning | CanaryInDoubt)
}

/// The kind of incident that a verdict of `degraded` becomes when it lasts.
fn kind_of_lasting(record: &v1::DecisionRecord) -> Option<v1::IncidentKind> {
    match (record.verdict(), record.degraded()) {
        (v1::Verdict::Degraded, v1::DegradedKind::Regional) => Some(v1::IncidentKind::Regional),
        (v1::Verdict::Degraded, v1::DegradedKind::Warning) => Some(v1::IncidentKind::Warning),
        _ => None,
    }
}

impl State {
    pub(super) fn change_verdicts(
        &mut self,
        stamp: &Stamp,
        command: store::ChangeVerdicts,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let mut subjects = Vec::new();
        for change in command.changes {
            if change.region.is_empty() {
                subjects.push(change.check_uid.clone());
                self.change_verdict(stamp, change, command.node_id, rows, changes);
            } else {
                subjects.push(change.region.clone());
                self.change_region(stamp, change, command.node_id, rows, changes);
            }
        }
        accepted(stamp, subjects)
    }

    fn change_verdict(
        &mut self,
        stamp: &Stamp,
        change: store::VerdictChange,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Ok(uid) = change.check_uid.parse::<Uid>() else { return };
        changes.push(Changed::Verdict(uid));
        if let Err(why) = self.admits(uid, &change) {
            self.note_superseded(stamp, uid, why, rows, changes);
            return;
        }
        let Some(record) = change.record.clone() else { return };
        let mut verdict = self.verdict_or_new(uid);
        verdict.sequence += 1;
        if verdict.verdict != record.verdict || verdict.degraded != record.degraded {
            self.close_interval(stamp, &uid, &verdict, rows);
            verdict.since = Some(stamp.timestamp());
            // Doubt in a canary is no verdict: it ends by itself.
            if !self.is_canary(uid) {
                verdict.lasting_latched = false;
                self.end_lasting(stamp, &mut verdict, &record, node_id, rows, changes);
            }
        }
        verdict.verdict = record.verdict;
        verdict.degraded = record.degraded;
        if record.rule.is_some_and(|rule| record.failing < rule.down_at) {
            verdict.latched = false;
        }
        match change.action() {
            store::VerdictAction::Open => {
                let mut incident = self.new_incident(stamp, uid, &change, &record);
                self.note_opening(stamp, uid, &mut verdict, &mut incident);
                verdict.incident_uid.clone_from(&incident.uid);
                self.open_incident(stamp, incident, node_id, rows, changes);
            }
            store::VerdictAction::Resolve => {
                let incident = std::mem::take(&mut verdict.incident_uid);
                if self.incidents.get(&incident).is_some_and(|it| it.flapping.is_some()) {
                    // It has calmed down: from here on it is counted anew.
                    verdict.recent_openings.clear();
                }
                let cause = v1::ResolveCause::Recovered;
                let resolution = Resolution { record: Some(record.clone()), ..cause.into() };
                self.close_incident(stamp, &incident, resolution, node_id, rows, changes);
            }
            store::VerdictAction::OpenLasting => {
                let mut incident = self.new_incident(stamp, uid, &change, &record);
                incident.kind = kind_of_lasting(&record).unwrap_or_default().into();
                verdict.lasting_incident_uid.clone_from(&incident.uid);
                self.open_incident(stamp, incident, node_id, rows, changes);
            }
            store::VerdictAction::OpenDoubt => {
                let mut incident = self.new_incident(stamp, uid, &change, &record);
                incident.kind = v1::IncidentKind::CanaryInDoubt.into();
                verdict.lasting_incident_uid.clone_from(&incident.uid);
                self.open_incident(stamp, incident, node_id, rows, changes);
            }
            store::VerdictAction::EndDoubt => {
                verdict.lasting_latched = false;
                let incident = std::mem::take(&mut verdict.lasting_incident_uid);
                let cause = v1::ResolveCause::Recovered;
                let resolution = Resolution { record: Some(record.clone()), ..cause.into() };
                self.close_incident(stamp, &incident, resolution, node_id, rows, changes);
            }
            store::VerdictAction::Set | store::VerdictAction::Unspecified => {}
        }
        verdict.record = Some(record);
        self.put_verdict(uid, verdict, rows);
        if change.action() == store::VerdictAction::Open {
            self.hold_children(stamp, uid, rows, changes);
        }
    }

    /// Why the change no longer fits the state, if it does not.
    fn admits(&self, uid: Uid, change: &store::VerdictChange) -> Result<(), &'static str> {
        let entry = self.checks.get(&uid).ok_or("the check is gone")?;
        let verdict = self.verdicts.get(&uid);
        let sequence = verdict.map_or(0, |verdict| verdict.sequence);
        let is_open = verdict.is_some_and(|verdict| !verdict.incident_uid.is_empty());
        let latched = verdict.is_some_and(|verdict| verdict.latched);
        if !entry.check.enabled {
            return Err("the check is paused");
        }
        let is_same =
            entry.check.etag == change.etag && entry.check.run_digest.0 == change.run_digest;
        if !is_same && !mutant::on(Mutant::VersionNotCompared) {
            return Err("the check was edited since");
        }
        if sequence != change.expected_sequence {
            return Err("another verdict came first");
        }
        match change.action() {
            store::VerdictAction::Open if is_open => Err("an incident is open already"),
            store::VerdictAction::Open if latched => Err("resolved by hand and failing since"),
            store::VerdictAction::Resolve if !is_open => Err("no incident is open"),
            store::VerdictAction::OpenLasting => admits_lasting(verdict, change),
            store::VerdictAction::OpenDoubt | store::VerdictAction::EndDoubt => {
                let is_open = verdict.is_some_and(|it| !it.lasting_incident_uid.is_empty());
                let latched = verdict.is_some_and(|it| it.lasting_latched);
                match (change.action(), is_open || latched) {
                    _ if entry.check.run.canary.is_none() => Err("the check is no canary"),
                    (store::VerdictAction::OpenDoubt, true) => Err("its doubt is told already"),
                    (store::VerdictAction::EndDoubt, false) => Err("no doubt was told"),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn is_canary(&self, uid: Uid) -> bool {
        self.checks.get(&uid).is_some_and(|entry| entry.check.run.canary.is_some())
    }

    /// The verdict is about to be what the record says: a regional or warning incident of another one
    /// ends. That nothing is known ends none.
    fn end_lasting(
        &mut self,
        stamp: &Stamp,
        verdict: &mut v1::CheckVerdict,
        record: &v1::DecisionRecord,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let open = self.incidents.get(&verdict.lasting_incident_uid);
        let Some(kind) = open.map(|incident| incident.kind()) else { return };
        if record.verdict() == v1::Verdict::Unknown || kind_of_lasting(record) == Some(kind) {
            return;
        }
        let uid = std::mem::take(&mut verdict.lasting_incident_uid);
        let cause = match record.verdict() {
            v1::Verdict::Down => v1::ResolveCause::BecameDown,
            _ => v1::ResolveCause::Recovered,
        };
        let resolution = Resolution { record: Some(record.clone()), ..cause.into() };
        self.close_incident(stamp, &uid, resolution, node_id, rows, changes);
    }

    fn verdict_or_new(&self, uid: Uid) -> v1::CheckVerdict {
        if let Some(verdict) = self.verdicts.get(&uid) {
            return verdict.as_ref().clone();
        }
        let name = self.checks.get(&uid).map(|entry| entry.check.name.clone());
        v1::CheckVerdict {
            check_uid: uid.to_string(),
            check_name: name.unwrap_or_default(),
            ..v1::CheckVerdict::default()
        }
    }

    fn put_verdict(&mut self, uid: Uid, verdict: v1::CheckVerdict, rows: &mut Rows) {
        rows.put(rows::verdict_key(&uid), &store::VerdictRow { verdict: Some(verdict.clone()) });
        self.verdicts.insert(uid, Arc::new(verdict));
    }

    fn new_incident(
        &self,
        stamp: &Stamp,
        uid: Uid,
        change: &store::VerdictChange,
        record: &v1::DecisionRecord,
    ) -> v1::Incident {
        let check = self.checks.get(&uid).map(|entry| Arc::clone(&entry.check));
        v1::Incident {
            uid: change.incident_uid.clone(),
            namespace: check.as_ref().map(|c| c.namespace.clone()).unwrap_or_default(),
            kind: v1::IncidentKind::Down.into(),
            check_uid: uid.to_string(),
            check_name: check.as_ref().map(|c| c.name.clone()).unwrap_or_default(),
            opened_at: Some(stamp.timestamp()),
            opened_by: Some(record.clone()),
            opened_revision: stamp.index,
            runbook: check.as_ref().map(|c| c.runbook.clone()).unwrap_or_default(),
            labels: check.as_ref().map(|c| c.labels.clone()).unwrap_or_default(),
            ..v1::Incident::default()
        }
    }

    /// What the check says of the end of its incidents goes with the one that opens.
    fn note_opening(
        &self,
        stamp: &Stamp,
        uid: Uid,
        verdict: &mut v1::CheckVerdict,
        incident: &mut v1::Incident,
    ) {
        let Some(entry) = self.checks.get(&uid) else { return };
        incident.min_open = entry.wire.min_open;
        let Some(flap) = &entry.wire.flap else {
            verdict.recent_openings.clear();
            return;
        };
        let openings = flap::opening(flap, &verdict.recent_openings, stamp.utc);
        verdict.recent_openings = openings.recent;
        incident.flapping = openings.flaps.then_some(v1::Flapping {
            opens: flap.opens,
            within: flap.within,
            calm: flap.calm,
        });
    }

    /// Whether the check of an incident verifies nobody. Below the level members of older builds would leave
    /// it out.
    fn is_insecure(&self, incident: &v1::Incident) -> bool {
        let check = incident.check_uid.parse::<Uid>().ok().and_then(|uid| self.checks.get(&uid));
        self.cluster.level >= INSECURE_LEVEL
            && check.is_some_and(|it| it.check.run.steps.iter().any(|step| step.kind.insecure()))
    }

    pub(super) fn open_incident(
        &mut self,
        stamp: &Stamp,
        mut incident: v1::Incident,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        timeline::push(&mut incident, stamp.utc, Event::Opened(v1::Opened {}));
        self.grade(&mut incident);
        incident.insecure = self.is_insecure(&incident);
        if let Some(flapping) = incident.flapping {
            timeline::push(&mut incident, stamp.utc, Event::Flapping(flapping));
        }
        self.intend_opening(stamp, &mut incident, node_id);
        self.hold_opening(stamp, &mut incident);
        note_deliveries(&incident, changes);
        self.put_incident(incident, rows, changes);
    }

    pub(super) fn close_incident(
        &mut self,
        stamp: &Stamp,
        uid: &str,
        resolution: Resolution,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Some(incident) = self.incidents.get(uid) else { return };
        if incident.resolved_at.is_some() {
            return;
        }
        let mut incident = incident.as_ref().clone();
        incident.resolved_at = Some(stamp.timestamp());
        incident.resolved_revision = stamp.index;
        incident.cause = resolution.cause.into();
        incident.resolved_by = resolution.record;
        let resolved = v1::Resolved {
            cause: resolution.cause.into(),
            by: resolution.by,
            note: resolution.note,
        };
        timeline::push(&mut incident, stamp.utc, Event::Resolved(resolved));
        self.intend_resolve(stamp, &mut incident, node_id);
        note_deliveries(&incident, changes);
        let steps = incident.routed.iter().flat_map(|routed| &routed.steps);
        let named = steps.flat_map(|step| &step.contacts);
        let told: BTreeSet<String> = incident
            .deliveries
            .iter()
            .map(|page| &page.contact_uid)
            .chain(named)
            .cloned()
            .collect();
        let (parent, ended) = (incident.check_uid.clone(), incident.uid.clone());
        self.put_incident(incident.clone(), rows, changes);
        self.leave_storms(stamp, &incident, node_id, rows, changes);
        self.let_children_recover(stamp, (&parent, &ended), rows, changes);
        self.evict_closed(stamp.index, rows);
        told.iter().for_each(|contact| self.drop_tombstone(contact, stamp, rows));
    }

    pub(super) fn put_incident(
        &mut self,
        incident: v1::Incident,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        changes.push(Changed::Incident(incident.uid.clone()));
        self.keep_incident(incident, rows);
    }

    /// Writes an incident of which only a delivery moved: that is told as the delivery's change.
    pub(super) fn keep_incident(&mut self, incident: v1::Incident, rows: &mut Rows) {
        rows.put(rows::incident_key(&incident.uid), &incident);
        self.insert_incident(Arc::new(incident));
    }

    /// Ends what a paused or deleted check had open, in the same entry.
    pub(super) fn end_verdict(
        &mut self,
        stamp: &Stamp,
        uid: Uid,
        cause: v1::ResolveCause,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        self.end_alerts(stamp, uid, Some(cause), rows, changes);
        let Some(verdict) = self.verdicts.get(&uid).cloned() else { return };
        for incident in [&verdict.incident_uid, &verdict.lasting_incident_uid] {
            self.close_incident(stamp, incident, cause.into(), 0, rows, changes);
        }
        self.close_interval(stamp, &uid, &verdict, rows);
        self.verdicts.remove(&uid);
        rows.remove(rows::verdict_key(&uid));
    }

    /// An edit keeps the incident open and leaves a note in its timeline.
    pub(super) fn note_edit(
        &mut self,
        stamp: &Stamp,
        uid: Uid,
        edited: v1::CheckEdited,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let open = [self.open_incident_of(uid), self.lasting_incident_of(uid)];
        let alerts = self.open_alerts_of(uid);
        let open: Vec<_> = open.into_iter().flatten().chain(alerts).cloned().collect();
        for incident in open {
            let mut incident = incident.as_ref().clone();
            timeline::push(&mut incident, stamp.utc, Event::CheckEdited(edited));
            self.look_soon(stamp, &mut incident);
            self.put_incident(incident, rows, changes);
        }
    }

    fn note_superseded(
        &mut self,
        stamp: &Stamp,
        uid: Uid,
        why: &str,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Some(incident) = self.open_incident_of(uid) else { return };
        let mut incident = incident.as_ref().clone();
        let event = v1::VerdictSuperseded { why: why.to_owned() };
        timeline::push(&mut incident, stamp.utc, Event::VerdictSuperseded(event));
        self.put_incident(incident, rows, changes);
    }

    /// The regional or warning incident that is open for this check, or that of a canary in doubt.
    pub fn lasting_incident_of(&self, uid: Uid) -> Option<&Arc<v1::Incident>> {
        let verdict = self.verdicts.get(&uid)?;
        self.incidents.get(&verdict.lasting_incident_uid)
    }

    /// The down incident that is open for this check.
    pub fn open_incident_of(&self, uid: Uid) -> Option<&Arc<v1::Incident>> {
        let verdict = self.verdicts.get(&uid)?;
        self.incidents.get(&verdict.incident_uid)
    }

    pub(super) fn ack(
        &mut self,
        stamp: &Stamp,
        command: store::AckIncident,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let Some(incident) = self.incidents.get(&command.uid) else {
            return refused(
                rule::NOT_FOUND,
                format!("incident {} does not exist", command.uid),
                [],
            );
        };
        if incident.resolved_at.is_some() {
            return refused(rule::INCIDENT_CLOSED, "the incident is resolved already", []);
        }
        if !incident.acknowledged_by.is_empty() {
            if incident.storm.is_some() {
                // What it has taken in since, or had no room for.
                let event = v1::Acknowledged { by: command.by, note: command.note };
                self.ack_members(stamp, &command.uid, &event, rows, changes);
            }
            return accepted(stamp, [command.uid]);
        }
        let mut incident = incident.as_ref().clone();
        incident.acknowledged_at = Some(stamp.timestamp());
        incident.acknowledged_by.clone_from(&command.by);
        let event = v1::Acknowledged { by: command.by, note: command.note };
        timeline::push(&mut incident, stamp.utc, Event::Acknowledged(event.clone()));
        let is_storm = incident.storm.is_some();
        self.put_incident(incident, rows, changes);
        if is_storm {
            self.ack_members(stamp, &command.uid, &event, rows, changes);
        }
        accepted(stamp, [command.uid])
    }

    pub(super) fn resolve_by_hand(
        &mut self,
        stamp: &Stamp,
        command: store::ResolveIncident,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let Some(incident) = self.incidents.get(&command.uid).cloned() else {
            return refused(
                rule::NOT_FOUND,
                format!("incident {} does not exist", command.uid),
                [],
            );
        };
        if incident.resolved_at.is_some() {
            return refused(rule::INCIDENT_CLOSED, "the incident is resolved already", []);
        }
        if incident.storm.is_some() {
            let message = "it ends with the last of the incidents that it tells of; resolve those";
            return refused(rule::STORM_OPEN, message, [command.uid]);
        }
        let resolution = Resolution {
            cause: v1::ResolveCause::ByHand,
            record: None,
            by: command.by,
            note: command.note,
        };
        self.close_incident(stamp, &command.uid, resolution, command.node_id, rows, changes);
        if let Some(trouble) = trouble_of(&incident) {
            let name = (incident.namespace.clone(), incident.region.clone());
            let alarm = Alarm { incident: String::new(), latched: command.latch };
            self.put_alarm(&name, trouble, alarm, rows);
            changes.push(Changed::Region(name));
        } else if is_of_alert(&incident) {
            self.release_alert(stamp, &incident, command.latch, rows);
        } else if let Ok(uid) = incident.check_uid.parse::<Uid>() {
            let mut verdict = self.verdict_or_new(uid);
            if is_lasting(&incident) {
                verdict.lasting_incident_uid.clear();
                verdict.lasting_latched = true;
            } else {
                verdict.incident_uid.clear();
                verdict.latched = command.latch;
            }
            verdict.sequence += 1;
            self.put_verdict(uid, verdict, rows);
            changes.push(Changed::Verdict(uid));
        }
        accepted(stamp, [command.uid])
    }
}

/// Why a regional or warning incident may not open, if it may not.
fn admits_lasting(
    verdict: Option<&Arc<v1::CheckVerdict>>,
    change: &store::VerdictChange,
) -> Result<(), &'static str> {
    let verdict = verdict.ok_or("the check has no verdict")?;
    let record = change.record.as_ref().ok_or("nothing was decided")?;
    if !verdict.lasting_incident_uid.is_empty() {
        return Err("an incident is open already");
    }
    if verdict.lasting_latched {
        return Err("resolved by hand and the same since");
    }
    let is_same = (verdict.verdict, verdict.degraded) == (record.verdict, record.degraded);
    match kind_of_lasting(record) {
        Some(_) if is_same => Ok(()),
        _ => Err("it is not what lasted"),
    }
}

/// How an incident ends.
pub(super) struct Resolution {
    cause: v1::ResolveCause,
    record: Option<v1::DecisionRecord>,
    by: String,
    note: String,
}

impl Resolution {
    /// By a decision of the leader's.
    pub(super) fn by(cause: v1::ResolveCause, record: Option<v1::DecisionRecord>) -> Self {
        Self { record, ..cause.into() }
    }
}

impl From<v1::ResolveCause> for Resolution {
    fn from(cause: v1::ResolveCause) -> Self {
        Self { cause, record: None, by: String::new(), note: String::new() }
    }
}
