//! `inspect FILE`: what a backup holds, and whether it can be restored. All of it is read.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::OfflineError;
use super::super::restore::utc_text;
use super::past::in_words;
use crate::core::state::LEVEL;
use crate::store::backup::{self, BackupError, Header, Summary};

/// What is in a backup.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Which.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// The mesh; what follows is known only of a whole file.
    pub mesh: Option<String>,
    /// Id and epoch of the cluster that it is of.
    pub cluster: Option<(String, u64)>,
    /// The log index that it is as of.
    pub revision: u64,
    /// When, by whom and by which build it was made.
    pub made: Option<String>,
    /// The least level of a build that reads it.
    pub level: u32,
    /// History was left out.
    pub without_history: bool,
    /// What it holds.
    pub held: Summary,
    /// What is wrong, one sentence each. Empty: it can be restored.
    pub problems: Vec<String>,
}

/// Looks at a backup.
///
/// # Errors
/// When there is no such file.
pub fn inspect(file: &Path) -> Result<Inspection, OfflineError> {
    let bytes = fs::metadata(file).map_err(BackupError::Open)?.len();
    let mut found = Inspection {
        file: file.to_owned(),
        bytes,
        mesh: None,
        cluster: None,
        revision: 0,
        made: None,
        level: 0,
        without_history: false,
        held: Summary::default(),
        problems: Vec::new(),
    };
    // Of whatever level: a newer build may want to restore it.
    match backup::verify(file, u32::MAX) {
        Ok((Header(header), held)) => {
            if header.level > LEVEL {
                let (needed, has) = (header.level, LEVEL);
                found.problems.push(BackupError::Level { needed, has }.to_string());
            }
            found.mesh = Some(header.mesh);
            found.cluster = Some((header.cluster_id, header.epoch));
            (found.revision, found.level) = (header.revision, header.level);
            let at = utc_text(header.utc_ns);
            found.made =
                Some(format!("{at} by member \"{}\", build {}", header.member, header.build));
            (found.without_history, found.held) = (header.without_history, held);
        }
        Err(error) => found.problems.push(parallax_runtime::error::causes(&error)),
    }
    Ok(found)
}

impl Inspection {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut say = |name: &str, what: String| {
            text.push_str(&format!("{name:<11} {what}\n"));
        };
        say("backup", format!("{}, {} bytes", self.file.display(), self.bytes));
        if let (Some(mesh), Some((cluster, epoch)), Some(made)) =
            (&self.mesh, &self.cluster, &self.made)
        {
            say("mesh", format!("\"{mesh}\", cluster {cluster}, epoch {epoch}"));
            say("made", made.clone());
            say("rows", format!("{}, as of revision {}", self.held.rows, self.revision));
            if self.without_history {
                say("history", "was left out".to_owned());
            }
            for (tier, of) in self.held.by_tier().filter(|(_, of)| of.segments > 0) {
                say("history", in_words(tier, of));
            }
            if !self.without_history && self.held.history().0 == 0 {
                say("history", "none".to_owned());
            }
        }
        for problem in &self.problems {
            say("problem", problem.clone());
        }
        if self.problems.is_empty() {
            say("result", "whole; it can be restored".to_owned());
        }
        text
    }
}
