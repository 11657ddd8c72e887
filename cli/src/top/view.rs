//! Draws the live view into a buffer. Everything that colour says is said by a mark or a word too.

use std::time::Instant;

use parallax_common::time::UtcTime;
use parallax_proto::v1;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::model::{Mode, Model, slowest, verdict};
use crate::output::ballot::BallotView;
use crate::output::incident::{DeliveryView, EventView, IncidentView};
use crate::output::mark::{self, Tone};
use crate::output::table::clean;
use crate::output::{time, word};

/// How it may look, and when it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Colours.
    pub color: bool,
    /// No characters beyond ASCII.
    pub ascii: bool,
    /// For how long nobody answered is counted from this.
    pub now: Instant,
    /// Ages are counted from this.
    pub utc: UtcTime,
}

impl Look {
    fn style(&self, tone: Tone) -> Style {
        let style = Style::default();
        match tone {
            _ if !self.color => style,
            Tone::Good => style.fg(Color::Green),
            Tone::Warn => style.fg(Color::Yellow),
            Tone::Bad => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Dim => style.fg(Color::DarkGray),
            Tone::Plain => style,
        }
    }

    fn mark(&self, mark: char) -> char {
        match mark {
            '✓' if self.ascii => '+',
            '✗' if self.ascii => 'X',
            '·' if self.ascii => '.',
            mark => mark,
        }
    }

    fn text(&self, text: &str) -> String {
        let text = clean(text);
        if !self.ascii {
            return text;
        }
        text.chars().map(|it| if it.is_ascii() { it } else { '?' }).collect()
    }

    fn toned(&self, text: &str, tone: Tone) -> Line<'static> {
        Line::styled(self.text(text), self.style(tone))
    }

    fn plain(&self, text: &str) -> Line<'static> {
        Line::raw(self.text(text))
    }
}

/// Draws all of it; gives how many lines of a check are above the screen.
pub fn draw(model: &Model, look: &Look, area: Rect, buffer: &mut Buffer) -> usize {
    if area.height == 0 || area.width == 0 {
        return 0;
    }
    let mut hidden = 0;
    let width = usize::from(area.width);
    let height = usize::from(area.height);
    let mut lines = head(model, look, width);
    lines.truncate(height - 1);
    let room = height - lines.len() - 1;
    let body = match &model.mode {
        Mode::Help => help(look),
        Mode::Detail(above) => {
            let all = wrapped(detail(model, look), width);
            hidden = (*above).min(all.len().saturating_sub(room));
            all.into_iter().skip(hidden).collect()
        }
        _ => matrix(model, look, width, room),
    };
    lines.extend(body.into_iter().take(room));
    for (y, line) in (area.y..).zip(&lines) {
        buffer.set_line(area.x, y, line, area.width);
    }
    buffer.set_line(area.x, area.bottom() - 1, &foot(model, look), area.width);
    hidden
}

/// The mesh in two lines, and what is wrong with it.
fn head(model: &Model, look: &Look, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    match &model.board.mesh {
        None => lines.push(look.plain("parallax top")),
        Some(mesh) => {
            let leader = match mesh.leader_id {
                0 => "NO LEADER".to_owned(),
                leader => format!("leader {leader}"),
            };
            let text = format!(
                "{}  {}/{} probes  {} open  {leader}  by {}  rev {}",
                mesh.mesh,
                mesh.probes_live,
                mesh.probes_known,
                mesh.incidents_open,
                mesh.node_id,
                mesh.applied
            );
            let calm = mesh.leader_id != 0 && mesh.probes_live == mesh.probes_known;
            lines.push(look.toned(&text, if calm { Tone::Plain } else { Tone::Warn }));
            if !mesh.stands_still.is_empty() {
                lines.push(look.toned(&mesh.stands_still, Tone::Bad));
            }
        }
    }
    if let Some(cluster) = &model.cluster {
        let members: Vec<String> = cluster.members.iter().map(member).collect();
        let well = cluster.members.iter().all(|it| it.reached);
        let text = format!("members {}", members.join("  "));
        lines.push(look.toned(&text, if well { Tone::Plain } else { Tone::Warn }));
    }
    if let Some(why) = &model.trouble {
        let text = match model.answered {
            Some(at) => {
                let seconds = look.now.saturating_duration_since(at).as_secs();
                format!("no answer for {seconds} s: {why}")
            }
            None => format!("no answer yet: {why}"),
        };
        lines.extend(wrapped(vec![look.toned(&text, Tone::Bad)], width));
    }
    if model.board.cut {
        lines.push(look.toned("not all checks are shown: filter by a label", Tone::Warn));
    }
    lines
}

/// `c2* lag 3`.
fn member(it: &v1::ClusterMember) -> String {
    let leads = if it.leader { "*" } else { "" };
    if !it.reached {
        return format!("{}{leads} (not reached)", it.name);
    }
    match it.lag {
        Some(lag) if lag > 0 => format!("{}{leads} lag {lag}", it.name),
        _ => format!("{}{leads}", it.name),
    }
}

/// `text` in so many columns.
fn fitted(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    if length <= columns {
        return format!("{text:columns$}");
    }
    text.chars().take(columns.saturating_sub(1)).chain(['>']).take(columns).collect()
}

/// Checks x regions, and below them what is open.
fn matrix(model: &Model, look: &Look, width: usize, room: usize) -> Vec<Line<'static>> {
    let shown = model.shown();
    let open = incidents(model, look, room / 3);
    let rows = room.saturating_sub(open.len() + 1).max(1);
    // The narrower, the less: words of ballots go first, then the time since, then latency.
    let longest = shown.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
    let name = longest.clamp(5, if width >= 100 { 40 } else { 18 }).min(width / 2);
    let (since, latency) = (width >= 50, width >= 60);
    let fixed = 2 + name + 1 + 12 + usize::from(since) * 8 + usize::from(latency) * 8;
    let regions = &model.board.regions;
    let words = fixed + regions.iter().map(|it| it.chars().count().max(10) + 1).sum::<usize>();
    let words = words <= width;
    let column = |region: &String| if words { region.chars().count().max(10) } else { 4 };
    let fit = match words {
        true => regions.len(),
        // Where not all fit, what says how many are left out has its room.
        false if fixed + regions.len() * 5 <= width => regions.len(),
        false => width.saturating_sub(fixed + 3) / 5,
    };
    let mut header = format!("  {} {:12}", fitted("CHECK", name), "VERDICT");
    if since {
        header.push_str(&format!("{:8}", "FOR"));
    }
    if latency {
        header.push_str(&format!("{:8}", "LAST"));
    }
    for region in &regions[..fit] {
        header.push_str(&format!("{} ", fitted(&region.to_uppercase(), column(region))));
    }
    if fit < regions.len() {
        header.push_str(&format!("+{}", regions.len() - fit));
    }
    let mut lines =
        vec![Line::styled(look.text(&header), Style::default().add_modifier(Modifier::BOLD))];
    if shown.is_empty() {
        lines.push(look.plain(match model.answered {
            None => "  waiting for the first answer",
            Some(_) if model.filter.is_empty() => "  no checks",
            Some(_) => "  no check fits the filter",
        }));
    }
    let place = model.place();
    let first = (place + 1).saturating_sub(rows);
    for (index, row) in shown.iter().enumerate().skip(first).take(rows) {
        let chosen = index == place;
        let word = verdict(row);
        let cell = format!("{} {word}", look.mark(mark::of_verdict(&word)));
        let lead = if chosen { "> " } else { "  " };
        let mut spans = vec![
            Span::raw(format!("{lead}{} ", fitted(&look.text(&row.name), name))),
            Span::styled(format!("{cell:12}"), look.style(Tone::of_verdict(&word))),
        ];
        if since {
            spans.push(Span::raw(format!("{:8}", time::age(row.since.as_ref(), look.utc))));
        }
        if latency {
            let last = slowest(row).and_then(|ns| u64::try_from(ns).ok());
            let last = last.map(std::time::Duration::from_nanos).map(time::rounded_length);
            spans.push(Span::raw(format!("{:8}", time::or_dash(last))));
        }
        for region in &regions[..fit] {
            let ballot = row.ballots.iter().find(|it| it.region == *region).map(BallotView::new);
            let (text, tone) = match &ballot {
                None => (String::new(), Tone::Plain),
                Some(it) => {
                    let word = it.counts_as();
                    let mark = look.mark(mark::of_ballot(word));
                    let text = if words { format!("{mark} {word}") } else { mark.to_string() };
                    (text, Tone::of_ballot(word))
                }
            };
            let columns = column(region);
            spans.push(Span::styled(format!("{} ", fitted(&text, columns)), look.style(tone)));
        }
        let line = Line::from(spans);
        lines.push(if chosen {
            line.patch_style(Style::default().add_modifier(Modifier::BOLD))
        } else {
            line
        });
    }
    lines.truncate(rows + 1);
    lines.resize(rows + 1, Line::default());
    lines.extend(open);
    lines
}

/// What is open, in at most so many lines.
fn incidents(model: &Model, look: &Look, most: usize) -> Vec<Line<'static>> {
    let all = &model.board.incidents;
    if all.is_empty() || most < 2 {
        return Vec::new();
    }
    let more = if model.board.incidents_cut { "+" } else { "" };
    let title = format!("OPEN INCIDENTS ({}{more})", all.len());
    let mut lines = vec![Line::styled(title, Style::default().add_modifier(Modifier::BOLD))];
    for it in all.iter().take(most - 1) {
        let view = IncidentView::new(it, &[]);
        let age = time::age(it.opened_at.as_ref(), look.utc);
        let uid: String = it.uid.chars().take(13).collect();
        let tone = if it.acknowledged_at.is_some() { Tone::Warn } else { Tone::Bad };
        lines.push(
            look.toned(&format!("  {uid}  {age:6}  {}, {}", view.subject(), view.standing()), tone),
        );
    }
    lines
}

/// Everything about one check.
fn detail(model: &Model, look: &Look) -> Vec<Line<'static>> {
    let title =
        |text: &str| Line::styled(text.to_owned(), Style::default().add_modifier(Modifier::BOLD));
    let mut lines = Vec::new();
    let Some(row) = model.row() else {
        return vec![look.plain("this check is gone; Esc leads back")];
    };
    let word = verdict(row);
    let since = time::age(row.since.as_ref(), look.utc);
    let first = format!("{}  {} {word} for {since}", row.name, mark::of_verdict(&word));
    let first = if look.ascii { format!("{}  {word} for {since}", row.name) } else { first };
    lines.push(look.toned(&first, Tone::of_verdict(&word)));
    lines.push(look.plain(&row.target));
    lines.push(title("REGIONS"));
    for it in &row.ballots {
        let ballot = BallotView::new(it);
        let word = ballot.counts_as();
        let mark = look.mark(mark::of_ballot(word));
        let age = time::age(it.since.as_ref(), look.utc);
        let last = time::or_dash(time::rounded(it.last_total.as_ref()));
        let outcome = time::or_dash(word::said(word::outcome(it.last_outcome)));
        let reason = word::said(word::reason(it.reason)).filter(|_| outcome != "pass");
        let reason = reason.map(|it| format!(" ({it})")).unwrap_or_default();
        let text = format!(
            "  {mark} {}: {word} for {age}, last {outcome}{reason} in {last}, {} in a row",
            it.region, it.in_a_row
        );
        // The mark is one of ours, the rest is what others wrote.
        let line = Line::styled(clean(&text), look.style(Tone::of_ballot(word)));
        lines.push(line);
        if !it.evidence.is_empty() && outcome != "pass" {
            lines.push(look.plain(&format!("    {}", it.evidence)));
        }
    }
    let Some(detail) = &model.detail else {
        lines.push(look.plain("asking for more"));
        return lines;
    };
    if let Some(latency) = &detail.latency {
        lines.push(title("LATENCY OF THE LAST HOUR  p50 p95 p99"));
        lines.extend(bars(latency, look));
    }
    lines.push(title("WHY"));
    lines.extend(detail.explained.sentences.iter().map(|it| look.plain(&format!("  {it}"))));
    if !detail.explained.now.is_empty() {
        lines.push(title("NOW"));
        lines.extend(detail.explained.now.iter().map(|it| look.plain(&format!("  {it}"))));
    }
    if let Some(it) = &detail.explained.incident {
        let view = IncidentView::new(it, &[]);
        lines.push(title("INCIDENT"));
        lines.push(look.plain(&format!("  {}: {} {}", it.uid, view.subject(), view.standing())));
        for it in &it.deliveries {
            lines.push(look.plain(&format!("  {}", DeliveryView::new(it).line())));
        }
        for it in &it.timeline {
            let at = time::or_dash(time::instant(it.at.as_ref()));
            lines.push(look.plain(&format!("  {at}  {}", EventView::new(it).text())));
        }
    }
    lines
}

/// One line a phase: its bar is as long as its median, against the longest.
fn bars(latency: &v1::QueryHistoryResponse, look: &Look) -> Vec<Line<'static>> {
    const COLUMNS: u128 = 20;
    let series: Vec<&v1::HistorySeries> = latency.rows.iter().flat_map(|it| &it.series).collect();
    let median = |it: &v1::HistorySeries| {
        it.quantiles.first().and_then(time::positive).map_or(0, |it| it.as_nanos())
    };
    let longest = series.iter().copied().map(median).max().unwrap_or_default().max(1);
    if series.is_empty() {
        return vec![look.plain("  nothing was measured")];
    }
    let bar = |it: &v1::HistorySeries| {
        let length = usize::try_from((median(it) * COLUMNS).div_ceil(longest)).unwrap_or_default();
        if look.ascii { "#".repeat(length) } else { "█".repeat(length) }
    };
    let line = |it: &&v1::HistorySeries| {
        let quantiles: Vec<String> =
            it.quantiles.iter().map(|it| time::or_dash(time::rounded(Some(it)))).collect();
        let (phase, bar) = (word::phase(it.phase), bar(it));
        Line::raw(format!("  {phase:10} {bar:20} {}", quantiles.join(" ")))
    };
    series.iter().map(line).collect()
}

/// Long lines go on in the next one.
fn wrapped(lines: Vec<Line<'static>>, width: usize) -> Vec<Line<'static>> {
    let mut all = Vec::new();
    for line in lines {
        if line.width() <= width {
            all.push(line);
            continue;
        }
        let text: Vec<char> = line.spans.iter().flat_map(|it| it.content.chars()).collect();
        for part in text.chunks(width.max(1)) {
            all.push(Line::styled(part.iter().collect::<String>(), line.style));
        }
    }
    all
}

fn help(look: &Look) -> Vec<Line<'static>> {
    [
        "up down j k    one check up or down",
        "PgUp PgDn      a screen up or down",
        "Home End g G   first and last",
        "Enter          all about the check; Esc leads back",
        "/              filter: text of names and targets; of labels team=payments, tier!=test, !old",
        "s              sort by verdict, name, latency or since",
        "a              acknowledge the incident of the check, with a note",
        "?              this page; any key leads back",
        "q Ctrl-C       quit",
    ]
    .iter()
    .map(|it| look.plain(it))
    .collect()
}

/// What is typed, what became of it, or which keys there are.
fn foot(model: &Model, look: &Look) -> Line<'static> {
    let told = |keys: &str| model.told.clone().unwrap_or_else(|| keys.to_owned());
    let text = match &model.mode {
        Mode::Filter(typed) => format!("/{typed}_  (Enter: filter, Esc: back)"),
        Mode::Note { uid, typed } => {
            let uid: String = uid.chars().take(13).collect();
            match &model.told {
                Some(told) if typed.is_empty() => format!("note for {uid}: _  ({told})"),
                _ => format!("note for {uid}: {typed}_"),
            }
        }
        Mode::Help => "any key: back  q: quit".to_owned(),
        Mode::Detail(_) => told("Esc: back  a: acknowledge  j k: scroll  ?: help  q: quit"),
        Mode::Matrix => {
            let filter = match model.filter.as_str() {
                "" => String::new(),
                filter => format!("filter: {filter} (Esc: none)  "),
            };
            let sort = model.sort.word();
            told(&format!("{filter}sort: {sort}  ?: help  Enter: more  /: filter  q: quit"))
        }
    };
    Line::styled(look.text(&text), Style::default().add_modifier(Modifier::REVERSED))
}

#[cfg(test)]
mod tests;
