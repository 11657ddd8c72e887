//! What an alert of a check may say, and an error budget.

use parallax_common::alert::percent;
use parallax_proto::v1;

use super::reader::{Field, Reader, field, required};
use super::tree::{Node, Value};
use super::value;
use super::want::{CONTACTS, length, names, text, word};

pub(crate) const SEVERITIES: &[(&str, v1::Severity)] = &[
    ("critical", v1::Severity::Critical),
    ("warning", v1::Severity::Warning),
    ("info", v1::Severity::Info),
];

/// Fields of an item of `alerts`.
pub(super) const ALERT: &[Field<v1::Alert>] = &[
    required("name", text("a name such as `slow`"), |alert, node, reader| {
        alert.name = value::text(node, reader).unwrap_or_default();
    }),
    required("when", text("a condition such as `p95 > 800ms for 5m`"), |alert, node, reader| {
        alert.when = value::text(node, reader).unwrap_or_default();
    }),
    field(
        "severity",
        word("one of critical, warning, info", || names(SEVERITIES)),
        |alert, node, reader| {
            let severity = value::word(node, SEVERITIES, reader);
            alert.severity = severity.unwrap_or_default().into();
        },
    ),
    field("alert", CONTACTS, |alert, node, reader| {
        alert.alert = value::texts(node, reader).unwrap_or_default();
    }),
];

/// Fields of `slo`.
pub(super) const SLO: &[Field<v1::Slo>] = &[
    required("target", text("a share such as 99.9%"), |slo, node, reader| {
        match node.text().and_then(percent::parse) {
            Some(ppm) => slo.target_ppm = ppm,
            None => reader.wrong_type(node),
        }
    }),
    field("over", length("a length of time such as 30d"), |slo, node, reader| {
        slo.over = value::duration(node, reader);
    }),
    field("alert", CONTACTS, |slo, node, reader| {
        slo.alert = value::texts(node, reader).unwrap_or_default();
    }),
];

/// Reads `alerts:`.
pub(super) fn alerts(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Alert> {
    let Value::List(items) = &node.value else {
        reader.wrong_type(node);
        return Vec::new();
    };
    let mut alerts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let mut alert = v1::Alert::default();
        reader.at(index, |reader| reader.mapping(item, ALERT, &mut alert));
        alerts.push(alert);
    }
    alerts
}

/// Reads `slo:`.
pub(super) fn slo(node: &Node, reader: &mut Reader<'_>) -> v1::Slo {
    let mut slo = v1::Slo::default();
    reader.mapping(node, SLO, &mut slo);
    slo
}
