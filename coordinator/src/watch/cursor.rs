//! How far one watcher has been told, and what it is told next. Pure: [`super::feed`] waits and
//! sends.

use parallax_common::limits::WATCH_PROGRESS_EVERY;
use parallax_proto::v1;
use parallax_proto::v1::watch_response::Change;

use super::{Changes, Compacted};

/// What a watcher asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// It hears of this namespace only.
    pub namespace: String,
    /// Everything after this revision.
    pub from: u64,
    /// It does not know the revision that it begins at, and is told.
    pub tell_start: bool,
}

/// One watcher's place in the changes.
#[derive(Debug)]
pub struct Cursor {
    namespace: String,
    /// Everything up to here was told, or is not for this watcher.
    from: u64,
    /// What the watcher would resume from.
    told: Option<u64>,
}

/// What a watcher is to be told now.
#[derive(Debug)]
pub struct Next {
    /// In this order; every revision whole.
    pub responses: Vec<v1::WatchResponse>,
    /// There is more already.
    pub more: bool,
}

impl Cursor {
    /// The place where a watcher begins.
    pub fn new(asked: Asked) -> Self {
        let Asked { namespace, from, tell_start } = asked;
        Self { namespace, from, told: if tell_start { None } else { Some(from) } }
    }

    /// Some of what the watcher does not know yet. `revision` is how far the changes had come before
    /// this was asked.
    ///
    /// # Errors
    /// [`Compacted`] when some of it is gone: the watcher has to list again.
    pub fn next(&mut self, changes: &Changes, revision: u64) -> Result<Next, Compacted> {
        let part = changes.after(self.from, &self.namespace)?;
        let mut responses: Vec<v1::WatchResponse> = part.responses().collect();
        self.told = responses.last().map(|last| last.revision).or(self.told);
        if let Some(more_after) = part.more_after {
            self.from = more_after;
            return Ok(Next { responses, more: true });
        }
        self.from = self.told.map_or(self.from, |told| self.from.max(told)).max(revision);
        // Else whoever hears little would resume from what is long gone, though it missed nothing.
        if self.told.is_none_or(|told| self.from >= told + WATCH_PROGRESS_EVERY) {
            self.told = Some(self.from);
            let change = Some(Change::Progress(v1::Progress {}));
            let revision = self.from;
            responses.push(v1::WatchResponse { revision, change, ..Default::default() });
        }
        Ok(Next { responses, more: false })
    }
}
