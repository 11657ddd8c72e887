//! The gRPC API, for what a test must see exactly: verdicts, ballots, incidents, the fleet.

use std::path::Path;

use anyhow::{Context, Result, bail};
use parallax_proto::v1;
use parallax_proto::v1::apply_request::Part;
use parallax_proto::v1::check_service_client::CheckServiceClient;
use parallax_proto::v1::config_service_client::ConfigServiceClient;
use parallax_proto::v1::fleet_service_client::FleetServiceClient;
use parallax_proto::v1::history_service_client::HistoryServiceClient;
use parallax_proto::v1::incident_service_client::IncidentServiceClient;
use parallax_proto::v1::region_service_client::RegionServiceClient;
use parallax_proto::v1::status_service_client::StatusServiceClient;
use parallax_runtime::transport::{self, Credentials};
use prost_types::Timestamp;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// The namespace of every test.
const NAMESPACE: &str = "default";

/// One connection to a coordinator's API.
#[derive(Debug, Clone)]
pub struct Api {
    channel: Channel,
}

impl Api {
    /// Dials with the certificate in `tls`.
    ///
    /// # Errors
    /// When the coordinator cannot be reached.
    pub async fn connect(endpoint: &str, tls: &Path) -> Result<Self> {
        Ok(Self { channel: channel(endpoint, tls).await? })
    }

    /// The row of one check.
    ///
    /// # Errors
    /// When there is none.
    pub async fn status(&self, check: &str) -> Result<v1::StatusRow> {
        let request = v1::GetStatusRequest { options: Some(options(String::new())) };
        let answer = StatusServiceClient::new(self.channel.clone()).get_status(request).await?;
        let rows = answer.into_inner().rows;
        rows.into_iter().find(|row| row.name == check).with_context(|| format!("no row {check}"))
    }

    /// What the coordinator says of the mesh; `stale`: from its own state, without asking a leader.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn mesh(&self, stale: bool) -> Result<v1::MeshStatus> {
        let options = v1::ListOptions { stale, ..options(String::new()) };
        let request = v1::GetStatusRequest { options: Some(options) };
        let answer = StatusServiceClient::new(self.channel.clone()).get_status(request).await?;
        answer.into_inner().mesh.context("no mesh in the answer")
    }

    /// The committed verdict on one check.
    ///
    /// # Errors
    /// When there is none.
    pub async fn verdict(&self, check: &str) -> Result<v1::CheckVerdict> {
        let request = v1::ExplainCheckRequest {
            namespace: NAMESPACE.to_owned(),
            name: check.to_owned(),
            stale: false,
        };
        let answer = CheckServiceClient::new(self.channel.clone()).explain_check(request).await?;
        answer.into_inner().verdict.with_context(|| format!("no verdict on {check}"))
    }

    /// Incidents of one check, open ones and ended ones.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn incidents_of(&self, check: &str) -> Result<Vec<v1::Incident>> {
        let request = v1::ListIncidentsRequest {
            options: Some(options(String::new())),
            open_only: false,
            check: check.to_owned(),
        };
        let mut client = IncidentServiceClient::new(self.channel.clone());
        Ok(client.list_incidents(request).await?.into_inner().incidents)
    }

    /// All incidents, or those that are open.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn incidents(&self, open_only: bool) -> Result<Vec<v1::Incident>> {
        let mut client = IncidentServiceClient::new(self.channel.clone());
        let (mut incidents, mut token) = (Vec::new(), String::new());
        loop {
            let options = Some(options(token));
            let request = v1::ListIncidentsRequest { options, open_only, check: String::new() };
            let answer = client.list_incidents(request).await?.into_inner();
            incidents.extend(answer.incidents);
            token = answer.next_page_token;
            if token.is_empty() {
                return Ok(incidents);
            }
        }
    }

    /// The probe of this name.
    ///
    /// # Errors
    /// When the coordinator has never heard of it.
    pub async fn probe(&self, name: &str) -> Result<v1::Probe> {
        let request = v1::ListProbesRequest { options: Some(options(String::new())) };
        let answer = FleetServiceClient::new(self.channel.clone()).list_probes(request).await?;
        let probes = answer.into_inner().probes;
        probes.into_iter().find(|p| p.name == name).with_context(|| format!("no probe {name}"))
    }

    /// Names of all regions, over all pages.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn regions(&self) -> Result<Vec<String>> {
        let mut client = RegionServiceClient::new(self.channel.clone());
        let (mut names, mut token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListRegionsRequest { options: Some(options(token)) };
            let answer = client.list_regions(request).await?.into_inner();
            for status in answer.regions {
                let meta = status.region.and_then(|region| region.meta).context("no meta")?;
                names.push(meta.name);
            }
            token = answer.next_page_token;
            if token.is_empty() {
                return Ok(names);
            }
        }
    }

    /// Counts and latency of one check over a range, by region and phase, as the coordinator itself has
    /// them.
    ///
    /// # Errors
    /// When the coordinator does not answer.
    pub async fn history(
        &self,
        check: &str,
        since: Timestamp,
        until: Timestamp,
        quantiles: &[f64],
    ) -> Result<v1::QueryHistoryResponse> {
        let request = v1::QueryHistoryRequest {
            namespace: NAMESPACE.to_owned(),
            check: check.to_owned(),
            since: Some(since),
            until: Some(until),
            quantiles: quantiles.to_vec(),
            by_region: true,
            by_phase: true,
            stale: true,
            ..Default::default()
        };
        let mut client = HistoryServiceClient::new(self.channel.clone());
        Ok(client.query_history(request).await?.into_inner())
    }

    /// Creates one region as request `number` of `client`, and returns the revision that
    /// acknowledges it.
    ///
    /// # Errors
    /// When the write was not acknowledged: it may have happened all the same.
    pub async fn create_region(&self, client: &str, number: u64, name: &str) -> Result<u64> {
        let title = format!("written as number {number}");
        self.create_region_titled(client, number, name, &title).await
    }

    /// The same with a title of the caller's.
    ///
    /// # Errors
    /// When the write was not acknowledged: it may have happened all the same.
    pub async fn create_region_titled(
        &self,
        client: &str,
        number: u64,
        name: &str,
        title: &str,
    ) -> Result<u64> {
        let region = v1::Region { meta: Some(named(name)), title: title.to_owned() };
        match self.put_region(request_id(client, number), region).await? {
            Applied::Committed(revision) => Ok(revision),
            Applied::Refused(violations) => bail!("refused: {violations:?}"),
        }
    }

    /// Creates or replaces one region. With an etag in its meta: only that version of it.
    ///
    /// # Errors
    /// What the call ended with: the write may have happened all the same.
    pub async fn put_region(
        &self,
        id: v1::RequestId,
        region: v1::Region,
    ) -> Result<Applied, Status> {
        // Every second one goes each way.
        let whole = match id.number.is_multiple_of(2) {
            true => self.apply_whole(region_request(id, region)).await?,
            false => self.apply_streamed(region_request(id, region)).await?,
        };
        match whole.result.filter(|result| result.committed) {
            Some(result) => Ok(Applied::Committed(result.revision)),
            None if whole.violations.is_empty() => {
                Err(Status::unknown("the answer ended without a result"))
            }
            None => Ok(Applied::Refused(whole.violations)),
        }
    }

    /// An apply in one message.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn apply_whole(
        &self,
        request: v1::ApplyWholeRequest,
    ) -> Result<v1::ApplyWholeResponse, Status> {
        let mut client = ConfigServiceClient::new(self.channel.clone());
        Ok(client.apply_whole(request).await?.into_inner())
    }

    /// The same apply as a stream, with its answer in one piece.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn apply_streamed(
        &self,
        request: v1::ApplyWholeRequest,
    ) -> Result<v1::ApplyWholeResponse, Status> {
        use v1::apply_response::Part as Said;
        let v1::ApplyWholeRequest { header, resources } = request;
        let header = header.map(Part::Header).into_iter();
        let parts = header.chain(resources.into_iter().map(Part::Resource));
        let requests: Vec<_> = parts.map(|part| v1::ApplyRequest { part: Some(part) }).collect();
        let mut client = ConfigServiceClient::new(self.channel.clone());
        let mut answers = client.apply(tokio_stream::iter(requests)).await?.into_inner();
        let mut whole = v1::ApplyWholeResponse::default();
        // To its end: a stream that is dropped before is reset, and many resets look like a flood.
        while let Some(answer) = answers.message().await? {
            match answer.part {
                Some(Said::Change(change)) => whole.changes.push(change),
                Some(Said::Violation(violation)) => whole.violations.push(violation),
                Some(Said::Advice(advice)) => whole.advice.push(advice),
                Some(Said::Result(result)) => whole.result = Some(result),
                None => {}
            }
        }
        Ok(whole)
    }

    /// One region; none when there is none of this name. `stale`: as the coordinator has it, without
    /// asking a leader.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn region(&self, name: &str, stale: bool) -> Result<Option<v1::Region>, Status> {
        let (namespace, name) = (NAMESPACE.to_owned(), name.to_owned());
        let request = v1::GetRegionRequest { namespace, name, stale };
        match RegionServiceClient::new(self.channel.clone()).get_region(request).await {
            Ok(answer) => Ok(answer.into_inner().region.and_then(|status| status.region)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Deletes a region; an etag that is not 0: only that version of it.
    ///
    /// # Errors
    /// What the call ended with: the write may have happened all the same.
    pub async fn delete_region(
        &self,
        id: v1::RequestId,
        name: &str,
        etag: u64,
    ) -> Result<u64, Status> {
        let (namespace, name) = (NAMESPACE.to_owned(), name.to_owned());
        let request = v1::DeleteRegionRequest { request_id: Some(id), namespace, name, etag };
        let mut client = RegionServiceClient::new(self.channel.clone());
        Ok(client.delete_region(request).await?.into_inner().revision)
    }
}

/// An apply of one region.
pub fn region_request(id: v1::RequestId, region: v1::Region) -> v1::ApplyWholeRequest {
    let header = v1::ApplyHeader {
        request_id: Some(id),
        namespace: NAMESPACE.to_owned(),
        source: "test".to_owned(),
        ..Default::default()
    };
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Region(region)) };
    v1::ApplyWholeRequest { header: Some(header), resources: vec![resource] }
}

/// The revision that an answer to an apply acknowledges.
///
/// # Errors
/// When it says that nothing was written.
pub fn acknowledged(answer: &v1::ApplyWholeResponse) -> Result<u64> {
    match answer.result {
        Some(result) if result.committed => Ok(result.revision),
        _ => bail!("nothing was written: {answer:?}"),
    }
}

/// What came of an apply.
#[derive(Debug)]
pub enum Applied {
    /// It is there, at this revision.
    Committed(u64),
    /// Nothing was changed, for these reasons.
    Refused(Vec<v1::Violation>),
}

/// The id of a request of a client that has no other one open.
pub fn request_id(client: &str, number: u64) -> v1::RequestId {
    v1::RequestId { client: client.to_owned(), number, lowest_open: number }
}

/// The meta of a resource of this name.
pub fn named(name: &str) -> v1::Meta {
    let (namespace, name) = (NAMESPACE.to_owned(), name.to_owned());
    v1::Meta { namespace, name, ..Default::default() }
}

/// A channel with the certificate in `tls`.
///
/// # Errors
/// When the coordinator cannot be reached.
pub async fn channel(endpoint: &str, tls: &Path) -> Result<Channel> {
    let credentials = Credentials::load(tls)?;
    Ok(transport::connect(&[endpoint.to_owned()], &credentials, None).await?)
}

fn options(page_token: String) -> v1::ListOptions {
    v1::ListOptions {
        page_size: 1_000,
        page_token,
        namespace: NAMESPACE.to_owned(),
        ..Default::default()
    }
}

/// One ballot in a line, for the messages of failures.
pub fn brief(row: &v1::StatusRow) -> String {
    let ballots: Vec<String> = row
        .ballots
        .iter()
        .map(|ballot| {
            let stale = if ballot.stale { " stale" } else { "" };
            format!("{}: {:?}{stale} x{}", ballot.region, ballot.state(), ballot.in_a_row)
        })
        .collect();
    format!("{:?} [{}]", row.verdict(), ballots.join(", "))
}

/// The ballot of one region.
///
/// # Errors
/// When the row has none.
pub fn ballot<'a>(row: &'a v1::StatusRow, region: &str) -> Result<&'a v1::Ballot> {
    let found = row.ballots.iter().find(|ballot| ballot.region == region);
    found.with_context(|| format!("no ballot of {region} in {}", brief(row)))
}
