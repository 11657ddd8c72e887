//! Whoever keeps to the rules is understood: no frame of a probe or a member is refused.

use super::Invariant;
use crate::seen::Seen;

/// Needs no memory.
#[derive(Default)]
pub struct Frames;

impl Invariant for Frames {
    fn name(&self) -> &'static str {
        "no honest frame is refused"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::FrameRefused { by, why } => Err(format!("{by}: {why}")),
            _ => Ok(()),
        }
    }
}
