//! What regions were shown of certificates, between those who hear it and those who ask.
//!
//! What it means is `core/alert/certificate/shown.rs`'s.

use std::sync::Arc;

use parallax_common::name::Uid;
use parking_lot::Mutex;

use crate::core::alert::certificate::shown::{Shown, Sight, Sights};

/// What this member heard of certificates, of every check that its probes run.
#[derive(Debug, Clone, Default)]
pub struct Certificates(Arc<Mutex<Shown>>);

impl Certificates {
    /// Takes what the windows of a probe of this region say.
    pub fn take(&self, region: &Arc<str>, sights: impl IntoIterator<Item = (Uid, Sight)>) {
        let mut sights = sights.into_iter().peekable();
        if sights.peek().is_some() {
            let mut shown = self.0.lock();
            sights.for_each(|(check, sight)| shown.take(check, region, &sight));
        }
    }

    /// What the regions of a check were shown lately.
    pub fn of(&self, check: &Uid) -> Sights {
        self.0.lock().of(check)
    }

    /// Forgets regions that no check looks from, and checks that nobody looks at.
    pub(super) fn keep(&self, looks: impl Fn(&Uid, &str) -> bool) {
        self.0.lock().keep(looks);
    }
}
