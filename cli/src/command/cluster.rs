//! `cluster status|add|promote|remove|transfer`.

use std::time::Duration;

use parallax_proto::v1;
use parallax_proto::v1::cluster_service_client::ClusterServiceClient;

use crate::args::{ClusterAdd, ClusterMember, ClusterStatus, ClusterTransfer};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::cluster::{AddedView, ClusterView, MovedView, progress};

/// Between two looks at a member that is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of the members.
pub(super) async fn look(
    client: &mut Client,
    stale: bool,
) -> Result<v1::GetClusterResponse, Failure> {
    client
        .call(None, |channel| async move {
            ClusterServiceClient::new(channel).get_cluster(v1::GetClusterRequest { stale }).await
        })
        .await
}

/// Every coordinator, as it says it does and as its leader sees it.
///
/// # Errors
/// What the coordinator says.
pub async fn status(
    args: &ClusterStatus,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let view = ClusterView::new(&look(client, args.stale).await?);
    shell.data(&view, |shell| view.table(shell))?;
    shell.say(&view.summary());
    Ok(Exit::Ok)
}

/// Lets a new member in and prints how to start it.
///
/// # Errors
/// What the coordinator says.
pub async fn add(
    args: &ClusterAdd,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request = v1::AddMemberRequest {
        name: args.name.clone(),
        peer_address: args.peer_address.clone(),
        request_id: Some(id.clone()),
    };
    let added = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { ClusterServiceClient::new(channel).add_member(request).await }
        })
        .await?;
    let view = AddedView::new(&args.name, &args.peer_address, &added);
    shell.say(&view.told());
    shell.data(&view, |_| view.command_line())?;
    if args.wait { wait(&args.name, client, shell).await } else { Ok(Exit::Ok) }
}

/// Waits until a member votes, and says how far it is whenever that changes.
async fn wait(name: &str, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let mut said = String::new();
    loop {
        let cluster = look(client, false).await?;
        let member = cluster.members.iter().rev().find(|member| member.name == name);
        let now = progress(name, member);
        if now != said {
            shell.say(&now);
            said = now;
        }
        match member.map(v1::ClusterMember::role) {
            Some(v1::MemberRole::Voter) => return Ok(Exit::Ok),
            Some(v1::MemberRole::Removed) | None => return Ok(Exit::NotFound),
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Gives a learner a vote.
///
/// # Errors
/// What the coordinator says.
pub async fn promote(
    args: &ClusterMember,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request =
        v1::PromoteMemberRequest { name: args.name.clone(), request_id: Some(id.clone()) };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { ClusterServiceClient::new(channel).promote_member(request).await }
        })
        .await?;
    moved(&args.name, "voter", "votes", answer.revision, shell)
}

/// Takes a member out for ever.
///
/// # Errors
/// What the coordinator says.
pub async fn remove(
    args: &ClusterMember,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request = v1::RemoveMemberRequest { name: args.name.clone(), request_id: Some(id.clone()) };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { ClusterServiceClient::new(channel).remove_member(request).await }
        })
        .await?;
    moved(&args.name, "removed", "is removed and stops by itself", answer.revision, shell)
}

/// Hands the leadership to another voter.
///
/// # Errors
/// What the coordinator says, or that no other voter could lead.
pub async fn transfer(
    args: &ClusterTransfer,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => successor(&look(client, false).await?)?,
    };
    let id = client.request_id();
    let request =
        v1::TransferLeadershipRequest { name: name.clone(), request_id: Some(id.clone()) };
    client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { ClusterServiceClient::new(channel).transfer_leadership(request).await }
        })
        .await?;
    moved(&name, "leader", "leads", 0, shell)
}

/// The voter beside the leader that lags the least. Named in the request, so that one that is sent
/// again does not move the leadership twice.
fn successor(cluster: &v1::GetClusterResponse) -> Result<String, Failure> {
    let others = cluster.members.iter().filter(|member| {
        let able = member.reached && member.stands_still.is_empty() && !member.leaving;
        !member.leader && able && member.role() == v1::MemberRole::Voter
    });
    let best = others.min_by_key(|member| (member.lag.unwrap_or(u64::MAX), member.node_id));
    best.map(|member| member.name.clone())
        .ok_or_else(|| Failure::Usage("no other voter is reached that could lead".to_owned()))
}

fn moved(
    name: &str,
    standing: &'static str,
    words: &str,
    revision: u64,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let view = MovedView::new(name, standing, revision);
    shell.data(&view, |_| String::new())?;
    shell.say(&format!("{name} {words}"));
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(
        node_id: u64,
        role: v1::MemberRole,
        lag: Option<u64>,
        leader: bool,
    ) -> v1::ClusterMember {
        let name = format!("c{node_id}");
        let reached = true;
        let role = role.into();
        v1::ClusterMember { node_id, name, role, lag, leader, reached, ..Default::default() }
    }

    #[test]
    fn leadership_goes_to_the_voter_that_lags_the_least() {
        use v1::MemberRole::{Learner, Voter};
        let cluster = |members| v1::GetClusterResponse { members, ..Default::default() };
        let five = vec![
            member(1, Voter, Some(0), true),
            member(2, Voter, Some(9), false),
            member(3, Voter, Some(2), false),
            member(4, Learner, Some(0), false),
            v1::ClusterMember { reached: false, ..member(5, Voter, Some(0), false) },
            v1::ClusterMember { leaving: true, ..member(6, Voter, Some(0), false) },
            v1::ClusterMember {
                stands_still: "too old".to_owned(),
                ..member(7, Voter, Some(0), false)
            },
        ];
        assert_eq!(successor(&cluster(five)).unwrap(), "c3");
        assert!(successor(&cluster(vec![member(1, Voter, Some(0), true)])).is_err());
    }
}
