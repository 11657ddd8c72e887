//! Silences, and why an open incident pages nobody yet.

use parallax_common::matcher::{Matcher, Operator};
use parallax_common::time::UtcTime;
use parallax_proto::{convert, v1};
use serde::Serialize;

use super::mark::Tone;
use super::table::{self, Table};
use super::{Shell, time};

/// A matcher as it travels.
pub fn matcher(matcher: &Matcher) -> v1::Matcher {
    let operator = match matcher.operator {
        Operator::Equal => v1::MatchOperator::Equal,
        Operator::NotEqual => v1::MatchOperator::NotEqual,
        Operator::Pattern => v1::MatchOperator::Pattern,
        Operator::NotPattern => v1::MatchOperator::NotPattern,
    };
    let (key, value) = (matcher.key.clone(), matcher.value.clone());
    v1::Matcher { key, operator: operator.into(), value }
}

/// A matcher as it is written.
fn written(matcher: &v1::Matcher) -> String {
    let sign = match matcher.operator() {
        v1::MatchOperator::Equal => "=",
        v1::MatchOperator::NotEqual => "!=",
        v1::MatchOperator::Pattern => "=~",
        v1::MatchOperator::NotPattern => "!~",
        v1::MatchOperator::Unspecified => "?",
    };
    format!("{}{sign}{}", matcher.key, matcher.value)
}

/// Why nobody is paged about an open incident yet.
#[derive(Debug, Default, Serialize)]
pub struct HeldView {
    /// `silence`, `parent`, or `other` for what this program does not know.
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    silence: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    created_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    /// The check that it depends on.
    #[serde(skip_serializing_if = "String::is_empty")]
    parent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parent_incident: String,
    #[serde(skip)]
    parent_ended: bool,
    /// The checks that it depends on, when it waits to see whether they are down as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parents: Vec<String>,
}

impl HeldView {
    /// The view of a message.
    pub fn new(held: &v1::Held) -> Self {
        let view = Self {
            by: "other",
            since: time::instant(held.since.as_ref()),
            until: time::instant(held.until.as_ref()),
            ..Self::default()
        };
        match &held.by {
            Some(v1::held::By::Silence(by)) => Self {
                by: "silence",
                silence: by.uid.clone(),
                created_by: by.created_by.clone(),
                comment: by.comment.clone(),
                ..view
            },
            Some(v1::held::By::Parent(by)) => Self {
                by: "parent",
                parent: by.check_name.clone(),
                parent_incident: by.incident_uid.clone(),
                parent_ended: by.ended,
                ..view
            },
            Some(v1::held::By::Parents(by)) => {
                Self { by: "parents", parents: by.check_names.clone(), ..view }
            }
            None => view,
        }
    }

    /// In a word: `silenced`, `behind dns`.
    pub fn word(&self) -> String {
        match self.by {
            "silence" => "silenced".to_owned(),
            "parent" => table::clean(&format!("behind {}", self.parent)),
            "parents" => "waiting".to_owned(),
            _ => "quiet".to_owned(),
        }
    }

    /// `silenced until T by anna: moving the database`.
    pub fn line(&self) -> String {
        let until = time::or_dash(self.until.clone());
        if self.by == "parent" {
            let parent = &self.parent;
            return table::clean(&match self.parent_ended {
                false => format!("suppressed by {parent}, which is down"),
                true => format!("suppressed by {parent}, which was down; looked at again {until}"),
            });
        }
        if self.by == "parents" {
            let parents = self.parents.join(", ");
            return table::clean(&format!(
                "waits until {until} to see whether {parents}, which it depends on, is down as well"
            ));
        }
        let mut line = format!("{} until {until}", self.word());
        if !self.created_by.is_empty() {
            line.push_str(&format!(" by {}", self.created_by));
        }
        if !self.comment.is_empty() {
            line.push_str(&format!(": {}", self.comment));
        }
        table::clean(&line)
    }
}

/// A silence.
#[derive(Debug, Serialize)]
pub struct SilenceView {
    uid: String,
    namespace: String,
    /// `active`, `pending` or `ended`.
    state: &'static str,
    matchers: Vec<String>,
    comment: String,
    created_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    expired_by: String,
    /// The maintenance window that it is a time of.
    #[serde(skip_serializing_if = "String::is_empty")]
    window: String,
    revision: u64,
}

impl SilenceView {
    /// The view of a message.
    pub fn new(silence: &v1::Silence, now: UtcTime) -> Self {
        let utc = |at: Option<&prost_types::Timestamp>| at.and_then(convert::time::utc);
        let ended = utc(silence.ends_at.as_ref()).is_none_or(|ends| ends <= now);
        let pending = utc(silence.starts_at.as_ref()).is_some_and(|starts| now < starts);
        let state = match (ended || !silence.expired_by.is_empty(), pending) {
            (true, _) => "ended",
            (false, true) => "pending",
            (false, false) => "active",
        };
        Self {
            uid: silence.uid.clone(),
            namespace: silence.namespace.clone(),
            state,
            matchers: silence.matchers.iter().map(written).collect(),
            comment: silence.comment.clone(),
            created_by: silence.created_by.clone(),
            created_at: time::instant(silence.created_at.as_ref()),
            starts_at: time::instant(silence.starts_at.as_ref()),
            ends_at: time::instant(silence.ends_at.as_ref()),
            expired_by: silence.expired_by.clone(),
            window: silence.window.clone(),
            revision: silence.revision,
        }
    }

    /// In one line: `silence U (check=web) is active until T`.
    pub fn line(&self) -> String {
        let (uid, matchers, until) =
            (&self.uid, self.matchers.join(", "), time::or_dash(self.ends_at.clone()));
        table::clean(&match self.state {
            "ended" => format!("silence {uid} ({matchers}) has ended"),
            "pending" => {
                let from = time::or_dash(self.starts_at.clone());
                format!("silence {uid} ({matchers}) is pending, from {from} until {until}")
            }
            state => format!("silence {uid} ({matchers}) is {state} until {until}"),
        })
    }

    fn tone(&self) -> Tone {
        match self.state {
            "active" => Tone::Warn,
            "ended" => Tone::Dim,
            _ => Tone::Plain,
        }
    }

    /// Everything about it.
    pub fn text(&self) -> String {
        let mut text = format!("{}  {}\n", self.uid, self.state);
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("  {name:<10} {}\n", table::clean(value)));
            }
        };
        line("matchers", &self.matchers.join(", "));
        line("comment", &self.comment);
        line("by", &self.created_by);
        line("created", self.created_at.as_deref().unwrap_or_default());
        line("from", self.starts_at.as_deref().unwrap_or_default());
        line("until", self.ends_at.as_deref().unwrap_or_default());
        line("ended by", &self.expired_by);
        line("window", &self.window);
        text
    }
}

/// `silence list`.
#[derive(Debug, Serialize)]
pub struct SilencesView {
    revision: u64,
    silences: Vec<SilenceView>,
}

impl SilencesView {
    /// The view of all pages.
    pub fn new(silences: &[v1::Silence], revision: u64, now: UtcTime) -> Self {
        let silences = silences.iter().map(|silence| SilenceView::new(silence, now)).collect();
        Self { revision, silences }
    }

    /// One line a silence.
    pub fn table(&self, shell: &Shell) -> String {
        let mut table = Table::new(["UID", "STATE", "MATCHERS", "FROM", "UNTIL", "BY", "COMMENT"]);
        for silence in &self.silences {
            let plain = |text: &str| (text.to_owned(), Tone::Plain);
            table.toned([
                plain(&silence.uid),
                (silence.state.to_owned(), silence.tone()),
                plain(&silence.matchers.join(", ")),
                plain(&time::or_dash(silence.starts_at.clone())),
                plain(&time::or_dash(silence.ends_at.clone())),
                plain(&silence.created_by),
                plain(&silence.comment),
            ]);
        }
        shell.rows(table)
    }
}
