//! Which page goes out next, and what becomes of it.
//!
//! What must be said is in replicated state: [`intents`] writes it in the entry that changes the
//! incident, and records how far it came. This file is the sender's view of it: the [`Outbox`] is
//! fed with incidents, says what to send now, and turns results into [`PageUpdate`]s to propose.
//! Nothing is lost with an outbox: another one, fed with the same state, goes on.
//!
//! * **Order.** An incident's pages to one contact go out one after the other: opened, resolved,
//!   resolved again. Different incidents, and different contacts, do not wait for each other.
//! * **Keys** name a page, not an attempt: `<incident>:<contact>:opened`, `...:resolved`, and
//!   `...:resolved/again`. Every attempt by every sender uses the same.
//! * **Doubt.** A page that this outbox did not see from its beginning may have been sent by an
//!   earlier life or another member, whose answer nobody kept. Its attempts count as ambiguous.
//! * **Combined.** If the end is there before the opening was delivered, one message says both,
//!   under the opening's key. Not in doubt, though: a receiver that has the opening under that key
//!   would drop the message as a repetition and never hear of the end. Then both are sent.
//! * **Ambiguous** is an attempt whose request was (partly) written and never answered. An HTTP
//!   status is an answer, whatever it says. After one, the resolve is said again 60 s later, in
//!   case the opening was only late.
//! * **Retries** back off from 1 s to 5 min, never before `Retry-After`. A status that says that
//!   the request itself is wrong (4xx but 408, 425 and 429; a redirect) waits the longest at once:
//!   somebody has to change the contact. After 72 h a page is dead.
//! * **Fairness.** Contacts are served in turn, one page each. One may have several in flight only
//!   while half of all places are free: those are for contacts with none.
//!
//! The caller asks for pages only while its leadership is confirmed (less than 1 s old).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use parallax_common::limits::{
    PAGE_BACK_OFF_MAX, PAGE_BACK_OFF_MIN, PAGE_DEAD_AFTER, PAGE_ERROR_BYTES_MAX,
    PAGE_RETRY_AFTER_MAX, PAGES_IN_FLIGHT_MAX, PAGES_IN_FLIGHT_SHARED_MAX, PAGES_PER_CONTACT_MAX,
};
use parallax_common::time::UtcTime;
use parallax_proto::store::PageUpdate;
use parallax_proto::v1::{Delivery, DeliveryState, Incident, PageKind};

use super::stamp;

pub mod intents;
pub mod timeline;

/// Where an incident's deliveries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Read from state at the start: what is pending may have been attempted.
    Loaded,
    /// Applied while this outbox was listening.
    Applied,
}

/// A page to send now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The incident it is about.
    pub incident: String,
    /// Uid of the contact; its newest version counts, a tombstone too.
    pub contact: String,
    /// `Idempotency-Key`.
    pub key: String,
    /// What to say.
    pub kind: PageKind,
    /// From 1.
    pub attempt: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// An HTTP status came back.
    Answered {
        /// 100 to 599.
        status: u16,
        /// How long the receiver asked us to wait.
        retry_after: Option<Duration>,
        /// What to remember if it is not 2xx.
        detail: String,
    },
    /// Nothing of the request left: no name, no connection, no TLS, or no usable contact.
    NotSent(String),
    /// The request was written, at least in part, and no answer came.
    Ambiguous(String),
}

type ChainKey = (String, String);

/// One incident's pages to one contact, in order.
#[derive(Debug, Default)]
struct Chain {
    pages: Vec<Delivery>,
    /// Keys of pending pages that may have been sent without our knowing.
    doubt: BTreeSet<String>,
    /// An attempt is under way.
    flying: Option<PageKind>,
    /// A result that is not committed yet: nothing is sent before it is.
    settling: Option<PageUpdate>,
    /// Its place in the contact's queue.
    due: Option<UtcTime>,
}

impl Chain {
    /// The first page that is still to be said.
    fn head(&self) -> Option<&Delivery> {
        self.pages.iter().find(|page| page.state() == DeliveryState::Pending)
    }

    /// What the head says when it is sent now.
    fn kind(&self, head: &Delivery) -> PageKind {
        let end_is_there = self.pages.iter().any(|page| {
            page.kind() == PageKind::Resolved && page.state() == DeliveryState::Pending
        });
        let fresh = !head.ambiguous && !self.doubt.contains(&head.idempotency_key);
        match head.kind() {
            PageKind::Opened if end_is_there && fresh => PageKind::Combined,
            kind => kind,
        }
    }
}

/// What waits for one contact.
#[derive(Debug, Default)]
struct Lane {
    due: BTreeSet<(UtcTime, String)>,
    in_flight: usize,
}

impl Lane {
    /// Whether another page to this contact may go while so many are in flight to all.
    fn has_room(&self, in_flight: usize) -> bool {
        if self.in_flight == 0 {
            return in_flight < PAGES_IN_FLIGHT_MAX;
        }
        self.in_flight < PAGES_PER_CONTACT_MAX && in_flight < PAGES_IN_FLIGHT_SHARED_MAX
    }
}

/// The sender's state. Rebuilt from replicated state at every start.
#[derive(Debug)]
pub struct Outbox {
    node_id: u64,
    leader: bool,
    chains: BTreeMap<ChainKey, Chain>,
    lanes: BTreeMap<String, Lane>,
    /// The contact that was served last.
    served: String,
    flights: BTreeMap<String, ChainKey>,
    /// Claims under way, by key.
    claiming: BTreeSet<String>,
    drafts: Vec<PageUpdate>,
}

impl Outbox {
    /// An outbox that sends for this member.
    pub fn new(node_id: u64) -> Self {
        Self {
            node_id,
            leader: false,
            chains: BTreeMap::new(),
            lanes: BTreeMap::new(),
            served: String::new(),
            flights: BTreeMap::new(),
            claiming: BTreeSet::new(),
            drafts: Vec::new(),
        }
    }

    /// This member leads, or does not. A new leader takes over the claims of others at once.
    pub fn lead(&mut self, leader: bool) {
        self.leader = leader;
        self.claiming.clear();
        self.drafts.clear();
        if !leader {
            return;
        }
        // What an earlier term could not commit is proposed again.
        self.drafts.extend(self.chains.values().filter_map(|chain| chain.settling.clone()));
        let keys: Vec<ChainKey> = self.chains.keys().cloned().collect();
        for key in &keys {
            self.queue(key);
        }
    }

    /// Takes an incident's deliveries as they stand in state.
    pub fn put(&mut self, incident: &Incident, origin: Origin) {
        let mut by_contact: BTreeMap<&str, Vec<Delivery>> = BTreeMap::new();
        for page in &incident.deliveries {
            by_contact.entry(&page.contact_uid).or_default().push(page.clone());
        }
        for (contact, pages) in by_contact {
            let key = (incident.uid.clone(), contact.to_owned());
            self.take(&key, pages, origin);
        }
    }

    /// Pages to send now. Each is in flight until [`Outbox::finished`] is called with its key.
    pub fn ready(&mut self, now: UtcTime) -> Vec<Send> {
        let mut sends = Vec::new();
        if !self.leader {
            return sends;
        }
        // In turn, beginning after the contact that was served last. Nobody's second page goes
        // before everybody's first.
        let is_due =
            |(_, lane): &(&String, &Lane)| lane.due.first().is_some_and(|(at, _)| *at <= now);
        let mut turn: VecDeque<String> =
            self.lanes.iter().filter(is_due).map(|(contact, _)| contact.clone()).collect();
        let after = turn.partition_point(|contact| *contact <= self.served);
        turn.rotate_left(after);
        while let Some(contact) = turn.pop_front() {
            if let Some(send) = self.start(&contact, now) {
                sends.push(send);
                self.served.clone_from(&contact);
                turn.push_back(contact);
            }
        }
        sends
    }

    /// Starts the first page that is due to a contact, if there is room for it.
    fn start(&mut self, contact: &str, now: UtcTime) -> Option<Send> {
        let lane = self.lanes.get_mut(contact)?;
        if !lane.has_room(self.flights.len()) || lane.due.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, incident) = lane.due.pop_first()?;
        let place = (incident, contact.to_owned());
        let chain = self.chains.get_mut(&place)?;
        chain.due = None;
        let head = chain.head()?;
        let (key, attempt) = (head.idempotency_key.clone(), head.attempts.saturating_add(1));
        let kind = chain.kind(head);
        lane.in_flight += 1;
        chain.flying = Some(kind);
        self.flights.insert(key.clone(), place.clone());
        Some(Send { incident: place.0, contact: place.1, key, kind, attempt })
    }

    /// Takes the end of an attempt. `jitter` is drawn by the caller, uniformly from 0 to 1: it
    /// takes up to half off the back-off.
    pub fn finished(&mut self, key: &str, report: Report, now: UtcTime, jitter: f64) {
        let Some(place) = self.flights.remove(key) else { return };
        if let Some(lane) = self.lanes.get_mut(&place.1) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        let Some(chain) = self.chains.get_mut(&place) else { return };
        let said = chain.flying.take().unwrap_or_default();
        let Some(page) = chain.pages.iter().find(|page| page.idempotency_key == key).cloned()
        else {
            return;
        };
        let ambiguous = matches!(report, Report::Ambiguous(_));
        if ambiguous && said != PageKind::Combined {
            chain.doubt.insert(key.to_owned());
        }
        let doubted = chain.doubt.contains(key);
        let update = update(&page, said, &report, ambiguous || doubted, now, jitter);
        chain.settling = Some(update.clone());
        if self.leader {
            self.drafts.push(update);
        }
    }

    /// Changes to propose, each once. Keep their keys, and say with [`Outbox::lost`] when a
    /// proposal did not come through.
    pub fn drafts(&mut self) -> Vec<PageUpdate> {
        std::mem::take(&mut self.drafts)
    }

    /// A proposal with this key was refused or lost: it is drafted again.
    pub fn lost(&mut self, key: &str) {
        if !self.leader {
            return;
        }
        self.claiming.remove(key);
        let place = self
            .chains
            .iter()
            .find(|(_, chain)| chain.pages.iter().any(|page| page.idempotency_key == key));
        let Some((place, chain)) = place else { return };
        match &chain.settling {
            Some(update) if update.idempotency_key == key => self.drafts.push(update.clone()),
            _ => {
                let place = place.clone();
                self.queue(&place);
            }
        }
    }

    /// When the next page is due, if a contact has room for it.
    pub fn wake_at(&self) -> Option<UtcTime> {
        if !self.leader {
            return None;
        }
        self.lanes
            .values()
            .filter(|lane| lane.has_room(self.flights.len()))
            .filter_map(|lane| lane.due.first().map(|(at, _)| *at))
            .min()
    }

    /// Pages that are still to be said, and those in flight.
    pub fn depth(&self) -> (usize, usize) {
        (self.chains.len(), self.flights.len())
    }

    fn take(&mut self, key: &ChainKey, pages: Vec<Delivery>, origin: Origin) {
        let chain = self.chains.entry(key.clone()).or_default();
        for page in &pages {
            let id = &page.idempotency_key;
            let before = chain.pages.iter().find(|known| known.idempotency_key == *id);
            let ours = page.claimed_by == self.node_id;
            let seen_from_the_start = match before {
                None => origin == Origin::Applied && ours && page.attempts == 0,
                Some(before) => before.claimed_by == page.claimed_by,
            };
            if page.state() == DeliveryState::Pending && !seen_from_the_start {
                chain.doubt.insert(id.clone());
            }
            if page.claimed_by == self.node_id || page.state() != DeliveryState::Pending {
                self.claiming.remove(id);
            }
            let settled = chain.settling.as_ref().is_some_and(|update| {
                update.idempotency_key == *id
                    && (page.attempts >= update.attempts || is_moot(update, page.state()))
            });
            if settled {
                chain.settling = None;
            }
            if page.state() != DeliveryState::Pending {
                chain.doubt.remove(id);
            }
        }
        chain.pages = pages;
        self.queue(key);
    }

    /// Puts a chain where its head belongs: into its contact's queue, or out of everything.
    fn queue(&mut self, key: &ChainKey) {
        let Some(chain) = self.chains.get_mut(key) else { return };
        let lane = self.lanes.entry(key.1.clone()).or_default();
        if let Some(due) = chain.due.take() {
            lane.due.remove(&(due, key.0.clone()));
        }
        if chain.flying.is_some() || chain.settling.is_some() {
            return;
        }
        let Some(head) = chain.head() else {
            self.chains.remove(key);
            if lane.in_flight == 0 && lane.due.is_empty() {
                self.lanes.remove(&key.1);
            }
            return;
        };
        if head.claimed_by == self.node_id {
            let due = stamp::utc(head.next_attempt_at.as_ref());
            lane.due.insert((due, key.0.clone()));
            chain.due = Some(due);
        } else if self.leader && self.claiming.insert(head.idempotency_key.clone()) {
            self.drafts.push(PageUpdate {
                idempotency_key: head.idempotency_key.clone(),
                claimed_by: self.node_id,
                ..Default::default()
            });
        }
    }
}

/// Whether a result changes nothing any more about a page in this state. Of a dropped page one that
/// was, or may have been, received does: somebody must hear the end.
fn is_moot(update: &PageUpdate, state: DeliveryState) -> bool {
    match state {
        DeliveryState::Sent | DeliveryState::Dead => true,
        DeliveryState::Dropped => update.state() != DeliveryState::Sent && !update.ambiguous,
        DeliveryState::Pending | DeliveryState::Unspecified => false,
    }
}

/// What one attempt makes of its page.
fn update(
    page: &Delivery,
    said: PageKind,
    report: &Report,
    ambiguous: bool,
    now: UtcTime,
    jitter: f64,
) -> PageUpdate {
    let attempts = page.attempts.saturating_add(1);
    let mut update = PageUpdate {
        idempotency_key: page.idempotency_key.clone(),
        attempts,
        ambiguous,
        ..Default::default()
    };
    let (error, wait, at_least) = match report {
        Report::Answered { status: 200..=299, .. } => {
            update.state = DeliveryState::Sent.into();
            if said == PageKind::Combined {
                update.kind = said.into();
            }
            return update;
        }
        Report::Answered { status, retry_after, detail } => {
            let wait = match status {
                408 | 425 | 429 | 500.. => back_off(attempts),
                _ => PAGE_BACK_OFF_MAX,
            };
            let at_least = retry_after.unwrap_or_default().min(PAGE_RETRY_AFTER_MAX);
            (format!("HTTP status {status}{}{detail}", colon(detail)), wait, at_least)
        }
        Report::NotSent(why) => (why.clone(), back_off(attempts), Duration::ZERO),
        Report::Ambiguous(why) => (why.clone(), back_off(attempts), Duration::ZERO),
    };
    update.error = cut(error);
    let dead_at = stamp::utc(page.created_at.as_ref()) + PAGE_DEAD_AFTER;
    if now >= dead_at {
        update.state = DeliveryState::Dead.into();
        return update;
    }
    let wait = wait.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0)).max(at_least);
    update.state = DeliveryState::Pending.into();
    // One last attempt when its time is up.
    update.next_attempt_utc_ns = (now + wait).min(dead_at).as_ns();
    update
}

/// The wait after this many attempts: 1 s, 2 s, 4 s, up to 5 min.
fn back_off(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    PAGE_BACK_OFF_MIN.saturating_mul(1 << doublings).min(PAGE_BACK_OFF_MAX)
}

fn colon(detail: &str) -> &'static str {
    if detail.is_empty() { "" } else { ": " }
}

fn cut(mut text: String) -> String {
    if text.len() > PAGE_ERROR_BYTES_MAX {
        let end = (0..=PAGE_ERROR_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
    }
    text
}

#[cfg(test)]
mod tests;
