//! Checks: list, get, delete, explain; what runs them on demand is in [`super::looks`].

use parallax_common::check::Check;
use parallax_proto::v1;
use parallax_proto::v1::check_service_server::CheckService;
use parallax_runtime::clock;
use tonic::{Request, Response, Status};

use super::page::{matches, page};
use super::{Api, Need, asked, namespace_of, not_found};
use crate::core::configure::deletion;
use crate::core::explain;
use crate::core::routing;
use crate::core::state::{Kind, State};

#[tonic::async_trait]
impl CheckService for Api {
    async fn list_checks(
        &self,
        request: Request<v1::ListChecksRequest>,
    ) -> Result<Response<v1::ListChecksResponse>, Status> {
        let options = request.get_ref().options.clone().unwrap_or_default();
        let namespace = namespace_of(&options.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(options.stale).await?;
        let checks = state
            .check_names
            .iter()
            .filter(|((ns, _), _)| ns == namespace)
            .filter_map(|((_, name), uid)| Some((name.clone(), state.checks.get(uid)?.clone())))
            .filter(|(_, entry)| matches(&options.labels, &entry.check.labels));
        let page = page(&options, checks)?;
        Ok(Response::new(v1::ListChecksResponse {
            checks: page.items.iter().map(|entry| entry.wire.clone()).collect(),
            next_page_token: page.next,
            revision: state.applied,
        }))
    }

    async fn get_check(
        &self,
        request: Request<v1::GetCheckRequest>,
    ) -> Result<Response<v1::GetCheckResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(get.stale).await?;
        let entry =
            state.check_named(namespace, &get.name).ok_or_else(|| not_found("check", &get.name))?;
        Ok(Response::new(v1::GetCheckResponse {
            check: Some(entry.wire.clone()),
            revision: state.applied,
        }))
    }

    async fn delete_check(
        &self,
        request: Request<v1::DeleteCheckRequest>,
    ) -> Result<Response<v1::DeleteCheckResponse>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        let actor = self.caller(&request, &namespace, Need::Edit)?;
        let delete = request.into_inner();
        let target = Target { kind: Kind::Check, namespace, name: delete.name, etag: delete.etag };
        let revision = self.delete(actor, delete.request_id, target, false).await?;
        Ok(Response::new(v1::DeleteCheckResponse { revision }))
    }

    async fn explain_check(
        &self,
        request: Request<v1::ExplainCheckRequest>,
    ) -> Result<Response<v1::ExplainCheckResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(get.stale).await?;
        let entry =
            state.check_named(namespace, &get.name).ok_or_else(|| not_found("check", &get.name))?;
        let mut now: Vec<String> = explain::insecure(&entry.check).into_iter().collect();
        // Contacts of its own need no explanation, and nobody is told of a canary.
        let told = entry.check.alert.is_empty() && entry.check.run.canary.is_none();
        if let Some(routes) = state.routes_of(namespace).filter(|_| told) {
            let sample = routing::sample(&entry.wire, v1::IncidentKind::Down);
            let utc = clock::utc().max(state.last_utc());
            let taking = routes.taking(&sample, |hours| state.when(hours, utc));
            now.extend(explain::would_tell(&get.name, &taking));
        }
        if entry.check.enabled {
            now.extend(explain::drained::sentences(
                &entry.check,
                state.probes.values().map(AsRef::as_ref),
            ));
            let live = self.inner.judge.ballots(vec![entry.check.uid]).await;
            now.extend(live.first().and_then(|ballots| explain::cannot_run(ballots)));
            if let (Some(canary), Some(ballots)) = (entry.check.run.canary, live.first()) {
                now.extend(explain::canary(canary, ballots));
            }
            let sights = self.inner.certificates.of(&entry.check.uid);
            now.extend(explain::certificate(&entry.check, &sights, self.inner.judge.mesh_now()));
        }
        Ok(Response::new(v1::ExplainCheckResponse {
            verdict: state.verdicts.get(&entry.check.uid).map(|it| it.as_ref().clone()),
            sentences: decided(&state, &entry.check),
            incident: state.open_incident_of(entry.check.uid).map(|it| it.as_ref().clone()),
            revision: state.applied,
            now,
        }))
    }

    type RunCheckStream = super::looks::Stream;

    async fn run_check(
        &self,
        request: Request<v1::RunCheckRequest>,
    ) -> Result<Response<Self::RunCheckStream>, Status> {
        self.look(request).await
    }
}

/// What was decided of a check and why, by what is replicated: it is given nothing else.
fn decided(state: &State, check: &Check) -> Vec<String> {
    let mut sentences = match state.verdicts.get(&check.uid) {
        _ if !check.enabled => {
            vec![format!("{} is paused: it is not run and has no verdict.", check.name)]
        }
        Some(verdict) => explain::verdict(verdict),
        None => vec![format!("{} has no verdict yet: too little was heard.", check.name)],
    };
    let incident = state.open_incident_of(check.uid);
    sentences.extend(incident.into_iter().flat_map(|it| explain::keeps_open(it)));
    sentences.extend(incident.and_then(|it| explain::held(it)));
    sentences.extend(state.open_alerts_of(check.uid).map(|alert| explain::alert(alert)));
    sentences
}

/// What a delete is for.
pub(super) struct Target {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// 0 takes whatever is there.
    pub etag: u64,
}

impl Api {
    /// Deletes one resource, compared with the etag the caller saw.
    pub(super) async fn delete(
        &self,
        actor: v1::Actor,
        request_id: Option<v1::RequestId>,
        target: Target,
        force: bool,
    ) -> Result<u64, Status> {
        let content = [
            target.kind.word().as_bytes().to_vec(),
            target.namespace.as_bytes().to_vec(),
            target.name.as_bytes().to_vec(),
            target.etag.to_be_bytes().to_vec(),
            vec![u8::from(force)],
        ];
        let asked = asked(actor, request_id, "delete", content)?;
        let state = self.read(false).await?;
        if let Some(answer) = self.replay(&asked)? {
            return Ok(answer.0);
        }
        let Target { kind, namespace, name, etag } = target;
        let Some(before) = state.resource(kind, &namespace, &name) else {
            return Err(not_found(kind.word(), &name));
        };
        let meta = parallax_proto::convert::resource::meta_of(&before);
        let set = meta.map(|meta| meta.set.clone()).unwrap_or_default();
        let mut change = deletion(kind, &namespace, &name, Some(&before), force);
        if etag > 0 {
            change.base_etag = etag;
        }
        let target = (namespace, set);
        let changes = vec![change];
        let written = self.write_config(asked, "api".to_owned(), target, false, changes).await?;
        Ok(written.0)
    }
}
