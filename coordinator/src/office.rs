//! What tasks have in common that do something while this member leads, and otherwise wait.

use std::time::Duration;

use tokio::sync::watch;

use crate::raft::member::Leadership;

/// What such a task watches: what is applied, and who leads.
pub struct Office {
    applied: watch::Receiver<u64>,
    leadership: watch::Receiver<Leadership>,
}

impl Office {
    /// Of a member.
    pub fn new(applied: watch::Receiver<u64>, leadership: watch::Receiver<Leadership>) -> Self {
        Self { applied, leadership }
    }

    /// Begins a turn: says whether this member leads. What changes from now on ends the wait.
    pub fn leads(&mut self) -> bool {
        self.applied.mark_unchanged();
        self.leadership.borrow_and_update().leader
    }

    /// Waits until something was applied, another one leads, or this long. Never again once the node
    /// stops, and the task with it.
    pub async fn wait(&mut self, wait: Option<Duration>) {
        let alive = tokio::select! {
            changed = self.applied.changed() => changed.is_ok(),
            changed = self.leadership.changed() => changed.is_ok(),
            () = sleep(wait) => true,
        };
        if !alive {
            std::future::pending::<()>().await;
        }
    }
}

/// Nothing is due: something else ends the wait.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
