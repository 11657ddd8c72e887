//! A request is carried out at most once, however often it is asked.

use std::collections::BTreeMap;

use super::Invariant;
use crate::seen::Seen;

/// By client and number: where it was carried out.
#[derive(Default)]
pub struct Once(BTreeMap<(String, u64), u64>);

impl Invariant for Once {
    fn name(&self) -> &'static str {
        "a request is carried out once"
    }

    fn see(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Applied { index, request: Some(request), revision, .. } = seen else {
            return Ok(());
        };
        // The answer to a repetition names the revision of the first time.
        if *revision != Some(*index) {
            return Ok(());
        }
        match *self.0.entry(request.clone()).or_insert(*index) {
            first if first == *index => Ok(()),
            first => Err(format!("request {request:?} is carried out at {first} and at {index}")),
        }
    }
}
