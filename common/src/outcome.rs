//! What one run says: outcome, reason, phases; and what a region and a check say of them.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in YAML, on the command line and in pages.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value with this word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

pub(crate) use words;

words! {
    /// How one run ended.
    Outcome {
        /// The target did what was expected.
        Pass = "pass",
        /// It did, but a `warn` expression did not hold. Counts as a pass for streaks.
        Warn = "warn",
        /// It did not.
        Fail = "fail",
        /// The slot passed without a run. Never votes, neither feeds nor breaks a streak.
        Missed = "missed",
    }
}

words! {
    /// Why a run did not pass.
    Reason {
        /// The name does not exist.
        DnsNxdomain = "dns_nxdomain",
        /// The name exists but has no address of the wanted family.
        DnsNoAddress = "dns_no_address",
        /// The server could not answer.
        DnsServfail = "dns_servfail",
        /// No answer in time.
        DnsTimeout = "dns_timeout",
        /// The server refused the question.
        DnsRefused = "dns_refused",
        /// The answer could not be read.
        DnsMalformed = "dns_malformed",
        /// The name exists but has no record of the wanted type.
        DnsNoRecords = "dns_no_records",
        /// The answer did not fit, and was cut by the server.
        DnsTruncated = "dns_truncated",
        /// The server answered with another error code.
        DnsRcode = "dns_rcode",
        /// Nobody listens on the port.
        ConnectRefused = "connect_refused",
        /// No connection in time.
        ConnectTimeout = "connect_timeout",
        /// No route to the host or network.
        ConnectUnreachable = "connect_unreachable",
        /// The connection was reset while it was made.
        ConnectReset = "connect_reset",
        /// The local system forbids the connection.
        ConnectDenied = "connect_denied",
        /// The target closed the connection in the middle of what was said.
        ConnectionClosed = "connection_closed",
        /// The connection was reset in the middle of what was said.
        ConnectionReset = "connection_reset",
        /// The probe ran out of descriptors, ports or memory: no vote.
        ProbeResources = "probe_resources",
        /// The certificate is past its last day.
        TlsExpired = "tls_expired",
        /// The certificate's first day has not come.
        TlsNotYetValid = "tls_not_yet_valid",
        /// The certificate is for other names.
        TlsNameMismatch = "tls_name_mismatch",
        /// No trusted authority signed the certificate.
        TlsUntrusted = "tls_untrusted",
        /// The certificate was revoked.
        TlsRevoked = "tls_revoked",
        /// The handshake failed in another way.
        TlsHandshake = "tls_handshake",
        /// No handshake in time.
        TlsTimeout = "tls_timeout",
        /// The target does not offer TLS, or refuses to change over to it.
        StarttlsRefused = "starttls_refused",
        /// What the target says before TLS is not the protocol.
        StarttlsMalformed = "starttls_malformed",
        /// The status is not one that was expected.
        HttpStatus = "http_status",
        /// The answer is not HTTP.
        HttpMalformed = "http_malformed",
        /// The body is larger than the check allows.
        HttpBodyTooLarge = "http_body_too_large",
        /// The body ended early.
        HttpTruncated = "http_truncated",
        /// The connection was reset while the answer was awaited or read.
        HttpReset = "http_reset",
        /// The redirects lead back to where they have been.
        HttpRedirectLoop = "http_redirect_loop",
        /// There are more redirects than the check follows.
        HttpRedirectsTooMany = "http_redirects_too_many",
        /// A redirect leads from https to http, which is not followed.
        HttpRedirectDowngrade = "http_redirect_downgrade",
        /// A redirect leads to what is no http or https URL.
        HttpRedirectMalformed = "http_redirect_malformed",
        /// The target ended the HTTP/2 session before the answer was complete.
        HttpGoaway = "http_goaway",
        /// The target does not speak the version of HTTP that the check wants.
        HttpVersion = "http_version",
        /// A redirect leads where this probe may not, or cannot, connect to, or where a body with captures
        /// may not go.
        HttpRedirectDenied = "http_redirect_denied",
        /// The proxy does not take the credentials, or wants some.
        ProxyAuth = "proxy_auth",
        /// The proxy refuses to connect to the target.
        ProxyRefused = "proxy_refused",
        /// The proxy says that it cannot reach the target.
        ProxyUnreachable = "proxy_unreachable",
        /// The proxy does not speak its protocol, or ends the connection in the middle of it.
        ProxyMalformed = "proxy_malformed",
        /// No token could be got for the request: the provider does not answer as it should.
        AuthTokenFailed = "auth_token_failed",
        /// The provider of tokens refuses the check's client.
        AuthTokenRefused = "auth_token_refused",
        /// The body is not encoded as was asked for, or cannot be decoded.
        HttpEncoding = "http_encoding",
        /// The decoded body is larger than the check allows.
        HttpDecodedTooLarge = "http_decoded_too_large",
        /// What the target said is not what was expected of it.
        AnswerMismatch = "answer_mismatch",
        /// The target said more than is read, without what was expected of it.
        AnswerTooLarge = "answer_too_large",
        /// What the target sends is not SSH.
        SshMalformed = "ssh_malformed",
        /// A packet of the SSH server is larger than any may be.
        SshTooLarge = "ssh_too_large",
        /// The SSH server speaks no version 2.
        SshVersion = "ssh_version",
        /// No echo was answered.
        IcmpNoAnswer = "icmp_no_answer",
        /// No echo was answered, and somebody on the way said that the target cannot be reached.
        IcmpUnreachable = "icmp_unreachable",
        /// No echo was answered, and somebody on the way said that they are not let through.
        IcmpProhibited = "icmp_prohibited",
        /// No echo was answered, and a router said that their ttl was used up on the way.
        IcmpTimeExceeded = "icmp_time_exceeded",
        /// No echo was answered, as they are too large for the way and must not be fragmented.
        IcmpTooLarge = "icmp_too_large",
        /// The health service says that it is not serving.
        GrpcNotServing = "grpc_not_serving",
        /// The health service does not know the service that it was asked about.
        GrpcUnknownService = "grpc_unknown_service",
        /// The server has no health service.
        GrpcUnimplemented = "grpc_unimplemented",
        /// The call ended with another status than OK.
        GrpcStatus = "grpc_status",
        /// The answer is not that of a gRPC health service.
        GrpcMalformed = "grpc_malformed",
        /// The target answers the request for a websocket with another status than 101.
        WebsocketRefused = "websocket_refused",
        /// What comes with the status 101 is not the answer to the request for a websocket.
        WebsocketHandshake = "websocket_handshake",
        /// What the target sends over a websocket breaks the protocol.
        WebsocketMalformed = "websocket_malformed",
        /// The target closed the websocket in the middle of what was said.
        WebsocketClosed = "websocket_closed",
        /// A plugin says that its target is in a critical state.
        PluginCritical = "plugin_critical",
        /// A plugin ended as none does: by a signal, with another code than 0 to 3, or after a flood of output.
        PluginFailed = "plugin_failed",
        /// What a step was to capture for a later one is not there, is no text and no number, or is too long.
        CaptureFailed = "capture_failed",
        /// An `expect` expression did not hold, or could not be evaluated.
        ExpectationFailed = "expectation_failed",
        /// The run's own time was over while the answer was awaited or read.
        Timeout = "timeout",
        /// `invert` is set, or a canary is known to fail, and the target answered.
        InvertedPass = "inverted_pass",
        /// A `warn` expression did not hold.
        Warning = "warning",
        /// The slot was later than half its interval.
        MissedLate = "missed_late",
        /// Too many runs of this check were still in flight.
        MissedOverlap = "missed_overlap",
        /// Too many runs of all checks were in flight.
        MissedOverload = "missed_overload",
        /// The check cannot run here as configured (a reference cannot be resolved).
        ConfigError = "config_error",
        /// A plugin could not say.
        PluginUnknown = "plugin_unknown",
        /// An expression ran over its time limit.
        ExpressionBudget = "expression_budget",
        /// The probe's configuration denies every address of the target, or the name server.
        AddressDenied = "address_denied",
    }
}

impl Reason {
    /// Whether this is a reason for `missed`: a slot that never votes.
    pub const fn is_missed(self) -> bool {
        matches!(
            self,
            Self::MissedLate
                | Self::MissedOverlap
                | Self::MissedOverload
                | Self::ProbeResources
                | Self::ConfigError
                | Self::PluginUnknown
                | Self::ExpressionBudget
                | Self::AddressDenied
        )
    }

    /// Whether the run went wrong before anybody has looked at the target.
    pub const fn is_before_target(self) -> bool {
        matches!(
            self,
            Self::AuthTokenFailed | Self::AuthTokenRefused | Self::ProxyAuth | Self::ProxyMalformed
        )
    }
}

words! {
    /// A part of a run whose duration has a series of its own.
    Phase {
        /// Name resolution.
        Dns = "dns",
        /// TCP connect.
        Connect = "connect",
        /// TLS handshake.
        Tls = "tls",
        /// Request sent to first byte of the answer.
        FirstByte = "first_byte",
        /// First byte to last.
        Transfer = "transfer",
        /// Actual start to end.
        Total = "total",
        /// Actual start less intended start: ours, not the target's.
        Lateness = "lateness",
        /// End less intended start: the co-ordinated-omission view (G. Tene, "How NOT to measure latency").
        FromSlot = "from_slot",
    }
}

words! {
    /// What one region says of one check.
    BallotState {
        /// Not enough heard to say.
        None = "none",
        /// Passing.
        Pass = "pass",
        /// Passing with a warning.
        Warn = "warn",
        /// Failing.
        Fail = "fail",
    }
}

words! {
    /// What the ballots say together.
    Verdict {
        /// Enough regions pass and none fails.
        Up = "up",
        /// Something is wrong, but not enough to be down.
        Degraded = "degraded",
        /// Enough regions fail.
        Down = "down",
        /// Too little is known.
        Unknown = "unknown",
    }
}

words! {
    /// The two ways to be degraded.
    DegradedKind {
        /// Some region fails, but fewer than make it down.
        Regional = "regional",
        /// As many regions warn as would make it down.
        Warning = "warning",
    }
}
