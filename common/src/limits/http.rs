//! Limits of HTTP requests and of what answers them.

/// Bytes of an answer that are read when a check does not say. More is `http_body_too_large`.
pub const BODY_BYTES_DEFAULT: u64 = 64 * 1024;
/// Most a check may ask for. Refused.
pub const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Header lines of one request. Refused.
pub const HEADERS_MAX: usize = 64;
/// Redirects that are followed when a check does not say: what browsers and other monitors take
/// without a word. One more is `http_redirects_too_many`.
pub const REDIRECTS_DEFAULT: u32 = 10;
/// Most a check may ask for: each is a connection of its own. Refused.
pub const REDIRECTS_MAX: u32 = 20;
/// Where a redirect leads to. Longer is `http_redirect_malformed`: up to [`REDIRECTS_MAX`] of them are
/// kept to notice a loop.
pub const LOCATION_BYTES_MAX: usize = 8 * 1024;
/// Query parameters of one request, as many as header lines. Refused.
pub const QUERY_MAX: usize = 64;
/// Largest window of a zstd body: RFC 9659 allows no more for HTTP. More is `http_encoding`.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Frames of a zstd body: each costs its own tables, however little is in it. More is `http_encoding`.
pub const ZSTD_FRAMES_MAX: usize = 1_024;
