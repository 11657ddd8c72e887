//! A page in words for people, as several kinds of contact have them, each in its own form.

use parallax_common::limits::REGIONS_SHOWN_MAX;

use crate::notify::body::{Page, RegionSays};

/// How a page stands to its incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It goes on.
    Open,
    /// It is over.
    Over,
}

/// Whether the page tells of something that goes on.
pub fn tone(page: &Page) -> Tone {
    match page.kind {
        "opened" | "escalated" | "reminder" => Tone::Open,
        _ => Tone::Over,
    }
}

/// One word in front of a line.
pub fn mark(page: &Page) -> &'static str {
    match page.kind {
        "opened" => match page.incident.severity {
            Some("warning") => "WARNING",
            Some("info") => "INFO",
            _ if is_outage(page) => "DOWN",
            _ => "CRITICAL",
        },
        "escalated" => "ESCALATED",
        "reminder" => "STILL OPEN",
        "combined" if is_outage(page) => "WAS DOWN",
        "combined" => "IS OVER",
        "test" => "TEST",
        _ => "RESOLVED",
    }
}

/// Whether something is not there, and not only slow, ill somewhere or failing now and then.
fn is_outage(page: &Page) -> bool {
    matches!(page.incident.kind, "down" | "region_silent" | "leaderless" | "storm")
}

/// The first line: what happened, and where.
pub fn headline(page: &Page) -> String {
    format!("{}: {}", mark(page), page.summary)
}

/// What a region says, on a line.
pub fn region(says: &RegionSays) -> String {
    let mut line = format!("{}: {}", says.region, says.state);
    // What a region that passes saw the last time it did not is no news.
    if says.state != "pass" {
        if let Some(reason) = &says.reason {
            line.push_str(&format!(", {reason}"));
        }
        if let Some(evidence) = &says.evidence {
            line.push_str(&format!(" ({evidence})"));
        }
    }
    if let Some(since) = &says.since {
        line.push_str(&format!(", since {since}"));
    }
    line
}

/// The regions that see it and those that do not, one a line.
pub fn regions(page: &Page) -> Vec<String> {
    let mut lines: Vec<String> = page.regions.iter().take(REGIONS_SHOWN_MAX).map(region).collect();
    if let Some(more) = page.regions.len().checked_sub(REGIONS_SHOWN_MAX).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// Which mesh and which incident.
pub fn origin(page: &Page) -> String {
    format!("mesh {}, incident {}", page.mesh, page.incident.uid)
}

/// What the page is about: the check or the region.
pub fn subject(page: &Page) -> &str {
    let about = &page.incident;
    if page.storm.is_some() {
        return "several checks";
    }
    about.check.as_deref().or(about.region.as_deref()).unwrap_or("mesh")
}

/// The labels, `key=value` each.
pub fn labels(page: &Page) -> Vec<String> {
    page.labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// All of it as plain text, in so many characters at most. What happened is cut first, at its end: what to do
/// about it and how it is labelled stands behind it, and is cut only where it leaves what happened less than
/// half.
pub fn plain_within(page: &Page, characters_max: usize) -> String {
    let mut told = page.sentences.clone();
    told.extend(regions(page));
    let (told, tail) = (told.join("\n"), tail(page));
    if told.is_empty() {
        return cut(&tail, characters_max);
    }
    let least = told.chars().count().min(characters_max / 2);
    let tail = cut(&tail, characters_max.saturating_sub(least + 1));
    let room = characters_max.saturating_sub(tail.chars().count() + 1);
    format!("{}\n{tail}", cut(&told, room))
}

/// All of it as plain text.
pub fn plain(page: &Page) -> String {
    plain_within(page, usize::MAX)
}

/// What somebody needs who has read what happened.
fn tail(page: &Page) -> String {
    let mut lines = Vec::new();
    if !page.runbook.is_empty() {
        lines.push(format!("Runbook: {}", page.runbook));
    }
    if let Some(url) = &page.acknowledge_url {
        lines.push(format!("Acknowledge: {url}"));
    }
    if !page.labels.is_empty() {
        lines.push(format!("Labels: {}", labels(page).join(", ")));
    }
    lines.push(origin(page));
    lines.join("\n")
}

/// The first so many characters, with an ellipsis where something was cut off.
pub fn cut(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        None => text.to_owned(),
        Some(_) => {
            let kept = text.chars().take(characters_max.saturating_sub(1));
            kept.chain(['\u{2026}']).collect()
        }
    }
}
