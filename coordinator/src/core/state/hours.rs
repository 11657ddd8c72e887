//! Hours of routes as the leader found them. Once neither a route nor an open incident goes by them they
//! are forgotten, by the next entry that changes settings. What they say is decided by `core/hours.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use parallax_common::limits::{
    HOURS_DUE_MAX, HOURS_KEPT_MAX, HOURS_MAX, HOURS_PER_NAMESPACE_MAX, HOURS_SPANS_MAX,
};
use parallax_common::rule;
use parallax_common::time::UtcTime;
use parallax_proto::convert::hours::{of_routes, shown};
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Refusal, Stamp, State, accepted, refusal};
use crate::core::hours::{self, When};

impl State {
    /// What `now` is to these hours.
    pub fn when(&self, hours: &v1::Hours, now: UtcTime) -> When {
        hours::when(self.hours.get(&shown(hours)).map(AsRef::as_ref), hours.outside, now)
    }

    /// Writes down when hours are. Those that nobody names any more are left.
    pub(super) fn schedule_hours(
        &mut self,
        stamp: &Stamp,
        command: store::ScheduleHours,
        rows: &mut Rows,
    ) -> Answer {
        let named = hours::named(self);
        for row in command.rows.into_iter().take(HOURS_DUE_MAX) {
            let Some(name) = row.hours.as_ref().map(shown) else { continue };
            if named.contains_key(&name) && row.spans.len() <= HOURS_SPANS_MAX {
                rows.put(rows::hours_key(&name), &row);
                self.hours.insert(name, Arc::new(row));
            }
        }
        accepted(stamp, [])
    }

    /// Forgets hours that no route names any more, and no step of an open incident.
    pub(super) fn forget_hours(&mut self, rows: &mut Rows) {
        if self.hours.is_empty() {
            return;
        }
        let of_routes = self.settings.values().flat_map(|it| of_routes(&it.routes));
        let named: BTreeSet<String> = of_routes.map(shown).collect();
        let open = self.open.iter().filter_map(|uid| self.incidents.get(uid));
        let of_open = open.flat_map(|incident| &incident.routed).flat_map(|routed| {
            let of_steps = routed.steps.iter().filter_map(|step| step.hours.as_ref());
            routed.hours.iter().chain(of_steps)
        });
        let kept: BTreeSet<String> =
            of_open.map(shown).filter(|name| !named.contains(name)).collect();
        let kept: BTreeSet<String> = kept.into_iter().take(HOURS_KEPT_MAX).collect();
        let is_gone = |name: &&String| !named.contains(*name) && !kept.contains(*name);
        let gone: Vec<String> = self.hours.keys().filter(is_gone).cloned().collect();
        for name in gone {
            self.hours.remove(&name);
            rows.remove(rows::hours_key(&name));
        }
    }

    /// Whether there is room for the hours that the routes name.
    pub(super) fn verify_hours(&self, namespace: &str) -> Result<(), Refusal> {
        let theirs = self.settings.get(namespace);
        let theirs = theirs.iter().flat_map(|settings| of_routes(&settings.routes));
        let theirs: BTreeSet<String> = theirs.map(shown).collect();
        if theirs.is_empty() {
            return Ok(());
        }
        let all = self.settings.values().flat_map(|settings| of_routes(&settings.routes));
        let all: BTreeSet<String> = all.map(shown).collect();
        if theirs.len() <= HOURS_PER_NAMESPACE_MAX && all.len() <= HOURS_MAX {
            return Ok(());
        }
        let message = format!(
            "the routes of namespace {namespace} would name {} different hours and all together {}; at \
             most {HOURS_PER_NAMESPACE_MAX} and {HOURS_MAX} are kept",
            theirs.len(),
            all.len()
        );
        Err(refusal(rule::HOURS_TOO_MANY, message, ["settings".to_owned()]))
    }
}
