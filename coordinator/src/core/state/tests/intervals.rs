//! Verdict intervals: what stood, from when to when.

use super::*;

fn intervals(member: &Member) -> Vec<(v1::Verdict, i64, i64)> {
    let uid = member.state.check_named("default", "web").map_or_else(
        || check("web", 1).meta.unwrap().uid.parse().unwrap(),
        |entry| entry.check.uid,
    );
    let prefix = State::intervals_of(&uid);
    let rows = member.stored.iter().filter(|(key, _)| key.starts_with(&prefix));
    rows.map(|(key, value)| {
        assert!(State::cold(key).is_some_and(|index| index <= member.index));
        let row = store::IntervalRow::decode(value.clone()).unwrap();
        assert_eq!(row.check_uid, uid.to_string());
        let seconds = |ns: i64| ns / 1_000_000_000;
        (row.verdict(), seconds(row.from_utc_ns), seconds(row.to_utc_ns))
    })
    .collect()
}

/// A configured member with these verdicts, one an entry: the entry's index is its second.
fn decided() -> (Member, [u64; 3]) {
    let mut member = configured();
    let mut decide = |action| {
        let change = member.change(action);
        member.verdict(change);
        member.index
    };
    let at =
        [store::VerdictAction::Open, store::VerdictAction::Resolve, store::VerdictAction::Open]
            .map(&mut decide);
    (member, at)
}

#[test]
fn every_verdict_that_ends_is_a_row_and_the_newest_comes_first() {
    let (mut member, [down, up, again]) = decided();
    let [down, up, again] = [down, up, again].map(|at| i64::try_from(at).unwrap());
    let expected = [(v1::Verdict::Up, up, again), (v1::Verdict::Down, down, up)];
    assert_eq!(intervals(&member), expected);
    let uid = member.state.check_named("default", "web").unwrap().check.uid;
    let since = UtcTime::from_ns(again * 1_000_000_000);
    assert_eq!(member.state.standing(&uid), Some((since, v1::Verdict::Down)));
    // A late proposal ends nothing, and neither does the same verdict again.
    let mut late = member.change(store::VerdictAction::Resolve);
    late.expected_sequence -= 1;
    member.verdict(late);
    let mut same = member.change(store::VerdictAction::Set);
    same.record.as_mut().unwrap().verdict = v1::Verdict::Down.into();
    member.verdict(same);
    assert_eq!(intervals(&member), expected);
    member.reopen();
    assert_eq!(member.state.standing(&uid), Some((since, v1::Verdict::Down)));
}

#[test]
fn a_check_that_is_paused_ends_its_interval_and_none_stands() {
    let (mut member, [.., again]) = decided();
    let uid = member.state.check_named("default", "web").unwrap().check.uid;
    let etag = member.etag(Kind::Check, "web");
    let paused = v1::Check { enabled: Some(false), ..check("web", 1) };
    member.commit(vec![put(etag, wanted(paused))]);
    let end = i64::try_from(member.index).unwrap();
    let first = intervals(&member)[0];
    assert_eq!(first, (v1::Verdict::Down, i64::try_from(again).unwrap(), end));
    assert_eq!(member.state.standing(&uid), None);
}

#[test]
fn a_trim_removes_what_it_names_and_nothing_else() {
    let (mut member, _) = decided();
    let prefix = State::INTERVALS;
    let keys: Vec<_> =
        member.stored.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
    assert_eq!(keys.len(), 2);
    let named = State::interval_named(&keys[1]).unwrap();
    let nonsense = store::IntervalKey { check_uid: "x".into(), index: 1 };
    let future = store::IntervalKey { index: 900, ..named.clone() };
    let trim = store::TrimHistory { intervals: vec![nonsense, future, named.clone(), named] };
    let before = member.stored.len();
    assert!(matches!(member.apply(Command::TrimHistory(trim)), Answer::Accepted { .. }));
    assert_eq!(member.stored.len(), before - 1);
    assert!(member.stored.contains_key(&keys[0]) && !member.stored.contains_key(&keys[1]));
    assert_eq!(State::interval_named(b"a12345678"), None);
}
