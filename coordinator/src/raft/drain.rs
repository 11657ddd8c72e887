//! raft-rs logs with slog; here that becomes tracing.

use std::fmt::{self, Write as _};

use slog::{Drain, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};
use tracing::Level as Its;

/// A logger for raft-rs. It tells at `info` what a member does at every start, so that is `debug`.
pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        use slog::KV as _;
        // Putting it into words costs more than what raft-rs did; mostly nobody listens.
        let heard = match record.level() {
            Level::Critical | Level::Error => tracing::enabled!(target: "raft", Its::ERROR),
            Level::Warning => tracing::enabled!(target: "raft", Its::WARN),
            Level::Info => tracing::enabled!(target: "raft", Its::DEBUG),
            Level::Debug | Level::Trace => tracing::enabled!(target: "raft", Its::TRACE),
        };
        if !heard {
            return Ok(());
        }
        let mut text = Text(record.msg().to_string());
        // Writing into a string cannot fail.
        let _ = record.kv().serialize(record, &mut text);
        let _ = values.serialize(record, &mut text);
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{}", text.0),
            Level::Warning => tracing::warn!(target: "raft", "{}", text.0),
            Level::Info => tracing::debug!(target: "raft", "{}", text.0),
            Level::Debug | Level::Trace => tracing::trace!(target: "raft", "{}", text.0),
        }
        Ok(())
    }
}

struct Text(String);

impl Serializer for Text {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}
