//! What a `plugin` step may say, field by field.

use parallax_proto::v1;

use super::reader::{Field, field, required};
use super::step::headers;
use super::value;
use super::want::{LABELS, text, texts};

/// Fields of `plugin`.
pub(super) const PLUGIN: &[Field<v1::PluginStep>] = &[
    required("command", text("the name of a plugin such as check_http"), |step, node, reader| {
        step.command = value::text(node, reader).unwrap_or_default();
    }),
    field("args", texts("a list of texts"), |step, node, reader| {
        step.args = value::texts(node, reader).unwrap_or_default();
    }),
    field("env", LABELS, |step, node, reader| {
        step.env = headers(node, reader);
    }),
    field("series", texts("a list of labels"), |step, node, reader| {
        step.series = value::texts(node, reader).unwrap_or_default();
    }),
];
