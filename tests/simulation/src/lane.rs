//! A member's end of one probe's live lane: the cores of a session, and who else listens to it.

use parallax_common::limits::{LANE_SILENT_AFTER, SNAPSHOT_ASKED_EVERY};
use parallax_common::time::MeshTime;
use parallax_coordinator::core::engine::Voter;
use parallax_coordinator::core::fleet;
use parallax_coordinator::core::plan::handout::Handout;
use parallax_coordinator::core::relay::Sieve;
use parallax_coordinator::core::session::Intake;

use crate::line::LineId;

const SILENT_US: u64 = LANE_SILENT_AFTER.as_micros() as u64;
const ASKED_EVERY_US: u64 = SNAPSHOT_ASKED_EVERY.as_micros() as u64;

/// Another member that listens.
pub struct Tap {
    /// Its stream.
    pub stream: LineId,
    /// The lane's number on it.
    pub lane: u64,
    /// What is passed on.
    pub sieve: Sieve,
}

/// One probe's live lane at one member.
pub struct Lane {
    /// Of this member, never used again.
    pub session: u64,
    /// Whose.
    pub voter: Voter,
    /// What the probe said of itself.
    pub facts: fleet::Session,
    /// Frames in.
    pub intake: Intake,
    /// Plans out.
    pub handout: Handout,
    /// When the last frame came.
    pub heard_us: u64,
    /// How far the probe has told everything.
    pub watermark: Option<MeshTime>,
    /// Who else listens.
    pub taps: Vec<Tap>,
    /// A listener waits for everything to be said again.
    pub owed: bool,
    /// This member itself waits for it.
    pub owed_here: bool,
    asked_us: Option<u64>,
}

impl Lane {
    /// A lane that begins.
    pub fn new(voter: Voter, facts: fleet::Session, now_us: u64) -> Self {
        Self {
            session: facts.id,
            voter,
            facts,
            intake: Intake::default(),
            handout: Handout::default(),
            heard_us: now_us,
            watermark: None,
            taps: Vec::new(),
            owed: false,
            owed_here: false,
            asked_us: None,
        }
    }

    /// Whether the probe at its other end still speaks.
    pub fn is_alive(&self, now_us: u64) -> bool {
        now_us - self.heard_us <= SILENT_US
    }

    /// Whether the probe is to be asked for everything now.
    pub fn ask(&mut self, now_us: u64) -> bool {
        let soon = self.asked_us.is_some_and(|asked_us| now_us < asked_us + ASKED_EVERY_US);
        let owed = self.owed_here || (self.owed && !self.taps.is_empty());
        if !owed || soon {
            return false;
        }
        (self.owed, self.owed_here, self.asked_us) = (false, false, Some(now_us));
        true
    }
}
