//! Pages on their way out: rendering one, and sending it.
//!
//! What goes out when is decided in `core::outbox`. [`body`] puts a page into its stable JSON form,
//! [`kinds`] makes of that what each kind of contact wants to be asked and understands what it answers,
//! both without doing anything. The rest is the shell: [`pager`] is the loop that joins them with the
//! outbox, [`carrier`] sends, mails by [`smtp`], [`secrets`] resolves references, [`reach`] opens
//! connections as the guard allows. Tests put another [`Sender`] in the carrier's place.

use std::future::Future;
use std::pin::Pin;

use parallax_proto::v1;

use crate::core::outbox::Report;

pub mod body;
pub mod carrier;
pub mod kinds;
pub mod pager;
pub mod reach;
pub mod secrets;
pub mod smtp;

/// One attempt at a page, with everything it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// `Idempotency-Key`.
    pub key: String,
    /// Where to: the contact's newest version, or its tombstone.
    pub contact: v1::Contact,
    /// What to say.
    pub page: body::Page,
    /// By what the contact knows the opening that it was sent; empty when it has not said so.
    pub receipt: String,
}

/// What an attempt becomes in the end.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Report> + Send + 'a>>;

/// Something that carries a page to a contact. Every call ends by itself, within the contact's
/// timeout.
pub trait Sender: Send + Sync + 'static {
    /// Makes one attempt.
    fn send(&self, attempt: Attempt) -> Sending<'_>;
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
