//! Three members with an outbox each over one log: leaders change, members die and come back, are
//! cut off and hear of things late, requests fail in every way, and some contacts can only be
//! reached from some members. Each seed is one run; a failing one names itself.

use super::simulation::{Dice, Message, check};
use super::*;

const IDS: [u64; 3] = [1, 2, 3];

/// What stands in the log, in order.
#[derive(Clone)]
enum Entry {
    Open(String),
    End(String, u64),
    Pages(PageUpdate),
}

/// One member: how far it has applied, and what it thinks.
struct Member {
    applied: usize,
    incidents: BTreeMap<String, Incident>,
    outbox: Outbox,
    alive: bool,
    cut: bool,
    leads: bool,
    /// Sent, and their end is not known yet: (when it ends, key, report).
    flights: Vec<(i64, String, Report)>,
}

impl Member {
    fn apply(&mut self, log: &[(i64, Entry)], upto: usize, origin: Origin) {
        while self.applied < upto.min(log.len()) {
            let (when, entry) = log[self.applied].clone();
            self.applied += 1;
            let uid = match &entry {
                Entry::Open(uid) | Entry::End(uid, _) => uid.clone(),
                Entry::Pages(update) => intents::incident_of(&update.idempotency_key).to_owned(),
            };
            // What changes nothing is told of nowhere.
            if apply(&mut self.incidents, when, &entry) {
                self.outbox.put(&self.incidents[&uid], origin);
            }
        }
    }
}

/// False: it changed nothing.
fn apply(incidents: &mut BTreeMap<String, Incident>, when: i64, entry: &Entry) -> bool {
    match entry {
        Entry::Open(uid) => {
            let (uid, leader) = uid.split_once('@').unwrap();
            let mut incident = Incident {
                uid: format!("{uid}@{leader}"),
                opened_at: Some(stamp::timestamp(at(when))),
                ..Default::default()
            };
            let contacts = [contact("a"), contact("b")];
            intents::open(&mut incident, &contacts, leader.parse().unwrap(), at(when));
            incidents.insert(incident.uid.clone(), incident);
            true
        }
        Entry::End(uid, leader) => {
            let incident = incidents.get_mut(uid).unwrap();
            if incident.resolved_at.is_none() {
                incident.resolved_at = Some(stamp::timestamp(at(when)));
                intents::resolve(incident, *leader, at(when));
            }
            true
        }
        Entry::Pages(update) => {
            let uid = intents::incident_of(&update.idempotency_key);
            note(incidents.get_mut(uid).unwrap(), update, at(when))
        }
    }
}

struct World {
    dice: Dice,
    log: Vec<(i64, Entry)>,
    /// The state at the end of the log.
    newest: BTreeMap<String, Incident>,
    members: BTreeMap<u64, Member>,
    leader: Option<u64>,
    /// Members that have a way to contact `b`; everybody reaches `a`, and nobody when it is empty.
    way: BTreeSet<u64>,
    messages: Vec<Message>,
    now: i64,
    calm: bool,
    hand_overs: usize,
    doubles: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let way = match dice.below(4) {
            0 => IDS.into(),
            n => [n].into(),
        };
        let member = |id: u64| Member {
            applied: 0,
            incidents: BTreeMap::new(),
            outbox: Outbox::new(id),
            alive: true,
            cut: false,
            leads: false,
            flights: vec![],
        };
        Self {
            dice,
            log: vec![],
            newest: BTreeMap::new(),
            members: IDS.map(|id| (id, member(id))).into(),
            leader: None,
            way,
            messages: vec![],
            now: 0,
            calm: false,
            hand_overs: 0,
            doubles: 0,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        !self.calm && self.dice.below(100) < percent
    }

    fn connected(&self, id: u64) -> bool {
        self.members[&id].alive && !self.members[&id].cut
    }

    /// Puts an entry into the log; its proposer must be connected to the leader.
    fn commit(&mut self, entry: Entry) {
        apply(&mut self.newest, self.now, &entry);
        self.log.push((self.now, entry));
    }

    fn step(&mut self) {
        self.now += 1;
        self.trouble();
        self.elect();
        if let Some(leader) = self.leader {
            if self.chance(8) {
                self.commit(Entry::Open(format!("i{:04}@{leader}", self.now)));
            }
            if self.chance(12) {
                self.end_one(leader);
            }
        }
        for id in IDS {
            if self.members[&id].alive {
                self.turn(id);
            }
        }
    }

    fn trouble(&mut self) {
        for id in IDS {
            let heals = self.dice.below(100) < 20 || self.calm;
            let member = self.members.get_mut(&id).unwrap();
            member.cut &= !heals;
            if !member.alive && heals {
                // What was in its log is loaded: an earlier life may have acted upon it.
                member.alive = true;
                member.applied = 0;
                member.incidents.clear();
                member.outbox = Outbox::new(id);
                member.leads = false;
                member.apply(&self.log, self.log.len(), Origin::Loaded(at(self.now)));
            }
            let others_are_well = IDS.iter().filter(|o| **o != id && self.connected(**o)).count();
            if others_are_well == 2 && self.chance(3) {
                let member = self.members.get_mut(&id).unwrap();
                // What is in flight goes its way, and nobody learns of it.
                member.alive = false;
                member.flights.clear();
            } else if others_are_well == 2 && self.chance(3) {
                self.members.get_mut(&id).unwrap().cut = true;
            }
        }
    }

    fn elect(&mut self) {
        let steps_down = self.leader.is_some_and(|leader| !self.connected(leader));
        if steps_down || self.chance(2) {
            self.leader = None;
        }
        if self.leader.is_none() {
            let well: Vec<u64> = IDS.into_iter().filter(|id| self.connected(*id)).collect();
            if well.len() >= 2 {
                self.leader = Some(well[self.dice.below(well.len() as u64) as usize]);
            }
        }
    }

    /// One member hears, sends, and says what came of it.
    fn turn(&mut self, id: u64) {
        let connected = self.connected(id);
        let upto = match connected {
            true if self.chance(30) => self.log.len().saturating_sub(3),
            true => self.log.len(),
            // Nothing new comes in.
            false => self.members[&id].applied,
        };
        let leads = self.leader == Some(id) && connected;
        let heard = IDS.into_iter().filter(|o| *o != id && connected && self.connected(*o));
        let heard: BTreeSet<u64> = heard.collect();
        let leader = self.leader.filter(|_| connected);
        let (log, now) = (&self.log, self.now);
        let member = self.members.get_mut(&id).unwrap();
        member.apply(log, upto, Origin::Applied);
        member.outbox.members(Members { leader, voters: IDS.into(), heard });
        if member.leads != leads {
            // In office it has applied all that was there before.
            member.apply(log, log.len(), Origin::Applied);
            member.leads = leads;
            member.outbox.lead(leads);
        }
        member.outbox.overdue(at(now));
        let due = member.outbox.wake_at().is_some_and(|due| due <= at(now));
        if due && connected && self.leader.is_some() {
            self.send(id);
        }
        let member = self.members.get_mut(&id).unwrap();
        let (ended, flying) =
            std::mem::take(&mut member.flights).into_iter().partition(|(at, _, _)| *at <= now);
        member.flights = flying;
        let ended: Vec<(i64, String, Report)> = ended;
        for (_, key, report) in ended {
            let jitter = self.dice.below(1_000) as f64 / 1_000.0;
            let outbox = &mut self.members.get_mut(&id).unwrap().outbox;
            outbox.finished(&key, report, at(now), jitter);
        }
        let drafts = self.members.get_mut(&id).unwrap().outbox.drafts();
        for update in drafts {
            let through = connected && self.leader.is_some() && !self.chance(15);
            // Also of what came through its proposer may hear nothing.
            if through {
                self.hand_overs += usize::from(update.claimed_by != 0);
                self.commit(Entry::Pages(update.clone()));
            }
            let unheard = self.chance(5);
            let outbox = &mut self.members.get_mut(&id).unwrap().outbox;
            match through && !unheard {
                true => outbox.committed(&update),
                false => outbox.lost(&update),
            }
        }
    }

    /// Confirmed by a quorum: all that is in the log is applied first.
    fn send(&mut self, id: u64) {
        let (log, now) = (&self.log, self.now);
        let member = self.members.get_mut(&id).unwrap();
        // The state is the newest; the outbox may not have been told all of it yet.
        let behind = self.dice.below(3) == 0 && !self.calm;
        if !behind {
            member.apply(log, log.len(), Origin::Applied);
        }
        let sends = member.outbox.ready(at(now));
        for send in sends {
            let newest = &self.newest[&send.incident];
            if !may_send(newest, &send, id) {
                self.members.get_mut(&id).unwrap().outbox.withdrawn(&send.key);
                continue;
            }
            // At most one sender with a valid claim: it is this one.
            let page = newest.deliveries.iter().find(|page| page.idempotency_key == send.key);
            assert_eq!(page.unwrap().claimed_by, id);
            let others = self.members.iter().filter(|(other, member)| {
                **other != id && member.flights.iter().any(|(_, key, _)| *key == send.key)
            });
            self.doubles += others.count();
            self.deliver(id, send);
        }
    }

    fn deliver(&mut self, id: u64, send: Send) {
        let reaches = send.contact == "a" || self.way.contains(&id);
        let dice = if self.calm { 0 } else { self.dice.below(10) };
        let (arrives, report) = match dice {
            _ if !reaches => (None, Report::NotSent("no route".into())),
            0..=4 => (Some(0), ok()),
            5 => (None, status(500)),
            6 => (None, Report::NotSent("refused".into())),
            7 => (Some(0), Report::Ambiguous("reset".into())),
            8 => (Some(1 + self.dice.below(29) as i64), Report::Ambiguous("timeout".into())),
            _ => (None, Report::Ambiguous("reset".into())),
        };
        if let Some(late) = arrives {
            let arrived = self.now + late;
            self.messages.push(Message { arrived, key: send.key.clone(), kind: send.kind });
        }
        // Some hang for longer than a holder is given.
        let took = match self.dice.below(10) {
            _ if self.calm => 0,
            0 => 25,
            n => n as i64 / 3,
        };
        self.members.get_mut(&id).unwrap().flights.push((self.now + took, send.key, report));
    }

    fn end_one(&mut self, leader: u64) {
        let open = self.newest.values().filter(|incident| incident.resolved_at.is_none());
        let open: Vec<String> = open.map(|incident| incident.uid.clone()).collect();
        if !open.is_empty() {
            let uid = open[self.dice.below(open.len() as u64) as usize].clone();
            self.commit(Entry::End(uid, leader));
        }
    }

    fn at_rest(&self) -> bool {
        self.members.values().all(|member| member.alive && member.outbox.depth() == (0, 0))
    }
}

#[test]
fn whoever_dies_is_cut_off_or_has_no_way_every_page_arrives_and_the_last_word_is_right() {
    let (mut messages, mut hand_overs, mut doubles, mut combined) = (0, 0, 0, 0);
    for seed in 0..100 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        world.calm = true;
        for _ in 0..2_000 {
            world.step();
            if world.at_rest() {
                break;
            }
        }
        let open: Vec<&Delivery> = world
            .newest
            .values()
            .flat_map(|incident| &incident.deliveries)
            .filter(|page| page.state() == DeliveryState::Pending)
            .collect();
        assert!(world.at_rest(), "seed {seed} does not come to rest: {open:#?}");
        check(&world.newest, &world.messages, &[], seed);
        messages += world.messages.len();
        hand_overs += world.hand_overs;
        doubles += world.doubles;
        combined += world.messages.iter().filter(|m| m.kind == PageKind::Combined).count();
    }
    // The runs reached what they are there for.
    let story = format!("{messages} {hand_overs} {doubles} {combined}");
    assert!(messages > 5_000 && hand_overs > 1_000 && doubles > 5 && combined > 20, "{story}");
}

#[test]
fn what_nobody_can_reach_is_given_up_in_the_end() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        world.way.clear();
        for _ in 0..60 {
            world.step();
        }
        world.calm = true;
        // In steps of a second as long as something moves, then from wake to wake.
        while !world.at_rest() {
            let wakes = world.members.values();
            let wakes = wakes.flat_map(|m| [m.outbox.wake_at(), m.outbox.overdue_at()]);
            let next = wakes.flatten().min().map_or(0, |at| at.as_ns() / 1_000_000_000);
            world.now = world.now.max(next - 1);
            assert!(world.now < 74 * 3_600, "seed {seed} goes on for ever");
            world.step();
        }
        check(&world.newest, &world.messages, &["b"], seed);
        let pages = world.newest.values().flat_map(|incident| &incident.deliveries);
        let dead = pages.filter(|page| page.state() == DeliveryState::Dead).count();
        assert!(dead > 0, "seed {seed}");
    }
}
