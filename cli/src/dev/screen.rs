//! What a dev mesh says: one line at a time, from any task.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use parallax_common::time::UtcTime;
use parallax_runtime::clock;

/// A terminal that several tasks write to. A reader that has gone is no reason to stop.
#[derive(Clone)]
pub struct Screen {
    out: Arc<Mutex<dyn Write + Send>>,
}

impl Screen {
    /// The standard output.
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// Anything that takes text.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self { out: Arc::new(Mutex::new(out)) }
    }

    /// Says something.
    pub fn line(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Says that something happened just now.
    pub fn event(&self, what: &str, text: &str) {
        self.line(&format!("{}  {what:<8}  {text}", time_of_day(clock::utc())));
    }
}

/// For what writes its own lines.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).flush();
        Ok(())
    }
}

fn time_of_day(at: UtcTime) -> String {
    let since = at.since(UtcTime::default());
    jiff::Timestamp::UNIX_EPOCH
        .checked_add(Duration::from_millis(since.as_millis() as u64))
        .map_or_else(|_| "-".to_owned(), |at| at.strftime("%H:%M:%S%.3f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_utc_with_milliseconds() {
        let at = UtcTime::from_ns(1_700_000_000_123_456_789);
        assert_eq!(time_of_day(at), "22:13:20.123");
    }
}
