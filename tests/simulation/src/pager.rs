//! A member's pager: the outbox of production between the applied state and a simulated contact.

use std::time::Duration;

use parallax_common::time::UtcTime;
use parallax_coordinator::core::outbox::breaker::Breaker;
use parallax_coordinator::core::outbox::{Members, Origin, Outbox, Report, Send, may_send};
use parallax_coordinator::core::state::{Answer, Changed, State};
use parallax_coordinator::machine::Batch;
use parallax_coordinator::raft::node::ReadError;
use parallax_coordinator::view::View;
use parallax_proto::store::entry::Command;
use parallax_proto::store::{CommitCounts, PageUpdate, UpdatePages};
use parallax_proto::v1::{DeliveryState, Incident};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot::{self, Receiver};

use crate::api::{Api, Context, Out, Wait};
use crate::chance::Chance;
use crate::wire::{Failed, Origin as Asked};

/// A page goes out only when this member knew, so long ago at most, that its state was the newest.
pub const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);
/// How long the outcome of a proposal is waited for.
const SETTLED_WITHIN_US: u64 = 5_000_000;

/// How long it leaves alone what nobody would carry out just now.
const RETRY_US: u64 = 50_000;

/// In so many turns the feed between the state and the outbox stands still once, for so long at
/// most. It is a task of its own in production, and what it has not told yet is in the state already.
const FEED_STALLS_ONE_IN: u64 = 600;
const FEED_STALLS_US: (u64, u64) = (200_000, 3_000_000);

/// The pager of one life.
pub struct Pager {
    outbox: Outbox,
    batches: UnboundedReceiver<Batch>,
    /// The end of the log when this life began: what is up to there an earlier life may have seen.
    last_index: u64,
    loaded: bool,
    leads: bool,
    /// Asked before anything is taken out of the outbox, as production does.
    confirming: Option<Receiver<Result<u64, ReadError>>>,
    settling: Vec<(u64, Wait, PageUpdate)>,
    /// Nobody confirmed or carried out what it asked for; it asks again then.
    retry_us: u64,
    /// The feed goes on then.
    feed_us: u64,
    /// Nothing goes wrong any more: the feed does not stand still.
    calm: bool,
}

impl Pager {
    /// A pager that follows `batches`.
    pub fn new(node: u64, last_index: u64, batches: UnboundedReceiver<Batch>) -> Self {
        Self {
            outbox: Outbox::new(node),
            batches,
            last_index,
            loaded: false,
            leads: false,
            confirming: None,
            settling: Vec::new(),
            retry_us: 0,
            feed_us: 0,
            calm: false,
        }
    }

    /// From now on the feed goes on without a break.
    pub fn calm(&mut self) {
        self.calm = true;
        self.feed_us = 0;
    }

    /// The feed stands still for a while.
    pub fn stall(&mut self, now_us: u64, chance: &mut Chance) {
        if self.calm {
            return;
        }
        let (least, most) = FEED_STALLS_US;
        self.feed_us = now_us + chance.between(least, most);
    }

    /// An attempt has ended.
    pub fn finished(&mut self, key: &str, report: Report, utc_ns: i64) {
        self.outbox.finished(key, report, UtcTime::from_ns(utc_ns), 0.5);
    }

    /// Does what there is to do. True: Raft has work. `members` are given when somebody has looked.
    pub fn turn(
        &mut self,
        api: &mut Api,
        members: Option<Members>,
        context: &mut Context<'_>,
        out: &mut Vec<Out>,
    ) -> bool {
        if context.now_us >= self.feed_us {
            self.follow(context.view, UtcTime::from_ns(context.utc_ns));
            if !self.calm && context.chance.one_in(FEED_STALLS_ONE_IN) {
                self.stall(context.now_us, context.chance);
                context.counters.add("feed of pages stalls");
            }
        }
        let leads = context.member.leadership().leader;
        if let Some(members) = members {
            self.outbox.members(members);
        }
        if leads != self.leads {
            self.leads = leads;
            self.outbox.lead(leads);
        }
        let utc = UtcTime::from_ns(context.utc_ns);
        if self.outbox.overdue_at().is_some_and(|at| at <= utc) {
            self.outbox.overdue(utc);
        }
        let mut worked = false;
        let retries = context.now_us >= self.retry_us;
        if retries && self.confirming.is_none() && self.outbox.wake_at().is_some_and(|at| at <= utc)
        {
            let (reply, answer) = oneshot::channel();
            context.member.read_index(context.instant, CONFIRMED_WITHIN, reply);
            self.confirming = Some(answer);
            worked = true;
        }
        if let Some(mut answer) = self.confirming.take() {
            match answer.try_recv() {
                Ok(Ok(_)) => {
                    for send in self.outbox.ready(utc) {
                        self.start(send, context, out);
                    }
                }
                Err(oneshot::error::TryRecvError::Empty) => self.confirming = Some(answer),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {
                    self.retry_us = context.now_us + RETRY_US;
                }
            }
        }
        let drafts = if retries { self.outbox.drafts() } else { Vec::new() };
        for update in drafts {
            if update.claimed_by != 0 {
                context.counters.add("claim re-assigned");
            }
            let command = Command::UpdatePages(UpdatePages { updates: vec![update.clone()] });
            let wait = api.propose(command, Asked::default(), context, out);
            self.settling.push((context.now_us + SETTLED_WITHIN_US, wait, update));
            worked = true;
        }
        for (until_us, mut wait, update) in std::mem::take(&mut self.settling) {
            match api.settled(&mut wait) {
                Some(Ok(Answer::Accepted { revision, .. })) => {
                    if context.member.applied() >= revision {
                        self.outbox.committed(&update);
                    } else {
                        let wait = Wait::Ended(Ok(Answer::Accepted {
                            revision,
                            subjects: Vec::new(),
                            counts: CommitCounts::default(),
                        }));
                        self.settling.push((until_us, wait, update));
                    }
                }
                None if context.now_us < until_us => self.settling.push((until_us, wait, update)),
                None | Some(Ok(Answer::Refused(_)) | Err(Failed::NotDone | Failed::Unknown)) => {
                    self.outbox.lost(&update);
                    self.retry_us = context.now_us + RETRY_US;
                }
            }
        }
        worked
    }

    /// Begins an attempt, unless the newest state says something else about the page.
    fn start(&mut self, send: Send, context: &mut Context<'_>, out: &mut Vec<Out>) {
        let state = context.view.load();
        match state.incidents.get(&send.incident) {
            Some(incident) if may_send(incident, &send, context.node) => out.push(Out::Page(send)),
            found => {
                context.counters.add("page withdrawn");
                let mut pages = found.into_iter().flat_map(|incident| &incident.deliveries);
                let page = pages.find(|page| page.idempotency_key == send.key);
                if page.is_some_and(|page| {
                    page.state() == DeliveryState::Pending
                        && page.claimed_by != context.node
                        && page.attempts + 1 == send.attempt
                }) {
                    context.counters.add("claim moved before an attempt");
                }
                self.outbox.withdrawn(&send.key);
            }
        }
    }

    /// Feeds the outbox with what was applied, as the ledger's feed does.
    fn follow(&mut self, view: &View, utc: UtcTime) {
        let state = view.load();
        if !std::mem::replace(&mut self.loaded, true) {
            self.load(view, utc);
        }
        while let Ok(batch) = self.batches.try_recv() {
            if batch.reset {
                for uid in self.outbox.reset() {
                    match state.incidents.get(&uid) {
                        Some(incident) => self.put(&state, incident, Origin::Loaded(utc)),
                        None => self.outbox.gone(&uid),
                    }
                }
                self.load(view, utc);
            }
            for (revision, change) in batch.changes.iter() {
                let (Changed::Incident(uid) | Changed::Delivery(_, uid)) = change else { continue };
                let Some(incident) = state.incidents.get(uid) else { continue };
                let later = *revision > self.last_index;
                let origin = if later { Origin::Applied } else { Origin::Loaded(utc) };
                self.put(&state, incident, origin);
            }
        }
    }

    fn load(&mut self, view: &View, utc: UtcTime) {
        let state = view.load();
        for uid in state.pending.values() {
            if let Some(incident) = state.incidents.get(uid) {
                self.put(&state, incident, Origin::Loaded(utc));
            }
        }
    }

    /// An incident's pages, and how their contacts take them.
    fn put(&mut self, state: &State, incident: &Incident, origin: Origin) {
        for page in &incident.deliveries {
            let row = state.contacts.get(&page.contact_uid);
            let breaker = row.map(|row| Breaker::of(row)).unwrap_or_default();
            self.outbox.standing(&page.contact_uid, breaker);
        }
        self.outbox.put(incident, origin);
    }
}
