//! Sentences for a person who was just woken up.
//!
//! Everything here is rendered from a committed record: the same record gives the same sentences
//! on every member and at every later time, and no number comes from anywhere else. [`insecure`], [`cannot_run`],
//! [`canary`], [`certificate`], [`drained`] and [`would_tell`] say what holds now; answers have their sentences in a
//! field of their own. Clauses about
//! single regions are in `ballots`, those about deliveries in `pages`, times and lengths in
//! `words`.

use parallax_common::check::{Canary, Check};
use parallax_common::limits::READMIT_AFTER;
use parallax_proto::v1::{self, DegradedKind, IncidentKind, ResolveCause, Verdict};

mod alert;
mod ballots;
mod doubt;
pub mod drained;
mod pages;
mod routes;
mod storm;
mod words;

pub use self::alert::{certificate, summary as alert_summary};
pub use self::doubt::unseen;
pub use self::storm::summary as storm_summary;
use self::words::{Clock, count, line, list, span, verb};
use crate::core::routing::Taking;
use crate::core::{stamp, watchdog};

/// What a check's verdict is and why.
pub fn verdict(verdict: &v1::CheckVerdict) -> Vec<String> {
    let record = verdict.record.clone().unwrap_or_default();
    let rule = record.rule.unwrap_or_default();
    let mut clock = Clock::default();
    let name = line(&verdict.check_name);
    let since = clock.time(verdict.since.as_ref());
    let open = !verdict.incident_uid.is_empty();
    let word = word(verdict.verdict());
    let mut sentences =
        vec![format!("{name} is {word} since {since}: {}.", because(&record, &rule, open))];
    sentences.extend(ballots::sentence(&record, &mut clock));
    match verdict.verdict() {
        Verdict::Down | Verdict::Unknown if open => sentences.push(resolves_when(&rule)),
        Verdict::Degraded if record.degraded() == DegradedKind::Regional => {
            sentences.push(down_when(&rule));
        }
        _ => {}
    }
    if !verdict.lasting_incident_uid.is_empty() {
        sentences.push("It has lasted, and is an incident of its own.".to_owned());
    }
    if verdict.lasting_latched {
        let text =
            "Its incident was resolved by hand: none opens until the verdict is another one.";
        sentences.push(text.to_owned());
    }
    if verdict.latched {
        sentences.push(format!(
            "Its incident was resolved by hand while it still failed: none opens until fewer than \
             {} once.",
            verb(rule.down_at, "region", "fails", "fail")
        ));
    }
    sentences
}

/// What keeps regions from running a check at this moment, for its owner to mend.
pub fn cannot_run(ballots: &[v1::Ballot]) -> Option<String> {
    ballots::cannot_run(ballots)
}

/// That a check does not verify whom it speaks with, and in which steps.
pub fn insecure(check: &Check) -> Option<String> {
    let steps = check.run.steps.iter().enumerate().filter(|(_, step)| step.kind.insecure());
    let named = steps.map(|(place, step)| match step.name.as_str() {
        "" => (place + 1).to_string(),
        name => format!("`{}`", line(name)),
    });
    let named: Vec<String> = named.collect();
    let which = match named.len() {
        0 => return None,
        _ if check.run.steps.len() == 1 => String::new(),
        1 => format!(" in step {}", named[0]),
        _ => format!(" in steps {}", named.join(", ")),
    };
    Some(format!(
        "It is insecure{which}: certificates are not verified, and whoever is on the way can answer."
    ))
}

/// What a canary is, and what the regions see of it at this moment.
pub fn canary(canary: Canary, ballots: &[v1::Ballot]) -> Vec<String> {
    let answer = match canary {
        Canary::Pass => "pass".to_owned(),
        Canary::Fail(None) => "fail".to_owned(),
        Canary::Fail(Some(reason)) => format!("fail with {reason}"),
    };
    let mut sentences = vec![format!(
        "It is a canary, known to {answer}: `up` says that this is seen, and no incident opens for it."
    )];
    let counts = |ballot: &&v1::Ballot| !ballot.stale && !ballot.advisory;
    let probes = ballots.iter().filter(counts).flat_map(|ballot| match &ballot.probes[..] {
        [] => std::slice::from_ref(ballot),
        probes => probes,
    });
    let spoken = |ballot: &&v1::Ballot| ballot.state() != v1::BallotState::None;
    let (mut shares, mut wrong, mut all) = (watchdog::Shares::new(), 0, 0);
    for ballot in probes.filter(spoken) {
        let fails = ballot.state() == v1::BallotState::Fail;
        watchdog::share(&mut shares, &ballot.region, fails);
        wrong += u32::from(fails);
        all += 1;
    }
    match wrong {
        0 => {}
        wrong if watchdog::is_half(&shares) => sentences.push(format!(
            "Now {wrong} of {} do not see that: the canary is in doubt, not they, so nobody is \
             excluded by it. Look at its target, or take it out.",
            words::count(all, "probe")
        )),
        wrong => sentences.push(format!(
            "Now {wrong} of {} {} not see that, and may not vote when it lasts.",
            words::count(all, "probe"),
            if wrong == 1 { "does" } else { "do" }
        )),
    }
    sentences
}

/// What an incident is, why it opened and ended, and who was told.
pub fn incident(incident: &v1::Incident) -> Vec<String> {
    let mut clock = Clock::default();
    let mut sentences = match incident.kind() {
        IncidentKind::RegionSilent => region(incident, &mut clock),
        IncidentKind::RegionExcluded => excluded(incident, &mut clock),
        IncidentKind::RegionOutdated => outdated(incident, &mut clock),
        IncidentKind::CanaryInDoubt => doubt::sentences(incident, &mut clock),
        IncidentKind::Leaderless => leaderless(incident, &mut clock),
        IncidentKind::Storm => storm::sentences(incident, &mut clock),
        IncidentKind::Regional | IncidentKind::Warning => lasting(incident, &mut clock),
        IncidentKind::Latency
        | IncidentKind::ErrorRate
        | IncidentKind::Certificate
        | IncidentKind::BurnRate => measured(incident, &mut clock),
        IncidentKind::Down | IncidentKind::Unspecified => check(incident, &mut clock),
    };
    if incident.insecure {
        sentences.push(
            "Its check was insecure when it opened: certificates are not verified then, and whoever is on \
             the way can answer."
                .to_owned(),
        );
    }
    if incident.acknowledged_at.is_some() {
        let at = clock.time(incident.acknowledged_at.as_ref());
        let by = line(&incident.acknowledged_by);
        let note = notes(incident).0.map(|note| format!(": {note}")).unwrap_or_default();
        sentences.push(format!("{by} acknowledged it at {at}{note}."));
    }
    if incident.resolved_at.is_some() {
        sentences.push(ended(incident));
    } else {
        sentences.push(match incident.kind() {
            IncidentKind::RegionExcluded => {
                let minute = span(READMIT_AFTER);
                format!("It resolves when nothing has been wrong with it for {minute}.")
            }
            IncidentKind::RegionSilent => "It resolves when its probes are heard again.".into(),
            IncidentKind::RegionOutdated => {
                "It resolves when they have been upgraded, or what they lack is not asked of them."
                    .into()
            }
            IncidentKind::CanaryInDoubt => doubt::resolves_when(),
            IncidentKind::Leaderless => "It resolves when it sees a leader again.".into(),
            IncidentKind::Storm => "It ends with the last of them.".into(),
            IncidentKind::Regional => {
                "It ends when the last region passes, or when so many fail that it is down.".into()
            }
            IncidentKind::Warning => {
                "It ends when fewer regions pass with a warning, or when it fails.".into()
            }
            IncidentKind::Latency
            | IncidentKind::ErrorRate
            | IncidentKind::Certificate
            | IncidentKind::BurnRate => alert::resolves_when(incident),
            IncidentKind::Down | IncidentKind::Unspecified => {
                let rule = incident.opened_by.as_ref().and_then(|record| record.rule);
                resolves_when(&rule.unwrap_or_default())
            }
        });
        sentences.extend(stays_open(incident, &mut clock));
    }
    let held = incident.held.as_ref().filter(|_| incident.storm.is_none());
    sentences.extend(held.map(|held| quiet(held, &mut clock)));
    sentences.extend(routes::taken(incident, &mut clock));
    sentences.extend(incident.deliveries.iter().map(|page| pages::sentence(page, &mut clock)));
    sentences
}

/// Who is told of a check that goes down now, by the routes that take it, and which are passed over.
pub fn would_tell(check: &str, taking: &Taking<'_>) -> Vec<String> {
    routes::would_tell(check, taking)
}

/// In a page that is an escalation or a reminder: why it comes.
pub fn why_again(page: &v1::Delivery) -> Option<String> {
    pages::why_again(page)
}

/// What an incident of an alert says in one sentence.
pub fn alert(incident: &v1::Incident) -> String {
    measured(incident, &mut Clock::default()).swap_remove(0)
}

/// Why nobody is paged about an open incident yet.
pub fn held(incident: &v1::Incident) -> Option<String> {
    incident.held.as_ref().map(|held| quiet(held, &mut Clock::default()))
}

fn quiet(held: &v1::Held, clock: &mut Clock) -> String {
    let until = clock.time(held.until.as_ref());
    match &held.by {
        Some(v1::held::By::Parent(by)) => {
            let parent = line(&by.check_name);
            match by.ended {
                false => format!(
                    "Its opening is suppressed by {parent}, which it depends on and which is down."
                ),
                true => format!(
                    "Its opening is suppressed by {parent}, which it depends on and which was down; \
                     it goes out at {until} if it is still down then."
                ),
            }
        }
        Some(v1::held::By::Parents(by)) => {
            let names: Vec<_> = by.check_names.iter().map(|name| line(name)).collect();
            format!(
                "Its opening waits until {until}: what it depends on ({}) may be down as well.",
                names.join(", ")
            )
        }
        Some(v1::held::By::Silence(by)) => {
            let (who, comment) = (line(&by.created_by), line(&by.comment));
            format!("It is silenced until {until} by {who}: {comment}.")
        }
        None => format!("It is quiet until {until}."),
    }
}

fn check(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let record = incident.opened_by.clone().unwrap_or_default();
    let rule = record.rule.unwrap_or_default();
    let name = line(&incident.check_name);
    let why = because(&record, &rule, false);
    let headline =
        headline(incident, &format!("{name} is down"), &format!("{name} was down"), clock);
    let mut sentences = vec![format!("{headline}: {why}.")];
    if let Some(ballots) = ballots::sentence(&record, clock) {
        sentences.push(match incident.resolved_at {
            Some(_) => format!("At the opening: {ballots}"),
            None => ballots,
        });
    }
    sentences
}

/// What too few regions see to call it down, or all with a warning, for a while.
fn lasting(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let record = incident.opened_by.clone().unwrap_or_default();
    let rule = record.rule.unwrap_or_default();
    let name = line(&incident.check_name);
    let (is, was) = match incident.kind() {
        IncidentKind::Warning => ("passes with a warning", "passed with a warning"),
        _ => ("fails in some places only", "failed in some places only"),
    };
    let why = because(&record, &rule, false);
    let headline = headline(incident, &format!("{name} {is}"), &format!("{name} {was}"), clock);
    let mut sentences = vec![format!("{headline}: {why}.")];
    if let Some(ballots) = ballots::sentence(&record, clock) {
        sentences.push(format!("At the opening: {ballots}"));
    }
    sentences
}
/// What an alert found in what was measured.
fn measured(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let (is, was) = alert::headlines(incident);
    let headline = headline(incident, &is, &was, clock);
    let mut sentences = vec![format!("{headline}: {}.", alert::because(incident))];
    let regions = incident.alert_opened.as_ref().and_then(alert::regions);
    sentences.extend(regions.map(|regions| format!("At the opening: {regions}")));
    sentences
}

fn excluded(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let region = line(&incident.region);
    let record = incident.opened_by.clone().unwrap_or_default();
    let probes: Vec<String> = record
        .ballots
        .iter()
        .filter(|ballot| ballot.excluded)
        .map(|ballot| format!("probe {} {}", line(&ballot.probe), line(&ballot.evidence)))
        .collect();
    let (now, then) = (
        format!("a probe of region {region} is not believed"),
        format!("a probe of region {region} was not believed"),
    );
    let headline = headline(incident, &now, &then, clock);
    vec![
        format!("{headline}: {}.", list(&probes)),
        "Meanwhile what it sees does not count for any check.".to_owned(),
    ]
}

fn outdated(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let region = line(&incident.region);
    let record = incident.opened_by.clone().unwrap_or_default();
    let lacks =
        |ballot: &v1::Ballot| format!("probe {} {}", line(&ballot.probe), line(&ballot.evidence));
    let mut probes: Vec<String> = record.ballots.iter().map(lacks).collect();
    probes.extend(unnamed(&record));
    let (who, is, was) = match probes.len() {
        1 => ("A probe", "is", "was"),
        _ => ("Probes", "are", "were"),
    };
    let headline = headline(
        incident,
        &format!("{who} of region {region} {is} outdated"),
        &format!("{who} of region {region} {was} outdated"),
        clock,
    );
    vec![
        format!("{headline}: {}.", probes.join("; ")),
        "What they cannot run is run by other probes of the region, or not from there.".to_owned(),
    ]
}

/// How many probes a region's own incident is about, and how many of them are not heard. Not all of them
/// need have a ballot; records of old have one each, and no other count of those that are not heard.
pub fn heard_of(record: &v1::DecisionRecord) -> (usize, usize) {
    let stale = record.ballots.iter().filter(|ballot| ballot.stale).count();
    let counted = (record.failing as usize).saturating_add(record.fresh as usize);
    (record.ballots.len().max(counted), stale.max(record.failing as usize))
}

/// Those of them that have no ballot, in words.
fn unnamed(record: &v1::DecisionRecord) -> Option<String> {
    let more = heard_of(record).0 - record.ballots.len();
    (more > 0).then(|| format!("{more} more"))
}

fn region(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let region = line(&incident.region);
    let record = incident.opened_by.clone().unwrap_or_default();
    let (known, silent) = heard_of(&record);
    let (is, was, why) = match (known, silent) {
        (0, _) => ("is silent", "was silent", "no probe was ever heard there".to_owned()),
        (1, _) => ("is silent", "was silent", "its only probe is not heard".to_owned()),
        (all, silent) if all == silent => {
            ("is silent", "was silent", format!("none of its {all} probes is heard"))
        }
        (all, silent) => (
            "lost most of its probes",
            "had lost most of its probes",
            format!("{silent} of {all} are not heard, and their checks stay with them"),
        ),
    };
    let headline = headline(
        incident,
        &format!("Region {region} {is}"),
        &format!("Region {region} {was}"),
        clock,
    );
    let mut sentences = vec![format!("{headline}: {why}.")];
    let mut heard: Vec<String> = record.ballots.iter().map(ballots::heard).collect();
    heard.extend(unnamed(&record));
    if !heard.is_empty() {
        sentences.push(format!("At the opening: {}.", heard.join("; ")));
    }
    sentences
}

/// What a member knows that sees no leader, in one sentence without its full stop: for how long, whom
/// it reaches and whom it does not.
pub fn no_leader(
    member: &str,
    lasts: std::time::Duration,
    reaches: &[String],
    misses: &[String],
) -> String {
    let names = |names: &[String]| list(&names.iter().map(|name| line(name)).collect::<Vec<_>>());
    let who = match (reaches, misses) {
        ([], []) => String::new(),
        ([], misses) => format!("; it reaches nobody, not {}", names(misses)),
        (reaches, []) => format!("; it reaches {}", names(reaches)),
        (reaches, misses) => format!("; it reaches {}, not {}", names(reaches), names(misses)),
    };
    // Whole seconds: nobody needs more of a silence.
    let lasts = std::time::Duration::from_secs(lasts.as_secs());
    format!("member {} has seen no leader for {}{who}", line(member), span(lasts))
}

/// What a member says that sees no leader: the record is what it knew when it said so.
fn leaderless(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let member = incident.labels.get("member").map(|name| line(name)).unwrap_or_default();
    let headline = headline(
        incident,
        &format!("Coordinator {member} sees no leader"),
        &format!("Coordinator {member} saw no leader"),
        clock,
    );
    let mut sentences = vec![format!("{headline}: {}.", line(&incident.detail))];
    if incident.resolved_at.is_none() {
        sentences.push(
            "Until then it takes no writes and sends no other pages; what it knows can be read \
             with --stale, and probes keep looking."
                .into(),
        );
    }
    sentences
}

/// `<is> since T` while it is open, `<was> for 4 min, from T to T` afterwards.
fn headline(incident: &v1::Incident, is: &str, was: &str, clock: &mut Clock) -> String {
    let opened = clock.time(incident.opened_at.as_ref());
    if incident.resolved_at.is_none() {
        return format!("{is} since {opened}");
    }
    let lasted =
        stamp::utc(incident.resolved_at.as_ref()).since(stamp::utc(incident.opened_at.as_ref()));
    let resolved = clock.time(incident.resolved_at.as_ref());
    format!("{was} for {}, from {opened} to {resolved}", span(lasted))
}

/// The rule's numbers that led to the verdict.
fn because(record: &v1::DecisionRecord, rule: &v1::Rule, open: bool) -> String {
    let of = |n: u32, one: &str, many: &str| {
        let verb = if n == 1 { one } else { many };
        format!("{n} of {} {verb}", count(rule.regions, "region"))
    };
    let excludable = rule.regions.saturating_sub(1) / 2;
    // Silence that counts is said: it is not what anybody saw.
    let assumed = match (record.assumed, rule.missing()) {
        (0, _) => String::new(),
        (n, v1::MissingData::Fail) => format!(", {n} of them by being silent"),
        (n, _) => format!(", and {n} by being silent"),
    };
    let silent = record.fresh < rule.floor && record.failing < rule.down_at;
    match record.verdict() {
        Verdict::Up | Verdict::Degraded if silent && rule.missing() == v1::MissingData::Ignore => {
            let fresh = of(record.fresh, "is", "are");
            format!("only {fresh} fresh ({} are needed to say anything new)", rule.floor)
        }
        Verdict::Up => format!("{}{assumed}", of(record.passing, "passes", "pass")),
        Verdict::Down => {
            let are = if rule.down_at == 1 { "is" } else { "are" };
            let failing = of(record.failing, "fails", "fail");
            format!("{failing}{assumed} ({} {are} needed)", rule.down_at)
        }
        Verdict::Degraded if record.degraded() == DegradedKind::Warning => format!(
            "{} with a warning ({} are enough)",
            of(record.warning, "passes", "pass"),
            rule.down_at
        ),
        Verdict::Degraded if record.failing == 0 => {
            let many = if record.split == 1 { "is" } else { "are" };
            format!("{} split: probes there do not agree", of(record.split, many, many))
        }
        Verdict::Degraded => {
            let failing = of(record.failing, "fails", "fail");
            format!("{failing}{assumed} ({} would make it down)", rule.down_at)
        }
        Verdict::Unknown if record.excluded > excludable => format!(
            "{} excluded from voting (more than {excludable} leaves too few to judge)",
            of(record.excluded, "is", "are")
        ),
        Verdict::Unknown if record.fresh < rule.floor => format!(
            "only {} fresh ({} are needed to say anything)",
            of(record.fresh, "is", "are"),
            rule.floor
        ),
        Verdict::Unknown if open => format!(
            "{}, too few to call it down ({}), and {} {}, too few to resolve it ({})",
            of(record.failing, "fails", "fail"),
            rule.down_at,
            record.passing,
            if record.passing == 1 { "passes" } else { "pass" },
            rule.up_at
        ),
        Verdict::Unknown | Verdict::Unspecified => "too little is known yet".into(),
    }
}

fn resolves_when(rule: &v1::Rule) -> String {
    format!(
        "It resolves when {} {}.",
        verb(rule.up_at, "region", "passes", "pass"),
        times(rule.successes, rule.successes_of)
    )
}

/// What an open incident asks for besides its quorum before it ends.
pub fn keeps_open(incident: &v1::Incident) -> Vec<String> {
    stays_open(incident, &mut Clock::default())
}

fn stays_open(incident: &v1::Incident, clock: &mut Clock) -> Vec<String> {
    let mut sentences = Vec::new();
    let length = |length: Option<&prost_types::Duration>| {
        span(length.map(stamp::length).unwrap_or_default())
    };
    if let Some(it) = &incident.flapping {
        let (within, calm) = (length(it.within.as_ref()), length(it.calm.as_ref()));
        sentences.push(format!(
            "It flaps, with {} within {within}: it stays open until they have passed for {calm} \
             without a break.",
            count(it.opens, "opening")
        ));
    }
    if let Some(min_open) = &incident.min_open {
        let until = stamp::utc(incident.opened_at.as_ref()) + stamp::length(min_open);
        let until = clock.time(Some(&stamp::timestamp(until)));
        sentences.push(format!("It stays open until {until} at least."));
    }
    sentences
}

fn down_when(rule: &v1::Rule) -> String {
    format!(
        "It is down when {} {}.",
        verb(rule.down_at, "region", "fails", "fail"),
        times(rule.failures, rule.failures_of)
    )
}

fn times(times: u32, of: u32) -> String {
    match (times, of) {
        (0 | 1, _) => "once".into(),
        (2, 0) => "twice in a row".into(),
        (more, 0) => format!("{more} times in a row"),
        (times, of) => format!("in {times} of {of} runs"),
    }
}

/// Why an incident ended.
fn ended(incident: &v1::Incident) -> String {
    let record = incident.resolved_by.clone().unwrap_or_default();
    let rule = record.rule.unwrap_or_default();
    let (_, by_hand) = notes(incident);
    match incident.cause() {
        _ if incident.storm.is_some() => "It ended with the last of them.".into(),
        ResolveCause::Recovered if incident.kind() == IncidentKind::CanaryInDoubt => {
            doubt::recovered()
        }
        ResolveCause::CheckPaused if incident.kind() == IncidentKind::CanaryInDoubt => {
            "It ended because the check was paused, or is no canary any more.".into()
        }
        ResolveCause::Recovered
            if matches!(incident.kind(), IncidentKind::Regional | IncidentKind::Warning) =>
        {
            format!("It ended because {}.", because(&record, &rule, false))
        }
        ResolveCause::BecameDown => {
            format!("It ended because the check is down: {}.", because(&record, &rule, false))
        }
        ResolveCause::Recovered => {
            let pass = if record.passing == 1 { "passes" } else { "pass" };
            let passing = format!("{} of {} {pass}", record.passing, count(rule.regions, "region"));
            let are = if rule.up_at == 1 { "is" } else { "are" };
            format!("It resolved because {passing} again ({} {are} needed).", rule.up_at)
        }
        ResolveCause::ByHand => match by_hand {
            Some((by, note)) if note.is_empty() => format!("It was resolved by hand, by {by}."),
            Some((by, note)) => format!("It was resolved by hand, by {by}: {note}."),
            None => "It was resolved by hand.".into(),
        },
        ResolveCause::CheckDeleted => "It ended because the check was deleted.".into(),
        ResolveCause::CheckPaused => "It ended because the check was paused.".into(),
        ResolveCause::RegionBack if incident.kind() == IncidentKind::RegionOutdated => {
            "It resolved because no probe of the region is outdated any more.".into()
        }
        ResolveCause::RegionBack => {
            let heard: Vec<String> = record
                .ballots
                .iter()
                .filter(|ballot| !ballot.stale)
                .map(|ballot| line(&ballot.probe))
                .collect();
            match heard.len() {
                0 => "It resolved because the region no longer needs a probe.".into(),
                1 => format!("It resolved because {} is heard again.", list(&heard)),
                _ => format!("It resolved because {} are heard again.", list(&heard)),
            }
        }
        ResolveCause::RegionDeleted => "It ended because the region was deleted.".into(),
        ResolveCause::AlertCleared => alert::cleared(incident),
        ResolveCause::AlertRemoved => {
            "It ended because the check does not ask for the alert any more.".into()
        }
        ResolveCause::LeaderBack => "It resolved because a leader is there again.".into(),
        ResolveCause::Unspecified => "It ended.".into(),
    }
}

/// The note of the last acknowledgement, and who resolved it by hand with which note.
fn notes(incident: &v1::Incident) -> (Option<String>, Option<(String, String)>) {
    let (mut acknowledged, mut by_hand) = (None, None);
    for event in &incident.timeline {
        match &event.event {
            Some(v1::timeline_event::Event::Acknowledged(ack)) if !ack.note.is_empty() => {
                acknowledged = Some(line(&ack.note));
            }
            Some(v1::timeline_event::Event::Resolved(end)) if !end.by.is_empty() => {
                by_hand = Some((line(&end.by), line(&end.note)));
            }
            _ => {}
        }
    }
    (acknowledged, by_hand)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Up => "up",
        Verdict::Degraded => "degraded",
        Verdict::Down => "down",
        Verdict::Unknown | Verdict::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests;
