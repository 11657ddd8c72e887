//! The coordinators of a dev mesh: the binary's own `run()`, one task each, which `dev stop` and
//! `dev start` end and begin again as a machine would.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use parallax_common::guard::Network;
use parallax_common::limits;
use parallax_coordinator::config::InitialMember;
use parallax_coordinator::{Bound, Config, RunError};
use parallax_runtime::error::causes;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::dev::DevError;
use crate::dev::members::{Ended, tell};
use crate::dev::mesh::{MESH, starting};
use crate::dev::place::Place;

/// A coordinator listens, or has ended, long before this.
pub(super) const TURN_WITHIN: Duration = Duration::from_secs(20);

/// How many coordinators a dev mesh may have.
pub(super) const COUNTS: [usize; 3] = [1, 3, 5];

/// Where one coordinator listens: at the same addresses in each of its lives, as others remember
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Addresses {
    pub(super) name: String,
    peers: SocketAddr,
    pub(super) probes: SocketAddr,
    pub(super) api: SocketAddr,
}

/// A wish of whoever is at the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Start,
    Stop,
}

/// A wish, and where its answer goes.
type Order = (Wish, oneshot::Sender<Result<(), String>>);

/// The way to the coordinators that run, or could. Clones reach the same ones.
#[derive(Clone, Default)]
pub(super) struct Coordinators {
    each: BTreeMap<String, mpsc::Sender<Order>>,
    running: watch::Sender<BTreeMap<String, bool>>,
}

/// Which coordinators there are: what was asked for, what the directory holds, or the default.
pub(super) fn plan(place: &Place, asked: Option<usize>) -> Result<Vec<Addresses>, DevError> {
    let file = file(place);
    let kept: Vec<Addresses> = match fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
    .map_err(starting("the coordinators as they were"))?;
    let count = match (kept.len(), asked) {
        (0, asked) => asked.unwrap_or(super::args::COORDINATORS),
        (kept, Some(asked)) if asked != kept => return Err(DevError::Count { kept, asked }),
        (kept, _) => kept,
    };
    // All are held until all are chosen, so that no two are the same.
    let mut held = Vec::new();
    let mut plan = Vec::new();
    for at in 0..count {
        plan.push(match kept.get(at) {
            Some(known) => {
                // The others know it by this address and no other.
                let what = format!("{}, whose address was {}", known.name, known.peers);
                held.push(TcpListener::bind(known.peers).map_err(starting(&what))?);
                let name = known.name.clone();
                let (probes, api) = (free(known.probes, &mut held)?, free(known.api, &mut held)?);
                Addresses { name, peers: known.peers, probes, api }
            }
            None => Addresses {
                name: format!("c{}", at + 1),
                peers: free(any(), &mut held)?,
                probes: free(any(), &mut held)?,
                api: free(any(), &mut held)?,
            },
        });
    }
    serde_json::to_vec(&plan)
        .map_err(io::Error::other)
        .and_then(|text| fs::write(&file, text))
        .map_err(starting("the file of coordinators"))?;
    Ok(plan)
}

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// This address when it is free, else another.
fn free(address: SocketAddr, held: &mut Vec<TcpListener>) -> Result<SocketAddr, DevError> {
    let listener = TcpListener::bind(address).or_else(|_| TcpListener::bind(any()));
    let listener = listener.map_err(starting("a listener"))?;
    let address = listener.local_addr().map_err(starting("a listener"))?;
    held.push(listener);
    Ok(address)
}

fn file(place: &Place) -> PathBuf {
    place.dir().join("coordinators.json")
}

fn config(place: &Place, plan: &[Addresses], one: &Addresses) -> Config {
    let listed = plan.iter().map(|each| InitialMember {
        name: each.name.clone(),
        peer_address: each.peers.to_string(),
    });
    Config {
        mesh: MESH.to_owned(),
        name: one.name.clone(),
        data_dir: place.data(&one.name),
        history_bytes_max: limits::HISTORY_BYTES_DEFAULT,
        tls_dir: place.tls(&one.name),
        listen_api: one.api,
        listen_probes: one.probes,
        listen_peers: one.peers,
        listen_public: Some(any()),
        advertise_probes: None,
        advertise_peers: None,
        advertise_api: None,
        initial_members: listed.collect(),
        join: None,
        allow_env: Vec::new(),
        allow_files: Vec::new(),
        // Its sink. The defaults allow it, too; a mesh of this machine does not depend on them.
        contact_allow_networks: vec![Network::of(Ipv4Addr::LOCALHOST.into())],
        contact_deny_networks: vec![],
        quorum_webhook: None,
        heartbeat_url: None,
        ports_file: None,
    }
}

impl Coordinators {
    /// Starts all of them, and gives where the first is bound. Each has a task of its own in
    /// `supervisor`, which tells `ended` when its coordinator ends without being asked to.
    pub(super) async fn start(
        place: &Place,
        plan: &[Addresses],
        supervisor: &Supervisor,
        ended: &mpsc::Sender<Ended>,
        endings: &mut mpsc::Receiver<Ended>,
    ) -> Result<(Self, Bound), DevError> {
        let mut coordinators = Self::default();
        let mut waiting = Vec::new();
        for one in plan {
            let (orders, inbox) = mpsc::channel(1);
            let (ready, bound) = oneshot::channel();
            let keeper = Keeper {
                config: config(place, plan, one),
                running: coordinators.running.clone(),
                inbox,
                stop: supervisor.stop_token(),
                ended: ended.clone(),
            };
            supervisor.spawn(TaskKind::Session("coordinator"), keeper.keep(ready));
            coordinators.each.insert(one.name.clone(), orders);
            waiting.push(bound);
        }
        let all = async {
            let mut first = None;
            for bound in waiting {
                first.get_or_insert(bound.await.ok()?);
            }
            first
        };
        let bound = tokio::select! {
            bound = tokio::time::timeout(TURN_WITHIN, all) => bound,
            Some(ended) = endings.recv() => return Err(ended.error(place)),
        };
        let late = || starting("the coordinators")(io::ErrorKind::TimedOut.into());
        match bound {
            Ok(Some(bound)) => Ok((coordinators, bound)),
            Ok(None) => {
                // One ended without listening; what it said comes right behind.
                let ended = endings.recv().await;
                Err(ended.map_or_else(late, |ended| ended.error(place)))
            }
            Err(_) => Err(late()),
        }
    }

    /// Stops one, as its machine's shutdown would. What runs then, in words.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) async fn stop(&self, name: &str) -> Result<String, String> {
        self.order(name, Wish::Stop).await?;
        Ok(format!("{name} is stopped; {}", self.describe()))
    }

    /// Starts one that was stopped. What runs then, in words.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) async fn begin(&self, name: &str) -> Result<String, String> {
        self.order(name, Wish::Start).await?;
        Ok(format!("{name} is back; {}", self.describe()))
    }

    async fn order(&self, name: &str, wish: Wish) -> Result<(), String> {
        let Some(keeper) = self.each.get(name) else {
            let names: Vec<&str> = self.each.keys().map(String::as_str).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("there is no coordinator `{name}`: there is {names}"));
        };
        let gone = || format!("the mesh stops, and {name} with it");
        let (reply, answer) = oneshot::channel();
        keeper.send((wish, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn describe(&self) -> String {
        let running = self.running.borrow();
        let up: Vec<&str> =
            running.iter().filter(|(_, up)| **up).map(|(name, _)| name.as_str()).collect();
        let (up_count, all) = (up.len(), self.each.len());
        let names = if up.is_empty() { "none".to_owned() } else { up.join(", ") };
        let majority = match up_count > all / 2 {
            true => "",
            false => ": no majority, so nothing is decided, written or paged",
        };
        format!("{up_count} of {all} run ({names}){majority}")
    }
}

/// Owns one coordinator: the life that runs, and whether there is to be one.
struct Keeper {
    config: Config,
    running: watch::Sender<BTreeMap<String, bool>>,
    inbox: mpsc::Receiver<Order>,
    stop: CancellationToken,
    ended: mpsc::Sender<Ended>,
}

/// How a life of a coordinator ended.
enum End {
    /// The mesh stops.
    Mesh,
    /// Somebody wished it; told when it is over.
    Wished(oneshot::Sender<Result<(), String>>, Result<(), RunError>),
    /// By itself.
    Own(Result<(), RunError>),
}

impl Keeper {
    async fn keep(mut self, ready: oneshot::Sender<Bound>) {
        let mut ready = Some(ready);
        let mut told: Option<oneshot::Sender<Result<(), String>>> = None;
        loop {
            let (serves, bound) = match ready.take() {
                // Whoever started the mesh waits for the first life.
                Some(ready) => (ready, None),
                None => {
                    let (ready, bound) = oneshot::channel();
                    (ready, Some(bound))
                }
            };
            match self.live(serves, bound, told.take()).await {
                End::Mesh => return,
                End::Own(result) => {
                    let who = format!("the coordinator {}", self.config.name);
                    return tell(&self.ended, &who, result).await;
                }
                End::Wished(reply, result) => {
                    let _ = reply.send(result.map_err(|error| causes(&error)));
                }
            }
            // Stopped, until it is started again.
            loop {
                let order = tokio::select! {
                    () = self.stop.cancelled() => return,
                    order = self.inbox.recv() => order,
                };
                match order {
                    None => return,
                    Some((Wish::Start, reply)) => {
                        told = Some(reply);
                        break;
                    }
                    Some((Wish::Stop, reply)) => {
                        let _ = reply.send(Err(format!("{} is stopped", self.config.name)));
                    }
                }
            }
        }
    }

    /// One life. `told` is told when it serves, which `bound` says.
    async fn live(
        &mut self,
        serves: oneshot::Sender<Bound>,
        bound: Option<oneshot::Receiver<Bound>>,
        mut told: Option<oneshot::Sender<Result<(), String>>>,
    ) -> End {
        let name = self.config.name.clone();
        let end = CancellationToken::new();
        let mut life =
            std::pin::pin!(parallax_coordinator::run(self.config.clone(), end.clone(), serves));
        let mut serving = std::pin::pin!(async {
            match bound {
                Some(bound) => bound.await.is_ok(),
                None => true,
            }
        });
        let mut serves = false;
        self.note(&name, true);
        loop {
            tokio::select! {
                result = &mut life => {
                    self.note(&name, false);
                    return match told.take() {
                        // Whoever wished for it is told why it did not come about.
                        Some(reply) => End::Wished(reply, match result {
                            Ok(()) => Ok(()),
                            Err(error) => Err(error),
                        }),
                        None => End::Own(result),
                    };
                }
                () = self.stop.cancelled() => {
                    end.cancel();
                    let _ = life.await;
                    return End::Mesh;
                }
                is_up = &mut serving, if !serves => {
                    serves = true;
                    if is_up && let Some(reply) = told.take() {
                        let _ = reply.send(Ok(()));
                    }
                }
                order = self.inbox.recv() => match order {
                    Some((Wish::Stop, reply)) => {
                        end.cancel();
                        let result = life.await;
                        self.note(&name, false);
                        return End::Wished(reply, result);
                    }
                    Some((Wish::Start, reply)) => {
                        let _ = reply.send(Err(format!("{name} runs")));
                    }
                    // Nobody can wish for anything any more; the mesh is about to stop.
                    None => self.stop.cancelled().await,
                },
            }
        }
    }

    fn note(&self, name: &str, up: bool) {
        self.running.send_modify(|running| {
            running.insert(name.to_owned(), up);
        });
    }
}

#[cfg(test)]
mod tests {
    use parallax_proto::v1;

    use super::*;
    use crate::client::{Client, TlsDial};
    use crate::dev::samples;
    use crate::dev::screen::Screen;

    #[test]
    fn a_directory_keeps_its_coordinators_and_their_addresses() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::take(&parent.path().join("dev"), true).unwrap();
        let first = plan(&place, Some(3)).unwrap();
        let names: Vec<&str> = first.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["c1", "c2", "c3"]);
        let mut ports: Vec<u16> = first
            .iter()
            .flat_map(|one| [one.peers, one.probes, one.api])
            .map(|at| at.port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 9, "no two are the same");
        assert_eq!(plan(&place, None).unwrap(), first);
        let refused = plan(&place, Some(5)).unwrap_err();
        assert!(matches!(refused, DevError::Count { kept: 3, asked: 5 }), "{refused}");

        // An API port that somebody else has now is given up, a peer port cannot be.
        let taken = TcpListener::bind(first[1].api).unwrap();
        let second = plan(&place, Some(3)).unwrap();
        assert_ne!(second[1].api, first[1].api);
        assert_eq!(second[1].peers, first[1].peers);
        drop(taken);
        let _taken = TcpListener::bind(first[2].peers).unwrap();
        let refused = plan(&place, None).unwrap_err().to_string();
        assert!(refused.contains("c3, whose address was"), "{refused}");
    }

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_cannot_be_stopped() {
        let refused = Coordinators::default().stop("c9").await.unwrap_err();
        assert_eq!(refused, "there is no coordinator `c9`: there is none");
    }

    /// Who answers at these endpoints, and who leads as far as that one knows.
    async fn asked(tls: &std::path::Path, endpoints: Vec<String>) -> v1::MeshStatus {
        let dial = Box::new(TlsDial::load(tls).unwrap());
        let mut client = Client::new(dial, endpoints, None, Duration::from_secs(20));
        let answer = client.call(None, |channel| async move {
            let request = v1::GetStatusRequest::default();
            v1::status_service_client::StatusServiceClient::new(channel).get_status(request).await
        });
        answer.await.unwrap().mesh.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn commands_go_on_while_the_leader_is_away_and_it_knows_of_them_when_it_is_back() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::take(&parent.path().join("dev"), true).unwrap();
        let plan = plan(&place, Some(3)).unwrap();
        crate::dev::mesh::certificates(&place, &plan).unwrap();
        let supervisor = Supervisor::new(CancellationToken::new());
        let (ended, mut endings) = mpsc::channel(3);
        let started = Coordinators::start(&place, &plan, &supervisor, &ended, &mut endings);
        let (coordinators, _) = started.await.unwrap();
        let (tls, screen) = (place.tls("user"), Screen::to(io::sink()));
        let endpoint =
            |name: &str| plan.iter().find(|one| one.name == name).unwrap().api.to_string();
        let all: Vec<String> = plan.iter().map(|one| one.api.to_string()).collect();
        let apply = async |sink: u16| {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            let text = samples::yaml(any, (Ipv4Addr::LOCALHOST, sink).into());
            fs::write(place.samples(), text).unwrap();
            samples::apply(&place.samples(), &all, &tls, &screen).await.unwrap();
        };
        apply(7_001).await;
        let first = asked(&tls, all.clone()).await;
        let leader = format!("c{}", first.leader_id);

        let said = coordinators.stop(&leader).await.unwrap();
        assert!(said.starts_with(&format!("{leader} is stopped; 2 of 3 run (")), "{said}");
        assert_eq!(coordinators.stop(&leader).await.unwrap_err(), format!("{leader} is stopped"));
        apply(7_002).await;
        let second = asked(&tls, all.clone()).await;
        assert_ne!(second.leader_id, first.leader_id);
        assert!(second.term > first.term);

        coordinators.begin(&leader).await.unwrap();
        assert_eq!(coordinators.begin(&leader).await.unwrap_err(), format!("{leader} runs"));
        // It answers itself, and with what was written while it was away.
        let back = asked(&tls, vec![endpoint(&leader)]).await;
        assert_eq!(back.node_id, first.leader_id);
        assert!(back.applied >= second.applied, "{back:?}");

        supervisor.stop();
        assert!(supervisor.join(Duration::from_secs(20)).await);
        assert!(endings.try_recv().is_err(), "none ended by itself");
    }
}
