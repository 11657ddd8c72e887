//! Which coordinators probes are told to dial: every member whose row says where.

use std::sync::Arc;

use parallax_common::limits::MEMBERS_MAX;
use parallax_proto::v1;
use tokio::sync::watch;

use crate::core::state::State;
use crate::view::View;

/// The list as sessions send it.
pub type Members = watch::Receiver<Arc<Vec<v1::Member>>>;

/// The members of the state, and this one itself while its row does not say where it is.
pub fn list(state: &State, own: Option<&v1::Member>) -> Vec<v1::Member> {
    let rows = state.members.values().filter(|row| !row.removed && !row.probe_address.is_empty());
    let mut members: Vec<v1::Member> = rows
        .map(|row| v1::Member {
            node_id: row.node_id,
            name: row.name.clone(),
            address: row.probe_address.clone(),
        })
        .collect();
    let removed = |own: &v1::Member| state.members.get(&own.node_id).is_some_and(|row| row.removed);
    if let Some(own) = own.filter(|own| !removed(own))
        && members.iter().all(|member| member.node_id != own.node_id)
    {
        members.push(own.clone());
    }
    members.truncate(MEMBERS_MAX);
    members
}

/// Keeps the list as the state is; ends with the node.
pub async fn follow(
    view: View,
    mut applied: watch::Receiver<u64>,
    own: Option<v1::Member>,
    publish: watch::Sender<Arc<Vec<v1::Member>>>,
) {
    loop {
        let members = list(&view.load(), own.as_ref());
        publish.send_if_modified(|before| {
            let changed = **before != members;
            if changed {
                *before = Arc::new(members);
            }
            changed
        });
        if applied.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::store;

    use super::*;

    #[test]
    fn probes_are_told_of_every_member_that_they_can_reach() {
        let row = |node_id: u64, address: &str, removed| store::MemberRow {
            node_id,
            name: format!("c{node_id}"),
            probe_address: address.to_owned(),
            removed,
            ..store::MemberRow::default()
        };
        let mut state = State::default();
        let own = v1::Member { node_id: 3, name: "c3".to_owned(), address: "c:1".to_owned() };
        let told = |state: &State| {
            let list = list(state, Some(&own));
            list.into_iter().map(|member| member.address).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(&state), "c:1", "before there are rows");
        for row in [row(1, "a:1", false), row(2, "b:1", true), row(3, "", false), row(4, "", false)]
        {
            state.members.insert(row.node_id, Arc::new(row));
        }
        assert_eq!(told(&state), "a:1 c:1");
        state.members.insert(3, Arc::new(row(3, "moved:1", false)));
        assert_eq!(told(&state), "a:1 moved:1");
        state.members.insert(3, Arc::new(row(3, "moved:1", true)));
        assert_eq!(told(&state), "a:1", "a member that was removed does not name itself");
    }
}
