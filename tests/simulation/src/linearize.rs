//! Whether a history of concurrent operations could have happened one at a time.
//!
//! [`check`] is the search of Wing and Gong with Lowe's memory of what was tried. [`register`] is what
//! a key of the configuration is: a value that is read, written, and compared and set. Keys do not
//! touch one another, so each has a history of its own, which is what keeps the search short.

use std::collections::HashSet;
use std::hash::Hash;

pub mod register;

/// A thing that operations act on, one at a time.
pub trait Model {
    /// What it holds.
    type State: Clone + Eq + Hash;
    /// An operation with what came of it, as far as anybody was told.
    type Op;

    /// What it holds first.
    fn first() -> Self::State;

    /// What it holds after `op`; none when `op` could not have come to its result here.
    fn step(state: &Self::State, op: &Self::Op) -> Option<Self::State>;
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
pub fn check<M: Model>(calls: &[Call<M::Op>]) -> bool {
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
            return true;
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
                let Some((at, before)) = path.pop() else { return false };
                placed.flip(at);
                done -= usize::from(calls[at].to.is_some());
                state = before;
                first = 0;
                next = at + 1;
            }
        }
    }
}
