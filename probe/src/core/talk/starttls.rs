//! The plain part of protocols that change over to TLS: what is said until the handshake begins.
//!
//! `mail` has SMTP, IMAP and POP3, which talk in lines; `packet` has LDAP, PostgreSQL and MySQL.
//! Whatever the target says behind its last word before TLS is refused: it would be taken for a part
//! of what it says under TLS, and anybody on the path can have written it (RFC 3207, 5).

use parallax_common::check::StartTls as Protocol;
use parallax_common::limits::STARTTLS_BYTES_MAX;
use parallax_common::outcome::Reason;

use super::evidence::quoted;
use super::{Action, Cut, Refusal, Talk};

mod mail;
mod packet;

/// What a protocol makes of what has arrived and was not taken yet.
enum Taken {
    /// So many bytes were a whole message; go on.
    Message(usize, Then),
    /// Not whole yet.
    NotYet,
    /// Not the protocol, and why.
    Malformed(String),
    /// The target does not want to, in its words.
    Refused(String),
}

/// A refusal in the target's own words, which may be anything.
fn refused(words: &[u8]) -> Taken {
    Taken::Refused(format!("the server refuses: {}", quoted(words, &[])))
}

/// What follows a message.
enum Then {
    /// Wait for the next one.
    Wait,
    /// Say this.
    Say(Vec<u8>),
    /// Say this, and shake hands without waiting for an answer.
    SayAndSecure(Vec<u8>),
    /// The handshake.
    Secure,
}

/// One of the protocols, from its first byte to the handshake.
#[derive(Debug)]
pub struct StartTls {
    protocol: Protocol,
    /// How the probe calls itself, where it has to.
    own_name: String,
    /// Messages of the target so far.
    heard: u32,
    begun: bool,
    arrived: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    secure: bool,
    banner: String,
}

impl StartTls {
    /// The protocol before its first word. `own_name` is what SMTP's EHLO says.
    pub fn new(protocol: Protocol, own_name: String) -> Self {
        Self {
            protocol,
            own_name,
            heard: 0,
            begun: false,
            arrived: Vec::new(),
            taken: 0,
            secure: false,
            banner: String::new(),
        }
    }

    /// How the target greeted; empty where the protocol has no greeting.
    pub fn into_banner(self) -> String {
        self.banner
    }

    fn rest(&self) -> &[u8] {
        &self.arrived[self.taken..]
    }

    fn refuse(&self, reason: Reason, what: &str) -> Refusal {
        let said = match self.rest().is_empty() {
            true => "nothing more arrived".to_owned(),
            false => format!("the target said {}", quoted(self.rest(), &[])),
        };
        let (protocol, message) = (self.protocol, self.heard + 1);
        let evidence = format!("starttls of {protocol}, message {message}: {what}; {said}");
        Refusal::new(reason, evidence)
    }

    fn take(&mut self) -> Taken {
        let rest = &self.arrived[self.taken..];
        let (heard, own) = (self.heard, &self.own_name);
        match self.protocol {
            Protocol::Smtp => mail::smtp(rest, heard, own, &mut self.banner),
            Protocol::Imap => mail::imap(rest, heard, &mut self.banner),
            Protocol::Pop3 => mail::pop3(rest, heard, &mut self.banner),
            Protocol::Ldap => packet::ldap(rest),
            Protocol::Postgres => packet::postgres(rest),
            Protocol::Mysql => packet::mysql(rest, &mut self.banner),
        }
    }

    /// What the probe says before it has heard anything.
    fn first_word(&self) -> Option<Vec<u8>> {
        match self.protocol {
            Protocol::Ldap => Some(packet::LDAP_REQUEST.to_vec()),
            Protocol::Postgres => Some(packet::POSTGRES_REQUEST.to_vec()),
            Protocol::Smtp | Protocol::Imap | Protocol::Pop3 | Protocol::Mysql => None,
        }
    }

    /// Nothing may be left where it is the probe's turn.
    fn turn(&self) -> Result<(), Refusal> {
        match self.rest().is_empty() {
            true => Ok(()),
            false => {
                let why = "the target does not wait for its turn";
                Err(self.refuse(Reason::StarttlsMalformed, why))
            }
        }
    }
}

impl Talk for StartTls {
    fn next(&mut self, arrived: &[u8]) -> Result<Action, Refusal> {
        self.arrived.extend_from_slice(arrived);
        if self.arrived.len() > STARTTLS_BYTES_MAX {
            let what = format!("more than {STARTTLS_BYTES_MAX} bytes arrived");
            return Err(self.refuse(Reason::AnswerTooLarge, &what));
        }
        if self.secure {
            return Ok(Action::Done);
        }
        if !std::mem::replace(&mut self.begun, true)
            && let Some(word) = self.first_word()
        {
            return Ok(Action::Send(word));
        }
        loop {
            match self.take() {
                Taken::NotYet => return Ok(Action::Read),
                Taken::Malformed(why) => return Err(self.refuse(Reason::StarttlsMalformed, &why)),
                Taken::Refused(why) => return Err(self.refuse(Reason::StarttlsRefused, &why)),
                Taken::Message(length, then) => {
                    self.taken += length.min(self.rest().len());
                    self.heard += 1;
                    match then {
                        Then::Wait => {}
                        Then::Say(words) => {
                            self.turn()?;
                            return Ok(Action::Send(words));
                        }
                        Then::SayAndSecure(words) => {
                            self.turn()?;
                            self.secure = true;
                            return Ok(Action::Send(words));
                        }
                        Then::Secure => {
                            self.turn()?;
                            self.secure = true;
                            return Ok(Action::Done);
                        }
                    }
                }
            }
        }
    }

    fn cut(&self, how: Cut) -> Refusal {
        self.refuse(how.reason(), how.said())
    }
}

#[cfg(test)]
mod tests;
