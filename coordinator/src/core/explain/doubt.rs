//! A canary in doubt: what its incident says.

use parallax_common::limits::{CANARY_DOUBT_AFTER, CANARY_SURE_AFTER};
use parallax_proto::v1;

use super::words::{Clock, count, line, list, span};

/// Which regions do not see the known answer of a canary.
pub fn unseen(record: &v1::DecisionRecord) -> String {
    let fails = |ballot: &v1::Ballot| ballot.state() == v1::BallotState::Fail && !ballot.stale;
    let counted = || record.ballots.iter().filter(|ballot| !ballot.advisory);
    // Where some probes of a region do and others do not, it is named.
    let fails_in = |ballot: &&v1::Ballot| match &ballot.probes[..] {
        [] => fails(ballot),
        probes => probes.iter().any(fails),
    };
    let regions: Vec<String> = counted().filter(fails_in).map(|it| line(&it.region)).collect();
    let verb = if regions.len() == 1 { "does" } else { "do" };
    let heard = |ballot: &v1::Ballot| ballot.state() != v1::BallotState::None && !ballot.stale;
    let heard_in = |ballot: &&v1::Ballot| match &ballot.probes[..] {
        [] => heard(ballot),
        probes => probes.iter().any(heard),
    };
    let all = u32::try_from(counted().filter(heard_in).count()).unwrap_or(u32::MAX);
    format!("{} of {} {verb} not see its known answer", list(&regions), count(all, "region"))
}

pub(super) fn sentences(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let canary = line(&incident.check_name);
    let (is, was) =
        (format!("Canary {canary} is in doubt"), format!("Canary {canary} was in doubt"));
    let headline = super::headline(incident, &is, &was, clock);
    let unseen = unseen(&incident.opened_by.clone().unwrap_or_default());
    let lasted = span(CANARY_DOUBT_AFTER);
    let seen = match incident.resolved_at {
        None => format!("{headline}: {unseen}."),
        Some(_) => format!("{headline}. At the opening: {unseen}."),
    };
    vec![
        seen,
        format!("Half of the regions or more had not seen it for {lasted} when this opened."),
        "While that is so nobody is excluded by it, so it guards nothing.".to_owned(),
    ]
}

pub(super) fn resolves_when() -> String {
    let lasts = span(CANARY_SURE_AFTER);
    format!(
        "It resolves when more than half of the regions have seen its known answer for {lasts}."
    )
}

pub(super) fn recovered() -> String {
    let lasts = span(CANARY_SURE_AFTER);
    format!(
        "It resolved because more than half of the regions have seen its known answer for {lasts}."
    )
}
