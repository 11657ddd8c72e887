//! An SSH step: connect, and hear what the server says before anybody logs in.

use std::net::IpAddr;

use parallax_common::check::{Run, SshStep};

use super::converse::converse;
use super::{Executor, Failure, Seen, Trace};
use crate::core::talk::Speaking;
use crate::core::talk::ssh::Ssh;

pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &SshStep,
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let target = (step.host.as_str(), step.port);
    let mut stream = executor.connect(run, target, source, trace).await?;
    let spoken = converse(&mut stream, Speaking::Ssh(Ssh::new()), trace).await?;
    let ssh = match spoken {
        Speaking::Ssh(spoken) => Some(spoken.into_offer()),
        _ => None,
    };
    Ok(Seen { ssh, ..Seen::default() })
}
