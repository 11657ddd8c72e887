//! Limits of a probe's own: of the plugins that it starts (what they are handed, what is read from them,
//! how they end), of how it does itself, with the bounds from which on that is worth a word, and of runs
//! that somebody asks for.

use std::time::Duration;

/// Bytes of the name of a plugin. Refused.
pub const PLUGIN_COMMAND_BYTES_MAX: usize = 128;
/// Arguments of a plugin. Refused.
pub const PLUGIN_ARGS_MAX: usize = 64;
/// Bytes of one argument, or of one variable as it is written: more than any address, path or threshold
/// takes. Refused; what references make larger is `config_error`.
pub const PLUGIN_TEXT_BYTES_MAX: usize = 4 * 1024;
/// Variables that a check hands to its plugin. Refused.
pub const PLUGIN_ENV_MAX: usize = 32;
/// Bytes of a label of performance data. Refused in a check; left out of what a plugin says.
pub const PLUGIN_LABEL_BYTES_MAX: usize = 128;
/// Values of performance data of one run, the first ones: expressions see no others.
pub const PLUGIN_VALUES_MAX: usize = 128;
/// Bytes of a plugin's standard output that are read, as many as a monitoring system of its kind takes
/// and some more, and the same of what it says beside it. What is over is passed over, and said.
pub const PLUGIN_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes that a plugin may write, read or passed over. One that writes more never ends, and is ended:
/// `plugin_failed`.
pub const PLUGIN_FLOOD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Plugins that run at once on one probe. Each is a process, often several: a machine that swaps has no
/// lateness to speak of. The next one waits.
pub const PLUGINS_AT_ONCE_MAX: usize = 64;
/// So long, or for the run's timeout if that is shorter; then it is `missed_overload`.
pub const PLUGIN_WAIT_MAX: Duration = Duration::from_secs(1);
/// A plugin is asked to end this before its run's time is over, or a tenth of a shorter run, and is killed
/// half-way: so the run itself can tell how that went.
pub const PLUGIN_LEEWAY_MAX: Duration = Duration::from_millis(500);
/// What a plugin wrote is awaited so long after its end: processes that left its group may hold its
/// output open for ever.
pub const PLUGIN_DRAIN_MAX: Duration = Duration::from_millis(100);

/// How often a probe looks at itself: its descriptors, its ports.
pub const SELF_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it looks whether its own threads still come to their work.
pub const LOOP_LOOK_EVERY: Duration = Duration::from_millis(20);
/// A loop that is later than this is `lagging`: what it measures begins to be its own.
pub const LOOP_LAG_MAX: Duration = Duration::from_millis(100);
/// From this part on, in percent, what is bounded is nearly used up, and worth a word.
pub const NEARLY_USED_UP_PERCENT: u64 = 90;
/// Anchors of one probe: more tell nothing new. A start with more is refused.
pub const ANCHORS_MAX: usize = 8;
/// How often anchors are connected to.
pub const ANCHORS_EVERY: Duration = Duration::from_secs(10);
/// How long an anchor may take to answer; then it does not.
pub const ANCHOR_TIMEOUT: Duration = Duration::from_secs(5);
/// What a run of several steps is given on top of its timeout for what the probe itself does between them
/// (captures worked out and filled in, tokens got for them). What takes longer eats into the time of the
/// steps that follow.
pub const RUN_ASIDE_MAX: Duration = Duration::from_secs(1);

/// Looks that a probe's bucket holds: somebody who asks again and again while mending something, and some
/// more. The bucket is not that of confirmations: whoever plays with looks must not make an outage slower to
/// find. At it the order is refused, and the asker told so.
pub const LOOKS_BURST: u32 = 10;
/// Looks a second that come back into it: a script that asks more often is a schedule, which checks have.
pub const LOOKS_PER_SECOND: f64 = 1.0;
/// Looks that one probe carries out at once, beside the runs of its schedule. Refused.
pub const LOOKS_AT_ONCE_MAX: usize = 8;
/// Looks that a probe remembers, so that an order that comes twice is carried out once.
pub const LOOKS_REMEMBERED: usize = 256;
/// Requests for looks that are open at once on one member: people at terminals, not programs. At it
/// RESOURCE_EXHAUSTED.
pub const LOOKS_OPEN_MAX: usize = 16;
/// How long an answer is awaited beyond the time that the order and its run may take: the way back, and a
/// probe that is busy.
pub const LOOK_SLACK: Duration = Duration::from_secs(2);
