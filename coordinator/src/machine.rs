//! The replicated state as the Raft thread drives it: apply, collect, publish.

use std::sync::Arc;

use parallax_common::rule::ENTRY_UNKNOWN;
use parallax_proto::convert::request::shown;
use parallax_proto::store;
use prost::Message as _;
use tokio::sync::mpsc;
use tracing::{Level, debug, enabled, error};

use crate::core::state::hash::RowSum;
use crate::core::state::{self, Answer, Changed, Refusal, State, command_word};
use crate::level::level;
use crate::raft::fatal::Fatal;
use crate::raft::machine::{Applied, Beyond, Frozen, Label, LoadError, Machine};
use crate::state_hash::Hashes;
use crate::store::rows::{Row, RowChange};
use crate::view::View;
use crate::watch::Telling;

/// What one applied batch changed, for the parts that follow the state.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Index of its last entry.
    pub revision: u64,
    /// Everything that changed, in the order of application, with the revision of its entry.
    pub changes: Arc<Vec<(u64, Changed)>>,
    /// The same as watchers are told it: each change as it was right after its own entry.
    pub told: Arc<Telling>,
    /// The state came whole, as a snapshot of the leader: anything may have changed, nothing is named,
    /// and what was known before is of no use.
    pub reset: bool,
}

/// Owns the state on the Raft thread and publishes it after every batch.
pub struct StateMachine {
    state: State,
    view: View,
    changes: Vec<(u64, Changed)>,
    told: Telling,
    /// What readers see was published once, so that those who follow know a state already.
    published: bool,
    reset: bool,
    followers: Vec<mpsc::UnboundedSender<Batch>>,
    fatal: Fatal,
    /// Of the hot rows.
    sum: RowSum,
    /// The newest index at which a hash was taken, or behind which the state was loaded.
    hashed: u64,
    hashes: Hashes,
    level: u32,
    /// An entry came that this build must not apply: nothing is applied or published any more.
    halted: bool,
}

impl StateMachine {
    /// A machine that publishes to `view` and tells `followers` what changed. The channels are
    /// unbounded because the Raft thread waits for nobody; what bounds them is that proposals are
    /// refused while the store's queue is three quarters full. `fatal` ends the process when an
    /// entry that needs a newer build gets here all the same: [`Machine::beyond`] is to keep it out
    /// (decision 24).
    pub fn new(view: View, followers: Vec<mpsc::UnboundedSender<Batch>>, fatal: Fatal) -> Self {
        Self {
            state: State::default(),
            view,
            changes: Vec::new(),
            told: Telling::default(),
            published: false,
            reset: false,
            followers,
            fatal,
            sum: RowSum::default(),
            hashed: 0,
            hashes: Hashes::default(),
            level: level(),
            halted: false,
        }
    }

    /// Keeps its hashes where others see them.
    pub fn with_hashes(self, hashes: Hashes) -> Self {
        Self { hashes, ..self }
    }

    /// The hash of the hot rows, as kept up to date by what each entry changed.
    pub fn sum(&self) -> u64 {
        self.sum.sum()
    }

    /// Takes the hash at the last boundary before `index`, if none was. The entries on either side
    /// of it are the same on every member, whatever came between them: empty entries and changes
    /// of the members do not get here.
    fn take_hash(&mut self, index: u64) {
        let boundary = Hashes::boundary(index);
        if boundary > self.hashed {
            self.hashed = boundary;
            self.hashes.keep(boundary, self.sum.sum());
        }
    }

    /// Compares the own hash with what an entry says that the majority has.
    fn compare(&self, entry: &[u8]) {
        if let Some((index, hash)) = State::agreed_hash(entry)
            && !self.hashes.compare(index, hash)
        {
            error!(index, "the state of this member differs from that of the majority");
        }
    }

    /// Ends the process before anything of the entry, or of those before it in its batch, is seen.
    fn halt(&mut self, index: u64, level: u32) -> Applied<Answer> {
        self.halted = true;
        let message = format!(
            "entry {index} needs feature level {level} and this build has {}: install the \
             newer build on this member",
            self.level
        );
        (self.fatal)(&message);
        // Only a test comes here.
        let rule = ENTRY_UNKNOWN.id.into();
        let answer = Answer::Refused(Refusal { rule, message, subjects: Vec::new() });
        Applied { rows: Vec::new(), output: answer }
    }
}

/// Says in the log of this member that it has applied somebody's request, by the id that the asker knows.
fn tell(index: u64, entry: &[u8], answer: &Answer) {
    let Ok(entry) = store::Entry::decode(entry) else { return };
    let Some(id) = &entry.request_id else { return };
    let (request, command) = (shown(id), command_word(entry.command.as_ref()));
    let rule = match answer {
        Answer::Accepted { .. } => "",
        Answer::Refused(refusal) => &refusal.rule,
    };
    debug!(request, command, index, rule, "a request is applied");
}

impl Machine for StateMachine {
    type Output = Answer;

    fn apply(&mut self, index: u64, _term: u64, entry: &[u8]) -> Applied<Answer> {
        if let Some(level) = State::above_level(entry, self.level) {
            return self.halt(index, level);
        }
        self.take_hash(index);
        let applied = self.state.apply(index, entry);
        if enabled!(Level::DEBUG) {
            tell(index, entry, &applied.answer);
        }
        self.compare(entry);
        for row in &applied.rows {
            self.sum.change(&row.key, row.value.as_ref());
        }
        // Now, not when the batch is looked at: the state will have moved on by then.
        self.told.add(&self.state, index, &applied);
        self.changes.extend(applied.changes.into_iter().map(|change| (index, change)));
        let rows = applied
            .rows
            .into_iter()
            .map(|change| RowChange { key: change.key, value: change.value })
            .collect();
        Applied { rows, output: applied.answer }
    }

    fn beyond(&self, entry: &[u8]) -> Option<Beyond> {
        let needs = State::above_level(entry, self.level)?;
        Some(Beyond { needs, has: self.level })
    }

    fn row_beyond(&self, row: &Row) -> Option<Beyond> {
        let needs = State::level_of(&row.key, &row.value).filter(|level| *level > self.level)?;
        Some(Beyond { needs, has: self.level })
    }

    fn publish(&mut self, applied: u64) {
        if self.halted {
            return;
        }
        self.state.applied = self.state.applied.max(applied);
        self.view.publish(self.state.clone());
        let batch = Batch {
            revision: applied,
            changes: Arc::new(std::mem::take(&mut self.changes)),
            told: Arc::new(std::mem::take(&mut self.told)),
            reset: std::mem::take(&mut self.reset),
        };
        self.published = true;
        self.followers.retain(|follower| follower.send(batch.clone()).is_ok());
    }

    fn applied(&self) -> u64 {
        self.state.applied
    }

    fn freeze(&self) -> Frozen {
        let state = self.state.clone();
        Box::new(move |each| {
            state.each_row(&mut |row| each(Row { key: row.key, value: row.value }));
        })
    }

    fn load(&mut self, rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError> {
        let mut sum = RowSum::default();
        let rows = rows.map(|row| {
            sum.change(&row.key, Some(&row.value));
            state::Row { key: row.key, value: row.value }
        });
        self.state = State::from_rows(rows, applied).map_err(|damaged| {
            error!(%damaged, "stored state cannot be read");
            LoadError(damaged.to_string())
        })?;
        self.sum = sum;
        self.hashed = applied;
        self.hashes.forget();
        self.changes.clear();
        self.told = Telling::default();
        self.reset = self.published;
        self.view.publish(self.state.clone());
        Ok(())
    }

    fn check(rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError> {
        let rows = rows.map(|row| state::Row { key: row.key, value: row.value });
        let read = State::from_rows(rows, applied);
        read.map(drop).map_err(|damaged| LoadError(damaged.to_string()))
    }

    fn cold(key: &[u8]) -> Option<u64> {
        State::cold(key)
    }

    fn label(&self) -> Label {
        Label { mesh: self.state.cluster.mesh.clone(), epoch: self.state.cluster.epoch }
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::store;
    use parking_lot::Mutex;
    use prost::Message as _;

    use super::*;
    use crate::core::state::LEVEL;

    #[test]
    fn an_entry_of_a_newer_build_ends_the_process_before_anything_is_published() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let (view, heard) = (View::default(), Arc::clone(&said));
        let fatal: Fatal = Arc::new(move |reason| heard.lock().push(reason.to_owned()));
        let mut machine = StateMachine::new(view.clone(), Vec::new(), fatal);
        let entry = |min_level| store::Entry { min_level, ..store::Entry::default() };
        machine.apply(1, 1, &entry(LEVEL).encode_to_vec());
        machine.publish(1);
        assert_eq!((view.load().applied, said.lock().len()), (1, 0));
        // In one batch with an entry that could be applied.
        machine.apply(2, 1, &entry(LEVEL).encode_to_vec());
        let applied = machine.apply(3, 1, &entry(LEVEL + 1).encode_to_vec());
        assert!(applied.rows.is_empty());
        machine.publish(3);
        assert_eq!(view.load().applied, 1);
        assert_eq!(said.lock().len(), 1);
        let needs = format!("entry 3 needs feature level {}", LEVEL + 1);
        assert!(said.lock()[0].contains(&needs), "{:?}", said.lock());
    }
    #[test]
    fn a_snapshot_that_is_installed_while_running_is_told_as_a_new_beginning() {
        let never: Fatal = Arc::new(|reason| panic!("{reason}"));
        let (follower, mut told) = mpsc::unbounded_channel();
        let mut machine = StateMachine::new(View::default(), vec![follower], never);
        // As a start does: what is found is no news.
        machine.load(&mut std::iter::empty(), 3).unwrap();
        machine.publish(3);
        machine.apply(4, 1, &store::Entry::default().encode_to_vec());
        machine.publish(4);
        machine.load(&mut std::iter::empty(), 9).unwrap();
        machine.publish(9);
        machine.publish(10);
        let mut batches = std::iter::from_fn(|| told.try_recv().ok());
        let told: Vec<_> = batches.by_ref().map(|batch| (batch.revision, batch.reset)).collect();
        assert_eq!(told, [(3, false), (4, false), (9, true), (10, false)]);
    }

    fn hashed(entries: &[(u64, store::entry::Command)]) -> (StateMachine, Hashes) {
        let hashes = Hashes::default();
        let fatal: Fatal = Arc::new(|reason| panic!("{reason}"));
        let machine = StateMachine::new(View::default(), Vec::new(), fatal);
        let mut machine = machine.with_hashes(hashes.clone());
        for (index, command) in entries {
            let command = Some(command.clone());
            let entry = store::Entry { min_level: 1, command, ..store::Entry::default() };
            machine.apply(*index, 1, &entry.encode_to_vec());
        }
        (machine, hashes)
    }

    #[test]
    fn members_hash_the_same_state_at_the_same_index_whatever_lies_between() {
        use store::entry::Command;
        let every = parallax_common::limits::STATE_HASH_EVERY;
        let init = |mesh: &str| {
            let (mesh, level) = (mesh.to_owned(), 1);
            Command::InitCluster(store::InitCluster { mesh, level, ..Default::default() })
        };
        let nothing = || Command::ForgetClients(store::ForgetClients::default());
        // Empty entries are not applied: one member's batches end elsewhere than another's.
        let (first, said) =
            hashed(&[(2, init("m")), (every - 1, nothing()), (every + 3, nothing())]);
        let (_, same) = hashed(&[(2, init("m")), (every, nothing()), (every + 1, nothing())]);
        let (_, other) = hashed(&[(2, init("n")), (every - 1, nothing()), (every + 3, nothing())]);
        let at = said.at(every).expect("a hash was taken");
        assert_eq!(same.at(every), Some(at));
        assert_ne!(other.at(every), Some(at));
        // One that loads the rows goes on with the same hash.
        let mut loaded = StateMachine::new(View::default(), Vec::new(), Arc::new(|_| {}));
        let mut rows = Vec::new();
        first.freeze()(&mut |row| rows.push(row));
        loaded.load(&mut rows.into_iter(), every + 3).unwrap();
        assert_eq!(loaded.sum.sum(), first.sum.sum());
        // What the majority says is compared when it is applied, and only a difference is heard.
        let agreed =
            |hash| Command::StateHash(store::StateHash { index: every, hash, disputed: false });
        let entries = |hash| [(2, init("m")), (every + 1, nothing()), (every + 2, agreed(hash))];
        assert!(!hashed(&entries(at)).1.differs());
        assert!(hashed(&entries(at + 1)).1.differs());
    }
}
