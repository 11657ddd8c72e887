//! Limits of what members keep of the past.

use std::time::Duration;

/// Windows are kept one by one this long after their end; then they are minutes.
pub const HISTORY_WINDOWS_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Minutes of history are kept this long; then they are hours.
pub const HISTORY_MINUTES_AGE_MAX: Duration = Duration::from_secs(2 * 86_400);
/// Hours of history, and verdict intervals, are kept this long: a year, and a month to look back on
/// its beginning. Then they are deleted.
pub const HISTORY_HOURS_AGE_MAX: Duration = Duration::from_secs(400 * 86_400);
/// Least `--history-bytes-max`: the newest segment of each tier has room. Refused.
pub const HISTORY_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// One block of a segment or record of its journal: a check in a region, a frame of windows. Larger
/// ones are not written, and taken for damage when read.
pub const HISTORY_BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Windows in memory that are in the journal and in no segment. At it a segment is written.
pub const HISTORY_MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long windows wait in memory for their segment: a start reads the journal again.
pub const HISTORY_MEMORY_AGE_MAX: Duration = Duration::from_secs(60);
/// Windows that wait for the journal, of all probes, in KiB. At it bulk lanes wait.
pub const HISTORY_QUEUE_KIB_MAX: usize = 64 * 1024;
/// How long windows gather before one sync carries them all. Short enough that a lane with
/// [`WINDOWS_UNACKNOWLEDGED_MAX`](super::WINDOWS_UNACKNOWLEDGED_MAX) windows under way never stands still.
pub const HISTORY_GATHER_MAX: Duration = Duration::from_millis(100);
/// Windows that end the gathering early: a sync now costs each of them little.
pub const HISTORY_GATHER_WINDOWS: usize = 1_024;
/// Segments of one tier that are rolled up at once, each an open file. At it they are rolled up
/// before their time.
pub const HISTORY_ROLL_SEGMENTS_MAX: usize = 128;
/// Frames of one bulk lane that wait to be kept. At it no more is read from the lane.
pub const HISTORY_FRAMES_WAITING_MAX: usize = 64;
/// Windows of one frame that are checked in one go. After them whatever else a thread has to do comes first:
/// an outcome that decides does not wait for what many probes send at the same moment. 0.2 ms each time.
pub const INTAKE_PORTION: usize = 64;
/// `--history-bytes-max` when it is not given: a small disk is not filled by surprise.
pub const HISTORY_BYTES_DEFAULT: u64 = 16 * 1024 * 1024 * 1024;
