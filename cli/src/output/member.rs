//! Names of coordinators, which records know by the numbers of their nodes.

use std::collections::BTreeMap;

use parallax_proto::v1;

/// Who is which node.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<u64, String>);

impl Names {
    /// Those of all members, removed ones among them.
    pub fn new(members: &[v1::ClusterMember]) -> Self {
        let named = members.iter().filter(|member| !member.name.is_empty());
        Self(named.map(|member| (member.node_id, member.name.clone())).collect())
    }

    /// The name of a node, if it is known.
    pub fn get(&self, node_id: u64) -> Option<&str> {
        self.0.get(&node_id).map(String::as_str)
    }

    /// Its name, or else its number.
    pub fn of(&self, node_id: u64) -> String {
        self.get(node_id).map_or_else(|| node_id.to_string(), str::to_owned)
    }
}
