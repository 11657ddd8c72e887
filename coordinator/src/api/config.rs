//! Apply: resources come in, the plan goes out, and unless it is a dry run it is committed.

use parallax_common::limits::APPLY_READ_WITHIN;
use parallax_common::name::Uid;
use parallax_proto::v1::apply_request::Part as RequestPart;
use parallax_proto::v1::apply_response::Part;
use parallax_proto::v1::config_service_server::ConfigService;
use parallax_proto::{convert, v1};
use prost::Message as _;
use tokio_stream::Iter;
use tonic::{Request, Response, Status, Streaming};

use super::budget::Share;
use super::{Api, Need, asked, bounded, namespace_of};
use crate::core::configure::{self, Draft};

/// Set of resources that name none.
const DEFAULT_SET: &str = "default";

type Answer = Iter<std::vec::IntoIter<Result<v1::ApplyResponse, Status>>>;

#[tonic::async_trait]
impl ConfigService for Api {
    type ApplyStream = Answer;

    async fn apply(
        &self,
        request: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Answer>, Status> {
        // The header names the namespace; the stream is read only by those who may at least edit
        // somewhere, and a dry run needs no more than looking.
        let peer =
            Request::from_parts(request.metadata().clone(), request.extensions().clone(), ());
        let mut stream = request.into_inner();
        let header = match stream.message().await?.and_then(|first| first.part) {
            Some(RequestPart::Header(header)) => header,
            _ => return Err(Status::invalid_argument("the first message must be the header")),
        };
        let namespace = namespace_of(&header.namespace).to_owned();
        let need = if header.dry_run { Need::View } else { Need::Edit };
        let actor = self.caller(&peer, &namespace, need)?;
        bounded("header.source", &header.source)?;
        // The share is held until the apply is over, and given back when its caller goes away.
        let mut share = self.inner.reading.share();
        let reading = read(&mut stream, &mut share);
        let resources =
            tokio::time::timeout(APPLY_READ_WITHIN, reading).await.map_err(|_| {
                Status::deadline_exceeded(format!(
                    "the apply was not read within {APPLY_READ_WITHIN:?}"
                ))
            })??;
        let parts = self.carry_out(actor, header, namespace, resources).await?;
        let parts: Vec<_> =
            parts.into_iter().map(|part| Ok(v1::ApplyResponse { part: Some(part) })).collect();
        Ok(Response::new(tokio_stream::iter(parts)))
    }
}

async fn read(
    stream: &mut Streaming<v1::ApplyRequest>,
    share: &mut Share,
) -> Result<Vec<v1::Resource>, Status> {
    let mut resources = Vec::new();
    while let Some(message) = stream.message().await? {
        let Some(RequestPart::Resource(resource)) = message.part else {
            return Err(Status::invalid_argument("only resources follow the header"));
        };
        share.take(&resource)?;
        resources.push(resource);
    }
    Ok(resources)
}

impl Api {
    async fn carry_out(
        &self,
        actor: v1::Actor,
        mut header: v1::ApplyHeader,
        namespace: String,
        resources: Vec<v1::Resource>,
    ) -> Result<Vec<Part>, Status> {
        let set = if header.set.is_empty() { DEFAULT_SET.to_owned() } else { header.set.clone() };
        let request = configure::Request {
            namespace: namespace.clone(),
            set: set.clone(),
            prune: header.prune,
            yes_delete: header.yes_delete,
            take: header.take,
        };
        let state = self.read(false).await?;
        let asked = if header.dry_run {
            None
        } else {
            let id = header.request_id.take();
            let content =
                std::iter::once(header.encode_to_vec()).chain(resources.iter().map(encoded));
            let asked = asked(actor, id, "apply", content)?;
            // A client that tries again after a lost answer gets the first one, not a new plan.
            // After the read: what was in flight before it is applied by now.
            if let Some((revision, _)) = self.replay(&asked)? {
                let result = v1::ApplyResult { revision, committed: true, ..Default::default() };
                return Ok(vec![Part::Result(result)]);
            }
            Some(asked)
        };
        let uid = || Uid::from_bytes(*uuid::Uuid::now_v7().as_bytes());
        let draft = match configure::draft(&state, &request, resources, uid) {
            Ok(draft) => draft,
            Err(broken) => {
                return Ok(broken.iter().map(convert::violation).map(Part::Violation).collect());
            }
        };
        let mut result = result_of(&draft, state.applied);
        if let Some(asked) = asked.filter(|_| !draft.writes.is_empty()) {
            let source = if header.source.is_empty() { "api".to_owned() } else { header.source };
            let writes = draft.writes.clone();
            let target = (namespace, set);
            let written = self.write_config(asked, source, target, header.take, writes).await?;
            result.revision = written.0;
        }
        result.committed = !header.dry_run;
        Ok(answer(draft, result))
    }
}

fn encoded(resource: &v1::Resource) -> Vec<u8> {
    resource.encode_to_vec()
}

fn result_of(draft: &Draft, revision: u64) -> v1::ApplyResult {
    v1::ApplyResult {
        revision,
        created: draft.count(v1::ChangeKind::Created),
        changed: draft.count(v1::ChangeKind::Changed),
        unchanged: draft.count(v1::ChangeKind::Unchanged),
        deleted: draft.count(v1::ChangeKind::Deleted),
        committed: false,
    }
}

fn answer(draft: Draft, result: v1::ApplyResult) -> Vec<Part> {
    let changes = draft.changes.into_iter().map(Part::Change);
    let advice: Vec<_> = draft.advice.iter().map(convert::advice).map(Part::Advice).collect();
    changes.chain(advice).chain([Part::Result(result)]).collect()
}
