//! Limits of contacts: what one may say, and what sending to it may take.

use std::time::Duration;

/// Source of a template: longer than any message that somebody reads. Refused.
pub const TEMPLATE_BYTES_MAX: usize = 8 * 1024;
/// Steps that a template may take: a hundred regions with a dozen fields each. Over it a template is
/// refused when it is applied, and a page goes out in the form that it has without one.
pub const TEMPLATE_FUEL_MAX: u64 = 50_000;
/// Bytes that a template may become; what goes on is as above.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a text within a template that a filter takes or makes: all regions of a page as JSON, and no
/// more. Over it as above.
pub const TEMPLATE_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Secrets that sign one request: the one in use, and the one that it takes the place of. Refused.
pub const SIGNING_SECRETS_MAX: usize = 2;
/// Alertmanagers of one contact: each gets each page. Refused.
pub const ALERTMANAGERS_MAX: usize = 8;
/// How long an alert stays open in an Alertmanager that nobody tells of the end.
pub const ALERT_LASTS_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Shortest such time. Refused.
pub const ALERT_LASTS_MIN: Duration = Duration::from_secs(3_600);
/// How long an alert lasts in an Alertmanager that was over before it was sent: an Alertmanager tells nobody of
/// what has ended, and a group that it knows waits for its `group_interval`, 5 min unless it is said.
pub const ALERT_OVER_LASTS: Duration = Duration::from_secs(600);
/// Longest such time. Refused.
pub const ALERT_LASTS_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Bytes of a contact's plain option, such as a channel. Refused.
pub const CONTACT_OPTION_BYTES_MAX: usize = 256;
/// Bytes of what a contact gave us to refer to a page later, such as the message that a thread hangs
/// on. A longer one is not kept: what follows stands alone.
pub const RECEIPT_BYTES_MAX: usize = 128;
/// Bytes read of an answer that has to be understood: some repeat the whole message. A longer one
/// cannot be, and the attempt is in doubt.
pub const PAGE_RECEIPT_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Addresses of a contact's name that are tried, each for its share of the time. The rest is not.
pub const CONTACT_ADDRESSES_MAX: usize = 8;
/// Regions that a message for people lists; of more it says how many there are.
pub const REGIONS_SHOWN_MAX: usize = 16;
