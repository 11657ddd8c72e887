//! Who is asked to run how often, and when a confirmation is over.

use super::{Confirmation, VoterId, Witness, runs};
use parallax_common::time::MeshTime;
use std::time::Duration;

#[test]
fn runs_are_asked_of_whom_can_be_reached() {
    let mut rows = 0;
    let table = include_str!("table.txt").lines();
    for line in table.filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let [failures, regions, expected] = columns[..] else { panic!("three columns: {line}") };
        let witnesses: Vec<_> = regions
            .chars()
            .enumerate()
            .map(|(rank, letter)| Witness {
                reachable: (!letter.eq_ignore_ascii_case(&'x')).then_some(VoterId(rank as u64)),
                failing: letter.is_ascii_uppercase(),
            })
            .collect();
        let said: Vec<_> = runs(&witnesses, failures.parse().unwrap())
            .into_iter()
            .map(|(voter, count)| format!("{}={count}", voter.0))
            .collect();
        assert_eq!(said.join(" "), expected, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 15, "all of them");
}

#[test]
fn a_confirmation_is_over_when_all_was_heard_or_nothing_can_come() {
    let check = crate::core::engine::tests::rig::check(3, 2);
    let asked = [(VoterId(1), 2), (VoterId(2), 1)];
    let start = MeshTime::from_ns(0);
    let fresh = Confirmation::start(9, &check, &asked, start);
    // 2 s to arrive, one spacing of 50 ms, 900 ms to time out.
    let last = start + Duration::from_millis(2_950);
    assert!(!fresh.is_over(last - Duration::from_nanos(1)));
    assert!(fresh.is_over(last));

    let mut heard = fresh.clone();
    for (voter, order) in [(1, 9), (1, 9), (1, 9), (2, 8), (3, 9)] {
        heard.heard(VoterId(voter), order);
        assert!(!heard.is_over(start), "one run of voter 2 is awaited");
    }
    heard.heard(VoterId(2), 9);
    assert!(heard.is_over(start));
}
