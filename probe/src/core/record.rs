//! What the ends of runs become: numbers, live outcomes, windows (DESIGN.md, decisions 4 and 5).
//!
//! Every run and every missed slot gets a number in order of completion, sent or not. An outcome
//! goes out at once while anything is wrong with its check, and for the first runs of a check or
//! digest; every run goes into a window. Sealed windows go on to [`super::spool`].

mod kept;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::Assignment;
use parallax_common::expiry::Expiry;
use parallax_common::fold::{Fold, Mark, Recent, Terms};
use parallax_common::histogram::Recorder as Histogram;
use parallax_common::limits::{
    ASSIGNMENTS_MAX, ECHOES_MAX, EVIDENCE_BYTES_MAX, PHASE_MAX, RECORDED_CHECKS_MAX,
    RUN_STALL_AFTER, SAMPLES_MAX, STEPS_MAX, TIMEOUT_MAX,
};
use parallax_common::name::{Generation, Incarnation, RunDigest, Uid};
use parallax_common::outcome::{BallotState, Outcome, Phase, Reason};
use parallax_common::schedule::Slots;
use parallax_common::time::{BootTime, MeshTime};
use parallax_common::window::{Period, Series, Span, Spans, Window};

use self::kept::Kept;
use super::schedule::{Cause, Missed};

/// The highest number a step can have.
const LAST_STEP: u32 = STEPS_MAX as u32 - 1;

/// What one run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it passed.
    pub reason: Option<Reason>,
    /// The step in which it was decided.
    pub step: u32,
    /// What there is to see, capped and without secrets.
    pub evidence: String,
    /// Whom it spoke to last.
    pub remote: Option<SocketAddr>,
    /// (step, phase, duration) of everything that happened. `total` is among it only when the slot had
    /// several samples: then there is one of everything for each. Of `first_byte` there may be several
    /// a sample: one for each echo.
    pub phases: Vec<(u32, Phase, Duration)>,
    /// The certificate that expires first of all that it was shown.
    pub expiry: Option<Expiry>,
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// What it ran.
    pub assignment: Arc<Assignment>,
    /// The plan it ran under.
    pub generation: Generation,
    /// Why it ran.
    pub cause: Cause,
    /// When it was meant to start.
    pub scheduled: MeshTime,
    /// When it was handed to [`Recorder::started`]; names its window when it has no slot.
    pub handed: MeshTime,
    /// When it really started.
    pub started: BootTime,
    /// When it ended.
    pub ended: BootTime,
    /// Actual start less intended start.
    pub lateness: Duration,
    /// What it found.
    pub finding: Finding,
}

/// One record of the live lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Place in the live lane of this incarnation, from 1.
    pub sequence: u64,
    /// Of the check.
    pub check: Uid,
    /// What was run.
    pub digest: RunDigest,
    /// Per check, from 1.
    pub number: u64,
    /// The slot; absent for runs that belong to none.
    pub slot: Option<i64>,
    /// The order; 0 when it was not ordered.
    pub order: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it passed.
    pub reason: Option<Reason>,
    /// The step in which it was decided.
    pub step: u32,
    /// What there is to see.
    pub evidence: Box<str>,
    /// Whom it spoke to.
    pub remote: Option<SocketAddr>,
    /// When it was meant to start.
    pub scheduled: MeshTime,
    /// When it started.
    pub started: BootTime,
    /// When it ended.
    pub ended: BootTime,
    /// The plan it ran under.
    pub generation: Generation,
    /// (step, phase, duration); empty in snapshots.
    pub phases: Vec<(u32, Phase, Duration)>,
}

/// A check's part of a ballot snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Of the check.
    pub check: Uid,
    /// The version in force.
    pub digest: RunDigest,
    /// Its last outcomes of that version, oldest first.
    pub recent: Vec<Record>,
    /// The number the next run will get.
    pub next_number: u64,
    /// What all runs of that version amount to.
    pub state: BallotState,
    /// The end of the run that gave it that state; zero without one.
    pub since: BootTime,
    /// What M of N is counted in.
    pub counted: Recent,
}

#[derive(Debug)]
struct OpenWindow {
    digest: RunDigest,
    start: MeshTime,
    end: MeshTime,
    period: Period,
    phase_ns: i64,
    /// Slots are counted in it: those of two intervals cannot share a range.
    interval: Duration,
    /// Runs that started and have not ended.
    running: u32,
    /// The end has come, but a run is still in flight.
    waiting: bool,
    slots: Option<(i64, i64)>,
    numbers: Option<(u64, u64)>,
    outcomes: Spans,
    series: Vec<((u32, Phase), Histogram)>,
    expiry: Option<Expiry>,
}

#[derive(Debug)]
struct Check {
    assignment: Arc<Assignment>,
    generation: Generation,
    next_number: u64,
    recent: VecDeque<Kept>,
    /// Every run of the version in force.
    fold: Fold<BootTime>,
    /// Passes in a row that were sent since the last other outcome; the gate is closed (passes are
    /// not sent) from `need` on.
    passed: u32,
    need: u32,
    windows: Vec<OpenWindow>,
    /// No longer assigned: goes when its last run has ended.
    leaving: bool,
}

impl Check {
    fn new(assignment: &Arc<Assignment>, generation: Generation, next_number: u64) -> Self {
        Self {
            assignment: Arc::clone(assignment),
            generation,
            next_number,
            recent: VecDeque::new(),
            fold: Fold::default(),
            passed: 0,
            need: need(assignment),
            windows: Vec::new(),
            leaving: false,
        }
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Remembers a record of the version in force.
    fn keep(&mut self, record: &Record) {
        kept::keep(&mut self.recent, record);
        let terms = Terms {
            failures: self.assignment.failures.max(1),
            successes: self.assignment.successes.max(1),
            failures_of: self.assignment.failures_of,
            successes_of: self.assignment.successes_of,
            interval: self.assignment.interval,
        };
        let mark = Mark {
            number: record.number,
            outcome: record.outcome,
            ordered: record.order != 0,
            ended: record.ended,
        };
        // A probe does not know whether an incident is open: one pass gives no state.
        self.fold.step(&mark, &terms, false);
    }

    /// Whether this outcome is sent at once; moves the gate.
    fn gate(&mut self, outcome: Outcome, ordered: bool) -> bool {
        match outcome {
            Outcome::Missed => true,
            Outcome::Warn | Outcome::Fail => {
                self.passed = 0;
                true
            }
            Outcome::Pass => {
                let open = self.passed < self.need;
                self.passed = self.passed.saturating_add(1);
                open || ordered
            }
        }
    }
}

fn need(assignment: &Assignment) -> u32 {
    let counted = assignment.failures_of.max(assignment.successes_of);
    assignment.failures.max(assignment.successes).max(counted).max(1)
}

/// Numbers runs, keeps windows open, and says what goes out.
#[derive(Debug)]
pub struct Recorder {
    incarnation: Incarnation,
    checks: HashMap<Uid, Check>,
    /// Next numbers of checks that left: they may come back within this incarnation.
    left: HashMap<Uid, u64>,
    seals: BinaryHeap<Reverse<(MeshTime, Uid)>>,
    live_sequence: u64,
    checks_max: usize,
}

impl Recorder {
    /// Nothing recorded yet.
    pub fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            checks: HashMap::new(),
            left: HashMap::new(),
            seals: BinaryHeap::new(),
            live_sequence: 0,
            checks_max: RECORDED_CHECKS_MAX,
        }
    }

    /// One life of the spool.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Sequence of the last live record.
    pub fn live_sequence(&self) -> u64 {
        self.live_sequence
    }

    /// A check is new or changed.
    pub fn assign(&mut self, assignment: &Arc<Assignment>, generation: Generation) {
        let uid = assignment.check;
        let Some(check) = self.checks.get_mut(&uid) else {
            let next_number = self.left.remove(&uid).unwrap_or(1);
            self.checks.insert(uid, Check::new(assignment, generation, next_number));
            return;
        };
        if check.assignment.run_digest != assignment.run_digest || check.leaving {
            // A vote is for one version: the new one begins with nothing.
            check.recent.clear();
            check.fold = Fold::default();
            check.passed = 0;
        }
        let counts = |of: &Assignment| (of.failures, of.successes, of.failures_of, of.successes_of);
        if counts(&check.assignment) != counts(assignment) {
            // What was told was enough for other terms: a coordinator that has not heard enough for these
            // would keep the vote it has until something else is told.
            check.passed = 0;
        }
        check.need = need(assignment);
        check.leaving = false;
        check.generation = generation;
        check.assignment = Arc::clone(assignment);
    }

    /// A check is no longer assigned. Its windows are sealed when their periods are over, as all others
    /// are: coordinators take none that ends in the future.
    pub fn remove(&mut self, uid: &Uid) {
        let crowded = self.checks.len() > self.checks_max;
        let Some(check) = self.checks.get_mut(uid) else { return };
        check.leaving = true;
        if crowded {
            for window in &mut check.windows {
                window.end = window.start;
                window.waiting = window.running > 0;
                if !window.waiting {
                    self.seals.push(Reverse((window.end, *uid)));
                }
            }
        }
        self.forget_if_done(uid);
    }

    fn forget_if_done(&mut self, uid: &Uid) {
        let done = self.checks.get(uid).is_some_and(|c| c.leaving && c.windows.is_empty());
        if done && let Some(check) = self.checks.remove(uid) {
            if self.left.len() >= ASSIGNMENTS_MAX
                && let Some(any) = self.left.keys().next().copied()
            {
                self.left.remove(&any);
            }
            self.left.insert(*uid, check.next_number);
        }
    }

    /// A run starts: its window stays open until it has ended. `now` names the window of a run
    /// without a slot, and is handed back in [`Ended::handed`].
    pub fn started(&mut self, assignment: &Arc<Assignment>, cause: Cause, now: MeshTime) {
        let at = window_time(assignment, cause, now);
        if let Some(window) = self.window(assignment, at) {
            window.running += 1;
        }
    }

    /// The open window of this version of the check that `at` lies in.
    fn window(&mut self, assignment: &Arc<Assignment>, at: MeshTime) -> Option<&mut OpenWindow> {
        let check = self.checks.get_mut(&assignment.check)?;
        let digest = assignment.run_digest;
        let period = Period::for_interval(assignment.interval);
        let (start, end) = period.edges(at);
        let found = check.windows.iter().position(|window| {
            window.digest == digest
                && window.start == start
                && window.period == period
                && window.phase_ns == assignment.phase_ns
                && window.interval == assignment.interval
        });
        let place = found.unwrap_or_else(|| {
            check.windows.push(OpenWindow {
                digest,
                start,
                end,
                period,
                phase_ns: assignment.phase_ns,
                interval: assignment.interval,
                running: 0,
                waiting: false,
                slots: None,
                numbers: None,
                outcomes: Spans::new(),
                series: Vec::new(),
                expiry: None,
            });
            self.seals.push(Reverse((end, assignment.check)));
            check.windows.len() - 1
        });
        check.windows.get_mut(place)
    }

    /// A run has ended: it is numbered and goes into its window; the record when it is to be sent.
    pub fn ended(&mut self, mut ended: Ended) -> Option<Record> {
        bound(&mut ended);
        let Ended { assignment, generation, cause, scheduled, handed, .. } = &ended;
        let at = window_time(assignment, *cause, *handed);
        let (slot, order) = match *cause {
            Cause::Slot(slot) => (Some(slot), 0),
            Cause::First => (None, 0),
            Cause::Order(order) => (None, order),
        };
        let uid = assignment.check;
        let number = self.checks.get_mut(&uid)?.take_number();
        let finding = &ended.finding;
        let total = ended.ended.since(ended.started);
        let mut phases = finding.phases.clone();
        if finding.outcome != Outcome::Missed {
            // `total` counts from each sample's own start; what counts from the slot is of all of them.
            // A run that took no time has not begun: there is nothing that it took.
            let begun = !total.is_zero();
            if begun && !phases.iter().any(|(_, phase, _)| *phase == Phase::Total) {
                phases.push((0, Phase::Total, total));
            }
            if slot.is_some() {
                phases.push((0, Phase::Lateness, ended.lateness));
                if begun {
                    phases.push((0, Phase::FromSlot, ended.lateness + total));
                }
            }
        }
        let window = self.window(assignment, at)?;
        window.running = window.running.saturating_sub(1);
        window.count(slot, number);
        window.outcomes.push(finding.outcome, finding.reason, slot.is_none());
        // Whatever became of the run: it was shown.
        window.expiry = Expiry::first(window.expiry, finding.expiry);
        if finding.outcome != Outcome::Missed {
            for (step, phase, length) in &phases {
                window.sample(*step, *phase, *length);
            }
        }
        if window.waiting && window.running == 0 {
            let end = window.end;
            self.seals.push(Reverse((end, uid)));
        }
        let check = self.checks.get_mut(&uid)?;
        let current = check.assignment.run_digest == assignment.run_digest && !check.leaving;
        let record = Record {
            sequence: 0,
            check: uid,
            digest: assignment.run_digest,
            number,
            slot,
            order,
            outcome: finding.outcome,
            reason: finding.reason,
            step: finding.step,
            evidence: finding.evidence.as_str().into(),
            remote: finding.remote,
            scheduled: *scheduled,
            started: ended.started,
            ended: ended.ended,
            generation: *generation,
            phases: means(&phases),
        };
        // The last runs of an older version are sent whatever they say: they are few, and a number
        // that is not sent reads as a pass.
        let send = if current {
            check.keep(&record);
            check.gate(record.outcome, order != 0)
        } else {
            !check.leaving
        };
        send.then(|| self.sequenced(record))
    }

    fn sequenced(&mut self, record: Record) -> Record {
        self.live_sequence += 1;
        Record { sequence: self.live_sequence, ..record }
    }

    /// Slots passed without a run: they are numbered, counted in their windows and sent at once, all
    /// of them. A number that was not sent would read as a pass and end a streak of fails.
    pub fn missed(&mut self, missed: &Missed, now: BootTime) -> Vec<Record> {
        let assignment = &missed.assignment;
        let slots = Slots::new(assignment.phase_ns, assignment.interval);
        let mut records = Vec::new();
        for slot in missed.first_slot..=missed.last_slot {
            let Some(check) = self.checks.get_mut(&assignment.check) else { break };
            let number = check.take_number();
            let generation = check.generation;
            let at = slots.time_of(slot);
            if let Some(window) = self.window(assignment, at) {
                window.count(Some(slot), number);
                window.outcomes.push_span(Span {
                    outcome: Outcome::Missed,
                    reason: Some(missed.reason),
                    count: 1,
                    ordered: false,
                });
            }
            let record = Record {
                sequence: 0,
                check: assignment.check,
                digest: assignment.run_digest,
                number,
                slot: Some(slot),
                order: 0,
                outcome: Outcome::Missed,
                reason: Some(missed.reason),
                step: 0,
                evidence: Box::default(),
                remote: None,
                scheduled: at,
                started: now,
                ended: now,
                generation,
                phases: Vec::new(),
            };
            if let Some(check) = self.checks.get_mut(&assignment.check) {
                check.keep(&record);
            }
            records.push(self.sequenced(record));
        }
        records
    }

    /// Seals windows whose last slot has ended, at most `limit` of them; `horizon` is the time up
    /// to which every slot has been started or missed. Ask again while as many come back.
    pub fn seal(&mut self, horizon: MeshTime, limit: usize) -> Vec<Window> {
        let mut sealed = Vec::new();
        while sealed.len() < limit {
            match self.seals.peek() {
                Some(Reverse((end, _))) if *end <= horizon => {}
                _ => break,
            }
            let Some(Reverse((end, uid))) = self.seals.pop() else { break };
            let Some(check) = self.checks.get_mut(&uid) else { continue };
            let due = |window: &OpenWindow| window.end <= end;
            for window in check.windows.iter_mut().filter(|w| due(w) && w.running > 0) {
                window.waiting = true;
            }
            let incarnation = self.incarnation;
            let done = check.windows.extract_if(.., |w| due(w) && w.running == 0);
            sealed.extend(
                done.filter(|window| !window.outcomes.is_empty())
                    .map(|window| window.seal(uid, incarnation)),
            );
            self.forget_if_done(&uid);
        }
        sealed
    }

    /// Seals everything that is open, over or not: the process ends. Runs that have not ended are lost.
    /// Most of these windows end in the future, see [`super::spool::Spool::is_early`].
    pub fn seal_open(&mut self) -> Vec<Window> {
        self.seals.clear();
        let incarnation = self.incarnation;
        let of_check = |(uid, check): (&Uid, &mut Check)| {
            let (uid, open) = (*uid, std::mem::take(&mut check.windows));
            let open = open.into_iter().filter(|window| !window.outcomes.is_empty());
            open.map(move |window| window.seal(uid, incarnation)).collect::<Vec<_>>()
        };
        let mut sealed: Vec<Window> = self.checks.iter_mut().flat_map(of_check).collect();
        sealed.sort_by_key(|window| (window.start + window.period.length(), window.check));
        sealed
    }

    /// When [`Self::seal`] may have something next.
    pub fn next_seal_at(&self) -> Option<MeshTime> {
        self.seals.peek().map(|Reverse((end, _))| *end)
    }

    /// The state of these checks, for a session that begins or a plan that changed them.
    pub fn snapshot(&self, uid: &Uid) -> Option<Snapshot> {
        let check = self.checks.get(uid).filter(|check| !check.leaving)?;
        let digest = check.assignment.run_digest;
        let recent = check.recent.iter().map(|kept| kept.record(*uid, digest, check.generation));
        Some(Snapshot {
            check: *uid,
            digest,
            recent: recent.collect(),
            next_number: check.next_number,
            state: check.fold.state,
            since: check.fold.since,
            counted: check.fold.recent,
        })
    }
}

fn window_time(assignment: &Assignment, cause: Cause, handed: MeshTime) -> MeshTime {
    match cause {
        Cause::Slot(slot) => Slots::new(assignment.phase_ns, assignment.interval).time_of(slot),
        Cause::First | Cause::Order(_) => handed,
    }
}

/// Holds what a run says to what the wire takes. Executions keep to it; a record that did not would
/// end every session that hears it, and every later one by its snapshot.
pub(super) fn bound(ended: &mut Ended) {
    let latest = ended.started + (TIMEOUT_MAX + RUN_STALL_AFTER);
    ended.ended = ended.ended.clamp(ended.started, latest);
    // `from_slot` adds the run to it.
    ended.lateness = ended.lateness.min(PHASE_MAX - TIMEOUT_MAX - RUN_STALL_AFTER);
    let finding = &mut ended.finding;
    finding.step = finding.step.min(LAST_STEP);
    finding.expiry = finding.expiry.filter(|expiry| expiry.is_sayable());
    cut(&mut finding.evidence, EVIDENCE_BYTES_MAX);
    let samples = ended.assignment.run.samples.clamp(1, SAMPLES_MAX);
    // A series has one sample a run, that of echoes one for each; those of the whole run are the
    // recorder's own, unless there were several.
    let mut seen = [0; STEPS_MAX * Phase::ALL.len()];
    finding.phases.retain_mut(|(step, phase, length)| {
        *length = (*length).min(PHASE_MAX);
        let ours = match phase {
            Phase::Total => samples == 1 || *step > 0,
            Phase::Lateness | Phase::FromSlot => true,
            _ => false,
        };
        let count = &mut seen[(*step).min(LAST_STEP) as usize * Phase::ALL.len() + *phase as usize];
        *count += 1;
        let most = if *phase == Phase::FirstByte { ECHOES_MAX } else { 1 };
        *count <= most * samples && !ours && *step <= LAST_STEP
    });
}

/// Each (step, phase) once: of several samples their mean.
pub fn means(phases: &[(u32, Phase, Duration)]) -> Vec<(u32, Phase, Duration)> {
    let mut sums: Vec<(u32, Phase, Duration, u32)> = Vec::with_capacity(phases.len().min(8));
    for (step, phase, length) in phases {
        match sums.iter_mut().find(|(of, kind, ..)| (of, kind) == (step, phase)) {
            Some((.., sum, count)) => (*sum, *count) = (*sum + *length, *count + 1),
            None => sums.push((*step, *phase, *length, 1)),
        }
    }
    sums.into_iter().map(|(step, phase, sum, count)| (step, phase, sum / count)).collect()
}

/// Cuts a text to so many bytes or a few less, at a character.
pub(crate) fn cut(text: &mut String, bytes_max: usize) {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

impl OpenWindow {
    fn count(&mut self, slot: Option<i64>, number: u64) {
        if let Some(slot) = slot {
            let (first, last) = self.slots.unwrap_or((slot, slot));
            self.slots = Some((first.min(slot), last.max(slot)));
        }
        let (first, last) = self.numbers.unwrap_or((number, number));
        self.numbers = Some((first.min(number), last.max(number)));
    }

    fn sample(&mut self, step: u32, phase: Phase, length: Duration) {
        let key = (step, phase);
        let place = self.series.iter().position(|(of, _)| *of == key).unwrap_or_else(|| {
            self.series.push((key, Histogram::new()));
            self.series.len() - 1
        });
        self.series[place].1.record(length);
    }

    fn seal(self, check: Uid, incarnation: Incarnation) -> Window {
        Window {
            check,
            run_digest: self.digest,
            start: self.start,
            period: self.period,
            phase_ns: self.phase_ns,
            slots: self.slots,
            numbers: self.numbers,
            outcomes: self.outcomes,
            series: self
                .series
                .into_iter()
                .map(|((step, phase), histogram)| Series {
                    step,
                    phase,
                    totals: histogram.totals(),
                    histogram: histogram.encode(),
                })
                .collect(),
            expiry: self.expiry,
            incarnation,
        }
    }
}

#[cfg(test)]
mod tests;
