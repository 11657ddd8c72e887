//! What a probe is told at its start: flags, or the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use parallax_common::limits::{
    SPOOL_AGE_DEFAULT, SPOOL_AGE_MIN, SPOOL_DISK_BYTES_DEFAULT, SPOOL_DISK_BYTES_MIN,
};
use parallax_common::target::parse_address;
use parallax_common::text::{format_duration, parse_duration};
use serde::Serialize;

use crate::core::guard::{Effect, Guard, Network, Origin, Rule};
use crate::core::spool::disk::Bounds;

/// Everything that configures a probe.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Directory with `ca.pem`, `cert.pem` and `key.pem`.
    pub tls_dir: PathBuf,
    /// Coordinators to dial, `host:port`.
    pub coordinators: Vec<String>,
    /// Remembers coordinators, assignments and the clock over a restart.
    pub data_dir: Option<PathBuf>,
    /// Where windows wait on the disk; `spool` in the data directory when absent.
    pub spool_dir: Option<PathBuf>,
    /// What they may take there.
    pub spool_bytes_max: Option<u64>,
    /// Older ones are dropped.
    pub spool_age_max: Option<Duration>,
    /// Where connections start from, unless a check says otherwise.
    pub source_address: Option<IpAddr>,
    /// Environment variables that checks may refer to.
    pub allow_env: Vec<String>,
    /// Files, or directories of files, that checks may refer to.
    pub allow_files: Vec<PathBuf>,
    /// Directories whose programs checks may start as plugins.
    pub plugin_dirs: Vec<PathBuf>,
    /// Environment variables that checks may hand to plugins.
    pub plugin_env: Vec<String>,
    /// Networks that checks may connect to although a shorter prefix or a default denies them.
    pub allow_networks: Vec<Network>,
    /// Networks that checks may not connect to.
    pub deny_networks: Vec<Network>,
    /// Places that should always answer: how this probe knows that it is not cut off itself.
    pub anchors: Vec<Anchor>,
    /// Where `/healthz`, `/readyz` and `/metrics` listen.
    pub health: Option<SocketAddr>,
    /// A header sent with every HTTP request. Used by `parallax dev` only.
    pub extra_header: Option<(String, String)>,
}

/// A place that should always answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// Runs checks on time and streams what it saw to every coordinator.
#[derive(Debug, Parser)]
#[command(name = "parallax-probe", version)]
pub(crate) struct Args {
    /// Directory with ca.pem, cert.pem and key.pem (`parallax pki issue probe`).
    #[arg(long, env = "PARALLAX_TLS_DIR")]
    tls_dir: PathBuf,
    /// A coordinator's address for probes, host:port. May be given several times.
    #[arg(
        long = "coordinator",
        env = "PARALLAX_COORDINATORS",
        value_delimiter = ',',
        required = true
    )]
    coordinators: Vec<String>,
    /// Where coordinators, assignments and the clock are remembered over a restart.
    #[arg(long, env = "PARALLAX_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where windows wait for coordinators that are away; default: `spool` in the data directory.
    #[arg(long, env = "PARALLAX_SPOOL_DIR")]
    spool_dir: Option<PathBuf>,
    /// What they may take there, in bytes; near it they are merged to minutes, at it the oldest go.
    #[arg(long, env = "PARALLAX_SPOOL_BYTES_MAX", value_name = "BYTES",
          default_value_t = SPOOL_DISK_BYTES_DEFAULT,
          value_parser = clap::value_parser!(u64).range(SPOOL_DISK_BYTES_MIN..))]
    spool_bytes_max: u64,
    /// Age at which they are dropped, such as 24h.
    #[arg(long, env = "PARALLAX_SPOOL_AGE_MAX", value_name = "DURATION", default_value = "24h",
          value_parser = spool_age)]
    spool_age_max: Duration,
    /// Connect from this address of this machine.
    #[arg(long, env = "PARALLAX_SOURCE_ADDRESS")]
    source_address: Option<IpAddr>,
    /// An environment variable that checks may refer to as ${env:NAME}.
    #[arg(long = "allow-env", value_name = "NAME")]
    allow_env: Vec<String>,
    /// A file, or a directory of files, that checks may refer to as ${file:PATH}.
    #[arg(long = "allow-file", value_name = "PATH")]
    allow_files: Vec<PathBuf>,
    /// A directory whose programs checks may start as plugins. May be given several times.
    #[arg(long = "plugin-dir", value_name = "DIR", value_parser = absolute)]
    plugin_dirs: Vec<PathBuf>,
    /// An environment variable that checks may hand to plugins. May be given several times.
    #[arg(long = "plugin-env", value_name = "NAME")]
    plugin_env: Vec<String>,
    /// A network, such as 10.1.0.0/16, or an address that checks may connect to although a shorter
    /// prefix or a default denies it. May be given several times.
    #[arg(
        long = "allow-network",
        env = "PARALLAX_ALLOW_NETWORK",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    allow_networks: Vec<Network>,
    /// A network or an address that checks may not connect to. May be given several times.
    #[arg(
        long = "deny-network",
        env = "PARALLAX_DENY_NETWORK",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    deny_networks: Vec<Network>,
    /// A place that should always answer, host:port, connected to every 10 s. May be given up to 8 times.
    #[arg(long = "anchor", value_name = "HOST:PORT", value_parser = anchor)]
    anchors: Vec<Anchor>,
    /// Serve /healthz, /readyz and /metrics here; off by default.
    #[arg(long, env = "PARALLAX_HEALTH", value_name = "ADDR")]
    health: Option<SocketAddr>,
    /// What is logged, such as `info` or `parallax_probe=debug`.
    #[arg(long, env = "PARALLAX_LOG", default_value = "info")]
    pub(crate) log: String,
    /// One JSON object a line instead of text.
    #[arg(long)]
    pub(crate) log_json: bool,
    /// Print what is in force as JSON, the networks in the order in which they are asked, and end.
    #[arg(long)]
    pub(crate) print_config: bool,
}

fn anchor(text: &str) -> Result<Anchor, String> {
    let (host, port) = parse_address(text).map_err(|error| error.message)?;
    Ok(Anchor { host, port })
}

/// A path that means the same wherever a plugin or this probe is started.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!("`{text}` is not an absolute path")),
    }
}

/// A length of at least [`SPOOL_AGE_MIN`].
fn spool_age(text: &str) -> Result<Duration, String> {
    let length = parse_duration(text).map_err(|error| error.to_string())?;
    match length >= SPOOL_AGE_MIN {
        true => Ok(length),
        false => Err(format!("{text} is less than {}", format_duration(SPOOL_AGE_MIN))),
    }
}

impl Config {
    /// Where windows wait on the disk, if anywhere.
    pub fn spool_dir(&self) -> Option<PathBuf> {
        let in_data = || self.data_dir.as_ref().map(|dir| dir.join("spool"));
        self.spool_dir.clone().or_else(in_data)
    }

    /// What they may take there, and for how long.
    pub fn spool_bounds(&self) -> Bounds {
        Bounds {
            bytes_max: self.spool_bytes_max.unwrap_or(SPOOL_DISK_BYTES_DEFAULT),
            age_max: self.spool_age_max.unwrap_or(SPOOL_AGE_DEFAULT),
        }
    }
}

/// What `--print-config` prints.
#[derive(Debug, Serialize)]
pub(crate) struct InForce {
    tls_dir: PathBuf,
    coordinators: Vec<String>,
    data_dir: Option<PathBuf>,
    spool_dir: Option<PathBuf>,
    spool_bytes_max: u64,
    spool_age_max: String,
    source_address: Option<IpAddr>,
    allow_env: Vec<String>,
    allow_files: Vec<PathBuf>,
    plugin_dirs: Vec<PathBuf>,
    plugin_env: Vec<String>,
    anchors: Vec<Anchor>,
    health: Option<SocketAddr>,
    log: String,
    log_json: bool,
    networks: Vec<NetworkInForce>,
}

#[derive(Debug, Serialize)]
struct NetworkInForce {
    network: String,
    rule: &'static str,
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

impl InForce {
    pub(crate) fn new(args: Args, guard: &Guard) -> Self {
        Self {
            tls_dir: args.tls_dir,
            coordinators: args.coordinators,
            spool_dir: args.spool_dir.or_else(|| Some(args.data_dir.as_ref()?.join("spool"))),
            spool_bytes_max: args.spool_bytes_max,
            spool_age_max: format_duration(args.spool_age_max),
            data_dir: args.data_dir,
            source_address: args.source_address,
            allow_env: args.allow_env,
            allow_files: args.allow_files,
            plugin_dirs: args.plugin_dirs,
            plugin_env: args.plugin_env,
            anchors: args.anchors,
            health: args.health,
            log: args.log,
            log_json: args.log_json,
            networks: guard.rules().iter().map(NetworkInForce::new).collect(),
        }
    }
}

impl NetworkInForce {
    fn new(rule: &Rule) -> Self {
        let (by, why) = match rule.origin {
            Origin::Flag => ("flag", None),
            Origin::Default(why) => ("default", Some(why)),
        };
        let effect = match rule.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        Self { network: rule.network.to_string(), rule: effect, by, why }
    }
}

impl Args {
    /// The guard that these networks make.
    pub(crate) fn guard(&self) -> Result<Guard, crate::core::guard::TooManyNetworks> {
        Guard::new(&self.allow_networks, &self.deny_networks)
    }
}

impl From<Args> for Config {
    fn from(args: Args) -> Self {
        Self {
            tls_dir: args.tls_dir,
            coordinators: args.coordinators,
            data_dir: args.data_dir,
            spool_dir: args.spool_dir,
            spool_bytes_max: Some(args.spool_bytes_max),
            spool_age_max: Some(args.spool_age_max),
            source_address: args.source_address,
            allow_env: args.allow_env,
            allow_files: args.allow_files,
            plugin_dirs: args.plugin_dirs,
            plugin_env: args.plugin_env,
            allow_networks: args.allow_networks,
            deny_networks: args.deny_networks,
            anchors: args.anchors,
            health: args.health,
            extra_header: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_configuration() {
        let args = Args::try_parse_from([
            "parallax-probe",
            "--tls-dir",
            "/t",
            "--coordinator",
            "a:1",
            "--coordinator",
            "b:2",
            "--source-address",
            "127.0.3.1",
            "--allow-env",
            "TOKEN",
            "--health",
            "127.0.0.1:0",
        ]);
        let config = Config::from(args.unwrap());
        assert_eq!(config.coordinators, ["a:1", "b:2"]);
        assert_eq!(config.source_address, Some(IpAddr::from([127, 0, 3, 1])));
        assert_eq!(config.allow_env, ["TOKEN"]);
        assert!(Args::try_parse_from(["parallax-probe", "--tls-dir", "/t"]).is_err());
    }

    fn parse(more: &[&str]) -> Result<Args, clap::Error> {
        let needed = ["parallax-probe", "--tls-dir", "/t", "--coordinator", "a:1"];
        Args::try_parse_from(needed.into_iter().chain(more.iter().copied()))
    }

    #[test]
    fn networks_are_read_from_flags_and_a_wrong_one_names_its_flag_and_its_rule() {
        let args =
            parse(&["--allow-network", "10.0.0.0/8,fd00::/8", "--deny-network", "0.0.0.0/0"]);
        let config = Config::from(args.unwrap());
        assert_eq!(config.allow_networks, ["10.0.0.0/8", "fd00::/8"].map(|n| n.parse().unwrap()));
        assert_eq!(config.deny_networks, ["0.0.0.0/0".parse().unwrap()]);
        for (network, rule) in [
            ("10.0.0.1/8", "has bits set behind its prefix, write 10.0.0.0/8"),
            ("10.0.0.0/33", "must be a number from 0 to 32"),
            ("intranet", "is not a network such as"),
        ] {
            for flag in ["--allow-network", "--deny-network"] {
                let error = parse(&[flag, network]).unwrap_err().to_string();
                assert!(error.contains(flag) && error.contains(rule), "{error}");
            }
        }
    }

    #[test]
    fn the_spool_is_in_the_data_directory_unless_told_otherwise_and_its_bounds_have_bounds() {
        let shown = |more: &[&str]| {
            let args = parse(more).unwrap();
            let guard = args.guard().unwrap();
            let config = Config::from(parse(more).unwrap());
            let shown = serde_json::to_value(InForce::new(args, &guard)).unwrap();
            assert_eq!(shown["spool_dir"], serde_json::to_value(config.spool_dir()).unwrap());
            assert_eq!(shown["spool_bytes_max"], config.spool_bounds().bytes_max);
            (shown, config)
        };
        let (_, none) = shown(&[]);
        assert_eq!(none.spool_dir(), None);
        assert_eq!(none.spool_bounds(), Config::default().spool_bounds());
        let (printed, inside) = shown(&["--data-dir", "/d"]);
        assert_eq!(inside.spool_dir(), Some("/d/spool".into()));
        assert_eq!(printed["spool_age_max"], "1d");
        let given = ["--data-dir", "/d", "--spool-dir", "/s", "--spool-bytes-max", "2000000"];
        let (printed, given) = shown(&[&given[..], &["--spool-age-max", "90m"]].concat());
        assert_eq!(given.spool_dir(), Some("/s".into()));
        assert_eq!(printed["spool_bytes_max"], 2_000_000);
        assert_eq!(given.spool_bounds().age_max, Duration::from_secs(5_400));
        for (flag, value, why) in [
            ("--spool-bytes-max", "1000", "1048576"),
            ("--spool-age-max", "9m", "less than 10m"),
            ("--spool-age-max", "24", "a unit is missing"),
        ] {
            let error = parse(&[flag, value]).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_is_printed_is_what_is_in_force() {
        let args = parse(&[
            "--allow-network",
            "169.254.169.254",
            "--deny-network",
            "10.0.0.0/8",
            "--print-config",
            "--allow-env",
            "TOKEN",
            "--plugin-dir",
            "/usr/lib/nagios/plugins",
            "--plugin-env",
            "PGPASSWORD",
            "--anchor",
            "gw.example:53",
        ]);
        let args = args.unwrap();
        assert!(args.print_config);
        let guard = args.guard().unwrap();
        let shown = serde_json::to_value(InForce::new(args, &guard)).unwrap();
        assert_eq!(shown["coordinators"][0], "a:1");
        assert_eq!(shown["allow_env"][0], "TOKEN");
        assert_eq!(shown["plugin_dirs"][0], "/usr/lib/nagios/plugins");
        assert_eq!(shown["plugin_env"][0], "PGPASSWORD");
        assert_eq!(shown["anchors"][0]["host"], "gw.example");
        let error = parse(&["--anchor", "gw.example"]).unwrap_err().to_string();
        assert!(error.contains("--anchor") && error.contains("host:port"), "{error}");
        let error = parse(&["--plugin-dir", "plugins"]).unwrap_err().to_string();
        assert!(error.contains("--plugin-dir") && error.contains("absolute"), "{error}");
        assert_eq!(shown["log"], "info");
        let networks = shown["networks"].as_array().unwrap();
        let find = |network: &str, by: &str| {
            let place = networks.iter().position(|of| of["network"] == network && of["by"] == by);
            place.unwrap_or_else(|| panic!("{network} by {by} is not in {shown}"))
        };
        // The flag stands before the default that it lifts, and both before the wider network.
        let (flag, default) =
            (find("169.254.169.254/32", "flag"), find("169.254.169.254/32", "default"));
        assert!(flag < default && default < find("169.254.0.0/16", "default"));
        assert_eq!(
            (&networks[flag]["rule"], &networks[default]["rule"]),
            (&"allow".into(), &"deny".into())
        );
        assert_eq!(networks[default]["why"], "cloud metadata");
        assert_eq!(networks[find("10.0.0.0/8", "flag")]["rule"], "deny");
    }
}
