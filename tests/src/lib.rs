//! What the tests of whole processes share.
//!
//! [`harness`] starts real coordinators and probes with a PKI of their own, a target that fails on
//! command and a webhook sink that remembers; `tests/tests/stories/*.rs` tell stories with it, one file
//! each. [`kill_nine`] and [`disorder`] are told by benches too, only longer, [`delivery`] by a bench alone.
//! [`mod@bench`] is what the bench
//! binaries share. [`tree`] reads the source tree for the tidy test.

pub mod bench;
pub mod delivery;
pub mod disorder;
pub mod harness;
pub mod kill_nine;
pub mod tree;
