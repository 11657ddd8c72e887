//! Limits of who may vote: when a probe is taken for the cause of what only it sees.

use std::time::Duration;

/// How often a probe that is well sees another thing than all other regions, by target. Far above what
/// the networks of today do, so that a region with a bad day is not silenced.
pub const DISAGREEMENT_BASE_RATE: f64 = 0.01;
/// At a chance of less than this that so many disagreements are no fault of the probe's own, it is
/// suspected.
pub const SUSPECT_BELOW: f64 = 1e-6;
/// Only at more than this is it well again: between the two nothing changes.
pub const WELL_ABOVE: f64 = 1e-2;
/// Fewer targets than this say nothing about the probe, whatever the odds. Not excluded.
pub const DISAGREEING_TARGETS_MIN: u32 = 4;
/// How long a suspicion must last without a gap before the probe is excluded.
pub const EXCLUDE_AFTER: Duration = Duration::from_secs(5);
/// How long it must be well without a gap before it votes again.
pub const READMIT_AFTER: Duration = Duration::from_secs(60);
/// How long a probe that was excluded for its disagreements stays so while nothing can be compared with
/// what it sees. Then it votes again: a probe whose checks have lost their other regions is not shut out for
/// ever.
pub const ALONE_AT_MOST: Duration = Duration::from_secs(3_600);
/// A probe whose own threads come this late measures itself. Suspected.
pub const EXCLUDE_LOOP_LAG: Duration = Duration::from_secs(1);
/// Checks that are looked at in one go, so that a decision never waits for a look at all of them.
pub const SURVEY_CHECKS: usize = 256;
/// Between two such goes.
pub const SURVEY_PAUSE: Duration = Duration::from_millis(50);
/// From the start of one look at all checks to the next, at least.
pub const SURVEY_EVERY: Duration = Duration::from_secs(1);
/// How long a live probe must be older than what is asked of it before that is an incident. Long enough to
/// upgrade the probes of a region one after the other once a check of a new kind is there; nothing waits
/// for it, since such a check is given to other probes or shown as not looked at from the start.
pub const OUTDATED_AFTER: Duration = Duration::from_secs(300);
/// How long half of the regions, or more, must not see the known answer of a canary before that is an
/// incident. Long enough for a target that is started anew or a network that comes back; nothing waits for
/// it, since a canary in doubt is held against nobody from the start.
pub const CANARY_DOUBT_AFTER: Duration = Duration::from_secs(300);
/// How long more than half of them must have seen it before that incident ends. One that goes to and fro is
/// one incident.
pub const CANARY_SURE_AFTER: Duration = Duration::from_secs(60);
/// Minor versions that a probe may be behind the oldest coordinator: builds are tried with the one before
/// them. More is outdated.
pub const VERSIONS_BEHIND_MAX: u64 = 1;
/// Kinds of step that are named of all that an outdated probe cannot run. The rest is counted.
pub const OUTDATED_KINDS_NAMED: usize = 4;
