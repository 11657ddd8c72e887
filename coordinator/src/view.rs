//! The published state: what every reader on this member sees, swapped whole after each applied
//! batch. A reader holds an `Arc` and no lock.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::core::state::State;

/// A handle to the newest published state.
#[derive(Debug, Clone, Default)]
pub struct View(Arc<ArcSwap<State>>);

impl View {
    /// The state as of the last applied batch.
    pub fn load(&self) -> Arc<State> {
        self.0.load_full()
    }

    /// Publishes a new state. Called by the machine only.
    pub(crate) fn publish(&self, state: State) {
        self.0.store(Arc::new(state));
    }
}
