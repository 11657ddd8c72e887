//! What each listener serves: a service a line.

use parallax_proto::DESCRIPTORS;
use parallax_proto::peer::join_service_server::JoinServiceServer;
use parallax_proto::peer::raft_service_server::RaftServiceServer;
use parallax_proto::v1::backup_service_server::BackupServiceServer;
use parallax_proto::v1::check_service_server::CheckServiceServer;
use parallax_proto::v1::cluster_service_server::ClusterServiceServer;
use parallax_proto::v1::config_service_server::ConfigServiceServer;
use parallax_proto::v1::contact_service_server::ContactServiceServer;
use parallax_proto::v1::fleet_service_server::FleetServiceServer;
use parallax_proto::v1::history_service_server::HistoryServiceServer;
use parallax_proto::v1::incident_service_server::IncidentServiceServer;
use parallax_proto::v1::maintenance_service_server::MaintenanceServiceServer;
use parallax_proto::v1::region_service_server::RegionServiceServer;
use parallax_proto::v1::session_service_server::SessionServiceServer;
use parallax_proto::v1::settings_service_server::SettingsServiceServer;
use parallax_proto::v1::silence_service_server::SilenceServiceServer;
use parallax_proto::v1::status_service_server::StatusServiceServer;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Listener, serve};
use tonic::service::Routes;
use tracing::warn;

use crate::api::Api;
use crate::api::cluster::ClusterApi;
use crate::forward::server::ForwardServer;
use crate::members::join::Doorkeeper;
use crate::peers::inbound::RaftPeer;
use crate::relay::server::RelayServer;
use crate::session::SessionServer;

pub(super) async fn api_routes(
    api: Api,
    cluster: ClusterApi,
) -> Result<Routes, tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ConfigServiceServer<Api>>().await;
    health.set_serving::<CheckServiceServer<Api>>().await;
    health.set_serving::<IncidentServiceServer<Api>>().await;
    health.set_serving::<StatusServiceServer<Api>>().await;
    health.set_serving::<ClusterServiceServer<ClusterApi>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()?;
    Ok(Routes::new(health_service)
        .add_service(reflection)
        .add_service(ClusterServiceServer::new(cluster))
        .add_service(ConfigServiceServer::new(api.clone()))
        .add_service(CheckServiceServer::new(api.clone()))
        .add_service(RegionServiceServer::new(api.clone()))
        .add_service(ContactServiceServer::new(api.clone()))
        .add_service(IncidentServiceServer::new(api.clone()))
        .add_service(SilenceServiceServer::new(api.clone()))
        .add_service(MaintenanceServiceServer::new(api.clone()))
        .add_service(SettingsServiceServer::new(api.clone()))
        .add_service(FleetServiceServer::new(api.clone()))
        .add_service(BackupServiceServer::new(api.clone()))
        .add_service(HistoryServiceServer::new(api.clone()))
        .add_service(StatusServiceServer::new(api)))
}

/// What other members ask of this one: a service a line.
pub(super) fn peer_routes(
    raft: RaftServiceServer<RaftPeer>,
    forward: ForwardServer,
    doorkeeper: Doorkeeper,
    relays: RelayServer,
) -> Routes {
    Routes::new(raft)
        .add_service(forward.into_service())
        .add_service(JoinServiceServer::new(doorkeeper))
        .add_service(relays.into_service())
}

pub(super) async fn probe_routes(
    server: SessionServer,
) -> Result<Routes, tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SessionServiceServer<SessionServer>>().await;
    Ok(Routes::new(health_service).add_service(server.into_service()))
}

pub(super) fn spawn_server(
    supervisor: &Supervisor,
    name: &'static str,
    listener: Listener,
    routes: Routes,
) {
    let stop = supervisor.stop_token();
    supervisor.spawn(TaskKind::Vital(name), async move {
        if let Err(error) = serve(listener, routes, stop).await {
            warn!(%error, listener = name, "the listener broke");
        }
    });
}
