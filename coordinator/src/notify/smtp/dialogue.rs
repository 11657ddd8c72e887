//! What is said to a mail server, reply by reply: which command comes next, and what its refusal means.
//! Pure; [`super`] moves the bytes, and does what takes a connection.
//!
//! ```text
//! greeting -> EHLO -> [STARTTLS -> handshake -> EHLO] -> [AUTH] -> MAIL -> RCPT, each -> DATA -> the mail
//! ```
//!
//! A server that says no says so by the first digit: 4 is a matter of time, 5 one of somebody's hand. No
//! name and no password leaves before there is TLS: without it there are none ([`Letter`]).

use std::iter;

use lettre::transport::smtp::authentication::{DEFAULT_MECHANISMS, Mechanism};
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Mail, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, ServerInfo};
use lettre::transport::smtp::response::Response;
use parallax_common::limits::SMTP_CHALLENGES_MAX;

use super::reply::{code, shown};
use crate::core::outbox::Report;
use crate::notify::kinds::email::{Letter, Tls};

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This is said, and a reply awaited. May hold a password.
    Say(String),
    /// The handshake of TLS, over a connection on which nothing more was said; then
    /// [`Dialogue::secured`].
    Secure,
    /// The mail itself, and a reply.
    Send,
    /// It is over.
    Over(Report),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Hello,
    Starttls,
    Auth(Mechanism),
    From,
    To(usize),
    Data,
    Sent,
}

/// One mail on its way to a server.
#[derive(Debug)]
pub struct Dialogue<'a> {
    letter: &'a Letter,
    client: ClientId,
    stage: Stage,
    secured: bool,
    challenges: usize,
    /// Who is not to get it, and what the server said of them.
    refused: Vec<String>,
    /// Whether one of them may be tried again.
    passing: bool,
}

impl Dialogue<'_> {
    /// A dialogue about this letter, by somebody of this name. It begins with what the server says.
    /// `secured`: there is TLS already.
    pub fn new(letter: &Letter, client: ClientId, secured: bool) -> Dialogue<'_> {
        let (refused, passing) = (Vec::new(), false);
        let stage = Stage::Greeting;
        Dialogue { letter, client, stage, secured, challenges: 0, refused, passing }
    }

    /// TLS is there: from the beginning, as what was said before may have been somebody else's.
    pub fn secured(&mut self) -> Next {
        self.secured = true;
        self.hello()
    }

    /// What a reply leads to.
    pub fn heard(&mut self, reply: &Response) -> Next {
        let (ok, code) = (reply.is_positive(), code(reply));
        match self.stage {
            Stage::Greeting if code == 220 => self.hello(),
            Stage::Hello if code == 250 => self.greeted(reply),
            Stage::Starttls if code == 220 => Next::Secure,
            Stage::Auth(_) if code == 235 => self.from(),
            Stage::Auth(mechanism) if code == 334 => self.challenged(mechanism, reply),
            Stage::From if ok && code < 300 => self.to(0),
            Stage::To(index) => self.answered(index, reply),
            Stage::Data if code == 354 => {
                self.stage = Stage::Sent;
                Next::Send
            }
            Stage::Sent if ok && code < 300 => self.taken(),
            stage => self.refused(said_at(stage), reply),
        }
    }

    fn hello(&mut self) -> Next {
        self.stage = Stage::Hello;
        Next::Say(Ehlo::new(self.client.clone()).to_string())
    }

    fn greeted(&mut self, reply: &Response) -> Next {
        let Ok(server) = ServerInfo::from_response(&extensions(reply)) else {
            return self.refused("EHLO", reply);
        };
        if self.letter.tls == Tls::Starttls && !self.secured {
            if !server.supports_feature(Extension::StartTls) {
                return wrong("the server offers no STARTTLS");
            }
            self.stage = Stage::Starttls;
            return Next::Say(Starttls.to_string());
        }
        let Some(credentials) = &self.letter.credentials else { return self.from() };
        if !self.secured {
            return wrong("a password does not go over a connection without TLS");
        }
        let Some(mechanism) = server.get_auth_mechanism(DEFAULT_MECHANISMS) else {
            return wrong("the server offers neither AUTH PLAIN nor AUTH LOGIN");
        };
        self.stage = Stage::Auth(mechanism);
        match Auth::new(mechanism, credentials.clone(), None) {
            Ok(auth) => Next::Say(auth.to_string()),
            Err(_) => wrong("the login cannot be written"),
        }
    }

    fn challenged(&mut self, mechanism: Mechanism, reply: &Response) -> Next {
        self.challenges += 1;
        let credentials = self.letter.credentials.clone();
        let known = credentials.filter(|_| self.challenges <= SMTP_CHALLENGES_MAX);
        let auth = known.map(|it| Auth::new_from_response(mechanism, it, reply));
        match auth {
            Some(Ok(auth)) if mechanism == Mechanism::Login => Next::Say(auth.to_string()),
            _ => wrong("the server asks for something else than a name and a password"),
        }
    }

    fn from(&mut self) -> Next {
        self.stage = Stage::From;
        Next::Say(Mail::new(Some(self.letter.from.clone()), Vec::new()).to_string())
    }

    fn to(&mut self, index: usize) -> Next {
        if let Some(to) = self.letter.to.get(index) {
            self.stage = Stage::To(index);
            return Next::Say(Rcpt::new(to.clone(), Vec::new()).to_string());
        }
        if self.refused.len() >= self.letter.to.len() {
            let why = format!("nobody is taken: {}", self.refused.join("; "));
            return Next::Over(Report::Refused { why, lasting: !self.passing, retry_after: None });
        }
        self.stage = Stage::Data;
        Next::Say(Data.to_string())
    }

    fn answered(&mut self, index: usize, reply: &Response) -> Next {
        let code = code(reply);
        // It is about to hang up: nobody else is asked about.
        if code == 421 {
            return self.refused("RCPT", reply);
        }
        if !reply.is_positive() || code >= 300 {
            let to = self.letter.to.get(index).map(ToString::to_string).unwrap_or_default();
            self.refused.push(format!("{to}: {}", shown(reply, &self.letter.hidden)));
            self.passing |= code < 500;
        }
        self.to(index + 1)
    }

    fn refused(&self, what: &str, reply: &Response) -> Next {
        let why = format!("the server says to {what}: {}", shown(reply, &self.letter.hidden));
        Next::Over(Report::Refused { why, lasting: code(reply) >= 500, retry_after: None })
    }

    fn taken(&self) -> Next {
        let note = match self.refused.is_empty() {
            true => String::new(),
            false => format!("not taken for {}", self.refused.join("; ")),
        };
        Next::Over(Report::Taken { receipt: self.letter.id.clone(), note })
    }
}

/// The reply to EHLO as its parser takes it: words may be written in any case (RFC 5321, 2.4), a server
/// that leaves out its name still has extensions, and a line of blanks, on which that parser panics,
/// offers nothing.
fn extensions(reply: &Response) -> Response {
    let lines = reply.message().filter(|line| !line.trim().is_empty());
    let lines = iter::once("NAME".to_owned()).chain(lines.map(str::to_ascii_uppercase));
    Response::new(reply.code(), lines.collect())
}

/// What a reply was about that says no.
fn said_at(stage: Stage) -> &'static str {
    match stage {
        Stage::Greeting => "its greeting",
        Stage::Hello => "EHLO",
        Stage::Starttls => "STARTTLS",
        Stage::Auth(_) => "the login",
        Stage::From => "MAIL FROM",
        Stage::To(_) => "RCPT TO",
        Stage::Data => "DATA",
        Stage::Sent => "the mail",
    }
}

/// No word of the server's is wrong, and no waiting will help.
fn wrong(why: &str) -> Next {
    Next::Over(Report::Refused { why: why.to_owned(), lasting: true, retry_after: None })
}

#[cfg(test)]
mod tests {
    use lettre::transport::smtp::authentication::Credentials;

    use super::*;

    fn letter(tls: Tls, login: bool, to: &[&str]) -> Letter {
        Letter {
            host: "mail.example".to_owned(),
            port: 587,
            tls,
            server_name: String::new(),
            ca_pem: String::new(),
            helo: String::new(),
            hidden: Vec::new(),
            credentials: login.then(|| Credentials::new("me".to_owned(), "secret".to_owned())),
            from: "pages@example.com".parse().unwrap(),
            to: to.iter().map(|to| to.parse().unwrap()).collect(),
            id: "<1@example.com>".to_owned(),
            content: b"Subject: x\r\n\r\nx\r\n".to_vec(),
            note: String::new(),
        }
    }

    /// What is said to these replies, and how it ends.
    fn told(letter: &Letter, replies: &[&str]) -> (Vec<String>, Report) {
        let client = ClientId::Domain("me.example".to_owned());
        let mut dialogue = Dialogue::new(letter, client, letter.tls == Tls::Whole);
        let mut said = Vec::new();
        for reply in replies {
            let reply: Response = format!("{reply}\r\n").parse().unwrap();
            let mut next = dialogue.heard(&reply);
            if next == Next::Secure {
                said.push("(handshake)".to_owned());
                next = dialogue.secured();
            }
            match next {
                Next::Say(line) => said.push(line.trim_end().to_owned()),
                Next::Send => said.push("(mail)".to_owned()),
                Next::Over(report) => return (said, report),
                Next::Secure => panic!("TLS twice"),
            }
        }
        panic!("not over after {said:?}");
    }

    const TLS: &str = "250-mail.example\r\n250 STARTTLS";
    const LOGIN: &str = "250-mail.example\r\n250 auth login plain";

    #[test]
    fn a_mail_is_handed_in_step_by_step() {
        let letter = letter(Tls::Starttls, true, &["a@example.com", "b@example.com"]);
        let replies = [
            "220 hi", TLS, "220 go", LOGIN, "235 in", "250 ok", "250 ok", "251 ok", "354 go",
            "250 kept",
        ];
        let (said, report) = told(&letter, &replies);
        let expected = [
            "EHLO me.example",
            "STARTTLS",
            "(handshake)",
            "EHLO me.example",
            "AUTH PLAIN AG1lAHNlY3JldA==",
            "MAIL FROM:<pages@example.com>",
            "RCPT TO:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "DATA",
            "(mail)",
        ];
        assert_eq!(said, expected);
        assert_eq!(
            report,
            Report::Taken { receipt: "<1@example.com>".to_owned(), note: String::new() }
        );
    }

    #[test]
    fn a_server_that_asks_for_name_and_password_gets_them_once() {
        let letter = letter(Tls::Whole, true, &["a@example.com"]);
        let hello = ["220 hi", "250-mail.example\r\n250 AUTH LOGIN"];
        // `Username:` and `Password:`.
        let asked = ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"];
        let rest = ["235 in", "250 ok", "250 ok", "354 go", "250 kept"];
        let (said, report) = told(&letter, &[&hello[..], &asked, &rest].concat());
        assert_eq!(said[1..5], ["AUTH LOGIN", "bWU=", "c2VjcmV0", "MAIL FROM:<pages@example.com>"]);
        assert!(matches!(report, Report::Taken { .. }));
        for more in ["334 UGFzc3dvcmQ6", "334 ?", "334 TW90aGVyJ3MgbmFtZT8="] {
            let (_, report) = told(&letter, &[&hello[..], &asked, &[more]].concat());
            assert!(matches!(report, Report::Refused { lasting: true, .. }), "{more}: {report:?}");
        }
    }

    /// Found by the fuzz target `replies`: a line of nothing but blanks.
    #[test]
    fn blanks_among_what_a_server_offers_are_passed_over() {
        let letter = letter(Tls::Starttls, false, &["a@example.com"]);
        for hello in ["250-   \r\n250 STARTTLS", "250-mail.example\r\n250-  \t \r\n250 STARTTLS"] {
            let after = ["220 go", "250 x", "250 ok", "250 ok", "354 go", "250 kept"];
            let (said, report) = told(&letter, &[&["220 hi", hello], &after[..]].concat());
            assert_eq!(said[1], "STARTTLS", "{hello:?}");
            assert!(matches!(report, Report::Taken { .. }), "{hello:?}: {report:?}");
        }
        let (_, report) = told(&letter, &["220 hi", "250    "]);
        assert!(format!("{report:?}").contains("no STARTTLS"), "{report:?}");
    }

    #[test]
    fn what_a_server_says_no_to_decides_when_it_is_asked_again() {
        let two = ["a@example.com", "b@example.com"];
        let long = |tail: &[&str]| {
            [&["220 hi", "250 mail.example", "250 ok"][..], tail].concat().join("\n")
        };
        #[rustfmt::skip]
        let table = [
            // TLS, login, replies, lasting, words
            (Tls::None,     false, "554 go away".to_owned(),                    true,  "554 go away"),
            (Tls::None,     false, "421 busy".to_owned(),                       false, "421 busy"),
            (Tls::None,     false, "220 hi\n502 what".to_owned(),               true,  "EHLO: 502"),
            (Tls::Starttls, false, "220 hi\n250 mail.example".to_owned(),       true,  "no STARTTLS"),
            (Tls::Starttls, false, "220 hi\n250 STARTTLS".to_owned() + "\n454 later", false, "STARTTLS: 454"),
            (Tls::None,     true,  "220 hi\n250 AUTH PLAIN".to_owned(),         true,  "without TLS"),
            (Tls::Whole,    true,  "220 hi\n250 mail.example".to_owned(),       true,  "neither AUTH"),
            (Tls::Whole,    true,  "220 hi\n250 AUTH PLAIN\n535 5.7.8 no".to_owned(), true, "the login: 535"),
            (Tls::Whole,    true,  "220 hi\n250 AUTH PLAIN\n454 later".to_owned(), false, "the login: 454"),
            (Tls::Whole,    true,  "220 hi\n250 AUTH PLAIN\n334 more".to_owned(), true, "something else"),
            (Tls::None,     false, "220 hi\n250 x\n550 5.7.1 not you".to_owned(), true, "MAIL FROM: 550"),
            (Tls::None,     false, "220 hi\n250 x\n451 later".to_owned(),       false, "MAIL FROM: 451"),
            (Tls::None,     false, long(&["550 no", "551 no"]),                 true,  "a@example.com: 550 no; b@example.com: 551 no"),
            (Tls::None,     false, long(&["550 no", "450 grey"]),               false, "b@example.com: 450 grey"),
            (Tls::None,     false, long(&["421 bye"]),                          false, "421 bye"),
            (Tls::None,     false, long(&["250 ok", "250 ok", "554 no"]),       true,  "DATA: 554"),
            (Tls::None,     false, long(&["250 ok", "250 ok", "250 what"]),     false, "DATA: 250"),
            (Tls::None,     false, long(&["250 ok", "250 ok", "354 go", "552 too big"]), true, "the mail: 552"),
            (Tls::None,     false, long(&["250 ok", "250 ok", "354 go", "451 disk"]), false, "the mail: 451"),
        ];
        for (tls, login, replies, lasting, words) in table {
            let replies: Vec<&str> = replies.split('\n').collect();
            let (_, report) = told(&letter(tls, login, &two), &replies);
            let Report::Refused { why, lasting: lasts, .. } = report else {
                panic!("{replies:?}: {report:?}");
            };
            assert_eq!(lasts, lasting, "{replies:?}: {why}");
            assert!(why.contains(words), "{replies:?}: {why}");
        }
    }

    #[test]
    fn a_mail_that_some_are_refused_goes_to_the_others_and_says_so() {
        let letter = letter(Tls::None, false, &["a@example.com", "b@example.com"]);
        let replies =
            ["220 hi", "250 x", "250 ok", "550 5.1.1 no such user", "250 ok", "354 go", "250 kept"];
        let (_, report) = told(&letter, &replies);
        let note = "not taken for a@example.com: 550 5.1.1 no such user".to_owned();
        assert_eq!(report, Report::Taken { receipt: "<1@example.com>".to_owned(), note });
    }
}
