//! What was measured and what was decided: tables, and the views behind them.

use std::fmt::Write as _;
use std::time::Duration;

use parallax_proto::v1;
use serde::Serialize;

use super::mark::Tone;
use super::table::Table;
use super::{Shell, time, word};

/// `history`.
#[derive(Debug, Serialize)]
pub struct HistoryView {
    check: String,
    check_uid: String,
    since: Option<String>,
    until: Option<String>,
    /// Which resolution answered, and how long its cells are.
    tier: String,
    cell: Option<String>,
    /// Whose store answered.
    node_id: u64,
    dropped: u64,
    rows: Vec<RowView>,
    #[serde(skip)]
    quantiles: Vec<f64>,
}

/// One stretch of time of one group.
#[derive(Debug, Serialize)]
pub struct RowView {
    start: Option<String>,
    end: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    region: String,
    covered: Option<String>,
    expected: Option<String>,
    /// Absent when nothing is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage_percent: Option<f64>,
    passed: u64,
    warned: u64,
    failed: u64,
    missed: u64,
    ordered: u64,
    unassigned: u64,
    /// The region is shown, not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    advisory: bool,
    reasons: Vec<ReasonView>,
    series: Vec<SeriesView>,
}

/// Runs with one reason.
#[derive(Debug, Serialize)]
pub struct ReasonView {
    outcome: String,
    reason: String,
    count: u64,
    ordered: bool,
}

/// Latency of one phase.
#[derive(Debug, Serialize)]
pub struct SeriesView {
    #[serde(skip_serializing_if = "String::is_empty")]
    phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    count: u64,
    min_ms: Option<f64>,
    mean_ms: Option<f64>,
    max_ms: Option<f64>,
    quantiles: Vec<QuantileView>,
}

/// One percentile.
#[derive(Debug, Serialize)]
pub struct QuantileView {
    percent: f64,
    ms: Option<f64>,
}

fn span(length: Option<&prost_types::Duration>) -> Duration {
    length.and_then(time::positive).unwrap_or_default()
}

fn ms(length: Option<&prost_types::Duration>) -> Option<f64> {
    // Whole microseconds, so three digits behind the point say all.
    length.and_then(time::positive).map(|length| length.as_micros() as f64 / 1_000.0)
}

/// A share in percent; absent when nothing is expected. More than all is all.
fn share(part: Duration, whole: Duration) -> Option<f64> {
    (!whole.is_zero()).then(|| (100.0 * part.as_secs_f64() / whole.as_secs_f64()).min(100.0))
}

impl RowView {
    fn new(row: &v1::HistoryRow, percents: &[f64]) -> Self {
        let of = |wanted: v1::Outcome| {
            row.counts.iter().filter(|c| c.outcome() == wanted).map(|count| count.count).sum()
        };
        let with_reason = |counts: &[v1::HistoryCount], ordered: bool| -> Vec<ReasonView> {
            let some = counts.iter().filter(|count| count.reason != 0);
            some.map(|count| ReasonView {
                outcome: word::outcome(count.outcome),
                reason: word::reason(count.reason),
                count: count.count,
                ordered,
            })
            .collect()
        };
        let mut reasons = with_reason(&row.counts, false);
        reasons.extend(with_reason(&row.ordered, true));
        Self {
            start: time::instant(row.start.as_ref()),
            end: time::instant(row.end.as_ref()),
            region: row.region.clone(),
            covered: time::length(row.covered.as_ref()),
            expected: time::length(row.expected.as_ref()),
            coverage_percent: share(span(row.covered.as_ref()), span(row.expected.as_ref())),
            passed: of(v1::Outcome::Pass),
            warned: of(v1::Outcome::Warn),
            failed: of(v1::Outcome::Fail),
            missed: of(v1::Outcome::Missed),
            ordered: row.ordered.iter().map(|count| count.count).sum(),
            unassigned: row.unassigned,
            advisory: row.advisory,
            reasons,
            series: row.series.iter().map(|series| SeriesView::new(series, percents)).collect(),
        }
    }
}

impl SeriesView {
    fn new(series: &v1::HistorySeries, percents: &[f64]) -> Self {
        let phase = if series.phase == 0 { String::new() } else { word::phase(series.phase) };
        Self {
            phase,
            step: series.step,
            count: series.count,
            min_ms: ms(series.min.as_ref()),
            mean_ms: ms(series.mean.as_ref()),
            max_ms: ms(series.max.as_ref()),
            quantiles: percents
                .iter()
                .zip(&series.quantiles)
                .map(|(percent, length)| QuantileView { percent: *percent, ms: ms(Some(length)) })
                .collect(),
        }
    }
}

impl HistoryView {
    /// The view of an answer to these percentiles.
    pub fn new(check: &str, answer: &v1::QueryHistoryResponse, percents: &[f64]) -> Self {
        Self {
            check: check.to_owned(),
            check_uid: answer.check_uid.clone(),
            since: time::instant(answer.since.as_ref()),
            until: time::instant(answer.until.as_ref()),
            tier: word::history_tier(answer.tier),
            cell: time::length(answer.cell.as_ref()),
            node_id: answer.node_id,
            dropped: answer.dropped,
            rows: answer.rows.iter().map(|row| RowView::new(row, percents)).collect(),
            quantiles: percents.to_vec(),
        }
    }

    /// One line a row and series; milliseconds.
    pub fn table(&self, shell: &Shell) -> String {
        let percents: Vec<String> = self.quantiles.iter().map(|p| format!("P{p}")).collect();
        let mut header = vec!["START", "REGION", "COVER", "RUNS", "WARN", "FAIL", "MISSED"];
        header.extend(["PHASE", "STEP", "SAMPLES"]);
        header.extend(percents.iter().map(String::as_str));
        header.push("MAX");
        let mut table = Table::new(header);
        let dash = || "-".to_owned();
        for row in &self.rows {
            let runs = row.passed + row.warned + row.failed;
            let cover = row.coverage_percent.map_or_else(dash, |share| format!("{share:.0}%"));
            let bad =
                |count: u64, tone| (count.to_string(), if count > 0 { tone } else { Tone::Plain });
            let full = row.coverage_percent.is_none_or(|share| share >= 99.5);
            let head = [
                (row.start.clone().unwrap_or_default(), Tone::Plain),
                (
                    match (row.region.as_str(), row.advisory) {
                        ("", _) => "all".to_owned(),
                        (region, true) => format!("{region} (advisory)"),
                        (region, false) => region.to_owned(),
                    },
                    Tone::Plain,
                ),
                (cover, if full { Tone::Plain } else { Tone::Warn }),
                (runs.to_string(), Tone::Plain),
                bad(row.warned, Tone::Warn),
                bad(row.failed, Tone::Bad),
                bad(row.missed, Tone::Warn),
            ];
            if row.series.is_empty() {
                let gap = std::iter::repeat_n((dash(), Tone::Dim), 4 + self.quantiles.len());
                table.toned(head.into_iter().chain(gap));
                continue;
            }
            for series in &row.series {
                let figure =
                    |ms: Option<f64>| (ms.map_or_else(dash, |ms| format!("{ms:.3}")), Tone::Plain);
                let phase = if series.phase.is_empty() { "sum" } else { &series.phase };
                let mut cells = head.to_vec();
                cells.push((phase.to_owned(), Tone::Plain));
                cells.push((
                    series.step.map_or_else(|| "all".to_owned(), |s| s.to_string()),
                    Tone::Plain,
                ));
                cells.push((series.count.to_string(), Tone::Plain));
                cells.extend(series.quantiles.iter().map(|quantile| figure(quantile.ms)));
                cells.push(figure(series.max_ms));
                table.toned(cells);
            }
        }
        shell.rows(table)
    }

    /// What a reader must know of the figures.
    pub fn note(&self) -> String {
        let cell = self.cell.clone().unwrap_or_default();
        let mut note = format!(
            "milliseconds, from the {} of coordinator {} (cells of up to {cell}); COVER is how much \
             of the time windows account for",
            self.tier, self.node_id
        );
        if self.dropped > 0 {
            // Writing to a string does not fail.
            let _ = write!(
                note,
                "; {} windows and cells were dropped there for want of room",
                self.dropped
            );
        }
        note
    }
}

/// `uptime`.
#[derive(Debug, Serialize)]
pub struct UptimesView {
    checks: Vec<UptimeView>,
    #[serde(skip)]
    brief: bool,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct UptimeView {
    check: String,
    check_uid: String,
    since: Option<String>,
    until: Option<String>,
    /// Of the time of which something is known; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_percent: Option<f64>,
    up: Option<String>,
    degraded: Option<String>,
    down: Option<String>,
    unknown: Option<String>,
    unrecorded: Option<String>,
    outages: usize,
    intervals: Vec<IntervalView>,
    intervals_left_out: u64,
    /// Times without a leader: unrecorded, whatever stood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    leaderless: Vec<LeaderlessView>,
    regions: Vec<RegionSuccessView>,
    /// The range begins later than asked for.
    truncated: bool,
    revision: u64,
}

/// A verdict, from when to when.
#[derive(Debug, Serialize)]
pub struct IntervalView {
    verdict: String,
    from: Option<String>,
    /// Absent while it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

/// Nobody led, from when to when.
#[derive(Debug, Serialize)]
pub struct LeaderlessView {
    from: Option<String>,
    /// Absent while nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

/// What a region's own runs say.
#[derive(Debug, Serialize)]
pub struct RegionSuccessView {
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_percent: Option<f64>,
    passed: u64,
    failed: u64,
    missed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage_percent: Option<f64>,
    /// Shown, not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    advisory: bool,
}

impl UptimeView {
    fn new(answer: &v1::GetUptimeResponse) -> Self {
        let down = |interval: &&v1::VerdictInterval| interval.verdict() == v1::Verdict::Down;
        let interval = |interval: &v1::VerdictInterval| IntervalView {
            verdict: word::verdict(interval.verdict),
            from: time::instant(interval.from.as_ref()),
            to: time::instant(interval.to.as_ref()),
        };
        let region = |of: &v1::RegionSuccess| {
            let runs = of.passed + of.failed;
            RegionSuccessView {
                region: of.region.clone(),
                success_percent: (runs > 0).then(|| 100.0 * of.passed as f64 / runs as f64),
                passed: of.passed,
                failed: of.failed,
                missed: of.missed,
                coverage_percent: share(span(of.covered.as_ref()), span(of.expected.as_ref())),
                advisory: of.advisory,
            }
        };
        Self {
            check: answer.check.clone(),
            check_uid: answer.check_uid.clone(),
            since: time::instant(answer.since.as_ref()),
            until: time::instant(answer.until.as_ref()),
            uptime_percent: answer.percent,
            up: time::length(answer.up.as_ref()),
            degraded: time::length(answer.degraded.as_ref()),
            down: time::length(answer.down.as_ref()),
            unknown: time::length(answer.unknown.as_ref()),
            unrecorded: time::length(answer.unrecorded.as_ref()),
            outages: answer.intervals.iter().filter(down).count(),
            intervals: answer.intervals.iter().map(interval).collect(),
            intervals_left_out: answer.intervals_left_out,
            leaderless: answer
                .leaderless
                .iter()
                .map(|time| LeaderlessView {
                    from: time::instant(time.from.as_ref()),
                    to: time::instant(time.to.as_ref()),
                })
                .collect(),
            regions: answer.regions.iter().map(region).collect(),
            truncated: answer.truncated,
            revision: answer.revision,
        }
    }
}

fn percent(share: Option<f64>) -> String {
    // Downwards: 99.9996 is not 100.
    share.map_or_else(
        || "-".to_owned(),
        |share| format!("{:.3}%", (share * 1_000.0).floor() / 1_000.0),
    )
}

/// Whole seconds are enough for a table.
fn coarse(text: Option<&String>) -> String {
    let length = text.and_then(|text| parallax_common::text::parse_duration(text).ok());
    let whole = length.map(|length| Duration::from_secs(length.as_secs()));
    whole.map_or_else(|| "-".to_owned(), parallax_common::text::format_duration)
}

impl UptimesView {
    /// The view of some answers; `brief` leaves intervals and regions out of the text.
    pub fn new(answers: &[v1::GetUptimeResponse], brief: bool) -> Self {
        Self { checks: answers.iter().map(UptimeView::new).collect(), brief }
    }

    /// A table, and for one check its regions and intervals below.
    pub fn text(&self, shell: &Shell) -> String {
        let header = ["CHECK", "UPTIME", "DOWN", "OUTAGES", "DEGRADED", "UNKNOWN", "UNRECORDED"];
        let mut table = Table::new(header);
        for check in &self.checks {
            let outages = check.outages;
            let tone = if outages > 0 { Tone::Bad } else { Tone::Plain };
            let plain = |text: String| (text, Tone::Plain);
            table.toned([
                plain(check.check.clone()),
                (percent(check.uptime_percent), tone),
                plain(coarse(check.down.as_ref())),
                plain(outages.to_string()),
                plain(coarse(check.degraded.as_ref())),
                plain(coarse(check.unknown.as_ref())),
                plain(coarse(check.unrecorded.as_ref())),
            ]);
        }
        let mut text = shell.rows(table);
        if self.brief {
            return text;
        }
        for check in &self.checks {
            let mut regions = Table::new(["REGION", "RUNS PASSED", "FAILED", "MISSED", "COVER"]);
            for region in &check.regions {
                let only = if region.advisory { " (advisory)" } else { "" };
                regions.row([
                    format!("{}{only}", region.region),
                    percent(region.success_percent),
                    region.failed.to_string(),
                    region.missed.to_string(),
                    region.coverage_percent.map_or_else(|| "-".to_owned(), |s| format!("{s:.0}%")),
                ]);
            }
            let mut intervals = Table::new(["VERDICT", "FROM", "TO"]);
            for interval in &check.intervals {
                intervals.row([
                    interval.verdict.clone(),
                    time::or_dash(interval.from.clone()),
                    interval.to.clone().unwrap_or_else(|| "stands".to_owned()),
                ]);
            }
            // Writing to a string does not fail.
            let _ = write!(text, "\n{}\n{}", shell.rows(regions), shell.rows(intervals));
            if check.intervals_left_out > 0 {
                let _ = writeln!(text, "and {} older ones", check.intervals_left_out);
            }
            if !check.leaderless.is_empty() {
                let mut nobody = Table::new(["WITHOUT A LEADER FROM", "TO"]);
                for time in &check.leaderless {
                    nobody.row([
                        time::or_dash(time.from.clone()),
                        time.to.clone().unwrap_or_else(|| "still".to_owned()),
                    ]);
                }
                let _ = write!(text, "\n{}", shell.rows(nobody));
            }
            if check.truncated {
                let since = check.since.clone().unwrap_or_default();
                let _ = writeln!(text, "there are too many verdicts to read: only since {since}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(percent(Some(99.999_9)), "99.999%");
        assert_eq!(percent(Some(100.0)), "100.000%");
        assert_eq!(percent(None), "-");
    }

    #[test]
    fn a_share_of_nothing_is_absent_and_more_than_all_is_all() {
        let seconds = Duration::from_secs;
        assert_eq!(share(seconds(5), seconds(0)), None);
        assert_eq!(share(seconds(5), seconds(20)), Some(25.0));
        assert_eq!(share(seconds(30), seconds(20)), Some(100.0));
    }
}
