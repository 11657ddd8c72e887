//! `-l`: what is asked of a coordinator of it, and what is left out here.

use super::*;

/// One of each kind with `team: a`, one of another team, one without labels.
async fn bench() -> Bench {
    let bench = Bench::start().await;
    let mut text = String::new();
    for (list, more) in [
        ("regions", ""),
        ("contacts", ", webhook: {url: \"https://a.example\"}"),
        ("maintenance", ", matchers: [\"x=y\"], every: daily, at: \"02:30\", for: 1h, zone: UTC"),
        (
            "checks",
            ", tcp: {address: \"a.example:80\"}, interval: 10s, timeout: 3s, regions: [none]",
        ),
    ] {
        text.push_str(&format!("{list}:\n"));
        for (name, labels) in [
            ("ours", ", labels: {team: a, tier: live}"),
            ("theirs", ", labels: {team: b}"),
            ("none", ""),
        ] {
            text.push_str(&format!("  - {{name: {name}{labels}{more}}}\n"));
        }
    }
    text.push_str("mesh: {alert: [ours]}\n");
    bench.holds(&text, &[]);
    bench
}

impl Bench {
    /// Names of what a list shows, in JSON.
    async fn names(&self, command: &str, list: &str, selector: &str) -> Vec<String> {
        let words = command.split(' ').chain(["-o", "json", "-l", selector]);
        let ran = self.run_words(words.collect(), vec![self.address.to_string()]).await;
        assert_eq!(ran.exit, Exit::Ok, "{command}: {}", ran.err);
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let name = |it: &serde_json::Value| it["name"].as_str().unwrap().to_owned();
        json[list].as_array().unwrap().iter().map(name).collect()
    }
}

#[tokio::test]
async fn every_list_leaves_what_a_selector_means() {
    let bench = bench().await;
    let status = |name: &str| v1::StatusRow { name: name.to_owned(), ..v1::StatusRow::default() };
    bench.fake.0.lock().status.rows = ["ours", "theirs", "none"].map(status).to_vec();
    let probe = |region: &str| v1::Probe {
        region: region.to_owned(),
        name: region.to_owned(),
        ..v1::Probe::default()
    };
    bench.fake.0.lock().probes = ["ours", "theirs", "none", "unnamed"].map(probe).to_vec();
    for (command, list) in [
        ("region list", "regions"),
        ("contact list", "contacts"),
        ("maintenance list", "windows"),
        ("check list", "checks"),
        ("probe list", "probes"),
        ("status", "checks"),
    ] {
        for (selector, names) in [
            ("team in (a, b)", vec!["ours", "theirs"]),
            ("team,tier!=live", vec!["theirs"]),
            ("!team", vec!["none"]),
            ("team notin (a)", vec!["theirs", "none"]),
            ("team=a,team=b", vec![]),
        ] {
            assert_eq!(bench.names(command, list, selector).await, names, "{command} {selector}");
        }
    }
}

#[tokio::test]
async fn what_a_file_says_of_labels_is_what_a_selector_chooses_by() {
    let bench = Bench::start().await;
    bench.holds(
        "regions: [{name: a, labels: {cloud: x}}, {name: b}]\n\
         contacts:\n\
         - {name: a, labels: {cloud: x}, webhook: {url: \"https://a.example\"}}\n\
         - {name: b, webhook: {url: \"https://a.example\"}}\n\
         maintenance:\n\
         - {name: a, labels: {cloud: x}, matchers: [\"x=y\"], every: daily, at: \"02:30\", for: 1h, zone: UTC}\n\
         - {name: b, matchers: [\"x=y\"], every: daily, at: \"02:30\", for: 1h, zone: UTC}\n",
        &[],
    );
    for list in ["region", "contact", "maintenance"] {
        let several = if list == "maintenance" { "windows" } else { &format!("{list}s") };
        let command = format!("{list} list");
        assert_eq!(bench.names(&command, several, "cloud=x").await, ["a"], "{list}");
        assert_eq!(bench.names(&command, several, "cloud!=x").await, ["b"], "{list}");
    }
    let ran = bench.run("export -l cloud=x -o json").await;
    assert!(ran.err.contains("1 region, 1 contact, 1 maintenance window at"), "{}", ran.err);
}

#[tokio::test]
async fn an_export_of_a_selector_has_no_settings() {
    let bench = bench().await;
    let exported = async |selector: &str| {
        let words = vec!["export", "-l", selector];
        bench.run_words(words, vec![bench.address.to_string()]).await.err
    };
    let each = "1 region, 1 contact, 1 maintenance window, 1 check at";
    assert!(exported("!team").await.contains(each));
    assert!(exported("team in (a),tier").await.contains(each));
    let whole = bench.run("export").await.err;
    assert!(whole.contains("3 regions, 3 contacts, settings, 3 maintenance"), "{whole}");
}

#[tokio::test]
async fn checks_are_paused_and_their_uptime_is_told_by_a_selector() {
    let bench = bench().await;
    let changed = change(v1::ChangeKind::Changed, "none", &[("enabled", "a", "b")]);
    bench.fake.0.lock().apply = vec![changed, result(0, 1, 0, true)];
    let words = vec!["check", "pause", "-l", "team notin (a,b)"];
    let ran = bench.run_words(words, vec![bench.address.to_string()]).await;
    assert!(ran.err.starts_with("check none paused at revision 99\n"), "{}", ran.err);
    let ran = bench.run("uptime --all -l !tier").await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let asked: Vec<String> =
        bench.fake.0.lock().uptimes.iter().map(|request| request.check.clone()).collect();
    assert_eq!(asked, ["theirs", "none"]);
}

#[tokio::test]
async fn a_status_of_some_checks_has_only_the_regions_that_they_look_from() {
    let bench = Bench::start().await;
    let mut checks = ["shop", "cart"].map(check);
    checks[1].meta.as_mut().unwrap().labels.insert("old".to_owned(), String::new());
    bench.fake.0.lock().checks = checks.to_vec();
    bench.fake.0.lock().status = status_rows();
    let ran = bench.run("status -l old").await;
    assert!(ran.out.starts_with("CHECK  VERDICT   FOR  US-EAST\ncart"), "{}", ran.out);
    assert!(!ran.out.contains("shop"), "{}", ran.out);
}

#[tokio::test]
async fn incidents_are_listed_by_the_labels_that_they_opened_with() {
    let bench = Bench::start().await;
    bench.fake.0.lock().incident = v1::Incident {
        uid: "0190b2a4".to_owned(),
        check_name: "shop".to_owned(),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        ..v1::Incident::default()
    };
    for (selector, said) in
        [("team", ""), ("!team", "no incidents\n"), ("team!=a", "no incidents\n")]
    {
        let ran = bench.run(&format!("incident list -l {selector}")).await;
        assert_eq!(ran.err, said, "{selector}");
    }
}
