//! A member that has just taken office says that nothing is known, or that something is over or better,
//! only when everybody who is to look has spoken to it.

use std::collections::BTreeMap;

use parallax_common::limits::START_GRACE;
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parallax_proto::store::VerdictAction;
use parallax_proto::v1::Verdict;

use super::Invariant;
use crate::seen::{Decided, Seen};

/// The grace is measured from a moment after the one that is seen, or from that one.
const MARGIN_MS: u128 = 500;

/// One look at what a member hears: its mesh time, and by check the lives that are to look at it and
/// that it does not hear at all.
type Look = (MeshTime, BTreeMap<Uid, Vec<u64>>);

/// What is looked at again when it is seen what its maker heard next.
struct Waiting {
    index: u64,
    by: u64,
    before: Verdict,
    change: Decided,
}

/// A time in office.
struct Office {
    /// By its own clock.
    since: MeshTime,
    looks: Vec<Look>,
    /// Whose sessions began, and when: they may have ended before the next look.
    heard: Vec<(MeshTime, u64)>,
}

/// By member: what it heard since it leads.
#[derive(Default)]
pub struct Grace {
    newest: u64,
    offices: BTreeMap<u64, Office>,
    said: BTreeMap<Uid, Verdict>,
    waiting: Vec<Waiting>,
}

fn badness(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Degraded => 1,
        Verdict::Down => 2,
        _ => 0,
    }
}

impl Grace {
    /// A life that was not heard when this was decided: in the last look before it and in the first
    /// after, which is the last of all, nor by a session that began since the one before.
    fn unheard(&self, by: u64, change: &Decided) -> Option<u64> {
        let Office { since, looks, heard } = self.offices.get(&by)?;
        let at = change.decided?;
        let length = START_GRACE.as_millis() - MARGIN_MS;
        if at < *since || at.since(*since).as_millis() >= length {
            return None;
        }
        // A look at that very instant may have come first or last: it says nothing.
        let before = looks.iter().rfind(|(look, _)| *look < at)?;
        let after = looks.iter().find(|(look, _)| *look > at)?;
        let began = |life: u64| {
            heard.iter().any(|(when, whose)| *whose == life && before.0 <= *when && *when <= at)
        };
        let (before, after) = (before.1.get(&change.check)?, after.1.get(&change.check)?);
        before.iter().find(|life| after.contains(life) && !began(**life)).copied()
    }

    fn judge(&self, waiting: &Waiting) -> Result<(), String> {
        let Waiting { index, by, before, change } = waiting;
        match self.unheard(*by, change) {
            Some(life) => Err(format!(
                "entry {index}: member {by} has just taken office, has not heard {life:016x}, and says \
                 {:?} of {} after {before:?}",
                change.verdict, change.check
            )),
            None => Ok(()),
        }
    }
}

impl Invariant for Grace {
    fn name(&self) -> &'static str {
        "a new leader waits for what it has not heard"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Leads { node, mesh, .. } => {
                let office = Office { since: *mesh, looks: Vec::new(), heard: Vec::new() };
                self.offices.insert(*node, office);
                self.waiting.retain(|waiting| waiting.by != *node);
            }
            Seen::Heard { node, mesh, life } => {
                let office = self.offices.get_mut(node);
                let office = office
                    .filter(|it| *mesh >= it.since && mesh.since(it.since) <= 2 * START_GRACE);
                if let Some(office) = office {
                    office.heard.push((*mesh, *life));
                }
            }
            Seen::Started { node, .. } => {
                self.offices.remove(node);
                self.waiting.retain(|waiting| waiting.by != *node);
            }
            Seen::Watched { node, mesh, checks, .. } => {
                let Some(office) = self.offices.get_mut(node) else { return Ok(()) };
                // What is decided now is committed a few seconds later at most.
                if *mesh >= office.since && mesh.since(office.since) <= 2 * START_GRACE {
                    let unheard = checks.iter().map(|it| (it.check, it.unheard.clone()));
                    office.looks.push((*mesh, unheard.collect()));
                }
                let due = |it: &mut Waiting| it.by == *node && it.change.decided < Some(*mesh);
                let due: Vec<Waiting> = self.waiting.extract_if(.., due).collect();
                due.iter().try_for_each(|waiting| self.judge(waiting))?;
            }
            Seen::Decided { index, by, changes } if *index > self.newest => {
                self.newest = *index;
                for change in changes {
                    let before = self.said.insert(change.check, change.verdict);
                    let before = before.unwrap_or(Verdict::Unknown);
                    let is_better = badness(change.verdict) < badness(before);
                    let is_lost = change.verdict == Verdict::Unknown && before != Verdict::Unknown;
                    if is_better || is_lost || change.action == VerdictAction::Resolve {
                        let (index, by, change) = (*index, *by, change.clone());
                        self.waiting.push(Waiting { index, by, before, change });
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::v1::DecisionRecord;

    use super::*;
    use crate::seen::Watched;

    const LIFE: u64 = 7;

    fn ms(ms: i64) -> MeshTime {
        MeshTime::from_ns(ms * 1_000_000)
    }

    fn check() -> Uid {
        Uid::from_bytes([1; 16])
    }

    fn watched(at_ms: i64, unheard: &[u64]) -> Seen {
        let check = Watched {
            check: check(),
            etag: 1,
            regions: 3,
            is_open: false,
            is_latched: false,
            telling: Vec::new(),
            blank: Vec::new(),
            failing: Vec::new(),
            unheard: unheard.to_vec(),
        };
        Seen::Watched {
            now_us: 0,
            node: 1,
            term: 1,
            mesh: ms(at_ms),
            leads: true,
            commits: true,
            checks: vec![check],
        }
    }

    fn decided(index: u64, at_ms: i64, verdict: Verdict) -> Seen {
        let change = Decided {
            check: check(),
            etag: 1,
            digest: 1,
            expected: 0,
            sequence: 1,
            action: VerdictAction::Set,
            verdict,
            by_stale: false,
            decided: Some(ms(at_ms)),
            record: DecisionRecord::default(),
        };
        Seen::Decided { index, by: 1, changes: vec![change] }
    }

    #[test]
    fn a_new_leader_says_what_is_worse_at_once_and_the_rest_once_all_have_spoken() {
        use Verdict::{Degraded, Down, Unknown, Up};
        let silent: &[u64] = &[LIFE];
        for (name, before, at_ms, after, looks, good) in [
            ("what is worse", Up, 500, Down, [silent, silent], true),
            ("what is better", Down, 500, Degraded, [silent, silent], false),
            ("that nothing is known", Up, 500, Unknown, [silent, silent], false),
            ("all have spoken", Down, 500, Up, [&[], &[]], true),
            ("it is heard by then", Down, 500, Up, [silent, &[]], true),
            ("another one is silent by then", Down, 500, Up, [silent, &[8]], true),
            ("the grace is over", Down, 10_500, Up, [silent, silent], true),
        ] {
            let mut grace = Grace::default();
            let all = [
                decided(1, -5_000, before),
                Seen::Leads { node: 1, term: 2, applied: 1, mesh: ms(0) },
                watched(at_ms - 100, looks[0]),
                decided(2, at_ms, after),
                watched(at_ms + 100, looks[1]),
            ];
            let seen = all.iter().try_for_each(|seen| grace.see(seen));
            assert_eq!(seen.is_ok(), good, "{name}: {seen:?}");
        }
    }

    #[test]
    fn a_session_between_two_looks_is_heard_from_its_beginning_on() {
        let silent: &[u64] = &[LIFE];
        for (name, life, began_ms, good) in [
            ("before the decision", LIFE, 450, true),
            ("after it", LIFE, 550, false),
            ("before the look at which it was silent", LIFE, 350, false),
            ("another one", 8, 450, false),
        ] {
            let mut grace = Grace::default();
            let all = [
                decided(1, -5_000, Verdict::Down),
                Seen::Leads { node: 1, term: 2, applied: 1, mesh: ms(0) },
                Seen::Heard { node: 1, mesh: ms(began_ms), life },
                watched(400, silent),
                decided(2, 500, Verdict::Up),
                watched(600, silent),
            ];
            let seen = all.iter().try_for_each(|seen| grace.see(seen));
            assert_eq!(seen.is_ok(), good, "{name}: {seen:?}");
        }
    }

    #[test]
    fn a_look_at_the_instant_of_a_decision_is_neither_before_it_nor_after_it() {
        let silent: &[u64] = &[LIFE];
        // Heard until then, and closed within that instant: what waited came all at once.
        for (name, earlier, good) in
            [("heard before", &[][..], true), ("never heard", silent, false)]
        {
            let mut grace = Grace::default();
            let all = [
                decided(1, -5_000, Verdict::Down),
                Seen::Leads { node: 1, term: 2, applied: 1, mesh: ms(0) },
                watched(250, earlier),
                watched(500, silent),
                decided(2, 500, Verdict::Up),
                watched(750, silent),
            ];
            let seen = all.iter().try_for_each(|seen| grace.see(seen));
            assert_eq!(seen.is_ok(), good, "{name}: {seen:?}");
        }
    }
}
