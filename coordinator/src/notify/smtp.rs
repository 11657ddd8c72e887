//! Hands a mail to a server: the connection, its TLS, and the bytes. What is said is decided in
//! [`dialogue`], what the server says is taken apart in [`reply`].
//!
//! The line that an attempt may fail on either side of is the dot on a line of its own that ends the mail
//! (RFC 5321, 4.1.1.4): before it a server has nothing that it could deliver ([`Report::NotSent`]), behind
//! it everything may be on its way ([`Report::Ambiguous`]).

use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use lettre::transport::smtp::commands::Quit;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use self::dialogue::{Dialogue, Next};
use super::carrier::Limit;
use super::chain;
use super::kinds::email::{Letter, Tls};
use super::reach::{Reach, Stream};
use crate::core::outbox::Report;

pub mod dialogue;
#[doc(hidden)]
pub mod fuzzing;
pub mod reply;

/// How long we wait to say goodbye to a server that has taken a mail already.
const GOODBYE_WITHIN: Duration = Duration::from_millis(200);

/// Makes one attempt, all within `limit`.
pub async fn deliver(reach: &Reach, letter: &Letter, limit: Limit) -> Report {
    let late = || format!("not taken by the server within {:?}", limit.length());
    let (mut line, mut dialogue) = match timeout(limit.left(), hand_in(reach, letter, limit)).await
    {
        Ok(Ok(ready)) => ready,
        Ok(Err(report)) => return report,
        Err(_) => return Report::NotSent(late()),
    };
    let report = match timeout(limit.left(), line.end(&mut dialogue)).await {
        Ok(Ok(report)) => report,
        Ok(Err(why)) => return Report::Ambiguous(why),
        Err(_) => return Report::Ambiguous(late()),
    };
    // The answer is in: what becomes of a goodbye changes nothing.
    let goodbye = Quit.to_string();
    timeout(GOODBYE_WITHIN.min(limit.left()), line.say(&goodbye)).await.ok();
    report
}

/// Says everything up to the dot that ends the mail. A report: it does not come to that.
async fn hand_in<'a>(
    reach: &Reach,
    letter: &'a Letter,
    limit: Limit,
) -> Result<(Line, Dialogue<'a>), Report> {
    let not_sent = Report::NotSent;
    let secured = letter.tls == Tls::Whole;
    let plain = reach.open(&letter.host, letter.port, limit.left()).await.map_err(not_sent)?;
    let client = called(letter, plain.local_addr().ok().map(|address| address.ip()));
    let mut stream = Stream::Plain(plain);
    if secured {
        stream = secure(reach, letter, stream).await.map_err(not_sent)?;
    }
    let mut line = Line { stream, read: BytesMut::new() };
    let mut dialogue = Dialogue::new(letter, client, secured);
    loop {
        let reply = line.hear().await.map_err(not_sent)?;
        let mut next = dialogue.heard(&reply);
        if next == Next::Secure {
            line = line.secure(reach, letter).await.map_err(not_sent)?;
            next = dialogue.secured();
        }
        match next {
            Next::Say(command) => line.say(&command).await.map_err(not_sent)?,
            Next::Send => {
                line.nothing_more().map_err(not_sent)?;
                line.write(&dotted(&letter.content)).await.map_err(not_sent)?;
                return Ok((line, dialogue));
            }
            Next::Over(report) => return Err(report),
            Next::Secure => return Err(Report::NotSent("TLS within TLS".to_owned())),
        }
    }
}

/// What we call ourselves. Who has no name says where it stands (RFC 5321, 4.1.3).
fn called(letter: &Letter, local: Option<IpAddr>) -> ClientId {
    match (letter.helo.is_empty(), local) {
        (false, _) => ClientId::Domain(letter.helo.clone()),
        (true, Some(IpAddr::V4(address))) => ClientId::Ipv4(address),
        (true, Some(IpAddr::V6(address))) => ClientId::Ipv6(address),
        (true, None) => ClientId::Domain("localhost".to_owned()),
    }
}

async fn secure(reach: &Reach, letter: &Letter, stream: Stream) -> Result<Stream, String> {
    let name = match letter.server_name.is_empty() {
        true => &letter.host,
        false => &letter.server_name,
    };
    match stream {
        Stream::Plain(plain) => reach.secure(plain, name, &letter.ca_pem).await,
        Stream::Secured(_) => Err("TLS within TLS".to_owned()),
    }
}

/// A mail as it is written between DATA and the dot: whole lines, and none that is a dot alone. What is
/// no whole end of a line becomes one, so that no server sees the end of a mail where another sees none.
fn dotted(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 64 + 2);
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    for line in content.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend(line.iter().map(|b| if *b == b'\r' { b' ' } else { *b }));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A connection, and what was read of it and not understood yet.
struct Line {
    stream: Stream,
    read: BytesMut,
}

impl Line {
    /// The next reply.
    async fn hear(&mut self) -> Result<Response, String> {
        loop {
            match reply::take(&mut self.read) {
                Ok(Some(reply)) => return Ok(reply),
                Err(error) => return Err(error.to_string()),
                Ok(None) => {}
            }
            // Bounded: a line that is too long is an error, and so are too many of them.
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(chain(&error)),
            }
        }
    }

    /// Says a command. A server that has said more than it was asked would have it taken for its answer.
    async fn say(&mut self, command: &str) -> Result<(), String> {
        self.nothing_more()?;
        self.write(command.as_bytes()).await
    }

    fn nothing_more(&self) -> Result<(), String> {
        match self.read.is_empty() {
            true => Ok(()),
            false => Err("the server answers before it is asked".to_owned()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| chain(&error))
    }

    /// TLS over it. What came before the handshake was said by nobody who has shown a certificate: it must
    /// not be heard afterwards as if it had been.
    async fn secure(self, reach: &Reach, letter: &Letter) -> Result<Self, String> {
        self.nothing_more()?;
        let stream = secure(reach, letter, self.stream).await?;
        Ok(Self { stream, read: BytesMut::new() })
    }

    /// The dot, and what the server says to it.
    async fn end(&mut self, dialogue: &mut Dialogue<'_>) -> Result<Report, String> {
        self.write(b".\r\n").await?;
        let reply = self.hear().await?;
        match dialogue.heard(&reply) {
            Next::Over(report) => Ok(report),
            _ => Err("the server goes on after the mail".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
