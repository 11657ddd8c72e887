//! How a target's certificate is judged: options that have an effect, and PEM that is only
//! certificates.

use std::sync::Arc;

use parallax_common::check::TlsOptions;
use parallax_common::rule;
use parallax_common::target::is_host;

use super::Findings;

/// Reads TLS options; without TLS none may be given.
pub(super) fn tls_options(
    (insecure, server_name, ca_pem): (bool, &str, &str),
    tls: bool,
    why_not: &str,
    at: &str,
    findings: &mut Findings<'_>,
) -> TlsOptions {
    let given = [
        ("insecure", insecure),
        ("server_name", !server_name.is_empty()),
        ("ca_pem", !ca_pem.is_empty()),
    ];
    if !tls {
        for (name, _) in given.into_iter().filter(|(_, given)| *given) {
            let message = format!("{name} has no effect: {why_not}");
            findings.add(rule::TLS_WITHOUT_TLS, format!("{at}{name}"), message);
        }
        return TlsOptions::default();
    }
    if !server_name.is_empty() && !is_host(server_name) {
        let message = format!("`{server_name}` is not a host name");
        findings.add(rule::SERVER_NAME, format!("{at}server_name"), message);
    }
    if !ca_pem.is_empty() {
        if insecure {
            let message = "with insecure nothing is verified, so ca_pem has no effect";
            findings.add(rule::CA_WITH_INSECURE, format!("{at}ca_pem"), message);
        }
        if let Err(why) = certificates(ca_pem) {
            findings.add(rule::CA_PEM, format!("{at}ca_pem"), why);
        }
    }
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    TlsOptions {
        insecure,
        server_name: some(server_name),
        ca_pem: some(ca_pem).map(Arc::from),
        ..TlsOptions::default()
    }
}

/// Whether a text is PEM certificates and nothing else: somebody's private key must not be stored
/// and shown.
pub(in crate::convert) fn certificates(pem: &str) -> Result<(), &'static str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut rest = pem.trim();
    if rest.is_empty() {
        return Err("there is no certificate in it");
    }
    while !rest.is_empty() {
        let after = rest.strip_prefix(BEGIN).ok_or("there is something else than certificates")?;
        let (inner, after) = after.split_once(END).ok_or("a certificate has no end")?;
        let base64: Vec<u8> = inner.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let data = base64.iter().rev().skip_while(|b| **b == b'=').count();
        let letters =
            base64[..data].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
        // A certificate is a DER sequence, which in base64 begins with M.
        let whole = base64.len().is_multiple_of(4) && base64.len() - data <= 2;
        if !letters || !whole || base64.first() != Some(&b'M') {
            return Err("a certificate in it cannot be read");
        }
        rest = after.trim_start();
    }
    Ok(())
}

/// The authorities as messages carry them.
pub(super) fn pem(tls: &TlsOptions) -> String {
    tls.ca_pem.as_deref().unwrap_or_default().to_owned()
}
