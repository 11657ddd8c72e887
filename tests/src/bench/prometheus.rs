//! What many people page by today, from Debian's packages: Prometheus, one `blackbox_exporter` a region,
//! and Alertmanager, set to be as fast as they can be (a look and an evaluation a second, no wait before
//! a group is told).

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use parallax_runtime::clock;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::nginx::free_port;
use crate::harness::process::Process;
use crate::harness::sink::Sink;
use crate::harness::target::Target;
use crate::harness::wait::{Look, STALE, wait_until};

const PROMETHEUS: &str = "prometheus";
const ALERTMANAGER: &str = "prometheus-alertmanager";
const BLACKBOX: &str = "prometheus-blackbox-exporter";
/// Looks and evaluations go on for so long after the end of an alert was told, until everything is as
/// before: the third region looks within a second.
const SETTLES: Duration = Duration::from_millis(1_500);

/// All of them; they end with this.
#[derive(Debug)]
pub struct Alerting {
    processes: Vec<Process>,
    sink: Sink,
}

impl Alerting {
    /// Starts them over this target, seen from so many regions, and waits until all of them see it well.
    ///
    /// # Errors
    /// When one is not installed, or does not come up.
    pub async fn start(dir: &Path, target: &Target, regions: &[&str]) -> Result<Self> {
        let sink = Sink::start()?;
        let mut processes = Vec::new();
        let modules = dir.join("blackbox.yml");
        std::fs::write(&modules, "modules: {http_2xx: {prober: http, timeout: 900ms}}\n")?;
        let mut exporters = Vec::new();
        for region in regions {
            let listens = listen()?;
            let flags = [
                format!("--config.file={}", modules.display()),
                format!("--web.listen-address={listens}"),
                "--log.level=error".to_owned(),
            ];
            let log = dir.join(format!("blackbox-{region}.log"));
            processes.push(Process::start(BLACKBOX, BLACKBOX, flags, &[], &log)?);
            exporters.push(((*region).to_owned(), listens));
        }
        let manager = listen()?;
        let path = dir.join("alertmanager.yml");
        std::fs::write(&path, manager_file(&sink.url()))?;
        let flags = [
            format!("--config.file={}", path.display()),
            format!("--storage.path={}", dir.join("alertmanager").display()),
            format!("--web.listen-address={manager}"),
            "--cluster.listen-address=".to_owned(),
            "--log.level=error".to_owned(),
        ];
        let log = dir.join("alertmanager.log");
        processes.push(Process::start(ALERTMANAGER, ALERTMANAGER, flags, &[], &log)?);

        let listens = listen()?;
        std::fs::write(dir.join("rules.yml"), rules_file(regions.len()))?;
        let path = dir.join("prometheus.yml");
        std::fs::write(&path, prometheus_file(&exporters, &manager, &target.url()))?;
        let flags = [
            format!("--config.file={}", path.display()),
            format!("--storage.tsdb.path={}", dir.join("prometheus").display()),
            format!("--web.listen-address={listens}"),
            "--log.level=error".to_owned(),
        ];
        let log = dir.join("prometheus.log");
        processes.push(Process::start(PROMETHEUS, PROMETHEUS, flags, &[], &log)?);

        let mut all = Self { processes, sink };
        for address in [&listens, &manager].into_iter().chain(exporters.iter().map(|(_, at)| at)) {
            all.listens(address).await?;
        }
        let before = target.requests();
        wait_until(STALE, "several looks from every region", || async {
            let looks = target.requests() - before;
            Ok(Look::when(looks >= 5 * regions.len() as u64, looks))
        })
        .await?;
        Ok(all)
    }

    async fn listens(&mut self, address: &str) -> Result<()> {
        let running = self.processes.iter_mut().try_for_each(Process::check_running);
        running?;
        wait_until(STALE, "a peer listens", || async {
            let connected = TcpStream::connect(address).await;
            Ok(Look::when(connected.is_ok(), format!("{address}: {connected:?}")))
        })
        .await
    }

    /// Breaks the target; how long until the webhook of the alert has arrived.
    ///
    /// # Errors
    /// When none arrives.
    pub async fn outage(&self, target: &mut Target) -> Result<Duration> {
        let before = self.told("firing").len();
        let broken_at = clock::instant();
        target.refuse();
        let arrived = wait_until(STALE, "an alert", || async {
            let told = self.told("firing");
            Ok(Look::some(told.get(before).copied(), told.len()))
        });
        Ok(arrived.await?.duration_since(broken_at))
    }

    /// Heals the target, and waits until its end was told and all is as before.
    ///
    /// # Errors
    /// When its end is not told.
    pub async fn heal(&self, target: &mut Target) -> Result<()> {
        let before = self.told("resolved").len();
        target.heal()?;
        wait_until(STALE, "the end of the alert", || async {
            let told = self.told("resolved").len();
            Ok(Look::when(told > before, told))
        })
        .await?;
        tokio::time::sleep(SETTLES).await;
        Ok(())
    }

    /// When the webhooks of this status arrived.
    fn told(&self, status: &str) -> Vec<Instant> {
        let of_status = |body: &Value| body["status"].as_str() == Some(status);
        let pages = self.sink.pages().into_iter();
        pages.filter(|page| of_status(&page.body)).map(|page| page.at).collect()
    }

    /// The versions that are installed.
    ///
    /// # Errors
    /// When one is not.
    pub fn versions() -> Result<Value> {
        let version = |program: &str| -> Result<String> {
            let output = Command::new(program).arg("--version").output();
            let output = output.with_context(|| format!("{program} is a package of Debian's"))?;
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1);
            let version = version.with_context(|| format!("{program}: no version in {text:?}"))?;
            Ok(version.trim_end_matches(',').to_owned())
        };
        Ok(json!({
            "prometheus": version(PROMETHEUS)?,
            "blackbox_exporter": version(BLACKBOX)?,
            "alertmanager": version(ALERTMANAGER)?,
        }))
    }
}

fn listen() -> Result<String> {
    Ok(format!("127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST)?))
}

/// One sample a region is enough, as `for: 0s` has it; more regions than half have to fail.
fn rules_file(regions: usize) -> String {
    format!(
        "groups:\n- name: outage\n  rules:\n  - alert: Down\n    \
         expr: sum by (target) (probe_success == bool 0) >= {}\n    for: 0s\n",
        regions / 2 + 1
    )
}

fn manager_file(hook: &str) -> String {
    format!(
        "route: {{receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s, \
         repeat_interval: 1h}}\nreceivers:\n- name: hook\n  webhook_configs:\n  \
         - {{url: '{hook}', send_resolved: true}}\n"
    )
}

fn prometheus_file(exporters: &[(String, String)], manager: &str, target: &str) -> String {
    let mut text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [rules.yml]\nalerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{manager}']}}]\n\
         scrape_configs:\n"
    );
    for (region, exporter) in exporters {
        let _ = write!(
            text,
            "- job_name: {region}\n  metrics_path: /probe\n  params: {{module: [http_2xx], target: ['{target}']}}\n  \
             static_configs: [{{targets: ['{exporter}'], labels: {{region: {region}, target: shop}}}}]\n"
        );
    }
    text
}
