//! How long a failure that too few regions see, or a warning, had lasted before nothing was known of its
//! check: silence neither proves that it went on nor that it was over, so what is counted goes on where
//! it was when the same is seen again. The silence itself does not count.
//!
//! Told by what is committed, so every member that follows the log counts the same. A member that was
//! started since then, or was handed several verdicts of a check at once, counts from the newest one.

use std::collections::BTreeMap;
use std::time::Duration;

use parallax_common::name::{RunDigest, Uid};
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
    /// What was looked at: another version of the check begins anew.
    digest: RunDigest,
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
    /// The check is gone.
    pub fn forget(&mut self, uid: Uid) {
        self.0.remove(&uid);
    }

    /// Takes note of the verdict of a check. Gives how long the same had stood before it, if nothing else was
    /// seen since.
    pub fn note(
        &mut self,
        uid: Uid,
        digest: RunDigest,
        verdict: Option<&v1::CheckVerdict>,
    ) -> Duration {
        let before = self.0.remove(&uid);
        let Some(now) = verdict else { return Duration::ZERO };
        let next = |it: &Spell| {
            let follows = [it.sequence, it.sequence + 1].contains(&now.sequence);
            follows && it.digest == digest
        };
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
                Some(Spell { kind, sequence, digest, since, is_cut: false, is_taken, stood })
            }
            _ => None,
        };
        spell.map_or(Duration::ZERO, |spell: Spell| {
            self.0.insert(uid, spell);
            spell.stood
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: Uid = Uid::from_bytes([1; 16]);

    fn verdict(verdict: v1::Verdict, sequence: u64, since: i64) -> v1::CheckVerdict {
        let degraded = match verdict {
            v1::Verdict::Degraded => v1::DegradedKind::Regional,
            _ => v1::DegradedKind::Unspecified,
        };
        v1::CheckVerdict {
            verdict: verdict.into(),
            degraded: degraded.into(),
            sequence,
            since: Some(prost_types::Timestamp { seconds: since, nanos: 0 }),
            ..v1::CheckVerdict::default()
        }
    }

    #[test]
    fn what_is_counted_goes_on_over_a_silence_and_over_nothing_else() {
        use v1::Verdict::{Degraded, Unknown};
        // The version and the number of what comes after four minutes and a silence; what had stood.
        for (digest, sequence, stood) in [(1, 3, 240), (2, 3, 0), (1, 4, 0), (1, 1, 0)] {
            let mut spells = Spells::default();
            let first = RunDigest(1);
            spells.note(CHECK, first, Some(&verdict(Degraded, 1, 1_000)));
            spells.note(CHECK, first, Some(&verdict(Unknown, 2, 1_240)));
            let next = verdict(Degraded, sequence, 1_300);
            let found = spells.note(CHECK, RunDigest(digest), Some(&next));
            assert_eq!(found, Duration::from_secs(stood), "{digest} {sequence}");
            spells.forget(CHECK);
            assert!(spells.0.is_empty());
        }
    }
}
