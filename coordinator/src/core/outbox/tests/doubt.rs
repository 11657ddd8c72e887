//! An end that is there before its opening was delivered for certain: one message, and when the end
//! follows it.

use super::*;

#[test]
fn what_an_earlier_life_may_have_said_is_said_with_its_end_and_the_end_follows() {
    let mut incident = opened("i", &["a"], 0);
    end(&mut incident, 1);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Loaded(at(1)));
    // No opening: the earlier life may have said both, and whoever saw that would see it begin anew.
    assert_eq!(sends(&mut outbox, 2), [page("i:a:opened", PageKind::Combined)]);
    outbox.finished("i:a:opened", ok(), at(2), 0.0);
    settle(&mut outbox, &mut incident, at(2));
    assert!(incident.deliveries[0].ambiguous);
    assert_eq!(sends(&mut outbox, 2), [page("i:a:resolved", PageKind::Resolved)]);
}

#[test]
fn what_said_both_without_an_answer_says_both_again() {
    let mut incident = opened("i", &["a"], 0);
    end(&mut incident, 1);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    assert_eq!(sends(&mut outbox, 1), [page("i:a:opened", PageKind::Combined)]);
    outbox.finished("i:a:opened", Report::Ambiguous("reset".into()), at(1), 0.0);
    settle(&mut outbox, &mut incident, at(1));
    assert_eq!(sends(&mut outbox, 3), [page("i:a:opened", PageKind::Combined)]);
    outbox.finished("i:a:opened", ok(), at(3), 0.0);
    settle(&mut outbox, &mut incident, at(3));
    assert_eq!(states(&incident), "opened sent, resolved pending");
}

#[test]
fn what_was_not_due_before_this_life_began_is_in_no_doubt() {
    for (began, end_is) in [(50, "dropped"), (150, "pending")] {
        let mut incident = opened("i", &["a"], 0);
        intents::pace(&mut incident.deliveries[0], at(100), at(0));
        end(&mut incident, 1);
        let mut outbox = leading();
        outbox.put(&incident, Origin::Loaded(at(began)));
        let both = page("i:a:opened", PageKind::Combined);
        assert_eq!(sends(&mut outbox, 200), [both], "{began}");
        outbox.finished("i:a:opened", ok(), at(201), 0.0);
        settle(&mut outbox, &mut incident, at(201));
        assert_eq!(states(&incident), format!("opened sent, resolved {end_is}"), "{began}");
    }
}
