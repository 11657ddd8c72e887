//! The leader's own changes of the group: learners that have caught up get a vote, and removals that
//! were begun are carried to their end.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::change::Changer;
use crate::core::membership::{Change, Group, Removal};
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
        let Some(next) = next(&changer.view().load(), &node.status().group()) else { continue };
        // A person's change goes first.
        let Ok(_turn) = changer.turn(&next.to_string()) else { continue };
        let made = match next {
            Next::CutOff(node_id) => {
                changer.cut_off_removed(node_id).await.map_err(|status| status.message().to_owned())
            }
            Next::GoOn(node_id, step) => changer.go_on_removing(node_id, step).await,
            Next::Change(change) => match changer.try_step(change).await {
                Ok(_) => Ok(()),
                // Not any more: whoever leads now looks for itself.
                Err(ChangeError::NotLeader { .. } | ChangeError::Overtaken) => continue,
                Err(error) => Err(error.to_string()),
            },
        };
        match made {
            Ok(()) => info!(what = %next, "the group was changed"),
            Err(why) => warn!(what = %next, why, "the group was not changed yet"),
        }
    }
}

/// What the leader does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A removed learner leaves Raft's configuration.
    CutOff(u64),
    /// A removal that was begun goes on.
    GoOn(u64, Removal),
    /// Anything else.
    Change(Change),
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff(node_id) => write!(f, "cut off member {node_id}, which was removed"),
            Self::GoOn(node_id, _) => write!(f, "go on with the removal of member {node_id}"),
            Self::Change(Change::Promote(node_id)) => write!(f, "give member {node_id} a vote"),
            Self::Change(change) => write!(f, "{change:?}"),
        }
    }
}

/// Removals before promotions: what was begun is carried to its end, and whoever leaves gets no vote.
fn next(state: &State, group: &Group) -> Option<Next> {
    let removed = |id: &&u64| state.members.get(*id).is_some_and(|row| row.removed);
    if let Some(id) = group.learners.iter().find(removed) {
        return Some(Next::CutOff(*id));
    }
    let demoted = group.voters.iter().filter(removed).map(|id| Change::Demote(*id));
    let mut demoted = demoted.filter(|change| group.allows(*change).is_ok());
    if let Some(change) = demoted.next() {
        return Some(Next::Change(change));
    }
    let leaving = state.live_members().filter(|row| row.leaving).map(|row| row.node_id);
    let mut leaving =
        leaving.filter_map(|id| Some(Next::GoOn(id, group.next_of_removal(id).ok()?)));
    if let Some(next) = leaving.next() {
        return Some(next);
    }
    let stays = |id| state.members.get(&id).is_some_and(|row| !row.leaving && !row.removed);
    group.next_promotion(stays).map(Next::Change)
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
        use Next::{Change as Make, CutOff, GoOn};
        let cases = [
            // Voters, learners, removed, leaving, what is done.
            (vec![1, 2, 3], vec![4], vec![], vec![], Some(Make(Change::Promote(4)))),
            (vec![1, 2, 3], vec![4], vec![4], vec![], Some(CutOff(4))),
            (vec![1, 2, 3], vec![4], vec![3], vec![], Some(Make(Change::Demote(3)))),
            (vec![1, 2, 3], vec![], vec![], vec![], None),
            (vec![1], vec![], vec![1], vec![], None),
            // A removal whose caller is gone: before the member lost its vote, and after.
            (vec![1, 2, 3], vec![4], vec![], vec![3], Some(GoOn(3, Removal::Demote))),
            (vec![1, 2], vec![3], vec![], vec![3], Some(GoOn(3, Removal::Finish))),
            (vec![1, 2, 3], vec![], vec![], vec![1], Some(GoOn(1, Removal::HandOver(2)))),
            // What cannot go on yet waits, and gets no vote meanwhile.
            (vec![1], vec![4], vec![], vec![1], Some(Make(Change::Promote(4)))),
        ];
        for (voters, learners, removed, leaving, expected) in cases {
            let mut state = State::default();
            for node_id in 1..=4 {
                let (removed, leaving) = (removed.contains(&node_id), leaving.contains(&node_id));
                let row = MemberRow { node_id, removed, leaving, ..MemberRow::default() };
                state.members.insert(node_id, row.into());
            }
            let seen = (2..=4).map(|id| (id, steady)).collect();
            let group = Group { leader: 1, voters, learners, seen, pending: false };
            assert_eq!(next(&state, &group), expected, "{group:?}");
        }
    }
}
