//! The replicated state as the Raft thread drives it: apply, collect, publish.

use std::sync::Arc;

use parallax_common::rule::ENTRY_UNKNOWN;
use tokio::sync::mpsc;
use tracing::error;

use crate::core::state::{self, Answer, Changed, LEVEL, Refusal, State};
use crate::raft::fatal::Fatal;
use crate::raft::machine::{Applied, Frozen, Label, LoadError, Machine};
use crate::store::rows::{Row, RowChange};
use crate::view::View;
use crate::watch::Telling;

/// What one applied batch changed, for the parts that follow the state.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Index of its last entry.
    pub revision: u64,
    /// Everything that changed, in the order of application, with the revision of its entry.
    pub changes: Vec<(u64, Changed)>,
    /// The same as watchers are told it: each change as it was right after its own entry.
    pub told: Arc<Telling>,
}

/// Owns the state on the Raft thread and publishes it after every batch.
pub struct StateMachine {
    state: State,
    view: View,
    changes: Vec<(u64, Changed)>,
    told: Telling,
    followers: Vec<mpsc::UnboundedSender<Batch>>,
    fatal: Fatal,
    /// An entry came that this build must not apply: nothing is applied or published any more.
    halted: bool,
}

impl StateMachine {
    /// A machine that publishes to `view` and tells `followers` what changed. The channels are
    /// unbounded because the Raft thread waits for nobody; what bounds them is that proposals are
    /// refused while the store's queue is three quarters full. `fatal` ends the process when an
    /// entry needs a newer build (decision 24).
    pub fn new(view: View, followers: Vec<mpsc::UnboundedSender<Batch>>, fatal: Fatal) -> Self {
        Self {
            state: State::default(),
            view,
            changes: Vec::new(),
            told: Telling::default(),
            followers,
            fatal,
            halted: false,
        }
    }

    /// Ends the process before anything of the entry, or of those before it in its batch, is seen.
    fn halt(&mut self, index: u64, level: u32) -> Applied<Answer> {
        self.halted = true;
        let message = format!(
            "entry {index} needs feature level {level} and this build has {LEVEL}: install the \
             newer build on this member"
        );
        (self.fatal)(&message);
        // Only a test comes here.
        let rule = ENTRY_UNKNOWN.id.into();
        let answer = Answer::Refused(Refusal { rule, message, subjects: Vec::new() });
        Applied { rows: Vec::new(), output: answer }
    }
}

impl Machine for StateMachine {
    type Output = Answer;

    fn apply(&mut self, index: u64, _term: u64, entry: &[u8]) -> Applied<Answer> {
        if let Some(level) = State::above_level(entry) {
            return self.halt(index, level);
        }
        let applied = self.state.apply(index, entry);
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

    fn publish(&mut self, applied: u64) {
        if self.halted {
            return;
        }
        self.state.applied = self.state.applied.max(applied);
        self.view.publish(self.state.clone());
        let batch = Batch {
            revision: applied,
            changes: std::mem::take(&mut self.changes),
            told: Arc::new(std::mem::take(&mut self.told)),
        };
        self.followers.retain(|follower| follower.send(batch.clone()).is_ok());
    }

    fn applied(&self) -> u64 {
        self.state.applied
    }

    fn freeze(&self) -> Frozen {
        let state = self.state.clone();
        Box::new(move || {
            let rows = state.to_rows().into_iter();
            rows.map(|row| Row { key: row.key, value: row.value }).collect()
        })
    }

    fn load(&mut self, rows: Vec<Row>, applied: u64) -> Result<(), LoadError> {
        let rows = rows.into_iter().map(|row| state::Row { key: row.key, value: row.value });
        self.state = State::from_rows(rows, applied).map_err(|damaged| {
            error!(%damaged, "stored state cannot be read");
            LoadError(damaged.to_string())
        })?;
        self.changes.clear();
        self.told = Telling::default();
        self.view.publish(self.state.clone());
        Ok(())
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
        assert!(said.lock()[0].contains("entry 3 needs feature level 2"), "{:?}", said.lock());
    }
}
