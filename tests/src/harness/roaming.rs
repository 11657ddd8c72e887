//! A client that writes without end, through whichever coordinator answers, and remembers what was
//! acknowledged.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parallax_runtime::clock;

use super::client::Api;

/// An attempt that takes longer is made again elsewhere.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts that failed.
const PAUSE: Duration = Duration::from_millis(10);

/// What a client knows to be written.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// Names of the regions, in order.
    pub names: Vec<String>,
    /// The revision of the newest.
    pub revision: u64,
    /// Why the last attempt that failed did, for the message of a failure.
    pub refused: String,
    /// Writes in the order of their acknowledgement: when each was begun and acknowledged.
    times: Vec<(Instant, Instant)>,
}

impl Acknowledged {
    /// When the first write of which an attempt was begun after `at` was acknowledged.
    pub fn first_begun_after(&self, at: Instant) -> Option<Instant> {
        let later = self.times.partition_point(|(begun, _)| *begun <= at);
        self.times.get(later).map(|(_, acknowledged)| *acknowledged)
    }

    /// The longest time after `at` in which nothing was acknowledged, up to the last time something was.
    pub fn longest_gap_after(&self, at: Instant) -> Duration {
        let mut last = at;
        let mut longest = Duration::ZERO;
        for (_, acknowledged) in &self.times {
            longest = longest.max(acknowledged.saturating_duration_since(last));
            last = last.max(*acknowledged);
        }
        longest
    }
}

/// Writes one region after the other, each until it is acknowledged: an answer that never came is
/// asked for again under the same request id, at the next of `endpoints`. Names begin with `prefix`.
///
/// # Panics
/// When a revision does not grow: the writes of one client have an order.
pub async fn write_forever(
    endpoints: Vec<String>,
    tls: PathBuf,
    seed: u64,
    prefix: &str,
    known: Arc<Mutex<Acknowledged>>,
) {
    let client = uuid::Uuid::from_u128(seed.into()).to_string();
    let mut at = 0;
    let mut api: Option<Api> = None;
    let mut number = 1;
    loop {
        let name = format!("{prefix}-{number}");
        let begun = clock::instant();
        let attempt = async {
            if api.is_none() {
                api = Some(Api::connect(&endpoints[at % endpoints.len()], &tls).await?);
            }
            api.as_ref().context("just connected")?.create_region(&client, number, &name).await
        };
        let written = tokio::time::timeout(PATIENCE, attempt).await;
        match written.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}"))) {
            Ok(revision) => {
                let acknowledged = clock::instant();
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                assert!(
                    revision > known.revision,
                    "write {number} at {revision}, the one before at {}",
                    known.revision
                );
                known.revision = revision;
                known.names.push(name);
                known.times.push((begun, acknowledged));
                number += 1;
            }
            Err(error) => {
                let refused = format!("{}: {error:#}", endpoints[at % endpoints.len()]);
                known.lock().unwrap_or_else(PoisonError::into_inner).refused = refused;
                api = None;
                at += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Fails when one of `names` is not among `there`, or one of `there` is there twice.
///
/// # Errors
/// With the names.
pub fn nothing_lost(names: &[String], there: &[String]) -> Result<()> {
    let unique: std::collections::BTreeSet<&String> = there.iter().collect();
    anyhow::ensure!(unique.len() == there.len(), "a region is listed twice");
    let lost: Vec<_> = names.iter().filter(|name| !unique.contains(name)).collect();
    anyhow::ensure!(lost.is_empty(), "{} acknowledged writes are lost: {lost:?}", lost.len());
    Ok(())
}
