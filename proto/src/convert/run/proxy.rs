//! Through whom a step connects.

use parallax_common::check::{Proxy, ProxyCredentials};
use parallax_common::rule;

use super::{Findings, http, no_reference, secret_to};
use crate::v1;

/// Reads a proxy. What cannot be read is none; that it is wrong is in the findings.
pub(super) fn proxy(
    given: Option<&v1::Proxy>,
    at: &str,
    findings: &mut Findings<'_>,
) -> Option<Proxy> {
    let given = given?;
    let field = |name: &str| format!("{at}.{name}");
    let url = match given.url.as_str() {
        "" => {
            findings.add(rule::MISSING_FIELD, field("url"), "the URL of a proxy is needed");
            None
        }
        text if no_reference(text, &field("url"), findings) => None,
        text => Proxy::parse_url(text)
            .map_err(|error| findings.add(error.rule, field("url"), error.message))
            .ok(),
    };
    let credentials = match (&given.username, &given.password) {
        (None, None) => None,
        (username, password) => {
            let username = http::username(username.as_ref(), &field("username"), findings);
            let password = http::reference(password.as_ref(), &field("password"), findings);
            Some(ProxyCredentials { username: username?, password: password? })
        }
    };
    let (scheme, host, port) = url?;
    Some(Proxy { scheme, host, port, credentials })
}

/// A proxy as messages carry it.
pub(super) fn proxy_to(proxy: &Proxy) -> v1::Proxy {
    let credentials = proxy.credentials.as_ref();
    v1::Proxy {
        url: proxy.url(),
        username: credentials.map(|of| secret_to(&of.username)),
        password: credentials.map(|of| secret_to(&of.password)),
    }
}
