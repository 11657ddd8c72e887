//! What a probe says of itself.

use std::time::Duration;

use parallax_common::health::{Health, Share};

use crate::v1;

/// What a heartbeat says of the probe itself. Nothing of it is refused: it is shown, and decides nothing.
pub fn health(said: &v1::ProbeHealth) -> Health {
    Health {
        loop_lag: Duration::from_nanos(u64::try_from(said.loop_lag_ns).unwrap_or_default()),
        descriptors: Share::new(said.descriptors, said.descriptors_max),
        ports: Share::new(said.ports, said.ports_max),
        in_flight: Share::new(said.in_flight.into(), said.in_flight_max.into()),
        spool_bytes: Share::new(said.spool_bytes, said.spool_bytes_max),
        spool_failing: said.spool_failing,
        anchors: Share::new(said.anchors_answering.into(), said.anchors.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_read_into_its_place() {
        let said = v1::ProbeHealth {
            loop_lag_ns: 1,
            descriptors: 2,
            descriptors_max: 3,
            ports: 4,
            ports_max: 5,
            in_flight: 6,
            in_flight_max: 7,
            spool_bytes: 8,
            spool_bytes_max: 9,
            spool_failing: true,
            anchors_answering: 10,
            anchors: 11,
            ..v1::ProbeHealth::default()
        };
        let wanted = Health {
            loop_lag: Duration::from_nanos(1),
            descriptors: Share::new(2, 3),
            ports: Share::new(4, 5),
            in_flight: Share::new(6, 7),
            spool_bytes: Share::new(8, 9),
            spool_failing: true,
            anchors: Share::new(10, 11),
        };
        assert_eq!(health(&said), wanted);
        // An older build says less, a broken one nonsense.
        assert_eq!(health(&v1::ProbeHealth::default()), Health::default());
        let said = v1::ProbeHealth { loop_lag_ns: i64::MIN, ..v1::ProbeHealth::default() };
        assert_eq!(health(&said).loop_lag, Duration::ZERO);
    }
}
