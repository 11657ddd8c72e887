//! One probe and one check: which of its slots are told, and by which numbers its runs go.
//!
//! As a probe does it: from the first run that did not pass until as many passed as a state needs, all is
//! told. Everything else passed, counts, and is not looked at here.

use parallax_common::outcome::Outcome;
use parallax_common::time::{MeshTime, ns};
use parallax_coordinator::core::ballots::Heard;

use super::{INTERVAL, Load, QUICK, policy};
use crate::chance::Chance;
use crate::faults::{Stretch, Suffers};

pub(super) struct Looker<'a> {
    /// When all of its runs fail, whatever the target does.
    pub(super) fails: &'a [Stretch],
    /// When it may not vote.
    pub(super) excluded: &'a [Stretch],
    /// Since when nothing of it arrives.
    pub(super) silent_since: Option<MeshTime>,
    /// What it would have told meanwhile.
    pub(super) held: Vec<Heard>,
    /// Its first slot, after [`Load::START`].
    first: MeshTime,
    loss: f64,
    chance: Chance,
    /// The next slot that fails by itself.
    loses: u64,
    /// Every slot before this one is over.
    done: u64,
    /// The slot that is told next, and the one whose run is in flight.
    planned: Option<u64>,
    running: Option<u64>,
    /// Ordered runs so far.
    ordered: u64,
    /// So many passes are still told.
    tells: u32,
}

impl<'a> Looker<'a> {
    pub(super) fn new(
        phase: i64,
        loss: f64,
        mut chance: Chance,
        fails: &'a [Stretch],
        suffers: &'a Suffers,
    ) -> Self {
        let loses = chance.skip(loss);
        Self {
            fails,
            excluded: &suffers.excluded,
            silent_since: None,
            held: Vec::new(),
            first: MeshTime::from_ns(Load::START.as_ns() + phase),
            loss,
            chance,
            loses,
            done: 0,
            planned: None,
            running: None,
            ordered: 0,
            // The first runs are told, so that there is a state.
            tells: policy().successes,
        }
    }

    /// The slot that is told next, when it is another one than was planned.
    pub(super) fn plan(&mut self, now: MeshTime, outages: &[Stretch]) -> Option<(u64, MeshTime)> {
        if self.running.is_some() {
            return None;
        }
        let next = self.done.max(self.first_from(now + std::time::Duration::from_nanos(1)));
        while self.loses < next {
            // It was lost while all was told, or fell into a run that hung.
            self.loses += 1 + self.chance.skip(self.loss);
        }
        let slot = if self.tells > 0 {
            next
        } else {
            self.fails_from(self.fails, next).min(self.fails_from(outages, next)).min(self.loses)
        };
        if self.planned == Some(slot) || slot >= u64::MAX / 4 {
            return None;
        }
        self.planned = Some(slot);
        Some((slot, self.at(slot)))
    }

    /// A planned slot comes due. Says whether its run is lost; nothing when another is planned by now.
    pub(super) fn start(&mut self, slot: u64) -> Option<bool> {
        if self.planned != Some(slot) {
            return None;
        }
        self.planned = None;
        self.running = Some(slot);
        Some(slot == self.loses)
    }

    /// A run is over: its number, and whether it is told.
    pub(super) fn end(
        &mut self,
        slot: Option<u64>,
        outcome: Outcome,
        now: MeshTime,
    ) -> (u64, bool) {
        let number = match slot {
            Some(slot) => {
                self.running = None;
                self.done = slot + 1;
                slot + 1 + self.ordered
            }
            None => {
                // Slots that passed since are over, up to one that hangs.
                let passed = self.running.unwrap_or_else(|| self.first_from(now - QUICK));
                self.done = self.done.max(passed);
                self.ordered += 1;
                self.done + self.ordered
            }
        };
        let told = outcome != Outcome::Pass || slot.is_none() || self.tells > 0;
        self.tells = match outcome {
            Outcome::Pass => self.tells.saturating_sub(1),
            _ => policy().successes.max(policy().failures),
        };
        (number, told)
    }

    fn at(&self, slot: u64) -> MeshTime {
        self.first + INTERVAL * u32::try_from(slot).unwrap_or(u32::MAX)
    }

    /// The first slot at `time` or later.
    fn first_from(&self, time: MeshTime) -> u64 {
        let after = u64::try_from(time.as_ns() - self.first.as_ns()).unwrap_or(0);
        after.div_ceil(ns(INTERVAL) as u64)
    }

    /// The first slot from `next` on that lies in one of the stretches.
    fn fails_from(&self, stretches: &[Stretch], next: u64) -> u64 {
        let after = Stretch::next_in(stretches, self.at(next));
        for stretch in &stretches[after..] {
            let slot = self.first_from(stretch.from).max(next);
            if stretch.has(self.at(slot)) {
                return slot;
            }
        }
        u64::MAX / 2
    }
}
