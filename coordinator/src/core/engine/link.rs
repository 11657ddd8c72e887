//! What a voter's sessions tell about time: watermark, runs in flight, sequence.
//!
//! Freshness is kept once a session and not once a check: the checks of a voter are sorted by how
//! old its watermark may be for them, and only when it crosses that line are they looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parallax_common::limits;
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;

use super::input::{Heartbeat, Voter};
use crate::core::ballots::Hearing;

/// How far a session reaches.
#[derive(Debug, Clone, Default)]
struct Reach {
    watermark: Option<MeshTime>,
    /// Slots in flight and when they were due, by check.
    in_flight: BTreeMap<Uid, BTreeMap<i64, MeshTime>>,
    /// How many slots that is.
    slots: usize,
}

impl Reach {
    fn oldest(&self, check: &Uid) -> Option<MeshTime> {
        self.in_flight.get(check)?.values().min().copied()
    }

    fn forget_in_flight(&mut self) -> BTreeMap<Uid, BTreeMap<i64, MeshTime>> {
        self.slots = 0;
        std::mem::take(&mut self.in_flight)
    }
}

/// The checks for which a watermark may be equally old.
#[derive(Debug, Clone, Default)]
struct Class {
    checks: BTreeSet<Uid>,
    /// As it was when its checks were last looked at.
    fresh: bool,
}

/// Records are missing, or the session breaks a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// One session's way to this member: direct, or relayed by the member that holds it. Each is whole
/// in itself: its own snapshot, its own sequence, its own runs in flight.
#[derive(Debug, Clone, Default)]
struct Feed {
    /// Its whole snapshot is in, and no record was missing since.
    synced: bool,
    /// Sequence of the next record; absent until it has said one.
    expected: Option<u64>,
    /// It is to be ended, and that was said.
    given_up: bool,
    reach: Reach,
}

impl Feed {
    /// Whether its snapshot is in, and a watermark after it: the snapshot alone is not fresh, and
    /// whoever decided on it would call the region silent until the first heartbeat.
    fn counts(&self) -> bool {
        self.synced && self.reach.watermark.is_some()
    }
}

/// One voter: its sessions. A record that comes by two of them is folded once, by its number; the
/// voter is as fresh as the freshest of them.
#[derive(Debug, Clone)]
pub struct Link {
    /// Who it is.
    pub voter: Voter,
    /// It may not vote.
    pub excluded: bool,
    /// When the engine looks whether the watermark has become too old.
    pub wake: Option<MeshTime>,
    /// Sessions that are open, by their number.
    feeds: BTreeMap<u64, Feed>,
    /// How far those reached that are no more.
    before: Reach,
    classes: BTreeMap<Duration, Class>,
}

impl Link {
    /// A voter of whom nothing was heard.
    pub fn new(voter: Voter) -> Self {
        Self {
            voter,
            excluded: false,
            wake: None,
            feeds: BTreeMap::new(),
            before: Reach::default(),
            classes: BTreeMap::new(),
        }
    }

    /// A session began. What others said goes on to count until it has told everything.
    pub fn started(&mut self, session: u64) {
        self.ended(session);
        self.feeds.insert(session, Feed::default());
    }

    /// A session ended.
    pub fn ended(&mut self, session: u64) {
        if let Some(mut feed) = self.feeds.remove(&session) {
            retire(&mut feed, &mut self.before);
        }
    }

    /// Whether an order would reach it.
    pub fn is_open(&self) -> bool {
        self.feeds.values().any(|feed| !feed.given_up)
    }

    /// Whether some session of it has told everything.
    pub fn is_synced(&self) -> bool {
        self.feeds.values().any(Feed::counts)
    }

    /// Whether nothing depends on it any more.
    pub fn is_idle(&self) -> bool {
        self.feeds.is_empty() && self.classes.is_empty() && !self.excluded
    }

    /// Up to where it has told everything, runs in flight aside.
    pub fn watermark(&self) -> Option<MeshTime> {
        self.counted().watermark
    }

    /// What it means for one check.
    pub fn hearing(&self, check: &Uid) -> Hearing {
        let reach = self.counted();
        Hearing {
            watermark: reach.watermark,
            in_flight: reach.oldest(check),
            excluded: self.excluded,
        }
    }

    /// Takes the sequence of records that a session brought.
    pub fn records(&mut self, session: u64, first: u64, count: usize) -> Result<(), Broken> {
        let Some(feed) = self.feeds.get_mut(&session) else { return Ok(()) };
        let next = first.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        match feed.expected {
            Some(expected) if first > expected => return give_up(feed, &mut self.before),
            Some(expected) => feed.expected = Some(expected.max(next)),
            None => feed.expected = Some(next),
        }
        Ok(())
    }

    /// A snapshot's chunk is folded.
    pub fn snapshot(&mut self, session: u64, live_sequence: u64, whole: bool, last: bool) {
        if let Some(feed) = self.feeds.get_mut(&session).filter(|feed| whole && !feed.given_up) {
            let next = live_sequence.saturating_add(1);
            feed.expected = Some(feed.expected.map_or(next, |expected| expected.max(next)));
            feed.synced |= last;
        }
    }

    /// Takes a session's heartbeat at `now`. A watermark that lies ahead of `now` counts as `now`.
    /// Returns the checks of which a run ended that may have hung long enough to make a ballot
    /// stale.
    pub fn heartbeat(
        &mut self,
        session: u64,
        heartbeat: &Heartbeat,
        now: MeshTime,
    ) -> Result<Vec<Uid>, Broken> {
        let mut hung = Vec::new();
        let Some(feed) = self.feeds.get_mut(&session) else { return Ok(hung) };
        let reach = &mut feed.reach;
        let known = if heartbeat.whole { reach.forget_in_flight() } else { BTreeMap::new() };
        for (check, slot, scheduled) in &heartbeat.started {
            if reach.slots >= limits::IN_FLIGHT_MAX {
                return give_up(feed, &mut self.before).map(|()| hung);
            }
            let slots = reach.in_flight.entry(*check).or_default();
            reach.slots += usize::from(slots.insert(*slot, (*scheduled).min(now)).is_none());
        }
        let long = |due: MeshTime| now.since(due) > limits::STALE_GRACE;
        for (check, slots) in known {
            let is_over =
                |slot| reach.in_flight.get(&check).is_none_or(|on| !on.contains_key(slot));
            if slots.iter().any(|(slot, due)| long(*due) && is_over(slot)) {
                hung.push(check);
            }
        }
        for (check, slot) in &heartbeat.ended {
            if let Some(slots) = reach.in_flight.get_mut(check) {
                let due = slots.remove(slot);
                reach.slots -= usize::from(due.is_some());
                if due.is_some_and(long) {
                    hung.push(*check);
                }
                if slots.is_empty() {
                    reach.in_flight.remove(check);
                }
            }
        }
        if feed.synced && feed.expected.is_some_and(|expected| heartbeat.live_sequence >= expected)
        {
            return give_up(feed, &mut self.before).map(|()| hung);
        }
        let watermark = heartbeat.watermark.min(now);
        reach.watermark = Some(reach.watermark.map_or(watermark, |mark| mark.max(watermark)));
        Ok(hung)
    }

    /// A check's ballot depends on this voter; its watermark may be `stale_after` old.
    pub fn watch(&mut self, check: Uid, stale_after: Duration, now: MeshTime) {
        let fresh = is_fresh(self.counted().watermark, stale_after, now);
        let class = self.classes.entry(stale_after).or_default();
        if class.checks.is_empty() {
            class.fresh = fresh;
        }
        class.checks.insert(check);
    }

    /// It depends on it no more.
    pub fn unwatch(&mut self, check: &Uid, stale_after: Duration) {
        if let Some(class) = self.classes.get_mut(&stale_after) {
            class.checks.remove(check);
            if class.checks.is_empty() {
                self.classes.remove(&stale_after);
            }
        }
    }

    /// Every check that depends on it.
    pub fn checks(&self) -> Vec<Uid> {
        self.classes.values().flat_map(|class| class.checks.iter().copied()).collect()
    }

    /// The checks for which the watermark became too old, or young enough again, since this was
    /// last asked; and when to ask next if nothing is heard.
    pub fn crossed(&mut self, now: MeshTime) -> (Vec<Uid>, Option<MeshTime>) {
        let watermark = self.counted().watermark;
        let mut crossed = Vec::new();
        for (after, class) in &mut self.classes {
            let fresh = is_fresh(watermark, *after, now);
            if fresh != class.fresh {
                class.fresh = fresh;
                crossed.extend(class.checks.iter().copied());
            }
        }
        let next = watermark.and_then(|mark| {
            let first = self.classes.iter().find(|(_, class)| class.fresh).map(|(after, _)| after);
            first.map(|after| mark + *after + Duration::from_nanos(1))
        });
        (crossed, next)
    }

    /// The reach of the session that is furthest, or of those before.
    fn counted(&self) -> &Reach {
        let feeds = self.feeds.values().filter(|feed| feed.counts()).map(|feed| &feed.reach);
        feeds.fold(
            &self.before,
            |best, reach| {
                if reach.watermark >= best.watermark { reach } else { best }
            },
        )
    }
}

/// What counted so far stays as it is, and no more is added.
fn retire(feed: &mut Feed, before: &mut Reach) {
    if feed.counts() {
        let reach = std::mem::take(&mut feed.reach);
        if reach.watermark >= before.watermark {
            *before = reach;
        }
    }
    feed.synced = false;
}

/// Records are missing: nothing more of this session counts. Said once.
fn give_up(feed: &mut Feed, before: &mut Reach) -> Result<(), Broken> {
    retire(feed, before);
    // Nor does a snapshot that is still on its way.
    if std::mem::replace(&mut feed.given_up, true) { Ok(()) } else { Err(Broken) }
}

fn is_fresh(watermark: Option<MeshTime>, stale_after: Duration, now: MeshTime) -> bool {
    watermark.is_some_and(|mark| now.since(mark) <= stale_after)
}
