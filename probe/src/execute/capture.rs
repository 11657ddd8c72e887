//! What a step captures for later ones, and how those fill it in.
//!
//! Captures are taken between two steps: what that takes is no part of the run's latency
//! (`Trace::aside`). A captured value is a secret from then on.

use parallax_common::capture::{Captured, filled, url_encoded};
use parallax_common::check::{Run, Step};
use parallax_common::outcome::Reason;

use super::secrets::Secrets;
use super::{Executor, Failure, Seen, Trace, facts};

/// Where references lead: into this probe's environment and files, and to what was captured.
#[derive(Debug, Clone, Copy)]
pub(super) struct References<'a> {
    pub secrets: &'a Secrets,
    pub captured: &'a Captured,
}

/// Bytes of a captured value below which it is not taken out of evidence: it is no secret, and whatever
/// has digits would lose them.
const HIDDEN_BYTES_MIN: usize = 4;

/// Notes what was captured, so that no evidence tells it.
pub(super) fn hide(value: &str, used: &mut Vec<String>) {
    if value.len() >= HIDDEN_BYTES_MIN {
        used.push(value.to_owned());
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::new(Reason::ConfigError, why)
    }
}

/// A captured value as it may stand in one line.
pub(super) fn one_line<'c>(captured: &'c Captured, name: &str) -> Result<&'c str, Failure> {
    let value = of_name(captured, name)?;
    if value.chars().any(char::is_control) {
        let evidence = format!("what was captured as `{name}` holds control characters");
        return Err(Failure::new(Reason::CaptureFailed, evidence));
    }
    Ok(value)
}

fn of_name<'c>(captured: &'c Captured, name: &str) -> Result<&'c str, Failure> {
    let missing = || Failure::from(format!("${{capture:{name}}} was not captured"));
    captured.get(name).ok_or_else(missing)
}

impl References<'_> {
    /// The text with its references filled in; each value that was looked up goes to `used`.
    pub fn resolve(&self, text: &str, used: &mut Vec<String>) -> Result<String, Failure> {
        self.secrets.resolve_with(text, self.captured, used)
    }

    /// A URL with its captures filled in, in percent-encoding.
    pub fn in_url(&self, url: &str, used: &mut Vec<String>) -> Result<String, Failure> {
        let mut fill = |name: &str, is_path: bool| {
            let value = one_line(self.captured, name)?;
            // With nothing in its place, `/users/${capture:id}` would ask for all users.
            let encoded = url_encoded(value).filter(|encoded| !is_path || !encoded.is_empty());
            let encoded = encoded.ok_or_else(|| {
                let evidence = format!("what was captured as `{name}` leads to another path");
                Failure::new(Reason::CaptureFailed, evidence)
            })?;
            // As a target may repeat it, too.
            hide(value, used);
            hide(&encoded, used);
            Ok::<_, Failure>(encoded)
        };
        let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
        Ok(filled(path, |name| fill(name, true))? + &filled(query, |name| fill(name, false))?)
    }

    /// A body with its captures filled in, as they are.
    pub fn in_body(&self, body: &str, used: &mut Vec<String>) -> Result<String, Failure> {
        filled(body, |name| {
            let value = of_name(self.captured, name)?;
            hide(value, used);
            Ok(value.to_owned())
        })
    }
}

/// Takes what this step is to capture from what it saw: the groups of its patterns, then the values of
/// its expressions.
pub(super) async fn take(
    executor: &Executor,
    run: &Run,
    step: &Step,
    seen: Seen,
    captured: &mut Captured,
    trace: &mut Trace,
) -> Result<(), Failure> {
    for (name, value) in seen.talk.iter().flat_map(|talk| &talk.captures) {
        captured.take(name, value);
        hide(value, &mut trace.secrets);
    }
    if step.captures.is_empty() {
        return Ok(());
    }
    let since = trace.pause();
    let begun = trace.begun.unwrap_or(since);
    let latency = since.saturating_duration_since(begun).saturating_sub(trace.aside);
    trace.is_aside = true;
    let values = match executor.decoder.undo(seen).await {
        Ok(seen) => {
            let facts = facts(run, trace, seen, latency);
            executor.evaluator.values(run, step, facts).await
        }
        Err(failure) => Err(failure),
    };
    // Also when nothing came of it: that time is this probe's, too.
    trace.is_aside = false;
    trace.goes_on(since);
    for (name, value) in values? {
        hide(&value, &mut trace.secrets);
        captured.take(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parallax_common::check::{Capture, ContentEncoding};

    use super::*;
    use crate::execute::decode::Coded;
    use crate::execute::tests::http;

    #[tokio::test]
    async fn a_body_that_cannot_be_decoded_leaves_its_time_aside() {
        let mut run = http("http://shop.example/".to_owned());
        run.steps[0].captures = vec![Capture { name: "x".to_owned(), value: "body".to_owned() }];
        let mut headers = ::http::HeaderMap::new();
        headers.insert("content-encoding", "gzip".parse().unwrap());
        let coded = Some(Coded { accepts: vec![ContentEncoding::Gzip], limit: 100 });
        let body = Bytes::from_static(b"no gzip");
        let seen = Seen { headers, body, coded, ..Seen::default() };
        let executor = Executor::new(Secrets::default(), None, None);
        let (mut captured, mut trace) = (Captured::default(), Trace::default());
        let step = run.steps[0].clone();
        let taken = take(&executor, &run, &step, seen, &mut captured, &mut trace).await;
        assert_eq!(taken.unwrap_err().reason, Reason::HttpEncoding);
        assert!(!trace.is_aside && !trace.aside.is_zero());
    }
}
