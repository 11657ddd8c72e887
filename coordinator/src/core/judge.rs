//! The judge: everything that decides, behind one door.
//!
//! It holds the engine (ballots and verdicts), the fleet tracker and the plan, follows the applied
//! state, and is told what sessions hear. One fact is one [`Judge::handle`]; what follows is
//! appended to [`Outputs`]. Every member's judge folds and plans, so that a new leader is warm; only
//! the leader's orders, proposes and supersedes.
//!
//! How it follows the state is in `judge/follow.rs`, what it asks for in `judge/output.rs`. Channels,
//! clocks and tasks are in `judge.rs` of the crate; a simulation can drive this core by itself.

mod follow;
pub mod output;
mod spells;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use parallax_common::name::Uid;
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::{convert, v1};

pub use self::output::{About, Act, Outputs, Proposal};
use self::spells::Spells;
use self::watch::Watch;
use super::engine::{self, Engine, Voter};
use super::fleet::outdated::Needs;
use super::fleet::{self, ProbeKey, RegionKey, Tracker, Trouble};
use super::plan::Plan;
use super::session::Event;
use super::state::{Changed, State};

/// One fact.
#[derive(Debug)]
pub enum Input<'a> {
    /// The whole state, where nothing is known of what changed: at the start, and after a snapshot
    /// was installed. Sessions and what they said stay.
    Loaded(&'a State),
    /// Entries were applied; the state as it is after them, and what they changed.
    Applied(&'a State, &'a [(u64, Changed)]),
    /// This member took office and has applied its term's first entry, or leads no more.
    Leadership(bool),
    /// A session of this voter began, here or (relayed) at another member.
    Opened(Voter, fleet::Session),
    /// The session with this number ended.
    Closed(Voter, u64),
    /// What a session said, its times mapped to mesh time.
    Heard {
        /// Whose.
        voter: Voter,
        /// [`fleet::Session::id`] of the session that said it.
        session: u64,
        /// What.
        event: Event,
    },
    /// Another member hears these voters, up to these watermarks. It is a sign of life and no vote.
    Vouched(Vec<(Voter, MeshTime)>),
    /// Proposals about these came to an end, whatever end it was.
    Settled(Vec<About>),
    /// The time of [`Judge::wake_at`] has come.
    Wake,
}

/// Engine, fleet tracker and plan of one member.
#[derive(Debug)]
pub struct Judge {
    engine: Engine,
    tracker: Tracker,
    plan: Plan,
    leads: bool,
    /// Enabled checks of each region, as the tracker was told.
    counted: BTreeMap<RegionKey, Counted>,
    watch: Watch,
    spells: Spells,
}

impl Judge {
    /// A judge that knows nothing yet: [`Input::Loaded`] comes first.
    pub fn new(now: MeshTime) -> Self {
        Self {
            engine: Engine::new(now, false),
            tracker: Tracker::new(now),
            plan: Plan::default(),
            leads: false,
            counted: BTreeMap::new(),
            watch: Watch::default(),
            spells: Spells::default(),
        }
    }

    /// Takes one fact and appends what is to be done about it. `utc` is this machine's, for the
    /// calendar rules of the fleet.
    pub fn handle(&mut self, input: Input<'_>, now: MeshTime, utc: UtcTime, out: &mut Outputs) {
        let mut step = Step { now, utc, decided: Vec::new(), moved: Vec::new() };
        match input {
            Input::Loaded(state) => {
                self.loaded(state, &mut step);
                out.plan_changed = true;
            }
            Input::Applied(state, changes) => {
                out.plan_changed |= self.applied(state, changes, &mut step);
            }
            Input::Leadership(leads) => {
                self.leads = leads;
                self.watch.begin_anew();
                self.decide(engine::Input::Leadership(leads), &mut step);
                self.follow(fleet::Input::Leadership(leads), &mut step);
            }
            Input::Opened(voter, session) => {
                let number = session.id;
                self.follow(fleet::Input::SessionStarted(session), &mut step);
                self.decide(engine::Input::SessionStarted(voter, number), &mut step);
            }
            Input::Closed(voter, session) => {
                self.follow(fleet::Input::SessionEnded(key_of(&voter), session), &mut step);
                self.decide(engine::Input::SessionEnded(voter, session), &mut step);
            }
            Input::Heard { voter, session, event } => {
                self.heard_event(voter, session, event, &mut step);
            }
            Input::Vouched(vouched) => {
                for (voter, watermark) in vouched {
                    self.hear(&voter, watermark, &mut step);
                }
            }
            Input::Settled(about) => {
                for about in about {
                    match about {
                        About::Check(check, proposal) => {
                            let settled = engine::Input::ProposalSettled { check, proposal };
                            self.decide(settled, &mut step);
                        }
                        About::Fleet(subject, proposal) => {
                            self.follow(fleet::Input::Settled(subject, proposal), &mut step);
                        }
                    }
                }
            }
            Input::Wake => {
                self.decide(engine::Input::Wake, &mut step);
                self.follow(fleet::Input::Wake, &mut step);
                self.look_around(&mut step);
            }
        }
        out.take(step.decided, step.moved);
    }

    /// When [`Input::Wake`] is due, if nothing else happens. Queued facts first: what lies in a
    /// queue was heard, and nobody should be called silent for our own delay.
    pub fn wake_at(&self) -> Option<MeshTime> {
        let survey = self.watch.next.filter(|_| self.leads);
        [self.engine.wake_at(), self.tracker.wake_at(), survey].into_iter().flatten().min()
    }

    /// Who runs what, by the state it was told last.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether it decides.
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Every region's ballot on a check as it stands at `now`, by rank. Empty for an unknown check.
    pub fn live_ballots(&self, check: Uid, now: MeshTime) -> Vec<v1::Ballot> {
        self.engine.live_ballots(check, now)
    }

    /// Whether as many regions fail now as make the check down.
    pub fn still_failing(&self, check: Uid, now: MeshTime) -> bool {
        self.engine.still_failing(check, now)
    }

    /// Whether what a region's incident is about lasts.
    pub fn is_in_trouble(&self, region: &RegionKey, trouble: Trouble, now: MeshTime) -> bool {
        self.tracker.is_in_trouble(region, trouble, now)
    }

    /// The newest watermark of a probe's current life.
    pub fn heard(&self, probe: &ProbeKey) -> Option<MeshTime> {
        self.tracker.heard(probe)
    }

    fn heard_event(&mut self, voter: Voter, session: u64, event: Event, step: &mut Step) {
        let input = match event {
            Event::Snapshot { live_sequence, whole, last, checks } => {
                engine::Input::Snapshot { voter, session, live_sequence, whole, last, checks }
            }
            Event::Outcomes { first_sequence, records } => {
                engine::Input::Outcomes { voter, session, first_sequence, records }
            }
            Event::Heartbeat { heartbeat, health } => {
                self.hear(&voter, heartbeat.watermark, step);
                if let Some(health) = &health {
                    self.watch.dog.health(&key_of(&voter), &convert::health::health(health));
                }
                engine::Input::Heartbeat { voter, session, heartbeat }
            }
            // For whoever holds the session, not for votes.
            Event::Applied(_) | Event::Goodbye(_) | Event::Looked(_) => return,
        };
        self.decide(input, step);
    }

    fn hear(&mut self, voter: &Voter, watermark: MeshTime, step: &mut Step) {
        let (key, incarnation) = (key_of(voter), voter.incarnation);
        self.follow(fleet::Input::Heard { key, incarnation, watermark }, step);
    }

    fn decide(&mut self, input: engine::Input, step: &mut Step) {
        self.engine.handle(input, step.now, &mut step.decided);
    }

    fn follow(&mut self, input: fleet::Input, step: &mut Step) {
        self.tracker.handle(input, step.now, step.utc, &mut step.moved);
    }
}

/// What looks from a region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counted {
    /// Enabled checks.
    checks: u32,
    needs: Needs,
}

/// One call: when it is, and what the cores said so far.
struct Step {
    now: MeshTime,
    utc: UtcTime,
    decided: Vec<engine::Output>,
    moved: Vec<fleet::Output>,
}

fn key_of(voter: &Voter) -> ProbeKey {
    ProbeKey { region: voter.region.clone(), probe: voter.probe.clone() }
}
