//! Failures and warnings that do not make a check down, and go on.

use std::time::Duration;

use crate::limits::{REGIONAL_AFTER_DEFAULT, WARNING_AFTER_DEFAULT};
use crate::outcome::DegradedKind;

/// When a verdict of `degraded` is an incident of its own, and who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lasting {
    /// How long it has to last.
    pub after: Duration,
    /// Names of contacts; with none it is recorded and nobody is paged without a route.
    pub alert: Vec<String>,
}

impl Lasting {
    /// What holds for a check that does not say.
    pub fn default_of(kind: DegradedKind) -> Self {
        let after = match kind {
            DegradedKind::Regional => REGIONAL_AFTER_DEFAULT,
            DegradedKind::Warning => WARNING_AFTER_DEFAULT,
        };
        Self { after, alert: Vec::new() }
    }
}
