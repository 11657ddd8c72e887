//! Whether a history of concurrent operations could have happened one at a time.
//!
//! [`check`] is the search of Wing and Gong with Lowe's memory of what was tried. [`register`] is what
//! a key of the configuration is: a value that is read, written, and compared and set. Keys do not
//! touch one another, so each has a history of its own, which is what keeps the search short.
//! [`smallest`] makes of a history that fits no order the part of it that a person can read.
//!
//! A crate of its own, and it depends on nothing: the simulation checks what its clients saw with it,
//! and the stories of real processes what theirs did.

use std::collections::HashSet;
use std::hash::Hash;

pub mod register;

/// Orders tried before the search gives up: some hundred megabytes of memory of them. A history of a
/// key that needs as many is too long, and is told apart from a good one and from a bad one.
const TRIED_MAX: usize = 2_000_000;

/// A thing that operations act on, one at a time.
pub trait Model {
    /// What it holds.
    type State: Clone + Eq + Hash;
    /// An operation with what came of it, as far as anybody was told.
    type Op: Clone;

    /// What it holds first.
    fn first() -> Self::State;

    /// What it holds after `op`; none when `op` could not have come to its result here.
    fn step(state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether `op` only looks, wherever it may take place.
    fn only_looks(op: &Self::Op) -> bool;
}

/// An operation of a history.
#[derive(Debug, Clone)]
pub struct Call<O> {
    /// When it was asked for.
    pub from: u64,
    /// When its result was known; none when nobody ever was told, so that it may take effect at any
    /// time, or not at all.
    pub to: Option<u64>,
    /// What, and what came of it.
    pub op: O,
}

/// What the search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// An order of the calls.
    Order,
    /// That there is none.
    NoOrder,
    /// Neither, within the orders that it may try.
    TooLong,
}

/// Which operations are placed already, one bit each.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Placed(Vec<u64>);

impl Placed {
    fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] & 1 << (at % 64) != 0
    }

    fn flip(&mut self, at: usize) {
        self.0[at / 64] ^= 1 << (at % 64);
    }
}

/// Whether the calls can be put in an order that respects their times and in which each has the
/// result it had.
pub fn check<M: Model>(calls: &[Call<M::Op>]) -> Found {
    check_within::<M>(calls, TRIED_MAX)
}

/// The same with a bound of the caller's on the orders that are tried.
fn check_within<M: Model>(calls: &[Call<M::Op>], tried_max: usize) -> Found {
    let mut calls: Vec<&Call<M::Op>> = calls.iter().collect();
    calls.sort_by_key(|call| (call.from, call.to.unwrap_or(u64::MAX)));
    let needed = calls.iter().filter(|call| call.to.is_some()).count();
    let mut placed = Placed::new(calls.len());
    let mut tried = HashSet::new();
    // The way here: which call was placed, the state before it, and where the search goes on.
    let mut path: Vec<(usize, M::State)> = Vec::new();
    let mut state = M::first();
    let (mut done, mut first, mut next) = (0, 0, 0);
    loop {
        if done == needed {
            return Found::Order;
        }
        if tried.len() >= tried_max {
            return Found::TooLong;
        }
        while first < calls.len() && placed.has(first) {
            first += 1;
        }
        // Whatever began after the earliest end of what is not placed cannot come next.
        let mut end = u64::MAX;
        let mut found = None;
        for (at, call) in calls.iter().enumerate().skip(first) {
            if call.from > end {
                break;
            }
            if placed.has(at) {
                continue;
            }
            end = end.min(call.to.unwrap_or(u64::MAX));
            if at < next {
                continue;
            }
            if let Some(after) = M::step(&state, &call.op) {
                placed.flip(at);
                if tried.insert((placed.clone(), after.clone())) {
                    found = Some((at, after));
                    break;
                }
                placed.flip(at);
            }
        }
        match found {
            Some((at, after)) => {
                path.push((at, std::mem::replace(&mut state, after)));
                done += usize::from(calls[at].to.is_some());
                next = 0;
            }
            None => {
                let Some((at, before)) = path.pop() else { return Found::NoOrder };
                placed.flip(at);
                done -= usize::from(calls[at].to.is_some());
                state = before;
                first = 0;
                next = at + 1;
            }
        }
    }
}

/// Of calls that fit no order, few that fit none either, in the order of their beginning.
///
/// What is left out proves nothing by its absence: everything behind the moment up to which there is
/// an order, and calls that only look without which there is still none. A history with an order has
/// one at every earlier moment, and without any of its looks.
pub fn smallest<M: Model>(calls: &[Call<M::Op>]) -> Vec<Call<M::Op>> {
    let mut moments: Vec<u64> =
        calls.iter().flat_map(|call| [Some(call.from), call.to]).flatten().collect();
    moments.sort_unstable();
    moments.dedup();
    let is_good = |moment: &u64| check::<M>(&until::<M>(calls, *moment)) == Found::Order;
    let early = moments.partition_point(is_good);
    let Some(moment) = moments.get(early) else { return calls.to_vec() };
    let mut left = until::<M>(calls, *moment);
    left.sort_by_key(|call| call.from);
    for at in (0..left.len()).rev() {
        if M::only_looks(&left[at].op) {
            let call = left.remove(at);
            if check::<M>(&left) != Found::NoOrder {
                left.insert(at, call);
            }
        }
    }
    left
}

/// What was known of the calls at a moment: those that began later are not there, and of those that
/// ended later nobody was told.
fn until<M: Model>(calls: &[Call<M::Op>], moment: u64) -> Vec<Call<M::Op>> {
    let begun = calls.iter().filter(|call| call.from <= moment).cloned();
    begun
        .map(|call| Call { to: call.to.filter(|to| *to <= moment), ..call })
        // Whoever has not been told what he sees has seen nothing.
        .filter(|call| call.to.is_some() || !M::only_looks(&call.op))
        .collect()
}
