//! Everything that decides. Pure: no runtime, no socket, no store, no clock, no random source, no
//! logging; `now` and uids are arguments. A tidy test in `tests/` proves it.
//!
//! [`state`] is what is replicated and [`configure`] plans a change to it. Data path: [`session`]
//! reads frames, [`ballots`] folds outcomes into one vote a region, [`decide`] counts the votes,
//! [`confirm`] asks for runs when one fails, and [`engine`] owns all of that. [`fleet`] says who is
//! alive, [`plan`] who runs what, [`outbox`] which page goes out next, and [`explain`] puts records
//! into sentences.

pub mod ballots;
pub mod configure;
pub mod confirm;
pub mod decide;
pub mod engine;
pub mod explain;
pub mod fleet;
pub mod outbox;
pub mod plan;
pub mod session;
mod stamp;
pub mod state;
