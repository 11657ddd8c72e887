//! Limits of what keeps pages back.

use std::time::Duration;

/// Matchers of one silence: more conditions than anybody overlooks. Refused.
pub const MATCHERS_MAX: usize = 16;
/// How many of them are patterns: each takes memory on every coordinator. Refused.
pub const MATCHER_PATTERNS_MAX: usize = 4;
/// Source of a matcher's pattern. Refused.
pub const MATCHER_PATTERN_BYTES_MAX: usize = 512;
/// A matcher's pattern once it is compiled, and the memory it may use while it looks. Refused.
pub const MATCHER_COMPILED_BYTES_MAX: usize = 128 * 1024;
/// Silences of one namespace, those that have ended lately among them: each opening looks at all of
/// them. The oldest that has ended makes room; when none has, a new one is refused.
pub const SILENCES_PER_NAMESPACE_MAX: usize = 256;
/// The same of all namespaces together. Refused.
pub const SILENCES_MAX: usize = 1_024;
/// Longest silence, and how far ahead one may begin: what lasts longer is an edit of the
/// configuration. Refused.
pub const SILENCE_LENGTH_MAX: Duration = Duration::from_secs(366 * 86_400);
/// How long a silence that has ended is kept, for whoever asks why nobody was paged. Over it the next
/// one that is made takes it away.
pub const SILENCE_KEPT: Duration = Duration::from_secs(5 * 86_400);
/// Held incidents that one entry looks at. The rest is in the next one.
pub const HELD_REVIEWED_MAX: usize = 256;
/// A review that could not be proposed is tried again after this.
pub const HELD_REVIEW_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// While an incident is held the leader compares its clock with the end at least this often: a clock
/// that is set shows within it.
pub const HELD_LOOK_EVERY: Duration = Duration::from_secs(30);
/// Checks that one depends on: each is looked at when it opens. Refused.
pub const DEPENDS_ON_MAX: usize = 16;
/// How long the opening of a check waits at most to see whether what it depends on is found down as
/// well: both fail together, and either may be told of first.
pub const DEPENDS_WAIT_MAX: Duration = Duration::from_secs(10);
/// What a child has at least, after the incident of its parent has ended, to recover before its own
/// opening goes out; besides what its own runs need to tell.
pub const DEPENDS_GRACE_MIN: Duration = Duration::from_secs(30);
/// Maintenance windows of one namespace: each has a day of silences ahead and five days of them behind,
/// and together they leave room among the silences for those of people. Refused.
pub const MAINTENANCE_PER_NAMESPACE_MAX: usize = 32;
/// The same of all namespaces together: the leader looks into the calendar of each. Refused.
pub const MAINTENANCE_MAX: usize = 128;
/// Shortest and longest time of a window that recurs. Refused.
pub const MAINTENANCE_LENGTH_MIN: Duration = Duration::from_secs(60);
/// See [`MAINTENANCE_LENGTH_MIN`].
pub const MAINTENANCE_LENGTH_MAX: Duration = Duration::from_secs(86_400);
/// How long before it begins a time of a window is written down: a cluster that stands still over
/// night is quiet all the same when it is planned to be.
pub const MAINTENANCE_AHEAD: Duration = Duration::from_secs(86_400);
/// How long what a window made holds on after an edit of it, until what it is now is written down.
pub const MAINTENANCE_HANDOVER: Duration = Duration::from_secs(30);
/// Times that one entry writes down. The rest is in the next one.
pub const MAINTENANCE_DUE_MAX: usize = 64;
/// Times that are shown of a window.
pub const MAINTENANCE_SHOWN: usize = 5;
/// Shortest and longest time that an incident stays open at least. Refused.
pub const MIN_OPEN_MIN: Duration = Duration::from_secs(1);
/// See [`MIN_OPEN_MIN`]: over a day it would hide the next outage.
pub const MIN_OPEN_MAX: Duration = Duration::from_secs(86_400);
/// Openings that make a check flap: so many of them are remembered with its verdict. Refused.
pub const FLAP_OPENS_MAX: u32 = 16;
/// Openings that make a check flap when it does not say.
pub const FLAP_OPENS_DEFAULT: u32 = 3;
/// Within which they are counted: at least and at most. Refused.
pub const FLAP_WITHIN_MIN: Duration = Duration::from_secs(60);
/// See [`FLAP_WITHIN_MIN`].
pub const FLAP_WITHIN_MAX: Duration = Duration::from_secs(86_400);
/// When it does not say.
pub const FLAP_WITHIN_DEFAULT: Duration = Duration::from_secs(3_600);
/// How long a check that flapped must pass when it does not say. At least and at most as
/// [`MIN_OPEN_MIN`] and [`MIN_OPEN_MAX`].
pub const FLAP_CALM_DEFAULT: Duration = Duration::from_secs(900);
