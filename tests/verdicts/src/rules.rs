//! How other products make one verdict of several places, as they document it.
//!
//! Each rule sees what the places' scheduled runs said and when, nothing else: no confirmations, which are
//! ours. A place fails here after the same two runs in a row for all of them, so that what differs is the
//! counting alone; most of the products have a number of their own for that.
//!
//! | rule | whose |
//! |---|---|
//! | any place that fails | what per-location alerting does, New Relic's and Dynatrace's "local" among it |
//! | no more than 18 % of the places pass | Amazon Route 53, "How Route 53 determines whether a health check is healthy" |
//! | at least half of the places failed when they last spoke, however long ago | OpenStatus, its reference of incidents and the checker it publishes |
//! | as many fail as are required, or as many as there are if those are fewer | products whose required number shrinks with the places that are alive |

use std::time::Duration;

use parallax_common::time::MeshTime;

use crate::mesh::{INTERVAL, TIMEOUT};

/// A place as a rule sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Scheduled runs that failed in a row, when one was told last.
    fails: u32,
    /// Which slot that was, and when it was told.
    told: Option<(i64, MeshTime)>,
    /// Since when nothing is heard of it.
    pub silent_since: Option<MeshTime>,
}

/// Fails in a row, and passes as well: one pass ends them.
const IN_A_ROW: u32 = 2;
/// A place that was not heard for so long is not alive.
const ALIVE_FOR: Duration = Duration::from_secs(180);

/// A slot whose run has not been told this long after the one before it has passed.
const NEXT_WITHIN: Duration =
    INTERVAL.saturating_add(TIMEOUT).saturating_add(Duration::from_secs(1));

impl Place {
    /// The run of a slot is told. Slots between this one and the last that was told have passed.
    pub fn hear(&mut self, slot: i64, failed: bool, now: MeshTime) {
        let follows = self.told.is_some_and(|(last, _)| last + 1 == slot);
        let before = if follows { self.fails } else { 0 };
        self.fails = if failed { before + 1 } else { 0 };
        self.told = Some((slot, now));
    }

    fn fails(&self, now: MeshTime) -> bool {
        let until = self.silent_since.unwrap_or(now);
        let passed_since = self.told.is_none_or(|(_, at)| until.since(at) > NEXT_WITHIN);
        self.fails >= IN_A_ROW && !passed_since
    }

    fn is_alive(&self, now: MeshTime) -> bool {
        self.silent_since.is_none_or(|since| now.since(since) < ALIVE_FOR)
    }
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One failing place is enough.
    Any,
    /// Healthy while more than 18 % of the places pass.
    EighteenPercent,
    /// Half of the places, by their last words.
    HalfWithoutAge,
    /// The majority, or all that are alive when those are fewer.
    RequiredOrAlive,
}

impl Rule {
    /// In the order of the table.
    pub const ALL: [Self; 4] =
        [Self::Any, Self::EighteenPercent, Self::HalfWithoutAge, Self::RequiredOrAlive];

    /// For reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any place fails",
            Self::EighteenPercent => "at most 18 % pass (Route 53)",
            Self::HalfWithoutAge => "at least half fail, without age limit (OpenStatus)",
            Self::RequiredOrAlive => "min(required, alive) fail",
        }
    }

    /// Whether it calls the check down.
    pub fn is_down(self, places: &[Place], now: MeshTime) -> bool {
        let failing = places.iter().filter(|place| place.fails(now)).count();
        match self {
            Self::Any => failing > 0,
            Self::EighteenPercent => (places.len() - failing) * 100 <= places.len() * 18,
            Self::HalfWithoutAge => failing * 2 >= places.len(),
            Self::RequiredOrAlive => {
                let alive = || places.iter().filter(|place| place.is_alive(now));
                let failing = alive().filter(|place| place.fails(now)).count();
                failing > 0 && failing >= (places.len() / 2 + 1).min(alive().count())
            }
        }
    }

    /// How long after a place fell silent this changes by itself.
    pub const fn looks_again_after() -> Duration {
        ALIVE_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_counts_as_it_is_documented() {
        // p passes, f fails; P and F said so last and have been silent for long.
        let table = "
            ppppp | any - | 18 - | half - | alive -
            fpppp | any x | 18 - | half - | alive -
            ffppp | any x | 18 - | half - | alive -
            fffpp | any x | 18 - | half x | alive x
            ffffp | any x | 18 - | half x | alive x
            fffff | any x | 18 x | half x | alive x
            FFFpp | any x | 18 - | half x | alive -
            fPPPP | any x | 18 - | half - | alive x
            ffPPP | any x | 18 - | half - | alive x
            fpPPP | any x | 18 - | half - | alive -
            PPPPP | any - | 18 - | half - | alive -
            FFFFF | any x | 18 x | half x | alive -
        ";
        let now = MeshTime::from_ns(3_600_000_000_000);
        for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (letters, wanted) = line.split_once(" | ").unwrap();
            let long_ago = MeshTime::from_ns(1_000_000_000_000);
            let place = |letter: char| {
                let silent_since = letter.is_uppercase().then_some(long_ago);
                let mut place = Place { silent_since, ..Place::default() };
                for slot in [7, 8] {
                    let fails = letter.eq_ignore_ascii_case(&'f');
                    place.hear(slot, fails, silent_since.unwrap_or(now));
                }
                place
            };
            let places: Vec<Place> = letters.chars().map(place).collect();
            let said: Vec<String> = ["any", "18", "half", "alive"]
                .iter()
                .zip(Rule::ALL)
                .map(|(word, rule)| {
                    format!("{word} {}", if rule.is_down(&places, now) { 'x' } else { '-' })
                })
                .collect();
            assert_eq!(said.join(" | "), wanted, "{letters}");
        }
    }

    #[test]
    fn what_is_not_told_has_passed() {
        let at = |second: i64| MeshTime::from_ns(second * 1_000_000_000);
        let mut place = Place::default();
        place.hear(1, true, at(60));
        place.hear(3, true, at(180));
        assert!(!place.fails(at(180)), "slot 2 lies between them");
        place.hear(4, true, at(240));
        assert!(place.fails(at(240)) && place.fails(at(306)));
        assert!(!place.fails(at(307)), "slot 5 would have been told");
        place.silent_since = Some(at(250));
        assert!(place.fails(at(9_000)), "nobody knows of slot 5");
        place.silent_since = Some(at(320));
        assert!(!place.fails(at(9_000)), "it passed before the silence");
    }

    #[test]
    fn a_place_counts_as_alive_until_it_was_silent_for_so_long() {
        let now = MeshTime::from_ns(3_600_000_000_000);
        let silent = |ago: Duration| Place { silent_since: Some(now - ago), ..Place::default() };
        let mut fails = Place::default();
        [7, 8].into_iter().for_each(|slot| fails.hear(slot, true, now));
        let just = silent(ALIVE_FOR - Duration::from_secs(1));
        let long = silent(Rule::looks_again_after());
        assert!(!Rule::RequiredOrAlive.is_down(&[fails, just, just], now));
        assert!(Rule::RequiredOrAlive.is_down(&[fails, long, long], now));
    }
}
