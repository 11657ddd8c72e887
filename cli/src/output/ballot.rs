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
    /// Shown, not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub advisory: bool,
    /// Its probes do not agree.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    split: bool,
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
    /// Each probe of the region, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    probes: Vec<Self>,
}

impl BallotView {
    /// The view of a message.
    pub fn new(ballot: &v1::Ballot) -> Self {
        Self {
            region: ballot.region.clone(),
            state: word::said(word::ballot(ballot.state)).unwrap_or_else(|| "none".to_owned()),
            stale: ballot.stale,
            excluded: ballot.excluded,
            advisory: ballot.advisory,
            split: ballot.split,
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
            probes: ballot.probes.iter().map(Self::new).collect(),
        }
    }

    /// The word that counts: a vote that is excluded, stale or split is neither pass nor fail.
    pub fn counts_as(&self) -> &str {
        match self {
            Self { excluded: true, .. } => "excluded",
            Self { stale: true, .. } => "stale",
            Self { split: true, .. } => "split",
            _ => &self.state,
        }
    }

    /// One line a region, and below it one for each of its probes where there are several.
    pub fn table(ballots: &[Self], shell: &Shell) -> String {
        let mut table =
            Table::new(["REGION", "BALLOT", "IN A ROW", "LAST", "REASON", "PROBE", "EVIDENCE"]);
        for ballot in ballots {
            let region = match ballot.advisory {
                true => format!("{} (advisory)", ballot.region),
                false => ballot.region.clone(),
            };
            match &ballot.probes[..] {
                [] => table.toned(ballot.line(region)),
                probes => {
                    let counts = ballot.counts_as();
                    let vote = format!("{} {counts}", mark::of_ballot(counts));
                    let mut line = [const { (String::new(), Tone::Plain) }; 7];
                    (line[0].0, line[1]) = (region, (vote, Tone::of_ballot(counts)));
                    line[5].0 = format!("{} probes", probes.len());
                    table.toned(line);
                    for probe in probes {
                        table.toned(probe.line(format!("- {}", probe.region)));
                    }
                }
            }
        }
        shell.rows(table)
    }

    fn line(&self, region: String) -> [(String, Tone); 7] {
        let counts = self.counts_as();
        let plain = |text: String| (text, Tone::Plain);
        let passed = self.state == "pass";
        [
            plain(region),
            (format!("{} {counts}", mark::of_ballot(counts)), Tone::of_ballot(counts)),
            plain(self.in_a_row.to_string()),
            plain(time::or_dash(self.last.clone())),
            plain(time::or_dash(self.reason.clone().filter(|_| !passed))),
            plain(time::or_dash(Some(self.probe.clone()))),
            plain(if passed { String::new() } else { self.evidence.clone() }),
        ]
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
    missing: String,
    probes_per_region: u32,
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
    /// Regions whose probes do not agree.
    #[serde(skip_serializing_if = "is_zero")]
    split: u32,
    /// Silent regions that count all the same.
    #[serde(skip_serializing_if = "is_zero")]
    assumed: u32,
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
                missing: word::missing(rule.missing),
                probes_per_region: rule.probes_per_region.max(1),
            }),
            failing: record.failing,
            passing: record.passing,
            warning: record.warning,
            fresh: record.fresh,
            excluded: record.excluded,
            split: record.split,
            assumed: record.assumed,
            ballots: record.ballots.iter().map(BallotView::new).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;

    fn plain() -> Shell {
        Shell {
            out: Box::new(std::io::sink()),
            err: Box::new(std::io::sink()),
            input: Box::new(std::io::empty()),
            terminal: false,
            format: Format::Table,
            color_out: false,
            color_err: false,
            width: None,
            now: || parallax_common::time::UtcTime::from_ns(0),
        }
    }

    #[test]
    fn each_probe_of_a_region_has_a_line_and_what_does_not_count_says_so() {
        let probe = |name: &str, state: v1::BallotState| v1::Ballot {
            region: "eu-west".to_owned(),
            probe: name.to_owned(),
            state: state.into(),
            in_a_row: 2,
            ..v1::Ballot::default()
        };
        let split = v1::Ballot {
            split: true,
            probes: vec![probe("a", v1::BallotState::Fail), probe("b", v1::BallotState::Pass)],
            ..probe("a", v1::BallotState::None)
        };
        let advisory = v1::Ballot {
            region: "ap-south".to_owned(),
            advisory: true,
            ..probe("c", v1::BallotState::Fail)
        };
        let views: Vec<BallotView> = [split, advisory].iter().map(BallotView::new).collect();
        let table = BallotView::table(&views, &plain());
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["eu-west", "!", "split", "2", "probes"]);
        assert_eq!(lines[2], ["-", "eu-west", "✗", "fail", "2", "-", "-", "a"]);
        assert_eq!(lines[3], ["-", "eu-west", "✓", "pass", "2", "-", "-", "b"]);
        assert_eq!(lines[4], ["ap-south", "(advisory)", "✗", "fail", "2", "-", "-", "c"]);
        let json = serde_json::to_value(&views).unwrap();
        assert_eq!(json[0]["probes"][1]["state"], "pass");
        assert_eq!((&json[0]["split"], json[0].get("advisory")), (&true.into(), None));
        assert_eq!(json[1]["advisory"], true);
    }
}
