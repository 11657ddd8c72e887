//! What is replicated: the machine that applies entries.

use thiserror::Error;

use crate::store::rows::{Row, RowChange};

/// What applying one entry did.
#[derive(Debug)]
pub struct Applied<O> {
    /// Rows that it wrote or removed.
    pub rows: Vec<RowChange>,
    /// The answer to whoever proposed it.
    pub output: O,
}

/// A level that this build does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// What is needed.
    pub needs: u32,
    /// What this build has.
    pub has: u32,
}

/// What a snapshot says about the state in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// Name of the mesh; empty before there is one.
    pub mesh: String,
    /// The cluster's epoch.
    pub epoch: u64,
}

/// Hands over all hot rows of one moment, later and on another thread.
pub type Frozen = Box<dyn FnOnce(&mut dyn FnMut(Row)) + Send>;

/// A replicated machine: the same entries in the same order make the same state everywhere.
pub trait Machine: Send + 'static {
    /// What a proposer is told about its entry.
    type Output: Send + 'static;

    /// Applies one committed entry. Total: it cannot fail and looks at nothing but its arguments and
    /// its own state. Empty entries and changes of the members never get here.
    fn apply(&mut self, index: u64, term: u64, entry: &[u8]) -> Applied<Self::Output>;

    /// The level that an entry needs, when it is above that of this build: neither it nor anything
    /// behind it must be applied here.
    fn beyond(&self, _entry: &[u8]) -> Option<Beyond> {
        None
    }

    /// The same of the row that says at which level a state is.
    fn row_beyond(&self, _row: &Row) -> Option<Beyond> {
        None
    }

    /// Called once after each applied batch, before its proposers are answered: the state is
    /// complete up to `applied`, and readers may see it.
    fn publish(&mut self, applied: u64);

    /// The last index given to [`Machine::publish`] or [`Machine::load`].
    fn applied(&self) -> u64;

    /// A cheap copy of the hot state, able to write itself as rows.
    fn freeze(&self) -> Frozen;

    /// Takes exactly `rows` as the state at `applied`, in the place of whatever there was. Cold rows
    /// are not among them.
    fn load(&mut self, rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError>;

    /// Whether [`Machine::load`] would take these rows; nothing is changed.
    fn check(rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError>
    where
        Self: Sized;

    /// For a cold row (immutable, not kept in memory), the log index that wrote it; none for a hot
    /// one. Cold rows stay in the row store and go from there into snapshots.
    fn cold(_key: &[u8]) -> Option<u64>
    where
        Self: Sized,
    {
        None
    }

    /// What a snapshot of the present state is to say about itself.
    fn label(&self) -> Label {
        Label::default()
    }
}

/// Rows that the machine cannot take: they are rebuilt from a snapshot and the log.
#[derive(Debug, Error)]
#[error("the machine cannot load its rows: {0}")]
pub struct LoadError(pub String);
