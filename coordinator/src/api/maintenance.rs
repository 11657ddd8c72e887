//! Maintenance windows: list, get, delete.

use parallax_common::limits::MAINTENANCE_SHOWN;
use parallax_proto::convert::time::timestamp;
use parallax_proto::v1::maintenance_service_server::MaintenanceService;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use tonic::{Request, Response, Status};

use super::checks::Target;
use super::page::{matches, page};
use super::{Api, Need, namespace_of, not_found};
use crate::core::quiet::windows;
use crate::core::state::{Kind, State};

#[tonic::async_trait]
impl MaintenanceService for Api {
    async fn list_maintenance(
        &self,
        request: Request<v1::ListMaintenanceRequest>,
    ) -> Result<Response<v1::ListMaintenanceResponse>, Status> {
        let options = request.get_ref().options.clone().unwrap_or_default();
        let namespace = namespace_of(&options.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(options.stale).await?;
        let windows = state
            .maintenance
            .iter()
            .filter(|((of, _), row)| {
                let meta = row.window.as_ref().and_then(|window| window.meta.clone());
                of == namespace && matches(&options.labels, &meta.unwrap_or_default().labels)
            })
            .map(|((_, name), row)| (name.clone(), row));
        let page = page(&options, windows)?;
        Ok(Response::new(v1::ListMaintenanceResponse {
            windows: page.items.into_iter().map(|row| status(&state, row)).collect(),
            next_page_token: page.next,
            revision: state.applied,
        }))
    }

    async fn get_maintenance(
        &self,
        request: Request<v1::GetMaintenanceRequest>,
    ) -> Result<Response<v1::GetMaintenanceResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(get.stale).await?;
        let key = (namespace.to_owned(), get.name.clone());
        let row = state.maintenance.get(&key);
        let row = row.ok_or_else(|| not_found("maintenance window", &get.name))?;
        let window = Some(status(&state, row));
        Ok(Response::new(v1::GetMaintenanceResponse { window, revision: state.applied }))
    }

    async fn delete_maintenance(
        &self,
        request: Request<v1::DeleteMaintenanceRequest>,
    ) -> Result<Response<v1::DeleteMaintenanceResponse>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        let actor = self.caller(&request, &namespace, Need::Edit)?;
        let delete = request.into_inner();
        let (kind, etag) = (Kind::Maintenance, delete.etag);
        let target = Target { kind, namespace, name: delete.name, etag };
        let revision = self.delete(actor, delete.request_id, target, false).await?;
        Ok(Response::new(v1::DeleteMaintenanceResponse { revision }))
    }
}

/// A window and when it comes next.
fn status(state: &State, row: &store::MaintenanceRow) -> v1::MaintenanceStatus {
    let now = clock::utc().max(state.last_utc());
    let window = row.window.clone().unwrap_or_default();
    let next = windows::next(&window, now, MAINTENANCE_SHOWN).into_iter();
    let next = next.map(|span| v1::MaintenanceSpan {
        starts_at: Some(timestamp(span.from)),
        ends_at: Some(timestamp(span.until)),
    });
    v1::MaintenanceStatus { next: next.collect(), maintenance: Some(window) }
}
