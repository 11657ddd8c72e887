//! What a command may do with the terminal: print data, talk, read its input.

use std::io::{IsTerminal as _, Read, Write};

use parallax_common::time::UtcTime;
use serde::Serialize;

use crate::args::Format;
use crate::exit::Failure;
use crate::output::table::Table;

/// The terminal as commands see it.
pub struct Shell {
    /// Data goes here and nothing else.
    pub out: Box<dyn Write + Send>,
    /// Everything else.
    pub err: Box<dyn Write + Send>,
    /// What `-f -` reads.
    pub input: Box<dyn Read + Send>,
    /// Somebody is there who can say yes: the input is a terminal.
    pub terminal: bool,
    /// How data is printed.
    pub format: Format,
    /// Colours in data.
    pub color_out: bool,
    /// Colours in talk.
    pub color_err: bool,
    /// Columns of the terminal that data goes to; `None` when it is none.
    pub width: Option<usize>,
    /// Reads the clock, for ages in tables.
    pub now: fn() -> UtcTime,
}

impl Shell {
    /// The terminal of this process.
    pub fn of_process(format: Format, no_color: bool) -> Self {
        let out = std::io::stdout().is_terminal();
        let err = std::io::stderr().is_terminal();
        // https://no-color.org: set and not empty, whatever it says.
        let colors = !no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            input: Box::new(std::io::stdin()),
            terminal: std::io::stdin().is_terminal(),
            format,
            color_out: colors && out,
            color_err: colors && err,
            width: out.then(columns).flatten(),
            now: parallax_runtime::clock::utc,
        }
    }

    /// Prints one document: JSON or YAML as asked, or the table that `table` makes.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn data<V: Serialize>(
        &mut self,
        view: &V,
        table: impl FnOnce(&Shell) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => table(self),
            Format::Json => {
                let mut text = serde_json::to_string_pretty(view)
                    .map_err(|error| Failure::Print(error.to_string()))?;
                text.push('\n');
                text
            }
            Format::Yaml => yaml(view)?,
        };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }

    /// Prints one document that has no table: YAML, unless JSON is asked for.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn document<V: Serialize>(&mut self, view: &V) -> Result<(), Failure> {
        let text = yaml(view)?;
        self.data(view, |_| text)
    }

    /// Prints one item of a stream: JSON on one line, a YAML document, or the line that `line`
    /// makes.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn item<V: Serialize>(
        &mut self,
        view: &V,
        line: impl FnOnce(&Shell) -> String,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => line(self),
            Format::Json => {
                let mut text = serde_json::to_string(view)
                    .map_err(|error| Failure::Print(error.to_string()))?;
                text.push('\n');
                text
            }
            Format::Yaml => format!("---\n{}", yaml(view)?),
        };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }

    /// Talks: to stderr, so that data stays data. A terminal that cannot be talked to is no reason
    /// to fail.
    pub fn say(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
        let _ = self.err.write_all(b"\n");
        let _ = self.err.flush();
    }

    /// A table, or that there is nothing to show.
    pub fn rows(&self, table: Table) -> String {
        table.render(self.width, self.color_out)
    }
}

fn yaml<V: Serialize>(view: &V) -> Result<String, Failure> {
    serde_saphyr::to_string(view).map_err(|error| Failure::Print(error.to_string()))
}

/// What the terminal says, or what the shell exported.
fn columns() -> Option<usize> {
    let said = comfy_table::Table::new().width().map(usize::from);
    said.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok()).filter(|&columns| columns > 0)
}
