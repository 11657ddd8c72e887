//! Probes: what is replicated of them, joined with what this member's sessions know.

use std::collections::BTreeMap;

use parallax_common::rule;
use parallax_common::time::UtcTime;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::fleet_service_server::FleetService;
use parallax_proto::{convert, store, v1};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::page::page;
use super::{Api, DEFAULT_NAMESPACE, Need, asked, bounded, namespace_of, with_rule};
use crate::core::fleet::outdated::{self, Needs, Standard};
use crate::core::plan;
use crate::core::state::{DRAIN_LEVEL, State};
use crate::session::Seen;

#[tonic::async_trait]
impl FleetService for Api {
    async fn list_probes(
        &self,
        request: Request<v1::ListProbesRequest>,
    ) -> Result<Response<v1::ListProbesResponse>, Status> {
        let options = request.get_ref().options.clone().unwrap_or_default();
        self.caller(&request, namespace_of(&options.namespace), Need::View)?;
        let state = self.read(options.stale).await?;
        let asked = Asked::of(&state);
        let probes = state.probes.iter().map(|((region, name), row)| {
            let seen = self.inner.sessions.seen(region, name);
            (key(region, name), v1::Probe { outdated: asked.lacks(row), ..probe(row, seen) })
        });
        let mut page = page(&options, probes)?;
        for probe in &mut page.items {
            let age = self.inner.judge.watermark_age(&probe.region, &probe.name).await;
            probe.watermark_age = age.map(convert::time::duration_to);
        }
        Ok(Response::new(v1::ListProbesResponse {
            probes: page.items,
            next_page_token: page.next,
            revision: state.applied,
        }))
    }

    async fn drain_probe(
        &self,
        request: Request<v1::DrainProbeRequest>,
    ) -> Result<Response<v1::DrainProbeResponse>, Status> {
        // A probe looks for every namespace.
        let actor = self.caller(&request, DEFAULT_NAMESPACE, Need::Admin)?;
        let mut drain = request.into_inner();
        bounded("note", &drain.note)?;
        let id = drain.request_id.take();
        let asked = asked(actor, id, "drain_probe", [drain.encode_to_vec()])?;
        let level = self.read(false).await?.cluster.level;
        if level < DRAIN_LEVEL {
            let message = format!(
                "the cluster is at level {level} and draining probes needs {DRAIN_LEVEL}: upgrade every \
                 coordinator first"
            );
            return Err(with_rule(Status::failed_precondition(message), rule::LEVEL_TOO_LOW.id));
        }
        let key = (drain.region.clone(), drain.name.clone());
        let command = store::DrainProbe {
            region: drain.region,
            probe: drain.name,
            undo: drain.undo,
            force: drain.force,
            note: drain.note,
        };
        let (revision, _) = self.write(asked, Command::DrainProbe(command)).await?;
        let state = self.inner.view.load();
        let probe = state.probes.get(&key).map(|row| {
            let seen = self.inner.sessions.seen(&key.0, &key.1);
            v1::Probe { outdated: Asked::of(&state).lacks(row), ..probe(row, seen) }
        });
        Ok(Response::new(v1::DrainProbeResponse { probe, revision }))
    }
}

/// What is asked of probes, by the names of their regions.
struct Asked {
    needs: BTreeMap<String, Needs>,
    standard: Standard,
}

impl Asked {
    fn of(state: &State) -> Self {
        let mut needs: BTreeMap<String, Needs> = BTreeMap::new();
        for entry in state.checks.values().filter(|entry| entry.check.enabled) {
            let kinds = plan::kinds(&entry.check);
            for region in entry.check.looks_from() {
                outdated::count(needs.entry(region.clone()).or_default(), &kinds);
            }
        }
        Self { needs, standard: Standard::of(state) }
    }

    /// What a probe lacks, in words.
    fn lacks(&self, row: &store::ProbeRow) -> Vec<String> {
        let nothing = Needs::new();
        let needs = self.needs.get(&row.region).unwrap_or(&nothing);
        outdated::lacks(row, needs, &self.standard)
    }
}

/// Sorts as the pair does: names may hold `-` and `.`, which come before any printable separator.
fn key(region: &str, name: &str) -> String {
    format!("{region}\0{name}")
}

fn probe(row: &store::ProbeRow, seen: Option<Seen>) -> v1::Probe {
    let seen = seen.unwrap_or_default();
    v1::Probe {
        region: row.region.clone(),
        name: row.probe.clone(),
        incarnation: row.incarnation,
        state: row.state,
        since: Some(convert::time::timestamp(UtcTime::from_ns(row.since_utc_ns))),
        connected: seen.connected,
        address: row.address.clone(),
        build: row.build.clone(),
        round_trip: seen.round_trip.map(convert::time::duration_to),
        checks: seen.health.checks,
        runs: seen.health.runs,
        missed: seen.health.missed,
        watermark_age: None,
        refused: seen.refused,
        last_refusal: seen.last_refusal,
        spool_dropped: seen.health.spool_dropped,
        generation: seen.generation,
        health: seen.connected.then_some(seen.health),
        exclusion: row.exclusion,
        drain: row.drain.clone(),
        outdated: Vec::new(),
        windows_set_aside: seen.health.windows_set_aside,
        spool_gaps: seen.health.spool_gaps,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::state::CheckEntry;

    #[test]
    fn what_a_probe_counts_of_lost_windows_is_shown() {
        let health = v1::ProbeHealth {
            spool_dropped: 1,
            windows_set_aside: 2,
            spool_gaps: 3,
            ..v1::ProbeHealth::default()
        };
        let shown = probe(&store::ProbeRow::default(), Some(Seen { health, ..Seen::default() }));
        let said = (shown.spool_dropped, shown.windows_set_aside, shown.spool_gaps);
        assert_eq!(said, (1, 2, 3));
    }

    #[test]
    fn a_probe_lacks_what_enabled_checks_of_its_region_need() {
        let mut check = crate::core::engine::tests::rig::check(2, 2);
        let regions = check.regions.clone();
        let state_of = |check: &parallax_common::check::Check| {
            let check = std::sync::Arc::new(check.clone());
            let entry = CheckEntry { wire: v1::Check::default(), check: check.clone() };
            let mut state = State::default();
            state.checks.insert(check.uid, std::sync::Arc::new(entry));
            state
        };
        let row = |region: &str, kinds: &[&str]| store::ProbeRow {
            region: region.to_owned(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..store::ProbeRow::default()
        };
        let asked = Asked::of(&state_of(&check));
        let lacks = asked.lacks(&row(&regions[1], &["http"]));
        assert_eq!(lacks, ["cannot run tcp, which 1 check needs"]);
        assert!(asked.lacks(&row(&regions[1], &["tcp"])).is_empty());
        assert!(asked.lacks(&row("elsewhere", &[])).is_empty());
        check.enabled = false;
        assert!(Asked::of(&state_of(&check)).lacks(&row(&regions[1], &["http"])).is_empty());
    }

    #[test]
    fn pages_skip_no_probe_whatever_regions_are_called() {
        let regions = ["eu", "eu-west", "eu.west", "eu0", "eu-"];
        let probes: BTreeSet<(&str, &str)> =
            regions.iter().flat_map(|region| [(*region, "a"), (*region, "p-1")]).collect();
        let mut options = v1::ListOptions { page_size: 1, ..v1::ListOptions::default() };
        let mut seen = Vec::new();
        loop {
            let items = probes.iter().map(|(region, name)| (key(region, name), (*region, *name)));
            let part = page(&options, items).unwrap();
            seen.extend(part.items);
            options.page_token = part.next;
            if options.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, probes.into_iter().collect::<Vec<_>>());
    }
}
