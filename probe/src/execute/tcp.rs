//! A TCP step: connect, and a TLS handshake when asked.

use std::net::IpAddr;
use std::sync::Arc;

use parallax_common::check::{Run, TcpStep};

use super::{Executor, Failure, Seen, Trace, tls};

pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    step: &TcpStep,
    config: Option<&Arc<tls::Config>>,
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let stream = executor.connect(run, (&step.host, step.port), source, trace).await?;
    if let (Some(config), Some(options)) = (config, &step.tls) {
        let name = options.server_name.as_deref().unwrap_or(&step.host);
        tls::handshake(config, name, stream, trace).await?;
    }
    Ok(Seen::default())
}
