//! Tasks with a declared kind: what their end means, and what a stop does to them.

#![allow(clippy::disallowed_methods, reason = "this module owns tokio::spawn")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

/// What a task is to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// The process is of no use without it: its end stops the process.
    Vital(&'static str),
    /// One of many, such as a connection: its end is its own business.
    Session(&'static str),
}

/// Starts tasks and ends them together.
#[derive(Debug, Clone)]
pub struct Supervisor {
    tracker: TaskTracker,
    stop: CancellationToken,
    failed: Arc<AtomicBool>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new(CancellationToken::new())
    }
}

impl Supervisor {
    /// A supervisor whose tasks are told to stop by `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop, failed: Arc::new(AtomicBool::new(false)) }
    }

    /// Cancelled when the process is to stop. Tasks select on it and return.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `task` until it returns. The end of a vital one before the stop stops everything.
    pub fn spawn<F>(&self, kind: TaskKind, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let failed = Arc::clone(&self.failed);
        self.tracker.spawn(async move {
            let guard = VitalGuard { kind, stop, failed };
            task.await;
            drop(guard);
        });
    }

    /// Asks every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether a vital task ended on its own.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Waits until every task has ended, at most `deadline`. True when all did.
    pub async fn join(&self, deadline: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

/// Runs also when the task panics.
struct VitalGuard {
    kind: TaskKind,
    stop: CancellationToken,
    failed: Arc<AtomicBool>,
}

impl Drop for VitalGuard {
    fn drop(&mut self) {
        match self.kind {
            TaskKind::Vital(name) if !self.stop.is_cancelled() => {
                error!(task = name, "a vital task ended, stopping");
                self.failed.store(true, Ordering::Release);
                self.stop.cancel();
            }
            TaskKind::Vital(name) | TaskKind::Session(name) => debug!(task = name, "task ended"),
        }
    }
}
