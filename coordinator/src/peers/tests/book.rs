//! The address book.

use parallax_common::limits::COORDINATORS_MAX;
use parallax_proto::store::MemberRow;

use super::super::{Peer, Peers};
use super::rig::Ca;

fn peer(node_id: u64, address: &str) -> Peer {
    Peer { node_id, name: format!("c{node_id}"), address: address.to_owned() }
}

fn row(node_id: u64, address: &str, removed: bool) -> MemberRow {
    MemberRow {
        node_id,
        name: format!("c{node_id}"),
        peer_address: address.to_owned(),
        removed,
        ..MemberRow::default()
    }
}

fn known(peers: &Peers) -> Vec<u64> {
    peers.all().iter().map(|peer| peer.node_id).collect()
}

#[tokio::test]
async fn who_introduces_himself_stays_until_a_row_says_better() {
    let ca = Ca::new("ca");
    let peers = Peers::new(ca.coordinator(1), 1);
    let mut edition = peers.edition();
    peers.learn_rows(&[row(1, "a:1", false), row(2, "b:1", false), row(3, "c:1", true)]);
    assert_eq!(known(&peers), [2]);
    assert!(edition.has_changed().unwrap());
    edition.mark_unchanged();
    peers.learn_rows(&[row(1, "a:1", false), row(2, "b:1", false), row(3, "c:1", true)]);
    assert!(!edition.has_changed().unwrap(), "nothing new was said");

    // By its own word, and never instead of a row.
    let stream = peers.introduce(peer(4, "d:1"));
    assert!(stream.is_some());
    for unheard in [peer(2, "elsewhere:1"), peer(1, "us:1"), peer(5, "")] {
        assert!(peers.introduce(unheard).is_none());
    }
    assert_eq!(known(&peers), [2, 4]);
    assert_eq!(peers.get(2).unwrap().address, "b:1");
    // Rows that do not reach so far leave it; rows that do decide.
    peers.learn_rows(&[row(2, "b:2", false)]);
    assert_eq!(known(&peers), [2, 4]);
    assert_eq!(peers.get(2).unwrap().address, "b:2");
    peers.learn_rows(&[row(2, "b:2", false), row(4, "d:1", true)]);
    assert_eq!(known(&peers), [2]);
    assert!(peers.channel(4).is_none() && peers.carrier(4).is_none());
    peers.learn_rows(&[row(2, "b:2", false), row(4, "d:1", false)]);
    drop(stream);
    assert_eq!(known(&peers), [2, 4], "a row needs no stream");
}

#[tokio::test]
async fn who_introduces_himself_is_gone_with_his_last_stream_and_is_one_member_only() {
    let ca = Ca::new("ca");
    let peers = Peers::new(ca.coordinator(1), 1);
    peers.learn_rows(&[row(1, "a:1", false), row(2, "b:1", false)]);
    let as_rogue = |node_id| Peer { name: "rogue".to_owned(), ..peer(node_id, "x:1") };
    let first = peers.introduce(as_rogue(3)).unwrap();
    let second = peers.introduce(as_rogue(3)).unwrap();
    peers.redial(3);
    drop(first);
    assert_eq!(known(&peers), [2, 3]);
    // Under another node id it is no other member.
    let elsewhere = peers.introduce(as_rogue(4)).unwrap();
    assert_eq!(known(&peers), [2, 4]);
    drop(second);
    assert_eq!(known(&peers), [2, 4]);
    // Nor may it take the place of somebody else.
    assert!(peers.introduce(peer(4, "d:1")).is_none());
    assert_eq!(peers.get(4).unwrap().name, "rogue");
    drop(elsewhere);
    assert_eq!(known(&peers), [2]);

    let certificates: Vec<_> =
        (3..40).map(|node_id| peers.introduce(peer(node_id, "x:1"))).collect();
    assert_eq!(certificates.iter().flatten().count(), COORDINATORS_MAX);
    assert_eq!(peers.all().len(), 1 + COORDINATORS_MAX);
    drop(certificates);
    assert_eq!(known(&peers), [2]);
}

#[tokio::test]
async fn an_address_that_is_none_is_left_out() {
    let ca = Ca::new("ca");
    let peers = Peers::new(ca.coordinator(1), 1);
    peers.learn([peer(2, "no port"), peer(3, "c:1"), peer(4, "")]);
    assert_eq!(known(&peers), [3]);
}
