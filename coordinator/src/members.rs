//! This member among the others: how it comes into its cluster, what it says of itself there, and
//! how it notices that it is out.
//!
//! [`found`] writes the first entry of a new cluster, [`join`] is both sides of being let in,
//! [`announce`] keeps the row of this member true, [`follow`] reads the rows. [`change`] carries out
//! what people ask of the group and [`promote`] what its leader does by itself; [`account`] says how
//! each member does, and [`service`] is what members ask each other. Who may vote when is decided in
//! `core/membership.rs`.

pub mod account;
pub mod announce;
pub mod change;
pub mod follow;
pub mod found;
pub mod join;
pub mod promote;
pub mod service;

use std::sync::Arc;

use tokio::sync::watch;

/// Told once, when this member does not belong to its cluster any more: it stops for good. Clones
/// share it.
#[derive(Debug, Clone)]
pub struct Dismissal(Arc<watch::Sender<Option<String>>>);

impl Default for Dismissal {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Dismissal {
    /// This member is out. The first reason stays.
    pub fn dismiss(&self, why: impl Into<String>) {
        let why = why.into();
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                tracing::error!(why, "this member is not part of its cluster, stopping");
                *reason = Some(why);
            }
            first
        });
    }

    /// Why it is out, if it is.
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until it is out.
    pub async fn dismissed(&self) -> String {
        let mut told = self.0.subscribe();
        // An error is never: the sender is ours.
        let reason = told.wait_for(Option::is_some).await.map(|reason| reason.clone());
        reason.ok().flatten().unwrap_or_default()
    }
}
