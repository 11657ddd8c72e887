//! Targets with names at addresses of their own, and the checks and exporter modules that probe them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;

use super::nameserver::NameServer;
use super::nginx::{Nginx, free_port};
use super::place::Place;
use super::prober::REGION;
use super::silent::Silent;

/// Where a probe's system resolver asks, when names are asked for.
const SYSTEM_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 53);
/// The file with the target's authority, as checks name it.
pub const AUTHORITY: &str = "authority.pem";
/// Longest that one run may take, here and with the exporter.
const TIMEOUT: &str = "1s";

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A new connection, a request, 1 KiB of body read, status and latency judged.
    Http,
    /// The same over TLS, with the chain verified.
    Https,
    /// A connection.
    Tcp,
    /// A question over UDP.
    Dns,
}

impl Kind {
    /// As it stands in a report, and the exporter's module.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Dns => "dns",
        }
    }
}

/// How the targets' names are resolved, by the probe and by the exporter alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Names {
    /// They stand in `/etc/hosts`.
    Hosts,
    /// A name server is asked in each run.
    Server,
}

/// Targets that answer well.
#[derive(Debug)]
pub struct Targets {
    nginx: Nginx,
    addresses: Vec<Ipv4Addr>,
    dns_port: u16,
    names: Vec<String>,
    hosts: String,
    _name_server: NameServer,
}

impl Targets {
    /// Starts so many, at 127.0.1.1, 127.0.1.2 and so on.
    ///
    /// # Errors
    /// When nginx does not start, or an address cannot be bound.
    pub async fn start(dir: &Path, count: u8) -> Result<Self> {
        let addresses: Vec<Ipv4Addr> = (1..=count).map(|n| Ipv4Addr::new(127, 0, 1, n)).collect();
        let names: Vec<String> = (1..=count).map(|n| format!("t{n}.bench.test")).collect();
        let nginx = Nginx::start(dir, &addresses, &names).await?;
        let dns_port = free_port(Ipv4Addr::LOCALHOST)?;
        let mut listens = vec![SocketAddr::from((SYSTEM_SERVER, 53))];
        listens.extend(addresses.iter().map(|address| SocketAddr::from((*address, dns_port))));
        let known: BTreeMap<String, Ipv4Addr> =
            names.iter().cloned().zip(addresses.iter().copied()).collect();
        let mut hosts = String::new();
        for (name, address) in &known {
            let _ = writeln!(hosts, "{address} {name}");
        }
        let name_server = NameServer::start(&listens, known).await?;
        Ok(Self { nginx, addresses, dns_port, names, hosts, _name_server: name_server })
    }

    /// A place on `core` where the names are known in this way.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn place(&self, dir: &Path, core: usize, names: Names) -> Result<Place> {
        let hosts = match names {
            Names::Hosts => &*self.hosts,
            Names::Server => "",
        };
        Place::make(dir, core, hosts, &format!("nameserver {SYSTEM_SERVER}\n"))
    }

    /// From now on they take connections and whatever is sent to them, and say nothing at all.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn hang(&mut self) -> Result<Silent> {
        self.nginx.end();
        let ports = [self.nginx.port, self.nginx.tls_port];
        let at =
            self.addresses.iter().flat_map(|ip| ports.map(|port| SocketAddr::from((*ip, port))));
        Silent::start(at)
    }

    /// Where they answer in plain HTTP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let at = |ip: &Ipv4Addr| SocketAddr::from((*ip, self.nginx.port));
        self.addresses.iter().map(at).collect()
    }

    /// Where a target with this number answers over TLS, and where in plain text.
    pub fn urls(&self, number: usize) -> (String, String) {
        let name = &self.names[number % self.names.len()];
        let (tls_port, port) = (self.nginx.tls_port, self.nginx.port);
        (format!("https://{name}:{tls_port}/"), format!("http://{name}:{port}/"))
    }

    /// The authority that signed the targets' certificate.
    pub fn authority_pem(&self) -> &str {
        &self.nginx.authority_pem
    }

    /// A configuration with so many checks of a kind, spread over the targets.
    pub fn checks(&self, kind: Kind, count: usize, interval: &str) -> String {
        let mut yaml = format!(
            "regions: [{{name: {REGION}}}]\ndefaults: {{interval: {interval}, timeout: {TIMEOUT}, \
             regions: [{REGION}]}}\nchecks:\n"
        );
        for (number, name) in self.names.iter().cycle().take(count).enumerate() {
            let step = match kind {
                Kind::Http => format!("http: {{url: \"http://{name}:{}/\"}}", self.nginx.port),
                Kind::Https => format!(
                    "http: {{url: \"https://{name}:{}/\", ca_file: {AUTHORITY}}}",
                    self.nginx.tls_port
                ),
                Kind::Tcp => format!("tcp: {{address: \"{name}:{}\"}}", self.nginx.port),
                Kind::Dns => format!("dns: {{name: {name}, server: \"{name}:{}\"}}", self.dns_port),
            };
            let _ = writeln!(yaml, "  - name: c{number}\n    ip: 4\n    {step}");
            if matches!(kind, Kind::Http | Kind::Https) {
                yaml.push_str("    expect: ['status == 200 && latency < duration(\"1s\")']\n");
            }
        }
        yaml
    }

    /// The exporter's equivalent of the checks: its modules, one for each kind.
    pub fn modules(&self, authority: &str) -> String {
        let ip = "preferred_ip_protocol: ip4, ip_protocol_fallback: false";
        let http = format!("valid_status_codes: [200], {ip}");
        let tls = format!("tls_config: {{ca_file: \"{authority}\"}}");
        let name = &self.names[0];
        format!(
            "modules:\n  \
             http: {{prober: http, timeout: {TIMEOUT}, http: {{{http}}}}}\n  \
             https: {{prober: http, timeout: {TIMEOUT}, http: {{{http}, fail_if_not_ssl: true, {tls}}}}}\n  \
             tcp: {{prober: tcp, timeout: {TIMEOUT}, tcp: {{{ip}}}}}\n  \
             dns: {{prober: dns, timeout: {TIMEOUT}, dns: {{query_name: {name}, query_type: A, \
             valid_rcodes: [NOERROR], {ip}}}}}\n"
        )
    }

    /// What the exporter is to be asked for.
    pub fn exporter_targets(&self, kind: Kind) -> Vec<String> {
        let each = |name: &String| match kind {
            Kind::Http => format!("http://{name}:{}/", self.nginx.port),
            Kind::Https => format!("https://{name}:{}/", self.nginx.tls_port),
            Kind::Tcp => format!("{name}:{}", self.nginx.port),
            Kind::Dns => format!("{name}:{}", self.dns_port),
        };
        self.names.iter().map(each).collect()
    }
}
