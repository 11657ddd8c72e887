//! What the leader has to do later, it does: a silence ends, a step of a route comes, a storm has gathered,
//! and a link in a page keeps the next step back.

use std::time::Duration;

use anyhow::{Context as _, Result};
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_tests::harness::http;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::sink::Sink;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, SOON, wait_until};

const REGION: &str = "eu-west";
const SILENCE: Duration = Duration::from_secs(4);
const STEP: Duration = Duration::from_secs(3);
/// Of one contact; the first is told by itself.
const HERD: [&str; 4] = ["herd-1", "herd-2", "herd-3", "herd-4"];

fn config(mesh: &Mesh, boss: &Sink) -> Result<String> {
    let (hook, target, public) = (mesh.sink.url(), mesh.target.url(), &mesh.ports()?.public);
    let mut yaml = format!(
        "regions: [{{name: {REGION}}}]\n\
         mesh: {{public_url: \"http://{public}\", storm: {{over: 1, within: 5s}}}}\n\
         defaults: {{interval: 200ms, timeout: 2s, regions: [{REGION}]}}\n\
         contacts:\n  - {{name: boss, webhook: {{url: \"{}\"}}}}\n",
        boss.url()
    );
    for name in ["ops", "herd", "first", "second"] {
        yaml += &format!("  - {{name: {name}, webhook: {{url: \"{hook}\"}}}}\n");
    }
    yaml += "routes:\n";
    for (check, contact) in [("alone", "first"), ("acked", "second")] {
        yaml += &format!(
            "  - name: {check}\n    match: [check={check}]\n    \
             steps: [{{alert: [{contact}]}}, {{after: {}s, alert: [boss]}}]\n",
            STEP.as_secs()
        );
    }
    yaml += "checks:\n";
    let alerts = [("quiet", "alert: [ops], "), ("alone", ""), ("acked", "")];
    for (name, alert) in alerts.into_iter().chain(HERD.map(|name| (name, "alert: [herd], "))) {
        yaml += &format!("  - {{name: {name}, {alert}http: {{url: \"{target}\"}}}}\n");
    }
    Ok(yaml)
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_end_steps_come_storms_gather_and_links_keep_the_next_step_back() -> Result<()> {
    let boss = Sink::start()?;
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &[REGION]).await?;
    mesh.apply(&config(&mesh, &boss)?).await?;
    let api = mesh.api().await?;
    for check in ["quiet", "alone", "acked"].into_iter().chain(HERD) {
        until::verdict(&api, check, v1::Verdict::Up).await?;
    }
    let began = clock::instant();
    let length = format!("{}s", SILENCE.as_secs());
    let silence = ["silence", "add", "--check", "quiet", "--for", &length, "--comment", "a test"];
    mesh.px_ok(&silence).await?;
    mesh.target.refuse();

    let page = until::pages(&mesh.sink, "acked", 1).await?.remove(0);
    let link = page.body["acknowledge_url"].as_str().context("a link to acknowledge by")?;
    let public = &mesh.ports()?.public;
    let path = link.strip_prefix(&format!("http://{public}")).context("a link to this member")?;
    let pressed = http::press(public, path).await?;
    assert_eq!(pressed.status, 200, "{pressed:?}");

    let page = until::pages(&boss, "alone", 1).await?.remove(0);
    assert_eq!(page.kind, "escalated", "{page:?}");
    assert!(page.at.duration_since(began) >= STEP, "{page:?}");

    let page = until::pages(&mesh.sink, "quiet", 1).await?.remove(0);
    assert_eq!(page.kind, "opened", "{page:?}");
    assert!(page.at.duration_since(began) >= SILENCE, "{page:?}");

    let storm = wait_until(SOON, "the page of the storm", || async {
        let pages = mesh.sink.pages();
        let storm = pages.iter().find(|page| page.body["incident"]["kind"] == "storm").cloned();
        Ok(Look::some(storm, pages.len()))
    })
    .await?;
    let listed = storm.body["storm"].to_string();
    let told = HERD.map(|name| (listed.contains(name), !mesh.sink.pages_of(name).is_empty()));
    assert!(told.iter().all(|(listed, alone)| listed != alone), "each once: {told:?} {listed}");
    assert_eq!(told.iter().filter(|(listed, _)| *listed).count(), HERD.len() - 1, "{listed}");

    // Its step was due before all of this had come.
    assert!(boss.pages_of("acked").is_empty(), "{:?}", boss.pages_of("acked"));
    let incident = api.incidents_of("acked").await?.remove(0);
    assert!(incident.acknowledged_at.is_some(), "{incident:?}");
    mesh.target.heal()?;
    for check in ["quiet", "alone", "acked"] {
        let last = until::pages(&mesh.sink, check, 2).await?.remove(1);
        assert_eq!(last.kind, "resolved", "{last:?}");
    }
    assert_eq!(until::pages(&boss, "alone", 2).await?[1].kind, "resolved");
    mesh.told();
    Ok(())
}
