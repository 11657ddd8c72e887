//! Links by which whoever gets a page acknowledges its incident: what stands in them, and whether one
//! that comes back is one of ours.
//!
//! `<public_url>/ack/<incident>/<contact>.<signature>`: HMAC-SHA-256 over both uids, under a key that
//! is in the replicated state, made once by a leader, and in no answer, no export and no backup. It
//! holds for as long as the incident is open, and 7 days from its opening at most. What a link can do is
//! that and nothing else.

use parallax_common::limits::{ACK_LINK_KEY_BYTES, ACK_LINK_LASTS};
use parallax_common::time::UtcTime;
use parallax_proto::v1;
use ring::hmac;

use super::stamp;

/// What is signed in front of the uids: a signature for something else is none for this.
const PURPOSE: &[u8] = b"parallax acknowledgement 1";

/// Where the links of a namespace lead, with the path of one incident and contact.
pub fn link(public_url: &str, key: &[u8], incident: &str, contact: &str) -> Option<String> {
    if public_url.is_empty() || key.len() != ACK_LINK_KEY_BYTES {
        return None;
    }
    let base = public_url.trim_end_matches('/');
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &signed(incident, contact));
    let signature: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{base}/ack/{incident}/{contact}.{signature}"))
}

/// The uid of the contact that a token was made for, when it was made for this incident by whoever has
/// the key, and still holds.
pub fn holder<'t>(
    key: &[u8],
    incident: &v1::Incident,
    token: &'t str,
    now: UtcTime,
) -> Option<&'t str> {
    if key.len() != ACK_LINK_KEY_BYTES {
        return None;
    }
    let (contact, signature) = token.rsplit_once('.')?;
    let signature = bytes(signature)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::verify(&key, &signed(&incident.uid, contact), &signature).ok()?;
    let opened = stamp::utc(incident.opened_at.as_ref());
    (now < opened + ACK_LINK_LASTS).then_some(contact)
}

/// Both uids behind their lengths, so that no other two read the same.
fn signed(incident: &str, contact: &str) -> Vec<u8> {
    let mut message = PURPOSE.to_vec();
    for part in [incident, contact] {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part.as_bytes());
    }
    message
}

/// 64 hex digits in small letters.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    if hex.len() != 64 {
        return None;
    }
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests;
