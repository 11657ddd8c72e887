//! The feature level of this build: which entries it understands, and what it says of itself.
//!
//! It is a constant of the build. A test that needs two builds of different level has one binary
//! say another number; no binary that is shipped can.

use std::sync::OnceLock;

use crate::core::state::LEVEL;

static PRETENDED: OnceLock<u32> = OnceLock::new();

/// The level of this build.
pub fn level() -> u32 {
    PRETENDED.get().copied().unwrap_or(LEVEL)
}

/// Makes this process a build of another level. For the tests' own binary, before anything else.
pub fn pretend(level: u32) {
    // A second word is not heard: the level of a process does not change.
    let _ = PRETENDED.set(level);
}
