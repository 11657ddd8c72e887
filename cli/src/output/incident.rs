//! Incidents, the records they rest on, their pages and timelines.

use std::collections::BTreeMap;

use parallax_proto::convert::hours;
use parallax_proto::v1;
use serde::Serialize;

use super::ballot::{BallotView, RecordView};
use super::check::FlapView;
use super::mark::Tone;
use super::member::Names;
use super::quiet::HeldView;
use super::table::{self, Table};
use super::{Shell, time, word};

/// `flapping: 3 openings within 1h, open until it has passed for 15m`.
fn flapping(it: &v1::Flapping) -> String {
    let length = |length: Option<&prost_types::Duration>| time::or_dash(time::length(length));
    format!(
        "flapping: {} openings within {}, open until it has passed for {}",
        it.opens,
        length(it.within.as_ref()),
        length(it.calm.as_ref())
    )
}

/// One page to one contact.
#[derive(Debug, Serialize)]
pub struct DeliveryView {
    contact: String,
    kind: String,
    state: String,
    attempts: u32,
    idempotency_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    last_error: String,
    ambiguous: bool,
    /// Node id of the coordinator that sends it.
    claimed_by: u64,
    /// How often it was handed to another one.
    handed_over: u32,
    /// Although it was sent: who was refused, and the like.
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    /// The incident that tells of this page together with others.
    #[serde(skip_serializing_if = "String::is_empty")]
    storm: String,
    /// How attempts ended: the first few and the last ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<AttemptView>,
}

/// One attempt at a page.
#[derive(Debug, Serialize)]
pub struct AttemptView {
    /// From 1.
    number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// `taken`, `refused`, `not_sent`, `unanswered`.
    result: String,
    /// Node id of the coordinator that made it.
    by: u64,
    /// Its name, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_name: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

impl AttemptView {
    fn new(attempt: &v1::DeliveryAttempt, names: &Names) -> Self {
        Self {
            number: attempt.number,
            at: time::instant(attempt.at.as_ref()),
            result: word::attempt(attempt.result),
            by: attempt.by,
            by_name: names.get(attempt.by).map(str::to_owned),
            error: attempt.error.clone(),
        }
    }

    /// `2  2026-11-22T10:00:00Z  not sent by c1: connection refused`.
    fn line(&self) -> String {
        let Self { number, result, error, .. } = self;
        let by = self.by_name.clone().unwrap_or_else(|| self.by.to_string());
        let at = time::or_dash(self.at.clone());
        let result = result.replace('_', " ");
        let colon = if error.is_empty() { "" } else { ": " };
        table::clean(&format!("{number}  {at}  {result} by {by}{colon}{error}"))
    }
}

impl DeliveryView {
    /// The view of a message.
    pub fn new(delivery: &v1::Delivery) -> Self {
        Self::named(delivery, &Names::default())
    }

    /// The same, which names the coordinators that made attempts.
    fn named(delivery: &v1::Delivery, names: &Names) -> Self {
        let attempt = |attempt| AttemptView::new(attempt, names);
        Self {
            contact: delivery.contact_name.clone(),
            kind: word::page(delivery.kind),
            state: word::delivery(delivery.state),
            attempts: delivery.attempts,
            idempotency_key: delivery.idempotency_key.clone(),
            created_at: time::instant(delivery.created_at.as_ref()),
            sent_at: time::instant(delivery.sent_at.as_ref()),
            next_attempt_at: time::instant(delivery.next_attempt_at.as_ref()),
            last_error: delivery.last_error.clone(),
            ambiguous: delivery.ambiguous,
            claimed_by: delivery.claimed_by,
            handed_over: delivery.handed_over,
            note: delivery.note.clone(),
            storm: delivery.storm_uid.clone(),
            history: delivery.history.iter().map(attempt).collect(),
        }
    }

    /// In a few words: `ops: opened page sent, 1 attempt`.
    pub fn line(&self) -> String {
        let attempts = match self.attempts {
            1 => "1 attempt".to_owned(),
            many => format!("{many} attempts"),
        };
        let Self { contact, kind, state, .. } = self;
        let mut line = format!("{contact}: {kind} page {state}, {attempts}");
        if !self.last_error.is_empty() {
            line.push_str(&format!(", {}", self.last_error));
        }
        table::clean(&line)
    }
}

/// Something that happened to an incident.
#[derive(Debug, Serialize)]
pub struct EventView {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// `opened`, `acknowledged`, `resolved`, `check_edited`, `page_sent`, `page_failed`,
    /// `page_dropped`, `page_reassigned`, `page_fell_back`, `pages_held`, `pages_released`, `routes_took`,
    /// `routes_passed`, `route_waits`, `step_passed`, `escalated`, `reminded`, `verdict_superseded`, `storm_gathered`, `storm_told`.
    event: &'static str,
    /// In a sentence.
    text: String,
}

impl EventView {
    /// In a sentence.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The view of a message.
    pub fn new(event: &v1::TimelineEvent) -> Self {
        Self::named(event, &Names::default())
    }

    /// The same, which names coordinators.
    fn named(event: &v1::TimelineEvent, who: &Names) -> Self {
        use v1::timeline_event::Event;
        let noted = |by: &str, note: &str| match (by, note) {
            ("", "") => String::new(),
            (by, "") => format!(" by {by}"),
            ("", note) => format!(": {note}"),
            (by, note) => format!(" by {by}: {note}"),
        };
        let (word, text) = match &event.event {
            Some(Event::Opened(_)) => ("opened", "opened".to_owned()),
            Some(Event::Acknowledged(it)) => {
                ("acknowledged", format!("acknowledged{}", noted(&it.by, &it.note)))
            }
            Some(Event::Resolved(it)) => {
                let cause = word::cause(it.cause).replace('_', " ");
                ("resolved", format!("resolved ({cause}){}", noted(&it.by, &it.note)))
            }
            Some(Event::CheckEdited(it)) => {
                let what = match (it.run_changed, it.regions_changed) {
                    (true, true) => "what it does and its regions",
                    (true, false) => "what it does",
                    (false, true) => "its regions",
                    (false, false) => "neither what it does nor its regions",
                };
                let revision = it.revision;
                ("check_edited", format!("check edited at revision {revision}: changed {what}"))
            }
            Some(Event::PageSent(it)) => {
                let (kind, contact) = (word::page(it.kind), &it.contact);
                ("page_sent", format!("{kind} page sent to {contact}, attempt {}", it.attempts))
            }
            Some(Event::PageFailed(it)) => {
                let (kind, contact) = (word::page(it.kind), &it.contact);
                let attempt = it.attempts;
                let text =
                    format!("{kind} page to {contact} failed, attempt {attempt}: {}", it.error);
                ("page_failed", text)
            }
            Some(Event::PageDropped(it)) => {
                let (kind, contact) = (word::page(it.kind), &it.contact);
                ("page_dropped", format!("{kind} page to {contact} dropped: {}", it.why))
            }
            Some(Event::PageReassigned(it)) => {
                let (kind, contact) = (word::page(it.kind), &it.contact);
                let (from, to) = (who.of(it.from), who.of(it.to));
                let why = match it.why() {
                    v1::HandOver::Unreached => "it found no connection",
                    v1::HandOver::Unanswered => "no answer came",
                    v1::HandOver::NewLeader => "another leads, or does not hear it",
                    v1::HandOver::NoVoter => "it has no vote any more",
                    v1::HandOver::Unspecified => "no reason is recorded",
                };
                let text = format!(
                    "{kind} page to {contact} handed from coordinator {from} to {to}: {why}"
                );
                ("page_reassigned", text)
            }
            Some(Event::PagesHeld(it)) => {
                let held = it.held.as_ref().map(HeldView::new).unwrap_or_default();
                ("pages_held", format!("no page yet: {}", held.line()))
            }
            Some(Event::PageFellBack(it)) => {
                let (contact, to, kind) = (&it.contact, &it.to, word::page(it.kind));
                (
                    "page_fell_back",
                    format!("{to} is told in place of {contact}: {kind} page given up"),
                )
            }
            Some(Event::Flapping(it)) => ("flapping", flapping(it)),
            Some(Event::StormGathered(it)) => {
                let (kind, contact) = (word::page(it.kind), &it.contact);
                let text = format!(
                    "{kind} page to {contact} goes out together with others, in {}",
                    it.storm_uid
                );
                ("storm_gathered", text)
            }
            Some(Event::StormTold(it)) => {
                let (number, gathered, ended) = (it.number, it.gathered, it.ended);
                let text = format!("page {number}: {gathered} incidents, {ended} of them over");
                ("storm_told", text)
            }
            Some(Event::PagesReleased(_)) => {
                ("pages_released", "no longer quiet: its pages go out".to_owned())
            }
            Some(Event::RoutesTook(it)) => {
                let text = match it.routes.as_slice() {
                    [] => "no route fits it: nobody is told".to_owned(),
                    [route] => format!("taken by route {route}"),
                    routes => format!("taken by routes {}", routes.join(", ")),
                };
                ("routes_took", text)
            }
            Some(Event::RoutesPassed(it)) => {
                let missed =
                    |hours: Option<&v1::Hours>| hours.map(hours::missed).unwrap_or_default();
                let of =
                    |it: &v1::PassedRoute| format!("{} ({})", it.route, missed(it.hours.as_ref()));
                let passed: Vec<String> = it.routes.iter().map(of).collect();
                (
                    "routes_passed",
                    format!("routes that fit and are passed over: {}", passed.join("; ")),
                )
            }
            Some(Event::RouteWaits(it)) => {
                let until = time::or_dash(time::instant(it.until.as_ref()));
                let (route, missed) =
                    (&it.route, it.hours.as_ref().map(hours::missed).unwrap_or_default());
                ("route_waits", format!("route {route} waits until {until}: {missed}"))
            }
            Some(Event::StepPassed(it)) => {
                let (step, route) = (it.step, &it.route);
                let missed = it.hours.as_ref().map(hours::missed).unwrap_or_default();
                ("step_passed", format!("step {step} of route {route} is passed over: {missed}"))
            }
            Some(Event::Escalated(it)) => {
                let (step, route) = (it.step, &it.route);
                let text = format!(
                    "not acknowledged: step {step} of route {route} tells {}",
                    names(&it.contacts)
                );
                ("escalated", text)
            }
            Some(Event::Reminded(it)) => {
                let (number, route) = (it.number, &it.route);
                let text = format!(
                    "not acknowledged: reminder {number} of route {route} to {}",
                    names(&it.contacts)
                );
                ("reminded", text)
            }
            Some(Event::VerdictSuperseded(it)) => {
                ("verdict_superseded", format!("a late decision changed nothing: {}", it.why))
            }
            None => ("unknown", "something this program does not know".to_owned()),
        };
        Self { at: time::instant(event.at.as_ref()), event: word, text }
    }
}

/// Contacts that were written to; none when a page to each of them still waits, or it is gone.
fn names(contacts: &[String]) -> String {
    match contacts {
        [] => "nobody new".to_owned(),
        contacts => contacts.join(", "),
    }
}

/// An incident.
#[derive(Debug, Serialize)]
pub struct IncidentView {
    /// For the other commands.
    pub uid: String,
    namespace: String,
    kind: String,
    /// Absent in one that opened before there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    check: String,
    /// Its check verified nobody when it opened.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    /// Name of the alert of the check.
    #[serde(skip_serializing_if = "String::is_empty")]
    alert: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    region: String,
    /// `open`, `acknowledged` or `resolved`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    acknowledged_by: String,
    /// Why nobody is paged about it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HeldView>,
    /// It stays open for so long at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    min_open: Option<String>,
    /// One of how many its check opened, within which time, and how long it must pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    flapping: Option<FlapView>,
    /// What is told together.
    #[serde(skip_serializing_if = "Option::is_none")]
    storm: Option<StormView>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    runbook: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sentences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_by: Option<RecordView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by: Option<RecordView>,
    deliveries: Vec<DeliveryView>,
    timeline: Vec<EventView>,
    timeline_dropped: u32,
    opened_revision: u64,
    resolved_revision: u64,
    #[serde(skip)]
    opened: Option<prost_types::Timestamp>,
}

impl IncidentView {
    /// The view of a message.
    pub fn new(incident: &v1::Incident, sentences: &[String]) -> Self {
        Self::named(incident, sentences, &Names::default())
    }

    /// The same, which names the coordinators that made attempts at its pages.
    pub fn named(incident: &v1::Incident, sentences: &[String], names: &Names) -> Self {
        let delivery = |delivery| DeliveryView::named(delivery, names);
        let event = |event| EventView::named(event, names);
        let state = match (&incident.resolved_at, &incident.acknowledged_at) {
            (Some(_), _) => "resolved",
            (None, Some(_)) => "acknowledged",
            (None, None) => "open",
        };
        Self {
            uid: incident.uid.clone(),
            namespace: incident.namespace.clone(),
            kind: word::incident(incident.kind),
            severity: word::said(word::severity(incident.severity)),
            check: incident.check_name.clone(),
            insecure: incident.insecure,
            alert: incident.alert.clone(),
            region: incident.region.clone(),
            state,
            opened_at: time::instant(incident.opened_at.as_ref()),
            resolved_at: time::instant(incident.resolved_at.as_ref()),
            cause: word::said(word::cause(incident.cause)),
            acknowledged_at: time::instant(incident.acknowledged_at.as_ref()),
            acknowledged_by: incident.acknowledged_by.clone(),
            held: incident.held.as_ref().map(HeldView::new),
            min_open: time::length(incident.min_open.as_ref()),
            flapping: incident.flapping.as_ref().map(|it| FlapView {
                opens: it.opens,
                within: time::length(it.within.as_ref()),
                calm: time::length(it.calm.as_ref()),
            }),
            storm: incident.storm.as_ref().map(StormView::new),
            detail: incident.detail.clone(),
            runbook: incident.runbook.clone(),
            labels: incident.labels.clone(),
            sentences: sentences.to_vec(),
            opened_by: incident.opened_by.as_ref().map(RecordView::new),
            resolved_by: incident.resolved_by.as_ref().map(RecordView::new),
            deliveries: incident.deliveries.iter().map(delivery).collect(),
            timeline: incident.timeline.iter().map(event).collect(),
            timeline_dropped: incident.timeline_dropped,
            opened_revision: incident.opened_revision,
            resolved_revision: incident.resolved_revision,
            opened: incident.opened_at,
        }
    }

    /// What it is about.
    pub fn subject(&self) -> String {
        let subject = match self.kind.as_str() {
            "region_silent" => format!("region {} is silent", self.region),
            "region_excluded" => format!("a probe of region {} is not believed", self.region),
            "region_outdated" => format!("a probe of region {} is outdated", self.region),
            "canary_in_doubt" => format!("canary {} is in doubt", self.check),
            "down" => format!("{} is down", self.check),
            "leaderless" => "no leader".to_owned(),
            "storm" => self.storm.as_ref().map(StormView::line).unwrap_or_default(),
            "latency" => format!("{} is slow ({})", self.check, self.alert),
            "error_rate" => format!("{} fails too often ({})", self.check, self.alert),
            "certificate" => {
                format!("{} is shown a certificate near its end ({})", self.check, self.alert)
            }
            "burn_rate" => format!("{} spends its budget ({})", self.check, self.alert),
            kind => format!("{} {kind}", self.check),
        };
        let insecure = if self.insecure { " (insecure)" } else { "" };
        table::clean(&format!("{subject}{insecure}"))
    }

    /// `open`, `acknowledged` or `resolved`, with the cause.
    pub fn standing(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{} ({cause})", self.state),
            None => self.state.to_owned(),
        }
    }

    fn tone(&self) -> Tone {
        match self.state {
            "open" => Tone::Bad,
            "acknowledged" => Tone::Warn,
            _ => Tone::Good,
        }
    }

    /// The whole story.
    pub fn text(&self, shell: &Shell) -> String {
        let state = self.tone().paint(&self.standing(), shell.color_out);
        let mut text = format!("{}  {}  {state}\n", self.uid, self.subject());
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("  {name:<13} {}\n", table::clean(value)));
            }
        };
        line("severity", self.severity.as_deref().unwrap_or_default());
        line("opened", &time::or_dash(self.opened_at.clone()));
        line("resolved", self.resolved_at.as_deref().unwrap_or_default());
        if let Some(at) = &self.acknowledged_at {
            line("acknowledged", &format!("{at} by {}", self.acknowledged_by));
        }
        let held = self.held.as_ref().filter(|_| self.storm.is_none());
        line("quiet", &held.map(HeldView::line).unwrap_or_default());
        line("detail", &self.detail);
        line("runbook", &self.runbook);
        let labels: Vec<String> =
            self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        line("labels", &labels.join(", "));
        if !self.sentences.is_empty() {
            text.push('\n');
            for sentence in &self.sentences {
                text.push_str(&format!("  {}\n", table::clean(sentence)));
            }
        }
        for (title, record) in [
            ("ballots when it opened", &self.opened_by),
            ("ballots when it resolved", &self.resolved_by),
        ] {
            if let Some(record) = record
                && !record.ballots.is_empty()
            {
                text.push_str(&format!("\n{title}\n"));
                text.push_str(&BallotView::table(&record.ballots, shell));
            }
        }
        if !self.deliveries.is_empty() {
            text.push_str("\npages\n");
            let mut pages = Table::new(["CONTACT", "KIND", "STATE", "ATTEMPTS", "SENT", "ERROR"]);
            for page in &self.deliveries {
                pages.row([
                    page.contact.clone(),
                    page.kind.clone(),
                    page.state.clone(),
                    page.attempts.to_string(),
                    time::or_dash(page.sent_at.clone()),
                    if page.note.is_empty() { &page.last_error } else { &page.note }.clone(),
                ]);
            }
            text.push_str(&shell.rows(pages));
            // One attempt is told by its page.
            for page in self.deliveries.iter().filter(|page| page.attempts > 1) {
                let Some(last) = page.history.last() else { continue };
                let (contact, kind) = (&page.contact, &page.kind);
                text.push_str(&table::clean(&format!("\nattempts at {contact}, {kind}")));
                text.push('\n');
                let mut before = 0;
                for attempt in &page.history {
                    let gap = attempt.number.saturating_sub(before + 1);
                    if gap > 0 {
                        text.push_str(&format!("  ({gap} more were not kept)\n"));
                    }
                    text.push_str(&format!("  {}\n", attempt.line()));
                    before = attempt.number;
                }
                let later = page.attempts.saturating_sub(last.number);
                if later > 0 {
                    text.push_str(&format!("  ({later} more were not kept)\n"));
                }
            }
        }
        if !self.timeline.is_empty() {
            text.push_str("\ntimeline\n");
            for event in &self.timeline {
                let at = time::or_dash(event.at.clone());
                text.push_str(&format!("  {at}  {}\n", table::clean(&event.text)));
            }
            if self.timeline_dropped > 0 {
                let dropped = self.timeline_dropped;
                text.push_str(&format!("  ({dropped} more events were not kept)\n"));
            }
        }
        text
    }
}

/// Incidents that one contact is told of together.
#[derive(Debug, Serialize)]
pub struct StormView {
    contact: String,
    gathered: u32,
    ended: u32,
    /// The first of them.
    incidents: Vec<StormMemberView>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct StormMemberView {
    uid: String,
    name: String,
    ended: bool,
}

impl StormView {
    fn new(storm: &v1::Storm) -> Self {
        let member = |member: &v1::StormMember| StormMemberView {
            uid: member.incident_uid.clone(),
            name: member.name.clone(),
            ended: member.ended > 0,
        };
        Self {
            contact: storm.contact.clone(),
            gathered: storm.gathered,
            ended: storm.ended,
            incidents: storm.members.iter().map(member).collect(),
        }
    }

    /// `12 incidents at once for ops, 3 of them over`.
    fn line(&self) -> String {
        let Self { contact, gathered, ended, .. } = self;
        let over = if *ended > 0 { format!(", {ended} of them over") } else { String::new() };
        format!("{gathered} incidents at once for {contact}{over}")
    }
}

/// `incident list`.
#[derive(Debug, Serialize)]
pub struct IncidentsView {
    revision: u64,
    incidents: Vec<IncidentView>,
}

impl IncidentsView {
    /// The view of all pages.
    pub fn new(incidents: &[v1::Incident], revision: u64) -> Self {
        let incidents = incidents.iter().map(|incident| IncidentView::new(incident, &[])).collect();
        Self { revision, incidents }
    }

    /// One line an incident.
    pub fn table(&self, shell: &Shell) -> String {
        let now = (shell.now)();
        let mut table = Table::new(["UID", "WHAT", "STATE", "OPENED", "PAGES"]);
        for incident in &self.incidents {
            let sent = incident.deliveries.iter().filter(|page| page.state == "sent").count();
            let plain = |text: String| (text, Tone::Plain);
            table.toned([
                plain(incident.uid.clone()),
                plain(incident.subject()),
                (incident.standing(), incident.tone()),
                plain(format!("{} ago", time::age(incident.opened.as_ref(), now))),
                plain(match &incident.held {
                    Some(_) if incident.storm.is_some() => "gathers".to_owned(),
                    Some(held) => held.word(),
                    None if incident.deliveries.iter().any(|page| !page.storm.is_empty()) => {
                        "in a storm".to_owned()
                    }
                    None => format!("{sent}/{} sent", incident.deliveries.len()),
                }),
            ]);
        }
        shell.rows(table)
    }
}

#[cfg(test)]
mod tests;
