//! Looks that somebody asked for: who is asked, what counts as an answer, how long one is awaited.
//!
//! A look is a question of a person and no vote: nothing here reaches ballots, verdicts or history. Every
//! member has a session with every probe, so the one that is asked hands out the orders itself; who is the
//! leader does not matter. Sessions are in `session/looks.rs`, the answer to the asker in `api/looks.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parallax_common::check::Check;
use parallax_common::limits::{LOOK_SLACK, LOOKS_OPEN_MAX, ORDER_EXPIRES};
use parallax_common::name::{RunDigest, Uid};
use parallax_common::record::{LookRefusal, LookResult, Record};

use super::engine::Voter;
use super::plan::ProbeRef;

/// Somebody who may be asked, or a region that has nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The region.
    pub region: String,
    /// It looks for show only.
    pub advisory: bool,
    /// The probe that has the check there.
    pub voter: Option<Voter>,
}

/// What became of one seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It looked.
    Seen(Box<Record>),
    /// The region has no probe that can run the check.
    NoProbe,
    /// It has no session with this member.
    NoSession,
    /// Nothing came in time.
    Silent,
    /// Its build does not know of looks.
    TooOld,
    /// It says why not.
    Refused(LookRefusal),
}

impl Ending {
    /// In words, of what is no sight.
    pub fn sentence(&self) -> String {
        match self {
            Self::Seen(_) => String::new(),
            Self::NoProbe => "the region has no probe that can run it".to_owned(),
            Self::NoSession => "no answer: it is not connected to this coordinator".to_owned(),
            Self::Silent => "no answer in time".to_owned(),
            Self::TooOld => "its build is too old: it does not look when asked".to_owned(),
            Self::Refused(refusal) => refusal.to_string(),
        }
    }
}

/// The seats of a check, those of `regions` or, when it names none, all of them. `assignees` is by place,
/// as the plan has it. A region with some of the probes that the check wants shows those it has.
pub fn seats(
    check: &Check,
    assignees: &[Option<ProbeRef>],
    regions: &BTreeSet<String>,
) -> Vec<Seat> {
    let wanted = check.probes_per_region.max(1) as usize;
    let mut seats = Vec::new();
    for (place, region) in check.looks_from().enumerate() {
        if !regions.is_empty() && !regions.contains(region) {
            continue;
        }
        let advisory = check.is_advisory(place);
        let seat = |voter| Seat { region: region.clone(), advisory, voter };
        // The plan may be one edit of the list of regions behind or ahead of the check.
        let of = assignees.iter().skip(place * wanted).take(wanted).flatten();
        let of = of.filter(|probe| *probe.region == **region);
        let before = seats.len();
        seats.extend(of.map(|probe| {
            seat(Some(Voter {
                region: probe.region.to_string(),
                probe: probe.probe.to_string(),
                incarnation: probe.incarnation,
            }))
        }));
        if seats.len() == before {
            seats.push(seat(None));
        }
    }
    seats
}

/// How long an answer is awaited: what the order and its run may take, and the way back.
pub fn within(check: &Check) -> Duration {
    ORDER_EXPIRES + check.run.longest(check.interval) + LOOK_SLACK
}

/// This member has as many open as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{LOOKS_OPEN_MAX} checks are being run on demand by this coordinator, which is the most; try again in \
     some seconds"
)]
pub struct TooMany;

#[derive(Debug)]
struct Open {
    check: Uid,
    digest: RunDigest,
    awaited: BTreeSet<Voter>,
}

/// The looks that wait for answers.
#[derive(Debug, Default)]
pub struct Looks {
    open: BTreeMap<u64, Open>,
    last: u64,
}

impl Looks {
    /// Begins one, and gives its number.
    ///
    /// # Errors
    /// There are too many.
    pub fn open(
        &mut self,
        check: Uid,
        digest: RunDigest,
        awaited: impl IntoIterator<Item = Voter>,
    ) -> Result<u64, TooMany> {
        if self.open.len() >= LOOKS_OPEN_MAX {
            return Err(TooMany);
        }
        self.last += 1;
        let awaited = awaited.into_iter().collect();
        self.open.insert(self.last, Open { check, digest, awaited });
        Ok(self.last)
    }

    /// What a probe says of a look. Nothing when nobody waits for that: it is over, it was answered before,
    /// the probe was not asked, or what it saw is something else.
    pub fn heard(&mut self, voter: &Voter, result: LookResult) -> Option<Ending> {
        let open = self.open.get_mut(&result.look)?;
        let fits = |seen: &Record| (seen.check, seen.run_digest) == (open.check, open.digest);
        if result.said.as_ref().is_ok_and(|seen| !fits(seen)) || !open.awaited.remove(voter) {
            return None;
        }
        Some(match result.said {
            Ok(seen) => Ending::Seen(seen),
            Err(refusal) => Ending::Refused(refusal),
        })
    }

    /// Nobody waits for this one any more.
    pub fn close(&mut self, look: u64) {
        self.open.remove(&look);
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests;
