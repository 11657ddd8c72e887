//! The configuration a dev mesh starts with, as a file of its own that can be edited and applied,
//! and the way it gets to the coordinator: that of `parallax apply`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::args::{Apply, Format, What};
use crate::client::{Client, TlsDial};
use crate::command::apply;
use crate::dev::place::REGIONS;
use crate::dev::screen::Screen;
use crate::exit::Failure;
use crate::output::Shell;

/// The apply set of the samples.
const SET: &str = "default";
/// There is a leader long before this.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// The samples, against a target and with pages to a sink.
pub fn yaml(target: SocketAddr, sink: SocketAddr) -> String {
    let regions = REGIONS.map(|region| format!("{{name: {region}}}")).join(", ");
    let all = REGIONS.join(", ");
    format!(
        "# What `parallax dev` starts with. Change it, then: parallax apply --set {SET} -f <this file>
regions: [{regions}]
defaults: {{interval: 1s, timeout: 900ms, regions: [{all}]}}
contacts:
  - {{name: demo, webhook: {{url: \"http://{sink}/\"}}}}
mesh: {{alert: [demo]}}
checks:
  - name: shop
    title: The demo target answers, well and in time
    http: {{url: \"http://{target}/\"}}
    expect: ['status == 200', 'latency < duration(\"500ms\")']
    warn: ['latency < duration(\"250ms\")']
    alert: [demo]
    regional: {{alert: [demo]}}
    warning: {{alert: [demo]}}
  - name: pager
    title: What gets the pages takes connections; `dev break` leaves it alone
    tcp: {{address: \"{sink}\"}}
    interval: 5s
    alert: [demo]
    regional: {{alert: [demo]}}
"
    )
}

/// Applies the file at `endpoints` as the holder of the certificate in `tls_dir`; what is wrong with it goes to
/// the screen.
pub async fn apply(
    file: &Path,
    endpoints: &[String],
    tls_dir: &Path,
    screen: &Screen,
) -> Result<(), Failure> {
    let dial = Box::new(TlsDial::load(tls_dir)?);
    let mut client = Client::new(dial, endpoints.to_vec(), None, RETRY_FOR);
    let mut shell = Shell {
        out: Box::new(std::io::sink()),
        err: Box::new(screen.clone()),
        input: Box::new(std::io::empty()),
        terminal: false,
        format: Format::Table,
        color_out: false,
        color_err: false,
        width: None,
        now: parallax_runtime::clock::utc,
    };
    let what = What {
        files: vec![file.display().to_string()],
        set: Some(SET.to_owned()),
        prune: false,
        yes_delete: None,
        take: false,
    };
    let loaded = apply::load(&what, &mut shell)?;
    let args = Apply { what, dry_run: false };
    apply::apply(&args, &loaded, &mut client, &mut shell).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn the_samples_break_no_rule() {
        let any = SocketAddr::from(([127, 0, 0, 1], 7_000));
        let text = yaml(any, any);
        let loaded = load(Sources::from_texts([("samples.yaml", text.as_str())])).unwrap();
        let names: Vec<&str> = loaded.resources.iter().map(|it| it.name.as_str()).collect();
        let expected = [&REGIONS[..], &["demo", "settings", "shop", "pager"]].concat();
        assert_eq!(names, expected);
    }
}
