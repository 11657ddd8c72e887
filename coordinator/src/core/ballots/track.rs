//! The outcomes of one voter for one digest, folded by number whatever order they come in.
//!
//! The newest [`limits::SNAPSHOT_OUTCOMES_MAX`] are kept one by one, so that a late one finds its
//! place; older ones live on in the base they were folded into. The rules are in
//! [`mod@parallax_common::fold`].

use std::collections::VecDeque;
use std::time::Duration;

use parallax_common::fold::{Mark, Recent};
use parallax_common::limits;
use parallax_common::name::RunDigest;
use parallax_common::outcome::{BallotState, Outcome, Reason};
use parallax_common::time::MeshTime;

use super::{Fold, Heard, Said, Terms, VoterId};

/// What the newest run that was not a pass had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Its number.
    pub number: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<Reason>,
    /// In which step, from 0.
    pub step: u32,
    /// What it saw.
    pub evidence: String,
}

/// The newest run that was not missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// Its number.
    pub number: u64,
    /// When it started.
    pub started: MeshTime,
    /// How long it took.
    pub total: Duration,
}

/// One voter's outcomes for one digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Whose.
    pub voter: VoterId,
    /// Of which version of the check.
    pub digest: RunDigest,
    /// Everything before the tail.
    base: Fold,
    /// Ascending by number.
    tail: VecDeque<Mark<MeshTime>>,
    /// The base and the tail together.
    fold: Fold,
    /// When the newest of them started; a slot that was missed counts, too.
    newest_started: MeshTime,
    /// Something was put in the middle of the tail: fold again.
    behind: bool,
    /// One pass was enough for a state, once, because no incident was open.
    one_pass: bool,
    complaint: Option<Complaint>,
    last_run: Option<LastRun>,
}

impl Track {
    /// A track on which nothing was heard.
    pub fn new(voter: VoterId, digest: RunDigest) -> Self {
        Self {
            voter,
            digest,
            base: Fold::default(),
            tail: VecDeque::new(),
            fold: Fold::default(),
            newest_started: MeshTime::default(),
            behind: false,
            one_pass: false,
            complaint: None,
            last_run: None,
        }
    }

    /// The track of a successor that has not run this digest itself yet.
    pub fn heir(voter: VoterId, digest: RunDigest, old: &Fold) -> Self {
        let state = Fold::heir_of(old);
        Self { base: state, fold: state, ..Self::new(voter, digest) }
    }

    /// A track that takes nothing up to this number: it was run before other versions were, or it
    /// was forgotten.
    pub fn above(voter: VoterId, digest: RunDigest, number: u64) -> Self {
        let floor = Fold { last: number, ..Fold::default() };
        Self { base: floor, fold: floor, ..Self::new(voter, digest) }
    }

    /// The newest number it took, or may not take.
    pub fn newest(&self) -> u64 {
        self.tail.back().map_or(self.base.last, |mark| mark.number)
    }

    /// When its newest run started.
    pub fn newest_started(&self) -> MeshTime {
        self.newest_started
    }

    /// What everything heard amounts to. Call [`Track::catch_up`] after inserting.
    pub fn fold(&self) -> &Fold {
        &self.fold
    }

    /// The newest run that was not a pass, `missed` included.
    pub fn complaint(&self) -> Option<&Complaint> {
        self.complaint.as_ref()
    }

    /// The newest run.
    pub fn last_run(&self) -> Option<LastRun> {
        self.last_run
    }

    /// Puts an outcome in its place. One that is known, or older than the base, changes nothing.
    pub fn insert(&mut self, heard: Heard, terms: &Terms) {
        let mark = Mark::from(&heard);
        if mark.number <= self.base.last {
            return;
        }
        if self.tail.back().is_none_or(|newest| newest.number < mark.number) {
            self.tail.push_back(mark);
            self.newest_started = heard.started;
            if !self.behind {
                self.fold.step(&mark, &terms.streaks(), self.one_pass);
            }
        } else {
            match self.tail.binary_search_by_key(&mark.number, |known| known.number) {
                Ok(_) => return,
                Err(place) => self.tail.insert(place, mark),
            }
            self.behind = true;
        }
        self.remember(heard);
        if self.tail.len() > limits::SNAPSHOT_OUTCOMES_MAX
            && let Some(oldest) = self.tail.pop_front()
        {
            self.base.step(&oldest, &terms.streaks(), self.one_pass);
        }
    }

    /// Folds again when something came late.
    pub fn catch_up(&mut self, terms: &Terms) {
        if self.behind {
            self.refold(terms);
        }
    }

    /// Takes over the state of the voter before, under what was heard already.
    pub fn inherit(&mut self, old: &Fold, terms: &Terms) {
        if self.base.state == BallotState::None {
            (self.base.state, self.base.since) = (old.state, old.since);
            self.refold(terms);
        }
    }

    /// Takes the state that the voter says it had before what was heard. Its streaks are in the
    /// outcomes that came with it, and lead from there to where it says it is.
    pub fn adopt(&mut self, said: &Said, terms: &Terms) {
        if said.state == BallotState::None {
            self.count_on_from(said, terms);
        } else if self.base.state == BallotState::None {
            if terms.streaks().counts_recent() {
                // It counts in more than came with it: missed slots take places there.
                let known = said.counted != Recent::default();
                let is_in = |mark: &&Mark<MeshTime>| match known {
                    true => mark.number <= said.until,
                    // A probe that does not say so.
                    false => mark.ended <= said.since,
                };
                let counted = self.tail.iter().take_while(is_in).count();
                for mark in self.tail.drain(..counted) {
                    self.base.step(&mark, &terms.streaks(), false);
                }
                self.base.recent = said.counted;
            }
            (self.base.state, self.base.since) = (said.state, said.since);
            self.refold(terms);
        }
    }

    /// The voter has no state either. What it counts in reaches back beyond the outcomes that came with
    /// it when missed slots are among those: they take places there.
    fn count_on_from(&mut self, said: &Said, terms: &Terms) {
        let Some(first) = self.tail.front().filter(|_| self.base.last == 0) else { return };
        if terms.streaks().counts_recent() && said.counted != Recent::default() {
            let told = self.tail.iter().take_while(|mark| mark.number <= said.until);
            let ran = told.filter(|mark| mark.outcome != Outcome::Missed).count();
            let ran = u32::try_from(ran).unwrap_or(u32::MAX);
            self.base.recent = said.counted.without_newest(ran);
            // A voter knows all of its runs: there is no gap before the first that it told.
            self.base.last = first.number - 1;
            self.refold(terms);
        }
    }

    /// Whether one pass is enough for a first state.
    pub fn accepts_one_pass(&self) -> bool {
        self.one_pass
    }

    /// Whether a pass or a warn is among what is kept.
    pub fn has_ok(&self) -> bool {
        self.tail.iter().any(|mark| matches!(mark.outcome, Outcome::Pass | Outcome::Warn))
    }

    /// From now on one pass gives a state to this track if it has none.
    pub fn accept_one_pass(&mut self, terms: &Terms) {
        self.one_pass = true;
        self.refold(terms);
    }

    fn refold(&mut self, terms: &Terms) {
        self.behind = false;
        self.fold = self.base;
        for mark in &self.tail {
            self.fold.step(mark, &terms.streaks(), self.one_pass);
        }
    }

    fn remember(&mut self, heard: Heard) {
        if heard.outcome != Outcome::Missed
            && self.last_run.is_none_or(|last| last.number < heard.number)
        {
            self.last_run =
                Some(LastRun { number: heard.number, started: heard.started, total: heard.total });
        }
        if heard.outcome != Outcome::Pass
            && self.complaint.as_ref().is_none_or(|newest| newest.number < heard.number)
        {
            self.complaint = Some(Complaint {
                number: heard.number,
                outcome: heard.outcome,
                reason: heard.reason,
                step: heard.step,
                evidence: heard.evidence,
            });
        }
    }
}
