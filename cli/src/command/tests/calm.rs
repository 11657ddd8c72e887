//! What is shown of incidents that stay open: least times, and checks that flap.

use super::*;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_check_that_flaps_says_so_wherever_it_is_shown() {
    let bench = Bench::start().await;
    let flapping = v1::Flapping { opens: 3, within: seconds(3_600), calm: seconds(900) };
    {
        let mut state = bench.fake.0.lock();
        state.incident = v1::Incident {
            uid: "0199".to_owned(),
            kind: v1::IncidentKind::Down.into(),
            check_name: "shop".to_owned(),
            min_open: seconds(300),
            flapping: Some(flapping),
            timeline: vec![v1::TimelineEvent {
                at: None,
                event: Some(v1::timeline_event::Event::Flapping(flapping)),
            }],
            ..v1::Incident::default()
        };
        state.status.rows = vec![v1::StatusRow {
            name: "shop".to_owned(),
            enabled: true,
            verdict: v1::Verdict::Down.into(),
            flapping: true,
            ..v1::StatusRow::default()
        }];
    }
    let ran = bench.run("incident get 0199").await;
    let said = "flapping: 3 openings within 1h, open until it has passed for 15m";
    assert!(ran.out.contains(said), "{}", ran.out);
    let ran = bench.run("incident get 0199 -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["min_open"], &json["flapping"]["calm"]), (&"5m".into(), &"15m".into()));
    assert_eq!(json["timeline"][0]["event"], "flapping");
    let ran = bench.run("status").await;
    assert!(ran.out.contains("down (flapping)"), "{}", ran.out);
}
