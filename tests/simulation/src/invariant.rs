//! What must always hold, one invariant a file.
//!
//! Each is told everything that is seen, in order, and says what it cannot be. None of them knows
//! which mistakes there are, or whether one is switched on.

use crate::seen::Seen;

mod acknowledged;
mod blank;
mod claim;
mod committed;
mod frame;
mod generation;
mod grace;
mod incident;
mod leader;
mod linear;
mod log_matching;
mod once;
mod order;
mod ordered;
mod page;
mod page_key;
mod plan;
mod promise;
mod prompt;
mod quorum;
mod record;
mod references;
mod removed;
mod start;
mod state_hash;
mod stored;
mod time;
mod unknown;
mod version;
mod vote;
mod voters;
mod watched;
mod whole;

pub use self::linear::Linear;

/// One thing that must always hold.
pub trait Invariant {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// It is this late.
    fn at(&mut self, _now_us: u64) {}

    /// Looks at what was seen.
    ///
    /// # Errors
    /// What was seen cannot be; in words.
    fn see(&mut self, seen: &Seen) -> Result<(), String>;

    /// The world has healed and come to rest.
    ///
    /// # Errors
    /// Something that should have happened has not.
    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// What is said of a world that has healed and does not go on. It is the one that does not say what
/// was done wrong.
pub const LIVENESS: &str = "liveness after healing";

/// A thing that was not to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// All of them.
pub struct Invariants(Vec<Box<dyn Invariant>>);

impl Default for Invariants {
    fn default() -> Self {
        Self(vec![
            Box::<leader::OneLeader>::default(),
            Box::<vote::OneVote>::default(),
            Box::<promise::Promises>::default(),
            Box::<log_matching::LogMatching>::default(),
            Box::<committed::Committed>::default(),
            Box::<order::Order>::default(),
            Box::<state_hash::StateHash>::default(),
            Box::<voters::Voters>::default(),
            Box::<acknowledged::Acknowledged>::default(),
            Box::<once::Once>::default(),
            Box::<whole::Whole>::default(),
            Box::<references::References>::default(),
            Box::<generation::Generations>::default(),
            Box::<time::Time>::default(),
            Box::<stored::Stored>::default(),
            Box::<start::Start>::default(),
            Box::<incident::Incidents>::default(),
            Box::<page::Pages>::default(),
            Box::<page_key::PageKeys>::default(),
            Box::<claim::Claims>::default(),
            Box::<frame::Frames>::default(),
            Box::<plan::Plans>::default(),
            Box::<ordered::Ordered>::default(),
            Box::<version::Versions>::default(),
            Box::<quorum::Quorum>::default(),
            Box::<prompt::Prompt>::default(),
            Box::<unknown::Unknown>::default(),
            Box::<blank::Blank>::default(),
            Box::<record::Records>::default(),
            Box::<grace::Grace>::default(),
            Box::<removed::Removed>::default(),
            Box::<watched::Watchers>::default(),
        ])
    }
}

impl Invariants {
    /// Shows all of them what was seen.
    pub fn see(&mut self, now_us: u64, seen: &Seen) -> Result<(), Violation> {
        for invariant in &mut self.0 {
            invariant.at(now_us);
            let name = invariant.name();
            invariant.see(seen).map_err(|what| Violation { invariant: name, what })?;
        }
        Ok(())
    }

    /// Asks all of them whether anything is missing.
    pub fn end(&mut self, now_us: u64) -> Result<(), Violation> {
        for invariant in &mut self.0 {
            invariant.at(now_us);
            let name = invariant.name();
            invariant.end().map_err(|what| Violation { invariant: name, what })?;
        }
        Ok(())
    }
}
