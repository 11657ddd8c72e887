//! Contacts that nobody reaches for a while, and what they hear afterwards, in which order.

use std::collections::BTreeMap;

use parallax_common::limits::{BREAKER_TRIAL_EVERY, LINE_TRIES_MAX, PAGE_TIMEOUT};
use parallax_common::rate::Rate;

use super::simulation::Dice;
use super::*;

/// Seconds that an attempt takes that hangs.
const HANGS: i64 = PAGE_TIMEOUT.as_secs() as i64;

/// Members with an outbox each over one log that everybody hears of at once.
struct Mesh {
    dice: Dice,
    leader: u64,
    outboxes: BTreeMap<u64, Outbox>,
    incidents: BTreeMap<String, Incident>,
    breaker: Breaker,
    /// (when it ends, member, key, report)
    flights: Vec<(i64, u64, String, Report)>,
    /// Incidents as the contact heard of them, and when.
    heard: Vec<(i64, String)>,
    now: i64,
    /// Most attempts under way at once since it was last set to 0.
    at_once: usize,
}

impl Mesh {
    fn new(members: u64, seed: u64) -> Self {
        let ids = 1..=members;
        let mut mesh = Self {
            dice: Dice(seed),
            leader: ME,
            outboxes: ids.clone().map(|id| (id, Outbox::new(id))).collect(),
            incidents: BTreeMap::new(),
            breaker: Breaker::default(),
            flights: vec![],
            heard: vec![],
            now: 0,
            at_once: 0,
        };
        for (id, outbox) in &mut mesh.outboxes {
            let all: BTreeSet<u64> = ids.clone().collect();
            outbox.members(Members { leader: Some(ME), voters: all.clone(), heard: all });
            outbox.lead(*id == mesh.leader);
        }
        mesh
    }

    /// Writes the opening of an incident, named by its number.
    fn opens(&mut self, number: usize) {
        let incident = opened(&format!("i{number:03}"), &["a"], self.now);
        self.put(incident);
    }

    fn put(&mut self, incident: Incident) {
        for outbox in self.outboxes.values_mut() {
            outbox.standing("a", self.breaker);
            outbox.put(&incident, Origin::Applied);
        }
        self.incidents.insert(incident.uid.clone(), incident);
    }

    fn commit(&mut self, by: u64, update: &PageUpdate) {
        let uid = intents::incident_of(&update.idempotency_key);
        let before = self.incidents[uid].clone();
        let mut incident = before.clone();
        let now = at(self.now);
        let page = before.deliveries.iter().find(|it| it.idempotency_key == update.idempotency_key);
        self.breaker = self.breaker.after(page.unwrap(), update, now);
        if intents::update(&mut incident, update, now) {
            intents::note_attempt(&mut incident, &before, update, now);
            self.put(incident);
        }
        self.outboxes.get_mut(&by).unwrap().committed(update);
    }

    /// One second, in which everything goes that may: `answer` says how long an attempt takes and how it ends.
    fn second(&mut self, answer: &mut impl FnMut(i64, u64, &str) -> (i64, Report)) {
        self.now += 1;
        let now = self.now;
        loop {
            let mut moved = false;
            for id in self.outboxes.keys().copied().collect::<Vec<_>>() {
                let outbox = self.outboxes.get_mut(&id).unwrap();
                outbox.overdue(at(now));
                let asked = outbox.wake_at().is_some_and(|due| due <= at(now));
                let sends = outbox.ready(at(now));
                assert!(asked || sends.is_empty(), "nobody would have asked at {now}");
                assert!(!asked || !sends.is_empty(), "asked for nothing at {now}");
                for send in sends {
                    let page = &self.incidents[&send.incident];
                    assert!(may_send(page, &send, id));
                    let (took, report) = answer(now, id, &send.incident);
                    if matches!(report, Report::Answered { status: 200, .. }) {
                        self.heard.push((now, send.incident));
                    }
                    self.flights.push((now + took, id, send.key, report));
                    moved = true;
                }
                self.at_once = self.at_once.max(self.flights.len());
                let flights = std::mem::take(&mut self.flights);
                let (ended, flying) = flights.into_iter().partition(|(end, ..)| *end <= now);
                self.flights = flying;
                let ended: Vec<(i64, u64, String, Report)> = ended;
                for (_, id, key, report) in ended {
                    let jitter = self.dice.below(1_000) as f64 / 1_000.0;
                    let outbox = self.outboxes.get_mut(&id).unwrap();
                    outbox.finished(&key, report, at(now), jitter);
                    moved = true;
                }
                for update in self.outboxes.get_mut(&id).unwrap().drafts() {
                    self.commit(id, &update);
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Incidents that were told after one that was written later.
    fn overtaken(&self) -> usize {
        let mut last = "";
        let mut overtaken = 0;
        for (_, uid) in &self.heard {
            overtaken += usize::from(uid.as_str() < last);
            last = last.max(uid.as_str());
        }
        overtaken
    }

    fn told(&self) -> usize {
        self.heard.len()
    }
}

/// A hole of so many seconds, with an incident every 2 s until 10 s after its end. How many, overtaken, told how long after.
fn hole(members: u64, lasts: i64, seed: u64) -> (usize, usize, i64) {
    let mut mesh = Mesh::new(members, seed);
    let no_connection = mesh.dice.below(2) == 0;
    let mut answer = |now: i64, _: u64, _: &str| match now < lasts {
        true if no_connection => (HANGS, Report::NotSent("no connection".into())),
        true => (HANGS, Report::Ambiguous("no answer".into())),
        false => (0, ok()),
    };
    let mut written = 0;
    while mesh.now < lasts + 10 {
        if mesh.now % 2 == 0 {
            mesh.opens(written);
            written += 1;
        }
        mesh.second(&mut answer);
    }
    while mesh.told() < written {
        assert!(mesh.now < lasts + 300, "seed {seed}: {} of {written}", mesh.told());
        mesh.second(&mut answer);
    }
    let ids: BTreeSet<&String> = mesh.heard.iter().map(|(_, uid)| uid).collect();
    assert_eq!(ids.len(), mesh.told(), "nothing is told twice");
    (written, mesh.overtaken(), mesh.heard.last().unwrap().0 - lasts)
}

#[test]
fn after_a_hole_a_contact_hears_what_it_missed_in_order_whoever_sends() {
    for members in [1, 3] {
        let mut overtaken_in_long_ones = 0;
        for seed in 0..30 {
            let (written, overtaken, _) = hole(members, 45, seed);
            assert_eq!((written, overtaken), (28, 0), "{members} members, seed {seed}");
            let (written, overtaken, after) = hole(members, 560 + seed as i64 * 3, seed);
            assert!(written > 280 && overtaken <= 1, "{overtaken}: {members} members, seed {seed}");
            let trial = BREAKER_TRIAL_EVERY.as_secs() as i64 + HANGS;
            assert!(after <= trial + 1, "{after} s: {members} members, seed {seed}");
            overtaken_in_long_ones += overtaken;
        }
        // The hole may end as one passes over the first.
        assert!(overtaken_in_long_ones <= 10, "{overtaken_in_long_ones}");
    }
}

#[test]
fn a_contact_catches_up_as_fast_as_it_answers_and_one_at_a_time() {
    let mut mesh = Mesh::new(1, 1);
    for number in 0..100 {
        mesh.opens(number);
    }
    let mut hangs = |_: i64, _: u64, _: &str| (HANGS, Report::NotSent("no connection".into()));
    for _ in 0..60 {
        mesh.second(&mut hangs);
    }
    assert!(mesh.flights.len() <= 1, "{:?}", mesh.flights);
    let mut takes = |_: i64, _: u64, _: &str| (1, ok());
    while mesh.told() == 0 {
        mesh.second(&mut takes);
    }
    (mesh.at_once, mesh.heard) = (0, mesh.heard.split_off(mesh.heard.len() - 1));
    for _ in 0..99 {
        mesh.second(&mut takes);
    }
    assert_eq!((mesh.told(), mesh.at_once, mesh.overtaken()), (100, 1, 0));
    // Now it is as always: what comes goes at once.
    for number in 100..108 {
        mesh.opens(number);
    }
    mesh.second(&mut takes);
    mesh.second(&mut takes);
    assert_eq!((mesh.told(), mesh.at_once), (108, 8));
}

#[test]
fn a_page_that_hangs_its_receiver_holds_the_others_for_three_minutes_once() {
    let mut mesh = Mesh::new(1, 1);
    let mut answer = |_: i64, _: u64, incident: &str| match incident {
        "i000" => (HANGS, Report::Ambiguous("no answer".into())),
        _ => (0, ok()),
    };
    mesh.opens(0);
    for _ in 0..12 {
        mesh.second(&mut answer);
    }
    for number in 1..20 {
        mesh.opens(number);
    }
    while mesh.told() < 19 {
        mesh.second(&mut answer);
    }
    assert!(mesh.now < 200, "{}", mesh.now);
    // From now on it holds nobody, also when its turn has come.
    for number in 20..400 {
        mesh.opens(number);
        mesh.second(&mut answer);
        mesh.second(&mut answer);
        assert!(mesh.heard.last().unwrap().1 == format!("i{number:03}"), "{number}");
    }
    assert!(mesh.incidents["i000"].deliveries[0].attempts > LINE_TRIES_MAX as u32 + 1);
}

#[test]
fn what_is_refused_by_an_answer_holds_nobody() {
    let mut mesh = Mesh::new(1, 1);
    for number in 0..6 {
        mesh.opens(number);
    }
    let mut hangs = |_: i64, _: u64, _: &str| (HANGS, Report::NotSent("no connection".into()));
    for _ in 0..60 {
        mesh.second(&mut hangs);
    }
    let mut answer = |now: i64, _: u64, incident: &str| match incident {
        "i000" if now < 200 => (0, status(503)),
        "i002" => (0, status(400)),
        _ => (0, ok()),
    };
    while mesh.now < 600 {
        mesh.second(&mut answer);
    }
    let heard: Vec<&str> = mesh.heard.iter().map(|(_, uid)| uid.as_str()).collect();
    assert_eq!(heard, ["i001", "i003", "i004", "i005", "i000"]);
    assert!(mesh.heard[3].0 <= 60 + 60 + HANGS, "{:?}", mesh.heard);
}

#[test]
fn nothing_goes_before_its_turn_or_the_end_again_before_its_minute() {
    let mut mesh = Mesh::new(1, 1);
    mesh.opens(0);
    let rate = Rate::parse("1/m").unwrap();
    let mut until = at(0);
    for number in 1..4 {
        let mut incident = opened(&format!("i{number:03}"), &["a"], 0);
        let (turn, next) = pace::turn(rate, until, at(0));
        until = next;
        intents::pace(&mut incident.deliveries[0], turn, at(0));
        mesh.put(incident);
    }
    let mut answer = |now: i64, _: u64, _: &str| match now < 30 {
        true => (1, Report::NotSent("no connection".into())),
        false => (0, ok()),
    };
    while mesh.told() < 4 {
        mesh.second(&mut answer);
    }
    let when: Vec<i64> = mesh.heard.iter().map(|(when, _)| *when).collect();
    assert!(when[0] == when[1] && when[1] < 60, "{when:?}");
    assert_eq!((when[2], when[3]), (60, 120));
}

#[test]
fn a_leader_without_a_way_passes_the_whole_line_on_without_doubt() {
    let mut mesh = Mesh::new(3, 1);
    for number in 0..50 {
        mesh.opens(number);
    }
    let mut answer = |_: i64, id: u64, _: &str| match id {
        ME => (0, Report::NotSent("no route".into())),
        _ => (0, ok()),
    };
    while mesh.told() < 50 {
        assert!(mesh.now < 10, "{} told", mesh.told());
        mesh.second(&mut answer);
    }
    assert_eq!(mesh.overtaken(), 0);
    let pages = || mesh.incidents.values().flat_map(|incident| &incident.deliveries);
    assert!(pages().all(|page| !page.ambiguous), "nobody hears anything again");
    let tried = pages().filter(|page| page.attempts > 1).count();
    assert!(tried <= PAGES_PER_CONTACT_MAX, "the others are tried where there is a way: {tried}");
}

#[test]
fn a_holder_that_is_gone_holds_the_line_for_half_a_minute() {
    let mut mesh = Mesh::new(3, 1);
    let mut first = opened("i000", &["a"], 0);
    first.deliveries[0].claimed_by = OTHER;
    mesh.put(first);
    mesh.opens(1);
    mesh.outboxes.remove(&OTHER);
    mesh.breaker = failing(BREAKER_FAILURES, at(0));
    let first = mesh.incidents["i000"].clone();
    mesh.put(first);
    let mut answer = |_: i64, _: u64, _: &str| (0, ok());
    while mesh.told() < 2 {
        assert!(mesh.now < 200);
        mesh.second(&mut answer);
    }
    assert_eq!(mesh.overtaken(), 0);
    // 30 s to the trial, a minute for it, and up to twice the time in which a holder is to answer.
    assert!(mesh.now <= 30 + 60 + 30, "{}", mesh.now);
}
