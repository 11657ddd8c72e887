//! The spool around its core ([`crate::core::spool`]): in memory for whoever seals and sends windows,
//! and on the disk behind their backs.
//!
//! [`Spooler`] is what everybody holds. The owner pushes into it and never waits for a disk; one task
//! writes what is there twice a second, on a thread for blocking work ([`keeper`]); lanes
//! (`crate::bulk`) claim what is next, from memory or from a segment.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use parallax_common::limits::{SPOOL_COMMIT_EVERY, SPOOL_RECORD_BYTES_MAX};
use parallax_common::name::Incarnation;
use parallax_common::time::{BootTime, MeshTime};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use self::files::{Files, System, is_bad, is_full};
use self::keeper::{Keeper, Refused};
use crate::core::spool::disk::Bounds;
use crate::core::spool::record::{Record, decode};
use crate::core::spool::{Claim, Gap, Portion, Spool};
use crate::metrics::Metrics;

pub mod files;
pub mod keeper;

/// Bytes read at a time, unless one record is longer.
const READ_BYTES: usize = 256 * 1024;

/// Whether an error is the disk's own, and none of whoever configured it.
pub fn is_of_the_disk(error: &io::Error) -> bool {
    is_bad(error) || is_full(error) || error.kind() == io::ErrorKind::ReadOnlyFilesystem
}

/// The spool of this probe. Clones are the same.
#[derive(Debug, Clone)]
pub struct Spooler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spool: Mutex<Spool>,
    disk: Option<OnDisk>,
    metrics: Arc<Metrics>,
    /// The disk is to be looked at now.
    wake: Notify,
    /// Told whenever there may be more to send.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct OnDisk {
    files: Arc<dyn Files>,
    keeper: Mutex<Keeper>,
    /// Mesh time as the owner told it last.
    now: Mutex<Option<MeshTime>>,
    /// What the disk refused at the last turn.
    refused: Mutex<Option<Refused>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Windows that were read from a segment.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// The first one's number; the others follow without a gap.
    pub first: u64,
    /// As they are sent.
    pub windows: Vec<Bytes>,
    /// Where the next one is.
    pub next: Place,
}

/// A place in a segment, for going on where one has read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    segment: u64,
    at: u64,
}

impl Spooler {
    /// A spool in memory: what no coordinator has is lost with the process.
    pub fn in_memory(incarnation: Incarnation, metrics: Arc<Metrics>) -> Self {
        Self::new(Spool::new(incarnation), None, metrics)
    }

    fn new(spool: Spool, disk: Option<OnDisk>, metrics: Arc<Metrics>) -> Self {
        let (changed, _) = watch::channel(());
        Self(Arc::new(Inner {
            spool: Mutex::new(spool),
            disk,
            metrics,
            wake: Notify::new(),
            changed,
        }))
    }

    /// The spool in a directory, with all that earlier lives have left there. Reads it all: not for
    /// a thread that has anything else to do.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it.
    pub fn open(
        dir: &Path,
        bounds: Bounds,
        incarnation: Incarnation,
        now: BootTime,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        Self::open_in(Arc::new(System::open(dir)?), bounds, incarnation, now, metrics)
    }

    fn open_in(
        files: Arc<dyn Files>,
        bounds: Bounds,
        incarnation: Incarnation,
        now: BootTime,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (keeper, found) = Keeper::open(Arc::clone(&files))?;
        metrics.spool_damaged.fetch_add(found.damaged, Relaxed);
        let windows: u64 = found.segments.iter().map(|segment| segment.windows).sum();
        info!(segments = found.segments.len(), windows, "spool open");
        let mut spool =
            Spool::on_disk(incarnation, bounds, found.segments, &found.statements, found.quiet);
        for reader in spool.known_readers() {
            spool.expect(reader, now);
        }
        let disk = OnDisk {
            files,
            keeper: Mutex::new(keeper),
            now: Mutex::default(),
            refused: Mutex::default(),
        };
        Ok(Self::new(spool, Some(disk), metrics))
    }

    /// Starts the task that writes, if there is a disk.
    pub fn spawn(&self, supervisor: &Supervisor) {
        if self.0.disk.is_none() {
            return;
        }
        let (spooler, stop) = (self.clone(), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("spool"), async move {
            loop {
                spooler.write().await;
                tokio::select! {
                    () = spooler.0.wake.notified() => {}
                    () = tokio::time::sleep(SPOOL_COMMIT_EVERY) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    /// Writes what waits, and does everything else that is due on the disk.
    pub async fn write(&self) {
        let spooler = self.clone();
        let turn = tokio::task::spawn_blocking(move || spooler.turn());
        if turn.await.is_err() {
            error!("a turn of the spool panicked");
        }
        self.tell();
    }

    fn turn(&self) {
        let Some(disk) = &self.0.disk else { return };
        let now = *lock(&disk.now);
        let turn = lock(&disk.keeper).turn(&self.0.spool, now);
        let metrics = &self.0.metrics;
        metrics.spool_merged.fetch_add(turn.merged, Relaxed);
        if turn.dropped > 0 {
            warn!(windows = turn.dropped, "spooled windows were dropped: too many, or too old");
        }
        metrics.spool_failing.store(u64::from(turn.refused.is_some()), Relaxed);
        // Said when it begins, changes and ends; it may last for hours.
        let before = std::mem::replace(&mut *lock(&disk.refused), turn.refused.clone());
        match turn.refused {
            Some(refused) if before.as_ref() == Some(&refused) => {}
            Some(Refused { what, why, full: true }) => {
                warn!(
                    what,
                    why, "the disk of the spool is full: the newest windows stay in memory"
                );
            }
            Some(Refused { what, why, .. }) => {
                error!(what, why, "the disk of the spool fails: the newest windows stay in memory");
            }
            None if before.is_some() => info!("the disk of the spool takes windows again"),
            None => {}
        }
    }

    fn tell(&self) {
        self.0.changed.send_replace(());
    }

    /// This life.
    pub fn incarnation(&self) -> Incarnation {
        lock(&self.0.spool).incarnation()
    }

    /// Told whenever there may be more to send.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Adds sealed windows with the ends of their periods.
    pub fn push(&self, windows: impl IntoIterator<Item = (MeshTime, Bytes)>) {
        {
            let mut spool = lock(&self.0.spool);
            for (end, encoded) in windows {
                spool.push(end, encoded);
            }
        }
        self.tell();
    }

    /// A reader's session began; until the answer is dropped, it is there.
    pub fn attach(&self, reader: u64) -> Attached {
        lock(&self.0.spool).attach(reader);
        self.0.wake.notify_one();
        Attached { spooler: self.clone(), reader }
    }

    /// Members of the group: windows wait for each of them.
    pub fn expect(&self, readers: impl IntoIterator<Item = u64>, now: BootTime) {
        let mut spool = lock(&self.0.spool);
        readers.into_iter().for_each(|reader| spool.expect(reader, now));
    }

    /// A reader has everything of a life up to here.
    pub fn acknowledge(&self, life: Incarnation, reader: u64, through: u64) {
        lock(&self.0.spool).acknowledge(life, reader, through);
    }

    /// See [`Spool::place`].
    pub fn place(&self, life: Incarnation, reader: u64) -> (u64, u64) {
        lock(&self.0.spool).place(life, reader)
    }

    /// See [`Spool::owed`].
    pub fn owed(&self, reader: u64) -> Option<Incarnation> {
        lock(&self.0.spool).owed(reader)
    }

    /// See [`Spool::is_suspect`].
    pub fn is_suspect(&self, life: Incarnation, reader: u64, from: u64) -> bool {
        lock(&self.0.spool).is_suspect(life, reader, from)
    }

    /// See [`Spool::refused`].
    pub fn refused(&self, life: Incarnation, reader: u64, windows: (u64, u64)) -> u32 {
        lock(&self.0.spool).refused(life, reader, windows)
    }

    /// See [`Spool::claim`].
    pub fn claim(
        &self,
        life: Incarnation,
        reader: u64,
        range: (u64, u64),
        portion: Portion,
    ) -> Claim {
        lock(&self.0.spool).claim(life, reader, range, portion)
    }

    /// Readers that were away for too long hold nothing back any more, and mesh time goes on.
    pub fn look(&self, now: BootTime, mesh: Option<MeshTime>, away_max: Duration) -> Vec<Gap> {
        if let Some(disk) = &self.0.disk {
            *lock(&disk.now) = mesh;
        }
        let mut spool = lock(&self.0.spool);
        let metrics = &self.0.metrics;
        metrics.spool_bytes.store(spool.bytes(), Relaxed);
        metrics.spool_disk_bytes.store(spool.disk_bytes(), Relaxed);
        metrics.spool_dropped.store(spool.dropped(), Relaxed);
        spool.give_up_away(now, away_max)
    }

    /// Reads what a claim says is in a segment, from where one has read last. Nothing when the
    /// segment has gone meanwhile: claim again. One that is damaged is set aside.
    pub async fn read(
        &self,
        (segment, from): (u64, u64),
        place: Option<Place>,
        portion: Portion,
    ) -> Option<Batch> {
        let spooler = self.clone();
        let read = move || spooler.read_now(segment, from, place, portion);
        tokio::task::spawn_blocking(read).await.ok()?
    }

    fn read_now(
        &self,
        id: u64,
        from: u64,
        place: Option<Place>,
        portion: Portion,
    ) -> Option<Batch> {
        let disk = self.0.disk.as_ref()?;
        let length = lock(&self.0.spool).segment(id)?.bytes;
        let at = place.filter(|place| place.segment == id).map_or(0, |place| place.at);
        match read(&*disk.files, (id, length), at, from, portion) {
            Ok(batch) => Some(batch),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let lost = lock(&disk.keeper).set_aside(&self.0.spool, id);
                error!(segment = id, windows = lost, "a spooled segment is damaged and set aside");
                self.0.metrics.spool_damaged.fetch_add(1, Relaxed);
                None
            }
            Err(error) => {
                warn!(segment = id, %error, "a spooled segment cannot be read");
                None
            }
        }
    }
}

/// A reader that is there.
#[derive(Debug)]
pub struct Attached {
    spooler: Spooler,
    reader: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let now = parallax_runtime::clock::boot_time();
        lock(&self.spooler.0.spool).detach(self.reader, now);
    }
}

/// Reads windows from the first that is not below `from`, up to a gap, in a segment of which so many
/// bytes are written. The place must be the beginning of a record.
fn read(
    files: &dyn Files,
    (segment, length): (u64, u64),
    mut at: u64,
    from: u64,
    portion: Portion,
) -> io::Result<Batch> {
    let mut batch = Batch { first: from, windows: Vec::new(), next: Place { segment, at } };
    let (mut taken, mut buffer) = (0, vec![0; READ_BYTES]);
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        let there = files.read(&keeper::name(segment), at, &mut buffer[..left])?;
        let mut used = 0;
        while let Some((record, bytes)) = decode(&buffer[used..there]) {
            if let Record::Window { sequence, bytes: window, .. } = record
                && sequence >= from
            {
                if batch.windows.is_empty() {
                    batch.first = sequence;
                }
                let follows = sequence == batch.first + batch.windows.len() as u64;
                let full = batch.windows.len() >= portion.windows || taken >= portion.bytes;
                if !follows || full {
                    return Ok(batch);
                }
                taken += window.len();
                batch.windows.push(Bytes::copy_from_slice(window));
            }
            used += bytes;
            batch.next.at = at + used as u64;
        }
        if used == 0 && there == READ_BYTES {
            // A long record.
            buffer.resize(2 * SPOOL_RECORD_BYTES_MAX, 0);
            continue;
        }
        if used == 0 {
            return match batch.windows.is_empty() {
                true => Err(io::ErrorKind::InvalidData.into()),
                false => Ok(batch),
            };
        }
        at += used as u64;
    }
    match batch.windows.is_empty() {
        true => Err(io::ErrorKind::InvalidData.into()),
        false => Ok(batch),
    }
}

#[cfg(test)]
mod tests;
