//! The engine's behaviour as stories of a few lines and as rows of events.

pub(crate) mod rig;

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
        // One at a time; what is ordered starts none.
        (3, 2, "0F 1F",                   "0=1 1=2 2=2"),
        (3, 2, "0F 1f",                   "0=1 1=2 2=2"),
        (3, 2, "0f",                      ""),
        // The next one comes when all was heard, or nothing can come any more.
        (3, 2, "0F 0p 1p 1p 2p 2p 0F",    "0=1 1=2 2=2 0=1 1=2 2=2"),
        (3, 2, "0F 0p 1p 1p 2p 0F",       "0=1 1=2 2=2"),
        (3, 2, "0F 0p +2900 0F",          "0=1 1=2 2=2"),
        (3, 2, "0F 0p +3000 0F",          "0=1 1=2 2=2 0=1 1=2 2=2"),
        // A streak is confirmed once.
        (3, 2, "0F +3000 0F +3000 0F",    "0=1 1=2 2=2"),
        // A region that fails already and one that begins to.
        (3, 2, "0F 0f 1p 1p 2p 2p 1F",    "0=1 1=2 2=2 0=2 1=1 2=2"),
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
    assert_eq!((order.check, order.digest), (CHECK, RunDigest(1)));
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
        Output::Order { .. } | Output::Resync(..) => None,
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
fn a_moved_check_goes_on_with_the_state_of_the_probe_before() {
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
    assert_eq!(rig.take_applied(), "down", "it inherits the state: one pass is no streak");
    rig.run(0, Outcome::Pass);
    assert_eq!(rig.take_applied(), "up.");
    assert_eq!(rig.engine.watermark_of(&voter(0, 1)), None, "the old one is forgotten");
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
        checks: vec![super::CheckSnapshot {
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
