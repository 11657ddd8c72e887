//! One look at the alerts and the budget of one check: what is read of history, and what of it becomes a
//! change. Waits for the disk and for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parallax_common::alert::{Alert, Measure};
use parallax_common::check::Check;
use parallax_common::limits::INTERVAL_MAX;
use parallax_common::outcome::Phase;
use parallax_common::time::MeshTime;
use parallax_proto::{store, v1};
use parallax_runtime::clock;

use crate::core::alert::burn::{self, Burn, PAIRS, Pair, Tally};
use crate::core::alert::certificate::shown::Sights;
use crate::core::alert::certificate::{self, Case, Streak};
use crate::core::alert::series::Series;
use crate::core::alert::told::Told;
use crate::core::alert::{self, Standing, Turn, Watch};
use crate::core::state::{CheckEntry, State};
use crate::history::segment::SegmentError;
use crate::history::tier::Tier;
use crate::history::{History, Question};

/// Nothing that opens looks further back than this: the short span of a burn rate has two intervals, and
/// there is an hour for what is settled late.
pub const LONGEST_BACK: Duration = Duration::from_secs(INTERVAL_MAX.as_secs() * 2 + 3_600);

/// What one look is to look at.
#[derive(Debug, Clone, Default)]
pub struct Due {
    /// The check's alerts.
    pub alerts: bool,
    /// Pairs of spans of its budget.
    pub pairs: Vec<&'static Pair>,
    /// What is left of its budget.
    pub budget: bool,
}

/// One check that is looked at.
pub struct Look<'a> {
    history: &'a dyn History,
    state: &'a State,
    entry: &'a CheckEntry,
    told: &'a Told,
    now: MeshTime,
    at: alert::Look,
    /// Regions whose probes are not believed.
    unheeded: BTreeSet<String>,
    /// What is to be proposed.
    pub found: Vec<store::AlertChange>,
}

impl<'a> Look<'a> {
    /// Nothing is read yet.
    pub fn new(
        history: &'a dyn History,
        state: &'a State,
        entry: &'a CheckEntry,
        told: &'a Told,
        now: MeshTime,
    ) -> Self {
        let excluded = state.probes.iter().filter(|(_, probe)| probe.exclusion.is_some());
        let unheeded = excluded.map(|((region, _), _)| region.clone()).collect();
        let at = alert::Look::new(&entry.check, now);
        Self { history, state, entry, told, now, at, unheeded, found: Vec::new() }
    }

    /// Looks at the alerts on certificates, by what this member heard. How long each has said what it says
    /// every member counts; what becomes of it only whoever is to look at alerts.
    pub fn certificates(
        &mut self,
        due: &Due,
        sights: &Sights,
        before: &BTreeMap<String, Streak>,
        new_uid: &mut impl FnMut() -> String,
    ) -> BTreeMap<String, Streak> {
        let (check, mut streaks) = (&self.entry.check, BTreeMap::new());
        for alert in &check.alerts {
            let mut open = self.state.open_alerts_of(check.uid);
            let open = open.find(|incident| incident.alert == alert.name);
            let case = Case {
                standing: self.state.alert(&check.uid, &alert.name).0,
                opened: open.and_then(|incident| incident.alert_opened.as_ref()),
            };
            let watch = certificate::Watch::new(check, alert, case, sights, self.now);
            let Some(watch) = watch else { continue };
            let streak = watch.look(before.get(&alert.name).copied(), &self.unheeded);
            streaks.insert(alert.name.clone(), streak);
            if due.alerts {
                let turn = watch.turn(&streak, &self.unheeded);
                self.note(&alert.name, turn, watch.looks_back_to(), new_uid);
            }
        }
        streaks
    }

    /// Looks at every alert of the check that is about history, which is read once.
    ///
    /// # Errors
    /// When history cannot be read.
    pub fn alerts(&mut self, new_uid: &mut impl FnMut() -> String) -> Result<(), SegmentError> {
        let check = &self.entry.check;
        let in_history = |alert: &&Alert| !matches!(alert.when.measure, Measure::CertDays { .. });
        let measured = || check.alerts.iter().filter(in_history);
        let mut watches: Vec<Watch<'_>> =
            measured().map(|alert| Watch::new(check, alert, self.at)).collect();
        let Some(from) = watches.iter().map(Watch::from).min() else { return Ok(()) };
        let phases = watches.iter().filter_map(|watch| watch.series.phase()).collect();
        let question = self.question(from, Tier::Minutes, phases);
        self.history.cells(&question, &mut |region, cell| {
            for watch in &mut watches {
                watch.series.add(region, cell, Tier::Minutes);
            }
        })?;
        for (alert, watch) in measured().zip(&watches) {
            let (standing, _) = self.state.alert(&check.uid, &alert.name);
            let turn = watch.turn(standing, &self.unheeded);
            self.note(&alert.name, turn, watch.looks_back_to(), new_uid);
        }
        Ok(())
    }

    /// Looks at these pairs of spans.
    ///
    /// # Errors
    /// When history cannot be read.
    pub fn burns(
        &mut self,
        due: &[&'static Pair],
        new_uid: &mut impl FnMut() -> String,
    ) -> Result<(), SegmentError> {
        let check = &self.entry.check;
        let Some(slo) = &check.slo else { return Ok(()) };
        let until = self.at.until;
        for pair in due {
            // The slowest one's long span begins at an hour: minutes are not kept for so long.
            let by_hours = pair.long > Tier::Minutes.age_max();
            let unit = Duration::from_secs(Tier::Hours.cell_s().into());
            let long_from = match by_hours {
                true => alert::floor(until, unit) - pair.long,
                false => until - pair.long,
            };
            let short = pair.short_of(check.interval, self.at);
            let earliest = Burn::ends(pair, short, until).last().unwrap_or(until) - short;
            let from = if by_hours { earliest } else { earliest.min(long_from) };
            let minutes = self.runs(from, Tier::Minutes)?;
            let long = match by_hours {
                true => self.tally(&self.runs(long_from, Tier::Hours)?, long_from),
                false => self.tally(&minutes, long_from),
            };
            let shorts = Burn::ends(pair, short, until)
                .map(|end| Tally::of(&minutes, self.heeded(), end - short, end));
            let burn = Burn {
                slo,
                regions: check.regions.len(),
                pair,
                short,
                long,
                shorts: shorts.collect(),
                until,
            };
            let (standing, _) = self.state.alert(&check.uid, pair.name);
            let turn = burn
                .turn(standing)
                .filter(|turn| !matches!(turn, Turn::Open(_)) || !self.is_told_by_a_faster(pair));
            self.note(pair.name, turn, until - short, new_uid);
        }
        Ok(())
    }

    /// Counts what is left of the check's budget.
    ///
    /// # Errors
    /// When history cannot be read.
    pub fn budget(&self) -> Result<Option<v1::Budget>, SegmentError> {
        let Some(slo) = &self.entry.check.slo else { return Ok(None) };
        let unit = Duration::from_secs(Tier::Hours.cell_s().into());
        let from = alert::floor(self.at.until, unit) - slo.over;
        let runs = self.tally(&self.runs(from, Tier::Hours)?, from).runs;
        Ok(Some(burn::budget(slo, runs, self.at.until)))
    }

    /// Everything that is due. What was found before an error is kept.
    ///
    /// # Errors
    /// When history cannot be read.
    pub fn all(
        &mut self,
        due: &Due,
        new_uid: &mut impl FnMut() -> String,
    ) -> Result<Option<v1::Budget>, SegmentError> {
        if due.alerts {
            self.alerts(new_uid)?;
        }
        self.burns(&due.pairs, new_uid)?;
        if due.budget { self.budget() } else { Ok(None) }
    }

    fn question(&self, from: MeshTime, tier: Tier, phases: BTreeSet<Phase>) -> Question {
        Question { check: self.entry.check.uid, from, to: self.at.until, tier, phases }
    }

    fn runs(&self, from: MeshTime, tier: Tier) -> Result<Series, SegmentError> {
        let mut series = Series::of_runs();
        let question = self.question(from, tier, BTreeSet::new());
        self.history.cells(&question, &mut |region, cell| series.add(region, cell, tier))?;
        Ok(series)
    }

    fn tally(&self, series: &Series, from: MeshTime) -> Tally {
        Tally::of(series, self.heeded(), from, self.at.until)
    }

    /// Regions that count and are believed.
    fn heeded(&self) -> impl Iterator<Item = &'a String> {
        let check: &'a Check = &self.entry.check;
        let unheeded = self.unheeded.clone();
        check.regions.iter().filter(move |region| !unheeded.contains(*region))
    }

    /// Whether a faster pair's incident is open, or is about to, that tells everybody whom this one would:
    /// routes may give pairs of different severities to different people.
    fn is_told_by_a_faster(&self, pair: &Pair) -> bool {
        let utc = clock::utc().max(self.state.last_utc());
        let faster = PAIRS.iter().take_while(|other| other.name != pair.name);
        let faster = faster.map(|other| other.name);
        let mut telling =
            faster.filter(|it| self.state.tells_no_more_than(self.entry, pair.name, it, utc));
        telling.any(|name| {
            let opens = self
                .found
                .iter()
                .any(|change| change.alert == name && change.action() == store::AlertAction::Open);
            opens || self.state.alert(&self.entry.check.uid, name).0 == Standing::Open
        })
    }

    /// Makes a change of what an alert does, unless everybody whom it would tell was told of an outage
    /// that what it counts reaches back into.
    fn note(
        &mut self,
        name: &str,
        turn: Option<Turn>,
        back_to: MeshTime,
        new_uid: &mut impl FnMut() -> String,
    ) {
        let check = &self.entry.check;
        let (action, record) = match turn {
            None => return,
            Some(Turn::Open(record)) => {
                let utc = clock::utc().max(self.state.last_utc());
                let has_told =
                    |outage: &v1::Incident| self.state.is_told_by(outage, self.entry, name, utc);
                if self.told.any(&check.uid, name, back_to, has_told) {
                    return;
                }
                (store::AlertAction::Open, Some(record))
            }
            Some(Turn::Resolve(record)) => (store::AlertAction::Resolve, Some(record)),
            Some(Turn::Unlatch) => (store::AlertAction::Unlatch, None),
        };
        let opens = action == store::AlertAction::Open;
        self.found.push(store::AlertChange {
            check_uid: check.uid.to_string(),
            etag: check.etag,
            alert: name.to_owned(),
            expected_sequence: self.state.alert(&check.uid, name).1,
            action: action.into(),
            incident_uid: if opens { new_uid() } else { String::new() },
            record,
        });
    }
}

#[cfg(test)]
mod tests;
