//! Undo and restore: which run is taken back, and which of its stores.
//!
//! What is chosen is put back by a run of its own, so that an undo can be
//! undone in turn.

use std::collections::BTreeMap;

use super::Running;
use super::outcome::Outcome;
use super::put_back::put_back;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::vault::{LockedState, Run, RunId, RunKind, Stage, UnitOp, UnitState};

/// What the user chose for an undo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UndoOptions {
    /// Only this store.
    pub store: Option<String>,
    /// As root, work in folders that another user could replace.
    pub allow_root: bool,
}

/// Takes a run back: the newest that changed something, unless one is named.
///
/// # Errors
/// `Usage` when there is nothing to undo or it was undone before, `Refused`
/// when its space was freed for good, `AppRunning`, `Failed` for a damaged
/// journal; otherwise as [`super::execute`].
pub fn undo(
    state: &LockedState,
    run: Option<&RunId>,
    options: &UndoOptions,
    running: &Running,
    control: &Control,
) -> Result<Outcome> {
    let run = match run {
        Some(id) => {
            let run = Run::read(state, id)?;
            run.ok_or_else(|| Error::new(Kind::Usage, format!("run {id} did nothing")))?
        }
        None => newest(state)?,
    };
    let id = run.begin.run.clone();
    let undone = undone_units(state, &id)?;
    let candidates: Vec<&UnitState> = run.units.iter().filter(|u| can_be_undone(u)).collect();
    let chosen: Vec<&UnitState> = candidates
        .iter()
        .copied()
        .filter(|u| options.store.as_ref().is_none_or(|s| u.unit.store == *s))
        .collect();
    if candidates.is_empty() {
        return Err(Error::new(Kind::Usage, format!("run {id} changed nothing that could be undone")));
    }
    if chosen.is_empty() {
        let store = options.store.as_deref().unwrap_or_default();
        return Err(Error::new(Kind::Usage, format!("run {id} changed nothing in the store {store}"))
            .hint("`shopmend vault list` shows the runs with their stores"));
    }
    let open: Vec<&UnitState> =
        chosen.iter().copied().filter(|u| !undone.contains_key(&u.unit.number)).collect();
    if let (true, Some(by)) = (open.is_empty(), undone.values().next_back()) {
        return Err(Error::new(Kind::Usage, format!("run {id} was undone already, by run {by}"))
            .hint(format!("`shopmend undo {by}` takes that back")));
    }
    if open.iter().all(|u| u.dropping) {
        return Err(Error::new(
            Kind::Refused,
            format!("run {id} cannot be undone: its space was freed for good"),
        ));
    }
    let numbers: Vec<u32> = open.iter().rev().map(|u| u.unit.number).collect();
    put_back(state, &run, &numbers, RunKind::Undo { of: id }, options.allow_root, running, control)
}

/// Puts stores back in place as a run holds them, whatever kind of run it is
/// and though it was undone before; for `vault restore`.
///
/// # Errors
/// As [`undo`].
pub fn restore(
    state: &LockedState,
    run: &RunId,
    options: &UndoOptions,
    running: &Running,
    control: &Control,
) -> Result<Outcome> {
    let nothing = || {
        Error::new(Kind::Usage, format!("run {run} holds nothing that could be restored"))
            .hint("`shopmend vault list` shows what each run holds")
    };
    let read = Run::read(state, run)?.ok_or_else(nothing)?;
    let numbers: Vec<u32> = read
        .units
        .iter()
        .rev()
        .filter(|u| !u.held().is_empty())
        .filter(|u| options.store.as_ref().is_none_or(|s| u.unit.store == *s))
        .map(|u| u.unit.number)
        .collect();
    if numbers.is_empty() {
        return Err(nothing());
    }
    let kind = RunKind::Restore { of: run.clone() };
    put_back(state, &read, &numbers, kind, options.allow_root, running, control)
}

/// The newest run that changed something, which must not be an undo itself.
fn newest(state: &LockedState) -> Result<Run> {
    for id in state.runs()?.iter().rev() {
        let Some(run) = Run::read(state, id)? else { continue };
        if !run.units.iter().any(can_be_undone) {
            continue;
        }
        return match &run.begin.kind {
            RunKind::Repair | RunKind::Backup => Ok(run),
            // One that was cut off, or was about one store, goes on.
            RunKind::Undo { of } if let Some(rest) = left_to_undo(state, of)? => Ok(rest),
            RunKind::Undo { of } | RunKind::Restore { of } => Err(Error::new(
                Kind::Usage,
                format!("the last change was itself the {} {id} of run {of}", run.begin.kind.as_str()),
            )
            .hint(format!("name the run to undo: `shopmend undo {id}` takes that back"))),
        };
    }
    Err(Error::new(Kind::Usage, "there is nothing to undo"))
}

/// A run of which something was not undone yet, though some of it was.
fn left_to_undo(state: &LockedState, of: &RunId) -> Result<Option<Run>> {
    let Some(run) = Run::read(state, of)? else { return Ok(None) };
    let undone = undone_units(state, of)?;
    let mut units = run.units.iter().filter(|u| can_be_undone(u) && !u.dropping);
    Ok(units.any(|u| !undone.contains_key(&u.unit.number)).then_some(run))
}

/// Whether a unit changed something that can be put back.
fn can_be_undone(unit: &UnitState) -> bool {
    unit.stage == Stage::Committed && unit.unit.op != UnitOp::Backup && !unit.before().is_empty()
}

/// Which units of a run were undone, and by which run.
fn undone_units(state: &LockedState, of: &RunId) -> Result<BTreeMap<u32, RunId>> {
    let mut out = BTreeMap::new();
    for id in state.runs()? {
        let kind = Run::read_begin(state, &id)?.map(|b| b.kind);
        let Some(RunKind::Undo { of: about } | RunKind::Restore { of: about }) = kind else { continue };
        if about != *of {
            continue;
        }
        for unit in Run::read(state, &id)?.iter().flat_map(|r| &r.units) {
            // What it had to leave alone is still to be undone.
            if let (Stage::Committed, Some((run, number))) = (unit.stage, &unit.unit.puts_back)
                && run == of
                && unit.skipped.is_empty()
            {
                out.insert(*number, id.clone());
            }
        }
    }
    Ok(out)
}
