//! Exit codes, and the failures that lead to them.

use std::process::ExitCode;

use crate::config::SourceError;
use crate::context::ContextError;

/// How the program ends. The numbers are documented in `parallax --help` and do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// A rule is broken, a permission is missing, or the request failed.
    Refused = 1,
    /// The command line, a file or a context is wrong.
    Usage = 2,
    /// No coordinator could be reached, or none answered in time.
    Unreachable = 3,
    /// What was named does not exist.
    NotFound = 4,
    /// Somebody else changed it meanwhile.
    Conflict = 5,
    /// `diff`: something would change.
    Changes = 10,
}

impl Exit {
    /// Every way to end.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Refused,
        Self::Usage,
        Self::Unreachable,
        Self::NotFound,
        Self::Conflict,
        Self::Changes,
    ];

    /// What it means, as `parallax --help` has it; a line of it may be a second one.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Refused => {
                "refused: a rule is broken, a permission is missing, or the request failed;\n\
                 of `check try` and `check run`, a run failed, or somebody who was asked did not look"
            }
            Self::Usage => "the command line, a file or a context is wrong",
            Self::Unreachable => "no coordinator could be reached, or none answered in time",
            Self::NotFound => "what was named does not exist",
            Self::Conflict => "somebody else changed it meanwhile; read it again",
            Self::Changes => "`diff` only: something would change",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody answered.
    #[error("cannot reach a coordinator at {endpoints}: {cause}")]
    Unreachable {
        /// All that were tried.
        endpoints: String,
        /// What the last one said.
        cause: String,
    },
    /// A coordinator said no.
    #[error("{message}")]
    Answered {
        /// gRPC code.
        code: tonic::Code,
        /// What it said.
        message: String,
        /// The rule that is broken, when it named one.
        rule: Option<String>,
        /// Of the request, to find it in logs and in the audit.
        request_id: Option<String>,
    },
    /// The answer does not hold what the protocol says it must.
    #[error("the coordinator's answer has no {0}: is it of another version?")]
    Incomplete(&'static str),
    /// What this build would write is not all that there was.
    #[error("{0}")]
    Unknown(String),
    /// Where to connect to is not known.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// Configuration that cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What was named does not exist.
    #[error("{0}")]
    Absent(String),
    /// Flags that contradict a file.
    #[error("{0}")]
    Usage(String),
    /// Broken rules, already printed with their places.
    #[error("{}{after}", broken(*.count))]
    Invalid {
        /// How many.
        count: usize,
        /// What that means for what was asked, as it follows the count.
        after: &'static str,
        /// Whether all of them are a matter of reading again.
        conflict: bool,
    },
    /// No certificate was made.
    #[error(transparent)]
    Pki(#[from] crate::pki::PkiError),
    /// The mesh on this machine did not do what it was asked.
    #[error(transparent)]
    Dev(#[from] crate::dev::DevError),
    /// Standard output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
    /// Data that cannot be printed in the asked form.
    #[error("cannot print the data: {0}")]
    Print(String),
}

fn broken(count: usize) -> String {
    match count {
        1 => "1 rule is broken".to_owned(),
        count => format!("{count} rules are broken"),
    }
}

impl Failure {
    /// The exit code that this failure means.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Answered { code, rule, .. } => match code {
                tonic::Code::NotFound => Exit::NotFound,
                tonic::Code::Aborted | tonic::Code::AlreadyExists => Exit::Conflict,
                tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => Exit::Unreachable,
                _ if rule.as_deref() == Some("conflict") => Exit::Conflict,
                _ => Exit::Refused,
            },
            Self::Invalid { conflict: true, .. } => Exit::Conflict,
            Self::Invalid { .. } | Self::Incomplete(_) | Self::Unknown(_) | Self::Print(_) => {
                Exit::Refused
            }
            Self::Absent(_) => Exit::NotFound,
            Self::Pki(_) | Self::Dev(_) => Exit::Refused,
            Self::Context(_) | Self::Source(_) | Self::Usage(_) => Exit::Usage,
            // Whoever read us closed the pipe: they have what they wanted.
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Output(_) => Exit::Refused,
        }
    }

    /// What to print on stderr: the message with its cause, rule and request id on lines of their
    /// own.
    pub fn render(&self) -> String {
        let mut text = format!("error: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text.push('\n');
        if let Self::Answered { rule, request_id, .. } = self {
            if let Some(rule) = rule {
                text.push_str(&format!("  rule: {rule}\n"));
            }
            if let Some(request_id) = request_id {
                text.push_str(&format!("  request: {request_id}\n"));
            }
        }
        text
    }
}
