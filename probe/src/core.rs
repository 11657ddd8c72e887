//! What a probe decides: when runs start, what their ends mean, what is sent and kept.
//!
//! Pure, like `parallax-common`: no task, no socket, no clock, no chance, no logging. The owner
//! task in [`crate::owner`] reads the clocks, passes `now` down and performs what comes back.
//! A check goes [`assign`] -> [`schedule`] -> (a run) -> [`record`] -> [`spool`], at the [`pace`] that is allowed, with
//! [`watermark`] saying how far all of it has come and [`confirm`] ordering runs between slots; [`look`] has those that somebody asked for.
//! Where a run may connect to is [`guard`]'s, what it says there [`talk`]'s, and to a
//! proxy on the way [`proxy`]'s, to a provider of tokens [`token`]'s; what echoes are and what their
//! answers say is [`echo`]'s; what plugins write is read in [`perfdata`], and
//! what the system says of this machine in [`machine`].

pub mod assign;
pub mod confirm;
pub mod echo;
pub mod guard;
pub mod look;
pub mod machine;
pub mod pace;
pub mod perfdata;
pub mod proxy;
pub mod record;
pub mod samples;
pub mod schedule;
pub mod spool;
pub mod talk;
pub mod token;
pub mod watermark;
