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
/// One segment of a spool, unless a share of the disk's bound is less. At it the next one begins. A
/// start reads one at a time.
pub const SPOOL_SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What is merged at a time: it is in memory meanwhile, and one segment beside it. The rest waits for
/// the next turn.
pub const SPOOL_MERGE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// One write to a spool. More that waits goes into the next one.
pub const SPOOL_WRITE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest file that is read as a segment: what a merge makes, or a full segment with one write more,
/// and room for heads. A longer one is none of ours: set aside and counted.
pub const SPOOL_SEGMENT_READ_MAX: u64 = SPOOL_MERGE_BYTES_MAX + 2 * SPOOL_RECORD_BYTES_MAX as u64;
/// Bytes read, written and looked at in one piece where a segment is not taken as a whole.
pub const SPOOL_PIECE_BYTES: usize = 64 * 1024;
/// Pieces of a damaged segment that may be unreadable before the rest of it is given up: a disk that
/// fails takes seconds over each.
pub const SPOOL_BAD_PIECES_MAX: usize = 8;
/// A segment that cannot be read so often in a row, and for [`SPOOL_UNREADABLE_FOR`], is set aside and
/// counted: what is behind it must not wait for ever. Before that it is tried again.
pub const SPOOL_UNREADABLE_TIMES: u32 = 5;
/// See [`SPOOL_UNREADABLE_TIMES`].
pub const SPOOL_UNREADABLE_FOR: Duration = Duration::from_secs(10);
/// Time after which a disk that did not let a spool be opened is asked again. Windows wait in memory.
pub const SPOOL_OPEN_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Turns after which segments are merged again that the disk had no room to merge: a minute of them.
pub const SPOOL_MERGE_AGAIN_TURNS: u32 = 120;
/// Longest file that says whose a spool is.
pub const SPOOL_OWNER_BYTES_MAX: usize = 4 * 1024;
/// Longest record of a spool: a window fits a frame. A longer one is damage.
pub const SPOOL_RECORD_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Time between two writes to a spool: what a kill may take of what no coordinator has.
pub const SPOOL_COMMIT_EVERY: Duration = Duration::from_millis(500);
/// Earlier lives of a spool that are still owed to somebody. The oldest is dropped and counted: a
/// probe that is started again and again must not fill the memory with what it remembers of them.
pub const SPOOL_LIVES_MAX: usize = 256;
/// Segments that were set aside as damaged and stay on the disk for whoever wants to look, the newest.
pub const SPOOL_DAMAGED_KEPT: usize = 4;
/// What was spooled goes to one coordinator at this rate, in bytes a second and over all lanes of its
/// session together: several times what a large probe measures meanwhile, and little beside what its line
/// carries. The rest waits.
pub const REPLAY_BYTES_PER_S_MAX: u64 = 4 * 1024 * 1024;
/// A batch of windows that a coordinator ends the lane over so often in a row, sent alone the last
/// times, is set aside for it. A lane that ends so often without a word is taken for a refusal.
pub const SPOOL_REFUSALS_MAX: u32 = 3;
/// Time that a session has to end after one of its lanes, for the lane's end to be that of the
/// connection and nothing that was said of windows.
pub const LANE_END_GRACE: Duration = Duration::from_millis(500);
/// A start that has not heard a coordinator for so long runs the assignments it has stored.
pub const CACHED_PLAN_AFTER: Duration = Duration::from_secs(3);
/// Bytes of one stream of a probe that may be on their way: a bulk lane that waits for the disk of
/// history must not use up what heartbeats on the same connection need.
pub const PROBE_STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// The same for all streams of a probe's connection.
pub const PROBE_CONNECTION_WINDOW_BYTES: u32 = 8 * PROBE_STREAM_WINDOW_BYTES;
/// Checks that a probe keeps records of: those assigned, and those that were until their last window is
/// over, 5 min at most. With more, the windows of what leaves are sealed at once, and coordinators refuse
/// those that end in the future.
pub const RECORDED_CHECKS_MAX: usize = 2 * super::ASSIGNMENTS_MAX;
/// Windows that end further ahead than this are dropped and counted. Nothing is sealed so early: a clock
/// that nobody had measured has been wrong. What ends less far ahead waits until it is over.
pub const SPOOL_AHEAD_MAX: Duration = Duration::from_secs(600);
