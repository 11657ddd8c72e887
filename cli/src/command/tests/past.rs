//! History and uptime: what is asked for, and gaps as gaps.

use super::*;

#[tokio::test]
async fn history_asks_for_what_was_said_and_shows_gaps_as_gaps() {
    let bench = Bench::start().await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let millis = |ms: i32| Some(prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 });
    let count = |outcome: v1::Outcome, reason: v1::Reason, count| v1::HistoryCount {
        outcome: outcome.into(),
        reason: reason.into(),
        count,
    };
    let row = v1::HistoryRow {
        start: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        region: "eu".into(),
        covered: seconds(1_800),
        expected: seconds(3_600),
        counts: vec![
            count(v1::Outcome::Pass, v1::Reason::Unspecified, 98),
            count(v1::Outcome::Fail, v1::Reason::ConnectRefused, 2),
        ],
        series: vec![v1::HistorySeries {
            phase: v1::Phase::Total.into(),
            count: 100,
            max: millis(80),
            quantiles: millis(12).into_iter().chain(millis(70)).collect(),
            ..v1::HistorySeries::default()
        }],
        ..v1::HistoryRow::default()
    };
    let gap = v1::HistoryRow {
        region: "us".into(),
        expected: seconds(3_600),
        ..v1::HistoryRow::default()
    };
    bench.fake.0.lock().history = v1::QueryHistoryResponse {
        rows: vec![row, gap],
        tier: v1::HistoryTier::Hours.into(),
        cell: seconds(3_600),
        node_id: 2,
        ..v1::QueryHistoryResponse::default()
    };
    let line = "history shop --since 7d --quantiles 50,99.9 --by region --step 1h";
    let ran = bench.run(line).await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let lines: Vec<Vec<&str>> =
        ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][10..], ["P50", "P99.9", "MAX"]);
    let (eu, us) = (&lines[1][1..], &lines[2]);
    let figures =
        ["eu", "50%", "100", "0", "2", "0", "total", "all", "100", "12.000", "70.000", "80.000"];
    assert_eq!(eu, figures);
    assert_eq!(us[..], ["us", "0%", "0", "0", "0", "0", "-", "-", "-", "-", "-", "-"]);
    assert!(ran.err.contains("from the hours of coordinator 2"), "{}", ran.err);
    {
        let state = bench.fake.0.lock();
        let asked = &state.queried[0];
        assert!(asked.by_region && !asked.by_phase && !asked.by_step);
        assert_eq!((asked.quantiles.as_slice(), asked.step), (&[50.0, 99.9][..], seconds(3_600)));
        let span = |at: &Option<prost_types::Timestamp>| at.unwrap().seconds;
        assert_eq!(span(&asked.until) - span(&asked.since), 7 * 86_400);
    }
    let ran = bench.run(&format!("{line} -o json")).await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["rows"][0]["reasons"][0]["reason"], "connect_refused");
    assert_eq!(json["rows"][0]["series"][0]["quantiles"][1]["ms"], 70.0);
    assert_eq!(json["rows"][1]["coverage_percent"], 0.0);
}

#[tokio::test]
async fn uptime_of_all_checks_asks_for_each_and_shows_what_is_unknown_apart() {
    let bench = Bench::start().await;
    let named = |name: &str| v1::Check {
        meta: Some(v1::Meta { name: name.into(), ..v1::Meta::default() }),
        ..v1::Check::default()
    };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    {
        let mut state = bench.fake.0.lock();
        state.checks = vec![named("cart"), named("shop")];
        let interval = |verdict: v1::Verdict| v1::VerdictInterval {
            verdict: verdict.into(),
            ..v1::VerdictInterval::default()
        };
        state.uptime = v1::GetUptimeResponse {
            percent: Some(99.999_9),
            down: seconds(90),
            unknown: seconds(30),
            intervals: vec![interval(v1::Verdict::Up), interval(v1::Verdict::Down)],
            ..v1::GetUptimeResponse::default()
        };
    }
    let ran = bench.run("uptime --all --since 30d").await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let lines: Vec<Vec<&str>> =
        ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["cart", "99.999%", "1m30s", "1", "-", "30s", "-"]);
    assert_eq!(lines[2][0], "shop");
    assert_eq!(bench.fake.0.lock().uptimes.len(), 2);
    let ran = bench.run("uptime shop").await;
    assert!(ran.out.contains("VERDICT") && ran.out.contains("stands"), "{}", ran.out);
}
