//! M of N beside a plain reading of its rule; streaks are in the coordinator's rows.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
struct At(u64);

impl Sub<Duration> for At {
    type Output = Self;

    fn sub(self, _: Duration) -> Self {
        self
    }
}

fn terms((failures, failures_of): (u32, u32), (successes, successes_of): (u32, u32)) -> Terms {
    let interval = Duration::from_secs(1);
    Terms { failures, successes, failures_of, successes_of, interval }
}

fn outcome(letter: char) -> Outcome {
    match letter {
        'f' => Outcome::Fail,
        'w' => Outcome::Warn,
        'm' => Outcome::Missed,
        _ => Outcome::Pass,
    }
}

/// The state behind each run. A `-` is a run that nobody told of.
fn states(outcomes: &str, terms: &Terms) -> String {
    let mut fold = Fold::<At>::default();
    let mut number = 0;
    let mut states = String::new();
    for letter in outcomes.chars() {
        number += 1;
        if letter != '-' {
            let outcome = outcome(letter);
            let mark = Mark { number, outcome, ordered: false, ended: At(number) };
            fold.step(&mark, terms, false);
        }
        states.push(match fold.state {
            BallotState::None => '?',
            BallotState::Pass => 'p',
            BallotState::Warn => 'w',
            BallotState::Fail => 'f',
        });
    }
    states
}

#[test]
fn m_of_n_counts_among_the_newest_runs_since_the_last_change() {
    // `2 of 3`, `2 in a row`.
    let counted = |text: &str| {
        let (needed, of) = text.split_once(' ').unwrap();
        let of = of.trim_start_matches("of ");
        let of = if of == "in a row" { 0 } else { of.parse().unwrap() };
        (needed.parse().unwrap(), of)
    };
    let lines = include_str!("runs.txt").lines();
    let mut rows = 0;
    for line in lines.filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [down, up, outcomes, wanted] = columns[..] else { panic!("{line}") };
        assert_eq!(states(outcomes, &terms(counted(down), counted(up))), wanted, "{line}");
        rows += 1;
    }
    assert_eq!(rows, 11, "all of them");
}

proptest! {
    /// The rule, read literally: a list of the runs since the last change, and counts in it.
    #[test]
    fn m_of_n_is_what_its_rule_says(
        outcomes in "[ffpppwm-]{0,80}",
        failures in 1u32..6, more in 0u32..6, successes in 1u32..6, others in 0u32..6,
    ) {
        let terms = terms((failures, failures + more), (successes, successes + others));
        let (mut state, mut list) = ('?', Vec::new());
        let mut wanted = String::new();
        for letter in outcomes.chars() {
            match letter {
                '-' => list.clear(),
                'm' => {}
                other => list.push(other),
            }
            let among = |of: u32, letters: &str| {
                let newest = list.iter().rev().take(of as usize);
                newest.filter(|letter| letters.contains(**letter)).count()
            };
            if !"-m".contains(letter) {
                let down = among(terms.failures_of, "f") >= failures as usize;
                let warns = among(terms.failures_of, "w") >= failures as usize;
                let up = among(terms.successes_of, "pw") >= successes as usize;
                let well = among(terms.successes_of, "p") >= successes as usize;
                // Never both: one run cannot make a region fail and pass.
                prop_assert!(!(state == '?' && down && up));
                let next = match state {
                    'f' if up => letter,
                    '?' if down => 'f',
                    '?' if up => letter,
                    'p' | 'w' if down => 'f',
                    'p' if warns => 'w',
                    'w' if well => 'p',
                    same => same,
                };
                if next != state {
                    list.clear();
                }
                state = next;
            }
            wanted.push(state);
        }
        prop_assert_eq!(states(&outcomes, &terms), wanted);
    }

    /// N of N is N in a row.
    #[test]
    fn as_many_of_as_many_is_in_a_row(
        outcomes in "[ffppp]{0,60}", failures in 1u32..6, successes in 1u32..6,
    ) {
        let row = states(&outcomes, &terms((failures, 0), (successes, 0)));
        let same = states(&outcomes, &terms((failures, failures), (successes, successes)));
        prop_assert_eq!(row, same);
    }
}
