//! (f) What people do to a check while it is down: edit it, pause it, delete it, or end its
//! incident by hand. Everything they do goes through the command line.

use anyhow::{Context, Result};
use parallax_proto::v1;
use parallax_proto::v1::timeline_event::Event;
use parallax_tests::harness::client::Api;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::target::Behaviour;
use parallax_tests::harness::until;
use parallax_tests::harness::wait::{Look, SOON, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];

/// Runs in which a mistake would show: some ten intervals of every region.
const LONG_ENOUGH: u64 = 30;

/// `checkout` as it was applied first.
fn checkout(mesh: &Mesh) -> CheckYaml {
    CheckYaml::new("checkout", &mesh.target.url(), &REGIONS)
}

/// Applies `check` beside the regions and the contact.
async fn apply(mesh: &Mesh, check: CheckYaml) -> Result<()> {
    mesh.apply(&yaml::file(&REGIONS, &mesh.sink.url(), &[check])).await
}

/// Three regions of which all see `checkout` fail, and the one page about it.
async fn mesh_that_is_down() -> Result<(Mesh, Api)> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    apply(&mesh, checkout(&mesh)).await?;
    let api = mesh.api().await?;
    until::everybody_passes(&api, "checkout").await?;
    mesh.target.treat_everybody(Behaviour::Status(503));
    until::pages(&mesh.sink, "checkout", 1).await?;
    Ok((mesh, api))
}

/// The newest incident of `checkout`, of which there must be so many.
async fn newest(api: &Api, count: usize) -> Result<v1::Incident> {
    let incidents = api.incidents_of("checkout").await?;
    assert_eq!(incidents.len(), count, "{incidents:?}");
    incidents.into_iter().next().context("no incident")
}

/// The revision of the last change of `checkout`.
async fn revision(mesh: &Mesh) -> Result<u64> {
    let check = mesh.px_json(&["check", "get", "checkout"]).await?;
    check["etag"].as_u64().with_context(|| format!("no etag in {check}"))
}

/// Asserts how an incident ended, and that the page about it says so.
fn ended(mesh: &Mesh, incident: &v1::Incident, cause: v1::ResolveCause, word: &str, say: &str) {
    assert!(incident.resolved_at.is_some(), "{incident:?}");
    assert_eq!(incident.cause(), cause, "{incident:?}");
    let pages = mesh.sink.pages_of("checkout");
    let page = pages.last().map(|page| (page.kind.as_str(), &page.body));
    let (kind, body) = page.unwrap_or_default();
    assert_eq!(kind, "resolved", "{pages:?}");
    assert_eq!(body["incident"]["uid"], incident.uid.as_str(), "{body}");
    assert_eq!(body["incident"]["cause"], word, "{body}");
    assert!(body["summary"].as_str().is_some_and(|summary| summary.contains(say)), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_keeps_an_incident_open_and_pause_and_delete_end_it() -> Result<()> {
    let (mesh, api) = mesh_that_is_down().await?;
    let first = newest(&api, 1).await?;

    // Another timeout is another run digest: the votes so far were for what is no more.
    apply(&mesh, CheckYaml { timeout: "1900ms".to_owned(), ..checkout(&mesh) }).await?;
    let edited = revision(&mesh).await?;
    until::more_runs(&mesh.target, LONG_ENOUGH).await?;
    let row = until::verdict(&api, "checkout", v1::Verdict::Down).await?;
    assert_eq!(row.incident_uid, first.uid);
    let open = newest(&api, 1).await?;
    assert!(open.resolved_at.is_none(), "{open:?}");
    let edits: Vec<_> = open
        .timeline
        .iter()
        .filter_map(|event| match &event.event {
            Some(Event::CheckEdited(edit)) => Some(edit),
            _ => None,
        })
        .collect();
    assert_eq!(edits.len(), 1, "{:?}", open.timeline);
    assert_eq!((edits[0].revision, edits[0].run_changed), (edited, true));
    assert_eq!(mesh.sink.pages_of("checkout").len(), 1, "an edit pages nobody");

    // Paused: over in the entry that pauses it, although everybody still fails.
    apply(&mesh, CheckYaml { enabled: false, ..checkout(&mesh) }).await?;
    let paused = revision(&mesh).await?;
    until::pages(&mesh.sink, "checkout", 2).await?;
    let closed = newest(&api, 1).await?;
    ended(&mesh, &closed, v1::ResolveCause::CheckPaused, "check_paused", "was paused while down");
    assert_eq!(closed.resolved_revision, paused, "in the same entry");

    // Enabled: with empty ballots, so that only new fails open another one.
    apply(&mesh, checkout(&mesh)).await?;
    let pages = until::pages(&mesh.sink, "checkout", 3).await?;
    assert_eq!(pages[2].kind, "opened");
    let second = newest(&api, 2).await?;
    assert_ne!(second.uid, first.uid);
    let enabled = revision(&mesh).await?;
    assert!(second.opened_revision > enabled, "{second:?}");

    // Deleted: the same, and the incident can still be read.
    mesh.px_ok(&["check", "delete", "checkout"]).await?;
    until::pages(&mesh.sink, "checkout", 4).await?;
    let closed = newest(&api, 2).await?;
    assert_eq!(closed.uid, second.uid);
    ended(&mesh, &closed, v1::ResolveCause::CheckDeleted, "check_deleted", "deleted while down");
    let said = mesh.px_ok(&["incident", "get", &closed.uid]).await?;
    assert!(said.contains("checkout") && said.contains("deleted"), "{said}");

    // Nobody runs it any more: what was under way ends, and then the target is left alone.
    let mut before = mesh.target.requests();
    let mut quiet = 0;
    wait_until(SOON, "a target that is left alone", || {
        let now = mesh.target.requests();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        async move { Ok(Look::when(quiet >= 50, now)) }
    })
    .await?;
    assert_eq!(mesh.sink.pages_of("checkout").len(), 4);
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_corrected_resolves_by_the_votes_and_regions_of_the_edit() -> Result<()> {
    let (mesh, api) = mesh_that_is_down().await?;
    let open = newest(&api, 1).await?;

    // The target was right and the check was not.
    let corrected = CheckYaml {
        expect: vec!["status == 503".to_owned()],
        regions: vec!["eu-west".to_owned(), "ap-south".to_owned()],
        ..checkout(&mesh)
    };
    apply(&mesh, corrected).await?;
    let edited = revision(&mesh).await?;
    until::pages(&mesh.sink, "checkout", 2).await?;
    let closed = newest(&api, 1).await?;
    assert_eq!(closed.uid, open.uid);
    ended(&mesh, &closed, v1::ResolveCause::Recovered, "recovered", "is no longer down");
    assert!(closed.resolved_revision > edited, "not by the edit itself: {closed:?}");
    let record = closed.resolved_by.clone().unwrap_or_default();
    let rule = record.rule.unwrap_or_default();
    assert_eq!((rule.regions, rule.up_at, record.passing), (2, 2, 2), "{record:?}");
    let regions: Vec<&str> = record.ballots.iter().map(|b| b.region.as_str()).collect();
    assert_eq!(regions, ["eu-west", "ap-south"]);
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolve_by_hand_needs_force_while_it_fails_and_latches() -> Result<()> {
    let (mesh, api) = mesh_that_is_down().await?;
    let first = newest(&api, 1).await?;
    until::verdict(&api, "checkout", v1::Verdict::Down).await?;

    let refused = mesh.px(&["incident", "resolve", &first.uid, "--note", "it is fine"]).await?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("--force") && said.contains("still_failing"), "{said}");
    assert!(newest(&api, 1).await?.resolved_at.is_none());

    let args = ["incident", "resolve", &first.uid, "--note", "known, planned", "--force"];
    mesh.px_ok(&args).await?;
    until::pages(&mesh.sink, "checkout", 2).await?;
    let closed = newest(&api, 1).await?;
    ended(&mesh, &closed, v1::ResolveCause::ByHand, "by_hand", "resolved by hand");
    let by = closed.timeline.iter().find_map(|event| match &event.event {
        Some(Event::Resolved(resolved)) => Some((resolved.by.as_str(), resolved.note.as_str())),
        _ => None,
    });
    assert_eq!(by, Some(("anna", "known, planned")), "{:?}", closed.timeline);

    // Latched: it goes on failing, is still called down, and nobody is paged for it.
    until::more_runs(&mesh.target, LONG_ENOUGH).await?;
    let row = api.status("checkout").await?;
    assert_eq!((row.verdict(), row.incident_uid.as_str()), (v1::Verdict::Down, ""));
    newest(&api, 1).await?;
    assert_eq!(mesh.sink.pages_of("checkout").len(), 2);

    // Better once, and it is a new story.
    mesh.target.treat_everybody(Behaviour::Well);
    until::verdict(&api, "checkout", v1::Verdict::Up).await?;
    mesh.target.treat_everybody(Behaviour::Status(503));
    let pages = until::pages(&mesh.sink, "checkout", 3).await?;
    assert_eq!(pages[2].kind, "opened");
    let second = newest(&api, 2).await?;
    assert_ne!(second.uid, first.uid);
    mesh.told();
    Ok(())
}
