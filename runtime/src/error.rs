//! Errors as one line of text.

/// An error and its sources in one line.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let each = std::iter::successors(Some(error), |error| error.source());
    each.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
