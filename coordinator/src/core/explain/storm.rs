//! What is told together: how many, which, and what has become of them.

use parallax_common::text::format_duration;
use parallax_proto::v1::{Incident, IncidentKind, Storm};

use super::words::{count, line, list};
use super::{headline, words};
use crate::core::stamp;

/// What the members of a storm are.
fn noun(storm: &Storm) -> &'static str {
    match storm.kind() {
        IncidentKind::Down => "check",
        _ => "incident",
    }
}

/// `12 checks are down`, `9 of 12 checks have recovered`: one line.
pub fn summary(incident: &Incident) -> String {
    let storm = incident.storm.clone().unwrap_or_default();
    let (all, noun) = (storm.gathered, noun(&storm));
    let all_of = count(all, noun);
    let goes_on = all.saturating_sub(storm.ended);
    let has = if storm.ended == 1 { "has" } else { "have" };
    let recovered = match storm.not_recovered {
        0 => format!("{has} recovered"),
        _ => format!("{has} ended{}", unwatched(&storm)),
    };
    if incident.resolved_at.is_some() || goes_on == 0 {
        let recovered = noun == "check" && storm.not_recovered == 0;
        let what = if recovered { "recovered" } else { "ended" };
        let why = unwatched(&storm);
        return match (all, storm.members.first()) {
            (1, Some(only)) => format!("{} has {what}{why}", line(&only.name)),
            _ if recovered => format!("all {all_of} have {what}"),
            // A check goes on when its incident has ended.
            _ => format!("all {} have {what}{why}", count(all, "incident")),
        };
    }
    let still = match (noun, goes_on) {
        ("check", 1) => "is down",
        ("check", _) => "are down",
        (_, 1) => "is open",
        _ => "are open",
    };
    let first: Vec<String> = open(&storm).take(3).map(|name| line(name)).collect();
    let names = match goes_on.saturating_sub(u32::try_from(first.len()).unwrap_or_default()) {
        _ if first.is_empty() => String::new(),
        0 => format!(": {}", list(&first)),
        more => format!(": {} and {more} more", first.join(", ")),
    };
    match storm.ended {
        0 => format!("{all_of} {still}{names}"),
        ended => format!("{goes_on} of {all_of} {still}, {ended} {recovered}{names}"),
    }
}

/// How many ended because nobody looks any more.
fn unwatched(storm: &Storm) -> String {
    match storm.unwatched {
        0 => String::new(),
        some => format!(" ({some} paused or deleted)"),
    }
}

fn open(storm: &Storm) -> impl Iterator<Item = &String> {
    storm.members.iter().filter(|member| member.ended == 0).map(|member| &member.name)
}

/// What a storm is and what it tells of.
pub(super) fn sentences(incident: &Incident, clock: &mut words::Clock) -> Vec<String> {
    let storm = incident.storm.clone().unwrap_or_default();
    let all = count(storm.gathered, noun(&storm));
    let (is, was) = (format!("A storm of {all} goes on"), format!("A storm of {all} went on"));
    let within = format_duration(storm.within.as_ref().map(stamp::length).unwrap_or_default());
    let headline = headline(incident, &is, &was, clock);
    let mut sentences = vec![format!(
        "{headline}: {} is told of them together, as more than {} checks opened within {within}; \
         {} told before.",
        line(&storm.contact),
        storm.over,
        if storm.over == 1 { "1 was".to_owned() } else { format!("{} were", storm.over) }
    )];
    let named = |names: Vec<String>, all: u32| {
        let known = u32::try_from(names.len()).unwrap_or(u32::MAX);
        match all.saturating_sub(known) {
            0 => list(&names),
            more if names.is_empty() => format!("{more}, none of which is named here"),
            more => format!("{} and {more} more", names.join(", ")),
        }
    };
    let goes_on = storm.gathered.saturating_sub(storm.ended);
    if goes_on > 0 && incident.resolved_at.is_none() {
        let names = open(&storm).map(|name| line(name)).collect();
        let are = if goes_on == 1 { "It is" } else { "They are" };
        let are = if storm.ended > 0 { "Still open" } else { are };
        let colon = if storm.ended > 0 { ":" } else { "" };
        sentences.push(format!("{are}{colon} {}.", named(names, goes_on)));
    }
    if storm.ended > 0 {
        let names = storm.members.iter().filter(|member| member.ended > 0);
        let names = names.map(|member| line(&member.name)).collect();
        sentences.push(format!("Over: {}.", named(names, storm.ended)));
    }
    if !storm.regions.is_empty() {
        let regions: Vec<String> = storm.regions.iter().map(|region| line(region)).collect();
        let verb = if storm.gathered == 1 { "It failed" } else { "All of them failed" };
        sentences.push(format!("{verb} in {}.", list(&regions)));
    }
    if let Some(until) = incident.held.as_ref().and_then(|held| held.until.as_ref()) {
        let until = clock.time(Some(until));
        sentences.push(format!("Its page waits until {until} for what else opens."));
    }
    sentences
}
