//! One watcher's stream: what it missed, what is new, and why it ends.

use std::time::Duration;

use parallax_common::limits::WATCH_LEADERLESS_MAX;
use parallax_proto::v1;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::Changes;
use super::cursor::{Asked, Cursor};

/// Where a watcher's changes go.
pub type Send = mpsc::Sender<Result<v1::WatchResponse, Status>>;

/// Sends everything after the revision asked for, then everything new, until the watcher is gone, or
/// this member is the wrong one to ask.
pub async fn feed(
    changes: Changes,
    asked: Asked,
    leader: watch::Receiver<Option<u64>>,
    send: Send,
) {
    let end = tokio::select! {
        end = follow(&changes, asked, &send) => end,
        () = leaderless(leader, WATCH_LEADERLESS_MAX) => Some(Status::unavailable(format!(
            "this member has known of no leader for {WATCH_LEADERLESS_MAX:?} and may miss changes; \
             ask another one to go on"
        ))),
        () = send.closed() => None,
    };
    if let Some(status) = end {
        // The watcher may be gone: nothing is left to tell it.
        let _ = send.send(Err(status)).await;
    }
}

/// Why the stream ends; none when nobody listens any more.
async fn follow(changes: &Changes, asked: Asked, send: &Send) -> Option<Status> {
    let mut cursor = Cursor::new(asked);
    let mut revision = changes.subscribe();
    loop {
        let now = *revision.borrow_and_update();
        loop {
            let next = match cursor.next(changes, now) {
                Ok(next) => next,
                Err(compacted) => {
                    return Some(Status::out_of_range(format!(
                        "compacted: changes before revision {} are gone; list again",
                        compacted.oldest
                    )));
                }
            };
            for change in next.responses {
                send.send(Ok(change)).await.ok()?;
            }
            if !next.more {
                break;
            }
        }
        revision.changed().await.ok()?;
    }
}

/// Ends when no leader was known for `within`: changes may be committed that never get here.
async fn leaderless(mut leader: watch::Receiver<Option<u64>>, within: Duration) {
    loop {
        if leader.wait_for(Option::is_none).await.is_err() {
            // The node stops, and all streams with it.
            return std::future::pending().await;
        }
        let known = leader.wait_for(Option::is_some);
        if tokio::time::timeout(within, known).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_common::limits::WATCH_PROGRESS_EVERY;
    use parallax_proto::v1::watch_response::Change;

    use super::*;
    use crate::watch::tests::{Member, region};

    const A: &str = "a";

    /// A watcher of namespace `a` that asked for everything after `from`.
    fn watcher(
        member: &Member,
        from: u64,
        tell_start: bool,
        leader: &watch::Sender<Option<u64>>,
    ) -> (mpsc::Receiver<Result<v1::WatchResponse, Status>>, impl Future<Output = ()> + use<>) {
        let (send, receive) = mpsc::channel(64);
        let asked = Asked { namespace: A.to_owned(), from, tell_start };
        (receive, feed(member.changes.clone(), asked, leader.subscribe(), send))
    }

    /// What a watcher is told until nothing more comes: (revision, whether it is only progress).
    async fn told(
        feed: std::pin::Pin<&mut impl Future<Output = ()>>,
        receive: &mut mpsc::Receiver<Result<v1::WatchResponse, Status>>,
    ) -> (Vec<(u64, bool)>, Option<Status>) {
        poll_once(feed).await;
        // The runtime lets a task that never waits go on for so long only.
        tokio::task::yield_now().await;
        let (mut told, mut end) = (Vec::new(), None);
        while let Ok(response) = receive.try_recv() {
            match response {
                Ok(change) => {
                    told.push((change.revision, matches!(change.change, Some(Change::Progress(_)))))
                }
                Err(status) => end = Some(status),
            }
        }
        (told, end)
    }

    #[tokio::test]
    async fn a_watcher_is_told_where_it_begins_and_resumes_without_a_gap() {
        let (leader, mut member) = (watch::Sender::new(Some(1)), Member::default());
        member.put(A, vec![region(A, "r1")]);
        member.publish();
        let (mut receive, feed) = watcher(&member, 2, true, &leader);
        tokio::pin!(feed);
        assert_eq!(told(feed.as_mut(), &mut receive).await.0, [(2, true)]);
        member.put(A, vec![region(A, "r2")]);
        member.put("b", vec![region("b", "r3")]);
        member.publish();
        assert_eq!(told(feed.as_mut(), &mut receive).await.0, [(4, false)]);
        // Another one goes on from what the first was told.
        let (mut receive, feed) = watcher(&member, 2, false, &leader);
        tokio::pin!(feed);
        assert_eq!(told(feed.as_mut(), &mut receive).await.0, [(4, false)]);
    }

    #[tokio::test]
    async fn whoever_missed_many_changes_is_told_all_of_them_a_part_at_a_time() {
        let (leader, mut member) = (watch::Sender::new(Some(1)), Member::default());
        for n in 0..600 {
            member.put(A, vec![region(A, &n.to_string())]);
        }
        member.publish();
        let (mut receive, feed) = watcher(&member, 0, false, &leader);
        tokio::pin!(feed);
        let mut said = Vec::new();
        loop {
            let (more, end) = told(feed.as_mut(), &mut receive).await;
            assert!(end.is_none());
            if more.is_empty() {
                break;
            }
            said.extend(more);
        }
        assert_eq!(said, (1..=600).map(|n| (2 * n, false)).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn whoever_hears_nothing_is_told_now_and_then_how_far_the_log_has_come() {
        let (leader, mut member) = (watch::Sender::new(Some(1)), Member::default());
        let (mut receive, feed) = watcher(&member, 0, false, &leader);
        tokio::pin!(feed);
        while member.index < WATCH_PROGRESS_EVERY {
            assert_eq!(told(feed.as_mut(), &mut receive).await.0, []);
            member.put("b", vec![region("b", "r1")]);
            member.publish();
        }
        let (said, end) = told(feed.as_mut(), &mut receive).await;
        assert_eq!((said, end.is_some()), (vec![(member.index, true)], false));
    }

    #[tokio::test]
    async fn what_was_not_seen_here_is_compacted_for_those_who_have_not_seen_it_either() {
        let (leader, mut member) = (watch::Sender::new(Some(1)), Member::default());
        member.put(A, vec![region(A, "r1")]);
        member.publish();
        let (mut receive, feed) = watcher(&member, 2, false, &leader);
        tokio::pin!(feed);
        assert_eq!(told(feed.as_mut(), &mut receive).await.0, []);
        // A snapshot of the leader takes the place of the state.
        member.changes.begin(50);
        let (said, end) = told(feed.as_mut(), &mut receive).await;
        assert!(said.is_empty());
        let end = end.unwrap();
        assert_eq!(end.code(), tonic::Code::OutOfRange);
        assert!(end.message().starts_with("compacted: "), "{end}");
        let (mut receive, feed) = watcher(&member, 50, false, &leader);
        tokio::pin!(feed);
        let (said, end) = told(feed.as_mut(), &mut receive).await;
        assert!(said.is_empty() && end.is_none(), "that is where it begins");
    }

    #[tokio::test]
    async fn a_member_without_a_leader_sends_its_watchers_away_but_not_over_an_election() {
        let leader = watch::Sender::new(Some(1));
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(600));
        let patient = leaderless(leader.subscribe(), long);
        let hasty = leaderless(leader.subscribe(), short);
        tokio::pin!(patient, hasty);
        for now in [Some(1), None, Some(2)] {
            leader.send_replace(now);
            assert!(poll_once(patient.as_mut()).await.is_none());
        }
        assert!(poll_once(hasty.as_mut()).await.is_none(), "somebody leads");
        leader.send_replace(None);
        tokio::time::timeout(Duration::from_secs(20), hasty).await.unwrap();
        assert!(poll_once(patient.as_mut()).await.is_none());
    }

    /// Polls once.
    async fn poll_once<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
