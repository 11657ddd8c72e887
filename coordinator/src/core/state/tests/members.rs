//! Coordinators: added, announced, removed, and never another one under the same node id.

use super::*;

fn row(node_id: u64, name: &str) -> store::MemberRow {
    let peer_address = format!("{name}:7102");
    store::MemberRow { node_id, name: name.into(), peer_address, ..Default::default() }
}

/// A cluster that began with these members.
pub(super) fn begun(names: &[&str]) -> Member {
    let mut member = Member::default();
    let members = names.iter().zip(1..).map(|(name, node_id)| row(node_id, name)).collect();
    let mesh = "test".to_owned();
    let init = store::InitCluster { mesh, epoch: 1, level: LEVEL, members, ..Default::default() };
    member.apply(Command::InitCluster(init));
    member
}

pub(super) fn add(name: &str, peer_address: &str) -> Command {
    let (name, peer_address) = (name.to_owned(), peer_address.to_owned());
    Command::AddMember(store::AddMember { name, peer_address })
}

pub(super) fn announce(node_id: u64, name: &str, disk: &str) -> store::AnnounceMember {
    let (name, disk_id) = (name.to_owned(), disk.to_owned());
    store::AnnounceMember { node_id, name, disk_id, ..Default::default() }
}

pub(super) fn remove(node_id: u64) -> Command {
    Command::RemoveMember(store::RemoveMember { node_id, begin: false })
}

fn subjects(answer: Answer) -> Vec<String> {
    match answer {
        Answer::Accepted { subjects, .. } => subjects,
        Answer::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn node_ids_are_given_in_order_and_never_twice() {
    let mut member = begun(&["c1", "c2", "c3"]);
    assert_eq!(member.changed, [1, 2, 3].map(Changed::Member));
    assert_eq!(subjects(member.apply(add("c4", "d:1"))), ["4"]);
    assert_eq!(member.changed, [Changed::Member(4)]);
    subjects(member.apply(remove(4)));
    assert_eq!(subjects(member.apply(add("c4", "d:1"))), ["5"]);
    member.reopen();
    assert_eq!(subjects(member.apply(add("c6", "f:1"))), ["6"]);
    let live: Vec<u64> = member.state.live_members().map(|row| row.node_id).collect();
    assert_eq!(live, [1, 2, 3, 5, 6]);
    assert!(member.state.members[&4].removed);
    assert_eq!(member.state.member_named("c4").unwrap().node_id, 5);
}

#[test]
fn a_member_says_what_it_knows_of_itself_and_a_second_time_changes_nothing() {
    let mut member = begun(&["c1"]);
    let mut said = announce(1, "c1", "disk");
    said.api_address = "a:7100".into();
    said.build = "b1".into();
    said.level = 1;
    subjects(member.apply(Command::AnnounceMember(said.clone())));
    assert_eq!(member.changed, [Changed::Member(1)]);
    let row = member.state.members[&1].clone();
    assert_eq!((row.disk_id.as_str(), row.build.as_str(), row.level), ("disk", "b1", 1));
    assert_eq!(row.peer_address, "c1:7102", "an empty one leaves what is known");
    subjects(member.apply(Command::AnnounceMember(said.clone())));
    assert_eq!(member.changed, []);
    said.peer_address = "c1.example:7102".into();
    subjects(member.apply(Command::AnnounceMember(said)));
    assert_eq!(member.state.members[&1].peer_address, "c1.example:7102");
    member.reopen();
}

#[test]
fn an_announcement_that_is_refused_leaves_no_trace() {
    let mut member = begun(&["c1", "c2"]);
    let audited = |member: &Member| member.stored.keys().filter(|key| key[0] == b'a').count();
    let before = audited(&member);
    let peer_address = "c1:7102".to_owned();
    let said = store::AnnounceMember { peer_address, ..announce(2, "c2", "disk") };
    for _ in 0..3 {
        let refused = member.apply(Command::AnnounceMember(said.clone()));
        assert!(matches!(refused, Answer::Refused(_)), "{refused:?}");
    }
    assert_eq!(audited(&member), before);
    subjects(member.apply(Command::AnnounceMember(announce(2, "c2", "disk"))));
    assert_eq!(audited(&member), before + 1, "what is taken is on record");
}

#[test]
fn removing_twice_is_accepted_and_changes_nothing_the_second_time() {
    let mut member = begun(&["c1", "c2"]);
    assert_eq!(subjects(member.apply(remove(2))), ["c2"]);
    assert_eq!(member.changed, [Changed::Member(2)]);
    assert_eq!(subjects(member.apply(remove(2))), ["c2"]);
    assert_eq!(member.changed, []);
}

#[test]
fn a_removal_that_is_begun_is_remembered_until_it_is_done() {
    let mut member = begun(&["c1", "c2"]);
    let begin = || Command::RemoveMember(store::RemoveMember { node_id: 2, begin: true });
    assert_eq!(subjects(member.apply(begin())), ["c2"]);
    assert_eq!(member.changed, [Changed::Member(2)]);
    subjects(member.apply(begin()));
    assert_eq!(member.changed, [], "once is enough");
    // It goes on as a member until then, and what it says of itself takes nothing back.
    subjects(member.apply(Command::AnnounceMember(announce(2, "c2", "disk"))));
    assert!(member.state.members[&2].leaving && !member.state.members[&2].removed);
    assert_eq!(member.state.live_members().count(), 2);
    member.reopen();
    assert!(member.state.members[&2].leaving);
    subjects(member.apply(remove(2)));
    let row = &member.state.members[&2];
    assert!(row.removed && !row.leaving);
    subjects(member.apply(begin()));
    assert_eq!(member.changed, [], "what is gone does not leave again");
    assert!(
        matches!(
            member.apply(Command::RemoveMember(store::RemoveMember { node_id: 1, begin: true })),
            Answer::Refused(_)
        ),
        "the last one stays"
    );
}

proptest! {
    /// Whatever is asked in whatever order: a node id keeps its name and its first disk, what is
    /// removed stays so, and live members have names and addresses of their own.
    #[test]
    fn a_node_id_is_one_member_on_one_disk_for_ever(
        steps in prop::collection::vec((0..3_u8, 1..7_u64, 0..4_u8, 0..3_u8), 1..60)
    ) {
        let mut member = begun(&["m0"]);
        let mut before = member.state.members.clone();
        for (what, node_id, name, disk) in steps {
            let name = format!("m{name}");
            member.apply(match what {
                0 => add(&name, &format!("{disk}:1")),
                1 => Command::AnnounceMember(announce(node_id, &name, &format!("d{disk}"))),
                _ => remove(node_id),
            });
            for (id, old) in &before {
                let new = &member.state.members[id];
                prop_assert_eq!(&new.name, &old.name);
                prop_assert!(old.disk_id.is_empty() || new.disk_id == old.disk_id);
                prop_assert!(new.removed || !old.removed);
                prop_assert!(!old.removed || new == old);
            }
            let live: Vec<_> = member.state.live_members().collect();
            prop_assert!(!live.is_empty());
            let names: std::collections::BTreeSet<_> = live.iter().map(|row| &row.name).collect();
            let places: std::collections::BTreeSet<_> =
                live.iter().map(|row| &row.peer_address).collect();
            prop_assert_eq!((names.len(), places.len()), (live.len(), live.len()));
            before = member.state.members.clone();
        }
    }
}
