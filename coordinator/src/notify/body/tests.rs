//! The shape that receivers rely on, byte for byte.

use parallax_proto::v1::{Ballot, DecisionRecord, Delivery, Incident, Outcome, Reason, Rule};

use super::*;

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_795_144_320 + seconds, nanos: 900_000_000 })
}

fn incident() -> Incident {
    let record = DecisionRecord {
        verdict: Verdict::Down.into(),
        rule: Some(Rule {
            regions: 3,
            down_at: 2,
            up_at: 2,
            floor: 2,
            failures: 2,
            successes: 2,
            ..Default::default()
        }),
        ballots: vec![
            Ballot {
                region: "eu-west".into(),
                probe: "a".into(),
                state: BallotState::Fail.into(),
                reason: Reason::ConnectRefused.into(),
                evidence: "203.0.113.7:443".into(),
                since: at(5),
                last_outcome: Outcome::Fail.into(),
                ..Default::default()
            },
            Ballot {
                region: "us-east".into(),
                probe: "b".into(),
                state: BallotState::Pass.into(),
                stale: true,
                ..Default::default()
            },
        ],
        failing: 2,
        ..Default::default()
    };
    Incident {
        uid: "0190".into(),
        namespace: "default".into(),
        kind: IncidentKind::Down.into(),
        check_uid: "0001".into(),
        check_name: "checkout".into(),
        opened_at: at(7),
        opened_by: Some(record),
        runbook: "https://wiki.example/checkout".into(),
        labels: [("team".to_owned(), "payments".to_owned())].into(),
        deliveries: vec![Delivery { attempts: 3, ..Default::default() }],
        ..Default::default()
    }
}

fn ended() -> Incident {
    Incident {
        resolved_at: at(127),
        cause: ResolveCause::Recovered.into(),
        resolved_by: Some(DecisionRecord {
            verdict: Verdict::Up.into(),
            rule: Some(Rule { regions: 3, up_at: 2, ..Default::default() }),
            passing: 3,
            ..Default::default()
        }),
        ..incident()
    }
}

fn json(page: &Page) -> serde_json::Value {
    serde_json::to_value(page).unwrap()
}

#[test]
fn an_opening_has_the_documented_shape() {
    let page = page(&incident(), PageKind::Opened, "0190:c:opened", "prod");
    let sentences = page.sentences.clone();
    assert_eq!(
        sentences[0],
        "checkout is down since 2026-11-20 03:12:07 UTC: 2 of 3 regions fail (2 are needed)."
    );
    let expected = serde_json::json!({
        "version": 1,
        "kind": "opened",
        "idempotency_key": "0190:c:opened",
        "mesh": "prod",
        "summary": "checkout is down: 2 of 3 regions fail",
        "sentences": sentences,
        "verdict": "down",
        "incident": {
            "uid": "0190", "kind": "down", "namespace": "default",
            "check": "checkout", "region": null,
            "opened_at": "2026-11-20T03:12:07Z", "resolved_at": null, "cause": null, "severity": null
        },
        "regions": [
            {"region": "eu-west", "probe": "a", "state": "fail", "reason": "connect_refused",
             "evidence": "203.0.113.7:443", "since": "2026-11-20T03:12:05Z"},
            {"region": "us-east", "probe": "b", "state": "stale", "reason": null,
             "evidence": null, "since": null}
        ],
        "runbook": "https://wiki.example/checkout",
        "acknowledge_url": null,
        "labels": {"team": "payments"},
        "storm": null
    });
    assert_eq!(json(&page), expected);
}

#[test]
fn every_attempt_at_an_opening_says_the_same_however_late_it_goes_out() {
    let first = page(&incident(), PageKind::Opened, "k", "prod");
    let late = page(&ended(), PageKind::Opened, "k", "prod");
    assert_eq!(json(&first), json(&late));
}

#[test]
fn a_page_says_that_the_check_verified_nobody() {
    for kind in [PageKind::Opened, PageKind::Reminder, PageKind::Resolved, PageKind::Combined] {
        for insecure in [true, false] {
            let page = page(&Incident { insecure, ..ended() }, kind, "k", "prod");
            let said = page.sentences.iter().any(|sentence| sentence.contains("was insecure"));
            let json = json(&page);
            let field = json["incident"].get("insecure").and_then(serde_json::Value::as_bool);
            assert_eq!((said, field), (insecure, insecure.then_some(true)), "{kind:?}");
        }
    }
}

#[test]
fn an_end_says_why_and_when() {
    for (kind, word) in [(PageKind::Resolved, "resolved"), (PageKind::Combined, "combined")] {
        let page = json(&page(&ended(), kind, "k", "prod"));
        assert_eq!(page["kind"], word);
        assert_eq!(page["verdict"], "up");
        assert_eq!(page["summary"], "checkout is no longer down");
        assert_eq!(page["incident"]["resolved_at"], "2026-11-20T03:14:07Z");
        assert_eq!(page["incident"]["cause"], "recovered");
        assert_eq!(
            page["sentences"][2],
            "It resolved because 3 of 3 regions pass again (2 are needed)."
        );
    }
}

#[test]
fn a_silent_region_is_named() {
    let silent = Incident {
        kind: IncidentKind::RegionSilent.into(),
        check_name: String::new(),
        region: "eu-west".into(),
        opened_by: Some(DecisionRecord {
            verdict: Verdict::Unknown.into(),
            ballots: vec![Ballot { probe: "a".into(), stale: true, ..Default::default() }],
            ..Default::default()
        }),
        ..incident()
    };
    let page = json(&page(&silent, PageKind::Opened, "k", "prod"));
    assert_eq!(page["summary"], "region eu-west is silent");
    assert_eq!(page["incident"]["kind"], "region_silent");
    assert_eq!(page["incident"]["region"], "eu-west");
    assert_eq!(page["incident"]["check"], serde_json::Value::Null);
}

#[test]
fn an_outdated_region_says_which_probe_lacks_what() {
    let lacks = |probe: &str| Ballot {
        probe: probe.into(),
        evidence: "cannot run grpc, which 3 checks need".into(),
        ..Default::default()
    };
    let outdated = |ballots| Incident {
        kind: IncidentKind::RegionOutdated.into(),
        check_name: String::new(),
        region: "eu-west".into(),
        opened_by: Some(DecisionRecord { ballots, ..Default::default() }),
        ..incident()
    };
    let page_of = |incident: &Incident| json(&page(incident, PageKind::Opened, "k", "prod"));
    let one = page_of(&outdated(vec![lacks("eu-1")]));
    assert_eq!(one["summary"], "region eu-west: probe eu-1 cannot run grpc, which 3 checks need");
    assert_eq!(one["incident"]["kind"], "region_outdated");
    let two = page_of(&outdated(vec![lacks("eu-1"), lacks("eu-2")]));
    assert_eq!(
        two["summary"],
        "region eu-west: 2 of its probes are older than what is asked of them"
    );
}

#[test]
fn a_canary_in_doubt_says_which_and_who_does_not_see_its_answer() {
    let sees = |region: &str, state: BallotState| Ballot {
        region: region.into(),
        state: state.into(),
        ..Default::default()
    };
    let ballots = vec![sees("eu", BallotState::Fail), sees("us", BallotState::Pass)];
    let mut doubted = Incident {
        kind: IncidentKind::CanaryInDoubt.into(),
        check_name: "no-such-name".into(),
        opened_by: Some(DecisionRecord { ballots, ..Default::default() }),
        ..incident()
    };
    let opened = json(&page(&doubted, PageKind::Opened, "k", "prod"));
    assert_eq!(
        opened["summary"],
        "canary no-such-name: eu of 2 regions does not see its known answer"
    );
    assert_eq!(opened["incident"]["kind"], "canary_in_doubt");
    assert_eq!(opened["incident"]["check"], "no-such-name");
    doubted.resolved_at = doubted.opened_at;
    for (cause, summary) in [
        (ResolveCause::Recovered, "canary no-such-name is no longer in doubt"),
        (ResolveCause::CheckDeleted, "canary no-such-name: its doubt is over"),
    ] {
        doubted.cause = cause.into();
        let ended = json(&page(&doubted, PageKind::Resolved, "k", "prod"));
        assert_eq!(ended["summary"], summary);
    }
}

#[test]
fn advisory_regions_and_probes_beside_each_other_are_marked() {
    let mut incident = incident();
    let record = incident.opened_by.as_mut().unwrap();
    record.ballots[1].advisory = true;
    let fails = record.ballots[0].clone();
    let passes = Ballot { probe: "c".into(), state: BallotState::Pass.into(), ..Ballot::default() };
    record.ballots[0].split = true;
    record.ballots[0].probes = vec![fails, passes];
    let page = page(&incident, PageKind::Opened, "key", "mesh");
    let json = serde_json::to_value(&page).unwrap();
    let [first, second] = &json["regions"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!((&first["state"], first.get("advisory")), (&"split".into(), None));
    assert_eq!(first["probes"][0]["probe"], "a");
    assert_eq!(first["probes"][0]["reason"], "connect_refused");
    assert_eq!(first["probes"][1]["state"], "pass");
    assert_eq!(second["advisory"], true);
    assert!(second.get("probes").is_none(), "there is one");
}

#[test]
fn a_page_of_a_check_that_flaps_says_so_and_when_its_end_is_told() {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let flapping = v1::Flapping { opens: 3, within: seconds(3_600), calm: seconds(900) };
    let opened = Incident { flapping: Some(flapping), ..incident() };
    let summary = |incident: &Incident, kind| page(incident, kind, "k", "prod").summary;
    assert_eq!(
        summary(&opened, PageKind::Opened),
        "checkout is flapping, down 3 times within 1h: 2 of 3 regions fail; its end is told once it has \
         passed for 15m"
    );
    let ended = Incident { flapping: Some(flapping), ..ended() };
    assert_eq!(
        summary(&ended, PageKind::Resolved),
        "checkout is no longer down, and has calmed down"
    );
    // Of one that was ended otherwise it is not said that it is calm.
    let by_hand = Incident { cause: ResolveCause::ByHand.into(), ..ended };
    assert_eq!(summary(&by_hand, PageKind::Resolved), "checkout: incident resolved by hand");
}

#[test]
fn the_end_of_what_lasted_says_well_only_of_what_is() {
    use parallax_proto::v1::DegradedKind::{Regional, Unspecified, Warning};
    // What it was, the verdict that ended it; what its end says.
    for (kind, verdict, degraded, says) in [
        (
            IncidentKind::Regional,
            Verdict::Up,
            Unspecified,
            "checkout is well again in every region",
        ),
        (IncidentKind::Warning, Verdict::Up, Unspecified, "checkout is well again in every region"),
        (IncidentKind::Regional, Verdict::Degraded, Warning, "checkout passes with a warning now"),
        (
            IncidentKind::Warning,
            Verdict::Degraded,
            Regional,
            "checkout fails in too few regions to be down now",
        ),
        (
            IncidentKind::Warning,
            Verdict::Unknown,
            Unspecified,
            "checkout: it is something else now",
        ),
    ] {
        let record = DecisionRecord {
            verdict: verdict.into(),
            degraded: degraded.into(),
            ..DecisionRecord::default()
        };
        let ended = Incident { kind: kind.into(), resolved_by: Some(record), ..ended() };
        assert_eq!(page(&ended, PageKind::Resolved, "k", "prod").summary, says);
    }
}
