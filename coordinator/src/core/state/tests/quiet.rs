//! Silences: what they hold, when it is let go, and what is told of it. An entry is a second of
//! stamped UTC.

use parallax_common::limits::{HELD_REVIEWED_MAX, SILENCE_KEPT, SILENCES_PER_NAMESPACE_MAX};
use parallax_common::time::UtcTime;
use parallax_proto::v1::DeliveryState::{Dropped, Held, Pending, Sent};
use parallax_proto::v1::timeline_event::Event;

use super::*;
use crate::core::explain;
use crate::core::outbox::{Origin, Outbox};
use crate::core::stamp;

/// A silence of the check `web` for so many seconds from now on.
pub(super) fn silence(uid: &str, seconds: i64) -> store::AddSilence {
    let matcher = v1::Matcher {
        key: "check".into(),
        operator: v1::MatchOperator::Equal.into(),
        value: "web".into(),
    };
    let silence = v1::Silence {
        uid: uid.into(),
        namespace: "default".into(),
        matchers: vec![matcher],
        comment: "moving".into(),
        created_by: "anna".into(),
        ..v1::Silence::default()
    };
    store::AddSilence { silence: Some(silence), length_ns: seconds * 1_000_000_000 }
}

pub(super) fn expire(uid: &str) -> Command {
    Command::ExpireSilence(store::ExpireSilence { uid: uid.into(), by: "ben".into(), node_id: 7 })
}

pub(super) fn review() -> Command {
    Command::ReviewHeld(store::ReviewHeld { node_id: 7 })
}

impl Member {
    fn silence(&mut self, uid: &str, seconds: i64) {
        let answer = self.apply(Command::AddSilence(silence(uid, seconds)));
        assert_eq!(rule(&answer), "accepted");
    }

    fn open(&mut self) {
        let open = self.change(store::VerdictAction::Open);
        self.verdict(open);
    }

    fn resolve(&mut self) {
        let resolve = self.change(store::VerdictAction::Resolve);
        self.verdict(resolve);
    }

    fn sent(&mut self, key: &str) {
        let update = store::PageUpdate {
            idempotency_key: key.into(),
            state: Sent.into(),
            attempts: 1,
            ..store::PageUpdate::default()
        };
        self.apply(Command::UpdatePages(store::UpdatePages { updates: vec![update] }));
    }

    /// The entry at this second of stamped UTC is the next.
    fn at(&mut self, second: i64) {
        self.index = u64::try_from(second).unwrap() - 1;
    }

    fn pages(&self) -> Vec<v1::DeliveryState> {
        self.only_incident().deliveries.iter().map(|page| page.state()).collect()
    }

    /// Words for the newest events.
    fn told(&self, last: usize) -> Vec<&'static str> {
        let timeline = &self.only_incident().timeline;
        timeline[timeline.len() - last..]
            .iter()
            .map(|event| match event.event {
                Some(Event::Opened(_)) => "opened",
                Some(Event::PagesHeld(_)) => "held",
                Some(Event::PagesReleased(_)) => "released",
                Some(Event::PageSent(_)) => "sent",
                Some(Event::PageDropped(_)) => "dropped",
                Some(Event::Resolved(_)) => "resolved",
                _ => "other",
            })
            .collect()
    }
}

#[test]
fn a_silenced_opening_waits_and_goes_out_when_the_silence_ends_and_it_is_still_down() {
    let mut member = configured();
    member.at(100);
    member.silence("s1", 60);
    member.open();
    assert_eq!((member.pages(), member.told(2)), (vec![Held], vec!["opened", "held"]));
    assert!(member.state.pending.is_empty());
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(160_000_000_000)));
    // Nothing of it is due to anybody's outbox, on whatever member.
    let mut outbox = Outbox::new(1);
    outbox.lead(true);
    outbox.put(member.only_incident(), Origin::Applied);
    assert_eq!((outbox.ready(UtcTime::from_ns(i64::MAX)), outbox.depth()), (vec![], (0, 0)));
    let sentences = explain::incident(member.only_incident());
    let wanted = "It is silenced until 00:02:40 UTC by anna: moving.";
    assert!(sentences.iter().any(|it| it == wanted), "{sentences:?}");
    // A look that comes too soon changes nothing, and a start neither.
    member.apply(review());
    member.reopen();
    assert_eq!(member.pages(), [Held]);
    member.at(160);
    member.apply(review());
    assert_eq!((member.pages(), member.told(1)), (vec![Pending], vec!["released"]));
    let page = &member.only_incident().deliveries[0];
    assert_eq!(page.claimed_by, 7, "by the leader that saw it");
    assert_eq!(stamp::utc(page.created_at.as_ref()).as_ns(), 160_000_000_000);
    assert_eq!((member.state.review_at(), &member.only_incident().held), (None, &None));
    let told = |change: &Changed| matches!(change, Changed::Delivery(..));
    assert!(member.changed.iter().any(told), "the pager is told");
    let mut outbox = Outbox::new(7);
    outbox.put(member.only_incident(), Origin::Applied);
    assert_eq!(outbox.ready(UtcTime::from_ns(160_000_000_000)).len(), 1);
    member.reopen();
    assert_eq!(member.state.pending.len(), 1);
}

#[test]
fn an_incident_that_ends_while_it_is_silenced_is_told_to_nobody() {
    let mut member = configured();
    member.silence("s1", 600);
    member.open();
    member.resolve();
    assert_eq!((member.pages(), member.told(2)), (vec![Dropped], vec!["resolved", "dropped"]));
    assert_eq!((member.state.review_at(), member.state.pending.len()), (None, 0));
    assert!(!explain::incident(member.only_incident()).join(" ").contains("silenced"));
    member.reopen();
}

#[test]
fn the_end_goes_to_those_who_were_told_whatever_is_silenced_meanwhile() {
    let mut member = configured();
    member.open();
    let key = member.only_incident().deliveries[0].idempotency_key.clone();
    member.sent(&key);
    member.silence("s1", 600);
    member.resolve();
    assert_eq!(member.pages(), [Sent, Pending]);
}

#[test]
fn an_opening_that_is_on_its_way_is_not_called_back() {
    let mut member = configured();
    member.open();
    member.silence("s1", 600);
    assert_eq!(member.pages(), [Pending]);
}

#[test]
fn a_silence_that_is_ended_early_lets_go_in_the_same_entry() {
    let mut member = configured();
    member.silence("s1", 600);
    member.open();
    assert_eq!(rule(&member.apply(expire("s1"))), "accepted");
    assert_eq!((member.pages(), member.told(1)), (vec![Pending], vec!["released"]));
    let silence = &member.state.silences["s1"].wire;
    assert_eq!(silence.expired_by, "ben");
    assert_eq!(silence.ends_at, Some(stamp::timestamp(member.state.last_utc())));
    member.reopen();
    assert!(!member.state.silences["s1"].fits(&v1::Incident::default()));
}

#[test]
fn what_a_second_silence_holds_too_stays_held_when_the_first_ends() {
    let mut member = configured();
    member.at(100);
    member.silence("long", 600);
    member.silence("short", 60);
    member.open();
    // The longer one has the word; that the shorter one ends matters to nobody.
    member.apply(expire("short"));
    assert_eq!((member.pages(), member.told(1)), (vec![Held], vec!["held"]));
    member.silence("longest", 6_000);
    member.at(700);
    member.apply(review());
    assert_eq!((member.pages(), member.told(2)), (vec![Held], vec!["held", "held"]));
    let since = member.only_incident().held.as_ref().unwrap().since;
    assert_eq!(since, member.only_incident().opened_at, "it has been quiet all the time");
    member.apply(expire("longest"));
    assert_eq!(member.pages(), [Pending]);
}

#[test]
fn a_silence_holds_from_its_start_on_and_not_before() {
    let mut member = configured();
    member.at(100);
    let mut later = silence("s1", 60);
    if let Some(silence) = &mut later.silence {
        silence.starts_at = Some(stamp::timestamp(UtcTime::from_ns(200_000_000_000)));
    }
    member.apply(Command::AddSilence(later));
    member.open();
    assert_eq!(member.pages(), [Pending]);
    member.resolve();
    member.at(200);
    let again = member.change(store::VerdictAction::Open);
    member.verdict(again);
    let held = member.state.incidents.values().filter(|incident| incident.held.is_some());
    assert_eq!(held.count(), 1);
}

#[test]
fn a_deleted_contact_loses_what_was_held_for_it() {
    let mut member = configured();
    member.silence("s1", 600);
    member.open();
    let etag = member.etag(Kind::Contact, "ops");
    let answer = member.commit(vec![delete(etag, "contact", "ops", true)]);
    assert_eq!(rule(&answer), "accepted");
    assert_eq!(member.pages(), [Dropped]);
    member.apply(expire("s1"));
    assert_eq!(member.pages(), [Dropped]);
    member.reopen();
}

#[test]
fn what_a_backup_held_is_claimed_by_the_member_that_begins_anew() {
    let mut member = configured();
    member.silence("s1", 600);
    member.open();
    let row = store::MemberRow { node_id: 9, ..store::MemberRow::default() };
    member.state.begin_anew(member.index, "new".into(), 5, row);
    assert_eq!(member.only_incident().deliveries[0].claimed_by, 9);
    assert!(member.state.review_at().is_some());
}

#[test]
fn silences_are_audited_hashed_and_told_to_watchers() {
    let mut member = configured();
    member.silence("s1", 600);
    assert!(member.changed.contains(&Changed::Silence("s1".into())));
    let audit = member.stored[&Bytes::from(rows::audit_key(member.index))].clone();
    let audit = store::AuditRow::decode(audit).unwrap();
    assert_eq!((audit.command.as_str(), audit.subjects), ("add_silence", vec!["s1".to_owned()]));
    let sum = |member: &Member| {
        let mut sum = hash::RowSum::default();
        member.stored.iter().for_each(|(key, value)| sum.change(key, Some(value)));
        sum.sum()
    };
    let before = sum(&member);
    member.apply(expire("s1"));
    assert_ne!(sum(&member), before);
    // The same command again, under another request id, makes no second one.
    assert_eq!(rule(&member.apply(Command::AddSilence(silence("s1", 9)))), "accepted");
    assert_eq!(member.state.silences.len(), 1);
}

#[test]
fn the_oldest_that_has_ended_makes_room_and_those_of_long_ago_go() {
    let mut member = configured();
    member.at(100);
    for n in 0..SILENCES_PER_NAMESPACE_MAX {
        member.silence(&format!("s{n:03}"), if n == 7 { 1 } else { 1_000_000 });
    }
    member.silence("one more", 1_000_000);
    assert!(!member.state.silences.contains_key("s007"));
    assert_eq!(member.state.silences.len(), SILENCES_PER_NAMESPACE_MAX);
    let answer = member.apply(Command::AddSilence(silence("too many", 10)));
    assert_eq!(rule(&answer), "silences_too_many");
    member.reopen();
    member.apply(expire("s000"));
    member.at(member.state.last_utc().as_ns() / 1_000_000_000 + 1_000_000);
    let kept = i64::try_from(SILENCE_KEPT.as_secs()).unwrap();
    assert!(kept < 1_000_000, "s000 ended longer ago than that");
    member.silence("last", 10);
    assert!(!member.state.silences.contains_key("s000"));
    assert!(member.state.silences.contains_key("s001"));
}

/// A member whose check `web` depends on `dns`.
fn with_parent() -> Member {
    let mut member = configured();
    let parent = v1::Check { meta: meta(8, "dns"), ..check("dns", 1) };
    let etag = member.etag(Kind::Check, "web");
    let child = v1::Check { depends_on: vec!["dns".into()], ..check("web", 1) };
    let answer = member.commit(vec![put(0, wanted(parent)), put(etag, wanted(child))]);
    assert_eq!(rule(&answer), "accepted");
    member
}

impl Member {
    pub(super) fn act(&mut self, name: &str, action: store::VerdictAction) {
        let check = &self.state.check_named("default", name).unwrap().check;
        let (uid, etag, digest) = (check.uid, check.etag, check.run_digest.0);
        let change = store::VerdictChange {
            check_uid: uid.to_string(),
            etag,
            run_digest: digest,
            expected_sequence: self.state.verdicts.get(&uid).map_or(0, |v| v.sequence),
            ..self.change(action)
        };
        self.verdict(change);
    }

    fn pages_of(&self, name: &str) -> Vec<v1::DeliveryState> {
        let incident = self.state.incidents.values().find(|it| it.check_name == name).unwrap();
        incident.deliveries.iter().map(|page| page.state()).collect()
    }
}

use store::VerdictAction::{Open, Resolve};

#[test]
fn a_child_waits_while_its_parent_is_down_and_for_its_own_grace_after_it() {
    let mut member = with_parent();
    member.at(100);
    member.act("dns", Open);
    member.act("web", Open);
    assert_eq!((member.pages_of("dns"), member.pages_of("web")), (vec![Pending], vec![Held]));
    assert_eq!(member.state.review_at(), None, "no clock ends it");
    member.reopen();
    let child = || |it: &&Arc<v1::Incident>| it.check_name == "web";
    let sentences = explain::incident(member.state.incidents.values().find(child()).unwrap());
    let wanted = "Its opening is suppressed by dns, which it depends on and which is down.";
    assert!(sentences.iter().any(|it| it == wanted), "{sentences:?}");
    member.at(200);
    member.act("dns", Resolve);
    assert_eq!(member.pages_of("web"), [Held]);
    // 10 s of interval, 2 successes and the run before, 1 s of timeout.
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(231_000_000_000)));
    member.reopen();
    member.at(231);
    member.apply(review());
    assert_eq!(member.pages_of("web"), [Pending]);
}

#[test]
fn a_child_that_is_down_first_waits_to_see_whether_its_parent_is_down_as_well() {
    let mut member = with_parent();
    member.at(100);
    member.act("web", Open);
    assert_eq!(member.pages_of("web"), [Held]);
    let child = || |it: &&Arc<v1::Incident>| it.check_name == "web";
    let sentences = explain::incident(member.state.incidents.values().find(child()).unwrap());
    let wanted = "what it depends on (dns) may be down as well.";
    assert!(sentences.iter().any(|it| it.ends_with(wanted)), "{sentences:?}");
    // A look within 10 s of interval, 2 runs of 1 s and 1 s: more than it waits at most.
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(110_000_000_000)));
    member.reopen();
    member.at(105);
    member.act("dns", Open);
    member.at(110);
    member.apply(review());
    assert_eq!((member.pages_of("dns"), member.pages_of("web")), (vec![Pending], vec![Held]));
    assert_eq!(member.state.review_at(), None, "from now on it is the parent that holds it");
}

#[test]
fn a_child_whose_parent_is_well_goes_out_after_its_wait() {
    let mut member = with_parent();
    member.at(100);
    member.act("web", Open);
    member.at(110);
    member.apply(review());
    assert_eq!((member.pages_of("web"), member.state.review_at()), (vec![Pending], None));
}

#[test]
fn an_outage_that_ends_while_it_waits_for_its_parents_is_told_all_the_same() {
    let mut member = with_parent();
    member.at(100);
    member.act("web", Open);
    member.at(103);
    member.act("web", Resolve);
    assert_eq!(member.pages_of("web"), [Pending, Pending], "both in one message");
    assert_eq!(member.state.review_at(), None);
    // Not when it was the parent's.
    let mut member = with_parent();
    member.at(100);
    member.act("web", Open);
    member.act("dns", Open);
    member.at(103);
    member.act("web", Resolve);
    assert_eq!(member.pages_of("web"), [Dropped]);
}

#[test]
fn a_child_that_recovers_with_its_parent_is_told_to_nobody() {
    let mut member = with_parent();
    member.act("dns", Open);
    member.act("web", Open);
    member.act("dns", Resolve);
    member.act("web", Resolve);
    assert_eq!((member.pages_of("web"), member.state.review_at()), (vec![Dropped], None));
}

#[test]
fn a_parent_that_is_down_again_holds_its_child_on() {
    let mut member = with_parent();
    member.at(100);
    member.act("dns", Open);
    member.act("web", Open);
    member.act("dns", Resolve);
    member.act("dns", Open);
    member.at(200);
    member.apply(review());
    assert_eq!((member.pages_of("web"), member.state.review_at()), (vec![Held], None));
}

#[test]
fn a_parent_that_ends_again_gives_its_child_the_grace_again() {
    let mut member = with_parent();
    member.at(100);
    member.act("dns", Open);
    member.act("web", Open);
    member.at(200);
    member.act("dns", Resolve);
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(231_000_000_000)));
    member.at(210);
    member.act("dns", Open);
    member.at(225);
    member.act("dns", Resolve);
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(256_000_000_000)));
    member.reopen();
    member.at(256);
    member.apply(review());
    assert_eq!(member.pages_of("web"), [Pending]);
}

#[test]
fn a_child_waits_for_the_last_of_its_parents() {
    let mut member = configured();
    let parent = |uid, name| v1::Check { meta: meta(uid, name), ..check(name, 1) };
    let etag = member.etag(Kind::Check, "web");
    let both = vec!["dns".into(), "net".into()];
    let child = v1::Check { depends_on: both, ..check("web", 1) };
    let answer = member.commit(vec![
        put(0, wanted(parent(8, "dns"))),
        put(0, wanted(parent(9, "net"))),
        put(etag, wanted(child)),
    ]);
    assert_eq!(rule(&answer), "accepted");
    for name in ["dns", "net", "web"] {
        member.act(name, Open);
    }
    member.at(200);
    member.act("dns", Resolve);
    assert_eq!(member.state.review_at(), None, "the other one is down");
    member.at(300);
    member.act("net", Resolve);
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(331_000_000_000)));
    member.reopen();
}

#[test]
fn an_end_writes_a_bounded_number_of_children_in_one_entry_and_the_rest_in_the_next() {
    let mut member = with_parent();
    member.at(100);
    member.act("dns", Open);
    member.act("web", Open);
    let child = member.state.incidents.values().find(|it| it.check_name == "web").unwrap();
    let child = child.as_ref().clone();
    let many = HELD_REVIEWED_MAX * 2 + 9;
    for n in 1..many {
        let uid = format!("child-{n:04}");
        let key = Bytes::from(rows::incident_key(&uid));
        let incident = v1::Incident { uid, ..child.clone() };
        member.stored.insert(key, incident.encode_to_vec().into());
        member.state.insert_incident(Arc::new(incident));
    }
    // Those that have their grace, and those that still say that their parent is down.
    let stand = |member: &Member| {
        let ended = member.state.incidents.values().filter_map(|it| match &it.held.as_ref()?.by {
            Some(v1::held::By::Parent(by)) => Some(by.ended),
            _ => None,
        });
        let (graced, waiting): (Vec<bool>, Vec<bool>) = ended.partition(|ended| *ended);
        (graced.len(), waiting.len())
    };
    assert_eq!(stand(&member), (0, many));
    member.at(200);
    member.act("dns", Resolve);
    assert_eq!(stand(&member), (HELD_REVIEWED_MAX, many - HELD_REVIEWED_MAX));
    assert_eq!(member.state.review_at(), Some(member.state.last_utc()), "it goes on at once");
    member.apply(review());
    assert_eq!(stand(&member), (2 * HELD_REVIEWED_MAX, 9));
    member.apply(review());
    assert_eq!(stand(&member), (many, 0));
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(231_000_000_000)));
}

#[test]
fn a_child_that_was_down_first_was_told_and_hears_its_end() {
    let mut member = with_parent();
    member.at(100);
    member.act("web", Open);
    member.at(110);
    member.apply(review());
    member.act("dns", Open);
    let key = member.state.pending.keys().find(|key| key.starts_with("incident-")).cloned();
    assert_eq!(member.pages_of("web"), [Pending]);
    let child = member.state.incidents.values().find(|it| it.check_name == "web").unwrap();
    let key = key
        .filter(|key| key.starts_with(&child.uid))
        .unwrap_or_else(|| child.deliveries[0].idempotency_key.clone());
    member.sent(&key);
    member.act("web", Resolve);
    assert_eq!(member.pages_of("web"), [Sent, Pending]);
}

#[test]
fn an_edit_that_takes_the_parent_away_lets_the_child_go_at_the_next_look() {
    let mut member = with_parent();
    member.act("dns", Open);
    member.act("web", Open);
    let etag = member.etag(Kind::Check, "web");
    member.commit(vec![put(etag, wanted(check("web", 1)))]);
    assert_eq!(member.pages_of("web"), [Held]);
    assert_eq!(member.state.review_at(), Some(member.state.last_utc()));
    member.apply(review());
    assert_eq!(member.pages_of("web"), [Pending]);
    member.reopen();
}

#[test]
fn what_ends_while_it_waits_for_its_parents_is_told_to_nobody_when_it_is_silenced() {
    // From which second on it is silenced and for how long, and what becomes of its pages at 103.
    let table: [(i64, i64, &[v1::DeliveryState]); 4] = [
        (102, 600, &[Dropped]),
        (99, 6, &[Dropped]),
        (99, 600, &[Dropped]),
        (99, 3, &[Pending, Pending]),
    ];
    for (from, seconds, expected) in table {
        let mut member = with_parent();
        if from < 100 {
            member.at(from);
            member.silence("s1", seconds);
        }
        member.at(100);
        member.act("web", Open);
        if from > 100 {
            member.at(from);
            member.silence("s1", seconds);
        }
        member.at(103);
        member.act("web", Resolve);
        assert_eq!(member.pages_of("web"), expected, "from {from} for {seconds}");
    }
}

#[test]
fn a_parent_that_is_down_and_well_again_within_the_wait_gives_its_child_the_grace() {
    let mut member = with_parent();
    member.at(100);
    member.act("web", Open);
    member.at(102);
    member.act("dns", Open);
    assert_eq!(member.state.review_at(), None, "the parent holds it at once");
    member.reopen();
    member.at(105);
    member.act("dns", Resolve);
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(136_000_000_000)));
    member.at(110);
    member.apply(review());
    assert_eq!(member.pages_of("web"), [Held]);
    member.at(120);
    member.act("web", Resolve);
    assert_eq!(member.pages_of("web"), [Dropped], "it went with its parent");
}

#[test]
fn nobody_waits_for_a_parent_that_is_paused_or_a_canary() {
    let canary = v1::Canary { expect: v1::CanaryAnswer::Fail.into(), ..v1::Canary::default() };
    let paused = v1::Check { enabled: Some(false), ..check("dns", 1) };
    let mut known = check("dns", 1);
    known.alert.clear();
    known.canary = Some(canary);
    for parent in [paused, known] {
        let mut member = with_parent();
        let etag = member.etag(Kind::Check, "dns");
        let parent = v1::Check { meta: meta(8, "dns"), ..parent };
        assert_eq!(rule(&member.commit(vec![put(etag, wanted(parent))])), "accepted");
        member.at(100);
        member.act("web", Open);
        assert_eq!(member.pages_of("web"), [Pending]);
    }
}

#[test]
fn a_child_waits_for_the_runs_that_confirm_its_parent_as_well() {
    let mut member = with_parent();
    let etag = member.etag(Kind::Check, "dns");
    let mut parent = v1::Check { meta: meta(8, "dns"), ..check("dns", 1) };
    parent.down.get_or_insert_default().failures = 3;
    parent.interval = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    parent.confirm_spacing = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    assert_eq!(rule(&member.commit(vec![put(etag, wanted(parent))])), "accepted");
    member.at(100);
    member.act("web", Open);
    // An interval of 2 s, two runs of 1 s, two spacings of 1 s, and 1 s.
    assert_eq!(member.state.review_at(), Some(UtcTime::from_ns(107_000_000_000)));
}
