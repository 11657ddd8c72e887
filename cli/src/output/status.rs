//! The matrix: every check as every region sees it, and the mesh in one line.

use std::collections::{BTreeMap, BTreeSet};

use parallax_common::alert::percent;
use parallax_proto::v1;
use serde::Serialize;

use super::ballot::BallotView;
use super::mark::{self, Tone};
use super::quiet::HeldView;
use super::table::{self, Table};
use super::unwatched::UnwatchedView;
use super::{Shell, time, word};

/// `status`.
#[derive(Debug, Serialize)]
pub struct StatusView {
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mesh: Option<MeshView>,
    regions: Vec<String>,
    /// Regions that a check looks from, and no probe does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unwatched: Vec<UnwatchedView>,
    checks: Vec<RowView>,
}

/// The mesh itself.
#[derive(Debug, Serialize)]
pub struct MeshView {
    name: String,
    node_id: u64,
    leader_id: u64,
    term: u64,
    applied: u64,
    epoch: u64,
    probes_live: u32,
    probes_known: u32,
    incidents_open: u32,
    build: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mesh_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaderless_since: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reaches: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    does_not_reach: Vec<String>,
    /// Why the answering member applies nothing any more.
    #[serde(skip_serializing_if = "String::is_empty")]
    stands_still: String,
    /// Since which entry the members hold different states.
    #[serde(skip_serializing_if = "Option::is_none")]
    disputed_since: Option<u64>,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct RowView {
    name: String,
    uid: String,
    enabled: bool,
    /// `up`, `degraded`, `down`, `unknown`, or `paused` for a check that is not enabled.
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    incident: String,
    /// Why nobody is paged about it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HeldView>,
    /// Its open incident is one of many.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flapping: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    target: String,
    insecure: bool,
    /// Of a check with an slo, once it was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetView>,
    ballots: Vec<BallotView>,
    #[serde(skip)]
    changed: Option<prost_types::Timestamp>,
}

impl RowView {
    fn new(row: &v1::StatusRow) -> Self {
        let verdict = match word::said(word::verdict(row.verdict)) {
            _ if !row.enabled => "paused".to_owned(),
            Some(verdict) => verdict,
            None => "unknown".to_owned(),
        };
        Self {
            name: row.name.clone(),
            uid: row.check_uid.clone(),
            enabled: row.enabled,
            degraded: word::said(word::degraded(row.degraded)).filter(|_| verdict == "degraded"),
            verdict,
            since: time::instant(row.since.as_ref()),
            incident: row.incident_uid.clone(),
            held: row.held.as_ref().map(HeldView::new),
            flapping: row.flapping,
            interval: time::length(row.interval.as_ref()),
            target: row.target.clone(),
            insecure: row.insecure,
            budget: row.budget.as_ref().map(BudgetView::new),
            ballots: row.ballots.iter().map(BallotView::new).collect(),
            changed: row.since,
        }
    }

    fn verdict_cell(&self) -> (String, Tone) {
        let mark = mark::of_verdict(&self.verdict);
        let text = match &self.degraded {
            Some(kind) => format!("{mark} {} ({kind})", self.verdict),
            None => format!("{mark} {}", self.verdict),
        };
        let text = if self.flapping { format!("{text} (flapping)") } else { text };
        let text = match &self.held {
            Some(held) => format!("{text} ({})", held.word()),
            None => text,
        };
        (text, Tone::of_verdict(&self.verdict))
    }

    fn name_cell(&self) -> String {
        if self.insecure { format!("{} (insecure)", self.name) } else { self.name.clone() }
    }
}

/// What is left of an error budget.
#[derive(Debug, Serialize)]
pub struct BudgetView {
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<String>,
    runs: u64,
    failed: u64,
    /// Below 0 it is overspent.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl BudgetView {
    fn new(budget: &v1::Budget) -> Self {
        Self {
            target: percent::format(budget.target_ppm),
            over: time::length(budget.over.as_ref()),
            runs: budget.runs,
            failed: budget.failed,
            left_percent: budget.left_ppm.map(|ppm| ppm as f64 / 10_000.0),
            until: time::instant(budget.until.as_ref()),
        }
    }

    /// `73.2%`. What is left is not rounded up to more than there is.
    fn cell(&self) -> (String, Tone) {
        match self.left_percent {
            None => ("-".to_owned(), Tone::Plain),
            Some(left) => {
                let tone = if left <= 0.0 { Tone::Bad } else { Tone::Plain };
                (format!("{:.1}%", (left * 10.0).floor() / 10.0), tone)
            }
        }
    }
}

/// Adds the regions of one more page: each page names those of its own rows.
pub fn join(known: &mut Vec<String>, more: Vec<String>) {
    for region in more {
        if !known.contains(&region) {
            known.push(region);
        }
    }
}

/// Leaves the rows of these checks, and the regions that one of them looks from.
pub fn choose(rows: &mut Vec<v1::StatusRow>, regions: &mut Vec<String>, checks: &BTreeSet<&str>) {
    rows.retain(|row| checks.contains(row.name.as_str()));
    let seen: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| row.ballots.iter().map(|ballot| ballot.region.as_str()))
        .collect();
    regions.retain(|region| seen.contains(region.as_str()));
}

/// The mark and word of one vote; nothing for a region the check does not look from.
fn ballot_cell(ballot: Option<&BallotView>) -> (String, Tone) {
    match ballot {
        None => (String::new(), Tone::Plain),
        Some(ballot) => {
            let word = ballot.counts_as();
            let only = if ballot.advisory { " (advisory)" } else { "" };
            (format!("{} {word}{only}", mark::of_ballot(word)), Tone::of_ballot(word))
        }
    }
}

impl StatusView {
    /// The view of all pages.
    pub fn new(
        rows: &[v1::StatusRow],
        regions: &[String],
        mesh: Option<&v1::MeshStatus>,
        revision: u64,
    ) -> Self {
        Self {
            revision,
            mesh: mesh.map(|mesh| MeshView {
                name: mesh.mesh.clone(),
                node_id: mesh.node_id,
                leader_id: mesh.leader_id,
                term: mesh.term,
                applied: mesh.applied,
                epoch: mesh.epoch,
                probes_live: mesh.probes_live,
                probes_known: mesh.probes_known,
                incidents_open: mesh.incidents_open,
                build: mesh.build.clone(),
                mesh_time: time::instant(mesh.mesh_time.as_ref()),
                leaderless_since: time::instant(mesh.leaderless_since.as_ref()),
                reaches: mesh.reaches.clone(),
                does_not_reach: mesh.does_not_reach.clone(),
                stands_still: mesh.stands_still.clone(),
                disputed_since: Some(mesh.disputed_index).filter(|index| *index != 0),
            }),
            regions: regions.to_vec(),
            unwatched: Vec::new(),
            checks: rows.iter().map(RowView::new).collect(),
        }
    }

    /// The same, which names regions that nobody looks from as their probes were drained.
    #[must_use]
    pub fn beside(self, probes: &[v1::Probe]) -> Self {
        Self { unwatched: UnwatchedView::of(&self.columns(), probes), ..self }
    }

    /// Regions as the coordinator orders them, and after them those that only a ballot names.
    fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = self.regions.iter().map(String::as_str).collect();
        for ballot in self.checks.iter().flat_map(|row| &row.ballots) {
            if !columns.contains(&ballot.region.as_str()) {
                columns.push(&ballot.region);
            }
        }
        columns
    }

    /// The matrix as a table where it fits, else a block of lines for each check.
    pub fn text(&self, shell: &Shell) -> String {
        let columns = self.columns();
        let matrix = self.matrix(&columns, shell);
        let fits = shell.width.is_none_or(|width| matrix.natural_width() <= width);
        let mut text = if fits { matrix.render(None, shell.color_out) } else { self.blocks(shell) };
        if !self.unwatched.is_empty() {
            text.push('\n');
        }
        for region in &self.unwatched {
            let line = region.line((shell.now)());
            text.push_str(&format!("{}\n", Tone::Warn.paint(&line, shell.color_out)));
        }
        if let Some(mesh) = &self.mesh {
            text.push_str(&format!("\n{}\n", mesh.line()));
            for line in [mesh.leaderless(), mesh.standstill(), mesh.dispute()].into_iter().flatten()
            {
                text.push_str(&format!("{}\n", Tone::Bad.paint(&line, shell.color_out)));
            }
        }
        text
    }

    fn matrix(&self, columns: &[&str], shell: &Shell) -> Table {
        let now = (shell.now)();
        let budgets = self.checks.iter().any(|row| row.budget.is_some());
        let header = ["CHECK", "VERDICT", "FOR"].into_iter().chain(budgets.then_some("BUDGET"));
        let header = header.map(str::to_owned);
        let header: Vec<String> =
            header.chain(columns.iter().map(|region| region.to_uppercase())).collect();
        let mut table = Table::new(header.iter().map(String::as_str));
        for row in &self.checks {
            let by_region: BTreeMap<&str, &BallotView> =
                row.ballots.iter().map(|ballot| (ballot.region.as_str(), ballot)).collect();
            let mut cells = vec![
                (row.name_cell(), Tone::Plain),
                row.verdict_cell(),
                (time::age(row.changed.as_ref(), now), Tone::Plain),
            ];
            if budgets {
                let none = || (String::new(), Tone::Plain);
                cells.push(row.budget.as_ref().map_or_else(none, BudgetView::cell));
            }
            cells.extend(columns.iter().map(|region| ballot_cell(by_region.get(region).copied())));
            table.toned(cells);
        }
        table
    }

    fn blocks(&self, shell: &Shell) -> String {
        let now = (shell.now)();
        let width = shell.width.unwrap_or(80);
        let mut text = String::new();
        for row in &self.checks {
            let (verdict, tone) = row.verdict_cell();
            let age = time::age(row.changed.as_ref(), now);
            let name = table::clean(&row.name_cell());
            let budget = row.budget.as_ref().map(|budget| budget.cell().0);
            let budget = budget.map(|left| format!("  budget {left}")).unwrap_or_default();
            let verdict = tone.paint(&verdict, shell.color_out);
            text.push_str(&format!("{name}  {verdict}  {age}{budget}\n"));
            let mut used = 0;
            for ballot in &row.ballots {
                let (cell, tone) = ballot_cell(Some(ballot));
                let region = table::clean(&ballot.region);
                let length = region.chars().count() + cell.chars().count() + 3;
                if used > 0 && used + length > width {
                    text.push('\n');
                    used = 0;
                }
                text.push_str(&format!("  {region} {}", tone.paint(&cell, shell.color_out)));
                used += length;
            }
            if used > 0 {
                text.push('\n');
            }
        }
        text
    }
}

impl MeshView {
    /// What the answering member says when it sees no leader.
    fn leaderless(&self) -> Option<String> {
        let since = self.leaderless_since.as_ref()?;
        let who = |names: &[String]| match names {
            [] => "nobody".to_owned(),
            names => names.join(", "),
        };
        let mut line = format!("it has seen no leader since {since}");
        if !self.reaches.is_empty() || !self.does_not_reach.is_empty() {
            line.push_str(&format!("; it reaches {}", who(&self.reaches)));
        }
        if !self.does_not_reach.is_empty() {
            line.push_str(&format!(", not {}", who(&self.does_not_reach)));
        }
        Some(table::clean(&line))
    }

    /// What the answering member says when its build is too old.
    fn standstill(&self) -> Option<String> {
        (!self.stands_still.is_empty()).then(|| table::clean(&self.stands_still))
    }

    /// Why nothing is written although there is a leader.
    fn dispute(&self) -> Option<String> {
        self.disputed_since.map(|index| {
            format!(
                "nothing is written: since entry {index} the members hold different states and no \
                 majority the same one; restore the cluster from a backup"
            )
        })
    }

    fn line(&self) -> String {
        let Self { name, probes_live, probes_known, incidents_open, applied, node_id, .. } = self;
        let leader = match self.leader_id {
            0 => "no leader".to_owned(),
            leader if leader == self.node_id => "the leader".to_owned(),
            leader => format!("follower of {leader}"),
        };
        let incidents = if *incidents_open == 1 { "incident" } else { "incidents" };
        table::clean(&format!(
            "mesh {name}: {probes_live}/{probes_known} probes live, {incidents_open} {incidents} open, \
             revision {applied}, answered by node {node_id} ({leader})"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_page_takes_no_region_of_an_earlier_one_away() {
        let mut known = Vec::new();
        join(&mut known, vec!["us-east".to_owned(), "ap-south".to_owned()]);
        join(&mut known, vec!["eu-west".to_owned(), "us-east".to_owned()]);
        assert_eq!(known, ["us-east", "ap-south", "eu-west"]);
    }
}
