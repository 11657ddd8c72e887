//! Which change of the group is allowed now, and when a learner may vote.
//!
//! Who votes is Raft's own configuration, changed one member at a time. A change that would leave a
//! group without a quorum that is heard is refused before it is proposed: nobody could undo it. The
//! leader alone asks here, with what it knows at that moment; the steps of a removal are in
//! `members/change.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::limits::{
    MEMBER_HEARD_WITHIN, PROMOTE_LAG_MAX, PROMOTE_STEADY_FOR, TRANSFER_LAG_MAX,
};
use parallax_common::text::format_duration;

/// One change of who is in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A new member gets the log and has no vote.
    AddLearner(u64),
    /// A learner gets a vote.
    Promote(u64),
    /// A voter becomes a learner.
    Demote(u64),
    /// A learner is out.
    Remove(u64),
}

impl Change {
    /// Whom it is about.
    pub fn node_id(self) -> u64 {
        match self {
            Self::AddLearner(id) | Self::Promote(id) | Self::Demote(id) | Self::Remove(id) => id,
        }
    }

    /// Whether a group of these voters and learners is as the change leaves it.
    pub fn holds(self, voters: &[u64], learners: &[u64]) -> bool {
        let id = self.node_id();
        match self {
            Self::AddLearner(_) | Self::Demote(_) => {
                learners.contains(&id) && !voters.contains(&id)
            }
            Self::Promote(_) => voters.contains(&id),
            Self::Remove(_) => !voters.contains(&id) && !learners.contains(&id),
        }
    }
}

/// The next step of a removal that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It leads: this one is to lead instead.
    HandOver(u64),
    /// It loses its vote.
    Demote,
    /// It has no vote: that it is removed is written down.
    Finish,
}

/// Another member as the leader sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Entries that it does not have yet.
    pub lag: u64,
    /// Since it was last heard; none while it was not, under this leader.
    pub heard_ago: Option<Duration>,
    /// For how long it has been heard without a gap.
    pub steady_for: Duration,
}

impl Seen {
    fn is_heard(&self) -> bool {
        self.heard_ago.is_some_and(|ago| ago <= MEMBER_HEARD_WITHIN)
    }
}

/// The group as its leader sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// The leader itself.
    pub leader: u64,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who only listens.
    pub learners: Vec<u64>,
    /// Everybody else.
    pub seen: BTreeMap<u64, Seen>,
    /// A change was proposed and is not applied yet.
    pub pending: bool,
}

/// Why a change is not made now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// One at a time.
    #[error("another change of the members is under way, try again when it is done")]
    Pending,
    /// There is no such member in the group.
    #[error("{} is not in the group", .0)]
    NotInGroup(Who),
    /// It is in it already.
    #[error("{} is in the group already", .0)]
    InGroup(Who),
    /// It has a vote already.
    #[error("{} is a voter already", .0)]
    Voter(Who),
    /// It has a vote still.
    #[error("{} is a voter; it becomes a learner before it leaves", .0)]
    StillVoter(Who),
    /// It has no vote.
    #[error("{} is a learner, not a voter", .0)]
    Learner(Who),
    /// It leads.
    #[error("{} leads; leadership goes to another member first", .0)]
    Leads(Who),
    /// Without it nobody would vote.
    #[error("{} is the last voter", .0)]
    LastVoter(Who),
    /// Afterwards too few voters would be heard to decide anything.
    #[error(
        "then {need} of {voters} voters must be heard and only {heard} are: not heard: {}",
        list(silent)
    )]
    NoQuorum {
        /// Voters afterwards.
        voters: usize,
        /// How many of them a decision needs.
        need: usize,
        /// How many of them are heard.
        heard: usize,
        /// Those that are not.
        silent: Vec<Who>,
    },
    /// It is not heard.
    #[error("{} is not heard", .0)]
    Silent(Who),
    /// It has not caught up.
    #[error("{who} lags {lag} entries behind, at most {max} are allowed")]
    Behind {
        /// Who.
        who: Who,
        /// How far.
        lag: u64,
        /// The most.
        max: u64,
    },
    /// It has not been heard for long enough.
    #[error(
        "{who} has been heard steadily for {} only, at least {} are needed",
        format_duration(Duration::from_secs(steady_for.as_secs())),
        format_duration(PROMOTE_STEADY_FOR)
    )]
    Unsteady {
        /// Who.
        who: Who,
        /// For how long.
        steady_for: Duration,
    },
}

/// A member in a sentence. Its name is filled in by those who know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Its number.
    pub node_id: u64,
    /// Empty: not known here.
    pub name: String,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "member {}", self.node_id),
            name => write!(f, "\"{name}\""),
        }
    }
}

impl From<u64> for Who {
    fn from(node_id: u64) -> Self {
        Self { node_id, name: String::new() }
    }
}

fn who(node_id: u64) -> Who {
    node_id.into()
}

fn list(members: &[Who]) -> String {
    members.iter().map(Who::to_string).collect::<Vec<_>>().join(", ")
}

impl Unfit {
    /// The same with names.
    pub fn named(mut self, name: impl Fn(u64) -> String) -> Self {
        let fill = |who: &mut Who| who.name = name(who.node_id);
        match &mut self {
            Self::Pending => {}
            Self::NotInGroup(who)
            | Self::InGroup(who)
            | Self::Voter(who)
            | Self::StillVoter(who)
            | Self::Learner(who)
            | Self::Leads(who)
            | Self::LastVoter(who)
            | Self::Silent(who)
            | Self::Behind { who, .. }
            | Self::Unsteady { who, .. } => fill(who),
            Self::NoQuorum { silent, .. } => silent.iter_mut().for_each(fill),
        }
        self
    }

    /// Whether the change is refused because it is as good as made: asked for again, it is.
    pub fn is_done(&self, change: Change) -> bool {
        matches!(
            (self, change),
            (Self::InGroup(_), Change::AddLearner(_))
                | (Self::Voter(_), Change::Promote(_))
                | (Self::Learner(_) | Self::NotInGroup(_), Change::Demote(_))
                | (Self::NotInGroup(_), Change::Remove(_))
        )
    }

    /// Whether waiting may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Pending
            | Self::NoQuorum { .. }
            | Self::Silent(_)
            | Self::Behind { .. }
            | Self::Unsteady { .. }
            | Self::Leads(_) => true,
            Self::NotInGroup(_)
            | Self::InGroup(_)
            | Self::Voter(_)
            | Self::StillVoter(_)
            | Self::Learner(_)
            | Self::LastVoter(_) => false,
        }
    }
}

impl Group {
    /// Whether the change may be proposed now.
    ///
    /// # Errors
    /// [`Unfit`] says why not.
    pub fn allows(&self, change: Change) -> Result<(), Unfit> {
        let id = change.node_id();
        let (votes, listens) = (self.voters.contains(&id), self.learners.contains(&id));
        if self.pending {
            return Err(Unfit::Pending);
        }
        match change {
            Change::AddLearner(_) if votes || listens => Err(Unfit::InGroup(who(id))),
            Change::AddLearner(_) => Ok(()),
            Change::Promote(_) if votes => Err(Unfit::Voter(who(id))),
            _ if !votes && !listens => Err(Unfit::NotInGroup(who(id))),
            Change::Promote(_) => {
                self.caught_up(id)?;
                let mut voters = self.voters.clone();
                voters.push(id);
                self.decides(&voters)
            }
            Change::Demote(_) if listens => Err(Unfit::Learner(who(id))),
            Change::Demote(_) if self.voters == [id] => Err(Unfit::LastVoter(who(id))),
            Change::Demote(_) if id == self.leader => Err(Unfit::Leads(who(id))),
            Change::Demote(_) => {
                let others: Vec<u64> =
                    self.voters.iter().copied().filter(|voter| *voter != id).collect();
                self.decides(&others)
            }
            Change::Remove(_) if votes => Err(Unfit::StillVoter(who(id))),
            Change::Remove(_) => Ok(()),
        }
    }

    /// Whether enough of these voters are heard to go on deciding.
    fn decides(&self, voters: &[u64]) -> Result<(), Unfit> {
        let (heard, silent): (Vec<u64>, Vec<u64>) =
            voters.iter().copied().partition(|id| self.is_heard(*id));
        let need = voters.len() / 2 + 1;
        if heard.len() >= need {
            return Ok(());
        }
        let (voters, heard) = (voters.len(), heard.len());
        Err(Unfit::NoQuorum { voters, need, heard, silent: silent.into_iter().map(who).collect() })
    }

    fn is_heard(&self, id: u64) -> bool {
        id == self.leader || self.seen.get(&id).is_some_and(Seen::is_heard)
    }

    /// Whether a learner is as good as a voter by now.
    fn caught_up(&self, id: u64) -> Result<(), Unfit> {
        let seen = self.seen.get(&id).copied().unwrap_or_default();
        if !seen.is_heard() {
            return Err(Unfit::Silent(who(id)));
        }
        if seen.lag > PROMOTE_LAG_MAX {
            return Err(Unfit::Behind { who: who(id), lag: seen.lag, max: PROMOTE_LAG_MAX });
        }
        if seen.steady_for < PROMOTE_STEADY_FOR {
            return Err(Unfit::Unsteady { who: who(id), steady_for: seen.steady_for });
        }
        Ok(())
    }

    /// The learner that is to be promoted next by itself, if any: the one with the lowest id of those
    /// that are to stay.
    pub fn next_promotion(&self, stays: impl Fn(u64) -> bool) -> Option<Change> {
        let staying = self.learners.iter().filter(|id| stays(**id));
        let each = staying.map(|id| Change::Promote(*id));
        each.filter(|change| self.allows(*change).is_ok()).min_by_key(|change| change.node_id())
    }

    /// Whether leadership may go to `to`.
    ///
    /// # Errors
    /// [`Unfit`] says why not.
    pub fn may_lead(&self, to: u64) -> Result<(), Unfit> {
        if to == self.leader {
            return Err(Unfit::Leads(who(to)));
        }
        if self.learners.contains(&to) {
            return Err(Unfit::Learner(who(to)));
        }
        if !self.voters.contains(&to) {
            return Err(Unfit::NotInGroup(who(to)));
        }
        if !self.is_heard(to) {
            return Err(Unfit::Silent(who(to)));
        }
        // While it catches up nothing is proposed, and Raft gives up after an election timeout.
        match self.seen.get(&to).map_or(0, |seen| seen.lag) {
            lag if lag > TRANSFER_LAG_MAX => {
                Err(Unfit::Behind { who: who(to), lag, max: TRANSFER_LAG_MAX })
            }
            _ => Ok(()),
        }
    }

    /// Who is best to lead after this leader.
    pub fn successor(&self) -> Option<u64> {
        self.successors().first().copied()
    }

    /// Who may lead after this leader, the one that lacks the least first.
    pub fn successors(&self) -> Vec<u64> {
        let others = self.voters.iter().copied().filter(|id| self.may_lead(*id).is_ok());
        let mut others: Vec<u64> = others.collect();
        others.sort_by_key(|id| (self.seen.get(id).map_or(0, |seen| seen.lag), *id));
        others
    }

    /// What a removal that was begun needs next, on the leader.
    ///
    /// # Errors
    /// Why nothing can be done now.
    pub fn next_of_removal(&self, id: u64) -> Result<Removal, Unfit> {
        if id == self.leader {
            return self.successor().map(Removal::HandOver).ok_or(Unfit::Leads(who(id)));
        }
        if !self.voters.contains(&id) {
            return Ok(Removal::Finish);
        }
        self.allows(Change::Demote(id)).map(|()| Removal::Demote)
    }
}

#[cfg(test)]
mod tests;
