//! What kind of world a seed has: how many members, how bad the network, how slow the disks.

use parallax_common::limits::WATCH_CHANGES_MAX;

use crate::chance::Chance;

/// The numbers of one world. Times are in microseconds.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Members that the cluster begins with.
    pub members: u64,
    /// Members come and go.
    pub membership: bool,
    /// Applied entries after which a snapshot is taken.
    pub snapshot_after_entries: u64,
    /// Most bytes of entries in a message.
    pub message_bytes_max: u64,
    /// Messages with entries under way to one member.
    pub inflight_max: usize,
    /// One-way delay, least and most.
    pub delay_us: (u64, u64),
    /// Messages of a hundred that are lost.
    pub loss_percent: u64,
    /// Messages of a hundred that come twice.
    pub twice_percent: u64,
    /// How long a sync takes, least and most.
    pub sync_us: (u64, u64),
    /// How far a member's tick may be from 50 ms. Raft's safety must not hang on clocks.
    pub drift_us: u64,
    /// Time between two troubles, least and most.
    pub trouble_us: (u64, u64),
    /// Clients, each with one request at a time.
    pub clients: usize,
    /// Keys that they write.
    pub keys: u64,
    /// Time a client rests between two requests, at most, in the beginning.
    pub think_us: u64,
    /// Changes that a watch can go on over.
    pub watch_changes_max: usize,
}

impl Profile {
    /// The profile of a seed. In every second one the limits are small, so that what is rare at
    /// their real size happens all the time.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "profile");
        let small = chance.one_in(2);
        let far = chance.one_in(3);
        let lossy = chance.one_in(2);
        Self {
            members: if chance.one_in(3) { 5 } else { 3 },
            membership: chance.one_in(3),
            snapshot_after_entries: if small { chance.between(5, 40) } else { 400 },
            message_bytes_max: if small { chance.between(0, 600) } else { 1024 * 1024 },
            inflight_max: match (small, far) {
                (false, _) => 256,
                (true, false) => chance.between(1, 4) as usize,
                // Over a long way one message a round trip would be a world that does nothing else.
                (true, true) => chance.between(3, 8) as usize,
            },
            delay_us: if far { (20_000, 90_000) } else { (100, chance.between(500, 20_000)) },
            loss_percent: if lossy { chance.between(1, 8) } else { 0 },
            twice_percent: if lossy { 3 } else { 0 },
            sync_us: if chance.one_in(4) { (5_000, 60_000) } else { (200, 4_000) },
            drift_us: if chance.one_in(3) { 30_000 } else { 4_000 },
            trouble_us: (500_000, chance.between(2_000_000, 8_000_000)),
            clients: chance.between(7, 11) as usize,
            keys: chance.between(2, 4),
            think_us: chance.between(20_000, 150_000),
            watch_changes_max: match chance.one_in(2) {
                true => chance.between(3, 40) as usize,
                false => WATCH_CHANGES_MAX,
            },
        }
    }
}
