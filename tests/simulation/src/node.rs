//! One member's machine: disks, which outlive it, and the process, which does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parallax_coordinator::machine::StateMachine;
use parallax_coordinator::raft::config::{Config, Stores};
use parallax_coordinator::raft::halt::StartError;
use parallax_coordinator::raft::log::LogStore as _;
use parallax_coordinator::raft::log::memory::{self as log_disk, MemDisk, MemLog};
use parallax_coordinator::raft::member::{Leadership, Member};
use parallax_coordinator::raft::recover::RecoverError;
use parallax_coordinator::raft::snapshot_job::SnapshotJob;
use parallax_coordinator::store::rows::memory::{self as row_disk, MemRows};
use parallax_coordinator::store::snapshot::SnapshotStore as _;
use parallax_coordinator::store::snapshot::memory::MemSnapshots;
use parallax_coordinator::view::View;
use raft::eraftpb::HardState;

use crate::api::Api;
use crate::chance::Chance;
use crate::counters::Counters;
use crate::feed::Feeds;
use crate::gate::Gate;
use crate::judge::Judge;
use crate::pager::Pager;
use crate::profile::Profile;
use crate::seen::{Post, Seen, SeenLog, SeenMachine, Sink};
use crate::wire::Input;

/// Inputs that wait for a busy or stopped process; more are lost, as they are in production.
const INBOX_MAX: usize = 4_096;
/// When the simulation's time begins.
const BEGIN_S: i64 = 1_700_000_000;

/// A running process.
pub struct Process {
    /// Raft.
    pub member: Member<SeenMachine, SeenLog>,
    /// What it published.
    pub view: View,
    /// What it sends.
    pub post: Post,
    /// Requests under way.
    pub api: Api,
    /// What it has not looked at yet.
    pub inbox: VecDeque<Input>,
    /// A tick is due.
    pub tick: bool,
    /// It waits for its disk until then.
    pub busy_until_us: u64,
    /// It will be woken then.
    pub wake_us: Option<u64>,
    /// Its row writer will be woken.
    pub writing: bool,
    /// Sends pages.
    pub pager: Pager,
    /// Decides.
    pub judge: Judge,
    /// Tells watchers.
    pub feeds: Feeds,
    /// Lets other members in.
    pub gate: Gate,
    /// Rounds of reads that it asked again, as far as they were counted.
    pub asked_again: u64,
    /// A snapshot that is being written.
    pub snapshot: Option<SnapshotJob>,
    /// What was last told of its leadership.
    pub told: Leadership,
    /// The term in which it proposed the cluster's first entry.
    pub founded: u64,
    /// Of what it was last told who votes.
    pub voters_at: u64,
}

/// A machine.
pub struct Node {
    /// The member's number.
    pub id: u64,
    /// The log's disk.
    pub disk: MemDisk,
    /// The rows' disk.
    pub rows: MemRows,
    /// The snapshots' disk.
    pub snapshots: MemSnapshots,
    /// Which life its process has.
    pub life: u64,
    /// None: it is down.
    pub process: Option<Process>,
    /// Its process is stopped, and does not know.
    pub paused: bool,
    /// Syncs take so many times as long.
    pub slow: u64,
    /// Its clock is ahead by so much.
    pub clock_us: i64,
    /// The same when nobody had moved it yet.
    pub first_clock_us: i64,
    /// Its boot clock is ahead of the simulation's time by so much.
    pub boot_us: u64,
    /// What it wrote down of its mesh clock, in this boot.
    pub stored_offset_ns: Option<i64>,
    /// How long its tick takes: clocks do not run alike.
    pub tick_us: u64,
    /// Who votes first; none for those who come later.
    pub bootstrap: Option<Vec<u64>>,
    /// The index from which on it is a member; none before it is one.
    pub joined: Option<u64>,
    /// It is a member no more, and knows.
    pub is_leaving: bool,
    /// Somebody will start it again all the same.
    pub comes_again: bool,
    /// It has ended, and does not come back.
    pub removed: bool,
}

impl Node {
    /// A machine with empty disks.
    pub fn new(
        id: u64,
        bootstrap: Option<Vec<u64>>,
        profile: &Profile,
        chance: &mut Chance,
    ) -> Self {
        let drift_us = profile.drift_us;
        let clock_us = chance.between(0, 2_000_000) as i64 - 1_000_000;
        Self {
            id,
            disk: MemDisk::default(),
            rows: MemRows::default(),
            snapshots: MemSnapshots::default(),
            life: 0,
            process: None,
            paused: false,
            slow: 1,
            clock_us,
            first_clock_us: clock_us,
            boot_us: 0,
            stored_offset_ns: None,
            tick_us: chance.between(50_000 - drift_us, 50_000 + drift_us),
            joined: bootstrap.is_some().then_some(0),
            bootstrap,
            is_leaving: false,
            comes_again: false,
            removed: false,
        }
    }

    /// Starts the process from what the disks hold, at this time and with this offset of its mesh
    /// clock.
    pub fn start(
        &mut self,
        seed: u64,
        profile: &Profile,
        sink: &Sink,
        counters: &mut Counters,
        clock: (u64, i64),
    ) {
        self.life += 1;
        self.paused = false;
        match self.open(seed, profile, sink, counters, clock) {
            Ok(process) => self.process = Some(process),
            Err(error) => {
                let mut why = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    why = format!("{why}: {error}");
                    source = error.source();
                }
                sink.tell(Seen::StartFailed { node: self.id, why });
            }
        }
    }

    fn open(
        &self,
        seed: u64,
        profile: &Profile,
        sink: &Sink,
        counters: &mut Counters,
        clock: (u64, i64),
    ) -> Result<Process, StartError> {
        let mut config = Config::new(self.id, self.bootstrap.clone());
        config.life = Chance::new(seed ^ self.life << 8 ^ self.id, "life").word();
        config.snapshot_after_entries = profile.snapshot_after_entries;
        config.message_bytes_max = profile.message_bytes_max;
        config.inflight_max = profile.inflight_max;
        let log = MemLog::open(&self.disk).map_err(RecoverError::Log)?;
        if log.was_cut() {
            counters.add("torn tail");
        }
        let last_index = log.last_index();
        let HardState { term, vote, .. } = *log.hard_state();
        sink.tell(Seen::Started { node: self.id, last: last_index, term, vote });
        let post = Post::new(self.disk.clone(), sink.clone());
        let stores = Stores {
            log: SeenLog::new(log, self.id, sink.clone()),
            rows: Arc::new(self.rows.clone()),
            snapshots: Arc::new(self.snapshots.clone()),
            outbound: Box::new(post.clone()),
        };
        let view = View::default();
        let fatal = Arc::new(|_: &str| {});
        let (follower, batches) = tokio::sync::mpsc::unbounded_channel();
        let (judge, facts) = tokio::sync::mpsc::unbounded_channel();
        let (watch, changes) = tokio::sync::mpsc::unbounded_channel();
        let machine = StateMachine::new(view.clone(), vec![follower, judge, watch], fatal);
        let machine = SeenMachine::new(machine, view.clone(), self.id, sink.clone());
        let (member, recovered) = Member::start(config, machine, stores)?;
        if recovered.rebuilt.is_some() && recovered.applied > 1 {
            counters.add("rows rebuilt");
        }
        let founders = self.bootstrap.as_deref().unwrap_or_default();
        let gate = || Gate::new(self.id, founders);
        Ok(Process {
            member,
            view,
            post,
            api: Api::of_life(self.life),
            pager: Pager::new(self.id, last_index, batches),
            judge: Judge::new(facts, (self.boot_us, clock.1), clock.0, gate()),
            feeds: Feeds::new(profile.watch_changes_max, recovered.applied, changes),
            gate: gate(),
            asked_again: 0,
            inbox: VecDeque::new(),
            tick: false,
            busy_until_us: 0,
            wake_us: None,
            writing: false,
            snapshot: None,
            told: Leadership::default(),
            founded: 0,
            voters_at: u64::MAX,
        })
    }

    /// The machine loses power: the process is gone, what was not synced meets its fate.
    pub fn crash(&mut self, chance: &mut Chance) {
        self.process = None;
        self.paused = false;
        self.disk.crash(match chance.below(3) {
            0 => log_disk::Crash::Lose,
            1 => log_disk::Crash::Keep,
            _ => log_disk::Crash::Tear(chance.below(60) as usize),
        });
        self.rows.crash(match chance.below(20) {
            0..8 => row_disk::Crash::Lose,
            8..15 => row_disk::Crash::Keep,
            15..19 => row_disk::Crash::Tear,
            _ => row_disk::Crash::Vanish,
        });
        // The newest snapshot may be damaged as long as an older one can stand in.
        if let Ok(kept) = self.snapshots.list()
            && let [older, newest] = kept[..]
            && self.snapshots.verify(older).is_ok()
            && chance.one_in(20)
            // Not behind one that was installed: the log begins at that.
            && MemLog::open(&self.disk).is_ok_and(|log| log.start().index <= older.index)
        {
            self.snapshots.damage(newest);
        }
    }

    /// Puts an input where the process finds it.
    pub fn receive(&mut self, input: Input) -> bool {
        match &mut self.process {
            Some(process) if process.inbox.len() < INBOX_MAX => {
                process.inbox.push_back(input);
                true
            }
            _ => false,
        }
    }

    /// What its clock says.
    pub fn utc_ns(&self, now_us: u64) -> i64 {
        (BEGIN_S * 1_000_000 + now_us as i64 + self.clock_us) * 1_000
    }

    /// What its clock would say if nobody had moved it.
    pub fn first_utc_ns(&self, now_us: u64) -> i64 {
        (BEGIN_S * 1_000_000 + now_us as i64 + self.first_clock_us) * 1_000
    }
}

/// The simulation's time as deadlines want it.
pub fn instant(base: Instant, now_us: u64) -> Instant {
    base + Duration::from_micros(now_us)
}
