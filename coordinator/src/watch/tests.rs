//! What watchers are told, from real entries.

use bytes::Bytes;
use parallax_common::name::Uid;
use parallax_proto::store;
use parallax_proto::store::entry::Command;
use parallax_proto::v1::resource::Kind;
use prost::Message as _;

use super::*;

/// A state and what is told of it.
#[derive(Default)]
pub(super) struct Member {
    state: State,
    pub(super) changes: Changes,
    telling: Telling,
    pub(super) index: u64,
}

impl Member {
    fn apply(&mut self, command: Command) {
        self.index += 1;
        let entry = store::Entry { command: Some(command), ..store::Entry::default() };
        let applied = self.state.apply(self.index, &entry.encode_to_vec());
        self.telling.add(&self.state, self.index, &applied);
    }

    /// Ends the batch.
    pub(super) fn publish(&mut self) {
        self.changes.push(self.index, &std::mem::take(&mut self.telling));
    }

    /// Puts resources of one namespace; what is there already is replaced.
    pub(super) fn put(&mut self, namespace: &str, resources: Vec<Kind>) {
        let txn = format!("t{}", self.index);
        let changes = resources.into_iter().map(|kind| {
            let resource = v1::Resource { kind: Some(kind) };
            let meta = meta_of(&resource).unwrap();
            let word = convert::resource::kind(&resource).unwrap();
            let kind = crate::core::state::Kind::from_word(word).unwrap();
            let before = self.state.resource(kind, namespace, &meta.name);
            let base_etag = before.as_ref().and_then(meta_of).map_or(0, |meta| meta.etag);
            let mut resource = resource;
            if let Some(created) = before.as_ref().and_then(meta_of) {
                let meta = convert::resource::meta_of_mut(&mut resource).unwrap();
                meta.created_revision = created.created_revision;
            }
            let put = store::config_change::Change::Put(resource);
            store::ConfigChange { base_etag, change: Some(put), force: false }
        });
        let part = store::StageConfig {
            txn: txn.clone(),
            changes: changes.collect(),
            ..store::StageConfig::default()
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, &part.encode_to_vec());
        self.apply(Command::StageConfig(part));
        self.apply(Command::CommitConfig(store::CommitConfig {
            txn,
            parts: 1,
            sha256: Bytes::copy_from_slice(digest.as_ref()),
            namespace: namespace.into(),
            set: "default".into(),
            take: false,
            ..Default::default()
        }));
    }

    /// Proposes that the check of this number is down, as decided at `expected_sequence`.
    fn down(&mut self, number: u8, expected_sequence: u64) {
        let uid = Uid::from_bytes([number; 16]);
        let check = Arc::clone(&self.state.checks.get(&uid).unwrap().check);
        self.apply(Command::ChangeVerdicts(store::ChangeVerdicts {
            changes: vec![store::VerdictChange {
                check_uid: uid.to_string(),
                etag: check.etag,
                run_digest: check.run_digest.0,
                expected_sequence,
                record: Some(v1::DecisionRecord {
                    verdict: v1::Verdict::Down.into(),
                    ..v1::DecisionRecord::default()
                }),
                action: store::VerdictAction::Open.into(),
                incident_uid: format!("incident-{number}"),
                ..store::VerdictChange::default()
            }],
            node_id: 1,
        }));
    }

    /// (revision, what, whether more follows) for everything after a revision.
    fn told(&self, after: u64, namespace: &str) -> Vec<(u64, String, bool)> {
        let told = self.changes.after(after, namespace).unwrap();
        told.responses().map(|r| (r.revision, word(r.change.as_ref().unwrap()), r.more)).collect()
    }
}

fn word(change: &Change) -> String {
    match change {
        Change::Resource(changed) => {
            let resource = changed.resource.as_ref().unwrap();
            let kind = changed.kind().as_str_name().to_lowercase();
            let meta = meta_of(resource).unwrap();
            format!("{} {}/{}", kind.replace("change_kind_", ""), meta.namespace, meta.name)
        }
        Change::Verdict(verdict) => format!("verdict {}", verdict.sequence),
        Change::Incident(incident) => format!("incident {}", incident.uid),
        Change::Delivery(delivery) => format!("delivery to {}", delivery.contact_name),
        Change::Probe(probe) => format!("probe {}", probe.name),
        Change::Silence(silence) => format!("silence {}", silence.uid),
        Change::Progress(_) => "progress".to_owned(),
    }
}

fn meta(namespace: &str, number: u8, name: &str) -> Option<v1::Meta> {
    Some(v1::Meta {
        uid: Uid::from_bytes([number; 16]).to_string(),
        namespace: namespace.into(),
        name: name.into(),
        set: "default".into(),
        ..v1::Meta::default()
    })
}

pub(super) fn region(namespace: &str, title: &str) -> Kind {
    Kind::Region(v1::Region { meta: meta(namespace, 1, "eu"), title: title.into() })
}

fn contact(namespace: &str, number: u8) -> Kind {
    let url = v1::secret::Value::Template("http://127.0.0.1:1/".into());
    Kind::Contact(v1::Contact {
        meta: meta(namespace, number, "ops"),
        kind: Some(v1::contact::Kind::Webhook(v1::WebhookContact {
            url: Some(v1::Secret { value: Some(url) }),
            ..v1::WebhookContact::default()
        })),
        ..v1::Contact::default()
    })
}

fn check(namespace: &str, number: u8, title: &str) -> Kind {
    let tcp = v1::TcpStep { address: "127.0.0.1:1".into(), ..v1::TcpStep::default() };
    let step = v1::Step { kind: Some(v1::step::Kind::Tcp(tcp)), ..Default::default() };
    Kind::Check(convert::check::normalise_check(v1::Check {
        meta: meta(namespace, number, "web"),
        title: title.into(),
        run: Some(v1::Run {
            steps: vec![step],
            timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            ..v1::Run::default()
        }),
        interval: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        regions: vec!["eu".into()],
        alert: vec!["ops".into()],
        ..v1::Check::default()
    }))
}

/// Two namespaces, `a` and `b`, with the same names in both.
fn two_teams() -> Member {
    let mut member = Member::default();
    for (namespace, number) in [("a", 10), ("b", 20)] {
        let everything = vec![
            region(namespace, ""),
            contact(namespace, number + 1),
            check(namespace, number, ""),
        ];
        member.put(namespace, everything);
    }
    member.publish();
    member
}

#[test]
fn a_watcher_who_may_only_look_is_told_no_secret_of_a_contact() {
    let mut member = Member::default();
    let Kind::Contact(mut told) = contact("a", 1) else { panic!() };
    let url = v1::secret::Value::Template("https://hooks.example/hunter2".into());
    told.kind = Some(v1::contact::Kind::Webhook(v1::WebhookContact {
        url: Some(v1::Secret { value: Some(url) }),
        ..v1::WebhookContact::default()
    }));
    member.put("a", vec![Kind::Contact(told)]);
    member.publish();
    let changes: Vec<_> = member.changes.after(0, "a").unwrap().responses().collect();
    let said = format!("{changes:?}");
    assert!(said.contains("https://hooks.example/..."), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_watcher_is_told_of_nothing_outside_its_namespace_but_probes() {
    let mut member = two_teams();
    member.down(20, 0);
    let key =
        store::ResourceKey { kind: "check".into(), namespace: "b".into(), name: "web".into() };
    let etag = member.state.check_named("b", "web").unwrap().check.etag;
    let part = store::StageConfig {
        txn: "gone".into(),
        changes: vec![store::ConfigChange {
            base_etag: etag,
            change: Some(store::config_change::Change::Delete(key)),
            force: false,
        }],
        ..store::StageConfig::default()
    };
    let digest = ring::digest::digest(&ring::digest::SHA256, &part.encode_to_vec());
    member.apply(Command::StageConfig(part));
    member.apply(Command::CommitConfig(store::CommitConfig {
        txn: "gone".into(),
        parts: 1,
        sha256: Bytes::copy_from_slice(digest.as_ref()),
        namespace: "b".into(),
        set: "default".into(),
        take: false,
        ..Default::default()
    }));
    let probe = store::FleetChange {
        region: "eu".into(),
        probe: "p1".into(),
        incarnation: 1,
        state: v1::ProbeState::Live.into(),
        ..store::FleetChange::default()
    };
    member.apply(Command::ChangeFleet(store::ChangeFleet { changes: vec![probe] }));
    member.publish();

    let words = |namespace: &str| -> Vec<String> {
        member.told(0, namespace).into_iter().map(|(_, word, _)| word).collect()
    };
    assert_eq!(words("a"), ["created a/eu", "created a/ops", "created a/web", "probe p1"]);
    let theirs = words("b");
    // The same watch in the other namespace hears all of it: nothing above was lost by accident.
    for expected in ["verdict 1", "incident incident-20", "delivery to ops", "deleted b/web"] {
        assert!(theirs.iter().any(|word| word == expected), "{expected} in {theirs:?}");
    }
    assert_eq!(words("c"), ["probe p1"]);
}

#[test]
fn what_has_no_namespace_is_told_to_nobody() {
    let nameless = v1::Resource { kind: Some(Kind::Region(v1::Region::default())) };
    let change = Changed::Resource(v1::ChangeKind::Changed, Box::new(nameless));
    assert_eq!(describe(&State::default(), &change), None);
    let change = Changed::CheckGone(Uid::from_bytes([1; 16]), Box::default());
    assert_eq!(describe(&State::default(), &change), None);
}

#[test]
fn a_change_is_told_as_its_own_entry_left_it() {
    let mut member = two_teams();
    let start = member.index;
    member.put("a", vec![check("a", 10, "first")]);
    member.down(10, 0);
    member.put("a", vec![check("a", 10, "second")]);
    // One batch: the last state is published once.
    member.publish();
    let told: Vec<_> = member.changes.after(start, "a").unwrap().responses().collect();
    let titles: Vec<_> = told
        .iter()
        .filter_map(|response| match response.change.as_ref()? {
            Change::Resource(changed) => match changed.resource.as_ref()?.kind.as_ref()? {
                Kind::Check(check) => Some(check.title.clone()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(titles, ["first", "second"]);
    let first: Vec<_> = member.changes.after(0, "a").unwrap().responses().collect();
    let created = first.iter().filter(|response| {
        matches!(&response.change, Some(Change::Resource(changed))
            if changed.kind() == v1::ChangeKind::Created)
    });
    assert_eq!(created.count(), 3, "an edit that follows does not hide the creation");
}

#[test]
fn a_proposal_that_came_too_late_is_no_change_of_the_verdict() {
    let mut member = two_teams();
    member.down(10, 0);
    let first = member.index;
    member.down(10, 0);
    member.publish();
    let words: Vec<_> = member.told(first, "a").into_iter().map(|(_, word, _)| word).collect();
    // Its incident says why, once.
    assert_eq!(words, ["incident incident-10"]);
}

#[test]
fn a_revision_that_was_seen_in_part_is_repeated_whole() {
    let member = two_teams();
    let all = member.told(0, "a");
    assert_eq!(all.iter().map(|(_, _, more)| *more).collect::<Vec<_>>(), [true, true, false]);
    // A watcher that saw only the first resumes from where `more` tells it to.
    let (revision, _, more) = all[0].clone();
    assert_eq!(member.told(revision - u64::from(more), "a"), all);
    let (revision, _, more) = all[2].clone();
    assert_eq!(member.told(revision - u64::from(more), "a"), []);
    // The last for this watcher is the last, whatever others are told.
    let more: Vec<bool> = member.told(0, "b").into_iter().map(|(_, _, more)| more).collect();
    assert_eq!(more, [true, true, false]);
}

#[test]
fn an_entry_too_large_for_the_ring_compacts_it() {
    let mut member = two_teams();
    let before = member.index;
    let change = Changed::Probe("eu".into(), "p".into());
    let applied = Applied {
        rows: vec![],
        answer: crate::core::state::Answer::Accepted {
            revision: before + 1,
            subjects: vec![],
            counts: store::CommitCounts::default(),
        },
        changes: vec![change; WATCH_CHANGES_MAX + 1],
    };
    member.index += 1;
    member.telling.add(&member.state, member.index, &applied);
    member.publish();
    let gone = member.changes.after(before, "a").unwrap_err();
    assert_eq!(gone, Compacted { oldest: before + 1 });
    assert_eq!(member.told(before + 1, "a"), []);
}

#[test]
fn a_ring_keeps_as_many_changes_as_it_is_made_for_and_never_a_half_of_a_revision() {
    let mut member = Member { changes: Changes::holding(3), ..Member::default() };
    for name in ["r1", "r2"] {
        member.put("a", vec![region("a", name), region("a", &format!("{name}-b"))]);
        member.publish();
    }
    // Revision 2 has lost one of its two changes, 4 has both.
    assert_eq!(member.changes.after(1, "a").unwrap_err(), Compacted { oldest: 2 });
    let told = member.told(2, "a");
    assert_eq!(told.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [4, 4]);
}

#[test]
fn the_ring_is_bounded_by_bytes_and_what_goes_for_them_is_compacted() {
    let mut member = Member::default();
    let title = "x".repeat(1024 * 1024);
    let kept = |member: &Member| {
        let ring = member.changes.ring.lock();
        let sum: usize = ring.changes.iter().map(|told| told.response.encoded_len()).sum();
        assert_eq!(ring.bytes, sum);
        assert!(sum <= WATCH_BYTES_MAX, "{sum}");
        (ring.compacted, ring.changes.len())
    };
    for n in 0..100 {
        member.put("a", vec![region("a", &format!("{n}{title}"))]);
        member.publish();
    }
    let (compacted, changes) = kept(&member);
    // A revision each, after one for its part; each a little more than a MiB.
    assert_eq!(changes, 63);
    assert_eq!(compacted, 2 * (100 - 63));
    let gone = member.changes.after(compacted - 1, "a").unwrap_err();
    assert_eq!(gone, Compacted { oldest: compacted });
    assert_eq!(member.told(compacted, "a").len(), 63);
    // One entry that is larger than all of it.
    let resource = v1::Resource { kind: Some(region("a", &title)) };
    let change = Changed::Resource(v1::ChangeKind::Changed, Box::new(resource));
    let applied = Applied {
        rows: vec![],
        answer: crate::core::state::Answer::Accepted {
            revision: member.index + 1,
            subjects: vec![],
            counts: store::CommitCounts::default(),
        },
        changes: vec![change; 64],
    };
    member.index += 1;
    member.telling.add(&member.state, member.index, &applied);
    member.publish();
    assert_eq!(kept(&member), (member.index, 0));
}

#[test]
fn changes_are_handed_out_in_parts_of_whole_revisions_and_none_is_left_out() {
    let mut member = Member::default();
    let named = |n: usize| {
        let mut region = region("a", "");
        if let Kind::Region(region) = &mut region {
            region.meta = meta("a", n as u8, &format!("r{n}"));
        }
        region
    };
    // Revisions of one change, one of very many, and of one again; the other team's between.
    for n in 0..100 {
        member.put("a", vec![named(n)]);
        member.put("b", vec![region("b", &n.to_string())]);
    }
    member.put("a", (0..250).map(|n| named(n + 1_000)).collect());
    for n in 0..300 {
        member.put("a", vec![region("a", &n.to_string())]);
    }
    member.publish();
    let (mut after, mut parts, mut said) = (0, Vec::new(), Vec::new());
    loop {
        let part = member.changes.after(after, "a").unwrap();
        let responses: Vec<_> = part.responses().map(|r| (r.revision, r.more)).collect();
        assert!(responses.last().is_none_or(|(_, more)| !more), "a revision is whole");
        parts.push(responses.len());
        said.extend(responses);
        let Some(more_after) = part.more_after else { break };
        assert!(more_after > after);
        after = more_after;
    }
    assert_eq!(parts, [350, WATCH_PART_CHANGES, 44]);
    let ring = member.changes.ring.lock();
    let theirs = ring.changes.iter().filter(|told| told.audience.has("a"));
    let all: Vec<u64> = theirs.map(|told| told.response.revision).collect();
    assert_eq!(said.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), all);
}
