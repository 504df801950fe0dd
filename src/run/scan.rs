//! `scan`: look, and change nothing.

use super::{Session, open, output};
use crate::cli;
use crate::error::Result;
use crate::exit::Exit;
use crate::place::Place;
use crate::report::{self, Document};
use crate::scan::{Baseline, Options};
use crate::vault::StateDir;

pub(super) fn scan(
    session: &Session,
    wanted: &cli::Where,
    depth: cli::Depth,
    report: &cli::Report,
    accept: &[String],
) -> Result<Exit> {
    let place = open::place(session, wanted, true)?;
    let (mut memory, remark) = memory(session, place.as_ref());
    if let Some(memory) = &mut memory {
        memory.accept(accept.iter().cloned());
    }
    let options = Options { recall_hashes: false, ..open::options(session, depth, None) };
    let mut engine = open::engine(session, wanted, place.as_ref(), memory)?;
    let mut found = engine.scan(&options)?;
    session.quiet_bars();
    found.scan.notes.extend(remark);
    for store in engine.not_accepted() {
        found.has_all(std::slice::from_ref(&store))?;
        found.scan.notes.push(format!("store {store}: there was nothing to accept"));
    }
    let records = session.state().and_then(|all| StateDir::open(&place.records(all.path())));
    if let Err(e) = records.and_then(|records| engine.look_into_vault(&mut found, &records)) {
        found.scan.notes.push(format!("the vault could not be asked for copies: {e}"));
    }
    let document = Document::of_scan(&found);
    report::log(&document);
    output::write(session, &document, report)?;
    let exit = found.exit();
    // The program ends here: the system takes the memory back at once, which
    // takes much longer path by path.
    std::mem::forget(found);
    Ok(exit)
}

/// What earlier scans remember, or a remark why the scan goes without.
pub(super) fn memory(session: &Session, place: &dyn Place) -> (Option<Baseline>, Option<String>) {
    match session.state().and_then(|all| Baseline::open(&place.records(all.path()))) {
        Ok(memory) => (Some(memory), None),
        Err(e) => (None, Some(format!("the scan works without a memory of earlier ones: {e}"))),
    }
}
