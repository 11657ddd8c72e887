//! What each kind of contact wants to be asked, and how it answers: pure, values in and requests out.
//!
//! [`plan`] makes of a page what is sent: requests of HTTP, or a mail. A kind is one file below that says
//! nothing but how: which address, which headers, which body, and what an answer means. References are
//! resolved before, and whoever sends them, tries again and keeps to the guard is the same for all
//! ([`super::carrier`]).

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use parallax_common::time::UtcTime;
use parallax_proto::v1::contact::Kind;

use super::body::Page;
use crate::core::outbox::Report;

pub mod alertmanager;
pub mod discord;
pub mod email;
pub mod ntfy;
pub mod opsgenie;
pub mod pagerduty;
pub mod slack;
pub mod teams;
pub mod telegram;
pub mod webhook;
mod wording;
pub mod words;

/// The options of a contact that may hold references, as they are on this machine.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// By name; those that may be given several times in order.
    pub options: BTreeMap<&'static str, Vec<String>>,
    /// Header lines.
    pub headers: Vec<(String, String)>,
}

impl Resolved {
    /// The value of an option; empty when it is not given.
    pub fn get(&self, name: &str) -> &str {
        self.all(name).first().map_or("", String::as_str)
    }

    /// All values of an option.
    pub fn all(&self, name: &str) -> &[String] {
        self.options.get(name).map_or(&[], Vec::as_slice)
    }
}

/// One page on its way to one contact.
#[derive(Debug, Clone, Copy)]
pub struct Telling<'a> {
    /// What to say.
    pub page: &'a Page,
    /// Its idempotency key.
    pub key: &'a str,
    /// By what the contact knows the opening; empty when it has not said so.
    pub receipt: &'a str,
    /// When this attempt is made.
    pub now: UtcTime,
    /// The contact's secrets and URLs.
    pub values: &'a Resolved,
}

impl Telling<'_> {
    /// One name for all pages of one incident to one contact: the idempotency key without its end.
    pub fn thread(&self) -> &str {
        self.key.match_indices(':').nth(1).map_or(self.key, |(at, _)| &self.key[..at])
    }
}

/// What a page becomes: requests of HTTP, or a mail.
#[derive(Debug)]
pub enum Plan {
    /// Each has to be taken, in this order.
    InTurn(Vec<Call>),
    /// All at once; one that is taken is enough.
    Any(Vec<Call>),
    /// A mail to hand to a server.
    Mail(Box<email::Letter>),
}

impl Plan {
    fn one(call: Call) -> Self {
        Self::InTurn(vec![call])
    }

    /// With what the log has to say of it, if that is anything.
    fn noted(mut self, note: String) -> Self {
        let place = match &mut self {
            Self::InTurn(calls) | Self::Any(calls) => calls.first_mut().map(|call| &mut call.note),
            Self::Mail(letter) => Some(&mut letter.note),
        };
        if let Some(place) = place.filter(|_| !note.is_empty()) {
            *place = note;
        }
        self
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// How.
    pub method: Method,
    /// Where to.
    pub url: String,
    /// The option that says so, for errors.
    pub field: &'static str,
    /// Later ones take the place of earlier ones of the same name.
    pub headers: Vec<(String, String)>,
    /// What.
    pub body: Vec<u8>,
    /// What the coordinator's log has to say of it; empty for nothing.
    pub note: String,
    /// Its answer says by its content whether the page was taken, so all of it is read.
    pub understands: bool,
    read: fn(&Answer) -> Report,
}

impl Call {
    /// A request that carries nothing.
    pub fn get(url: String) -> Self {
        Self { method: Method::GET, ..Self::post(url, Vec::new()) }
    }

    fn post(url: String, body: Vec<u8>) -> Self {
        Self {
            method: Method::POST,
            url,
            field: "url",
            headers: Vec::new(),
            body,
            note: String::new(),
            understands: false,
            read: by_status,
        }
    }

    fn json(url: String, body: &serde_json::Value) -> Self {
        Self::post(url, body.to_string().into_bytes()).with("content-type", "application/json")
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Has the whole answer read, and understood by `read`.
    fn understood_by(mut self, read: fn(&Answer) -> Report) -> Self {
        self.understands = true;
        self.read = read;
        self
    }

    /// What an answer means.
    pub fn report(&self, answer: &Answer) -> Report {
        (self.read)(answer)
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 100 to 599.
    pub status: u16,
    /// How long the receiver asked us to wait.
    pub retry_after: Option<Duration>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// As much of the body as was wanted.
    pub body: Vec<u8>,
    /// Whether that is all of it.
    pub whole: bool,
}

impl Answer {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text on one line.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// What most contacts mean: the status says all.
fn by_status(answer: &Answer) -> Report {
    let (status, retry_after) = (answer.status, answer.retry_after);
    let detail = match status {
        200..=299 => String::new(),
        300..=399 => {
            let to = answer.location.as_deref().unwrap_or("no location");
            format!("redirects are not followed ({to})")
        }
        _ => answer.text(),
    };
    Report::Answered { status, retry_after, detail }
}

/// A length in seconds, with a fraction or without, as JSON has it.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    Duration::try_from_secs_f64(value.as_f64()?).ok()
}

/// The requests that tell a contact of this kind of a page.
///
/// # Errors
/// One line that says what is wrong with the contact.
pub fn plan(kind: &Kind, telling: &Telling<'_>) -> Result<Plan, String> {
    let wording = wording::of(kind, telling.page);
    let telling = &Telling { page: &wording.page, ..*telling };
    let plan = match kind {
        Kind::Webhook(it) => webhook::plan(it, telling)?,
        Kind::Pagerduty(it) => pagerduty::plan(it, telling),
        Kind::Alertmanager(it) => alertmanager::plan(it, telling)?,
        Kind::Slack(it) => slack::plan(it, telling, wording.is_own),
        Kind::Email(it) => email::plan(it, telling, wording.subject.as_deref())?,
        Kind::Ntfy(it) => ntfy::plan(it, telling)?,
        Kind::Discord(_) => discord::plan(telling),
        Kind::Telegram(it) => telegram::plan(it, telling),
        Kind::Opsgenie(it) => opsgenie::plan(it, telling),
        Kind::Teams(_) => teams::plan(telling, wording.is_own),
    };
    Ok(plan.noted(wording.note))
}

/// A base and what follows it, with one slash between.
fn join(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim().trim_end_matches('/'))
}

#[cfg(test)]
mod tests;
