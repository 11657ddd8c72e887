//! What a coordinator is told at its start: flags and environment, checked once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use parallax_common::name::is_name;

/// Settings of one coordinator.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "parallax-coordinator",
    version,
    about = "The replicated core of a Parallax mesh: configuration, decisions, paging",
    after_help = "Example:\n  parallax-coordinator --mesh prod --name c1 --data-dir /var/lib/parallax \
                  --tls-dir /etc/parallax/tls --listen-api 0.0.0.0:7100 --listen-probes 0.0.0.0:7101"
)]
pub struct Config {
    /// Name of the mesh; must be the one in the certificate.
    #[arg(long, env = "PARALLAX_MESH", value_parser = name)]
    pub mesh: String,
    /// Number of this member in the Raft group, never used again for another disk.
    #[arg(long, env = "PARALLAX_NODE_ID", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub node_id: u64,
    /// Name of this member; must be the one in the certificate.
    #[arg(long, env = "PARALLAX_NAME", value_parser = name)]
    pub name: String,
    /// Where log, state and snapshots are kept. Used by one process at a time.
    #[arg(long, env = "PARALLAX_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Directory with ca.pem, cert.pem and key.pem (see `parallax pki`).
    #[arg(long, env = "PARALLAX_TLS_DIR")]
    pub tls_dir: PathBuf,
    /// Address for people and tools.
    #[arg(long, env = "PARALLAX_LISTEN_API", default_value = "127.0.0.1:7100")]
    pub listen_api: SocketAddr,
    /// Address for probes.
    #[arg(long, env = "PARALLAX_LISTEN_PROBES", default_value = "127.0.0.1:7101")]
    pub listen_probes: SocketAddr,
    /// Address for /healthz, /readyz and /metrics, without TLS. Off unless given.
    #[arg(long, env = "PARALLAX_LISTEN_PUBLIC")]
    pub listen_public: Option<SocketAddr>,
    /// host:port at which probes reach this member, when it is not the address it listens on.
    /// Without it a member that listens on every address (`0.0.0.0`, `[::]`) tells probes none.
    #[arg(long, env = "PARALLAX_ADVERTISE_PROBES", value_parser = reachable)]
    pub advertise_probes: Option<String>,
    /// An environment variable that contacts may refer to as ${env:NAME}; may be repeated.
    #[arg(
        long = "allow-env",
        env = "PARALLAX_ALLOW_ENV",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub allow_env: Vec<String>,
    /// A file, or a directory of files, that contacts may refer to as ${file:PATH}; may be repeated.
    #[arg(
        long = "allow-file",
        env = "PARALLAX_ALLOW_FILE",
        value_name = "PATH",
        value_delimiter = ','
    )]
    pub allow_files: Vec<PathBuf>,
    /// Write the addresses in use to this file as JSON once ready.
    #[arg(long)]
    pub ports_file: Option<PathBuf>,
}

/// An address that somebody else can dial.
fn reachable(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("must be host:port")?;
    if host.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("must be host:port".to_owned());
    }
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if ip.is_ok_and(|ip| ip.is_unspecified()) {
        return Err(format!("{host} means every address of this machine; nobody can dial it"));
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 63 of a-z, 0-9, - and ., with a letter or digit at both ends".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_dialled_is_advertised() {
        for good in ["c1.example:7101", "10.0.0.5:7101", "[2001:db8::1]:7101"] {
            assert_eq!(reachable(good).as_deref(), Ok(good));
        }
        for bad in ["c1.example", ":7101", "c1.example:0", "0.0.0.0:7101", "[::]:7101", "c1:x"] {
            assert!(reachable(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_contacts_may_refer_to_is_a_list() {
        let required = ["c", "--mesh", "m", "--name", "c1", "--data-dir", "/d", "--tls-dir", "/t"];
        let given = ["--allow-env", "A", "--allow-env", "B,C", "--allow-file", "/run/secrets"];
        let config = Config::try_parse_from(required.iter().chain(&given)).unwrap();
        assert_eq!(config.allow_env, ["A", "B", "C"]);
        assert_eq!(config.allow_files, [PathBuf::from("/run/secrets")]);
        let nothing = Config::try_parse_from(required).unwrap();
        assert!(nothing.allow_env.is_empty() && nothing.allow_files.is_empty());
    }
}
