//! How fast a check spends its error budget, and what is left of it.
//!
//! The budget is what an slo leaves: with a target of 99.9 % one run of a thousand may fail. A burn rate of
//! 1 spends it exactly over the slo's time. Alerts look at two spans that end together, as the Google SRE
//! workbook has it (chapter 5, "Multiwindow, Multi-Burn-Rate Alerts"): the long one says that it matters,
//! the short one that it still happens.

use std::time::Duration;

use parallax_common::alert::Slo;
use parallax_common::limits::HISTORY_MINUTES_AGE_MAX;
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::convert::time::{duration_to, mesh_timestamp};
use parallax_proto::v1;

use super::series::{Count, Series, exceeds};
use super::{Look, Standing, Turn};
use crate::core::stamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

/// Fewer failed runs in the long span are chance, however large their share.
pub const FAILED_MIN: u64 = 3;
/// Runs fail in so many regions, where the check has so many: else it is the region that is bad.
pub const REGIONS_MIN: usize = 2;

/// Two spans and how fast the budget burns in both.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    /// Of the alert. No alert of a user can be called so.
    pub name: &'static str,
    /// The span that says that it matters.
    pub long: Duration,
    /// The span that says that it goes on, of a check that runs often enough ([`Pair::short_of`]).
    pub short: Duration,
    /// Tenths.
    pub factor_tenths: u32,
    /// How often it is looked at.
    pub every: Duration,
    /// How bad it is.
    pub severity: v1::Severity,
}

/// The fastest first. While one is open, those behind it do not open.
pub const PAIRS: [Pair; 3] = [
    Pair {
        name: "slo:1h",
        long: Duration::from_secs(HOUR),
        short: Duration::from_secs(5 * MINUTE),
        factor_tenths: 144,
        every: Duration::from_secs(MINUTE),
        severity: v1::Severity::Critical,
    },
    Pair {
        name: "slo:6h",
        long: Duration::from_secs(6 * HOUR),
        short: Duration::from_secs(30 * MINUTE),
        factor_tenths: 60,
        every: Duration::from_secs(5 * MINUTE),
        severity: v1::Severity::Critical,
    },
    Pair {
        name: "slo:3d",
        long: Duration::from_secs(72 * HOUR),
        short: Duration::from_secs(6 * HOUR),
        factor_tenths: 10,
        every: Duration::from_secs(30 * MINUTE),
        severity: v1::Severity::Warning,
    },
];

impl Pair {
    /// The short span for a check of this interval. Twice the interval has a run of each region, wherever
    /// it begins; with less, spans without any would keep an incident open for good.
    pub fn short_of(&self, interval: Duration, look: Look) -> Duration {
        let runs = interval.saturating_mul(2);
        self.short.max(look.step.saturating_mul(look.steps(runs)))
    }
}

/// The pair whose alert is called so.
pub fn pair(name: &str) -> Option<&'static Pair> {
    PAIRS.iter().find(|pair| pair.name == name)
}

/// The place of the pair whose alert is called so, from 1.
pub fn rank(name: &str) -> Option<usize> {
    PAIRS.iter().position(|pair| pair.name == name).map(|place| place + 1)
}

/// What the regions that count measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Their runs.
    pub runs: Count,
    /// Regions in which one failed.
    pub failing: usize,
}

impl Tally {
    /// Of the cells that begin within `from..to`, in these regions.
    pub fn of<'n>(
        series: &Series,
        regions: impl Iterator<Item = &'n String>,
        from: MeshTime,
        to: MeshTime,
    ) -> Self {
        let mut tally = Self::default();
        for region in regions {
            let count = series.count(region, from, to);
            tally.failing += usize::from(count.bad > 0);
            tally.runs.add(count);
        }
        tally
    }
}

/// Whether the budget burns more than so many tenths as fast as it may.
pub fn burns(slo: &Slo, runs: Count, factor_tenths: u32) -> bool {
    // All that is compared is whole: failed / runs > tenths / 10 * budget.
    let ppm_tenths = u128::from(factor_tenths) * u128::from(slo.budget_ppm());
    exceeds(runs.bad.saturating_mul(10), runs.all, ppm_tenths)
}

/// What one look at a pair reads.
#[derive(Debug)]
pub struct Burn<'s> {
    /// The check's.
    pub slo: &'s Slo,
    /// Regions that count.
    pub regions: usize,
    /// Which spans.
    pub pair: &'static Pair,
    /// How long the short one is.
    pub short: Duration,
    /// The long one.
    pub long: Tally,
    /// The short one, and before it those that ended a look earlier each, over as long again.
    pub shorts: Vec<Tally>,
    /// Where both end.
    pub until: MeshTime,
}

impl Burn<'_> {
    /// The moments at which short spans end that are looked at, the newest first: over as long again, or
    /// as far back as minutes are kept. There are no more of them when the spans are longer.
    pub fn ends(pair: &Pair, short: Duration, until: MeshTime) -> impl Iterator<Item = MeshTime> {
        let looks = pair.short.as_secs() / pair.every.as_secs().max(1);
        let times = short.as_secs().div_ceil(pair.short.as_secs().max(1));
        let every = pair.every.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
        let kept = until - HISTORY_MINUTES_AGE_MAX;
        (0..=u32::try_from(looks).unwrap_or(u32::MAX))
            .map(move |back| until - every.saturating_mul(back))
            .take_while(move |end| *end == until || *end - short >= kept)
    }

    /// What becomes of the pair's alert. Spans in which nothing ran say nothing.
    pub fn turn(&self, standing: Standing) -> Option<Turn> {
        let factor = self.pair.factor_tenths;
        let short = self.shorts.first().copied().unwrap_or_default();
        let clear = |tally: &Tally| tally.runs.all > 0 && !burns(self.slo, tally.runs, factor);
        match standing {
            Standing::Quiet => {
                let enough = self.long.runs.bad >= FAILED_MIN
                    && self.long.failing >= REGIONS_MIN.min(self.regions);
                let both =
                    burns(self.slo, self.long.runs, factor) && burns(self.slo, short.runs, factor);
                (enough && both).then(|| Turn::Open(self.record(short)))
            }
            Standing::Open => {
                let all = !self.shorts.is_empty() && self.shorts.iter().all(clear);
                all.then(|| Turn::Resolve(self.record(short)))
            }
            Standing::Latched => clear(&short).then_some(Turn::Unlatch),
        }
    }

    fn record(&self, short: Tally) -> v1::AlertRecord {
        let burn = v1::BurnRecord {
            target_ppm: self.slo.target_ppm,
            long: Some(duration_to(self.pair.long)),
            short: Some(duration_to(self.short)),
            factor_tenths: self.pair.factor_tenths,
            long_runs: self.long.runs.all,
            long_failed: self.long.runs.bad,
            long_regions: u32::try_from(self.long.failing).unwrap_or(u32::MAX),
            short_runs: short.runs.all,
            short_failed: short.runs.bad,
        };
        v1::AlertRecord {
            until: Some(mesh_timestamp(self.until)),
            burn: Some(burn),
            ..v1::AlertRecord::default()
        }
    }
}

/// What is left of a check's budget by the runs of its regions up to `until`.
pub fn budget(slo: &Slo, runs: Count, until: MeshTime) -> v1::Budget {
    // Of all runs so many may fail; what did is taken off.
    let may = u128::from(runs.all) * u128::from(slo.budget_ppm());
    let left = (may > 0).then(|| {
        let spent = u128::from(runs.bad) * 1_000_000 * 1_000_000 / may;
        1_000_000i64.saturating_sub(i64::try_from(spent).unwrap_or(i64::MAX))
    });
    v1::Budget {
        target_ppm: slo.target_ppm,
        over: Some(duration_to(slo.over)),
        runs: runs.all,
        failed: runs.bad,
        left_ppm: left,
        until: Some(stamp::timestamp(UtcTime::from_ns(until.as_ns()))),
    }
}

#[cfg(test)]
mod tests;
