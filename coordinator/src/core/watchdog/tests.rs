use std::time::Duration;

use parallax_common::health::Share;

use super::*;
use crate::core::table::{columns, lines};

const TABLE: &str = include_str!("chances.txt");

fn at(seconds: u64) -> MeshTime {
    MeshTime::from_ns(1_000_000_000_000) + Duration::from_secs(seconds)
}

fn key(region: &str) -> ProbeKey {
    ProbeKey { region: region.to_owned(), probe: format!("{region}-1") }
}

fn take(survey: &mut Survey, target: &str, votes: &[(&str, bool)]) {
    let probes: Vec<String> = votes.iter().map(|(region, _)| format!("{region}-1")).collect();
    let votes: Vec<Witnessed<'_>> = votes
        .iter()
        .zip(&probes)
        .map(|((region, fails), probe)| Witnessed {
            region,
            probe,
            fails: *fails,
            excluded: false,
            young: false,
        })
        .collect();
    survey.take(target, &votes);
}

/// Regions a, b and c look at so many targets; on `alone` of them c sees another thing than the others.
fn survey(targets: u32, alone: u32, fails: bool) -> Survey {
    let mut survey = Survey::default();
    for target in 0..targets {
        let (c, others) = (target < alone && fails, target < alone && !fails);
        take(&mut survey, &format!("t{target}"), &[("a", others), ("b", others), ("c", c)]);
    }
    survey
}

fn watchdog() -> Watchdog {
    let mut watchdog = Watchdog::default();
    for region in ["a", "b", "c"] {
        watchdog.row(key(region), None);
    }
    watchdog
}

fn everybody(_: &ProbeKey) -> bool {
    true
}

#[test]
fn the_table_of_chances_holds() {
    let mut rows = 0;
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [targets, alone, thought, chance] = cells[..] else { panic!("{line}") };
        let (n, k): (u32, u32) = (targets.parse().unwrap(), alone.parse().unwrap());
        let expected: f64 = chance.parse().unwrap();
        let computed = tail(n, k, DISAGREEMENT_BASE_RATE);
        assert!((computed / expected - 1.0).abs() < 0.01, "{line}: {computed:e}");
        let word = match opinion(k, n) {
            Opinion::Suspect(_) => "suspect",
            Opinion::Undecided => "undecided",
            Opinion::Well => "well",
        };
        assert_eq!(word, thought, "{line}");
        rows += 1;
    }
    assert!(rows > 10);
}

#[test]
fn a_tail_never_grows_with_what_is_asked_of_it() {
    for n in [1, 7, 100, 5_000] {
        let mut last = 1.0;
        for k in 0..=n.min(400) {
            let now = tail(n, k, 0.01);
            assert!((0.0..=last).contains(&now), "{n} {k}: {now} after {last}");
            last = now;
        }
        assert_eq!(tail(n, n + 1, 0.01), 0.0);
    }
}

#[test]
fn who_alone_fails_or_alone_passes_disagrees_and_nobody_else_does() {
    for fails in [true, false] {
        let survey = survey(20, 6, fails);
        assert_eq!(survey.of(&key("c")), (6, 20), "{fails}");
        // Where c stands alone, a and b have no two others that agree.
        assert_eq!(survey.of(&key("a")), (0, 14), "{fails}");
    }
}

#[test]
fn of_two_regions_nobody_can_say_which_is_wrong() {
    let mut survey = Survey::default();
    take(&mut survey, "t", &[("a", true), ("b", false)]);
    take(&mut survey, "t", &[("a", true)]);
    assert_eq!(survey.of(&key("a")), (0, 0));
    assert_eq!(survey.of(&key("b")), (0, 0));
}

#[test]
fn who_may_not_vote_is_compared_and_compared_with_nobody() {
    let vote =
        |region, probe, fails, excluded| Witnessed { region, probe, fails, excluded, young: false };
    let mut survey = Survey::default();
    let votes = [
        vote("a", "a-1", false, false),
        vote("b", "b-1", false, false),
        vote("c", "c-1", true, true),
    ];
    survey.take("t", &votes);
    assert_eq!(survey.of(&key("c")), (1, 1));
    assert_eq!(survey.of(&key("a")), (0, 0), "b alone is no two others");
    // Nor are two probes of one region.
    let votes = [
        vote("a", "a-1", false, false),
        vote("b", "b-1", true, false),
        vote("b", "b-2", true, false),
    ];
    survey.take("u", &votes);
    assert_eq!(survey.of(&key("a")), (0, 0));
}

#[test]
fn many_checks_of_one_target_are_one_target() {
    let mut survey = Survey::default();
    for _ in 0..50 {
        take(&mut survey, "one", &[("a", false), ("b", false), ("c", true)]);
    }
    assert_eq!(survey.of(&key("c")), (1, 1));
    // Fewer than half of a target's checks do not make it one that it disagrees on.
    for _ in 0..51 {
        take(&mut survey, "one", &[("a", false), ("b", false), ("c", false)]);
    }
    assert_eq!(survey.of(&key("c")), (0, 1));
}

#[test]
fn a_suspicion_that_lasts_excludes_and_a_minute_of_health_readmits() {
    let mut watchdog = watchdog();
    let (bad, good) = (survey(20, 8, true), survey(20, 0, true));
    assert_eq!(watchdog.review(&bad, everybody, at(0)), []);
    assert_eq!(watchdog.review(&bad, everybody, at(4)), []);
    let wish = Exclusion {
        cause: ExclusionCause::Disagrees.into(),
        since: None,
        disagreeing: 8,
        targets: 20,
    };
    assert_eq!(watchdog.review(&bad, everybody, at(5)), [(key("c"), Some(wish))]);
    assert_eq!(watchdog.review(&bad, everybody, at(6)), [], "it is said once");
    assert_eq!(watchdog.review(&good, everybody, at(10)), []);
    assert_eq!(watchdog.review(&good, everybody, at(69)), []);
    // A relapse, and the minute begins anew.
    assert_eq!(watchdog.review(&bad, everybody, at(69)), []);
    assert_eq!(watchdog.review(&good, everybody, at(70)), []);
    assert_eq!(watchdog.review(&good, everybody, at(129)), []);
    assert_eq!(watchdog.review(&good, everybody, at(130)), [(key("c"), None)]);
}

#[test]
fn between_bad_and_good_nothing_changes() {
    let mut watchdog = watchdog();
    let (bad, between) = (survey(100, 9, true), survey(100, 6, true));
    for second in 0..=100 {
        assert_eq!(watchdog.review(&between, everybody, at(second)), []);
    }
    watchdog.review(&bad, everybody, at(101));
    assert_eq!(watchdog.review(&bad, everybody, at(106)).len(), 1);
    for second in 107..300 {
        assert_eq!(watchdog.review(&between, everybody, at(second)), []);
    }
}

#[test]
fn what_is_wrong_with_one_probe_excludes_it_and_what_is_wrong_with_most_excludes_none() {
    let cut_off = Health { anchors: Share::new(0, 3), ..Health::default() };
    let late =
        Health { loop_lag: EXCLUDE_LOOP_LAG + Duration::from_millis(1), ..Health::default() };
    let rows = [(cut_off, ExclusionCause::Anchors), (late, ExclusionCause::Lagging)];
    for (health, cause) in rows {
        let mut watchdog = watchdog();
        let survey = survey(20, 0, true);
        watchdog.health(&key("a"), &health);
        watchdog.review(&survey, everybody, at(0));
        let wished = watchdog.review(&survey, everybody, at(5));
        assert_eq!(wished.len(), 1, "{cause:?}");
        assert_eq!((&wished[0].0, wished[0].1.unwrap().cause()), (&key("a"), cause));

        let mut watchdog = self::watchdog();
        watchdog.health(&key("a"), &health);
        watchdog.health(&key("b"), &health);
        watchdog.review(&survey, everybody, at(0));
        assert_eq!(watchdog.review(&survey, everybody, at(5)), [], "{cause:?}: two of three");
    }
}

#[test]
fn a_probe_that_is_not_heard_keeps_what_it_has_and_earns_no_time() {
    let mut watchdog = watchdog();
    let bad = survey(20, 8, true);
    let nobody = |_: &ProbeKey| false;
    watchdog.review(&bad, everybody, at(0));
    assert_eq!(watchdog.review(&bad, nobody, at(5)), []);
    assert_eq!(watchdog.review(&bad, everybody, at(6)), [], "the five seconds begin anew");
    assert_eq!(watchdog.review(&bad, everybody, at(11)).len(), 1);
    let good = survey(20, 0, true);
    for second in 12..200 {
        assert_eq!(watchdog.review(&good, nobody, at(second)), []);
    }
}

#[test]
fn a_new_term_takes_over_what_is_applied_and_counts_anew() {
    let mut watchdog = watchdog();
    let (bad, good) = (survey(20, 8, true), survey(20, 0, true));
    watchdog.review(&bad, everybody, at(0));
    watchdog.begin_anew();
    assert_eq!(watchdog.review(&bad, everybody, at(6)), []);
    watchdog.row(key("c"), Some(Exclusion::default()));
    assert_eq!(watchdog.review(&bad, everybody, at(20)), [], "it is excluded already");
    watchdog.review(&good, everybody, at(21));
    assert_eq!(watchdog.review(&good, everybody, at(81)), [(key("c"), None)]);
}

#[test]
fn what_half_of_the_probes_see_is_no_fault_of_theirs() {
    // Two of four stand alone, each on targets of its own.
    let mut survey = Survey::default();
    for target in 0..40 {
        let (a, b) = (target % 4 == 0, target % 4 == 1);
        let votes = [("a", a), ("b", b), ("c", false), ("d", false)];
        take(&mut survey, &format!("t{target}"), &votes);
    }
    let mut watchdog = watchdog();
    watchdog.row(key("d"), None);
    assert!(matches!(opinion(10, 30), Opinion::Suspect(_)));
    for second in 0..60 {
        assert_eq!(watchdog.review(&survey, everybody, at(second)), []);
    }
    // With a fifth that agrees with nobody's fault it is two of five.
    watchdog.row(key("e"), None);
    watchdog.review(&survey, everybody, at(60));
    assert_eq!(watchdog.review(&survey, everybody, at(65)).len(), 2);
}

/// Probes of region eu, each with targets of its own: `3/5` fails on three of five that us and ap see
/// pass. Who is excluded after a while.
fn excluded_of(eu: &str) -> Vec<String> {
    let mut survey = Survey::default();
    let mut watchdog = Watchdog::default();
    let probe = |region: &str, probe: String| ProbeKey { region: region.to_owned(), probe };
    for region in ["us", "ap"] {
        watchdog.row(probe(region, "1".into()), None);
    }
    for (n, cell) in eu.split_whitespace().enumerate() {
        let name = format!("eu-{}", n + 1);
        watchdog.row(probe("eu", name.clone()), None);
        let (fails, all) = cell.split_once('/').unwrap();
        let (fails, all): (u32, u32) = (fails.parse().unwrap(), all.parse().unwrap());
        for target in 0..all {
            let vote = |region, probe, fails| Witnessed {
                region,
                probe,
                fails,
                excluded: false,
                young: false,
            };
            let votes = [
                vote("eu", name.as_str(), target < fails),
                vote("us", "1", false),
                vote("ap", "1", false),
            ];
            survey.take(&format!("{name}-{target}"), &votes);
        }
    }
    watchdog.review(&survey, everybody, at(0));
    let wishes = watchdog.review(&survey, everybody, at(5));
    let names = wishes.into_iter().map(|(key, wish)| {
        assert!(wish.is_some());
        key.probe
    });
    let names = names.collect();
    // It stays so as long as it goes on.
    for minute in 1..10 {
        assert_eq!(watchdog.review(&survey, everybody, at(5 + minute * 60)), []);
    }
    names
}

#[test]
fn most_of_a_regions_targets_together_blame_the_region() {
    let mut rows = 0;
    for line in lines(include_str!("regions.txt")) {
        let [eu, expected] = columns(line);
        assert_eq!(excluded_of(eu).join(" "), expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 8);
}

#[test]
fn who_cannot_be_compared_any_more_is_not_well_for_that() {
    let mut watchdog = watchdog();
    let (bad, nothing) = (survey(20, 8, true), Survey::default());
    watchdog.review(&bad, everybody, at(0));
    assert_eq!(watchdog.review(&bad, everybody, at(5)).len(), 1);
    for minute in 1..60 {
        assert_eq!(watchdog.review(&nothing, everybody, at(5 + minute * 60)), [], "{minute}");
    }
    let long = 5 + 60 + ALONE_AT_MOST.as_secs();
    assert_eq!(watchdog.review(&nothing, everybody, at(long)), []);
    let after = long + READMIT_AFTER.as_secs();
    assert_eq!(watchdog.review(&nothing, everybody, at(after)), [(key("c"), None)]);
}

/// One look at canaries: a row each, and whether a, b, c and d see another thing than its known answer.
fn canaries(rows: &[&[bool]]) -> Survey {
    let mut survey = Survey::default();
    let probes = ["a-1", "b-1", "c-1", "d-1"];
    for row in rows {
        let votes: Vec<Witnessed<'_>> = row
            .iter()
            .zip(["a", "b", "c", "d"].iter().zip(probes))
            .map(|(fails, (region, probe))| Witnessed {
                region,
                probe,
                fails: *fails,
                excluded: false,
                young: false,
            })
            .collect();
        survey.take_canary(&votes);
    }
    survey
}

#[test]
fn who_does_not_see_a_known_answer_is_excluded_unless_half_do_not_see_it() {
    let mut rows = 0;
    for line in lines(include_str!("canaries.txt")) {
        let [seen, expected] = columns(line);
        assert_eq!(excluded_by(seen).join(" "), expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 24);
}

#[test]
fn who_was_excluded_by_a_canary_must_see_it_again_to_be_well() {
    let seen = canaries(&[&[false, false, true]]);
    let doubt = canaries(&[&[false, true, true]]);
    let right = canaries(&[&[false, false, false]]);
    let excluded = || {
        let mut watchdog = watchdog();
        watchdog.review(&seen, everybody, at(0));
        assert_eq!(watchdog.review(&seen, everybody, at(5)).len(), 1);
        watchdog
    };
    // Neither doubt in the canary nor its silence is health.
    for nothing in [&doubt, &Survey::default()] {
        let mut watchdog = excluded();
        for second in 6..600 {
            assert_eq!(watchdog.review(nothing, everybody, at(second)), []);
        }
        assert_eq!(watchdog.review(&right, everybody, at(600)), []);
        assert_eq!(watchdog.review(&right, everybody, at(660)), [(key("c"), None)]);
    }
    // A canary that was taken out, or is in doubt for ever, holds nobody for ever.
    for nothing in [&doubt, &Survey::default()] {
        let mut watchdog = excluded();
        watchdog.review(nothing, everybody, at(6));
        let long = 6 + ALONE_AT_MOST.as_secs();
        assert_eq!(watchdog.review(nothing, everybody, at(long - 1)), []);
        assert_eq!(watchdog.review(nothing, everybody, at(long)), []);
        let after = long + READMIT_AFTER.as_secs();
        assert_eq!(watchdog.review(nothing, everybody, at(after)), [(key("c"), None)]);
    }
}

#[test]
fn a_canary_in_doubt_holds_nobody_who_was_excluded_for_another_cause() {
    let late = Health { loop_lag: EXCLUDE_LOOP_LAG * 2, ..Health::default() };
    for cause in [ExclusionCause::Lagging, ExclusionCause::Disagrees] {
        let mut watchdog = watchdog();
        let bad = match cause {
            ExclusionCause::Lagging => survey(20, 0, true),
            _ => survey(20, 8, true),
        };
        if cause == ExclusionCause::Lagging {
            watchdog.health(&key("c"), &late);
        }
        watchdog.review(&bad, everybody, at(0));
        let wished = watchdog.review(&bad, everybody, at(5));
        assert_eq!(wished[0].1.unwrap().cause(), cause);
        // Well again but for a canary that is broken itself.
        watchdog.health(&key("c"), &Health::default());
        let mut good = survey(20, 0, true);
        good.canaries = canaries(&[&[false, true, true]]).canaries;
        assert_eq!(good.canaries(&key("c")).in_doubt, 1);
        assert_eq!(watchdog.review(&good, everybody, at(6)), []);
        assert_eq!(watchdog.review(&good, everybody, at(66)), [(key("c"), None)], "{cause:?}");
    }
}

#[test]
fn doubt_that_comes_and_goes_between_wrong_answers_adds_up_to_no_hour() {
    let seen = canaries(&[&[false, false, true]]);
    let doubt = canaries(&[&[false, true, true]]);
    let mut watchdog = watchdog();
    watchdog.review(&seen, everybody, at(0));
    assert_eq!(watchdog.review(&seen, everybody, at(5)).len(), 1);
    for minute in 1..120 {
        let seen = if minute % 4 == 0 { &seen } else { &doubt };
        assert_eq!(watchdog.review(seen, everybody, at(5 + minute * 60)), [], "{minute}");
    }
}

/// What is seen of canaries, a word a canary: a letter a probe, which is its region, a number what it is
/// there; a capital sees another thing than the known answer, `?` behind it: since a moment ago. Who is
/// excluded after a while.
fn excluded_by(seen: &str) -> Vec<String> {
    let (mut survey, mut watchdog) = (Survey::default(), Watchdog::default());
    for canary in seen.split_whitespace() {
        let mut votes: Vec<(String, String, bool, bool)> = Vec::new();
        for letter in canary.chars() {
            if letter == '?' {
                votes.last_mut().unwrap().3 = true;
                continue;
            }
            let region = letter.to_ascii_lowercase().to_string();
            let number = votes.iter().filter(|vote| vote.0 == region).count() + 1;
            votes.push((region.clone(), format!("{region}{number}"), letter.is_uppercase(), false));
        }
        for (region, probe, ..) in &votes {
            watchdog.row(ProbeKey { region: region.clone(), probe: probe.clone() }, None);
        }
        let votes: Vec<Witnessed<'_>> = votes
            .iter()
            .map(|(region, probe, fails, young)| {
                let (fails, young) = (*fails, *young);
                Witnessed { region, probe, fails, excluded: false, young }
            })
            .collect();
        survey.take_canary(&votes);
    }
    watchdog.review(&survey, everybody, at(0));
    let wished = watchdog.review(&survey, everybody, at(5));
    let named = wished.into_iter().map(|(key, wish)| {
        assert_eq!(wish.unwrap().cause(), ExclusionCause::Canary);
        key.probe
    });
    named.collect()
}

#[test]
fn targets_of_all_probes_are_counted_together_by_region() {
    let mut survey = survey(20, 8, true);
    let vote =
        |region, probe, fails| Witnessed { region, probe, fails, excluded: false, young: false };
    survey.take("t0", &[vote("a", "a-1", false), vote("b", "b-1", false), vote("c", "c-2", false)]);
    survey.take("z", &[vote("a", "a-1", false), vote("b", "b-1", false), vote("c", "c-2", false)]);
    let all = [("a", (0, 14)), ("b", (0, 14)), ("c", (8, 21))];
    assert_eq!(survey.of_regions(), all.into());
}

#[test]
fn a_vote_that_has_just_turned_keeps_a_check_from_being_counted() {
    let mut survey = Survey::default();
    let vote =
        |region, probe, fails, young| Witnessed { region, probe, fails, excluded: false, young };
    let votes = |young| {
        [
            vote("a", "a-1", false, young),
            vote("b", "b-1", false, false),
            vote("c", "c-1", true, false),
        ]
    };
    survey.take("t", &votes(true));
    assert_eq!(survey.of(&key("c")), (0, 0));
    survey.take("t", &votes(false));
    assert_eq!(survey.of(&key("c")), (1, 1));
}
