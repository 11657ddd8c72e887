//! `version`.

use parallax_proto::v1;
use parallax_proto::v1::status_service_client::StatusServiceClient;
use serde::Serialize;

use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;

/// `version`.
#[derive(Debug, Serialize)]
struct VersionView {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mesh: Option<String>,
}

impl VersionView {
    fn text(&self) -> String {
        let mut text = format!("parallax {}\n", self.client);
        if let Some(build) = &self.coordinator {
            text.push_str(&format!("coordinator {build}\n"));
        }
        if let Some(mesh) = &self.mesh {
            text.push_str(&format!("mesh {mesh}\n"));
        }
        text
    }
}

/// The version of this program.
pub const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// The version of this program alone.
///
/// # Errors
/// When standard output cannot be written.
pub fn client_only(shell: &mut Shell) -> Result<Exit, Failure> {
    let view = VersionView { client: CLIENT, coordinator: None, mesh: None };
    shell.data(&view, |_| view.text())?;
    Ok(Exit::Ok)
}

/// The versions of this program and of the coordinator that answers. Nobody there is no reason to
/// keep the first to ourselves.
///
/// # Errors
/// What the coordinator says, after the version of this program is printed.
pub async fn version(client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let options = v1::ListOptions {
        page_size: 1,
        namespace: client.namespace(),
        stale: true,
        ..v1::ListOptions::default()
    };
    let request = v1::GetStatusRequest { options: Some(options) };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { StatusServiceClient::new(channel).get_status(request).await }
        })
        .await;
    match answer {
        Ok(answer) => {
            let mesh = answer.mesh.unwrap_or_default();
            let view = VersionView {
                client: CLIENT,
                coordinator: Some(mesh.build),
                mesh: Some(mesh.mesh),
            };
            shell.data(&view, |_| view.text())?;
            Ok(Exit::Ok)
        }
        Err(failure) => {
            client_only(shell)?;
            Err(failure)
        }
    }
}
