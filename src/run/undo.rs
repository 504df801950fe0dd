//! `undo`: take a run back.

use super::{Session, open};
use crate::cli;
use crate::engine::{self, Outcome};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::place::Place;
use crate::repair::UndoOptions;
use crate::report::{self, Document};
use crate::vault::{LockedState, RunId};

pub(super) fn undo(
    session: &Session,
    run: Option<&str>,
    store: Option<String>,
    device: &cli::OnDevice,
    allow_root: bool,
) -> Result<Exit> {
    let run = run.map(run_id).transpose()?;
    // Of a folder that is not there nothing can be taken back.
    session.existing_state()?;
    let place = open::recorded_place(session, device)?;
    let state = open::locked_existing(session, place.as_ref())?;
    undo_run(session, place.as_ref(), &state, run.as_ref(), &UndoOptions { store, allow_root })
}

/// Takes a run back and says what became of it.
pub(super) fn undo_run(
    session: &Session,
    place: &dyn Place,
    state: &LockedState,
    run: Option<&RunId>,
    options: &UndoOptions,
) -> Result<Exit> {
    let outcome = engine::undo(place, state, run, options, &session.control)?;
    said(session, place, &outcome)
}

/// Says what putting stores back came to; gives the exit code.
pub(super) fn said(session: &Session, place: &dyn Place, outcome: &Outcome) -> Result<Exit> {
    session.quiet_bars();
    let document = Document::of_records(place, outcome);
    report::log(&document);
    session.console.print(&report::closing(&document, session.console.style))?;
    Ok(outcome.exit())
}

/// Reads a run's id from the command line.
pub(super) fn run_id(text: &str) -> Result<RunId> {
    text.parse().map_err(|_| {
        Error::new(Kind::Usage, format!("{text:?} is not a run id"))
            .hint("`shopmend vault list` shows the runs")
    })
}
