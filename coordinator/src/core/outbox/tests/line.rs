//! Contacts that nobody reaches for a while, and what they hear afterwards, in which order.

use std::collections::BTreeMap;

use parallax_common::limits::{
    BREAKER_TRIAL_EVERY, LINE_LOOKED_AT_MAX, LINE_TRIES_MAX, PAGE_TIMEOUT, PAGE_UNREACHED_MAX,
};
use parallax_common::rate::Rate;
use parallax_proto::v1::{AttemptResult, DeliveryAttempt};

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
        let mut incident = opened(&format!("i{number:03}"), &["a"], self.now);
        incident.deliveries[0].claimed_by = self.leader;
        self.put(incident);
    }

    /// Another member leads.
    fn elects(&mut self, leader: u64) {
        self.leader = leader;
        let all: BTreeSet<u64> = self.outboxes.keys().copied().collect();
        for (id, outbox) in &mut self.outboxes {
            let (voters, heard) = (all.clone(), all.clone());
            outbox.members(Members { leader: Some(leader), voters, heard });
            outbox.lead(*id == leader);
        }
    }

    /// A member that does not lead begins anew with what stands in the state.
    fn restart(&mut self, id: u64) {
        self.flights.retain(|(_, by, ..)| *by != id);
        let mut outbox = Outbox::new(id);
        let all: BTreeSet<u64> = self.outboxes.keys().copied().collect();
        outbox.members(Members { leader: Some(ME), voters: all.clone(), heard: all });
        outbox.standing("a", self.breaker);
        for incident in self.incidents.values() {
            outbox.put(incident, Origin::Loaded(at(self.now)));
        }
        self.outboxes.insert(id, outbox);
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

/// Incidents behind some whose pages hang their receiver for so many seconds; it takes all others.
struct Hanging {
    mesh: Mesh,
    timeout: i64,
    hanging: usize,
    written: usize,
}

impl Hanging {
    fn new(members: u64, timeout: i64, seed: u64) -> Self {
        let mut mesh = Mesh::new(members, seed);
        mesh.opens(0);
        Self { mesh, timeout, hanging: 1, written: 1 }
    }

    fn opens(&mut self, pages: usize) {
        for _ in 0..pages {
            self.mesh.opens(self.written);
            self.written += 1;
        }
    }

    fn seconds(&mut self, seconds: i64) {
        let (timeout, hanging) = (self.timeout, format!("i{:03}", self.hanging));
        let mut answer = |_: i64, _: u64, incident: &str| match incident < hanging.as_str() {
            true => (timeout, Report::Ambiguous("no answer".into())),
            false => (0, ok()),
        };
        for _ in 0..seconds {
            self.mesh.second(&mut answer);
        }
    }

    /// Until all but those that hang are told: the seconds that took, at most `limit`.
    fn all_told(&mut self, limit: i64) -> Option<i64> {
        let from = self.mesh.now;
        while self.mesh.told() < self.written - self.hanging {
            if self.mesh.now - from >= limit {
                return None;
            }
            self.seconds(1);
        }
        Some(self.mesh.now - from)
    }

    /// How long the others are held, the attempts until one passes over the first and the one after it, with
    /// the wait before each.
    fn held(&self) -> i64 {
        (LINE_TRIES_MAX as i64 + 1) * (BREAKER_TRIAL_EVERY.as_secs() as i64 + self.timeout)
    }
}

const TIMEOUTS: [i64; 5] = [2, 5, 8, 10, 12];

#[test]
fn a_page_that_hangs_its_receiver_holds_the_others_for_a_few_minutes_once() {
    for (members, timeout) in [1, 3, 5].into_iter().flat_map(|n| TIMEOUTS.map(|t| (n, t))) {
        for seed in 0..10 {
            let story = format!("{members} members, {timeout} s, seed {seed}");
            let mut it = Hanging::new(members, timeout, seed);
            it.seconds(12);
            it.opens(19);
            let held = it.all_told(3_600);
            assert!(held.is_some_and(|held| held <= it.held()), "{held:?}: {story}");
            // A long attempt may have begun before the others were written: then it holds those after them.
            let mut waited = [0, 0];
            for page in 0..400 {
                it.opens(1);
                waited[page / 200] += it.all_told(it.held()).expect(&story) - 1;
                it.seconds(1);
            }
            let held = held.unwrap_or_default();
            assert!(held + waited[0] <= it.held(), "{held} s, {waited:?}: {story}");
            // From now on it holds nobody, also when its turn has come.
            assert_eq!(waited[1], 0, "{story}");
            let attempts = it.mesh.incidents["i000"].deliveries[0].attempts;
            assert!(attempts > LINE_TRIES_MAX as u32 + 1, "{attempts}: {story}");
        }
    }
}

#[test]
fn what_is_written_long_after_a_page_that_hangs_is_held_no_longer_whoever_holds_it() {
    for (members, timeout) in [1, 3, 5].into_iter().flat_map(|n| TIMEOUTS.map(|t| (n, t))) {
        for seed in 0..4 {
            let story = format!("{members} members, {timeout} s, seed {seed}");
            let mut it = Hanging::new(members, timeout, seed);
            it.seconds(3_600);
            for holder in 1..=members {
                it.mesh.leader = holder;
                it.opens(2);
            }
            let held = it.all_told(7_200);
            assert!(held.is_some_and(|held| held <= it.held()), "{held:?}: {story}");
        }
    }
}

#[test]
fn what_stands_aside_on_some_members_only_holds_the_others_no_longer() {
    for timeout in TIMEOUTS {
        for seed in 0..10 {
            let story = format!("{timeout} s, seed {seed}");
            let mut it = Hanging::new(3, timeout, seed);
            it.opens(6);
            it.all_told(3_600).expect(&story);
            it.seconds(seed as i64 * 7);
            // Two have another life, and have seen nothing of it.
            for id in [OTHER, 3] {
                it.mesh.restart(id);
            }
            for holder in [3, OTHER, ME, OTHER, 3] {
                it.mesh.leader = holder;
                it.opens(2);
            }
            let held = it.all_told(3_600);
            assert!(held.is_some_and(|held| held <= it.held()), "{held:?}: {story}");
        }
    }
}

#[test]
fn a_line_goes_on_under_another_leader() {
    for (members, timeout) in [3, 5].into_iter().flat_map(|n| TIMEOUTS.map(|t| (n, t))) {
        for seed in 0..10 {
            let story = format!("{members} members, {timeout} s, seed {seed}");
            let mut it = Hanging::new(members, timeout, seed);
            it.opens(6);
            it.seconds(20 + seed as i64 * 13);
            it.mesh.elects(1 + seed % members);
            it.opens(6);
            it.seconds(25);
            it.mesh.elects(2);
            let held = it.all_told(3_600);
            assert!(held.is_some_and(|held| held <= it.held()), "{held:?}: {story}");
        }
    }
}

#[test]
fn several_pages_that_hang_are_passed_over_one_after_the_other() {
    for (members, timeout) in [1, 3, 5].into_iter().flat_map(|n| TIMEOUTS.map(|t| (n, t))) {
        for seed in 0..10 {
            let story = format!("{members} members, {timeout} s, seed {seed}");
            let mut it = Hanging::new(members, timeout, seed);
            it.hanging = 3;
            for page in 1..10 {
                it.mesh.leader = 1 + (page + seed) % members;
                it.opens(1);
                it.seconds((seed % 3) as i64 * 7);
            }
            let held = it.all_told(7_200);
            assert!(held.is_some_and(|held| held <= 4 * it.held()), "{held:?}: {story}");
        }
    }
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
fn a_leader_without_a_way_passes_the_whole_line_on() {
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
    // It had given one up. What follows that one may have begun before it is known where it goes.
    for page in pages().filter(|page| page.handed_over > 0) {
        let given_up = page.attempts > PAGE_UNREACHED_MAX;
        assert_eq!(page.ambiguous, !given_up, "{page:?}");
    }
    assert!(pages().filter(|page| page.ambiguous).count() > 40, "the others follow");
    let tried = pages().filter(|page| page.attempts > 1).count();
    assert!(tried <= PAGES_PER_CONTACT_MAX, "the others are tried where there is a way: {tried}");
}

/// An opening with one attempt that ended so at this second, and may be tried again at that one.
fn tried(number: usize, result: AttemptResult, seconds: i64, next: i64) -> Incident {
    let mut incident = opened(&format!("i{number:03}"), &["a"], 0);
    let page = &mut incident.deliveries[0];
    (page.attempts, page.next_attempt_at) = (1, Some(stamp::timestamp(at(next))));
    let when = Some(stamp::timestamp(at(seconds)));
    page.history =
        vec![DeliveryAttempt { at: when, result: result.into(), ..DeliveryAttempt::default() }];
    incident
}

#[test]
fn a_holder_that_is_gone_holds_the_line_for_half_a_minute_or_one_while_its_contact_is_failing() {
    // 30 s to the trial, 12 s for it, and the time in which a holder is to answer.
    for (failures, told_in) in [(1, 16..=31), (BREAKER_FAILURES, 43..=58)] {
        let mut mesh = Mesh::new(3, 1);
        mesh.breaker = failing(failures, at(1));
        mesh.now = 1;
        let mut first = tried(0, AttemptResult::Unanswered, 1, 2);
        first.deliveries[0].claimed_by = OTHER;
        mesh.put(first);
        mesh.opens(1);
        mesh.outboxes.remove(&OTHER);
        let mut answer = |_: i64, _: u64, _: &str| (0, ok());
        while mesh.told() < 2 {
            assert!(mesh.now < 200);
            mesh.second(&mut answer);
        }
        assert_eq!(mesh.overtaken(), 0, "{failures}");
        assert!(told_in.contains(&mesh.now), "{failures}: {} s", mesh.now);
    }
}

#[test]
fn behind_too_many_that_wait_for_their_own_time_there_is_no_line() {
    for (refused, told) in [(LINE_LOOKED_AT_MAX - 1, 0), (LINE_LOOKED_AT_MAX, 1)] {
        let mut mesh = Mesh::new(1, 1);
        mesh.now = 1;
        for number in 0..refused {
            mesh.put(tried(number, AttemptResult::Refused, 1, 300));
        }
        mesh.put(tried(refused, AttemptResult::Unanswered, 1, 9));
        mesh.opens(refused + 1);
        mesh.second(&mut |_: i64, _: u64, _: &str| (0, ok()));
        assert_eq!(mesh.told(), told, "{refused}");
    }
}
