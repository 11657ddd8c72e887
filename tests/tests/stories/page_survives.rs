//! (e) The shortest way from a check to a page; and a coordinator that dies between "incident
//! opened" and the webhook's answer, which loses no page.

use std::time::Duration;

use anyhow::Result;
use parallax_proto::v1;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::sink::Manner;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, SOON, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

#[tokio::test(flavor = "multi_thread")]
async fn one_check_in_one_region_pages_a_webhook() -> Result<()> {
    let region = "eu-west";
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &[region]).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &[region]);
    mesh.apply(&yaml::file(&[region], &mesh.sink.url(), &[check])).await?;
    let api = mesh.api().await?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;

    mesh.target.refuse();
    let opened = until::pages(&mesh.sink, "checkout", 1).await?.remove(0);
    assert_eq!(opened.kind, "opened");
    assert_eq!(opened.body["version"], 1);
    assert_eq!(opened.body["verdict"], "down");
    assert_eq!(opened.body["idempotency_key"], opened.key.as_str());
    let says = &opened.body["regions"];
    assert_eq!(says.as_array().map(Vec::len), Some(1), "{says}");
    assert_eq!((&says[0]["region"], &says[0]["state"]), (&region.into(), &"fail".into()));
    assert_eq!(says[0]["reason"], "connect_refused");
    let incidents = api.incidents_of("checkout").await?;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(opened.body["incident"]["uid"], incidents[0].uid.as_str());

    mesh.target.heal()?;
    let resolved = until::pages(&mesh.sink, "checkout", 2).await?.remove(1);
    assert_eq!((resolved.kind.as_str(), &resolved.body["verdict"]), ("resolved", &"up".into()));
    assert_eq!(resolved.body["incident"]["cause"], "recovered");
    assert_eq!(api.incidents_of("checkout").await?.len(), 1);
    assert!(!mesh.coordinator_log()?.contains('\u{1b}'), "a log in a file has no colours");
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_answer_never_came_goes_out_again_under_the_same_key() -> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    mesh.apply(&yaml::file(&REGIONS, &mesh.sink.url(), &[check])).await?;
    let api = mesh.api().await?;
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;

    mesh.sink.behave(Manner::Hang);
    mesh.target.refuse();
    let first = wait_until(SOON, "a page that hangs", || async {
        let pages = mesh.sink.pages_of("checkout");
        Ok(Look::some(pages.first().cloned(), &pages))
    })
    .await?;
    assert_eq!(first.kind, "opened");
    assert!(!first.key.is_empty(), "{first:?}");

    mesh.kill_coordinator();
    mesh.sink.behave(Manner::Answer(200));
    mesh.start_coordinator().await?;
    let again = wait_until(STALE, "the page again", || async {
        let pages = mesh.sink.pages_of("checkout");
        let answered = pages.iter().find(|page| page.manner == Manner::Answer(200));
        Ok(Look::some(answered.cloned(), &pages))
    })
    .await?;
    assert_eq!((again.kind.as_str(), &again.key), ("opened", &first.key));
    assert_eq!(again.body, first.body, "every attempt under one key says the same");

    // The state knows: sent, and sent once.
    let api = mesh.api().await?;
    let incident = wait_until(SOON, "a delivery that is sent", || async {
        let incidents = api.incidents_of("checkout").await?;
        let sent = incidents.iter().find(|incident| {
            incident.deliveries.iter().any(|d| d.state() == v1::DeliveryState::Sent)
        });
        Ok(Look::some(sent.cloned(), &incidents))
    })
    .await?;
    assert_eq!(api.incidents_of("checkout").await?.len(), 1, "one outage, one incident");
    assert!(incident.resolved_at.is_none());

    mesh.target.heal()?;
    wait_until(STALE, "the resolve", || async {
        let pages = mesh.sink.pages_of("checkout");
        Ok(Look::when(pages.iter().any(|page| page.kind == "resolved"), &pages))
    })
    .await?;
    let answered: Vec<_> = mesh
        .sink
        .pages_of("checkout")
        .into_iter()
        .filter(|page| page.kind == "opened" && page.manner == Manner::Answer(200))
        .collect();
    assert_eq!(answered.len(), 1, "delivered more than once: {answered:?}");
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_at_any_moment_of_an_outage_opens_once_and_pages_under_one_key()
-> Result<()> {
    let mut mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    mesh.apply(&yaml::file(&REGIONS, &mesh.sink.url(), &[check])).await?;

    // Before the first fail is heard, around the decision, around the page, and after it.
    for (round, after_ms) in [0, 60, 120, 180, 240, 400].into_iter().enumerate() {
        let api = mesh.api().await?;
        until::everybody_passes(&api, "checkout").await?;
        mesh.target.refuse();
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        mesh.kill_coordinator();
        mesh.start_coordinator().await?;

        let api = mesh.api().await?;
        let what = format!("incident and page of round {round}");
        let uid = wait_until(STALE, &what, || async {
            let incidents = api.incidents_of("checkout").await?;
            let open = incidents.first().filter(|_| incidents.len() > round);
            let told = open.filter(|open| !pages_about(&mesh, &open.uid, "opened").is_empty());
            Ok(Look::some(told.map(|open| open.uid.clone()), &incidents))
        })
        .await?;
        mesh.target.heal()?;
        wait_until(STALE, "the resolve", || async {
            let pages = pages_about(&mesh, &uid, "resolved");
            Ok(Look::when(!pages.is_empty(), mesh.sink.pages()))
        })
        .await?;
        let incidents = api.incidents_of("checkout").await?;
        assert_eq!(incidents.len(), round + 1, "one outage, one incident: {incidents:?}");
        for kind in ["opened", "resolved"] {
            let keys = pages_about(&mesh, &uid, kind);
            assert!(keys.iter().all(|key| *key == keys[0]), "{kind}: {keys:?}");
        }
    }
    mesh.told();
    Ok(())
}

/// The keys of all pages of one kind about one incident.
fn pages_about(mesh: &Mesh, uid: &str, kind: &str) -> Vec<String> {
    let pages = mesh.sink.pages_of("checkout").into_iter();
    let about = pages.filter(|page| page.kind == kind && page.body["incident"]["uid"] == *uid);
    about.map(|page| page.key).collect()
}
