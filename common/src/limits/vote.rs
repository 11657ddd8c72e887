//! Limits of who votes on a check.

/// Probes of one region that run a check: enough to outvote four that are wrong. Refused.
pub const PROBES_PER_REGION_MAX: u32 = 9;
/// Probes that run one check, all its regions together: the record of a decision names each of them,
/// with its evidence, and must fit into an entry with room to spare. Refused.
pub const VOTERS_PER_CHECK_MAX: usize = 96;
