//! Only the leader orders confirmations.

use super::Invariant;
use crate::seen::Seen;

/// Needs no memory.
#[derive(Default)]
pub struct Ordered;

impl Invariant for Ordered {
    fn name(&self) -> &'static str {
        "only the leader orders"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Ordered { node, leads: false } => {
                Err(format!("member {node} orders a confirmation and does not lead"))
            }
            _ => Ok(()),
        }
    }
}
