//! A call to a URL outside the mesh, every 30 s, by whoever leads: when it stays away, the mesh is
//! gone, and nobody inside could say so.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parallax_proto::v1::Secret;
use tokio::time::{Interval, MissedTickBehavior};
use tracing::{info, warn};

use crate::core::outbox::Report;
use crate::notify::carrier::Carrier;

/// How the calls went, in this life of the member.
#[derive(Debug, Default)]
pub struct Calls {
    made: AtomicU64,
    failed: AtomicU64,
}

impl Calls {
    /// Calls that have ended.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Those that were not answered with 200 to 299.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Calls `url` at every tick at which `leads` says that this member leads, until the process stops. A
/// call that fails is not repeated before the next tick.
pub async fn run<F, L>(
    carrier: Carrier,
    url: Secret,
    calls: Arc<Calls>,
    mut every: Interval,
    leads: L,
) where
    F: Future<Output = bool> + Send,
    L: Fn() -> F + Send,
{
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        every.tick().await;
        if !leads().await {
            failing = false;
            continue;
        }
        let report = carrier.call(&url).await;
        calls.made.fetch_add(1, Ordering::Relaxed);
        let why = match report {
            Report::Answered { status: 200..=299, .. } | Report::Taken { .. } => {
                if std::mem::take(&mut failing) {
                    info!("the heartbeat URL answers again");
                }
                continue;
            }
            Report::Answered { status, .. } => format!("HTTP status {status}"),
            Report::Refused { why, .. } | Report::NotSent(why) | Report::Ambiguous(why) => why,
        };
        calls.failed.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut failing, true) {
            warn!(why, "the heartbeat URL cannot be called; told once until it answers");
        }
    }
}
