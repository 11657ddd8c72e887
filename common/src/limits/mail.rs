//! Limits of mail: what a contact of that kind may say, and what a server may say to us.

/// Addresses that a mail goes to. Each costs a round trip within the contact's timeout. Refused.
pub const MAIL_RECIPIENTS_MAX: usize = 16;
/// Bytes before the @ of an address (RFC 5321, 4.5.3.1.1). Refused.
pub const MAIL_LOCAL_PART_BYTES_MAX: usize = 64;
/// Characters of a mail's subject: more than any screen shows. The rest is cut.
pub const MAIL_SUBJECT_MAX: usize = 200;
/// Bytes of one line of a mail server: four times what RFC 5321 (4.5.3.1.5) allows. The attempt ends.
pub const SMTP_LINE_BYTES_MAX: usize = 2_048;
/// Lines of one reply of a mail server: several times what the longest list of extensions has. The
/// attempt ends.
pub const SMTP_REPLY_LINES_MAX: usize = 64;
/// Questions that a mail server may ask while we log in: name and password. The attempt ends.
pub const SMTP_CHALLENGES_MAX: usize = 2;
/// Characters kept of one reply of a mail server, for the person who looks for the reason.
pub const SMTP_REPLY_SHOWN_MAX: usize = 160;
