//! Commands against a coordinator made of canned answers, over real gRPC.

use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use parallax_common::time::UtcTime;
use parallax_proto::v1;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parking_lot::Mutex;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};

use crate::args::{Cli, Format};
use crate::client::{Client, Dial, Dialling, Undialled};
use crate::exit::{Exit, Failure};
use crate::output::Shell;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the coordinator was asked, and what it is to answer.
#[derive(Default)]
struct State {
    /// Calls to answer with UNAVAILABLE before anything else.
    away: u32,
    /// Writes that are done, and whose connection is cut before the answer.
    cut: u32,
    /// Cuts every connection through [`Bench::cuttable`].
    cable: CancellationToken,
    /// Refuse writes with this.
    refuse: Option<Status>,
    apply: Vec<v1::ApplyResponse>,
    applied: Vec<Vec<v1::ApplyRequest>>,
    checks: Vec<v1::Check>,
    explain: v1::ExplainCheckResponse,
    status: v1::GetStatusResponse,
    contacts: Vec<v1::Contact>,
    regions: Vec<v1::RegionStatus>,
    probes: Vec<v1::Probe>,
    incident: v1::Incident,
    sentences: Vec<String>,
    deletes: Vec<v1::DeleteCheckRequest>,
    resolves: Vec<v1::ResolveIncidentRequest>,
    watch: Vec<v1::WatchResponse>,
    watched: Vec<v1::WatchRequest>,
    /// Changes up to here are gone.
    compacted: u64,
    /// And after the next watch, those up to here.
    compacts_to: u64,
    history: v1::QueryHistoryResponse,
    queried: Vec<v1::QueryHistoryRequest>,
    uptime: v1::GetUptimeResponse,
    uptimes: Vec<v1::GetUptimeRequest>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn here(&self) -> Result<(), Status> {
        let mut state = self.0.lock();
        if state.away > 0 {
            state.away -= 1;
            return Err(Status::unavailable("starting"));
        }
        Ok(())
    }

    fn write(&self) -> Result<(), Status> {
        self.here()?;
        self.0.lock().refuse.clone().map_or(Ok(()), Err)
    }

    /// Never returns when the cable is to be cut now.
    async fn answered(&self) {
        let cable = {
            let mut state = self.0.lock();
            if state.cut == 0 {
                return;
            }
            state.cut -= 1;
            std::mem::take(&mut state.cable)
        };
        cable.cancel();
        std::future::pending().await
    }
}

#[tonic::async_trait]
impl v1::config_service_server::ConfigService for Fake {
    type ApplyStream = Answers<v1::ApplyResponse>;

    async fn apply(
        &self,
        request: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStream>, Status> {
        let mut parts = Vec::new();
        let mut stream = request.into_inner();
        while let Some(part) = stream.message().await? {
            parts.push(part);
        }
        self.0.lock().applied.push(parts);
        self.write()?;
        let answers: Vec<_> = self.0.lock().apply.iter().cloned().map(Ok).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }
}

#[tonic::async_trait]
impl v1::history_service_server::HistoryService for Fake {
    async fn query_history(
        &self,
        request: Request<v1::QueryHistoryRequest>,
    ) -> Result<Response<v1::QueryHistoryResponse>, Status> {
        self.here()?;
        let mut state = self.0.lock();
        state.queried.push(request.into_inner());
        Ok(Response::new(state.history.clone()))
    }

    async fn get_uptime(
        &self,
        request: Request<v1::GetUptimeRequest>,
    ) -> Result<Response<v1::GetUptimeResponse>, Status> {
        self.here()?;
        let request = request.into_inner();
        let mut state = self.0.lock();
        let answer = v1::GetUptimeResponse { check: request.check.clone(), ..state.uptime.clone() };
        state.uptimes.push(request);
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl v1::check_service_server::CheckService for Fake {
    async fn list_checks(
        &self,
        request: Request<v1::ListChecksRequest>,
    ) -> Result<Response<v1::ListChecksResponse>, Status> {
        self.here()?;
        // One check a page, so that every list is a list of pages.
        let token = request.into_inner().options.unwrap_or_default().page_token;
        let at: usize = token.parse().unwrap_or(0);
        let checks = self.0.lock().checks.clone();
        let next_page_token =
            if at + 1 < checks.len() { (at + 1).to_string() } else { String::new() };
        let checks = checks.into_iter().skip(at).take(1).collect();
        Ok(Response::new(v1::ListChecksResponse { checks, next_page_token, revision: 42 }))
    }

    async fn get_check(
        &self,
        request: Request<v1::GetCheckRequest>,
    ) -> Result<Response<v1::GetCheckResponse>, Status> {
        self.here()?;
        let name = request.into_inner().name;
        let checks = self.0.lock().checks.clone();
        let named = |it: &v1::Check| it.meta.as_ref().is_some_and(|meta| meta.name == name);
        match checks.into_iter().find(named) {
            Some(check) => {
                Ok(Response::new(v1::GetCheckResponse { check: Some(check), revision: 42 }))
            }
            None => Err(Status::not_found(format!("there is no check `{name}`"))),
        }
    }

    async fn delete_check(
        &self,
        request: Request<v1::DeleteCheckRequest>,
    ) -> Result<Response<v1::DeleteCheckResponse>, Status> {
        self.0.lock().deletes.push(request.into_inner());
        self.write()?;
        self.answered().await;
        Ok(Response::new(v1::DeleteCheckResponse { revision: 43 }))
    }

    async fn explain_check(
        &self,
        _request: Request<v1::ExplainCheckRequest>,
    ) -> Result<Response<v1::ExplainCheckResponse>, Status> {
        self.here()?;
        Ok(Response::new(self.0.lock().explain.clone()))
    }
}

#[tonic::async_trait]
impl v1::contact_service_server::ContactService for Fake {
    async fn list_contacts(
        &self,
        _request: Request<v1::ListContactsRequest>,
    ) -> Result<Response<v1::ListContactsResponse>, Status> {
        let contacts = self.0.lock().contacts.clone();
        Ok(Response::new(v1::ListContactsResponse {
            contacts,
            next_page_token: String::new(),
            revision: 42,
        }))
    }

    async fn get_contact(
        &self,
        _request: Request<v1::GetContactRequest>,
    ) -> Result<Response<v1::GetContactResponse>, Status> {
        Err(Status::not_found("no contact"))
    }

    async fn delete_contact(
        &self,
        _request: Request<v1::DeleteContactRequest>,
    ) -> Result<Response<v1::DeleteContactResponse>, Status> {
        Err(Status::not_found("no contact"))
    }
}

#[tonic::async_trait]
impl v1::region_service_server::RegionService for Fake {
    async fn list_regions(
        &self,
        _request: Request<v1::ListRegionsRequest>,
    ) -> Result<Response<v1::ListRegionsResponse>, Status> {
        let regions = self.0.lock().regions.clone();
        Ok(Response::new(v1::ListRegionsResponse { regions, revision: 42, ..Default::default() }))
    }

    async fn get_region(
        &self,
        _request: Request<v1::GetRegionRequest>,
    ) -> Result<Response<v1::GetRegionResponse>, Status> {
        Err(Status::not_found("no region"))
    }

    async fn delete_region(
        &self,
        _request: Request<v1::DeleteRegionRequest>,
    ) -> Result<Response<v1::DeleteRegionResponse>, Status> {
        Err(Status::not_found("no region"))
    }
}

#[tonic::async_trait]
impl v1::fleet_service_server::FleetService for Fake {
    async fn list_probes(
        &self,
        request: Request<v1::ListProbesRequest>,
    ) -> Result<Response<v1::ListProbesResponse>, Status> {
        let options = request.into_inner().options.unwrap_or_default();
        let wanted = options.labels.get("tier").is_none_or(|tier| tier == "edge");
        let probes = if wanted { self.0.lock().probes.clone() } else { Vec::new() };
        Ok(Response::new(v1::ListProbesResponse { probes, revision: 42, ..Default::default() }))
    }
}

#[tonic::async_trait]
impl v1::incident_service_server::IncidentService for Fake {
    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        let incident = self.0.lock().incident.clone();
        let wanted = !(request.into_inner().open_only && incident.resolved_at.is_some());
        Ok(Response::new(v1::ListIncidentsResponse {
            incidents: Some(incident).filter(|_| wanted).into_iter().collect(),
            next_page_token: String::new(),
            revision: 42,
        }))
    }

    async fn get_incident(
        &self,
        _request: Request<v1::GetIncidentRequest>,
    ) -> Result<Response<v1::GetIncidentResponse>, Status> {
        let state = self.0.lock();
        Ok(Response::new(v1::GetIncidentResponse {
            incident: Some(state.incident.clone()),
            sentences: state.sentences.clone(),
            revision: 42,
        }))
    }

    async fn ack_incident(
        &self,
        _request: Request<v1::AckIncidentRequest>,
    ) -> Result<Response<v1::AckIncidentResponse>, Status> {
        self.write()?;
        let incident = Some(self.0.lock().incident.clone());
        Ok(Response::new(v1::AckIncidentResponse { incident, revision: 43 }))
    }

    async fn resolve_incident(
        &self,
        request: Request<v1::ResolveIncidentRequest>,
    ) -> Result<Response<v1::ResolveIncidentResponse>, Status> {
        self.0.lock().resolves.push(request.into_inner());
        self.write()?;
        let incident = Some(self.0.lock().incident.clone());
        Ok(Response::new(v1::ResolveIncidentResponse { incident, revision: 43 }))
    }
}

#[tonic::async_trait]
impl v1::status_service_server::StatusService for Fake {
    type WatchStream = Answers<v1::WatchResponse>;

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.here()?;
        Ok(Response::new(self.0.lock().status.clone()))
    }

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut state = self.0.lock();
        let request = request.into_inner();
        let from = request.from_revision;
        state.watched.push(request);
        if from < state.compacted {
            return Err(Status::out_of_range("compacted: list again"));
        }
        state.compacted = state.compacted.max(std::mem::take(&mut state.compacts_to));
        if state.watched.len() > 3 {
            return Err(Status::permission_denied("that will do"));
        }
        let changes: Vec<_> =
            state.watch.iter().filter(|change| change.revision > from).take(2).cloned().collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(changes.into_iter().map(Ok)))))
    }
}

/// Dials without TLS: what is tested here is on both sides of it.
struct Plain;

impl Dial for Plain {
    fn dial<'a>(&'a self, endpoint: &'a str) -> Dialling<'a> {
        let away =
            |error: tonic::transport::Error| Undialled { cause: error.to_string(), lasting: false };
        Box::pin(async move {
            let endpoint = Endpoint::from_shared(format!("http://{endpoint}"));
            let endpoint = endpoint.map_err(away)?;
            endpoint.connect().await.map_err(away)
        })
    }
}

/// What was written, readable by the test.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

struct Bench {
    fake: Fake,
    address: SocketAddr,
    supervisor: Supervisor,
    input: String,
    width: Option<usize>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

impl Bench {
    async fn start() -> Self {
        let fake = Fake::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let supervisor = Supervisor::default();
        let stop = supervisor.stop_token();
        let server = tonic::transport::Server::builder()
            .add_service(v1::config_service_server::ConfigServiceServer::new(fake.clone()))
            .add_service(v1::check_service_server::CheckServiceServer::new(fake.clone()))
            .add_service(v1::contact_service_server::ContactServiceServer::new(fake.clone()))
            .add_service(v1::region_service_server::RegionServiceServer::new(fake.clone()))
            .add_service(v1::fleet_service_server::FleetServiceServer::new(fake.clone()))
            .add_service(v1::incident_service_server::IncidentServiceServer::new(fake.clone()))
            .add_service(v1::status_service_server::StatusServiceServer::new(fake.clone()))
            .add_service(v1::history_service_server::HistoryServiceServer::new(fake.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned());
        supervisor.spawn(TaskKind::Session("fake coordinator"), async move {
            let _ = server.await;
        });
        Self { fake, address, supervisor, input: String::new(), width: None }
    }

    /// Another address of the coordinator, whose connections the fake can cut.
    async fn cuttable(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let (fake, coordinator) = (self.fake.clone(), self.address);
        let (stop, supervisor) = (self.supervisor.stop_token(), self.supervisor.clone());
        self.supervisor.spawn(TaskKind::Session("cable"), async move {
            while let Some(Ok((mut near, _))) = stop.run_until_cancelled(listener.accept()).await {
                let cable = fake.0.lock().cable.clone();
                supervisor.spawn(TaskKind::Session("connection"), async move {
                    let mut far = tokio::net::TcpStream::connect(coordinator).await.unwrap();
                    let both = tokio::io::copy_bidirectional(&mut near, &mut far);
                    let _ = cable.run_until_cancelled(both).await;
                });
            }
        });
        at
    }

    async fn run(&self, line: &str) -> Ran {
        self.run_at(line, vec![self.address.to_string()]).await
    }

    async fn run_at(&self, line: &str, endpoints: Vec<String>) -> Ran {
        let words = std::iter::once("parallax").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let (out, err) = (Written::default(), Written::default());
        let mut shell = Shell {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            input: Box::new(std::io::Cursor::new(self.input.clone())),
            format: cli.global.output,
            color_out: false,
            color_err: false,
            width: self.width,
            now: || UtcTime::from_ns(1_700_000_300_000_000_000),
        };
        let retry_for = Duration::from_millis(700);
        let namespace = cli.global.namespace.clone();
        let connect = || match endpoints.is_empty() {
            true => Err(Failure::Usage("no context".to_owned())),
            false => Ok(Client::new(Box::new(Plain), endpoints, namespace, retry_for)),
        };
        let result = super::run(cli.command, connect, &mut shell).await;
        let exit = crate::end(result, &mut shell);
        Ran { exit, out: out.text(), err: err.text() }
    }
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 })
}

fn check(name: &str) -> v1::Check {
    v1::Check {
        meta: Some(v1::Meta {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            etag: 7,
            ..v1::Meta::default()
        }),
        run: Some(v1::Run {
            steps: vec![v1::Step {
                name: String::new(),
                kind: Some(v1::step::Kind::Http(v1::HttpStep {
                    url: format!("https://{name}.example/"),
                    method: "GET".to_owned(),
                    headers: vec![v1::Header {
                        name: "authorization".to_owned(),
                        value: Some(v1::Secret {
                            value: Some(v1::secret::Value::Template("${env:TOKEN}".to_owned())),
                        }),
                    }],
                    ..v1::HttpStep::default()
                })),
            }],
            timeout: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
            ip: v1::IpFamily::Auto.into(),
            ..v1::Run::default()
        }),
        source: v1::Source::Active.into(),
        interval: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
        regions: vec!["eu-west".to_owned(), "us-east".to_owned()],
        down: Some(v1::Down {
            regions: v1::Quorum::Majority.into(),
            failures: 2,
            ..v1::Down::default()
        }),
        ..v1::Check::default()
    }
}

fn ballot(region: &str, state: v1::BallotState) -> v1::Ballot {
    let fails = state == v1::BallotState::Fail;
    v1::Ballot {
        region: region.to_owned(),
        probe: format!("{region}-1"),
        state: state.into(),
        in_a_row: 3,
        reason: if fails { v1::Reason::ConnectRefused.into() } else { 0 },
        evidence: if fails { "connection refused\u{7}".to_owned() } else { String::new() },
        last_total: Some(prost_types::Duration { seconds: 0, nanos: 12_000_000 }),
        ..v1::Ballot::default()
    }
}

fn change(kind: v1::ChangeKind, name: &str, fields: &[(&str, &str, &str)]) -> v1::ApplyResponse {
    v1::ApplyResponse {
        part: Some(v1::apply_response::Part::Change(v1::Change {
            kind: kind.into(),
            resource: "check".to_owned(),
            name: name.to_owned(),
            fields: fields
                .iter()
                .map(|(field, before, after)| v1::FieldChange {
                    field: (*field).to_owned(),
                    before: (*before).to_owned(),
                    after: (*after).to_owned(),
                })
                .collect(),
        })),
    }
}

fn result(created: u32, changed: u32, unchanged: u32, committed: bool) -> v1::ApplyResponse {
    v1::ApplyResponse {
        part: Some(v1::apply_response::Part::Result(v1::ApplyResult {
            revision: 99,
            created,
            changed,
            unchanged,
            deleted: 0,
            committed,
        })),
    }
}

const MESH: &str = "regions: [{name: eu-west}]\nchecks:\n  - name: shop\n    http: {url: \
                    \"http://shop.example\"}\n    interval: 1s\n    timeout: 1s\n    regions: \
                    [eu-west, us-east, ap-south]\n";

#[tokio::test]
async fn apply_sends_header_and_resources_and_prints_the_plan() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    bench.fake.0.lock().apply = vec![
        change(v1::ChangeKind::Created, "shop", &[]),
        change(
            v1::ChangeKind::Changed,
            "cart",
            &[("interval", "1s", "2s"), ("alert", "", "[ops]")],
        ),
        change(v1::ChangeKind::Unchanged, "same", &[]),
        result(1, 1, 1, true),
    ];
    let ran = bench.run("apply -f - --set pay --prune --yes-delete 3 --take -n team").await;
    assert_eq!(
        ran.out,
        "+ check shop\n~ check cart\n    interval  1s -> 2s\n    alert     (none) -> [ops]\n1 \
         created, 1 changed, 1 unchanged, 0 deleted at revision 99\n"
    );
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, ""));
    let parts = bench.fake.0.lock().applied[0].clone();
    let Some(v1::apply_request::Part::Header(header)) = &parts[0].part else { panic!("no header") };
    let id = header.request_id.clone().unwrap();
    assert_eq!((header.set.as_str(), header.namespace.as_str()), ("pay", "team"));
    assert_eq!((header.prune, header.yes_delete, header.take), (true, 3, true));
    assert_eq!((header.dry_run, header.source.as_str()), (false, "<stdin>"));
    assert_eq!((id.number, id.lowest_open, id.client.len()), (1, 1, 36));
    assert_eq!(parts.len(), 3);
}

#[tokio::test]
async fn diff_is_a_dry_run_that_exits_with_ten_when_something_would_change() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    bench.fake.0.lock().apply =
        vec![change(v1::ChangeKind::Created, "shop", &[]), result(1, 0, 0, false)];
    let ran = bench.run("diff -f -").await;
    assert_eq!(ran.exit, Exit::Changes);
    assert_eq!(ran.out, "+ check shop\nwould be 1 created, 0 changed, 0 unchanged, 0 deleted\n");
    bench.fake.0.lock().apply = vec![result(0, 0, 2, false)];
    assert_eq!(bench.run("diff -f -").await.exit, Exit::Ok);
    assert_eq!(bench.run("apply -f - --dry-run").await.exit, Exit::Ok);
    for parts in &bench.fake.0.lock().applied {
        let Some(v1::apply_request::Part::Header(header)) = &parts[0].part else { panic!() };
        assert!(header.dry_run);
    }
}

#[tokio::test]
async fn what_a_file_breaks_never_reaches_the_coordinator() {
    let mut bench = Bench::start().await;
    bench.input = "checks:\n  - nmae: shop\n".to_owned();
    let ran = bench.run("apply -f -").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""));
    assert!(ran.err.contains("<stdin>:2:5: error[unknown_field]"), "{}", ran.err);
    assert!(ran.err.contains("help: did you mean `name`?"), "{}", ran.err);
    assert!(bench.fake.0.lock().applied.is_empty());
    let ran = bench.run("apply -f - -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let unknown =
        json["errors"].as_array().unwrap().iter().find(|it| it["rule"] == "unknown_field");
    let unknown = unknown.unwrap();
    assert_eq!((&unknown["line"], &unknown["column"]), (&2.into(), &5.into()));
    assert_eq!(unknown["nearest"], "name");
}

#[tokio::test]
async fn what_a_file_breaks_is_told_before_anybody_asks_where_to_connect_to() {
    let mut bench = Bench::start().await;
    bench.input = "checks:\n  - nmae: shop\n".to_owned();
    for command in ["apply -f -", "diff -f -"] {
        let ran = bench.run_at(command, vec![]).await;
        assert_eq!(ran.exit, Exit::Refused, "{command}");
        assert!(ran.err.contains("error[unknown_field]"), "{command}: {}", ran.err);
    }
    bench.input = "regions: [{name: eu}]\n".to_owned();
    let ran = bench.run_at("apply -f -", vec![]).await;
    assert_eq!(ran.exit, Exit::Usage, "{}", ran.err);
}

#[tokio::test]
async fn what_the_coordinator_refuses_points_into_the_file() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    let violation = |rule: &str| v1::ApplyResponse {
        part: Some(v1::apply_response::Part::Violation(v1::Violation {
            rule: rule.to_owned(),
            resource: "check".to_owned(),
            name: "shop".to_owned(),
            field: "regions[1]".to_owned(),
            message: "there is no region `us-east`".to_owned(),
            nearest: "us-west".to_owned(),
        })),
    };
    bench.fake.0.lock().apply = vec![violation("unknown_region")];
    let ran = bench.run("apply -f -").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(
        ran.err.contains("<stdin>:7:24: error[unknown_region]: check \"shop\", regions[1]:"),
        "{}",
        ran.err
    );
    bench.fake.0.lock().apply = vec![violation("conflict")];
    assert_eq!(bench.run("apply -f -").await.exit, Exit::Conflict);
}

#[tokio::test]
async fn advice_is_talk_and_the_plan_is_data() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    let advice = v1::apply_response::Part::Advice(v1::Advice {
        rule: "advice_no_alert".to_owned(),
        resource: "check".to_owned(),
        name: "shop".to_owned(),
        field: "alert".to_owned(),
        message: "pages nobody".to_owned(),
    });
    bench.fake.0.lock().apply =
        vec![v1::ApplyResponse { part: Some(advice) }, result(0, 0, 2, true)];
    let ran = bench.run("apply -f - -o json").await;
    assert!(ran.err.contains("<stdin>:3:11: advice[advice_no_alert]"), "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["committed"], true);
    assert_eq!(json["advice"][0]["rule"], "advice_no_alert");
}

#[tokio::test]
async fn a_file_and_a_flag_that_name_two_namespaces_are_a_usage_error() {
    let mut bench = Bench::start().await;
    bench.input = format!("namespace: one\n{MESH}");
    let ran = bench.run("apply -f - -n two").await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("namespace: one"), "{}", ran.err);
}

#[tokio::test]
async fn a_write_is_repeated_with_the_same_id_while_nobody_is_there() {
    let bench = Bench::start().await;
    bench.fake.0.lock().away = 2;
    let ran = bench.run("check delete shop --etag 7").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""));
    assert_eq!(ran.err, "check shop deleted at revision 43\n");
    let deletes = bench.fake.0.lock().deletes.clone();
    assert_eq!(deletes.len(), 3);
    assert!(deletes.iter().all(|delete| *delete == deletes[0]));
    assert_eq!(deletes[0].etag, 7);
}

#[tokio::test]
async fn a_write_whose_connection_breaks_before_its_answer_is_repeated_with_the_same_id() {
    let bench = Bench::start().await;
    bench.fake.0.lock().cut = 2;
    let ran = bench.run_at("check delete shop", vec![bench.cuttable().await]).await;
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, "check shop deleted at revision 43\n"));
    let deletes = bench.fake.0.lock().deletes.clone();
    assert_eq!(deletes.len(), 3);
    assert!(deletes.iter().all(|delete| *delete == deletes[0]));
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_one_is_dead() {
    let bench = Bench::start().await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let both = vec![dead.clone(), bench.address.to_string()];
    assert_eq!(bench.run_at("check list", both).await.exit, Exit::Ok);
    // What one says that is there tells more than that the other is not.
    bench.fake.0.lock().away = u32::MAX;
    for both in
        [[bench.address.to_string(), dead.clone()], [dead.clone(), bench.address.to_string()]]
    {
        let ran = bench.run_at("check list", both.to_vec()).await;
        assert_eq!(ran.exit, Exit::Unreachable);
        assert!(ran.err.ends_with(": starting\n"), "{}", ran.err);
    }
    let ran = bench.run_at("check list", vec![dead.clone()]).await;
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(ran.err.contains(&format!("cannot reach a coordinator at {dead}")), "{}", ran.err);
}

#[tokio::test]
async fn a_refusal_shows_message_rule_and_request_id() {
    let bench = Bench::start().await;
    let mut status = Status::failed_precondition("check `shop` is named elsewhere");
    status.metadata_mut().insert(crate::client::RULE_KEY, "in_use".parse().unwrap());
    bench.fake.0.lock().refuse = Some(status);
    let ran = bench.run("check delete shop").await;
    assert_eq!(ran.exit, Exit::Refused);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines[..2], ["error: check `shop` is named elsewhere", "  rule: in_use"]);
    assert!(lines[2].starts_with("  request: ") && lines[2].ends_with("/1"), "{}", ran.err);
    bench.fake.0.lock().refuse = Some(Status::aborted("changed meanwhile"));
    assert_eq!(bench.run("check delete shop").await.exit, Exit::Conflict);
}

#[tokio::test]
async fn lists_ask_for_every_page() {
    let bench = Bench::start().await;
    bench.fake.0.lock().checks = vec![check("cart"), check("shop")];
    let ran = bench.run("check list").await;
    assert_eq!(
        ran.out,
        "NAME  TARGET                 INTERVAL  TIMEOUT  REGIONS          ALERT  STATE\ncart  \
         https://cart.example/  1m30s     3s       eu-west,us-east  -      enabled\nshop  \
         https://shop.example/  1m30s     3s       eu-west,us-east  -      enabled\n"
    );
    let ran = bench.run("check list -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["revision"], 42);
    assert_eq!(json["checks"][1]["name"], "shop");
    assert_eq!(json["checks"][1]["interval"], "1m30s");
}

#[tokio::test]
async fn one_check_is_shown_as_yaml_with_references_as_written() {
    let bench = Bench::start().await;
    bench.fake.0.lock().checks = vec![check("shop")];
    let ran = bench.run("check get shop").await;
    assert_eq!(ran.exit, Exit::Ok);
    let yaml: serde_json::Value = serde_saphyr::from_str(&ran.out).unwrap();
    assert_eq!(yaml["steps"][0]["http"]["headers"]["authorization"], "${env:TOKEN}");
    assert_eq!(yaml["down"]["regions"], "majority");
    let ran = bench.run("check get shpo").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::NotFound, ""));
    assert!(ran.err.contains("there is no check `shpo`"), "{}", ran.err);
}

#[tokio::test]
async fn explain_prints_the_sentences_and_the_ballots() {
    let bench = Bench::start().await;
    let mut stale = ballot("ap-south", v1::BallotState::Pass);
    stale.stale = true;
    bench.fake.0.lock().explain = v1::ExplainCheckResponse {
        verdict: Some(v1::CheckVerdict {
            check_name: "shop".to_owned(),
            verdict: v1::Verdict::Degraded.into(),
            degraded: v1::DegradedKind::Regional.into(),
            since: at(0),
            record: Some(v1::DecisionRecord {
                ballots: vec![
                    ballot("eu-west", v1::BallotState::Fail),
                    ballot("us-east", v1::BallotState::Pass),
                    stale,
                ],
                ..v1::DecisionRecord::default()
            }),
            ..v1::CheckVerdict::default()
        }),
        sentences: vec!["1 of 3 regions fails; 2 must fail to be down.".to_owned()],
        incident: None,
        revision: 42,
    };
    let ran = bench.run("check explain shop").await;
    assert_eq!(
        ran.out,
        "shop  ! degraded (regional)  since 2023-11-14T22:13:20.000Z\n  1 of 3 regions fails; 2 \
         must fail to be down.\n\nballots when this was decided (`parallax status` has those of \
         now)\nREGION    BALLOT   IN A ROW  LAST  REASON           PROBE       \
         EVIDENCE\neu-west   ✗ fail   3         12ms  connect_refused  eu-west-1   connection \
         refused\nus-east   ✓ pass   3         12ms  -                us-east-1\nap-south  ~ stale  \
         3         12ms  -                ap-south-1\n"
    );
}

fn status_rows() -> v1::GetStatusResponse {
    let regions: Vec<String> =
        ["eu-west", "us-east", "ap-south"].into_iter().map(str::to_owned).collect();
    v1::GetStatusResponse {
        rows: vec![
            v1::StatusRow {
                name: "shop".to_owned(),
                enabled: true,
                verdict: v1::Verdict::Down.into(),
                since: at(0),
                ballots: vec![
                    ballot("eu-west", v1::BallotState::Fail),
                    ballot("us-east", v1::BallotState::Fail),
                    ballot("ap-south", v1::BallotState::None),
                ],
                ..v1::StatusRow::default()
            },
            v1::StatusRow {
                name: "cart".to_owned(),
                enabled: false,
                verdict: v1::Verdict::Up.into(),
                since: at(290),
                ballots: vec![ballot("us-east", v1::BallotState::Warn)],
                ..v1::StatusRow::default()
            },
        ],
        regions,
        mesh: Some(v1::MeshStatus {
            mesh: "demo".to_owned(),
            node_id: 1,
            leader_id: 1,
            applied: 42,
            probes_live: 3,
            probes_known: 3,
            incidents_open: 1,
            build: "0.1.0".to_owned(),
            ..v1::MeshStatus::default()
        }),
        ..v1::GetStatusResponse::default()
    }
}

#[tokio::test]
async fn status_is_a_matrix_of_marks_and_words() {
    let mut bench = Bench::start().await;
    bench.fake.0.lock().status = status_rows();
    let ran = bench.run("status").await;
    assert_eq!(
        ran.out,
        "CHECK  VERDICT   FOR  EU-WEST  US-EAST  AP-SOUTH\nshop   ✗ down    5m   ✗ fail   ✗ fail   \
         · none\ncart   - paused  10s           ! warn\n\nmesh demo: 3/3 probes live, 1 incidents \
         open, revision 42, answered by node 1 (the leader)\n"
    );
    bench.width = Some(30);
    let ran = bench.run("status").await;
    assert!(ran.out.starts_with("shop  ✗ down  5m\n  eu-west ✗ fail"), "{}", ran.out);
    let matrix = ran.out.split("\n\n").next().unwrap();
    assert!(matrix.lines().all(|line| line.chars().count() <= 40), "{}", ran.out);
    let ran = bench.run("version").await;
    assert!(ran.out.contains("coordinator 0.1.0"), "{}", ran.out);
}

#[tokio::test]
async fn regions_and_probes_are_listed_and_labels_reach_the_coordinator() {
    let bench = Bench::start().await;
    {
        let mut state = bench.fake.0.lock();
        state.regions = vec![v1::RegionStatus {
            region: Some(v1::Region {
                meta: Some(v1::Meta { name: "eu-west".to_owned(), ..v1::Meta::default() }),
                title: "Dublin".to_owned(),
            }),
            probes_live: 1,
            probes_known: 2,
            checks: 7,
        }];
        state.probes = vec![v1::Probe {
            region: "eu-west".to_owned(),
            name: "p1".to_owned(),
            incarnation: 255,
            state: v1::ProbeState::Probation.into(),
            since: at(0),
            round_trip: Some(prost_types::Duration { seconds: 0, nanos: 1_500_000 }),
            checks: 7,
            runs: 100,
            refused: 1,
            last_refusal: "window_edges".to_owned(),
            ..v1::Probe::default()
        }];
    }
    let ran = bench.run("region list").await;
    assert_eq!(ran.out, "NAME     PROBES    CHECKS  TITLE\neu-west  1/2 live  7       Dublin\n");
    let ran = bench.run("probe list -l tier=edge").await;
    assert!(ran.out.contains("p1    eu-west  probation  5m   1.5ms  7"), "{}", ran.out);
    assert!(ran.out.contains("1 (window_edges)"), "{}", ran.out);
    let ran = bench.run("probe list -l tier=core").await;
    assert_eq!(ran.err, "no probes\n");
    let ran = bench.run("probe list -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["probes"][0]["incarnation"], "00000000000000ff");
    assert_eq!(json["probes"][0]["state"], "probation");
}

#[tokio::test]
async fn contacts_are_listed_without_their_secrets() {
    let bench = Bench::start().await;
    let secret =
        |text: &str| v1::Secret { value: Some(v1::secret::Value::Template(text.to_owned())) };
    bench.fake.0.lock().contacts = vec![v1::Contact {
        meta: Some(v1::Meta { name: "ops".to_owned(), ..v1::Meta::default() }),
        kind: Some(v1::contact::Kind::Webhook(v1::WebhookContact {
            url: Some(secret("https://hooks.example/T0/password")),
            headers: vec![v1::Header {
                name: "authorization".to_owned(),
                value: Some(secret("Bearer password")),
            }],
            timeout: None,
        })),
    }];
    for format in ["table", "json", "yaml"] {
        let ran = bench.run(&format!("contact list -o {format}")).await;
        assert!(ran.out.contains("hooks.example"), "{}", ran.out);
        assert!(!ran.out.contains("password"), "{}", ran.out);
    }
}

#[tokio::test]
async fn an_incident_is_told_with_sentences_ballots_pages_and_timeline() {
    let bench = Bench::start().await;
    {
        let mut state = bench.fake.0.lock();
        state.sentences = vec!["2 of 3 regions fail.".to_owned()];
        state.incident = v1::Incident {
            uid: "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".to_owned(),
            kind: v1::IncidentKind::Down.into(),
            check_name: "shop".to_owned(),
            opened_at: at(0),
            opened_by: Some(v1::DecisionRecord {
                ballots: vec![ballot("eu-west", v1::BallotState::Fail)],
                ..v1::DecisionRecord::default()
            }),
            timeline: vec![v1::TimelineEvent {
                at: at(1),
                event: Some(v1::timeline_event::Event::PageSent(v1::PageSent {
                    contact: "ops".to_owned(),
                    kind: v1::PageKind::Opened.into(),
                    attempts: 1,
                })),
            }],
            deliveries: vec![v1::Delivery {
                contact_name: "ops".to_owned(),
                kind: v1::PageKind::Opened.into(),
                state: v1::DeliveryState::Sent.into(),
                attempts: 1,
                sent_at: at(1),
                ..v1::Delivery::default()
            }],
            ..v1::Incident::default()
        };
    }
    let ran = bench.run("incident get 0190b2a4").await;
    for part in [
        "shop is down  open\n",
        "  2 of 3 regions fail.\n",
        "ballots when it opened\nREGION",
        "ops      opened  sent",
        "2023-11-14T22:13:21.000Z  opened page sent to ops, attempt 1",
    ] {
        assert!(ran.out.contains(part), "{part} is not in\n{}", ran.out);
    }
    let ran = bench.run("incident list --open").await;
    assert!(ran.out.contains("shop is down  open   5m ago  1/1 sent"), "{}", ran.out);
    let ran = bench.run("incident resolve 0190b2a4 --force --note done").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""));
    let resolve = bench.fake.0.lock().resolves[0].clone();
    assert_eq!((resolve.force, resolve.note.as_str()), (true, "done"));
    let ran = bench.run("incident ack 0190b2a4 -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["timeline"][0]["event"], "page_sent");
    assert_eq!(json["deliveries"][0]["state"], "sent");
}

#[tokio::test]
async fn watch_goes_on_from_the_last_revision_it_saw() {
    let bench = Bench::start().await;
    let changed = |revision: u64, state: v1::ProbeState| v1::WatchResponse {
        revision,
        at: at(revision as i64),
        more: false,
        change: Some(v1::watch_response::Change::Probe(v1::ProbeChanged {
            region: "eu-west".to_owned(),
            name: "p1".to_owned(),
            state: state.into(),
        })),
    };
    bench.fake.0.lock().watch = vec![
        changed(5, v1::ProbeState::Live),
        v1::WatchResponse {
            revision: 6,
            at: at(6),
            change: Some(v1::watch_response::Change::Progress(v1::Progress {})),
            more: true,
        },
        changed(7, v1::ProbeState::Lost),
    ];
    let ran = bench.run("watch --from 4 -o json").await;
    let states: Vec<serde_json::Value> = ran
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["probe"]["state"].clone()
        })
        .collect();
    assert_eq!(states, ["live", "lost"]);
    let from: Vec<u64> = bench.fake.0.lock().watched.iter().map(|it| it.from_revision).collect();
    // Of revision 6 only a part had come.
    assert_eq!(from, [4, 5, 7, 7]);
    // What is no failover is for the user, not for a retry.
    assert_eq!(ran.exit, Exit::Refused);
    assert_eq!(ran.err, "error: that will do\n");
}

#[tokio::test]
async fn a_watch_that_missed_what_is_gone_says_how_things_stand_and_goes_on_from_there() {
    let bench = Bench::start().await;
    {
        let mut state = bench.fake.0.lock();
        let progress = v1::watch_response::Change::Progress(v1::Progress {});
        state.watch = vec![v1::WatchResponse {
            revision: 5,
            change: Some(progress),
            ..v1::WatchResponse::default()
        }];
        state.status = status_rows();
        state.status.revision = 42;
        state.probes = vec![v1::Probe {
            region: "eu-west".into(),
            name: "p1".into(),
            state: v1::ProbeState::Live.into(),
            ..v1::Probe::default()
        }];
        state.incident = v1::Incident { uid: "0190b2a4".into(), ..v1::Incident::default() };
    }
    // The revision that a person begins at is theirs to correct.
    bench.fake.0.lock().compacted = 5;
    let ran = bench.run("watch --from 4").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.out.is_empty() && ran.err.contains("compacted"), "{}", ran.err);

    // The next watch is told of revision 5; by the time it resumes, changes up to 9 are gone.
    bench.fake.0.lock().watched.clear();
    bench.fake.0.lock().compacted = 0;
    bench.fake.0.lock().compacts_to = 9;
    let ran = bench.run("watch -o json").await;
    let listed: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(listed.iter().all(|it| it["listed"] == true && it["revision"] == 42), "{}", ran.out);
    let of = |field: &str| listed.iter().filter(|it| it.get(field).is_some()).count();
    let checks = status_rows().rows.iter().filter(|row| row.enabled).count();
    assert!(checks > 0);
    assert_eq!((of("verdict"), of("incident"), of("probe")), (checks, 1, 1));
    assert!(ran.err.starts_with("changes after revision 5 are gone"), "{}", ran.err);
    let from: Vec<u64> = bench.fake.0.lock().watched.iter().map(|it| it.from_revision).collect();
    assert_eq!(from, [0, 5, 42, 42]);
}

#[tokio::test]
async fn a_search_that_is_short_is_not_talked_about_and_a_long_one_once() {
    let bench = Bench::start().await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let endpoints = vec![bench.address.to_string()];
    let mut client = Client::new(Box::new(Plain), endpoints, None, Duration::from_secs(60))
        .saying(Arc::new(move |text| heard.lock().push(text.to_owned())));
    let mut call = async || {
        let answer = client.call(None, |channel| async move {
            v1::status_service_client::StatusServiceClient::new(channel)
                .get_status(v1::GetStatusRequest::default())
                .await
        });
        answer.await.unwrap();
    };
    bench.fake.0.lock().away = 2;
    call().await;
    assert!(said.lock().is_empty());
    // 0.1, 0.2, 0.4, 0.8, 1.6 and 2 seconds, of which at least half is waited for each.
    bench.fake.0.lock().away = 6;
    call().await;
    assert_eq!(*said.lock(), ["no coordinator answers yet (starting); trying for 60 s"]);
}

#[tokio::test]
async fn a_coordinator_that_hangs_costs_little_and_the_one_that_answered_is_asked_first() {
    let bench = Bench::start().await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    /// Notes who is dialled; one of them never answers.
    struct Counting(Arc<Mutex<Vec<String>>>, String);
    impl Dial for Counting {
        fn dial<'a>(&'a self, endpoint: &'a str) -> Dialling<'a> {
            self.0.lock().push(endpoint.to_owned());
            match endpoint == self.1 {
                true => Box::pin(std::future::pending()),
                false => Plain.dial(endpoint),
            }
        }
    }
    let (mute, dialled) = ("mute:1".to_owned(), Arc::default());
    let endpoints = vec![mute.clone(), dead.clone(), bench.address.to_string()];
    let dial = Box::new(Counting(Arc::clone(&dialled), mute.clone()));
    let mut client = Client::new(dial, endpoints, None, Duration::ZERO);
    for _ in 0..2 {
        let answer = client.call(None, |channel| async move {
            v1::status_service_client::StatusServiceClient::new(channel)
                .get_status(v1::GetStatusRequest::default())
                .await
        });
        answer.await.unwrap();
    }
    assert_eq!(*dialled.lock(), [mute, dead, bench.address.to_string()]);
}

#[test]
fn every_format_has_its_word() {
    let cli = Cli::try_parse_from(["parallax", "status", "-o", "yaml"]).unwrap();
    assert_eq!(cli.global.output, Format::Yaml);
}

#[tokio::test]
async fn history_asks_for_what_was_said_and_shows_gaps_as_gaps() {
    let bench = Bench::start().await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let millis = |ms: i32| Some(prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 });
    let count = |outcome: v1::Outcome, reason: v1::Reason, count| v1::HistoryCount {
        outcome: outcome.into(),
        reason: reason.into(),
        count,
    };
    let row = v1::HistoryRow {
        start: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        region: "eu".into(),
        covered: seconds(1_800),
        expected: seconds(3_600),
        counts: vec![
            count(v1::Outcome::Pass, v1::Reason::Unspecified, 98),
            count(v1::Outcome::Fail, v1::Reason::ConnectRefused, 2),
        ],
        series: vec![v1::HistorySeries {
            phase: v1::Phase::Total.into(),
            count: 100,
            max: millis(80),
            quantiles: millis(12).into_iter().chain(millis(70)).collect(),
            ..v1::HistorySeries::default()
        }],
        ..v1::HistoryRow::default()
    };
    let gap = v1::HistoryRow {
        region: "us".into(),
        expected: seconds(3_600),
        ..v1::HistoryRow::default()
    };
    bench.fake.0.lock().history = v1::QueryHistoryResponse {
        rows: vec![row, gap],
        tier: v1::HistoryTier::Hours.into(),
        cell: seconds(3_600),
        node_id: 2,
        ..v1::QueryHistoryResponse::default()
    };
    let line = "history shop --since 7d --quantiles 50,99.9 --by region --step 1h";
    let ran = bench.run(line).await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let lines: Vec<Vec<&str>> =
        ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][10..], ["P50", "P99.9", "MAX"]);
    let (eu, us) = (&lines[1][1..], &lines[2]);
    let figures =
        ["eu", "50%", "100", "0", "2", "0", "total", "all", "100", "12.000", "70.000", "80.000"];
    assert_eq!(eu, figures);
    assert_eq!(us[..], ["us", "0%", "0", "0", "0", "0", "-", "-", "-", "-", "-", "-"]);
    assert!(ran.err.contains("from the hours of coordinator 2"), "{}", ran.err);
    {
        let state = bench.fake.0.lock();
        let asked = &state.queried[0];
        assert!(asked.by_region && !asked.by_phase && !asked.by_step);
        assert_eq!((asked.quantiles.as_slice(), asked.step), (&[50.0, 99.9][..], seconds(3_600)));
        let span = |at: &Option<prost_types::Timestamp>| at.unwrap().seconds;
        assert_eq!(span(&asked.until) - span(&asked.since), 7 * 86_400);
    }
    let ran = bench.run(&format!("{line} -o json")).await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["rows"][0]["reasons"][0]["reason"], "connect_refused");
    assert_eq!(json["rows"][0]["series"][0]["quantiles"][1]["ms"], 70.0);
    assert_eq!(json["rows"][1]["coverage_percent"], 0.0);
}

#[tokio::test]
async fn uptime_of_all_checks_asks_for_each_and_shows_what_is_unknown_apart() {
    let bench = Bench::start().await;
    let named = |name: &str| v1::Check {
        meta: Some(v1::Meta { name: name.into(), ..v1::Meta::default() }),
        ..v1::Check::default()
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    {
        let mut state = bench.fake.0.lock();
        state.checks = vec![named("cart"), named("shop")];
        let interval = |verdict: v1::Verdict| v1::VerdictInterval {
            verdict: verdict.into(),
            ..v1::VerdictInterval::default()
        };
        state.uptime = v1::GetUptimeResponse {
            percent: Some(99.999_9),
            down: seconds(90),
            unknown: seconds(30),
            intervals: vec![interval(v1::Verdict::Up), interval(v1::Verdict::Down)],
            ..v1::GetUptimeResponse::default()
        };
    }
    let ran = bench.run("uptime --all --since 30d").await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let lines: Vec<Vec<&str>> =
        ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["cart", "99.999%", "1m30s", "1", "-", "30s", "-"]);
    assert_eq!(lines[2][0], "shop");
    assert_eq!(bench.fake.0.lock().uptimes.len(), 2);
    let ran = bench.run("uptime shop").await;
    assert!(ran.out.contains("VERDICT") && ran.out.contains("stands"), "{}", ran.out);
}
