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

/// One voter: its sessions, one after the other.
#[derive(Debug, Clone)]
pub struct Link {
    /// Who it is.
    pub voter: Voter,
    /// It may not vote.
    pub excluded: bool,
    /// When the engine looks whether the watermark has become too old.
    pub wake: Option<MeshTime>,
    /// Sessions that are open: two while one replaces another.
    sessions: u32,
    /// The session's whole snapshot is in, and no record was missing since.
    synced: bool,
    /// Sequence of the next record; absent until the session has said one.
    expected: Option<u64>,
    /// The session is to be ended, and that was said.
    given_up: bool,
    live: Reach,
    /// What counts until `live` does.
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
            sessions: 0,
            synced: false,
            expected: None,
            given_up: false,
            live: Reach::default(),
            before: Reach::default(),
            classes: BTreeMap::new(),
        }
    }

    /// A session began.
    pub fn started(&mut self) {
        self.sessions += 1;
        self.retire();
        self.live = Reach::default();
        self.expected = None;
        self.given_up = false;
    }

    /// A session ended.
    pub fn ended(&mut self) {
        self.sessions = self.sessions.saturating_sub(1);
    }

    /// Whether an order would reach it.
    pub fn is_open(&self) -> bool {
        self.sessions > 0 && !self.given_up
    }

    /// Whether its snapshot is in, and a watermark of the same session: the snapshot alone is not
    /// fresh, and whoever decided on it would call the region silent until the first heartbeat.
    pub fn is_synced(&self) -> bool {
        self.synced && self.live.watermark.is_some()
    }

    /// Whether nothing depends on it any more.
    pub fn is_idle(&self) -> bool {
        self.sessions == 0 && self.classes.is_empty() && !self.excluded
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

    /// Takes the sequence of records that were received.
    pub fn records(&mut self, first: u64, count: usize) -> Result<(), Broken> {
        let next = first.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        match self.expected {
            Some(expected) if first > expected => return self.give_up(),
            Some(expected) => self.expected = Some(expected.max(next)),
            None => self.expected = Some(next),
        }
        Ok(())
    }

    /// A snapshot's chunk is folded.
    pub fn snapshot(&mut self, live_sequence: u64, whole: bool, last: bool) {
        if whole && !self.given_up {
            let next = live_sequence.saturating_add(1);
            self.expected = Some(self.expected.map_or(next, |expected| expected.max(next)));
            self.synced |= last;
        }
    }

    /// Takes a heartbeat at `now`. A watermark that lies ahead of `now` counts as `now`. Returns
    /// the checks of which a run ended that may have hung long enough to make a ballot stale.
    pub fn heartbeat(&mut self, heartbeat: &Heartbeat, now: MeshTime) -> Result<Vec<Uid>, Broken> {
        let mut hung = Vec::new();
        for (check, slot, scheduled) in &heartbeat.started {
            if self.live.slots >= limits::IN_FLIGHT_MAX {
                return self.give_up().map(|()| hung);
            }
            let slots = self.live.in_flight.entry(*check).or_default();
            self.live.slots += usize::from(slots.insert(*slot, (*scheduled).min(now)).is_none());
        }
        for (check, slot) in &heartbeat.ended {
            if let Some(slots) = self.live.in_flight.get_mut(check) {
                let due = slots.remove(slot);
                self.live.slots -= usize::from(due.is_some());
                if due.is_some_and(|due| now.since(due) > limits::STALE_GRACE) {
                    hung.push(*check);
                }
                if slots.is_empty() {
                    self.live.in_flight.remove(check);
                }
            }
        }
        if self.synced && self.expected.is_some_and(|expected| heartbeat.live_sequence >= expected)
        {
            return self.give_up().map(|()| hung);
        }
        let watermark = heartbeat.watermark.min(now);
        self.live.watermark = Some(self.live.watermark.map_or(watermark, |m| m.max(watermark)));
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

    fn counted(&self) -> &Reach {
        if self.synced && self.live.watermark.is_some() { &self.live } else { &self.before }
    }

    /// What counted so far stays as it is, and no more is added until a snapshot is in.
    fn retire(&mut self) {
        if self.synced && self.live.watermark.is_some() {
            self.before = self.live.clone();
            self.live.watermark = None;
        }
        self.synced = false;
    }

    fn give_up(&mut self) -> Result<(), Broken> {
        self.retire();
        if std::mem::replace(&mut self.given_up, true) { Ok(()) } else { Err(Broken) }
    }
}

fn is_fresh(watermark: Option<MeshTime>, stale_after: Duration, now: MeshTime) -> bool {
    watermark.is_some_and(|mark| now.since(mark) <= stale_after)
}
