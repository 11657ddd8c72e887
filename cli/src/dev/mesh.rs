//! The mesh of `parallax dev`: starts its parts, shows what happens, and stops them in order.
//!
//! Nothing here is a shortcut: `members.rs` runs the coordinators and the probes over real sockets,
//! with real certificates and real stores.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use parallax_runtime::supervisor::{Supervisor, TaskKind};
use parallax_runtime::transport::{Credentials, Identity, Role};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::context::{self, Context};
use crate::dev::coordinators::Addresses;
use crate::dev::fault::Faults;
use crate::dev::members::Members;
use crate::dev::place::{Place, REGIONS, Sources};
use crate::dev::screen::Screen;
use crate::dev::watcher::Watcher;
use crate::dev::{DevError, control, coordinators, samples, sink, target};
use crate::pki;

/// The name of every dev mesh.
pub(super) const MESH: &str = "dev";
/// Days its authority lives; its certificates are renewed at each start.
const AUTHORITY_DAYS: u32 = 3_650;
/// Days its certificates live.
const CERTIFICATE_DAYS: u32 = 365;
/// Probes say goodbye within this.
const PROBES_STOP_WITHIN: Duration = Duration::from_secs(5);
/// Coordinators close their stores within this.
const COORDINATORS_STOP_WITHIN: Duration = Duration::from_secs(10);
/// The demo's own servers end within this.
const DEMO_STOPS_WITHIN: Duration = Duration::from_secs(5);
/// What to try is said after the first verdict, or after this.
const HINTS_WITHIN: Duration = Duration::from_secs(4);

/// Ports that a kept configuration names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ports {
    target: u16,
    sink: u16,
}

/// The demo around the mesh.
struct Demo {
    supervisor: Supervisor,
    target: SocketAddr,
    sink: SocketAddr,
    sources: Sources,
    faults: watch::Sender<Faults>,
}

/// Runs a mesh in `dir` until it is interrupted.
pub async fn run(
    dir: &Path,
    keep: bool,
    coordinators: Option<usize>,
    screen: &Screen,
) -> Result<(), DevError> {
    let place = Place::take(dir, keep)?;
    log_to(&place)?;
    let mut interrupted = interrupts().map_err(starting("the signal handlers"))?;
    let plan = coordinators::plan(&place, coordinators)?;
    certificates(&place, &plan)?;
    let demo = Demo::start(&place, screen).await?;
    let (ended, mut endings) = mpsc::channel(plan.len() + REGIONS.len());
    let members = Members::start(&place, &plan, &demo.sources, ended, &mut endings).await?;
    introduce(&place, keep, &demo, &members, screen);

    let lived = tokio::select! {
        lived = live(&place, &demo, &members, screen) => lived,
        ended = endings.recv() => Err(ended.map_or_else(
            || DevError::Samples("every member has gone".to_owned()), // never: one is kept below
            |ended| ended.error(&place),
        )),
        _ = interrupted.recv() => Ok(()),
    };
    screen.line("\nStopping: probes, then coordinators, then the demo.");
    let _ = fs::remove_file(context::client_file(place.dir()));
    let stopped = stop(&place, members, &demo).await;
    lived.and(stopped)
}

/// Applies the samples and shows what happens. Ends only by an error.
async fn live(
    place: &Place,
    demo: &Demo,
    members: &Members,
    screen: &Screen,
) -> Result<(), DevError> {
    let tls_dir = place.tls("user");
    let reachable = Context {
        endpoints: members.endpoints.clone(),
        tls_dir: Some(tls_dir.clone()),
        namespace: None,
    };
    reachable
        .write(&context::client_file(place.dir()))
        .map_err(starting("the file that leads commands here"))?;
    let (faults, each) = (demo.faults.clone(), members.each.clone());
    control::serve(place.dir(), faults, each, screen.clone(), &demo.supervisor)
        .map_err(starting("the control socket"))?;

    let credentials = Credentials::load(&tls_dir)
        .map_err(|error| DevError::Samples(format!("no credentials: {error}")))?;
    let mut watcher = Watcher::new(credentials, members.endpoints.clone(), screen);
    watcher.open().await;
    let written = demo.write_samples(place)?;
    if written {
        samples::apply(&place.samples(), &members.endpoints, &tls_dir, screen)
            .await
            .map_err(|failure| DevError::Samples(failure.to_string()))?;
        demo.applied(place)?;
        screen.event("applied", &place.samples().display().to_string());
    } else {
        screen.event("kept", "the configuration of this directory is in force");
    }

    let hints = tokio::time::sleep(HINTS_WITHIN);
    tokio::pin!(hints);
    let mut hinted = false;
    loop {
        let verdict = tokio::select! {
            verdict = watcher.next() => verdict,
            () = &mut hints, if !hinted => true,
        };
        if verdict && !hinted {
            hinted = true;
            hint(place, members, screen);
        }
    }
}

impl Demo {
    async fn start(place: &Place, screen: &Screen) -> Result<Self, DevError> {
        let supervisor = Supervisor::default();
        let sources = Sources::of_system();
        let (faults, seen) = watch::channel(Faults::default());
        let kept = fs::read(ports_file(place)).ok();
        let kept: Ports =
            kept.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        // A kept port that somebody else has now is given up for another one.
        let target =
            match target::serve(kept.target, sources.clone(), seen.clone(), &supervisor).await {
                Err(_) if kept.target != 0 => {
                    target::serve(0, sources.clone(), seen, &supervisor).await
                }
                bound => bound,
            };
        let target = target.map_err(starting("the demo target"))?;
        let sink = match sink::serve(kept.sink, screen.clone(), &supervisor).await {
            Err(_) if kept.sink != 0 => sink::serve(0, screen.clone(), &supervisor).await,
            bound => bound,
        };
        let sink = sink.map_err(starting("the page sink"))?;
        Ok(Self { supervisor, target, sink, sources, faults })
    }

    /// Writes the samples, unless a kept directory has some for these very ports. True when they
    /// are to be applied.
    fn write_samples(&self, place: &Place) -> Result<bool, DevError> {
        let known = fs::read(ports_file(place)).ok();
        let known = known.and_then(|text| serde_json::from_slice::<Ports>(&text).ok());
        if known == Some(self.ports()) && place.samples().exists() {
            return Ok(false);
        }
        fs::write(place.samples(), samples::yaml(self.target, self.sink))
            .map_err(starting("the samples"))?;
        Ok(true)
    }

    /// Remembers that the samples for these ports are in force.
    fn applied(&self, place: &Place) -> Result<(), DevError> {
        serde_json::to_vec(&self.ports())
            .map_err(io::Error::other)
            .and_then(|text| fs::write(ports_file(place), text))
            .map_err(starting("the file of ports"))
    }

    fn ports(&self) -> Ports {
        Ports { target: self.target.port(), sink: self.sink.port() }
    }
}

async fn stop(place: &Place, members: Members, demo: &Demo) -> Result<(), DevError> {
    let parts = [
        ("a probe", &members.probes, PROBES_STOP_WITHIN),
        ("a coordinator", &members.coordinators, COORDINATORS_STOP_WITHIN),
        ("the demo", &demo.supervisor, DEMO_STOPS_WITHIN),
    ];
    let mut stopped = Ok(());
    for (what, supervisor, within) in parts {
        supervisor.stop();
        if !supervisor.join(within).await {
            stopped = stopped.and(Err(DevError::Stop { what, within, log: place.log() }));
        }
    }
    stopped
}

/// An authority where there is none, and fresh certificates for everybody.
pub(super) fn certificates(place: &Place, plan: &[Addresses]) -> Result<(), DevError> {
    let authority = place.pki();
    if !authority.join(pki::AUTHORITY_KEY).exists() {
        pki::init(MESH, &authority, AUTHORITY_DAYS)?;
    }
    let issue = |member: &str, identity: Identity| {
        pki::issue(&authority, &place.tls(member), &identity, CERTIFICATE_DAYS, true)
    };
    let mesh = || MESH.to_owned();
    for one in plan {
        issue(&one.name, Identity::Coordinator { mesh: mesh(), name: one.name.clone() })?;
    }
    for region in REGIONS {
        let (region, name) = (region.to_owned(), format!("{region}-1"));
        issue(&region.clone(), Identity::Probe { mesh: mesh(), region, name })?;
    }
    let name = "dev".to_owned();
    issue(
        "user",
        Identity::User { mesh: mesh(), name, role: Role::Admin, namespaces: Vec::new() },
    )?;
    Ok(())
}

fn introduce(place: &Place, keep: bool, demo: &Demo, members: &Members, screen: &Screen) {
    let forgets = if keep { "" } else { " (emptied at each start; --data-dir keeps one)" };
    let coordinators = match members.endpoints.len() {
        1 => "one coordinator".to_owned(),
        count => format!("{count} coordinators"),
    };
    screen.line(&format!("A mesh of {coordinators} and five regions runs on this machine."));
    screen.line(&format!("  data    {}{forgets}", place.dir().display()));
    screen.line(&format!("  log     {}", place.log().display()));
    let found = if is_default(place) { " (commands find it without flags)" } else { "" };
    screen.line(&format!("  api     {}{found}", members.endpoints.join(", ")));
    if let Some(public) = members.bound.public {
        screen.line(&format!("  health  http://{public}/healthz"));
    }
    screen.line(&format!("  target  http://{}/", demo.target));
    match &demo.sources {
        Sources::Addresses(known) => {
            let each: Vec<String> =
                known.iter().map(|(address, region)| format!("{region} {address}")).collect();
            screen.line(&format!("  probes  {}", each.join(", ")));
        }
        Sources::Header => screen.line(
            "  probes  all from 127.0.0.1, as this system has no other loopback address; they tell \
             the target their region in a header",
        ),
    }
    screen.line("");
}

fn hint(place: &Place, members: &Members, screen: &Screen) {
    let (dev, flags) = if is_default(place) {
        ("parallax dev".to_owned(), String::new())
    } else {
        let (dir, tls_dir) = (place.dir().display(), place.tls("user"));
        let endpoints = members.endpoints.join(",");
        let flags = format!(" --endpoint {endpoints} --tls-dir {}", tls_dir.display());
        (format!("parallax dev --data-dir {dir}"), flags)
    };
    let mut tries = vec![
        (format!("{dev} break --regions eu-west"), "one region fails: degraded, nobody is woken"),
        (format!("{dev} break"), "all regions fail: down, one incident, one page"),
        (format!("parallax check explain shop{flags}"), "why it is down"),
        (format!("parallax status{flags}"), "every check as every region sees it"),
        (format!("{dev} heal"), "well again: it resolves, and says so once"),
    ];
    if members.endpoints.len() > 1 {
        tries.push((format!("{dev} stop c1"), "a coordinator goes: the others go on without it"));
        tries.push((format!("{dev} start c1"), "and catches up when it is back"));
    }
    let width = tries.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    screen.line("\nTry in another terminal:");
    for (command, why) in tries {
        screen.line(&format!("  {command:<width$}   {why}"));
    }
    screen.line("Other ways to fail: --mode hang, status or slow. Ctrl-C stops everything.\n");
}

/// Whether commands find this mesh without being told where it is.
fn is_default(place: &Place) -> bool {
    place.dir() == context::dev_dir()
}

fn interrupts() -> io::Result<mpsc::Receiver<()>> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (tell, told) = mpsc::channel(1);
    let waiting = Supervisor::default();
    waiting.spawn(TaskKind::Session("signals"), async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let _ = tell.send(()).await;
    });
    Ok(told)
}

/// All that is logged goes to a file: the terminal is for what happens.
fn log_to(place: &Place) -> Result<(), DevError> {
    let path = place.log();
    let mut options = OpenOptions::new();
    let file: File =
        options.create(true).append(true).mode(0o600).open(path).map_err(starting("the log"))?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Where somebody has set up logging already, theirs stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .try_init();
    Ok(())
}

fn ports_file(place: &Place) -> std::path::PathBuf {
    place.dir().join("ports.json")
}

pub(super) fn starting(what: &str) -> impl Fn(io::Error) -> DevError {
    move |source| DevError::Start { what: what.to_owned(), source }
}
