//! Limits of the live view of a terminal.

use std::time::Duration;

/// How often it asks, unless told otherwise: as fast as anybody reads.
pub const TOP_EVERY_DEFAULT: Duration = Duration::from_secs(1);
/// Shortest `--every`: what somebody looks at is not to load the coordinators. Refused.
pub const TOP_EVERY_MIN: Duration = Duration::from_millis(250);
/// Longest `--every`: what is older is not live. Refused.
pub const TOP_EVERY_MAX: Duration = Duration::from_secs(60);
/// How long one round of questions may take. After it the next coordinator is asked, and the view says
/// for how long there was no answer.
pub const TOP_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long coordinators that refuse connections are tried within one round: the next one follows.
pub const TOP_RETRY_FOR: Duration = Duration::from_millis(500);
/// Orders of the person at the keys that wait for the round under way. More are dropped, which the view
/// says.
pub const TOP_ORDERS_MAX: usize = 8;
/// Characters of a filter or a note that is typed. Further keys are not taken.
pub const TOP_TYPED_CHARS_MAX: usize = 200;
/// Checks that the view holds; of more it says so, and a label narrows them down.
pub const TOP_CHECKS_MAX: usize = 20_000;
/// How far back the latency of one check is read.
pub const TOP_LATENCY_OVER: Duration = Duration::from_secs(3_600);
