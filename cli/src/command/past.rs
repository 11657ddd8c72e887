//! `history` and `uptime`: what was measured, and what was decided.

use parallax_proto::convert::enums::phase_to;
use parallax_proto::convert::time::{duration_to, timestamp};
use parallax_proto::v1;
use parallax_proto::v1::history_service_client::HistoryServiceClient;

use crate::args::{By, History, List, Uptime};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::past::{HistoryView, UptimesView};

/// Counts and latency of one check.
///
/// # Errors
/// What the coordinator says.
pub async fn history(
    args: &History,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let now = (shell.now)();
    let request = v1::QueryHistoryRequest {
        namespace: client.namespace(),
        check: args.name.clone(),
        since: Some(timestamp(args.since.from(now))),
        until: Some(timestamp(args.until.map_or(now, |until| until.from(now)))),
        step: args.step.map(duration_to),
        quantiles: args.quantiles.clone(),
        by_region: args.by.contains(&By::Region),
        by_phase: args.by.contains(&By::Phase),
        by_step: args.by.contains(&By::Step),
        phases: args.phases.iter().map(|phase| phase_to(*phase)).collect(),
        stale: args.stale,
    };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { HistoryServiceClient::new(channel).query_history(request).await }
        })
        .await?;
    let view = HistoryView::new(&args.name, &answer, &args.quantiles);
    shell.data(&view, |shell| view.table(shell))?;
    shell.say(&view.note());
    Ok(Exit::Ok)
}

/// How long checks were up.
///
/// # Errors
/// What the coordinator says.
pub async fn uptime(
    args: &Uptime,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let now = (shell.now)();
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => {
            let list = List { select: args.select.clone(), stale: args.stale };
            let (checks, _) = super::check::all(&list, client).await?;
            let named = checks.into_iter().filter_map(|check| check.meta);
            named.map(|meta| meta.name).collect()
        }
    };
    let mut answers = Vec::new();
    for check in names {
        let request = v1::GetUptimeRequest {
            namespace: client.namespace(),
            check,
            since: Some(timestamp(args.since.from(now))),
            until: Some(timestamp(args.until.map_or(now, |until| until.from(now)))),
            stale: args.stale,
        };
        let answer = client
            .call(None, |channel| {
                let request = request.clone();
                async move { HistoryServiceClient::new(channel).get_uptime(request).await }
            })
            .await;
        match answer {
            Ok(answer) => answers.push(answer),
            // Deleted while the others were read.
            Err(failure) if args.all && failure.exit() == Exit::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    let view = UptimesView::new(&answers, args.all);
    shell.data(&view, |shell| view.text(shell))?;
    if answers.is_empty() {
        shell.say("no checks");
    }
    Ok(Exit::Ok)
}
