//! (w) An apply in one message: it does what the stream does, says the same, and refuses what needs
//! the stream.

use anyhow::{Context, Result};
use parallax_proto::v1;
use parallax_tests::harness::client::{acknowledged, named, region_request, request_id};
use parallax_tests::harness::mesh::Mesh;
use tonic::Code;

const CLIENT: &str = "one-message";

fn region(name: &str, title: &str) -> v1::Region {
    v1::Region { meta: Some(named(name)), title: title.to_owned() }
}

/// A new apply of one region, as request `number`.
fn request(number: u64, name: &str, title: &str) -> v1::ApplyWholeRequest {
    region_request(request_id(CLIENT, number), region(name, title))
}

fn rule_of(status: &tonic::Status) -> &str {
    status.metadata().get("parallax-rule").and_then(|rule| rule.to_str().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_in_one_message_is_the_apply_of_the_stream() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &["eu-west"]).await?;
    let api = mesh.api().await?;

    // Each is asked again the other way: it is the same request, and is carried out once.
    let first = api.apply_whole(request(1, "r1", "in one message")).await?;
    let again = api.apply_streamed(request(1, "r1", "in one message")).await?;
    assert_eq!(acknowledged(&first)?, acknowledged(&again)?);
    assert_eq!((first.changes.len(), again.changes.len()), (1, 0), "{first:?} {again:?}");
    let second = api.apply_streamed(request(2, "r1", "as a stream")).await?;
    let again = api.apply_whole(request(2, "r1", "as a stream")).await?;
    assert_eq!(acknowledged(&second)?, acknowledged(&again)?);
    assert!(acknowledged(&second)? > acknowledged(&first)?);

    // The same words about the same change, and about what is wrong with one.
    let dry = |mut request: v1::ApplyWholeRequest| {
        if let Some(header) = &mut request.header {
            header.dry_run = true;
        }
        request
    };
    for (name, title) in [("r1", "another"), ("r2", "new"), ("No Name", "x"), ("r1", "as a stream")]
    {
        let asked = || dry(request(3, name, title));
        let (mut whole, mut streamed) =
            (api.apply_whole(asked()).await?, api.apply_streamed(asked()).await?);
        // Of the state that it was planned on, which goes on between the two.
        for answer in [&mut whole, &mut streamed] {
            answer.result.iter_mut().for_each(|result| result.revision = 0);
        }
        assert_eq!(whole, streamed, "{name}");
        assert_eq!(whole.violations.is_empty(), name != "No Name", "{whole:?}");
        assert_eq!(whole.result.is_some(), name != "No Name", "{whole:?}");
        assert!(whole.result.is_none_or(|result| !result.committed), "{whole:?}");
    }
    let stored = api.region("r1", false).await?.context("r1 is gone")?;
    assert_eq!(stored.title, "as a stream");
    mesh.told();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_message_may_not_hold_is_refused_by_its_name() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &["eu-west"]).await?;
    let api = mesh.api().await?;
    let plain = || request(1, "r1", "r1");
    let many = |count: usize| {
        let resources = (0..count).map(|at| v1::Resource {
            kind: Some(v1::resource::Kind::Region(region(&format!("r{at}"), ""))),
        });
        v1::ApplyWholeRequest { resources: resources.collect(), ..plain() }
    };
    let headed = |change: fn(&mut v1::ApplyHeader)| {
        let mut request = plain();
        if let Some(header) = &mut request.header {
            change(header);
        }
        request
    };
    let table = [
        (
            v1::ApplyWholeRequest { header: None, ..plain() },
            (Code::InvalidArgument, "", "header: "),
        ),
        (headed(|header| header.prune = true), (Code::InvalidArgument, "", "header.prune: ")),
        (
            headed(|header| header.source = "x".repeat(5_000)),
            (Code::InvalidArgument, "text_too_long", "header.source: "),
        ),
        (
            headed(|header| header.request_id = None),
            (Code::InvalidArgument, "request_id", "request_id: "),
        ),
        (many(9), (Code::InvalidArgument, "too_many_resources", "resources: 9 ")),
        (
            request(1, "r1", &"x".repeat(200_000)),
            (Code::ResourceExhausted, "resource_too_large", "a resource of "),
        ),
    ];
    for (request, (code, rule, begins)) in table {
        let status = api.apply_whole(request).await.err().context("it was taken")?;
        assert_eq!((status.code(), rule_of(&status)), (code, rule), "{status:?}");
        assert!(status.message().starts_with(begins), "{status:?}");
    }
    assert!(api.region("r1", false).await?.is_none(), "nothing of it was written");
    acknowledged(&api.apply_whole(many(8)).await?)?;
    mesh.told();
    Ok(())
}
