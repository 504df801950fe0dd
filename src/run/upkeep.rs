//! `undo`: taking runs back.

use super::{Session, inspect};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::repair::{self, UndoOptions};
use crate::report;
use crate::vault::{LockedState, RunId};

/// Reads a run's id from the command line.
fn run_id(text: &str) -> Result<RunId> {
    text.parse().map_err(|_| {
        Error::new(Kind::Usage, format!("{text:?} is no run")).hint("`shopmend vault list` shows the runs")
    })
}

pub(super) fn undo(
    session: &Session,
    run: Option<&str>,
    store: Option<String>,
    allow_root: bool,
) -> Result<Exit> {
    let run = run.map(run_id).transpose()?;
    let state = session.locked_state()?;
    undo_run(session, &state, run.as_ref(), &UndoOptions { store, allow_root })
}

/// Takes a run back and says what became of it.
pub(super) fn undo_run(
    session: &Session,
    state: &LockedState,
    run: Option<&RunId>,
    options: &UndoOptions,
) -> Result<Exit> {
    let outcome = repair::undo(state, run, options, &inspect::still_down, &session.control)?;
    session.quiet_bars();
    session.console.print(&report::outcome(&outcome, session.console.style))?;
    Ok(outcome.exit())
}
