//! Staged configuration: parts are kept, then compared and committed whole or not at all.
//!
//! A commit that may be refused half way works on a cheap copy of the state, so that it leaves nothing
//! behind. What resources name is looked at in `state/references.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use parallax_common::limits::{
    STAGE_AGE_MAX, STAGE_IDLE_MAX, STAGED_BYTES_MAX, STAGED_BYTES_PER_NAMESPACE_MAX, STAGES_MAX,
    STAGES_PER_NAMESPACE_MAX,
};
use parallax_common::rule;
use parallax_common::time::UtcTime;
use parallax_proto::store::config_change::Change as Put;
use parallax_proto::v1::resource::Kind as ResourceKind;
use parallax_proto::{store, v1};
use prost::Message as _;

use super::requests::listed;
use super::rows::{self, Rows};
use super::{Answer, Changed, Name, Refusal, Stamp, State, accepted, refusal};
use crate::mutant::{self, Mutant};

/// The name of the one settings resource of a namespace.
pub struct SettingsName;

impl SettingsName {
    /// What it is called.
    pub const NAME: &'static str = "settings";
}

/// The kinds of resource that configuration holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A place to look from.
    Region,
    /// Where alerts go.
    Contact,
    /// What holds for a whole namespace.
    Settings,
    /// When nobody is to be woken.
    Maintenance,
    /// What to test.
    Check,
}

impl Kind {
    /// The word for it in keys, plans and errors.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Contact => "contact",
            Self::Settings => "settings",
            Self::Maintenance => "maintenance",
            Self::Check => "check",
        }
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Region, Self::Contact, Self::Settings, Self::Maintenance, Self::Check]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An apply that is staged and not committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Stage {
    pub(super) header: store::StageRow,
    /// Encoded `StageConfig`s by number.
    pub(super) parts: OrdMap<u32, Bytes>,
    bytes: usize,
}

impl Stage {
    pub(super) fn new(header: store::StageRow) -> Self {
        Self { header, ..Self::default() }
    }

    /// Whether nobody will commit it: its parts come one after the other, and it may not stand for
    /// ever even when they do.
    fn is_abandoned(&self, now: UtcTime) -> bool {
        let since = |ns| now.since(UtcTime::from_ns(ns));
        let touched = self.header.touched_utc_ns.max(self.header.opened_utc_ns);
        since(touched) > STAGE_IDLE_MAX || since(self.header.opened_utc_ns) > STAGE_AGE_MAX
    }

    pub(super) fn insert(&mut self, part: u32, encoded: Bytes) {
        self.bytes += encoded.len();
        if let Some(before) = self.parts.insert(part, encoded) {
            self.bytes -= before.len();
        }
    }
}

impl State {
    /// The resource of this kind and name as it is stored now.
    pub fn resource(&self, kind: Kind, namespace: &str, name: &str) -> Option<v1::Resource> {
        let key = (namespace.to_owned(), name.to_owned());
        let kind = match kind {
            Kind::Region => ResourceKind::Region(self.regions.get(&key)?.as_ref().clone()),
            Kind::Contact => ResourceKind::Contact(self.contact_named(namespace, name)?.clone()),
            Kind::Settings => {
                ResourceKind::Settings(self.settings.get(namespace)?.as_ref().clone())
            }
            Kind::Maintenance => {
                ResourceKind::Maintenance(self.maintenance.get(&key)?.window.clone()?)
            }
            Kind::Check => ResourceKind::Check(self.check_named(namespace, name)?.wire.clone()),
        };
        Some(v1::Resource { kind: Some(kind) })
    }

    /// The meta of [`Self::resource`], which is not copied for it.
    fn meta(&self, (kind, name): &Target) -> Option<&v1::Meta> {
        match kind {
            Kind::Region => self.regions.get(name)?.meta.as_ref(),
            Kind::Contact => {
                let uid = self.contact_names.get(name)?;
                self.contacts.get(uid)?.contact.as_ref()?.meta.as_ref()
            }
            Kind::Settings => self.settings.get(&name.0)?.meta.as_ref(),
            Kind::Maintenance => self.maintenance.get(name)?.window.as_ref()?.meta.as_ref(),
            Kind::Check => {
                let uid = self.check_names.get(name)?;
                self.checks.get(uid)?.wire.meta.as_ref()
            }
        }
    }

    /// (kind, name) of everything in a set, regions first and checks last.
    pub fn set_members(&self, namespace: &str, set: &str) -> BTreeSet<(Kind, String)> {
        let inside = |meta: Option<&v1::Meta>| {
            meta.filter(|meta| meta.namespace == namespace && meta.set == set)
                .map(|meta| meta.name.clone())
        };
        let regions = self.regions.values().filter_map(|r| inside(r.meta.as_ref()));
        let contacts = self
            .contacts
            .values()
            .filter(|row| !row.tombstone)
            .filter_map(|row| inside(row.contact.as_ref()?.meta.as_ref()));
        let settings = self.settings.values().filter_map(|s| inside(s.meta.as_ref()));
        let windows =
            self.maintenance.values().filter_map(|row| inside(row.window.as_ref()?.meta.as_ref()));
        let checks = self.checks.values().filter_map(|c| inside(c.wire.meta.as_ref()));
        regions
            .map(|name| (Kind::Region, name))
            .chain(contacts.map(|name| (Kind::Contact, name)))
            .chain(settings.map(|name| (Kind::Settings, name)))
            .chain(windows.map(|name| (Kind::Maintenance, name)))
            .chain(checks.map(|name| (Kind::Check, name)))
            .collect()
    }

    pub(super) fn stage(
        &mut self,
        stamp: &Stamp,
        command: store::StageConfig,
        rows: &mut Rows,
    ) -> Answer {
        self.expire_stages(stamp.utc, rows);
        let encoded = Bytes::from(command.encode_to_vec());
        if let Err(refusal) = self.room_for_stage(&command, encoded.len()) {
            return Answer::Refused(refusal);
        }
        let mut stage = match self.stages.get(&command.txn) {
            Some(stage) => stage.as_ref().clone(),
            None => Stage::new(store::StageRow {
                txn: command.txn.clone(),
                opened_utc_ns: stamp.utc.as_ns(),
                namespace: command.namespace,
                touched_utc_ns: 0,
            }),
        };
        stage.header.touched_utc_ns = stamp.utc.as_ns();
        rows.put(rows::stage_key(&command.txn), &stage.header);
        let (txn, part) = (command.txn, command.part);
        let row = store::StagePartRow { txn: txn.clone(), part, encoded: encoded.clone() };
        rows.put(rows::stage_part_key(&txn, part), &row);
        // The same part again, after a lost answer, replaces itself.
        stage.insert(part, encoded);
        self.stages.insert(txn, Arc::new(stage));
        accepted(stamp, [])
    }

    /// Whether a part of `bytes` may still be staged: within the bounds of all, and of one
    /// namespace, so that none takes the place of the others.
    fn room_for_stage(&self, command: &store::StageConfig, bytes: usize) -> Result<(), Refusal> {
        let theirs = || self.stages.values().filter(|s| s.header.namespace == command.namespace);
        let again = |rule, what: String| {
            Err(refusal(rule, format!("{what} staged already; try again later"), []))
        };
        // The same part again, after a lost answer, takes the place of itself.
        let before = self.stages.get(&command.txn).and_then(|stage| stage.parts.get(&command.part));
        let bytes = bytes.saturating_sub(before.map_or(0, Bytes::len));
        if self.stages.values().map(|stage| stage.bytes).sum::<usize>() + bytes > STAGED_BYTES_MAX {
            return again(rule::STAGED_BYTES, format!("{STAGED_BYTES_MAX} bytes are"));
        }
        if theirs().map(|s| s.bytes).sum::<usize>() + bytes > STAGED_BYTES_PER_NAMESPACE_MAX {
            let most = STAGED_BYTES_PER_NAMESPACE_MAX;
            return again(
                rule::NAMESPACE_STAGED_BYTES,
                format!("{most} bytes of namespace {} are", command.namespace),
            );
        }
        if self.stages.contains_key(&command.txn) {
            return Ok(());
        }
        if self.stages.len() >= STAGES_MAX {
            return again(rule::STAGES_OPEN, format!("{STAGES_MAX} applies are"));
        }
        if theirs().count() >= STAGES_PER_NAMESPACE_MAX {
            let most = STAGES_PER_NAMESPACE_MAX;
            return again(
                rule::NAMESPACE_STAGES,
                format!("{most} applies of namespace {} are", command.namespace),
            );
        }
        Ok(())
    }

    /// Transactions of the applies that are staged and not committed.
    pub fn open_stages(&self) -> Vec<String> {
        self.stages.keys().cloned().collect()
    }

    pub(super) fn drop_stage(&mut self, stamp: &Stamp, txn: &str, rows: &mut Rows) -> Answer {
        self.remove_stage(txn, rows);
        accepted(stamp, [])
    }

    /// Takes a stage out of memory and its rows out of the store.
    pub(super) fn remove_stage(&mut self, txn: &str, rows: &mut Rows) -> Option<Arc<Stage>> {
        let stage = match mutant::on(Mutant::StageKept) {
            true => self.stages.get(txn).cloned()?,
            false => self.stages.remove(txn)?,
        };
        for part in stage.parts.keys() {
            rows.remove(rows::stage_part_key(txn, *part));
        }
        rows.remove(rows::stage_key(txn));
        Some(stage)
    }

    fn expire_stages(&mut self, now: UtcTime, rows: &mut Rows) {
        let expired: Vec<String> = self
            .stages
            .iter()
            .filter(|(_, stage)| stage.is_abandoned(now))
            .map(|(txn, _)| txn.clone())
            .collect();
        for txn in expired {
            self.remove_stage(&txn, rows);
        }
    }

    pub(super) fn commit(
        &mut self,
        stamp: &Stamp,
        mut command: store::CommitConfig,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let whole = std::mem::take(&mut command.changes);
        let staged = match command.parts == 0 && !whole.is_empty() {
            true => Ok(whole),
            false => self.take_stage(&command, rows),
        };
        let staged = match staged {
            Ok(staged) => staged,
            Err(refusal) => return Answer::Refused(refusal),
        };
        let mut written = Rows::default();
        let mut seen = Vec::new();
        // What is written into a copy copies every node of the maps on its way, entry by entry.
        if staged.iter().all(is_plain_put) {
            let done = self.commit_changes(stamp, &command, staged, &mut written, &mut seen);
            rows.append(written);
            changes.append(&mut seen);
            return match done {
                Ok((subjects, counts)) => {
                    Answer::Accepted { revision: stamp.index, subjects, counts }
                }
                Err(refusal) => Answer::Refused(refusal),
            };
        }
        let mut next = self.clone();
        match next.commit_changes(stamp, &command, staged, &mut written, &mut seen) {
            Ok((subjects, counts)) => {
                *self = next;
                rows.append(written);
                changes.append(&mut seen);
                Answer::Accepted { revision: stamp.index, subjects, counts }
            }
            Err(refusal) => {
                if mutant::on(Mutant::CommitInPieces) {
                    *self = next;
                    rows.append(written);
                }
                Answer::Refused(refusal)
            }
        }
    }

    /// The staged changes in order, when the stage is whole.
    fn take_stage(
        &mut self,
        command: &store::CommitConfig,
        rows: &mut Rows,
    ) -> Result<Vec<store::ConfigChange>, Refusal> {
        let Some(stage) = self.remove_stage(&command.txn, rows) else {
            return Err(refusal(
                rule::STAGE_UNKNOWN,
                "the staged apply is gone: it expired or was committed before",
                [],
            ));
        };
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        for encoded in stage.parts.values() {
            hash.update(encoded);
        }
        let whole = stage.parts.len() == command.parts as usize
            && stage.parts.keys().enumerate().all(|(at, part)| *part as usize == at)
            && hash.finish().as_ref() == command.sha256.as_ref();
        if !whole {
            return Err(refusal(
                rule::STAGE_INCOMPLETE,
                "parts of the staged apply are missing",
                [],
            ));
        }
        let mut staged = Vec::new();
        for encoded in stage.parts.values() {
            let part = store::StageConfig::decode(encoded.clone())
                .map_err(|_| refusal(rule::STAGE_INCOMPLETE, "a staged part cannot be read", []))?;
            staged.extend(part.changes);
        }
        Ok(staged)
    }

    fn commit_changes(
        &mut self,
        stamp: &Stamp,
        command: &store::CommitConfig,
        staged: Vec<store::ConfigChange>,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Result<(Vec<String>, store::CommitCounts), Refusal> {
        let targets: Vec<Option<Target>> = staged.iter().map(target_of).collect();
        let known = || staged.iter().zip(&targets).filter_map(|(it, of)| Some((it, of.as_ref()?)));
        let conflicts: Vec<String> =
            known().filter_map(|(change, target)| self.conflict(change, target)).collect();
        if !conflicts.is_empty() {
            let message = format!(
                "changed by somebody else since this was planned: {}; look at the diff again",
                listed(&conflicts)
            );
            return Err(refusal(rule::CONFLICT, message, conflicts));
        }
        let foreign: Vec<String> = known()
            .filter(|_| !command.take)
            .filter_map(|(_, target)| self.foreign(target, &command.set))
            .collect();
        if !foreign.is_empty() {
            let message = format!("belongs to another set: {}", listed(&foreign));
            return Err(refusal(rule::OTHER_SET, message, foreign));
        }
        let mut subjects = Vec::new();
        let mut deletions = Vec::new();
        let mut counts = store::CommitCounts::default();
        for change in staged {
            match change.change {
                Some(Put::Put(resource)) => {
                    // Of a resource that is there the plan has compared the etag.
                    match change.base_etag {
                        0 => counts.created += 1,
                        _ => counts.changed += 1,
                    }
                    subjects.push(self.put_resource(stamp, resource, rows, changes)?);
                }
                Some(Put::Delete(key)) => deletions.push((key, change.force)),
                None => {}
            }
        }
        // Checks go first, so that what only they used may go with them.
        deletions.sort_by_key(|(key, _)| Kind::from_word(&key.kind).map(std::cmp::Reverse));
        for (key, _) in &deletions {
            subjects.push(self.delete_resource(stamp, key, rows, changes)?);
            counts.deleted += 1;
        }
        // What named it may have gone with it, in whatever order.
        for (key, _) in deletions.iter().filter(|(_, force)| !force) {
            self.verify_unused(key)?;
        }
        if !mutant::on(Mutant::ReferencesNotChecked) {
            self.verify_references(changes)?;
        }
        Ok((subjects, counts))
    }

    /// `kind name` when the resource is not what the change was planned against.
    fn conflict(&self, change: &store::ConfigChange, target: &Target) -> Option<String> {
        let (kind, (_, name)) = target;
        let etag = self.meta(target).map_or(0, |meta| meta.etag);
        (etag != change.base_etag && !mutant::on(Mutant::EtagNotCompared))
            .then(|| format!("{kind} {name}"))
    }

    fn foreign(&self, target: &Target, set: &str) -> Option<String> {
        let (kind, (_, name)) = target;
        let owner = &self.meta(target)?.set;
        (owner != set).then(|| format!("{kind} {name} (set {owner})"))
    }

    /// Stores the resource as the proposer wrote it, stamped. Gives its uid or name.
    fn put_resource(
        &mut self,
        stamp: &Stamp,
        resource: v1::Resource,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Result<String, Refusal> {
        let Some(kind) = resource.kind else {
            return Err(refusal(rule::RESOURCE_EMPTY, "a resource has no content", []));
        };
        match kind {
            ResourceKind::Check(mut check) => {
                stamp_meta(&mut check.meta, stamp);
                let uid = meta_uid(check.meta.as_ref());
                self.put_check(stamp, check, rows, changes)?;
                Ok(uid)
            }
            ResourceKind::Region(mut region) => {
                stamp_meta(&mut region.meta, stamp);
                let key = name_of(region.meta.as_ref())?;
                rows.put(rows::region_key(&key.0, &key.1), &region);
                changes.push(resource_changed(&region.meta, ResourceKind::Region(region.clone())));
                let name = key.1.clone();
                self.regions.insert(key.into(), Arc::new(region));
                Ok(name)
            }
            ResourceKind::Contact(mut contact) => {
                stamp_meta(&mut contact.meta, stamp);
                let key = name_of(contact.meta.as_ref())?;
                let uid = meta_uid(contact.meta.as_ref());
                // Somebody may have mended it: its failures are forgotten, its rate is kept.
                let kept = self.turns_kept(stamp, &uid, &contact.rate, rows, changes);
                let before = self.contacts.get(&uid).cloned().unwrap_or_default();
                let row = store::ContactRow {
                    contact: Some(contact.clone()),
                    paced_until_utc_ns: kept,
                    openings: before.openings.clone(),
                    storm_uid: before.storm_uid.clone(),
                    ..store::ContactRow::default()
                };
                rows.put(rows::contact_key(&uid), &row);
                let meta = contact.meta.clone();
                changes.push(resource_changed(&meta, ResourceKind::Contact(contact)));
                self.contacts.insert(uid.clone(), Arc::new(row));
                self.contact_names.insert(key, uid.clone());
                Ok(uid)
            }
            ResourceKind::Settings(mut settings) => {
                stamp_meta(&mut settings.meta, stamp);
                let (namespace, name) = name_of(settings.meta.as_ref())?;
                rows.put(rows::settings_key(&namespace), &settings);
                changes.push(resource_changed(
                    &settings.meta,
                    ResourceKind::Settings(settings.clone()),
                ));
                self.insert_settings(namespace, settings);
                self.forget_hours(rows);
                Ok(name)
            }
            ResourceKind::Maintenance(mut window) => {
                stamp_meta(&mut window.meta, stamp);
                let key = name_of(window.meta.as_ref())?;
                let name = key.1.clone();
                let kind = ResourceKind::Maintenance(window.clone());
                changes.push(resource_changed(&window.meta, kind));
                self.put_maintenance(stamp, key, window, rows, changes);
                Ok(name)
            }
            ResourceKind::Event(_) => {
                Err(refusal(rule::NOT_YET, "events are not stored by this build", []))
            }
        }
    }

    fn put_check(
        &mut self,
        stamp: &Stamp,
        wire: v1::Check,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Result<(), Refusal> {
        let name = name_of(wire.meta.as_ref())?.1;
        let entry = rows::checked(wire)
            .map_err(|why| refusal(rule::CHECK_INVALID, format!("check {name}: {why}"), [name]))?;
        let uid = entry.check.uid;
        let before = self.checks.get(&uid).cloned();
        rows.put(rows::check_key(&uid), &entry.wire);
        let enabled = entry.check.enabled;
        // What is open of a check is nothing that would end of a canary, and the other way round.
        let turns = before.as_ref().is_some_and(|before| {
            before.check.run.canary.is_some() != entry.check.run.canary.is_some()
        });
        let edited = before.as_ref().map(|before| v1::CheckEdited {
            revision: stamp.index,
            run_changed: before.check.run_digest != entry.check.run_digest,
            regions_changed: before.check.regions != entry.check.regions
                || before.check.advisory_regions != entry.check.advisory_regions,
        });
        self.insert_check(Arc::new(entry));
        self.move_generation(stamp);
        changes.push(Changed::Check(uid));
        if !enabled || turns {
            self.end_verdict(stamp, uid, v1::ResolveCause::CheckPaused, rows, changes);
        } else if let Some(edited) = edited {
            self.end_alerts(stamp, uid, None, rows, changes);
            self.note_edit(stamp, uid, edited, rows, changes);
        }
        Ok(())
    }

    fn delete_resource(
        &mut self,
        stamp: &Stamp,
        key: &store::ResourceKey,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Result<String, Refusal> {
        let name = (key.namespace.clone(), key.name.clone());
        let Some(kind) = Kind::from_word(&key.kind) else {
            let message = format!("{} is not a kind of resource", key.kind);
            return Err(refusal(rule::RESOURCE_EMPTY, message, [key.name.clone()]));
        };
        let Some(gone) = self.resource(kind, &key.namespace, &key.name) else {
            return Err(refusal(
                rule::NOT_FOUND,
                format!("{kind} {} does not exist", key.name),
                [],
            ));
        };
        match kind {
            Kind::Check => {
                let Some(uid) = self.check_names.get(&name).copied() else { return Ok(name.1) };
                // While the check is still there, its incident can say what it was.
                self.end_verdict(stamp, uid, v1::ResolveCause::CheckDeleted, rows, changes);
                self.check_names.remove(&name);
                self.checks.remove(&uid);
                rows.remove(rows::check_key(&uid));
                self.move_generation(stamp);
                if let Some(ResourceKind::Check(check)) = gone.kind {
                    changes.push(Changed::CheckGone(uid, Box::new(check)));
                }
                return Ok(uid.to_string());
            }
            Kind::Region => {
                self.regions.remove(&name);
                rows.remove(rows::region_key(&name.0, &name.1));
                self.end_region(stamp, &name, rows, changes);
            }
            Kind::Contact => {
                self.bury_contact(stamp, &name, rows, changes);
            }
            Kind::Maintenance => self.delete_maintenance(stamp, &name, rows, changes),
            Kind::Settings => {
                self.settings.remove(&name.0);
                self.routes.remove(&name.0);
                self.linked.remove(&name.0);
                rows.remove(rows::settings_key(&name.0));
                self.forget_hours(rows);
            }
        }
        changes.push(Changed::Resource(v1::ChangeKind::Deleted, Box::new(gone)));
        Ok(name.1)
    }
}

/// Whether nothing can be wrong with this change but what is looked at before anything is written: it
/// names nothing else, is not checked as a whole, and has a name.
fn is_plain_put(change: &store::ConfigChange) -> bool {
    let Some(Put::Put(resource)) = &change.change else { return false };
    match &resource.kind {
        Some(ResourceKind::Region(region)) => region.meta.is_some(),
        Some(ResourceKind::Contact(contact)) => {
            contact.meta.is_some() && contact.fallback.is_empty()
        }
        _ => false,
    }
}

/// What a change is about.
type Target = (Kind, Name);

fn target_of(change: &store::ConfigChange) -> Option<Target> {
    match change.change.as_ref()? {
        Put::Put(resource) => {
            let kind = match resource.kind.as_ref()? {
                ResourceKind::Check(_) => Kind::Check,
                ResourceKind::Region(_) => Kind::Region,
                ResourceKind::Contact(_) => Kind::Contact,
                ResourceKind::Settings(_) => Kind::Settings,
                ResourceKind::Maintenance(_) => Kind::Maintenance,
                ResourceKind::Event(_) => return None,
            };
            let meta = meta_of(resource)?;
            Some((kind, (meta.namespace.clone(), meta.name.clone())))
        }
        Put::Delete(key) => {
            Some((Kind::from_word(&key.kind)?, (key.namespace.clone(), key.name.clone())))
        }
    }
}

/// The meta of any resource.
pub(super) fn meta_of(resource: &v1::Resource) -> Option<&v1::Meta> {
    match resource.kind.as_ref()? {
        ResourceKind::Check(check) => check.meta.as_ref(),
        ResourceKind::Region(region) => region.meta.as_ref(),
        ResourceKind::Contact(contact) => contact.meta.as_ref(),
        ResourceKind::Settings(settings) => settings.meta.as_ref(),
        ResourceKind::Event(event) => event.meta.as_ref(),
        ResourceKind::Maintenance(window) => window.meta.as_ref(),
    }
}

fn name_of(meta: Option<&v1::Meta>) -> Result<(String, String), Refusal> {
    rows::name_of(meta).map_err(|why| refusal(rule::RESOURCE_EMPTY, why, []))
}

fn meta_uid(meta: Option<&v1::Meta>) -> String {
    meta.map(|meta| meta.uid.clone()).unwrap_or_default()
}

fn stamp_meta(meta: &mut Option<v1::Meta>, stamp: &Stamp) {
    if let Some(meta) = meta {
        meta.etag = stamp.index;
        meta.updated_at = Some(stamp.timestamp());
        if meta.created_revision == 0 {
            meta.created_revision = stamp.index;
            meta.created_at = Some(stamp.timestamp());
        }
    }
}

fn resource_changed(meta: &Option<v1::Meta>, kind: ResourceKind) -> Changed {
    let created = meta.as_ref().is_some_and(|meta| meta.created_revision == meta.etag);
    let change = if created { v1::ChangeKind::Created } else { v1::ChangeKind::Changed };
    Changed::Resource(change, Box::new(v1::Resource { kind: Some(kind) }))
}
