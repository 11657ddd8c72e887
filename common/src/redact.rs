//! Takes secrets out of what others have said, also as they may have repeated them: percent-encoded, in
//! part or in whole (RFC 3986, 2.1), with `+` for a blank as forms have it, in other letters as hosts are.

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// So many bytes of a secret at the end of a text are taken for one that was cut off there.
const CUT_BYTES_MIN: usize = 4;

/// The text without any of the secrets.
pub fn redact<S: AsRef<str>>(text: &str, secrets: &[S]) -> String {
    // The longest first: one may be a part of another.
    let mut secrets: Vec<&[u8]> = secrets.iter().map(|secret| secret.as_ref().as_bytes()).collect();
    secrets.retain(|secret| !secret.is_empty());
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let found = secrets.iter().find_map(|secret| length(rest.as_bytes(), secret));
        // An encoded character may be a part of one that is not: never cut in its middle.
        match found.and_then(|length| rest.get(length..)) {
            Some(after) => {
                shown.push_str(HIDDEN);
                rest = after;
            }
            None => {
                shown.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    shown
}

/// How many bytes of the text are this secret, when it begins with it.
fn length(text: &[u8], secret: &[u8]) -> Option<usize> {
    let plain = text.len().min(secret.len());
    let is_plain = plain == secret.len() || plain >= CUT_BYTES_MIN;
    let whole = is_plain && text[..plain].eq_ignore_ascii_case(&secret[..plain]);
    // A percent sign of the secret's own may begin an encoded byte or stand for itself.
    whole.then_some(plain).max(encoded(text, secret))
}

fn encoded(text: &[u8], secret: &[u8]) -> Option<usize> {
    let mut at = 0;
    for (before, wanted) in secret.iter().enumerate() {
        at += match text.get(at..)? {
            [b'%', high, low, ..] if is(wanted, *high, *low) => 3,
            [found, ..] if found.eq_ignore_ascii_case(wanted) => 1,
            [b'+', ..] if *wanted == b' ' => 1,
            [] | [b'%'] | [b'%', _] if before >= CUT_BYTES_MIN => return Some(text.len()),
            _ => return None,
        };
    }
    Some(at)
}

/// Whether two digits of base 16 are this byte.
fn is(wanted: &u8, high: u8, low: u8) -> bool {
    let digit = |letter: u8| char::from(letter).to_digit(16);
    let byte = digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low);
    byte.and_then(|byte| u8::try_from(byte).ok())
        .is_some_and(|byte| byte.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_in_which_a_secret_may_come_back_is_hidden() {
        for (text, secrets, shown) in [
            ("nothing here", &["hunter2"][..], "nothing here"),
            ("hunter2 and hunter2", &["hunter2"], "*** and ***"),
            ("at /a%2Fb/ and /a%2fb/", &["a/b"], "at /***/ and /***/"),
            ("q=two+words, two%20words", &["two words"], "q=***, ***"),
            ("https://hunter2.example/", &["HunTer2"], "https://***.example/"),
            ("%68unter2", &["hunter2"], "***"),
            ("abc, ab", &["ab", "abc"], "***, ***"),
            ("10%", &["10%25"], "10%"),
            ("100%25", &["100%"], "***"),
            ("100%25", &["100%25"], "***"),
            ("100%2525", &["100%25"], "***"),
            ("é and %C3%A9", &["é"], "*** and ***"),
            ("cut %6", &["hunter2", ""], "cut %6"),
            ("hun", &["hunter2"], "hun"),
            ("hunter, no more", &["hunter2"], "hunter, no more"),
            ("cut off: hunte", &["hunter2"], "cut off: ***"),
            ("cut off: a%2Fb%2Fc%2", &["a/b/c/d"], "cut off: ***"),
        ] {
            assert_eq!(redact(text, secrets), shown, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_encoding_of_a_secret_is_left(
            before in "[xyz]{0,8}",
            secret in "[a-w0-9/ é]{1,8}",
            encoded in proptest::collection::vec(any::<bool>(), 24),
            after in "\\PC{0,8}",
        ) {
            let mut text = before.clone();
            for character in secret.chars() {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    text.push_str(&format!("%{byte:02x}"));
                }
                if !encoded[text.len() % encoded.len()] {
                    let length = text.len() - 3 * character.len_utf8();
                    text.truncate(length);
                    text.push(character);
                }
            }
            text.push_str(&after);
            let shown = redact(&text, &[&secret]);
            prop_assert!(shown.starts_with(&format!("{before}{HIDDEN}")), "{text}: {shown}");
            prop_assert!(!shown.contains(&secret), "{text}: {shown}");
        }
    }
}
