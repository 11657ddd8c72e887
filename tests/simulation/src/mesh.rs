//! The mesh around the members: probes in their places, lines that carry what is said, and what
//! befalls both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parallax_common::clock::Estimate;
use parallax_common::time::BootTime;
use parallax_coordinator::core::mesh_clock::{Found, choose};

use crate::chance::Chance;
use crate::counters::Counters;
use crate::judge::{self, Judge};
use crate::line::{End, LineId, Lines, Word};
use crate::probe::{self, Probe};
use crate::target::{REGIONS, Sight, Target};
use crate::trouble::Cure;
use crate::world::{Event, World};

/// How often a member speaks on its lanes.
const BEAT_US: u64 = 1_000_000;

/// Probes, lines and what the probes look at.
pub struct Mesh {
    /// Connections.
    pub lines: Lines,
    /// Probes that run, by the number of their process.
    pub probes: BTreeMap<u64, Probe>,
    /// What they look at.
    pub target: Target,
    /// Where a probe runs twice as many as elsewhere: in the first region.
    pub pair: bool,
    /// For delays and dials.
    pub road: Chance,
    /// For what goes wrong.
    pub mischief: Chance,
    /// For new uids.
    pub uids: Chance,
    /// What happened.
    pub counters: Counters,
    last_pid: u64,
}

impl Mesh {
    /// A mesh of this seed, without probes.
    pub fn new(seed: u64) -> Self {
        let mut road = Chance::new(seed, "road");
        Self {
            lines: Lines::default(),
            probes: BTreeMap::new(),
            target: Target::default(),
            pair: road.one_in(3),
            road,
            mischief: Chance::new(seed, "mesh"),
            uids: Chance::new(seed, "incidents"),
            counters: Counters::default(),
            last_pid: 0,
        }
    }
}

impl World {
    /// Starts the probes.
    pub(crate) fn begin_mesh(&mut self) {
        for place in 0..REGIONS {
            self.start_probe(place, "a");
        }
        if self.mesh.pair {
            self.start_probe(0, "b");
        }
        self.after(4_000_000, Event::Outage);
        self.after(3_500_000, Event::MeshTrouble);
        self.after(1_000_000, Event::Watch);
    }

    fn start_probe(&mut self, place: usize, name: &str) {
        self.mesh.last_pid += 1;
        let pid = self.mesh.last_pid;
        let probe = Probe::new(pid, place, name.to_owned(), self.now_us, &mut self.mesh.road);
        let incarnation = probe.incarnation.0;
        self.trace.note(self.now_us, &[pid, incarnation], || {
            format!("probe {pid} ({name} in k{place}) starts as {incarnation:016x}")
        });
        self.mesh.probes.insert(pid, probe);
        self.arm_probe(pid);
        let members: Vec<u64> = self.nodes.keys().copied().collect();
        for member in members {
            let soon_us = self.mesh.road.below(500_000);
            self.after(soon_us, Event::Dial(pid, member));
        }
    }

    /// The offset that a member's clock starts with: that of this boot, that of a member that
    /// answers, or its own idea of UTC.
    pub(crate) fn first_offset(&mut self, id: u64, boot_us: u64, is_same_boot: bool) -> i64 {
        let now_us = self.now_us;
        let boot = BootTime::from_ns(((now_us + boot_us) * 1_000) as i64);
        let stored = self.nodes.get(&id).and_then(|node| node.stored_offset_ns);
        let mut members = Vec::new();
        for (other, node) in &self.nodes {
            let way = self.network.is_open(id, *other) && self.network.is_open(*other, id);
            let Some(process) = node.process.as_ref().filter(|_| way && !node.paused) else {
                continue;
            };
            let error_us = self.mesh.road.between(0, self.profile.delay_us.1) as i64;
            members.push(Estimate {
                offset_ns: process.judge.mesh(now_us).as_ns() - boot.as_ns() + error_us * 500,
                round_trip: Duration::from_micros(error_us as u64),
            });
        }
        let utc_ns = self.nodes.get(&id).map_or(0, |node| node.first_utc_ns(now_us));
        let found = Found {
            stored: stored.filter(|_| is_same_boot),
            members,
            probes: Vec::new(),
            utc: utc_ns - boot.as_ns(),
        };
        choose(&found).1
    }

    /// Says something on a line.
    fn say(&mut self, line: LineId, from: End, word: Word) {
        let Some(side) = self.mesh.lines.side(line, from) else { return };
        let (least, most) = self.profile.delay_us;
        let at_us = self.now_us + self.mesh.road.between(least, most);
        match self.mesh.lines.push(line, 1 - side, at_us, word) {
            Some(at_us) => {
                let delay_us = at_us - self.now_us;
                self.after(delay_us, Event::Word(line, 1 - side));
            }
            None => self.refuse(line, side, from, at_us),
        }
    }

    /// Whoever had the other end is gone: where something runs in its place, it says so.
    fn refuse(&mut self, line: LineId, side: usize, from: End, at_us: u64) {
        let Some(other) = self.mesh.lines.get(line).map(|known| known.ends[1 - side]) else {
            return;
        };
        if self.is_open(from, other)
            && self.takes(other).is_none()
            && let Some(at_us) = self.mesh.lines.push(line, side, at_us, Word::Close)
        {
            let delay_us = at_us - self.now_us;
            self.after(delay_us, Event::Word(line, side));
        }
    }

    fn hang_up(&mut self, line: LineId, from: End) {
        self.say(line, from, Word::Close);
        if let Some(side) = self.mesh.lines.side(line, from) {
            self.mesh.lines.forget(line, side);
        }
    }

    fn is_open(&self, from: End, to: End) -> bool {
        match (from, to) {
            (End::Member { id: from, .. }, End::Member { id: to, .. }) => {
                self.network.is_open(from, to)
            }
            (End::Probe { place, .. }, End::Member { id, .. })
            | (End::Member { id, .. }, End::Probe { place, .. }) => {
                !self.mesh.lines.cut.contains(&(place, id))
            }
            (End::Probe { .. }, End::Probe { .. }) => false,
        }
    }

    /// Whether whoever is at this end takes what comes: yes, not now, or never again.
    fn takes(&self, end: End) -> Option<bool> {
        match end {
            End::Probe { pid, .. } => self.mesh.probes.get(&pid).map(|probe| !probe.frozen),
            End::Member { id, life } => {
                let node = self.nodes.get(&id).filter(|node| !node.removed)?;
                match &node.process {
                    None => Some(false),
                    Some(_) if node.life != life => None,
                    Some(_) => Some(!node.paused),
                }
            }
        }
    }

    /// What has arrived at an end of a line is taken, while it can be.
    pub(crate) fn words(&mut self, line: LineId, to: usize) {
        loop {
            let Some(known) = self.mesh.lines.get(line).filter(|known| known.open[to]) else {
                return;
            };
            let (from, end) = (known.ends[1 - to], known.ends[to]);
            if !self.is_open(from, end) {
                return;
            }
            match self.takes(end) {
                Some(true) => {}
                Some(false) => return,
                None => return self.hang_up(line, end),
            }
            let Some(word) = self.mesh.lines.pop(line, to, self.now_us) else { return };
            self.word(line, end, to, word);
        }
    }

    fn word(&mut self, line: LineId, end: End, to: usize, word: Word) {
        if matches!(word, Word::Close) {
            self.mesh.lines.forget(line, to);
        }
        match (end, word) {
            (End::Probe { pid, .. }, Word::Down(frame)) => {
                self.with_probe(pid, |probe, desk| probe.hear(line, *frame, desk));
            }
            (End::Probe { pid, .. }, Word::Close) => {
                self.with_probe(pid, |probe, desk| probe.closed(line, desk));
            }
            (End::Member { id, .. }, Word::Up(frame)) => {
                self.with_judge(id, |judge, desk| judge.hear(line, *frame, desk));
            }
            (End::Member { id, .. }, Word::Relay(say)) => {
                self.with_judge(id, |judge, desk| judge.hear_member(line, *say, desk));
            }
            (End::Member { id, .. }, Word::Close) => {
                self.with_judge(id, |judge, desk| judge.closed(line, desk));
            }
            _ => {}
        }
    }

    /// What waited for a way, or for somebody to take it, goes on.
    pub(crate) fn go_on(&mut self) {
        for (line, to) in self.mesh.lines.waiting(self.now_us) {
            self.words(line, to);
        }
    }

    /// Has a probe do something, and does what it asks for.
    fn with_probe(&mut self, pid: u64, act: impl FnOnce(&mut Probe, &mut probe::Desk<'_>)) {
        let now_us = self.now_us;
        let Some(probe) = self.mesh.probes.get_mut(&pid) else { return };
        let end = End::Probe { pid, place: probe.place };
        let mut desk = probe::Desk {
            now_us,
            target: &self.mesh.target,
            counters: &mut self.counters,
            sink: &self.sink,
            say: Vec::new(),
            hang_up: Vec::new(),
            ends: Vec::new(),
            redial: Vec::new(),
        };
        act(probe, &mut desk);
        let probe::Desk { say, hang_up, ends, redial, .. } = desk;
        let (is_dismissed, place, name) = (probe.dismissed, probe.place, probe.name.clone());
        for (line, word) in say {
            self.say(line, end, word);
        }
        for line in hang_up {
            self.hang_up(line, end);
        }
        if is_dismissed {
            self.counters.add("probe dismissed");
            return self.end_probe(pid, place, &name);
        }
        for (at_us, run) in ends {
            self.after(at_us - now_us, Event::RunEnds(pid, run));
        }
        for member in redial {
            let pause_us = self.mesh.road.between(50_000, 1_500_000);
            self.after(pause_us, Event::Dial(pid, member));
        }
        self.arm_probe(pid);
    }

    /// A process that was dismissed ends; when nobody else has its name, somebody starts it again.
    fn end_probe(&mut self, pid: u64, place: usize, name: &str) {
        self.mesh.probes.remove(&pid);
        self.mesh.lines.gone(|end| matches!(end, End::Probe { pid: gone, .. } if gone == pid));
        let alone = !self.mesh.probes.values().any(|o| o.place == place && o.name == name);
        if alone {
            self.after(500_000, Event::StartProbe(place, name == "b"));
        }
    }

    /// Starts a probe where its name is not taken.
    pub(crate) fn replace_probe(&mut self, place: usize, second: bool) {
        let name = if second { "b" } else { "a" };
        if !self.mesh.probes.values().any(|other| other.place == place && other.name == name) {
            self.start_probe(place, name);
        }
    }

    fn arm_probe(&mut self, pid: u64) {
        let now_us = self.now_us;
        let Some(probe) = self.mesh.probes.get_mut(&pid) else { return };
        let at_us = probe.wake_at_us(now_us);
        if probe.wake_us.is_none_or(|wake_us| at_us < wake_us) {
            probe.wake_us = Some(at_us);
            self.after(at_us - now_us, Event::Probe(pid));
        }
    }

    /// A probe's time has come.
    pub(crate) fn wake_probe(&mut self, pid: u64) {
        let now_us = self.now_us;
        let Some(probe) = self.mesh.probes.get_mut(&pid) else { return };
        if probe.wake_us != Some(now_us) {
            return;
        }
        probe.wake_us = None;
        if probe.frozen {
            // It is woken when it goes on.
            return;
        }
        self.with_probe(pid, |probe, desk| probe.turn(desk));
    }

    /// A run of a probe has ended; while it is stopped, the end waits.
    pub(crate) fn run_ends(&mut self, pid: u64, run: parallax_probe::core::schedule::RunId) {
        match self.mesh.probes.get(&pid) {
            Some(probe) if probe.frozen => self.after(20_000, Event::RunEnds(pid, run)),
            Some(_) => self.with_probe(pid, |probe, desk| probe.run_ends(run, desk)),
            None => {}
        }
    }

    /// A probe dials a member, now or a while later.
    pub(crate) fn dial(&mut self, pid: u64, member: u64) {
        let Some(probe) = self.mesh.probes.get(&pid) else { return };
        let Some(node) = self.nodes.get(&member).filter(|node| !node.removed) else { return };
        if probe.has_session(member) {
            return;
        }
        let there = node.process.is_some() && !node.paused && !probe.frozen;
        let end = End::Probe { pid, place: probe.place };
        let life = node.life;
        if !there || self.mesh.lines.cut.contains(&(probe.place, member)) {
            let pause_us = self.mesh.road.between(100_000, 1_000_000);
            return self.after(pause_us, Event::Dial(pid, member));
        }
        let line = self.mesh.lines.open(end, End::Member { id: member, life });
        self.with_probe(pid, |probe, desk| probe.dialled(member, line, desk));
    }

    /// Has a member's judge do something, and does what it asks for.
    fn with_judge(&mut self, id: u64, act: impl FnOnce(&mut Judge, &mut judge::Desk<'_>)) {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let (utc_ns, life) = (node.utc_ns(now_us), node.life);
        let Some(process) = &mut node.process else { return };
        let leads = process.member.leadership().leader;
        let Mesh { uids, counters, .. } = &mut self.mesh;
        let means = judge::Means { chance: uids, counters, sink: &self.sink };
        let mut desk = judge::Desk::new((id, leads), (now_us, utc_ns), process.view.load(), means);
        act(&mut process.judge, &mut desk);
        let judge::Desk { say, hang_up, follow, refused, .. } = desk;
        let proposes = process.judge.has_proposals();
        self.obey(id, life, say, hang_up, follow);
        for (from, refusal) in refused {
            self.refused(id, from, refusal);
        }
        if proposes {
            self.turn(id);
        }
        self.arm_judge(id);
    }

    /// Does what a judge asks for.
    pub(crate) fn obey(
        &mut self,
        id: u64,
        life: u64,
        say: Vec<(LineId, Word)>,
        hang_up: Vec<LineId>,
        follow: Option<u64>,
    ) {
        let end = End::Member { id, life };
        for (line, word) in say {
            self.say(line, end, word);
        }
        for line in hang_up {
            self.hang_up(line, end);
        }
        if let Some(leader) = follow {
            let pause_us = self.mesh.road.between(1_000, 100_000);
            self.after(pause_us, Event::Follow(id, life, leader));
        }
    }

    /// A member dials the leader for a stream that relays.
    pub(crate) fn follow(&mut self, id: u64, life: u64, leader: u64) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.life == life && !node.paused)
        else {
            return;
        };
        let Some(process) = &node.process else { return };
        if process.judge.wants_to_follow(id) != Some(leader) {
            return;
        }
        let Some(there) = self.nodes.get(&leader).filter(|node| node.process.is_some()) else {
            return;
        };
        let way = self.network.is_open(id, leader) && self.network.is_open(leader, id);
        if !way || there.paused {
            // Asked for again with the next beat.
            return;
        }
        let (from, to) = (End::Member { id, life }, End::Member { id: leader, life: there.life });
        let line = self.mesh.lines.open(from, to);
        self.with_judge(id, |judge, desk| judge.dialled(leader, line, desk));
    }

    /// A member's second has passed.
    pub(crate) fn beat(&mut self, id: u64, life: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else { return };
        let Some(process) = &node.process else { return };
        if node.paused {
            return self.after(20_000, Event::Beat(id, life));
        }
        node.stored_offset_ns = Some(process.judge.offset_ns(self.now_us));
        self.after(BEAT_US, Event::Beat(id, life));
        self.with_judge(id, Judge::beat);
        if self.profile.membership {
            self.say_hellos(id);
        }
    }

    /// Sets the alarm of a member's judge.
    pub(crate) fn arm_judge(&mut self, id: u64) {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let life = node.life;
        let Some(process) = &mut node.process else { return };
        let Some(at_us) = process.judge.wake_at_us(now_us) else { return };
        let at_us = at_us.max(now_us + 50);
        if process.judge.wake_us.is_none_or(|wake_us| at_us < wake_us) {
            process.judge.wake_us = Some(at_us);
            self.after(at_us - now_us, Event::WakeJudge(id, life));
        }
    }

    /// The time of a member's judge has come.
    pub(crate) fn wake_judge(&mut self, id: u64, life: u64) {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else { return };
        let paused = node.paused;
        let Some(process) = &mut node.process else { return };
        if process.judge.wake_us != Some(now_us) {
            return;
        }
        if paused {
            process.judge.wake_us = Some(now_us + 20_000);
            return self.after(20_000, Event::WakeJudge(id, life));
        }
        process.judge.wake_us = None;
        self.with_judge(id, Judge::wake);
    }

    /// The process of a member began: its beats, and what it takes from where it stands.
    pub(crate) fn begin_judge(&mut self, id: u64) {
        let Some(node) = self.nodes.get(&id).filter(|node| node.process.is_some()) else { return };
        let life = node.life;
        let first_us = self.mesh.road.below(BEAT_US);
        self.after(first_us, Event::Beat(id, life));
        // It has come to the group: probes are told of it.
        let pids: Vec<u64> = self.mesh.probes.keys().copied().collect();
        if life == 1 {
            for pid in pids {
                let soon_us = self.mesh.road.between(100_000, 1_000_000);
                self.after(soon_us, Event::Dial(pid, id));
            }
        }
    }

    /// The process of a member is gone.
    pub(crate) fn end_judge(&mut self, id: u64) {
        self.mesh.lines.gone(|end| matches!(end, End::Member { id: gone, .. } if gone == id));
    }

    /// Something goes wrong with a probe or a line, and the next is planned.
    pub(crate) fn mesh_trouble(&mut self) {
        if self.is_calm() {
            return;
        }
        let next_us = self.mesh.mischief.between(500_000, 5_000_000);
        self.after(next_us, Event::MeshTrouble);
        let pids: Vec<u64> = self.mesh.probes.keys().copied().collect();
        let members: Vec<u64> = self.nodes.keys().copied().collect();
        let mischief = &mut self.mesh.mischief;
        let (Some(pid), Some(member)) =
            (mischief.pick(&pids).copied(), mischief.pick(&members).copied())
        else {
            return;
        };
        let lasts_us = match mischief.one_in(4) {
            true => mischief.between(5_000_000, 15_000_000),
            false => mischief.between(100_000, 4_000_000),
        };
        let what = mischief.below(100);
        let Some(probe) = self.mesh.probes.get_mut(&pid) else { return };
        let (place, name) = (probe.place, probe.name.clone());
        match what {
            0..40 => {
                // Often the leader: then it hears by relay only.
                let member = match self.leader() {
                    Some(leader) if self.mesh.mischief.percent(60) => leader,
                    _ => member,
                };
                self.counters.add("line cut");
                self.mesh.lines.cut.insert((place, member));
                self.after(lasts_us, Event::Heal(Cure::Line(place, member)));
            }
            40..55 => {
                self.counters.add("line reset");
                let end = End::Probe { pid, place };
                let line = self.mesh.probes.get(&pid).and_then(|probe| probe.line_to(member));
                if let Some(line) = line {
                    self.hang_up(line, end);
                    self.with_probe(pid, |probe, desk| probe.closed(line, desk));
                }
            }
            55..70 => {
                self.counters.add("probe frozen");
                probe.frozen = true;
                self.after(lasts_us, Event::Heal(Cure::Thaw(pid)));
            }
            70..85 => {
                self.counters.add("probe crash");
                self.mesh.probes.remove(&pid);
                self.mesh
                    .lines
                    .gone(|end| matches!(end, End::Probe { pid: gone, .. } if gone == pid));
                self.after(lasts_us, Event::StartProbe(place, name == "b"));
            }
            85..92 => {
                self.counters.add("probe cut off");
                for member in members {
                    self.mesh.lines.cut.insert((place, member));
                    self.after(lasts_us, Event::Heal(Cure::Line(place, member)));
                }
            }
            _ => {
                // Somebody starts it a second time, and forgets the first.
                self.counters.add("probe started twice");
                self.start_probe(place, &name);
            }
        }
    }

    /// A stopped probe goes on.
    pub(crate) fn thaw(&mut self, pid: u64) {
        if let Some(probe) = self.mesh.probes.get_mut(&pid) {
            probe.frozen = false;
            self.go_on();
            self.with_probe(pid, |probe, desk| probe.turn(desk));
        }
    }

    /// A probe and a member reach each other again.
    pub(crate) fn mend_line(&mut self, place: usize, member: u64) {
        self.mesh.lines.cut.remove(&(place, member));
        self.go_on();
    }

    /// Probes and their lines are well again, for good.
    pub(crate) fn heal_mesh(&mut self) {
        self.mesh.lines.cut.clear();
        for pid in self.mesh.probes.keys().copied().collect::<Vec<_>>() {
            self.thaw(pid);
        }
        self.go_on();
    }

    /// Which regions fail next, and how.
    pub(crate) fn next_outage(&mut self) -> (BTreeSet<usize>, Sight) {
        let mischief = &mut self.mesh.mischief;
        let mut all: Vec<usize> = (0..REGIONS).collect();
        mischief.shuffle(&mut all);
        let many = match mischief.below(10) {
            0..5 => REGIONS,
            5..7 => 2,
            _ => 1,
        };
        let sight = if mischief.one_in(4) { Sight::Hanging } else { Sight::Refusing };
        (all.into_iter().take(many).collect(), sight)
    }
}
