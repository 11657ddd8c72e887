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
