//! The record of a decision: the rule with its numbers, every region's ballot, and the tally.
//!
//! `explain` and incidents are rendered from it alone, so it is made from the very votes that were
//! counted.

use std::time::Duration;

use parallax_common::check::{Check, Missing};
use parallax_common::outcome::{BallotState, DegradedKind, Outcome, Reason, Verdict};
use parallax_common::time::MeshTime;
use parallax_proto::v1;

use super::Decision;
use crate::core::ballots::{Hearing, Seat, Vote};

/// Who a ballot is from, as people know it.
#[derive(Debug, Clone, Copy)]
pub struct Speaker<'a> {
    /// Name of the probe.
    pub probe: &'a str,
    /// Its incarnation.
    pub incarnation: u64,
}

/// The record of `decision`, with the ballots it counted.
pub fn record(
    check: &Check,
    decision: &Decision,
    ballots: Vec<v1::Ballot>,
    now: MeshTime,
) -> v1::DecisionRecord {
    let (rule, tally) = (&decision.rule, &decision.tally);
    v1::DecisionRecord {
        verdict: verdict(decision.verdict).into(),
        degraded: decision.degraded.map_or(0, |kind| degraded(kind).into()),
        decided_at: Some(timestamp(now)),
        rule: Some(v1::Rule {
            regions: rule.regions,
            down_at: rule.down_at,
            up_at: rule.up_at,
            floor: rule.floor,
            failures: check.policy.failures,
            successes: check.policy.successes,
            failures_of: check.policy.failures_of,
            successes_of: check.policy.successes_of,
            interval: Some(duration(check.interval)),
            timeout: Some(duration(check.run.timeout)),
            // Absent where nobody chose, so that builds that do not know them store the same.
            missing: missing(check.policy.missing).into(),
            probes_per_region: Some(check.probes_per_region).filter(|n| *n > 1).unwrap_or(0),
        }),
        ballots,
        failing: tally.failing,
        passing: tally.passing,
        warning: tally.warning,
        fresh: tally.fresh,
        excluded: tally.excluded,
        split: tally.split,
        assumed: tally.assumed,
    }
}

/// A region's ballot, of those of its probes. With several it shows that of one which says what the
/// region says, the one that has said so for longest, and beside it each of them.
pub fn of_region(vote: &Vote, mut probes: Vec<v1::Ballot>) -> v1::Ballot {
    let said = state(vote.state);
    // Of a region that is split, what is wrong is shown.
    let wanted = if vote.split { v1::BallotState::Fail } else { said };
    let since =
        |ballot: &v1::Ballot| ballot.since.map_or((i64::MAX, 0), |at| (at.seconds, at.nanos));
    let shows = |ballot: &v1::Ballot| {
        let alike = ballot.state() == wanted
            && (ballot.stale, ballot.excluded) == (vote.stale, vote.excluded);
        (!alike, ballot.probe.is_empty(), since(ballot))
    };
    let place = (0..probes.len()).min_by_key(|place| shows(&probes[*place])).unwrap_or(0);
    let mut ballot = match probes.len() {
        0 => v1::Ballot::default(),
        1 => probes.swap_remove(0),
        _ => v1::Ballot { probes: probes.clone(), ..probes[place].clone() },
    };
    ballot.state = said.into();
    (ballot.stale, ballot.excluded, ballot.split) = (vote.stale, vote.excluded, vote.split);
    if vote.split {
        ballot.since = None;
    }
    ballot
}

/// One probe's ballot as it stands at `now`.
pub fn ballot(
    region: &str,
    from: Option<Speaker<'_>>,
    seat: &Seat,
    vote: &Vote,
    hearing: &Hearing,
    now: MeshTime,
) -> v1::Ballot {
    let mut ballot = v1::Ballot {
        region: region.to_owned(),
        state: state(vote.state).into(),
        stale: vote.stale,
        excluded: vote.excluded,
        run_digest: seat.digest().0,
        age: seat.watermark(hearing).map(|mark| duration(now.since(mark))),
        ..v1::Ballot::default()
    };
    if let Some(from) = from {
        from.probe.clone_into(&mut ballot.probe);
        ballot.incarnation = from.incarnation;
    }
    let Some(track) = seat.voting() else { return ballot };
    let fold = track.fold();
    if vote.state != BallotState::None {
        ballot.since = Some(timestamp(fold.since));
    }
    ballot.in_a_row = fold.in_a_row();
    let newest = if fold.missing.is_some() { Some(Outcome::Missed) } else { fold.newest };
    ballot.last_outcome = newest.map_or(0, |newest| outcome(newest).into());
    if let Some(last) = track.last_run() {
        ballot.last_run_at = Some(timestamp(last.started));
        ballot.last_total = Some(duration(last.total));
    }
    // A region that passes and whose newest run passed has nothing to complain of any more.
    let well = vote.state == BallotState::Pass && newest == Some(Outcome::Pass);
    if let Some(complaint) = track.complaint().filter(|_| !well) {
        ballot.reason = complaint.reason.map_or(0, |why| reason(why).into());
        ballot.step = complaint.step;
        ballot.evidence.clone_from(&complaint.evidence);
    }
    ballot
}

/// Mesh time reads like UTC, so it is shown as such.
fn timestamp(at: MeshTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_ns().div_euclid(1_000_000_000),
        nanos: i32::try_from(at.as_ns().rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

fn duration(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or(0),
    }
}

fn outcome(value: Outcome) -> v1::Outcome {
    match value {
        Outcome::Pass => v1::Outcome::Pass,
        Outcome::Warn => v1::Outcome::Warn,
        Outcome::Fail => v1::Outcome::Fail,
        Outcome::Missed => v1::Outcome::Missed,
    }
}

fn verdict(value: Verdict) -> v1::Verdict {
    match value {
        Verdict::Up => v1::Verdict::Up,
        Verdict::Degraded => v1::Verdict::Degraded,
        Verdict::Down => v1::Verdict::Down,
        Verdict::Unknown => v1::Verdict::Unknown,
    }
}

fn degraded(value: DegradedKind) -> v1::DegradedKind {
    match value {
        DegradedKind::Regional => v1::DegradedKind::Regional,
        DegradedKind::Warning => v1::DegradedKind::Warning,
    }
}

fn missing(value: Missing) -> v1::MissingData {
    match value {
        Missing::Unknown => v1::MissingData::Unspecified,
        Missing::Ignore => v1::MissingData::Ignore,
        Missing::Fail => v1::MissingData::Fail,
        Missing::Pass => v1::MissingData::Pass,
    }
}

fn state(value: BallotState) -> v1::BallotState {
    match value {
        BallotState::None => v1::BallotState::None,
        BallotState::Pass => v1::BallotState::Pass,
        BallotState::Warn => v1::BallotState::Warn,
        BallotState::Fail => v1::BallotState::Fail,
    }
}

fn reason(value: Reason) -> v1::Reason {
    match value {
        Reason::DnsNxdomain => v1::Reason::DnsNxdomain,
        Reason::DnsNoAddress => v1::Reason::DnsNoAddress,
        Reason::DnsServfail => v1::Reason::DnsServfail,
        Reason::DnsTimeout => v1::Reason::DnsTimeout,
        Reason::DnsRefused => v1::Reason::DnsRefused,
        Reason::DnsMalformed => v1::Reason::DnsMalformed,
        Reason::DnsNoRecords => v1::Reason::DnsNoRecords,
        Reason::DnsTruncated => v1::Reason::DnsTruncated,
        Reason::DnsRcode => v1::Reason::DnsRcode,
        Reason::ConnectRefused => v1::Reason::ConnectRefused,
        Reason::ConnectTimeout => v1::Reason::ConnectTimeout,
        Reason::ConnectUnreachable => v1::Reason::ConnectUnreachable,
        Reason::ConnectReset => v1::Reason::ConnectReset,
        Reason::ConnectDenied => v1::Reason::ConnectDenied,
        Reason::ProbeResources => v1::Reason::ProbeResources,
        Reason::TlsExpired => v1::Reason::TlsExpired,
        Reason::TlsNotYetValid => v1::Reason::TlsNotYetValid,
        Reason::TlsNameMismatch => v1::Reason::TlsNameMismatch,
        Reason::TlsUntrusted => v1::Reason::TlsUntrusted,
        Reason::TlsRevoked => v1::Reason::TlsRevoked,
        Reason::TlsHandshake => v1::Reason::TlsHandshake,
        Reason::TlsTimeout => v1::Reason::TlsTimeout,
        Reason::ConnectionClosed => v1::Reason::ConnectionClosed,
        Reason::ConnectionReset => v1::Reason::ConnectionReset,
        Reason::StarttlsRefused => v1::Reason::StarttlsRefused,
        Reason::StarttlsMalformed => v1::Reason::StarttlsMalformed,
        Reason::AnswerMismatch => v1::Reason::AnswerMismatch,
        Reason::AnswerTooLarge => v1::Reason::AnswerTooLarge,
        Reason::SshMalformed => v1::Reason::SshMalformed,
        Reason::SshTooLarge => v1::Reason::SshTooLarge,
        Reason::SshVersion => v1::Reason::SshVersion,
        Reason::HttpStatus => v1::Reason::HttpStatus,
        Reason::HttpMalformed => v1::Reason::HttpMalformed,
        Reason::HttpBodyTooLarge => v1::Reason::HttpBodyTooLarge,
        Reason::HttpTruncated => v1::Reason::HttpTruncated,
        Reason::HttpReset => v1::Reason::HttpReset,
        Reason::HttpRedirectLoop => v1::Reason::HttpRedirectLoop,
        Reason::HttpRedirectsTooMany => v1::Reason::HttpRedirectsTooMany,
        Reason::HttpRedirectDowngrade => v1::Reason::HttpRedirectDowngrade,
        Reason::HttpRedirectMalformed => v1::Reason::HttpRedirectMalformed,
        Reason::HttpGoaway => v1::Reason::HttpGoaway,
        Reason::HttpVersion => v1::Reason::HttpVersion,
        Reason::HttpRedirectDenied => v1::Reason::HttpRedirectDenied,
        Reason::ProxyAuth => v1::Reason::ProxyAuth,
        Reason::ProxyRefused => v1::Reason::ProxyRefused,
        Reason::ProxyUnreachable => v1::Reason::ProxyUnreachable,
        Reason::ProxyMalformed => v1::Reason::ProxyMalformed,
        Reason::AuthTokenFailed => v1::Reason::AuthTokenFailed,
        Reason::AuthTokenRefused => v1::Reason::AuthTokenRefused,
        Reason::HttpEncoding => v1::Reason::HttpEncoding,
        Reason::HttpDecodedTooLarge => v1::Reason::HttpDecodedTooLarge,
        Reason::IcmpNoAnswer => v1::Reason::IcmpNoAnswer,
        Reason::IcmpUnreachable => v1::Reason::IcmpUnreachable,
        Reason::IcmpProhibited => v1::Reason::IcmpProhibited,
        Reason::IcmpTimeExceeded => v1::Reason::IcmpTimeExceeded,
        Reason::IcmpTooLarge => v1::Reason::IcmpTooLarge,
        Reason::GrpcNotServing => v1::Reason::GrpcNotServing,
        Reason::GrpcUnknownService => v1::Reason::GrpcUnknownService,
        Reason::GrpcUnimplemented => v1::Reason::GrpcUnimplemented,
        Reason::GrpcStatus => v1::Reason::GrpcStatus,
        Reason::GrpcMalformed => v1::Reason::GrpcMalformed,
        Reason::WebsocketRefused => v1::Reason::WebsocketRefused,
        Reason::WebsocketHandshake => v1::Reason::WebsocketHandshake,
        Reason::WebsocketMalformed => v1::Reason::WebsocketMalformed,
        Reason::WebsocketClosed => v1::Reason::WebsocketClosed,
        Reason::PluginCritical => v1::Reason::PluginCritical,
        Reason::PluginFailed => v1::Reason::PluginFailed,
        Reason::CaptureFailed => v1::Reason::CaptureFailed,
        Reason::ExpectationFailed => v1::Reason::ExpectationFailed,
        Reason::Timeout => v1::Reason::Timeout,
        Reason::InvertedPass => v1::Reason::InvertedPass,
        Reason::Warning => v1::Reason::Warning,
        Reason::MissedLate => v1::Reason::MissedLate,
        Reason::MissedOverlap => v1::Reason::MissedOverlap,
        Reason::MissedOverload => v1::Reason::MissedOverload,
        Reason::ConfigError => v1::Reason::ConfigError,
        Reason::PluginUnknown => v1::Reason::PluginUnknown,
        Reason::ExpressionBudget => v1::Reason::ExpressionBudget,
        Reason::AddressDenied => v1::Reason::AddressDenied,
    }
}
