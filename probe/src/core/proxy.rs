//! What is said with a proxy until the way to the target is open: HTTP CONNECT and SOCKS 5.
//!
//! Bytes in, bytes out. What follows the proxy's last byte is the target's and is never taken.

use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parallax_common::check::ProxyScheme;
use parallax_common::limits::{PROXY_HEAD_BYTES_MAX, SOCKS_TEXT_BYTES_MAX};
use parallax_common::outcome::Reason;
use parallax_common::target::shown_address;

/// Where the proxy is to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A name that the proxy looks up, and a port.
    Name(String, u16),
    /// An address.
    Address(SocketAddr),
}

impl Target {
    /// Host and port, an IPv6 address in brackets.
    pub fn shown(&self) -> String {
        match self {
            Self::Name(host, port) => shown_address(host, *port),
            Self::Address(address) => address.to_string(),
        }
    }
}

/// User name and password.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// Of the user.
    pub username: &'a str,
    /// Of the user.
    pub password: &'a str,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Read more.
    Wait,
    /// Send this, then read more.
    Send(Vec<u8>),
    /// The way is open: what comes now is the target's.
    Open,
}

/// Why there is no way through this proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// One of `proxy_...`; `config_error` when what is to be said cannot be.
    pub reason: Reason,
    /// For a person; holds nothing that the proxy chose freely.
    pub evidence: String,
}

fn refused<T>(reason: Reason, evidence: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { reason, evidence: evidence.into() })
}

fn malformed<T>(evidence: impl Into<String>) -> Result<T, Refused> {
    refused(Reason::ProxyMalformed, evidence)
}

/// What is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The head of the answer to CONNECT.
    Head,
    /// Which way to log in the proxy chose (RFC 1928, 3).
    Method,
    /// Whether it took user and password (RFC 1929, 2).
    LoggedIn,
    /// Whether it is connected to the target (RFC 1928, 6).
    Reply,
}

/// A conversation with a proxy.
#[derive(Clone)]
pub struct Handshake {
    awaited: Awaited,
    /// What came of what is awaited.
    got: Vec<u8>,
    /// What is said once the proxy has chosen how to log in.
    login: Option<Vec<u8>>,
    /// What is said after that.
    request: Vec<u8>,
}

impl Handshake {
    /// Begins; the bytes are what to send first.
    ///
    /// # Errors
    /// A name, user or password that SOCKS has no room for.
    pub fn begin(
        scheme: ProxyScheme,
        target: &Target,
        login: Option<Login<'_>>,
    ) -> Result<(Self, Vec<u8>), Refused> {
        match scheme {
            ProxyScheme::Http => {
                let first = connect(target, login);
                let awaited = Awaited::Head;
                Ok((Self { awaited, got: Vec::new(), login: None, request: Vec::new() }, first))
            }
            ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                let login = login.map(logging_in).transpose()?;
                // With a login nothing else is offered: whoever wrote one wants it used.
                let first = vec![5, 1, if login.is_some() { 2 } else { 0 }];
                let request = socks_request(target)?;
                Ok((Self { awaited: Awaited::Method, got: Vec::new(), login, request }, first))
            }
        }
    }

    /// Takes from what came, and says how many bytes of it were the proxy's. Those are at least one.
    ///
    /// # Errors
    /// The proxy refuses, or does not speak its protocol.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Next), Refused> {
        let mut used = 0;
        for byte in bytes {
            self.got.push(*byte);
            used += 1;
            match self.step()? {
                Next::Wait => {}
                next => return Ok((used, next)),
            }
        }
        Ok((used, Next::Wait))
    }

    fn step(&mut self) -> Result<Next, Refused> {
        match (self.awaited, self.got.as_slice()) {
            (Awaited::Head, got) => head(got),
            (Awaited::Method, [5, 0]) if self.login.is_none() => {
                Ok(self.say(Awaited::Reply, self.request.clone()))
            }
            (Awaited::Method, [5, 2]) => match self.login.take() {
                Some(login) => Ok(self.say(Awaited::LoggedIn, login)),
                None => malformed("it asks for a login that was not offered"),
            },
            (Awaited::Method, [5, 0xff]) => {
                let what = match self.login {
                    Some(_) => "it takes no user name with a password",
                    None => "it wants a login, and the check has none",
                };
                refused(Reason::ProxyAuth, what)
            }
            (Awaited::Method, [5, other]) => malformed(format!("it chose login method {other}")),
            (Awaited::LoggedIn, [1, 0]) => Ok(self.say(Awaited::Reply, self.request.clone())),
            (Awaited::LoggedIn, [1, status]) => {
                refused(Reason::ProxyAuth, format!("it does not take the login: status {status}"))
            }
            (Awaited::Method | Awaited::Reply, [first, ..]) if *first != 5 => {
                malformed(format!("it does not speak SOCKS 5: first byte {first}"))
            }
            (Awaited::LoggedIn, [first, ..]) if *first != 1 => {
                malformed(format!("its answer to the login is of version {first}"))
            }
            (Awaited::Reply, got) => reply(got),
            _ => Ok(Next::Wait),
        }
    }

    fn say(&mut self, then: Awaited, bytes: Vec<u8>) -> Next {
        self.awaited = then;
        self.got.clear();
        Next::Send(bytes)
    }
}

/// A CONNECT request (RFC 9110, 9.3.6).
fn connect(target: &Target, login: Option<Login<'_>>) -> Vec<u8> {
    let to = target.shown();
    let mut text = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n");
    if let Some(login) = login {
        text.push_str(&format!("proxy-authorization: Basic {}\r\n", encoded(login)));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// User and password as HTTP sends them (RFC 7617).
pub fn encoded(login: Login<'_>) -> String {
    STANDARD.encode(format!("{}:{}", login.username, login.password))
}

/// What the head of the answer to CONNECT says, once it is whole.
fn head(got: &[u8]) -> Result<Next, Refused> {
    const BEGINS: &[u8] = b"HTTP/1.";
    let length = got.len().min(BEGINS.len());
    if got[..length] != BEGINS[..length] {
        return malformed("its answer to CONNECT is not HTTP/1");
    }
    if got.len() > PROXY_HEAD_BYTES_MAX {
        return malformed(format!("its answer has a head of over {PROXY_HEAD_BYTES_MAX} bytes"));
    }
    if !got.ends_with(b"\r\n\r\n") && !got.ends_with(b"\n\n") {
        return Ok(Next::Wait);
    }
    // `HTTP/1.1 200` and what the proxy adds.
    let [_, b' ', a, b, c, after, ..] = got[BEGINS.len()..] else {
        return malformed("its answer to CONNECT has no status");
    };
    let digits = [a, b, c];
    let ends = matches!(after, b' ' | b'\r' | b'\n');
    if !ends || !digits.iter().all(u8::is_ascii_digit) {
        return malformed("its answer to CONNECT has no status");
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let reason = match status {
        200..=299 => return Ok(Next::Open),
        407 => Reason::ProxyAuth,
        500..=599 => Reason::ProxyUnreachable,
        _ => Reason::ProxyRefused,
    };
    refused(reason, format!("it answered CONNECT with status {status}"))
}

fn short(text: &str, what: &str) -> Result<u8, Refused> {
    match u8::try_from(text.len()) {
        Ok(length @ 1..) => Ok(length),
        _ => refused(
            Reason::ConfigError,
            format!("SOCKS takes 1 to {SOCKS_TEXT_BYTES_MAX} bytes of {what}"),
        ),
    }
}

/// RFC 1929, 2.
fn logging_in(login: Login<'_>) -> Result<Vec<u8>, Refused> {
    let mut bytes = vec![1, short(login.username, "user name")?];
    bytes.extend(login.username.bytes());
    bytes.push(short(login.password, "password")?);
    bytes.extend(login.password.bytes());
    Ok(bytes)
}

/// RFC 1928, 4: the wish to be connected.
fn socks_request(target: &Target) -> Result<Vec<u8>, Refused> {
    let mut bytes = vec![5, 1, 0];
    let port = match target {
        Target::Name(name, port) => {
            bytes.extend([3, short(name, "a host")?]);
            bytes.extend(name.bytes());
            *port
        }
        Target::Address(address) => {
            match address.ip() {
                IpAddr::V4(four) => {
                    bytes.push(1);
                    bytes.extend(four.octets());
                }
                IpAddr::V6(six) => {
                    bytes.push(4);
                    bytes.extend(six.octets());
                }
            }
            address.port()
        }
    };
    bytes.extend(port.to_be_bytes());
    Ok(bytes)
}

/// RFC 1928, 6: whether it is connected. The address in it is of no interest, but must be read.
fn reply(got: &[u8]) -> Result<Next, Refused> {
    let [_, code, rest @ ..] = got else { return Ok(Next::Wait) };
    let (reason, what) = match code {
        0 => {
            let length = match rest {
                [_, 1, ..] => 2 + 4 + 2,
                [_, 4, ..] => 2 + 16 + 2,
                [_, 3, length, ..] => 3 + usize::from(*length) + 2,
                [_, kind, ..] if *kind != 3 => {
                    return malformed(format!("its reply names an address of type {kind}"));
                }
                _ => return Ok(Next::Wait),
            };
            return Ok(if rest.len() < length { Next::Wait } else { Next::Open });
        }
        1 => (Reason::ProxyUnreachable, "general failure"),
        2 => (Reason::ProxyRefused, "not allowed by its rules"),
        3 => (Reason::ProxyUnreachable, "network unreachable"),
        4 => (Reason::ProxyUnreachable, "host unreachable"),
        5 => (Reason::ProxyUnreachable, "connection refused"),
        6 => (Reason::ProxyUnreachable, "ttl expired"),
        7 => (Reason::ProxyRefused, "command not supported"),
        8 => (Reason::ProxyRefused, "address type not supported"),
        _ => (Reason::ProxyRefused, "a code that SOCKS does not know"),
    };
    refused(reason, format!("SOCKS reply {code}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'static> = Login { username: "me", password: "pw" };

    fn name() -> Target {
        Target::Name("shop.example".to_owned(), 443)
    }

    fn socks(login: Option<Login<'_>>) -> (Handshake, Vec<u8>) {
        Handshake::begin(ProxyScheme::Socks5h, &name(), login).unwrap()
    }

    /// What comes of these bytes, in one piece and byte by byte alike.
    fn after(handshake: &Handshake, bytes: &[u8]) -> Result<(usize, Next), Refused> {
        let whole = handshake.clone().take(bytes);
        let mut one_by_one = handshake.clone();
        let mut used = 0;
        let mut last = Ok((0, Next::Wait));
        for byte in bytes {
            last = one_by_one.take(&[*byte]);
            used += 1;
            if last.as_ref().is_ok_and(|(_, next)| *next != Next::Wait) || last.is_err() {
                break;
            }
        }
        assert_eq!(last.map(|(_, next)| (used, next)), whole);
        whole
    }

    #[test]
    fn connect_names_the_target_and_says_who_asks() {
        let begin = |target: &Target, login| {
            let (_, first) = Handshake::begin(ProxyScheme::Http, target, login).unwrap();
            String::from_utf8(first).unwrap()
        };
        let plain = "CONNECT shop.example:443 HTTP/1.1\r\nhost: shop.example:443\r\n";
        assert_eq!(begin(&name(), None), format!("{plain}\r\n"));
        assert_eq!(
            begin(&name(), Some(LOGIN)),
            format!("{plain}proxy-authorization: Basic bWU6cHc=\r\n\r\n")
        );
        let six = Target::Address("[::1]:80".parse().unwrap());
        assert!(begin(&six, None).starts_with("CONNECT [::1]:80 HTTP/1.1\r\nhost: [::1]:80\r\n"));
    }

    #[test]
    fn what_a_proxy_answers_to_connect_has_one_meaning_each() {
        let (handshake, _) = Handshake::begin(ProxyScheme::Http, &name(), None).unwrap();
        for (answer, used, next) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n220 mail", 39, Next::Open),
            ("HTTP/1.0 200 OK\r\nvia: x\r\n\r\n", 27, Next::Open),
            ("HTTP/1.1 200\r\n\r\n", 16, Next::Open),
            ("HTTP/1.1 204 x\n\n", 16, Next::Open),
            ("HTTP/1.1 200 OK\r\nvia:", 21, Next::Wait),
            ("HT", 2, Next::Wait),
        ] {
            assert_eq!(after(&handshake, answer.as_bytes()), Ok((used, next)), "{answer}");
        }
        for (answer, reason) in [
            ("HTTP/1.1 407 Who\r\n\r\n", Reason::ProxyAuth),
            ("HTTP/1.1 403 No\r\n\r\n", Reason::ProxyRefused),
            ("HTTP/1.1 302 There\r\nlocation: /\r\n\r\n", Reason::ProxyRefused),
            ("HTTP/1.1 502 Bad\r\n\r\n", Reason::ProxyUnreachable),
            ("HTTP/1.1 503 None\r\n\r\n", Reason::ProxyUnreachable),
            ("HTTP/1.1 2000\r\n\r\n", Reason::ProxyMalformed),
            ("HTTP/1.1 2x0 OK\r\n\r\n", Reason::ProxyMalformed),
            ("HTTP/1.\r\n\r\n", Reason::ProxyMalformed),
            ("HTTP/2 200\r\n\r\n", Reason::ProxyMalformed),
            ("220 mail.example ESMTP\r\n", Reason::ProxyMalformed),
        ] {
            let refused = after(&handshake, answer.as_bytes()).unwrap_err();
            assert_eq!(refused.reason, reason, "{answer}: {refused:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(PROXY_HEAD_BYTES_MAX));
        let refused = handshake.clone().take(long.as_bytes()).unwrap_err();
        assert_eq!(refused.reason, Reason::ProxyMalformed);
    }

    #[test]
    fn socks_is_spoken_to_its_last_byte_and_not_beyond() {
        let (mut handshake, first) = socks(Some(LOGIN));
        assert_eq!(first, [5, 1, 2]);
        let login = vec![1, 2, b'm', b'e', 2, b'p', b'w'];
        assert_eq!(handshake.take(&[5, 2]), Ok((2, Next::Send(login))));
        let mut request = vec![5, 1, 0, 3, 12];
        request.extend(b"shop.example\x01\xbb");
        assert_eq!(handshake.take(&[1, 0]), Ok((2, Next::Send(request.clone()))));
        for (reply, used) in [
            (&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80, b'2', b'2'][..], 10),
            (&[5, 0, 0, 3, 2, b'g', b'w', 0, 80, b'2'], 9),
            (&[5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80, 1], 22),
        ] {
            assert_eq!(after(&handshake, reply), Ok((used, Next::Open)), "{reply:?}");
            assert_eq!(after(&handshake, &reply[..used - 1]), Ok((used - 1, Next::Wait)));
        }
        let (handshake, first) = socks(None);
        assert_eq!(first, [5, 1, 0]);
        assert_eq!(after(&handshake, &[5, 0]), Ok((2, Next::Send(request))));
        let address = Target::Address("192.0.2.1:80".parse().unwrap());
        let (handshake, _) = Handshake::begin(ProxyScheme::Socks5, &address, None).unwrap();
        let wanted = vec![5, 1, 0, 1, 192, 0, 2, 1, 0, 80];
        assert_eq!(after(&handshake, &[5, 0]), Ok((2, Next::Send(wanted))));
    }

    #[test]
    fn what_a_socks_proxy_refuses_has_one_reason_each() {
        let (open, _) = socks(None);
        let (named, _) = socks(Some(LOGIN));
        let (mut asked, _) = socks(None);
        asked.take(&[5, 0]).unwrap();
        let (mut logging, _) = socks(Some(LOGIN));
        logging.take(&[5, 2]).unwrap();
        for (handshake, bytes, reason) in [
            (&open, &[5, 0xff][..], Reason::ProxyAuth),
            (&named, &[5, 0xff], Reason::ProxyAuth),
            (&logging, &[1, 1], Reason::ProxyAuth),
            (&logging, &[5], Reason::ProxyMalformed),
            (&open, &[5, 2], Reason::ProxyMalformed),
            (&named, &[5, 0], Reason::ProxyMalformed),
            (&open, &[4], Reason::ProxyMalformed),
            (&open, b"HTTP", Reason::ProxyMalformed),
            (&asked, &[0], Reason::ProxyMalformed),
            (&asked, &[5, 0, 0, 9], Reason::ProxyMalformed),
            (&asked, &[5, 1], Reason::ProxyUnreachable),
            (&asked, &[5, 2], Reason::ProxyRefused),
            (&asked, &[5, 3], Reason::ProxyUnreachable),
            (&asked, &[5, 4], Reason::ProxyUnreachable),
            (&asked, &[5, 5], Reason::ProxyUnreachable),
            (&asked, &[5, 6], Reason::ProxyUnreachable),
            (&asked, &[5, 7], Reason::ProxyRefused),
            (&asked, &[5, 8], Reason::ProxyRefused),
            (&asked, &[5, 200], Reason::ProxyRefused),
        ] {
            let refused = after(handshake, bytes).unwrap_err();
            assert_eq!(refused.reason, reason, "{bytes:?}: {refused:?}");
        }
        let long = "x".repeat(SOCKS_TEXT_BYTES_MAX + 1);
        for login in [
            Login { username: &long, password: "pw" },
            Login { username: "me", password: &long },
            Login { username: "me", password: "" },
        ] {
            let begun = Handshake::begin(ProxyScheme::Socks5, &name(), Some(login));
            assert_eq!(begun.err().map(|refused| refused.reason), Some(Reason::ConfigError));
        }
        let target = Target::Name(long, 80);
        assert!(Handshake::begin(ProxyScheme::Socks5h, &target, None).is_err());
    }
}
