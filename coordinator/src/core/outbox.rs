//! Which page goes out next, and what becomes of it.
//!
//! What must be said is in replicated state: [`intents`] writes it in the entry that changes the
//! incident, and records how far it came. This file is the sender's view of it: the [`Outbox`] is
//! fed with incidents, says what to send now, and turns results into [`PageUpdate`]s to propose.
//! Nothing is lost with an outbox: another one, fed with the same state, goes on.
//!
//! * **Claims.** Every member has an outbox and follows all pages; it sends those whose claim is its
//!   own. Which member that is, the leader says: `outbox/claims.rs`. A holder that found no connection
//!   three times in a row makes no attempt until the leader has spoken again, so that such a page
//!   changes hands without doubt.
//! * **Order.** An incident's pages to one contact go out one after the other: opened, escalated,
//!   reminders, resolved, resolved again. Different incidents, and different contacts, do not wait for each
//!   other; only what a contact missed while it could not be reached goes in the order in which it was written:
//!   `outbox/line.rs`.
//! * **Keys** name a page, not an attempt: `<incident>:<contact>:opened`, `...:resolved`,
//!   `...:resolved/again`, `...:escalated/<route>/<step>` and `...:reminder/<route>/<number>`. Every attempt by every sender uses the same.
//! * **Doubt.** A page that an earlier life of this member may have sent, whose answer nobody kept:
//!   its attempts count as ambiguous. What another member may have sent is marked in the state, by
//!   the hand-over.
//! * **Combined.** If the end is there before the opening was delivered, one message says both,
//!   under the opening's key, and the end is dropped. In doubt it says both as well, since a message that did
//!   get through may have been this one: an opening behind it would look like a new outage. But then the end
//!   follows under its own key, for a receiver that has the opening under the first and drops the message as a
//!   repetition. A reminder or a later step that is in doubt goes as it is, before the end.
//! * **Ambiguous** is an attempt whose request was (partly) written and never answered. An HTTP
//!   status is an answer, whatever it says. After one, the resolve is said again 60 s later, in
//!   case the opening was only late.
//! * **Retries** back off from 1 s to 5 min, never before `Retry-After`. A status that says that
//!   the request itself is wrong (4xx but 408, 425 and 429; a redirect) waits the longest at once:
//!   somebody has to change the contact. After 72 h a page is dead.
//! * **Fairness.** Contacts are served in turn, one page each. One may have several in flight only
//!   while half of all places are free: those are for contacts with none. A page in flight for over
//!   a second gives its place back, so that hundreds of contacts that hang delay nobody for longer.
//!
//! * **A contact that is failing** (`outbox/breaker.rs`) is tried by one page at a time, the first in its line;
//!   the others wait. As long as one of them tries, nobody's time to answer is over.
//!   What is past its 72 h meanwhile is given up without an attempt of its own.
//!
//! The caller asks for pages only when a quorum has confirmed, less than a second ago, that what is
//! applied here is the newest there is, and looks at the newest state once more before each:
//! [`may_send`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use parallax_common::limits::{PAGE_TIMEOUT_MAX, PAGES_IN_FLIGHT_MAX, PAGES_PER_CONTACT_MAX};
use parallax_common::time::UtcTime;
use parallax_proto::store::PageUpdate;
use parallax_proto::v1::{Delivery, DeliveryState, Incident, PageKind};

use self::attempt::{cut, is_known, update};
use self::breaker::Breaker;
use self::claims::Claims;
pub use self::claims::Members;
use self::lane::{Flights, Lane};
use super::stamp;
use crate::mutant::{self, Mutant};

mod attempt;
pub mod breaker;
mod claims;
pub mod fallback;
pub mod intents;
mod lane;
mod line;
pub mod pace;
pub mod steps;
pub mod storm;
pub mod timeline;

/// Where an incident's deliveries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the state or the log when this life began: what is ours may have been attempted, unless it is
    /// due only after this moment.
    Loaded(UtcTime),
    /// Came after this life began, whoever led.
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
    /// It was taken, and the contact said by what it knows the page.
    Taken {
        /// Its own name for the page, or empty.
        receipt: String,
        /// What to remember although it was taken, such as who is not told; or empty.
        note: String,
    },
    /// An answer that says no in another way than by an HTTP status.
    Refused {
        /// What to remember of it.
        why: String,
        /// Somebody has to change the contact first.
        lasting: bool,
        /// How long the receiver asked us to wait.
        retry_after: Option<Duration>,
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
    /// Where the leader waits for its holder's answer.
    overdue: Option<UtcTime>,
    /// The holder whose claim a new leader takes at once.
    inherited: Option<u64>,
    /// Its place in the contact's line.
    written: Option<UtcTime>,
    /// How many pages the contact had taken when the last attempt here failed.
    failed_after: u64,
    /// It failed again although the contact took another one meanwhile.
    aside: bool,
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
            // In doubt, too: then the end still follows.
            PageKind::Opened if end_is_there => PageKind::Combined,
            // What says that it goes on: by now it does not.
            kind if intents::goes_on(kind) && end_is_there && fresh => PageKind::Combined,
            kind => kind,
        }
    }
}

/// The sender's state. Rebuilt from replicated state at every start.
#[derive(Debug)]
pub struct Outbox {
    node_id: u64,
    claims: Claims,
    chains: BTreeMap<ChainKey, Chain>,
    lanes: BTreeMap<String, Lane>,
    /// The contact that was served last.
    served: String,
    flights: Flights,
    drafts: Vec<PageUpdate>,
    /// Contacts that are failing, by uid.
    failing: BTreeMap<String, Breaker>,
    /// The last time that this outbox was told.
    seen: UtcTime,
}

impl Outbox {
    /// An outbox that sends for this member.
    pub fn new(node_id: u64) -> Self {
        Self {
            node_id,
            claims: Claims::new(node_id),
            chains: BTreeMap::new(),
            lanes: BTreeMap::new(),
            served: String::new(),
            flights: Flights::default(),
            drafts: Vec::new(),
            failing: BTreeMap::new(),
            seen: UtcTime::default(),
        }
    }

    /// How a contact takes its pages, as it stands in state. To be said before an incident with pages to
    /// it is put.
    pub fn standing(&mut self, contact: &str, breaker: Breaker) {
        let known = self.failing.get(contact).copied();
        if !breaker.is_open() {
            if self.failing.remove(contact).is_some()
                && let Some(lane) = self.lanes.get_mut(contact)
            {
                lane.is_well(self.seen);
            }
        } else {
            // An end that is not in the state yet is no older for that.
            let failed_at =
                known.map_or(breaker.failed_at, |it| it.failed_at.max(breaker.failed_at));
            self.failing.insert(contact.to_owned(), Breaker { failed_at, ..breaker });
        }
    }

    /// This member leads, or does not. A new leader re-assigns at once what its predecessor, or a
    /// member that it does not hear, had claimed.
    pub fn lead(&mut self, leader: bool) {
        // What another office was about to move is no business of this one.
        self.drafts.retain(|draft| draft.claimed_by == 0);
        let inherits = self.claims.lead(leader);
        for chain in self.chains.values_mut() {
            let holder = chain.head().map(|head| head.claimed_by);
            chain.inherited = holder.filter(|holder| inherits(*holder));
        }
        drop(inherits);
        self.queue_all();
    }

    /// Who votes, and who is heard, as far as this member knows.
    pub fn members(&mut self, members: Members) {
        if self.claims.learn(members) {
            self.queue_all();
        }
    }

    /// Another state took the place of the one before, and all that is pending in it is put anew.
    /// Says which incidents are in the hands of this member: they are to be put, or are
    /// [`Outbox::gone`].
    pub fn reset(&mut self) -> BTreeSet<String> {
        let keys: Vec<ChainKey> = self.chains.keys().cloned().collect();
        for key in keys {
            if let Some(chain) = self.chains.get_mut(&key)
                && chain.flying.is_none()
                && chain.settling.is_none()
            {
                chain.pages.clear();
            }
            self.queue(&key);
        }
        self.chains.keys().map(|(incident, _)| incident.clone()).collect()
    }

    /// The incident is not in the state any more: there is nobody to tell what came of its pages.
    pub fn gone(&mut self, incident: &str) {
        let ours = |key: &&ChainKey| key.0 == incident;
        let keys: Vec<ChainKey> = self.chains.keys().filter(ours).cloned().collect();
        for key in keys {
            if let Some(chain) = self.chains.get_mut(&key) {
                chain.pages.clear();
                chain.settling = None;
            }
            self.queue(&key);
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

    /// Pages to send now. Each is in flight until [`Outbox::finished`] or [`Outbox::withdrawn`] is
    /// called with its key.
    pub fn ready(&mut self, now: UtcTime) -> Vec<Send> {
        let mut sends = Vec::new();
        self.flights.age(now);
        self.seen = self.seen.max(now);
        // In turn, beginning after the contact that was served last. Nobody's second page goes
        // before everybody's first.
        let is_due = |(contact, lane): &(&String, &Lane)| {
            self.next(contact, lane).is_some_and(|(at, _)| at <= now)
        };
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
        let lane = self.lanes.get(contact)?;
        let in_order = self.in_order(contact, lane);
        if !lane.has_room(self.flights.young.len(), in_order) {
            return None;
        }
        let incident = self.next(contact, lane).filter(|(at, _)| *at <= now)?.1.to_owned();
        let trial_at = self.failing.get(contact).and_then(|breaker| breaker.trial_at());
        let place = (incident, contact.to_owned());
        let lane = self.lanes.get_mut(contact)?;
        let chain = self.chains.get_mut(&place)?;
        if let Some(due) = chain.due.take() {
            lane.due.remove(&(due, place.0.clone()));
        }
        let head = chain.head()?;
        let (key, attempt) = (head.idempotency_key.clone(), head.attempts.saturating_add(1));
        let kind = chain.kind(head);
        lane.in_flight += 1;
        lane.begins(in_order);
        chain.flying = Some(kind);
        self.flights.begin(key.clone(), place.clone(), now);
        if trial_at.is_some() {
            self.give_up_old(contact, now);
        }
        Some(Send { incident: place.0, contact: place.1, key, kind, attempt })
    }

    /// One page tries a contact that is failing: of those that wait for it, what is past its time is given
    /// up now. With one attempt every half minute their turns might never come.
    fn give_up_old(&mut self, contact: &str, now: UtcTime) {
        let Some(lane) = self.lanes.get_mut(contact) else { return };
        let chain = |incident: &String| (incident.clone(), contact.to_owned());
        let is_old = |(_, incident): &&(UtcTime, String)| {
            let head = self.chains.get(&chain(incident)).and_then(Chain::head);
            head.is_some_and(|head| attempt::is_over(head, now))
        };
        let due = lane.due.iter().take_while(|(at, _)| *at <= now);
        let old: Vec<_> = due.filter(is_old).take(PAGES_IN_FLIGHT_MAX).cloned().collect();
        for place in old {
            lane.due.remove(&place);
            let Some(chain) = self.chains.get_mut(&chain(&place.1)) else { continue };
            chain.due = None;
            let Some(head) = chain.head() else { continue };
            let doubted = chain.doubt.contains(&head.idempotency_key);
            let update = PageUpdate { sent_by: self.node_id, ..attempt::given_up(head, doubted) };
            chain.settling = Some(update.clone());
            self.drafts.push(update);
        }
    }

    /// The attempt was not begun: the newest state says something else about the page. What it becomes
    /// is known when its incident is put again, which is on its way. Not for a state that nobody
    /// confirms: that is asked before anything is taken out.
    pub fn withdrawn(&mut self, key: &str) {
        if let Some(place) = self.land(key)
            && let Some(chain) = self.chains.get_mut(&place)
        {
            chain.flying = None;
        }
    }

    /// Ends a flight. The chain that it belonged to.
    fn land(&mut self, key: &str) -> Option<ChainKey> {
        let place = self.flights.end(key)?;
        if let Some(lane) = self.lanes.get_mut(&place.1) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        Some(place)
    }

    /// Takes the end of an attempt. `jitter` is drawn by the caller, uniformly from 0 to 1: it
    /// takes up to half off the back-off.
    pub fn finished(&mut self, key: &str, report: Report, now: UtcTime, jitter: f64) {
        self.seen = self.seen.max(now);
        let Some(place) = self.land(key) else { return };
        let Some(chain) = self.chains.get_mut(&place) else { return };
        let said = chain.flying.take().unwrap_or_default();
        let Some(page) = chain.pages.iter().find(|page| page.idempotency_key == key).cloned()
        else {
            // The incident left the state meanwhile.
            return self.queue(&place);
        };
        let taken =
            matches!(report, Report::Answered { status: 200..=299, .. } | Report::Taken { .. });
        if let Some(breaker) = self.failing.get_mut(&place.1).filter(|_| !taken) {
            breaker.failed_at = breaker.failed_at.max(now);
        }
        if let Some(lane) = self.lanes.get_mut(&place.1) {
            // Without a connection no page is to blame.
            let blamed = page.attempts > 0 && !matches!(report, Report::NotSent(_));
            if taken {
                lane.taken += 1;
                lane.is_well(now);
            } else if blamed && chain.failed_after < lane.taken {
                chain.aside = true;
            }
            chain.failed_after = lane.taken;
        }
        let ambiguous = matches!(report, Report::Ambiguous(_));
        if ambiguous && said != PageKind::Combined {
            chain.doubt.insert(key.to_owned());
        }
        let doubted = chain.doubt.contains(key);
        let mut update = update(&page, said, &report, ambiguous || doubted, now, jitter);
        update.sent_by = self.node_id;
        if is_known(&update, &page) {
            return self.queue(&place);
        }
        chain.settling = Some(update.clone());
        self.drafts.push(update);
    }

    /// This proposal is applied. One that changed nothing is told of nowhere else. What it changed
    /// may be put only later: until then [`may_send`] keeps this member from acting on what was.
    pub fn committed(&mut self, update: &PageUpdate) {
        let settles = |chain: &Chain| chain.settling.as_ref() == Some(update);
        let place = self.chains.iter().find(|(_, chain)| settles(chain));
        let Some(place) = place.map(|(place, _)| place.clone()) else { return };
        if let Some(chain) = self.chains.get_mut(&place) {
            chain.settling = None;
        }
        self.queue(&place);
    }

    /// Changes to propose, each once. Give back with [`Outbox::lost`] what did not come through.
    pub fn drafts(&mut self) -> Vec<PageUpdate> {
        std::mem::take(&mut self.drafts)
    }

    /// This proposal was refused or lost: what it was about is drafted again, if it still holds.
    pub fn lost(&mut self, update: &PageUpdate) {
        let key = &update.idempotency_key;
        let mut chains = self.chains.iter();
        let place = chains
            .find(|(_, chain)| chain.pages.iter().any(|page| page.idempotency_key == *key))
            .map(|(place, _)| place.clone());
        if update.claimed_by != 0 {
            self.claims.lost(key);
        }
        let Some(place) = place else { return };
        let settling = self.chains.get(&place).and_then(|chain| chain.settling.as_ref());
        match settling.filter(|settling| settling.idempotency_key == *key) {
            Some(settling) if update.claimed_by == 0 => self.drafts.push(settling.clone()),
            _ => self.queue(&place),
        }
    }

    /// When the next page is due, if a contact has room for it.
    pub fn wake_at(&self) -> Option<UtcTime> {
        let taken = self.flights.young.len();
        let free_at = self.flights.next_slow();
        self.lanes
            .iter()
            .filter_map(|(contact, lane)| {
                let (due, _) = self.next(contact, lane)?;
                let in_order = self.in_order(contact, lane);
                if lane.has_room(taken, in_order) {
                    return Some(due);
                }
                if in_order {
                    return None;
                }
                // One that has enough in flight itself waits for the end of one.
                free_at.filter(|_| lane.in_flight < PAGES_PER_CONTACT_MAX).map(|at| at.max(due))
            })
            .min()
    }

    /// When the leader looks again for holders that do not answer.
    pub fn overdue_at(&self) -> Option<UtcTime> {
        self.claims.overdue_at()
    }

    /// Re-assigns what has been without an answer for too long.
    pub fn overdue(&mut self, now: UtcTime) {
        self.seen = self.seen.max(now);
        for key in self.claims.take_overdue(now) {
            if let Some(chain) = self.chains.get_mut(&key) {
                chain.overdue = None;
            }
            self.assign(&key, Some(now));
        }
    }

    /// Pages that are still to be said, and those in flight.
    pub fn depth(&self) -> (usize, usize) {
        (self.chains.len(), self.flights.by_key.len())
    }

    fn take(&mut self, key: &ChainKey, pages: Vec<Delivery>, origin: Origin) {
        self.hear_of_attempts(key, &pages);
        let chain = self.chains.entry(key.clone()).or_default();
        let before = chain.head().map(|head| (head.idempotency_key.clone(), head.claimed_by));
        for page in &pages {
            let id = &page.idempotency_key;
            let known = chain.pages.iter().any(|known| known.idempotency_key == *id);
            let ours = page.claimed_by == self.node_id;
            let pending = page.state() == DeliveryState::Pending;
            // Also when it became ours only later: an earlier life has seen that, too.
            let due = stamp::utc(page.next_attempt_at.as_ref());
            let unseen = match origin {
                Origin::Loaded(now) if page.attempts > 0 || due <= now => true,
                _ => !known && page.attempts > 0,
            };
            if pending && ours && unseen {
                chain.doubt.insert(id.clone());
            }
            let waited =
                |it: &Delivery| it.idempotency_key == *id && it.state() == DeliveryState::Pending;
            if !ours
                && page.state() == DeliveryState::Sent
                && chain.pages.iter().any(waited)
                && let Some(lane) = self.lanes.get_mut(&key.1)
            {
                lane.taken += 1;
                lane.is_well(self.seen);
            }
            self.claims.saw(page);
            if chain.settling.as_ref().is_some_and(|update| is_known(update, page)) {
                chain.settling = None;
            }
            if !pending {
                chain.doubt.remove(id);
            }
        }
        chain.pages = pages;
        let holder = chain.head().map(|head| head.claimed_by);
        chain.inherited = chain.inherited.filter(|from| holder == Some(*from));
        let is_next = chain.head().is_some_and(|head| {
            before.as_ref().is_none_or(|(before, _)| *before != head.idempotency_key)
        });
        chain.aside &= !is_next;
        if before.is_none() && !self.failing.contains_key(&key.1) {
            chain.aside = chain.head().is_some_and(line::is_passed_over);
        }
        self.queue(key);
        if before.map(|(_, before)| before) != holder
            && holder.is_some_and(|holder| holder != self.node_id)
        {
            self.queue_followers(key);
        }
    }

    /// A page has another holder: if it is the first in its line, those of its contact that this member holds
    /// may have to follow.
    fn queue_followers(&mut self, moved: &ChainKey) {
        let lane = self.lanes.get(&moved.1).filter(|lane| {
            self.claims.leads()
                && lane.no_way > 0
                && self.foremost(&moved.1, lane) == Some(moved.0.as_str())
        });
        let others = lane.into_iter().flat_map(|lane| &lane.line).map(|(_, incident)| incident);
        let others: Vec<ChainKey> = others
            .filter(|incident| **incident != moved.0)
            .map(|incident| (incident.clone(), moved.1.clone()))
            .filter(|key| self.follows(key).is_some())
            .collect();
        for key in &others {
            self.queue(key);
        }
    }

    fn queue_all(&mut self) {
        let keys: Vec<ChainKey> = self.chains.keys().cloned().collect();
        for key in &keys {
            self.queue(key);
        }
    }

    /// Puts a chain where its head belongs: into its contact's queue, or out of everything.
    fn queue(&mut self, key: &ChainKey) {
        if !self.chains.contains_key(key) {
            return;
        }
        self.lanes.entry(key.1.clone()).or_default();
        self.line_up(key);
        let Some(chain) = self.chains.get_mut(key) else { return };
        let Some(lane) = self.lanes.get_mut(&key.1) else { return };
        if let Some(due) = chain.due.take() {
            lane.due.remove(&(due, key.0.clone()));
        }
        if let Some(at) = chain.overdue.take() {
            self.claims.forget(at, key);
        }
        let unreached_by = chain.head().map_or(&[][..], |head| head.unreached_by.as_slice());
        lane.put_unreached(&key.0, unreached_by, self.node_id);
        let Some(head) = chain.head() else {
            if chain.flying.is_none() && chain.settling.is_none() {
                self.chains.remove(key);
                if lane.is_empty() {
                    self.lanes.remove(&key.1);
                }
            }
            return;
        };
        let ours = head.claimed_by == self.node_id && !intents::has_stopped(head);
        let due = stamp::utc(head.next_attempt_at.as_ref());
        let busy = chain.flying.is_some() || chain.settling.is_some();
        let moves = self.assign(key, None);
        if ours && !busy && !moves {
            self.enqueue(key, due);
        }
    }

    fn enqueue(&mut self, key: &ChainKey, due: UtcTime) {
        let Some(chain) = self.chains.get_mut(key) else { return };
        chain.due = Some(due);
        self.lanes.entry(key.1.clone()).or_default().due.insert((due, key.0.clone()));
    }

    /// Has the leader say who holds this chain's claim. `now`: its holder's time to answer is over.
    /// True: it is on the move.
    fn assign(&mut self, key: &ChainKey, now: Option<UtcTime>) -> bool {
        if !self.claims.leads() {
            return false;
        }
        let (in_line, follows) = (self.in_line(key, now), self.follows(key));
        let Some(chain) = self.chains.get(key) else { return false };
        let Some(head) = chain.head() else { return false };
        let lane = self.lanes.get(&key.1);
        let elsewhere = lane
            .into_iter()
            .flat_map(|lane| &lane.unreached)
            .filter(|(incident, _)| **incident != key.0)
            .flat_map(|(_, members)| members.iter().copied());
        // Who waits for a page that tries is not silent, as long as one does.
        let tried_by = self.failing.get(&key.1).and_then(|breaker| breaker.trial_at());
        let patience = tried_by.map(|at| at + PAGE_TIMEOUT_MAX);
        // What waits for room in this member's own queue is known not to be under way: another member would
        // have to take it for in doubt, and all of them would pass a long queue around.
        let waits_here = head.claimed_by == self.node_id && chain.flying.is_none();
        let patience = if waits_here { patience.max(now) } else { patience }.max(in_line);
        match self.claims.decide(head, chain.inherited, now, patience, elsewhere) {
            claims::Decision::Moves => true,
            claims::Decision::Move(update) => {
                self.drafts.push(update);
                true
            }
            claims::Decision::Stays { look_again } => {
                let follow = follows.and_then(|to| self.claims.follow(head, to));
                if let Some(update) = follow {
                    self.drafts.push(update);
                    return true;
                }
                if let Some(at) = look_again {
                    self.claims.remember(at, key.clone());
                    if let Some(chain) = self.chains.get_mut(key) {
                        chain.overdue = Some(at);
                    }
                }
                false
            }
        }
    }
}

/// Whether the newest state lets this member make this attempt.
pub fn may_send(incident: &Incident, send: &Send, node_id: u64) -> bool {
    let key = send.key.as_str();
    let page = incident.deliveries.iter().find(|page| page.idempotency_key == key);
    let Some(page) = page else { return false };
    let before = incident.deliveries.iter().find(|other| {
        other.contact_uid == page.contact_uid && other.state() == DeliveryState::Pending
    });
    page.state() == DeliveryState::Pending
        && (page.claimed_by == node_id || mutant::on(Mutant::ClaimNotChecked))
        && page.attempts.saturating_add(1) == send.attempt
        && !intents::has_stopped(page)
        && before.is_some_and(|first| first.idempotency_key == key)
}

#[cfg(test)]
mod tests;
