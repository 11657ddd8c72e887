//! What the core asked for, carried out: proposals in tasks of their own, orders at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parallax_common::record::Order;
use parallax_proto::convert::assignment::order_to;
use parallax_proto::v1::live_response::Frame;
use parallax_runtime::supervisor::TaskKind;
use tracing::{debug, warn};

use super::{Judge, Told};
use crate::core::engine::Voter;
use crate::core::judge::{Act, Outputs, Proposal};
use crate::propose::Origin;

impl Judge {
    /// Does what the core asked for.
    pub(super) fn perform(&mut self, mut out: Outputs) {
        if out.plan_changed {
            self.publish.send_replace(Arc::new(self.core.plan().clone()));
        }
        for act in std::mem::take(&mut out.acts) {
            match act {
                Act::Order { to, order } => self.order(&to, &order),
                Act::Resync(voter, session) => {
                    warn!(region = voter.region, probe = voter.probe, "live records are missing");
                    if !self.sessions.end(&voter, session) {
                        self.relays.begin_anew(&voter);
                    }
                }
                Act::Ask(voter) => {
                    debug!(
                        region = voter.region,
                        probe = voter.probe,
                        "asked for everything again"
                    );
                    if !self.sessions.ask(&voter) {
                        self.relays.begin_anew(&voter);
                    }
                }
                Act::Supersede { key, old, new } => {
                    self.sessions.supersede(&key.region, &key.probe, old, new);
                    self.relays.supersede(&key.region, &key.probe, old, new);
                }
            }
        }
        for proposal in out.proposals(self.node_id, || uuid::Uuid::now_v7().to_string()) {
            self.propose(proposal);
        }
    }

    fn order(&self, to: &Voter, order: &Order) {
        debug!(region = to.region, count = order.count, "confirmation ordered");
        let wire = order_to(order);
        // By both ways when there are two: the probe obeys an order once.
        self.relays.order(to, wire.clone());
        self.sessions.send(&to.region, &to.probe, to.incarnation, Frame::Order(wire));
    }

    /// Proposes in a task of its own, and tells the judge how it ended. After a failure it waits
    /// first: deciding again at once would take the time that the store needs to catch up.
    fn propose(&self, Proposal { about, command }: Proposal) {
        let proposer = self.proposer.clone();
        let handle = self.handle.clone();
        let origin = Origin::leader(&self.name);
        let failures = Arc::clone(&self.failures);
        let stop = self.supervisor.stop_token();
        self.supervisor.spawn(TaskKind::Session("proposal"), async move {
            match proposer.write(origin, command).await {
                Ok(_) => failures.store(0, Ordering::Relaxed),
                Err(error) => {
                    let in_a_row = failures.fetch_add(1, Ordering::Relaxed);
                    let wait = back_off(in_a_row);
                    warn!(%error, ?wait, "a decision was not committed, deciding again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
            handle.tell(Told::Settled(about)).await;
        });
    }
}

/// The wait after this many failures in a row: 100 ms, doubled up to 2 s.
fn back_off(in_a_row: u32) -> Duration {
    (Duration::from_millis(100) * 2_u32.pow(in_a_row.min(5))).min(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_after_failures_grow_and_stay_bounded() {
        let waits: Vec<u128> = (0..8).map(|n| back_off(n).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    }
}
