//! One check at the engine: its seats, its proposal under way, its confirmation.

use std::collections::BTreeMap;

use parallax_common::name::Uid;
use parallax_common::outcome::{BallotState, Verdict};
use parallax_common::record::Order;
use parallax_common::time::MeshTime;
use parallax_proto::v1;

use super::input::{Action, Output, Subject, VerdictDraft};
use super::link::Link;
use crate::core::ballots::{Heard, Hearing, Said, Seat, Terms, Vote, VoterId};
use crate::core::confirm::{self, Confirmation, Witness};
use crate::core::decide::{self, Decision, Open, Tally, record};
use crate::core::watchdog::{Survey, Witnessed};

/// Every voter by its number.
pub type Links = BTreeMap<VoterId, Link>;

/// A term as leader.
#[derive(Debug, Clone, Copy)]
pub struct Office {
    /// From here on silence is the target's or the probe's, no longer ours.
    pub settled_at: MeshTime,
    /// The newest order. Orders are numbered by the time they are given, so that two leaders do
    /// not use one number.
    pub last_order: u64,
    /// The newest proposal, of this and earlier terms.
    pub last_proposal: u64,
}

impl Office {
    fn next_order(&mut self, now: MeshTime) -> u64 {
        let by_time = u64::try_from(now.as_ns()).unwrap_or(0);
        self.last_order = by_time.max(self.last_order + 1);
        self.last_order
    }
}

/// One check.
#[derive(Debug)]
pub struct Entry {
    /// What is committed.
    pub subject: Subject,
    /// The numbers its votes depend on.
    pub terms: Terms,
    /// One a region, by rank.
    pub seats: Vec<Seat>,
    /// When it is decided again although nothing is heard.
    pub wake: Option<MeshTime>,
    /// The proposal under way: nothing else is proposed until it is settled.
    pub proposed: Option<u64>,
    /// The leader is new: fails that were known before are confirmed anew.
    pub owed: bool,
    /// The region that failed just now.
    first_failure: Option<usize>,
    confirmation: Option<Confirmation>,
}

impl Entry {
    /// A check nobody voted on. What `leader`s hear of it first may be old fails.
    pub fn new(subject: Subject, leader: bool) -> Self {
        let seat = Seat::new(subject.check.run_digest);
        Self {
            terms: Terms::of(&subject.check),
            seats: vec![seat; subject.check.regions.len()],
            subject,
            wake: None,
            proposed: None,
            owed: leader,
            first_failure: None,
            confirmation: None,
        }
    }

    /// The check was edited, or something was committed about it. Regions that stay keep their
    /// seats.
    pub fn update(&mut self, subject: Subject) {
        let (old, new) = (&self.subject, &subject);
        let moved = old.sequence != new.sequence
            || old.check.etag != new.check.etag
            || old.check.run_digest != new.check.run_digest;
        if moved {
            // Whatever is under way was decided on what is no more; apply ignores it.
            self.proposed = None;
        }
        if old.check.run_digest != new.check.run_digest || old.check.regions != new.check.regions {
            self.confirmation = None;
            self.first_failure = None;
            let digest = new.check.run_digest;
            let mut seats: BTreeMap<&str, Seat> = old
                .check
                .regions
                .iter()
                .map(String::as_str)
                .zip(std::mem::take(&mut self.seats))
                .collect();
            let seat = |region: &String| {
                let mut seat = seats.remove(region.as_str()).unwrap_or_else(|| Seat::new(digest));
                seat.set_digest(digest);
                seat
            };
            self.seats = new.check.regions.iter().map(seat).collect();
        }
        self.terms = Terms::of(&subject.check);
        self.subject = subject;
    }

    /// Gives every seat its assignee, by rank.
    pub fn assign(&mut self, assignees: &[Option<VoterId>], links: &Links, now: MeshTime) {
        for rank in 0..self.seats.len() {
            let counts = self.counts(rank, links, now);
            let assignee = assignees.get(rank).copied().flatten();
            self.seats[rank].assign(assignee, counts, &self.terms, now);
        }
    }

    /// Whether the vote of a region is neither stale nor excluded.
    fn counts(&self, rank: usize, links: &Links, now: MeshTime) -> bool {
        let seat = &self.seats[rank];
        let hearing = hearing(links, seat.voter(), &self.subject.check.uid);
        let vote = seat.vote(&hearing, &self.terms, now);
        !vote.stale && !vote.excluded
    }

    /// Everybody whose session this check depends on.
    pub fn voters(&self) -> Vec<VoterId> {
        self.seats.iter().flat_map(|seat| seat.voter().into_iter().chain(seat.assignee())).collect()
    }

    /// Folds what a voter of `region` said. Says whether the check is to be decided again, and who
    /// spoke for the region before when somebody else does now.
    pub fn hear(
        &mut self,
        voter: VoterId,
        region: &str,
        records: impl IntoIterator<Item = Heard>,
        said: Option<Said>,
        (links, now): (&Links, MeshTime),
    ) -> (bool, Option<VoterId>) {
        let rank = self.subject.check.regions.iter().position(|known| known == region);
        let Some(rank) = rank else { return (false, None) };
        let counts = self.counts(rank, links, now);
        let confirmation = &mut self.confirmation;
        let records = records.into_iter().inspect(|heard| {
            if let Some(confirmation) = confirmation.as_mut().filter(|_| heard.order != 0) {
                confirmation.heard(voter, heard.order);
            }
        });
        let folded = self.seats[rank].hear(voter, records, said, counts, &self.terms);
        if folded.first_failure {
            self.first_failure = Some(rank);
        }
        (folded.changed, folded.replaced)
    }

    /// A term begins or ends: nothing of the one before goes on.
    pub fn change_leader(&mut self, leader: bool) {
        self.proposed = None;
        self.owed = leader;
        self.first_failure = None;
        self.confirmation = None;
        self.wake = None;
    }

    /// Decides, and asks for what follows. Only the leader calls this.
    pub fn step(
        &mut self,
        links: &Links,
        office: &mut Office,
        now: MeshTime,
        out: &mut Vec<Output>,
    ) {
        let votes = self.votes(links, now);
        let open = Open {
            incident: self.subject.open_incident.is_some(),
            latched: self.subject.latched,
            said: self.subject.verdict,
            degraded: self.subject.degraded,
            settled: now >= office.settled_at || self.all_synced(links, now),
        };
        let decision = decide::decide(&self.subject.check.policy, &open, &votes, now);
        self.wake = decision.reconsider_at;
        self.confirm(&votes, &open, &decision, links, office, now, out);
        if decision.moves(&open) && self.proposed.is_none() {
            office.last_proposal += 1;
            self.proposed = Some(office.last_proposal);
            let ballots = self.ballots(&votes, links, now);
            out.push(Output::Propose(VerdictDraft {
                proposal: office.last_proposal,
                check: self.subject.check.uid,
                etag: self.subject.check.etag,
                digest: self.subject.check.run_digest,
                expected_sequence: self.subject.sequence,
                action: match (decision.opens, decision.resolves) {
                    (true, _) => Action::Open,
                    (_, true) => Action::Resolve,
                    _ => Action::Set,
                },
                record: record::record(&self.subject.check, &decision, ballots, now),
            }));
        }
    }

    /// Every region's ballot, for people.
    pub fn live_ballots(&self, links: &Links, now: MeshTime) -> Vec<v1::Ballot> {
        let uid = &self.subject.check.uid;
        let incident = self.subject.open_incident.is_some();
        let votes: Vec<_> = self
            .seats
            .iter()
            .map(|seat| {
                // As whoever leads would see it: who does not lead decides nothing, so nothing was
                // settled here.
                let mut seat = seat.clone();
                seat.settle(incident, &self.terms);
                seat.vote(&hearing(links, seat.voter(), uid), &self.terms, now)
            })
            .collect();
        self.ballots(&votes, links, now)
    }

    /// Tells what each region says that has made up its mind.
    pub fn survey(&self, links: &Links, now: MeshTime, survey: &mut Survey) {
        let check = &self.subject.check;
        let Some(step) = check.run.steps.first() else { return };
        let mut votes = Vec::new();
        for (region, seat) in check.regions.iter().zip(&self.seats) {
            let Some(link) = seat.voter().and_then(|voter| links.get(&voter)) else { continue };
            let vote = seat.vote(&link.hearing(&check.uid), &self.terms, now);
            let fails = match vote.state {
                BallotState::Fail => true,
                BallotState::Pass | BallotState::Warn => false,
                BallotState::None => continue,
            };
            // An excluded probe is no witness against others, but goes on to be compared with them.
            if !vote.stale {
                let probe = &*link.voter.probe;
                votes.push(Witnessed { region, probe, fails, excluded: vote.excluded });
            }
        }
        survey.take(step.kind.host(), &votes);
    }

    fn votes(&mut self, links: &Links, now: MeshTime) -> Vec<Vote> {
        let uid = self.subject.check.uid;
        let incident = self.subject.open_incident.is_some();
        let terms = self.terms;
        self.seats
            .iter_mut()
            .map(|seat| {
                seat.settle(incident, &terms);
                seat.vote(&hearing(links, seat.voter(), &uid), &terms, now)
            })
            .collect()
    }

    fn ballots(&self, votes: &[Vote], links: &Links, now: MeshTime) -> Vec<v1::Ballot> {
        let uid = &self.subject.check.uid;
        let regions = &self.subject.check.regions;
        regions
            .iter()
            .zip(&self.seats)
            .zip(votes)
            .map(|((region, seat), vote)| {
                let link = seat.voter().and_then(|voter| links.get(&voter));
                let from = link.map(|link| record::Speaker {
                    probe: &link.voter.probe,
                    incarnation: link.voter.incarnation.0,
                });
                record::ballot(region, from, seat, vote, &hearing(links, seat.voter(), uid), now)
            })
            .collect()
    }

    /// Whether everybody who votes has told everything, and still speaks: a lane that is half open
    /// told everything once.
    fn all_synced(&self, links: &Links, now: MeshTime) -> bool {
        let stale_after = self.terms.stale_after();
        let speaks = |link: &Link| {
            link.is_synced() && link.watermark().is_some_and(|at| now.since(at) <= stale_after)
        };
        let mut assignees = self.seats.iter().filter_map(Seat::assignee);
        assignees.all(|voter| links.get(&voter).is_some_and(speaks))
    }

    #[allow(clippy::too_many_arguments, reason = "all of one decision, used once")]
    fn confirm(
        &mut self,
        votes: &[Vote],
        open: &Open,
        decision: &Decision,
        links: &Links,
        office: &mut Office,
        now: MeshTime,
        out: &mut Vec<Output>,
    ) {
        let first = self.first_failure.take();
        if self.confirmation.as_ref().is_some_and(|confirmation| confirmation.is_over(now)) {
            self.confirmation = None;
        }
        self.owed &= now < office.settled_at;
        let decided = open.incident || is_down(&decision.tally, decision);
        if decided || self.confirmation.is_some() || (first.is_none() && !self.owed) {
            return;
        }
        let speaks = |rank: usize| !votes[rank].stale && !votes[rank].excluded;
        let failing = |rank: usize| match first {
            Some(first) => rank == first && speaks(rank),
            None => speaks(rank) && self.seats[rank].summary().fails > 0,
        };
        if !(0..self.seats.len()).any(failing) {
            return;
        }
        let reachable = |seat: &Seat| {
            let voter = seat.assignee()?;
            links.get(&voter).filter(|link| link.is_open() && !link.excluded).map(|_| voter)
        };
        let witnesses: Vec<_> = self
            .seats
            .iter()
            .enumerate()
            .map(|(rank, seat)| Witness { reachable: reachable(seat), failing: failing(rank) })
            .collect();
        let check = &self.subject.check;
        let runs = confirm::runs(&witnesses, self.terms.failures);
        self.owed = false;
        if runs.is_empty() {
            return;
        }
        let number = office.next_order(now);
        for (voter, count) in &runs {
            out.push(Output::Order {
                to: links[voter].voter.clone(),
                order: Order {
                    order: number,
                    check: check.uid,
                    run_digest: check.run_digest,
                    generation: self.subject.generation,
                    count: *count,
                    spacing: check.confirm_spacing,
                    expires: parallax_common::limits::ORDER_EXPIRES,
                    ordered: Some(now),
                },
            });
        }
        self.confirmation = Some(Confirmation::start(number, check, &runs, now));
    }
}

fn is_down(tally: &Tally, decision: &Decision) -> bool {
    tally.failing >= decision.rule.down_at || decision.verdict == Verdict::Down
}

fn hearing(links: &Links, voter: Option<VoterId>, check: &Uid) -> Hearing {
    voter.and_then(|voter| links.get(&voter)).map_or_else(Hearing::default, |l| l.hearing(check))
}
