//! When runs start: fixed-rate slots `phase + k * interval` in mesh time (DESIGN.md, decision 1).
//!
//! [`Schedule::due`] says what to start and what was missed; [`Schedule::next_at`] says when to ask
//! again. A slot is never moved: a late one is run when it is late by at most half its interval,
//! else it is missed. After a stall, what may still run is spread over a second. What runs say
//! when they end is [`super::record`]'s.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::Assignment;
use parallax_common::limits::{
    CATCH_UP_SPREAD, FIRST_RUN_WITHIN_MAX, IN_FLIGHT_MAX, MISSED_SLOTS_KEPT, OVERLAP_MAX,
    STALL_AFTER,
};
use parallax_common::name::Uid;
use parallax_common::outcome::Reason;
use parallax_common::schedule::Slots;
use parallax_common::time::{MeshTime, ns};

use super::assign::Change;

/// Names one run from its start to its end, within one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// Why a run exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its slot came.
    Slot(i64),
    /// The check or its digest is new and its next slot is far. Belongs to no slot.
    First,
    /// A coordinator ordered it (the order's id). Belongs to no slot.
    Order(u64),
}

/// A run to start now.
#[derive(Debug, Clone)]
pub struct Start {
    /// To be handed back to [`Schedule::ended`].
    pub run: RunId,
    /// What to do.
    pub assignment: Arc<Assignment>,
    /// Why.
    pub cause: Cause,
    /// When it was meant to start.
    pub scheduled: MeshTime,
}

/// Slots that passed without a run, all for one reason.
#[derive(Debug, Clone)]
pub struct Missed {
    /// Whose.
    pub assignment: Arc<Assignment>,
    /// First slot.
    pub first_slot: i64,
    /// Last slot, included.
    pub last_slot: i64,
    /// Why.
    pub reason: Reason,
    /// Older slots of the same stall that are counted and not recorded.
    pub skipped: u64,
}

/// What is due.
#[derive(Debug, Default)]
pub struct Due {
    /// Runs to start, in this order.
    pub starts: Vec<Start>,
    /// Slots without a run.
    pub missed: Vec<Missed>,
    /// Ordered runs that found too much in flight, and are not made.
    pub crowded_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Slot,
    First,
}

#[derive(Debug)]
struct Entry {
    assignment: Arc<Assignment>,
    slots: Slots,
    /// Not yet started or missed.
    next_slot: i64,
    /// Of the last one that was started or missed.
    last_slot_at: Option<MeshTime>,
    /// Whether `next_slot` is waiting for its turn after a stall.
    deferred: bool,
    /// Since the check or its digest was new, none of its runs has started.
    first_owed: bool,
    in_flight: u32,
    /// Queue items of older versions are void.
    version: u64,
    /// Runs of an earlier life of this uid are not counted.
    life: u64,
}

impl Entry {
    fn slot_at(&self) -> MeshTime {
        self.slots.time_of(self.next_slot)
    }

    fn half(&self) -> Duration {
        self.assignment.interval / 2
    }

    fn overlap_limit(&self) -> u32 {
        let interval = ns(self.assignment.interval).max(1);
        let longest = self.assignment.run.longest(self.assignment.interval);
        let ratio = (ns(longest) + interval - 1) / interval;
        u32::try_from(ratio).unwrap_or(OVERLAP_MAX).clamp(1, OVERLAP_MAX)
    }
}

#[derive(Debug)]
struct Running {
    check: Uid,
    life: u64,
    slot: bool,
}

/// The slots of every assigned check, and the runs in flight.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: HashMap<Uid, Entry>,
    queue: BinaryHeap<Reverse<(MeshTime, Uid, Wake, u64)>>,
    /// Due slots that wait for their turn after a stall, by slot time.
    deferred: BTreeSet<(MeshTime, Uid)>,
    running: HashMap<RunId, Running>,
    last_id: u64,
    rate: f64,
}

impl Schedule {
    /// Puts a change of assignments in force.
    pub fn apply(&mut self, change: &Change, now: MeshTime) {
        for uid in &change.removed {
            if let Some(entry) = self.entries.remove(uid) {
                self.deferred.remove(&(entry.slot_at(), *uid));
            }
        }
        for assignment in &change.upserts {
            self.upsert(assignment, now);
        }
        // Summed anew: adding and subtracting for months would drift.
        self.rate = self.entries.values().map(|e| 1.0 / e.assignment.interval.as_secs_f64()).sum();
        if self.queue.len() > 64 + 4 * self.entries.len() {
            let entries = &self.entries;
            self.queue.retain(|Reverse((_, uid, _, version))| {
                entries.get(uid).is_some_and(|entry| entry.version == *version)
            });
        }
    }

    fn upsert(&mut self, assignment: &Arc<Assignment>, now: MeshTime) {
        let uid = assignment.check;
        let slots = Slots::new(assignment.phase_ns, assignment.interval);
        self.last_id += 1;
        let version = self.last_id;
        let before = self.entries.get(&uid);
        let fresh = before.is_none_or(|e| e.assignment.run_digest != assignment.run_digest);
        let same_slots = before.is_some_and(|e| e.slots == slots);
        let mut wake_at = None;
        match self.entries.get_mut(&uid) {
            Some(entry) if same_slots => {
                // The slots go on; only what they run may differ. Their queue item stays valid.
                entry.assignment = Arc::clone(assignment);
            }
            Some(entry) => {
                if entry.deferred {
                    self.deferred.remove(&(entry.slot_at(), uid));
                }
                let earliest = match entry.last_slot_at {
                    Some(last) => now.max(last + assignment.interval / 2),
                    None => now,
                };
                entry.assignment = Arc::clone(assignment);
                entry.slots = slots;
                entry.next_slot = slots.slot_at_or_after(earliest);
                entry.deferred = false;
                entry.version = version;
                wake_at = Some(entry.slot_at());
            }
            None => {
                let entry = Entry {
                    assignment: Arc::clone(assignment),
                    slots,
                    next_slot: slots.slot_at_or_after(now),
                    last_slot_at: None,
                    deferred: false,
                    first_owed: true,
                    in_flight: 0,
                    version,
                    life: version,
                };
                wake_at = Some(entry.slot_at());
                self.entries.insert(uid, entry);
            }
        }
        if let Some(at) = wake_at {
            self.queue.push(Reverse((at, uid, Wake::Slot, version)));
        }
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.first_owed |= fresh;
        }
        // New slots have made an earlier wake for it void.
        if fresh || !same_slots {
            self.owe_first(uid, now);
        }
    }

    /// Sees to it that a check whose first run is owed runs soon: by its next slot when that is
    /// near, else by a run of its own.
    fn owe_first(&mut self, uid: Uid, now: MeshTime) {
        let Some(entry) = self.entries.get(&uid).filter(|entry| entry.first_owed) else { return };
        let within = FIRST_RUN_WITHIN_MAX.min(entry.assignment.interval);
        if entry.slot_at() > now + within {
            let at = now + spread(&uid, within);
            self.queue.push(Reverse((at, uid, Wake::First, entry.version)));
        }
    }

    /// What is due at `now`, with the `ordered` runs (check, order, when it was meant to start) ahead of
    /// all slots: an incident waits for them, and their own bucket bounds them.
    pub fn due_after(&mut self, ordered: Vec<(Uid, u64, MeshTime)>, now: MeshTime) -> Due {
        let (mut starts, mut crowded_out) = (Vec::with_capacity(ordered.len()), 0);
        for (check, order, scheduled) in ordered {
            match self.start_ordered(check, order, scheduled) {
                Some(start) => starts.push(start),
                None => crowded_out += 1,
            }
        }
        let due = self.due(now);
        starts.extend(due.starts);
        Due { starts, crowded_out, ..due }
    }

    /// What is due at `now`. Call it when [`Self::next_at`] has come, or at any other time.
    pub fn due(&mut self, now: MeshTime) -> Due {
        let mut due = Due::default();
        let mut ready: Vec<(Uid, Wake)> = Vec::new();
        let mut stalled = false;
        while let Some(&Reverse((at, uid, wake, version))) = self.queue.peek() {
            if at > now {
                break;
            }
            self.queue.pop();
            if self.entries.get(&uid).is_some_and(|entry| entry.version == version) {
                stalled |= now.since(at) > STALL_AFTER;
                ready.push((uid, wake));
            }
        }
        let mut runnable = Vec::with_capacity(ready.len());
        for (uid, wake) in ready {
            if self.pass_late(uid, wake, now, &mut due) {
                runnable.push((uid, wake));
            }
        }
        if stalled {
            self.spread_out(&mut runnable, now, &mut due);
        }
        for (uid, wake) in runnable {
            self.start(uid, wake, now, &mut due);
        }
        due
    }

    /// Marks what is too late. Whether the wake is still to be served now.
    fn pass_late(&mut self, uid: Uid, wake: Wake, now: MeshTime, due: &mut Due) -> bool {
        let Some(entry) = self.entries.get_mut(&uid) else { return false };
        if wake == Wake::First {
            // One is enough: an earlier wake for it has been served, or its slot has come.
            return entry.first_owed && entry.slot_at() > now;
        }
        let half = entry.half();
        if now.since(entry.slot_at()) <= half {
            return true;
        }
        let first_late = entry.next_slot;
        // The newest slot that is more than half an interval old.
        let last_late = entry.slots.slot_before(now - half);
        let last_late = last_late.max(first_late);
        let kept_from = first_late.max(last_late.saturating_sub(MISSED_SLOTS_KEPT - 1));
        due.missed.push(Missed {
            assignment: Arc::clone(&entry.assignment),
            first_slot: kept_from,
            last_slot: last_late,
            reason: Reason::MissedLate,
            skipped: u64::try_from(kept_from - first_late).unwrap_or(0),
        });
        self.advance(uid, last_late);
        let Some(entry) = self.entries.get(&uid) else { return false };
        let (at, version) = (entry.slot_at(), entry.version);
        if at <= now {
            return true;
        }
        self.queue.push(Reverse((at, uid, Wake::Slot, version)));
        self.owe_first(uid, now);
        false
    }

    /// Gives each of what became due in a stall a turn of its own within [`CATCH_UP_SPREAD`].
    /// Those whose turn would come too late are missed now, so that their next slot is on time.
    fn spread_out(&mut self, runnable: &mut Vec<(Uid, Wake)>, now: MeshTime, due: &mut Due) {
        let deadline = |schedule: &Self, uid: &Uid, wake: Wake| match wake {
            Wake::Slot => schedule.entries.get(uid).map(|e| e.slot_at() + e.half()),
            Wake::First => None,
        };
        // The earliest deadline goes first; those without one go last.
        runnable.sort_by_key(|(uid, wake)| {
            let at = deadline(self, uid, *wake);
            (at.is_none(), at, *uid)
        });
        let step = CATCH_UP_SPREAD / u32::try_from(runnable.len()).unwrap_or(u32::MAX).max(1);
        let all = std::mem::take(runnable);
        for (turn, (uid, wake)) in all.into_iter().enumerate() {
            let turn_at = now + step * u32::try_from(turn).unwrap_or(u32::MAX);
            if turn == 0 {
                runnable.push((uid, wake));
                continue;
            }
            if deadline(self, &uid, wake).is_some_and(|last| turn_at > last) {
                self.miss(uid, Reason::MissedLate, due);
                self.owe_first(uid, now);
                continue;
            }
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            if wake == Wake::Slot {
                entry.deferred = true;
                self.deferred.insert((entry.slot_at(), uid));
            }
            self.queue.push(Reverse((turn_at, uid, wake, entry.version)));
        }
    }

    fn start(&mut self, uid: Uid, wake: Wake, now: MeshTime, due: &mut Due) {
        let full = self.running.len() >= IN_FLIGHT_MAX;
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let (cause, scheduled) = match wake {
            Wake::First if full => {
                // No slot to mark: it is tried again until there is room or its slot comes.
                let again = now + STALL_AFTER;
                self.queue.push(Reverse((again, uid, wake, entry.version)));
                return;
            }
            // Two wakes of one check can come due together.
            Wake::First if !entry.first_owed => return,
            Wake::First => (Cause::First, now),
            Wake::Slot if entry.in_flight >= entry.overlap_limit() => {
                self.miss(uid, Reason::MissedOverlap, due);
                return self.owe_first(uid, now);
            }
            Wake::Slot if full => {
                self.miss(uid, Reason::MissedOverload, due);
                return self.owe_first(uid, now);
            }
            Wake::Slot => (Cause::Slot(entry.next_slot), entry.slot_at()),
        };
        let assignment = Arc::clone(&entry.assignment);
        let life = entry.life;
        entry.first_owed = false;
        if let Cause::Slot(slot) = cause {
            entry.in_flight += 1;
            self.advance(uid, slot);
            self.requeue(uid);
        }
        let run = self.begin(uid, life, matches!(cause, Cause::Slot(_)));
        due.starts.push(Start { run, assignment, cause, scheduled });
    }

    fn begin(&mut self, check: Uid, life: u64, slot: bool) -> RunId {
        self.last_id += 1;
        let run = RunId(self.last_id);
        self.running.insert(run, Running { check, life, slot });
        run
    }

    /// Passes the check's next slot without a run.
    fn miss(&mut self, uid: Uid, reason: Reason, due: &mut Due) {
        let Some(entry) = self.entries.get(&uid) else { return };
        let slot = entry.next_slot;
        due.missed.push(Missed {
            assignment: Arc::clone(&entry.assignment),
            first_slot: slot,
            last_slot: slot,
            reason,
            skipped: 0,
        });
        self.advance(uid, slot);
        self.requeue(uid);
    }

    /// Everything up to `slot` has been started or missed.
    fn advance(&mut self, uid: Uid, slot: i64) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if entry.deferred {
            self.deferred.remove(&(entry.slot_at(), uid));
            entry.deferred = false;
        }
        entry.last_slot_at = Some(entry.slots.time_of(slot));
        entry.next_slot = slot + 1;
    }

    fn requeue(&mut self, uid: Uid) {
        if let Some(entry) = self.entries.get(&uid) {
            self.queue.push(Reverse((entry.slot_at(), uid, Wake::Slot, entry.version)));
        }
    }

    /// Starts an ordered run; `None` when the check is gone or too much is in flight.
    pub fn start_ordered(&mut self, uid: Uid, order: u64, scheduled: MeshTime) -> Option<Start> {
        let entry = self.entries.get(&uid).filter(|_| self.running.len() < IN_FLIGHT_MAX)?;
        let (assignment, life) = (Arc::clone(&entry.assignment), entry.life);
        let run = self.begin(uid, life, false);
        Some(Start { run, assignment, cause: Cause::Order(order), scheduled })
    }

    /// A run has ended.
    pub fn ended(&mut self, run: RunId) {
        let Some(running) = self.running.remove(&run) else { return };
        if let Some(entry) = self.entries.get_mut(&running.check)
            && running.slot
            && entry.life == running.life
        {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
    }

    /// When something is due next.
    pub fn next_at(&self) -> Option<MeshTime> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Every slot before this has been started or missed. At most `now`.
    pub fn horizon(&self, now: MeshTime) -> MeshTime {
        let waiting = self.deferred.first().map_or(now, |(at, _)| *at);
        let queued = self.next_at().unwrap_or(now);
        now.min(waiting).min(queued)
    }

    /// Runs in flight, ordered ones included.
    pub fn in_flight(&self) -> usize {
        self.running.len()
    }

    /// Runs per second that the slots ask for.
    pub fn steady_rate(&self) -> f64 {
        self.rate
    }
}

/// A place in `[0, within)` that depends on the uid alone (its random tail).
fn spread(uid: &Uid, within: Duration) -> Duration {
    let tail = uid.as_bytes()[8..].iter().fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
    let mixed = tail.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let span = u64::try_from(ns(within)).unwrap_or(1).max(1);
    Duration::from_nanos(mixed % span)
}

#[cfg(test)]
mod tests;
