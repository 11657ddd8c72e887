//! In which order a contact that was away hears what it missed: as it was written, one page after another.
//!
//! * **When.** While a contact is failing ([`super::breaker`]), or the last attempt at one of its pages found no
//!   connection or no answer, and afterwards until all has gone that was written by the time at which it took
//!   one again. At any other time pages go as they are due.
//! * **One line a contact,** over all members: the next page of every incident, by when it was written. Only
//!   the first one goes, by whoever holds it; the others wait for its end, and where they are another's for that
//!   to stand in the log. What the leader holds and has no way for follows the first one to the member that
//!   has it.
//! * **Who stands in it:** what is due, and what failed by no fault of its own, whose back-off is that of the
//!   contact: at most [`BREAKER_TRIAL_EVERY`], and over once the contact takes another. What was refused by an
//!   answer waits out its own, the turn that its rate gave it or the minute before the end is said again, and
//!   holds nobody meanwhile.
//! * **Nobody for ever.** After [`LINE_TRIES_MAX`] attempts in vain, whoever made them, one passes over the first
//!   in line, then over the first two, and so on, and begins anew behind the last. The holder of the first one
//!   cannot know whether anybody is there to pass over it, and goes on: for that once two may go at a time.
//!   What has no answer again after the contact took another one stands aside: it holds nobody, and goes
//!   by its own back-off, after what its holder could send as well.
//!
//! What failed is read from the pages as they stand in the state, those of others as well: every member counts
//! the attempts of all, or who waits for another's page would never pass over it. Only what stands
//! aside, how often was tried, and up to when pages are to go in order, is known to one life of one member and
//! found out anew by the next. So two members may differ in whom they let go first, but not for ever: what one
//! of them waits for the other sends when its back-off is over, or the leader moves it.

#[cfg(doc)]
use parallax_common::limits::LINE_TRIES_MAX;
use parallax_common::limits::{
    BREAKER_FAILURES, BREAKER_TRIAL_EVERY, LINE_LOOKED_AT_MAX, PAGE_BACK_OFF_MIN,
};
use parallax_common::time::UtcTime;
use parallax_proto::v1::{AttemptResult, Delivery, DeliveryState};

use super::lane::Lane;
use super::{Chain, Outbox};
use crate::core::stamp;

/// One page in the line of a contact.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    incident: &'a str,
    /// From when on it holds those behind it.
    stands: UtcTime,
    /// From when on it goes, when it is the first; absent where this member may not send it now.
    goes: Option<UtcTime>,
    /// It stands aside.
    aside: bool,
}

/// When the last attempt at a page ended, if that found no connection or no answer.
fn failed_at(page: &Delivery) -> Option<UtcTime> {
    let last = page.history.last().filter(|_| page.attempts > 0)?;
    let unheard = matches!(last.result(), AttemptResult::NotSent | AttemptResult::Unanswered);
    unheard.then(|| stamp::utc(last.at.as_ref()))
}

/// Whether a page of a contact that is not failing has had no answer so often that the contact must have
/// taken another one since: with so many in a row it would be failing.
pub(super) fn is_passed_over(page: &Delivery) -> bool {
    let enough = BREAKER_FAILURES as usize;
    let last = page.history.iter().rev().take(enough);
    last.filter(|attempt| attempt.result() == AttemptResult::Unanswered).count() == enough
}

/// The first moment from `from` on at which the first in line may go, and which that is then.
fn first_to_go<'a>(
    places: impl Iterator<Item = Place<'a>>,
    from: UtcTime,
) -> Option<(UtcTime, &'a str)> {
    // From when on somebody stands before those that follow.
    let mut held: Option<UtcTime> = None;
    let mut first: Option<(UtcTime, bool, &str)> = None;
    for place in places {
        let stands = place.stands.max(from);
        if held.is_some_and(|at| at <= stands) {
            continue;
        }
        let goes = place.goes.map(|at| at.max(stands));
        // What stands aside lets the others go before it.
        let earlier =
            |at: UtcTime| first.is_none_or(|first| (at, place.aside) < (first.0, first.1));
        let in_time = |at: &UtcTime| held.is_none_or(|held| *at < held) && earlier(*at);
        if let Some(at) = goes.filter(in_time) {
            first = Some((at, place.aside, place.incident));
        }
        if place.aside {
            continue;
        }
        held = Some(stands);
        if stands == from {
            break;
        }
    }
    first.map(|(at, _, incident)| (at, incident))
}

impl Outbox {
    /// When this member may next send something to a contact that has room for it, and of which incident.
    pub(super) fn next<'a>(
        &'a self,
        contact: &'a str,
        lane: &'a Lane,
    ) -> Option<(UtcTime, &'a str)> {
        if !self.in_order(contact, lane) {
            return lane.due.first().map(|(at, incident)| (*at, incident.as_str()));
        }
        let from = self.seen;
        let mut left = lane.passes();
        let passed = |place: &Place<'_>| {
            let passes = left > 0 && !place.aside && place.stands <= from;
            left -= usize::from(passes);
            !passes
        };
        let other = match lane.passes() {
            0 => None,
            _ => first_to_go(self.places(contact, lane).filter(passed), from),
        };
        other.or_else(|| first_to_go(self.places(contact, lane), from))
    }

    /// Whether pages to this contact go in the order in which they were written, one at a time.
    pub(super) fn in_order(&self, contact: &str, lane: &Lane) -> bool {
        if self.failing.contains_key(contact) {
            return true;
        }
        if lane.behind == UtcTime::default() {
            return false;
        }
        let waits = |(_, incident): &(UtcTime, String)| {
            let place = self.place(contact, lane, incident);
            place.is_some_and(|place| !place.aside && place.stands <= self.seen)
        };
        let first = lane.line.iter().take(LINE_LOOKED_AT_MAX);
        first.take_while(|(written, _)| *written <= lane.behind).any(waits)
    }

    /// Of which incident the first in line tells, whoever holds it.
    pub(super) fn foremost<'a>(&'a self, contact: &'a str, lane: &'a Lane) -> Option<&'a str> {
        let mut places = self.places(contact, lane);
        places.find(|place| place.stands <= self.seen).map(|place| place.incident)
    }

    fn places<'a>(
        &'a self,
        contact: &'a str,
        lane: &'a Lane,
    ) -> impl Iterator<Item = Place<'a>> + 'a {
        lane.line.iter().filter_map(|(_, incident)| self.place(contact, lane, incident))
    }

    fn place<'a>(&self, contact: &str, lane: &Lane, incident: &'a str) -> Option<Place<'a>> {
        let chain: &Chain = self.chains.get(&(incident.to_owned(), contact.to_owned()))?;
        let head = chain.head()?;
        let settling = chain.settling.as_ref();
        if settling.is_some_and(|update| update.state() == DeliveryState::Sent) {
            return None;
        }
        let busy = chain.flying.is_some() || settling.is_some();
        let due = stamp::utc(head.next_attempt_at.as_ref());
        let failed_at = failed_at(head).filter(|_| !chain.aside);
        let trial_at = self.failing.get(contact).and_then(|breaker| breaker.trial_at());
        let goes = |due: UtcTime| match (trial_at, failed_at) {
            (Some(trial), Some(_)) => trial,
            (Some(trial), None) => trial.max(due),
            // It was not to blame, as the contact takes pages by now.
            (None, Some(_)) if chain.failed_after < lane.taken => UtcTime::default(),
            // It is soon known whether this member has no way, where others may have one.
            (None, Some(failed)) if lane.taken > 0 && head.unreached > 0 => {
                due.min(failed + PAGE_BACK_OFF_MIN.saturating_mul(head.unreached))
            }
            (None, Some(failed)) => due.min(failed + BREAKER_TRIAL_EVERY),
            (None, None) => due,
        };
        let stands = if busy || failed_at.is_some() { UtcTime::default() } else { due };
        Some(Place { incident, stands, goes: chain.due.map(goes), aside: chain.aside })
    }

    /// Takes into account what the state says of the page that is next in a chain: its place, and whether
    /// its contact is to blame that it still waits.
    pub(super) fn line_up(&mut self, key: &super::ChainKey) {
        let Some(chain) = self.chains.get_mut(key) else { return };
        let Some(lane) = self.lanes.get_mut(&key.1) else { return };
        if let Some(written) = chain.written.take() {
            lane.line.remove(&(written, key.0.clone()));
        }
        if let Some(breaker) = self.failing.get(&key.1) {
            lane.was_failing(breaker.failed_at);
        }
        let Some(head) = chain.head() else { return };
        if let Some(at) = failed_at(head).filter(|_| !chain.aside) {
            lane.was_failing(at);
        }
        let written = stamp::utc(head.created_at.as_ref());
        lane.line.insert((written, key.0.clone()));
        chain.written = Some(written);
    }

    /// Learns from the state what comes of the attempts of others, as [`Outbox::finished`] learns it of those
    /// that are made here, so that all members come to pass over the same pages, and none waits for ever for
    /// one that another member tries in vain.
    pub(super) fn hear_of_attempts(&mut self, key: &super::ChainKey, pages: &[Delivery]) {
        let Some(chain) = self.chains.get(key) else { return };
        let failed = pages.iter().find_map(|page| {
            let id = &page.idempotency_key;
            let known = chain.pages.iter().find(|known| known.idempotency_key == *id)?;
            let last = page.history.last().filter(|last| last.by != self.node_id)?;
            let fails = page.state() == DeliveryState::Pending
                && known.attempts < page.attempts
                && failed_at(page).is_some();
            fails.then(|| (known.attempts > 0, last.result()))
        });
        let Some((again, result)) = failed else { return };
        let Some(lane) = self.lanes.get(&key.1) else { return };
        let in_order = self.in_order(&key.1, lane);
        // What began before there was a line, several at once, is no attempt in it.
        let counts = again || self.foremost(&key.1, lane) == Some(key.0.as_str());
        let (Some(chain), Some(lane)) = (self.chains.get_mut(key), self.lanes.get_mut(&key.1))
        else {
            return;
        };
        if counts || !in_order {
            lane.tried(in_order);
        }
        // Without a connection no page is to blame.
        let blamed = again && result != AttemptResult::NotSent;
        chain.aside |= blamed && chain.failed_after < lane.taken;
        chain.failed_after = lane.taken;
    }

    /// In a line only the first is awaited, from when it was seen to be that: before this nobody is taken
    /// for silent.
    pub(super) fn in_line(
        &mut self,
        key: &super::ChainKey,
        now: Option<UtcTime>,
    ) -> Option<UtcTime> {
        let lane = self.lanes.get(&key.1).filter(|lane| self.in_order(&key.1, lane))?;
        if self.foremost(&key.1, lane) != Some(key.0.as_str()) {
            return now;
        }
        if self.failing.contains_key(&key.1) {
            // Its next attempt is that of the contact.
            return None;
        }
        let known = lane.foremost.as_ref().filter(|(known, _)| *known == key.0);
        let since = known.map(|(_, at)| *at).or(now)?;
        self.lanes.get_mut(&key.1)?.foremost = Some((key.0.clone(), since));
        Some(since)
    }

    /// To whom a page goes that the leader holds, has not begun with, and has no way for: to the holder of
    /// the first in line.
    pub(super) fn follows(&self, key: &super::ChainKey) -> Option<u64> {
        let chain = self.chains.get(key)?;
        let page = chain.head().filter(|head| head.claimed_by == self.node_id)?;
        let untouched = chain.flying.is_none()
            && chain.settling.is_none()
            && !chain.doubt.contains(&page.idempotency_key);
        let lane = self.lanes.get(&key.1).filter(|lane| untouched && lane.no_way > 0)?;
        if !self.in_order(&key.1, lane) {
            return None;
        }
        let first = self.foremost(&key.1, lane).filter(|first| *first != key.0)?;
        let first = self.chains.get(&(first.to_owned(), key.1.clone()))?.head()?;
        (first.claimed_by != self.node_id).then_some(first.claimed_by)
    }
}
