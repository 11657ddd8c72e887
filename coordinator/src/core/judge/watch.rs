//! The watchdog's rounds: a few checks at a time, so that no decision waits for a look at all of them.

use std::collections::{BTreeMap, BTreeSet};

use parallax_common::limits::{SURVEY_CHECKS, SURVEY_EVERY, SURVEY_PAUSE};
use parallax_common::name::{Incarnation, Uid};
use parallax_common::time::MeshTime;
use parallax_proto::convert::enums;
use parallax_proto::store::ProbeRow;
use parallax_proto::v1;

use super::{Judge, Step};
use crate::core::engine::{self, Voter};
use crate::core::fleet::{self, ProbeKey};
use crate::core::state::{EXCLUSION_LEVEL, LASTING_LEVEL, State};
use crate::core::watchdog::{Survey, Watchdog};

/// The watchdog, and how far it is on its round.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) dog: Watchdog,
    /// When it goes on, if this member leads; absent where some member would not understand what follows.
    pub(super) next: Option<MeshTime>,
    /// Every member understands incidents of what lasts.
    lasts: bool,
    survey: Survey,
    began: MeshTime,
    from: Option<Uid>,
    /// Who may not vote, as the engine was told.
    excluded: BTreeMap<ProbeKey, Voter>,
}

impl Watch {
    /// A term begins or ends.
    pub(super) fn begin_anew(&mut self) {
        self.dog.begin_anew();
        self.survey = Survey::default();
        self.from = None;
    }
}

impl Judge {
    /// Whether there are rounds at all. Says which checks are to be looked at anew, because from now on
    /// what lasts may be an incident.
    pub(super) fn follow_level(&mut self, state: &State, step: &Step) -> BTreeSet<Uid> {
        let watches = state.cluster.level >= EXCLUSION_LEVEL;
        self.watch.next = watches.then(|| self.watch.next.unwrap_or(step.now));
        let lasts = state.cluster.level >= LASTING_LEVEL;
        let lasted = std::mem::replace(&mut self.watch.lasts, lasts);
        if !lasts || lasted {
            return BTreeSet::new();
        }
        let degraded =
            |verdict: &v1::CheckVerdict| enums::degraded_kind(verdict.degraded).is_some();
        let all = state.verdicts.iter().filter(|(_, verdict)| degraded(verdict));
        all.map(|(uid, _)| *uid).collect()
    }

    /// A probe's row as applied: whether it may vote is in it.
    pub(super) fn follow_row(&mut self, row: &ProbeRow, step: &mut Step) {
        let key = ProbeKey { region: row.region.clone(), probe: row.probe.clone() };
        self.watch.dog.row(key.clone(), row.exclusion);
        let voter = Voter {
            region: row.region.clone(),
            probe: row.probe.clone(),
            incarnation: Incarnation(row.incarnation),
        };
        self.exclude(key, row.exclusion.map(|_| voter), step);
        self.follow(fleet::Input::Row(row.clone()), step);
    }

    /// A probe that has no row any more.
    pub(super) fn forget_row(&mut self, key: ProbeKey, step: &mut Step) {
        self.watch.dog.forget(&key);
        self.exclude(key.clone(), None, step);
        self.follow(fleet::Input::Forgotten(key), step);
    }

    fn exclude(&mut self, key: ProbeKey, voter: Option<Voter>, step: &mut Step) {
        let before = self.watch.excluded.get(&key).cloned();
        if before == voter {
            return;
        }
        if let Some(voter) = before {
            self.watch.excluded.remove(&key);
            self.decide(engine::Input::Exclude { voter, excluded: false }, step);
        }
        if let Some(voter) = voter {
            self.watch.excluded.insert(key, voter.clone());
            self.decide(engine::Input::Exclude { voter, excluded: true }, step);
        }
    }

    /// Goes on with the round, if it is time; at its end every probe is judged.
    pub(super) fn look_around(&mut self, step: &mut Step) {
        let now = step.now;
        if !self.leads || self.watch.next.is_none_or(|next| now < next) {
            return;
        }
        if self.watch.from.is_none() {
            self.watch.began = now;
        }
        let watch = &mut self.watch;
        watch.from = self.engine.survey(watch.from, SURVEY_CHECKS, now, &mut watch.survey);
        if watch.from.is_some() {
            watch.next = Some(now + SURVEY_PAUSE);
            return;
        }
        watch.next = Some((watch.began + SURVEY_EVERY).max(now + SURVEY_PAUSE));
        let survey = std::mem::take(&mut watch.survey);
        let tracker = &self.tracker;
        let wishes = watch.dog.review(&survey, |key| tracker.speaks(key, now), now);
        for (key, wish) in wishes {
            self.follow(fleet::Input::Suspect(key, wish), step);
        }
    }
}
