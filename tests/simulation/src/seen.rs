//! What the simulation sees of its members, for the invariants: the machine, the log and the way
//! out, each behind a thin wrapper that tells and changes nothing.

use std::sync::Arc;

use imbl::OrdMap;
use parallax_coordinator::core::state::{Answer, State};
use parallax_coordinator::machine::StateMachine;
use parallax_coordinator::raft::log::memory::{MemDisk, MemLog};
use parallax_coordinator::raft::log::{LogError, LogStore};
use parallax_coordinator::raft::machine::{Applied, Frozen, Label, LoadError, Machine};
use parallax_coordinator::raft::outbound::Outbound;
use parallax_coordinator::store::rows::{Row, RowChange};
use parallax_coordinator::view::View;
use parallax_proto::store;
use parallax_proto::v1::PageKind;
use parking_lot::Mutex;
use prost::Message as _;
use raft::eraftpb::{Entry, HardState, Message, SnapshotMetadata};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// How many applied entries lie between two hashes of a whole state.
const HASH_EVERY: u64 = 8;

/// One thing that was seen.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A member began a life, with the state at this index.
    Started {
        /// Which member.
        node: u64,
    },
    /// A member could not start, though its disks allow it.
    StartFailed {
        /// Which member.
        node: u64,
        /// What it said.
        why: String,
    },
    /// A member took a state from its rows or from a snapshot.
    Loaded {
        /// Which member.
        node: u64,
        /// The index of the state.
        index: u64,
        /// The state.
        state: Arc<State>,
        /// Of all its hot rows.
        hash: u64,
    },
    /// A member applied an entry.
    Applied {
        /// Which member.
        node: u64,
        /// Of the entry.
        index: u64,
        /// Of the entry.
        term: u64,
        /// Of the entry's bytes.
        digest: u64,
        /// Of the rows that changed.
        rows: u64,
        /// Client and number, when the entry is a request.
        request: Option<(String, u64)>,
        /// What the machine said.
        answer: Answer,
    },
    /// A member published what it applied.
    Published {
        /// Which member.
        node: u64,
        /// Up to which index.
        index: u64,
        /// The state.
        state: Arc<State>,
        /// Of all its hot rows, now and then.
        hash: Option<u64>,
    },
    /// Who votes, as of an applied index.
    Voters {
        /// Which member.
        node: u64,
        /// Up to which index.
        index: u64,
        /// Voters, then learners, each ascending.
        voters: (Vec<u64>, Vec<u64>),
    },
    /// A member appended to its log.
    Appended {
        /// Which member.
        node: u64,
        /// The term of the entry before the first.
        before: Option<u64>,
        /// Index, term and digest of each.
        entries: Vec<(u64, u64, u64)>,
        /// Where the log ends now.
        last: u64,
    },
    /// A member sent a message.
    Sent(Box<Message>),
    /// A member leads and has applied the first entry of its term.
    Leads {
        /// Which member.
        node: u64,
        /// In which term.
        term: u64,
        /// What it has applied.
        applied: u64,
    },
    /// The rows on a member's disk, when it had written all that it applied.
    Stored {
        /// Which member.
        node: u64,
        /// The index of the rows.
        index: u64,
        /// Of all hot rows in the store.
        stored: u64,
        /// Of all hot rows of the state.
        state: u64,
    },
    /// A member begins an attempt to page.
    PageStarted {
        /// Which member.
        node: u64,
        /// When.
        now_us: u64,
        /// Under which key.
        key: String,
    },
    /// A contact received a page.
    PageReceived {
        /// Under which key.
        key: String,
        /// About which incident.
        incident: String,
        /// Which contact.
        contact: String,
        /// What it says.
        kind: PageKind,
    },
    /// A client was told that its write is done.
    Acknowledged {
        /// Client and number.
        request: (String, u64),
        /// At which index.
        revision: u64,
    },
    /// A client was shown both halves of what is always written together.
    Read {
        /// Which key.
        key: u64,
        /// The value and etag of one.
        one: Option<(u64, u64)>,
        /// And of the other.
        other: Option<(u64, u64)>,
    },
}

/// Where it is told.
#[derive(Debug, Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<Seen>>>);

impl Sink {
    /// Tells.
    pub fn tell(&self, seen: Seen) {
        self.0.lock().push(seen);
    }

    /// What was told since the last time.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The hash of rows, in the order given.
pub fn hash_rows(rows: impl IntoIterator<Item = Row>) -> u64 {
    let mut hash = Xxh3::new();
    for row in rows {
        hash.update(&(row.key.len() as u64).to_le_bytes());
        hash.update(&row.key);
        hash.update(&(row.value.len() as u64).to_le_bytes());
        hash.update(&row.value);
    }
    hash.digest()
}

/// The hash of a machine's hot rows, in the order of their keys.
pub fn hash_state(machine: &impl Machine) -> u64 {
    let mut rows = Vec::new();
    machine.freeze()(&mut |row| rows.push(row));
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    hash_rows(rows)
}

fn hash_changes(changes: &[RowChange]) -> u64 {
    let mut hash = Xxh3::new();
    for change in changes {
        hash.update(&change.key);
        hash.update(change.value.as_deref().unwrap_or(b"\0gone"));
    }
    hash.digest()
}

/// The machine of production, watched.
pub struct SeenMachine {
    inner: StateMachine,
    view: View,
    node: u64,
    sink: Sink,
    hashed: u64,
}

impl SeenMachine {
    /// Watches a machine that publishes to `view`.
    pub fn new(inner: StateMachine, view: View, node: u64, sink: Sink) -> Self {
        Self { inner, view, node, sink, hashed: 0 }
    }
}

impl Machine for SeenMachine {
    type Output = Answer;

    fn apply(&mut self, index: u64, term: u64, entry: &[u8]) -> Applied<Answer> {
        let applied = self.inner.apply(index, term, entry);
        let request = store::Entry::decode(entry).ok().and_then(|entry| entry.request_id);
        self.sink.tell(Seen::Applied {
            node: self.node,
            index,
            term,
            digest: xxh3_64(entry),
            rows: hash_changes(&applied.rows),
            request: request.map(|id| (id.client, id.number)),
            answer: applied.output.clone(),
        });
        applied
    }

    fn publish(&mut self, applied: u64) {
        self.inner.publish(applied);
        let due = applied / HASH_EVERY != self.hashed / HASH_EVERY;
        let hash = due.then(|| hash_state(&self.inner));
        if due {
            self.hashed = applied;
        }
        let state = self.view.load();
        self.sink.tell(Seen::Published { node: self.node, index: applied, state, hash });
    }

    fn applied(&self) -> u64 {
        self.inner.applied()
    }

    fn freeze(&self) -> Frozen {
        self.inner.freeze()
    }

    fn load(&mut self, rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError> {
        self.inner.load(rows, applied)?;
        let (state, hash) = (self.view.load(), hash_state(&self.inner));
        self.sink.tell(Seen::Loaded { node: self.node, index: applied, state, hash });
        Ok(())
    }

    fn cold(key: &[u8]) -> Option<u64> {
        StateMachine::cold(key)
    }

    fn label(&self) -> Label {
        self.inner.label()
    }
}

/// The log's twin, watched.
pub struct SeenLog {
    inner: MemLog,
    node: u64,
    sink: Sink,
}

impl SeenLog {
    /// Watches a log.
    pub fn new(inner: MemLog, node: u64, sink: Sink) -> Self {
        Self { inner, node, sink }
    }
}

impl LogStore for SeenLog {
    fn hard_state(&self) -> &HardState {
        self.inner.hard_state()
    }

    fn start(&self) -> &SnapshotMetadata {
        self.inner.start()
    }

    fn last_index(&self) -> u64 {
        self.inner.last_index()
    }

    fn term(&self, index: u64) -> Result<u64, LogError> {
        self.inner.term(index)
    }

    fn entries(&self, low: u64, high: u64, bytes_max: Option<u64>) -> Result<Vec<Entry>, LogError> {
        self.inner.entries(low, high, bytes_max)
    }

    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<(), LogError> {
        self.inner.append(entries, hard_state)?;
        if let Some(first) = entries.first() {
            let said = |entry: &Entry| (entry.index, entry.term, xxh3_64(&entry.data));
            self.sink.tell(Seen::Appended {
                node: self.node,
                before: self.inner.term(first.index - 1).ok(),
                entries: entries.iter().map(said).collect(),
                last: self.inner.last_index(),
            });
        }
        Ok(())
    }

    fn install(
        &mut self,
        metadata: &SnapshotMetadata,
        hard_state: &HardState,
    ) -> Result<(), LogError> {
        self.inner.install(metadata, hard_state)
    }

    fn compact(&mut self, metadata: &SnapshotMetadata) -> Result<(), LogError> {
        self.inner.compact(metadata)
    }
}

/// Messages on their way out, each with the number of syncs that the disk had done by then.
#[derive(Clone)]
pub struct Post {
    letters: Arc<Mutex<Vec<(u64, Message)>>>,
    disk: MemDisk,
    sink: Sink,
}

impl Post {
    /// Collects what is sent beside `disk`.
    pub fn new(disk: MemDisk, sink: Sink) -> Self {
        Self { letters: Arc::default(), disk, sink }
    }

    /// What was sent since the last time.
    pub fn take(&self) -> Vec<(u64, Message)> {
        std::mem::take(&mut *self.letters.lock())
    }
}

impl Outbound for Post {
    fn send(&mut self, messages: Vec<Message>) {
        let syncs = self.disk.syncs();
        let mut letters = self.letters.lock();
        for message in messages {
            self.sink.tell(Seen::Sent(Box::new(message.clone())));
            letters.push((syncs, message));
        }
    }
}

/// What decides who runs what, in one number: every check with what matters of it, and the fleet.
pub fn plan_inputs(state: &State) -> u64 {
    let mut hash = Xxh3::new();
    for (uid, entry) in &state.checks {
        hash.update(uid.to_string().as_bytes());
        hash.update(&entry.check.etag.to_le_bytes());
        hash.update(&entry.check.run_digest.0.to_le_bytes());
    }
    let probes: &OrdMap<_, Arc<store::ProbeRow>> = &state.probes;
    for row in probes.values() {
        hash.update(&row.encode_to_vec());
    }
    hash.digest()
}
