//! Checks that depend on others: whether the way from one leads back to it.

use std::collections::BTreeSet;

/// The first way from `start` back to a check on it, each check named by the one before it. What is in
/// `done` leads to none; what is found to is added, so that many checks cost no more than all of them.
pub fn cycle(
    start: &str,
    parents: &impl Fn(&str) -> Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    // A stack of its own: a chain may be as long as there are checks.
    let mut path: Vec<(String, Vec<String>)> = Vec::new();
    let mut on_path = BTreeSet::new();
    let mut next = Some(start.to_owned());
    loop {
        if let Some(name) = next.take()
            && !done.contains(&name)
        {
            if on_path.contains(&name) {
                let begin = path.iter().position(|(at, _)| *at == name).unwrap_or(0);
                let mut cycle: Vec<String> =
                    path[begin..].iter().map(|(at, _)| at.clone()).collect();
                cycle.push(name);
                return Some(cycle);
            }
            on_path.insert(name.clone());
            let mut waiting = parents(&name);
            waiting.reverse();
            path.push((name, waiting));
        }
        let (name, waiting) = path.last_mut()?;
        next = waiting.pop();
        if next.is_none() {
            on_path.remove(name);
            done.insert(std::mem::take(name));
            path.pop();
        }
    }
}

/// A way back, in words.
pub fn told(cycle: &[String]) -> String {
    /// As many names as anybody follows.
    const NAMED: usize = 8;
    let mut names: Vec<&str> = cycle.iter().map(String::as_str).collect();
    if names.len() > NAMED {
        names.truncate(NAMED);
        names.push("...");
    }
    format!("it depends on itself: {}", names.join(" -> "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::table::{columns, lines};

    /// `a:b,c b:c`: what each depends on.
    fn found(text: &str, start: &str) -> String {
        let all: BTreeMap<String, Vec<String>> = text
            .split(' ')
            .filter_map(|one| one.split_once(':'))
            .map(|(name, of)| (name.to_owned(), of.split(',').map(str::to_owned).collect()))
            .collect();
        let parents = |name: &str| all.get(name).cloned().unwrap_or_default();
        let mut done = BTreeSet::new();
        cycle(start, &parents, &mut done).map(|cycle| cycle.join(" ")).unwrap_or_default()
    }

    #[test]
    fn a_way_back_is_found_and_named() {
        let mut rows = 0;
        for line in lines(include_str!("cycles.txt")) {
            let [text, start, way] = columns(line);
            assert_eq!(found(text, start), way, "{line}");
            rows += 1;
        }
        assert_eq!(rows, 8);
    }

    #[test]
    fn a_chain_as_long_as_anybody_has_is_gone_through_once() {
        let parents = |name: &str| match name.parse::<u32>() {
            Ok(0) | Err(_) => Vec::new(),
            Ok(n) => vec![(n - 1).to_string()],
        };
        let mut done = BTreeSet::new();
        for start in ["100000", "99999", "50000"] {
            assert_eq!(cycle(start, &parents, &mut done), None);
        }
        assert_eq!(done.len(), 100_001);
        let round = |name: &str| vec![name.parse::<u32>().map_or(0, |n| (n + 1) % 20).to_string()];
        let way = cycle("0", &round, &mut BTreeSet::new()).unwrap();
        assert_eq!(way.len(), 21);
        assert!(told(&way).ends_with("6 -> 7 -> ..."), "{}", told(&way));
    }
}
