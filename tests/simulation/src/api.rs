//! What a member does for clients: the steps of the configuration API, with the cores of production.
//!
//! A read waits for a confirmed index. A write reads first, looks whether it was carried out before,
//! plans, stages and commits; a member that does not lead has the leader propose.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parallax_common::name::Uid;
use parallax_common::rule;
use parallax_coordinator::core::configure;
use parallax_coordinator::core::outbox::Send;
use parallax_coordinator::core::state::{Answer, Asked, Kind, LEVEL, State};
use parallax_coordinator::raft::member::Member;
use parallax_coordinator::raft::node::{Committed, ProposeError, ReadError};
use parallax_coordinator::view::View;
use parallax_proto::store::config_change::Change as Put;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::resource::Kind as ResourceKind;
use parallax_proto::{store, v1};
use prost::Message as _;
use tokio::sync::oneshot::{self, Receiver};

use crate::chance::Chance;
use crate::counters::Counters;
use crate::seen::{SeenLog, SeenMachine};
use crate::target::REGIONS;
use crate::wire::{Action, Failed, Input, Origin, Reply, Request, Stored};

/// How long a member tries before it says that nobody knows.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// The same in microseconds.
pub const DEADLINE_US: u64 = DEADLINE.as_micros() as u64;
/// The namespace of what is always looked at.
const SITE: &str = "site";
/// Of so many writes one is staged in parts, as production does with what is too large for an entry.
const STAGED_ONE_IN: u64 = 6;
/// The one set of all clients.
const SET: &str = "simulation";

/// What the API works with.
pub struct Context<'a> {
    /// Raft.
    pub member: &'a mut Member<SeenMachine, SeenLog>,
    /// The published state.
    pub view: &'a View,
    /// This member.
    pub node: u64,
    /// The simulation's time.
    pub now_us: u64,
    /// The same, as deadlines want it.
    pub instant: Instant,
    /// What this member's clock says.
    pub utc_ns: i64,
    /// Mesh time as this member has it.
    pub mesh_ns: i64,
    /// For new uids.
    pub chance: &'a mut Chance,
    /// What happened.
    pub counters: &'a mut Counters,
}

/// What leaves the API.
pub enum Out {
    /// To a client.
    Client(Request, Reply),
    /// To another member.
    Member(u64, Input),
    /// To a contact.
    Page(Send),
}

/// How a proposer is told.
pub type ProposalReceiver = Receiver<Result<Committed<Answer>, ProposeError>>;

/// For the outcome of a proposal.
pub enum Wait {
    /// Made by this member.
    Here(ProposalReceiver),
    /// By the leader, for this member.
    There(u64),
    /// Known.
    Ended(Result<Answer, Failed>),
}

enum Step {
    Read(Receiver<Result<u64, ReadError>>),
    Stage {
        wait: Wait,
        rest: Vec<store::StageConfig>,
        commit: store::CommitConfig,
    },
    Commit {
        wait: Wait,
        /// None: nothing was staged for it.
        txn: Option<String>,
    },
    /// Committed through another member; told when it is applied here.
    CatchUp {
        revision: u64,
    },
}

struct Job {
    request: Request,
    step: Step,
    /// Of the step: each write has a time of its own, as production's.
    until_us: u64,
}

/// Requests under way on one member, in one of its lives.
#[derive(Default)]
pub struct Api {
    jobs: Vec<Job>,
    /// Forwarded to this member, which leads.
    serving: Vec<(u64, u64, ProposalReceiver)>,
    /// The number of the newest forwarded command. An answer is for the life that asked: numbers of
    /// two lives differ, as a call of a process that ended has no answer.
    forwarded: u64,
    /// Outcomes of forwarded commands that no job waits for: somebody else does.
    outcomes: BTreeMap<u64, Result<Answer, Failed>>,
}

impl Api {
    /// The API of a process in its `life`-th life.
    pub fn of_life(life: u64) -> Self {
        Self { forwarded: life << 32, ..Self::default() }
    }

    /// Takes a request.
    pub fn request(&mut self, request: Request, context: &mut Context<'_>) {
        let (reply, answer) = oneshot::channel();
        context.member.read_index(context.instant, DEADLINE, reply);
        let until_us = context.now_us + DEADLINE_US;
        self.jobs.push(Job { request, step: Step::Read(answer), until_us });
    }

    /// Takes a command of a member that does not lead.
    pub fn forward(
        &mut self,
        (id, from): (u64, u64),
        command: Command,
        origin: Origin,
        context: &mut Context<'_>,
        out: &mut Vec<Out>,
    ) {
        if context.member.leadership().leader {
            self.serving.push((id, from, propose_here(command, origin, context)));
        } else {
            let result = Err(Failed::NotDone);
            out.push(Out::Member(from, Input::Forwarded { id, result }));
        }
    }

    /// Takes what came of a forwarded command.
    pub fn forwarded(&mut self, id: u64, result: Result<Answer, Failed>) {
        for job in &mut self.jobs {
            if let Step::Stage { wait, .. } | Step::Commit { wait, .. } = &mut job.step
                && matches!(wait, Wait::There(there) if *there == id)
            {
                *wait = Wait::Ended(result);
                return;
            }
        }
        self.outcomes.insert(id, result);
    }

    /// The outcome of what was proposed for somebody outside, once it is known.
    pub fn settled(&mut self, wait: &mut Wait) -> Option<Result<Answer, Failed>> {
        match wait {
            Wait::There(id) => self.outcomes.remove(id),
            wait => wait.poll(),
        }
    }

    /// Goes on with everything that can go on. True: Raft has work to do.
    pub fn turn(&mut self, context: &mut Context<'_>, out: &mut Vec<Out>) -> bool {
        let mut worked = false;
        self.serving.retain_mut(|(id, from, answer)| {
            let Some(result) = poll(answer) else { return true };
            out.push(Out::Member(*from, Input::Forwarded { id: *id, result }));
            false
        });
        for mut job in std::mem::take(&mut self.jobs) {
            loop {
                match self.step(job, context, out) {
                    Next::Wait(waiting) => {
                        self.jobs.push(waiting);
                        break;
                    }
                    Next::Again(again) => {
                        worked = true;
                        job = again;
                    }
                    Next::Over(request, reply) => {
                        out.push(Out::Client(request, reply));
                        break;
                    }
                }
            }
        }
        worked
    }

    fn step(&mut self, mut job: Job, context: &mut Context<'_>, out: &mut Vec<Out>) -> Next {
        let late = context.now_us >= job.until_us;
        match job.step {
            Step::Read(ref mut answer) => match answer.try_recv() {
                Ok(Ok(_)) => self.plan(job, context, out),
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {
                    Next::Over(job.request, Reply::Later)
                }
                Err(oneshot::error::TryRecvError::Empty) if late => {
                    Next::Over(job.request, Reply::Later)
                }
                Err(oneshot::error::TryRecvError::Empty) => Next::Wait(job),
            },
            Step::Stage { ref mut wait, .. } => match wait.poll() {
                None if !late => Next::Wait(job),
                Some(Ok(Answer::Accepted { .. })) => {
                    let Step::Stage { mut rest, commit, .. } = job.step else {
                        return Next::Over(job.request, Reply::Later);
                    };
                    job.until_us = context.now_us + DEADLINE_US;
                    if rest.is_empty() {
                        let txn = Some(commit.txn.clone());
                        let origin = origin(&job.request);
                        let command = Command::CommitConfig(commit);
                        let wait = self.propose(command, origin, context, out);
                        job.step = Step::Commit { wait, txn };
                    } else {
                        let part = Command::StageConfig(rest.remove(0));
                        let wait = self.propose(part, Origin::default(), context, out);
                        job.step = Step::Stage { wait, rest, commit };
                    }
                    Next::Again(job)
                }
                refused => {
                    if matches!(refused, Some(Ok(Answer::Refused(_)))) {
                        context.counters.add("stage refused");
                    }
                    let Step::Stage { commit, .. } = job.step else {
                        return Next::Over(job.request, Reply::Later);
                    };
                    self.drop_stage(commit.txn, context, out);
                    Next::Over(job.request, Reply::Later)
                }
            },
            Step::Commit { ref mut wait, ref txn } => match wait.poll() {
                None if !late => Next::Wait(job),
                Some(Ok(Answer::Accepted { revision, .. })) => {
                    job.step = Step::CatchUp { revision };
                    Next::Again(job)
                }
                Some(Ok(Answer::Refused(refusal))) => {
                    let reply = match refusal.rule.as_ref() {
                        id if id == rule::CONFLICT.id => Reply::Conflict,
                        id => Reply::Refused(id.to_owned()),
                    };
                    Next::Over(job.request, reply)
                }
                failed => {
                    if let Some(txn) = txn.clone() {
                        self.drop_stage(txn, context, out);
                    }
                    let known = matches!(failed, Some(Err(Failed::NotDone)));
                    Next::Over(job.request, if known { Reply::Later } else { Reply::Unknown })
                }
            },
            Step::CatchUp { revision } => {
                if context.member.applied() >= revision {
                    Next::Over(job.request, Reply::Done(revision))
                } else if late {
                    Next::Over(job.request, Reply::Unknown)
                } else {
                    Next::Wait(job)
                }
            }
        }
    }

    /// The read is confirmed: answer it, or begin the write.
    fn plan(&mut self, mut job: Job, context: &mut Context<'_>, out: &mut Vec<Out>) -> Next {
        job.until_us = context.now_us + DEADLINE_US;
        let state = context.view.load();
        if let Action::Read { key } = job.request.action {
            let (one, other) = read(&state, key);
            return Next::Over(job.request, Reply::Read(one, other));
        }
        let origin = origin(&job.request);
        let id = origin.request_id.clone().unwrap_or_default();
        let asked = Asked { id, actor: origin.actor.clone(), digest: origin.digest };
        match state.replayed(&asked) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                context.counters.add("request repeated");
                let reply = match answer {
                    Answer::Accepted { revision, .. } => Reply::Done(revision),
                    Answer::Refused(refusal) if refusal.rule == rule::CONFLICT.id => {
                        Reply::Conflict
                    }
                    Answer::Refused(refusal) => Reply::Refused(refusal.rule.into_owned()),
                };
                return Next::Over(job.request, reply);
            }
            Err(refusal) => {
                let reply = Reply::Refused(refusal.rule.into_owned());
                return Next::Over(job.request, reply);
            }
        }
        if let Action::Close { latch } = job.request.action {
            let mut open = state.open.iter().filter_map(|uid| state.incidents.get(uid));
            let Some(incident) = open.find(|incident| incident.namespace == SITE) else {
                return Next::Over(job.request, Reply::Refused(rule::NOT_FOUND.id.to_owned()));
            };
            let by = origin.actor.name.clone();
            let (uid, node_id) = (incident.uid.clone(), context.node);
            let close = store::ResolveIncident { uid, by, note: String::new(), latch, node_id };
            context.counters.add("incident closed by hand");
            let wait = self.propose(Command::ResolveIncident(close), origin, context, out);
            job.step = Step::Commit { wait, txn: None };
            return Next::Again(job);
        }
        let writes = match writes(&state, &job.request.action, context.chance) {
            Ok(writes) => writes,
            Err(rule) => return Next::Over(job.request, Reply::Refused(rule)),
        };
        let space = space(&job.request.action);
        let txn = context.chance.word().to_string();
        if writes.is_empty() {
            // Nothing to do: as production, without a trace of the request.
            return Next::Over(job.request, Reply::Refused("unchanged".to_owned()));
        }
        let whole = store::CommitConfig {
            txn: txn.clone(),
            namespace: space.clone(),
            set: SET.to_owned(),
            ..Default::default()
        };
        if !job.request.number.is_multiple_of(STAGED_ONE_IN) {
            let command = Command::CommitConfig(store::CommitConfig { changes: writes, ..whole });
            let wait = self.propose(command, origin, context, out);
            job.step = Step::Commit { wait, txn: None };
            return Next::Again(job);
        }
        let part = |(part, change)| store::StageConfig {
            txn: txn.clone(),
            part,
            changes: vec![change],
            namespace: space.clone(),
        };
        let mut parts: Vec<_> = (0..).zip(writes).map(part).collect();
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        parts.iter().for_each(|part| hash.update(&part.encode_to_vec()));
        let commit = store::CommitConfig {
            parts: parts.len() as u32,
            sha256: Bytes::copy_from_slice(hash.finish().as_ref()),
            ..whole
        };
        let first = Command::StageConfig(parts.remove(0));
        let wait = self.propose(first, Origin::default(), context, out);
        job.step = Step::Stage { wait, rest: parts, commit };
        Next::Again(job)
    }

    fn drop_stage(&mut self, txn: String, context: &mut Context<'_>, out: &mut Vec<Out>) {
        let command = Command::DropStage(store::DropStage { txn });
        // Tried once: what stays behind goes with its time.
        drop(self.propose(command, Origin::default(), context, out));
    }

    /// Proposes a command, here or through the leader.
    pub fn propose(
        &mut self,
        command: Command,
        origin: Origin,
        context: &mut Context<'_>,
        out: &mut Vec<Out>,
    ) -> Wait {
        if context.member.leadership().leader {
            return Wait::Here(propose_here(command, origin, context));
        }
        match context.member.leader() {
            Some(leader) if leader != context.node => {
                self.forwarded += 1;
                context.counters.add("command forwarded");
                let id = self.forwarded;
                let (from, command) = (context.node, Box::new(command));
                out.push(Out::Member(leader, Input::Forward { id, from, command, origin }));
                Wait::There(id)
            }
            _ => Wait::Ended(Err(Failed::NotDone)),
        }
    }
}

enum Next {
    Wait(Job),
    Again(Job),
    Over(Request, Reply),
}

impl Wait {
    fn poll(&mut self) -> Option<Result<Answer, Failed>> {
        match self {
            Self::Here(answer) => poll(answer),
            Self::There(_) => None,
            Self::Ended(result) => Some(result.clone()),
        }
    }
}

fn poll(answer: &mut ProposalReceiver) -> Option<Result<Answer, Failed>> {
    match answer.try_recv() {
        Ok(Ok(committed)) => Some(Ok(committed.output)),
        Ok(Err(
            ProposeError::NotLeader { .. }
            | ProposeError::Overloaded
            | ProposeError::TooLarge { .. }
            | ProposeError::Empty,
        )) => Some(Err(Failed::NotDone)),
        Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => Some(Err(Failed::Unknown)),
        Err(oneshot::error::TryRecvError::Empty) => None,
    }
}

/// Stamps a command and proposes it.
pub fn propose_here(
    command: Command,
    origin: Origin,
    context: &mut Context<'_>,
) -> ProposalReceiver {
    let last = context.view.load().last_utc().as_ns();
    let entry = store::Entry {
        min_level: LEVEL,
        request_id: origin.request_id,
        request_digest: origin.digest,
        actor: Some(origin.actor),
        utc_ns: context.utc_ns.max(last),
        mesh_ns: context.mesh_ns,
        source: "api".to_owned(),
        command: Some(command),
    };
    let (reply, answer) = oneshot::channel();
    context.member.propose(entry.encode_to_vec().into(), context.instant, DEADLINE, reply);
    answer
}

/// On whose request: the same for every attempt.
fn origin(request: &Request) -> Origin {
    let client = format!("client-{}", request.client);
    Origin {
        request_id: Some(v1::RequestId {
            client: client.clone(),
            number: request.number,
            lowest_open: request.number,
        }),
        digest: request.number,
        actor: v1::Actor { kind: "user".to_owned(), name: client, role: "admin".to_owned() },
    }
}

fn name(key: u64) -> String {
    format!("k{key}")
}

/// Where a key or a check lives. Two namespaces, so that open stages have two shares.
fn namespace(number: u64) -> String {
    format!("n{}", number % 2)
}

fn space(action: &Action) -> String {
    match action {
        Action::Read { key } | Action::Write { key, .. } | Action::Swap { key, .. } => {
            namespace(*key)
        }
        Action::Check { name, .. } | Action::DropCheck { name } => namespace(*name),
        Action::Site { .. } | Action::Close { .. } => SITE.to_owned(),
    }
}

/// Both halves of a key: a region and a contact that are always written together.
fn read(state: &State, key: u64) -> (Stored, Stored) {
    let half = |kind| {
        let resource = state.resource(kind, &namespace(key), &name(key))?;
        let meta = match resource.kind? {
            ResourceKind::Region(region) => region.meta,
            ResourceKind::Contact(contact) => contact.meta,
            _ => None,
        }?;
        Some((meta.labels.get("value")?.parse().ok()?, meta.etag))
    };
    (half(Kind::Region), half(Kind::Contact))
}

fn meta(name: String, value: u64) -> Option<v1::Meta> {
    let labels = [("value".to_owned(), value.to_string())];
    Some(v1::Meta { name, labels: labels.into_iter().collect(), ..v1::Meta::default() })
}

/// The two resources of a key.
fn halves(key: u64, value: u64) -> Vec<v1::Resource> {
    let region = v1::Region { meta: meta(name(key), value), title: String::new() };
    let url =
        v1::Secret { value: Some(v1::secret::Value::Template("http://sink.example/".to_owned())) };
    let webhook = v1::WebhookContact { url: Some(url), ..v1::WebhookContact::default() };
    let contact = v1::Contact {
        meta: meta(name(key), value),
        kind: Some(v1::contact::Kind::Webhook(webhook)),
        ..v1::Contact::default()
    };
    [ResourceKind::Region(region), ResourceKind::Contact(contact)]
        .into_iter()
        .map(|kind| v1::Resource { kind: Some(kind) })
        .collect()
}

fn check(name: u64, keys: &[u64], interval_s: u64) -> v1::Resource {
    let http = v1::HttpStep { url: "http://target.example/".to_owned(), ..Default::default() };
    let step = v1::Step { kind: Some(v1::step::Kind::Http(http)), ..v1::Step::default() };
    let duration = |seconds: u64| {
        Some(prost_types::Duration { seconds: i64::try_from(seconds).unwrap_or(0), nanos: 0 })
    };
    let run = v1::Run { steps: vec![step], timeout: duration(1), ..v1::Run::default() };
    let check = v1::Check {
        meta: Some(v1::Meta { name: format!("c{name}"), ..v1::Meta::default() }),
        run: Some(run),
        interval: duration(interval_s),
        regions: keys.iter().copied().map(self::name).collect(),
        alert: keys
            .iter()
            .copied()
            .filter(|_| interval_s.is_multiple_of(2))
            .map(self::name)
            .collect(),
        ..v1::Check::default()
    };
    v1::Resource { kind: Some(ResourceKind::Check(check)) }
}

/// What is looked at from wherever there are probes: one check by all of them, one by two. Another
/// version is another run.
fn site(version: u64) -> Vec<v1::Resource> {
    let region = |place: usize| {
        let meta = Some(v1::Meta { name: name(place as u64), ..v1::Meta::default() });
        v1::Resource { kind: Some(ResourceKind::Region(v1::Region { meta, title: String::new() })) }
    };
    let url =
        v1::Secret { value: Some(v1::secret::Value::Template("http://sink.example/".to_owned())) };
    let webhook = v1::WebhookContact { url: Some(url), ..v1::WebhookContact::default() };
    let contact = v1::Contact {
        meta: Some(v1::Meta { name: "ops".to_owned(), ..v1::Meta::default() }),
        kind: Some(v1::contact::Kind::Webhook(webhook)),
        ..v1::Contact::default()
    };
    // Orders of many runs, so that a probe's bucket is empty now and then.
    let patient = if version.is_multiple_of(2) { 0 } else { 12 };
    let check = |name: &str, places: usize, interval_ms: i32, timeout_ms: i32, failures: u32| {
        let url = format!("http://target.example/{version}");
        let http = v1::HttpStep { url, ..Default::default() };
        let step = v1::Step { kind: Some(v1::step::Kind::Http(http)), ..v1::Step::default() };
        let duration = |ms: i32| {
            let (seconds, ms) = (i64::from(ms / 1_000), ms % 1_000);
            Some(prost_types::Duration { seconds, nanos: ms * 1_000_000 })
        };
        let run =
            v1::Run { steps: vec![step], timeout: duration(timeout_ms), ..v1::Run::default() };
        let check = v1::Check {
            meta: Some(v1::Meta { name: name.to_owned(), ..v1::Meta::default() }),
            run: Some(run),
            interval: duration(interval_ms),
            regions: (0..places as u64).map(self::name).collect(),
            alert: vec!["ops".to_owned()],
            down: Some(v1::Down { failures, ..v1::Down::default() }),
            ..v1::Check::default()
        };
        v1::Resource { kind: Some(ResourceKind::Check(check)) }
    };
    let contact = v1::Resource { kind: Some(ResourceKind::Contact(contact)) };
    let checks = [check("all", REGIONS, 1_000, 600, 0), check("two", 2, 2_000, 900, patient)];
    (0..REGIONS).map(region).chain([contact]).chain(checks).collect()
}

/// What an action changes, planned against `state`.
fn writes(
    state: &State,
    action: &Action,
    chance: &mut Chance,
) -> Result<Vec<store::ConfigChange>, String> {
    let space = space(action);
    let request = configure::Request {
        namespace: space.clone(),
        set: SET.to_owned(),
        ..configure::Request::default()
    };
    let uids = chance.word();
    let mut chance = Chance::new(uids, "uids");
    let uid = move || {
        let words = [chance.word().to_be_bytes(), chance.word().to_be_bytes()].concat();
        Uid::from_slice(&words).unwrap_or_else(|| Uid::from_bytes([0; 16]))
    };
    let draft = |resources| {
        configure::draft(state, &request, resources, uid)
            .map(|draft| draft.writes)
            .map_err(|broken| broken.first().map_or("", |first| first.rule.id).to_owned())
    };
    let delete = |kind: &str, name: String, base_etag| store::ConfigChange {
        base_etag,
        change: Some(Put::Delete(store::ResourceKey {
            kind: kind.to_owned(),
            namespace: space.clone(),
            name,
        })),
        force: false,
    };
    match action {
        Action::Read { .. } | Action::Close { .. } => Ok(Vec::new()),
        Action::Write { key, value } => draft(halves(*key, *value)),
        Action::Swap { key, etag, value: Some(value) } => {
            let mut writes = draft(halves(*key, *value))?;
            writes.iter_mut().for_each(|write| write.base_etag = *etag);
            Ok(writes)
        }
        Action::Swap { key, etag, value: None } => {
            Ok(["region", "contact"].map(|kind| delete(kind, name(*key), *etag)).to_vec())
        }
        Action::Check { name, keys } => draft(vec![check(*name, keys, 1 + uids % 6)]),
        Action::Site { version } => draft(site(*version)),
        Action::DropCheck { name } => {
            let name = format!("c{name}");
            let Some(entry) = state.check_named(&space, &name) else {
                return Err(rule::NOT_FOUND.id.to_owned());
            };
            Ok(vec![delete("check", name, entry.check.etag)])
        }
    }
}
