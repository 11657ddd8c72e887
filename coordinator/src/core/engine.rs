//! The single owner of everything that decides: folds what sessions say, counts, orders, proposes.
//!
//! One call a fact: [`Engine::handle`] takes an [`Input`] and appends what follows. Every member
//! folds, so that a new leader is warm; only the leader decides. Nothing is polled: [`Engine::wake_at`]
//! names the next instant at which something changes without being heard of. Work for an
//! outcome is a few map look-ups; a heartbeat costs the runs it names, whatever the number of
//! checks that pass.
//!
//! What is told and asked is in [`input`], sessions in [`link`], one check in [`entry`].

pub mod entry;
pub mod input;
pub mod link;
pub mod unheard;

#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use parallax_common::limits;
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parallax_proto::v1;

use self::entry::{Entry, Links, Office};
pub use self::input::{
    Action, CheckSnapshot, Heartbeat, Input, Output, Subject, VerdictDraft, Voter,
};
use self::link::Link;
use self::unheard::Unheard;
use super::ballots::{Heard, Said, VoterId};
use super::watchdog::Survey;
use crate::mutant::{self, Mutant};

/// Something that changes at a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The grace of a start or a change of leader is over.
    Settled,
    /// A voter's watermark becomes too old.
    Link(VoterId),
    /// A check's ballots change by themselves.
    Check(Uid),
}

/// Ballots, decisions and confirmations of every check.
#[derive(Debug)]
pub struct Engine {
    leader: bool,
    office: Office,
    checks: BTreeMap<Uid, Entry>,
    links: Links,
    ids: BTreeMap<Voter, VoterId>,
    next_id: u64,
    unheard: Unheard,
    due: BTreeSet<(MeshTime, Due)>,
    decisions: u64,
}

impl Engine {
    /// An engine that knows nothing yet. As leader it has the grace of a start.
    pub fn new(now: MeshTime, leader: bool) -> Self {
        let mut engine = Self {
            leader: false,
            office: Office { settled_at: now, last_order: 0, last_proposal: 0 },
            checks: BTreeMap::new(),
            links: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_id: 1,
            unheard: Unheard::default(),
            due: BTreeSet::new(),
            decisions: 0,
        };
        if leader {
            engine.change_leader(true, now, &mut Vec::new());
        }
        engine
    }

    /// Takes one fact and appends what is to be done about it.
    pub fn handle(&mut self, input: Input, now: MeshTime, out: &mut Vec<Output>) {
        match input {
            Input::Subject(subject) if !subject.check.enabled => self.remove(subject.check.uid),
            Input::Subject(subject) => self.subject(subject, now, out),
            Input::Remove(check) => self.remove(check),
            Input::Plan(generation) => {
                for entry in self.checks.values_mut() {
                    entry.subject.generation = generation;
                }
            }
            Input::SessionStarted(voter, session) => self.link_mut(&voter).1.started(session),
            Input::SessionEnded(voter, session) => {
                if let Some(&id) = self.ids.get(&voter) {
                    self.links.entry(id).and_modify(|link| link.ended(session));
                    self.forget_idle(id);
                }
            }
            Input::Snapshot { voter, session, live_sequence, whole, last, checks } => {
                let (id, _) = self.link_mut(&voter);
                for CheckSnapshot { check, said, recent, next_number } in checks {
                    let known = recent.into_iter().filter(|heard| heard.number < next_number);
                    self.hear(id, &voter.region, check, known, Some(said), now, out);
                }
                self.link_mut(&voter).1.snapshot(session, live_sequence, whole, last);
                self.crossed(id, now, out);
                if whole && last {
                    // Its heartbeat may have come before, with enough for what was held back.
                    self.touch_all_of(id, now, out);
                }
            }
            Input::Outcomes { voter, session, first_sequence, records } => {
                let (id, link) = self.link_mut(&voter);
                let broken = link.records(session, first_sequence, records.len()).is_err();
                for heard in records {
                    let check = heard.check;
                    let one = std::iter::once(heard);
                    self.hear(id, &voter.region, check, one, None, now, out);
                }
                if broken {
                    self.resync(id, voter, session, now, out);
                }
            }
            Input::Heartbeat { voter, session, heartbeat } => {
                self.heartbeat(voter, session, &heartbeat, now, out);
            }
            Input::Exclude { voter, excluded } => {
                let (id, link) = self.link_mut(&voter);
                link.excluded = excluded;
                self.touch_all_of(id, now, out);
                self.forget_idle(id);
            }
            Input::Leadership(leader) => self.change_leader(leader, now, out),
            Input::ProposalSettled { check, proposal } => {
                if let Some(entry) = self.checks.get_mut(&check)
                    && entry.proposed == Some(proposal)
                {
                    entry.proposed = None;
                    self.touch(check, now, out);
                }
            }
            Input::Wake => self.wake(now, out),
        }
    }

    /// When [`Input::Wake`] is due. Followers have nothing to wake for.
    pub fn wake_at(&self) -> Option<MeshTime> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Every region's ballot on a check as it stands at `now`, by rank. Empty for an unknown check.
    pub fn live_ballots(&self, check: Uid, now: MeshTime) -> Vec<v1::Ballot> {
        self.checks.get(&check).map_or_else(Vec::new, |entry| entry.live_ballots(&self.links, now))
    }

    /// Shows a survey so many checks, from one uid on or from the first, and says with which to go on;
    /// nothing when those were the last.
    pub fn survey(
        &self,
        from: Option<Uid>,
        checks: usize,
        now: MeshTime,
        survey: &mut Survey,
    ) -> Option<Uid> {
        let first = from.map_or(Bound::Unbounded, Bound::Included);
        let mut entries = self.checks.range((first, Bound::Unbounded));
        for (_, entry) in entries.by_ref().take(checks) {
            entry.survey(&self.links, now, survey);
        }
        entries.next().map(|(uid, _)| *uid)
    }
    /// Whether as many regions fail now as make a check down. Not of an unknown check.
    pub fn still_failing(&self, check: Uid, now: MeshTime) -> bool {
        self.checks.get(&check).is_some_and(|entry| entry.still_failing(&self.links, now))
    }

    /// Up to where a voter has told everything; absent before its first snapshot.
    pub fn watermark_of(&self, voter: &Voter) -> Option<MeshTime> {
        self.links.get(self.ids.get(voter)?)?.watermark()
    }

    /// How often a check was decided since the start.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    fn subject(&mut self, subject: Subject, now: MeshTime, out: &mut Vec<Output>) {
        let uid = subject.check.uid;
        let assignees: Vec<_> = subject
            .assignees
            .iter()
            .map(|assignee| assignee.as_ref().map(|voter| self.link_mut(voter).0))
            .collect();
        let mut before = Vec::new();
        let entry = match self.checks.entry(uid) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Entry::new(subject, self.leader))
            }
            std::collections::btree_map::Entry::Occupied(place) => {
                let entry = place.into_mut();
                before = entry.voters();
                unwatch(&mut self.links, &before, entry);
                entry.update(subject);
                entry
            }
        };
        entry.assign(&assignees, &self.links, now);
        watch(&mut self.links, entry, now);
        let voters = entry.voters();
        for id in self.unheard.learnt(&uid, &voters) {
            out.extend(self.links.get(&id).map(|link| Output::Ask(link.voter.clone())));
        }
        before.extend(assignees.into_iter().flatten());
        for id in before {
            self.crossed(id, now, out);
            self.forget_idle(id);
        }
        self.touch(uid, now, out);
    }

    fn remove(&mut self, check: Uid) {
        self.unheard.removed(&check);
        let Some(entry) = self.checks.remove(&check) else { return };
        if let Some(at) = entry.wake {
            self.due.remove(&(at, Due::Check(check)));
        }
        let voters = entry.voters();
        unwatch(&mut self.links, &voters, &entry);
        for id in voters {
            self.forget_idle(id);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one fact, taken apart")]
    fn hear(
        &mut self,
        id: VoterId,
        region: &str,
        check: Uid,
        records: impl IntoIterator<Item = Heard>,
        said: Option<Said>,
        now: MeshTime,
        out: &mut Vec<Output>,
    ) {
        let known = self.checks.get_mut(&check).filter(|entry| entry.looks_from(region));
        let Some(entry) = known else {
            // That a probe has the check and no run of it yet is no loss.
            let spoke = said.is_none_or(|said| said.until > 0);
            if spoke && !mutant::on(Mutant::UnheardNotAsked) {
                self.unheard.note(check, id);
            }
            return;
        };
        let (changed, replaced) = entry.hear(id, region, records, said, (&self.links, now));
        // It may sit elsewhere by now.
        if let Some(old) = replaced.filter(|old| !entry.voters().contains(old)) {
            unwatch(&mut self.links, &[old], entry);
            self.forget_idle(old);
        }
        if changed {
            self.touch(check, now, out);
        }
    }

    fn heartbeat(
        &mut self,
        voter: Voter,
        session: u64,
        heartbeat: &Heartbeat,
        now: MeshTime,
        out: &mut Vec<Output>,
    ) {
        let (id, link) = self.link_mut(&voter);
        let was_synced = link.is_synced();
        let Ok(hung) = link.heartbeat(session, heartbeat, now) else {
            self.resync(id, voter, session, now, out);
            return;
        };
        let synced = !was_synced && link.is_synced();
        for check in hung {
            self.touch(check, now, out);
        }
        if self.leader {
            for (check, _, scheduled) in &heartbeat.started {
                let Some(entry) = self.checks.get_mut(check) else { continue };
                let at = *scheduled + entry.terms.stale_after() + Duration::from_nanos(1);
                if entry.wake.is_none_or(|wake| at < wake) {
                    let old = entry.wake.replace(at);
                    self.rearm(old, Some(at), Due::Check(*check));
                }
            }
        }
        self.crossed(id, now, out);
        if synced {
            // Enough may be in for what was held back.
            self.touch_all_of(id, now, out);
        }
    }

    fn resync(
        &mut self,
        id: VoterId,
        voter: Voter,
        session: u64,
        now: MeshTime,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Resync(voter, session));
        self.crossed(id, now, out);
    }

    fn change_leader(&mut self, leader: bool, now: MeshTime, out: &mut Vec<Output>) {
        self.leader = leader;
        self.due.clear();
        for entry in self.checks.values_mut() {
            entry.change_leader(leader);
        }
        for link in self.links.values_mut() {
            link.wake = None;
        }
        if !leader {
            return;
        }
        self.office.settled_at = now + limits::START_GRACE;
        self.due.insert((self.office.settled_at, Due::Settled));
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.arm_link(id, now);
        }
        self.touch_every(now, out);
    }

    fn wake(&mut self, now: MeshTime, out: &mut Vec<Output>) {
        while let Some((_, due)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.pop_first();
            match due {
                Due::Settled => self.touch_every(now, out),
                Due::Link(id) => {
                    self.links.entry(id).and_modify(|link| link.wake = None);
                    self.crossed(id, now, out);
                }
                Due::Check(check) => {
                    self.checks.entry(check).and_modify(|entry| entry.wake = None);
                    self.touch(check, now, out);
                }
            }
        }
    }

    /// Looks at the checks for which a voter's watermark crossed the line, either way.
    fn crossed(&mut self, id: VoterId, now: MeshTime, out: &mut Vec<Output>) {
        for check in self.arm_link(id, now) {
            self.touch(check, now, out);
        }
    }

    fn touch_all_of(&mut self, id: VoterId, now: MeshTime, out: &mut Vec<Output>) {
        for check in self.links.get(&id).map_or_else(Vec::new, Link::checks) {
            self.touch(check, now, out);
        }
    }

    fn touch_every(&mut self, now: MeshTime, out: &mut Vec<Output>) {
        for check in self.checks.keys().copied().collect::<Vec<_>>() {
            self.touch(check, now, out);
        }
    }

    /// Decides a check anew.
    fn touch(&mut self, check: Uid, now: MeshTime, out: &mut Vec<Output>) {
        if !self.leader && !mutant::on(Mutant::FollowerDecides) {
            return;
        }
        let Some(entry) = self.checks.get_mut(&check) else { return };
        self.decisions += 1;
        let old = entry.wake;
        entry.step(&self.links, &mut self.office, now, out);
        let new = entry.wake;
        self.rearm(old, new, Due::Check(check));
    }

    /// Sets a voter's alarm, and returns the checks for which something crossed the line.
    fn arm_link(&mut self, id: VoterId, now: MeshTime) -> Vec<Uid> {
        let Some(link) = self.links.get_mut(&id) else { return Vec::new() };
        let (crossed, next) = link.crossed(now);
        // An alarm that is too early only asks again: no need to move it with every heartbeat.
        let keeps = link.wake.is_some_and(|at| at > now && next.is_some_and(|next| at <= next));
        if self.leader && !keeps {
            let old = std::mem::replace(&mut link.wake, next);
            self.rearm(old, next, Due::Link(id));
        }
        crossed
    }

    fn rearm(&mut self, old: Option<MeshTime>, new: Option<MeshTime>, due: Due) {
        if old != new {
            if let Some(at) = old {
                self.due.remove(&(at, due));
            }
            if let Some(at) = new {
                self.due.insert((at, due));
            }
        }
    }

    fn link_mut(&mut self, voter: &Voter) -> (VoterId, &mut Link) {
        let id = match self.ids.get(voter) {
            Some(id) => *id,
            None => {
                let id = VoterId(self.next_id);
                self.next_id += 1;
                self.ids.insert(voter.clone(), id);
                id
            }
        };
        (id, self.links.entry(id).or_insert_with(|| Link::new(voter.clone())))
    }

    /// Forgets a voter on whom nothing depends.
    fn forget_idle(&mut self, id: VoterId) {
        if self.links.get(&id).is_some_and(Link::is_idle)
            && let Some(link) = self.links.remove(&id)
        {
            self.ids.remove(&link.voter);
            self.unheard.forget(id);
            if let Some(at) = link.wake {
                self.due.remove(&(at, Due::Link(id)));
            }
        }
    }
}

fn watch(links: &mut Links, entry: &Entry, now: MeshTime) {
    for id in entry.voters() {
        if let Some(link) = links.get_mut(&id) {
            link.watch(entry.subject.check.uid, entry.terms.stale_after(), now);
        }
    }
}

fn unwatch(links: &mut Links, voters: &[VoterId], entry: &Entry) {
    for id in voters {
        if let Some(link) = links.get_mut(id) {
            link.unwatch(&entry.subject.check.uid, entry.terms.stale_after());
        }
    }
}
