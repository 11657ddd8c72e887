//! A TCP step and a TLS step: connect, and a handshake when asked.

use std::net::IpAddr;

use parallax_common::check::{Run, TlsOptions};

use super::{Executor, Failure, Seen, Trace, tls};

pub(super) async fn run(
    executor: &Executor,
    run: &Run,
    target: (&str, u16),
    tls: Option<(&tls::Config, &TlsOptions)>,
    source: Option<IpAddr>,
    trace: &mut Trace,
) -> Result<Seen, Failure> {
    let stream = executor.connect(run, target, source, trace).await?;
    if let Some((config, options)) = tls {
        let name = options.server_name.as_deref().unwrap_or(target.0);
        tls::handshake(config, name, stream, trace).await?;
    }
    Ok(Seen::default())
}
