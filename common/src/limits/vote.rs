//! Limits of who votes on a check, and of what votes that last lead to.

use std::time::Duration;

/// Probes of one region that run a check: enough to outvote four that are wrong. Refused.
pub const PROBES_PER_REGION_MAX: u32 = 9;
/// Probes that run one check, all its regions together: the record of a decision names each of them,
/// with its evidence, and must fit into an entry with room to spare. Refused.
pub const VOTERS_PER_CHECK_MAX: usize = 96;

/// Votes on checks that a coordinator does not know yet, by check and probe: what a member is told that
/// is far behind. At it only who spoke is kept, and all of them are asked with the next check it looks at.
pub const VOTES_UNHEARD_MAX: usize = 100_000;

/// How long a failure that too few regions see has lasted when it becomes an incident, where a check does
/// not say: longer than a path takes to heal by itself.
pub const REGIONAL_AFTER_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// The same for warnings, which nobody has to mend at once.
pub const WARNING_AFTER_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// The least that may be asked for: below, it would page for a single bad run. Refused.
pub const LASTING_AFTER_MIN: Duration = Duration::from_secs(1);
/// The most: after a week nobody would know of it. Refused.
pub const LASTING_AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Scheduled failures of one streak that are confirmed. One would do if no run were ever lost: the second
/// is for an outage that begins behind such a one. A region that goes on failing asks nobody any more.
pub const CONFIRMATIONS_A_STREAK_MAX: u32 = 2;
