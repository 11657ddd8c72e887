//! A decision follows from the ballots that were written down with it: no stale or excluded one
//! counts, an incident opens with as many failing regions as the rule asks for, and ends with as many
//! passing ones.

use parallax_proto::store::VerdictAction;
use parallax_proto::v1::{Ballot, BallotState, DecisionRecord};

use super::Invariant;
use super::quorum::{down_at, up_at};
use crate::seen::Seen;

/// Needs no memory.
#[derive(Default)]
pub struct Records;

fn follows(record: &DecisionRecord, action: VerdictAction) -> Result<(), String> {
    let count = |states: &[BallotState]| {
        let counts = |ballot: &&Ballot| {
            !ballot.stale && !ballot.excluded && states.contains(&ballot.state())
        };
        record.ballots.iter().filter(counts).count()
    };
    let failing = count(&[BallotState::Fail]);
    let passing = count(&[BallotState::Pass, BallotState::Warn]);
    let said = (record.failing as usize, record.passing as usize, record.fresh as usize);
    if said != (failing, passing, failing + passing) {
        return Err(format!(
            "(failing, passing, fresh) is {said:?} by its numbers, and by its ballots {failing} fail \
             and {passing} pass"
        ));
    }
    let regions = record.ballots.len();
    match action {
        VerdictAction::Open if failing < down_at(regions) => {
            Err(format!("an incident opens by {failing} of {regions} regions"))
        }
        VerdictAction::Resolve if passing < up_at(regions) => {
            Err(format!("an incident ends by {passing} of {regions} regions"))
        }
        _ => Ok(()),
    }
}

impl Invariant for Records {
    fn name(&self) -> &'static str {
        "a decision follows from its record"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Decided { index, changes, .. } = seen else { return Ok(()) };
        changes.iter().try_for_each(|change| {
            let told = follows(&change.record, change.action);
            told.map_err(|what| format!("entry {index} about {}: {what}", change.check))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// p pass, f fail, s a stale failure, x an excluded one, - nothing.
    fn record(ballots: &str, failing: u32, passing: u32) -> DecisionRecord {
        let ballot = |letter| {
            let state = match letter {
                'p' => BallotState::Pass,
                '-' => BallotState::None,
                _ => BallotState::Fail,
            };
            let (stale, excluded) = (letter == 's', letter == 'x');
            Ballot { state: state.into(), stale, excluded, ..Ballot::default() }
        };
        DecisionRecord {
            ballots: ballots.chars().map(ballot).collect(),
            failing,
            passing,
            fresh: failing + passing,
            ..DecisionRecord::default()
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_ballots_and_enough_for_what_is_done() {
        use VerdictAction::{Open, Resolve, Set};
        for (ballots, failing, passing, action, good) in [
            ("ffp", 2, 1, Open, true),
            ("fsp", 1, 1, Set, true),
            ("fsp", 2, 1, Set, false),
            ("fxp", 2, 1, Set, false),
            ("f-p", 1, 1, Set, true),
            ("fpp", 1, 2, Open, false),
            ("fpp", 1, 2, Resolve, true),
            ("fsp", 1, 1, Resolve, false),
        ] {
            let told = follows(&record(ballots, failing, passing), action);
            assert_eq!(told.is_ok(), good, "{ballots} {action:?}: {told:?}");
        }
    }
}
