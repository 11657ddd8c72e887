//! The replicated state as the pager sees it, and the feed of applied incidents.
//!
//! Every member's pager is fed, whoever leads: any of them may be given a page to send.

use std::sync::Arc;

use parallax_proto::store::entry::Command;
use parallax_proto::store::{PageUpdate, UpdatePages};
use parallax_proto::v1::{Contact, Incident};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::core::outbox::Members;
use crate::core::outbox::breaker::Breaker;
use crate::core::state::Changed;
use crate::machine::Batch;
use crate::notify::pager::{Answer, Event, Ledger};
use crate::propose::{Origin, Proposer};
use crate::quorum::Reach;
use crate::raft::member::Leadership;
use crate::view::View;

/// Updates of one entry, far below its size limit.
const UPDATES_MAX: usize = 256;

/// What the pager may read and propose.
pub struct StateLedger {
    view: View,
    proposer: Proposer,
    reach: Arc<dyn Reach>,
    name: String,
}

impl StateLedger {
    /// The ledger of the member with this name.
    pub fn new(view: View, proposer: Proposer, reach: Arc<dyn Reach>, name: String) -> Self {
        Self { view, proposer, reach, name }
    }
}

impl Ledger for StateLedger {
    fn confirm(&self) -> Answer<'_> {
        Box::pin(async { self.proposer.confirm_state().await })
    }

    fn members(&self) -> Members {
        let node = self.proposer.node().status();
        let heard = self.reach.others().into_iter().filter(|other| other.heard);
        Members {
            leader: node.leader_id,
            voters: node.voters.into_iter().collect(),
            heard: heard.map(|other| other.node_id).collect(),
        }
    }

    fn commit(&self, updates: Vec<PageUpdate>) -> Answer<'_> {
        Box::pin(async move {
            for part in updates.chunks(UPDATES_MAX) {
                let command = Command::UpdatePages(UpdatePages { updates: part.to_vec() });
                if let Err(error) = self.proposer.write(Origin::leader(&self.name), command).await {
                    warn!(%error, "how pages went was not committed");
                    return false;
                }
            }
            true
        })
    }

    fn incident(&self, uid: &str) -> Option<Incident> {
        self.view.load().incidents.get(uid).map(|incident| incident.as_ref().clone())
    }

    fn contact(&self, uid: &str) -> Option<Contact> {
        self.view.load().contacts.get(uid)?.contact.clone()
    }

    fn breaker(&self, contact: &str) -> Breaker {
        self.view.load().contacts.get(contact).map(|row| Breaker::of(row)).unwrap_or_default()
    }

    fn mesh(&self) -> String {
        self.view.load().cluster.mesh.clone()
    }

    fn ack_link(&self, incident: &Incident, contact: &str) -> Option<String> {
        self.view.load().ack_link(incident, contact)
    }
}

/// Feeds the pager: what is pending at the start, then every incident as it is applied.
///
/// `last_index` is the end of this member's log when this life began. What is applied up to there
/// may have been seen by an earlier life, whose pages may have gone out without their answer being
/// kept: it is fed as loaded. What comes behind it no earlier life can have acted upon, for only what
/// is in the own log is applied; so it is fed as applied, whoever leads.
pub async fn feed(
    view: View,
    last_index: u64,
    mut batches: mpsc::UnboundedReceiver<Batch>,
    mut leadership: watch::Receiver<Leadership>,
    events: mpsc::Sender<Event>,
) {
    if !load(&view, &events).await {
        return;
    }
    leadership.mark_changed();
    let mut alive = true;
    while alive {
        tokio::select! {
            biased;
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
                let leader = leadership.borrow_and_update().leader;
                // Its state held everything of earlier terms when it took office.
                while let Ok(batch) = batches.try_recv() {
                    alive &= follow(&view, last_index, batch, &events).await;
                }
                alive = alive && events.send(Event::Leadership(leader)).await.is_ok();
            }
            batch = batches.recv() => match batch {
                Some(batch) => alive = follow(&view, last_index, batch, &events).await,
                None => return,
            },
        }
    }
}

/// Feeds all that is pending. False: nobody listens.
async fn load(view: &View, events: &mpsc::Sender<Event>) -> bool {
    let state = view.load();
    for uid in state.pending.values() {
        let Some(incident) = state.incidents.get(uid) else { continue };
        if events.send(Event::Loaded(incident.as_ref().clone())).await.is_err() {
            return false;
        }
    }
    true
}

async fn follow(view: &View, last_index: u64, batch: Batch, events: &mpsc::Sender<Event>) -> bool {
    if batch.reset && !(events.send(Event::Reset).await.is_ok() && load(view, events).await) {
        return false;
    }
    let state = view.load();
    // One entry may tell of an incident and of each of its deliveries: once is enough here, where
    // each time the whole incident is looked at.
    let mut told = None;
    for (revision, change) in batch.changes.iter() {
        let (Changed::Incident(uid) | Changed::Delivery(_, uid)) = change else { continue };
        if told == Some((revision, uid)) {
            continue;
        }
        told = Some((revision, uid));
        let Some(incident) = state.incidents.get(uid) else { continue };
        let event = if *revision > last_index { Event::Applied } else { Event::Loaded };
        if events.send(event(incident.as_ref().clone())).await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::state::State;

    fn batch(revision: u64, uid: &str) -> Batch {
        let changes = Arc::new(vec![(revision, Changed::Incident(uid.to_owned()))]);
        Batch { revision, changes, ..Batch::default() }
    }

    /// What the pager was told, in words.
    fn words(events: &mut mpsc::Receiver<Event>) -> Vec<String> {
        let mut words = Vec::new();
        while let Ok(event) = events.try_recv() {
            words.push(match event {
                Event::Loaded(incident) => format!("loaded {}", incident.uid),
                Event::Applied(incident) => format!("applied {}", incident.uid),
                Event::Leadership(leader) => format!("leader {leader}"),
                Event::Reset => "reset".to_owned(),
            });
        }
        words
    }

    #[tokio::test]
    async fn what_was_in_the_log_when_this_life_began_is_loaded_and_all_else_applied() {
        let mut state = State::default();
        for uid in ["stored", "tail", "mine", "later"] {
            let incident = Incident { uid: uid.to_owned(), ..Incident::default() };
            state.incidents.insert(uid.to_owned(), Arc::new(incident));
        }
        state.pending.insert("stored:c:opened".to_owned(), "stored".to_owned());
        let view = View::default();
        view.publish(state);
        // The tail of the log is applied again before the feed is polled for the first time.
        for leader_at_start in [false, true] {
            let (apply, batches) = mpsc::unbounded_channel();
            let (lead, leadership) =
                watch::channel(Leadership { term: 1, leader: leader_at_start });
            let (to_pager, mut events) = mpsc::channel(64);
            apply.send(batch(1, "tail")).unwrap();
            if !leader_at_start {
                lead.send_replace(Leadership { term: 2, leader: true });
            }
            let feed = feed(view.clone(), 1, batches, leadership, to_pager);
            tokio::pin!(feed);
            // Polled until it waits for news.
            assert!(waits(feed.as_mut()).await);
            assert_eq!(words(&mut events), ["loaded stored", "loaded tail", "leader true"]);
            apply.send(batch(2, "mine")).unwrap();
            lead.send_replace(Leadership { term: 3, leader: false });
            apply.send(batch(3, "later")).unwrap();
            assert!(waits(feed.as_mut()).await);
            assert_eq!(words(&mut events), ["applied mine", "applied later", "leader false"]);
        }
    }

    #[tokio::test]
    async fn a_follower_is_fed_what_another_leader_had_applied() {
        let mut state = State::default();
        for uid in ["old", "new"] {
            let incident = Incident { uid: uid.to_owned(), ..Incident::default() };
            state.incidents.insert(uid.to_owned(), Arc::new(incident));
        }
        let view = View::default();
        view.publish(state);
        let (apply, batches) = mpsc::unbounded_channel();
        let (_lead, leadership) = watch::channel(Leadership::default());
        let (to_pager, mut events) = mpsc::channel(64);
        let feed = feed(view, 7, batches, leadership, to_pager);
        tokio::pin!(feed);
        assert!(waits(feed.as_mut()).await);
        apply.send(batch(7, "old")).unwrap();
        apply.send(batch(8, "new")).unwrap();
        assert!(waits(feed.as_mut()).await);
        assert_eq!(words(&mut events), ["leader false", "loaded old", "applied new"]);
    }

    #[tokio::test]
    async fn a_state_that_came_whole_is_loaded_anew() {
        let mut state = State::default();
        for uid in ["waits", "moved"] {
            let incident = Incident { uid: uid.to_owned(), ..Incident::default() };
            state.incidents.insert(uid.to_owned(), Arc::new(incident));
        }
        state.pending.insert("waits:c:opened".to_owned(), "waits".to_owned());
        let view = View::default();
        view.publish(state);
        let (apply, batches) = mpsc::unbounded_channel();
        let (_lead, leadership) = watch::channel(Leadership::default());
        let (to_pager, mut events) = mpsc::channel(64);
        let feed = feed(view, 7, batches, leadership, to_pager);
        tokio::pin!(feed);
        assert!(waits(feed.as_mut()).await);
        assert_eq!(words(&mut events), ["loaded waits", "leader false"]);
        apply.send(Batch { reset: true, ..batch(90, "moved") }).unwrap();
        assert!(waits(feed.as_mut()).await);
        assert_eq!(words(&mut events), ["reset", "loaded waits", "applied moved"]);
    }

    /// Polls once: true when it waits. Everything it waits for is told by the test itself.
    async fn waits(mut feed: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(feed.as_mut().poll(context).is_pending())
        })
        .await
    }
}
