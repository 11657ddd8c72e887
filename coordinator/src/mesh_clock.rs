//! Mesh time on this member: its own boot clock plus an offset that is kept on disk. The rules are
//! in `core/mesh_clock.rs`.
//!
//! A start goes on from the stored offset when the machine has not booted since. Else it asks other
//! members, then listens to what its probes go on with, then takes UTC; who needs the time waits for
//! [`MeshClock::known`]. It never lies before the last time that was committed.

pub mod start;

use std::path::{Path, PathBuf};

use parallax_common::clock::Estimate;
use parallax_common::limits::{CLOCK_PROBES_MAX, CLOCK_STORED_EVERY};
use parallax_common::time::{BootTime, MeshTime};
use parallax_runtime::clock;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::core::mesh_clock::{Clock, Followed, Found, choose};

/// Reads mesh time.
#[derive(Debug)]
pub struct MeshClock {
    clock: Mutex<Clock>,
    known: watch::Sender<bool>,
    /// Offsets that probes go on with, while the time is not known.
    probes: Mutex<Vec<i64>>,
    /// The newest time that was committed before this start.
    committed: Mutex<MeshTime>,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    boot_id: String,
    offset_ns: i64,
}

fn utc_offset() -> i64 {
    clock::utc().as_ns() - clock::boot_time().as_ns()
}

impl MeshClock {
    /// The clock of a member whose data is in `dir`, which takes UTC when nothing is stored.
    pub fn open(dir: &Path) -> Self {
        let opened = Self::begin(dir);
        if !opened.is_known() {
            opened.settle(Vec::new());
        }
        opened
    }

    /// The same, which waits for [`MeshClock::settle`] when nothing is stored.
    pub fn begin(dir: &Path) -> Self {
        let path = dir.join("clock.json");
        let stored = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok())
            .filter(|stored| stored.boot_id == clock::boot_id());
        let known = stored.is_some();
        let offset_ns = stored.map_or_else(utc_offset, |stored| stored.offset_ns);
        Self {
            clock: Mutex::new(Clock::new(offset_ns, clock::boot_time())),
            known: watch::Sender::new(known),
            probes: Mutex::default(),
            committed: Mutex::default(),
            path,
        }
    }

    /// Mesh time now.
    pub fn now(&self) -> MeshTime {
        self.clock.lock().mesh(clock::boot_time())
    }

    /// Whether it is mesh time that is read.
    pub fn is_known(&self) -> bool {
        *self.known.borrow()
    }

    /// Waits until it is.
    pub async fn known(&self) {
        // The sender lives as long as this.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// What a probe that dials takes for mesh time now. Counts while nobody knows better.
    pub fn heard_probe(&self, believes: MeshTime) {
        let mut probes = self.probes.lock();
        if !self.is_known() && probes.len() < CLOCK_PROBES_MAX {
            probes.push(believes.as_ns() - clock::boot_time().as_ns());
        }
    }

    /// Ends the search: by what other members said, or the probes so far, or UTC.
    pub fn settle(&self, members: Vec<Estimate>) {
        let probes = std::mem::take(&mut *self.probes.lock());
        let found = Found { stored: None, members, probes, utc: utc_offset() };
        let (source, offset_ns) = choose(&found);
        info!(?source, offset_ns, "mesh time is known");
        *self.clock.lock() = Clock::new(offset_ns, clock::boot_time());
        let committed = *self.committed.lock();
        self.not_before(committed);
        self.store();
        self.known.send_replace(true);
    }

    /// The leader has measured this member's offset.
    pub fn measured(&self, offset_ns: i64) -> Followed {
        let followed = self.clock.lock().measured(offset_ns, clock::boot_time());
        if let Followed::Set(step_ns) = followed {
            info!(step_ns, "mesh time is the leader's");
            self.store();
        }
        followed
    }

    /// This member leads now, or no longer.
    pub fn lead(&self, leads: bool) {
        self.clock.lock().lead(leads, clock::boot_time());
    }

    /// Moves the clock forward when it lies before `committed`, the newest mesh time in the log:
    /// mesh time never goes back.
    pub fn not_before(&self, committed: MeshTime) {
        *self.committed.lock() = committed;
        let behind = self.clock.lock().not_before(committed, clock::boot_time());
        if behind > 0 {
            info!(
                behind_ms = behind / 1_000_000,
                "mesh time goes on from the newest committed one"
            );
        }
    }

    /// Writes the offset down from time to time, for the next start in this boot.
    pub async fn keep(self: std::sync::Arc<Self>) {
        self.known().await;
        loop {
            let clock = std::sync::Arc::clone(&self);
            // A disk that hangs must not hold up anybody.
            let _ = tokio::task::spawn_blocking(move || clock.store()).await;
            tokio::time::sleep(CLOCK_STORED_EVERY).await;
        }
    }

    fn offset_at(&self, now: BootTime) -> i64 {
        self.clock.lock().offset_ns(now)
    }

    fn store(&self) {
        let offset_ns = self.offset_at(clock::boot_time());
        let stored = Stored { boot_id: clock::boot_id(), offset_ns };
        let written =
            serde_json::to_vec(&stored).map_err(std::io::Error::other).and_then(|bytes| {
                let temporary = self.path.with_extension("tmp");
                std::fs::write(&temporary, bytes)?;
                std::fs::rename(&temporary, &self.path)
            });
        if let Err(error) = written {
            warn!(path = %self.path.display(), %error, "the clock offset could not be stored");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_goes_on_from_the_offset_of_the_same_boot_and_else_asks() {
        let dir = tempfile::tempdir().unwrap();
        let first = MeshClock::begin(dir.path());
        assert!(!first.is_known());
        // One probe lives an hour ahead of UTC; what comes after the search does not count.
        let hour = 3_600_000_000_000;
        first.heard_probe(MeshTime::from_ns(clock::utc().as_ns() + hour));
        first.settle(Vec::new());
        first.heard_probe(MeshTime::from_ns(0));
        assert!(first.is_known());
        let ahead = |clock: &MeshClock| clock.now().as_ns() - clock::utc().as_ns();
        assert!((ahead(&first) - hour).abs() < 1_000_000_000);
        // Nothing else than what was stored counts now.
        let second = MeshClock::begin(dir.path());
        assert!(second.is_known());
        assert!((ahead(&second) - hour).abs() < 1_000_000_000);
        let other = Stored { boot_id: "another boot".to_owned(), offset_ns: 5 };
        std::fs::write(dir.path().join("clock.json"), serde_json::to_vec(&other).unwrap()).unwrap();
        assert!(!MeshClock::begin(dir.path()).is_known());
        assert!(ahead(&MeshClock::open(dir.path())).abs() < 1_000_000_000);
    }

    #[test]
    fn what_is_found_does_not_lie_before_what_was_committed() {
        let dir = tempfile::tempdir().unwrap();
        let begun = MeshClock::begin(dir.path());
        let committed = MeshTime::from_ns(clock::utc().as_ns() + 60_000_000_000);
        begun.not_before(committed);
        begun.heard_probe(MeshTime::from_ns(clock::utc().as_ns()));
        begun.settle(Vec::new());
        assert!(begun.now() >= committed);
    }
}
