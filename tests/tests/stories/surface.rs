//! What tools find: health, reflection, and the public endpoints.

use anyhow::{Context as _, Result};
use parallax_proto::v1;
use parallax_proto::v1::config_service_client::ConfigServiceClient;
use parallax_proto::v1::contact_service_client::ContactServiceClient;
use parallax_tests::harness::client::channel;
use parallax_tests::harness::http;
use parallax_tests::harness::mesh::Mesh;
use parallax_tests::harness::until;
use parallax_tests::harness::yaml::{self, CheckYaml};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const REGIONS: [&str; 2] = ["eu-west", "us-east"];

#[tokio::test(flavor = "multi_thread")]
async fn health_reflection_and_metrics_answer() -> Result<()> {
    let mesh = Mesh::start(parallax_tests::binaries!(), &REGIONS).await?;
    let check = CheckYaml::new("checkout", &mesh.target.url(), &REGIONS);
    let file = yaml::file(&REGIONS, &mesh.sink.url(), &[check]);
    let settings = "mesh: {alert: [ops]}\nroutes: [{name: rest, alert: [ops]}]\n";
    mesh.apply(&format!("{file}{settings}")).await?;
    until::everybody_passes(&mesh.api().await?, "checkout").await?;
    let ports = mesh.ports()?;
    let channel = channel(&ports.api, &mesh.tls("anna")).await?;

    // Who may look is shown no secret; who may edit is, as an export is to be whole.
    let chat = "contacts: [{name: chat, slack: {token: xoxb-hunter2, channel: \"#ops\"}}]\n";
    mesh.apply(chat).await?;
    mesh.issue(&["user", "vera", "--role", "view"], "vera").await?;
    for (who, sees) in [("anna", true), ("vera", false)] {
        let channel = self::channel(&ports.api, &mesh.tls(who)).await?;
        let mut contacts = ContactServiceClient::new(channel);
        let got = v1::GetContactRequest { name: "chat".to_owned(), ..Default::default() };
        let got = contacts.get_contact(got).await?.into_inner();
        let all = contacts.list_contacts(v1::ListContactsRequest::default()).await?.into_inner();
        for said in [format!("{:?}", got.contact), format!("{:?}", all.contacts)] {
            assert!(said.contains("chat"), "{who}: {said}");
            assert_eq!(said.contains("hunter2"), sees, "{who}: {said}");
        }
        // Nor is what stands there shown beside what would take its place.
        let template = v1::secret::Value::Template("other".to_owned());
        let slack = v1::SlackContact {
            token: Some(v1::Secret { value: Some(template) }),
            channel: "#ops".to_owned(),
            ..Default::default()
        };
        let meta = v1::Meta { name: "chat".to_owned(), ..Default::default() };
        let contact = v1::Contact {
            meta: Some(meta),
            kind: Some(v1::contact::Kind::Slack(slack)),
            ..Default::default()
        };
        let header = v1::ApplyHeader { dry_run: true, ..Default::default() };
        let kind = Some(v1::resource::Kind::Contact(contact));
        let request =
            v1::ApplyWholeRequest { header: Some(header), resources: vec![v1::Resource { kind }] };
        let channel = self::channel(&ports.api, &mesh.tls(who)).await?;
        let planned = ConfigServiceClient::new(channel).apply_whole(request).await?;
        let said = format!("{:?}", planned.into_inner().changes);
        assert!(said.contains("slack.token"), "{who}: {said}");
        assert_eq!(said.contains("hunter2"), sees, "{who}: {said}");
        let exported = mesh.px_as(who, &["export"]).await?;
        assert_eq!(exported.status.success(), sees, "{who}: {exported:?}");
    }

    for service in ["", "parallax.v1.ConfigService", "parallax.v1.StatusService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(request).await?.into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([list]))
        .await?
        .into_inner();
    let answer = answers.message().await?.context("no answer")?.message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
    for name in ["Config", "Check", "Region", "Contact", "Settings", "Incident", "Fleet", "Status"]
    {
        let name = format!("parallax.v1.{name}Service");
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }

    let get = async |path: &str| http::get(&ports.public, path).await;
    assert_eq!(get("/healthz").await?.status, 200);
    let ready = get("/readyz").await?;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ok, leader is c1\n"));
    let metrics = get("/metrics").await?.body;
    for line in [
        "parallax_checks 1",
        "parallax_probes_live 2",
        "parallax_sessions_open 2",
        "parallax_raft_is_leader 1",
        "parallax_incidents_open 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }

    // What it was told comes out again, and says nothing new.
    let exported = mesh.px_ok(&["export"]).await?;
    for line in ["  - name: checkout", "mesh: {alert: [ops]}", "  - {name: rest, alert: [ops]}"] {
        assert!(exported.lines().any(|found| found == line), "{line} is not in:\n{exported}");
    }
    let file = mesh.path("exported.yaml");
    std::fs::write(&file, &exported)?;
    let diff = mesh.px(&["diff", "-f", &file]).await?;
    assert_eq!(diff.status.code(), Some(0), "{diff:?}\n{exported}");

    // Paused it is the same but for that, and resumed it is as it was.
    mesh.px_ok(&["check", "pause", "checkout"]).await?;
    let paused = mesh.px_ok(&["export"]).await?;
    let more: Vec<&str> = paused.lines().filter(|line| !exported.contains(line)).collect();
    assert_eq!(more, ["    enabled: false"], "{paused}");
    mesh.px_ok(&["check", "resume", "checkout"]).await?;
    assert_eq!(mesh.px_ok(&["export"]).await?, exported);
    mesh.told();
    Ok(())
}
