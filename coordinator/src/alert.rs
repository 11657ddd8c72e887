//! Looking at alerts on what was measured: once a minute, check by check, at this member's own history.
//!
//! What an alert is, and what becomes of it, is `core/alert.rs`; what one look reads is [`look`]. While
//! this member leads it proposes what it found. What is left of error budgets every member counts, as each
//! answers `status` for itself, and every member counts how long alerts on certificates have said what
//! they say ([`certificates`]). Only checks with alerts or a budget are read, one after another, spread
//! over half a minute and never with more than a fifth of a core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::alert::{Alert, Measure};
use parallax_common::check::Check;
use parallax_common::limits::{
    ALERT_CHANGES_PER_ENTRY_MAX, ALERT_LOOK_EVERY, ALERT_PAUSE_TIMES, BUDGET_COUNT_EVERY,
};
use parallax_common::name::Uid;
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::store::entry::Command;
use parallax_proto::{store, v1};
use parallax_runtime::clock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use crate::core::alert::burn::PAIRS;
use crate::core::alert::certificate::Streak;
use crate::core::alert::floor;
use crate::core::alert::told::Told;
use crate::history::History;
use crate::mesh_clock::MeshClock;
use crate::propose::{Origin, Proposer};
use crate::raft::member::Leadership;
use crate::view::View;

pub mod certificates;
pub mod look;

use self::certificates::Certificates;
use self::look::{Due, Look};

/// What is found waits so long for more of it before it is proposed.
const GATHER: Duration = Duration::from_secs(1);

/// What is left of each check's error budget, as this member counted last.
#[derive(Debug, Clone, Default)]
pub struct Budgets(Arc<Mutex<BTreeMap<Uid, v1::Budget>>>);

impl Budgets {
    /// Of this check, once it was counted.
    pub fn get(&self, check: &Uid) -> Option<v1::Budget> {
        self.0.lock().get(check).cloned()
    }

    fn put(&self, check: Uid, budget: v1::Budget) {
        self.0.lock().insert(check, budget);
    }

    fn keep(&self, known: impl Fn(&Uid) -> bool) {
        self.0.lock().retain(|check, _| known(check));
    }
}

/// What it works with.
pub struct Parts {
    /// The applied state.
    pub view: View,
    /// Where proposals go.
    pub proposer: Proposer,
    /// What is looked at.
    pub history: Arc<dyn History>,
    /// Mesh time.
    pub clock: Arc<MeshClock>,
    /// Whether this member leads.
    pub leadership: watch::Receiver<Leadership>,
    /// Where budgets are left for whoever asks.
    pub budgets: Budgets,
    /// What regions were shown of certificates.
    pub certificates: Certificates,
    /// Of this member.
    pub name: String,
}

/// Looks for as long as this member lives.
pub async fn run(parts: Parts) {
    // A start that is still asking for the time would look at another hour.
    parts.clock.known().await;
    let mut every = tokio::time::interval(ALERT_LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds = Rounds {
        parts,
        done: BTreeMap::new(),
        counted: BTreeMap::new(),
        streaks: BTreeMap::new(),
        unread: 0,
        spread: ALERT_LOOK_EVERY / 2,
    };
    loop {
        every.tick().await;
        rounds.round().await;
    }
}

/// Whether one of its alerts is on certificates.
fn asks_for_certificates(check: &Check) -> bool {
    let is_one = |alert: &Alert| matches!(alert.when.measure, Measure::CertDays { .. });
    check.enabled && check.alerts.iter().any(is_one)
}

struct Rounds {
    parts: Parts,
    /// When each pair of spans was looked at last, while this member leads.
    done: BTreeMap<(Uid, &'static str), MeshTime>,
    /// When each budget was counted last.
    counted: BTreeMap<Uid, MeshTime>,
    /// Since when alerts on certificates have said what they say, by check and name.
    streaks: BTreeMap<Uid, BTreeMap<String, Streak>>,
    /// In this round: checks whose history could not be read.
    unread: u32,
    /// Over which time the checks of a round are spread.
    spread: Duration,
}

impl Rounds {
    async fn round(&mut self) {
        let state = self.parts.view.load();
        let office = *self.parts.leadership.borrow();
        let leads = office.leader;
        let measured = |check: &&Arc<Check>| {
            let asks = leads && !check.alerts.is_empty();
            check.enabled && (asks || check.slo.is_some() || asks_for_certificates(check))
        };
        let all = state.checks.values().map(|entry| &entry.check);
        let checks: Vec<Uid> = all.filter(measured).map(|check| check.uid).collect();
        let has_budget =
            |uid: &Uid| state.checks.get(uid).is_some_and(|entry| entry.check.slo.is_some());
        self.parts.budgets.keep(has_budget);
        self.counted.retain(|uid, _| has_budget(uid));
        self.done.retain(|(uid, _), _| leads && has_budget(uid));
        self.streaks.retain(|uid, _| {
            state.checks.get(uid).is_some_and(|entry| asks_for_certificates(&entry.check))
        });
        self.parts.certificates.keep(|uid, region| {
            let entry = state.checks.get(uid).filter(|entry| entry.check.enabled);
            entry.is_some_and(|entry| entry.check.looks_from().any(|name| name == region))
        });
        let Ok(many) = u32::try_from(checks.len()) else { return };
        if many == 0 {
            return;
        }
        let mut told = self.told(leads);
        drop(state);
        self.unread = 0;
        let (mut found, mut first) = (Vec::new(), clock::instant());
        let mut told_at = clock::instant();
        for uid in checks {
            if *self.parts.leadership.borrow() != office {
                // Whoever leads now looks at all of them, and who led finds nothing for anybody.
                break;
            }
            let began = clock::instant();
            if found.is_empty() {
                first = began;
            }
            found.extend(self.look(uid, leads, &told).await);
            let took = clock::instant().saturating_duration_since(began);
            let waited = clock::instant().saturating_duration_since(first);
            if found.len() >= ALERT_CHANGES_PER_ENTRY_MAX || waited >= GATHER {
                self.propose(&mut found).await;
            }
            if leads && clock::instant().saturating_duration_since(told_at) >= GATHER {
                // A round of many checks takes minutes, and outages begin and end within it.
                (told, told_at) = (self.told(leads), clock::instant());
            }
            let spread = self.spread / many;
            tokio::time::sleep(spread.max(took * ALERT_PAUSE_TIMES)).await;
        }
        self.propose(&mut found).await;
        if self.unread > 1 {
            warn!(checks = self.unread, "their alerts were not looked at");
        }
    }

    /// Who was told of what, as far as it is known now.
    fn told(&self, leads: bool) -> Arc<Told> {
        let since = UtcTime::from_ns(self.parts.clock.now().as_ns()) - look::LONGEST_BACK;
        let state = self.parts.view.load();
        Arc::new(if leads { Told::new(&state, since) } else { Told::default() })
    }

    /// One check. Reading waits for the disk: not on a worker.
    async fn look(&mut self, uid: Uid, leads: bool, told: &Arc<Told>) -> Vec<store::AlertChange> {
        let now = self.parts.clock.now();
        let is_due = |last: Option<&MeshTime>, every: Duration| {
            last.is_none_or(|last| floor(*last, every) != floor(now, every))
        };
        let pairs = PAIRS.iter().filter(|_| leads);
        let pairs = pairs.filter(|pair| is_due(self.done.get(&(uid, pair.name)), pair.every));
        let due = Due {
            alerts: leads,
            pairs: pairs.collect(),
            budget: is_due(self.counted.get(&uid), BUDGET_COUNT_EVERY),
        };
        let (state, history) = (self.parts.view.load(), Arc::clone(&self.parts.history));
        let (told, pairs) = (Arc::clone(told), due.pairs.clone());
        let sights = self.parts.certificates.of(&uid);
        let before = self.streaks.remove(&uid).unwrap_or_default();
        let read = tokio::task::spawn_blocking(move || {
            let Some(entry) = state.checks.get(&uid).filter(|entry| entry.check.enabled) else {
                return (Vec::new(), before, Ok(None));
            };
            let mut look = Look::new(history.as_ref(), &state, entry, &told, now);
            let mut new_uid = || uuid::Uuid::now_v7().to_string();
            let streaks = look.certificates(&due, &sights, &before, &mut new_uid);
            let budget = look.all(&due, &mut new_uid);
            (look.found, streaks, budget)
        });
        // The runtime stops.
        let Ok((found, streaks, read)) = read.await else { return Vec::new() };
        if !streaks.is_empty() {
            self.streaks.insert(uid, streaks);
        }
        match read {
            Ok(budget) => {
                self.done.extend(pairs.iter().map(|pair| ((uid, pair.name), now)));
                if let Some(budget) = budget {
                    self.counted.insert(uid, now);
                    self.parts.budgets.put(uid, budget);
                }
                found
            }
            Err(error) => {
                // A disk that is ill is so for all of them.
                if self.unread == 0 {
                    warn!(check = %uid, %error, "history could not be read for alerts");
                }
                self.unread = self.unread.saturating_add(1);
                found
            }
        }
    }

    /// What is not taken is found again by the next look.
    async fn propose(&self, found: &mut Vec<store::AlertChange>) {
        while !found.is_empty() {
            let many = found.len().min(ALERT_CHANGES_PER_ENTRY_MAX);
            let changes = found.drain(..many).collect();
            let command = Command::ChangeAlerts(store::ChangeAlerts { changes, node_id: 0 });
            let origin = Origin::leader(&self.parts.name);
            match self.parts.proposer.write_here(origin, command).await {
                Ok(_) => {}
                Err(error) if error.is_for_lack_of_office() => {
                    debug!(%error, "alerts are for the next leader");
                    found.clear();
                }
                Err(error) => {
                    warn!(%error, "alerts could not be written down, looking again");
                    found.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
