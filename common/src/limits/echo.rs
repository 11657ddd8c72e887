//! Limits of echoes (ICMP).

use std::time::Duration;

/// Echoes of one run, and so its samples of `first_byte`: with the closest spacing a second. Refused.
pub const ECHOES_MAX: u32 = 100;
/// Closest echoes: a check is no flood. Refused.
pub const ECHO_SPACING_MIN: Duration = Duration::from_millis(10);
/// Largest payload of an echo: with its headers a jumbo frame of 9 000 bytes. Refused.
pub const ECHO_PAYLOAD_BYTES_MAX: u32 = 8_972;
/// A run listens for echoes until this before its timeout, or a tenth of a shorter one.
pub const ECHO_LEEWAY_MAX: Duration = Duration::from_millis(20);
/// Packets passed over while a run listens for echoes. One more, and it listens no longer.
pub const ECHO_IGNORED_MAX: u32 = 10_000;
