//! Reads the source tree as text, for the rules that no compiler checks.
//!
//! [`Tree::read`] finds every file that is ours; [`code`] is a Rust file without its comments and
//! without what its strings say. The rules are in `tests/tests/tidy.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders that hold nothing of ours.
const NOT_OURS: &[&str] = &["target", ".git", "node_modules"];
/// What is text to us.
const EXTENSIONS: &[&str] = &["rs", "toml", "md", "proto", "txt", "service", "yaml"];

/// Every text file of the repository, by its path from the root with `/` between its parts.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the workspace that this crate belongs to.
    ///
    /// # Errors
    /// When a file cannot be read as text.
    pub fn read() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
        let mut tree = Self { root: root.to_owned(), files: BTreeMap::new() };
        tree.descend(root)?;
        Ok(tree)
    }

    fn descend(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !NOT_OURS.contains(&name) {
                    self.descend(&path)?;
                }
            } else if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|&known| e == known)) {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let key = path.strip_prefix(&self.root)?.to_string_lossy().replace('\\', "/");
                self.files.insert(key, text);
            }
        }
        Ok(())
    }

    /// Path and text of every file with this extension.
    pub fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        let end = format!(".{extension}");
        let files = self.files.iter().filter(move |(path, _)| path.ends_with(&end));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The text of one file.
    ///
    /// # Errors
    /// When there is none.
    pub fn text(&self, path: &str) -> Result<&str> {
        self.files.get(path).map(String::as_str).with_context(|| format!("no file {path}"))
    }

    /// Whether a path from the root names a file or a folder, text or not.
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

/// Whether a Rust file holds nothing but tests.
pub fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/")
}

/// A Rust source up to its tests: house style keeps `#[cfg(test)] mod tests` at the end.
pub fn before_tests(source: &str) -> &str {
    let mut at = 0;
    for line in source.split_inclusive('\n') {
        let rest = &source[at + line.len()..];
        if line.trim() == "#[cfg(test)]" && rest.trim_start().starts_with("mod ") {
            let module = rest.lines().next().unwrap_or_default();
            // `mod tests;` is in a file of its own, and what follows it here is not tests.
            if !module.trim_end().ends_with(';') {
                return &source[..at];
            }
        }
        at += line.len();
    }
    source
}

/// A Rust source with every comment and the inside of every string blanked. Lines stay where they
/// are.
pub fn code(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !in_word(bytes, at) => raw_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|&b| if b == b'\n' { b } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether the byte goes on a word. The `b` of `br"..."` begins a string, not a word.
fn in_word(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return false };
    match bytes[before] {
        b'b' => in_word(bytes, before),
        byte => byte == b'_' || byte.is_ascii_alphanumeric(),
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|&&b| b == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &bytes[open + 1..];
    let length = inside.windows(close.len()).position(|window| window == close.as_slice());
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

/// The end of a character literal; `None` for a lifetime.
fn char_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        // The escaped byte may be a quote itself.
        let rest = bytes.get(start + 3..)?;
        return rest.iter().position(|&b| b == b'\'').map(|length| start + 4 + length);
    }
    let text = std::str::from_utf8(bytes.get(start + 1..(start + 6).min(bytes.len()))?);
    let valid = match text {
        Ok(text) => text,
        Err(error) => {
            std::str::from_utf8(&bytes[start + 1..start + 1 + error.valid_up_to()]).ok()?
        }
    };
    let length = valid.chars().next()?.len_utf8();
    (bytes.get(start + 1 + length) == Some(&b'\'')).then_some(start + 2 + length)
}

/// Whether `word` stands in `text` with no letter, digit or underscore beside it.
pub fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(inside);
        let after = text[at + word.len()..].chars().next().is_some_and(inside);
        !before && !after
    })
}

/// Number of the first line (from 1) that holds `word`.
pub fn line_of(text: &str, word: &str) -> usize {
    text.lines().position(|line| has_word(line, word)).map_or(0, |line| line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_and_lines_stay() {
        let source = concat!(
            "let a = \"tokio \\\" tokio\"; // tokio\n",
            "/* tokio /* tokio */\ntokio */ let b = r#\"tokio \" tokio\"#; let c = '\"';\n",
            "fn d<'a>(e: &'a str) { f('\\''); sled }\n",
            "let g = br\"sled\"; let for_tokio = '\\u{1F600}';\n",
        );
        let code = code(source);
        assert!(!has_word(&code, "tokio"), "{code}");
        assert_eq!(code.lines().count(), source.lines().count());
        assert_eq!(line_of(&code, "sled"), 4, "{code}");
        assert!(has_word(&code, "for_tokio"));
        assert_eq!(code.matches("sled").count(), 1, "{code}");
    }

    #[test]
    fn tests_end_a_source_only_where_they_are_written() {
        assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {\n}\n"), "a\n");
        let own_file = "a\n#[cfg(test)]\nmod tests;\nb\n";
        assert_eq!(before_tests(own_file), own_file);
    }
}
