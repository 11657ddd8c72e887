//! `docs/cli.md` is made from the command line itself. It is written anew by
//! `PARALLAX_RENEW_DOCS=1 cargo test -p parallax-cli --lib documents::reference`.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};
use parallax_common::selector::Selector;

use crate::args::Cli;
use crate::exit::{Exit, Failure};

use super::{file, first_column};

/// Set, the page is written in place of being compared.
const RENEW: &str = "PARALLAX_RENEW_DOCS";

const HEAD: &str = "\
# The command line
Made from `parallax --help` of each command by a test, which says how to make it anew. Every command also takes
the flags of [connection and output](#connection-and-output). `parallax man DIR` writes the same as manual
pages, and `parallax completions SHELL` makes a shell complete it.
";

/// Text in a table: on one line, and a bar is a bar.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// `-o`, `--output OUTPUT`, as it is written, and what it says.
fn row(arg: &Arg) -> String {
    let value = arg.get_action().takes_values().then(|| {
        let names = arg.get_value_names().unwrap_or_default();
        names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ")
    });
    let value = value.unwrap_or_default();
    let mut name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long} {value}"),
        (None, Some(long)) => format!("--{long} {value}"),
        (Some(short), None) => format!("-{short} {value}"),
        (None, None) => value,
    };
    name.truncate(name.trim_end().len());
    let mut said = arg.get_help().map(|help| cell(&help.to_string())).unwrap_or_default();
    let possible = arg.get_possible_values();
    // A flag has `true` and `false`, which nobody writes.
    if arg.get_action().takes_values() && !possible.is_empty() {
        let words: Vec<String> = possible.iter().map(|it| format!("`{}`", it.get_name())).collect();
        let _ = write!(said, "; one of {}", words.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().filter_map(|it| it.to_str()).collect();
    if arg.get_action().takes_values() && !defaults.concat().is_empty() {
        let _ = write!(said, " [default: {}]", defaults.join(" "));
    }
    if let Some(variable) = arg.get_env().and_then(|it| it.to_str()) {
        let _ = write!(said, " [env: `{variable}`]");
    }
    if arg.is_required_set() {
        said.push_str("; needed");
    }
    format!("| `{name}` | {said} |\n")
}

fn table<'a>(args: impl Iterator<Item = &'a Arg>, out: &mut String) {
    let rows: String = args.filter(|arg| !arg.is_hide_set()).map(row).collect();
    if !rows.is_empty() {
        let _ = write!(out, "\n| argument | meaning |\n|---|---|\n{rows}");
    }
}

/// A command and those below it.
fn section(command: &Command, path: &str, out: &mut String) {
    let about = command.get_about().map(|about| about.to_string()).unwrap_or_default();
    let depth = if path.matches(' ').count() == 1 { "##" } else { "###" };
    let _ = write!(out, "\n{depth} {path}\n{about}.\n");
    if command.get_subcommands().next().is_none() {
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let _ = write!(out, "\n```text\n{usage}\n```\n");
    }
    let own = |arg: &&Arg| !arg.is_global_set() && arg.get_id() != "help";
    table(command.get_arguments().filter(own), out);
    if let Some(after) = command.get_after_help() {
        let _ = write!(out, "\n```text\n{}\n```\n", after.to_string().trim_end());
    }
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        section(below, &format!("{path} {}", below.get_name()), out);
    }
}

fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut out = HEAD.to_owned();
    out.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for exit in Exit::ALL {
        let _ = writeln!(out, "| `{}` | {} |", exit as u8, cell(exit.meaning()));
    }
    out.push_str("\n## Connection and output\n");
    table(command.get_arguments().filter(|arg| arg.is_global_set()), &mut out);
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        section(below, &format!("parallax {}", below.get_name()), &mut out);
    }
    out
}

#[test]
fn the_page_about_the_command_line_says_what_the_command_line_does() {
    let made = page();
    if std::env::var_os(RENEW).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        std::fs::write(path, &made).unwrap();
    }
    let written = file("docs/cli.md");
    let differs = written.lines().zip(made.lines()).find(|(written, made)| written != made);
    assert!(
        written == made,
        "docs/cli.md is out of date: run {RENEW}=1 cargo test -p parallax-cli --lib \
         documents::reference (the first line that differs: {differs:?})"
    );
}

#[test]
fn every_selector_of_the_page_is_one_and_its_example_of_an_error_is_what_is_said() {
    let page = file("docs/configuration.md");
    let selectors = first_column(&page, "## Selectors");
    assert!(selectors.len() > 6, "{selectors:?}");
    for text in selectors {
        Selector::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    let error = Cli::read(["parallax", "status", "-l", "team in payments"]).unwrap_err();
    let said = error.to_string();
    let said = said.lines().next().unwrap();
    assert!(page.contains(&format!("```text\n{said}\n```\n")), "{said}");
}

/// The words of a command as a shell has them, up to what it does with the output or what is said beside it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let line = line.split("  ").next().unwrap_or_default();
    for sign in line.chars() {
        match (quote, sign) {
            (Some(open), sign) if open == sign => quote = None,
            (None, '\'' | '"') => {
                quote = Some(sign);
                word.get_or_insert_default();
            }
            (None, '>' | '|') => break,
            (None, ' ') => words.extend(word.take()),
            (_, sign) => word.get_or_insert_default().push(sign),
        }
    }
    assert_eq!(quote, None, "{line}");
    words.into_iter().chain(word).collect()
}

/// Commands that do something, with their words.
fn leaves(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
    let below: Vec<&Command> = command.get_subcommands().filter(|it| !it.is_hide_set()).collect();
    if below.is_empty() {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        found.push((path.to_owned(), after));
    }
    for it in below {
        leaves(it, &format!("{path} {}", it.get_name()), found);
    }
}

#[test]
fn every_command_has_examples_of_itself_that_are_read() {
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    leaves(&command, "parallax", &mut found);
    assert!(found.len() > 40, "{}", found.len());
    found.push(("parallax".to_owned(), command.get_after_help().unwrap().to_string()));
    for (path, after) in found {
        let examples = after.split_once("Examples:\n").map_or("", |(_, examples)| examples);
        let examples = examples.replace("\\\n    ", "");
        let read: Vec<&str> =
            examples.lines().filter_map(|line| line.trim().strip_prefix("parallax ")).collect();
        let own = |line: &&str| format!("parallax {line} ").starts_with(&format!("{path} "));
        // What it is good for may stand behind a pipe.
        let piped = examples.contains(&format!("| {path} "));
        assert!(piped || read.iter().any(own), "{path} has no example of itself: {after}");
        for line in read {
            let line = words(line);
            let read = Cli::read(std::iter::once("parallax".to_owned()).chain(line));
            if let Err(error) = read {
                panic!("`{path} --help` has an example that is refused: {error}");
            }
        }
    }
}

#[test]
fn every_exit_code_is_in_the_help_with_its_meaning() {
    let help = Cli::command().render_long_help().to_string();
    let (_, listed) = help.split_once("Exit codes:\n").unwrap();
    let listed = listed.split("\n\n").next().unwrap();
    let mut expected = String::new();
    for exit in Exit::ALL {
        let meaning = exit.meaning().replace('\n', "\n     ");
        let _ = writeln!(expected, "{:>3}  {meaning}", exit as u8);
    }
    assert_eq!(format!("{listed}\n"), expected);
}

#[test]
fn failures_end_with_the_code_that_is_documented() {
    let answered =
        |code| Failure::Answered { code, message: String::new(), rule: None, request_id: None };
    let away = || Failure::Unreachable { endpoints: String::new(), cause: String::new() };
    let table = [
        (away(), Exit::Unreachable),
        (answered(tonic::Code::Unavailable), Exit::Unreachable),
        (answered(tonic::Code::DeadlineExceeded), Exit::Unreachable),
        (answered(tonic::Code::NotFound), Exit::NotFound),
        (Failure::Absent(String::new()), Exit::NotFound),
        (answered(tonic::Code::Aborted), Exit::Conflict),
        (Failure::Invalid { count: 1, after: "", conflict: true }, Exit::Conflict),
        (Failure::Invalid { count: 1, after: "", conflict: false }, Exit::Refused),
        (answered(tonic::Code::PermissionDenied), Exit::Refused),
        (Failure::Incomplete("check"), Exit::Refused),
        (Failure::Unknown(String::new()), Exit::Refused),
        (Failure::Usage(String::new()), Exit::Usage),
    ];
    for (failure, exit) in table {
        assert_eq!(failure.exit(), exit, "{failure:?}");
    }
}
