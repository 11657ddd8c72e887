//! Alertmanager behind a contact, from Debian's package: it tells its own receiver at once.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::nginx::free_port;
use crate::harness::process::Process;
use crate::harness::sink::Sink;
use crate::harness::wait::{Look, STALE, wait_until};

const PROGRAM: &str = "prometheus-alertmanager";

/// One of them, and whom it tells; both end with this.
#[derive(Debug)]
pub struct Alertmanager {
    _process: Process,
    address: String,
    sink: Sink,
}

impl Alertmanager {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// When it is not installed, or does not come up.
    pub async fn start(dir: &Path) -> Result<Self> {
        let sink = Sink::start()?;
        let address = format!("127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST)?);
        let conf = dir.join("alertmanager.yml");
        std::fs::write(&conf, configuration(&sink.url()))?;
        let flags = [
            format!("--config.file={}", conf.display()),
            format!("--storage.path={}", dir.join("alertmanager").display()),
            format!("--web.listen-address={address}"),
            "--cluster.listen-address=".to_owned(),
            "--log.level=error".to_owned(),
        ];
        let log = dir.join("alertmanager.log");
        let mut process = Process::start(PROGRAM, PROGRAM, flags, &[], &log)
            .with_context(|| format!("{PROGRAM} is a package of Debian's"))?;
        wait_until(STALE, "Alertmanager listens", || {
            let running = process.check_running();
            let connect = TcpStream::connect(address.clone());
            async move {
                running?;
                let connected = connect.await;
                Ok(Look::when(connected.is_ok(), connected.err()))
            }
        })
        .await?;
        Ok(Self { _process: process, address, sink })
    }

    /// Where contacts lead to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Alerts that are firing, as its API has them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn firing(&self) -> Result<Vec<Value>> {
        let mut stream = TcpStream::connect(&self.address).await?;
        // HTTP/1.0 has no chunks: the body is what comes before the end.
        stream.write_all(b"GET /api/v2/alerts HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let alerts: Value = serde_json::from_str(body).with_context(|| answer.clone())?;
        Ok(alerts.as_array().context("no list of alerts")?.clone())
    }

    /// What it has told its own receiver: alerts of this status, in order.
    pub fn told(&self, status: &str) -> Vec<Value> {
        let pages = self.sink.pages();
        let alerts = pages.iter().filter_map(|page| page.body["alerts"].as_array()).flatten();
        alerts.filter(|alert| alert["status"] == status).cloned().collect()
    }
}

fn configuration(hook: &str) -> String {
    format!(
        "route: {{receiver: hook, group_by: [alertname, check], group_wait: 0s, group_interval: 1s, \
         repeat_interval: 1h}}\nreceivers:\n- name: hook\n  webhook_configs:\n  \
         - {{url: '{hook}', send_resolved: true}}\n"
    )
}
