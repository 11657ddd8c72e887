//! `check pause` and `check resume`: `enabled` of checks, and nothing else of them.
//!
//! A check is read, changed and written back as the version that was read, in the set that it is in. A
//! dry run comes before: what it says would change besides `enabled` is what this build does not know
//! of the check, and would be lost.

use std::collections::{BTreeMap, BTreeSet};

use parallax_common::text::nearest;
use parallax_proto::v1;
use parallax_proto::v1::check_service_client::CheckServiceClient;
use serde::Serialize;
use tonic::Code;

use super::apply::send;
use crate::args::{List, Pause, Select};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::export;
use crate::output::Shell;

/// What a question about many checks names at most.
const NAMED_MAX: usize = 8;

/// What became of them, in the order of their names.
#[derive(Debug, Serialize)]
struct PausedView {
    checks: Vec<CheckView>,
}

/// What became of one check.
#[derive(Debug, Clone, Serialize)]
struct CheckView {
    name: String,
    set: String,
    enabled: bool,
    /// It was not so before.
    changed: bool,
    /// Of the change, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

/// Pauses checks, or with `enabled` lets them run again.
///
/// # Errors
/// That one of the names is none, that nobody has said yes to many, or what the coordinator says. What
/// was written of other sets until then is told.
pub async fn pause(
    args: &Pause,
    enabled: bool,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let checks = match args.names.as_slice() {
        [] => list(&args.select, client).await?,
        names => named(names, client).await?,
    };
    let (done, open): (Vec<v1::Check>, Vec<v1::Check>) =
        checks.into_iter().partition(|check| check.enabled.unwrap_or(true) == enabled);
    if args.names.is_empty() && open.len() > 1 && shell.terminal && !args.yes {
        return Err(unasked(&open, enabled));
    }
    let mut views: Vec<CheckView> = done.iter().map(|check| view(check, enabled, None)).collect();
    let mut sets: BTreeMap<String, Vec<v1::Check>> = BTreeMap::new();
    for check in open {
        let meta = check.meta.clone().unwrap_or_default();
        sets.entry(meta.set).or_default().push(check);
    }
    for (set, checks) in &sets {
        write(set, checks, (enabled, true), client, shell).await?;
    }
    let mut failed = None;
    for (set, checks) in sets {
        match write(&set, &checks, (enabled, false), client, shell).await {
            Ok(revision) => {
                views.extend(checks.iter().map(|check| view(check, enabled, Some(revision))));
            }
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    views.sort_by(|one, other| one.name.cmp(&other.name));
    say(&views, enabled, shell)?;
    failed.map_or(Ok(Exit::Ok), Err)
}

/// The checks of these names, each once.
async fn named(names: &[String], client: &mut Client) -> Result<Vec<v1::Check>, Failure> {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for name in names.iter().collect::<BTreeSet<_>>() {
        let request =
            v1::GetCheckRequest { namespace: client.namespace(), name: name.clone(), stale: false };
        let answer = client
            .call(None, |channel| {
                let request = request.clone();
                async move { CheckServiceClient::new(channel).get_check(request).await }
            })
            .await;
        match answer {
            Ok(answer) => found.push(answer.check.ok_or(Failure::Incomplete("check"))?),
            Err(Failure::Answered { code: Code::NotFound, .. }) => unknown.push(name),
            Err(failure) => return Err(failure),
        }
    }
    if unknown.is_empty() {
        return Ok(found);
    }
    let all = list(&Select::default(), client).await?;
    let known =
        || all.iter().filter_map(|check| check.meta.as_ref()).map(|meta| meta.name.as_str());
    let sentences: Vec<String> = unknown
        .into_iter()
        .map(|name| match nearest(name, known()) {
            Some(near) => format!("there is no check `{name}`; did you mean `{near}`?"),
            None => format!("there is no check `{name}`"),
        })
        .collect();
    Err(Failure::Absent(format!("{} (nothing was changed)", sentences.join("; "))))
}

async fn list(select: &Select, client: &mut Client) -> Result<Vec<v1::Check>, Failure> {
    let list = List { select: select.clone(), stale: false };
    Ok(super::check::all(&list, client).await?.0)
}

fn unasked(open: &[v1::Check], enabled: bool) -> Failure {
    let names = open.iter().filter_map(|check| check.meta.as_ref()).map(|meta| meta.name.as_str());
    let mut named: Vec<&str> = names.take(NAMED_MAX).collect();
    if open.len() > NAMED_MAX {
        named.push("...");
    }
    let verb = if enabled { "resumes" } else { "pauses" };
    let (count, named) = (open.len(), named.join(", "));
    Failure::Usage(format!("this {verb} {count} checks ({named}): say --yes"))
}

fn view(check: &v1::Check, enabled: bool, revision: Option<u64>) -> CheckView {
    let meta = check.meta.clone().unwrap_or_default();
    CheckView { name: meta.name, set: meta.set, enabled, changed: revision.is_some(), revision }
}

/// Writes checks of one set, all or none; a dry run only says what would be wrong.
async fn write(
    set: &str,
    checks: &[v1::Check],
    (enabled, dry_run): (bool, bool),
    client: &mut Client,
    shell: &mut Shell,
) -> Result<u64, Failure> {
    let resources: Vec<v1::Resource> = checks
        .iter()
        .map(|check| {
            let check = v1::Check { enabled: Some(enabled), ..check.clone() };
            export::as_it_is(v1::Resource { kind: Some(v1::resource::Kind::Check(check)) })
        })
        .collect();
    let header = v1::ApplyHeader {
        request_id: Some(client.request_id()),
        namespace: client.namespace(),
        set: set.to_owned(),
        dry_run,
        source: if enabled { "check resume" } else { "check pause" }.to_owned(),
        ..v1::ApplyHeader::default()
    };
    let answer = send(header, resources, client).await?;
    if !answer.violations.is_empty() {
        for broken in &answer.violations {
            let v1::Violation { rule, name, field, message, .. } = broken;
            shell.say(&format!("error[{rule}]: check \"{name}\", {field}: {message}"));
        }
        let conflict = answer.violations.iter().all(|broken| broken.rule == "conflict");
        return Err(Failure::Invalid {
            count: answer.violations.len(),
            after: if dry_run {
                ", nothing was changed"
            } else {
                ", nothing of this set was changed"
            },
            conflict,
        });
    }
    let mut others = answer.changes.iter().flat_map(|change| {
        let other = change.fields.iter().filter(|field| field.field != "enabled");
        other.map(|field| (change.name.as_str(), field.field.as_str()))
    });
    if let Some((name, field)) = others.next().filter(|_| dry_run) {
        return Err(Failure::Unknown(format!(
            "check {name} would lose what this build of parallax does not know of {field}; use one as \
             new as the coordinators"
        )));
    }
    match answer.result {
        Some(result) => Ok(result.revision),
        None if dry_run => Ok(0),
        None => Err(Failure::Incomplete("result")),
    }
}

/// A line for each, and for programs all of it as data.
fn say(views: &[CheckView], enabled: bool, shell: &mut Shell) -> Result<(), Failure> {
    shell.data(&PausedView { checks: views.to_vec() }, |_| String::new())?;
    let word = if enabled { "resumed" } else { "paused" };
    let state = if enabled { "runs" } else { "is paused" };
    for CheckView { name, revision, .. } in views {
        match revision {
            Some(revision) => shell.say(&format!("check {name} {word} at revision {revision}")),
            None => shell.say(&format!("check {name} {state} already")),
        }
    }
    if views.is_empty() {
        shell.say("no checks");
    }
    if views.iter().any(|view| view.changed) {
        shell.say(match enabled {
            true => {
                "it starts without any vote; an `apply` of files with `enabled: false` undoes this"
            }
            false => {
                "open incidents of it end now, and pages say so; an `apply` of files without \
                 `enabled: false` undoes this"
            }
        });
    }
    Ok(())
}
