//! Probes, as the answering coordinator sees them.

use parallax_proto::v1;
use serde::Serialize;

use super::mark::Tone;
use super::table::Table;
use super::{Shell, time, word};

/// A probe.
#[derive(Debug, Serialize)]
pub struct ProbeView {
    region: String,
    name: String,
    /// Sixteen hexadecimal digits: one life of its spool.
    incarnation: String,
    /// `live`, `lost` or `probation`.
    state: String,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<GenerationView>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

/// The plan it works by.
#[derive(Debug, Serialize)]
pub struct GenerationView {
    epoch: u64,
    index: u64,
}

impl ProbeView {
    fn new(probe: &v1::Probe) -> Self {
        Self {
            region: probe.region.clone(),
            name: probe.name.clone(),
            incarnation: format!("{:016x}", probe.incarnation),
            state: word::probe(probe.state),
            since: time::instant(probe.since.as_ref()),
            connected: probe.connected,
            address: probe.address.clone(),
            build: probe.build.clone(),
            round_trip: time::length(probe.round_trip.as_ref()),
            rtt: time::rounded(probe.round_trip.as_ref()),
            watermark_age: time::length(probe.watermark_age.as_ref()),
            checks: probe.checks,
            runs: probe.runs,
            missed: probe.missed,
            refused: probe.refused,
            last_refusal: probe.last_refusal.clone(),
            spool_dropped: probe.spool_dropped,
            generation: probe
                .generation
                .map(|it| GenerationView { epoch: it.epoch, index: it.index }),
            changed: probe.since,
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
            "NAME", "REGION", "STATE", "FOR", "RTT", "CHECKS", "RUNS", "MISSED", "REFUSED",
            "ADDRESS",
        ]);
        for probe in &self.probes {
            let plain = |text: String| (text, Tone::Plain);
            let tone = match probe.state.as_str() {
                "live" => Tone::Good,
                "probation" => Tone::Warn,
                _ => Tone::Bad,
            };
            let refused = match probe.last_refusal.as_str() {
                "" => probe.refused.to_string(),
                why => format!("{} ({why})", probe.refused),
            };
            table.toned([
                plain(probe.name.clone()),
                plain(probe.region.clone()),
                (probe.state.clone(), tone),
                plain(time::age(probe.changed.as_ref(), now)),
                plain(time::or_dash(probe.rtt.clone())),
                plain(probe.checks.to_string()),
                plain(probe.runs.to_string()),
                plain(probe.missed.to_string()),
                plain(refused),
                plain(time::or_dash(Some(probe.address.clone()))),
            ]);
        }
        shell.rows(table)
    }
}
