//! Maintenance windows: what becomes of them in apply. An entry is a second of stamped UTC.

use parallax_common::limits::{
    MAINTENANCE_HANDOVER, MAINTENANCE_PER_NAMESPACE_MAX, SILENCES_PER_NAMESPACE_MAX,
};
use parallax_common::time::UtcTime;
use parallax_proto::v1::DeliveryState::{Held, Pending};

use super::quiet::{review, silence};
use super::*;
use crate::core::quiet::windows;

/// A window of the check `web`, each day from 00:10 to 00:20 of UTC.
pub(super) fn window(name: &str) -> v1::Maintenance {
    let matcher = v1::Matcher {
        key: "check".into(),
        operator: v1::MatchOperator::Equal.into(),
        value: "web".into(),
    };
    v1::Maintenance {
        meta: meta(5, name),
        matchers: vec![matcher],
        comment: "backup".into(),
        every: v1::Every::Daily.into(),
        at: "00:10".into(),
        length: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        zone: "UTC".into(),
        ..v1::Maintenance::default()
    }
}

pub(super) fn planned(window: v1::Maintenance) -> v1::resource::Kind {
    v1::resource::Kind::Maintenance(window)
}

impl Member {
    /// What the leader would propose now, applied.
    pub(super) fn schedule(&mut self) -> Answer {
        let now = i64::try_from(self.index + 1).unwrap() * 1_000_000_000;
        let due = windows::due(&self.state, UtcTime::from_ns(now));
        self.apply(Command::ScheduleMaintenance(store::ScheduleMaintenance { due }))
    }

    pub(super) fn plan(&mut self, window: v1::Maintenance) {
        let name = window.meta.as_ref().unwrap().name.clone();
        let etag = self.etag(Kind::Maintenance, &name);
        let answer = self.commit(vec![put(etag, planned(window))]);
        assert_eq!(rule(&answer), "accepted", "{answer:?}");
    }

    pub(super) fn unplan(&mut self, name: &str) {
        let etag = self.etag(Kind::Maintenance, name);
        let answer = self.commit(vec![delete(etag, "maintenance", name, false)]);
        assert_eq!(rule(&answer), "accepted", "{answer:?}");
    }

    /// Starts and ends of the silences that there are, in seconds, and whether a window made them.
    fn spans(&self) -> Vec<(i64, i64)> {
        let second = |at: UtcTime| at.as_ns() / 1_000_000_000;
        let silences = self.state.silences.values();
        silences.map(|silence| (second(silence.starts()), second(silence.ends()))).collect()
    }

    fn page(&self) -> v1::DeliveryState {
        self.only_incident().deliveries[0].state()
    }
}

#[test]
fn times_of_a_window_become_silences_once_and_a_day_ahead() {
    let mut member = configured();
    member.plan(window("backup"));
    member.reopen();
    assert_eq!(rule(&member.schedule()), "accepted");
    assert_eq!(member.spans(), [(600, 1_200)]);
    let silence = member.state.silences.values().next().unwrap().wire.clone();
    assert_eq!((silence.window.as_str(), silence.comment.as_str()), ("backup", "backup"));
    assert_eq!(silence.created_by, "maintenance window backup");
    assert!(member.changed.contains(&Changed::Silence(silence.uid.clone())));
    member.reopen();
    // The next time is more than a day away.
    assert!(windows::due(&member.state, member.state.last_utc()).is_empty());
    // What two leaders propose is made once.
    let due = store::MaintenanceDue {
        namespace: "default".into(),
        name: "backup".into(),
        etag: member.etag(Kind::Maintenance, "backup"),
        silence_uid: silence.uid,
        starts_utc_ns: 600_000_000_000,
        ends_utc_ns: 1_200_000_000_000,
    };
    let again = |due: store::MaintenanceDue| {
        Command::ScheduleMaintenance(store::ScheduleMaintenance { due: vec![due] })
    };
    let before = member.state.maintenance.clone();
    member.apply(again(due.clone()));
    member.apply(again(store::MaintenanceDue { silence_uid: "other".into(), ..due.clone() }));
    assert_eq!((member.state.silences.len(), member.state.maintenance == before), (1, true));
    // What was found for another version of it is not made.
    let later = store::MaintenanceDue {
        starts_utc_ns: due.starts_utc_ns + 1,
        etag: due.etag + 1,
        silence_uid: "other".into(),
        ..due
    };
    member.apply(again(later));
    assert_eq!(member.state.silences.len(), 1);
    member.index = 700;
    member.schedule();
    assert_eq!(member.spans(), [(600, 1_200), (87_000, 87_600)]);
}

#[test]
fn an_opening_within_a_window_waits_until_its_end() {
    let mut member = configured();
    member.plan(window("backup"));
    member.schedule();
    member.index = 650;
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open);
    assert_eq!(member.page(), Held);
    let said = crate::core::explain::incident(member.only_incident()).join(" ");
    let wanted = "It is silenced until 00:20:00 UTC by maintenance window backup: backup.";
    assert!(said.contains(wanted), "{said}");
    member.index = 1_200;
    member.apply(review());
    assert_eq!(member.page(), Pending);
}

#[test]
fn a_deleted_window_lets_go_at_once_and_what_it_had_planned_ends() {
    let mut member = configured();
    member.plan(window("backup"));
    member.schedule();
    member.index = 700;
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open);
    member.schedule();
    assert_eq!((member.page(), member.state.silences.len()), (Held, 2));
    member.unplan("backup");
    assert_eq!(member.page(), Pending);
    let now = member.state.last_utc();
    assert!(member.state.silences.values().all(|silence| silence.ends() <= now));
    assert!(member.state.maintenance.is_empty());
    member.reopen();
}

#[test]
fn an_edited_window_is_quiet_on_while_its_new_times_are_written_down() {
    let mut member = configured();
    member.plan(window("backup"));
    member.schedule();
    member.index = 700;
    let open = member.change(store::VerdictAction::Open);
    member.verdict(open);
    member.schedule();
    // It ends later than before, and tomorrow's time moves.
    let longer = v1::Maintenance {
        length: Some(prost_types::Duration { seconds: 1_200, nanos: 0 }),
        ..window("backup")
    };
    member.plan(longer);
    assert_eq!(member.page(), Held);
    let edited = member.state.last_utc();
    assert_eq!(member.state.review_at(), Some(edited + MAINTENANCE_HANDOVER));
    let holds = |member: &Member| {
        let now = member.state.last_utc();
        member.state.silences.values().filter(|it| now < it.ends()).count()
    };
    assert_eq!(holds(&member), 1, "tomorrow's is over");
    member.schedule();
    member.index += 40;
    member.apply(review());
    assert_eq!(member.page(), Held);
    let until = UtcTime::from_ns(1_800_000_000_000);
    assert_eq!(member.state.review_at(), Some(until));
    member.schedule();
    assert_eq!(holds(&member), 2);
    member.reopen();
    // An edit that leads it elsewhere lets go after a moment.
    member.plan(v1::Maintenance { at: "05:00".into(), ..window("backup") });
    member.schedule();
    member.index += 40;
    member.apply(review());
    assert_eq!(member.page(), Pending);
}

#[test]
fn a_time_that_somebody_ended_early_is_not_made_again() {
    let mut member = configured();
    member.plan(window("backup"));
    member.schedule();
    member.index = 700;
    let uid = member.state.silences.keys().next().unwrap().clone();
    assert_eq!(rule(&member.apply(super::quiet::expire(&uid))), "accepted");
    member.schedule();
    member.index = 800;
    member.schedule();
    let now = member.state.last_utc();
    let holds = member.state.silences.values().filter(|it| it.starts() <= now && now < it.ends());
    assert_eq!(holds.count(), 0);
}

#[test]
fn without_room_a_time_waits_for_it() {
    let mut member = configured();
    for n in 0..SILENCES_PER_NAMESPACE_MAX {
        let answer = member.apply(Command::AddSilence(silence(&format!("s{n:03}"), 50_000)));
        assert_eq!(rule(&answer), "accepted");
    }
    member.plan(window("backup"));
    member.schedule();
    assert_eq!(member.state.silences.len(), SILENCES_PER_NAMESPACE_MAX);
    assert_eq!(windows::due(&member.state, member.state.last_utc()).len(), 1);
    member.apply(super::quiet::expire("s000"));
    member.schedule();
    assert!(member.state.silences.values().any(|it| it.wire.window == "backup"));
    assert_eq!(member.state.silences.len(), SILENCES_PER_NAMESPACE_MAX);
}

#[test]
fn there_is_a_bound_of_windows() {
    let mut member = configured();
    let named = |n: usize| v1::Maintenance {
        meta: meta(u8::try_from(n + 20).unwrap(), &format!("w{n}")),
        ..window("w")
    };
    let all = (0..MAINTENANCE_PER_NAMESPACE_MAX).map(|n| put(0, planned(named(n)))).collect();
    assert_eq!(rule(&member.commit(all)), "accepted");
    let one_more = vec![put(0, planned(named(MAINTENANCE_PER_NAMESPACE_MAX)))];
    assert_eq!(rule(&member.commit(one_more)), "maintenance_too_many");
    assert_eq!(member.state.maintenance.len(), MAINTENANCE_PER_NAMESPACE_MAX);
    // An edit of one is none more.
    member.plan(v1::Maintenance { comment: "other".into(), ..named(3) });
    member.reopen();
}
