//! From a frame of windows to what the history takes: every bound is checked, the bytes are kept.
//!
//! Used by the bulk lane (`session/bulk.rs`), once a frame. A window that breaks a rule costs only
//! itself; the windows around it keep their own numbers.

use parallax_common::limits::TIME_AHEAD_MAX;
use parallax_common::time::MeshTime;
use parallax_proto::convert::window::check_window;
use parallax_proto::v1;
use prost::Message as _;

use super::{Record, Spool};
use crate::core::plan::Work;

/// What was not kept of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refused {
    /// Windows.
    pub count: u64,
    /// Why the last of them was not; begins with the id of the rule.
    pub last: String,
}

/// The windows of one frame that break no rule, each under its own number. `work` is what the plan
/// gives to the probe; windows of other checks are marked.
pub fn admit(
    work: &Work,
    spool: &Spool,
    windows: v1::Windows,
    now: MeshTime,
) -> (Vec<(u64, Record)>, Refused) {
    let mut refused = Refused::default();
    let mut records = Vec::with_capacity(windows.windows.len());
    for (sequence, window) in (windows.first_sequence..).zip(windows.windows) {
        match record(work, spool, &window, now) {
            Ok(record) => records.push((sequence, record)),
            Err(why) => {
                refused.count += 1;
                refused.last = why;
            }
        }
    }
    (records, refused)
}

/// What is kept of a window: its bytes as they came, under what was checked.
fn record(
    work: &Work,
    spool: &Spool,
    window: &v1::Window,
    now: MeshTime,
) -> Result<Record, String> {
    let key = check_window(window).map_err(|error| format!("window: {error}"))?;
    let end = key.start + key.period.length();
    // A sealed window has ended. One from the future would outlive all others.
    if end > now + TIME_AHEAD_MAX {
        return Err("window_edges: window: it ends in the future".to_owned());
    }
    if key.incarnation != spool.incarnation {
        return Err("wire_field: window: it is of another incarnation".to_owned());
    }
    Ok(Record {
        check: key.check,
        digest: key.run_digest,
        start: key.start,
        end,
        unassigned: !work.contains_key(&key.check),
        encoded: window.encode_to_vec().into(),
    })
}

#[cfg(test)]
mod tests {
    use parallax_common::name::{Incarnation, Uid};

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
        let (kept, refused) = admit(&Work::new(), &spool, frame, now);
        assert_eq!(refused.count, 3);
        assert!(refused.last.contains("in the future"), "{refused:?}");
        let numbers: Vec<u64> = kept.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(numbers, [5, 8]);
        assert!(kept.iter().all(|(_, record)| record.unassigned));
        assert!(kept.iter().all(|(_, record)| record.check == Uid::from_bytes(CHECK)));
    }
}
