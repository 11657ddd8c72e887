//! What a `plugin` step starts, and what it hands over.

/// Characters of arguments that are shown where a plugin is named.
const SHOWN_MAX: usize = 60;

/// A command and its arguments, cut where they get long.
pub fn shown_plugin(command: &str, args: &[String]) -> String {
    let mut shown = command.to_owned();
    let mut left = SHOWN_MAX;
    for arg in args {
        let length = arg.chars().count() + 1;
        if length > left {
            shown.push_str(" ...");
            break;
        }
        left -= length;
        shown.push(' ');
        shown.push_str(arg);
    }
    shown
}

/// A program that looks for us and answers as Nagios has it: by its exit code, its first line and the
/// performance data behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginStep {
    /// The name of a file in one of the directories that the probe allows.
    pub command: String,
    /// In order. They stand in the machine's list of processes, so they hold no references.
    pub args: Vec<String>,
    /// Variables that it gets beside those that every plugin gets. Values may hold references.
    pub env: Vec<(String, String)>,
    /// Labels of performance data whose times have a series each, in this order.
    pub series: Vec<String>,
}

impl PluginStep {
    /// What it starts, cut where it gets long: `check_http -H shop.example`.
    pub fn shown(&self) -> String {
        shown_plugin(&self.command, &self.args)
    }

    /// Every text of the step that may hold references.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        self.env.iter().map(|(_, value)| value.as_str())
    }
}
