//! The loop between the outbox and the world: feeds it what was applied, sends what is due, and
//! proposes what came of it.
//!
//! One task owns the outbox. Attempts and proposals run in tasks of their own and report back, so
//! that neither a hanging contact nor a slow proposal holds up the rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parallax_proto::store::PageUpdate;
use parallax_proto::v1::{Contact, Incident};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::{Attempt, Sender, body};
use crate::core::outbox::{Origin, Outbox, Report, Send};

/// How soon to ask again when leadership could not be confirmed or a proposal was lost.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// An answer that takes a while.
pub type Answer<'a> = Pin<Box<dyn Future<Output = bool> + std::marker::Send + 'a>>;

/// What the pager needs of replicated state.
pub trait Ledger: std::marker::Send + Sync + 'static {
    /// Whether this member leads, as confirmed by a quorum after this call. Ends within 1 s.
    fn confirm(&self) -> Answer<'_>;

    /// Proposes these updates; true when they were applied.
    fn commit(&self, updates: Vec<PageUpdate>) -> Answer<'_>;

    /// An incident as applied.
    fn incident(&self, uid: &str) -> Option<Incident>;

    /// A contact's newest version, or its tombstone.
    fn contact(&self, uid: &str) -> Option<Contact>;

    /// The mesh's name, for the page.
    fn mesh(&self) -> String;
}

/// What the pager is told. Incidents in the order in which they were applied.
#[derive(Debug)]
pub enum Event {
    /// An incident from state, at the start.
    Loaded(Incident),
    /// An incident whose entry has just been applied: opened, resolved, or a page moved on.
    Applied(Incident),
    /// This member leads, or does not.
    Leadership(bool),
}

/// What tasks report back.
enum Done {
    Sent(String, Report),
    Lost(Vec<String>),
    Committed,
}

/// Sends pages until the supervisor stops or `events` ends. `seed` is for the jitter of retries.
pub async fn run<L: Ledger, S: Sender>(
    node_id: u64,
    ledger: Arc<L>,
    sender: Arc<S>,
    mut events: mpsc::Receiver<Event>,
    supervisor: Supervisor,
    seed: u64,
) {
    let mut outbox = Outbox::new(node_id);
    let mut rng = StdRng::seed_from_u64(seed);
    let stop = supervisor.stop_token();
    // Holds at most one message a page in flight and one a proposal.
    let (done, mut reports) = mpsc::unbounded_channel();
    let mut not_before = None;
    loop {
        let drafts = outbox.drafts();
        if !drafts.is_empty() {
            commit(&supervisor, &ledger, &done, drafts);
        }
        let mut wait = outbox.wake_at().map(|at| at.since(clock::utc()));
        if wait == Some(Duration::ZERO) {
            if not_before.is_some_and(|at| clock::instant() < at) {
                wait = Some(ASK_AGAIN);
            } else if ledger.confirm().await {
                for send in outbox.ready(clock::utc()) {
                    start(&supervisor, &ledger, &sender, &done, send);
                }
                wait = outbox.wake_at().map(|at| at.since(clock::utc()));
            } else {
                not_before = Some(clock::instant() + ASK_AGAIN);
                wait = Some(ASK_AGAIN);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => match event {
                Some(Event::Loaded(incident)) => outbox.put(&incident, Origin::Loaded),
                Some(Event::Applied(incident)) => outbox.put(&incident, Origin::Applied),
                Some(Event::Leadership(leader)) => outbox.lead(leader),
                None => return,
            },
            Some(report) = reports.recv() => match report {
                Done::Sent(key, report) => {
                    log(&key, &report);
                    outbox.finished(&key, report, clock::utc(), rng.random::<f64>());
                }
                Done::Lost(keys) => keys.iter().for_each(|key| outbox.lost(key)),
                Done::Committed => {}
            },
            () = sleep(wait) => {}
        }
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

fn commit<L: Ledger>(
    supervisor: &Supervisor,
    ledger: &Arc<L>,
    done: &mpsc::UnboundedSender<Done>,
    updates: Vec<PageUpdate>,
) {
    let (ledger, done, stop) = (Arc::clone(ledger), done.clone(), supervisor.stop_token());
    supervisor.spawn(TaskKind::Session("page result"), async move {
        let keys = updates.iter().map(|update| update.idempotency_key.clone()).collect();
        let report = tokio::select! {
            () = stop.cancelled() => return,
            applied = ledger.commit(updates) => match applied {
                true => Done::Committed,
                false => {
                    tokio::time::sleep(ASK_AGAIN).await;
                    Done::Lost(keys)
                }
            },
        };
        // Nobody listens any more: the process stops, and the next life sends again.
        let _ = done.send(report);
    });
}

fn start<L: Ledger, S: Sender>(
    supervisor: &Supervisor,
    ledger: &Arc<L>,
    sender: &Arc<S>,
    done: &mpsc::UnboundedSender<Done>,
    send: Send,
) {
    let (ledger, sender) = (Arc::clone(ledger), Arc::clone(sender));
    let (done, stop) = (done.clone(), supervisor.stop_token());
    supervisor.spawn(TaskKind::Session("page"), async move {
        let report = match (ledger.incident(&send.incident), ledger.contact(&send.contact)) {
            (Some(incident), Some(contact)) => {
                let page = body::page(&incident, send.kind, &send.key, &ledger.mesh());
                let attempt = Attempt { key: send.key.clone(), contact, page };
                tokio::select! {
                    () = stop.cancelled() => return,
                    report = sender.send(attempt) => report,
                }
            }
            (None, _) => Report::NotSent("the incident is not there".into()),
            (_, None) => Report::NotSent("the contact is not there".into()),
        };
        let _ = done.send(Done::Sent(send.key, report));
    });
}

fn log(key: &str, report: &Report) {
    match report {
        Report::Answered { status: 200..=299, .. } => info!(key, "page sent"),
        Report::Answered { status, detail, .. } => warn!(key, status, detail, "page refused"),
        Report::NotSent(why) => warn!(key, why, "page not sent"),
        Report::Ambiguous(why) => warn!(key, why, "page sent without an answer"),
    }
    debug!(key, "page attempt ended");
}

#[cfg(test)]
mod tests;
