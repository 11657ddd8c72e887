//! A member below the level of its log: what it does not do, and how it gives up leading.

use raft::eraftpb::{Message, MessageType};
use raft::{INVALID_ID, StateRole};
use tracing::{error, warn};

use super::{ELECTION_TICKS, Member};
use crate::raft::log::LogStore;
use crate::raft::machine::Machine;
use crate::raft::reads::ReadError;
use crate::raft::standstill::Standstill;
use crate::store::snapshot::SnapshotId;

/// Rows of a snapshot that are looked at for its level, which is said in the first.
const ROWS_LOOKED_AT: usize = 64;

impl<M: Machine, L: LogStore> Member<M, L> {
    /// Where this member stands still, if it does.
    pub fn standstill(&self) -> Option<Standstill> {
        self.ceiling.reached()
    }

    /// Lets a tick pass in Raft. A member that must not lead stays out of elections: its timer stops
    /// just before it would stand, and long after the lease in which it gives nobody a vote.
    pub(super) fn tick_raft(&mut self) {
        let raft = &self.raw.raft;
        let leads = raft.state == StateRole::Leader;
        let stands_next = raft.election_elapsed + 1 >= raft.randomized_election_timeout();
        if leads || !stands_next || !self.ceiling.is_low() {
            self.raw.tick();
        }
        if self.ceiling.is_low() {
            self.give_up_leading();
        } else {
            self.ceiling.led_ticks = 0;
        }
    }

    /// Whether this message would make it lead although it must not.
    pub(super) fn would_lead(&self, message: &Message) -> bool {
        message.get_msg_type() == MessageType::MsgTimeoutNow && self.ceiling.is_low()
    }

    /// Hands over to whoever is best; when nobody takes it, steps down all the same, so that others
    /// elect one of themselves.
    fn give_up_leading(&mut self) {
        let (state, term) = (self.raw.raft.state, self.raw.raft.term);
        match state {
            StateRole::Follower => self.ceiling.led_ticks = 0,
            StateRole::Candidate | StateRole::PreCandidate => {
                self.raw.raft.become_follower(term, INVALID_ID);
            }
            StateRole::Leader => {
                self.ceiling.led_ticks += 1;
                if self.ceiling.led_ticks > 2 * ELECTION_TICKS {
                    warn!("this build must not lead and nobody took over: it steps down");
                    self.raw.raft.become_follower(term, INVALID_ID);
                } else if self.raw.raft.lead_transferee.is_none()
                    && let Some(next) = self.status().group().successor()
                {
                    warn!(to = next, "this build must not lead: it hands over");
                    self.raw.transfer_leader(next);
                }
            }
        }
    }

    /// Says that from here on nothing is applied.
    pub(super) fn stand_still(&mut self, standstill: Standstill) {
        error!(index = standstill.index, "nothing is applied any more: {standstill}");
        self.reads.fail(&ReadError::StandsStill(standstill));
    }

    /// Whether the snapshot is above the level of this build, so that its rows must not be read.
    pub(super) fn is_above(&mut self, id: SnapshotId) -> bool {
        // A file that cannot be read is told when it is installed.
        let Ok((_, rows)) = self.snapshots.read(id) else { return false };
        let mut rows = rows.take(ROWS_LOOKED_AT).map_while(Result::ok);
        let Some(beyond) = rows.find_map(|row| self.machine.row_beyond(&row)) else { return false };
        let standstill = Standstill { index: id.index, beyond };
        if self.ceiling.refuse_snapshot(standstill) {
            self.stand_still(standstill);
        }
        true
    }
}
