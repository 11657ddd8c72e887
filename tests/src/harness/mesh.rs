//! A mesh of real processes: one coordinator, one probe a region, a PKI, a target and a sink.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Binaries;
use super::client::Api;
use super::process::Process;
pub use super::site::MESH;
use super::site::{Site, text_of};
use super::wait::{Look, SOON, wait_until};
use crate::bench::relay::Relay;

/// Where the coordinator listens.
#[derive(Debug, Clone)]
pub struct Ports {
    /// For people and tools.
    pub api: String,
    /// For probes.
    pub probes: String,
    /// For other coordinators.
    pub peers: String,
    /// Status, health and metrics.
    pub public: String,
}

/// A whole mesh. Everything in it ends with it.
#[derive(Debug)]
pub struct Mesh {
    site: Site,
    regions: Vec<String>,
    coordinator: Option<Process>,
    ports: Option<Ports>,
    probes: BTreeMap<String, Process>,
    /// Between the probes and the coordinator, when the line is to be long.
    relay: Option<Relay>,
}

impl Deref for Mesh {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for Mesh {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

impl Mesh {
    /// Makes a PKI, starts a coordinator and one probe in each region. The hook's URL is in the
    /// coordinator's environment as `PX_HOOK`.
    ///
    /// # Errors
    /// When a process does not come up; the message holds its log.
    pub async fn start(binaries: Binaries, regions: &[&str]) -> Result<Self> {
        Self::start_apart(binaries, regions, Duration::ZERO).await
    }

    /// The same, with probes so far from the coordinator that a byte takes `one_way`.
    ///
    /// # Errors
    /// When a process does not come up; the message holds its log.
    pub async fn start_apart(
        binaries: Binaries,
        regions: &[&str],
        one_way: Duration,
    ) -> Result<Self> {
        let mut mesh = Self::coordinator_alone(binaries, regions, one_way).await?;
        for region in regions {
            mesh.issue_probe(region, region).await?;
            mesh.start_probe(region)?;
        }
        Ok(mesh)
    }

    /// A mesh with these regions and no probe yet.
    ///
    /// # Errors
    /// When the coordinator does not come up; the message holds its log.
    pub async fn coordinator_alone(
        binaries: Binaries,
        regions: &[&str],
        one_way: Duration,
    ) -> Result<Self> {
        let mut mesh = Self {
            site: Site::prepare(binaries).await?,
            regions: regions.iter().map(|&region| region.to_owned()).collect(),
            coordinator: None,
            ports: None,
            probes: BTreeMap::new(),
            relay: (!one_way.is_zero()).then(|| Relay::start(one_way)).transpose()?,
        };
        mesh.issue(&["coordinator", "c1"], "c1").await?;
        mesh.start_coordinator().await?;
        if let Some(relay) = &mesh.relay {
            relay.lead_to(mesh.ports()?.probes.parse()?)?;
        }
        Ok(mesh)
    }

    /// Where the coordinator listens.
    ///
    /// # Errors
    /// When it was never up.
    pub fn ports(&self) -> Result<&Ports> {
        self.ports.as_ref().context("the coordinator has never been up")
    }

    /// Bytes that went between the probes and the coordinator so far, up and down, when they are apart.
    ///
    /// # Errors
    /// When there is nothing between them.
    pub fn carried(&self) -> Result<(u64, u64)> {
        Ok(self.relay.as_ref().context("there is no line between them")?.carried())
    }

    /// What the probe of a region has said.
    ///
    /// # Errors
    /// When there is none.
    pub fn probe_log(&self, region: &str) -> Result<String> {
        self.probes.get(region).context("it does not run")?.log()
    }

    /// The address that the probe of a region dials and looks from: 127.0.10.1, 127.0.11.1, ...
    ///
    /// # Panics
    /// When the region is not of this mesh.
    pub fn source(&self, region: &str) -> IpAddr {
        let rank = self.regions.iter().position(|known| known == region);
        let rank = u8::try_from(rank.expect("a region of this mesh")).expect("few regions");
        IpAddr::V4(Ipv4Addr::new(127, 0, 10 + rank, 1))
    }

    /// Starts the coordinator, on the ports it had before, and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_coordinator(&mut self) -> Result<()> {
        self.spawn_coordinator()?;
        self.coordinator_up().await
    }

    /// Starts the coordinator and does not wait.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_coordinator(&mut self) -> Result<()> {
        // The old file would say that the new process listens already.
        match std::fs::remove_file(self.path("ports.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let any = Ports {
            api: "127.0.0.1:0".to_owned(),
            probes: "127.0.0.1:0".to_owned(),
            peers: "127.0.0.1:0".to_owned(),
            public: "127.0.0.1:0".to_owned(),
        };
        let ports = self.ports.clone().unwrap_or(any);
        let tls = self.tls("c1").display().to_string();
        let (data_dir, ports_file) = (self.path("data-c1"), self.path("ports.json"));
        let advertised = self.relay.as_ref().map(|relay| relay.address().to_string());
        let mut args = vec![
            ["--mesh", MESH],
            ["--name", "c1"],
            ["--data-dir", &data_dir],
            ["--tls-dir", &tls],
            ["--listen-api", &ports.api],
            ["--listen-probes", &ports.probes],
            ["--listen-peers", &ports.peers],
            ["--listen-public", &ports.public],
            ["--allow-env", "PX_HOOK"],
            ["--ports-file", &ports_file],
        ];
        if let Some(advertised) = &advertised {
            args.push(["--advertise-probes", advertised]);
        }
        args.extend(self.allowed.iter().map(|name| ["--allow-env", name]));
        let log = self.dir().join("c1.log");
        let args = args.as_flattened();
        self.coordinator =
            Some(Process::start("coordinator", self.binaries.coordinator, args, &self.env, &log)?);
        Ok(())
    }

    /// Waits until the coordinator that was started listens.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub async fn coordinator_up(&mut self) -> Result<()> {
        let path = PathBuf::from(self.path("ports.json"));
        let coordinator = self.coordinator.as_mut().context("no coordinator was started")?;
        let found = wait_until(SOON, "the coordinator's ports file", || {
            let running = coordinator.check_running();
            let ports = running.and_then(|()| read_ports(&path));
            async move {
                // An end on its own does not get better by waiting, but the message is the same.
                Ok(match ports? {
                    Some(ports) => Look::Holds(ports),
                    None => Look::NotYet("no file".to_owned()),
                })
            }
        })
        .await?;
        self.ports = Some(found);
        Ok(())
    }

    /// Kill -9.
    pub fn kill_coordinator(&mut self) {
        self.coordinator = None;
    }

    /// The coordinator's pid.
    ///
    /// # Errors
    /// When there is none.
    pub fn coordinator_id(&self) -> Result<u32> {
        Ok(self.coordinator.as_ref().context("no coordinator")?.id())
    }

    /// Most address space that the coordinator has ever had, in bytes.
    ///
    /// # Errors
    /// When it is not running, or the system does not say.
    pub fn coordinator_address_space_peak(&self) -> Result<u64> {
        self.coordinator.as_ref().context("no coordinator")?.address_space_peak()
    }

    /// What the coordinator has said.
    ///
    /// # Errors
    /// When there is none.
    pub fn coordinator_log(&self) -> Result<String> {
        self.coordinator.as_ref().context("no coordinator")?.log()
    }

    /// Starts the probe of a region. Its certificate must have been issued.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_probe(&mut self, region: &str) -> Result<()> {
        let source = self.source(region).to_string();
        let process = self.probe_process(region, &source)?;
        self.probes.insert(region.to_owned(), process);
        Ok(())
    }

    /// The program that a probe is.
    pub fn probe_program(&self) -> &'static str {
        self.binaries.probe
    }

    /// A probe process with the certificate issued under `name`, which the mesh does not own.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn probe_process(&self, name: &str, source: &str) -> Result<Process> {
        let dialled = match &self.relay {
            Some(relay) => relay.address().to_string(),
            None => self.ports()?.probes.clone(),
        };
        self.probe_process_at(name, &dialled, source)
    }

    /// The same, given another spelling of the coordinator's address.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn probe_process_at(&self, name: &str, coordinator: &str, source: &str) -> Result<Process> {
        let tls = self.tls(name).display().to_string();
        let data_dir = self.path(&format!("data-{name}"));
        let mut args = vec![
            ["--tls-dir", &tls],
            ["--coordinator", coordinator],
            ["--data-dir", &data_dir],
            ["--source-address", source],
        ];
        args.extend(self.allowed.iter().map(|name| ["--allow-env", name]));
        let log = self.dir().join(format!("probe-{name}.log"));
        let name = format!("probe {name}");
        Process::start(&name, self.binaries.probe, args.as_flattened(), &self.env, &log)
    }

    /// Kill -9.
    pub fn kill_probe(&mut self, region: &str) {
        self.probes.remove(region);
    }

    /// Tells the probe of a region to stop, and waits until it has: its exit code, none after a signal.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn stop_probe(&mut self, region: &str) -> Result<Option<i32>> {
        let mut process = self.probes.remove(region).context("it does not run")?;
        process.terminate()?;
        let status = wait_until(SOON, "the end of a probe", || {
            let ended = process.ended();
            async move { Ok(Look::some(ended?, "it goes on")) }
        });
        Ok(status.await?.code())
    }

    /// Runs the command line as anna, the admin.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn px(&self, args: &[&str]) -> Result<Output> {
        self.px_as("anna", args).await
    }

    /// Runs the command line with the certificate that was issued under `name`.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn px_as(&self, name: &str, args: &[&str]) -> Result<Output> {
        let (ports, tls) = (self.ports()?, self.tls(name).display().to_string());
        let mut all = vec!["--endpoint", &ports.api, "--tls-dir", &tls];
        all.extend(args);
        self.run(&all).await
    }

    /// Runs the command line as anna; it must succeed.
    ///
    /// # Errors
    /// When it does not; the message holds what it said.
    pub async fn px_ok(&self, args: &[&str]) -> Result<String> {
        let output = self.px(args).await?;
        text_of(args, output)
    }

    /// Runs the command line with `--output json`.
    ///
    /// # Errors
    /// When it fails, or says something else than JSON.
    pub async fn px_json(&self, args: &[&str]) -> Result<serde_json::Value> {
        let mut all = args.to_vec();
        all.extend(["--output", "json"]);
        Ok(serde_json::from_str(&self.px_ok(&all).await?)?)
    }

    /// Applies a file.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        let path = self.path("apply.yaml");
        std::fs::write(&path, yaml)?;
        self.px_ok(&["apply", "-f", &path]).await.map(drop)
    }

    /// The gRPC API as anna, on a new connection.
    ///
    /// # Errors
    /// When the coordinator cannot be reached.
    pub async fn api(&self) -> Result<Api> {
        Api::connect(&self.ports()?.api, &self.tls("anna")).await
    }
}

impl Mesh {
    /// To be called when a test's story has been told: without it the end prints every log.
    pub fn told(mut self) {
        self.site.told();
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.site.tell_failure(self.coordinator.iter().chain(self.probes.values()));
    }
}

/// The ports file, when it is there. It is written atomically, so a file that cannot be read is an
/// error.
fn read_ports(path: &Path) -> Result<Option<Ports>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes)?;
    let port = |name: &str| {
        let text = value[name].as_str().with_context(|| format!("no {name:?} in {value}"))?;
        Ok::<_, anyhow::Error>(text.to_owned())
    };
    let (peers, public) = (port("peers")?, port("public")?);
    Ok(Some(Ports { api: port("api")?, probes: port("probes")?, peers, public }))
}
