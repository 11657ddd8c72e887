//! Whether a probe is lost, on probation or back, and when a loss is a mass loss.

use parallax_common::limits::{
    HEARTBEAT, LOSSES_BEFORE_PROBATION, LOSSES_WITHIN, MASS_LOSS_WITHIN, PROBATION,
    PROBE_FORGOTTEN_AFTER, PROBE_LOST_AFTER, PROBE_REPLACED_AFTER, START_GRACE,
};
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::store::{FleetChange, ProbeRow};
use parallax_proto::v1::ProbeState;

use super::{Known, ProbeKey, Tracker, rows};

impl Tracker {
    /// The change a probe's row needs now, and when to look again without news.
    pub(super) fn wanted(
        &self,
        key: &ProbeKey,
        known: &Known,
        now: MeshTime,
        utc: UtcTime,
    ) -> (Option<FleetChange>, Option<MeshTime>) {
        let lost_at = self.lost_at(known);
        let Some(row) = &known.row else {
            let new = known.session().map(|s| rows::announce(s, ProbeState::Live));
            return (new, None);
        };
        let heard = !known.silent_for(PROBE_LOST_AFTER, now);
        let back = if on_probation(row, utc) { ProbeState::Probation } else { ProbeState::Live };
        if let Some(session) = known.session().filter(|s| rows::differs(s, row)) {
            let state = match row.state() {
                ProbeState::Lost => back,
                state => state,
            };
            return (Some(rows::announce(session, state)), None);
        }
        match row.state() {
            ProbeState::Lost if heard => (Some(rows::turn(row, back)), None),
            // It may yet say something, or the end of its session is news.
            ProbeState::Lost if known.session().is_some() => (None, None),
            ProbeState::Lost => match self.forgotten_at(key, row, now) {
                at if utc >= at && now >= self.grace_until => (Some(rows::forget(row)), None),
                at => (None, Some((now + at.since(utc)).max(self.grace_until))),
            },
            ProbeState::Probation if heard || now < lost_at => {
                match known.steady_since.map(|since| since + PROBATION) {
                    Some(end) if now >= end => (Some(rows::turn(row, ProbeState::Live)), None),
                    end => (None, Some(end.map_or(lost_at, |end| end.min(lost_at)))),
                }
            }
            ProbeState::Probation => (Some(rows::turn(row, ProbeState::Lost)), None),
            ProbeState::Live | ProbeState::Unspecified if now < lost_at => (None, Some(lost_at)),
            ProbeState::Live | ProbeState::Unspecified => match self.holds.get(&key.region) {
                // In force: what ends it is news, or a loss that becomes too old to count, or that
                // it is forgotten.
                Some(None) => {
                    let end = self.mass_loss(&key.region, now, missed_two(now)).flatten();
                    let forgotten_at = lost_at + PROBE_FORGOTTEN_AFTER;
                    match known.session() {
                        Some(_) => (None, end),
                        None if now >= forgotten_at => (Some(rows::forget(row)), None),
                        None => (None, Some(end.map_or(forgotten_at, |end| end.min(forgotten_at)))),
                    }
                }
                Some(Some(end)) if now < *end => (None, Some(*end)),
                Some(Some(_)) | None => (Some(rows::turn(row, ProbeState::Lost)), None),
            },
        }
    }

    /// When a lost probe goes out of the records if nothing is heard of it.
    fn forgotten_at(&self, key: &ProbeKey, row: &ProbeRow, now: MeshTime) -> UtcTime {
        let since = UtcTime::from_ns(row.since_utc_ns);
        // Those that speak for the region now, from when on both are what they are.
        let speakers = self.in_region(&key.region).filter_map(|(_, known)| {
            let row = known.row.as_ref().filter(|row| row.state() == ProbeState::Live)?;
            let speaks = !known.silent_for(PROBE_LOST_AFTER, now);
            speaks.then(|| since.max(UtcTime::from_ns(row.since_utc_ns)))
        });
        // One that is drained comes back after the work on its machine, and is drained still.
        let replaced = speakers.min().filter(|_| row.drain.is_none());
        let replaced = replaced.map(|both| both + PROBE_REPLACED_AFTER);
        let old = since + PROBE_FORGOTTEN_AFTER;
        replaced.map_or(old, |replaced| replaced.min(old))
    }

    /// When a probe is lost if nothing is heard of it.
    fn lost_at(&self, known: &Known) -> MeshTime {
        let sign = known.last_sign();
        sign.map_or(self.grace_until, |sign| self.grace_until.max(sign + PROBE_LOST_AFTER))
    }

    /// Begins a region's mass loss, or lets it end.
    pub(super) fn review_hold(&mut self, region: &str, now: MeshTime) {
        let due = self.in_region(region).any(|(_, known)| {
            known.state() == Some(ProbeState::Live) && now >= self.lost_at(known)
        });
        if due && self.mass_loss(region, now, missed_two(now)).is_some() {
            self.holds.insert(region.to_owned(), None);
        } else if let Some(hold) = self.holds.get_mut(region) {
            let end = *hold.get_or_insert(now + START_GRACE);
            if now >= end {
                self.holds.remove(region);
            }
        }
    }

    /// Whether over half of a region's probes are `silent`. If so: when a loss that counts now will
    /// be too old to count.
    pub(super) fn mass_loss(
        &self,
        region: &str,
        now: MeshTime,
        silent: impl Fn(&Known) -> bool,
    ) -> Option<Option<MeshTime>> {
        let (mut base, mut gone, mut until) = (0, 0, None::<MeshTime>);
        // What somebody has drained goes when it likes: that is no loss.
        let drained = |known: &Known| known.row.as_ref().is_some_and(|row| row.drain.is_some());
        for (_, known) in self.in_region(region).filter(|(_, known)| !drained(known)) {
            let recent = known.lost_at.map(|at| at + MASS_LOSS_WITHIN).filter(|&end| now < end);
            match known.state() {
                Some(ProbeState::Live) => {}
                Some(ProbeState::Lost) if recent.is_some() => {
                    until = until.into_iter().chain(recent).min();
                }
                _ => continue,
            }
            base += 1;
            gone += u32::from(silent(known));
        }
        (gone * 2 > base).then_some(until)
    }
}

/// Two heartbeats missed: as good as silent when others are.
fn missed_two(now: MeshTime) -> impl Fn(&Known) -> bool {
    move |known| known.silent_for(HEARTBEAT * 2, now)
}

/// Whether the last three losses all lie within 10 min of now.
fn on_probation(row: &ProbeRow, utc: UtcTime) -> bool {
    let counts = |&&at: &&i64| utc < UtcTime::from_ns(at) + LOSSES_WITHIN;
    row.losses_utc_ns.iter().filter(counts).count() >= LOSSES_BEFORE_PROBATION
}
