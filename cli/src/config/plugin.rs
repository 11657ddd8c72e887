//! What a `plugin` step may say, field by field.

use parallax_proto::v1;

use super::reader::{Field, field, required};
use super::step::headers;
use super::value;

/// Fields of `plugin`.
pub(super) const PLUGIN: &[Field<v1::PluginStep>] = &[
    required("command", "the name of a plugin such as check_http", |step, node, reader| {
        step.command = value::text(node, reader).unwrap_or_default();
    }),
    field("args", "a list of texts", |step, node, reader| {
        step.args = value::texts(node, reader).unwrap_or_default();
    }),
    field("env", "a mapping of names to texts", |step, node, reader| {
        step.env = headers(node, reader);
    }),
    field("series", "a list of labels", |step, node, reader| {
        step.series = value::texts(node, reader).unwrap_or_default();
    }),
];
