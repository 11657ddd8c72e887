//! Configuration: applies, stages and what they may not do.

use super::*;

#[test]
fn an_apply_creates_regions_contacts_and_checks_in_one_entry() {
    let member = configured();
    assert_eq!(member.state.checks.len(), 1);
    assert_eq!(member.etag(Kind::Check, "web"), member.index);
    assert_eq!(member.state.generation().index, member.index);
}

#[test]
fn a_commit_that_was_planned_against_something_else_changes_nothing() {
    let mut member = configured();
    let before = member.etag(Kind::Check, "web");
    let answer =
        member.commit(vec![put(0, region("us")), put(before - 1, wanted(check("web", 2)))]);
    assert_eq!(rule(&answer), "conflict");
    let Answer::Refused(refusal) = answer else { unreachable!() };
    assert_eq!(refusal.subjects, ["check web"]);
    assert!(!member.state.regions.contains_key(&("default".into(), "us".into())));
    assert_eq!(member.etag(Kind::Check, "web"), before);
}

#[test]
fn a_check_may_not_name_what_is_not_there_nor_lose_what_it_names() {
    let mut member = configured();
    let mut lost = check("other", 1);
    lost.meta = meta(9, "other");
    lost.regions = vec!["mars".into()];
    assert_eq!(rule(&member.commit(vec![put(0, wanted(lost))])), "unknown_region");
    let etag = member.etag(Kind::Region, "eu");
    assert_eq!(rule(&member.commit(vec![delete(etag, "region", "eu", false)])), "in_use");
    let etag = member.etag(Kind::Contact, "ops");
    assert_eq!(rule(&member.commit(vec![delete(etag, "contact", "ops", false)])), "in_use");
}

#[test]
fn what_only_a_deleted_check_named_may_go_in_the_same_apply() {
    let mut member = configured();
    let (check, region) = (member.etag(Kind::Check, "web"), member.etag(Kind::Region, "eu"));
    let answer = member
        .commit(vec![delete(region, "region", "eu", false), delete(check, "check", "web", false)]);
    assert_eq!(rule(&answer), "accepted");
    assert!(member.state.checks.is_empty() && member.state.regions.is_empty());
}

#[test]
fn another_set_must_take_a_resource_over_before_it_changes_it() {
    let mut member = configured();
    let etag = member.etag(Kind::Check, "web");
    let answer = member.commit_as(None, "other", vec![put(etag, wanted(check("web", 2)))]);
    assert_eq!(rule(&answer), "other_set");
}

#[test]
fn an_incomplete_or_unknown_stage_is_refused() {
    let mut member = configured();
    let commit = |txn: &str, parts| {
        Command::CommitConfig(store::CommitConfig {
            txn: txn.into(),
            parts,
            namespace: "default".into(),
            set: "default".into(),
            ..store::CommitConfig::default()
        })
    };
    assert_eq!(rule(&member.apply(commit("gone", 1))), "stage_unknown");
    member.apply(Command::StageConfig(stage("half", 0, "default", vec![])));
    assert_eq!(rule(&member.apply(commit("half", 2))), "stage_incomplete");
}

#[test]
fn the_ninth_open_stage_is_refused_and_one_namespace_gets_half_of_them() {
    let mut member = Member::new();
    let open = |namespace: &str, n: usize| {
        Command::StageConfig(stage(&format!("{namespace}{n}"), 0, namespace, vec![]))
    };
    for n in 0..STAGES_PER_NAMESPACE_MAX {
        assert_eq!(rule(&member.apply(open("a", n))), "accepted");
    }
    assert_eq!(rule(&member.apply(open("a", 99))), "namespace_stages");
    // A further part of an open one is no new one.
    assert_eq!(rule(&member.apply(Command::StageConfig(stage("a0", 1, "a", vec![])))), "accepted");
    for n in 0..STAGES_MAX - STAGES_PER_NAMESPACE_MAX {
        assert_eq!(rule(&member.apply(open("b", n))), "accepted");
    }
    assert_eq!(rule(&member.apply(open("c", 0))), "stages_open");
    assert_eq!(member.state.open_stages().len(), member.state.stages.len());
    member.apply(Command::DropStage(store::DropStage { txn: "a0".into() }));
    assert!(!member.state.open_stages().contains(&"a0".to_owned()));
    assert_eq!(rule(&member.apply(open("c", 0))), "accepted");
}

#[test]
fn the_bytes_that_one_namespace_may_stage_are_bounded() {
    let mut member = Member::new();
    let filler = vec![put(0, region(&"x".repeat(8 << 20)))];
    let fits = STAGED_BYTES_PER_NAMESPACE_MAX / (8 << 20) - 1;
    for part in 0..u32::try_from(fits).unwrap() {
        let command = Command::StageConfig(stage("a", part, "a", filler.clone()));
        assert!(matches!(member.state.apply_command(command), Answer::Accepted { .. }));
    }
    let command = |namespace: &str| {
        let part = u32::try_from(fits).unwrap();
        Command::StageConfig(stage(namespace, part, namespace, filler.clone()))
    };
    assert_eq!(rule(&member.state.apply_command(command("a"))), "namespace_staged_bytes");
    // One that is there already, sent again after a lost answer, takes no more room.
    let again = Command::StageConfig(stage("a", 0, "a", filler.clone()));
    for _ in 0..2 {
        assert_eq!(rule(&member.state.apply_command(again.clone())), "accepted");
    }
    assert_eq!(rule(&member.state.apply_command(command("b"))), "accepted");
}

#[test]
fn each_part_of_a_staged_apply_is_a_row_of_its_own() {
    let mut member = Member::new();
    let mut written = Vec::new();
    for part in 0..20 {
        let changes = vec![put(0, region(&format!("{}{part}", "x".repeat(200_000))))];
        let command = Command::StageConfig(stage("large", part, "default", changes));
        written.push(member.state.apply_rows(command));
    }
    for rows in &written {
        let bytes: usize = rows.iter().filter_map(|row| Some(row.value.as_ref()?.len())).sum();
        assert!(bytes < parallax_common::limits::ENTRY_BYTES_MAX, "{bytes} bytes for one part");
    }
    let largest = member.state.to_rows().iter().map(|row| row.value.len()).max();
    assert!(largest.unwrap() < parallax_common::limits::ENTRY_BYTES_MAX);
    // What is loaded again is staged as before, and dropping it leaves nothing.
    let rows = member.state.to_rows();
    let mut again = State::from_rows(rows.clone(), member.state.applied).unwrap();
    assert_eq!(again.to_rows(), rows);
    let command = Command::DropStage(store::DropStage { txn: "large".into() });
    let removed = again.apply_rows(command).iter().filter(|row| row.value.is_none()).count();
    assert_eq!(removed, 21);
    assert_eq!(again.to_rows().len(), 1);
}

#[test]
fn an_apply_that_drops_a_part_of_the_settings_says_which() {
    use crate::core::configure::{self, Request};
    use parallax_common::name::Uid;

    let settings = |alert: &[&str], url: &str, routes: &[&str]| v1::Settings {
        meta: Some(v1::Meta { name: "settings".into(), ..meta(8, "x").unwrap() }),
        mesh_alert: alert.iter().map(|name| (*name).to_owned()).collect(),
        public_url: url.into(),
        routes: routes
            .iter()
            .map(|name| v1::Route {
                name: (*name).into(),
                steps: vec![v1::RouteStep { alert: vec!["ops".into()], ..Default::default() }],
                ..v1::Route::default()
            })
            .collect(),
        ..v1::Settings::default()
    };
    let url = "https://status.example";
    let both = settings(&["ops"], url, &["all"]);
    #[rustfmt::skip]
    let table = [
        // before, after, named
        (both.clone(), settings(&[], "", &["all"]), Some("mesh.alert, mesh.public_url;")),
        (settings(&["ops"], "", &[]), settings(&[], "", &["all"]), Some("mesh.alert;")),
        (both.clone(), settings(&["ops"], url, &[]), Some("routes;")),
        (both.clone(), both.clone(), None),
        // One value of a part that is there was taken out by hand.
        (both, settings(&[], url, &["all"]), None),
    ];
    for (before, after, named) in table {
        let mut member = configured();
        let put = put(0, v1::resource::Kind::Settings(before));
        assert_eq!(rule(&member.commit(vec![put])), "accepted");
        let (namespace, set) = ("default".to_owned(), "default".to_owned());
        let request = Request { namespace, set, ..Request::default() };
        let after = v1::Resource { kind: Some(v1::resource::Kind::Settings(after)) };
        let uid = || Uid::from_bytes([0x77; 16]);
        let draft = configure::draft(&member.state, &request, vec![after], uid).unwrap();
        let said: Vec<_> = draft.advice.iter().map(|it| (it.rule.id, &it.message)).collect();
        match named {
            None => assert!(said.is_empty(), "{said:?}"),
            Some(named) => {
                assert_eq!(said.len(), 1, "{said:?}");
                assert_eq!(said[0].0, "advice_settings_dropped");
                assert!(said[0].1.contains(&format!("not these: {named}")), "{said:?}");
            }
        }
    }
}
