//! Limits of what is said to targets and heard from them: dialogues, datagrams, the plain part before
//! TLS, and the greeting of SSH.

use std::time::Duration;

/// Bytes of one message of a dialogue or of one datagram, references filled in: more than any greeting
/// or login takes. Refused; what references make larger is `config_error`.
pub const SEND_BYTES_MAX: usize = 16 * 1024;
/// Bytes that a whole dialogue reads: what is looked through with each piece that arrives. More is
/// `answer_too_large`.
pub const DIALOGUE_BYTES_MAX: usize = 32 * 1024;
/// Pieces in which a dialogue's bytes may arrive: a target that sends single bytes would have the
/// pattern look through all of them each time. More is `answer_too_large`.
pub const DIALOGUE_READS_MAX: usize = 512;
/// Bytes of one capture, as it may be sent again. More is `answer_too_large`.
pub const CAPTURE_BYTES_MAX: usize = 1_024;
/// Named groups of one pattern, captures of one dialogue, and captures in one message. Refused.
pub const CAPTURES_MAX: usize = 16;
/// A value that an expression captures for a later step, such as a token. More is `capture_failed`.
pub const CAPTURED_BYTES_MAX: usize = 8 * 1024;
/// Source of a pattern. Refused.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// A pattern once it is compiled, and the memory it may use while it looks. Refused.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 512 * 1024;
/// Groups of a pattern inside one another: its parser recurses. Refused.
pub const PATTERN_DEPTH_MAX: u32 = 32;
/// Compiled patterns that stay between two uses, the newest. The others are compiled again.
pub const PATTERNS_KEPT_MAX: usize = 1_024;
/// Bytes of an answer to a datagram. More is `answer_too_large`.
pub const UDP_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Shortest wait before a datagram is sent once more. Refused.
pub const UDP_RESEND_MIN: Duration = Duration::from_millis(10);
/// How often one run sends its datagram; then it only waits: a check is no flood.
pub const UDP_SENDS_MAX: u32 = 10;
/// Bytes that a target says before TLS. More is `answer_too_large`.
pub const STARTTLS_BYTES_MAX: usize = 16 * 1024;
/// Lines and their bytes that an SSH server may send before its identification (RFC 4253, 4.2, names
/// no limit). More is `ssh_malformed`.
pub const SSH_PREAMBLE_BYTES_MAX: usize = 8 * 1024;
/// One identification line (RFC 4253, 4.2). Longer is `ssh_malformed`.
pub const SSH_LINE_BYTES_MAX: usize = 255;
/// One packet of an SSH server (RFC 4253, 6.1). Larger is `ssh_too_large`.
pub const SSH_PACKET_BYTES_MAX: usize = 35_000;
/// Packets that may come before the key exchange offer. More are `ssh_malformed`.
pub const SSH_PACKETS_MAX: usize = 8;
