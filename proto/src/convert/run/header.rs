//! Header lines and the values in them, which may hold references.

use parallax_common::limits::HEADERS_MAX;
use parallax_common::rule;
use parallax_common::secret::Template;

use super::Findings;
use crate::v1;

/// Headers that frame a message or its connection: the sender's own.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads header lines; used for webhooks too.
pub(in crate::convert) fn headers(
    headers: &[v1::Header],
    at: &str,
    findings: &mut Findings<'_>,
) -> Vec<(String, String)> {
    if headers.len() > HEADERS_MAX {
        let message =
            format!("{} headers are given; at most {HEADERS_MAX} are allowed", headers.len());
        findings.add(rule::HEADERS_TOO_MANY, at, message);
        if !findings.is_stored() {
            return Vec::new();
        }
    }
    let mut built = Vec::new();
    for header in headers {
        let field = format!("{at}.{}", header.name);
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if header.name.is_empty() || !header.name.bytes().all(token) {
            let message = format!("`{}` cannot name a header", header.name);
            findings.add(rule::HEADER_NAME, field.as_str(), message);
        } else if RESERVED.contains(&header.name.to_ascii_lowercase().as_str()) {
            let message = format!("`{}` is set by the sender itself", header.name);
            findings.add(rule::HEADER_RESERVED, field.as_str(), message);
        }
        let Some(template) = template(header.value.as_ref(), &field, findings) else { continue };
        // In the template as written: what a reference resolves to is checked where it is used.
        if template.chars().any(|c| c.is_control() && c != '\t') {
            findings.add(rule::HEADER_VALUE, field, "a header's value is one line of text");
            if !findings.is_stored() {
                continue;
            }
        }
        built.push((header.name.clone(), template.to_owned()));
    }
    built
}

/// Reads a value that may hold references; gives it as written.
pub(in crate::convert) fn template<'a>(
    secret: Option<&'a v1::Secret>,
    field: &str,
    findings: &mut Findings<'_>,
) -> Option<&'a str> {
    match secret.and_then(|secret| secret.value.as_ref()) {
        None => {
            findings.add(rule::MISSING_FIELD, field, "a value is needed");
            None
        }
        Some(v1::secret::Value::Sealed(_)) => {
            findings.add(rule::NOT_YET, field, "sealed values are not built yet; use a reference");
            None
        }
        Some(v1::secret::Value::Template(template)) => match Template::parse(template) {
            Ok(_) => Some(template),
            Err(error) => {
                findings.add(rule::SECRET_REFERENCE, field, error.to_string());
                findings.is_stored().then_some(template)
            }
        },
    }
}
