//! Dovecot's submission service in front of [`OpenSMTPD`](super::opensmtpd), from Debian's package: it asks for
//! TLS, from the first byte or after STARTTLS, and for a name and a password, and hands on what it takes.

use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::nginx::{certify, free_port};
use super::opensmtpd::OWNER;
use crate::harness::process::Process;
use crate::harness::wait::{Look, SOON, wait_until};

const PROGRAM: &str = "dovecot";
/// What its certificate is for.
pub const SERVER_NAME: &str = "mail.test";
/// What it lets in, whatever the name.
pub const PASSWORD: &str = "correct-horse-battery";

/// The service; it ends with this.
#[derive(Debug)]
pub struct Submission {
    process: Process,
    /// Where it says its greeting in plain text, and nothing more without STARTTLS, at 127.0.0.1.
    pub starttls: u16,
    /// Where it speaks TLS from the first byte, at 127.0.0.1.
    pub tls: u16,
    /// Who signed its certificate, as PEM.
    pub authority_pem: String,
    _dir: TempDir,
}

impl Submission {
    /// Starts it in front of the mail server at `relay` of 127.0.0.1, and waits until it listens.
    ///
    /// # Errors
    /// When it is not installed (Debian's package `dovecot-submissiond`), or does not come up.
    pub async fn start(log: &Path, relay: u16) -> Result<Self> {
        // A directory of its own: its processes are other users, who may not enter ours.
        let dir = tempfile::Builder::new().prefix("parallax-submission-").tempdir()?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let home = dir.path().join("home");
        std::fs::create_dir(&home)?;
        chown(&home, Some(OWNER.1), None).context("dovecot needs root, and so does this")?;
        let authority_pem = certify(dir.path(), &[SERVER_NAME.to_owned()])?;
        let (starttls, tls) = (free_port(Ipv4Addr::LOCALHOST)?, free_port(Ipv4Addr::LOCALHOST)?);
        let conf = dir.path().join("dovecot.conf");
        std::fs::write(&conf, configuration(dir.path(), starttls, tls, relay))?;
        let conf = conf.display().to_string();
        let mut process = Process::start(PROGRAM, PROGRAM, ["-F", "-c", &conf], &[], log)
            .context("dovecot comes with Debian's package dovecot-submissiond")?;
        wait_until(SOON, "dovecot listens", || {
            let running = process.check_running();
            async move {
                running?;
                let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, tls)).await;
                Ok(Look::when(connected.is_ok(), connected.err()))
            }
        })
        .await?;
        Ok(Self { process, starttls, tls, authority_pem, _dir: dir })
    }

    /// How often somebody who spoke TLS was let in as `user`, by its log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn logins(&self, user: &str) -> Result<usize> {
        let login = format!("Login: user=<{user}>,");
        let log = self.process.log()?;
        Ok(log.lines().filter(|line| line.contains(&login) && line.contains(" TLS,")).count())
    }
}

fn configuration(dir: &Path, starttls: u16, tls: u16, relay: u16) -> String {
    let (dir, owner) = (dir.display(), OWNER.0);
    format!(
        "base_dir = {dir}/run\nstate_dir = {dir}/state\nlog_path = /dev/stderr\nprotocols = submission\n\
         listen = 127.0.0.1\nhostname = {SERVER_NAME}\nssl = required\nssl_cert = <{dir}/target.pem\n\
         ssl_key = <{dir}/target.key\ndisable_plaintext_auth = yes\nauth_mechanisms = plain login\n\
         first_valid_uid = 1\nmail_location = maildir:{dir}/home\n\
         passdb {{\n  driver = static\n  args = password={PASSWORD}\n}}\n\
         userdb {{\n  driver = static\n  args = uid={owner} gid=nogroup home={dir}/home\n}}\n\
         service submission-login {{\n  inet_listener submission {{\n    port = {starttls}\n  }}\n  \
         inet_listener submissions {{\n    port = {tls}\n    ssl = yes\n  }}\n}}\n\
         submission_relay_host = 127.0.0.1\nsubmission_relay_port = {relay}\n"
    )
}
