//! Orders for looks down the sessions of this member, and answers back to whoever waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::limits::ORDER_EXPIRES;
use parallax_common::name::{RunDigest, Uid};
use parallax_common::record::{LookOrder, LookResult};
use parallax_common::time::MeshTime;
use parallax_proto::convert::look::order_to;
use parallax_proto::v1::live_response::Frame;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::debug;

use super::Sessions;
use crate::core::engine::Voter;
use crate::core::look::{Ending, Looks, Seat, TooMany};

/// A seat, by its place among those asked, and what became of it.
pub type Answer = (usize, Ending);

/// Who waits for which answers.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    looks: Looks,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    places: BTreeMap<Voter, usize>,
    to: mpsc::UnboundedSender<Answer>,
}

/// An open look. When it is dropped nobody waits any more.
pub struct Asked {
    look: u64,
    desk: Desk,
    /// One for each seat at the most.
    answers: mpsc::UnboundedReceiver<Answer>,
}

impl Asked {
    /// The next answer.
    pub async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut desk = self.desk.0.lock();
        desk.looks.close(self.look);
        desk.waiting.remove(&self.look);
    }
}

impl Sessions {
    /// Asks every probe of `seats` to look now, on this request. What is known at once of a seat is among
    /// the answers.
    ///
    /// # Errors
    /// Too many are open.
    pub fn look(
        &self,
        check: Uid,
        digest: RunDigest,
        seats: &[Seat],
        now: MeshTime,
        request: String,
    ) -> Result<Asked, TooMany> {
        let voters =
            || seats.iter().enumerate().filter_map(|(at, seat)| Some((at, seat.voter.as_ref()?)));
        let (to, answers) = mpsc::unbounded_channel();
        let look = {
            let mut desk = self.desk.0.lock();
            let look = desk.looks.open(check, digest, voters().map(|(_, voter)| voter.clone()))?;
            // Before the first order is out: an answer may come at once.
            let places = voters().map(|(at, voter)| (voter.clone(), at)).collect();
            desk.waiting.insert(look, Waiting { places, to: to.clone() });
            look
        };
        let asked = Asked { look, desk: self.desk.clone(), answers };
        let order = LookOrder {
            look,
            check,
            run_digest: digest,
            expires: ORDER_EXPIRES,
            ordered: Some(now),
            request,
        };
        for (at, seat) in seats.iter().enumerate() {
            let known = match &seat.voter {
                None => Some(Ending::NoProbe),
                Some(voter) => self.order_look(voter, &order),
            };
            if let Some(ending) = known {
                // The other end is in our hands.
                let _ = to.send((at, ending));
            }
        }
        Ok(asked)
    }

    /// Sends the order, or says why there will be no answer.
    fn order_look(&self, voter: &Voter, order: &LookOrder) -> Option<Ending> {
        match self.lane(voter, |lane| lane.looks) {
            None => return Some(Ending::NoSession),
            Some(false) => return Some(Ending::TooOld),
            Some(true) => {}
        }
        let frame = Frame::LookOrder(order_to(order));
        let sent = self.send(&voter.region, &voter.probe, voter.incarnation, frame);
        (!sent).then_some(Ending::NoSession)
    }

    /// A probe says what became of a look.
    pub(super) fn looked(&self, voter: &Voter, result: LookResult) {
        let look = result.look;
        let mut desk = self.desk.0.lock();
        let Some(ending) = desk.looks.heard(voter, result) else {
            debug!(region = voter.region, probe = voter.probe, look, "nobody waits for this look");
            return;
        };
        if let Some(waiting) = desk.waiting.get(&look)
            && let Some(place) = waiting.places.get(voter)
        {
            // Whoever waited is going away.
            let _ = waiting.to.send((*place, ending));
        }
    }

    /// How many looks are open.
    #[cfg(test)]
    pub(crate) fn looks_open(&self) -> usize {
        self.desk.0.lock().looks.len()
    }
}
