//! (j) What was measured and decided can be asked for, and survives a kill.

use anyhow::{Context as _, Result, ensure};
use parallax_proto::v1;
use parallax_tests::harness::group::Group;
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

/// The answer of one coordinator of a group.
async fn said(group: &Group, of: &str, args: &[&str]) -> Result<Value> {
    let output = group.px_at(&[of], &[args, &["--output", "json"]].concat()).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a member says of the past between two moments, less what goes by the time of the question.
async fn told(group: &Group, of: &str, since: &str, until: &str) -> Result<Value> {
    let mut history =
        said(group, of, &[&HISTORY[..2], &["--since", since, "--until", until]].concat()).await?;
    let by = ["--by", "region,phase", "--quantiles", "50,95,99,99.9"];
    let wide = [&HISTORY[..2], &["--since", since, "--until", until], &by].concat();
    let wide = said(group, of, &wide).await?;
    let rows = |from: &Value| -> Vec<Value> {
        let all = from["rows"].as_array().cloned().unwrap_or_default();
        let kept = ["start", "end", "region", "passed", "failed", "reasons", "series"];
        all.iter().map(|row| kept.iter().map(|key| row[*key].clone()).collect()).collect()
    };
    history["rows"] = [rows(&history), rows(&wide)].concat().into();
    history["node_id"] = Value::Null;
    let uptime =
        said(group, of, &["uptime", "checkout", "--since", since, "--until", until]).await?;
    let of_check = &uptime["checks"][0];
    // Not what grows until the range has passed: its end is rounded up to a whole cell.
    let some = |from: &Value, keys: &[&str]| -> Value {
        keys.iter().map(|key| from[*key].clone()).collect::<Vec<_>>().into()
    };
    let regions = of_check["regions"].as_array().context("no regions")?;
    let counts = regions.iter().map(|one| some(one, &["region", "passed", "failed", "missed"]));
    let uptime = [some(of_check, &["check_uid", "down", "outages"]), counts.collect()];
    let list = async |what: &str| -> Result<Vec<Value>> {
        let said = said(group, of, &[what, "list"]).await?;
        let lists = said.as_object().into_iter().flat_map(|said| said.values());
        let all = lists.filter_map(Value::as_array).flatten().cloned();
        // Not the incident of probes that were killed for this.
        Ok(all.filter(|one| one.to_string().contains("checkout")).collect())
    };
    let (checks, incidents) = (list("check").await?, list("incident").await?);
    ensure!(checks.len() == 1 && incidents.len() == 1, "{checks:?} {incidents:?}");
    Ok(serde_json::json!([history, uptime, checks, incidents]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_comes_back_from_one_file_with_its_past_and_a_new_epoch() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &REGIONS).await?;
    let check = CheckYaml::new("checkout", &group.target.url(), &REGIONS);
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let api = group.api("c1").await?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    group.target.refuse();
    until::verdict(&api, "checkout", v1::Verdict::Down).await?;
    group.target.heal()?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    until::pages(&group.sink, "checkout", 2).await?;
    let passed = async |group: &Group| -> Result<Vec<u64>> {
        let history = said(group, "c1", &HISTORY).await?;
        let rows = history["rows"].as_array().context("no rows")?;
        Ok(rows.iter().filter_map(|row| row["passed"].as_u64()).collect())
    };
    wait_until(STALE, "windows of both regions", async || {
        let passed = passed(&group).await?;
        let both = passed.len() == REGIONS.len() && passed.iter().all(|count| *count > 0);
        Ok(Look::when(both, &passed))
    })
    .await?;
    let asked = said(&group, "c1", &HISTORY).await?;
    let moment = |key: &str| asked[key].as_str().map(str::to_owned).context("no moment");
    let (since, until) = (moment("since")?, moment("until")?);
    // What comes after the question would be told by one and not by the other.
    REGIONS.iter().for_each(|region| group.kill_probe(region));
    let (whole, short) = (group.path("whole.plx"), group.path("short.plx"));
    group.px_at(&["c1"], &["backup", &whole]).await?;
    let left_out = group.px_at(&["c1"], &["backup", &short, "--without-history"]).await?;
    assert!(left_out.status.success());
    assert!(std::fs::metadata(&short)?.len() < std::fs::metadata(&whole)?.len());
    let before = told(&group, "c1", &since, &until).await?;
    let was = said(&group, "c1", &["cluster", "status"]).await?;

    for name in group.names() {
        group.kill_member(&name)?;
    }
    let coordinator = env!("CARGO_BIN_EXE_px-coordinator");
    let data = group.path("data-c1");
    let tool = async |args: Vec<String>| -> Result<String> {
        let run = move || std::process::Command::new(coordinator).args(args).output();
        let output = tokio::task::spawn_blocking(run).await??;
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
        Ok(out)
    };
    let owned = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect::<Vec<String>>();
    let looked = tool(owned(&["inspect", &whole])).await?;
    assert!(looked.contains("windows in ") && looked.contains("it can be restored"), "{looked}");
    let looked = tool(owned(&["inspect", &short])).await?;
    assert!(looked.contains("was left out"), "{looked}");
    let restore = ["restore", &whole, "--data-dir", &data, "--name", "c1", "--force"];
    let restored = tool(owned(&restore)).await?;
    assert!(restored.contains("its history is back"), "{restored}");
    group.spawn_member("c1")?;
    group.member_up("c1").await?;
    group.leader().await?;

    let after = told(&group, "c1", &since, &until).await?;
    assert_eq!(before, after);
    let is = said(&group, "c1", &["cluster", "status"]).await?;
    assert!(is["epoch"].as_u64() > was["epoch"].as_u64(), "{was} {is}");
    assert_ne!(is["cluster_id"], was["cluster_id"]);
    group.told();
    Ok(())
}
