//! Every rule that can refuse something, with the id that users, tests and counters know it by.
//!
//! The checks themselves live where the data is: YAML in the command line, resources in
//! `parallax-proto::convert`, sets and conflicts in the coordinator, windows and records in
//! [`crate::window`] and `parallax-proto::convert`. Ids never change their meaning.

use std::fmt;

/// Where a rule is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// While files are read, by the command line.
    Yaml,
    /// On one resource alone, by everybody.
    Resource,
    /// Against everything else that is configured and remembered, by the coordinator.
    Apply,
    /// On what probes send, by the coordinator (and on what coordinators send, by the probe).
    Wire,
    /// On the order and the times of what a probe sends, by its session.
    Session,
    /// Allowed, but worth a thought.
    Advice,
}

/// A rule: its id, where it is checked and what it says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Stable, lower case with underscores.
    pub id: &'static str,
    /// Where it is checked.
    pub stage: Stage,
    /// One sentence.
    pub statement: &'static str,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

macro_rules! rules {
    ($($name:ident = $id:literal, $stage:ident, $statement:literal;)+) => {
        $(
            #[doc = $statement]
            pub const $name: Rule = Rule { id: $id, stage: Stage::$stage, statement: $statement };
        )+

        /// Every rule.
        pub const ALL: &[Rule] = &[$($name),+];
    };
}

rules! {
    YAML_SYNTAX = "yaml_syntax", Yaml, "A file must be YAML.";
    UNKNOWN_FIELD = "unknown_field", Yaml, "Only fields that are known may be given.";
    WRONG_TYPE = "wrong_type", Yaml, "A field's value must have the field's type.";
    DUPLICATE_NAME = "duplicate_name", Yaml, "A name is given to one resource of a kind only.";
    DUPLICATE_FIELD = "duplicate_field", Yaml, "A field is given once.";
    MISSING_FIELD = "missing_field", Resource, "A field that is needed must be given.";
    KIND_MISSING = "kind_missing", Resource, "A step, and a contact, must say what it is.";
    KIND_TWICE = "kind_twice", Yaml, "A step, and a contact, is of one kind only.";

    NOT_YET = "not_yet", Resource, "What is planned but not built is refused, never ignored.";
    NAME_FORMAT = "name_format", Resource,
        "A name is 1 to 63 of a-z, 0-9, - and ., with a letter or digit at both ends.";
    UID_FORMAT = "uid_format", Resource, "A stored resource has a uid, which is a UUID.";
    SETTINGS_NAME = "settings_name", Resource, "The settings of a namespace are named `settings`.";
    LABEL_KEY = "label_key", Resource,
        "A label's key is 1 to 256 of letters, digits, - _ . and /, with a letter or digit first.";
    LABEL_VALUE = "label_value", Resource,
        "A label's value is one line of at most 256 bytes.";
    LABELS_TOO_MANY = "labels_too_many", Resource, "A resource has at most 64 labels.";
    TEXT_TOO_LONG = "text_too_long", Resource, "A free text has at most 4 KiB.";
    RUNBOOK_URL = "runbook_url", Resource, "A runbook is an http or https URL.";
    ENUM_UNKNOWN = "enum_unknown", Resource, "A choice must be one that is known.";

    REGIONS_EMPTY = "regions_empty", Resource, "A check looks from at least one region.";
    REGIONS_DUPLICATE = "regions_duplicate", Resource, "A region is named once.";
    REGIONS_TOO_MANY = "regions_too_many", Resource, "A check looks from at most 32 regions.";
    DEPENDS_ON = "depends_on", Resource,
        "A check depends on at most 16 others, each named once.";
    MIN_OPEN_RANGE = "min_open_range", Resource,
        "A least time that an incident stays open is 1s to 24h.";
    FLAP_RANGE = "flap_range", Resource,
        "Flapping is 2 to 16 openings within 1m to 24h, and calm is 1s to 24h.";
    CANARY_ANSWER = "canary_answer", Resource,
        "A canary expects `pass`, or `fail`, with a reason of a target's if with any.";
    CANARY_ALONE = "canary_alone", Resource,
        "A canary opens no incident and turns nothing round: what is about either is not in it.";
    MAINTENANCE_WHEN = "maintenance_when", Resource,
        "A maintenance window has `from` and `until`, or `every`, `at`, `for` and `zone`.";
    MAINTENANCE_DAYS = "maintenance_days", Resource,
        "A weekly window has `days` from monday to sunday, a monthly one a `day` from 1 to 31.";
    MAINTENANCE_AT = "maintenance_at", Resource,
        "A maintenance window begins at a time of day from 00:00 to 23:59.";
    MAINTENANCE_LENGTH = "maintenance_length", Resource,
        "A maintenance window lasts 1m to 24h where it recurs, and up to 366 days where it does not.";
    MAINTENANCE_ZONE = "maintenance_zone", Resource,
        "A time zone has its name in the IANA database.";
    CONTACT_DUPLICATE = "contact_duplicate", Resource, "A contact is named once.";
    INTERVAL_TOO_SHORT = "interval_too_short", Resource, "An interval is at least 100ms.";
    INTERVAL_TOO_LONG = "interval_too_long", Resource, "An interval is at most a day.";
    TIMEOUT_TOO_SHORT = "timeout_too_short", Resource, "A timeout is at least 10ms.";
    TIMEOUT_TOO_LONG = "timeout_too_long", Resource, "A timeout is at most 1m, that of a contact at most 12s.";
    CONFIRM_SPACING_RANGE = "confirm_spacing_range", Resource,
        "A confirm_spacing is between 10ms and 1m.";
    FAILURES_RANGE = "failures_range", Resource, "failures is between 1 and 32.";
    SUCCESSES_RANGE = "successes_range", Resource, "successes is between 1 and 32.";
    OF_RANGE = "of_range", Resource,
        "of is no less than the failures or successes that are counted in it, and at most 32.";
    LASTING_AFTER_RANGE = "lasting_after_range", Resource,
        "after, of regional and warning, is between 1s and 7d.";
    QUORUM_EXCEEDS_REGIONS = "quorum_exceeds_regions", Resource,
        "down.regions is no more than the check has regions.";
    QUORUM_ZERO = "quorum_zero", Resource, "down.regions is at least 1.";
    ADVISORY_COUNTED = "advisory_counted", Resource,
        "A region that counts is not advisory as well.";
    PROBES_PER_REGION_RANGE = "probes_per_region_range", Resource,
        "probes_per_region is between 1 and 9.";
    VOTERS_TOO_MANY = "voters_too_many", Resource,
        "Regions times probes_per_region is at most 96.";

    ALERT_WHEN = "alert_when", Resource,
        "The condition of an alert says what, above which threshold, and over how long or where.";
    ALERT_SPAN = "alert_span", Resource,
        "over and for are whole minutes up to 6h, and over is no shorter than the check's interval.";
    ALERT_REGIONS = "alert_regions", Resource,
        "An alert asks for no more regions than the check has.";
    ALERT_CERTIFICATE = "alert_certificate", Resource,
        "An alert on cert_days is of a check that may be shown a certificate.";
    ALERT_DUPLICATE = "alert_duplicate", Resource, "An alert of a check has a name of its own.";
    ALERTS_TOO_MANY = "alerts_too_many", Resource, "A check has at most 8 alerts.";
    SLO_TARGET = "slo_target", Resource, "The target of an slo is between 50% and 99.999%.";
    SLO_OVER = "slo_over", Resource, "An slo is over whole days, between 1d and 90d.";

    STEP_MISSING = "step_missing", Resource, "A check does at least one thing.";
    STEPS_TOO_MANY = "steps_too_many", Resource, "A check has at most 16 steps.";
    STEP_NAME = "step_name", Resource, "Steps have different names when there are several.";
    URL_FORMAT = "url_format", Resource, "A URL must be readable as one.";
    URL_SCHEME = "url_scheme", Resource, "A URL begins with http:// or https://.";
    URL_HOST_MISSING = "url_host_missing", Resource, "A URL names a host.";
    URL_USERINFO = "url_userinfo", Resource,
        "A URL holds no user and no password; use a header with a reference.";
    URL_FRAGMENT = "url_fragment", Resource,
        "A URL has no #fragment: it would never be sent.";
    METHOD_UNKNOWN = "method_unknown", Resource,
        "A method is one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS.";
    HEADER_NAME = "header_name", Resource, "A header's name is an HTTP token.";
    HEADER_VALUE = "header_value", Resource,
        "A header's value is one line without control characters.";
    HEADER_RESERVED = "header_reserved", Resource,
        "Headers that frame the message are set by the sender.";
    HEADERS_TOO_MANY = "headers_too_many", Resource, "There are at most 64 headers.";
    BODY_NOT_ALLOWED = "body_not_allowed", Resource, "GET and HEAD are sent without a body.";
    BODY_CAP_RANGE = "body_cap_range", Resource, "body_max_bytes is between 1 and 4 MiB.";
    REDIRECTS_RANGE = "redirects_range", Resource, "redirects.max is between 1 and 20.";
    AUTH_TWICE = "auth_twice", Resource,
        "A request says who it is from once: basic, bearer, oauth2 or an authorization header.";
    AUTH_REFERENCE = "auth_reference", Resource,
        "A password and a token are references, never the value itself.";
    AUTH_USERNAME = "auth_username", Resource,
        "A user name is one line of text without a colon.";
    QUERY_NAME = "query_name", Resource, "A query parameter has a name.";
    QUERY_TOO_MANY = "query_too_many", Resource, "There are at most 64 query parameters.";
    BODY_FILE = "body_file", Yaml, "A file that is sent as a body can be read, and is text.";
    ACCEPT_ENCODING = "accept_encoding", Resource,
        "A content coding is asked for once, and not in a header beside it.";
    CLIENT_CERT = "client_cert", Resource,
        "A client certificate comes with its key, and both are references.";
    KEEP_ALIVE = "keep_alive", Resource,
        "A connection is kept only with GET, HEAD, OPTIONS, PUT and DELETE, which may be repeated.";
    QUIC_OPTION = "quic_option", Resource,
        "HTTP/3 goes through no proxy, and its connections are not kept.";
    OAUTH2_URL = "token_url", Resource, "A token is asked for over https.";
    OAUTH2_SCOPE = "token_scope", Resource,
        "A scope is one word of ASCII without quotes and backslashes; there are at most 16.";
    OAUTH2_TEXT = "token_text", Resource,
        "A client id, and an audience, is one line of at most 1 KiB.";
    PROXY_URL = "proxy_url", Resource,
        "A proxy is http://HOST:PORT, socks5://HOST:PORT or socks5h://HOST:PORT.";
    TLS_WITHOUT_TLS = "tls_without_tls", Resource,
        "TLS options are given only where there is TLS.";
    SERVER_NAME = "server_name", Resource, "A server name is a host name.";
    CA_PEM = "ca_pem", Resource, "ca_pem holds at least one PEM certificate and nothing else.";
    CA_WITH_INSECURE = "ca_with_insecure", Resource,
        "A certificate that is not verified needs no authorities.";
    TCP_ADDRESS = "tcp_address", Resource, "A TCP address is host:port.";
    PORT_RANGE = "port_range", Resource, "A port is between 1 and 65535.";
    DNS_NAME = "dns_name", Resource,
        "A name that is asked about is labels of letters, digits, - _ / and *, at most 253 bytes.";
    DNS_TYPE = "dns_type", Resource, "A type of record must be one that is known.";
    DNS_CLASS = "dns_class", Resource, "A class of records is IN, CH or HS.";
    DNS_SERVER = "dns_server", Resource,
        "A name server is a host or an address, with a port or without.";
    DNS_PATH = "dns_path", Resource,
        "A path begins with / and is one word of at most 1 KiB; only DNS over HTTPS has one.";
    STARTTLS_TWICE = "starttls_twice", Resource,
        "tls shakes hands at once and starttls after the plain part: only one of them is given.";
    DIALOGUE_STEP = "dialogue_step", Resource,
        "A step of a dialogue sends something, or expects something, or both.";
    DIALOGUE_TOO_LONG = "dialogue_too_long", Resource,
        "The steps of a check, those of its dialogues and the series of its plugins are at most 16 together.";
    DIALOGUE_CAPTURE = "dialogue_capture", Resource,
        "A message fills in only what an earlier pattern of its dialogue captures, as %{name}.";
    DIALOGUE_CAPTURES = "dialogue_captures", Resource,
        "A dialogue captures at most 16 texts, each under a name of its own.";
    MESSAGE_SIZE = "message_size", Resource,
        "What is sent, and what is expected as bytes, has 1 byte to 16 KiB.";
    BYTES_FORMAT = "bytes_format", Yaml, "Bytes are written as pairs of hex digits, or as base64.";
    PATTERN = "pattern", Resource,
        "A pattern is a regular expression of at most 1 KiB that is not too large once it is compiled.";
    UDP_RESEND = "udp_resend", Resource,
        "resend is at least 10ms, and shorter than the timeout.";
    ICMP_HOST = "icmp_host", Resource, "Echoes go to a host name or an address, without a port.";
    ICMP_COUNT = "icmp_count", Resource, "A run sends between 1 and 100 echoes.";
    ICMP_SPACING = "icmp_spacing", Resource,
        "Echoes are 10ms to 10s apart, and all are sent within the timeout.";
    ICMP_PAYLOAD = "icmp_payload", Resource, "payload_bytes is between 8 and 8972.";
    ICMP_TTL = "icmp_ttl", Resource, "A ttl is between 1 and 255.";
    GRPC_SERVICE = "grpc_service", Resource,
        "The name of a gRPC service is one line of at most 255 bytes.";
    GRPC_AUTHORITY = "grpc_authority", Resource,
        "An authority is a host, with a port or without.";
    GRPC_METADATA = "grpc_metadata", Resource,
        "A key of metadata is lower-case letters, digits, -, _ and ., and none that gRPC sets itself.";
    WEBSOCKET_URL = "websocket_url", Resource, "The URL of a websocket begins with ws:// or wss://.";
    WEBSOCKET_SUBPROTOCOL = "websocket_subprotocol", Resource,
        "A subprotocol is an HTTP token of at most 255 bytes, named once; at most 16 are offered.";
    CAPTURE_NAME = "capture_name", Resource,
        "A capture's name is letters, digits and _, no digit first, and of its own in the check.";
    CAPTURE_VALUE = "capture_value", Resource, "A capture is a text or a number.";
    CAPTURE_UNKNOWN = "capture_unknown", Resource,
        "A capture that is filled in was captured by an earlier step.";
    CAPTURE_UNUSED = "capture_unused", Resource, "What a step captures a later step fills in.";
    CAPTURE_PLACE = "capture_place", Resource,
        "In a URL captures stand in the path and the query, never before them.";
    CAPTURES_TOO_MANY = "captures_too_many", Resource, "A step captures at most 16 values.";
    SAMPLES_RANGE = "samples_range", Resource, "samples is between 1 and 20.";
    SAMPLES_TOO_LONG = "samples_too_long", Resource,
        "The timeouts of all samples are at most 1m together.";
    PLUGIN_COMMAND = "plugin_command", Resource,
        "A plugin is named by its file alone: letters, digits, - _ + and ., without a path.";
    PLUGIN_ARGS = "plugin_args", Resource,
        "A plugin gets at most 64 arguments, each of at most 4 KiB and without zero bytes.";
    PLUGIN_ENV = "plugin_env", Resource,
        "A plugin gets at most 32 variables: letters, digits and _, and none of PATH, LANG and LC_ALL, which it always has.";
    PLUGIN_SERIES = "plugin_series", Resource,
        "Each label of a plugin's series is given once, and has 1 to 128 bytes without = and quotes.";
    PLUGIN_NETWORK = "plugin_network", Resource,
        "ip, source_address and resolver do not reach into plugins: a check of plugins alone has none of them.";
    SOURCE_ADDRESS = "source_address", Resource, "A source address is an IP address.";
    RESOLVER_ADDRESS = "resolver_address", Resource,
        "A resolver is an IP address, with a port or without.";
    IP_CONFLICT = "ip_conflict", Resource, "Addresses are of the family that the check asks for.";

    SECRET_REFERENCE = "secret_reference", Resource,
        "A reference is ${env:NAME} or ${file:/PATH}.";
    REFERENCE_NOT_HERE = "reference_not_here", Resource,
        "References are resolved in header and query values, credentials, messages, variables of plugins and contact URLs only.";

    PAGE_TEMPLATE = "page_template", Resource,
        "A template of a page is one that can be used: what it may say and become is in its error.";
    CONTACT_OPTION = "contact_option", Resource,
        "An option of a contact has the form that its page describes.";
    CONTACT_OPTIONS_CLASH = "contact_options_clash", Resource,
        "Options of a contact that exclude one another are not given together, nor one without its other half.";

    EXPRESSION_TOO_LONG = "expression_too_long", Resource, "An expression has at most 4 KiB.";
    EXPRESSION_SYNTAX = "expression_syntax", Resource, "An expression must be CEL.";
    EXPRESSION_UNKNOWN_NAME = "expression_unknown_name", Resource,
        "An expression uses only names that are known.";
    EXPRESSION_UNKNOWN_FUNCTION = "expression_unknown_function", Resource,
        "An expression calls only functions that are known.";
    EXPRESSION_UNKNOWN_FIELD = "expression_unknown_field", Resource,
        "An expression asks phases, cert, flags and records only for what they have.";
    EXPRESSION_TOO_DEEP = "expression_too_deep", Resource,
        "An expression nests at most two of all, exists, map and filter.";
    EXPRESSION_UNBOUNDED = "expression_unbounded", Resource,
        "Inside all, exists, map and filter, body, headers, received, captures, output and perf are only searched, compared and measured.";
    EXPRESSION_SUMS = "expression_sums", Resource, "An expression adds at most 16 times.";
    EXPRESSION_NOT_BOOLEAN = "expression_not_boolean", Resource,
        "An expression says true or false.";
    EXPRESSION_NOT_FOR_KIND = "expression_not_for_kind", Resource,
        "An expression uses only what its check's kind gives.";
    EXPRESSIONS_TOO_MANY = "expressions_too_many", Resource,
        "A check has at most 32 expressions of each kind.";

    ROUTES_TOO_MANY = "routes_too_many", Resource,
        "A namespace has at most 64 routes, at most 7 of them with `continue`.";
    ROUTE_MATCHERS = "route_matchers", Resource,
        "A route has at most 16 matchers, at most 4 of them patterns, and all routes together 32 patterns.";
    ROUTE_STEPS = "route_steps", Resource,
        "A route has 1 to 8 steps of 1 to 16 contacts, each later than the one before, within 7 days.";
    ROUTE_HOURS = "route_hours", Resource,
        "Hours are 1 to 16 times such as `mon-fri 09:00-17:00` that leave some of the week out.";
    ROUTE_ZONE = "route_zone", Resource, "Hours are of a zone by its name in the IANA database.";
    ROUTE_WAIT = "route_wait", Resource,
        "What waits has hours, and only steps after the first have hours of their own.";
    ROUTE_REPEAT = "route_repeat", Resource, "A route reminds after 1 minute to 7 days.";
    PUBLIC_URL = "public_url", Resource,
        "A public URL is an http or https URL without a query, and short.";
    STORM_RULE = "storm_rule", Resource,
        "A storm is over 0 to 100 checks, 0 for none at all, within 5 seconds to 10 minutes.";

    UNKNOWN_REGION = "unknown_region", Apply, "A region that is named must exist.";
    UNKNOWN_CONTACT = "unknown_contact", Apply, "A contact that is named must exist.";
    OTHER_SET = "other_set", Apply, "A resource of another set is not touched without --take.";
    PRUNE_GUARD = "prune_guard", Apply,
        "A prune of more than 30 % of a set needs --yes-delete with the exact number.";
    CONFLICT = "conflict", Apply, "A resource must not have changed since it was read.";
    IN_USE = "in_use", Apply, "What others name is not deleted.";
    NOT_FOUND = "not_found", Apply, "What is changed or deleted must exist.";
    LAST_PROBE = "last_probe", Apply,
        "The only live probe of a region that checks look from is drained with --force alone.";
    TOO_MANY_RESOURCES = "too_many_resources", Apply, "An apply has at most 200 000 resources.";
    RESOURCE_TOO_LARGE = "resource_too_large", Resource, "A resource has at most 128 KiB, encoded.";
    NAMESPACE_MISMATCH = "namespace_mismatch", Apply,
        "The resources of an apply are of its namespace.";
    CHECK_INVALID = "check_invalid", Apply, "A check is stored only as it was checked.";
    RESOURCE_EMPTY = "resource_empty", Apply,
        "A resource that is stored or deleted says what it is and how it is called.";
    STAGE_UNKNOWN = "stage_unknown", Apply,
        "What is committed was staged, is not committed yet, and is not too old.";
    STAGE_INCOMPLETE = "stage_incomplete", Apply, "Every staged part arrives before the commit.";
    STAGES_OPEN = "stages_open", Apply, "At most 8 applies are staged at a time.";
    STAGED_BYTES = "staged_bytes", Apply, "At most 256 MiB are staged at a time.";
    NAMESPACE_STAGES = "namespace_stages", Apply,
        "At most 4 applies of one namespace are staged at a time.";
    NAMESPACE_STAGED_BYTES = "namespace_staged_bytes", Apply,
        "At most 128 MiB of one namespace are staged at a time.";
    REQUEST_ID = "request_id", Apply, "A write names its client and its own number, and waits for its answer.";
    REQUEST_LATE = "request_late", Apply,
        "A request is not older than what its client still waits for.";
    REQUEST_IDS = "request_ids", Apply, "At most 200 000 requests are remembered.";
    CLIENT_REQUEST_IDS = "client_request_ids", Apply,
        "At most 64 requests of one client are remembered.";
    REQUEST_ID_REUSED = "request_id_reused", Apply,
        "A request id names one request of one user.";
    INCIDENT_CLOSED = "incident_closed", Apply, "What is resolved is not changed any more.";
    STILL_FAILING = "still_failing", Apply,
        "An incident whose regions still fail is resolved with --force only.";
    STORM_OPEN = "storm_open", Apply, "A storm ends with the last of its incidents, and not by hand.";
    ALREADY_INITIALISED = "already_initialised", Apply, "A cluster is initialised once.";
    MEMBER_TEXT = "member_text", Apply,
        "A coordinator has a name and an address, each text of it at most 512 bytes.";
    MEMBER_EXISTS = "member_exists", Apply,
        "A coordinator has a name and an address of its own.";
    MEMBERS_TOO_MANY = "members_too_many", Apply, "A cluster has at most 9 coordinators.";
    MEMBER_UNKNOWN = "member_unknown", Apply, "A coordinator comes with a node id that was given.";
    MEMBER_REMOVED = "member_removed", Apply, "The node id of a removed coordinator is not used again.";
    MEMBER_OTHER_NAME = "member_other_name", Apply, "A node id belongs to one name.";
    MEMBER_OTHER_DISK = "member_other_disk", Apply,
        "A node id belongs to one disk; a replaced disk needs a new one.";
    MEMBER_LAST = "member_last", Apply, "The last coordinator is not removed.";
    LEVEL_TOO_LOW = "level_too_low", Apply,
        "What some coordinator's build does not know is stored once the feature level has risen.";
    LEVEL_BACK = "level_back", Apply, "The feature level of a cluster only rises.";
    FALLBACK_CYCLE = "fallback_cycle", Apply,
        "The fallbacks of contacts lead neither back nor over more than eight.";
    STATE_DISPUTED = "state_disputed", Apply,
        "Nothing is written while no majority of the coordinators holds the same state.";
    UNKNOWN_CHECK = "unknown_check", Apply, "A check that is named must exist.";
    DEPENDS_CYCLE = "depends_cycle", Apply,
        "No check depends on itself, by whatever way.";
    MATCHER_FORMAT = "matcher_format", Apply,
        "A matcher is a label, one of = != =~ !~ and a value of at most 256 bytes.";
    MATCHER_PATTERN = "matcher_pattern", Apply,
        "A matcher's pattern is a regular expression of at most 512 bytes, and small once compiled.";
    MATCHERS_COUNT = "matchers_count", Apply,
        "A silence has 1 to 16 matchers, at most 4 of them patterns.";
    MATCHERS_ANY = "matchers_any", Apply,
        "A silence has a matcher that a missing label does not fit.";
    SILENCE_COMMENT = "silence_comment", Apply, "A silence says why.";
    SILENCE_TIMES = "silence_times", Apply,
        "A silence ends after its start and after now, lasts at most 366 days and begins within them.";
    SILENCE_OVER = "silence_over", Apply, "A silence that has ended is not ended again.";
    SILENCES_TOO_MANY = "silences_too_many", Apply,
        "At most 256 silences of one namespace, and 1 024 of all, are kept.";
    MAINTENANCE_TOO_MANY = "maintenance_too_many", Apply,
        "At most 32 maintenance windows of one namespace, and 128 of all, are kept.";
    HOURS_TOO_MANY = "hours_too_many", Apply,
        "Routes name at most 32 different hours in one namespace, and 128 in all.";
    ENTRY_MALFORMED = "entry_malformed", Apply, "An entry of the log can be decoded.";
    ENTRY_UNKNOWN = "entry_unknown", Apply, "An entry's command is one that this build knows.";

    WIRE_FIELD = "wire_field", Wire, "A message's fields must be there and readable.";
    WIRE_UID = "wire_uid", Wire, "A uid has 16 bytes.";
    WIRE_TIME = "wire_time", Wire, "Times and lengths are in order and within bounds.";
    WIRE_NUMBER = "wire_number", Wire, "Numbers are within bounds.";
    WIRE_REASON = "wire_reason", Wire, "A reason goes with its outcome.";
    WIRE_TEXT = "wire_text", Wire, "Texts are within their bounds.";
    WIRE_TOO_MANY = "wire_too_many", Wire, "A message repeats its parts within bounds.";
    WINDOW_EDGES = "window_edges", Wire, "A window lies on the ladder.";
    WINDOW_NUMBERS = "window_numbers", Wire, "A window's slots and run numbers are within bounds.";
    WINDOW_OUTCOMES = "window_outcomes", Wire, "A window's outcomes agree with its numbers.";
    WINDOW_SERIES = "window_series", Wire, "A window's series agree with its outcomes.";
    WINDOW_EXPIRY = "window_expiry", Wire,
        "A window names a certificate's end as a certificate can, and a step that saw it.";
    WINDOW_HISTOGRAM = "window_histogram", Wire, "A histogram is well formed and agrees with its totals.";

    HELLO_AGAIN = "hello_again", Session, "A session says hello once, and says it first.";
    PING_UNANSWERED = "ping_unanswered", Session,
        "A probe answers the first ping before it sends 1 024 other frames.";
    TIME_AHEAD = "time_ahead", Session, "No time lies more than 2 s in the future.";

    ADVICE_ONE_REGION = "advice_one_region", Advice,
        "From one region an outage and a bad path look the same.";
    ADVICE_TWO_REGIONS = "advice_two_regions", Advice,
        "With two regions both must fail, and one silent region hides an outage.";
    ADVICE_FOUR_REGIONS = "advice_four_regions", Advice,
        "Four regions need three, and tolerate no more silence than three regions do.";
    ADVICE_INSECURE = "advice_insecure", Advice,
        "Without verification anybody on the path can answer.";
    ADVICE_OVERLAP = "advice_overlap", Advice,
        "A timeout longer than the interval lets runs overlap.";
    ADVICE_NO_ALERT = "advice_no_alert", Advice, "A check without contacts pages nobody.";
    ADVICE_HOURS = "advice_hours", Advice,
        "A check that only routes with hours fit pages nobody outside of them.";
    ADVICE_LASTING = "advice_lasting", Advice,
        "Failures in too few regions for an outage, and warnings, that last tell nobody unless told whom.";
    ADVICE_EVEN_PROBES = "advice_even_probes", Advice,
        "An even number of probes a region can be split, and tolerates no more than one fewer does.";
    ADVICE_QUORUM_ONE = "advice_quorum_one", Advice,
        "With down.regions: 1 a single bad path pages.";
    ADVICE_SETTINGS_DROPPED = "advice_settings_dropped", Advice,
        "A part of the settings that a file leaves out is dropped.";
    ADVICE_SLO_TARGET = "advice_slo_target", Advice,
        "Below a target of 93.06% no outage burns the budget 14.4 times as fast as it may.";
}

/// The rule with this id.
pub fn by_id(id: &str) -> Option<Rule> {
    ALL.iter().find(|rule| rule.id == id).copied()
}

/// A rule that a resource breaks. Nothing of the apply is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// `check`, `region`, `contact` or `settings`.
    pub resource: &'static str,
    /// Of the resource.
    pub name: String,
    /// Path inside the resource as YAML has it: `http.url`, `expect[1]`.
    pub field: String,
    /// What is wrong, for a person.
    pub message: String,
    /// The known name that was most likely meant.
    pub nearest: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}: {} [{}]",
            self.resource, self.name, self.field, self.message, self.rule
        )?;
        self.nearest.iter().try_for_each(|nearest| write!(f, " (did you mean `{nearest}`?)"))
    }
}

/// Allowed, but worth a thought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Which.
    pub rule: Rule,
    /// `check`, `region`, `contact` or `settings`.
    pub resource: &'static str,
    /// Of the resource.
    pub name: String,
    /// Path inside the resource.
    pub field: String,
    /// For a person.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_told_apart_and_well_formed() {
        let ids: BTreeSet<&str> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for rule in ALL {
            assert!(rule.id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", rule.id);
            assert!(rule.statement.ends_with('.'), "{}", rule.id);
            assert_eq!(by_id(rule.id), Some(*rule));
        }
        assert_eq!(by_id("no_such_rule"), None);
    }

    #[test]
    fn there_are_enough_rules_that_a_user_can_break() {
        let count = |stage| ALL.iter().filter(|rule| rule.stage == stage).count();
        assert!(count(Stage::Yaml) + count(Stage::Resource) + count(Stage::Apply) >= 45);
    }
}
