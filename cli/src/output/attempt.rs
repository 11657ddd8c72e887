//! What a run saw that was carried out here: phases as bars, certificates, expressions.

use std::time::Duration;

use parallax_common::check::Check;
use parallax_common::expect::Certificate;
use parallax_common::outcome::{Outcome, Phase};
use parallax_probe::execute::Execution;
use parallax_probe::execute::look::Looked;
use serde::Serialize;

use super::Shell;
use super::mark::{self, Tone};
use super::table::clean;
use super::time::rounded_length;

/// Columns of the longest bar.
const BAR: usize = 40;

/// One run.
#[derive(Debug, Serialize)]
pub struct AttemptView {
    check: String,
    run: u32,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    step: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    evidence: String,
    total: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "String::is_empty")]
    http_version: String,
    #[serde(skip_serializing_if = "is_none")]
    redirects: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    tls_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cipher: String,
    phases: Vec<PhaseView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<CertificateView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expressions: Vec<ExpressionView>,
    #[serde(skip)]
    length: Duration,
}

#[derive(Debug, Serialize)]
struct PhaseView {
    #[serde(skip_serializing_if = "String::is_empty")]
    step: String,
    phase: &'static str,
    length: String,
    #[serde(skip)]
    measured: Duration,
}

#[derive(Debug, Serialize)]
struct CertificateView {
    subject: String,
    issuer: String,
    days_left: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    key: String,
}

#[derive(Debug, Serialize)]
struct ExpressionView {
    list: &'static str,
    source: String,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

impl AttemptView {
    /// The view of a run of `check`, the `run`th.
    pub fn new(check: &Check, run: u32, execution: &Execution, looked: &Looked) -> Self {
        let finding = &execution.finding;
        let several = check.run.steps.len() > 1;
        let step_name = |place: u32| {
            let step = usize::try_from(place).ok().and_then(|place| check.run.steps.get(place));
            match step {
                _ if !several => String::new(),
                Some(step) if !step.name.is_empty() => step.name.clone(),
                _ => format!("{}", place + 1),
            }
        };
        let failed = finding.outcome != Outcome::Pass;
        let phases = finding.phases.iter().filter(|(_, phase, _)| *phase != Phase::Total);
        let length = execution.ended.since(execution.started);
        Self {
            check: check.name.clone(),
            run,
            outcome: finding.outcome.word(),
            reason: finding.reason.map(|reason| reason.word()),
            step: if failed { step_name(finding.step) } else { String::new() },
            evidence: finding.evidence.clone(),
            total: rounded_length(length),
            remote: finding.remote.map(|remote| remote.to_string()),
            status: looked.status,
            http_version: looked.http_version.clone(),
            redirects: looked.redirects,
            tls_version: looked.tls_version.clone(),
            cipher: looked.cipher.clone(),
            phases: phases
                .map(|(step, phase, measured)| PhaseView {
                    step: step_name(*step),
                    phase: phase.word(),
                    length: rounded_length(*measured),
                    measured: *measured,
                })
                .collect(),
            certificates: looked.chain.iter().map(CertificateView::new).collect(),
            expressions: looked
                .said
                .iter()
                .map(|said| ExpressionView {
                    list: if said.warns { "warn" } else { "expect" },
                    source: said.source.clone(),
                    holds: said.holds == Ok(true),
                    error: said.holds.clone().err(),
                })
                .collect(),
            length,
        }
    }

    /// For people: a line on how it ended, then what was seen, each on a line of its own.
    pub fn text(&self, shell: &Shell) -> String {
        let tone = Tone::of_ballot(self.outcome);
        let mut head = vec![
            tone.paint(
                &format!("{} {}", mark::of_ballot(self.outcome), self.outcome),
                shell.color_out,
            ),
            self.check.clone(),
            self.total.clone(),
        ];
        head.extend(self.remote.clone());
        let spoken =
            [self.http_version.clone(), self.status.map_or_else(String::new, |it| it.to_string())];
        head.push(spoken.join(" ").trim().to_owned());
        if self.redirects > 0 {
            head.push(format!("{} redirects", self.redirects));
        }
        if !self.tls_version.is_empty() {
            head.push(format!("TLS {} {}", self.tls_version, self.cipher).trim().to_owned());
        }
        head.retain(|part| !part.is_empty());
        let mut text = head.join("  ") + "\n";
        if let Some(reason) = self.reason {
            let at = if self.step.is_empty() {
                String::new()
            } else {
                format!(" in step {}", self.step)
            };
            let why = if self.evidence.is_empty() {
                String::new()
            } else {
                format!(": {}", clean(&self.evidence))
            };
            text.push_str(&format!("  {reason}{at}{why}\n"));
        }
        text.push_str(&self.bars());
        for (place, of) in self.certificates.iter().enumerate() {
            let title = if place == 0 { "certificate" } else { "signed by" };
            text.push_str(&of.line(title, shell));
        }
        for of in &self.expressions {
            let tone = if of.holds {
                Tone::Good
            } else if of.list == "warn" {
                Tone::Warn
            } else {
                Tone::Bad
            };
            let sign = if of.holds { '✓' } else { '✗' };
            let why = of.error.as_ref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
            let sign = tone.paint(&sign.to_string(), shell.color_out);
            text.push_str(&format!("  {:<11}  {sign} {}{why}\n", of.list, clean(&of.source)));
        }
        text
    }

    /// Where each phase lies in the run, to scale.
    fn bars(&self) -> String {
        let all: Duration = self.phases.iter().map(|phase| phase.measured).sum();
        let scale = |at: Duration| {
            if all.is_zero() { 0.0 } else { at.as_secs_f64() / all.as_secs_f64() * BAR as f64 }
        };
        let (mut text, mut before) = (String::new(), Duration::ZERO);
        for phase in &self.phases {
            let name = match phase.step.as_str() {
                "" => phase.phase.to_owned(),
                step => format!("{step}: {}", phase.phase),
            };
            let from = scale(before) as usize;
            before += phase.measured;
            let until = (scale(before).ceil() as usize).clamp(from + 1, BAR + 1);
            let bar = format!("{}{}", " ".repeat(from), "█".repeat(until - from));
            text.push_str(&format!("  {name:<11}  {:>8}  {bar}\n", phase.length));
        }
        text
    }
}

impl CertificateView {
    fn new(certificate: &Certificate) -> Self {
        let key = match certificate.key_bits {
            0 => certificate.key_type.clone(),
            bits => format!("{} {bits}", certificate.key_type),
        };
        Self {
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            days_left: certificate.days_left,
            names: certificate.names.clone(),
            key,
        }
    }

    fn line(&self, title: &str, shell: &Shell) -> String {
        let days = self.days_left;
        let (left, tone) = if days < 0 {
            (format!("expired {} days ago", -days), Tone::Bad)
        } else {
            (format!("{days} days left"), if days < 14 { Tone::Warn } else { Tone::Plain })
        };
        let mut parts =
            vec![clean(&self.subject), tone.paint(&left, shell.color_out), self.key.clone()];
        if !self.names.is_empty() {
            parts.push(clean(&format!("for {}", self.names.join(", "))));
        }
        parts.push(clean(&format!("by {}", self.issuer)));
        parts.retain(|part| !part.is_empty());
        format!("  {title:<11}  {}\n", parts.join("  "))
    }
}

/// All runs together.
#[derive(Debug)]
pub struct AttemptsView<'a> {
    runs: &'a [AttemptView],
}

impl<'a> AttemptsView<'a> {
    /// Of these.
    pub fn new(runs: &'a [AttemptView]) -> Self {
        Self { runs }
    }

    /// Whether none failed, nor was missed: a warning holds.
    pub fn all_hold(&self) -> bool {
        self.runs.iter().all(|run| matches!(run.outcome, "pass" | "warn"))
    }

    /// How many there were, and how long they took.
    pub fn sentence(&self) -> String {
        let good = self.runs.iter().filter(|run| matches!(run.outcome, "pass" | "warn")).count();
        let mut lengths: Vec<Duration> = self.runs.iter().map(|run| run.length).collect();
        lengths.sort_unstable();
        let at = |place: usize| lengths.get(place).copied().map(rounded_length).unwrap_or_default();
        let last = lengths.len().saturating_sub(1);
        format!(
            "{good} of {} runs pass; {} at least, {} in the middle, {} at most",
            self.runs.len(),
            at(0),
            at(last / 2),
            at(last)
        )
    }
}
