//! Limits of what is told to people about the fleet and the members.

use std::time::Duration;

/// Drained probes that are named of a region that nobody looks from, the first ones: more are counted.
pub const DRAINED_NAMED_MAX: usize = 3;
/// How long `incident get` waits for the names of the members, of whom some may be away. After it
/// attempts at a page stand with the number of the member.
pub const MEMBER_NAMES_WITHIN: Duration = Duration::from_secs(3);
