//! Names to addresses: the system's resolver or the one a check names, never a cache.
//!
//! Whom to ask is checked by the guard before anything is sent. What they answer is checked where it
//! is connected to.
//!
//! The system's hosts file counts for the system's resolver only. Changes of `/etc/resolv.conf`
//! and `/etc/hosts` are noticed within some seconds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::Resolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::system_conf::read_system_conf;
use parallax_common::check::IpFamily;
use parallax_common::limits::TIMEOUT_MAX;
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;

use super::connect::wrong_family;
use super::dns::message::rcode;
use super::errno::plain;
use super::socket::NameServers;
use super::{Failure, Trace};
use crate::core::guard::{Allowed, Denied, Guard};

const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// How often those are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Resolvers kept at once; above it they are built anew.
const KEPT_MAX: usize = 256;

type Key = (Option<SocketAddr>, Family);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    Both,
    V4,
    V6,
}

#[derive(Default)]
struct Kept {
    by_key: HashMap<Key, Resolver<NameServers>>,
    /// The system's name servers, those that the guard allows.
    servers: Option<Vec<Allowed>>,
    looked_at: Option<Instant>,
    stamps: Vec<Option<SystemTime>>,
}

impl Kept {
    /// Forgets everything when the system's files have changed.
    fn look(&mut self) {
        let now = clock::instant();
        if self.looked_at.is_some_and(|at| now.saturating_duration_since(at) <= LOOK_EVERY) {
            return;
        }
        self.looked_at = Some(now);
        let modified = |path| std::fs::metadata(Path::new(path)).and_then(|m| m.modified()).ok();
        let stamps: Vec<_> = SYSTEM_FILES.iter().map(modified).collect();
        if self.stamps != stamps {
            self.stamps = stamps;
            self.by_key.clear();
            self.servers = None;
        }
    }
}

/// One resolver for each (server, family).
#[derive(Default)]
pub struct Resolvers {
    guard: Arc<Guard>,
    kept: Mutex<Kept>,
}

impl std::fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolvers")
    }
}

impl Resolvers {
    /// Resolvers that ask only whom the guard allows.
    pub fn new(guard: Arc<Guard>) -> Self {
        Self { guard, kept: Mutex::default() }
    }

    fn get(&self, key: Key) -> Result<Resolver<NameServers>, Failure> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.look();
        if let Some(resolver) = kept.by_key.get(&key) {
            return Ok(resolver.clone());
        }
        if kept.by_key.len() >= KEPT_MAX {
            kept.by_key.clear();
        }
        let resolver = build(&self.guard, key)?;
        kept.by_key.insert(key, resolver.clone());
        Ok(resolver)
    }

    /// The addresses of `host`, in the resolver's order, those that `source` can reach.
    pub(super) async fn resolve(
        &self,
        host: &str,
        family: IpFamily,
        server: Option<SocketAddr>,
        source: Option<IpAddr>,
        trace: &mut Trace,
    ) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let (wanted, other) = match (family, source) {
            (IpFamily::V4, _) => (Family::V4, None),
            (IpFamily::V6, _) => (Family::V6, None),
            (IpFamily::Auto, Some(source @ IpAddr::V4(_))) => {
                (Family::V4, Some((Family::V6, source)))
            }
            (IpFamily::Auto, Some(source @ IpAddr::V6(_))) => {
                (Family::V6, Some((Family::V4, source)))
            }
            (IpFamily::Auto, None) => (Family::Both, None),
        };
        let since = clock::instant();
        let answer = self.ask(host, (server, wanted)).await;
        trace.phase(Phase::Dns, since);
        match (answer, other) {
            // It was this probe's source that asked for one family: when the name has the other
            // one, the target is not to blame.
            (Err(failure), Some((other, source))) if failure.reason == Reason::DnsNoAddress => {
                match self.ask(host, (server, other)).await {
                    Ok(_) => Err(wrong_family(source)),
                    Err(_) => Err(failure),
                }
            }
            (answer, _) => answer,
        }
    }

    /// The system's first name server that a run of this family and source can reach.
    pub(super) fn system_server(
        &self,
        family: IpFamily,
        source: Option<IpAddr>,
    ) -> Result<Allowed, Failure> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.look();
        let servers = match &kept.servers {
            Some(servers) => servers,
            None => {
                let Asked { servers, .. } = of_system(&self.guard).map_err(|failure| {
                    let Failure { reason, evidence } = failure;
                    match reason {
                        Reason::DnsServfail => Failure::new(Reason::ConfigError, evidence),
                        _ => Failure { reason, evidence },
                    }
                })?;
                kept.servers.insert(servers)
            }
        };
        reachable_server(servers, family, source).ok_or_else(|| {
            let evidence = "this machine names no name server that the check can use";
            Failure::new(Reason::ConfigError, evidence)
        })
    }

    async fn ask(&self, host: &str, key: Key) -> Result<Vec<IpAddr>, Failure> {
        let answer = self.get(key)?.lookup_ip(host).await;
        let addresses: Vec<IpAddr> = match answer {
            Ok(answer) => answer.iter().collect(),
            Err(error) => return Err(failure(host, &error)),
        };
        if addresses.is_empty() {
            return Err(Failure::new(Reason::DnsNoAddress, format!("{host} has no address")));
        }
        Ok(addresses)
    }
}

/// The first of them that a run of this family and source can reach.
fn reachable_server(
    servers: &[Allowed],
    family: IpFamily,
    source: Option<IpAddr>,
) -> Option<Allowed> {
    let wanted = |server: &&Allowed| match (family, server.address()) {
        (IpFamily::Auto, server) => source.is_none_or(|s| s.is_ipv4() == server.is_ipv4()),
        (IpFamily::V4, server) => server.is_ipv4(),
        (IpFamily::V6, server) => server.is_ipv6(),
    };
    servers.iter().find(wanted).copied()
}

/// Whom to ask, and how, when the guard has nothing against it.
struct Asked {
    config: ResolverConfig,
    options: ResolverOpts,
    servers: Vec<Allowed>,
}

/// The name server that a check names.
fn of_check(guard: &Guard, server: SocketAddr) -> Result<Asked, Failure> {
    let allowed = guard.admit(server).map_err(|denied| {
        Failure::new(Reason::AddressDenied, format!("the check's resolver: {denied}"))
    })?;
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    let named = NameServerConfig::new(server.ip(), true, connections);
    let mut options = ResolverOpts::default();
    // The run's own timeout decides.
    options.timeout = TIMEOUT_MAX;
    options.attempts = 1;
    let config = ResolverConfig::from_parts(None, vec![], vec![named]);
    Ok(Asked { config, options, servers: vec![allowed] })
}

/// The system's name servers, those of them that the probe's own configuration does not deny.
fn of_system(guard: &Guard) -> Result<Asked, Failure> {
    let (config, options) = read_system_conf()
        .map_err(|error| Failure::new(Reason::DnsServfail, format!("no resolver: {error}")))?;
    let (domain, search, named) = config.into_parts();
    let (named, servers) = admitted(guard, named).map_err(|denied| {
        Failure::new(Reason::AddressDenied, format!("this machine's name server: {denied}"))
    })?;
    Ok(Asked { config: ResolverConfig::from_parts(domain, search, named), options, servers })
}

/// Name servers whose every address is allowed; the first denial when there are none.
fn admitted(
    guard: &Guard,
    named: Vec<NameServerConfig>,
) -> Result<(Vec<NameServerConfig>, Vec<Allowed>), Denied> {
    let (mut kept, mut servers, mut denied) = (Vec::new(), Vec::new(), None);
    for server in named {
        let address = |connection: &ConnectionConfig| SocketAddr::new(server.ip, connection.port);
        let allowed: Result<Vec<Allowed>, Denied> = server
            .connections
            .iter()
            .map(|connection| guard.admit_name_server(address(connection)))
            .collect();
        match allowed {
            Ok(allowed) => {
                servers.extend(allowed);
                kept.push(server);
            }
            Err(why) => denied = denied.or(Some(why)),
        }
    }
    match denied {
        Some(denied) if kept.is_empty() => Err(denied),
        _ => Ok((kept, servers)),
    }
}

fn build(guard: &Guard, (server, family): Key) -> Result<Resolver<NameServers>, Failure> {
    let Asked { config, options, servers } = match server {
        None => of_system(guard)?,
        Some(server) => of_check(guard, server)?,
    };
    let mut builder = Resolver::builder_with_config(config, NameServers::new(servers));
    *builder.options_mut() = options;
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file =
        if server.is_some() { ResolveHosts::Never } else { ResolveHosts::Always };
    options.ip_strategy = match family {
        Family::Both => LookupIpStrategy::Ipv6AndIpv4,
        Family::V4 => LookupIpStrategy::Ipv4Only,
        Family::V6 => LookupIpStrategy::Ipv6Only,
    };
    builder
        .build()
        .map_err(|error| Failure::new(Reason::DnsServfail, format!("no resolver: {error}")))
}

fn failure(host: &str, error: &NetError) -> Failure {
    let (reason, what) = match error {
        NetError::Timeout => (Reason::DnsTimeout, "no answer from the resolver".to_owned()),
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => (Reason::DnsNxdomain, "no such name (NXDOMAIN)".to_owned()),
            ResponseCode::Refused => {
                (Reason::DnsRefused, "the resolver refused (REFUSED)".to_owned())
            }
            ResponseCode::NoError => (Reason::DnsNoAddress, "no address".to_owned()),
            code => (Reason::DnsServfail, format!("the resolver answered {}", rcode(code))),
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => {
            (Reason::DnsRefused, "the resolver refused (REFUSED)".to_owned())
        }
        NetError::Dns(DnsError::ResponseCode(code)) => {
            (Reason::DnsServfail, format!("the resolver answered {}", rcode(*code)))
        }
        NetError::Dns(error) => (Reason::DnsServfail, error.to_string()),
        NetError::Io(error) => (Reason::DnsServfail, plain(error)),
        NetError::Proto(error) => (Reason::DnsMalformed, error.to_string()),
        error => (Reason::DnsServfail, error.to_string()),
    };
    Failure::new(reason, format!("{host}: {what}"))
}

#[cfg(test)]
mod tests {
    use hickory_resolver::system_conf::parse_resolv_conf;

    use super::*;

    #[test]
    fn of_the_machines_name_servers_only_those_are_asked_that_no_flag_denies() {
        let named = |text: &str| -> Vec<NameServerConfig> {
            let one = |ip: &str| NameServerConfig::udp_and_tcp(ip.parse().unwrap());
            text.split_whitespace().map(one).collect()
        };
        let deny = |network: &str| Guard::new(&[], &[network.parse().unwrap()]).unwrap();
        let shared = "169.254.169.254 127.0.0.53 fd00:ec2::253";
        for (guard, servers, wanted) in [
            (Guard::default(), shared, shared),
            (deny("127.0.0.0/8"), shared, "169.254.169.254 fd00:ec2::253"),
            (deny("169.254.169.254"), "169.254.169.254 127.0.0.53", "127.0.0.53"),
        ] {
            let (kept, allowed) = admitted(&guard, named(servers)).unwrap();
            let kept: Vec<String> = kept.iter().map(|server| server.ip.to_string()).collect();
            assert_eq!(kept.join(" "), wanted);
            // Over udp and over tcp.
            assert_eq!(allowed.len(), 2 * kept.len());
            assert!(allowed.iter().all(|server| server.address().port() == 53));
        }
        let denied = admitted(&deny("127.0.0.0/8"), named("127.0.0.53 127.0.0.54")).unwrap_err();
        assert_eq!(denied.address.to_string(), "127.0.0.53");
    }

    #[test]
    fn the_first_server_that_fits_is_asked() {
        let file = "# ours\nnameserver ::1\nnameserver 127.0.0.53\nnameserver 127.0.0.54\n";
        let (config, _) = parse_resolv_conf(file).unwrap();
        let (_, servers) = admitted(&Guard::default(), config.name_servers().to_vec()).unwrap();
        let (four, six) = (Some([127, 0, 0, 9].into()), Some([0, 0, 0, 0, 0, 0, 0, 1].into()));
        for (family, source, server) in [
            (IpFamily::Auto, None, Some("[::1]:53")),
            (IpFamily::Auto, four, Some("127.0.0.53:53")),
            (IpFamily::Auto, six, Some("[::1]:53")),
            (IpFamily::V4, None, Some("127.0.0.53:53")),
            (IpFamily::V6, None, Some("[::1]:53")),
        ] {
            let found = reachable_server(&servers, family, source);
            let found = found.map(|server| server.address().to_string());
            assert_eq!(found.as_deref(), server, "{family:?} {source:?}");
        }
        // Each is there for udp and for tcp.
        assert_eq!(reachable_server(&servers[2..], IpFamily::V6, None), None);
        assert_eq!(reachable_server(&[], IpFamily::Auto, None), None);
    }
}
