//! Apply, diff and delete: what is sent, what is refused, and what is repeated.

use super::*;

#[tokio::test]
async fn apply_sends_header_and_resources_and_prints_the_plan() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    bench.fake.0.lock().apply = vec![
        change(v1::ChangeKind::Created, "shop", &[]),
        change(
            v1::ChangeKind::Changed,
            "cart",
            &[("interval", "1s", "2s"), ("alert", "", "[ops]")],
        ),
        change(v1::ChangeKind::Unchanged, "same", &[]),
        result(1, 1, 1, true),
    ];
    let ran = bench.run("apply -f - --set pay --prune --yes-delete 3 --take -n team").await;
    assert_eq!(
        ran.out,
        "+ check shop\n~ check cart\n    interval  1s -> 2s\n    alert     (none) -> [ops]\n1 \
         created, 1 changed, 1 unchanged, 0 deleted at revision 99\n"
    );
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, ""));
    let parts = bench.fake.0.lock().applied[0].clone();
    let Some(v1::apply_request::Part::Header(header)) = &parts[0].part else { panic!("no header") };
    let id = header.request_id.clone().unwrap();
    assert_eq!((header.set.as_str(), header.namespace.as_str()), ("pay", "team"));
    assert_eq!((header.prune, header.yes_delete, header.take), (true, 3, true));
    assert_eq!((header.dry_run, header.source.as_str()), (false, "<stdin>"));
    assert_eq!((id.number, id.lowest_open, id.client.len()), (1, 1, 36));
    assert_eq!(parts.len(), 3);
}

#[tokio::test]
async fn diff_is_a_dry_run_that_exits_with_ten_when_something_would_change() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    bench.fake.0.lock().apply =
        vec![change(v1::ChangeKind::Created, "shop", &[]), result(1, 0, 0, false)];
    let ran = bench.run("diff -f -").await;
    assert_eq!(ran.exit, Exit::Changes);
    assert_eq!(ran.out, "+ check shop\nwould be 1 created, 0 changed, 0 unchanged, 0 deleted\n");
    bench.fake.0.lock().apply = vec![result(0, 0, 2, false)];
    assert_eq!(bench.run("diff -f -").await.exit, Exit::Ok);
    assert_eq!(bench.run("apply -f - --dry-run").await.exit, Exit::Ok);
    for parts in &bench.fake.0.lock().applied {
        let Some(v1::apply_request::Part::Header(header)) = &parts[0].part else { panic!() };
        assert!(header.dry_run);
    }
}

#[tokio::test]
async fn a_few_resources_go_in_one_message_and_all_else_or_to_an_older_build_in_a_stream() {
    let regions = |count: usize| {
        let each = |number| format!("  - name: r{number}\n");
        format!("regions:\n{}", (0..count).map(each).collect::<String>())
    };
    // What is applied with which flags to what, and whether it goes in one message.
    let table = [
        (8, "", false, true),
        (9, "", false, false),
        (8, "--prune", false, false),
        (8, "", true, false),
    ];
    for (count, flags, streams_only, whole) in table {
        let mut bench = Bench::start().await;
        bench.input = regions(count);
        {
            let mut state = bench.fake.0.lock();
            state.streams_only = streams_only;
            state.apply =
                vec![change(v1::ChangeKind::Created, "r0", &[]), result(count as u32, 0, 0, true)];
        }
        let ran = bench.run(&format!("apply -f - {flags}")).await;
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, ""));
        assert!(ran.out.starts_with("+ check r0\n"), "{}", ran.out);
        let state = bench.fake.0.lock();
        let sent: Vec<_> = state.applied.iter().map(Vec::len).collect();
        assert_eq!((sent, state.applied_whole), (vec![count + 1], usize::from(whole)));
    }
}

#[tokio::test]
async fn what_a_file_breaks_never_reaches_the_coordinator() {
    let mut bench = Bench::start().await;
    bench.input = "checks:\n  - nmae: shop\n".to_owned();
    let ran = bench.run("apply -f -").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""));
    assert!(ran.err.contains("<stdin>:2:5: error[unknown_field]"), "{}", ran.err);
    assert!(ran.err.contains("help: did you mean `name`?"), "{}", ran.err);
    assert!(bench.fake.0.lock().applied.is_empty());
    let ran = bench.run("apply -f - -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let unknown =
        json["errors"].as_array().unwrap().iter().find(|it| it["rule"] == "unknown_field");
    let unknown = unknown.unwrap();
    assert_eq!((&unknown["line"], &unknown["column"]), (&2.into(), &5.into()));
    assert_eq!(unknown["nearest"], "name");
}

#[tokio::test]
async fn what_a_file_breaks_is_told_before_anybody_asks_where_to_connect_to() {
    let mut bench = Bench::start().await;
    bench.input = "checks:\n  - nmae: shop\n".to_owned();
    for command in ["apply -f -", "diff -f -"] {
        let ran = bench.run_at(command, vec![]).await;
        assert_eq!(ran.exit, Exit::Refused, "{command}");
        assert!(ran.err.contains("error[unknown_field]"), "{command}: {}", ran.err);
    }
    bench.input = "regions: [{name: eu}]\n".to_owned();
    let ran = bench.run_at("apply -f -", vec![]).await;
    assert_eq!(ran.exit, Exit::Usage, "{}", ran.err);
}

#[tokio::test]
async fn what_the_coordinator_refuses_points_into_the_file() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    let violation = |rule: &str| v1::ApplyResponse {
        part: Some(v1::apply_response::Part::Violation(v1::Violation {
            rule: rule.to_owned(),
            resource: "check".to_owned(),
            name: "shop".to_owned(),
            field: "regions[1]".to_owned(),
            message: "there is no region `us-east`".to_owned(),
            nearest: "us-west".to_owned(),
        })),
    };
    bench.fake.0.lock().apply = vec![violation("unknown_region")];
    let ran = bench.run("apply -f -").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(
        ran.err.contains("<stdin>:7:24: error[unknown_region]: check \"shop\", regions[1]:"),
        "{}",
        ran.err
    );
    bench.fake.0.lock().apply = vec![violation("conflict")];
    assert_eq!(bench.run("apply -f -").await.exit, Exit::Conflict);
}

#[tokio::test]
async fn advice_is_talk_and_the_plan_is_data() {
    let mut bench = Bench::start().await;
    bench.input = MESH.to_owned();
    let advice = v1::apply_response::Part::Advice(v1::Advice {
        rule: "advice_no_alert".to_owned(),
        resource: "check".to_owned(),
        name: "shop".to_owned(),
        field: "alert".to_owned(),
        message: "pages nobody".to_owned(),
    });
    bench.fake.0.lock().apply =
        vec![v1::ApplyResponse { part: Some(advice) }, result(0, 0, 2, true)];
    let ran = bench.run("apply -f - -o json").await;
    assert!(ran.err.contains("<stdin>:3:11: advice[advice_no_alert]"), "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["committed"], true);
    assert_eq!(json["advice"][0]["rule"], "advice_no_alert");
}

#[tokio::test]
async fn a_file_and_a_flag_that_name_two_namespaces_are_a_usage_error() {
    let mut bench = Bench::start().await;
    bench.input = format!("namespace: one\n{MESH}");
    let ran = bench.run("apply -f - -n two").await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("namespace: one"), "{}", ran.err);
}

#[tokio::test]
async fn a_write_is_repeated_with_the_same_id_while_nobody_is_there() {
    let bench = Bench::start().await;
    bench.fake.0.lock().away = 2;
    let ran = bench.run("check delete shop --etag 7").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""));
    assert_eq!(ran.err, "check shop deleted at revision 43\n");
    let deletes = bench.fake.0.lock().deletes.clone();
    assert_eq!(deletes.len(), 3);
    assert!(deletes.iter().all(|delete| *delete == deletes[0]));
    assert_eq!(deletes[0].etag, 7);
}

#[tokio::test]
async fn a_write_whose_connection_breaks_before_its_answer_is_repeated_with_the_same_id() {
    let bench = Bench::start().await;
    bench.fake.0.lock().cut = 2;
    let ran = bench.run_at("check delete shop", vec![bench.cuttable().await]).await;
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, "check shop deleted at revision 43\n"));
    let deletes = bench.fake.0.lock().deletes.clone();
    assert_eq!(deletes.len(), 3);
    assert!(deletes.iter().all(|delete| *delete == deletes[0]));
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_one_is_dead() {
    let bench = Bench::start().await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let both = vec![dead.clone(), bench.address.to_string()];
    assert_eq!(bench.run_at("check list", both).await.exit, Exit::Ok);
    // What one says that is there tells more than that the other is not.
    bench.fake.0.lock().away = u32::MAX;
    for both in
        [[bench.address.to_string(), dead.clone()], [dead.clone(), bench.address.to_string()]]
    {
        let ran = bench.run_at("check list", both.to_vec()).await;
        assert_eq!(ran.exit, Exit::Unreachable);
        assert!(ran.err.ends_with(": starting\n"), "{}", ran.err);
    }
    let ran = bench.run_at("check list", vec![dead.clone()]).await;
    assert_eq!(ran.exit, Exit::Unreachable);
    assert!(ran.err.contains(&format!("cannot reach a coordinator at {dead}")), "{}", ran.err);
}

#[tokio::test]
async fn a_refusal_shows_message_rule_and_request_id() {
    let bench = Bench::start().await;
    let mut status = Status::failed_precondition("check `shop` is named elsewhere");
    status.metadata_mut().insert(crate::client::RULE_KEY, "in_use".parse().unwrap());
    bench.fake.0.lock().refuse = Some(status);
    let ran = bench.run("check delete shop").await;
    assert_eq!(ran.exit, Exit::Refused);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines[..2], ["error: check `shop` is named elsewhere", "  rule: in_use"]);
    assert!(lines[2].starts_with("  request: ") && lines[2].ends_with("/1"), "{}", ran.err);
    bench.fake.0.lock().refuse = Some(Status::aborted("changed meanwhile"));
    assert_eq!(bench.run("check delete shop").await.exit, Exit::Conflict);
}
