//! What the engine is told, and what it asks for.

use std::sync::Arc;

use parallax_common::check::Check;
use parallax_common::name::{Generation, Incarnation, RunDigest, Uid};
use parallax_common::outcome::{DegradedKind, Verdict};
use parallax_common::record::Order;
use parallax_common::time::MeshTime;
use parallax_proto::v1;

use crate::core::ballots::{Heard, Said};
use crate::core::decide::calm;

/// Who votes: one life of one probe's spool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Voter {
    /// From its certificate.
    pub region: String,
    /// From its certificate.
    pub probe: String,
    /// From its hello.
    pub incarnation: Incarnation,
}

/// What the engine needs to know of one check, from replicated state.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The check as applied.
    pub check: Arc<Check>,
    /// The committed verdict; `unknown` for a check that has none yet.
    pub verdict: Verdict,
    /// Its kind.
    pub degraded: Option<DegradedKind>,
    /// Of the committed verdict: a proposal made for another one changes nothing.
    pub sequence: u64,
    /// The open down incident.
    pub open_incident: Option<Uid>,
    /// Resolved by hand while enough regions failed.
    pub latched: bool,
    /// When the committed verdict, if it is `degraded`, has lasted long enough to be an incident of its
    /// own; absent when it is one already, or never will be.
    pub lasting_due: Option<MeshTime>,
    /// A canary's incident of being in doubt is open, or was resolved by hand.
    pub doubted: bool,
    /// What the open incident asks for before it ends.
    pub calm: calm::Terms,
    /// Who runs it, by place: `probes_per_region` of each region, as the plan has them.
    pub assignees: Vec<Option<Voter>>,
    /// The plan that says so.
    pub generation: Generation,
}

/// What a ballot snapshot says of one check.
#[derive(Debug, Clone)]
pub struct CheckSnapshot {
    /// Which check.
    pub check: Uid,
    /// Its own fold of every run of the version it runs.
    pub said: Said,
    /// The last outcomes, of one or two digests.
    pub recent: Vec<Heard>,
    /// The number of the run that comes next: what is at or above it is no part of the snapshot.
    pub next_number: u64,
}

/// What a probe says every second.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Every slot due before it has ended, but for those in flight.
    pub watermark: MeshTime,
    /// Every record of the live lane up to this one has been sent.
    pub live_sequence: u64,
    /// Runs that came into flight: check, slot, scheduled at.
    pub started: Vec<(Uid, i64, MeshTime)>,
    /// Runs that left it: check, slot.
    pub ended: Vec<(Uid, i64)>,
    /// `started` is every run in flight: what was said of them before is forgotten.
    pub whole: bool,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A check was applied, or its verdict, incident, latch or assignees changed.
    Subject(Subject),
    /// A check was deleted. (A disabled one is removed when its subject says so.)
    Remove(Uid),
    /// The plan has another generation; what is not told by a [`Input::Subject`] stays.
    Plan(Generation),
    /// A session of this voter began, here or relayed by another member; its watermark counts from
    /// its snapshot on. Its number is never used again.
    SessionStarted(Voter, u64),
    /// The session with this number ended. That makes nothing stale by itself: age does.
    SessionEnded(Voter, u64),
    /// A chunk of a ballot snapshot.
    Snapshot {
        /// Whose.
        voter: Voter,
        /// By which session.
        session: u64,
        /// The live sequence it was taken at.
        live_sequence: u64,
        /// Everything the probe runs, not only what a new generation changed.
        whole: bool,
        /// The last chunk.
        last: bool,
        /// What it says.
        checks: Vec<CheckSnapshot>,
    },
    /// Records of the live lane.
    Outcomes {
        /// Whose.
        voter: Voter,
        /// By which session.
        session: u64,
        /// Live sequence of the first; the rest follow without a gap.
        first_sequence: u64,
        /// In order of their sequence.
        records: Vec<Heard>,
    },
    /// A heartbeat.
    Heartbeat {
        /// Whose.
        voter: Voter,
        /// By which session.
        session: u64,
        /// What it says.
        heartbeat: Heartbeat,
    },
    /// Whether this voter may vote (decision 11).
    Exclude {
        /// Who.
        voter: Voter,
        /// It may not.
        excluded: bool,
    },
    /// This member took office and applied its term's first entry, or is leader no more.
    Leadership(bool),
    /// The proposal for this check was applied, refused or lost: decide again. A shell that was
    /// refused for overload waits its back-off before it says so. News of another proposal than
    /// the one under way come late and change nothing.
    ProposalSettled {
        /// Of which check.
        check: Uid,
        /// [`VerdictDraft::proposal`].
        proposal: u64,
    },
    /// The time of [`super::Engine::wake_at`] has come. Feed queued inputs first: what lies in a
    /// queue was heard, and nobody should be called stale for our own delay.
    Wake,
}

/// What a verdict change does to the check's incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: only the verdict moves, or the latch ends (the record's `failing` is below
    /// `down_at`).
    Set,
    /// It begins.
    Open,
    /// It ends.
    Resolve,
    /// A regional or warning incident begins.
    OpenLasting,
    /// The incident of a canary in doubt begins.
    OpenDoubt,
    /// It ends, or the canary is not in doubt any more after it was resolved by hand.
    EndDoubt,
}

/// A verdict change to be proposed, valid only for the state it was decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct VerdictDraft {
    /// Names this proposal among all of this engine. Not replicated.
    pub proposal: u64,
    /// Of which check.
    pub check: Uid,
    /// The check's etag as it was seen.
    pub etag: u64,
    /// The digest whose votes were counted.
    pub digest: RunDigest,
    /// The verdict's sequence as it was seen.
    pub expected_sequence: u64,
    /// What it does.
    pub action: Action,
    /// Why.
    pub record: v1::DecisionRecord,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Propose a verdict change. Answered by [`Input::ProposalSettled`].
    Propose(VerdictDraft),
    /// Send an order to a probe, if its session is still there.
    Order {
        /// To whom.
        to: Voter,
        /// What to run.
        order: Order,
    },
    /// Records of this voter's live lane are missing: end this session, so that the next one starts
    /// with a snapshot. Said by followers too, as each member has sessions of its own.
    Resync(Voter, u64),
    /// This voter spoke of a check before it was known here: ask it for everything once more. Said by
    /// followers, which learn of a check later than the probe.
    Ask(Voter),
}
