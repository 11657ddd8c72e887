//! Lists in pages: the token is the name after which the next page starts.

use std::collections::BTreeMap;

use parallax_common::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use parallax_proto::v1;
use tonic::Status;

/// One page of a sorted list.
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Empty when there is no next page.
    pub next: String,
}

/// How many items a page may have.
///
/// # Errors
/// A page size above the limit.
pub fn page_size(options: &v1::ListOptions) -> Result<usize, Status> {
    match options.page_size {
        0 => Ok(PAGE_SIZE_DEFAULT as usize),
        size if size <= PAGE_SIZE_MAX => Ok(size as usize),
        size => Err(Status::invalid_argument(format!(
            "options.page_size: {size} is above {PAGE_SIZE_MAX}"
        ))),
    }
}

/// The page of `items` (sorted by key) that the options ask for. Keys are unique.
///
/// # Errors
/// A page size above the limit.
pub fn page<T>(
    options: &v1::ListOptions,
    items: impl Iterator<Item = (String, T)>,
) -> Result<Page<T>, Status> {
    let size = page_size(options)?;
    let mut rest =
        items.skip_while(|(key, _)| !options.page_token.is_empty() && *key <= options.page_token);
    let mut taken = Vec::with_capacity(size.min(128));
    let mut last = String::new();
    for (key, item) in rest.by_ref().take(size) {
        last = key;
        taken.push(item);
    }
    let next = if rest.next().is_some() { last } else { String::new() };
    Ok(Page { items: taken, next })
}

/// Whether all wanted labels are there with these values.
pub fn matches(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &v1::ListOptions) -> (Vec<&'static str>, String) {
        let items = ["a", "b", "c", "d", "e"].map(|name| (name.to_owned(), name));
        let page = page(options, items.into_iter()).unwrap();
        (page.items, page.next)
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_repetition() {
        let mut options = v1::ListOptions { page_size: 2, ..v1::ListOptions::default() };
        let (first, token) = names(&options);
        assert_eq!((first, token.as_str()), (vec!["a", "b"], "b"));
        options.page_token = token;
        let (second, token) = names(&options);
        assert_eq!((second, token.as_str()), (vec!["c", "d"], "d"));
        options.page_token = token;
        assert_eq!(names(&options), (vec!["e"], String::new()));
    }

    #[test]
    fn an_oversized_page_is_refused() {
        let options = v1::ListOptions { page_size: PAGE_SIZE_MAX + 1, ..Default::default() };
        assert!(page(&options, std::iter::empty::<(String, ())>()).is_err());
    }
}
