//! Three etcd members on loopback, to measure against: started here, spoken to in their own gRPC.
//!
//! Only what the benches need of etcd's API is written down, with the field numbers of its
//! `rpc.proto`.

pub mod tls;

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::net::TcpStream;

use self::tls::{Certificates, Dialler};
use crate::bench::grpc::Caller;
use crate::harness::process::Process;
use crate::harness::wait::{Look, SOON, wait_until};

/// The members; they end with this.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<(Process, String)>,
    certificates: Option<Certificates>,
    _dir: TempDir,
}

/// Where a member is reached, and how.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its address for clients.
    pub address: String,
    /// With a certificate.
    pub dialler: Option<Dialler>,
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
#[derive(Debug)]
pub struct Client(Caller);

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(place: &Place) -> Result<Self> {
        let stream = TcpStream::connect(&place.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(match &place.dialler {
            Some(dialler) => {
                Caller::over(dialler.dial(stream).await?, "https", &place.address).await?
            }
            None => Caller::over(stream, "http", &place.address).await?,
        }))
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

    async fn call<Q: prost::Message, A: prost::Message + Default>(
        &self,
        path: &'static str,
        request: Q,
    ) -> Result<A> {
        self.0.call(path, &[request]).await?.pop().context("no answer")
    }
}

impl Etcd {
    /// Starts three members of a new cluster and waits for their leader; `with_tls`: clients and
    /// members show certificates to one another.
    ///
    /// # Errors
    /// When `etcd` is not installed (Debian's package `etcd-server`), or does not come up.
    pub async fn start(with_tls: bool) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("parallax-etcd-").tempdir()?;
        let certificates = if with_tls { Some(Certificates::make(dir.path())?) } else { None };
        let scheme = if with_tls { "https" } else { "http" };
        let flags = certificates.as_ref().map(Certificates::flags).transpose()?.unwrap_or_default();
        let held: Vec<TcpListener> = (0..6)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<std::io::Result<_>>()?;
        let urls: Vec<String> = held
            .iter()
            .map(|listener| Ok(format!("{scheme}://{}", listener.local_addr()?)))
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
            let more = flags.iter().map(String::as_str);
            let args: Vec<&str> = args.as_flattened().iter().copied().chain(more).collect();
            let process = Process::start(name, "etcd", &args, &[], &log)
                .context("etcd comes with Debian's package etcd-server")?;
            members.push((process, client.clone()));
        }
        let etcd = Self { members, certificates, _dir: dir };
        etcd.leader().await?;
        Ok(etcd)
    }

    /// Where the leader is, and its version.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn leader(&self) -> Result<(Place, String)> {
        wait_until(SOON, "a leader of etcd", || async {
            for (_, url) in &self.members {
                let dialler = self.certificates.as_ref().map(Certificates::dialler);
                let address = url.rsplit('/').next().unwrap_or_default().to_owned();
                let place = Place { address, dialler };
                let status = Client::connect(&place).await?.status().await?;
                let me = status.header.unwrap_or_default().member_id;
                if status.leader == me && me != 0 {
                    return Ok(Look::Holds((place, status.version)));
                }
            }
            Ok(Look::NotYet("nobody leads".to_owned()))
        })
        .await
    }

    /// The pids of the members, that of the one at `first` first.
    pub fn pids_from(&self, first: &Place) -> Vec<u32> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_key(|(_, url)| !url.ends_with(&first.address));
        members.iter().map(|(process, _)| process.id()).collect()
    }
}
