//! `maintenance list|get|delete`.

use parallax_proto::v1;
use parallax_proto::v1::maintenance_service_client::MaintenanceServiceClient;

use super::list::{all_pages, keep, options};
use crate::args::{Delete, Get, List};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::maintenance::{WindowView, WindowsView};

/// All windows.
///
/// # Errors
/// What the coordinator says.
pub async fn list(args: &List, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let (mut windows, revision) = all_pages!(
        client,
        options(args, client),
        MaintenanceServiceClient::maintenance_service_client,
        list_maintenance,
        ListMaintenanceRequest {},
        windows
    );
    keep(&mut windows, &args.select.all(), |window| window.maintenance.as_ref()?.meta.as_ref());
    let view = WindowsView::new(&windows, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if windows.is_empty() {
        shell.say("no maintenance windows");
    }
    Ok(Exit::Ok)
}

/// One window.
///
/// # Errors
/// What the coordinator says.
pub async fn get(args: &Get, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let request = v1::GetMaintenanceRequest {
        namespace: client.namespace(),
        name: args.name.clone(),
        stale: args.stale,
    };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { MaintenanceServiceClient::new(channel).get_maintenance(request).await }
        })
        .await?;
    let window = answer.window.ok_or(Failure::Incomplete("maintenance window"))?;
    let view = WindowView::new(&window);
    shell.data(&view, |_| view.text())?;
    Ok(Exit::Ok)
}

/// Deletes a window.
///
/// # Errors
/// What the coordinator says.
pub async fn delete(
    args: &Delete,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request = v1::DeleteMaintenanceRequest {
        request_id: Some(id.clone()),
        namespace: client.namespace(),
        name: args.name.clone(),
        etag: args.etag.unwrap_or_default(),
    };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { MaintenanceServiceClient::new(channel).delete_maintenance(request).await }
        })
        .await?;
    shell.say(&format!("maintenance {} deleted at revision {}", args.name, answer.revision));
    Ok(Exit::Ok)
}
