//! Whether this member sees a leader, and what it says when it does not.
//!
//! The replicated state cannot tell that nobody replicates it. So each member watches by itself
//! ([`crate::core::quorum_watch`]), shows what it sees in `status` and `/readyz`, and, where a
//! contact is configured on this member, sends one page an episode ([`told`]) through the same
//! outbox as all pages, with a ledger that is a file. While all is well the leader calls a URL
//! ([`heartbeat`]), so that somebody notices when all members are gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parallax_common::limits::PAGER_HEARD_WITHIN;
use parallax_common::time::UtcTime;
use parallax_runtime::clock;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::core::explain;
use crate::core::quorum_watch::{QuorumWatch, Step};
use crate::peers::{Peer, Peers};
use crate::raft::node::NodeHandle;

pub mod contact;
pub mod heartbeat;
pub mod told;

use self::told::Told;

/// How often a member looks whether there is a leader.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Another member, and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its number.
    pub node_id: u64,
    /// Its name.
    pub name: String,
    /// It was heard lately.
    pub heard: bool,
}

/// Who of the others is heard.
pub trait Reach: Send + Sync + 'static {
    /// Every other member that is known.
    fn others(&self) -> Vec<Other>;
}

/// Whether somebody leads.
pub trait Sight: Send + Sync + 'static {
    /// Whether a leader is known now.
    fn leader(&self) -> bool;
}

impl<T: Send + 'static> Sight for NodeHandle<T> {
    fn leader(&self) -> bool {
        self.status().leader_id.is_some()
    }
}

impl Reach for Peers {
    fn others(&self) -> Vec<Other> {
        let heard = |ago: Duration| ago <= PAGER_HEARD_WITHIN;
        let other = |peer: Peer| Other {
            node_id: peer.node_id,
            heard: self.last_heard(peer.node_id).is_some_and(heard),
            name: peer.name,
        };
        self.all().into_iter().map(other).collect()
    }
}

/// What a member sees of its group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Since when it sees no leader, and for how long that is; none while it sees one.
    pub leaderless: Option<(UtcTime, Duration)>,
    /// Names of the others that it hears.
    pub reaches: Vec<String>,
    /// Names of the others that it does not hear.
    pub misses: Vec<String>,
}

struct Inner {
    name: String,
    reach: Arc<dyn Reach>,
    sight: Box<dyn Sight>,
    watch: Mutex<Watched>,
}

struct Watched {
    core: QuorumWatch,
    /// What the core's time counts from.
    origin: Instant,
    /// When the present time without a leader began.
    since: UtcTime,
}

impl Watched {
    fn at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

/// One member's watch over its quorum. Clones share it.
#[derive(Clone)]
pub struct Quorum(Arc<Inner>);

impl Quorum {
    /// The watch of the member with this name. `told`: when the episode began of which an earlier
    /// life has told, if it is not over.
    pub fn new(
        name: String,
        reach: Arc<dyn Reach>,
        sight: impl Sight,
        told: Option<UtcTime>,
    ) -> Self {
        let core = QuorumWatch::new(Duration::ZERO, told.is_some());
        let since = told.unwrap_or_else(clock::utc);
        let watch = Mutex::new(Watched { core, origin: clock::instant(), since });
        Self(Arc::new(Inner { name, reach, sight: Box::new(sight), watch }))
    }

    /// What this member sees now.
    pub fn standing(&self) -> Standing {
        let leaderless = {
            let watch = self.0.watch.lock();
            watch
                .core
                .leaderless_for(watch.at(clock::instant()))
                .filter(|_| !self.0.sight.leader())
                .map(|_| (watch.since, clock::utc().since(watch.since)))
        };
        let (reaches, misses): (Vec<Other>, Vec<Other>) =
            self.0.reach.others().into_iter().partition(|other| other.heard);
        let names = |others: Vec<Other>| others.into_iter().map(|other| other.name).collect();
        Standing { leaderless, reaches: names(reaches), misses: names(misses) }
    }

    /// In a sentence, what a person has to know while there is no leader; none while there is one.
    pub fn sentence(&self) -> Option<String> {
        let standing = self.standing();
        let (_, lasts) = standing.leaderless?;
        Some(self.say(lasts, &standing))
    }

    fn say(&self, lasts: Duration, standing: &Standing) -> String {
        explain::no_leader(&self.0.name, lasts, &standing.reaches, &standing.misses)
    }

    /// Watches until the process stops. `told`: who is to hear of it, if anybody.
    pub async fn watch(self, told: Option<Arc<Told>>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        // After a stall one look, not all that were missed.
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = every.tick().await.into_std();
            self.look(now, told.as_ref()).await;
        }
    }

    /// Takes one look, and does what follows from it.
    async fn look(&self, now: Instant, told: Option<&Arc<Told>>) {
        let leader = self.0.sight.leader();
        let (step, since, lasts) = {
            let mut watch = self.0.watch.lock();
            let now = watch.at(now);
            let led_before = watch.core.leaderless_for(now).is_none();
            let step = watch.core.see(leader, now);
            if led_before && !leader {
                watch.since = clock::utc();
            }
            (step, watch.since, watch.core.leaderless_for(now).unwrap_or_default())
        };
        match step {
            Some(Step::Tell) => {
                let text = self.say(lasts, &self.standing());
                warn!("{text}");
                if let Some(told) = told {
                    told.tell(since, text).await;
                }
            }
            Some(Step::Resolve) => {
                info!("a leader is there again");
                if let Some(told) = told {
                    told.resolve().await;
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
