//! Which commands a member that does not lead hands to the one that does, and which may be sent
//! again when nobody knows what became of them.

use parallax_proto::store;
use parallax_proto::store::entry::Command;

use super::state::identified;

/// How a command may travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Travel {
    /// A person's: to the leader, under its request id, which keeps it from being done twice.
    Asked,
    /// A member's own, which may be carried out again without harm: to the leader.
    Repeatable,
    /// Nowhere: what only a leader decides, or what could be done twice.
    Stays,
}

impl Travel {
    /// How the command of `entry` may travel.
    pub fn of(entry: &store::Entry) -> Self {
        let Some(command) = &entry.command else { return Self::Stays };
        match command {
            Command::CommitConfig(_)
            | Command::AckIncident(_)
            | Command::ResolveIncident(_)
            | Command::AddSilence(_)
            | Command::ExpireSilence(_)
            | Command::DrainProbe(_)
            | Command::AddMember(_)
            | Command::RemoveMember(_) => match identified(entry.request_id.clone()) {
                Ok(_) => Self::Asked,
                Err(_) => Self::Stays,
            },
            Command::StageConfig(_)
            | Command::DropStage(_)
            | Command::UpdatePages(_)
            | Command::AnnounceMember(_) => Self::Repeatable,
            Command::InitCluster(_)
            | Command::ChangeVerdicts(_)
            | Command::ChangeFleet(_)
            | Command::ForgetClients(_)
            | Command::StateHash(_)
            | Command::TrimHistory(_)
            | Command::ReviewHeld(_)
            | Command::Escalate(_)
            | Command::SetLinkKey(_)
            | Command::ScheduleMaintenance(_)
            | Command::ScheduleHours(_)
            | Command::ChangeAlerts(_)
            | Command::MarkTime(_)
            | Command::SetLevel(_) => Self::Stays,
        }
    }

    /// Whether a member that does not lead hands it to the leader. What may be is also what may be
    /// sent again when the first answer was lost.
    pub fn forwarded(self) -> bool {
        self != Self::Stays
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::v1;

    use super::*;

    /// Command, how it travels with a request id, and how without.
    fn table() -> Vec<(Command, Travel, Travel)> {
        use Travel::{Asked, Repeatable, Stays};
        vec![
            (Command::CommitConfig(store::CommitConfig::default()), Asked, Stays),
            (Command::AckIncident(store::AckIncident::default()), Asked, Stays),
            (Command::ResolveIncident(store::ResolveIncident::default()), Asked, Stays),
            (Command::AddSilence(store::AddSilence::default()), Asked, Stays),
            (Command::ExpireSilence(store::ExpireSilence::default()), Asked, Stays),
            (Command::DrainProbe(store::DrainProbe::default()), Asked, Stays),
            (Command::AddMember(store::AddMember::default()), Asked, Stays),
            (Command::RemoveMember(store::RemoveMember::default()), Asked, Stays),
            (Command::StageConfig(store::StageConfig::default()), Repeatable, Repeatable),
            (Command::DropStage(store::DropStage::default()), Repeatable, Repeatable),
            (Command::UpdatePages(store::UpdatePages::default()), Repeatable, Repeatable),
            (Command::AnnounceMember(store::AnnounceMember::default()), Repeatable, Repeatable),
            (Command::InitCluster(store::InitCluster::default()), Stays, Stays),
            (Command::ChangeVerdicts(store::ChangeVerdicts::default()), Stays, Stays),
            (Command::ChangeFleet(store::ChangeFleet::default()), Stays, Stays),
            (Command::ForgetClients(store::ForgetClients::default()), Stays, Stays),
            (Command::StateHash(store::StateHash::default()), Stays, Stays),
            (Command::ReviewHeld(store::ReviewHeld::default()), Stays, Stays),
            (Command::Escalate(store::Escalate::default()), Stays, Stays),
            (Command::SetLinkKey(store::SetLinkKey::default()), Stays, Stays),
            (Command::ScheduleMaintenance(store::ScheduleMaintenance::default()), Stays, Stays),
            (Command::ScheduleHours(store::ScheduleHours::default()), Stays, Stays),
            (Command::ChangeAlerts(store::ChangeAlerts::default()), Stays, Stays),
            (Command::SetLevel(store::SetLevel::default()), Stays, Stays),
            (Command::MarkTime(store::MarkTime::default()), Stays, Stays),
        ]
    }

    #[test]
    fn what_people_ask_for_travels_under_its_id_and_what_leaders_decide_stays() {
        let id = v1::RequestId { client: "c".into(), number: 1, lowest_open: 1 };
        for (command, with, without) in table() {
            let mut entry = store::Entry { command: Some(command), ..store::Entry::default() };
            assert_eq!(Travel::of(&entry), without, "{:?}", entry.command);
            entry.request_id = Some(id.clone());
            assert_eq!(Travel::of(&entry), with, "{:?}", entry.command);
            entry.request_id = Some(v1::RequestId { number: 0, ..id.clone() });
            assert_eq!(Travel::of(&entry), without, "a number of 0 is no id");
        }
        assert_eq!(Travel::of(&store::Entry::default()), Travel::Stays);
    }
}
