//! What a probe says of itself once a second, and what of it is worth a word.
//!
//! A bound of 0 is one that is not known: nothing is said of what it bounds.

use std::time::Duration;

use crate::limits::{LOOP_LAG_MAX, NEARLY_USED_UP_PERCENT};
use crate::outcome::words;

/// How a probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// The latest that its own threads came to their work in the last second.
    pub loop_lag: Duration,
    /// Descriptors that are open, and how many may be.
    pub descriptors: Share,
    /// TCP sockets of its machine, and how many ports there are for outgoing ones.
    pub ports: Share,
    /// Runs in flight, and how many may be.
    pub in_flight: Share,
    /// Bytes of its spool, and how many it may have.
    pub spool_bytes: Share,
    /// The disk of its spool refuses something: windows wait in memory.
    pub spool_failing: bool,
    /// Anchors that answer, and how many there are.
    pub anchors: Share,
}

/// So much of so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// So much.
    pub used: u64,
    /// Of so much; 0 when nobody knows.
    pub of: u64,
}

impl Share {
    /// So much of so much.
    pub const fn new(used: u64, of: u64) -> Self {
        Self { used, of }
    }

    fn is_nearly_used_up(self) -> bool {
        let (used, of) = (u128::from(self.used), u128::from(self.of));
        of > 0 && used * 100 >= of * u128::from(NEARLY_USED_UP_PERCENT)
    }
}

words! {
    /// What is wrong with a probe itself.
    Ailment {
        /// Its threads come late to their work: it has too little of the machine.
        Lagging = "lagging",
        /// Hardly any descriptor is left.
        Descriptors = "descriptors",
        /// Hardly any port is left for outgoing connections.
        Ports = "ports",
        /// Hardly another run may be in flight.
        Overloaded = "overloaded",
        /// Its spool is nearly full: windows are merged, and dropped next. Or its disk refuses them.
        Spool = "spool",
        /// Fewer than half of its anchors answer: it may be cut off itself.
        Anchors = "anchors",
    }
}

impl Health {
    /// What is wrong, the worst for what it measures first; nothing when all is well.
    pub fn ailments(&self) -> Vec<Ailment> {
        let anchors = self.anchors;
        [
            (self.loop_lag > LOOP_LAG_MAX, Ailment::Lagging),
            (self.descriptors.is_nearly_used_up(), Ailment::Descriptors),
            (self.ports.is_nearly_used_up(), Ailment::Ports),
            (self.in_flight.is_nearly_used_up(), Ailment::Overloaded),
            (self.spool_failing || self.spool_bytes.is_nearly_used_up(), Ailment::Spool),
            (anchors.of > 0 && anchors.used.saturating_mul(2) < anchors.of, Ailment::Anchors),
        ]
        .into_iter()
        .filter_map(|(ails, ailment)| ails.then_some(ailment))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong, and what makes it so.
    type Row = (Ailment, fn(&mut Health));

    #[test]
    fn each_ailment_has_its_word_from_its_bound_on() {
        let well = Health {
            loop_lag: Duration::from_millis(100),
            descriptors: Share::new(89, 100),
            ports: Share::new(0, 28_232),
            in_flight: Share::new(3_685, 4_096),
            spool_bytes: Share::new(1, 2),
            spool_failing: false,
            anchors: Share::new(2, 4),
        };
        assert_eq!(well.ailments(), []);
        assert_eq!(Health::default().ailments(), [], "what is not known is no ailment");
        let rows: [Row; 6] = [
            (Ailment::Lagging, |h| h.loop_lag = Duration::from_micros(100_001)),
            (Ailment::Descriptors, |h| h.descriptors = Share::new(90, 100)),
            (Ailment::Ports, |h| h.ports = Share::new(u64::MAX, u64::MAX)),
            (Ailment::Overloaded, |h| h.in_flight = Share::new(3_687, 4_096)),
            (Ailment::Spool, |h| h.spool_bytes = Share::new(10, 1)),
            (Ailment::Anchors, |h| h.anchors = Share::new(1, 3)),
        ];
        let mut all = well;
        for (ailment, change) in rows {
            let mut health = well;
            change(&mut health);
            assert_eq!(health.ailments(), [ailment]);
            change(&mut all);
        }
        assert_eq!(all.ailments(), Ailment::ALL);
        let unanswered = Health { anchors: Share::new(0, 1), ..well };
        assert_eq!(unanswered.ailments(), [Ailment::Anchors]);
        let refused = Health { spool_failing: true, ..well };
        assert_eq!(refused.ailments(), [Ailment::Spool]);
    }
}
