//! What a start would refuse of settings that could be read: all of it at once, and without starting.
//!
//! Nothing is written or locked and nobody is spoken with, so that a running member's settings can be
//! looked at as well. What only the group or the data can say (whose disk it is, whether the log is
//! whole) is left to the start.

use std::net::SocketAddr;

use parallax_runtime::error::causes;
use parallax_runtime::settings::{collide, may_listen, may_write};
use parallax_runtime::transport::Credentials;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::run::{RunError, check_identity};

/// What a start with `config` and this log filter would be refused for.
pub(crate) fn refusals(config: &Config, log: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    match Credentials::load(&config.tls_dir).map_err(RunError::from) {
        Ok(credentials) => {
            wrong
                .extend(check_identity(config, credentials.identity()).err().map(|it| causes(&it)));
        }
        Err(error) => wrong.push(causes(&error)),
    }
    wrong.extend(config.initial_members().err().map(|it| causes(&it)));
    wrong.extend(config.guard().err().map(|it| causes(&it)));
    if let Err(source) = may_write(&config.data_dir) {
        let path = config.data_dir.display().to_string();
        wrong.push(causes(&RunError::DataDir { path, source }));
    }
    let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
    for (flag, address) in [
        ("--listen-api", Some(config.listen_api)),
        ("--listen-probes", Some(config.listen_probes)),
        ("--listen-peers", Some(config.listen_peers)),
        ("--listen-public", config.listen_public),
    ] {
        let Some(address) = address else { continue };
        if let Err(error) = may_listen(address) {
            wrong.push(format!("{flag}: cannot listen on {address}: {error}"));
        }
        for (other, first) in taken.iter().filter(|(other, _)| collide(*other, address)) {
            wrong.push(match *other == address {
                true => format!("{flag}: {address} is that of {first}"),
                false => format!("{flag}: {address} and {other} of {first} exclude each other"),
            });
        }
        taken.push((address, flag));
    }
    wrong.extend(EnvFilter::try_new(log).err().map(|error| format!("--log: {error}")));
    wrong
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn config(flags: &[&str]) -> Config {
        let needed = ["c", "--mesh", "m", "--name", "c1", "--data-dir", "/proc/version"];
        let tls = ["--tls-dir", "/nowhere/tls"];
        Config::try_parse_from(needed.iter().chain(&tls).chain(flags)).unwrap()
    }

    #[test]
    fn everything_that_a_start_would_refuse_is_said_at_once() {
        let networks: Vec<String> =
            (0..2_000).map(|it| format!("10.{}.{}.0/24", it / 250, it % 250)).collect();
        let networks = networks.join(",");
        let config = config(&[
            "--initial-members",
            "c2=h:1",
            "--listen-probes",
            "192.0.2.1:7101",
            "--listen-public",
            "127.0.0.1:7100",
            "--listen-peers",
            "0.0.0.0:7100",
            "--contact-deny-network",
            &networks,
        ]);
        let wrong = refusals(&config, "info,[");
        let expected = [
            "the certificate cannot be used: ",
            "--initial-members does not name \"c1\"",
            "contact",
            "the data directory /proc/version cannot be used: ",
            "--listen-probes: cannot listen on 192.0.2.1:7101: ",
            "--listen-peers: 0.0.0.0:7100 and 127.0.0.1:7100 of --listen-api exclude each other",
            "--listen-public: 127.0.0.1:7100 is that of --listen-api",
            "--listen-public: 127.0.0.1:7100 and 0.0.0.0:7100 of --listen-peers exclude each other",
            "--log: ",
        ];
        assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
        for (line, expected) in wrong.iter().zip(expected) {
            assert!(line.contains(expected), "{line}: {expected}");
        }
    }
}
