//! The log of a server: text or JSON on the standard error, by a filter that may change while it runs.

use std::io::IsTerminal as _;

use parking_lot::Mutex;
use tracing::{Level, Subscriber, enabled, info, warn};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::error::causes;
use crate::settings::{Again, Settings};

/// The setting that holds the filter.
const KEY: &str = "log";

/// In which form lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Text where a person reads it, on a terminal, and JSON elsewhere.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    fn is_json(self, on_terminal: bool) -> bool {
        match self {
            Self::Auto => !on_terminal,
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// The filter of a log that runs.
#[derive(Debug)]
pub struct Log {
    handle: reload::Handle<EnvFilter, Registry>,
    in_force: Mutex<String>,
}

/// Why a filter did not take the place of another.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It is none.
    #[error("\"{text}\" is no filter")]
    Filter {
        /// What was given.
        text: String,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// The log is gone.
    #[error("the log takes no other filter")]
    Gone(#[source] reload::Error),
}

impl Log {
    /// Begins the log of this process: what `filter` lets through, on the standard error.
    ///
    /// # Errors
    /// `filter` is none.
    pub fn start(filter: &str, format: Format) -> Result<Self, ParseError> {
        let (on_terminal, to) = (std::io::stderr().is_terminal(), std::io::stderr);
        let (log, subscriber) = Self::writing_to(filter, format, on_terminal, to)?;
        subscriber.init();
        Ok(log)
    }

    fn writing_to<W>(
        filter: &str,
        format: Format,
        on_terminal: bool,
        to: W,
    ) -> Result<(Self, Box<dyn Subscriber + Send + Sync>), ParseError>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (layer, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
        let log = Self { handle, in_force: Mutex::new(filter.to_owned()) };
        let registry = tracing_subscriber::registry().with(layer);
        let lines = fmt::layer().with_ansi(on_terminal).with_writer(to);
        Ok((
            log,
            if format.is_json(on_terminal) {
                Box::new(registry.with(lines.json()))
            } else {
                Box::new(registry.with(lines))
            },
        ))
    }

    /// The filter in force.
    pub fn in_force(&self) -> String {
        self.in_force.lock().clone()
    }

    /// Puts `filter` in force.
    ///
    /// # Errors
    /// It is none; the old one stays.
    pub fn change(&self, filter: &str) -> Result<(), ChangeError> {
        let no_filter = |source| ChangeError::Filter { text: filter.to_owned(), source };
        let parsed = EnvFilter::try_new(filter).map_err(no_filter)?;
        let before = std::mem::replace(&mut *self.in_force.lock(), filter.to_owned());
        // Said under the one that lets it through, and once.
        let told = enabled!(Level::INFO);
        if told {
            info!(before, now = filter, "what is logged changes");
        }
        self.handle.reload(parsed).map_err(ChangeError::Gone)?;
        if !told {
            info!(before, now = filter, "what is logged has changed");
        }
        Ok(())
    }

    /// Does what SIGHUP asks for: the filter becomes what the file of `settings` says now.
    pub fn reread(&self, settings: &Settings) {
        let refused = match settings.again(KEY) {
            Ok(Again::Now(filter)) => match self.change(&filter) {
                Ok(()) => return,
                Err(error) => causes(&error),
            },
            Ok(Again::Above(origin)) => format!("it was given by {origin}, before any file"),
            Ok(Again::NoFile) => "the process was started without --config".to_owned(),
            Err(error) => causes(&error),
        };
        warn!(log = self.in_force(), why = refused, "what is logged stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use clap::Parser;
    use tokio_util::sync::CancellationToken;
    use tracing::debug;

    use super::*;
    use crate::settings::{Flags, gather};
    use crate::signal;

    #[derive(Debug, Parser)]
    struct Program {
        #[arg(long, default_value = "info")]
        log: String,
        #[command(flatten)]
        flags: Flags,
    }

    /// What was written, for all to read.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn settings(file: &Path, flags: &[&str]) -> Settings {
        let config = format!("--config={}", file.display());
        let argv = ["p".into(), config.into()].into_iter().chain(flags.iter().map(Into::into));
        gather::<Program>(argv).unwrap().settings
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(in_time.is_ok(), "{what}");
    }

    #[tokio::test]
    async fn a_hangup_puts_the_filter_of_the_file_in_force_and_a_wrong_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.yaml");
        std::fs::write(&file, "log: warn\n").unwrap();
        let settings = settings(&file, &[]);
        let written = Written::default();
        let to = written.clone();
        let (log, subscriber) =
            Log::writing_to("warn", Format::Text, false, move || to.clone()).unwrap();
        let _guard = tracing::subscriber::set_default(subscriber);
        let hang_up = || {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
        };
        let (asked, stop) = (Mutex::new(0), CancellationToken::new());
        let process = async {
            // The handler stands before anything of the process runs.
            tokio::task::yield_now().await;
            debug!("hidden");
            std::fs::write(&file, "log: debug\n").unwrap();
            hang_up();
            until("the filter changes", || log.in_force() == "debug").await;
            debug!("shown");
            std::fs::write(&file, "log: 'debug,['\n").unwrap();
            hang_up();
            until("the second is heard", || *asked.lock() == 2).await;
            debug!("still shown");
            std::fs::write(&file, "lug: info\n").unwrap();
            hang_up();
            until("the third is heard", || *asked.lock() == 3).await;
            assert_eq!(log.in_force(), "debug");
            7
        };
        let heed = || {
            log.reread(&settings);
            *asked.lock() += 1;
        };
        assert_eq!(signal::run(process, stop, heed).await, 7);
        let text = written.text();
        assert!(!text.contains("hidden"), "{text}");
        for line in [
            "what is logged has changed before=\"warn\" now=\"debug\"",
            " shown",
            "still shown",
            "is no filter",
            "settings.yaml:1:1: `lug` is not a setting; did you mean `log`?",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_filter_that_was_given_before_any_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.yaml");
        std::fs::write(&file, "log: debug\n").unwrap();
        let settings = settings(&file, &["--log", "info"]);
        let written = Written::default();
        let to = written.clone();
        let (log, subscriber) =
            Log::writing_to("info", Format::Json, false, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || log.reread(&settings));
        assert_eq!(log.in_force(), "info");
        let line: serde_json::Value = serde_json::from_str(&written.text()).unwrap();
        assert_eq!(line["fields"]["why"], "it was given by flag, before any file");
    }

    #[test]
    fn people_are_written_to_in_text_and_programs_in_json_unless_it_is_said_otherwise() {
        for (format, on_terminal, json) in [
            (Format::Auto, true, false),
            (Format::Auto, false, true),
            (Format::Text, true, false),
            (Format::Text, false, false),
            (Format::Json, true, true),
            (Format::Json, false, true),
        ] {
            let written = Written::default();
            let to = written.clone();
            let (_log, subscriber) =
                Log::writing_to("info", format, on_terminal, move || to.clone()).unwrap();
            tracing::subscriber::with_default(subscriber, || info!(check = "shop", "looked"));
            let text = written.text();
            let line = serde_json::from_str::<serde_json::Value>(&text).ok();
            assert_eq!(line.is_some(), json, "{format:?} {on_terminal}: {text}");
            let colours = on_terminal && !json;
            assert_eq!(text.contains('\u{1b}'), colours, "{format:?} {on_terminal}: {text}");
            if let Some(line) = line {
                let fields = &line["fields"];
                assert_eq!(
                    (&fields["message"], &fields["check"]),
                    (&"looked".into(), &"shop".into())
                );
            }
        }
    }
}
