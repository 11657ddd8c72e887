//! `parallax top` itself, in a pseudo terminal: what it draws when nobody answers, and that it gives the
//! terminal back.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parallax_runtime::clock;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const ENTERS: &str = "\u{1b}[?1049h";
const LEAVES: &str = "\u{1b}[?1049l";
const WITHIN: Duration = Duration::from_secs(20);

/// The program, and the person in front of it.
struct Session {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    seen: Arc<Mutex<String>>,
}

fn certificates(dir: &Path) {
    let parallax = |words: &[&str]| {
        let status = Command::new(env!("CARGO_BIN_EXE_parallax")).args(words).output().unwrap();
        assert!(status.status.success(), "{status:?}");
    };
    let (pki, tls) = (dir.join("pki"), dir.join("anna"));
    let (pki, tls) = (pki.to_str().unwrap(), tls.to_str().unwrap());
    parallax(&["pki", "init", "--mesh", "demo", "--dir", pki]);
    parallax(&["pki", "issue", "user", "anna", "--role", "view", "--dir", pki, "--out", tls]);
}

impl Session {
    fn begin(tls: &Path) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal =
            rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let stdio = || Stdio::from(terminal.try_clone().unwrap());
        // Nobody listens at the first port of all.
        let child = Command::new(env!("CARGO_BIN_EXE_parallax"))
            .args(["top", "--endpoint", "127.0.0.1:1,127.0.0.2:1", "--tls-dir"])
            .arg(tls)
            .env("TERM", "xterm-256color")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        let keyboard = File::from(controller);
        let mut screen = keyboard.try_clone().unwrap();
        let seen = Arc::<Mutex<String>>::default();
        let written = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = screen.read(&mut bytes) {
                written.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, keyboard, terminal, seen }
    }

    fn until(&self, text: &str) {
        let deadline = clock::instant() + WITHIN;
        while !self.seen.lock().unwrap().contains(text) {
            let seen = self.seen.lock().unwrap().clone();
            assert!(clock::instant() < deadline, "{text:?} does not come: {seen:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether what is typed is shown and comes by lines, as a shell wants it.
    fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn end(&mut self) -> ExitStatus {
        let deadline = clock::instant() + WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(clock::instant() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn it_says_that_nobody_answers_reads_keys_meanwhile_and_gives_the_terminal_back() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let tls = dir.path().join("anna");
    for how in ["q", "SIGTERM"] {
        let mut session = Session::begin(&tls);
        session.until(ENTERS);
        // Words alone: blanks are not drawn over blanks.
        session.until("reach");
        assert!(!session.is_as_it_was());
        session.keyboard.write_all(b"?").unwrap();
        session.until("acknowledge");
        if how == "q" {
            session.keyboard.write_all(b"q").unwrap();
        } else {
            let pid = rustix::process::Pid::from_child(&session.child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        assert!(session.end().success(), "{how}");
        session.until(LEAVES);
        assert!(session.is_as_it_was(), "{how}");
    }
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let run = Command::new(env!("CARGO_BIN_EXE_parallax"))
        .args(["top", "--endpoint", "127.0.0.1:1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("parallax status") && said.contains("parallax watch"), "{said}");
    assert!(run.stdout.is_empty());
}
