//! Every step of a life of the store is the last one, fails, or finds no room; then the next life is
//! looked at. The files are the twin's.
//!
//! Each window is of a check of its own, so that a lost one and a doubled one cannot make up for each
//! other.

use super::*;
use crate::history::files::twin::{Fault, Loss, Twin};

const DIR: &str = "/history";

/// What the probe and another member know: they outlive the store.
#[derive(Default)]
struct Outside {
    /// Windows that were acknowledged, by check, and where the probe stands.
    acknowledged: BTreeMap<u8, u64>,
    /// Failed syncs when the last acknowledgement was given.
    syncs_failed: u64,
}

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With its story.
    Whole,
    /// The disk refused something.
    Refused,
}

/// A store of one life, driven as its threads drive it.
struct Life<'a> {
    files: Twin,
    disk: Disk,
    journal: Journal,
    outside: &'a mut Outside,
    waits: usize,
}

type Lived = Result<(), SegmentError>;

impl<'a> Life<'a> {
    fn begin(files: &Twin, outside: &'a mut Outside) -> Result<Self, SegmentError> {
        let (disk, journal) = Disk::open(Arc::new(files.clone()), Path::new(DIR), u64::MAX)?;
        Ok(Self { files: files.clone(), disk, journal, outside, waits: 0 })
    }

    /// Tries again while there is no room, as the thread `history` does.
    fn patiently<T>(
        &mut self,
        mut step: impl FnMut(&mut Self) -> Result<T, SegmentError>,
    ) -> Result<T, SegmentError> {
        loop {
            match step(self) {
                Err(full) if full.is_full() => {
                    self.waits += 1;
                    assert!(self.waits < 1_000, "it waits for ever");
                }
                done => return done,
            }
        }
    }

    /// A window of `check`, which is also its number; taken in the second `now`.
    fn window(&mut self, check: u8, start: i64, now: i64) -> Lived {
        let windows = vec![(u64::from(check), window(check, start))];
        let batch = [Batch { spool: spool("eu", 1), windows, now: at(now), room: None }];
        self.patiently(|life| life.disk.commit(&mut life.journal, &batch))?;
        assert_eq!(
            self.files.syncs_failed(),
            self.outside.syncs_failed,
            "nobody is told anything after a failed sync"
        );
        self.outside.acknowledged.insert(check, u64::from(check));
        Ok(())
    }

    fn flush(&mut self) -> Lived {
        self.patiently(|life| life.disk.flush(&mut life.journal))
    }

    /// A roll-up that fails is tried again later; only a failed sync ends the process.
    fn maintain(&mut self, now: i64) -> Lived {
        loop {
            match self.disk.maintain(at(now)) {
                Err(error) if error.is_sync() || self.files.is_over() => return Err(error),
                Err(_) => self.waits += 1,
                Ok(()) => return Ok(()),
            }
            assert!(self.waits < 1_000, "it waits for ever");
        }
    }

    /// What the probe has not been told of comes (again); all else as it may.
    fn story(&mut self) -> Lived {
        for hour in 0..3i64 {
            let start = hour * HOUR;
            for n in 0..3 {
                self.due((hour * 4 + n + 1) as u8, start + n * 10)?;
            }
            self.flush()?;
            // Late, and in no segment when the hour is rolled up.
            self.due((hour * 4 + 4) as u8, start)?;
            self.maintain(start + HOUR + 200)?;
        }
        self.flush()?;
        self.maintain(DAY + 3 * HOUR)?;
        self.due(13, DAY + 3 * HOUR)?;
        // Now minutes are hours, and windows too old.
        self.maintain(DAY + 4 * HOUR + 200)?;
        Ok(())
    }

    fn due(&mut self, check: u8, start: i64) -> Lived {
        if self.outside.acknowledged.contains_key(&check) {
            return Ok(());
        }
        self.window(check, start, start + 10)
    }

    /// Every window that was acknowledged is there, and none twice.
    fn look(&self, why: &str) {
        let through = self.disk.acknowledged(&spool("eu", 1)).unwrap_or(0);
        for n in 1..=13u8 {
            let question = Question {
                check: check(n),
                from: at(-DAY),
                to: at(10 * DAY),
                tier: Tier::Hours,
                phases: all_phases(),
            };
            let mut runs = 0;
            self.disk
                .cells(&question, &mut |_, cell| runs += cell.counts.values().sum::<u64>())
                .unwrap();
            if self.outside.acknowledged.contains_key(&n) {
                assert_eq!(runs, 10, "window {n} was acknowledged: {why}");
                assert!(through >= u64::from(n), "{why}");
            } else {
                assert!(runs == 0 || runs == 10, "window {n} has {runs} runs: {why}");
            }
        }
    }
}

/// One life with something in its way.
fn live(files: &Twin, outside: &mut Outside) -> End {
    outside.syncs_failed = 0;
    let lived = Life::begin(files, outside).and_then(|mut life| life.story());
    if lived.is_ok() { End::Whole } else { End::Refused }
}

/// The next life: it finds everything, goes on to the end, and so does the one after it, whatever
/// becomes of what was not synced.
fn go_on(files: &Twin, outside: &mut Outside, why: &str) {
    outside.syncs_failed = 0;
    let mut life = Life::begin(files, outside).unwrap_or_else(|error| panic!("{why}: {error:?}"));
    life.look(why);
    life.story().unwrap_or_else(|error| panic!("{why}: {error:?}"));
    assert_eq!(life.outside.acknowledged.len(), 13, "{why}");
    life.look(why);
    drop(life);
    let rest = files.after(Loss::All);
    let last = Life::begin(&rest, outside).unwrap_or_else(|error| panic!("{why}: {error:?}"));
    last.look(why);
}

/// Steps of a life in which nothing happens.
fn steps() -> u64 {
    let files = Twin::default();
    assert_eq!(live(&files, &mut Outside::default()), End::Whole);
    files.steps()
}

/// What may become of what was not synced; by chance, another way at each step.
const fn losses(step: u64) -> [Loss; 3] {
    [Loss::Nothing, Loss::All, Loss::Some(step)]
}

#[test]
fn whatever_the_last_step_was_what_was_acknowledged_is_there_once() {
    let steps = steps();
    assert!(steps > 80, "{steps}");
    for step in 0..steps {
        for loss in losses(step) {
            let files = Twin::with(Fault::EndAt(step));
            let mut outside = Outside::default();
            assert_eq!(live(&files, &mut outside), End::Refused);
            let why = format!("ended at step {step}, lost {loss:?}");
            go_on(&files.after(loss), &mut outside, &why);
        }
    }
}

#[test]
fn a_write_or_sync_that_fails_is_never_followed_by_an_acknowledgement_of_what_it_carried() {
    let (mut refused, mut syncs_failed) = (0, 0);
    for step in 0..steps() {
        for loss in losses(step) {
            let files = Twin::with(Fault::FailAt(step));
            let mut outside = Outside::default();
            let end = live(&files, &mut outside);
            // What is no sync may be got over; a failed sync never.
            assert!(files.syncs_failed() == 0 || end == End::Refused, "step {step}");
            refused += u64::from(end == End::Refused);
            syncs_failed += files.syncs_failed();
            let why = format!("step {step} failed, then lost {loss:?}");
            go_on(&files.after(loss), &mut outside, &why);
        }
    }
    assert!(refused > 30 && syncs_failed > 15, "{refused} {syncs_failed}");
}

#[test]
fn a_full_disk_is_waited_for_and_loses_and_doubles_nothing() {
    let mut waited = 0;
    for step in 0..steps() {
        for length in [1, 5, 30] {
            let files = Twin::with(Fault::FullAt(step, length));
            let mut outside = Outside::default();
            // A start without room for a journal is refused.
            match Life::begin(&files, &mut outside) {
                Err(error) => assert!(error.is_full(), "{error:?}"),
                Ok(mut life) => {
                    let why = format!("full from step {step} for {length}");
                    life.story().unwrap_or_else(|error| panic!("{why}: {error:?}"));
                    waited += life.waits;
                    life.look(&why);
                    assert_eq!(life.outside.acknowledged.len(), 13, "{why}");
                }
            }
            let why = format!("full from step {step} for {length}, then the machine ended");
            for loss in losses(step) {
                let mut outside =
                    Outside { acknowledged: outside.acknowledged.clone(), syncs_failed: 0 };
                go_on(&files.after(loss), &mut outside, &why);
            }
        }
    }
    assert!(waited > 100, "{waited}");
}

#[test]
fn a_process_that_ends_on_a_full_disk_comes_back_to_everything() {
    for step in 0..steps() {
        let files = Twin::with(Fault::FullAt(step, u64::MAX / 2));
        let mut outside = Outside::default();
        if let Ok(mut life) = Life::begin(&files, &mut outside) {
            // As long as there is room, and one step further.
            let _ = life.until_full();
        }
        for loss in losses(step) {
            let mut outside =
                Outside { acknowledged: outside.acknowledged.clone(), syncs_failed: 0 };
            let next = files.after(loss);
            // The disk is as full as it was.
            next.set(Fault::FullAt(0, u64::MAX / 2));
            let why = format!("full from step {step} on, lost {loss:?}");
            match Life::begin(&next, &mut outside) {
                Ok(life) => life.look(&why),
                Err(error) => assert!(error.is_full(), "{why}: {error:?}"),
            }
            next.set(Fault::None);
            go_on(&next, &mut outside, &why);
        }
    }
}

impl Life<'_> {
    /// The story up to where nothing can be written any more.
    fn until_full(&mut self) -> Lived {
        for n in 0..6u8 {
            let batch = [Batch {
                spool: spool("eu", 1),
                windows: vec![(u64::from(n) + 1, window(n + 1, i64::from(n) * 10))],
                now: at(60),
                room: None,
            }];
            self.disk.commit(&mut self.journal, &batch)?;
            self.outside.acknowledged.insert(n + 1, u64::from(n) + 1);
            if n % 2 == 1 {
                self.disk.flush(&mut self.journal)?;
            }
        }
        Ok(())
    }
}
