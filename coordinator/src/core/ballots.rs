//! One region's vote on one check: who votes, what was heard from them, and what it amounts to.
//!
//! A [`Seat`] is a probe's place at the table; those of one region are a [`panel::Panel`]. It holds the
//! tracks of its voter, of the successor that waits for its first outcome, and of one stranger whose
//! assignment this member has not applied yet. What a run of numbered outcomes says is in [`track`] and
//! [`mod@parallax_common::fold`]; whether
//! a session still speaks is in `engine::link`; the counting is in [`super::decide`].

pub mod panel;
pub mod track;

#[cfg(test)]
mod tests;

use std::time::Duration;

use parallax_common::check::Check;
use parallax_common::fold::{self, Mark};
use parallax_common::limits;
use parallax_common::name::{RunDigest, Uid};
use parallax_common::outcome::{BallotState, Outcome, Reason};
use parallax_common::time::MeshTime;

use self::track::Track;

/// A fold of what was heard, in mesh time.
pub type Fold = fold::Fold<MeshTime>;

/// A voter (region, probe, incarnation) as the engine knows it inside: never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoterId(pub u64);

/// One numbered outcome as it was heard, times already mapped to mesh time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What was run.
    pub check: Uid,
    /// Which version of it.
    pub digest: RunDigest,
    /// Per (incarnation, check), in order of completion, from 1.
    pub number: u64,
    /// Absent for a run that was ordered, and for the first one of a new assignment.
    pub slot: Option<i64>,
    /// The order it belongs to; 0 for a run of the schedule.
    pub order: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it did not pass.
    pub reason: Option<Reason>,
    /// The step in which it ended, from 0.
    pub step: u32,
    /// Capped and redacted by the probe.
    pub evidence: String,
    /// When it started.
    pub started: MeshTime,
    /// When it ended; for `missed`, when the slot was given up.
    pub ended: MeshTime,
    /// Start to end, by the probe's monotonic clock.
    pub total: Duration,
}

/// The numbers of a check that votes depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Fails in a row that turn a region to fail.
    pub failures: u32,
    /// Passes in a row that turn it back.
    pub successes: u32,
    /// Among how many of the newest runs `failures` are counted. 0: in a row.
    pub failures_of: u32,
    /// The same for `successes`.
    pub successes_of: u32,
    /// Time between slots.
    pub interval: Duration,
    /// Of one run; of all samples when a slot has several.
    pub timeout: Duration,
}

impl Terms {
    /// The numbers of `check`.
    pub fn of(check: &Check) -> Self {
        Self {
            failures: check.policy.failures.max(1),
            successes: check.policy.successes.max(1),
            failures_of: check.policy.failures_of,
            successes_of: check.policy.successes_of,
            interval: check.interval,
            timeout: check.run.longest(check.interval),
        }
    }

    /// Those that streaks go by.
    pub fn streaks(&self) -> fold::Terms {
        let Self { failures, successes, failures_of, successes_of, interval, .. } = *self;
        fold::Terms { failures, successes, failures_of, successes_of, interval }
    }

    /// How long after one region turned every other has had its own slots to turn as well.
    pub fn all_had_their_turn(&self) -> Duration {
        let runs = self.failures.max(self.successes).max(self.failures_of).max(self.successes_of);
        self.interval * (runs + 1) + self.timeout + limits::STALE_GRACE
    }

    /// A watermark older than this makes a ballot stale.
    pub fn stale_after(&self) -> Duration {
        self.timeout + limits::STALE_GRACE
    }

    /// A ballot that got only `missed` for this long is stale.
    pub fn silent_after(&self) -> Duration {
        self.interval * 2 + self.stale_after()
    }

    /// How long one `missed` says that runs are being missed. When another does not follow within
    /// this, later slots were run, and passed: all else would have been sent.
    pub fn missed_holds(&self) -> Duration {
        self.interval + self.stale_after()
    }

    /// When a successor that is assigned at `now` has started its first run.
    pub fn successor_due(&self, now: MeshTime) -> MeshTime {
        now + self.interval.min(limits::FIRST_RUN_WITHIN_MAX)
    }
}

/// What a voter says of itself in a snapshot: its own fold, which has seen every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// For this version of the check.
    pub digest: RunDigest,
    /// The region's state as the probe counts it.
    pub state: BallotState,
    /// The end of the run that gave it that state.
    pub since: MeshTime,
    /// What it counts M of N in.
    pub counted: fold::Recent,
    /// The newest run of which it says so.
    pub until: u64,
}

/// What is known of a voter's session, as far as one check is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hearing {
    /// Every slot due before it has ended; absent until a session's snapshot is in.
    pub watermark: Option<MeshTime>,
    /// The oldest run of this check in flight, when there is one.
    pub in_flight: Option<MeshTime>,
    /// The voter may not vote.
    pub excluded: bool,
}

/// One region's ballot as a decision counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// What the region says; kept while stale, so that it can be shown.
    pub state: BallotState,
    /// Too old to count, by watermark or because slots were only missed.
    pub stale: bool,
    /// Not allowed to count.
    pub excluded: bool,
    /// Its probes do not agree: it was heard, and says neither.
    pub split: bool,
    /// When this changes by itself although its session goes on. The session's own watermark is
    /// not in it: the engine watches that once a session, not once a check.
    pub changes_at: Option<MeshTime>,
}

impl Vote {
    /// A region from which nothing was heard.
    pub const NONE: Self = Self {
        state: BallotState::None,
        stale: false,
        excluded: false,
        split: false,
        changes_at: None,
    };

    /// Whether it counts.
    pub fn is_fresh(&self) -> bool {
        !self.stale && !self.excluded && (self.state != BallotState::None || self.split)
    }
}

/// What folding a batch of outcomes did to a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folded {
    /// Something that a vote is made of changed.
    pub changed: bool,
    /// A scheduled run of the applied digest failed, and it is the first of its streak or the second:
    /// others should look now.
    pub asks: bool,
    /// The region was failing already.
    pub failed_before: bool,
    /// Who voted before, when the successor took over.
    pub replaced: Option<VoterId>,
}

/// A probe's place at a check's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    digest: RunDigest,
    voter: Option<VoterId>,
    assignee: Option<VoterId>,
    /// Set while the voter is no longer the assignee: how far its session's watermark may still
    /// speak for it. It runs the check no more, so its watermark says nothing about later slots.
    holds_until: Option<MeshTime>,
    /// At most two digests of each of voter, successor and one stranger.
    tracks: Vec<Track>,
    /// Up to which number of a voter digests were forgotten: a snapshot may tell of them again.
    forgotten: Vec<(VoterId, u64)>,
}

/// What was heard of a voter that sits elsewhere.
#[derive(Debug, Default)]
struct Stranger {
    tracks: Vec<Track>,
    forgotten: Vec<(VoterId, u64)>,
}

impl Seat {
    /// An empty seat that counts votes for `digest`.
    pub fn new(digest: RunDigest) -> Self {
        Self {
            digest,
            voter: None,
            assignee: None,
            holds_until: None,
            tracks: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    /// Whose vote counts.
    pub fn voter(&self) -> Option<VoterId> {
        self.voter
    }

    /// Who runs the check here: the voter, or the successor that was not heard yet.
    pub fn assignee(&self) -> Option<VoterId> {
        self.assignee
    }

    /// The digest whose votes count.
    pub fn digest(&self) -> RunDigest {
        self.digest
    }

    /// Whether it is this voter's, or something was heard here of it.
    pub fn knows(&self, voter: VoterId) -> bool {
        Some(voter) == self.voter
            || Some(voter) == self.assignee
            || self.tracks.iter().any(|track| track.voter == voter)
    }

    /// Whether somebody waits here whose place is not known.
    pub fn has_stranger(&self) -> bool {
        let (voter, assignee) = (self.voter, self.assignee);
        self.tracks.iter().any(|track| {
            let who = Some(track.voter);
            who != voter && who != assignee
        })
    }

    /// Takes out what was heard of somebody who sits elsewhere.
    fn take_stranger(&mut self, voter: VoterId) -> Stranger {
        if Some(voter) == self.voter || Some(voter) == self.assignee {
            return Stranger::default();
        }
        Stranger {
            tracks: self.tracks.extract_if(.., |track| track.voter == voter).collect(),
            forgotten: self.forgotten.extract_if(.., |(who, _)| *who == voter).collect(),
        }
    }

    fn receive(&mut self, stranger: Stranger) {
        self.tracks.extend(stranger.tracks);
        self.forgotten.extend(stranger.forgotten);
    }

    /// Votes are for `digest` from now on. Outcomes of it that came early count at once. What was
    /// heard of it before other versions ran does not count: an edit that is taken back starts
    /// with empty ballots.
    pub fn set_digest(&mut self, digest: RunDigest) {
        if digest == self.digest {
            return;
        }
        self.digest = digest;
        let mut voters: Vec<_> = self.tracks.iter().map(|track| track.voter).collect();
        voters.sort_unstable();
        voters.dedup();
        for voter in voters {
            self.forget_earlier_stint(voter);
        }
    }

    /// `assignee` runs the check here from now on. Who voted before goes on until the successor's
    /// first outcome (decision 15). `counts`: the vote of who voted before does now; see
    /// [`Seat::hear`].
    pub fn assign(
        &mut self,
        assignee: Option<VoterId>,
        counts: bool,
        terms: &Terms,
        now: MeshTime,
    ) {
        if assignee == self.assignee {
            return;
        }
        self.assignee = assignee;
        if self.voter.is_none() || self.voter == assignee {
            self.voter = assignee;
            self.holds_until = None;
        } else {
            self.holds_until.get_or_insert(terms.successor_due(now));
        }
        self.try_hand_over(counts, terms);
        self.forget_strangers(assignee);
    }

    /// Folds outcomes of one voter, in any order, each any number of times. With a snapshot comes
    /// what the voter itself `said`: it counts where nothing was known before.
    ///
    /// A successor takes over the state of a vote that `counts` now. One that is stale or excluded
    /// passes nothing on: somebody else's run must not make it fresh again (decision 8).
    pub fn hear(
        &mut self,
        voter: VoterId,
        records: impl IntoIterator<Item = Heard>,
        said: Option<Said>,
        counts: bool,
        terms: &Terms,
    ) -> Folded {
        if Some(voter) != self.voter && Some(voter) != self.assignee {
            self.forget_strangers(Some(voter));
        }
        let was = self.summary();
        let heard_before = self.tracks.iter().any(|track| track.voter == voter);
        let said = said.filter(|said| {
            let known = self.tracks.iter().filter(|track| track.voter == voter);
            let mut known = known.filter(|track| track.digest == said.digest);
            known.all(|track| track.fold().state == BallotState::None)
        });
        for heard in records {
            if let Some(number) = self.overtaken(voter, &heard) {
                *self.track_mut(voter, heard.digest) = Track::above(voter, heard.digest, number);
            }
            self.track_mut(voter, heard.digest).insert(heard, terms);
        }
        if !heard_before {
            // A snapshot may reach back beyond edits that this member never saw applied.
            self.forget_earlier_stint(voter);
        }
        for track in self.tracks.iter_mut().filter(|track| track.voter == voter) {
            track.catch_up(terms);
        }
        if let Some(said) = said {
            self.track_mut(voter, said.digest).adopt(&said, terms);
        }
        self.drop_old_digests(voter);
        let before = self.voter;
        let handed_over = Some(voter) == self.assignee && self.try_hand_over(counts, terms);
        let is = self.summary();
        // A state that did not pass on says nothing of this voter, and a streak that somebody else began is
        // not this voter's.
        let failed_before = was.state == BallotState::Fail && (counts || !handed_over);
        // One may end and another begin within what was heard at once.
        let began = handed_over || is.fails_from > was.last;
        let asked = if began { 0 } else { was.fails_scheduled };
        Folded {
            changed: was != is || handed_over,
            asks: asked < is.fails_scheduled && asked < limits::CONFIRMATIONS_A_STREAK_MAX,
            failed_before,
            replaced: before.filter(|_| handed_over),
        }
    }

    /// While no incident is open, one pass is enough for a region without a state (decision 8).
    pub fn settle(&mut self, incident_open: bool, terms: &Terms) {
        if incident_open {
            return;
        }
        if let Some(track) = self.voting_mut()
            && !track.accepts_one_pass()
            && track.has_ok()
        {
            track.accept_one_pass(terms);
        }
    }

    /// The vote at `now`, given what is known of its voter's session.
    pub fn vote(&self, hearing: &Hearing, terms: &Terms, now: MeshTime) -> Vote {
        let Some(_) = self.voter else { return Vote::NONE };
        let stale_after = terms.stale_after();
        let fold = self.summary();
        let heard_until = self.watermark(hearing);
        let old = heard_until.is_none_or(|mark| now.since(mark) > stale_after);
        // Own deadlines: those of this check, not of the whole session.
        let mut changes_at = [hearing.in_flight, self.holds_until]
            .into_iter()
            .flatten()
            .map(|mark| just_after(mark + stale_after))
            .filter(|&at| at > now)
            .min();
        let mut silent = false;
        if let Some(missing) = fold.missing {
            let from = missing.since + terms.silent_after();
            let until = just_after(missing.newest + terms.missed_holds());
            silent = from <= now && now < until;
            let next = [from, until].into_iter().filter(|&at| at > now && from < until).min();
            changes_at = changes_at.into_iter().chain(next).min();
        }
        Vote {
            state: fold.state,
            stale: old || silent,
            excluded: hearing.excluded,
            split: false,
            changes_at,
        }
    }

    /// Up to where the voter has told everything about this check.
    pub fn watermark(&self, hearing: &Hearing) -> Option<MeshTime> {
        let mark = hearing.watermark?;
        [Some(mark), hearing.in_flight, self.holds_until].into_iter().flatten().min()
    }

    /// What the voter's outcomes of the applied digest amount to.
    pub fn summary(&self) -> Fold {
        self.voting().map_or_else(Fold::default, |track| *track.fold())
    }

    /// The track whose state is the region's, when anything was heard.
    pub fn voting(&self) -> Option<&Track> {
        let voter = self.voter?;
        self.tracks.iter().find(|track| track.voter == voter && track.digest == self.digest)
    }

    fn voting_mut(&mut self) -> Option<&mut Track> {
        let voter = self.voter?;
        let digest = self.digest;
        self.tracks.iter_mut().find(|track| track.voter == voter && track.digest == digest)
    }

    fn track_mut(&mut self, voter: VoterId, digest: RunDigest) -> &mut Track {
        let found =
            self.tracks.iter().position(|track| track.voter == voter && track.digest == digest);
        let index = found.unwrap_or_else(|| {
            let forgotten = self.forgotten.iter().find(|(who, _)| *who == voter);
            let number = forgotten.map_or(0, |(_, number)| *number);
            self.tracks.push(Track::above(voter, digest, number));
            self.tracks.len() - 1
        });
        &mut self.tracks[index]
    }

    /// The number of the newest run of another version that lies between `heard` and what its own
    /// track holds: the version was replaced and came back, and starts anew. A run that only ended
    /// late, because it hung when the check was edited, started before and is no such run.
    fn overtaken(&self, voter: VoterId, heard: &Heard) -> Option<u64> {
        let of_voter = || self.tracks.iter().filter(|track| track.voter == voter);
        let own = of_voter().find(|track| track.digest == heard.digest)?;
        of_voter()
            .filter(|other| other.digest != heard.digest)
            .filter(|other| own.newest() < other.newest() && other.newest() < heard.number)
            .filter(|other| own.newest_started() < other.newest_started())
            .map(Track::newest)
            .max()
    }

    /// Empties the applied version's track of a voter that ran others since.
    fn forget_earlier_stint(&mut self, voter: VoterId) {
        let digest = self.digest;
        let of_voter = self.tracks.iter().filter(|track| track.voter == voter);
        let newest = of_voter.filter(|track| track.digest != digest).map(Track::newest).max();
        let Some(newest) = newest else { return };
        let own = self.track_mut(voter, digest);
        if own.newest() < newest {
            *own = Track::above(voter, digest, newest);
        }
        self.drop_old_digests(voter);
    }

    /// Makes the assignee the voter when it has told of a run. A `missed` is no run: it must not
    /// take the vote from a predecessor that knows something.
    fn try_hand_over(&mut self, counts: bool, terms: &Terms) -> bool {
        let Some(successor) = self.assignee else { return false };
        if self.voter == Some(successor) {
            return false;
        }
        if !self.tracks.iter().any(|track| track.voter == successor && track.fold().ran()) {
            return false;
        }
        let before = self.voter.replace(successor);
        self.holds_until = None;
        let mut inherited: Vec<_> =
            self.tracks.extract_if(.., |track| Some(track.voter) == before).collect();
        for old in inherited.drain(..).filter(|_| counts) {
            // The state passes on, the streak does not.
            if let Some(track) = self.tracks.iter_mut().find(|track| track.digest == old.digest) {
                track.inherit(old.fold(), terms);
            } else {
                self.tracks.push(Track::heir(successor, old.digest, old.fold()));
            }
        }
        true
    }

    /// Keeps one voter besides voter and assignee: somebody whose assignment another member
    /// already handed out.
    fn forget_strangers(&mut self, but: Option<VoterId>) {
        let (voter, assignee) = (self.voter, self.assignee);
        self.tracks.retain(|track| {
            let who = Some(track.voter);
            who == voter || who == assignee || who == but
        });
        self.forgotten.retain(|(who, _)| self.tracks.iter().any(|track| track.voter == *who));
    }

    /// The newest two digests of a voter are kept (decision 9).
    fn drop_old_digests(&mut self, voter: VoterId) {
        while self.tracks.iter().filter(|track| track.voter == voter).count() > 2 {
            let oldest = self
                .tracks
                .iter()
                .enumerate()
                .filter(|(_, track)| track.voter == voter)
                .min_by_key(|(_, track)| (track.newest(), track.digest))
                .map(|(index, _)| index);
            let Some(index) = oldest else { return };
            let number = self.tracks.remove(index).newest();
            match self.forgotten.iter_mut().find(|(who, _)| *who == voter) {
                Some(forgotten) => forgotten.1 = forgotten.1.max(number),
                None => self.forgotten.push((voter, number)),
            }
        }
    }
}

/// A ballot is stale when its watermark is *older* than the limit, so one nanosecond later.
fn just_after(at: MeshTime) -> MeshTime {
    at + Duration::from_nanos(1)
}

impl From<&Heard> for Mark<MeshTime> {
    fn from(heard: &Heard) -> Self {
        Self {
            number: heard.number,
            outcome: heard.outcome,
            ordered: heard.order != 0,
            ended: heard.ended,
        }
    }
}
