//! The coordinators: as each says it does, and as the leader sees it.

use parallax_proto::v1;
use serde::Serialize;

use super::mark::Tone;
use super::table::Table;
use super::{Shell, time, word};

/// A coordinator.
#[derive(Debug, Serialize)]
pub struct MemberView {
    name: String,
    node_id: u64,
    /// `voter`, `learner`, `outside` or `removed`.
    role: String,
    leader: bool,
    reached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    unreached_because: String,
    /// Its removal was begun and goes on by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
    /// Why it applies nothing any more.
    #[serde(skip_serializing_if = "String::is_empty")]
    stands_still: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<u64>,
    /// Entries of the leader's log that it does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    /// `probing`, `replicating` or `snapshot`: how the leader gets entries to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<String>,
    /// Since the leader last heard it.
    #[serde(skip_serializing_if = "Option::is_none")]
    heard_ago: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steady_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_sync_p50: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_sync_p99: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<DiskView>,
    build: String,
    level: u32,
    peer_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    probe_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<String>,
    #[serde(skip)]
    short: Short,
}

/// Lengths as a table shows them.
#[derive(Debug, Default)]
struct Short {
    rtt: Option<String>,
    syncs: Option<String>,
    heard: Option<String>,
}

/// Bytes that a coordinator's data takes.
#[derive(Debug, Serialize)]
pub struct DiskView {
    log_bytes: u64,
    rows_bytes: u64,
    snapshot_bytes: u64,
    history_bytes: u64,
    /// Windows wait at their probes.
    history_full: bool,
}

impl MemberView {
    fn new(member: &v1::ClusterMember) -> Self {
        let own = |value: u64| member.reached.then_some(value);
        let syncs = time::rounded(member.log_sync_p50.as_ref())
            .zip(time::rounded(member.log_sync_p99.as_ref()))
            .map(|(half, most)| format!("{half}/{most}"));
        Self {
            name: member.name.clone(),
            node_id: member.node_id,
            role: word::member_role(member.role),
            leader: member.leader,
            reached: member.reached,
            unreached_because: member.unreached_because.clone(),
            leaving: member.leaving,
            stands_still: member.stands_still.clone(),
            term: own(member.term),
            applied: own(member.applied),
            lag: member.lag,
            progress: word::said(word::member_progress(member.progress)),
            heard_ago: time::length(member.heard_ago.as_ref()),
            steady_for: time::length(member.steady_for.as_ref()),
            round_trip: time::length(member.round_trip.as_ref()),
            log_sync_p50: time::length(member.log_sync_p50.as_ref()),
            log_sync_p99: time::length(member.log_sync_p99.as_ref()),
            disk: member.reached.then_some(DiskView {
                log_bytes: member.log_bytes,
                rows_bytes: member.rows_bytes,
                snapshot_bytes: member.snapshot_bytes,
                history_bytes: member.history_bytes,
                history_full: member.history_full,
            }),
            build: member.build.clone(),
            level: member.level,
            peer_address: member.peer_address.clone(),
            probe_address: member.probe_address.clone(),
            api_address: member.api_address.clone(),
            added: time::instant(member.added_at.as_ref()),
            short: Short {
                rtt: time::rounded(member.round_trip.as_ref()),
                syncs,
                heard: time::rounded(member.heard_ago.as_ref()),
            },
        }
    }

    /// The role with what is remarkable about it.
    fn standing(&self) -> (String, Tone) {
        match self.role.as_str() {
            role if self.leaving => (format!("{role}, leaving"), Tone::Warn),
            role if !self.stands_still.is_empty() => (format!("{role}, stands still"), Tone::Bad),
            _ if self.leader => ("leader".to_owned(), Tone::Good),
            "outside" | "removed" => (self.role.clone(), Tone::Dim),
            role if !self.reached => (format!("{role}, not reached"), Tone::Bad),
            "learner" => (self.role.clone(), Tone::Warn),
            role => (role.to_owned(), Tone::Plain),
        }
    }
}

/// `cluster status`.
#[derive(Debug, Serialize)]
pub struct ClusterView {
    mesh: String,
    cluster_id: String,
    epoch: u64,
    level: u32,
    /// Absent: no member knows of a leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    term: u64,
    revision: u64,
    answered_by: u64,
    members: Vec<MemberView>,
}

impl ClusterView {
    /// The view of an answer.
    pub fn new(cluster: &v1::GetClusterResponse) -> Self {
        let leader = cluster.members.iter().find(|member| member.node_id == cluster.leader_id);
        Self {
            mesh: cluster.mesh.clone(),
            cluster_id: cluster.cluster_id.clone(),
            epoch: cluster.epoch,
            level: cluster.level,
            leader: leader.map(|member| member.name.clone()),
            term: cluster.term,
            revision: cluster.revision,
            answered_by: cluster.answered_by,
            members: cluster.members.iter().map(MemberView::new).collect(),
        }
    }

    /// One line a member that is not removed.
    pub fn table(&self, shell: &Shell) -> String {
        let mut table = Table::new([
            "NAME",
            "ID",
            "ROLE",
            "TERM",
            "APPLIED",
            "LAG",
            "HEARD",
            "RTT",
            "FSYNC P50/P99",
            "DISK",
            "BUILD",
            "PEERS AT",
        ]);
        for member in self.members.iter().filter(|member| member.role != "removed") {
            let plain = |text: String| (text, Tone::Plain);
            let number = |number: Option<u64>| {
                plain(number.map_or_else(|| "-".to_owned(), |number| number.to_string()))
            };
            let disk = member.disk.as_ref().map(|disk| {
                let all =
                    disk.log_bytes + disk.rows_bytes + disk.snapshot_bytes + disk.history_bytes;
                let full = if disk.history_full { ", history FULL" } else { "" };
                format!("{}{full}", bytes(all))
            });
            table.toned([
                plain(member.name.clone()),
                plain(member.node_id.to_string()),
                member.standing(),
                number(member.term),
                number(member.applied),
                number(member.lag),
                plain(time::or_dash(member.short.heard.clone())),
                plain(time::or_dash(member.short.rtt.clone())),
                plain(time::or_dash(member.short.syncs.clone())),
                (
                    time::or_dash(disk),
                    match &member.disk {
                        Some(disk) if disk.history_full => Tone::Bad,
                        _ => Tone::Plain,
                    },
                ),
                plain(time::or_dash(Some(member.build.clone()))),
                plain(member.peer_address.clone()),
            ]);
        }
        shell.rows(table)
    }

    /// In one line, how the group stands.
    pub fn summary(&self) -> String {
        let voters: Vec<&MemberView> =
            self.members.iter().filter(|member| member.role == "voter").collect();
        let reached = voters.iter().filter(|member| member.reached).count();
        let learners = self.members.iter().filter(|member| member.role == "learner").count();
        let leader = match &self.leader {
            Some(name) => format!("{name} leads in term {}", self.term),
            None => format!("no leader is known (term {})", self.term),
        };
        let mut text = format!("{leader}; {reached} of {} voters reached", voters.len());
        if learners > 0 {
            text.push_str(&format!("; {learners} learning"));
        }
        for member in &self.members {
            if !member.stands_still.is_empty() {
                text.push_str(&format!("\n{}: {}", member.name, member.stands_still));
            }
            if member.leaving {
                let name = &member.name;
                text.push_str(&format!("\n{name} is being removed; that goes on by itself"));
            }
        }
        for member in self.members.iter().filter(|member| !member.unreached_because.is_empty()) {
            text.push_str(&format!(
                "\n{} is not reached: {}",
                member.name, member.unreached_because
            ));
        }
        text
    }
}

/// Bytes at a glance: `812 B`, `4.2 MiB`.
fn bytes(bytes: u64) -> String {
    let mut unit = "B";
    let mut size = bytes as f64;
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1_024.0 {
            break;
        }
        size /= 1_024.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// How far a member that was added is, in one line.
pub fn progress(name: &str, member: Option<&v1::ClusterMember>) -> String {
    let Some(member) = member else { return format!("{name} is not a member") };
    match member.role() {
        v1::MemberRole::Voter => format!("{name} votes"),
        v1::MemberRole::Removed => format!("{name} was removed"),
        v1::MemberRole::Outside => format!("{name} is not in the group yet; add it once more"),
        v1::MemberRole::Learner | v1::MemberRole::Unspecified => {
            let lag = member.lag.unwrap_or_default();
            let steady = member.steady_for.as_ref().and_then(time::positive).unwrap_or_default();
            match (member.heard_ago, member.progress()) {
                (None, _) => format!("{name} is not heard yet; is it started?"),
                (_, v1::MemberProgress::Snapshot) => {
                    format!("{name} is being sent a snapshot, {lag} entries behind")
                }
                _ if lag > 0 => format!("{name} learns, {lag} entries behind"),
                _ => format!("{name} has it all, heard steadily for {} s", steady.as_secs()),
            }
        }
    }
}

/// `cluster add`.
#[derive(Debug, Serialize)]
pub struct AddedView {
    name: String,
    node_id: u64,
    revision: u64,
    /// What starts the new member; the two directories are for its operator to choose.
    command: Vec<String>,
}

impl AddedView {
    /// The view of an answer.
    pub fn new(name: &str, peer_address: &str, added: &v1::AddMemberResponse) -> Self {
        let port = peer_address.rsplit_once(':').map_or("7102", |(_, port)| port);
        let listen = format!("[::]:{port}");
        let words = [
            "parallax-coordinator",
            "--mesh",
            &added.mesh,
            "--name",
            name,
            "--data-dir",
            "/var/lib/parallax",
            "--tls-dir",
            "/etc/parallax/tls",
            "--listen-peers",
            &listen,
            "--join",
            &added.join_address,
        ];
        Self {
            name: name.to_owned(),
            node_id: added.node_id,
            revision: added.revision,
            command: words.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    /// What was done and what is to be done.
    pub fn told(&self) -> String {
        let Self { name, node_id, revision, .. } = self;
        format!(
            "{name} is member {node_id} since revision {revision}, and votes once it has caught up. \
             On its machine, with the certificate of `parallax pki issue coordinator {name}`, an empty \
             data directory and its own --listen-api and --listen-probes:"
        )
    }

    /// What starts the new member.
    pub fn command_line(&self) -> String {
        self.command.join(" ") + "\n"
    }
}

/// `cluster promote|remove|transfer`.
#[derive(Debug, Serialize)]
pub struct MovedView {
    name: String,
    /// `voter`, `removed` or `leader`.
    is: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    revision: u64,
}

impl MovedView {
    /// What became of a member. A revision of 0 is none.
    pub fn new(name: &str, is: &'static str, revision: u64) -> Self {
        Self { name: name.to_owned(), is, revision }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;

    fn length(ms: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 })
    }

    fn cluster() -> v1::GetClusterResponse {
        let member = |node_id: u64, role: v1::MemberRole| v1::ClusterMember {
            node_id,
            name: format!("c{node_id}"),
            role: role.into(),
            reached: true,
            term: 7,
            applied: 1_200,
            lag: Some(0),
            log_sync_p50: length(1),
            log_sync_p99: length(4),
            log_bytes: 3 << 20,
            rows_bytes: 1 << 20,
            build: "b1".into(),
            peer_address: format!("10.0.0.{node_id}:7102"),
            ..v1::ClusterMember::default()
        };
        let leader = v1::ClusterMember { leader: true, ..member(1, v1::MemberRole::Voter) };
        let away = v1::ClusterMember {
            reached: false,
            unreached_because: "no answer within 1 s".into(),
            heard_ago: length(900),
            log_sync_p50: None,
            log_sync_p99: None,
            lag: Some(41),
            ..member(2, v1::MemberRole::Voter)
        };
        let learner = v1::ClusterMember {
            lag: Some(17),
            heard_ago: length(60),
            round_trip: length(2),
            progress: v1::MemberProgress::Replicating.into(),
            ..member(3, v1::MemberRole::Learner)
        };
        v1::GetClusterResponse {
            mesh: "prod".into(),
            leader_id: 1,
            term: 7,
            revision: 1_200,
            answered_by: 1,
            members: vec![leader, away, learner, member(4, v1::MemberRole::Removed)],
            ..v1::GetClusterResponse::default()
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_member_and_none_for_removed_ones() {
        let mut shell = Shell::of_process(Format::Table, true);
        shell.width = None;
        let view = ClusterView::new(&cluster());
        assert_eq!(
            view.table(&shell),
            "NAME  ID  ROLE                TERM  APPLIED  LAG  HEARD  RTT  FSYNC P50/P99  DISK     \
             BUILD  PEERS AT\n\
             c1    1   leader              7     1200     0    -      -    1ms/4ms        4.0 MiB  \
             b1     10.0.0.1:7102\n\
             c2    2   voter, not reached  -     -        41   900ms  -    -              -        \
             b1     10.0.0.2:7102\n\
             c3    3   learner             7     1200     17   60ms   2ms  1ms/4ms        4.0 MiB  \
             b1     10.0.0.3:7102\n"
        );
        assert_eq!(
            view.summary(),
            "c1 leads in term 7; 1 of 2 voters reached; 1 learning\n\
             c2 is not reached: no answer within 1 s"
        );
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["leader"], "c1");
        assert_eq!(json["members"][1]["applied"], serde_json::Value::Null);
        assert_eq!(json["members"][2]["progress"], "replicating");
        assert_eq!(json["members"][3]["role"], "removed");
    }

    #[test]
    fn who_leaves_and_who_stands_still_is_said_with_the_reason() {
        let mut cluster = cluster();
        cluster.members[1] = v1::ClusterMember {
            stands_still: "it stands still at entry 7: install the newer build".into(),
            ..cluster.members[0].clone()
        };
        cluster.members[2].leaving = true;
        let view = ClusterView::new(&cluster);
        let standing = |at: usize| view.members[at].standing().0;
        assert_eq!(
            (standing(1), standing(2)),
            ("voter, stands still".to_owned(), "learner, leaving".to_owned())
        );
        let said = view.summary();
        assert!(said.contains("c1: it stands still at entry 7: install"), "{said}");
        assert!(said.contains("c3 is being removed"), "{said}");
    }

    #[test]
    fn a_new_member_is_told_how_to_start() {
        let added = v1::AddMemberResponse {
            node_id: 4,
            revision: 9,
            join_address: "10.0.0.1:7102".into(),
            mesh: "prod".into(),
        };
        let view = AddedView::new("c4", "c4.example:7302", &added);
        assert_eq!(
            view.command_line(),
            "parallax-coordinator --mesh prod --name c4 --data-dir /var/lib/parallax --tls-dir \
             /etc/parallax/tls --listen-peers [::]:7302 --join 10.0.0.1:7102\n"
        );
        assert!(view.told().contains("member 4"), "{}", view.told());
    }

    #[test]
    fn progress_says_what_a_new_member_waits_for() {
        let learner = cluster().members.remove(2);
        assert_eq!(progress("c3", Some(&learner)), "c3 learns, 17 entries behind");
        let new = v1::ClusterMember { heard_ago: None, ..learner.clone() };
        assert_eq!(progress("c3", Some(&new)), "c3 is not heard yet; is it started?");
        let steady_for = Some(prost_types::Duration { seconds: 4, nanos: 0 });
        let steady = v1::ClusterMember { lag: Some(0), steady_for, ..learner };
        assert_eq!(progress("c3", Some(&steady)), "c3 has it all, heard steadily for 4 s");
        assert_eq!(progress("c3", None), "c3 is not a member");
    }

    #[test]
    fn sizes_are_read_at_a_glance() {
        assert_eq!([0, 1_023, 1_024, 5 << 30].map(bytes), ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]);
    }
}
