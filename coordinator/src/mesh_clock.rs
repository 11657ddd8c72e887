//! This member's estimate of mesh time: its own boot clock plus an offset that is kept on disk.
//!
//! A start goes on from the stored offset when the machine has not booted since, else from UTC,
//! and never from before the last time that was committed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use parallax_common::time::MeshTime;
use parallax_runtime::clock;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

/// Reads mesh time.
#[derive(Debug)]
pub struct MeshClock {
    offset_ns: AtomicI64,
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    boot_id: String,
    offset_ns: i64,
}

impl MeshClock {
    /// The clock of a member whose data is in `dir`.
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("clock.json");
        let stored = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok())
            .filter(|stored| stored.boot_id == clock::boot_id());
        let offset_ns = match stored {
            Some(stored) => stored.offset_ns,
            None => clock::utc().as_ns() - clock::boot_time().as_ns(),
        };
        let clock = Self { offset_ns: AtomicI64::new(offset_ns), path };
        clock.store();
        clock
    }

    /// Mesh time now.
    pub fn now(&self) -> MeshTime {
        clock::boot_time().to_mesh(self.offset_ns.load(Ordering::Acquire))
    }

    /// Moves the clock forward when it lies before `committed`, the newest mesh time in the log:
    /// mesh time never goes back.
    pub fn not_before(&self, committed: MeshTime) {
        let behind = committed.as_ns() - self.now().as_ns();
        if behind > 0 {
            info!(
                behind_ms = behind / 1_000_000,
                "mesh time goes on from the newest committed one"
            );
            self.offset_ns.fetch_add(behind, Ordering::AcqRel);
            self.store();
        }
    }

    fn store(&self) {
        let stored =
            Stored { boot_id: clock::boot_id(), offset_ns: self.offset_ns.load(Ordering::Acquire) };
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
