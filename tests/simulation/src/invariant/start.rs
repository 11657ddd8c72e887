//! A member starts again after every crash that its disks survive.

use super::Invariant;
use crate::seen::Seen;

/// Needs no memory.
#[derive(Default)]
pub struct Start;

impl Invariant for Start {
    fn name(&self) -> &'static str {
        "a member starts again"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::StartFailed { node, why } => Err(format!("member {node}: {why}")),
            _ => Ok(()),
        }
    }
}
