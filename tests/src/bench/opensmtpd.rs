//! OpenSMTPD as the mail server behind a contact, from Debian's package: it takes mail for anybody, and
//! keeps it as files. Needs root, as it does itself. Without TLS: that of Debian 12 finds no private key
//! (`missing private key`) whatever certificate it is given.

use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::nginx::free_port;
use crate::harness::process::Process;
use crate::harness::wait::{Look, SOON, wait_until};

const PROGRAM: &str = "smtpd";
/// There is one on a machine, by its socket and its spool: ours has its own in a mount namespace.
const ENTER: &str = "mount -t tmpfs -o mode=755 none /run && \
                     mount -t tmpfs -o mode=711 none /var/spool/smtpd && exec \"$@\"";
/// Whose the mail is: Debian's `nobody`.
pub(super) const OWNER: (&str, u32) = ("nobody", 65_534);

/// The server and its mail; both end with this.
#[derive(Debug)]
pub struct Mailserver {
    _process: Process,
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    dir: TempDir,
}

impl Mailserver {
    /// Starts it, and waits until it listens. Its log is in `dir`.
    ///
    /// # Errors
    /// When it is not installed (Debian's package `opensmtpd`), or does not come up.
    pub async fn start(log: &Path) -> Result<Self> {
        // A directory of its own: its processes are other users, who may not enter ours.
        let dir = tempfile::Builder::new().prefix("parallax-mail-").tempdir()?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let mail = dir.path().join("mail");
        std::fs::create_dir(&mail)?;
        chown(&mail, Some(OWNER.1), None).context("opensmtpd needs root, and so does this")?;
        let port = free_port(Ipv4Addr::LOCALHOST)?;
        let conf = dir.path().join("smtpd.conf");
        std::fs::write(&conf, configuration(dir.path(), port))?;
        let conf = conf.display().to_string();
        let args = ["--mount", "sh", "-c", ENTER, "sh", PROGRAM, "-d", "-f", &conf];
        let mut process = Process::start(PROGRAM, "unshare", args, &[], log)?;
        wait_until(SOON, "smtpd listens", || {
            let running = process.check_running();
            async move {
                running?;
                let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
                Ok(Look::when(connected.is_ok(), connected.err()))
            }
        })
        .await?;
        Ok(Self { _process: process, port, dir })
    }

    /// Every mail that was delivered so far, as it lies in the mailbox.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn mails(&self) -> Result<Vec<String>> {
        let mut mails = Vec::new();
        // Written elsewhere and moved here when it is whole.
        let new = match std::fs::read_dir(self.mailbox()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(mails),
            new => new?,
        };
        for entry in new {
            mails.push(String::from_utf8_lossy(&std::fs::read(entry?.path())?).into_owned());
        }
        Ok(mails)
    }

    fn mailbox(&self) -> PathBuf {
        self.dir.path().join("mail/new")
    }
}

fn configuration(dir: &Path, port: u16) -> String {
    let (dir, owner) = (dir.display(), OWNER.0);
    format!(
        "listen on 127.0.0.1 port {port}\n\
         action \"keep\" maildir \"{dir}/mail\" user {owner} virtual {{ \"@\" = {owner} }}\n\
         match from any for any action \"keep\"\n"
    )
}

/// The value of a header of a mail, put together again where it was folded.
pub fn header(mail: &str, name: &str) -> Option<String> {
    let mut found: Option<String> = None;
    for line in mail.lines().take_while(|line| !line.is_empty()) {
        if let (Some(value), true) = (&mut found, line.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        if found.is_some() {
            break;
        }
        let (of, value) = line.split_once(':').unwrap_or_default();
        if of.eq_ignore_ascii_case(name) {
            found = Some(value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_whatever_their_case_and_unfolded() {
        let mail = "Received: from x\n\tby y\nSubject: DOWN:\n checkout\nTo: a\n\nTo: b\n";
        assert_eq!(header(mail, "subject").as_deref(), Some("DOWN: checkout"));
        assert_eq!(header(mail, "received").as_deref(), Some("from x by y"));
        assert_eq!(header(mail, "To").as_deref(), Some("a"));
        assert_eq!(header(mail, "Cc"), None);
    }
}
