//! A dialogue as a check writes it down: its steps in order, each sends, or waits for what it
//! expects, or both.
//!
//! A pattern is tried on everything that has arrived since the last match, each time something
//! arrives; what follows its match stays for the next step. Exact bytes must be the next ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::limits::{CAPTURE_BYTES_MAX, DIALOGUE_BYTES_MAX, DIALOGUE_READS_MAX};
use parallax_common::outcome::Reason;
use parallax_common::pattern::Pattern;

use super::evidence::quoted;
use super::{Action, Cut, Refusal, Talk};

/// A part of what is sent, with everything filled in but captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Bytes(Vec<u8>),
    /// What the group of this name has captured by then.
    Capture(String),
}

/// What must arrive.
#[derive(Debug, Clone)]
pub enum Awaited {
    /// A match of this pattern.
    Pattern(Arc<Pattern>),
    /// Exactly these.
    Bytes(Vec<u8>),
}

/// One step.
#[derive(Debug, Clone)]
pub struct Line {
    /// For evidence and facts.
    pub name: String,
    /// Sent first, when there is any.
    pub send: Vec<Piece>,
    /// Then waited for.
    pub expect: Option<Awaited>,
}

/// What an awaited answer says to what has arrived so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It is there.
    Found {
        /// The first byte behind it.
        end: usize,
        /// What it captured.
        captures: Vec<(String, Vec<u8>)>,
    },
    /// It may still come.
    NotYet,
    /// Whatever follows, it is something else.
    Never,
}

impl Awaited {
    /// Looks for it in what has arrived.
    pub fn judge(&self, arrived: &[u8]) -> Judged {
        match self {
            Self::Pattern(pattern) => match pattern.find(arrived) {
                Some(found) => Judged::Found { end: found.end, captures: found.captures },
                None => Judged::NotYet,
            },
            Self::Bytes(bytes) if arrived.starts_with(bytes) => {
                Judged::Found { end: bytes.len(), captures: Vec::new() }
            }
            Self::Bytes(bytes) if bytes.starts_with(arrived) => Judged::NotYet,
            Self::Bytes(_) => Judged::Never,
        }
    }
}

/// Whether a capture is short enough to be kept and sent again; says what is wrong when it is not.
pub fn too_long(name: &str, taken: &[u8]) -> Option<String> {
    let length = taken.len();
    (length > CAPTURE_BYTES_MAX).then(|| {
        format!("the group `{name}` captured {length} bytes; at most {CAPTURE_BYTES_MAX} are kept")
    })
}

/// A dialogue while it is spoken.
#[derive(Debug)]
pub struct Dialogue {
    lines: Arc<[Line]>,
    /// Never in evidence.
    secrets: Arc<[String]>,
    /// The step that is under way; as many as there are when all have ended.
    at: usize,
    /// What it sends has been sent.
    sent: bool,
    received: Vec<u8>,
    /// How much of it earlier steps have taken.
    taken: usize,
    reads: usize,
    captures: BTreeMap<String, Vec<u8>>,
}

impl Dialogue {
    /// A dialogue before its first word.
    pub fn new(lines: Arc<[Line]>, secrets: Arc<[String]>) -> Self {
        Self {
            lines,
            secrets,
            at: 0,
            sent: false,
            received: Vec::new(),
            taken: 0,
            reads: 0,
            captures: BTreeMap::new(),
        }
    }

    /// All that has arrived, and what was captured of it.
    pub fn into_seen(self) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
        (self.received, self.captures)
    }

    /// What to do, now that this message has arrived, where what is said is in messages: each is judged
    /// by itself, and one that is not what is awaited is passed over. Asked only when a message is
    /// awaited ([`Action::Read`]).
    ///
    /// # Errors
    /// The message is not what must arrive.
    pub fn message(&mut self, message: &[u8]) -> Result<Action, Refusal> {
        self.take_in(message)?;
        let lines = Arc::clone(&self.lines);
        let Some(line) = lines.get(self.at) else { return Ok(Action::Done) };
        let judged =
            line.expect.as_ref().map_or(Judged::NotYet, |expect| match expect.judge(message) {
                // The rest of them does not come in another message.
                Judged::NotYet if matches!(expect, Awaited::Bytes(_)) => Judged::Never,
                Judged::Found { captures, .. } => Judged::Found { end: message.len(), captures },
                judged => judged,
            });
        // What was passed over is not looked at again.
        if matches!(judged, Judged::Found { .. }) {
            self.taken = self.received.len() - message.len();
        }
        self.follow(judged)
    }

    fn take_in(&mut self, arrived: &[u8]) -> Result<(), Refusal> {
        self.reads += 1;
        self.received.extend_from_slice(arrived);
        if self.received.len() > DIALOGUE_BYTES_MAX {
            let what = format!("more than {DIALOGUE_BYTES_MAX} bytes arrived");
            return Err(self.refuse(Reason::AnswerTooLarge, &what));
        }
        Ok(())
    }

    /// What follows from what was found in what has arrived.
    fn follow(&mut self, judged: Judged) -> Result<Action, Refusal> {
        match judged {
            Judged::Found { end, captures } => {
                for (name, taken) in captures {
                    if let Some(what) = too_long(&name, &taken) {
                        return Err(self.refuse(Reason::AnswerTooLarge, &what));
                    }
                    self.captures.insert(name, taken);
                }
                self.taken += end;
                Ok(self.end_step())
            }
            Judged::Never => {
                let what = "other bytes than expected arrived";
                Err(self.refuse(Reason::AnswerMismatch, what))
            }
            Judged::NotYet if self.reads >= DIALOGUE_READS_MAX => {
                let what = format!("the answers came in more than {DIALOGUE_READS_MAX} pieces");
                Err(self.refuse(Reason::AnswerTooLarge, &what))
            }
            Judged::NotYet => Ok(Action::Read),
        }
    }

    pub(super) fn refuse(&self, reason: Reason, what: &str) -> Refusal {
        let name = self.lines.get(self.at).map_or("", |line| line.name.as_str());
        let rest = &self.received[self.taken..];
        let evidence = match rest.is_empty() {
            true => format!("dialogue step `{name}`: {what}; nothing arrived"),
            false => {
                let said = quoted(rest, &self.secrets);
                format!("dialogue step `{name}`: {what}; the target said {said}")
            }
        };
        Refusal::new(reason, evidence)
    }

    fn message_of(&self, pieces: &[Piece]) -> Vec<u8> {
        let mut message = Vec::new();
        for piece in pieces {
            message.extend_from_slice(match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Capture(name) => self.captures.get(name).map_or(&[][..], Vec::as_slice),
            });
        }
        message
    }

    fn end_step(&mut self) -> Action {
        let step = self.at;
        self.at += 1;
        self.sent = false;
        Action::Ended(step)
    }
}

impl Talk for Dialogue {
    fn next(&mut self, arrived: &[u8]) -> Result<Action, Refusal> {
        if !arrived.is_empty() {
            self.take_in(arrived)?;
        }
        let lines = Arc::clone(&self.lines);
        let Some(line) = lines.get(self.at) else { return Ok(Action::Done) };
        if !std::mem::replace(&mut self.sent, true) && !line.send.is_empty() {
            return Ok(Action::Send(self.message_of(&line.send)));
        }
        let Some(expect) = &line.expect else { return Ok(self.end_step()) };
        self.follow(expect.judge(&self.received[self.taken..]))
    }

    fn cut(&self, how: Cut) -> Refusal {
        let line = self.lines.get(self.at);
        let expect = line.and_then(|line| line.expect.as_ref());
        let other = matches!(expect, Some(Awaited::Pattern(_)) if self.taken < self.received.len());
        // An answer that the pattern was not found in is another answer, whatever ended the wait.
        match how {
            Cut::Closed | Cut::Late if other => {
                let what = format!("what is expected did not arrive, {}", how.said());
                self.refuse(Reason::AnswerMismatch, &what)
            }
            how => self.refuse(how.reason(), how.said()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(name: &str, send: &str, expect: &str) -> Line {
        let piece = |text: &str| match text.strip_prefix('%') {
            Some(name) => Piece::Capture(name.to_owned()),
            None => Piece::Bytes(text.as_bytes().to_vec()),
        };
        Line {
            name: name.to_owned(),
            send: send.split('|').filter(|text| !text.is_empty()).map(piece).collect(),
            expect: match expect.split_once(':') {
                None => None,
                Some(("re", pattern)) => Some(Awaited::Pattern(Pattern::admit(pattern).unwrap())),
                Some((_, bytes)) => Some(Awaited::Bytes(bytes.as_bytes().to_vec())),
            },
        }
    }

    /// Plays a dialogue against what arrives: `>` is what was sent, `.` a step that has ended, `!`
    /// what went wrong.
    fn play(lines: &[Line], arrives: &[&str], cut: Cut) -> String {
        let mut dialogue = Dialogue::new(lines.to_vec().into(), Arc::new(["s3cret".to_owned()]));
        let mut arrives = arrives.iter();
        let mut story = String::new();
        let mut arrived: &[u8] = &[];
        loop {
            match dialogue.next(std::mem::take(&mut arrived)) {
                Ok(Action::Send(bytes)) => {
                    let sent = String::from_utf8_lossy(&bytes).into_owned();
                    story.push_str(&format!(">{} ", sent.trim_end()));
                }
                Ok(Action::Ended(step)) => story.push_str(&format!(".{step} ")),
                Ok(Action::Read) => match arrives.next() {
                    Some(bytes) => arrived = bytes.as_bytes(),
                    None => {
                        let refusal = dialogue.cut(cut);
                        return format!("{story}!{} {}", refusal.reason, refusal.evidence);
                    }
                },
                Ok(Action::Leave(_)) => panic!("nobody writes that down"),
                Ok(Action::Done) => return format!("{story}done"),
                Err(refusal) => return format!("{story}!{} {}", refusal.reason, refusal.evidence),
            }
        }
    }

    #[test]
    fn dialogues_end_as_the_table_says() {
        let smtp = [
            line("greeting", "", "re:^220 (?<host>[a-z.]+) .*\r\n"),
            line("hello", "EHLO |%host|\r\n", "re:^250 "),
            line("bye", "QUIT\r\n", ""),
        ];
        let greeting = "220 mail.example ESMTP\r\n";
        let bytes = [line("magic", "ping", "is:pong")];
        let well = ".0 >EHLO mail.example .1 >QUIT .2 done";
        use Cut::{Closed, Late, Reset};
        for (lines, arrives, cut, story, evidence) in [
            (&smtp[..], &[greeting, "250 hi\r\n"][..], Closed, well, ""),
            // In pieces, and ahead of time.
            (&smtp, &["22", "0 mail.example ESMTP\r\n250 hi"], Closed, well, ""),
            (
                &smtp,
                &["554 no\r\n"],
                Late,
                "!answer_mismatch dialogue step `greeting`: ",
                "what is expected did not arrive, the time is over; the target said \"554 no\\r\\n\"",
            ),
            (
                &smtp,
                &["554 no\r\n"],
                Closed,
                "!answer_mismatch dialogue step `greeting`: ",
                "did not arrive, the target closed the connection; the target said \"554 no\\r\\n\"",
            ),
            (
                &smtp,
                &["554 no\r\n"],
                Reset,
                "!connection_reset dialogue step `greeting`: ",
                "the target reset the connection; the target said \"554 no\\r\\n\"",
            ),
            (
                &smtp,
                &[],
                Closed,
                "!connection_closed dialogue step `greeting`: ",
                "the target closed the connection; nothing arrived",
            ),
            (
                &smtp,
                &[],
                Late,
                "!timeout dialogue step `greeting`: ",
                "the time is over; nothing arrived",
            ),
            (
                &smtp,
                &[greeting],
                Reset,
                ".0 >EHLO mail.example !connection_reset dialogue step `hello`: ",
                "the target reset the connection; nothing arrived",
            ),
            (&bytes, &["po", "ng"], Closed, ">ping .0 done", ""),
            (
                &bytes,
                &["pi"],
                Late,
                ">ping !answer_mismatch dialogue step `magic`: ",
                "other bytes than expected arrived; the target said \"pi\"",
            ),
            (
                &bytes,
                &["po"],
                Closed,
                ">ping !connection_closed dialogue step `magic`: ",
                "the target closed the connection; the target said \"po\"",
            ),
            (&bytes, &["po"], Late, ">ping !timeout dialogue step `magic`: ", "said \"po\""),
            (&bytes, &["x s3cret"], Late, ">ping !answer_mismatch ", "the target said \"x ***\""),
        ] {
            let played = play(lines, arrives, cut);
            assert!(played.starts_with(story) && played.ends_with(evidence), "{played}");
        }
    }

    #[test]
    fn what_arrives_is_bounded() {
        let never = [line("never", "", "re:^never$")];
        let large = "x".repeat(DIALOGUE_BYTES_MAX + 1);
        let story = play(&never, &[&large], Cut::Closed);
        assert!(story.starts_with("!answer_too_large dialogue step `never`: more than 32768"));
        let pieces = vec!["x"; DIALOGUE_READS_MAX + 1];
        let story = play(&never, &pieces, Cut::Closed);
        assert!(story.starts_with("!answer_too_large") && story.contains("512 pieces"), "{story}");
        let takes = [line("takes", "", "re:(?<all>x+)")];
        let long = "x".repeat(CAPTURE_BYTES_MAX + 1);
        let story = play(&takes, &[&long], Cut::Closed);
        assert!(story.starts_with("!answer_too_large") && story.contains("`all`"), "{story}");
        assert_eq!(play(&takes, &[&long[1..]], Cut::Closed), ".0 done");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in proptest::collection::vec(".{0,20}", 0..8)) {
            let lines = [
                line("a", "x", "re:(?<x>[a-m]+)"), line("b", "%x", "is:\r\n"), line("c", "%x", ""),
            ];
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            play(&lines, &pieces, Cut::Late);
        }
    }
}
