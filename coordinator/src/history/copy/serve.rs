//! The other end of copying: tells which closed segments are here, and hands out their bytes.

use std::sync::Arc;

use parallax_common::limits::{
    SEGMENT_LIST_BYTES, SEGMENT_LIST_MAX, SEGMENT_PIECE_BYTES, SEGMENTS_OUT_MAX,
};
use parallax_proto::peer;
use parallax_proto::peer::segment_service_server::{SegmentService, SegmentServiceServer};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Identity, peer_of};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::super::disk::Disk;
use super::super::files::Reading;
use super::super::segment::reader::Segment;
use super::super::tier::Tier;
use super::told;

/// Pieces that wait for a slow line.
const PIECES_WAITING: usize = 4;

/// Whether a member that shows this certificate and this hello is let in; the status says why not.
pub type Admit = Arc<dyn Fn(&Identity, &peer::PeerHello) -> Result<(), Status> + Send + Sync>;

/// The service, for the peer listener.
#[derive(Clone)]
pub struct SegmentServer {
    disk: Arc<Disk>,
    admit: Admit,
    supervisor: Supervisor,
    sending: Arc<Semaphore>,
}

type Pieces = ReceiverStream<Result<peer::FetchSegmentResponse, Status>>;

impl SegmentServer {
    /// Hands out what is in `disk` to members that `admit` lets in.
    pub fn new(disk: Arc<Disk>, admit: Admit, supervisor: Supervisor) -> Self {
        Self { disk, admit, supervisor, sending: Arc::new(Semaphore::new(SEGMENTS_OUT_MAX)) }
    }

    /// As routes take it.
    pub fn into_service(self) -> SegmentServiceServer<Self> {
        SegmentServiceServer::new(self)
    }

    fn let_in<T>(
        &self,
        request: &Request<T>,
        hello: Option<&peer::PeerHello>,
    ) -> Result<(), Status> {
        let hello = hello.ok_or_else(|| Status::invalid_argument("hello: is missing"))?;
        (self.admit)(&peer_of(request)?.identity, hello)
    }
}

fn tier_of(number: u32) -> Result<Tier, Status> {
    match Tier::from_number(number.into()) {
        Some(tier) if tier != Tier::Windows => Ok(tier),
        _ => Err(Status::invalid_argument(format!("tier: {number} is not 1 or 2"))),
    }
}

#[tonic::async_trait]
impl SegmentService for SegmentServer {
    async fn list_segments(
        &self,
        request: Request<peer::ListSegmentsRequest>,
    ) -> Result<Response<peer::ListSegmentsResponse>, Status> {
        let list = request.get_ref();
        self.let_in(&request, list.hello.as_ref())?;
        let tier = tier_of(list.tier)?;
        let after: u64 = match list.page_token.as_str() {
            "" => 0,
            token => token
                .parse()
                .map_err(|_| Status::invalid_argument("page_token: not one of this list"))?,
        };
        let segments = self.disk.segments(tier).into_iter();
        let mut rest = segments.filter(|one| one.id > after).peekable();
        let (mut page, mut bytes, mut last) = (Vec::new(), 0, after);
        while page.len() < SEGMENT_LIST_MAX
            && bytes < SEGMENT_LIST_BYTES
            && let Some(segment) = rest.next()
        {
            let told = told(&segment);
            bytes += told.encoded_len();
            last = segment.id;
            page.push(told);
        }
        let next = rest.peek().map(|_| format!("{last:020}"));
        Ok(Response::new(peer::ListSegmentsResponse {
            segments: page,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    type FetchSegmentStream = Pieces;

    async fn fetch_segment(
        &self,
        request: Request<peer::FetchSegmentRequest>,
    ) -> Result<Response<Pieces>, Status> {
        let fetch = request.get_ref();
        self.let_in(&request, fetch.hello.as_ref())?;
        let tier = tier_of(fetch.tier)?;
        let wanted = self.disk.segments(tier);
        let segment = wanted.into_iter().find(|one| one.sha256[..] == fetch.sha256[..]);
        let gone = || Status::not_found("sha256: no such segment, or not any more");
        let segment = segment.ok_or_else(gone)?;
        if fetch.offset > segment.bytes {
            return Err(Status::out_of_range("offset: behind the end"));
        }
        let permit = Arc::clone(&self.sending).try_acquire_owned();
        let permit = permit.map_err(|_| {
            Status::resource_exhausted(format!("{SEGMENTS_OUT_MAX} segments are being sent"))
        })?;
        let (outbound, pieces) = mpsc::channel(PIECES_WAITING);
        let (offset, stop) = (fetch.offset, self.supervisor.stop_token());
        self.supervisor.spawn(TaskKind::Session("segment"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = send(segment, offset, outbound, permit) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(pieces)))
    }
}

/// Sends the bytes from `offset` on, as the other end takes them.
async fn send(
    segment: Arc<Segment>,
    mut offset: u64,
    outbound: mpsc::Sender<Result<peer::FetchSegmentResponse, Status>>,
    _permit: OwnedSemaphorePermit,
) {
    let file = match segment.file() {
        Ok(file) => Arc::<dyn Reading>::from(file),
        Err(error) => {
            // The other end may have gone.
            let _ = outbound.send(Err(Status::not_found(error.to_string()))).await;
            return;
        }
    };
    while offset < segment.bytes {
        let left = usize::try_from(segment.bytes - offset).unwrap_or(usize::MAX);
        let (file, mut data) = (Arc::clone(&file), vec![0; left.min(SEGMENT_PIECE_BYTES)]);
        let read =
            tokio::task::spawn_blocking(move || file.read_at(&mut data, offset).map(|()| data));
        let piece = match read.await {
            Ok(Ok(data)) => Ok(peer::FetchSegmentResponse {
                offset,
                crc32: crc32fast::hash(&data),
                data: data.into(),
            }),
            Ok(Err(error)) => Err(Status::internal(format!("the segment cannot be read: {error}"))),
            Err(_) => Err(Status::internal("the read was given up")),
        };
        let failed = piece.is_err();
        offset += piece.as_ref().map_or(0, |piece| piece.data.len() as u64);
        if outbound.send(piece).await.is_err() || failed {
            return;
        }
    }
}
