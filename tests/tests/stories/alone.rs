//! A probe without coordinators: it goes on, a kill does not stop it, and what it measured comes home.

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
    let cache = std::path::PathBuf::from(mesh.path("data-eu-west/assignments.cache"));
    wait_until(STALE, "cached assignments with the check", || async {
        let bytes = std::fs::read(&cache)?;
        let named = bytes.windows(8).any(|eight| eight == b"checkout");
        Ok(Look::when(named, bytes.len()))
    })
    .await?;

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
