//! Limits of how often a contact is told, and of what is kept of it.

use std::time::Duration;

/// Attempts in a row, whatever they were about, that told a contact nothing. From then on one page at a
/// time tries; the others wait.
pub const BREAKER_FAILURES: u32 = 5;
/// How long after a failed attempt another page tries a contact that is failing.
pub const BREAKER_TRIAL_EVERY: Duration = Duration::from_secs(30);
/// Attempts that pages to a contact which takes nothing make in the order in which they were written. Then
/// one passes over the first of them, in case that is why: with the wait before each of them a page that
/// hangs its receiver holds the others for two to three minutes. What went past it then overtook a page.
pub const LINE_TRIES_MAX: usize = 5;
/// Pages at the head of a contact's line that are looked at to see whether one holds the others. When all of
/// these wait for a time of their own or stand aside, the line is none, and everything goes as it is due.
pub const LINE_LOOKED_AT_MAX: usize = 64;
/// Pages that a contact's rate may name. Refused.
pub const RATE_PAGES_MAX: u32 = 1_000;
/// How far ahead a contact's rate may move a page. What would go later goes then, and the rate is not
/// kept: a page that old is about what has long been seen.
pub const PACED_AHEAD_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Contacts that may stand in for one another, one behind the other. Refused.
pub const FALLBACKS_MAX: usize = 8;
/// Attempts kept of each page: the first few and the last ones. Those between are counted.
pub const ATTEMPTS_KEPT_MAX: usize = 16;
/// Of these, so many are the first.
pub const ATTEMPTS_KEPT_FIRST: usize = 4;
/// Bytes kept of what went wrong with one attempt; its page has more of the last one.
pub const ATTEMPT_ERROR_BYTES_MAX: usize = 160;
