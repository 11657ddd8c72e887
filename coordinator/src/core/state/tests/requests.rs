//! Request ids: answered once, remembered, and bounded.

use super::*;

#[test]
fn a_repeated_request_gets_its_first_answer_and_is_not_carried_out_again() {
    let mut member = configured();
    let id =
        |number, lowest_open| Some(v1::RequestId { client: "cli".into(), number, lowest_open });
    let first = member.commit_as(id(1, 1), "default", vec![put(0, region("us"))]);
    let etag = member.etag(Kind::Region, "us");
    let again = member.commit_as(id(1, 1), "default", vec![delete(etag, "region", "us", false)]);
    assert_eq!(first, again);
    assert!(member.state.regions.contains_key(&("default".into(), "us".into())));
    member.reopen();
    let again = member.commit_as(id(1, 1), "default", vec![]);
    assert_eq!(first, again);
    member.commit_as(id(2, 2), "default", vec![]);
    assert_eq!(rule(&member.commit_as(id(1, 1), "default", vec![])), "request_late");
}

#[test]
fn a_request_id_that_was_used_for_something_else_is_refused() {
    let mut member = Member::new();
    let first = ask(&mut member, ("c", 1, 1), "anna", 7);
    assert_eq!(ask(&mut member, ("c", 1, 1), "anna", 7), first);
    member.reopen();
    assert_eq!(ask(&mut member, ("c", 1, 1), "anna", 7), first);
    assert_eq!(rule(&ask(&mut member, ("c", 1, 1), "anna", 8)), "request_id_reused");
    assert_eq!(rule(&ask(&mut member, ("c", 1, 1), "boris", 7)), "request_id_reused");
}

#[test]
fn one_client_may_have_64_requests_open() {
    let mut member = Member::new();
    for number in 1..=64 {
        assert_eq!(rule(&ask(&mut member, ("c", number, 1), "anna", 0)), "accepted");
    }
    assert_eq!(rule(&ask(&mut member, ("c", 65, 1), "anna", 0)), "client_request_ids");
    assert_eq!(rule(&ask(&mut member, ("other", 1, 1), "anna", 0)), "accepted");
    // It no longer waits for the first.
    assert_eq!(rule(&ask(&mut member, ("c", 65, 2), "anna", 0)), "accepted");
}

#[test]
fn a_commit_that_is_answered_from_memory_leaves_no_stage_behind() {
    let mut member = configured();
    let id = Some(v1::RequestId { client: "cli".into(), number: 1, lowest_open: 1 });
    let first = member.commit_as(id.clone(), "default", vec![put(0, region("us"))]);
    // The same request while the first was in flight: staged under a name of its own.
    assert_eq!(member.commit_as(id, "default", vec![put(0, region("us"))]), first);
    assert!(member.state.stages.is_empty());
}

#[test]
fn the_clients_of_one_entry_fit_into_it() {
    use parallax_common::limits::{ENTRY_BYTES_MAX, FORGET_CLIENTS_MAX};
    let clients = vec!["c".repeat(64); FORGET_CLIENTS_MAX];
    let command = Command::ForgetClients(store::ForgetClients { clients });
    let entry = store::Entry { command: Some(command), ..store::Entry::default() };
    assert!(entry.encoded_len() < ENTRY_BYTES_MAX / 2);
}

#[test]
fn a_client_that_was_heard_of_is_not_forgotten() {
    let mut member = Member::new();
    ask(&mut member, ("c", 1, 1), "anna", 0);
    let forget = || Command::ForgetClients(store::ForgetClients { clients: vec!["c".into()] });
    member.apply(forget());
    assert_eq!(member.state.live_requests, 1);
    member.index += 900;
    member.apply(forget());
    assert_eq!(member.state.live_requests, 0);
}
