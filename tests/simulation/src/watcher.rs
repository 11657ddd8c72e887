//! Watchers: each follows a namespace through any member, goes on from the last revision that it took
//! whole, and lists again when that is gone.

use parallax_proto::v1;

use crate::chance::Chance;
use crate::feed::Listen;

/// One watcher.
#[derive(Debug)]
pub struct Watcher {
    /// What it watches.
    pub namespace: String,
    /// The number of its newest stream. What comes by an older one is not heard.
    pub stream: u64,
    /// The member that it asked last.
    pub member: u64,
    /// The member by which it heard changes last.
    pub through: Option<u64>,
    /// The last revision of which it has everything; none: it has to list.
    pub at: Option<u64>,
    /// Its stream has begun.
    pub begun: bool,
    /// Changes of a revision of which more is to come.
    half: Vec<v1::WatchResponse>,
    /// It has watched since it listed: what begins now goes on.
    pub resumed: bool,
    /// When the newest thing said to it arrives.
    pub last_us: u64,
    /// For its whims.
    pub chance: Chance,
}

impl Watcher {
    /// The watcher with this index.
    pub fn new(seed: u64, index: usize) -> Self {
        let mut chance = Chance::new(seed, &format!("watcher-{index}"));
        // The first one where pages are, the second where most is written.
        let namespace = match index {
            0 => "site".to_owned(),
            _ => format!("n{}", chance.below(2)),
        };
        Self {
            namespace,
            stream: 0,
            member: 0,
            through: None,
            at: None,
            begun: false,
            half: Vec::new(),
            resumed: false,
            last_us: 0,
            chance,
        }
    }

    /// Asks `member` for what it lacks, on a new stream.
    pub fn ask(&mut self, index: usize, member: u64) -> Listen {
        self.stream += 1;
        self.member = member;
        self.begun = false;
        self.half.clear();
        let (stream, namespace, from) = (self.stream, self.namespace.clone(), self.at);
        Listen { watcher: index, stream, namespace, from }
    }

    /// Takes changes: those of which it has the whole revision now.
    pub fn take(&mut self, changes: Vec<v1::WatchResponse>) -> Vec<v1::WatchResponse> {
        self.half.extend(changes);
        let whole = self.half.iter().rposition(|change| !change.more).map_or(0, |last| last + 1);
        let whole: Vec<_> = self.half.drain(..whole).collect();
        self.at = whole.last().map(|last| last.revision).or(self.at);
        whole
    }
}
