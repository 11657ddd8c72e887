//! What an SSH server says before anybody logs in: its identification (RFC 4253, 4.2) and its key
//! exchange offer (RFC 4253, 7.1).
//!
//! The probe says who it is, reads the offer, and takes its leave with `SSH_MSG_DISCONNECT`: a server
//! notes that somebody left, not that a connection broke.

use std::collections::BTreeSet;

use parallax_common::expect::SshOffer;
use parallax_common::limits::{
    SSH_LINE_BYTES_MAX, SSH_PACKET_BYTES_MAX, SSH_PACKETS_MAX, SSH_PREAMBLE_BYTES_MAX,
};
use parallax_common::outcome::Reason;

use super::evidence::quoted;
use super::{Action, Cut, Refusal, Talk};

const IDENTIFICATION: &str = concat!("SSH-2.0-parallax_", env!("CARGO_PKG_VERSION"), "\r\n");
/// RFC 4253, 6: what a packet is padded to, before there is a cipher.
const BLOCK_BYTES: usize = 8;
/// RFC 4251, 6: no name of an algorithm is longer.
const NAME_BYTES_MAX: usize = 64;
const DISCONNECT: u8 = 1;
const IGNORE: u8 = 2;
const DEBUG: u8 = 4;
const KEXINIT: u8 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has been said.
    Begin,
    /// Its identification is awaited, ours was sent.
    Identification,
    /// Its offer is awaited.
    Offer,
}

/// The greeting of one server.
#[derive(Debug)]
pub struct Ssh {
    state: State,
    arrived: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    /// Packets before the offer.
    packets: usize,
    offer: SshOffer,
}

impl Default for Ssh {
    fn default() -> Self {
        Self::new()
    }
}

impl Ssh {
    /// A greeting before its first word.
    pub fn new() -> Self {
        Self {
            state: State::Begin,
            arrived: Vec::new(),
            taken: 0,
            packets: 0,
            offer: SshOffer::default(),
        }
    }

    /// What the server said of itself.
    pub fn into_offer(self) -> SshOffer {
        self.offer
    }

    fn rest(&self) -> &[u8] {
        &self.arrived[self.taken..]
    }

    fn refuse(&self, reason: Reason, what: impl Into<String>) -> Refusal {
        let waited = match self.state {
            State::Begin | State::Identification => "identification",
            State::Offer => "key exchange offer",
        };
        let said = match (self.rest().is_empty(), self.state) {
            (true, _) => String::new(),
            (false, State::Offer) => format!("; {} bytes arrived", self.rest().len()),
            (false, _) => format!("; the target said {}", quoted(self.rest(), &[])),
        };
        Refusal::new(reason, format!("{waited}: {}{said}", what.into()))
    }

    fn malformed(&self, what: impl Into<String>) -> Refusal {
        self.refuse(Reason::SshMalformed, what)
    }

    /// Reads the identification, and the lines that may come before it.
    fn identify(&mut self) -> Result<bool, Refusal> {
        let mut at = 0;
        loop {
            let rest = &self.arrived[at..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let is_it = rest.starts_with(b"SSH-");
            let line = &rest[..end.map_or(rest.len(), |end| end + 1)];
            if is_it && line.len() > SSH_LINE_BYTES_MAX {
                return Err(self.malformed(format!("it is longer than {SSH_LINE_BYTES_MAX} bytes")));
            }
            if !is_it && at + line.len() > SSH_PREAMBLE_BYTES_MAX {
                let what = format!("none within the first {SSH_PREAMBLE_BYTES_MAX} bytes");
                return Err(self.malformed(what));
            }
            let Some(end) = end else { return Ok(false) };
            if !is_it {
                at += end + 1;
                continue;
            }
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let text = std::str::from_utf8(line).ok();
            let Some(text) = text.filter(|text| !text.chars().any(char::is_control)) else {
                return Err(self.malformed("it is no text"));
            };
            let mut parts = text.splitn(3, '-').skip(1);
            let (Some(version), Some(rest)) = (parts.next(), parts.next()) else {
                return Err(self.malformed("it names no version"));
            };
            let software = rest.split(' ').next().unwrap_or_default();
            if software.is_empty() {
                return Err(self.malformed("it names no software"));
            }
            // RFC 4253, 5.1: 1.99 stands for 2.0 and older ones.
            if !matches!(version, "2.0" | "1.99") {
                let what = format!("the server speaks version {version}");
                return Err(self.refuse(Reason::SshVersion, what));
            }
            (self.offer.banner, self.offer.software) = (text.to_owned(), software.to_owned());
            self.taken = at + end + 1;
            return Ok(true);
        }
    }

    /// The payload of the next packet (RFC 4253, 6).
    fn packet(&self) -> Result<Option<(usize, &[u8])>, Refusal> {
        let Some((head, rest)) = self.rest().split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length > SSH_PACKET_BYTES_MAX {
            let what = format!("a packet of {length} bytes; at most {SSH_PACKET_BYTES_MAX} may be");
            return Err(self.refuse(Reason::SshTooLarge, what));
        }
        // One byte of length, one of a message, four of padding.
        if length < 6 || !(length + 4).is_multiple_of(BLOCK_BYTES) {
            return Err(self.malformed(format!("a packet cannot have {length} bytes")));
        }
        let Some(packet) = rest.get(..length) else { return Ok(None) };
        let padding = usize::from(packet[0]);
        match packet.get(1..length.saturating_sub(padding)) {
            Some(payload) if padding >= 4 && !payload.is_empty() => Ok(Some((4 + length, payload))),
            _ => Err(self.malformed(format!("a packet of {length} bytes padded with {padding}"))),
        }
    }

    /// Reads packets up to the offer.
    fn hear(&mut self) -> Result<bool, Refusal> {
        loop {
            let Some((length, payload)) = self.packet()? else { return Ok(false) };
            match payload[0] {
                KEXINIT => {
                    let lists = lists(&payload[1..]).map_err(|why| self.malformed(why))?;
                    let [kex, host_keys, to, from, macs_to, macs_from, ..] = lists;
                    self.offer.kex = kex;
                    self.offer.host_key_algorithms = host_keys;
                    self.offer.ciphers = either(to, from);
                    self.offer.macs = either(macs_to, macs_from);
                    self.taken += length;
                    return Ok(true);
                }
                IGNORE | DEBUG if self.packets < SSH_PACKETS_MAX => {
                    self.packets += 1;
                    self.taken += length;
                }
                IGNORE | DEBUG => {
                    let what = format!("more than {SSH_PACKETS_MAX} other packets came before it");
                    return Err(self.malformed(what));
                }
                DISCONNECT => {
                    let text = payload.get(5..).and_then(string).map_or(&[][..], |(text, _)| text);
                    let what = format!("the server took its leave: {}", quoted(text, &[]));
                    return Err(self.refuse(Reason::ConnectionClosed, what));
                }
                other => {
                    let what = format!("message {other} came in its place");
                    return Err(self.malformed(what));
                }
            }
        }
    }
}

impl Talk for Ssh {
    fn next(&mut self, arrived: &[u8]) -> Result<Action, Refusal> {
        self.arrived.extend_from_slice(arrived);
        if self.state == State::Begin {
            // RFC 4253, 4.2: both sides begin at once.
            self.state = State::Identification;
            return Ok(Action::Send(IDENTIFICATION.as_bytes().to_vec()));
        }
        if self.state == State::Identification {
            if !self.identify()? {
                return Ok(Action::Read);
            }
            self.state = State::Offer;
        }
        match self.hear()? {
            true => Ok(Action::Leave(leave())),
            false => Ok(Action::Read),
        }
    }

    fn cut(&self, how: Cut) -> Refusal {
        self.refuse(how.reason(), how.said())
    }
}

/// `SSH_MSG_DISCONNECT`, by application (RFC 4253, 11.1), in a packet without a cipher.
fn leave() -> Vec<u8> {
    const BY_APPLICATION: u32 = 11;
    let text = b"looked at by a probe";
    let mut payload = vec![DISCONNECT];
    payload.extend(BY_APPLICATION.to_be_bytes());
    // A text has less than 256 bytes; so has its language, which is not named.
    payload.extend([0, 0, 0, u8::try_from(text.len()).unwrap_or(0)]);
    payload.extend(text);
    payload.extend(0_u32.to_be_bytes());
    let mut padding = BLOCK_BYTES - (5 + payload.len()) % BLOCK_BYTES;
    if padding < 4 {
        padding += BLOCK_BYTES;
    }
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or(0);
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap_or(0));
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// A string (RFC 4251, 5), and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*head)).ok()?)
}

/// The ten lists of an offer, behind the number of its message.
fn lists(payload: &[u8]) -> Result<[Vec<String>; 10], &'static str> {
    const COOKIE_BYTES: usize = 16;
    let mut rest = payload.get(COOKIE_BYTES..).ok_or("it is too short")?;
    let mut lists: [Vec<String>; 10] = Default::default();
    for (place, list) in lists.iter_mut().enumerate() {
        let (names, after) = string(rest).ok_or("it ends within a list")?;
        rest = after;
        let names = std::str::from_utf8(names).map_err(|_| "a list in it is no text")?;
        if names.is_empty() {
            // RFC 4253, 7.1: only the languages may be none.
            if place < 8 {
                return Err("a list in it is empty");
            }
            continue;
        }
        for name in names.split(',') {
            let fits = name.bytes().all(|byte| byte.is_ascii_graphic());
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !fits {
                return Err("a name in it cannot be one");
            }
            list.push(name.to_owned());
        }
    }
    // Whether a guess follows, and four bytes for later.
    match rest.len() {
        5 => Ok(lists),
        _ => Err("it does not end where it should"),
    }
}

/// What either direction has, in the order of the first.
fn either(mut to: Vec<String>, from: Vec<String>) -> Vec<String> {
    let mut seen: BTreeSet<String> = to.iter().cloned().collect();
    to.extend(from.into_iter().filter(|name| seen.insert(name.clone())));
    to
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LISTS: [&str; 10] = [
        "curve25519-sha256,ecdh-sha2-nistp256",
        "ssh-ed25519",
        "aes256-gcm@openssh.com,aes128-ctr",
        "aes128-ctr,chacha20",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "none",
        "none",
        "",
        "",
    ];

    fn packet(payload: &[u8]) -> Vec<u8> {
        let padding = 4 + (BLOCK_BYTES - (9 + payload.len()) % BLOCK_BYTES) % BLOCK_BYTES;
        let length = u32::try_from(1 + payload.len() + padding).unwrap();
        [&length.to_be_bytes()[..], &[u8::try_from(padding).unwrap()], payload, &vec![0; padding]]
            .concat()
    }

    fn offer(lists: [&str; 10]) -> Vec<u8> {
        let mut payload = vec![KEXINIT];
        payload.extend([7; 16]);
        for list in lists {
            payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            payload.extend(list.bytes());
        }
        payload.extend([0; 5]);
        payload
    }

    fn with(place: usize, list: &'static str) -> Vec<u8> {
        let mut lists = LISTS;
        lists[place] = list;
        packet(&offer(lists))
    }

    /// Plays a greeting; the offer, or what went wrong.
    fn play(pieces: &[&[u8]], cut: Cut) -> Result<SshOffer, Refusal> {
        let mut ssh = Ssh::new();
        let mut pieces = pieces.iter();
        let mut arrived: &[u8] = &[];
        loop {
            match ssh.next(std::mem::take(&mut arrived))? {
                Action::Send(bytes) => assert!(bytes.starts_with(b"SSH-2.0-parallax_")),
                Action::Read => match pieces.next() {
                    Some(piece) => arrived = piece,
                    None => return Err(ssh.cut(cut)),
                },
                Action::Leave(bytes) => {
                    assert!(bytes.len().is_multiple_of(BLOCK_BYTES) && bytes[5] == DISCONNECT);
                    return Ok(ssh.into_offer());
                }
                Action::Ended(_) | Action::Done => panic!("it ends with a leave"),
            }
        }
    }

    #[test]
    fn an_offer_is_read_however_it_arrives() {
        let first = b"Be warned\r\nand again\nSSH-2.0-OpenSSH_9.9p1 Debian-3\r\n";
        let kexinit = with(0, LISTS[0]);
        let whole = [&first[..], &packet(&[IGNORE, 0, 0, 0, 0]), &kexinit].concat();
        let names = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let wanted = SshOffer {
            banner: "SSH-2.0-OpenSSH_9.9p1 Debian-3".to_owned(),
            software: "OpenSSH_9.9p1".to_owned(),
            kex: names(LISTS[0]),
            host_key_algorithms: names("ssh-ed25519"),
            ciphers: names("aes256-gcm@openssh.com,aes128-ctr,chacha20"),
            macs: names("hmac-sha2-256,hmac-sha2-512"),
        };
        assert_eq!(play(&[&whole], Cut::Closed), Ok(wanted.clone()));
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(play(&single, Cut::Closed), Ok(wanted.clone()));
        let old = [&b"SSH-1.99-Cisco-1.25\n"[..], &kexinit].concat();
        let seen = play(&[&old], Cut::Closed).unwrap();
        assert_eq!((seen.software.as_str(), &seen.kex), ("Cisco-1.25", &wanted.kex));
    }

    #[test]
    fn what_is_no_ssh_has_its_reason() {
        use Reason as R;
        let id = b"SSH-2.0-x\r\n";
        let after = |bytes: &[u8]| [&id[..], bytes].concat();
        let preamble = vec![b'a'; SSH_PREAMBLE_BYTES_MAX + 1];
        let leave = [&[DISCONNECT, 0, 0, 0, 2, 0, 0, 0, 4][..], b"full", &[0; 4]].concat();
        let ignore = packet(&[IGNORE, 0, 0, 0, 0]).repeat(SSH_PACKETS_MAX + 1);
        let mut tail = offer(LISTS);
        tail.push(0);
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        let mut lists = LISTS;
        lists[3] = &long;
        for (said, reason, evidence) in [
            (b"".to_vec(), R::ConnectionClosed, "identification: the target closed"),
            (b"HTTP/1.1 400 Bad\r\n\r\n".to_vec(), R::ConnectionClosed, "said \"HTTP/1.1 400"),
            (preamble, R::SshMalformed, "none within"),
            (b"SSH-2.0\r\n".to_vec(), R::SshMalformed, "no version"),
            (b"SSH-2.0- x\r\n".to_vec(), R::SshMalformed, "no software"),
            (b"SSH-2.0-\xff\r\n".to_vec(), R::SshMalformed, "no text"),
            (format!("SSH-2.0-{}", "a".repeat(300)).into_bytes(), R::SshMalformed, "longer than"),
            (b"SSH-1.5-old\r\n".to_vec(), R::SshVersion, "speaks version 1.5"),
            (after(b""), R::ConnectionClosed, "key exchange offer: the target closed"),
            (after(&with(0, LISTS[0])[..100]), R::ConnectionClosed, "100 bytes arrived"),
            (after(&[0, 0, 0x88, 0xbc]), R::SshTooLarge, "a packet of 35004 bytes"),
            (after(&[255; 4]), R::SshTooLarge, "a packet of 4294967295 bytes"),
            (after(&[0, 0, 0, 13]), R::SshMalformed, "cannot have 13"),
            (after(&[0, 0, 0, 4]), R::SshMalformed, "cannot have 4"),
            (after(&[0, 0, 0, 12, 200]), R::ConnectionClosed, "5 bytes"),
            (
                after(&[&[0, 0, 0, 12, 200][..], &[0; 11]].concat()),
                R::SshMalformed,
                "padded with 200",
            ),
            (after(&[&[0, 0, 0, 12, 3][..], &[20; 11]].concat()), R::SshMalformed, "with 3"),
            (after(&packet(&[KEXINIT])), R::SshMalformed, "too short"),
            (after(&packet(&[30, 0])), R::SshMalformed, "message 30"),
            (after(&packet(&leave)), R::ConnectionClosed, "took its leave: \"full\""),
            (after(&ignore), R::SshMalformed, "more than 8 other packets"),
            (after(&with(0, "")), R::SshMalformed, "is empty"),
            (after(&with(7, "")), R::SshMalformed, "is empty"),
            (after(&with(2, "a,,b")), R::SshMalformed, "cannot be one"),
            (after(&with(2, "a b")), R::SshMalformed, "cannot be one"),
            (after(&packet(&offer(lists))), R::SshMalformed, "cannot be one"),
            (after(&packet(&tail)), R::SshMalformed, "does not end"),
            (after(&packet(&offer(LISTS)[..60])), R::SshMalformed, "within a list"),
        ] {
            let refusal = play(&[&said], Cut::Closed).unwrap_err();
            assert_eq!(refusal.reason, reason, "{refusal:?}");
            assert!(refusal.evidence.contains(evidence), "{evidence} in {refusal:?}");
        }
        assert_eq!(play(&[id], Cut::Reset).unwrap_err().reason, R::ConnectionReset);
        assert_eq!(play(&[id], Cut::Late).unwrap_err().reason, R::Timeout);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            head in proptest::option::of("SSH-[0-9.]{1,4}-[a-z ]{0,9}\r\n"),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            length in 0u8..=200, split in 0usize..200,
        ) {
            let mut said = head.clone().unwrap_or_default().into_bytes();
            if head.is_some() {
                said.extend([0, 0, 0, length]);
            }
            said.extend(bytes);
            let (one, other) = said.split_at(split.min(said.len()));
            let _ = play(&[one, other], Cut::Closed);
        }

        #[test]
        fn no_offer_makes_it_panic(at in 0usize..300, byte in any::<u8>()) {
            let mut said = [&b"SSH-2.0-x\r\n"[..], &with(0, LISTS[0])].concat();
            let at = at.min(said.len() - 1);
            said[at] = byte;
            let _ = play(&[&said], Cut::Closed);
        }
    }
}
