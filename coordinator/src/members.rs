//! This member among the others: how it comes into its cluster, what it says of itself there, and
//! how it notices that it is out.
//!
//! [`found`] writes the first entry of a new cluster, [`join`] is both sides of being let in,
//! [`announce`] keeps the row of this member true, [`follow`] reads the rows. [`change`] carries out
//! what people ask of the group and [`promote`] what its leader does by itself, [`mod@hand_over`]
//! among it when it stops; [`account`] says how
//! each member does, and [`service`] is what members ask each other. Who may vote when is decided in
//! `core/membership.rs`.

pub mod account;
pub mod announce;
pub mod change;
pub mod follow;
pub mod found;
pub mod hand_over;
pub mod join;
pub mod promote;
pub mod service;

use std::sync::Arc;

use tokio::sync::watch;

/// Why a member stops for good, in words that say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Farewell {
    /// It was removed, or its place is somebody else's.
    Removed(String),
    /// Its node id lives on another disk.
    OtherDisk(String),
    /// Its state is another one than that of the majority.
    Differs(String),
}

impl Farewell {
    fn why(&self) -> &str {
        match self {
            Self::Removed(why) | Self::OtherDisk(why) | Self::Differs(why) => why,
        }
    }
}

/// Told once, when this member cannot go on in its cluster: it stops for good. Clones share it.
#[derive(Debug, Clone)]
pub struct Dismissal(Arc<watch::Sender<Option<Farewell>>>);

impl Default for Dismissal {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Dismissal {
    /// This member is out. The first reason stays.
    pub fn dismiss(&self, farewell: Farewell) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                tracing::error!(why = farewell.why(), "this member cannot go on, stopping");
                *reason = Some(farewell);
            }
            first
        });
    }

    /// Why it is out, if it is.
    pub fn reason(&self) -> Option<Farewell> {
        self.0.borrow().clone()
    }

    /// Waits until it is out.
    pub async fn dismissed(&self) {
        let mut told = self.0.subscribe();
        // An error is never: the sender is ours.
        let _ = told.wait_for(Option::is_some).await;
    }
}
