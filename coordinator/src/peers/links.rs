//! A link to each member in the book, and the Raft thread's way to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parallax_common::limits::{SNAPSHOT_AGAIN_AFTER, SNAPSHOTS_OUT_MAX};
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use raft::eraftpb::{Message, MessageType};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::gate::Gate;
use super::link::{Link, LinkTask};
use super::transport::Inbox;
use super::{Peers, carry};
use crate::raft::node::TICK;
use crate::raft::outbound::{Carried, Outbound};
use crate::store::snapshot::transfer::SnapshotTransfer;

type Table = Arc<ArcSwap<BTreeMap<u64, Arc<Link>>>>;

/// What is asked of the task that keeps the links. Unbounded, for Raft has one snapshot under way to
/// a member and sends no other before it hears of it.
enum Order {
    /// Carry the snapshot that this message announces, and the message behind it.
    Carry(Box<Message>),
    /// Tell Raft what came of it.
    Carried { to: u64, carried: Carried },
}

/// The way from the Raft thread to other members. Never waits.
pub struct PeerOutbound {
    node_id: u64,
    peers: Peers,
    table: Table,
    orders: mpsc::UnboundedSender<Order>,
}

impl Outbound for PeerOutbound {
    fn send(&mut self, messages: Vec<Message>) {
        let now = clock::instant();
        let table = self.table.load();
        for message in messages {
            let to = message.to;
            if message.from != self.node_id {
                // A read or a proposal of another member, which took us for the leader. It may not
                // come from us, and whoever asked asks again.
                self.peers.note(to, |facts| facts.dropped += 1);
            } else if message.get_msg_type() == MessageType::MsgSnapshot {
                // The task is gone when the process stops.
                let _ = self.orders.send(Order::Carry(Box::new(message)));
            } else if !table.get(&to).is_some_and(|link| link.offer(message, now)) {
                self.peers.note(to, |facts| facts.dropped += 1);
            }
        }
    }
}

/// See the module.
pub(super) struct Links {
    peers: Peers,
    gate: Gate,
    snapshots: Arc<dyn SnapshotTransfer>,
    table: Table,
    orders: mpsc::UnboundedSender<Order>,
    asked: mpsc::UnboundedReceiver<Order>,
    ends: BTreeMap<u64, CancellationToken>,
    carrying: BTreeSet<u64>,
    /// Reports that Raft's queue had no room for.
    untold: Vec<(u64, Carried)>,
}

impl Links {
    pub(super) fn new(
        peers: Peers,
        gate: Gate,
        snapshots: Arc<dyn SnapshotTransfer>,
    ) -> (Self, PeerOutbound) {
        let (orders, asked) = mpsc::unbounded_channel();
        let table = Table::default();
        let outbound = PeerOutbound {
            node_id: gate.node_id(),
            peers: peers.clone(),
            table: Arc::clone(&table),
            orders: orders.clone(),
        };
        let links = Self {
            peers,
            gate,
            snapshots,
            table,
            orders,
            asked,
            ends: BTreeMap::new(),
            carrying: BTreeSet::new(),
            untold: Vec::new(),
        };
        (links, outbound)
    }

    pub(super) async fn run(mut self, inbox: Arc<dyn Inbox>, supervisor: Supervisor, seed: u64) {
        let stop = supervisor.stop_token();
        let mut edition = self.peers.edition();
        let places = Arc::new(Semaphore::new(SNAPSHOTS_OUT_MAX));
        loop {
            edition.borrow_and_update();
            self.sync(&inbox, &supervisor, seed);
            self.tell(inbox.as_ref());
            let untold = !self.untold.is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                // The book outlives us: it is among our own fields.
                _ = edition.changed() => {}
                order = self.asked.recv() => match order {
                    Some(Order::Carry(message)) => self.carry(*message, &places, &supervisor),
                    Some(Order::Carried { to, carried }) => {
                        self.carrying.remove(&to);
                        self.untold.push((to, carried));
                    }
                    None => return, // never: we hold a sender
                },
                () = tokio::time::sleep(TICK), if untold => {}
            }
        }
    }

    /// Makes the links those of the book.
    fn sync(&mut self, inbox: &Arc<dyn Inbox>, supervisor: &Supervisor, seed: u64) {
        let wanted: BTreeSet<u64> = self.peers.all().iter().map(|peer| peer.node_id).collect();
        if wanted.iter().eq(self.ends.keys()) {
            return;
        }
        let mut table = BTreeMap::clone(&self.table.load());
        self.ends.retain(|node_id, end| {
            let stays = wanted.contains(node_id);
            if !stays {
                debug!(member = node_id, "closing the link to a member that is gone");
                end.cancel();
                table.remove(node_id);
            }
            stays
        });
        for node_id in wanted {
            if self.ends.contains_key(&node_id) {
                continue;
            }
            let end = supervisor.stop_token().child_token();
            let (peers, gate, inbox) = (self.peers.clone(), self.gate.clone(), Arc::clone(inbox));
            let (link, task) = LinkTask::new(node_id, peers, gate, inbox, end.clone(), seed);
            supervisor.spawn(TaskKind::Session("peer link"), task.run());
            self.ends.insert(node_id, end);
            table.insert(node_id, link);
        }
        self.table.store(Arc::new(table));
    }

    /// What is not told now is told at the next tick: Raft waits for it.
    fn tell(&mut self, inbox: &dyn Inbox) {
        self.untold.retain(|(to, carried)| inbox.snapshot_sent(*to, *carried).is_err());
    }

    fn carry(&mut self, message: Message, places: &Arc<Semaphore>, supervisor: &Supervisor) {
        let to = message.to;
        let Some(channel) = self.peers.carrier(to) else {
            self.untold.push((to, Carried::Lost));
            return;
        };
        if !self.carrying.insert(to) {
            // Of an earlier term of ours; its end is told to this one.
            return;
        }
        let (places, stop) = (Arc::clone(places), supervisor.stop_token());
        let (peers, orders) = (self.peers.clone(), self.orders.clone());
        let (gate, snapshots) = (self.gate.clone(), Arc::clone(&self.snapshots));
        supervisor.spawn(TaskKind::Session("snapshot out"), async move {
            let carried = async {
                let _place = places.acquire_owned().await;
                carry::carry(channel, gate.hello(to), message, snapshots).await
            };
            let arrived = tokio::select! {
                () = stop.cancelled() => return,
                carried = carried => carried,
            };
            peers.note(to, |facts| match &arrived {
                Ok(()) => facts.snapshots_sent += 1,
                Err(error) => {
                    facts.snapshots_failed += 1;
                    facts.last_error = error.to_string();
                }
            });
            if let Err(error) = &arrived {
                warn!(member = to, %error, "a snapshot did not arrive; raft asks again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(SNAPSHOT_AGAIN_AFTER) => {}
                }
            }
            let carried = match &arrived {
                Ok(()) => Carried::Arrived,
                Err(error) => error.carried(),
            };
            let _ = orders.send(Order::Carried { to, carried });
        });
    }
}
