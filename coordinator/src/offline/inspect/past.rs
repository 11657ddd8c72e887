//! The history of a data directory: its files, each read as a whole.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::super::OfflineError;
use super::super::restore::utc_text;
use crate::history::files::{Files, System};
use crate::history::segment::reader::{Segment, parse_name};
use crate::history::tier::Tier;
use crate::raft::fatal::chain;
use crate::store::backup::OfTier;

/// What is in `history/`.
#[derive(Debug, Default, Serialize)]
pub struct Past {
    /// Whole segments by tier, the finest first.
    pub tiers: [OfTier; 3],
    /// Bytes of journals: windows that are in no segment yet.
    pub journal_bytes: u64,
    /// Files that are not what their name says; a start sets them aside or leaves out what is damaged.
    pub damaged: Vec<String>,
}

/// Looks at a directory of history; one that is not there holds nothing.
///
/// # Errors
/// When it cannot be listed.
pub fn look(dir: &Path) -> Result<Past, OfflineError> {
    let mut past = Past::default();
    if !dir.is_dir() {
        return Ok(past);
    }
    let files: Arc<dyn Files> = Arc::new(System);
    let failed = || OfflineError::io("list the directory of history");
    for entry in fs::read_dir(dir).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if crate::history::journal::parse_name(name).is_some() {
            past.journal_bytes += fs::metadata(&path).map_err(failed())?.len();
        }
        let Some((tier, ..)) = parse_name(name) else { continue };
        let whole = Segment::open(&files, &path).and_then(|segment| {
            segment.verify()?;
            Ok(segment)
        });
        match whole {
            Ok(segment) => past.tiers[tier.number()].add(&crate::history::archive::told(&segment)),
            Err(error) => past.damaged.push(format!("{name}: {}", chain(&error))),
        }
    }
    Ok(past)
}

impl Past {
    /// Each tier that has something, in words.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let tiers = Tier::ALL.into_iter().zip(&self.tiers).filter(|(_, of)| of.segments > 0);
        tiers.map(|(tier, of)| in_words(tier, of))
    }
}

/// One tier, for people.
pub fn in_words(tier: Tier, of: &OfTier) -> String {
    format!(
        "{} {} in {} segments, {} bytes, {} to {}",
        of.items,
        tier.word(),
        of.segments,
        of.bytes,
        utc_text(of.from_ns),
        utc_text(of.to_ns)
    )
}
