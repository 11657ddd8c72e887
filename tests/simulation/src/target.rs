//! What the probes look at: one target, well or not, for each region by itself.

use std::time::Duration;

use parallax_common::outcome::{Outcome, Phase, Reason};
use parallax_probe::core::record::Finding;

/// Regions that have probes: those of the first keys of the clients.
pub const REGIONS: usize = 3;

/// What one region sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sight {
    /// It answers.
    #[default]
    Well,
    /// It refuses connections.
    Refusing,
    /// It takes connections and never answers.
    Hanging,
}

/// The target.
#[derive(Debug, Clone, Default)]
pub struct Target {
    sights: [Sight; REGIONS],
    /// Changes so far.
    pub changes: u64,
}

impl Target {
    /// What this region sees now.
    pub fn sight(&self, region: usize) -> Sight {
        self.sights.get(region).copied().unwrap_or_default()
    }

    /// From now on these regions see this.
    pub fn show(&mut self, regions: impl IntoIterator<Item = usize>, sight: Sight) {
        self.changes += 1;
        for region in regions {
            if let Some(place) = self.sights.get_mut(region) {
                *place = sight;
            }
        }
    }

    /// Whether nobody sees anything wrong.
    pub fn is_well(&self) -> bool {
        self.sights.iter().all(|sight| *sight == Sight::Well)
    }
}

/// What a run says that ended in front of this.
pub fn finding(sight: Sight) -> Finding {
    let (outcome, reason) = match sight {
        Sight::Well => (Outcome::Pass, None),
        Sight::Refusing => (Outcome::Fail, Some(Reason::ConnectRefused)),
        Sight::Hanging => (Outcome::Fail, Some(Reason::Timeout)),
    };
    Finding {
        outcome,
        reason,
        step: 0,
        evidence: String::new(),
        remote: None,
        phases: vec![(0, Phase::Connect, Duration::from_millis(1))],
        expiry: None,
    }
}
