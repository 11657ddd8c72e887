//! A name server for benches: knows the addresses of a handful of names, and nothing else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use tokio::net::UdpSocket;

/// Longest question that is answered.
const QUESTION_BYTES_MAX: usize = 512;
const HEADER_BYTES: usize = 12;
/// Type, class, time to live of an A record, and that its name is the question's (RFC 1035, 4.1).
const RECORD: [u8; 12] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4];

/// Answers over UDP until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    supervisor: Supervisor,
}

impl NameServer {
    /// Listens at each of these addresses.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub async fn start(at: &[SocketAddr], names: BTreeMap<String, Ipv4Addr>) -> Result<Self> {
        let supervisor = Supervisor::default();
        let names = Arc::new(names);
        for address in at {
            let socket = UdpSocket::bind(address).await;
            let socket = socket.with_context(|| format!("cannot bind {address}"))?;
            let (names, stop) = (Arc::clone(&names), supervisor.stop_token());
            supervisor.spawn(TaskKind::Session("name server"), async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = serve(&socket, &names) => {}
                }
            });
        }
        Ok(Self { supervisor })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.supervisor.stop();
    }
}

async fn serve(socket: &UdpSocket, names: &BTreeMap<String, Ipv4Addr>) {
    let mut question = [0; QUESTION_BYTES_MAX];
    loop {
        // A client that is gone shows as an error of the next call, and is its own business.
        let Ok((length, from)) = socket.recv_from(&mut question).await else { continue };
        if let Some(answer) = answer(&question[..length], names) {
            socket.send_to(&answer, from).await.ok();
        }
    }
}

/// The answer to a message with one question: an address, none of that type, or no such name.
fn answer(question: &[u8], names: &BTreeMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let (name, end) = name(question)?;
    let wanted = question.get(end..end + 4)?;
    let address = names.get(&name);
    let given = address.filter(|_| wanted == [0, 1, 0, 1]);
    let mut answer = question.get(..end + 4)?.to_vec();
    // An answer, authoritative, with the recursion that was asked for at hand.
    answer[2] = 0x84 | (question[2] & 1);
    answer[3] = 0x80 | if address.is_some() { 0 } else { 3 };
    answer[4..HEADER_BYTES].copy_from_slice(&[0, 1, 0, u8::from(given.is_some()), 0, 0, 0, 0]);
    if let Some(address) = given {
        answer.extend(RECORD);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The name that is asked for, in lower case, and where it ends.
fn name(message: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), HEADER_BYTES);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = std::str::from_utf8(message.get(at..at + length)?).ok()?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&label.to_ascii_lowercase());
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question as it is sent: id 7, recursion desired.
    fn question(labels: &[&str], kind: u8) -> Vec<u8> {
        let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes());
        }
        bytes.extend([0, 0, kind, 0, 1]);
        bytes
    }

    #[test]
    fn a_known_name_has_an_address_another_type_has_none_and_others_do_not_exist() {
        let names = BTreeMap::from([("t1.test".to_owned(), Ipv4Addr::new(127, 0, 1, 2))]);
        let found = answer(&question(&["T1", "test"], 1), &names).unwrap();
        assert_eq!((&found[..4], found[7]), (&[0, 7, 0x85, 0x80][..], 1));
        assert_eq!(found[found.len() - 4..], [127, 0, 1, 2]);
        let other = answer(&question(&["t1", "test"], 28), &names).unwrap();
        assert_eq!((other[3], other[7]), (0x80, 0));
        let nobody = answer(&question(&["t2", "test"], 1), &names).unwrap();
        assert_eq!((nobody[3], nobody[7]), (0x83, 0));
        let whole = question(&["t1", "test"], 1);
        assert!((0..whole.len()).all(|end| answer(&whole[..end], &names).is_none()));
    }
}
