//! `apply` and `diff`: files become a plan, and the plan is committed or only shown.

use parallax_common::limits::{APPLY_SOURCE_CHARS_MAX, APPLY_WHOLE_RESOURCES_MAX};
use parallax_proto::v1;
use parallax_proto::v1::config_service_client::ConfigServiceClient;
use tonic::{Code, Response, Status};

use crate::args::{Apply, Diff, What};
use crate::client::Client;
use crate::config::diagnostic::{self, Diagnostic};
use crate::config::{self, Input, Loaded, Sources};
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::plan::{ChangeView, PlanView};

/// What broken rules mean for an `apply` and a `diff`.
const NOTHING: &str = ", nothing was applied";

/// Makes the mesh hold what files say.
///
/// # Errors
/// [`Failure::Invalid`] when rules are broken, here or at the coordinator.
pub async fn apply(
    args: &Apply,
    loaded: &Loaded,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    run(&args.what, loaded, args.dry_run, client, shell).await?;
    Ok(Exit::Ok)
}

/// Shows what `apply` would change.
///
/// # Errors
/// As [`apply`].
pub async fn diff(
    args: &Diff,
    loaded: &Loaded,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let changes = run(&args.what, loaded, true, client, shell).await?;
    Ok(if changes { Exit::Changes } else { Exit::Ok })
}

async fn run(
    what: &What,
    loaded: &Loaded,
    dry_run: bool,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<bool, Failure> {
    namespace(loaded, client)?;
    let header = v1::ApplyHeader {
        request_id: Some(client.request_id()),
        namespace: client.namespace(),
        set: what.set.clone().unwrap_or_default(),
        dry_run,
        prune: what.prune,
        yes_delete: what.yes_delete.unwrap_or_default(),
        take: what.take,
        source: source_of(&loaded.sources),
    };
    let resources = loaded.resources.iter().map(|located| located.resource.clone()).collect();
    let answer = send(header, resources, client).await?;
    if !answer.violations.is_empty() {
        let mut diagnostics: Vec<Diagnostic> =
            answer.violations.iter().map(|violation| loaded.diagnose(violation)).collect();
        diagnostic::sort(&mut diagnostics);
        let conflict = answer.violations.iter().all(|violation| violation.rule == "conflict");
        show(&diagnostics, &loaded.sources, shell)?;
        return Err(Failure::Invalid { count: diagnostics.len(), after: NOTHING, conflict });
    }
    let result = answer.result.ok_or(Failure::Incomplete("result"))?;
    let mut advice: Vec<Diagnostic> =
        answer.advice.iter().map(|advice| loaded.advise(advice)).collect();
    diagnostic::sort(&mut advice);
    for advice in &advice {
        let text = advice.render(&loaded.sources, shell.color_err);
        shell.say(text.trim_end());
    }
    let unchanged = v1::ChangeKind::Unchanged;
    let view = PlanView {
        committed: result.committed,
        revision: result.revision,
        created: result.created,
        changed: result.changed,
        unchanged: result.unchanged,
        deleted: result.deleted,
        changes: answer
            .changes
            .iter()
            .filter(|change| change.kind() != unchanged)
            .map(ChangeView::new)
            .collect(),
        advice: advice.iter().map(|advice| advice.view(&loaded.sources)).collect(),
    };
    shell.data(&view, |shell| view.text(shell))?;
    Ok(view.changes_anything())
}

/// Reads the files; what is wrong with them is printed with its places.
///
/// # Errors
/// [`Failure::Invalid`] when rules are broken, or that a file cannot be read.
pub fn load(what: &What, shell: &mut Shell) -> Result<Loaded, Failure> {
    read(&what.files, shell).map_err(|failure| match failure {
        Failure::Invalid { count, conflict, .. } => {
            Failure::Invalid { count, after: NOTHING, conflict }
        }
        other => other,
    })
}

/// The same of these files.
pub(super) fn read(files: &[String], shell: &mut Shell) -> Result<Loaded, Failure> {
    let inputs: Vec<Input> = files.iter().map(|file| file.as_str().into()).collect();
    let sources = Sources::read(&inputs, &mut shell.input)?;
    understood(sources, shell)
}

/// What texts say; which rules they break is printed.
pub(super) fn understood(sources: Sources, shell: &mut Shell) -> Result<Loaded, Failure> {
    match config::load(sources) {
        Ok(loaded) => Ok(loaded),
        Err(invalid) => {
            show(&invalid.diagnostics, &invalid.sources, shell)?;
            Err(Failure::Invalid { count: invalid.diagnostics.len(), after: "", conflict: false })
        }
    }
}

/// Broken rules: talk for people, data for programs.
pub(super) fn show(
    diagnostics: &[Diagnostic],
    sources: &Sources,
    shell: &mut Shell,
) -> Result<(), Failure> {
    if shell.format == crate::args::Format::Table {
        for diagnostic in diagnostics {
            let text = diagnostic.render(sources, shell.color_err);
            shell.say(&text);
        }
        return Ok(());
    }
    #[derive(serde::Serialize)]
    struct Errors<'a> {
        errors: Vec<diagnostic::DiagnosticView<'a>>,
    }
    let errors = diagnostics.iter().map(|diagnostic| diagnostic.view(sources)).collect();
    shell.data(&Errors { errors }, |_| String::new())
}

/// The namespace of the files, of the flags, or `default`; a contradiction is an error, not a
/// choice.
fn namespace(loaded: &Loaded, client: &mut Client) -> Result<(), Failure> {
    let Some(of_files) = &loaded.namespace else { return Ok(()) };
    if let Some(asked) = client.asked_namespace()
        && asked != of_files
    {
        return Err(Failure::Usage(format!(
            "the files say `namespace: {of_files}`, but namespace `{asked}` is asked for"
        )));
    }
    client.set_namespace(of_files.clone());
    Ok(())
}

fn source_of(sources: &Sources) -> String {
    let names = sources.names().join(", ");
    match names.char_indices().nth(APPLY_SOURCE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &names[..end]),
        None => names,
    }
}

/// Everything that a coordinator says about an apply.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) changes: Vec<v1::Change>,
    pub(super) violations: Vec<v1::Violation>,
    advice: Vec<v1::Advice>,
    pub(super) result: Option<v1::ApplyResult>,
}

/// Sends resources, as one message when they are few.
///
/// # Errors
/// What the coordinator says; broken rules are in the answer.
pub(super) async fn send(
    header: v1::ApplyHeader,
    resources: Vec<v1::Resource>,
    client: &mut Client,
) -> Result<Answer, Failure> {
    let request_id = header.request_id.clone();
    let whole = v1::ApplyWholeRequest { header: Some(header), resources };
    let whole = std::sync::Arc::new(whole);
    client
        .call(request_id.as_ref(), |channel| {
            let whole = std::sync::Arc::clone(&whole);
            async move {
                let mut client = ConfigServiceClient::new(channel);
                if fits_one_message(&whole) {
                    match client.apply_whole(v1::ApplyWholeRequest::clone(&whole)).await {
                        // A member of an older build; nothing was written.
                        Err(status) if status.code() == Code::Unimplemented => {}
                        answer => return answer.map(|answer| answer.map(Answer::from)),
                    }
                }
                let count = whole.resources.len();
                let header =
                    v1::apply_request::Part::Header(whole.header.clone().unwrap_or_default());
                let resources = (0..count)
                    .map(move |at| v1::apply_request::Part::Resource(whole.resources[at].clone()));
                let parts = std::iter::once(header)
                    .chain(resources)
                    .map(|part| v1::ApplyRequest { part: Some(part) });
                let answer = client.apply(tokio_stream::iter(parts)).await?;
                collect(answer.into_inner()).await.map(Response::new)
            }
        })
        .await
}

/// Whether this apply goes the shorter way.
fn fits_one_message(whole: &v1::ApplyWholeRequest) -> bool {
    let prunes = whole.header.as_ref().is_some_and(|header| header.prune);
    !prunes && whole.resources.len() <= APPLY_WHOLE_RESOURCES_MAX
}

impl From<v1::ApplyWholeResponse> for Answer {
    fn from(whole: v1::ApplyWholeResponse) -> Self {
        let v1::ApplyWholeResponse { changes, violations, advice, result } = whole;
        Self { changes, violations, advice, result }
    }
}

/// A stream that breaks off says nothing that counts: the whole apply is asked again.
async fn collect(mut stream: tonic::Streaming<v1::ApplyResponse>) -> Result<Answer, Status> {
    use v1::apply_response::Part;
    let mut answer = Answer::default();
    while let Some(response) = stream.message().await? {
        match response.part {
            Some(Part::Change(change)) => answer.changes.push(change),
            Some(Part::Violation(violation)) => answer.violations.push(violation),
            Some(Part::Advice(advice)) => answer.advice.push(advice),
            Some(Part::Result(result)) => answer.result = Some(result),
            None => {}
        }
    }
    Ok(answer)
}
