//! What happened, as one number and, on demand, as lines.

use xxhash_rust::xxh3::Xxh3;

/// The log of a run's events.
pub struct Trace {
    hash: Xxh3,
    events: u64,
    print: bool,
}

impl Trace {
    /// A log that prints its lines to stderr, or only counts them.
    pub fn new(print: bool) -> Self {
        Self { hash: Xxh3::new(), events: 0, print }
    }

    /// Adds an event: numbers that tell it from others, and a line for people.
    pub fn note(&mut self, now_us: u64, numbers: &[u64], line: impl FnOnce() -> String) {
        self.events += 1;
        self.hash.update(&now_us.to_le_bytes());
        for number in numbers {
            self.hash.update(&number.to_le_bytes());
        }
        if self.print {
            let (s, us) = (now_us / 1_000_000, now_us % 1_000_000);
            eprintln!("{s:3}.{us:06} {}", line());
        }
    }

    /// One number for everything so far.
    pub fn digest(&self) -> u64 {
        self.hash.digest()
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }
}
