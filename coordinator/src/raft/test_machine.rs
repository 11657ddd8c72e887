//! A small machine for tests: it remembers every entry, as a hot row and as a cold one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::machine::{Applied, Beyond, Frozen, Label, LoadError, Machine};
use crate::store::rows::{Row, RowChange, RowStore};

const HOT: u8 = b'e';
const COLD: u8 = b'l';

/// Values by the index of their entry.
pub(crate) type Entries = BTreeMap<u64, u64>;

#[derive(Default)]
pub(crate) struct TestMachine {
    pub(crate) entries: Entries,
    /// Values from this one on are above its level.
    ceiling: Option<u64>,
    applied: u64,
    /// What readers see.
    published: Arc<Mutex<Entries>>,
}

impl TestMachine {
    /// Of a build that does not understand values from `ceiling` on.
    pub(crate) fn of_level(ceiling: Option<u64>) -> Self {
        Self { ceiling, ..Self::default() }
    }

    pub(crate) fn publishing(published: &Arc<Mutex<Entries>>) -> Self {
        Self { published: Arc::clone(published), ..Self::default() }
    }
}

/// The entry that carries `value`. 0 makes the machine panic.
pub(crate) fn entry(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

fn key(table: u8, index: u64) -> Vec<u8> {
    [&[table][..], &index.to_be_bytes()].concat()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

/// Hot and cold values in the store.
pub(crate) fn stored(rows: &dyn RowStore) -> (Entries, Entries) {
    let (mut hot, mut cold) = (Entries::new(), Entries::new());
    let mut put = |row: Row| {
        let table = match row.key[0] {
            HOT => &mut hot,
            COLD => &mut cold,
            _ => return,
        };
        table.insert(number(&row.key[1..]), number(&row.value));
    };
    rows.load(&mut put).unwrap();
    (hot, cold)
}

impl Machine for TestMachine {
    type Output = usize;

    fn apply(&mut self, index: u64, _term: u64, entry: &[u8]) -> Applied<usize> {
        let value = number(entry);
        assert_ne!(value, 0, "asked to panic");
        assert!(index > self.applied, "entry {index} is applied at {}", self.applied);
        assert!(self.entries.last_key_value().is_none_or(|last| *last.0 < index));
        self.entries.insert(index, value);
        let rows = vec![
            RowChange::put(key(HOT, index), entry.to_vec()),
            RowChange::put(key(COLD, index), entry.to_vec()),
        ];
        Applied { rows, output: self.entries.len() }
    }

    fn beyond(&self, entry: &[u8]) -> Option<Beyond> {
        let above = self.ceiling.is_some_and(|ceiling| number(entry) >= ceiling);
        above.then_some(Beyond { needs: 2, has: 1 })
    }

    fn row_beyond(&self, row: &Row) -> Option<Beyond> {
        if row.key.first() == Some(&HOT) { self.beyond(&row.value) } else { None }
    }

    fn publish(&mut self, applied: u64) {
        assert!(applied >= self.applied);
        self.applied = applied;
        self.published.lock().clone_from(&self.entries);
    }

    fn applied(&self) -> u64 {
        self.applied
    }

    fn freeze(&self) -> Frozen {
        let entries = self.entries.clone();
        Box::new(move |each| {
            for (index, value) in entries {
                each(Row { key: key(HOT, index).into(), value: entry(value) });
            }
        })
    }

    fn load(&mut self, rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError> {
        self.entries.clear();
        for row in rows {
            if row.key.first() != Some(&HOT) {
                return Err(LoadError(format!("unknown row {:?}", row.key)));
            }
            self.entries.insert(number(&row.key[1..]), number(&row.value));
        }
        self.applied = applied;
        Ok(())
    }

    fn check(rows: &mut dyn Iterator<Item = Row>, applied: u64) -> Result<(), LoadError> {
        Self::default().load(rows, applied)
    }

    fn cold(key: &[u8]) -> Option<u64> {
        (key[0] == COLD).then(|| number(&key[1..]))
    }

    fn label(&self) -> Label {
        Label { mesh: "test".to_owned(), epoch: 1 }
    }
}

/// A small source of chance; the same seed gives the same run.
pub(crate) struct Chance(pub(super) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
