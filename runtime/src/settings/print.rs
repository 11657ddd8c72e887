//! The settings in force, as YAML that a start would read back.

use clap::{Arg, ArgAction};

use parallax_common::secret::Template;

use super::{Origin, Settings, key, keys, takes_several};

/// Where comments begin, for lines that are shorter.
const COMMENTS_AT: usize = 48;

pub(super) fn yaml(settings: &Settings, secret: &[&str]) -> String {
    let mut out = String::new();
    for arg in keys(&settings.command) {
        let (key, origin) = (key(arg), settings.origin_of(arg));
        let values = values(settings, arg);
        let hidden = secret.contains(&key.as_str()) && values.iter().any(|it| !refers(it));
        let (line, comment) = if origin == Origin::Absent {
            (format!("# {key}:"), origin.to_string())
        } else if hidden {
            let how = "hidden; ${env:NAME} and ${file:PATH} are shown";
            (format!("# {key}:"), format!("{origin}, {how}"))
        } else if takes_several(arg) {
            let items: Vec<String> = values.iter().map(|it| scalar(it, true)).collect();
            (format!("{key}: [{}]", items.join(", ")), origin.to_string())
        } else {
            let value = values.first().map(|it| scalar(it, false)).unwrap_or_default();
            (format!("{key}: {value}"), origin.to_string())
        };
        out.push_str(&format!("{line:COMMENTS_AT$} # {comment}\n"));
    }
    out
}

/// The values of an argument, as they were given.
fn values(settings: &Settings, arg: &Arg) -> Vec<String> {
    let id = arg.get_id().as_str();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return vec![settings.matches.get_flag(id).to_string()];
    }
    let raw = settings.matches.get_raw(id).into_iter().flatten();
    raw.map(|value| value.to_string_lossy().into_owned()).collect()
}

/// Whether a text is references and nothing else: what stands beside one may be secret, too.
fn refers(text: &str) -> bool {
    Template::parse(text).is_ok_and(|template| {
        let shown = template.redacted();
        shown == text && !shown.is_empty() && template.references().next().is_some()
    })
}

/// A text as YAML reads it back: in quotes unless it can mean nothing else.
fn scalar(text: &str, in_list: bool) -> String {
    let begins_plain = text.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '/');
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-".contains(it);
    let also = |it: char| !in_list && "=@:,".contains(it);
    let plain = begins_plain
        && text.chars().all(|it| is_plain(it) || also(it))
        && !text.ends_with(':')
        && !text.eq_ignore_ascii_case("null");
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
