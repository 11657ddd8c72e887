//! The table of what a probe may not send: each row breaks one rule of the stage Wire.

use std::collections::BTreeSet;

use parallax_common::rule::{self, Rule, Stage};

use super::record::record;
use super::window::check_window;
use crate::v1;

/// What a row changes in a message that nothing was wrong with.
enum Break {
    Record(fn(&mut v1::OutcomeRecord)),
    Window(fn(&mut v1::Window)),
}

use Break::{Record, Window};

const ROWS: &[(Rule, Break)] = &[
    (rule::WIRE_UID, Record(|r| r.check_uid = vec![7; 15].into())),
    (rule::WIRE_UID, Record(|r| r.check_uid = vec![7; 17].into())),
    (rule::WIRE_FIELD, Record(|r| r.outcome = 77)),
    (rule::WIRE_FIELD, Window(|w| w.check_uid = vec![7; 17].into())),
    (rule::WIRE_FIELD, Window(|w| w.outcomes[0].outcome = 0)),
    (rule::WIRE_FIELD, Window(|w| w.series[0].histogram = None)),
    (rule::WIRE_TIME, Record(|r| r.ended_boottime_ns = r.started_boottime_ns - 1)),
    (rule::WIRE_NUMBER, Record(|r| r.number = 0)),
    (rule::WIRE_NUMBER, Record(|r| r.order = 3)),
    (rule::WIRE_REASON, Record(|r| r.reason = v1::Reason::Unspecified.into())),
    (rule::WIRE_REASON, Record(|r| r.outcome = v1::Outcome::Pass.into())),
    (rule::WIRE_TEXT, Record(|r| r.evidence = "x".repeat(4_096))),
    (rule::WIRE_TOO_MANY, Record(|r| r.phases = vec![v1::PhaseDuration::default(); 4_096])),
    (rule::WINDOW_EDGES, Window(|w| w.period_s = 11)),
    (rule::WINDOW_EDGES, Window(|w| w.start_mesh_ns = 1)),
    (rule::WINDOW_NUMBERS, Window(|w| w.last_slot = i64::MAX)),
    (rule::WINDOW_NUMBERS, Window(|w| w.first_number = 0)),
    (rule::WINDOW_OUTCOMES, Window(|w| w.outcomes[0].count = 4)),
    (rule::WINDOW_OUTCOMES, Window(|w| w.outcomes[0].count = 0)),
    (
        rule::WINDOW_OUTCOMES,
        Window(|w| {
            w.outcomes.clear();
            w.series.clear();
        }),
    ),
    (rule::WINDOW_SERIES, Window(|w| w.series[0].step = 16)),
    (rule::WINDOW_SERIES, Window(|w| w.series.push(w.series[0].clone()))),
    (rule::WINDOW_EXPIRY, Window(|w| w.not_after_s = Some(i64::MAX))),
    (rule::WINDOW_EXPIRY, Window(|w| w.not_after_s = Some(-631_152_001))),
    (rule::WINDOW_EXPIRY, Window(|w| (w.not_after_s, w.not_after_step) = (Some(0), 16))),
    (rule::WINDOW_HISTOGRAM, Window(|w| w.series[0].sum_us = 0)),
    (
        rule::WINDOW_HISTOGRAM,
        Window(|w| {
            let histogram = v1::SparseHistogram { index_delta: vec![u32::MAX], count: vec![3] };
            w.series[0].histogram = Some(v1::series::Histogram::Sparse(histogram));
        }),
    ),
];

fn good_record() -> v1::OutcomeRecord {
    v1::OutcomeRecord {
        check_uid: vec![7; 16].into(),
        number: 1,
        slot: Some(3),
        outcome: v1::Outcome::Fail.into(),
        reason: v1::Reason::ConnectRefused.into(),
        scheduled_boottime_ns: 1_000,
        started_boottime_ns: 1_000,
        ended_boottime_ns: 2_000,
        ..Default::default()
    }
}

fn good_window() -> v1::Window {
    let histogram = v1::SparseHistogram { index_delta: vec![100], count: vec![3] };
    v1::Window {
        check_uid: vec![7; 16].into(),
        run_digest: 1,
        start_mesh_ns: 0,
        period_s: 10,
        first_slot: 1,
        last_slot: 3,
        first_number: 1,
        last_number: 3,
        outcomes: vec![v1::OutcomeSpan {
            outcome: v1::Outcome::Pass.into(),
            count: 3,
            ..Default::default()
        }],
        series: vec![v1::Series {
            phase: v1::Phase::Total.into(),
            count: 3,
            sum_us: 300,
            min_us: 100,
            max_us: 100,
            histogram: Some(v1::series::Histogram::Sparse(histogram)),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn each_row_breaks_its_rule() {
    assert!(record(&good_record()).is_ok());
    assert_eq!(check_window(&good_window()).err(), None);
    for (at, (rule, row)) in ROWS.iter().enumerate() {
        let broken = match row {
            Record(change) => {
                let mut given = good_record();
                change(&mut given);
                record(&given).err().map(|error| error.rule)
            }
            Window(change) => {
                let mut given = good_window();
                change(&mut given);
                check_window(&given).err().map(|error| error.rule())
            }
        };
        assert_eq!(broken, Some(*rule), "row {at}");
    }
}

#[test]
fn every_rule_of_the_wire_is_broken_by_some_row() {
    let broken: BTreeSet<Rule> = ROWS.iter().map(|(rule, _)| *rule).collect();
    let all = rule::ALL.iter().filter(|rule| rule.stage == Stage::Wire);
    let without: Vec<&Rule> = all.filter(|rule| !broken.contains(rule)).collect();
    assert!(without.is_empty(), "rules without a row: {without:?}");
}
