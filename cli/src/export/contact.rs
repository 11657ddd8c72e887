//! Contacts and regions: the writers for [`crate::config::contact`].

use parallax_proto::convert::contact::{Setting, settings, word};
use parallax_proto::convert::resource::normalise;
use parallax_proto::v1;
use parallax_proto::v1::contact::Kind;

use super::document::{Map, Value, written};

/// One item of `regions:`.
pub(super) fn region(given: &v1::Region) -> Map {
    let mut out = Map::default();
    let meta = given.meta.clone().unwrap_or_default();
    out.put("name", meta.name.as_str());
    out.text("title", &given.title, "");
    out.labels("labels", &meta.labels);
    out
}

/// One item of `contacts:`, of a normalised contact. Its options are those of the one list that there
/// is of them.
pub(super) fn contact(given: &v1::Contact) -> Map {
    let mut out = Map::default();
    let meta = given.meta.clone().unwrap_or_default();
    out.put("name", meta.name.as_str());
    if let Some(kind) = &given.kind {
        let usual = usual(kind);
        let mut options = Map::default();
        for ((name, given), (_, usual)) in settings(kind).into_iter().zip(settings(&usual)) {
            option(name, given, usual, &mut options);
        }
        out.map(word(kind), options);
    }
    out.text("rate", &given.rate, "");
    out.text("fallback", &given.fallback, "");
    out.labels("labels", &meta.labels);
    out
}

fn option(name: &str, given: Setting<'_>, usual: Setting<'_>, out: &mut Map) {
    use Setting::{
        Headers, Labels, Length, Number, Secret, Secrets, Source, Text, Texts, Url, Urls,
    };
    match (given, usual) {
        (Url(given), Url(usual)) | (Secret(given), Secret(usual)) => {
            out.secret(name, given, usual);
        }
        (Urls(given), _) | (Secrets(given), _) => out.list(name, given.iter().map(written)),
        (Headers(given), _) => out.headers(name, given),
        (Text(given), Text(usual)) | (Source(given), Source(usual)) => {
            out.text(name, given, usual);
        }
        (Texts(given), Texts(usual)) => out.texts(name, given, usual),
        (Labels(given), _) => out.labels(name, given),
        (Number(given), Number(usual)) => out.number(name, given, usual),
        (Length(given), Length(usual)) => out.length(name, given, usual),
        // Both are options of one kind.
        _ => out.put(name, Value::Map(Map::default())),
    }
}

/// What a contact of this kind is that says nothing but what other defaults hang on.
fn usual(kind: &Kind) -> Kind {
    let bare = match kind {
        // What a template makes has a type.
        Kind::Webhook(given) => Kind::Webhook(v1::WebhookContact {
            template: given.template.clone(),
            ..v1::WebhookContact::default()
        }),
        // A bot has methods somewhere.
        Kind::Slack(given) => Kind::Slack(v1::SlackContact {
            token: given.token.clone(),
            ..v1::SlackContact::default()
        }),
        Kind::Pagerduty(_) => Kind::Pagerduty(v1::PagerDutyContact::default()),
        Kind::Alertmanager(_) => Kind::Alertmanager(v1::AlertmanagerContact::default()),
        Kind::Email(_) => Kind::Email(v1::EmailContact::default()),
        Kind::Ntfy(_) => Kind::Ntfy(v1::NtfyContact::default()),
        Kind::Discord(_) => Kind::Discord(v1::DiscordContact::default()),
        Kind::Telegram(_) => Kind::Telegram(v1::TelegramContact::default()),
        Kind::Opsgenie(_) => Kind::Opsgenie(v1::OpsgenieContact::default()),
        Kind::Teams(_) => Kind::Teams(v1::TeamsContact::default()),
    };
    let contact = v1::Contact { kind: Some(bare.clone()), ..v1::Contact::default() };
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Contact(contact)) };
    let mut usual = match normalise(resource).kind {
        Some(v1::resource::Kind::Contact(v1::Contact { kind: Some(kind), .. })) => kind,
        _ => bare,
    };
    // They were said for the others' sake.
    match &mut usual {
        Kind::Webhook(webhook) => webhook.template.clear(),
        Kind::Slack(slack) => slack.token = None,
        _ => {}
    }
    usual
}
