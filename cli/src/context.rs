//! Where to connect to: flags and environment first, then a named context, then the mesh that
//! `parallax dev` runs on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::args::Global;

/// A place to connect to, as a contexts file and `client.yaml` hold it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// host:port of coordinators.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Directory with ca.pem, cert.pem and key.pem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_dir: Option<PathBuf>,
    /// Namespace to work in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// `~/.config/parallax/config.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The context to use when neither a flag nor the environment names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// Everything that is needed to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Never empty.
    pub endpoints: Vec<String>,
    /// Directory with ca.pem, cert.pem and key.pem.
    pub tls_dir: PathBuf,
    /// Namespace to work in, when one was named; else `default`.
    pub namespace: Option<String>,
}

/// Why it is not known where to connect to.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Nothing says anything.
    #[error(
        "no coordinator is known: give --endpoint and --tls-dir, name a context in {file}, or start \
         a mesh on this machine with `parallax dev`"
    )]
    Nothing {
        /// The contexts file.
        file: String,
    },
    /// A context that is not in the file.
    #[error("there is no context `{name}` in {file}{}", known(.names))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The contexts file.
        file: String,
        /// What the file has.
        names: Vec<String>,
    },
    /// Only half of what is needed.
    #[error("{0} is missing: give {1}")]
    Half(&'static str, &'static str),
    /// A file that cannot be read or understood.
    #[error("cannot use {file}: {why}")]
    File {
        /// Which one.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A dev mesh of somebody else in our place.
    #[error("{0} belongs to another user: not used")]
    Foreign(String),
}

fn known(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) }
}

/// Where files are looked for.
#[derive(Debug, Clone)]
pub struct Places {
    /// The contexts file.
    pub contexts: PathBuf,
    /// Data directory of `parallax dev`.
    pub dev: PathBuf,
}

impl Places {
    /// Those of the user who runs this process.
    pub fn of_user() -> Self {
        Self { contexts: contexts_file(), dev: dev_dir() }
    }
}

/// `$XDG_CONFIG_HOME/parallax/config.yaml`, or the same under `~/.config`.
pub fn contexts_file() -> PathBuf {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))
        .unwrap_or_else(|| PathBuf::from("."));
    base.join("parallax").join("config.yaml")
}

/// Default data directory of `parallax dev`: one for each user, so that `break`, `heal` and every
/// other command find the running mesh without a flag.
pub fn dev_dir() -> PathBuf {
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|user| {
            !user.is_empty()
                && user
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.')
        })
        .unwrap_or_else(|| "user".to_owned());
    std::env::temp_dir().join(format!("parallax-dev-{user}"))
}

/// The file in a dev mesh's data directory that says how to reach it. Present while it runs.
pub fn client_file(dir: &Path) -> PathBuf {
    dir.join("client.yaml")
}

impl Context {
    /// Writes the file that [`resolve`] falls back to, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = serde_saphyr::to_string(self).map_err(std::io::Error::other)?;
        let unfinished = path.with_extension("yaml.tmp");
        std::fs::write(&unfinished, text)?;
        std::fs::rename(unfinished, path)
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// [`ContextError::File`] when it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, ContextError> {
        parse(path)
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ContextError> {
    let failed = |why: String| ContextError::File { file: path.display().to_string(), why };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| failed(error.to_string()))
}

/// Decides where to connect to. A flag wins over the context field by field; the dev mesh is used
/// only when nothing at all was said.
///
/// # Errors
/// When too little is known, or a file that is needed is wrong.
pub fn resolve(global: &Global, places: &Places) -> Result<Resolved, ContextError> {
    let context = match chosen(global, places)? {
        Some(context) => context,
        None if global.endpoint.is_empty() && global.tls_dir.is_none() => dev(places)?,
        None => Context::default(),
    };
    let endpoints = if global.endpoint.is_empty() {
        context.endpoints
    } else {
        global.endpoint.iter().map(|endpoint| endpoint.trim().to_owned()).collect()
    };
    if endpoints.is_empty() {
        return Err(ContextError::Half("the address of a coordinator", "--endpoint"));
    }
    let tls_dir = global.tls_dir.clone().or(context.tls_dir);
    let tls_dir =
        tls_dir.ok_or(ContextError::Half("the directory with certificates", "--tls-dir"))?;
    let namespace = global.namespace.clone().or(context.namespace);
    Ok(Resolved { endpoints, tls_dir, namespace })
}

fn chosen(global: &Global, places: &Places) -> Result<Option<Context>, ContextError> {
    let file = &places.contexts;
    if !file.exists() {
        return match &global.context {
            Some(name) => Err(ContextError::Unknown {
                name: name.clone(),
                file: file.display().to_string(),
                names: Vec::new(),
            }),
            None => Ok(None),
        };
    }
    let mut contexts: Contexts = parse(file)?;
    let Some(name) = global.context.clone().or(contexts.current.take()) else { return Ok(None) };
    match contexts.contexts.remove(&name) {
        Some(mut context) => {
            // A relative directory is relative to the file that says it.
            let base = file.parent().unwrap_or(Path::new("."));
            context.tls_dir = context.tls_dir.map(|dir| base.join(dir));
            Ok(Some(context))
        }
        None => Err(ContextError::Unknown {
            name,
            file: file.display().to_string(),
            names: contexts.contexts.into_keys().collect(),
        }),
    }
}

fn dev(places: &Places) -> Result<Context, ContextError> {
    let file = client_file(&places.dev);
    if !file.exists() {
        return Err(ContextError::Nothing { file: places.contexts.display().to_string() });
    }
    if !is_ours(&places.dev) {
        return Err(ContextError::Foreign(places.dev.display().to_string()));
    }
    Context::read(&file)
}

/// The directory lies in a place where anybody may put one: only our own is followed.
#[cfg(unix)]
fn is_ours(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let owner = |path: &Path| std::fs::metadata(path).map(|found| found.uid()).ok();
    match owner(Path::new("/proc/self")).or_else(|| owner(&std::env::home_dir()?)) {
        Some(ours) => owner(dir) == Some(ours),
        None => false,
    }
}

#[cfg(not(unix))]
fn is_ours(_dir: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(dir: &Path) -> Places {
        Places { contexts: dir.join("config.yaml"), dev: dir.join("dev") }
    }

    fn contexts(dir: &Path) {
        let text = "current: prod\ncontexts:\n  prod: {endpoints: [p:1], tls_dir: tls, namespace: \
                    pay}\n  lab: {endpoints: [l:1]}\n";
        std::fs::write(dir.join("config.yaml"), text).unwrap();
    }

    #[test]
    fn flags_win_over_the_context_field_by_field() {
        let dir = tempfile::tempdir().unwrap();
        contexts(dir.path());
        let global = Global { endpoint: vec!["f:1".into()], ..Global::default() };
        let resolved = resolve(&global, &places(dir.path())).unwrap();
        assert_eq!(resolved.endpoints, ["f:1"]);
        assert_eq!(resolved.tls_dir, dir.path().join("tls"));
        assert_eq!(resolved.namespace.as_deref(), Some("pay"));
    }

    #[test]
    fn an_unknown_context_names_those_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        contexts(dir.path());
        let global = Global { context: Some("porд".into()), ..Global::default() };
        let error = resolve(&global, &places(dir.path())).unwrap_err().to_string();
        assert!(error.contains("lab, prod"), "{error}");
    }

    #[test]
    fn half_a_context_says_which_half_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        contexts(dir.path());
        let global = Global { context: Some("lab".into()), ..Global::default() };
        let error = resolve(&global, &places(dir.path())).unwrap_err().to_string();
        assert!(error.contains("--tls-dir"), "{error}");
    }

    #[test]
    fn the_dev_mesh_is_used_only_when_nothing_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let nothing = resolve(&Global::default(), &places);
        assert!(matches!(nothing, Err(ContextError::Nothing { .. })));
        std::fs::create_dir(&places.dev).unwrap();
        let dev = Context {
            endpoints: vec!["127.0.0.1:7000".into()],
            tls_dir: Some("/t".into()),
            namespace: None,
        };
        dev.write(&client_file(&places.dev)).unwrap();
        let resolved = resolve(&Global::default(), &places).unwrap();
        assert_eq!(resolved.endpoints, dev.endpoints);
        let global = Global { endpoint: vec!["f:1".into()], ..Global::default() };
        assert!(matches!(resolve(&global, &places), Err(ContextError::Half(..))));
    }

    #[test]
    fn a_contexts_file_with_an_unknown_field_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yaml"), "contexts: {a: {endpoint: [x]}}\n").unwrap();
        let error = resolve(&Global::default(), &places(dir.path())).unwrap_err().to_string();
        assert!(error.contains("config.yaml") && error.contains("endpoint"), "{error}");
    }
}
