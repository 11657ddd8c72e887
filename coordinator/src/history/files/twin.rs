//! The twin of the file system, in memory: it counts its steps, and something happens at one of them.
//!
//! What was written and not synced may be lost, kept or torn by the end of the machine, each write
//! by itself; of names that were not synced a first part of the changes is kept. The end of the
//! process alone loses nothing and syncs nothing. After a failed sync what it was to carry is never
//! written, and the file reads as if it were: what a system does whose caller asks again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Files, Reading, Writing};

/// What happens, and at which step that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The process ends: this step is done by half, and none after it.
    EndAt(u64),
    /// This step fails; of a write a part is there.
    FailAt(u64),
    /// From this step on there is no room, for so many steps.
    FullAt(u64, u64),
}

/// What the end of the machine does to what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The process ended, the machine did not.
    Nothing,
    /// All of it is gone.
    All,
    /// Chance decides, by this seed.
    Some(u64),
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, new) => {
            let end = at + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(new);
        }
        Change::Cut(length) => bytes.truncate(*length),
    }
}

#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Naming {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

fn rename(names: &mut BTreeMap<PathBuf, usize>, change: &Naming) {
    match change {
        Naming::Link(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Naming::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Naming::Remove(path) => {
            names.remove(path);
        }
    }
}

#[derive(Debug)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    unsynced: Vec<Naming>,
    fault: Fault,
    steps: u64,
    over: bool,
    syncs_failed: u64,
}

/// How a step goes on.
enum Step {
    Whole,
    /// Half of it, and then this.
    Half(io::Error),
}

impl World {
    fn step(&mut self, takes_room: bool) -> io::Result<Step> {
        if self.over {
            return Err(io::Error::other("the process has ended"));
        }
        let at = self.steps;
        self.steps += 1;
        match self.fault {
            Fault::EndAt(step) if step == at => {
                self.over = true;
                Ok(Step::Half(io::Error::other("the process ends here")))
            }
            Fault::FailAt(step) if step == at => {
                Ok(Step::Half(io::Error::other("this step was to fail")))
            }
            Fault::FullAt(from, steps) if takes_room && at >= from && at < from + steps => {
                Ok(Step::Half(io::ErrorKind::StorageFull.into()))
            }
            _ => Ok(Step::Whole),
        }
    }

    fn name(&mut self, change: Naming) {
        rename(&mut self.names, &change);
        self.unsynced.push(change);
    }

    fn change(&mut self, inode: usize, change: Change) {
        let inode = &mut self.inodes[inode];
        apply(&mut inode.now, &change);
        inode.unsynced.push(change);
    }
}

/// Files in memory. Clones are the same.
#[derive(Debug, Clone)]
pub struct Twin(Arc<Mutex<World>>);

impl Default for Twin {
    fn default() -> Self {
        Self::with(Fault::None)
    }
}

impl Twin {
    /// Nothing in it yet.
    pub fn with(fault: Fault) -> Self {
        Self(Arc::new(Mutex::new(World {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            unsynced: Vec::new(),
            fault,
            steps: 0,
            over: false,
            syncs_failed: 0,
        })))
    }

    /// From now on this happens; steps go on counting.
    pub fn set(&self, fault: Fault) {
        self.0.lock().fault = fault;
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Whether the process has ended.
    pub fn is_over(&self) -> bool {
        self.0.lock().over
    }

    /// Syncs that failed so far.
    pub fn syncs_failed(&self) -> u64 {
        self.0.lock().syncs_failed
    }

    /// What the next life finds.
    pub fn after(&self, loss: Loss) -> Self {
        let world = self.0.lock();
        let mut next = World {
            inodes: world.inodes.clone(),
            names: world.names.clone(),
            durable: world.durable.clone(),
            unsynced: world.unsynced.clone(),
            fault: Fault::None,
            steps: 0,
            over: false,
            syncs_failed: 0,
        };
        let mut chance = match loss {
            Loss::Nothing => return Self(Arc::new(Mutex::new(next))),
            Loss::All => None,
            Loss::Some(seed) => Some(StdRng::seed_from_u64(seed)),
        };
        let kept = chance.as_mut().map_or(0, |it| it.random_range(0..=next.unsynced.len()));
        next.unsynced.drain(..).take(kept).for_each(|change| rename(&mut next.durable, &change));
        next.names = next.durable.clone();
        for inode in &mut next.inodes {
            for change in inode.unsynced.drain(..) {
                let Some(chance) = &mut chance else { continue };
                match (chance.random_range(0..3), change) {
                    (0, _) => {}
                    (1, Change::Write(at, mut bytes)) => {
                        bytes.truncate(chance.random_range(0..=bytes.len()));
                        apply(&mut inode.durable, &Change::Write(at, bytes));
                    }
                    (_, change) => apply(&mut inode.durable, &change),
                }
            }
            inode.now = inode.durable.clone();
        }
        Self(Arc::new(Mutex::new(next)))
    }
}

#[derive(Debug)]
struct Open {
    twin: Twin,
    inode: usize,
}

impl Writing for Open {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.twin.0.lock();
        let at = world.inodes[self.inode].now.len();
        match world.step(true)? {
            Step::Whole => {
                world.change(self.inode, Change::Write(at, bytes.to_vec()));
                Ok(())
            }
            Step::Half(error) => {
                world.change(self.inode, Change::Write(at, bytes[..bytes.len() / 2].to_vec()));
                Err(error)
            }
        }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut world = self.twin.0.lock();
        if let Step::Half(error) = world.step(false)? {
            return Err(error);
        }
        world.change(self.inode, Change::Cut(length as usize));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.twin.0.lock();
        let step = world.step(false)?;
        let over = world.over;
        match step {
            Step::Whole => {
                // What an earlier sync failed to carry is not among it.
                let Inode { durable, unsynced, .. } = &mut world.inodes[self.inode];
                unsynced.drain(..).for_each(|change| apply(durable, &change));
                Ok(())
            }
            Step::Half(error) => {
                if !over {
                    world.syncs_failed += 1;
                    world.inodes[self.inode].unsynced.clear();
                }
                Err(error)
            }
        }
    }
}

impl Reading for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(self.twin.0.lock().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let world = self.twin.0.lock();
        let from = at as usize;
        let all = &world.inodes[self.inode].now;
        let part = all.get(from..from + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(part);
        Ok(())
    }
}

impl Files for Twin {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.0.lock();
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Writing>> {
        let mut world = self.0.lock();
        if let Step::Half(error) = world.step(true)? {
            return Err(error);
        }
        world.inodes.push(Inode::default());
        let inode = world.inodes.len() - 1;
        world.name(Naming::Link(path.to_owned(), inode));
        Ok(Box::new(Open { twin: self.clone(), inode }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Writing>> {
        let inode = *self.0.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { twin: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Reading>> {
        let inode = *self.0.lock().names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { twin: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        if let Step::Half(error) = world.step(false)? {
            return Err(error);
        }
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.name(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        if let Step::Half(error) = world.step(false)? {
            return Err(error);
        }
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.name(Naming::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        debug_assert!(world.names.keys().all(|path| path.parent() == Some(dir)));
        let step = world.step(false)?;
        let over = world.over;
        match step {
            Step::Whole => {
                world.unsynced.clear();
                world.durable = world.names.clone();
                Ok(())
            }
            Step::Half(error) => {
                if !over {
                    world.syncs_failed += 1;
                    world.unsynced.clear();
                }
                Err(error)
            }
        }
    }
}
