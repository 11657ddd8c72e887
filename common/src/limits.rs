//! Every bound in one place: the number, why that number, and what happens at it.
//!
//! Units come last in names. Limits that a user meets are quoted in the error that refuses.

use std::time::Duration;

/// Shortest interval of a check. Below it a slot costs more than it tells. Refused.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest interval of a check: a day. Refused.
pub const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// Shortest timeout of a run. Refused.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// Longest timeout of a run: what the histograms hold. Refused.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// `failures`, `successes` and `of`: what a ballot snapshot carries. Refused.
pub const STREAK_MAX: u32 = 32;
/// Regions of one check. Refused.
pub const REGIONS_PER_CHECK_MAX: usize = 32;
/// Steps of one run. Refused.
pub const STEPS_MAX: usize = 16;
/// `expect` and `warn` expressions of one check, each. Refused.
pub const EXPRESSIONS_MAX: usize = 32;
/// Source of one expression: the parser is recursive. Refused.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;
/// Nested comprehensions of one expression: each multiplies the work. Refused.
pub const COMPREHENSION_DEPTH_MAX: u32 = 2;
/// Body that expressions see; more is cut for them.
pub const EXPRESSION_BODY_BYTES_MAX: usize = 256 * 1024;
/// Wall time of all expressions of one run. Over it the slot is `missed: expression_budget`.
pub const EXPRESSION_WALL_MAX: Duration = Duration::from_millis(50);
/// Bytes of an answer that are read when a check does not say. More is `http_body_too_large`.
pub const BODY_BYTES_DEFAULT: u64 = 64 * 1024;
/// Most a check may ask for. Refused.
pub const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Evidence kept of one failure. Cut.
pub const EVIDENCE_BYTES_MAX: usize = 512;
/// Labels of one resource. Refused.
pub const LABELS_MAX: usize = 64;
/// Key or value of a label. Refused.
pub const LABEL_BYTES_MAX: usize = 256;
/// Free text fields (title, description, runbook). Refused.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;
/// One resource, encoded. Refused.
pub const RESOURCE_BYTES_MAX: usize = 128 * 1024;
/// One log entry, encoded. Larger work is staged in parts.
pub const ENTRY_BYTES_MAX: usize = 256 * 1024;
/// Resources of one apply. Refused.
pub const APPLY_RESOURCES_MAX: usize = 200_000;
/// Staged applies that are open at once. Refused.
pub const STAGES_MAX: usize = 8;
/// Bytes in all open stages. Refused.
pub const STAGED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A stage nobody commits is dropped after this much stamped UTC.
pub const STAGE_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// Runs of one check in flight: the rest is `missed: overlap`.
pub const OVERLAP_MAX: u32 = 4;
/// Runs of all checks in flight on one probe: the rest is `missed: overload`.
pub const IN_FLIGHT_MAX: usize = 4_096;
/// Catching up after a stall spreads its starts over at least this long.
pub const CATCH_UP_SPREAD: Duration = Duration::from_secs(1);
/// A new or changed assignment runs once within min(interval, this).
pub const FIRST_RUN_WITHIN_MAX: Duration = Duration::from_secs(10);
/// Heartbeat of a session.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// Pings whose lowest round trip counts.
pub const PINGS_KEPT: usize = 60;
/// How fast a clock offset may be slewed, in parts per million.
pub const SLEW_PPM_MAX: i64 = 500;
/// A ballot is stale when its watermark is older than timeout + this.
pub const STALE_GRACE: Duration = Duration::from_secs(5);
/// A probe with no watermark for this long is lost.
pub const PROBE_LOST_AFTER: Duration = Duration::from_secs(4);
/// After a start or a change of leader nobody is lost, and nothing is said to be unknown, for this long.
pub const START_GRACE: Duration = Duration::from_secs(10);
/// Losses within the time below that put a probe on probation.
pub const LOSSES_BEFORE_PROBATION: usize = 3;
/// The time in which they count.
pub const LOSSES_WITHIN: Duration = Duration::from_secs(600);
/// Steady session that ends a probation.
pub const PROBATION: Duration = Duration::from_secs(60);
/// Longest wait between two dials of a probe.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// Outcomes per check in a ballot snapshot.
pub const SNAPSHOT_OUTCOMES_MAX: usize = 32;
/// A confirmation order is void after this.
pub const ORDER_EXPIRES: Duration = Duration::from_secs(2);
/// Confirmation spacing when a check does not say: interval / 20, within these.
pub const CONFIRM_SPACING_MIN: Duration = Duration::from_millis(50);
/// See [`CONFIRM_SPACING_MIN`].
pub const CONFIRM_SPACING_MAX: Duration = Duration::from_secs(1);
/// Tokens a confirmation bucket holds.
pub const CONFIRM_BURST: u32 = 20;
/// Live outcomes waiting for a session; the oldest are dropped and counted (the snapshot has them).
pub const LIVE_QUEUE_MAX: usize = 65_536;
/// Spool of windows in memory. At it the oldest are dropped and counted.
pub const SPOOL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// One frame of a session. Larger ones end the session.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Windows kept by the ring until the history store takes over.
pub const RING_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Bytes the ring may hold. At it the oldest are dropped and counted.
pub const RING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Series of one window: steps x phases.
pub const SERIES_PER_WINDOW_MAX: usize = STEPS_MAX * 8;
/// Samples above which a series is sent as HDR V2 instead of sparse pairs.
pub const SPARSE_SAMPLES_MAX: u64 = 64;
/// Lowest value of every histogram, in microseconds.
pub const HISTOGRAM_LOW_US: u64 = 1;
/// Highest value of every histogram, in microseconds. Longer ones are recorded as this.
pub const HISTOGRAM_HIGH_US: u64 = 60_000_000;
/// Significant figures of every histogram.
pub const HISTOGRAM_FIGURES: u8 = 3;
/// Events of one incident's timeline. At it the oldest but the first are dropped and counted.
pub const TIMELINE_MAX: usize = 128;
/// Changes a watch can resume over. Older: `COMPACTED`.
pub const WATCH_CHANGES_MAX: usize = 10_000;
/// Live request ids. At it writes are refused, never evicted.
pub const REQUEST_IDS_MAX: usize = 200_000;
/// A silent client is forgotten after this.
pub const CLIENT_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// A page is given up after this.
pub const PAGE_DEAD_AFTER: Duration = Duration::from_secs(72 * 3_600);
/// An answer to a page is awaited this long.
pub const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest wait between two attempts at a page.
pub const PAGE_BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// See [`PAGE_BACK_OFF_MIN`].
pub const PAGE_BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// After an ambiguous attempt the resolve is said again this much later.
pub const PAGE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Pages in flight at once, over all contacts.
pub const PAGES_IN_FLIGHT_MAX: usize = 256;
/// Items of one list page.
pub const PAGE_SIZE_MAX: u32 = 1_000;
/// Items of one list page when the request does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 100;
