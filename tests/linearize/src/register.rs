//! A key of the configuration as a client sees it: absent, or one of the values that were written.
//! Every written value is another one.

use super::Model;

/// What the key holds; none when there is no such resource.
pub type Value = Option<u64>;

/// An operation on one key, with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The value was looked at and this was seen.
    Read(Value),
    /// The value was replaced, whatever it was.
    Write(Value),
    /// The value was replaced if it was the first of these, and it was.
    Swap(Value, Value),
    /// The value was to be replaced if it was this, and it was not.
    Unequal(Value),
}

/// The model.
pub struct Register;

impl Model for Register {
    type State = Value;
    type Op = Op;

    fn first() -> Value {
        None
    }

    fn step(state: &Value, op: &Op) -> Option<Value> {
        match op {
            Op::Read(seen) => (seen == state).then_some(*state),
            Op::Write(value) => Some(*value),
            Op::Swap(expected, value) => (expected == state).then_some(*value),
            Op::Unequal(expected) => (expected != state).then_some(*state),
        }
    }

    fn only_looks(op: &Op) -> bool {
        matches!(op, Op::Read(_) | Op::Unequal(_))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::super::{Call, Found, check, check_within, smallest};
    use super::*;

    /// `from to what`, a line a call; `-` for a result that nobody was told.
    fn history(table: &str) -> Vec<Call<Op>> {
        let value = |word: &str| match word {
            "none" => None,
            word => Some(word.parse().unwrap()),
        };
        let call = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let op = match words[2..] {
                ["read", seen] => Op::Read(value(seen)),
                ["write", new] => Op::Write(value(new)),
                ["swap", old, new] => Op::Swap(value(old), value(new)),
                ["unequal", old] => Op::Unequal(value(old)),
                _ => panic!("{line}"),
            };
            Call { from: words[0].parse().unwrap(), to: words[1].parse().ok(), op }
        };
        table.lines().map(str::trim).filter(|line| !line.is_empty()).map(call).collect()
    }

    #[test]
    fn good_histories_are_found_good() {
        for (name, table) in [
            ("nothing", ""),
            ("one after the other", "1 2 write 1\n 3 4 read 1\n 5 6 swap 1 2\n 7 8 read 2"),
            ("a read beside a write may see either", "1 9 write 1\n 2 3 read none\n 4 5 read 1"),
            ("two writes beside one another", "1 9 write 1\n 1 9 write 2\n 10 11 read 1"),
            ("a lost answer that took effect", "1 - write 1\n 5 6 read none\n 7 8 read 1"),
            ("a lost answer that never did", "1 - write 1\n 5 6 read none"),
            ("it comes late, after others", "1 - write 1\n 2 3 write 2\n 4 5 read 2\n 6 7 read 1"),
            ("refused for the other", "1 5 swap none 1\n 1 5 unequal none\n 6 7 read 1"),
            ("deleted and written again", "1 2 write 1\n 3 4 swap 1 none\n 5 6 swap none 2"),
            (
                "the one order among many",
                "1 20 write 1\n 1 20 write 2\n 1 20 write 3\n 1 20 swap 3 4\n 1 20 swap 1 5\n
                 21 22 read 5",
            ),
        ] {
            assert_eq!(check::<Register>(&history(table)), Found::Order, "{name}");
        }
    }

    #[test]
    fn bad_histories_are_found_bad() {
        for (name, table) in [
            ("never written", "1 2 read 1"),
            ("lost", "1 2 write 1\n 3 4 read none"),
            ("stale", "1 2 write 1\n 3 4 write 2\n 5 6 read 1"),
            ("backwards", "1 9 write 1\n 2 3 read 1\n 4 5 read none"),
            ("both of two swaps", "1 5 swap none 1\n 1 5 swap none 2"),
            ("refused though equal", "1 2 write 1\n 3 4 unequal 1\n 5 6 read 1"),
            ("swapped what was not there", "1 2 write 1\n 3 4 write 2\n 5 6 swap 1 3"),
            ("done twice", "1 2 write 1\n 3 4 write 2\n 5 6 read 2\n 7 8 read 1"),
            ("a lost answer before it was asked", "1 2 read 1\n 3 - write 1"),
            ("seen, then unseen", "1 - write 1\n 2 3 read 1\n 4 5 read none"),
        ] {
            assert_eq!(check::<Register>(&history(table)), Found::NoOrder, "{name}");
        }
    }

    /// A history made by doing it one at a time, each call around its moment.
    fn real(random: &mut StdRng, calls: u64) -> Vec<Call<Op>> {
        let (mut now, mut value, mut made) = (100, None, Vec::new());
        for number in 1..=calls {
            now += 10;
            let op = match random.random_range(0..4) {
                0 => Op::Read(value),
                1 => Op::Write(Some(number)),
                2 => Op::Swap(value, Some(number)),
                _ => Op::Unequal(Some(u64::MAX)),
            };
            value = Register::step(&value, &op).unwrap();
            let unknown = !matches!(op, Op::Read(_)) && random.random_range(0..20) == 0;
            let to = (!unknown).then(|| now + random.random_range(0..40));
            made.push(Call { from: now - random.random_range(0..40), to, op });
        }
        made
    }

    #[test]
    fn histories_that_did_happen_are_good_and_one_lie_in_them_is_bad() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut calls = real(&mut random, 60);
            assert_eq!(check::<Register>(&calls), Found::Order, "seed {seed}");
            // A value that nobody ever wrote.
            let end = calls.iter().map(|call| call.from).max().unwrap();
            let from = random.random_range(0..end);
            let lie = Op::Read(Some(u64::MAX - 1));
            calls.push(Call { from, to: Some(from + 5), op: lie.clone() });
            assert_eq!(check::<Register>(&calls), Found::NoOrder, "seed {seed}");
            // What is shown of it has the lie in it, ends with it, and is as bad.
            let shown = smallest::<Register>(&calls);
            assert!(shown.iter().any(|call| call.op == lie), "seed {seed}: {shown:?}");
            assert!(shown.iter().all(|call| call.from <= from + 5), "seed {seed}: {shown:?}");
            let looks = shown.iter().filter(|call| Register::only_looks(&call.op)).count();
            assert_eq!(looks, 1, "seed {seed}: {shown:?}");
            assert_eq!(check::<Register>(&shown), Found::NoOrder, "seed {seed}");
        }
    }

    #[test]
    fn a_search_that_would_take_too_long_says_so() {
        let mut calls = real(&mut StdRng::seed_from_u64(1), 60);
        assert_eq!(check_within::<Register>(&calls, 10), Found::TooLong);
        calls.truncate(5);
        assert_eq!(check_within::<Register>(&calls, 10_000), Found::Order);
    }

    /// Every order of up to six calls, for comparison.
    fn by_hand(calls: &[Call<Op>], used: u32, state: Value) -> bool {
        let open: Vec<usize> = (0..calls.len()).filter(|at| used & 1 << at == 0).collect();
        if open.iter().all(|at| calls[*at].to.is_none()) {
            return true;
        }
        open.iter().any(|at| {
            let blocked =
                open.iter().any(|other| calls[*other].to.is_some_and(|to| to < calls[*at].from));
            !blocked
                && Register::step(&state, &calls[*at].op)
                    .is_some_and(|after| by_hand(calls, used | 1 << at, after))
        })
    }

    #[test]
    fn the_search_agrees_with_trying_every_order() {
        let (mut good, mut bad) = (0, 0);
        for seed in 0..3_000 {
            let mut random = StdRng::seed_from_u64(seed);
            let calls: Vec<Call<Op>> = (0..6)
                .map(|_| {
                    let seen = Some(random.random_range(0..3)).filter(|value| *value > 0);
                    let from = random.random_range(0..12);
                    let to =
                        (random.random_range(0..5) > 0).then(|| from + random.random_range(0..6));
                    let op = match random.random_range(0..4) {
                        0 => Op::Read(seen),
                        1 => Op::Write(seen),
                        2 => Op::Swap(seen, Some(random.random_range(1..3))),
                        _ => Op::Unequal(seen),
                    };
                    Call { from, to, op }
                })
                .collect();
            let expected = by_hand(&calls, 0, None);
            let found = if expected { Found::Order } else { Found::NoOrder };
            assert_eq!(check::<Register>(&calls), found, "seed {seed}: {calls:?}");
            if expected { good += 1 } else { bad += 1 }
        }
        assert!(good > 300 && bad > 300, "{good} good, {bad} bad");
    }
}
