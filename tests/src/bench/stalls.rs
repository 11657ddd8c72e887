//! Moments at which the machine itself stood still: its disk, or its clock.
//!
//! A latency that was measured across such a moment is the machine's and not the product's. A
//! thread of its own sleeps, writes and syncs all the time, and remembers what took long.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use parallax_runtime::clock;

/// Between two looks. Few enough that the looks do not slow down what is measured.
const EVERY: Duration = Duration::from_millis(40);

/// A look that takes less than this is like any other.
const TOLD_FROM: Duration = Duration::from_millis(20);

/// The watch; it ends with this.
#[derive(Debug)]
pub struct Stalls {
    seen: Arc<Mutex<Vec<Stall>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Stall {
    from: Instant,
    to: Instant,
}

impl Stalls {
    /// Begins to watch the disk of a directory.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn watch(dir: &Path) -> Result<Self> {
        let mut file = File::create(dir.join("stalls"))?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (list, end) = (Arc::clone(&seen), Arc::clone(&ended));
        let watch = move || {
            while !end.load(Ordering::Relaxed) {
                let from = clock::instant();
                std::thread::sleep(EVERY);
                let synced = file
                    .rewind()
                    .and_then(|()| file.write_all(&[0x5a; 4_096]))
                    .and_then(|()| file.sync_data());
                if synced.is_err() {
                    return;
                }
                let to = clock::instant();
                if to.duration_since(from) > EVERY + TOLD_FROM {
                    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                    list.push(Stall { from: from + EVERY, to });
                }
            }
        };
        let thread = std::thread::Builder::new().name("stalls".to_owned()).spawn(watch)?;
        Ok(Self { seen, ended, thread: Some(thread) })
    }

    /// The longest that touched the time from `from` until now; zero when there was none.
    pub fn longest_since(&self, from: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        longest(&seen, from)
    }
}

fn longest(seen: &[Stall], from: Instant) -> Duration {
    let touching = seen.iter().rev().take_while(|stall| stall.to >= from);
    touching.map(|stall| stall.to - stall.from).max().unwrap_or_default()
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reaches_into_the_time_counts_and_the_longest_of_it() {
        let start = clock::instant();
        let at = |ms| start + Duration::from_millis(ms);
        let seen = [(0, 900), (1_000, 1_100), (1_200, 1_230)]
            .map(|(from, to)| Stall { from: at(from), to: at(to) });
        assert_eq!(longest(&seen, at(901)), Duration::from_millis(100));
        assert_eq!(longest(&seen, at(900)), Duration::from_millis(900));
        assert_eq!(longest(&seen, at(1_150)), Duration::from_millis(30));
        assert_eq!(longest(&seen, at(1_231)), Duration::ZERO);
    }
}
