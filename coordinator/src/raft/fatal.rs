//! The end of the process, when going on would be worse (decision 21).

use std::sync::Arc;

use tracing::error;

/// Called with the reason when a store or one of its threads cannot be trusted any more. The thread
/// that calls it does nothing afterwards.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

/// Says why and aborts, so that nothing half-done is flushed on the way out.
pub fn abort() -> Fatal {
    Arc::new(|reason| {
        error!(reason, "cannot go on");
        std::process::abort();
    })
}

/// Calls `fatal` when its thread panics.
pub(crate) struct Guard {
    pub(crate) thread: &'static str,
    pub(crate) fatal: Fatal,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.fatal)(&format!("the {} thread panicked", self.thread));
        }
    }
}

/// An error with everything behind it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
