//! Whom a member talks to: the one rule by which every stream between members is let in.
//!
//! The certificate says who somebody is, the hello which place in the group he claims, and the
//! replicated rows who has that place. Pure; `peers/gate.rs` asks, counts and answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use parallax_proto::peer::PeerHello;
use parallax_proto::store::MemberRow;

use crate::mutant::{self, Mutant};

/// The group as one member knows it.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The mesh of its certificate.
    pub mesh: String,
    /// Empty until the first entry of the cluster is applied.
    pub cluster_id: String,
    /// This member.
    pub node_id: u64,
    /// Everybody who is or was a member, removed ones included.
    pub members: OrdMap<u64, Arc<MemberRow>>,
    /// Names by node id, as the process was told at its start. They count until there are rows.
    pub told: BTreeMap<u64, String>,
}

/// What a certificate says of its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder<'a> {
    /// The mesh it is of.
    pub mesh: &'a str,
    /// Its name, when it is a coordinator's.
    pub coordinator: Option<&'a str>,
}

/// What somebody who was let in is to the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A member by our rows, or by what we were told at our start.
    Member,
    /// Its node id was given after the last entry that we have applied. It may well lead by now, and
    /// then its log is what we lack: Raft's messages are taken from it, nothing else is.
    Ahead,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Its certificate is not a coordinator's.
    WrongRole,
    /// It belongs to another mesh.
    WrongMesh,
    /// It wants somebody else.
    NotForUs,
    /// It says that it is us.
    Ourselves,
    /// It belongs to another cluster of this mesh.
    OtherCluster,
    /// There never was a member with this node id.
    Unknown,
    /// The member with this node id was removed.
    Removed,
    /// The member with this node id has another name.
    OtherName,
    /// The member with this node id has another data directory.
    OtherDisk,
}

impl Refusal {
    /// Every reason there is.
    pub const ALL: [Self; 9] = [
        Self::WrongRole,
        Self::WrongMesh,
        Self::NotForUs,
        Self::Ourselves,
        Self::OtherCluster,
        Self::Unknown,
        Self::Removed,
        Self::OtherName,
        Self::OtherDisk,
    ];

    /// The name used in logs and metrics, and between members.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongRole => "wrong_role",
            Self::WrongMesh => "wrong_mesh",
            Self::NotForUs => "not_for_us",
            Self::Ourselves => "ourselves",
            Self::OtherCluster => "other_cluster",
            Self::Unknown => "unknown_member",
            Self::Removed => "removed",
            Self::OtherName => "other_name",
            Self::OtherDisk => "other_disk",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongRole => "the certificate is not a coordinator's",
            Self::WrongMesh => "it belongs to another mesh",
            Self::NotForUs => "it is meant for another member: an address has moved",
            Self::Ourselves => "it says that it is this very member",
            Self::OtherCluster => "it belongs to another cluster of this mesh",
            Self::Unknown => "there is no member with this node id",
            Self::Removed => "this member was removed; its node id is never used again",
            Self::OtherName => "the member with this node id has another name",
            Self::OtherDisk => {
                "the member with this node id has another data directory; one whose disk is gone is \
                 removed and added anew"
            }
        })
    }
}

/// Decides whether the holder of a certificate is the member that its hello says.
///
/// A hello without a cluster comes from a member that has applied nothing yet; it is let in when we
/// know its place. So is anybody whom we were told of while we have applied nothing ourselves.
pub fn admit(group: &Group, holder: Holder<'_>, hello: &PeerHello) -> Result<Standing, Refusal> {
    let Some(name) = holder.coordinator else { return Err(Refusal::WrongRole) };
    if holder.mesh != group.mesh || hello.mesh != group.mesh {
        return Err(Refusal::WrongMesh);
    }
    if hello.to_node_id != group.node_id {
        return Err(Refusal::NotForUs);
    }
    place(group, Some(name), hello)
}

/// Decides whether the one that answered a dial is the member `node_id`, by the hello it answered
/// with. Its certificate was checked, name and all, by whoever dialled.
pub fn recognise(group: &Group, node_id: u64, hello: &PeerHello) -> Result<(), Refusal> {
    if hello.mesh != group.mesh {
        return Err(Refusal::WrongMesh);
    }
    if hello.node_id != node_id || hello.to_node_id != group.node_id {
        return Err(Refusal::NotForUs);
    }
    place(group, None, hello).map(|_| ())
}

/// Compares a hello with the place it claims.
fn place(group: &Group, name: Option<&str>, hello: &PeerHello) -> Result<Standing, Refusal> {
    if hello.node_id == group.node_id {
        return Err(Refusal::Ourselves);
    }
    let (ours, theirs) = (group.cluster_id.as_str(), hello.cluster_id.as_str());
    if !ours.is_empty() && !theirs.is_empty() && ours != theirs {
        return Err(Refusal::OtherCluster);
    }
    let is_named = |known: &str| name.is_none_or(|name| name == known);
    if let Some(row) = group.members.get(&hello.node_id) {
        return if row.removed && !mutant::on(Mutant::RemovedLetIn) {
            Err(Refusal::Removed)
        } else if !is_named(&row.name) {
            Err(Refusal::OtherName)
        } else if !row.disk_id.is_empty() && row.disk_id != hello.disk_id {
            Err(Refusal::OtherDisk)
        } else {
            Ok(Standing::Member)
        };
    }
    // Rows are complete up to the newest node id, so they win over what was said at a start.
    let newest = group.members.keys().next_back().copied();
    match (newest, group.told.get(&hello.node_id)) {
        (None, Some(known)) if is_named(known) => Ok(Standing::Member),
        (None, Some(_)) => Err(Refusal::OtherName),
        (Some(newest), _) if hello.node_id > newest && !ours.is_empty() && ours == theirs => {
            Ok(Standing::Ahead)
        }
        // Nothing is known yet, not even of the others: a member that waits to be let in.
        (None, None) if group.told.is_empty() && ours.is_empty() && !theirs.is_empty() => {
            Ok(Standing::Ahead)
        }
        _ => Err(Refusal::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn row(node_id: u64, disk_id: &str, removed: bool) -> (u64, Arc<MemberRow>) {
        let row = MemberRow {
            node_id,
            name: format!("c{node_id}"),
            disk_id: disk_id.to_owned(),
            removed,
            ..MemberRow::default()
        };
        (node_id, Arc::new(row))
    }

    /// Member 1 of five: 2 with a disk, 3 without, 4 removed.
    fn group() -> Group {
        let rows =
            [row(1, "d1", false), row(2, "d2", false), row(3, "", false), row(4, "d4", true)];
        Group {
            mesh: "demo".to_owned(),
            cluster_id: "k".to_owned(),
            node_id: 1,
            members: rows.into_iter().collect(),
            told: BTreeMap::new(),
        }
    }

    /// The same member before it has applied anything, told of 2 and 3.
    fn fresh() -> Group {
        let told = [(2, "c2".to_owned()), (3, "c3".to_owned())].into();
        Group { cluster_id: String::new(), members: OrdMap::new(), told, ..group() }
    }

    /// node id, name, cluster, disk, to
    fn hello(text: &str) -> (PeerHello, String) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [node_id, name, cluster, disk, to] = words.as_slice() else { panic!("{text}") };
        let or_empty = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
        let hello = PeerHello {
            mesh: "demo".to_owned(),
            cluster_id: or_empty(cluster),
            node_id: node_id.parse().unwrap(),
            disk_id: or_empty(disk),
            to_node_id: to.parse().unwrap(),
            build: String::new(),
            level: 1,
            peer_address: String::new(),
        };
        (hello, (*name).to_owned())
    }

    fn asked(group: &Group, text: &str) -> Result<Standing, Refusal> {
        let (hello, name) = hello(text);
        admit(group, Holder { mesh: "demo", coordinator: Some(&name) }, &hello)
    }

    #[test]
    fn each_claim_is_held_against_the_place_it_claims() {
        use Refusal::{NotForUs, OtherCluster, OtherDisk, OtherName, Ourselves, Removed, Unknown};
        use Standing::{Ahead, Member};
        let (with_rows, before_rows) = (group(), fresh());
        let told_nothing = Group { told: BTreeMap::new(), ..fresh() };
        let table = [
            // node name cluster disk to
            (&with_rows, "2 c2 k d2 1", Ok(Member)),
            (&with_rows, "2 c2 k d9 1", Err(OtherDisk)),
            (&with_rows, "2 c2 k - 1", Err(OtherDisk)),
            (&with_rows, "2 c3 k d2 1", Err(OtherName)),
            (&with_rows, "2 c2 other d2 1", Err(OtherCluster)),
            (&with_rows, "2 c2 k d2 3", Err(NotForUs)),
            // A member that has not announced itself yet has no disk to compare.
            (&with_rows, "3 c3 k d3 1", Ok(Member)),
            (&with_rows, "3 c3 - d3 1", Ok(Member)),
            // One that has begins with nothing when its disk is gone.
            (&with_rows, "2 c2 - d9 1", Err(OtherDisk)),
            (&with_rows, "4 c4 k d4 1", Err(Removed)),
            (&with_rows, "4 c9 k d9 1", Err(Removed)),
            (&with_rows, "1 c1 k d1 1", Err(Ourselves)),
            (&with_rows, "0 c0 k d0 1", Err(Unknown)),
            // Node ids only grow: a greater one is news, if it is of our cluster.
            (&with_rows, "5 c5 k d5 1", Ok(Ahead)),
            (&with_rows, "5 c5 - d5 1", Err(Unknown)),
            (&with_rows, "5 c5 other d5 1", Err(OtherCluster)),
            (&before_rows, "2 c2 - d2 1", Ok(Member)),
            (&before_rows, "2 c2 k d2 1", Ok(Member)),
            (&before_rows, "2 c3 k d2 1", Err(OtherName)),
            (&before_rows, "5 c5 k d5 1", Err(Unknown)),
            (&told_nothing, "2 c2 k d2 1", Ok(Ahead)),
            (&told_nothing, "2 c2 - d2 1", Err(Unknown)),
        ];
        for (group, text, expected) in table {
            assert_eq!(asked(group, text), expected, "{text}");
        }
    }

    #[test]
    fn only_coordinators_of_the_mesh_are_asked_who_they_are() {
        let (hello, _) = hello("2 c2 k d2 1");
        let probe = Holder { mesh: "demo", coordinator: None };
        assert_eq!(admit(&group(), probe, &hello), Err(Refusal::WrongRole));
        let stranger = Holder { mesh: "other", coordinator: Some("c2") };
        assert_eq!(admit(&group(), stranger, &hello), Err(Refusal::WrongMesh));
        let liar = PeerHello { mesh: "other".to_owned(), ..hello };
        let holder = Holder { mesh: "demo", coordinator: Some("c2") };
        assert_eq!(admit(&group(), holder, &liar), Err(Refusal::WrongMesh));
    }

    #[test]
    fn who_answers_a_dial_is_the_one_who_was_dialled() {
        for (text, expected) in [
            ("2 - k d2 1", Ok(())),
            ("3 - - d3 1", Ok(())),
            ("3 - k d3 1", Err(Refusal::NotForUs)),
            ("2 - k d9 1", Err(Refusal::OtherDisk)),
            ("2 - other d2 1", Err(Refusal::OtherCluster)),
            ("2 - k d2 3", Err(Refusal::NotForUs)),
        ] {
            let (hello, _) = hello(text);
            let dialled = if text == "3 - - d3 1" { 3 } else { 2 };
            assert_eq!(recognise(&group(), dialled, &hello), expected, "{text}");
        }
        let (mut wrong, _) = hello("2 - k d2 1");
        wrong.mesh = "other".to_owned();
        assert_eq!(recognise(&group(), 2, &wrong), Err(Refusal::WrongMesh));
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let names: BTreeSet<&str> = Refusal::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, at);
        }
    }
}
