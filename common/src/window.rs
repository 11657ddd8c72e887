//! Windows: one probe's results for one check over one aligned period of mesh time.
//!
//! [`Period`] is the ladder and its edges, [`Spans`] the outcomes in order, [`Checker`] the bounds
//! that an incoming window must hold before anybody keeps its bytes. The probe decides when a
//! window is sealed; readers merge.

use std::time::Duration;

use crate::expiry::Expiry;
use crate::histogram::{self, HistogramError, Totals, View};
use crate::limits::{
    ECHOES_MAX, INTERVAL_MAX, INTERVAL_MIN, OUTCOMES_PER_WINDOW_MAX, SAMPLES_MAX,
    SERIES_PER_WINDOW_MAX, SPANS_PER_WINDOW_MAX, STEPS_MAX,
};
use crate::name::{Incarnation, RunDigest, Uid};
use crate::outcome::{Outcome, Phase, Reason};
use crate::rule::{self, Rule};
use crate::time::{MeshTime, ns};

/// Lengths of windows, in seconds.
pub const LADDER_S: [u32; 5] = [10, 20, 30, 60, 300];

/// The length of a window: one of [`LADDER_S`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u32);

impl Period {
    /// The least length that holds an interval; the longest for longer intervals.
    pub fn for_interval(interval: Duration) -> Self {
        let fits = |seconds: &&u32| Duration::from_secs(u64::from(**seconds)) >= interval;
        Self(*LADDER_S.iter().find(fits).unwrap_or(&LADDER_S[LADDER_S.len() - 1]))
    }

    /// The length with so many seconds, when the ladder has it.
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        LADDER_S.contains(&seconds).then_some(Self(seconds))
    }

    /// Seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// The same as a duration.
    pub const fn length(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }

    /// Start and end of the window that `at` lies in: multiples of the period in mesh time. The end
    /// belongs to the next one.
    pub fn edges(self, at: MeshTime) -> (MeshTime, MeshTime) {
        let length = ns(self.length());
        // The multiple below the lowest instant is out of reach; windows there begin at it.
        let start = at.as_ns().saturating_sub(at.as_ns().rem_euclid(length));
        (MeshTime::from_ns(start), MeshTime::from_ns(start.saturating_add(length)))
    }
}

/// A stretch of equal outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Of all its runs.
    pub outcome: Outcome,
    /// Why, unless they passed.
    pub reason: Option<Reason>,
    /// Runs.
    pub count: u32,
    /// The runs were ordered and belong to no slot.
    pub ordered: bool,
}

/// Outcomes in order of completion, run-length encoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one outcome at the end.
    pub fn push(&mut self, outcome: Outcome, reason: Option<Reason>, ordered: bool) {
        self.push_span(Span { outcome, reason, count: 1, ordered });
    }

    /// Adds a stretch at the end; joins it to the last one when they are alike.
    pub fn push_span(&mut self, span: Span) {
        if let Some(last) = self.0.last_mut()
            && (Span { count: span.count, ..*last }) == span
            && let Some(count) = last.count.checked_add(span.count)
        {
            last.count = count;
        } else if span.count > 0 {
            self.0.push(span);
        }
    }

    /// The stretches.
    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.0.iter()
    }

    /// Every outcome on its own: outcome, reason, ordered.
    pub fn expand(&self) -> impl Iterator<Item = (Outcome, Option<Reason>, bool)> {
        self.0.iter().flat_map(|span| {
            std::iter::repeat_n((span.outcome, span.reason, span.ordered), span.count as usize)
        })
    }

    /// Outcomes.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|span| u64::from(span.count)).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One series of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Place of the step in the run, from 0.
    pub step: u32,
    /// What was measured.
    pub phase: Phase,
    /// Count, sum, least, greatest.
    pub totals: Totals,
    /// The counts.
    pub histogram: histogram::Encoded,
}

/// One probe's results for one check over one aligned period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Of the check.
    pub check: Uid,
    /// What was run.
    pub run_digest: RunDigest,
    /// A multiple of the period.
    pub start: MeshTime,
    /// Its length.
    pub period: Period,
    /// Phase of the slots.
    pub phase_ns: i64,
    /// First and last slot; absent when only ordered runs lie in it.
    pub slots: Option<(i64, i64)>,
    /// First and last run number. Numbers of runs that overlap the edge may lie in the next window.
    pub numbers: Option<(u64, u64)>,
    /// In order of completion.
    pub outcomes: Spans,
    /// By step and phase.
    pub series: Vec<Series>,
    /// The certificate that expires first of all that its runs were shown.
    pub expiry: Option<Expiry>,
    /// The spool it came from.
    pub incarnation: Incarnation,
}

/// The plain numbers at the head of a window, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Nanoseconds.
    pub start_mesh_ns: i64,
    /// Seconds.
    pub period_s: u32,
    /// Nanoseconds.
    pub phase_ns: i64,
    /// Both ends included; empty when first > last.
    pub slots: (i64, i64),
    /// Both ends included; empty when first > last.
    pub numbers: (u64, u64),
}

/// Why a window is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not a length of the ladder.
    #[error("{0} s is not a length of the ladder")]
    Period(u32),
    /// The start is not a multiple of the period.
    #[error("the start is not a multiple of the period")]
    Start,
    /// The phase is negative or longer than the longest interval.
    #[error("the phase is outside any interval")]
    Phase,
    /// More slots than the shortest interval gives.
    #[error("there are more slots than fit into the period")]
    Slots,
    /// Run numbers begin at 1 and do not wrap.
    #[error("the run numbers are out of range")]
    Numbers,
    /// More outcomes than run numbers or slots.
    #[error("there are more outcomes than {0}")]
    Outcomes(&'static str),
    /// Slots or numbers, but no outcome for them.
    #[error("there are {0} but no outcomes")]
    NoOutcomes(&'static str),
    /// A stretch of nothing, or too many stretches.
    #[error("the stretches of outcomes are malformed")]
    Spans,
    /// A reason that does not go with its outcome.
    #[error("the reason does not go with the outcome")]
    Reason,
    /// A step that cannot be, the same series twice, or too many.
    #[error("the series are malformed")]
    Series,
    /// More samples than runs can have.
    #[error("a series has more samples than its runs can have")]
    Samples,
    /// A time that no certificate can name, or a step that cannot be.
    #[error("no certificate expires then, or no step saw it")]
    Expiry,
    /// What is wrong with a histogram.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
    /// A field that every window has is missing or unreadable.
    #[error("`{0}` is missing or unreadable")]
    Field(&'static str),
}

impl WindowError {
    /// The rule it breaks, for counters and for the probe's refusals.
    pub const fn rule(&self) -> Rule {
        match self {
            Self::Period(_) | Self::Start | Self::Phase => rule::WINDOW_EDGES,
            Self::Slots | Self::Numbers => rule::WINDOW_NUMBERS,
            Self::Outcomes(_) | Self::NoOutcomes(_) | Self::Spans | Self::Reason => {
                rule::WINDOW_OUTCOMES
            }
            Self::Series | Self::Samples => rule::WINDOW_SERIES,
            Self::Expiry => rule::WINDOW_EXPIRY,
            Self::Histogram(_) => rule::WINDOW_HISTOGRAM,
            Self::Field(_) => rule::WIRE_FIELD,
        }
    }
}

/// Whether a reason goes with an outcome: none with a pass, the warning's with a warn, a fail's
/// with a fail, and a slot's with a missed one.
pub const fn agrees(outcome: Outcome, reason: Option<Reason>) -> bool {
    match (outcome, reason) {
        (Outcome::Pass, None) | (Outcome::Warn, Some(Reason::Warning)) => true,
        (Outcome::Fail, Some(reason)) => !reason.is_missed() && !matches!(reason, Reason::Warning),
        (Outcome::Missed, Some(reason)) => reason.is_missed(),
        _ => false,
    }
}

/// Checks a window piece by piece, in the order head, outcomes, series, expiry, end. Allocates nothing:
/// ingest does this for every window of every probe.
#[derive(Debug)]
pub struct Checker {
    period: Period,
    slots: u64,
    numbers: u64,
    spans: usize,
    scheduled: u64,
    all: u64,
    series: usize,
    /// One bit for each (step, phase) seen.
    seen: u128,
}

impl Checker {
    /// Begins with the head.
    ///
    /// # Errors
    /// A length that is not of the ladder, a start that is not aligned, ranges out of bounds.
    pub fn begin(head: Head) -> Result<Self, WindowError> {
        let Head { start_mesh_ns, period_s, phase_ns, slots, numbers } = head;
        let period = Period::from_seconds(period_s).ok_or(WindowError::Period(period_s))?;
        let length = ns(period.length());
        if start_mesh_ns.rem_euclid(length) != 0 || start_mesh_ns.checked_add(length).is_none() {
            return Err(WindowError::Start);
        }
        if !(0..ns(INTERVAL_MAX)).contains(&phase_ns) {
            return Err(WindowError::Phase);
        }
        // Edges inclusive: one more slot than whole intervals.
        let slots_max = length / ns(INTERVAL_MIN) + 1;
        let slots = match slots.1.checked_sub(slots.0) {
            _ if slots.0 > slots.1 => 0,
            Some(more) if more < slots_max => more.unsigned_abs() + 1,
            _ => return Err(WindowError::Slots),
        };
        let numbers = match numbers {
            (first, last) if first > last => 0,
            (0, _) | (_, u64::MAX) => return Err(WindowError::Numbers),
            (first, last) => last - first + 1,
        };
        Ok(Self { period, slots, numbers, spans: 0, scheduled: 0, all: 0, series: 0, seen: 0 })
    }

    /// The window's length.
    pub fn period(&self) -> Period {
        self.period
    }

    /// The next stretch of outcomes.
    ///
    /// # Errors
    /// A stretch of nothing, one too many, or a reason that does not go with its outcome.
    pub fn span(&mut self, span: Span) -> Result<(), WindowError> {
        self.spans += 1;
        self.all += u64::from(span.count);
        self.scheduled += if span.ordered { 0 } else { u64::from(span.count) };
        if span.count == 0
            || self.spans > SPANS_PER_WINDOW_MAX
            || self.all > OUTCOMES_PER_WINDOW_MAX
        {
            return Err(WindowError::Spans);
        }
        if !agrees(span.outcome, span.reason) {
            return Err(WindowError::Reason);
        }
        Ok(())
    }

    /// The next series; all stretches have been said.
    ///
    /// # Errors
    /// A step that cannot be, the same (step, phase) twice, more samples than runs, or whatever is
    /// wrong with the histogram.
    pub fn series(
        &mut self,
        step: u32,
        phase: Phase,
        totals: Totals,
        histogram: View<'_>,
    ) -> Result<(), WindowError> {
        self.series += 1;
        if self.series > SERIES_PER_WINDOW_MAX || step as usize >= STEPS_MAX {
            return Err(WindowError::Series);
        }
        let bit = 1u128 << (step as usize * Phase::ALL.len() + phase as usize);
        if self.seen & bit != 0 {
            return Err(WindowError::Series);
        }
        self.seen |= bit;
        if totals.count > self.all.saturating_mul(u64::from(most_of(phase))) {
            return Err(WindowError::Samples);
        }
        Ok(histogram::check(histogram, totals)?)
    }

    /// The certificate that expires first.
    ///
    /// # Errors
    /// A time that no certificate can name, or a step that cannot be.
    pub fn expiry(&self, expiry: Expiry) -> Result<(), WindowError> {
        if expiry.is_sayable() { Ok(()) } else { Err(WindowError::Expiry) }
    }

    /// The end: what was said must agree with the head.
    ///
    /// # Errors
    /// More outcomes than numbers or slots, or numbers or slots without outcomes.
    pub fn end(self) -> Result<(), WindowError> {
        if self.all > self.numbers {
            Err(WindowError::Outcomes("run numbers"))
        } else if self.scheduled > self.slots {
            Err(WindowError::Outcomes("slots"))
        } else if self.all == 0 && self.numbers > 0 {
            Err(WindowError::NoOutcomes("run numbers"))
        } else if self.scheduled == 0 && self.slots > 0 {
            Err(WindowError::NoOutcomes("slots"))
        } else {
            Ok(())
        }
    }
}

/// Most samples that one outcome has in a series: each run of the slot has one, and a run of echoes has
/// one for each of them. What counts from the slot it has once.
const fn most_of(phase: Phase) -> u32 {
    match phase {
        Phase::Lateness | Phase::FromSlot => 1,
        Phase::FirstByte => SAMPLES_MAX * ECHOES_MAX,
        Phase::Dns | Phase::Connect | Phase::Tls | Phase::Transfer | Phase::Total => SAMPLES_MAX,
    }
}

impl Window {
    /// Whether every bound holds.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), WindowError> {
        let mut checker = Checker::begin(Head {
            start_mesh_ns: self.start.as_ns(),
            period_s: self.period.seconds(),
            phase_ns: self.phase_ns,
            slots: self.slots.unwrap_or((1, 0)),
            numbers: self.numbers.unwrap_or((1, 0)),
        })?;
        for span in self.outcomes.iter() {
            checker.span(*span)?;
        }
        for Series { step, phase, totals, histogram } in &self.series {
            checker.series(*step, *phase, *totals, histogram.view())?;
        }
        if let Some(expiry) = self.expiry {
            checker.expiry(expiry)?;
        }
        checker.end()
    }
}

#[cfg(test)]
mod tests;
