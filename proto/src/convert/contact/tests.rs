use std::time::Duration;

use parallax_common::limits::PAGE_ANSWER_WITHIN;
use parallax_common::rule::Rule;

use super::*;
use crate::convert::resource;

fn named(kind: Kind) -> v1::Contact {
    let meta = v1::Meta {
        uid: "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".to_owned(),
        name: "ops".to_owned(),
        ..Default::default()
    };
    v1::Contact { meta: Some(meta), kind: Some(kind), ..Default::default() }
}

fn normal(contact: v1::Contact) -> v1::Contact {
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Contact(contact)) };
    match resource::normalise(resource).kind {
        Some(v1::resource::Kind::Contact(contact)) => contact,
        other => panic!("{other:?}"),
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn secret(text: &str) -> Option<v1::Secret> {
    Some(written(text))
}

fn mail(with: impl FnOnce(&mut v1::EmailContact)) -> v1::EmailContact {
    let mut it = v1::EmailContact {
        server: "mail.example:587".to_owned(),
        from: "Parallax <pages@example.com>".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        ..Default::default()
    };
    with(&mut it);
    it
}

/// One contact of each kind, with nothing but what is needed.
fn plain() -> Vec<Kind> {
    let url = || secret("https://hooks.example/x");
    vec![
        Kind::Webhook(v1::WebhookContact { url: url(), ..Default::default() }),
        Kind::Pagerduty(v1::PagerDutyContact { routing_key: secret("k"), ..Default::default() }),
        Kind::Alertmanager(v1::AlertmanagerContact {
            urls: vec![written("http://am.example:9093")],
            ..Default::default()
        }),
        Kind::Slack(v1::SlackContact { url: url(), ..Default::default() }),
        Kind::Email(mail(|_| {})),
        Kind::Ntfy(v1::NtfyContact { url: url(), ..Default::default() }),
        Kind::Discord(v1::DiscordContact { url: url(), ..Default::default() }),
        Kind::Telegram(v1::TelegramContact {
            token: secret("1:a"),
            chat_id: "-100".to_owned(),
            ..Default::default()
        }),
        Kind::Opsgenie(v1::OpsgenieContact { api_key: secret("k"), ..Default::default() }),
        Kind::Teams(v1::TeamsContact { url: url(), ..Default::default() }),
    ]
}

#[test]
fn each_kind_is_in_order_with_what_it_needs_and_has_its_defaults_once() {
    let words: Vec<&str> = plain().iter().map(word).collect();
    assert_eq!(words, WORDS);
    for kind in plain() {
        let contact = normal(named(kind));
        assert_eq!(validate_contact(&contact), [], "{contact:?}");
        assert_eq!(normal(contact.clone()), contact);
        assert_eq!(timeout_of(contact.kind.as_ref().unwrap()), PAGE_TIMEOUT);
    }
    let first: Vec<bool> = plain().into_iter().map(|kind| is_first_form(&named(kind))).collect();
    assert_eq!(first.iter().filter(|first| **first).count(), 1);
    assert!(first[0], "a plain webhook is what it always was");
    let table = [
        v1::WebhookContact { signing_secrets: vec![written("s")], ..Default::default() },
        v1::WebhookContact { template: "x".to_owned(), ..Default::default() },
    ];
    for webhook in table {
        assert!(!is_first_form(&named(Kind::Webhook(webhook))));
    }
}

#[test]
fn whoever_may_only_look_sees_references_and_hosts_and_no_secret_of_any_kind() {
    /// All that [`settings`] says may be secret, so that none is forgotten.
    fn secrets(kind: &Kind) -> Vec<String> {
        let text = |it: &v1::Secret| match &it.value {
            Some(v1::secret::Value::Template(text)) => text.clone(),
            other => panic!("{other:?}"),
        };
        let all = settings(kind).into_iter().flat_map(|(_, setting)| match setting {
            Setting::Url(it) | Setting::Secret(it) => it.iter().map(|it| text(it)).collect(),
            Setting::Urls(several) | Setting::Secrets(several) => {
                several.iter().map(text).collect()
            }
            Setting::Headers(it) => {
                it.iter().filter_map(|it| it.value.as_ref()).map(text).collect()
            }
            _ => Vec::new(),
        });
        all.collect()
    }
    let url = || secret("https://me:hunter2@hooks.example/hunter2?k=hunter2");
    let hidden = || secret("hunter2");
    let header =
        || v1::Header { name: "authorization".to_owned(), value: secret("Basic hunter2${env:A}") };
    let kinds = [
        Kind::Webhook(v1::WebhookContact {
            url: url(),
            headers: vec![header()],
            signing_secrets: vec![written("hunter2")],
            ..Default::default()
        }),
        Kind::Pagerduty(v1::PagerDutyContact {
            routing_key: hidden(),
            url: url(),
            ..Default::default()
        }),
        Kind::Alertmanager(v1::AlertmanagerContact {
            urls: url().into_iter().collect(),
            headers: vec![header()],
            ..Default::default()
        }),
        Kind::Slack(v1::SlackContact {
            url: url(),
            token: hidden(),
            api_url: url(),
            ..Default::default()
        }),
        Kind::Email(v1::EmailContact {
            username: hidden(),
            password: hidden(),
            ..Default::default()
        }),
        Kind::Ntfy(v1::NtfyContact { url: url(), token: hidden(), ..Default::default() }),
        Kind::Discord(v1::DiscordContact { url: url(), ..Default::default() }),
        Kind::Telegram(v1::TelegramContact { token: hidden(), url: url(), ..Default::default() }),
        Kind::Opsgenie(v1::OpsgenieContact { api_key: hidden(), url: url(), ..Default::default() }),
        Kind::Teams(v1::TeamsContact { url: url(), ..Default::default() }),
    ];
    assert_eq!(kinds.each_ref().map(word), WORDS);
    for kind in kinds {
        let asked = settings(&kind);
        let may_be_secret = asked.iter().filter(|(_, it)| {
            use Setting::{Headers, Secret, Secrets, Url, Urls};
            matches!(it, Url(_) | Urls(_) | Secret(_) | Secrets(_) | Headers(_))
        });
        assert_eq!(secrets(&kind).len(), may_be_secret.count(), "all are given: {kind:?}");
        let contact = named(kind);
        assert!(!redacted::is_redacted(&contact));
        let shown = redacted::redacted(contact);
        assert!(redacted::is_redacted(&shown));
        assert_eq!(redacted::redacted(shown.clone()), shown);
        for text in secrets(shown.kind.as_ref().unwrap()) {
            assert!(!text.contains("hunter2"), "{shown:?}");
            let said = ["***", "***${env:A}", "https://hooks.example/..."];
            assert!(said.contains(&text.as_str()), "{text}");
        }
    }
    let by_reference = named(Kind::Teams(v1::TeamsContact {
        url: secret("${env:TEAMS_URL}"),
        ..Default::default()
    }));
    assert_eq!(redacted::redacted(by_reference.clone()), by_reference);
}

#[test]
fn no_attempt_lasts_until_another_member_would_send_the_page() {
    assert!(PAGE_TIMEOUT_MAX < PAGE_ANSWER_WITHIN, "{PAGE_TIMEOUT_MAX:?}");
    let of = |seconds| {
        let timeout = Some(prost_types::Duration { seconds, nanos: 0 });
        timeout_of(&Kind::Webhook(v1::WebhookContact { timeout, ..Default::default() }))
    };
    assert_eq!(of(12), PAGE_TIMEOUT_MAX);
    assert_eq!(of(60), PAGE_TIMEOUT_MAX, "stored when that was allowed");
    assert_eq!(of(5), Duration::from_secs(5));
}

#[test]
fn contacts_hold_references_where_they_may() {
    for (url, rule) in [
        ("${env:OPS_URL}", None),
        ("https://hooks.example/${env:KEY}", None),
        ("https://hooks.example/x", None),
        ("hooks.example", Some(rule::URL_SCHEME)),
        ("${OPS_URL}", Some(rule::SECRET_REFERENCE)),
        ("https://hooks.example/${capture:x}", Some(rule::CAPTURE_UNKNOWN)),
    ] {
        let kinds = [
            Kind::Webhook(v1::WebhookContact { url: secret(url), ..Default::default() }),
            Kind::Alertmanager(v1::AlertmanagerContact {
                urls: vec![written("http://am.example"), written(url)],
                ..Default::default()
            }),
            Kind::Telegram(v1::TelegramContact {
                token: secret("${env:TOKEN}"),
                chat_id: "1".to_owned(),
                url: secret(url),
                ..Default::default()
            }),
        ];
        for kind in kinds {
            let contact = normal(named(kind));
            let found = validate_contact(&contact);
            assert_eq!(found.first().map(|v| v.rule), rule, "{url}: {found:?}");
        }
    }
    let none = v1::Contact { kind: None, ..named(plain().remove(0)) };
    assert_eq!(validate_contact(&none)[0].rule, rule::KIND_MISSING);
}

/// What breaks which rule where.
fn broken() -> Vec<(Kind, Rule, &'static str)> {
    let url = || secret("https://hooks.example/x");
    let webhook = |with: fn(&mut v1::WebhookContact)| {
        let mut it = v1::WebhookContact { url: url(), ..Default::default() };
        with(&mut it);
        Kind::Webhook(it)
    };
    let alertmanager = |with: fn(&mut v1::AlertmanagerContact)| {
        let mut it =
            v1::AlertmanagerContact { urls: vec![written("http://a")], ..Default::default() };
        with(&mut it);
        Kind::Alertmanager(it)
    };
    let slack = |url: Option<v1::Secret>, token: Option<v1::Secret>, channel: &str| {
        Kind::Slack(v1::SlackContact {
            url,
            token,
            channel: channel.to_owned(),
            ..Default::default()
        })
    };
    let email = |with: fn(&mut v1::EmailContact)| Kind::Email(mail(with));
    use rule::{
        CA_PEM, CONTACT_OPTION, CONTACT_OPTIONS_CLASH, ENUM_UNKNOWN, LABEL_VALUE, LABELS_TOO_MANY,
        MISSING_FIELD, PAGE_TEMPLATE, PORT_RANGE, REFERENCE_NOT_HERE, TCP_ADDRESS,
        TIMEOUT_TOO_LONG, TIMEOUT_TOO_SHORT,
    };
    vec![
        (email(|it| it.server.clear()), MISSING_FIELD, "email.server"),
        (email(|it| it.server = "mail.example".to_owned()), TCP_ADDRESS, "email.server"),
        (email(|it| it.server = "mail.example:0".to_owned()), PORT_RANGE, "email.server"),
        (email(|it| it.server = "${env:MAIL}".to_owned()), REFERENCE_NOT_HERE, "email.server"),
        (email(|it| it.tls = "ssl".to_owned()), ENUM_UNKNOWN, "email.tls"),
        (email(|it| it.from.clear()), MISSING_FIELD, "email.from"),
        (email(|it| it.from = "pages".to_owned()), CONTACT_OPTION, "email.from"),
        (email(|it| it.from = "a@b.example\r\nTo: c".to_owned()), CONTACT_OPTION, "email.from"),
        (email(|it| it.to.clear()), MISSING_FIELD, "email.to"),
        (
            email(|it| it.to = (0..17).map(|n| format!("a{n}@example.com")).collect()),
            CONTACT_OPTION,
            "email.to",
        ),
        (email(|it| it.to.push("OPS@".to_owned())), CONTACT_OPTION, "email.to[1]"),
        (email(|it| it.to.push("Ops <ops@Example.com>".to_owned())), CONTACT_OPTION, "email.to[1]"),
        (email(|it| it.reply_to = "a b@example.com".to_owned()), CONTACT_OPTION, "email.reply_to"),
        (email(|it| it.username = secret("me")), CONTACT_OPTIONS_CLASH, "email"),
        (email(|it| it.password = secret("p")), CONTACT_OPTIONS_CLASH, "email"),
        (
            email(|it| {
                it.tls = "none".to_owned();
                (it.username, it.password) = (secret("me"), secret("p"));
            }),
            CONTACT_OPTIONS_CLASH,
            "email.username",
        ),
        (
            email(|it| {
                it.tls = "none".to_owned();
                it.server_name = "mail.example".to_owned();
            }),
            CONTACT_OPTIONS_CLASH,
            "email.server_name",
        ),
        (email(|it| it.helo = "a b".to_owned()), CONTACT_OPTION, "email.helo"),
        (email(|it| it.server_name = "a b".to_owned()), CONTACT_OPTION, "email.server_name"),
        (email(|it| it.ca_pem = "-----BEGIN PRIVATE KEY-----".to_owned()), CA_PEM, "email.ca_pem"),
        (email(|it| it.timeout = seconds(13)), TIMEOUT_TOO_LONG, "email.timeout"),
        (email(|it| it.subject = "{{ sumary }}".to_owned()), PAGE_TEMPLATE, "email.subject"),
        (email(|it| it.subject = "${env:KEY}".to_owned()), REFERENCE_NOT_HERE, "email.subject"),
        (email(|it| it.template = "{% set x = 1 %}".to_owned()), PAGE_TEMPLATE, "email.template"),
        (webhook(|it| it.url = None), MISSING_FIELD, "webhook.url"),
        (webhook(|it| it.timeout = seconds(13)), TIMEOUT_TOO_LONG, "webhook.timeout"),
        (
            webhook(|it| it.timeout = Some(prost_types::Duration { seconds: 0, nanos: 1_000 })),
            TIMEOUT_TOO_SHORT,
            "webhook.timeout",
        ),
        (
            webhook(|it| it.signing_secrets = vec![written("a"), written("b"), written("c")]),
            CONTACT_OPTION,
            "webhook.signing_secrets",
        ),
        (
            webhook(|it| it.signing_secrets = vec![written("a"), written("")]),
            CONTACT_OPTION,
            "webhook.signing_secrets[1]",
        ),
        (
            webhook(|it| it.content_type = "text/plain".to_owned()),
            CONTACT_OPTIONS_CLASH,
            "webhook.content_type",
        ),
        (
            webhook(|it| {
                it.template = "x".to_owned();
                it.content_type = "plain".to_owned();
            }),
            CONTACT_OPTION,
            "webhook.content_type",
        ),
        (
            webhook(|it| it.template = "{{ sumary|tojson }}".to_owned()),
            PAGE_TEMPLATE,
            "webhook.template",
        ),
        (webhook(|it| it.template = "{{ summary }}".to_owned()), PAGE_TEMPLATE, "webhook.template"),
        (
            webhook(|it| it.template = "\"${env:KEY}\"".to_owned()),
            REFERENCE_NOT_HERE,
            "webhook.template",
        ),
        (Kind::Pagerduty(v1::PagerDutyContact::default()), MISSING_FIELD, "pagerduty.routing_key"),
        (
            Kind::Pagerduty(v1::PagerDutyContact {
                routing_key: secret("k"),
                severity: "high".to_owned(),
                ..Default::default()
            }),
            ENUM_UNKNOWN,
            "pagerduty.severity",
        ),
        (
            Kind::Pagerduty(v1::PagerDutyContact {
                routing_key: secret("a\nb"),
                ..Default::default()
            }),
            CONTACT_OPTION,
            "pagerduty.routing_key",
        ),
        (alertmanager(|it| it.urls.clear()), MISSING_FIELD, "alertmanager.urls"),
        (
            alertmanager(|it| it.urls = vec![written("http://a"); 9]),
            CONTACT_OPTION,
            "alertmanager.urls",
        ),
        (alertmanager(|it| it.lasts = seconds(60)), CONTACT_OPTION, "alertmanager.lasts"),
        (
            alertmanager(|it| {
                it.labels.insert("a-b".to_owned(), String::new());
            }),
            CONTACT_OPTION,
            "alertmanager.labels.a-b",
        ),
        (
            alertmanager(|it| {
                it.labels.insert("a".to_owned(), "x\ny".to_owned());
            }),
            LABEL_VALUE,
            "alertmanager.labels.a",
        ),
        (
            alertmanager(|it| {
                it.labels = (0..65).map(|n| (format!("l{n}"), String::new())).collect();
            }),
            LABELS_TOO_MANY,
            "alertmanager.labels",
        ),
        (slack(None, None, ""), CONTACT_OPTIONS_CLASH, "slack"),
        (slack(url(), secret("xoxb"), "#ops"), CONTACT_OPTIONS_CLASH, "slack"),
        (slack(url(), None, "#ops"), CONTACT_OPTIONS_CLASH, "slack"),
        (slack(None, secret("xoxb"), ""), MISSING_FIELD, "slack.channel"),
        (slack(None, secret("xoxb"), "${env:A}"), REFERENCE_NOT_HERE, "slack.channel"),
        (
            Kind::Ntfy(v1::NtfyContact { url: url(), priority: 6, ..Default::default() }),
            CONTACT_OPTION,
            "ntfy.priority",
        ),
        (Kind::Ntfy(v1::NtfyContact::default()), MISSING_FIELD, "ntfy.url"),
        (Kind::Discord(v1::DiscordContact::default()), MISSING_FIELD, "discord.url"),
        (
            Kind::Telegram(v1::TelegramContact { chat_id: "1".to_owned(), ..Default::default() }),
            MISSING_FIELD,
            "telegram.token",
        ),
        (
            Kind::Telegram(v1::TelegramContact { token: secret("t"), ..Default::default() }),
            MISSING_FIELD,
            "telegram.chat_id",
        ),
        (
            Kind::Telegram(v1::TelegramContact {
                token: secret("t"),
                chat_id: "a\nb".to_owned(),
                ..Default::default()
            }),
            CONTACT_OPTION,
            "telegram.chat_id",
        ),
        (
            Kind::Opsgenie(v1::OpsgenieContact {
                api_key: secret("k"),
                priority: "P9".to_owned(),
                ..Default::default()
            }),
            ENUM_UNKNOWN,
            "opsgenie.priority",
        ),
        (Kind::Opsgenie(v1::OpsgenieContact::default()), MISSING_FIELD, "opsgenie.api_key"),
        (Kind::Teams(v1::TeamsContact::default()), MISSING_FIELD, "teams.url"),
    ]
}

#[test]
fn each_row_breaks_its_rule_at_its_field() {
    for (kind, rule, field) in broken() {
        let found = validate_contact(&normal(named(kind)));
        let found: Vec<_> = found.iter().map(|v| (v.rule, v.field.as_str())).collect();
        assert_eq!(found, [(rule, field)]);
    }
}

#[test]
fn each_kind_can_be_compared_and_shown_by_each_of_its_options() {
    use crate::convert::fields::diff_contacts;
    let rows = |before: &v1::Contact, after: &v1::Contact| {
        let changes = diff_contacts(before, after);
        changes.into_iter().map(|it| (it.field, it.before, it.after)).collect::<Vec<_>>()
    };
    let row = |field: &str, before: &str, after: &str| {
        (field.to_owned(), before.to_owned(), after.to_owned())
    };
    let before = v1::WebhookContact { url: secret("https://a"), ..Default::default() };
    let after = v1::WebhookContact {
        headers: vec![v1::Header { name: "x-a".to_owned(), value: secret("${env:A}") }],
        signing_secrets: vec![written("${env:NEW}"), written("${env:OLD}")],
        template: "{{ mesh }}".to_owned(),
        content_type: "text/plain".to_owned(),
        timeout: seconds(5),
        ..before.clone()
    };
    assert_eq!(
        rows(&named(Kind::Webhook(before)), &named(Kind::Webhook(after))),
        [
            row("webhook.content_type", "", "text/plain"),
            row("webhook.headers.x-a", "", "\"${env:A}\""),
            row("webhook.signing_secrets", "", "[\"${env:NEW}\", \"${env:OLD}\"]"),
            row("webhook.template", "", "\"{{ mesh }}\""),
            row("webhook.timeout", "", "5s"),
        ]
    );
    let before = v1::AlertmanagerContact::default();
    let after = v1::AlertmanagerContact {
        urls: vec![written("http://a"), written("http://b")],
        labels: [("team".to_owned(), "sre".to_owned())].into(),
        lasts: seconds(86_400),
        ..before.clone()
    };
    assert_eq!(
        rows(&named(Kind::Alertmanager(before)), &named(Kind::Alertmanager(after))),
        [
            row("alertmanager.labels.team", "", "sre"),
            row("alertmanager.lasts", "", "1d"),
            row("alertmanager.urls", "", "[http://a, http://b]"),
        ]
    );
    let before = named(Kind::Email(mail(|_| {})));
    let after = named(Kind::Email(mail(|it| {
        it.to.push("Boss <boss@example.com>".to_owned());
        (it.username, it.password) = (secret("me"), secret("${env:MAIL_PASSWORD}"));
        it.reply_to = "ops@example.com".to_owned();
    })));
    assert_eq!(
        rows(&before, &after),
        [
            row("email.password", "", "\"${env:MAIL_PASSWORD}\""),
            row("email.reply_to", "", "ops@example.com"),
            row("email.to", "[ops@example.com]", "[ops@example.com, Boss <boss@example.com>]"),
            row("email.username", "", "me"),
        ]
    );
    let ntfy = |priority| named(Kind::Ntfy(v1::NtfyContact { priority, ..Default::default() }));
    assert_eq!(rows(&ntfy(4), &ntfy(5)), [row("ntfy.priority", "4", "5")]);
}
