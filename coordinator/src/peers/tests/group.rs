//! Three members.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::Peer;
use super::rig::{Ca, Process, Site, eventually, introduce, leader};
use crate::core::state::LEVEL;

pub(super) const ALL: [u64; 3] = [1, 2, 3];

pub(super) async fn three(ca: &Ca) -> (Vec<Site>, Vec<Process>) {
    let sites: Vec<Site> = ALL.iter().map(|id| Site::new(ca, *id, &ALL)).collect();
    let mut processes = Vec::new();
    for site in &sites {
        processes.push(site.start(Some(&ALL)).await);
    }
    introduce(&processes.iter().collect::<Vec<_>>());
    (sites, processes)
}

pub(super) async fn all_see(processes: &[Process], count: usize) {
    eventually("agreement", || processes.iter().all(|process| process.seen().len() == count)).await;
    for process in processes {
        assert_eq!(process.seen(), processes[0].seen());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_elect_replicate_and_catch_one_up_by_snapshot() {
    let ca = Ca::new("ca");
    let (sites, mut processes) = three(&ca).await;
    let first = leader(&processes.iter().collect::<Vec<_>>()).await;
    for value in 1..=20 {
        processes[first].propose(value).await;
    }
    all_see(&processes, 20).await;
    for process in &processes {
        for other in ALL.into_iter().filter(|id| *id != process.node_id) {
            eventually("round trip", || process.peers.round_trip(other).is_some()).await;
            assert!(process.peers.last_heard(other).unwrap() < Duration::from_secs(5));
            assert_eq!(process.peers.build_of(other), Some(format!("build of {other}")));
            assert_eq!(process.peers.level_of(other), Some(LEVEL));
        }
    }
    // A follower reads through the leader.
    let follower = (first + 1) % 3;
    let index = processes[follower].node.read_index(Duration::from_secs(10)).await.unwrap();
    assert!(index >= processes[first].node.status().applied);

    // One is away until the log no longer reaches back to where it was.
    let gone = processes.remove(follower);
    let gone_id = gone.node_id;
    let behind = gone.node.status().last_index;
    gone.stop().await;
    let led = leader(&processes.iter().collect::<Vec<_>>()).await;
    let mut value = 21;
    while processes[led].node.status().first_index <= behind + 1 {
        processes[led].propose(value).await;
        value += 1;
        assert!(value < 5_000, "the log is never cut: {:?}", processes[led].node.status());
    }
    let lost = processes[led].peers.facts(gone_id);
    assert!(!lost.connected && !lost.last_error.is_empty(), "{lost:?}");
    assert_eq!(processes[led].peers.round_trip(gone_id), None);

    // It comes back at another address.
    let site = sites.iter().find(|site| site.node_id == gone_id).unwrap();
    processes.push(site.start(Some(&ALL)).await);
    introduce(&processes.iter().collect::<Vec<_>>());
    all_see(&processes, value as usize - 1).await;
    let sent = || processes.iter().map(|p| p.peers.facts(gone_id).snapshots_sent).sum::<u64>();
    eventually("report of the snapshot", || sent() > 0).await;
    assert!(std::fs::read_dir(site.snapshots()).unwrap().count() > 0);
    // And it takes part again.
    let led = leader(&processes.iter().collect::<Vec<_>>()).await;
    processes[led].propose(value).await;
    all_see(&processes, value as usize).await;
    for process in processes {
        process.stop().await;
    }
}

/// It is announced before it is read, and every time it is refused: there has to be another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_snapshots_are_damaged_takes_another_one_for_who_needs_it() {
    let ca = Ca::new("ca");
    let (sites, mut processes) = three(&ca).await;
    let first = leader(&processes.iter().collect::<Vec<_>>()).await;
    let gone = processes.remove((first + 1) % 3);
    let (gone_id, behind) = (gone.node_id, gone.node.status().last_index);
    gone.stop().await;
    let led = leader(&processes.iter().collect::<Vec<_>>()).await;
    let mut value = 1;
    while processes[led].node.status().first_index <= behind + 1 {
        processes[led].propose(value).await;
        value += 1;
        assert!(value < 5_000, "the log is never cut: {:?}", processes[led].node.status());
    }
    let disk = sites.iter().find(|site| site.node_id == processes[led].node_id).unwrap();
    let files = || std::fs::read_dir(disk.snapshots()).unwrap().map(|file| file.unwrap().path());
    let whole = |path: &PathBuf| path.extension().is_none_or(|it| it != "unfinished");
    let mut damaged = 0;
    for path in files().filter(whole) {
        let mut bytes = std::fs::read(&path).unwrap();
        // Behind the header, which is read before it is announced.
        let place = bytes.len() - 5;
        bytes[place] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0);
    let site = sites.iter().find(|site| site.node_id == gone_id).unwrap();
    processes.push(site.start(Some(&ALL)).await);
    introduce(&processes.iter().collect::<Vec<_>>());
    all_see(&processes, value as usize - 1).await;
    for process in processes {
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_without_their_leader() {
    let ca = Ca::new("ca");
    let (_sites, mut processes) = three(&ca).await;
    let first = leader(&processes.iter().collect::<Vec<_>>()).await;
    processes[first].propose(1).await;
    processes.remove(first).stop().await;
    let second = leader(&processes.iter().collect::<Vec<_>>()).await;
    processes[second].propose(2).await;
    all_see(&processes, 2).await;
    for process in processes {
        process.stop().await;
    }
}

/// A member that was away while others were let in knows nothing of them, and may need the log of
/// just those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_not_heard_of_a_newer_one_answers_it_all_the_same() {
    let ca = Ca::new("ca");
    let sites = [Site::new(&ca, 1, &[1, 2]), Site::new(&ca, 2, &ALL), Site::new(&ca, 3, &ALL)];
    let mut processes = Vec::new();
    for site in &sites {
        processes.push(site.start(Some(&ALL)).await);
    }
    let everybody: Vec<_> = processes.iter().map(Process::peer).collect();
    processes[0].peers.learn([everybody[1].clone()]);
    processes[1].peers.learn(everybody.clone());
    processes[2].peers.learn(everybody.clone());
    leader(&processes.iter().collect::<Vec<_>>()).await;
    eventually("introduction", || processes[0].peers.facts(3).connected).await;
    assert_eq!(processes[0].peers.get(3), Some(everybody[2].clone()));
    // Without the one that both know, they need each other.
    processes.remove(1).stop().await;
    let led = leader(&processes.iter().collect::<Vec<_>>()).await;
    processes[led].propose(1).await;
    all_see(&processes, 1).await;
    for process in processes {
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_not_taken_for_another_by_its_address() {
    let ca = Ca::new("ca");
    let (one, two) = (Site::new(&ca, 1, &ALL), Site::new(&ca, 2, &ALL));
    let (one, two) = (one.start(Some(&ALL)).await, two.start(Some(&ALL)).await);
    for (name, node_id, says) in [
        // By its certificate, before anything is said,
        ("c3", 3, "the server is coordinator \"c2\", expected \"c3\""),
        // and by what it says of itself: under this number it is nobody.
        ("c2", 3, "meant for another member"),
    ] {
        let address = two.address.to_string();
        one.peers.learn([Peer { node_id, name: name.to_owned(), address }]);
        let said = || one.peers.facts(node_id).last_error;
        eventually(says, || said().contains(says)).await;
        assert!(!one.peers.facts(node_id).connected);
    }
    one.stop().await;
    two.stop().await;
}

/// Carries bytes to `target`. What was connected when `cut` is raised hangs from then on, without a
/// word to either end, as behind a broken router.
async fn relay(target: SocketAddr, cut: watch::Receiver<bool>, tasks: &Supervisor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, spawner) = (tasks.stop_token(), tasks.clone());
    tasks.spawn(TaskKind::Session("relay"), async move {
        loop {
            let mut near = tokio::select! {
                () = stop.cancelled() => return,
                near = listener.accept() => near.unwrap().0,
            };
            let (stop, mut cut) = (stop.clone(), cut.clone());
            cut.mark_unchanged();
            spawner.spawn(TaskKind::Session("relayed"), async move {
                let mut far = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = cut.changed() => {}
                    () = stop.cancelled() => return,
                }
                stop.cancelled().await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_silent_is_given_up_for_a_new_one() {
    let ca = Ca::new("ca");
    let (one, two) = (Site::new(&ca, 1, &ALL), Site::new(&ca, 2, &ALL));
    let (one, two) = (one.start(Some(&ALL)).await, two.start(Some(&ALL)).await);
    let (cut, told) = watch::channel(false);
    let tasks = Supervisor::default();
    let address = relay(two.address, told, &tasks).await.to_string();
    one.peers.learn([Peer { node_id: 2, name: "c2".to_owned(), address }]);
    eventually("connection", || one.peers.facts(2).connected).await;
    cut.send_replace(true);
    let said = || one.peers.facts(2).last_error;
    eventually("silence", || said().contains("silent for 3 s")).await;
    eventually("new connection", || one.peers.round_trip(2).is_some()).await;
    // A server that stops waits for what hangs.
    tasks.stop();
    assert!(tasks.join(Duration::from_secs(10)).await);
    one.stop().await;
    two.stop().await;
}
