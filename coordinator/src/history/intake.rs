//! From a frame of windows to what the history takes: every bound is checked, the bytes are kept.
//!
//! What they say of certificates is handed out beside them: nothing is kept of that.
//!
//! Used by the bulk lane (`session/bulk.rs`), a portion of a frame at a time. A window that breaks a rule costs only
//! itself; the windows around it keep their own numbers.

use parallax_common::limits::{INTAKE_PORTION, TIME_AHEAD_MAX};
use parallax_common::name::Uid;
use parallax_common::time::MeshTime;
use parallax_proto::convert::window::check_window;
use parallax_proto::v1;
use prost::Message as _;

use super::{Record, Spool};
use crate::core::alert::certificate::shown::{Sight, span};
use crate::core::plan::Work;

/// What becomes of a frame.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Windows that break no rule, each under its own number.
    pub windows: Vec<(u64, Record)>,
    /// What those of the probe's own checks say of certificates.
    pub sights: Vec<(Uid, Sight)>,
    /// What was not kept.
    pub refused: Refused,
}

/// What was not kept of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// Windows.
    pub count: u64,
    /// Why the last of them was not; begins with the id of the rule.
    pub last: String,
}

/// What may be kept of one frame. `work` is what the plan gives to the probe; windows of other checks are
/// marked.
pub fn admit(work: &Work, spool: &Spool, windows: v1::Windows, now: MeshTime) -> Admitted {
    let mut admitted = Admitted::default();
    let mut waiting = Waiting::of(windows);
    while admitted.take(work, spool, &mut waiting, now) {}
    admitted
}

/// The windows of a frame that have not been looked at yet, each with its number.
#[derive(Debug)]
pub struct Waiting {
    windows: std::vec::IntoIter<v1::Window>,
    sequence: u64,
}

impl Waiting {
    /// All of a frame.
    pub fn of(frame: v1::Windows) -> Self {
        Self { windows: frame.windows.into_iter(), sequence: frame.first_sequence }
    }
}

impl Admitted {
    /// Looks at the next [`INTAKE_PORTION`] windows of a frame, in their order; whether any are left then.
    pub fn take(
        &mut self,
        work: &Work,
        spool: &Spool,
        waiting: &mut Waiting,
        now: MeshTime,
    ) -> bool {
        for window in waiting.windows.by_ref().take(INTAKE_PORTION) {
            let sequence = waiting.sequence;
            waiting.sequence += 1;
            match record(work, spool, &window, now) {
                Ok((record, sight)) => {
                    self.sights.extend(sight.map(|sight| (record.check, sight)));
                    self.windows.push((sequence, record));
                }
                Err(why) => {
                    self.refused.count += 1;
                    self.refused.last = why;
                }
            }
        }
        waiting.windows.len() > 0
    }
}

/// What is kept of a window: its bytes as they came, under what was checked. And what it says of
/// certificates, when the check is the probe's own.
fn record(
    work: &Work,
    spool: &Spool,
    window: &v1::Window,
    now: MeshTime,
) -> Result<(Record, Option<Sight>), String> {
    let key = check_window(window).map_err(|error| format!("window: {error}"))?;
    let end = key.start + key.period.length();
    // A sealed window has ended. One from the future would outlive all others.
    if end > now + TIME_AHEAD_MAX {
        return Err("window_edges: window: it ends in the future".to_owned());
    }
    if key.incarnation != spool.incarnation {
        return Err("wire_field: window: it is of another incarnation".to_owned());
    }
    let own = work.get(&key.check);
    let sight = own.zip(key.expiry).map(|(assignment, expiry)| Sight {
        digest: key.run_digest,
        expiry,
        // Its end may be a little ahead, and no later window is to be older than it.
        at: end.min(now),
        span: span(assignment.interval),
    });
    let record = Record {
        check: key.check,
        digest: key.run_digest,
        start: key.start,
        end,
        unassigned: own.is_none(),
        encoded: window.encode_to_vec().into(),
    };
    Ok((record, sight))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parallax_common::expiry::Expiry;
    use parallax_common::name::{Incarnation, RunDigest};

    use super::*;

    const CHECK: [u8; 16] = [7; 16];

    fn window(period_s: u32) -> v1::Window {
        v1::Window {
            check_uid: CHECK.to_vec().into(),
            run_digest: 1,
            start_mesh_ns: 0,
            period_s,
            first_slot: 1,
            last_slot: 1,
            first_number: 1,
            last_number: 1,
            outcomes: vec![v1::OutcomeSpan {
                outcome: v1::Outcome::Pass.into(),
                count: 1,
                ..v1::OutcomeSpan::default()
            }],
            incarnation: 1,
            ..v1::Window::default()
        }
    }

    #[test]
    fn a_window_that_breaks_a_rule_costs_only_itself() {
        let spool = Spool { region: "eu".into(), probe: "p".into(), incarnation: Incarnation(1) };
        let mut windows = [10, 11, 10, 10, 10].map(window).to_vec();
        windows[2].incarnation = 2;
        windows[4].start_mesh_ns = 20_000_000_000;
        let frame = v1::Windows { first_sequence: 5, windows, replay: false };
        let now = MeshTime::from_ns(10_000_000_000);
        let Admitted { windows: kept, refused, .. } = admit(&Work::new(), &spool, frame, now);
        assert_eq!(refused.count, 3);
        assert!(refused.last.contains("in the future"), "{refused:?}");
        let numbers: Vec<u64> = kept.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(numbers, [5, 8]);
        assert!(kept.iter().all(|(_, record)| record.unassigned));
        assert!(kept.iter().all(|(_, record)| record.check == Uid::from_bytes(CHECK)));
    }

    #[test]
    fn a_frame_in_portions_gives_what_it_gives_in_one_go() {
        let spool = Spool { region: "eu".into(), probe: "p".into(), incarnation: Incarnation(1) };
        let now = MeshTime::from_ns(10_000_000_000);
        for count in [1, INTAKE_PORTION, INTAKE_PORTION + 1, 3 * INTAKE_PORTION] {
            let windows: Vec<v1::Window> =
                (0..count).map(|n| window(if n % 5 == 4 { 11 } else { 10 })).collect();
            let frame = v1::Windows { first_sequence: 7, windows, replay: false };
            let mut waiting = Waiting::of(frame);
            let (mut admitted, mut portions) = (Admitted::default(), 1);
            while admitted.take(&Work::new(), &spool, &mut waiting, now) {
                portions += 1;
            }
            assert_eq!(portions, count.div_ceil(INTAKE_PORTION), "of {count}");
            let numbers: Vec<u64> = admitted.windows.iter().map(|(number, _)| *number).collect();
            let good = (0..count as u64).filter(|n| n % 5 != 4).map(|n| n + 7);
            assert_eq!(numbers, good.collect::<Vec<u64>>());
            assert_eq!(admitted.refused.count, count as u64 / 5);
        }
    }

    #[test]
    fn what_own_windows_say_of_certificates_is_handed_out_with_their_end() {
        let spool = Spool { region: "eu".into(), probe: "p".into(), incarnation: Incarnation(1) };
        let mut check = crate::core::engine::tests::rig::check(1, 1);
        check.interval = std::time::Duration::from_secs(600);
        let run = Arc::new(check.run.clone());
        let assignment = parallax_proto::convert::assignment::of_check(&check, 0, run);
        let work: Work = [(Uid::from_bytes(CHECK), Arc::new(assignment))].into_iter().collect();
        let mut windows = [10, 10, 10, 11, 10].map(window).to_vec();
        for (place, window) in windows.iter_mut().enumerate() {
            window.start_mesh_ns = 10_000_000_000 * place as i64;
            window.not_after_s = Some(100 + place as i64);
            window.not_after_step = 2;
        }
        windows[1].not_after_s = None;
        windows[2].check_uid = vec![8; 16].into();
        // Of another version of the check.
        windows[4].run_digest = 2;
        let frame = v1::Windows { first_sequence: 1, windows, replay: true };
        // The last one ends a little ahead of this member's time.
        let now = MeshTime::from_ns(49_000_000_000);
        let admitted = admit(&work, &spool, frame, now);
        assert_eq!((admitted.windows.len(), admitted.refused.count), (4, 1));
        let sight = |digest, not_after_s, at_s: i64| {
            let sight = Sight {
                digest: RunDigest(digest),
                expiry: Expiry { not_after_s, step: 2 },
                at: MeshTime::from_ns(at_s * 1_000_000_000),
                span: std::time::Duration::from_secs(1_200),
            };
            (Uid::from_bytes(CHECK), sight)
        };
        assert_eq!(admitted.sights, [sight(1, 100, 10), sight(2, 104, 49)]);
    }
}
