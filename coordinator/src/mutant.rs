//! Deliberate mistakes, one switch each at the line it breaks, so that the simulation can prove that
//! it would have caught them.
//!
//! Without the feature `mutants` there is no switch: `on` is the constant `false`. Nothing here
//! decides anything; what a mistake does is written where it is made.

/// A mistake that can be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Promises go out before what they promise is written.
    SendBeforeSync,
    /// The log is written and not synced.
    LogNotSynced,
    /// Entries behind a replaced one stay in the log.
    SuffixKept,
    /// A leader applies what no quorum has.
    ApplyUncommitted,
    /// A start applies the last entry again.
    ApplyTwice,
    /// A leader answers reads without asking anybody.
    LeaseRead,
    /// A read joins the round that is under way.
    ReadJoinsFlight,
    /// The vote is not in the hard state.
    VoteNotKept,
    /// A snapshot names the voters of the first day.
    SnapshotOfOldVoters,
    /// An installed snapshot leaves old rows where they are.
    InstallKeepsRows,
    /// The log is cut behind what the snapshots hold.
    CompactTooFar,
    /// A read is answered before its index is applied.
    ReadNotApplied,
    /// A torn end stays in the log.
    TornTailKept,
    /// The row store says that it holds one entry more than it does.
    RowsIndexAhead,
    /// The index is written before its rows.
    RowsAfterIndex,
    /// A request that comes again is carried out again.
    RepeatNotNoticed,
    /// The answer to the lowest open request is forgotten.
    AnswerForgotten,
    /// The answer to a request is remembered in memory only.
    AnswerNotStored,
    /// A committed stage stays.
    StageKept,
    /// A refused commit leaves a part of itself.
    CommitInPieces,
    /// A write does not look at what it was planned against.
    EtagNotCompared,
    /// A region that is looked from can be deleted.
    ReferencesNotChecked,
    /// An entry with an older time sets the clock back.
    UtcGoesBack,
    /// A page has another key under another sender.
    KeyMovesWithClaim,
    /// A sender does not look whose claim it is.
    ClaimNotChecked,
    /// What is said of a check that is not known yet is not asked for again.
    UnheardNotAsked,
    /// A page that was not answered counts as sent.
    UnansweredIsSent,
    /// A changed check leaves the plan's version as it is.
    GenerationStays,
    /// One failing region fewer than the rule says makes a check down.
    QuorumOffByOne,
    /// An incident ends with the first region that passes.
    ResolveWithoutQuorum,
    /// A member that does not lead decides and orders as well.
    FollowerDecides,
    /// A decision about one version of a check is applied to another.
    VersionNotCompared,
    /// A vote that went stale counts.
    StaleVotesCount,
    /// A new leader judges before everybody had the time to speak.
    GraceForgotten,
    /// Raft is told of two voters too few at a start, so that its quorum is one too small.
    QuorumOneShort,
    /// Who was removed is let in.
    RemovedLetIn,
    /// A watch goes on over what a snapshot replaced.
    WatchOverSnapshot,
    /// The ring forgets changes, and that it did.
    WatchForgetsGap,
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    impl Mutant {
        /// All of them.
        pub const ALL: &[Self] = &[
            Self::SendBeforeSync,
            Self::LogNotSynced,
            Self::SuffixKept,
            Self::ApplyUncommitted,
            Self::ApplyTwice,
            Self::LeaseRead,
            Self::ReadJoinsFlight,
            Self::VoteNotKept,
            Self::SnapshotOfOldVoters,
            Self::InstallKeepsRows,
            Self::CompactTooFar,
            Self::ReadNotApplied,
            Self::TornTailKept,
            Self::RowsIndexAhead,
            Self::RowsAfterIndex,
            Self::RepeatNotNoticed,
            Self::AnswerForgotten,
            Self::AnswerNotStored,
            Self::StageKept,
            Self::CommitInPieces,
            Self::EtagNotCompared,
            Self::ReferencesNotChecked,
            Self::UtcGoesBack,
            Self::KeyMovesWithClaim,
            Self::ClaimNotChecked,
            Self::UnheardNotAsked,
            Self::UnansweredIsSent,
            Self::GenerationStays,
            Self::QuorumOffByOne,
            Self::ResolveWithoutQuorum,
            Self::FollowerDecides,
            Self::VersionNotCompared,
            Self::StaleVotesCount,
            Self::GraceForgotten,
            Self::QuorumOneShort,
            Self::RemovedLetIn,
            Self::WatchOverSnapshot,
            Self::WatchForgetsGap,
        ];
    }

    /// Switches one on for this thread, and every other off.
    pub fn set(mutant: Option<Mutant>) {
        ON.set(mutant);
    }

    /// Whether the mistake is to be made, on this thread.
    pub(crate) fn on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use self::switch::on;
#[cfg(feature = "mutants")]
pub use self::switch::set;

/// No mistake is ever to be made in this build.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn on(_: Mutant) -> bool {
    false
}
