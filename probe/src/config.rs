//! What a probe is told at its start: flags, or the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;

/// Everything that configures a probe.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Directory with `ca.pem`, `cert.pem` and `key.pem`.
    pub tls_dir: PathBuf,
    /// Coordinators to dial, `host:port`.
    pub coordinators: Vec<String>,
    /// Remembers coordinators and the clock over a restart.
    pub data_dir: Option<PathBuf>,
    /// Where connections start from, unless a check says otherwise.
    pub source_address: Option<IpAddr>,
    /// Environment variables that checks may refer to.
    pub allow_env: Vec<String>,
    /// Files, or directories of files, that checks may refer to.
    pub allow_files: Vec<PathBuf>,
    /// Where `/healthz`, `/readyz` and `/metrics` listen.
    pub health: Option<SocketAddr>,
    /// A header sent with every HTTP request. Used by `parallax dev` only.
    pub extra_header: Option<(String, String)>,
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
    /// Where coordinators and the clock are remembered over a restart.
    #[arg(long, env = "PARALLAX_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Connect from this address of this machine.
    #[arg(long, env = "PARALLAX_SOURCE_ADDRESS")]
    source_address: Option<IpAddr>,
    /// An environment variable that checks may refer to as ${env:NAME}.
    #[arg(long = "allow-env", value_name = "NAME")]
    allow_env: Vec<String>,
    /// A file, or a directory of files, that checks may refer to as ${file:PATH}.
    #[arg(long = "allow-file", value_name = "PATH")]
    allow_files: Vec<PathBuf>,
    /// Serve /healthz, /readyz and /metrics here; off by default.
    #[arg(long, env = "PARALLAX_HEALTH", value_name = "ADDR")]
    health: Option<SocketAddr>,
    /// What is logged, such as `info` or `parallax_probe=debug`.
    #[arg(long, env = "PARALLAX_LOG", default_value = "info")]
    pub(crate) log: String,
    /// One JSON object a line instead of text.
    #[arg(long)]
    pub(crate) log_json: bool,
}

impl From<Args> for Config {
    fn from(args: Args) -> Self {
        Self {
            tls_dir: args.tls_dir,
            coordinators: args.coordinators,
            data_dir: args.data_dir,
            source_address: args.source_address,
            allow_env: args.allow_env,
            allow_files: args.allow_files,
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
}
