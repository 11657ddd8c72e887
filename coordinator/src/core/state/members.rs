//! The coordinators that belong to the cluster: who they are, and which disk each lives on.
//!
//! A row says who a member is; who votes is Raft's own, and changed by Raft's own entries. Rows are
//! kept for ever, so that whoever comes with a node id that was removed is refused.

use std::sync::Arc;

use parallax_common::limits::{COORDINATORS_MAX, MEMBER_TEXT_BYTES_MAX};
use parallax_common::name::is_name;
use parallax_common::rule;
use parallax_proto::store;

use super::{Answer, Changed, Refusal, Rows, Stamp, State, accepted, refusal, rows};

impl State {
    /// The members that are not removed, by node id.
    pub fn live_members(&self) -> impl Iterator<Item = &store::MemberRow> {
        self.members.values().map(AsRef::as_ref).filter(|row| !row.removed)
    }

    /// The member with this name that is not removed.
    pub fn member_named(&self, name: &str) -> Option<&Arc<store::MemberRow>> {
        self.members.values().find(|row| !row.removed && row.name == name)
    }

    /// The members that a cluster begins with.
    pub(super) fn begin_members(
        &mut self,
        stamp: &Stamp,
        members: Vec<store::MemberRow>,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        for mut row in members {
            row.added_utc_ns = stamp.utc.as_ns();
            self.put_member(row, rows, changes);
        }
        // Ids are given in order, beginning with 1, and never twice.
        let last = self.members.keys().next_back().copied().unwrap_or(0);
        self.cluster.next_node_id = last + 1;
    }

    pub(super) fn add_member(
        &mut self,
        stamp: &Stamp,
        command: store::AddMember,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        match self.check_added(&command) {
            Err(refusal) => Answer::Refused(refusal),
            Ok(()) => {
                let node_id = self.cluster.next_node_id;
                self.cluster.next_node_id += 1;
                let row = store::MemberRow {
                    node_id,
                    name: command.name,
                    peer_address: command.peer_address,
                    added_utc_ns: stamp.utc.as_ns(),
                    ..store::MemberRow::default()
                };
                self.put_member(row, rows, changes);
                accepted(stamp, [node_id.to_string()])
            }
        }
    }

    fn check_added(&self, command: &store::AddMember) -> Result<(), Refusal> {
        check_text(&command.name, [&command.peer_address])?;
        if command.peer_address.is_empty() {
            let message = format!("no address is given at which others reach \"{}\"", command.name);
            return Err(refusal(rule::MEMBER_TEXT, message, []));
        }
        if let Some(other) = self.member_named(&command.name) {
            let message = format!(
                "\"{}\" is member {} already; remove it first when its machine is to be replaced",
                other.name, other.node_id
            );
            return Err(refusal(rule::MEMBER_EXISTS, message, [other.name.clone()]));
        }
        self.check_address(0, &command.peer_address)?;
        if self.live_members().count() >= COORDINATORS_MAX {
            let message = format!("a cluster has at most {COORDINATORS_MAX} coordinators");
            return Err(refusal(rule::MEMBERS_TOO_MANY, message, []));
        }
        Ok(())
    }

    /// Refuses the peer address of another member.
    fn check_address(&self, node_id: u64, address: &str) -> Result<(), Refusal> {
        let same = |row: &&store::MemberRow| row.node_id != node_id && row.peer_address == address;
        match self.live_members().find(same) {
            Some(other) if !address.is_empty() => Err(refusal(
                rule::MEMBER_EXISTS,
                format!("{address} is the address of member \"{}\" already", other.name),
                [other.name.clone()],
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn announce_member(
        &mut self,
        stamp: &Stamp,
        command: store::AnnounceMember,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let row = match self.announced(command) {
            Ok(row) => row,
            Err(refusal) => return Answer::Refused(refusal),
        };
        if self.members.get(&row.node_id).is_none_or(|before| **before != row) {
            self.put_member(row, rows, changes);
        }
        accepted(stamp, [])
    }

    /// The row as the announcement leaves it.
    fn announced(&self, command: store::AnnounceMember) -> Result<store::MemberRow, Refusal> {
        let before = self.admitted(command.node_id, &command.name, &command.disk_id)?;
        let texts = [
            &command.disk_id,
            &command.peer_address,
            &command.probe_address,
            &command.api_address,
            &command.build,
        ];
        check_text(&command.name, texts)?;
        self.check_address(command.node_id, &command.peer_address)?;
        let mut row = before.clone();
        row.disk_id = command.disk_id;
        // A member that does not know how others reach it leaves what `add` said.
        if !command.peer_address.is_empty() {
            row.peer_address = command.peer_address;
        }
        row.probe_address = command.probe_address;
        row.api_address = command.api_address;
        row.build = command.build;
        row.level = command.level;
        Ok(row)
    }

    /// The row of a member that comes with this node id, name and disk.
    ///
    /// # Errors
    /// When there is none, or when it is removed, of another name, or bound to another disk.
    pub fn admitted(
        &self,
        node_id: u64,
        name: &str,
        disk_id: &str,
    ) -> Result<&store::MemberRow, Refusal> {
        let Some(row) = self.members.get(&node_id) else {
            let message = format!("there is no member {node_id}");
            return Err(refusal(rule::MEMBER_UNKNOWN, message, []));
        };
        if row.removed {
            let message = format!(
                "member {node_id} (\"{}\") was removed from the cluster, and its node id is never \
                 used again",
                row.name
            );
            return Err(refusal(rule::MEMBER_REMOVED, message, [row.name.clone()]));
        }
        if row.name != name {
            let message = format!("member {node_id} is \"{}\", not \"{name}\"", row.name);
            return Err(refusal(rule::MEMBER_OTHER_NAME, message, [row.name.clone()]));
        }
        if disk_id.is_empty() || !row.disk_id.is_empty() && row.disk_id != disk_id {
            let message = format!(
                "member {node_id} (\"{name}\") lives on another disk; a machine whose disk is gone \
                 is replaced under a new node id: remove \"{name}\", then add it again"
            );
            return Err(refusal(rule::MEMBER_OTHER_DISK, message, [name.to_owned()]));
        }
        Ok(row)
    }

    pub(super) fn remove_member(
        &mut self,
        stamp: &Stamp,
        command: &store::RemoveMember,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let node_id = command.node_id;
        let Some(row) = self.members.get(&node_id) else {
            let message = format!("there is no member {node_id}");
            return Answer::Refused(refusal(rule::MEMBER_UNKNOWN, message, []));
        };
        if row.removed {
            return accepted(stamp, [row.name.clone()]);
        }
        if self.live_members().count() == 1 {
            let message = format!("\"{}\" is the only member of the cluster", row.name);
            return Answer::Refused(refusal(rule::MEMBER_LAST, message, [row.name.clone()]));
        }
        let (removed, leaving) = (!command.begin, command.begin);
        let after = store::MemberRow { removed, leaving, ..row.as_ref().clone() };
        let (name, same) = (after.name.clone(), **row == after);
        if !same {
            self.put_member(after, rows, changes);
        }
        accepted(stamp, [name])
    }

    fn put_member(&mut self, row: store::MemberRow, rows: &mut Rows, changes: &mut Vec<Changed>) {
        rows.put(rows::member_key(row.node_id), &row);
        changes.push(Changed::Member(row.node_id));
        self.members.insert(row.node_id, Arc::new(row));
    }
}

/// Refuses what is no name, and texts that nobody could have meant.
fn check_text<'a>(name: &str, texts: impl IntoIterator<Item = &'a String>) -> Result<(), Refusal> {
    if !is_name(name) {
        let message = format!("{name:?} is no name: 1 to 63 of a-z, 0-9, - and .");
        return Err(refusal(rule::MEMBER_TEXT, message, []));
    }
    match texts.into_iter().find(|text| text.len() > MEMBER_TEXT_BYTES_MAX) {
        None => Ok(()),
        Some(text) => {
            let message =
                format!("a text of {} bytes, the most is {MEMBER_TEXT_BYTES_MAX}", text.len());
            Err(refusal(rule::MEMBER_TEXT, message, [name.to_owned()]))
        }
    }
}
