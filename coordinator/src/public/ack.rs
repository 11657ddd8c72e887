//! Acknowledging by the link in a page. Looking at a link changes nothing, as those who scan mail look
//! at all of them; a button does.
//!
//! A link that is none, that has ended, or that is about something this member does not know is answered
//! with one and the same page. Whoever guesses learns nothing, and guesses at a bounded rate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Path, State as Extract};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use parallax_common::limits::{ACK_LINKS_BURST, ACK_LINKS_PER_SECOND};
use parallax_common::rule;
use parallax_common::text::cut;
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use tracing::{info, warn};

use super::Public;
use crate::core::state::Refusal;
use crate::core::{ack_link, explain};
use crate::propose::{Origin, Proposer, WriteError};
use crate::view::View;

/// How many links may be looked at: a bucket that fills at a fixed rate.
#[derive(Debug)]
pub struct Rate(Mutex<Bucket>);

impl Default for Rate {
    fn default() -> Self {
        Self(Mutex::new(Bucket::full(clock::instant())))
    }
}

impl Rate {
    /// Whether one more may be looked at now.
    fn admits(&self) -> bool {
        // What a panic left behind is a number as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(clock::instant())
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { tokens: f64::from(ACK_LINKS_BURST), filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        let new = since * f64::from(ACK_LINKS_PER_SECOND);
        self.tokens = (self.tokens + new).min(f64::from(ACK_LINKS_BURST));
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

type Link = Path<(String, String)>;

/// What links are looked up in, and acknowledged by.
pub struct Acks {
    view: View,
    proposer: Proposer,
    rate: Rate,
}

impl Acks {
    /// None has been looked at yet.
    pub fn new(view: View, proposer: Proposer) -> Self {
        Self { view, proposer, rate: Rate::default() }
    }
}

/// What the link is about, and a button.
pub async fn look(Extract(public): Extract<Arc<Public>>, Path(link): Link) -> Response {
    shown(&public.acks, &link)
}

/// Acknowledges in the name of the contact that the link was made for.
pub async fn press(Extract(public): Extract<Arc<Public>>, Path(link): Link) -> Response {
    acknowledged(&public.acks, &link).await
}

fn shown(acks: &Acks, link: &(String, String)) -> Response {
    match found(acks, link) {
        Ok((incident, _)) => page(StatusCode::OK, &about(&incident)),
        Err(no) => no.page(),
    }
}

async fn acknowledged(acks: &Acks, link: &(String, String)) -> Response {
    let (incident, contact) = match found(acks, link) {
        Ok(found) => found,
        Err(no) => return no.page(),
    };
    let by = format!("link:{contact}");
    let actor = v1::Actor { kind: "link".to_owned(), name: contact, role: String::new() };
    // One link is one request, however often its button is pressed and on whichever member. Its
    // signature names it, in a few bytes whatever the contact is called.
    let client = client_of(&link.1);
    let origin = Origin {
        actor,
        request_id: Some(v1::RequestId { client, number: 1, lowest_open: 1 }),
        request_digest: 0,
        source: "link".to_owned(),
    };
    let uid = incident.uid.clone();
    let ack = store::AckIncident { uid: uid.clone(), by: by.clone(), note: String::new() };
    match acks.proposer.write(origin, Command::AckIncident(ack)).await {
        // Also one that ended meanwhile: the page says so.
        Ok(_) => {
            info!(incident = uid, by, "acknowledged by a link");
            let incident = acks.view.load().incidents.get(&uid).cloned().unwrap_or(incident);
            page(StatusCode::OK, &about(&incident))
        }
        Err(WriteError::Refused(refusal)) if is_over(&refusal) => {
            let incident = acks.view.load().incidents.get(&uid).cloned().unwrap_or(incident);
            page(StatusCode::OK, &about(&incident))
        }
        Err(error) => {
            warn!(%error, incident = uid, "an acknowledgement by a link was not written");
            let text = "<h1>Not acknowledged</h1><p>It could not be written down. Go back and try \
                        again in a few seconds.</p>";
            page(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// Whom a press is of, for whoever carries requests out once.
fn client_of(token: &str) -> String {
    let (_, signature) = token.rsplit_once('.').unwrap_or_default();
    format!("link:{}", signature.get(..32).unwrap_or_default())
}

/// There is nothing left to acknowledge.
fn is_over(refusal: &Refusal) -> bool {
    [rule::INCIDENT_CLOSED.id, rule::NOT_FOUND.id].contains(&refusal.rule.as_ref())
}

/// Why a link is not answered.
enum No {
    /// Too many are asked for.
    TooMany,
    /// It is none, has ended, or is about nothing that is known here.
    DoesNotHold,
}

impl No {
    fn page(&self) -> Response {
        match self {
            Self::TooMany => {
                let text = "<h1>Too many at once</h1><p>Try again in a few seconds.</p>";
                page(StatusCode::TOO_MANY_REQUESTS, text)
            }
            Self::DoesNotHold => {
                let text = "<h1>This link does not hold</h1><p>It may have ended, or not be whole. \
                            <code>parallax incident list</code> says what is open.</p>";
                page(StatusCode::NOT_FOUND, text)
            }
        }
    }
}

/// The incident of a link that holds, and the name of its contact.
fn found(
    acks: &Acks,
    (incident, token): &(String, String),
) -> Result<(Arc<v1::Incident>, String), No> {
    let state = acks.view.load();
    let now = clock::utc().max(state.last_utc());
    let known = state.incidents.get(incident).and_then(|incident| {
        let contact = ack_link::holder(state.link_key(), incident, token, now)?;
        let row = state.contacts.get(contact).and_then(|row| row.contact.as_ref());
        let name = row.and_then(|it| it.meta.as_ref()).map(|meta| meta.name.clone());
        Some((Arc::clone(incident), name.unwrap_or_else(|| contact.to_owned())))
    });
    // Whoever guesses must not keep others from theirs.
    known.ok_or_else(|| if acks.rate.admits() { No::DoesNotHold } else { No::TooMany })
}

/// Longest sentence that is shown.
const SENTENCE_BYTES_MAX: usize = 1_024;

/// What an incident is, and a button as long as nobody has acknowledged it.
fn about(incident: &v1::Incident) -> String {
    let bare = v1::Incident { deliveries: vec![], routed: vec![], ..incident.clone() };
    let sentences = explain::incident(&bare);
    let mut text = String::new();
    let title = match (&incident.resolved_at, &incident.acknowledged_at) {
        (Some(_), _) => "It is over",
        (None, Some(_)) => "Acknowledged",
        (None, None) => "Acknowledge this incident?",
    };
    text.push_str(&format!("<h1>{title}</h1>"));
    for sentence in sentences {
        text.push_str(&format!("<p>{}</p>", escaped(cut(&sentence, SENTENCE_BYTES_MAX))));
    }
    if incident.resolved_at.is_none() && incident.acknowledged_at.is_none() {
        text.push_str("<form method=\"post\"><button>Acknowledge</button></form>");
    }
    text
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn page(status: StatusCode, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>Parallax</title></head>\
         <body>{body}</body></html>\n"
    );
    let headers: [(HeaderName, &str); 4] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        // The link is all that it takes: it is handed on to nobody.
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    ];
    (status, headers, html).into_response()
}

#[cfg(test)]
mod tests;
