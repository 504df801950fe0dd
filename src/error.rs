//! The one error type that reaches a person: what failed, on which path, why,
//! and what to do next. Rooms have narrower errors of their own and turn them
//! into this one at their border; the exit code is part of the kind.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::exit::Exit;

/// What kind of failure it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reading or writing a file failed.
    Io,
    /// A path, link or owner was refused by a safety rule.
    Refused,
    /// A profile or the configuration is invalid.
    Profile,
    /// The command line asks for something that cannot be.
    Usage,
    /// Another run holds the lock.
    Locked,
    /// The app is running.
    AppRunning,
    /// The device is absent or unauthorised.
    Device,
    /// A repair failed and the original state is back.
    RolledBack,
    /// A repair failed and a person must act; the journal is kept.
    Failed,
    /// A signal or a closed pipe ended the run.
    Interrupted,
}

impl Kind {
    /// The exit code of this kind of failure.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Io | Self::Refused | Self::Failed => Exit::Failed,
            Self::Profile => Exit::Profile,
            Self::Usage => Exit::Usage,
            Self::Locked => Exit::Locked,
            Self::AppRunning => Exit::AppRunning,
            Self::Device => Exit::Device,
            Self::RolledBack => Exit::RolledBack,
            Self::Interrupted => Exit::Interrupted,
        }
    }
}

/// A failure as a person reads it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    what: String,
    path: Option<PathBuf>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result whose error a person can read.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind`; `what` is a sentence without a full stop.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), path: None, hint: None, source: None }
    }

    /// An I/O failure on `path` while doing `what`, for example `cannot read`.
    pub fn io(what: impl Into<String>, path: &Path, source: std::io::Error) -> Self {
        Self::new(Kind::Io, what).on(path).because(source)
    }

    /// Names the path it happened on.
    #[must_use]
    pub fn on(mut self, path: &Path) -> Self {
        self.path = Some(path.to_path_buf());
        self
    }

    /// Says why, by the error underneath.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says what a person can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The path it happened on.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What a person can do next.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(path) = &self.path {
            write!(f, ": {}", crate::fsys::shown(path))?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
