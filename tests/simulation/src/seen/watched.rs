//! What is seen of a check and its regions when a member is looked at.

use parallax_common::name::Uid;

/// A check, and which of its regions tell a member of it.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Which check.
    pub check: Uid,
    /// As of when.
    pub etag: u64,
    /// How many regions it has.
    pub regions: usize,
    /// An incident is open.
    pub is_open: bool,
    /// Its last one was ended by hand.
    pub is_latched: bool,
    /// Ranks of the regions whose runs say something and whose probes reach the member, each with
    /// its line.
    pub telling: Vec<(usize, u64)>,
    /// Those of them of which the member has no vote.
    pub blank: Vec<(usize, u64)>,
    /// Those of them that say that it fails.
    pub failing: Vec<(usize, u64)>,
    /// Lives of probes that are to look at it, by the member's plan, and that it hears in no way.
    pub unheard: Vec<u64>,
}
