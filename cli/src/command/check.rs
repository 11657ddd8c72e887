//! `check list|get|delete|explain`.

use parallax_proto::v1;
use parallax_proto::v1::check_service_client::CheckServiceClient;

use super::list::{all_pages, keep, options};
use crate::args::{Delete, Get, List};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::check::{CheckView, ChecksView, ExplainView};

/// All checks.
///
/// # Errors
/// What the coordinator says.
pub async fn list(args: &List, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let (checks, revision) = all(args, client).await?;
    let view = ChecksView::new(&checks, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if checks.is_empty() {
        shell.say("no checks");
    }
    Ok(Exit::Ok)
}

/// The checks that fit, and the revision of the first answer.
pub(super) async fn all(
    args: &List,
    client: &mut Client,
) -> Result<(Vec<v1::Check>, u64), Failure> {
    let (mut checks, revision) = all_pages!(
        client,
        options(args, client),
        CheckServiceClient::check_service_client,
        list_checks,
        ListChecksRequest {},
        checks
    );
    keep(&mut checks, &args.select.all(), |check| check.meta.as_ref());
    Ok((checks, revision))
}

/// One check. A table has no room for one: it is shown as YAML unless JSON is asked for.
///
/// # Errors
/// What the coordinator says.
pub async fn get(args: &Get, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let request = v1::GetCheckRequest {
        namespace: client.namespace(),
        name: args.name.clone(),
        stale: args.stale,
    };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { CheckServiceClient::new(channel).get_check(request).await }
        })
        .await?;
    let check = answer.check.ok_or(Failure::Incomplete("check"))?;
    shell.document(&CheckView::new(&check))?;
    Ok(Exit::Ok)
}

/// Deletes a check.
///
/// # Errors
/// What the coordinator says.
pub async fn delete(
    args: &Delete,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request = v1::DeleteCheckRequest {
        request_id: Some(id.clone()),
        namespace: client.namespace(),
        name: args.name.clone(),
        etag: args.etag.unwrap_or_default(),
    };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { CheckServiceClient::new(channel).delete_check(request).await }
        })
        .await?;
    shell.say(&format!("check {} deleted at revision {}", args.name, answer.revision));
    Ok(Exit::Ok)
}

/// Why a check is what it is.
///
/// # Errors
/// What the coordinator says.
pub async fn explain(args: &Get, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let request = v1::ExplainCheckRequest {
        namespace: client.namespace(),
        name: args.name.clone(),
        stale: args.stale,
    };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { CheckServiceClient::new(channel).explain_check(request).await }
        })
        .await?;
    let view = ExplainView::new(&args.name, &answer);
    shell.data(&view, |shell| view.text(shell))?;
    Ok(Exit::Ok)
}
