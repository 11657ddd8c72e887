//! Sessions of voters: snapshots, watermarks, and what comes twice.

use super::*;

#[test]
fn a_state_older_than_the_outcomes_of_a_snapshot_outlives_a_restart() {
    let mut rig = Rig::up(1, 2);
    play(&mut rig, "0F 0F");
    assert!(rig.take_applied().ends_with("down!"));
    let since = rig.probes[0].fold.since;
    for _ in 0..32 {
        play(&mut rig, "+1000 0P +1000 0F");
    }
    assert_eq!(rig.take_applied(), "", "neither passes nor fails twice in a row");
    assert_eq!(rig.probes[0].fold.since, since);

    rig.engine = Engine::new(rig.now, true);
    rig.feed(Input::Subject(rig.subject.clone()));
    rig.connect(0);
    let ballot = rig.engine.live_ballots(CHECK, rig.now).remove(0);
    assert_eq!(ballot.state(), v1::BallotState::Fail);
    let told = ballot.since.map(|at| at.seconds * 1_000_000_000 + i64::from(at.nanos));
    assert_eq!(told, Some(since.as_ns()));
    rig.advance(11_000);
    assert_eq!(rig.take_applied(), "", "it is down still, not unknown");
    play(&mut rig, "0P 0P");
    assert_eq!(rig.take_applied(), "up.");
}

#[test]
fn what_a_voter_says_of_itself_counts_only_where_nothing_is_known() {
    let mut rig = Rig::up(1, 2);
    play(&mut rig, "0F 0F");
    rig.take_applied();
    rig.probes[0].fold.state = parallax_common::outcome::BallotState::Pass;
    rig.connect(0);
    assert_eq!(rig.take_applied(), "", "the region failed, and that was heard");
}

#[test]
fn a_moved_check_goes_on_with_the_state_of_the_probe_before_while_that_counts() {
    let mut rig = Rig::up(1, 2);
    play(&mut rig, "0F 0F");
    assert_eq!(rig.take_applied().split(' ').next_back(), Some("down!"));
    // Another incarnation of the probe takes over, long after the old one went silent.
    rig.kill(0);
    rig.advance(20_000);
    assert_eq!(rig.take_applied(), "unknown");
    rig.commit(|subject| subject.assignees = vec![Some(voter(0, 2))]);
    rig.probes[0] = rig::Probe::new(voter(0, 2), 2);
    rig.connect(0);
    assert_eq!(rig.take_applied(), "", "connected, but its first run is awaited");
    rig.run(0, Outcome::Pass);
    assert_eq!(
        rig.take_applied(),
        "",
        "what was stale is not inherited, and one pass is no streak"
    );
    rig.run(0, Outcome::Pass);
    assert_eq!(rig.take_applied(), "up.");
    assert_eq!(rig.engine.watermark_of(&voter(0, 1)), None, "the old one is forgotten");

    // Soon enough it is.
    play(&mut rig, "0F 0F");
    assert_eq!(rig.take_applied(), "down!");
    rig.kill(0);
    rig.advance(3_000);
    rig.commit(|subject| subject.assignees = vec![Some(voter(0, 3))]);
    rig.probes[0] = rig::Probe::new(voter(0, 3), 2);
    rig.connect(0);
    play(&mut rig, "0P +7000");
    assert_eq!(rig.take_applied(), "", "it stays down, by the state before");
    rig.run(0, Outcome::Pass);
    assert_eq!(rig.take_applied(), "up.");
}

#[test]
fn a_follower_shows_the_one_pass_that_whoever_leads_would_count() {
    let mut rig = Rig::up(1, 2);
    rig.take_applied();
    rig.feed(Input::Leadership(false));
    rig.kill(0);
    rig.advance(20_000);
    rig.commit(|subject| subject.assignees = vec![Some(voter(0, 2))]);
    rig.probes[0] = rig::Probe::new(voter(0, 2), 2);
    rig.connect(0);
    rig.run(0, Outcome::Pass);
    let ballot = rig.engine.live_ballots(CHECK, rig.now).remove(0);
    assert_eq!(ballot.state(), v1::BallotState::Pass);
}

#[test]
fn a_stale_pass_does_not_end_an_incident_by_a_successors_failing_run() {
    let mut rig = Rig::up(2, 2);
    play(&mut rig, "0F 0F 1F 1F");
    rig.take_applied();
    // Region 1 passes again, is not heard any more, and its next probe fails.
    play(&mut rig, "1P 1P -1 +10000");
    rig.take_applied();
    play(&mut rig, "0P 0P");
    assert_eq!(rig.take_applied(), "", "one region of two is not enough");
    rig.commit(|subject| subject.assignees[1] = Some(voter(1, 2)));
    rig.probes[1] = rig::Probe::new(voter(1, 2), 2);
    rig.connect(1);
    rig.run(1, Outcome::Fail);
    let said = rig.take_applied();
    assert!(!said.contains("up."), "{said}");
    assert!(rig.subject.open_incident.is_some());
}

#[test]
fn every_session_of_a_voter_that_began_must_end_before_it_is_away_and_forgotten() {
    let mut rig = Rig::up(3, 2);
    let session = rig.next_session(2);
    rig.feed(Input::SessionStarted(voter(2, 1), session));
    rig.kill(2);
    play(&mut rig, "0F 0p");
    assert_eq!(rig.take_orders(), "0=1 1=2 2=2", "one of two sessions is still there");
    rig.kill(2);
    play(&mut rig, "+3000 0F");
    assert_eq!(rig.take_orders(), "0=1 1=2", "nobody is asked who is away");
    // Another life takes over; the sessions of the one before have all ended.
    rig.commit(|subject| subject.assignees[2] = Some(voter(2, 2)));
    rig.probes[2] = rig::Probe::new(voter(2, 2), 2);
    rig.connect(2);
    rig.run(2, Outcome::Pass);
    assert!(!rig.engine.links.values().any(|link| link.voter == voter(2, 1)), "forgotten");
}

#[test]
fn missing_records_end_the_session_and_its_watermark_stands_until_the_next_snapshot() {
    let mut rig = Rig::up(3, 2);
    rig.take_applied();
    let before = rig.engine.watermark_of(&voter(0, 1)).unwrap();
    rig.probes[0].sequence += 1; // a record that never arrives
    rig.run(0, Outcome::Pass);
    assert_eq!(rig.resyncs, 1);
    rig.run(0, Outcome::Pass);
    rig.advance(3_000);
    assert_eq!(rig.resyncs, 1, "once is enough");
    assert_eq!(rig.engine.watermark_of(&voter(0, 1)), Some(before));
    rig.kill(0);
    rig.connect(0);
    assert_eq!(rig.engine.watermark_of(&voter(0, 1)), Some(rig.now));

    // A heartbeat that counts more records than were received says the same.
    rig.probes[1].sequence += 1;
    rig.beat(1);
    assert_eq!(rig.resyncs, 2);
}

/// A second session of a probe: relayed by another member, or replacing the first.
fn second_session(rig: &mut Rig, rank: usize, session: u64) {
    let probe = &rig.probes[rank];
    let voter = probe.voter.clone();
    let snapshot = Input::Snapshot {
        voter: voter.clone(),
        session,
        live_sequence: probe.sequence,
        whole: true,
        last: true,
        checks: vec![crate::core::engine::CheckSnapshot {
            check: CHECK,
            said: probe.said(),
            recent: probe.recent.iter().cloned().collect(),
            next_number: probe.number + 1,
        }],
    };
    rig.feed(Input::SessionStarted(voter, session));
    rig.feed(snapshot);
}

#[test]
fn what_comes_by_two_sessions_counts_once_and_the_fresher_one_says_how_fresh() {
    let mut rig = Rig::up(3, 2);
    rig.take_applied();
    second_session(&mut rig, 0, 90);
    // The first of two in a row, by both sessions: still the first.
    let now = rig.now;
    let record = rig.probes[0].remember(Outcome::Fail, 0, now);
    rig.probes[0].sequence += 1;
    let first_sequence = rig.probes[0].sequence;
    for session in [rig.probes[0].session(), 90, 90] {
        let (voter, records) = (voter(0, 1), vec![record.clone()]);
        rig.feed(Input::Outcomes { voter, session, first_sequence, records });
    }
    assert_eq!((rig.take_applied().as_str(), rig.resyncs), ("", 0));
    rig.run(0, Outcome::Fail);
    assert_eq!(rig.take_applied(), "degraded");
    // The direct one falls silent with a run in flight; the relayed one goes on, and knows its end.
    rig.beat_with(0, vec![(CHECK, 7, now)], Vec::new());
    rig.probes[0].alive = false;
    for _ in 0..20 {
        rig.advance(1_000);
        let heartbeat = Heartbeat {
            watermark: rig.now,
            live_sequence: first_sequence,
            started: Vec::new(),
            ended: Vec::new(),
            whole: true,
        };
        rig.feed(Input::Heartbeat { voter: voter(0, 1), session: 90, heartbeat });
    }
    assert_eq!(rig.take_applied(), "", "fresh through the other one");
    // A gap in one of them is its own business.
    let records = vec![rig::heard(99, Outcome::Pass, 0, rig.now)];
    let gap = Input::Outcomes { voter: voter(0, 1), session: 90, first_sequence: 70, records };
    rig.feed(gap);
    assert_eq!(rig.resyncs, 1);
    rig.beat_with(0, Vec::new(), vec![(CHECK, 7)]);
    assert_eq!(rig.engine.watermark_of(&voter(0, 1)), Some(rig.now), "the direct one is back");
}

#[test]
fn a_whole_heartbeat_forgets_runs_that_it_does_not_name() {
    let mut rig = Rig::up(1, 2);
    rig.take_applied();
    rig.beat_with(0, vec![(CHECK, 7, rig.now), (CHECK, 8, rig.now)], Vec::new());
    rig.advance(5_901);
    assert_eq!(rig.take_applied(), "unknown");
    let heartbeat = Heartbeat {
        watermark: rig.now,
        live_sequence: rig.probes[0].sequence,
        started: vec![(CHECK, 9, rig.now)],
        ended: Vec::new(),
        whole: true,
    };
    let session = rig.probes[0].session();
    rig.feed(Input::Heartbeat { voter: voter(0, 1), session, heartbeat });
    assert_eq!(rig.take_applied(), "up");
}

#[test]
fn a_run_that_hangs_makes_its_own_ballot_stale_and_no_other() {
    let mut rig = Rig::up(1, 2);
    rig.take_applied();
    let due = rig.now;
    rig.beat_with(0, vec![(CHECK, 7, due)], Vec::new());
    rig.advance(5_900);
    assert_eq!(rig.take_applied(), "", "timeout and grace are 5.9 s");
    rig.advance(1);
    assert_eq!(rig.take_applied(), "unknown");
    rig.beat_with(0, Vec::new(), vec![(CHECK, 7)]);
    assert_eq!(rig.take_applied(), "up");
}

#[test]
fn a_watermark_ahead_of_us_counts_as_now() {
    let mut rig = Rig::up(1, 2);
    rig.take_applied();
    let heartbeat = Heartbeat {
        watermark: rig.now + Duration::from_secs(3_600),
        live_sequence: rig.probes[0].sequence,
        started: Vec::new(),
        ended: Vec::new(),
        whole: false,
    };
    let session = rig.probes[0].session();
    rig.feed(Input::Heartbeat { voter: voter(0, 1), session, heartbeat });
    rig.kill(0);
    rig.advance(5_900);
    assert_eq!(rig.take_applied(), "");
    rig.advance(1);
    assert_eq!(rig.take_applied(), "unknown");
}

/// What the ballots of a follower say, by rank.
fn states(rig: &Rig) -> Vec<v1::BallotState> {
    rig.engine.live_ballots(CHECK, rig.now).iter().map(v1::Ballot::state).collect()
}

#[test]
fn a_follower_that_learns_of_a_check_after_its_probes_have_spoken_asks_them_again() {
    let mut rig = Rig::new(3, 2);
    // Behind: it knows nothing of the check, and two of three probes have run it already.
    rig.engine = Engine::new(rig.now, false);
    for rank in 0..3 {
        rig.connect(rank);
    }
    rig.run(0, Outcome::Pass);
    rig.run_untold(1);
    rig.tell_everything(1);
    assert!(rig.asked.is_empty(), "of what it does not know it has nothing to ask");
    rig.feed(Input::Subject(rig.subject.clone()));
    let none = v1::BallotState::None;
    assert_eq!(states(&rig), [none; 3]);
    assert_eq!(std::mem::take(&mut rig.asked), [voter(0, 1), voter(1, 1)]);
    rig.tell_everything(0);
    rig.tell_everything(1);
    let pass = v1::BallotState::Pass;
    assert_eq!(states(&rig), [pass, pass, none]);
    rig.feed(Input::Subject(rig.subject.clone()));
    assert!(rig.asked.is_empty(), "once is enough");
}

#[test]
fn a_follower_asks_again_for_a_region_that_it_did_not_know_the_check_to_be_looked_at_from() {
    let mut rig = Rig::up(2, 2);
    let mut behind = rig.subject.clone();
    behind.assignees.truncate(1);
    Arc::make_mut(&mut behind.check).regions.truncate(1);
    rig.engine = Engine::new(rig.now, false);
    rig.feed(Input::Subject(behind.clone()));
    rig.connect(0);
    rig.connect(1);
    let pass = v1::BallotState::Pass;
    assert_eq!(states(&rig), [pass]);
    // A verdict from before the edit comes first, and then the edit, before its probe is known.
    let mut half = rig.subject.clone();
    half.assignees[1] = None;
    rig.feed(Input::Subject(behind));
    rig.feed(Input::Subject(half));
    assert!(rig.asked.is_empty());
    rig.feed(Input::Subject(rig.subject.clone()));
    assert_eq!(rig.asked, [voter(1, 1)]);
    rig.tell_everything(1);
    assert_eq!(states(&rig), [pass; 2]);
}
