//! What an apply says of failures that last without being an outage, when nobody would be told of them.

use super::*;
use crate::core::configure::{Request, draft};

/// What is said of such failures when these checks are applied beside these routes: field and words.
fn said(checks: Vec<v1::Check>, routes: Vec<v1::Route>, level: u32) -> Vec<(String, String)> {
    let mut member = configured();
    let more = [(31, "us"), (32, "ap")].map(|(uid, name)| {
        put(
            0,
            v1::resource::Kind::Region(v1::Region { meta: meta(uid, name), ..Default::default() }),
        )
    });
    assert_eq!(rule(&member.commit(more.to_vec())), "accepted");
    member.state.cluster.level = level;
    let mut resources = vec![v1::Resource { kind: Some(settings(routes)) }];
    resources.extend(checks.into_iter().map(|it| v1::Resource { kind: Some(wanted(it)) }));
    let (namespace, set) = ("default".to_owned(), "default".to_owned());
    let request = Request { namespace, set, ..Request::default() };
    let mut next = 100;
    let new_uid = || {
        next += 1;
        Uid::from_bytes([next; 16])
    };
    let draft = draft(&member.state, &request, resources, new_uid).unwrap();
    let lasting = draft.advice.into_iter().filter(|it| it.rule.id == "advice_lasting");
    lasting.map(|it| (format!("{} {}", it.name, it.field), it.message)).collect()
}

fn everywhere(name: &str, change: impl FnOnce(&mut v1::Check)) -> v1::Check {
    let mut check = check(name, 1);
    check.regions = ["eu", "us", "ap"].map(str::to_owned).to_vec();
    check.meta.as_mut().unwrap().uid.clear();
    change(&mut check);
    check
}

fn fields(said: Vec<(String, String)>) -> Vec<String> {
    said.into_iter().map(|(field, _)| field).collect()
}

fn to_ops() -> Option<v1::Lasting> {
    Some(v1::Lasting { alert: vec!["ops".into()], ..v1::Lasting::default() })
}

/// A check can warn.
fn warns(check: &mut v1::Check) {
    check.run.as_mut().unwrap().warn = vec![r#"latency < duration("500ms")"#.into()];
}

#[test]
fn an_apply_says_once_that_nobody_is_told_of_failures_that_last() {
    let all = || route("all", "team=payments", vec![step(0, &["ops"])]);
    let of_kind = |kind: &str| route("some", &format!("kind={kind}"), vec![step(0, &["ops"])]);
    let labelled = |check: &mut v1::Check| {
        check.meta.as_mut().unwrap().labels.insert("team".into(), "payments".into());
        check.alert.clear();
    };
    type Change<'c> = &'c dyn Fn(&mut v1::Check);
    type Row<'r> = (&'r str, Change<'r>, Vec<v1::Route>, &'r [&'r str]);
    #[rustfmt::skip]
    let table: Vec<Row<'_>> = vec![
        ("its own alert is for outages",   &|_| (),                                vec![],                    &["shop regional.alert"]),
        ("it warns, too",                  &warns,                                 vec![],                    &["shop regional.alert", "shop warning.alert"]),
        ("somebody is named",              &|it| it.regional = to_ops(),           vec![],                    &[]),
        ("somebody is named for one kind", &|it| { warns(it); it.warning = to_ops(); }, vec![],               &["shop regional.alert"]),
        ("a route takes the kind",         &|_| (),                                vec![of_kind("regional")], &[]),
        ("a route takes the other kind",   &|_| (),                                vec![of_kind("warning")],  &["shop regional.alert"]),
        ("a route takes everything of it", &labelled,                              vec![all()],               &[]),
        ("one region fails alone",         &|it| it.regions.truncate(1),           vec![],                    &[]),
        ("any region makes it down",       &|it| it.down = Some(v1::Down { count: 1, ..v1::Down::default() }), vec![],           &[]),
        ("nobody is told of anything",     &|it| it.alert.clear(),                 vec![],                    &[]),
        ("it is paused",                   &|it| it.enabled = Some(false),         vec![],                    &[]),
    ];
    for (case, change, routes, expected) in table {
        assert_eq!(
            fields(said(vec![everywhere("shop", change)], routes, LEVEL)),
            expected,
            "{case}"
        );
    }
    // Before the level there are no such incidents.
    let low = crate::core::state::LASTING_LEVEL - 1;
    assert!(said(vec![everywhere("shop", |_| ())], vec![], low).is_empty());
}

#[test]
fn many_checks_of_which_it_holds_are_one_sentence() {
    let check = |name: &str| everywhere(name, |_| ());
    let words = |checks| said(checks, vec![], LEVEL).into_iter().map(|(_, words)| words);
    let one = "what fails in too few regions for an outage for 5m is recorded as a regional incident and \
               nobody is told of it: name contacts here, or have a route that takes kind=regional";
    assert_eq!(words(vec![check("a")]).collect::<Vec<_>>(), [one]);
    let told = everywhere("b", |it| it.regional = to_ops());
    let three: Vec<_> = words(vec![check("a"), told, check("c"), check("d")]).collect();
    let more = "nobody is told of it (so it is for 2 more checks):";
    assert_eq!(three, [one.replace("nobody is told of it:", more)]);
    let two = words(vec![check("a"), check("c")]).next().unwrap();
    assert!(two.contains("(so it is for 1 more check):"), "{two}");
}
