//! Limits of the ways to a target: proxies, tokens, and connections that are
//! kept, and name servers that are asked over HTTPS.

use std::time::Duration;

/// Bytes of the head of a proxy's answer to CONNECT: more than any that names its reasons. More is
/// `proxy_malformed`.
pub const PROXY_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a user name, of a password and of a target's name in SOCKS, whose lengths have one byte
/// (RFC 1928, 5; RFC 1929, 2). Longer ones are `config_error`.
pub const SOCKS_TEXT_BYTES_MAX: usize = 255;
/// Addresses of a target's name that a proxy is asked for one after the other, as long as it says that
/// it cannot reach them. The others are not tried.
pub const PROXY_ADDRESSES_MAX: usize = 4;

/// Bytes of a client id, a scope and an audience of OAuth 2.0. Refused.
pub const OAUTH2_TEXT_BYTES_MAX: usize = 1_024;
/// Scopes that one token is asked for. Refused.
pub const OAUTH2_SCOPES_MAX: usize = 16;
/// Bytes of a provider's answer, and of the token in it: what servers take in one header. More is
/// `auth_token_failed`.
pub const TOKEN_ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// See [`TOKEN_ANSWER_BYTES_MAX`].
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How long a token is used when its provider does not say.
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// How long a token is used at the most, whatever its provider says: who takes a client's rights away sees
/// an effect within a day.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(86_400);
/// So long before its end a token is not used any more, or a tenth of its life when that is shorter.
pub const TOKEN_MARGIN_MAX: Duration = Duration::from_secs(30);
/// How soon a provider is asked again for the same token, after it gave none or the target refused it.
pub const TOKEN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Tokens that are kept, and so at the most questions for new ones behind runs, one for each. Above it those that
/// are of no use are dropped, then all: they are asked for anew.
pub const TOKENS_KEPT_MAX: usize = 1_024;

/// How long a connection of a step with `keep_alive` waits for its next use: longer than most servers let
/// one wait. It is closed then.
pub const KEPT_IDLE_MAX: Duration = Duration::from_secs(90);
/// How long such a connection is used at the most. Then names are looked up and certificates judged anew.
pub const KEPT_LIFE_MAX: Duration = Duration::from_secs(300);
/// Connections that wait at once on a probe, each with a descriptor. Above it they are closed after use.
pub const KEPT_CONNECTIONS_MAX: usize = 1_024;

/// Path of a name server that is asked over HTTPS. Refused.
pub const DNS_PATH_BYTES_MAX: usize = 1_024;
