use std::collections::BTreeMap;

use parallax_common::page_template;
use parallax_proto::convert::contact::written;
use parallax_proto::v1;
use serde_json::{Value, json};

use super::*;
use crate::notify::body::{About, RegionSays, StormSays};

mod everywhere;
mod own_words;

const KEY: &str = "0190-incident:0190-contact:opened";
/// 2026-11-20T12:38:56.9Z.
const OPENED_NS: i64 = 1_795_178_336_900_000_000;

fn page(kind: &'static str) -> Page {
    let over = !matches!(kind, "opened" | "escalated" | "reminder");
    let says = |region: &str, state, reason: Option<&str>| RegionSays {
        region: region.to_owned(),
        probe: "p1".to_owned(),
        state,
        reason: reason.map(str::to_owned),
        evidence: reason.map(|_| "a<b & \"c\"".to_owned()),
        since: Some("2026-11-20T12:38:56Z".to_owned()),
        advisory: false,
        probes: Vec::new(),
    };
    Page {
        version: 1,
        kind,
        idempotency_key: KEY.to_owned(),
        mesh: "prod".to_owned(),
        summary: "checkout is down: 1 of 2 regions fail".to_owned(),
        sentences: vec!["One <sentence>.".to_owned(), "Another.".to_owned()],
        verdict: "down",
        incident: About {
            uid: "0190-incident".to_owned(),
            kind: "down",
            namespace: "default".to_owned(),
            check: Some("checkout".to_owned()),
            region: None,
            opened_at: Some("2026-11-20T12:38:56Z".to_owned()),
            resolved_at: over.then(|| "2026-11-20T12:40:00Z".to_owned()),
            cause: over.then(|| "recovered".to_owned()),
            severity: None,
            insecure: false,
        },
        regions: vec![says("eu-west", "fail", Some("timeout")), says("ap-south", "pass", None)],
        runbook: "https://wiki.example/x|y".to_owned(),
        acknowledge_url: None,
        labels: BTreeMap::from([("team".to_owned(), "payments".to_owned())]),
        storm: None,
        written: UtcTime::from_ns(if over { 1_795_178_400_500_000_000 } else { OPENED_NS }),
    }
}

fn values(options: &[(&'static str, &str)]) -> Resolved {
    let mut values = Resolved::default();
    for (name, value) in options {
        values.options.entry(name).or_default().push((*value).to_owned());
    }
    values
}

/// What a contact is asked, after another.
fn calls(kind: &Kind, page: &Page, values: &Resolved, receipt: &str) -> Vec<Call> {
    let now = UtcTime::from_ns(1_614_265_330 * 1_000_000_000);
    let telling = Telling { page, key: KEY, receipt, now, values };
    match plan(kind, &telling).unwrap() {
        Plan::InTurn(calls) | Plan::Any(calls) => calls,
        Plan::Mail(letter) => panic!("{letter:?}"),
    }
}

fn body(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

fn header<'a>(call: &'a Call, name: &str) -> Option<&'a str> {
    let mut lines = call.headers.iter().rev();
    lines.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn answer(status: u16, body: &str) -> Answer {
    let body = body.as_bytes().to_vec();
    Answer { status, retry_after: None, location: None, body, whole: true }
}

const OPENED: [&str; 2] = [
    "eu-west: fail, timeout (a<b & \"c\"), since 2026-11-20T12:38:56Z",
    "ap-south: pass, since 2026-11-20T12:38:56Z",
];

#[test]
fn example_pages_of_templates_have_the_fields_of_pages() {
    fn shape(value: &Value) -> Vec<String> {
        let mut names = Vec::new();
        if let Value::Object(fields) = value {
            for (name, value) in fields {
                names.push(name.clone());
                if name != "labels" {
                    names.extend(shape(value).into_iter().map(|inner| format!("{name}.{inner}")));
                }
            }
        }
        if let Value::Array(items) = value {
            names.extend(items.first().map(shape).unwrap_or_default());
        }
        names
    }
    let real = serde_json::to_value(page("opened")).unwrap();
    let example = &page_template::example_pages()[0];
    let sorted = |value: &Value| {
        let mut names = shape(value);
        names.sort();
        names
    };
    assert_eq!(sorted(example), sorted(&real), "bring samples.json up to date");
}

#[test]
fn a_request_is_signed_as_standard_webhooks_has_it() {
    // The example of its documents.
    let template = "{\"test\": 2432232314}".to_owned();
    let kind = Kind::Webhook(v1::WebhookContact {
        template,
        content_type: "application/json".to_owned(),
        ..Default::default()
    });
    let page = page("opened");
    let key = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let values = values(&[
        ("url", "https://x.example/"),
        ("signing_secrets", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("signing_secrets", "an older one"),
    ]);
    let now = UtcTime::from_ns(1_614_265_330_999_999_999);
    let telling = Telling { page: &page, key, receipt: "", now, values: &values };
    let Ok(Plan::InTurn(calls)) = plan(&kind, &telling) else { panic!("no plan") };
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(header(call, "webhook-id"), Some(key));
    assert_eq!(header(call, "webhook-timestamp"), Some("1614265330"));
    let signed = header(call, "webhook-signature").unwrap();
    let signatures: Vec<&str> = signed.split(' ').collect();
    assert_eq!(signatures.len(), 2, "{signed}");
    assert_eq!(signatures[0], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_ne!(signatures[0], signatures[1]);
    // Without a secret there is no signature, and a broken key is the contact's mistake.
    let unsigned = super::tests::values(&[("url", "https://x.example/")]);
    assert_eq!(header(&super::tests::calls(&kind, &page, &unsigned, "")[0], "webhook-id"), None);
    let broken = super::tests::values(&[("signing_secrets", "whsec_?")]);
    let telling = Telling { values: &broken, ..telling };
    assert!(plan(&kind, &telling).unwrap_err().starts_with("config_error: signing_secrets"));
}

#[test]
fn a_webhook_says_what_its_template_says_and_never_nothing() {
    let values = values(&[("url", "https://x.example/")]);
    let with = |template: &str| {
        let kind = Kind::Webhook(v1::WebhookContact {
            template: template.to_owned(),
            content_type: "text/plain".to_owned(),
            ..Default::default()
        });
        let call = calls(&kind, &page("opened"), &values, "").remove(0);
        let text = String::from_utf8(call.body.clone()).unwrap();
        assert_eq!(call.note.is_empty(), !template.contains("nofilter"), "{}", call.note);
        (text, header(&call, "content-type").unwrap().to_owned())
    };
    let said = with("{{ incident.check }}: {{ labels.team }}/{{ labels.nobody }}");
    assert_eq!(said, ("checkout: payments/".to_owned(), "text/plain".to_owned()));
    // One that fails over this page: the page as it is.
    let (text, content_type) = with("{{ summary|nofilter }}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["version"], 1);
    assert_eq!(content_type, "application/json");
}

#[test]
fn pagerduty_triggers_and_resolves_under_one_key() {
    let kind = Kind::Pagerduty(v1::PagerDutyContact {
        severity: "warning".to_owned(),
        ..Default::default()
    });
    let values = values(&[("url", "https://events.pagerduty.com/"), ("routing_key", "R0\n")]);
    let asked = |said: &'static str| calls(&kind, &page(said), &values, "");
    let opened = asked("opened");
    assert_eq!(opened[0].url, "https://events.pagerduty.com/v2/enqueue");
    let trigger = json!({
        "routing_key": "R0",
        "event_action": "trigger",
        "dedup_key": "0190-incident:0190-contact",
        "client": "Parallax",
        "payload": {
            "summary": "checkout is down: 1 of 2 regions fail",
            "source": "checkout",
            "severity": "warning",
            "component": "checkout",
            "group": "default",
            "class": "down",
            "timestamp": "2026-11-20T12:38:56Z",
            "custom_details": {
                "sentences": ["One <sentence>.", "Another."],
                "regions": OPENED,
                "labels": {"team": "payments"},
                "mesh": "prod",
                "incident": "0190-incident",
                "runbook": "https://wiki.example/x|y",
            },
        },
        "links": [{"href": "https://wiki.example/x|y", "text": "Runbook"}],
    });
    assert_eq!(body(&opened[0]), trigger);
    let resolve = json!({
        "routing_key": "R0",
        "event_action": "resolve",
        "dedup_key": "0190-incident:0190-contact",
    });
    let resolved = asked("resolved");
    assert_eq!((resolved.len(), body(&resolved[0])), (1, resolve.clone()));
    for both in ["combined", "test"] {
        let both = asked(both);
        assert_eq!(both.len(), 2);
        assert_eq!(
            (&body(&both[0])["event_action"], body(&both[1])),
            (&json!("trigger"), resolve.clone())
        );
    }
}

#[test]
fn an_alert_has_the_same_labels_at_its_end_and_an_end_far_ahead_before() {
    let kind = Kind::Alertmanager(v1::AlertmanagerContact {
        urls: vec![written("http://a"), written("http://b")],
        labels: [("team".to_owned(), "sre".to_owned()), ("source".to_owned(), "px".to_owned())]
            .into(),
        lasts: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        ..Default::default()
    });
    let values = values(&[("urls", "http://a/"), ("urls", "http://b/am")]);
    let mut opened = page("opened");
    opened.labels.insert("k8s.io/name-1".to_owned(), "x".to_owned());
    opened.labels.insert("1st".to_owned(), "y".to_owned());
    let asked = calls(&kind, &opened, &values, "");
    let urls: Vec<&str> = asked.iter().map(|call| call.url.as_str()).collect();
    assert_eq!(urls, ["http://a/api/v2/alerts", "http://b/am/api/v2/alerts"]);
    let expected = json!([{
        "labels": {
            "alertname": "parallax_down",
            "mesh": "prod",
            "namespace": "default",
            "check": "checkout",
            "incident": "0190-incident",
            "team": "sre",
            "source": "px",
            "k8s_io_name_1": "x",
            "_1st": "y",
        },
        "annotations": {
            "summary": "checkout is down: 1 of 2 regions fail",
            "description": "One <sentence>.\nAnother.",
            "regions": OPENED.join("\n"),
            "runbook_url": "https://wiki.example/x|y",
        },
        "startsAt": "2026-11-20T12:38:56Z",
        "endsAt": "2026-11-21T12:38:56Z",
    }]);
    assert_eq!(body(&asked[0]), expected);
    let mut over = page("resolved");
    over.labels = opened.labels.clone();
    let over = body(&calls(&kind, &over, &values, "")[0]);
    assert_eq!(over[0]["labels"], expected[0]["labels"]);
    assert_eq!(over[0]["endsAt"], "2026-11-20T12:40:00Z");
    // An Alertmanager tells nobody of what has ended when it comes: 10 minutes after it was sent it does.
    for said in ["combined", "test"] {
        let over = body(&calls(&kind, &page(said), &values, "")[0]);
        assert_eq!(over[0]["endsAt"], "2021-02-25T15:12:10Z", "{said}");
    }
}

#[test]
fn a_message_to_slack_says_who_sees_it_and_the_end_answers_in_its_thread() {
    let bot = Kind::Slack(v1::SlackContact {
        token: Some(written("${env:T}")),
        channel: "#ops".to_owned(),
        ..Default::default()
    });
    let values = values(&[("api_url", "https://slack.com/api"), ("token", "xoxb-1")]);
    let opened = calls(&bot, &page("opened"), &values, "").remove(0);
    assert_eq!(opened.url, "https://slack.com/api/chat.postMessage");
    assert_eq!(header(&opened, "authorization"), Some("Bearer xoxb-1"));
    let section = |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let expected = json!({
        "channel": "#ops",
        "text": "DOWN: checkout is down: 1 of 2 regions fail",
        "unfurl_links": false,
        "blocks": [
            {"type": "header", "text": {
                "type": "plain_text",
                "text": ":red_circle: DOWN: checkout is down: 1 of 2 regions fail",
                "emoji": true,
            }},
            section("One &lt;sentence&gt;.\nAnother."),
            section(
                "\u{2022} eu-west: fail, timeout (a&lt;b &amp; \"c\"), since 2026-11-20T12:38:56Z\n\
                 \u{2022} ap-south: pass, since 2026-11-20T12:38:56Z",
            ),
            section("<https://wiki.example/x%7Cy|Runbook>"),
            {"type": "context", "elements": [{
                "type": "mrkdwn",
                "text": "mesh prod, incident 0190-incident  team=payments",
            }]},
        ],
    });
    assert_eq!(body(&opened), expected);
    let over = body(&calls(&bot, &page("resolved"), &values, "C024:15.0002").remove(0));
    assert_eq!((&over["channel"], &over["thread_ts"]), (&json!("C024"), &json!("15.0002")));
    assert_eq!(
        over["reply_broadcast"],
        json!(true),
        "who reads only the channel sees that it is over"
    );
    // So does what is said meanwhile; reminders are for those who follow the thread, unless they name what has
    // joined a storm.
    for (said, storm, broadcast) in [
        ("escalated", false, Some(json!(true))),
        ("reminder", false, None),
        ("reminder", true, Some(json!(true))),
    ] {
        let mut page = page(said);
        page.storm = storm.then(|| StormSays { gathered: 9, ended: 0, incidents: Vec::new() });
        let sent = body(&calls(&bot, &page, &values, "C024:15.0002").remove(0));
        assert_eq!((&sent["channel"], &sent["thread_ts"]), (&json!("C024"), &json!("15.0002")));
        assert_eq!(sent.get("reply_broadcast").cloned(), broadcast, "{said}");
    }
    // Without a receipt it stands alone, and so it does with an incoming webhook.
    let alone = body(&calls(&bot, &page("resolved"), &values, "").remove(0));
    assert_eq!((&alone["channel"], alone.get("thread_ts")), (&json!("#ops"), None));
    let hook = Kind::Slack(v1::SlackContact { url: Some(written("u")), ..Default::default() });
    let values = super::tests::values(&[("url", "https://hooks.slack.com/services/T/B/x")]);
    let posted = calls(&hook, &page("resolved"), &values, "C024:15.0002").remove(0);
    assert_eq!(posted.url, "https://hooks.slack.com/services/T/B/x");
    assert_eq!((body(&posted).get("thread_ts"), header(&posted, "authorization")), (None, None));
}

#[test]
fn slack_is_understood_by_what_it_says_and_not_by_its_status() {
    let bot = Kind::Slack(v1::SlackContact { token: Some(written("t")), ..Default::default() });
    let call = calls(&bot, &page("opened"), &values(&[]), "").remove(0);
    let refused =
        |why: &str, lasting| Report::Refused { why: why.to_owned(), lasting, retry_after: None };
    let taken = |receipt: &str| Report::Taken { receipt: receipt.to_owned(), note: String::new() };
    let long = format!("{{\"ok\":true,\"channel\":\"{}\",\"ts\":\"1.2\"}}", "C".repeat(200));
    let table = [
        (r#"{"ok":true,"channel":"C1","ts":"1.2","message":{}}"#, taken("C1:1.2")),
        (r#"{"ok":true}"#, taken("")),
        (r#"{"ok":true,"channel":"<C1>","ts":"1.2"}"#, taken("")),
        (long.as_str(), taken("")),
        (
            r#"{"ok":false,"error":"channel_not_found"}"#,
            refused("Slack says channel_not_found", true),
        ),
        (r#"{"ok":false,"error":"ratelimited"}"#, refused("Slack says ratelimited", false)),
        (r#"{}"#, refused("Slack says no error is named", true)),
        ("<html>", Report::Ambiguous("the answer cannot be read".into())),
    ];
    for (said, report) in table {
        assert_eq!(call.report(&answer(200, said)), report, "{said}");
    }
    let cut = Answer { whole: false, ..answer(200, r#"{"ok":true}"#) };
    assert!(matches!(call.report(&cut), Report::Ambiguous(_)));
    assert!(matches!(call.report(&answer(503, "")), Report::Answered { status: 503, .. }));
}

#[test]
fn ntfy_is_told_at_the_server_of_its_topic() {
    let kind = Kind::Ntfy(v1::NtfyContact { priority: 4, ..Default::default() });
    let said = |kind: &Kind, said: &'static str, url: &str| {
        let values = values(&[("url", url), ("token", "tk_1")]);
        calls(kind, &page(said), &values, "").remove(0)
    };
    let opened = said(&kind, "opened", "https://ntfy.sh/ops-1/");
    assert_eq!(opened.url, "https://ntfy.sh/");
    assert_eq!(header(&opened, "authorization"), Some("Bearer tk_1"));
    let sent = body(&opened);
    assert_eq!(sent["topic"], "ops-1");
    assert_eq!((&sent["priority"], &sent["tags"]), (&json!(4), &json!(["rotating_light"])));
    assert_eq!(sent["click"], "https://wiki.example/x|y");
    assert!(sent["message"].as_str().unwrap().contains(OPENED[0]), "{sent}");
    let over = body(&said(&kind, "resolved", "http://host:1/a/ops"));
    assert_eq!((&over["priority"], &over["topic"]), (&json!(3), &json!("ops")));
    for bad in ["https://ntfy.sh", "https://ntfy.sh/", "", "https://ntfy.sh/a?b"] {
        let values = values(&[("url", bad)]);
        let page = page("opened");
        let now = UtcTime::default();
        let telling = Telling { page: &page, key: KEY, receipt: "", now, values: &values };
        assert!(plan(&kind, &telling).unwrap_err().starts_with("config_error: url"), "{bad}");
    }
    let mut long = page("opened");
    long.sentences = vec!["\u{20ac}".repeat(5_000)];
    let values = super::tests::values(&[("url", "https://ntfy.sh/x")]);
    let sent = body(&calls(&kind, &long, &values, "").remove(0));
    let message = sent["message"].as_str().unwrap();
    assert!((3_900..=4_000).contains(&message.len()), "{}", message.len());
    assert!(message.contains('\u{2026}'));
}

#[test]
fn discord_calls_nobody_and_says_how_long_to_wait() {
    let kind = Kind::Discord(v1::DiscordContact::default());
    let call = calls(&kind, &page("opened"), &values(&[("url", "https://discord.com/api/x")]), "");
    let sent = body(&call[0]);
    assert_eq!(sent["allowed_mentions"], json!({"parse": []}));
    let embed = &sent["embeds"][0];
    assert_eq!(embed["title"], "DOWN: checkout is down: 1 of 2 regions fail");
    assert_eq!(embed["color"], 0xd0_2020);
    assert!(embed["description"].as_str().unwrap().contains("Runbook: https://wiki.example/x|y"));
    let limited = call[0].report(&answer(429, "{\"message\": \"slow\", \"retry_after\": 1.5}"));
    let Report::Answered { status: 429, retry_after, .. } = limited else { panic!("{limited:?}") };
    assert_eq!(retry_after, Some(Duration::from_millis(1_500)));
    assert!(matches!(call[0].report(&answer(204, "")), Report::Answered { status: 204, .. }));
}

#[test]
fn telegram_answers_its_own_message_and_is_understood_in_its_words() {
    let kind =
        Kind::Telegram(v1::TelegramContact { chat_id: "-100".to_owned(), ..Default::default() });
    let values = values(&[("url", "https://api.telegram.org"), ("token", "12:ab")]);
    let opened = calls(&kind, &page("opened"), &values, "").remove(0);
    assert_eq!(opened.url, "https://api.telegram.org/bot12:ab/sendMessage");
    let sent = body(&opened);
    assert_eq!((&sent["chat_id"], sent.get("parse_mode")), (&json!("-100"), None));
    assert!(sent["text"].as_str().unwrap().starts_with("DOWN: checkout is down"), "{sent}");
    let reply = json!({"message_id": 77, "allow_sending_without_reply": true});
    for later in ["escalated", "reminder", "resolved"] {
        let sent = body(&calls(&kind, &page(later), &values, "77").remove(0));
        assert_eq!(sent["reply_parameters"], reply, "{later}");
    }
    assert_eq!(sent.get("reply_parameters"), None);
    let said = opened.report(&answer(200, r#"{"ok":true,"result":{"message_id":77}}"#));
    assert_eq!(said, Report::Taken { receipt: "77".to_owned(), note: String::new() });
    let limited = r#"{"ok":false,"description":"Too Many","parameters":{"retry_after":9}}"#;
    let detail = "Too Many".to_owned();
    let retry_after = Some(Duration::from_secs(9));
    let expected = Report::Answered { status: 429, retry_after, detail };
    assert_eq!(opened.report(&answer(429, limited)), expected);
    assert!(matches!(opened.report(&answer(200, "what?")), Report::Ambiguous(_)));
    let mut long = page("opened");
    long.sentences = vec!["x".repeat(9_000)];
    let sent = body(&calls(&kind, &long, &values, "").remove(0));
    assert_eq!(sent["text"].as_str().unwrap().chars().count(), 4_096);
}

#[test]
fn opsgenie_opens_and_closes_one_alias() {
    let kind =
        Kind::Opsgenie(v1::OpsgenieContact { priority: "P3".to_owned(), ..Default::default() });
    let values = values(&[("url", "https://api.eu.opsgenie.com"), ("api_key", "g1")]);
    let asked = |said: &'static str| calls(&kind, &page(said), &values, "");
    let opened = asked("opened");
    assert_eq!(opened[0].url, "https://api.eu.opsgenie.com/v2/alerts");
    assert_eq!(header(&opened[0], "authorization"), Some("GenieKey g1"));
    let sent = body(&opened[0]);
    assert_eq!(sent["alias"], "0190-incident:0190-contact");
    assert_eq!((&sent["priority"], &sent["tags"]), (&json!("P3"), &json!(["team=payments"])));
    let close = asked("resolved");
    assert_eq!(
        close[0].url,
        "https://api.eu.opsgenie.com/v2/alerts/0190-incident:0190-contact/close?identifierType=alias"
    );
    let both: Vec<String> = asked("combined").into_iter().map(|call| call.url).collect();
    assert_eq!(both, [opened[0].url.clone(), close[0].url.clone()]);
}

#[test]
fn teams_gets_a_card() {
    let kind = Kind::Teams(v1::TeamsContact::default());
    let sent =
        body(&calls(&kind, &page("opened"), &values(&[("url", "https://x.example")]), "")[0]);
    let card = &sent["attachments"][0]["content"];
    assert_eq!(sent["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(card["body"][0]["color"], "Attention");
    assert_eq!(card["body"][1]["text"], "One <sentence>.\n\nAnother.");
    assert_eq!(card["actions"][0]["url"], "https://wiki.example/x|y");
    let mut page = page("resolved");
    page.summary = "a_b [c](d)".to_owned();
    let sent = body(&calls(&kind, &page, &values(&[]), "")[0]);
    let title = &sent["attachments"][0]["content"]["body"][0];
    assert_eq!(title["text"], "RESOLVED: a\\_b \\[c\\](d)");
}

#[test]
fn a_long_list_of_regions_says_how_many_more_there_are() {
    let mut page = page("opened");
    page.regions = vec![page.regions[1].clone(); 20];
    let lines = words::regions(&page);
    assert_eq!((lines.len(), lines.last().map(String::as_str)), (17, Some("and 4 more")));
    assert_eq!(words::cut("abc", 3), "abc");
    assert_eq!(words::cut("abcd", 3), "ab\u{2026}");
}

#[test]
fn what_is_escalated_or_said_again_goes_on_and_is_no_end() {
    let pagerduty = Kind::Pagerduty(v1::PagerDutyContact {
        severity: "critical".to_owned(),
        ..Default::default()
    });
    let opsgenie = Kind::Opsgenie(v1::OpsgenieContact::default());
    let options = values(&[("url", "https://x.example/"), ("routing_key", "R"), ("api_key", "K")]);
    for kind in ["opened", "escalated", "reminder"] {
        let asked = calls(&pagerduty, &page(kind), &options, "");
        assert_eq!(asked.len(), 1, "{kind}");
        assert_eq!(body(&asked[0])["event_action"], "trigger", "{kind}");
        let asked = calls(&opsgenie, &page(kind), &options, "");
        assert_eq!((asked.len(), asked[0].url.as_str()), (1, "https://x.example/v2/alerts"));
        assert_eq!(words::tone(&page(kind)), words::Tone::Open);
    }
    let marks = ["opened", "escalated", "reminder"].map(|kind| words::mark(&page(kind)));
    assert_eq!(marks, ["DOWN", "ESCALATED", "STILL OPEN"]);
}

#[test]
fn down_is_said_of_what_is_down_and_of_nothing_else() {
    #[rustfmt::skip]
    let table = [
        // kind, severity, opened, combined
        ("down",            None,             "DOWN",     "WAS DOWN"),
        ("down",            Some("critical"), "DOWN",     "WAS DOWN"),
        ("down",            Some("warning"),  "WARNING",  "WAS DOWN"),
        ("region_silent",   None,             "DOWN",     "WAS DOWN"),
        ("leaderless",      Some("critical"), "DOWN",     "WAS DOWN"),
        ("region_excluded", Some("warning"),  "WARNING",  "IS OVER"),
        ("latency",         Some("critical"), "CRITICAL", "IS OVER"),
        ("error_rate",      Some("critical"), "CRITICAL", "IS OVER"),
        ("burn_rate",       Some("info"),     "INFO",     "IS OVER"),
        ("certificate",     Some("warning"),  "WARNING",  "IS OVER"),
        ("regional",        Some("warning"),  "WARNING",  "IS OVER"),
        ("warning",         Some("critical"), "CRITICAL", "IS OVER"),
    ];
    for (kind, severity, opened, combined) in table {
        let marked = |said| {
            let mut page = page(said);
            page.incident = About { kind, severity, ..page.incident };
            words::mark(&page)
        };
        assert_eq!((marked("opened"), marked("combined")), (opened, combined), "{kind}");
    }
}

#[test]
fn severity_is_told_in_each_kinds_own_words() {
    // What the contact says, what the incident is, what PagerDuty is told: the milder of both.
    for (contact, incident, told) in [
        ("critical", None, "critical"),
        ("critical", Some("critical"), "critical"),
        ("critical", Some("warning"), "warning"),
        ("critical", Some("info"), "info"),
        ("error", Some("critical"), "error"),
        ("error", Some("warning"), "warning"),
        ("info", Some("warning"), "info"),
    ] {
        let kind = Kind::Pagerduty(v1::PagerDutyContact {
            severity: contact.to_owned(),
            ..Default::default()
        });
        let mut page = page("opened");
        page.incident.severity = incident;
        let asked = calls(&kind, &page, &values(&[("routing_key", "R")]), "");
        assert_eq!(body(&asked[0])["payload"]["severity"], told, "{contact} and {incident:?}");
    }
    let lasts = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let kind = Kind::Alertmanager(v1::AlertmanagerContact { lasts, ..Default::default() });
    let label = |page: &Page| {
        let asked = calls(&kind, page, &values(&[("urls", "http://a.example")]), "");
        body(&asked[0])[0]["labels"]["severity"].clone()
    };
    let mut warning = page("opened");
    assert_eq!(label(&warning), Value::Null, "of an incident from before there was a choice");
    warning.incident.severity = Some("warning");
    assert_eq!(label(&warning), "warning");
    assert_eq!(words::headline(&warning), "WARNING: checkout is down: 1 of 2 regions fail");
    warning.labels.insert("severity".to_owned(), "page".to_owned());
    assert_eq!(label(&warning), "page", "a label of the check comes first");
    let slack = Kind::Slack(v1::SlackContact::default());
    let asked = calls(&slack, &warning, &values(&[("url", "http://s.example")]), "");
    let header = body(&asked[0])["blocks"][0]["text"]["text"].clone();
    assert!(header.as_str().unwrap().starts_with(":large_orange_circle: WARNING"), "{header}");
}

#[test]
fn a_link_to_acknowledge_is_where_each_kind_has_links() {
    let mut page = page("opened");
    let url = "https://p.example/ack/0190/0191.00";
    page.acknowledge_url = Some(url.to_owned());
    let options =
        values(&[("url", "http://s.example/t"), ("urls", "http://a.example"), ("token", "t")]);
    let lasts = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    for kind in [
        Kind::Slack(v1::SlackContact::default()),
        Kind::Pagerduty(v1::PagerDutyContact::default()),
        Kind::Alertmanager(v1::AlertmanagerContact { lasts, ..Default::default() }),
        Kind::Teams(v1::TeamsContact::default()),
        Kind::Discord(v1::DiscordContact::default()),
        Kind::Telegram(v1::TelegramContact::default()),
        Kind::Ntfy(v1::NtfyContact::default()),
        Kind::Opsgenie(v1::OpsgenieContact::default()),
    ] {
        let asked = calls(&kind, &page, &options, "");
        let text = String::from_utf8(asked[0].body.clone()).unwrap();
        assert!(text.contains(url), "{kind:?}: {text}");
    }
    let mail = String::from_utf8(letter(email_contact(), &page, KEY, "").content).unwrap();
    let mail = mail.replace("=\r\n", "").replace("=3D", "=");
    assert!(mail.contains(&format!("<a href=\"{url}\">Acknowledge</a>")), "{mail}");
}

#[test]
fn a_storm_is_told_in_each_kinds_own_form_with_the_checks_that_it_is_about() {
    let summary = "4 checks are down: web-1, web-2, web-3 and 1 more";
    let listed = "They are web-1, web-2, web-3 and web-4.";
    let mut page = page("opened");
    (page.summary, page.sentences) = (summary.to_owned(), vec![listed.to_owned()]);
    (page.incident.kind, page.incident.check) = ("storm", None);
    page.storm = Some(StormSays { gathered: 4, ended: 0, incidents: vec![] });
    let options =
        values(&[("url", "http://s.example/t"), ("urls", "http://a.example"), ("token", "t")]);
    let lasts = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    for kind in [
        Kind::Webhook(v1::WebhookContact::default()),
        Kind::Slack(v1::SlackContact::default()),
        Kind::Pagerduty(v1::PagerDutyContact::default()),
        Kind::Alertmanager(v1::AlertmanagerContact { lasts, ..Default::default() }),
        Kind::Teams(v1::TeamsContact::default()),
        Kind::Discord(v1::DiscordContact::default()),
        Kind::Telegram(v1::TelegramContact::default()),
        Kind::Ntfy(v1::NtfyContact::default()),
        Kind::Opsgenie(v1::OpsgenieContact::default()),
    ] {
        let asked = calls(&kind, &page, &options, "");
        let call = &asked[0];
        let text = String::from_utf8(call.body.clone()).unwrap();
        let headers = call.headers.iter().any(|(_, value)| value.contains(summary));
        assert!(text.contains(summary) || headers, "{kind:?}: {text}");
        assert!(text.contains(listed), "{kind:?}: {text}");
    }
    let mail = String::from_utf8(letter(email_contact(), &page, KEY, "").content).unwrap();
    let mail = mail.replace("=\r\n", "");
    assert!(mail.contains(listed), "{mail}");
    assert_eq!(words::headline(&page), format!("DOWN: {summary}"));
}

fn email_contact() -> v1::EmailContact {
    v1::EmailContact {
        server: "mail.example:587".to_owned(),
        tls: "starttls".to_owned(),
        from: "Parallax <pages@example.com>".to_owned(),
        to: vec!["ops@example.com".to_owned(), "\"Bo, ß\" <boss@example.com>".to_owned()],
        ..Default::default()
    }
}

fn letter(contact: v1::EmailContact, page: &Page, key: &str, receipt: &str) -> email::Letter {
    let values = values(&[("username", "me"), ("password", "secret")]);
    let now = UtcTime::from_ns(1_614_265_330 * 1_000_000_000);
    let telling = Telling { page, key, receipt, now, values: &values };
    match plan(&Kind::Email(contact), &telling).unwrap() {
        Plan::Mail(letter) => *letter,
        other => panic!("{other:?}"),
    }
}

/// Header lines, unfolded.
fn lines(letter: &email::Letter) -> Vec<String> {
    let text = String::from_utf8(letter.content.clone()).unwrap();
    let head = text.split_once("\r\n\r\n").unwrap().0.replace("\r\n ", " ");
    head.split("\r\n").map(str::to_owned).collect()
}

#[test]
fn a_mail_says_the_same_in_every_attempt_and_its_end_answers_it() {
    let opening = letter(email_contact(), &page("opened"), KEY, "");
    let again = letter(email_contact(), &page("opened"), KEY, "");
    assert_eq!(opening.content, again.content, "byte for byte");
    assert_eq!(
        lines(&opening),
        [
            "Message-ID: <0190-incident.0190-contact.opened@example.com>",
            "Date: Fri, 20 Nov 2026 12:38:56 +0000",
            "From: Parallax <pages@example.com>",
            "Subject: DOWN: checkout is down: 1 of 2 regions fail [prod]",
            "Auto-Submitted: auto-generated",
            "To: ops@example.com, =?utf-8?b?Qm8sIMOf?= <boss@example.com>",
            "MIME-Version: 1.0",
            "Content-Type: multipart/alternative; \
             boundary=\"parallax-749900c129e1a255683974e2565fae06\"",
        ]
    );
    assert_eq!((opening.host.as_str(), opening.port), ("mail.example", 587));
    assert_eq!(opening.id, "<0190-incident.0190-contact.opened@example.com>");
    assert!(opening.credentials.is_none(), "none are configured");
    let text = String::from_utf8(opening.content).unwrap();
    for expected in [
        "Content-Type: text/plain; charset=utf-8",
        "DOWN: checkout is down: 1 of 2 regions fail\r\n\r\nOne <sentence>.\r\nAnother.\r\n",
        "Content-Type: text/html; charset=utf-8",
        "<p>One &lt;sentence&gt;.</p>",
        "<li>eu-west: fail, timeout (a&lt;b &amp; &quot;c&quot;)",
        "<a href=\"https://wiki.example/x|y\">",
        "team=payments",
    ] {
        // Long lines are folded by quoted-printable.
        let unfolded = text.replace("=\r\n", "").replace("=3D", "=");
        assert!(unfolded.contains(expected), "{expected}\n{unfolded}");
    }
    let key = "0190-incident:0190-contact:resolved/again";
    let end = letter(email_contact(), &page("resolved"), key, &opening.id);
    let head = lines(&end);
    for expected in [
        "Message-ID: <0190-incident.0190-contact.resolved.again@example.com>",
        "Date: Fri, 20 Nov 2026 12:40:00 +0000",
        "In-Reply-To: <0190-incident.0190-contact.opened@example.com>",
        "References: <0190-incident.0190-contact.opened@example.com>",
    ] {
        assert!(head.contains(&expected.to_owned()), "{expected}: {head:?}");
    }
    // Also when nobody has kept by what name it was taken.
    assert_eq!(lines(&letter(email_contact(), &page("resolved"), key, "")), head);
    // What comes in between answers the first, and has the date of its own writing.
    for kind in ["escalated", "reminder"] {
        let later = Page { written: UtcTime::from_ns(OPENED_NS + 60_000_000_000), ..page(kind) };
        let key = "0190-incident:0190-contact:reminder/r/1";
        let head = lines(&letter(email_contact(), &later, key, &opening.id));
        for expected in [
            "Date: Fri, 20 Nov 2026 12:39:56 +0000",
            "In-Reply-To: <0190-incident.0190-contact.opened@example.com>",
        ] {
            assert!(head.contains(&expected.to_owned()), "{kind}: {head:?}");
        }
    }
    for kind in ["opened", "combined", "escalated", "test"] {
        let head = lines(&letter(email_contact(), &page(kind), KEY, ""));
        assert!(!head.iter().any(|line| line.starts_with("In-Reply-To")), "{kind}: {head:?}");
    }
}

#[test]
fn a_login_is_not_printed_with_its_mail() {
    let contact = v1::EmailContact {
        username: Some(written("me")),
        password: Some(written("secret")),
        ..email_contact()
    };
    let letter = letter(contact, &page("opened"), KEY, "");
    assert!(letter.hidden.contains(&"secret".to_owned()) || letter.credentials.is_some());
    let shown = format!("{letter:?}");
    assert!(shown.contains("mail.example") && !shown.contains("secret"), "{shown}");
    let hidden = letter.hidden.iter().find(|hidden| shown.contains(hidden.as_str()));
    assert_eq!(hidden, None, "{shown}");
}

#[test]
fn nothing_in_a_page_becomes_a_header_or_a_recipient() {
    let mut page = page("opened");
    page.summary = "x\r\nBcc: evil@example.com\r\n\r\n\u{1}ü".to_owned();
    page.mesh = "m\nX: y".to_owned();
    page.runbook = "javascript:alert(1)".to_owned();
    page.sentences = vec!["</p><script>".to_owned(), ".".to_owned(), "\r\n.\r\n".to_owned()];
    let contact = v1::EmailContact {
        reply_to: "Ops <reply@example.com>".to_owned(),
        tls: "none".to_owned(),
        username: Some(written("me")),
        password: Some(written("secret")),
        ..email_contact()
    };
    let key = "a\r\nb:c:opened";
    let letter = letter(contact, &page, key, "");
    let head = lines(&letter);
    let names: Vec<&str> = head.iter().filter_map(|line| line.split(": ").next()).collect();
    let expected = [
        "Message-ID",
        "Date",
        "From",
        "Subject",
        "Auto-Submitted",
        "To",
        "Reply-To",
        "MIME-Version",
        "Content-Type",
    ];
    assert_eq!(names, expected, "{head:?}");
    assert_eq!(letter.to.len(), 2);
    assert_eq!(letter.id, "<a..b.c.opened@example.com>");
    assert!(letter.credentials.is_none(), "no password without TLS");
    let text = String::from_utf8(letter.content).unwrap();
    let (plain, html) = text.split_once("text/html").unwrap();
    assert!(plain.contains("<script>"), "it is no markup there: {plain}");
    assert!(!html.contains("<script>") && !html.contains("href"), "{html}");
    let long = Page { summary: "é".repeat(5_000), ..page };
    let head = lines(&super::tests::letter(email_contact(), &long, KEY, ""));
    let subject = head.iter().find(|line| line.starts_with("Subject")).unwrap();
    assert!(subject.len() < 2_000, "{}", subject.len());
}
