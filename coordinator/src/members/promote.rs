//! The leader's own changes of the group: learners that have caught up get a vote, and removals that
//! were begun are carried to their end.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::change::Changer;
use crate::core::membership::{Change, Group};
use crate::core::state::State;
use crate::raft::member::Leadership;
use crate::raft::node::{ChangeError, NodeHandle};

/// How often the leader looks.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until it is told to stop; acts while this member leads.
pub async fn promote<O: Send + 'static>(
    changer: Changer,
    node: NodeHandle<O>,
    leadership: watch::Receiver<Leadership>,
) {
    let mut every = tokio::time::interval(EVERY);
    loop {
        every.tick().await;
        if !leadership.borrow().leader {
            continue;
        }
        let Some(change) = next(&changer.view().load(), &node.status().group()) else { continue };
        // A person's change goes first.
        let Ok(_turn) = changer.turn(&format!("{change:?}")) else { continue };
        let made = match change {
            Change::Remove(node_id) => {
                changer.cut_off_removed(node_id).await.map_err(|status| status.message().to_owned())
            }
            change => match changer.try_step(change).await {
                Ok(_) => Ok(()),
                // Not any more: whoever leads now looks for itself.
                Err(ChangeError::NotLeader { .. } | ChangeError::Overtaken) => continue,
                Err(error) => Err(error.to_string()),
            },
        };
        match made {
            Ok(()) => info!(?change, "the group was changed"),
            Err(why) => warn!(?change, why, "the group was not changed yet"),
        }
    }
}

/// What the leader does by itself.
fn next(state: &State, group: &Group) -> Option<Change> {
    let removed = |id: &&u64| state.members.get(*id).is_some_and(|row| row.removed);
    if let Some(id) = group.learners.iter().find(removed) {
        return Some(Change::Remove(*id));
    }
    let demoted = group.voters.iter().filter(removed).map(|id| Change::Demote(*id));
    let mut demoted = demoted.filter(|change| group.allows(*change).is_ok());
    demoted.next().or_else(|| group.next_promotion())
}

#[cfg(test)]
mod tests {
    use parallax_common::limits::PROMOTE_STEADY_FOR;
    use parallax_proto::store::MemberRow;

    use super::*;
    use crate::core::membership::Seen;

    #[test]
    fn removals_are_carried_to_their_end_before_learners_are_promoted() {
        let steady =
            Seen { lag: 0, heard_ago: Some(Duration::ZERO), steady_for: PROMOTE_STEADY_FOR };
        let cases = [
            // Voters, learners, removed, what is done.
            (vec![1, 2, 3], vec![4], vec![], Some(Change::Promote(4))),
            (vec![1, 2, 3], vec![4], vec![4], Some(Change::Remove(4))),
            (vec![1, 2, 3], vec![4], vec![3], Some(Change::Demote(3))),
            (vec![1, 2, 3], vec![], vec![], None),
            (vec![1], vec![], vec![1], None),
        ];
        for (voters, learners, removed, expected) in cases {
            let mut state = State::default();
            for node_id in 1..=4 {
                let removed = removed.contains(&node_id);
                let row = MemberRow { node_id, removed, ..MemberRow::default() };
                state.members.insert(node_id, row.into());
            }
            let seen = (2..=4).map(|id| (id, steady)).collect();
            let group = Group { leader: 1, voters, learners, seen, pending: false };
            assert_eq!(next(&state, &group), expected, "{group:?}");
        }
    }
}
