//! How the rest of the process tells the judge, and asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parallax_proto::v1;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::core::engine::Voter;
use crate::core::fleet::{self, ProbeKey, RegionKey, Trouble};
use crate::core::judge::About;
use crate::core::session::Event;
use crate::mesh_clock::MeshClock;

/// Inputs that may wait. At it sessions wait, and so do their probes: nothing is lost.
const QUEUE_MAX: usize = 8_192;

/// What the judge is told.
#[derive(Debug)]
pub enum Told {
    /// A session opened.
    Opened(Voter, fleet::Session),
    /// The one with this id closed; another one may have replaced it before.
    Closed(Voter, u64),
    /// What the one with this id heard.
    Heard(Voter, u64, Event),
    /// Another member hears these voters, up to these watermarks.
    Vouched(Vec<(Voter, MeshTime)>),
    /// Proposals about these came to an end.
    Settled(Vec<About>),
    /// The live ballots of these checks are wanted.
    Ballots(Vec<Uid>, oneshot::Sender<Vec<Vec<v1::Ballot>>>),
    /// Whether enough regions fail now to be down.
    StillFailing(Uid, oneshot::Sender<bool>),
    /// Whether a region is silent now.
    StillInTrouble(RegionKey, Trouble, oneshot::Sender<bool>),
    /// The age of a probe's newest watermark.
    WatermarkAge(ProbeKey, oneshot::Sender<Option<Duration>>),
}

/// Tells the judge, and asks it.
#[derive(Clone)]
pub struct JudgeHandle {
    told: mpsc::Sender<Told>,
    pub(crate) leader: Arc<AtomicBool>,
    /// Told when mesh time was set: what is known of times is void.
    pub(crate) set: Arc<Notify>,
    clock: Arc<MeshClock>,
}

impl JudgeHandle {
    /// Waits while the judge is behind. A judge that is gone hears nothing: the process stops.
    pub async fn tell(&self, told: Told) {
        let _ = self.told.send(told).await;
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.leader.load(Ordering::Acquire)
    }

    /// Mesh time now.
    pub fn mesh_now(&self) -> MeshTime {
        self.clock.now()
    }

    /// Mesh time was set, and did not merely go on: everything is counted anew. Sessions that go on
    /// are to be ended first.
    pub fn clock_was_set(&self) {
        self.set.notify_one();
    }

    /// Live ballots, one list a check, by rank of its regions.
    pub async fn ballots(&self, checks: Vec<Uid>) -> Vec<Vec<v1::Ballot>> {
        let count = checks.len();
        let ballots = self.ask(|reply| Told::Ballots(checks, reply)).await;
        ballots.unwrap_or_else(|| vec![Vec::new(); count])
    }

    /// Whether enough regions fail now to be down.
    pub async fn still_failing(&self, check: Uid) -> bool {
        self.ask(|reply| Told::StillFailing(check, reply)).await.unwrap_or(false)
    }

    /// Whether what a region's incident is about lasts.
    pub async fn still_in_trouble(&self, namespace: &str, region: &str, trouble: Trouble) -> bool {
        let key = RegionKey { namespace: namespace.to_owned(), region: region.to_owned() };
        self.ask(|reply| Told::StillInTrouble(key, trouble, reply)).await.unwrap_or(false)
    }

    /// The age of a probe's newest watermark.
    pub async fn watermark_age(&self, region: &str, probe: &str) -> Option<Duration> {
        let key = ProbeKey { region: region.to_owned(), probe: probe.to_owned() };
        self.ask(|reply| Told::WatermarkAge(key, reply)).await.flatten()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Told) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(question(reply)).await;
        answer.await.ok()
    }
}

/// The two ends for telling the judge, made first because others need the handle.
pub fn channel(clock: Arc<MeshClock>) -> (JudgeHandle, mpsc::Receiver<Told>) {
    let (told, receive) = mpsc::channel(QUEUE_MAX);
    (JudgeHandle { told, leader: Arc::default(), set: Arc::default(), clock }, receive)
}
