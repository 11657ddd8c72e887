//! The twin of the file system, in memory: it counts its steps, and something happens at one of them.
//!
//! What was written and not synced may be lost, kept or torn by the end of the machine, each write by
//! itself; of names that were not synced a first part of the changes is kept. The end of the process
//! alone loses nothing. After a failed sync what it was to carry is never written, and the file reads
//! as if it were: what a system does whose caller asks again.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Files, Writing};

/// What happens, and at which step that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The process ends: this step is done by half, and none after it.
    EndAt(u64),
    /// This step fails, and so many after it; of a write a part is there.
    FailAt(u64, u64),
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

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, new) => {
                bytes.resize(bytes.len().max(at + new.len()), 0);
                bytes[*at..at + new.len()].copy_from_slice(new);
            }
            Self::Cut(length) => bytes.truncate(*length),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

/// A name that leads to a file from now on, or to none.
type Naming = (String, Option<usize>);

#[derive(Debug, Clone, Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Each a change that happens as a whole.
    unsynced: Vec<Vec<Naming>>,
    fault: Fault,
    steps: u64,
    over: bool,
    /// Places that cannot be read, and how often.
    unreadable: Vec<(String, Range<u64>, u64)>,
    /// The most that was read at once.
    read_most: usize,
    /// A name that stays.
    undeletable: Option<String>,
}

fn rename(names: &mut BTreeMap<String, usize>, change: &[Naming]) {
    for (name, inode) in change {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}

impl World {
    /// Counts a step; what it ends with when it is not done as a whole.
    fn step(&mut self, takes_room: bool) -> io::Result<Option<io::Error>> {
        if self.over {
            return Err(io::Error::other("the process has ended"));
        }
        let at = self.steps;
        self.steps += 1;
        Ok(match self.fault {
            Fault::EndAt(step) if step == at => {
                self.over = true;
                Some(io::Error::other("the process ends here"))
            }
            Fault::FailAt(from, steps) if at >= from && at < from + steps => {
                Some(io::Error::other("this step was to fail"))
            }
            Fault::FullAt(from, steps) if takes_room && at >= from && at < from + steps => {
                Some(io::ErrorKind::StorageFull.into())
            }
            _ => None,
        })
    }

    /// A step that is done, or not at all.
    fn whole(&mut self, takes_room: bool) -> io::Result<()> {
        self.step(takes_room)?.map_or(Ok(()), Err)
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, change: Vec<Naming>) {
        rename(&mut self.names, &change);
        self.unsynced.push(change);
    }

    fn change(&mut self, inode: usize, change: Change) {
        let inode = &mut self.inodes[inode];
        change.apply(&mut inode.now);
        inode.unsynced.push(change);
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        if let Some(error) = self.step(false)? {
            if !self.over {
                self.inodes[inode].unsynced.clear();
            }
            return Err(error);
        }
        let Inode { durable, unsynced, .. } = &mut self.inodes[inode];
        unsynced.drain(..).for_each(|change| change.apply(durable));
        Ok(())
    }
}

/// Files in memory. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Twin(Arc<Mutex<World>>);

impl Twin {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing in it yet.
    pub fn with(fault: Fault) -> Self {
        let twin = Self::default();
        twin.set(fault);
        twin
    }

    /// From now on this happens; steps go on counting.
    pub fn set(&self, fault: Fault) {
        self.world().fault = fault;
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.world().steps
    }

    /// Whether the process has ended.
    pub fn is_over(&self) -> bool {
        self.world().over
    }

    /// Changes one byte of a file, on the disk and in what is read.
    pub fn flip(&self, name: &str, at: usize) {
        let mut world = self.world();
        let inode = world.names[name];
        world.inodes[inode].now[at] ^= 1;
        if let Some(byte) = world.inodes[inode].durable.get_mut(at) {
            *byte ^= 1;
        }
    }

    /// Reading this place of a file fails so many times.
    pub fn refuse_reading(&self, name: &str, place: Range<u64>, times: u64) {
        self.world().unreadable.push((name.to_owned(), place, times));
    }

    /// A file of this name cannot be deleted, until it is another one that cannot.
    pub fn refuse_deleting(&self, name: Option<&str>) {
        self.world().undeletable = name.map(str::to_owned);
    }

    /// Everything can be read again.
    pub fn read_again(&self) {
        self.world().unreadable.clear();
    }

    /// The most bytes that were read at once.
    pub fn read_most(&self) -> usize {
        self.world().read_most
    }

    /// What the next life finds.
    pub fn after(&self, loss: Loss) -> Self {
        let mut next = World { fault: Fault::None, steps: 0, over: false, ..self.world().clone() };
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
                        Change::Write(at, bytes).apply(&mut inode.durable);
                    }
                    (_, change) => change.apply(&mut inode.durable),
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
        let mut world = self.twin.world();
        let at = world.inodes[self.inode].now.len();
        let failed = world.step(true)?;
        let done = if failed.is_some() { bytes.len() / 2 } else { bytes.len() };
        world.change(self.inode, Change::Write(at, bytes[..done].to_vec()));
        failed.map_or(Ok(()), Err)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut world = self.twin.world();
        world.whole(false)?;
        world.change(self.inode, Change::Cut(length as usize));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.twin.world().sync(self.inode)
    }
}

impl Files for Twin {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.world().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Writing>> {
        let mut world = self.world();
        world.whole(true)?;
        world.inodes.push(Inode::default());
        let inode = world.inodes.len() - 1;
        world.name(vec![(name.to_owned(), Some(inode))]);
        Ok(Box::new(Open { twin: self.clone(), inode }))
    }

    fn read(&self, name: &str, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world();
        world.read_most = world.read_most.max(bytes.len());
        let end = at + bytes.len() as u64;
        let bad = world.unreadable.iter_mut().find(|(of, place, times)| {
            of == name && *times > 0 && place.start < end && at < place.end
        });
        if let Some((.., times)) = bad {
            *times -= 1;
            return Err(rustix::io::Errno::IO.into());
        }
        let all = &world.inodes[world.inode(name)?].now;
        let from = all.get(at as usize..).unwrap_or_default();
        let there = from.len().min(bytes.len());
        bytes[..there].copy_from_slice(&from[..there]);
        Ok(there)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let world = self.world();
        Ok(world.inodes[world.inode(name)?].now.len() as u64)
    }

    fn cut(&self, name: &str, length: u64) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.inode(name)?;
        world.whole(false)?;
        world.change(inode, Change::Cut(length as usize));
        world.sync(inode)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let inode = world.inode(from)?;
        world.whole(false)?;
        world.name(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.inode(name)?;
        if world.undeletable.as_deref() == Some(name) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        world.whole(false)?;
        world.name(vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.world();
        if let Some(error) = world.step(false)? {
            if !world.over {
                world.unsynced.clear();
            }
            return Err(error);
        }
        world.unsynced.clear();
        world.durable = world.names.clone();
        Ok(())
    }
}
