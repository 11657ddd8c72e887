//! Regions: list, get, delete.

use parallax_proto::v1;
use parallax_proto::v1::region_service_server::RegionService;
use tonic::{Request, Response, Status};

use super::checks::Target;
use super::page::{matches, page};
use super::{Api, Need, namespace_of, not_found};
use crate::core::state::{Kind, State};

#[tonic::async_trait]
impl RegionService for Api {
    async fn list_regions(
        &self,
        request: Request<v1::ListRegionsRequest>,
    ) -> Result<Response<v1::ListRegionsResponse>, Status> {
        let options = request.get_ref().options.clone().unwrap_or_default();
        let namespace = namespace_of(&options.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(options.stale).await?;
        let regions = state
            .regions
            .iter()
            .filter(|(key, region)| {
                let meta = region.meta.clone().unwrap_or_default();
                key.0 == namespace && matches(&options.labels, &meta.labels)
            })
            .map(|(key, region)| (key.1.clone(), region.as_ref().clone()));
        let page = page(&options, regions)?;
        Ok(Response::new(v1::ListRegionsResponse {
            regions: page.items.into_iter().map(|region| status(&state, region)).collect(),
            next_page_token: page.next,
            revision: state.applied,
        }))
    }

    async fn get_region(
        &self,
        request: Request<v1::GetRegionRequest>,
    ) -> Result<Response<v1::GetRegionResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(get.stale).await?;
        let key = (namespace.to_owned(), get.name.clone());
        let region = state.regions.get(&key).ok_or_else(|| not_found("region", &get.name))?;
        Ok(Response::new(v1::GetRegionResponse {
            region: Some(status(&state, region.as_ref().clone())),
            revision: state.applied,
        }))
    }

    async fn delete_region(
        &self,
        request: Request<v1::DeleteRegionRequest>,
    ) -> Result<Response<v1::DeleteRegionResponse>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        let actor = self.caller(&request, &namespace, Need::Edit)?;
        let delete = request.into_inner();
        let target = Target { kind: Kind::Region, namespace, name: delete.name, etag: delete.etag };
        let revision = self.delete(actor, delete.request_id, target, false).await?;
        Ok(Response::new(v1::DeleteRegionResponse { revision }))
    }
}

fn status(state: &State, region: v1::Region) -> v1::RegionStatus {
    let meta = region.meta.clone().unwrap_or_default();
    let known = state.probes.iter().filter(|((region, _), _)| *region == meta.name);
    let (mut probes_known, mut probes_live) = (0, 0);
    for (_, probe) in known {
        probes_known += 1;
        probes_live += u32::from(probe.state() == v1::ProbeState::Live);
    }
    let checks = state.checks.values().filter(|entry| {
        entry.check.enabled
            && entry.check.namespace == meta.namespace
            && entry.check.looks_from().any(|region| *region == meta.name)
    });
    let checks = u32::try_from(checks.count()).unwrap_or(u32::MAX);
    v1::RegionStatus { region: Some(region), probes_live, probes_known, checks }
}
