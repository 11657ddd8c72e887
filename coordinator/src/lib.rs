//! The replicated core of Parallax: what is configured, what was decided, who was paged.
//!
//! [`raft`] orders entries and hands them to a machine; [`store`] keeps what the machine made.

pub mod core;
pub mod raft;
pub mod store;
