//! What each region says, regions that say the same together.

use std::time::Duration;

use parallax_common::outcome::Reason;
use parallax_proto::v1::{self, BallotState, Outcome};

use super::words::{Clock, count, line, list, span};
use crate::core::stamp;

/// Every region that counts in one sentence: those that fail first, then warnings, passes, and the
/// silent; after it the advisory ones in another.
pub(super) fn sentence(record: &v1::DecisionRecord, clock: &mut Clock) -> Option<String> {
    let rule = record.rule.unwrap_or_default();
    let mut sentences: Vec<String> = Vec::new();
    for advisory in [false, true] {
        let some = record.ballots.iter().filter(|ballot| ballot.advisory == advisory);
        let clauses = clauses(&some.collect::<Vec<_>>(), &rule, clock);
        if !clauses.is_empty() {
            let not = if advisory { "Not counted: " } else { "" };
            sentences.push(format!("{not}{}.", clauses.join("; ")));
        }
    }
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

fn clauses(ballots: &[&v1::Ballot], rule: &v1::Rule, clock: &mut Clock) -> Vec<String> {
    let mut clauses: Vec<String> = Vec::new();
    let voting = |state: BallotState| {
        let some = ballots.iter().copied().filter(|ballot| votes(ballot) && !ballot.split);
        some.filter(move |ballot| ballot.state() == state)
    };
    for group in alike(voting(BallotState::Fail)) {
        let (see, fail) = if group.len() == 1 { ("sees", "fails") } else { ("see", "fail") };
        let (regions, why, since) = (regions(&group), why(group[0]), since(&group, clock));
        clauses.push(match is_warning(group[0]) {
            false => format!("{regions} {see} {why} {since}"),
            true => format!("{regions} {fail} {since}, newest: {why}"),
        });
    }
    for group in alike(voting(BallotState::Warn)) {
        let pass = if group.len() == 1 { "passes" } else { "pass" };
        let (regions, why, since) = (regions(&group), why(group[0]), since(&group, clock));
        clauses.push(match is_warning(group[0]) {
            true => format!("{regions} {pass} with {why} {since}"),
            false => format!("{regions} {pass} with a warning {since}, newest: {why}"),
        });
    }
    let passing: Vec<&v1::Ballot> = voting(BallotState::Pass).collect();
    match &passing[..] {
        [] => {}
        [one] => clauses.push(passes_one(one)),
        several => {
            let several: Vec<String> = several.iter().map(|ballot| timed(ballot)).collect();
            clauses.push(format!("{} pass", list(&several)));
        }
    }
    for ballot in ballots {
        clauses.extend(silent(ballot, rule));
    }
    clauses.extend(ballots.iter().filter_map(|ballot| panel(ballot)));
    clauses
}

/// "in eu-west a and b fail, c passes" where several probes of a region do not say the same; of a region
/// that is split also why.
fn panel(ballot: &v1::Ballot) -> Option<String> {
    let says = |probe: &v1::Ballot| match probe.state() {
        _ if probe.excluded => ("is excluded", "are excluded"),
        _ if probe.probe.is_empty() => ("is not there", "are not there"),
        _ if probe.stale => ("is silent", "are silent"),
        BallotState::Fail => ("fails", "fail"),
        BallotState::Warn => ("passes with a warning", "pass with a warning"),
        BallotState::Pass => ("passes", "pass"),
        BallotState::None | BallotState::Unspecified => {
            ("has not said enough yet", "have not said enough yet")
        }
    };
    let mut groups: Vec<((&str, &str), Vec<String>)> = Vec::new();
    for probe in &ballot.probes {
        let word = says(probe);
        let name = if probe.probe.is_empty() { "one".to_owned() } else { line(&probe.probe) };
        match groups.iter_mut().find(|(known, _)| *known == word) {
            Some((_, names)) => names.push(name),
            None => groups.push((word, vec![name])),
        }
    }
    if groups.len() < 2 {
        return None;
    }
    let clauses: Vec<String> = groups
        .into_iter()
        .map(|((one, many), names)| {
            format!("{} {}", list(&names), if names.len() == 1 { one } else { many })
        })
        .collect();
    let region = line(&ballot.region);
    let why = match ballot.split {
        true => format!(" ({} is split: {})", region, why(ballot)),
        false => String::new(),
    };
    Some(format!("in {region} {}{why}", clauses.join(", ")))
}

/// What keeps regions from running it as they are configured. Such runs never vote, so no record is
/// made of them: this is said of the ballots as they stand now.
pub(super) fn cannot_run(ballots: &[v1::Ballot]) -> Option<String> {
    let for_its_owner = |ballot: &&v1::Ballot| {
        let mendable = matches!(
            ballot.reason(),
            v1::Reason::ConfigError
                | v1::Reason::AddressDenied
                | v1::Reason::PluginUnknown
                | v1::Reason::ExpressionBudget
        );
        ballot.last_outcome() == Outcome::Missed && mendable
    };
    let each = ballots.iter().flat_map(|ballot| match &ballot.probes[..] {
        [] => std::slice::from_ref(ballot),
        probes => probes,
    });
    let groups = alike(each.filter(for_its_owner));
    let clauses: Vec<String> = groups
        .iter()
        .map(|group| format!("{} cannot run it: {}", regions(group), why(group[0])))
        .collect();
    (!clauses.is_empty()).then(|| format!("Now {}.", clauses.join("; ")))
}

/// "probe a was last heard 12 s before".
pub(super) fn heard(ballot: &v1::Ballot) -> String {
    let probe = line(&ballot.probe);
    match (&ballot.age, ballot.stale) {
        (Some(age), true) => format!("{probe} was last heard {} before", span(stamp::length(age))),
        (Some(_), false) => format!("{probe} is heard"),
        (None, _) => format!("{probe} was not heard at all"),
    }
}

/// Whether what a region last had to say against it was a warning. It may be another thing than what
/// made its state: one run does not turn a region.
fn is_warning(ballot: &v1::Ballot) -> bool {
    ballot.reason() == v1::Reason::Warning
}

fn votes(ballot: &v1::Ballot) -> bool {
    !ballot.stale && !ballot.excluded && !ballot.probe.is_empty()
}

/// Ballots with the same step, reason and evidence, in order of their first.
fn alike<'a>(ballots: impl Iterator<Item = &'a v1::Ballot>) -> Vec<Vec<&'a v1::Ballot>> {
    let mut groups: Vec<Vec<&v1::Ballot>> = Vec::new();
    for ballot in ballots {
        let same = groups.iter_mut().find(|group| {
            let first = group[0];
            (first.step, first.reason, &first.evidence)
                == (ballot.step, ballot.reason, &ballot.evidence)
        });
        match same {
            Some(group) => group.push(ballot),
            None => groups.push(vec![ballot]),
        }
    }
    groups
}

fn regions(group: &[&v1::Ballot]) -> String {
    let mut names: Vec<String> = group.iter().map(|ballot| line(&ballot.region)).collect();
    // Probes of one region stand beside each other.
    names.dedup();
    list(&names)
}

/// "connect_refused (203.0.113.7:443) in step 2".
fn why(ballot: &v1::Ballot) -> String {
    let name = ballot.reason().as_str_name();
    let word = name.strip_prefix("REASON_").unwrap_or(name).to_ascii_lowercase();
    let reason = match Reason::from_word(&word) {
        Some(Reason::Warning) => "a warning".to_owned(),
        Some(reason) => reason.word().to_owned(),
        None => "a failure without a reason".to_owned(),
    };
    let evidence = line(&ballot.evidence);
    let evidence = if evidence.is_empty() { evidence } else { format!(" ({evidence})") };
    let step = match ballot.step {
        0 => String::new(),
        step => format!(" in step {}", step + 1),
    };
    format!("{reason}{evidence}{step}")
}

/// "since T", or with both ends when the regions did not turn in the same second.
fn since(group: &[&v1::Ballot], clock: &mut Clock) -> String {
    let at = |ballot: &&&v1::Ballot| stamp::utc(ballot.since.as_ref());
    let first = group.iter().min_by_key(at).and_then(|ballot| ballot.since);
    let last = group.iter().max_by_key(at).and_then(|ballot| ballot.since);
    let from = clock.time(first.as_ref());
    match (first, last) {
        (Some(first), Some(last)) if first.seconds != last.seconds => {
            format!("since {from}, the last since {}", clock.time(Some(&last)))
        }
        _ => format!("since {from}"),
    }
}

fn passes_one(ballot: &v1::Ballot) -> String {
    let region = line(&ballot.region);
    match &ballot.last_total {
        Some(total) => format!("{region} passes ({})", span(stamp::length(total))),
        None => format!("{region} passes"),
    }
}

fn timed(ballot: &v1::Ballot) -> String {
    let region = line(&ballot.region);
    match &ballot.last_total {
        Some(total) => format!("{region} ({})", span(stamp::length(total))),
        None => region,
    }
}

/// The clause for a region that does not vote, or has not made up its mind.
fn silent(ballot: &v1::Ballot, rule: &v1::Rule) -> Option<String> {
    let region = line(&ballot.region);
    if ballot.excluded {
        return Some(format!("{region} is excluded from voting"));
    }
    if ballot.probe.is_empty() {
        return Some(format!("{region} has no probe for it"));
    }
    if ballot.split {
        return None;
    }
    if ballot.stale {
        let had = !matches!(ballot.state(), BallotState::None | BallotState::Unspecified);
        let as_what = match rule.missing() {
            _ if !had || ballot.advisory => "",
            v1::MissingData::Fail => ", and counts as failing",
            v1::MissingData::Pass => ", and counts as passing",
            _ => "",
        };
        return Some(match &ballot.age {
            Some(age) => {
                let age: Duration = stamp::length(age);
                format!("{region} is stale: last heard {} ago{as_what}", span(age))
            }
            None => format!("{region} is stale: never heard{as_what}"),
        });
    }
    if ballot.state() != BallotState::None && ballot.state() != BallotState::Unspecified {
        return None;
    }
    let (word, needed, of) = match ballot.last_outcome() {
        Outcome::Fail => ("fail", rule.failures, rule.failures_of),
        Outcome::Pass | Outcome::Warn => ("pass", rule.successes, rule.successes_of),
        Outcome::Missed | Outcome::Unspecified => {
            return Some(format!("{region} has not said anything yet"));
        }
    };
    let row = match ballot.in_a_row {
        1 => format!("1 {word}"),
        n if word == "pass" => format!("{n} passes in a row"),
        n => format!("{} in a row", count(n, word)),
    };
    let of = if of == 0 { String::new() } else { format!(" of {of}") };
    Some(format!("{region} has not said enough yet: {row} ({needed}{of} needed)"))
}
