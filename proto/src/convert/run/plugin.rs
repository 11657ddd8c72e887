//! A `plugin` step: which program, with what, and which of its times have a series.

use parallax_common::check::{PluginStep, Run, StepKind};
use parallax_common::limits::{
    PLUGIN_ARGS_MAX, PLUGIN_COMMAND_BYTES_MAX, PLUGIN_ENV_MAX, PLUGIN_LABEL_BYTES_MAX,
    PLUGIN_TEXT_BYTES_MAX,
};
use parallax_common::rule;

use super::{Findings, IpFamily, header_to, template};
use crate::v1;

/// Variables that every plugin gets from the probe itself.
const OWN: [&str; 3] = ["PATH", "LANG", "LC_ALL"];

/// Reads a `plugin` step.
pub(super) fn plugin(
    step: &v1::PluginStep,
    at: &str,
    findings: &mut Findings<'_>,
) -> Option<StepKind> {
    command(&step.command, &format!("{at}command"), findings);
    args(&step.args, &format!("{at}args"), findings);
    let env = env(&step.env, &format!("{at}env"), findings);
    series(&step.series, &format!("{at}series"), findings);
    (!step.command.is_empty() && env.len() == step.env.len()).then(|| {
        StepKind::Plugin(PluginStep {
            command: step.command.clone(),
            args: step.args.clone(),
            env,
            series: step.series.clone(),
        })
    })
}

fn command(command: &str, field: &str, findings: &mut Findings<'_>) {
    if command.is_empty() {
        return findings.add(rule::MISSING_FIELD, field, "the name of a plugin is needed");
    }
    if is_reference(command) {
        let message = "references are not resolved here; use one in a variable's value";
        return findings.add(rule::REFERENCE_NOT_HERE, field, message);
    }
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_+.".contains(&b);
    // A first dot would be a hidden file or lead out of the directory, a first - looks like an option.
    let first = command.starts_with(['.', '-', '+']);
    if first || command.len() > PLUGIN_COMMAND_BYTES_MAX || !command.bytes().all(letter) {
        let message = format!(
            "`{command}` is not the name of a file such as check_http; the probe knows where it is"
        );
        findings.add(rule::PLUGIN_COMMAND, field, message);
    }
}

fn args(args: &[String], field: &str, findings: &mut Findings<'_>) {
    if args.len() > PLUGIN_ARGS_MAX {
        let message =
            format!("{} arguments are given; at most {PLUGIN_ARGS_MAX} are allowed", args.len());
        findings.add(rule::PLUGIN_ARGS, field, message);
    }
    for (place, arg) in args.iter().enumerate() {
        let field = format!("{field}[{place}]");
        if is_reference(arg) {
            let message = "everybody on the probe's machine can read arguments in its list of \
                           processes; put the reference into a variable of env";
            findings.add(rule::REFERENCE_NOT_HERE, field.as_str(), message);
        }
        if let Some(why) = text(arg) {
            findings.add(rule::PLUGIN_ARGS, field, why);
        }
    }
}

fn env(
    variables: &[v1::Header],
    field: &str,
    findings: &mut Findings<'_>,
) -> Vec<(String, String)> {
    if variables.len() > PLUGIN_ENV_MAX {
        let message = format!(
            "{} variables are given; at most {PLUGIN_ENV_MAX} are allowed",
            variables.len()
        );
        findings.add(rule::PLUGIN_ENV, field, message);
    }
    let mut built: Vec<(String, String)> = Vec::with_capacity(variables.len());
    for variable in variables {
        let name = variable.name.as_str();
        let field = format!("{field}.{name}");
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let refused = if OWN.contains(&name) {
            Some(format!("`{name}` is the same for every plugin"))
        } else if name.is_empty()
            || name.len() > PLUGIN_LABEL_BYTES_MAX
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.bytes().all(letter)
        {
            Some(format!("`{name}` cannot name a variable"))
        } else if built.iter().any(|(other, _)| other == name) {
            Some(format!("`{name}` is given twice"))
        } else {
            None
        };
        if let Some(why) = refused {
            findings.add(rule::PLUGIN_ENV, field.as_str(), why);
        }
        let Some(value) = template(variable.value.as_ref(), &field, findings) else { continue };
        if let Some(why) = text(value) {
            findings.add(rule::PLUGIN_ENV, field, why);
        }
        built.push((name.to_owned(), value.to_owned()));
    }
    built
}

fn series(labels: &[String], field: &str, findings: &mut Findings<'_>) {
    for (place, label) in labels.iter().enumerate() {
        let field = format!("{field}[{place}]");
        let odd = |c: char| c.is_control() || c == '=' || c == '\'';
        if label.is_empty() || label.len() > PLUGIN_LABEL_BYTES_MAX || label.contains(odd) {
            let message = format!("`{label}` cannot be the label of performance data");
            findings.add(rule::PLUGIN_SERIES, field, message);
        } else if labels[..place].contains(label) {
            findings.add(rule::PLUGIN_SERIES, field, format!("`{label}` is given before already"));
        }
    }
}

/// What is wrong with an argument, or with a variable's value.
fn text(text: &str) -> Option<String> {
    match text.len() {
        bytes if bytes > PLUGIN_TEXT_BYTES_MAX => {
            Some(format!("there are {bytes} bytes; at most {PLUGIN_TEXT_BYTES_MAX} are allowed"))
        }
        _ if text.contains('\0') => Some("a zero byte ends a text for every program".to_owned()),
        _ => None,
    }
}

fn is_reference(text: &str) -> bool {
    ["${env:", "${file:", "${capture:"].iter().any(|begin| text.contains(begin))
}

/// What does not reach into plugins has no effect on a run of nothing else.
pub(super) fn network(wire: &v1::Run, run: &Run, findings: &mut Findings<'_>) {
    let plugins = run.steps.iter().all(|step| matches!(step.kind, StepKind::Plugin(_)));
    if run.steps.is_empty() || !plugins {
        return;
    }
    for (field, given) in [
        ("ip", run.ip != IpFamily::Auto),
        ("source_address", !wire.source_address.is_empty()),
        ("resolver", !wire.resolver.is_empty()),
    ] {
        if given {
            let message =
                format!("{field} does not reach into a plugin; it has options of its own");
            findings.add(rule::PLUGIN_NETWORK, field, message);
        }
    }
}

/// A `plugin` step as messages carry it.
pub(super) fn plugin_to(step: &PluginStep) -> v1::PluginStep {
    v1::PluginStep {
        command: step.command.clone(),
        args: step.args.clone(),
        env: step.env.iter().map(|(name, value)| header_to(name, value)).collect(),
        series: step.series.clone(),
    }
}
