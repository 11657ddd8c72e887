//! What a session sends when the plan moves on: the difference for one probe.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use parallax_common::check::Assignment;
use parallax_common::name::{Generation, Uid};

use super::ProbePlan;

/// What turns one generation of a probe's assignments into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// What the probe must hold for the delta to fit.
    pub base: Generation,
    /// What it holds afterwards.
    pub generation: Generation,
    /// New and changed assignments, in order of uid.
    pub upserts: Vec<Arc<Assignment>>,
    /// Assignments that are no more, in order.
    pub removed: Vec<Uid>,
}

impl Delta {
    /// The difference between two plans of one probe. Shared parts are skipped, so the cost
    /// follows the number of changes.
    pub fn between(base: &ProbePlan, new: &ProbePlan) -> Self {
        let (mut upserts, mut removed) = (Vec::new(), Vec::new());
        for item in base.assignments.diff(&new.assignments) {
            match item {
                DiffItem::Add(_, assignment) => upserts.push(Arc::clone(assignment)),
                DiffItem::Update { new: (_, assignment), .. } => {
                    upserts.push(Arc::clone(assignment));
                }
                DiffItem::Remove(uid, _) => removed.push(*uid),
            }
        }
        Self { base: base.generation, generation: new.generation, upserts, removed }
    }

    /// Whether nothing changes but the generation.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removed.is_empty()
    }
}
