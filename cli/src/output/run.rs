//! What the probes of all regions saw at one time, side by side: a row each, its phases as one bar.

use std::time::Duration;

use parallax_proto::v1;
use serde::Serialize;

use super::mark::{self, Tone};
use super::table::{Table, clean};
use super::time::{positive, rounded_length};
use super::{Shell, bar, word};

/// Columns of the bars where there is no terminal; and the least that are of use, and the most.
const BARS: usize = 40;
const BARS_MIN: usize = 10;
const BARS_MAX: usize = 60;

/// A check that was run on demand.
#[derive(Debug, Serialize)]
pub struct RunView {
    check: String,
    looks: Vec<LookView>,
}

/// One probe of one region.
#[derive(Debug, Serialize)]
struct LookView {
    region: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    probe: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    advisory: bool,
    /// `seen`, `no_answer`, ...
    ending: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    step: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    evidence: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remote: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    phases: Vec<PhaseView>,
    #[serde(skip)]
    length: Duration,
}

#[derive(Debug, Serialize)]
struct PhaseView {
    #[serde(skip_serializing_if = "String::is_empty")]
    step: String,
    phase: String,
    length: String,
    #[serde(skip)]
    of: v1::Phase,
    #[serde(skip)]
    measured: Duration,
}

/// What people call a step: nothing while there is no other.
fn step_name(steps: &[String], step: u32) -> String {
    match usize::try_from(step).ok().and_then(|at| steps.get(at)) {
        _ if steps.len() <= 1 => String::new(),
        Some(name) if !name.is_empty() => name.clone(),
        _ => (step + 1).to_string(),
    }
}

impl LookView {
    fn new(steps: &[String], look: &v1::Look) -> Self {
        let seen = look.ending() == v1::LookEnding::Seen;
        let passed = look.outcome() == v1::Outcome::Pass;
        let is_phase = |it: &&v1::PhaseDuration| {
            bar::glyph(it.phase()).is_some() && (it.step as usize) < steps.len()
        };
        let phase = |it: &v1::PhaseDuration| {
            let measured = Duration::from_nanos(u64::try_from(it.duration_ns).unwrap_or(0));
            PhaseView {
                step: step_name(steps, it.step),
                phase: word::phase(it.phase),
                length: rounded_length(measured),
                of: it.phase(),
                measured,
            }
        };
        let total = look.total.as_ref().and_then(positive);
        Self {
            region: look.region.clone(),
            probe: look.probe.clone(),
            advisory: look.advisory,
            ending: word::look(look.ending),
            detail: look.detail.clone(),
            outcome: seen.then(|| word::outcome(look.outcome)),
            reason: word::said(word::reason(look.reason)),
            step: if seen && !passed { step_name(steps, look.step) } else { String::new() },
            evidence: look.evidence.clone(),
            remote: look.remote_address.clone(),
            total: total.map(rounded_length),
            phases: look.phases.iter().filter(is_phase).map(phase).collect(),
            length: total.unwrap_or_default(),
        }
    }

    /// How it ended, in a word.
    fn word(&self) -> &str {
        self.outcome.as_ref().unwrap_or(&self.ending)
    }

    fn holds(&self) -> bool {
        matches!(self.outcome.as_deref(), Some("pass" | "warn"))
    }

    /// How long a phase took, all steps together.
    fn took(&self, phase: v1::Phase) -> Option<Duration> {
        let of = self.phases.iter().filter(|it| it.of == phase).map(|it| it.measured);
        of.reduce(|all, one| all + one)
    }

    /// Why it is no pass.
    fn why(&self) -> Option<String> {
        let what = match (&self.outcome, &self.reason) {
            (Some(_), None) => return None,
            (Some(_), Some(reason)) => {
                let at = if self.step.is_empty() {
                    String::new()
                } else {
                    format!(" in step {}", self.step)
                };
                let why = if self.evidence.is_empty() {
                    String::new()
                } else {
                    format!(": {}", self.evidence)
                };
                format!("{reason}{at}{why}")
            }
            (None, _) => self.detail.clone(),
        };
        let who = match self.probe.as_str() {
            "" => self.region.clone(),
            probe => format!("{}/{probe}", self.region),
        };
        Some(clean(&format!("{who}: {what}")))
    }
}

impl RunView {
    /// Of all that was told.
    pub fn new(check: &str, asked: &v1::RunAsked, mut looks: Vec<v1::Look>) -> Self {
        // They come as they end.
        looks.sort_by(|a, b| {
            (a.advisory, &a.region, &a.probe).cmp(&(b.advisory, &b.region, &b.probe))
        });
        let looks = looks.iter().map(|look| LookView::new(&asked.steps, look)).collect();
        Self { check: check.to_owned(), looks }
    }

    /// Whether everybody saw a pass: a warning holds.
    pub fn all_hold(&self) -> bool {
        self.looks.iter().all(LookView::holds)
    }

    /// How many did.
    pub fn sentence(&self) -> String {
        let good = self.looks.iter().filter(|look| look.holds()).count();
        let all = self.looks.len();
        format!("{good} of {all} looks pass; nobody votes by them and no history has them")
    }

    /// For people: a row for each probe, bars to one scale, and why those that failed did.
    pub fn text(&self, shell: &Shell) -> String {
        let phases: Vec<v1::Phase> = bar::PHASES
            .into_iter()
            .filter(|phase| self.looks.iter().any(|look| look.took(*phase).is_some()))
            .collect();
        let slowest = self.looks.iter().map(|look| look.length).max().unwrap_or_default();
        let mut width = shell.width.map_or(BARS, |_| 0);
        if let Some(columns) = shell.width {
            let others = self.table(&phases, slowest, 0).natural_width();
            // Two for the gap.
            width = columns.saturating_sub(others + 2).min(BARS_MAX);
        }
        if width < BARS_MIN || slowest.is_zero() {
            width = 0;
        }
        let mut text = shell.rows(self.table(&phases, slowest, width));
        if width > 0 {
            let legend = phases.iter().filter_map(|phase| {
                Some(format!("{} {}", bar::glyph(*phase)?, word::phase((*phase).into())))
            });
            text.push_str(&format!("{}\n", legend.collect::<Vec<_>>().join("  ")));
        }
        for why in self.looks.iter().filter_map(LookView::why) {
            text.push_str(&format!("{why}\n"));
        }
        text
    }

    fn table(&self, phases: &[v1::Phase], slowest: Duration, width: usize) -> Table {
        let names: Vec<String> =
            phases.iter().map(|it| word::phase((*it).into()).to_uppercase()).collect();
        let bars = (width > 0).then_some("PHASES");
        let head = ["REGION", "PROBE", "OUTCOME"].into_iter();
        let mut table =
            Table::new(head.chain(names.iter().map(String::as_str)).chain(["TOTAL"]).chain(bars));
        for look in &self.looks {
            let plain = |text: String| (text, Tone::Plain);
            let dash = |text: Option<String>| plain(text.unwrap_or_else(|| "-".to_owned()));
            let named = |text: &str| dash(Some(text.to_owned()).filter(|text| !text.is_empty()));
            let region =
                if look.advisory { format!("{}*", look.region) } else { look.region.clone() };
            let outcome = format!("{} {}", mark::of_ballot(look.word()), look.word());
            let mut row =
                vec![plain(region), named(&look.probe), (outcome, Tone::of_ballot(look.word()))];
            row.extend(phases.iter().map(|phase| dash(look.took(*phase).map(rounded_length))));
            row.push(dash(look.total.clone()));
            if width > 0 {
                let parts: Vec<_> = look.phases.iter().map(|it| (it.of, it.measured)).collect();
                row.push(plain(bar::of_phases(&parts, slowest, width)));
            }
            table.toned(row);
        }
        table
    }
}
