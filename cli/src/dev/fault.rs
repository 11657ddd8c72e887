//! How the demo target fails, and for whom. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::dev::place::REGIONS;

/// How much later a slow target answers: over the `expect` of the samples, under their timeout.
pub const SLOW: Duration = Duration::from_millis(600);

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Connections are refused; for some regions only: taken and reset at once
    Refuse,
    /// Connections are taken and never answered
    Hang,
    /// The answer is 503
    Status,
    /// The answer is right and comes 600 ms late
    Slow,
}

impl Mode {
    /// What the target does, after "the target".
    pub const fn does(self) -> &'static str {
        match self {
            Self::Refuse => "refuses connections",
            Self::Hang => "takes connections and never answers",
            Self::Status => "answers 503",
            Self::Slow => "answers 600 ms late",
        }
    }
}

/// A region that the mesh does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no region {name:?}: there are {}{}", REGIONS.join(", "), meant(.nearest))]
pub struct NoRegion {
    name: String,
    nearest: Option<&'static str>,
}

fn meant(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// What is broken, by region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    modes: BTreeMap<&'static str, Mode>,
}

impl Faults {
    /// Breaks the target for these regions; none named means all. Nothing changes when one of them
    /// does not exist.
    pub fn break_for(&mut self, regions: &[String], mode: Mode) -> Result<(), NoRegion> {
        for region in resolve(regions)? {
            self.modes.insert(region, mode);
        }
        Ok(())
    }

    /// Heals it for these regions; none named means all.
    pub fn heal_for(&mut self, regions: &[String]) -> Result<(), NoRegion> {
        for region in resolve(regions)? {
            self.modes.remove(region);
        }
        Ok(())
    }

    /// How it fails for somebody in `region`. Somebody from nowhere sees what all regions see.
    pub fn of(&self, region: Option<&str>) -> Option<Mode> {
        match region {
            Some(region) => self.modes.get(region).copied(),
            None => self.everywhere(),
        }
    }

    /// Whether nobody at all may connect.
    pub fn closed(&self) -> bool {
        self.everywhere() == Some(Mode::Refuse)
    }

    fn everywhere(&self) -> Option<Mode> {
        let first = self.modes.values().next().copied()?;
        let all = self.modes.len() == REGIONS.len();
        (all && self.modes.values().all(|&mode| mode == first)).then_some(first)
    }

    /// What is broken, in a sentence.
    pub fn describe(&self) -> String {
        if let Some(mode) = self.everywhere() {
            return format!("the target {} for every region", mode.does());
        }
        let mut by_mode: Vec<(Mode, Vec<&str>)> = Vec::new();
        for (region, mode) in &self.modes {
            match by_mode.iter_mut().find(|(known, _)| known == mode) {
                Some((_, regions)) => regions.push(region),
                None => by_mode.push((*mode, vec![region])),
            }
        }
        if by_mode.is_empty() {
            return "the target works for every region".to_owned();
        }
        let parts = by_mode
            .iter()
            .map(|(mode, regions)| format!("{} for {}", mode.does(), regions.join(", ")));
        format!("the target {}", parts.collect::<Vec<_>>().join(", and "))
    }
}

fn resolve(regions: &[String]) -> Result<Vec<&'static str>, NoRegion> {
    if regions.is_empty() {
        return Ok(REGIONS.to_vec());
    }
    regions
        .iter()
        .map(|name| {
            REGIONS.into_iter().find(|region| region == name).ok_or_else(|| {
                let nearest = REGIONS
                    .into_iter()
                    .map(|region| (strsim::damerau_levenshtein(region, name), region))
                    .min()
                    .filter(|(distance, _)| *distance <= 3)
                    .map(|(_, region)| region);
                NoRegion { name: name.clone(), nearest }
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(regions: &[&str]) -> Vec<String> {
        regions.iter().map(|&region| region.to_owned()).collect()
    }

    #[test]
    fn a_fault_holds_for_its_regions_until_they_are_healed() {
        let mut faults = Faults::default();
        faults.break_for(&some(&["eu-west", "us-east"]), Mode::Hang).unwrap();
        faults.break_for(&some(&["us-east"]), Mode::Slow).unwrap();
        assert_eq!(faults.of(Some("eu-west")), Some(Mode::Hang));
        assert_eq!(faults.of(Some("us-east")), Some(Mode::Slow));
        assert_eq!((faults.of(Some("sa-east")), faults.of(None)), (None, None));
        let said = "the target takes connections and never answers for eu-west, and answers 600 ms \
                    late for us-east";
        assert_eq!(faults.describe(), said);
        faults.heal_for(&some(&["eu-west"])).unwrap();
        assert_eq!(faults.of(Some("eu-west")), None);
        faults.heal_for(&[]).unwrap();
        assert_eq!(faults.describe(), "the target works for every region");
    }

    #[test]
    fn only_when_every_region_is_refused_nobody_may_connect() {
        let mut faults = Faults::default();
        faults.break_for(&some(&REGIONS[1..]), Mode::Refuse).unwrap();
        assert!(!faults.closed());
        faults.break_for(&[], Mode::Status).unwrap();
        assert!(!faults.closed());
        assert_eq!(faults.of(None), Some(Mode::Status));
        faults.break_for(&[], Mode::Refuse).unwrap();
        assert!(faults.closed());
    }

    #[test]
    fn an_unknown_region_changes_nothing_and_names_the_nearest() {
        let mut faults = Faults::default();
        let refused = faults.break_for(&some(&["us-east", "eu-wset"]), Mode::Hang).unwrap_err();
        assert!(refused.to_string().ends_with("did you mean eu-west?"), "{refused}");
        assert_eq!(faults, Faults::default());
        let refused = faults.heal_for(&some(&["mars"])).unwrap_err().to_string();
        assert!(refused.ends_with("sa-east"), "{refused}");
    }
}
