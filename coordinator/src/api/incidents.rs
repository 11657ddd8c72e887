//! Incidents: list, get, acknowledge, resolve.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::limits::{CLOSED_INCIDENTS_IN_MEMORY_MAX, INCIDENT_ROWS_READ_MAX};
use parallax_common::name::Uid;
use parallax_common::rule::NOT_FOUND;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::incident_service_server::IncidentService;
use parallax_proto::{store, v1};
use prost::Message as _;
use tonic::{Code, Request, Response, Status};

use super::closed::{self, Part};
use super::page::{matches, page, page_size};
use super::{Api, Need, asked, bounded, namespace_of, not_found, refusal_status, with_rule};
use crate::core::explain;
use crate::core::state::{State, is_of_alert, may_resolve, trouble_of};
use crate::store::rows::RowError;

/// Incidents as a list has them: how each attempt ended is for who asks about one.
fn listed(
    mut incidents: Vec<v1::Incident>,
    next_page_token: String,
    revision: u64,
) -> v1::ListIncidentsResponse {
    for page in incidents.iter_mut().flat_map(|incident| &mut incident.deliveries) {
        page.history.clear();
    }
    v1::ListIncidentsResponse { incidents, next_page_token, revision }
}

#[tonic::async_trait]
impl IncidentService for Api {
    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        let list = request.get_ref();
        let options = list.options.clone().unwrap_or_default();
        let namespace = namespace_of(&options.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(options.stale).await?;
        let fits = Filter {
            namespace: namespace.to_owned(),
            open_only: list.open_only,
            check: list.check.clone(),
            labels: options.labels.clone(),
        };
        let (mut incidents, mut next) = (Vec::new(), String::new());
        let size = page_size(&options)?;
        let after = match closed::position(&options.page_token)? {
            Some(after) => Some(after),
            None => {
                // Uids grow with time: newest first is the reverse order, and so is the token.
                let mut here: Vec<(String, Arc<v1::Incident>)> = state
                    .incidents
                    .values()
                    .filter(|incident| fits.pass(incident))
                    .map(|incident| (reversed(&incident.uid), Arc::clone(incident)))
                    .collect();
                here.sort_by(|a, b| a.0.cmp(&b.0));
                let page = page(&options, here.into_iter())?;
                incidents.extend(page.items.iter().map(|incident| incident.as_ref().clone()));
                next = page.next;
                // Those that left memory come last.
                let over = next.is_empty() && !list.open_only;
                over.then(|| closed::position(&closed::first())).transpose()?.flatten()
            }
        };
        if let Some(after) = after {
            let part =
                self.left(&state, after, size - incidents.len(), move |i| fits.pass(i)).await?;
            incidents.extend(part.incidents);
            next = part.next.unwrap_or_default();
        }
        Ok(Response::new(listed(incidents, next, state.applied)))
    }

    async fn get_incident(
        &self,
        request: Request<v1::GetIncidentRequest>,
    ) -> Result<Response<v1::GetIncidentResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(get.stale).await?;
        let incident = match find(&state, namespace, &get.uid) {
            Err(status) if status.code() == Code::NotFound => {
                self.find_closed(&state, namespace, &get.uid).await?
            }
            found => found?,
        };
        Ok(Response::new(v1::GetIncidentResponse {
            sentences: explain::incident(&incident),
            incident: Some(incident.as_ref().clone()),
            revision: state.applied,
        }))
    }

    async fn ack_incident(
        &self,
        request: Request<v1::AckIncidentRequest>,
    ) -> Result<Response<v1::AckIncidentResponse>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        let actor = self.caller(&request, &namespace, Need::Edit)?;
        let mut ack = request.into_inner();
        bounded("note", &ack.note)?;
        let id = ack.request_id.take();
        let asked = asked(actor.clone(), id, "ack_incident", [ack.encode_to_vec()])?;
        let uid = find(self.read(false).await?.as_ref(), &namespace, &ack.uid)?.uid.clone();
        let by = actor.name;
        let command =
            Command::AckIncident(store::AckIncident { uid: uid.clone(), by, note: ack.note });
        let (revision, _) = self.write(asked, command).await?;
        let incident = self.inner.view.load().incidents.get(&uid).map(|i| i.as_ref().clone());
        Ok(Response::new(v1::AckIncidentResponse { incident, revision }))
    }

    async fn resolve_incident(
        &self,
        request: Request<v1::ResolveIncidentRequest>,
    ) -> Result<Response<v1::ResolveIncidentResponse>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        let actor = self.caller(&request, &namespace, Need::Edit)?;
        let mut resolve = request.into_inner();
        bounded("note", &resolve.note)?;
        let id = resolve.request_id.take();
        let asked = asked(actor.clone(), id, "resolve_incident", [resolve.encode_to_vec()])?;
        let state = self.read(false).await?;
        let incident = find(&state, &namespace, &resolve.uid)?;
        // It is closed since: asked again after a lost answer that is no reason to refuse.
        if let Some((revision, _)) = self.replay(&asked)? {
            let incident = Some(incident.as_ref().clone());
            return Ok(Response::new(v1::ResolveIncidentResponse { incident, revision }));
        }
        let latch = self.still_fails(&incident).await;
        may_resolve(&incident, latch, resolve.force).map_err(|refusal| refusal_status(&refusal))?;
        let command = Command::ResolveIncident(store::ResolveIncident {
            uid: incident.uid.clone(),
            by: actor.name,
            note: resolve.note,
            latch,
            node_id: self.inner.node_id,
        });
        let (revision, _) = self.write(asked, command).await?;
        let state = self.inner.view.load();
        let incident = state.incidents.get(&incident.uid).map(|i| i.as_ref().clone());
        Ok(Response::new(v1::ResolveIncidentResponse { incident, revision }))
    }
}

impl Api {
    /// A closed incident that has left memory, by its whole uid.
    async fn find_closed(
        &self,
        state: &Arc<State>,
        namespace: &str,
        uid: &str,
    ) -> Result<Arc<v1::Incident>, Status> {
        let after = closed::position(&closed::first())?.unwrap_or_default();
        if uid.parse::<Uid>().is_err() {
            return Err(not_found("incident", uid));
        }
        let (uid, namespace) = (uid.to_owned(), namespace.to_owned());
        let wanted = uid.clone();
        let fits = move |i: &v1::Incident| i.uid == wanted && i.namespace == namespace;
        let part = self.left(state, after, 1, fits).await?;
        match (part.incidents.into_iter().next(), part.next) {
            (Some(incident), _) => Ok(Arc::new(incident)),
            (None, None) => Err(not_found("incident", &uid)),
            (None, Some(_)) => Err(with_rule(
                Status::not_found(format!(
                    "incident {uid} is not among the open ones and the newest closed ones; those \
                     closed before the last {} are only in the list",
                    CLOSED_INCIDENTS_IN_MEMORY_MAX + INCIDENT_ROWS_READ_MAX
                )),
                NOT_FOUND.id,
            )),
        }
    }

    /// Closed incidents that have left `state`, which was read before.
    async fn left(
        &self,
        state: &Arc<State>,
        after: Vec<u8>,
        most: usize,
        fits: impl Fn(&v1::Incident) -> bool + Send + 'static,
    ) -> Result<Part, Status> {
        let (node, state) = (self.inner.proposer.node().clone(), Arc::clone(state));
        blocking(move || {
            let stored = |applied| {
                // When the store has stopped, so will this process.
                let _ = node.wait_stored(applied);
                Ok(())
            };
            closed::left(node.rows().as_ref(), &state, stored, (after, most), fits)
        })
        .await
    }

    /// Whether the live ballots of the incident's check are still enough to be down, or its region
    /// is still silent or outdated.
    async fn still_fails(&self, incident: &v1::Incident) -> bool {
        if let Some(trouble) = trouble_of(incident) {
            let judge = &self.inner.judge;
            return judge.still_in_trouble(&incident.namespace, &incident.region, trouble).await;
        }
        // While it is open its condition was not seen to end.
        if is_of_alert(incident) {
            return true;
        }
        match incident.check_uid.parse::<Uid>() {
            Ok(uid) => self.inner.judge.still_failing(uid).await,
            Err(_) => false,
        }
    }
}

/// What a list asks for.
struct Filter {
    namespace: String,
    open_only: bool,
    check: String,
    labels: BTreeMap<String, String>,
}

impl Filter {
    fn pass(&self, incident: &v1::Incident) -> bool {
        incident.namespace == self.namespace
            && (!self.open_only || incident.resolved_at.is_none())
            && (self.check.is_empty() || incident.check_name == self.check)
            && matches(&self.labels, &incident.labels)
    }
}

/// Reads the store, not on a worker.
async fn blocking(
    read: impl FnOnce() -> Result<Part, RowError> + Send + 'static,
) -> Result<Part, Status> {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(part)) => Ok(part),
        Ok(Err(error)) => Err(Status::internal(format!("the store cannot be read: {error}"))),
        Err(_) => Err(Status::internal("the read was given up")),
    }
}

/// The incident with this uid, or with the only uid that starts so.
fn find(state: &State, namespace: &str, uid: &str) -> Result<Arc<v1::Incident>, Status> {
    let mut fitting = state
        .incidents
        .values()
        .filter(|incident| incident.namespace == namespace && incident.uid.starts_with(uid));
    match (uid.is_empty(), fitting.next(), fitting.next()) {
        (false, Some(incident), None) => Ok(Arc::clone(incident)),
        (false, Some(_), Some(_)) => Err(Status::invalid_argument(format!(
            "uid: more than one incident starts with {uid}; give more of it"
        ))),
        _ => Err(not_found("incident", uid)),
    }
}

/// A key that sorts the other way round.
pub(super) fn reversed(uid: &str) -> String {
    uid.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' => char::from(b'f' - (byte - b'0')),
            b'a'..=b'f' => char::from(b'f' - (byte - b'a') - 10),
            other => char::from(other),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_leaves_out_how_each_attempt_ended() {
        let page = v1::Delivery {
            attempts: 9,
            last_error: "HTTP status 503".into(),
            history: vec![v1::DeliveryAttempt::default(); 9],
            ..v1::Delivery::default()
        };
        let incident = v1::Incident { deliveries: vec![page; 2], ..v1::Incident::default() };
        let answer = listed(vec![incident.clone(), incident], "next".into(), 7);
        assert_eq!((answer.next_page_token.as_str(), answer.revision), ("next", 7));
        for page in answer.incidents.iter().flat_map(|incident| &incident.deliveries) {
            assert_eq!((page.attempts, page.last_error.as_str()), (9, "HTTP status 503"));
            assert!(page.history.is_empty());
        }
        assert_eq!(answer.incidents.len(), 2);
    }
}
