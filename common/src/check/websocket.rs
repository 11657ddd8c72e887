//! What a `websocket` step does.

use super::{Exchange, Payload, TlsOptions};

/// An upgrade to a websocket (RFC 6455), and what is said over it.
///
/// The default has no URL and is no valid step: it is for what is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebSocketStep {
    /// `ws` or `wss`, with a host.
    pub url: String,
    /// Of the request to upgrade, in order. Values may hold references.
    pub headers: Vec<(String, String)>,
    /// Offered, in order; the server chooses one or none.
    pub subprotocols: Vec<String>,
    /// TLS options; used for `wss`.
    pub tls: TlsOptions,
    /// What is said once the upgrade stands: each `send` is a message, each `expect` is for one.
    pub dialogue: Vec<Exchange>,
}

impl WebSocketStep {
    /// Whether it is spoken over TLS.
    pub fn is_secure(&self) -> bool {
        // Schemes are case-insensitive and `wss` cannot begin anything else.
        self.url.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("wss:"))
    }

    /// Every text of the step that may hold references.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        let client = self.tls.client.iter().flat_map(|client| [&client.cert, &client.key]);
        let sent = self.dialogue.iter().filter_map(|exchange| exchange.send.as_ref());
        let headers = self.headers.iter().map(|(_, value)| value);
        headers.chain(client).map(String::as_str).chain(sent.filter_map(Payload::text))
    }
}
