//! What is wrong with a profile file, and where.

use std::fmt;
use std::ops::Range;

use crate::error::{Error, Kind};
use crate::fsys::printable;

/// One reason to refuse a profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Problem {
    /// The profile file, as it was named to the loader.
    pub file: String,
    /// Line in it, from 1.
    pub line: usize,
    /// Why it is refused, for a person.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", printable(&self.file), self.line, printable(&self.reason))
    }
}

/// Every reason that was found; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::new(Kind::Profile, "the profile is invalid").because(problems).hint(
            "correct the named line, or leave the file out; `shopmend profile validate FILE` checks one file",
        )
    }
}

/// A profile file's text, for lines and messages.
#[derive(Debug)]
pub(crate) struct Source {
    /// As messages name it.
    pub file: String,
    pub text: String,
    /// Part of this program, as against a person's own.
    pub builtin: bool,
    /// Where each line after the first begins.
    breaks: Vec<usize>,
}

impl Source {
    pub(crate) fn new(file: impl Into<String>, text: impl Into<String>, builtin: bool) -> Self {
        let text = text.into();
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1).collect();
        Self { file: file.into(), text, builtin, breaks }
    }

    /// The line, from 1, of a place in the text.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        1 + self.breaks.partition_point(|start| *start <= span.start)
    }

    pub(crate) fn problem(&self, span: &Range<usize>, reason: impl Into<String>) -> Problem {
        Problem { file: self.file.clone(), line: self.line(span), reason: reason.into() }
    }
}
