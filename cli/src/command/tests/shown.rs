//! What is there, as tables, as sentences and as data.

use super::*;

#[tokio::test]
async fn lists_ask_for_every_page() {
    let bench = Bench::start().await;
    bench.fake.0.lock().checks = vec![check("cart"), check("shop")];
    let ran = bench.run("check list").await;
    assert_eq!(
        ran.out,
        "NAME  TARGET                 INTERVAL  TIMEOUT  REGIONS          ALERT  STATE\ncart  \
         https://cart.example/  1m30s     3s       eu-west,us-east  -      enabled\nshop  \
         https://shop.example/  1m30s     3s       eu-west,us-east  -      enabled\n"
    );
    let ran = bench.run("check list -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["revision"], 42);
    assert_eq!(json["checks"][1]["name"], "shop");
    assert_eq!(json["checks"][1]["interval"], "1m30s");
}

#[tokio::test]
async fn one_check_is_shown_as_yaml_with_references_as_written() {
    let bench = Bench::start().await;
    bench.fake.0.lock().checks = vec![check("shop")];
    let ran = bench.run("check get shop").await;
    assert_eq!(ran.exit, Exit::Ok);
    let yaml: serde_json::Value = serde_saphyr::from_str(&ran.out).unwrap();
    assert_eq!(yaml["steps"][0]["http"]["headers"]["authorization"], "${env:TOKEN}");
    assert_eq!(yaml["down"]["regions"], "majority");
    let ran = bench.run("check get shpo").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::NotFound, ""));
    assert!(ran.err.contains("there is no check `shpo`"), "{}", ran.err);
}

#[tokio::test]
async fn what_a_check_says_to_people_is_shown_with_it() {
    let bench = Bench::start().await;
    let told = v1::Check {
        title: "Shop".to_owned(),
        description: "sells things".to_owned(),
        group: "web".to_owned(),
        ..check("shop")
    };
    bench.fake.0.lock().checks = vec![check("cart"), told];
    let with = bench.run("check get shop").await.out;
    let without = bench.run("check get cart").await.out;
    for line in ["title: Shop", "description: sells things", "group: web"] {
        assert!(with.lines().any(|it| it == line), "{line}: {with}");
        assert!(!without.contains(line), "{line}: {without}");
    }
}

#[tokio::test]
async fn explain_prints_the_sentences_and_the_ballots() {
    let bench = Bench::start().await;
    let mut stale = ballot("ap-south", v1::BallotState::Pass);
    stale.stale = true;
    bench.fake.0.lock().explain = v1::ExplainCheckResponse {
        verdict: Some(v1::CheckVerdict {
            check_name: "shop".to_owned(),
            verdict: v1::Verdict::Degraded.into(),
            degraded: v1::DegradedKind::Regional.into(),
            since: at(0),
            record: Some(v1::DecisionRecord {
                ballots: vec![
                    ballot("eu-west", v1::BallotState::Fail),
                    ballot("us-east", v1::BallotState::Pass),
                    stale,
                ],
                ..v1::DecisionRecord::default()
            }),
            ..v1::CheckVerdict::default()
        }),
        sentences: vec!["1 of 3 regions fails; 2 must fail to be down.".to_owned()],
        incident: None,
        revision: 42,
        now: vec!["Its routes would tell ops.".to_owned()],
    };
    let ran = bench.run("check explain shop").await;
    assert_eq!(
        ran.out,
        "shop  ! degraded (regional)  since 2023-11-14T22:13:20.000Z\n  1 of 3 regions fails; 2 \
         must fail to be down.\n\nnow, which the verdict does not rest on\n  Its routes would tell \
         ops.\n\nballots when this was decided (`parallax status` has those of \
         now)\nREGION    BALLOT   IN A ROW  LAST  REASON           PROBE       \
         EVIDENCE\neu-west   ✗ fail   3         12ms  connect_refused  eu-west-1   connection \
         refused\nus-east   ✓ pass   3         12ms  -                us-east-1\nap-south  ~ stale  \
         3         12ms  -                ap-south-1\n"
    );
}

#[tokio::test]
async fn status_is_a_matrix_of_marks_and_words() {
    let mut bench = Bench::start().await;
    bench.fake.0.lock().status = status_rows();
    let ran = bench.run("status").await;
    assert_eq!(
        ran.out,
        "CHECK  VERDICT   FOR  EU-WEST  US-EAST  AP-SOUTH\nshop   ✗ down    5m   ✗ fail   ✗ fail   \
         · none\ncart   - paused  10s           ! warn\n\nmesh demo: 3/3 probes live, 1 incident \
         open, revision 42, answered by node 1 (the leader)\n"
    );
    bench.width = Some(30);
    let ran = bench.run("status").await;
    assert!(ran.out.starts_with("shop  ✗ down  5m\n  eu-west ✗ fail"), "{}", ran.out);
    let matrix = ran.out.split("\n\n").next().unwrap();
    assert!(matrix.lines().all(|line| line.chars().count() <= 40), "{}", ran.out);
    let ran = bench.run("version").await;
    assert!(ran.out.contains("coordinator 0.1.0"), "{}", ran.out);
}

/// A check has a budget or none, and one that has it may not have run yet.
#[tokio::test]
async fn status_shows_what_is_left_of_error_budgets() {
    let mut bench = Bench::start().await;
    bench.fake.0.lock().status = status_rows();
    let ran = bench.run("status -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(json["checks"][0].get("budget").is_none(), "{json}");
    // Millionths that are left, and how the table and JSON say it.
    for (left_ppm, cell, percent) in [
        (Some(732_199), "73.2%", serde_json::json!(73.2199)),
        (Some(999_999), "99.9%", serde_json::json!(99.9999)),
        (Some(1_000_000), "100.0%", serde_json::json!(100.0)),
        (Some(0), "0.0%", serde_json::json!(0.0)),
        (Some(-255_000), "-25.5%", serde_json::json!(-25.5)),
        (None, "-", serde_json::Value::Null),
    ] {
        let mut status = status_rows();
        status.rows[0].budget = Some(v1::Budget {
            target_ppm: 999_000,
            over: Some(prost_types::Duration { seconds: 30 * 86_400, nanos: 0 }),
            runs: 200_000,
            failed: 17,
            left_ppm,
            until: at(0),
        });
        bench.fake.0.lock().status = status;
        bench.width = None;
        let ran = bench.run("status").await;
        let rows: Vec<Vec<&str>> =
            ran.out.lines().take(3).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0][..4], ["CHECK", "VERDICT", "FOR", "BUDGET"], "{}", ran.out);
        assert_eq!(rows[1][..5], ["shop", "✗", "down", "5m", cell], "{}", ran.out);
        assert_eq!(rows[2][..5], ["cart", "-", "paused", "10s", "!"], "it has none: {}", ran.out);
        bench.width = Some(30);
        let ran = bench.run("status").await;
        assert!(ran.out.contains(&format!("shop  ✗ down  5m  budget {cell}\n")), "{}", ran.out);
        let ran = bench.run("status -o json").await;
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let budget = &json["checks"][0]["budget"];
        assert_eq!(budget["left_percent"], percent, "{budget}");
        assert_eq!((&budget["target"], &budget["over"]), (&"99.9%".into(), &"30d".into()));
        assert_eq!((&budget["runs"], &budget["failed"]), (&200_000.into(), &17.into()));
    }
}

#[tokio::test]
async fn regions_and_probes_are_listed_and_a_probe_has_the_labels_of_its_region() {
    let bench = Bench::start().await;
    {
        let mut state = bench.fake.0.lock();
        state.regions = vec![v1::RegionStatus {
            region: Some(v1::Region {
                meta: Some(v1::Meta {
                    name: "eu-west".to_owned(),
                    labels: [("tier".to_owned(), "edge".to_owned())].into(),
                    ..v1::Meta::default()
                }),
                title: "Dublin".to_owned(),
            }),
            probes_live: 1,
            probes_known: 2,
            checks: 7,
        }];
        state.probes = vec![v1::Probe {
            region: "eu-west".to_owned(),
            name: "p1".to_owned(),
            incarnation: 255,
            state: v1::ProbeState::Probation.into(),
            since: at(0),
            round_trip: Some(prost_types::Duration { seconds: 0, nanos: 1_500_000 }),
            checks: 7,
            runs: 100,
            refused: 1,
            last_refusal: "window_edges".to_owned(),
            windows_set_aside: 2,
            spool_gaps: 3,
            connected: true,
            generation: Some(v1::Generation { epoch: 1, index: 9 }),
            health: Some(v1::ProbeHealth {
                loop_lag_ns: 150_000_000,
                descriptors: 950,
                descriptors_max: 1_000,
                ports: 12,
                anchors_answering: 2,
                anchors: 2,
                utc_drift_ns: -1_500_000,
                spool_bytes: 7,
                spool_bytes_max: 1_000,
                spool_failing: true,
                ..v1::ProbeHealth::default()
            }),
            ..v1::Probe::default()
        }];
        let elsewhere = |region: &str| v1::Probe {
            region: region.to_owned(),
            name: "p2".to_owned(),
            state: v1::ProbeState::Live.into(),
            ..v1::Probe::default()
        };
        state.probes.extend(["eu-west", "us-east"].map(elsewhere));
    }
    let ran = bench.run("region list").await;
    assert_eq!(ran.out, "NAME     PROBES    CHECKS  TITLE\neu-west  1/2 live  7       Dublin\n");
    let ran = bench.run("probe list -l tier=edge").await;
    assert!(
        ran.out.contains("p1    eu-west  probation  5m   lagging,descriptors,spool  1.5ms  7"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("1 (window_edges)"), "{}", ran.out);
    let ran = bench.run("probe list -l tier=core").await;
    assert_eq!(ran.err, "no probes\n");
    let ran = bench.run("probe list -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["probes"][0]["incarnation"], "00000000000000ff");
    assert_eq!(json["probes"][0]["state"], "probation");
    // One that the member does not hear has no health.
    assert!(json["probes"][1].get("health").is_none());
    let ran = bench.run("probe get p1").await;
    for line in [
        "name                p1",
        "state               probation for 5m",
        "generation          1/9",
        "refused             1 (window_edges)",
        "windows set aside   2",
        "gaps                3",
        "health              lagging,descriptors,spool",
        "spool bytes         7 of 1000, its disk refuses more",
        "loop lag            150ms",
        "descriptors         950 of 1000",
        "tcp sockets         12",
        "anchors             2 of 2",
        "utc less mesh time  -1.5ms",
    ] {
        assert!(ran.out.lines().any(|it| it == line), "{line:?} is not in {}", ran.out);
    }
    let ran = bench.run("probe get p1 -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["health"]["ailments"], serde_json::json!(["lagging", "descriptors", "spool"]));
    assert_eq!(json["health"]["spool_failing"], true);
    assert_eq!((&json["windows_set_aside"], &json["spool_gaps"]), (&2.into(), &3.into()));
    assert_eq!(json["health"]["descriptors_max"], 1_000);
    let ran = bench.run("probe get p2").await;
    let why = "probes of eu-west, us-east are named `p2`: give --region";
    assert!(ran.err.contains(why), "{}", ran.err);
    let ran = bench.run("probe get p2 --region us-east").await;
    assert!(ran.out.contains("region              us-east\n"), "{}", ran.out);
    assert!(ran.out.contains("health              -\n"), "{}", ran.out);
    let ran = bench.run("probe get p2 --region p1").await;
    assert!(ran.err.contains("there is no probe `p2` in p1"), "{}", ran.err);
    let ran = bench.run("probe get p11").await;
    assert!(ran.err.contains("there is no probe `p11` (did you mean `p1`?)"), "{}", ran.err);
}

#[tokio::test]
async fn probes_that_are_outdated_or_not_believed_say_why() {
    let bench = Bench::start().await;
    let live = |name: &str| v1::Probe {
        region: "eu-west".to_owned(),
        name: name.to_owned(),
        state: v1::ProbeState::Live.into(),
        build: "0.1.0".to_owned(),
        ..v1::Probe::default()
    };
    let lacks = ["cannot run grpc, which 3 checks need", "lacks 1 more"].map(str::to_owned);
    let exclusion = v1::Exclusion {
        cause: v1::ExclusionCause::Canary.into(),
        since: at(0),
        disagreeing: 1,
        targets: 2,
    };
    bench.fake.0.lock().probes = vec![
        v1::Probe { outdated: lacks.to_vec(), ..live("old") },
        v1::Probe { exclusion: Some(exclusion), outdated: lacks.to_vec(), ..live("fooled") },
        live("well"),
    ];
    let ran = bench.run("probe list").await;
    let states: Vec<_> =
        ran.out.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(states, ["outdated", "excluded", "live"], "{}", ran.out);
    let ran = bench.run("probe list -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["probes"][0]["state"], "live");
    assert_eq!(json["probes"][0]["outdated"], serde_json::json!(lacks));
    assert_eq!(json["probes"][1]["exclusion"]["cause"], "canary");
    assert!(json["probes"][2].get("outdated").is_none());
    let ran = bench.run("probe get old").await;
    let build = "build               0.1.0, outdated: it cannot run grpc, which 3 checks need; it lacks \
                 1 more";
    assert!(ran.out.lines().any(|line| line == build), "{}", ran.out);
    let ran = bench.run("probe get fooled").await;
    let why = "it sees another thing than the known answer of 1 of 2 canaries";
    assert!(ran.out.contains(why), "{}", ran.out);
}

#[tokio::test]
async fn contacts_are_listed_without_their_secrets() {
    let bench = Bench::start().await;
    let secret =
        |text: &str| v1::Secret { value: Some(v1::secret::Value::Template(text.to_owned())) };
    bench.fake.0.lock().contacts = vec![v1::Contact {
        meta: Some(v1::Meta { name: "ops".to_owned(), ..v1::Meta::default() }),
        kind: Some(v1::contact::Kind::Webhook(v1::WebhookContact {
            url: Some(secret("https://hooks.example/T0/password")),
            headers: vec![v1::Header {
                name: "authorization".to_owned(),
                value: Some(secret("Bearer password")),
            }],
            signing_secrets: vec![secret("password-1"), secret("${env:NEXT}")],
            ..v1::WebhookContact::default()
        })),
        fallback: "boss".to_owned(),
        rate: "10/m".to_owned(),
    }];
    for format in ["table", "json", "yaml"] {
        let ran = bench.run(&format!("contact list -o {format}")).await;
        assert!(ran.out.contains("hooks.example"), "{}", ran.out);
        assert!(!ran.out.contains("password"), "{}", ran.out);
        let ran = bench.run(&format!("contact get ops -o {format}")).await;
        assert!(
            ran.out.contains("hooks.example") && ran.out.contains("${env:NEXT}"),
            "{}",
            ran.out
        );
        assert!(!ran.out.contains("password"), "{}", ran.out);
        for words in ["boss", "10/m", "waiting", "7"] {
            assert!(ran.out.contains(words), "{words}: {}", ran.out);
        }
    }
    let listed = bench.run("contact list").await.out;
    assert!(
        listed.contains("tried, 7 failures since 2023-11-14T22:13:20.000Z, 3 waiting"),
        "{listed}"
    );
    let ran = bench.run("contact get nobody").await;
    assert!(ran.err.contains("no contact"), "{}", ran.err);
}

#[tokio::test]
async fn each_kind_of_contact_is_shown_with_where_it_leads_and_without_its_secrets() {
    use v1::contact::Kind;
    let bench = Bench::start().await;
    let secret =
        |text: &str| v1::Secret { value: Some(v1::secret::Value::Template(text.to_owned())) };
    let url = || Some(secret("https://hooks.example/T0/password"));
    let password = || Some(secret("password"));
    let kinds = vec![
        Kind::Pagerduty(v1::PagerDutyContact {
            routing_key: password(),
            url: url(),
            ..Default::default()
        }),
        Kind::Alertmanager(v1::AlertmanagerContact {
            urls: vec![secret("https://hooks.example/password")],
            labels: [("team".to_owned(), "hooks.example".to_owned())].into(),
            ..Default::default()
        }),
        Kind::Slack(v1::SlackContact {
            token: password(),
            channel: "hooks.example".to_owned(),
            ..Default::default()
        }),
        Kind::Email(v1::EmailContact {
            server: "mail.example:587".to_owned(),
            username: password(),
            password: password(),
            to: vec!["ops@hooks.example".to_owned()],
            ..Default::default()
        }),
        Kind::Ntfy(v1::NtfyContact { url: url(), token: password(), ..Default::default() }),
        Kind::Discord(v1::DiscordContact { url: url(), ..Default::default() }),
        Kind::Telegram(v1::TelegramContact {
            token: password(),
            chat_id: "hooks.example".to_owned(),
            ..Default::default()
        }),
        Kind::Opsgenie(v1::OpsgenieContact {
            api_key: password(),
            url: url(),
            ..Default::default()
        }),
        Kind::Teams(v1::TeamsContact { url: url(), ..Default::default() }),
    ];
    for kind in kinds {
        let word = parallax_proto::convert::contact::word(&kind);
        let meta = v1::Meta { name: "ops".to_owned(), ..v1::Meta::default() };
        bench.fake.0.lock().contacts =
            vec![v1::Contact { meta: Some(meta), kind: Some(kind), ..Default::default() }];
        for words in ["contact list", "contact list -o json", "contact get ops -o yaml"] {
            let out = bench.run(words).await.out;
            assert!(out.contains(word) && out.contains("hooks.example"), "{words}: {out}");
            // An option may be called so.
            let values = out.replace("\"password\":", "").replace("password:", "");
            assert!(!values.contains("password"), "{words}: {out}");
        }
    }
}

#[tokio::test]
async fn a_test_of_a_contact_says_what_became_of_it_by_its_exit_code_too() {
    let bench = Bench::start().await;
    let ran = bench.run("contact test ops").await;
    assert!(
        ran.out.contains("ops has taken the test that c1 sent: HTTP status 200"),
        "{}",
        ran.out
    );
    assert_eq!(ran.exit, Exit::Ok);
    let ran = bench.run("contact test lost -o json").await;
    assert!(ran.out.contains("\"sent\": false"), "{}", ran.out);
    assert_eq!(ran.exit, Exit::Refused);
}

#[tokio::test]
async fn an_incident_is_told_with_sentences_ballots_pages_and_timeline() {
    let bench = Bench::start().await;
    {
        let mut state = bench.fake.0.lock();
        state.sentences = vec!["2 of 3 regions fail.".to_owned()];
        state.incident = v1::Incident {
            uid: "0190b2a4-7c1e-7d5a-9a51-5d3f6a2b8c01".to_owned(),
            kind: v1::IncidentKind::Down.into(),
            check_name: "shop".to_owned(),
            opened_at: at(0),
            opened_by: Some(v1::DecisionRecord {
                ballots: vec![ballot("eu-west", v1::BallotState::Fail)],
                ..v1::DecisionRecord::default()
            }),
            timeline: vec![v1::TimelineEvent {
                at: at(1),
                event: Some(v1::timeline_event::Event::PageSent(v1::PageSent {
                    contact: "ops".to_owned(),
                    kind: v1::PageKind::Opened.into(),
                    attempts: 1,
                })),
            }],
            deliveries: vec![v1::Delivery {
                contact_name: "ops".to_owned(),
                kind: v1::PageKind::Opened.into(),
                state: v1::DeliveryState::Sent.into(),
                attempts: 1,
                sent_at: at(1),
                ..v1::Delivery::default()
            }],
            ..v1::Incident::default()
        };
    }
    let ran = bench.run("incident get 0190b2a4").await;
    for part in [
        "shop is down  open\n",
        "  2 of 3 regions fail.\n",
        "ballots when it opened\nREGION",
        "ops      opened  sent",
        "2023-11-14T22:13:21.000Z  opened page sent to ops, attempt 1",
    ] {
        assert!(ran.out.contains(part), "{part} is not in\n{}", ran.out);
    }
    let ran = bench.run("incident list --open").await;
    assert!(ran.out.contains("shop is down  open   5m ago  1/1 sent"), "{}", ran.out);
    let ran = bench.run("incident resolve 0190b2a4 --force --note done").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""));
    let resolve = bench.fake.0.lock().resolves[0].clone();
    assert_eq!((resolve.force, resolve.note.as_str()), (true, "done"));
    let ran = bench.run("incident ack 0190b2a4 -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["timeline"][0]["event"], "page_sent");
    assert_eq!(json["deliveries"][0]["state"], "sent");
}

#[test]
fn every_format_has_its_word() {
    let cli = Cli::try_parse_from(["parallax", "status", "-o", "yaml"]).unwrap();
    assert_eq!(cli.global.output, Format::Yaml);
}

#[tokio::test]
async fn a_probe_is_drained_waited_for_and_put_back() {
    let bench = Bench::start().await;
    let probe = |region: &str, name: &str, checks| v1::Probe {
        region: region.to_owned(),
        name: name.to_owned(),
        state: v1::ProbeState::Live.into(),
        since: at(0),
        connected: true,
        checks,
        ..v1::Probe::default()
    };
    bench.fake.0.lock().probes =
        vec![probe("eu-west", "p1", 7), probe("us-east", "p1", 1), probe("us-east", "p2", 3)];
    let ran = bench.run("probe drain p1").await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(
        ran.err.contains("probes of eu-west, us-east are named `p1`: give --region"),
        "{}",
        ran.err
    );
    let ran = bench.run("probe drain p3").await;
    assert_eq!(ran.exit, Exit::NotFound, "{}", ran.err);
    let ran = bench.run("probe drain p2 --note kernel").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""));
    assert!(ran.err.contains("p2 of us-east is given no checks any more"), "{}", ran.err);
    let ran = bench.run("probe drain p1 --region eu-west --wait -o json").await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert!(ran.err.contains("p1 runs no check"), "{}", ran.err);
    let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&said["drain"]["by"], &said["checks"]), (&"anna".into(), &0.into()), "{said}");
    // On its way until it runs nothing; the fake's is empty by then.
    bench.fake.0.lock().probes[2].checks = 3;
    let ran = bench.run("probe list").await;
    let line = |name: &str| ran.out.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("p1    eu-west").contains("drained"), "{}", ran.out);
    assert!(line("p1    us-east").contains("live"), "{}", ran.out);
    assert!(line("p2").contains("draining"), "{}", ran.out);
    let ran = bench.run("probe get p2").await;
    assert!(
        ran.out.contains("is given checks     no, drained by anna 4m20s ago: kernel"),
        "{}",
        ran.out
    );
    let ran = bench.run("probe drain p2 --undo").await;
    assert!(ran.err.contains("p2 of us-east is given checks again"), "{}", ran.err);
    let ran = bench.run("probe get p2").await;
    assert!(ran.out.contains("is given checks     yes"), "{}", ran.out);
    let both = ["parallax", "probe", "drain", "p2", "--undo", "--force"];
    assert!(Cli::try_parse_from(both).is_err());
}
