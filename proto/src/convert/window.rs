//! Windows, as probes send them.
//!
//! [`check_window`] is for ingest: every bound, no allocation, the bytes are kept as they came.
//! [`window`] builds the checked type, for readers.

use parallax_common::expiry::Expiry;
use parallax_common::histogram::{Encoded, Totals, View};
use parallax_common::name::{Incarnation, RunDigest, Uid};
use parallax_common::time::MeshTime;
use parallax_common::window::{Checker, Head, Period, Series, Span, Spans, Window, WindowError};

use super::enums::{outcome, outcome_to, phase, phase_to, reason, reason_or_none_to};
use crate::v1;

/// What an accepted window is filed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowKey {
    /// Of the check.
    pub check: Uid,
    /// What was run.
    pub run_digest: RunDigest,
    /// The spool it came from.
    pub incarnation: Incarnation,
    /// A multiple of the period.
    pub start: MeshTime,
    /// Its length.
    pub period: Period,
    /// The certificate that expires first of all that its runs were shown.
    pub expiry: Option<Expiry>,
}

/// Checks every bound of an incoming window.
///
/// # Errors
/// The first that does not hold.
pub fn check_window(window: &v1::Window) -> Result<WindowKey, WindowError> {
    let check = Uid::from_slice(&window.check_uid).ok_or(WindowError::Field("check_uid"))?;
    let mut checker = Checker::begin(head(window))?;
    let period = checker.period();
    for given in &window.outcomes {
        checker.span(span(given)?)?;
    }
    for given in &window.series {
        let (phase, totals, view) = series(given)?;
        checker.series(given.step, phase, totals, view)?;
    }
    let expiry = expiry(window);
    expiry.map_or(Ok(()), |expiry| checker.expiry(expiry))?;
    checker.end()?;
    Ok(WindowKey {
        check,
        run_digest: RunDigest(window.run_digest),
        incarnation: Incarnation(window.incarnation),
        start: MeshTime::from_ns(window.start_mesh_ns),
        period,
        expiry,
    })
}

/// The checked form of an incoming window.
///
/// # Errors
/// The first bound that does not hold.
pub fn window(window: &v1::Window) -> Result<Window, WindowError> {
    let key = check_window(window)?;
    let mut outcomes = Spans::new();
    for given in &window.outcomes {
        outcomes.push_span(span(given)?);
    }
    let series = window
        .series
        .iter()
        .map(|given| {
            let (phase, totals, view) = series(given)?;
            Ok(Series { step: given.step, phase, totals, histogram: owned(view) })
        })
        .collect::<Result<_, WindowError>>()?;
    Ok(Window {
        check: key.check,
        run_digest: key.run_digest,
        start: key.start,
        period: key.period,
        phase_ns: window.phase_ns,
        slots: range(window.first_slot, window.last_slot),
        numbers: range(window.first_number, window.last_number),
        outcomes,
        series,
        expiry: key.expiry,
        incarnation: key.incarnation,
    })
}

/// A window as messages carry it.
pub fn window_to(window: &Window) -> v1::Window {
    let (first_slot, last_slot) = window.slots.unwrap_or((1, 0));
    let (first_number, last_number) = window.numbers.unwrap_or((1, 0));
    v1::Window {
        check_uid: window.check.as_bytes().to_vec().into(),
        run_digest: window.run_digest.0,
        start_mesh_ns: window.start.as_ns(),
        period_s: window.period.seconds(),
        phase_ns: window.phase_ns,
        first_slot,
        last_slot,
        first_number,
        last_number,
        outcomes: window
            .outcomes
            .iter()
            .map(|span| v1::OutcomeSpan {
                outcome: outcome_to(span.outcome),
                reason: reason_or_none_to(span.reason),
                count: span.count,
                ordered: span.ordered,
            })
            .collect(),
        series: window.series.iter().map(series_to).collect(),
        incarnation: window.incarnation.0,
        not_after_s: window.expiry.map(|expiry| expiry.not_after_s),
        not_after_step: window.expiry.map_or(0, |expiry| expiry.step),
    }
}

fn series_to(series: &Series) -> v1::Series {
    use v1::series::Histogram;
    let Totals { count, sum_us, min_us, max_us } = series.totals;
    let histogram = match &series.histogram {
        Encoded::Sparse { index_delta, count } => Histogram::Sparse(v1::SparseHistogram {
            index_delta: index_delta.clone(),
            count: count.clone(),
        }),
        Encoded::HdrV2(bytes) => Histogram::HdrV2(bytes.clone().into()),
    };
    v1::Series {
        step: series.step,
        phase: phase_to(series.phase),
        count,
        sum_us,
        min_us,
        max_us,
        histogram: Some(histogram),
    }
}

fn head(window: &v1::Window) -> Head {
    Head {
        start_mesh_ns: window.start_mesh_ns,
        period_s: window.period_s,
        phase_ns: window.phase_ns,
        slots: (window.first_slot, window.last_slot),
        numbers: (window.first_number, window.last_number),
    }
}

fn expiry(window: &v1::Window) -> Option<Expiry> {
    let not_after_s = window.not_after_s?;
    Some(Expiry { not_after_s, step: window.not_after_step })
}

fn range<T: PartialOrd>(first: T, last: T) -> Option<(T, T)> {
    (first <= last).then_some((first, last))
}

fn span(span: &v1::OutcomeSpan) -> Result<Span, WindowError> {
    let outcome = outcome(span.outcome).ok_or(WindowError::Field("outcome"))?;
    let known = reason(span.reason);
    if known.is_none() && span.reason != 0 {
        return Err(WindowError::Field("reason"));
    }
    Ok(Span { outcome, reason: known, count: span.count, ordered: span.ordered })
}

fn series(
    series: &v1::Series,
) -> Result<(parallax_common::outcome::Phase, Totals, View<'_>), WindowError> {
    let phase = phase(series.phase).ok_or(WindowError::Field("phase"))?;
    let totals = Totals {
        count: series.count,
        sum_us: series.sum_us,
        min_us: series.min_us,
        max_us: series.max_us,
    };
    let view = match series.histogram.as_ref().ok_or(WindowError::Field("histogram"))? {
        v1::series::Histogram::Sparse(sparse) => {
            View::Sparse { index_delta: &sparse.index_delta, count: &sparse.count }
        }
        v1::series::Histogram::HdrV2(bytes) => View::HdrV2(bytes),
    };
    Ok((phase, totals, view))
}

fn owned(view: View<'_>) -> Encoded {
    match view {
        View::Sparse { index_delta, count } => {
            Encoded::Sparse { index_delta: index_delta.to_vec(), count: count.to_vec() }
        }
        View::HdrV2(bytes) => Encoded::HdrV2(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests;
