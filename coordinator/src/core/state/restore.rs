//! A state that begins a new cluster, as it comes out of a backup.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use parallax_proto::{store, v1};

use super::State;

impl State {
    /// Makes this the state of a new cluster with one member, at `index`. What people made and what
    /// was decided stays: configuration, verdicts, incidents, what was sent and what was asked for.
    ///
    /// The epoch is above the old one, and not below `seconds` of UTC, as that of any new cluster:
    /// probes take the plan of the greater epoch. Pages that wait are claimed by the member, as the
    /// one that had claimed them is no more.
    pub fn begin_anew(
        &mut self,
        index: u64,
        cluster_id: String,
        seconds: u64,
        member: store::MemberRow,
    ) {
        self.applied = index;
        self.cluster.cluster_id = cluster_id;
        self.cluster.epoch = seconds.max(self.cluster.epoch + 1);
        self.cluster.generation_index = index;
        self.cluster.next_node_id = member.node_id + 1;
        self.cluster.disputed_index = 0;
        // Links of the old cluster are none of the new one; a backup has no key anyway.
        self.link_key = Bytes::new();
        for incident in self.incidents.clone().values() {
            let waits = |page: &v1::Delivery| {
                matches!(page.state(), v1::DeliveryState::Pending | v1::DeliveryState::Held)
            };
            if incident.deliveries.iter().any(waits) {
                let mut incident = incident.as_ref().clone();
                for page in incident.deliveries.iter_mut().filter(|page| waits(page)) {
                    page.claimed_by = member.node_id;
                }
                self.insert_incident(Arc::new(incident));
            }
        }
        self.members = OrdMap::unit(member.node_id, Arc::new(member));
    }
}
