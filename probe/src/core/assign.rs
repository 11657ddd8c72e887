//! Assignments as they arrive: full states and deltas, in chunks, from several coordinators.
//!
//! A plan takes effect with its last chunk and only when its generation is greater than the one
//! held. Each session has an [`Assembler`] of its own; what they complete is offered to the one
//! [`Assignments`]. What is in force goes on to [`super::schedule`] and [`super::record`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parallax_common::check::Assignment;
use parallax_common::name::{Generation, Uid};

/// One part of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Of the whole plan.
    pub generation: Generation,
    /// The plan it changes; a full state when absent.
    pub base: Option<Generation>,
    /// Counted from 0.
    pub number: u32,
    /// Whether the plan is complete with this one.
    pub last: bool,
    /// Checks to run from now on, new or changed.
    pub upserts: Vec<Assignment>,
    /// Checks to run no more. Only in a delta.
    pub removed: Vec<Uid>,
}

/// A complete plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its version.
    pub generation: Generation,
    /// The plan it changes; a full state when absent.
    pub base: Option<Generation>,
    /// New or changed checks.
    pub upserts: Vec<Assignment>,
    /// Checks that leave.
    pub removed: Vec<Uid>,
}

/// Why a session's chunks cannot be put together. It ends the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A chunk is missing.
    #[error("assignment chunk {got} where {wanted} was due")]
    OutOfOrder {
        /// Number received.
        got: u32,
        /// Number that was next.
        wanted: u32,
    },
    /// The plan changed between two chunks.
    #[error("assignment chunks of two plans are mixed")]
    Mixed,
    /// A full state that removes.
    #[error("a full state of assignments names removed checks")]
    RemovedInFullState,
    /// More checks than a probe can hold.
    #[error("more than {limit} assignments")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

/// Puts one session's chunks together.
#[derive(Debug, Default)]
pub struct Assembler {
    open: Option<(Plan, u32)>,
}

impl Assembler {
    /// Takes the next chunk; the plan when it was the last one.
    pub fn push(&mut self, chunk: Chunk) -> Result<Option<Plan>, ChunkError> {
        if chunk.base.is_none() && !chunk.removed.is_empty() {
            return Err(ChunkError::RemovedInFullState);
        }
        let (mut plan, wanted) = match self.open.take() {
            // A new plan may begin at any time: the coordinator found a newer one meanwhile.
            Some(_) | None if chunk.number == 0 => {
                let Chunk { generation, base, .. } = chunk;
                (Plan { generation, base, upserts: Vec::new(), removed: Vec::new() }, 0)
            }
            Some(open) => open,
            None => return Err(ChunkError::OutOfOrder { got: chunk.number, wanted: 0 }),
        };
        if chunk.number != wanted {
            return Err(ChunkError::OutOfOrder { got: chunk.number, wanted });
        }
        if plan.generation != chunk.generation || plan.base != chunk.base {
            return Err(ChunkError::Mixed);
        }
        plan.upserts.extend(chunk.upserts);
        plan.removed.extend(chunk.removed);
        let limit = parallax_common::limits::ASSIGNMENTS_MAX;
        if plan.upserts.len() > limit || plan.removed.len() > limit {
            return Err(ChunkError::TooMany { limit });
        }
        if chunk.last {
            share_authorities(&mut plan.upserts);
            return Ok(Some(plan));
        }
        self.open = Some((plan, wanted + 1));
        Ok(None)
    }
}

/// Has checks that trust the same authorities hold their certificates once.
pub fn share_authorities(assignments: &mut [Assignment]) {
    let mut known = BTreeSet::new();
    for assignment in assignments {
        if let Some(run) = Arc::get_mut(&mut assignment.run) {
            run.share_authorities(&mut known);
        }
    }
}

/// What a plan changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Checks that are new or differ from before.
    pub upserts: Vec<Arc<Assignment>>,
    /// Checks that left.
    pub removed: Vec<Uid>,
}

/// What became of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It is in force.
    Changed(Change),
    /// Its generation is not greater than the one held.
    Stale,
    /// It is a delta on a plan that is not held: the session must ask anew.
    WrongBase,
}

/// What this probe runs.
#[derive(Debug, Default)]
pub struct Assignments {
    generation: Generation,
    checks: BTreeMap<Uid, Arc<Assignment>>,
}

impl Assignments {
    /// The version in force; zero before the first plan.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The assignment of a check.
    pub fn get(&self, check: &Uid) -> Option<&Arc<Assignment>> {
        self.checks.get(check)
    }

    /// Every assignment, by uid.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Assignment>> {
        self.checks.values()
    }

    /// How many checks are assigned.
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// Whether nothing is assigned.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Puts a plan in force when it is newer, and says what changed.
    pub fn apply(&mut self, plan: Plan) -> Applied {
        if plan.generation <= self.generation {
            return Applied::Stale;
        }
        if plan.base.is_some_and(|base| base != self.generation) {
            return Applied::WrongBase;
        }
        let mut change = Change::default();
        if plan.base.is_none() {
            let kept: std::collections::BTreeSet<Uid> =
                plan.upserts.iter().map(|assignment| assignment.check).collect();
            change.removed =
                self.checks.keys().filter(|uid| !kept.contains(uid)).copied().collect();
        } else {
            change.removed = plan.removed;
            change.removed.retain(|uid| self.checks.contains_key(uid));
        }
        for uid in &change.removed {
            self.checks.remove(uid);
        }
        for assignment in plan.upserts {
            let uid = assignment.check;
            if self.checks.get(&uid).is_some_and(|held| **held == assignment) {
                continue;
            }
            let assignment = Arc::new(assignment);
            self.checks.insert(uid, Arc::clone(&assignment));
            change.upserts.push(assignment);
        }
        self.generation = plan.generation;
        Applied::Changed(change)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use parallax_common::check::{IpFamily, Run, Step, StepKind, TcpStep};
    use parallax_common::name::RunDigest;

    use super::*;

    pub(crate) fn uid(n: u8) -> Uid {
        let mut bytes = [0_u8; 16];
        bytes[0] = n;
        bytes[15] = n;
        Uid::from_bytes(bytes)
    }

    pub(crate) fn assignment(n: u8, interval: Duration) -> Assignment {
        Assignment {
            check: uid(n),
            namespace: "default".into(),
            name: format!("check-{n}"),
            run_digest: RunDigest(u64::from(n)),
            run: Arc::new(Run {
                steps: vec![Step {
                    name: String::new(),
                    captures: vec![],
                    kind: StepKind::Tcp(TcpStep {
                        host: "127.0.0.1".into(),
                        port: 1,
                        ..TcpStep::default()
                    }),
                }],
                timeout: interval,
                expect: vec![],
                warn: vec![],
                invert: false,
                canary: None,
                ip: IpFamily::Auto,
                source_address: None,
                resolver: None,
                samples: 1,
            }),
            interval,
            phase_ns: 0,
            failures: 2,
            successes: 2,
            failures_of: 0,
            successes_of: 0,
            confirm_spacing: Duration::from_millis(50),
        }
    }

    fn generation(index: u64) -> Generation {
        Generation { epoch: 1, index }
    }

    fn full(index: u64, checks: &[u8]) -> Plan {
        Plan {
            generation: generation(index),
            base: None,
            upserts: checks.iter().map(|n| assignment(*n, Duration::from_secs(1))).collect(),
            removed: vec![],
        }
    }

    fn chunk(index: u64, number: u32, last: bool, checks: &[u8]) -> Chunk {
        let Plan { generation, base, upserts, removed } = full(index, checks);
        Chunk { generation, base, number, last, upserts, removed }
    }

    #[test]
    fn a_plan_takes_effect_with_its_last_chunk() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(chunk(5, 0, false, &[1])), Ok(None));
        assert_eq!(assembler.push(chunk(5, 1, false, &[2])), Ok(None));
        let plan = assembler.push(chunk(5, 2, true, &[3])).unwrap().unwrap();
        assert_eq!(plan.upserts.len(), 3);
    }

    #[test]
    fn a_newer_plan_may_begin_before_the_older_one_is_complete() {
        let mut assembler = Assembler::default();
        assembler.push(chunk(5, 0, false, &[1])).unwrap();
        let plan = assembler.push(chunk(6, 0, true, &[2])).unwrap().unwrap();
        assert_eq!(plan, full(6, &[2]));
    }

    #[test]
    fn gaps_mixtures_and_removals_in_a_full_state_are_refused() {
        let mut assembler = Assembler::default();
        assert_eq!(
            assembler.push(chunk(5, 1, true, &[1])),
            Err(ChunkError::OutOfOrder { got: 1, wanted: 0 })
        );
        assembler.push(chunk(5, 0, false, &[1])).unwrap();
        assert_eq!(
            assembler.push(chunk(5, 2, true, &[1])),
            Err(ChunkError::OutOfOrder { got: 2, wanted: 1 })
        );
        assembler.push(chunk(5, 0, false, &[1])).unwrap();
        assert_eq!(assembler.push(chunk(6, 1, true, &[1])), Err(ChunkError::Mixed));
        let removing = Chunk { removed: vec![uid(1)], ..chunk(5, 0, true, &[]) };
        assert_eq!(assembler.push(removing), Err(ChunkError::RemovedInFullState));
    }

    #[test]
    fn only_a_greater_generation_is_accepted_and_the_epoch_counts_first() {
        let mut held = Assignments::default();
        assert!(matches!(held.apply(full(5, &[1])), Applied::Changed(_)));
        assert_eq!(held.apply(full(5, &[2])), Applied::Stale);
        assert_eq!(held.apply(full(4, &[2])), Applied::Stale);
        let restored = Plan { generation: Generation { epoch: 2, index: 1 }, ..full(1, &[2]) };
        assert!(matches!(held.apply(restored), Applied::Changed(_)));
        assert_eq!(held.generation(), Generation { epoch: 2, index: 1 });
        assert_eq!(held.apply(full(900, &[3])), Applied::Stale);
    }

    #[test]
    fn a_delta_needs_the_base_that_is_held() {
        let mut held = Assignments::default();
        held.apply(full(5, &[1, 2]));
        let delta = Plan {
            base: Some(generation(4)),
            upserts: vec![],
            removed: vec![uid(1)],
            generation: generation(7),
        };
        assert_eq!(held.apply(delta.clone()), Applied::WrongBase);
        assert_eq!(held.generation(), generation(5));
        let Applied::Changed(change) = held.apply(Plan { base: Some(generation(5)), ..delta })
        else {
            panic!("the base is held")
        };
        assert_eq!(change, Change { upserts: vec![], removed: vec![uid(1)] });
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn a_full_state_changes_only_what_differs() {
        let mut held = Assignments::default();
        held.apply(full(5, &[1, 2, 3]));
        let mut next = full(6, &[2, 3, 4]);
        next.upserts[1].interval = Duration::from_secs(9);
        let Applied::Changed(change) = held.apply(next) else { panic!("newer") };
        assert_eq!(change.removed, vec![uid(1)]);
        let changed: Vec<Uid> = change.upserts.iter().map(|one| one.check).collect();
        assert_eq!(changed, vec![uid(3), uid(4)]);
    }
}
