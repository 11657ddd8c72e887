//! Maintenance windows, with the times at which they come next.

use std::collections::BTreeMap;

use parallax_common::calendar::WEEKDAYS;
use parallax_proto::convert::maintenance::EVERY;
use parallax_proto::convert::route::matcher_shown;
use parallax_proto::v1;
use serde::Serialize;

use super::table::{self, Table};
use super::{Shell, time};

/// One time of a window.
#[derive(Debug, Serialize)]
struct SpanView {
    from: String,
    until: String,
}

/// A window. What it says of itself has the names that it has in YAML.
#[derive(Debug, Serialize)]
pub struct WindowView {
    name: String,
    namespace: String,
    uid: String,
    set: String,
    etag: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    matchers: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    days: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    at: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    length: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    zone: String,
    /// Those that have not ended.
    next: Vec<SpanView>,
}

impl WindowView {
    /// The view of a message.
    pub fn new(status: &v1::MaintenanceStatus) -> Self {
        let window = status.maintenance.clone().unwrap_or_default();
        let every = EVERY.iter().find(|(_, every)| *every == window.every());
        let meta = window.meta.unwrap_or_default();
        let day = |day: &u32| WEEKDAYS.get(usize::try_from(*day).ok()?.checked_sub(1)?).copied();
        let at = |at: Option<&prost_types::Timestamp>| time::or_dash(time::instant(at));
        let next = status.next.iter().map(|span| SpanView {
            from: at(span.starts_at.as_ref()),
            until: at(span.ends_at.as_ref()),
        });
        Self {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            set: meta.set,
            etag: meta.etag,
            labels: meta.labels,
            matchers: window.matchers.iter().map(matcher_shown).collect(),
            comment: window.comment,
            from: time::instant(window.starts_at.as_ref()),
            until: time::instant(window.ends_at.as_ref()),
            every: every.map(|(word, _)| *word),
            days: window.days.iter().filter_map(day).collect(),
            day: Some(window.day).filter(|day| *day != 0),
            at: window.at,
            length: time::length(window.length.as_ref()),
            zone: window.zone,
            next: next.collect(),
        }
    }

    /// When it is: `weekly on sunday at 02:30 Europe/Berlin for 2h`, or `once`.
    fn when(&self) -> String {
        let Some(every) = self.every else { return "once".to_owned() };
        let on = match (self.days.is_empty(), self.day) {
            (false, _) => format!(" on {}", self.days.join(", ")),
            (_, Some(day)) => format!(" on day {day}"),
            _ => String::new(),
        };
        let length = time::or_dash(self.length.clone());
        format!("{every}{on} at {} {} for {length}", self.at, self.zone)
    }

    /// Everything about it.
    pub fn text(&self) -> String {
        let mut text = format!("{}  {}\n", table::clean(&self.name), table::clean(&self.when()));
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("  {name:<10} {}\n", table::clean(value)));
            }
        };
        line("matchers", &self.matchers.join(", "));
        line("comment", &self.comment);
        for span in &self.next {
            line("next", &format!("{} until {}", span.from, span.until));
        }
        if self.next.is_empty() {
            line("next", "never again");
        }
        text
    }
}

/// `maintenance list`.
#[derive(Debug, Serialize)]
pub struct WindowsView {
    revision: u64,
    windows: Vec<WindowView>,
}

impl WindowsView {
    /// The view of all pages.
    pub fn new(windows: &[v1::MaintenanceStatus], revision: u64) -> Self {
        Self { revision, windows: windows.iter().map(WindowView::new).collect() }
    }

    /// One line a window.
    pub fn table(&self, shell: &Shell) -> String {
        let mut table = Table::new(["NAME", "WHEN", "MATCHERS", "NEXT", "UNTIL"]);
        for window in &self.windows {
            let next = window.next.first();
            table.row([
                window.name.clone(),
                window.when(),
                window.matchers.join(", "),
                next.map_or_else(|| "-".to_owned(), |span| span.from.clone()),
                next.map_or_else(|| "-".to_owned(), |span| span.until.clone()),
            ]);
        }
        shell.rows(table)
    }
}
