//! Mail: a page as a message that a person reads, plain and as HTML, and whom it is handed to.
//!
//! Every attempt at a page makes the same message, byte for byte: its id follows from the idempotency key,
//! its date from when the page was written. So a mailbox that gets it twice can tell that it did. What tells
//! of an end, or once more, answers the message that came first.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox as To, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, Message};
use parallax_common::limits::MAIL_SUBJECT_MAX;
use parallax_common::mailbox::Mailbox;
use parallax_common::target::parse_address;
use parallax_common::time::UtcTime;
use parallax_proto::v1::EmailContact;
use ring::digest::{SHA256, digest};

use super::words::{self, Tone};
use super::{Plan, Telling};
use crate::notify::body::Page;
use crate::notify::carrier::SECRET_PART_LENGTH_MIN;

/// How the connection to the server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// It begins without, and nothing is said before there is TLS but that it is wanted.
    Starttls,
    /// From the first byte on.
    Whole,
    /// Not at all.
    None,
}

/// A mail and its envelope. Its login stays out of what is printed of it.
pub struct Letter {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    pub tls: Tls,
    /// The name in its certificate; empty for that of the host.
    pub server_name: String,
    /// Who is trusted to have signed it; empty for the public authorities.
    pub ca_pem: String,
    /// What we call ourselves; empty for the address that we connect from.
    pub helo: String,
    /// Never shown, and never there without TLS.
    pub credentials: Option<Credentials>,
    /// What no reply may repeat to anybody: the login, and as it goes over the wire.
    pub hidden: Vec<String>,
    /// Who hears that it could not be delivered.
    pub from: Address,
    /// Whom it goes to.
    pub to: Vec<Address>,
    /// Its Message-ID, with angles.
    pub id: String,
    /// Header and body.
    pub content: Vec<u8>,
    /// What the coordinator's log has to say of it; empty for nothing.
    pub note: String,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("to", &self.to.len())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// `worded`: the subject, where the contact has its own.
pub(super) fn plan(
    contact: &EmailContact,
    telling: &Telling<'_>,
    worded: Option<&str>,
) -> Result<Plan, String> {
    let (host, port) = parse_address(&contact.server).map_err(|error| wrong("server", error))?;
    let tls = match contact.tls.as_str() {
        "tls" => Tls::Whole,
        "none" => Tls::None,
        _ => Tls::Starttls,
    };
    let from = mailbox("from", &contact.from)?;
    let mut to = Vec::with_capacity(contact.to.len());
    for text in &contact.to {
        to.push(mailbox("to", text)?);
    }
    let domain = from.email.domain().to_owned();
    let id = message_id(telling.key, &domain);
    let first = match (telling.receipt.is_empty(), telling.page.kind) {
        (true, "resolved") => Some(message_id(&format!("{}:opened", telling.thread()), &domain)),
        (false, "resolved" | "escalated" | "reminder") => Some(telling.receipt.to_owned()),
        _ => None,
    };
    let values = telling.values;
    let login = contact.username.is_some() && tls != Tls::None;
    let login =
        login.then(|| (values.get("username").to_owned(), values.get("password").to_owned()));
    let hidden = login.as_ref().map_or_else(Vec::new, |(name, password)| forms(name, password));
    let reply_to = match contact.reply_to.is_empty() {
        true => None,
        false => Some(mailbox("reply_to", &contact.reply_to)?),
    };
    let mut message = Message::builder()
        .message_id(Some(id.clone()))
        .date(date(telling.page))
        .from(from.clone())
        .subject(subject(telling.page, worded))
        .header(AutoSubmitted);
    for to in &to {
        message = message.to(to.clone());
    }
    if let Some(reply_to) = reply_to {
        message = message.reply_to(reply_to);
    }
    if let Some(first) = first {
        message = message.in_reply_to(first.clone()).references(first);
    }
    let parts = MultiPart::alternative()
        .boundary(boundary(telling.key))
        .singlepart(SinglePart::plain(plain(telling.page)))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_HTML).body(html(telling.page)));
    let message = message.multipart(parts);
    let message = message.map_err(|error| format!("the mail cannot be written: {error}"))?;
    Ok(Plan::Mail(Box::new(Letter {
        host,
        port,
        tls,
        server_name: contact.server_name.clone(),
        ca_pem: contact.ca_pem.clone(),
        helo: contact.helo.clone(),
        credentials: login.map(Credentials::from),
        hidden,
        from: from.email,
        to: to.into_iter().map(|to| to.email).collect(),
        id,
        content: message.formatted(),
        note: String::new(),
    })))
}

/// A login as it is, and as it goes over the wire: a server may repeat the line.
fn forms(name: &str, password: &str) -> Vec<String> {
    let both = format!("\0{name}\0{password}");
    let encoded = [both.as_str(), name, password].map(|text| STANDARD.encode(text));
    let plain = [password, name].into_iter().filter(|text| text.len() >= SECRET_PART_LENGTH_MIN);
    plain.map(str::to_owned).chain(encoded).collect()
}

fn wrong(field: &str, error: impl std::fmt::Display) -> String {
    format!("config_error: {field}: {error}")
}

fn mailbox(field: &str, text: &str) -> Result<To, String> {
    let Mailbox { name, local, domain } = Mailbox::parse(text).map_err(|it| wrong(field, it))?;
    let address = Address::new(local, domain).map_err(|error| wrong(field, error))?;
    Ok(To::new(Some(name).filter(|name| !name.is_empty()), address))
}

/// The id of the message under this key. A key has letters, digits, `-`, `:` and `/`, of which the last
/// two have no place in one, or are read wrongly by some.
fn message_id(key: &str, domain: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '.' };
    let local: String = key.chars().map(fits).collect();
    format!("<{}@{domain}>", local.trim_matches('.'))
}

/// Between the parts: nothing that a target could have put into them, as it never sees the key.
fn boundary(key: &str) -> String {
    let hash = digest(&SHA256, key.as_bytes());
    let hex: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("parallax-{hex}")
}

/// When there was something to tell, in whole seconds: the same in every attempt.
fn date(page: &Page) -> SystemTime {
    let since = page.written.since(UtcTime::default());
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// One line: the contact's own, or with the mesh at its end, where it does not push away what matters.
fn subject(page: &Page, worded: Option<&str>) -> String {
    let ours = || format!("{} [{}]", words::headline(page), page.mesh);
    let text = worded.map_or_else(ours, str::to_owned);
    let line: Vec<&str> = text.split(char::is_control).flat_map(str::split_whitespace).collect();
    words::cut(&line.join(" "), MAIL_SUBJECT_MAX)
}

fn plain(page: &Page) -> String {
    format!("{}\n\n{}\n", words::headline(page), words::plain(page))
}

fn html(page: &Page) -> String {
    let color = match words::tone(page) {
        Tone::Open => "#b3261e",
        Tone::Over => "#1e7b34",
    };
    let mut out = format!(
        "<!doctype html>\n<html><body style=\"font-family:sans-serif;max-width:45em\">\n\
         <h2 style=\"color:{color}\">{}</h2>\n",
        escaped(&words::headline(page))
    );
    for sentence in &page.sentences {
        out.push_str(&format!("<p>{}</p>\n", escaped(sentence)));
    }
    let regions = words::regions(page);
    if !regions.is_empty() {
        out.push_str("<ul>\n");
        for region in regions {
            out.push_str(&format!("<li>{}</li>\n", escaped(&region)));
        }
        out.push_str("</ul>\n");
    }
    if !page.runbook.is_empty() {
        let shown = escaped(&page.runbook);
        // What is no link of the web is shown, and leads nowhere.
        match ["https://", "http://"].iter().any(|scheme| page.runbook.starts_with(scheme)) {
            true => out.push_str(&format!("<p>Runbook: <a href=\"{shown}\">{shown}</a></p>\n")),
            false => out.push_str(&format!("<p>Runbook: {shown}</p>\n")),
        }
    }
    if let Some(url) = &page.acknowledge_url {
        out.push_str(&format!("<p><a href=\"{}\">Acknowledge</a></p>\n", escaped(url)));
    }
    let mut origin = vec![words::origin(page)];
    origin.extend(words::labels(page));
    let origin = escaped(&origin.join(", "));
    out.push_str(&format!("<p style=\"color:#666\"><small>{origin}</small></p>\n</body></html>\n"));
    out
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
            _ => out.push(c),
        }
    }
    out
}

/// Nobody wrote it, so nobody's absence note is to answer it (RFC 3834, 5).
#[derive(Debug, Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
