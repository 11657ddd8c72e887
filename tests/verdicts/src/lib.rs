//! A month of decisions in minutes: what a mesh of lossy, lying and silent regions makes of its checks.
//!
//! Each check has a time line of its own ([`mesh`]), on which nothing happens but what is told: runs that
//! failed, those that follow them until enough have passed, and ordered ones. A slot that passed in a calm
//! stretch is a gap in the numbers, as it is on the wire, and costs nothing; the next slot that is lost is
//! drawn by a geometric skip. What is told goes through the shipped entry of the engine: ballots fold it,
//! `decide` says what follows, `confirm` orders runs, and a proposal is committed a round trip later.
//!
//! # What goes wrong
//! * **Loss.** Every run, ordered ones too, fails by itself with the chance `loss`, and takes the whole
//!   timeout to do so.
//! * **What regions share** is in [`faults`]: an upstream of one region, a transit of two, a region after the
//!   other that falls silent while it fails, the cut of the place where the coordinators stand, a region
//!   that lies about everything, a probe that flaps. The plan leaves time between them, so that no two
//!   regions are ill for two reasons at once; a transit makes two ill for one. Two failing regions of five
//!   are no outage, and one more that loses two runs in a row makes it three: such an incident is counted
//!   as false here, and its expectation is printed.
//! * **Who is taken for the cause.** A region that alone fails everything loses its vote as the shipped
//!   watchdog says ([`watch`]); it keeps failing, and is heard all the same.
//! * **Outages** are planted on each check, by a Poisson process: all runs fail in all regions.
//!
//! An incident is false when it opens while no planted outage is on, nor ended within the last three
//! intervals. An outage is missed when no incident is open in that stretch. One that
//! falls into a time when three of five regions are silent is missed and must be: nobody can tell it from the
//! silence, and the verdict is `unknown`. None may be missed beside no fault.
//!
//! Time to open is held against decision 7's bound ([`mesh::bound`]) for outages that begin while nothing
//! else is wrong; a run that was lost before, and what was ordered for it, is no excuse.
//!
//! [`rules`] counts the same scheduled outcomes as other products say they do; [`closed_form`] says how many
//! incidents loss alone is expected to make.

pub mod chance;
pub mod closed_form;
pub mod faults;
pub mod judged;
pub mod mesh;
pub mod rules;
pub mod watch;

#[cfg(test)]
mod tests;
