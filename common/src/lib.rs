//! The vocabulary and the rules that every part of Parallax shares.
//!
//! Pure by contract: no clock, no socket, no runtime, no random source and no logging. Values take
//! `now` as an argument. A tidy test in `tests/` proves it. Start at [`check`] for what is
//! configured, [`outcome`] for what a run says, and [`time`] for what a slot is.

pub mod alert;
pub mod calendar;
pub mod capture;
pub mod check;
pub mod clock;
pub mod digest;
pub mod expect;
pub mod expiry;
pub mod fold;
pub mod guard;
pub mod health;
pub mod histogram;
pub mod limits;
pub mod mailbox;
pub mod matcher;
pub mod message;
pub mod name;
pub mod outcome;
pub mod page_template;
pub mod pattern;
pub mod rate;
pub mod record;
pub mod redact;
pub mod rule;
pub mod schedule;
pub mod secret;
pub mod selector;
pub mod target;
pub mod text;
pub mod time;
pub mod window;
