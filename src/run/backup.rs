//! `backup`: copy stores into the vault without repairing anything.

use super::{Session, open};
use crate::cli;
use crate::engine::How;
use crate::error::Result;
use crate::exit::Exit;
use crate::report::{self, Document};
use crate::scan::Baseline;

pub(super) fn backup(session: &Session, wanted: &cli::Backup) -> Result<Exit> {
    let place = open::place(session, &wanted.place, true)?;
    let state = open::locked(session, place.as_ref())?;
    let memory = Baseline::open(state.path())?;
    let mut engine = open::engine(session, &wanted.place, place.as_ref(), Some(memory))?;
    let found = engine.scan(&open::options(session, cli::Depth::default(), None))?;
    session.quiet_bars();
    found.has_all(&wanted.stores)?;
    let say = |line: &str| {
        // A closed output must not end the backup half-way.
        let _ = session.console.say(line);
    };
    let how = How { stop_app: wanted.stop_app, allow_root: wanted.allow_root, say: &say, ..How::default() };
    let outcome = engine
        .backup(&found, &wanted.stores, wanted.caches, &how, &state)
        .map_err(super::repair::with_options)?;
    session.quiet_bars();
    if outcome.done.is_none() {
        session.console.say("There is nothing to back up.")?;
    }
    let document = Document::of_backup(&found, &outcome);
    report::log(&document);
    session.console.print(&report::closing(&document, session.console.style))?;
    Ok(document.exit())
}
