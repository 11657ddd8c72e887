//! A door to the replies of mail servers for `fuzz/`, and nothing else.
//!
//! It does with bytes what an attempt would do with them, whatever they are: what is looked for is a
//! panic, work without end, and a password that leaves without TLS.

use bytes::BytesMut;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use parallax_common::limits::SMTP_CHALLENGES_MAX;

use super::dialogue::{Dialogue, Next};
use super::reply;
use crate::core::outbox::Report;
use crate::notify::kinds::email::{Letter, Tls};

/// What a letter with two receivers may have said to it, and no more.
const ANSWERS_MAX: usize = 16 + SMTP_CHALLENGES_MAX;
/// A word that must not be said in the clear, and must not be shown.
const PASSWORD: &str = "kept-to-oneself";

/// What a mail server says, behind a byte that says how a connection begins and in which pieces it comes.
pub fn replies(bytes: &[u8]) {
    told(bytes);
}

/// What comes of it; nothing where the server says no reply, or too few.
fn told(bytes: &[u8]) -> Option<Report> {
    let (how, said) = bytes.split_first()?;
    let tls = [Tls::None, Tls::Starttls, Tls::Whole][usize::from(*how) % 3];
    let piece = usize::from(*how / 3).max(1);
    let letter = Letter {
        host: "mail.example".to_owned(),
        port: 587,
        tls,
        server_name: String::new(),
        ca_pem: String::new(),
        helo: String::new(),
        hidden: vec![PASSWORD.to_owned()],
        credentials: Some(Credentials::new("me".to_owned(), PASSWORD.to_owned())),
        from: "pages@example.com".parse().expect("an address"),
        to: ["a@example.com", "b@example.com"].map(|it| it.parse().expect("an address")).to_vec(),
        id: "<1@example.com>".to_owned(),
        content: Vec::new(),
        note: String::new(),
    };
    let mut secured = tls == Tls::Whole;
    let client = ClientId::Domain("me.example".to_owned());
    let mut dialogue = Dialogue::new(&letter, client, secured);
    let (mut read, mut pieces) = (BytesMut::new(), said.chunks(piece));
    for _ in 0..ANSWERS_MAX {
        let reply = loop {
            match reply::take(&mut read) {
                Err(_) => return None,
                Ok(Some(reply)) => break reply,
                Ok(None) => match pieces.next() {
                    Some(piece) => read.extend_from_slice(piece),
                    None => return None,
                },
            }
        };
        let mut next = dialogue.heard(&reply);
        if next == Next::Secure {
            assert!(!secured, "TLS within TLS");
            // What was said before is not the server's.
            read.clear();
            secured = true;
            next = dialogue.secured();
        }
        match next {
            Next::Say(line) => {
                let commands = line.matches("\r\n").count();
                assert!(commands == 1 && line.ends_with("\r\n"), "one command: {line:?}");
                assert!(secured || !line.starts_with("AUTH"), "a login in the clear");
            }
            Next::Send => {}
            Next::Over(report) => {
                assert!(!format!("{report:?}").contains(PASSWORD), "the password is shown");
                return Some(report);
            }
            Next::Secure => panic!("TLS twice"),
        }
    }
    panic!("a server is answered without end");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What this door leads to is judged beside the dialogue; here, that no seed comes to grief, wherever
    /// it is cut or changed, and that they come to every end.
    #[test]
    fn every_seed_of_replies_is_taken() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/replies");
        let (mut taken, mut refused, mut nothing) = (0, 0, 0);
        for entry in std::fs::read_dir(seeds).expect("seeds") {
            let seed = std::fs::read(entry.expect("a seed").path()).expect("a seed");
            for end in 0..=seed.len() {
                replies(&seed[..end]);
            }
            for at in 0..seed.len() {
                let mut changed = seed.clone();
                changed[at] ^= 1;
                replies(&changed);
            }
            match told(&seed) {
                Some(Report::Taken { .. }) => taken += 1,
                Some(_) => refused += 1,
                None => nothing += 1,
            }
        }
        assert_eq!((taken, refused, nothing), (2, 4, 1));
    }
}
