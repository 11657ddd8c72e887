//! A new leader, and whoever follows.

use super::*;

#[test]
fn a_new_leader_opens_at_once_and_resolves_only_when_all_were_heard() {
    let mut rig = Rig::at_start(3, 2);
    rig.commit(|subject| subject.verdict = Verdict::Up);
    for rank in 0..3 {
        for _ in 0..2 {
            rig.run_untold(rank);
        }
    }
    for rank in 0..2 {
        let now = rig.now;
        for _ in 0..2 {
            rig.probes[rank].remember(Outcome::Fail, 0, now);
        }
    }
    rig.connect(0);
    assert_eq!(rig.take_applied(), "", "one region's snapshot says nothing, not even unknown");
    rig.connect(1);
    assert_eq!(rig.take_applied(), "down!", "two fresh fails are enough, whoever is missing");

    // Another leader takes office; two regions have recovered, one was not heard.
    let mut engine = Rig::at_start(3, 2);
    engine.commit(|subject| subject.verdict = Verdict::Down);
    engine.commit(|subject| subject.open_incident = Some(CHECK));
    for rank in 0..2 {
        engine.run_untold(rank);
        engine.run_untold(rank);
        engine.connect(rank);
    }
    engine.advance(9_900);
    assert_eq!(engine.take_applied(), "");
    engine.advance(100);
    assert_eq!(engine.take_applied(), "up.", "the grace is over");

    // And when everybody was heard there is nothing to wait for.
    let mut engine = Rig::at_start(3, 2);
    engine.commit(|subject| subject.verdict = Verdict::Down);
    engine.commit(|subject| subject.open_incident = Some(CHECK));
    for rank in 0..3 {
        engine.run_untold(rank);
        engine.run_untold(rank);
        assert_eq!(engine.take_applied(), "");
        engine.connect(rank);
    }
    assert_eq!(engine.take_applied(), "up.");
}

#[test]
fn nothing_heard_is_unknown_once_the_grace_is_over() {
    let mut rig = Rig::at_start(3, 2);
    rig.commit(|subject| subject.verdict = Verdict::Up);
    rig.advance(9_999);
    assert_eq!(rig.take_applied(), "");
    rig.advance(1);
    assert_eq!(rig.take_applied(), "unknown");
}

#[test]
fn a_new_leader_confirms_anew_what_was_failing() {
    let mut rig = Rig::at_start(3, 2);
    rig.commit(|subject| subject.verdict = Verdict::Up);
    let now = rig.now;
    for rank in 0..3 {
        rig.run_untold(rank);
        rig.run_untold(rank);
    }
    rig.connect(1);
    rig.connect(2);
    assert_eq!(rig.take_orders(), "");
    rig.probes[0].remember(Outcome::Fail, 0, now);
    rig.connect(0);
    assert_eq!(rig.take_orders(), "0=1 1=2 2=2");

    // A follower folds, and asks nobody; once in office it does.
    let mut rig = Rig::up(3, 2);
    rig.take_orders();
    rig.feed(Input::Leadership(false));
    rig.run(0, Outcome::Fail);
    assert_eq!(rig.take_orders(), "");
    assert_eq!(rig.engine.wake_at(), None);
    rig.feed(Input::Leadership(true));
    assert_eq!(rig.take_orders(), "0=1 1=2 2=2");
}

#[test]
fn a_follower_is_warm() {
    let mut rig = Rig::up(3, 2);
    rig.take_applied();
    rig.feed(Input::Leadership(false));
    play(&mut rig, "0F 0F 1F 1F");
    assert_eq!(rig.take_applied(), "", "a follower proposes nothing");
    rig.feed(Input::Leadership(true));
    assert_eq!(rig.take_applied(), "down!");
}

#[test]
fn lanes_that_are_half_open_do_not_end_the_grace() {
    let mut rig = Rig::up(3, 2);
    rig.take_applied();
    rig.feed(Input::Leadership(false));
    // Nothing comes on two lanes any more, and nothing says that they ended.
    rig.probes[0].alive = false;
    rig.probes[1].alive = false;
    rig.advance(5_000);
    rig.feed(Input::Leadership(true));
    rig.advance(9_900);
    assert_eq!(rig.take_applied(), "", "there may be another way to them");
    rig.advance(200);
    assert_eq!(rig.take_applied(), "unknown");
}
