//! The words of the glossary, as they are on the wire. A value that this build does not know is
//! `None`; so is "unspecified".

use parallax_common::check::{ContentEncoding, HttpVersion, StartTls, TlsVersion};
use parallax_common::outcome::{BallotState, DegradedKind, Outcome, Phase, Reason, Verdict};

use crate::v1;

macro_rules! both_ways {
    ($($from:ident, $to:ident: $name:ident { $($variant:ident),+ $(,)? })+) => {$(
        #[doc = concat!("The [`", stringify!($name), "`] that a message means.")]
        pub fn $from(value: i32) -> Option<$name> {
            match v1::$name::try_from(value).ok()? {
                v1::$name::Unspecified => None,
                $(v1::$name::$variant => Some($name::$variant),)+
            }
        }

        #[doc = concat!("A [`", stringify!($name), "`] as messages carry it.")]
        pub const fn $to(value: $name) -> i32 {
            match value { $($name::$variant => v1::$name::$variant as i32),+ }
        }
    )+};
}

both_ways! {
    outcome, outcome_to: Outcome { Pass, Warn, Fail, Missed }
    reason, reason_to: Reason {
        DnsNxdomain, DnsNoAddress, DnsServfail, DnsTimeout, DnsRefused, DnsMalformed,
        DnsNoRecords, DnsTruncated, DnsRcode,
        ConnectRefused, ConnectTimeout, ConnectUnreachable, ConnectReset, ConnectDenied,
        ProbeResources,
        TlsExpired, TlsNotYetValid, TlsNameMismatch, TlsUntrusted, TlsRevoked, TlsHandshake,
        TlsTimeout,
        ConnectionClosed, ConnectionReset, StarttlsRefused, StarttlsMalformed,
        AnswerMismatch, AnswerTooLarge, SshMalformed, SshTooLarge, SshVersion,
        HttpStatus, HttpMalformed, HttpBodyTooLarge, HttpTruncated, HttpReset,
        HttpRedirectLoop, HttpRedirectsTooMany, HttpRedirectDowngrade, HttpRedirectMalformed,
        HttpEncoding, HttpDecodedTooLarge, HttpGoaway, HttpVersion,
        HttpRedirectDenied,
        ProxyAuth, ProxyRefused, ProxyUnreachable, ProxyMalformed,
        AuthTokenFailed, AuthTokenRefused,
        IcmpNoAnswer, IcmpUnreachable, IcmpProhibited, IcmpTimeExceeded, IcmpTooLarge,
        PluginCritical, PluginFailed,
        GrpcNotServing, GrpcUnknownService, GrpcUnimplemented, GrpcStatus, GrpcMalformed,
        WebsocketRefused, WebsocketHandshake, WebsocketMalformed, WebsocketClosed,
        CaptureFailed,
        ExpectationFailed, Timeout, InvertedPass, Warning,
        MissedLate, MissedOverlap, MissedOverload, ConfigError, PluginUnknown, ExpressionBudget,
        AddressDenied,
    }
    phase, phase_to: Phase { Dns, Connect, Tls, FirstByte, Transfer, Total, Lateness, FromSlot }
    verdict, verdict_to: Verdict { Up, Degraded, Down, Unknown }
    degraded_kind, degraded_kind_to: DegradedKind { Regional, Warning }
    ballot_state, ballot_state_to: BallotState { None, Pass, Warn, Fail }
    content_encoding, content_encoding_to: ContentEncoding { Gzip, Deflate, Br, Zstd }
    http_version, http_version_to: HttpVersion { Auto, V1, V2, V3 }
    tls_version, tls_version_to: TlsVersion { V12, V13 }
    start_tls, start_tls_to: StartTls { Smtp, Imap, Pop3, Ldap, Postgres, Mysql }
}

/// An optional reason as messages carry it: 0 for none.
pub fn reason_or_none_to(value: Option<Reason>) -> i32 {
    value.map_or(v1::Reason::Unspecified as i32, reason_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! round_trip {
        ($($name:ident: $from:ident, $to:ident;)+) => {$(
            for &value in $name::ALL {
                assert_eq!($from($to(value)), Some(value));
                // The word on the wire is the word of the glossary, behind its prefix.
                let wire = v1::$name::try_from($to(value)).unwrap().as_str_name().to_lowercase();
                assert!(wire.ends_with(value.word()), "{wire} and {value}");
            }
            assert_eq!($from(0), None);
            assert_eq!($from(9_999), None);
            assert_eq!($from(-1), None);
        )+};
    }

    #[test]
    fn every_word_comes_back_and_unknown_ones_do_not() {
        round_trip! {
            Outcome: outcome, outcome_to;
            Reason: reason, reason_to;
            Phase: phase, phase_to;
            Verdict: verdict, verdict_to;
            DegradedKind: degraded_kind, degraded_kind_to;
            BallotState: ballot_state, ballot_state_to;
            ContentEncoding: content_encoding, content_encoding_to;
            StartTls: start_tls, start_tls_to;
        }
        assert_eq!(reason_or_none_to(None), 0);
        assert_eq!(reason_or_none_to(Some(Reason::Timeout)), reason_to(Reason::Timeout));
    }
}
