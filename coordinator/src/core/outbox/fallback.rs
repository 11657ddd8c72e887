//! Who is told in a contact's place, and who in that one's: never the first again.

use parallax_common::limits::FALLBACKS_MAX;

/// Follows the fallbacks of contact `first`, by name.
///
/// # Errors
/// They lead back, or over too many: the names on the way, `first` at both ends of a ring.
pub fn follow<'a>(
    first: &'a str,
    next: impl Fn(&str) -> Option<&'a str>,
) -> Result<(), Vec<&'a str>> {
    let mut way = vec![first];
    let mut at = first;
    while let Some(name) = next(at).filter(|name| !name.is_empty()) {
        let back = way.contains(&name);
        way.push(name);
        if back || way.len() > FALLBACKS_MAX + 1 {
            return Err(way);
        }
        at = name;
    }
    Ok(())
}

/// What is wrong with fallbacks that go this way.
pub fn complaint(way: &[&str]) -> String {
    let shown = way.join(" -> ");
    match way.split_last() {
        Some((last, before)) if before.contains(last) => format!("it leads back: {shown}"),
        _ => format!("it leads over more than {FALLBACKS_MAX} contacts: {shown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A contact and its fallback.
    type Pair = (String, String);

    #[test]
    fn fallbacks_end_and_are_not_too_many() {
        let long: Vec<(String, String)> =
            (0..20).map(|n| (format!("c{n}"), format!("c{}", n + 1))).collect();
        let named = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
        };
        let nine = &long[..FALLBACKS_MAX];
        #[rustfmt::skip]
        let table: [(&str, Vec<Pair>, Option<&str>); 7] = [
            ("a", named(&[]), None),
            ("a", named(&[("a", "b"), ("b", "c")]), None),
            ("a", named(&[("a", "")]), None),
            ("a", named(&[("a", "a")]), Some("it leads back: a -> a")),
            ("a", named(&[("a", "b"), ("b", "c"), ("c", "b")]), Some("it leads back: a -> b -> c -> b")),
            ("c0", nine.to_vec(), None),
            ("c0", long.clone(), Some("it leads over more than 8 contacts: c0 -> c1 -> c2 -> c3 -> c4 -> c5 -> c6 -> c7 -> c8 -> c9")),
        ];
        for (first, pairs, expected) in table {
            let next =
                |at: &str| pairs.iter().find(|(from, _)| from == at).map(|(_, to)| to.as_str());
            let found = follow(first, next).err().map(|way| complaint(&way));
            assert_eq!(found.as_deref(), expected, "{pairs:?}");
        }
    }
}
