//! A row store that has caught up holds what the state holds.

use super::Invariant;
use crate::seen::Seen;

/// Needs no memory.
#[derive(Default)]
pub struct Stored;

impl Invariant for Stored {
    fn name(&self) -> &'static str {
        "rows equal the state"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Stored { node, index, stored, state } if stored != state => {
                Err(format!("at entry {index} the rows of member {node} are not its state"))
            }
            _ => Ok(()),
        }
    }
}
