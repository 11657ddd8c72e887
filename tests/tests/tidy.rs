//! The rules of the tree that no compiler checks. Each one says what to do when it is broken.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use parallax_tests::tree::{Tree, before_tests, code, has_word, is_test_file, line_of};

/// Our crates and which of ours each may use. Never sideways.
const LAYERS: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("proto", &["common"]),
    ("runtime", &["common"]),
    ("coordinator", &["common", "proto", "runtime"]),
    ("probe", &["common", "proto", "runtime"]),
    ("cli", &["common", "proto", "runtime", "coordinator", "probe"]),
    (
        "tests",
        &["common", "proto", "runtime", "coordinator", "probe", "cli", "linearize", "verdicts"],
    ),
    ("tests/linearize", &[]),
    ("tests/verdicts", &["common", "proto", "coordinator"]),
    ("tests/simulation", &["common", "proto", "runtime", "coordinator", "probe", "linearize"]),
];

/// What `common` may depend on: crates that compute and do nothing else.
const COMMON_MAY_USE: &[&str] = &[
    "bytes",
    "cel",
    // The types of `cel`; its clocks are among the forbidden words.
    "chrono",
    "hdrhistogram",
    "jiff",
    // Templates of contacts; it reads no file unless it is told how.
    "minijinja",
    "prost",
    "regex",
    "serde",
    "serde_json",
    "strsim",
    "thiserror",
    "url",
    "uuid",
    "xxhash-rust",
    // Tests only.
    "proptest",
    "tempfile",
];

/// Words that pure code does not know: runtimes, stores, sockets, clocks, chance, logging.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_stream",
    "tokio_util",
    "tonic",
    "hyper",
    "axum",
    "rustls",
    "sled",
    "raft",
    "raft_engine",
    "rustix",
    "socket2",
    "parallax_runtime",
    "async",
    "await",
    "tracing",
    "println",
    "eprintln",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "Utc::now",
    "Local::now",
    "now_v7",
    "new_v4",
    "rand",
    "RandomState",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
];

/// Maps whose order differs from process to process: two coordinators would decide differently.
/// Where a coordinator's core looks things up and never goes through them, the line above says
/// `unordered:` and why.
const UNORDERED: &[&str] = &["HashMap", "HashSet"];

/// Longest file, tests at its end not counted.
const LINES_MAX: usize = 700;

/// Who may read clocks and start tasks: the files that own them.
const OWNERS: &[&str] = &["runtime/src/clock.rs", "runtime/src/supervisor.rs"];

/// The one file of a probe that opens sockets on behalf of checks, each to an address that the guard
/// let through; and by what a socket is opened.
const SOCKETS: (&str, &[&str]) = (
    "probe/src/execute/socket.rs",
    &[
        "TcpSocket",
        "TcpStream::connect",
        "TcpStream::connect_timeout",
        "UdpSocket",
        "UnixStream",
        "UnixDatagram",
        "TokioRuntimeProvider",
        "TokioResolver",
        "HttpConnector",
        "Endpoint::client",
        "lookup_host",
        "ToSocketAddrs",
        "socket2",
        "rustix::net",
    ],
);

/// Fails with every breach at once.
fn none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n  {}\n", breaches.join("\n  "));
}

/// Rust files that must be pure: all of `common`, and every `core` module.
fn is_pure(path: &str) -> bool {
    let pure = path.starts_with("common/src/")
        || path.contains("/src/core/")
        || path.ends_with("/src/core.rs");
    pure && !is_test_file(path)
}

/// Names under `[dependencies]`, `[dev-dependencies]` and `[build-dependencies]` of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            names.insert(line.split(['.', ' ', '=']).next().unwrap_or_default());
        }
    }
    names
}

#[test]
fn common_and_every_core_know_no_clock_no_socket_and_no_chance() -> Result<()> {
    let tree = Tree::read()?;
    let mut breaches = Vec::new();
    for (path, text) in tree.with_extension("rs").filter(|(path, _)| is_pure(path)) {
        let text = before_tests(text);
        let code = code(text);
        for &word in IMPURE.iter().filter(|word| has_word(&code, word)) {
            let line = line_of(&code, word);
            breaches
                .push(format!("{path}:{line}: pure code says `{word}`: pass it in, as a value"));
        }
        let lines: Vec<&str> = text.lines().collect();
        let decides = path.starts_with("coordinator/src/core");
        for (at, line) in code.lines().enumerate().filter(|_| decides) {
            let said = at > 0 && lines[at - 1].contains("unordered:");
            for word in UNORDERED.iter().filter(|word| has_word(line, word) && !said) {
                if !line.trim_start().starts_with("use ") {
                    breaches.push(format!("{path}:{}: `{word}` has no order: BTreeMap", at + 1));
                }
            }
        }
    }
    let manifest = tree.text("common/Cargo.toml")?;
    for name in dependencies(manifest).iter().filter(|name| !COMMON_MAY_USE.contains(name)) {
        breaches.push(format!("common/Cargo.toml: `{name}` is not on the list of pure crates"));
    }
    none(&breaches);
    Ok(())
}

#[test]
fn crates_depend_downwards_only() -> Result<()> {
    let tree = Tree::read()?;
    let mut breaches = Vec::new();
    let known: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let members: BTreeSet<&str> = tree
        .with_extension("toml")
        .filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"))
        // A workspace of its own, beside this one.
        .filter(|name| *name != "fuzz")
        .collect();
    assert_eq!(members, known.keys().copied().collect(), "a crate has no place in LAYERS");
    for (name, allowed) in known {
        let manifest = tree.text(&format!("{name}/Cargo.toml"))?;
        for ours in dependencies(manifest).iter().filter_map(|d| d.strip_prefix("parallax-")) {
            if !allowed.contains(&ours) {
                breaches.push(format!("{name}/Cargo.toml: `{name}` may not use `{ours}`"));
            }
        }
        if !manifest.contains("[lints]\nworkspace = true") {
            breaches.push(format!("{name}/Cargo.toml: the workspace's lints are not switched on"));
        }
    }
    none(&breaches);
    Ok(())
}

#[test]
fn every_file_says_what_it_is_and_has_a_name_that_says_it_too() -> Result<()> {
    let tree = Tree::read()?;
    let mut breaches = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        // `foo/tests.rs` is the end of `foo.rs`, which has the header.
        if !text.starts_with("//!") && !path.ends_with("/tests.rs") {
            breaches.push(format!("{path}: begin with `//!`: what lives here, what must not"));
        }
        let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        if parts.last() == Some(&"mod") {
            breaches.push(format!("{path}: `foo.rs` beside `foo/`, no mod.rs"));
        }
        let vague = ["util", "utils", "helper", "helpers", "misc", "common_stuff"];
        if let Some(name) = parts.iter().find(|part| vague.contains(part)) {
            breaches.push(format!("{path}: `{name}` says nothing; name what it holds"));
        }
        let lines = before_tests(text).lines().count();
        if lines > LINES_MAX && !is_test_file(path) {
            breaches.push(format!("{path}: {lines} lines before its tests, {LINES_MAX} at most"));
        }
    }
    none(&breaches);
    Ok(())
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_skipped() -> Result<()> {
    let tree = Tree::read()?;
    let mut breaches = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        let code = code(text);
        for word in ["todo!", "unimplemented!"] {
            if let Some(line) = code.lines().position(|line| line.contains(word)) {
                breaches.push(format!("{path}:{}: `{word}`", line + 1));
            }
        }
        // What the gate runs after all others, as it needs more than a toolchain, is not skipped.
        let ignored = |line: &&str| line.trim_start().starts_with(concat!("#[ign", "ore"));
        for line in text.lines().filter(ignored).filter(|line| !line.contains(".ci/run runs it")) {
            breaches.push(format!("{path}: {}", line.trim()));
        }
        // Comments too. Written in two halves, for this file is read as well.
        for word in [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")] {
            if has_word(text, word) {
                breaches.push(format!("{path}:{}: `{word}`", line_of(text, word)));
            }
        }
    }
    let gate = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/run");
    let runs_them = std::fs::read_to_string(gate)?.contains("-- --ignored");
    assert!(runs_them, "the gate leaves tests out");
    none(&breaches);
    Ok(())
}

#[test]
fn clocks_and_tasks_have_owners() -> Result<()> {
    let tree = Tree::read()?;
    let mut breaches = Vec::new();
    for (path, text) in tree.with_extension("rs").filter(|(path, _)| !OWNERS.contains(path)) {
        let code = code(before_tests(text));
        // The lint itself refuses the calls; here nobody may switch it off.
        if code.contains("disallowed_methods") {
            breaches.push(format!(
                "{path}:{}: only {} may allow this lint",
                line_of(&code, "disallowed_methods"),
                OWNERS.join(" and "),
            ));
        }
        if has_word(&code, "unsafe_code") {
            breaches.push(format!("{path}: `unsafe` is forbidden everywhere"));
        }
    }
    assert!(tree.text("Cargo.toml")?.contains("unsafe_code = \"forbid\""));
    none(&breaches);
    Ok(())
}

#[test]
fn only_one_file_of_a_probe_opens_sockets_to_targets() -> Result<()> {
    let tree = Tree::read()?;
    let (owner, words) = SOCKETS;
    let mut breaches = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        if !path.starts_with("probe/src/") || is_test_file(path) || path == owner {
            continue;
        }
        let code = code(before_tests(text));
        for word in words.iter().filter(|word| has_word(&code, word)) {
            let line = line_of(&code, word);
            breaches
                .push(format!("{path}:{line}: `{word}`: open it in {owner}, from an `Allowed`"));
        }
    }
    let own = code(before_tests(tree.text(owner)?));
    assert!(has_word(&own, "TcpSocket") && has_word(&own, "Allowed"), "{owner} opens none");
    none(&breaches);
    Ok(())
}

#[test]
fn only_one_file_of_a_coordinator_opens_sockets_to_contacts() -> Result<()> {
    let tree = Tree::read()?;
    let owner = "coordinator/src/notify/reach.rs";
    let mut breaches = Vec::new();
    for (path, text) in tree.with_extension("rs") {
        let sends = ["coordinator/src/notify", "coordinator/src/quorum"];
        let sends = sends.iter().any(|folder| path.starts_with(folder));
        if !sends || is_test_file(path) || path == owner {
            continue;
        }
        let code = code(before_tests(text));
        for word in SOCKETS.1.iter().filter(|word| has_word(&code, word)) {
            let line = line_of(&code, word);
            breaches
                .push(format!("{path}:{line}: `{word}`: open it in {owner}, from an `Allowed`"));
        }
    }
    let own = code(before_tests(tree.text(owner)?));
    assert!(has_word(&own, "TcpSocket") && has_word(&own, "Allowed"), "{owner} opens none");
    none(&breaches);
    Ok(())
}

#[test]
fn every_limit_is_in_force_somewhere() -> Result<()> {
    let tree = Tree::read()?;
    let is_limits = |path: &str| path.starts_with("common/src/limits");
    let uses: String = tree
        .with_extension("rs")
        .filter(|(path, _)| !is_limits(path) && !is_test_file(path))
        .map(|(_, text)| code(before_tests(text)))
        .collect();
    let lists: Vec<(&str, &str)> =
        tree.with_extension("rs").filter(|(path, _)| is_limits(path)).collect();
    assert!(lists.len() > 1, "the limits are not where they were");
    let own: String = lists.iter().map(|(_, text)| code(text)).collect();
    let mut breaches = Vec::new();
    for (path, limits) in lists {
        for line in limits.lines() {
            let Some(rest) = line.strip_prefix("pub const ") else { continue };
            let name = rest.split(':').next().unwrap_or_default();
            // Or another limit is made of it.
            let in_another = own.lines().any(|line| {
                has_word(line, name) && !line.starts_with(&format!("pub const {name}:"))
            });
            if !has_word(&uses, name) && !in_another {
                let number = line_of(limits, name);
                breaches.push(format!("{path}:{number}: `{name}` limits nothing"));
            }
        }
    }
    none(&breaches);
    Ok(())
}

#[test]
fn links_and_paths_in_documents_lead_somewhere() -> Result<()> {
    let tree = Tree::read()?;
    let mut breaches = Vec::new();
    for (path, text) in tree.with_extension("md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let found = if file.is_empty() { path.to_owned() } else { join(folder, file) };
            if !tree.exists(&found) {
                breaches.push(format!("{path}: the link {link} leads nowhere"));
            } else if !fragment.is_empty() && !headings(tree.text(&found)?).contains(fragment) {
                breaches.push(format!("{path}: the link {link} names no heading"));
            }
        }
        // `coordinator/src/core/decide.rs` in a document is a promise.
        for named in text.split('`').skip(1).step_by(2) {
            let ours = LAYERS.iter().any(|(name, _)| named.starts_with(&format!("{name}/")));
            let plain = !named.contains([' ', '*', '<', '{', '\n']);
            if ours && plain && !tree.exists(named) {
                breaches.push(format!("{path}: `{named}` does not exist"));
            }
        }
    }
    none(&breaches);
    Ok(())
}

/// Targets of `[text](target)`, outside code blocks.
fn links(markdown: &str) -> Vec<&str> {
    let outside = markdown.split("```").step_by(2);
    let after = outside.flat_map(|prose| prose.split("](").skip(1));
    after.filter_map(|rest| rest.split_once(')').map(|(target, _)| target.trim())).collect()
}

/// The anchors that headings make.
fn headings(markdown: &str) -> BTreeSet<String> {
    let lines = markdown.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    lines.map(anchor).collect()
}

fn join(folder: &str, file: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn the_rules_themselves_see_what_they_forbid() -> Result<()> {
    let impure = "use tokio::time; // tokio\nlet now = std::time::Instant::now();";
    let code = code(impure);
    let seen: Vec<&&str> = IMPURE.iter().filter(|word| has_word(&code, word)).collect();
    assert_eq!(seen, [&"tokio", &"Instant"]);
    let opens = parallax_tests::tree::code("let s = tokio::net::TcpStream::connect(to).await;");
    assert!(SOCKETS.1.iter().any(|word| has_word(&opens, word)));
    assert!(is_pure("common/src/time.rs") && is_pure("probe/src/core/schedule.rs"));
    assert!(!is_pure("probe/src/session.rs"));

    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\n\
                    b = { version = \"1\" }\n[dev-dependencies]\nc.workspace = true\n[lints]\nd = 1";
    assert_eq!(dependencies(manifest), BTreeSet::from(["a", "b", "c"]));
    assert_eq!(links("[a](b.md#c) ```[d](e)``` [f](g)"), ["b.md#c", "g"]);
    assert_eq!(join("docs/a", "../b.md"), "docs/b.md");
    let anchors = headings("# One two\n## `three`: 4");
    assert!(anchors.contains("one-two") && anchors.contains("three-4"), "{anchors:?}");
    let tree = Tree::read()?;
    tree.with_extension("proto").next().context("no proto file is read")?;
    Ok(())
}
