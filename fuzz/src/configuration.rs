//! What people write down.

use parallax_cli::config::{self, source::Sources};
use parallax_common::expect::{Facts, Program};

/// A file of configuration.
pub fn yaml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match config::load(Sources::from_texts([("fuzz.yaml", text)])) {
        Ok(loaded) => drop(loaded),
        Err(invalid) => assert!(!invalid.diagnostics.is_empty(), "refused, and nobody says why"),
    }
}

/// An expression, judged against a body: the text up to the first zero, and what is behind it.
pub fn cel(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (source, body) = text.split_once('\0').unwrap_or((text, r#"{"a": [1, 2, {"b": null}]}"#));
    let Ok(program) = Program::admit(source) else { return };
    let mut facts = Facts::default();
    facts.status = Some(200);
    facts.body = body.to_owned().into_bytes().into();
    facts.headers = [("content-type".to_owned(), "application/json".to_owned())].into();
    facts.ip = "192.0.2.1".to_owned();
    let _ = program.evaluate(&facts);
}
