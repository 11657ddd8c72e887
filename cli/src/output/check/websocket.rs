//! A `websocket` step as it is shown.

use std::collections::BTreeMap;

use parallax_proto::convert::enums;
use parallax_proto::v1;
use serde::Serialize;

use super::{ExchangeView, secret};

/// An upgrade to a websocket, and what is said over it. Header values are shown as written: references
/// stay references.
#[derive(Debug, Serialize)]
pub struct WebSocketView {
    url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subprotocols: Vec<String>,
    pub(super) insecure: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    server_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ca_pem: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    min_tls: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_cert: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_key: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dialogue: Vec<ExchangeView>,
}

impl WebSocketView {
    pub(super) fn new(step: &v1::WebSocketStep) -> Self {
        let header = |header: &v1::Header| (header.name.clone(), secret(header.value.as_ref()));
        Self {
            url: step.url.clone(),
            headers: step.headers.iter().map(header).collect(),
            subprotocols: step.subprotocols.clone(),
            insecure: step.insecure,
            server_name: step.server_name.clone(),
            ca_pem: step.ca_pem.clone(),
            min_tls: enums::tls_version(step.min_tls)
                .map_or(String::new(), |version| version.word().to_owned()),
            client_cert: secret(step.client_cert.as_ref()),
            client_key: secret(step.client_key.as_ref()),
            dialogue: step.dialogue.iter().map(ExchangeView::new).collect(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}
