//! What a probe is told to do: assignments and orders.

use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::{Assignment, Check, Run};
use parallax_common::digest::run_digest;
use parallax_common::limits::{
    INTERVAL_MAX, INTERVAL_MIN, ORDER_EXPIRES, STREAK_MAX, TIMEOUT_MAX, TIMEOUT_MIN,
};
use parallax_common::name::{RunDigest, Uid};
use parallax_common::record::Order;
use parallax_common::rule::{self, Rule};
use parallax_common::schedule::phase_ns;
use parallax_common::time::{MeshTime, ns};

use super::Findings;
use super::check::canary::{canary, canary_to};
use super::run::{run, run_to};
use super::time::{generation, generation_to};
use crate::v1;

/// A message that breaks a rule of the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message} [{rule}]")]
pub struct WireError {
    /// The rule, for counters.
    pub rule: Rule,
    /// Of the message.
    pub field: &'static str,
    /// For the log.
    pub message: String,
}

pub(super) fn broken<T>(
    rule: Rule,
    field: &'static str,
    message: impl Into<String>,
) -> Result<T, WireError> {
    Err(WireError { rule, field, message: message.into() })
}

/// A uid in bytes.
pub(super) fn uid(bytes: &[u8]) -> Result<Uid, WireError> {
    Uid::from_slice(bytes).map_or_else(
        || broken(rule::WIRE_UID, "check_uid", format!("{} bytes are not a uid", bytes.len())),
        Ok,
    )
}

/// A length in nanoseconds within bounds.
pub(super) fn within(
    value: i64,
    field: &'static str,
    (least, most): (Duration, Duration),
) -> Result<Duration, WireError> {
    match u64::try_from(value).map(Duration::from_nanos) {
        Ok(length) if (least..=most).contains(&length) => Ok(length),
        _ => broken(rule::WIRE_TIME, field, format!("{value} ns is out of bounds")),
    }
}

/// The assignment of a check to the region of one rank. Nothing is assigned of a disabled check;
/// that is the plan's to know.
pub fn of_check(check: &Check, rank: usize, run: Arc<parallax_common::check::Run>) -> Assignment {
    Assignment {
        check: check.uid,
        namespace: check.namespace.clone(),
        name: check.name.clone(),
        run_digest: check.run_digest,
        run,
        interval: check.interval,
        phase_ns: phase_ns(&check.uid, rank, check.interval, check.regions.len()),
        failures: check.policy.failures,
        successes: check.policy.successes,
        failures_of: check.policy.failures_of,
        successes_of: check.policy.successes_of,
        confirm_spacing: check.confirm_spacing,
    }
}

/// An assignment as messages carry it.
pub fn assignment_to(assignment: &Assignment) -> v1::Assignment {
    v1::Assignment {
        check_uid: assignment.check.as_bytes().to_vec().into(),
        namespace: assignment.namespace.clone(),
        name: assignment.name.clone(),
        run_digest: assignment.run_digest.0,
        run: Some(run_to(&assignment.run)),
        interval_ns: ns(assignment.interval),
        phase_ns: assignment.phase_ns,
        failures: assignment.failures,
        successes: assignment.successes,
        failures_of: assignment.failures_of,
        successes_of: assignment.successes_of,
        confirm_spacing_ns: ns(assignment.confirm_spacing),
        canary: assignment.run.canary.map(canary_to),
    }
}

/// The checked form of an assignment that a coordinator sent. The digest must be that of the run:
/// a probe that understood the run differently would vote for something else.
///
/// # Errors
/// The first rule that it breaks.
pub fn assignment(assignment: &v1::Assignment) -> Result<Assignment, WireError> {
    let check = uid(&assignment.check_uid)?;
    let interval = within(assignment.interval_ns, "interval_ns", (INTERVAL_MIN, INTERVAL_MAX))?;
    let confirm_spacing =
        within(assignment.confirm_spacing_ns, "confirm_spacing_ns", (TIMEOUT_MIN, TIMEOUT_MAX))?;
    if !(0..ns(interval)).contains(&assignment.phase_ns) {
        return broken(rule::WIRE_TIME, "phase_ns", "the phase is outside the interval");
    }
    let streaks = [assignment.failures, assignment.successes];
    if streaks.iter().any(|streak| !(1..=STREAK_MAX).contains(streak)) {
        return broken(rule::WIRE_NUMBER, "failures", format!("{streaks:?} are out of bounds"));
    }
    for (field, of, least) in [
        ("failures_of", assignment.failures_of, assignment.failures),
        ("successes_of", assignment.successes_of, assignment.successes),
    ] {
        if of != 0 && !(least..=STREAK_MAX).contains(&of) {
            return broken(rule::WIRE_NUMBER, field, format!("{of} is out of bounds"));
        }
    }
    let Some(wire) = &assignment.run else {
        return broken(rule::WIRE_FIELD, "run", "there is nothing to run");
    };
    let mut findings = Findings::new("check", &assignment.name);
    let canary = canary(assignment.canary.as_ref(), &mut findings);
    let Some(run) = run(wire, &mut findings).map(|run| Run { canary, ..run }) else {
        let why: Vec<String> = findings.finish().iter().map(ToString::to_string).collect();
        return broken(rule::WIRE_FIELD, "run", why.join("; "));
    };
    if run_digest(&run) != RunDigest(assignment.run_digest) {
        return broken(rule::WIRE_FIELD, "run_digest", "the digest is not that of the run");
    }
    Ok(Assignment {
        check,
        namespace: assignment.namespace.clone(),
        name: assignment.name.clone(),
        run_digest: RunDigest(assignment.run_digest),
        run: Arc::new(run),
        interval,
        phase_ns: assignment.phase_ns,
        failures: assignment.failures,
        successes: assignment.successes,
        failures_of: assignment.failures_of,
        successes_of: assignment.successes_of,
        confirm_spacing,
    })
}

/// An order as messages carry it.
pub fn order_to(order: &Order) -> v1::ConfirmOrder {
    v1::ConfirmOrder {
        order: order.order,
        check_uid: order.check.as_bytes().to_vec().into(),
        run_digest: order.run_digest.0,
        generation: Some(generation_to(order.generation)),
        count: order.count,
        spacing_ns: ns(order.spacing),
        // At most two seconds.
        expires_ms: u32::try_from(order.expires.as_millis()).unwrap_or(u32::MAX),
        ordered_mesh_ns: order.ordered.map_or(0, |at| at.as_ns()),
    }
}

/// The checked form of an order that a coordinator sent.
///
/// # Errors
/// The first rule that it breaks.
pub fn order(order: &v1::ConfirmOrder) -> Result<Order, WireError> {
    let expires = Duration::from_millis(order.expires_ms.into());
    if order.order == 0 {
        return broken(rule::WIRE_NUMBER, "order", "0 is not an order");
    }
    if !(1..=STREAK_MAX).contains(&order.count) {
        return broken(rule::WIRE_NUMBER, "count", format!("{} is out of bounds", order.count));
    }
    if expires.is_zero() || expires > ORDER_EXPIRES {
        return broken(rule::WIRE_TIME, "expires_ms", format!("{expires:?} is out of bounds"));
    }
    Ok(Order {
        order: order.order,
        check: uid(&order.check_uid)?,
        run_digest: RunDigest(order.run_digest),
        generation: generation(order.generation.as_ref()),
        count: order.count,
        spacing: within(order.spacing_ns, "spacing_ns", (TIMEOUT_MIN, TIMEOUT_MAX))?,
        expires,
        ordered: (order.ordered_mesh_ns != 0).then(|| MeshTime::from_ns(order.ordered_mesh_ns)),
    })
}
