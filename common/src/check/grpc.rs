//! What a `grpc` step asks, and whom.

use super::TlsOptions;

/// One call of `grpc.health.v1.Health/Check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcStep {
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// The service that is asked about; empty for the server as a whole.
    pub service: String,
    /// Without it HTTP/2 is spoken in the clear.
    pub tls: Option<TlsOptions>,
    /// What the call says it is for; host and port when absent.
    pub authority: Option<String>,
    /// Sent with the call, in order. Values may hold references.
    pub metadata: Vec<(String, String)>,
}

impl GrpcStep {
    /// Every text of the step that may hold references.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        let client = self.tls.iter().filter_map(|tls| tls.client.as_ref());
        let client = client.flat_map(|client| [&client.cert, &client.key]);
        self.metadata.iter().map(|(_, value)| value).chain(client).map(String::as_str)
    }
}
