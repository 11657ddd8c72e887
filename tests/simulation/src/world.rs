//! A world of members, clients and troubles, moved by one queue of events.
//!
//! Everything that happens follows from the seed. After each event the invariants look at what was
//! seen.

mod asking;
mod end;
mod event;
mod lives;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use parallax_common::limits::MEMBER_HEARD_WITHIN;
use parallax_coordinator::core::outbox::Members;
use parallax_coordinator::core::state::LEVEL;
use parallax_coordinator::raft::machine::Machine as _;
use parallax_coordinator::raft::outbound::Carried;
use parallax_coordinator::store::rows::RowStore as _;
use parallax_coordinator::store::snapshot::{
    SnapshotError, SnapshotId, SnapshotStore as _, rows_of,
};
use parallax_proto::store;
use parallax_proto::store::VerdictAction;
use parallax_proto::store::entry::Command;
use parallax_runtime::clock;
use raft::eraftpb::{Message, MessageType};

pub use self::event::Event;
use crate::api::{self, Context, Out};
use crate::chance::Chance;
use crate::client::Client;
use crate::contact::Health;
use crate::counters::Counters;
use crate::gate;
use crate::invariant::{Invariants, Linear, Violation};
use crate::judge;
use crate::mesh::Mesh;
use crate::network::Network;
use crate::node::{self, Node};
use crate::operator::Operator;
use crate::profile::Profile;
use crate::seen::{Seen, Sink, hash_rows};
use crate::trace::Trace;
use crate::trouble::has_no_room;
use crate::watcher::Watcher;
use crate::wire::{File, Input, Origin};

/// The last seconds belong to recovery: nothing goes wrong any more.
pub const CALM_US: u64 = 12_000_000;

/// How many watch.
const WATCHERS: usize = 2;

/// What is applied anywhere so long before the end is applied everywhere at the end.
const LATE_US: u64 = 2_500_000;

/// The world.
pub struct World {
    pub(crate) seed: u64,
    pub(crate) profile: Profile,
    pub(crate) now_us: u64,
    pub(crate) end_us: u64,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    pub(crate) base: Instant,
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// The members that the cluster begins with.
    pub(crate) founders: Vec<u64>,
    pub(crate) operator: Operator,
    pub(crate) network: Network,
    clients: Vec<Client>,
    watchers: Vec<Watcher>,
    chance: Chance,
    pub(crate) mischief: Chance,
    pub(crate) uids: Chance,
    pub(crate) sink: Sink,
    pub(crate) mesh: Mesh,
    pub(crate) health: Health,
    invariants: Invariants,
    linear: Linear,
    /// What happened.
    pub counters: Counters,
    /// The events.
    pub trace: Trace,
    leader_term: u64,
    /// The newest entry that changed verdicts.
    decided: u64,
    /// What the leader had applied shortly before the end.
    late_index: u64,
}

impl World {
    /// The world of a seed, which ends after so many microseconds.
    pub fn new(seed: u64, end_us: u64, print: bool) -> Self {
        let profile = Profile::of(seed);
        let mut chance = Chance::new(seed, "nodes");
        let ids: Vec<u64> = (1..=profile.members).collect();
        let node = |id: &u64| (*id, Node::new(*id, Some(ids.clone()), &profile, &mut chance));
        let nodes: BTreeMap<u64, Node> = ids.iter().map(node).collect();
        let clients = (0..profile.clients).map(|index| Client::new(seed, index)).collect();
        let mut world = Self {
            seed,
            now_us: 0,
            end_us,
            events: BTreeMap::new(),
            count: 0,
            base: clock::instant(),
            founders: ids.clone(),
            operator: Operator::default(),
            nodes,
            network: Network::default(),
            clients,
            watchers: (0..WATCHERS).map(|index| Watcher::new(seed, index)).collect(),
            chance: Chance::new(seed, "network"),
            mischief: Chance::new(seed, "trouble"),
            uids: Chance::new(seed, "uids"),
            sink: Sink::default(),
            mesh: Mesh::new(seed),
            health: Health::Well,
            invariants: Invariants::default(),
            linear: Linear::default(),
            counters: Counters::default(),
            trace: Trace::new(print),
            leader_term: 0,
            decided: 0,
            late_index: 0,
            profile,
        };
        for id in ids {
            world.start(id);
            let first = world.chance.below(50_000);
            world.after(first, Event::Tick(id));
        }
        for index in 0..world.clients.len() {
            let first = world.chance.below(2_000_000);
            world.after(first, Event::Ask(index));
        }
        for index in 0..world.watchers.len() {
            world.after(2_000_000, Event::Listen(index, 0));
            world.after(5_000_000, Event::Tire(index));
        }
        world.after(3_000_000, Event::Trouble);
        world.begin_mesh();
        if world.profile.membership {
            world.after(2_000_000, Event::Operate);
        }
        world.at(end_us.saturating_sub(CALM_US), Event::HealAll);
        world.at(end_us.saturating_sub(LATE_US), Event::Late);
        world
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.count += 1;
        self.events.insert((at_us, self.count), event);
    }

    /// Has something happen after so many microseconds.
    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    /// Whether the last, calm part has begun.
    pub(crate) fn is_calm(&self) -> bool {
        self.now_us + CALM_US >= self.end_us
    }

    /// Runs to the end, or to the first thing that cannot be.
    pub fn run(&mut self) -> Result<(), Violation> {
        while let Some(((at_us, count), event)) = self.events.pop_first() {
            if at_us > self.end_us {
                break;
            }
            self.now_us = at_us;
            self.trace.note(at_us, &[count, event.kind(), event.whom()], || event.line());
            self.happen(event);
            for seen in self.sink.take() {
                self.look(&seen)?;
            }
        }
        self.finish()
    }

    /// What happened, to members and to the mesh around them.
    pub fn counted(&self) -> Counters {
        let mut all = self.counters.clone();
        all.merge(&self.mesh.counters);
        all
    }

    fn look(&mut self, seen: &Seen) -> Result<(), Violation> {
        match seen {
            Seen::Leads { node, term, .. } => {
                if *term > self.leader_term {
                    self.leader_term = *term;
                    self.counters.add("leader change");
                }
                let (node, term) = (*node, *term);
                self.trace.note(self.now_us, &[node, term], || format!("{node} leads in {term}"));
            }
            Seen::Applied { node, index, digest, .. } => {
                let (node, index) = (*node, *index);
                self.trace.note(self.now_us, &[node, index, *digest], || {
                    format!("{node} applies {index}")
                });
            }
            Seen::Decided { index, by, changes } if *index > self.decided => {
                self.decided = *index;
                let (index, by) = (*index, *by);
                for change in changes {
                    let action = match change.action {
                        VerdictAction::Open => "incident opened",
                        VerdictAction::Resolve => "incident resolved",
                        _ => "verdict changed",
                    };
                    self.counters.add(action);
                    if change.by_stale {
                        self.counters.add("stale ballot");
                    }
                    self.trace.note(self.now_us, &[index, by, change.sequence], || {
                        format!("entry {index} of {by}: {change:?}")
                    });
                }
            }
            Seen::Felt { now_us, region, check, state, .. } => {
                self.trace.note(*now_us, &[*state as u64], || {
                    format!("{region} says {state:?} of {check}")
                });
            }
            Seen::Voters { index, voters, .. } => self.note_joined(*index, voters),
            Seen::Acknowledged { .. } => self.counters.add("acknowledged write"),
            _ => {}
        }
        self.invariants.see(self.now_us, seen)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(id) => {
                let Some(node) = self.nodes.get_mut(&id) else { return };
                let tick_us = node.tick_us;
                if let Some(process) = &mut node.process {
                    // After a stall one tick passes, not all that were missed.
                    process.tick = true;
                }
                self.after(tick_us, Event::Tick(id));
                self.turn(id);
            }
            Event::Wake(id, life) => {
                let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else {
                    return;
                };
                if let Some(process) = &mut node.process
                    && process.wake_us == Some(self.now_us)
                {
                    process.wake_us = None;
                    self.turn(id);
                }
            }
            Event::Arrive(to, input) => self.arrive(to, *input),
            Event::WriteRows(id, life) => self.write_rows(id, life),
            Event::WriteSnapshot(id, life) => self.write_snapshot(id, life),
            Event::Trouble => self.trouble(),
            Event::Heal(cure) => self.heal(cure),
            Event::HealAll => self.heal_all(),
            Event::Operate => self.operate(),
            Event::Outage => self.flip_outage(),
            Event::MeshTrouble => self.mesh_trouble(),
            Event::Watch => self.watch(),
            Event::Word(line, to) => self.words(line, to),
            Event::Beat(id, life) => self.beat(id, life),
            Event::WakeJudge(id, life) => self.wake_judge(id, life),
            Event::Follow(id, life, leader) => self.follow(id, life, leader),
            Event::Probe(pid) => self.wake_probe(pid),
            Event::RunEnds(pid, run) => self.run_ends(pid, run),
            Event::Dial(pid, member) => self.dial(pid, member),
            Event::StartProbe(place, second) => self.replace_probe(place, second),
            Event::PageEnds(from, life, key, report) => self.page_ends(from, life, &key, report),
            Event::Late => {
                let processes = self.nodes.values().filter_map(|node| node.process.as_ref());
                let applied = processes.map(|process| process.member.applied());
                self.late_index = applied.max().unwrap_or_default();
            }
            Event::Ask(index) => self.ask(index),
            Event::Answer(request, reply) => self.answer(&request, &reply),
            Event::Listen(index, stream) => self.listen(index, stream),
            Event::Unheard(index, stream) => self.unheard(index, stream),
            Event::Heard(letter) => self.heard_watch(*letter),
            Event::Torn(index, stream) => self.torn(index, stream),
            Event::Tire(index) => self.tire(index),
            Event::Impatient(index, number, attempt) => {
                let open = self.clients[index].open.as_ref();
                if open.is_some_and(|open| open.number == number && open.attempt == attempt) {
                    self.ask(index);
                }
            }
        }
    }

    /// Lets a process do what there is to do, unless it is stopped or waits for its disk.
    pub(crate) fn turn(&mut self, id: u64) {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get(&id).filter(|node| !node.paused) else { return };
        let Some(process) = &node.process else { return };
        if process.busy_until_us > now_us {
            self.wake_at(id);
            return;
        }
        // The pager looks once a tick who is there. A leader knows whom it hears, the others are told.
        let looks = process.tick;
        let others: BTreeSet<u64> = match looks && !process.told.leader {
            true => self
                .nodes
                .values()
                .filter(|node| node.process.is_some() && self.network.is_open(node.id, id))
                .map(|node| node.id)
                .collect(),
            false => BTreeSet::new(),
        };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let utc_ns = node.utc_ns(now_us);
        let Some(process) = &mut node.process else { return };
        let instant = node::instant(self.base, now_us);
        let syncs_before = node.disk.syncs();
        let (mut out, mut letters) = (Vec::new(), Vec::new());
        let mut context = Context {
            member: &mut process.member,
            view: &process.view,
            node: id,
            now_us,
            instant,
            utc_ns,
            mesh_ns: process.judge.mesh(now_us).as_ns(),
            chance: &mut self.uids,
            counters: &mut self.counters,
        };
        while let Some(input) = process.inbox.pop_front() {
            match input {
                Input::Raft(message, file) => {
                    if let Some(file) = file {
                        // The rows of before must be written before they are replaced.
                        while let Ok(Some(_)) = context.member.behind().step(&node.rows) {}
                        if node.snapshots.write(&file.header, &mut rows_of(&file.rows)).is_err() {
                            continue;
                        }
                        context.counters.add("snapshot install");
                    }
                    context.member.step(*message);
                }
                Input::SnapshotSent { to, carried } => context.member.report_snapshot(to, carried),
                Input::Request(request) => process.api.request(request, &mut context),
                Input::Forward { id, from, command, origin } => {
                    process.api.forward((id, from), *command, origin, &mut context, &mut out);
                }
                Input::Forwarded { id, result } => process.api.forwarded(id, result),
                Input::Listen(listen) => process.feeds.listen(listen, &mut context, &mut letters),
                // Taken when it arrives.
                Input::ShutOut => {}
            }
        }
        if std::mem::take(&mut process.tick) {
            context.member.tick(instant);
        }
        if let Err(halt) = context.member.perform() {
            let sent = process.post.take();
            self.send(id, sent, syncs_before);
            if has_no_room(&halt) {
                self.counters.add("no room for the log");
            }
            self.crash(id, &halt.to_string());
            return;
        }
        let leads = context.member.leadership().leader;
        let Mesh { uids, counters, .. } = &mut self.mesh;
        let means = judge::Means { chance: uids, counters, sink: &self.sink };
        let mut desk = judge::Desk::new((id, leads), (now_us, utc_ns), process.view.load(), means);
        let decided = process.judge.turn(&mut context, &mut desk);
        let judge::Desk { say, hang_up, follow, .. } = desk;
        let again = process.api.turn(&mut context, &mut out) | decided;
        let members = looks.then(|| Members {
            leader: context.member.leader(),
            voters: context.member.conf_state().voters.iter().copied().collect(),
            heard: match process.told.leader {
                true => context.member.heard_within(MEMBER_HEARD_WITHIN).collect(),
                false => others,
            },
        });
        let again = again | process.pager.turn(&mut process.api, members, &mut context, &mut out);
        process.feeds.turn(&mut context, &mut letters);
        let asked_again = process.member.reads_asked_again() - process.asked_again;
        process.asked_again += asked_again;
        if asked_again > 0 {
            self.counters.add_many("read asked again", asked_again);
        }
        let leadership = process.member.leadership();
        let (term, applied) = (leadership.term, process.member.applied());
        let mut again = again;
        if leadership != process.told {
            process.told = leadership;
            if leadership.leader {
                let mesh = process.judge.mesh(now_us);
                self.sink.tell(Seen::Leads { node: id, term, applied, mesh });
            }
        }
        if leadership.leader
            && process.founded != term
            && process.view.load().cluster.mesh.is_empty()
        {
            process.founded = term;
            let command = store::InitCluster {
                mesh: "simulation".to_owned(),
                cluster_id: "simulation".to_owned(),
                epoch: 1,
                level: LEVEL,
                plan_version: 1,
                members: gate::founders(&self.founders),
            };
            let mut context = Context {
                member: &mut process.member,
                view: &process.view,
                node: id,
                now_us,
                instant,
                utc_ns,
                mesh_ns: process.judge.mesh(now_us).as_ns(),
                chance: &mut self.uids,
                counters: &mut self.counters,
            };
            drop(api::propose_here(Command::InitCluster(command), Origin::default(), &mut context));
            again = true;
        }
        if process.voters_at != applied {
            process.voters_at = applied;
            let conf = process.member.conf_state();
            let mut voters = (conf.voters.clone(), conf.learners.clone());
            voters.0.sort_unstable();
            voters.1.sort_unstable();
            self.sink.tell(Seen::Voters { node: id, index: applied, voters });
        }
        let is_removed = self.profile.membership
            && process.view.load().members.get(&id).is_some_and(|row| row.removed);
        let writes = process.member.behind().backlog().batches > 0 && !process.writing;
        process.writing |= writes;
        let snapshot = match process.snapshot.is_none() {
            true => process.member.snapshot_due(),
            false => None,
        };
        let snapshots = snapshot.is_some();
        process.snapshot = snapshot.or(process.snapshot.take());
        let sent = process.post.take();
        let (life, slow) = (node.life, node.slow);
        let syncs = node.disk.syncs() - syncs_before;
        let sync_us = self.send(id, sent, syncs_before) * slow;
        let busy_us = syncs * sync_us;
        if let Some(process) = self.nodes.get_mut(&id).and_then(|node| node.process.as_mut()) {
            process.busy_until_us = now_us + busy_us;
            if again || !process.inbox.is_empty() {
                self.wake_at(id);
            }
        }
        if writes {
            let delay_us = self.chance.between(500, 20_000) * slow;
            self.after(delay_us, Event::WriteRows(id, life));
        }
        if snapshots {
            let delay_us = self.chance.between(5_000, 400_000);
            self.after(delay_us, Event::WriteSnapshot(id, life));
        }
        self.obey(id, life, say, hang_up, follow);
        self.arm_judge(id);
        self.post_watch(busy_us, letters);
        for out in out {
            match out {
                Out::Client(request, reply) => {
                    let delay_us = self.chance.between(100, 5_000);
                    if !self.breaks() {
                        self.after(busy_us + delay_us, Event::Answer(request, reply));
                    }
                }
                Out::Page(send) => self.page(id, life, send),
                Out::Member(to, input) => {
                    let (least, most) = self.profile.delay_us;
                    let delay_us = self.chance.between(least, most);
                    if self.network.is_open(id, to) && !self.breaks() {
                        self.after(busy_us + delay_us, Event::Arrive(to, Box::new(input)));
                    }
                }
            }
        }
        if is_removed {
            self.stop_removed(id);
        }
    }

    /// Whether a call's connection breaks now. Nothing else loses a call: they go over TCP.
    pub(crate) fn breaks(&mut self) -> bool {
        self.profile.loss_percent > 0 && self.chance.one_in(100)
    }

    /// Has a busy process go on when its disk is done, others at once.
    fn wake_at(&mut self, id: u64) {
        let now_us = self.now_us;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let life = node.life;
        let Some(process) = &mut node.process else { return };
        let at_us = process.busy_until_us.max(now_us + 20);
        if process.wake_us.is_none_or(|wake_us| wake_us < now_us || wake_us > at_us) {
            process.wake_us = Some(at_us);
            self.at(at_us, Event::Wake(id, life));
        }
    }

    /// Puts messages on their way, each after the syncs that came before it. How long a sync takes
    /// this time.
    fn send(&mut self, from: u64, letters: Vec<(u64, Message)>, syncs_before: u64) -> u64 {
        let (least, most) = self.profile.sync_us;
        let sync_us = self.chance.between(least, most);
        let slow = self.nodes.get(&from).map_or(1, |node| node.slow);
        for (syncs, message) in letters {
            let leaves_us = (syncs - syncs_before) * sync_us * slow;
            let to = message.to;
            let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
            let found = if is_snapshot { self.file_of(from, &message) } else { Err(Carried::Lost) };
            let (file, carried) = match found {
                Ok(file) => (Some(file), Carried::Lost),
                Err(carried) => (None, carried),
            };
            let delays = match is_snapshot && file.is_none() {
                true => Vec::new(),
                false => self.network.delays(from, to, &self.profile, &mut self.chance),
            };
            if is_snapshot && delays.is_empty() {
                let input = Input::SnapshotSent { to, carried };
                self.after(leaves_us + 500_000, Event::Arrive(from, Box::new(input)));
            }
            let size_us = file.as_ref().map_or(0, |file| file.rows.len() as u64 * 100);
            let mut letter = Some((message, file));
            for (left, delay_us) in (0..delays.len()).rev().zip(delays) {
                let copy = if left == 0 { letter.take() } else { letter.clone() };
                let Some((message, file)) = copy else { break };
                let input = Input::Raft(Box::new(message), file.map(Box::new));
                let at_us = leaves_us + delay_us + size_us;
                self.after(at_us, Event::Arrive(to, Box::new(input)));
            }
        }
        sync_us
    }

    /// The file that a snapshot's message announces, or what becomes of the announcement.
    fn file_of(&self, from: u64, message: &Message) -> Result<File, Carried> {
        let metadata = message.get_snapshot().get_metadata();
        let snapshots = &self.nodes.get(&from).ok_or(Carried::Lost)?.snapshots;
        let id = SnapshotId { index: metadata.index, term: metadata.term };
        let read = || {
            let (header, rows) = snapshots.read(id)?;
            Ok(File { header, rows: rows.collect::<Result<_, _>>()? })
        };
        read().map_err(|error| match error {
            SnapshotError::Damaged { .. } => Carried::Damaged(id),
            _ => Carried::Lost,
        })
    }

    fn write_rows(&mut self, id: u64, life: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else { return };
        let (paused, slow, rows) = (node.paused, node.slow, node.rows.clone());
        let Some(process) = &mut node.process else { return };
        if paused {
            self.after(20_000, Event::WriteRows(id, life));
            return;
        }
        process.writing = false;
        let written = process.member.behind().step(&rows);
        let backlog = process.member.behind().backlog();
        match written {
            Err(error) => {
                if has_no_room(&error) {
                    self.counters.add("no room for rows");
                }
                return self.crash(id, &error.to_string());
            }
            Ok(Some(index)) if backlog.batches == 0 && index == process.member.applied() => {
                self.counters.add("rows caught up");
                if self.counters.get("rows caught up").is_multiple_of(64) {
                    self.compare_rows(id);
                }
            }
            Ok(_) => {}
        }
        if backlog.batches > 0 {
            if let Some(process) = self.nodes.get_mut(&id).and_then(|node| node.process.as_mut()) {
                process.writing = true;
            }
            let delay_us = self.chance.between(500, 20_000) * slow;
            self.after(delay_us, Event::WriteRows(id, life));
        }
    }

    /// Shows the invariants what a row store that has caught up holds.
    fn compare_rows(&mut self, id: u64) {
        let Some(node) = self.nodes.get(&id) else { return };
        let Some(process) = &node.process else { return };
        let mut hot = Vec::new();
        let loaded = node.rows.load(&mut |row| {
            let own = row.key.first() == Some(&parallax_coordinator::store::rows::RESERVED);
            if !own && crate::seen::SeenMachine::cold(&row.key).is_none() {
                hot.push(row);
            }
        });
        if loaded.is_ok() {
            let state = process.member.machine().hash();
            let (index, stored) = (process.member.applied(), hash_rows(hot));
            self.sink.tell(Seen::Stored { node: id, index, stored, state });
        }
    }

    fn write_snapshot(&mut self, id: u64, life: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.life == life) else { return };
        if node.paused {
            return self.after(100_000, Event::WriteSnapshot(id, life));
        }
        let Some(process) = &mut node.process else { return };
        let Some(job) = process.snapshot.take() else { return };
        // The job waits for the rows, which nobody else would write meanwhile.
        let mut written = Ok(Some(0));
        while let Ok(Some(_)) = written {
            written = process.member.behind().step(&node.rows);
        }
        let done = match written {
            Ok(_) => {
                let result = job.run();
                match &result {
                    Ok(()) => self.counters.add("snapshot written"),
                    Err(_) => self.counters.add("snapshot refused by the disk"),
                }
                process.member.snapshot_done(result).map_err(|halt| halt.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match done {
            Ok(()) => self.turn(id),
            Err(why) => self.crash(id, &why),
        }
    }
}
