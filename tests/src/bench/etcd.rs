//! Three etcd members on loopback, to measure against: started here, spoken to in their own gRPC.
//!
//! Only what the benches need of etcd's API is written down, with the field numbers of its
//! `rpc.proto`.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::harness::process::Process;
use crate::harness::wait::{Look, SOON, wait_until};

/// The members; they end with this.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<(Process, String)>,
    _dir: TempDir,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// One connection to one member.
#[derive(Debug, Clone)]
pub struct Client(Channel);

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(url: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
        Ok(Self(endpoint.connect().await?))
    }

    /// Writes one key; the revision acknowledges it.
    ///
    /// # Errors
    /// When it was not acknowledged.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<u64> {
        let request = PutRequest { key: key.as_bytes().to_vec(), value: value.to_vec() };
        let answer: PutResponse = self.call("/etcdserverpb.KV/Put", request).await?;
        let revision = answer.header.context("no header")?.revision;
        Ok(u64::try_from(revision)?)
    }

    async fn status(&self) -> Result<StatusResponse> {
        self.call("/etcdserverpb.Maintenance/Status", StatusRequest {}).await
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await?;
        let request = tonic::Request::new(request);
        let path = PathAndQuery::from_static(path);
        Ok(grpc.unary(request, path, ProstCodec::<Q, A>::default()).await?.into_inner())
    }
}

impl Etcd {
    /// Starts three members of a new cluster and waits for their leader.
    ///
    /// # Errors
    /// When `etcd` is not installed (Debian's package `etcd-server`), or does not come up.
    pub async fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("parallax-etcd-").tempdir()?;
        let held: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<std::io::Result<_>>()?;
        let urls: Vec<String> = held
            .iter()
            .map(|listener| Ok(format!("http://{}", listener.local_addr()?)))
            .collect::<Result<_>>()?;
        drop(held);
        let (clients, peers) = urls.split_at(3);
        let names = ["e1", "e2", "e3"];
        let listed: Vec<String> =
            names.iter().zip(peers).map(|(name, url)| format!("{name}={url}")).collect();
        let listed = listed.join(",");
        let mut members = Vec::new();
        for ((name, client), peer) in names.into_iter().zip(clients).zip(peers) {
            let data = dir.path().join(name).display().to_string();
            let args = [
                ["--name", name],
                ["--data-dir", &data],
                ["--listen-client-urls", client],
                ["--advertise-client-urls", client],
                ["--listen-peer-urls", peer],
                ["--initial-advertise-peer-urls", peer],
                ["--initial-cluster", &listed],
                ["--initial-cluster-state", "new"],
            ];
            let log = dir.path().join(format!("{name}.log"));
            let process = Process::start(name, "etcd", args.as_flattened(), &[], &log)
                .context("etcd comes with Debian's package etcd-server")?;
            members.push((process, client.clone()));
        }
        let etcd = Self { members, _dir: dir };
        etcd.leader().await?;
        Ok(etcd)
    }

    /// The URL of the leader, and its version.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn leader(&self) -> Result<(String, String)> {
        wait_until(SOON, "a leader of etcd", || async {
            for (_, url) in &self.members {
                let status = Client::connect(url).await?.status().await?;
                let me = status.header.unwrap_or_default().member_id;
                if status.leader == me && me != 0 {
                    return Ok(Look::Holds((url.clone(), status.version)));
                }
            }
            Ok(Look::NotYet("nobody leads".to_owned()))
        })
        .await
    }

    /// The pids of the members.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|(process, _)| process.id()).collect()
    }
}
