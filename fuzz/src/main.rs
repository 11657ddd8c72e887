//! Fuzz targets for every parser of foreign bytes: one program, which `FUZZ_TARGET` tells what to do.
//!
//! `.ci/run fuzz` builds it with libFuzzer's instrumentation and lets each target run for a while, from
//! the seeds in `seeds/`. A target has a word in [`TARGETS`] and a function; what foreign bytes are to the
//! probe is in [`probe`], to coordinators in [`coordinator`], to whoever applies configuration in
//! [`configuration`].

#![no_main]

use std::sync::LazyLock;

mod configuration;
mod coordinator;
mod probe;

/// What a target does with some bytes.
type Target = fn(&[u8]);

/// Every target by its word.
const TARGETS: &[(&str, Target)] = &[
    ("dns", parallax_probe::execute::fuzzing::dns),
    ("body", parallax_probe::execute::fuzzing::body),
    ("health", parallax_probe::execute::fuzzing::health),
    ("certificate", parallax_probe::execute::fuzzing::certificate),
    ("upgrade", parallax_probe::execute::fuzzing::upgrade),
    ("icmp", probe::icmp),
    ("ssh", probe::ssh),
    ("starttls", probe::starttls),
    ("dialogue", probe::dialogue),
    ("websocket", probe::websocket),
    ("proxy", probe::proxy),
    ("token", probe::token),
    ("perfdata", probe::perfdata),
    ("redirect", probe::redirect),
    ("spool", probe::spool),
    ("assignments", probe::assignments),
    ("windows", coordinator::windows),
    ("session", coordinator::session),
    ("peer", coordinator::peer),
    ("snapshot", coordinator::snapshot),
    ("replies", parallax_coordinator::notify::smtp::fuzzing::replies),
    ("state", state),
    ("yaml", configuration::yaml),
    ("cel", configuration::cel),
];

/// What a probe and a coordinator remember of themselves and of the members, whoever wrote the file.
fn state(bytes: &[u8]) {
    if let Ok(state) = parallax_probe::state::parse(bytes) {
        let again = serde_json::to_vec(&state).expect("what was read can be written");
        assert_eq!(parallax_probe::state::parse(&again).ok(), Some(state));
    }
    if let Ok(identity) = parallax_coordinator::identity::parse(bytes) {
        let again = serde_json::to_vec(&identity).expect("what was read can be written");
        assert_eq!(parallax_coordinator::identity::parse(&again).ok(), Some(identity));
    }
}

/// The one that was asked for.
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let word = std::env::var("FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(name, _)| *name == word) {
        Some((_, target)) => *target,
        None => {
            let words: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            eprintln!("FUZZ_TARGET is {word:?}; it must be one of: {}", words.join(" "));
            std::process::exit(2);
        }
    }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    TARGET(bytes);
});
