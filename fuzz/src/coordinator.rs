//! What probes and other members hand to a coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::histogram::Merged;
use parallax_common::name::Incarnation;
use parallax_common::time::MeshTime;
use parallax_coordinator::core::peering::{Group, Holder, admit, recognise};
use parallax_coordinator::core::plan::Work;
use parallax_coordinator::core::session::Intake;
use parallax_coordinator::history::{Spool, intake};
use parallax_coordinator::peers::frame::{open_message, open_snapshot};
use parallax_coordinator::store::snapshot::SnapshotId;
use parallax_coordinator::store::snapshot::format::{self, Frames};
use parallax_proto::convert::window::window;
use parallax_proto::{peer, store, v1};
use prost::Message as _;

const NOW: MeshTime = MeshTime::from_ns(1_800_000_000_000_000_000);

/// Windows of a probe's bulk lane.
pub fn windows(bytes: &[u8]) {
    let Ok(windows) = v1::Windows::decode(bytes) else { return };
    let spool =
        Spool { region: Arc::from("r"), probe: Arc::from("p"), incarnation: Incarnation(1) };
    // The lane does so before.
    if windows.first_sequence > u64::MAX / 2 {
        return;
    }
    let admitted = windows.windows.iter().filter_map(|one| window(one).ok());
    for read in admitted {
        let mut merged = Merged::new();
        for series in &read.series {
            let added = merged.add_encoded(series.histogram.view(), series.totals);
            added.expect("what was admitted can be read");
        }
        merged.quantile(0.99);
        merged.mean();
    }
    let count = windows.windows.len();
    let admitted = intake::admit(&Work::default(), &spool, windows, NOW);
    assert_eq!(admitted.windows.len() as u64 + admitted.refused.count, count as u64);
}

/// Frames of a probe's live lane, each behind its length in two bytes, after the clock was measured.
pub fn session(mut bytes: &[u8]) {
    let mut intake = Intake::default();
    let ping = intake.ping(NOW, true);
    let pong = v1::Pong { id: ping.id, boottime_ns: 5_000_000_000 };
    let pong = v1::live_request::Frame::Pong(pong);
    intake.frame(pong, NOW).expect("the clock is measured");
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (frame, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        bytes = rest;
        let Ok(request) = v1::LiveRequest::decode(frame) else { return };
        let Some(frame) = request.frame else { continue };
        if intake.frame(frame, NOW).is_err() {
            return;
        }
    }
}

/// What another member says: a hello, or a frame with a message of Raft's.
pub fn peer(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 3 {
        0 => {
            let Ok(hello) = peer::PeerHello::decode(bytes) else { return };
            let group = Group {
                mesh: "m".to_owned(),
                node_id: 1,
                told: BTreeMap::from([(2, "c2".to_owned())]),
                ..Group::default()
            };
            let holder = Holder { mesh: "m", coordinator: Some("c2") };
            let _ = admit(&group, holder, &hello);
            let _ = recognise(&group, 2, &hello);
        }
        which => {
            let message = bytes.to_vec().into();
            for (from, to, term) in [(2, 1, 1), (2, 1, 0)] {
                let frame = peer::RaftFrame { from, to, term, message: Clone::clone(&message) };
                let _ = match which {
                    1 => open_message(&frame, from, to),
                    _ => open_snapshot(&frame, from, to),
                };
            }
        }
    }
}

/// A snapshot file of another member; and, as checksums are not to be guessed, its pieces with right ones.
pub fn snapshot(bytes: &[u8]) {
    let id = SnapshotId { index: 5, term: 2 };
    let walk = |file: &[u8]| {
        if let Ok((_, rows)) = format::read(file, id) {
            assert!(rows.take_while(Result::is_ok).count() <= file.len());
        }
    };
    walk(bytes);
    let mut whole = Vec::new();
    let header =
        store::SnapshotHeader { format: 1, index: id.index, term: id.term, ..Default::default() };
    let written = Frames::begin(&mut whole, b"PLXSNAP\n").and_then(|mut frames| {
        frames.put(&header)?;
        for piece in bytes.split(|byte| *byte == 0xff) {
            frames.put_bytes(piece)?;
        }
        frames.end(1, 1)
    });
    if written.is_ok() {
        walk(&whole);
    }
}
