//! What a coordinator is told at its start, by flags, environment and file, checked once.

mod refusals;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use parallax_common::guard::{Guard, Network, Owner, TooManyNetworks};
use parallax_common::limits::{COORDINATORS_MAX, HISTORY_BYTES_DEFAULT, HISTORY_BYTES_MIN};
use parallax_common::name::is_name;

pub(crate) use self::refusals::refusals;
use crate::quorum::contact;

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
    /// Name of this member; must be the one in the certificate.
    #[arg(long, env = "PARALLAX_NAME", value_parser = name)]
    pub name: String,
    /// Where log, state and snapshots are kept. Used by one process at a time.
    #[arg(long, env = "PARALLAX_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Most bytes of history. At it the oldest of the finest resolution is deleted and counted.
    #[arg(long, env = "PARALLAX_HISTORY_BYTES_MAX", value_name = "BYTES",
          default_value_t = HISTORY_BYTES_DEFAULT,
          value_parser = clap::value_parser!(u64).range(HISTORY_BYTES_MIN..))]
    pub history_bytes_max: u64,
    /// Directory with ca.pem, cert.pem and key.pem (see `parallax pki`).
    #[arg(long, env = "PARALLAX_TLS_DIR")]
    pub tls_dir: PathBuf,
    /// Address for people and tools.
    #[arg(long, env = "PARALLAX_LISTEN_API", default_value = "127.0.0.1:7100")]
    pub listen_api: SocketAddr,
    /// Address for probes.
    #[arg(long, env = "PARALLAX_LISTEN_PROBES", default_value = "127.0.0.1:7101")]
    pub listen_probes: SocketAddr,
    /// Address for the other coordinators.
    #[arg(long, env = "PARALLAX_LISTEN_PEERS", default_value = "127.0.0.1:7102")]
    pub listen_peers: SocketAddr,
    /// Address for /healthz, /readyz and /metrics, without TLS. Off unless given.
    #[arg(long, env = "PARALLAX_LISTEN_PUBLIC")]
    pub listen_public: Option<SocketAddr>,
    /// host:port at which probes reach this member, when it is not the address it listens on.
    /// Without it a member that listens on every address (`0.0.0.0`, `[::]`) tells probes none.
    #[arg(long, env = "PARALLAX_ADVERTISE_PROBES", value_parser = reachable)]
    pub advertise_probes: Option<String>,
    /// host:port at which other coordinators reach this member, when it is not the one in
    /// --initial-members or the one it was added with.
    #[arg(long, env = "PARALLAX_ADVERTISE_PEERS", value_parser = reachable)]
    pub advertise_peers: Option<String>,
    /// host:port at which people and tools reach this member, when it is not the address it
    /// listens on.
    #[arg(long, env = "PARALLAX_ADVERTISE_API", value_parser = reachable)]
    pub advertise_api: Option<String>,
    /// The coordinators that a new cluster begins with, as NAME=HOST:PORT of their peer listeners;
    /// the same list in the same order on each of them. Looked at only while the data directory is
    /// new. Without it and --join a new cluster has one coordinator.
    #[arg(
        long,
        env = "PARALLAX_INITIAL_MEMBERS",
        value_name = "NAME=HOST:PORT",
        value_delimiter = ',',
        value_parser = initial_member,
        conflicts_with = "join"
    )]
    pub initial_members: Vec<InitialMember>,
    /// host:port of the peer listener of a running coordinator, to join its cluster after
    /// `parallax cluster add`. Looked at only until this member has joined.
    #[arg(long, env = "PARALLAX_JOIN", value_name = "HOST:PORT", value_parser = reachable)]
    pub join: Option<String>,
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
    /// A network, such as 10.1.0.0/16, or an address that contacts may lead to although a shorter
    /// prefix or a default denies it; may be repeated.
    #[arg(
        long = "contact-allow-network",
        env = "PARALLAX_CONTACT_ALLOW_NETWORK",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub contact_allow_networks: Vec<Network>,
    /// A network or an address that contacts may not lead to; may be repeated.
    #[arg(
        long = "contact-deny-network",
        env = "PARALLAX_CONTACT_DENY_NETWORK",
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    pub contact_deny_networks: Vec<Network>,
    /// A webhook that this member tells by itself, without the group, when it has seen no leader for
    /// 60 s, and again when one is back. May hold ${env:NAME} and ${file:PATH}.
    #[arg(long, env = "PARALLAX_QUORUM_WEBHOOK", value_name = "URL", value_parser = contact::url)]
    pub quorum_webhook: Option<String>,
    /// A URL that the leader calls (GET) every 30 s. May hold ${env:NAME} and ${file:PATH}. Give it
    /// to every member.
    #[arg(long, env = "PARALLAX_HEARTBEAT_URL", value_name = "URL", value_parser = contact::url)]
    pub heartbeat_url: Option<String>,
    /// Write the addresses in use to this file as JSON once ready.
    #[arg(long)]
    pub ports_file: Option<PathBuf>,
}

/// A coordinator that a new cluster begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialMember {
    /// Its name.
    pub name: String,
    /// host:port of its peer listener.
    pub peer_address: String,
}

fn initial_member(text: &str) -> Result<InitialMember, String> {
    let (given, address) = text.split_once('=').ok_or("must be NAME=HOST:PORT")?;
    let peer_address = reachable(address).map_err(|why| format!("the address of {given} {why}"))?;
    let name = name(given).map_err(|why| format!("the name {given:?} {why}"))?;
    Ok(InitialMember { name, peer_address })
}

/// Why a list of initial members is no list that a cluster can begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitialMembersError {
    /// More than a cluster may have.
    #[error("--initial-members names {0} coordinators, the most is {COORDINATORS_MAX}")]
    TooMany(usize),
    /// One name or address stands there twice.
    #[error("--initial-members says {0} twice")]
    Twice(String),
    /// This member is not in it.
    #[error("--initial-members does not name \"{0}\", which is the --name of this member")]
    NotIn(String),
}

impl Config {
    /// Where contacts may lead to: the defaults that probes have, too, and what the flags say.
    ///
    /// # Errors
    /// The flags name too many networks.
    pub fn guard(&self) -> Result<Guard, TooManyNetworks> {
        let (allow, deny) = (&self.contact_allow_networks, &self.contact_deny_networks);
        Guard::owned_by(Owner::Coordinator, allow, deny)
    }

    /// The initial members, checked: this one among them, each once. Empty when none were given.
    ///
    /// # Errors
    /// [`InitialMembersError`] says which rule the list breaks.
    pub fn initial_members(&self) -> Result<&[InitialMember], InitialMembersError> {
        let members = self.initial_members.as_slice();
        if members.len() > COORDINATORS_MAX {
            return Err(InitialMembersError::TooMany(members.len()));
        }
        let mut seen = BTreeSet::new();
        for text in members.iter().flat_map(|member| [&member.name, &member.peer_address]) {
            if !seen.insert(text) {
                return Err(InitialMembersError::Twice(text.clone()));
            }
        }
        if !members.is_empty() && !members.iter().any(|member| member.name == self.name) {
            return Err(InitialMembersError::NotIn(self.name.clone()));
        }
        Ok(members)
    }
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

pub(crate) fn name(text: &str) -> Result<String, String> {
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

    fn given(flags: &[&str]) -> Result<Config, clap::Error> {
        let required = ["c", "--mesh", "m", "--name", "c1", "--data-dir", "/d", "--tls-dir", "/t"];
        Config::try_parse_from(required.iter().chain(flags))
    }

    #[test]
    fn a_list_of_initial_members_names_each_once_and_this_one_too() {
        let list = |text: &str| given(&["--initial-members", text]).unwrap();
        let config = list("c1=a.example:7102,c2=b.example:7102");
        let names: Vec<&str> =
            config.initial_members().unwrap().iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["c1", "c2"]);
        assert_eq!(given(&[]).unwrap().initial_members().unwrap(), []);
        let refused = |text: &str| list(text).initial_members().unwrap_err();
        assert_eq!(refused("c2=a:1,c3=b:1"), InitialMembersError::NotIn("c1".into()));
        assert_eq!(refused("c1=a:1,c1=b:1"), InitialMembersError::Twice("c1".into()));
        assert_eq!(refused("c1=a:1,c2=a:1"), InitialMembersError::Twice("a:1".into()));
        let many: Vec<String> = (1..=10).map(|n| format!("c{n}=h{n}:1")).collect();
        assert_eq!(refused(&many.join(",")), InitialMembersError::TooMany(10));
        for bad in ["c1", "c1=", "c1=a", "C1=a:1", "c1=0.0.0.0:7102", "=a:1"] {
            assert!(given(&["--initial-members", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_member_begins_a_cluster_or_joins_one() {
        let both = given(&["--initial-members", "c1=a:1", "--join", "b:1"]);
        assert_eq!(both.unwrap_err().kind(), clap::error::ErrorKind::ArgumentConflict);
        assert_eq!(given(&["--join", "b:1"]).unwrap().join.as_deref(), Some("b:1"));
        assert!(given(&["--join", "0.0.0.0:1"]).is_err());
    }

    #[test]
    fn where_contacts_may_lead_to_is_what_the_flags_say() {
        let address = |text: &str| std::net::SocketAddr::new(text.parse().unwrap(), 80);
        let plain = given(&[]).unwrap().guard().unwrap();
        assert!(plain.admit(address("127.0.0.1")).is_ok());
        assert!(plain.admit(address("169.254.169.254")).is_err());
        let flags = ["--contact-deny-network", "127.0.0.0/8,10.0.0.0/8", "--contact-allow-network"];
        let given = given(&[&flags[..], &["169.254.169.254,10.9.0.0/16"]].concat()).unwrap();
        let guard = given.guard().unwrap();
        for (text, allowed) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("10.9.2.3", true),
            ("169.254.169.254", true),
            ("169.254.1.1", false),
        ] {
            assert_eq!(guard.admit(address(text)).is_ok(), allowed, "{text}");
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
