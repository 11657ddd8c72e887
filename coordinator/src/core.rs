//! Everything that decides. Pure: no runtime, no socket, no store, no clock, no random source, no
//! logging; `now` and uids are arguments. A tidy test in `tests/` proves it.
//!
//! [`state`] is what is replicated and [`configure`] plans a change to it. Data path: [`session`]
//! reads frames, [`ballots`] folds outcomes into one vote a region, [`decide`] counts the votes,
//! [`confirm`] asks for runs when one fails, and [`engine`] owns all of that. [`fleet`] says who is
//! alive, [`plan`] who runs what, [`judge`] holds those three together, [`quiet`] says whether it is
//! quiet, [`outbox`] which page goes out next, [`quorum_watch`] when a member without a leader says so, and [`explain`] puts records
//! into sentences. [`forwarding`] says which commands travel to the leader, [`peering`] which other
//! member is let in, [`membership`] who may become or stop being one, [`relay`] which probes one
//! member hears for another, [`mesh_clock`] what time it is,
//! [`alert`] what becomes of alerts on what was measured, [`watchdog`] which probe is to be believed, [`look`] what becomes of a look that somebody asks for, and [`uptime`] how long each verdict stood.

pub mod ack_link;
pub mod alert;
pub mod ballots;
pub mod configure;
pub mod confirm;
pub mod decide;
pub mod engine;
pub mod explain;
pub mod fleet;
pub mod forwarding;
pub mod hours;
pub mod judge;
pub mod look;
pub mod membership;
pub mod mesh_clock;
pub mod outbox;
pub mod peering;
pub mod plan;
pub mod quiet;
pub mod quorum_watch;
pub mod relay;
pub mod routing;
pub mod session;
pub(crate) mod stamp;
pub mod state;
#[cfg(test)]
pub mod table;
pub mod uptime;
pub mod watchdog;
