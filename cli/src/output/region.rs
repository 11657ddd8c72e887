//! Regions, with what looks from them.

use std::collections::BTreeMap;

use parallax_proto::v1;
use serde::Serialize;

use super::Shell;
use super::mark::Tone;
use super::table::Table;

/// A region.
#[derive(Debug, Serialize)]
pub struct RegionView {
    name: String,
    namespace: String,
    uid: String,
    set: String,
    etag: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    probes_live: u32,
    probes_known: u32,
    checks: u32,
}

impl RegionView {
    fn new(status: &v1::RegionStatus) -> Self {
        let region = status.region.clone().unwrap_or_default();
        let meta = region.meta.unwrap_or_default();
        Self {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            set: meta.set,
            etag: meta.etag,
            labels: meta.labels,
            title: region.title,
            probes_live: status.probes_live,
            probes_known: status.probes_known,
            checks: status.checks,
        }
    }
}

/// `region list`.
#[derive(Debug, Serialize)]
pub struct RegionsView {
    revision: u64,
    regions: Vec<RegionView>,
}

impl RegionsView {
    /// The view of all pages.
    pub fn new(regions: &[v1::RegionStatus], revision: u64) -> Self {
        Self { revision, regions: regions.iter().map(RegionView::new).collect() }
    }

    /// One line a region.
    pub fn table(&self, shell: &Shell) -> String {
        let mut table = Table::new(["NAME", "PROBES", "CHECKS", "TITLE"]);
        for region in &self.regions {
            let plain = |text: String| (text, Tone::Plain);
            let tone = if region.probes_live == 0 { Tone::Bad } else { Tone::Plain };
            table.toned([
                plain(region.name.clone()),
                (format!("{}/{} live", region.probes_live, region.probes_known), tone),
                plain(region.checks.to_string()),
                plain(region.title.clone()),
            ]);
        }
        shell.rows(table)
    }
}
