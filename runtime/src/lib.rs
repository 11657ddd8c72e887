//! What every Parallax process needs around its core: what it is told at its start, the clocks it
//! reads, the tasks it runs, and the TLS its connections travel in.
//!
//! Cores never see this crate; shells use it to read clocks and pass `now` down.

pub mod build;
pub mod clock;
pub mod error;
pub mod logging;
pub mod settings;
pub mod signal;
pub mod supervisor;
pub mod transport;
