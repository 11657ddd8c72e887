//! Who is alive: from watermarks to the fleet's replicated rows, and to one alert a silent region.
//!
//! A probe's row ([`rows`]) says `live`, `lost` or `probation`. The plan gives work to live rows
//! only, so a row that stays `live` is an assignment that stays where it is. The [`Tracker`] of
//! every member listens; only the leader's proposes changes.
//!
//! * **Live.** A probe that is new, or a new life of a known one, is live from its session's start.
//!   A new incarnation supersedes the old one, which is told so and not taken back.
//! * **Lost.** No watermark through anybody for 4 s. After a start or a change of leader the timers
//!   begin anew: nobody is lost before 10 s have passed. The end of a session is no loss; silence is.
//! * **Probation.** A lost probe that is heard again is live at once, unless it was lost three times
//!   within 10 min: then its session must be steady for 60 s first. A probe that falls silent on
//!   probation is lost again.
//! * **Mass loss.** When over half of a region's probes are silent at once, something between us
//!   and the region is the likelier cause, and the survivors could not carry the load: *nothing
//!   moves*. That means no row changes at all: silent probes keep the state `live`, their
//!   assignments, and their vote, which goes stale by its own age (the region then counts as not
//!   fresh). "At once" is counted when the first of them has been silent for 4 s, over the
//!   region's live rows and those lost within the last 60 s; whoever has missed two heartbeats by
//!   then counts as silent, because probes that die together are not heard to die together. A held
//!   probe that comes back is simply heard again; it was never lost, and nothing counts against it.
//!   Once half or fewer are silent, the rest has 10 s more to come back (they do so one by one);
//!   who is silent then is lost in the ordinary way.
//! * **The only probe** of a region is over half of it: losing it moves nothing, and the region is
//!   silent.
//! * **Forgotten.** A probe that does not come back was taken down, and its row goes: after a loss
//!   of 24 h; after 1 h when another probe of its region has been live all the time. A probe that
//!   a mass loss holds `live`, such as the last one of a region, is never lost. It goes when this
//!   leader has heard nothing of it for 24 h: by then holding its work back protects nothing, and
//!   else it would alert until its region is deleted. A change of leader begins those 24 h anew,
//!   because nobody else knows how long it has been silent. Its region stays silent as long as
//!   checks look from there.
//! * **A region is silent** when it has checks or known probes and none of its live probes was
//!   heard for 10 s (60 s for a region that never had a probe). That, or a mass loss of 10 s with
//!   survivors, is one incident of kind `region_silent`; its record has one ballot a probe. It
//!   resolves when a live probe has been heard steadily for 5 s and no mass loss is in force, so
//!   that a region that comes and goes pages once. Resolved by hand while it is silent, it stays
//!   shut until it has been well once.
//! * **A region with an excluded probe** (`core/watchdog.rs`) is not well either: one incident of kind
//!   `region_excluded`, until the probe votes again.
//! * **A region with an outdated probe** ([`outdated`]) has an incident of kind `region_outdated`, beside
//!   whatever else is wrong with it, until no probe of its records is outdated.
//!
//! Pure: time comes in as `now`; [`Tracker::wake_at`] says when to come back without news.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use parallax_common::limits::{PROBE_LOST_AFTER, START_GRACE, SUPERSEDED_KEPT};
use parallax_common::name::Incarnation;
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::store::{FleetChange, ProbeRow};
use parallax_proto::v1::{self, ProbeState};

mod loss;
pub mod outdated;
mod region;
pub mod rows;

use self::outdated::{Needs, Standard};
use self::region::RegionState;

/// A probe's place: it outlives incarnations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeKey {
    /// Its region, from the certificate.
    pub region: String,
    /// Its name, from the certificate.
    pub probe: String,
}

/// A region as a namespace declares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionKey {
    /// First component of every key.
    pub namespace: String,
    /// The region's name.
    pub region: String,
}

/// What may be wrong with a region: an incident of its own each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody, or not enough of it, is heard, or somebody is not believed.
    Silent,
    /// A probe is older than what is asked of it.
    Outdated,
}

/// What is known of one of a region's incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarm {
    /// Uid of the open one, or empty.
    pub incident: String,
    /// It was resolved by hand while its cause lasted.
    pub latched: bool,
}

/// What a probe said of itself when its session started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Of this member, never used again in its life: which of a probe's sessions it is.
    pub id: u64,
    /// Who it is.
    pub key: ProbeKey,
    /// The life of its spool.
    pub incarnation: Incarnation,
    /// Where it dialled from.
    pub address: String,
    /// Its version.
    pub build: String,
    /// Step kinds it can run.
    pub kinds: Vec<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A probe's row as applied, at the start and after every change.
    Row(ProbeRow),
    /// A probe was taken out of the records.
    Forgotten(ProbeKey),
    /// A region as applied: how many enabled checks name it, and its incidents.
    Region {
        /// Which.
        key: RegionKey,
        /// Enabled checks that look from it.
        checks: u32,
        /// What they need.
        needs: Needs,
        /// That about silence.
        silent: Alarm,
        /// That about what is older than it should be.
        outdated: Alarm,
    },
    /// What every probe is held to; absent while some member would not understand the incident.
    Standard(Option<Standard>),
    /// A region was deleted; the entry that did so ended its incident.
    RegionGone(RegionKey),
    /// A session started, here or (relayed) at another member.
    SessionStarted(Session),
    /// The session with this id ended. Not a loss yet; nothing if another one has replaced it.
    SessionEnded(ProbeKey, u64),
    /// A watermark, through anybody.
    Heard {
        /// Whose.
        key: ProbeKey,
        /// Which life.
        incarnation: Incarnation,
        /// The watermark itself, in mesh time.
        watermark: MeshTime,
    },
    /// This member became the leader, or is it no longer.
    Leadership(bool),
    /// The proposal with this number was applied, refused, or lost: decide again. News of another
    /// one than that under way come late and change nothing.
    Settled(Subject, u64),
    /// Whether a probe is to be excluded from voting, by what it sees and says of itself.
    Suspect(ProbeKey, Option<v1::Exclusion>),
    /// Nothing but time.
    Wake,
}

/// What a proposal was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A probe's row.
    Probe(ProbeKey),
    /// A region's incident.
    Region(RegionKey),
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Propose this change of a row. At most one a probe is under way. The number names the
    /// proposal, here and below.
    Change(u64, FleetChange),
    /// Propose to open an incident for a region. At most one proposal a region and kind is under way.
    OpenRegion(u64, RegionKey, Trouble, v1::DecisionRecord),
    /// Propose to resolve the region's incident with this uid.
    ResolveRegion(u64, RegionKey, Trouble, String, v1::DecisionRecord),
    /// Propose that the region may open an incident of this kind again: it is well.
    UnlatchRegion(u64, RegionKey, Trouble, v1::DecisionRecord),
    /// Tell this life of a probe to go and not come back: another one has taken its name.
    Supersede {
        /// Whose.
        key: ProbeKey,
        /// The life that must go.
        old: Incarnation,
        /// The one that took over.
        new: Incarnation,
    },
}

/// One probe as this member knows it.
#[derive(Debug, Default)]
struct Known {
    row: Option<ProbeRow>,
    /// Open sessions, in the order they began: of one life several, when other members relay.
    sessions: Vec<Session>,
    /// Lives that were told to go.
    superseded: VecDeque<Incarnation>,
    /// Newest watermark of the current life.
    heard: Option<MeshTime>,
    /// When the session started: as good as a watermark.
    started: Option<MeshTime>,
    /// Heard without a gap of 4 s, in one session, since then.
    steady_since: Option<MeshTime>,
    /// When this member saw the row turn to lost.
    lost_at: Option<MeshTime>,
    /// The proposal under way.
    pending: Option<u64>,
    /// What the watchdog of this term wishes, when that is another thing than the row says.
    wish: Option<Option<v1::Exclusion>>,
}

impl Known {
    fn state(&self) -> Option<ProbeState> {
        self.row.as_ref().map(ProbeRow::state)
    }

    /// The newest session of a life that was not told to go.
    fn session(&self) -> Option<&Session> {
        let stays = |session: &&Session| !self.superseded.contains(&session.incarnation);
        self.sessions.iter().rev().find(stays)
    }

    /// The life that counts: the newest session's, else the row's.
    fn incarnation(&self) -> Option<Incarnation> {
        let session = self.session().map(|session| session.incarnation);
        session.or_else(|| self.row.as_ref().map(|row| Incarnation(row.incarnation)))
    }

    fn exclusion(&self) -> Option<&v1::Exclusion> {
        self.row.as_ref()?.exclusion.as_ref()
    }

    /// The change that the watchdog's wish needs.
    fn franchise(&self) -> Option<FleetChange> {
        let (row, wish) = (self.row.as_ref()?, self.wish.as_ref()?);
        (row.exclusion.is_some() != wish.is_some()).then(|| rows::franchise(row, *wish))
    }

    /// The last sign of life.
    fn last_sign(&self) -> Option<MeshTime> {
        self.heard.max(self.started)
    }

    /// Whether the last sign of life is older than `age`.
    fn silent_for(&self, age: std::time::Duration, now: MeshTime) -> bool {
        self.last_sign().is_none_or(|sign| now >= sign + age)
    }
}

/// Follows every probe and every region, and says what the leader should propose.
#[derive(Debug)]
pub struct Tracker {
    leader: bool,
    /// Nobody is lost before.
    grace_until: MeshTime,
    probes: BTreeMap<ProbeKey, Known>,
    regions: BTreeMap<RegionKey, RegionState>,
    standard: Option<Standard>,
    /// Regions with a mass loss: `None` while it is in force, then the end of its grace.
    holds: BTreeMap<String, Option<MeshTime>>,
    wake_at: Option<MeshTime>,
    /// The newest proposal.
    last_proposal: u64,
}

impl Tracker {
    /// A tracker that knows nobody yet. Rows and regions are fed as inputs.
    pub fn new(now: MeshTime) -> Self {
        Self {
            leader: false,
            grace_until: now + START_GRACE,
            probes: BTreeMap::new(),
            regions: BTreeMap::new(),
            standard: None,
            holds: BTreeMap::new(),
            wake_at: None,
            last_proposal: 0,
        }
    }

    /// When to come back with [`Input::Wake`] if nothing else happens. May be earlier than needed.
    pub fn wake_at(&self) -> Option<MeshTime> {
        self.wake_at.filter(|_| self.leader)
    }

    /// The newest watermark of a probe's current life, for `probe list`.
    pub fn heard(&self, key: &ProbeKey) -> Option<MeshTime> {
        self.probes.get(key)?.heard
    }

    /// Whether a probe has work and was heard within the time in which it would be lost.
    pub fn speaks(&self, key: &ProbeKey, now: MeshTime) -> bool {
        let live = |known: &&Known| known.state() == Some(ProbeState::Live);
        let known = self.probes.get(key).filter(live);
        known.is_some_and(|known| !known.silent_for(PROBE_LOST_AFTER, now))
    }

    /// The probes that have a row.
    pub fn rows(&self) -> impl Iterator<Item = &ProbeKey> {
        self.probes.iter().filter(|(_, known)| known.row.is_some()).map(|(key, _)| key)
    }

    /// Takes one input. Only the leader's tracker has outputs.
    ///
    /// `utc` is for the calendar rule of probation; it is what the proposer will stamp.
    pub fn handle(&mut self, input: Input, now: MeshTime, utc: UtcTime, out: &mut Vec<Output>) {
        match input {
            Input::Row(row) => {
                let key = ProbeKey { region: row.region.clone(), probe: row.probe.clone() };
                let known = self.probes.entry(key.clone()).or_default();
                known.take_row(row, now);
                self.review_probe(&key, now, utc, out);
            }
            Input::Forgotten(key) => {
                if let Some(known) = self.probes.get_mut(&key) {
                    known.row = None;
                    known.pending = None;
                    if known.sessions.is_empty() {
                        self.probes.remove(&key);
                    }
                }
                self.review_probe(&key, now, utc, out);
            }
            Input::Region { key, checks, needs, silent, outdated } => {
                let region = self.regions.entry(key.clone()).or_default();
                region.take(checks, needs, silent, outdated);
                self.review_region(&key, now, utc, out);
            }
            Input::Standard(standard) => {
                if self.standard != standard {
                    self.standard = standard;
                    self.review_all(now, utc, out);
                }
            }
            Input::RegionGone(key) => {
                self.regions.remove(&key);
            }
            Input::SessionStarted(session) => {
                let key = session.key.clone();
                self.start_session(session, now, out);
                self.review_probe(&key, now, utc, out);
            }
            Input::SessionEnded(key, id) => {
                if let Some(known) = self.probes.get_mut(&key)
                    && known.sessions.iter().any(|session| session.id == id)
                {
                    let life = known.incarnation();
                    known.sessions.retain(|session| session.id != id);
                    if known.session().is_none() || known.incarnation() != life {
                        known.steady_since = None;
                    }
                    if known.incarnation() != life {
                        known.heard = None;
                    }
                    self.review_probe(&key, now, utc, out);
                }
            }
            Input::Heard { key, incarnation, watermark } => {
                if self.hear(&key, incarnation, watermark, now) {
                    self.review_probe(&key, now, utc, out);
                }
            }
            Input::Leadership(leader) => {
                self.leader = leader;
                self.grace_until = now + START_GRACE;
                self.holds.clear();
                for known in self.probes.values_mut() {
                    (known.pending, known.wish) = (None, None);
                }
                self.regions.values_mut().for_each(RegionState::begin_anew);
                if leader {
                    self.dismiss_others(out);
                }
                self.review_all(now, utc, out);
            }
            Input::Suspect(key, wish) => {
                if let Some(known) = self.probes.get_mut(&key) {
                    known.wish = Some(wish);
                    self.review_probe(&key, now, utc, out);
                }
            }
            Input::Settled(Subject::Probe(key), proposal) => {
                if let Some(known) = self.probes.get_mut(&key)
                    && known.pending == Some(proposal)
                {
                    known.pending = None;
                    self.review_probe(&key, now, utc, out);
                }
            }
            Input::Settled(Subject::Region(key), proposal) => {
                if self.regions.get_mut(&key).is_some_and(|region| region.settled(proposal)) {
                    self.review_region(&key, now, utc, out);
                }
            }
            Input::Wake => self.review_all(now, utc, out),
        }
    }

    fn start_session(&mut self, session: Session, now: MeshTime, out: &mut Vec<Output>) {
        let key = session.key.clone();
        let leader = self.leader;
        let known = self.probes.entry(key.clone()).or_default();
        let new = session.incarnation;
        known.sessions.retain(|open| open.id != session.id);
        if known.superseded.contains(&new) {
            // It was told to go before. Whoever has the name now keeps it.
            let current = known.incarnation().unwrap_or_default();
            known.sessions.push(session);
            if leader {
                out.push(Output::Supersede { key, old: new, new: current });
            }
            return;
        }
        if let Some(old) = known.incarnation().filter(|&old| old != new) {
            let is_here = known.sessions.iter().any(|open| open.incarnation == old);
            if is_here && leader {
                out.push(Output::Supersede { key, old, new });
            }
            known.superseded.push_back(old);
            if known.superseded.len() > SUPERSEDED_KEPT {
                known.superseded.pop_front();
            }
            known.heard = None;
            known.steady_since = None;
        } else if known.session().is_none() || known.silent_for(PROBE_LOST_AFTER, now) {
            known.steady_since = None;
        }
        known.started = Some(now);
        known.sessions.push(session);
    }

    /// A new leader tells every life to go that shares its name with another: those before it may
    /// not have lived to do so.
    fn dismiss_others(&mut self, out: &mut Vec<Output>) {
        for (key, known) in &self.probes {
            let Some(new) = known.incarnation() else { continue };
            let others: BTreeSet<Incarnation> =
                known.sessions.iter().map(|s| s.incarnation).filter(|old| *old != new).collect();
            out.extend(others.into_iter().map(|old| {
                let key = key.clone();
                Output::Supersede { key, old, new }
            }));
        }
    }

    /// Takes a watermark; true when the probe may have something to be decided about it.
    fn hear(
        &mut self,
        key: &ProbeKey,
        incarnation: Incarnation,
        watermark: MeshTime,
        now: MeshTime,
    ) -> bool {
        let Some(known) = self.probes.get_mut(key) else { return false };
        if known.incarnation() != Some(incarnation) {
            return false;
        }
        let watermark = watermark.min(now);
        if known.heard.is_some_and(|heard| watermark <= heard) {
            return false;
        }
        let gap = known.silent_for(PROBE_LOST_AFTER, watermark);
        if gap || known.steady_since.is_none() {
            known.steady_since = Some(watermark);
        }
        known.heard = Some(watermark);
        // Everybody on time and nothing open: only the timer moves, and that by itself.
        gap || known.state() != Some(ProbeState::Live) || self.wake_at.is_none_or(|at| now >= at)
    }

    fn review_all(&mut self, now: MeshTime, utc: UtcTime, out: &mut Vec<Output>) {
        self.wake_at = None;
        let probes: Vec<ProbeKey> = self.probes.keys().cloned().collect();
        for key in probes {
            self.review_one(&key, now, utc, out);
        }
        let regions: Vec<RegionKey> = self.regions.keys().cloned().collect();
        for key in regions {
            self.review_region(&key, now, utc, out);
        }
    }

    fn review_probe(&mut self, key: &ProbeKey, now: MeshTime, utc: UtcTime, out: &mut Vec<Output>) {
        // The others of its region, too: whether they are lost depends on how many are silent.
        let siblings: Vec<ProbeKey> =
            self.in_region(&key.region).map(|(sibling, _)| sibling.clone()).collect();
        for sibling in siblings {
            self.review_one(&sibling, now, utc, out);
        }
        let regions: Vec<RegionKey> =
            self.regions.keys().filter(|region| region.region == key.region).cloned().collect();
        for region in regions {
            self.review_region(&region, now, utc, out);
        }
    }

    /// Proposes what one probe's row should become, if anything.
    fn review_one(&mut self, key: &ProbeKey, now: MeshTime, utc: UtcTime, out: &mut Vec<Output>) {
        if !self.leader {
            return;
        }
        self.review_hold(&key.region, now);
        let Some(known) = self.probes.get(key) else { return };
        let (change, wake) = self.wanted(key, known, now, utc);
        if let Some(at) = wake {
            self.wake_by(at);
        }
        let Some(known) = self.probes.get_mut(key) else { return };
        // Whether it is there at all comes first.
        if let Some(change) = change.or_else(|| known.franchise())
            && known.pending.is_none()
        {
            self.last_proposal += 1;
            known.pending = Some(self.last_proposal);
            out.push(Output::Change(self.last_proposal, change));
        }
    }

    fn in_region<'a>(
        &'a self,
        region: &'a str,
    ) -> impl Iterator<Item = (&'a ProbeKey, &'a Known)> + 'a {
        let first = ProbeKey { region: region.to_owned(), probe: String::new() };
        self.probes.range(first..).take_while(move |(key, _)| key.region == region)
    }

    fn wake_by(&mut self, at: MeshTime) {
        self.wake_at = Some(self.wake_at.map_or(at, |already| already.min(at)));
    }
}

impl Known {
    fn take_row(&mut self, row: ProbeRow, now: MeshTime) {
        self.pending = None;
        let was = self.state();
        self.lost_at = match (was, row.state()) {
            // A row that was lost before this member heard of it is an old loss.
            (None, _) => None,
            (Some(ProbeState::Lost), ProbeState::Lost) => self.lost_at,
            (_, ProbeState::Lost) => Some(now),
            (_, ProbeState::Live | ProbeState::Probation | ProbeState::Unspecified) => None,
        };
        let current = self.incarnation();
        // The leader has decided who has the name: this member may have seen it otherwise.
        self.superseded.retain(|life| life.0 != row.incarnation);
        self.row = Some(row);
        if self.incarnation() != current {
            self.heard = None;
            self.steady_since = None;
        }
    }
}

#[cfg(test)]
mod tests;
