//! The gRPC API, for what a test must see exactly: verdicts, ballots, incidents, the fleet.

use std::path::Path;

use anyhow::{Context, Result, bail};
use parallax_proto::v1;
use parallax_proto::v1::apply_request::Part;
use parallax_proto::v1::check_service_client::CheckServiceClient;
use parallax_proto::v1::config_service_client::ConfigServiceClient;
use parallax_proto::v1::fleet_service_client::FleetServiceClient;
use parallax_proto::v1::incident_service_client::IncidentServiceClient;
use parallax_proto::v1::region_service_client::RegionServiceClient;
use parallax_proto::v1::status_service_client::StatusServiceClient;
use parallax_runtime::transport::{self, Credentials};
use tonic::transport::Channel;

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
        let request_id = v1::RequestId { client: client.to_owned(), number, lowest_open: number };
        let header = v1::ApplyHeader {
            request_id: Some(request_id),
            namespace: NAMESPACE.to_owned(),
            source: "test".to_owned(),
            ..Default::default()
        };
        let region = v1::Region {
            meta: Some(v1::Meta {
                namespace: NAMESPACE.to_owned(),
                name: name.to_owned(),
                ..Default::default()
            }),
            title: title.to_owned(),
        };
        let resource = v1::Resource { kind: Some(v1::resource::Kind::Region(region)) };
        let parts = [Part::Header(header), Part::Resource(resource)]
            .map(|part| v1::ApplyRequest { part: Some(part) });
        let mut answers = ConfigServiceClient::new(self.channel.clone())
            .apply(tokio_stream::iter(parts))
            .await?
            .into_inner();
        while let Some(answer) = answers.message().await? {
            match answer.part {
                Some(v1::apply_response::Part::Violation(violation)) => bail!("{violation:?}"),
                Some(v1::apply_response::Part::Result(result)) if result.committed => {
                    return Ok(result.revision);
                }
                Some(v1::apply_response::Part::Result(result)) => bail!("refused: {result:?}"),
                _ => {}
            }
        }
        bail!("the stream ended without a result")
    }
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
