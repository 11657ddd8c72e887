//! What is told of a segment is understood by the other end, and nothing else is.

use parallax_proto::peer::segment_service_server::SegmentServiceServer;
use parallax_runtime::supervisor::Supervisor;
use parallax_runtime::transport::{Identity, PeerInfo};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::transport::Server;

use super::*;
use crate::history::Batch;
use crate::history::contract::{at, spool, window};
use crate::history::files::System;

fn a_segment() -> (tempfile::TempDir, Disk) {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut journal) = Disk::open(Arc::new(System), dir.path(), u64::MAX).unwrap();
    let windows = vec![(4, window(1, 0)), (5, window(1, 10)), (9, window(1, 20))];
    let batch = Batch { spool: spool("eu", 1), windows, now: at(30), room: None };
    disk.commit(&mut journal, &[batch]).unwrap();
    disk.flush(&mut journal).unwrap();
    disk.maintain(at(4_000)).unwrap();
    (dir, disk)
}

#[test]
fn what_is_told_of_a_segment_is_what_it_says_of_itself() {
    let (_dir, disk) = a_segment();
    let segment = disk.segments(Tier::Minutes).remove(0);
    let info = told(&segment);
    assert_eq!(info.spools[0].ranges, [4, 5, 9, 9]);
    let incoming = incoming(Tier::Minutes, &info).unwrap();
    assert_eq!(incoming.held, segment.meta.held);
    assert_eq!((incoming.sha256, incoming.max_end), (segment.sha256, segment.meta.max_end));
    assert_eq!(disk.judge(&incoming, at(4_000)), Verdict::Needless, "it is here");
}

#[test]
fn a_member_that_tells_nonsense_is_not_believed() {
    let (_dir, disk) = a_segment();
    let good = told(&disk.segments(Tier::Minutes)[0]);
    let with = |change: &dyn Fn(&mut peer::SegmentInfo)| {
        let mut info = good.clone();
        change(&mut info);
        incoming(Tier::Minutes, &info)
    };
    assert!(with(&|_| ()).is_ok());
    assert!(with(&|info| info.tier = 2).is_err());
    assert!(with(&|info| info.sha256 = vec![1; 31].into()).is_err());
    assert!(with(&|info| info.bytes = SEGMENT_BYTES_MAX + 1).is_err());
    assert!(with(&|info| info.spools[0].ranges = vec![1, 2, 3]).is_err());
    assert!(with(&|info| info.spools[0].ranges = vec![5, 4]).is_err());
    assert!(with(&|info| info.spools[0].ranges = vec![]).is_err());
    assert!(with(&|info| info.spools.push(info.spools[0].clone())).is_err());
}

#[test]
fn a_fetched_file_goes_on_where_it_stopped() {
    let (_dir, disk) = a_segment();
    let path = disk.fetching(&[7; 32]);
    assert_eq!(disk.fetched(&path).unwrap(), 0);
    disk.fetch(&path, 0, b"hello world").unwrap();
    assert_eq!(disk.fetched(&path).unwrap(), 11);
    disk.fetch(&path, 5, b"!").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"hello!");
}

#[tokio::test]
async fn a_list_of_segments_of_a_thousand_spools_each_comes_in_pages_that_a_client_takes() {
    const SEGMENTS: u64 = 25;
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut journal) = Disk::open(Arc::new(System), dir.path(), u64::MAX).unwrap();
    for n in 1..=SEGMENTS {
        let batches = (0..1_000).map(|probe| {
            let spool = Spool { probe: format!("{probe:0200}").into(), ..spool("eu", 1) };
            let windows = vec![(n, window(1, 10 * n as i64))];
            Batch { spool, windows, now: at(300), room: None }
        });
        disk.commit(&mut journal, &batches.collect::<Vec<_>>()).unwrap();
        disk.flush(&mut journal).unwrap();
        disk.maintain(at(4_000)).unwrap();
    }
    let all = disk.segments(Tier::Minutes);
    let bytes: usize = all.iter().map(|segment| told(segment).encoded_len()).sum();
    assert!(all.len() as u64 == SEGMENTS && bytes > 4 * 1024 * 1024, "{} {bytes}", all.len());

    let (serving, url) = served(disk).await;
    let listing = async {
        // One that takes no more than any client does.
        let mut client = SegmentServiceClient::connect(url).await.unwrap();
        let (mut found, mut pages, mut page_token) = (Vec::new(), 0, String::new());
        loop {
            let hello = Some(peer::PeerHello::default());
            let request = peer::ListSegmentsRequest { hello, tier: 1, page_token };
            let page = client.list_segments(request).await.unwrap().into_inner();
            pages += 1;
            found.extend(page.segments.into_iter().map(|segment| segment.sha256));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return (found, pages);
            }
        }
    };
    let (found, pages) = tokio::select! {
        ended = serving => panic!("{ended:?}"),
        listed = listing => listed,
    };
    assert_eq!(found, all.iter().map(|segment| segment.sha256.to_vec()).collect::<Vec<_>>());
    assert!((4..=8).contains(&pages), "{pages}");
}

/// Serves a disk as a member does, and where.
async fn served(disk: Disk) -> (impl Future<Output = Result<(), tonic::transport::Error>>, String) {
    let supervisor = Supervisor::new(CancellationToken::new());
    let server = serve::SegmentServer::new(Arc::new(disk), Arc::new(|_, _| Ok(())), supervisor);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // In place of the certificate.
    let service = SegmentServiceServer::with_interceptor(server, move |mut request: Request<()>| {
        let identity = Identity::Coordinator { mesh: "m".into(), name: "c2".into() };
        let peer = PeerInfo { identity, remote: address, local: address };
        request.extensions_mut().insert(peer);
        Ok(request)
    });
    let connections = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let serving = Server::builder().add_service(service).serve_with_incoming(connections);
    (serving, format!("http://{address}"))
}

#[tokio::test]
async fn a_segment_that_is_damaged_at_a_member_is_left_out_and_the_others_are_copied() {
    let theirs = tempfile::tempdir().unwrap();
    let (disk, mut journal) = Disk::open(Arc::new(System), theirs.path(), u64::MAX).unwrap();
    for n in 1..=3 {
        let windows = vec![(n, window(1, 10 * n as i64))];
        let batch = Batch { spool: spool("eu", n), windows, now: at(300), room: None };
        disk.commit(&mut journal, &[batch]).unwrap();
        disk.flush(&mut journal).unwrap();
        disk.maintain(at(4_000)).unwrap();
    }
    let minutes = disk.segments(Tier::Minutes);
    assert_eq!(minutes.len(), 3);
    // The one that is asked for first.
    let newest = minutes.iter().max_by_key(|one| one.meta.max_end).unwrap();
    let (first, path) = (newest.sha256, newest.path.clone());
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    std::fs::write(&path, &damaged).unwrap();

    let ours = tempfile::tempdir().unwrap();
    let (here, _journal) = Disk::open(Arc::new(System), ours.path(), u64::MAX).unwrap();
    let here = Arc::new(here);
    let taker = Taker {
        disk: Arc::clone(&here),
        introduce: Arc::new(|_| peer::PeerHello::default()),
        now: Arc::new(|| at(4_000)),
        fatal: Arc::new(|why| panic!("{why}")),
    };
    let (serving, url) = served(disk).await;
    let copying = async {
        let channel = tonic::transport::Endpoint::new(url).unwrap().connect().await.unwrap();
        let copied = taker.copy_from(2, channel.clone()).await.unwrap();
        assert_eq!(copied, Copied { taken: 2, left_out: 1 });
        assert_eq!(here.stats().left_out, 1);
        assert!(here.segments(Tier::Minutes).iter().all(|one| one.sha256 != first));
        // Tried again with every look: here it was the line, and not the disk.
        std::fs::write(&path, &whole).unwrap();
        let copied = taker.copy_from(2, channel).await.unwrap();
        assert_eq!(copied, Copied { taken: 1, left_out: 0 });
        assert_eq!((here.segments(Tier::Minutes).len(), here.stats().left_out), (3, 1));
    };
    tokio::select! {
        ended = serving => panic!("{ended:?}"),
        () = copying => {}
    }
}
