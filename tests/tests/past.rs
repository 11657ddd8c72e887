//! (j) What was measured and decided can be asked for, and survives a kill.

use anyhow::{Context as _, Result};
use parallax_proto::v1;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use serde_json::Value;

const REGIONS: [&str; 2] = ["eu-west", "us-east"];
const HISTORY: [&str; 7] =
    ["history", "checkout", "--since", "1h", "--by", "region,phase", "--quantiles=50,99.9"];

/// Runs that passed, by region.
async fn passed(mesh: &Mesh) -> Result<Vec<u64>> {
    let said = mesh.px_json(&HISTORY).await?;
    let rows = said["rows"].as_array().context("no rows")?;
    Ok(rows.iter().filter_map(|row| row["passed"].as_u64()).collect())
}

async fn both_passed(mesh: &Mesh) -> Result<Vec<u64>> {
    wait_until(STALE, "windows of both regions", async || {
        let passed = passed(mesh).await?;
        let both = passed.len() == REGIONS.len() && passed.iter().all(|count| *count > 0);
        Ok(Look::some(both.then(|| passed.clone()), &passed))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_uptime_survive_a_kill_and_say_what_they_cover() -> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    until::verdict(&mesh.api().await?, "checkout", v1::Verdict::Up).await?;
    let before = both_passed(&mesh).await?;

    let said = mesh.px_json(&HISTORY).await?;
    let row = &said["rows"][0];
    let total = row["series"].as_array().and_then(|all| all.iter().find(|s| s["phase"] == "total"));
    let total = total.context("no series of total")?;
    let quantile = |at: usize| total["quantiles"][at]["ms"].as_f64().unwrap_or_default();
    assert!(quantile(0) > 0.0 && quantile(0) <= quantile(1), "{total}");
    // An hour was asked for and some seconds are there.
    let coverage = row["coverage_percent"].as_f64().context("no coverage")?;
    assert!(coverage > 0.0 && coverage < 50.0, "{row}");
    assert_eq!(said["tier"], "windows");

    mesh.kill_coordinator();
    mesh.start_coordinator().await?;
    let after = passed(&mesh).await?;
    assert!(
        after.iter().zip(&before).all(|(after, before)| after >= before),
        "{before:?} {after:?}"
    );

    let uptime: Value = mesh.px_json(&["uptime", "checkout", "--since", "1h"]).await?;
    let of = &uptime["checks"][0];
    assert_eq!(of["check"], "checkout");
    assert_eq!(of["outages"], 0, "{of}");
    assert_eq!(of["uptime_percent"], 100.0, "{of}");
    assert_eq!(of["regions"].as_array().map(Vec::len), Some(REGIONS.len()), "{of}");
    let table = mesh.px_ok(&["uptime", "--all"]).await?;
    assert!(table.contains("checkout") && table.contains("100.000%"), "{table}");
    mesh.told();
    Ok(())
}
