//! What the machine made of the log, kept: rows that are queried, and snapshots that stand for a
//! part of the log.
//!
//! Neither is ever the only copy: [`rows`] can be rebuilt from a snapshot and the log, and a
//! [`snapshot`] from the rows. A [`backup`] is both in one file, for another place. [`writer`] is the one thread that writes rows.

pub mod backup;
pub mod rows;
pub mod snapshot;
pub mod writer;
