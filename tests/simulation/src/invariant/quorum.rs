//! An incident opens only when as many regions as the rule asks for had seen the check fail of late,
//! and ends only when enough had seen it pass: by what the probes' own runs said.

use std::collections::BTreeMap;

use parallax_common::name::Uid;
use parallax_common::outcome::BallotState;
use parallax_proto::store::VerdictAction;

use super::Invariant;
use crate::seen::{Decided, Seen};

/// What a member believes of a region may be so old: a vote goes stale 5 s after its timeout of at
/// most a second, a decision is proposed for at most 5 s, and what is heard was on its way.
const BELIEVED_US: u64 = 13_000_000;

/// What the runs of one region said of one version of a check: since when, and until when before.
#[derive(Default)]
struct Felt {
    now: Option<BallotState>,
    /// One run passed while there was no state: enough while no incident is open (decision 8).
    passed: Option<u64>,
    /// When each state ended that is no more.
    ended: BTreeMap<BallotState, u64>,
}

impl Felt {
    fn of_late(&self, states: &[BallotState], now_us: u64) -> bool {
        self.now.is_some_and(|now| states.contains(&now))
            || states.iter().any(|state| {
                self.ended.get(state).is_some_and(|ended| ended + BELIEVED_US >= now_us)
            })
    }
}

/// By check and version, and by region.
#[derive(Default)]
pub struct Quorum {
    now_us: u64,
    newest: u64,
    felt: BTreeMap<(Uid, u64), BTreeMap<String, Felt>>,
    /// When the newest incident of each check opened.
    opened: BTreeMap<Uid, u64>,
    /// With when the incident had opened that each is about.
    waiting: Vec<(u64, u64, Decided)>,
}

/// Failing regions that make a check down.
pub fn down_at(regions: usize) -> usize {
    match regions {
        0 | 1 => 1,
        2 | 3 => 2,
        4 | 5 => 3,
        more => more / 2 + 1,
    }
}

/// Passing regions that end it.
pub fn up_at(regions: usize) -> usize {
    (regions / 2 + 1).max(regions + 1 - down_at(regions))
}

/// Regions that have to be heard for anything to be known.
pub fn floor(regions: usize) -> usize {
    if regions == 2 { 2 } else { regions.div_ceil(2) }
}

impl Quorum {
    fn judge(&self, change: &Decided, opened: u64, regions: usize, at: u64) -> Result<(), String> {
        let (states, wanted, what): (&[BallotState], _, _) = match change.action {
            VerdictAction::Open => (&[BallotState::Fail], down_at(regions), "opens"),
            VerdictAction::Resolve => {
                (&[BallotState::Pass, BallotState::Warn], up_at(regions), "resolves")
            }
            _ => return Ok(()),
        };
        let felt = self.felt.get(&(change.check, change.digest));
        let said = felt.map_or(0, |felt| {
            let once = |felt: &Felt| {
                states.contains(&BallotState::Pass) && felt.passed.is_some_and(|it| it <= opened)
            };
            felt.values().filter(|felt| felt.of_late(states, self.now_us) || once(felt)).count()
        });
        if said >= wanted {
            return Ok(());
        }
        Err(format!(
            "entry {at} {what} an incident of {} by {said} of {regions} regions, and {wanted} are \
             needed",
            change.check
        ))
    }
}

impl Invariant for Quorum {
    fn name(&self) -> &'static str {
        "no incident opens or ends without a quorum"
    }

    fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Felt { state: BallotState::None, .. } => {}
            Seen::Passed { now_us, region, check, digest } => {
                let regions = self.felt.entry((*check, *digest)).or_default();
                regions.entry(region.clone()).or_default().passed.get_or_insert(*now_us);
            }
            Seen::Felt { now_us, region, check, digest, state } => {
                let regions = self.felt.entry((*check, *digest)).or_default();
                let felt = regions.entry(region.clone()).or_default();
                if felt.passed.take().is_some() && *state == BallotState::Fail {
                    felt.ended.insert(BallotState::Pass, *now_us);
                }
                if let Some(before) = felt.now.replace(*state).filter(|it| it != state) {
                    felt.ended.insert(before, *now_us);
                }
            }
            Seen::Decided { index, changes, .. } if *index > self.newest => {
                self.newest = *index;
                for change in changes {
                    if change.action == VerdictAction::Open {
                        self.opened.insert(change.check, self.now_us);
                    }
                    let opened = self.opened.get(&change.check).copied().unwrap_or(0);
                    self.waiting.push((*index, opened, change.clone()));
                }
            }
            Seen::Published { index, state, .. } if !self.waiting.is_empty() => {
                for (at, opened, change) in std::mem::take(&mut self.waiting) {
                    if at > *index {
                        self.waiting.push((at, opened, change));
                        continue;
                    }
                    // One that was edited meanwhile may have other regions now.
                    let Some(entry) = state.checks.get(&change.check) else { continue };
                    if entry.check.etag == change.etag {
                        self.judge(&change, opened, entry.check.regions.len(), at)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
