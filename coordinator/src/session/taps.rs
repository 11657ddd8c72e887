//! Who else listens to a live lane: other members that do not hear the probe themselves.
//!
//! A lane that nobody taps pays for one look at a lock. One that is tapped asks its probe for
//! everything once more, because whoever begins to listen knows nothing yet; what is passed on from
//! where is in `core/relay.rs`.

use std::sync::Arc;
use std::time::Instant;

use parallax_common::limits::SNAPSHOT_ASKED_EVERY;
use parallax_proto::v1::live_request::Frame;
use parallax_proto::{peer, v1};
use parking_lot::Mutex;

use crate::core::relay::Sieve;
use crate::core::session::Mapping;
use crate::relay::outgoing::{Outgoing, Say};

/// One listener.
pub struct Tap {
    stream: u64,
    lane: u64,
    out: Outgoing,
    sieve: Sieve,
}

impl Tap {
    /// The lane `lane` of a stream between members, whose number here is `stream`.
    pub fn new(stream: u64, lane: u64, out: Outgoing) -> Self {
        Self { stream, lane, out, sieve: Sieve::default() }
    }
}

/// The listeners of one live lane.
#[derive(Clone, Default)]
pub struct Taps(Arc<Mutex<Tapped>>);

#[derive(Default)]
struct Tapped {
    taps: Vec<Tap>,
    /// A listener waits for everything to be said again.
    owed: bool,
    /// This member itself waits for it.
    owed_here: bool,
    asked: Option<Instant>,
}

impl Taps {
    /// Somebody begins to listen.
    pub fn add(&self, tap: Tap) {
        let mut tapped = self.0.lock();
        tapped.taps.retain(|other| other.stream != tap.stream);
        tapped.taps.push(tap);
        tapped.owed = true;
    }

    /// This member has missed something itself.
    pub fn owe(&self) {
        self.0.lock().owed_here = true;
    }

    /// It listens no more.
    pub fn remove(&self, stream: u64) {
        self.0.lock().taps.retain(|tap| tap.stream != stream);
    }

    /// Whether it was passed everything so far.
    pub fn has(&self, stream: u64) -> bool {
        self.0.lock().taps.iter().any(|tap| tap.stream == stream)
    }

    /// How many listen.
    pub fn count(&self) -> usize {
        self.0.lock().taps.len()
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.0.lock().taps.is_empty()
    }

    /// Whether the probe is to be asked for everything now.
    pub fn ask(&self, now: Instant) -> bool {
        let mut tapped = self.0.lock();
        let soon = tapped.asked.is_some_and(|asked| now < asked + SNAPSHOT_ASKED_EVERY);
        let owed = tapped.owed_here || (tapped.owed && !tapped.taps.is_empty());
        if soon || !owed {
            return false;
        }
        (tapped.owed, tapped.owed_here, tapped.asked) = (false, false, Some(now));
        true
    }

    /// Passes a frame on to everybody for whom it is. Whoever cannot take it is cut off: with a gap,
    /// what follows is of no use.
    pub fn pass(&self, frame: &Frame, mapping: Mapping) {
        self.0.lock().taps.retain_mut(|tap| {
            if !tap.sieve.passes(frame) {
                return true;
            }
            let frame = v1::LiveRequest { frame: Some(frame.clone()) };
            let lane = peer::LaneFrame {
                lane: tap.lane,
                offset_ns: mapping.offset_ns,
                frame: Some(frame),
            };
            tap.out.say(Say::Relay(peer::relay_frame::Frame::Lane(lane)))
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::relay::outgoing;

    fn outcomes() -> Frame {
        Frame::Outcomes(v1::Outcomes::default())
    }

    #[test]
    fn a_listener_that_cannot_keep_up_is_cut_off_and_the_others_go_on() {
        let taps = Taps::default();
        let (slow, waiting) = outgoing::channel(2);
        let (quick, _kept) = outgoing::channel(100);
        taps.add(Tap::new(1, 10, slow));
        taps.add(Tap::new(2, 20, quick));
        for _ in 0..3 {
            taps.pass(&outcomes(), Mapping { offset_ns: 7 });
        }
        assert!(!taps.has(1) && taps.has(2));
        drop(waiting);
    }

    #[test]
    fn a_probe_is_asked_once_for_all_who_begin_to_listen_and_not_too_often() {
        let taps = Taps::default();
        let start = parallax_runtime::clock::instant();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!taps.ask(at(0)), "nobody listens");
        let (out, _queue) = outgoing::channel(8);
        taps.add(Tap::new(1, 1, out.clone()));
        assert!(taps.ask(at(0)));
        assert!(!taps.ask(at(1)));
        taps.add(Tap::new(2, 1, out));
        assert!(!taps.ask(at(1_999)));
        assert!(taps.ask(at(2_000)));
    }

    #[test]
    fn a_member_that_missed_something_has_its_probe_asked_though_nobody_listens() {
        let taps = Taps::default();
        let start = parallax_runtime::clock::instant();
        taps.owe();
        assert!(taps.ask(start));
        assert!(!taps.ask(start + SNAPSHOT_ASKED_EVERY));
        taps.owe();
        assert!(!taps.ask(start + SNAPSHOT_ASKED_EVERY / 2));
        assert!(taps.ask(start + SNAPSHOT_ASKED_EVERY));
    }
}
