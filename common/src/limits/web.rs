//! Limits of the ways to a target: proxies.

/// Bytes of the head of a proxy's answer to CONNECT: more than any that names its reasons. More is
/// `proxy_malformed`.
pub const PROXY_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a user name, of a password and of a target's name in SOCKS, whose lengths have one byte
/// (RFC 1928, 5; RFC 1929, 2). Longer ones are `config_error`.
pub const SOCKS_TEXT_BYTES_MAX: usize = 255;
/// Addresses of a target's name that a proxy is asked for one after the other, as long as it says that
/// it cannot reach them. The others are not tried.
pub const PROXY_ADDRESSES_MAX: usize = 4;
