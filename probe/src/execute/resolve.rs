//! Names to addresses: the system's resolver or the one a check names, never a cache.
//!
//! The system's hosts file counts for the system's resolver only. Changes of `/etc/resolv.conf`
//! and `/etc/hosts` are noticed within some seconds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use parallax_common::check::IpFamily;
use parallax_common::limits::TIMEOUT_MAX;
use parallax_common::outcome::{Phase, Reason};
use parallax_runtime::clock;

use super::connect::wrong_family;
use super::{Failure, Trace};

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
    by_key: HashMap<Key, TokioResolver>,
    looked_at: Option<Instant>,
    stamps: Vec<Option<SystemTime>>,
}

/// One resolver for each (server, family).
#[derive(Default)]
pub struct Resolvers {
    kept: Mutex<Kept>,
}

impl std::fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolvers")
    }
}

impl Resolvers {
    fn get(&self, key: Key) -> Result<TokioResolver, Failure> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::instant();
        if kept.looked_at.is_none_or(|at| now.saturating_duration_since(at) > LOOK_EVERY) {
            kept.looked_at = Some(now);
            let modified =
                |path| std::fs::metadata(Path::new(path)).and_then(|m| m.modified()).ok();
            let stamps: Vec<_> = SYSTEM_FILES.iter().map(modified).collect();
            if kept.stamps != stamps {
                kept.stamps = stamps;
                kept.by_key.clear();
            }
        }
        if let Some(resolver) = kept.by_key.get(&key) {
            return Ok(resolver.clone());
        }
        if kept.by_key.len() >= KEPT_MAX {
            kept.by_key.clear();
        }
        let resolver = build(key)
            .map_err(|error| Failure::new(Reason::DnsServfail, format!("no resolver: {error}")))?;
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

fn build((server, family): Key) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = server.port();
            }
            let server = NameServerConfig::new(server.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, vec![], vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            // The run's own timeout decides.
            builder.options_mut().timeout = TIMEOUT_MAX;
            builder.options_mut().attempts = 1;
            builder
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file =
        if server.is_some() { ResolveHosts::Never } else { ResolveHosts::Always };
    options.ip_strategy = match family {
        Family::Both => LookupIpStrategy::Ipv6AndIpv4,
        Family::V4 => LookupIpStrategy::Ipv4Only,
        Family::V6 => LookupIpStrategy::Ipv6Only,
    };
    builder.build()
}

fn failure(host: &str, error: &NetError) -> Failure {
    let (reason, what) = match error {
        NetError::Timeout => (Reason::DnsTimeout, "no answer from the resolver".to_owned()),
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => (Reason::DnsNxdomain, "no such name".to_owned()),
            ResponseCode::Refused => (Reason::DnsRefused, "the resolver refused".to_owned()),
            ResponseCode::NoError => (Reason::DnsNoAddress, "no address".to_owned()),
            code => (Reason::DnsServfail, format!("the resolver answered {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => {
            (Reason::DnsRefused, "the resolver refused".to_owned())
        }
        NetError::Dns(error) => (Reason::DnsServfail, error.to_string()),
        NetError::Proto(error) => (Reason::DnsMalformed, error.to_string()),
        error => (Reason::DnsServfail, error.to_string()),
    };
    Failure::new(reason, format!("{host}: {what}"))
}
