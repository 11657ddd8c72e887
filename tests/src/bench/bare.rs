//! HTTP runs of a client that does nothing else: a blocking loop, one run at a time, that connects,
//! asks, reads and closes. Nearly all it takes is the kernel's. It is no lower bound: it sleeps for each
//! answer, and a probe with many runs in flight does not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parallax_runtime::clock;

use super::cpu;
use super::nginx::BODY_BYTES;
use super::place::Place;

/// Runs until the time is over; how many there were, and the processor time of each.
///
/// # Errors
/// When one fails.
pub fn run(targets: &[SocketAddr], length: Duration) -> Result<(u64, Duration)> {
    let (until, before) = (clock::instant() + length, cpu::used_here()?);
    let mut runs = 0;
    for target in targets.iter().cycle() {
        if clock::instant() >= until {
            break;
        }
        ask(*target)?;
        runs += 1;
    }
    Ok((runs, cpu::used_here()? - before))
}

fn ask(target: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {target}\r\naccept: */*\r\nconnection: close\r\n\r\n")?;
    let (mut answer, mut length) = ([0; 4 * BODY_BYTES], 0);
    loop {
        let head = answer[..length].windows(4).position(|four| four == b"\r\n\r\n");
        if head.is_some_and(|head| length >= head + 4 + BODY_BYTES) {
            return Ok(());
        }
        let more = stream.read(&mut answer[length..])?;
        ensure!(more > 0, "the answer of {target} ended after {length} bytes");
        length += more;
    }
}

/// The same in a process of its own, this program at that place, which is to call [`run`] for
/// `--bare` and to print what it gives.
///
/// # Errors
/// When it fails.
pub async fn at(place: &Place, targets: &[SocketAddr], seconds: u32) -> Result<f64> {
    let program = std::env::current_exe()?.display().to_string();
    let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
    let (targets, seconds) = (targets.join(","), seconds.to_string());
    let args = place.arguments(&program, &["--bare", &targets, "--seconds", &seconds]);
    let output = tokio::process::Command::new("unshare").args(args).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the bare client: {said}");
    let text = String::from_utf8(output.stdout)?;
    let (runs, seconds) = text.trim().split_once(' ').context("runs and seconds")?;
    Ok(runs.parse::<f64>()? / seconds.parse::<f64>()?)
}
