//! Sets in order what an interrupted run left: takes back what was not
//! committed, finishes what was. Works from the journal alone, may itself be
//! interrupted at any point, and never guesses.

use std::io;
use std::path::Path;

use super::Running;
use super::session::{Session, by_hand};
use crate::error::{Error, Kind, Result};
use crate::fsys::{is_remote, remove_tree};
use crate::vault::{Journal, LockedState, Objects, Record, Run, RunId, Stage, StateDir, damaged, shortened};

/// What was set in order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Recovered {
    pub run: RunId,
    /// Stores that were taken back to how they were.
    pub taken_back: Vec<String>,
    /// Stores whose work was done, and is now tidied up.
    pub finished: Vec<String>,
    /// Stores whose folder is away: they are put in order when it is back.
    pub waiting: Vec<String>,
    /// Worth knowing, for a person.
    pub notes: Vec<String>,
}

impl Recovered {
    fn new(run: RunId) -> Self {
        let (taken_back, finished, waiting, notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { run, taken_back, finished, waiting, notes }
    }
}

/// Finishes or takes back every unfinished run; called at each start.
///
/// # Errors
/// `Failed` when a journal is damaged or something is in neither of its
/// places: everything is kept, and the hint says how to go on by hand.
/// `AppRunning` when a store to be put in order is in use.
pub fn recover(state: &LockedState, running: &Running) -> Result<Vec<Recovered>> {
    let objects = || Objects::open(state).and_then(|o| o.clean_up());
    objects().map_err(|e| Error::io("cannot tidy up the vault", state.path(), e))?;
    let mut out = Vec::new();
    for id in state.runs()? {
        if Run::is_open(state, &id)?
            && let Some(done) = recover_run(state, &id, running)?
        {
            out.push(done);
        }
    }
    Ok(out)
}

fn recover_run(state: &LockedState, id: &RunId, running: &Running) -> Result<Option<Recovered>> {
    let dir = state.run_dir(id)?;
    let Some(run) = Run::read(state, id)? else {
        return abandon(state, id).map(|()| None);
    };
    shortened(state, &run)?;
    let (journal, records) = Journal::reopen(&dir, false).map_err(|e| damaged(state, id, e))?;
    debug_assert!(!records.is_empty(), "it was read before");
    let allow_root = run.begin.allow_root;
    let live = run.begin.live;
    let mut session = Session::over(state, id.clone(), dir, journal, run);
    let mut out = Recovered::new(id.clone());
    // The last work first: it may stand on what was there before it.
    for number in (0..session.run.units.len() as u32).rev() {
        let Some(of) = session.state_of(number).cloned() else { continue };
        if of.is_finished() {
            continue;
        }
        let unit = &of.unit;
        let store = format!("{} ({})", unit.store, unit.path);
        let stop = |reason: String| stopped(state, id, &reason);
        // Whatever else is asked for has nothing to do with that folder.
        if is_away(state, &unit.root) {
            let root = crate::fsys::shown(&unit.root);
            out.notes.push(format!("{store} is put in order when its folder is back: {root}"));
            out.waiting.push(store);
            continue;
        }
        let touched = !of.steps.is_empty() || !unit.temps.is_empty();
        match of.stage {
            Stage::Open if !touched => {
                let reason = "interrupted before anything was touched".to_owned();
                session.record(vec![Record::RolledBack { unit: number, reason }]).map_err(unknown)?;
            }
            Stage::Open => {
                running(&super::store_of_unit(unit, live))?;
                let mut hands = super::session::hands(state, &unit.root, allow_root)
                    .map_err(|e| stop(format!("the folder of {store} cannot be opened: {e}")))?;
                let found = hands
                    .reverse(&of, id)
                    .map_err(|lost| stop(format!("{} of {store}: {}", lost.path, lost.reason)))?;
                out.notes.extend(found.displaced);
                for path in found.missing {
                    out.notes.push(format!("{path} of {store} was removed by another program"));
                }
                let reason = "interrupted".to_owned();
                session.record(vec![Record::RolledBack { unit: number, reason }]).map_err(unknown)?;
                out.taken_back.push(store);
            }
            Stage::Committed => {
                if !of.cleaned && of.steps.iter().any(|s| matches!(s, crate::vault::Step::Remove { .. })) {
                    let mut hands = super::session::hands(state, &unit.root, allow_root)
                        .map_err(|e| stop(format!("the folder of {store} cannot be opened: {e}")))?;
                    for kept in session.clean(number, &mut hands).map_err(unknown)? {
                        out.notes.push(format!("{} of {store} stays: {}", kept.path, kept.reason));
                    }
                }
                if of.dropping && of.dropped.is_none() {
                    session.drop_unit(number).map_err(unknown)?;
                }
                out.finished.push(store);
            }
            Stage::RolledBack => {}
        }
    }
    if !out.waiting.is_empty() {
        out.notes.append(&mut session.notes);
        return Ok(Some(out));
    }
    if !session.run.ended {
        session.record(vec![Record::End { interrupted: true }]).map_err(unknown)?;
    }
    session.close();
    out.notes.append(&mut session.notes);
    Ok(Some(out))
}

/// Whether a root is not there, as that of a disk that is not mounted. One that
/// cannot be opened for another reason is no such.
fn is_away(state: &LockedState, root: &Path) -> bool {
    !is_remote(root) && state.disk().open(root).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// A folder whose run never began: it may hold nothing.
fn abandon(state: &LockedState, id: &RunId) -> Result<()> {
    let dir = state.run_dir(id)?;
    let at = StateDir::run_path(id);
    let cannot = |e| Error::io("cannot remove an empty run", dir.path(), e);
    if dir.list().map_err(cannot)?.iter().any(|e| e.name != "journal") {
        let why = "its journal is gone or empty, but there are files in its folder";
        return Err(stopped(state, id, why));
    }
    remove_tree(state.dir(), &at).map_err(cannot)?;
    Ok(())
}

fn stopped(state: &LockedState, id: &RunId, why: &str) -> Error {
    let folder = state.path().join(StateDir::run_path(id).as_path());
    Error::new(Kind::Failed, format!("run {id} was interrupted and cannot be put in order: {why}"))
        .on(&folder)
        .hint(format!("nothing is lost; by hand: {}", by_hand(state, id).join(" ; ")))
}

#[allow(clippy::needless_pass_by_value)] // handed to map_err
fn unknown(halt: super::session::Halt) -> Error {
    Error::new(Kind::Failed, format!("an interrupted run cannot be put in order yet: {halt}"))
        .hint("free some space or mend the disk, then start again")
}
