//! Addresses of mail, as contacts have them: `pages@example.com`, or `Name <pages@example.com>`.
//!
//! Narrower than what mail allows (RFC 5321 and 5322): no comments, no quotation marks before the @, no
//! routes, no address of a machine behind it, ASCII alone. So no address can hold anything that means
//! something else in an envelope or a header.

use std::net::IpAddr;

use crate::limits::{CONTACT_OPTION_BYTES_MAX, MAIL_LOCAL_PART_BYTES_MAX};
use crate::target::is_host;

/// Somebody's address, and what to call them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// For people; empty when there is none.
    pub name: String,
    /// Before the @.
    pub local: String,
    /// Behind it.
    pub domain: String,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// An address in angles must be all there is behind the name.
    #[error("`{0}` is not an address such as pages@example.com or Pages <pages@example.com>")]
    Form(String),
    /// What stands before the @.
    #[error(
        "`{0}` cannot stand before the @: up to 64 letters, digits, dots and !#$%&'*+-/=?^_`{{|}}~"
    )]
    Local(String),
    /// What stands behind the @.
    #[error("`{0}` cannot stand behind the @: the name of a domain in ASCII")]
    Domain(String),
    /// What stands before the angle.
    #[error("a name has one line and at most 256 bytes")]
    Name,
}

impl Mailbox {
    /// Reads an address, with a name before it or without.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, MailboxError> {
        let form = || MailboxError::Form(text.to_owned());
        let text_of = text.trim();
        let (name, address) = match text_of.strip_suffix('>') {
            Some(rest) => rest.rsplit_once('<').ok_or_else(form)?,
            None => ("", text_of),
        };
        let name = name.trim();
        let name = match name.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"').ok_or(MailboxError::Name)?,
            None => name,
        };
        if name.len() > CONTACT_OPTION_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(MailboxError::Name);
        }
        let (local, domain) = address.rsplit_once('@').ok_or_else(form)?;
        if !is_local_part(local) {
            return Err(MailboxError::Local(local.to_owned()));
        }
        if !is_domain(domain) {
            return Err(MailboxError::Domain(domain.to_owned()));
        }
        let (local, domain) = (local.to_owned(), domain.to_ascii_lowercase());
        Ok(Self { name: name.to_owned(), local, domain })
    }

    /// The address without the name.
    pub fn address(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }
}

/// A dot-atom of RFC 5322 (3.2.3).
fn is_local_part(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    text.len() <= MAIL_LOCAL_PART_BYTES_MAX
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(letter))
}

fn is_domain(text: &str) -> bool {
    is_host(text) && text.parse::<IpAddr>().is_err() && !text.ends_with('.') && !text.contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_a_name_and_without() {
        #[rustfmt::skip]
        let table = [
            ("pages@example.com",                   "",          "pages@example.com"),
            (" ops+down@Mail.Example ",             "",          "ops+down@mail.example"),
            ("Pages <pages@example.com>",           "Pages",     "pages@example.com"),
            ("\"On, call\" <a.b@example.com>",    "On, call",  "a.b@example.com"),
            ("Bereitschaft \u{fc} <a@example.com>", "Bereitschaft \u{fc}", "a@example.com"),
            ("<a@example.com>",                     "",          "a@example.com"),
            ("root@localhost",                      "",          "root@localhost"),
        ];
        for (text, name, address) in table {
            let mailbox = Mailbox::parse(text).unwrap();
            assert_eq!((mailbox.name.as_str(), mailbox.address().as_str()), (name, address));
        }
    }

    #[test]
    fn what_could_mean_something_else_in_an_envelope_is_no_address() {
        let long = format!("{}@example.com", "x".repeat(65));
        let named = format!("{} <a@example.com>", "x".repeat(257));
        let table = [
            "",
            "ops",
            "@example.com",
            "a@",
            "a b@example.com",
            "a@example.com\r\nRCPT TO:<b@example.com>",
            "a@example.com> SIZE=1",
            "a@example.com>",
            "\"a b\"@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a@[192.0.2.1]",
            "a@192.0.2.1",
            "a@b c.example",
            "a@example.com, b@example.com",
            "\u{e4}@example.com",
            "a@\u{e4}.example",
            "A\nBcc: x <a@example.com>",
            "\"A <a@example.com>",
            "<@relay:a@example.com>",
            long.as_str(),
            named.as_str(),
        ];
        for text in table {
            assert!(Mailbox::parse(text).is_err(), "{text:?}");
        }
    }
}
