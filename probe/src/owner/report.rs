//! What a run's task owes the owner: one report, whatever becomes of the task.
//!
//! A run that ended without one would stay in flight for ever: its check would be missed for
//! overlap, its window would never be sealed, its ballot would go stale.

use std::future::Future;
use std::time::Duration;

use parallax_common::name::Generation;
use parallax_common::outcome::{Outcome, Reason};
use parallax_common::time::{BootTime, MeshTime};
use parallax_runtime::clock;
use tokio::sync::mpsc;

use crate::core::record::Finding;
use crate::core::schedule::Start;
use crate::execute::Execution;

/// A run is over.
#[derive(Debug)]
pub(super) struct Done {
    pub start: Start,
    /// The plan it ran under.
    pub generation: Generation,
    pub handed: MeshTime,
    pub execution: Execution,
    /// It gave no account of itself: this probe's fault.
    pub broken: bool,
}

impl Done {
    /// How much later than it was meant to a run began at `began`, less what it waited for its tokens: that
    /// is their provider's, and not the schedule's.
    pub fn lateness(&self, began: MeshTime) -> Duration {
        let waited = self.execution.waited.unwrap_or_default();
        began.since(self.start.scheduled).saturating_sub(waited)
    }
}

/// A run that has to be reported.
#[derive(Debug)]
pub(super) struct Owed {
    pub start: Start,
    pub generation: Generation,
    pub handed: MeshTime,
}

/// Carries out a run and reports its end to the owner, also when it panics.
pub(super) async fn carry_out(
    owed: Owed,
    run: impl Future<Output = Execution>,
    to: mpsc::UnboundedSender<Done>,
) {
    let mut report = Report { owed: Some(owed), began: clock::boot_time(), to };
    let execution = run.await;
    report.send(execution, false);
}

struct Report {
    owed: Option<Owed>,
    began: BootTime,
    to: mpsc::UnboundedSender<Done>,
}

impl Report {
    fn send(&mut self, execution: Execution, broken: bool) {
        if let Some(Owed { start, generation, handed }) = self.owed.take() {
            // The owner is gone only when the process ends.
            let _ = self.to.send(Done { start, generation, handed, execution, broken });
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.owed.is_none() {
            return;
        }
        let finding = Finding {
            outcome: Outcome::Missed,
            reason: Some(Reason::MissedOverload),
            step: 0,
            evidence: "the run panicked: this is a fault of the probe, see its log".to_owned(),
            remote: None,
            phases: Vec::new(),
            expiry: None,
        };
        // The recorder holds the end to what a record may have.
        let ended = clock::boot_time();
        let execution = Execution { started: self.began, ended, waited: None, finding };
        self.send(execution, true);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parallax_runtime::supervisor::{Supervisor, TaskKind};

    use super::*;
    use crate::core::assign::tests::assignment;
    use crate::core::schedule::{Cause, RunId};

    fn owed() -> Owed {
        Owed {
            start: Start {
                run: RunId(7),
                assignment: Arc::new(assignment(1, Duration::from_secs(1))),
                cause: Cause::Slot(3),
                scheduled: MeshTime::from_ns(3),
            },
            generation: Generation { epoch: 1, index: 2 },
            handed: MeshTime::from_ns(4),
        }
    }

    #[tokio::test]
    async fn a_run_that_panics_is_reported_as_missed() {
        let (to, mut reports) = mpsc::unbounded_channel();
        let panics = async {
            tokio::task::yield_now().await;
            panic!("as the test wants")
        };
        let supervisor = Supervisor::default();
        supervisor.spawn(TaskKind::Session("run"), carry_out(owed(), panics, to));
        let done = reports.recv().await.expect("a report");
        assert_eq!((done.start.run, done.handed, done.broken), (RunId(7), owed().handed, true));
        let finding = done.execution.finding;
        assert_eq!(
            (finding.outcome, finding.reason),
            (Outcome::Missed, Some(Reason::MissedOverload))
        );
        assert!(finding.evidence.contains("panicked"));
        assert!(reports.recv().await.is_none(), "one report");
    }

    #[test]
    fn what_a_run_waits_for_tokens_is_no_lateness() {
        let ms = Duration::from_millis;
        for (began, waited, lateness) in [
            (700, None, 700),
            (700, Some(650), 50),
            (700, Some(0), 700),
            // Two clocks measured it.
            (700, Some(701), 0),
        ] {
            let at = BootTime::from_ns(5);
            let finding = Finding {
                outcome: Outcome::Pass,
                reason: None,
                step: 0,
                evidence: String::new(),
                remote: None,
                phases: vec![],
                expiry: None,
            };
            let waited = waited.map(ms);
            let Owed { start, generation, handed } = owed();
            let execution = Execution { started: at, ended: at, waited, finding };
            let done = Done { start, generation, handed, execution, broken: false };
            let began = done.start.scheduled + ms(began);
            assert_eq!(done.lateness(began), ms(lateness), "{began:?} {waited:?}");
        }
    }

    #[tokio::test]
    async fn a_run_that_ends_is_reported_once() {
        let (to, mut reports) = mpsc::unbounded_channel();
        let finding = Finding {
            outcome: Outcome::Pass,
            reason: None,
            step: 0,
            evidence: String::new(),
            remote: None,
            phases: vec![],
            expiry: None,
        };
        let at = BootTime::from_ns(5);
        let run = async move { Execution { started: at, ended: at, waited: None, finding } };
        carry_out(owed(), run, to).await;
        let done = reports.recv().await.expect("a report");
        assert_eq!((done.execution.finding.outcome, done.broken), (Outcome::Pass, false));
        assert!(reports.recv().await.is_none(), "one report");
    }
}
