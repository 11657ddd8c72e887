//! A seeded simulation of a group of coordinators, and the proof that it would catch mistakes.
//!
//! The code of production (Raft's member, the replicated state, the stores' twins) runs on one
//! thread under a simulated clock, network and disk; [`world`] moves it, [`trouble`] breaks it,
//! [`client`]s use it, and [`invariant`]s watch. The same seed gives the same run.

pub mod api;
pub mod chance;
pub mod client;
pub mod contact;
pub mod counters;
pub mod invariant;
pub mod linearize;
pub mod network;
pub mod node;
pub mod operator;
pub mod outage;
pub mod pager;
pub mod profile;
pub mod runner;
pub mod seen;
pub mod trace;
pub mod trouble;
pub mod wire;
pub mod world;
