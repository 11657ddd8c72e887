//! nginx as the target: one process, 1 KiB of body, plain and over TLS, at many addresses.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::net::TcpStream;

use crate::harness::process::Process;
use crate::harness::wait::{Look, SOON, wait_until};

/// Bytes of body in each answer.
pub const BODY_BYTES: usize = 1_024;

/// The server; it ends with this.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    /// Where it answers in plain text.
    pub port: u16,
    /// Where it answers over TLS.
    pub tls_port: u16,
    /// Who signed its certificate, as PEM.
    pub authority_pem: String,
}

impl Nginx {
    /// Starts it at every address, with a certificate for all of `names`.
    ///
    /// # Errors
    /// When `nginx` is not installed (Debian's package `nginx-light`), or does not come up.
    pub async fn start(dir: &Path, addresses: &[Ipv4Addr], names: &[String]) -> Result<Self> {
        let first = *addresses.first().context("no address to listen at")?;
        let (port, tls_port) = (free_port(first)?, free_port(first)?);
        let authority_pem = certify(dir, names)?;
        let conf = dir.join("nginx.conf");
        std::fs::write(&conf, configuration(dir, addresses, port, tls_port))?;
        let (conf, prefix) = (conf.display().to_string(), dir.display().to_string());
        let args = ["-p", &prefix, "-c", &conf, "-e", "stderr"];
        let mut process = Process::start("nginx", "nginx", args, &[], &dir.join("nginx.log"))
            .context("nginx comes with Debian's package nginx-light")?;
        wait_until(SOON, "nginx listens", || {
            let running = process.check_running();
            async move {
                running?;
                let connected = TcpStream::connect(SocketAddr::from((first, tls_port))).await;
                Ok(Look::when(connected.is_ok(), connected.err()))
            }
        })
        .await?;
        Ok(Self { process, port, tls_port, authority_pem })
    }

    /// Kill -9: from now on its ports refuse.
    pub fn end(&mut self) {
        self.process.kill();
    }
}

/// A port that nobody listens at now.
///
/// # Errors
/// When the address is not one of this machine.
pub fn free_port(address: Ipv4Addr) -> Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

fn configuration(dir: &Path, addresses: &[Ipv4Addr], port: u16, tls_port: u16) -> String {
    let mut listens = String::new();
    for address in addresses {
        let _ = writeln!(listens, "    listen {address}:{port} backlog=4096;");
        let _ = writeln!(listens, "    listen {address}:{tls_port} ssl backlog=4096;");
    }
    let mut temporary = String::new();
    for of in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "  {of}_temp_path {}/{of};", dir.display());
    }
    let dir = dir.display();
    let body = "x".repeat(BODY_BYTES);
    format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {dir}/nginx.pid;\nworker_rlimit_nofile 20000;\n\
         events {{ worker_connections 16384; multi_accept on; }}\n\
         http {{\n  access_log off;\n{temporary}  ssl_protocols TLSv1.2 TLSv1.3;\n  ssl_session_cache off;\n  \
         ssl_session_tickets off;\n  server {{\n{listens}    ssl_certificate {dir}/target.pem;\n    \
         ssl_certificate_key {dir}/target.key;\n    location / {{ return 200 \"{body}\"; }}\n  }}\n}}\n"
    )
}

/// Writes certificate and key; the authority's certificate, as PEM.
pub(super) fn certify(dir: &Path, names: &[String]) -> Result<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names.to_vec())?.signed_by(&key, &issuer)?;
    std::fs::write(dir.join("target.pem"), certificate.pem())?;
    std::fs::write(dir.join("target.key"), key.serialize_pem())?;
    Ok(authority.pem())
}
