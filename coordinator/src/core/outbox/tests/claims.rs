//! Who sends, and when it becomes somebody else.

use parallax_proto::store::AttemptEnd;
use parallax_proto::v1::{HandOver, PageReassigned};

use super::*;

fn group(heard: &[u64]) -> Members {
    let voters = [1, 2, 3].into();
    Members { leader: None, voters, heard: heard.iter().copied().collect() }
}

/// An outbox of a member of three that hears these others.
fn member(node_id: u64, heard: &[u64]) -> Outbox {
    let mut outbox = Outbox::new(node_id);
    outbox.members(group(heard));
    outbox
}

fn no_way() -> Report {
    Report::NotSent("no route".into())
}

/// The moves among the drafts, as (from, to, why), committed.
fn moves(outbox: &mut Outbox, incident: &mut Incident, seconds: i64) -> Vec<(u64, u64, HandOver)> {
    let drafts = outbox.drafts();
    for update in &drafts {
        intents::update(incident, update, at(seconds));
    }
    outbox.put(incident, Origin::Applied);
    let moves = drafts.iter().filter(|update| update.claimed_by != 0);
    moves.map(|update| (update.claimed_from, update.claimed_by, update.why())).collect()
}

fn told(incident: &Incident) -> Vec<PageReassigned> {
    let event = |event: &parallax_proto::v1::TimelineEvent| match &event.event {
        Some(Event::PageReassigned(event)) => Some(event.clone()),
        _ => None,
    };
    incident.timeline.iter().filter_map(event).collect()
}

#[test]
fn a_member_sends_what_it_holds_whoever_leads_and_nothing_else() {
    let incident = opened("i", &["a"], 0);
    for (node_id, leads, sent) in [(1, true, 1), (1, false, 1), (2, false, 0)] {
        let mut outbox = member(node_id, &[1, 2, 3]);
        outbox.lead(leads);
        outbox.put(&incident, Origin::Applied);
        assert_eq!(sends(&mut outbox, 0).len(), sent, "{node_id} {leads}");
        assert!(outbox.drafts().is_empty());
    }
}

#[test]
fn after_three_attempts_without_a_connection_another_member_goes_on() {
    let mut incident = opened("i", &["a"], 0);
    let (mut one, mut two) = (member(1, &[2, 3]), member(2, &[1, 3]));
    one.lead(true);
    one.put(&incident, Origin::Applied);
    two.put(&incident, Origin::Applied);
    for second in [0, 1, 3] {
        assert_eq!(sends(&mut one, second).len(), 1, "{second}");
        one.finished("i:a:opened", no_way(), at(second), 0.0);
        assert_eq!(moves(&mut one, &mut incident, second), []);
    }
    // It has stopped, and waits for the leader, which is itself.
    assert!(intents::has_stopped(&incident.deliveries[0]));
    assert!(sends(&mut one, 100).is_empty());
    one.put(&incident, Origin::Applied);
    assert_eq!(moves(&mut one, &mut incident, 3), [(1, 2, HandOver::Unreached)]);
    let page = &incident.deliveries[0];
    assert_eq!((page.claimed_by, page.attempts, page.unreached), (2, 3, 0));
    assert!(!page.ambiguous, "nothing was in flight");
    assert_eq!((told(&incident)[0].from, told(&incident)[0].to), (1, 2));
    // Attempts and back-off go with it: 4 s after the third attempt.
    two.put(&incident, Origin::Applied);
    assert!(sends(&mut two, 6).is_empty());
    let sent = two.ready(at(7));
    assert_eq!((sent[0].attempt, sent[0].key.as_str()), (4, "i:a:opened"));
    two.finished("i:a:opened", ok(), at(7), 0.0);
    settle(&mut two, &mut incident, at(7));
    // The end goes to who has a way, and no second end is needed.
    end(&mut incident, 20);
    assert_eq!(incident.deliveries[1].claimed_by, 2);
    two.put(&incident, Origin::Applied);
    attempt(&mut two, &mut incident, 20, ok());
    assert_eq!(states(&incident), "opened sent, resolved sent");
}

#[test]
fn a_page_goes_round_all_members_and_begins_anew_when_none_has_a_way() {
    let mut incident = opened("i", &["a"], 0);
    let mut boxes: BTreeMap<u64, Outbox> = [1, 2, 3].map(|id| (id, member(id, &[1, 2, 3]))).into();
    boxes.get_mut(&1).unwrap().lead(true);
    let mut holders = Vec::new();
    for second in 0..4_000 {
        for outbox in boxes.values_mut() {
            outbox.put(&incident, Origin::Applied);
            for send in outbox.ready(at(second)) {
                outbox.finished(&send.key, no_way(), at(second), 0.0);
            }
            for update in outbox.drafts() {
                intents::update(&mut incident, &update, at(second));
            }
        }
        let holder = incident.deliveries[0].claimed_by;
        if holders.last() != Some(&holder) {
            holders.push(holder);
        }
    }
    assert_eq!(holders, [1, 2, 3, 1, 2, 3, 1, 2][..holders.len()], "{holders:?}");
    assert!(holders.len() >= 5, "{holders:?}");
    assert!(!incident.deliveries[0].ambiguous);
}

#[test]
fn a_way_that_failed_for_one_page_is_the_last_choice_for_the_next() {
    let mut before = opened("before", &["a"], 0);
    before.deliveries[0].unreached_by = vec![2];
    before.deliveries[0].claimed_by = 3;
    let mut incident = opened("i", &["a"], 0);
    incident.deliveries[0].unreached = 3;
    incident.deliveries[0].unreached_by = vec![1];
    let mut outbox = member(1, &[2, 3]);
    outbox.lead(true);
    // It took over what the predecessor, whom it does not know, had claimed.
    outbox.put(&before, Origin::Applied);
    outbox.drafts();
    outbox.put(&incident, Origin::Applied);
    assert_eq!(moves(&mut outbox, &mut incident, 0), [(1, 3, HandOver::Unreached)]);
}

#[test]
fn a_group_of_one_keeps_its_claims() {
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    let mut attempts = 0;
    for second in 0..100 {
        for send in outbox.ready(at(second)) {
            attempts += 1;
            outbox.finished(&send.key, no_way(), at(second), 0.0);
        }
        outbox.overdue(at(second));
        for _ in 0..2 {
            settle(&mut outbox, &mut incident, at(second));
        }
    }
    assert_eq!(attempts, 7, "1 s, 2 s, 4 s and so on, without a break");
    let page = &incident.deliveries[0];
    assert_eq!((page.claimed_by, page.handed_over, page.ambiguous), (ME, 0, false));
    assert!(told(&incident).is_empty());
}

#[test]
fn a_page_whose_first_turn_is_not_come_changes_hands_without_doubt() {
    #[rustfmt::skip]
    let table = [
        // due, attempts before, in doubt when it moves at 100
        (None,      0, true),
        (Some(90),  0, true),
        (Some(115), 0, true), // The holder's clock may be ahead.
        (Some(116), 0, false),
        (Some(116), 1, true),
    ];
    for (due, attempts, ambiguous) in table {
        let mut incident = opened("i", &["a"], 0);
        incident.deliveries[0].next_attempt_at = due.map(|due| stamp::timestamp(at(due)));
        incident.deliveries[0].attempts = attempts;
        let mut outbox = member(2, &[1, 3]);
        outbox.put(&incident, Origin::Applied);
        outbox.lead(true);
        assert_eq!(moves(&mut outbox, &mut incident, 100), [(1, 2, HandOver::NewLeader)]);
        assert_eq!(incident.deliveries[0].ambiguous, ambiguous, "{due:?} {attempts}");
    }
}

#[test]
fn without_an_answer_for_15_s_another_member_goes_on_in_doubt() {
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = member(1, &[2, 3]);
    outbox.lead(true);
    outbox.put(&incident, Origin::Applied);
    // In flight, and nothing comes back.
    assert_eq!(sends(&mut outbox, 0).len(), 1);
    assert_eq!(outbox.overdue_at(), Some(at(15)));
    outbox.overdue(at(14));
    assert!(outbox.drafts().is_empty());
    outbox.overdue(at(15));
    assert_eq!(moves(&mut outbox, &mut incident, 15), [(1, 2, HandOver::Unanswered)]);
    assert!(incident.deliveries[0].ambiguous);
    // The next one has its own 15 s.
    assert_eq!(outbox.overdue_at(), Some(at(30)));
    // What comes back late is recorded: sent is sent, under the one key.
    outbox.finished("i:a:opened", ok(), at(20), 0.0);
    settle(&mut outbox, &mut incident, at(20));
    assert_eq!(states(&incident), "opened sent");
    assert_eq!(outbox.depth(), (0, 0));
    // Its end is said twice, as after any doubt.
    end(&mut incident, 30);
    outbox.put(&incident, Origin::Applied);
    attempt(&mut outbox, &mut incident, 30, ok());
    assert_eq!(states(&incident), "opened sent, resolved sent, resolved/again pending");
}

#[test]
fn what_waits_for_room_at_the_leader_is_passed_to_nobody() {
    let mut outbox = member(1, &[2, 3]);
    outbox.lead(true);
    for number in 0..PAGES_PER_CONTACT_MAX + 4 {
        outbox.put(&opened(&format!("i{number}"), &["a"], 0), Origin::Applied);
    }
    let under_way: BTreeSet<String> =
        outbox.ready(at(0)).into_iter().map(|send| send.key).collect();
    assert_eq!(under_way.len(), PAGES_PER_CONTACT_MAX);
    outbox.overdue(at(15));
    let moved: BTreeSet<String> =
        outbox.drafts().into_iter().map(|update| update.idempotency_key).collect();
    assert_eq!(moved, under_way, "nobody has begun with the others");
    assert_eq!(outbox.overdue_at(), Some(at(30)), "they are looked at again");
    for key in &under_way {
        outbox.finished(key, ok(), at(16), 0.0);
    }
    assert_eq!(outbox.ready(at(16)).len(), 4);
}

#[test]
fn an_answer_keeps_the_claim_however_bad_it_is() {
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = member(1, &[2, 3]);
    outbox.lead(true);
    outbox.put(&incident, Origin::Applied);
    for second in 0..600 {
        for send in outbox.ready(at(second)) {
            outbox.finished(&send.key, status(503), at(second), 0.0);
        }
        outbox.overdue(at(second));
        assert_eq!(moves(&mut outbox, &mut incident, second), [], "{second}");
    }
    assert!(incident.deliveries[0].attempts > 5);
}

#[test]
fn a_new_leader_takes_what_its_predecessor_and_the_unheard_had() {
    #[rustfmt::skip]
    let table = [
        // holder, predecessor, heard, taken at once
        (2, Some(2), vec![2, 3], true),
        (3, Some(2), vec![2, 3], false),
        (3, Some(2), vec![2],    true),
        (3, None,    vec![2, 3], true),
        (1, Some(2), vec![2, 3], false),
    ];
    for (holder, before, heard, taken) in table {
        let mut incident = opened("i", &["a"], 0);
        incident.deliveries[0].claimed_by = holder;
        let mut outbox = Outbox::new(1);
        outbox.members(Members { leader: before, ..group(&heard) });
        outbox.members(Members { leader: Some(1), ..group(&heard) });
        outbox.put(&incident, Origin::Applied);
        outbox.lead(true);
        let story = format!("{holder} {before:?} {heard:?}");
        let expected = [(holder, 1, HandOver::NewLeader)];
        let expected = if taken { &expected[..] } else { &[] };
        assert_eq!(moves(&mut outbox, &mut incident, 1), expected, "{story}");
        assert_eq!(incident.deliveries[0].ambiguous, taken, "{story}");
        assert_eq!(sends(&mut outbox, 1).len(), usize::from(taken || holder == 1), "{story}");
        // Once: what it gives to that member later stays there.
        if taken {
            incident.deliveries[0].claimed_by = holder;
            outbox.put(&incident, Origin::Applied);
            assert!(outbox.drafts().is_empty(), "{story}");
        }
    }
}

#[test]
fn a_claim_that_was_not_committed_is_drafted_again_and_a_late_one_changes_nothing() {
    let mut incident = opened("i", &["a"], 0);
    incident.deliveries[0].claimed_by = 2;
    let mut outbox = member(1, &[2, 3]);
    outbox.put(&incident, Origin::Applied);
    outbox.lead(true);
    let first = outbox.drafts();
    outbox.put(&incident, Origin::Applied);
    assert!(outbox.drafts().is_empty(), "one at a time");
    outbox.lost(&first[0]);
    assert_eq!(outbox.drafts(), first);
    assert!(intents::update(&mut incident, &first[0], at(1)));
    incident.deliveries[0].claimed_by = 3;
    assert!(!intents::update(&mut incident, &first[0], at(2)), "the holder is another by now");
    assert_eq!(incident.deliveries[0].claimed_by, 3);
}

#[test]
fn a_member_without_a_vote_is_given_nothing_and_loses_what_it_has() {
    let mut incident = opened("i", &["a"], 0);
    incident.deliveries[0].claimed_by = 4;
    let mut outbox = member(1, &[2, 3, 4]);
    outbox.lead(true);
    outbox.put(&incident, Origin::Applied);
    assert_eq!(moves(&mut outbox, &mut incident, 0), [(4, 1, HandOver::NoVoter)]);
}

#[test]
fn a_late_result_of_a_former_holder_corrupts_nothing() {
    #[rustfmt::skip]
    let table = [
        // what the former holder finds out late, state, may have been received
        (ok(),                                  "opened sent",    true),
        (status(503),                           "opened pending", true),
        (no_way(),                              "opened pending", true),
        (Report::Ambiguous("no answer".into()), "opened pending", true),
    ];
    for (report, state, ambiguous) in table {
        let mut incident = opened("i", &["a"], 0);
        let mut outbox = member(1, &[2, 3]);
        outbox.lead(true);
        outbox.put(&incident, Origin::Applied);
        outbox.ready(at(0));
        outbox.overdue(at(15));
        moves(&mut outbox, &mut incident, 15);
        // The new holder had an answer meanwhile, which says when to go on.
        let answer = PageUpdate {
            idempotency_key: "i:a:opened".into(),
            state: DeliveryState::Pending.into(),
            attempts: 1,
            next_attempt_utc_ns: at(40).as_ns(),
            error: "HTTP status 503".into(),
            sent_by: 2,
            end: AttemptEnd::Answered.into(),
            ..Default::default()
        };
        intents::update(&mut incident, &answer, at(16));
        outbox.put(&incident, Origin::Applied);
        outbox.finished("i:a:opened", report.clone(), at(60), 0.0);
        settle(&mut outbox, &mut incident, at(60));
        let page = &incident.deliveries[0];
        assert_eq!(states(&incident), state, "{report:?}");
        assert_eq!((page.claimed_by, page.ambiguous), (2, ambiguous), "{report:?}");
        if state == "opened pending" {
            assert_eq!(stamp::utc(page.next_attempt_at.as_ref()), at(40), "{report:?}");
            assert_eq!(page.unreached, 0, "{report:?}");
        }
        let known = outbox.chains.values().all(|chain| chain.settling.is_none());
        assert!(known, "{report:?}");
    }
}

#[test]
fn a_page_that_was_given_up_and_turns_out_to_be_sent_is_sent() {
    let mut incident = opened("i", &["a"], 0);
    let dead = PageUpdate {
        idempotency_key: "i:a:opened".into(),
        state: DeliveryState::Dead.into(),
        attempts: 9,
        sent_by: ME,
        ..Default::default()
    };
    assert!(intents::update(&mut incident, &dead, at(1)));
    end(&mut incident, 2);
    assert_eq!(states(&incident), "opened dead");
    let late = PageUpdate { state: DeliveryState::Sent.into(), sent_by: 2, ..dead };
    assert!(intents::update(&mut incident, &late, at(3)));
    assert_eq!(states(&incident), "opened sent, resolved pending");
}

#[test]
fn only_the_first_hand_overs_stand_in_the_timeline() {
    let mut incident = opened("i", &["a"], 0);
    for n in 0..30 {
        let (from, to) = (1 + n % 2, 2 - n % 2);
        let update = PageUpdate {
            idempotency_key: "i:a:opened".into(),
            claimed_from: from,
            claimed_by: to,
            why: HandOver::Unanswered.into(),
            ..Default::default()
        };
        assert!(intents::update(&mut incident, &update, at(n as i64)));
    }
    assert_eq!(told(&incident).len(), parallax_common::limits::HAND_OVERS_TOLD_MAX);
    assert_eq!(incident.deliveries[0].handed_over, 30);
}

#[test]
fn the_newest_state_has_the_last_word_before_a_page_goes_out() {
    let mut incident = opened("i", &["a"], 0);
    end(&mut incident, 1);
    let attempt = |key: &str, attempt| Send {
        incident: "i".into(),
        contact: "a".into(),
        key: key.into(),
        kind: PageKind::Opened,
        attempt,
    };
    let first = attempt("i:a:opened", 1);
    assert!(may_send(&incident, &first, ME));
    assert!(!may_send(&incident, &first, 2), "another's claim");
    assert!(!may_send(&incident, &attempt("i:a:opened", 2), ME), "another attempt's turn");
    assert!(!may_send(&incident, &attempt("i:a:resolved", 1), ME), "not its turn");
    assert!(!may_send(&incident, &attempt("i:b:opened", 1), ME), "no such page");
    incident.deliveries[0].unreached = 3;
    assert!(!may_send(&incident, &first, ME), "the leader has to speak first");
    incident.deliveries[0].state = DeliveryState::Sent.into();
    assert!(may_send(&incident, &attempt("i:a:resolved", 1), ME));
    // Withdrawn: it waits for news, and is not counted as an attempt.
    let mut outbox = leading();
    outbox.put(&opened("j", &["a"], 0), Origin::Applied);
    assert_eq!(sends(&mut outbox, 0).len(), 1);
    outbox.withdrawn("j:a:opened");
    assert_eq!((outbox.depth(), outbox.wake_at()), ((1, 0), None));
    assert!(outbox.drafts().is_empty());
    outbox.put(&opened("j", &["a"], 0), Origin::Applied);
    assert_eq!(outbox.ready(at(0))[0].attempt, 1);
}

#[test]
fn what_changes_nothing_is_settled_all_the_same() {
    // Another member has sent it while our attempt was in flight: it is known before we know.
    let mut incident = opened("i", &["a"], 0);
    let mut outbox = leading();
    outbox.put(&incident, Origin::Applied);
    outbox.ready(at(0));
    incident.deliveries[0].state = DeliveryState::Sent.into();
    outbox.put(&incident, Origin::Applied);
    outbox.finished("i:a:opened", ok(), at(1), 0.0);
    assert!(outbox.drafts().is_empty());
    assert_eq!(outbox.depth(), (0, 0));
    // The same, only that we hear of it after our result was committed, which changed nothing.
    let incident = opened("j", &["a"], 0);
    outbox.put(&incident, Origin::Applied);
    outbox.ready(at(1));
    outbox.finished("j:a:opened", ok(), at(1), 0.0);
    let drafts = outbox.drafts();
    outbox.committed(&drafts[0]);
    assert_eq!(outbox.depth(), (1, 0));
    let mut incident = incident;
    incident.deliveries[0].state = DeliveryState::Sent.into();
    outbox.put(&incident, Origin::Applied);
    assert_eq!(outbox.depth(), (0, 0));
}

#[test]
fn a_state_that_came_whole_takes_the_place_of_what_was_known() {
    let mut outbox = member(2, &[1, 3]);
    let mut boxes = Vec::new();
    for uid in ["mine", "left"] {
        let mut incident = opened(uid, &["a"], 0);
        incident.deliveries[0].claimed_by = 2;
        outbox.put(&incident, Origin::Applied);
        boxes.push(incident);
    }
    outbox.put(&opened("idle", &["a"], 0), Origin::Applied);
    assert_eq!(outbox.ready(at(0)).len(), 2);
    let ours: Vec<String> = outbox.reset().into_iter().collect();
    assert_eq!(ours, ["left", "mine"], "what is in flight is kept");
    outbox.put(&boxes[0], Origin::Loaded(at(1)));
    outbox.gone("left");
    outbox.finished("mine:a:opened", ok(), at(1), 0.0);
    outbox.finished("left:a:opened", ok(), at(1), 0.0);
    assert_eq!(outbox.drafts.len(), 1, "nobody is there to hear of the other");
    settle(&mut outbox, &mut boxes[0], at(1));
    assert_eq!(states(&boxes[0]), "opened sent");
    assert_eq!(outbox.depth(), (0, 0));
}
