//! An HTTP step, and what it connects through and logs in by.

use std::collections::BTreeMap;

use parallax_proto::convert::enums;
use parallax_proto::v1;
use serde::Serialize;

use super::secret;

/// An HTTP exchange. Header values are shown as written: references stay references.
#[derive(Debug, Serialize)]
pub struct HttpView {
    pub(super) url: String,
    method: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    body: String,
    body_max_bytes: u64,
    pub(super) insecure: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    server_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ca_pem: String,
    redirects: RedirectsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    basic: Option<BasicView>,
    #[serde(skip_serializing_if = "String::is_empty")]
    bearer: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accept_encoding: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    http_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    min_tls: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_cert: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_key: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keep_alive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth2: Option<OAuth2View>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyView>,
}

/// Client credentials, as written.
#[derive(Debug, Serialize)]
pub struct OAuth2View {
    token_url: String,
    client_id: String,
    client_secret: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    audience: String,
}

impl OAuth2View {
    fn new(oauth2: &v1::OAuth2) -> Self {
        Self {
            token_url: oauth2.token_url.clone(),
            client_id: secret(oauth2.client_id.as_ref()),
            client_secret: secret(oauth2.client_secret.as_ref()),
            scopes: oauth2.scopes.clone(),
            audience: oauth2.audience.clone(),
        }
    }
}

/// A proxy, as written.
#[derive(Debug, Serialize)]
pub struct ProxyView {
    url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    password: String,
}

impl ProxyView {
    fn new(proxy: &v1::Proxy) -> Self {
        Self {
            url: proxy.url.clone(),
            username: secret(proxy.username.as_ref()),
            password: secret(proxy.password.as_ref()),
        }
    }
}

/// Redirects as YAML has them: `none`, or how many.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RedirectsView {
    /// The word `none`.
    None(&'static str),
    /// Followed.
    Followed {
        /// So many.
        max: u32,
    },
}

/// A user and a password, as written.
#[derive(Debug, Serialize)]
pub struct BasicView {
    username: String,
    password: String,
}

impl HttpView {
    pub(super) fn new(step: &v1::HttpStep) -> Self {
        let header = |header: &v1::Header| (header.name.clone(), secret(header.value.as_ref()));
        let parameter = |of: &v1::QueryParameter| (of.name.clone(), secret(of.value.as_ref()));
        let basic = |basic: &v1::BasicAuth| BasicView {
            username: secret(basic.username.as_ref()),
            password: secret(basic.password.as_ref()),
        };
        let encodings = step.accept_encoding.iter().filter_map(|it| enums::content_encoding(*it));
        Self {
            url: step.url.clone(),
            method: step.method.clone(),
            headers: step.headers.iter().map(header).collect(),
            body: step.body.clone(),
            body_max_bytes: step.body_max_bytes,
            insecure: step.insecure,
            server_name: step.server_name.clone(),
            ca_pem: step.ca_pem.clone(),
            redirects: match step.redirects.map_or(0, |redirects| redirects.max) {
                0 => RedirectsView::None("none"),
                max => RedirectsView::Followed { max },
            },
            basic: step.basic.as_ref().map(basic),
            bearer: secret(step.bearer.as_ref()),
            query: step.query.iter().map(parameter).collect(),
            accept_encoding: encodings.map(|encoding| encoding.word().to_owned()).collect(),
            http_version: enums::http_version(step.http_version)
                .map_or_else(String::new, |version| version.word().to_owned()),
            min_tls: enums::tls_version(step.min_tls)
                .map_or_else(String::new, |version| version.word().to_owned()),
            client_cert: secret(step.client_cert.as_ref()),
            client_key: secret(step.client_key.as_ref()),
            keep_alive: step.keep_alive,
            oauth2: step.oauth2.as_ref().map(OAuth2View::new),
            proxy: step.proxy.as_ref().map(ProxyView::new),
        }
    }
}
