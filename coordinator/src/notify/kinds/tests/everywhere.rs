//! What every page carries, whatever kind of contact it goes to.

use super::*;

const RUNBOOK: &str = "https://wiki.example/checkout";
const PAGES: [&str; 6] = ["opened", "escalated", "reminder", "resolved", "combined", "test"];

fn contacts() -> Vec<Kind> {
    let lasts = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    vec![
        Kind::Webhook(v1::WebhookContact::default()),
        Kind::Pagerduty(v1::PagerDutyContact::default()),
        Kind::Alertmanager(v1::AlertmanagerContact { lasts, ..Default::default() }),
        Kind::Slack(v1::SlackContact::default()),
        Kind::Email(email_contact()),
        Kind::Ntfy(v1::NtfyContact::default()),
        Kind::Discord(v1::DiscordContact::default()),
        Kind::Telegram(v1::TelegramContact::default()),
        Kind::Opsgenie(v1::OpsgenieContact::default()),
        Kind::Teams(v1::TeamsContact::default()),
    ]
}

/// Whether such a page only closes what its opening has left there, with the runbook and the labels.
/// A new kind of contact has to say so here, and to have its place above.
fn only_closes(kind: &Kind, page: &str) -> bool {
    match kind {
        Kind::Pagerduty(_) | Kind::Opsgenie(_) => page == "resolved",
        Kind::Webhook(_)
        | Kind::Alertmanager(_)
        | Kind::Slack(_)
        | Kind::Email(_)
        | Kind::Ntfy(_)
        | Kind::Discord(_)
        | Kind::Telegram(_)
        | Kind::Teams(_) => false,
    }
}

/// All that is sent, as text.
fn sent(kind: &Kind, page: &Page) -> String {
    let values = values(&[("url", "https://x.example/ops"), ("urls", "https://x.example/")]);
    match kind {
        Kind::Email(contact) => {
            String::from_utf8(letter(contact.clone(), page, KEY, "").content).unwrap()
        }
        kind => {
            let calls = calls(kind, page, &values, "");
            calls.into_iter().map(|call| String::from_utf8(call.body).unwrap()).collect()
        }
    }
}

#[test]
fn every_page_to_every_kind_of_contact_has_the_runbook_and_the_labels() {
    for kind in contacts() {
        for name in PAGES {
            let with = Page { runbook: RUNBOOK.to_owned(), ..page(name) };
            let text = sent(&kind, &with);
            let labels = ["team=payments", "\"team\":\"payments\""];
            let has = (text.contains(RUNBOOK), labels.iter().any(|form| text.contains(form)));
            let expected = !only_closes(&kind, name);
            assert_eq!(has, (expected, expected), "{name} to {kind:?}: {text}");
            // Nothing else in a page looks like them.
            let without = Page { runbook: String::new(), labels: BTreeMap::new(), ..with };
            let text = sent(&kind, &without);
            assert!(!text.contains(RUNBOOK) && !text.contains("payments"), "{text}");
        }
    }
}

#[test]
fn a_page_that_is_too_long_loses_the_end_of_what_happened_and_neither_runbook_nor_labels() {
    // Mail has no such limit, and encodes what is not ASCII.
    for kind in contacts().into_iter().filter(|kind| !matches!(kind, Kind::Email(_))) {
        for letters in ["long ", "l\u{f6}ng\u{2026} "] {
            let sentences = vec![letters.repeat(8_000), "the last of it".to_owned()];
            let long = Page { runbook: RUNBOOK.to_owned(), sentences, ..page("opened") };
            let text = sent(&kind, &long);
            assert!(text.contains(RUNBOOK), "{kind:?}");
            let labels = ["team=payments", "\"team\":\"payments\""];
            assert!(labels.iter().any(|form| text.contains(form)), "{kind:?}");
        }
    }
    let long =
        Page { runbook: "r".repeat(500), sentences: vec!["s".repeat(500)], ..page("opened") };
    for characters in [10, 100, 600, 5_000] {
        let text = words::plain_within(&long, characters);
        assert!(text.chars().count() <= characters, "{characters}: {}", text.chars().count());
        assert!(text.starts_with('s') && text.contains("Run"), "{text}");
    }
    // What fits is left whole, however it is divided.
    for (told, runbook) in [(10, 900), (900, 10)] {
        let page = Page {
            runbook: "r".repeat(runbook),
            sentences: vec!["s".repeat(told)],
            regions: Vec::new(),
            ..page("opened")
        };
        let whole = words::plain(&page);
        assert_eq!(words::plain_within(&page, whole.chars().count()), whole);
        assert!(words::plain_within(&page, whole.chars().count() - 1).contains('\u{2026}'));
    }
}
