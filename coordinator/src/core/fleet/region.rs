//! One alert for a region that nobody speaks for or whose probes are not believed, and one for a region
//! with probes that are older than what is asked of them.

use std::time::Duration;

use parallax_common::limits::{
    OUTDATED_AFTER, PROBE_LOST_AFTER, REGION_BACK_AFTER, REGION_EMPTY_AFTER, REGION_SILENT_AFTER,
    VOTERS_PER_CHECK_MAX,
};
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::store::ProbeRow;
use parallax_proto::v1::{self, ProbeState};

use super::outdated::{self, Needs};
use super::{Alarm, Known, Output, ProbeKey, RegionKey, Tracker, Trouble};
use crate::core::{stamp, watchdog};

/// One of a region's incidents.
#[derive(Debug, Default)]
struct Slot {
    alarm: Alarm,
    /// The proposal under way.
    pending: Option<u64>,
}

impl Slot {
    fn take(&mut self, alarm: Alarm) {
        if self.alarm != alarm {
            self.pending = None;
        }
        self.alarm = alarm;
    }
}

/// A declared region as this member knows it.
#[derive(Debug, Default)]
pub(super) struct RegionState {
    checks: u32,
    needs: Needs,
    silent: Slot,
    outdated: Slot,
    /// Since when there has been somebody to miss.
    needed_since: Option<MeshTime>,
    /// Since when a live probe of it has been outdated.
    outdated_since: Option<MeshTime>,
}

impl RegionState {
    pub(super) fn take(&mut self, checks: u32, needs: Needs, silent: Alarm, outdated: Alarm) {
        (self.checks, self.needs) = (checks, needs);
        self.silent.take(silent);
        self.outdated.take(outdated);
    }

    /// The end of a proposal; says whether it was under way.
    pub(super) fn settled(&mut self, proposal: u64) -> bool {
        let slots = [&mut self.silent, &mut self.outdated];
        let mut under_way = slots.into_iter().filter(|slot| slot.pending == Some(proposal));
        under_way.next().map(|slot| slot.pending = None).is_some()
    }

    pub(super) fn begin_anew(&mut self) {
        (self.silent.pending, self.outdated.pending) = (None, None);
        (self.needed_since, self.outdated_since) = (None, None);
    }

    fn slot(&mut self, trouble: Trouble) -> &mut Slot {
        match trouble {
            Trouble::Silent => &mut self.silent,
            Trouble::Outdated => &mut self.outdated,
        }
    }
}

/// What a region looks like now.
enum Look {
    /// Enough of its probes are heard, since long enough.
    Well,
    /// Not as it should be, or not for long enough: look again then.
    Wait(Option<MeshTime>),
    /// Nobody, or not enough, was heard for too long; or somebody is excluded.
    Ill,
}

impl Tracker {
    /// Proposes to open or to resolve a region's incidents, if that is due.
    pub(super) fn review_region(
        &mut self,
        key: &RegionKey,
        now: MeshTime,
        utc: UtcTime,
        out: &mut Vec<Output>,
    ) {
        if !self.leader {
            return;
        }
        let known = self.in_region(&key.region).any(|(_, known)| known.row.is_some());
        let Some(region) = self.regions.get(key) else { return };
        let any_outdated = self.any_outdated(&key.region, region, true);
        let Some(region) = self.regions.get_mut(key) else { return };
        if region.checks > 0 || known {
            region.needed_since.get_or_insert(now);
        } else {
            region.needed_since = None;
        }
        region.outdated_since = any_outdated.then(|| region.outdated_since.unwrap_or(now));
        for trouble in [Trouble::Silent, Trouble::Outdated] {
            self.review_trouble(key, trouble, now, utc, out);
        }
    }

    fn review_trouble(
        &mut self,
        key: &RegionKey,
        trouble: Trouble,
        now: MeshTime,
        utc: UtcTime,
        out: &mut Vec<Output>,
    ) {
        let look = self.look_for(key, trouble, now);
        if let Look::Wait(Some(at)) = look {
            self.wake_by(at);
        }
        let Some(region) = self.regions.get_mut(key) else { return };
        let slot = region.slot(trouble);
        let Alarm { incident, latched } = slot.alarm.clone();
        if slot.pending.is_some() {
            return;
        }
        let proposal = self.last_proposal + 1;
        let record = || self.record(key, trouble, now, utc);
        let change = match look {
            Look::Ill if incident.is_empty() && !latched => {
                Output::OpenRegion(proposal, key.clone(), trouble, record())
            }
            Look::Well if !incident.is_empty() => {
                Output::ResolveRegion(proposal, key.clone(), trouble, incident, record())
            }
            Look::Well if latched => {
                Output::UnlatchRegion(proposal, key.clone(), trouble, record())
            }
            Look::Ill | Look::Well | Look::Wait(_) => return,
        };
        if let Some(region) = self.regions.get_mut(key) {
            region.slot(trouble).pending = Some(proposal);
        }
        self.last_proposal = proposal;
        out.push(change);
    }

    /// Whether the cause of a region's incident lasts. Of silence: nobody speaks for it, or not steadily
    /// yet, or a probe is excluded.
    pub fn is_in_trouble(&self, key: &RegionKey, trouble: Trouble, now: MeshTime) -> bool {
        !matches!(self.look_for(key, trouble, now), Look::Well)
    }

    fn look_for(&self, key: &RegionKey, trouble: Trouble, now: MeshTime) -> Look {
        let Some(region) = self.regions.get(key) else { return Look::Well };
        match trouble {
            Trouble::Silent => self.look(&key.region, region.needed_since, now),
            Trouble::Outdated => match region.outdated_since {
                Some(since) => {
                    let due = (since + OUTDATED_AFTER).max(self.grace_until);
                    if now >= due { Look::Ill } else { Look::Wait(Some(due)) }
                }
                // One that comes and goes is one incident.
                None if self.any_outdated(&key.region, region, false) => Look::Wait(None),
                None => Look::Well,
            },
        }
    }

    /// Whether a probe of a region is older than what is asked of it: one that has work now, or any.
    fn any_outdated(&self, name: &str, region: &RegionState, live: bool) -> bool {
        let Some(standard) = &self.standard else { return false };
        let mut rows = self.in_region(name).filter_map(|(_, known)| known.row.as_ref());
        let counts = |row: &ProbeRow| !live || row.state() == ProbeState::Live;
        region.checks > 0
            && rows.any(|row| counts(row) && outdated::is(row, &region.needs, standard))
    }

    fn look(&self, region: &str, needed_since: Option<MeshTime>, now: MeshTime) -> Look {
        let Some(needed_since) = needed_since else { return Look::Well };
        let live =
            || self.in_region(region).filter(|(_, known)| known.state() == Some(ProbeState::Live));
        let silent = |known: &Known| known.silent_for(PROBE_LOST_AFTER, now);
        let spoken_for = live().any(|(_, known)| !silent(known));
        if spoken_for && self.mass_loss(region, now, silent).is_none() {
            // Well again only once the same holds for those who have been steady for a while.
            let steady = |known: &Known| known.steady_since.map(|since| since + REGION_BACK_AFTER);
            let not_yet =
                |known: &Known| silent(known) || steady(known).is_none_or(|end| now < end);
            let some = live().any(|(_, known)| !not_yet(known));
            if some && self.mass_loss(region, now, not_yet).is_none() {
                let excluded = |known: &Known| known.exclusion().is_some();
                return match live().any(|(_, known)| excluded(known)) {
                    true => Look::Ill,
                    // One that may not vote and comes and goes is one incident.
                    false if self.in_region(region).any(|(_, known)| excluded(known)) => {
                        Look::Wait(None)
                    }
                    false => Look::Well,
                };
            }
            let ends = live().filter_map(|(_, known)| steady(known)).filter(|&end| now < end);
            return Look::Wait(ends.min());
        }
        // Silent since: the newest watermark when there is nobody, else that of the silent ones.
        let has_rows = self.in_region(region).any(|(_, known)| known.row.is_some());
        let patience = if has_rows { REGION_SILENT_AFTER } else { REGION_EMPTY_AFTER };
        let last = live()
            .filter(|(_, known)| known.silent_for(PROBE_LOST_AFTER, now))
            .filter_map(|(_, known)| known.last_sign())
            .max();
        let since = last.unwrap_or(needed_since);
        let due = (since + patience).max(self.grace_until);
        if now >= due { Look::Ill } else { Look::Wait(Some(due)) }
    }

    /// Why. Of silence: one ballot a known probe, without a state, with the age of its watermark, and in
    /// words why it is excluded. Of what is outdated: one a live probe that is, and what it lacks. No more
    /// than a check has voters; those without a ballot are counted.
    pub(super) fn record(
        &self,
        key: &RegionKey,
        trouble: Trouble,
        now: MeshTime,
        utc: UtcTime,
    ) -> v1::DecisionRecord {
        let known = self.in_region(&key.region).filter(|(_, known)| known.row.is_some());
        let mut ballots: Vec<v1::Ballot> = match trouble {
            Trouble::Silent => known.map(|(key, known)| ballot(key, known, now, utc)).collect(),
            Trouble::Outdated => {
                let live = known.filter(|(_, known)| known.state() == Some(ProbeState::Live));
                let lacking = |(probe, known): (&ProbeKey, &Known)| {
                    let lacks = self.lacks(key, known.row.as_ref()?)?;
                    let evidence = lacks.join(outdated::BETWEEN);
                    Some(v1::Ballot { evidence, ..ballot(probe, known, now, utc) })
                };
                live.filter_map(lacking).collect()
            }
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let fresh = ballots.iter().filter(|ballot| !ballot.stale).count();
        let stale = ballots.len() - fresh;
        if ballots.len() > VOTERS_PER_CHECK_MAX {
            // What is wrong is named first.
            ballots.sort_by_key(|ballot| (!ballot.excluded, !ballot.stale));
            ballots.truncate(VOTERS_PER_CHECK_MAX);
        }
        v1::DecisionRecord {
            verdict: v1::Verdict::Unknown.into(),
            decided_at: Some(stamp::timestamp(utc)),
            fresh: count(fresh),
            failing: count(stale),
            ballots,
            ..Default::default()
        }
    }

    /// What a probe lacks for a region; absent when that is nothing.
    fn lacks(&self, key: &RegionKey, row: &ProbeRow) -> Option<Vec<String>> {
        let lacks = outdated::lacks(row, &self.regions.get(key)?.needs, self.standard.as_ref()?);
        (!lacks.is_empty()).then_some(lacks)
    }
}

fn ballot(key: &ProbeKey, known: &Known, now: MeshTime, utc: UtcTime) -> v1::Ballot {
    let age: Option<Duration> = known.last_sign().map(|sign| now.since(sign));
    // One that is lost is missed, whatever was held against it.
    let live = known.state() == Some(ProbeState::Live);
    let exclusion = known.exclusion().filter(|_| live);
    v1::Ballot {
        region: key.region.clone(),
        probe: key.probe.clone(),
        incarnation: known.incarnation().unwrap_or_default().0,
        state: v1::BallotState::None.into(),
        stale: known.silent_for(PROBE_LOST_AFTER, now),
        excluded: exclusion.is_some(),
        evidence: exclusion.map(watchdog::because).unwrap_or_default(),
        age: age.map(stamp::duration),
        since: age.map(|age| stamp::timestamp(utc - age)),
        ..Default::default()
    }
}
