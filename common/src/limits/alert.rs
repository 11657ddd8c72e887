//! Limits of alerts on what was measured.

use std::time::Duration;

/// Alerts of one check: each is looked at every minute. Refused.
pub const ALERTS_PER_CHECK_MAX: usize = 8;
/// Source of an alert's condition: a sentence, not a program. Refused.
pub const ALERT_WHEN_BYTES_MAX: usize = 256;
/// What one look of an alert adds up at most, and how long it may have to hold: together they stay
/// within what history keeps by the minute. Refused.
pub const ALERT_SPAN_MAX: Duration = Duration::from_secs(6 * 3_600);
/// Time over which an error budget is counted: what is shorter is an alert, and history ends at 400
/// days. Refused.
pub const SLO_OVER_MIN: Duration = Duration::from_secs(86_400);
/// The longest such time.
pub const SLO_OVER_MAX: Duration = Duration::from_secs(90 * 86_400);
/// The least target, in millionths: where half of the runs may fail nobody relies on them. Refused.
pub const SLO_TARGET_PPM_MIN: u32 = 500_000;
/// Below this target not even an outage burns 14.4 times as fast as it may, and the fastest alert never
/// opens. Advised against.
pub const SLO_TARGET_PPM_FAST: u32 = 930_556;
/// The greatest: a check a second has 26 failures in 30 days left there. Refused.
pub const SLO_TARGET_PPM_MAX: u32 = 999_990;
/// Days before a certificate's end that an alert may ask for: private authorities give certificates for
/// ten years. Refused.
pub const ALERT_CERT_DAYS_MAX: u32 = 3_650;
/// What a region was shown of certificates counts for so long at least, and for two intervals of the
/// check: windows of five minutes, one of which is late, come within it. Older than that the region says
/// nothing.
pub const CERT_FRESH_MIN: Duration = Duration::from_secs(15 * 60);
/// Of what a region was shown counts what expires first in a time of this length, or of two intervals of
/// the check where that is longer, and in the one before it: behind one address there may be several
/// servers, of which some were forgotten at a renewal. Shorter, and an alert would end whenever the others
/// answer for a while; a renewal is seen so much later.
pub const CERT_SPAN_MIN: Duration = Duration::from_secs(5 * 60);
/// Checks of which a member remembers what their regions were shown: 80 bytes a region and 80 or so
/// beside, 64 MB for all of them with three regions each. Those that find no room are left out, as if
/// nobody had looked at them, until others are gone.
pub const CERT_CHECKS_MAX: usize = 200_000;
/// How often the leader looks at alerts. Nothing is finer than a minute in what is kept.
pub const ALERT_LOOK_EVERY: Duration = Duration::from_secs(60);
/// A minute is looked at when it has been over for so long, and for as long as a run of the check may
/// take: by then windows have come from everywhere where nothing is wrong.
pub const ALERT_SETTLE: Duration = Duration::from_secs(15);
/// An incident of an alert ends when the condition has not held for so long at least: what comes and
/// goes is one incident.
pub const ALERT_CLEAR_MIN: Duration = Duration::from_secs(5 * 60);
/// After each check the look pauses for so many times what it took: it gets a fifth of a core. With too
/// many checks a look takes longer than until the next one, which then waits for it.
pub const ALERT_PAUSE_TIMES: u32 = 4;
/// Changes of alerts in one entry: a record has a line for each region. The rest is in the next one.
pub const ALERT_CHANGES_PER_ENTRY_MAX: usize = 32;
/// How often an error budget is counted anew: a month of hours is read for each.
pub const BUDGET_COUNT_EVERY: Duration = Duration::from_secs(10 * 60);
