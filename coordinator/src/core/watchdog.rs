//! Who watches the watchers: a probe is taken for the cause of what only it sees.
//!
//! A probe on a broken path sees many unrelated targets fail, and every one of them would look like a
//! regional failure. So all checks are looked at again and again ([`Survey`]): on each target, which of
//! the probes disagrees with all other regions that vote? A probe that is well does so on 1 % of its
//! targets at most; when what is seen has a chance of less than one in a million, by the tail of the
//! binomial distribution, the probe may vote no more until it has been well for a minute. Failing runs
//! and passing ones are the same here: who passes where all others fail is no better witness.
//!
//! * **One region against one says nothing** of which is wrong: at least two others must vote, and all
//!   of them alike.
//! * **Whoever sees it first is not wrong.** When many targets die together the regions do not turn together:
//!   each looks at its own slots. A check counts only once every vote on it is older than it takes all
//!   regions to have had their turn.
//! * **A region as a whole.** Where a region has several probes, each of few targets, their targets are
//!   counted together: when it sees another thing on most of them, and those are as many as one probe would
//!   be suspected for, each of its probes is suspected that does so on half of its own. One incident then is
//!   the region's, and a check that is down by its quorum is down all the same: the others are no witnesses
//!   against it.
//! * **Not half of the regions.** While half of what speaks is suspected or excluded, by comparison or by
//!   canaries, nobody else is: then it is not a probe that is ill. Each region counts as one, and each of
//!   its probes for its share of it: of one with many probes and two with one each, the first may be ill,
//!   too.
//! * **Nothing to compare with is no health.** A probe that was excluded for its disagreements and of which
//!   no target can tell anything stays excluded, an hour at most; so does one that was excluded by a canary
//!   and of which no canary tells anything that is not in doubt itself.
//! * **A target counts once**, whatever the number of checks that name its host: a broken target makes
//!   many checks disagree, a broken probe many targets. It disagrees on a target when it does on at least
//!   half of the checks.
//! * **Canaries** have an answer that is known, so one is enough, and who is wrong needs no other region to
//!   be told: whoever sees another answer is suspected. But while half of the regions that look at a canary,
//!   or more, each probe for its share, do not see its answer, it is the canary that is wrong: it is held
//!   against nobody, and for nobody; when that lasts, people are told ([`super::decide::doubt`]). Who has just turned there says nothing yet, and may be as wrong.
//! * **Anchors and lag.** A probe of whose anchors fewer than half answer, or whose own threads come a
//!   second late, is suspected too, unless most of the probes say the same of themselves: then it is
//!   the anchor, or ours, that is ill.
//!
//! Pure; the shell is the judge's. Only the leader's watchdog is asked. What it wishes is proposed by
//! the fleet's tracker, stands in the probe's row once it is applied, and is obeyed from there.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::health::{Ailment, Health};
use parallax_common::limits::{
    ALONE_AT_MOST, DISAGREEING_TARGETS_MIN, DISAGREEMENT_BASE_RATE, EXCLUDE_AFTER,
    EXCLUDE_LOOP_LAG, READMIT_AFTER, SUSPECT_BELOW, WELL_ABOVE,
};
use parallax_common::time::MeshTime;
use parallax_proto::v1::{Exclusion, ExclusionCause};

use super::fleet::ProbeKey;

#[cfg(test)]
mod tests;

/// Checks of one target.
#[derive(Debug, Clone, Copy, Default)]
struct Checks {
    all: u32,
    disagreeing: u32,
}

/// What a probe says of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witnessed<'a> {
    /// Where it looks from.
    pub region: &'a str,
    /// Its name.
    pub probe: &'a str,
    /// Or it passes.
    pub fails: bool,
    /// It may not vote now.
    pub excluded: bool,
    /// It has said so for less long than it takes all regions to have had their turn.
    pub young: bool,
}

/// What a look at all checks found, by probe and target.
#[derive(Debug, Default)]
pub struct Survey {
    found: BTreeMap<ProbeKey, BTreeMap<String, Checks>>,
    canaries: BTreeMap<ProbeKey, Canaries>,
}

/// Canaries that a probe looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Canaries {
    /// All of them.
    pub all: u32,
    /// Those whose known answer it does not see.
    pub wrong: u32,
    /// Those of which too many others do not see it either.
    pub in_doubt: u32,
}

/// Counts a probe for its share of its region.
pub type Shares<'a> = BTreeMap<&'a str, (u32, u32)>;

/// Adds a probe of a region, and whether it is one of those that are counted.
pub fn share<'a>(shares: &mut Shares<'a>, region: &'a str, counted: bool) {
    let (some, all) = shares.entry(region).or_default();
    *some += u32::from(counted);
    *all += 1;
}

/// Whether those that are counted make half of the regions, or more. A sum of shares may miss a half by
/// the last bit.
pub fn is_half(shares: &Shares<'_>) -> bool {
    let sum: f64 = shares.values().map(|(some, all)| f64::from(*some) / f64::from(*all)).sum();
    let regions = f64::from(u32::try_from(shares.len()).unwrap_or(u32::MAX));
    sum * 2.0 + 1e-9 >= regions
}

impl Survey {
    /// Takes one check of `target`: what the probes say of it whose vote is fresh.
    pub fn take(&mut self, target: &str, votes: &[Witnessed<'_>]) {
        // Regions look one after the other: while one has just turned, the others may yet follow.
        if votes.iter().any(|vote| vote.young) {
            return;
        }
        for vote in votes {
            let others =
                || votes.iter().filter(|other| other.region != vote.region && !other.excluded);
            let Some(first) = others().next() else { continue };
            let alike = others().all(|other| other.fails == first.fails);
            if !alike || others().all(|other| other.region == first.region) {
                continue;
            }
            let (region, probe) = (vote.region.to_owned(), vote.probe.to_owned());
            let key = ProbeKey { region, probe };
            let targets = self.found.entry(key).or_default();
            let checks = match targets.get_mut(target) {
                Some(checks) => checks,
                None => targets.entry(target.to_owned()).or_default(),
            };
            checks.all += 1;
            checks.disagreeing += u32::from(vote.fails != first.fails);
        }
    }

    /// Takes one canary: who sees another thing than its known answer, of those whose vote is fresh. A vote
    /// that is young counts for doubt in the canary, whatever it says, and is held neither against its probe
    /// nor for it: so one that flaps hides nobody, unless it is as many as half would take.
    pub fn take_canary(&mut self, votes: &[Witnessed<'_>]) {
        let mut doubting = Shares::new();
        for vote in votes {
            share(&mut doubting, vote.region, vote.fails || vote.young);
        }
        let in_doubt = is_half(&doubting);
        for vote in votes.iter().filter(|vote| !vote.young) {
            let (region, probe) = (vote.region.to_owned(), vote.probe.to_owned());
            let canaries = self.canaries.entry(ProbeKey { region, probe }).or_default();
            canaries.all += 1;
            canaries.wrong += u32::from(vote.fails && !in_doubt);
            canaries.in_doubt += u32::from(vote.fails && in_doubt);
        }
    }

    /// What a probe sees of canaries.
    pub fn canaries(&self, key: &ProbeKey) -> Canaries {
        self.canaries.get(key).copied().unwrap_or_default()
    }

    /// On how many targets a probe disagreed, of how many.
    pub fn of(&self, key: &ProbeKey) -> (u32, u32) {
        self.found.get(key).map_or((0, 0), |targets| counted(targets.values()))
    }

    /// The same of all probes of each region together, in one pass.
    fn of_regions(&self) -> BTreeMap<&str, (u32, u32)> {
        let mut regions: BTreeMap<&str, BTreeMap<&str, Checks>> = BTreeMap::new();
        for (key, theirs) in &self.found {
            let targets = regions.entry(&key.region).or_default();
            for (target, checks) in theirs {
                let together = targets.entry(target).or_default();
                together.all += checks.all;
                together.disagreeing += checks.disagreeing;
            }
        }
        regions.into_iter().map(|(region, targets)| (region, counted(targets.values()))).collect()
    }
}

fn counted<'a>(targets: impl Iterator<Item = &'a Checks>) -> (u32, u32) {
    targets.fold((0, 0), |(disagreeing, all), checks| {
        (disagreeing + u32::from(checks.disagreeing * 2 >= checks.all), all + 1)
    })
}

/// The chance that of `n` things at least `k` happen, each with chance `p`: the upper tail of the
/// binomial distribution. 1 at and below what is to be expected.
pub fn tail(n: u32, k: u32, p: f64) -> f64 {
    let (n, k) = (f64::from(n), f64::from(k));
    if k <= n * p {
        return 1.0;
    }
    if k > n {
        return 0.0;
    }
    // ln C(n, k), then each term from the one before it; they fall, as k is above the mean.
    let mut choose = 0.0;
    let mut i = 0.0;
    while i < k {
        choose += ((n - i) / (k - i)).ln();
        i += 1.0;
    }
    let mut term = (choose + k * p.ln() + (n - k) * (-p).ln_1p()).exp();
    let (mut sum, mut at) = (0.0, k);
    while at <= n && term > sum * 1e-15 {
        sum += term;
        term *= (n - at) / (at + 1.0) * p / (1.0 - p);
        at += 1.0;
    }
    sum.min(1.0)
}

/// What is to be thought of a probe now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opinion {
    Suspect(ExclusionCause),
    /// Neither bad enough nor good enough: as it was.
    Undecided,
    Well,
}

/// One probe.
#[derive(Debug, Clone, Default)]
struct Watched {
    /// What it said of itself last.
    ailment: Option<ExclusionCause>,
    suspect_since: Option<MeshTime>,
    /// Since when nothing that it is excluded for tells anything of it.
    alone_since: Option<MeshTime>,
    well_since: Option<MeshTime>,
    /// What is wished for it.
    wish: Option<Exclusion>,
}

/// Every probe under watch.
#[derive(Debug, Default)]
pub struct Watchdog {
    probes: BTreeMap<ProbeKey, Watched>,
}

impl Watchdog {
    /// A probe with a row: whether it is excluded by the applied state. What was wished but not
    /// applied is wished again by the next look.
    pub fn row(&mut self, key: ProbeKey, exclusion: Option<Exclusion>) {
        self.probes.entry(key).or_default().wish = exclusion;
    }

    /// A probe without a row is not watched.
    pub fn forget(&mut self, key: &ProbeKey) {
        self.probes.remove(key);
    }

    /// A new term begins to count anew how long a suspicion lasts.
    pub fn begin_anew(&mut self) {
        for watched in self.probes.values_mut() {
            (watched.suspect_since, watched.well_since) = (None, None);
            watched.alone_since = None;
        }
    }

    /// What a probe says of itself.
    pub fn health(&mut self, key: &ProbeKey, health: &Health) {
        let Some(watched) = self.probes.get_mut(key) else { return };
        watched.ailment = if health.ailments().contains(&Ailment::Anchors) {
            Some(ExclusionCause::Anchors)
        } else {
            (health.loop_lag > EXCLUDE_LOOP_LAG).then_some(ExclusionCause::Lagging)
        };
    }

    /// Judges every probe by a whole look at all checks. `heard` says whether a probe speaks now: one
    /// that does not is left as it is. Returns the wishes that changed.
    pub fn review(
        &mut self,
        survey: &Survey,
        heard: impl Fn(&ProbeKey) -> bool,
        now: MeshTime,
    ) -> Vec<(ProbeKey, Option<Exclusion>)> {
        let speaking = self.probes.keys().filter(|key| heard(key)).count();
        let mut sick: BTreeMap<i32, usize> = BTreeMap::new();
        for (_, watched) in self.probes.iter().filter(|(key, _)| heard(key)) {
            if let Some(cause) = watched.ailment {
                *sick.entry(cause.into()).or_default() += 1;
            }
        }
        let own =
            |cause: &ExclusionCause| sick.get(&(*cause).into()).is_some_and(|n| n * 2 < speaking);
        let regions = survey.of_regions();
        let thought = |key: &ProbeKey| {
            let region = regions.get(&*key.region).copied().unwrap_or_default();
            in_region(survey.of(key), region)
        };
        let thought: BTreeMap<ProbeKey, Opinion> =
            self.probes.keys().map(|key| (key.clone(), thought(key))).collect();
        let mut doubted = Shares::new();
        for (key, of) in self.probes.iter().filter(|(key, _)| heard(key)) {
            let disagrees = matches!(thought.get(key), Some(Opinion::Suspect(_)));
            let suspect = disagrees || survey.canaries(key).wrong > 0;
            share(&mut doubted, &key.region, of.wish.is_some() || suspect);
        }
        let most_are_doubted = is_half(&doubted);
        let mut changed = Vec::new();
        for (key, watched) in &mut self.probes {
            if !heard(key) {
                (watched.suspect_since, watched.well_since) = (None, None);
                continue;
            }
            let (disagreeing, targets) = survey.of(key);
            let canaries = survey.canaries(key);
            let mut seen = (disagreeing, targets);
            let opinion = match watched.ailment.filter(own) {
                Some(cause) => Opinion::Suspect(cause),
                None if canaries.wrong > 0 && most_are_doubted => Opinion::Undecided,
                None if canaries.wrong > 0 => {
                    seen = (canaries.wrong, canaries.all);
                    Opinion::Suspect(ExclusionCause::Canary)
                }
                None => match thought.get(key).copied().unwrap_or(Opinion::Undecided) {
                    Opinion::Suspect(_) if most_are_doubted => Opinion::Undecided,
                    Opinion::Well if watched.is_alone(targets, canaries, now) => Opinion::Undecided,
                    opinion => opinion,
                },
            };
            if watched.follow(opinion, seen, now) {
                changed.push((key.clone(), watched.wish));
            }
        }
        changed
    }
}

/// Why a probe is excluded, in words.
pub fn because(exclusion: &Exclusion) -> String {
    let Exclusion { disagreeing, targets, .. } = exclusion;
    match exclusion.cause() {
        ExclusionCause::Disagrees | ExclusionCause::Unspecified => {
            format!(
                "alone sees another thing than all other regions on {disagreeing} of {targets} targets"
            )
        }
        ExclusionCause::Anchors => "hears from fewer than half of its anchors".to_owned(),
        ExclusionCause::Lagging => "comes late to its own work".to_owned(),
        ExclusionCause::Canary => {
            let canaries = if *targets == 1 { "canary" } else { "canaries" };
            format!(
                "sees another thing than the known answer of {disagreeing} of {targets} {canaries}"
            )
        }
    }
}

/// What to think of a probe by what it and its whole region disagree on.
fn in_region(own: (u32, u32), region: (u32, u32)) -> Opinion {
    let alone = opinion(own.0, own.1);
    let as_region = own.0 > 0 && own.0 * 2 >= own.1 && region.0 * 2 > region.1;
    if !as_region {
        return alone;
    }
    match (alone, opinion(region.0, region.1)) {
        (Opinion::Well | Opinion::Undecided, Opinion::Suspect(cause)) => Opinion::Suspect(cause),
        (Opinion::Well, Opinion::Undecided) => Opinion::Undecided,
        (alone, _) => alone,
    }
}

fn opinion(disagreeing: u32, targets: u32) -> Opinion {
    let chance = tail(targets, disagreeing, DISAGREEMENT_BASE_RATE);
    if disagreeing >= DISAGREEING_TARGETS_MIN && chance < SUSPECT_BELOW {
        Opinion::Suspect(ExclusionCause::Disagrees)
    } else if disagreeing >= DISAGREEING_TARGETS_MIN && chance <= WELL_ABOVE {
        Opinion::Undecided
    } else {
        Opinion::Well
    }
}

impl Watched {
    /// Whether it is excluded for its disagreements or by canaries and there is nothing to compare it with,
    /// not for too long yet. A canary in doubt is nothing to compare with.
    fn is_alone(&mut self, targets: u32, canaries: Canaries, now: MeshTime) -> bool {
        let compared = match self.wish.map(|wish| wish.cause()) {
            Some(ExclusionCause::Disagrees) => targets,
            Some(ExclusionCause::Canary) => canaries.all - canaries.in_doubt,
            _ => 1,
        };
        if compared > 0 {
            self.alone_since = None;
            return false;
        }
        now.since(*self.alone_since.get_or_insert(now)) < ALONE_AT_MOST
    }

    /// Says whether another thing is wished.
    fn follow(&mut self, opinion: Opinion, seen: (u32, u32), now: MeshTime) -> bool {
        let lasts = |since: &mut Option<MeshTime>, long: Duration| {
            now.since(*since.get_or_insert(now)) >= long
        };
        match opinion {
            Opinion::Suspect(cause) => {
                (self.well_since, self.alone_since) = (None, None);
                if !lasts(&mut self.suspect_since, EXCLUDE_AFTER) || self.wish.is_some() {
                    return false;
                }
                let (disagreeing, targets) = seen;
                let cause = cause.into();
                self.wish = Some(Exclusion { cause, since: None, disagreeing, targets });
                true
            }
            Opinion::Undecided => {
                (self.suspect_since, self.well_since) = (None, None);
                false
            }
            Opinion::Well => {
                self.suspect_since = None;
                lasts(&mut self.well_since, READMIT_AFTER) && self.wish.take().is_some()
            }
        }
    }
}
