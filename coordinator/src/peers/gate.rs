//! Lets members in, and counts whom it does not: one for all services of the peer listener.
//!
//! The rule is in `core/peering.rs`. A refusal travels as `PERMISSION_DENIED` with its name in the
//! metadata, so that the other end knows it without reading sentences.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parallax_common::limits::{PEER_STREAMS_MAX, REFUSAL_LOGS_PER_SECOND_MAX};
use parallax_proto::peer::PeerHello;
use parallax_runtime::clock;
use parallax_runtime::transport::{Identity, PeerInfo};
use parking_lot::Mutex;
use tonic::Status;
use tonic::metadata::MetadataValue;
use tracing::warn;

use crate::core::peering::{self, Group, Holder, Standing};

/// Metadata of a refusal: the reason's name.
const REASON: &str = "parallax-refusal";

/// What a member says of itself in every hello.
#[derive(Debug, Clone)]
pub struct Own {
    /// This member.
    pub node_id: u64,
    /// Names its data directory.
    pub disk_id: String,
    /// Its build.
    pub build: String,
    /// The highest level of an entry that it understands.
    pub level: u32,
    /// Where other members dial it; empty when that is not known.
    pub peer_address: String,
}

/// Why a stream between members was refused or ended, besides those of [`peering::Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// No hello came, or not in time.
    NoHello,
    /// More streams than one member may have.
    TooManyStreams,
    /// A frame larger than any may be.
    Oversized,
    /// A frame that says what it may not.
    Malformed,
    /// More snapshots at once than are taken.
    SnapshotBusy,
    /// A snapshot that came too slowly, or not as it was announced.
    SnapshotBroken,
}

impl Breach {
    const ALL: [Self; 6] = [
        Self::NoHello,
        Self::TooManyStreams,
        Self::Oversized,
        Self::Malformed,
        Self::SnapshotBusy,
        Self::SnapshotBroken,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::NoHello => "no_hello",
            Self::TooManyStreams => "too_many_streams",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::SnapshotBusy => "snapshot_busy",
            Self::SnapshotBroken => "snapshot_broken",
        }
    }
}

/// Somebody who was let in.
#[derive(Debug)]
pub struct Admitted {
    /// Its node id.
    pub node_id: u64,
    /// Its name, from its certificate.
    pub name: String,
    /// What it is to the group.
    pub standing: Standing,
}

struct Inner {
    own: Own,
    group: Box<dyn Fn() -> Group + Send + Sync>,
    refusals: [AtomicU64; peering::Refusal::ALL.len()],
    breaches: [AtomicU64; Breach::ALL.len()],
    streams: Mutex<BTreeMap<String, usize>>,
    logged: Mutex<(i64, u32)>,
}

/// The gate of one member. Clones share it.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

impl Gate {
    /// A gate that asks `group` for the newest state at every hello.
    pub fn new(own: Own, group: impl Fn() -> Group + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            own,
            group: Box::new(group),
            refusals: Default::default(),
            breaches: Default::default(),
            streams: Mutex::default(),
            logged: Mutex::default(),
        }))
    }

    /// This member.
    pub fn node_id(&self) -> u64 {
        self.0.own.node_id
    }

    /// The hello to say to a member.
    pub fn hello(&self, to: u64) -> PeerHello {
        let (own, group) = (&self.0.own, (self.0.group)());
        PeerHello {
            mesh: group.mesh,
            cluster_id: group.cluster_id,
            node_id: own.node_id,
            disk_id: own.disk_id.clone(),
            to_node_id: to,
            build: own.build.clone(),
            level: own.level,
            peer_address: own.peer_address.clone(),
        }
    }

    /// Lets in whoever says this hello over this connection, or says why not.
    ///
    /// # Errors
    /// The status to end the call with. The refusal is counted and logged.
    pub fn admit(&self, peer: &PeerInfo, hello: &PeerHello) -> Result<Admitted, Status> {
        self.admit_identity(&peer.identity, hello)
    }

    /// The same, for those who know of the connection only whose it is.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub fn admit_identity(
        &self,
        identity: &Identity,
        hello: &PeerHello,
    ) -> Result<Admitted, Status> {
        let coordinator = match identity {
            Identity::Coordinator { name, .. } => Some(name.as_str()),
            Identity::Probe { .. } | Identity::User { .. } => None,
        };
        let holder = Holder { mesh: identity.mesh(), coordinator };
        match peering::admit(&(self.0.group)(), holder, hello) {
            Ok(standing) => {
                let name = identity.name().to_owned();
                Ok(Admitted { node_id: hello.node_id, name, standing })
            }
            Err(refusal) => {
                self.0.refusals[refusal as usize].fetch_add(1, Ordering::Relaxed);
                self.log(identity, refusal.as_str(), &refusal.to_string());
                let mut status = Status::permission_denied(refusal.to_string());
                let reason = MetadataValue::from_static(refusal.as_str());
                status.metadata_mut().insert(REASON, reason);
                Err(status)
            }
        }
    }

    /// The same, and nobody who is merely [`Standing::Ahead`]: for everything but Raft's messages.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub fn admit_member(&self, identity: &Identity, hello: &PeerHello) -> Result<Admitted, Status> {
        let admitted = self.admit_identity(identity, hello)?;
        match admitted.standing {
            Standing::Member => Ok(admitted),
            Standing::Ahead => Err(Status::unavailable(
                "this member has not heard of the sender's admission yet, try again",
            )),
        }
    }

    /// Whether the one that answered our dial is who was dialled.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn recognise(&self, node_id: u64, hello: &PeerHello) -> Result<(), peering::Refusal> {
        peering::recognise(&(self.0.group)(), node_id, hello)
    }

    /// Counts a breach and makes a status of it.
    pub fn breach(&self, peer: &PeerInfo, breach: Breach, status: Status) -> Status {
        self.0.breaches[breach as usize].fetch_add(1, Ordering::Relaxed);
        self.log(&peer.identity, breach.as_str(), status.message());
        status
    }

    /// Takes one of the streams that the holder of a certificate may have open.
    ///
    /// # Errors
    /// When all are taken.
    pub fn stream(&self, peer: &PeerInfo) -> Result<StreamPermit, Status> {
        let name = peer.identity.to_string();
        {
            let mut streams = self.0.streams.lock();
            let open = streams.entry(name.clone()).or_default();
            if *open < PEER_STREAMS_MAX {
                *open += 1;
                return Ok(StreamPermit { gate: self.clone(), name });
            }
        }
        let status = Status::resource_exhausted(format!(
            "a member has at most {PEER_STREAMS_MAX} raft streams open here"
        ));
        Err(self.breach(peer, Breach::TooManyStreams, status))
    }

    /// Every reason with how often it was one.
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let refusals = peering::Refusal::ALL.into_iter().map(|it| it.as_str());
        let breaches = Breach::ALL.into_iter().map(Breach::as_str);
        let counts = self.0.refusals.iter().chain(&self.0.breaches);
        refusals.chain(breaches).zip(counts.map(|count| count.load(Ordering::Relaxed))).collect()
    }

    /// At most some lines a second: the others are in the counters.
    fn log(&self, identity: &Identity, reason: &str, why: &str) {
        let now_s = clock::boot_time().as_ns() / 1_000_000_000;
        let mut logged = self.0.logged.lock();
        if logged.0 != now_s {
            *logged = (now_s, 0);
        }
        logged.1 += 1;
        if logged.1 <= REFUSAL_LOGS_PER_SECOND_MAX {
            warn!(peer = %identity, reason, "peer stream refused: {why}");
        }
    }
}

/// The refusal that a status of another member's gate carries.
pub fn refusal_of(status: &Status) -> Option<peering::Refusal> {
    let reason = status.metadata().get(REASON)?.to_str().ok()?;
    peering::Refusal::ALL.into_iter().find(|it| it.as_str() == reason)
}

/// One open stream of a member; closed when dropped.
pub struct StreamPermit {
    gate: Gate,
    name: String,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut streams = self.gate.0.streams.lock();
        if let Some(open) = streams.get_mut(&self.name) {
            *open -= 1;
            if *open == 0 {
                streams.remove(&self.name);
            }
        }
    }
}
