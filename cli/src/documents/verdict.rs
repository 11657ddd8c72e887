//! The numbers of docs/verdict.md are those of the tables that the decision is tested by.

use super::file;

/// The lines of a section, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let below: Vec<&str> = text.lines().skip_while(|line| *line != heading).skip(1).collect();
    assert!(!below.is_empty(), "there is no heading {heading}");
    below.into_iter().take_while(|line| !line.starts_with("## ")).collect()
}

/// The cells of a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inside = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inside.split('|').map(str::trim).collect())
}

/// The row of a table of the decision that begins with these words, without them.
fn row<'a>(table: &'a str, begins: &str) -> &'a str {
    let rest = table.lines().find_map(|line| line.trim().strip_prefix(begins));
    rest.unwrap_or_else(|| panic!("no row begins with {begins}"))
}

#[test]
fn the_numbers_of_a_quorum_are_those_that_decisions_follow() {
    let text = file("docs/verdict.md");
    let quorum = file("coordinator/src/core/decide/quorum.txt");
    let numbers: Vec<Vec<&str>> =
        section(&text, "## The numbers").into_iter().filter_map(cells).collect();
    let of = |name: &str| {
        let found = numbers.iter().find(|cells| cells[0] == name);
        &found.unwrap_or_else(|| panic!("there is no row {name}"))[1..]
    };
    assert_eq!(of("R").len(), 7);
    for (at, regions) in of("R").iter().enumerate() {
        let said = ["D", "U", "floor", "may"].map(|name| of(name)[at]);
        let known: Vec<&str> =
            row(&quorum, &format!("{regions} majority |")).split_whitespace().collect();
        assert_eq!(said.as_slice(), known, "R = {regions}");
    }
}

#[test]
fn the_worked_example_says_what_the_table_of_every_mix_of_votes_says() {
    let text = file("docs/verdict.md");
    let table = file("coordinator/src/core/decide/table.txt");
    let mut open = false;
    let mut seen = 0;
    for cells in section(&text, "## A worked example").into_iter().filter_map(cells) {
        let [_, _, failing, passing, verdict] = cells.as_slice() else { continue };
        let (Ok(failing), Ok(passing)) = (failing.parse::<u32>(), passing.parse::<u32>()) else {
            continue;
        };
        let begins = format!("5 {failing} {passing} {} |", 5 - failing - passing);
        let (closed, opened) = row(&table, &begins).split_once('|').unwrap();
        let known = if open { opened.trim() } else { closed.trim() };
        let said = verdict.replace(['`', '*', ','], "");
        assert_eq!(said.split(' ').next(), known.split(' ').next(), "{begins} {said}");
        for word in ["opens", "resolves"] {
            assert_eq!(said.contains(word), known.contains(word), "{begins} {said}");
        }
        open = (open || said.contains("opens")) && !said.contains("resolves");
        seen += 1;
    }
    assert!(seen >= 10 && !open, "{seen} rows");
}
