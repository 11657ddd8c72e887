//! Outages of the target: real ones, regional ones, and such as flap.

use crate::target::{REGIONS, Sight};
use crate::world::{Event, World};

impl World {
    /// An outage begins or ends, and the next change is planned.
    pub(crate) fn flip_outage(&mut self) {
        if self.is_calm() {
            return;
        }
        let flaps = self.mesh.mischief.one_in(4);
        let lasts_us = match flaps {
            true => self.mesh.mischief.between(200_000, 900_000),
            false => self.mesh.mischief.between(1_500_000, 7_000_000),
        };
        if self.mesh.target.is_well() {
            let (regions, sight) = self.next_outage();
            self.counters.add(if regions.len() == REGIONS { "outage" } else { "regional failure" });
            self.trace.note(self.now_us, &[regions.len() as u64], || {
                format!("the target is {sight:?} from {regions:?}")
            });
            self.mesh.target.show(regions, sight);
        } else {
            self.trace.note(self.now_us, &[0], || "the target is well".to_owned());
            self.mesh.target.show(0..REGIONS, Sight::Well);
        }
        self.after(lasts_us, Event::Outage);
    }

    /// The target is well, for good.
    pub(crate) fn end_outages(&mut self) {
        self.mesh.target.show(0..REGIONS, Sight::Well);
    }
}
