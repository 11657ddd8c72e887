//! A group of three under constant writes, and a hostile peer at every listener of its leader: each
//! of his ways is refused with a reason that he is told, counted and logged, and nobody else notices.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_tests::harness::group::Group;
use parallax_tests::harness::hostile::{At, Hostile, ROWS, Row, Way};
use parallax_tests::harness::roaming::{Acknowledged, write_forever};
use parallax_tests::harness::wait::{Look, STALE, wait_until};
use parallax_tests::harness::yaml::{self, CheckYaml};
use parallax_tests::harness::{http, until};

const REGION: &str = "eu-west";
const CHECK: &str = "checkout";
/// Members wait at least 19 ticks of 50 ms before they look for another leader.
const ELECTION_AFTER: Duration = Duration::from_millis(950);
/// What the leader may hold more than before: connections and streams up to their bounds.
const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The value of one sample of `/metrics`.
async fn sample(group: &Group, member: &str, name: &str) -> Result<u64> {
    let address = group.addresses(member)?.public.to_string();
    let text = http::get(&address, "/metrics").await?.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no sample {name}"))?.trim().parse()?)
}

/// Attacks until the log names it: of a flood some lines are withheld.
async fn refused(group: &Group, hostile: &Hostile, victim: &str, row: &Row) -> Result<()> {
    let before = sample(group, victim, row.metric).await?;
    let from = group.process(victim)?.log()?.len();
    wait_until(STALE, "a refusal that is told, counted and logged", || async {
        let told = hostile.attack(row).await?;
        ensure!(told.contains(row.told), "he was told {told:?}");
        wait_until(Duration::from_secs(5), "the count", || async {
            let counted = sample(group, victim, row.metric).await?;
            Ok(Look::when(counted > before, counted))
        })
        .await?;
        let log = group.process(victim)?.log()?;
        let mut lines = log[from..].lines();
        let logged = lines.any(|line| row.logged.iter().all(|word| line.contains(word)));
        Ok(Look::when(logged, "counted, and not logged"))
    })
    .await
    .with_context(|| format!("{:?} at {:?}", row.way, row.at))
}

/// Carries out all of them at once, on this task.
async fn all(rows: Vec<impl Future<Output = Result<()>>>) -> Result<()> {
    let mut rows: Vec<_> = rows.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        let mut at = 0;
        while at < rows.len() {
            match rows[at].as_mut().poll(cx) {
                Poll::Ready(Ok(())) => drop(rows.swap_remove(at)),
                Poll::Ready(failed) => return Poll::Ready(failed),
                Poll::Pending => at += 1,
            }
        }
        if rows.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// Who leads in which term, as every member says.
async fn offices(group: &Group) -> Result<Vec<(u64, u64)>> {
    let mut offices = Vec::new();
    for name in group.names() {
        let mesh = group.mesh_status(&name).await?;
        offices.push((mesh.leader_id, mesh.term));
    }
    Ok(offices)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_way_is_refused_by_name_and_nobody_else_is_disturbed() -> Result<()> {
    let mut group = Group::start(parallax_tests::binaries!(), 3, &[REGION]).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &[REGION]);
    group.apply(&yaml::file(&[REGION], "${env:PX_HOOK}", &[check])).await?;
    let victim = group.leader().await?;
    let api = group.api(&victim).await?;
    until::verdict(&api, CHECK, v1::Verdict::Up).await?;
    let hostile = Hostile::enter(&group, &victim).await?;

    let writers = Supervisor::default();
    let mut clients = Vec::new();
    for (number, name) in group.names().into_iter().enumerate() {
        let known = Arc::new(Mutex::new(Acknowledged::default()));
        let endpoints = vec![group.addresses(&name)?.api.to_string()];
        let (tls, stop, here) = (group.tls("anna"), writers.stop_token(), Arc::clone(&known));
        let prefix = format!("by-{number}");
        writers.spawn(TaskKind::Vital("writer"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = write_forever(endpoints, tls, number as u64 + 1, &prefix, here) => {}
            }
        });
        clients.push(known);
    }
    let before = offices(&group).await?;
    let verdict = api.verdict(CHECK).await?;
    let missed = api.probe(REGION).await?.missed;
    let memory = group.process(&victim)?.memory_peak()?;
    let begun = clock::instant();

    // Those who make everybody wait, all at once, and the others one after the other beside them.
    let slow = ROWS.iter().filter(|row| row.way.is_slow());
    let waiting = all(slow.map(|row| refused(&group, &hostile, &victim, row)).collect());
    let others = async {
        for row in ROWS.iter().filter(|row| !row.way.is_slow()) {
            refused(&group, &hostile, &victim, row).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::try_join!(waiting, others)?;

    // No election was held, whoever had wished for one.
    assert_eq!(offices(&group).await?, before);
    let mut gaps = Vec::new();
    for known in &clients {
        let now = clock::instant();
        wait_until(STALE, "a write of each client", || async {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Look::some(known.first_begun_after(now), &known.refused))
        })
        .await?;
        gaps.push(known.lock().unwrap_or_else(PoisonError::into_inner).longest_gap_after(begun));
    }
    let grown = group.process(&victim)?.memory_peak()?.saturating_sub(memory);
    let written: usize =
        clients.iter().map(|known| known.lock().map_or(0, |it| it.names.len())).sum();
    eprintln!("gaps {gaps:?}, {written} writes, memory + {grown}, {:?}", begun.elapsed());
    // Nor did writes stand still for as long as one would take.
    assert!(gaps.iter().all(|gap| *gap < ELECTION_AFTER), "{gaps:?}");
    assert!(grown <= MEMORY_BYTES_MAX, "the leader took {grown} bytes more");
    // The probe noticed nothing either.
    assert_eq!(api.verdict(CHECK).await?.sequence, verdict.sequence);
    assert_eq!(api.probe(REGION).await?.missed, missed);
    assert!(group.sink.pages().is_empty(), "{:?}", group.sink.pages());
    writers.stop();
    assert!(writers.join(STALE).await && !writers.failed(), "a writer failed");
    group.told();
    Ok(())
}

#[test]
fn each_way_is_tried_at_each_listener_that_knows_it() {
    let tried: BTreeSet<(At, Way)> = ROWS.iter().map(|row| (row.at, row.way)).collect();
    assert_eq!(tried.len(), ROWS.len(), "a row is there twice");
    use Way::{
        Drip, Expired, NoHello, OtherCluster, Oversized, RapidReset, Silent, TooManyStreams,
        WrongAuthority, WrongRole,
    };
    let everywhere =
        [WrongAuthority, Expired, WrongRole, Oversized, TooManyStreams, Silent, Drip, RapidReset];
    for at in At::ALL {
        for way in everywhere {
            assert!(tried.contains(&(at, way)), "{way:?} at {at:?}");
        }
        // Whoever uses the API says no hello.
        for way in [OtherCluster, NoHello] {
            assert_eq!(tried.contains(&(at, way)), at != At::Api, "{way:?} at {at:?}");
        }
    }
}
