//! The way from `dev break`, `heal`, `stop` and `start` to the mesh that runs: a socket in its
//! directory, which only its owner may enter. One line of JSON there, one back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parallax_runtime::supervisor::{Supervisor, TaskKind};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::dev::coordinators::{Coordinators, TURN_WITHIN};
use crate::dev::fault::{Faults, Mode};
use crate::dev::screen::Screen;

/// A request or an answer. Longer ones are not read.
const LINE_BYTES_MAX: u64 = 4 * 1024;
/// Either side waits this long for the other.
const PATIENCE: Duration = Duration::from_secs(2);

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Let the target fail.
    Break {
        /// As seen from here; none means everywhere.
        regions: Vec<String>,
        /// How.
        mode: Mode,
    },
    /// Let it work.
    Heal {
        /// As seen from here; none means everywhere.
        regions: Vec<String>,
    },
    /// Stop a coordinator.
    Stop {
        /// Its name.
        coordinator: String,
    },
    /// Start one that was stopped.
    Start {
        /// Its name.
        coordinator: String,
    },
}

impl Request {
    /// How long its answer may take.
    fn patience(&self) -> Duration {
        match self {
            Self::Break { .. } | Self::Heal { .. } => PATIENCE,
            Self::Stop { .. } | Self::Start { .. } => TURN_WITHIN,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Done(String),
    Refused(String),
}

/// Why a running mesh could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// None runs.
    #[error("no dev mesh runs in {}: start one with `parallax dev`", .0.display())]
    NoMesh(PathBuf),
    /// It does not answer.
    #[error("the dev mesh in {} does not answer", dir.display())]
    Silent {
        /// Where it runs.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// Asks the mesh that runs in `dir`; what it says comes back.
pub async fn ask(dir: &Path, request: &Request) -> Result<String, ControlError> {
    let silent = |source| ControlError::Silent { dir: dir.to_owned(), source };
    let stream = match UnixStream::connect(socket(dir)).await {
        Ok(stream) => stream,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ControlError::NoMesh(dir.to_owned())
                }
                _ => silent(error),
            });
        }
    };
    let exchanged = tokio::time::timeout(PATIENCE + request.patience(), async {
        let (read, mut write) = stream.into_split();
        write.write_all(&line_of(request)?).await?;
        read_line(read).await
    });
    let line = exchanged.await.map_err(|_| silent(io::ErrorKind::TimedOut.into()))?;
    let answer = line.and_then(|line| serde_json::from_str(&line).map_err(io::Error::other));
    match answer.map_err(silent)? {
        Answer::Done(text) => Ok(text),
        Answer::Refused(text) => Err(ControlError::Refused(text)),
    }
}

/// Opens the socket in `dir`, which this process holds the lock of, and changes `faults` and
/// `coordinators` as it is asked to.
pub(super) fn serve(
    dir: &Path,
    faults: watch::Sender<Faults>,
    coordinators: Coordinators,
    screen: Screen,
    supervisor: &Supervisor,
) -> io::Result<()> {
    let path = socket(dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    let stop = supervisor.stop_token();
    supervisor.spawn(TaskKind::Session("control"), async move {
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the control socket failed");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            // One at a time: only the owner can come here, and nobody holds it for long.
            answer(stream, &faults, &coordinators, &screen).await;
        }
        let _ = std::fs::remove_file(&path);
    });
    Ok(())
}

async fn answer(
    stream: UnixStream,
    faults: &watch::Sender<Faults>,
    coordinators: &Coordinators,
    screen: &Screen,
) {
    let (read, mut write) = stream.into_split();
    let Ok(Ok(line)) = tokio::time::timeout(PATIENCE, read_line(read)).await else {
        tracing::warn!("a control request did not come");
        return;
    };
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let patience = request.patience();
            let done = carry_out(request, faults, coordinators, screen);
            tokio::time::timeout(patience, done).await.unwrap_or_else(|_| {
                Answer::Refused(format!("not done within {} s; see the log", patience.as_secs()))
            })
        }
        Err(error) => Answer::Refused(format!("not understood: {error}")),
    };
    if let Ok(line) = line_of(&answer) {
        // Whoever asked may have gone.
        let _ = tokio::time::timeout(PATIENCE, write.write_all(&line)).await;
    }
}

async fn carry_out(
    request: Request,
    faults: &watch::Sender<Faults>,
    coordinators: &Coordinators,
    screen: &Screen,
) -> Answer {
    let (what, done) = match &request {
        Request::Break { .. } | Request::Heal { .. } => ("target", change(&request, faults)),
        Request::Stop { coordinator } => ("mesh", coordinators.stop(coordinator).await),
        Request::Start { coordinator } => ("mesh", coordinators.begin(coordinator).await),
    };
    match done {
        Ok(text) => {
            screen.event(what, &text);
            Answer::Done(text)
        }
        Err(why) => Answer::Refused(why),
    }
}

fn change(request: &Request, faults: &watch::Sender<Faults>) -> Result<String, String> {
    let mut changed = faults.borrow().clone();
    let done = match request {
        Request::Break { regions, mode } => changed.break_for(regions, *mode),
        Request::Heal { regions } => changed.heal_for(regions),
        Request::Stop { .. } | Request::Start { .. } => Ok(()),
    };
    done.map_err(|refused| refused.to_string())?;
    let text = changed.describe();
    faults.send_replace(changed);
    Ok(text)
}

fn line_of(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line)
}

async fn read_line(read: impl tokio::io::AsyncRead + Unpin) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_running_mesh_is_broken_and_healed_through_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let everywhere = Request::Break { regions: Vec::new(), mode: Mode::Refuse };
        let none = ask(dir.path(), &everywhere).await.unwrap_err();
        assert!(matches!(none, ControlError::NoMesh(_)), "{none:?}");

        let supervisor = Supervisor::default();
        let (faults, seen) = watch::channel(Faults::default());
        let coordinators = Coordinators::default();
        serve(dir.path(), faults, coordinators, Screen::to(io::sink()), &supervisor).unwrap();
        let said = ask(dir.path(), &everywhere).await.unwrap();
        assert_eq!(said, "the target refuses connections for every region");
        assert!(seen.borrow().closed());

        let one = Request::Heal { regions: vec!["eu-west".to_owned()] };
        let said = ask(dir.path(), &one).await.unwrap();
        assert_eq!(said, "the target refuses connections for ap-south, sa-east, us-east, us-west");
        assert!(!seen.borrow().closed());

        let wrong = Request::Heal { regions: vec!["mars".to_owned()] };
        let refused = ask(dir.path(), &wrong).await.unwrap_err();
        assert!(matches!(refused, ControlError::Refused(_)), "{refused:?}");

        let nobody = Request::Stop { coordinator: "c9".to_owned() };
        let refused = ask(dir.path(), &nobody).await.unwrap_err().to_string();
        assert!(refused.contains("there is no coordinator `c9`"), "{refused}");

        let mut nonsense = UnixStream::connect(socket(dir.path())).await.unwrap();
        nonsense.write_all(b"{\"break\":{\"regions\":[],\"mode\":\"nap\"}}\n").await.unwrap();
        let mut answer = String::new();
        nonsense.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("{\"refused\":\"not understood"), "{answer}");

        supervisor.stop();
        assert!(supervisor.join(Duration::from_secs(5)).await);
        assert!(matches!(ask(dir.path(), &one).await, Err(ControlError::NoMesh(_))));
    }
}
