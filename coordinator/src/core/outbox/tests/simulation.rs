//! Incidents open and end, requests fail in every way, answers and proposals get lost, senders die
//! and are rebuilt from what was committed. Each seed is one run; a failing one names itself.
//!
//! The receiver comes in two kinds: one that honours `Idempotency-Key` and one that does not. What
//! both believe in the end must be right.

use std::collections::BTreeMap;

use super::*;

/// SplitMix64: chance from a seed, without a random source.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to less than `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A message that reached the contact.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) arrived: i64,
    pub(super) key: String,
    pub(super) kind: PageKind,
}

struct World {
    dice: Dice,
    incidents: BTreeMap<String, Incident>,
    outbox: Outbox,
    /// Sent, and their end is not known yet: (when it ends, key, report).
    flights: Vec<(i64, String, Report)>,
    messages: Vec<Message>,
    now: i64,
    /// Nothing fails any more.
    calm: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            incidents: BTreeMap::new(),
            outbox: leading(),
            flights: vec![],
            messages: vec![],
            now: 0,
            calm: false,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        !self.calm && self.dice.below(100) < percent
    }

    fn step(&mut self) {
        self.now += 1;
        if self.chance(10) {
            let uid = format!("i{:04}", self.now);
            let incident = opened(&uid, &["a", "b"], self.now);
            self.outbox.put(&incident, Origin::Applied);
            self.incidents.insert(uid, incident);
        }
        if self.chance(15) {
            self.resolve_one();
        }
        if self.chance(4) {
            self.restart();
        }
        for send in self.outbox.ready(at(self.now)) {
            self.deliver(send);
        }
        let (ended, flying) =
            std::mem::take(&mut self.flights).into_iter().partition(|(at, _, _)| *at <= self.now);
        self.flights = flying;
        let ended: Vec<(i64, String, Report)> = ended;
        for (_, key, report) in ended {
            let jitter = self.dice.below(1_000) as f64 / 1_000.0;
            self.outbox.finished(&key, report, at(self.now), jitter);
        }
        for update in self.outbox.drafts() {
            let lost = self.chance(20);
            if lost {
                self.outbox.lost(&update);
                continue;
            }
            let uid = update.idempotency_key.split(':').next().unwrap_or_default().to_owned();
            let incident = self.incidents.get_mut(&uid).unwrap();
            note(incident, &update, at(self.now));
            self.outbox.put(incident, Origin::Applied);
        }
    }

    fn resolve_one(&mut self) {
        let open: Vec<String> = self
            .incidents
            .values()
            .filter(|incident| incident.resolved_at.is_none())
            .map(|incident| incident.uid.clone())
            .collect();
        if open.is_empty() {
            return;
        }
        let uid = &open[self.dice.below(open.len() as u64) as usize];
        let incident = self.incidents.get_mut(uid).unwrap();
        end(incident, self.now);
        self.outbox.put(incident, Origin::Applied);
    }

    /// The process dies: what was not committed is gone, what was in flight goes its way.
    fn restart(&mut self) {
        self.flights.clear();
        self.outbox = leading();
        for incident in self.incidents.values() {
            self.outbox.put(incident, Origin::Loaded(at(self.now)));
        }
    }

    fn deliver(&mut self, send: Send) {
        let dice = if self.calm { 0 } else { self.dice.below(10) };
        // A request without an answer may arrive up to 30 s late, or never.
        let (arrives, report) = match dice {
            0..=3 => (Some(0), ok()),
            4 => (None, status(500)),
            5 => (None, Report::NotSent("refused".into())),
            6 => (Some(0), Report::Ambiguous("reset".into())),
            7 => (Some(1 + self.dice.below(29) as i64), Report::Ambiguous("timeout".into())),
            8 => (None, Report::Ambiguous("reset".into())),
            _ => (None, status(429)),
        };
        if let Some(late) = arrives {
            let arrived = self.now + late;
            self.messages.push(Message { arrived, key: send.key.clone(), kind: send.kind });
        }
        let took = if self.calm { 0 } else { self.dice.below(4) as i64 };
        self.flights.push((self.now + took, send.key, report));
    }
}

fn ends(kind: PageKind) -> bool {
    matches!(kind, PageKind::Resolved | PageKind::Combined)
}

/// What every run must come to. `given_up`: contacts that nobody reaches.
pub(super) fn check(
    incidents: &BTreeMap<String, Incident>,
    messages: &[Message],
    given_up: &[&str],
    seed: u64,
) {
    for incident in incidents.values() {
        for contact in ["a", "b"] {
            let pair = format!("{}:{contact}:", incident.uid);
            let mut got: Vec<&Message> =
                messages.iter().filter(|m| m.key.starts_with(&pair)).collect();
            got.sort_by_key(|message| message.arrived);
            let story = format!("seed {seed}, {pair} {got:#?}");

            if given_up.contains(&contact) {
                assert!(got.is_empty(), "{story}");
                continue;
            }
            // Delivered at least once.
            assert!(got.iter().any(|m| !matches!(m.kind, PageKind::Resolved)), "{story}");
            // A key is a page: an opening (or both at once), an end, the end again.
            for message in &got {
                match message.key.strip_prefix(&pair) {
                    Some("opened") => assert_ne!(message.kind, PageKind::Resolved, "{story}"),
                    Some("resolved" | "resolved/again") => {
                        assert_eq!(message.kind, PageKind::Resolved, "{story}");
                    }
                    other => panic!("{other:?}: {story}"),
                }
            }
            // Nothing ends that did not begin.
            assert_ne!(got[0].kind, PageKind::Resolved, "{story}");
            if incident.resolved_at.is_none() {
                assert!(got.iter().all(|m| m.kind == PageKind::Opened), "{story}");
                continue;
            }
            // Without regard to keys, the last word is the end.
            assert!(ends(got[got.len() - 1].kind), "{story}");
            // With regard to keys, too.
            let mut seen = BTreeSet::new();
            let first: Vec<_> = got.iter().filter(|m| seen.insert(&m.key)).collect();
            assert!(first.iter().any(|m| ends(m.kind)), "{story}");
            assert!(ends(first[first.len() - 1].kind), "{story}");
        }
    }
}

#[test]
fn whatever_fails_every_page_arrives_and_the_last_word_is_right() {
    let (mut combined, mut again, mut messages) = (0, 0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        world.calm = true;
        for _ in 0..900 {
            world.step();
            if world.outbox.depth() == (0, 0) {
                break;
            }
        }
        assert_eq!(world.outbox.depth(), (0, 0), "seed {seed} does not come to rest");
        check(&world.incidents, &world.messages, &[], seed);
        combined += world.messages.iter().filter(|m| m.kind == PageKind::Combined).count();
        again += world.messages.iter().filter(|m| m.key.ends_with("/again")).count();
        messages += world.messages.len();
    }
    // The runs reached what they are there for.
    assert!(messages > 10_000 && combined > 100 && again > 1_000, "{messages} {combined} {again}");
}
