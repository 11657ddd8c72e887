//! A seeded simulation of a group of coordinators, and the proof that it would catch mistakes.
//!
//! The code of production (Raft's member, the replicated state, the stores' twins, what decides, the
//! cores of sessions and relays, and the probes') runs on one thread under a simulated clock, network
//! and disk; [`world`] moves it, with probes and what they look at ([`mesh`]), [`trouble`] breaks it,
//! [`client`]s use it, and [`invariant`]s watch. The same seed gives the same run.

pub mod api;
pub mod chance;
pub mod client;
pub mod contact;
pub mod counters;
pub mod feed;
pub mod fold;
pub mod gate;
pub mod invariant;
pub mod judge;
pub mod lane;
pub mod line;
pub mod mesh;
pub mod network;
pub mod node;
pub mod operator;
pub mod outage;
pub mod pager;
pub mod probe;
pub mod profile;
pub mod runner;
pub mod seen;
pub mod target;
pub mod trace;
pub mod trouble;
pub mod watch;
pub mod watcher;
pub mod wire;
pub mod world;
