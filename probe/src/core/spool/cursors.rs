//! How far each reader has come in one life of the spool.

use std::collections::BTreeMap;

use parallax_common::limits::SPOOL_REFUSALS_MAX;
use parallax_common::name::Incarnation;

/// A statement under this number is about no reader: it is unknown who was sent what of that life.
const NOBODY: u64 = 0;

/// One reader's place in one life, as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// The life.
    pub life: Incarnation,
    /// Its node id.
    pub reader: u64,
    /// It has everything up to here.
    pub acknowledged: u64,
    /// It was sent nothing beyond this.
    pub sent: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    acknowledged: u64,
    sent: u64,
    /// Its gap was told.
    gap_told: bool,
    refused: Refused,
    /// A lane ended without a word while this window was the first on its way: how often in a row.
    cut: (u64, u32),
}

/// What a reader has ended its lane over.
#[derive(Debug, Clone, Copy, Default)]
struct Refused {
    first: u64,
    last: u64,
    /// How often in a row with this first window.
    times: u32,
}

/// One life: the windows that one run of the probe's process has sealed.
#[derive(Debug)]
pub struct Life {
    /// Its name.
    pub incarnation: Incarnation,
    /// The oldest window that is kept; one more than the last when there is none.
    pub first: u64,
    /// The newest window ever.
    pub last: u64,
    /// It is not known who was sent what: none of its windows may be merged.
    in_doubt: bool,
    cursors: BTreeMap<u64, Cursor>,
}

impl Life {
    /// One without a window.
    pub fn new(incarnation: Incarnation) -> Self {
        let cursors = BTreeMap::new();
        Self { incarnation, first: 1, last: 0, in_doubt: false, cursors }
    }

    /// Whether nothing is kept of it.
    pub fn is_empty(&self) -> bool {
        self.first > self.last
    }

    /// Somebody may have been sent something of it that nobody has written down.
    pub fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// Takes up what was written down. Of two statements the further one counts.
    pub fn recall(&mut self, statement: Statement) {
        if statement.reader == NOBODY {
            self.in_doubt = true;
            return;
        }
        let cursor = self.cursors.entry(statement.reader).or_default();
        cursor.acknowledged = cursor.acknowledged.max(statement.acknowledged);
        cursor.sent = cursor.sent.max(statement.sent);
    }

    /// What is to be written down.
    pub fn statements(&self) -> impl Iterator<Item = Statement> {
        let life = self.incarnation;
        let nobody = Statement { life, reader: NOBODY, acknowledged: 0, sent: u64::MAX };
        let readers = self.cursors.iter().map(move |(&reader, cursor)| {
            let Cursor { acknowledged, sent, .. } = *cursor;
            Statement { life, reader, acknowledged, sent }
        });
        self.in_doubt.then_some(nobody).into_iter().chain(readers)
    }

    /// The readers that it knows.
    pub fn readers(&self) -> impl Iterator<Item = u64> {
        self.cursors.keys().copied()
    }

    /// A reader is known to exist: what has left before is not missing to it.
    pub fn expect(&mut self, reader: u64) {
        let acknowledged = self.first - 1;
        let fresh = Cursor { acknowledged, sent: acknowledged, ..Cursor::default() };
        self.cursors.entry(reader).or_insert(fresh);
    }

    /// Readers that have not everything of the windows behind `back` up to `last`, with the first one
    /// that each of them misses.
    pub fn missing(&self, back: u64, last: u64) -> impl Iterator<Item = (u64, u64)> {
        let readers = self.cursors.iter().map(|(&reader, cursor)| (reader, cursor.acknowledged));
        let behind = readers.filter(move |(_, acknowledged)| *acknowledged < last);
        behind.map(move |(reader, acknowledged)| (reader, acknowledged.max(back) + 1))
    }

    /// A reader is remembered no longer.
    pub fn forget(&mut self, reader: u64) {
        self.cursors.remove(&reader);
    }

    /// Up to where a reader has everything that is still to be had.
    pub fn acknowledged(&self, reader: u64) -> u64 {
        let said = self.cursors.get(&reader).map_or(0, |cursor| cursor.acknowledged);
        said.max(self.first - 1)
    }

    /// A reader has everything up to `through`; what was never spooled does not count. Whether that is
    /// news.
    pub fn acknowledge(&mut self, reader: u64, through: u64) -> bool {
        let through = through.min(self.last);
        let Some(cursor) = self.cursors.get_mut(&reader) else { return false };
        if through <= cursor.acknowledged {
            return false;
        }
        cursor.acknowledged = through;
        cursor.sent = cursor.sent.max(through);
        cursor.gap_told = false;
        true
    }

    /// A reader is about to be sent windows up to `through`. Whether that is news.
    pub fn claim(&mut self, reader: u64, through: u64) -> bool {
        let Some(cursor) = self.cursors.get_mut(&reader) else { return false };
        let news = through > cursor.sent;
        cursor.sent = cursor.sent.max(through);
        news
    }

    /// A reader has ended its lane over windows `first..=last`: how often in a row over this first one.
    pub fn refused(&mut self, reader: u64, first: u64, last: u64) -> u32 {
        let Some(cursor) = self.cursors.get_mut(&reader) else { return 0 };
        let before = cursor.refused;
        let times = if before.first == first { before.times.saturating_add(1) } else { 1 };
        // What it was among stays suspect until all of it was sent by itself.
        let among = if first <= before.last { before.last } else { 0 };
        cursor.refused = Refused { first, last: last.max(among), times };
        times
    }

    /// A reader's lane has ended without a word, with windows `first..=last` on their way. Once or
    /// twice that is an accident; from then on it counts as a refusal of them: how often in a row.
    pub fn cut(&mut self, reader: u64, first: u64, last: u64) -> u32 {
        if !self.is_suspect(reader, first) {
            let Some(cursor) = self.cursors.get_mut(&reader) else { return 0 };
            let times = if cursor.cut.0 == first { cursor.cut.1.saturating_add(1) } else { 1 };
            cursor.cut = (first, times);
            if times < SPOOL_REFUSALS_MAX {
                return 0;
            }
        }
        self.refused(reader, first, last)
    }

    /// Whether a window must be sent by itself: the reader has ended its lane over it, or over what
    /// it was among.
    pub fn is_suspect(&self, reader: u64, from: u64) -> bool {
        self.cursors.get(&reader).is_some_and(|cursor| {
            let Refused { first, last, times } = cursor.refused;
            times > 0 && (first..=last).contains(&from)
        })
    }

    /// The last window that all of these readers have; `None` when there is no reader.
    pub fn held_by(&self, readers: impl Iterator<Item = u64>) -> Option<u64> {
        let of = |reader| self.cursors.get(&reader).map_or(0, |cursor| cursor.acknowledged);
        readers.map(of).min()
    }

    /// Whether windows `first..=last` may become one: each reader has all of them, or was sent none.
    /// To any other reader the whole would say again what a part has said.
    pub fn may_merge(&self, first: u64, last: u64) -> bool {
        let whole = |cursor: &Cursor| last <= cursor.acknowledged || first > cursor.sent;
        !self.in_doubt && self.cursors.values().all(whole)
    }

    /// Gaps that began since the last time: readers that will not get what has left.
    pub fn gaps(&mut self) -> Vec<(u64, u64, u64)> {
        let gone = self.first - 1;
        let begun =
            self.cursors.iter_mut().filter(|(_, of)| of.acknowledged < gone && !of.gap_told);
        begun
            .map(|(&reader, cursor)| {
                cursor.gap_told = true;
                (reader, cursor.acknowledged + 1, gone)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> Life {
        let mut life = Life::new(Incarnation(1));
        life.last = 100;
        life.expect(1);
        life.expect(2);
        life
    }

    #[test]
    fn windows_are_merged_only_where_no_reader_has_a_part_of_them() {
        let mut life = life();
        assert!(life.may_merge(1, 6), "nobody was sent anything");
        life.claim(1, 10);
        for (first, last, may) in [(1, 6, false), (10, 12, false), (11, 16, true)] {
            assert_eq!(life.may_merge(first, last), may, "{first}..={last}");
        }
        life.acknowledge(1, 8);
        for (first, last, may) in [(1, 6, true), (1, 8, true), (7, 9, false), (11, 16, true)] {
            assert_eq!(life.may_merge(first, last), may, "{first}..={last}");
        }
        life.doubt();
        assert!(!life.may_merge(50, 60));
    }

    #[test]
    fn what_is_written_down_is_taken_up_again_and_the_further_statement_counts() {
        let mut life = life();
        life.claim(1, 10);
        life.acknowledge(2, 30);
        let written: Vec<Statement> = life.statements().collect();
        let mut next = Life::new(Incarnation(1));
        next.last = 100;
        for statement in written.iter().rev().chain(&written) {
            next.recall(*statement);
        }
        next.recall(Statement { acknowledged: 3, sent: 4, ..written[1] });
        assert_eq!(next.statements().collect::<Vec<_>>(), written);
        life.doubt();
        let doubtful: Vec<Statement> = life.statements().collect();
        doubtful.into_iter().for_each(|statement| next.recall(statement));
        assert!(!next.may_merge(50, 60));
    }

    #[test]
    fn a_refusal_counts_for_its_first_window_and_makes_all_of_it_suspect() {
        let mut life = life();
        assert_eq!((life.refused(1, 5, 60), life.refused(1, 5, 5)), (1, 2));
        assert!(life.is_suspect(1, 5) && life.is_suspect(1, 60) && !life.is_suspect(1, 61));
        assert!(!life.is_suspect(2, 5), "another reader");
        assert_eq!(life.refused(1, 9, 9), 1, "those before it went through");
        assert!(life.is_suspect(1, 9) && life.is_suspect(1, 60) && !life.is_suspect(1, 8));
        assert_eq!((life.refused(1, 9, 9), life.refused(1, 9, 9)), (2, 3));
        assert_eq!(life.refused(9, 1, 1), 0, "nobody we know");
    }

    #[test]
    fn a_lane_that_ends_without_a_word_again_and_again_has_refused() {
        let mut life = life();
        let cuts: Vec<u32> = (0..3).map(|_| life.cut(1, 5, 60)).collect();
        assert_eq!(cuts, [0, 0, 1], "twice it may be an accident");
        assert!(life.is_suspect(1, 5) && life.is_suspect(1, 60));
        assert_eq!((life.cut(1, 5, 5), life.cut(1, 5, 5)), (2, 3), "alone each one counts");
        // What went through ends the row.
        let mut life = self::life();
        assert_eq!((life.cut(1, 5, 9), life.cut(1, 5, 9), life.cut(1, 7, 9)), (0, 0, 0));
        assert!(!life.is_suspect(1, 7));
        assert_eq!(life.cut(9, 1, 1), 0, "nobody we know");
    }
}
