//! A peer with a good certificate and bad manners: it says on a session what no probe would say.

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes};
use parallax_common::histogram::{Encoded, Recorder};
use parallax_common::name::Incarnation;
use parallax_proto::v1;
use parallax_proto::v1::session_service_client::SessionServiceClient;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::client;
use super::mesh::MESH;

/// Somebody who dials the probes' listener.
#[derive(Debug, Clone)]
pub struct Rogue {
    channel: Channel,
    hello: v1::Hello,
}

impl Rogue {
    /// What every one of them says in its hello.
    pub const INCARNATION: Incarnation = Incarnation(0x0bad_cafe);

    /// Dials with the certificate in `tls`, and will say that it is probe `name` of `region`.
    ///
    /// # Errors
    /// When the listener does not take the certificate.
    pub async fn dial(endpoint: &str, tls: &Path, region: &str, name: &str) -> Result<Self> {
        let hello = v1::Hello {
            region: region.to_owned(),
            probe: name.to_owned(),
            incarnation: Self::INCARNATION.0,
            boot_id: "00000000-0000-0000-0000-00000000b007".to_owned(),
            mesh: MESH.to_owned(),
            build: "rogue".to_owned(),
            level: parallax_coordinator::level::level(),
            kinds: vec!["http".to_owned()],
            boottime_ns: parallax_runtime::clock::boot_time().as_ns(),
            ..Default::default()
        };
        Ok(Self { channel: client::channel(endpoint, tls).await?, hello })
    }

    /// The same, and says that it is of this mesh.
    pub fn of_mesh(mut self, mesh: &str) -> Self {
        self.hello.mesh = mesh.to_owned();
        self
    }

    /// Opens a live stream, says hello, and returns what the coordinator says first.
    ///
    /// # Errors
    /// The status that ends the stream instead.
    pub async fn say_hello(&self) -> Result<v1::LiveResponse, Status> {
        let (_open, frames) = self.live(Vec::new()).await?;
        first(frames).await
    }

    /// Opens a live stream, says hello and then these bytes as one message. The stream stays open
    /// as long as the sender that is returned.
    ///
    /// # Errors
    /// When the stream is refused before its first answer.
    pub async fn live(
        &self,
        then: Vec<Bytes>,
    ) -> Result<(mpsc::Sender<Bytes>, Streaming<v1::LiveResponse>), Status> {
        let hello = v1::live_request::Frame::Hello(self.hello.clone());
        let hello = v1::LiveRequest { frame: Some(hello) }.encode_to_vec();
        self.open("/parallax.v1.SessionService/Live", hello, then).await
    }

    /// Opens a bulk stream, says hello and then these bytes as messages.
    ///
    /// # Errors
    /// When the stream is refused before its first answer.
    pub async fn bulk(
        &self,
        then: Vec<Bytes>,
    ) -> Result<(mpsc::Sender<Bytes>, Streaming<v1::BulkResponse>), Status> {
        let hello = v1::bulk_request::Frame::Hello(self.hello.clone());
        let hello = v1::BulkRequest { frame: Some(hello) }.encode_to_vec();
        self.open("/parallax.v1.SessionService/Bulk", hello, then).await
    }

    async fn open<M: prost::Message + Default + Send + 'static>(
        &self,
        path: &'static str,
        hello: Vec<u8>,
        then: Vec<Bytes>,
    ) -> Result<(mpsc::Sender<Bytes>, Streaming<M>), Status> {
        let (sender, receiver) = mpsc::channel(then.len() + 1);
        for message in std::iter::once(Bytes::from(hello)).chain(then) {
            // The channel has room for exactly these.
            sender.try_send(message).map_err(|error| Status::internal(error.to_string()))?;
        }
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = tonic::Request::new(ReceiverStream::new(receiver));
        let path = PathAndQuery::from_static(path);
        let answer = grpc.streaming(request, path, RawCodec::<M>(PhantomData)).await?;
        Ok((sender, answer.into_inner()))
    }

    /// A client that speaks properly, over the same connection.
    pub fn proper(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel.clone())
    }
}

/// The first message of a stream.
///
/// # Errors
/// The status that ends it instead.
pub async fn first<M>(mut frames: Streaming<M>) -> Result<M, Status> {
    let first = frames.message().await?;
    first.ok_or_else(|| Status::cancelled("the stream ended without a word"))
}

/// Runs of the window that [`window`] makes.
const RUNS: u32 = 100;

/// A histogram of as many passes as [`window`] has, as a probe would send it.
pub fn hdr() -> Bytes {
    let mut recorder = Recorder::new();
    for _ in 0..RUNS {
        recorder.record(Duration::from_micros(1));
    }
    match recorder.encode() {
        Encoded::HdrV2(bytes) => bytes.into(),
        Encoded::Sparse { .. } => unreachable!("this many samples are not sparse"),
    }
}

/// Forty bytes each that make a trusting decoder allocate: by a payload of 4 GiB that does not
/// follow, and by bounds that need a counts array of their own.
pub fn hdr_bombs() -> [Bytes; 2] {
    let header = |payload: u32, figures: u32, highest: u64| {
        let mut header = Vec::with_capacity(40);
        header.put_u32(0x1c84_9313); // V2, no compression
        header.put_u32(payload);
        header.put_u32(0); // normalising offset
        header.put_u32(figures);
        header.put_u64(1); // lowest value
        header.put_u64(highest);
        header.put_f64(1.0); // conversion ratio
        header.into()
    };
    [header(u32::MAX, 3, 60_000_000), header(0, 5, u64::MAX / 2)]
}

/// A frame with one window that is good if its histogram is.
///
/// # Errors
/// When `check_uid` is no UUID.
pub fn window(check_uid: &str, sequence: u64, histogram: Bytes) -> Result<Bytes> {
    let check_uid = uuid::Uuid::parse_str(check_uid).context("a check's uid")?;
    let series = v1::Series {
        phase: v1::Phase::Total.into(),
        count: RUNS.into(),
        sum_us: RUNS.into(),
        min_us: 1,
        max_us: 1,
        histogram: Some(v1::series::Histogram::HdrV2(histogram)),
        ..Default::default()
    };
    let window = v1::Window {
        check_uid: Bytes::copy_from_slice(check_uid.as_bytes()),
        run_digest: 1,
        start_mesh_ns: 0,
        period_s: 10,
        first_slot: 1,
        last_slot: RUNS.into(),
        first_number: 1,
        last_number: RUNS.into(),
        outcomes: vec![v1::OutcomeSpan {
            outcome: v1::Outcome::Pass.into(),
            count: RUNS,
            ..Default::default()
        }],
        series: vec![series],
        incarnation: Rogue::INCARNATION.0,
        ..Default::default()
    };
    let windows = v1::Windows { first_sequence: sequence, windows: vec![window], replay: false };
    let frame = v1::bulk_request::Frame::Windows(windows);
    Ok(v1::BulkRequest { frame: Some(frame) }.encode_to_vec().into())
}

/// Sends bytes as they are; reads proper messages.
#[derive(Debug)]
struct RawCodec<M>(PhantomData<M>);

impl<M: prost::Message + Default + Send + 'static> Codec for RawCodec<M> {
    type Encode = Bytes;
    type Decode = M;
    type Encoder = RawEncoder;
    type Decoder = <ProstCodec<(), M> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        RawEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<(), M>::default().decoder()
    }
}

/// See [`RawCodec`].
#[derive(Debug)]
struct RawEncoder;

impl Encoder for RawEncoder {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}
