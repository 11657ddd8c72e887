//! What one attempt makes of its page: the result to propose, and when the next one is due. What that
//! means for a page is told in [`super`].

use std::time::Duration;

use parallax_common::limits::{
    PAGE_BACK_OFF_MAX, PAGE_BACK_OFF_MIN, PAGE_DEAD_AFTER, PAGE_ERROR_BYTES_MAX,
    PAGE_RETRY_AFTER_MAX, RECEIPT_BYTES_MAX,
};
use parallax_common::time::UtcTime;
use parallax_proto::store::{AttemptEnd, PageUpdate};
use parallax_proto::v1::{Delivery, DeliveryState, PageKind};

use super::Report;
use crate::core::stamp;
use crate::mutant::{self, Mutant};

/// Whether this result is in the state, or changes nothing any more. Of a page that was dropped or
/// given up, or whose claim is another's by now, it does matter that it was, or may have been,
/// received: somebody must hear the end.
pub(super) fn is_known(update: &PageUpdate, page: &Delivery) -> bool {
    if update.idempotency_key != page.idempotency_key {
        return false;
    }
    let told = update.state() != DeliveryState::Sent && (!update.ambiguous || page.ambiguous);
    match page.state() {
        DeliveryState::Sent => true,
        DeliveryState::Dead | DeliveryState::Dropped => told,
        DeliveryState::Pending | DeliveryState::Held | DeliveryState::Unspecified => {
            let ends = update.state() == DeliveryState::Dead && page.claimed_by == update.sent_by;
            told && !ends && page.attempts >= update.attempts
        }
    }
}

/// What one attempt makes of its page.
pub(super) fn update(
    page: &Delivery,
    said: PageKind,
    report: &Report,
    ambiguous: bool,
    now: UtcTime,
    jitter: f64,
) -> PageUpdate {
    let attempts = page.attempts.saturating_add(1);
    let mut update = PageUpdate {
        idempotency_key: page.idempotency_key.clone(),
        attempts,
        ambiguous,
        end: match report {
            Report::Answered { .. } | Report::Taken { .. } | Report::Refused { .. } => {
                AttemptEnd::Answered
            }
            Report::NotSent(_) => AttemptEnd::NotSent,
            Report::Ambiguous(_) => AttemptEnd::Unanswered,
        }
        .into(),
        ..Default::default()
    };
    let (error, wait, at_least) = match report {
        Report::Answered { status: 200..=299, .. } | Report::Taken { .. } => {
            update.state = DeliveryState::Sent.into();
            if let Report::Taken { receipt, note } = report {
                update.note = cut(note.clone(), PAGE_ERROR_BYTES_MAX);
                if receipt.len() <= RECEIPT_BYTES_MAX {
                    update.receipt.clone_from(receipt);
                }
            }
            if said == PageKind::Combined {
                update.kind = said.into();
            }
            return update;
        }
        Report::Answered { status, retry_after, detail } => {
            let wait = match status {
                408 | 425 | 429 | 500.. => back_off(attempts),
                _ => PAGE_BACK_OFF_MAX,
            };
            let at_least = retry_after.unwrap_or_default().min(PAGE_RETRY_AFTER_MAX);
            (format!("HTTP status {status}{}{detail}", colon(detail)), wait, at_least)
        }
        Report::Refused { why, lasting, retry_after } => {
            let wait = if *lasting { PAGE_BACK_OFF_MAX } else { back_off(attempts) };
            let at_least = retry_after.unwrap_or_default().min(PAGE_RETRY_AFTER_MAX);
            (why.clone(), wait, at_least)
        }
        Report::NotSent(why) => (why.clone(), back_off(attempts), Duration::ZERO),
        Report::Ambiguous(_) if mutant::on(Mutant::UnansweredIsSent) => {
            update.state = DeliveryState::Sent.into();
            return update;
        }
        Report::Ambiguous(why) => (why.clone(), back_off(attempts), Duration::ZERO),
    };
    update.error = cut(error, PAGE_ERROR_BYTES_MAX);
    let dead_at = stamp::utc(page.created_at.as_ref()) + PAGE_DEAD_AFTER;
    if now >= dead_at {
        update.state = DeliveryState::Dead.into();
        return update;
    }
    let wait = wait.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0)).max(at_least);
    update.state = DeliveryState::Pending.into();
    // One last attempt when its time is up.
    update.next_attempt_utc_ns = (now + wait).min(dead_at).as_ns();
    update
}

/// Whether a page is given up with its next attempt.
pub(super) fn is_over(page: &Delivery, now: UtcTime) -> bool {
    stamp::utc(page.created_at.as_ref()) + PAGE_DEAD_AFTER <= now
}

/// What is to be said of a page that is given up without another attempt: its contact was failing all the
/// while.
pub(super) fn given_up(page: &Delivery, ambiguous: bool) -> PageUpdate {
    let error = match page.last_error.is_empty() {
        true => "given up without an attempt: the contact took nothing from others".to_owned(),
        false => page.last_error.clone(),
    };
    PageUpdate {
        idempotency_key: page.idempotency_key.clone(),
        state: DeliveryState::Dead.into(),
        attempts: page.attempts,
        ambiguous,
        error,
        ..PageUpdate::default()
    }
}

/// The wait after this many attempts: 1 s, 2 s, 4 s, up to 5 min.
fn back_off(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    PAGE_BACK_OFF_MIN.saturating_mul(1 << doublings).min(PAGE_BACK_OFF_MAX)
}

fn colon(detail: &str) -> &'static str {
    if detail.is_empty() { "" } else { ": " }
}

/// The first so many bytes of a text, in whole characters.
pub(super) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
    }
    text
}
