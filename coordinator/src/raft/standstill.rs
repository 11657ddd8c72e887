//! Standing still: the log holds an entry that this build does not understand (decision 24).
//!
//! Such a member goes on as a voter: it takes entries, syncs them and acknowledges them, so that the
//! group lacks nobody while it is upgraded. But it applies nothing from that entry on, answers no
//! read that would need it, and does not lead: a leader must hold what it decides by.

use std::fmt;

use parallax_common::limits::STANDSTILL_LOG_BYTES_MAX;
use raft::eraftpb::{Entry, EntryType};

use super::halt::Halt;
use super::log::{LogError, LogStore, entry_bytes};
use super::machine::{Beyond, Machine};

/// Entries of a log are looked at in pieces of this many bytes when a member starts.
const SCAN_BYTES: u64 = 8 * 1024 * 1024;

/// Where a member stands still, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standstill {
    /// The first entry that it does not understand, or the snapshot that would have brought it.
    pub index: u64,
    /// What the entry needs and what this build has.
    pub beyond: Beyond,
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, beyond: Beyond { needs, has } } = self;
        write!(
            f,
            "it stands still at entry {index}: this build understands level {has}, the cluster is at \
             {needs}; install the newer build on this member"
        )
    }
}

/// What a member knows of entries that are above its level.
#[derive(Debug, Default)]
pub(super) struct Ceiling {
    /// The first such entry in the log, committed or not.
    ahead: Option<Standstill>,
    /// Set once it is committed, or a snapshot stands for it: nothing is applied any more.
    reached: Option<Standstill>,
    /// Written to the log since then.
    bytes: u64,
    /// Ticks for which it has led although it must not.
    pub(super) led_ticks: usize,
}

impl Ceiling {
    /// Looks at what a start finds in the log behind `applied`.
    pub(super) fn scan<M: Machine, L: LogStore>(
        machine: &M,
        log: &L,
        applied: u64,
    ) -> Result<Self, LogError> {
        let mut ceiling = Self::default();
        let mut next = log.first_index().max(applied + 1);
        while next <= log.last_index() && ceiling.ahead.is_none() {
            let entries = log.entries(next, log.last_index() + 1, Some(SCAN_BYTES))?;
            let Some(last) = entries.last() else { break };
            next = last.index + 1;
            ceiling.note(machine, &entries);
        }
        Ok(ceiling)
    }

    /// Whether this member must not lead.
    pub(super) fn is_low(&self) -> bool {
        self.ahead.is_some() || self.reached.is_some()
    }

    /// Where it stands still, if it does.
    pub(super) fn reached(&self) -> Option<Standstill> {
        self.reached
    }

    /// These entries take the place of what the log held from their first index on.
    pub(super) fn appended<M: Machine>(
        &mut self,
        machine: &M,
        entries: &[Entry],
    ) -> Result<(), Halt> {
        let Some(first) = entries.first() else { return Ok(()) };
        self.ahead.take_if(|ahead| ahead.index >= first.index);
        self.note(machine, entries);
        if let Some(standstill) = self.reached {
            self.bytes += entries.iter().map(entry_bytes).sum::<u64>();
            if self.bytes > STANDSTILL_LOG_BYTES_MAX {
                return Err(Halt::Standstill(standstill, STANDSTILL_LOG_BYTES_MAX));
            }
        }
        Ok(())
    }

    fn note<M: Machine>(&mut self, machine: &M, entries: &[Entry]) {
        if self.ahead.is_some() {
            return;
        }
        self.ahead = entries.iter().find_map(|entry| {
            let normal = entry.get_entry_type() == EntryType::EntryNormal;
            let beyond = (normal && !entry.data.is_empty()).then(|| machine.beyond(&entry.data))?;
            beyond.map(|beyond| Standstill { index: entry.index, beyond })
        });
    }

    /// Leaves of committed entries those that may be applied. The first time that one is held back:
    /// where.
    pub(super) fn cut(&mut self, entries: &mut Vec<Entry>) -> Option<Standstill> {
        if self.reached.is_some() {
            entries.clear();
            return None;
        }
        let ahead = self.ahead?;
        let applied = entries.partition_point(|entry| entry.index < ahead.index);
        if applied == entries.len() {
            return None;
        }
        entries.truncate(applied);
        self.reached = Some(ahead);
        Some(ahead)
    }

    /// A snapshot is above the level. True the first time.
    pub(super) fn refuse_snapshot(&mut self, standstill: Standstill) -> bool {
        let first = self.reached.is_none();
        self.reached.get_or_insert(standstill);
        first
    }

    /// A snapshot took the place of the log.
    pub(super) fn installed(&mut self) {
        self.ahead = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_machine::{TestMachine, entry};
    use super::*;

    /// Entries from `first` on; those with a value of 100 and more are above the level.
    fn entries(first: u64, values: &[u64]) -> Vec<Entry> {
        let each = values.iter().zip(first..).map(|(value, index)| Entry {
            index,
            data: entry(*value),
            ..Entry::default()
        });
        each.collect()
    }

    fn low() -> TestMachine {
        TestMachine::of_level(Some(100))
    }

    #[test]
    fn what_is_committed_is_cut_at_the_first_entry_above_the_level() {
        let (machine, mut ceiling) = (low(), Ceiling::default());
        ceiling.appended(&machine, &entries(1, &[1, 2, 100, 3])).unwrap();
        assert!(ceiling.is_low(), "it must not lead before that is committed");
        let mut committed = entries(1, &[1, 2]);
        assert_eq!(ceiling.cut(&mut committed), None);
        assert_eq!((committed.len(), ceiling.reached()), (2, None));
        let mut committed = entries(2, &[2, 100, 3]);
        let told = ceiling.cut(&mut committed).expect("it is told");
        assert_eq!((committed.len(), told.index), (1, 3));
        assert!(told.to_string().contains("install the newer build"), "{told}");
        let mut committed = entries(5, &[4]);
        assert_eq!(ceiling.cut(&mut committed), None, "it is told once");
        assert!(committed.is_empty() && ceiling.reached().is_some());
    }

    #[test]
    fn an_entry_that_another_leader_overwrites_holds_nobody_back() {
        let (machine, mut ceiling) = (low(), Ceiling::default());
        ceiling.appended(&machine, &entries(1, &[1, 100])).unwrap();
        ceiling.appended(&machine, &entries(3, &[5])).unwrap();
        assert!(ceiling.is_low());
        ceiling.appended(&machine, &entries(2, &[7])).unwrap();
        assert!(!ceiling.is_low());
        let mut committed = entries(1, &[1, 7]);
        assert_eq!((ceiling.cut(&mut committed), committed.len()), (None, 2));
    }

    #[test]
    fn a_log_that_grows_without_end_while_nothing_is_applied_ends_the_member() {
        let (machine, mut ceiling) = (low(), Ceiling::default());
        ceiling.appended(&machine, &entries(1, &[100])).unwrap();
        ceiling.cut(&mut entries(1, &[100]));
        ceiling.bytes = STANDSTILL_LOG_BYTES_MAX;
        let halt = ceiling.appended(&machine, &entries(2, &[1])).unwrap_err();
        assert!(halt.to_string().contains("install the newer build"), "{halt}");
    }
}
