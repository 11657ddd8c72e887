//! References in checks, resolved from what this probe's own configuration allows.
//!
//! Files are read off the threads that run checks (`Secrets::load`) and kept for a moment; a run
//! then resolves its references from what is kept. A file that changes counts from the next look.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use parallax_common::capture::Captured;
use parallax_common::check::Run;
use parallax_common::outcome::Reason;
use parallax_common::secret::{Reference, Template};
use parallax_runtime::clock;

use super::Failure;
use super::capture::{hide, one_line};

/// Longest content of a referenced file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long a file counts as unchanged: a rotated token is in use this soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Files kept at once; above it all are read anew.
const KEPT_MAX: usize = 1_024;

/// The environment variables and files that checks may name.
#[derive(Debug, Default)]
pub struct Secrets {
    env: Vec<String>,
    files: Arc<[PathBuf]>,
    kept: Mutex<HashMap<String, Kept>>,
}

/// What a file said when it was last looked at.
#[derive(Clone)]
struct Kept {
    looked_at: Instant,
    /// Unchanged while this is.
    stamp: Option<Stamp>,
    value: Result<String, String>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

/// Place, size and time of change of a file.
type Stamp = (PathBuf, u64, u64, i64, i64);

impl Secrets {
    /// Allows these variables, and these files or whatever lies below these directories.
    pub fn new(env: Vec<String>, files: Vec<PathBuf>) -> Self {
        Self { env, files: files.into(), kept: Mutex::default() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the files that a run refers to, those that were not looked at just now. Waits no
    /// longer than the run may take: a file system that hangs must not keep its slot for ever.
    pub(super) async fn load(&self, run: &Run) {
        let mut due = Vec::new();
        for step in &run.steps {
            for template in step.kind.templates() {
                self.due(template, &mut due);
            }
        }
        if due.is_empty() {
            return;
        }
        let allowed = Arc::clone(&self.files);
        let look = move || {
            let look = |(path, before): (String, Option<Kept>)| {
                let kept = look(Path::new(&path), &allowed, before);
                (path, kept)
            };
            due.into_iter().map(look).collect::<Vec<_>>()
        };
        let looked = tokio::time::timeout(run.timeout, tokio::task::spawn_blocking(look)).await;
        if let Ok(Ok(looked)) = looked {
            let mut kept = self.kept();
            if kept.len() + looked.len() > KEPT_MAX {
                kept.clear();
            }
            kept.extend(looked);
        }
    }

    /// The files in this text that are to be looked at, with what is known of them.
    fn due(&self, text: &str, due: &mut Vec<(String, Option<Kept>)>) {
        if !text.contains("${") {
            return;
        }
        // What cannot be parsed is told when it is resolved.
        let Ok(template) = Template::parse(text) else { return };
        let now = clock::instant();
        let kept = self.kept();
        for reference in template.references() {
            let Reference::File(path) = reference else { continue };
            let before = kept.get(path);
            let fresh = |kept: &Kept| now.saturating_duration_since(kept.looked_at) < LOOK_EVERY;
            if !before.is_some_and(fresh) {
                due.push((path.clone(), before.cloned()));
            }
        }
    }

    #[cfg(test)]
    fn resolve(&self, text: &str, used: &mut Vec<String>) -> Result<String, Failure> {
        self.resolve_with(text, &Captured::default(), used)
    }

    /// The text with its references filled in; each value that was looked up goes to `used`.
    pub(super) fn resolve_with(
        &self,
        text: &str,
        captured: &Captured,
        used: &mut Vec<String>,
    ) -> Result<String, Failure> {
        if !text.contains("${") {
            return Ok(text.to_owned());
        }
        let refuse = |why: String| Failure::new(Reason::ConfigError, why);
        let template = Template::parse(text).map_err(|error| refuse(error.to_string()))?;
        template.resolve(|reference| {
            let value = match reference {
                Reference::Capture(name) => {
                    let value = one_line(captured, name)?;
                    hide(value, used);
                    return Ok(value.to_owned());
                }
                reference => {
                    self.look_up(reference).map_err(|why| refuse(format!("{reference} {why}")))?
                }
            };
            if !value.is_empty() {
                used.push(value.clone());
            }
            Ok(value)
        })
    }

    fn look_up(&self, reference: &Reference) -> Result<String, String> {
        match reference {
            Reference::Env(name) if self.env.contains(name) => {
                std::env::var(name).map_err(|_| "is not set on this probe".to_owned())
            }
            Reference::Env(_) => Err("is not allowed on this probe (--allow-env)".to_owned()),
            // Older than the last look: the file could not be looked at in time, and what it said
            // is better than nothing.
            Reference::File(path) => match self.kept().get(path) {
                Some(kept) => kept.value.clone(),
                None => Err("was not read in time on this probe".to_owned()),
            },
            Reference::Capture(_) => Err("was not captured".to_owned()),
        }
    }
}

/// Looks at a file, and reads it unless it is as it was `before`.
fn look(path: &Path, allowed: &[PathBuf], before: Option<Kept>) -> Kept {
    let looked_at = clock::instant();
    match stamp(path, allowed) {
        Err(why) => Kept { looked_at, stamp: None, value: Err(why) },
        Ok(stamp) => match before {
            Some(kept) if kept.stamp.as_ref() == Some(&stamp) => Kept { looked_at, ..kept },
            _ => Kept { looked_at, value: read(&stamp.0), stamp: Some(stamp) },
        },
    }
}

/// The file that a path means, when it is allowed.
fn stamp(path: &Path, allowed: &[PathBuf]) -> Result<Stamp, String> {
    let unreadable = |_| "cannot be read on this probe".to_owned();
    // Links are followed first: a link inside an allowed directory must not lead out of it.
    let real = path.canonicalize().map_err(unreadable)?;
    let within =
        |allowed: &PathBuf| allowed.canonicalize().is_ok_and(|allowed| real.starts_with(allowed));
    if !allowed.iter().any(within) {
        return Err("is not allowed on this probe (--allow-file)".to_owned());
    }
    let meta = std::fs::metadata(&real).map_err(unreadable)?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok((real, meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

fn read(real: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(real).map_err(|_| "cannot be read on this probe".to_owned())?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use parallax_common::check::{HttpStep, IpFamily, Step, StepKind};

    use super::*;

    fn run(headers: &[&str]) -> Run {
        let headers = headers.iter().map(|value| ("x-a".to_owned(), (*value).to_owned()));
        let step = HttpStep {
            url: "http://127.0.0.1/".into(),
            method: "GET".into(),
            headers: headers.collect(),
            body_max_bytes: 1,
            ..HttpStep::default()
        };
        Run {
            steps: vec![Step { name: String::new(), kind: StepKind::Http(step), captures: vec![] }],
            timeout: Duration::from_secs(20),
            expect: vec![],
            warn: vec![],
            invert: false,
            canary: None,
            ip: IpFamily::Auto,
            source_address: None,
            resolver: None,
            samples: 1,
        }
    }

    /// As a run does it.
    async fn resolved(
        secrets: &Secrets,
        text: &str,
        used: &mut Vec<String>,
    ) -> Result<String, Failure> {
        secrets.load(&run(&[text])).await;
        secrets.resolve(text, used)
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_has_changed_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let secrets = Secrets::new(vec![], vec![dir.path().to_owned()]);
        let text = format!("${{file:{}}}", path.display());
        let key = path.display().to_string();
        let mut used = vec![];
        // Nothing is read where runs are prepared.
        assert_eq!(secrets.resolve(&text, &mut used).unwrap_err().reason, Reason::ConfigError);
        assert_eq!(resolved(&secrets, &text, &mut used).await.unwrap(), "one");
        // Just looked at: not looked at again.
        std::fs::write(&path, "second").unwrap();
        secrets.kept().get_mut(&key).unwrap().looked_at += Duration::from_secs(3_600);
        assert_eq!(resolved(&secrets, &text, &mut used).await.unwrap(), "one");
        let age = |secrets: &Secrets| {
            let mut kept = secrets.kept();
            let kept = kept.get_mut(&key).unwrap();
            kept.looked_at = clock::instant() - 2 * LOOK_EVERY;
        };
        age(&secrets);
        assert_eq!(resolved(&secrets, &text, &mut used).await.unwrap(), "second");
        // Unchanged: what is kept counts, marked here to be told from the file.
        secrets.kept().get_mut(&key).unwrap().value = Ok("kept".into());
        age(&secrets);
        assert_eq!(resolved(&secrets, &text, &mut used).await.unwrap(), "kept");
        std::fs::remove_file(&path).unwrap();
        age(&secrets);
        assert!(resolved(&secrets, &text, &mut used).await.is_err());
    }

    #[tokio::test]
    async fn only_what_is_allowed_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("token"), "s3cret\n").unwrap();
        std::fs::write(dir.path().join("outside"), "no\n").unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), inside.join("link")).unwrap();
        let secrets = Secrets::new(vec!["PATH".into()], vec![inside.clone()]);
        let file = |path: PathBuf| format!("Bearer ${{file:{}}}", path.display());
        let mut used = vec![];
        assert_eq!(
            resolved(&secrets, &file(inside.join("token")), &mut used).await.unwrap(),
            "Bearer s3cret"
        );
        assert_eq!(used, ["s3cret"]);
        assert!(secrets.resolve("${env:PATH}", &mut used).is_ok());
        assert_eq!(secrets.resolve("plain", &mut used).unwrap(), "plain");
        assert_eq!(secrets.resolve("$${env:X}", &mut used).unwrap(), "${env:X}");
        for refused in [
            file(dir.path().join("outside")),
            file(inside.join("link")),
            file(inside.join("../outside")),
            file(inside.join("none")),
            "${env:HOME}".to_owned(),
            "${vault:x}".to_owned(),
            "${env:".to_owned(),
        ] {
            let error = resolved(&secrets, &refused, &mut used).await.unwrap_err();
            assert_eq!(error.reason, Reason::ConfigError, "{refused}");
            assert!(!error.evidence.contains("s3cret"));
        }
    }
}
