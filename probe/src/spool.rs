//! The spool around its core ([`crate::core::spool`]): in memory for whoever seals and sends windows,
//! and on the disk behind their backs.
//!
//! [`Spooler`] is what everybody holds. The owner pushes into it and never waits for a disk; one task
//! writes what is there twice a second, on a thread for blocking work ([`keeper`]); lanes
//! (`crate::bulk`) claim what is next, from memory or from a segment. What earlier lives have left is
//! read by the same task: until then the spool is one in memory, and nobody waits for it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parallax_common::limits::{
    SPOOL_AHEAD_MAX, SPOOL_COMMIT_EVERY, SPOOL_OPEN_AGAIN_AFTER, SPOOL_RECORD_BYTES_MAX,
    SPOOL_UNREADABLE_FOR, SPOOL_UNREADABLE_TIMES,
};
use parallax_common::name::Incarnation;
use parallax_common::time::{BootTime, MeshTime};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use self::files::{Files, System, is_bad, is_full, is_of_the_process};
use self::holder::{Holder, OpenError};
use self::keeper::{Keeper, Refused};
use crate::core::spool::disk::Bounds;
use crate::core::spool::record::{Record, decode};
use crate::core::spool::{Claim, Gap, Portion, Spool};
use crate::metrics::Metrics;

pub mod files;
pub mod holder;
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
    /// What earlier lives have left is known.
    opened: watch::Sender<bool>,
}

#[derive(Debug)]
struct OnDisk {
    files: Arc<dyn Files>,
    bounds: Bounds,
    /// `None` until the disk was read.
    keeper: Mutex<Option<Keeper>>,
    /// When it is to be read, again if it refused.
    open_at: Mutex<Instant>,
    /// Segments that could not be read when they were asked for last.
    unreadable: Mutex<BTreeMap<u64, Unreadable>>,
    /// Damaged segments are not mended before: it was tried a moment ago, and there was no room.
    mend_at: Mutex<Option<Instant>>,
    /// Mesh time as the owner told it last.
    now: Mutex<Option<MeshTime>>,
    /// What the disk refused at the last turn.
    refused: Mutex<Option<Refused>>,
}

/// How a segment refuses to be read.
#[derive(Debug, Clone, Copy)]
struct Unreadable {
    times: u32,
    since: Instant,
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
        let ((changed, _), (opened, _)) = (watch::channel(()), watch::channel(disk.is_none()));
        Self(Arc::new(Inner {
            spool: Mutex::new(spool),
            disk,
            metrics,
            wake: Notify::new(),
            changed,
            opened,
        }))
    }

    /// The spool in a directory, locked. What earlier lives have left there is read by the first turn.
    ///
    /// # Errors
    /// When the directory cannot be used, another process uses it, or it is another probe's.
    pub fn open(
        dir: &Path,
        bounds: Bounds,
        holder: &Holder,
        incarnation: Incarnation,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let files = System::open(dir)?;
        holder::claim(&files, holder)?;
        Ok(Self::over(Arc::new(files), bounds, incarnation, metrics))
    }

    fn over(
        files: Arc<dyn Files>,
        bounds: Bounds,
        incarnation: Incarnation,
        metrics: Arc<Metrics>,
    ) -> Self {
        let disk = OnDisk {
            files,
            bounds,
            keeper: Mutex::default(),
            open_at: Mutex::new(clock::instant()),
            unreadable: Mutex::default(),
            mend_at: Mutex::default(),
            now: Mutex::default(),
            refused: Mutex::default(),
        };
        Self::new(Spool::new(incarnation), Some(disk), metrics)
    }

    /// Reads what earlier lives have left, unless the disk has refused that a moment ago.
    fn read_disk(&self, disk: &OnDisk) -> Option<Keeper> {
        let now = clock::instant();
        {
            let mut open_at = lock(&disk.open_at);
            if *open_at > now {
                return None;
            }
            *open_at = now + SPOOL_OPEN_AGAIN_AFTER;
        }
        let (keeper, found) = match Keeper::open(Arc::clone(&disk.files)) {
            Ok(read) => read,
            Err(error) => {
                error!(%error, "the spool cannot be read: windows wait in memory");
                self.0.metrics.spool_failing.store(1, Relaxed);
                return None;
            }
        };
        self.0.metrics.spool_damaged.fetch_add(found.damaged, Relaxed);
        let windows: u64 = found.segments.iter().map(|segment| segment.windows).sum();
        info!(segments = found.segments.len(), windows, "spool open");
        {
            let mut spool = lock(&self.0.spool);
            spool.take_up(disk.bounds, found.segments, &found.statements, found.quiet);
            let now = clock::boot_time();
            for reader in spool.known_readers() {
                spool.expect(reader, now);
            }
        }
        self.0.opened.send_replace(true);
        Some(keeper)
    }

    /// Resolves when it is known what earlier lives have left.
    pub async fn opened(&self) {
        // The sender lives as long as this does.
        let _ = self.0.opened.subscribe().wait_for(|opened| *opened).await;
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

    pub(crate) fn turn(&self) {
        let Some(disk) = &self.0.disk else { return };
        let now = *lock(&disk.now);
        let turn = {
            let mut keeper = lock(&disk.keeper);
            if keeper.is_none() {
                *keeper = self.read_disk(disk);
            }
            let Some(keeper) = &mut *keeper else { return };
            keeper.turn(&self.0.spool, now)
        };
        let metrics = &self.0.metrics;
        metrics.spool_merged.fetch_add(turn.merged, Relaxed);
        metrics.spool_damaged.fetch_add(turn.damaged, Relaxed);
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
                spool.is_over(end);
            }
        }
        self.tell();
    }

    /// Adds windows whose periods are not over, at the end of this life: the next one delivers them when
    /// they are.
    pub fn push_early(&self, windows: impl IntoIterator<Item = (MeshTime, Bytes)>) {
        let mut spool = lock(&self.0.spool);
        for (end, encoded) in windows {
            spool.push(end, encoded);
            spool.is_early(end);
        }
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

    /// See [`Spool::cut`].
    pub fn cut(&self, life: Incarnation, reader: u64, windows: (u64, u64)) -> u32 {
        lock(&self.0.spool).cut(life, reader, windows)
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

    /// Readers that were away for too long hold nothing back any more, and mesh time goes on; `None`
    /// while nobody has measured it.
    pub fn look(&self, now: BootTime, mesh: Option<MeshTime>, away_max: Duration) -> Vec<Gap> {
        if let Some(disk) = &self.0.disk {
            *lock(&disk.now) = mesh;
        }
        let mut spool = lock(&self.0.spool);
        spool.it_is(mesh);
        let metrics = &self.0.metrics;
        metrics.spool_bytes.store(spool.bytes(), Relaxed);
        metrics.spool_disk_bytes.store(spool.disk_bytes(), Relaxed);
        metrics.spool_dropped.store(spool.dropped(), Relaxed);
        let gaps = spool.give_up_away(now, away_max);
        drop(spool);
        // What was not over may be now.
        self.tell();
        gaps
    }

    /// Reads what a claim says is in a segment, from where one has read last. Nothing when the
    /// segment has gone meanwhile, or what is next is of a period that is not over by the mesh's clock:
    /// claim again. Of one that is damaged, or that the disk refuses to read again and again, what can be
    /// read is kept, and the rest given up.
    pub async fn read(
        &self,
        (segment, from): (u64, u64),
        place: Option<Place>,
        portion: Portion,
    ) -> Option<Batch> {
        let spooler = self.clone();
        let now = clock::instant();
        let read = move || spooler.read_now((segment, from), place, portion, now);
        tokio::task::spawn_blocking(read).await.ok()?
    }

    fn read_now(
        &self,
        (id, from): (u64, u64),
        place: Option<Place>,
        portion: Portion,
        now: Instant,
    ) -> Option<Batch> {
        let disk = self.0.disk.as_ref()?;
        let length = lock(&self.0.spool).segment(id)?.bytes;
        let at = place.filter(|place| place.segment == id).map_or(0, |place| place.at);
        // An earlier life has sealed early when it ended. While the time is not known nothing is over.
        let over_at = (*lock(&disk.now))?;
        match read(&*disk.files, (id, length), at, (from, over_at), portion) {
            Ok(batch) => {
                lock(&disk.unreadable).remove(&id);
                batch
            }
            // Deleted between the question and the reading, or by somebody else.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.unreadable(disk, id, now),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => self.mend(disk, id, now),
            Err(error) => {
                warn!(segment = id, %error, "a spooled segment cannot be read");
                if is_of_the_process(&error) { None } else { self.unreadable(disk, id, now) }
            }
        }
    }

    /// A segment was not to be read. After a while of that it is damaged.
    fn unreadable(&self, disk: &OnDisk, id: u64, now: Instant) -> Option<Batch> {
        let is_lasting = {
            let spool = lock(&self.0.spool);
            let mut unreadable = lock(&disk.unreadable);
            unreadable.retain(|id, _| spool.segment(*id).is_some());
            spool.segment(id)?;
            let of = unreadable.entry(id).or_insert(Unreadable { times: 0, since: now });
            of.times = of.times.saturating_add(1);
            let age = now.saturating_duration_since(of.since);
            of.times >= SPOOL_UNREADABLE_TIMES && age >= SPOOL_UNREADABLE_FOR
        };
        if is_lasting { self.mend(disk, id, now) } else { None }
    }

    fn mend(&self, disk: &OnDisk, id: u64, now: Instant) -> Option<Batch> {
        let mut keeper = lock(&disk.keeper);
        lock(&self.0.spool).segment(id)?;
        if lock(&disk.mend_at).is_some_and(|at| now < at) {
            return None;
        }
        match keeper.as_mut()?.mend(&self.0.spool, id) {
            Ok(lost) => {
                error!(segment = id, windows = lost, "{}", keeper::IS_DAMAGED);
                self.0.metrics.spool_damaged.fetch_add(1, Relaxed);
            }
            Err(refused) => {
                warn!(segment = id, %refused, "a damaged segment waits to be mended");
                *lock(&disk.mend_at) = Some(now + SPOOL_OPEN_AGAIN_AFTER);
            }
        }
        None
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
        let now = clock::boot_time();
        lock(&self.spooler.0.spool).detach(self.reader, now);
    }
}

/// Reads windows from the first that is not below `from`, up to a gap or one whose period is not over,
/// in a segment of which so many bytes are written. The place must be the beginning of a record. Windows
/// that end so far ahead that no clock in order has sealed them are passed over. Nothing when the first one
/// is not over.
fn read(
    files: &dyn Files,
    (segment, length): (u64, u64),
    mut at: u64,
    (from, over_at): (u64, MeshTime),
    portion: Portion,
) -> io::Result<Option<Batch>> {
    let mut batch = Batch { first: from, windows: Vec::new(), next: Place { segment, at } };
    let (mut taken, mut buffer, mut skipped) = (0, vec![0; READ_BYTES], false);
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
        let there = files.read(&keeper::name(segment), at, &mut buffer[..left])?;
        let mut used = 0;
        while let Some((record, bytes)) = decode(&buffer[used..there]) {
            if let Record::Window { sequence, end, bytes: window } = record
                && sequence >= from
            {
                // Sealed by a clock that was wrong, and in the way of all behind it.
                if end > over_at + SPOOL_AHEAD_MAX {
                    skipped = true;
                    if !batch.windows.is_empty() {
                        return Ok(Some(batch));
                    }
                    used += bytes;
                    batch.next.at = at + used as u64;
                    continue;
                }
                if end > over_at {
                    return Ok((!batch.windows.is_empty()).then_some(batch));
                }
                if batch.windows.is_empty() {
                    batch.first = sequence;
                }
                let follows = sequence == batch.first + batch.windows.len() as u64;
                let full = batch.windows.len() >= portion.windows || taken >= portion.bytes;
                if !follows || full {
                    return Ok(Some(batch));
                }
                taken += window.len();
                batch.windows.push(Bytes::copy_from_slice(window));
            }
            used += bytes;
            batch.next.at = at + used as u64;
        }
        if used == 0 && there == READ_BYTES && buffer.len() == READ_BYTES {
            // A long record.
            buffer.resize(2 * SPOOL_RECORD_BYTES_MAX, 0);
            continue;
        }
        if used == 0 {
            break;
        }
        at += used as u64;
    }
    match batch.windows.is_empty() {
        // What follows is not written yet, or the whole segment is dropped by its age.
        true if skipped => Ok(None),
        true => Err(io::ErrorKind::InvalidData.into()),
        false => Ok(Some(batch)),
    }
}

#[cfg(test)]
mod tests;
