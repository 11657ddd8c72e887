//! Plain tables: a header, columns two spaces apart, no lines. Cut and sort them with the usual
//! tools.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table as Inner, TableStyle};

use super::mark::Tone;

/// A table that is being filled.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        Self { header: header.into_iter().map(str::to_owned).collect(), rows: Vec::new() }
    }

    /// Adds a row without colours.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.toned(cells.into_iter().map(|cell| (cell.into(), Tone::Plain)));
    }

    /// Adds a row with a tone for each cell.
    pub fn toned(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        self.rows.push(cells.into_iter().map(|(cell, tone)| (clean(&cell), tone)).collect());
    }

    /// Columns that the widest rows take.
    pub fn natural_width(&self) -> usize {
        let widths = self.inner(false).column_max_content_widths();
        widths.iter().map(|&width| usize::from(width) + GAP).sum::<usize>().saturating_sub(GAP)
    }

    /// The text, wrapped inside cells when it is wider than `width`.
    pub fn render(&self, width: Option<usize>, color: bool) -> String {
        let mut table = self.inner(color);
        if let Some(width) = width
            && self.natural_width() > width
        {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
            // The first column names what the row is about and is never broken up.
            if let Some(first) = table.column_mut(0) {
                first.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut text: String =
            table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        if self.header.is_empty() && self.rows.is_empty() {
            text.clear();
        }
        text
    }

    fn inner(&self, color: bool) -> Inner {
        let mut table = Inner::new();
        table.load_style(TableStyle::new());
        table.force_no_tty();
        if color {
            table.enforce_styling();
        }
        table.set_content_arrangement(ContentArrangement::Disabled);
        if !self.header.is_empty() {
            table.set_header(self.header.iter().map(Cell::new));
        }
        for row in &self.rows {
            table.add_row(row.iter().map(|(text, tone)| cell(text, *tone, color)));
        }
        table.discover_columns();
        for column in table.column_iter_mut() {
            column.set_padding((0, u16::try_from(GAP).unwrap_or(2)));
        }
        table
    }
}

/// Spaces between columns.
const GAP: usize = 2;

fn cell(text: &str, tone: Tone, color: bool) -> Cell {
    let cell = Cell::new(text);
    if !color {
        return cell;
    }
    match tone {
        Tone::Good => cell.fg(comfy_table::Color::Green),
        Tone::Warn => cell.fg(comfy_table::Color::Yellow),
        Tone::Bad => cell.fg(comfy_table::Color::Red),
        Tone::Dim => cell.fg(comfy_table::Color::DarkGrey),
        Tone::Plain => cell,
    }
}

/// Text from the network must not steer the terminal or break the row.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "STATE", "WHY"]);
        table.row(["shop", "up", ""]);
        table.row(["checkout", "down", "three of five regions fail: connection refused"]);
        table
    }

    #[test]
    fn columns_stand_two_spaces_apart_and_lines_end_without_any() {
        assert_eq!(
            table().render(None, false),
            "NAME      STATE  WHY\nshop      up\ncheckout  down   three of five regions fail: \
             connection refused\n"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_text_but_not_names() {
        let text = table().render(Some(40), false);
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.contains("checkout"), "{text}");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(["A"]);
        table.row(["x\u{1b}[31my\nz"]);
        assert_eq!(table.render(None, false), "A\nx [31my z\n");
    }
}
