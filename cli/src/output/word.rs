//! The glossary's words for the enums of the wire.
//!
//! A wire name is the enum's name, an underscore and the word in capitals; the word is what is
//! left. A value this program does not know prints as its number, so that a newer coordinator can
//! be read.

use parallax_proto::v1;

macro_rules! words {
    ($($(#[$doc:meta])* $function:ident: $kind:ty, $prefix:literal;)+) => {
        $(
            $(#[$doc])*
            pub fn $function(number: i32) -> String {
                match <$kind>::try_from(number) {
                    Ok(value) => {
                        value.as_str_name().trim_start_matches($prefix).to_ascii_lowercase()
                    }
                    Err(_) => number.to_string(),
                }
            }
        )+
    };
}

words! {
    /// `pass`, `warn`, `fail`, `missed`.
    outcome: v1::Outcome, "OUTCOME_";
    /// `connect_refused` and the like.
    reason: v1::Reason, "REASON_";
    /// `up`, `degraded`, `down`, `unknown`.
    verdict: v1::Verdict, "VERDICT_";
    /// `dns`, `connect` and the like.
    phase: v1::Phase, "PHASE_";
    /// `windows`, `minutes`, `hours`.
    history_tier: v1::HistoryTier, "HISTORY_TIER_";
    /// `regional`, `warning`.
    degraded: v1::DegradedKind, "DEGRADED_KIND_";
    /// `none`, `pass`, `warn`, `fail`.
    ballot: v1::BallotState, "BALLOT_STATE_";
    /// `down`, `region_silent`, `latency` and the like.
    incident: v1::IncidentKind, "INCIDENT_KIND_";
    /// `critical`, `warning`, `info`.
    severity: v1::Severity, "SEVERITY_";
    /// `recovered`, `by_hand` and the like.
    cause: v1::ResolveCause, "RESOLVE_CAUSE_";
    /// `opened`, `resolved`, `combined`, `escalated`, `reminder`.
    page: v1::PageKind, "PAGE_KIND_";
    /// `pending`, `sent`, `dead`, `dropped`, `held`.
    delivery: v1::DeliveryState, "DELIVERY_STATE_";
    /// `taken`, `refused`, `not_sent`, `unanswered`.
    attempt: v1::AttemptResult, "ATTEMPT_RESULT_";
    /// `live`, `lost`, `probation`.
    probe: v1::ProbeState, "PROBE_STATE_";
    /// `created`, `changed`, `unchanged`, `deleted`.
    change: v1::ChangeKind, "CHANGE_KIND_";
    /// `active`, `heartbeat`, `push`.
    source: v1::Source, "SOURCE_";
    /// `pass`, `fail`.
    answer: v1::CanaryAnswer, "CANARY_ANSWER_";
    /// `seen`, `no_answer`, `no_probe`, `too_old`, `refused`.
    look: v1::LookEnding, "LOOK_ENDING_";
    /// `auto`, `v4`, `v6`; YAML leaves the `v` out.
    family: v1::IpFamily, "IP_FAMILY_";
    /// `udp`, `udp_only`, `tcp`.
    transport: v1::DnsTransport, "DNS_TRANSPORT_";
    /// `majority`, `all`, `any`, `count`.
    quorum: v1::Quorum, "QUORUM_";
    /// `unspecified`, `unknown`, `ignore`, `fail`, `pass`: see [`missing`].
    missing_data: v1::MissingData, "MISSING_DATA_";
    /// `voter`, `learner`, `outside`, `removed`.
    member_role: v1::MemberRole, "MEMBER_ROLE_";
    /// `probing`, `replicating`, `snapshot`.
    member_progress: v1::MemberProgress, "MEMBER_PROGRESS_";
}

/// What a silent region counts as: `unknown` where nobody chose.
pub fn missing(number: i32) -> String {
    said(missing_data(number)).unwrap_or_else(|| "unknown".to_owned())
}

/// A word that says something: not `unspecified`.
pub fn said(word: String) -> Option<String> {
    (word != "unspecified").then_some(word)
}

#[cfg(test)]
mod tests {
    use parallax_common::outcome;

    use super::*;

    #[test]
    fn the_words_are_those_of_the_glossary() {
        let known = |words: Vec<&str>, of: fn(i32) -> String, last: i32| {
            let made: Vec<String> = (1..=last).map(of).collect();
            assert_eq!(made, words);
        };
        let words = |all: &[outcome::Verdict]| all.iter().map(|value| value.word()).collect();
        known(words(outcome::Verdict::ALL), verdict, 4);
        let words = outcome::Outcome::ALL.iter().map(|value| value.word()).collect();
        known(words, outcome, 4);
        let words = outcome::BallotState::ALL.iter().map(|value| value.word()).collect();
        known(words, ballot, 4);
        let words = outcome::DegradedKind::ALL.iter().map(|value| value.word()).collect();
        known(words, degraded, 2);
        for value in outcome::Reason::ALL {
            let made = (1..1_000).map(reason).any(|word| word == value.word());
            assert!(made, "{}", value.word());
        }
    }

    #[test]
    fn a_value_of_a_newer_coordinator_prints_as_its_number() {
        assert_eq!(verdict(99), "99");
        assert_eq!(said(verdict(0)), None);
    }
}
