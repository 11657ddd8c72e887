//! An `icmp` step: how many echoes, how large, how far apart.

use std::time::Duration;

use parallax_common::check::{IcmpStep, StepKind};
use parallax_common::limits::{
    ECHO_LEEWAY_MAX, ECHO_PAYLOAD_BYTES_MAX, ECHO_SPACING_MIN, ECHOES_MAX,
};
use parallax_common::rule;
use parallax_common::target::is_host;
use parallax_common::text::format_duration;

use super::{Findings, length, no_reference};
use crate::convert::time;
use crate::v1;

/// Smallest payload: the token that tells our answers from others'.
const ECHO_PAYLOAD_BYTES_MIN: u32 = 8;
/// Farthest echoes: several must fit into one run.
const ECHO_SPACING_MAX: Duration = Duration::from_secs(10);
/// Echoes of a run when a check does not say: one alone cannot tell a lost packet from an outage.
const COUNT_DEFAULT: u32 = 3;
/// Between them when a check does not say.
const SPACING_DEFAULT: Duration = Duration::from_millis(100);
/// Payload when a check does not say: with its header 64 bytes, as `ping` has it.
const PAYLOAD_BYTES_DEFAULT: u32 = 56;

/// Reads an `icmp` step.
pub(super) fn icmp(step: &v1::IcmpStep, at: &str, findings: &mut Findings<'_>) -> Option<StepKind> {
    let field = |name: &str| format!("{at}{name}");
    let host = match step.host.as_str() {
        "" => {
            findings.add(rule::MISSING_FIELD, field("host"), "a host is needed");
            None
        }
        host if no_reference(host, &field("host"), findings) => {
            findings.is_stored().then_some(host)
        }
        host if !is_host(host) => {
            let message = format!("`{host}` is not a host such as gw.example, or an address");
            findings.add(rule::ICMP_HOST, field("host"), message);
            None
        }
        host => Some(host),
    };
    if !(1..=ECHOES_MAX).contains(&step.count) {
        let message = format!("{} is not between 1 and {ECHOES_MAX}", step.count);
        findings.add(rule::ICMP_COUNT, field("count"), message);
    }
    let spacing = length(
        step.spacing.as_ref(),
        (&field("spacing"), ECHO_SPACING_MIN, ECHO_SPACING_MAX),
        (rule::ICMP_SPACING, rule::ICMP_SPACING),
        findings,
    );
    if !(ECHO_PAYLOAD_BYTES_MIN..=ECHO_PAYLOAD_BYTES_MAX).contains(&step.payload_bytes) {
        let message = format!(
            "{} is not between {ECHO_PAYLOAD_BYTES_MIN} and {ECHO_PAYLOAD_BYTES_MAX}",
            step.payload_bytes
        );
        findings.add(rule::ICMP_PAYLOAD, field("payload_bytes"), message);
    }
    let ttl = match u8::try_from(step.ttl) {
        Ok(0) => None,
        Ok(ttl) => Some(ttl),
        Err(_) => {
            let message = format!("{} is not between 1 and 255", step.ttl);
            findings.add(rule::ICMP_TTL, field("ttl"), message);
            None
        }
    };
    Some(StepKind::Icmp(IcmpStep {
        host: host?.to_owned(),
        count: step.count,
        spacing: spacing?,
        payload_bytes: step.payload_bytes,
        dont_fragment: step.dont_fragment,
        ttl,
    }))
}

/// All echoes of a run are sent before its time is over.
pub(super) fn echoes_fit(
    at: &str,
    step: &IcmpStep,
    timeout: Duration,
    findings: &mut Findings<'_>,
) {
    let last_at = step.spacing.saturating_mul(step.count.saturating_sub(1));
    // A run stops listening a little before its timeout.
    let leeway = ECHO_LEEWAY_MAX.min(timeout / 10);
    if step.count <= ECHOES_MAX && last_at.saturating_add(leeway) >= timeout {
        let message = format!(
            "{} echoes {} apart: the last one is sent after {}, and the timeout is {}",
            step.count,
            format_duration(step.spacing),
            format_duration(last_at),
            format_duration(timeout)
        );
        findings.add(rule::ICMP_SPACING, format!("{at}icmp.spacing"), message);
    }
}

/// An `icmp` step as messages carry it.
pub(super) fn icmp_to(step: &IcmpStep) -> v1::IcmpStep {
    v1::IcmpStep {
        host: step.host.clone(),
        count: step.count,
        spacing: Some(time::duration_to(step.spacing)),
        payload_bytes: step.payload_bytes,
        dont_fragment: step.dont_fragment,
        ttl: step.ttl.unwrap_or_default().into(),
    }
}

/// Fills in what an `icmp` step does not say.
pub(in crate::convert) fn normalise_icmp(step: &mut v1::IcmpStep) {
    if step.count == 0 {
        step.count = COUNT_DEFAULT;
    }
    if step.payload_bytes == 0 {
        step.payload_bytes = PAYLOAD_BYTES_DEFAULT;
    }
    step.spacing.get_or_insert(time::duration_to(SPACING_DEFAULT));
}
