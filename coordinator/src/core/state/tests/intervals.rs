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

/// The times without a leader that are recorded, in seconds of UTC, the newest first.
fn leaderless(member: &Member) -> Vec<(i64, i64)> {
    let prefix = State::intervals_of(&LEADERLESS);
    let rows = member.stored.iter().filter(|(key, _)| key.starts_with(&prefix));
    rows.map(|(_, value)| {
        let row = store::IntervalRow::decode(value.clone()).unwrap();
        assert_eq!(row.verdict(), v1::Verdict::Unspecified);
        (row.from_utc_ns / 1_000_000_000, row.to_utc_ns / 1_000_000_000)
    })
    .collect()
}

#[test]
fn a_time_in_which_nobody_led_is_a_row_and_a_quiet_one_or_a_clock_that_is_set_is_none() {
    let mut member = configured();
    let mark = || Command::MarkTime(store::MarkTime {});
    let other = || Command::ForgetClients(store::ForgetClients::default());
    // Where nobody marks the time, a long time may have been a quiet one.
    member.state.cluster.level = MARKS_LEVEL - 1;
    member.state.cluster.attended_utc_ns = 0;
    member.apply_at(None, (1_000, 1_000), other());
    assert_eq!(member.state.attended(), None);
    member.state.cluster.level = MARKS_LEVEL;
    member.apply_at(None, (2_000, 2_000), mark());
    member.apply_at(None, (2_015, 2_015), mark());
    member.apply_at(None, (2_060, 2_060), other());
    // An hour by a clock that was set is a moment by mesh time.
    member.apply_at(None, (5_660, 2_075), mark());
    assert_eq!(leaderless(&member), []);
    // Whatever comes first ends it, refused or not.
    member.apply_at(None, (5_721, 2_136), Command::DropStage(store::DropStage::default()));
    assert_eq!(leaderless(&member), [(5_660, 5_721)]);
    member.apply_at(None, (5_781, 2_196), mark());
    assert_eq!(leaderless(&member).len(), 1, "a minute is not more than one");
    // While the members dispute, nobody decides; it is told of when they are done with it.
    let disputed = store::StateHash { index: 9, hash: 0, disputed: true };
    member.apply_at(None, (5_790, 2_205), Command::StateHash(disputed));
    member.apply_at(None, (5_900, 2_315), mark());
    assert_eq!(leaderless(&member).len(), 1);
    member.reopen();
    assert_eq!(member.state.attended().unwrap().0, UtcTime::from_ns(5_790 * 1_000_000_000));
    member.state.cluster.disputed_index = 0;
    member.apply_at(None, (6_000, 2_415), mark());
    assert_eq!(leaderless(&member), [(5_790, 6_000), (5_660, 5_721)]);
    // They are removed as other intervals are.
    let old = member.stored.keys().filter_map(|key| State::interval_named(key));
    let old: Vec<_> = old.filter(|key| key.check_uid == LEADERLESS.to_string()).collect();
    member.apply_at(
        None,
        (6_001, 2_416),
        Command::TrimHistory(store::TrimHistory { intervals: old }),
    );
    assert_eq!(leaderless(&member), []);
}
