//! Looks, as the owner carries them out: an order in, one run beside the schedule, one answer on the lane
//! that the order came by. The recorder, the windows and the other sessions learn nothing of it.

use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::Assignment;
use parallax_common::name::Generation;
use parallax_common::record::{LookOrder, LookRefusal};
use parallax_common::time::MeshTime;
use parallax_runtime::supervisor::TaskKind;
use tokio::sync::mpsc;
use tracing::{debug, error};

use super::{Owner, SessionId};
use crate::core::look::{Refused, seen};
use crate::core::record::Ended;
use crate::core::schedule::Cause;
use crate::execute::Execution;
use crate::wire;

/// A look is over.
#[derive(Debug)]
pub(super) struct Looked {
    what: What,
    /// Nothing when the run gave no account of itself.
    execution: Option<Execution>,
}

/// What a look is of, and who waits for it.
#[derive(Debug)]
struct What {
    session: SessionId,
    look: u64,
    assignment: Arc<Assignment>,
    generation: Generation,
    at: MeshTime,
}

/// Tells the owner that a look is over, also when its task breaks.
struct Report {
    what: Option<What>,
    to: mpsc::UnboundedSender<Looked>,
}

impl Report {
    fn send(&mut self, execution: Option<Execution>) {
        if let Some(what) = self.what.take() {
            // The owner is gone only when the process ends.
            let _ = self.to.send(Looked { what, execution });
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.send(None);
    }
}

impl Owner {
    /// An order came over a session.
    pub(super) fn look(&mut self, session: SessionId, order: &LookOrder) {
        let Some(now) = self.mesh_now() else { return };
        let assignment = self.assignments.get(&order.check).cloned();
        let held = assignment.as_ref().map(|assignment| assignment.run_digest);
        match (self.looks.accept(session, order, held, now), assignment) {
            (Ok(()), Some(assignment)) => {
                let (look, request) = (order.look, &order.request);
                debug!(look, check = %order.check, request, "a look begins");
                let generation = self.assignments.generation();
                self.begin_look(What {
                    session,
                    look: order.look,
                    assignment,
                    generation,
                    at: now,
                });
            }
            (Err(Refused::Repeated), _) => debug!(look = order.look, "the order was taken before"),
            (Err(Refused::Told(refusal)), _) => {
                let (look, request) = (order.look, &order.request);
                debug!(look, check = %order.check, request, %refusal, "a look is refused");
                self.send(session, wire::look_refused(order.look, refusal));
            }
            // None is taken of what is not assigned.
            (Ok(()), None) => self.looks.ended(),
        }
    }

    fn begin_look(&self, what: What) {
        let (executor, stop) = (Arc::clone(&self.executor), self.supervisor.stop_token());
        let run = Arc::clone(&what.assignment.run);
        let room: Duration = what.assignment.interval;
        let mut report = Report { what: Some(what), to: self.looked.clone() };
        self.supervisor.spawn(TaskKind::Session("look"), async move {
            let run = Box::pin(executor.slot(&run, room));
            // Nobody waits for it when the probe stops.
            let execution = stop.run_until_cancelled(run).await;
            report.send(execution);
        });
    }

    /// A look has ended: whoever asked is told.
    pub(super) fn looked(&mut self, Looked { what, execution }: Looked) {
        self.looks.ended();
        let What { session, look, assignment, generation, at } = what;
        let Some(Execution { started, ended, finding, .. }) = execution else {
            error!(check = %assignment.check, "a look gave no account of itself");
            self.send(session, wire::look_refused(look, LookRefusal::Broken));
            return;
        };
        let record = seen(
            look,
            Ended {
                assignment,
                generation,
                cause: Cause::Order(look),
                scheduled: at,
                handed: at,
                started,
                ended,
                lateness: Duration::ZERO,
                finding,
            },
        );
        let frame = wire::look_seen(&record, &self.clock);
        self.send(session, frame);
    }
}
