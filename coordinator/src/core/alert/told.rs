//! Whom the outage of a check, or a budget that burns faster, has told already: an alert that says the
//! same once more wakes nobody a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parallax_common::name::Uid;
use parallax_common::time::{MeshTime, UtcTime};
use parallax_proto::v1;

use super::burn;
use crate::core::stamp;
use crate::core::state::State;

/// Who was told of an incident, or is about to be, by itself or in a storm: not those for whom its pages
/// wait, were dropped or were given up, nor whose storm has told nobody of it.
fn heard_by<'i>(
    incident: &'i v1::Incident,
    storm: impl Fn(&str) -> Option<&'i v1::Incident>,
) -> impl Iterator<Item = &'i str> {
    let heard = move |page: &&v1::Delivery| match page.storm_uid.as_str() {
        "" => goes(page),
        // One that is not in memory any more has ended, and so has what it told of.
        uid => storm(uid).is_none_or(|storm| tells(storm, incident)),
    };
    incident.deliveries.iter().filter(heard).map(|page| page.contact_name.as_str())
}

/// Whether a page went out, or may have, or is about to.
fn goes(page: &v1::Delivery) -> bool {
    matches!(page.state(), v1::DeliveryState::Sent | v1::DeliveryState::Pending) || page.ambiguous
}

/// Whether a storm has told of an incident that it took in, or is about to: by a page that was written since
/// then, or by one that is still to be written.
fn tells(storm: &v1::Incident, incident: &v1::Incident) -> bool {
    let Some(of) = &storm.storm else { return false };
    let member = of.members.iter().find(|member| member.incident_uid == incident.uid);
    // Of those that it only counts it says nothing more: any page may be theirs.
    let since = member.map_or(0, |member| member.since);
    let waits = |page: &v1::Delivery| page.state() == v1::DeliveryState::Held;
    let mut since_then = storm.deliveries.iter().filter(|page| page.number >= since);
    of.pages < since || since_then.any(|page| goes(page) || waits(page))
}

/// Whether all of `contacts` were told of this incident, whose storms `storm` gives. Of nobody it says no.
pub fn all_heard<'i>(
    incident: &'i v1::Incident,
    storm: impl Fn(&str) -> Option<&'i v1::Incident>,
    contacts: &[String],
) -> bool {
    let heard: BTreeSet<&str> = heard_by(incident, storm).collect();
    !contacts.is_empty() && contacts.iter().all(|name| heard.contains(name.as_str()))
}

/// What goes before an alert, and whom it was written for: `down` incidents of checks, and those of their
/// budgets.
#[derive(Debug, Default)]
pub struct Told(BTreeMap<Uid, Vec<Outage>>);

#[derive(Debug)]
struct Outage {
    /// 0 for `down`, then the pairs of spans from the fastest on.
    rank: usize,
    /// `None`: it lasts.
    ended: Option<UtcTime>,
    incident: Arc<v1::Incident>,
}

impl Told {
    /// By the state, of incidents that last or ended after `since`.
    pub fn new(state: &State, since: UtcTime) -> Self {
        let mut told = Self::default();
        for incident in state.incidents.values() {
            let ended = incident.resolved_at.as_ref().map(|at| stamp::utc(Some(at)));
            let rank = match incident.kind() {
                v1::IncidentKind::Down => Some(0),
                v1::IncidentKind::BurnRate => burn::rank(&incident.alert),
                _ => None,
            };
            let rank = rank.filter(|_| ended.is_none_or(|ended| ended > since));
            if let (Some(rank), Ok(uid)) = (rank, incident.check_uid.parse()) {
                let outage = Outage { rank, ended, incident: Arc::clone(incident) };
                told.0.entry(uid).or_default().push(outage);
            }
        }
        told
    }

    /// Whether an outage of this check that lasted into what the alert `name` counts, which begins at
    /// `from`, is one that `has_told` all that the alert would. Mesh time reads like UTC.
    pub fn any(
        &self,
        check: &Uid,
        name: &str,
        from: MeshTime,
        has_told: impl Fn(&v1::Incident) -> bool,
    ) -> bool {
        // A pair of spans comes after `down` and those that are faster, any other alert after `down`.
        let before = burn::rank(name).unwrap_or(1);
        let from = UtcTime::from_ns(from.as_ns());
        let outages = self.0.get(check).into_iter().flatten();
        let mut outages = outages
            .filter(|outage| outage.rank < before && outage.ended.is_none_or(|ended| ended > from));
        outages.any(|outage| has_told(&outage.incident))
    }
}
