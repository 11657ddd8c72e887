//! Contacts: what each kind may say, filled in and checked.
//!
//! [`settings`] is the one list of what a kind has. What holds for every option of a sort (a URL is
//! one, a secret is one line, a timeout has bounds) follows from it, and so do how a contact is
//! compared and shown, and which references its sender resolves. What holds for one kind alone is in
//! `rules` below. A new kind has its place in [`settings`], [`word`], `normalise_contact` and `rules`.

pub mod redacted;

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::limits::{
    ALERT_LASTS_DEFAULT, ALERT_LASTS_MAX, ALERT_LASTS_MIN, ALERTMANAGERS_MAX,
    CONTACT_OPTION_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX, MAIL_RECIPIENTS_MAX, PAGE_TIMEOUT,
    PAGE_TIMEOUT_MAX, PAGE_TIMEOUT_MIN, SIGNING_SECRETS_MAX,
};
use parallax_common::mailbox::Mailbox;
use parallax_common::name::is_name;
use parallax_common::page_template::{self, TemplateError};
use parallax_common::rate::Rate;
use parallax_common::rule::{self, Violation};
use parallax_common::secret::Template;
use parallax_common::target::{HttpUrl, is_host, parse_address};

use super::resource::{meta, size_fits};
use super::run::{certificates, headers, length, no_captures, template};
use super::{Findings, time};
use crate::v1;
use crate::v1::contact::Kind;

/// Every kind, as it is written.
pub const WORDS: [&str; 10] = [
    "webhook",
    "pagerduty",
    "alertmanager",
    "slack",
    "email",
    "ntfy",
    "discord",
    "telegram",
    "opsgenie",
    "teams",
];

/// The content type of a body that nobody worded, or that does not say another.
pub const JSON: &str = "application/json";

/// Severities of PagerDuty.
pub const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// Priorities of Opsgenie.
pub const PRIORITIES: [&str; 5] = ["P1", "P2", "P3", "P4", "P5"];

/// How a connection to a mail server is secured.
pub const MAIL_TLS: [&str; 3] = ["starttls", "tls", "none"];

/// One option of a contact.
#[derive(Debug, Clone, Copy)]
pub enum Setting<'a> {
    /// An http or https URL, which may hold references, and whose path may be a password.
    Url(Option<&'a v1::Secret>),
    /// Several of them.
    Urls(&'a [v1::Secret]),
    /// A password, token or key.
    Secret(Option<&'a v1::Secret>),
    /// Several of them.
    Secrets(&'a [v1::Secret]),
    /// Header lines, whose values may be secret.
    Headers(&'a [v1::Header]),
    /// What may be shown to everybody: one line.
    Text(&'a str),
    /// Several of them.
    Texts(&'a [String]),
    /// The same, of several lines.
    Source(&'a str),
    /// Texts by name.
    Labels(&'a BTreeMap<String, String>),
    /// A number; 0 is none.
    Number(u32),
    /// A length of time.
    Length(Option<&'a prost_types::Duration>),
}

/// What a kind is called.
pub const fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Webhook(_) => "webhook",
        Kind::Pagerduty(_) => "pagerduty",
        Kind::Alertmanager(_) => "alertmanager",
        Kind::Slack(_) => "slack",
        Kind::Email(_) => "email",
        Kind::Ntfy(_) => "ntfy",
        Kind::Discord(_) => "discord",
        Kind::Telegram(_) => "telegram",
        Kind::Opsgenie(_) => "opsgenie",
        Kind::Teams(_) => "teams",
    }
}

/// All options of a kind, by the names that YAML has for them.
pub fn settings(kind: &Kind) -> Vec<(&'static str, Setting<'_>)> {
    use Setting::{
        Headers, Labels, Length, Number, Secret, Secrets, Source, Text, Texts, Url, Urls,
    };
    match kind {
        Kind::Webhook(it) => vec![
            ("url", Url(it.url.as_ref())),
            ("headers", Headers(&it.headers)),
            ("signing_secrets", Secrets(&it.signing_secrets)),
            ("template", Source(&it.template)),
            ("content_type", Text(&it.content_type)),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Pagerduty(it) => vec![
            ("routing_key", Secret(it.routing_key.as_ref())),
            ("severity", Text(&it.severity)),
            ("url", Url(it.url.as_ref())),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Alertmanager(it) => vec![
            ("urls", Urls(&it.urls)),
            ("headers", Headers(&it.headers)),
            ("labels", Labels(&it.labels)),
            ("lasts", Length(it.lasts.as_ref())),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Slack(it) => vec![
            ("url", Url(it.url.as_ref())),
            ("token", Secret(it.token.as_ref())),
            ("channel", Text(&it.channel)),
            ("api_url", Url(it.api_url.as_ref())),
            ("template", Source(&it.template)),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Email(it) => vec![
            ("server", Text(&it.server)),
            ("tls", Text(&it.tls)),
            ("username", Secret(it.username.as_ref())),
            ("password", Secret(it.password.as_ref())),
            ("from", Text(&it.from)),
            ("to", Texts(&it.to)),
            ("reply_to", Text(&it.reply_to)),
            ("helo", Text(&it.helo)),
            ("server_name", Text(&it.server_name)),
            ("ca_pem", Source(&it.ca_pem)),
            ("subject", Source(&it.subject)),
            ("template", Source(&it.template)),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Ntfy(it) => vec![
            ("url", Url(it.url.as_ref())),
            ("token", Secret(it.token.as_ref())),
            ("priority", Number(it.priority)),
            ("template", Source(&it.template)),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Discord(it) => vec![
            ("url", Url(it.url.as_ref())),
            ("template", Source(&it.template)),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Telegram(it) => vec![
            ("token", Secret(it.token.as_ref())),
            ("chat_id", Text(&it.chat_id)),
            ("url", Url(it.url.as_ref())),
            ("template", Source(&it.template)),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Opsgenie(it) => vec![
            ("api_key", Secret(it.api_key.as_ref())),
            ("priority", Text(&it.priority)),
            ("url", Url(it.url.as_ref())),
            ("timeout", Length(it.timeout.as_ref())),
        ],
        Kind::Teams(it) => vec![
            ("url", Url(it.url.as_ref())),
            ("template", Source(&it.template)),
            ("timeout", Length(it.timeout.as_ref())),
        ],
    }
}

/// How long one attempt at this contact may take. One that was stored when more was allowed has no more
/// than others.
pub fn timeout_of(kind: &Kind) -> Duration {
    let given = settings(kind).into_iter().find_map(|(name, setting)| match setting {
        Setting::Length(length) if name == "timeout" => time::duration(length?),
        _ => None,
    });
    // Stored contacts always have one; what a coordinator makes for itself need not.
    given.filter(|given| !given.is_zero()).unwrap_or(PAGE_TIMEOUT).min(PAGE_TIMEOUT_MAX)
}

/// Whether a build that knows webhooks alone, and of them what they had at first, reads this contact
/// as it is meant.
pub fn is_first_form(contact: &v1::Contact) -> bool {
    match &contact.kind {
        Some(Kind::Webhook(webhook)) => {
            webhook.signing_secrets.is_empty()
                && webhook.template.is_empty()
                && webhook.content_type.is_empty()
        }
        Some(_) => false,
        None => true,
    }
}

/// What of this contact builds before mail do not know.
pub fn newer_fields(contact: &v1::Contact) -> Vec<&'static str> {
    let used = [
        ("email", matches!(contact.kind, Some(Kind::Email(_)))),
        ("fallback", !contact.fallback.is_empty()),
        ("rate", !contact.rate.is_empty()),
    ];
    let used = used.into_iter().filter(|(_, used)| *used).map(|(field, _)| field);
    let worded = contact.kind.iter().flat_map(own_words).map(|(field, _)| field);
    used.chain(worded).collect()
}

/// The templates that word a part of what a contact for people is told, with where they stand. That of a
/// webhook is the whole of it, and not among them.
fn own_words(kind: &Kind) -> Vec<(&'static str, &str)> {
    let all: Vec<(&'static str, &str)> = match kind {
        Kind::Slack(it) => vec![("slack.template", &it.template)],
        Kind::Email(it) => vec![("email.subject", &it.subject), ("email.template", &it.template)],
        Kind::Ntfy(it) => vec![("ntfy.template", &it.template)],
        Kind::Discord(it) => vec![("discord.template", &it.template)],
        Kind::Telegram(it) => vec![("telegram.template", &it.template)],
        Kind::Teams(it) => vec![("teams.template", &it.template)],
        Kind::Webhook(_) | Kind::Pagerduty(_) | Kind::Alertmanager(_) | Kind::Opsgenie(_) => vec![],
    };
    all.into_iter().filter(|(_, source)| !source.is_empty()).collect()
}

/// A value as it is written.
pub fn written(text: &str) -> v1::Secret {
    v1::Secret { value: Some(v1::secret::Value::Template(text.to_owned())) }
}

/// Fills in every default.
pub(super) fn normalise_contact(mut contact: v1::Contact) -> v1::Contact {
    if let Some(kind) = &mut contact.kind {
        let timeout = match kind {
            Kind::Webhook(it) => {
                if !it.template.is_empty() && it.content_type.is_empty() {
                    JSON.clone_into(&mut it.content_type);
                }
                &mut it.timeout
            }
            Kind::Pagerduty(it) => {
                default_text(&mut it.severity, SEVERITIES[0]);
                default_url(&mut it.url, "https://events.pagerduty.com");
                &mut it.timeout
            }
            Kind::Alertmanager(it) => {
                default_length(&mut it.lasts, ALERT_LASTS_DEFAULT);
                &mut it.timeout
            }
            Kind::Slack(it) => {
                if it.token.is_some() {
                    default_url(&mut it.api_url, "https://slack.com/api");
                }
                &mut it.timeout
            }
            Kind::Email(it) => {
                default_text(&mut it.tls, MAIL_TLS[0]);
                &mut it.timeout
            }
            Kind::Ntfy(it) => {
                if it.priority == 0 {
                    it.priority = 5;
                }
                &mut it.timeout
            }
            Kind::Discord(it) => &mut it.timeout,
            Kind::Telegram(it) => {
                default_url(&mut it.url, "https://api.telegram.org");
                &mut it.timeout
            }
            Kind::Opsgenie(it) => {
                default_text(&mut it.priority, PRIORITIES[0]);
                default_url(&mut it.url, "https://api.opsgenie.com");
                &mut it.timeout
            }
            Kind::Teams(it) => &mut it.timeout,
        };
        default_length(timeout, PAGE_TIMEOUT);
    }
    contact
}

fn default_text(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

fn default_url(url: &mut Option<v1::Secret>, default: &str) {
    url.get_or_insert_with(|| written(default));
}

fn default_length(length: &mut Option<prost_types::Duration>, default: Duration) {
    if length.is_none_or(|given| given.seconds == 0 && given.nanos == 0) {
        *length = Some(time::duration_to(default));
    }
}

/// Every rule that a normalised contact breaks.
pub fn validate_contact(contact: &v1::Contact) -> Vec<Violation> {
    let name = contact.meta.as_ref().map_or("", |meta| &meta.name);
    let mut findings = Findings::new("contact", name);
    meta(contact.meta.as_ref(), &mut findings);
    size_fits(contact, &mut findings);
    if !contact.rate.is_empty()
        && let Err(error) = Rate::parse(&contact.rate)
    {
        findings.add(rule::CONTACT_OPTION, "rate", error.to_string());
    }
    if !contact.fallback.is_empty() && !is_name(&contact.fallback) {
        let message = format!("`{}` cannot be the name of a contact", contact.fallback);
        findings.add(rule::NAME_FORMAT, "fallback", message);
    }
    match &contact.kind {
        None => {
            let message = format!("say how to reach the contact: one of {}", WORDS.join(", "));
            findings.add(rule::KIND_MISSING, "", message);
        }
        Some(kind) => {
            for (name, setting) in settings(kind) {
                each(&format!("{}.{name}", word(kind)), setting, &mut findings);
            }
            rules(kind, &mut findings);
            for (at, source) in own_words(kind) {
                words(at, source, false, &mut findings);
            }
        }
    }
    findings.finish()
}

/// What holds for every option of its sort. Whether it is needed is in [`rules`].
fn each(at: &str, setting: Setting<'_>, findings: &mut Findings<'_>) {
    match setting {
        Setting::Url(None) | Setting::Secret(None) | Setting::Number(_) => {}
        Setting::Url(Some(secret)) => url(at, secret, findings),
        Setting::Urls(secrets) => {
            for (index, secret) in secrets.iter().enumerate() {
                url(&format!("{at}[{index}]"), secret, findings);
            }
        }
        Setting::Secret(Some(secret)) => line(at, secret, findings),
        Setting::Secrets(secrets) => {
            for (index, secret) in secrets.iter().enumerate() {
                line(&format!("{at}[{index}]"), secret, findings);
            }
        }
        Setting::Headers(lines) => {
            for (name, value) in headers(lines, at, findings) {
                no_captures(&value, &format!("{at}.{name}"), findings);
            }
        }
        Setting::Text(text) => plain(at, text, findings),
        Setting::Texts(texts) => {
            for (index, text) in texts.iter().enumerate() {
                plain(&format!("{at}[{index}]"), text, findings);
            }
        }
        Setting::Source(_) => {}
        Setting::Labels(labels) => {
            if labels.len() > LABELS_MAX {
                let message = format!("{} labels; at most {LABELS_MAX} are allowed", labels.len());
                findings.add(rule::LABELS_TOO_MANY, at, message);
            }
            for (key, value) in labels {
                let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
                let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
                let fits = key.bytes().next().is_some_and(first) && key.bytes().all(letter);
                if !fits || key.len() > LABEL_BYTES_MAX {
                    let message = format!("`{key}` cannot be a label there: letters, digits and _");
                    findings.add(rule::CONTACT_OPTION, format!("{at}.{key}"), message);
                }
                if value.len() > LABEL_BYTES_MAX || value.chars().any(char::is_control) {
                    let statement = rule::LABEL_VALUE.statement;
                    findings.add(rule::LABEL_VALUE, format!("{at}.{key}"), statement);
                }
            }
        }
        Setting::Length(given) if at.ends_with(".lasts") => {
            let bounds = (at, ALERT_LASTS_MIN, ALERT_LASTS_MAX);
            let rules = (rule::CONTACT_OPTION, rule::CONTACT_OPTION);
            length(given, bounds, rules, findings);
        }
        Setting::Length(given) => {
            let bounds = (at, PAGE_TIMEOUT_MIN, PAGE_TIMEOUT_MAX);
            length(given, bounds, (rule::TIMEOUT_TOO_SHORT, rule::TIMEOUT_TOO_LONG), findings);
        }
    }
}

fn url(at: &str, secret: &v1::Secret, findings: &mut Findings<'_>) {
    let Some(text) = template(Some(secret), at, findings) else { return };
    let Ok(template) = Template::parse(text) else { return };
    no_captures(text, at, findings);
    // With references in it nobody knows the URL before they are resolved.
    if let Some(plain) = template.plain()
        && let Err(error) = HttpUrl::parse(plain)
    {
        findings.add(error.rule, at, error.message);
    }
}

fn plain(at: &str, text: &str, findings: &mut Findings<'_>) {
    if text.len() > CONTACT_OPTION_BYTES_MAX || text.chars().any(char::is_control) {
        let message = format!("must be one line of at most {CONTACT_OPTION_BYTES_MAX} bytes");
        findings.add(rule::CONTACT_OPTION, at, message);
    } else if text.contains("${") {
        findings.add(rule::REFERENCE_NOT_HERE, at, "references are not resolved here");
    }
}

fn line(at: &str, secret: &v1::Secret, findings: &mut Findings<'_>) {
    let Some(text) = template(Some(secret), at, findings) else { return };
    no_captures(text, at, findings);
    if text.is_empty() || text.chars().any(char::is_control) {
        findings.add(rule::CONTACT_OPTION, at, "must be one line of text, and not empty");
    }
}

fn needed(at: &str, given: bool, findings: &mut Findings<'_>) {
    if !given {
        findings.add(rule::MISSING_FIELD, at, "a value is needed");
    }
}

fn one_of(at: &str, text: &str, known: &[&str], findings: &mut Findings<'_>) {
    if !known.contains(&text) {
        let message = format!("`{text}` is none of {}", known.join(", "));
        let near = parallax_common::text::nearest(text, known.iter().copied());
        findings.add_near(rule::ENUM_UNKNOWN, at, message, near);
    }
}

fn at_most(at: &str, count: usize, most: usize, findings: &mut Findings<'_>) {
    if count > most {
        let message = format!("{count} are given; at most {most} are allowed");
        findings.add(rule::CONTACT_OPTION, at, message);
    }
}

/// What holds for one kind alone.
fn rules(kind: &Kind, findings: &mut Findings<'_>) {
    match kind {
        Kind::Webhook(it) => webhook(it, findings),
        Kind::Pagerduty(it) => {
            needed("pagerduty.routing_key", it.routing_key.is_some(), findings);
            one_of("pagerduty.severity", &it.severity, &SEVERITIES, findings);
        }
        Kind::Alertmanager(it) => {
            needed("alertmanager.urls", !it.urls.is_empty(), findings);
            at_most("alertmanager.urls", it.urls.len(), ALERTMANAGERS_MAX, findings);
        }
        Kind::Slack(it) => match (&it.url, &it.token) {
            (Some(_), None) if it.channel.is_empty() && it.api_url.is_none() => {}
            (None, Some(_)) => needed("slack.channel", !it.channel.is_empty(), findings),
            _ => {
                let message = "either `url` alone, or `token` and `channel`";
                findings.add(rule::CONTACT_OPTIONS_CLASH, "slack", message);
            }
        },
        Kind::Email(it) => email(it, findings),
        Kind::Ntfy(it) => {
            needed("ntfy.url", it.url.is_some(), findings);
            if !(1..=5).contains(&it.priority) {
                findings.add(rule::CONTACT_OPTION, "ntfy.priority", "must be from 1 to 5");
            }
        }
        Kind::Discord(it) => needed("discord.url", it.url.is_some(), findings),
        Kind::Telegram(it) => {
            needed("telegram.token", it.token.is_some(), findings);
            needed("telegram.chat_id", !it.chat_id.is_empty(), findings);
        }
        Kind::Opsgenie(it) => {
            needed("opsgenie.api_key", it.api_key.is_some(), findings);
            one_of("opsgenie.priority", &it.priority, &PRIORITIES, findings);
        }
        Kind::Teams(it) => needed("teams.url", it.url.is_some(), findings),
    }
}

fn webhook(it: &v1::WebhookContact, findings: &mut Findings<'_>) {
    needed("webhook.url", it.url.is_some(), findings);
    at_most("webhook.signing_secrets", it.signing_secrets.len(), SIGNING_SECRETS_MAX, findings);
    if it.template.is_empty() {
        if !it.content_type.is_empty() {
            let message = "goes with a `template` only: without one the body is JSON";
            findings.add(rule::CONTACT_OPTIONS_CLASH, "webhook.content_type", message);
        }
        return;
    }
    let plain = it.content_type.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if !plain || !it.content_type.contains('/') {
        let message = "must be a content type such as text/plain; charset=utf-8";
        findings.add(rule::CONTACT_OPTION, "webhook.content_type", message);
    }
    let json = page_template::is_json(&it.content_type);
    words("webhook.template", &it.template, json, findings);
}

/// A template of a page.
fn words(at: &str, source: &str, json: bool, findings: &mut Findings<'_>) {
    if ["${env:", "${file:"].iter().any(|reference| source.contains(reference)) {
        let message = "references are not resolved in a template; `headers` and `url` take them";
        findings.add(rule::REFERENCE_NOT_HERE, at, message);
    }
    if let Err(error) = page_template::check(source, json) {
        let near = match &error {
            TemplateError::Unknown { nearest, .. } => nearest.clone(),
            _ => None,
        };
        findings.add_near(rule::PAGE_TEMPLATE, at, error.to_string(), near.as_deref());
    }
}

fn email(it: &v1::EmailContact, findings: &mut Findings<'_>) {
    needed("email.server", !it.server.is_empty(), findings);
    // What is no plain line has been said already.
    let fits = |text: &str| !text.contains("${") && !text.chars().any(char::is_control);
    if !it.server.is_empty()
        && fits(&it.server)
        && let Err(error) = parse_address(&it.server)
    {
        findings.add(error.rule, "email.server", error.message);
    }
    one_of("email.tls", &it.tls, &MAIL_TLS, findings);
    needed("email.from", !it.from.is_empty(), findings);
    needed("email.to", !it.to.is_empty(), findings);
    at_most("email.to", it.to.len(), MAIL_RECIPIENTS_MAX, findings);
    let mut heard = std::collections::BTreeSet::new();
    let to = it.to.iter().enumerate().map(|(index, to)| (format!("email.to[{index}]"), to));
    let others = [("email.from", &it.from), ("email.reply_to", &it.reply_to)];
    let others = others.into_iter().filter(|(_, text)| !text.is_empty());
    for (at, text) in others.map(|(at, text)| (at.to_owned(), text)).chain(to) {
        if !fits(text) {
            continue;
        }
        match Mailbox::parse(text) {
            Err(error) => findings.add(rule::CONTACT_OPTION, at, error.to_string()),
            Ok(mailbox) if at.starts_with("email.to") && !heard.insert(mailbox.address()) => {
                let message = format!("{} is named twice", mailbox.address());
                findings.add(rule::CONTACT_OPTION, at, message);
            }
            Ok(_) => {}
        }
    }
    if it.username.is_some() != it.password.is_some() {
        let message = "`username` and `password` go together";
        findings.add(rule::CONTACT_OPTIONS_CLASH, "email", message);
    }
    if it.tls == MAIL_TLS[2] {
        let secured = [
            ("username", it.username.is_some()),
            ("server_name", !it.server_name.is_empty()),
            ("ca_pem", !it.ca_pem.is_empty()),
        ];
        for (name, _) in secured.into_iter().filter(|(_, given)| *given) {
            let message = match name {
                "username" => "with `tls: none` a password would be readable on its way".to_owned(),
                _ => format!("{name} has no effect with `tls: none`"),
            };
            findings.add(rule::CONTACT_OPTIONS_CLASH, format!("email.{name}"), message);
        }
    }
    for (at, name) in [("email.helo", &it.helo), ("email.server_name", &it.server_name)] {
        if !name.is_empty() && fits(name) && !is_host(name) {
            findings.add(rule::CONTACT_OPTION, at, format!("`{name}` is not a host name"));
        }
    }
    if !it.ca_pem.is_empty()
        && let Err(why) = certificates(&it.ca_pem)
    {
        findings.add(rule::CA_PEM, "email.ca_pem", why);
    }
}

#[cfg(test)]
mod tests;
