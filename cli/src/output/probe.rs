//! Probes, as the answering coordinator sees them.

use parallax_common::time::UtcTime;
use parallax_coordinator::core::watchdog;
use parallax_proto::v1;
use serde::Serialize;

use super::mark::Tone;
use super::table::{Table, clean};
use super::{Shell, time, word};

mod health;

use health::HealthView;

/// A probe.
#[derive(Debug, Serialize)]
pub struct ProbeView {
    region: String,
    name: String,
    /// Sixteen hexadecimal digits: one life of its spool.
    incarnation: String,
    /// `live`, `lost` or `probation`.
    state: String,
    /// Why it may not vote.
    #[serde(skip_serializing_if = "Option::is_none")]
    exclusion: Option<ExclusionView>,
    /// Somebody has it given no checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<DrainView>,
    /// What its build cannot do of what is asked of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outdated: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    connected: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    build: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip: Option<String>,
    #[serde(skip)]
    rtt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watermark_age: Option<String>,
    checks: u32,
    runs: u64,
    missed: u64,
    refused: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_refusal: String,
    spool_dropped: u64,
    windows_set_aside: u64,
    spool_gaps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<GenerationView>,
    /// What it says of itself; not there when the member that answers does not hear it.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthView>,
    /// The age of its watermark as a person reads it.
    #[serde(skip)]
    heard: Option<String>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

/// Why a probe may not vote.
#[derive(Debug, Serialize)]
pub struct ExclusionView {
    /// `disagrees`, `anchors`, `lagging` or `canary`.
    cause: String,
    since: Option<String>,
    /// Targets on which it disagreed when it was excluded, or canaries whose answer it did not see.
    disagreeing: u32,
    /// Of so many on which all other regions agreed, or canaries that it looked at.
    targets: u32,
    /// The same in words.
    because: String,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl ExclusionView {
    fn new(exclusion: &v1::Exclusion) -> Self {
        let name = exclusion.cause().as_str_name();
        Self {
            cause: name.trim_start_matches("EXCLUSION_CAUSE_").to_ascii_lowercase(),
            since: time::instant(exclusion.since.as_ref()),
            disagreeing: exclusion.disagreeing,
            targets: exclusion.targets,
            because: watchdog::because(exclusion),
            changed: exclusion.since,
        }
    }
}

/// Who drained a probe.
#[derive(Debug, Serialize)]
pub struct DrainView {
    since: Option<String>,
    by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl DrainView {
    /// `drained by anna 4m20s ago: new kernel`.
    pub(super) fn line(&self, now: UtcTime) -> String {
        let Self { by, note, changed, .. } = self;
        let why = if note.is_empty() { String::new() } else { format!(": {note}") };
        format!("drained by {by} {} ago{why}", time::age(changed.as_ref(), now))
    }

    pub(super) fn new(drain: &v1::Drain) -> Self {
        Self {
            since: time::instant(drain.since.as_ref()),
            by: drain.by.clone(),
            note: drain.note.clone(),
            changed: drain.since,
        }
    }
}

/// The plan it works by.
#[derive(Debug, Serialize)]
pub struct GenerationView {
    epoch: u64,
    index: u64,
}

impl ProbeView {
    /// The view of a message.
    pub fn new(probe: &v1::Probe) -> Self {
        Self {
            region: probe.region.clone(),
            name: probe.name.clone(),
            incarnation: format!("{:016x}", probe.incarnation),
            state: word::probe(probe.state),
            exclusion: probe.exclusion.as_ref().map(ExclusionView::new),
            drain: probe.drain.as_ref().map(DrainView::new),
            outdated: probe.outdated.clone(),
            since: time::instant(probe.since.as_ref()),
            connected: probe.connected,
            address: probe.address.clone(),
            build: probe.build.clone(),
            round_trip: time::length(probe.round_trip.as_ref()),
            rtt: time::rounded(probe.round_trip.as_ref()),
            watermark_age: time::length(probe.watermark_age.as_ref()),
            heard: time::rounded(probe.watermark_age.as_ref()),
            checks: probe.checks,
            runs: probe.runs,
            missed: probe.missed,
            refused: probe.refused,
            last_refusal: probe.last_refusal.clone(),
            spool_dropped: probe.spool_dropped,
            windows_set_aside: probe.windows_set_aside,
            spool_gaps: probe.spool_gaps,
            generation: probe
                .generation
                .map(|it| GenerationView { epoch: it.epoch, index: it.index }),
            health: probe.health.as_ref().map(HealthView::new),
            changed: probe.since,
        }
    }
}

impl ProbeView {
    /// All of it, one line a fact.
    pub fn text(&self, shell: &Shell) -> String {
        let now = (shell.now)();
        let generation = self.generation.as_ref().map(|it| format!("{}/{}", it.epoch, it.index));
        let connected = if self.connected { "yes" } else { "no" };
        let mut rows = vec![
            ("name", self.name.clone()),
            ("region", self.region.clone()),
            ("state", format!("{} for {}", self.state, time::age(self.changed.as_ref(), now))),
            ("may vote", self.franchise(now)),
            ("is given checks", self.work(now)),
            ("build", self.build()),
            ("incarnation", self.incarnation.clone()),
            ("address", time::or_dash(Some(self.address.clone()))),
            ("connected here", connected.to_owned()),
            ("round trip", time::or_dash(self.rtt.clone())),
            ("watermark age", time::or_dash(self.heard.clone())),
            ("generation", time::or_dash(generation)),
            ("checks", self.checks.to_string()),
            ("runs", self.runs.to_string()),
            ("missed", self.missed.to_string()),
            ("refused", self.refusals()),
            ("windows dropped", self.spool_dropped.to_string()),
            ("windows set aside", self.windows_set_aside.to_string()),
            ("gaps", self.spool_gaps.to_string()),
        ];
        match &self.health {
            Some(health) => rows.extend(health.rows()),
            None => rows.push(("health", "-".to_owned())),
        }
        let line = |(fact, said): (&str, String)| format!("{fact:<20}{}\n", clean(&said));
        rows.into_iter().map(line).collect()
    }

    fn franchise(&self, now: UtcTime) -> String {
        match &self.exclusion {
            None => "yes".to_owned(),
            Some(ExclusionView { because, changed, .. }) => {
                format!("no, for {}: it {because}", time::age(changed.as_ref(), now))
            }
        }
    }

    fn work(&self, now: UtcTime) -> String {
        match &self.drain {
            None => "yes".to_owned(),
            Some(drain) => format!("no, {}", drain.line(now)),
        }
    }

    /// Its build, and what is wrong with it.
    fn build(&self) -> String {
        let build = time::or_dash(Some(self.build.clone()));
        match &self.outdated[..] {
            [] => build,
            lacks => format!("{build}, outdated: it {}", lacks.join("; it ")),
        }
    }

    fn refusals(&self) -> String {
        match self.last_refusal.as_str() {
            "" => self.refused.to_string(),
            why => format!("{} ({why})", self.refused),
        }
    }
}

/// `probe list`.
#[derive(Debug, Serialize)]
pub struct ProbesView {
    revision: u64,
    probes: Vec<ProbeView>,
}

impl ProbesView {
    /// The view of all pages.
    pub fn new(probes: &[v1::Probe], revision: u64) -> Self {
        Self { revision, probes: probes.iter().map(ProbeView::new).collect() }
    }

    /// One line a probe.
    pub fn table(&self, shell: &Shell) -> String {
        let now = (shell.now)();
        let mut table = Table::new([
            "NAME", "REGION", "STATE", "FOR", "HEALTH", "RTT", "CHECKS", "RUNS", "MISSED",
            "REFUSED", "ADDRESS",
        ]);
        for probe in &self.probes {
            let plain = |text: String| (text, Tone::Plain);
            let tone = match probe.state.as_str() {
                "live" => Tone::Good,
                "probation" => Tone::Warn,
                _ => Tone::Bad,
            };
            let (state, tone) = match &probe.exclusion {
                Some(_) => ("excluded".to_owned(), Tone::Bad),
                None if probe.state == "live" && probe.drain.is_some() => {
                    let word = if probe.checks == 0 { "drained" } else { "draining" };
                    (word.to_owned(), Tone::Warn)
                }
                None if probe.state == "live" && !probe.outdated.is_empty() => {
                    ("outdated".to_owned(), Tone::Warn)
                }
                None => (probe.state.clone(), tone),
            };
            let unknown = || ("-".to_owned(), Tone::Plain);
            table.toned([
                plain(probe.name.clone()),
                plain(probe.region.clone()),
                (state, tone),
                plain(time::age(probe.changed.as_ref(), now)),
                probe.health.as_ref().map_or_else(unknown, HealthView::word),
                plain(time::or_dash(probe.rtt.clone())),
                plain(probe.checks.to_string()),
                plain(probe.runs.to_string()),
                plain(probe.missed.to_string()),
                plain(probe.refusals()),
                plain(time::or_dash(Some(probe.address.clone()))),
            ]);
        }
        shell.rows(table)
    }
}
