//! How the id of a request is spelled: by the command line when it fails, and in every log.

use parallax_common::text::cut;

use crate::v1;

/// Of a client's name, which may be anything before it was judged, at most so many bytes are shown.
const SHOWN_MAX: usize = 64;

/// `client/number`.
pub fn shown(id: &v1::RequestId) -> String {
    format!("{}/{}", cut(&id.client, SHOWN_MAX), id.number)
}

/// What a peer says of a request, in as many bytes as [`shown`] makes at most.
pub fn heard(request: &str) -> &str {
    // A number has 20 digits.
    cut(request, SHOWN_MAX + 1 + 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_shown_in_one_form_and_within_bounds() {
        let id = |client: &str, number| v1::RequestId {
            client: client.to_owned(),
            number,
            ..v1::RequestId::default()
        };
        assert_eq!(shown(&id("cli-7", 3)), "cli-7/3");
        let longest = shown(&id(&"x".repeat(1_000), u64::MAX));
        assert_eq!(heard(&longest), longest);
        assert_eq!(heard(&"y".repeat(1_000)).len(), longest.len());
    }
}
