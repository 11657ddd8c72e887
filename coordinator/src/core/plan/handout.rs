//! What one session is handed of the plan: nothing, a difference, or everything, in chunks that fit
//! a frame.

use parallax_common::limits::FRAME_BYTES_MAX;
use parallax_common::name::Generation;
use parallax_proto::convert::assignment::assignment_to;
use parallax_proto::convert::time::generation_to;
use parallax_proto::v1;
use prost::Message as _;

use super::{Plan, ProbePlan};

/// Uids of removed assignments in one chunk: 18 bytes each, well below the frame limit.
const REMOVED_IN_CHUNK: usize = 8_192;
/// Encoded assignments in one chunk, well below the frame limit.
const CHUNK_BYTES: usize = FRAME_BYTES_MAX / 4;

/// What one session has handed out so far.
#[derive(Debug, Default)]
pub struct Handout {
    /// The part of the plan that the probe was sent last.
    sent: ProbePlan,
    /// Its generation, once anything was sent.
    announced: Option<Generation>,
}

impl Handout {
    /// The chunks that bring the probe to `plan`. At first `held` is what the probe says that it
    /// runs: it is believed when it is just that plan, else the probe is sent everything.
    pub fn next(
        &mut self,
        plan: &Plan,
        region: &str,
        probe: &str,
        held: Option<Generation>,
    ) -> Vec<v1::AssignmentChunk> {
        let part = plan.for_probe(region, probe);
        let generation = plan.generation();
        let base = match self.announced {
            Some(base) if base >= generation => return Vec::new(),
            Some(base) => Some(base),
            None if held == Some(generation) => {
                self.announced = Some(generation);
                self.sent = part;
                return Vec::new();
            }
            None => None,
        };
        let delta = part.since(&self.sent);
        // Also when nothing of it concerns this probe: orders name the newest generation.
        let empty = |chunk: usize| v1::AssignmentChunk {
            generation: Some(generation_to(generation)),
            base: base.map(generation_to),
            chunk: u32::try_from(chunk).unwrap_or(u32::MAX),
            ..v1::AssignmentChunk::default()
        };
        let mut chunks = vec![empty(0)];
        for uids in delta.removed.chunks(REMOVED_IN_CHUNK) {
            let removed = uids.iter().map(|uid| uid.as_bytes().to_vec().into()).collect();
            chunks.push(v1::AssignmentChunk { removed, ..empty(chunks.len()) });
        }
        let mut room = CHUNK_BYTES;
        for assignment in &delta.upserts {
            let assignment = assignment_to(assignment);
            let size = assignment.encoded_len() + 8;
            if size > room {
                chunks.push(empty(chunks.len()));
                room = CHUNK_BYTES;
            }
            room = room.saturating_sub(size);
            if let Some(chunk) = chunks.last_mut() {
                chunk.upserts.push(assignment);
            }
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.last = true;
        }
        self.announced = Some(generation);
        self.sent = part;
        chunks
    }
}
