//! A mesh whose coordinators are a group: several of them, and one probe a region.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, ensure};
use parallax_proto::v1;

use super::Binaries;
use super::client::Api;
use super::namespaces::Network;
use super::process::Process;
use super::site::{MESH, Site, text_of};
use super::wait::{Look, SOON, STALE, wait_until};

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
    /// Variables of its own, over those of all.
    env: Vec<(String, String)>,
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
    /// Which group of this process it is.
    which: u8,
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
        let mut group = Self::prepare_in(binaries, coordinators, regions, extra, network).await?;
        for name in group.names() {
            group.spawn_member(&name)?;
        }
        group.leader().await?;
        for region in regions {
            group.issue_probe(region, region).await?;
            group.start_probe(region)?;
        }
        Ok(group)
    }

    /// `coordinators` of them, none of which was ever started, and no probes.
    ///
    /// # Errors
    /// When a certificate cannot be issued.
    pub async fn prepare(binaries: Binaries, coordinators: u8) -> Result<Self> {
        Self::prepare_in(binaries, coordinators, &[], &[], None).await
    }

    async fn prepare_in(
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
            which: GROUPS.fetch_add(1, Ordering::Relaxed),
        };
        let names: Vec<String> = (1..=coordinators).map(|number| format!("c{number}")).collect();
        let mut listed = Vec::new();
        for (name, number) in names.iter().zip(1..) {
            let (addresses, machine) = match &group.network {
                Some(network) => (fixed_addresses(network.address(number)), Some(number)),
                None => (fixed_addresses(own_ip(group.which, number)), None),
            };
            listed.push(format!("{name}={}", addresses.peers));
            let entry = ["--initial-members".to_owned(), String::new()];
            let member = Member { addresses, machine, entry, env: Vec::new(), process: None };
            group.members.insert(name.clone(), member);
        }
        for member in group.members.values_mut() {
            member.entry[1] = listed.join(",");
        }
        for name in &names {
            group.issue(&["coordinator", name], name).await?;
        }
        Ok(group)
    }

    /// Has one more coordinator let in, and starts it: it joins through `through`, and does not vote
    /// before it has caught up.
    ///
    /// # Errors
    /// When the group does not take it, or it does not come up.
    pub async fn add_member(&mut self, name: &str, through: &str) -> Result<()> {
        ensure!(self.network.is_none(), "every machine of the network has its coordinator");
        self.issue(&["coordinator", name], name).await?;
        let number = u8::try_from(self.members.len() + 1).context("few coordinators")?;
        let addresses = fixed_addresses(own_ip(self.which, number));
        let entry = ["--join".to_owned(), self.addresses(through)?.peers.to_string()];
        self.px_ok(&["cluster", "add", name, &addresses.peers.to_string()]).await?;
        let member = Member { addresses, machine: None, entry, env: Vec::new(), process: None };
        self.members.insert(name.to_owned(), member);
        self.spawn_member(name)?;
        self.member_up(name).await
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
        let env: Vec<_> = self.env.iter().chain(&member.env).cloned().collect();
        let process = Process::start(name, &line[0], &line[1..], &env, &log)?;
        self.member_mut(name)?.process = Some(process);
        Ok(())
    }

    /// A variable of one coordinator's environment, from its next start on.
    ///
    /// # Errors
    /// When there is no such coordinator.
    pub fn set_env(&mut self, name: &str, key: &str, value: &str) -> Result<()> {
        self.member_mut(name)?.env.push((key.to_owned(), value.to_owned()));
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

    /// SIGTERM, and nothing is waited for.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate_member(&self, name: &str) -> Result<()> {
        self.signal(name, "TERM")
    }

    /// Waits until a coordinator has ended on its own: its exit code, none after a signal.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn member_ended(&mut self, name: &str) -> Result<Option<i32>> {
        let process = self.member_mut(name)?.process.as_mut();
        let process = process.with_context(|| format!("{name} does not run"))?;
        let status = wait_until(3 * STALE, &format!("the end of {name}"), || {
            let ended = process.ended();
            let said = process.log_tail();
            async move { Ok(Look::some(ended?, said)) }
        })
        .await?;
        self.member_mut(name)?.process = None;
        Ok(status.code())
    }

    /// Makes the next starts of a coordinator those of a build of this level.
    ///
    /// # Errors
    /// When there is no such coordinator.
    pub fn set_level(&mut self, name: &str, level: u32) -> Result<()> {
        self.set_env(name, "PX_LEVEL", &level.to_string())
    }

    /// Makes the next starts of a coordinator join through another one.
    ///
    /// # Errors
    /// When there is no such coordinator.
    pub fn set_join(&mut self, name: &str, through: &str) -> Result<()> {
        let address = self.addresses(through)?.peers.to_string();
        self.member_mut(name)?.entry = ["--join".to_owned(), address];
        Ok(())
    }

    /// Everything a coordinator has said, in all its lives.
    ///
    /// # Errors
    /// When it never ran.
    pub fn said(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir().join(format!("{name}.log")))?)
    }

    /// Where a coordinator keeps its data.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.dir().join(format!("data-{name}"))
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
        self.process(name)?.signal(signal)
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
        let found = wait_until(SOON, "a leader", || async {
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
        .await;
        if found.is_err() {
            // One that has ended says more of the reason than that it could not be reached.
            for name in &names {
                self.check_running(name)?;
            }
        }
        found
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

    /// Kill -9 of the probe of a region.
    pub fn kill_probe(&mut self, region: &str) {
        self.probes.remove(region);
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
        let all = self.px_line(coordinators, args)?;
        self.run(&all.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Starts a command line that does not end by itself. What it prints is in its log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_px(&self, name: &str, coordinators: &[&str], args: &[&str]) -> Result<Process> {
        let log = self.dir().join(format!("{name}.log"));
        Process::start(name, self.binaries.px, self.px_line(coordinators, args)?, &[], &log)
    }

    /// The arguments of a command line as anna, who knows these coordinators.
    fn px_line(&self, coordinators: &[&str], args: &[&str]) -> Result<Vec<String>> {
        let tls = self.tls("anna").display().to_string();
        let endpoints: Vec<String> = coordinators
            .iter()
            .map(|name| Ok(self.addresses(name)?.api.to_string()))
            .collect::<Result<_>>()?;
        let before = ["--endpoint".to_owned(), endpoints.join(","), "--tls-dir".to_owned(), tls];
        Ok(before.into_iter().chain(args.iter().map(|&argument| argument.to_owned())).collect())
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

/// Where the coordinators of one group of this process are: two groups may be there at once.
static GROUPS: AtomicU8 = AtomicU8::new(0);

/// An address of this machine that is a coordinator's own, made of the process that runs the story and
/// of which of its groups it is.
///
/// Members are told of all addresses before any of them listens. A port of the system's choice may be
/// anybody's by then, the near end of a connection among them; those are at 127.0.0.1.
fn own_ip(group: u8, number: u8) -> Ipv4Addr {
    let pid = std::process::id();
    let [_, high, low, last] = (pid << 4).to_be_bytes();
    Ipv4Addr::new(127, 64 | (group & 7) << 3 | (high & 7), low, last | (number & 0x0f))
}

/// On a machine of its own every port is free.
fn fixed_addresses(ip: Ipv4Addr) -> Addresses {
    let at = |port| SocketAddr::from((ip, port));
    Addresses { peers: at(7102), api: at(7100), probes: at(7101), public: at(7103) }
}
