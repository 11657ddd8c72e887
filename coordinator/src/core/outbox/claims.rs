//! Who sends a page: the leader's part of the outbox.
//!
//! An entry that writes a page claims it for the leader that proposed it. The claim moves
//!
//! * when its holder found no connection three times in a row and has stopped: to the next member
//!   that has not failed with this page, nor with another page to the contact. When all have, it
//!   goes round again, also to the same one: a group of one keeps its claims.
//! * when no answer came for 15 s, by the contact or of the holder; not while it waits for room in the
//!   queue of the leader itself, which knows that nobody has begun with it;
//! * at once, when its holder led before this leader, or was not heard when this one took office;
//! * at once, when its holder has no vote any more;
//! * in a line (`outbox/line.rs`), from a leader that has no way: with the first one that moves.
//!
//! Back-off and attempts stay with the page. Only voting members that are heard are given one.

use std::collections::{BTreeMap, BTreeSet};

use parallax_common::limits::PAGE_ANSWER_WITHIN;
use parallax_common::time::UtcTime;
use parallax_proto::store::PageUpdate;
use parallax_proto::v1::{Delivery, HandOver};

use super::{ChainKey, intents};

/// The group, as this member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Who leads, when it is known.
    pub leader: Option<u64>,
    /// Node ids of those that vote.
    pub voters: BTreeSet<u64>,
    /// Node ids of those that were heard lately.
    pub heard: BTreeSet<u64>,
}

/// What is to become of a claim.
#[derive(Debug)]
pub(super) enum Decision {
    /// It stays. Look again then, if nothing happens before.
    Stays { look_again: Option<UtcTime> },
    /// It is moving already.
    Moves,
    /// It is to move.
    Move(PageUpdate),
}

/// The leader's view of claims.
#[derive(Debug)]
pub(super) struct Claims {
    node_id: u64,
    leader: bool,
    members: Members,
    /// The last other member that was known to lead.
    predecessor: Option<u64>,
    /// Moves under way, by key: the holder and its failures when they were drafted.
    moving: BTreeMap<String, (u64, u32)>,
    /// Chains whose holder has until then to answer.
    overdue: BTreeSet<(UtcTime, ChainKey)>,
}

impl Claims {
    pub(super) fn new(node_id: u64) -> Self {
        Self {
            node_id,
            leader: false,
            members: Members::default(),
            predecessor: None,
            moving: BTreeMap::new(),
            overdue: BTreeSet::new(),
        }
    }

    pub(super) fn leads(&self) -> bool {
        self.leader
    }

    /// Takes or leaves office. Says of which holders the claims are taken at once.
    pub(super) fn lead(&mut self, leader: bool) -> impl Fn(u64) -> bool + use<> {
        self.leader = leader;
        self.moving.clear();
        let (node_id, predecessor, heard) =
            (self.node_id, self.predecessor, self.members.heard.clone());
        move |holder| {
            // Who led before is not known after a start: then it may have been anybody.
            let led = predecessor.is_none_or(|before| before == holder);
            leader && holder != node_id && (led || !heard.contains(&holder))
        }
    }

    /// True when something is new about the members.
    pub(super) fn learn(&mut self, members: Members) -> bool {
        if let Some(leader) = members.leader.filter(|leader| *leader != self.node_id) {
            self.predecessor = Some(leader);
        }
        let new = self.members != members;
        self.members = members;
        new && self.leader
    }

    /// A page as it stands in the state: a move of it may have arrived.
    pub(super) fn saw(&mut self, page: &Delivery) {
        let now = (page.claimed_by, page.unreached);
        let pending = page.state() == parallax_proto::v1::DeliveryState::Pending;
        if self.moving.get(&page.idempotency_key).is_some_and(|then| !pending || *then != now) {
            self.moving.remove(&page.idempotency_key);
        }
    }

    /// The move of this page was not committed.
    pub(super) fn lost(&mut self, key: &str) {
        self.moving.remove(key);
    }

    pub(super) fn overdue_at(&self) -> Option<UtcTime> {
        self.overdue.first().map(|(at, _)| *at)
    }

    pub(super) fn take_overdue(&mut self, now: UtcTime) -> Vec<ChainKey> {
        let mut keys = Vec::new();
        while self.overdue.first().is_some_and(|(at, _)| *at <= now) {
            keys.extend(self.overdue.pop_first().map(|(_, key)| key));
        }
        keys
    }

    pub(super) fn remember(&mut self, at: UtcTime, key: ChainKey) {
        self.overdue.insert((at, key));
    }

    pub(super) fn forget(&mut self, at: UtcTime, key: &ChainKey) {
        self.overdue.remove(&(at, key.clone()));
    }

    /// What is to become of the claim of `page`, the next to its contact. `inherited`: the holder
    /// whose claim is taken at once. `patience`: no answer is awaited before. `elsewhere`: members that failed with other pages to it.
    pub(super) fn decide(
        &mut self,
        page: &Delivery,
        inherited: Option<u64>,
        now: Option<UtcTime>,
        patience: Option<UtcTime>,
        elsewhere: impl Iterator<Item = u64>,
    ) -> Decision {
        if self.moving.contains_key(&page.idempotency_key) {
            return Decision::Moves;
        }
        let holder = page.claimed_by;
        let since = intents::waiting_since(page);
        let deadline = patience.map_or(since, |until| until.max(since)) + PAGE_ANSWER_WITHIN;
        let votes = self.members.voters.is_empty()
            || self.members.voters.contains(&holder)
            || holder == self.node_id;
        let why = if intents::has_stopped(page) {
            HandOver::Unreached
        } else if !votes {
            HandOver::NoVoter
        } else if inherited == Some(holder) {
            HandOver::NewLeader
        } else if now.is_some_and(|now| deadline <= now) {
            HandOver::Unanswered
        } else {
            return Decision::Stays { look_again: Some(deadline) };
        };
        let Some(to) = self.next(page, why, &elsewhere.collect()) else {
            // Nobody else is there. When somebody is, all chains are looked at again.
            return Decision::Stays { look_again: (now.is_none()).then_some(deadline) };
        };
        self.moving.insert(page.idempotency_key.clone(), (holder, page.unreached));
        Decision::Move(PageUpdate {
            idempotency_key: page.idempotency_key.clone(),
            claimed_from: holder,
            claimed_by: to,
            why: why.into(),
            ..PageUpdate::default()
        })
    }

    /// Has a page that this member holds and has nothing under way of follow the first in its line to that
    /// one's holder, unless it is moving already or nobody hears of that member. It is in doubt afterwards:
    /// until the move stands in the log, which may be long after this, an attempt may have begun here.
    pub(super) fn follow(&mut self, page: &Delivery, to: u64) -> Option<PageUpdate> {
        let there = self.members.voters.contains(&to) && self.members.heard.contains(&to);
        if !there || self.moving.contains_key(&page.idempotency_key) {
            return None;
        }
        self.moving.insert(page.idempotency_key.clone(), (page.claimed_by, page.unreached));
        Some(PageUpdate {
            idempotency_key: page.idempotency_key.clone(),
            claimed_from: page.claimed_by,
            claimed_by: to,
            why: HandOver::Unreached.into(),
            ..PageUpdate::default()
        })
    }

    /// The next in turn: behind the holder, or this member first when it has just taken office. Who
    /// failed with this page comes last, who failed with another page to the contact before them.
    fn next(&self, page: &Delivery, why: HandOver, elsewhere: &BTreeSet<u64>) -> Option<u64> {
        let holder = page.claimed_by;
        let after = match why {
            HandOver::NewLeader | HandOver::NoVoter => self.node_id.saturating_sub(1),
            _ => holder,
        };
        let there = |id: &u64| self.members.voters.contains(id) && self.members.heard.contains(id);
        let mut ring: BTreeSet<u64> = self.members.voters.iter().copied().filter(there).collect();
        ring.insert(self.node_id);
        // A holder that has stopped may be the only one that is left.
        if why != HandOver::Unreached {
            ring.remove(&holder);
        }
        let rank = |id: &u64| {
            let failed = match (page.unreached_by.contains(id), elsewhere.contains(id)) {
                (true, _) => 2,
                (false, true) => 1,
                (false, false) => 0,
            };
            (*id == holder, failed, *id <= after, *id)
        };
        ring.into_iter().min_by_key(rank)
    }
}
