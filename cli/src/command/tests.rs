//! Commands against a coordinator made of canned answers, over real gRPC.

mod apply;
mod attempt;
mod calm;
mod export;
mod maintenance;
mod man;
mod members;
mod past;
mod pause;
mod run;
mod select;
mod shown;
mod silence;
mod terminals;
mod watch;

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

/// How a contact stands that takes nothing.
fn failing(contact: &v1::Contact) -> v1::ContactStanding {
    let stamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    v1::ContactStanding {
        contact_uid: contact.meta.clone().unwrap_or_default().uid,
        waiting: 3,
        failures: 7,
        failing_since: stamp(1_700_000_000),
        trial_at: stamp(1_700_000_030),
        paced_until: None,
    }
}

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
    /// How many of them came in one message.
    applied_whole: usize,
    /// An older build: it does not know of an apply in one message.
    streams_only: bool,
    checks: Vec<v1::Check>,
    explain: v1::ExplainCheckResponse,
    status: v1::GetStatusResponse,
    contacts: Vec<v1::Contact>,
    settings: Option<v1::Settings>,
    /// An older build: it tells no settings.
    untold: bool,
    regions: Vec<v1::RegionStatus>,
    /// Nothing where there are none: an older build, which tells none of them.
    members: Vec<v1::ClusterMember>,
    probes: Vec<v1::Probe>,
    incident: v1::Incident,
    sentences: Vec<String>,
    deletes: Vec<v1::DeleteCheckRequest>,
    resolves: Vec<v1::ResolveIncidentRequest>,
    silences: Vec<v1::Silence>,
    windows: Vec<v1::MaintenanceStatus>,
    silenced: Vec<v1::AddSilenceRequest>,
    expired: Vec<v1::ExpireSilenceRequest>,
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
    runs: Vec<v1::RunCheckRequest>,
    ran: Vec<Result<v1::RunCheckResponse, Status>>,
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

    async fn apply_whole(
        &self,
        request: Request<v1::ApplyWholeRequest>,
    ) -> Result<Response<v1::ApplyWholeResponse>, Status> {
        use v1::{apply_request, apply_response};
        if self.0.lock().streams_only {
            return Err(Status::unimplemented("what is that"));
        }
        let v1::ApplyWholeRequest { header, resources } = request.into_inner();
        let header = apply_request::Part::Header(header.unwrap());
        let parts = std::iter::once(header)
            .chain(resources.into_iter().map(apply_request::Part::Resource))
            .map(|part| v1::ApplyRequest { part: Some(part) })
            .collect();
        {
            let mut state = self.0.lock();
            state.applied.push(parts);
            state.applied_whole += 1;
        }
        self.write()?;
        let mut answer = v1::ApplyWholeResponse::default();
        for said in self.0.lock().apply.iter().cloned() {
            match said.part.unwrap() {
                apply_response::Part::Change(change) => answer.changes.push(change),
                apply_response::Part::Violation(violation) => answer.violations.push(violation),
                apply_response::Part::Advice(advice) => answer.advice.push(advice),
                apply_response::Part::Result(result) => answer.result = Some(result),
            }
        }
        Ok(Response::new(answer))
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
        let options = request.into_inner().options.unwrap_or_default();
        let at: usize = options.page_token.parse().unwrap_or(0);
        let mut checks = self.0.lock().checks.clone();
        checks.retain(|check| {
            let labels = check.meta.as_ref().map(|meta| &meta.labels);
            options
                .labels
                .iter()
                .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        });
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

    type RunCheckStream = Answers<v1::RunCheckResponse>;

    async fn run_check(
        &self,
        request: Request<v1::RunCheckRequest>,
    ) -> Result<Response<Self::RunCheckStream>, Status> {
        self.0.lock().runs.push(request.into_inner());
        self.write()?;
        let answers = self.0.lock().ran.clone();
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
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
            standings: contacts.iter().map(failing).collect(),
            contacts,
            next_page_token: String::new(),
            revision: 42,
        }))
    }

    async fn get_contact(
        &self,
        request: Request<v1::GetContactRequest>,
    ) -> Result<Response<v1::GetContactResponse>, Status> {
        let contacts = self.0.lock().contacts.clone();
        let named = |it: &v1::Contact| {
            it.meta.as_ref().is_some_and(|meta| meta.name == request.get_ref().name)
        };
        let contact = contacts.into_iter().find(named);
        let contact = contact.ok_or_else(|| Status::not_found("no contact"))?;
        let standing = Some(failing(&contact));
        let contact = Some(contact);
        Ok(Response::new(v1::GetContactResponse { contact, revision: 42, standing }))
    }

    async fn test_contact(
        &self,
        request: Request<v1::TestContactRequest>,
    ) -> Result<Response<v1::TestContactResponse>, Status> {
        let sent = request.get_ref().name == "ops";
        let detail = if sent { "HTTP status 200" } else { "not sent: nobody is there" };
        let (detail, key, sent_by) = (detail.to_owned(), "k".to_owned(), "c1".to_owned());
        Ok(Response::new(v1::TestContactResponse { sent, detail, key, sent_by }))
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
        let labels = request.into_inner().options.unwrap_or_default().labels;
        assert!(labels.is_empty(), "a probe has no labels of its own: {labels:?}");
        let probes = self.0.lock().probes.clone();
        Ok(Response::new(v1::ListProbesResponse { probes, revision: 42, ..Default::default() }))
    }

    async fn drain_probe(
        &self,
        request: Request<v1::DrainProbeRequest>,
    ) -> Result<Response<v1::DrainProbeResponse>, Status> {
        self.write()?;
        let drain = request.into_inner();
        let mut state = self.0.lock();
        let probe = state.probes.iter_mut().find(|probe| probe.name == drain.name);
        let probe = probe.ok_or_else(|| Status::not_found("no probe"))?;
        assert_eq!(probe.region, drain.region);
        probe.drain =
            (!drain.undo).then(|| v1::Drain { since: at(40), by: "anna".into(), note: drain.note });
        // Nothing is left on the second look.
        let answer = probe.clone();
        probe.checks = 0;
        Ok(Response::new(v1::DrainProbeResponse { probe: Some(answer), revision: 43 }))
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
    terminal: bool,
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
            .add_service(v1::settings_service_server::SettingsServiceServer::new(fake.clone()))
            .add_service(v1::fleet_service_server::FleetServiceServer::new(fake.clone()))
            .add_service(v1::incident_service_server::IncidentServiceServer::new(fake.clone()))
            .add_service(v1::silence_service_server::SilenceServiceServer::new(fake.clone()))
            .add_service(v1::maintenance_service_server::MaintenanceServiceServer::new(
                fake.clone(),
            ))
            .add_service(v1::status_service_server::StatusServiceServer::new(fake.clone()))
            .add_service(v1::cluster_service_server::ClusterServiceServer::new(fake.clone()))
            .add_service(v1::history_service_server::HistoryServiceServer::new(fake.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned());
        supervisor.spawn(TaskKind::Session("fake coordinator"), async move {
            let _ = server.await;
        });
        Self { fake, address, supervisor, input: String::new(), terminal: false, width: None }
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
        self.run_words(line.split_whitespace().collect(), endpoints).await
    }

    /// The same, of words that may hold spaces.
    async fn run_words(&self, words: Vec<&str>, endpoints: Vec<String>) -> Ran {
        let words = std::iter::once("parallax").chain(words);
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let (out, err) = (Written::default(), Written::default());
        let mut shell = Shell {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            input: Box::new(std::io::Cursor::new(self.input.clone())),
            terminal: self.terminal,
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
                capture: vec![],
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
