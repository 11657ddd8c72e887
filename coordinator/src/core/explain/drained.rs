//! Regions that nobody looks from, as whoever could was drained. It holds now, and no record has it.

use parallax_common::check::Check;
use parallax_common::limits::DRAINED_NAMED_MAX;
use parallax_proto::store::ProbeRow;
use parallax_proto::v1::ProbeState;

use super::words::{Clock, line};
use crate::core::fleet::rows::is_given_work;
use crate::core::plan;

/// A sentence for each region of a check that no probe looks from, and where one that is drained would.
/// Where none would, the drain is not why.
pub fn sentences<'a>(check: &Check, probes: impl Iterator<Item = &'a ProbeRow>) -> Vec<String> {
    let kinds = plan::kinds(check);
    let can = |row: &&ProbeRow| {
        let knows = |kind: &&str| row.kinds.iter().any(|known| known == kind);
        row.state() == ProbeState::Live && kinds.iter().all(knows)
    };
    let everywhere: Vec<&ProbeRow> = probes.filter(can).collect();
    let mut clock = Clock::default();
    let of_region = |region: &String| {
        let of_it = everywhere.iter().copied().filter(|row| row.region == *region);
        let able: Vec<&ProbeRow> = of_it.collect();
        if able.is_empty() || able.iter().any(|row| is_given_work(row)) {
            return None;
        }
        let more = able.len().saturating_sub(DRAINED_NAMED_MAX);
        let named = able.iter().take(DRAINED_NAMED_MAX).map(|row| clause(row, &mut clock));
        let mut clauses: Vec<String> = named.collect();
        if more > 0 {
            clauses.push(match more {
                1 => "so was 1 more".to_owned(),
                more => format!("so were {more} more"),
            });
        }
        Some(format!("Nobody looks from {}: {}.", line(region), clauses.join("; ")))
    };
    check.looks_from().filter_map(of_region).collect()
}

/// `probe a was drained by anna at 2026-11-20 03:12:00 UTC (new kernel)`.
fn clause(row: &ProbeRow, clock: &mut Clock) -> String {
    let drain = row.drain.clone().unwrap_or_default();
    let at = clock.time(drain.since.as_ref());
    let (probe, by, note) = (line(&row.probe), line(&drain.by), line(&drain.note));
    let why = if note.is_empty() { note } else { format!(" ({note})") };
    format!("probe {probe} was drained by {by} at {at}{why}")
}

#[cfg(test)]
mod tests {
    use parallax_proto::v1;

    use super::*;
    use crate::core::engine::tests::rig;

    fn probe(name: &str, region: &str, state: ProbeState, note: Option<&str>) -> ProbeRow {
        let since = Some(prost_types::Timestamp { seconds: 1_795_144_320, nanos: 0 });
        let drain = |note: &str| v1::Drain { since, by: "anna".to_owned(), note: note.to_owned() };
        ProbeRow {
            region: region.to_owned(),
            probe: name.to_owned(),
            state: state.into(),
            kinds: vec!["tcp".to_owned()],
            drain: note.map(drain),
            ..ProbeRow::default()
        }
    }

    #[test]
    fn a_region_is_named_when_all_who_could_look_are_drained_and_only_then() {
        use ProbeState::{Live, Lost};
        let check = rig::check(2, 2);
        let (region, other) = (check.regions[0].clone(), check.regions[1].clone());
        let other = probe("o", &other, Live, None);
        let said = |probes: &[ProbeRow]| sentences(&check, probes.iter().chain([&other]));
        let drained = probe("a", &region, Live, Some("new\nkernel"));
        let expected = format!(
            "Nobody looks from {region}: probe a was drained by anna at 2026-11-20 03:12:00 UTC (new kernel)."
        );
        assert_eq!(said(std::slice::from_ref(&drained)), [expected]);
        // Somebody looks; nobody is there; whoever is drained could not look anyway.
        assert!(said(&[drained.clone(), probe("b", &region, Live, None)]).is_empty());
        assert!(said(&[]).is_empty() && said(&[probe("a", &region, Lost, Some(""))]).is_empty());
        let old =
            |drain| ProbeRow { kinds: vec!["http".to_owned()], ..probe("b", &region, Live, drain) };
        assert!(said(&[old(Some(""))]).is_empty());
        // One that cannot look takes nothing from the others' drain, and neither does one that is lost.
        let both = [drained, old(None), probe("c", &region, Lost, None)];
        assert_eq!(said(&both).len(), 1);
        let many: Vec<ProbeRow> =
            ["a", "b", "c", "d", "e"].map(|name| probe(name, &region, Live, Some(""))).to_vec();
        let said = said(&many).concat();
        assert!(
            said.contains("; probe c was drained by anna at 03:12:00 UTC; so were 2 more."),
            "{said}"
        );
        assert!(!said.contains("probe d"), "{said}");
    }
}
