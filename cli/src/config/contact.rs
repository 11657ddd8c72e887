//! What a contact and a region may say, field by field.

use std::sync::Arc;

use parallax_proto::convert::contact::{MAIL_TLS, PRIORITIES, SEVERITIES, WORDS, written};
use parallax_proto::v1;
use parallax_proto::v1::contact::Kind as ContactKind;

use super::check::judge;
use super::reader::{Field, Reader, field, required};
use super::step::headers;
use super::tree::Node;
use super::want::{LABELS, SECRET, TEXT, Want, known, length, mapping, text, texts, whole, word};
use super::{Kind, Located, value};

/// A contact while it is read: what it is, and how often it says so.
#[derive(Default)]
pub(super) struct Draft {
    contact: v1::Contact,
    kinds: usize,
}

/// Fields of an item of `contacts`.
pub(super) const CONTACT: &[Field<Draft>] = &[
    required("name", text("a name such as `ops`"), |draft, node, reader| {
        let name = value::text(node, reader).unwrap_or_default();
        draft.contact.meta.get_or_insert_default().name = name;
    }),
    field("labels", LABELS, |draft, node, reader| {
        let labels = value::labels(node, reader).unwrap_or_default();
        draft.contact.meta.get_or_insert_default().labels = labels;
    }),
    field("fallback", text("the name of a contact"), |draft, node, reader| {
        draft.contact.fallback = value::text(node, reader).unwrap_or_default();
    }),
    field("rate", text("a number of pages such as 10/m"), |draft, node, reader| {
        draft.contact.rate = value::text(node, reader).unwrap_or_default();
    }),
    field("webhook", mapping("a mapping with `url`", || known(WEBHOOK)), |draft, node, reader| {
        draft.kind(node, WEBHOOK, ContactKind::Webhook, reader);
    }),
    field(
        "pagerduty",
        mapping("a mapping with `routing_key`", || known(PAGERDUTY)),
        |draft, node, reader| {
            draft.kind(node, PAGERDUTY, ContactKind::Pagerduty, reader);
        },
    ),
    field(
        "alertmanager",
        mapping("a mapping with `urls`", || known(ALERTMANAGER)),
        |draft, node, reader| {
            draft.kind(node, ALERTMANAGER, ContactKind::Alertmanager, reader);
        },
    ),
    field(
        "slack",
        mapping("a mapping with `url`, or `token` and `channel`", || known(SLACK)),
        |draft, node, reader| {
            draft.kind(node, SLACK, ContactKind::Slack, reader);
        },
    ),
    field(
        "email",
        mapping("a mapping with `server`, `from` and `to`", || known(EMAIL)),
        |draft, node, reader| {
            draft.kind(node, EMAIL, ContactKind::Email, reader);
        },
    ),
    field("ntfy", mapping("a mapping with `url`", || known(NTFY)), |draft, node, reader| {
        draft.kind(node, NTFY, ContactKind::Ntfy, reader);
    }),
    field("discord", mapping("a mapping with `url`", || known(DISCORD)), |draft, node, reader| {
        draft.kind(node, DISCORD, ContactKind::Discord, reader);
    }),
    field(
        "telegram",
        mapping("a mapping with `token` and `chat_id`", || known(TELEGRAM)),
        |draft, node, reader| {
            draft.kind(node, TELEGRAM, ContactKind::Telegram, reader);
        },
    ),
    field(
        "opsgenie",
        mapping("a mapping with `api_key`", || known(OPSGENIE)),
        |draft, node, reader| {
            draft.kind(node, OPSGENIE, ContactKind::Opsgenie, reader);
        },
    ),
    field("teams", mapping("a mapping with `url`", || known(TEAMS)), |draft, node, reader| {
        draft.kind(node, TEAMS, ContactKind::Teams, reader);
    }),
];

impl Draft {
    /// Reads what a contact is by the table of that kind.
    fn kind<T: Default>(
        &mut self,
        node: &Node,
        table: &[Field<T>],
        wrap: fn(T) -> ContactKind,
        reader: &mut Reader<'_>,
    ) {
        let mut kind = T::default();
        reader.mapping(node, table, &mut kind);
        self.kinds += 1;
        if self.kinds > 1 {
            let message = format!("only one of {} can be given", WORDS.join(", "));
            reader.error("kind_twice", node.place, message);
        }
        self.contact.kind = Some(wrap(kind));
    }
}

const URL: Want = text("an http or https URL, or a reference to one");
const TIMEOUT: Want = length("a length of time such as 5s");

/// A text that may hold references.
fn secret(node: &Node, reader: &mut Reader<'_>) -> Option<v1::Secret> {
    value::text(node, reader).map(|text| written(&text))
}

fn secrets(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Secret> {
    value::texts(node, reader).unwrap_or_default().iter().map(|text| written(text)).collect()
}

const WEBHOOK: &[Field<v1::WebhookContact>] = &[
    required("url", URL, |webhook, node, reader| webhook.url = secret(node, reader)),
    field("headers", LABELS, |webhook, node, reader| {
        webhook.headers = headers(node, reader);
    }),
    field("signing_secrets", texts("a list of one or two texts"), |webhook, node, reader| {
        webhook.signing_secrets = secrets(node, reader);
    }),
    field("template", TEXT, |webhook, node, reader| {
        webhook.template = value::text(node, reader).unwrap_or_default();
    }),
    field("content_type", text("a text such as text/plain"), |webhook, node, reader| {
        webhook.content_type = value::text(node, reader).unwrap_or_default();
    }),
    field("timeout", TIMEOUT, |webhook, node, reader| {
        webhook.timeout = value::duration(node, reader);
    }),
];

const PAGERDUTY: &[Field<v1::PagerDutyContact>] = &[
    required("routing_key", SECRET, |contact, node, reader| {
        contact.routing_key = secret(node, reader);
    }),
    field(
        "severity",
        word("one of critical, error, warning, info", || SEVERITIES.to_vec()),
        |contact, node, reader| {
            contact.severity = value::text(node, reader).unwrap_or_default();
        },
    ),
    field("url", URL, |contact, node, reader| contact.url = secret(node, reader)),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

const ALERTMANAGER: &[Field<v1::AlertmanagerContact>] = &[
    required("urls", texts("a list of http or https URLs"), |contact, node, reader| {
        contact.urls = secrets(node, reader);
    }),
    field("headers", LABELS, |contact, node, reader| {
        contact.headers = headers(node, reader);
    }),
    field("labels", LABELS, |contact, node, reader| {
        contact.labels = value::labels(node, reader).unwrap_or_default();
    }),
    field("lasts", length("a length of time such as 7d"), |contact, node, reader| {
        contact.lasts = value::duration(node, reader);
    }),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

const SLACK: &[Field<v1::SlackContact>] = &[
    field("url", URL, |contact, node, reader| contact.url = secret(node, reader)),
    field("token", SECRET, |contact, node, reader| {
        contact.token = secret(node, reader);
    }),
    field("channel", text("a channel's name or id"), |contact, node, reader| {
        contact.channel = value::text(node, reader).unwrap_or_default();
    }),
    field("api_url", URL, |contact, node, reader| contact.api_url = secret(node, reader)),
    field("template", TEXT, |contact, node, reader| {
        contact.template = value::text(node, reader).unwrap_or_default();
    }),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

const ADDRESS: Want = text("an address such as pages@example.com");

const EMAIL: &[Field<v1::EmailContact>] = &[
    required("server", text("host:port, such as mail.example:587"), |contact, node, reader| {
        contact.server = value::text(node, reader).unwrap_or_default();
    }),
    field(
        "tls",
        word("one of starttls, tls, none", || MAIL_TLS.to_vec()),
        |contact, node, reader| {
            contact.tls = value::text(node, reader).unwrap_or_default();
        },
    ),
    field("username", SECRET, |contact, node, reader| {
        contact.username = secret(node, reader);
    }),
    field("password", SECRET, |contact, node, reader| {
        contact.password = secret(node, reader);
    }),
    required("from", ADDRESS, |contact, node, reader| {
        contact.from = value::text(node, reader).unwrap_or_default();
    }),
    required("to", texts("a list of addresses"), |contact, node, reader| {
        contact.to = value::texts(node, reader).unwrap_or_default();
    }),
    field("reply_to", ADDRESS, |contact, node, reader| {
        contact.reply_to = value::text(node, reader).unwrap_or_default();
    }),
    field("helo", text("a host name"), |contact, node, reader| {
        contact.helo = value::text(node, reader).unwrap_or_default();
    }),
    field("server_name", text("the name in the certificate"), |contact, node, reader| {
        contact.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", text("PEM certificates"), |contact, node, reader| {
        contact.ca_pem = value::text(node, reader).unwrap_or_default();
    }),
    field("subject", TEXT, |contact, node, reader| {
        contact.subject = value::text(node, reader).unwrap_or_default();
    }),
    field("template", TEXT, |contact, node, reader| {
        contact.template = value::text(node, reader).unwrap_or_default();
    }),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

const NTFY: &[Field<v1::NtfyContact>] = &[
    required("url", URL, |contact, node, reader| contact.url = secret(node, reader)),
    field("token", SECRET, |contact, node, reader| {
        contact.token = secret(node, reader);
    }),
    field("priority", whole("a number from 1 to 5"), |contact, node, reader| {
        contact.priority = value::at_least_one(node, reader);
    }),
    field("template", TEXT, |contact, node, reader| {
        contact.template = value::text(node, reader).unwrap_or_default();
    }),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

const DISCORD: &[Field<v1::DiscordContact>] = &[
    required("url", URL, |contact, node, reader| contact.url = secret(node, reader)),
    field("template", TEXT, |contact, node, reader| {
        contact.template = value::text(node, reader).unwrap_or_default();
    }),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

const TELEGRAM: &[Field<v1::TelegramContact>] = &[
    required("token", SECRET, |contact, node, reader| {
        contact.token = secret(node, reader);
    }),
    required("chat_id", text("a chat's id or @name"), |contact, node, reader| {
        contact.chat_id = value::text(node, reader).unwrap_or_default();
    }),
    field("url", URL, |contact, node, reader| contact.url = secret(node, reader)),
    field("template", TEXT, |contact, node, reader| {
        contact.template = value::text(node, reader).unwrap_or_default();
    }),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

const OPSGENIE: &[Field<v1::OpsgenieContact>] = &[
    required("api_key", SECRET, |contact, node, reader| {
        contact.api_key = secret(node, reader);
    }),
    field(
        "priority",
        word("one of P1, P2, P3, P4, P5", || PRIORITIES.to_vec()),
        |contact, node, reader| {
            contact.priority = value::text(node, reader).unwrap_or_default();
        },
    ),
    field("url", URL, |contact, node, reader| contact.url = secret(node, reader)),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

const TEAMS: &[Field<v1::TeamsContact>] = &[
    required("url", URL, |contact, node, reader| contact.url = secret(node, reader)),
    field("template", TEXT, |contact, node, reader| {
        contact.template = value::text(node, reader).unwrap_or_default();
    }),
    field("timeout", TIMEOUT, |contact, node, reader| {
        contact.timeout = value::duration(node, reader);
    }),
];

/// Fields of an item of `regions`.
pub(super) const REGION: &[Field<v1::Region>] = &[
    required("name", text("a name such as `eu-west`"), |region, node, reader| {
        let name = value::text(node, reader).unwrap_or_default();
        region.meta.get_or_insert_default().name = name;
    }),
    field("title", TEXT, |region, node, reader| {
        region.title = value::text(node, reader).unwrap_or_default();
    }),
    field("labels", LABELS, |region, node, reader| {
        let labels = value::labels(node, reader).unwrap_or_default();
        region.meta.get_or_insert_default().labels = labels;
    }),
];

/// Reads one item of `contacts:`.
pub(super) fn contact(node: &Arc<Node>, reader: &mut Reader<'_>) -> Option<Located> {
    let wrap = |draft: Draft| v1::resource::Kind::Contact(draft.contact);
    one(node, Kind::Contact, CONTACT, Draft::default(), wrap, reader)
}

/// Reads one item of `regions:`.
pub(super) fn region(node: &Arc<Node>, reader: &mut Reader<'_>) -> Option<Located> {
    let region = v1::Region::default();
    one(node, Kind::Region, REGION, region, v1::resource::Kind::Region, reader)
}

pub(super) fn one<T>(
    node: &Arc<Node>,
    kind: Kind,
    table: &[Field<T>],
    mut target: T,
    wrap: fn(T) -> v1::resource::Kind,
    reader: &mut Reader<'_>,
) -> Option<Located> {
    let Some(entries) = node.entries() else {
        reader.enter(kind.word(), "");
        let message = format!("must be a mapping, found {}", node.describe());
        reader.error("wrong_type", node.place, message);
        reader.leave();
        return None;
    };
    let (name, place) = match node.get("name") {
        Some(name) => (name.text().unwrap_or_default().to_owned(), name.place),
        None => (String::new(), node.place),
    };
    reader.enter(kind.word(), &name);
    reader.map(entries, place, &[table], &mut target);
    let resource = v1::Resource { kind: Some(wrap(target)) };
    judge(&resource, node, place, reader);
    reader.leave();
    Some(Located { kind, name, resource, place, body: Arc::clone(node) })
}
