//! Follows what changes in the mesh, across broken connections, and puts it on the screen.

use std::time::Duration;

use parallax_proto::v1;
use parallax_proto::v1::status_service_client::StatusServiceClient;
use parallax_runtime::transport::{Credentials, connect};

use crate::dev::screen::Screen;
use crate::dev::show::Show;

/// Follows the mesh's changes across broken connections.
pub(super) struct Watcher<'s> {
    credentials: Credentials,
    endpoints: Vec<String>,
    screen: &'s Screen,
    show: Show,
    stream: Option<tonic::Streaming<v1::WatchResponse>>,
    revision: u64,
    /// Why it could not be opened, as long as that is so.
    said: Option<String>,
}

impl<'s> Watcher<'s> {
    pub(super) fn new(
        credentials: Credentials,
        endpoints: Vec<String>,
        screen: &'s Screen,
    ) -> Self {
        let show = Show::default();
        Self { credentials, endpoints, screen, show, stream: None, revision: 0, said: None }
    }

    /// Opens the stream where it broke off; says why when it cannot.
    pub(super) async fn open(&mut self) {
        let opened = async {
            let channel = connect(&self.endpoints, &self.credentials, None);
            let channel = channel.await.map_err(|e| e.to_string())?;
            let request =
                v1::WatchRequest { from_revision: self.revision, namespace: String::new() };
            let answer = StatusServiceClient::new(channel).watch(request).await;
            answer.map_err(|status| match status.message() {
                "" => status.code().description().to_owned(),
                message => message.to_owned(),
            })
        };
        match opened.await {
            Ok(answer) => {
                self.stream = Some(answer.into_inner());
                self.said = None;
            }
            Err(why) => {
                self.stream = None;
                // The first may take connections and have no leader: the next one is asked first.
                self.endpoints.rotate_left(1);
                if self.said.as_ref() != Some(&why) {
                    self.screen.event("watch", &format!("cannot follow the mesh: {why}"));
                    self.said = Some(why);
                }
            }
        }
    }

    /// Shows the next change; whether it was a verdict.
    pub(super) async fn next(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.open().await;
            return false;
        };
        match stream.message().await {
            Ok(Some(response)) => {
                self.revision = self.revision.max(response.revision - u64::from(response.more));
                let Some(change) = &response.change else { return false };
                if let Some((what, text)) = self.show.line(change) {
                    self.screen.event(what, &text);
                }
                matches!(change, v1::watch_response::Change::Verdict(_))
            }
            Ok(None) => {
                self.stream = None;
                false
            }
            Err(status) => {
                tracing::warn!(%status, "the watch broke off");
                // What it missed is older than the coordinator remembers: go on from now.
                if status.code() == tonic::Code::OutOfRange {
                    self.revision = 0;
                }
                self.stream = None;
                false
            }
        }
    }
}
