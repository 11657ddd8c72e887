//! Alerts of a check and its error budget, as YAML has them.

use parallax_common::alert::percent;
use parallax_proto::v1;
use serde::Serialize;

use crate::output::{time, word};

/// One alert.
#[derive(Debug, Serialize)]
pub struct AlertView {
    name: String,
    when: String,
    severity: String,
    alert: Vec<String>,
}

impl AlertView {
    pub(super) fn new(alert: &v1::Alert) -> Self {
        Self {
            name: alert.name.clone(),
            when: alert.when.clone(),
            severity: word::severity(alert.severity),
            alert: alert.alert.clone(),
        }
    }
}

/// How many of the runs are to pass.
#[derive(Debug, Serialize)]
pub struct SloView {
    target: String,
    over: Option<String>,
    alert: Vec<String>,
}

impl SloView {
    pub(super) fn new(slo: &v1::Slo) -> Self {
        Self {
            target: percent::format(slo.target_ppm),
            over: time::length(slo.over.as_ref()),
            alert: slo.alert.clone(),
        }
    }
}
