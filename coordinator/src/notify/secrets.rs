//! Resolves `${env:NAME}` and `${file:PATH}` for contacts, where and when they are used, from what
//! this coordinator's own configuration allows: whoever may edit contacts chooses where a value is
//! sent, and must not be able to choose which.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parallax_common::limits::SECRET_FILE_BYTES_MAX;
use parallax_common::secret::{Reference, Template, TemplateError};
use parallax_proto::v1::{Secret, secret};
use rustix::fs::{Mode, OFlags};

/// The environment variables and files that contacts may name.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Allowed>);

#[derive(Debug, Default)]
struct Allowed {
    env: Vec<String>,
    files: Vec<PathBuf>,
}

/// Why a value cannot be had. Names the reference, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no value at all.
    #[error("no value is configured")]
    Absent,
    /// Values that only members can open are not built yet.
    #[error("sealed values cannot be opened yet")]
    Sealed,
    /// The text is not a template.
    #[error("the value cannot be read")]
    Template(#[from] TemplateError),
    /// The variable is not one of those that contacts may name.
    #[error("{0} is not allowed on this coordinator (--allow-env)")]
    EnvRefused(Reference),
    /// The variable is not set here, or not text.
    #[error("{0} is not set on this coordinator")]
    Env(Reference),
    /// Only steps of checks capture anything.
    #[error("{0} is for the steps of a check")]
    Capture(Reference),
    /// The file is not one of those that contacts may name.
    #[error("{0} is not allowed on this coordinator (--allow-file)")]
    FileRefused(Reference),
    /// The file cannot be read.
    #[error("{0} cannot be read on this coordinator")]
    File(Reference, #[source] io::Error),
    /// The reading task is gone: the process ends.
    #[error("{0} was not read")]
    Stopped(Reference),
}

impl Secrets {
    /// Allows these variables, and these files or whatever lies below these directories.
    pub fn new(env: Vec<String>, files: Vec<PathBuf>) -> Self {
        Self(Arc::new(Allowed { env, files }))
    }

    /// The value of `secret` on this machine, now. What its references stand for is added to `used`:
    /// it must not be shown to anybody.
    ///
    /// # Errors
    /// A reference that is not allowed or cannot be resolved here; the message names it.
    pub async fn resolve(
        &self,
        secret: Option<&Secret>,
        used: &mut Vec<String>,
    ) -> Result<String, SecretError> {
        let text = match secret.and_then(|secret| secret.value.as_ref()) {
            None => return Err(SecretError::Absent),
            Some(secret::Value::Sealed(_)) => return Err(SecretError::Sealed),
            Some(secret::Value::Template(text)) => text,
        };
        let template = Template::parse(text)?;
        let mut found = Vec::new();
        for reference in template.references() {
            found.push(self.look_up(reference).await?);
        }
        used.extend(found.iter().cloned());
        let mut found = found.into_iter();
        template.resolve(|_| Ok(found.next().unwrap_or_default()))
    }

    async fn look_up(&self, reference: &Reference) -> Result<String, SecretError> {
        match reference {
            Reference::Env(name) if self.0.env.contains(name) => {
                std::env::var(name).map_err(|_| SecretError::Env(reference.clone()))
            }
            Reference::Env(_) => Err(SecretError::EnvRefused(reference.clone())),
            Reference::Capture(_) => Err(SecretError::Capture(reference.clone())),
            Reference::File(path) => {
                let (allowed, path) = (Arc::clone(&self.0), PathBuf::from(path));
                let read = tokio::task::spawn_blocking(move || allowed.read(&path)).await;
                match read {
                    Ok(Ok(Some(text))) => Ok(text),
                    Ok(Ok(None)) => Err(SecretError::FileRefused(reference.clone())),
                    Ok(Err(error)) => Err(SecretError::File(reference.clone(), error)),
                    Err(_) => Err(SecretError::Stopped(reference.clone())),
                }
            }
        }
    }
}

impl Allowed {
    /// What an allowed file holds, without one newline at its end; none when it is not allowed.
    fn read(&self, path: &Path) -> io::Result<Option<String>> {
        // Links are followed first: a link inside an allowed directory must not lead out of it. A
        // path that is not allowed is refused alike whether something is there or not.
        let Ok(real) = path.canonicalize() else {
            return match self.files.iter().any(|allowed| path.starts_with(allowed)) {
                true => Err(io::ErrorKind::NotFound.into()),
                false => Ok(None),
            };
        };
        let within = |allowed: &PathBuf| allowed.canonicalize().is_ok_and(|a| real.starts_with(a));
        if !self.files.iter().any(within) {
            return Ok(None);
        }
        // Without waiting: opening a pipe would, until somebody writes to it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = std::fs::File::from(rustix::fs::open(&real, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        // The size that is looked up first says nothing about what is read afterwards.
        let mut bytes = Vec::new();
        file.take(SECRET_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > SECRET_FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text"))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn template(text: &str) -> Secret {
        Secret { value: Some(secret::Value::Template(text.into())) }
    }

    fn file(path: &Path) -> Secret {
        template(&format!("Bearer ${{file:{}}}", path.display()))
    }

    #[tokio::test]
    async fn a_file_is_read_when_it_is_used_and_loses_one_newline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "abc\n\n").unwrap();
        let secrets = Secrets::new(vec![], vec![path.clone()]);
        assert_eq!(secrets.resolve(Some(&file(&path)), &mut vec![]).await.unwrap(), "Bearer abc\n");
        std::fs::write(&path, "def\n").unwrap();
        assert_eq!(secrets.resolve(Some(&file(&path)), &mut vec![]).await.unwrap(), "Bearer def");
    }

    #[tokio::test]
    async fn only_what_the_coordinator_allows_is_resolved() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("inside");
        let outside = directory.path().join("outside");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("token"), "s3cret\n").unwrap();
        std::fs::write(&outside, "no\n").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        let secrets = Secrets::new(vec!["PATH".into()], vec![inside.clone()]);
        assert!(secrets.resolve(Some(&template("${env:PATH}")), &mut vec![]).await.is_ok());
        let token = file(&inside.join("token"));
        assert!(secrets.resolve(Some(&token), &mut vec![]).await.is_ok());
        for refused in [
            template("${env:HOME}"),
            file(&outside),
            file(&inside.join("link")),
            file(&inside.join("../outside")),
            file(&directory.path().join("nothing-here")),
            file(Path::new("/dev/zero")),
        ] {
            let error = secrets.resolve(Some(&refused), &mut vec![]).await.unwrap_err();
            let refused = matches!(error, SecretError::EnvRefused(_) | SecretError::FileRefused(_));
            assert!(refused, "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_small_regular_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let large = directory.path().join("large");
        std::fs::File::create(&large).unwrap().set_len(SECRET_FILE_BYTES_MAX + 1).unwrap();
        let allowed = vec![directory.path().to_owned(), PathBuf::from("/dev/zero")];
        let secrets = Secrets::new(vec![], allowed);
        for (path, why) in [
            (pipe.as_path(), "it is not a regular file"),
            (directory.path(), "it is not a regular file"),
            (Path::new("/dev/zero"), "it is not a regular file"),
            (large.as_path(), "file too large"),
        ] {
            let error = secrets.resolve(Some(&file(path)), &mut vec![]).await.unwrap_err();
            assert_eq!(error.source().unwrap().to_string(), why, "{}", path.display());
        }
    }

    #[tokio::test]
    async fn what_cannot_be_resolved_is_named() {
        let secrets = Secrets::new(
            vec!["PARALLAX_NOT_SET_ANYWHERE".into()],
            vec![PathBuf::from("/nonexistent")],
        );
        let cases = [
            (None, "no value is configured"),
            (
                Some(template("${env:PARALLAX_NOT_SET_ANYWHERE}")),
                "${env:PARALLAX_NOT_SET_ANYWHERE} is not set on this coordinator",
            ),
            (
                Some(template("https://x/${file:/nonexistent/token}")),
                "${file:/nonexistent/token} cannot be read on this coordinator",
            ),
            (
                Some(template("${env:PARALLAX_NOT_ALLOWED}")),
                "${env:PARALLAX_NOT_ALLOWED} is not allowed on this coordinator (--allow-env)",
            ),
        ];
        for (secret, message) in cases {
            let error = secrets.resolve(secret.as_ref(), &mut vec![]).await.unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
