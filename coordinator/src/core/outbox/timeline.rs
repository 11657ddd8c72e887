//! An incident's timeline: events in order, bounded.

use parallax_common::limits::TIMELINE_MAX;
use parallax_common::time::UtcTime;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::v1::{Incident, TimelineEvent};

use crate::core::stamp;

/// Adds an event. When the timeline is full its oldest event but the first (the opening) goes and
/// is counted.
pub fn push(incident: &mut Incident, utc: UtcTime, event: Event) {
    if incident.timeline.len() >= TIMELINE_MAX {
        incident.timeline.remove(1);
        incident.timeline_dropped = incident.timeline_dropped.saturating_add(1);
    }
    let at = Some(stamp::timestamp(utc));
    incident.timeline.push(TimelineEvent { at, event: Some(event) });
}
