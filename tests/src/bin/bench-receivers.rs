//! One outage, told to programs that others have written: a mail server, in plain text, behind STARTTLS and
//! behind TLS with a password, and an Alertmanager. What is in the mailbox and what Alertmanager knows is read
//! there and not here.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use parallax_runtime::clock;
use parallax_tests::bench;
use parallax_tests::bench::alertmanager::Alertmanager;
use parallax_tests::bench::dovecot::{PASSWORD, SERVER_NAME, Submission};
use parallax_tests::bench::figures::{Missed, ms};
use parallax_tests::bench::opensmtpd::{Mailserver, header};
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use serde_json::{Value, json};

const REGION: &str = "eu-west";
const CHECK: &str = "checkout";
/// The contacts of kind `email`; their recipients are of a domain of that name.
const MAILS: [&str; 3] = ["plain", "starttls", "tls"];
/// Recipients of each of them.
const TO: usize = 2;
/// Mails that an outage makes: its beginning and its end, to each recipient.
const MAILS_A_ROUND: usize = 2 * MAILS.len() * TO;

/// Whom a contact of [`MAILS`] tells.
fn recipients(contact: &str) -> [String; TO] {
    ["ops", "night"].map(|who| format!("{who}@{contact}.test"))
}

/// Break and heal a target, and read what real receivers were told.
#[derive(Debug, Parser)]
struct Args {
    /// Outages, one after the other.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Mails in the mailbox below which the bench fails.
    #[arg(long)]
    at_least: Option<f64>,
}

fn main() -> ExitCode {
    bench::main(run(Args::parse()))
}

async fn run(args: Args) -> Result<Value> {
    let load = bench::load_average();
    let mut mesh = Mesh::start(bench::binaries()?, &[REGION]).await?;
    let mail = Mailserver::start(&mesh.dir().join("smtpd.log")).await?;
    let submission = Submission::start(&mesh.dir().join("dovecot.log"), mail.port).await?;
    let manager = Alertmanager::start(mesh.dir()).await?;
    mesh.apply(&yaml(&mail, &submission, &manager, &mesh.target.url())).await?;
    let refusals = refused(&mesh).await?;
    let api = mesh.api().await?;
    until::everybody_passes(&api, CHECK).await?;
    let mut figures = Vec::new();
    for round in 0..args.rounds {
        mesh.target.refuse();
        let broken = clock::instant();
        let alert = firing(&manager).await.with_context(|| format!("round {round}"))?;
        let alert_after = clock::instant().duration_since(broken);
        told(&manager, "firing", round + 1).await?;
        let opened = mails(&mail, round * MAILS_A_ROUND + MAILS_A_ROUND / 2).await?;
        let both_after = clock::instant().duration_since(broken);
        mesh.target.heal()?;
        let healed = clock::instant();
        told(&manager, "resolved", round + 1).await.with_context(|| format!("round {round}"))?;
        let firing = manager.firing().await?;
        ensure!(firing.is_empty(), "{firing:?}");
        let ended = mails(&mail, (round + 1) * MAILS_A_ROUND).await?;
        let incidents = api.incidents_of(CHECK).await?;
        let newest = incidents.iter().max_by_key(|incident| incident.opened_revision);
        let uid = &newest.context("an incident")?.uid;
        judge_alert(&alert, uid)?;
        judge_told(&manager, uid)?;
        for contact in MAILS {
            judge_mails(&opened, &ended, uid, contact)?;
        }
        figures.push(json!({
            "alert_ms": ms(alert_after),
            "both_told_ms": ms(both_after),
            "ended_ms": ms(clock::instant().duration_since(healed)),
        }));
    }
    let incidents = api.incidents_of(CHECK).await?;
    ensure!(incidents.len() == args.rounds, "{} incidents", incidents.len());
    told(&manager, "resolved", args.rounds).await?;
    let mails = mail.mails()?.len();
    ensure!(mails == args.rounds * MAILS_A_ROUND, "{mails} mails of {} outages", args.rounds);
    let mut logins = Vec::new();
    for contact in &MAILS[1..] {
        // A mail to both recipients is one.
        let of = submission.logins(contact)?;
        ensure!(of == args.rounds * 2, "{contact} was let in {of} times for its mails");
        logins.push(of);
    }
    let mut missed = Missed::default();
    missed.at_least("mails", mails as f64, args.at_least);
    mesh.told();
    Ok(json!({
        "bench": "receivers",
        "what": "an outage and its end, told to OpenSMTPD, to Dovecot over TLS, and to Alertmanager",
        "rounds": figures,
        "mails": mails,
        "logins_over_tls": logins,
        "refused": refusals,
        "alerts": args.rounds,
        (bench::LOAD): load,
        "missed": missed.into_json(),
    }))
}

fn yaml(
    mail: &Mailserver,
    submission: &Submission,
    manager: &Alertmanager,
    target: &str,
) -> String {
    let email = |name: &str, port: u16, options: &str| {
        let [one, two] = recipients(name);
        format!(
            "  - name: {name}\n    email: {{server: \"127.0.0.1:{port}\", helo: parallax.test, \
             from: Parallax <pages@parallax.test>, to: [{one}, Night shift <{two}>], {options}}}\n"
        )
    };
    let tls = |name: &str, tls: &str, password: &str, trusted: bool| {
        let port = if tls == "tls" { submission.tls } else { submission.starttls };
        let mut options = format!(
            "tls: {tls}, server_name: {SERVER_NAME}, username: {name}, password: \"{password}\""
        );
        if trusted {
            let pem = submission.authority_pem.replace('\n', "\\n");
            options.push_str(&format!(", ca_pem: \"{pem}\""));
        }
        email(name, port, &options)
    };
    format!(
        "regions: [{{name: {REGION}}}]\ncontacts:\n{}{}{}{}{}  - name: manager\n    \
         alertmanager: {{urls: [\"{}\"], labels: {{team: payments}}}}\nchecks:\n  \
         - {{name: {CHECK}, http: {{url: \"{target}\"}}, interval: 200ms, timeout: 2s, regions: [{REGION}], \
         runbook: \"https://wiki.test/checkout\", alert: [{}, manager]}}\n",
        email(MAILS[0], mail.port, "tls: none"),
        tls(MAILS[1], "starttls", PASSWORD, true),
        tls(MAILS[2], "tls", PASSWORD, true),
        tls(REFUSED[0].0, "starttls", "another", true),
        tls(REFUSED[1].0, "tls", PASSWORD, false),
        manager.url(),
        MAILS.join(", "),
    )
}

/// Contacts that the server, or the coordinator, has to refuse, and what is said of it.
const REFUSED: [(&str, &str); 2] = [("stranger", "535"), ("untrusted", "certificate")];

/// A test page to each of [`REFUSED`] fails, and its owner is told why.
async fn refused(mesh: &Mesh) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for (contact, word) in REFUSED {
        let output = mesh.px(&["contact", "test", contact]).await?;
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{contact} was told: {text}");
        let line = text.lines().find(|line| line.contains(word));
        said.push(line.with_context(|| format!("{contact}: no {word:?} in {text}"))?.to_owned());
    }
    Ok(said)
}

/// The alert that fires.
async fn firing(manager: &Alertmanager) -> Result<Value> {
    wait_until(STALE, "a firing alert", || async {
        let firing = manager.firing().await?;
        let one = firing.iter().find(|alert| alert["labels"]["check"] == CHECK);
        Ok(Look::some(one.cloned(), &firing))
    })
    .await
}

/// Alertmanager's own receiver was told of so many alerts of this status: it looks at a group once a
/// second, and never speaks of what begins and ends between.
async fn told(manager: &Alertmanager, status: &str, wanted: usize) -> Result<()> {
    wait_until(STALE, &format!("{wanted} alerts {status}"), || async {
        let told: BTreeSet<String> = manager
            .told(status)
            .iter()
            .map(|alert| alert["labels"]["incident"].to_string())
            .collect();
        Ok(Look::when(told.len() >= wanted, &told))
    })
    .await
}

/// So many mails, or more.
async fn mails(mail: &Mailserver, wanted: usize) -> Result<Vec<String>> {
    wait_until(STALE, &format!("{wanted} mails"), || async {
        let mails = mail.mails()?;
        Ok(Look::some((mails.len() >= wanted).then(|| mails.clone()), mails.len()))
    })
    .await
}

fn judge_alert(alert: &Value, uid: &str) -> Result<()> {
    let labels = &alert["labels"];
    for (name, wanted) in [
        ("alertname", "parallax_down"),
        ("check", CHECK),
        ("incident", uid),
        ("severity", "critical"),
        ("team", "payments"),
    ] {
        ensure!(labels[name] == wanted, "{name} is {} and not {wanted}", labels[name]);
    }
    let annotations = &alert["annotations"];
    ensure!(annotations["runbook_url"] == "https://wiki.test/checkout", "{annotations}");
    let summary = annotations["summary"].as_str().unwrap_or_default();
    ensure!(summary.starts_with("checkout is down"), "{summary:?}");
    Ok(())
}

/// The end went out under the labels of the beginning, and after it.
fn judge_told(manager: &Alertmanager, uid: &str) -> Result<()> {
    let of = |status| -> Result<Value> {
        let told = manager.told(status);
        let one = told.iter().find(|alert| alert["labels"]["incident"] == uid);
        one.cloned().with_context(|| format!("nothing {status} of {uid}: {told:?}"))
    };
    let (began, ended) = (of("firing")?, of("resolved")?);
    ensure!(began["labels"] == ended["labels"], "{began} and {ended}");
    ensure!(began["startsAt"] == ended["startsAt"], "{began} and {ended}");
    let (starts, ends) = (ended["startsAt"].as_str(), ended["endsAt"].as_str());
    // In whole seconds, as pages have them.
    ensure!(starts.is_some() && starts <= ends, "{ended}");
    Ok(())
}

/// Beginning and end of this incident are one thread, to both recipients of a contact, and say what they are.
fn judge_mails(opened: &[String], ended: &[String], uid: &str, contact: &str) -> Result<()> {
    let recipients = recipients(contact);
    let of = |mails: &[String], word: &str| -> Result<String> {
        let ours = |mail: &&String| {
            let id = header(mail, "Message-ID").unwrap_or_default();
            let to = header(mail, "To").unwrap_or_default();
            id.contains(uid) && id.contains(word) && to.contains(&recipients[0])
        };
        let found: Vec<&String> = mails.iter().filter(ours).collect();
        let mut whose: Vec<_> =
            found.iter().filter_map(|mail| header(mail, "Delivered-To")).collect();
        whose.sort_by_key(|of| recipients.iter().position(|recipient| recipient == of));
        ensure!(whose == recipients, "{word} of {uid} was delivered to {whose:?}: {mails:?}");
        Ok(found[0].clone())
    };
    let (began, end) = (of(opened, "opened")?, of(ended, "resolved")?);
    for (mail, begins) in [(&began, "DOWN: checkout is down"), (&end, "RESOLVED: checkout")] {
        let subject = header(mail, "Subject").unwrap_or_default();
        ensure!(subject.starts_with(begins), "{subject:?} does not begin with {begins:?}");
        let from = header(mail, "From").unwrap_or_default();
        ensure!(from.contains("pages@parallax.test"), "from {from:?}");
        let to = header(mail, "To").unwrap_or_default();
        ensure!(recipients.iter().all(|recipient| to.contains(recipient)), "to {to:?}");
        let automatic = header(mail, "Auto-Submitted");
        ensure!(automatic.as_deref() == Some("auto-generated"), "{automatic:?}");
        ensure!(mail.contains("https://wiki.test/checkout"), "no runbook: {mail}");
    }
    let (id, answers) = (header(&began, "Message-ID"), header(&end, "In-Reply-To"));
    ensure!(id.is_some() && id == answers, "{answers:?} is no answer to {id:?}");
    Ok(())
}
