//! What is written in one commit is seen together or not at all.

use super::Invariant;
use crate::seen::Seen;

/// Needs no memory.
#[derive(Default)]
pub struct Whole;

impl Invariant for Whole {
    fn name(&self) -> &'static str {
        "a commit is whole"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Read { key, one, other } if one != other => {
                Err(format!("key {key}: one half is {one:?}, the other {other:?}"))
            }
            _ => Ok(()),
        }
    }
}
