//! Who is asked, and what counts as an answer.

use parallax_common::name::{Generation, Incarnation};
use parallax_common::outcome::Outcome;
use parallax_common::time::BootTime;

use super::super::plan;
use super::*;

const CHECK: Uid = Uid::from_bytes([1; 16]);
const DIGEST: RunDigest = RunDigest(7);

fn voter(text: &str) -> Voter {
    let (region, probe) = text.split_once('/').unwrap();
    let (region, probe) = (region.to_owned(), probe.to_owned());
    Voter { region, probe, incarnation: Incarnation(1) }
}

/// A check that looks from `eu` and `us`, and from `lab` for show.
fn check(probes_per_region: u32) -> Check {
    let regions = vec!["eu".to_owned(), "us".to_owned()];
    let check = plan::tests::check(1, &["eu", "us"], plan::tests::http());
    Check { regions, advisory_regions: vec!["lab".to_owned()], probes_per_region, ..check }
}

/// `eu/a - us/b`: who has the places, in order.
fn assignees(text: &str) -> Vec<Option<ProbeRef>> {
    let one = |word: &str| {
        let (region, probe) = word.split_once('/')?;
        Some(ProbeRef { region: region.into(), probe: probe.into(), incarnation: Incarnation(1) })
    };
    text.split_whitespace().map(one).collect()
}

#[test]
fn every_region_is_asked_or_those_that_are_named() {
    // Probes a region, who has the places, the regions that are named; who is asked.
    let table = [
        (1, "eu/a us/b lab/c", "", "eu/a us/b lab/c*"),
        (1, "eu/a us/b lab/c", "us", "us/b"),
        (1, "eu/a us/b lab/c", "lab eu", "eu/a lab/c*"),
        (1, "eu/a - lab/c", "", "eu/a us/- lab/c*"),
        // A plan that does not know of the check yet.
        (1, "", "", "eu/- us/- lab/-*"),
        (2, "eu/a eu/b us/c - - -", "", "eu/a eu/b us/c lab/-*"),
        // A plan of before an edit of the regions: nobody looks under another region's name.
        (1, "ap/z eu/a us/b lab/c", "", "eu/- us/- lab/-*"),
        (2, "eu/a us/b lab/c", "", "eu/a us/- lab/-*"),
    ];
    for (probes, places, named, wanted) in table {
        let named = named.split_whitespace().map(str::to_owned).collect();
        let seats = seats(&check(probes), &assignees(places), &named);
        let shown: Vec<String> = seats
            .iter()
            .map(|seat| {
                let probe = seat.voter.as_ref().map_or("-", |voter| &voter.probe);
                format!("{}/{probe}{}", seat.region, if seat.advisory { "*" } else { "" })
            })
            .collect();
        assert_eq!(shown.join(" "), wanted, "{probes} {places:?} {named:?}");
    }
}

fn seen(look: u64, check: Uid, run_digest: RunDigest) -> LookResult {
    let record = Record {
        check,
        run_digest,
        number: look,
        slot: None,
        order: look,
        outcome: Outcome::Pass,
        reason: None,
        step: 0,
        evidence: String::new(),
        scheduled: BootTime::from_ns(0),
        started: BootTime::from_ns(0),
        ended: BootTime::from_ns(1),
        generation: Generation { epoch: 1, index: 1 },
        remote_address: String::new(),
        phases: vec![],
    };
    LookResult { look, said: Ok(Box::new(record)) }
}

#[test]
fn only_who_was_asked_is_heard_once_and_of_what_was_asked() {
    let mut looks = Looks::default();
    let look = looks.open(CHECK, DIGEST, [voter("eu/a"), voter("us/b")]).unwrap();
    let good = || seen(look, CHECK, DIGEST);
    let other_life = Voter { incarnation: Incarnation(2), ..voter("eu/a") };
    // Who says what; whether it counts.
    let table = [
        ("another check", voter("eu/a"), seen(look, Uid::from_bytes([2; 16]), DIGEST), false),
        ("another version", voter("eu/a"), seen(look, CHECK, RunDigest(8)), false),
        ("another look", voter("eu/a"), seen(look + 1, CHECK, DIGEST), false),
        ("not asked", voter("eu/c"), good(), false),
        ("another life", other_life, good(), false),
        ("asked", voter("eu/a"), good(), true),
        ("a second time", voter("eu/a"), good(), false),
    ];
    for (what, voter, result, counts) in table {
        let ending = looks.heard(&voter, result);
        assert_eq!(matches!(ending, Some(Ending::Seen(_))), counts, "{what}: {ending:?}");
    }
    let refused = LookResult { look, said: Err(LookRefusal::TooMany) };
    let ending = looks.heard(&voter("us/b"), refused);
    assert_eq!(ending, Some(Ending::Refused(LookRefusal::TooMany)));
    looks.close(look);
    let again = looks.open(CHECK, DIGEST, [voter("eu/a")]).unwrap();
    assert_ne!(again, look, "what comes late is not taken for an answer to the next");
    assert_eq!(looks.heard(&voter("eu/a"), good()), None);
}

#[test]
fn so_many_are_open_at_once_and_one_that_closes_makes_room() {
    let mut looks = Looks::default();
    let all: Vec<u64> =
        (0..LOOKS_OPEN_MAX).map(|_| looks.open(CHECK, DIGEST, []).unwrap()).collect();
    assert_eq!(looks.open(CHECK, DIGEST, []), Err(TooMany));
    looks.close(all[3]);
    assert!(looks.open(CHECK, DIGEST, []).is_ok());
    assert_eq!((looks.len(), looks.is_empty()), (LOOKS_OPEN_MAX, false));
}

#[test]
fn an_answer_is_awaited_for_as_long_as_order_and_run_may_take() {
    let mut check = check(1);
    check.run.timeout = Duration::from_secs(7);
    check.interval = Duration::from_secs(60);
    assert_eq!(within(&check), ORDER_EXPIRES + Duration::from_secs(7) + LOOK_SLACK);
    check.run.samples = 3;
    assert_eq!(within(&check), ORDER_EXPIRES + Duration::from_secs(21) + LOOK_SLACK);
}

#[test]
fn whatever_is_no_sight_has_a_sentence() {
    let none = [Ending::NoProbe, Ending::NoSession, Ending::Silent, Ending::TooOld];
    let refusals = LookRefusal::ALL.into_iter().map(Ending::Refused);
    let sentences: BTreeSet<String> =
        none.into_iter().chain(refusals).map(|it| it.sentence()).collect();
    assert_eq!(sentences.len(), 9, "{sentences:?}");
    assert!(sentences.contains("its build is too old: it does not look when asked"));
}
