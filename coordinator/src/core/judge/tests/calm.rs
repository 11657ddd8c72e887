//! Incidents that stay open although enough regions pass.

use super::*;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

impl World {
    /// Every region sees the same, often enough to say so.
    fn all(&mut self, outcome: Outcome) {
        for rank in 0..REGIONS {
            self.run(rank, outcome);
            self.run(rank, outcome);
        }
    }

    /// Openings, `!`, and ends, `.`, since this was last asked.
    fn moves(&mut self) -> String {
        self.take().chars().filter(|sign| "!.".contains(*sign)).collect()
    }

    /// How long ago the last verdict was committed, in seconds.
    fn ago(&self) -> u64 {
        self.now.since(self.committed_at).as_secs()
    }
}

#[test]
fn an_incident_stays_open_for_its_least_time_and_ends_with_it() {
    let mut world = World::up(1, [&[0]; REGIONS]);
    world.edit(|check| check.min_open = seconds(60));
    world.all(Outcome::Fail);
    assert_eq!(world.moves(), "!");
    let opened = world.now;
    world.advance(5_000);
    world.all(Outcome::Pass);
    world.advance(54_000);
    assert_eq!(world.moves(), "", "too early");
    world.advance(2_000);
    assert_eq!(world.moves(), ".");
    assert_eq!(world.committed_at.since(opened).as_secs(), 60);
}

#[test]
fn what_fails_when_the_least_time_is_over_keeps_it_open() {
    let mut world = World::up(1, [&[0]; REGIONS]);
    world.edit(|check| check.min_open = seconds(60));
    world.all(Outcome::Fail);
    world.advance(5_000);
    world.all(Outcome::Pass);
    world.advance(50_000);
    world.all(Outcome::Fail);
    world.advance(10_000);
    assert_eq!(world.moves(), "!");
    world.all(Outcome::Pass);
    assert_eq!(world.moves(), ".", "and then nothing is waited for");
}

#[test]
fn an_edit_of_the_least_time_is_for_the_next_incident() {
    let mut world = World::up(1, [&[0]; REGIONS]);
    world.edit(|check| check.min_open = seconds(60));
    world.all(Outcome::Fail);
    world.edit(|_| {});
    assert!(world.state.checks[&CHECK].wire.min_open.is_none());
    world.all(Outcome::Pass);
    world.advance(59_000);
    assert_eq!(world.moves(), "!");
    world.advance(2_000);
    assert_eq!(world.moves(), ".");
    world.all(Outcome::Fail);
    world.all(Outcome::Pass);
    assert_eq!(world.moves(), "!.");
}

#[test]
fn a_check_that_flaps_is_down_until_it_has_passed_without_a_break() {
    let mut world = World::up(2, [&[0, 1]; REGIONS]);
    let (within, calm) = (seconds(3_600), seconds(20));
    world.edit(|check| check.flap = Some(v1::Flap { opens: 2, within, calm }));
    world.all(Outcome::Fail);
    world.all(Outcome::Pass);
    assert_eq!(world.moves(), "!.", "the first is one as any other");
    world.all(Outcome::Fail);
    world.all(Outcome::Pass);
    world.advance(15_000);
    // A break in which too few pass.
    world.all(Outcome::Fail);
    world.all(Outcome::Pass);
    world.advance(15_000);
    assert_eq!(world.moves(), "!");
    // Another leader has not seen for how long.
    world.kill(0);
    world.lead(1);
    world.advance(19_000);
    assert_eq!((world.moves().as_str(), world.ago()), ("", 49));
    world.advance(12_000);
    assert_eq!(world.moves(), ".");
    // It has calmed down: it is counted anew.
    world.all(Outcome::Fail);
    world.all(Outcome::Pass);
    assert_eq!(world.moves(), "!.");
}
