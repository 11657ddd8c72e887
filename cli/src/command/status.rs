//! `status`: checks x regions.

use std::collections::BTreeSet;

use parallax_proto::v1;
use parallax_proto::v1::status_service_client::StatusServiceClient;

use super::list::options;
use crate::args::List;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::status::{StatusView, choose, join};

/// Every check as every region sees it.
///
/// # Errors
/// What the coordinator says.
pub async fn status(args: &List, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let mut options = options(args, client);
    let (mut rows, mut regions) = (Vec::new(), Vec::new());
    let mut first: Option<v1::GetStatusResponse> = None;
    loop {
        let request = v1::GetStatusRequest { options: Some(options.clone()) };
        let mut answer = client
            .call(None, |channel| {
                let request = request.clone();
                async move { StatusServiceClient::new(channel).get_status(request).await }
            })
            .await?;
        rows.append(&mut answer.rows);
        let next = std::mem::take(&mut answer.next_page_token);
        join(&mut regions, std::mem::take(&mut answer.regions));
        first.get_or_insert(answer);
        if next.is_empty() || next == options.page_token {
            break;
        }
        options.page_token = next;
    }
    let selector = args.select.all();
    if !selector.is_equalities() {
        // A row has no labels: the checks themselves say which are meant.
        let checks = super::check::all(args, client).await?.0;
        let meant: BTreeSet<&str> =
            checks.iter().filter_map(|check| Some(check.meta.as_ref()?.name.as_str())).collect();
        choose(&mut rows, &mut regions, &meant);
    }
    let answer = first.unwrap_or_default();
    // What was asked for stands all the same when nobody says who is drained.
    let probes = super::probe::every(args.stale, client).await.map(|(probes, _)| probes);
    let view = StatusView::new(&rows, &regions, answer.mesh.as_ref(), answer.revision)
        .beside(&probes.unwrap_or_default());
    shell.data(&view, |shell| view.text(shell))?;
    if rows.is_empty() {
        shell.say("no checks");
    }
    Ok(Exit::Ok)
}
