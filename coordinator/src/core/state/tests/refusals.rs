//! The table of refusals: each row breaks one rule of the stage Apply and no other, in the plan of
//! an apply or in an entry of the log. The rules of other stages have their tables in the command
//! line, in `parallax-proto` and in `core/session.rs`.

use std::collections::BTreeSet;

use parallax_common::limits::{
    APPLY_RESOURCES_MAX, REQUEST_IDS_MAX, REQUEST_IDS_PER_CLIENT_MAX, SILENCES_PER_NAMESPACE_MAX,
    STAGED_BYTES_MAX, STAGED_BYTES_PER_NAMESPACE_MAX, STAGES_MAX, STAGES_PER_NAMESPACE_MAX,
};
use parallax_common::rule::{self, Rule, Stage, Violation};
use parallax_proto::v1::MatchOperator::{Equal, NotEqual, Pattern};
use parallax_proto::v1::add_silence_request::End;

use super::maintenance::window;
use super::members::{add, announce, begun, remove};
use super::quiet::{expire, silence};
use super::*;
use crate::core::configure::{self, Request};
use crate::core::quiet::draft;

/// What a row does to a member that has region `eu`, contact `ops` and check `web`.
enum Break {
    /// Plans an apply of these resources, as this request says.
    Plan(fn(&mut Request) -> Vec<v1::resource::Kind>),
    /// Plans an apply of another check and of a region `us` in a cluster of this level.
    PlanAt(u32, fn(&mut v1::Check)),
    /// Commits these changes to the set `default`.
    Commit(fn(&Member) -> Vec<store::ConfigChange>),
    /// Whatever else gives an answer.
    Other(fn(&mut Member) -> Answer),
}

use Break::{Commit, Other, Plan, PlanAt};

/// A check that nothing is wrong with, of another name than the one that is there.
fn another() -> v1::Check {
    v1::Check { meta: meta(9, "other"), ..check("other", 1) }
}

/// A check that depends on another.
fn behind(name: &str, parent: &str) -> v1::Check {
    let uid = if name == "web" { 3 } else { 9 };
    v1::Check { meta: meta(uid, name), depends_on: vec![parent.to_owned()], ..check(name, 1) }
}

fn id(number: u64, lowest_open: u64) -> Option<v1::RequestId> {
    Some(v1::RequestId { client: "cli".into(), number, lowest_open })
}

/// A region as somebody read it who saw this etag.
fn version(etag: u64, region: v1::resource::Kind) -> v1::resource::Kind {
    let v1::resource::Kind::Region(mut region) = region else { unreachable!("a region") };
    region.meta = region.meta.map(|meta| v1::Meta { etag, ..meta });
    v1::resource::Kind::Region(region)
}

fn stage(txn: &str, part: u32) -> Command {
    stage_of("default", txn, part)
}

fn stage_of(namespace: &str, txn: &str, part: u32) -> Command {
    Command::StageConfig(super::stage(txn, part, namespace, vec![]))
}

#[test]
fn a_stage_that_nobody_adds_to_makes_room_within_a_minute_and_one_that_grows_stays() {
    let mut member = Member::new();
    let of = |namespace: &str, part| stage_of(namespace, namespace, part);
    member.apply(of("left", 0));
    member.apply(of("grows", 0));
    // A second of stamped UTC an entry.
    member.index += 40;
    member.apply(of("grows", 1));
    assert_eq!(member.state.open_stages(), ["grows", "left"]);
    member.index += 30;
    member.apply(of("new", 0));
    assert_eq!(member.state.open_stages(), ["grows", "new"], "70 s after its only part");
    member.reopen();
    // However often it is added to, it does not stand for ever.
    for part in 2..40 {
        member.index += 30;
        member.apply(of("grows", part));
    }
    member.index += 30;
    member.apply(of("other", 0));
    let header = member.state.stages["grows"].header.clone();
    let age = member
        .state
        .last_utc()
        .since(parallax_common::time::UtcTime::from_ns(header.opened_utc_ns));
    assert!(age <= parallax_common::limits::STAGE_AGE_MAX, "{age:?}");
}

/// Holds a stage of this many bytes open.
fn fill(member: &mut Member, bytes: usize) {
    let header = store::StageRow {
        txn: "large".into(),
        opened_utc_ns: member.state.last_utc().as_ns(),
        namespace: "large".into(),
        touched_utc_ns: 0,
    };
    let mut stage = config::Stage::new(header);
    // Zeroes that nobody reads take no memory.
    stage.insert(0, vec![0; bytes].into());
    member.state.stages.insert("large".into(), Arc::new(stage));
}

fn commit(txn: &str, parts: u32) -> Command {
    let (namespace, set) = ("default".into(), "default".into());
    let command =
        store::CommitConfig { txn: txn.into(), parts, namespace, set, ..Default::default() };
    Command::CommitConfig(command)
}

/// Applies without comparing the rows: for states that are too large to dump.
fn apply_only(member: &mut Member, request_id: Option<v1::RequestId>, command: Command) -> Answer {
    member.index += 1;
    let entry = store::Entry {
        min_level: LEVEL,
        request_id,
        utc_ns: i64::try_from(member.index).unwrap() * 1_000_000_000,
        command: Some(command),
        ..store::Entry::default()
    };
    member.state.apply(member.index, &entry.encode_to_vec()).answer
}

/// What becomes of a silence of `web` for a minute, as it is after this change of what is asked for.
fn quiet(member: &mut Member, change: fn(&mut v1::AddSilenceRequest)) -> Answer {
    let mut asked = v1::AddSilenceRequest {
        matchers: vec![matcher("check", Equal, "web")],
        comment: "moving".into(),
        end: Some(lasts(60)),
        ..v1::AddSilenceRequest::default()
    };
    change(&mut asked);
    let uid = Uid::from_bytes([0x51; 16]);
    match draft::add(&member.state, &asked, "default", "anna", uid) {
        Ok(command) => member.apply(Command::AddSilence(command)),
        Err(refusal) => Answer::Refused(refusal),
    }
}

fn matcher(key: &str, operator: v1::MatchOperator, value: &str) -> v1::Matcher {
    v1::Matcher { key: key.into(), operator: operator.into(), value: value.into() }
}

fn lasts(seconds: i64) -> End {
    End::Length(prost_types::Duration { seconds, nanos: 0 })
}

fn moment(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// The uid of an incident that was opened and, if so wished, resolved.
fn incident(member: &mut Member, resolved: bool) -> String {
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open);
    if resolved {
        let resolve = member.change(store::VerdictAction::Resolve);
        member.verdict(resolve);
    }
    member.only_incident().uid.clone()
}

/// What a member of a cluster of two is told about what it says of itself.
fn say(member: &mut Member, said: store::AnnounceMember) -> Answer {
    *member = begun(&["c1", "c2"]);
    member.apply(Command::AnnounceMember(said))
}

fn ack(uid: String) -> Command {
    Command::AckIncident(store::AckIncident { uid, ..Default::default() })
}

fn resolve(uid: String) -> Command {
    Command::ResolveIncident(store::ResolveIncident { uid, ..Default::default() })
}

const ROWS: &[(Rule, Break)] = &[
    (
        rule::UNKNOWN_REGION,
        Plan(|_| vec![wanted(v1::Check { regions: vec!["mars".into()], ..another() })]),
    ),
    (
        rule::UNKNOWN_REGION,
        Commit(|_| vec![put(0, wanted(v1::Check { regions: vec!["mars".into()], ..another() }))]),
    ),
    (
        rule::UNKNOWN_CONTACT,
        Plan(|_| vec![wanted(v1::Check { alert: vec!["nobody".into()], ..another() })]),
    ),
    (
        rule::UNKNOWN_CONTACT,
        Commit(|_| vec![put(0, wanted(v1::Check { alert: vec!["nobody".into()], ..another() }))]),
    ),
    (
        rule::UNKNOWN_CONTACT,
        Commit(|_| {
            let mesh_alert = vec!["nobody".into()];
            let settings =
                v1::Settings { meta: meta(4, "settings"), mesh_alert, ..Default::default() };
            vec![put(0, v1::resource::Kind::Settings(settings))]
        }),
    ),
    (
        rule::OTHER_SET,
        Plan(|request| {
            request.set = "other".into();
            vec![region("eu")]
        }),
    ),
    (
        rule::OTHER_SET,
        Other(|member| {
            let etag = member.etag(Kind::Check, "web");
            member.commit_as(None, "other", vec![put(etag, wanted(check("web", 2)))])
        }),
    ),
    (
        rule::PRUNE_GUARD,
        Plan(|request| {
            request.prune = true;
            vec![region("eu")]
        }),
    ),
    (
        rule::PRUNE_GUARD,
        Plan(|request| {
            request.prune = true;
            request.yes_delete = 1; // it would be 2
            vec![region("eu")]
        }),
    ),
    (
        rule::CONFLICT,
        Commit(|member| vec![put(member.etag(Kind::Check, "web") - 1, wanted(check("web", 2)))]),
    ),
    (rule::CONFLICT, Commit(|_| vec![put(0, region("eu"))])),
    (rule::CONFLICT, Plan(|_| vec![version(1, region("eu"))])),
    (rule::CONFLICT, Plan(|_| vec![version(1, region("mars"))])),
    (
        rule::IN_USE,
        Commit(|member| vec![delete(member.etag(Kind::Region, "eu"), "region", "eu", false)]),
    ),
    (
        rule::IN_USE,
        Commit(|member| vec![delete(member.etag(Kind::Contact, "ops"), "contact", "ops", false)]),
    ),
    (rule::NOT_FOUND, Commit(|_| vec![delete(0, "check", "other", false)])),
    (
        rule::FALLBACK_CYCLE,
        Plan(|_| {
            let v1::resource::Kind::Contact(mut it) = contact("new") else { unreachable!() };
            it.fallback = "new".to_owned();
            vec![v1::resource::Kind::Contact(it)]
        }),
    ),
    (
        rule::UNKNOWN_CONTACT,
        Plan(|_| {
            let v1::resource::Kind::Contact(mut it) = contact("new") else { unreachable!() };
            it.fallback = "opps".to_owned();
            vec![v1::resource::Kind::Contact(it)]
        }),
    ),
    (rule::NOT_FOUND, Other(|member| member.apply(ack("none".into())))),
    (rule::NOT_FOUND, Other(|member| member.apply(resolve("none".into())))),
    (rule::TOO_MANY_RESOURCES, Plan(|_| vec![region("us"); APPLY_RESOURCES_MAX + 1])),
    (
        rule::NAMESPACE_MISMATCH,
        Plan(|_| {
            let meta = v1::Meta { namespace: "elsewhere".into(), ..meta(1, "us").unwrap() };
            vec![v1::resource::Kind::Region(v1::Region { meta: Some(meta), title: String::new() })]
        }),
    ),
    (
        rule::CHECK_INVALID,
        Commit(|_| vec![put(0, wanted(v1::Check { interval: None, ..another() }))]),
    ),
    (
        rule::RESOURCE_EMPTY,
        Commit(|_| {
            let nothing = store::config_change::Change::Put(v1::Resource { kind: None });
            vec![store::ConfigChange { change: Some(nothing), ..Default::default() }]
        }),
    ),
    (
        rule::RESOURCE_EMPTY,
        Commit(|_| {
            let nameless = v1::Region { meta: None, title: String::new() };
            vec![put(0, v1::resource::Kind::Region(nameless))]
        }),
    ),
    (rule::RESOURCE_EMPTY, Commit(|_| vec![delete(0, "planet", "mars", false)])),
    (rule::STAGE_UNKNOWN, Other(|member| member.apply(commit("never staged", 1)))),
    (
        rule::STAGE_UNKNOWN,
        Other(|member| {
            member.apply(stage("old", 0));
            member.index += 3_600;
            // Whoever stages next clears away what is too old.
            member.apply(stage("new", 0));
            member.apply(commit("old", 1))
        }),
    ),
    (
        rule::STAGE_INCOMPLETE,
        Other(|member| {
            member.apply(stage("half", 0));
            member.apply(commit("half", 2))
        }),
    ),
    (
        rule::STAGE_INCOMPLETE,
        Other(|member| {
            member.apply(stage("other bytes", 0));
            // As many parts as there are, but no digest of them.
            member.apply(commit("other bytes", 1))
        }),
    ),
    (
        rule::STAGES_OPEN,
        Other(|member| {
            for n in 0..STAGES_MAX {
                let name = format!("s{n}");
                assert_eq!(rule(&member.apply(stage_of(&name, &name, 0))), "accepted");
            }
            member.apply(stage("one more", 0))
        }),
    ),
    (
        rule::NAMESPACE_STAGES,
        Other(|member| {
            for n in 0..STAGES_PER_NAMESPACE_MAX {
                assert_eq!(rule(&member.apply(stage(&format!("s{n}"), 0))), "accepted");
            }
            member.apply(stage("one more", 0))
        }),
    ),
    (
        rule::NAMESPACE_STAGED_BYTES,
        Other(|member| {
            fill(member, STAGED_BYTES_PER_NAMESPACE_MAX);
            let others = apply_only(member, None, stage("of another", 0));
            assert_eq!(rule(&others), "accepted");
            apply_only(member, None, stage_of("large", "one more", 0))
        }),
    ),
    (
        rule::STAGED_BYTES,
        Other(|member| {
            fill(member, STAGED_BYTES_MAX);
            apply_only(member, None, stage("one more", 0))
        }),
    ),
    (rule::REQUEST_ID, Other(|_| Answer::Refused(identified(None).unwrap_err()))),
    (rule::REQUEST_ID, Other(|_| Answer::Refused(identified(id(0, 0)).unwrap_err()))),
    (rule::REQUEST_ID, Other(|_| Answer::Refused(identified(id(3, 4)).unwrap_err()))),
    (
        rule::REQUEST_ID,
        Other(|_| {
            assert_eq!(identified(id(1, 1)), Ok(id(1, 1).unwrap()));
            let client = "x".repeat(65);
            let long = v1::RequestId { client, ..id(1, 1).unwrap() };
            Answer::Refused(identified(Some(long)).unwrap_err())
        }),
    ),
    (
        rule::REQUEST_LATE,
        Other(|member| {
            member.commit_as(id(2, 2), "default", vec![]);
            member.commit_as(id(1, 1), "default", vec![])
        }),
    ),
    (
        rule::REQUEST_IDS,
        Other(|member| {
            let answers = 1..=u64::try_from(REQUEST_IDS_MAX).unwrap();
            let row = store::ClientRow {
                client: "busy".into(),
                lowest_open: 1,
                answers: answers
                    .map(|number| store::AnswerRow { number, ..Default::default() })
                    .collect(),
                last_seen_utc_ns: 0,
            };
            member.state.insert_client("busy", Client::from_row(row));
            apply_only(member, id(1, 1), stage("one", 0))
        }),
    ),
    (
        rule::CLIENT_REQUEST_IDS,
        Other(|member| {
            for number in 1..=u64::try_from(REQUEST_IDS_PER_CLIENT_MAX).unwrap() {
                assert_eq!(rule(&ask(member, ("c", number, 1), "anna", 0)), "accepted");
            }
            ask(member, ("c", 1_000, 1), "anna", 0)
        }),
    ),
    (
        rule::REQUEST_ID_REUSED,
        Other(|member| {
            ask(member, ("c", 1, 1), "anna", 1);
            ask(member, ("c", 1, 1), "anna", 2)
        }),
    ),
    (
        rule::REQUEST_ID_REUSED,
        Other(|member| {
            ask(member, ("c", 1, 1), "anna", 1);
            ask(member, ("c", 1, 1), "boris", 1)
        }),
    ),
    (
        rule::INCIDENT_CLOSED,
        Other(|member| {
            let uid = incident(member, true);
            member.apply(ack(uid))
        }),
    ),
    (
        rule::INCIDENT_CLOSED,
        Other(|member| {
            let uid = incident(member, true);
            member.apply(resolve(uid))
        }),
    ),
    (
        rule::STORM_OPEN,
        Other(|_| {
            let mut member = Member::new();
            let uid = super::storms::storm_of(&mut member, 3);
            member.apply(resolve(uid))
        }),
    ),
    (
        rule::STILL_FAILING,
        Other(|member| {
            incident(member, false);
            let incident = member.only_incident();
            assert_eq!(may_resolve(incident, true, true), Ok(()));
            assert_eq!(may_resolve(incident, false, false), Ok(()));
            Answer::Refused(may_resolve(incident, true, false).unwrap_err())
        }),
    ),
    (
        rule::ALREADY_INITIALISED,
        Other(|member| member.apply(Command::InitCluster(store::InitCluster::default()))),
    ),
    (rule::MEMBER_TEXT, Other(|member| member.apply(add("C4", "d:1")))),
    (rule::MEMBER_TEXT, Other(|member| member.apply(add("c4", "")))),
    (rule::MEMBER_TEXT, Other(|member| member.apply(add("c4", &"d".repeat(513))))),
    (
        rule::MEMBER_TEXT,
        Other(|member| {
            let build = "b".repeat(513);
            say(member, store::AnnounceMember { build, ..announce(2, "c2", "d") })
        }),
    ),
    (
        rule::MEMBER_EXISTS,
        Other(|member| {
            *member = begun(&["c1", "c2"]);
            member.apply(add("c2", "d:1"))
        }),
    ),
    (
        rule::MEMBER_EXISTS,
        Other(|member| {
            *member = begun(&["c1", "c2"]);
            member.apply(add("c3", "c2:7102"))
        }),
    ),
    (
        rule::MEMBER_EXISTS,
        Other(|member| {
            let peer_address = "c1:7102".into();
            say(member, store::AnnounceMember { peer_address, ..announce(2, "c2", "d") })
        }),
    ),
    (
        rule::MEMBERS_TOO_MANY,
        Other(|member| {
            *member = begun(&["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9"]);
            member.apply(add("c10", "d:1"))
        }),
    ),
    (rule::MEMBER_UNKNOWN, Other(|member| say(member, announce(3, "c3", "d")))),
    (rule::MEMBER_UNKNOWN, Other(|member| member.apply(remove(1)))),
    (
        rule::MEMBER_REMOVED,
        Other(|member| {
            *member = begun(&["c1", "c2"]);
            member.apply(remove(2));
            member.apply(Command::AnnounceMember(announce(2, "c2", "d")))
        }),
    ),
    (rule::MEMBER_OTHER_NAME, Other(|member| say(member, announce(2, "c1", "d")))),
    (
        rule::MEMBER_OTHER_DISK,
        Other(|member| {
            assert_eq!(rule(&say(member, announce(2, "c2", "d"))), "accepted");
            member.apply(Command::AnnounceMember(announce(2, "c2", "another")))
        }),
    ),
    (rule::MEMBER_OTHER_DISK, Other(|member| say(member, announce(2, "c2", "")))),
    (
        rule::MEMBER_LAST,
        Other(|member| {
            *member = begun(&["c1"]);
            member.apply(remove(1))
        }),
    ),
    (
        rule::LEVEL_TOO_LOW,
        Other(|member| {
            member.state.cluster.level = 1;
            quiet(member, |_| {})
        }),
    ),
    (
        rule::LEVEL_TOO_LOW,
        Other(|member| {
            member.state.cluster.level = 2;
            let storm = Some(v1::StormRule::default());
            let meta = meta(8, SettingsName::NAME);
            let settings = v1::Settings { meta, storm, ..v1::Settings::default() };
            let kind = Some(v1::resource::Kind::Settings(settings));
            let (namespace, set) = ("default".to_owned(), "default".to_owned());
            let request = Request { namespace, set, ..Request::default() };
            let uid = || Uid::from_bytes([0x77; 16]);
            let resources = vec![v1::Resource { kind }];
            let drafted = configure::draft(&member.state, &request, resources, uid);
            let low = drafted.expect_err("refused").remove(0);
            assert_eq!(low.field, "mesh.storm");
            Answer::Refused(refusal(low.rule, low.message, []))
        }),
    ),
    (rule::LEVEL_TOO_LOW, PlanAt(2, |check| check.depends_on = vec!["web".into()])),
    (rule::LEVEL_TOO_LOW, PlanAt(2, |check| check.flap = Some(v1::Flap::default()))),
    (
        rule::LEVEL_TOO_LOW,
        PlanAt(2, |check| {
            let expect = v1::CanaryAnswer::Pass.into();
            check.alert.clear();
            check.canary = Some(v1::Canary { expect, reason: 0 });
        }),
    ),
    (
        rule::LEVEL_TOO_LOW,
        PlanAt(2, |check| {
            check.min_open = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        }),
    ),
    (
        rule::UNKNOWN_CHECK,
        Plan(|_| {
            let mut planned = window("backup");
            planned.matchers[0].value = "wbe".into();
            vec![v1::resource::Kind::Maintenance(planned)]
        }),
    ),
    (
        rule::LEVEL_TOO_LOW,
        Other(|member| {
            member.state.cluster.level = 2;
            let kind = Some(v1::resource::Kind::Maintenance(window("backup")));
            let (namespace, set) = ("default".to_owned(), "default".to_owned());
            let request = Request { namespace, set, ..Request::default() };
            let uid = || Uid::from_bytes([0x77; 16]);
            let resources = vec![v1::Resource { kind }];
            let drafted = configure::draft(&member.state, &request, resources, uid);
            let low = drafted.expect_err("refused").remove(0);
            Answer::Refused(refusal(low.rule, low.message, []))
        }),
    ),
    (
        rule::MAINTENANCE_TOO_MANY,
        Commit(|_| {
            let named =
                |n: u8| v1::Maintenance { meta: meta(n + 20, &format!("w{n}")), ..window("w") };
            (0..33).map(|n| put(0, v1::resource::Kind::Maintenance(named(n)))).collect()
        }),
    ),
    (
        rule::HOURS_TOO_MANY,
        Commit(|_| {
            let route = |n: u32| {
                let time = v1::HoursTime { days: vec![1], from_minute: n, to_minute: 600 };
                let zone = "UTC".to_owned();
                let hours = Some(v1::Hours { zone, times: vec![time], outside: false });
                v1::Route { name: format!("r{n}"), hours, ..v1::Route::default() }
            };
            let meta = Some(v1::Meta { name: SettingsName::NAME.into(), ..meta(8, "x").unwrap() });
            let routes = (0..33).map(route).collect();
            let settings = v1::Settings { meta, routes, ..v1::Settings::default() };
            vec![put(0, v1::resource::Kind::Settings(settings))]
        }),
    ),
    (rule::UNKNOWN_CHECK, Plan(|_| vec![wanted(behind("other", "wbe"))])),
    (rule::UNKNOWN_CHECK, Commit(|_| vec![put(0, wanted(behind("other", "wbe")))])),
    (rule::DEPENDS_CYCLE, Plan(|_| vec![wanted(behind("other", "other"))])),
    (rule::DEPENDS_CYCLE, Commit(|_| vec![put(0, wanted(behind("other", "other")))])),
    (
        rule::DEPENDS_CYCLE,
        Plan(|_| vec![wanted(behind("other", "web")), wanted(behind("web", "other"))]),
    ),
    (
        rule::IN_USE,
        Other(|member| {
            let added = member.commit(vec![put(0, wanted(behind("other", "web")))]);
            assert_eq!(rule(&added), "accepted");
            let etag = member.etag(Kind::Check, "web");
            let answer = member.commit(vec![delete(etag, "check", "web", false)]);
            assert_eq!(member.state.checks.len(), 2);
            // As many as the table counts on.
            let etag = member.etag(Kind::Check, "other");
            member.commit(vec![delete(etag, "check", "other", false)]);
            answer
        }),
    ),
    (rule::UNKNOWN_CHECK, Other(|member| quiet(member, |it| it.matchers[0].value = "wbe".into()))),
    (rule::MATCHER_FORMAT, Other(|member| quiet(member, |it| it.matchers[0].operator = 0))),
    (rule::MATCHER_FORMAT, Other(|member| quiet(member, |it| it.matchers[0].key = "a b".into()))),
    (
        rule::MATCHER_PATTERN,
        Other(|member| quiet(member, |it| it.matchers.push(matcher("check", Pattern, "(")))),
    ),
    (rule::MATCHERS_COUNT, Other(|member| quiet(member, |it| it.matchers.clear()))),
    (
        rule::MATCHERS_COUNT,
        Other(|member| quiet(member, |it| it.matchers = vec![matcher("a", Equal, "b"); 17])),
    ),
    (
        rule::MATCHERS_COUNT,
        Other(|member| quiet(member, |it| it.matchers = vec![matcher("a", Pattern, "b"); 5])),
    ),
    (
        rule::MATCHERS_ANY,
        Other(|member| quiet(member, |it| it.matchers = vec![matcher("a", NotEqual, "b")])),
    ),
    (rule::SILENCE_COMMENT, Other(|member| quiet(member, |it| it.comment = "  ".into()))),
    (rule::SILENCE_COMMENT, Other(|member| quiet(member, |it| it.comment = "x".repeat(4_097)))),
    (rule::SILENCE_TIMES, Other(|member| quiet(member, |it| it.end = None))),
    (rule::SILENCE_TIMES, Other(|member| quiet(member, |it| it.end = Some(lasts(0))))),
    (rule::SILENCE_TIMES, Other(|member| quiet(member, |it| it.end = Some(lasts(367 * 86_400))))),
    (
        rule::SILENCE_TIMES,
        Other(|member| quiet(member, |it| it.starts_at = Some(moment(i64::MAX)))),
    ),
    (
        rule::SILENCE_TIMES,
        Other(|member| quiet(member, |it| it.end = Some(End::EndsAt(moment(1))))),
    ),
    (
        rule::SILENCE_TIMES,
        Other(|member| {
            quiet(member, |it| {
                (it.starts_at, it.end) = (Some(moment(200)), Some(End::EndsAt(moment(150))));
            })
        }),
    ),
    (
        rule::SILENCE_TIMES,
        Other(|member| quiet(member, |it| it.starts_at = Some(moment(400 * 86_400)))),
    ),
    (
        rule::SILENCE_TIMES,
        Other(|member| quiet(member, |it| it.end = Some(End::EndsAt(moment(400 * 86_400))))),
    ),
    (rule::NOT_FOUND, Other(|member| member.apply(expire("nobody's")))),
    (rule::NOT_FOUND, Other(|member| member.apply(super::fleet::drain("eu", "nobody", false)))),
    (
        rule::LAST_PROBE,
        Other(|member| {
            member.apply(super::fleet::live("eu", "p1", 1));
            member.apply(super::fleet::drain("eu", "p1", false))
        }),
    ),
    (
        rule::SILENCE_OVER,
        Other(|member| {
            member.apply(Command::AddSilence(silence("s", 600)));
            assert_eq!(rule(&member.apply(expire("s"))), "accepted");
            member.apply(expire("s"))
        }),
    ),
    (
        rule::SILENCES_TOO_MANY,
        Other(|member| {
            for n in 0..SILENCES_PER_NAMESPACE_MAX {
                let added = member.apply(Command::AddSilence(silence(&n.to_string(), 90_000)));
                assert_eq!(rule(&added), "accepted");
            }
            quiet(member, |_| {})
        }),
    ),
    (rule::ENTRY_MALFORMED, Other(|member| member.state.apply(member.index + 1, &[0xff]).answer)),
    (
        rule::ENTRY_UNKNOWN,
        Other(|member| {
            let entry = prost::Message::encode_to_vec(&store::Entry::default());
            member.state.apply(member.index + 1, &entry).answer
        }),
    ),
    (
        rule::LEVEL_TOO_LOW,
        PlanAt(1, |check| {
            let http = v1::HttpStep {
                url: "https://shop.example".into(),
                http_version: v1::HttpVersion::V3 as i32,
                ..Default::default()
            };
            let step = v1::Step { kind: Some(v1::step::Kind::Http(http)), ..Default::default() };
            check.run.get_or_insert_default().steps = vec![step];
        }),
    ),
    (rule::LEVEL_TOO_LOW, PlanAt(1, |check| check.probes_per_region = 2)),
    (rule::LEVEL_TOO_LOW, PlanAt(2, |check| check.severity = v1::Severity::Info as i32)),
    (rule::LEVEL_TOO_LOW, PlanAt(1, |check| check.missing = v1::MissingData::Pass as i32)),
    (
        rule::LEVEL_TOO_LOW,
        PlanAt(2, |check| {
            check.slo = Some(v1::Slo { target_ppm: 999_000, ..v1::Slo::default() });
        }),
    ),
    (
        rule::LEVEL_TOO_LOW,
        PlanAt(2, |check| {
            let (name, when) = ("slow".to_owned(), "p95 > 1s".to_owned());
            check.alerts = vec![v1::Alert { name, when, ..v1::Alert::default() }];
        }),
    ),
    (rule::LEVEL_TOO_LOW, PlanAt(1, |check| check.advisory_regions = vec!["us".into()])),
    (
        rule::LEVEL_TOO_LOW,
        Other(|member| {
            member.state.cluster.level = 1;
            let refused = plan_contacts(&member.state).unwrap_err();
            Answer::Refused(refusal(refused[0].rule, refused[0].message.clone(), []))
        }),
    ),
    (rule::LEVEL_BACK, Other(|member| member.apply(Command::SetLevel(store::SetLevel::default())))),
    (
        rule::STATE_DISPUTED,
        Other(|member| {
            let hash = store::StateHash { index: 1_000, disputed: true, ..Default::default() };
            member.apply(Command::StateHash(hash));
            member.apply(Command::DropStage(store::DropStage::default()))
        }),
    ),
];

/// Ids of the rules that a row breaks.
fn broken(row: &Break) -> Vec<String> {
    let mut member = configured();
    let before = member.state.checks.len();
    let answer = match row {
        Plan(prepare) => {
            let (namespace, set) = ("default".to_owned(), "default".to_owned());
            let mut request = Request { namespace, set, ..Request::default() };
            let resources = prepare(&mut request);
            let resources = resources.into_iter().map(|kind| v1::Resource { kind: Some(kind) });
            let uid = || Uid::from_bytes([0x77; 16]);
            let drafted = configure::draft(&member.state, &request, resources.collect(), uid);
            let violations = drafted.expect_err("a row of the table is refused");
            return violations.iter().map(|violation| violation.rule.id.to_owned()).collect();
        }
        PlanAt(level, change) => {
            member.state.cluster.level = *level;
            let (namespace, set) = ("default".to_owned(), "default".to_owned());
            let request = Request { namespace, set, ..Request::default() };
            let mut check = another();
            change(&mut check);
            let check = v1::Resource { kind: Some(wanted(check)) };
            let uid = || Uid::from_bytes([0x77; 16]);
            let region = v1::Resource { kind: Some(region("us")) };
            let wanted = vec![region, check];
            let drafted = |state: &State| configure::draft(state, &request, wanted.clone(), uid);
            let violations = drafted(&member.state).expect_err("a row of the table is refused");
            member.state.cluster.level = level + 1;
            assert!(drafted(&member.state).is_ok(), "one level above it is taken");
            return violations.iter().map(|violation| violation.rule.id.to_owned()).collect();
        }
        Commit(changes) => {
            let changes = changes(&member);
            member.commit(changes)
        }
        Other(answer) => answer(&mut member),
    };
    assert!([before, 0].contains(&member.state.checks.len()), "what is refused changes nothing");
    vec![rule(&answer).to_owned()]
}

/// Plans an apply of contacts that an older build would not understand: one of another kind, and a
/// webhook with more than webhooks had at first.
fn plan_contacts(state: &State) -> Result<configure::Draft, Vec<Violation>> {
    let v1::resource::Kind::Contact(mut signed) = contact("signed") else { unreachable!() };
    let Some(v1::contact::Kind::Webhook(webhook)) = &mut signed.kind else { unreachable!() };
    let secret = |text: &str| v1::Secret { value: Some(v1::secret::Value::Template(text.into())) };
    webhook.signing_secrets = vec![secret("${env:KEY}")];
    let url = Some(secret("https://x.example/"));
    let teams = v1::contact::Kind::Teams(v1::TeamsContact { url, ..Default::default() });
    let teams = v1::Contact { kind: Some(teams), ..signed.clone() };
    let teams = v1::Contact { meta: meta(4, "teams"), ..teams };
    let resources = [signed, teams]
        .map(|contact| v1::Resource { kind: Some(v1::resource::Kind::Contact(contact)) });
    let (namespace, set) = ("default".to_owned(), "default".to_owned());
    let request = Request { namespace, set, ..Request::default() };
    let uid = || Uid::from_bytes([0x77; 16]);
    configure::draft(state, &request, resources.to_vec(), uid)
}

#[test]
fn contacts_that_an_older_build_does_not_know_wait_for_the_level() {
    let mut member = configured();
    assert_eq!(plan_contacts(&member.state).unwrap().writes.len(), 2);
    member.state.cluster.level = 1;
    let refused = plan_contacts(&member.state).unwrap_err();
    let refused: Vec<_> = refused.iter().map(|it| (it.rule, it.name.as_str())).collect();
    assert_eq!(refused, [(rule::LEVEL_TOO_LOW, "signed"), (rule::LEVEL_TOO_LOW, "teams")]);
    member.state.cluster.level = MAIL_LEVEL - 1;
    assert!(plan_contacts(&member.state).is_ok());
    let mail = v1::EmailContact {
        server: "mail.example:587".into(),
        from: "a@example.com".into(),
        to: vec!["b@example.com".into()],
        ..Default::default()
    };
    let v1::resource::Kind::Contact(mut newer) = contact("mail") else { unreachable!() };
    newer.kind = Some(v1::contact::Kind::Email(mail));
    (newer.rate, newer.fallback) = ("10/m".to_owned(), "ops".to_owned());
    let newer = v1::Resource { kind: Some(v1::resource::Kind::Contact(newer)) };
    let drafted = |state: &State| {
        let (namespace, set) = ("default".to_owned(), "default".to_owned());
        let request = Request { namespace, set, ..Request::default() };
        configure::draft(state, &request, vec![newer.clone()], || Uid::from_bytes([0x78; 16]))
    };
    let refused = drafted(&member.state).unwrap_err();
    let refused: Vec<_> = refused.iter().map(|it| (it.rule, it.field.as_str())).collect();
    let too_low = rule::LEVEL_TOO_LOW;
    assert_eq!(refused, [(too_low, "email"), (too_low, "fallback"), (too_low, "rate")]);
    member.state.cluster.level = MAIL_LEVEL;
    assert!(drafted(&member.state).is_ok());
    member.state.cluster.level = 1;
    // What webhooks always were is taken at any level.
    let plain = v1::Resource { kind: Some(contact("plain")) };
    let (namespace, set) = ("default".to_owned(), "default".to_owned());
    let request = Request { namespace, set, ..Request::default() };
    let uid = || Uid::from_bytes([0x77; 16]);
    assert!(configure::draft(&member.state, &request, vec![plain], uid).is_ok());
}

#[test]
fn each_row_breaks_its_rule_and_no_other() {
    for (at, (rule, row)) in ROWS.iter().enumerate() {
        assert_eq!(broken(row), [rule.id], "row {at}");
    }
}

#[test]
fn every_rule_of_apply_is_broken_by_some_row() {
    let broken: BTreeSet<Rule> = ROWS.iter().map(|(rule, _)| *rule).collect();
    let all = rule::ALL.iter().filter(|rule| rule.stage == Stage::Apply);
    let without: Vec<&Rule> = all.filter(|rule| !broken.contains(rule)).collect();
    assert!(without.is_empty(), "rules without a row: {without:?}");
}

#[test]
fn a_resource_with_the_etag_that_is_there_is_compared_with_it_when_it_is_committed() {
    let mut member = configured();
    let there = member.etag(Kind::Region, "eu");
    let v1::resource::Kind::Region(mut changed) = version(there, region("eu")) else {
        unreachable!("a region")
    };
    changed.title = "another".to_owned();
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Region(changed)) };
    let (namespace, set) = ("default".to_owned(), "default".to_owned());
    let request = Request { namespace, set, ..Request::default() };
    let uid = || Uid::from_bytes([0x77; 16]);
    let draft = configure::draft(&member.state, &request, vec![resource], uid).unwrap();
    assert_eq!(draft.writes.len(), 1);
    assert_eq!(draft.writes[0].base_etag, there);
    assert!(matches!(member.commit(draft.writes.clone()), Answer::Accepted { .. }));
    assert_eq!(rule(&member.commit(draft.writes)), rule::CONFLICT.id, "it is another one now");
}
