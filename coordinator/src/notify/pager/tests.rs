//! The loop with a ledger in memory and a sender that follows a script.

use std::collections::VecDeque;

use parallax_proto::v1::{DeliveryState, Meta, PageKind};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::*;
use crate::core::outbox::intents;
use crate::notify::Sending;

/// One incident, applied at once; the pager is told as a real member would tell it.
struct Book {
    incident: Mutex<Incident>,
    events: mpsc::Sender<Event>,
    /// Proposals to lose.
    lose: Mutex<u32>,
    /// Confirmations to refuse.
    doubts: Mutex<u32>,
    version: watch::Sender<u64>,
}

impl Ledger for Book {
    fn confirm(&self) -> Answer<'_> {
        let mut doubts = self.doubts.lock();
        let sure = *doubts == 0;
        *doubts = doubts.saturating_sub(1);
        Box::pin(async move { sure })
    }

    fn members(&self) -> Members {
        Members { leader: Some(1), voters: [1].into(), heard: [1].into() }
    }

    fn commit(&self, updates: Vec<PageUpdate>) -> Answer<'_> {
        Box::pin(async move {
            {
                let mut lose = self.lose.lock();
                if *lose > 0 {
                    *lose -= 1;
                    return false;
                }
            }
            let applied = {
                let mut incident = self.incident.lock();
                for update in &updates {
                    intents::update(&mut incident, update, clock::utc());
                }
                incident.clone()
            };
            self.version.send_modify(|version| *version += 1);
            self.events.send(Event::Applied(applied)).await.is_ok()
        })
    }

    fn incident(&self, _: &str) -> Option<Incident> {
        Some(self.incident.lock().clone())
    }

    fn contact(&self, uid: &str) -> Option<Contact> {
        Some(contact(uid))
    }

    fn breaker(&self, _: &str) -> Breaker {
        Breaker::default()
    }

    fn mesh(&self) -> String {
        "test".into()
    }
}

/// Answers with its script, then with 200.
struct Script {
    reports: Mutex<VecDeque<Report>>,
    sent: Mutex<Vec<(String, &'static str)>>,
}

impl Sender for Script {
    fn send(&self, attempt: Attempt) -> Sending<'_> {
        self.sent.lock().push((attempt.key, attempt.page.kind));
        let ok = Report::Answered { status: 200, retry_after: None, detail: String::new() };
        let report = self.reports.lock().pop_front().unwrap_or(ok);
        Box::pin(async move { report })
    }
}

fn contact(uid: &str) -> Contact {
    let meta = Meta { uid: uid.into(), name: uid.into(), ..Default::default() };
    Contact { meta: Some(meta), ..Default::default() }
}

fn opened() -> Incident {
    let mut incident = Incident { uid: "i".into(), ..Default::default() };
    intents::open(&mut incident, &[contact("a")], 1, clock::utc());
    incident
}

struct Rig {
    book: Arc<Book>,
    script: Arc<Script>,
    supervisor: Supervisor,
    version: watch::Receiver<u64>,
}

impl Rig {
    fn start(reports: Vec<Report>, lose: u32, doubts: u32) -> Self {
        let (events, inbox) = mpsc::channel(64);
        let (sender, version) = watch::channel(0);
        let book = Arc::new(Book {
            incident: Mutex::new(opened()),
            events,
            lose: Mutex::new(lose),
            doubts: Mutex::new(doubts),
            version: sender,
        });
        let script =
            Arc::new(Script { reports: Mutex::new(reports.into()), sent: Mutex::default() });
        let supervisor = Supervisor::default();
        let (ledger, carrier) = (Arc::clone(&book), Arc::clone(&script));
        let own = supervisor.clone();
        supervisor.spawn(TaskKind::Vital("pager"), async move {
            run(1, ledger, carrier, inbox, own, 7).await;
        });
        Self { book, script, supervisor, version }
    }

    fn opened(&self) -> Incident {
        self.book.incident.lock().clone()
    }

    async fn tell(&self, event: Event) {
        self.book.events.send(event).await.unwrap();
    }

    /// Waits until every page is said.
    async fn settled(&mut self) {
        let book = Arc::clone(&self.book);
        let done = move || {
            let pending = DeliveryState::Pending;
            !book.incident.lock().deliveries.iter().any(|page| page.state() == pending)
        };
        let wait = self.version.wait_for(|_| done());
        let limit = Duration::from_secs(30);
        assert!(tokio::time::timeout(limit, wait).await.is_ok(), "{:?}", self.book.incident.lock());
    }

    async fn stop(self) -> Vec<(String, &'static str)> {
        self.supervisor.stop();
        assert!(self.supervisor.join(Duration::from_secs(5)).await);
        self.script.sent.lock().clone()
    }
}

#[tokio::test]
async fn a_page_goes_out_and_is_recorded_although_proposals_and_confirmations_fail() {
    let mut rig = Rig::start(vec![], 2, 2);
    rig.tell(Event::Leadership(true)).await;
    rig.tell(Event::Applied(rig.opened())).await;
    rig.settled().await;
    assert_eq!(rig.book.incident.lock().deliveries[0].attempts, 1);
    // Proposed three times, sent once.
    assert_eq!(rig.stop().await, [("i:a:opened".to_owned(), "opened")]);
}

#[tokio::test]
async fn a_refused_page_is_sent_again_under_its_key() {
    let no = Report::Answered { status: 500, retry_after: None, detail: "no".into() };
    let mut rig = Rig::start(vec![no], 0, 0);
    rig.tell(Event::Leadership(true)).await;
    rig.tell(Event::Applied(rig.opened())).await;
    rig.settled().await;
    let page = rig.book.incident.lock().deliveries[0].clone();
    assert_eq!((page.attempts, page.kind()), (2, PageKind::Opened));
    let again = ("i:a:opened".to_owned(), "opened");
    assert_eq!(rig.stop().await, [again.clone(), again]);
}

#[tokio::test]
async fn a_member_without_the_claim_sends_nothing_also_when_its_outbox_is_told_late() {
    // The claim in the state is another's; what the outbox is told is older.
    let rig = Rig::start(vec![], 0, 0);
    let told = rig.opened();
    rig.book.incident.lock().deliveries[0].claimed_by = 2;
    rig.tell(Event::Applied(told)).await;
    rig.tell(Event::Leadership(false)).await;
    // Both are taken by the time the channel has all its room again, and what the first could
    // have started has had its turns.
    while rig.book.events.capacity() < rig.book.events.max_capacity() {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.stop().await, []);
}

#[tokio::test]
async fn a_follower_that_holds_the_claim_sends() {
    let mut rig = Rig::start(vec![], 0, 1);
    rig.tell(Event::Leadership(false)).await;
    rig.tell(Event::Applied(rig.opened())).await;
    rig.settled().await;
    assert_eq!(rig.stop().await, [("i:a:opened".to_owned(), "opened")]);
}
