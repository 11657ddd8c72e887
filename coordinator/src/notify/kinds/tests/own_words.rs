//! What contacts word themselves, in each kind that has an option for it.

use super::*;

const TEMPLATE: &str = "*{{ summary }}*\n{% for it in regions %}{{ it.region }} {{ it.evidence|default('-', true) }};{% endfor %}\n\
                        {{ labels.team }} <https://x.example/|here>";

/// Each kind of contact that people read, with this template.
fn contacts(template: &str) -> Vec<Kind> {
    let template = template.to_owned();
    vec![
        Kind::Slack(v1::SlackContact { template: template.clone(), ..Default::default() }),
        Kind::Email(v1::EmailContact { template: template.clone(), ..email_contact() }),
        Kind::Ntfy(v1::NtfyContact { template: template.clone(), ..Default::default() }),
        Kind::Discord(v1::DiscordContact { template: template.clone(), ..Default::default() }),
        Kind::Telegram(v1::TelegramContact { template: template.clone(), ..Default::default() }),
        Kind::Teams(v1::TeamsContact { template, ..Default::default() }),
    ]
}

/// The text below the headline, what else is sent, and what the log has to say.
fn told(kind: &Kind, page: &Page) -> (String, String, String) {
    let values = values(&[("url", "https://x.example/ops")]);
    if let Kind::Email(contact) = kind {
        let letter = letter(contact.clone(), page, KEY, "");
        let text = String::from_utf8(letter.content).unwrap().replace("\r\n", "\n");
        return (text.clone(), text, letter.note);
    }
    let call = calls(kind, page, &values, "").remove(0);
    let body = body(&call);
    let text = match kind {
        Kind::Slack(_) => &body["blocks"][1]["text"]["text"],
        Kind::Ntfy(_) => &body["message"],
        Kind::Discord(_) => &body["embeds"][0]["description"],
        Kind::Telegram(_) => &body["text"],
        Kind::Teams(_) => &body["attachments"][0]["content"]["body"][1]["text"],
        other => panic!("{other:?}"),
    };
    (text.as_str().unwrap().to_owned(), body.to_string(), call.note)
}

#[test]
fn a_template_says_what_happened_and_what_a_page_holds_is_no_mark_of_its_kind() {
    let mut page = page("opened");
    page.summary = "check_out is <down> & *out*".to_owned();
    for kind in contacts(TEMPLATE) {
        let (text, all, note) = told(&kind, &page);
        assert_eq!(note, "", "{kind:?}");
        let (summary, evidence, between) = match kind {
            Kind::Slack(_) => ("check_out is &lt;down&gt; &amp; *out*", "a&lt;b &amp; \"c\"", "\n"),
            Kind::Teams(_) => ("check\\_out is <down> & \\*out\\*", "a<b & \"c\"", "\n\n"),
            Kind::Email(_) | Kind::Ntfy(_) | Kind::Discord(_) | Kind::Telegram(_) => {
                ("check_out is <down> & *out*", "a<b & \"c\"", "\n")
            }
            _ => panic!("{kind:?}"),
        };
        // What stands in the template is left as it is.
        let regions = format!("eu-west {evidence};ap-south -;");
        let lines =
            [format!("*{summary}*"), regions, "payments <https://x.example/|here>".to_owned()];
        assert!(text.contains(&lines.join(between)), "{kind:?}: {text}");
        // It takes the place of our words, and of nothing else.
        assert!(!all.contains("Another.") && !all.contains("ap-south: pass"), "{all}");
        assert!(all.contains("DOWN: check") && all.contains("team=payments"), "{all}");
        assert!(all.contains("wiki.example"), "{all}");
        if matches!(kind, Kind::Email(_)) {
            let html = "<p>payments &lt;https://x.example/|here&gt;</p>";
            assert!(all.contains(html), "{all}");
        }
    }
}

#[test]
fn a_page_is_not_lost_over_its_words() {
    for (template, why) in [
        ("{{ summary|nofilter }}", "its template fails over this page: "),
        ("{% if storm %}a storm{% endif %}", "its template makes nothing of this page"),
    ] {
        for kind in contacts(template) {
            let (_, all, note) = told(&kind, &page("opened"));
            assert!(all.contains("Another."), "{kind:?}: {all}");
            assert!(note.starts_with(why), "{kind:?}: {note}");
        }
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_before_the_runbook_and_the_labels() {
    let page = page("opened");
    let long = format!("{}{{{{ summary }}}}", "long ".repeat(1_500));
    // Mail has no such limit, and breaks its lines elsewhere.
    for kind in contacts(&long).into_iter().filter(|kind| !matches!(kind, Kind::Email(_))) {
        let (_, all, _) = told(&kind, &page);
        assert!(all.contains("wiki.example") && all.contains("team=payments"), "{all}");
    }
}

#[test]
fn a_subject_is_one_line_of_what_its_template_says() {
    let subject = |template: &str| {
        let contact = v1::EmailContact { subject: template.to_owned(), ..email_contact() };
        let letter = letter(contact, &page("opened"), KEY, "");
        let lines = lines(&letter);
        let line = lines.iter().find(|line| line.starts_with("Subject: ")).unwrap();
        (line.clone(), letter.note.clone())
    };
    let said = |text: &str| (format!("Subject: {text}"), String::new());
    assert_eq!(subject("[{{ incident.check }}]\n {{ kind }}"), said("[checkout] opened"));
    let ours = subject("");
    assert!(ours.0.starts_with("Subject: DOWN: checkout"), "{ours:?}");
    let (line, note) = subject("{{ summary|nofilter }}");
    assert_eq!(line, ours.0);
    assert!(note.starts_with("its subject fails"), "{note}");
    // No line break in a page makes a header.
    let mut page = page("opened");
    page.summary = "x\r\nBcc: all@example.com".to_owned();
    let contact = v1::EmailContact { subject: "{{ summary }}".to_owned(), ..email_contact() };
    let letter = letter(contact, &page, KEY, "");
    assert!(lines(&letter).iter().all(|line| !line.starts_with("Bcc")), "{:?}", lines(&letter));
}
