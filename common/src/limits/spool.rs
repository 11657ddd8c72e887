//! Limits of a probe's spool on disk, of what is sent from it, and of the assignments stored beside it.

use std::time::Duration;

use super::FRAME_BYTES_MAX;

/// Windows that are on the disk and stay in memory all the same, the newest: what sessions that keep
/// up are sent, without a look at the disk. Older ones leave the memory.
pub const SPOOL_CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a spool may take of the disk unless told otherwise. Near it windows are merged to minutes, at
/// it the oldest segment is dropped and counted.
pub const SPOOL_DISK_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// Least that it may be told: a few segments.
pub const SPOOL_DISK_BYTES_MIN: u64 = 1024 * 1024;
/// Age at which a spooled window is dropped and counted unless told otherwise.
pub const SPOOL_AGE_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// Least age that it may be told: a window of the longest period must be able to wait.
pub const SPOOL_AGE_MIN: Duration = Duration::from_secs(600);
/// One segment of a spool, unless a share of the disk's bound is less. At it the next one begins.
pub const SPOOL_SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What is merged at a time: it is in memory meanwhile. The rest waits for the next turn.
pub const SPOOL_MERGE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// One write to a spool. More that waits goes into the next one.
pub const SPOOL_WRITE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest record of a spool: a window fits a frame. A longer one is damage.
pub const SPOOL_RECORD_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Time between two writes to a spool: what a kill may take of what no coordinator has.
pub const SPOOL_COMMIT_EVERY: Duration = Duration::from_millis(500);
/// Earlier lives of a spool that are still owed to somebody. The oldest is dropped and counted: a
/// probe that is started again and again must not fill the memory with what it remembers of them.
pub const SPOOL_LIVES_MAX: usize = 256;
/// Segments that were set aside as damaged and stay on the disk for whoever wants to look, the newest.
pub const SPOOL_DAMAGED_KEPT: usize = 4;
/// What was spooled goes to one coordinator at this rate, in bytes a second: several times what a
/// large probe measures meanwhile, and little beside what its line carries. The rest waits.
pub const REPLAY_BYTES_PER_S_MAX: u64 = 4 * 1024 * 1024;
/// A batch of windows that a coordinator ends the lane over so often in a row, sent alone the last
/// times, is set aside for it.
pub const SPOOL_REFUSALS_MAX: u32 = 3;
/// A start that has not heard a coordinator for so long runs the assignments it has stored.
pub const CACHED_PLAN_AFTER: Duration = Duration::from_secs(3);
/// Bytes of one stream of a probe that may be on their way: a bulk lane that waits for the disk of
/// history must not use up what heartbeats on the same connection need.
pub const PROBE_STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// The same for all streams of a probe's connection.
pub const PROBE_CONNECTION_WINDOW_BYTES: u32 = 8 * PROBE_STREAM_WINDOW_BYTES;
