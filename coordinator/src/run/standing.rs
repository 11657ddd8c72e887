//! Who this member is and which group it belongs to, as its directory, its flags and the group say.

use std::collections::BTreeMap;
use std::path::Path;

use parallax_proto::store;
use parallax_runtime::transport::{Credentials, Identity};

use super::RunError;
use crate::BUILD;
use crate::config::Config;
use crate::core::peering::Group;
use crate::core::state::Answer;
use crate::identity::{self};
use crate::level::level;
use crate::members::join::join;
use crate::peers::gate::Own;
use crate::peers::{Peer, Peers};
use crate::raft::node::NodeHandle;
use crate::view::View;

/// Who this member is in its group, before its state is known.
pub(super) struct Standing {
    pub(super) identity: identity::Identity,
    /// Who votes in the group when it is this start that begins it.
    pub(super) bootstrap: Option<Vec<u64>>,
    /// The members that a new cluster begins with, without addresses that are not known yet.
    pub(super) initial: Vec<store::MemberRow>,
    /// The members that this start was told of, by node id.
    pub(super) told: BTreeMap<u64, store::MemberRow>,
    /// The other members.
    pub(super) peers: Peers,
}

impl Standing {
    /// Reads who this member is, or has it let in, which takes until somebody answers.
    pub(super) async fn find(config: &Config, credentials: &Credentials) -> Result<Self, RunError> {
        let listed = config.initial_members()?;
        let mut identity = identity::Identity::open(&config.data_dir, &config.name)?;
        let row = |(position, name, address): (usize, &str, &str)| store::MemberRow {
            node_id: position as u64 + 1,
            name: name.to_owned(),
            peer_address: address.to_owned(),
            ..store::MemberRow::default()
        };
        let each = listed.iter().enumerate();
        let listed_rows: Vec<_> =
            each.map(|(at, one)| row((at, &one.name, &one.peer_address))).collect();
        let own_address = config.advertise_peers.clone().unwrap_or_default();
        let start = identity.start(listed, config.join.is_some());
        let begins = matches!(start, identity::Start::Begin(_) | identity::Start::Alone);
        let (initial, known) = match start {
            // It may have ended before anybody wrote the first entry: until there are rows of
            // members, the list is all that is known of them. Who it is was settled before.
            identity::Start::Again => {
                let same = |row: &&store::MemberRow| row.node_id == identity.node_id;
                let own = listed_rows.iter().find(same);
                if own.is_some_and(|row| row.name == config.name) {
                    (listed_rows.clone(), listed_rows)
                } else if listed_rows.is_empty() && config.join.is_none() && identity.node_id == 1 {
                    (vec![row((0, &config.name, &own_address))], Vec::new())
                } else {
                    (Vec::new(), Vec::new())
                }
            }
            identity::Start::Alone => (vec![row((0, &config.name, &own_address))], Vec::new()),
            identity::Start::Begin(_) => (listed_rows.clone(), listed_rows),
            identity::Start::Join => {
                let address = config.join.as_deref().unwrap_or_default();
                let joined = join(address, credentials, &identity).await?;
                identity.node_id = joined.node_id;
                (Vec::new(), joined.members)
            }
        };
        if let Some(own) = initial.iter().find(|row| row.name == config.name) {
            if identity.node_id != 0 && identity.node_id != own.node_id {
                let (held, wanted) = (identity.node_id, own.node_id);
                return Err(RunError::OtherNode { held, wanted });
            }
            identity.node_id = own.node_id;
            identity.keep(&config.data_dir)?;
        }
        let peers = Peers::new(credentials.clone(), identity.node_id);
        let told = known.iter().map(|row| (row.node_id, row.clone())).collect();
        peers.learn(known.into_iter().map(|row| Peer {
            node_id: row.node_id,
            name: row.name,
            address: row.peer_address,
        }));
        let voters: Vec<u64> = initial.iter().map(|row| row.node_id).collect();
        let bootstrap = (begins && !voters.is_empty()).then_some(voters);
        Ok(Self { identity, bootstrap, initial, told, peers })
    }

    /// What this member says of itself in every hello.
    pub(super) fn own(&self, config: &Config) -> Own {
        let told = self.told.get(&self.identity.node_id);
        let told = told.map(|row| row.peer_address.clone()).unwrap_or_default();
        Own {
            node_id: self.identity.node_id,
            disk_id: self.identity.disk_id.clone(),
            build: BUILD.to_owned(),
            level: level(),
            peer_address: config.advertise_peers.clone().unwrap_or(told),
        }
    }

    /// The group as the newest state has it, and before there is one, as this start was told.
    pub(super) fn group(
        &self,
        config: &Config,
        view: View,
    ) -> impl Fn() -> Group + Send + Sync + 'static {
        let (mesh, node_id) = (config.mesh.clone(), self.identity.node_id);
        let told: BTreeMap<u64, String> =
            self.told.iter().map(|(node_id, row)| (*node_id, row.name.clone())).collect();
        move || {
            let state = view.load();
            Group {
                mesh: mesh.clone(),
                cluster_id: state.cluster.cluster_id.clone(),
                node_id,
                members: state.members.clone(),
                told: told.clone(),
            }
        }
    }

    /// Whether nobody else has a say in the group that this start begins or goes on with.
    pub(super) fn is_alone(&self, node: &NodeHandle<Answer>) -> bool {
        node.status().voters == [self.identity.node_id]
    }
}

pub(crate) fn check_identity(config: &Config, identity: &Identity) -> Result<(), RunError> {
    match identity {
        Identity::Coordinator { mesh, name } if *mesh == config.mesh && *name == config.name => {
            Ok(())
        }
        other => Err(RunError::Identity {
            theirs: format!("{} of mesh \"{}\"", other.describe(), other.mesh()),
            name: config.name.clone(),
            mesh: config.mesh.clone(),
        }),
    }
}

/// Keeps other processes out of the data directory for as long as the file is open.
pub(super) fn lock(data_dir: &Path) -> Result<std::fs::File, RunError> {
    let failed = |source| RunError::DataDir { path: data_dir.display().to_string(), source };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    let file = std::fs::File::create(data_dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(RunError::Locked(data_dir.display().to_string()))
        }
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}
