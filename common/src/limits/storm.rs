//! Limits of pages that are told together.
//!
//! The two that hold where nobody says otherwise are part of what replicated apply does: other numbers
//! need a feature level of their own.

use std::time::Duration;

/// The openings of so many checks for one contact within [`STORM_WITHIN`] go out one by one; the rest is one page. As
/// many as somebody reads on a phone before giving up.
pub const STORM_OVER: u32 = 10;
/// How long openings count, and how long a storm gathers before its page goes out. The first pages are
/// out by then, so nobody waits to hear that something is wrong.
pub const STORM_WITHIN: Duration = Duration::from_secs(30);
/// The most checks whose openings may go out one by one: they are kept with the contact. Refused.
pub const STORM_OVER_MAX: u32 = 100;
/// Shortest time that openings count: within less nothing gathers. Refused.
pub const STORM_WITHIN_MIN: Duration = Duration::from_secs(5);
/// Longest time that openings count: the storm's page waits as long. Refused.
pub const STORM_WITHIN_MAX: Duration = Duration::from_secs(600);
/// Incidents of a storm that are named, in its record and in its pages. The others are counted.
pub const STORM_MEMBERS_MAX: usize = 32;
/// Pages of a storm whose figures are kept. One that waits has a place among them, as no other is
/// written meanwhile.
pub const STORM_PAGES_KEPT_MAX: usize = 16;
/// How long after an end the next page of a storm tells of it, when others go on.
pub const STORM_ENDS_AFTER: Duration = Duration::from_secs(300);
/// Incidents that the acknowledgement of a storm acknowledges in its one entry. The others go on.
pub const STORM_ACKED_MAX: usize = 1_000;
