//! The last assignments on the disk: what a probe runs that starts and hears no coordinator.
//!
//! One file, written whole or not at all, with a checksum: who it is for, the clock as it was known,
//! and a plan as a coordinator sends it. It is read with the same care as one from the wire, and
//! anything wrong with it is said and means that there is none. References to secrets are in it as
//! they were written; they are resolved when a check is run, as always.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::Assignment;
use parallax_common::name::{Generation, Incarnation};
use parallax_proto::convert::assignment::{WireError, assignment_to};
use parallax_proto::convert::time::generation_to;
use parallax_proto::v1;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use prost::Message as _;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::core::assign::{Assembler, ChunkError, Plan};
use crate::session::{Identity, read_chunk};
use crate::state;

const NAME: &str = "assignments.cache";
/// Begins the file; the last byte is the version of its layout.
const MARK: [u8; 5] = *b"PxAs\x01";
/// Plans that follow one another are written as one.
const SETTLE: Duration = Duration::from_millis(500);

/// Assignments in force.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Their version.
    pub generation: Generation,
    /// All of them.
    pub checks: Vec<Arc<Assignment>>,
    /// mesh = boottime + this; 0 when it is not known.
    pub offset_ns: i64,
}

/// What was kept by an earlier run of this probe.
#[derive(Debug, PartialEq, Eq)]
pub struct Cached {
    /// What to run.
    pub plan: Plan,
    /// The clock's offset, when it was measured in this boot.
    pub offset_ns: Option<i64>,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system refused.
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    /// Not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Somebody else's.
    #[error("it is that of probe {probe:?} of region {region:?} in mesh {mesh:?}")]
    Foreign {
        /// Its mesh.
        mesh: String,
        /// Its region.
        region: String,
        /// Its probe.
        probe: String,
    },
    /// What no coordinator may send.
    #[error("it breaks a rule: {0}")]
    Wire(#[from] WireError),
    /// What no coordinator may send.
    #[error("it breaks a rule: {0}")]
    Chunk(#[from] ChunkError),
}

fn encode(identity: &Identity, boot_id: &str, kept: &Kept) -> Vec<u8> {
    let head = v1::Hello {
        region: identity.region.clone(),
        probe: identity.probe.clone(),
        mesh: identity.mesh.clone(),
        boot_id: boot_id.to_owned(),
        offset_ns: kept.offset_ns,
        ..v1::Hello::default()
    };
    let head_of_plan = v1::AssignmentChunk {
        generation: Some(generation_to(kept.generation)),
        last: true,
        ..v1::AssignmentChunk::default()
    };
    // Messages that are written one behind the other are one message: so that a plan of very many checks is
    // never in memory a second time as messages.
    let part = |of: &Assignment| v1::AssignmentChunk {
        upserts: vec![assignment_to(of)],
        ..v1::AssignmentChunk::default()
    };
    let mut plan = head_of_plan.encode_to_vec();
    for check in &kept.checks {
        // The vector grows as far as it must.
        part(check).encode_raw(&mut plan);
    }
    let head = head.encode_length_delimited_to_vec();
    let mut length = Vec::new();
    prost::encoding::encode_varint(plan.len() as u64, &mut length);
    let mut crc = crc32fast::Hasher::new();
    for bytes in [&head, &length, &plan] {
        crc.update(bytes);
    }
    [&MARK[..], &crc.finalize().to_le_bytes(), &head, &length, &plan].concat()
}

fn decode(identity: &Identity, boot_id: &str, bytes: &[u8]) -> Result<Cached, CacheError> {
    let body = bytes.strip_prefix(&MARK).ok_or(CacheError::Damaged("its beginning is unknown"))?;
    let (crc, mut body) =
        body.split_at_checked(4).ok_or(CacheError::Damaged("it has no checksum"))?;
    if crc != crc32fast::hash(body).to_le_bytes() {
        return Err(CacheError::Damaged("its checksum is another one"));
    }
    let unread = |_| CacheError::Damaged("it cannot be decoded");
    let head = v1::Hello::decode_length_delimited(&mut body).map_err(unread)?;
    let plan = v1::AssignmentChunk::decode_length_delimited(&mut body).map_err(unread)?;
    if (&head.mesh, &head.region, &head.probe)
        != (&identity.mesh, &identity.region, &identity.probe)
    {
        let v1::Hello { mesh, region, probe, .. } = head;
        return Err(CacheError::Foreign { mesh, region, probe });
    }
    let plan = Assembler::default().push(read_chunk(&plan)?)?;
    let plan = plan.ok_or(CacheError::Damaged("it is a part of a plan"))?;
    let known = head.boot_id == boot_id && head.offset_ns != 0;
    Ok(Cached { plan, offset_ns: known.then_some(head.offset_ns) })
}

/// A door for `fuzz/`: what a start does with these bytes in the place of the file; and, as checksums are
/// not to be guessed, behind a right one. How many checks it would run.
#[doc(hidden)]
pub fn read_back(bytes: &[u8]) -> usize {
    let identity = Identity {
        region: "eu-west".to_owned(),
        probe: "p1".to_owned(),
        mesh: "m1".to_owned(),
        incarnation: Incarnation(1),
    };
    let crc = crc32fast::hash(bytes).to_le_bytes();
    let files = [bytes.to_vec(), [&MARK[..], &crc, bytes].concat()];
    let taken = files.iter().filter_map(|file| decode(&identity, "b1", file).ok());
    taken.map(|cached| cached.plan.upserts.len()).sum()
}

/// What is in a data directory for this probe. What cannot be used is said and left where it is.
pub fn load(dir: &Path, identity: &Identity, boot_id: &str) -> Option<Cached> {
    let path = dir.join(NAME);
    let read = std::fs::read(&path).map_err(CacheError::from);
    match read.and_then(|bytes| decode(identity, boot_id, &bytes)) {
        Ok(cached) => Some(cached),
        Err(CacheError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            warn!(path = %path.display(), %error, "the cached assignments are not used");
            None
        }
    }
}

/// Keeps the file as the assignments in force are.
pub fn keep(
    dir: PathBuf,
    identity: Identity,
    boot_id: String,
    mut changes: watch::Receiver<Kept>,
    supervisor: &Supervisor,
) {
    let stop = supervisor.stop_token();
    supervisor.spawn(TaskKind::Session("cached assignments"), async move {
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(SETTLE) => {}
                () = stop.cancelled() => {}
            }
            let kept = changes.borrow_and_update().clone();
            let (dir, identity, boot_id) = (dir.clone(), identity.clone(), boot_id.clone());
            let checks = kept.checks.len();
            let write = move || state::replace(&dir, NAME, &encode(&identity, &boot_id, &kept));
            match tokio::task::spawn_blocking(write).await {
                Ok(Ok(())) => info!(checks, "assignments cached"),
                Ok(Err(error)) => {
                    warn!(%error, cause = ?error.source, "assignments were not cached");
                }
                Err(error) => warn!(%error, "assignments were not cached"),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use parallax_common::digest::run_digest;

    use super::*;
    use crate::core::assign::tests::assignment;

    fn identity() -> Identity {
        Identity {
            region: "eu-west".into(),
            probe: "p1".into(),
            mesh: "m1".into(),
            incarnation: Incarnation(1),
        }
    }

    fn kept() -> Kept {
        let checks = (1..4).map(|n| {
            let mut check = assignment(n, Duration::from_secs(1));
            check.run_digest = run_digest(&check.run);
            Arc::new(check)
        });
        let generation = Generation { epoch: 2, index: 77 };
        Kept { generation, checks: checks.collect(), offset_ns: -5 }
    }

    #[test]
    fn what_was_kept_is_loaded_by_the_same_probe_and_its_clock_in_the_same_boot() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path(), &identity(), "b1"), None);
        state::replace(dir.path(), NAME, &encode(&identity(), "b1", &kept())).unwrap();
        let cached = load(dir.path(), &identity(), "b1").unwrap();
        assert_eq!(cached.offset_ns, Some(-5));
        assert_eq!((cached.plan.generation, cached.plan.base), (kept().generation, None));
        let checks: Vec<Assignment> = kept().checks.iter().map(|of| (**of).clone()).collect();
        assert_eq!(cached.plan.upserts, checks);
        assert_eq!(load(dir.path(), &identity(), "b2").unwrap().offset_ns, None);
        for other in [
            Identity { mesh: "m2".into(), ..identity() },
            Identity { region: "us-east".into(), ..identity() },
            Identity { probe: "p2".into(), ..identity() },
        ] {
            assert_eq!(load(dir.path(), &other, "b1"), None);
        }
    }

    #[test]
    fn a_file_that_was_cut_or_changed_anywhere_is_not_used() {
        let bytes = encode(&identity(), "b1", &kept());
        assert!(decode(&identity(), "b1", &bytes).is_ok());
        for at in 0..bytes.len() {
            assert!(decode(&identity(), "b1", &bytes[..at]).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode(&identity(), "b1", &changed).is_err(), "changed at {at}");
        }
    }

    /// Those that the fuzz target begins from, cut and changed anywhere: no checksum keeps them out.
    #[test]
    fn a_body_that_was_cut_or_changed_anywhere_is_read_with_care() {
        let encoded = encode(&identity(), "b1", &kept());
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/assignments");
        let seeds = std::fs::read_dir(seeds).unwrap();
        let seeds = seeds.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        let mut bodies: Vec<Vec<u8>> = seeds.collect();
        assert!(bodies.iter().any(|body| read_back(body) == 3), "a seed that is a plan");
        bodies.push(encoded[MARK.len() + 4..].to_vec());
        for body in bodies {
            let whole = read_back(&body);
            for at in 0..body.len() {
                assert!(read_back(&body[..at]) <= whole, "cut at {at}");
                let mut changed = body.clone();
                changed[at] ^= 1;
                read_back(&changed);
            }
        }
        assert_eq!(read_back(&encoded), 3);
    }

    #[test]
    fn what_no_coordinator_may_send_is_not_used_although_its_checksum_is_right() {
        let mut wrong = kept();
        Arc::make_mut(&mut wrong.checks[1]).run_digest = parallax_common::name::RunDigest(1);
        let error = decode(&identity(), "b1", &encode(&identity(), "b1", &wrong)).unwrap_err();
        assert!(error.to_string().contains("run_digest"), "{error}");
    }
}
