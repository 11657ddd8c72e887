//! Raft around a machine: propose, commit, apply, and nothing past it.
//!
//! [`node`] is the way in: one thread owns one [`member`], and [`node::NodeHandle`] talks to it.
//! [`member`] holds the one order in which things are made durable and told. [`machine`] is what the
//! owner brings, [`recover`] how a start finds its state, [`log`] what was proposed.

pub mod config;
pub mod fatal;
pub mod halt;
pub mod log;
pub mod machine;
pub mod member;
pub mod node;
pub mod outbound;
pub mod recover;
pub mod snapshot_job;
pub mod standstill;
pub mod status;

mod changes;
mod drain;
mod group;
mod latencies;
mod proposals;
mod reads;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
pub(crate) mod test_machine;
