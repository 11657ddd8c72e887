//! Ballots, and the records of decisions that rest on them.

use parallax_proto::v1;
use serde::Serialize;

use super::mark::{self, Tone};
use super::table::Table;
use super::{Shell, time, word};

/// One region's vote.
#[derive(Debug, Serialize)]
pub struct BallotView {
    /// Of the vote.
    pub region: String,
    /// `none`, `pass`, `warn` or `fail`.
    pub state: String,
    stale: bool,
    excluded: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    probe: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    in_a_row: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    step: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    evidence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_total: Option<String>,
    #[serde(skip)]
    last: Option<String>,
    /// Of the watermark.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<String>,
}

impl BallotView {
    /// The view of a message.
    pub fn new(ballot: &v1::Ballot) -> Self {
        Self {
            region: ballot.region.clone(),
            state: word::said(word::ballot(ballot.state)).unwrap_or_else(|| "none".to_owned()),
            stale: ballot.stale,
            excluded: ballot.excluded,
            probe: ballot.probe.clone(),
            since: time::instant(ballot.since.as_ref()),
            in_a_row: ballot.in_a_row,
            last_outcome: word::said(word::outcome(ballot.last_outcome)),
            reason: word::said(word::reason(ballot.reason)),
            step: ballot.step,
            evidence: ballot.evidence.clone(),
            last_run_at: time::instant(ballot.last_run_at.as_ref()),
            last_total: time::length(ballot.last_total.as_ref()),
            last: time::rounded(ballot.last_total.as_ref()),
            age: time::length(ballot.age.as_ref()),
        }
    }

    /// The word that counts: a vote that is excluded or stale is neither pass nor fail.
    pub fn counts_as(&self) -> &str {
        match self {
            Self { excluded: true, .. } => "excluded",
            Self { stale: true, .. } => "stale",
            _ => &self.state,
        }
    }

    /// One line a region.
    pub fn table(ballots: &[Self], shell: &Shell) -> String {
        let mut table =
            Table::new(["REGION", "BALLOT", "IN A ROW", "LAST", "REASON", "PROBE", "EVIDENCE"]);
        for ballot in ballots {
            let counts = ballot.counts_as();
            let plain = |text: String| (text, Tone::Plain);
            let passed = ballot.state == "pass";
            table.toned([
                plain(ballot.region.clone()),
                (format!("{} {counts}", mark::of_ballot(counts)), Tone::of_ballot(counts)),
                plain(ballot.in_a_row.to_string()),
                plain(time::or_dash(ballot.last.clone())),
                plain(time::or_dash(ballot.reason.clone().filter(|_| !passed))),
                plain(time::or_dash(Some(ballot.probe.clone()))),
                plain(if passed { String::new() } else { ballot.evidence.clone() }),
            ]);
        }
        shell.rows(table)
    }
}

/// The rule a decision followed, with its numbers.
#[derive(Debug, Serialize)]
pub struct RuleView {
    regions: u32,
    down_at: u32,
    up_at: u32,
    floor: u32,
    failures: u32,
    successes: u32,
    #[serde(skip_serializing_if = "is_zero")]
    failures_of: u32,
    #[serde(skip_serializing_if = "is_zero")]
    successes_of: u32,
    interval: Option<String>,
    timeout: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A decision with everything it rests on.
#[derive(Debug, Serialize)]
pub struct RecordView {
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleView>,
    failing: u32,
    passing: u32,
    warning: u32,
    fresh: u32,
    excluded: u32,
    /// One a region.
    pub ballots: Vec<BallotView>,
}

impl RecordView {
    /// The view of a message.
    pub fn new(record: &v1::DecisionRecord) -> Self {
        Self {
            verdict: word::verdict(record.verdict),
            degraded: word::said(word::degraded(record.degraded)),
            decided_at: time::instant(record.decided_at.as_ref()),
            rule: record.rule.as_ref().map(|rule| RuleView {
                regions: rule.regions,
                down_at: rule.down_at,
                up_at: rule.up_at,
                floor: rule.floor,
                failures: rule.failures,
                successes: rule.successes,
                failures_of: rule.failures_of,
                successes_of: rule.successes_of,
                interval: time::length(rule.interval.as_ref()),
                timeout: time::length(rule.timeout.as_ref()),
            }),
            failing: record.failing,
            passing: record.passing,
            warning: record.warning,
            fresh: record.fresh,
            excluded: record.excluded,
            ballots: record.ballots.iter().map(BallotView::new).collect(),
        }
    }
}
