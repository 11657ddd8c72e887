//! Pages on their way out: rendering one, and sending it.
//!
//! What goes out when is decided in `core::outbox`. Here is the shell: [`body`] puts a page into
//! its stable JSON form, [`webhook`] posts it, [`secrets`] resolves references, [`pager`] is the
//! loop that joins them with the outbox. Tests put another [`Sender`] in the webhook's place.

use std::future::Future;
use std::pin::Pin;

use parallax_proto::v1;

use crate::core::outbox::Report;

pub mod body;
pub mod pager;
pub mod secrets;
pub mod webhook;

/// One attempt at a page, with everything it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// `Idempotency-Key`.
    pub key: String,
    /// Where to: the contact's newest version, or its tombstone.
    pub contact: v1::Contact,
    /// What to say.
    pub page: body::Page,
}

/// What an attempt becomes in the end.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Report> + Send + 'a>>;

/// Something that carries a page to a contact. Every call ends by itself, within the contact's
/// timeout.
pub trait Sender: Send + Sync + 'static {
    /// Makes one attempt.
    fn send(&self, attempt: Attempt) -> Sending<'_>;
}
