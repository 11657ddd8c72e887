//! What an HTTP step needs before the clock of a run starts: references, TLS, a proxy, a token; and what
//! is found when it cannot be had.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, HeaderValue};
use parallax_common::check::{HttpAuth, HttpStep, HttpVersion, Run, TlsOptions};
use parallax_common::digest::run_digest;
use parallax_common::limits::EVIDENCE_BYTES_MAX;
use parallax_common::outcome::Reason;
use parallax_common::redact::redact;
use parallax_runtime::clock;

use super::capture::References;
use super::{
    Execution, Executor, Failure, Prepared, Trace, cap, failed, missed, proxy, redirects, request,
    tls, tokens,
};
use crate::core::record::cut;

/// Characters of a word that a target chose.
const SHOWN_CHARS_MAX: usize = 64;
/// Bytes of evidence in which secrets are looked for.
const HIDE_BYTES_MAX: usize = 4 * EVIDENCE_BYTES_MAX;

impl Executor {
    /// An HTTP step with its references filled in.
    pub(super) fn visit(
        &self,
        run: &Run,
        step: &HttpStep,
        extra: Option<(HeaderName, HeaderValue)>,
        judge_status: bool,
        references: References<'_>,
        source: Option<IpAddr>,
    ) -> Result<redirects::Visit, Failure> {
        let mut request = request::Request::prepare(step, references, extra, judge_status)?;
        let alpn = match step.version {
            HttpVersion::V1 => tls::Alpn::Http1,
            HttpVersion::V2 => tls::Alpn::Http2,
            HttpVersion::V3 => {
                speaks_http3(cfg!(feature = "http3"))?;
                tls::Alpn::Http3
            }
            HttpVersion::Auto => tls::Alpn::Both,
        };
        let tls_abroad = self.tls.get_with(&step.tls, None, alpn)?;
        let tls = match self.client(&step.tls, references, &mut request.secrets)? {
            None => Arc::clone(&tls_abroad),
            client => self.tls.get_with(&step.tls, client, alpn)?,
        };
        let tunnel = match &step.proxy {
            None => None,
            Some(proxy) => {
                let used = &mut request.secrets;
                Some(proxy::Tunnel::prepare(proxy, references, used)?)
            }
        };
        let wish = match &step.auth {
            Some(HttpAuth::OAuth2(of)) => {
                let (with, used) = ((references, &self.tls), &mut request.secrets);
                Some(Box::new(tokens::Wish::prepare(run, step, of, with, source, used)?))
            }
            _ => None,
        };
        let kept = step.keep_alive.then(|| run_digest(run));
        let token = None;
        Ok(redirects::Visit { request, tls, tls_abroad, tunnel, wish, token, kept, source })
    }

    /// Gets the tokens that the steps need, until `ends_at` at the longest.
    pub(super) async fn authorize(
        &self,
        run: &Run,
        prepared: &mut [Prepared],
        ends_at: Instant,
    ) -> Result<(), (u32, Failure)> {
        for (place, step) in prepared.iter_mut().enumerate() {
            let Prepared::Http(visit) = step else { continue };
            let Some(wish) = &visit.wish else { continue };
            let (tunnel, source) = (visit.tunnel.as_ref(), visit.source);
            let got = self.tokens.get(self, run, wish, tunnel, source, ends_at).await;
            let ready = got.and_then(|token| {
                visit.request.authorize(&token.text)?;
                visit.token = Some(token);
                Ok(())
            });
            ready.map_err(|failure| (u32::try_from(place).unwrap_or(u32::MAX), failure))?;
        }
        Ok(())
    }

    /// The client certificate that a step shows, with its references filled in.
    pub(super) fn client(
        &self,
        options: &TlsOptions,
        references: References<'_>,
        used: &mut Vec<String>,
    ) -> Result<Option<tls::Client>, Failure> {
        let Some(client) = &options.client else { return Ok(None) };
        let mut pem = |text| references.resolve(text, used);
        Ok(Some(tls::Client { cert: pem(&client.cert)?, key: pem(&client.key)? }))
    }
}

/// Whether a probe speaks HTTP/3, by whether it `was_built` so. That it does not is no outage.
fn speaks_http3(was_built: bool) -> Result<(), Failure> {
    match was_built {
        true => Ok(()),
        false => {
            let evidence = "http_version: this probe was built without HTTP/3: a build with the cargo \
                            feature http3 of parallax-probe can run this";
            Err(Failure::new(Reason::ConfigError, evidence))
        }
    }
}

/// What a run found that could not begin. It is never inverted: nobody has looked at the target.
pub(super) fn not_begun(step: u32, failure: Failure, prepared: &[Prepared]) -> Execution {
    let started = clock::boot_time();
    let trace = Trace { step, ..Trace::default() };
    let mut finding = match failure.reason.is_missed() {
        true => missed(trace, failure),
        false => failed(trace, failure),
    };
    hide(&mut finding.evidence, prepared, &[]);
    Execution { started, ended: started, waited: None, finding }
}

/// So much of a word that a target chose as is told of it: at the end of what is told, where half a secret
/// is taken for one.
pub(super) fn shown(word: &str) -> String {
    word.chars().take(SHOWN_CHARS_MAX).collect()
}

/// Takes secrets out of evidence, those that came `late` among them, and cuts it to its bound.
pub(super) fn hide(evidence: &mut String, prepared: &[Prepared], late: &[String]) {
    let secrets = prepared.iter().flat_map(|step| step.secrets()).chain(late);
    let secrets: BTreeSet<&str> = secrets.map(String::as_str).collect();
    let secrets: Vec<&str> = secrets.into_iter().collect();
    // Each secret is looked for everywhere, and targets choose both what is captured and what is told
    // of it. What is cut off here would be cut off below, but for secrets that shrink.
    cut(evidence, HIDE_BYTES_MAX);
    if !secrets.is_empty() {
        *evidence = redact(evidence, &secrets);
    }
    cap(evidence);
}

/// Takes secrets out of evidence and puts `more` behind it. Nothing is cut off before: half a secret is known
/// for one only where the text ends.
pub(super) fn hide_and_tell(
    evidence: &mut String,
    more: impl Iterator<Item = String>,
    prepared: &[Prepared],
    late: &[String],
) {
    hide(evidence, prepared, late);
    let mut behind = String::new();
    for mut more in more {
        hide(&mut more, prepared, late);
        behind.push_str("; ");
        behind.push_str(&more);
    }
    cut(evidence, EVIDENCE_BYTES_MAX.saturating_sub(behind.len()));
    evidence.push_str(&behind);
    cap(evidence);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_http3_says_what_it_lacks() {
        assert_eq!(speaks_http3(true), Ok(()));
        let failure = speaks_http3(false).unwrap_err();
        assert_eq!(failure.reason, Reason::ConfigError);
        for part in ["http_version", "built without HTTP/3", "feature http3"] {
            assert!(failure.evidence.contains(part), "{part}: {}", failure.evidence);
        }
    }

    #[test]
    fn a_secret_across_the_place_where_evidence_is_cut_is_not_told_in_part() {
        let (secret, more) = ("s3cret-of-ours".to_owned(), "2 more not tried".to_owned());
        let room = EVIDENCE_BYTES_MAX - "; 2 more not tried; by ***".len();
        for before in room - secret.len()..=room {
            let mut evidence = format!("{}{secret} and so on", "b".repeat(before));
            let told = [more.clone(), format!("by {secret}")].into_iter();
            hide_and_tell(&mut evidence, told, &[], std::slice::from_ref(&secret));
            assert!(
                evidence.contains("bb") && evidence.ends_with("not tried; by ***"),
                "{evidence}"
            );
            assert!(!evidence.contains("s3"), "{before}: {evidence}");
            assert!(evidence.len() <= EVIDENCE_BYTES_MAX);
        }
    }

    /// A target that chooses what is captured, and what is told of it, must not keep a thread busy: this
    /// would take hours if all was looked for everywhere.
    #[test]
    fn what_it_costs_to_hide_secrets_has_a_bound() {
        let long = "a".repeat(8 * 1024);
        let secrets: Vec<String> = (0..8).map(|n| format!("{long}{n}")).collect();
        let mut evidence = format!("b{}", "a".repeat(4 * 1024 * 1024));
        hide(&mut evidence, &[], &secrets);
        // What was cut off is taken for the beginning of one.
        assert_eq!(evidence, "b***");
        let mut evidence = format!("{} s3cret", "b".repeat(HIDE_BYTES_MAX));
        hide(&mut evidence, &[], &["s3cret".to_owned()]);
        assert!(evidence.ends_with("b..."), "{evidence}");
        assert_eq!(evidence.len(), EVIDENCE_BYTES_MAX);
    }
}
