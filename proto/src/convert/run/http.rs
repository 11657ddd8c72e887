//! Options of an HTTP step beside the request line, headers and body: redirects, credentials, query,
//! content codings, and what its TLS asks for.

use parallax_common::check::{
    ClientCertificate, ContentEncoding, HttpAuth, HttpStep, HttpVersion, TlsVersion,
};
use parallax_common::limits::{QUERY_MAX, REDIRECTS_MAX};
use parallax_common::rule;
use parallax_common::secret::Template;
use parallax_common::target::HttpUrl;

use super::{Findings, oauth2, proxy, secret_to, template};
use crate::convert::enums;
use crate::v1;

/// Why an option of TLS has no effect.
pub(super) const NO_TLS: &str = "the URL is not https, and no redirect is followed";

/// Reads the options. What is not an option of these is left empty.
pub(super) fn options(step: &v1::HttpStep, at: &str, findings: &mut Findings<'_>) -> HttpStep {
    HttpStep {
        redirects_max: redirects(step, at, findings),
        auth: auth(step, at, findings),
        query: query(&step.query, &format!("{at}query"), findings),
        version: version(step, at, findings),
        accept_encoding: accept_encoding(step, &format!("{at}accept_encoding"), findings),
        keep_alive: keep_alive(step, &format!("{at}keep_alive"), findings),
        proxy: proxy::proxy(step.proxy.as_ref(), &format!("{at}proxy"), findings),
        ..HttpStep::default()
    }
}

/// The options as messages carry them. What is not an option of these is left empty.
pub(super) fn options_to(http: &HttpStep) -> v1::HttpStep {
    let (basic, bearer) = match &http.auth {
        None => (None, None),
        Some(HttpAuth::Bearer(token)) => (None, Some(secret_to(token))),
        Some(HttpAuth::Basic { username, password }) => {
            let (username, password) = (Some(secret_to(username)), Some(secret_to(password)));
            (Some(v1::BasicAuth { username, password }), None)
        }
        Some(HttpAuth::OAuth2(_)) => (None, None),
    };
    let oauth2 = match &http.auth {
        Some(HttpAuth::OAuth2(of)) => Some(oauth2::oauth2_to(of)),
        _ => None,
    };
    let parameter = |(name, value): &(String, String)| v1::QueryParameter {
        name: name.clone(),
        value: Some(secret_to(value)),
    };
    let client = http.tls.client.as_ref();
    v1::HttpStep {
        redirects: Some(v1::Redirects { max: http.redirects_max }),
        basic,
        bearer,
        oauth2,
        query: http.query.iter().map(parameter).collect(),
        accept_encoding: http
            .accept_encoding
            .iter()
            .map(|encoding| enums::content_encoding_to(*encoding))
            .collect(),
        http_version: match http.version {
            HttpVersion::V1 => v1::HttpVersion::Unspecified as i32,
            other => enums::http_version_to(other),
        },
        min_tls: http
            .tls
            .min_version
            .map_or(v1::TlsVersion::Unspecified as i32, enums::tls_version_to),
        client_cert: client.map(|client| secret_to(&client.cert)),
        client_key: client.map(|client| secret_to(&client.key)),
        proxy: http.proxy.as_ref().map(proxy::proxy_to),
        keep_alive: http.keep_alive,
        ..v1::HttpStep::default()
    }
}

fn redirects(step: &v1::HttpStep, at: &str, findings: &mut Findings<'_>) -> u32 {
    let max = step.redirects.map_or(0, |redirects| redirects.max);
    if max > REDIRECTS_MAX {
        let message =
            format!("{max} redirects are asked for; at most {REDIRECTS_MAX} are followed");
        findings.add(rule::REDIRECTS_RANGE, format!("{at}redirects.max"), message);
    }
    max
}

/// What was sent over a connection that turns out to be closed is sent once more, which is not for every
/// method.
fn keep_alive(step: &v1::HttpStep, field: &str, findings: &mut Findings<'_>) -> bool {
    if step.keep_alive && matches!(step.method.as_str(), "POST" | "PATCH") {
        let message = format!("a {} must not be sent twice, as may happen then", step.method);
        findings.add(rule::KEEP_ALIVE, field, message);
    }
    step.keep_alive
}

fn version(step: &v1::HttpStep, at: &str, findings: &mut Findings<'_>) -> HttpVersion {
    let field = format!("{at}http_version");
    if step.http_version == v1::HttpVersion::Unspecified as i32 {
        return HttpVersion::V1;
    }
    let Some(version) = enums::http_version(step.http_version) else {
        findings.add(rule::ENUM_UNKNOWN, field, "http_version is auto, 1.1, 2 or 3");
        return HttpVersion::V1;
    };
    let plain = HttpUrl::parse(&step.url).is_ok_and(|url| !url.https);
    let is_followed = step.redirects.is_some_and(|redirects| redirects.max > 0);
    if plain && !is_followed && version != HttpVersion::V1 {
        let message =
            format!("http_version has no effect: without TLS only 1.1 is spoken; {NO_TLS}");
        findings.add(rule::TLS_WITHOUT_TLS, field, message);
    }
    if version == HttpVersion::V3 {
        without_http3(step, at, findings);
    }
    version
}

/// Refuses what HTTP/3 is not built with.
fn without_http3(step: &v1::HttpStep, at: &str, findings: &mut Findings<'_>) {
    if step.proxy.is_some() {
        let message = "HTTP/3 is spoken over UDP, which proxies are not asked to pass on";
        findings.add(rule::QUIC_OPTION, format!("{at}proxy"), message);
    }
    if step.keep_alive {
        let message = "connections of HTTP/3 are not kept for the next run";
        findings.add(rule::QUIC_OPTION, format!("{at}keep_alive"), message);
    }
}

fn auth(step: &v1::HttpStep, at: &str, findings: &mut Findings<'_>) -> Option<HttpAuth> {
    let header = step.headers.iter().any(|h| h.name.eq_ignore_ascii_case("authorization"));
    let given = [
        ("basic", step.basic.is_some()),
        ("bearer", step.bearer.is_some()),
        ("oauth2", step.oauth2.is_some()),
    ];
    let given: Vec<&str> =
        given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.len() + usize::from(header) > 1 {
        let beside = if given.len() > 1 { given[0] } else { "an authorization header" };
        let last = given.last().copied().unwrap_or_default();
        let message = format!("{last} is given beside {beside}; only one of them can be sent");
        findings.add(rule::AUTH_TWICE, format!("{at}{last}"), message);
    }
    if let Some(basic) = &step.basic {
        let field = format!("{at}basic.username");
        let username = username(basic.username.as_ref(), &field, findings)?;
        let password = reference(basic.password.as_ref(), &format!("{at}basic.password"), findings);
        return Some(HttpAuth::Basic { username, password: password? });
    }
    if let Some(given) = &step.oauth2 {
        let read = oauth2::oauth2(given, &format!("{at}oauth2"), findings);
        return read.map(|of| HttpAuth::OAuth2(Box::new(of)));
    }
    let bearer = step.bearer.as_ref()?;
    reference(Some(bearer), &format!("{at}bearer"), findings).map(HttpAuth::Bearer)
}

/// Reads a user name, which may come from a reference.
pub(super) fn username(
    secret: Option<&v1::Secret>,
    field: &str,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let username = template(secret, field, findings)?.to_owned();
    // In the template as written: what a reference resolves to is checked where it is used.
    let outside = Template::parse(&username).map(|template| template.plain().map(str::to_owned));
    if let Ok(Some(plain)) = outside
        && (plain.is_empty() || plain.contains(|c: char| c == ':' || c.is_control()))
    {
        let message = "a user name is one line of text without a colon";
        findings.add(rule::AUTH_USERNAME, field, message);
    }
    Some(username)
}

/// Reads a value that must come from a reference: written out it would be stored and shown.
pub(super) fn reference(
    secret: Option<&v1::Secret>,
    field: &str,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let written = template(secret, field, findings)?;
    if refers(written) == Some(false) {
        let message = "it would be stored and shown; write a reference such as ${env:NAME}";
        findings.add(rule::AUTH_REFERENCE, field, message);
    }
    Some(written.to_owned())
}

/// Whether there is a reference in a text; `None` when it cannot be told.
fn refers(text: &str) -> Option<bool> {
    Template::parse(text).ok().map(|template| template.references().next().is_some())
}

fn query(
    parameters: &[v1::QueryParameter],
    at: &str,
    findings: &mut Findings<'_>,
) -> Vec<(String, String)> {
    if parameters.len() > QUERY_MAX {
        let message =
            format!("{} parameters are given; at most {QUERY_MAX} are allowed", parameters.len());
        findings.add(rule::QUERY_TOO_MANY, at, message);
        if !findings.is_stored() {
            return Vec::new();
        }
    }
    let mut built = Vec::new();
    for parameter in parameters {
        let field = format!("{at}.{}", parameter.name);
        if parameter.name.is_empty() {
            findings.add(rule::QUERY_NAME, at, "a query parameter needs a name");
        }
        let value = template(parameter.value.as_ref(), &field, findings);
        built.extend(value.map(|value| (parameter.name.clone(), value.to_owned())));
    }
    built
}

fn accept_encoding(
    step: &v1::HttpStep,
    field: &str,
    findings: &mut Findings<'_>,
) -> Vec<ContentEncoding> {
    let mut built = Vec::new();
    for (place, encoding) in step.accept_encoding.iter().enumerate() {
        let at = format!("{field}[{place}]");
        match enums::content_encoding(*encoding) {
            None => {
                let message = "a content coding is gzip, deflate, br or zstd";
                findings.add(rule::ENUM_UNKNOWN, at, message);
            }
            Some(encoding) if built.contains(&encoding) => {
                findings.add(rule::ACCEPT_ENCODING, at, format!("{encoding} is named twice"));
            }
            Some(encoding) => built.push(encoding),
        }
    }
    let header = step.headers.iter().any(|h| h.name.eq_ignore_ascii_case("accept-encoding"));
    if header && !built.is_empty() {
        let message = "there is an accept-encoding header, too; only one of them can be sent";
        findings.add(rule::ACCEPT_ENCODING, field, message);
    }
    built
}

/// Reads what only HTTP asks of TLS; where the URL is not https and no redirect `reaches_tls`, none of
/// it may be given.
pub(super) fn tls_options(
    step: &v1::HttpStep,
    (https, reaches_tls): (bool, bool),
    at: &str,
    findings: &mut Findings<'_>,
) -> (Option<TlsVersion>, Option<ClientCertificate>) {
    let given = step.min_tls != v1::TlsVersion::Unspecified as i32;
    let mut version = enums::tls_version(step.min_tls);
    if given && !reaches_tls {
        let message = format!("min_tls has no effect: {NO_TLS}");
        findings.add(rule::TLS_WITHOUT_TLS, format!("{at}min_tls"), message);
        version = None;
    } else if given && version.is_none() {
        findings.add(rule::ENUM_UNKNOWN, format!("{at}min_tls"), "min_tls is 1.2 or 1.3");
    }
    if https {
        return (version, client((&step.client_cert, &step.client_key), at, findings));
    }
    let both = [("client_cert", &step.client_cert), ("client_key", &step.client_key)];
    for (name, _) in both.into_iter().filter(|(_, secret)| secret.is_some()) {
        for_first_origin(name, at, findings);
    }
    (version, None)
}

/// Refuses what is shown to the URL's own origin alone, where that has no TLS.
pub(super) fn for_first_origin(name: &str, at: &str, findings: &mut Findings<'_>) {
    let message =
        format!("{name} has no effect: the URL is not https, and no other origin gets it");
    findings.add(rule::TLS_WITHOUT_TLS, format!("{at}{name}"), message);
}

/// Reads a client certificate: both parts or none.
pub(super) fn client(
    (cert, key): (&Option<v1::Secret>, &Option<v1::Secret>),
    at: &str,
    findings: &mut Findings<'_>,
) -> Option<ClientCertificate> {
    let both = [("client_cert", cert), ("client_key", key)];
    if let [(given, Some(_)), (missing, None)] | [(missing, None), (given, Some(_))] = both {
        let message = format!("{given} is of no use without {missing}");
        findings.add(rule::CLIENT_CERT, format!("{at}{given}"), message);
        return None;
    }
    let mut texts = Vec::new();
    for (name, secret) in both {
        let field = format!("{at}{name}");
        let written = template(Some(secret.as_ref()?), &field, findings)?;
        if refers(written) == Some(false) {
            let message = "write a reference to PEM, such as ${file:/etc/parallax/client.pem}";
            findings.add(rule::CLIENT_CERT, field, message);
        }
        texts.push(written.to_owned());
    }
    let [cert, key] = <[String; 2]>::try_from(texts).ok()?;
    Some(ClientCertificate { cert, key })
}
