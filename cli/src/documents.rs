//! What the documents say is what the code does: every YAML block is read, and every table of
//! fields, rules, reasons, flags and metrics is compared with its source. Tests only.

use std::collections::BTreeSet;
use std::path::Path;

use parallax_common::check::{Check, Run};
use parallax_common::outcome::Reason;
use parallax_common::rule::{self, Stage};
use parallax_probe::core::guard::defaults::DENIED;
use parallax_probe::core::record::Finding;
use parallax_probe::execute::Executor;
use parallax_probe::metrics::Metrics;
use parallax_proto::convert::{check, resource};
use parallax_proto::v1;
use parallax_runtime::settings::{self, Origin};

use crate::config::schema::judge::Judge;
use crate::config::{Sources, load, schema};

mod contacts;
mod echoes;
mod encrypted;
mod handshakes;
mod health;
mod hours;
mod http;
mod http3;
mod options;
mod plugins;
mod questions;
mod reference;
mod steps;
mod talk;
mod verdict;
mod websocket;

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md and all of docs/, with their names.
pub(crate) fn documents() -> Vec<(String, String)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut names = vec!["README.md".to_owned()];
    let folders = [
        (docs.join("checks"), "docs/checks"),
        (docs.join("contacts"), "docs/contacts"),
        (docs, "docs"),
    ];
    for (folder, at) in folders {
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                names.push(format!("{at}/{name}"));
            }
        }
    }
    names.sort();
    names.into_iter().map(|name| (name.clone(), file(&name))).collect()
}

/// Blocks between fences: the word behind the opening one, the line, the text.
pub(crate) fn blocks(text: &str) -> Vec<(&str, usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(word), None) => open = Some((word.trim(), number + 1, String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, _, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// A block of a document, as if it were a file beside it: `ca_file` and `body_file` name what is there.
pub(crate) fn sources(document: &str, block: &str) -> Sources {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    Sources::beside(path.parent().unwrap(), document, block)
}

/// Every check in the valid YAML blocks of a document, with the line of its block.
fn examples(document: &str) -> Vec<(usize, Check)> {
    let mut examples = Vec::new();
    for (word, line, block) in blocks(&file(document)) {
        if word != "yaml" {
            continue;
        }
        let found = checks(sources(&format!("{document}:{line}"), &block));
        examples.extend(found.into_iter().map(|check| (line, check)));
    }
    examples
}

/// Every check of what is valid.
fn checks(sources: Sources) -> Vec<Check> {
    let mut checks = Vec::new();
    let loaded = load(sources).unwrap_or_else(|wrong| panic!("{:#?}", wrong.diagnostics));
    for located in loaded.resources {
        let normal = resource::normalise(located.resource);
        let Some(v1::resource::Kind::Check(mut wire)) = normal.kind else { continue };
        wire.meta.get_or_insert_default().uid = "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".into();
        checks.push(check::check(&wire).unwrap());
    }
    checks
}

/// What a run finds. A machine that is too busy for an expression's 50 ms is asked again.
async fn judged(executor: &Executor, run: &Run) -> Finding {
    let mut finding = executor.run(run).await.finding;
    for _ in 0..100 {
        if finding.reason != Some(Reason::ExpressionBudget) {
            break;
        }
        finding = executor.run(run).await.finding;
    }
    finding
}

/// The names in the first column of the tables below a heading, up to the next one: `| `name` |`.
fn first_column(text: &str, heading: &str) -> Vec<String> {
    let mut lines = text.lines().skip_while(|line| *line != heading).skip(1).peekable();
    assert!(lines.peek().is_some(), "there is no heading {heading}");
    lines
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn as_set(names: Vec<String>) -> BTreeSet<String> {
    let count = names.len();
    let set: BTreeSet<String> = names.into_iter().collect();
    assert_eq!(set.len(), count, "something is there twice: {set:?}");
    set
}

#[test]
fn every_yaml_block_is_valid_or_breaks_the_rule_that_it_says() {
    let schema = Judge::of_schema();
    let (mut valid, mut invalid) = (0, 0);
    for (name, text) in documents() {
        for (word, line, block) in blocks(&text) {
            let at = format!("{name}:{line}");
            let loaded = load(sources(&at, &block));
            match word {
                "yaml" => {
                    let wrong = loaded.err().map(|invalid| invalid.diagnostics);
                    assert!(wrong.is_none(), "{at}: {wrong:#?}");
                    let documents: Vec<serde_json::Value> =
                        serde_saphyr::from_multiple(&block).unwrap();
                    for document in documents {
                        assert_eq!(schema.takes(&document), Ok(()), "{at}");
                    }
                    valid += 1;
                }
                "yaml,invalid" => {
                    let rule = block.lines().next().and_then(|line| line.strip_prefix("# "));
                    let rule = rule.unwrap_or_else(|| panic!("{at}: begin with `# rule_id`"));
                    let wrong = loaded.err().map(|invalid| invalid.diagnostics);
                    let broken: Vec<String> =
                        wrong.into_iter().flatten().map(|it| it.rule).collect();
                    assert!(broken.iter().any(|it| it == rule), "{at}: breaks only {broken:?}");
                    invalid += 1;
                }
                "sh" | "text" | "json" => {}
                // Settings of the two programs: another test gives them those.
                "yaml,coordinator" | "yaml,probe" => {}
                other => panic!("{at}: a block of `{other}` is tested by nothing"),
            }
        }
    }
    assert!(valid >= 5 && invalid >= 2, "{valid} valid blocks, {invalid} invalid ones");
}

/// Every table of fields that the reader has: what it is called in its source, and its fields.
pub(crate) fn every_table() -> Vec<(String, BTreeSet<String>)> {
    let sources = [
        include_str!("config/document.rs"),
        include_str!("config/check.rs"),
        include_str!("config/alert.rs"),
        include_str!("config/step.rs"),
        include_str!("config/talk.rs"),
        include_str!("config/plugin.rs"),
        include_str!("config/contact.rs"),
        include_str!("config/route.rs"),
        include_str!("config/maintenance.rs"),
    ];
    let mut tables = Vec::new();
    // A declaration begins at `const`, and its fields end with it.
    for part in sources.into_iter().flat_map(|source| source.split("const ").skip(1)) {
        let (name, rest) = part.split_once(':').unwrap_or_default();
        let Some(body) = rest.trim_start().strip_prefix("&[Field<") else { continue };
        let body = body.split("\n];").next().unwrap_or_default().replace("\n        ", " ");
        let starts = body.match_indices("field(").chain(body.match_indices("required("));
        let fields = starts.filter_map(|(at, start)| {
            let name = body[at + start.len()..].trim_start().strip_prefix('"')?;
            name.split('"').next().map(str::to_owned)
        });
        tables.push((name.to_owned(), fields.collect()));
    }
    assert!(tables.len() > 40, "{tables:?}");
    tables
}

/// The name of every field that the schema has.
fn every_field() -> BTreeSet<String> {
    let paths = schema::paths();
    let name = |(path, _): &(String, _)| Some(path.rsplit('.').next()?.to_owned());
    let fields: BTreeSet<String> = paths.iter().filter_map(name).collect();
    assert!(fields.len() > 40, "{fields:?}");
    fields
}

#[test]
fn the_reference_has_every_field_and_no_other() {
    let text = file("docs/configuration.md");
    let headings = [
        "## A file",
        "## Checks",
        "## Steps",
        "## Contacts, regions, mesh",
        "## Routes",
        "## Maintenance",
    ];
    let documented: BTreeSet<String> =
        headings.into_iter().flat_map(|heading| first_column(&text, heading)).collect();
    assert_eq!(documented, every_field());
}

#[test]
fn every_rule_is_documented_with_its_statement() {
    let text = file("docs/rules.md");
    for (stage, heading) in [
        (Stage::Yaml, "## In files"),
        (Stage::Resource, "## In one resource"),
        (Stage::Apply, "## Against everything else"),
        (Stage::Wire, "## On the wire"),
        (Stage::Session, "## In a session"),
        (Stage::Advice, "## Advice"),
    ] {
        let rules = || rule::ALL.iter().filter(|rule| rule.stage == stage);
        let known: BTreeSet<String> = rules().map(|rule| rule.id.to_owned()).collect();
        assert_eq!(as_set(first_column(&text, heading)), known, "{heading}");
        for rule in rules() {
            let row = format!("| `{}` | {} |", rule.id, rule.statement);
            assert!(text.lines().any(|line| line == row), "{row}");
        }
    }
}

#[test]
fn every_reason_is_documented() {
    let known = Reason::ALL.iter().map(|reason| reason.word().to_owned()).collect();
    assert_eq!(as_set(first_column(&file("docs/rules.md"), "## Reasons")), known);
}

#[test]
fn every_kind_of_an_incident_and_why_it_ended_are_in_the_page_about_webhooks() {
    let text = file("docs/webhook.md");
    let documented = |field: &str, name: &str, prefix: &str| {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{field}` |")));
        let word = name.strip_prefix(prefix).unwrap().to_lowercase();
        assert!(row.unwrap().contains(&format!("`{word}`")), "{field}: {word}");
    };
    let kinds = (1..100).filter_map(|number| v1::IncidentKind::try_from(number).ok());
    let causes = (1..100).filter_map(|number| v1::ResolveCause::try_from(number).ok());
    assert!(kinds.clone().count() > 10 && causes.clone().count() > 8);
    kinds.for_each(|it| documented("incident.kind", it.as_str_name(), "INCIDENT_KIND_"));
    causes.for_each(|it| documented("incident.cause", it.as_str_name(), "RESOLVE_CAUSE_"));
}

#[test]
fn every_metric_is_documented_and_exists() {
    let text = file("docs/operations.md");
    let source = include_str!("../../coordinator/src/public.rs");
    let of_coordinator: BTreeSet<String> =
        source.split('"').filter(|word| word.starts_with("parallax_")).map(str::to_owned).collect();
    assert!(of_coordinator.len() > 5, "{of_coordinator:?}");
    let heading = "## Metrics of a coordinator";
    assert_eq!(as_set(first_column(&text, heading)), of_coordinator);

    let exposition = Metrics::default().text();
    let of_probe: BTreeSet<String> = exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(as_set(first_column(&text, "## Metrics of a probe")), of_probe);
}

/// The long flags of a program; those that clap adds by itself are not among them.
fn flags(program: &clap::Command) -> BTreeSet<String> {
    program.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect()
}

#[test]
fn every_flag_of_both_programs_is_documented() {
    let text = file("docs/operations.md");
    for (program, heading) in [
        (parallax_coordinator::command(), "## Flags of a coordinator"),
        (parallax_probe::command(), "## Flags of a probe"),
    ] {
        let known = flags(&program);
        assert!(known.contains("--log-format") && known.contains("--config"), "{known:?}");
        assert_eq!(as_set(first_column(&text, heading)), known);
        // Variables stand in the row of their flag.
        for arg in program.get_arguments() {
            let (Some(long), Some(variable)) = (arg.get_long(), arg.get_env()) else { continue };
            let (row, variable) = (format!("| `--{long}` |"), variable.to_string_lossy());
            let row = text.split(heading).nth(1).and_then(|it| it.split(&row).nth(1)).unwrap();
            let row = row.lines().next().unwrap();
            assert!(row.contains(&format!("[{variable}")), "--{long}: {variable} is not in {row}");
        }
    }
}

#[test]
fn every_file_of_settings_in_the_documents_is_read() {
    let mut read = 0;
    for (name, text) in documents() {
        for (word, line, block) in blocks(&text) {
            let program = match word {
                "yaml,coordinator" => parallax_coordinator::command(),
                "yaml,probe" => parallax_probe::command(),
                _ => continue,
            };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("settings.yaml");
            std::fs::write(&path, &block).unwrap();
            let argv = ["program".into(), format!("--config={}", path.display()).into()];
            let settings = settings::gather_for(program, argv);
            let settings = settings.unwrap_or_else(|error| panic!("{name}:{line}: {error}"));
            let from_file =
                settings.keys().iter().any(|it| matches!(settings.origin(it), Origin::File(_)));
            assert!(from_file, "{name}:{line} sets nothing");
            read += 1;
        }
    }
    assert!(read >= 2, "there is none of a coordinator and of a probe");
}

#[test]
fn every_network_that_is_denied_by_default_is_documented_with_its_reason() {
    let text = file("docs/safety.md");
    let known: BTreeSet<String> = DENIED.iter().map(|(network, _)| network.to_string()).collect();
    assert_eq!(as_set(first_column(&text, "## Denied by default")), known);
    for (network, why) in DENIED {
        let row = format!("| `{network}` | {why} |");
        assert!(text.lines().any(|line| line.starts_with(&row)), "{row}");
    }
}

/// Calls `look` with every Rust file below `folder` that is not only tests, up to its tests.
fn each_source(folder: &Path, look: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "tests" {
            each_source(&path, look);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "documents.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            look(text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default());
        }
    }
}

#[test]
fn every_task_is_in_the_list_of_tasks() {
    let starts = [
        "TaskKind::Session(\"",
        "TaskKind::Vital(\"",
        "vital(\"",
        "sessions.spawn(\"",
        "spawn_server(supervisor, \"",
        "= thread(\"",
        " thread(\"",
    ];
    let mut known = BTreeSet::new();
    for folder in ["coordinator/src", "probe/src", "runtime/src", "cli/src"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        each_source(&folder, &mut |text| {
            // A call may stand on several lines.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
            for start in starts {
                let names = text.split(start).skip(1).filter_map(|rest| rest.split('"').next());
                known.extend(names.map(str::to_owned));
            }
        });
    }
    assert!(known.contains("judge") && known.contains("raft") && known.len() > 20, "{known:?}");

    let text = file("ARCHITECTURE.md");
    let rows = text
        .lines()
        .skip_while(|line| *line != "## Tasks")
        .take_while(|line| !line.starts_with("## Shutdown"))
        .filter_map(|line| line.strip_prefix("| ")?.split('|').nth(1));
    let documented: BTreeSet<String> = rows
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(documented, known);
}
