//! A websocket from the moment it stands: a dialogue in messages, pings answered on the way, and the
//! close.
//!
//! Each `send` of the dialogue is one message, each `expect` is looked for in one message; those that
//! are not awaited are passed over. [`frame`] takes the bytes apart.

use std::collections::VecDeque;

use parallax_common::limits::WEBSOCKET_PINGS_MAX;
use parallax_common::outcome::Reason;

use super::dialogue::Dialogue;
use super::evidence::quoted;
use super::{Action, Cut, Refusal, Talk};
use frame::{Event, FrameError, Frames, Opcode, masked};

pub mod frame;

/// What nobody sends: it stands for a close frame without a code (RFC 6455, 7.4.1).
const NO_CODE: u16 = 1005;
/// Everything was said.
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// How a conversation is to be led.
#[derive(Debug)]
pub struct Terms {
    /// Which steps of the dialogue send bytes and not text.
    pub binary: Vec<bool>,
    /// Whether the run waits for the other side's close frame.
    pub awaits_close: bool,
    /// Keys for what is sent, each for one frame; drawn by who has a source of them. Those that
    /// [`Terms::keys`] says are needed.
    pub masks: Vec<[u8; 4]>,
}

impl Terms {
    /// How many keys a dialogue of so many steps may need: for each of its messages, each answer to a
    /// ping, and the close.
    pub const fn keys(steps: usize) -> usize {
        steps + WEBSOCKET_PINGS_MAX + 1
    }
}

/// A conversation over a websocket.
#[derive(Debug)]
pub struct WebSocket {
    frames: Frames,
    dialogue: Dialogue,
    terms: Terms,
    /// Never in evidence.
    secrets: std::sync::Arc<[String]>,
    /// Steps of the dialogue that have ended.
    ended: usize,
    state: State,
    /// Answers to pings that are to be sent.
    pongs: VecDeque<Vec<u8>>,
    pings: usize,
    close_code: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The dialogue has something to do.
    Speaks,
    /// The dialogue waits for a message.
    Listens,
    /// We have closed, and the other side has not.
    Closing,
}

impl WebSocket {
    /// A conversation before its first word. `arrived` came behind the answer to the upgrade.
    ///
    /// # Errors
    /// More has arrived than is read.
    pub fn new(
        dialogue: Dialogue,
        terms: Terms,
        secrets: std::sync::Arc<[String]>,
        arrived: &[u8],
    ) -> Result<Self, Refusal> {
        let mut frames = Frames::default();
        frames.push(arrived).map_err(broken)?;
        Ok(Self {
            frames,
            dialogue,
            terms,
            secrets,
            ended: 0,
            state: State::Speaks,
            pongs: VecDeque::new(),
            pings: 0,
            close_code: None,
        })
    }

    /// What was said, and what the other side closed with when that was waited for.
    pub fn into_seen(self) -> (Dialogue, Option<u16>) {
        (self.dialogue, self.close_code)
    }

    fn frame(&mut self, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        // There are as many as there may be frames.
        let key = self.terms.masks.pop().unwrap_or_default();
        masked(opcode, payload, key)
    }

    /// What follows from what the dialogue wants to do.
    fn act(&mut self, wanted: Action) -> Result<Option<Action>, Refusal> {
        Ok(match wanted {
            Action::Send(message) => {
                let binary = self.terms.binary.get(self.ended).copied().unwrap_or_default();
                if !binary && std::str::from_utf8(&message).is_err() {
                    let what = "what was captured is no text, and cannot be sent in a text";
                    return Err(self.dialogue.refuse(Reason::AnswerMismatch, what));
                }
                let opcode = if binary { Opcode::Binary } else { Opcode::Text };
                Some(Action::Send(self.frame(opcode, &message)))
            }
            Action::Ended(step) => {
                self.ended += 1;
                self.state = State::Speaks;
                Some(Action::Ended(step))
            }
            Action::Read => {
                self.state = State::Listens;
                None
            }
            Action::Done | Action::Leave(_) => {
                let close = self.frame(Opcode::Close, &NORMAL);
                if !self.terms.awaits_close {
                    return Ok(Some(Action::Leave(close)));
                }
                self.state = State::Closing;
                Some(Action::Send(close))
            }
        })
    }

    /// What follows from what has arrived; `None` when there is nothing to do about it.
    fn hear(&mut self, event: Event) -> Result<Option<Action>, Refusal> {
        match event {
            Event::Message(_) if self.state == State::Closing => Ok(None),
            Event::Message(message) => {
                let wanted = self.dialogue.message(&message)?;
                self.act(wanted)
            }
            Event::Ping(payload) => {
                self.pings += 1;
                if self.pings > WEBSOCKET_PINGS_MAX {
                    let what = format!("more than {WEBSOCKET_PINGS_MAX} pings arrived");
                    return Err(self.dialogue.refuse(Reason::AnswerTooLarge, &what));
                }
                // After a close frame nothing is sent any more.
                if self.state != State::Closing {
                    self.pongs.push_back(payload);
                }
                Ok(None)
            }
            Event::Pong => Ok(None),
            Event::Close(close) if self.state == State::Closing => {
                self.close_code = Some(close.map_or(NO_CODE, |(code, _)| code));
                Ok(Some(Action::Done))
            }
            Event::Close(close) => {
                let what = match &close {
                    None => "the target closed the websocket without a code".to_owned(),
                    Some((code, text)) if text.is_empty() => {
                        format!("the target closed the websocket with {code}")
                    }
                    Some((code, text)) => {
                        let said = quoted(text.as_bytes(), &self.secrets);
                        format!("the target closed the websocket with {code}, {said}")
                    }
                };
                Err(self.dialogue.refuse(Reason::WebsocketClosed, &what))
            }
        }
    }
}

fn broken(error: FrameError) -> Refusal {
    let reason = match &error {
        FrameError::Malformed { .. } => Reason::WebsocketMalformed,
        FrameError::TooLarge(_) => Reason::AnswerTooLarge,
    };
    Refusal::new(reason, error.to_string())
}

impl Talk for WebSocket {
    fn next(&mut self, arrived: &[u8]) -> Result<Action, Refusal> {
        self.frames.push(arrived).map_err(broken)?;
        loop {
            if let Some(payload) = self.pongs.pop_front() {
                return Ok(Action::Send(self.frame(Opcode::Pong, &payload)));
            }
            let action = match self.state {
                State::Speaks => {
                    let wanted = self.dialogue.next(&[])?;
                    self.act(wanted)?
                }
                State::Listens | State::Closing => match self.frames.next_event() {
                    Ok(Some(event)) => self.hear(event)?,
                    Ok(None) => Some(Action::Read),
                    Err(error) => return Err(broken(error)),
                },
            };
            if let Some(action) = action {
                return Ok(action);
            }
        }
    }

    fn cut(&self, how: Cut) -> Refusal {
        match self.state {
            State::Closing => {
                let what = format!("{} before it sent a close frame", how.said());
                Refusal::new(how.reason(), what)
            }
            State::Speaks | State::Listens => self.dialogue.cut(how),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parallax_common::pattern::Pattern;

    use super::super::dialogue::{Awaited, Line, Piece};
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

    /// A frame of a server: `t`, `b`, `p` or `c` for text, bytes, a ping or a close, and its payload.
    fn frame(row: &str) -> Vec<u8> {
        let (kind, payload) = row.split_at(1);
        let (first, payload) = match kind {
            "t" => (0x81, payload.as_bytes().to_vec()),
            "b" => (0x82, payload.as_bytes().to_vec()),
            "p" => (0x89, payload.as_bytes().to_vec()),
            "c" if payload.is_empty() => (0x88, vec![]),
            "c" => {
                let (code, text) = payload.split_once(' ').unwrap_or((payload, ""));
                let code = code.parse::<u16>().unwrap().to_be_bytes();
                (0x88, [&code[..], text.as_bytes()].concat())
            }
            other => panic!("{other}"),
        };
        [&[first, u8::try_from(payload.len()).unwrap()][..], &payload].concat()
    }

    /// Plays a conversation: `>` is a frame of ours, with its opcode and payload; `.` a step that has
    /// ended; `!` what went wrong.
    fn play(lines: &[Line], arrives: &[&str], awaits_close: bool, cut: Cut) -> String {
        let dialogue = Dialogue::new(lines.to_vec().into(), Arc::new(["s3cret".to_owned()]));
        let terms = Terms {
            binary: lines.iter().map(|line| line.name.starts_with("raw")).collect(),
            awaits_close,
            masks: vec![[0; 4]; Terms::keys(lines.len())],
        };
        let secrets = Arc::new(["s3cret".to_owned()]);
        let mut talk = WebSocket::new(dialogue, terms, secrets, &[]).unwrap();
        let mut arrives = arrives.iter();
        let (mut story, mut arrived) = (String::new(), Vec::new());
        let sent = |bytes: &[u8]| {
            let payload = String::from_utf8_lossy(&bytes[6..]).into_owned();
            format!(">{:x}{payload} ", bytes[0] & 0x0f)
        };
        loop {
            match talk.next(&std::mem::take(&mut arrived)) {
                Ok(Action::Send(bytes)) => story.push_str(&sent(&bytes)),
                Ok(Action::Ended(step)) => story.push_str(&format!(".{step} ")),
                Ok(Action::Read) => match arrives.next() {
                    Some(rows) => arrived = rows.split('|').flat_map(frame).collect(),
                    None => {
                        let refusal = talk.cut(cut);
                        return format!("{story}!{} {}", refusal.reason, refusal.evidence);
                    }
                },
                Ok(Action::Leave(bytes)) => return format!("{story}{}left", sent(&bytes)),
                Ok(Action::Done) => {
                    return format!("{story}closed {:?}", talk.into_seen().1.unwrap());
                }
                Err(refusal) => return format!("{story}!{} {}", refusal.reason, refusal.evidence),
            }
        }
    }

    #[test]
    fn conversations_end_as_the_table_says() {
        let hello =
            [line("hello", "hi", "re:^welcome (?<id>[0-9]+)$"), line("again", "|id=|%id|", "")];
        let raw = [line("raw", "ping", "is:pong"), line("last", "", "re:done")];
        let well = ">1hi .0 >1id=42 .1 >8\u{3}\u{fffd} left";
        use Cut::{Closed, Late, Reset};
        for (lines, arrives, awaits_close, cut, story) in [
            (&hello[..], &["twelcome 42"][..], false, Late, well),
            // What nobody awaits is passed over, a ping is answered at once.
            (
                &hello,
                &["tnews|pxy|twelcome 42"],
                false,
                Late,
                ">1hi >axy .0 >1id=42 .1 >8\u{3}\u{fffd} left",
            ),
            // No match reaches over two messages.
            (
                &hello,
                &["twelcome |t42"],
                false,
                Late,
                ">1hi !answer_mismatch dialogue step `hello`: what is expected did not arrive, the \
                 time is over; the target said \"welcome 42\"",
            ),
            (&raw, &["bpong|tdone"], false, Late, ">2ping .0 .1 >8\u{3}\u{fffd} left"),
            // Ahead of time, in one piece with what was awaited; and longer than that.
            (&raw, &["bponging|tnot yet|tdone"], false, Late, ">2ping .0 .1 >8\u{3}\u{fffd} left"),
            (
                &raw,
                &["bpo|bng"],
                false,
                Late,
                ">2ping !answer_mismatch dialogue step `raw`: other bytes than expected arrived; the \
                 target said \"po\"",
            ),
            (
                &hello,
                &["c1011 no s3cret"],
                false,
                Late,
                ">1hi !websocket_closed dialogue step `hello`: the target closed the websocket with \
                 1011, \"no ***\"; nothing arrived",
            ),
            (
                &hello,
                &["tgo away|c"],
                false,
                Late,
                ">1hi !websocket_closed dialogue step `hello`: the target closed the websocket \
                 without a code; the target said \"go away\"",
            ),
            (
                &hello,
                &[],
                false,
                Closed,
                ">1hi !connection_closed dialogue step `hello`: the target closed the connection; \
                 nothing arrived",
            ),
            (
                &hello,
                &[],
                false,
                Reset,
                ">1hi !connection_reset dialogue step `hello`: the target reset the connection; \
                 nothing arrived",
            ),
            (&[], &[], false, Late, ">8\u{3}\u{fffd} left"),
            (&[], &["c1000"], true, Late, ">8\u{3}\u{fffd} closed 1000"),
            (&[], &["c"], true, Late, ">8\u{3}\u{fffd} closed 1005"),
            (&[], &["tbye|px|c4001 x"], true, Late, ">8\u{3}\u{fffd} closed 4001"),
            (
                &[],
                &["tbye"],
                true,
                Closed,
                ">8\u{3}\u{fffd} !connection_closed the target closed the connection before it sent \
                 a close frame",
            ),
            (
                &[],
                &["c999"],
                true,
                Late,
                ">8\u{3}\u{fffd} !websocket_malformed frame 1: it closes with 999, which nobody may \
                 send",
            ),
        ] {
            assert_eq!(play(lines, arrives, awaits_close, cut), story, "{arrives:?}");
        }
    }

    #[test]
    fn pings_have_a_bound() {
        let hello = [line("hello", "", "re:x")];
        let many = vec!["p"; WEBSOCKET_PINGS_MAX + 1].join("|");
        let story = play(&hello, &[&many], false, Cut::Late);
        assert!(
            story.contains("!answer_too_large dialogue step `hello`: more than 64 pings"),
            "{story}"
        );
        assert_eq!(story.matches(">a").count(), WEBSOCKET_PINGS_MAX);
    }
}
