//! Probes that run nothing: each holds a live lane open, learns what it would have to run, and
//! leaves the bulk lane to the bench.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use bytes::Bytes;
use parallax_common::name::Uid;
use parallax_proto::v1;
use parallax_proto::v1::live_request::Frame as Up;
use parallax_proto::v1::live_response::Frame as Down;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tonic::Streaming;

use crate::harness::rogue::Rogue;

/// A live lane that is kept up; it ends with its owner.
#[derive(Debug)]
pub struct Idle {
    assigned: watch::Receiver<BTreeSet<Uid>>,
    supervisor: Supervisor,
}

impl Idle {
    /// Opens the live lane of a probe.
    ///
    /// # Errors
    /// When the coordinator refuses it.
    pub async fn open(rogue: &Rogue) -> Result<Self> {
        let snapshot = v1::BallotSnapshot { last: true, whole: true, ..Default::default() };
        let (up, down) = rogue.live(vec![encoded(Up::Snapshot(snapshot))]).await?;
        let (told, assigned) = watch::channel(BTreeSet::new());
        let supervisor = Supervisor::default();
        let stop = supervisor.stop_token();
        supervisor.spawn(TaskKind::Session("idle probe"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                // A lane that breaks shows in what the bench waits for.
                ended = keep(&up, down, &told) => drop(ended),
            }
        });
        Ok(Self { assigned, supervisor })
    }

    /// The checks it is to run.
    pub fn assigned(&self) -> BTreeSet<Uid> {
        self.assigned.borrow().clone()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

/// Answers every ping with a pong and a heartbeat.
async fn keep(
    up: &mpsc::Sender<Bytes>,
    mut down: Streaming<v1::LiveResponse>,
    told: &watch::Sender<BTreeSet<Uid>>,
) -> Result<()> {
    while let Some(message) = down.message().await? {
        match message.frame {
            Some(Down::Ping(ping)) => {
                let boottime_ns = clock::boot_time().as_ns();
                up.send(encoded(Up::Pong(v1::Pong { id: ping.id, boottime_ns }))).await?;
                let heartbeat = v1::Heartbeat { boottime_ns, ..Default::default() };
                up.send(encoded(Up::Heartbeat(heartbeat))).await?;
            }
            Some(Down::Assignments(chunk)) => {
                let given: Option<Vec<Uid>> = chunk
                    .upserts
                    .iter()
                    .map(|assignment| Uid::from_slice(&assignment.check_uid))
                    .collect();
                told.send_modify(|assigned| assigned.extend(given.into_iter().flatten()));
                if chunk.last {
                    let generation = Some(chunk.generation.context("a plan has a generation")?);
                    let applied = v1::AssignmentsApplied { generation };
                    up.send(encoded(Up::AssignmentsApplied(applied))).await?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn encoded(frame: Up) -> Bytes {
    v1::LiveRequest { frame: Some(frame) }.encode_to_vec().into()
}
