//! What goes wrong, and how it is well again.

use std::error::Error;
use std::io::{self, ErrorKind};

use parallax_coordinator::raft::log::memory as log_disk;
use parallax_coordinator::store::rows::memory as row_disk;

use crate::contact::Health;
use crate::node::Node;
use crate::world::{Event, World};

/// What ends a trouble.
#[derive(Debug, Clone)]
pub enum Cure {
    /// A member that is down starts.
    Restart(u64),
    /// A stopped process goes on.
    Resume(u64),
    /// The network is whole.
    Network,
    /// A member is connected again.
    Join(u64),
    /// A member's disks are as fast as before, and have room.
    Disk(u64),
    /// A member crashes and is back at once. It cures nothing.
    Bounce(u64),
    /// The contact takes pages again.
    Contact,
    /// A member is cut off; the others follow later, in the order given.
    Cut(u64),
    /// A probe's place and a member reach each other again.
    Line(usize, u64),
    /// A stopped probe goes on.
    Thaw(u64),
}

/// Writes that go well before an injected fault: so many that none ever comes.
const NEVER: u32 = u32::MAX;

/// What a dead member had staged goes with its time, a quarter of an hour. No world lasts as long, so
/// clocks jump over it.
const STAGE_AGE_US: i64 = 16 * 60 * 1_000_000;

/// Whether it came from a disk that is full.
pub fn has_no_room(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref().is_some_and(|io: &io::Error| io.kind() == ErrorKind::StorageFull) {
            return true;
        }
        next = error.source();
    }
    false
}

impl World {
    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |node: &&Node| {
            node.process.as_ref().is_some_and(|process| process.member.leadership().leader)
        };
        self.nodes.values().find(leads).map(|node| node.id)
    }

    /// Somebody, the leader more often than others.
    fn victim(&mut self) -> u64 {
        let alive: Vec<u64> =
            self.nodes.values().filter(|n| n.process.is_some()).map(|n| n.id).collect();
        match self.leader() {
            Some(leader) if self.mischief.percent(45) => leader,
            _ => self.mischief.pick(&alive).copied().unwrap_or(1),
        }
    }

    /// Something goes wrong, and the next trouble is planned.
    pub(crate) fn trouble(&mut self) {
        if self.is_calm() {
            return;
        }
        let (least, most) = self.profile.trouble_us;
        let next_us = self.mischief.between(least, most);
        self.after(next_us, Event::Trouble);
        let id = self.victim();
        let lasts_us = self.mischief.between(100_000, 3_500_000);
        match self.mischief.below(100) {
            0..17 => self.crash(id, "power"),
            17..32 => self.break_log(id),
            32..38 => self.break_rows(id),
            38..42 => self.hand_over(),
            42..50 => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.paused = true;
                }
                self.counters.add("pause");
                self.after(lasts_us, Event::Heal(Cure::Resume(id)));
            }
            50..60 => {
                let others = self.others(id);
                self.network.part(&[id], &others);
                self.counters.add("isolation");
                self.after(lasts_us, Event::Heal(Cure::Join(id)));
            }
            60..67 => {
                let mut ids = self.others(0);
                self.mischief.shuffle(&mut ids);
                let half = self.mischief.between(1, ids.len() as u64 - 1) as usize;
                let (these, those) = ids.split_at(half);
                self.network.part(these, those);
                self.counters.add("partition");
                self.after(lasts_us, Event::Heal(Cure::Network));
            }
            67..74 => {
                let others = self.others(id);
                for other in others {
                    if self.mischief.percent(60) {
                        match self.mischief.one_in(2) {
                            true => self.network.cut(id, other),
                            false => self.network.cut(other, id),
                        }
                    }
                }
                self.counters.add("one-way cut");
                self.after(lasts_us, Event::Heal(Cure::Join(id)));
            }
            74..79 => self.swizzle(),
            79..85 => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.slow = self.mischief.between(5, 100);
                    node.snapshots.refuse(self.mischief.one_in(2));
                }
                self.counters.add("slow disk");
                self.after(lasts_us, Event::Heal(Cure::Disk(id)));
            }
            85..88 => self.storm(id),
            88..95 => {
                self.health = match self.mischief.below(3) {
                    0 => Health::Refusing,
                    1 => Health::Hanging,
                    _ => Health::Busy,
                };
                self.counters.add("contact ill");
                self.after(2 * lasts_us, Event::Heal(Cure::Contact));
            }
            95..98 => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.clock_us += match self.mischief.one_in(3) {
                        true => STAGE_AGE_US,
                        false => self.mischief.below(40_000_000) as i64 - 20_000_000,
                    };
                }
                self.counters.add("clock jump");
            }
            _ => self.crash(id, "power"),
        }
    }

    fn others(&self, id: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|other| *other != id).collect()
    }

    /// The leader hands over to another one, as an operator has it do before it takes a machine away: all
    /// go on, and only who leads is new.
    fn hand_over(&mut self) {
        let Some(leader) = self.leader() else { return };
        let node = self.nodes.get(&leader).filter(|node| !node.paused);
        let Some(process) = node.and_then(|node| node.process.as_ref()) else { return };
        let voters = process.member.conf_state().voters.iter().copied();
        let others: Vec<u64> = voters.filter(|id| *id != leader).collect();
        if let Some(to) = self.mischief.pick(&others).copied() {
            self.transfer(leader, to);
        }
    }

    /// One of the next writes to the log fails, before or after it reached the disk.
    fn break_log(&mut self, id: u64) {
        let after = self.mischief.below(4) as u32;
        let fault = match self.mischief.below(8) {
            0..2 => log_disk::Fault::RefuseWrite,
            2 => log_disk::Fault::NoRoom,
            _ => log_disk::Fault::RefuseSync,
        };
        if let Some(node) = self.nodes.get(&id) {
            node.disk.fail_after(after, fault);
        }
        self.counters.add("log write fails");
    }

    fn break_rows(&mut self, id: u64) {
        let after = self.mischief.below(3) as u32;
        let fault = match self.mischief.below(8) {
            0..2 => row_disk::Fault::RefuseWrite,
            2 => row_disk::Fault::NoRoom,
            _ => row_disk::Fault::RefuseSync,
        };
        if let Some(node) = self.nodes.get(&id) {
            node.rows.fail_after(after, fault);
        }
        self.counters.add("row write fails");
    }

    /// The leader is cut off, and while the others elect another one they restart, quickly.
    fn storm(&mut self, id: u64) {
        self.counters.add("restarts during an election");
        let others = self.others(id);
        self.network.part(&[id], &others);
        let lasts_us = self.mischief.between(1_500_000, 3_000_000);
        self.after(lasts_us, Event::Heal(Cure::Join(id)));
        for other in others {
            for _ in 0..3 {
                let at_us = self.mischief.between(600_000, 2_000_000);
                self.after(at_us, Event::Heal(Cure::Bounce(other)));
            }
        }
    }

    /// Everybody is cut off one after the other and comes back in another order.
    fn swizzle(&mut self) {
        self.counters.add("swizzle");
        let mut ids = self.others(0);
        self.mischief.shuffle(&mut ids);
        let mut at_us = 0;
        for id in &ids {
            at_us += self.mischief.between(10_000, 300_000);
            self.after(at_us, Event::Heal(Cure::Cut(*id)));
        }
        self.mischief.shuffle(&mut ids);
        for id in ids {
            at_us += self.mischief.between(10_000, 300_000);
            self.after(at_us, Event::Heal(Cure::Join(id)));
        }
    }

    /// Ends a trouble.
    pub(crate) fn heal(&mut self, cure: Cure) {
        match cure {
            Cure::Restart(id) => self.start(id),
            Cure::Resume(id) => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.paused = false;
                    // Its tasks wake in any order, the feed of its pages among the last.
                    if let Some(process) = &mut node.process
                        && self.mischief.one_in(2)
                    {
                        process.pager.stall(self.now_us, &mut self.mischief);
                    }
                }
                self.go_on();
                self.turn(id);
            }
            Cure::Network => {
                self.network.heal();
                self.go_on();
            }
            Cure::Join(id) => {
                self.network.join(id);
                self.go_on();
            }
            Cure::Line(place, member) => self.mend_line(place, member),
            Cure::Thaw(pid) => self.thaw(pid),
            Cure::Disk(id) => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.slow = 1;
                    node.snapshots.refuse(false);
                }
            }
            Cure::Contact => self.health = Health::Well,
            Cure::Bounce(_) if self.is_calm() => {}
            Cure::Bounce(id) => {
                self.crash(id, "bounce");
                self.after(20_000, Event::Heal(Cure::Restart(id)));
            }
            Cure::Cut(id) if self.is_calm() => self.network.join(id),
            Cure::Cut(id) => {
                let others = self.others(id);
                self.network.part(&[id], &others);
            }
        }
    }

    /// Everything is well again, for good.
    pub(crate) fn heal_all(&mut self) {
        self.network.heal();
        self.profile.loss_percent = 0;
        self.health = Health::Well;
        self.end_outages();
        for node in self.nodes.values_mut() {
            node.disk.fail_after(NEVER, log_disk::Fault::RefuseWrite);
            node.rows.fail_after(NEVER, row_disk::Fault::RefuseWrite);
            node.snapshots.refuse(false);
            node.slow = 1;
            node.paused = false;
            // Further than any clock jumped before: the time of the state is the greatest of all.
            node.clock_us += 100 * STAGE_AGE_US;
            if let Some(process) = &mut node.process {
                process.pager.calm();
            }
        }
        for id in self.others(0) {
            self.start(id);
            self.turn(id);
        }
        self.heal_mesh();
    }
}
