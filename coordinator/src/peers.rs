//! The other members: where they are, a connection to each, and what is known of it.
//!
//! The book is written from the replicated member rows (and, before there are any, from the list the
//! process was started with). Everybody who talks to another member asks here for the channel, so
//! that two members share one connection for their streams; files have one of their own.
//!
//! [`transport`] carries Raft's messages: [`links`] holds a queue and a task for each member,
//! [`inbound`] takes theirs, [`carry`] sends snapshot files and [`arrival`] takes them. [`gate`] lets
//! streams in, for every service of the peer listener.

pub mod arrival;
pub mod carry;
mod facts;
pub mod fetch;
pub mod frame;
pub mod gate;
pub mod inbound;
pub mod link;
pub mod links;
pub mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::COORDINATORS_MAX;
use parallax_proto::peer::PeerHello;
use parallax_proto::store::MemberRow;
use parallax_runtime::clock;
use parallax_runtime::transport::{Connector, Credentials, endpoint};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::transport::Channel;
use tracing::warn;

pub use self::facts::Facts;
use crate::core::peering::Refusal;

/// Of those who are not in the book nothing is noted once so much is known of anybody.
const FACTS_OF_STRANGERS_MAX: usize = 4 * COORDINATORS_MAX;

/// A member as others dial it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub node_id: u64,
    /// Its name, which its certificate must bear.
    pub name: String,
    /// host:port of its peer listener.
    pub address: String,
}

struct Known {
    peer: Peer,
    /// By its own word, not by a row: so many of its streams say so. It stays until the last of them
    /// ends, or a row says otherwise.
    introduced: usize,
    channel: Channel,
    carrier: Channel,
}

struct Book {
    credentials: Credentials,
    node_id: u64,
    known: Mutex<BTreeMap<u64, Known>>,
    facts: Mutex<BTreeMap<u64, Facts>>,
    /// Grows with every change of who is known.
    edition: watch::Sender<u64>,
    /// Who said that this member can never be let in again, and why.
    shut_out: watch::Sender<Option<(Peer, Refusal)>>,
}

/// The address book of one member. Clones share it.
#[derive(Clone)]
pub struct Peers(Arc<Book>);

impl Peers {
    /// An empty book of the member `node_id`.
    pub fn new(credentials: Credentials, node_id: u64) -> Self {
        Self(Arc::new(Book {
            credentials,
            node_id,
            known: Mutex::default(),
            facts: Mutex::default(),
            edition: watch::Sender::new(0),
            shut_out: watch::Sender::new(None),
        }))
    }

    /// Makes the book say what `peers` says: this member itself and those without an address are
    /// left out, connections to members that are gone or have moved are closed once unused.
    pub fn learn(&self, peers: impl IntoIterator<Item = Peer>) {
        self.write(peers, |_| false);
    }

    /// The same, from the member rows of the state. Who is newer than the newest row and has
    /// introduced himself is kept.
    pub fn learn_rows<'a>(&self, rows: impl IntoIterator<Item = &'a MemberRow>) {
        let mut newest = 0;
        let mut peers = Vec::new();
        for row in rows {
            newest = newest.max(row.node_id);
            if !row.removed {
                peers.push(Peer {
                    node_id: row.node_id,
                    name: row.name.clone(),
                    address: row.peer_address.clone(),
                });
            }
        }
        self.write(peers, |known| known.introduced > 0 && known.peer.node_id > newest);
    }

    fn write(&self, peers: impl IntoIterator<Item = Peer>, keep: impl Fn(&Known) -> bool) {
        let mut known = self.0.known.lock();
        let mut before = std::mem::take(&mut *known);
        let mut changed = false;
        for peer in peers {
            if peer.node_id == self.0.node_id || peer.address.is_empty() {
                continue;
            }
            match before.remove(&peer.node_id) {
                Some(same) if same.peer == peer => {
                    known.insert(peer.node_id, Known { introduced: 0, ..same });
                }
                _ => {
                    changed = true;
                    if let Some(new) = self.dialled(peer, 0) {
                        known.insert(new.peer.node_id, new);
                    }
                }
            }
        }
        for (node_id, gone) in before {
            if keep(&gone) {
                known.insert(node_id, gone);
            } else {
                changed = true;
                self.0.facts.lock().remove(&node_id);
            }
        }
        drop(known);
        if changed {
            self.0.edition.send_modify(|edition| *edition += 1);
        }
    }

    /// Notes a member by its own word, when nothing better is known of it, for as long as what this
    /// returns is kept. The holder of a certificate is one member: what it said before under another
    /// node id or of another address counts no more. None: it is not noted.
    pub fn introduce(&self, peer: Peer) -> Option<Introduction> {
        if peer.node_id == self.0.node_id || peer.address.is_empty() {
            return None;
        }
        let mut known = self.0.known.lock();
        match known.get_mut(&peer.node_id) {
            Some(row) if row.introduced == 0 => return None,
            Some(same) if same.peer == peer => {
                same.introduced += 1;
                return Some(Introduction { peers: self.clone(), peer });
            }
            _ => {}
        }
        let new = self.dialled(peer, 1)?;
        let mut before = Vec::new();
        known.retain(|node_id, known| {
            let said_before = known.introduced > 0 && known.peer.name == new.peer.name;
            if said_before {
                before.push(*node_id);
            }
            !said_before
        });
        // Whose place another name claims keeps it.
        let taken = known.contains_key(&new.peer.node_id);
        let introduced = known.values().filter(|known| known.introduced > 0).count();
        let noted = (!taken && introduced < COORDINATORS_MAX).then(|| {
            let peer = new.peer.clone();
            known.insert(peer.node_id, new);
            Introduction { peers: self.clone(), peer }
        });
        drop(known);
        self.forget(&before);
        self.0.edition.send_modify(|edition| *edition += 1);
        noted
    }

    /// One stream of a member that introduced itself has ended.
    fn part(&self, peer: &Peer) {
        let mut known = self.0.known.lock();
        match known.get_mut(&peer.node_id) {
            Some(same) if same.introduced > 0 && same.peer == *peer => {
                same.introduced -= 1;
                if same.introduced > 0 {
                    return;
                }
            }
            _ => return,
        }
        known.remove(&peer.node_id);
        drop(known);
        self.forget(&[peer.node_id]);
        self.0.edition.send_modify(|edition| *edition += 1);
    }

    fn forget(&self, gone: &[u64]) {
        let mut facts = self.0.facts.lock();
        for node_id in gone {
            facts.remove(node_id);
        }
    }

    fn dialled(&self, peer: Peer, introduced: usize) -> Option<Known> {
        match endpoint(&peer.address) {
            Ok(endpoint) => {
                let connector = Connector::new(self.0.credentials.clone()).named(&peer.name);
                let channel = endpoint.connect_with_connector_lazy(connector.clone());
                let carrier = endpoint.connect_with_connector_lazy(connector);
                Some(Known { peer, introduced, channel, carrier })
            }
            Err(error) => {
                warn!(member = peer.name, %error, "a member cannot be dialled");
                None
            }
        }
    }

    /// The connection to a member; opened when first used, and again whenever it broke.
    pub fn channel(&self, node_id: u64) -> Option<Channel> {
        self.0.known.lock().get(&node_id).map(|known| known.channel.clone())
    }

    /// The connection to a member that files travel on: what is large must not stand before a
    /// heartbeat in the same socket.
    pub fn carrier(&self, node_id: u64) -> Option<Channel> {
        self.0.known.lock().get(&node_id).map(|known| known.carrier.clone())
    }

    /// Gives up the connection to a member: whoever asks next dials a new one. Streams on the old
    /// one go on as long as it does.
    pub fn redial(&self, node_id: u64) {
        let mut known = self.0.known.lock();
        if let Some(old) = known.get(&node_id) {
            let (peer, introduced) = (old.peer.clone(), old.introduced);
            if let Some(new) = self.dialled(peer, introduced) {
                known.insert(node_id, new);
            }
        }
    }

    /// A member that is in the book.
    pub fn get(&self, node_id: u64) -> Option<Peer> {
        self.0.known.lock().get(&node_id).map(|known| known.peer.clone())
    }

    /// Every other member.
    pub fn all(&self) -> Vec<Peer> {
        self.0.known.lock().values().map(|known| known.peer.clone()).collect()
    }

    /// Changes whenever the book does.
    pub fn edition(&self) -> watch::Receiver<u64> {
        self.0.edition.subscribe()
    }

    /// Lowest round trip of the last pings. None before the first, and while it cannot be reached.
    pub fn round_trip(&self, node_id: u64) -> Option<Duration> {
        self.0.facts.lock().get(&node_id).and_then(Facts::round_trip)
    }

    /// How long ago a member was last heard, on whichever side's stream. None: never.
    pub fn last_heard(&self, node_id: u64) -> Option<Duration> {
        let heard = self.0.facts.lock().get(&node_id).and_then(|facts| facts.heard);
        heard.map(|heard| clock::instant().saturating_duration_since(heard))
    }

    /// What a member's last hello called its build. None before the first.
    pub fn build_of(&self, node_id: u64) -> Option<String> {
        let facts = self.0.facts.lock();
        facts.get(&node_id).map(|facts| facts.build.clone()).filter(|build| !build.is_empty())
    }

    /// The level of a member's last hello. None before the first.
    pub fn level_of(&self, node_id: u64) -> Option<u32> {
        self.0.facts.lock().get(&node_id).map(|facts| facts.level).filter(|level| *level > 0)
    }

    /// Everything that is known of a member; as of nothing when it was never heard of.
    pub fn facts(&self, node_id: u64) -> Facts {
        self.0.facts.lock().get(&node_id).cloned().unwrap_or_default()
    }

    /// The member that said that this one can never be let in again, and why, once one has.
    pub fn shut_out(&self) -> watch::Receiver<Option<(Peer, Refusal)>> {
        self.0.shut_out.subscribe()
    }

    /// What this member was refused for by another one. A row that names a disk or says that it is
    /// removed never changes back, so one voice is enough, however old its state is.
    fn told_refused(&self, node_id: u64, refusal: Refusal) {
        let final_word = matches!(refusal, Refusal::Removed | Refusal::OtherDisk);
        if let Some(peer) = self.get(node_id).filter(|_| final_word) {
            self.0.shut_out.send_if_modified(|by| {
                let first = by.is_none();
                by.get_or_insert((peer, refusal));
                first
            });
        }
    }

    fn heard(&self, node_id: u64) {
        self.note(node_id, |facts| facts.heard = Some(clock::instant()));
    }

    fn heard_hello(&self, hello: &PeerHello) {
        self.note(hello.node_id, |facts| {
            facts.heard = Some(clock::instant());
            facts.build.clone_from(&hello.build);
            facts.level = hello.level;
        });
    }

    fn note(&self, node_id: u64, change: impl FnOnce(&mut Facts)) {
        let known = self.0.known.lock().contains_key(&node_id);
        let mut facts = self.0.facts.lock();
        // Who is not in the book may be anybody.
        if known || facts.len() < FACTS_OF_STRANGERS_MAX || facts.contains_key(&node_id) {
            change(facts.entry(node_id).or_default());
        }
    }
}

/// A member is in the book by its own word for as long as this is kept.
pub struct Introduction {
    peers: Peers,
    peer: Peer,
}

impl Drop for Introduction {
    fn drop(&mut self) {
        self.peers.part(&self.peer);
    }
}

#[cfg(test)]
mod tests;
