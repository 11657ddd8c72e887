//! At the same index every member names the same voters.

use std::collections::BTreeMap;

use super::Invariant;
use crate::seen::Seen;

/// By index: voters and learners.
#[derive(Default)]
pub struct Voters(BTreeMap<u64, (Vec<u64>, Vec<u64>)>);

impl Invariant for Voters {
    fn name(&self) -> &'static str {
        "voters equal at equal index"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Voters { node, index, voters } = seen else { return Ok(()) };
        let known = self.0.entry(*index).or_insert_with(|| voters.clone());
        if known == voters {
            return Ok(());
        }
        Err(format!("at entry {index} member {node} has {voters:?}, another {known:?}"))
    }
}
