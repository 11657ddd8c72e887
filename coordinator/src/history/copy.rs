//! Copying history that other members have and this one has not: after it joined, or was away.
//!
//! What is exact: every window counts at most once in every tier, whatever was heard here and
//! whatever was copied (`disk/install.rs` says when a segment may be taken). What is not copied:
//! windows one by one (an hour of them), and ranges of which a part was rolled up here already; they
//! stay gaps, and answers say how much of their range is covered.
//!
//! [`serve`] is the other end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use parallax_common::limits::{
    HISTORY_COPY_EVERY, SEGMENT_BYTES_MAX, SEGMENT_LIST_BYTES_MAX, SEGMENT_PIECE_BYTES,
    SEGMENT_PIECE_WITHIN,
};
use parallax_common::name::Incarnation;
use parallax_common::time::MeshTime;
use parallax_proto::peer;
use parallax_proto::peer::segment_service_client::SegmentServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::Spool;
use super::disk::{Disk, Incoming, Verdict};
use super::ranges::{Held, Ranges};
use super::segment::SegmentError;
use super::store::Now;
use super::tier::Tier;
use crate::peers::Peers;
use crate::raft::fatal::{Fatal, chain};

pub mod serve;

/// Makes the hello for a member.
pub type Introduce = Arc<dyn Fn(u64) -> peer::PeerHello + Send + Sync>;

/// What the task `copy history` needs.
pub struct Copier {
    /// The other members.
    pub peers: Peers,
    /// What one of them is asked with.
    pub taker: Taker,
}

/// Takes from one member what is lacking here.
pub struct Taker {
    /// Where segments are taken in.
    pub disk: Arc<Disk>,
    /// Says who we are.
    pub introduce: Introduce,
    /// Mesh time.
    pub now: Now,
    /// For a sync that fails.
    pub fatal: Fatal,
}

/// Why a segment or a list could not be copied.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("the member does not answer")]
    Call(#[from] Status),
    #[error("no piece came within {} s", SEGMENT_PIECE_WITHIN.as_secs())]
    Slow,
    #[error("the member sent what cannot be: {0}")]
    Malformed(&'static str),
    #[error("the segment cannot be taken in")]
    Segment(#[from] SegmentError),
}

impl CopyError {
    /// Whether it is this one segment that cannot be copied, while the next may well be. A member that
    /// does not answer and a disk of our own that refuses end the look: the next would fail alike.
    fn is_of_one_segment(&self) -> bool {
        match self {
            Self::Malformed(_) => true,
            Self::Segment(error) => matches!(error, SegmentError::Damaged(_)),
            // Its file cannot be read there, or is gone, or is shorter than what was told.
            Self::Call(status) => {
                matches!(status.code(), Code::Internal | Code::NotFound | Code::OutOfRange)
            }
            Self::Slow => false,
        }
    }
}

/// What a look at one member came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Copied {
    /// Segments that were taken in.
    taken: usize,
    /// Segments that were left out, as something is wrong with each.
    left_out: usize,
}

impl Copier {
    /// Looks at every other member again and again. The first look comes soon after the start, when
    /// members have been dialled.
    pub async fn run(self) {
        let soon = HISTORY_COPY_EVERY / 60;
        let mut wait = soon;
        // Members of which it was said that nothing can be copied from them.
        let mut failing = BTreeSet::new();
        loop {
            tokio::time::sleep(wait).await;
            let mut heard = false;
            let peers = self.peers.all();
            failing.retain(|node_id| peers.iter().any(|peer| peer.node_id == *node_id));
            for peer in peers {
                // Not dialled yet.
                let Some(channel) = self.peers.channel(peer.node_id) else { continue };
                match self.taker.copy_from(peer.node_id, channel).await {
                    Ok(copied) => {
                        heard = true;
                        if failing.remove(&peer.node_id) {
                            info!(member = peer.name, "history can be copied again");
                        }
                        let (member, Copied { taken, left_out }) = (peer.name, copied);
                        if taken > 0 {
                            info!(member, copied = taken, "copied segments of history");
                        }
                        if left_out > 0 {
                            warn!(member, left_out, "segments of history could not be copied");
                        }
                    }
                    Err(error) => {
                        let (member, error) = (peer.name, chain(&error));
                        if failing.insert(peer.node_id) {
                            warn!(member, error, "no history can be copied from this member");
                        } else {
                            debug!(member, error, "no history was copied");
                        }
                    }
                }
            }
            wait = if heard { HISTORY_COPY_EVERY } else { (wait * 2).min(HISTORY_COPY_EVERY) };
        }
    }
}

impl Taker {
    /// Takes from one member what is lacking here. A segment that is not what it should be is left out
    /// and counted: what it holds may come from another member, or with the next look.
    async fn copy_from(&self, node_id: u64, channel: Channel) -> Result<Copied, CopyError> {
        let client = SegmentServiceClient::new(channel);
        let mut client = client.max_decoding_message_size(SEGMENT_LIST_BYTES_MAX);
        let mut copied = Copied::default();
        // Minutes before hours: what is rolled up twice as far must hold all of what is below it.
        for tier in [Tier::Minutes, Tier::Hours] {
            let mut token = String::new();
            loop {
                let request = peer::ListSegmentsRequest {
                    hello: Some((self.introduce)(node_id)),
                    tier: tier.number() as u32,
                    page_token: token.clone(),
                };
                let mut list = client.list_segments(request).await?.into_inner();
                // The newest first: where room is short, the others are not fetched in vain.
                list.segments.sort_by_key(|info| Reverse(info.max_end_mesh_ns));
                for info in &list.segments {
                    match self.consider(&mut client, node_id, tier, info).await {
                        Ok(taken) => copied.taken += usize::from(taken),
                        Err(error) if error.is_of_one_segment() => {
                            debug!(node_id, error = chain(&error), "a segment was left out");
                            self.disk.left_out();
                            copied.left_out += 1;
                        }
                        Err(error) => return Err(error),
                    }
                }
                if list.next_page_token.is_empty() || list.next_page_token <= token {
                    break;
                }
                token = list.next_page_token;
            }
        }
        Ok(copied)
    }

    /// Fetches one segment if it adds something; whether it was taken in.
    async fn consider(
        &self,
        client: &mut SegmentServiceClient<Channel>,
        node_id: u64,
        tier: Tier,
        info: &peer::SegmentInfo,
    ) -> Result<bool, CopyError> {
        let incoming = incoming(tier, info)?;
        if self.disk.judge(&incoming, (self.now)()) != Verdict::Take {
            return Ok(false);
        }
        let file = self.disk.fetching(&incoming.sha256);
        self.fetch(client, node_id, &incoming, info.bytes, &file).await?;
        let (disk, now) = (Arc::clone(&self.disk), (self.now)());
        let install = tokio::task::spawn_blocking(move || disk.install(&file, &incoming, now));
        let installed = install.await.map_err(|_| CopyError::Malformed("taking it in failed"))?;
        match installed {
            Ok(verdict) => Ok(verdict == Verdict::Take),
            Err(error) if error.is_sync() => {
                (self.fatal)(&format!("history: {}", chain(&error)));
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Brings the file to its whole length; goes on where an earlier attempt of this life stopped.
    async fn fetch(
        &self,
        client: &mut SegmentServiceClient<Channel>,
        node_id: u64,
        incoming: &Incoming,
        bytes: u64,
        path: &Path,
    ) -> Result<(), CopyError> {
        let (disk, file) = (Arc::clone(&self.disk), path.to_owned());
        let mut offset = on_a_thread(move || disk.fetched(&file)).await?;
        if offset > bytes {
            offset = 0;
        }
        let request = peer::FetchSegmentRequest {
            hello: Some((self.introduce)(node_id)),
            tier: incoming.tier.number() as u32,
            sha256: incoming.sha256.to_vec().into(),
            offset,
        };
        let mut pieces = client.fetch_segment(request).await?.into_inner();
        while offset < bytes {
            let next = tokio::time::timeout(SEGMENT_PIECE_WITHIN, pieces.message());
            let Some(piece) = next.await.map_err(|_| CopyError::Slow)?? else {
                return Err(CopyError::Malformed("the segment ended too early"));
            };
            let length = piece.data.len();
            if piece.offset != offset
                || length == 0
                || length > SEGMENT_PIECE_BYTES
                || bytes - offset < length as u64
            {
                return Err(CopyError::Malformed("a piece does not fit"));
            }
            if crc32fast::hash(&piece.data) != piece.crc32 {
                return Err(CopyError::Malformed("a piece is damaged"));
            }
            let (disk, file) = (Arc::clone(&self.disk), path.to_owned());
            on_a_thread(move || disk.fetch(&file, offset, &piece.data)).await?;
            offset += length as u64;
        }
        Ok(())
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SegmentError> + Send + 'static,
) -> Result<T, SegmentError> {
    let given_up = || SegmentError::io("write a fetched segment");
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(given_up()(std::io::ErrorKind::Interrupted.into())))
}

/// What a member tells of a segment, checked.
fn incoming(tier: Tier, info: &peer::SegmentInfo) -> Result<Incoming, CopyError> {
    let sha256 = info.sha256.as_ref().try_into();
    let sha256 = sha256.map_err(|_| CopyError::Malformed("a hash is not 32 bytes"))?;
    if info.tier as usize != tier.number() || info.bytes > SEGMENT_BYTES_MAX {
        return Err(CopyError::Malformed("a segment of another tier, or too large"));
    }
    let mut held: Vec<(Spool, Ranges)> = Vec::new();
    for spool in &info.spools {
        let (pairs, []) = spool.ranges.as_chunks::<2>() else {
            return Err(CopyError::Malformed("ranges are not pairs"));
        };
        let name = Spool {
            region: spool.region.as_str().into(),
            probe: spool.probe.as_str().into(),
            incarnation: Incarnation(spool.incarnation),
        };
        held.push((name, pairs.iter().map(|[first, last]| (*first, *last)).collect()));
    }
    let held = Held::checked(held).ok_or(CopyError::Malformed("ranges are out of order"))?;
    let max_end = MeshTime::from_ns(info.max_end_mesh_ns);
    Ok(Incoming { tier, sha256, bytes: info.bytes, max_end, held })
}

/// What is told of a segment to others.
fn told(segment: &super::segment::reader::Segment) -> peer::SegmentInfo {
    let spools: BTreeMap<_, _> = segment.meta.held.iter().collect();
    peer::SegmentInfo {
        tier: segment.meta.tier.number() as u32,
        sha256: segment.sha256.to_vec().into(),
        bytes: segment.bytes,
        min_start_mesh_ns: segment.meta.min_start.as_ns(),
        max_end_mesh_ns: segment.meta.max_end.as_ns(),
        spools: spools
            .into_iter()
            .map(|(spool, ranges)| peer::SpoolRanges {
                region: spool.region.to_string(),
                probe: spool.probe.to_string(),
                incarnation: spool.incarnation.0,
                ranges: ranges.iter().flat_map(|(first, last)| [*first, *last]).collect(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
