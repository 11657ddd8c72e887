//! What one member has told of its lost quorum: incidents of its own, in a file of its own.
//!
//! The pager sends them as it sends any other page, with retries, one key a page and the end after
//! the beginning; only the ledger is not the replicated state but this. What is written is written
//! before it is sent, so that a start in the middle of an episode does not tell of it again.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parallax_common::limits::LEADERLESS_KEPT;
use parallax_common::time::UtcTime;
use parallax_proto::store::{LeaderlessFile, PageUpdate};
use parallax_proto::v1::timeline_event::Event as Happened;
use parallax_proto::v1::{
    Contact, DeliveryState, Incident, IncidentKind, Opened, ResolveCause, Resolved,
};
use parallax_runtime::clock;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::mpsc;
use tracing::warn;

use super::contact;
use crate::core::outbox::breaker::Breaker;
use crate::core::outbox::{Members, intents, timeline};
use crate::core::stamp;
use crate::notify::pager::{Answer, Event, Ledger};
use crate::raft::fatal::Fatal;

/// The one sender there is.
pub const SENDER: u64 = 1;

/// Who this member is, for the pages.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name of the mesh.
    pub mesh: String,
    /// Id of the cluster, or the mesh's name before there is one.
    pub cluster: String,
    /// Name of this member.
    pub member: String,
}

/// The ledger of one member's own pages.
pub struct Told {
    identity: Identity,
    contact: Contact,
    path: PathBuf,
    fatal: Fatal,
    /// Held while something is changed, written and told, so that all three are in one order.
    order: Mutex<()>,
    /// What is told of now; short reads and writes only.
    file: Mutex<LeaderlessFile>,
    events: mpsc::UnboundedSender<Incident>,
    /// To itself: a commit goes to a thread of its own.
    this: Weak<Self>,
}

/// What the pager is to hear of what is told.
#[derive(Debug)]
pub struct Changes {
    /// What earlier lives have left with something to say, as it was when this one began. No page of
    /// this life is in it: of one in it an earlier life may have said more than it wrote down.
    left: Vec<Incident>,
    /// Every incident as it changes.
    changed: mpsc::UnboundedReceiver<Incident>,
}

impl Changes {
    /// Tells the pager: what was left, then every change.
    pub async fn feed(mut self, events: mpsc::Sender<Event>) {
        for incident in self.left {
            if events.send(Event::Loaded(incident)).await.is_err() {
                return;
            }
        }
        if events.send(Event::Leadership(true)).await.is_err() {
            return;
        }
        while let Some(incident) = self.changed.recv().await {
            if events.send(Event::Applied(incident)).await.is_err() {
                return;
            }
        }
    }
}

/// Why the file was not written.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error("cannot write {0}")]
    Write(String, #[source] io::Error),
    #[error("cannot sync {0}")]
    Sync(String, #[source] io::Error),
}

impl Told {
    /// What was told by earlier lives of the member whose data is in `dir`, and what the pager is to
    /// hear.
    pub fn open(dir: &Path, identity: Identity, url: &str, fatal: Fatal) -> (Arc<Self>, Changes) {
        let path = dir.join("leaderless.bin");
        let file = match std::fs::read(&path) {
            Ok(bytes) => LeaderlessFile::decode(bytes.as_slice()).unwrap_or_else(|error| {
                warn!(path = %path.display(), %error, "what was told cannot be read, beginning anew");
                LeaderlessFile::default()
            }),
            Err(_) => LeaderlessFile::default(),
        };
        let (events, changed) = mpsc::unbounded_channel();
        let left = file.incidents.iter().filter(|incident| waits(incident)).cloned().collect();
        let told = Arc::new_cyclic(|this| Self {
            identity,
            contact: contact::webhook(url),
            path,
            fatal,
            order: Mutex::new(()),
            file: Mutex::new(file),
            events,
            this: Weak::clone(this),
        });
        (told, Changes { left, changed })
    }

    /// When the episode began that is not over, if there is one.
    pub fn open_since(&self) -> Option<UtcTime> {
        let file = self.file.lock();
        let open = file.incidents.iter().find(|incident| incident.resolved_at.is_none());
        open.map(|incident| stamp::utc(incident.opened_at.as_ref()))
    }

    /// Incidents that have something to say still.
    pub fn pending(&self) -> Vec<Incident> {
        self.file.lock().incidents.iter().filter(|incident| waits(incident)).cloned().collect()
    }

    /// Begins an episode: since when there is no leader, and what is known, in a sentence.
    pub async fn tell(self: &Arc<Self>, since: UtcTime, detail: String) {
        let now = clock::utc();
        self.change(move |told, file| {
            // Greater than any before, also when the file was lost: a key must not come again.
            let seconds = u64::try_from(now.as_ns() / 1_000_000_000).unwrap_or(0);
            file.episode = file.episode.saturating_add(1).max(seconds);
            let Identity { cluster, member, .. } = &told.identity;
            let mut incident = Incident {
                uid: format!("{cluster}/{member}/{}", file.episode),
                kind: IncidentKind::Leaderless.into(),
                opened_at: Some(stamp::timestamp(since)),
                labels: [("member".to_owned(), member.clone())].into(),
                detail,
                ..Incident::default()
            };
            timeline::push(&mut incident, now, Happened::Opened(Opened {}));
            intents::open(&mut incident, [&told.contact], SENDER, now);
            file.incidents.retain(waits);
            while file.incidents.len() >= LEADERLESS_KEPT {
                let gone = file.incidents.remove(0);
                warn!(incident = gone.uid, "a page is given up: too many wait");
            }
            file.incidents.push(incident.clone());
            vec![incident]
        })
        .await;
    }

    /// Ends the episode that is open.
    pub async fn resolve(self: &Arc<Self>) {
        let now = clock::utc();
        self.change(move |_, file| {
            let open = file.incidents.iter_mut().filter(|incident| incident.resolved_at.is_none());
            open.map(|incident| {
                incident.resolved_at = Some(stamp::timestamp(now));
                incident.cause = ResolveCause::LeaderBack.into();
                let cause = incident.cause;
                let resolved = Resolved { cause, ..Resolved::default() };
                timeline::push(incident, now, Happened::Resolved(resolved));
                intents::resolve(incident, SENDER, now);
                incident.clone()
            })
            .collect()
        })
        .await;
    }

    /// Changes the file and tells what changed, in one order. A disk that takes no more costs what is
    /// remembered over a start, not the page; one that cannot sync ends the process.
    async fn change(
        self: &Arc<Self>,
        change: impl FnOnce(&Self, &mut LeaderlessFile) -> Vec<Incident> + Send + 'static,
    ) {
        let told = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _order = told.order.lock();
            let mut file = told.file.lock().clone();
            let changed = change(&told, &mut file);
            match save(&told.path, &file) {
                Ok(()) => {}
                Err(error @ SaveError::Write(..)) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%error, source, "what was told is not remembered over a start");
                }
                Err(error @ SaveError::Sync(..)) => (told.fatal)(&error.to_string()),
            }
            *told.file.lock() = file;
            for incident in changed {
                // Nobody listens any more: the process stops.
                let _ = told.events.send(incident);
            }
        });
        // An error means that the process stops.
        let _ = done.await;
    }
}

/// Whether something is still to be said or may still have to be.
fn waits(incident: &Incident) -> bool {
    incident.resolved_at.is_none()
        || incident.deliveries.iter().any(|page| page.state() == DeliveryState::Pending)
}

fn save(path: &Path, file: &LeaderlessFile) -> Result<(), SaveError> {
    let name = || path.display().to_string();
    let written = |source| SaveError::Write(name(), source);
    let synced = |source| SaveError::Sync(name(), source);
    let temporary = path.with_extension("tmp");
    let mut to = std::fs::File::create(&temporary).map_err(written)?;
    to.write_all(&file.encode_to_vec()).map_err(written)?;
    to.sync_all().map_err(synced)?;
    std::fs::rename(&temporary, path).map_err(written)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let directory = std::fs::File::open(directory).map_err(written)?;
    directory.sync_all().map_err(synced)
}

impl Ledger for Told {
    fn confirm(&self) -> Answer<'_> {
        // Nobody else has this file.
        Box::pin(async { true })
    }

    fn members(&self) -> Members {
        Members { leader: Some(SENDER), voters: [SENDER].into(), heard: [SENDER].into() }
    }

    fn commit(&self, updates: Vec<PageUpdate>) -> Answer<'_> {
        Box::pin(async move {
            let Some(told) = self.this.upgrade() else { return false };
            told.change(move |_, file| {
                let now = clock::utc();
                let mut changed = Vec::new();
                for update in &updates {
                    let uid = intents::incident_of(&update.idempotency_key);
                    let incident = file.incidents.iter_mut().find(|incident| incident.uid == uid);
                    let Some(incident) = incident else { continue };
                    intents::update(incident, update, now);
                    changed.push(incident.clone());
                }
                changed
            })
            .await;
            true
        })
    }

    fn incident(&self, uid: &str) -> Option<Incident> {
        let file = self.file.lock();
        file.incidents.iter().find(|incident| incident.uid == uid).cloned()
    }

    fn contact(&self, uid: &str) -> Option<Contact> {
        (uid == contact::UID).then(|| self.contact.clone())
    }

    /// Its one contact is in nobody's state: nothing is known of it.
    fn breaker(&self, _: &str) -> Breaker {
        Breaker::default()
    }

    fn mesh(&self) -> String {
        self.identity.mesh.clone()
    }
}
