//! Keys and values of every row, and the way back from rows to a state.
//!
//! The first byte of a key is its table. Rows of cold tables (audit, closed incidents, verdict
//! intervals) are written and never held in memory; all others are read back whole when a member
//! starts.

use std::sync::Arc;

use bytes::Bytes;
use parallax_common::limits::CLOSED_INCIDENTS_IN_MEMORY_MAX;
use parallax_common::name::Uid;
use parallax_proto::convert::hours::shown;
use parallax_proto::v1::held::By;
use parallax_proto::{store, v1};
use prost::Message;

use super::config::Stage;
use super::{CheckEntry, Client, State};
use crate::core::quiet::{OPEN_END, Silence};
use crate::core::{routing, stamp};

/// One stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Table byte, then the table's own key.
    pub key: Bytes,
    /// An encoded message.
    pub value: Bytes,
}

/// One change of a row: a new value, or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Table byte, then the table's own key.
    pub key: Bytes,
    /// Absent: the row is removed.
    pub value: Option<Bytes>,
}

/// Collects the rows that one entry changes.
#[derive(Debug, Default)]
pub struct Rows(Vec<RowChange>);

impl Rows {
    pub(super) fn put(&mut self, key: Vec<u8>, message: &impl Message) {
        let value = Some(Bytes::from(message.encode_to_vec()));
        self.0.push(RowChange { key: key.into(), value });
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.0.push(RowChange { key: key.into(), value: None });
    }

    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn into_changes(self) -> Vec<RowChange> {
        self.0
    }
}

/// Hands rows on as they are made: a whole state in rows would double what it takes.
struct Each<'a>(&'a mut dyn FnMut(Row));

impl Each<'_> {
    fn put(&mut self, key: Vec<u8>, message: &impl Message) {
        (self.0)(Row { key: key.into(), value: message.encode_to_vec().into() });
    }
}

/// The tables, by their first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// One row.
    Cluster = b'C',
    /// By node id.
    Member = b'm',
    /// By uid.
    Check = b'k',
    /// By namespace and name.
    Region = b'r',
    /// By uid.
    Contact = b'o',
    /// By namespace.
    Settings = b's',
    /// By region and probe.
    Probe = b'p',
    /// By check.
    Verdict = b'v',
    /// By namespace and region.
    Silent = b'w',
    /// By check and the alert's name.
    Alert = b'A',
    /// By uid.
    Incident = b'i',
    /// By uid.
    Silence = b'q',
    /// One row. In no backup.
    LinkKey = b'y',
    /// By namespace and name.
    Maintenance = b'M',
    /// By what they are called.
    Hours = b'H',
    /// By client.
    Client = b'c',
    /// By transaction.
    Stage = b't',
    /// By transaction and part.
    StagePart = b'u',
    /// By log index. Cold.
    Audit = b'a',
    /// Closed incidents that left memory, by the inverse of the log index that moved them and uid.
    /// Cold.
    Closed = b'j',
    /// Verdicts that ended, by check and the inverse of the log index that ended them. Cold.
    Interval = b'h',
}

fn key(table: Table, parts: &[&[u8]]) -> Vec<u8> {
    let bytes: usize = parts.iter().map(|part| part.len() + 1).sum();
    let mut key = Vec::with_capacity(bytes.max(1));
    key.push(table as u8);
    for (position, part) in parts.iter().enumerate() {
        if position > 0 {
            key.push(0);
        }
        key.extend_from_slice(part);
    }
    key
}

pub(super) fn cluster_key() -> Vec<u8> {
    key(Table::Cluster, &[])
}

pub(super) fn member_key(node_id: u64) -> Vec<u8> {
    key(Table::Member, &[&node_id.to_be_bytes()])
}

pub(super) fn check_key(uid: &Uid) -> Vec<u8> {
    key(Table::Check, &[uid.as_bytes()])
}

pub(super) fn region_key(namespace: &str, name: &str) -> Vec<u8> {
    key(Table::Region, &[namespace.as_bytes(), name.as_bytes()])
}

pub(super) fn contact_key(uid: &str) -> Vec<u8> {
    key(Table::Contact, &[uid.as_bytes()])
}

pub(super) fn settings_key(namespace: &str) -> Vec<u8> {
    key(Table::Settings, &[namespace.as_bytes()])
}

pub(super) fn probe_key(region: &str, probe: &str) -> Vec<u8> {
    key(Table::Probe, &[region.as_bytes(), probe.as_bytes()])
}

pub(super) fn verdict_key(uid: &Uid) -> Vec<u8> {
    key(Table::Verdict, &[uid.as_bytes()])
}

pub(super) fn alert_key(uid: &Uid, alert: &str) -> Vec<u8> {
    key(Table::Alert, &[uid.as_bytes(), alert.as_bytes()])
}

pub(super) fn silent_key(namespace: &str, region: &str) -> Vec<u8> {
    key(Table::Silent, &[namespace.as_bytes(), region.as_bytes()])
}

pub(super) fn incident_key(uid: &str) -> Vec<u8> {
    key(Table::Incident, &[uid.as_bytes()])
}

pub(super) fn link_key_key() -> Vec<u8> {
    key(Table::LinkKey, &[])
}

pub(super) fn silence_key(uid: &str) -> Vec<u8> {
    key(Table::Silence, &[uid.as_bytes()])
}

pub(super) fn maintenance_key(namespace: &str, name: &str) -> Vec<u8> {
    key(Table::Maintenance, &[namespace.as_bytes(), name.as_bytes()])
}

pub(super) fn hours_key(name: &str) -> Vec<u8> {
    key(Table::Hours, &[name.as_bytes()])
}

fn closed_key(index: u64, uid: &str) -> Vec<u8> {
    // Inverted: a scan meets the newest first.
    let mut key = key(Table::Closed, &[&(!index).to_be_bytes()]);
    key.extend_from_slice(uid.as_bytes());
    key
}

pub(super) fn client_key(client: &str) -> Vec<u8> {
    key(Table::Client, &[client.as_bytes()])
}

pub(super) fn stage_key(txn: &str) -> Vec<u8> {
    key(Table::Stage, &[txn.as_bytes()])
}

pub(super) fn stage_part_key(txn: &str, part: u32) -> Vec<u8> {
    key(Table::StagePart, &[txn.as_bytes(), &part.to_be_bytes()])
}

pub(super) fn audit_key(index: u64) -> Vec<u8> {
    key(Table::Audit, &[&index.to_be_bytes()])
}

pub(super) fn interval_prefix(uid: &Uid) -> Vec<u8> {
    key(Table::Interval, &[uid.as_bytes()])
}

pub(super) fn interval_key(uid: &Uid, index: u64) -> Vec<u8> {
    // Inverted: a scan meets the newest first. An entry ends a check's verdict once: a second end
    // of the same moment lasted no time.
    let mut key = interval_prefix(uid);
    key.extend_from_slice(&(!index).to_be_bytes());
    key
}

/// A row that cannot be read back: the store is in doubt and must be rebuilt.
#[derive(Debug, thiserror::Error)]
#[error("row {key:?} cannot be read: {why}")]
pub struct Damaged {
    /// Its key, escaped.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl State {
    /// Prefix of the closed incidents that left memory. Each value is a `v1::Incident`; the last
    /// that left comes first.
    pub const CLOSED: &'static [u8] = &[Table::Closed as u8];

    /// Key of the row that an entry writes when it changes a check's verdict.
    pub fn verdict_row(uid: &Uid) -> Vec<u8> {
        verdict_key(uid)
    }

    /// Key of a closed incident that left memory with the entry at `index`.
    pub fn closed_row(index: u64, uid: &str) -> Vec<u8> {
        closed_key(index, uid)
    }

    /// Whether a row stays where it is: what a backup holds may lie anywhere.
    pub fn is_secret(key: &[u8]) -> bool {
        key.first() == Some(&(Table::LinkKey as u8))
    }

    /// For a row that is never held in memory, the log index that wrote it.
    pub fn cold(key: &[u8]) -> Option<u64> {
        let (&table, rest) = key.split_first()?;
        if table == Table::Interval as u8 {
            let inverse = u64::from_be_bytes(rest.get(16..)?.try_into().ok()?);
            return Some(!inverse);
        }
        if table != Table::Audit as u8 && table != Table::Closed as u8 {
            return None;
        }
        let number = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
        Some(if table == Table::Closed as u8 { !number } else { number })
    }

    /// Every row that is held in memory, in key order within its table.
    pub fn to_rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        self.each_row(&mut |row| rows.push(row));
        rows
    }

    /// Hands over every row that is held in memory, in key order within its table.
    pub fn each_row(&self, each: &mut dyn FnMut(Row)) {
        let mut rows = Each(each);
        rows.put(cluster_key(), &self.cluster);
        for (node_id, member) in &self.members {
            rows.put(member_key(*node_id), member.as_ref());
        }
        for (uid, entry) in &self.checks {
            rows.put(check_key(uid), &entry.wire);
        }
        for (key, region) in &self.regions {
            rows.put(region_key(&key.0, &key.1), region.as_ref());
        }
        for (uid, contact) in &self.contacts {
            rows.put(contact_key(uid), contact.as_ref());
        }
        for (namespace, settings) in &self.settings {
            rows.put(settings_key(namespace), settings.as_ref());
        }
        for ((region, probe), row) in &self.probes {
            rows.put(probe_key(region, probe), row.as_ref());
        }
        for (uid, verdict) in &self.verdicts {
            rows.put(
                verdict_key(uid),
                &store::VerdictRow { verdict: Some(verdict.as_ref().clone()) },
            );
        }
        for ((namespace, region), silent) in &self.silent {
            rows.put(silent_key(namespace, region), silent.as_ref());
        }
        for ((uid, alert), row) in &self.alerts {
            rows.put(alert_key(uid, alert), row.as_ref());
        }
        for (uid, incident) in &self.incidents {
            rows.put(incident_key(uid), incident.as_ref());
        }
        for (uid, silence) in &self.silences {
            rows.put(silence_key(uid), &silence.wire);
        }
        if !self.link_key.is_empty() {
            rows.put(link_key_key(), &store::LinkKeyRow { key: self.link_key.clone() });
        }
        for (name, row) in &self.maintenance {
            rows.put(maintenance_key(&name.0, &name.1), row.as_ref());
        }
        for (name, row) in &self.hours {
            rows.put(hours_key(name), row.as_ref());
        }
        for (name, client) in &self.clients {
            rows.put(client_key(name), &client.to_row(name));
        }
        for (txn, stage) in &self.stages {
            rows.put(stage_key(txn), &stage.header);
            for (part, encoded) in &stage.parts {
                let (txn, part, encoded) = (txn.clone(), *part, encoded.clone());
                let key = stage_part_key(&txn, part);
                rows.put(key, &store::StagePartRow { txn, part, encoded });
            }
        }
    }

    /// The state that these rows describe, as of `applied`.
    ///
    /// # Errors
    /// [`Damaged`] names the first row that cannot be read.
    pub fn from_rows(rows: impl IntoIterator<Item = Row>, applied: u64) -> Result<Self, Damaged> {
        let mut state = Self { applied, ..Self::default() };
        for row in rows {
            state
                .load(&row)
                .map_err(|why| Damaged { key: row.key.escape_ascii().to_string(), why })?;
        }
        Ok(state)
    }

    fn load(&mut self, row: &Row) -> Result<(), String> {
        let (&table, _) = row.key.split_first().ok_or("the key is empty")?;
        match table {
            b'C' => self.cluster = read(row)?,
            b'm' => {
                let member: store::MemberRow = read(row)?;
                self.members.insert(member.node_id, Arc::new(member));
            }
            b'k' => self.insert_check(Arc::new(checked(read(row)?)?)),
            b'r' => {
                let region: v1::Region = read(row)?;
                self.regions.insert(name_of(region.meta.as_ref())?.into(), Arc::new(region));
            }
            b'o' => {
                let contact: store::ContactRow = read(row)?;
                let meta = contact.contact.as_ref().and_then(|contact| contact.meta.as_ref());
                let uid = meta.ok_or("a contact has no meta")?.uid.clone();
                if !contact.tombstone {
                    self.contact_names.insert(name_of(meta)?, uid.clone());
                }
                self.insert_contact(uid, Arc::new(contact));
            }
            b's' => {
                let settings: v1::Settings = read(row)?;
                let (namespace, _) = name_of(settings.meta.as_ref())?;
                self.insert_settings(namespace, settings);
            }
            b'p' => {
                let probe: store::ProbeRow = read(row)?;
                let key = (probe.region.clone(), probe.probe.clone());
                self.probes.insert(key, Arc::new(probe));
            }
            b'v' => {
                let verdict: store::VerdictRow = read(row)?;
                let verdict = verdict.verdict.ok_or("a verdict row is empty")?;
                let uid = verdict.check_uid.parse::<Uid>().map_err(|e| e.to_string())?;
                self.verdicts.insert(uid, Arc::new(verdict));
            }
            b'w' => {
                let silent: store::RegionVerdictRow = read(row)?;
                let name = (silent.namespace.clone(), silent.region.clone());
                self.silent.insert(name, Arc::new(silent));
            }
            b'A' => {
                let alert: store::AlertRow = read(row)?;
                let uid = alert.check_uid.parse::<Uid>().map_err(|e| e.to_string())?;
                self.alerts.insert((uid, alert.alert.clone()), Arc::new(alert));
            }
            b'i' => self.insert_incident(Arc::new(read(row)?)),
            b'q' => {
                let silence: v1::Silence = read(row)?;
                self.silences.insert(silence.uid.clone(), Arc::new(Silence::new(silence)));
            }
            b'y' => self.link_key = read::<store::LinkKeyRow>(row)?.key,
            b'M' => {
                let row: store::MaintenanceRow = read(row)?;
                let window = row.window.as_ref().ok_or("a maintenance row is empty")?;
                self.maintenance.insert(name_of(window.meta.as_ref())?, Arc::new(row));
            }
            b'H' => {
                let row: store::HoursRow = read(row)?;
                let name = row.hours.as_ref().map(shown).ok_or("a row of hours is empty")?;
                self.hours.insert(name, Arc::new(row));
            }
            b'c' => {
                let client: store::ClientRow = read(row)?;
                let name = client.client.clone();
                self.insert_client(&name, Client::from_row(client));
            }
            b't' => {
                let stage: store::StageRow = read(row)?;
                self.stages.insert(stage.txn.clone(), Arc::new(Stage::new(stage)));
            }
            b'u' => {
                let row: store::StagePartRow = read(row)?;
                let stage = self.stages.get(&row.txn).ok_or("a part has no stage")?;
                let mut stage = stage.as_ref().clone();
                stage.insert(row.part, row.encoded);
                self.stages.insert(row.txn, Arc::new(stage));
            }
            b'a' | b'h' | b'j' => {}
            other => return Err(format!("table {other:#x} is not known to this build")),
        }
        Ok(())
    }

    /// Puts an incident into memory and keeps the indexes true.
    pub(super) fn insert_incident(&mut self, incident: Arc<v1::Incident>) {
        let uid = incident.uid.clone();
        if let Some((place, by)) = self.incidents.get(&uid).and_then(|before| held_place(before)) {
            self.held.remove(&place);
            self.held_by.remove(&by);
        }
        if let Some((place, by)) = held_place(&incident) {
            self.held.insert(place);
            self.held_by.insert(by);
        }
        if let Some(place) = self.incidents.get(&uid).and_then(|before| routed_place(before)) {
            self.routed.remove(&place);
        }
        if let Some(place) = routed_place(&incident) {
            self.routed.insert(place);
        }
        let mut waits = false;
        for delivery in &incident.deliveries {
            if delivery.state() == v1::DeliveryState::Pending {
                waits = true;
                self.pending.insert(delivery.idempotency_key.clone(), uid.clone());
            } else {
                self.pending.remove(&delivery.idempotency_key);
            }
        }
        if incident.resolved_at.is_none() {
            self.open.insert(uid.clone());
        } else {
            self.open.remove(&uid);
            let place = (incident.resolved_revision, uid.clone());
            if waits {
                // Also when it had nothing left to say before: a page may come back to life.
                self.closed.remove(&place);
            } else {
                self.closed.insert(place);
            }
        }
        self.incidents.insert(uid, incident);
    }

    /// Lets the oldest closed incidents leave memory: their rows move to the cold table.
    pub(super) fn evict_closed(&mut self, index: u64, rows: &mut Rows) {
        while self.closed.len() > CLOSED_INCIDENTS_IN_MEMORY_MAX {
            let Some((revision, uid)) = self.closed.get_min().cloned() else { return };
            self.closed.remove(&(revision, uid.clone()));
            if let Some(incident) = self.incidents.remove(&uid) {
                rows.remove(incident_key(&uid));
                rows.put(closed_key(index, &uid), incident.as_ref());
            }
        }
    }

    pub(super) fn insert_check(&mut self, entry: Arc<CheckEntry>) {
        let check = &entry.check;
        self.check_names.insert((check.namespace.clone(), check.name.clone()), check.uid);
        self.checks.insert(check.uid, entry);
    }
}

/// The checked form beside the stored one. What was accepted once stays readable, and is applied the
/// same way everywhere: rules are looked at when an apply is planned.
pub(super) fn checked(wire: v1::Check) -> Result<CheckEntry, String> {
    match parallax_proto::convert::check::stored_check(&wire) {
        Ok(check) => Ok(CheckEntry { check: Arc::new(check), wire }),
        Err(violations) => Err(violations
            .first()
            .map_or_else(|| "the check is refused".to_owned(), |first| first.message.clone())),
    }
}

/// Where an incident that is held stands among those that are to be looked at again, and among those
/// that are held by the same.
fn held_place(incident: &v1::Incident) -> Option<((i64, String), (String, String))> {
    let held = incident.held.as_ref().filter(|_| incident.resolved_at.is_none())?;
    let until = held.until.as_ref().map_or(OPEN_END, |until| stamp::utc(Some(until)));
    let by = match &held.by {
        Some(By::Silence(by)) => by.uid.clone(),
        Some(By::Parent(by)) => by.check_uid.clone(),
        Some(By::Parents(_)) | None => String::new(),
    };
    Some(((until.as_ns(), incident.uid.clone()), (by, incident.uid.clone())))
}

/// Where an incident stands among those with a step or a reminder to come.
fn routed_place(incident: &v1::Incident) -> Option<(i64, String)> {
    routing::due(incident).map(|at| (at.as_ns(), incident.uid.clone()))
}

pub(super) fn name_of(meta: Option<&v1::Meta>) -> Result<(String, String), String> {
    let meta = meta.ok_or("a resource has no meta")?;
    Ok((meta.namespace.clone(), meta.name.clone()))
}

fn read<M: Message + Default>(row: &Row) -> Result<M, String> {
    M::decode(row.value.clone()).map_err(|error| error.to_string())
}
