//! What holds for a namespace: get. It is written by an apply alone.

use parallax_proto::v1;
use parallax_proto::v1::settings_service_server::SettingsService;
use tonic::{Request, Response, Status};

use super::{Api, Need, namespace_of};

#[tonic::async_trait]
impl SettingsService for Api {
    async fn get_settings(
        &self,
        request: Request<v1::GetSettingsRequest>,
    ) -> Result<Response<v1::GetSettingsResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(get.stale).await?;
        let settings = state.settings.get(namespace).map(|settings| settings.as_ref().clone());
        Ok(Response::new(v1::GetSettingsResponse { settings, revision: state.applied }))
    }
}
