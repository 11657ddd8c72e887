//! What alerts on certificates become, by a table that can be read without Rust.

use parallax_common::check::{HttpStep, Step, StepKind, TlsOptions, TlsStep};
use parallax_common::limits::{ALERT_SETTLE, CERT_FRESH_MIN, CERT_SPAN_MIN};
use parallax_common::name::RunDigest;

use super::shown::Sight;
use super::*;
use crate::core::engine::tests::rig;
use crate::core::table::{columns, lines};

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
        'x' | 'b' | 'X' => (14 * DAY_S - 1, Duration::ZERO),
        '=' => (14 * DAY_S, Duration::ZERO),
        '.' | 'B' => (60 * DAY_S, Duration::ZERO),
        'e' => (-DAY_S, Duration::ZERO),
        'o' => (DAY_S, old),
        'O' => (60 * DAY_S, old),
        'n' => (DAY_S, fresh),
        '-' => return None,
        other => panic!("{other}"),
    };
    Some(Sight {
        digest: RunDigest(if letter == 'X' { 2 } else { 1 }),
        expiry: Expiry { not_after_s: now_s + left_s, step: 0 },
        at: at(minute) - age,
        span: CERT_SPAN_MIN,
    })
}

fn of_regions(sights: impl IntoIterator<Item = Option<Sight>>) -> Sights {
    let mut shown = Sights::default();
    for (rank, sight) in sights.into_iter().enumerate() {
        if let Some(sight) = sight {
            shown.take(&rig::region(rank).into(), &sight);
        }
    }
    shown
}

/// A number stands for so many of the letter before it.
fn letters(row: &str) -> Vec<char> {
    let mut all: Vec<char> = Vec::new();
    let mut rest = row.chars().peekable();
    while let Some(letter) = rest.next() {
        let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
        all.extend(std::iter::repeat_n(letter, digits.parse().unwrap_or(1)));
    }
    all
}

fn case(standing: Standing) -> Case<'static> {
    Case { standing, opened: None }
}

fn name(turn: Option<&Turn>) -> &'static str {
    match turn {
        None => "rests",
        Some(Turn::Open(_)) => "open",
        Some(Turn::Resolve(_)) => "resolve",
        Some(Turn::Unlatch) => "unlatch",
    }
}

#[test]
fn alerts_on_certificates_open_resolve_and_rest_as_the_table_says() {
    let check = rig::check(3, 2);
    let mut rows = 0;
    for line in lines(include_str!("table.txt")) {
        let [stands, when, regions, expected] = columns(line);
        let standing = match stands {
            "quiet" => Standing::Quiet,
            "open" => Standing::Open,
            _ => Standing::Latched,
        };
        let alert = alert(&format!("cert_days {when}"));
        let regions: Vec<Vec<char>> = regions.split(' ').map(letters).collect();
        let held = regions.iter().enumerate().filter(|(_, row)| row[0] == 'x');
        let held = held.map(|(rank, _)| v1::AlertRegion {
            region: rig::region(rank),
            vote: v1::AlertVote::Holds.into(),
            ..v1::AlertRegion::default()
        });
        let opened = v1::AlertRecord { regions: held.collect(), ..v1::AlertRecord::default() };
        let is_open = standing == Standing::Open;
        let case = Case { standing, opened: is_open.then_some(&opened) };
        let (mut streak, mut turn) = (None, None);
        for minute in 0..regions[0].len() {
            let letters: Vec<char> = regions.iter().map(|row| row[minute]).collect();
            let unheeded = letters.iter().enumerate().filter(|(_, letter)| "bB".contains(**letter));
            let unheeded = unheeded.map(|(rank, _)| rig::region(rank)).collect();
            let minute = i64::try_from(minute).unwrap();
            let sights = of_regions(letters.iter().map(|letter| sight(minute, *letter)));
            // A look is of the whole minute in which it is.
            let now = at(minute) + Duration::from_secs(59);
            let watch = Watch::new(&check, &alert, case, &sights, now).unwrap();
            let next = watch.look(streak, &unheeded);
            (streak, turn) = (Some(next), watch.turn(&next, &unheeded));
        }
        assert_eq!(name(turn.as_ref()), expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 55);
}

#[test]
fn what_alternates_opens_once_and_ends_a_span_after_it_stopped() {
    let check = rig::check(1, 2);
    let alert = alert("cert_days < 14");
    let mut rows = 0;
    for line in lines(include_str!("alternates.txt")) {
        rows += 1;
        let (windows, expected) = line.split_once('|').unwrap();
        let (mut sights, mut streak, mut found) = (Sights::default(), None, Vec::new());
        let (mut standing, mut opened) = (Standing::Quiet, None);
        for (minute, letter) in (0..).zip(letters(windows.trim_end())) {
            if letter != ' ' {
                sights.take(&rig::region(0).into(), &sight(minute, letter).unwrap());
            }
            let case = Case { standing, opened: opened.as_ref() };
            let watch = Watch::new(&check, &alert, case, &sights, at(minute)).unwrap();
            let next = watch.look(streak, &BTreeSet::new());
            let turn = watch.turn(&next, &BTreeSet::new());
            streak = Some(next);
            if turn.is_some() {
                found.push(format!("{} at {minute}", name(turn.as_ref())));
            }
            (standing, opened) = match turn {
                Some(Turn::Open(record)) => (Standing::Open, Some(record)),
                Some(_) => (Standing::Quiet, None),
                None => (standing, opened),
            };
        }
        let found = if found.is_empty() { "rests".to_owned() } else { found.join(", ") };
        assert_eq!(found, expected.trim(), "{line}");
    }
    assert_eq!(rows, 8);
}

#[test]
fn the_record_has_each_regions_end_and_whose_certificate_it_is() {
    let mut check = rig::check(3, 2);
    let tls = TlsStep { host: "shop.example".into(), port: 443, tls: TlsOptions::default() };
    let login = HttpStep { url: "https://login.example:8443/in".into(), ..HttpStep::default() };
    let step = |name: &str, kind| Step { name: name.into(), kind, captures: vec![] };
    check.run.steps = vec![step("", StepKind::Tls(tls)), step("login", StepKind::Http(login))];
    let shown = |last_step| {
        let mut sights = ['x', '.', 'e'].map(|letter| sight(0, letter).unwrap());
        sights[2].expiry.step = last_step;
        of_regions(sights.map(Some))
    };
    let record = |check: &Check, sights: &Sights, unheeded: &[String]| {
        let alert = alert("cert_days < 14");
        let watch = Watch::new(check, &alert, case(Standing::Quiet), sights, at(0)).unwrap();
        let unheeded = unheeded.iter().cloned().collect();
        let streak = watch.look(None, &unheeded);
        match watch.turn(&streak, &unheeded) {
            Some(Turn::Open(record)) => record,
            other => panic!("{other:?}"),
        }
    };
    let found = record(&check, &shown(1), &[]);
    assert_eq!(found.when, "cert_days < 14 in any region");
    assert_eq!((found.needed, found.until), (1, Some(mesh_timestamp(at(0)))));
    assert_eq!(found.target, "login.example (step login)");
    use v1::AlertVote::{Clear, Holds, Silent};
    let now_s = at(0).as_ns() / SECOND_NS;
    let days = |of: &v1::AlertRegion| of.not_after.map(|at| (at.seconds - now_s).div_euclid(DAY_S));
    let said: Vec<_> = found.regions.iter().map(|of| (of.vote(), days(of))).collect();
    assert_eq!(said, [(Holds, Some(13)), (Clear, Some(60)), (Holds, Some(-1))]);
    // One whose probe is not believed is silent, and what it was shown is told; the page names another's.
    let found = record(&check, &shown(1), &[rig::region(2)]);
    let said: Vec<_> = found.regions.iter().map(|of| (of.vote(), days(of))).collect();
    assert_eq!(said, [(Holds, Some(13)), (Clear, Some(60)), (Silent, Some(-1))]);
    assert_eq!(found.target, "shop.example (step 1)");
    // A step without a name has its number, the only one needs none, and one that is gone has nothing.
    assert_eq!(record(&check, &shown(0), &[]).target, "shop.example (step 1)");
    check.run.steps.truncate(1);
    assert_eq!(record(&check, &shown(0), &[]).target, "shop.example");
    assert_eq!(record(&check, &shown(1), &[]).target, "");
}

#[test]
fn another_condition_begins_anew() {
    let (check, sights) = (rig::check(1, 2), of_regions([sight(0, 'x')]));
    let of = |when: &str, before| {
        let quiet = case(Standing::Quiet);
        let watch = Watch::new(&check, &alert(when), quiet, &sights, at(0)).unwrap();
        watch.look(before, &BTreeSet::new())
    };
    let first = Streak { since: at(-30), ..of("cert_days < 14", None) };
    assert_eq!(of("cert_days < 14", Some(first)), first);
    assert_eq!(of("cert_days < 20", Some(first)).since, at(0));
    let slow = alert("p95 > 1s");
    assert!(Watch::new(&check, &slow, case(Standing::Quiet), &sights, at(0)).is_none());
}
