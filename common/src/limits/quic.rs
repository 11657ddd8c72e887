//! Limits of HTTP/3 and of the QUIC connections under it.

/// Bytes that may come over a connection of HTTP/3 beside twice the largest body: the handshake, heads and
/// trailers, what frames cost, and packets that come twice. A head is only looked at when all of it is
/// there, so this bounds what a target makes a probe keep. More is `http_malformed`.
pub const QUIC_BESIDE_BODY_BYTES_MAX: u64 = 1024 * 1024;
/// Streams that a target may open towards a probe at once: its control stream, two of QPACK, and some of
/// kinds that nobody knows. QUIC itself refuses more.
pub const QUIC_TARGET_STREAMS_MAX: u32 = 16;
