//! What a target said, as evidence: without secrets, readable, and short.
//!
//! A target may repeat what it was sent. Secrets are taken out of the bytes as they came, before
//! anything is escaped or cut, so that no form of them is overlooked; of one that is not whole yet, what
//! is there at the end is taken out as well.

use parallax_common::redact::redact;

/// Bytes of an answer that evidence shows: its beginning, which says what it is, and its end, which is
/// what was said last.
const SHOWN_BYTES_MAX: usize = 160;
/// How many of them are the beginning.
const SHOWN_FIRST_BYTES: usize = 100;
/// A secret's beginning at the end of an answer is taken out from so many bytes on; less may be
/// chance.
const PART_BYTES_MIN: usize = 3;

/// Bytes at its beginning, and at its end, in which secrets are looked for in other forms as well.
const SEARCHED_BYTES: usize = 4_096;

/// What was said, quoted; of a long answer its beginning and its end.
pub fn quoted(said: &[u8], secrets: &[String]) -> String {
    let said = without(said, secrets);
    let said = match said.len() <= 2 * SEARCHED_BYTES {
        true => in_no_form(&said, secrets),
        false => {
            let (first, last) = (&said[..SEARCHED_BYTES], &said[said.len() - SEARCHED_BYTES..]);
            [in_no_form(first, secrets), in_no_form(last, secrets)].concat()
        }
    };
    if said.len() <= SHOWN_BYTES_MAX {
        return format!("\"{}\"", escaped(&said));
    }
    let first = escaped(&said[..SHOWN_FIRST_BYTES]);
    let last = escaped(&said[said.len() - (SHOWN_BYTES_MAX - SHOWN_FIRST_BYTES)..]);
    format!("\"{first}...{last}\"")
}

/// Without secrets as they may have been repeated in other forms.
fn in_no_form(said: &[u8], secrets: &[String]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(said.len());
    for chunk in said.utf8_chunks() {
        shown.extend_from_slice(redact(chunk.valid(), secrets).as_bytes());
        shown.extend_from_slice(chunk.invalid());
    }
    shown
}

fn escaped(said: &[u8]) -> String {
    let mut shown = String::with_capacity(said.len());
    for chunk in said.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => shown.extend(['\\', c]),
                '\r' => shown.push_str("\\r"),
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                c if c.is_control() => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
                c => shown.push(c),
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// The bytes with every secret in them replaced by `***`.
pub fn without(said: &[u8], secrets: &[String]) -> Vec<u8> {
    const MASK: &[u8] = b"***";
    let mut said = said.to_vec();
    // The longest first: one may be a part of another.
    let mut secrets: Vec<&[u8]> = secrets.iter().map(|secret| secret.as_bytes()).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let mut out = Vec::with_capacity(said.len());
        let mut rest = said.as_slice();
        while let Some((first, after)) = rest.split_first() {
            if let Some(after) = rest.strip_prefix(*secret) {
                out.extend_from_slice(MASK);
                rest = after;
            } else {
                out.push(*first);
                rest = after;
            }
        }
        said = out;
    }
    let part = |secret: &&[u8]| {
        let longest = secret.len().saturating_sub(1).min(said.len());
        (PART_BYTES_MIN..=longest).rev().find(|length| said.ends_with(&secret[..*length]))
    };
    if let Some(length) = secrets.iter().filter_map(part).max() {
        said.truncate(said.len() - length);
        said.extend_from_slice(MASK);
    }
    said
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_said_is_readable_and_has_no_secrets() {
        let secrets = ["hunter2".to_owned(), "hunter2 and more".to_owned(), "\r\"x".to_owned()];
        for (said, shown) in [
            (&b"220 mail\r\n"[..], r#""220 mail\r\n""#),
            (b"a\"b\\c\x00\xff\xc3\xa9", r#""a\"b\\c\x00\xffé""#),
            (b"PASS hunter2\r\n", r#""PASS ***\r\n""#),
            (b"hunter2hunter2 and more", r#""******""#),
            // Not whole yet.
            (b"PASS hunte", r#""PASS ***""#),
            (b"PASS hu", r#""PASS hu""#),
            // One that escaping would have hidden.
            (b"so \r\"x it is", r#""so *** it is""#),
            (b"", r#""""#),
        ] {
            assert_eq!(quoted(said, &secrets), shown);
        }
        let long = quoted(&[b'a'; 1_000], &[]);
        assert_eq!(long.len(), SHOWN_BYTES_MAX + 5);
        let said = [&b"-DENIED"[..], &[b'a'; 1_000], b"the end"].concat();
        let shown = quoted(&said, &[]);
        assert!(shown.starts_with("\"-DENIEDaa") && shown.ends_with("aathe end\""), "{shown}");
        // Cut in the middle of a secret, had it not been taken out before, at either place.
        for before in [SHOWN_FIRST_BYTES - 3, 1_000 - 3] {
            let mut said = [b'a'; 1_000 + SHOWN_BYTES_MAX - SHOWN_FIRST_BYTES + 4].to_vec();
            said.splice(before..before + 7, *b"hunter2");
            let shown = quoted(&said, &secrets);
            assert!(!shown.contains("hun") && !shown.contains("ter2"), "{shown}");
        }
        // In another form, across either place, in short answers and in long ones.
        for (form, length) in
            ["hu%6eter2", "HUNTER2"].into_iter().flat_map(|it| [(it, 400), (it, 20_000)])
        {
            let last = length - (SHOWN_BYTES_MAX - SHOWN_FIRST_BYTES);
            for before in (SHOWN_FIRST_BYTES - 8..SHOWN_FIRST_BYTES).chain(last - 8..last) {
                let mut said = vec![b'a'; length - form.len()];
                said.splice(before..before, form.bytes());
                let shown = quoted(&said, &secrets).to_ascii_lowercase();
                assert!(!shown.contains("hu") && !shown.contains("r2"), "{form} {before}: {shown}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_left_in_anything(
            said in "[ab\\r\"]{0,40}", secret in "[ab\\r\"]{3,6}", at in 0usize..40,
        ) {
            let at = at.min(said.len());
            let said = format!("{}{secret}{}", &said[..at], &said[at..]);
            let left = without(said.as_bytes(), std::slice::from_ref(&secret));
            prop_assert!(!left.windows(secret.len()).any(|part| part == secret.as_bytes()));
        }
    }
}
