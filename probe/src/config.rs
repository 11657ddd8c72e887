//! What a probe is told at its start, by flags, environment and file.

mod refusals;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use parallax_common::limits::{
    SPOOL_AGE_DEFAULT, SPOOL_AGE_MIN, SPOOL_DISK_BYTES_DEFAULT, SPOOL_DISK_BYTES_MIN,
};
use parallax_common::target::parse_address;
use parallax_common::text::{format_duration, parse_duration};
use parallax_runtime::settings::{Flags, Settings};

pub(crate) use self::refusals::refusals;
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// Runs checks on time and streams what it saw to every coordinator.
#[derive(Debug, Clone, Parser)]
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
    /// Text on a terminal and JSON elsewhere (auto), or always one of them; JSON is one object a line.
    #[arg(long, env = "PARALLAX_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: parallax_runtime::logging::Format,
    #[command(flatten)]
    pub(crate) settings: Flags,
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

/// What `--print-config` prints: the settings, and as comments what follows from them. The networks stand in
/// the order in which they are asked.
pub(crate) fn in_force(args: &Args, settings: &Settings, guard: &Guard) -> String {
    let mut text = settings.yaml(&[]);
    match Config::from(args.clone()).spool_dir() {
        Some(dir) => text.push_str(&format!("# windows wait in {}\n", dir.display())),
        None => text.push_str("# windows wait in memory\n"),
    }
    text.push_str("# networks, in the order in which they are asked:\n");
    for Rule { network, effect, origin } in guard.rules() {
        let effect = match effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        let by = match origin {
            Origin::Flag => "set".to_owned(),
            Origin::Default(why) => format!("default: {why}"),
        };
        text.push_str(&format!("#   {effect} {network} ({by})\n"));
    }
    text
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
    use std::ffi::OsString;

    use parallax_runtime::settings::{self, Gathered};

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
        let config = |more: &[&str]| Config::from(parse(more).unwrap());
        let none = config(&[]);
        assert_eq!(none.spool_dir(), None);
        assert_eq!(none.spool_bounds(), Config::default().spool_bounds());
        assert_eq!(config(&["--data-dir", "/d"]).spool_dir(), Some("/d/spool".into()));
        let given = ["--data-dir", "/d", "--spool-dir", "/s", "--spool-bytes-max", "2000000"];
        let given = config(&[&given[..], &["--spool-age-max", "90m"]].concat());
        assert_eq!(given.spool_dir(), Some("/s".into()));
        assert_eq!(given.spool_bounds().bytes_max, 2_000_000);
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
        let shown = |more: &[&str]| {
            let needed = ["parallax-probe", "--tls-dir", "/t", "--coordinator", "a:1"];
            let argv = needed.into_iter().chain(more.iter().copied()).map(OsString::from);
            let Gathered { args, settings } = settings::gather::<Args>(argv).unwrap();
            let guard = args.guard().unwrap();
            in_force(&args, &settings, &guard)
        };
        let flags = ["--allow-network", "169.254.169.254", "--deny-network", "10.0.0.0/8"];
        let text =
            shown(&[&flags[..], &["--anchor", "gw.example:53", "--data-dir", "/d"]].concat());
        for (setting, by) in [
            ("coordinator: [\"a:1\"]", "flag"),
            ("anchor: [\"gw.example:53\"]", "flag"),
            ("spool_age_max: 24h", "default"),
        ] {
            let line = format!("{setting:48} # {by}");
            assert!(text.lines().any(|it| it == line), "{line}\nis not in\n{text}");
        }
        for line in ["# windows wait in /d/spool", "#   deny 10.0.0.0/8 (set)"] {
            assert!(text.lines().any(|it| it == line), "{line}\nis not in\n{text}");
        }
        assert!(shown(&[]).contains("# windows wait in memory\n"));
        // The flag stands before the default that it lifts, and both before the wider network.
        let find = |line: &str| text.find(line).unwrap_or_else(|| panic!("{line}: {text}"));
        let flag = find("#   allow 169.254.169.254/32 (set)");
        let default = find("#   deny 169.254.169.254/32 (default: cloud metadata)");
        assert!(flag < default && default < find("#   deny 169.254.0.0/16 (default"));
        let error = parse(&["--anchor", "gw.example"]).unwrap_err().to_string();
        assert!(error.contains("--anchor") && error.contains("host:port"), "{error}");
        let error = parse(&["--plugin-dir", "plugins"]).unwrap_err().to_string();
        assert!(error.contains("--plugin-dir") && error.contains("absolute"), "{error}");
    }

    /// A key of each flag, as a file has it, and the arguments' words by which its effect is seen.
    const KEYS: &[(&str, &str)] = &[
        ("tls_dir: /file", "tls_dir: \"/file\""),
        ("coordinator: [f:1, f:2]", "coordinators: [\"f:1\", \"f:2\"]"),
        ("data_dir: /file", "data_dir: Some(\"/file\")"),
        ("spool_dir: /file", "spool_dir: Some(\"/file\")"),
        ("spool_bytes_max: 2000000", "spool_bytes_max: 2000000"),
        ("spool_age_max: 90m", "spool_age_max: 5400s"),
        ("source_address: 127.0.3.1", "source_address: Some(127.0.3.1)"),
        ("allow_env: [FILE]", "allow_env: [\"FILE\"]"),
        ("allow_file: [/file]", "allow_files: [\"/file\"]"),
        ("plugin_dir: [/file]", "plugin_dirs: [\"/file\"]"),
        ("plugin_env: [FILE]", "plugin_env: [\"FILE\"]"),
        ("allow_network: [10.7.0.0/16]", "10.7.0.0"),
        ("deny_network: [10.8.0.0/16]", "10.8.0.0"),
        ("anchor: ['gw.file:53']", "gw.file"),
        ("health: 127.0.0.1:7104", "health: Some(127.0.0.1:7104)"),
        ("log: debug", "log: \"debug\""),
        ("log_format: text", "log_format: Text"),
    ];

    #[test]
    fn every_flag_has_a_key_and_every_key_an_effect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.yaml");
        let told = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let config = format!("--config={}", path.display());
            let Gathered { mut args, settings } =
                settings::gather::<Args>(["p".into(), config.into()]).unwrap();
            args.settings = Flags::default();
            (format!("{args:?}"), settings.keys())
        };
        let needed = [("tls_dir", "/t"), ("coordinator", "a:1")];
        let base = |but: &str| {
            let lines = needed.iter().filter(|(key, _)| *key != but);
            lines.map(|(key, value)| format!("{key}: {value}\n")).collect::<String>()
        };
        let (without, known) = told(&base(""));
        let rows: Vec<&str> =
            KEYS.iter().map(|(line, _)| line.split_once(':').unwrap().0).collect();
        assert_eq!(rows, known, "each flag of clap's own list has its row");
        for (line, effect) in KEYS {
            let (with, _) = told(&format!("{}{line}\n", base(line.split_once(':').unwrap().0)));
            assert!(with.contains(effect) && !without.contains(effect), "{line}: {with}");
        }
    }
}
