//! Both lanes of one session, without a coordinator behind them.

use std::path::Path;
use std::time::Duration;

use parallax_common::limits::REPLAY_BYTES_PER_S_MAX;
use parallax_common::time::{BootTime, MeshTime};
use parallax_runtime::transport::endpoint;

use super::*;
use crate::core::spool::disk::Bounds;
use crate::spool::holder::Holder;

const EARLIER: Incarnation = Incarnation(1);
const OURS: Incarnation = Incarnation(2);
const NODE: u64 = 1;
/// Windows that one life leaves: 1 MiB of them.
const WINDOWS: u64 = 128;

fn spooler(dir: &Path, life: Incarnation) -> Spooler {
    let holder = Holder { mesh: "m1".into(), region: "eu".into(), probe: "p1".into() };
    let bounds = Bounds { bytes_max: 1 << 30, age_max: Duration::from_secs(3_600) };
    let spooler = Spooler::open(dir, bounds, &holder, life, Arc::default()).unwrap();
    spooler.look(BootTime::default(), Some(MeshTime::from_ns(1_000_000)), Duration::MAX);
    spooler.turn();
    spooler
}

/// A window of 8 KiB.
fn window() -> v1::Window {
    let histogram = Some(v1::series::Histogram::HdrV2(vec![7; 8 * 1024].into()));
    let series = vec![v1::Series { histogram, ..v1::Series::default() }];
    v1::Window { series, ..v1::Window::default() }
}

fn push(spooler: &Spooler, count: u64) {
    let one = |n| (MeshTime::from_ns(n), Bytes::from(window().encode_to_vec()));
    spooler.push((0..count.cast_signed()).map(one));
    spooler.turn();
}

/// A lane as a coordinator has it that takes everything.
struct Far {
    frames: mpsc::Receiver<v1::BulkRequest>,
    acks: mpsc::Sender<Result<v1::BulkResponse, Status>>,
}

impl Far {
    /// The next windows, acknowledged: the first one's number, how many, and whether as replay.
    async fn next(&mut self) -> Option<(u64, u64, bool)> {
        let frame = self.frames.recv().await?.frame;
        let Some(v1::bulk_request::Frame::Windows(windows)) = frame else { panic!("{frame:?}") };
        let count = windows.windows.len() as u64;
        let through_sequence = windows.first_sequence + count - 1;
        let ack = v1::WindowsAck { through_sequence, refused: 0 };
        let frame = Some(v1::bulk_response::Frame::Ack(ack));
        let _ = self.acks.send(Ok(v1::BulkResponse { frame })).await;
        Some((windows.first_sequence, count, windows.replay))
    }
}

fn lane() -> (ReceiverStream<Result<v1::BulkResponse, Status>>, mpsc::Sender<v1::BulkRequest>, Far)
{
    let ((outward, frames), (acks, inward)) = (mpsc::channel(FRAMES), mpsc::channel(FRAMES));
    (ReceiverStream::new(inward), outward, Far { frames, acks })
}

/// As many windows of an earlier life as of this one, and nobody to send them to yet.
fn two_lives(dir: &Path) -> Bulk {
    push(&spooler(dir, EARLIER), WINDOWS);
    let spooler = spooler(dir, OURS);
    push(&spooler, WINDOWS);
    Bulk {
        spooler,
        node: NODE,
        hello: v1::Hello::default(),
        client: SessionServiceClient::new(endpoint("127.0.0.1:1").unwrap().connect_lazy()),
        metrics: Arc::default(),
        pace: watch::Sender::default(),
        end: CancellationToken::new(),
    }
}

#[tokio::test]
async fn an_earlier_life_does_not_wait_for_a_lane_that_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bulk = two_lives(dir.path());
    let _attached = bulk.spooler.attach(NODE);
    bulk.spooler.turn();
    // Room for one frame, which nobody reads.
    let (out_a, unread) = mpsc::channel(1);
    let (_silent, in_a) = mpsc::channel(1);
    let (in_b, out_b, mut earlier) = lane();
    let far = async {
        let mut through = 0;
        while through < WINDOWS {
            let (first, count, _) = earlier.next().await.expect("an open lane");
            through = first + count - 1;
        }
        bulk.end.cancel();
    };
    let lanes = async {
        let in_a = ReceiverStream::new(in_a);
        tokio::join!(bulk.over(OURS, in_a, out_a), bulk.over(EARLIER, in_b, out_b), far)
    };
    tokio::time::timeout(Duration::from_secs(50), lanes).await.expect("all of the earlier life");
    assert_eq!(unread.len(), 1, "this life's lane was full");
}

#[tokio::test]
async fn both_lanes_share_one_rate_and_what_is_fresh_waits_only_for_its_own_life() {
    let dir = tempfile::tempdir().unwrap();
    let bulk = two_lives(dir.path());
    let spooler = bulk.spooler.clone();
    let _attached = spooler.attach(NODE);
    spooler.turn();
    let ((in_a, out_a, mut ours), (in_b, out_b, mut earlier)) = (lane(), lane());
    let begun = clock::instant();
    let far = async {
        // In order: lane, windows, replay.
        let mut seen: Vec<(Incarnation, u64, bool)> = vec![];
        let (mut from_us, mut from_them) = (0, 0);
        while from_us < WINDOWS + 2 || from_them < WINDOWS {
            let (of, (first, count, replay)) = tokio::select! {
                biased;
                Some(said) = ours.next() => (OURS, said),
                Some(said) = earlier.next() => (EARLIER, said),
            };
            let before = if of == OURS { &mut from_us } else { &mut from_them };
            assert_eq!(first, *before + 1, "each life in its own order, without a gap");
            *before += count;
            // One window more while this life is behind, and one while only the other is.
            let is_first = !seen.iter().any(|(life, ..)| *life == of);
            seen.push((of, count, replay));
            if is_first && of == OURS || from_us == WINDOWS + 1 && of == EARLIER {
                push(&spooler, 1);
            }
        }
        bulk.end.cancel();
        (seen, begun.elapsed())
    };
    let (_, _, (seen, took)) =
        tokio::join!(bulk.over(OURS, in_a, out_a), bulk.over(EARLIER, in_b, out_b), far);
    // The last frame of each lane, and the first of all, are waited for by nobody.
    let bytes = 2 * WINDOWS * 8 * 1024 - 3 * PORTION.bytes as u64;
    let at_least = Duration::from_secs_f64(bytes as f64 / REPLAY_BYTES_PER_S_MAX as f64);
    assert!(took >= at_least, "{took:?} for {bytes} bytes, not {at_least:?}: {seen:?}");
    // This life first: when it is through, the other has sent what it began with at most.
    let through = seen.iter().rposition(|(life, _, replay)| *life == OURS && *replay).unwrap();
    let before = seen[..through].iter().filter(|(life, ..)| *life == EARLIER).count();
    assert!(before <= 1, "{seen:?}");
    // And what is sealed while the other is behind waits for nothing.
    let fresh = seen.iter().rposition(|(life, ..)| *life == OURS).unwrap();
    assert_eq!((seen[fresh].1, seen[fresh].2), (1, false), "{seen:?}");
    let after = seen[fresh..].iter().filter(|(life, ..)| *life == EARLIER).count();
    assert!(after >= 2, "{seen:?}");
}
