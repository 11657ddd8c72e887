//! Who runs what: assignments as a pure function of replicated state (checks and live probes).
//!
//! Every coordinator with the same applied state computes the same plan and hands it out; nothing
//! about it is agreed on separately. The choice itself is in [`rendezvous`], the difference between
//! two plans for one probe in [`delta`], what
//! a session is sent of it in [`handout`]. Phases come from `parallax_common::schedule`.
//!
//! The plan keeps, whatever changes:
//! * a probe that leaves moves only its own checks, one that joins only gains;
//! * a probe is never given a step kind that it does not list;
//! * an edit that changes nothing a probe needs to know reaches no probe.
//!
//! Maps are persistent: a clone of the plan, or of one probe's part, costs a few pointers, so each
//! session keeps the part it last sent and diffs against it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use parallax_common::check::{Assignment, Canary, Check};
use parallax_common::name::{Generation, Incarnation, Uid};
use parallax_common::schedule;
use parallax_common::time::ns;

pub mod delta;
pub mod handout;
pub mod rendezvous;

use self::delta::Delta;
use self::rendezvous::Candidate;

/// The version of this function. It is replicated, and moves with the feature level: members that
/// disagree on it would hand out different plans.
/// Version 2 has several probes a region and advisory regions; of checks with neither it makes what
/// version 1 made.
pub const PLAN_VERSION: u32 = 2;

/// A probe that holds an assignment, and so votes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeRef {
    /// Its region.
    pub region: Arc<str>,
    /// Its name, unique in the region.
    pub probe: Arc<str>,
    /// The life of its spool.
    pub incarnation: Incarnation,
}

/// A probe that may be given work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveProbe {
    /// Who it is.
    pub probe: ProbeRef,
    /// Step kinds it can run: `http`, `tcp`, `tls`, `dns`.
    pub kinds: Vec<String>,
}

/// The live probes of every region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// By region, each list in order of name.
    regions: BTreeMap<Arc<str>, Vec<Candidate>>,
}

impl Fleet {
    /// The fleet of these probes. Of two with one name the later one counts.
    pub fn new(probes: impl IntoIterator<Item = LiveProbe>) -> Self {
        let mut named: BTreeMap<(Arc<str>, Arc<str>), LiveProbe> = BTreeMap::new();
        for live in probes {
            named.insert((live.probe.region.clone(), live.probe.probe.clone()), live);
        }
        let mut regions: BTreeMap<Arc<str>, Vec<Candidate>> = BTreeMap::new();
        for ((region, _), live) in named {
            regions.entry(region).or_default().push(Candidate::new(live));
        }
        Self { regions }
    }

    /// The candidates of one region, in order of name.
    pub fn region(&self, region: &str) -> &[Candidate] {
        self.regions.get(region).map_or(&[], Vec::as_slice)
    }

    /// The regions whose candidates differ between `self` and `other`.
    fn changed_regions(&self, other: &Self) -> BTreeSet<Arc<str>> {
        self.regions
            .keys()
            .chain(other.regions.keys())
            .filter(|region| self.regions.get(*region) != other.regions.get(*region))
            .cloned()
            .collect()
    }
}

/// Who looks at `check`: for each of its regions, by rank and then the advisory ones, as many places as
/// it wants probes there, the highest draw first. `None`: nobody (more) there can.
pub fn assignments(check: &Check, fleet: &Fleet) -> Vec<Option<ProbeRef>> {
    let wanted = check.probes_per_region.max(1) as usize;
    let regions = check.regions.len() + check.advisory_regions.len();
    if !check.enabled {
        return vec![None; regions * wanted];
    }
    let kinds = kinds(check);
    let mut places = Vec::with_capacity(regions * wanted);
    for region in check.looks_from() {
        let candidates = fleet.region(region);
        let chosen = rendezvous::assignees(&check.uid, &kinds, candidates, wanted);
        let nobody = wanted - chosen.len();
        places.extend(chosen.into_iter().map(|index| Some(candidates[index].probe().clone())));
        places.extend(std::iter::repeat_n(None, nobody));
    }
    places
}

/// The kinds a probe must know to run `check`, each once.
pub fn kinds(check: &Check) -> Vec<&'static str> {
    let steps = check.run.steps.iter();
    let canary = check.run.canary.map(|_| Canary::WORD);
    let words: BTreeSet<&'static str> =
        steps.flat_map(|step| step.kind.needs()).chain(canary).collect();
    words.into_iter().collect()
}

/// A probe's region and name.
type Place = (Arc<str>, Arc<str>);

/// What one probe runs.
pub type Work = OrdMap<Uid, Arc<Assignment>>;

/// One probe's part of a plan. Cheap to clone and to compare.
#[derive(Debug, Clone, Default)]
pub struct ProbePlan {
    /// The plan it is a part of.
    pub generation: Generation,
    /// What the probe runs.
    pub assignments: Work,
}

impl ProbePlan {
    /// What turns `base` into `self`.
    pub fn since(&self, base: &Self) -> Delta {
        Delta::between(base, self)
    }
}

/// A change to a check, as applied.
#[derive(Debug, Clone)]
pub enum CheckChange {
    /// Created or edited.
    Put(Arc<Check>),
    /// Deleted.
    Delete(Uid),
}

/// A check with the probes it was given to, by place.
#[derive(Debug, Clone)]
struct Planned {
    check: Arc<Check>,
    assignees: Arc<[Option<ProbeRef>]>,
    /// The assignments that were handed out, by place: kept while they stay equal.
    handed: Vec<Option<Arc<Assignment>>>,
}

/// Every assignment of one generation.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    generation: Generation,
    fleet: Arc<Fleet>,
    checks: OrdMap<Uid, Planned>,
    /// Checks that name a region, so that a change of its probes touches nothing else.
    by_region: OrdMap<Arc<str>, OrdMap<Uid, ()>>,
    by_probe: OrdMap<Place, Work>,
}

impl Plan {
    /// The generation of the last update.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Checks in the plan, disabled ones too.
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// Every check in the plan, in order.
    pub fn checks(&self) -> impl Iterator<Item = Uid> + '_ {
        self.checks.keys().copied()
    }

    /// Whether there is no check at all.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Who looks at a check, by place as [`assignments`] has them. Empty for a check that is not there.
    pub fn assignees(&self, check: &Uid) -> Arc<[Option<ProbeRef>]> {
        self.checks.get(check).map_or_else(|| Arc::from([]), |planned| planned.assignees.clone())
    }

    /// Takes changed checks, or a changed fleet, or both, and returns the checks that are new,
    /// edited or looked at by somebody else now, in order of uid. `None` keeps the fleet.
    ///
    /// The result is the same as that of a plan built anew from all checks and the same fleet.
    pub fn update(
        &mut self,
        generation: Generation,
        changes: impl IntoIterator<Item = CheckChange>,
        fleet: Option<Fleet>,
    ) -> BTreeSet<Uid> {
        self.generation = generation;
        let mut touched: BTreeSet<Uid> = BTreeSet::new();
        let mut again: BTreeSet<Uid> = BTreeSet::new();
        if let Some(fleet) = fleet {
            for region in self.fleet.changed_regions(&fleet) {
                if let Some(checks) = self.by_region.get(&region) {
                    again.extend(checks.keys().copied());
                }
            }
            self.fleet = Arc::new(fleet);
        }
        for change in changes {
            match change {
                CheckChange::Put(check) => {
                    touched.insert(check.uid);
                    again.remove(&check.uid);
                    self.place(check);
                }
                CheckChange::Delete(uid) => {
                    again.remove(&uid);
                    self.take_out(uid);
                }
            }
        }
        for uid in again {
            let Some(planned) = self.checks.get(&uid) else { continue };
            let (check, before) = (planned.check.clone(), planned.assignees.clone());
            if self.place(check) != before {
                touched.insert(uid);
            }
        }
        touched
    }

    /// What one probe runs. Its incarnation does not matter: a new life takes over the old work.
    pub fn for_probe(&self, region: &str, probe: &str) -> ProbePlan {
        let assignments = self.by_probe.get(&(region.into(), probe.into())).cloned();
        ProbePlan { generation: self.generation, assignments: assignments.unwrap_or_default() }
    }

    /// (Re)assigns one check and returns its assignees.
    fn place(&mut self, check: Arc<Check>) -> Arc<[Option<ProbeRef>]> {
        let uid = check.uid;
        let before = self.checks.get(&uid).cloned();
        let assignees: Arc<[Option<ProbeRef>]> = assignments(&check, &self.fleet).into();
        // Every place of a check runs the same thing: one copy for all of them.
        let kept = before
            .as_ref()
            .filter(|planned| planned.check.run == check.run)
            .and_then(|planned| planned.handed.iter().flatten().next().map(|a| Arc::clone(&a.run)));
        let run = kept.unwrap_or_else(|| Arc::new(check.run.clone()));
        let handed: Vec<Option<Arc<Assignment>>> = assignees
            .iter()
            .enumerate()
            .map(|(place, assignee)| {
                let new = assignment(&check, place, assignee.as_ref()?, &run);
                // Most often the same place; with several probes a region they may have moved up.
                let old = before.as_ref().map_or(&[][..], |before| &before.handed);
                let old = old.get(place).into_iter().chain(old).flatten().find(|old| ***old == new);
                Some(old.cloned().unwrap_or_else(|| Arc::new(new)))
            })
            .collect();
        if let Some(before) = &before {
            self.forget_places(uid, before, &check, &assignees);
        }
        for region in check.looks_from() {
            let known = self.by_region.get(region.as_str()).is_some_and(|c| c.contains_key(&uid));
            if !known {
                self.by_region.entry(region.as_str().into()).or_default().insert(uid, ());
            }
        }
        for (assignee, handed) in assignees.iter().zip(&handed) {
            if let (Some(probe), Some(handed)) = (assignee, handed) {
                let part = self.by_probe.entry(place_of(probe)).or_default();
                if !part.get(&uid).is_some_and(|there| Arc::ptr_eq(there, handed)) {
                    part.insert(uid, Arc::clone(handed));
                }
            }
        }
        self.checks.insert(uid, Planned { check, assignees: assignees.clone(), handed });
        assignees
    }

    /// Takes a check out of the places that it no longer has.
    fn forget_places(
        &mut self,
        uid: Uid,
        before: &Planned,
        check: &Check,
        assignees: &[Option<ProbeRef>],
    ) {
        for region in before.check.looks_from() {
            if !check.looks_from().any(|stays| stays == region) {
                self.leave_region(region, uid);
            }
        }
        for old in before.assignees.iter().flatten() {
            let stays = assignees
                .iter()
                .flatten()
                .any(|new| new.region == old.region && new.probe == old.probe);
            if !stays {
                self.leave_probe(old, uid);
            }
        }
    }

    fn take_out(&mut self, uid: Uid) {
        let Some(planned) = self.checks.remove(&uid) else { return };
        for region in planned.check.looks_from() {
            self.leave_region(region, uid);
        }
        for probe in planned.assignees.iter().flatten() {
            self.leave_probe(probe, uid);
        }
    }

    fn leave_region(&mut self, region: &str, uid: Uid) {
        if let Some(checks) = self.by_region.get_mut(region) {
            checks.remove(&uid);
            if checks.is_empty() {
                self.by_region.remove(region);
            }
        }
    }

    fn leave_probe(&mut self, probe: &ProbeRef, uid: Uid) {
        let place = place_of(probe);
        if let Some(part) = self.by_probe.get_mut(&place) {
            part.remove(&uid);
            if part.is_empty() {
                self.by_probe.remove(&place);
            }
        }
    }
}

fn place_of(probe: &ProbeRef) -> Place {
    (probe.region.clone(), probe.probe.clone())
}

/// Where the slots of a place lie. Regions take turns by rank. Advisory ones take turns with each other,
/// half a turn off, and move nobody else's. Several probes of one region lie within its turn, each
/// where its own name puts it.
fn phase_ns(check: &Check, place: usize, probe: &ProbeRef) -> i64 {
    let Check { uid, interval, regions, advisory_regions, .. } = check;
    let wanted = check.probes_per_region.max(1) as usize;
    let (region, counted) = (place / wanted, regions.len());
    let turn = *interval / u32::try_from(counted.max(1)).unwrap_or(u32::MAX);
    let (first, late) = match region.checked_sub(counted) {
        None => (schedule::phase_ns(uid, region, *interval, counted), Duration::ZERO),
        Some(advisory) => {
            (schedule::phase_ns(uid, advisory, *interval, advisory_regions.len()), turn / 2)
        }
    };
    let own = if wanted > 1 { rendezvous::offset_ns(uid, probe, turn) } else { 0 };
    (first + ns(late) + own).rem_euclid(ns(*interval).max(1))
}

/// `check` as the probe at this place is told to run it.
fn assignment(
    check: &Check,
    place: usize,
    probe: &ProbeRef,
    run: &Arc<parallax_common::check::Run>,
) -> Assignment {
    Assignment {
        check: check.uid,
        namespace: check.namespace.clone(),
        name: check.name.clone(),
        run_digest: check.run_digest,
        run: Arc::clone(run),
        interval: check.interval,
        phase_ns: phase_ns(check, place, probe),
        failures: check.policy.failures,
        successes: check.policy.successes,
        failures_of: check.policy.failures_of,
        successes_of: check.policy.successes_of,
        confirm_spacing: check.confirm_spacing,
    }
}

#[cfg(test)]
pub(in crate::core) mod tests;
