//! A mesh whose coordinators are a group: several of them, and one probe a region.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use parallax_proto::v1;

use super::Binaries;
use super::client::Api;
use super::namespaces::Network;
use super::process::Process;
use super::site::{MESH, Site, text_of};
use super::wait::{Look, SOON, wait_until};

/// Where one coordinator listens, from before its first start until its end.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// For other coordinators.
    pub peers: SocketAddr,
    /// For people and tools.
    pub api: SocketAddr,
    /// For probes.
    pub probes: SocketAddr,
    /// Status, health and metrics.
    pub public: SocketAddr,
}

#[derive(Debug)]
struct Member {
    addresses: Addresses,
    /// The machine it runs on, in a network of machines.
    machine: Option<u8>,
    /// How it came into the group: `--initial-members ...` or `--join ...`.
    entry: [String; 2],
    process: Option<Process>,
}

/// A group of coordinators and its probes. Everything in it ends with it.
#[derive(Debug)]
pub struct Group {
    site: Site,
    regions: Vec<String>,
    members: BTreeMap<String, Member>,
    probes: BTreeMap<String, Process>,
    /// More arguments for every coordinator.
    extra: Vec<String>,
    /// Where each coordinator has a machine of its own.
    network: Option<Network>,
}

impl Deref for Group {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for Group {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let members = self.members.values().filter_map(|member| member.process.as_ref());
        self.site.tell_failure(members.chain(self.probes.values()));
        // Before their network goes.
        self.members.clear();
    }
}

impl Group {
    /// `coordinators` of them, called c1, c2 and so on, with a leader; and a probe in each region.
    ///
    /// # Errors
    /// When a process does not come up; the message holds its log.
    pub async fn start(binaries: Binaries, coordinators: u8, regions: &[&str]) -> Result<Self> {
        Self::start_with(binaries, coordinators, regions, &[]).await
    }

    /// The same, with more arguments for every coordinator.
    ///
    /// # Errors
    /// When a process does not come up; the message holds its log.
    pub async fn start_with(
        binaries: Binaries,
        coordinators: u8,
        regions: &[&str],
        extra: &[&str],
    ) -> Result<Self> {
        Self::start_in(binaries, coordinators, regions, extra, None).await
    }

    /// The same, each coordinator on a machine of its own when there is a network. Probes and the
    /// command line are here, and so are target and sink.
    ///
    /// # Errors
    /// When a process does not come up; the message holds its log.
    pub async fn start_in(
        binaries: Binaries,
        coordinators: u8,
        regions: &[&str],
        extra: &[&str],
        network: Option<Network>,
    ) -> Result<Self> {
        let here = network.as_ref().map_or(Ipv4Addr::LOCALHOST, Network::here);
        let mut group = Self {
            site: Site::prepare_at(binaries, here).await?,
            regions: regions.iter().map(|&region| region.to_owned()).collect(),
            members: BTreeMap::new(),
            probes: BTreeMap::new(),
            extra: extra.iter().map(|&argument| argument.to_owned()).collect(),
            network,
        };
        let names: Vec<String> = (1..=coordinators).map(|number| format!("c{number}")).collect();
        let mut listed = Vec::new();
        for (name, number) in names.iter().zip(1..) {
            let (addresses, machine) = match &group.network {
                Some(network) => (fixed_addresses(network.address(number)), Some(number)),
                None => (free_addresses()?, None),
            };
            listed.push(format!("{name}={}", addresses.peers));
            let entry = ["--initial-members".to_owned(), String::new()];
            let member = Member { addresses, machine, entry, process: None };
            group.members.insert(name.clone(), member);
        }
        for member in group.members.values_mut() {
            member.entry[1] = listed.join(",");
        }
        for name in &names {
            group.issue(&["coordinator", name], name).await?;
            group.spawn_member(name)?;
        }
        group.leader().await?;
        for region in regions {
            group.issue_probe(region, region).await?;
            group.start_probe(region)?;
        }
        Ok(group)
    }

    /// Names of all coordinators, running or not.
    pub fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Names of the coordinators that run.
    pub fn running(&self) -> Vec<String> {
        let running = self.members.iter().filter(|(_, member)| member.process.is_some());
        running.map(|(name, _)| name.clone()).collect()
    }

    /// Where a coordinator listens.
    ///
    /// # Errors
    /// When there is no such coordinator.
    pub fn addresses(&self, name: &str) -> Result<&Addresses> {
        Ok(&self.member(name)?.addresses)
    }

    /// Starts a coordinator, on the addresses it always has, and does not wait.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn_member(&mut self, name: &str) -> Result<()> {
        let ports_file = self.path(&format!("ports-{name}.json"));
        // The old file would say that the new process listens already.
        match std::fs::remove_file(&ports_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let member = self.member(name)?;
        let tls = self.tls(name).display().to_string();
        let addresses = &member.addresses;
        let mut args: Vec<String> = [
            ["--mesh", MESH],
            ["--name", name],
            ["--data-dir", &self.path(&format!("data-{name}"))],
            ["--tls-dir", &tls],
            ["--listen-peers", &addresses.peers.to_string()],
            ["--listen-api", &addresses.api.to_string()],
            ["--listen-probes", &addresses.probes.to_string()],
            ["--listen-public", &addresses.public.to_string()],
            ["--allow-env", "PX_HOOK"],
            ["--ports-file", &ports_file],
        ]
        .as_flattened()
        .iter()
        .map(|argument| (*argument).to_owned())
        .collect();
        args.extend(member.entry.iter().cloned());
        args.extend(self.extra.iter().cloned());
        let log = self.dir().join(format!("{name}.log"));
        let mut line = Vec::new();
        if let (Some(network), Some(machine)) = (&self.network, member.machine) {
            line.extend(network.command(machine));
        }
        line.push(self.binaries.coordinator.to_owned());
        line.append(&mut args);
        // `ip netns exec` becomes the program: its pid is the coordinator's.
        let process = Process::start(name, &line[0], &line[1..], &self.env, &log)?;
        self.member_mut(name)?.process = Some(process);
        Ok(())
    }

    /// Waits until a coordinator that was started listens.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub async fn member_up(&mut self, name: &str) -> Result<()> {
        let path = self.path(&format!("ports-{name}.json"));
        let process = self.member_mut(name)?.process.as_mut().context("it was not started")?;
        wait_until(SOON, &format!("the ports file of {name}"), || {
            let running = process.check_running();
            let there = std::path::Path::new(&path).exists();
            async move { running.map(|()| Look::when(there, "no file")) }
        })
        .await
    }

    /// Kill -9.
    ///
    /// # Errors
    /// When there is no such coordinator.
    pub fn kill_member(&mut self, name: &str) -> Result<()> {
        self.member_mut(name)?.process = None;
        Ok(())
    }

    /// SIGSTOP: the machine stands still, and its connections stay open.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause_member(&self, name: &str) -> Result<()> {
        self.signal(name, "STOP")
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume_member(&self, name: &str) -> Result<()> {
        self.signal(name, "CONT")
    }

    fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let pid = self.process(name)?.id().to_string();
        let mut kill = Command::new("kill");
        let status = kill.args(["-s", signal, &pid]).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "kill -s {signal} {pid}: {status}");
        Ok(())
    }

    /// The network of machines, and the machine of a coordinator.
    ///
    /// # Errors
    /// When the group runs on this machine.
    pub fn machine(&self, name: &str) -> Result<(&Network, u8)> {
        let network = self.network.as_ref().context("the group has no network")?;
        Ok((network, self.member(name)?.machine.context("it has no machine of its own")?))
    }

    /// The process of a coordinator.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self, name: &str) -> Result<&Process> {
        let process = self.member(name)?.process.as_ref();
        process.with_context(|| format!("{name} does not run"))
    }

    /// Fails when a coordinator that should run has ended.
    ///
    /// # Errors
    /// When it does not run; the message holds its log.
    pub fn check_running(&mut self, name: &str) -> Result<()> {
        let process = self.member_mut(name)?.process.as_mut();
        process.with_context(|| format!("{name} does not run"))?.check_running()
    }

    /// Waits until a coordinator answers that it leads.
    ///
    /// # Errors
    /// When none does in time, or none runs any more.
    pub async fn leader(&mut self) -> Result<String> {
        let names = self.running();
        for name in &names {
            self.check_running(name)?;
        }
        let group = &*self;
        wait_until(SOON, "a leader", || async {
            let mut seen = Vec::new();
            for name in &names {
                match group.mesh_status(name).await {
                    Ok(mesh) if mesh.leader_id == mesh.node_id && mesh.applied > 0 => {
                        return Ok(Look::Holds(name.clone()));
                    }
                    Ok(mesh) => seen.push(format!("{name}: leader is {}", mesh.leader_id)),
                    Err(error) => seen.push(format!("{name}: {error:#}")),
                }
            }
            Ok(Look::NotYet(seen.join("; ")))
        })
        .await
    }

    /// What one coordinator says of the mesh, from its own state.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn mesh_status(&self, name: &str) -> Result<v1::MeshStatus> {
        let patience = std::time::Duration::from_secs(2);
        tokio::time::timeout(patience, async { self.api(name).await?.mesh(true).await }).await?
    }

    /// The gRPC API of one coordinator as anna, on a new connection.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn api(&self, name: &str) -> Result<Api> {
        Api::connect(&self.addresses(name)?.api.to_string(), &self.tls("anna")).await
    }

    /// The address that the probe of a region looks from: 127.0.10.1, 127.0.11.1, ...
    ///
    /// # Panics
    /// When the region is not of this mesh.
    pub fn source(&self, region: &str) -> IpAddr {
        let rank = self.regions.iter().position(|known| known == region);
        let rank = u8::try_from(rank.expect("a region of this mesh")).expect("few regions");
        IpAddr::V4(Ipv4Addr::new(127, 0, 10 + rank, 1))
    }

    /// Starts the probe of a region, which is told of every coordinator.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_probe(&mut self, region: &str) -> Result<()> {
        let names = self.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.start_probe_at(region, &names)
    }

    /// Starts the probe of a region, which is told of these coordinators only.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_probe_at(&mut self, region: &str, coordinators: &[&str]) -> Result<()> {
        let tls = self.tls(region).display().to_string();
        let (data, source) =
            (self.path(&format!("data-{region}")), self.source(region).to_string());
        let mut args = vec!["--tls-dir", &tls, "--data-dir", &data];
        // An address of the loopback leads to no other machine.
        if self.network.is_none() {
            args.extend(["--source-address", &source]);
        }
        let addresses: Vec<String> = coordinators
            .iter()
            .map(|name| Ok(self.addresses(name)?.probes.to_string()))
            .collect::<Result<_>>()?;
        for address in &addresses {
            args.extend(["--coordinator", address]);
        }
        let log = self.dir().join(format!("probe-{region}.log"));
        let name = format!("probe {region}");
        let process = Process::start(&name, self.binaries.probe, args, &self.env, &log)?;
        self.probes.insert(region.to_owned(), process);
        Ok(())
    }

    /// Runs the command line as anna, who knows every coordinator.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn px(&self, args: &[&str]) -> Result<Output> {
        let names = self.names();
        self.px_at(&names.iter().map(String::as_str).collect::<Vec<_>>(), args).await
    }

    /// Runs the command line as anna, who knows these coordinators.
    ///
    /// # Errors
    /// When it cannot be run or does not end.
    pub async fn px_at(&self, coordinators: &[&str], args: &[&str]) -> Result<Output> {
        let tls = self.tls("anna").display().to_string();
        let endpoints: Vec<String> = coordinators
            .iter()
            .map(|name| Ok(self.addresses(name)?.api.to_string()))
            .collect::<Result<_>>()?;
        let endpoints = endpoints.join(",");
        let mut all = vec!["--endpoint", &endpoints, "--tls-dir", &tls];
        all.extend(args);
        self.run(&all).await
    }

    /// Runs the command line as anna; it must succeed.
    ///
    /// # Errors
    /// When it does not; the message holds what it said.
    pub async fn px_ok(&self, args: &[&str]) -> Result<String> {
        text_of(args, self.px(args).await?)
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

    /// To be called when a test's story has been told: without it the end prints every log.
    pub fn told(mut self) {
        self.site.told();
    }

    fn member(&self, name: &str) -> Result<&Member> {
        self.members.get(name).with_context(|| format!("no coordinator {name}"))
    }

    fn member_mut(&mut self, name: &str) -> Result<&mut Member> {
        self.members.get_mut(name).with_context(|| format!("no coordinator {name}"))
    }
}

/// Addresses that are free now. They are known before the processes are, since every member is told
/// of all; nobody else takes ports of the system's choice in between, but for a very busy machine.
fn free_addresses() -> Result<Addresses> {
    let held: Vec<TcpListener> = (0..4)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()?;
    let at = |index: usize| held[index].local_addr();
    Ok(Addresses { peers: at(0)?, api: at(1)?, probes: at(2)?, public: at(3)? })
}

/// On a machine of its own every port is free.
fn fixed_addresses(ip: Ipv4Addr) -> Addresses {
    let at = |port| SocketAddr::from((ip, port));
    Addresses { peers: at(7102), api: at(7100), probes: at(7101), public: at(7103) }
}
