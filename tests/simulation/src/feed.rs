//! Watches at one member: the ring of changes of production, and a cursor for each watcher.

use std::sync::Arc;

use parallax_common::limits::WATCH_LEADERLESS_MAX;
use parallax_coordinator::core::state::State;
use parallax_coordinator::machine::Batch;
use parallax_coordinator::raft::node::ReadError;
use parallax_coordinator::watch::Changes;
use parallax_coordinator::watch::cursor::{Asked, Cursor};
use parallax_proto::v1;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};

use crate::api::{Context, DEADLINE, DEADLINE_US};

const LEADERLESS_US: u64 = WATCH_LEADERLESS_MAX.as_micros() as u64;

/// What a watcher asks for.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Which watcher.
    pub watcher: usize,
    /// Its number for this stream.
    pub stream: u64,
    /// What it watches.
    pub namespace: String,
    /// Everything after this revision; none: what there is now.
    pub from: Option<u64>,
}

/// What a watcher hears.
#[derive(Debug, Clone)]
pub enum Said {
    /// All there is in its namespace, as of the state's revision.
    List(Arc<State>),
    /// Its watch has begun.
    Begun,
    /// Changes, and the state that they lead to when all of it was told.
    Changes(Vec<v1::WatchResponse>, Option<Arc<State>>),
    /// What it asked for is gone.
    Compacted,
    /// It is to ask another member.
    End,
}

/// Something for a watcher: which, on which stream.
pub type Letter = (usize, u64, Said);

/// What waits for a read to be confirmed, and until when.
type Waiting = (Listen, u64, Receiver<Result<u64, ReadError>>);

struct Feed {
    watcher: usize,
    stream: u64,
    cursor: Cursor,
}

/// The watches of one life of a member.
pub struct Feeds {
    changes: Changes,
    batches: UnboundedReceiver<Batch>,
    revision: u64,
    waiting: Vec<Waiting>,
    open: Vec<Feed>,
    /// Since when no leader is known.
    leaderless_us: Option<u64>,
}

impl Feeds {
    /// Follows `batches` in a ring for so many changes. What came up to `start` is not known.
    pub fn new(most: usize, start: u64, batches: UnboundedReceiver<Batch>) -> Self {
        let changes = Changes::holding(most);
        changes.begin(start);
        Self {
            changes,
            batches,
            revision: start,
            waiting: Vec::new(),
            open: Vec::new(),
            leaderless_us: None,
        }
    }

    /// Whether somebody listens or waits.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    /// Takes a question. Who has seen more than this member waits until it has, too.
    pub fn listen(&mut self, listen: Listen, context: &mut Context<'_>, out: &mut Vec<Letter>) {
        match listen.from {
            Some(from) if from <= context.view.load().applied => self.begin(listen, from, out),
            _ => {
                let (reply, answer) = oneshot::channel();
                context.member.read_index(context.instant, DEADLINE, reply);
                self.waiting.push((listen, context.now_us + DEADLINE_US, answer));
            }
        }
    }

    fn begin(&mut self, listen: Listen, from: u64, out: &mut Vec<Letter>) {
        let Listen { watcher, stream, namespace, .. } = listen;
        let cursor = Cursor::new(Asked { namespace, from, tell_start: false });
        out.push((watcher, stream, Said::Begun));
        self.open.push(Feed { watcher, stream, cursor });
    }

    /// A watcher has closed this stream.
    pub fn close(&mut self, watcher: usize, stream: u64) {
        self.open.retain(|feed| (feed.watcher, feed.stream) != (watcher, stream));
        self.waiting.retain(|(it, ..)| (it.watcher, it.stream) != (watcher, stream));
    }

    /// Follows what was applied, and tells it.
    pub fn turn(&mut self, context: &mut Context<'_>, out: &mut Vec<Letter>) {
        while let Ok(batch) = self.batches.try_recv() {
            self.revision = batch.revision;
            self.changes.take(&batch);
        }
        for (listen, until_us, mut answer) in std::mem::take(&mut self.waiting) {
            let (watcher, stream) = (listen.watcher, listen.stream);
            match answer.try_recv() {
                Err(TryRecvError::Empty) if context.now_us < until_us => {
                    self.waiting.push((listen, until_us, answer));
                }
                Ok(Ok(_)) => {
                    let state = context.view.load();
                    match listen.from {
                        None => out.push((watcher, stream, Said::List(state))),
                        Some(from) if from <= state.applied => self.begin(listen, from, out),
                        Some(_) => out.push((watcher, stream, Said::Compacted)),
                    }
                }
                _ => out.push((watcher, stream, Said::End)),
            }
        }
        if self.is_leaderless(context) {
            let gone = self.open.drain(..);
            out.extend(gone.map(|feed| (feed.watcher, feed.stream, Said::End)));
        }
        let (changes, revision) = (&self.changes, self.revision);
        let state = context.view.load();
        self.open.retain_mut(|feed| {
            let mut told = Vec::new();
            loop {
                match feed.cursor.next(changes, revision) {
                    Ok(mut next) => {
                        told.append(&mut next.responses);
                        if next.more {
                            continue;
                        }
                    }
                    Err(_) => {
                        out.push((feed.watcher, feed.stream, Said::Changes(told, None)));
                        out.push((feed.watcher, feed.stream, Said::Compacted));
                        return false;
                    }
                }
                break;
            }
            if !told.is_empty() {
                let state = (state.applied == revision).then(|| Arc::clone(&state));
                out.push((feed.watcher, feed.stream, Said::Changes(told, state)));
            }
            true
        });
    }

    fn is_leaderless(&mut self, context: &Context<'_>) -> bool {
        if context.member.leader().is_some() {
            self.leaderless_us = None;
            return false;
        }
        let since_us = *self.leaderless_us.get_or_insert(context.now_us);
        since_us + LEADERLESS_US <= context.now_us
    }
}
