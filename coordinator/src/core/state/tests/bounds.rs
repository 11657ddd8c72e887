//! What is kept of a command is small, however much the command was about.

use parallax_common::limits::{REFUSAL_BYTES_MAX, SUBJECTS_MAX};

use super::*;

const MANY: usize = 3_000;

fn id(number: u64) -> Option<v1::RequestId> {
    Some(v1::RequestId { client: "cli".into(), number, lowest_open: 1 })
}

fn many() -> Vec<store::ConfigChange> {
    (0..MANY).map(|n| put(0, region(&format!("region-with-a-long-name-{n}")))).collect()
}

#[test]
fn what_is_kept_of_a_request_is_small_however_many_resources_it_was_about() {
    let mut member = Member::new();
    let answer = member.commit_as(id(1), "default", many());
    let Answer::Accepted { subjects, counts, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(subjects.len(), SUBJECTS_MAX);
    let created = u32::try_from(MANY).unwrap();
    assert_eq!(counts, store::CommitCounts { created, changed: 0, deleted: 0 });
    for number in 2..=5 {
        // A client that never says what it no longer waits for.
        let answer = member.commit_as(id(number), "default", many());
        let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
        assert_eq!((refusal.rule.as_ref(), refusal.subjects.len()), ("conflict", SUBJECTS_MAX));
        let (text, more) = (&refusal.message, MANY - SUBJECTS_MAX);
        assert!(text.contains("region region-with-a-long-name-0, region"), "{text}");
        assert!(text.ends_with(&format!(" and {more} more; look at the diff again")), "{text}");
        assert!(text.len() <= REFUSAL_BYTES_MAX, "{}", text.len());
    }
    let row = &member.stored[&Bytes::from(rows::client_key("cli"))];
    assert!(row.len() < 5 * 4_096, "{}", row.len());
    let audit: Vec<store::AuditRow> = member
        .stored
        .iter()
        .filter(|(key, _)| key[0] == Table::Audit as u8)
        .map(|(_, value)| store::AuditRow::decode(value.clone()).unwrap())
        .filter(|row| row.command == "commit_config")
        .collect();
    assert_eq!(audit.len(), 5);
    for row in audit {
        let told = (row.subjects.len(), row.more_subjects as usize);
        assert_eq!(told, (SUBJECTS_MAX, MANY - SUBJECTS_MAX));
    }
    // And it is the same after a start.
    member.reopen();
}

#[test]
fn a_long_refusal_is_cut_and_a_list_of_long_names_ends_sooner() {
    let mut member = Member::new();
    let long = |n: usize| format!("{}-{n}", "x".repeat(60));
    let answer = member.commit(vec![delete(0, "planet", &"y".repeat(5_000), false)]);
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert!(refusal.message.len() <= REFUSAL_BYTES_MAX);
    let changes = (0..30).map(|n| put(7, region(&long(n)))).collect();
    let answer = member.commit(changes);
    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
    assert!(refusal.message.ends_with(" more; look at the diff again"), "{}", refusal.message);
    assert!(refusal.message.len() <= REFUSAL_BYTES_MAX, "{}", refusal.message.len());
}

#[test]
fn a_stored_check_that_breaks_a_limit_of_this_build_still_loads_and_is_applied() {
    let mut member = configured();
    // As a build with a lower least interval has it.
    let mut wire = check("web", 1);
    wire.interval = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    assert!(convert::check::check(&wire).is_err());
    let etag = member.etag(Kind::Check, "web");
    let answer = member.commit(vec![put(etag, wanted(wire))]);
    assert_eq!(rule(&answer), "accepted");
    member.reopen();
    let entry = member.state.check_named("default", "web").unwrap();
    assert_eq!(entry.check.interval, std::time::Duration::from_nanos(1));
}
