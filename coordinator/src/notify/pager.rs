//! The loop between the outbox and the world: feeds it what was applied, sends what is due, and
//! proposes what came of it.
//!
//! One task owns the outbox. Attempts and proposals run in tasks of their own and report back, so
//! that neither a hanging contact nor a slow proposal holds up the rest.

use std::collections::BTreeSet;
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
use crate::core::outbox::breaker::Breaker;
use crate::core::outbox::{Members, Origin, Outbox, Report, Send, intents, may_send};

/// How soon to ask again when leadership could not be confirmed or a proposal was lost.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How often the leader looks who is heard.
const LOOK_ROUND: Duration = Duration::from_secs(1);

/// An answer that takes a while.
pub type Answer<'a> = Pin<Box<dyn Future<Output = bool> + std::marker::Send + 'a>>;

/// What the pager needs of replicated state.
pub trait Ledger: std::marker::Send + Sync + 'static {
    /// Whether everything that was committed before this call is applied here, as a quorum
    /// confirms after it: what [`Ledger::incident`] says then is the newest there is. Ends within
    /// 1 s.
    fn confirm(&self) -> Answer<'_>;

    /// Who votes, leads and is heard.
    fn members(&self) -> Members;

    /// Proposes these updates; true when they were applied.
    fn commit(&self, updates: Vec<PageUpdate>) -> Answer<'_>;

    /// An incident as applied.
    fn incident(&self, uid: &str) -> Option<Incident>;

    /// A contact's newest version, or its tombstone.
    fn contact(&self, uid: &str) -> Option<Contact>;

    /// How a contact takes its pages.
    fn breaker(&self, contact: &str) -> Breaker;

    /// The mesh's name, for the page.
    fn mesh(&self) -> String;

    /// Where a contact acknowledges an incident. A ledger without such links has none.
    fn ack_link(&self, _incident: &Incident, _contact: &str) -> Option<String> {
        None
    }
}

/// What the pager is told. Incidents in the order in which they were applied.
#[derive(Debug)]
pub enum Event {
    /// An incident that was in the state or the log when this life began.
    Loaded(Incident),
    /// An incident whose entry came since: opened, resolved, or a page moved on.
    Applied(Incident),
    /// Another state took the place of the one before; all that is pending in it follows.
    Reset,
    /// This member leads, or does not.
    Leadership(bool),
}

/// What tasks report back.
enum Done {
    Sent(String, Report),
    Lost(Vec<PageUpdate>),
    Committed(Vec<PageUpdate>),
}

/// Sends the pages that this member holds, and assigns all of them while it leads, until the
/// supervisor stops or `events` ends. `seed` is for the jitter of retries.
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
    let mut leads = false;
    loop {
        let now = clock::utc();
        if outbox.overdue_at().is_some_and(|at| at <= now) {
            outbox.overdue(now);
        }
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
                    let key = send.key.clone();
                    if !start(node_id, &supervisor, &ledger, &sender, &done, send) {
                        outbox.withdrawn(&key);
                    }
                }
                // What was given up without an attempt.
                let drafts = outbox.drafts();
                if !drafts.is_empty() {
                    commit(&supervisor, &ledger, &done, drafts);
                }
                wait = outbox.wake_at().map(|at| at.since(clock::utc()));
            } else {
                not_before = Some(clock::instant() + ASK_AGAIN);
                wait = Some(ASK_AGAIN);
            }
        }
        if leads {
            let overdue = outbox.overdue_at().map(|at| at.since(clock::utc()));
            let soonest = wait.into_iter().chain(overdue).min().unwrap_or(LOOK_ROUND);
            wait = Some(soonest.min(LOOK_ROUND));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => match event {
                Some(Event::Loaded(incident)) => {
                    put(&mut outbox, ledger.as_ref(), &incident, Origin::Loaded(clock::utc()));
                }
                Some(Event::Applied(incident)) => {
                    put(&mut outbox, ledger.as_ref(), &incident, Origin::Applied);
                }
                Some(Event::Reset) => {
                    for uid in outbox.reset() {
                        match ledger.incident(&uid) {
                            Some(incident) => {
                                put(&mut outbox, ledger.as_ref(), &incident, Origin::Loaded(clock::utc()));
                            }
                            None => outbox.gone(&uid),
                        }
                    }
                }
                Some(Event::Leadership(leader)) => {
                    leads = leader;
                    outbox.members(ledger.members());
                    outbox.lead(leader);
                }
                None => return,
            },
            Some(report) = reports.recv() => match report {
                Done::Sent(key, report) => {
                    log(&key, &report);
                    outbox.finished(&key, report, clock::utc(), rng.random::<f64>());
                }
                Done::Lost(updates) => updates.iter().for_each(|update| outbox.lost(update)),
                Done::Committed(updates) => {
                    updates.iter().for_each(|update| outbox.committed(update));
                }
            },
            () = sleep(wait) => {}
        }
        outbox.members(ledger.members());
    }
}

/// An incident's pages, and how their contacts take them.
fn put<L: Ledger>(outbox: &mut Outbox, ledger: &L, incident: &Incident, origin: Origin) {
    let contacts: BTreeSet<&str> =
        incident.deliveries.iter().map(|page| page.contact_uid.as_str()).collect();
    for contact in contacts {
        outbox.standing(contact, ledger.breaker(contact));
    }
    outbox.put(incident, origin);
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
        let report = tokio::select! {
            () = stop.cancelled() => return,
            applied = ledger.commit(updates.clone()) => match applied {
                true => Done::Committed(updates),
                false => {
                    tokio::time::sleep(ASK_AGAIN).await;
                    Done::Lost(updates)
                }
            },
        };
        // Nobody listens any more: the process stops, and the next life sends again.
        let _ = done.send(report);
    });
}

/// False: the newest state does not let this member send it.
fn start<L: Ledger, S: Sender>(
    node_id: u64,
    supervisor: &Supervisor,
    ledger: &Arc<L>,
    sender: &Arc<S>,
    done: &mpsc::UnboundedSender<Done>,
    send: Send,
) -> bool {
    let incident = ledger.incident(&send.incident);
    let allowed = incident.filter(|incident| may_send(incident, &send, node_id));
    let Some(incident) = allowed else { return false };
    let (ledger, sender) = (Arc::clone(ledger), Arc::clone(sender));
    let (done, stop) = (done.clone(), supervisor.stop_token());
    supervisor.spawn(TaskKind::Session("page"), async move {
        let report = match ledger.contact(&send.contact) {
            Some(contact) => {
                let mut page = body::page(&incident, send.kind, &send.key, &ledger.mesh());
                if intents::goes_on(send.kind) {
                    page.acknowledge_url = ledger.ack_link(&incident, &send.contact);
                }
                let since = contact.meta.as_ref().and_then(|meta| meta.updated_at.as_ref());
                let receipt = intents::receipt(&incident, &send.contact, since).to_owned();
                let attempt = Attempt { key: send.key.clone(), contact, page, receipt };
                tokio::select! {
                    () = stop.cancelled() => return,
                    report = sender.send(attempt) => report,
                }
            }
            None => Report::NotSent("the contact is not there".into()),
        };
        let _ = done.send(Done::Sent(send.key, report));
    });
    true
}

fn log(key: &str, report: &Report) {
    match report {
        Report::Answered { status: 200..=299, .. } | Report::Taken { .. } => {
            info!(key, "page sent");
        }
        Report::Answered { status, detail, .. } => warn!(key, status, detail, "page refused"),
        Report::Refused { why, .. } => warn!(key, why, "page refused"),
        Report::NotSent(why) => warn!(key, why, "page not sent"),
        Report::Ambiguous(why) => warn!(key, why, "page sent without an answer"),
    }
    debug!(key, "page attempt ended");
}

#[cfg(test)]
mod tests;
