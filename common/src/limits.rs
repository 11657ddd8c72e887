//! Every bound in one place: the number, why that number, and what happens at it.
//!
//! Units come last in names. Limits that a user meets are quoted in the error that refuses.

use std::time::Duration;

mod alert;
mod contact;
mod dns;
mod echo;
mod history;
mod http;
mod mail;
mod pacing;
mod probe;
mod quic;
mod quiet;
mod routing;
mod samples;
mod settings;
mod shown;
mod spool;
mod storm;
mod talk;
mod top;
mod vote;
mod watchdog;
mod web;
mod websocket;

pub use alert::*;
pub use contact::*;
pub use dns::*;
pub use echo::*;
pub use history::*;
pub use http::*;
pub use mail::*;
pub use pacing::*;
pub use probe::*;
pub use quic::*;
pub use quiet::*;
pub use routing::*;
pub use samples::*;
pub use settings::*;
pub use shown::*;
pub use spool::*;
pub use storm::*;
pub use talk::*;
pub use top::*;
pub use vote::*;
pub use watchdog::*;
pub use web::*;
pub use websocket::*;

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
/// Items that the loops of one expression may touch, by a bound taken before it runs: the largest
/// list of the JSON body to the power of the nesting. Over it the slot is
/// `missed: expression_budget`; an evaluation cannot be stopped half-way.
pub const EXPRESSION_ITEMS_MAX: u64 = 1_000_000;
/// Additions in one expression: each copies both sides. Refused.
pub const EXPRESSION_SUMS_MAX: u32 = 16;
/// Bytes that one expression may build, by a bound taken before it runs. Over it the slot is
/// `missed: expression_budget`: the alternative is a probe that the system kills.
pub const EXPRESSION_BUILT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Programs kept compiled. At it the oldest are compiled again when they are needed.
pub const PROGRAMS_KEPT_MAX: usize = 4_096;
/// Body that expressions see; more is cut for them.
pub const EXPRESSION_BODY_BYTES_MAX: usize = 256 * 1024;
/// Wall time of all expressions of one run. Over it the slot is `missed: expression_budget`.
pub const EXPRESSION_WALL_MAX: Duration = Duration::from_millis(50);
/// The name of a gRPC service. Refused.
pub const GRPC_SERVICE_BYTES_MAX: usize = 255;
/// An answer of a gRPC health service, which has a handful of bytes. More is `grpc_malformed`.
pub const GRPC_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Evidence kept of one failure. Cut.
pub const EVIDENCE_BYTES_MAX: usize = 512;
/// Labels of one resource. Refused.
pub const LABELS_MAX: usize = 64;
/// Key or value of a label. Refused.
pub const LABEL_BYTES_MAX: usize = 256;
/// A selector of labels as it is written: room for dozens of values, and a bound on what each resource of a
/// list is compared with. Refused.
pub const SELECTOR_BYTES_MAX: usize = 4 * 1024;
/// Free text fields (title, description, runbook). Refused.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;
/// One resource, encoded. Refused.
pub const RESOURCE_BYTES_MAX: usize = 128 * 1024;
/// One log entry, encoded. Larger work is staged in parts.
pub const ENTRY_BYTES_MAX: usize = 256 * 1024;
/// Resources of one apply. Refused.
pub const APPLY_RESOURCES_MAX: usize = 200_000;
/// Resources of an apply that a leader plans before it has asked a quorum whether it still leads: they
/// are kept for a second plan. A larger one waits for the quorum first.
pub const APPLY_AT_ONCE_RESOURCES_MAX: usize = 256;
/// Resources of an apply in one message: what it changes is told in one answer, old values and new
/// ones, which has to stay below what a client takes. Refused; a stream takes more.
pub const APPLY_WHOLE_RESOURCES_MAX: usize = 8;
/// How long the resources of one apply may take to arrive: what is read is held in memory. Refused.
pub const APPLY_READ_WITHIN: Duration = Duration::from_secs(120);
/// Staged applies that are open at once. Refused.
pub const STAGES_MAX: usize = 8;
/// Bytes in all open stages. Refused.
pub const STAGED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Staged applies of one namespace that are open at once: the others keep a place. Refused.
pub const STAGES_PER_NAMESPACE_MAX: usize = STAGES_MAX / 2;
/// Bytes in the open stages of one namespace, for the same reason. Refused.
pub const STAGED_BYTES_PER_NAMESPACE_MAX: usize = STAGED_BYTES_MAX / 2;
/// A stage nobody commits is dropped after this much stamped UTC.
pub const STAGE_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// A stage that no part came for in this much stamped UTC has no owner any more and is dropped: each
/// part is given up after 5 s, and clocks of two leaders differ by less. So what was left behind by a
/// member that died keeps nobody out for long.
pub const STAGE_IDLE_MAX: Duration = Duration::from_secs(60);
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
/// Silence after which a live lane may be taken over by another of the same life of its probe: two
/// heartbeats. Before, the newcomer is sent away: one member may be known by two addresses. After,
/// the old lane is half open, and waiting for TCP to notice would cost ballots their freshness.
pub const LANE_SILENT_AFTER: Duration = Duration::from_secs(2);
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
/// A probe that was silent for this long was taken down: its row is forgotten, and no longer alerts.
/// One that comes back all the same is new.
pub const PROBE_FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// The same for a lost probe whose region another probe has spoken for meanwhile.
pub const PROBE_REPLACED_AFTER: Duration = Duration::from_secs(3_600);
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
/// Spool of windows in memory. At it the oldest are dropped and counted.
pub const SPOOL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Records in one live frame, and checks in one snapshot frame. A frame is at most 1 MiB, so this
/// bounds what it costs to read. More end the session.
pub const FRAME_RECORDS_MAX: usize = 4_096;
/// In-flight changes in one heartbeat: each of [`IN_FLIGHT_MAX`] may begin and end between two
/// of them, more than once. More end the session.
pub const FRAME_CHANGES_MAX: usize = 16_384;
/// Frames that wait for the first clock measurement of a session. More end the session.
pub const FRAMES_HELD_MAX: usize = 1_024;
/// Bytes of those frames, as they were encoded. More end the session.
pub const FRAMES_HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A probe's time further ahead than this is a broken clock or a lie, and ends the session.
pub const TIME_AHEAD_MAX: Duration = Duration::from_secs(2);
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
/// Samples of one series: the shortest interval over the longest period, ordered runs and all, many
/// times over. More are not recorded; from the wire, refused.
pub const SAMPLES_PER_SERIES_MAX: u64 = 1_000_000;
/// Outcomes of one window, for the same reason. Refused.
pub const OUTCOMES_PER_WINDOW_MAX: u64 = 1_000_000;
/// Stretches of outcomes of one window: each slot its own, and ordered runs between. Refused.
pub const SPANS_PER_WINDOW_MAX: usize = 8_192;
/// Lowest value of every histogram, in microseconds.
pub const HISTOGRAM_LOW_US: u64 = 1;
/// Highest value of every histogram, in microseconds. Longer ones are recorded as this.
pub const HISTOGRAM_HIGH_US: u64 = 60_000_000;
/// Significant figures of every histogram.
pub const HISTOGRAM_FIGURES: u8 = 3;
/// Closed incidents that stay in memory. The oldest leave it; their rows stay in the store.
pub const CLOSED_INCIDENTS_IN_MEMORY_MAX: usize = 10_000;
/// Rows of closed incidents that one request reads: a wrong uid must not read them all. A list goes
/// on with its next page; a get says that older ones were not looked at.
pub const INCIDENT_ROWS_READ_MAX: usize = 5_000;
/// Events of one incident's timeline. At it the oldest but the first are dropped and counted.
pub const TIMELINE_MAX: usize = 128;
/// Changes a watch can resume over. Older: `COMPACTED`.
pub const WATCH_CHANGES_MAX: usize = 10_000;
/// Bytes of them, encoded: ten thousand large checks would take a gigabyte. Older: `COMPACTED`.
pub const WATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Changes that are handed to a watcher in one go, then to the end of their revision. It asks for more.
pub const WATCH_PART_CHANGES: usize = 256;
/// Revisions after which a watcher that hears of none of them is told how far the log has come: a
/// tenth of what is kept, so that it can always resume.
pub const WATCH_PROGRESS_EVERY: u64 = 1_000;
/// How long a member without a leader keeps its watchers: longer than an election. After it they are
/// sent to another one, as what is committed may not get here.
pub const WATCH_LEADERLESS_MAX: Duration = Duration::from_secs(10);
/// Live request ids. At it writes are refused, never evicted.
pub const REQUEST_IDS_MAX: usize = 200_000;
/// Live request ids of one client: what it may have in flight. Refused.
pub const REQUEST_IDS_PER_CLIENT_MAX: usize = 64;
/// Resources that an answer, a refusal and an audit row name: what a person reads, and what may be kept
/// of each live request. The others are counted.
pub const SUBJECTS_MAX: usize = 20;
/// Text of a refusal. It is kept with its request id, and sent in a header, of which clients take 16 KiB
/// with every byte escaped into three. Cut.
pub const REFUSAL_BYTES_MAX: usize = 1024;
/// Clients that one entry forgets: with the longest names they fill a quarter of an entry.
pub const FORGET_CLIENTS_MAX: usize = 1_000;
/// A silent client is forgotten after this.
pub const CLIENT_AGE_MAX: Duration = Duration::from_secs(15 * 60);
/// A page is given up after this.
pub const PAGE_DEAD_AFTER: Duration = Duration::from_secs(72 * 3_600);
/// An answer to a page is awaited this long.
pub const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest timeout a contact may ask for. Refused.
pub const PAGE_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// Longest timeout a contact may ask for, and the longest that one has: a claim that has no answer moves
/// after 15 s, and the next member would send the same page while the first still does. What was stored
/// with more is refused at its next `apply`; until then its attempts end here.
pub const PAGE_TIMEOUT_MAX: Duration = Duration::from_secs(12);
/// First and longest wait between two attempts at a page.
pub const PAGE_BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// See [`PAGE_BACK_OFF_MIN`].
pub const PAGE_BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// After an ambiguous attempt the resolve is said again this much later.
pub const PAGE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Pages in flight at once, over all contacts.
pub const PAGES_IN_FLIGHT_MAX: usize = 256;
/// Bytes of a file that a contact refers to: tokens and URLs are short. Longer ones are refused.
pub const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Items of one list page.
pub const PAGE_SIZE_MAX: u32 = 1_000;
/// Items of one list page when the request does not say.
pub const PAGE_SIZE_DEFAULT: u32 = 100;
/// One file of the Raft log. Small, so that a purge gives space back soon.
pub const LOG_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Raft log files above which compacted ones are deleted.
pub const LOG_PURGE_BYTES: u64 = 64 * 1024 * 1024;
/// Newest entries of the log that are kept in memory. Older ones are read from disk.
pub const LOG_CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Commands waiting for the Raft thread. At it a proposal or a read is refused as overloaded.
pub const RAFT_QUEUE_MAX: usize = 4_096;
/// Commands taken from the queue before the log is written: one group commit.
pub const GROUP_COMMIT_MAX: usize = 1_024;
/// Proposed and not yet committed bytes. At it a proposal is refused as overloaded.
pub const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One message to another member.
pub const RAFT_MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Append messages to one member that it has not answered yet. At it the leader waits for answers.
pub const RAFT_INFLIGHT_MAX: usize = 256;
/// Entries handed to apply at once, so that ticks and heartbeats are not late.
pub const APPLY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Reads waiting for a round. At it a read is refused as overloaded.
pub const READS_WAITING_MAX: usize = 65_536;
/// Applied batches waiting for the row store. Proposals are refused at 3/4; at it apply waits.
pub const STORE_QUEUE_MAX: usize = 4_096;
/// Bytes in those batches. The same happens at it.
pub const STORE_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of waiting batches that the row store writes under one sync.
pub const STORE_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long applied rows wait for more before the row store writes them: the log has them already.
/// Sooner when somebody waits for them, or when a quarter of the queue is taken.
pub const STORE_LINGER: Duration = Duration::from_millis(100);
/// Page cache of the row store; what the library takes when not told is a gigabyte.
pub const STORE_CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Longer values are stored in pieces of this: the row store is slow above its page size.
pub const STORE_PIECE_BYTES: usize = 3 * 1024;
/// The row store is rebuilt at a start when its files are this many times its live rows.
pub const STORE_OVERGROWN_TIMES: u64 = 4;
/// Below this it is never called overgrown.
pub const STORE_OVERGROWN_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Rows read at once where all are gone through: what is held then is this many, not all of them.
pub const STORE_PAGE_ROWS: usize = 256;
/// Rows of one chunk of a snapshot file. A larger row has a chunk of its own.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1024 * 1024;
/// One row. A snapshot with a larger one is refused, when written and when read.
pub const ROW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Snapshot files kept: the newest, and one more should it be damaged. As many again that were
/// received and are ahead of the state. Older ones are deleted.
pub const SNAPSHOTS_KEPT: usize = 2;
/// Applied entries after which a snapshot is taken.
pub const SNAPSHOT_AFTER_ENTRIES: u64 = 50_000;
/// Applied bytes after which a snapshot is taken.
pub const SNAPSHOT_AFTER_BYTES: u64 = 64 * 1024 * 1024;
/// Proposals without an answer. At it a proposal is refused as overloaded.
pub const PROPOSALS_PENDING_MAX: usize = 65_536;
/// A TLS handshake must end within this. Over it the socket is closed and counted.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes of one listener in progress. More wait in the kernel's accept queue.
pub const HANDSHAKES_MAX: usize = 256;
/// Connections of one listener, each a file descriptor. At it new ones are closed and counted.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Peers with a valid chain and the wrong role that are being told so. More are closed.
pub const REFUSED_CONNECTIONS_MAX: usize = 64;
/// How long such a peer is kept to hear why.
pub const REFUSED_CONNECTION_AGE_MAX: Duration = Duration::from_secs(10);
/// Refusals a listener logs in one second; the others are counted and summed up.
pub const REFUSAL_LOGS_PER_SECOND_MAX: u32 = 5;
/// Dialling a coordinator, from the name look-up to the end of the handshake.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 pings on a connection, and how long their answer may take: a dead peer is noticed in
/// twice this, also by an idle connection.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How often certificate files are looked at for a change.
pub const CREDENTIALS_POLL: Duration = Duration::from_secs(2);
/// One PEM file. Larger ones are refused before they are read.
pub const PEM_BYTES_MAX: u64 = 1024 * 1024;
/// Namespaces in one user's certificate. Refused.
pub const CERTIFICATE_NAMESPACES_MAX: usize = 64;
/// The identity URI of a certificate: the bound SPIFFE gives. Refused.
pub const IDENTITY_BYTES_MAX: usize = 2_048;
/// Levels of nesting in a YAML file: a tree is walked and dropped by recursion. Refused.
pub const YAML_DEPTH_MAX: usize = 64;
/// Bytes of all YAML files of one apply: every resource at a few hundred bytes fits. Refused.
pub const YAML_BYTES_MAX: usize = 256 * 1024 * 1024;
/// YAML files of one apply: a wrong directory is noticed before it is read. Refused.
pub const YAML_FILES_MAX: usize = 50_000;
/// First and longest wait between two attempts of a command at its coordinators.
pub const CALL_BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// See [`CALL_BACK_OFF_MIN`].
pub const CALL_BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// A coordinator that has not answered a command after this is taken for gone, the next is asked.
pub const CALL_ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long a command looks for a coordinator before it says a word: an election is shorter.
pub const CALL_QUIET: Duration = Duration::from_secs(2);
/// How long one of several coordinators may take to accept a command's connection while the others
/// were not asked yet: one that hangs must not cost what an election takes. Only in the first round.
pub const CALL_DIAL_WITHIN: Duration = Duration::from_secs(2);
/// HTTP/2 pings of a command, and how long their answer may take: somebody waits for it.
pub const CALL_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Longest `--retry-for`: after it a stored answer may be forgotten (decision 22). Refused.
pub const CALL_RETRY_MAX: Duration = Duration::from_secs(600);
/// How long a member goes on with a write: until a leader is known, has it, and answers. After it
/// the caller is told what is known, and may ask again with the same request id.
pub const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// How long a member that has a leader's answer waits until it has applied the entry itself. After
/// it the answer is given all the same: the write is done, and reads wait for themselves.
pub const WRITE_APPLIED_WITHIN: Duration = Duration::from_secs(2);
/// Pause before a leader that could not take a write is asked again: a tick of Raft's clock, in
/// which another one may become known.
pub const FORWARD_PAUSE: Duration = Duration::from_millis(50);
/// A forwarded command with its hello, encoded: an entry and room around it. Refused by the
/// transport.
pub const FORWARD_BYTES_MAX: usize = ENTRY_BYTES_MAX + 16 * 1024;
/// Characters of an apply's source in the audit. Cut.
pub const APPLY_SOURCE_CHARS_MAX: usize = 200;
/// Checks one probe runs. A plan with more ends the session.
pub const ASSIGNMENTS_MAX: usize = 100_000;
/// A schedule that is served later than this has stalled: what it catches up is spread.
pub const STALL_AFTER: Duration = Duration::from_millis(100);
/// A run whose end is noticed later than this after its timeout says nothing of its target: the
/// probe itself stood still (a paused machine, a stopped process). It is `missed: overload`. Well
/// above what a loaded machine needs to wake up, so that real timeouts still count under load.
pub const RUN_STALL_AFTER: Duration = Duration::from_millis(500);
/// Longest phase of a record: what is counted from the slot includes half an interval. Longer ones
/// are recorded as this; from the wire, refused.
pub const PHASE_MAX: Duration = INTERVAL_MAX;
/// Slots of one check that one stall records as missed, the newest: what a ballot snapshot carries,
/// so that every number that is given is also sent. Older ones are only counted: a machine that
/// slept for a night must not send a million of them.
pub const MISSED_SLOTS_KEPT: i64 = SNAPSHOT_OUTCOMES_MAX as i64;
/// Orders a probe remembers, so that one that comes through two coordinators runs once.
pub const CONFIRM_ORDERS_REMEMBERED: usize = 1_024;
/// Windows of a session that wait for their acknowledgement. At it the bulk lane pauses.
pub const WINDOWS_UNACKNOWLEDGED_MAX: u64 = 4_096;
/// A member nobody can reach no longer holds windows back after this.
pub const MEMBER_AWAY_MAX: Duration = Duration::from_secs(3_600);
/// Frames waiting in one live lane. At it the session ends: its next one begins with a snapshot.
pub const LIVE_FRAMES_MAX: usize = 4_096;
/// Shortest wait between two dials of a probe.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// Bodies and DNS records that expressions read on the thread that runs everything else: some tens
/// of microseconds. Longer ones are read on a thread of their own.
pub const EXPRESSION_BODY_HERE_BYTES: usize = 8 * 1024;
/// Runs whose expressions have loops or patterns that are evaluated at once. The rest waits its
/// turn, within [`EXPRESSION_WALL_MAX`]: one owner's expressions must not make other checks stale.
pub const EXPRESSIONS_AT_ONCE_MAX: usize = 4;
/// Bodies that are decoded at once. The rest waits its turn, within [`DECODE_WALL_MAX`]: each may take
/// a window and a whole body of memory, and one target's must not take all threads.
pub const DECODES_AT_ONCE_MAX: usize = 4;
/// From the end of an answer to the end of its decoding, the wait for a turn included. Over it the run
/// is `missed` for overload: the target did its part.
pub const DECODE_WALL_MAX: Duration = Duration::from_secs(1);
/// Coordinators a probe dials. More members are refused.
pub const MEMBERS_MAX: usize = 16;
/// Losses of one region's probes within this count as one: over half of them moves nothing.
pub const MASS_LOSS_WITHIN: Duration = Duration::from_secs(60);
/// Lives of one probe that were superseded and are not taken back. The oldest is forgotten.
pub const SUPERSEDED_KEPT: usize = 8;
/// A region none of whose probes was heard for this long is one incident: a probe that is restarted
/// is back before.
pub const REGION_SILENT_AFTER: Duration = Duration::from_secs(10);
/// The same for a region that never had a probe: people configure first and install then.
pub const REGION_EMPTY_AFTER: Duration = Duration::from_secs(60);
/// A probe must be heard steadily for this long to end its region's incident.
pub const REGION_BACK_AFTER: Duration = Duration::from_secs(5);
/// Pages in flight to one contact: one that hangs must not use up all of them. The rest waits.
pub const PAGES_PER_CONTACT_MAX: usize = 8;
/// Pages in flight above which a contact may have only one: half of all is kept for contacts with
/// nothing in flight, so that many that hang do not delay those that work. The rest waits.
pub const PAGES_IN_FLIGHT_SHARED_MAX: usize = PAGES_IN_FLIGHT_MAX / 2;
/// A page in flight for longer than this is slow, and no longer takes one of the places in flight:
/// contacts that hang delay others by this for every full set of places, until there are too many.
pub const PAGE_SLOW_AFTER: Duration = Duration::from_secs(1);
/// Slow pages in flight at once, over all contacts: each is a connection. More keep their places
/// until their timeouts end them.
pub const PAGES_SLOW_MAX: usize = 1_024;
/// Attempts in a row without a connection after which another member is to send a page: one may be
/// chance, and a way that is cut stays cut.
pub const PAGE_UNREACHED_MAX: u32 = 3;
/// A page without an answer for this long is handed to another member: longer than an attempt takes
/// by default, so that it is the member or its way that is given up, not a contact that is slow.
pub const PAGE_ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Hand-overs of one incident's pages that stand in its timeline. The others are only counted.
pub const HAND_OVERS_TOLD_MAX: usize = 8;
/// A deleted contact is kept for this long after an opening to it was dropped: an attempt that was
/// in flight may still turn out to have gone through, and then its end must be told.
pub const TOMBSTONE_AGE_MAX: Duration = PAGE_DEAD_AFTER;
/// A member that was not heard for this long is not given pages to send.
pub const PAGER_HEARD_WITHIN: Duration = Duration::from_secs(3);
/// A member without a leader for this long says so aloud: elections take a second or two.
pub const LEADERLESS_TOLD_AFTER: Duration = Duration::from_secs(60);

/// Most time between two looks for a leader, each second, that counts as time without one: more
/// means that the process itself stood still. What is beyond is not counted.
pub const LEADER_LOOKS_APART_MAX: Duration = Duration::from_secs(5);
/// A leader that was there for this long ends it: one that is lost again at once is none.
pub const LEADER_BACK_AFTER: Duration = Duration::from_secs(10);
/// Times without a leader whose pages a member keeps trying to send. The oldest is given up.
pub const LEADERLESS_KEPT: usize = 8;
/// How often the leader calls the outbound heartbeat URL.
pub const HEARTBEAT_CALL_EVERY: Duration = Duration::from_secs(30);
/// Longest `Retry-After` that is honoured. A longer one counts as this.
pub const PAGE_RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Bytes read of an answer to a page. The rest is not read.
pub const PAGE_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Bytes kept of an error that a page met. Cut.
pub const PAGE_ERROR_BYTES_MAX: usize = 256;
/// Spools whose place is remembered by the ring. The one quiet for the longest is forgotten.
pub const HISTORY_SPOOLS_MAX: usize = 16_384;
/// An address that has not answered a connect after this is joined by the next one (RFC 8305,
/// section 5: 250 ms), sooner when a run's timeout leaves less to each.
pub const CONNECT_NEXT_AFTER: Duration = Duration::from_millis(250);
/// Addresses of one name that are being connected to at once. The next one waits for the end of one.
pub const CONNECTS_AT_ONCE_MAX: usize = 8;
/// How often a member pings another one. What `cluster status` calls the round trip.
pub const PEER_PING: Duration = Duration::from_millis(500);
/// Pings of one member whose lowest round trip is told.
pub const PEER_PINGS_KEPT: usize = 10;
/// A member that answers no ping for this long is dialled anew: after a cut, TCP would wait longer
/// and longer before it tries again.
pub const PEER_SILENT_AFTER: Duration = Duration::from_secs(3);
/// First and longest wait between two dials of a member. Short: while nobody can be reached, nobody
/// leads.
pub const PEER_BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// See [`PEER_BACK_OFF_MIN`].
pub const PEER_BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// Heartbeats, votes, answers and reads that wait for one member. At it new ones are dropped and
/// counted; Raft repeats them.
pub const PEER_URGENT_MAX: usize = 4_096;
/// Messages with entries that wait for one member: what may be unanswered anyway. At it new ones are
/// dropped and counted; Raft begins again behind what arrived.
pub const PEER_APPENDS_MAX: usize = RAFT_INFLIGHT_MAX;
/// Bytes in those messages. The same happens at it.
pub const PEER_APPEND_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A message that waited longer than this for a connection is dropped: whoever sent it has long
/// repeated it.
pub const PEER_MESSAGE_AGE_MAX: Duration = Duration::from_secs(1);
/// One frame between members: a message of [`RAFT_MESSAGE_BYTES_MAX`] and its envelope. A larger one
/// ends its stream and is counted.
pub const PEER_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A member that opened a stream says hello within this, or the stream ends and is counted.
pub const PEER_HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Raft streams that one member has open here: two, one for a snapshot, and those of connections that
/// broke without a word, which are noticed in twice [`KEEP_ALIVE`]. More are refused and counted.
pub const PEER_STREAMS_MAX: usize = 32;
/// How often an open stream is held against the members again: one that was removed is cut off.
pub const PEER_RECHECK: Duration = Duration::from_secs(1);
/// Connections of one member to the peer listener: one for messages, one for files, and those that
/// broke without a word. More are closed and counted.
pub const PEER_CONNECTIONS_MAX: usize = 16;
/// One piece of a snapshot file on its way to another member.
pub const SNAPSHOT_PIECE_BYTES: usize = 256 * 1024;
/// The next piece must arrive within this. Over it the transfer ends, and Raft asks for another.
pub const SNAPSHOT_PIECE_WITHIN: Duration = Duration::from_secs(10);
/// A snapshot file from another member; ten times what 100 000 checks need. Refused.
pub const SNAPSHOT_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Raft hears of a snapshot that did not arrive this much later: it asks again at once, and a file
/// that is refused is not sent ten times a second.
pub const SNAPSHOT_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Snapshot files sent at once: they share the disk and the line with the log. More wait.
pub const SNAPSHOTS_OUT_MAX: usize = 2;
/// Snapshot files received at once: there is one leader. More are refused and counted.
pub const SNAPSHOTS_IN_MAX: usize = 1;
/// Coordinators of one cluster, learners included: every entry goes to each of them, and five voters
/// outlive any two. Refused.
pub const COORDINATORS_MAX: usize = 9;
/// One text of a coordinator's row: a DNS name with a port fits twice. Refused.
pub const MEMBER_TEXT_BYTES_MAX: usize = 512;
/// Backups that one member makes at once: each reads every cold row. More are refused.
pub const BACKUPS_AT_ONCE_MAX: usize = 2;
/// One piece of a backup on its way to whoever asked for it.
pub const BACKUP_PIECE_BYTES: usize = 256 * 1024;
/// Pieces of one backup that wait for a slow reader. At it the backup waits.
pub const BACKUP_PIECES_WAITING_MAX: usize = 8;
/// How far a restored cluster's revisions begin above those of its backup: more than the old cluster
/// can have written since, so that no revision is given twice and old watchers list again. At a hundred
/// thousand entries a second, far more than a log takes, the old one would need half a day for as many,
/// at the thousand of a busy cluster seven weeks. An index has room for billions of such gaps.
pub const RESTORE_REVISION_GAP: u64 = 1 << 32;
/// Entries that a learner may lack to be given a vote: a commit that needs it then waits for a round
/// trip or two, not for a catching up. Refused above.
pub const PROMOTE_LAG_MAX: u64 = 250;
/// How long a learner must have been heard without a gap to be given a vote. Refused below.
pub const PROMOTE_STEADY_FOR: Duration = Duration::from_secs(10);
/// A member that answered the leader within this is heard: ten heartbeats. A longer silence is a gap.
pub const MEMBER_HEARD_WITHIN: Duration = Duration::from_secs(1);
/// Entries that a member may lack to be handed the leadership, while which nothing is proposed.
/// Refused above.
pub const TRANSFER_LAG_MAX: u64 = 10_000;
/// Entries between two hashes of the state. Cheap, as each entry only adds what it changed.
pub const STATE_HASH_EVERY: u64 = 1_000;
/// Own hashes that are kept, the newest: the others' may come late. Older ones are forgotten.
pub const STATE_HASHES_KEPT: usize = 16;
/// How long another member may take to say its hash. It is asked again.
pub const STATE_HASH_ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often hashes that have not come yet are asked for, and levels looked at.
pub const STATE_HASH_ASK_EVERY: Duration = Duration::from_secs(2);
/// How long a leader that is told to stop tries to hand over first: an election timeout of Raft, after
/// which the others elect somebody anyway.
pub const LEADER_STOPS_WITHIN: Duration = Duration::from_secs(1);
/// Bytes by which the log of a member may grow that stands still because an entry needs a newer build:
/// an hour or more of writes, in which it is upgraded. At it the member ends.
pub const STANDSTILL_LOG_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How long a leader whose state differs may take to hand over before it stops all the same.
pub const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);
/// HTTP/2 frames of one connection in one second that reset, ping or set and carry nothing: more
/// than all calls of a connection given up at once. More close the connection, and are counted.
pub const CONTROL_FRAMES_PER_SECOND_MAX: u32 = 2_000;
/// Calls of one connection at once. More wait in the client.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// Headers of one call, decoded: ours have some hundred bytes. More end the call.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of one stream between members that may be on their way. On a line of 10 Mbit/s they take
/// less than half of the shortest election timeout: a heartbeat on another stream is not late.
pub const PEER_STREAM_WINDOW_BYTES: u32 = 512 * 1024;
/// The same for all streams of a connection: large ones never use up what small ones need.
pub const PEER_CONNECTION_WINDOW_BYTES: u32 = 8 * PEER_STREAM_WINDOW_BYTES;
/// Live lanes that one member listens to through another: as many probes as may be cut off from one
/// member alone. More are not relayed and counted; a member that hears nobody needs another network.
pub const RELAYED_LANES_MAX: usize = 1_024;
/// A list of what another member hears counts for this long: three heartbeats.
pub const RELAY_LIST_AGE_MAX: Duration = Duration::from_secs(3);
/// A relayed lane goes on for this long after its probe is heard directly again: a session that
/// begins has to bring its snapshot, and one that comes and goes must not cost one each time.
pub const RELAY_KEPT_FOR: Duration = Duration::from_secs(5);
/// Probes in one part of such a list: some 100 bytes each, well below the limit of a frame.
pub const RELAY_LIST_PROBES_MAX: usize = 4_096;
/// Frames that wait on a stream between members that relays. At it a lane ends and begins anew, and
/// a stream that cannot say what it hears ends.
pub const RELAY_FRAMES_MAX: usize = 4_096;
/// Bytes of those frames: snapshots of many probes at once. The same happens at it.
pub const RELAY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A probe is asked for everything once more at most this often: it costs it a whole snapshot. Who
/// begins to listen in between waits.
pub const SNAPSHOT_ASKED_EVERY: Duration = Duration::from_secs(2);
/// How long a start waits for other members to say what time it is.
pub const CLOCK_MEMBERS_WITHIN: Duration = Duration::from_secs(1);
/// How long it then waits for probes to say what time they go on with.
pub const CLOCK_PROBES_WITHIN: Duration = Duration::from_secs(2);
/// Probes whose time is asked at a start: a median needs no more. The others are not asked.
pub const CLOCK_PROBES_MAX: usize = 1_024;
/// How often the clock's offset is written down.
pub const CLOCK_STORED_EVERY: Duration = Duration::from_secs(60);
/// A clock that is set by more than this at a start ends its sessions: what they measured before is
/// of another time.
pub const CLOCK_STEP_MAX: Duration = Duration::from_millis(10);
/// One step of a change of the members, until it is applied: a few round trips, and a sync on each
/// voter. After it nobody knows; asking again finds out.
pub const MEMBER_STEP_WITHIN: Duration = Duration::from_secs(5);
/// A whole change of the members, hand-over of the leadership included. Less than a command waits for
/// an answer; after it its caller is told so.
pub const MEMBER_CHANGE_WITHIN: Duration = Duration::from_secs(30);
/// How long a member that is removed may take to hear so before it is cut off. It is told by all others
/// if it comes later.
pub const MEMBER_FAREWELL_WITHIN: Duration = Duration::from_secs(2);
/// A member that does not say how it does within this is shown as not reached.
pub const MEMBER_ACCOUNT_WITHIN: Duration = Duration::from_secs(1);
/// How long a leader looks again before it says that somebody is not heard: one that was just elected
/// has heard nobody yet.
pub const MEMBER_SETTLE_WITHIN: Duration = Duration::from_secs(2);
/// Rows of one answer of history, each region's counted: what a person reads, many times over. Refused.
pub const HISTORY_ROWS_MAX: u64 = 20_000;
/// Quantiles of one question. Refused.
pub const HISTORY_QUANTILES_MAX: usize = 16;
/// Questions of history that are answered at once: each may hold [`HISTORY_ENTRIES_MAX`]. More wait.
pub const HISTORY_QUESTIONS_MAX: usize = 2;
/// Verdict intervals that one answer reads: a check that flaps every minute for a month. The range
/// is cut there, and the answer says so.
pub const UPTIME_INTERVALS_READ_MAX: usize = 50_000;
/// While a leader has nothing else to write, it marks the time so often. Short enough for
/// [`LEADERLESS_RECORDED`], and one sync of each member in that time.
pub const MARK_TIME_EVERY: Duration = Duration::from_secs(15);
/// Nothing written for longer than this, in mesh time: nobody led, and uptime counts it as unrecorded. Four
/// marks, so that a slow disk or an election is not taken for it; a shorter time counts as what stood.
pub const LEADERLESS_RECORDED: Duration = Duration::from_secs(60);
/// Verdict intervals that one answer lists, the newest.
pub const UPTIME_INTERVALS_SHOWN_MAX: usize = 1_000;
/// Verdict intervals that one entry removes: some 60 bytes each.
pub const TRIM_INTERVALS_MAX: usize = 1_000;
/// Rows that are looked at for old verdict intervals in one go, once a minute.
pub const TRIM_ROWS_READ_MAX: usize = 10_000;
/// Segments of history in one page of a list between members.
pub const SEGMENT_LIST_MAX: usize = 256;
/// Bytes after which such a page ends: each segment names all of its spools.
pub const SEGMENT_LIST_BYTES: usize = 1024 * 1024;
/// A page that a member takes: the bytes above, and one segment of very many spools. Refused.
pub const SEGMENT_LIST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A segment of history that is copied from another member. Larger ones are left.
pub const SEGMENT_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// One piece of a segment on its way.
pub const SEGMENT_PIECE_BYTES: usize = 256 * 1024;
/// The next piece must arrive within this. Over it the copy is gone on with later.
pub const SEGMENT_PIECE_WITHIN: Duration = Duration::from_secs(10);
/// Segments sent at once: they share the disk and the line with everything else. More are refused.
pub const SEGMENTS_OUT_MAX: usize = 2;
/// How often a member looks whether others have history that it lacks.
pub const HISTORY_COPY_EVERY: Duration = Duration::from_secs(600);
/// The greatest index or term in a message between members: no group comes near it in any lifetime,
/// and one more than it can still be counted. A message with a greater one ends its stream.
pub const RAFT_NUMBER_MAX: u64 = u64::MAX / 2;
/// After a snapshot that could not be written the next one is not begun sooner: what is wrong with a
/// disk is wrong for a while, and a lagging member asks ten times a second.
pub const SNAPSHOT_WRITE_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Bytes of history that one question reads: a year of a check in a dozen regions. Refused, with what
/// makes it smaller.
pub const HISTORY_READ_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Filled entries of all histograms of one answer while it is added up, 16 bytes each. Refused.
pub const HISTORY_ENTRIES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one answer of history: a message of a client may have 4 MiB. Refused.
pub const HISTORY_ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Bytes of history that a file of a backup may hold in one segment; larger ones are damage.
pub const BACKUP_SEGMENT_BYTES_MAX: u64 = SEGMENT_BYTES_MAX;
/// A reader of a backup that takes nothing for this long is sent away: what it was to get cannot be
/// deleted meanwhile.
pub const BACKUP_STALLED_MAX: Duration = Duration::from_secs(60);
/// Networks that a probe's configuration may allow and deny together: each address of each run is
/// compared with them. The start is refused.
pub const GUARD_NETWORKS_MAX: usize = 1_024;
