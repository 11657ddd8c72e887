//! The configuration API is linearizable, key by key.

use std::collections::BTreeMap;

use parallax_linearize::register::{Op, Register};
use parallax_linearize::{Call, Found};

use super::Violation;

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
        for (key, calls) in &self.0 {
            let why = match parallax_linearize::check::<Register>(calls) {
                Found::Order => continue,
                Found::NoOrder => "fit no order",
                Found::TooLong => "are too many to be put in order",
            };
            let what = format!("key {key}: {} operations {why}", calls.len());
            return Err(Violation { invariant: "linearizable", what });
        }
        Ok(())
    }
}
