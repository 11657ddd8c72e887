//! The last changes, for watchers: a ring of applied changes that a watch can resume over.
//!
//! What a watcher is told is put into words by the machine, right after the entry was applied
//! ([`Telling`]): whoever looks later sees a later state. A watcher gets what is in its namespace
//! and nothing else; probes alone belong to everybody. Its place in the ring is in
//! `watch/cursor.rs`, its stream in `watch/feed.rs`.
//!
//! Revisions are indexes of the log, so that any member goes on where another one stopped.

pub mod cursor;
pub mod feed;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use parallax_common::limits::{WATCH_BYTES_MAX, WATCH_CHANGES_MAX, WATCH_PART_CHANGES};
use parallax_proto::convert::contact::redacted::redacted;
use parallax_proto::convert::resource::meta_of;
use parallax_proto::v1::watch_response::Change;
use parallax_proto::{convert, v1};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{mpsc, watch};

use crate::core::state::{Applied, Changed, Name, State};
use crate::machine::Batch;
use crate::mutant::{self, Mutant};

/// Handle to the ring.
#[derive(Debug, Clone)]
pub struct Changes {
    ring: Arc<Mutex<Ring>>,
    revision: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    /// So many changes are kept at most.
    most: usize,
    /// Everything up to this revision is gone.
    compacted: u64,
    changes: VecDeque<Arc<Told>>,
    /// Of all of them.
    bytes: usize,
}

/// Some of the changes that a watcher has missed, every revision whole.
#[derive(Debug)]
pub struct Part {
    told: Vec<Arc<Told>>,
    /// There is more, after this revision.
    pub more_after: Option<u64>,
}

impl Part {
    /// As the watcher is told them, oldest first.
    pub fn responses(&self) -> impl Iterator<Item = v1::WatchResponse> {
        self.told.iter().enumerate().map(|(at, told)| {
            let mut response = told.response.clone();
            let next = self.told.get(at + 1).map(|next| next.response.revision);
            response.more = next == Some(response.revision);
            response
        })
    }
}

/// The revision asked for is older than what is kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The oldest revision that can be resumed from.
    pub oldest: u64,
}

/// One change in the words of the API.
#[derive(Debug)]
struct Told {
    audience: Audience,
    response: v1::WatchResponse,
    /// Of the response, encoded.
    bytes: usize,
}

/// Who may hear of a change.
#[derive(Debug, PartialEq, Eq)]
enum Audience {
    /// Every watcher.
    All,
    /// Watchers of this namespace.
    Namespace(String),
}

impl Audience {
    fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(of) => of == namespace,
        }
    }
}

/// What the entries of one batch changed, in the order of application.
#[derive(Debug, Default)]
pub struct Telling {
    /// Not 0: what changed up to this revision was too much to be kept.
    compacted: u64,
    changes: Vec<Arc<Told>>,
}

impl Telling {
    /// Adds what one entry did. `state` is the state that it left behind.
    pub fn add(&mut self, state: &State, revision: u64, applied: &Applied) {
        if applied.changes.len() > WATCH_CHANGES_MAX {
            // The ring could not hold it, and half a revision is of no use to anybody.
            self.changes.clear();
            self.compacted = revision;
            return;
        }
        let at = Some(convert::time::timestamp(state.last_utc()));
        let mut bytes = 0;
        // Asked for by verdicts only.
        let mut written: Option<BTreeSet<&[u8]>> = None;
        let mut said = BTreeSet::new();
        for changed in &applied.changes {
            // What an entry touched more than once is told once, as the entry left it.
            if applied.changes.len() > 1 && !key(changed).is_none_or(|key| said.insert(key)) {
                continue;
            }
            // A proposal that changed nothing is for the judge, not for watchers.
            if let Changed::Verdict(uid) = changed {
                let written = written.get_or_insert_with(|| {
                    applied.rows.iter().map(|row| row.key.as_ref()).collect()
                });
                if !written.contains(State::verdict_row(uid).as_slice()) {
                    continue;
                }
            }
            if let Some((audience, change)) = describe(state, changed) {
                let response =
                    v1::WatchResponse { revision, at, change: Some(change), more: false };
                let told = Told { audience, bytes: response.encoded_len(), response };
                bytes += told.bytes;
                if bytes > WATCH_BYTES_MAX {
                    self.changes.clear();
                    self.compacted = revision;
                    return;
                }
                self.changes.push(Arc::new(told));
            }
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::holding(WATCH_CHANGES_MAX)
    }
}

impl Changes {
    /// An empty ring for so many changes.
    pub fn holding(most: usize) -> Self {
        let ring = Ring { most, compacted: 0, changes: VecDeque::new(), bytes: 0 };
        Self { ring: Arc::new(Mutex::new(ring)), revision: watch::Sender::new(0) }
    }

    /// Follows applied batches until the machine is gone. What came before `start` is not known.
    pub async fn follow(self, start: u64, mut batches: mpsc::UnboundedReceiver<Batch>) {
        self.begin(start);
        while let Some(batch) = batches.recv().await {
            self.take(&batch);
        }
    }

    /// Takes what one applied batch changed.
    pub fn take(&self, batch: &Batch) {
        if batch.reset && !mutant::on(Mutant::WatchOverSnapshot) {
            // What lies between the last change and this state was never seen here.
            self.begin(batch.revision);
        }
        self.push(batch.revision, &batch.told);
    }

    /// Knows nothing of what came up to `start`.
    pub fn begin(&self, start: u64) {
        let mut ring = self.ring.lock();
        ring.changes.clear();
        (ring.bytes, ring.compacted) = (0, start);
        drop(ring);
        self.revision.send_replace(start);
    }

    fn push(&self, revision: u64, told: &Telling) {
        let mut ring = self.ring.lock();
        if told.compacted > 0 {
            ring.changes.clear();
            ring.bytes = 0;
            ring.compacted = told.compacted;
        }
        ring.bytes += told.changes.iter().map(|told| told.bytes).sum::<usize>();
        ring.changes.extend(told.changes.iter().cloned());
        while ring.changes.len() > ring.most || ring.bytes > WATCH_BYTES_MAX {
            let Some(told) = ring.changes.pop_front() else { break };
            ring.bytes -= told.bytes;
            if !mutant::on(Mutant::WatchForgetsGap) {
                ring.compacted = told.response.revision;
            }
        }
        drop(ring);
        self.revision.send_replace(revision);
    }

    /// What a watcher of `namespace` may know of the next changes with a revision above `after`:
    /// at most [`WATCH_PART_CHANGES`], and those up to the end of the last one's revision.
    ///
    /// # Errors
    /// [`Compacted`] when some of them are gone.
    pub fn after(&self, after: u64, namespace: &str) -> Result<Part, Compacted> {
        let ring = self.ring.lock();
        if after < ring.compacted {
            return Err(Compacted { oldest: ring.compacted });
        }
        let start = ring.changes.partition_point(|told| told.response.revision <= after);
        let mut part = Part { told: Vec::new(), more_after: None };
        for told in ring.changes.range(start..).filter(|told| told.audience.has(namespace)) {
            let last = part.told.last().map_or(after, |last: &Arc<Told>| last.response.revision);
            if part.told.len() >= WATCH_PART_CHANGES && told.response.revision > last {
                part.more_after = Some(last);
                break;
            }
            part.told.push(Arc::clone(told));
        }
        Ok(part)
    }

    /// Wakes whoever waits for the next revision.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

/// What a change is about, where one entry can name the same thing more than once.
fn key(changed: &Changed) -> Option<(u8, Name)> {
    match changed {
        Changed::Verdict(uid) => Some((0, (uid.to_string(), String::new()))),
        Changed::Incident(uid) => Some((1, (uid.clone(), String::new()))),
        Changed::Delivery(key, incident) => Some((2, (key.clone(), incident.clone()))),
        Changed::Probe(region, name) => Some((3, (region.clone(), name.clone()))),
        Changed::Check(uid) => Some((4, (uid.to_string(), String::new()))),
        Changed::Silence(uid) => Some((5, (uid.clone(), String::new()))),
        Changed::CheckGone(..)
        | Changed::Resource(..)
        | Changed::Region(_)
        | Changed::Member(_) => None,
    }
}

/// The change in the words of the API and who may hear it. What has no namespace is told to
/// nobody.
fn describe(state: &State, changed: &Changed) -> Option<(Audience, Change)> {
    match changed {
        Changed::Check(uid) => {
            let check = state.checks.get(uid)?.wire.clone();
            let meta = check.meta.as_ref();
            let created = meta.is_some_and(|meta| meta.etag == meta.created_revision);
            let kind = if created { v1::ChangeKind::Created } else { v1::ChangeKind::Changed };
            resource(kind, v1::Resource { kind: Some(v1::resource::Kind::Check(check)) })
        }
        Changed::CheckGone(_, check) => {
            let check = v1::resource::Kind::Check(check.as_ref().clone());
            resource(v1::ChangeKind::Deleted, v1::Resource { kind: Some(check) })
        }
        Changed::Resource(kind, changed) => resource(*kind, changed.as_ref().clone()),
        Changed::Probe(region, name) => {
            let row = state.probes.get(&(region.clone(), name.clone()));
            let probe = row.map_or(v1::ProbeState::Unspecified, |row| row.state());
            let (region, name) = (region.clone(), name.clone());
            let changed = v1::ProbeChanged { region, name, state: probe.into() };
            Some((Audience::All, Change::Probe(changed)))
        }
        Changed::Verdict(uid) => {
            let namespace = state.checks.get(uid)?.check.namespace.clone();
            let verdict = state.verdicts.get(uid)?.as_ref().clone();
            Some((Audience::Namespace(namespace), Change::Verdict(verdict)))
        }
        Changed::Incident(uid) => {
            let incident = state.incidents.get(uid)?;
            let audience = Audience::Namespace(incident.namespace.clone());
            Some((audience, Change::Incident(incident.as_ref().clone())))
        }
        Changed::Delivery(key, incident) => {
            let incident = state.incidents.get(incident)?;
            let delivery = incident.deliveries.iter().find(|d| d.idempotency_key == *key)?;
            let audience = Audience::Namespace(incident.namespace.clone());
            Some((audience, Change::Delivery(delivery.clone())))
        }
        Changed::Silence(uid) => {
            let silence = state.silences.get(uid)?.wire.clone();
            Some((Audience::Namespace(silence.namespace.clone()), Change::Silence(silence)))
        }
        Changed::Region(_) | Changed::Member(_) => None,
    }
}

/// A resource as whoever may watch sees it: with no secret of a contact, as watching needs no more than to
/// be allowed to look.
fn resource(kind: v1::ChangeKind, mut resource: v1::Resource) -> Option<(Audience, Change)> {
    if let Some(v1::resource::Kind::Contact(contact)) = resource.kind {
        resource.kind = Some(v1::resource::Kind::Contact(redacted(contact)));
    }
    let audience = Audience::Namespace(meta_of(&resource)?.namespace.clone());
    let changed = v1::ResourceChanged { kind: kind.into(), resource: Some(resource) };
    Some((audience, Change::Resource(changed)))
}

#[cfg(test)]
mod tests;
