//! A plugin as it is shown. Variables are shown as written: references stay references.

use std::collections::BTreeMap;

use parallax_common::check::shown_plugin;
use parallax_proto::v1;
use serde::Serialize;

use super::secret;

/// A program that looks.
#[derive(Debug, Serialize)]
pub struct PluginView {
    command: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    series: Vec<String>,
}

impl PluginView {
    pub(super) fn new(step: &v1::PluginStep) -> Self {
        let variable = |of: &v1::Header| (of.name.clone(), secret(of.value.as_ref()));
        Self {
            command: step.command.clone(),
            args: step.args.clone(),
            env: step.env.iter().map(variable).collect(),
            series: step.series.clone(),
        }
    }

    /// What is started, in a few words.
    pub(super) fn target(&self) -> String {
        shown_plugin(&self.command, &self.args)
    }
}
