//! Copying history that other members have and this one has not: after it joined, or was away.
//!
//! What is exact: every window counts at most once in every tier, whatever was heard here and
//! whatever was copied (`disk/install.rs` says when a segment may be taken). What is not copied:
//! windows one by one (an hour of them), and ranges of which a part was rolled up here already; they
//! stay gaps, and answers say how much of their range is covered.
//!
//! [`serve`] is the other end.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parallax_common::limits::{
    HISTORY_COPY_EVERY, SEGMENT_BYTES_MAX, SEGMENT_PIECE_BYTES, SEGMENT_PIECE_WITHIN,
};
use parallax_common::name::Incarnation;
use parallax_common::time::MeshTime;
use parallax_proto::peer;
use parallax_proto::peer::segment_service_client::SegmentServiceClient;
use tonic::Status;
use tonic::transport::Channel;
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
    /// Where segments are taken in.
    pub disk: Arc<Disk>,
    /// The other members.
    pub peers: Peers,
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

impl Copier {
    /// Looks at every other member again and again. The first look comes soon after the start, when
    /// members have been dialled.
    pub async fn run(self) {
        let soon = HISTORY_COPY_EVERY / 60;
        let mut wait = soon;
        loop {
            tokio::time::sleep(wait).await;
            let mut heard = false;
            for peer in self.peers.all() {
                match self.copy_from(peer.node_id).await {
                    Ok(copied) => {
                        heard = true;
                        if copied > 0 {
                            info!(member = peer.name, copied, "copied segments of history");
                        }
                    }
                    Err(error) => {
                        debug!(member = peer.name, error = chain(&error), "no history was copied");
                    }
                }
            }
            wait = if heard { HISTORY_COPY_EVERY } else { (wait * 2).min(HISTORY_COPY_EVERY) };
        }
    }

    /// Takes from one member what is lacking here; how many segments.
    async fn copy_from(&self, node_id: u64) -> Result<usize, CopyError> {
        let Some(channel) = self.peers.channel(node_id) else { return Ok(0) };
        let mut client = SegmentServiceClient::new(channel);
        let mut copied = 0;
        // Minutes before hours: what is rolled up twice as far must hold all of what is below it.
        for tier in [Tier::Minutes, Tier::Hours] {
            let mut token = String::new();
            loop {
                let request = peer::ListSegmentsRequest {
                    hello: Some((self.introduce)(node_id)),
                    tier: tier.number() as u32,
                    page_token: token.clone(),
                };
                let list = client.list_segments(request).await?.into_inner();
                for info in &list.segments {
                    copied += usize::from(self.consider(&mut client, node_id, tier, info).await?);
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
            Err(error) => {
                warn!(node_id, error = chain(&error), "a copied segment was refused");
                Err(error.into())
            }
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
        let mut offset = length_of(path.to_owned()).await?;
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
            write_at(path.to_owned(), offset, piece.data).await?;
            offset += length as u64;
        }
        Ok(())
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, SegmentError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into()))
        .map_err(SegmentError::io("write a fetched segment"))
}

async fn length_of(path: PathBuf) -> Result<u64, SegmentError> {
    on_a_thread(move || match std::fs::metadata(path) {
        Ok(there) => Ok(there.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    })
    .await
}

/// Puts a piece into its place, and cuts what an earlier attempt may have left behind it.
async fn write_at(path: PathBuf, offset: u64, data: bytes::Bytes) -> Result<(), SegmentError> {
    on_a_thread(move || {
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
        file.set_len(offset)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&data)
    })
    .await
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
    Ok(Incoming { tier, sha256, max_end, held })
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
