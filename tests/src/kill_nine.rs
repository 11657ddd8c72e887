//! A coordinator that is killed again and again keeps every write it acknowledged.
//!
//! Told by `tests/tests/stories/kill_nine.rs` with few rounds and by `bench-kill-nine` with many.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::Binaries;
use crate::harness::client::Api;
use crate::harness::mesh::Mesh;
use crate::harness::wait::{Look, SOON, wait_until};

/// A third of the kills come within this of the start.
const EARLY: Duration = Duration::from_millis(300);
/// The others come within this after the first write of the round was acknowledged.
const LATE: Duration = Duration::from_millis(250);

/// What a story came to. A loss does not come to this: it fails with the names that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Kills.
    pub kills: u32,
    /// Those of them that came while the coordinator was starting.
    pub early: u32,
    /// Writes that were acknowledged, all of them there at the end.
    pub acknowledged: usize,
}

/// What the client knows to be written.
#[derive(Debug, Default)]
struct Acknowledged {
    names: Vec<String>,
    revision: u64,
    /// Why the last write was not acknowledged, for the message of a failure.
    refused: String,
}

type Known = Arc<Mutex<Acknowledged>>;

/// Writes one region after the other, each until it is acknowledged: an answer that never came is
/// asked for again under the same request id.
async fn write_forever(endpoint: String, tls: PathBuf, seed: u64, known: Known) {
    let client = uuid::Uuid::from_u128(seed.into()).to_string();
    let mut api = None;
    let mut number = 1;
    loop {
        let name = format!("r-{number}");
        let written = async {
            if api.is_none() {
                api = Some(Api::connect(&endpoint, &tls).await?);
            }
            let api = api.as_ref().context("just connected")?;
            let write = api.create_region(&client, number, &name);
            tokio::time::timeout(Duration::from_secs(5), write).await?
        };
        match written.await {
            Ok(revision) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                assert!(
                    revision > known.revision,
                    "write {number} at {revision}, the one before at {}",
                    known.revision
                );
                known.revision = revision;
                known.names.push(name);
                number += 1;
            }
            Err(error) => {
                known.lock().unwrap_or_else(PoisonError::into_inner).refused = format!("{error:#}");
                // Nobody there. The next look is soon; the write is the same.
                api = None;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Fails when a write that was acknowledged before this moment is not there.
async fn nothing_lost(mesh: &Mesh, known: &Mutex<Acknowledged>, round: u32) -> Result<()> {
    let before = known.lock().unwrap_or_else(PoisonError::into_inner).names.clone();
    let there = wait_until(SOON, "a list of all regions", || async {
        Ok(Look::Holds(mesh.api().await?.regions().await?))
    })
    .await?;
    let unique: BTreeSet<&String> = there.iter().collect();
    ensure!(unique.len() == there.len(), "a region is listed twice after round {round}");
    let lost: Vec<_> = before.iter().filter(|name| !unique.contains(name)).collect();
    ensure!(lost.is_empty(), "round {round} lost {} acknowledged writes: {lost:?}", lost.len());
    Ok(())
}

/// Kills a coordinator `rounds` times under a client that writes and remembers. `seed` decides when
/// the kills come.
///
/// # Errors
/// When an acknowledged write is lost or doubled, or the coordinator does not come up again.
pub async fn tell(binaries: Binaries, rounds: u32, seed: u64) -> Result<Told> {
    let mut mesh = Mesh::start(binaries, &[]).await?;
    let known = Arc::new(Mutex::new(Acknowledged::default()));
    let writer = Supervisor::default();
    let failed = writer.stop_token();
    {
        let (endpoint, tls, known) =
            (mesh.ports()?.api.clone(), mesh.tls("anna"), Arc::clone(&known));
        let stop = writer.stop_token();
        writer.spawn(TaskKind::Vital("writer"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = write_forever(endpoint, tls, seed, known) => {}
            }
        });
    }

    let count = |known: &Mutex<Acknowledged>| {
        known.lock().unwrap_or_else(PoisonError::into_inner).names.len()
    };
    let refused = |known: &Mutex<Acknowledged>| {
        known.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut early = 0;
    for round in 0..rounds {
        let kill_at = if round % 3 == 2 {
            // Wherever it is in its start.
            early += 1;
            clock::instant() + random.random_range(Duration::ZERO..EARLY)
        } else {
            mesh.coordinator_up().await?;
            let before = count(&known);
            wait_until(SOON, "an acknowledged write", || async {
                Ok(Look::when(count(&known) > before, refused(&known)))
            })
            .await?;
            if round % 10 == 0 {
                nothing_lost(&mesh, &known, round).await?;
            }
            clock::instant() + random.random_range(Duration::ZERO..LATE)
        };
        // The moment of the kill is the test's input, not something to wait for.
        tokio::time::sleep_until(kill_at.into()).await;
        mesh.kill_coordinator();
        ensure!(!failed.is_cancelled(), "the writer failed in round {round}");
        mesh.spawn_coordinator()?;
    }

    mesh.coordinator_up().await?;
    let before = count(&known);
    wait_until(SOON, "a write after the last kill", || async {
        Ok(Look::when(count(&known) > before, refused(&known)))
    })
    .await?;
    writer.stop();
    ensure!(writer.join(SOON).await, "the writer did not stop");
    nothing_lost(&mesh, &known, rounds).await?;
    ensure!(!writer.failed(), "the writer failed");
    // Every late kill came after a write of its own round.
    ensure!(count(&known) >= (rounds - early) as usize, "only {} writes in all", count(&known));
    mesh.told();
    Ok(Told { kills: rounds, early, acknowledged: count(&known) })
}
