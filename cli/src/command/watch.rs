//! `watch`: changes as they are applied, one line each, also across a coordinator that goes away.

mod standing;

use parallax_common::time::UtcTime;
use parallax_proto::v1;
use parallax_proto::v1::status_service_client::StatusServiceClient;
use serde::Serialize;

use crate::args::Watch;
use crate::client::{Client, is_away, refusal};
use crate::exit::{Exit, Failure};
use crate::output::incident::{DeliveryView, IncidentView};
use crate::output::mark::Tone;
use crate::output::quiet::SilenceView;
use crate::output::{Shell, mark, table, time, word};

/// One change, with exactly one of the optional fields.
#[derive(Debug, Default, Serialize)]
struct WatchView {
    revision: u64,
    /// No change: how things stand after changes that were missed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    listed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<ResourceView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<VerdictView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<IncidentView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<ProbeChangeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silence: Option<SilenceView>,
}

#[derive(Debug, Serialize)]
struct ResourceView {
    change: String,
    kind: &'static str,
    name: String,
}

#[derive(Debug, Serialize)]
struct VerdictView {
    check: String,
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<String>,
    failing: u32,
    passing: u32,
    regions: u32,
}

#[derive(Debug, Serialize)]
struct ProbeChangeView {
    region: String,
    name: String,
    state: String,
}

impl WatchView {
    /// Nothing for a change that only says how far the log has come.
    fn new(change: &v1::WatchResponse, now: UtcTime) -> Option<Self> {
        use v1::watch_response::Change;
        let mut view = Self {
            revision: change.revision,
            at: time::instant(change.at.as_ref()),
            ..Self::default()
        };
        match change.change.as_ref()? {
            Change::Resource(it) => view.resource = Some(ResourceView::new(it)),
            Change::Verdict(it) => view.verdict = Some(VerdictView::new(it)),
            Change::Incident(it) => view.incident = Some(IncidentView::new(it, &[])),
            Change::Delivery(it) => view.delivery = Some(DeliveryView::new(it)),
            Change::Probe(it) => {
                view.probe = Some(ProbeChangeView {
                    region: it.region.clone(),
                    name: it.name.clone(),
                    state: word::probe(it.state),
                });
            }
            Change::Silence(it) => view.silence = Some(SilenceView::new(it, now)),
            Change::Progress(_) => return None,
        }
        Some(view)
    }

    fn line(&self, shell: &Shell) -> String {
        let text = if let Some(it) = &self.resource {
            format!("{} {} {}", it.kind, it.name, it.change)
        } else if let Some(it) = &self.verdict {
            it.text(shell)
        } else if let Some(it) = &self.incident {
            format!("incident {}: {} {}", it.uid, it.subject(), it.standing())
        } else if let Some(it) = &self.delivery {
            it.line()
        } else if let Some(it) = &self.silence {
            it.line()
        } else if let Some(it) = &self.probe {
            format!("probe {} ({}) {}", it.name, it.region, it.state)
        } else {
            String::new()
        };
        format!("{}  {:>8}  {text}\n", time::or_dash(self.at.clone()), self.revision)
    }
}

impl ResourceView {
    fn new(change: &v1::ResourceChanged) -> Self {
        use v1::resource::Kind;
        let named = |meta: Option<&v1::Meta>| meta.map(|it| it.name.clone()).unwrap_or_default();
        let kind = change.resource.as_ref().and_then(|resource| resource.kind.as_ref());
        let (kind, name) = match kind {
            Some(Kind::Check(it)) => ("check", named(it.meta.as_ref())),
            Some(Kind::Region(it)) => ("region", named(it.meta.as_ref())),
            Some(Kind::Contact(it)) => ("contact", named(it.meta.as_ref())),
            Some(Kind::Settings(it)) => ("settings", named(it.meta.as_ref())),
            Some(Kind::Event(it)) => ("event", named(it.meta.as_ref())),
            Some(Kind::Maintenance(it)) => ("maintenance", named(it.meta.as_ref())),
            None => ("resource", String::new()),
        };
        Self { change: word::change(change.kind), kind, name: table::clean(&name) }
    }
}

impl VerdictView {
    fn new(verdict: &v1::CheckVerdict) -> Self {
        let record = verdict.record.clone().unwrap_or_default();
        Self {
            check: verdict.check_name.clone(),
            verdict: word::verdict(verdict.verdict),
            degraded: word::said(word::degraded(verdict.degraded)),
            failing: record.failing,
            passing: record.passing,
            regions: record.rule.map(|rule| rule.regions).unwrap_or_default(),
        }
    }

    fn text(&self, shell: &Shell) -> String {
        let Self { verdict, failing, passing, regions, .. } = self;
        let mut what = format!("{} {verdict}", mark::of_verdict(verdict));
        if let Some(kind) = &self.degraded {
            what.push_str(&format!(" ({kind})"));
        }
        let what = Tone::of_verdict(verdict).paint(&what, shell.color_out);
        let check = table::clean(&self.check);
        format!("check {check} {what}: {failing} failing, {passing} passing of {regions} regions")
    }
}

/// Prints changes until interrupted. When a coordinator goes away the next is asked to go on from
/// the last revision that was seen whole, so that nothing is missed. When that is too old, how things
/// stand is printed, and the watch goes on from there.
///
/// # Errors
/// What a coordinator says; that none is there; that the revision asked for is too old to begin at.
pub async fn watch(args: &Watch, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let mut from = args.from.unwrap_or_default();
    let mut begun = false;
    loop {
        let ended = match open(from, client).await {
            Ok(mut stream) => {
                begun = true;
                follow(&mut stream, &mut from, shell).await?
            }
            Err(failure) => Err(failure),
        };
        match ended {
            Ok(()) => client.next_endpoint().await,
            Err(failure) if begun && is_compacted(&failure) => {
                let standing = standing::standing(client).await?;
                shell.say(&format!(
                    "changes after revision {from} are gone; this is how things stand at revision {}",
                    standing.revision
                ));
                for view in standing.views {
                    shell.item(&view, |shell| view.line(shell))?;
                }
                from = standing.revision;
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn open(
    from: u64,
    client: &mut Client,
) -> Result<tonic::Streaming<v1::WatchResponse>, Failure> {
    let request = v1::WatchRequest { from_revision: from, namespace: client.namespace() };
    let opened = client.call(None, |channel| {
        let request = request.clone();
        async move { StatusServiceClient::new(channel).watch(request).await }
    });
    opened.await
}

/// Prints what comes until the stream ends, and notes in `from` what was seen whole. The inner error
/// is what the coordinator said.
async fn follow(
    stream: &mut tonic::Streaming<v1::WatchResponse>,
    from: &mut u64,
    shell: &mut Shell,
) -> Result<Result<(), Failure>, Failure> {
    loop {
        match stream.message().await {
            Ok(Some(change)) => {
                if let Some(view) = WatchView::new(&change, (shell.now)()) {
                    shell.item(&view, |shell| view.line(shell))?;
                }
                // A revision of which only a part came is asked for again, whole.
                *from = (*from).max(change.revision - u64::from(change.more));
            }
            // The coordinator stops: the stream's end is a goodbye.
            Ok(None) => return Ok(Ok(())),
            Err(status) if is_away(&status) => return Ok(Ok(())),
            Err(status) => return Ok(Err(refusal(&status, None))),
        }
    }
}

/// Whether nobody remembers the changes asked for.
fn is_compacted(failure: &Failure) -> bool {
    matches!(failure, Failure::Answered { code: tonic::Code::OutOfRange, .. })
}
