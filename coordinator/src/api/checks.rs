//! Checks: list, get, delete, explain; what runs them on demand is in [`super::looks`].

use parallax_proto::v1;
use parallax_proto::v1::check_service_server::CheckService;
use parallax_runtime::clock;
use tonic::{Request, Response, Status};

use super::page::{matches, page};
use super::{Api, Need, asked, namespace_of, not_found};
use crate::core::configure::deletion;
use crate::core::explain;
use crate::core::routing;
use crate::core::state::Kind;

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
        let verdict = state.verdicts.get(&entry.check.uid).map(|v| v.as_ref().clone());
        let incident = state.open_incident_of(entry.check.uid).map(|i| i.as_ref().clone());
        let mut sentences = if entry.check.enabled {
            match &verdict {
                Some(verdict) => explain::verdict(verdict),
                None => vec![format!("{} has no verdict yet: too little was heard.", get.name)],
            }
        } else {
            vec![format!("{} is paused: it is not run and has no verdict.", entry.check.name)]
        };
        sentences.extend(incident.iter().flat_map(explain::keeps_open));
        sentences.extend(incident.as_ref().and_then(explain::held));
        // Contacts of its own need no explanation, and nobody is told of a canary.
        let told = entry.check.alert.is_empty() && entry.check.run.canary.is_none();
        if let Some(routes) = state.routes_of(namespace).filter(|_| told) {
            let sample = routing::sample(&entry.wire);
            let utc = clock::utc().max(state.last_utc());
            let taking = routes.taking(&sample, |hours| state.when(hours, utc));
            sentences.extend(explain::would_tell(&get.name, &taking));
        }
        sentences.extend(state.open_alerts_of(entry.check.uid).map(|alert| explain::alert(alert)));
        if entry.check.enabled {
            let live = self.inner.judge.ballots(vec![entry.check.uid]).await;
            sentences.extend(live.first().and_then(|ballots| explain::cannot_run(ballots)));
            if let (Some(canary), Some(ballots)) = (entry.check.run.canary, live.first()) {
                sentences.extend(explain::canary(canary, ballots));
            }
            let sights = self.inner.certificates.of(&entry.check.uid);
            let now = self.inner.judge.mesh_now();
            sentences.extend(explain::certificate(&entry.check, &sights, now));
        }
        Ok(Response::new(v1::ExplainCheckResponse {
            verdict,
            sentences,
            incident,
            revision: state.applied,
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
