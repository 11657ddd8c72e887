//! A check is at its second failure of three: what else is edited, restarted or elected does not matter.

use super::*;

/// With `failures: 3`, every region heard by these members, and up.
fn of_three(members: usize, heard_by: &[usize]) -> World {
    let mut world = World::new(members);
    for rank in 0..REGIONS {
        world.voices[rank].probe = rig::Probe::new(rig::voter(rank, 1), 3);
        for &member in heard_by {
            world.connect(rank, member);
        }
    }
    world.edit(three_failures);
    world.advance(11_000);
    for rank in 0..REGIONS {
        world.run(rank, Outcome::Pass);
        world.run(rank, Outcome::Pass);
    }
    assert_eq!(world.take(), "up");
    for rank in 0..REGIONS {
        world.run(rank, Outcome::Fail);
        world.advance(300);
        world.run(rank, Outcome::Fail);
    }
    assert_eq!(world.take(), "", "two of three");
    assert_eq!(in_a_row(&world, 0), [2; REGIONS]);
    world
}

fn three_failures(check: &mut v1::Check) {
    check.down.get_or_insert_default().failures = 3;
}

/// What a member's ballots say of the newest outcomes.
fn in_a_row(world: &World, member: usize) -> [u32; REGIONS] {
    let judge = world.judges[member].as_ref().unwrap();
    let ballots = judge.live_ballots(CHECK, world.now);
    std::array::from_fn(|rank| ballots[rank].in_a_row)
}

/// The third failure, in one region after the other: it is down with the second region's.
fn is_down_with_the_next_failure_of_two_regions(world: &mut World) {
    world.run(0, Outcome::Fail);
    assert_eq!(world.take(), "degraded");
    world.run(1, Outcome::Fail);
    assert_eq!(world.take(), "down!");
}

#[test]
fn an_edit_of_something_else_keeps_the_count() {
    let mut world = of_three(1, &[0]);
    // Of this check, whatever is not what a run does or what counts; and of another resource.
    world.edit(|check| {
        three_failures(check);
        check.title = "The shop's checkout".into();
        check.runbook = "https://wiki.example/checkout".into();
        check.meta.get_or_insert_default().labels.insert("team".into(), "payments".into());
    });
    world.configure(vec![region(7)]);
    assert_eq!(in_a_row(&world, 0), [2; REGIONS]);
    is_down_with_the_next_failure_of_two_regions(&mut world);
}

#[test]
fn an_edit_of_the_interval_or_of_the_regions_keeps_the_count_of_those_that_stay() {
    let mut world = of_three(1, &[0]);
    world.edit(|check| {
        three_failures(check);
        check.interval = Some(prost_types::Duration { seconds: 2, nanos: 0 });
        check.regions.swap(0, 2);
    });
    assert_eq!(in_a_row(&world, 0), [2; REGIONS]);
    is_down_with_the_next_failure_of_two_regions(&mut world);
}

#[test]
fn an_edit_of_the_run_does_not_keep_the_count() {
    let mut world = of_three(1, &[0]);
    world.edit(|check| {
        three_failures(check);
        check.run.get_or_insert_default().timeout =
            Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 });
        // The proposer's part: the digest is that of the run.
        *check = convert::check::normalise_check(check.clone());
    });
    for rank in 0..REGIONS {
        world.run(rank, Outcome::Fail);
    }
    assert_eq!(in_a_row(&world, 0), [1; REGIONS], "a vote is for one version of the check");
    assert!(world.open_incidents() == 0);
}

#[test]
fn a_restart_of_the_coordinator_keeps_the_count() {
    let mut world = of_three(1, &[0]);
    world.kill(0);
    // Another process, with the state of the disk: all that it knows of ballots is what snapshots say.
    world.judges[0] = Some(Judge::new(world.now));
    let state = world.state.clone();
    world.feed(0, Input::Loaded(&state));
    world.lead(0);
    assert_eq!(in_a_row(&world, 0), [0; REGIONS]);
    for rank in 0..REGIONS {
        world.connect(rank, 0);
    }
    assert_eq!(in_a_row(&world, 0), [2; REGIONS]);
    is_down_with_the_next_failure_of_two_regions(&mut world);
}

#[test]
fn a_failover_keeps_the_count_whether_the_next_leader_heard_the_failures_or_not() {
    for heard_by in [&[0, 1][..], &[0]] {
        let mut world = of_three(2, heard_by);
        world.kill(0);
        world.advance(1_000);
        world.lead(1);
        for rank in 0..REGIONS {
            if !heard_by.contains(&1) {
                world.connect(rank, 1);
            }
        }
        assert_eq!(in_a_row(&world, 1), [2; REGIONS], "{heard_by:?}");
        is_down_with_the_next_failure_of_two_regions(&mut world);
    }
}

impl World {
    fn open_incidents(&self) -> usize {
        self.state.open.len()
    }
}
