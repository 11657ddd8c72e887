//! How a probe does itself, as it is shown.

use std::time::Duration;

use parallax_common::text::format_duration;
use parallax_proto::{convert, v1};
use serde::Serialize;

use crate::output::mark::Tone;
use crate::output::time;

/// How a probe does itself. Of what is bounded both are there; a bound of 0 is not known.
#[derive(Debug, Serialize)]
pub struct HealthView {
    /// What is wrong, in words; empty when all is well.
    ailments: Vec<&'static str>,
    loop_lag: String,
    descriptors: u64,
    descriptors_max: u64,
    ports: u64,
    ports_max: u64,
    in_flight: u32,
    in_flight_max: u32,
    spool_bytes: u64,
    spool_bytes_max: u64,
    /// The disk of the spool refuses something.
    spool_failing: bool,
    anchors_answering: u32,
    anchors: u32,
    clock_offset_ns: i64,
    clock_round_trip: String,
    /// UTC of its machine less mesh time.
    utc_drift_ns: i64,
    /// Loop lag and round trip as a person reads them.
    #[serde(skip)]
    rounded: [String; 2],
}

impl HealthView {
    pub(super) fn new(said: &v1::ProbeHealth) -> Self {
        let ailments = convert::health::health(said).ailments();
        Self {
            ailments: ailments.into_iter().map(|ailment| ailment.word()).collect(),
            loop_lag: length(said.loop_lag_ns),
            descriptors: said.descriptors,
            descriptors_max: said.descriptors_max,
            ports: said.ports,
            ports_max: said.ports_max,
            in_flight: said.in_flight,
            in_flight_max: said.in_flight_max,
            spool_bytes: said.spool_bytes,
            spool_bytes_max: said.spool_bytes_max,
            spool_failing: said.spool_failing,
            anchors_answering: said.anchors_answering,
            anchors: said.anchors,
            clock_offset_ns: said.clock_offset_ns,
            clock_round_trip: length(said.clock_round_trip_ns),
            utc_drift_ns: said.utc_drift_ns,
            rounded: [said.loop_lag_ns, said.clock_round_trip_ns].map(rounded),
        }
    }

    /// `ok`, or what is wrong.
    pub(super) fn word(&self) -> (String, Tone) {
        match self.ailments.as_slice() {
            [] => ("ok".to_owned(), Tone::Good),
            ailments => (ailments.join(","), Tone::Warn),
        }
    }

    /// One line a fact.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let of = |used: u64, most: u64| match most {
            0 => used.to_string(),
            most => format!("{used} of {most}"),
        };
        let refusing = if self.spool_failing { ", its disk refuses more" } else { "" };
        vec![
            ("health", self.word().0),
            ("loop lag", self.rounded[0].clone()),
            ("descriptors", of(self.descriptors, self.descriptors_max)),
            ("tcp sockets", of(self.ports, self.ports_max)),
            ("in flight", of(self.in_flight.into(), self.in_flight_max.into())),
            ("spool bytes", of(self.spool_bytes, self.spool_bytes_max) + refusing),
            ("anchors", of(self.anchors_answering.into(), self.anchors.into())),
            ("clock round trip", self.rounded[1].clone()),
            ("utc less mesh time", rounded(self.utc_drift_ns)),
        ]
    }
}

fn length(ns: i64) -> String {
    format_duration(Duration::from_nanos(ns.unsigned_abs()))
}

fn rounded(ns: i64) -> String {
    let length = time::rounded_length(Duration::from_nanos(ns.unsigned_abs()));
    if ns < 0 { format!("-{length}") } else { length }
}
