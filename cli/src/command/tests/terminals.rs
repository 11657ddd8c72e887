//! What is shown on narrow terminals and on wide ones, and beside the matrix of a status.

use super::*;

/// How many columns the widest line takes.
fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}

/// Ten checks with long names, of which each looks from seven regions.
fn many() -> (v1::GetStatusResponse, Vec<v1::Check>) {
    let regions: Vec<String> =
        ["eu-west", "eu-north", "us-east", "us-west", "ap-south", "ap-east", "sa"]
            .map(str::to_owned)
            .to_vec();
    let names: Vec<String> = (0..10).map(|at| format!("checkout-of-the-shop-{at}")).collect();
    let row = |name: &String| v1::StatusRow {
        name: name.clone(),
        enabled: true,
        verdict: v1::Verdict::Degraded.into(),
        degraded: v1::DegradedKind::Regional.into(),
        since: at(0),
        ballots: regions.iter().map(|region| ballot(region, v1::BallotState::Fail)).collect(),
        ..v1::StatusRow::default()
    };
    let checks = names.iter().map(|name| v1::Check {
        title: "What people press when they have chosen".to_owned(),
        regions: regions.clone(),
        ..check(name)
    });
    let status = v1::GetStatusResponse {
        rows: names.iter().map(row).collect(),
        regions: regions.clone(),
        ..status_rows()
    };
    (status, checks.collect())
}

#[tokio::test]
async fn a_status_and_a_list_of_checks_fit_terminals_of_60_80_and_200_columns() {
    let mut bench = Bench::start().await;
    let (status, checks) = many();
    bench.fake.0.lock().status = status;
    bench.fake.0.lock().checks = checks;
    for (width, matrix) in [(60, false), (80, false), (200, true)] {
        bench.width = Some(width);
        let ran = bench.run("status").await;
        // The line about the mesh is a sentence, which the terminal wraps.
        let (shown, mesh) = ran.out.trim_end().rsplit_once("\n\n").unwrap();
        assert!(mesh.starts_with("mesh demo"), "{mesh}");
        assert!(widest(shown) <= width, "{width}:\n{shown}");
        assert_eq!(shown.starts_with("CHECK"), matrix, "{width}:\n{shown}");
        // Whatever the width, nothing is left out and no name is cut.
        assert_eq!(shown.matches("checkout-of-the-shop-").count(), 10, "{shown}");
        assert_eq!(shown.matches("\u{2717} fail").count(), 70, "{shown}");
        for region in ["eu-west", "sa"] {
            assert!(shown.to_lowercase().contains(region), "{region}:\n{shown}");
        }
        let ran = bench.run("check list").await;
        assert!(widest(&ran.out) <= width, "{width}:\n{}", ran.out);
        for number in 0..10 {
            let name = format!("checkout-of-the-shop-{number}");
            let found = ran.out.lines().filter(|line| line.starts_with(&name)).count();
            assert_eq!(found, 1, "{name}:\n{}", ran.out);
        }
    }
    // A narrow one needs more lines, and a wide one has all of a check in one.
    let mut lines = Vec::new();
    for width in [60, 200] {
        bench.width = Some(width);
        lines.push(bench.run("check list").await.out.lines().count());
    }
    assert!(lines[0] > lines[1] && lines[1] == 11, "{lines:?}");
}

#[tokio::test]
async fn a_status_names_regions_that_nobody_looks_from_as_their_probes_are_drained() {
    let bench = Bench::start().await;
    let probe = |region: &str, name: &str, by: Option<&str>| v1::Probe {
        region: region.to_owned(),
        name: name.to_owned(),
        state: v1::ProbeState::Live.into(),
        drain: by.map(|by| v1::Drain {
            since: at(40),
            by: by.to_owned(),
            note: "kernel".to_owned(),
        }),
        ..v1::Probe::default()
    };
    {
        let mut state = bench.fake.0.lock();
        state.status = status_rows();
        let mut lost = probe("eu-west", "p9", None);
        lost.state = v1::ProbeState::Lost.into();
        state.probes = vec![
            probe("eu-west", "p1", Some("anna")),
            lost,
            probe("us-east", "p1", Some("anna")),
            probe("us-east", "p2", None),
            // No check of these looks from there.
            probe("sa", "p1", Some("anna")),
        ];
        state.probes.extend(["a", "b", "c", "d"].map(|name| probe("ap-south", name, Some("ben"))));
    }
    let ran = bench.run("status").await;
    let said: Vec<&str> = ran.out.lines().filter(|line| line.contains("nobody")).collect();
    assert_eq!(
        said,
        [
            "nobody looks from eu-west: p1 is drained by anna 4m20s ago: kernel",
            "nobody looks from ap-south: a is drained by ben 4m20s ago: kernel; b is drained by ben \
             4m20s ago: kernel; c is drained by ben 4m20s ago: kernel; so is 1 more",
        ],
        "{}",
        ran.out
    );
    let ran = bench.run("status -o json").await;
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let eu = &json["unwatched"][0];
    assert_eq!((&eu["region"], &eu["drained"][0]["by"]), (&"eu-west".into(), &"anna".into()));
    assert_eq!(json["unwatched"].as_array().unwrap().len(), 2);
    bench.fake.0.lock().probes.clear();
    let ran = bench.run("status -o json").await;
    assert!(!ran.out.contains("unwatched"), "{}", ran.out);
}
