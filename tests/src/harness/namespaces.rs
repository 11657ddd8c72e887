//! Machines of a test: network namespaces on a bridge, and the ways between them cut and healed.
//!
//! Needs root, Debian's iproute2 and util-linux. The process is on a machine of its own as well
//! ([`on_a_machine_of_its_own`]), so that neither a rule of this machine's network nor what an earlier
//! run left behind meets a test. A cut is a blackhole route, so packets vanish as on a broken line:
//! nobody is told, and what was under way is lost.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, ensure};

/// Tells the networks of one process apart.
static NEXT: AtomicU8 = AtomicU8::new(0);

/// Set once this process is on a machine of its own.
const ALONE: &str = "PX_ON_A_MACHINE_OF_ITS_OWN";

/// Begins this program again, with the same arguments, in a network namespace that is its own and ends
/// with it. It comes back once it is there. To be called before any thread is started.
///
/// # Errors
/// When this user may not, or `unshare` or `ip` is not installed.
pub fn on_a_machine_of_its_own() -> Result<()> {
    if std::env::var_os(ALONE).is_some() {
        return ip(&["link", "set", "lo", "up"]);
    }
    let program = std::env::current_exe().context("the path of this program")?;
    let mut again = Command::new("unshare");
    again.args(["--net", "--"]).arg(program).args(std::env::args_os().skip(1)).env(ALONE, "1");
    // It returns only when it fails.
    Err(again.exec()).context("network namespaces need root and util-linux")
}

/// Machines numbered from 1, on a bridge on which this process is reached as well.
#[derive(Debug)]
pub struct Network {
    /// What names begin with; an interface's name has at most 15 bytes.
    prefix: String,
    /// The second last byte of every address.
    subnet: u8,
    machines: u8,
}

impl Network {
    /// A network of so many machines. It ends with its owner.
    ///
    /// # Errors
    /// When this user may not make one, or `ip` is not installed.
    pub fn start(machines: u8) -> Result<Self> {
        let pid = std::process::id();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("px{:x}{number}", pid & 0xf_ffff);
        ensure!(
            std::env::var_os(ALONE).is_some(),
            "a network of machines is for a process that is on a machine of its own"
        );
        let network = Self { prefix, subnet: number, machines };
        // A process with this number that was killed has left its machines behind.
        network.remove();
        let (bridge, here) = (network.bridge(), network.here());
        ip(&["link", "add", &bridge, "type", "bridge"])
            .context("network namespaces need root and iproute2")?;
        ip(&["addr", "add", &format!("{here}/24"), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for machine in 1..=machines {
            let (name, end) = (network.name(machine), network.end(machine));
            ip(&["netns", "add", &name])?;
            ip(&["link", "add", &end, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["link", "set", &end, "master", &bridge, "up"])?;
            let address = format!("{}/24", network.address(machine));
            ip(&["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    /// The address of this process.
    pub fn here(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.subnet, 254)
    }

    /// The address of a machine.
    pub fn address(&self, machine: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.subnet, machine)
    }

    /// What a command on a machine begins with.
    pub fn command(&self, machine: u8) -> [String; 4] {
        ["ip".into(), "netns".into(), "exec".into(), self.name(machine)]
    }

    /// Nothing that `from` sends reaches `to` any more. The other direction is as it was.
    ///
    /// # Errors
    /// When it is cut already.
    pub fn cut(&self, from: u8, to: u8) -> Result<()> {
        let route = format!("{}/32", self.address(to));
        ip(&["-n", &self.name(from), "route", "add", "blackhole", &route])
    }

    /// Every way between machines is open again.
    ///
    /// # Errors
    /// When a machine is gone.
    pub fn heal(&self) -> Result<()> {
        for machine in 1..=self.machines {
            ip(&["-n", &self.name(machine), "route", "flush", "type", "blackhole"])?;
        }
        Ok(())
    }

    /// What is gone already needs no removal.
    fn remove(&self) {
        for machine in 1..=self.machines {
            drop(ip(&["netns", "del", &self.name(machine)]));
            drop(ip(&["link", "del", &self.end(machine)]));
        }
        drop(ip(&["link", "del", &self.bridge()]));
    }

    fn bridge(&self) -> String {
        format!("{}b", self.prefix)
    }

    fn name(&self, machine: u8) -> String {
        format!("{}m{machine}", self.prefix)
    }

    /// This side's end of a machine's line.
    fn end(&self, machine: u8) -> String {
        format!("{}v{machine}", self.prefix)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    let output = command.args(args).stdin(Stdio::null()).output().context("cannot run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", args.join(" "));
    Ok(())
}
