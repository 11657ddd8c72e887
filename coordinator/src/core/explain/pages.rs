//! Who was told, when, and after how many attempts.

use parallax_proto::v1::{Delivery, DeliveryState, PageKind};

use super::words::{Clock, count, line};

/// One sentence about one delivery.
pub(super) fn sentence(page: &Delivery, clock: &mut Clock) -> String {
    let again = page.idempotency_key.ends_with("/again");
    let (route, number) = (line(&page.route), page.number);
    let step = format!("step {number} of route {route}");
    let reminder = format!("reminder {number} of route {route}");
    let what = match page.kind() {
        PageKind::Resolved if again => "the end (said again)",
        PageKind::Resolved => "the end",
        PageKind::Combined => "the opening and the end at once",
        PageKind::Opened | PageKind::Unspecified => "the opening",
        PageKind::Escalated => &step,
        PageKind::Reminder if page.route.is_empty() => "what had changed since",
        PageKind::Reminder => &reminder,
    };
    told(page, what, clock)
}

/// Why somebody is told who was told before, or who was not meant to be at first.
pub(super) fn why_again(page: &Delivery) -> Option<String> {
    let (route, number) = (line(&page.route), page.number);
    if route.is_empty() {
        return None;
    }
    let what = match page.kind() {
        PageKind::Escalated => format!("this is step {number} of route {route}"),
        PageKind::Reminder => format!("this is reminder {number} of route {route}"),
        _ => return None,
    };
    Some(format!("Nobody had acknowledged it when this was written: {what}."))
}

fn told(page: &Delivery, what: &str, clock: &mut Clock) -> String {
    let contact = line(&page.contact_name);
    let attempts = page.attempts;
    let error = line(&page.last_error);
    // Who sends it matters when it is not who wrote it.
    let by = match page.handed_over {
        0 => String::new(),
        1 => format!(" by coordinator {}, to which it was handed over", page.claimed_by),
        n => format!(" by coordinator {}, after {}", page.claimed_by, count(n, "hand-over")),
    };
    let doubt =
        if page.ambiguous { "; an attempt without an answer may have come through" } else { "" };
    match page.state() {
        DeliveryState::Sent => {
            let at = clock.time(page.sent_at.as_ref());
            let tries = match attempts {
                0 | 1 => String::new(),
                n => format!(" at attempt {n}"),
            };
            format!("{contact} was told of {what} at {at}{tries}{doubt}.")
        }
        DeliveryState::Pending if attempts == 0 => {
            format!("{contact} is still to be told of {what}{by}.")
        }
        DeliveryState::Pending => {
            let next = clock.time(page.next_attempt_at.as_ref());
            let failed = count(attempts, "attempt");
            format!(
                "{contact} is still to be told of {what}{by}: {failed} failed ({error}), the next is \
                 at {next}{doubt}."
            )
        }
        DeliveryState::Dead => {
            let failed = count(attempts, "attempt");
            format!("{contact} was never told of {what}: given up after {failed} ({error}){doubt}.")
        }
        // It ended before it was told, and the opening's sentence says where.
        DeliveryState::Dropped
            if !page.storm_uid.is_empty() && page.kind() == PageKind::Resolved =>
        {
            format!("{contact} is told of {what} there, too.")
        }
        DeliveryState::Dropped if !page.storm_uid.is_empty() => {
            let storm = line(&page.storm_uid);
            format!("{contact} is told of {what} and of the end together with others, in {storm}.")
        }
        DeliveryState::Dropped if error.is_empty() => {
            format!("{contact} was not told of {what}{doubt}.")
        }
        DeliveryState::Dropped => {
            format!("{contact} was not told of {what}: {error}{doubt}.")
        }
        // A storm's page is numbered, and waits for what else opens.
        DeliveryState::Held if page.number > 0 => {
            format!("{contact} is still to be told of {what}.")
        }
        DeliveryState::Held => format!("{contact} is told of {what} once it is no longer quiet."),
        DeliveryState::Unspecified => format!("{contact}: nothing is known of {what}."),
    }
}
