//! Apply: resources come in, the plan goes out, and unless it is a dry run it is committed.

use parallax_common::limits::{
    APPLY_AT_ONCE_RESOURCES_MAX, APPLY_READ_WITHIN, APPLY_WHOLE_RESOURCES_MAX,
};
use parallax_common::name::Uid;
use parallax_common::rule;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::apply_request::Part as RequestPart;
use parallax_proto::v1::apply_response::Part;
use parallax_proto::v1::config_service_server::ConfigService;
use parallax_proto::{convert, store, v1};
use parallax_runtime::transport::{Identity, peer_of};
use prost::Message as _;
use tokio_stream::Iter;
use tonic::{Request, Response, Status, Streaming};

use super::budget::Share;
use super::{Api, Need, asked, bounded, namespace_of, origin, with_rule, write_status};
use crate::core::configure::{self, Draft};
use crate::core::state::Asked;
use crate::propose::fits_one_entry;

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
        let identity = peer_of(&request)?.identity.clone();
        let mut stream = request.into_inner();
        let header = match stream.message().await?.and_then(|first| first.part) {
            Some(RequestPart::Header(header)) => header,
            _ => return Err(Status::invalid_argument("the first message must be the header")),
        };
        let admitted = admitted(&identity, &header)?;
        // The share is held until the apply is over, and given back when its caller goes away.
        let mut share = self.inner.reading.share();
        let reading = read(&mut stream, &mut share);
        let resources =
            tokio::time::timeout(APPLY_READ_WITHIN, reading).await.map_err(|_| {
                Status::deadline_exceeded(format!(
                    "the apply was not read within {APPLY_READ_WITHIN:?}"
                ))
            })??;
        let parts = self.carry_out(admitted, header, resources).await?;
        let parts: Vec<_> =
            parts.into_iter().map(|part| Ok(v1::ApplyResponse { part: Some(part) })).collect();
        Ok(Response::new(tokio_stream::iter(parts)))
    }

    async fn apply_whole(
        &self,
        request: Request<v1::ApplyWholeRequest>,
    ) -> Result<Response<v1::ApplyWholeResponse>, Status> {
        let identity = &peer_of(&request)?.identity.clone();
        let v1::ApplyWholeRequest { header, resources } = request.into_inner();
        let Some(header) = header else {
            return Err(Status::invalid_argument("header: an apply needs one"));
        };
        let admitted = admitted(identity, &header)?;
        if header.prune {
            let message = "header.prune: a prune is streamed, its answer may be long";
            return Err(Status::invalid_argument(message));
        }
        if resources.len() > APPLY_WHOLE_RESOURCES_MAX {
            let message = format!(
                "resources: {} in one message, the most is {APPLY_WHOLE_RESOURCES_MAX}; a stream \
                 takes more",
                resources.len()
            );
            let status = Status::invalid_argument(message);
            return Err(with_rule(status, rule::TOO_MANY_RESOURCES.id));
        }
        let mut share = self.inner.reading.share();
        resources.iter().try_for_each(|resource| share.take(resource))?;
        let parts = self.carry_out(admitted, header, resources).await?;
        Ok(Response::new(gathered(parts)))
    }
}

/// Who applies, when their certificate allows it and the header is in order.
fn admitted(identity: &Identity, header: &v1::ApplyHeader) -> Result<Admitted, Status> {
    let need = if header.dry_run { Need::View } else { Need::Edit };
    let namespace = namespace_of(&header.namespace);
    let actor = Api::actor(identity, namespace, need)?;
    bounded("header.source", &header.source)?;
    let hides_secrets = Api::actor(identity, namespace, Need::Edit).is_err();
    Ok(Admitted { actor, hides_secrets })
}

/// Who applies, and whether they may only look.
struct Admitted {
    actor: v1::Actor,
    hides_secrets: bool,
}

/// The parts of an answer in one message.
fn gathered(parts: Vec<Part>) -> v1::ApplyWholeResponse {
    let mut answer = v1::ApplyWholeResponse::default();
    for part in parts {
        match part {
            Part::Change(change) => answer.changes.push(change),
            Part::Violation(violation) => answer.violations.push(violation),
            Part::Advice(advice) => answer.advice.push(advice),
            Part::Result(result) => answer.result = Some(result),
        }
    }
    answer
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
        Admitted { actor, hides_secrets }: Admitted,
        mut header: v1::ApplyHeader,
        resources: Vec<v1::Resource>,
    ) -> Result<Vec<Part>, Status> {
        let namespace = namespace_of(&header.namespace).to_owned();
        let set = if header.set.is_empty() { DEFAULT_SET.to_owned() } else { header.set.clone() };
        let request = configure::Request {
            namespace: namespace.clone(),
            set: set.clone(),
            prune: header.prune,
            yes_delete: header.yes_delete,
            take: header.take,
            hides_secrets,
        };
        let asked = if header.dry_run {
            None
        } else {
            let id = header.request_id.take();
            let content =
                std::iter::once(header.encode_to_vec()).chain(resources.iter().map(encoded));
            Some(asked(actor, id, "apply", content)?)
        };
        let source = if header.source.is_empty() { "api".to_owned() } else { header.source };
        if let Some(asked) = &asked
            && let Some(parts) = self.at_once(asked, &source, &request, &resources).await?
        {
            return Ok(parts);
        }
        let state = self.read(false).await?;
        // A client that tries again after a lost answer gets the first one, not a new plan.
        // After the read: what was in flight before it is applied by now.
        if let Some(asked) = &asked
            && let Some(parts) = self.answered(asked, resources.len())?
        {
            return Ok(parts);
        }
        let mut draft = match configure::draft(&state, &request, resources, new_uid) {
            Ok(draft) => draft,
            Err(broken) => {
                return Ok(broken.iter().map(convert::violation).map(Part::Violation).collect());
            }
        };
        let mut result = result_of(&draft, state.applied);
        if let Some(asked) = asked.filter(|_| !draft.writes.is_empty()) {
            let writes = std::mem::take(&mut draft.writes);
            let target = (namespace, set);
            let written = self.write_config(asked, source, target, header.take, writes).await?;
            result.revision = written.0;
        }
        result.committed = !header.dry_run;
        Ok(answer(draft, result))
    }

    /// What a leader does with a small apply, without a quorum's word that it still leads before it
    /// plans: it has applied all that was acknowledged under it and before. None: ask first, then plan.
    ///
    /// When another one has taken over meanwhile, what is proposed here is never committed, and must be
    /// planned anew: what the plan found as it should be may be so no more. For the same reason nothing
    /// is answered here but what was committed.
    async fn at_once(
        &self,
        asked: &Asked,
        source: &str,
        request: &configure::Request,
        resources: &[v1::Resource],
    ) -> Result<Option<Vec<Part>>, Status> {
        let proposer = &self.inner.proposer;
        let leads = proposer.node().leadership().borrow().leader;
        // A prune goes by what is in the set, which nobody compares when it is applied.
        if !leads || request.prune || resources.len() > APPLY_AT_ONCE_RESOURCES_MAX {
            return Ok(None);
        }
        if let Some(parts) = self.answered(asked, resources.len())? {
            return Ok(Some(parts));
        }
        let state = self.inner.view.load();
        let draft = configure::draft(&state, request, resources.to_vec(), new_uid);
        let Ok(mut draft) = draft else { return Ok(None) };
        if draft.writes.is_empty() || !fits_one_entry(&draft.writes) {
            return Ok(None);
        }
        let command = store::CommitConfig {
            namespace: request.namespace.clone(),
            set: request.set.clone(),
            take: request.take,
            changes: std::mem::take(&mut draft.writes),
            ..store::CommitConfig::default()
        };
        let origin = origin(asked.clone(), source.to_owned());
        match proposer.write_here(origin, Command::CommitConfig(command)).await {
            Ok((revision, _)) => {
                let mut result = result_of(&draft, revision);
                result.committed = true;
                Ok(Some(answer(draft, result)))
            }
            // What became of it is known once the next leader is asked.
            Err(error) if error.is_for_lack_of_office() => Ok(None),
            Err(error) => Err(write_status(error)),
        }
    }

    /// The answer to an apply of so many resources that was committed before.
    fn answered(&self, asked: &Asked, resources: usize) -> Result<Option<Vec<Part>>, Status> {
        let Some((revision, counts)) = self.replay(asked)? else { return Ok(None) };
        Ok(Some(vec![Part::Result(replayed(revision, counts, resources))]))
    }
}

fn new_uid() -> Uid {
    Uid::from_bytes(*uuid::Uuid::now_v7().as_bytes())
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

/// The result of an apply of so many resources that was committed before: the same as it was then.
fn replayed(revision: u64, counts: store::CommitCounts, resources: usize) -> v1::ApplyResult {
    let store::CommitCounts { created, changed, deleted } = counts;
    // The others were as wanted: the request's digest says that these are the same resources.
    let given = u32::try_from(resources).unwrap_or(u32::MAX);
    let unchanged = given.saturating_sub(created.saturating_add(changed));
    v1::ApplyResult { revision, created, changed, unchanged, deleted, committed: true }
}

fn answer(draft: Draft, result: v1::ApplyResult) -> Vec<Part> {
    let changes = draft.changes.into_iter().map(Part::Change);
    let advice: Vec<_> = draft.advice.iter().map(convert::advice).map(Part::Advice).collect();
    changes.chain(advice).chain([Part::Result(result)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::state::{Answer as Told, Asked, State};

    fn regions(titles: &[(&str, &str)]) -> Vec<v1::Resource> {
        let region = |(name, title): &(&str, &str)| {
            let meta = v1::Meta { name: (*name).to_owned(), ..v1::Meta::default() };
            let region = v1::Region { meta: Some(meta), title: (*title).to_owned() };
            v1::Resource { kind: Some(v1::resource::Kind::Region(region)) }
        };
        titles.iter().map(region).collect()
    }

    #[test]
    fn an_apply_that_is_asked_again_is_told_the_counts_of_the_first_time() {
        let request = configure::Request {
            namespace: "default".to_owned(),
            set: "default".to_owned(),
            prune: true,
            yes_delete: 1,
            take: false,
            hides_secrets: false,
        };
        let mut state = State::default();
        let first = regions(&[("r1", ""), ("r2", ""), ("r3", "")]);
        // One goes, one stays, one is titled, two are new.
        let second = regions(&[("r2", ""), ("r3", "third"), ("r4", ""), ("r5", "")]);
        for (number, given, expected) in [(1, first, (3, 0, 0, 0)), (2, second, (2, 1, 1, 1))] {
            let many = given.len();
            let draft = configure::draft(&state, &request, given, || Uid::from_bytes([7; 16]));
            let draft = draft.unwrap();
            let id = v1::RequestId { client: "c".to_owned(), number, lowest_open: 1 };
            let commit = store::CommitConfig {
                namespace: "default".to_owned(),
                set: "default".to_owned(),
                changes: draft.writes.clone(),
                ..store::CommitConfig::default()
            };
            let entry = store::Entry {
                request_id: Some(id.clone()),
                command: Some(store::entry::Command::CommitConfig(commit)),
                ..store::Entry::default()
            };
            state.apply(number, &entry.encode_to_vec());
            let told = v1::ApplyResult { committed: true, ..result_of(&draft, number) };
            let v1::ApplyResult { created, changed, unchanged, deleted, .. } = told;
            assert_eq!((created, changed, unchanged, deleted), expected);
            let asked = Asked { id, ..Asked::default() };
            let Ok(Some(Told::Accepted { revision, counts, .. })) = state.replayed(&asked) else {
                panic!("apply {number} is not remembered");
            };
            assert_eq!(replayed(revision, counts, many), told);
        }
    }
}
