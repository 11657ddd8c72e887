//! From the applied state to the cores: what changed is told to those who need to know it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parallax_common::name::{Incarnation, Uid};
use parallax_common::outcome::Verdict;
use parallax_common::time::MeshTime;
use parallax_proto::convert::enums;
use parallax_proto::v1;

use super::{Counted, Judge, Step};
use crate::core::decide::calm;
use crate::core::engine::{self, Subject, Voter};
use crate::core::fleet::outdated::{self, Standard};
use crate::core::fleet::{self, ProbeKey, RegionKey, Trouble};
use crate::core::plan::{self, CheckChange, Plan, ProbeRef};
use crate::core::stamp;
use crate::core::state::{Changed, LASTING_LEVEL, Name, OUTDATED_LEVEL, State};

impl Judge {
    /// Makes everything what the state says, whatever was known before.
    pub(super) fn loaded(&mut self, state: &State, step: &mut Step) {
        let before: BTreeSet<Uid> = self.plan.checks().collect();
        self.plan = Plan::default();
        let fleet = fleet::rows::live(state.probes.values().map(AsRef::as_ref));
        let checks = state.checks.values().map(|entry| CheckChange::Put(Arc::clone(&entry.check)));
        self.plan.update(state.generation(), checks, Some(fleet));
        let gone =
            |key: &ProbeKey| !state.probes.contains_key(&(key.region.clone(), key.probe.clone()));
        let forgotten: Vec<ProbeKey> =
            self.tracker.rows().filter(|key| gone(key)).cloned().collect();
        for key in forgotten {
            self.forget_row(key, step);
        }
        for row in state.probes.values() {
            self.follow_row(row, step);
        }
        // All are looked at anyway.
        let _ = self.follow_level(state, step);
        self.follow_standard(state, step);
        let all = before.into_iter().chain(state.checks.keys().copied()).collect();
        self.refresh(state, &all, step);
        self.decide(engine::Input::Plan(state.generation()), step);
        self.count(state, step);
        // Also those whose count is the same: their incidents may be others.
        let all = self.counted.keys().cloned().collect();
        self.tell_regions(state, &all, step);
    }

    /// Follows one applied batch. Says whether the plan is another one.
    pub(super) fn applied(
        &mut self,
        state: &State,
        changes: &[(u64, Changed)],
        step: &mut Step,
    ) -> bool {
        let mut touched = BTreeSet::new();
        let mut edits = Vec::new();
        let mut regions = BTreeSet::new();
        let (mut fleet_changed, mut recount) = (false, false);
        for (_, change) in changes {
            match change {
                Changed::Check(uid) => {
                    if let Some(entry) = state.checks.get(uid) {
                        edits.push(CheckChange::Put(Arc::clone(&entry.check)));
                        touched.insert(*uid);
                    }
                    recount = true;
                }
                Changed::CheckGone(uid, _) => {
                    edits.push(CheckChange::Delete(*uid));
                    self.spells.forget(*uid);
                    self.decide(engine::Input::Remove(*uid), step);
                    recount = true;
                }
                Changed::Verdict(uid) => {
                    touched.insert(*uid);
                }
                Changed::Probe(region, probe) => {
                    fleet_changed = true;
                    let (region, probe) = (region.clone(), probe.clone());
                    match state.probes.get(&(region.clone(), probe.clone())) {
                        Some(row) => self.follow_row(row, step),
                        None => self.forget_row(ProbeKey { region, probe }, step),
                    }
                }
                Changed::Region((namespace, region)) => {
                    let (namespace, region) = (namespace.clone(), region.clone());
                    regions.insert(RegionKey { namespace, region });
                }
                // A region that is new has no checks yet, or they are among these changes. What one
                // is called otherwise does not matter here.
                Changed::Resource(_, resource) => {
                    if let Some(key) = region_of(resource) {
                        let name = (key.namespace.clone(), key.region.clone());
                        match (state.regions.contains_key(&name), self.counted.contains_key(&key)) {
                            (true, false) => {
                                self.counted.insert(key.clone(), Counted::default());
                                regions.insert(key);
                            }
                            (false, true) => {
                                self.counted.remove(&key);
                                self.follow(fleet::Input::RegionGone(key), step);
                            }
                            _ => {}
                        }
                    }
                }
                Changed::Incident(_)
                | Changed::Delivery(..)
                | Changed::Silence(_)
                | Changed::Member(_) => {}
            }
        }
        self.follow_standard(state, step);
        touched.append(&mut self.follow_level(state, step));
        let replans = fleet_changed || !edits.is_empty();
        if replans {
            let fleet =
                fleet_changed.then(|| fleet::rows::live(state.probes.values().map(AsRef::as_ref)));
            touched.extend(self.plan.update(state.generation(), edits, fleet));
            self.decide(engine::Input::Plan(state.generation()), step);
        }
        self.refresh(state, &touched, step);
        if recount {
            regions.append(&mut self.count(state, step));
        }
        self.tell_regions(state, &regions, step);
        replans
    }

    /// Gives the engine what the state says of these checks.
    fn refresh(&mut self, state: &State, checks: &BTreeSet<Uid>, step: &mut Step) {
        for uid in checks {
            let input = match state.checks.get(uid) {
                Some(entry) if entry.check.enabled => {
                    let verdict = state.verdicts.get(uid).map(AsRef::as_ref);
                    let stood = self.spells.note(*uid, entry.check.run_digest, verdict);
                    let mut subject = subject(state, &self.plan, &entry.check);
                    subject.lasting_due = lasting_due(state, &entry.check, stood, step);
                    engine::Input::Subject(subject)
                }
                _ => {
                    self.spells.forget(*uid);
                    engine::Input::Remove(*uid)
                }
            };
            self.decide(input, step);
        }
    }

    /// Counts the checks that look from each region. Those whose count is another one are returned,
    /// and the tracker is told of those that are gone.
    fn count(&mut self, state: &State, step: &mut Step) -> BTreeSet<RegionKey> {
        let region = |key: &Name| RegionKey { namespace: key.0.clone(), region: key.1.clone() };
        let regions = state.regions.keys().map(|key| (region(key), Counted::default()));
        let mut counted: BTreeMap<RegionKey, Counted> = regions.collect();
        for entry in state.checks.values().filter(|entry| entry.check.enabled) {
            let kinds = plan::kinds(&entry.check);
            for region in entry.check.looks_from() {
                let namespace = entry.check.namespace.clone();
                let key = RegionKey { namespace, region: region.clone() };
                if let Some(count) = counted.get_mut(&key) {
                    count.checks += 1;
                    outdated::count(&mut count.needs, &kinds);
                }
            }
        }
        let before = std::mem::replace(&mut self.counted, counted);
        let differs = |(key, count): &(&RegionKey, &Counted)| before.get(*key) != Some(*count);
        let changed = self.counted.iter().filter(differs).map(|(key, _)| key.clone()).collect();
        for (gone, _) in before {
            if !self.counted.contains_key(&gone) {
                self.follow(fleet::Input::RegionGone(gone), step);
            }
        }
        changed
    }

    /// What probes are held to, once every member understands incidents about it.
    fn follow_standard(&mut self, state: &State, step: &mut Step) {
        let understood = state.cluster.level >= OUTDATED_LEVEL;
        let standard = understood.then(|| Standard::of(state));
        self.follow(fleet::Input::Standard(standard), step);
    }

    /// Tells the tracker how many checks look from these regions, and of their open incidents.
    fn tell_regions(&mut self, state: &State, regions: &BTreeSet<RegionKey>, step: &mut Step) {
        for key in regions {
            let Some(Counted { checks, needs }) = self.counted.get(key).cloned() else { continue };
            let name = (key.namespace.clone(), key.region.clone());
            let [silent, outdated] =
                [Trouble::Silent, Trouble::Outdated].map(|trouble| state.alarm(&name, trouble));
            let key = key.clone();
            self.follow(fleet::Input::Region { key, checks, needs, silent, outdated }, step);
        }
    }
}

/// The region that a resource is.
fn region_of(resource: &v1::Resource) -> Option<RegionKey> {
    match &resource.kind {
        Some(v1::resource::Kind::Region(region)) => {
            let meta = region.meta.as_ref()?;
            Some(RegionKey { namespace: meta.namespace.clone(), region: meta.name.clone() })
        }
        _ => None,
    }
}

/// What the engine needs to know of one check.
fn subject(state: &State, plan: &Plan, check: &Arc<parallax_common::check::Check>) -> Subject {
    let verdict = state.verdicts.get(&check.uid);
    let assignees = plan.assignees(&check.uid);
    Subject {
        check: Arc::clone(check),
        verdict: verdict.and_then(|v| enums::verdict(v.verdict)).unwrap_or(Verdict::Unknown),
        degraded: verdict.and_then(|v| enums::degraded_kind(v.degraded)),
        sequence: verdict.map_or(0, |verdict| verdict.sequence),
        open_incident: verdict.and_then(|verdict| verdict.incident_uid.parse().ok()),
        latched: verdict.is_some_and(|verdict| verdict.latched),
        lasting_due: None,
        doubted: check.run.canary.is_some()
            && verdict.is_some_and(|verdict| lasting_taken(verdict)),
        calm: state.open_incident_of(check.uid).map(|it| calm_terms(it)).unwrap_or_default(),
        assignees: assignees.iter().map(|a| a.as_ref().map(voter_of)).collect(),
        generation: plan.generation(),
    }
}

/// When the committed verdict has lasted long enough to be a regional or warning incident. Since when it
/// stands is written in UTC; both clocks are read now, so that it is told in mesh time. `stood`: how long it
/// had before nothing was known for a while.
fn lasting_due(
    state: &State,
    check: &parallax_common::check::Check,
    stood: Duration,
    step: &Step,
) -> Option<MeshTime> {
    let verdict = state.verdicts.get(&check.uid)?;
    let kind = enums::degraded_kind(verdict.degraded)?;
    if lasting_taken(verdict) || state.cluster.level < LASTING_LEVEL {
        return None;
    }
    let stands = stood + step.utc.since(stamp::utc(verdict.since.as_ref()));
    Some(step.now + check.lasting(kind).after.saturating_sub(stands))
}

/// Whether the incident of what lasts, or of a canary in doubt, is open or was resolved by hand.
fn lasting_taken(verdict: &v1::CheckVerdict) -> bool {
    !verdict.lasting_incident_uid.is_empty() || verdict.lasting_latched
}

/// What an incident asks for before it ends. Its own words count, and not what its check says by now.
fn calm_terms(incident: &v1::Incident) -> calm::Terms {
    // Engines count in mesh time, in which it was decided.
    let opened = incident.opened_by.as_ref().and_then(|record| record.decided_at.as_ref());
    let opened = opened.map(|at| MeshTime::from_ns(stamp::utc(Some(at)).as_ns()));
    let min_open = incident.min_open.as_ref().map(stamp::length);
    calm::Terms {
        open_until: opened.zip(min_open).map(|(opened, length)| opened + length),
        passing_for: incident.flapping.as_ref().and_then(|it| it.calm.as_ref()).map(stamp::length),
    }
}

fn voter_of(probe: &ProbeRef) -> Voter {
    Voter {
        region: probe.region.to_string(),
        probe: probe.probe.to_string(),
        incarnation: Incarnation(probe.incarnation.0),
    }
}
