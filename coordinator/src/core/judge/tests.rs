//! Several judges over one committed state: what a group of members decides, without a log or a
//! socket. Entries are applied at every member at once.

mod calm;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use parallax_common::name::Uid;
use parallax_common::outcome::Outcome;
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::store::entry::Command;
use parallax_proto::{convert, store, v1};
use prost::Message as _;

use super::*;
use crate::core::engine::tests::rig::{self, CHECK};
use crate::core::engine::{CheckSnapshot, Heartbeat};
use crate::core::fleet::Session;
use crate::core::state::{Answer, LEVEL};

mod explained;
mod lasting;
mod reload;
mod watched;

const REGIONS: usize = 3;

/// A probe, and its sessions: the member that hears it, and the session's number there.
struct Voice {
    probe: rig::Probe,
    sessions: BTreeMap<usize, u64>,
    /// What it says of itself.
    health: Option<v1::ProbeHealth>,
}

struct World {
    state: State,
    index: u64,
    now: MeshTime,
    judges: Vec<Option<Judge>>,
    leader: Option<usize>,
    voices: Vec<Voice>,
    last_session: u64,
    txns: u64,
    /// What was committed about the check: verdicts, `!` for one that opens, `.` that resolves, `~` for one
    /// that has lasted.
    verdicts: Vec<String>,
    /// When the last of them was.
    committed_at: MeshTime,
    orders: usize,
}

impl World {
    /// So many members, the first of which leads; one check over three regions.
    fn new(members: usize) -> Self {
        let now = MeshTime::from_ns(1_700_000_000_000_000_000);
        let voices = (0..REGIONS).map(|rank| Voice {
            probe: rig::Probe::new(rig::voter(rank, 1), 2),
            sessions: BTreeMap::new(),
            health: None,
        });
        let mut world = Self {
            state: State::default(),
            index: 0,
            now,
            judges: (0..members).map(|_| Some(Judge::new(now))).collect(),
            leader: None,
            voices: voices.collect(),
            last_session: 0,
            txns: 0,
            verdicts: Vec::new(),
            committed_at: now,
            orders: 0,
        };
        world.commit(Command::InitCluster(store::InitCluster {
            mesh: "test".into(),
            cluster_id: "c".into(),
            epoch: 1,
            level: LEVEL,
            plan_version: 1,
            members: Vec::new(),
        }));
        let changes = (0..REGIONS).map(region).chain([check()]).collect();
        world.configure(changes);
        world.lead(0);
        world
    }

    /// One with every region heard by the members given for it, and up.
    fn up(members: usize, heard_by: [&[usize]; REGIONS]) -> Self {
        let mut world = Self::new(members);
        for (rank, by) in heard_by.iter().enumerate() {
            for &member in *by {
                world.connect(rank, member);
            }
        }
        world.advance(11_000);
        for rank in (0..REGIONS).filter(|rank| !heard_by[*rank].is_empty()) {
            world.run(rank, Outcome::Pass);
            world.run(rank, Outcome::Pass);
        }
        assert_eq!(world.take(), "up");
        world
    }

    fn utc(&self) -> UtcTime {
        UtcTime::from_ns(self.now.as_ns())
    }

    fn configure(&mut self, changes: Vec<store::ConfigChange>) {
        self.txns += 1;
        let (txn, namespace) = (format!("t{}", self.txns), "default".to_owned());
        let part =
            store::StageConfig { txn: txn.clone(), part: 0, changes, namespace: namespace.clone() };
        let digest = ring::digest::digest(&ring::digest::SHA256, &part.encode_to_vec());
        self.commit(Command::StageConfig(part));
        self.commit(Command::CommitConfig(store::CommitConfig {
            txn,
            parts: 1,
            sha256: Bytes::copy_from_slice(digest.as_ref()),
            namespace,
            set: "default".into(),
            take: false,
            ..Default::default()
        }));
    }

    /// Applies a command at every member, and lets their judges follow.
    fn commit(&mut self, command: Command) {
        if let Command::ChangeVerdicts(changes) = &command {
            for change in changes.changes.iter().filter(|change| !change.check_uid.is_empty()) {
                let record = change.record.as_ref().unwrap();
                let word = record.verdict().as_str_name().replace("VERDICT_", "").to_lowercase();
                let mark = match change.action() {
                    store::VerdictAction::Open => "!",
                    store::VerdictAction::Resolve => ".",
                    store::VerdictAction::OpenLasting => "~",
                    store::VerdictAction::OpenDoubt => "?",
                    store::VerdictAction::EndDoubt => ";",
                    _ => "",
                };
                self.verdicts.push(word + mark);
                self.committed_at = self.now;
            }
        }
        self.index += 1;
        let entry = store::Entry {
            min_level: LEVEL,
            utc_ns: self.utc().as_ns(),
            command: Some(command),
            ..store::Entry::default()
        };
        let applied = self.state.apply(self.index, &entry.encode_to_vec());
        assert!(matches!(applied.answer, Answer::Accepted { .. }), "{:?}", applied.answer);
        let state = self.state.clone();
        let changes = applied.changes.into_iter().map(|change| (self.index, change));
        let changes: Vec<_> = changes.collect();
        for member in 0..self.judges.len() {
            self.feed(member, Input::Applied(&state, &changes));
        }
    }

    fn feed(&mut self, member: usize, input: Input<'_>) {
        let (now, utc) = (self.now, self.utc());
        let Some(judge) = self.judges[member].as_mut() else { return };
        let mut out = Outputs::default();
        judge.handle(input, now, utc, &mut out);
        let leads = self.leader == Some(member);
        for act in std::mem::take(&mut out.acts) {
            match act {
                Act::Order { .. } => self.orders += 1,
                Act::Resync(voter, session) => panic!("{voter:?} {session} left a gap"),
                Act::Ask(voter) => panic!("{voter:?} spoke too soon"),
                Act::Supersede { key, .. } => panic!("{key:?} has one life"),
            }
        }
        let mut uids = self.index * 10;
        let proposals = out.proposals(member as u64 + 1, || {
            uids += 1;
            Uid::from_bytes([&[7; 8][..], &uids.to_be_bytes()].concat().try_into().unwrap())
                .to_string()
        });
        for proposal in proposals {
            assert!(leads, "only a leader proposes");
            self.commit(proposal.command);
            self.feed(member, Input::Settled(proposal.about));
        }
    }

    fn lead(&mut self, member: usize) {
        self.leader = Some(member);
        self.feed(member, Input::Leadership(true));
    }

    /// A member is gone, with the sessions that it had.
    fn kill(&mut self, member: usize) {
        self.judges[member] = None;
        self.leader = self.leader.filter(|leader| *leader != member);
        for voice in &mut self.voices {
            voice.sessions.remove(&member);
        }
    }

    /// A session opens at a member, over its own listener or by a relay: whole snapshot, heartbeat.
    fn connect(&mut self, rank: usize, member: usize) {
        self.last_session += 1;
        let id = self.last_session;
        self.voices[rank].sessions.insert(member, id);
        let voice = &self.voices[rank];
        let voter = voice.probe.voter.clone();
        let session = Session {
            id,
            key: key_of(&voter),
            incarnation: voter.incarnation,
            address: "192.0.2.1:1".into(),
            build: "1".into(),
            kinds: vec!["tcp".into(), "canary".into()],
        };
        let digest = self.digest();
        let mut said = voice.probe.said();
        said.digest = digest;
        let recent = voice.probe.recent.iter().cloned();
        let snapshot = Event::Snapshot {
            live_sequence: voice.probe.sequence,
            whole: true,
            last: true,
            checks: vec![CheckSnapshot {
                check: CHECK,
                said,
                recent: recent.map(|heard| rig_record(heard, digest)).collect(),
                next_number: voice.probe.number + 1,
            }],
        };
        self.feed(member, Input::Opened(voter.clone(), session));
        self.feed(member, Input::Heard { voter, session: id, event: snapshot });
        self.beat(rank);
    }

    fn disconnect(&mut self, rank: usize, member: usize) {
        if let Some(id) = self.voices[rank].sessions.remove(&member) {
            let voter = self.voices[rank].probe.voter.clone();
            self.feed(member, Input::Closed(voter, id));
        }
    }

    fn digest(&self) -> parallax_common::name::RunDigest {
        self.state.checks[&CHECK].check.run_digest
    }

    /// A run ends and is told to everybody who hears the probe.
    fn run(&mut self, rank: usize, outcome: Outcome) {
        let (now, digest) = (self.now, self.digest());
        let probe = &mut self.voices[rank].probe;
        let record = rig_record(probe.remember(outcome, 0, now), digest);
        probe.sequence += 1;
        let event = Event::Outcomes { first_sequence: probe.sequence, records: vec![record] };
        self.tell(rank, &event);
    }

    fn beat(&mut self, rank: usize) {
        let heartbeat = Heartbeat {
            watermark: self.now,
            live_sequence: self.voices[rank].probe.sequence,
            started: Vec::new(),
            ended: Vec::new(),
            whole: true,
        };
        let health = self.voices[rank].health;
        self.tell(rank, &Event::Heartbeat { heartbeat, health });
    }

    fn tell(&mut self, rank: usize, event: &Event) {
        let voter = self.voices[rank].probe.voter.clone();
        for (member, session) in self.voices[rank].sessions.clone() {
            let (voter, event) = (voter.clone(), event.clone());
            self.feed(member, Input::Heard { voter, session, event });
        }
    }

    /// Time passes; everybody who is heard is heard ten times a second.
    fn advance(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.now = self.now + Duration::from_millis(100);
            for rank in 0..self.voices.len() {
                self.beat(rank);
            }
            for member in 0..self.judges.len() {
                let due = self.judges[member].as_ref().and_then(Judge::wake_at);
                if due.is_some_and(|at| at <= self.now) {
                    self.feed(member, Input::Wake);
                }
            }
        }
    }

    /// Whether a member takes a region's vote for excluded.
    fn excluded(&self, member: usize, rank: usize) -> bool {
        let judge = self.judges[member].as_ref().unwrap();
        judge.live_ballots(CHECK, self.now)[rank].excluded
    }

    fn open_incident(&self) -> v1::Incident {
        let mut open = self.state.incidents.values();
        let first = open.next().expect("an open incident");
        assert!(open.next().is_none());
        first.as_ref().clone()
    }
    /// Edits the check.
    fn edit(&mut self, change: impl FnOnce(&mut v1::Check)) {
        let mut put = check();
        put.base_etag = self.state.checks[&CHECK].check.etag;
        if let Some(store::config_change::Change::Put(v1::Resource {
            kind: Some(v1::resource::Kind::Check(check)),
        })) = &mut put.change
        {
            change(check);
        }
        self.configure(vec![put]);
    }

    /// Another probe of a region, heard by these members.
    fn join(&mut self, region: usize, probe: &str, by: &[usize]) -> usize {
        let voter = Voter { probe: probe.to_owned(), ..rig::voter(region, 1) };
        self.voices.push(Voice {
            probe: rig::Probe::new(voter, 2),
            sessions: BTreeMap::new(),
            health: None,
        });
        let voice = self.voices.len() - 1;
        for &member in by {
            self.connect(voice, member);
        }
        voice
    }

    /// What was committed about the check since this was last asked.
    fn take(&mut self) -> String {
        std::mem::take(&mut self.verdicts).join(" ")
    }
}

fn rig_record(
    mut heard: crate::core::ballots::Heard,
    digest: parallax_common::name::RunDigest,
) -> crate::core::ballots::Heard {
    heard.digest = digest;
    heard
}

fn meta(uid: Uid, name: &str) -> Option<v1::Meta> {
    Some(v1::Meta {
        uid: uid.to_string(),
        namespace: "default".into(),
        name: name.into(),
        set: "default".into(),
        ..v1::Meta::default()
    })
}

fn put(kind: v1::resource::Kind) -> store::ConfigChange {
    let resource = v1::Resource { kind: Some(kind) };
    let change = Some(store::config_change::Change::Put(resource));
    store::ConfigChange { base_etag: 0, change, force: false }
}

fn region(rank: usize) -> store::ConfigChange {
    let uid = Uid::from_bytes([100 + u8::try_from(rank).unwrap(); 16]);
    let meta = meta(uid, &rig::region(rank));
    put(v1::resource::Kind::Region(v1::Region { meta, title: String::new() }))
}

fn check() -> store::ConfigChange {
    put(v1::resource::Kind::Check(convert::check::normalise_check(v1::Check {
        meta: meta(CHECK, "checkout"),
        run: Some(v1::Run {
            steps: vec![v1::Step {
                name: String::new(),
                capture: vec![],
                kind: Some(v1::step::Kind::Tcp(v1::TcpStep {
                    address: "127.0.0.1:1".into(),
                    ..v1::TcpStep::default()
                })),
            }],
            timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..v1::Run::default()
        }),
        interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        regions: (0..REGIONS).map(rig::region).collect(),
        ..v1::Check::default()
    })))
}

/// Every probe that is heard fails, or passes, twice.
fn twice(world: &mut World, ranks: &[usize], outcome: Outcome) {
    for _ in 0..2 {
        for &rank in ranks {
            world.run(rank, outcome);
        }
        world.advance(200);
    }
}

#[test]
fn an_outage_that_only_a_relay_sees_opens_once_and_survives_its_leader() {
    // The third region is heard by the second member only, which relays it to the first; the second
    // region has no probe at all.
    let mut world = World::up(2, [&[0, 1], &[], &[0, 1]]);
    twice(&mut world, &[0, 2], Outcome::Fail);
    assert_eq!(world.take(), "degraded down!");
    let incidents = world.state.open.len();
    // The leader dies, and with it its sessions. The other one takes office a while later.
    world.kill(0);
    world.advance(1_500);
    world.lead(1);
    world.advance(30_000);
    assert_eq!(world.take(), "", "no second opening, and nothing is unknown");
    assert_eq!(world.state.open.len(), incidents);
    twice(&mut world, &[0, 2], Outcome::Pass);
    assert_eq!(world.take(), "up.");
}

#[test]
fn a_new_leader_that_must_wait_for_its_probes_says_nothing_meanwhile() {
    // Two of three regions were heard by the leader alone; they come to the new one after 6 s.
    let mut world = World::up(2, [&[0], &[0, 1], &[0]]);
    world.kill(0);
    world.advance(1_500);
    world.lead(1);
    world.advance(6_000);
    for rank in [0, 2] {
        world.connect(rank, 1);
    }
    world.advance(30_000);
    assert_eq!(world.take(), "", "neither unknown nor anything else");
    let live = |row: &store::ProbeRow| row.state() == v1::ProbeState::Live;
    assert!(world.state.probes.values().all(|row| live(row)), "nobody was lost");
    // Had they not come, it would have been said after the grace.
    for rank in [0, 2] {
        world.disconnect(rank, 1);
    }
    world.advance(30_000);
    assert_eq!(world.take(), "unknown");
}

#[test]
fn an_outage_that_begins_while_nobody_leads_opens_when_somebody_does() {
    let mut world = World::up(3, [&[0, 1, 2], &[0, 1, 2], &[0, 1, 2]]);
    world.kill(0);
    let began = world.now;
    twice(&mut world, &[0, 1, 2], Outcome::Fail);
    world.advance(1_000);
    world.lead(2);
    assert_eq!(world.take(), "down!");
    assert!(world.committed_at.since(began) < Duration::from_secs(5));
}

#[test]
fn of_failures_known_before_it_took_office_a_new_leader_orders_confirmation() {
    let mut world = World::up(2, [&[0, 1], &[0, 1], &[0, 1]]);
    world.kill(0);
    world.run(0, Outcome::Fail);
    world.orders = 0;
    world.lead(1);
    assert_eq!(world.orders, 3, "one an assignee");
}

#[test]
fn with_several_probes_a_region_a_new_leader_goes_on_with_each_of_their_votes() {
    let mut world = World::up(2, [&[0, 1], &[0, 1], &[0, 1]]);
    world.edit(|check| check.probes_per_region = 2);
    let seconds = [0, 1, 2].map(|region| world.join(region, "q", &[0, 1]));
    world.advance(1_000);
    assert_eq!(
        world.judges[1].as_ref().unwrap().plan().assignees(&CHECK).iter().flatten().count(),
        6
    );
    twice(&mut world, &seconds, Outcome::Pass);
    assert_eq!(world.take(), "", "whoever joins silences nobody");
    // The first region fails, the second is split.
    twice(&mut world, &[0, seconds[0], 1], Outcome::Fail);
    assert_eq!(world.take(), "degraded");
    world.kill(0);
    world.advance(1_500);
    world.lead(1);
    world.advance(30_000);
    assert_eq!(world.take(), "", "it knows each vote");
    twice(&mut world, &[seconds[1]], Outcome::Fail);
    assert_eq!(world.take(), "down!");
    twice(&mut world, &[0, seconds[0], 1, seconds[1]], Outcome::Pass);
    assert_eq!(world.take(), "degraded. up");
}

#[test]
fn a_probe_of_several_that_is_lost_leaves_its_seat_to_the_next_in_line() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    world.edit(|check| check.probes_per_region = 2);
    let more = [0, 1, 2].map(|region| ["q", "r"].map(|probe| world.join(region, probe, &[0])));
    world.advance(1_000);
    for pair in more {
        twice(&mut world, &pair, Outcome::Pass);
    }
    world.take();
    // Who of the first region runs it, and who is third.
    let names = |world: &World| {
        let assignees = world.judges[0].as_ref().unwrap().plan().assignees(&CHECK);
        let some = assignees[..2].iter().flatten().map(|probe| probe.probe.to_string());
        some.collect::<Vec<_>>()
    };
    let before = names(&world);
    assert_eq!(before.len(), 2);
    let voice = |world: &World, name: &str| {
        let of =
            |voice: &Voice| (voice.probe.voter.region.clone(), voice.probe.voter.probe.clone());
        world.voices.iter().position(|v| of(v) == (rig::region(0), name.to_owned())).unwrap()
    };
    let (stays, leaves) = (voice(&world, &before[0]), voice(&world, &before[1]));
    world.disconnect(leaves, 0);
    world.advance(6_000);
    let after = names(&world);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1], "the third took over");
    assert_eq!(world.take(), "");
    let took = voice(&world, &after[1]);
    twice(&mut world, &[stays, took], Outcome::Fail);
    assert_eq!(world.take(), "degraded", "both of those who look fail");
    let ballots = world.judges[0].as_ref().unwrap().live_ballots(CHECK, world.now);
    let mut said: Vec<_> = ballots[0].probes.iter().map(|b| (b.probe.clone(), b.state())).collect();
    let mut expected: Vec<_> =
        after.iter().map(|name| (name.clone(), v1::BallotState::Fail)).collect();
    said.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(said, expected);
}

#[test]
fn an_advisory_region_is_counted_where_probes_are_missed_and_nowhere_else() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    world.edit(|check| check.advisory_regions = vec![check.regions.pop().unwrap()]);
    assert_eq!(world.take(), "");
    twice(&mut world, &[2], Outcome::Fail);
    assert_eq!(world.take(), "", "it is shown only");
    assert_eq!(world.orders, 0, "and nobody is asked");
    // Its probe is gone: a region without one is told of, as checks look from it.
    world.disconnect(2, 0);
    world.advance(120_000);
    assert_eq!(world.take(), "");
    assert_eq!(world.state.silent.len(), 1);
}

#[test]
fn a_voter_heard_directly_and_by_a_relay_votes_once() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    let voter = world.voices[0].probe.voter.clone();
    let direct = world.voices[0].sessions[&0];
    world.connect(0, 0);
    let relayed = world.voices[0].sessions[&0];
    assert_ne!(direct, relayed);
    let (now, digest) = (world.now, world.digest());
    let probe = &mut world.voices[0].probe;
    let record = rig_record(probe.remember(Outcome::Fail, 0, now), digest);
    probe.sequence += 1;
    let event = Event::Outcomes { first_sequence: probe.sequence, records: vec![record] };
    for session in [direct, relayed, direct] {
        let (voter, event) = (voter.clone(), event.clone());
        world.feed(0, Input::Heard { voter, session, event });
    }
    assert_eq!(world.take(), "", "one failure, heard three times");
    // Its own session ends: the relayed one speaks for it.
    world.feed(0, Input::Closed(voter, direct));
    world.advance(30_000);
    assert_eq!(world.take(), "");
    assert_eq!(world.state.probes.len(), 3);
}

#[test]
fn what_another_member_hears_is_a_sign_of_life_and_no_vote() {
    let mut world = World::up(2, [&[0], &[0], &[0]]);
    world.disconnect(0, 0);
    let voter = world.voices[0].probe.voter.clone();
    for _ in 0..30 {
        world.advance(1_000);
        let vouched = vec![(voter.clone(), world.now)];
        world.feed(0, Input::Vouched(vouched));
    }
    let row = &world.state.probes[&(voter.region.clone(), voter.probe.clone())];
    assert_eq!(row.state(), v1::ProbeState::Live);
    let ballots = world.judges[0].as_ref().unwrap().live_ballots(CHECK, world.now);
    assert!(ballots[0].stale, "its vote ages all the same");
}

#[test]
fn a_judge_that_is_given_the_whole_state_is_as_one_that_followed_every_entry() {
    let mut world = World::up(2, [&[0, 1], &[0, 1], &[0, 1]]);
    twice(&mut world, &[0, 1], Outcome::Fail);
    assert_eq!(world.take(), "degraded down!");
    // The second member's state is replaced by a snapshot: it keeps its sessions and their votes.
    let state = world.state.clone();
    let followed = world.judges[1].as_ref().unwrap().live_ballots(CHECK, world.now);
    world.feed(1, Input::Loaded(&state));
    let judge = world.judges[1].as_ref().unwrap();
    assert_eq!(judge.live_ballots(CHECK, world.now), followed);
    assert_eq!(judge.plan().generation(), world.judges[0].as_ref().unwrap().plan().generation());
    world.kill(0);
    world.lead(1);
    world.advance(20_000);
    assert_eq!(world.take(), "", "the incident is known");
    // One without the check and the probes: both are forgotten.
    let mut empty = State::default();
    empty.cluster.clone_from(&state.cluster);
    world.leader = None;
    world.feed(1, Input::Leadership(false));
    world.feed(1, Input::Loaded(&empty));
    let judge = world.judges[1].as_ref().unwrap();
    assert!(judge.live_ballots(CHECK, world.now).is_empty() && judge.plan().is_empty());
    assert_eq!(judge.tracker.rows().count(), 0);
}

#[test]
fn a_probe_whose_anchors_are_silent_votes_no_more_until_it_has_been_well_for_a_minute() {
    let mut world = World::up(2, [&[0, 1], &[0, 1], &[0, 1]]);
    let cut_off = v1::ProbeHealth { anchors: 2, ..v1::ProbeHealth::default() };
    world.voices[2].health = Some(cut_off);
    world.advance(4_000);
    assert!(!world.excluded(0, 2), "it may be a moment only");
    world.advance(4_000);
    assert!(world.excluded(0, 2));
    assert!(!world.excluded(0, 1));
    let incident = world.open_incident();
    assert_eq!(incident.kind(), v1::IncidentKind::RegionExcluded);
    assert_eq!(incident.region, rig::region(2));
    let told = crate::core::explain::incident(&incident).join(" ");
    assert!(told.contains("hears from fewer than half of its anchors"), "{told}");

    // What it sees is not even a regional failure.
    for _ in 0..3 {
        world.run(2, Outcome::Fail);
        world.advance(300);
    }
    assert_eq!(world.take(), "");
    // The next leader knows by the record what this one found.
    world.kill(0);
    world.lead(1);
    assert!(world.excluded(1, 2));
    world.advance(12_000);
    assert_eq!(world.take(), "");

    world.voices[2].health = Some(v1::ProbeHealth { anchors_answering: 2, ..cut_off });
    world.advance(50_000);
    assert!(world.excluded(1, 2));
    assert_eq!(world.state.incidents.len(), 1, "the same incident all along");
    world.advance(20_000);
    assert!(!world.excluded(1, 2));
    assert!(world.state.incidents.values().all(|incident| incident.resolved_at.is_some()));
    assert_eq!(world.take(), "degraded", "now its failures count");
}

#[test]
fn what_most_probes_say_of_themselves_excludes_nobody() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    for rank in [1, 2] {
        let cut_off = v1::ProbeHealth { anchors: 2, ..v1::ProbeHealth::default() };
        world.voices[rank].health = Some(cut_off);
    }
    world.advance(20_000);
    assert!((0..REGIONS).all(|rank| !world.excluded(0, rank)));
    assert!(world.state.incidents.is_empty());
}

#[test]
fn a_cluster_with_a_member_that_would_not_understand_it_excludes_nobody() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    world.state.cluster.level = crate::core::state::EXCLUSION_LEVEL - 1;
    world.configure(vec![region(5)]);
    world.voices[2].health = Some(v1::ProbeHealth { anchors: 2, ..v1::ProbeHealth::default() });
    world.advance(20_000);
    assert!(!world.excluded(0, 2));
}

#[test]
fn a_survey_takes_every_fresh_vote_of_every_check_and_goes_on_where_it_stopped() {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    world.run(2, Outcome::Fail);
    world.run(2, Outcome::Fail);
    assert_eq!(world.take(), "degraded");
    let key = |world: &World, rank: usize| key_of(&world.voices[rank].probe.voter);
    let mut survey = crate::core::watchdog::Survey::default();
    world.judges[0].as_ref().unwrap().engine.survey(None, 1, world.now, &mut survey);
    assert_eq!(survey.of(&key(&world, 2)), (0, 0), "the others may yet follow");
    world.advance(60_000);
    let judge = world.judges[0].as_ref().unwrap();
    assert_eq!(judge.engine.survey(None, 0, world.now, &mut survey), Some(CHECK));
    assert_eq!(judge.engine.survey(Some(CHECK), 1, world.now, &mut survey), None);
    assert_eq!(survey.of(&key(&world, 2)), (1, 1), "the other two agree that it passes");
    assert_eq!(survey.of(&key(&world, 0)), (0, 0), "the other two do not agree");
}
