//! The engine's behaviour as stories of a few lines and as rows of events.

mod edits;
mod office;
mod panels;
pub(crate) mod rig;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use parallax_common::name::RunDigest;
use parallax_common::outcome::{Outcome, Verdict};
use parallax_proto::v1;

use self::rig::{CHECK, Rig, voter};
use super::{Action, Engine, Heartbeat, Input, Output, VerdictDraft};

/// Plays events: `0P` region 0 passes, `1F` region 1 fails, `2W`, `2M`; small letters are ordered
/// runs; `+500` time passes; `-1` probe 1 dies, `^1` it connects; `x1` it is excluded, `y1` no more.
fn play(rig: &mut Rig, events: &str) {
    for event in events.split_whitespace() {
        let rank = |text: &str| text.parse::<usize>().unwrap();
        match event.split_at(1) {
            ("+", ms) => rig.advance(ms.parse().unwrap()),
            ("-", who) => rig.kill(rank(who)),
            ("^", who) => rig.connect(rank(who)),
            (mark @ ("x" | "y"), who) => {
                let voter = rig.probes[rank(who)].voter.clone();
                rig.feed(Input::Exclude { voter, excluded: mark == "x" });
            }
            (who, kind) => {
                let outcome = match kind.to_ascii_uppercase().as_str() {
                    "P" => Outcome::Pass,
                    "W" => Outcome::Warn,
                    "F" => Outcome::Fail,
                    "M" => Outcome::Missed,
                    other => panic!("no event is written {other}"),
                };
                if kind.chars().all(|letter| letter.is_ascii_lowercase()) {
                    rig.run_ordered(rank(who), outcome);
                } else {
                    rig.run(rank(who), outcome);
                }
            }
        }
    }
}

#[test]
fn verdicts_follow_their_rows() {
    #[rustfmt::skip]
    let rows = [
        // regions, failures, events after all regions are up, what is applied (! opens, . resolves)
        (1, 2, "0F",                              ""),
        (1, 2, "0F 0F",                           "down!"),
        (1, 2, "0F 0F 0P",                        "down!"),
        (1, 2, "0F 0F 0P 0P",                     "down! up."),
        (1, 1, "0F",                              "down!"),
        (2, 2, "0F 0F",                           "degraded"),
        (2, 2, "0F 0F 1F 1F",                     "degraded down!"),
        (2, 2, "0F 0F 1F 1F 0P 0P",               "degraded down!"),
        (2, 2, "0F 0F 1F 1F 0P 0P 1P 1P",         "degraded down! up."),
        (3, 2, "0F 0F",                           "degraded"),
        (3, 2, "0F 0F 0P 0P",                     "degraded up"),
        (3, 2, "0F 1F 0F 1F",                     "degraded down!"),
        (3, 2, "0F 1F 0F 1F 0P 0P",               "degraded down! degraded."),
        (3, 2, "0F 1F 0F 1F 0P 0P 1P 1P",         "degraded down! degraded. up"),
        (3, 2, "0F 1F 2F 0F 1F 2F 0P 0P",         "degraded down!"),
        (3, 2, "0F 1P 0F 1F 1P 1F",               "degraded"),
        (5, 2, "0F 0F 1F 1F",                     "degraded"),
        (5, 2, "0F 0F 1F 1F 2F 2F",               "degraded down!"),
        (4, 2, "0F 0F 1F 1F",                     "degraded"),
        (3, 2, "0W 0W",                           ""),
        (3, 2, "0W 0W 1W 1W",                     "degraded"),
        // Silence: two of three probes die, and the third fails.
        (3, 2, "-1 -2 +10000",                    "unknown"),
        (3, 2, "-1 -2 +10000 0F 0F",              "unknown"),
        (3, 2, "-1 +10000",                       ""),
        (3, 2, "-1 +10000 0F 0F",                 "degraded"),
        (3, 2, "-1 +10000 0F 0F 2F 2F",           "degraded down!"),
        (3, 2, "-1 -2 +10000 ^1",                 "unknown up"),
        // A session that ends and comes back in time is not noticed.
        (3, 2, "-1 -2 +4000 ^1 ^2 +20000",        ""),
        // A witness that dies does not resolve, nor does one that is excluded.
        (3, 2, "0F 0F 1F 1F -0 +10000",           "degraded down!"),
        (3, 2, "0F 0F 1F 1F -0 -1 +10000",        "degraded down! unknown"),
        (3, 2, "0F 0F 1F 1F x0",                  "degraded down!"),
        (3, 2, "0F 0F 1F 1F x0 x1",               "degraded down! unknown"),
        (3, 2, "0F 0F 1F 1F x0 x1 y0",            "degraded down! unknown down"),
        (3, 2, "0F 0F 1F 1F -2 +10000 0P 0P",     "degraded down!"),
        (3, 2, "0F 0F 1F 1F -2 +9000 0P 0P ^2",   "degraded down! degraded."),
        // `missed` never votes.
        (1, 2, "0M 0M 0M",                        ""),
        (1, 2, "0F 0M 0F",                        "down!"),
        (1, 2, "0M +1000 0M +1000 0M +1000 0M +1000 0M +1000 0M +1000 0M +1000 0M +1000 0M",
                                                  "unknown"),
    ];
    for (regions, failures, events, expected) in rows {
        let mut rig = Rig::up(regions, failures);
        rig.take_applied();
        play(&mut rig, events);
        assert_eq!(rig.take_applied(), expected, "R = {regions}, failures {failures}: {events}");
    }
}

#[test]
fn orders_follow_their_rows() {
    #[rustfmt::skip]
    let rows = [
        // regions, failures, events after all regions are up, orders as region=runs
        (3, 2, "0F",                      "0=1 1=2 2=2"),
        (3, 1, "0F",                      "1=1 2=1"),
        (5, 3, "4F",                      "0=3 1=3 2=3 3=3 4=2"),
        (1, 2, "0F",                      "0=1"),
        (1, 1, "0F",                      ""),
        (2, 2, "1F",                      "0=2 1=1"),
        // A warning, a pass, a missed slot are no failure.
        (3, 2, "0W 1P 2M",                ""),
        // One at a time; what is ordered starts none, and what failed meanwhile and still fails is next.
        (3, 2, "0F 1F",                   "0=1 1=2 2=2"),
        (3, 2, "0F 1F 0p 1p 1p 2p 2p",    "0=1 1=2 2=2"),
        (3, 2, "0F 0p 1p 1p 1F 2p 2p",    "0=1 1=2 2=2 0=2 1=1 2=2"),
        (3, 2, "0F 0p 1p 1F +2900",       "0=1 1=2 2=2"),
        (3, 2, "0F 0p 1p 1F +3000",       "0=1 1=2 2=2 0=2 1=1 2=2"),
        (3, 2, "0F 1f",                   "0=1 1=2 2=2"),
        (3, 2, "0f",                      ""),
        // The next one comes when all was heard, or nothing can come any more.
        (3, 2, "0F 0p 1p 1p 2p 2p 0F",    "0=1 1=2 2=2 0=1 1=2 2=2"),
        (3, 2, "0F 0p 1p 1p 2p 0F",       "0=1 1=2 2=2"),
        (3, 2, "0F 0p +2900 0F",          "0=1 1=2 2=2"),
        (3, 2, "0F 0p +2900 0F +100",     "0=1 1=2 2=2 0=1 1=2 2=2"),
        (3, 2, "0F 0p +3000 0F",          "0=1 1=2 2=2 0=1 1=2 2=2"),
        // A streak is confirmed twice, then no more.
        (3, 2, "0F +3000 0F",             "0=1 1=2 2=2 0=1 1=2 2=2"),
        (3, 2, "0F +3000 0F +3000 0F",    "0=1 1=2 2=2 0=1 1=2 2=2"),
        // One that an ordered run began, as each region's does when the outage begins in a confirmation.
        (5, 2, "0F 0p 1f +3000 1F",       "0=1 1=2 2=2 3=2 4=2 0=2 1=1 2=2 3=2 4=2"),
        (3, 2, "0F 0f 1p 1p 2p 2p +3000 0F", "0=1 1=2 2=2 0=1 1=2 2=2"),
        // Of those that failed meanwhile the first that still does, whoever failed after it.
        (5, 2, "0F 0p 1p 1p 1F 2p 2p 2F 3p 3p 4p 4p", "0=1 1=2 2=2 3=2 4=2 0=2 1=1 2=2 3=2 4=2"),
        (5, 2, "0F 0p 1p 1p 1F 2p 2p 2F 2P 3p 3p 4p 4p", "0=1 1=2 2=2 3=2 4=2 0=2 1=1 2=2 3=2 4=2"),
        (5, 2, "0F 0p 1p 1p 1F 2p 2p 2F 1P 3p 3p 4p 4p", "0=1 1=2 2=2 3=2 4=2 0=2 1=2 2=1 3=2 4=2"),
        (5, 2, "0F 0p 1p 1p 1F 1P 2p 2p 2F 2P 3p 3p 4p 4p", "0=1 1=2 2=2 3=2 4=2"),
        // A region that fails already and one that begins to.
        (3, 2, "0F 0f 1p 1p 2p 2p 1F",    "0=1 1=2 2=2 0=2 1=1 2=2"),
        // One that fails already asks again while it is alone, and not once others fail, too.
        (5, 2, "0F 0f 1p 1p 2p 2p 3p 3p 4p 4p 0F", "0=1 1=2 2=2 3=2 4=2 0=1 1=2 2=2 3=2 4=2"),
        (5, 2, "0F 0f 1f 1f 2p 2p 3p 3p 4p 4p 0F 1F", "0=1 1=2 2=2 3=2 4=2"),
        // Who is away or excluded is not asked.
        (3, 2, "-2 0F",                   "0=1 1=2"),
        (3, 2, "-2 0F ^2",                "0=1 1=2"),
        (3, 2, "x2 0F",                   "0=1 1=2"),
        (3, 2, "x0 0F",                   ""),
        // Nobody is asked about what is down already.
        (3, 2, "0F 0f 1f 1f 2F",          "0=1 1=2 2=2"),
    ];
    for (regions, failures, events, expected) in rows {
        let mut rig = Rig::up(regions, failures);
        play(&mut rig, events);
        assert_eq!(rig.take_orders(), expected, "R = {regions}, failures {failures}: {events}");
    }
}

#[test]
fn ordered_runs_open_the_incident_without_waiting_for_the_schedule() {
    let mut rig = Rig::up(5, 2);
    rig.take_applied();
    rig.run(0, Outcome::Fail);
    let orders = std::mem::take(&mut rig.orders);
    assert_eq!(orders.len(), 5);
    let (_, order) = &orders[0];
    assert_eq!((order.check, order.run_digest), (CHECK, RunDigest(1)));
    assert_eq!(order.generation, rig.subject.generation);
    assert_eq!(order.expires, Duration::from_secs(2));
    assert_eq!(order.spacing, Duration::from_millis(50));
    let start = rig.now;
    for round in 0..2 {
        for (rank, order) in &orders {
            if round < order.count {
                rig.orders = vec![(*rank, order.clone())];
                rig.run_ordered(*rank, Outcome::Fail);
            }
        }
        rig.advance(50);
    }
    assert_eq!(rig.take_applied(), "degraded down!");
    assert!(rig.now.since(start) <= Duration::from_millis(100), "two rounds of one spacing");
}

#[test]
fn four_regions_split_in_halves_for_fifty_intervals_do_not_flap() {
    // Two fail and two pass all the time: never down. Then a third fails, and goes back and forth.
    let mut rig = Rig::up(4, 2);
    rig.take_applied();
    for _ in 0..50 {
        play(&mut rig, "0F +250 1F +250 2P +250 3P +250");
    }
    assert_eq!(rig.take_applied(), "degraded");
    for round in 0..50 {
        let third = if round % 2 == 0 { "2F" } else { "2P" };
        play(&mut rig, &format!("0F +250 1F +250 {third} +250 3P +250"));
    }
    assert_eq!(rig.take_applied(), "", "one run is no streak");
    for round in 0..50 {
        let third = if round % 6 < 3 { "2F" } else { "2P" };
        play(&mut rig, &format!("0F +250 1F +250 {third} +250 3P +250"));
    }
    assert_eq!(rig.take_applied(), "down!", "one incident, however often the third changes");
}

/// Tells what a region saw, and keeps what is proposed from being applied.
fn say(rig: &mut Rig, rank: usize, outcome: Outcome) -> Vec<VerdictDraft> {
    let now = rig.now;
    let record = rig.probes[rank].remember(outcome, 0, now);
    rig.probes[rank].sequence += 1;
    let first_sequence = rig.probes[rank].sequence;
    let (voter, session) = (voter(rank, 1), rig.probes[rank].session());
    handle(rig, Input::Outcomes { voter, session, first_sequence, records: vec![record] })
}

fn handle(rig: &mut Rig, input: Input) -> Vec<VerdictDraft> {
    let mut out = Vec::new();
    rig.engine.handle(input, rig.now, &mut out);
    let drafts = out.into_iter().filter_map(|output| match output {
        Output::Propose(draft) => Some(draft),
        Output::Order { .. } | Output::Resync(..) | Output::Ask(_) => None,
    });
    drafts.collect()
}

fn settled(draft: &VerdictDraft) -> Input {
    Input::ProposalSettled { check: CHECK, proposal: draft.proposal }
}

#[test]
fn one_proposal_is_under_way_at_a_time() {
    let mut rig = Rig::up(1, 1);
    let drafts = say(&mut rig, 0, Outcome::Fail);
    assert_eq!(drafts.len(), 1);
    assert_eq!(say(&mut rig, 0, Outcome::Fail), []);
    assert_eq!(say(&mut rig, 0, Outcome::Pass), []);
    // It was lost. The region still fails: one pass is no streak.
    rig.feed(settled(&drafts[0]));
    assert_eq!(rig.take_applied().split(' ').next_back(), Some("down!"));
}

#[test]
fn late_news_of_a_proposal_leave_the_newer_one_under_way() {
    let mut rig = Rig::up(3, 1);
    let first = say(&mut rig, 0, Outcome::Fail);
    assert_eq!(first.len(), 1);
    assert_eq!(say(&mut rig, 1, Outcome::Fail), [], "the first one is in its fsync");
    // It was applied, and what was applied comes before the news that it came to an end.
    assert!(rig::apply(&mut rig.subject, &first[0]));
    let subject = Input::Subject(rig.subject.clone());
    let second = handle(&mut rig, subject);
    assert!(matches!(&second[..], [draft] if draft.action == Action::Open), "{second:?}");
    assert_eq!(handle(&mut rig, settled(&first[0])), [], "nothing is proposed twice");
    assert!(rig::apply(&mut rig.subject, &second[0]));
    let subject = Input::Subject(rig.subject.clone());
    assert_eq!(handle(&mut rig, subject), []);
    assert_eq!(handle(&mut rig, settled(&second[0])), []);
    // The same with an edit instead of an entry of its own: the sequence stays, the proposal goes.
    let mut rig = Rig::up(1, 1);
    let first = say(&mut rig, 0, Outcome::Fail);
    Arc::make_mut(&mut rig.subject.check).etag += 1;
    let subject = Input::Subject(rig.subject.clone());
    let second = handle(&mut rig, subject);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(first[0].expected_sequence, second[0].expected_sequence);
    assert_eq!(handle(&mut rig, settled(&first[0])), []);
}

#[test]
fn a_refused_force_resolve_stays_shut_until_fewer_fail_once() {
    let mut rig = Rig::up(3, 2);
    play(&mut rig, "0F 0F 1F 1F");
    rig.take_applied();
    rig.commit(|subject| {
        subject.open_incident = None;
        subject.latched = true;
        subject.sequence += 1;
    });
    play(&mut rig, "0F 1F 2F 2F +5000");
    assert_eq!(rig.take_applied(), "", "still down, and nobody is paged");
    play(&mut rig, "0P 0P 1P 1P");
    assert_eq!(rig.take_applied(), "degraded");
    assert!(!rig.subject.latched);
    play(&mut rig, "0F 0F");
    assert_eq!(rig.take_applied(), "down!");
}

#[test]
fn the_record_holds_the_rule_the_tally_and_every_ballot() {
    let mut rig = Rig::up(3, 2);
    play(&mut rig, "-2 +10000 0F 0F 1F 1F");
    let record = &rig.applied.last().unwrap().record;
    assert_eq!(record.verdict(), v1::Verdict::Down);
    let rule = record.rule.as_ref().unwrap();
    assert_eq!((rule.regions, rule.down_at, rule.up_at, rule.floor), (3, 2, 2, 2));
    assert_eq!((rule.failures, rule.successes), (2, 2));
    assert_eq!((record.failing, record.passing, record.fresh, record.excluded), (2, 0, 2, 0));
    let [first, second, third] = &record.ballots[..] else { panic!("one ballot a region") };
    for ballot in [first, second] {
        assert_eq!(ballot.state(), v1::BallotState::Fail);
        assert_eq!((ballot.in_a_row, ballot.stale), (2, false));
        assert_eq!(ballot.reason(), v1::Reason::ConnectRefused);
        assert_eq!(ballot.evidence, "refused");
        assert_eq!((ballot.probe.as_str(), ballot.incarnation), ("p", 1));
    }
    assert_eq!((third.region.as_str(), third.stale), ("r2", true));
    assert_eq!(third.state(), v1::BallotState::Pass, "what it said last");
    assert_eq!(third.reason(), v1::Reason::Unspecified);
    assert!(third.age.as_ref().unwrap().seconds >= 10 - 1);
}

#[test]
fn an_unknown_check_and_an_unknown_probe_change_nothing() {
    let mut engine = Engine::new(parallax_common::time::MeshTime::from_ns(0), true);
    let mut out = Vec::new();
    let now = parallax_common::time::MeshTime::from_ns(1);
    let record = rig::heard(1, Outcome::Fail, 0, now);
    for input in [
        Input::Outcomes {
            voter: voter(0, 1),
            session: 1,
            first_sequence: 1,
            records: vec![record],
        },
        Input::SessionEnded(voter(5, 5), 7),
        Input::ProposalSettled { check: CHECK, proposal: 1 },
        Input::Remove(CHECK),
        Input::Exclude { voter: voter(3, 3), excluded: false },
        Input::Wake,
    ] {
        engine.handle(input, now, &mut out);
    }
    assert_eq!(out, []);
}

#[test]
fn news_of_one_check_does_not_hide_that_the_others_went_stale() {
    let mut rig = Rig::up(1, 2);
    let mut other = rig::check(1, 2);
    other.uid = parallax_common::name::Uid::from_bytes([2; 16]);
    let mut subject = rig::subject(other.clone());
    let now = rig.now;
    rig.engine.handle(Input::Subject(subject.clone()), now, &mut Vec::new());
    let mut record = rig::heard(1, Outcome::Pass, 0, now);
    record.check = other.uid;
    rig.probes[0].sequence += 1;
    let first_sequence = rig.probes[0].sequence;
    let (voter, session) = (voter(0, 1), rig.probes[0].session());
    let input = Input::Outcomes { voter, session, first_sequence, records: vec![record] };
    rig.engine.handle(input, now, &mut Vec::new());
    (subject.verdict, subject.sequence) = (Verdict::Up, 1);
    rig.engine.handle(Input::Subject(subject), now, &mut Vec::new());

    // The probe went silent, and before the alarm is served the first check is applied again.
    let late = now + Duration::from_secs(20);
    let mut out = Vec::new();
    rig.engine.handle(Input::Subject(rig.subject.clone()), late, &mut out);
    rig.engine.handle(Input::Wake, late, &mut out);
    let unknown: Vec<_> = out
        .iter()
        .filter_map(|output| match output {
            Output::Propose(draft) if draft.record.verdict() == v1::Verdict::Unknown => {
                Some(draft.check)
            }
            _ => None,
        })
        .collect();
    assert!(unknown.contains(&CHECK) && unknown.contains(&other.uid), "{unknown:?}");
}

#[test]
fn a_heartbeat_costs_what_it_names_and_not_what_passes() {
    let mut rig = Rig::new(1, 2);
    for index in 0..2_000u16 {
        let mut check = rig::check(1, 2);
        let [high, low] = index.to_be_bytes();
        check.uid = parallax_common::name::Uid::from_bytes([
            2, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        let mut record = rig::heard(1, Outcome::Pass, 0, rig.now);
        record.check = check.uid;
        let mut subject = rig::subject(check);
        let now = rig.now;
        rig.engine.handle(Input::Subject(subject.clone()), now, &mut Vec::new());
        rig.probes[0].sequence += 1;
        let first_sequence = rig.probes[0].sequence;
        let (voter, session) = (voter(0, 1), rig.probes[0].session());
        let input = Input::Outcomes { voter, session, first_sequence, records: vec![record] };
        rig.engine.handle(input, now, &mut Vec::new());
        // Its verdict is committed.
        (subject.verdict, subject.sequence) = (Verdict::Up, 1);
        rig.engine.handle(Input::Subject(subject), now, &mut Vec::new());
    }
    let before = rig.engine.decisions();
    rig.advance(60_000);
    assert_eq!(rig.engine.decisions(), before, "nothing is decided while nothing changes");

    // Silence is seen once a check, when the watermark crosses the line.
    let mut out = Vec::new();
    let at = rig.now + Duration::from_millis(5_901);
    assert!(rig.engine.wake_at().is_some_and(|wake| wake <= at));
    rig.engine.handle(Input::Wake, at, &mut out);
    assert_eq!(rig.engine.decisions(), before + 2_001);
    let unknown = out.iter().filter(|output| {
        matches!(output, Output::Propose(draft) if draft.record.verdict() == v1::Verdict::Unknown)
    });
    assert_eq!(unknown.count(), 2_000);
}
