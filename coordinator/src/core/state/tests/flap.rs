//! Least times and flapping: what an incident carries of them. An entry is a second of stamped UTC.

use parallax_proto::v1::timeline_event::Event;
use store::VerdictAction::{Open, Resolve};

use super::*;
use crate::core::explain;
use crate::core::stamp;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A member whose check flaps when it opens twice within a minute.
fn flapping() -> Member {
    let mut member = configured();
    member.edit(|check| {
        check.flap = Some(v1::Flap { opens: 2, within: seconds(60), calm: seconds(30) });
    });
    member
}

impl Member {
    fn edit(&mut self, change: impl FnOnce(&mut v1::Check)) {
        let etag = self.etag(Kind::Check, "web");
        let mut edited = check("web", 1);
        change(&mut edited);
        let answer = self.commit(vec![put(etag, wanted(edited))]);
        assert_eq!(rule(&answer), "accepted");
    }

    fn open_and_end(&mut self, by: store::VerdictAction) {
        let change = self.change(Open);
        self.verdict(change);
        let change = self.change(by);
        self.verdict(change);
    }

    /// Whether each incident flapped, the oldest first.
    fn flapped(&self) -> Vec<bool> {
        let mut all: Vec<_> = self.state.incidents.values().collect();
        all.sort_by_key(|incident| incident.opened_revision);
        all.iter().map(|incident| incident.flapping.is_some()).collect()
    }

    fn openings(&self) -> usize {
        self.state.verdicts.values().map(|verdict| verdict.recent_openings.len()).sum()
    }
}

#[test]
fn the_incident_that_is_one_too_many_says_so_until_it_has_calmed_down() {
    let mut member = flapping();
    member.open_and_end(Resolve);
    member.reopen();
    let open = member.change(Open);
    member.verdict(open);
    assert_eq!((member.flapped(), member.openings()), (vec![false, true], 2));
    let newest = member.state.incidents.values().max_by_key(|it| it.opened_revision).unwrap();
    let told = |event: &v1::TimelineEvent| matches!(event.event, Some(Event::Flapping(_)));
    assert!(newest.timeline.iter().any(told));
    let said = explain::incident(newest).join(" ");
    let wanted = "It flaps, with 2 openings within 60 s: it stays open until they have passed for \
                  30 s without a break.";
    assert!(said.contains(wanted), "{said}");
    assert_eq!(newest.deliveries.len(), 1, "one page");
    member.reopen();
    let resolve = member.change(Resolve);
    member.verdict(resolve);
    assert_eq!(member.openings(), 0);
    member.open_and_end(Resolve);
    assert_eq!(member.flapped(), [false, true, false]);
    member.reopen();
}

#[test]
fn openings_that_lie_apart_or_are_not_asked_about_make_nothing_flap() {
    let mut member = flapping();
    member.open_and_end(Resolve);
    member.index += 60;
    member.open_and_end(Resolve);
    assert_eq!((member.flapped(), member.openings()), (vec![false, false], 1));
    // Without `flap` they are forgotten.
    member.edit(|_| {});
    member.open_and_end(Resolve);
    assert_eq!((member.flapped(), member.openings()), (vec![false; 3], 0));
}

#[test]
fn an_end_by_hand_is_no_calm() {
    let mut member = flapping();
    member.open_and_end(Resolve);
    for _ in 0..2 {
        let open = member.change(Open);
        member.verdict(open);
        let uid = member.state.open.get_min().cloned().unwrap();
        let command = store::ResolveIncident { uid, ..Default::default() };
        member.apply(Command::ResolveIncident(command));
    }
    assert_eq!(member.flapped(), [false, true, true]);
    assert_eq!(member.openings(), 2, "never more than make it flap");
}

#[test]
fn the_least_time_of_the_check_goes_with_the_incident() {
    let mut member = configured();
    member.edit(|check| check.min_open = seconds(300));
    let open = member.change(Open);
    member.verdict(open);
    member.edit(|_| {});
    let incident = member.only_incident();
    assert_eq!(incident.min_open, seconds(300));
    let until = stamp::utc(incident.opened_at.as_ref()) + std::time::Duration::from_secs(300);
    let second = until.as_ns() / 1_000_000_000;
    let wanted =
        format!("It stays open until 00:{:02}:{:02} UTC at least.", second / 60, second % 60);
    let said = explain::incident(incident).join(" ");
    assert!(said.contains(&wanted), "{said}");
    assert!(explain::keeps_open(incident).join(" ").contains("at least"));
    let resolve = member.change(Resolve);
    member.verdict(resolve);
    assert!(!explain::incident(member.only_incident()).join(" ").contains("at least"));
}
