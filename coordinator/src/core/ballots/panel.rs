//! One region at a check's table: a seat for each probe that looks from there, and what they say
//! together.
//!
//! Of the `m` probes that are to look, `s` have said enough for a state; `f` of them fail and `p` pass
//! (a warning is a pass) and are fresh, `x` are excluded. In this order:
//!
//! | holds | the region |
//! |---|---|
//! | `2x >= m`, `x > 0` | is excluded |
//! | `2f > m` | fails |
//! | `2p > s` | passes; with a warning when more than half of the `s` warn |
//! | `2(f + p) > s` | is split: it is fresh, and counts neither as failing nor as passing |
//! | else | is stale when one of them is, or has not said enough |
//!
//! A silent probe stays in `m` and `s`: like a silent region it makes nothing fail and nothing pass. Who
//! is new is in `m` at once and in `s` with its first state: it can hold back a failure, and does not
//! silence a region that passes. Where the fleet has fewer probes than the check wants, `m` is as many
//! as there are. With one probe all of this is that probe's own vote. `panel.txt` beside this file
//! lists the answer for every mix of up to four.

#[cfg(test)]
mod tests;

use parallax_common::name::RunDigest;
use parallax_common::outcome::BallotState;
use parallax_common::time::MeshTime;

use super::{Folded, Heard, Hearing, Said, Seat, Terms, Vote, VoterId};

/// A region's seats: as many as the plan has probes for them, and one where it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    /// Never empty. In no particular order: a probe keeps its seat whatever becomes of the others.
    seats: Vec<Seat>,
}

/// Whether a seat is for a voter.
type Fits<'a> = &'a dyn Fn(&Seat, VoterId) -> bool;

impl Panel {
    /// One empty seat that counts votes for `digest`.
    pub fn new(digest: RunDigest) -> Self {
        Self { seats: vec![Seat::new(digest)] }
    }

    /// At least one.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Votes are for `digest` from now on.
    pub fn set_digest(&mut self, digest: RunDigest) {
        self.seats.iter_mut().for_each(|seat| seat.set_digest(digest));
    }

    /// Everybody whose session this region depends on.
    pub fn voters(&self) -> impl Iterator<Item = VoterId> + '_ {
        self.seats.iter().flat_map(|seat| seat.voter().into_iter().chain(seat.assignee()))
    }

    /// These run the check here from now on. Who ran it keeps its seat; a new life of a probe gets the
    /// seat of the one before (`same_probe`), and others those of probes that left, whose successors
    /// they are. A seat that nobody takes over is gone, with its vote; but when the plan has nobody at
    /// all for the region the seats stay as they are, and go stale.
    pub fn assign(
        &mut self,
        assignees: &[VoterId],
        same_probe: impl Fn(VoterId, VoterId) -> bool,
        counts: impl Fn(&Seat) -> bool,
        terms: &Terms,
        now: MeshTime,
    ) {
        let mut left: Vec<VoterId> = assignees.to_vec();
        let mut given: Vec<Option<VoterId>> = vec![None; self.seats.len()];
        let fits: [Fits<'_>; 4] = [
            &|seat, id| seat.voter() == Some(id),
            &|seat, id| seat.assignee() == Some(id),
            &|seat, id| seat.assignee().or(seat.voter()).is_some_and(|old| same_probe(old, id)),
            &|_, _| true,
        ];
        for fit in fits {
            for (seat, given) in self.seats.iter().zip(&mut given) {
                if given.is_none()
                    && let Some(place) = left.iter().position(|id| fit(seat, *id))
                {
                    *given = Some(left.remove(place));
                }
            }
        }
        for id in left {
            self.seats.push(Seat::new(self.seats[0].digest()));
            given.push(Some(id));
        }
        for (place, given) in given.iter().enumerate() {
            if let Some(id) = *given {
                self.move_here(id, place);
            }
            let counts = counts(&self.seats[place]);
            if given.is_some() || assignees.is_empty() {
                self.seats[place].assign(*given, counts, terms, now);
            }
        }
        if !assignees.is_empty() {
            let mut given = given.into_iter();
            self.seats.retain(|_| given.next().flatten().is_some());
        }
    }

    /// Brings what was heard of a voter before it was known where it sits.
    fn move_here(&mut self, voter: VoterId, place: usize) {
        let there = self.seats.iter().position(|seat| seat.knows(voter));
        if let Some(there) = there.filter(|there| *there != place) {
            let stranger = self.seats[there].take_stranger(voter);
            self.seats[place].receive(stranger);
        }
    }

    /// Folds what a voter said into its seat: see [`Seat::hear`]. Somebody whom the plan does not know
    /// yet waits at a seat that has no other stranger.
    pub fn hear(
        &mut self,
        voter: VoterId,
        records: impl IntoIterator<Item = Heard>,
        said: Option<Said>,
        counts: impl Fn(&Seat) -> bool,
        terms: &Terms,
    ) -> Folded {
        let sits = self.seats.iter().position(|seat| seat.knows(voter));
        let free = || self.seats.iter().position(|seat| !seat.has_stranger());
        let place = sits.or_else(free).unwrap_or(0);
        let counts = counts(&self.seats[place]);
        self.seats[place].hear(voter, records, said, counts, terms)
    }

    /// While no incident is open, one pass is enough for a seat without a state (decision 8).
    pub fn settle(&mut self, incident_open: bool, terms: &Terms) {
        self.seats.iter_mut().for_each(|seat| seat.settle(incident_open, terms));
    }

    /// What each seat says at `now`.
    pub fn votes(
        &self,
        hearing: impl Fn(&Seat) -> Hearing,
        terms: &Terms,
        now: MeshTime,
    ) -> Vec<Vote> {
        self.seats.iter().map(|seat| seat.vote(&hearing(seat), terms, now)).collect()
    }

    /// What the region says, of what its seats say.
    pub fn together(votes: &[Vote]) -> Vote {
        if let [vote] = votes {
            return *vote;
        }
        let some = |which: &dyn Fn(&Vote) -> bool| votes.iter().filter(|vote| which(vote)).count();
        let in_state = |fresh: bool, state: BallotState| {
            some(&|vote| vote.state == state && (!fresh || vote.is_fresh()))
        };
        let excluded = some(&|vote| vote.excluded);
        let voting = some(&|vote| vote.state != BallotState::None);
        let said = |fresh: bool| {
            let (fail, warn) =
                (in_state(fresh, BallotState::Fail), in_state(fresh, BallotState::Warn));
            let pass = warn + in_state(fresh, BallotState::Pass);
            if 2 * fail > votes.len() {
                (BallotState::Fail, false)
            } else if 2 * pass > voting {
                let state = if 2 * warn > voting { BallotState::Warn } else { BallotState::Pass };
                (state, false)
            } else {
                (BallotState::None, 2 * (fail + pass) > voting)
            }
        };
        let changes_at = votes.iter().filter_map(|vote| vote.changes_at).min();
        let (state, split) = said(true);
        let vote = Vote { state, split, stale: false, excluded: false, changes_at };
        if excluded > 0 && 2 * excluded >= votes.len() {
            // What it said is shown all the same.
            return Vote { state: said(false).0, split: false, excluded: true, ..vote };
        }
        if state != BallotState::None || split {
            return vote;
        }
        // What is left to show was said by some who do not count now: it is no fresh vote either.
        let shown = said(false).0;
        let stale = shown != BallotState::None || votes.iter().any(|vote| vote.stale);
        Vote { state: shown, stale, ..vote }
    }
}
