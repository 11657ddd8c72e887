//! A probe without coordinators: it goes on, neither a stop nor a kill ends that, and what it measured
//! comes home.

use anyhow::{Context as _, Result, ensure};
use parallax_proto::v1;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::target::Behaviour;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 1] = ["eu-west"];
const HISTORY: [&str; 6] = ["history", "checkout", "--since", "1h", "--by", "region"];

/// Runs that the history holds: passed, failed.
async fn counted(mesh: &Mesh) -> Result<(u64, u64)> {
    let said = mesh.px_json(&HISTORY).await?;
    let rows = said["rows"].as_array().context("no rows")?;
    let sum = |what: &str| rows.iter().filter_map(|row| row[what].as_u64()).sum();
    Ok((sum("passed"), sum("failed")))
}

/// All runs that the history holds of a check, whatever they are counted as.
async fn runs(mesh: &Mesh, check: &str) -> Result<u64> {
    let said = mesh.px_json(&["history", check, "--since", "1h"]).await?;
    let rows = said["rows"].as_array().context("no rows")?;
    let sum = |what: &str| rows.iter().filter_map(|row| row[what].as_u64()).sum::<u64>();
    // A first run is of no slot, as ordered ones are; what comes after a check was paused is of a
    // probe that has it no longer.
    Ok(["passed", "warned", "failed", "ordered", "unassigned"].map(sum).iter().sum())
}

/// Waits until the probe's cached assignments name a check, or none of that name.
async fn cached(mesh: &Mesh, check: &str, named: bool) -> Result<()> {
    let cache = std::path::PathBuf::from(mesh.path("data-eu-west/assignments.cache"));
    wait_until(STALE, "cached assignments", || async {
        let bytes = std::fs::read(&cache)?;
        let found = bytes.windows(check.len()).any(|some| some == check.as_bytes());
        Ok(Look::when(found == named, bytes.len()))
    })
    .await
}

/// Bytes of segments in the spool of the region's probe.
fn spooled(mesh: &Mesh) -> u64 {
    let dir = std::path::PathBuf::from(mesh.path("data-eu-west/spool"));
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let segments =
        entries.flatten().filter(|of| of.path().extension().is_some_and(|e| e == "spool"));
    segments.filter_map(|segment| Some(segment.metadata().ok()?.len())).sum()
}

/// Waits until one more window is on the disk; the bytes there then.
async fn grown(mesh: &Mesh, before: u64) -> Result<u64> {
    wait_until(STALE, "one more window on the disk", || async {
        let bytes = spooled(mesh);
        Ok(Look::some((bytes > before).then_some(bytes), bytes))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_killed_while_nobody_is_there_goes_on_and_all_windows_come_home_once()
-> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    until::verdict(&mesh.api().await?, "checkout", v1::Verdict::Up).await?;
    // The assignments are cached a moment after they came.
    cached(&mesh, "checkout", true).await?;

    // Nobody is there any more; a window is sealed and spooled. Meanwhile there is an outage that is
    // over before anybody could hear of it.
    mesh.kill_coordinator();
    mesh.target.treat_everybody(Behaviour::Reset);
    until::more_runs(&mesh.target, 3).await?;
    mesh.target.treat_everybody(Behaviour::Well);
    // The outage lies in one window or two, and what is on the disk now may be of before: the kill
    // takes only what is open.
    let mut first = spooled(&mesh);
    for _ in 0..2 {
        first = grown(&mesh, first).await?;
    }
    mesh.kill_probe("eu-west");
    let before = mesh.target.requests();

    // The next life hears nobody and runs what was cached.
    mesh.start_probe("eu-west")?;
    until::more_runs(&mesh.target, 5).await?;
    ensure!(spooled(&mesh) >= first, "what the first life left is still there");
    grown(&mesh, first).await?;

    // Everything comes home, and leaves the disk.
    mesh.start_coordinator().await?;
    wait_until(STALE, "the spool to be delivered", || async {
        let bytes = spooled(&mesh);
        Ok(Look::when(bytes == 0, bytes))
    })
    .await?;
    let api = mesh.api().await?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    // No more passed before the second life than the target was asked before.
    let (passed, failed) = wait_until(STALE, "what both lives have seen", || async {
        let (passed, failed) = counted(&mesh).await?;
        let both = passed > before && failed >= 3;
        Ok(Look::some(both.then_some((passed, failed)), (passed, failed, before)))
    })
    .await?;
    // Each run asked the target once: more would have been counted twice.
    let asked = mesh.target.requests();
    ensure!(passed + failed <= asked, "{passed} + {failed} runs of {asked} requests");
    ensure!(mesh.sink.pages().is_empty(), "{:?}", mesh.sink.pages());
    ensure!(api.incidents_of("checkout").await?.is_empty(), "nothing was opened by the past");
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_restarted_while_nobody_is_there_loses_no_run_and_tells_none_twice()
-> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let names = ["checkout", "search"];
    let file = |enabled: bool, url: &str| {
        let check = |name: &&str| CheckYaml { enabled, ..CheckYaml::new(name, url, &REGIONS) };
        yaml::file(&REGIONS, "${env:PX_HOOK}", &names.iter().map(check).collect::<Vec<_>>())
    };
    mesh.apply(&file(true, &mesh.target.url())).await?;
    for name in names {
        until::verdict(&mesh.api().await?, name, v1::Verdict::Up).await?;
        cached(&mesh, name, true).await?;
    }

    // Nobody is there any more. One window is over; the next one is in the middle when the probe is told
    // to stop.
    mesh.kill_coordinator();
    grown(&mesh, spooled(&mesh)).await?;
    until::more_runs(&mesh.target, 10).await?;
    let code = mesh.stop_probe("eu-west").await?;
    ensure!(code == Some(0), "it ended with {code:?}");
    let first_life = mesh.target.requests();

    // The next life hears nobody and runs what was cached, until one window of its own is over.
    mesh.start_probe("eu-west")?;
    until::more_runs(&mesh.target, 10).await?;
    grown(&mesh, spooled(&mesh)).await?;

    // They are back, and a while later the checks are paused, in the middle of a window.
    mesh.start_coordinator().await?;
    until::more_runs(&mesh.target, 10).await?;
    mesh.apply(&file(false, &mesh.target.url())).await?;
    for name in names {
        cached(&mesh, name, false).await?;
    }
    let all = || async {
        let mut all = 0;
        for name in names {
            all += runs(&mesh, name).await?;
        }
        anyhow::Ok(all)
    };
    // Each run has asked the target once.
    wait_until(STALE, "every run of both lives in the history", || async {
        let (asked, there) = (mesh.target.requests(), all().await?);
        Ok(Look::when(there == asked, (there, asked, first_life)))
    })
    .await?;
    wait_until(STALE, "the spool to be delivered", || async {
        let bytes = spooled(&mesh);
        Ok(Look::when(bytes == 0, bytes))
    })
    .await?;
    let (asked, there) = (mesh.target.requests(), all().await?);
    ensure!(there == asked, "{there} runs in the history, the target was asked {asked} times");
    ensure!(first_life >= 20 && asked >= first_life + 20, "{first_life} of {asked}");
    ensure!(mesh.sink.pages().is_empty(), "{:?}", mesh.sink.pages());
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_ends_when_it_is_told_although_its_disk_hangs() -> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    until::verdict(&mesh.api().await?, "checkout", v1::Verdict::Up).await?;
    ensure!(mesh.stop_probe("eu-west").await? == Some(0), "it did not stop well");
    // Whoever opens a pipe waits for somebody to write into it, for ever.
    let pipe = mesh.path("data-eu-west/spool/segment-999999999999.spool");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
    ensure!(made.success(), "mkfifo: {made}");
    mesh.start_probe("eu-west")?;
    until::more_runs(&mesh.target, 3).await?;
    let log = mesh.probe_log("eu-west")?;
    ensure!(log.matches("spool open").count() == 1, "only the first life has read its disk: {log}");
    let code = mesh.stop_probe("eu-west").await?;
    ensure!(code == Some(0), "it ended with {code:?}");
    mesh.told();
    Ok(())
}
