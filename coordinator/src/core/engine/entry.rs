//! One check at the engine: its regions' panels, its proposal under way, its confirmation.

use std::collections::BTreeMap;

use parallax_common::name::Uid;
use parallax_common::outcome::{BallotState, Verdict};
use parallax_common::record::Order;
use parallax_common::time::MeshTime;
use parallax_proto::v1;

use super::input::{Action, Output, Subject, VerdictDraft};
use super::link::Link;
use crate::core::ballots::panel::Panel;
use crate::core::ballots::{Heard, Hearing, Said, Seat, Terms, Vote, VoterId};
use crate::core::confirm::{self, Confirmation, Witness};
use crate::core::decide::calm::Calm;
use crate::core::decide::doubt::{Doubt, Due};
use crate::core::decide::rule::Rule;
use crate::core::decide::{self, Decision, Open, Tally, record};
use crate::core::watchdog::{self, Shares, Survey, Witnessed};

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

/// A scheduled failure about which others are to be asked.
#[derive(Debug, Clone, Copy)]
struct ToConfirm {
    /// Who saw it.
    voter: VoterId,
    /// Its region was failing already.
    failed_before: bool,
}

/// One check.
#[derive(Debug)]
pub struct Entry {
    /// What is committed.
    pub subject: Subject,
    /// The numbers its votes depend on.
    pub terms: Terms,
    /// One a region: by rank those that count, after them the advisory ones.
    pub panels: Vec<Panel>,
    /// When it is decided again although nothing is heard.
    pub wake: Option<MeshTime>,
    /// The proposal under way: nothing else is proposed until it is settled.
    pub proposed: Option<u64>,
    /// The leader is new: fails that were known before are confirmed anew.
    pub owed: bool,
    /// Who saw it fail, when nobody else was asked about that yet, in the order in which they did: what the last
    /// of them saw may have been a lost run and no failure.
    to_confirm: Vec<ToConfirm>,
    confirmation: Option<Confirmation>,
    /// What holds the end of its incident back.
    calm: Calm,
    /// How long it has been in doubt, of a canary.
    doubt: Doubt,
}

impl Entry {
    /// A check nobody voted on. What `leader`s hear of it first may be old fails.
    pub fn new(subject: Subject, leader: bool) -> Self {
        let panel = Panel::new(subject.check.run_digest);
        Self {
            terms: Terms::of(&subject.check),
            panels: vec![panel; subject.check.looks_from().count()],
            subject,
            wake: None,
            proposed: None,
            owed: leader,
            to_confirm: Vec::new(),
            confirmation: None,
            calm: Calm::default(),
            doubt: Doubt::default(),
        }
    }

    /// The check was edited, or something was committed about it. Regions that stay keep their
    /// panels, also those that count from now on, or no longer do.
    pub fn update(&mut self, subject: Subject) {
        let (old, new) = (&self.subject, &subject);
        let moved = old.sequence != new.sequence
            || old.check.etag != new.check.etag
            || old.check.run_digest != new.check.run_digest;
        if moved {
            // Whatever is under way was decided on what is no more; apply ignores it.
            self.proposed = None;
        }
        if old.check.run_digest != new.check.run_digest
            || old.check.regions != new.check.regions
            || old.check.advisory_regions != new.check.advisory_regions
        {
            self.confirmation = None;
            self.to_confirm.clear();
            let digest = new.check.run_digest;
            let mut panels: BTreeMap<&str, Panel> = old
                .check
                .looks_from()
                .map(String::as_str)
                .zip(std::mem::take(&mut self.panels))
                .collect();
            let panel = |region: &String| {
                let kept = panels.remove(region.as_str());
                let mut panel = kept.unwrap_or_else(|| Panel::new(digest));
                panel.set_digest(digest);
                panel
            };
            self.panels = new.check.looks_from().map(panel).collect();
        }
        if old.check.run_digest != new.check.run_digest {
            self.doubt = Doubt::default();
        }
        if old.open_incident != new.open_incident {
            self.calm = Calm::default();
        }
        self.terms = Terms::of(&subject.check);
        self.subject = subject;
    }

    /// Gives every region its assignees, by place as the plan has them.
    pub fn assign(&mut self, assignees: &[Option<VoterId>], links: &Links, now: MeshTime) {
        let (uid, terms) = (self.subject.check.uid, self.terms);
        let wanted = self.subject.check.probes_per_region.max(1) as usize;
        let mut regions = assignees.chunks(wanted);
        let probe = |id: VoterId| links.get(&id).map(|link| &link.voter.probe);
        let same_probe = |one, other| probe(one).is_some() && probe(one) == probe(other);
        for panel in &mut self.panels {
            let here: Vec<VoterId> =
                regions.next().unwrap_or_default().iter().copied().flatten().collect();
            panel.assign(
                &here,
                same_probe,
                |seat| counts(seat, &terms, links, &uid, now),
                &terms,
                now,
            );
        }
    }

    /// Everybody whose session this check depends on.
    pub fn voters(&self) -> Vec<VoterId> {
        self.panels.iter().flat_map(Panel::voters).collect()
    }

    /// Whether the check is looked at from this region, as far as this member knows.
    pub fn looks_from(&self, region: &str) -> bool {
        self.subject.check.looks_from().any(|known| known == region)
    }

    /// Folds what a voter of `region` said. Says whether the check is to be decided again, and who
    /// spoke before when somebody else does now.
    pub fn hear(
        &mut self,
        voter: VoterId,
        region: &str,
        records: impl IntoIterator<Item = Heard>,
        said: Option<Said>,
        (links, now): (&Links, MeshTime),
    ) -> (bool, Option<VoterId>) {
        let (uid, terms) = (self.subject.check.uid, self.terms);
        let place = self.subject.check.looks_from().position(|known| known == region);
        let Some(place) = place else { return (false, None) };
        let confirmation = &mut self.confirmation;
        let records = records.into_iter().inspect(|heard| {
            if let Some(confirmation) = confirmation.as_mut().filter(|_| heard.order != 0) {
                confirmation.heard(voter, heard.order);
            }
        });
        let counts = |seat: &Seat| counts(seat, &terms, links, &uid, now);
        let folded = self.panels[place].hear(voter, records, said, counts, &terms);
        // What an advisory region sees is asked of nobody else.
        if folded.asks && !self.subject.check.is_advisory(place) {
            let failed_before = folded.failed_before;
            // Who does not lead keeps them, too: no more than have a seat.
            let panels = &self.panels;
            self.to_confirm.retain(|known| {
                known.voter != voter
                    && panels.iter().flat_map(Panel::voters).any(|it| it == known.voter)
            });
            self.to_confirm.push(ToConfirm { voter, failed_before });
        }
        (folded.changed, folded.replaced)
    }

    /// A term begins or ends: nothing of the one before goes on.
    pub fn change_leader(&mut self, leader: bool) {
        self.proposed = None;
        self.owed = leader;
        self.to_confirm.clear();
        self.confirmation = None;
        self.wake = None;
        self.calm = Calm::default();
        self.doubt = Doubt::default();
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
        let counted: Vec<Vote> = self.counted(&votes).map(|one| Panel::together(one)).collect();
        let mut decision = decide::decide(&self.subject.check.policy, &open, &counted, now);
        self.calm.hold(&mut decision, &open, &self.subject.calm, now);
        // What it says is about probes: the watchdog's affair, and no incident.
        let canary = self.subject.check.run.canary.is_some();
        decision.opens &= !canary;
        let lasts = self.subject.lasting_due.filter(|_| !canary && lasts(&decision, &open));
        let doubt = self.doubt.step(self.doubts(&votes), self.subject.doubted, now);
        let doubt_due = if let Due::At(due) = doubt { Some(due) } else { None };
        let wakes = [decision.reconsider_at, lasts.filter(|due| *due > now), doubt_due];
        self.wake = wakes.into_iter().flatten().min();
        self.confirm(&votes, &open, &decision, links, office, now, out);
        let opens_lasting = lasts.is_some_and(|due| due <= now);
        let moves_doubt = matches!(doubt, Due::Begin | Due::End);
        if (decision.moves(&open) || opens_lasting || moves_doubt) && self.proposed.is_none() {
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
                    _ if opens_lasting => Action::OpenLasting,
                    _ if doubt == Due::Begin => Action::OpenDoubt,
                    _ if doubt == Due::End => Action::EndDoubt,
                    _ => Action::Set,
                },
                record: record::record(&self.subject.check, &decision, ballots, now),
            }));
        }
    }

    /// Every region's ballot, for people.
    pub fn live_ballots(&self, links: &Links, now: MeshTime) -> Vec<v1::Ballot> {
        self.ballots(&self.live_votes(links, now), links, now)
    }

    /// Tells what each probe says that has made up its mind.
    pub fn survey(&self, links: &Links, now: MeshTime, survey: &mut Survey) {
        let check = &self.subject.check;
        let Some(step) = check.run.steps.first() else { return };
        let mut votes = Vec::new();
        // Advisory regions are no witnesses, and nothing that they see is held against them.
        let regions = check.regions.iter().zip(&self.panels);
        let seats =
            regions.flat_map(|(region, panel)| panel.seats().iter().map(move |of| (region, of)));
        for (region, seat) in seats {
            let Some(link) = seat.voter().and_then(|voter| links.get(&voter)) else { continue };
            let vote = seat.vote(&link.hearing(&check.uid), &self.terms, now);
            let fails = match vote.state {
                BallotState::Fail => true,
                BallotState::Pass | BallotState::Warn => false,
                BallotState::None => continue,
            };
            if vote.stale {
                continue;
            }
            let young = now.since(seat.summary().since) < self.terms.all_had_their_turn();
            // An excluded probe is no witness against others, but goes on to be compared with them.
            let (probe, excluded) = (&*link.voter.probe, vote.excluded);
            votes.push(Witnessed { region, probe, fails, excluded, young });
        }
        match check.run.canary {
            Some(_) => survey.take_canary(&votes),
            None => survey.take(step.kind.host(), &votes),
        }
    }

    /// Of a canary: whether half of the regions that look at it, or more, do not see its known answer, each
    /// probe for its share. Nothing where fewer than half of them are heard at all. That a vote has just turned is no
    /// doubt here, unlike at the watchdog: what is told to people has lasted.
    fn doubts(&self, votes: &[Vec<Vote>]) -> Option<bool> {
        self.subject.check.run.canary?;
        let is_fresh = |vote: &Vote| !vote.stale && vote.state != BallotState::None;
        let mut unseen = Shares::new();
        for (region, votes) in self.subject.check.regions.iter().zip(votes) {
            votes.iter().filter(|vote| is_fresh(vote)).for_each(|vote| {
                watchdog::share(&mut unseen, region, vote.state == BallotState::Fail);
            });
        }
        let heard = votes.iter().filter(|votes| votes.iter().any(is_fresh)).count();
        (heard > 0 && heard * 2 >= votes.len()).then(|| watchdog::is_half(&unseen))
    }

    /// Whether as many regions fail now as make it down; of a canary, whether it is in doubt.
    pub fn still_failing(&self, links: &Links, now: MeshTime) -> bool {
        let votes = self.live_votes(links, now);
        if self.subject.check.run.canary.is_some() {
            return self.doubts(&votes) == Some(true);
        }
        let counted: Vec<Vote> = self.counted(&votes).map(|one| Panel::together(one)).collect();
        let policy = &self.subject.check.policy;
        let tally = Tally::count(&counted, policy.missing);
        tally.failing >= Rule::of(policy, counted.len()).down_at
    }

    /// As whoever leads would see them: who does not lead decides nothing, so nothing was settled here.
    fn live_votes(&self, links: &Links, now: MeshTime) -> Vec<Vec<Vote>> {
        let uid = self.subject.check.uid;
        let incident = self.subject.open_incident.is_some();
        let hearing = |seat: &Seat| hearing(links, seat.voter(), &uid);
        self.panels
            .iter()
            .map(|panel| {
                let mut panel = panel.clone();
                panel.settle(incident, &self.terms);
                panel.votes(hearing, &self.terms, now)
            })
            .collect()
    }

    /// What each seat says, by region.
    fn votes(&mut self, links: &Links, now: MeshTime) -> Vec<Vec<Vote>> {
        let uid = self.subject.check.uid;
        let incident = self.subject.open_incident.is_some();
        let terms = self.terms;
        let hearing = |seat: &Seat| hearing(links, seat.voter(), &uid);
        self.panels
            .iter_mut()
            .map(|panel| {
                panel.settle(incident, &terms);
                panel.votes(hearing, &terms, now)
            })
            .collect()
    }

    /// Those of regions that count.
    fn counted<'a>(&self, votes: &'a [Vec<Vote>]) -> impl Iterator<Item = &'a Vec<Vote>> {
        votes.iter().take(self.subject.check.regions.len())
    }

    fn ballots(&self, votes: &[Vec<Vote>], links: &Links, now: MeshTime) -> Vec<v1::Ballot> {
        let check = &self.subject.check;
        let regions = check.looks_from().zip(&self.panels).zip(votes).enumerate();
        regions
            .map(|(place, ((region, panel), votes))| {
                let of = |seat: &Seat, vote: &Vote| {
                    let link = seat.voter().and_then(|voter| links.get(&voter));
                    let from = link.map(|link| record::Speaker {
                        probe: &link.voter.probe,
                        incarnation: link.voter.incarnation.0,
                    });
                    let hearing = hearing(links, seat.voter(), &check.uid);
                    record::ballot(region, from, seat, vote, &hearing, now)
                };
                let one = panel.seats().iter().zip(votes).map(|(seat, vote)| of(seat, vote));
                let mut ballot = record::of_region(&Panel::together(votes), one.collect());
                ballot.advisory = check.is_advisory(place);
                ballot
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
        let counted = self.panels.iter().take(self.subject.check.regions.len());
        let mut assignees = counted.flat_map(Panel::seats).filter_map(Seat::assignee);
        assignees.all(|voter| links.get(&voter).is_some_and(speaks))
    }

    #[allow(clippy::too_many_arguments, reason = "all of one decision, used once")]
    fn confirm(
        &mut self,
        votes: &[Vec<Vote>],
        open: &Open,
        decision: &Decision,
        links: &Links,
        office: &mut Office,
        now: MeshTime,
        out: &mut Vec<Output>,
    ) {
        if self.confirmation.as_ref().is_some_and(|confirmation| confirmation.is_over(now)) {
            self.confirmation = None;
        }
        self.owed &= now < office.settled_at;
        if open.incident || is_down(&decision.tally, decision) {
            self.to_confirm.clear();
            return;
        }
        if let Some(confirmation) = &self.confirmation {
            // What it has asked may have been answered before this failure began: it waits for the next.
            let next = (!self.to_confirm.is_empty()).then(|| confirmation.until());
            self.wake = self.wake.into_iter().chain(next).min();
            return;
        }
        // A partial failure that several see is not asked about again and again: each time is a chance for
        // lost runs to make an outage of it.
        let several = decision.tally.failing > 1;
        let fails =
            |seat: &Seat, vote: &Vote| seat.summary().fails > 0 && !vote.stale && !vote.excluded;
        let still_fails = |voter: VoterId| {
            let counted = self.panels.iter().zip(self.counted(votes));
            let mut seats = counted.flat_map(|(panel, votes)| panel.seats().iter().zip(votes));
            seats.any(|(seat, vote)| seat.voter() == Some(voter) && fails(seat, vote))
        };
        let asks = |it: &&ToConfirm| !(it.failed_before && several) && still_fails(it.voter);
        let first = self.to_confirm.iter().find(asks).map(|it| it.voter);
        self.to_confirm.clear();
        if first.is_none() && !self.owed {
            return;
        }
        let reachable = |seat: &Seat| {
            let voter = seat.assignee()?;
            links.get(&voter).filter(|link| link.is_open() && !link.excluded).map(|_| voter)
        };
        let failing = |seat: &Seat, vote: &Vote| {
            let meant = first.is_none_or(|first| seat.voter() == Some(first));
            meant && fails(seat, vote)
        };
        let seats = self.panels.iter().zip(self.counted(votes));
        let witnesses: Vec<_> = seats
            .flat_map(|(panel, votes)| panel.seats().iter().zip(votes))
            .map(|(seat, vote)| Witness {
                reachable: reachable(seat),
                failing: failing(seat, vote),
            })
            .collect();
        if !witnesses.iter().any(|witness| witness.failing) {
            return;
        }
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

/// Whether what a seat says is neither stale nor excluded.
fn counts(seat: &Seat, terms: &Terms, links: &Links, check: &Uid, now: MeshTime) -> bool {
    let vote = seat.vote(&hearing(links, seat.voter(), check), terms, now);
    !vote.stale && !vote.excluded
}

fn is_down(tally: &Tally, decision: &Decision) -> bool {
    tally.failing >= decision.rule.down_at || decision.verdict == Verdict::Down
}

fn hearing(links: &Links, voter: Option<VoterId>, check: &Uid) -> Hearing {
    voter.and_then(|voter| links.get(&voter)).map_or_else(Hearing::default, |l| l.hearing(check))
}

/// Whether the verdict stays the `degraded` that it was.
fn lasts(decision: &Decision, open: &Open) -> bool {
    let is_same = !decision.moves(open) && !decision.held;
    is_same && !open.incident && decision.verdict == Verdict::Degraded
}
