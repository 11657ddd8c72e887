//! One alert for a region that nobody speaks for, or whose probes are not believed.

use std::time::Duration;

use parallax_common::limits::{
    PROBE_LOST_AFTER, REGION_BACK_AFTER, REGION_EMPTY_AFTER, REGION_SILENT_AFTER,
};
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::v1::{self, ProbeState};

use super::{Known, Output, ProbeKey, RegionKey, Tracker};
use crate::core::{stamp, watchdog};

/// A declared region as this member knows it.
#[derive(Debug, Default)]
pub(super) struct RegionState {
    checks: u32,
    /// Uid of the open incident, or empty.
    incident: String,
    /// Resolved by hand while it was silent: nothing opens until it is well.
    latched: bool,
    /// Since when there has been somebody to miss.
    needed_since: Option<MeshTime>,
    /// The proposal under way.
    pub(super) pending: Option<u64>,
}

impl RegionState {
    pub(super) fn take(&mut self, checks: u32, incident: String, latched: bool) {
        if self.incident != incident || self.latched != latched {
            self.pending = None;
        }
        self.latched = latched;
        self.checks = checks;
        self.incident = incident;
    }

    pub(super) fn begin_anew(&mut self) {
        self.pending = None;
        self.needed_since = None;
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
    /// Proposes to open or to resolve a region's incident, if that is due.
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
        let Some(region) = self.regions.get_mut(key) else { return };
        if region.checks > 0 || known {
            region.needed_since.get_or_insert(now);
        } else {
            region.needed_since = None;
        }
        let needed_since = region.needed_since;
        let (pending, latched) = (region.pending.is_some(), region.latched);
        let incident = region.incident.clone();
        let look = self.look(&key.region, needed_since, now);
        if let Look::Wait(Some(at)) = look {
            self.wake_by(at);
        }
        let proposal = self.last_proposal + 1;
        let change = match look {
            _ if pending => return,
            Look::Ill if incident.is_empty() && !latched => {
                Output::OpenRegion(proposal, key.clone(), self.record(&key.region, now, utc))
            }
            Look::Well if !incident.is_empty() => {
                let record = self.record(&key.region, now, utc);
                Output::ResolveRegion(proposal, key.clone(), incident, record)
            }
            Look::Well if latched => {
                let record = self.record(&key.region, now, utc);
                Output::UnlatchRegion(proposal, key.clone(), record)
            }
            Look::Ill | Look::Well | Look::Wait(_) => return,
        };
        if let Some(region) = self.regions.get_mut(key) {
            region.pending = Some(proposal);
        }
        self.last_proposal = proposal;
        out.push(change);
    }

    /// Whether a region is not well: nobody speaks for it, or not steadily yet, or a probe is excluded.
    pub fn is_silent(&self, key: &RegionKey, now: MeshTime) -> bool {
        let region = self.regions.get(key);
        let look = |region: &RegionState| self.look(&key.region, region.needed_since, now);
        region.is_some_and(|region| !matches!(look(region), Look::Well))
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

    /// Why: one ballot a known probe, without a state, with the age of its watermark, and in words why it
    /// is excluded.
    fn record(&self, region: &str, now: MeshTime, utc: UtcTime) -> v1::DecisionRecord {
        let ballots: Vec<v1::Ballot> = self
            .in_region(region)
            .filter(|(_, known)| known.row.is_some())
            .map(|(key, known)| ballot(key, known, now, utc))
            .collect();
        let fresh = ballots.iter().filter(|ballot| !ballot.stale).count();
        v1::DecisionRecord {
            verdict: v1::Verdict::Unknown.into(),
            decided_at: Some(stamp::timestamp(utc)),
            fresh: u32::try_from(fresh).unwrap_or(u32::MAX),
            ballots,
            ..Default::default()
        }
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
