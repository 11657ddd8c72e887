//! What a run saw that was carried out here: phases as bars, certificates, expressions.

use std::time::Duration;

use parallax_common::check::{Check, Run, StepKind};
use parallax_common::expect::Certificate;
use parallax_common::outcome::{Outcome, Phase};
use parallax_probe::core::record::{Finding, means};
use parallax_probe::execute::Execution;
use parallax_probe::execute::look::Looked;
use serde::Serialize;

use super::Shell;
use super::bar::scale;
use super::mark::{self, Tone};
use super::table::clean;
use super::time::rounded_length;

/// Columns of the longest bar.
const BAR: usize = 40;

/// One slot: a run, or as many as the check wants samples.
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
    #[serde(skip_serializing_if = "is_one")]
    samples: u32,
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
    exchanges: Vec<ExchangeView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    series: Vec<ExchangeView>,
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
    /// It is the mean of so many: echoes, samples.
    #[serde(skip_serializing_if = "is_one")]
    mean_of: u32,
    #[serde(skip)]
    measured: Duration,
}

/// A step of a dialogue, or a time that a plugin tells: within the phases, or beside them.
#[derive(Debug, Serialize)]
struct ExchangeView {
    #[serde(skip_serializing_if = "String::is_empty")]
    step: String,
    name: String,
    length: String,
    #[serde(skip_serializing_if = "is_one")]
    mean_of: u32,
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

/// What people call a step: nothing while there is no other.
fn step_name(run: &Run, place: u32) -> String {
    let step = usize::try_from(place).ok().and_then(|place| run.steps.get(place));
    match step {
        _ if run.steps.len() <= 1 => String::new(),
        Some(step) if !step.name.is_empty() => step.name.clone(),
        _ => format!("{}", place + 1),
    }
}

/// What happened one after the other, each phase of each step once.
fn phases(run: &Run, finding: &Finding) -> Vec<PhaseView> {
    let is_phase = |step: u32, phase| {
        phase != Phase::Total && usize::try_from(step).is_ok_and(|step| step < run.steps.len())
    };
    let means =
        means(&finding.phases).into_iter().filter(|(step, phase, _)| is_phase(*step, *phase));
    means
        .map(|(step, phase, measured)| PhaseView {
            step: step_name(run, step),
            phase: phase.word(),
            length: rounded_length(measured),
            mean_of: count(finding, step, phase),
            measured,
        })
        .collect()
}

/// What has series of its own behind those of the steps: steps of dialogues, and times of plugins.
fn exchanges(run: &Run, finding: &Finding) -> [Vec<ExchangeView>; 2] {
    let means = means(&finding.phases);
    let (mut said, mut told) = (Vec::new(), Vec::new());
    let mut number = u32::try_from(run.steps.len()).unwrap_or(u32::MAX);
    for (place, step) in (0..).zip(&run.steps) {
        for name in step.kind.exchange_names() {
            // None of one that it did not come to.
            if let Some((.., length)) = means.iter().find(|(of, ..)| *of == number) {
                let list = match step.kind {
                    StepKind::Plugin(_) => &mut told,
                    _ => &mut said,
                };
                list.push(ExchangeView {
                    step: step_name(run, place),
                    name: name.to_owned(),
                    length: rounded_length(*length),
                    mean_of: count(finding, number, Phase::Transfer),
                });
            }
            number = number.saturating_add(1);
        }
    }
    [said, told]
}

fn count(finding: &Finding, step: u32, phase: Phase) -> u32 {
    let of = finding.phases.iter().filter(|(at, of, _)| (*at, *of) == (step, phase));
    u32::try_from(of.count()).unwrap_or(u32::MAX)
}

/// Behind a length that is a mean.
fn mean(of: u32) -> String {
    match of {
        0 | 1 => String::new(),
        of => format!("  mean of {of}"),
    }
}

impl AttemptView {
    /// The view of a slot of `check`, the `run`th.
    pub fn new(check: &Check, run: u32, execution: &Execution, looked: &Looked) -> Self {
        let finding = &execution.finding;
        let failed = finding.outcome != Outcome::Pass;
        let [exchanges, series] = exchanges(&check.run, finding);
        let length = execution.ended.since(execution.started);
        Self {
            check: check.name.clone(),
            run,
            outcome: finding.outcome.word(),
            reason: finding.reason.map(|reason| reason.word()),
            step: if failed { step_name(&check.run, finding.step) } else { String::new() },
            evidence: finding.evidence.clone(),
            total: rounded_length(length),
            samples: looked.samples,
            remote: finding.remote.map(|remote| remote.to_string()),
            status: looked.status,
            http_version: looked.http_version.clone(),
            redirects: looked.redirects,
            tls_version: looked.tls_version.clone(),
            cipher: looked.cipher.clone(),
            phases: phases(&check.run, finding),
            exchanges,
            series,
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
        if self.samples > 1 {
            head.push(format!("{} samples", self.samples));
        }
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
        text.push_str(&bars(&self.phases));
        for (title, list) in [("exchange", &self.exchanges), ("series", &self.series)] {
            for of in list {
                let name = named(&of.step, &of.name);
                let mean = mean(of.mean_of);
                text.push_str(&format!(
                    "  {title:<11}  {:>8}  {}{mean}\n",
                    of.length,
                    clean(&name)
                ));
            }
        }
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
}

/// With its step, when there are several.
fn named(step: &str, what: &str) -> String {
    match step {
        "" => what.to_owned(),
        step => format!("{step}: {what}"),
    }
}

/// Where each phase lies in the run, to scale.
fn bars(phases: &[PhaseView]) -> String {
    let all: Duration = phases.iter().map(|phase| phase.measured).sum();
    let (mut text, mut before) = (String::new(), Duration::ZERO);
    for phase in phases {
        let name = named(&phase.step, phase.phase);
        let from = (scale(before, all, BAR) as usize).min(BAR - 1);
        before += phase.measured;
        let until = (scale(before, all, BAR).ceil() as usize).clamp(from + 1, BAR);
        let bar = format!("{}{}", " ".repeat(from), "█".repeat(until - from));
        let mean = mean(phase.mean_of);
        text.push_str(&format!("  {name:<11}  {:>8}  {bar}{mean}\n", phase.length));
    }
    text
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

#[cfg(test)]
mod tests {
    use parallax_common::check::{IcmpStep, IpFamily, PluginStep, Step};
    use parallax_common::limits::ECHOES_MAX;

    use super::*;

    fn run(kinds: Vec<StepKind>) -> Run {
        let step = |kind| Step { name: String::new(), kind, captures: vec![] };
        Run {
            steps: kinds.into_iter().map(step).collect(),
            timeout: Duration::from_secs(1),
            expect: vec![],
            warn: vec![],
            invert: false,
            canary: None,
            ip: IpFamily::Auto,
            source_address: None,
            resolver: None,
            samples: 1,
        }
    }

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn found(phases: Vec<(u32, Phase, Duration)>) -> Finding {
        Finding {
            outcome: Outcome::Pass,
            reason: None,
            step: 0,
            evidence: String::new(),
            remote: None,
            phases,
            expiry: None,
        }
    }

    fn icmp(count: u32) -> StepKind {
        let (host, spacing) = ("a.example".to_owned(), ms(20));
        let (payload_bytes, dont_fragment, ttl) = (56, false, None);
        StepKind::Icmp(IcmpStep { host, count, spacing, payload_bytes, dont_fragment, ttl })
    }

    #[test]
    fn echoes_are_one_bar_that_is_their_mean() {
        let echoes = (0..ECHOES_MAX).map(|_| (0, Phase::FirstByte, ms(30)));
        let seen = [(0, Phase::Dns, ms(10))].into_iter().chain(echoes);
        let view = phases(&run(vec![icmp(ECHOES_MAX)]), &found(seen.collect()));
        let wanted = format!(
            "  dns              10ms  {}\n  first_byte       30ms  {}{}  mean of {ECHOES_MAX}\n",
            "█".repeat(BAR / 4),
            " ".repeat(BAR / 4),
            "█".repeat(BAR * 3 / 4),
        );
        assert_eq!(bars(&view), wanted);
    }

    #[test]
    fn samples_are_means_and_what_they_took_together_is_no_phase() {
        let one = |connect, total| [(0, Phase::Connect, ms(connect)), (0, Phase::Total, ms(total))];
        let seen = [one(10, 11), one(30, 31)].concat();
        let view = phases(&run(vec![icmp(1)]), &found(seen));
        let wanted = format!("  connect          20ms  {}  mean of 2\n", "█".repeat(BAR));
        assert_eq!(bars(&view), wanted);
    }

    #[test]
    fn times_of_plugins_are_listed_by_name_and_step_and_are_no_bars() {
        let (args, env) = (vec![], vec![]);
        let series = vec!["rta".to_owned(), "silent".to_owned(), "pl".to_owned()];
        let plugin = PluginStep { command: "check_ping".to_owned(), args, env, series };
        let run = run(vec![icmp(1), StepKind::Plugin(plugin)]);
        let seen = found(vec![
            (0, Phase::FirstByte, ms(5)),
            (2, Phase::Transfer, ms(70)),
            (4, Phase::Transfer, ms(90)),
        ]);
        let bar = format!("  1: first_byte       5ms  {}\n", "█".repeat(BAR));
        assert_eq!(bars(&phases(&run, &seen)), bar);
        let [said, told] = exchanges(&run, &seen);
        assert!(said.is_empty(), "{said:?}");
        let told: Vec<_> = told.iter().map(|it| (&*it.step, &*it.name, &*it.length)).collect();
        assert_eq!(told, [("2", "rta", "70ms"), ("2", "pl", "90ms")]);
    }
}
