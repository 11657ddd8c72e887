//! `check try`: checks carried out here, without any mesh; and `validate`, which only reads them.

use std::time::Duration;

use parallax_common::check::{Check, StepKind};
use parallax_common::name::Uid;
use parallax_probe::core::guard::Guard;
use parallax_probe::execute::Executor;
use parallax_probe::execute::plugin::Plugins;
use parallax_probe::execute::secrets::Secrets;
use parallax_proto::convert::{self, check, resource};
use parallax_proto::v1;
use serde::Serialize;
use url::Url;

use super::apply::{read, show, understood};
use crate::args::{Attempt, Format, Validate};
use crate::config::diagnostic::{self, Diagnostic};
use crate::config::{Loaded, Sources};
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::attempt::{AttemptView, AttemptsView};

/// Between two runs of one check.
const APART: Duration = Duration::from_secs(1);

/// Carries checks out and shows all that they see.
///
/// # Errors
/// [`Failure::Invalid`] when a rule is broken, [`Failure::Usage`] when there is nothing to try.
pub async fn attempt(args: &Attempt, shell: &mut Shell) -> Result<Exit, Failure> {
    let loaded = match url_of(&args.what) {
        Some(url) => {
            understood(Sources::from_texts([("URL", written(&url, args)?.as_str())]), shell)?
        }
        None if !args.expect.is_empty() || !args.warn.is_empty() || args.timeout.is_some() => {
            let flags = "--expect, --warn and --timeout are for a URL; a file says them itself";
            return Err(Failure::Usage(flags.to_owned()));
        }
        None => read(std::slice::from_ref(&args.what), shell)?,
    };
    valid(&loaded, shell)?;
    let checks = chosen(&loaded, &args.checks)?;
    let guard =
        Guard::new(&args.allow_network, &[]).map_err(|error| Failure::Usage(error.to_string()))?;
    let secrets = Secrets::new(args.allow_env.clone(), args.allow_file.clone());
    let executor = Executor::new(secrets, None, None)
        .guarded(guard)
        .with_plugins(Plugins::new(args.plugin_dir.clone(), Vec::new()));
    let mut tried = Vec::new();
    for check in &checks {
        for number in 1..=args.count {
            if number > 1 {
                tokio::time::sleep(APART).await;
            }
            let (execution, looked) = executor.look(&check.run, check.interval).await;
            let view = AttemptView::new(check, number, &execution, &looked);
            shell.item(&view, |shell| view.text(shell))?;
            tried.push(view);
        }
    }
    let all = AttemptsView::new(&tried);
    if shell.format == Format::Table && tried.len() > 1 {
        shell.say(&all.sentence());
    }
    Ok(if all.all_hold() { Exit::Ok } else { Exit::Refused })
}

/// Reads files and says which rules they break.
///
/// # Errors
/// [`Failure::Invalid`] when there is one.
pub fn validate(args: &Validate, shell: &mut Shell) -> Result<Exit, Failure> {
    // One of the two is empty.
    let loaded = read(&[&args.files[..], &args.file[..]].concat(), shell)?;
    valid(&loaded, shell)?;
    #[derive(Serialize)]
    struct ValidView {
        valid: bool,
        resources: usize,
    }
    let view = ValidView { valid: true, resources: loaded.resources.len() };
    let text = match view.resources {
        1 => "1 resource, no rule is broken\n".to_owned(),
        count => format!("{count} resources, no rule is broken\n"),
    };
    shell.data(&view, |_| text)?;
    shell.say("what the mesh has beside them is not looked at: `parallax diff` does");
    Ok(Exit::Ok)
}

/// What is broken in each resource by itself.
fn valid(loaded: &Loaded, shell: &mut Shell) -> Result<(), Failure> {
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    for located in &loaded.resources {
        let normal = resource::normalise(located.resource.clone());
        let violations = resource::validate(&normal);
        diagnostics.extend(violations.iter().map(|it| loaded.diagnose(&convert::violation(it))));
    }
    if diagnostics.is_empty() {
        return Ok(());
    }
    diagnostic::sort(&mut diagnostics);
    show(&diagnostics, &loaded.sources, shell)?;
    Err(Failure::Invalid { count: diagnostics.len(), after: "", conflict: false })
}

/// The checks to try, as a probe gets them.
fn chosen(loaded: &Loaded, names: &[String]) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    for located in &loaded.resources {
        let normal = resource::normalise(located.resource.clone());
        let Some(v1::resource::Kind::Check(mut wire)) = normal.kind else { continue };
        wire.meta.get_or_insert_default().uid = Uid::from_bytes([0; 16]).to_string();
        if names.is_empty() || names.contains(&located.name) {
            // Its rules were looked at.
            let check = check::check(&wire).map_err(|broken| {
                Failure::Usage(
                    broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                )
            })?;
            checks.push(check);
        }
    }
    let has = |name: &&String| checks.iter().any(|check| check.name == **name);
    if let Some(name) = names.iter().find(|name| !has(name)) {
        return Err(Failure::Usage(format!("there is no check `{name}` in the files")));
    }
    if checks.is_empty() {
        return Err(Failure::Usage("there is no check in the files".to_owned()));
    }
    Ok(checks)
}

/// A URL, when it is one and no file of that name is there.
fn url_of(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (text.contains("://") && !std::path::Path::new(text).exists()).then_some(url)
}

/// Refuses what a URL says beyond what its kind of check takes from it: it would be lost silently.
fn only_what_is_asked(url: &Url) -> Result<(), Failure> {
    let takes_port = match url.scheme() {
        "icmp" | "ping" | "dns" => false,
        "tcp" | "tls" | "ssh" | "grpc" => true,
        // All of the others is the target, and has rules of its own; or they are not known.
        _ => return Ok(()),
    };
    let port = url.port().filter(|_| !takes_port).map(|port| port.to_string());
    let path = Some(url.path()).filter(|path| !matches!(*path, "" | "/"));
    // Of who logs in nothing is repeated: there may be a password.
    let login = (!url.username().is_empty() || url.password().is_some()).then_some("");
    let parts = [
        ("login", login),
        ("port", port.as_deref()),
        ("path", path),
        ("query", url.query()),
        ("fragment", url.fragment()),
    ];
    let Some((part, text)) = parts.into_iter().find_map(|(part, text)| Some((part, text?))) else {
        return Ok(());
    };
    let shown = if text.is_empty() { String::new() } else { format!(" (`{text}`)") };
    let scheme = url.scheme();
    let why = format!("{scheme}:// takes no {part}{shown}; a file may say more of a check");
    Err(Failure::Usage(why))
}

/// A check of this URL as a file has it, read and judged by the same rules.
fn written(url: &Url, args: &Attempt) -> Result<String, Failure> {
    if !args.checks.is_empty() {
        return Err(Failure::Usage("--check chooses among the checks of files".to_owned()));
    }
    let host = url.host_str().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    only_what_is_asked(url)?;
    let address = |port: Option<u16>| match url.port().or(port) {
        Some(port) => Ok(format!("{host}:{port}")),
        None => Err(Failure::Usage(format!("{}://{host} has no port", url.scheme()))),
    };
    let of = |field: &str, value: String| serde_json::json!({ field: value });
    let step = match url.scheme() {
        "http" | "https" => ("http", of("url", url.to_string())),
        "ws" | "wss" => ("websocket", of("url", url.to_string())),
        "tcp" => ("tcp", of("address", address(None)?)),
        "tls" => ("tls", of("address", address(Some(443))?)),
        "ssh" => ("ssh", of("address", address(Some(22))?)),
        "grpc" => ("grpc", of("address", address(None)?)),
        "icmp" | "ping" => ("icmp", of("host", bare.to_owned())),
        "dns" => ("dns", of("name", bare.to_owned())),
        other => {
            let known = "http, https, ws, wss, tcp, tls, ssh, grpc, icmp, dns";
            let words = StepKind::WORDS.join(", ");
            return Err(Failure::Usage(format!(
                "`{other}://` is not known; a URL begins with one of {known}, and a file may have \
                 checks of every kind ({words})"
            )));
        }
    };
    let timeout = args.timeout.unwrap_or(Duration::from_secs(10));
    let check = serde_json::json!({
        "name": "try",
        step.0: step.1,
        "interval": "60s",
        "timeout": parallax_common::text::format_duration(timeout),
        "regions": ["here"],
        "expect": args.expect,
        "warn": args.warn,
    });
    // JSON is YAML.
    Ok(serde_json::json!({ "regions": [{ "name": "here" }], "checks": [check] }).to_string())
}
