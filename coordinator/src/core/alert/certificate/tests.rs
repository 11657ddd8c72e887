//! What alerts on certificates become, by a table that can be read without Rust.

use parallax_common::check::{HttpStep, Step, StepKind, TlsOptions, TlsStep};

use super::*;
use crate::core::engine::tests::rig;

/// The first minute that is looked at, of some day of 2026.
const FIRST_MINUTE: i64 = 29_500_000;

fn at(minute: i64) -> MeshTime {
    MeshTime::from_ns((FIRST_MINUTE + minute) * 60 * SECOND_NS)
}

fn alert(when: &str) -> Alert {
    Alert { name: "cert".into(), when: When::parse(when).unwrap() }
}

/// A region's newest window at a minute; `None`: it was never shown a certificate.
fn sight(minute: i64, letter: char) -> Option<Sight> {
    let now_s = at(minute).as_ns() / SECOND_NS;
    // What counts for two intervals of a second, at least as long as windows may take.
    let fresh = CERT_FRESH_MIN + Duration::from_millis(900) + ALERT_SETTLE;
    let old = fresh + Duration::from_millis(1);
    let (left_s, age) = match letter {
        'x' => (14 * DAY_S - 1, Duration::ZERO),
        '=' => (14 * DAY_S, Duration::ZERO),
        '.' => (60 * DAY_S, Duration::ZERO),
        'e' => (-DAY_S, Duration::ZERO),
        'o' => (DAY_S, old),
        'O' => (60 * DAY_S, old),
        'n' => (DAY_S, fresh),
        '-' => return None,
        other => panic!("{other}"),
    };
    let expiry = Expiry { not_after_s: now_s + left_s, step: 0 };
    Some(Sight { expiry, at: at(minute) - age })
}

fn sights(minute: i64, letters: impl Iterator<Item = char>) -> Sights {
    let sights = letters.enumerate().filter_map(|(rank, letter)| {
        let region: Arc<str> = rig::region(rank).into();
        Some((region, sight(minute, letter)?))
    });
    sights.collect()
}

#[test]
fn alerts_on_certificates_open_resolve_and_rest_as_the_table_says() {
    // One region a column, one look a minute, the newest is the last. x has fewer days left, = exactly as
    // many, . more, e has expired, n is just new enough to count, o and O are older: of few and of many
    // days; - was never shown any.
    let table = "
        stands  | condition                  | regions                  | becomes
        quiet   | < 14                       | x . .                    | open
        quiet   | < 14                       | = . .                    | rests
        quiet   | < 14                       | e - -                    | open
        quiet   | < 14                       | n . .                    | open
        quiet   | < 14                       | o . .                    | rests
        quiet   | < 14                       | - - -                    | rests
        quiet   | < 0                        | e . .                    | open
        quiet   | < 0                        | x . .                    | rests
        quiet   | < 14 in majority of regions | x x .                   | open
        quiet   | < 14 in majority of regions | x . .                   | rests
        quiet   | < 14 in majority of regions | x x O                   | open
        quiet   | < 14 in majority of regions | x o o                   | rests
        quiet   | < 14 in all regions        | x x x                    | open
        quiet   | < 14 in all regions        | x x -                    | rests
        quiet   | < 14 for 2m                | .xxx .... ....           | open
        quiet   | < 14 for 2m                | ..xx .... ....           | rests
        quiet   | < 14 for 2m                | x.xx .... ....           | rests
        quiet   | < 14 for 2m                | xoxx .... ....           | rests
        quiet   | < 14 for 2m                | x..x .xx. ....           | open
        open    | < 14                       | x...... x...... .......  | resolve
        open    | < 14                       | .x..... ....... .......  | rests
        open    | < 14                       | x=..... ....... .......  | resolve
        open    | < 14                       | x...... ....... ------O  | rests
        open    | < 14                       | ....... ...O... .......  | rests
        open    | < 14 in majority of regions | x...... x...... ooooooo | resolve
        open    | < 14 in majority of regions | ....... ooooooo ------- | rests
        open    | < 14 for 6m                | x....... ........ ........ | resolve
        open    | < 14 for 6m                | xx...... ........ ........ | rests
        open    | < 14                       | xxxxxxx xxxxxxx xxxxxxx  | rests
        latched | < 14                       | xx ..                    | rests
        latched | < 14                       | x. .. ..                 | unlatch
        latched | < 14                       | x- .. ..                 | rests";
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty()).skip(1);
    let check = rig::check(3, 2);
    let mut rows = 0;
    for line in lines {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [stands, when, regions, expected] = columns[..] else { panic!("{line}") };
        let standing = match stands {
            "quiet" => Standing::Quiet,
            "open" => Standing::Open,
            _ => Standing::Latched,
        };
        let alert = alert(&format!("cert_days {when}"));
        let regions: Vec<Vec<char>> = regions.split(' ').map(|row| row.chars().collect()).collect();
        let nobody = BTreeSet::new();
        let (mut streak, mut turn) = (None, None);
        for minute in 0..regions[0].len() {
            let letters = regions.iter().map(|row| row[minute]);
            let minute = i64::try_from(minute).unwrap();
            let sights = sights(minute, letters);
            // A look is of the whole minute in which it is.
            let now = at(minute) + Duration::from_secs(59);
            let watch = Watch::new(&check, &alert, &sights, now).unwrap();
            let next = watch.look(streak, &nobody);
            (streak, turn) = (Some(next), watch.turn(standing, &next, &nobody));
        }
        let said = match turn {
            None => "rests",
            Some(Turn::Open(_)) => "open",
            Some(Turn::Resolve(_)) => "resolve",
            Some(Turn::Unlatch) => "unlatch",
        };
        assert_eq!(said, expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 32);
}

#[test]
fn the_record_has_each_regions_end_and_whose_certificate_it_is() {
    let mut check = rig::check(3, 2);
    let tls = TlsStep { host: "shop.example".into(), port: 443, tls: TlsOptions::default() };
    let login = HttpStep { url: "https://login.example:8443/in".into(), ..HttpStep::default() };
    let step = |name: &str, kind| Step { name: name.into(), kind, captures: vec![] };
    check.run.steps = vec![step("", StepKind::Tls(tls)), step("login", StepKind::Http(login))];
    let mut sights = sights(0, "x.e".chars());
    let last: Arc<str> = rig::region(2).into();
    let step_of_last = |sights: &mut Sights, step| {
        sights.get_mut(&last).unwrap().expiry.step = step;
    };
    step_of_last(&mut sights, 1);
    let record = |check: &Check, sights: &Sights, unheeded: &[String]| {
        let alert = alert("cert_days < 14");
        let watch = Watch::new(check, &alert, sights, at(0)).unwrap();
        let unheeded = unheeded.iter().cloned().collect();
        let streak = watch.look(None, &unheeded);
        match watch.turn(Standing::Quiet, &streak, &unheeded) {
            Some(Turn::Open(record)) => record,
            other => panic!("{other:?}"),
        }
    };
    let found = record(&check, &sights, &[]);
    assert_eq!(found.when, "cert_days < 14 in any region");
    assert_eq!((found.needed, found.until), (1, Some(mesh_timestamp(at(0)))));
    assert_eq!(found.target, "login.example (step login)");
    use v1::AlertVote::{Clear, Holds, Silent};
    let now_s = at(0).as_ns() / SECOND_NS;
    let days = |of: &v1::AlertRegion| of.not_after.map(|at| (at.seconds - now_s).div_euclid(DAY_S));
    let said: Vec<_> = found.regions.iter().map(|of| (of.vote(), days(of))).collect();
    assert_eq!(said, [(Holds, Some(13)), (Clear, Some(60)), (Holds, Some(-1))]);
    // One whose probe is not believed is silent, and what it was shown is told.
    let found = record(&check, &sights, &[rig::region(2)]);
    let said: Vec<_> = found.regions.iter().map(|of| (of.vote(), days(of))).collect();
    assert_eq!(said, [(Holds, Some(13)), (Clear, Some(60)), (Silent, Some(-1))]);
    // A step without a name has its number, the only one needs none, and one that is gone has nothing.
    step_of_last(&mut sights, 0);
    assert_eq!(record(&check, &sights, &[]).target, "shop.example (step 1)");
    check.run.steps.truncate(1);
    assert_eq!(record(&check, &sights, &[]).target, "shop.example");
    step_of_last(&mut sights, 1);
    assert_eq!(record(&check, &sights, &[]).target, "");
}

#[test]
fn the_newest_window_counts_and_what_comes_late_changes_nothing() {
    let check = Uid::from_bytes([1; 16]);
    let (eu, us): (Arc<str>, Arc<str>) = ("eu".into(), "us".into());
    let of =
        |minute, not_after_s| Sight { expiry: Expiry { not_after_s, step: 0 }, at: at(minute) };
    let mut shown = Shown::default();
    let ends = |shown: &Shown| shown.of(&check).get("eu").map(|sight| sight.expiry.not_after_s);
    assert_eq!(ends(&shown), None);
    for (sight, kept) in [
        (of(5, 100), 100),
        // Replayed.
        (of(4, 50), 100),
        (of(4, 900), 100),
        // Two probes of the region, of which one has the renewed one already.
        (of(5, 900), 100),
        (of(5, 90), 90),
        // It was renewed.
        (of(6, 900), 900),
    ] {
        shown.take(check, &eu, sight);
        assert_eq!(ends(&shown), Some(kept), "{sight:?}");
    }
    shown.take(check, &us, of(1, 7));
    shown.keep(|_, region| region == "eu");
    assert_eq!(shown.of(&check).len(), 1);
    shown.keep(|_, _| false);
    assert!(shown.0.is_empty());
}

#[test]
fn a_check_that_finds_no_room_is_left_out_until_others_are_gone() {
    let uid = |n: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
        Uid::from_bytes(bytes)
    };
    let eu: Arc<str> = "eu".into();
    let sight = sight(0, 'x').unwrap();
    let mut shown = Shown::default();
    for n in 0..=CERT_CHECKS_MAX {
        shown.take(uid(n), &eu, sight);
    }
    assert_eq!(shown.0.len(), CERT_CHECKS_MAX);
    let late = Sight { at: at(9), ..sight };
    shown.take(uid(1), &eu, late);
    assert_eq!(shown.of(&uid(1))[&eu], late, "those that are known go on");
    assert!(shown.of(&uid(CERT_CHECKS_MAX)).is_empty());
    shown.keep(|check, _| *check != uid(1));
    shown.take(uid(CERT_CHECKS_MAX), &eu, sight);
    assert_eq!(shown.of(&uid(CERT_CHECKS_MAX)).len(), 1);
}

#[test]
fn a_check_that_looks_seldom_counts_for_two_intervals_and_another_condition_begins_anew() {
    let mut check = rig::check(1, 2);
    check.interval = Duration::from_secs(6 * 3_600);
    let nobody = BTreeSet::new();
    let of = |hours: i64, when: &str, before| {
        let sights = sights(-60 * hours, "x".chars());
        let watch = Watch::new(&check, &alert(when), &sights, at(0)).unwrap();
        watch.look(before, &nobody)
    };
    assert_eq!(of(12, "cert_days < 14", None).says, Says::Holds);
    assert_eq!(of(13, "cert_days < 14", None).says, Says::Nothing);
    let first = Streak { since: at(-30), ..of(0, "cert_days < 14", None) };
    assert_eq!(of(0, "cert_days < 14", Some(first)), first);
    assert_eq!(of(0, "cert_days < 20", Some(first)).since, at(0));
    assert!(Watch::new(&check, &alert("p95 > 1s"), &Sights::new(), at(0)).is_none());
}
