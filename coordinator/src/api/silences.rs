//! Silences: add, list, get, expire.

use std::sync::Arc;

use parallax_common::name::Uid;
use parallax_common::rule;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::silence_service_server::SilenceService;
use parallax_proto::{store, v1};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::incidents::reversed;
use super::page::page;
use super::{Api, Need, asked, namespace_of, not_found, refusal_status, with_rule};
use crate::core::quiet::{Silence, draft};
use crate::core::state::State;

#[tonic::async_trait]
impl SilenceService for Api {
    async fn add_silence(
        &self,
        request: Request<v1::AddSilenceRequest>,
    ) -> Result<Response<v1::AddSilenceResponse>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        let actor = self.caller(&request, &namespace, Need::Edit)?;
        let mut add = request.into_inner();
        let id = add.request_id.take();
        let asked = asked(actor.clone(), id, "add_silence", [add.encode_to_vec()])?;
        let state = self.read(false).await?;
        let uid = Uid::from_bytes(*uuid::Uuid::now_v7().as_bytes());
        let command = draft::add(&state, &add, &namespace, &actor.name, uid)
            .map_err(|refusal| refusal_status(&refusal))?;
        // Asked again after a lost answer it is the silence of the first time.
        let (revision, subjects) = self.write(asked, Command::AddSilence(command)).await?;
        let state = self.inner.view.load();
        let silence = subjects.first().and_then(|uid| state.silences.get(uid));
        let silence = silence.map(|silence| silence.wire.clone());
        Ok(Response::new(v1::AddSilenceResponse { silence, revision }))
    }

    async fn list_silences(
        &self,
        request: Request<v1::ListSilencesRequest>,
    ) -> Result<Response<v1::ListSilencesResponse>, Status> {
        let list = request.get_ref();
        let options = list.options.clone().unwrap_or_default();
        let namespace = namespace_of(&options.namespace);
        self.caller(&request, namespace, Need::View)?;
        if !options.labels.is_empty() {
            let message = "options.labels: a silence has no labels, it has matchers";
            return Err(with_rule(Status::invalid_argument(message), rule::NOT_YET.id));
        }
        let state = self.read(options.stale).await?;
        // By the time of entries, as it is for apply.
        let now = state.last_utc();
        let mut silences: Vec<&Arc<Silence>> = state
            .silences_of(namespace)
            .filter(|silence| list.ended || now < silence.ends())
            .collect();
        // Uids grow with time: newest first is the reverse order, and so is the token.
        silences.reverse();
        let keyed = silences.iter().map(|silence| (reversed(&silence.wire.uid), silence));
        let page = page(&options, keyed)?;
        Ok(Response::new(v1::ListSilencesResponse {
            silences: page.items.iter().map(|silence| silence.wire.clone()).collect(),
            next_page_token: page.next,
            revision: state.applied,
        }))
    }

    async fn get_silence(
        &self,
        request: Request<v1::GetSilenceRequest>,
    ) -> Result<Response<v1::GetSilenceResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(get.stale).await?;
        let silence = Some(find(&state, namespace, &get.uid)?.wire.clone());
        Ok(Response::new(v1::GetSilenceResponse { silence, revision: state.applied }))
    }

    async fn expire_silence(
        &self,
        request: Request<v1::ExpireSilenceRequest>,
    ) -> Result<Response<v1::ExpireSilenceResponse>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        let actor = self.caller(&request, &namespace, Need::Edit)?;
        let mut expire = request.into_inner();
        let id = expire.request_id.take();
        let asked = asked(actor.clone(), id, "expire_silence", [expire.encode_to_vec()])?;
        let state = self.read(false).await?;
        draft::understood(&state).map_err(|refusal| refusal_status(&refusal))?;
        let uid = find(&state, &namespace, &expire.uid)?.wire.uid.clone();
        let (by, node_id) = (actor.name, self.inner.node_id);
        let command = store::ExpireSilence { uid: uid.clone(), by, node_id };
        let (revision, _) = self.write(asked, Command::ExpireSilence(command)).await?;
        let state = self.inner.view.load();
        let silence = state.silences.get(&uid).map(|silence| silence.wire.clone());
        Ok(Response::new(v1::ExpireSilenceResponse { silence, revision }))
    }
}

/// The silence with this uid, or with the only uid that starts so.
fn find<'a>(state: &'a State, namespace: &'a str, uid: &str) -> Result<&'a Arc<Silence>, Status> {
    let mut fitting =
        state.silences_of(namespace).filter(|silence| silence.wire.uid.starts_with(uid));
    match (uid.is_empty(), fitting.next(), fitting.next()) {
        (false, Some(silence), None) => Ok(silence),
        (false, Some(_), Some(_)) => Err(Status::invalid_argument(format!(
            "uid: more than one silence starts with {uid}; give more of it"
        ))),
        _ => Err(not_found("silence", uid)),
    }
}
