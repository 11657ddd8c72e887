//! Asks coordinators, round by round, and does what somebody at the keys orders.

use std::time::Duration;

use parallax_common::limits::{PAGE_SIZE_MAX, TOP_ANSWER_WITHIN, TOP_CHECKS_MAX, TOP_LATENCY_OVER};
use parallax_common::selector::Selector;
use parallax_proto::convert::time::timestamp;
use parallax_proto::v1;
use parallax_proto::v1::check_service_client::CheckServiceClient;
use parallax_proto::v1::cluster_service_client::ClusterServiceClient;
use parallax_proto::v1::history_service_client::HistoryServiceClient;
use parallax_proto::v1::incident_service_client::IncidentServiceClient;
use parallax_proto::v1::status_service_client::StatusServiceClient;
use parallax_runtime::clock;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::model::{Board, Detail, Event, Order};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::status::{choose, join};

/// Who asks, and for what.
pub struct Fetcher {
    client: Client,
    typed: Selector,
    /// Holds on, whatever is typed.
    always: Selector,
    looks_at: Option<String>,
    news: mpsc::Sender<Event>,
}

impl Fetcher {
    /// Asks with `client` for checks whose labels fit `always`, and tells `news`.
    pub fn new(client: Client, always: Selector, news: mpsc::Sender<Event>) -> Self {
        Self { client, typed: Selector::default(), always, looks_at: None, news }
    }

    /// Asks each `every`, and at once after an order, until nobody orders any more.
    pub async fn run(mut self, every: Duration, mut orders: mpsc::Receiver<Order>) {
        let mut rounds = tokio::time::interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    None => return,
                    Some(order) => {
                        self.obey(order).await;
                        rounds.reset_immediately();
                    }
                },
                _ = rounds.tick() => self.round().await,
            }
        }
    }

    async fn tell(&self, event: Event) {
        // Whoever listened has ended, and so does this.
        let _ = self.news.send(event).await;
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Look(name) => self.looks_at = name,
            Order::Choose(selector) => {
                if let Some(wrong) = selector.contradiction(&self.always) {
                    let text = format!("no check fits {wrong}: -l says another {}", wrong.key);
                    self.tell(Event::Told(text)).await;
                }
                self.typed = selector;
            }
            Order::Ack { uid, note } => {
                let acked = tokio::time::timeout(TOP_ANSWER_WITHIN, self.ack(uid, note)).await;
                let text = match acked {
                    Ok(Ok(text)) => text,
                    Ok(Err(failure)) => format!("not acknowledged: {failure}"),
                    Err(_) => {
                        self.client.next_endpoint().await;
                        "no answer: perhaps it is acknowledged, perhaps not".to_owned()
                    }
                };
                self.tell(Event::Told(text)).await;
            }
        }
    }

    async fn ack(&mut self, uid: String, note: String) -> Result<String, Failure> {
        let id = self.client.request_id();
        let request = v1::AckIncidentRequest {
            request_id: Some(id.clone()),
            namespace: self.client.namespace(),
            uid,
            note,
        };
        let answer = self
            .client
            .call(Some(&id), |channel| {
                let request = request.clone();
                async move { IncidentServiceClient::new(channel).ack_incident(request).await }
            })
            .await?;
        Ok(format!("acknowledged at revision {}", answer.revision))
    }

    /// One round: all checks and incidents, then what is nice to know.
    async fn round(&mut self) {
        match tokio::time::timeout(TOP_ANSWER_WITHIN, self.board()).await {
            Ok(Ok(board)) => self.tell(Event::Board(Box::new(board), clock::instant())).await,
            Ok(Err(failure)) => return self.tell(Event::Lost(failure.to_string())).await,
            Err(_) => {
                self.client.next_endpoint().await;
                let seconds = TOP_ANSWER_WITHIN.as_secs();
                return self.tell(Event::Lost(format!("nothing came within {seconds} s"))).await;
            }
        }
        if let Some(name) = self.looks_at.clone() {
            match tokio::time::timeout(TOP_ANSWER_WITHIN, self.detail(name)).await {
                Ok(Ok(detail)) => self.tell(Event::Detail(Box::new(detail))).await,
                Ok(Err(failure)) => self.tell(Event::Told(failure.to_string())).await,
                Err(_) => self.tell(Event::Told("no answer about this check".to_owned())).await,
            }
        }
        // It asks each member, of whom some may be away: what is not known stays as it was.
        let asked = self.client.call(None, |channel| async move {
            let request = v1::GetClusterRequest { stale: true };
            ClusterServiceClient::new(channel).get_cluster(request).await
        });
        if let Ok(Ok(cluster)) = tokio::time::timeout(TOP_ANSWER_WITHIN, asked).await {
            self.tell(Event::Cluster(cluster)).await;
        }
    }

    /// Without a leader's word: the view goes on while there is none, and says so.
    fn options(&self, selector: &Selector) -> v1::ListOptions {
        v1::ListOptions {
            page_size: PAGE_SIZE_MAX,
            page_token: String::new(),
            labels: selector.equalities(),
            namespace: self.client.namespace(),
            stale: true,
        }
    }

    async fn board(&mut self) -> Result<Board, Failure> {
        let selector = self.always.clone().and(&self.typed);
        let mut options = self.options(&selector);
        let mut board = Board::default();
        loop {
            let request = v1::GetStatusRequest { options: Some(options.clone()) };
            let answer = self
                .client
                .call(None, |channel| {
                    let request = request.clone();
                    async move { StatusServiceClient::new(channel).get_status(request).await }
                })
                .await?;
            board.rows.extend(answer.rows);
            join(&mut board.regions, answer.regions);
            board.mesh = answer.mesh;
            let next = answer.next_page_token;
            if next.is_empty() || next == options.page_token {
                break;
            }
            if board.rows.len() >= TOP_CHECKS_MAX {
                board.cut = true;
                break;
            }
            options.page_token = next;
        }
        if !selector.is_equalities() {
            let meant = self.meant(&selector).await?;
            let meant = meant.iter().map(String::as_str).collect();
            choose(&mut board.rows, &mut board.regions, &meant);
        }
        let request = v1::ListIncidentsRequest {
            options: Some(self.options(&Selector::default())),
            open_only: true,
            check: String::new(),
        };
        let answer = self
            .client
            .call(None, |channel| {
                let request = request.clone();
                async move { IncidentServiceClient::new(channel).list_incidents(request).await }
            })
            .await?;
        board.incidents = answer.incidents;
        board.incidents_cut = !answer.next_page_token.is_empty();
        Ok(board)
    }

    /// Names of the checks whose labels fit, of as many checks as are shown at most.
    async fn meant(&mut self, selector: &Selector) -> Result<Vec<String>, Failure> {
        let mut options = self.options(selector);
        let (mut names, mut seen) = (Vec::new(), 0);
        loop {
            let request = v1::ListChecksRequest { options: Some(options.clone()) };
            let answer = self
                .client
                .call(None, |channel| {
                    let request = request.clone();
                    async move { CheckServiceClient::new(channel).list_checks(request).await }
                })
                .await?;
            seen += answer.checks.len();
            let metas = answer.checks.into_iter().filter_map(|check| check.meta);
            names.extend(metas.filter(|it| selector.fits(&it.labels)).map(|meta| meta.name));
            let next = answer.next_page_token;
            if next.is_empty() || next == options.page_token || seen >= TOP_CHECKS_MAX {
                return Ok(names);
            }
            options.page_token = next;
        }
    }

    async fn detail(&mut self, check: String) -> Result<Detail, Failure> {
        let namespace = self.client.namespace();
        let request = v1::ExplainCheckRequest {
            namespace: namespace.clone(),
            name: check.clone(),
            stale: true,
        };
        let explained = self
            .client
            .call(None, |channel| {
                let request = request.clone();
                async move { CheckServiceClient::new(channel).explain_check(request).await }
            })
            .await?;
        let now = clock::utc();
        let request = v1::QueryHistoryRequest {
            namespace,
            check: check.clone(),
            since: Some(timestamp(now - TOP_LATENCY_OVER)),
            until: Some(timestamp(now)),
            quantiles: vec![50.0, 95.0, 99.0],
            by_phase: true,
            stale: true,
            ..v1::QueryHistoryRequest::default()
        };
        // A member without history still explains.
        let latency = self
            .client
            .call(None, |channel| {
                let request = request.clone();
                async move { HistoryServiceClient::new(channel).query_history(request).await }
            })
            .await
            .ok();
        Ok(Detail { check, explained, latency })
    }
}
