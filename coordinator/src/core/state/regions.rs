//! Incidents about a region as a whole: that nobody speaks for it or a probe is not believed, and, beside
//! that, that a probe is outdated. When either is so is decided in `core/fleet/region.rs`.

use std::sync::Arc;

use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::verdicts::Resolution;
use super::{Changed, Name, Stamp, State};
use crate::core::fleet::{Alarm, Trouble};

/// A region whose probe is not believed is not merely silent.
fn kind(trouble: Trouble, record: Option<&v1::DecisionRecord>) -> v1::IncidentKind {
    let mut ballots = record.into_iter().flat_map(|record| &record.ballots);
    match trouble {
        Trouble::Outdated => v1::IncidentKind::RegionOutdated,
        Trouble::Silent if ballots.any(|ballot| ballot.excluded && !ballot.stale) => {
            v1::IncidentKind::RegionExcluded
        }
        Trouble::Silent => v1::IncidentKind::RegionSilent,
    }
}

impl State {
    /// How one of a region's incidents stands.
    pub fn alarm(&self, region: &Name, trouble: Trouble) -> Alarm {
        let Some(row) = self.silent.get(region) else { return Alarm::default() };
        match trouble {
            Trouble::Silent => Alarm { incident: row.incident_uid.clone(), latched: row.latched },
            Trouble::Outdated => {
                let incident = row.outdated_incident_uid.clone();
                Alarm { incident, latched: row.outdated_latched }
            }
        }
    }

    pub(super) fn change_region(
        &mut self,
        stamp: &Stamp,
        change: store::VerdictChange,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let action = change.action();
        let trouble = if change.outdated { Trouble::Outdated } else { Trouble::Silent };
        let name = (change.namespace, change.region);
        changes.push(Changed::Region(name.clone()));
        let alarm = self.alarm(&name, trouble);
        match action {
            store::VerdictAction::Open
                if self.regions.contains_key(&name) && alarm == Alarm::default() =>
            {
                let incident = v1::Incident {
                    uid: change.incident_uid,
                    namespace: name.0.clone(),
                    kind: kind(trouble, change.record.as_ref()).into(),
                    region: name.1.clone(),
                    opened_at: Some(stamp.timestamp()),
                    opened_by: change.record,
                    opened_revision: stamp.index,
                    ..v1::Incident::default()
                };
                let alarm = Alarm { incident: incident.uid.clone(), latched: false };
                self.put_alarm(&name, trouble, alarm, rows);
                self.open_incident(stamp, incident, node_id, rows, changes);
            }
            store::VerdictAction::Resolve
                if !alarm.latched
                    && !alarm.incident.is_empty()
                    && alarm.incident == change.incident_uid =>
            {
                let resolution = Resolution::by(v1::ResolveCause::RegionBack, change.record);
                self.put_alarm(&name, trouble, Alarm::default(), rows);
                self.close_incident(stamp, &alarm.incident, resolution, node_id, rows, changes);
            }
            store::VerdictAction::Set if alarm.latched => {
                self.put_alarm(&name, trouble, Alarm::default(), rows);
            }
            _ => {}
        }
    }

    /// Writes down how one of a region's incidents stands; a region of which there is nothing to say has no
    /// row.
    pub(super) fn put_alarm(
        &mut self,
        name: &Name,
        trouble: Trouble,
        alarm: Alarm,
        rows: &mut Rows,
    ) {
        let key = rows::silent_key(&name.0, &name.1);
        let (namespace, region) = name.clone();
        let bare = store::RegionVerdictRow { namespace, region, ..Default::default() };
        let mut row = self.silent.get(name).map_or_else(|| bare.clone(), |row| (**row).clone());
        let Alarm { incident, latched } = alarm;
        match trouble {
            Trouble::Silent => (row.incident_uid, row.latched) = (incident, latched),
            Trouble::Outdated => {
                (row.outdated_incident_uid, row.outdated_latched) = (incident, latched);
            }
        }
        if row == bare {
            self.silent.remove(name);
            rows.remove(key);
            return;
        }
        rows.put(key, &row);
        self.silent.insert(name.clone(), Arc::new(row));
    }

    /// Closes the incidents of a region that is gone.
    pub(super) fn end_region(
        &mut self,
        stamp: &Stamp,
        name: &Name,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        for trouble in [Trouble::Silent, Trouble::Outdated] {
            let Alarm { incident, .. } = self.alarm(name, trouble);
            self.put_alarm(name, trouble, Alarm::default(), rows);
            let gone = v1::ResolveCause::RegionDeleted.into();
            self.close_incident(stamp, &incident, gone, 0, rows, changes);
        }
    }
}
