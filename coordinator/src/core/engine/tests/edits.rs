//! Edited, moved and disabled checks: which votes still count.

use super::*;

#[test]
fn an_edit_keeps_the_incident_and_asks_for_votes_of_the_new_digest() {
    let mut rig = Rig::up(3, 2);
    play(&mut rig, "0F 0F 1F 1F");
    rig.take_applied();
    rig.commit(|subject| {
        let check = Arc::make_mut(&mut subject.check);
        check.run_digest = RunDigest(2);
        check.etag += 1;
    });
    assert_eq!(rig.take_applied(), "unknown");
    play(&mut rig, "0P 0P 1P 1P 2P 2P");
    assert_eq!(rig.take_applied(), "", "passes of the old version count for nothing");
    for rank in 0..3 {
        for _ in 0..2 {
            let now = rig.now;
            let mut record = rig.probes[rank].remember(Outcome::Pass, 0, now);
            record.digest = RunDigest(2);
            rig.probes[rank].sequence += 1;
            let first_sequence = rig.probes[rank].sequence;
            let (voter, session) = (voter(rank, 1), rig.probes[rank].session());
            rig.feed(Input::Outcomes { voter, session, first_sequence, records: vec![record] });
        }
    }
    // At two of three the incident ends: one more pass moves nothing.
    assert_eq!(rig.take_applied(), "up.");
}

#[test]
fn an_edit_that_is_taken_back_neither_opens_nor_resolves_by_old_votes() {
    for (first, second) in [(Outcome::Fail, Outcome::Pass), (Outcome::Pass, Outcome::Fail)] {
        let mut rig = Rig::new(3, 2);
        let tell = |rig: &mut Rig, digest, outcome| {
            for rank in [0, 1, 2, 0, 1, 2] {
                let now = rig.now;
                let mut record = rig.probes[rank].remember(outcome, 0, now);
                record.digest = RunDigest(digest);
                rig.probes[rank].sequence += 1;
                let first_sequence = rig.probes[rank].sequence;
                let (voter, session) = (voter(rank, 1), rig.probes[rank].session());
                rig.feed(Input::Outcomes { voter, session, first_sequence, records: vec![record] });
            }
            rig.advance(1_000);
        };
        let edit = |rig: &mut Rig, digest| {
            rig.commit(|subject| {
                let check = Arc::make_mut(&mut subject.check);
                check.run_digest = RunDigest(digest);
                check.etag += 1;
            });
            rig.advance(1_000);
        };
        tell(&mut rig, 1, first);
        edit(&mut rig, 2);
        tell(&mut rig, 2, second);
        let open = rig.subject.open_incident.is_some();
        assert_eq!(open, second == Outcome::Fail);
        rig.take_applied();
        edit(&mut rig, 1);
        assert_eq!(rig.subject.open_incident.is_some(), open, "{}", rig.take_applied());
        tell(&mut rig, 1, first);
        assert_eq!(rig.subject.open_incident.is_some(), first == Outcome::Fail);
    }
}

#[test]
fn regions_that_stay_keep_their_votes() {
    let mut rig = Rig::up(3, 2);
    play(&mut rig, "0F 0F 1F 1F");
    rig.take_applied();
    // Region 2 goes, ranks close up: R = 2 asks for two passes.
    rig.commit(|subject| {
        let check = Arc::make_mut(&mut subject.check);
        check.regions.remove(0);
        check.etag += 1;
        subject.assignees.remove(0);
    });
    assert_eq!(rig.take_applied(), "", "one of two fails: still the same incident");
    play(&mut rig, "1P 1P");
    assert_eq!(rig.take_applied(), "up.");
}

#[test]
fn a_disabled_check_is_forgotten_and_starts_with_empty_ballots() {
    let mut rig = Rig::up(3, 2);
    rig.take_applied();
    rig.commit(|subject| Arc::make_mut(&mut subject.check).enabled = false);
    assert!(rig.engine.live_ballots(CHECK, rig.now).is_empty());
    play(&mut rig, "0F 0F 1F 1F");
    assert_eq!(rig.take_applied(), "");
    rig.commit(|subject| {
        Arc::make_mut(&mut subject.check).enabled = true;
        subject.verdict = Verdict::Unknown;
    });
    let states: Vec<_> =
        rig.engine.live_ballots(CHECK, rig.now).iter().map(v1::Ballot::state).collect();
    assert_eq!(states, [v1::BallotState::None; 3]);
}
