//! What the simulation sees of its members, for the invariants: the machine, the log and the way
//! out, each behind a thin wrapper that tells and changes nothing.

mod watched;

pub use self::watched::Watched;

use std::sync::Arc;

use parallax_common::name::{Generation, Uid};
use parallax_common::outcome::BallotState;
use parallax_common::time::{MeshTime, UtcTime};
use parallax_coordinator::core::plan::Plan;
use parallax_coordinator::core::state::hash::RowSum;
use parallax_coordinator::core::state::{Answer, State};
use parallax_coordinator::machine::StateMachine;
use parallax_coordinator::raft::log::memory::{MemDisk, MemLog};
use parallax_coordinator::raft::log::{LogError, LogStore};
use parallax_coordinator::raft::machine::{Applied, Frozen, Label, LoadError, Machine};
use parallax_coordinator::raft::outbound::Outbound;
use parallax_coordinator::store::rows::{Row, RowChange};
use parallax_coordinator::view::View;
use parallax_proto::store::VerdictAction;
use parallax_proto::v1::{DeliveryState, PageKind, ProbeState, Verdict};
use parallax_proto::{store, v1};
use parking_lot::Mutex;
use prost::Message as _;
use raft::eraftpb::{Entry, HardState, Message, MessageType, SnapshotMetadata};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// How many applied entries lie between two looks at a whole state. In between its hash is that of
/// the rows that its entries wrote.
const WHOLE_EVERY: u64 = 64;

/// One thing that was seen.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A member began a life.
    Started {
        /// Which member.
        node: u64,
        /// Where the log on its disk ends.
        last: u64,
        /// The term on its disk.
        term: u64,
        /// For whom its disk says that it voted in that term; 0: for nobody.
        vote: u64,
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
        /// Of the hot rows that it was made from.
        hash: u64,
        /// Of the hot rows that the state itself gives.
        whole: u64,
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
        /// Where it was carried out, by what the machine said; none: it was refused.
        revision: Option<u64>,
        /// What the state's clock says after it.
        utc: Option<UtcTime>,
    },
    /// A member published what it applied.
    Published {
        /// Which member.
        node: u64,
        /// Up to which index.
        index: u64,
        /// The state.
        state: Arc<State>,
        /// Of its hot rows, as its entries wrote them.
        hash: u64,
        /// Of the hot rows that the state itself gives, now and then.
        whole: Option<u64>,
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
        /// Index, term and digest of each; empty: a snapshot took the log's place.
        entries: Vec<(u64, u64, u64)>,
        /// Where the log ends now.
        last: u64,
    },
    /// A member sent a message.
    Sent {
        /// Which member.
        from: u64,
        /// To whom.
        to: u64,
        /// What it is.
        kind: MessageType,
        /// The term that it speaks of.
        term: u64,
        /// As the kind has it: of an acknowledgement, where the log agrees.
        index: u64,
        /// It says no.
        reject: bool,
    },
    /// A member leads and has applied the first entry of its term.
    Leads {
        /// Which member.
        node: u64,
        /// In which term.
        term: u64,
        /// What it has applied.
        applied: u64,
        /// Mesh time as it has it.
        mesh: MeshTime,
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
    /// An entry wrote incidents: who holds which of their pages now.
    Claimed {
        /// Of the entry.
        index: u64,
        /// Pages that wait, each with its holder.
        holders: Vec<(String, u64)>,
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
    /// A frame was refused by whoever it was for. Nobody sends what breaks a rule.
    FrameRefused {
        /// By whom.
        by: String,
        /// In words.
        why: String,
    },
    /// A probe put a plan in force.
    PlanAccepted {
        /// Which life of it.
        incarnation: u64,
        /// Of the plan.
        generation: Generation,
    },
    /// A member made a plan.
    Planned {
        /// Which member.
        node: u64,
        /// Of the plan.
        generation: Generation,
        /// Of who runs what.
        digest: u64,
    },
    /// A session of a life of a probe began at a member, or at another one that relays it.
    Heard {
        /// Which member.
        node: u64,
        /// Its mesh time.
        mesh: MeshTime,
        /// Which life.
        life: u64,
    },
    /// A member ordered a confirmation.
    Ordered {
        /// Which member.
        node: u64,
        /// Whether Raft says that it leads.
        leads: bool,
    },
    /// What the runs of one life of a probe have seen of a check is something else now.
    Felt {
        /// When.
        now_us: u64,
        /// The region it looks from.
        region: String,
        /// Which check.
        check: Uid,
        /// Which version of it.
        digest: u64,
        /// What they say.
        state: BallotState,
    },
    /// A run passed of a check of which its probe has not seen enough yet.
    Passed {
        /// When.
        now_us: u64,
        /// The region it looks from.
        region: String,
        /// Which check.
        check: Uid,
        /// Which version of it.
        digest: u64,
    },
    /// An entry changed verdicts.
    Decided {
        /// Of the entry.
        index: u64,
        /// The member that decided.
        by: u64,
        /// What it changed.
        changes: Vec<Decided>,
    },
    /// How a member and the probes stand to one another, four times a second.
    Watched {
        /// When.
        now_us: u64,
        /// Which member.
        node: u64,
        /// Its term.
        term: u64,
        /// Its mesh time.
        mesh: MeshTime,
        /// Whether it leads.
        leads: bool,
        /// Whether it reaches a quorum, both ways, and all of their disks are quick.
        commits: bool,
        /// The checks, as it knows them.
        checks: Vec<Watched>,
    },
    /// A watcher was shown all there is.
    Listed {
        /// Which watcher.
        watcher: usize,
        /// What it watches.
        namespace: String,
        /// The state that it was shown.
        state: Arc<State>,
    },
    /// A watcher was told changes, whole revisions.
    Told {
        /// Which watcher.
        watcher: usize,
        /// In this order.
        changes: Vec<v1::WatchResponse>,
        /// The state up to which it was told everything, when it was.
        state: Option<Arc<State>>,
    },
    /// A member lets another one in.
    LetIn {
        /// Which member.
        node: u64,
        /// Whom.
        from: u64,
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

/// One verdict that an entry changed.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Of which check.
    pub check: Uid,
    /// Decided for the check as of then.
    pub etag: u64,
    /// Decided for this version of it.
    pub digest: u64,
    /// Decided on this verdict.
    pub expected: u64,
    /// Which one it has become.
    pub sequence: u64,
    /// What becomes of an incident.
    pub action: VerdictAction,
    /// What is said now.
    pub verdict: Verdict,
    /// A ballot that it was made from was stale.
    pub by_stale: bool,
    /// When it was decided, by the clock of whoever did.
    pub decided: Option<MeshTime>,
    /// All that it was made from.
    pub record: v1::DecisionRecord,
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

/// The hash of rows, whatever their order. Cold ones are not counted.
pub fn hash_rows(rows: impl IntoIterator<Item = Row>) -> u64 {
    let mut sum = RowSum::default();
    rows.into_iter().for_each(|row| sum.change(&row.key, Some(&row.value)));
    sum.sum()
}

/// The hash of the hot rows that a machine's state gives.
pub fn hash_state(machine: &impl Machine) -> u64 {
    let mut sum = RowSum::default();
    machine.freeze()(&mut |row| sum.change(&row.key, Some(&row.value)));
    sum.sum()
}

/// What matters of an entry here; the rest is passed over.
#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(message, optional, tag = "2")]
    request_id: Option<v1::RequestId>,
    #[prost(message, optional, tag = "20")]
    verdicts: Option<store::ChangeVerdicts>,
}

/// The key of the cluster's row.
const CLUSTER: &[u8] = b"C";

/// What matters of the cluster's row here.
#[derive(Clone, PartialEq, prost::Message)]
struct Clock {
    #[prost(int64, tag = "7")]
    last_utc_ns: i64,
}

/// What the state's clock says after an entry that wrote these rows.
fn clock(rows: &[RowChange]) -> Option<UtcTime> {
    let row = rows.iter().find(|row| row.key == CLUSTER)?;
    let clock = Clock::decode(row.value.as_deref()?).ok()?;
    Some(UtcTime::from_ns(clock.last_utc_ns))
}

/// The table of incidents.
const INCIDENTS: &[u8] = b"i";

/// What matters of an incident's row here.
#[derive(Clone, PartialEq, prost::Message)]
struct Paged {
    #[prost(message, repeated, tag = "16")]
    deliveries: Vec<v1::Delivery>,
}

/// The pages that wait in the incidents of these rows, each with its holder.
fn holders(rows: &[RowChange]) -> Vec<(String, u64)> {
    let incidents = rows.iter().filter(|row| row.key.starts_with(INCIDENTS));
    let incidents = incidents.filter_map(|row| Paged::decode(row.value.as_deref()?).ok());
    let pages = incidents.flat_map(|incident| incident.deliveries);
    let waiting = pages.filter(|page| page.state() == DeliveryState::Pending);
    waiting.map(|page| (page.idempotency_key, page.claimed_by)).collect()
}

fn hash_changes(changes: &[RowChange]) -> u64 {
    let mut hash = Xxh3::new();
    for change in changes {
        hash.update(&change.key);
        hash.update(change.value.as_deref().unwrap_or(b"\0gone"));
    }
    hash.digest()
}

/// What became of a decision, when the entry wrote the verdict.
fn decided(change: &store::VerdictChange, rows: &[RowChange]) -> Option<Decided> {
    let check: Uid = change.check_uid.parse().ok()?;
    let key = State::verdict_row(&check);
    let row = rows.iter().rev().find(|row| row.key.as_ref() == key.as_slice())?;
    let row = store::VerdictRow::decode(row.value.as_deref()?).ok()?.verdict?;
    let record = change.record.as_ref()?;
    Some(Decided {
        check,
        etag: change.etag,
        digest: change.run_digest,
        expected: change.expected_sequence,
        sequence: row.sequence,
        action: change.action(),
        verdict: record.verdict(),
        by_stale: record.ballots.iter().any(|ballot| ballot.stale),
        decided: record.decided_at.map(|at| {
            MeshTime::from_ns(at.seconds.saturating_mul(1_000_000_000) + i64::from(at.nanos))
        }),
        record: record.clone(),
    })
}

/// The machine of production, watched.
pub struct SeenMachine {
    inner: StateMachine,
    view: View,
    node: u64,
    sink: Sink,
    looked: u64,
}

impl SeenMachine {
    /// Watches a machine that publishes to `view`.
    pub fn new(inner: StateMachine, view: View, node: u64, sink: Sink) -> Self {
        Self { inner, view, node, sink, looked: 0 }
    }

    /// Of the hot rows that the state itself gives. Before its first entry that is a row of the
    /// cluster which nobody wrote.
    fn whole(&self) -> u64 {
        if self.inner.sum() == 0 { 0 } else { hash_state(&self.inner) }
    }

    /// Of the hot rows, as what was applied wrote them.
    pub fn hash(&self) -> u64 {
        self.inner.sum()
    }
}

impl Machine for SeenMachine {
    type Output = Answer;

    fn apply(&mut self, index: u64, term: u64, entry: &[u8]) -> Applied<Answer> {
        let applied = self.inner.apply(index, term, entry);
        let head = Head::decode(entry).unwrap_or_default();
        if let Some(decision) = head.verdicts {
            let changed = |change| decided(change, &applied.rows);
            let changes: Vec<Decided> = decision.changes.iter().filter_map(changed).collect();
            if !changes.is_empty() {
                self.sink.tell(Seen::Decided { index, by: decision.node_id, changes });
            }
        }
        let holders = holders(&applied.rows);
        if !holders.is_empty() {
            self.sink.tell(Seen::Claimed { index, holders });
        }
        let request = head.request_id;
        let revision = match applied.output {
            Answer::Accepted { revision, .. } => Some(revision),
            Answer::Refused(_) => None,
        };
        self.sink.tell(Seen::Applied {
            node: self.node,
            index,
            term,
            digest: xxh3_64(entry),
            rows: hash_changes(&applied.rows),
            request: request.map(|id| (id.client, id.number)),
            revision,
            utc: clock(&applied.rows),
        });
        applied
    }

    fn publish(&mut self, applied: u64) {
        self.inner.publish(applied);
        let due = applied / WHOLE_EVERY != self.looked / WHOLE_EVERY;
        let whole = due.then(|| self.whole());
        if due {
            self.looked = applied;
        }
        let (state, hash) = (self.view.load(), self.inner.sum());
        self.sink.tell(Seen::Published { node: self.node, index: applied, state, hash, whole });
    }

    fn applied(&self) -> u64 {
        self.inner.applied()
    }

    fn freeze(&self) -> Frozen {
        self.inner.freeze()
    }

    fn load(&mut self, rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError> {
        self.inner.load(rows, applied)?;
        let (state, hash, whole) = (self.view.load(), self.inner.sum(), self.whole());
        self.sink.tell(Seen::Loaded { node: self.node, index: applied, state, hash, whole });
        Ok(())
    }

    fn check(rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError> {
        StateMachine::check(rows, applied)
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
        self.inner.install(metadata, hard_state)?;
        self.sink.tell(Seen::Appended {
            node: self.node,
            before: None,
            entries: Vec::new(),
            last: self.inner.last_index(),
        });
        Ok(())
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
            self.sink.tell(Seen::Sent {
                from: message.from,
                to: message.to,
                kind: message.get_msg_type(),
                term: message.term,
                index: message.index,
                reject: message.reject,
            });
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
    // What else a row says moves no work.
    for row in state.probes.values().filter(|row| row.state() == ProbeState::Live) {
        hash.update(row.region.as_bytes());
        hash.update(row.probe.as_bytes());
        hash.update(&row.incarnation.to_le_bytes());
    }
    hash.digest()
}

/// Who runs what, in one number.
pub fn hash_plan(plan: &Plan) -> u64 {
    let mut hash = Xxh3::new();
    for uid in plan.checks() {
        hash.update(uid.as_bytes());
        for assignee in plan.assignees(&uid).iter() {
            let life = assignee.as_ref().map_or(0, |probe| probe.incarnation.0);
            hash.update(&life.to_le_bytes());
        }
    }
    hash.digest()
}
