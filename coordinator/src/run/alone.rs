//! What speaks for this member alone, without the group: the watch for a leader, and the heartbeat.

use std::sync::Arc;

use parallax_common::limits::HEARTBEAT_CALL_EVERY;
use tokio::sync::mpsc;

use super::{PAGER_QUEUE, RunError, Starting, seed};
use crate::notify::carrier::Carrier;
use crate::notify::pager;
use crate::notify::reach::Roots;
use crate::propose::Proposer;
use crate::quorum::heartbeat::{self, Calls};
use crate::quorum::told::{self, Told};
use crate::quorum::{self, Quorum, Reach};
use crate::raft::fatal;

impl Starting<'_> {
    /// Starts what speaks for this member alone: the watch for a leader with its own pages, and the
    /// leader's heartbeat.
    pub(super) fn watch_quorum(
        &self,
        proposer: &Proposer,
        reach: Arc<dyn Reach>,
    ) -> Result<(Quorum, Arc<Calls>), RunError> {
        let Self { config, supervisor, node, view, .. } = self;
        let urls = [&config.quorum_webhook, &config.heartbeat_url].into_iter().flatten();
        let secrets = quorum::contact::secrets(urls.map(String::as_str));
        let guard = config.guard()?;
        let carrier = Carrier::new(Roots::Webpki, guard, secrets, (*supervisor).clone())?;
        let told = config.quorum_webhook.as_ref().map(|url| {
            let cluster = view.load().cluster.cluster_id.clone();
            let identity = told::Identity {
                mesh: config.mesh.clone(),
                cluster: if cluster.is_empty() { config.mesh.clone() } else { cluster },
                member: config.name.clone(),
            };
            let (told, changes) = Told::open(&config.data_dir, identity, url, fatal::abort());
            let (to_pager, events) = mpsc::channel(PAGER_QUEUE);
            let pager = pager::run(
                told::SENDER,
                Arc::clone(&told),
                Arc::new(carrier.clone()),
                events,
                (*supervisor).clone(),
                seed("quorum jitter"),
            );
            self.vital("quorum pager", pager);
            self.vital("quorum pager feed", changes.feed(to_pager));
            told
        });
        let since = told.as_ref().and_then(|told| told.open_since());
        let quorum = Quorum::new(config.name.clone(), reach, (*node).clone(), since);
        self.vital("quorum", quorum.clone().watch(told));
        let calls = Arc::new(Calls::default());
        if let Some(url) = &config.heartbeat_url {
            let (url, proposer) = (quorum::contact::template(url), proposer.clone());
            let leads = move || {
                let proposer = proposer.clone();
                async move { proposer.confirm_leadership().await }
            };
            let every = tokio::time::interval(HEARTBEAT_CALL_EVERY);
            let run = heartbeat::run(carrier, url, Arc::clone(&calls), every, leads);
            self.vital("heartbeat", run);
        }
        Ok((quorum, calls))
    }
}
