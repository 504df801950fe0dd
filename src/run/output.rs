//! Where a report goes: the terminal, or a file in the format asked for.

use std::path::Path;

use super::Session;
use crate::cli;
use crate::error::{Error, Kind, Result};
use crate::output::{Place, SIGNATURE, What};
use crate::report::{self, Document, Style, TriageDocument};

/// Writes the report where and how it was asked for; a text report that goes
/// to a file is also shown on the terminal.
pub(super) fn write(session: &Session, document: &Document, wanted: &cli::Report) -> Result<()> {
    let style = session.console.style;
    let Some(path) = &wanted.report else {
        return session.console.print(&rendered(document, wanted.format, style)?);
    };
    let made = rendered(document, wanted.format, Style { color: false, ..style })?;
    let made = if wanted.format == cli::Format::Text { made + SIGNATURE } else { made };
    place(document, wanted, path)?.write(made.as_bytes())?;
    if document.command == report::Phase::Scan {
        session.console.print(&report::text(document, style))?;
    }
    session.console.say(&format!("Report written to {}", crate::fsys::shown(path)))
}

/// Whether a report may go where it was asked for.
pub(super) fn may_write(document: &Document, wanted: &cli::Report) -> Result<()> {
    wanted.report.as_deref().map_or(Ok(()), |path| place(document, wanted, path).map(drop))
}

fn place(document: &Document, wanted: &cli::Report, path: &Path) -> Result<Place> {
    let data: Vec<&Path> = document.targets.iter().flat_map(|t| t.roots.values()).map(Path::new).collect();
    Place::of(path, what(wanted.format), &data)
}

/// Whether the terminal shows plan and outcome as they come; else only a
/// report in another format is printed there.
pub(super) fn talks(wanted: Option<&cli::Report>) -> bool {
    wanted.is_none_or(|r| r.format == cli::Format::Text || r.report.is_some())
}

fn rendered(document: &Document, format: cli::Format, style: Style) -> Result<String> {
    match format {
        cli::Format::Text => Ok(report::text(document, style)),
        cli::Format::Json => report::json(document).map_err(|e| failed(&e)),
        cli::Format::Html => report::html(document).map_err(|e| failed(&e)),
    }
}

/// The same for a triage.
pub(super) fn triage(session: &Session, document: &TriageDocument, wanted: &cli::Report) -> Result<()> {
    let rendered = |style: Style| match wanted.format {
        cli::Format::Text => Ok(document.text(style)),
        cli::Format::Json => document.json().map_err(|e| failed(&e)),
        cli::Format::Html => document.html().map_err(|e| failed(&e)),
    };
    let style = session.console.style;
    let Some(path) = &wanted.report else { return session.console.print(&rendered(style)?) };
    let made = rendered(Style { color: false, ..style })?;
    let made = if wanted.format == cli::Format::Text { made + SIGNATURE } else { made };
    Place::of(path, what(wanted.format), &[])?.write(made.as_bytes())?;
    session.console.print(&document.text(style))?;
    session.console.say(&format!("Report written to {}", crate::fsys::shown(path)))
}

fn what(format: cli::Format) -> What {
    match format {
        cli::Format::Text => What::Text,
        cli::Format::Json => What::Json,
        cli::Format::Html => What::Html,
    }
}

fn failed(e: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Io, "the report could not be created").because(e.to_string())
}
