//! Limits of websockets.

use super::DIALOGUE_BYTES_MAX;

/// One message, all its fragments together, and so one frame: what a whole dialogue reads. More is
/// `answer_too_large`.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = DIALOGUE_BYTES_MAX;
/// Bytes that are read from one websocket, frames and all: messages that nobody awaits and pings are
/// read, too. More is `answer_too_large`.
pub const WEBSOCKET_BYTES_MAX: usize = 4 * DIALOGUE_BYTES_MAX;
/// Frames that are read from one websocket: each may be a fragment of one byte. More is
/// `answer_too_large`.
pub const WEBSOCKET_FRAMES_MAX: usize = 1_024;
/// Pings that are answered in one run: each answer is a frame of ours. More is `answer_too_large`.
pub const WEBSOCKET_PINGS_MAX: usize = 64;
/// The name of a subprotocol: expressions see the one that is chosen. Refused.
pub const WEBSOCKET_SUBPROTOCOL_BYTES_MAX: usize = 255;
/// Subprotocols that are offered. Refused.
pub const WEBSOCKET_SUBPROTOCOLS_MAX: usize = 16;
