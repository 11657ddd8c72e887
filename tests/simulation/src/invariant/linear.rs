//! The configuration API is linearizable, key by key.

use std::collections::BTreeMap;

use super::Violation;
use crate::linearize::register::{Op, Register};
use crate::linearize::{self, Call};

/// The histories of all keys, checked at the end.
#[derive(Debug, Default)]
pub struct Linear(BTreeMap<u64, Vec<Call<Op>>>);

impl Linear {
    /// Adds an operation.
    pub fn add(&mut self, key: u64, call: Call<Op>) {
        self.0.entry(key).or_default().push(call);
    }

    /// Whether every key's history could have happened one operation at a time.
    pub fn end(&self) -> Result<(), Violation> {
        match self.0.iter().find(|(_, calls)| !linearize::check::<Register>(calls)) {
            Some((key, calls)) => Err(Violation {
                invariant: "linearizable",
                what: format!("key {key}: {} operations fit no order", calls.len()),
            }),
            None => Ok(()),
        }
    }
}
