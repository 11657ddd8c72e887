//! A run for somebody who watches it: what it saw, and what each expression says of that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use parallax_common::check::Run;
use parallax_common::expect::{Certificate, Facts};

use super::expect::{Evaluator, Judgement};
use super::{Execution, Executor, Trace};

/// What the run of a slot saw beside what it found; of several the last.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// HTTP status of the last step.
    pub status: Option<u16>,
    /// `HTTP/1.1`, `HTTP/2` or `HTTP/3`; empty when none was spoken.
    pub http_version: String,
    /// `1.2` or `1.3`; empty without TLS.
    pub tls_version: String,
    /// The cipher suite, as IANA names it; empty without TLS.
    pub cipher: String,
    /// All certificates that were shown, that of the target first; also when they were refused.
    pub chain: Vec<Certificate>,
    /// Redirects that were followed.
    pub redirects: u32,
    /// Each expression, in order, those that fail before those that warn. None when the run did not get
    /// so far.
    pub said: Vec<Said>,
    /// Runs that the slot had room for.
    pub samples: u32,
}

/// What one expression says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The expression.
    pub source: String,
    /// It is one of `warn`.
    pub warns: bool,
    /// Whether it holds, or why it has no answer.
    pub holds: Result<bool, String>,
}

/// Where a run that is watched writes down what it sees.
pub(super) type Watcher = Arc<Mutex<Looked>>;

impl Executor {
    /// Carries out a slot as [`Executor::slot`] does, and tells more of it than goes to coordinators.
    /// For a person at a terminal: it keeps the whole chain of certificates and asks every expression,
    /// also those that the outcome does not need.
    pub async fn look(&self, run: &Run, room: Duration) -> (Execution, Looked) {
        let watcher = Watcher::default();
        let execution = self.samples(run, room, Some(&watcher)).await;
        let looked = watcher.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (execution, looked)
    }
}

/// Begins another run: of the one before it nothing is kept.
pub(super) fn note_begin(watcher: &Watcher) {
    let mut looked = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    *looked = Looked { samples: looked.samples + 1, ..Looked::default() };
}

/// Notes what a run saw on its way, however it ended.
pub(super) fn note_trace(watcher: &Watcher, trace: &Trace) {
    let mut looked = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    looked.chain.clone_from(&trace.chain);
    trace.tls_version.clone_into(&mut looked.tls_version);
    let cipher = trace.cipher.and_then(|it| it.as_str()).unwrap_or_default();
    looked.cipher = cipher.replacen("TLS13_", "TLS_", 1);
}

/// Judges, and notes what there was to judge and what each expression says of it.
pub(super) async fn judge(
    watcher: &Watcher,
    evaluator: &Evaluator,
    run: &Run,
    facts: Facts,
) -> Judgement {
    {
        let mut looked = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        looked.status = facts.status;
        facts.http_version.clone_into(&mut looked.http_version);
        looked.redirects = facts.redirects.count;
    }
    let (judgement, said) = evaluator.each(run, facts).await;
    watcher.lock().unwrap_or_else(PoisonError::into_inner).said = said;
    judgement
}
