//! Limits of who is told of an incident, and how often.

use std::time::Duration;

/// Routes of one namespace: each opening may look at all of them. Refused.
pub const ROUTES_MAX: usize = 64;
/// How many of them may hand on to later ones: so many and one more take an incident at most, which
/// keeps its pages bounded. Refused.
pub const ROUTES_CONTINUE_MAX: usize = 7;
/// Patterns of all routes of one namespace together: each takes memory on every coordinator. Refused.
pub const ROUTE_PATTERNS_MAX: usize = 32;
/// Steps of one route. Refused.
pub const ROUTE_STEPS_MAX: usize = 8;
/// Contacts of one step. Refused.
pub const ROUTE_STEP_CONTACTS_MAX: usize = 16;
/// How long after the opening the last step may come: what nobody has looked at for a week needs no
/// further step. Refused.
pub const ROUTE_STEP_AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Times of the hours of a route or step, such as `mon-fri 09:00-17:00`: twice a day for each of them.
/// Refused.
pub const HOURS_TIMES_MAX: usize = 16;
/// Different hours that the routes of one namespace name: what an office has, and its shifts. Refused.
pub const HOURS_PER_NAMESPACE_MAX: usize = 32;
/// The same of all namespaces together: the leader looks into the calendar for each. Refused.
pub const HOURS_MAX: usize = 128;
/// Hours that no route has any more and steps of open incidents still go by. Over it some are
/// forgotten, and those steps come at any time.
pub const HOURS_KEPT_MAX: usize = 128;
/// How far ahead hours are written down: a cluster that nobody leads for a week still knows them.
pub const HOURS_AHEAD: Duration = Duration::from_secs(21 * 86_400);
/// They are written down further once less than this is left: more than lies between two beginnings.
pub const HOURS_LEFT_MIN: Duration = Duration::from_secs(14 * 86_400);
/// Hours that one entry writes down, of some 6 KiB each at most. The rest is in the next one.
pub const HOURS_DUE_MAX: usize = 16;
/// Stretches of time of one row of hours: more than [`HOURS_TIMES_MAX`] times on each day of
/// [`HOURS_AHEAD`]. What is longer is not written down, and then counts as not known.
pub const HOURS_SPANS_MAX: usize = 512;
/// How often the leader compares what is written down with its calendar: a build that knows a zone
/// better corrects it within this.
pub const HOURS_LOOK_EVERY: Duration = Duration::from_secs(600);
/// Hours that could not be written down are tried again after this.
pub const HOURS_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Routes that were passed over for their hours and are named in an incident. The others are not named.
pub const ROUTES_PASSED_TOLD_MAX: usize = 16;
/// Shortest time between two reminders: less is noise that people learn to overlook. Refused.
pub const ROUTE_REPEAT_MIN: Duration = Duration::from_secs(60);
/// Longest time between two reminders. Refused.
pub const ROUTE_REPEAT_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Reminders to one contact that stay in the record of an incident. Over it the oldest that is done
/// with goes; the timeline has told of it.
pub const REMINDERS_KEPT_MAX: usize = 8;
/// Incidents whose steps and reminders one entry carries out. The rest is in the next one.
pub const ESCALATED_MAX: usize = 64;
/// An escalation that could not be proposed is tried again after this.
pub const ESCALATE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// While a step or a reminder waits, the leader compares its clock with the time at least this often:
/// a clock that is set shows within it.
pub const ESCALATE_LOOK_EVERY: Duration = Duration::from_secs(30);
/// A step that waits for the end of something that has none that a clock knows, such as an outage of
/// what its check depends on, is looked at again after this.
pub const ESCALATE_QUIET_LOOK: Duration = Duration::from_secs(60);
/// Bytes of the key that signs links in pages: as many as its signature has.
pub const ACK_LINK_KEY_BYTES: usize = 32;
/// How long a link acknowledges after the opening, if the incident lasts so long: a page that is found
/// a month later in somebody's mail is good for nothing. Over it the link is answered as none.
pub const ACK_LINK_LASTS: Duration = Duration::from_secs(7 * 86_400);
/// Links that do not hold and that one coordinator says so of in a second, whoever asks: too few to guess
/// by. Over it they are answered with 429, and those that hold as ever.
pub const ACK_LINKS_PER_SECOND: u32 = 20;
/// How many may come at once.
pub const ACK_LINKS_BURST: u32 = 40;
/// A key that could not be proposed is proposed again after this.
pub const LINK_KEY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A public URL: it stands in every page, and some contacts take no long links. Refused.
pub const PUBLIC_URL_BYTES_MAX: usize = 256;
