//! Alerts of checks: what the leader found of what was measured, applied.
//!
//! A row says how an alert stands once it has opened. Its sequence is the index of the entry that changed
//! it last and never comes again, so that a proposal for another standing changes nothing.

use std::sync::Arc;

use parallax_common::alert::Measure;
use parallax_common::name::Uid;
use parallax_common::time::UtcTime;
use parallax_proto::convert::hours::shown;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Changed, CheckEntry, Stamp, State, accepted};
use crate::core::alert::{Standing, burn, told};
use crate::core::hours::When;

/// Whether it is about what a check measured.
pub fn is_of_alert(incident: &v1::Incident) -> bool {
    matches!(
        incident.kind(),
        v1::IncidentKind::Latency
            | v1::IncidentKind::ErrorRate
            | v1::IncidentKind::Certificate
            | v1::IncidentKind::BurnRate
    )
}

/// What a check asks for under this name: the kind of its incidents, and how bad they are.
fn asked(entry: &CheckEntry, name: &str) -> Option<(v1::IncidentKind, v1::Severity)> {
    if let Some(pair) = burn::pair(name) {
        return entry.wire.slo.as_ref().map(|_| (v1::IncidentKind::BurnRate, pair.severity));
    }
    let alert = entry.check.alerts.iter().find(|alert| alert.name == name)?;
    let wire = entry.wire.alerts.iter().find(|alert| alert.name == name)?;
    let kind = match alert.when.measure {
        Measure::Latency { .. } => v1::IncidentKind::Latency,
        Measure::ErrorRate { .. } => v1::IncidentKind::ErrorRate,
        Measure::CertDays { .. } => v1::IncidentKind::Certificate,
    };
    Some((kind, wire.severity()))
}

/// Whom an alert of a check names.
fn told_by<'e>(entry: &'e CheckEntry, name: &str) -> &'e [String] {
    if burn::pair(name).is_some() {
        return entry.wire.slo.as_ref().map_or(&[], |slo| &slo.alert);
    }
    let alert = entry.wire.alerts.iter().find(|alert| alert.name == name);
    alert.map_or(&[], |alert| &alert.alert)
}

/// An incident of an alert, as far as its check says how it is.
fn of_alert(
    entry: &CheckEntry,
    name: &str,
    kind: v1::IncidentKind,
    severity: v1::Severity,
) -> v1::Incident {
    v1::Incident {
        namespace: entry.check.namespace.clone(),
        kind: kind.into(),
        check_uid: entry.check.uid.to_string(),
        check_name: entry.check.name.clone(),
        runbook: entry.check.runbook.clone(),
        labels: entry.check.labels.clone(),
        severity: severity.into(),
        alert: name.to_owned(),
        ..v1::Incident::default()
    }
}

impl State {
    /// How an alert stands, and the sequence that a change of it names.
    pub fn alert(&self, check: &Uid, name: &str) -> (Standing, u64) {
        match self.alerts.get(&(*check, name.to_owned())) {
            None => (Standing::Quiet, 0),
            Some(row) if !row.incident_uid.is_empty() => (Standing::Open, row.sequence),
            Some(row) if row.latched => (Standing::Latched, row.sequence),
            Some(row) => (Standing::Quiet, row.sequence),
        }
    }

    /// The incidents that are open for alerts of this check, by the alert's name.
    pub fn open_alerts_of(&self, check: Uid) -> impl Iterator<Item = &Arc<v1::Incident>> {
        let rows = self.alerts.range((check, String::new())..);
        rows.take_while(move |((uid, _), _)| *uid == check)
            .filter_map(|(_, row)| self.incidents.get(&row.incident_uid))
    }

    /// Whom an alert of a check would tell when it opened now: those that it names, or those of the first
    /// steps of the routes that would take its incident. With an outage, when it had opened together with
    /// that, as far as the outage says which hours it was within.
    fn told_at_opening(
        &self,
        entry: &CheckEntry,
        name: &str,
        now: UtcTime,
        outage: Option<&v1::Incident>,
    ) -> Vec<String> {
        let named = told_by(entry, name);
        if !named.is_empty() {
            return named.to_vec();
        }
        let namespace = &entry.check.namespace;
        let routes = self.routes_of(namespace).zip(asked(entry, name));
        let Some((routes, (kind, severity))) = routes else { return Vec::new() };
        let mut incident = of_alert(entry, name, kind, severity);
        self.grade(&mut incident);
        let then = outage.map(|outage| routes.hours_at_opening(outage)).unwrap_or_default();
        let when = |hours: &v1::Hours| match then.get(&shown(hours)) {
            Some(within) if *within != hours.outside => When::Within,
            Some(_) => When::From(now),
            None => self.when(hours, now),
        };
        let taking = routes.taking(&incident, when).routes;
        let firsts = taking.into_iter().filter_map(|route| route.steps.first());
        let names = firsts.flat_map(|step| &step.alert);
        // One that is gone is told nothing.
        names.filter(|name| self.contact_named(namespace, name).is_some()).cloned().collect()
    }

    /// Whether an outage has told everybody whom an alert would tell: now, or when the outage opened, as it
    /// stays one outage when the hours of routes end.
    pub fn is_told_by(
        &self,
        outage: &v1::Incident,
        entry: &CheckEntry,
        name: &str,
        now: UtcTime,
    ) -> bool {
        let storm = |uid: &str| self.incidents.get(uid).map(Arc::as_ref);
        let told = |with| {
            let contacts = self.told_at_opening(entry, name, now, with);
            told::all_heard(outage, storm, &contacts)
        };
        told(None) || told(Some(outage))
    }

    /// Whether an alert of a check would tell nobody whom `other` would not tell, when both opened now.
    pub fn tells_no_more_than(
        &self,
        entry: &CheckEntry,
        name: &str,
        other: &str,
        now: UtcTime,
    ) -> bool {
        let told = self.told_at_opening(entry, other, now, None);
        self.told_at_opening(entry, name, now, None).iter().all(|contact| told.contains(contact))
    }

    /// Whether an outage that lasts has told of what an alert would. The leader does not ask
    /// for such an incident; the outage may have begun since it looked.
    fn is_told_by_outage(&self, entry: &CheckEntry, name: &str, now: UtcTime) -> bool {
        let outage = self.open_incident_of(entry.check.uid);
        outage
            .filter(|outage| outage.resolved_at.is_none())
            .is_some_and(|outage| self.is_told_by(outage, entry, name, now))
    }

    pub(super) fn change_alerts(
        &mut self,
        stamp: &Stamp,
        command: store::ChangeAlerts,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let mut subjects = Vec::new();
        for change in command.changes {
            subjects.push(change.check_uid.clone());
            self.change_alert(stamp, change, command.node_id, rows, changes);
        }
        accepted(stamp, subjects)
    }

    fn change_alert(
        &mut self,
        stamp: &Stamp,
        change: store::AlertChange,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Ok(uid) = change.check_uid.parse::<Uid>() else { return };
        let Some(entry) = self.checks.get(&uid).cloned() else { return };
        let Some((kind, severity)) = asked(&entry, &change.alert) else { return };
        let (standing, sequence) = self.alert(&uid, &change.alert);
        let fits = entry.check.enabled
            && entry.check.etag == change.etag
            && sequence == change.expected_sequence;
        if !fits {
            // Another leader was faster, or the check was edited: whoever leads looks again.
            return;
        }
        let row = |incident_uid: String| store::AlertRow {
            check_uid: change.check_uid.clone(),
            alert: change.alert.clone(),
            incident_uid,
            sequence: stamp.index,
            latched: false,
        };
        match (change.action(), standing) {
            (store::AlertAction::Open, Standing::Quiet) => {
                if self.is_told_by_outage(&entry, &change.alert, stamp.utc) {
                    return;
                }
                let incident = v1::Incident {
                    uid: change.incident_uid.clone(),
                    opened_at: Some(stamp.timestamp()),
                    opened_revision: stamp.index,
                    alert_opened: change.record.clone(),
                    ..of_alert(&entry, &change.alert, kind, severity)
                };
                self.put_alert(uid, row(change.incident_uid.clone()), rows);
                self.open_incident(stamp, incident, node_id, rows, changes);
            }
            (store::AlertAction::Resolve, Standing::Open) => {
                let open = self.incident_of_alert(&uid, &change.alert);
                self.put_alert(uid, row(String::new()), rows);
                self.note_cleared(&open, change.record, rows);
                let cause = v1::ResolveCause::AlertCleared.into();
                self.close_incident(stamp, &open, cause, node_id, rows, changes);
            }
            (store::AlertAction::Unlatch, Standing::Latched) => {
                self.put_alert(uid, row(String::new()), rows);
            }
            _ => {}
        }
    }

    /// Writes what an alert saw when it cleared into the incident that is about to close.
    fn note_cleared(&mut self, uid: &str, record: Option<v1::AlertRecord>, rows: &mut Rows) {
        if let Some(incident) = self.incidents.get(uid) {
            let mut incident = incident.as_ref().clone();
            incident.alert_resolved = record;
            self.keep_incident(incident, rows);
        }
    }

    /// The uid of the incident that is open; empty when none is.
    fn incident_of_alert(&self, check: &Uid, name: &str) -> String {
        let row = self.alerts.get(&(*check, name.to_owned()));
        row.map(|row| row.incident_uid.clone()).unwrap_or_default()
    }

    fn put_alert(&mut self, check: Uid, row: store::AlertRow, rows: &mut Rows) {
        rows.put(rows::alert_key(&check, &row.alert), &row);
        self.alerts.insert((check, row.alert.clone()), Arc::new(row));
    }

    /// An incident of an alert was closed by hand: its row says so, and with `latch` that none opens
    /// until it was clear once.
    pub(super) fn release_alert(
        &mut self,
        stamp: &Stamp,
        incident: &v1::Incident,
        latch: bool,
        rows: &mut Rows,
    ) {
        let Ok(uid) = incident.check_uid.parse::<Uid>() else { return };
        if self.incident_of_alert(&uid, &incident.alert) == incident.uid {
            let row = store::AlertRow {
                check_uid: incident.check_uid.clone(),
                alert: incident.alert.clone(),
                incident_uid: String::new(),
                sequence: stamp.index,
                latched: latch,
            };
            self.put_alert(uid, row, rows);
        }
    }

    /// Ends what the alerts of a check had open and forgets them: all of them, or with no `cause` those
    /// that the check does not ask for any more.
    pub(super) fn end_alerts(
        &mut self,
        stamp: &Stamp,
        uid: Uid,
        cause: Option<v1::ResolveCause>,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let of_check = (uid, String::new())..;
        let all = self.alerts.range(of_check).take_while(|((check, _), _)| *check == uid);
        let gone = |name: &str| match (cause, self.checks.get(&uid)) {
            (None, Some(entry)) => asked(entry, name).is_none(),
            _ => true,
        };
        let ended: Vec<Arc<store::AlertRow>> =
            all.filter(|((_, name), _)| gone(name)).map(|(_, row)| Arc::clone(row)).collect();
        for row in ended {
            self.alerts.remove(&(uid, row.alert.clone()));
            rows.remove(rows::alert_key(&uid, &row.alert));
            let cause = cause.unwrap_or(v1::ResolveCause::AlertRemoved);
            self.close_incident(stamp, &row.incident_uid, cause.into(), 0, rows, changes);
        }
    }

    /// Whom an incident of an alert tells.
    pub(super) fn told_of_alert(&self, incident: &v1::Incident) -> Vec<String> {
        let uid = incident.check_uid.parse::<Uid>().ok();
        let entry = uid.and_then(|uid| self.checks.get(&uid));
        entry.map(|entry| told_by(entry, &incident.alert).to_vec()).unwrap_or_default()
    }
}
