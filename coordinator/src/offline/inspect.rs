//! `inspect`: what is in a data directory, and whether a start would take it. What is in a backup is
//! said in [`backup_file`].
//!
//! Log and rows are databases that write when they are opened, so they are copied and the copies
//! opened, by the same code as at a start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::place::Place;
use super::{Format, Inspect, OfflineError};
use crate::identity::Identity;
use crate::raft::fatal::chain;
use crate::raft::log::LogStore as _;
use crate::raft::log::engine::EngineLog;
use crate::store::rows::RowStore as _;
use crate::store::rows::sled::{Found, SledRows};
use crate::store::snapshot::SnapshotStore as _;
use crate::store::snapshot::file::FileSnapshots;

pub mod backup_file;
pub mod past;

/// What is in a data directory.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Which.
    pub data_dir: PathBuf,
    /// Who its member is; none when none ever ran.
    pub member: Option<Identity>,
    /// Whether `member.json` can be read.
    pub member_error: Option<String>,
    /// The Raft log.
    pub log: Log,
    /// The snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The rows of the applied state.
    pub rows: Rows,
    /// What probes measured.
    pub history: past::Past,
    /// What is wrong, one sentence each. Empty: a start would take it.
    pub problems: Vec<String>,
}

/// What the Raft log holds.
#[derive(Debug, Default, Serialize)]
pub struct Log {
    /// Bytes of its files.
    pub bytes: u64,
    /// Its files.
    pub files: usize,
    /// The entry before its first one.
    pub start_index: u64,
    /// The last entry.
    pub last_index: u64,
    /// The stretches of one term: first index and term.
    pub terms: Vec<(u64, u64)>,
    /// Term of the hard state.
    pub term: u64,
    /// Whom this member voted for in that term; 0: nobody.
    pub vote: u64,
    /// What the hard state knows to be committed.
    pub commit: u64,
    /// Ends that a start would cut off, in words.
    pub torn: Vec<String>,
    /// Why it cannot be opened.
    pub error: Option<String>,
}

/// What a snapshot file holds.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    /// Its file.
    pub file: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// The last entry in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Who votes, as of then.
    pub voters: Vec<u64>,
    /// Who does not vote yet.
    pub learners: Vec<u64>,
    /// The mesh.
    pub mesh: String,
    /// The cluster's epoch.
    pub epoch: u64,
    /// Why it is not whole.
    pub error: Option<String>,
}

/// What the row store holds.
#[derive(Debug, Default, Serialize)]
pub struct Rows {
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes of keys and values.
    pub live_bytes: u64,
    /// The index that they are applied to; 0: none.
    pub applied: u64,
    /// Why they cannot be trusted; a start rebuilds them.
    pub doubt: Option<String>,
}

/// Runs the tool.
pub fn run(args: &Inspect) -> Result<ExitCode, OfflineError> {
    let (text, is_whole) = match (&args.file, &args.data_dir) {
        (Some(file), _) => {
            let found = backup_file::inspect(file)?;
            (shown(args.output, &found, || found.text())?, found.problems.is_empty())
        }
        (None, Some(data_dir)) => {
            let found = inspect(data_dir, args.scratch_dir.as_deref())?;
            (shown(args.output, &found, || found.text())?, found.problems.is_empty())
        }
        // The command line asks for one of them.
        (None, None) => return Err(OfflineError::Refused("nothing to inspect".to_owned())),
    };
    print!("{text}");
    Ok(match is_whole {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn shown(
    format: Format,
    found: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<String, OfflineError> {
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(found).map_err(OfflineError::Print)?;
            Ok(format!("{json}\n"))
        }
        Format::Text => Ok(text()),
    }
}

/// Looks at a data directory.
///
/// # Errors
/// When it is not there, in use, or cannot be copied.
pub fn inspect(data_dir: &Path, scratch: Option<&Path>) -> Result<Inspection, OfflineError> {
    let place = Place::look(data_dir)?;
    let scratch = Scratch::make(scratch)?;
    let (member, member_error) = match place.identity() {
        Ok(member) => (member, None),
        Err(error) => (None, Some(chain(&error))),
    };
    let (log, engine) = look_at_log(&place, &scratch)?;
    let snapshots = look_at_snapshots(&place)?;
    let rows = look_at_rows(&place, &scratch)?;
    let history = past::look(&place.path("history"))?;
    let mut found = Inspection {
        data_dir: data_dir.to_owned(),
        member,
        member_error,
        log,
        snapshots,
        rows,
        history,
        problems: Vec::new(),
    };
    found.judge(engine.as_ref());
    Ok(found)
}

fn look_at_log(place: &Place, scratch: &Scratch) -> Result<(Log, Option<EngineLog>), OfflineError> {
    let dir = place.path("log");
    let mut log = Log::default();
    if !dir.is_dir() {
        return Ok((log, None));
    }
    let copy = scratch.copy(&dir, "log")?;
    for entry in fs::read_dir(&dir).map_err(OfflineError::io("list the log"))? {
        let entry = entry.map_err(OfflineError::io("list the log"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".raftlog") || name.ends_with(".rewrite") {
            log.files += 1;
            log.bytes += entry.metadata().map_err(OfflineError::io("measure the log"))?.len();
        }
    }
    let engine = match EngineLog::open(&copy) {
        Ok(engine) => engine,
        Err(error) => {
            // The way there, not that of the copy.
            let text = chain(&error).replace(&*copy.to_string_lossy(), &dir.to_string_lossy());
            log.error = Some(text);
            return Ok((log, None));
        }
    };
    for cut in engine.cuts().iter().filter(|cut| !cut.zeros) {
        let file = cut.file.file_name().unwrap_or_default().to_string_lossy();
        log.torn.push(format!("{file} is torn at byte {}, {} bytes follow", cut.offset, cut.bytes));
    }
    let state = engine.hard_state();
    (log.term, log.vote, log.commit) = (state.term, state.vote, state.commit);
    (log.start_index, log.last_index) = (engine.start().index, engine.last_index());
    for index in log.start_index..=log.last_index {
        let term = engine.term(index)?;
        if log.terms.last().is_none_or(|run| run.1 != term) {
            log.terms.push((index, term));
        }
    }
    Ok((log, Some(engine)))
}

fn look_at_snapshots(place: &Place) -> Result<Vec<Snapshot>, OfflineError> {
    let dir = place.path("snapshots");
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    // Not by `open`, which deletes what was never finished.
    let store = FileSnapshots::at(&dir);
    let mut snapshots = Vec::new();
    for id in store.list()? {
        let file = store.path(id);
        let bytes = fs::metadata(&file).map_err(OfflineError::io("measure a snapshot"))?.len();
        let mut snapshot = Snapshot {
            file,
            bytes,
            index: id.index,
            term: id.term,
            voters: Vec::new(),
            learners: Vec::new(),
            mesh: String::new(),
            epoch: 0,
            error: None,
        };
        match store.verify(id) {
            Ok(header) => {
                snapshot.voters = header.conf_state.voters;
                snapshot.learners = header.conf_state.learners;
                (snapshot.mesh, snapshot.epoch) = (header.mesh, header.epoch);
            }
            Err(error) => snapshot.error = Some(chain(&error)),
        }
        snapshots.push(snapshot);
    }
    Ok(snapshots)
}

fn look_at_rows(place: &Place, scratch: &Scratch) -> Result<Rows, OfflineError> {
    let dir = place.path("rows");
    let mut rows = Rows::default();
    if !dir.is_dir() {
        return Ok(rows);
    }
    let store = SledRows::open(&scratch.copy(&dir, "rows")?)?;
    if let Found::Doubt(why) = store.found() {
        rows.doubt = Some(why.clone());
    }
    rows.applied = store.applied_index()?;
    rows.live_bytes = store.live_bytes()?;
    rows.bytes = store.disk_bytes()?;
    Ok(rows)
}

impl Inspection {
    /// Finds what a start would refuse, or mend.
    fn judge(&mut self, engine: Option<&EngineLog>) {
        let (log, rows) = (&self.log, &self.rows);
        let mut problems = Vec::new();
        problems.extend(self.member_error.clone());
        problems.extend(log.error.clone());
        let damaged = self.history.damaged.iter();
        problems.extend(damaged.map(|what| format!("a segment of history cannot be used: {what}")));
        problems.extend(log.torn.iter().map(|torn| {
            format!("the log: {torn}. a start cuts it off; nobody was told that it was safe")
        }));
        for snapshot in &self.snapshots {
            problems.extend(snapshot.error.clone());
        }
        if let Some(doubt) = &rows.doubt {
            problems.push(format!("the rows cannot be trusted ({doubt}); a start rebuilds them"));
        }
        if log.error.is_none() {
            if rows.applied > log.last_index {
                problems.push(format!(
                    "the rows are of entry {}, and the log ends at entry {}: its end was lost",
                    rows.applied, log.last_index
                ));
            }
            if log.commit > log.last_index {
                problems.push(format!(
                    "entry {} was committed, and the log ends at entry {}: its end was lost",
                    log.commit, log.last_index
                ));
            }
        }
        let usable = |snapshot: &&Snapshot| {
            snapshot.error.is_none()
                && engine.is_some_and(|log| log.term(snapshot.index).ok() == Some(snapshot.term))
        };
        if engine.is_some() && log.last_index > 0 && !self.snapshots.iter().any(|it| usable(&it)) {
            problems.push(
                "no snapshot can stand for the rows, should they be lost; rebuild-from-peer \
                 fetches one"
                    .to_owned(),
            );
        }
        self.problems = problems;
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut say = |name: &str, what: String| {
            text.push_str(&format!("{name:<11} {what}\n"));
        };
        say("data", self.data_dir.display().to_string());
        say(
            "member",
            match &self.member {
                Some(it) if it.node_id == 0 => format!("\"{}\", not in a cluster yet", it.name),
                Some(it) => format!("\"{}\", node id {}, disk {}", it.name, it.node_id, it.disk_id),
                None => "none ever ran here".to_owned(),
            },
        );
        let log = &self.log;
        say(
            "log",
            match &log.error {
                Some(_) => format!("DAMAGED, {} files, {} bytes", log.files, log.bytes),
                None => format!(
                    "entries {} to {}, {} files, {} bytes",
                    log.start_index + 1,
                    log.last_index,
                    log.files,
                    log.bytes
                ),
            },
        );
        if log.error.is_none() {
            say("", format!("term {}, vote {}, commit {}", log.term, log.vote, log.commit));
            let terms = log.terms.iter().map(|(index, term)| format!("{term} from {index}"));
            say("", format!("terms: {}", terms.collect::<Vec<_>>().join(", ")));
        }
        for it in &self.snapshots {
            let state = if it.error.is_some() { "DAMAGED" } else { "whole" };
            say(
                "snapshot",
                format!(
                    "entry {} of term {}, {} bytes, {state}, voters {:?}, learners {:?}, mesh \"{}\", \
                 epoch {}",
                    it.index, it.term, it.bytes, it.voters, it.learners, it.mesh, it.epoch
                ),
            );
        }
        if self.snapshots.is_empty() {
            say("snapshot", "none".to_owned());
        }
        let rows = &self.rows;
        say(
            "rows",
            format!(
                "as of entry {}, {} bytes, {} of them live{}",
                rows.applied,
                rows.bytes,
                rows.live_bytes,
                if rows.doubt.is_some() { ", NOT TO BE TRUSTED" } else { "" }
            ),
        );
        for line in self.history.lines() {
            say("history", line);
        }
        if self.history.journal_bytes > 0 {
            say("history", format!("a journal of {} bytes", self.history.journal_bytes));
        }
        for problem in &self.problems {
            say("problem", problem.clone());
        }
        if self.problems.is_empty() {
            say("result", "whole; a start would take it as it is".to_owned());
        }
        text
    }
}

/// A directory for copies, gone with this.
struct Scratch(PathBuf);

impl Scratch {
    fn make(under: Option<&Path>) -> Result<Self, OfflineError> {
        let under = under.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = under.join(format!("parallax-inspect-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(&path).map_err(OfflineError::io("make a scratch directory"))?;
        Ok(Self(path))
    }

    /// A copy of a directory, with its directories.
    fn copy(&self, from: &Path, name: &str) -> Result<PathBuf, OfflineError> {
        let to = self.0.join(name);
        copy(from, &to).map_err(OfflineError::io("copy to the scratch directory"))?;
        Ok(to)
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name()))?,
            false => drop(fs::copy(entry.path(), to.join(entry.file_name()))?),
        }
    }
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A left-over copy is a nuisance, not an error.
        let _ = fs::remove_dir_all(&self.0);
    }
}
