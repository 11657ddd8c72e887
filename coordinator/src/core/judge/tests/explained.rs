//! What is told of a decision is in its record: ballots that are gone, or say something else by now, change
//! no word of it.

use std::collections::BTreeSet;

use prost_types::Timestamp;

use super::*;
use crate::core::explain;
use crate::core::stamp;

impl World {
    /// What `check explain` and `incident get` say of the decision.
    fn explained(&self) -> (Vec<String>, Vec<String>) {
        let incident = self.state.incidents.values().next().expect("an incident");
        (explain::verdict(&self.state.verdicts[&CHECK]), explain::incident(incident))
    }

    fn states(&self) -> Vec<v1::BallotState> {
        let judge = self.judges[0].as_ref().unwrap();
        judge.live_ballots(CHECK, self.now).iter().map(v1::Ballot::state).collect()
    }
}

fn down() -> World {
    let mut world = World::up(1, [&[0], &[0], &[0]]);
    world.run(2, Outcome::Pass);
    twice(&mut world, &[0, 1], Outcome::Fail);
    assert_eq!(world.take(), "degraded down!");
    world
}

#[test]
fn ballots_that_are_deleted_or_say_something_else_by_now_change_no_word_of_an_explanation() {
    let mut world = down();
    let told = world.explained();
    assert!(told.0[0].contains("2 of 3 regions fail"), "{told:?}");
    // They say something else: one more region has begun to fail, and nothing was decided by that.
    world.run(2, Outcome::Fail);
    world.run(2, Outcome::Fail);
    assert_eq!(world.states(), [v1::BallotState::Fail; REGIONS]);
    assert_eq!(world.explained(), told);
    // They are deleted: a process without them has nothing but what is stored.
    let mut rows = Vec::new();
    world.state.each_row(&mut |row| rows.push(row));
    world.state = State::from_rows(rows, world.index).unwrap();
    world.judges[0] = Some(Judge::new(world.now));
    let state = world.state.clone();
    world.feed(0, Input::Loaded(&state));
    assert_eq!(world.states(), [v1::BallotState::None; REGIONS]);
    assert_eq!(world.explained(), told);
    // Time passes, and nobody is heard.
    world.now = world.now + Duration::from_secs(86_400);
    assert_eq!(world.explained(), told);
}

/// The numbers of a text, in words of digits.
fn numbers(text: &str) -> BTreeSet<u64> {
    text.split(|sign: char| !sign.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// Every number that a record holds, in the forms in which a text may name it.
fn recorded(record: &v1::DecisionRecord, since: Option<&Timestamp>) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    let rule = record.rule.unwrap();
    let v1::DecisionRecord { failing, passing, fresh, excluded, .. } = record;
    let counts = [*failing, *passing, *fresh, *excluded, rule.regions, rule.down_at, rule.up_at];
    numbers.extend(counts.map(u64::from));
    let mut times: Vec<&Timestamp> = since.into_iter().chain(&record.decided_at).collect();
    let mut lengths = Vec::new();
    for ballot in &record.ballots {
        times.extend(ballot.since.iter().chain(&ballot.last_run_at));
        lengths.extend(ballot.last_total.iter().chain(&ballot.age));
        numbers.extend(self::numbers(&ballot.evidence));
        numbers.extend(self::numbers(&ballot.region));
    }
    for time in times {
        let at = jiff::Timestamp::from_nanosecond(i128::from(stamp::utc(Some(time)).as_ns()));
        numbers.extend(self::numbers(&at.unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string()));
    }
    for length in lengths {
        let ms = stamp::length(length).as_millis() as u64;
        numbers.extend([ms, ms / 1_000]);
    }
    numbers
}

#[test]
fn every_number_of_an_explanation_is_in_the_record() {
    let world = down();
    let verdict = &world.state.verdicts[&CHECK];
    let record = verdict.record.as_ref().unwrap();
    let known = recorded(record, verdict.since.as_ref());
    let (check, incident) = world.explained();
    for sentence in check.iter().chain(&incident) {
        let said = numbers(sentence);
        assert!(said.is_subset(&known), "{sentence}: {said:?} of {known:?}");
    }
    assert!(numbers(&check.join(" ")).len() > 6, "there are some: {check:?}");
}

#[test]
fn another_number_in_the_record_is_another_one_in_the_text() {
    let world = down();
    let before = explain::verdict(&world.state.verdicts[&CHECK]).join(" ");
    type Change = fn(&mut v1::DecisionRecord);
    #[rustfmt::skip]
    let rows: [(Change, &str); 6] = [
        (|record| record.failing = 71,                                   "71 of 3 regions fail"),
        (|record| record.rule.as_mut().unwrap().regions = 72,            "2 of 72 regions fail"),
        (|record| record.rule.as_mut().unwrap().down_at = 73,            "(73 are needed)"),
        (|record| record.rule.as_mut().unwrap().up_at = 74,              "when 74 regions pass"),
        (|record| record.rule.as_mut().unwrap().successes = 75,          "75 times in a row"),
        (|record| {
            record.ballots[2].last_total = Some(prost_types::Duration { seconds: 0, nanos: 76_000_000 });
        },                                                               "r2 passes (76 ms)"),
    ];
    for (change, wanted) in rows {
        let mut verdict = world.state.verdicts[&CHECK].as_ref().clone();
        change(verdict.record.as_mut().unwrap());
        let said = explain::verdict(&verdict).join(" ");
        assert!(said.contains(wanted), "{said}: no {wanted}");
        assert!(!before.contains(wanted), "{before}");
    }
}
