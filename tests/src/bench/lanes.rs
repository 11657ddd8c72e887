//! A coordinator process with many checks, five probes that dial it, and the windows that they would send.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use parallax_common::name::Uid;
use parallax_common::time::{MeshTime, ns};
use parallax_proto::v1;
use parallax_runtime::clock;
use prost::Message as _;

use super::windows;
use crate::harness::mesh::Mesh;
use crate::harness::rogue::Rogue;
use crate::harness::wait::{Look, wait_until};
use crate::harness::yaml::{self, CheckYaml};

/// Where every check is looked at from, by one probe each.
pub const REGIONS: [&str; 5] = ["eu-west", "us-east", "us-west", "ap-south", "sa-east"];
/// A probe seals so many in one turn, and sends them unless its lane is behind.
pub const WINDOWS_PER_FRAME: usize = 64;
/// Longest wait for a coordinator that is busy with the load.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A coordinator process with so many checks of this interval, and the connection of each region's probe.
///
/// # Errors
/// When the coordinator does not start, or refuses the checks or the probes.
pub async fn dialled(checks: u32, interval: &str) -> Result<(Mesh, Vec<Rogue>)> {
    let mesh = Mesh::coordinator_alone(super::binaries()?, &REGIONS, Duration::ZERO).await?;
    let checks: Vec<CheckYaml> = (0..checks)
        .map(|n| CheckYaml {
            interval: interval.to_owned(),
            ..CheckYaml::new(&format!("check-{n}"), "http://127.0.0.1:9/", &REGIONS)
        })
        .collect();
    eprintln!("applying {} checks", checks.len());
    mesh.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &checks)).await?;
    let mut probes = Vec::new();
    for region in REGIONS {
        mesh.issue_probe(region, region).await?;
        let endpoint = &mesh.ports()?.probes;
        probes.push(Rogue::dial(endpoint, &mesh.tls(region), region, region).await?);
    }
    Ok((mesh, probes))
}

/// Waits until every probe was told of so many checks.
///
/// # Errors
/// When that takes too long.
pub async fn until_told(checks: u32, told: impl AsyncFn() -> Vec<usize>) -> Result<()> {
    eprintln!("waiting for the plan");
    wait_until(PATIENCE, "every check with every probe", || async {
        let told = told().await;
        Ok(Look::when(told.iter().all(|&told| told == checks as usize), told))
    })
    .await
}

/// Where the first of so many windows begins, when the last of them has just ended. Mesh time
/// reads like UTC in a mesh that has just been started here.
pub fn origin(rounds: u32) -> MeshTime {
    let now = clock::utc().as_ns();
    MeshTime::from_ns(now - now.rem_euclid(ns(windows::PERIOD))) - windows::PERIOD * rounds
}

/// What a probe sends of one round: a window of each check, encoded in frames. Rounds follow each other from 0.
pub fn frames(checks: &[Uid], origin: MeshTime, round: u32) -> Vec<Bytes> {
    let earlier = round as usize * checks.len();
    let frame = |(place, checks): (usize, &[Uid])| {
        let made = |check: &Uid| windows::window(*check, Rogue::INCARNATION, origin, round);
        let before = earlier + place * WINDOWS_PER_FRAME;
        let windows = v1::Windows {
            first_sequence: 1 + before as u64,
            windows: checks.iter().map(made).collect(),
            replay: false,
        };
        let frame = v1::bulk_request::Frame::Windows(windows);
        v1::BulkRequest { frame: Some(frame) }.encode_to_vec().into()
    };
    checks.chunks(WINDOWS_PER_FRAME).enumerate().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_round_follow_those_of_the_round_before_without_a_gap() {
        let checks: Vec<Uid> = (0..150_u128).map(|n| Uid::from_bytes(n.to_be_bytes())).collect();
        let mut next = 1;
        for round in 0..3 {
            for bytes in frames(&checks, MeshTime::from_ns(0), round) {
                let frame = v1::BulkRequest::decode(bytes).unwrap().frame.unwrap();
                let v1::bulk_request::Frame::Windows(windows) = frame else { panic!("no windows") };
                assert_eq!(windows.first_sequence, next);
                next += windows.windows.len() as u64;
            }
        }
        assert_eq!(next, 451);
    }
}
