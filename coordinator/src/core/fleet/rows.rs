//! Rows of the fleet: how a change is worded, and what apply makes of it.
//!
//! [`apply`] runs inside the replicated state machine: total, deterministic, with every input in
//! its arguments. What is not a change any more by then is a no-op.

use std::sync::Arc;

use parallax_common::limits::LOSSES_BEFORE_PROBATION;
use parallax_common::name::Incarnation;
use parallax_common::time::UtcTime;
use parallax_proto::store::{FleetChange, Franchise, ProbeRow};
use parallax_proto::v1::{self, ProbeState};

use super::Session;
use crate::core::plan::{Fleet, LiveProbe, ProbeRef};
use crate::core::stamp;

/// The row after `change`, stamped `utc` by its proposer. `None`: the probe has no row (any more).
///
/// A change to `lost` or out of the records that names another life than the row's is too late,
/// and changes nothing; out of the records also one that names another state. Whether a probe may vote, and
/// whether it is drained, outlives its lives: a new one looks from where the old one looked.
pub fn apply(row: Option<ProbeRow>, change: &FleetChange, utc: UtcTime) -> Option<ProbeRow> {
    let late = row.as_ref().is_some_and(|row| row.incarnation != change.incarnation);
    if change.forget {
        return row.filter(|row| late || row.state != change.state);
    }
    if let Some(franchise) = &change.franchise {
        return row.map(|mut row| {
            let since = row.exclusion.and_then(|known| known.since);
            let exclusion = |exclusion: v1::Exclusion| {
                let since = since.or_else(|| Some(stamp::timestamp(utc)));
                v1::Exclusion { since, ..exclusion }
            };
            row.exclusion = franchise.exclusion.map(exclusion);
            row
        });
    }
    let Some(mut row) = row else {
        // A loss of somebody unknown is no row.
        return (change.state() != ProbeState::Lost).then(|| ProbeRow {
            region: change.region.clone(),
            probe: change.probe.clone(),
            incarnation: change.incarnation,
            state: change.state,
            since_utc_ns: utc.as_ns(),
            address: change.address.clone(),
            build: change.build.clone(),
            kinds: change.kinds.clone(),
            losses_utc_ns: vec![],
            exclusion: None,
            drain: None,
        });
    };
    if late && change.state() == ProbeState::Lost {
        return Some(row);
    }
    if row.state != change.state || late {
        row.since_utc_ns = utc.as_ns();
    }
    if change.state() == ProbeState::Lost && row.state() != ProbeState::Lost {
        row.losses_utc_ns.push(utc.as_ns());
        let old = row.losses_utc_ns.len().saturating_sub(LOSSES_BEFORE_PROBATION);
        row.losses_utc_ns.drain(..old);
    }
    row.incarnation = change.incarnation;
    row.state = change.state;
    row.address.clone_from(&change.address);
    row.build.clone_from(&change.build);
    row.kinds.clone_from(&change.kinds);
    Some(row)
}

/// Whether the plan sees a difference, and the generation must move.
pub fn moves_plan(before: Option<&ProbeRow>, after: Option<&ProbeRow>) -> bool {
    let seen = |row: &ProbeRow| is_given_work(row).then(|| (row.incarnation, row.kinds.clone()));
    before.and_then(seen) != after.and_then(seen)
}

/// Whether the plan may give it work: its row is `live`, and nobody has drained it.
pub fn is_given_work(row: &ProbeRow) -> bool {
    row.state() == ProbeState::Live && row.drain.is_none()
}

/// The probes that the plan may give work to.
pub fn live<'a>(rows: impl IntoIterator<Item = &'a ProbeRow>) -> Fleet {
    Fleet::new(rows.into_iter().filter(|row| is_given_work(row)).map(|row| LiveProbe {
        probe: ProbeRef {
            region: Arc::from(row.region.as_str()),
            probe: Arc::from(row.probe.as_str()),
            incarnation: Incarnation(row.incarnation),
        },
        kinds: row.kinds.clone(),
    }))
}

/// What a session says of its probe, as a change to this state.
pub(super) fn announce(session: &Session, state: ProbeState) -> FleetChange {
    FleetChange {
        region: session.key.region.clone(),
        probe: session.key.probe.clone(),
        incarnation: session.incarnation.0,
        state: state.into(),
        address: session.address.clone(),
        build: session.build.clone(),
        kinds: session.kinds.clone(),
        forget: false,
        franchise: None,
    }
}

/// The same probe in another state.
pub(super) fn turn(row: &ProbeRow, state: ProbeState) -> FleetChange {
    FleetChange {
        region: row.region.clone(),
        probe: row.probe.clone(),
        incarnation: row.incarnation,
        state: state.into(),
        address: row.address.clone(),
        build: row.build.clone(),
        kinds: row.kinds.clone(),
        forget: false,
        franchise: None,
    }
}

/// The same probe, excluded from voting or not.
pub(super) fn franchise(row: &ProbeRow, exclusion: Option<v1::Exclusion>) -> FleetChange {
    FleetChange { franchise: Some(Franchise { exclusion }), ..turn(row, row.state()) }
}

/// The same probe, out of the records.
pub(super) fn forget(row: &ProbeRow) -> FleetChange {
    FleetChange { forget: true, ..turn(row, row.state()) }
}

/// Whether the row must be written anew for this session. The address alone is not worth an
/// entry: its port is another one after every reconnect.
pub(super) fn differs(session: &Session, row: &ProbeRow) -> bool {
    session.incarnation.0 != row.incarnation
        || session.kinds != row.kinds
        || session.build != row.build
}
