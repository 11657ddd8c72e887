//! Reads the text tables that stand beside what they test: a row a case, columns between bars, and what
//! they mean explained at the top, so that nobody needs Rust to check them.

/// The rows of a table, without its explanations.
pub fn lines(table: &str) -> impl Iterator<Item = &str> {
    table.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.is_empty())
}

/// The columns of a row, which are so many.
pub fn columns<const N: usize>(line: &str) -> [&str; N] {
    let columns: Vec<_> = line.split('|').map(str::trim).collect();
    columns.try_into().unwrap_or_else(|_| panic!("{N} columns: {line}"))
}

/// Yes or no.
pub fn yes(word: &str) -> bool {
    match word {
        "yes" => true,
        "no" => false,
        other => panic!("neither yes nor no: {other}"),
    }
}
