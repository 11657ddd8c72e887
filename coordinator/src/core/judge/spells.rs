//! How long a failure that too few regions see, or a warning, had lasted before nothing was known of its
//! check: silence neither proves that it went on nor that it was over, so what is counted goes on where
//! it was when the same is seen again. The silence itself does not count.
//!
//! Told by what is committed, so every member that follows the log counts the same. A member that was
//! started since then, or was handed several verdicts of a check at once, counts from the newest one.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::name::Uid;
use parallax_common::outcome::{DegradedKind, Verdict};
use parallax_common::time::UtcTime;
use parallax_proto::convert::enums;
use parallax_proto::v1;

use crate::core::stamp;

/// One for each check that is `degraded`, or was until it became `unknown`.
#[derive(Debug, Default)]
pub(super) struct Spells(BTreeMap<Uid, Spell>);

#[derive(Debug, Clone, Copy)]
struct Spell {
    kind: DegradedKind,
    /// Of the verdict that was seen last.
    sequence: u64,
    /// When the stretch of it began that lasts.
    since: UtcTime,
    /// Nothing is known at the moment.
    is_cut: bool,
    /// It has become an incident: the next one counts from nothing.
    is_taken: bool,
    /// How long the stretches before it lasted.
    stood: Duration,
}

impl Spells {
    /// Takes note of the verdict of a check. Gives how long the same had stood before it, if nothing else was
    /// seen since.
    pub fn note(&mut self, uid: Uid, verdict: Option<&v1::CheckVerdict>) -> Duration {
        let before = self.0.remove(&uid);
        let Some(now) = verdict else { return Duration::ZERO };
        let next = |spell: &Spell| now.sequence.saturating_sub(spell.sequence) <= 1;
        let before = before.filter(next);
        let sequence = now.sequence;
        let since = stamp::utc(now.since.as_ref());
        let spell = match (enums::verdict(now.verdict), enums::degraded_kind(now.degraded)) {
            (Some(Verdict::Unknown), _) => before.filter(|it| !it.is_taken).map(|it| {
                let more = if it.is_cut { Duration::ZERO } else { since.since(it.since) };
                Spell { sequence, is_cut: true, stood: it.stood + more, ..it }
            }),
            (_, Some(kind)) => {
                let same = before.filter(|it| it.kind == kind && (it.is_cut || it.since == since));
                let stood = same.map_or(Duration::ZERO, |it| it.stood);
                let is_taken = !now.lasting_incident_uid.is_empty() || now.lasting_latched;
                Some(Spell { kind, sequence, since, is_cut: false, is_taken, stood })
            }
            _ => None,
        };
        spell.map_or(Duration::ZERO, |spell| {
            self.0.insert(uid, spell);
            spell.stood
        })
    }
}
