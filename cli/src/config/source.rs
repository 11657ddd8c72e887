//! Where configuration comes from: files, directories, the standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use parallax_common::limits;

use super::tree::Place;

/// One `-f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file, or a directory whose `*.yaml` and `*.yml` files are read, at any depth.
    Path(PathBuf),
    /// `-`.
    Stdin,
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        if text == "-" { Self::Stdin } else { Self::Path(PathBuf::from(text)) }
    }
}

/// One text and what to call it.
#[derive(Debug)]
pub struct Source {
    /// As in messages: the path as it was given, or `<stdin>`.
    pub name: String,
    /// Paths inside the text are relative to this directory.
    pub directory: PathBuf,
    /// What it holds.
    pub text: String,
}

/// All texts of one apply.
#[derive(Debug, Default)]
pub struct Sources {
    sources: Vec<Source>,
}

/// Why configuration cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or directory that cannot be opened, or a text that is not UTF-8.
    #[error("cannot read {name}")]
    Read {
        /// What was to be read.
        name: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A directory without a single YAML file.
    #[error("{0} holds no .yaml or .yml file")]
    Empty(String),
    /// More than the limit.
    #[error("{name} and what came before it hold more than {} MiB", limits::YAML_BYTES_MAX >> 20)]
    TooLarge {
        /// What went over it.
        name: String,
    },
    /// More files than the limit.
    #[error("more than {} files", limits::YAML_FILES_MAX)]
    TooMany,
    /// `-` twice: the second would be empty.
    #[error("the standard input can be read only once")]
    StdinTwice,
}

impl Sources {
    /// Reads everything that `inputs` name, in their order; directories in the order of names.
    ///
    /// # Errors
    /// The first input that cannot be read.
    pub fn read(inputs: &[Input], stdin: &mut dyn std::io::Read) -> Result<Self, SourceError> {
        let mut sources = Self::default();
        let mut bytes_left = limits::YAML_BYTES_MAX;
        let mut stdin = Some(stdin);
        for input in inputs {
            match input {
                Input::Stdin => {
                    let stdin = stdin.take().ok_or(SourceError::StdinTwice)?;
                    let name = "<stdin>".to_owned();
                    sources.add(name, PathBuf::from("."), stdin, &mut bytes_left)?;
                }
                Input::Path(path) => {
                    let mut files = Vec::new();
                    find(path, &mut files)?;
                    if files.is_empty() {
                        return Err(SourceError::Empty(path.display().to_string()));
                    }
                    for file in files {
                        let name = file.display().to_string();
                        let directory = file.parent().unwrap_or(Path::new(".")).to_path_buf();
                        let mut open = std::fs::File::open(&file)
                            .map_err(|source| SourceError::Read { name: name.clone(), source })?;
                        sources.add(name, directory, &mut open, &mut bytes_left)?;
                    }
                }
            }
        }
        Ok(sources)
    }

    /// Texts that are already in memory, for tests and samples; paths in them are relative to the
    /// working directory.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let sources = texts
            .into_iter()
            .map(|(name, text)| Source {
                name: name.to_owned(),
                directory: PathBuf::from("."),
                text: text.to_owned(),
            })
            .collect();
        Self { sources }
    }

    /// A text as if it stood in a file of this directory.
    #[cfg(test)]
    pub fn beside(directory: &Path, name: &str, text: &str) -> Self {
        let (name, directory, text) = (name.to_owned(), directory.to_owned(), text.to_owned());
        Self { sources: vec![Source { name, directory, text }] }
    }

    fn add(
        &mut self,
        name: String,
        directory: PathBuf,
        from: &mut dyn std::io::Read,
        bytes_left: &mut usize,
    ) -> Result<(), SourceError> {
        if self.sources.len() >= limits::YAML_FILES_MAX {
            return Err(SourceError::TooMany);
        }
        let mut text = String::new();
        from.take(*bytes_left as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|source| SourceError::Read { name: name.clone(), source })?;
        if text.len() > *bytes_left {
            return Err(SourceError::TooLarge { name });
        }
        *bytes_left -= text.len();
        self.sources.push(Source { name, directory, text });
        Ok(())
    }

    /// Every source with its index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Source)> {
        (0u32..).zip(&self.sources)
    }

    /// What to call a source.
    pub fn name(&self, source: u32) -> &str {
        self.sources.get(source as usize).map_or("?", |source| &source.name)
    }

    /// The directory that paths in a source are relative to.
    pub fn directory(&self, source: u32) -> &Path {
        self.sources.get(source as usize).map_or(Path::new("."), |source| &source.directory)
    }

    /// The line on which a place is.
    pub fn line(&self, place: Place) -> Option<&str> {
        let text = &self.sources.get(place.source as usize)?.text;
        text.lines().nth((place.line as usize).checked_sub(1)?)
    }

    /// All names, for the audit.
    pub fn names(&self) -> Vec<&str> {
        self.sources.iter().map(|source| source.name.as_str()).collect()
    }
}

/// Adds a file, or what a directory holds. A named file is read whatever its name ends in; a link
/// to a directory inside a directory is not followed, so that there are no cycles.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), SourceError> {
    let failed = |source| SourceError::Read { name: path.display().to_string(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        entries.push((entry.path(), entry.file_type().map_err(failed)?));
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    for (path, kind) in entries {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if hidden {
            continue;
        }
        if kind.is_dir() {
            find(&path, files)?;
        } else if yaml {
            if files.len() >= limits::YAML_FILES_MAX {
                return Err(SourceError::TooMany);
            }
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_at_any_depth_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/deep")).unwrap();
        std::fs::create_dir_all(dir.path().join(".git")).unwrap();
        for file in ["z.yaml", "b/deep/x.yml", "a.yaml", "note.txt", ".git/c.yaml"] {
            std::fs::write(dir.path().join(file), file).unwrap();
        }
        let sources =
            Sources::read(&[Input::Path(dir.path().into())], &mut std::io::empty()).unwrap();
        let texts: Vec<&str> = sources.iter().map(|(_, source)| source.text.as_str()).collect();
        assert_eq!(texts, ["a.yaml", "b/deep/x.yml", "z.yaml"]);
    }

    #[test]
    fn a_dash_is_the_standard_input_and_only_once() {
        let mut stdin = "checks: []".as_bytes();
        let sources = Sources::read(&["-".into()], &mut stdin).unwrap();
        assert_eq!(sources.name(0), "<stdin>");
        let twice = Sources::read(&["-".into(), "-".into()], &mut "".as_bytes());
        assert!(matches!(twice, Err(SourceError::StdinTwice)));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let missing = Sources::read(&["/no/such/file.yaml".into()], &mut std::io::empty());
        assert!(missing.unwrap_err().to_string().contains("/no/such/file.yaml"));
        let dir = tempfile::tempdir().unwrap();
        let empty = Sources::read(&[Input::Path(dir.path().into())], &mut std::io::empty());
        assert!(matches!(empty, Err(SourceError::Empty(_))));
    }
}
