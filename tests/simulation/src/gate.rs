//! Whom a member lets in: the rule of production, asked at the first message of another member and
//! again once a second, as its gate does.

use std::collections::BTreeMap;

use parallax_common::limits::PEER_RECHECK;
use parallax_coordinator::core::peering::{self, Group, Holder, Refusal, Standing};
use parallax_coordinator::core::state::{LEVEL, State};
use parallax_proto::peer::PeerHello;
use parallax_proto::store::MemberRow;

use crate::probe::MESH;

const RECHECK_US: u64 = PEER_RECHECK.as_micros() as u64;

/// What a member is called.
pub fn name_of(node: u64) -> String {
    format!("c{node}")
}

/// The id of its disk.
pub fn disk_of(node: u64) -> String {
    format!("d{node}")
}

/// The members that a cluster begins with.
pub fn founders(ids: &[u64]) -> Vec<MemberRow> {
    let row = |id: &u64| MemberRow {
        node_id: *id,
        name: name_of(*id),
        disk_id: disk_of(*id),
        peer_address: format!("{}:7443", name_of(*id)),
        ..MemberRow::default()
    };
    ids.iter().map(row).collect()
}

/// What a member says first to another.
pub fn hello(from: u64, to: u64, state: &State) -> PeerHello {
    PeerHello {
        mesh: MESH.to_owned(),
        cluster_id: state.cluster.cluster_id.clone(),
        node_id: from,
        disk_id: disk_of(from),
        to_node_id: to,
        level: LEVEL,
        ..PeerHello::default()
    }
}

/// The gate of one life of a member.
#[derive(Debug)]
pub struct Gate {
    node: u64,
    /// Names by node id, as its start was told.
    told: BTreeMap<u64, String>,
    /// By member: when it was asked last, and what came of it.
    asked: BTreeMap<u64, (u64, Result<Standing, Refusal>)>,
}

impl Gate {
    /// The gate of a member whose start was told of these founders.
    pub fn new(node: u64, founders: &[u64]) -> Self {
        let told = founders.iter().map(|id| (*id, name_of(*id))).collect();
        Self { node, told, asked: BTreeMap::new() }
    }

    /// Whether whoever holds the certificate that this hello's node id is given is let in now.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, state: &State, hello: &PeerHello) -> Result<Standing, Refusal> {
        let group = Group {
            mesh: MESH.to_owned(),
            cluster_id: state.cluster.cluster_id.clone(),
            node_id: self.node,
            members: state.members.clone(),
            told: self.told.clone(),
        };
        let name = name_of(hello.node_id);
        peering::admit(&group, Holder { mesh: MESH, coordinator: Some(&name) }, hello)
    }

    /// What was said of a member within the last second, if anything.
    pub fn known(&self, from: u64, now_us: u64) -> Option<Result<Standing, Refusal>> {
        let (asked_us, said) = self.asked.get(&from)?;
        (now_us < asked_us + RECHECK_US).then_some(*said)
    }

    /// Keeps what was said of a member.
    pub fn keep(&mut self, from: u64, now_us: u64, said: Result<Standing, Refusal>) {
        self.asked.insert(from, (now_us, said));
    }
}
