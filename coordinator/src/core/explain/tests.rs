//! Records and the full text they become.

use std::time::Duration;

use parallax_common::time::UtcTime;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{
    Acknowledged, Ballot, BallotState, CheckVerdict, DecisionRecord, Delivery, DeliveryState,
    Incident, Outcome, PageKind, Reason, Resolved, Rule, TimelineEvent,
};

use super::*;

/// 2026-11-20 03:12:00 UTC and so many seconds.
fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_795_144_320 + seconds, nanos: 0 })
}

fn after(ms: u64) -> Option<prost_types::Duration> {
    Some(stamp::duration(Duration::from_millis(ms)))
}

fn rule(regions: u32, down_at: u32, up_at: u32, floor: u32) -> Option<Rule> {
    Some(Rule { regions, down_at, up_at, floor, failures: 2, successes: 2, ..Default::default() })
}

fn ballot(region: &str, state: BallotState) -> Ballot {
    Ballot {
        region: region.into(),
        probe: "a".into(),
        state: state.into(),
        since: at(5),
        ..Default::default()
    }
}

fn refused(region: &str) -> Ballot {
    Ballot {
        reason: Reason::ConnectRefused.into(),
        evidence: "203.0.113.7:443".into(),
        ..ballot(region, BallotState::Fail)
    }
}

fn passes(region: &str, ms: u64) -> Ballot {
    Ballot { last_total: after(ms), ..ballot(region, BallotState::Pass) }
}

fn stale(region: &str, ms: Option<u64>) -> Ballot {
    Ballot { stale: true, age: ms.and_then(after), ..ballot(region, BallotState::Pass) }
}

fn down() -> DecisionRecord {
    DecisionRecord {
        verdict: Verdict::Down.into(),
        decided_at: at(7),
        rule: rule(5, 3, 3, 3),
        ballots: vec![
            refused("eu-west"),
            refused("us-east"),
            Ballot { since: at(6), ..refused("us-west") },
            passes("ap-south", 212),
            stale("sa-east", Some(14_000)),
        ],
        failing: 3,
        passing: 1,
        fresh: 4,
        ..Default::default()
    }
}

fn check_verdict(record: DecisionRecord, open: bool) -> CheckVerdict {
    CheckVerdict {
        check_name: "checkout".into(),
        verdict: record.verdict,
        degraded: record.degraded,
        since: at(7),
        incident_uid: if open { "0190".into() } else { String::new() },
        record: Some(record),
        ..Default::default()
    }
}

fn says(sentences: &[String], expected: &str) {
    let expected: Vec<&str> =
        expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(sentences, expected, "\n{}\n", sentences.join("\n"));
}

#[test]
fn a_check_that_verifies_nobody_is_called_insecure_with_its_steps() {
    use parallax_common::check::{HttpStep, Step, StepKind, TlsOptions};

    let step = |name: &str, insecure| Step {
        name: name.to_owned(),
        kind: StepKind::Http(HttpStep {
            tls: TlsOptions { insecure, ..TlsOptions::default() },
            ..HttpStep::default()
        }),
        captures: vec![],
    };
    let said = |steps: Vec<Step>| {
        let check = crate::core::engine::tests::rig::check(2, 2);
        let run = parallax_common::check::Run { steps, ..check.run.clone() };
        let said = insecure(&Check { run, ..check })?;
        Some(said.split(':').next().unwrap_or_default().to_owned())
    };
    assert_eq!(said(vec![step("", false)]), None);
    assert_eq!(said(vec![step("", true)]).as_deref(), Some("It is insecure"));
    let (login, cart) = (step("login", true), step("", true));
    let fine = step("fine", false);
    let two = said(vec![login.clone(), fine.clone(), cart]);
    assert_eq!(two.as_deref(), Some("It is insecure in steps `login`, 3"));
    assert_eq!(said(vec![fine, login]).as_deref(), Some("It is insecure in step `login`"));
}

#[test]
fn what_keeps_a_check_from_being_run_is_told_to_its_owner() {
    let missed = |region, reason: Reason| Ballot {
        last_outcome: Outcome::Missed.into(),
        reason: reason.into(),
        evidence: "10.0.0.1 is denied".into(),
        ..ballot(region, BallotState::None)
    };
    let denied = |region| missed(region, Reason::AddressDenied);
    for (ballots, expected) in [
        (
            vec![denied("eu-west"), passes("us-east", 90), denied("ap-south")],
            "Now eu-west and ap-south cannot run it: address_denied (10.0.0.1 is denied).",
        ),
        (
            vec![denied("eu-west"), Ballot { step: 1, ..missed("us-east", Reason::ConfigError) }],
            "Now eu-west cannot run it: address_denied (10.0.0.1 is denied); us-east cannot run it: \
             config_error (10.0.0.1 is denied) in step 2.",
        ),
        // Stale by now, as nothing else came: the more it has to be told.
        (
            vec![Ballot { stale: true, ..denied("eu-west") }],
            "Now eu-west cannot run it: address_denied (10.0.0.1 is denied).",
        ),
    ] {
        assert_eq!(cannot_run(&ballots).as_deref(), Some(expected));
    }
    // The probe's own trouble, what has passed since, and what failed are no owner's mistake.
    let late = missed("eu-west", Reason::MissedLate);
    let since = Ballot { last_outcome: Outcome::Pass.into(), ..denied("us-east") };
    assert_eq!(cannot_run(&[late, since, refused("ap-south"), passes("x", 1)]), None);
}

#[test]
fn verdicts() {
    let up = DecisionRecord {
        verdict: Verdict::Up.into(),
        rule: rule(3, 2, 2, 2),
        ballots: vec![passes("eu-west", 87), passes("us-east", 1_240), passes("ap-south", 12_000)],
        passing: 3,
        fresh: 3,
        ..Default::default()
    };
    let alone = DecisionRecord {
        verdict: Verdict::Up.into(),
        rule: rule(1, 1, 1, 1),
        ballots: vec![passes("eu-west", 87)],
        passing: 1,
        fresh: 1,
        ..Default::default()
    };
    let regional = DecisionRecord {
        verdict: Verdict::Degraded.into(),
        degraded: DegradedKind::Regional.into(),
        rule: rule(3, 2, 2, 2),
        ballots: vec![
            Ballot {
                reason: Reason::HttpStatus.into(),
                evidence: "503\nService Unavailable".into(),
                step: 1,
                ..ballot("eu-west", BallotState::Fail)
            },
            passes("us-east", 90),
            Ballot { excluded: true, ..passes("ap-south", 80) },
        ],
        failing: 1,
        passing: 1,
        fresh: 2,
        excluded: 1,
        ..Default::default()
    };
    let warn = |region| Ballot {
        reason: Reason::Warning.into(),
        evidence: "cert.days_left > 14".into(),
        ..ballot(region, BallotState::Warn)
    };
    let warning = DecisionRecord {
        verdict: Verdict::Degraded.into(),
        degraded: DegradedKind::Warning.into(),
        rule: rule(3, 2, 2, 2),
        ballots: vec![warn("eu-west"), warn("us-east"), passes("ap-south", 80)],
        passing: 3,
        warning: 2,
        fresh: 3,
        ..Default::default()
    };
    let few = DecisionRecord {
        verdict: Verdict::Unknown.into(),
        rule: rule(3, 2, 2, 2),
        ballots: vec![
            Ballot {
                last_outcome: Outcome::Fail.into(),
                in_a_row: 1,
                ..ballot("eu-west", BallotState::None)
            },
            Ballot { probe: String::new(), ..ballot("us-east", BallotState::None) },
            stale("ap-south", None),
        ],
        fresh: 0,
        ..Default::default()
    };
    let excluded = DecisionRecord {
        verdict: Verdict::Unknown.into(),
        rule: rule(3, 2, 2, 2),
        ballots: vec![
            Ballot { excluded: true, ..refused("eu-west") },
            Ballot { excluded: true, ..refused("us-east") },
            ballot("ap-south", BallotState::None),
        ],
        excluded: 2,
        ..Default::default()
    };
    let split = DecisionRecord {
        verdict: Verdict::Unknown.into(),
        rule: rule(5, 3, 3, 3),
        ballots: vec![refused("eu-west"), passes("us-east", 90)],
        failing: 1,
        passing: 1,
        fresh: 3,
        ..Default::default()
    };
    let regional_of_many = DecisionRecord {
        rule: regional.rule.map(|rule| Rule { failures: 3, failures_of: 5, ..rule }),
        ..regional.clone()
    };
    let table = [
        (
            check_verdict(down(), true),
            "checkout is down since 2026-11-20 03:12:07 UTC: 3 of 5 regions fail (3 are needed).
             eu-west, us-east and us-west see connect_refused (203.0.113.7:443) since 03:12:05 UTC, \
             the last since 03:12:06 UTC; ap-south passes (212 ms); sa-east is stale: last heard \
             14 s ago.
             It resolves when 3 regions pass twice in a row.",
        ),
        (
            check_verdict(up, false),
            "checkout is up since 2026-11-20 03:12:07 UTC: 3 of 3 regions pass.
             eu-west (87 ms), us-east (1.2 s) and ap-south (12 s) pass.",
        ),
        (
            check_verdict(alone, false),
            "checkout is up since 2026-11-20 03:12:07 UTC: 1 of 1 region passes.
             eu-west passes (87 ms).",
        ),
        (
            check_verdict(regional, false),
            "checkout is degraded since 2026-11-20 03:12:07 UTC: 1 of 3 regions fails (2 would \
             make it down).
             eu-west sees http_status (503 Service Unavailable) in step 2 since 03:12:05 UTC; \
             us-east passes (90 ms); ap-south is excluded from voting.
             It is down when 2 regions fail twice in a row.",
        ),
        (
            check_verdict(regional_of_many, false),
            "checkout is degraded since 2026-11-20 03:12:07 UTC: 1 of 3 regions fails (2 would \
             make it down).
             eu-west sees http_status (503 Service Unavailable) in step 2 since 03:12:05 UTC; \
             us-east passes (90 ms); ap-south is excluded from voting.
             It is down when 2 regions fail in 3 of 5 runs.",
        ),
        (
            check_verdict(warning, false),
            "checkout is degraded since 2026-11-20 03:12:07 UTC: 2 of 3 regions pass with a \
             warning (2 are enough).
             eu-west and us-east pass with a warning (cert.days_left > 14) since 03:12:05 UTC; \
             ap-south passes (80 ms).",
        ),
        (
            check_verdict(few, false),
            "checkout is unknown since 2026-11-20 03:12:07 UTC: only 0 of 3 regions are fresh (2 \
             are needed to say anything).
             eu-west has not said enough yet: 1 fail (2 needed); us-east has no probe for it; \
             ap-south is stale: never heard.",
        ),
        (
            check_verdict(excluded, false),
            "checkout is unknown since 2026-11-20 03:12:07 UTC: 2 of 3 regions are excluded from \
             voting (more than 1 leaves too few to judge).
             eu-west is excluded from voting; us-east is excluded from voting; ap-south has not \
             said anything yet.",
        ),
        (
            check_verdict(split, true),
            "checkout is unknown since 2026-11-20 03:12:07 UTC: 1 of 5 regions fails, too few to \
             call it down (3), and 1 passes, too few to resolve it (3).
             eu-west sees connect_refused (203.0.113.7:443) since 03:12:05 UTC; us-east passes \
             (90 ms).
             It resolves when 3 regions pass twice in a row.",
        ),
        (
            CheckVerdict { latched: true, ..check_verdict(down(), false) },
            "checkout is down since 2026-11-20 03:12:07 UTC: 3 of 5 regions fail (3 are needed).
             eu-west, us-east and us-west see connect_refused (203.0.113.7:443) since 03:12:05 UTC, \
             the last since 03:12:06 UTC; ap-south passes (212 ms); sa-east is stale: last heard \
             14 s ago.
             Its incident was resolved by hand while it still failed: none opens until fewer than \
             3 regions fail once.",
        ),
        (
            CheckVerdict { check_name: "new".into(), since: at(0), ..Default::default() },
            "new is unknown since 2026-11-20 03:12:00 UTC: too little is known yet.",
        ),
    ];
    for (verdict, expected) in table {
        says(&super::verdict(&verdict), expected);
    }
}

fn open_incident() -> Incident {
    Incident {
        uid: "0190".into(),
        kind: IncidentKind::Down.into(),
        check_name: "checkout".into(),
        opened_at: at(7),
        opened_by: Some(down()),
        ..Default::default()
    }
}

#[test]
fn an_incident_of_a_check_that_verified_nobody_says_so() {
    let insecure = Incident { insecure: true, ..open_incident() };
    let mut said = super::incident(&insecure);
    let usual = super::incident(&open_incident());
    let at = said.iter().position(|sentence| sentence.contains("insecure")).expect("a sentence");
    assert_eq!(
        said.remove(at),
        "Its check was insecure when it opened: certificates are not verified then, and whoever is \
         on the way can answer."
    );
    assert_eq!(said, usual);
}

const OPENED: &str = "eu-west, us-east and us-west see connect_refused (203.0.113.7:443) since \
    03:12:05 UTC, the last since 03:12:06 UTC; ap-south passes (212 ms); sa-east is stale: last \
    heard 14 s ago.";

#[test]
fn an_open_incident_with_its_pages() {
    let page = |name: &str, kind: PageKind, state: DeliveryState| Delivery {
        idempotency_key: format!("0190:{name}:x"),
        contact_name: name.into(),
        kind: kind.into(),
        state: state.into(),
        attempts: 1,
        sent_at: at(8),
        ..Default::default()
    };
    let pages = vec![
        page("ops", PageKind::Opened, DeliveryState::Sent),
        Delivery {
            attempts: 3,
            ambiguous: true,
            ..page("chat", PageKind::Opened, DeliveryState::Sent)
        },
        Delivery { attempts: 0, ..page("mail", PageKind::Opened, DeliveryState::Pending) },
        Delivery {
            attempts: 2,
            last_error: "HTTP status 500".into(),
            next_attempt_at: at(86_400),
            ..page("desk", PageKind::Opened, DeliveryState::Pending)
        },
        Delivery {
            attempts: 864,
            last_error: "HTTP status 404".into(),
            ..page("old", PageKind::Opened, DeliveryState::Dead)
        },
        Delivery {
            last_error: "the contact was deleted".into(),
            ..page("gone", PageKind::Opened, DeliveryState::Dropped)
        },
    ];
    let mut incident = Incident { deliveries: pages, ..open_incident() };
    incident.acknowledged_at = at(60);
    incident.acknowledged_by = "anna".into();
    incident.timeline.push(TimelineEvent {
        at: at(60),
        event: Some(Event::Acknowledged(Acknowledged { by: "anna".into(), note: "on it".into() })),
    });
    says(
        &super::incident(&incident),
        &format!(
            "checkout is down since 2026-11-20 03:12:07 UTC: 3 of 5 regions fail (3 are needed).
             {OPENED}
             anna acknowledged it at 03:13:00 UTC: on it.
             It resolves when 3 regions pass twice in a row.
             ops was told of the opening at 03:12:08 UTC.
             chat was told of the opening at 03:12:08 UTC at attempt 3; an attempt without an \
             answer may have come through.
             mail is still to be told of the opening.
             desk is still to be told of the opening: 2 attempts failed (HTTP status 500), the \
             next is at 2026-11-21 03:12:00 UTC.
             old was never told of the opening: given up after 864 attempts (HTTP status 404).
             gone was not told of the opening: the contact was deleted."
        ),
    );
}

#[test]
fn what_was_seen_once_is_not_told_as_what_made_the_state() {
    let record = DecisionRecord {
        verdict: Verdict::Degraded.into(),
        degraded: DegradedKind::Regional.into(),
        rule: rule(3, 2, 2, 2),
        ballots: vec![
            Ballot { state: BallotState::Warn.into(), ..refused("eu-west") },
            Ballot {
                reason: Reason::Warning.into(),
                evidence: "cert.days_left > 14".into(),
                ..ballot("us-east", BallotState::Fail)
            },
            passes("ap-south", 80),
        ],
        failing: 1,
        passing: 2,
        warning: 1,
        fresh: 3,
        ..Default::default()
    };
    let told = super::verdict(&check_verdict(record, false)).join("\n");
    for clause in [
        "us-east fails since 03:12:05 UTC, newest: a warning (cert.days_left > 14);",
        "eu-west passes with a warning since 03:12:05 UTC, newest: connect_refused (203.0.113.7:443);",
    ] {
        assert!(told.contains(clause), "{told}");
    }
}

#[test]
fn ends_of_incidents() {
    let recovered = DecisionRecord {
        verdict: Verdict::Up.into(),
        rule: rule(5, 3, 3, 3),
        passing: 4,
        ..Default::default()
    };
    let by_hand = TimelineEvent {
        at: at(100),
        event: Some(Event::Resolved(Resolved {
            cause: ResolveCause::ByHand.into(),
            by: "anna".into(),
            note: "known".into(),
        })),
    };
    let table = [
        (ResolveCause::Recovered, "It resolved because 4 of 5 regions pass again (3 are needed)."),
        (ResolveCause::ByHand, "It was resolved by hand, by anna: known."),
        (ResolveCause::CheckDeleted, "It ended because the check was deleted."),
        (ResolveCause::CheckPaused, "It ended because the check was paused."),
    ];
    for (cause, last) in table {
        let mut incident = open_incident();
        incident.resolved_at = at(259);
        incident.cause = cause.into();
        if cause == ResolveCause::Recovered {
            incident.resolved_by = Some(recovered.clone());
        }
        if cause == ResolveCause::ByHand {
            incident.timeline.push(by_hand.clone());
        }
        says(
            &super::incident(&incident),
            &format!(
                "checkout was down for 4 min 12 s, from 2026-11-20 03:12:07 UTC to 03:16:19 UTC: \
                 3 of 5 regions fail (3 are needed).
                 At the opening: {OPENED}
                 {last}"
            ),
        );
    }
}

#[test]
fn silent_regions() {
    let probe = |name: &str, stale: bool, age: Option<u64>| Ballot {
        region: "eu-west".into(),
        probe: name.into(),
        stale,
        age: age.and_then(after),
        ..Default::default()
    };
    let silent = |ballots: Vec<Ballot>| Incident {
        kind: IncidentKind::RegionSilent.into(),
        region: "eu-west".into(),
        opened_at: at(7),
        opened_by: Some(DecisionRecord { ballots, ..Default::default() }),
        ..Default::default()
    };
    says(
        &super::incident(&silent(vec![probe("a", true, Some(10_000))])),
        "Region eu-west is silent since 2026-11-20 03:12:07 UTC: its only probe is not heard.
         At the opening: a was last heard 10 s before.
         It resolves when its probes are heard again.",
    );
    says(
        &super::incident(&silent(vec![probe("a", true, Some(10_000)), probe("b", true, None)])),
        "Region eu-west is silent since 2026-11-20 03:12:07 UTC: none of its 2 probes is heard.
         At the opening: a was last heard 10 s before; b was not heard at all.
         It resolves when its probes are heard again.",
    );
    says(
        &super::incident(&silent(vec![])),
        "Region eu-west is silent since 2026-11-20 03:12:07 UTC: no probe was ever heard there.
         It resolves when its probes are heard again.",
    );
    let mut back = silent(vec![
        probe("a", true, Some(10_000)),
        probe("b", true, Some(11_000)),
        probe("c", false, Some(0)),
    ]);
    says(
        &super::incident(&back),
        "Region eu-west lost most of its probes since 2026-11-20 03:12:07 UTC: 2 of 3 are not \
         heard, and their checks stay with them.
         At the opening: a was last heard 10 s before; b was last heard 11 s before; c is heard.
         It resolves when its probes are heard again.",
    );
    back.resolved_at = at(67);
    back.cause = ResolveCause::RegionBack.into();
    back.resolved_by = Some(DecisionRecord {
        ballots: vec![probe("a", false, Some(0)), probe("b", true, None), probe("c", false, None)],
        ..Default::default()
    });
    says(
        &super::incident(&back),
        "Region eu-west had lost most of its probes for 60 s, from 2026-11-20 03:12:07 UTC to \
         03:13:07 UTC: 2 of 3 are not heard, and their checks stay with them.
         At the opening: a was last heard 10 s before; b was last heard 11 s before; c is heard.
         It resolved because a and c are heard again.",
    );
}

#[test]
fn canaries() {
    use parallax_common::check::Canary;
    use parallax_common::outcome::Reason;
    let sees = |states: &[v1::BallotState]| -> Vec<Ballot> {
        let ballot =
            |state: &v1::BallotState| Ballot { state: (*state).into(), ..Default::default() };
        states.iter().map(ballot).collect()
    };
    let (pass, fail, none) = (v1::BallotState::Pass, v1::BallotState::Fail, v1::BallotState::None);
    says(
        &super::canary(Canary::Fail(Some(Reason::DnsNxdomain)), &sees(&[pass, pass, none])),
        "It is a canary, known to fail with dns_nxdomain: `up` says that this is seen, and no incident \
         opens for it.",
    );
    says(
        &super::canary(Canary::Fail(None), &sees(&[pass, fail, pass])),
        "It is a canary, known to fail: `up` says that this is seen, and no incident opens for it.
         Now 1 of 3 probes does not see that, and may not vote when it lasts.",
    );
    says(
        &super::canary(Canary::Pass, &sees(&[fail, fail, pass, none])),
        "It is a canary, known to pass: `up` says that this is seen, and no incident opens for it.
         Now 2 of 3 probes do not see that: the canary is in doubt, not they, so nobody is excluded by \
         it. Look at its target, or take it out.",
    );
    let mut stale = sees(&[fail, pass, pass]);
    stale[0].stale = true;
    assert_eq!(super::canary(Canary::Pass, &stale).len(), 1, "who is silent sees nothing");
}

#[test]
fn canaries_in_doubt() {
    let sees = |region: &str, state: BallotState| Ballot {
        region: region.into(),
        state: state.into(),
        ..Default::default()
    };
    let (fail, pass) = (BallotState::Fail, BallotState::Pass);
    // Of several probes one does not see it; of silence and of advisory regions nothing is said.
    let split = Ballot { probes: vec![sees("us", fail), sees("us", pass)], ..sees("us", pass) };
    let silent = Ballot { stale: true, ..sees("ap", fail) };
    let advisory = Ballot { advisory: true, ..sees("af", fail) };
    let ballots = vec![sees("eu", fail), split, silent, sees("sa", pass), advisory];
    let mut incident = Incident {
        kind: IncidentKind::CanaryInDoubt.into(),
        check_name: "no-such-name".into(),
        opened_at: at(7),
        opened_by: Some(DecisionRecord { ballots, ..Default::default() }),
        ..Default::default()
    };
    says(
        &super::incident(&incident),
        "Canary no-such-name is in doubt since 2026-11-20 03:12:07 UTC: eu and us of 3 regions do not \
         see its known answer.
         Half of the regions or more had not seen it for 5 min when this opened.
         While that is so nobody is excluded by it, so it guards nothing.
         It resolves when more than half of the regions have seen its known answer for 60 s.",
    );
    incident.resolved_at = at(67);
    incident.cause = ResolveCause::Recovered.into();
    incident.opened_by.as_mut().unwrap().ballots.truncate(1);
    says(
        &super::incident(&incident),
        "Canary no-such-name was in doubt for 60 s, from 2026-11-20 03:12:07 UTC to 03:13:07 UTC. At \
         the opening: eu of 1 region does not see its known answer.
         Half of the regions or more had not seen it for 5 min when this opened.
         While that is so nobody is excluded by it, so it guards nothing.
         It resolved because more than half of the regions have seen its known answer for 60 s.",
    );
    incident.cause = ResolveCause::CheckPaused.into();
    let told = super::incident(&incident).join(" ");
    assert!(told.ends_with("the check was paused, or is no canary any more."), "{told}");
}

#[test]
fn outdated_regions() {
    let probe = |name: &str, lacks: &str| Ballot {
        region: "eu-west".into(),
        probe: name.into(),
        evidence: lacks.into(),
        ..Default::default()
    };
    let mut incident = Incident {
        kind: IncidentKind::RegionOutdated.into(),
        region: "eu-west".into(),
        opened_at: at(7),
        opened_by: Some(DecisionRecord {
            ballots: vec![
                probe(
                    "a",
                    "cannot run grpc, which 3 checks need; cannot run ssh, which 1 check needs",
                ),
                probe("b", "is more than one minor version older than the coordinators (0.5)"),
            ],
            ..Default::default()
        }),
        ..Default::default()
    };
    says(
        &super::incident(&incident),
        "Probes of region eu-west are outdated since 2026-11-20 03:12:07 UTC: probe a cannot run \
         grpc, which 3 checks need; cannot run ssh, which 1 check needs; probe b is more than one \
         minor version older than the coordinators (0.5).
         What they cannot run is run by other probes of the region, or not from there.
         It resolves when they have been upgraded, or what they lack is not asked of them.",
    );
    incident.resolved_at = at(67);
    incident.cause = ResolveCause::RegionBack.into();
    incident.opened_by.as_mut().unwrap().ballots.truncate(1);
    says(
        &super::incident(&incident),
        "A probe of region eu-west was outdated for 60 s, from 2026-11-20 03:12:07 UTC to 03:13:07 \
         UTC: probe a cannot run grpc, which 3 checks need; cannot run ssh, which 1 check needs.
         What they cannot run is run by other probes of the region, or not from there.
         It resolved because no probe of the region is outdated any more.",
    );
}

#[test]
fn lengths_have_at_most_two_units() {
    let table = [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (9_999, "9.9 s"),
        (10_000, "10 s"),
        (119_999, "119 s"),
        (120_000, "2 min"),
        (252_000, "4 min 12 s"),
        (7_199_000, "119 min 59 s"),
        (7_200_000, "2 h"),
        (11_100_000, "3 h 5 min"),
        (180_000_000, "2 d 2 h"),
    ];
    for (ms, text) in table {
        assert_eq!(words::span(Duration::from_millis(ms)), text);
    }
    for (us, text) in [
        (42, "under 0.1 ms"),
        (613, "0.6 ms"),
        (1_127, "1.1 ms"),
        (2_040, "2 ms"),
        (9_960, "9.9 ms"),
        (10_400, "10 ms"),
    ] {
        assert_eq!(words::span(Duration::from_micros(us)), text);
    }
}

#[test]
fn times_before_1970_and_absent_ones_do_not_panic() {
    let mut clock = words::Clock::default();
    assert_eq!(clock.time(None), "an unknown time");
    let ancient = stamp::timestamp(UtcTime::from_ns(-1));
    assert_eq!(clock.time(Some(&ancient)), "1969-12-31 23:59:59 UTC");
}

fn probe(name: &str, state: BallotState) -> Ballot {
    Ballot { probe: name.into(), ..ballot("eu-west", state) }
}

#[test]
fn probes_of_a_region_that_do_not_agree_are_named() {
    let fails = |name: &str| Ballot { probe: name.into(), ..refused("eu-west") };
    let split = DecisionRecord {
        verdict: Verdict::Degraded.into(),
        degraded: DegradedKind::Regional.into(),
        rule: Some(Rule { probes_per_region: 2, ..rule(3, 2, 2, 2).unwrap() }),
        ballots: vec![
            Ballot {
                split: true,
                state: BallotState::None.into(),
                probes: vec![fails("a"), probe("b", BallotState::Pass)],
                ..fails("a")
            },
            passes("us-east", 90),
            passes("ap-south", 210),
        ],
        passing: 2,
        fresh: 3,
        split: 1,
        ..Default::default()
    };
    says(
        &verdict(&check_verdict(split.clone(), false)),
        "checkout is degraded since 2026-11-20 03:12:07 UTC: 1 of 3 regions is split: probes there \
         do not agree.
         us-east (90 ms) and ap-south (210 ms) pass; in eu-west a fails, b passes (eu-west is split: \
         connect_refused (203.0.113.7:443)).
         It is down when 2 regions fail twice in a row.",
    );
    // A region that fails although one of its probes does not; a silent one; one whose probes agree.
    let stale = Ballot { stale: true, ..probe("d", BallotState::Pass) };
    let down = DecisionRecord {
        verdict: Verdict::Down.into(),
        ballots: vec![
            Ballot {
                probes: vec![fails("a"), fails("b"), probe("c", BallotState::Pass), stale],
                ..fails("a")
            },
            Ballot { probes: vec![refused("us-east"), refused("us-east")], ..refused("us-east") },
            passes("ap-south", 210),
        ],
        failing: 2,
        passing: 1,
        split: 0,
        ..split
    };
    says(
        &verdict(&check_verdict(down, true)),
        "checkout is down since 2026-11-20 03:12:07 UTC: 2 of 3 regions fail (2 are needed).
         eu-west and us-east see connect_refused (203.0.113.7:443) since 03:12:05 UTC; ap-south \
         passes (210 ms); in eu-west a and b fail, c passes, d is silent.
         It resolves when 2 regions pass twice in a row.",
    );
}

#[test]
fn advisory_regions_have_a_sentence_of_their_own() {
    let mut record = down();
    for place in [2, 4] {
        record.ballots[place].advisory = true;
    }
    (record.rule, record.failing) = (rule(3, 2, 2, 2), 2);
    says(
        &verdict(&check_verdict(record, true)),
        "checkout is down since 2026-11-20 03:12:07 UTC: 2 of 3 regions fail (2 are needed).
         eu-west and us-east see connect_refused (203.0.113.7:443) since 03:12:05 UTC; ap-south \
         passes (212 ms). Not counted: us-west sees connect_refused (203.0.113.7:443) since \
         03:12:06 UTC; sa-east is stale: last heard 14 s ago.
         It resolves when 2 regions pass twice in a row.",
    );
}

#[test]
fn silence_that_counts_is_said() {
    let of = |missing: v1::MissingData, record: DecisionRecord| {
        let rule = Some(Rule { missing: missing.into(), ..rule(3, 2, 2, 2).unwrap() });
        let ballots =
            vec![stale("eu-west", Some(14_000)), stale("us-east", None), passes("ap-south", 210)];
        verdict(&check_verdict(DecisionRecord { rule, ballots, ..record }, false))[..2].to_vec()
    };
    let record = DecisionRecord { passing: 1, fresh: 3, assumed: 2, ..Default::default() };
    let down = DecisionRecord { verdict: Verdict::Down.into(), failing: 2, ..record.clone() };
    says(
        &of(v1::MissingData::Fail, down),
        "checkout is down since 2026-11-20 03:12:07 UTC: 2 of 3 regions fail, 2 of them by being \
         silent (2 are needed).
         ap-south passes (210 ms); eu-west is stale: last heard 14 s ago, and counts as failing; \
         us-east is stale: never heard, and counts as failing.",
    );
    let up = DecisionRecord { verdict: Verdict::Up.into(), ..record.clone() };
    says(
        &of(v1::MissingData::Pass, up),
        "checkout is up since 2026-11-20 03:12:07 UTC: 1 of 3 regions passes, and 2 by being silent.
         ap-south passes (210 ms); eu-west is stale: last heard 14 s ago, and counts as passing; \
         us-east is stale: never heard, and counts as passing.",
    );
    let kept = DecisionRecord { verdict: Verdict::Up.into(), fresh: 1, assumed: 0, ..record };
    says(
        &of(v1::MissingData::Ignore, kept),
        "checkout is up since 2026-11-20 03:12:07 UTC: only 1 of 3 regions is fresh (2 are needed to \
         say anything new).
         ap-south passes (210 ms); eu-west is stale: last heard 14 s ago; us-east is stale: never \
         heard.",
    );
}

#[test]
fn whom_routes_would_tell_now_is_said_with_their_hours() {
    let time = v1::HoursTime { days: (1..=5).collect(), from_minute: 540, to_minute: 1_020 };
    let hours =
        |outside| Some(v1::Hours { zone: "UTC".into(), times: vec![time.clone()], outside });
    let step = |after: i64, who: &str, hours: Option<v1::Hours>| v1::RouteStep {
        after: Some(prost_types::Duration { seconds: after, nanos: 0 }),
        alert: vec![who.to_owned()],
        hours,
    };
    let day = v1::Route { name: "day".into(), hours: hours(false), ..v1::Route::default() };
    let steps = vec![step(0, "ops", None), step(600, "lead", hours(true))];
    let night = v1::Route { name: "night".into(), steps, ..v1::Route::default() };
    let low = v1::Route {
        name: "low".into(),
        steps: vec![step(0, "desk", None)],
        hours: hours(false),
        wait: true,
        ..v1::Route::default()
    };
    let said = |routes: &[&v1::Route]| {
        let taking = Taking { routes: routes.to_vec(), passed: vec![&day], ..Taking::default() };
        would_tell("web", &taking).join(" ")
    };
    let passed = "Route day fits it and is passed over now: outside UTC mon-fri 09:00-17:00.";
    assert_eq!(
        said(&[&night]),
        format!(
            "{passed} If web goes down and nobody acknowledges it, route night (fits everything) tells ops \
             at once and lead after 10 min (outside UTC mon-fri 09:00-17:00)."
        )
    );
    assert_eq!(
        said(&[&low]),
        format!(
            "{passed} If web goes down and nobody acknowledges it, route low (fits everything; waits for: \
             during UTC mon-fri 09:00-17:00) tells desk at once."
        )
    );
    assert_eq!(
        said(&[]),
        format!(
            "{passed} If web goes down nobody is told: it names no contacts, and no other route fits."
        )
    );
}
