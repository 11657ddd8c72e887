//! How long a canary has been in doubt, or has not been: what makes it an incident of the mesh, and ends that.
//!
//! Whether it is in doubt is counted by who decides, with the shares of [`crate::core::watchdog`].

use parallax_common::limits::{CANARY_DOUBT_AFTER, CANARY_SURE_AFTER};
use parallax_common::time::MeshTime;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// It has been in doubt for long enough: the incident begins.
    Begin,
    /// It has not been for long enough: the incident ends, or another one may begin.
    End,
    /// Nothing before then.
    At(MeshTime),
    /// Nothing until something else is seen.
    Nothing,
}

/// Since when one canary is another thing than what is committed about it. A new leader begins anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct Doubt {
    since: Option<MeshTime>,
}

impl Doubt {
    /// What follows from what is seen: whether the canary is in doubt, or nothing where nobody says anything
    /// of it, which begins and ends nothing. `taken`: its incident is open, or was resolved by hand.
    pub fn step(&mut self, seen: Option<bool>, taken: bool, now: MeshTime) -> Due {
        let Some(in_doubt) = seen.filter(|in_doubt| *in_doubt != taken) else {
            self.since = None;
            return Due::Nothing;
        };
        let (lasts, due) = match in_doubt {
            true => (CANARY_DOUBT_AFTER, Due::Begin),
            false => (CANARY_SURE_AFTER, Due::End),
        };
        let at = *self.since.get_or_insert(now) + lasts;
        if at <= now { due } else { Due::At(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_an_incident_while_it_was_in_doubt_for_long_and_until_it_was_not_for_a_while() {
        let second = |seconds: i64| MeshTime::from_ns(seconds * 1_000_000_000);
        let (yes, no) = (Some(true), Some(false));
        let (begin, end) = (300, 60);
        // (second, what is seen, whether there is an incident, what is due)
        let table = [
            (0, no, false, Due::Nothing),
            (10, yes, false, Due::At(second(10 + begin))),
            (200, yes, false, Due::At(second(10 + begin))),
            // Seen once between, it begins anew; and so it does when nobody says anything.
            (201, no, false, Due::Nothing),
            (202, yes, false, Due::At(second(202 + begin))),
            (203, None, false, Due::Nothing),
            (204, yes, false, Due::At(second(204 + begin))),
            (204 + begin, yes, false, Due::Begin),
            // Asked again until it is applied.
            (205 + begin, yes, false, Due::Begin),
            (600, yes, true, Due::Nothing),
            (610, no, true, Due::At(second(610 + end))),
            (620, yes, true, Due::Nothing),
            (630, no, true, Due::At(second(630 + end))),
            (640, None, true, Due::Nothing),
            (650, no, true, Due::At(second(650 + end))),
            (650 + end, no, true, Due::End),
            (651 + end, no, false, Due::Nothing),
        ];
        let mut doubt = Doubt::default();
        for (at, seen, taken, due) in table {
            assert_eq!(doubt.step(seen, taken, second(at)), due, "{at} {seen:?} {taken}");
        }
    }
}
