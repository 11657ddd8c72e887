//! Rows of applied state and the store that keeps them.
//!
//! [`RowStore`] is the seam. [`sled`] is the one on disk, [`memory`] its twin; `contract` is the
//! suite that both pass. The keys belong to the machine, but for those that begin with
//! [`RESERVED`], which belong to the member itself.

use std::io;

use bytes::Bytes;
use parallax_common::limits;
use thiserror::Error;

pub mod memory;
pub mod sled;

#[cfg(test)]
mod contract;

/// First byte of the keys that no machine may use.
pub const RESERVED: u8 = 0;

/// One row: the key says what it is, the value is the machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Never empty, never beginning with [`RESERVED`] when it comes from a machine.
    pub key: Bytes,
    /// What it says.
    pub value: Bytes,
}

/// One row written or removed by an applied entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Which row.
    pub key: Bytes,
    /// What it says now; none removes it.
    pub value: Option<Bytes>,
}

impl RowChange {
    /// The row at `key` now says `value`.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// The row at `key` is gone.
    pub fn remove(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: None }
    }

    /// What it weighs in a queue.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + 48
    }
}

/// A queryable store of applied state.
///
/// A write is durable, and visible to readers, when its call returns; it is there as a whole or not
/// at all. After an error of a write nothing is known, so the owner must stop (decision 21).
pub trait RowStore: Send + Sync + 'static {
    /// The log index up to which the rows are applied. 0: there is nothing here to build on.
    fn applied_index(&self) -> Result<u64, RowError>;

    /// The value of one row.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError>;

    /// Rows whose keys begin with `prefix`, in order of keys, after the key `after`, at most `limit`.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize)
    -> Result<Vec<Row>, RowError>;

    /// Hands every row to `each`, in order of keys.
    fn load(&self, each: &mut dyn FnMut(Row)) -> Result<(), RowError>;

    /// Writes `changes` and the index that they lead to as one batch, and syncs. Of several changes
    /// of one row the last counts. An index before the present one is refused.
    fn write(&self, changes: &[RowChange], applied: u64) -> Result<(), RowError>;

    /// Puts exactly `rows` in the place of everything, as of `applied`. A crash before the end
    /// leaves the old rows.
    /// An error among them, which is passed on, leaves the old rows too.
    fn replace(
        &self,
        rows: &mut dyn Iterator<Item = Result<Row, RowError>>,
        applied: u64,
    ) -> Result<(), RowError>;

    /// Bytes of all keys and values.
    fn live_bytes(&self) -> Result<u64, RowError>;

    /// Bytes of the files that hold them.
    fn disk_bytes(&self) -> Result<u64, RowError>;
}

/// Every row of a store in order of keys, read in pages: never more than one page is held.
pub struct Pages<'a> {
    rows: &'a dyn RowStore,
    page: std::vec::IntoIter<Row>,
    last: Option<Bytes>,
    over: bool,
}

impl<'a> Pages<'a> {
    /// From the first row on.
    pub fn new(rows: &'a dyn RowStore) -> Self {
        Self { rows, page: Vec::new().into_iter(), last: None, over: false }
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.over {
            match self.rows.scan(&[], self.last.as_deref(), limits::STORE_PAGE_ROWS) {
                Ok(page) => {
                    self.over = page.len() < limits::STORE_PAGE_ROWS;
                    self.last = page.last().map(|row| row.key.clone());
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        self.page.next().map(Ok)
    }
}

/// Why the row store could not do what was asked.
#[derive(Debug, Error)]
pub enum RowError {
    /// Applied indexes only grow.
    #[error("rows are applied to {present}, a write to {asked} would go back")]
    Backwards {
        /// Where the store is.
        present: u64,
        /// Where the write wanted it.
        asked: u64,
    },
    /// What is stored does not fit together. The store is to be rebuilt.
    #[error("the row store is damaged: {0}")]
    Damaged(String),
    /// The rows that were to be put into the place of the present ones could not be read.
    #[error("the new rows cannot be read: {0}")]
    Source(String),
    /// Somebody else has the rows open.
    #[error("the row store is in use by another process")]
    Busy,
    /// The disk refused.
    #[error("the row store could not {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The embedded database refused.
    #[error("the row store's database could not {action}")]
    Sled {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: ::sled::Error,
    },
}

impl RowError {
    /// Whether what is stored is to blame, so that rebuilding it helps.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            // What the system says has other causes, but for a file that is gone.
            Self::Sled { source: ::sled::Error::Io(error), .. } => {
                error.raw_os_error().is_none() || error.kind() == io::ErrorKind::NotFound
            }
            Self::Sled { .. } => true,
            Self::Backwards { .. } | Self::Source(_) | Self::Busy | Self::Io { .. } => false,
        }
    }

    /// For `map_err` on plain files.
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// For `map_err` on the database.
    pub(crate) fn sled(action: &'static str) -> impl FnOnce(::sled::Error) -> Self {
        move |source| Self::Sled { action, source }
    }
}
