//! Debian's `prometheus-blackbox-exporter` as a peer: started here, and asked as fast as it answers.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::TcpStream;

use super::cpu;
use super::place::Place;
use crate::harness::process::Process;
use crate::harness::wait::{Look, SOON, wait_until};

const PROGRAM: &str = "prometheus-blackbox-exporter";
/// Before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// The exporter; it ends with this.
#[derive(Debug)]
pub struct Blackbox {
    process: Process,
    address: String,
}

/// What it did in a while.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Probes that it says succeeded.
    pub succeeded: u64,
    /// All others.
    pub failed: u64,
    /// Processor time that it took.
    pub cpu: Duration,
}

impl Blackbox {
    /// The version that is installed.
    ///
    /// # Errors
    /// When none is.
    pub fn version() -> Result<String> {
        let output = Command::new(PROGRAM).arg("--version").output();
        let output = output.context("it comes with Debian's package of the same name")?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
        let version = version.map(|word| word.trim_end_matches(',').to_owned());
        version.with_context(|| format!("no version in {text:?}"))
    }

    /// Starts it with these modules (its own configuration, in YAML) at a place.
    ///
    /// # Errors
    /// When it is not installed, or does not come up.
    pub async fn start(dir: &Path, place: &Place, modules: &str) -> Result<Self> {
        let port = super::nginx::free_port(std::net::Ipv4Addr::LOCALHOST)?;
        let address = format!("127.0.0.1:{port}");
        let path = dir.join("blackbox.yml");
        std::fs::write(&path, modules)?;
        let flags = [
            &format!("--config.file={}", path.display()),
            &format!("--web.listen-address={address}"),
            "--log.level=error",
        ];
        let args = place.arguments(PROGRAM, &flags);
        let log = dir.join("blackbox.log");
        let mut process = Process::start("blackbox_exporter", "unshare", args, &[], &log)?;
        wait_until(SOON, "the exporter listens", || {
            let running = process.check_running();
            let address = address.clone();
            async move {
                running?;
                let connected = TcpStream::connect(&address).await;
                Ok(Look::when(connected.is_ok(), connected.err()))
            }
        })
        .await?;
        Ok(Self { process, address })
    }

    /// Has it probe the targets in turn for so long, from so many connections that are kept open.
    ///
    /// # Errors
    /// When it does not answer, or every probe failed.
    pub async fn drive(
        &self,
        module: &str,
        targets: &[String],
        clients: usize,
        length: Duration,
    ) -> Result<Done> {
        let supervisor = Supervisor::default();
        let counted: Arc<[AtomicU64; 2]> = Arc::default();
        let paths: Arc<[String]> = targets
            .iter()
            .map(|target| format!("/probe?module={module}&target={target}"))
            .collect();
        for client in 0..clients {
            let (paths, counted) = (Arc::clone(&paths), Arc::clone(&counted));
            let (address, stop) = (self.address.clone(), supervisor.stop_token());
            supervisor.spawn(TaskKind::Session("client"), async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    // A client that breaks off shows in what is counted.
                    _ended = ask(&address, &paths, client, &counted) => {}
                }
            });
        }
        let read = || -> Result<(u64, u64, Duration)> {
            let [succeeded, failed] = &*counted;
            Ok((succeeded.load(Relaxed), failed.load(Relaxed), cpu::used_by(self.process.id())?))
        };
        tokio::time::sleep(WARM_UP).await;
        let before = read()?;
        tokio::time::sleep(length).await;
        let after = read()?;
        supervisor.stop();
        ensure!(supervisor.join(SOON).await, "a client did not end");
        let done = Done {
            succeeded: after.0 - before.0,
            failed: after.1 - before.1,
            cpu: after.2 - before.2,
        };
        ensure!(done.succeeded > 0, "no probe of the exporter succeeded: {}", self.process.log()?);
        Ok(done)
    }
}

/// One connection: the next probe when the last one is answered.
async fn ask(
    address: &str,
    paths: &[String],
    first: usize,
    [succeeded, failed]: &[AtomicU64; 2],
) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asking = async {
        for path in paths.iter().cycle().skip(first) {
            sender.ready().await?;
            let mut request = http::Request::new(Empty::<Bytes>::new());
            *request.uri_mut() = path.parse()?;
            request.headers_mut().insert(http::header::HOST, address.parse()?);
            let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
            let succeeds = body.windows(16).any(|text| text == b"\nprobe_success 1");
            if succeeds { succeeded } else { failed }.fetch_add(1, Relaxed);
        }
        Ok(())
    };
    tokio::select! {
        asked = asking => asked,
        ended = connection => ended.map_err(Into::into),
    }
}
