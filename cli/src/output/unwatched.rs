//! Regions that nobody looks from, as all who could were drained.

use std::collections::BTreeMap;

use parallax_common::limits::DRAINED_NAMED_MAX;
use parallax_common::time::UtcTime;
use parallax_proto::v1;
use serde::Serialize;

use super::probe::DrainView;
use super::table;

/// One of them.
#[derive(Debug, Serialize)]
pub struct UnwatchedView {
    region: String,
    /// Its live probes, all of them drained.
    drained: Vec<DrainedView>,
}

/// A drained probe.
#[derive(Debug, Serialize)]
struct DrainedView {
    probe: String,
    #[serde(flatten)]
    drain: DrainView,
}

impl UnwatchedView {
    /// Those of these regions all of whose live probes are drained, and that have some.
    pub fn of(regions: &[&str], probes: &[v1::Probe]) -> Vec<Self> {
        let mut live: BTreeMap<&str, Vec<&v1::Probe>> = BTreeMap::new();
        for probe in probes.iter().filter(|probe| probe.state() == v1::ProbeState::Live) {
            live.entry(&probe.region).or_default().push(probe);
        }
        let view = |region: &&str| {
            let drained: Option<Vec<DrainedView>> = live
                .get(region)?
                .iter()
                .map(|probe| {
                    let drain = DrainView::new(probe.drain.as_ref()?);
                    Some(DrainedView { probe: probe.name.clone(), drain })
                })
                .collect();
            Some(Self { region: (*region).to_owned(), drained: drained? })
        };
        regions.iter().filter_map(view).collect()
    }

    /// `nobody looks from eu-west: p1 is drained by anna 4m20s ago: kernel`.
    pub fn line(&self, now: UtcTime) -> String {
        let named = self.drained.iter().take(DRAINED_NAMED_MAX);
        let mut clauses: Vec<String> =
            named.map(|it| format!("{} is {}", it.probe, it.drain.line(now))).collect();
        let more = self.drained.len().saturating_sub(DRAINED_NAMED_MAX);
        if more > 0 {
            clauses.push(match more {
                1 => "so is 1 more".to_owned(),
                more => format!("so are {more} more"),
            });
        }
        table::clean(&format!("nobody looks from {}: {}", self.region, clauses.join("; ")))
    }
}
